//! SQL of the read model. Every name is unqualified: `rebuild` runs the same statements on tables beside the live ones.

use ledger::Recorded;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::books::{Line, Side, Sides, Standing, nanoseconds};
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::DateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    pub(super) timestamp: i64,
    pub(super) accounts_timestamp: i64,
    /// Whatever was executed before that is copied.
    pub(super) complete_at: DateTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenedAccount {
    pub(super) id: Uuid,
    pub(super) code: i32,
    pub(super) name: String,
    pub(super) user_id: Option<Uuid>,
    pub(super) opened_timestamp: i64,
}

pub(super) struct AccountRow {
    pub(super) id: Uuid,
    code: i32,
    name: String,
    user_id: Option<Uuid>,
    opened_timestamp: i64,
    debits_posted: i64,
    debits_pending: i64,
    credits_posted: i64,
    credits_pending: i64,
    last_timestamp: Option<i64>,
}

impl AccountRow {
    pub(super) fn opened(&self) -> OpenedAccount {
        OpenedAccount {
            id: self.id,
            code: self.code,
            name: self.name.clone(),
            user_id: self.user_id,
            opened_timestamp: self.opened_timestamp,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let debits = Side { posted: self.debits_posted, pending: self.debits_pending };
        let credits = Side { posted: self.credits_posted, pending: self.credits_pending };
        Standing { sides: Sides { debits, credits }, last: self.last_timestamp }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TransferRow {
    pub(super) timestamp: i64,
    pub(super) id: Uuid,
    debit_account_id: Uuid,
    credit_account_id: Uuid,
    amount_minor: i64,
    pub(super) code: i32,
    pub(super) kind: String,
    pending_id: Option<Uuid>,
    pub(super) reference: Uuid,
    /// Debits and credits of the debited account, then of the credited one: posted and pending of each.
    balances: [i64; 8],
}

impl From<&Line> for TransferRow {
    fn from(line: &Line) -> Self {
        let (kind, pending_id) = super::kind_of(&line.transfer);
        Self {
            timestamp: nanoseconds(line.transfer.timestamp),
            id: line.transfer.id.as_uuid(),
            debit_account_id: line.transfer.debit.as_uuid(),
            credit_account_id: line.transfer.credit.as_uuid(),
            amount_minor: line.transfer.amount_minor,
            code: i32::from(line.transfer.code),
            kind: kind.to_owned(),
            pending_id,
            reference: line.transfer.reference,
            balances: std::array::from_fn(|index| {
                let sides = if index < 4 { line.debit } else { line.credit };
                [sides.debits.posted, sides.debits.pending, sides.credits.posted, sides.credits.pending][index % 4]
            }),
        }
    }
}

impl TransferRow {
    /// Whether it is this transfer's, its balances aside.
    pub(super) fn says(&self, transfer: &Recorded) -> bool {
        let (kind, pending_id) = super::kind_of(transfer);
        self.timestamp == nanoseconds(transfer.timestamp)
            && self.id == transfer.id.as_uuid()
            && self.debit_account_id == transfer.debit.as_uuid()
            && self.credit_account_id == transfer.credit.as_uuid()
            && self.amount_minor == transfer.amount_minor
            && self.code == i32::from(transfer.code)
            && self.kind == kind
            && self.pending_id == pending_id
            && self.reference == transfer.reference
    }
}

/// Takes the lock until the end of the transaction, and gives up waiting for the disk at its commit: what a crash of
/// PostgreSQL may lose here is lost together with the cursor and read from the ledger again. False when another has it.
pub(super) async fn try_lock(db: impl PgExecutor<'_>, lock: AdvisoryLock) -> sqlx::Result<bool> {
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock($1) and set_config('synchronous_commit', 'off', true) = 'off' as "locked!""#,
        lock.number()
    );
    locked.fetch_one(db).await
}

/// No deadline: a connection of one's own that works through everything.
pub(super) async fn be_patient(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("set statement_timeout = 0").execute(db).await.map(drop)
}

pub(super) async fn wait_for_lock(db: impl PgExecutor<'_>, lock: AdvisoryLock) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", lock.number()).execute(db).await.map(drop)
}

/// Before the first page it stands at the beginning.
pub(super) async fn cursor(db: impl PgExecutor<'_>, currency: &str) -> sqlx::Result<Cursor> {
    cursor_if_begun(db, currency).await.map(Option::unwrap_or_default)
}

/// `None` before the first page.
pub(super) async fn cursor_if_begun(db: impl PgExecutor<'_>, currency: &str) -> sqlx::Result<Option<Cursor>> {
    let cursor = sqlx::query_as!(
        Cursor,
        "select timestamp, accounts_timestamp, complete_at from ledger_cursor where currency = $1",
        currency
    );
    cursor.fetch_optional(db).await
}

/// Of each currency that was begun.
pub(super) async fn cursors(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!("select currency, timestamp from ledger_cursor").fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.currency, row.timestamp)).collect())
}

