//! SQL of `transactions`. What is read lists its columns, never `*`: a migration may add one while the old binary still runs. The
//! database makes `created_at` of the time in the id; whoever writes `state` writes `states` and `moved_at`, too.

use chrono::TimeDelta;
use ledger::{Amount, Currency};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row as _};
use uuid::Uuid;

use super::metadata::Metadata;
use super::states::{Direction, FailureReason, Hold, Kind, Outcome, State};
use super::transaction::{Child, Destination, Held, LostWithdrawal, Provider, Reversed, Transaction};
use crate::platform::queue::{COUNTED_MAX, Depth, Lease};
use crate::platform::{clock::DateTime, error::Error};

/// A row as it is stored; its columns for queries that are put together elsewhere, who name them first; and how one is read: by the
/// places of the columns, which takes a fraction of looking for their names.
macro_rules! stored {
    ($first_visible:vis $first:ident: $first_type:ty, $($visible:vis $column:ident: $type:ty),+ $(,)?) => {
        #[derive(Clone)]
        pub struct Row {
            $first_visible $first: $first_type,
            $($visible $column: $type,)+
        }

        pub const COLUMNS: &str = concat!("t.", stringify!($first), $(", t.", stringify!($column)),+);

        impl FromRow<'_, PgRow> for Row {
            fn from_row(row: &PgRow) -> sqlx::Result<Self> {
                let mut places = 1..;
                Ok(Self {
                    $first: row.try_get(0)?,
                    $($column: row.try_get(places.next().unwrap_or_default())?,)+
                })
            }
        }
    };
}

stored! {
    pub id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) request_hash: Option<Vec<u8>>,
    pub(super) parent_id: Option<Uuid>,
    pub(super) bank_account_id: Option<Uuid>,
    pub(super) provider_id: Option<Uuid>,
    pub(super) provider_status: Option<String>,
    pub(super) checkout_url: Option<String>,
    pub(super) execution_url: Option<String>,
    pub(super) provider_created_at: Option<DateTime>,
    pub(super) failure_reason: Option<String>,
    pub(super) description: Option<String>,
    pub(super) metadata: serde_json::Value,
    pub(super) refunded_minor: i64,
    pub(super) charged_back_minor: i64,
    pub(super) repaid_minor: i64,
    pub(super) owed_minor: i64,
    pub(super) held_code: Option<String>,
    pub(super) held_reason: Option<String>,
    pub(super) held_at: Option<DateTime>,
    pub(super) dismissed_reason: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) due_at: Option<DateTime>,
    pub(super) attempts: i32,
    pub(super) version: i32,
    pub(super) created_at: DateTime,
    pub(super) updated_at: DateTime,
    pub(super) completed_at: Option<DateTime>,
    pub(super) direction: Option<String>,
    pub(super) outflow_minor: Option<i64>,
    pub(super) destination_bank: Option<String>,
    pub(super) destination_last_four: Option<String>,
    pub(super) expires_at: Option<DateTime>,
}

