//! SQL of `journals`.

use chrono::NaiveDate;
use ledger::{Amount, Currency};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::journal::{Arrival, Evidence, Failure, Journal, Move, NewJournal, Outcome, State};
use super::kinds::{EvidenceKind, Kind, OpenAccount};
use crate::money::transactions::Direction;
use crate::platform::clock::DateTime;
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::queue::{COUNTED_MAX, Depth, Lease};

/// Which are listed; `None` does not narrow.
#[derive(Debug, Default)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub state: Option<State>,
    /// Those that a person must look at, or the others.
    pub held: Option<bool>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) requested_by: Uuid,
    pub(super) new: &'a NewJournal,
    pub(super) key: &'a IdempotencyKey,
    pub(super) request_hash: &'a RequestHash,
    pub(super) now: DateTime,
    pub(super) due_at: DateTime,
}

/// A row whose step is due.
pub(super) struct Claimed {
    pub(super) id: Uuid,
}

struct Row {
    id: Uuid,
    kind: Kind,
    state: State,
    amount_minor: i64,
    currency: String,
    account: Option<OpenAccount>,
    user_id: Option<Uuid>,
    item_id: Option<Uuid>,
    evidence_kind: EvidenceKind,
    evidence_reference: String,
    evidence_sha256: Vec<u8>,
    evidence_date: NaiveDate,
    reason: String,
    requested_by: Uuid,
    created_at: DateTime,
    updated_at: DateTime,
    booking_at: Option<DateTime>,
    sent_at: Option<DateTime>,
    expected_on: Option<NaiveDate>,
    arrival_outcome: Option<Outcome>,
    arrival_reference: Option<String>,
    arrival_sha256: Option<Vec<u8>>,
    arrival_date: Option<NaiveDate>,
    ended_at: Option<DateTime>,
    failure: Option<Failure>,
    due_at: Option<DateTime>,
    attempts: i32,
    version: i32,
    held_reason: Option<String>,
    day_minor: i64,
    same_evidence: Vec<Uuid>,
}

/// Stored data that does not parse was not written by us.
impl TryFrom<Row> for Journal {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let unreadable = || sqlx::Error::Decode(format!("journals {} cannot be read", row.id).into());
        let currency = Currency::parse(&row.currency).ok_or_else(unreadable)?;
        let hash = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| unreadable());
        let arrival = match (row.arrival_outcome, row.arrival_reference, row.arrival_sha256, row.arrival_date) {
            (Some(outcome), Some(reference), Some(sha256), Some(date)) => {
                Some(Arrival { outcome, reference, sha256: hash(sha256)?, date })
            }
            _ => None,
        };
        Ok(Self {
            id: row.id,
            kind: row.kind,
            state: row.state,
            amount: Amount::new(row.amount_minor, currency).map_err(|_| unreadable())?,
            account: row.account,
            user_id: row.user_id,
            item_id: row.item_id,
            evidence: Evidence {
                kind: row.evidence_kind,
                reference: row.evidence_reference,
                sha256: hash(row.evidence_sha256)?,
                date: row.evidence_date,
            },
            reason: row.reason,
            requested_by: row.requested_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            sent_at: row.sent_at,
            expected_on: row.expected_on,
            arrival,
            ended_at: row.ended_at,
            failure: row.failure,
            held_reason: row.held_reason,
            due_at: row.due_at,
            version: row.version,
            attempts: row.attempts,
            booking_at: row.booking_at,
            day_minor: row.day_minor,
            same_evidence: row.same_evidence,
        })
    }
}

/// The rows `j` that a clause picks.
macro_rules! rows {
    ($clause:literal, $($value:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select j.id, j.kind as "kind: Kind", j.state as "state: State", j.amount_minor, j.currency,
                      j.account as "account: OpenAccount", j.user_id, j.item_id, j.evidence_kind as "evidence_kind: EvidenceKind",
                      j.evidence_reference, j.evidence_sha256, j.evidence_date, j.reason, j.requested_by, j.created_at, j.updated_at,
                      j.booking_at, j.sent_at, j.expected_on, j.arrival_outcome as "arrival_outcome: Outcome", j.arrival_reference,
                      j.arrival_sha256, j.arrival_date, j.ended_at, j.failure_reason as "failure: Failure", j.due_at, j.attempts,
                      j.version, j.held_reason,
                      (select coalesce(sum(d.amount_minor), 0)::bigint from journals d
                        where d.kind = j.kind and d.currency = j.currency
                          and d.created_at > j.created_at - interval '24 hours'
                          and d.created_at < j.created_at + interval '24 hours'
                          and d.state not in ('rejected', 'cancelled', 'expired', 'returned')) as "day_minor!",
                      array(select e.id from journals e
                             where e.evidence_sha256 = j.evidence_sha256 and e.evidence_reference = j.evidence_reference
                               and e.id <> j.id and e.state not in ('rejected', 'cancelled', 'expired', 'returned')
                             order by e.id desc limit 20) as "same_evidence!"
                 from journals j "# + $clause,
            $($value),+
        )
    };
}