pub(super) async fn start_cursor(db: impl PgExecutor<'_>, currency: &str, now: DateTime) -> sqlx::Result<()> {
    let started = sqlx::query!(
        "insert into ledger_cursor (currency, updated_at) values ($1, $2) on conflict (currency) do nothing",
        currency,
        now
    );
    started.execute(db).await.map(drop)
}

/// False when the cursor is not where it was read: somebody else was faster, and nothing may be written.
pub(super) async fn move_cursor(
    db: impl PgExecutor<'_>,
    currency: &str,
    from: Cursor,
    to: Cursor,
    now: DateTime,
) -> sqlx::Result<bool> {
    let moved = sqlx::query!(
        "update ledger_cursor set timestamp = $4, accounts_timestamp = $5, updated_at = $6
          where currency = $1 and timestamp = $2 and accounts_timestamp = $3",
        currency,
        from.timestamp,
        from.accounts_timestamp,
        to.timestamp,
        to.accounts_timestamp,
        now,
    );
    Ok(moved.execute(db).await?.rows_affected() == 1)
}

/// The ledger was asked then, and had no more.
pub(super) async fn set_complete(db: impl PgExecutor<'_>, currency: &str, at: DateTime) -> sqlx::Result<()> {
    let noted = sqlx::query!(
        "update ledger_cursor set complete_at = greatest(complete_at, $2) where currency = $1",
        currency,
        at
    );
    noted.execute(db).await.map(drop)
}

#[expect(clippy::as_conversions, reason = "how the query macro is told a parameter's type")]
pub(super) async fn insert_accounts(
    db: impl PgExecutor<'_>,
    currency: &str,
    accounts: &[OpenedAccount],
) -> sqlx::Result<()> {
    let ids: Vec<Uuid> = accounts.iter().map(|account| account.id).collect();
    let codes: Vec<i32> = accounts.iter().map(|account| account.code).collect();
    let names: Vec<String> = accounts.iter().map(|account| account.name.clone()).collect();
    let users: Vec<Option<Uuid>> = accounts.iter().map(|account| account.user_id).collect();
    let opened: Vec<i64> = accounts.iter().map(|account| account.opened_timestamp).collect();
    let insert = sqlx::query!(
        "insert into ledger_accounts (id, code, name, currency, user_id, opened_timestamp)
         select id, code, name, $1, user_id, opened
           from unnest($2::uuid[], $3::integer[], $4::text[], $5::uuid[], $6::bigint[]) as n (id, code, name, user_id, opened)",
        currency,
        &ids,
        &codes,
        &names,
        &users as &[Option<Uuid>],
        &opened,
    );
    insert.execute(db).await.map(drop)
}

macro_rules! account_rows {
    ($clause:literal, $($value:expr),+) => {
        sqlx::query_as!(
            AccountRow,
            "select id, code, name, user_id, opened_timestamp, debits_posted, debits_pending, credits_posted, credits_pending,
                    last_timestamp
               from ledger_accounts " + $clause,
            $($value),+
        )
    };
}

pub(super) async fn accounts(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<AccountRow>> {
    account_rows!("where id = any($1)", ids).fetch_all(db).await
}

pub(super) async fn accounts_after(
    db: impl PgExecutor<'_>,
    currency: &str,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<AccountRow>> {
    account_rows!("where currency = $1 and id > $2 order by id limit $3", currency, after, limit).fetch_all(db).await
}

#[expect(clippy::as_conversions, reason = "how the query macro is told a parameter's type")]
pub(super) async fn update_accounts(db: impl PgExecutor<'_>, standings: &[(Uuid, Standing)]) -> sqlx::Result<u64> {
    let ids: Vec<Uuid> = standings.iter().map(|(id, _)| *id).collect();
    let side = |of: fn(&Sides) -> i64| standings.iter().map(|(_, standing)| of(&standing.sides)).collect::<Vec<i64>>();
    let last: Vec<Option<i64>> = standings.iter().map(|(_, standing)| standing.last).collect();
    let updated = sqlx::query!(
        "update ledger_accounts a
            set debits_posted = n.debits_posted, debits_pending = n.debits_pending, credits_posted = n.credits_posted,
                credits_pending = n.credits_pending, last_timestamp = n.last
           from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
             as n (id, debits_posted, debits_pending, credits_posted, credits_pending, last)
          where a.id = n.id",
        &ids,
        &side(|sides| sides.debits.posted),
        &side(|sides| sides.debits.pending),
        &side(|sides| sides.credits.posted),
        &side(|sides| sides.credits.pending),
        &last as &[Option<i64>],
    );
    Ok(updated.execute(db).await?.rows_affected())
}

pub(super) async fn reserved(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let rows =
        sqlx::query!("select id, amount_minor from ledger_transfers where id = any($1) and kind = 'pending'", ids);
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.id, row.amount_minor)).collect())
}

