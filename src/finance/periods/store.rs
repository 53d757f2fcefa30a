//! SQL of `periods`, and of what a month's checks and reports read.

use chrono::NaiveDate;
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::{Made, State};
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::DateTime;

#[derive(Debug, Clone)]
pub struct Period {
    pub month: NaiveDate,
    pub state: State,
    pub cut: i64,
    pub(super) pack: Vec<u8>,
    pub pack_sha256: Vec<u8>,
    pub customers: Value,
    pub customers_sha256: Vec<u8>,
    pub layout: i32,
    pub previous_sha256: Option<Vec<u8>>,
    pub requested_by: Uuid,
    pub requested_at: DateTime,
    pub approved_by: Option<Uuid>,
    pub closed_at: Option<DateTime>,
}

macro_rules! periods {
    ($pack:literal, $clause:literal $(, $value:expr)* $(,)?) => {
        sqlx::query_as!(
            Period,
            r#"select month, state as "state: State", cut, "# + $pack + r#" as "pack!", pack_sha256, customers, customers_sha256, layout,
                      previous_sha256, requested_by, requested_at, approved_by, closed_at
                 from periods "# + $clause
            $(, $value)*
        )
    };
}

pub(super) async fn find(db: impl PgExecutor<'_>, month: NaiveDate) -> sqlx::Result<Option<Period>> {
    periods!("pack", "where month = $1", month).fetch_optional(db).await
}

pub(super) async fn last_closed(db: impl PgExecutor<'_>) -> sqlx::Result<Option<Period>> {
    periods!("pack", "where state = 'closed' order by month desc limit 1").fetch_optional(db).await
}

/// The closed ones before and after a month, without their packs.
pub(super) async fn previous(db: impl PgExecutor<'_>, month: NaiveDate) -> sqlx::Result<Option<Period>> {
    periods!("''::bytea", "where state = 'closed' and month < $1 order by month desc limit 1", month)
        .fetch_optional(db)
        .await
}

pub(super) async fn following(db: impl PgExecutor<'_>, month: NaiveDate) -> sqlx::Result<Option<Period>> {
    periods!("''::bytea", "where state = 'closed' and month > $1 order by month limit 1", month)
        .fetch_optional(db)
        .await
}

/// The newest first, without their packs.
pub(super) async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Period>> {
    periods!("''::bytea", "order by month desc").fetch_all(db).await
}

/// `→ awaiting_approval`; false when it was closed meanwhile.
pub(super) async fn propose(
    db: impl PgExecutor<'_>,
    month: NaiveDate,
    made: &Made,
    (maker, now): (Uuid, DateTime),
) -> sqlx::Result<bool> {
    let proposed = sqlx::query!(
        "insert into periods (month, state, cut, pack, pack_sha256, customers, customers_sha256, layout, previous_sha256, requested_by,
                              requested_at)
         values ($1, 'awaiting_approval', $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (month) do update
            set cut = $2, pack = $3, pack_sha256 = $4, customers = $5, customers_sha256 = $6, layout = $7, previous_sha256 = $8,
                requested_by = $9, requested_at = $10
          where periods.state = 'awaiting_approval'",
        month,
        made.cut,
        made.bytes,
        made.sha256,
        made.customers,
        made.customers_sha256,
        super::LAYOUT,
        made.previous_sha256,
        maker,
        now,
    );
    Ok(proposed.execute(db).await?.rows_affected() == 1)
}

/// `awaiting_approval → closed`, if it still is the pack that was seen.
pub(super) async fn close(
    db: impl PgExecutor<'_>,
    (month, pack_sha256): (NaiveDate, &[u8]),
    (checker, now): (Uuid, DateTime),
) -> sqlx::Result<bool> {
    let closed = sqlx::query!(
        "update periods set state = 'closed', approved_by = $3, closed_at = $4
          where month = $1 and pack_sha256 = $2 and state = 'awaiting_approval'",
        month,
        pack_sha256,
        checker,
        now
    );
    Ok(closed.execute(db).await?.rows_affected() == 1)
}

/// Until the connection ends.
pub(super) async fn be_patient(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query!("select from set_config('statement_timeout', '0', false)").execute(db).await.map(drop)
}