/// Stored data that does not parse was not written by us: an internal error that names the row.
impl TryFrom<Row> for Transaction {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let unreadable = |what: &str| Error::internal(format!("transactions.{what} of {} cannot be read", row.id));
        let currency = Currency::parse(&row.currency).ok_or_else(|| unreadable("currency"))?;
        let kind = Kind::parse(&row.kind).ok_or_else(|| unreadable("kind"))?;
        let word = |what, text: Option<&str>, known: bool| {
            if text.is_some() && !known { Err(unreadable(what)) } else { Ok(()) }
        };
        let failure_reason = row.failure_reason.as_deref().and_then(FailureReason::parse);
        let outcome = row.outcome.as_deref().and_then(Outcome::parse);
        word("failure_reason", row.failure_reason.as_deref(), failure_reason.is_some())?;
        word("outcome", row.outcome.as_deref(), outcome.is_some())?;
        let held = match (row.held_code.as_deref(), row.held_reason, row.held_at) {
            (None, None, None) => None,
            (Some(code), Some(reason), Some(at)) => {
                Some(Held { code: Hold::parse(code).ok_or_else(|| unreadable("held_code"))?, reason, at })
            }
            _ => return Err(unreadable("held_code")),
        };
        let own_direction = || row.direction.as_deref().and_then(Direction::parse);
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            kind,
            direction: kind.direction().or_else(own_direction).ok_or_else(|| unreadable("direction"))?,
            state: State::parse(&row.state).ok_or_else(|| unreadable("state"))?,
            amount: Amount::new(row.amount_minor, currency).map_err(|_| unreadable("amount_minor"))?,
            outflow: Amount::new(row.outflow_minor.unwrap_or(0).max(row.amount_minor), currency)
                .map_err(|_| unreadable("outflow_minor"))?,
            parent_id: row.parent_id,
            bank_account_id: row.bank_account_id,
            destination: row
                .destination_bank
                .zip(row.destination_last_four)
                .map(|(bank_name, last_four)| Destination { bank_name, last_four }),
            provider: Provider {
                id: row.provider_id,
                status: row.provider_status,
                checkout_url: row.checkout_url,
                execution_url: row.execution_url,
                created_at: row.provider_created_at,
                expires_at: row.expires_at,
            },
            failure_reason,
            outcome,
            description: row.description,
            metadata: Metadata::stored(row.metadata).ok_or_else(|| unreadable("metadata"))?,
            reversed: Reversed { refunded_minor: row.refunded_minor, charged_back_minor: row.charged_back_minor },
            repaid_minor: row.repaid_minor,
            owed_minor: row.owed_minor,
            held,
            dismissed_reason: row.dismissed_reason,
            due_at: row.due_at,
            attempts: row.attempts,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
        })
    }
}

/// The columns of a [`Row`], once: `rows!("select ", " from …", arguments)`.
macro_rules! rows {
    ($before:tt, $after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            $before
                + "id, user_id, kind, state, amount_minor, currency, request_hash, parent_id, bank_account_id, provider_id, \
                   provider_status, checkout_url, execution_url, provider_created_at, failure_reason, refunded_minor, \
                   charged_back_minor, repaid_minor, owed_minor, held_code, held_reason, held_at, dismissed_reason, outcome, description, metadata, due_at, attempts, version, \
                   created_at, updated_at, completed_at, direction, outflow_minor, destination_bank, destination_last_four, \
                   expires_at"
                + $after
            $(, $argument)*
        )
    };
}

pub(super) use rows;