#[expect(clippy::as_conversions, reason = "how the query macro is told a parameter's type")]
pub(super) async fn insert_transfers(
    db: impl PgExecutor<'_>,
    currency: &str,
    rows: &[TransferRow],
) -> sqlx::Result<()> {
    let ids = |of: fn(&TransferRow) -> Uuid| rows.iter().map(of).collect::<Vec<Uuid>>();
    let numbers = |of: fn(&TransferRow) -> i64| rows.iter().map(of).collect::<Vec<i64>>();
    let codes: Vec<i32> = rows.iter().map(|row| row.code).collect();
    let kinds: Vec<String> = rows.iter().map(|row| row.kind.clone()).collect();
    let pending: Vec<Option<Uuid>> = rows.iter().map(|row| row.pending_id).collect();
    let insert = sqlx::query!(
        "insert into ledger_transfers
             (timestamp, id, currency, debit_account_id, credit_account_id, amount_minor, code, kind, pending_id, reference,
              debit_debits_posted, debit_debits_pending, debit_credits_posted, debit_credits_pending,
              credit_debits_posted, credit_debits_pending, credit_credits_posted, credit_credits_pending)
         select t.timestamp, t.id, $1, t.debit, t.credit, t.amount, t.code, t.kind, t.pending, t.reference,
                t.ddp, t.ddr, t.dcp, t.dcr, t.cdp, t.cdr, t.ccp, t.ccr
           from unnest($2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::bigint[], $7::integer[], $8::text[], $9::uuid[],
                       $10::uuid[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
                       $16::bigint[], $17::bigint[], $18::bigint[])
             as t (timestamp, id, debit, credit, amount, code, kind, pending, reference, ddp, ddr, dcp, dcr, cdp, cdr, ccp, ccr)",
        currency,
        &numbers(|row| row.timestamp),
        &ids(|row| row.id),
        &ids(|row| row.debit_account_id),
        &ids(|row| row.credit_account_id),
        &numbers(|row| row.amount_minor),
        &codes,
        &kinds,
        &pending as &[Option<Uuid>],
        &ids(|row| row.reference),
        &numbers(|row| row.balances[0]),
        &numbers(|row| row.balances[1]),
        &numbers(|row| row.balances[2]),
        &numbers(|row| row.balances[3]),
        &numbers(|row| row.balances[4]),
        &numbers(|row| row.balances[5]),
        &numbers(|row| row.balances[6]),
        &numbers(|row| row.balances[7]),
    );
    insert.execute(db).await.map(drop)
}

/// Notes those whose row is not there; the timestamps of those of which that is new: one that is built anew knows all that the live one has seen.
pub(super) async fn note_orphans(
    db: impl PgExecutor<'_>,
    currency: &str,
    rows: &[TransferRow],
    now: DateTime,
) -> sqlx::Result<Vec<i64>> {
    let timestamps: Vec<i64> = rows.iter().map(|row| row.timestamp).collect();
    let references: Vec<Uuid> = rows.iter().map(|row| row.reference).collect();
    let noted = sqlx::query_scalar!(
        "with noted as (
             insert into ledger_orphans (timestamp, currency, found_at)
             select t.timestamp, $1, $4 from unnest($2::bigint[], $3::uuid[]) as t (timestamp, reference)
              where not exists (select from transactions r where r.id = t.reference)
                and not exists (select from restrictions r where r.id = t.reference)
                and not exists (select from suspense_items r where r.id = t.reference)
                and not exists (select from journals r where r.id = t.reference)
             returning timestamp)
         select timestamp from noted n where not exists (select from public.ledger_orphans o where o.timestamp = n.timestamp)",
        currency,
        &timestamps,
        &references,
        now
    );
    noted.fetch_all(db).await
}