/// False when the maker's key made one before.
pub(super) async fn insert(db: impl PgExecutor<'_>, row: &New<'_>) -> sqlx::Result<bool> {
    let evidence = &row.new.evidence;
    let insert = sqlx::query!(
        "insert into journals (id, kind, amount_minor, currency, account, user_id, item_id, evidence_kind, evidence_reference,
                               evidence_sha256, evidence_date, reason, requested_by, created_at, idempotency_key, request_hash,
                               state, updated_at, due_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'awaiting_approval', $14, $17)
         on conflict (requested_by, idempotency_key) do nothing",
        row.id,
        row.new.kind.name(),
        row.new.amount.minor(),
        row.new.amount.currency().code(),
        row.new.account.map(OpenAccount::name),
        row.new.user_id,
        row.new.item_id,
        evidence.kind.name(),
        evidence.reference,
        evidence.sha256.as_slice(),
        evidence.date,
        row.new.reason,
        row.requested_by,
        row.now,
        row.key.as_str(),
        row.request_hash.as_bytes(),
        row.due_at,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

/// Which row a key made, and the hash of its request.
pub(super) async fn find_by_key(db: impl PgExecutor<'_>, by: Uuid, key: &str) -> sqlx::Result<Option<(Uuid, Vec<u8>)>> {
    let row =
        sqlx::query!("select id, request_hash from journals where requested_by = $1 and idempotency_key = $2", by, key);
    Ok(row.fetch_optional(db).await?.map(|row| (row.id, row.request_hash)))
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Journal>> {
    rows!("where j.id = $1", id).fetch_optional(db).await?.map(Journal::try_from).transpose()
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Journal>> {
    let page = rows!(
        "where ($1::text is null or j.kind = $1) and ($2::text is null or j.state = $2)
           and ($3::boolean is null or (j.held_reason is not null) = $3) and ($4::uuid is null or j.id < $4)
         order by j.id desc limit $5",
        filter.kind.map(Kind::name),
        filter.state.map(State::name),
        filter.held,
        filter.before,
        filter.limit,
    );
    page.fetch_all(db).await?.into_iter().map(Journal::try_from).collect()
}

/// Locks the row until the end of the SQL transaction. False when it is not at `version` any more.
pub(super) async fn lock(db: impl PgExecutor<'_>, id: Uuid, version: i32) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!("select version from journals where id = $1 for update", id);
    Ok(found.fetch_optional(db).await? == Some(version))
}

/// False when the row is not at `version` any more. A hold ends with the move.
pub(super) async fn advance(db: impl PgExecutor<'_>, row: &Journal, to: &Move, now: DateTime) -> sqlx::Result<bool> {
    let (sent_at, expected_on) = to.sent.unzip();
    let (arrival, approved) = (to.arrival.as_ref(), to.approved.as_ref());
    let done = sqlx::query!(
        "update journals
            set state = $3, version = version + 1, updated_at = $4, due_at = $5, attempts = 0, held_reason = null,
                ended_at = case when $6 then $4::timestamptz end,
                failure_reason = case when $3 <> 'completed' then coalesce($7, failure_reason) end,
                sent_at = coalesce($8, sent_at), expected_on = coalesce($9, expected_on),
                arrival_outcome = coalesce($10, arrival_outcome), arrival_reference = coalesce($11, arrival_reference),
                arrival_sha256 = coalesce($12, arrival_sha256), arrival_date = coalesce($13, arrival_date),
                approved_hash = coalesce($14, approved_hash), approved_until = coalesce($15, approved_until)
          where id = $1 and version = $2",
        row.id,
        row.version,
        to.state.name(),
        now,
        to.due_at,
        to.state.has_ended(),
        to.failure.map(Failure::name),
        sent_at,
        expected_on,
        arrival.map(|arrival| arrival.outcome.name()),
        arrival.map(|arrival| &arrival.reference),
        arrival.map(|arrival| arrival.sha256.as_slice()),
        arrival.map(|arrival| arrival.date),
        approved.map(|approved| approved.hash.as_slice()),
        approved.map(|approved| approved.until),
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn begin_booking(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!("update journals set booking_at = $2 where id = $1", id, now).execute(db).await.map(drop)
}

/// Takes due rows, oldest first, and pushes them one lease ahead; rows that another worker is taking are passed over.
pub(super) async fn claim_due(db: impl PgExecutor<'_>, lease: Lease, limit: i64) -> sqlx::Result<Vec<Claimed>> {
    let claimed = sqlx::query_as!(
        Claimed,
        "update journals set due_at = $2
          where id in (select id from journals where due_at <= $1 order by due_at, id limit $3 for update skip locked)
         returning id",
        lease.now,
        lease.until,
        limit
    );
    claimed.fetch_all(db).await
}

/// The row keeps its version: nothing moved. One that moved meanwhile is left alone.
pub(super) async fn defer(
    db: impl PgExecutor<'_>,
    row: &Journal,
    due_at: Option<DateTime>,
    attempts: i32,
) -> sqlx::Result<()> {
    let done = sqlx::query!(
        "update journals set due_at = $3, attempts = $4 where id = $1 and version = $2 and due_at is not null",
        row.id,
        row.version,
        due_at,
        attempts
    );
    done.execute(db).await.map(drop)
}

/// A person must look. False when the row is not at its version any more.
pub(super) async fn hold(db: impl PgExecutor<'_>, row: &Journal, reason: &str, now: DateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update journals set held_reason = $3, due_at = null, version = version + 1, updated_at = $4
          where id = $1 and version = $2",
        row.id,
        row.version,
        reason,
        now
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn set_settled(
    db: impl PgExecutor<'_>,
    id: Uuid,
    row: Uuid,
    direction: Direction,
) -> sqlx::Result<()> {
    let update = sqlx::query!(
        "update journals set settles_id = $2, settles_direction = $3 where id = $1",
        id,
        row,
        direction.name()
    );
    update.execute(db).await.map(drop)
}

pub(super) async fn set_fee_of(db: impl PgExecutor<'_>, id: Uuid, row: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update journals set fee_of_id = $2 where id = $1", id, row).execute(db).await.map(drop)
}

/// Those of the rows whose fee a journal has booked.
pub(super) async fn fees_of(db: impl PgExecutor<'_>, rows: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    let booked =
        sqlx::query_scalar!(r#"select distinct fee_of_id as "row!" from journals where fee_of_id = any($1)"#, rows);
    booked.fetch_all(db).await
}

/// What waits: due, on hold, awaiting approval, on its way. Each count reads a range of an index, and ends.
pub(super) async fn depths(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<Vec<Depth>> {
    let query = sqlx::query_as!(
        Depth,
        r#"select 'journal' as "queue!", what as "what!", waits.rows as "rows!", waits.oldest
             from (select 'due' as what, count(*) as rows, min(due_at) as oldest
                     from (select due_at from journals where due_at <= $1 order by due_at limit $2) as due
                   union all
                   select 'held', count(*), min(updated_at)
                     from (select updated_at from journals where held_reason is not null order by updated_at limit $2) as held
                   union all
                   select 'awaiting_approval', count(*), min(updated_at)
                     from (select updated_at from journals where state = 'awaiting_approval' and ended_at is null
                            order by id limit $2) as undecided
                   union all
                   select 'in_transit', count(*), min(sent_at)
                     from (select sent_at from journals where state = 'in_transit' and ended_at is null
                            order by id limit $2) as travelling) as waits"#,
        now,
        COUNTED_MAX,
    );
    query.fetch_all(db).await
}

/// Whether a Payment of Revio's, by which money went back to a payer or came again, is booked by its row, or by the item of its purchase.
pub(super) async fn is_booked_by_itself(db: impl PgExecutor<'_>, payment: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from transactions where provider_id = $1 and parent_id is not null
                             and (state = 'completed' or state = 'initiated' and held_reason is null))
               or exists (select from provider_objects p join suspense_items s on s.provider_id = p.related_id
                            join suspense_clearings c on c.item_id = s.id and c.provider_id = s.provider_id
                                                     and (c.amount_minor < 0) = (p.kind = 'chargeback_reversal')
                           where p.id = $1) as "is!""#,
        payment
    )
    .fetch_one(db)
    .await
}

/// The transaction that an object of Revio's belongs to, which books it.
pub(super) async fn row_of(db: impl PgExecutor<'_>, object: Uuid) -> sqlx::Result<Option<Uuid>> {
    let row = sqlx::query_scalar!(
        r#"select id as "id!" from transactions where provider_id = $1
           union all
           select transaction_id from provider_objects where id = $1 and transaction_id is not null limit 1"#,
        object
    );
    row.fetch_optional(db).await
}