/// Until the connection ends. False when another has it.
pub(super) async fn try_lock(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "locked!""#, AdvisoryLock::Periods.number())
        .fetch_one(db)
        .await
}

pub(super) async fn unlock(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query!("select from pg_advisory_unlock($1)", AdvisoryLock::Periods.number()).execute(db).await.map(drop)
}

/// The day on which the first account was opened in the ledger.
pub(super) async fn books_began(db: impl PgExecutor<'_>, zone: &str) -> sqlx::Result<Option<NaiveDate>> {
    let day = sqlx::query_scalar!(
        "select (ledger_time(min(opened_timestamp)) at time zone $1)::date from ledger_accounts",
        zone
    );
    day.fetch_one(db).await
}

pub(super) async fn days_reconciled(
    db: impl PgExecutor<'_>,
    from: NaiveDate,
    to: NaiveDate,
) -> sqlx::Result<Vec<NaiveDate>> {
    let days = sqlx::query_scalar!(
        "select distinct accounting_day from reconciliation_runs
          where kind = 'daily' and state = 'finished' and accounting_day between $1 and $2",
        from,
        to
    );
    days.fetch_all(db).await
}

pub(super) struct OpenBreak {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) severity: String,
    pub(super) leg: String,
    pub(super) currency: Option<String>,
    pub(super) expected: Option<i64>,
    pub(super) actual: Option<i64>,
    pub(super) since: DateTime,
    /// Else one person has said that Revio will correct it, and no run has seen yet that it did.
    pub(super) is_live: bool,
}

/// Those that differ since before a moment, but for what is only under way. The pack of a month is the same while the break is. Balances
/// (`provider_balance`, `bank_balance`) change both sums with each run, so it has their difference alone; `position_short` and `d1_late` change
/// even that daily, so it has no sum of theirs.
pub(super) async fn open_breaks(db: impl PgExecutor<'_>, before: DateTime) -> sqlx::Result<Vec<OpenBreak>> {
    let breaks = sqlx::query_as!(
        OpenBreak,
        "select id, type as kind, severity, leg, currency, since,
                case when type in ('provider_balance', 'bank_balance', 'position_short', 'd1_late') then null else expected_minor end
                    as expected,
                case when type in ('provider_balance', 'bank_balance') then actual_minor - expected_minor
                     when type in ('position_short', 'd1_late') then null else actual_minor end as actual,
                state <> 'resolved' as \"is_live!\"
           from breaks
          where (state in ('open', 'healing') or state = 'resolved' and resolution = 'provider_error' and gone_at is null
                                                       and ended_at > $1::timestamptz - interval '90 days') and since < $1
          order by id",
        before
    );
    breaks.fetch_all(db).await
}

/// What was booked on a day for one reason, from one account code to another; of the company's journals one by one.
pub(super) struct Movement {
    pub(super) day: NaiveDate,
    pub(super) code: i32,
    pub(super) debit: i32,
    pub(super) credit: i32,
    pub(super) journal_id: Option<Uuid>,
    /// Of a journal: the day that its evidence is of.
    pub(super) concerns: Option<NaiveDate>,
    pub(super) count: i64,
    pub(super) amount: i64,
}

/// Of the ledger's time, in nanoseconds, and in which zone its days are.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) zone: &'a str,
    pub(super) after: i64,
    pub(super) until: i64,
}

pub(super) async fn movements(
    db: impl PgExecutor<'_>,
    currency: &str,
    window: Window<'_>,
) -> sqlx::Result<Vec<Movement>> {
    let movements = sqlx::query_as!(
        Movement,
        r#"select (ledger_time(t.timestamp) at time zone $2)::date as "day!", t.code as "code!", d.code as "debit!", c.code as "credit!",
                  j.id as "journal_id?", j.evidence_date as "concerns?", count(*) as "count!", sum(t.amount_minor)::bigint as "amount!"
             from ledger_transfers t
             join ledger_accounts d on d.id = t.debit_account_id
             join ledger_accounts c on c.id = t.credit_account_id
             left join journals j on j.id = t.reference
            where t.currency = $1 and t.timestamp > $3 and t.timestamp <= $4 and t.kind in ('posted', 'post') and t.amount_minor > 0
            group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5"#,
        currency,
        window.zone,
        window.after,
        window.until
    );
    movements.fetch_all(db).await
}

