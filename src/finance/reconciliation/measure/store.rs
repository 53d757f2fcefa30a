//! SQL of the gauges; each reads a small table or the end of an index.

use sqlx::PgExecutor;

use crate::platform::clock::DateTime;

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
        r#"select 'suspense' as "what!", (select min(opened_at) from suspense_items
                                      where taken_minor < amount_minor and booked_at is not null) as since
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
