//! SQL of `adjustments`, and of the row in `transactions` that is written with each.

use ledger::Amount;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Counterpart, NewAdjustment};
use crate::money::transactions::{Direction, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::http::{IdempotencyKey, RequestHash};

pub(super) struct Row {
    pub(super) transaction_id: Uuid,
    pub(super) direction: Direction,
    pub(super) counterpart: Counterpart,
    pub(super) reason: String,
    pub(super) requested_by: Uuid,
    pub(super) item_id: Option<Uuid>,
    pub(super) about_id: Option<Uuid>,
    pub(super) day_minor: i64,
    pub(super) booking_at: Option<DateTime>,
}

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) requested_by: Uuid,
    pub(super) new: &'a NewAdjustment,
    pub(super) key: &'a IdempotencyKey,
    pub(super) request_hash: &'a RequestHash,
    pub(super) now: DateTime,
    pub(super) due_at: DateTime,
}

pub(super) async fn insert_transaction(db: impl PgExecutor<'_>, row: &New<'_>) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into transactions (id, user_id, kind, state, amount_minor, currency, direction, due_at,
                                   updated_at, states)
         values ($1, $2, 'adjustment', 'awaiting_approval', $3, $4, $5, $6, $7, 'awaiting_approval')",
        row.id,
        row.new.user_id,
        row.new.amount.minor(),
        row.new.amount.currency().code(),
        row.new.direction.name(),
        row.due_at,
        row.now,
    );
    insert.execute(db).await.map(drop)
}

/// False when the maker's key made one before.
pub(super) async fn insert(db: impl PgExecutor<'_>, row: &New<'_>) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into adjustments (transaction_id, direction, counterpart, reason, requested_by, idempotency_key, request_hash,
                                  item_id, about_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (requested_by, idempotency_key) do nothing",
        row.id,
        row.new.direction.name(),
        row.new.counterpart.name(),
        row.new.reason,
        row.requested_by,
        row.key.as_str(),
        row.request_hash.as_bytes(),
        row.new.item_id,
        row.new.about_id,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

/// Which row a key made, and the hash of its request.
pub(super) async fn find_by_key(db: impl PgExecutor<'_>, by: Uuid, key: &str) -> sqlx::Result<Option<(Uuid, Vec<u8>)>> {
    let row = sqlx::query!(
        "select transaction_id, request_hash from adjustments where requested_by = $1 and idempotency_key = $2",
        by,
        key
    );
    Ok(row.fetch_optional(db).await?.map(|row| (row.transaction_id, row.request_hash)))
}

/// The rows that a clause picks, beside `a`, the corrections, and `t`, their transactions.
macro_rules! rows {
    ($clause:literal, $($value:expr),+) => {
        sqlx::query_as!(
            Row,
            r#"select a.transaction_id, a.direction as "direction: Direction", a.counterpart as "counterpart: Counterpart",
                      a.reason, a.requested_by, a.item_id, a.about_id, a.booking_at,
                      (select coalesce(sum(d.amount_minor), 0)::bigint from transactions d
                        where d.user_id = t.user_id and d.currency = t.currency and d.kind = 'adjustment'
                          and d.created_at > t.created_at - interval '24 hours'
                          and d.created_at < t.created_at + interval '24 hours'
                          and d.state not in ('rejected', 'cancelled', 'expired')) as "day_minor!"
                 from adjustments a join transactions t on t.id = a.transaction_id "# + $clause,
            $($value),+
        )
    };
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Row>> {
    rows!("where a.transaction_id = $1", id).fetch_optional(db).await
}

/// A correction ends a break of this row: what it booked is what the row lacks.
pub async fn settle(db: impl PgExecutor<'_>, id: Uuid, row: Uuid) -> sqlx::Result<()> {
    let update = sqlx::query!("update adjustments set settles_id = $2 where transaction_id = $1", id, row);
    update.execute(db).await.map(drop)
}

/// Those of the rows that people have corrected, or may have before an older database was put back: the ledger has corrections of no row.
pub(super) async fn corrected(db: impl PgExecutor<'_>, rows: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"select about_id as "row!" from adjustments where about_id = any($1)
           union select settles_id from adjustments where settles_id = any($1)
           union select settles_id from journals where settles_id = any($1)
           union select id from unnest($1::uuid[]) as id
                  where (select exists (select from ledger_orphan_transfers where code = 90))"#,
        rows
    )
    .fetch_all(db)
    .await
}

/// By which journals a debt of the row's customer was given up since there was the deposit that it is about, or may have been: one that waits
/// for its approval is booked where the ledger has it.
pub(super) async fn write_offs(db: impl PgExecutor<'_>, row: &Transaction) -> sqlx::Result<Vec<(Uuid, bool)>> {
    let found = sqlx::query!(
        r#"select j.id, j.state = 'awaiting_approval' as "is_undecided!"
             from journals j
            where j.user_id = $1 and j.kind = 'write_off' and j.currency = $2
              and j.state in ('awaiting_approval', 'initiated', 'completed')
              and coalesce(j.ended_at, 'infinity') >= coalesce((select created_at from transactions where id = $3), $4)"#,
        row.user_id,
        row.amount.currency().code(),
        row.parent_id,
        row.created_at
    );
    Ok(found.fetch_all(db).await?.into_iter().map(|journal| (journal.id, journal.is_undecided)).collect())
}

/// Whether the ledger has such a journal whose row an older database has forgotten.
pub(super) async fn is_written_off_by_a_lost_one(db: impl PgExecutor<'_>, row: &Transaction) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from ledger_orphan_transfers
                           where code = 51 and currency = $1
                             and executed_at >= coalesce((select created_at from transactions where id = $2), $3)
                             and credit_account_id between $4::uuid and (left($4::uuid::text, 32) || 'ffff')::uuid) as "is!""#,
        row.amount.currency().code(),
        row.parent_id,
        row.created_at,
        row.user_id
    )
    .fetch_one(db)
    .await
}