/// A settlement or a top-up while it was on its way, in days.
pub(super) struct Transit {
    /// From the bank to Revio; else the other way.
    pub(super) is_top_up: bool,
    pub(super) amount: i64,
    pub(super) sent: NaiveDate,
    /// The day on which it arrived or came back.
    pub(super) ended: Option<NaiveDate>,
}

/// The transfers of a journal have its id with their leg in the last byte: 20 holds, 21 posts, 22 voids.
pub(super) async fn in_transit(
    db: impl PgExecutor<'_>,
    currency: &str,
    window: Window<'_>,
) -> sqlx::Result<Vec<Transit>> {
    let transit = sqlx::query_as!(
        Transit,
        r#"select j.kind = 'float_top_up' as "is_top_up!", j.amount_minor as "amount!",
                  (ledger_time(p.timestamp) at time zone $2)::date as "sent!",
                  (ledger_time(e.timestamp) at time zone $2)::date as "ended?"
             from journals j
             join ledger_transfers p on p.id = (left(j.id::text, 34) || '20')::uuid and p.kind = 'pending'
             left join ledger_transfers e on e.timestamp <= $4
                   and e.id in ((left(j.id::text, 34) || '21')::uuid, (left(j.id::text, 34) || '22')::uuid)
            where j.kind in ('settlement', 'float_top_up') and j.currency = $1 and p.timestamp <= $4 and (e.timestamp is null or e.timestamp > $3)"#,
        currency,
        window.zone,
        window.after,
        window.until
    );
    transit.fetch_all(db).await
}

/// Provider fees of a month: what was booked, what Revio's statements say, what it invoiced besides.
pub(super) struct Fee {
    pub(super) kind: String,
    pub(super) booked: i64,
    pub(super) on_statement: i64,
    pub(super) invoiced: i64,
}

pub(super) async fn fees(db: impl PgExecutor<'_>, currency: &str, window: Window<'_>) -> sqlx::Result<Vec<Fee>> {
    let fees = sqlx::query_as!(
        Fee,
        r#"select kind as "kind!", coalesce(sum(booked), 0)::bigint as "booked!", coalesce(sum(said), 0)::bigint as "on_statement!",
                  coalesce(sum(invoiced), 0)::bigint as "invoiced!"
             from (select case when t.code = 13 then 'invoice' when r.kind is not null then r.kind
                               -- Of a row that is not known, by what the ledger says of it, as `reporting.fees` does.
                               else coalesce((select case m.code when 20 then 'withdrawal' when 30 then 'refund' when 40 then 'chargeback'
                                                                 when 41 then 'chargeback_reversal' else 'deposit' end
                                                from ledger_transfers m
                                               where m.id in ((left(t.id::text, 34) || '01')::uuid, (left(t.id::text, 34) || '06')::uuid)
                                               order by m.id limit 1), 'deposit') end as kind,
                          t.amount_minor as booked, 0::bigint as said,
                          case t.code when 13 then t.amount_minor end as invoiced
                     from ledger_transfers t left join transactions r on r.id = t.reference
                    where t.currency = $1 and t.timestamp > $3 and t.timestamp <= $4 and t.code in (11, 13)
                      and t.kind in ('posted', 'post')
                   union all
                   select case l.product when 'purchase' then 'deposit' when 'payout' then 'withdrawal' when 'fee' then 'invoice'
                                         else l.product end, null,
                          l.fee_minor, null
                     from (select distinct on (product, movement, equal_to) product, fee_minor from statement_fees
                            where currency = $1
                              and day > (ledger_time($3) at time zone $2)::date and day <= (ledger_time($4) at time zone $2)::date
                            order by product, movement, equal_to, id desc) l
                    where l.fee_minor > 0) as fees
            group by kind order by kind"#,
        currency,
        window.zone,
        window.after,
        window.until
    );
    fees.fetch_all(db).await
}

/// A journal of the company's that was posted in the month.
pub(super) struct Posted {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) currency: String,
    pub(super) amount: i64,
    pub(super) posted_on: NaiveDate,
    pub(super) evidence_kind: String,
    pub(super) evidence_date: NaiveDate,
    pub(super) evidence_sha256: String,
    pub(super) requested_by: Uuid,
    pub(super) approved_by: Option<String>,
}