/// Rows that say that nothing has moved, and something has: `post` is written after `submitting`, the first transfer of a deposit after
/// its purchase, that of a correction or a journal after its approval, and what ends a journal's way after somebody has said how.
pub(super) async fn behind(db: impl PgExecutor<'_>, rows: &[TransferRow]) -> sqlx::Result<Vec<Uuid>> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let references: Vec<Uuid> = rows.iter().map(|row| row.reference).collect();
    let kinds: Vec<String> = rows.iter().map(|row| row.kind.clone()).collect();
    let found = sqlx::query_scalar!(
        r#"select distinct r.id as "id!"
             from unnest($1::uuid[], $2::uuid[], $3::text[]) as t (id, reference, kind)
            -- By its id, and by no index of states, whatever the plan.
            cross join lateral (select id, kind, state from transactions where id = t.reference offset 0) r
            where t.kind = 'post' and r.state in ('initiated', 'reserved', 'awaiting_approval')
               or t.kind = 'void' and r.state = 'initiated'
               or t.kind = 'posted' and right(t.id::text, 2) = '01'
                  and (r.kind = 'deposit' and r.state = 'initiated' or r.kind = 'adjustment' and r.state = 'awaiting_approval')
           union
           select j.id
             from unnest($1::uuid[], $2::uuid[], $3::text[]) as t (id, reference, kind)
             join journals j on j.id = t.reference
            where j.booking_at is null
               or t.kind in ('post', 'void') and j.kind in ('settlement', 'float_top_up') and j.arrival_outcome is null"#,
        &ids,
        &references,
        &kinds
    );
    found.fetch_all(db).await
}

pub(super) async fn transfers_between(
    db: impl PgExecutor<'_>,
    currency: &str,
    after: i64,
    until: i64,
) -> sqlx::Result<Vec<TransferRow>> {
    let rows = sqlx::query_as!(
        TransferRow,
        r#"select timestamp, id, debit_account_id, credit_account_id, amount_minor, code, kind, pending_id, reference,
                  array[debit_debits_posted, debit_debits_pending, debit_credits_posted, debit_credits_pending,
                        credit_debits_posted, credit_debits_pending, credit_credits_posted, credit_credits_pending]
                    as "balances!: [i64; 8]"
             from ledger_transfers where currency = $1 and timestamp > $2 and timestamp <= $3 order by timestamp"#,
        currency,
        after,
        until
    );
    rows.fetch_all(db).await
}

pub(super) async fn transfer(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<TransferRow>> {
    let row = sqlx::query_as!(
        TransferRow,
        r#"select timestamp, id, debit_account_id, credit_account_id, amount_minor, code, kind, pending_id, reference,
                  array[debit_debits_posted, debit_debits_pending, debit_credits_posted, debit_credits_pending,
                        credit_debits_posted, credit_debits_pending, credit_credits_posted, credit_credits_pending]
                    as "balances!: [i64; 8]"
             from ledger_transfers where id = $1"#,
        id
    );
    row.fetch_optional(db).await
}

/// The line of that id, and the one that stands in its place.
pub(super) async fn delete_transfer(db: impl PgExecutor<'_>, id: Uuid, timestamp: Option<i64>) -> sqlx::Result<()> {
    let deleted = sqlx::query!("delete from ledger_transfers where id = $1 or timestamp = $2", id, timestamp);
    deleted.execute(db).await.map(drop)
}

/// Rows that lie where nothing was copied yet, the first of them: somebody else wrote them.
pub(super) async fn beyond_cursor(db: impl PgExecutor<'_>, currency: &str, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        "select t.id from ledger_transfers t join ledger_cursor c on c.currency = t.currency
          where t.currency = $1 and t.timestamp > c.timestamp order by t.timestamp limit $2",
        currency,
        limit
    );
    ids.fetch_all(db).await
}

/// Without those that somebody has looked at: who leaves the safe mode says so.
pub(super) async fn count_orphans(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from ledger_orphan_transfers
            where found_at > coalesce((select max(left_at) from safe_mode), '-infinity')"#
    );
    count.fetch_one(db).await
}

/// The transfers after one timestamp and up to another whose row is not there, whether that was seen when they were copied
/// or not: transfer and row.
pub(super) async fn orphans_between(
    db: impl PgExecutor<'_>,
    currency: &str,
    after: i64,
    until: i64,
) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        "select id, reference from ledger_transfers t
          where currency = $1 and timestamp > $2 and timestamp <= $3
            and not exists (select from transactions r where r.id = t.reference)
            and not exists (select from restrictions r where r.id = t.reference)
            and not exists (select from suspense_items r where r.id = t.reference)
            and not exists (select from journals r where r.id = t.reference) order by timestamp",
        currency,
        after,
        until
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.id, row.reference)).collect())
}