/// A row that follows from another one. False when it is there already, known by Revio's object.
pub(super) async fn insert_child(db: impl PgExecutor<'_>, child: &Child<'_>, now: DateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into transactions (id, user_id, kind, state, amount_minor, currency, parent_id, provider_id, due_at,
                                   updated_at, states)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $4)
         on conflict (provider_id) where provider_id is not null do nothing",
        child.id,
        child.parent.user_id,
        child.kind.name(),
        child.state.name(),
        child.amount.minor(),
        child.amount.currency().code(),
        child.parent.id,
        child.provider_id,
        now,
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// The only withdrawals without a bank account. False when it is there.
pub(super) async fn insert_lost(db: impl PgExecutor<'_>, lost: &LostWithdrawal, now: DateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into transactions (id, user_id, kind, state, amount_minor, currency, failure_reason, due_at, updated_at, states)
         values ($1, $2, 'withdrawal', 'reserved', $3, $4, $5, $6, $6, 'reserved') on conflict (id) do nothing",
        lost.id,
        lost.user_id,
        lost.amount.minor(),
        lost.amount.currency().code(),
        lost.why.map(FailureReason::name),
        now,
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// What Revio has given back of a deposit so far. False when the row is not at its version any more.
pub(super) async fn set_reversed(
    db: impl PgExecutor<'_>,
    deposit: &Transaction,
    reversed: Reversed,
    now: DateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update transactions set refunded_minor = $3, charged_back_minor = $4, version = version + 1, noted_at = $5
          where id = $1 and version = $2",
        deposit.id,
        deposit.version,
        reversed.refunded_minor,
        reversed.charged_back_minor,
        now,
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn find_by_key(db: impl PgExecutor<'_>, user_id: Uuid, key: &str) -> sqlx::Result<Option<Row>> {
    rows!("select ", " from transactions where user_id = $1 and idempotency_key = $2", user_id, key)
        .fetch_optional(db)
        .await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Row>> {
    rows!("select ", " from transactions where id = $1", id).fetch_optional(db).await
}

pub(super) async fn find_all(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Row>> {
    rows!("select ", " from transactions where id = any($1) order by id desc", ids).fetch_all(db).await
}

/// Locks the row until the end of the SQL transaction. False when it is not at `version` any more.
pub(super) async fn lock(db: impl PgExecutor<'_>, id: Uuid, version: i32) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!("select version from transactions where id = $1 for update", id);
    Ok(found.fetch_optional(db).await? == Some(version))
}

pub(super) async fn has_waited(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    let waited = sqlx::query_scalar!(
        r#"select states like '%awaiting_approval%' or states like '%submitting%' as "waited!" from transactions where id = $1"#,
        id
    );
    waited.fetch_one(db).await
}

/// The rows of these objects, and those that their references name.
pub(super) async fn find_for_provider(
    db: impl PgExecutor<'_>,
    objects: &[(Kind, Uuid, Option<Uuid>)],
) -> sqlx::Result<Vec<Row>> {
    rows!(
        "select ",
        " from transactions where id = any(array(select t.id from transactions t where t.provider_id = any($1)
                                                  union select unnest($2::uuid[])))",
        &objects.iter().map(|(_, object, _)| *object).collect::<Vec<Uuid>>(),
        &objects.iter().filter_map(|(_, _, reference)| *reference).collect::<Vec<Uuid>>()
    )
    .fetch_all(db)
    .await
}

/// Takes due rows, oldest first, and pushes them one lease ahead; rows that another worker is taking are passed over.
pub(super) async fn claim_due(
    db: impl PgExecutor<'_>,
    kinds: &[String],
    lease: Lease,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    rows!(
        // The index has the oldest of each kind first: however much is due, no more is read than is taken. As an array, the ids are found
        // by their index whatever the plan.
        "update transactions set due_at = $3
          where id = any(array(select due.id from unnest($1::text[]) as queue (of_kind)
                                cross join lateral (select id, due_at from transactions where kind = of_kind and due_at <= $2
                                                     order by due_at, id limit $4 for update skip locked) due
                                order by due.due_at, due.id limit $4))
         returning ",
        "",
        kinds,
        lease.now,
        lease.until,
        limit
    )
    .fetch_all(db)
    .await
}

pub(super) async fn rest(db: impl PgExecutor<'_>, id: Uuid, version: i32) -> sqlx::Result<()> {
    sqlx::query!("update transactions set due_at = null, attempts = 0 where id = $1 and version = $2", id, version)
        .execute(db)
        .await
        .map(drop)
}

/// Whether something of the user's is under way: asked for and not at its end.
pub async fn has_open(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select 1 from transactions
            where user_id = $1 and state in
                ('initiated', 'awaiting_payment', 'reserved', 'awaiting_approval', 'submitting', 'submitted')
              -- What is neither due nor held was dismissed.
              and (due_at is not null or held_reason is not null)) as "found!""#,
        user_id
    );
    found.fetch_one(db).await
}

