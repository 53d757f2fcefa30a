//! SQL of the inside leg: rows beside their transfers, a page at a time; the ledger's copy, summed.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::super::run::Run;
use crate::platform::clock::DateTime;

/// A row of `transactions` or `journals`, and what the ledger's copy has of it. Sums of what moved, by leg; null = no such transfer.
#[derive(Debug, Clone)]
pub(in super::super) struct Facts {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) version: i32,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) due_at: Option<DateTime>,
    pub(super) updated_at: DateTime,
    pub(super) held_at: Option<DateTime>,
    /// A withdrawal that is being given back.
    pub(super) is_ending: bool,
    /// posted or pending.
    pub(super) main_kind: Option<String>,
    pub(super) main_minor: Option<i64>,
    pub(super) post_minor: Option<i64>,
    pub(super) voided: bool,
    pub(super) late_minor: Option<i64>,
    pub(super) receivable_minor: Option<i64>,
    pub(super) returned_minor: Option<i64>,
    pub(super) unmatched_minor: Option<i64>,
    /// What it has set aside in suspense.
    pub(super) item_minor: Option<i64>,
    pub(super) transfers: i64,
}

/// Ids of rows behind `after`, in their order: those that changed within the run's window, or every row, as the run wants. A row that is
/// older than `oldest` is in its window by its transfers, which are looked at one by one.
pub(super) async fn rows_after(
    db: impl PgExecutor<'_>,
    run: &Run,
    (after, oldest): (Uuid, Uuid),
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        "select id from transactions where id > $1 and id > $2 and updated_at >= $3 and updated_at <= $4 order by id limit $5",
        after,
        oldest,
        run.since,
        run.until,
        limit
    );
    ids.fetch_all(db).await
}

pub(super) async fn journals_after(
    db: impl PgExecutor<'_>,
    run: &Run,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        "select id from journals where id > $1 and updated_at >= $2 and updated_at <= $3 order by id limit $4",
        after,
        run.since,
        run.until,
        limit
    );
    ids.fetch_all(db).await
}

/// A row's transfers are a range of ids; the last byte says which leg each is (`ledger::Leg`). What is in suspense in a currency that the books do
/// not have is in no copy of the ledger.
pub(super) async fn rows(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
    until: DateTime,
    currencies: &[String],
) -> sqlx::Result<Vec<Facts>> {
    let facts = sqlx::query_as!(
        Facts,
        r#"select r.id, r.kind, r.state, r.version, r.currency, r.amount_minor, r.due_at, r.updated_at, r.held_at,
                  r.failure_reason is not null as "is_ending!",
                  f.main_kind, f.main_minor, f.post_minor, coalesce(f.voided, false) as "voided!", f.late_minor,
                  f.receivable_minor, f.returned_minor, f.unmatched_minor, i.amount_minor as "item_minor?",
                  f.transfers as "transfers!"
             from transactions r
             left join suspense_items i on i.id = r.id and i.booked_at is not null and i.kind <> 'correction' and i.currency = any($3)
            cross join lateral (
                  select max(kind) filter (where leg = 1) as main_kind,
                         (sum(amount_minor) filter (where leg = 1))::bigint as main_minor,
                         (sum(amount_minor) filter (where leg = 2))::bigint as post_minor,
                         bool_or(leg = 3) as voided,
                         (sum(amount_minor) filter (where leg = 10))::bigint as late_minor,
                         (sum(amount_minor) filter (where leg = 6))::bigint as receivable_minor,
                         (sum(amount_minor) filter (where leg = 21))::bigint as returned_minor,
                         (sum(amount_minor) filter (where leg = 9))::bigint as unmatched_minor,
                         count(*) as transfers
                    from (select get_byte(uuid_send(t.id), 15) as leg, t.kind, t.amount_minor from ledger_transfers t
                           where t.id > r.id and t.id <= overlay(r.id::text placing 'ff' from 35)::uuid) as legs) as f
            where r.id = any($1) and r.updated_at <= $2"#,
        ids,
        until,
        currencies
    );
    facts.fetch_all(db).await
}