pub(super) async fn journals(db: impl PgExecutor<'_>, window: Window<'_>) -> sqlx::Result<Vec<Posted>> {
    let journals = sqlx::query_as!(
        Posted,
        r#"select j.id as "id!", j.kind as "kind!", j.currency as "currency!", t.amount_minor as "amount!",
                  (ledger_time(t.timestamp) at time zone $1)::date as "posted_on!", j.evidence_kind as "evidence_kind!",
                  j.evidence_date as "evidence_date!", encode(j.evidence_sha256, 'hex') as "evidence_sha256!",
                  j.requested_by as "requested_by!",
                  (select string_agg(p.approver_id::text, ' ' order by p.used_at, p.id) from approvals p
                    where coalesce(p.transaction_id, p.journal_id) = j.id and p.used_at is not null) as "approved_by?"
             from journals j
             join ledger_transfers t on t.id in ((left(j.id::text, 34) || '20')::uuid, (left(j.id::text, 34) || '21')::uuid)
            where t.kind in ('posted', 'post') and t.timestamp > $2 and t.timestamp <= $3 order by t.timestamp"#,
        window.zone,
        window.after,
        window.until
    );
    journals.fetch_all(db).await
}

/// Money that was nobody's yet at the cut.
pub(super) struct OpenItem {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) currency: String,
    pub(super) amount: i64,
    pub(super) remaining: i64,
    pub(super) since: NaiveDate,
}

/// As the ledger had them, so that they come to what account 2900 holds in the same pack: our own rows are written before the ledger is
/// asked and after it has answered. What moved an item are its own transfers and those of whoever ever claimed it, whose ids begin with theirs.
pub(super) async fn open_items(db: impl PgExecutor<'_>, zone: &str, cut: i64) -> sqlx::Result<Vec<OpenItem>> {
    let items = sqlx::query_as!(
        OpenItem,
        r#"select i.id as "id!", i.kind as "kind!", i.currency as "currency!", i.amount_minor as "amount!", m.remaining as "remaining!",
                  (ledger_time(m.first) at time zone $1)::date as "since!"
             from suspense_items i
            cross join lateral (
                 select min(x.first) as first, sum(x.moved)::bigint as remaining
                   from (select i.id union
                         select coalesce(c.transaction_id, c.journal_id, c.forgotten_id) from suspense_clearings c
                          where c.item_id = i.id and c.provider_id is null) r
                  cross join lateral (
                        -- An aggregate of one row's transfers: a join with accounts here would read the whole copy for each item.
                        select min(t.timestamp) as first,
                               sum(case when t.credit_account_id = any(s.ids) then t.amount_minor else -t.amount_minor end) as moved
                          from ledger_transfers t, (select array(select id from ledger_accounts where code = 2900) as ids) s
                         where t.id between r.id and (left(r.id::text, 34) || 'ff')::uuid
                           and (t.credit_account_id = any(s.ids) or t.debit_account_id = any(s.ids))
                           and t.timestamp <= $2 and t.kind in ('posted', 'post')) x) m
            where m.remaining <> 0 order by i.id"#,
        zone,
        cut
    );
    items.fetch_all(db).await
}

/// What a customer owed at the cut.
pub(super) struct Receivable {
    pub(super) customer_id: Uuid,
    pub(super) currency: String,
    pub(super) amount: i64,
    pub(super) since: NaiveDate,
}