/// How many moves the user's rows have made: as long as it stays the same, nothing was begun and nothing went on.
pub async fn count_moves(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<i64> {
    let moves = sqlx::query_scalar!(
        r#"select coalesce(sum(version + 1), 0)::bigint as "moves!" from transactions where user_id = $1"#,
        user_id
    );
    moves.fetch_one(db).await
}

pub(super) async fn is_staff(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<bool> {
    let staff = sqlx::query_scalar!(r#"select role <> 'user' as "staff!" from users where id = $1"#, user_id);
    Ok(staff.fetch_optional(db).await?.unwrap_or(false))
}

/// What waits of each kind, none left out: due, on hold, awaiting approval. Each count reads a range of an index, and ends. A withdrawal
/// waits for nobody while its bank account is new: it may go on by itself then.
pub(super) async fn depths(
    db: impl PgExecutor<'_>,
    kinds: &[String],
    (now, cooling): (DateTime, Option<TimeDelta>),
) -> sqlx::Result<Vec<Depth>> {
    let query = sqlx::query_as!(
        Depth,
        r#"select kind as "queue!", what as "what!", waits.rows as "rows!", waits.oldest
             from unnest($1::text[]) as kinds (kind), lateral (
                  select 'due' as what, count(*) as rows, min(due_at) as oldest
                    from (select due_at from transactions t where t.kind = kinds.kind and due_at <= $2
                           order by due_at limit $3) as due
                  union all
                  select 'held', count(*), min(held_at)
                    from (select held_at from transactions t where t.kind = kinds.kind and held_reason is not null
                           order by held_at limit $3) as held
                  union all
                  select 'awaiting_approval', count(*), min(since)
                    from (select greatest(t.updated_at, a.created_at + $4::bigint * interval '1 second') as since
                            from transactions t left join bank_accounts a on a.id = t.bank_account_id
                           where t.kind = kinds.kind and t.state = 'awaiting_approval'
                           order by t.id limit $3) as undecided where since <= $2) as waits"#,
        kinds,
        now,
        COUNTED_MAX,
        cooling.map(|cooling| cooling.num_seconds()),
    );
    query.fetch_all(db).await
}

/// Older rows that follow from the same one and are not booked yet; and whether a chargeback of it was closed by people, and is booked as they
/// have booked it.
pub struct OlderSiblings {
    pub due: bool,
    pub held: bool,
    pub closed: bool,
}

/// In the order of their ids; but a reversal comes after each chargeback, whatever Revio said of their times. A reversal that is due only
/// after `soon`, which is later than any lease ends, waits for a person itself and keeps nobody.
pub(super) async fn older_siblings(
    db: impl PgExecutor<'_>,
    row: &Transaction,
    soon: DateTime,
) -> sqlx::Result<OlderSiblings> {
    let query = sqlx::query_as!(
        OlderSiblings,
        r#"with waiting as (
               select id, kind, due_at, held_reason, kind = 'chargeback_reversal' as reverses
                 from transactions where parent_id = $1 and state = 'initiated'),
           placed as (
               select *, case when reverses then greatest(id::text, (select max(id::text) from waiting where kind = 'chargeback'))
                              else id::text end as place from waiting)
           select coalesce(bool_or(o.due_at <= $3 or o.due_at is not null and not o.reverses), false) as "due!",
                  coalesce(bool_or(o.held_reason is not null), false) as "held!",
                  exists (select from transactions where parent_id = $1 and kind = 'chargeback' and state = 'failed'
                             and failure_reason = 'closed_by_review') as "closed!"
             from placed o join placed me on (o.place, o.reverses, o.id) < (me.place, me.reverses, me.id)
            where me.id = $2"#,
        row.parent_id,
        row.id,
        soon
    );
    query.fetch_one(db).await
}

/// The rows that follow from this one and are about these objects of Revio's.
pub(super) async fn children_of(db: impl PgExecutor<'_>, parent: Uuid, objects: &[Uuid]) -> sqlx::Result<Vec<Row>> {
    rows!("select ", " from transactions where parent_id = $1 and provider_id = any($2) order by id", parent, objects)
        .fetch_all(db)
        .await
}

/// That it was first set aside is told with the hold that follows it; any other is a change of its own, by a higher version.
pub(super) async fn set_outcome(
    db: impl PgExecutor<'_>,
    id: Uuid,
    outcome: Outcome,
    now: DateTime,
) -> sqlx::Result<()> {
    let done = sqlx::query!(
        "update transactions
            set outcome = $2, noted_at = $3, version = version + (outcome is not null or $2 <> 'set_aside')::int
          where id = $1 and outcome is distinct from $2",
        id,
        outcome.name(),
        now
    );
    done.execute(db).await.map(drop)
}
