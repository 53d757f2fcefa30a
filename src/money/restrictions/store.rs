//! SQL of `restrictions`.

use ledger::Currency;
use serde::{Deserialize, Serialize, Serializer};
use sqlx::PgExecutor;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Kind, State};
use crate::platform::queue::{COUNTED_MAX, Depth, Lease};
use crate::platform::{clock::DateTime, error::Error};

#[derive(Clone)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) kind: String,
    pub(super) currency: String,
    pub(super) call_id: Uuid,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) imposed_by: Option<Uuid>,
    pub(super) protective: bool,
    pub(super) repeats: Json<Vec<Repeat>>,
    pub(super) attempts: i32,
    pub(super) created_at: DateTime,
    pub(super) updated_at: DateTime,
}

/// What somebody said who froze or closed once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RestrictionRepeat)]
pub struct Repeat {
    pub reason: String,
    /// Who of the staff; null where the service did.
    pub imposed_by: Option<Uuid>,
    pub at: DateTime,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Restriction {
    pub id: Uuid,
    pub user_id: Uuid,
    pub kind: Kind,
    #[serde(serialize_with = "code")]
    #[schema(value_type = String, example = "ZAR")]
    pub currency: Currency,
    #[serde(skip)]
    pub call_id: Uuid,
    pub state: State,
    pub reason: String,
    /// Who of the staff; null where the service did.
    pub imposed_by: Option<Uuid>,
    /// A freeze by somebody who may not lift it, that nobody who may has looked at yet.
    pub protective: bool,
    /// Why it was imposed again, while it was there; the oldest first, at most the last 20.
    pub repeats: Vec<Repeat>,
    #[serde(skip)]
    pub attempts: i32,
    pub created_at: DateTime,
    pub updated_at: DateTime,
}

fn code<S: Serializer>(currency: &Currency, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(currency.code())
}

/// Whose restrictions are listed; `None` does not narrow.
#[derive(Debug, Clone)]
pub struct Filter {
    pub state: Option<State>,
    /// Only those that wait for somebody who may lift them.
    pub protective: Option<bool>,
    /// Older than this one.
    pub before: Option<Uuid>,
    pub limit: i64,
}

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) kind: &'static str,
    pub(super) currency: &'static str,
    pub(super) call_id: Uuid,
    pub(super) reason: &'a str,
    pub(super) imposed_by: Option<Uuid>,
    pub(super) protective: bool,
}

/// Stored data that does not parse was not written by us: an internal error that names the row.
impl TryFrom<Row> for Restriction {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let unreadable = |what: &str| Error::internal(format!("restrictions.{what} of {} cannot be read", row.id));
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            kind: Kind::parse(&row.kind).ok_or_else(|| unreadable("kind"))?,
            currency: Currency::parse(&row.currency).ok_or_else(|| unreadable("currency"))?,
            call_id: row.call_id,
            state: State::parse(&row.state).ok_or_else(|| unreadable("state"))?,
            reason: row.reason,
            imposed_by: row.imposed_by,
            protective: row.protective,
            repeats: row.repeats.0,
            attempts: row.attempts,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The columns of a [`Row`], once: `rows!("select ", " from …", arguments)`.
macro_rules! rows {
    ($before:tt, $after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            $before
                + r#"id, user_id, kind, currency, call_id, state, reason, imposed_by, protective, repeats as "repeats: Json<Vec<Repeat>>",
                     attempts, created_at, updated_at"#
                + $after
            $(, $argument)*
        )
    };
}