pub(super) async fn journals(db: impl PgExecutor<'_>, ids: &[Uuid], until: DateTime) -> sqlx::Result<Vec<Facts>> {
    let facts = sqlx::query_as!(
        Facts,
        r#"select r.id, r.kind, r.state, r.version, r.currency, r.amount_minor, r.due_at, r.updated_at,
                  null::timestamptz as held_at, r.failure_reason is not null as "is_ending!",
                  f.main_kind, f.main_minor, f.post_minor, coalesce(f.voided, false) as "voided!",
                  null::bigint as late_minor, null::bigint as receivable_minor, null::bigint as returned_minor,
                  null::bigint as unmatched_minor, null::bigint as item_minor, f.transfers as "transfers!"
             from journals r
            cross join lateral (
                  select max(kind) filter (where leg = 32) as main_kind,
                         (sum(amount_minor) filter (where leg = 32))::bigint as main_minor,
                         (sum(amount_minor) filter (where leg = 33))::bigint as post_minor,
                         bool_or(leg = 34) as voided, count(*) as transfers
                    from (select get_byte(uuid_send(t.id), 15) as leg, t.kind, t.amount_minor from ledger_transfers t
                           where t.id > r.id and t.id <= overlay(r.id::text placing 'ff' from 35)::uuid) as legs) as f
            where r.id = any($1) and r.updated_at <= $2"#,
        ids,
        until
    );
    facts.fetch_all(db).await
}

/// A transfer of the copy.
pub(super) struct Moved {
    pub(super) timestamp: i64,
    pub(super) id: Uuid,
    pub(super) reference: Uuid,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) executed_at: DateTime,
    /// A row asked for it, and its id is that row's.
    pub(super) asked_for: bool,
}

macro_rules! moved {
    ($which:tt $(, $argument:expr)+ $(,)?) => {
        sqlx::query_as!(
            Moved,
            r#"select t.timestamp, t.id, t.reference, t.currency, t.amount_minor, ledger_time(t.timestamp) as "executed_at!",
                      (overlay(t.id::text placing '00' from 35)::uuid = t.reference and (
                       exists (select from transactions r where r.id = t.reference)
                       or exists (select from journals r where r.id = t.reference)
                       or exists (select from suspense_items r where r.id = t.reference)
                       or exists (select from restrictions r where r.id = t.reference))) as "asked_for!"
                 from ledger_transfers t where "# + $which
            $(, $argument)+
        )
    };
}

pub(super) async fn moved_after(
    db: impl PgExecutor<'_>,
    after: i64,
    until: i64,
    limit: i64,
) -> sqlx::Result<Vec<Moved>> {
    moved!("t.timestamp > $1 and t.timestamp <= $2 order by t.timestamp limit $3", after, until, limit)
        .fetch_all(db)
        .await
}

pub(super) async fn moved(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Moved>> {
    moved!("t.id = $1", id).fetch_optional(db).await
}

/// All accounts of a currency, summed, in one statement and so of one moment.
pub(super) struct Sums {
    pub(super) currency: String,
    pub(super) debits: i64,
    pub(super) credits: i64,
    pub(super) debits_pending: i64,
    pub(super) credits_pending: i64,
    /// Wallets that hold less than nothing, or less than is reserved of them; debts of which more was repaid than was owed.
    pub(super) below_zero: i64,
    /// The account suspense, and what its items say.
    pub(super) suspense: i64,
    pub(super) items: i64,
    /// Items that are being moved.
    pub(super) moving: i64,
}

pub(super) async fn sums(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Sums>> {
    let sums = sqlx::query_as!(
        Sums,
        r#"select a.currency, sum(a.debits_posted)::bigint as "debits!", sum(a.credits_posted)::bigint as "credits!",
                  sum(a.debits_pending)::bigint as "debits_pending!", sum(a.credits_pending)::bigint as "credits_pending!",
                  count(*) filter (where a.code = 2000 and a.debits_posted + a.debits_pending > a.credits_posted
                                      or a.code = 1200 and a.credits_posted + a.credits_pending > a.debits_posted)
                    as "below_zero!",
                  coalesce(sum(a.credits_posted - a.debits_posted) filter (where a.code = 2900), 0)::bigint as "suspense!",
                  coalesce((select sum(i.amount_minor - i.taken_minor) from suspense_items i
                             where i.currency = a.currency and i.booked_at is not null), 0)::bigint as "items!",
                  (select count(*) from suspense_items i where i.currency = a.currency and i.booked_at is null) as "moving!"
             from ledger_accounts a group by a.currency order by a.currency"#
    );
    sums.fetch_all(db).await
}

pub(super) async fn currency_of_account(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select currency from ledger_accounts where id = $1", id).fetch_optional(db).await
}
