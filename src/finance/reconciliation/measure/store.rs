//! SQL of the gauges; each reads a small table or the end of an index.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;

pub(super) struct Figure {
    pub(super) currency: String,
    pub(super) field: String,
    pub(super) amount_minor: i64,
}

/// As Revio was last asked, and no earlier than `since`. Where it did not say then what is available, that is what the ledger expects of it, as in
/// `reporting.float`.
pub(super) async fn figures(
    db: impl PgExecutor<'_>,
    currencies: &[String],
    since: DateTime,
) -> sqlx::Result<Vec<Figure>> {
    let figures = sqlx::query_as!(
        Figure,
        r#"with asked as (select currency from unnest($1::text[]) as asked (currency)),
                said as (
                    select b.currency, b.field, b.amount_minor from asked
                     cross join lateral (select run_id, asked_at from provider_balances l where l.currency = asked.currency
                                          order by l.asked_at desc limit 1) as last
                      join provider_balances b on b.run_id = last.run_id and b.currency = asked.currency and b.asked_at = last.asked_at
                     where last.asked_at > $2),
                telling as (select currency from said where field = 'available_balance')
           select currency as "currency!", field as "field!", amount_minor as "amount_minor!" from said
            where currency in (select currency from telling)
           union all
           select a.currency, 'available_balance',
                  (select coalesce(sum(s.debits - s.credits - case when s.reason_code in (60, 61) then s.pending_credits else 0 end), 0)
                     from ledger_day_sides s where s.currency = a.currency and s.account_code = 1000)::bigint
                  - (select coalesce(sum(t.amount_minor), 0) from transactions t
                      where t.state in ('submitting', 'submitted') and t.provider_status in ('pending', 'success', 'executed')
                        and t.currency = a.currency)::bigint
             from asked a where a.currency not in (select currency from telling)"#,
        currencies,
        since
    );
    figures.fetch_all(db).await
}

pub(super) struct Oldest {
    pub(super) what: String,
    pub(super) since: Option<DateTime>,
}

/// Of what stays open: since when the oldest does.
pub(super) async fn oldest(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Oldest>> {
    let oldest = sqlx::query_as!(
        Oldest,
        r#"select 'suspense' as "what!", (select min(opened_at) from suspense_items
                                      where taken_minor < amount_minor and booked_at is not null) as since
           union all
           select 'settlement', (select min(sent_at) from journals where state = 'in_transit')
           union all
           select 'journal', (select min(created_at) from journals where state = 'awaiting_approval')
           union all
           -- Whoever owes nothing any more has rows all the same that say what was owed.
           select 'receivable', (select min(t.created_at) from transactions t
                                    join ledger_accounts a on a.id between t.user_id and (left(t.user_id::text, 32) || 'ffff')::uuid
                                                          and a.code = 1200 and a.currency = t.currency
                                   where t.owed_minor > 0 and a.debits_posted > a.credits_posted)
           union all
           select 'reservation', (select min(updated_at) from transactions
                                   where kind = 'withdrawal'
                                     and state in ('reserved', 'awaiting_approval', 'submitting', 'submitted'))"#
    );
    oldest.fetch_all(db).await
}

/// Since when the first day is over that must be on a statement and is on none, of those that are looked at. Revio's are of every day
/// since the ledger's first transfer. The bank's are of each currency, since its account was opened in the ledger, or since its first file:
/// before that there is nothing that a file could prove.
pub(super) async fn first_day_without_statement(
    db: impl PgExecutor<'_>,
    (zone, now): (&str, DateTime),
    (currencies, banks): (&[String], &[Uuid]),
    looked_back: i32,
) -> sqlx::Result<Option<DateTime>> {
    let since = sqlx::query_scalar!(
        r#"with today as (select ($2::timestamptz at time zone $1)::date as day),
                began as (
                    select min(f.day) as day from unnest($3::text[]) as c (currency)
                     cross join lateral (select min(day) as day from ledger_days where currency = c.currency) f),
                banks as (
                    select b.currency,
                           least((select (ledger_time(opened_timestamp) at time zone $1)::date from ledger_accounts where id = b.account),
                                 (select min(from_day) from statement_files where source = 'bank' and currency = b.currency)) as day
                      from unnest($3::text[], $4::uuid[]) as b (currency, account)),
                wanted as (
                    select 'revio' as source, null as currency, day as first from began
                    union all
                    select 'bank', banks.currency, greatest(began.day, banks.day) from began, banks where banks.day is not null),
                files as materialized (
                    select f.source, f.currency, f.from_day, f.to_day, f.provider_id, f.imported_at from statement_files f, today
                     where f.source in ('revio', 'bank') and f.to_day >= today.day - $5::integer)
           select (min(d.day)::date + 1)::timestamp at time zone $1
             from today cross join wanted
            cross join lateral generate_series(greatest(wanted.first, today.day - $5::integer)::timestamp,
                                               (today.day - 1)::timestamp, interval '1 day') d (day)
            -- A bank that moves nothing at the weekend has no file of it.
            where wanted.first is not null and (select day from began) is not null and (wanted.source = 'revio' or extract(isodow from d.day) < 6)
              and not exists (select from files f
                               where f.source = wanted.source and (f.currency is null or f.source = 'revio' or f.currency = wanted.currency)
                                 and d.day::date between f.from_day and f.to_day
                                 -- From before the day's end it is of a part of it.
                                 and (f.provider_id is not null or f.imported_at >= (d.day + interval '1 day') at time zone $1))"#,
        zone,
        now,
        currencies,
        banks,
        looked_back
    );
    since.fetch_one(db).await
}

pub(super) struct UnderWay {
    pub(super) currency: String,
    pub(super) amount_minor: i64,
}

/// Withdrawals that Revio has executed and that have not ended: the ledger reserves them still, and what Revio has available is without
/// them. The same in `balances` and in `reporting.float`.
pub(super) async fn payouts_under_way(db: impl PgExecutor<'_>, currencies: &[String]) -> sqlx::Result<Vec<UnderWay>> {
    let sums = sqlx::query_as!(
        UnderWay,
        r#"select asked.currency as "currency!", coalesce(sum(t.amount_minor), 0)::bigint as "amount_minor!"
             from unnest($1::text[]) as asked (currency)
             -- Withdrawals alone come into these states.
             left join transactions t on t.currency = asked.currency
                   and t.state in ('submitting', 'submitted') and t.provider_status in ('pending', 'success', 'executed')
            group by asked.currency"#,
        currencies
    );
    sums.fetch_all(db).await
}
