//! SQL of the gauges; each reads a small table or the end of an index.

use sqlx::PgExecutor;

use crate::platform::clock::DateTime;

/// The four sides of all accounts of a code, summed, as the days add up to them: some rows a day, however many accounts there are.
pub(super) struct Sides {
    pub(super) currency: String,
    pub(super) code: i32,
    pub(super) debits: i64,
    pub(super) credits: i64,
    pub(super) pending_debits: i64,
    pub(super) pending_credits: i64,
}

pub(super) async fn sides(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Sides>> {
    let sides = sqlx::query_as!(
        Sides,
        r#"with moved as (
               select currency, debit_code, credit_code, case when kind in ('posted', 'post') then amount_minor else 0 end as posted,
                      case when kind = 'pending' then amount_minor else -released_minor end as pending
                 from ledger_days)
           select currency as "currency!", code as "code!", sum(debits)::bigint as "debits!", sum(credits)::bigint as "credits!",
                  sum(pending_debits)::bigint as "pending_debits!", sum(pending_credits)::bigint as "pending_credits!"
             from (select currency, debit_code as code, posted as debits, 0::numeric as credits, pending as pending_debits,
                          0::numeric as pending_credits from moved
                   union all
                   select currency, credit_code, 0, posted, 0, pending from moved) as sides
            group by currency, code"#
    );
    sides.fetch_all(db).await
}

pub(super) struct Figure {
    pub(super) currency: String,
    pub(super) field: String,
    pub(super) amount_minor: i64,
}

/// As Revio was last asked.
pub(super) async fn figures(db: impl PgExecutor<'_>, currencies: &[String]) -> sqlx::Result<Vec<Figure>> {
    let figures = sqlx::query_as!(
        Figure,
        r#"select b.currency, b.field, b.amount_minor
             from unnest($1::text[]) as asked (currency)
            cross join lateral (select run_id from provider_balances l where l.currency = asked.currency
                            order by l.asked_at desc limit 1) as last
             join provider_balances b on b.run_id = last.run_id and b.currency = asked.currency"#,
        currencies
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
        r#"select 'suspense' as "what!", (select min(opened_at) from suspense_items where taken_minor < amount_minor) as since
           union all
           select 'settlement', (select min(sent_at) from journals where kind = 'settlement' and state = 'in_transit')
           union all
           select 'journal', (select min(created_at) from journals where state = 'awaiting_approval')
           union all
           select 'receivable', (select uuid_time(t.id) from transactions t where t.owed_minor > 0 order by t.id limit 1)
           union all
           select 'reservation', (select min(updated_at) from transactions
                                   where kind = 'withdrawal'
                                     and state in ('reserved', 'awaiting_approval', 'submitting', 'submitted'))
           union all
           -- Until the end of the last day that a file of either source covers, both together.
           select 'statement', (select min(covered) from (
                select max(to_day + 1)::timestamptz as covered from statement_files group by source) as sources)"#
    );
    oldest.fetch_all(db).await
}