/// Of those who owed so much: since when, by the newest debts that left so much owed, as `reporting.receivables` says it of now. A debt is as
/// old as its debit in the ledger (leg 06 of its row), which is in the balance at the cut or is not; its row may be older.
pub(super) async fn receivables(
    db: impl PgExecutor<'_>,
    window: Window<'_>,
    owing: &[(&str, Uuid, i64)],
) -> sqlx::Result<Vec<Receivable>> {
    let debts = sqlx::query_as!(
        Receivable,
        r#"select o.user_id as "customer_id!", o.currency as "currency!", o.amount as "amount!",
                  (ledger_time(coalesce(d.since, $5)) at time zone $4)::date as "since!"
             from unnest($1::text[], $2::uuid[], $3::bigint[]) as o (currency, user_id, amount)
            cross join lateral (
                 select coalesce(max(timestamp) filter (where owed_since >= o.amount), min(timestamp)) as since
                   from (select l.timestamp, sum(t.owed_minor) over (order by l.timestamp desc) as owed_since
                           from transactions t
                           join ledger_transfers l on l.id = (left(t.id::text, 34) || '06')::uuid
                          where t.user_id = o.user_id and t.currency = o.currency and t.owed_minor > 0 and l.timestamp <= $5) debts) d
            order by o.currency, o.user_id"#,
        &owing.iter().map(|(currency, ..)| (*currency).to_owned()).collect::<Vec<String>>(),
        &owing.iter().map(|(_, user, _)| *user).collect::<Vec<Uuid>>(),
        &owing.iter().map(|(.., amount)| *amount).collect::<Vec<i64>>(),
        window.zone,
        window.until
    );
    debts.fetch_all(db).await
}

/// A correction of a customer's that was posted in the month.
pub(super) struct Correction {
    pub(super) id: Uuid,
    pub(super) customer_id: Uuid,
    pub(super) direction: String,
    pub(super) counterpart: String,
    pub(super) currency: String,
    pub(super) amount: i64,
    pub(super) posted_on: NaiveDate,
    /// The day of the row that it is about.
    pub(super) concerns: Option<NaiveDate>,
    /// None, as is all that people said of it, where its row is not known: an older database was put back.
    pub(super) requested_by: Option<Uuid>,
    pub(super) approved_by: Option<String>,
}

/// By what the ledger has of them, so that none is left out.
pub(super) async fn corrections(db: impl PgExecutor<'_>, window: Window<'_>) -> sqlx::Result<Vec<Correction>> {
    let corrections = sqlx::query_as!(
        Correction,
        r#"select l.reference as "id!", coalesce(c.user_id, d.user_id) as "customer_id!",
                  case when c.user_id is null then 'debit' else 'credit' end as "direction!",
                  case when c.user_id is null then c.name else d.name end as "counterpart!", l.currency as "currency!",
                  l.amount_minor as "amount!", (ledger_time(l.timestamp) at time zone $1)::date as "posted_on!",
                  (coalesce(r.completed_at, r.created_at) at time zone $1)::date as "concerns?", a.requested_by as "requested_by?",
                  (select string_agg(p.approver_id::text, ' ' order by p.used_at, p.id) from approvals p
                    where coalesce(p.transaction_id, p.journal_id) = l.reference and p.used_at is not null) as "approved_by?"
             from ledger_transfers l
             join ledger_accounts d on d.id = l.debit_account_id
             join ledger_accounts c on c.id = l.credit_account_id
             left join adjustments a on a.transaction_id = l.reference
             left join transactions r on r.id = a.about_id
            where l.code = 90 and l.kind in ('posted', 'post') and l.timestamp > $2 and l.timestamp <= $3
              and coalesce(c.user_id, d.user_id) is not null
            order by l.timestamp"#,
        window.zone,
        window.after,
        window.until
    );
    corrections.fetch_all(db).await
}

/// What each customer's account held right after the cut, debits less credits: what it holds now, without what was posted since.
pub(super) async fn customers(
    db: impl PgExecutor<'_>,
    currency: &str,
    cut: i64,
) -> sqlx::Result<Vec<(i32, Uuid, i64)>> {
    let rows = sqlx::query!(
        r#"select a.code as "code!", a.user_id as "user_id!", m.net as "net!"
             from (select id, sum(net)::bigint as net
                     from (select id, debits_posted - credits_posted as net from ledger_accounts
                            where currency = $1 and user_id is not null
                           union all
                           select debit_account_id, -amount_minor from ledger_transfers
                            where currency = $1 and timestamp > $2 and kind in ('posted', 'post')
                           union all
                           select credit_account_id, amount_minor from ledger_transfers
                            where currency = $1 and timestamp > $2 and kind in ('posted', 'post')) as moved
                    group by id) m
             join ledger_accounts a on a.id = m.id
            where m.net <> 0 and a.user_id is not null"#,
        currency,
        cut
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.code, row.user_id, row.net)).collect())
}
