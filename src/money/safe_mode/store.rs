//! SQL of `safe_mode`, and of the transfers of the ledger that have no row.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;

/// Of several losses, while the safe mode is on.
const REASONS_CHARS_MAX: i32 = 1_000;

pub struct Entered {
    pub id: Uuid,
    pub entered_at: DateTime,
    pub reason: String,
}

/// A transfer of the ledger whose row is not there.
pub struct LostTransfer {
    pub id: Uuid,
    pub row_id: Uuid,
    pub executed_at: DateTime,
    pub currency: String,
    pub amount_minor: i64,
    pub code: i32,
    pub kind: String,
    /// The customer whose account it touches.
    pub user_id: Option<Uuid>,
}

/// False when it is on already, and of the same loss. `lost_until`: the last that PostgreSQL has forgotten, if it has.
pub(super) async fn enter(
    db: impl PgExecutor<'_>,
    (id, now): (Uuid, DateTime),
    reason: &str,
    lost_until: Option<DateTime>,
) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into safe_mode (id, entered_at, reason, open_rows_due, postgresql_behind_at, ledger_behind_at)
         values ($1, $2, $3, $4::timestamptz is not null, case when $4::timestamptz is not null then $2::timestamptz end,
                 case when $4::timestamptz is null then $2::timestamptz end)
         on conflict ((true)) where left_at is null
         do update set open_rows_due = safe_mode.open_rows_due or excluded.open_rows_due,
                       postgresql_behind_at = coalesce(excluded.postgresql_behind_at, safe_mode.postgresql_behind_at),
                       ledger_behind_at = coalesce(safe_mode.ledger_behind_at, excluded.ledger_behind_at),
                       reason = left(safe_mode.reason || '; ' || $3, $5)
             where case when $4 is null then safe_mode.ledger_behind_at is null
                        else $4 > coalesce(safe_mode.postgresql_behind_at, '-infinity') end",
        id,
        now,
        reason,
        lost_until,
        REASONS_CHARS_MAX
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn ledger_was_older(db: impl PgExecutor<'_>, since: DateTime) -> sqlx::Result<bool> {
    let was =
        sqlx::query_scalar!(r#"select exists (select from safe_mode where ledger_behind_at >= $1) as "was!""#, since);
    was.fetch_one(db).await
}

pub(super) async fn entered(db: impl PgExecutor<'_>) -> sqlx::Result<Option<Entered>> {
    let row = sqlx::query_as!(Entered, "select id, entered_at, reason from safe_mode where left_at is null");
    row.fetch_optional(db).await
}

pub(super) async fn leave(
    db: impl PgExecutor<'_>,
    by: &str,
    note: &str,
    now: DateTime,
) -> sqlx::Result<Option<Entered>> {
    let row = sqlx::query_as!(
        Entered,
        "update safe_mode set left_at = $1, left_by = $2, note = $3 where left_at is null and not open_rows_due returning id, entered_at, reason",
        now,
        by,
        note
    );
    row.fetch_optional(db).await
}

/// Every row that is not at its end is due, once; how many. Those that are leased stay so. Deposits that were set aside are looked at as well: what
/// their payers got back since is forgotten. A payout may have been executed once more than is
/// known, without an answer: it is not replaced by itself.
pub(super) async fn look_at_open_rows(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "with once as (
             update safe_mode set open_rows_due = false where left_at is null and open_rows_due returning id),
         journal as (
             update journals set due_at = $1
              where due_at > $1::timestamptz + interval '90 seconds' and ended_at is null and exists (select from once) returning id),
         executed as (
             update provider_objects set executions = executions + 1
              where kind = 'payout' and exists (select from once)
                and transaction_id in (select t.id from transactions t
                                        where t.kind = 'withdrawal' and t.state in ('reserved', 'submitting', 'submitted'))
                and (executions > 0 or id in (select t.provider_id from transactions t
                                               where t.kind = 'withdrawal' and t.state = 'submitting'))
              returning id),
         aside as (
             update transactions set due_at = $1, held_code = null, held_reason = null, held_at = null, version = version + 1
              where kind = 'deposit' and exists (select from once)
                and held_reason is not null
                and (held_code = 'set_aside'
                     or held_code = 'behind_ledger' and exists (select from suspense_items s where s.transaction_id = transactions.id))
             returning id)
         update transactions set due_at = $1
          where due_at > $1::timestamptz + interval '90 seconds' and state not in ('completed', 'failed', 'rejected', 'cancelled', 'expired')
            and exists (select from once)",
        now
    );
    Ok(done.execute(db).await?.rows_affected())
}