/// False when the account has one already.
pub(super) async fn insert_once(
    db: impl PgExecutor<'_>,
    new: &New<'_>,
    now: DateTime,
    due_at: DateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into restrictions (id, user_id, kind, currency, call_id, state, reason, due_at, created_at, updated_at,
                                   imposed_by, protective, was_protective)
         values ($1, $2, $3, $4, $5, 'initiated', $6, $7, $8, $8, (select u.id from users u where u.id = $9), $10, $10)
         on conflict (user_id, currency) where state <> 'lifted' do nothing",
        new.id,
        new.user_id,
        new.kind,
        new.currency,
        new.call_id,
        new.reason,
        due_at,
        now,
        new.imposed_by,
        new.protective,
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// On what there was before the call; how many that were.
pub(super) async fn repeat(
    db: impl PgExecutor<'_>,
    (user_id, kind, call_id): (Uuid, &str, Uuid),
    repeat: &Repeat,
) -> sqlx::Result<u64> {
    let update = sqlx::query!(
        "update restrictions
            set repeats = case when jsonb_array_length(repeats) < 20 then repeats else repeats - 0 end || $4::jsonb
          where id in (select id from restrictions
                        where user_id = $1 and kind = $2 and call_id <> $3 and state in ('initiated', 'in_force') order by id for update)
            and state in ('initiated', 'in_force')",
        user_id,
        kind,
        call_id,
        Json(repeat) as _
    );
    Ok(update.execute(db).await?.rows_affected())
}

/// What waits for a second person to undo something of the kind ends. Their ids.
pub(super) async fn overtake_requests(
    db: impl PgExecutor<'_>,
    (user_id, request): (Uuid, &str),
    note: &str,
) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "update requests set state = 'expired', note = $3 where user_id = $1 and kind = $2 and state = 'pending' returning id",
        user_id,
        request,
        note
    );
    query.fetch_all(db).await
}

pub(super) struct Protected {
    pub(super) calls: i64,
    pub(super) oldest: Option<DateTime>,
}

/// Whom one person has frozen for protection since, whatever became of it.
pub(super) async fn protected_since(db: impl PgExecutor<'_>, by: Uuid, since: DateTime) -> sqlx::Result<Protected> {
    let query = sqlx::query_as!(
        Protected,
        r#"select count(distinct call_id) as "calls!", min(created_at) as oldest
             from restrictions where imposed_by = $1 and created_at > $2 and was_protective"#,
        by,
        since
    );
    query.fetch_one(db).await
}

/// Somebody who may lift them has looked. False when none waited for that.
pub(super) async fn confirm(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update restrictions set protective = false where user_id = $1 and protective and state <> 'lifted'",
        user_id
    );
    Ok(update.execute(db).await?.rows_affected() > 0)
}

/// Those that are not lifted.
pub(super) async fn live(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Vec<Row>> {
    rows!("select ", " from restrictions where user_id = $1 and state <> 'lifted' order by id", user_id)
        .fetch_all(db)
        .await
}

pub(super) async fn list_for(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Vec<Row>> {
    rows!("select ", " from restrictions where user_id = $1 order by id desc limit 200", user_id).fetch_all(db).await
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    rows!(
        "select ",
        " from restrictions
          where ($1::text is null or state = $1) and ($2::uuid is null or id < $2)
            and ($4::boolean is null or (protective and state <> 'lifted') = $4) order by id desc limit $3",
        filter.state.map(State::name),
        filter.before,
        filter.limit,
        filter.protective,
    )
    .fetch_all(db)
    .await
}

/// Until the end of the transaction. Without it two currencies that are stepped at once each decide by what the other was: one
/// is refused while the other comes into force.
pub(super) async fn lock_call(db: impl PgExecutor<'_>, call_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("select from restrictions where call_id = $1 order by id for update", call_id).execute(db).await?;
    Ok(())
}

/// Whether a row of the call was not enforced: then none of it is.
pub(super) async fn was_refused(db: impl PgExecutor<'_>, call_id: Uuid) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select 1 from restrictions where call_id = $1 and state in ('lifting', 'lifted')) as "found!""#,
        call_id
    );
    found.fetch_one(db).await
}

pub(super) async fn lift_call(db: impl PgExecutor<'_>, call_id: Uuid, now: DateTime) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "update restrictions set state = 'lifting', due_at = $2, attempts = 0, updated_at = $2
          where call_id = $1 and state = 'in_force' returning id",
        call_id,
        now
    );
    query.fetch_all(db).await
}