/// Corrections about the row, or that which it is a part of, of which the row says that nobody has decided: the ledger may have them, where
/// PostgreSQL was put back to an earlier moment.
pub(super) async fn undecided(db: impl PgExecutor<'_>, row: &Transaction) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "select t.id from adjustments a join transactions t on t.id = a.transaction_id
          where (a.about_id in ($1, $2) or a.settles_id in ($1, $2)) and t.state = 'awaiting_approval'",
        row.id,
        row.parent_id.unwrap_or(row.id)
    )
    .fetch_all(db)
    .await
}

/// Whether the ledger has a correction of this customer's, of this very sum, whose row an older database has forgotten, and which may have been
/// about this one: it came later.
pub(super) async fn is_booked_by_a_lost_one(
    db: impl PgExecutor<'_>,
    row: &Transaction,
    (direction, amount): (Direction, Amount),
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from ledger_orphan_transfers
                           where code = 90 and amount_minor = $1 and currency = $2 and executed_at >= $3
                             and case $4 when 'credit' then credit_account_id else debit_account_id end
                                 between $5::uuid and (left($5::uuid::text, 32) || 'ffff')::uuid) as "is!""#,
        amount.minor(),
        amount.currency().code(),
        row.created_at,
        direction.name(),
        row.user_id
    )
    .fetch_one(db)
    .await
}

/// Whether people have booked the sum of the row, or of that which it is a part of, and no other row was stopped by the same (`reason`): by a
/// correction that is about it, of this very sum, or by what ended a break of it, which may be about several rows together. `decided`: corrections
/// that the ledger has, whatever their rows say.
pub(super) async fn is_booked_by_hand(
    db: impl PgExecutor<'_>,
    row: &Transaction,
    (direction, amount): (Direction, Amount),
    (reason, decided): (&str, &[Uuid]),
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select (c.equal > r.equal or c.settled - r.stopped >= $4) as "is!"
             from (select count(*) filter (where amount_minor = $4) as equal,
                          coalesce(sum(amount_minor) filter (where settles_id is not null), 0) as settled
                     from (select t.amount_minor, t.currency, t.direction, a.settles_id
                             from adjustments a join transactions t on t.id = a.transaction_id
                            where (a.about_id in ($1, $2) or a.settles_id in ($1, $2))
                              and (t.state in ('initiated', 'completed') or t.id = any($7))
                           union all
                           select amount_minor, currency, settles_direction, settles_id from journals where settles_id in ($1, $2)) e
                    where direction = $3 and currency = $5) c,
                  (select count(*) filter (where amount_minor = $4) as equal, coalesce(sum(amount_minor), 0) as stopped
                     from transactions
                    where (id = $2 or parent_id = $2) and id <> $1
                      and position($6 in concat_ws(' ', held_reason, dismissed_reason)) > 0) r"#,
        row.id,
        row.parent_id.unwrap_or(row.id),
        direction.name(),
        amount.minor(),
        amount.currency().code(),
        reason,
        decided
    )
    .fetch_one(db)
    .await
}

/// Whether the transaction that a correction is about, or something of it, was booked since the correction was asked for, of the same sum and in
/// the same direction; or the contrary was undone; or what came of it was set aside.
pub(super) async fn is_booked_since(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from transactions c join adjustments a on a.transaction_id = c.id
                            join transactions r on r.id = a.about_id or r.parent_id = a.about_id,
                            lateral (select coalesce(r.direction, case when r.kind in ('deposit', 'chargeback_reversal') then 'credit'
                                                                       else 'debit' end) = c.direction as same) way
                           where c.id = $1 and r.amount_minor = c.amount_minor and r.currency = c.currency
                             and (way.same and r.completed_at > c.created_at
                                  or not way.same and r.updated_at > c.created_at
                                     and (r.failure_reason = 'provider_undid'
                                          or r.kind = 'withdrawal' and r.state in ('failed', 'cancelled'))))
               or exists (select from transactions c join adjustments a on a.transaction_id = c.id
                            join suspense_items s on s.transaction_id = a.about_id
                           where c.id = $1 and a.direction = 'credit' and a.item_id is null and s.kind <> 'correction'
                             and s.amount_minor = c.amount_minor and s.currency = c.currency
                             and s.booked_at > c.created_at) as "is!""#,
        id
    )
    .fetch_one(db)
    .await
}

pub(super) async fn begin_booking(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<()> {
    let update = sqlx::query!("update adjustments set booking_at = $2 where transaction_id = $1", id, now);
    update.execute(db).await.map(drop)
}

pub(super) async fn list(
    db: impl PgExecutor<'_>,
    state: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    let page = rows!(
        "where ($1::text is null or t.state = $1) and ($2::uuid is null or a.transaction_id < $2)
         order by a.transaction_id desc limit $3",
        state,
        before,
        limit
    );
    page.fetch_all(db).await
}