/// The last transfer of each currency in the copy of the ledger.
pub(super) async fn copy_ends(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!("select currency, timestamp from ledger_cursor where timestamp > 0");
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.currency, row.timestamp)).collect())
}

pub(super) async fn lost(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<LostTransfer>> {
    let query = sqlx::query_as!(
        LostTransfer,
        r#"select o.id as "id!", o.reference as "row_id!", o.executed_at as "executed_at!", o.currency as "currency!",
                  o.amount_minor as "amount_minor!", o.code as "code!", o.kind as "kind!",
                  coalesce(d.user_id, c.user_id) as user_id
             from ledger_orphan_transfers o
             left join ledger_accounts d on d.id = o.debit_account_id
             left join ledger_accounts c on c.id = o.credit_account_id
            order by o.timestamp limit $1"#,
        limit
    );
    query.fetch_all(db).await
}

/// The reservation of a withdrawal whose row is not there.
pub struct LostReservation {
    pub row_id: Uuid,
    pub amount_minor: i64,
    pub currency: String,
    pub found_at: DateTime,
    /// `None`: the customer's own row is lost, too.
    pub user_id: Option<Uuid>,
}

/// Those that are neither posted nor released, as far as the copy of the ledger goes. At random, so that none that stays keeps another from
/// being looked at; but first those that will not stay.
pub(super) async fn lost_reservations(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<LostReservation>> {
    let query = sqlx::query_as!(
        LostReservation,
        r#"select o.reference as "row_id!", o.amount_minor as "amount_minor!", o.currency as "currency!",
                  o.found_at as "found_at!", u.id as "user_id?"
             from ledger_orphan_transfers o
             left join ledger_accounts d on d.id = o.debit_account_id
             left join users u on u.id = d.user_id
            where o.kind = 'pending' and o.code = 20
              and not exists (select from ledger_transfers r where r.pending_id = o.id)
            order by u.id is null, random() limit $1"#,
        limit
    );
    query.fetch_all(db).await
}

pub(super) struct Repeat {
    pub(super) id: Uuid,
    pub(super) lost_id: Uuid,
}

/// Withdrawals that are not paid yet, of the sum and the customer of an earlier one whose row was lost and which was, or may be, paid: without
/// a row still, or written again, by which it has no bank account.
pub(super) async fn repeats(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Repeat>> {
    let query = sqlx::query_as!(
        Repeat,
        r#"with lost as (
               select o.reference as id, o.debit_account_id, o.currency, o.amount_minor from ledger_orphan_transfers o
                where o.code = 20 and o.kind = 'pending'
                  and not exists (select from ledger_transfers r where r.pending_id = o.id and r.kind = 'void')
               union all
               select w.id, l.debit_account_id, l.currency, l.amount_minor from transactions w
                 join ledger_transfers l on l.id between w.id and (left(w.id::text, 34) || 'ff')::uuid and l.code = 20 and l.kind = 'pending'
                where w.kind = 'withdrawal' and w.bank_account_id is null and w.state not in ('failed', 'cancelled', 'rejected'))
           select distinct on (t.id) t.id as "id!", lost.id as "lost_id!"
             from transactions t
             join lost on lost.currency = t.currency and lost.amount_minor = t.amount_minor and lost.id < t.id
                      and lost.debit_account_id between t.user_id and (left(t.user_id::text, 32) || 'ffff')::uuid
            where t.kind = 'withdrawal' and t.state in ('reserved', 'awaiting_approval') and t.held_reason is null
              and t.bank_account_id is not null
            order by t.id, lost.id"#
    );
    query.fetch_all(db).await
}

pub(super) async fn count_lost(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from ledger_orphan_transfers"#).fetch_one(db).await
}