/// Those that are in force are due at once.
pub(super) async fn make_due(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<()> {
    let due = sqlx::query!("update restrictions set due_at = $1, attempts = 0 where state = 'in_force'", now);
    due.execute(db).await.map(drop)
}

/// Ends the hold of every transaction that was held for a freeze, where none is left, and no closure. How many.
pub(super) async fn resume_unfrozen(db: impl PgExecutor<'_>, reason: &str, now: DateTime) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "update transactions t set held_code = null, held_reason = null, held_at = null, due_at = $2, attempts = 0, version = version + 1,
                noted_at = $2
          where held_code = $1 and held_reason is not null and not exists (
                select from restrictions r where r.user_id = t.user_id and r.state <> 'lifted')",
        reason,
        now
    );
    Ok(done.execute(db).await?.rows_affected())
}

/// Or closed: of a ledger that was put back to an earlier moment a closed wallet may be full again.
pub(super) async fn frozen(db: impl PgExecutor<'_>, customers: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    let frozen = sqlx::query_scalar!(
        "select user_id from restrictions
          where user_id = any($1) and state in ('initiated', 'in_force', 'lifting')",
        customers
    );
    frozen.fetch_all(db).await
}

pub(super) async fn is_imposed(db: impl PgExecutor<'_>, user_id: Uuid, kind: &str) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select 1 from restrictions
            where user_id = $1 and kind = $2 and state in ('initiated', 'in_force', 'lifting')) as "found!""#,
        user_id,
        kind
    );
    found.fetch_one(db).await
}

pub(super) async fn begin_lifting(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    kind: &str,
    now: DateTime,
    due_at: DateTime,
) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        // In the order of [`lock_call`]: two that lock several rows never wait for each other.
        "update restrictions set state = 'lifting', due_at = $4, attempts = 0, updated_at = $3
          where id in (select id from restrictions where user_id = $1 and kind = $2 and state = 'in_force' order by id for update)
            and state = 'in_force' returning id",
        user_id,
        kind,
        now,
        due_at
    );
    query.fetch_all(db).await
}

pub(super) async fn claim_due(db: impl PgExecutor<'_>, lease: Lease, limit: i64) -> sqlx::Result<Vec<Row>> {
    rows!(
        "update restrictions set due_at = $2
          where id in (select id from restrictions where due_at <= $1 order by due_at for update skip locked limit $3)
         returning ",
        "",
        lease.now,
        lease.until,
        limit
    )
    .fetch_all(db)
    .await
}

/// `None` when somebody else moved it first. `times`: now, and when the next step is due.
pub(super) async fn advance(
    db: impl PgExecutor<'_>,
    id: Uuid,
    from: &str,
    to: &str,
    times: (DateTime, Option<DateTime>),
) -> sqlx::Result<Option<Row>> {
    rows!(
        "update restrictions set state = $3, updated_at = $4, due_at = $5, attempts = 0 where id = $1 and state = $2
         returning ",
        "",
        id,
        from,
        to,
        times.0,
        times.1,
    )
    .fetch_optional(db)
    .await
}

/// Nothing is due of one that is in force.
pub(super) async fn settle(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<()> {
    let settled = sqlx::query!(
        "update restrictions set due_at = null, attempts = 0 where id = $1 and state = 'in_force' and due_at is not null",
        id
    );
    settled.execute(db).await.map(drop)
}

/// One that moved meanwhile is left alone.
pub(super) async fn defer(
    db: impl PgExecutor<'_>,
    row: &Row,
    due_at: Option<DateTime>,
    attempts: i32,
) -> sqlx::Result<()> {
    let deferred = sqlx::query!(
        "update restrictions set due_at = $3, attempts = $4 where id = $1 and state = $2",
        row.id,
        row.state,
        due_at,
        attempts
    );
    deferred.execute(db).await.map(drop)
}

/// How many are neither in force nor lifted, how many protective freezes nobody has looked at, and since when the oldest.
pub(super) async fn depths(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Depth>> {
    let query = sqlx::query_as!(
        Depth,
        r#"select 'restriction' as "queue!", 'unfinished' as "what!", count(*) as "rows!", min(updated_at) as oldest
             from (select updated_at from restrictions where state in ('initiated', 'lifting')
                    order by updated_at limit $1) as unfinished
           union all
           select 'restriction', 'protective', count(distinct call_id), min(created_at)
             from (select call_id, created_at from restrictions where protective and state <> 'lifted'
                    order by id limit $1) as protective"#,
        COUNTED_MAX
    );
    query.fetch_all(db).await
}
