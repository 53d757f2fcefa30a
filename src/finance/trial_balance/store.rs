//! SQL of the customers' part of a trial balance.

use sqlx::PgExecutor;

/// By account code, debits less credits: what the customers' accounts hold now, without what was posted after the cut. One statement, and
/// so one moment of the copy.
pub(super) async fn customers(db: impl PgExecutor<'_>, currency: &str, cut: i64) -> sqlx::Result<Vec<(i32, i64)>> {
    let rows = sqlx::query!(
        r#"select code as "code!", sum(net)::bigint as "net!"
             from (select code, debits_posted - credits_posted as net from ledger_accounts
                    where currency = $1 and user_id is not null
                   union all
                   select a.code, -t.amount_minor from ledger_transfers t join ledger_accounts a on a.id = t.debit_account_id
                    where t.currency = $1 and t.timestamp > $2 and t.kind in ('posted', 'post') and a.user_id is not null
                   union all
                   select a.code, t.amount_minor from ledger_transfers t join ledger_accounts a on a.id = t.credit_account_id
                    where t.currency = $1 and t.timestamp > $2 and t.kind in ('posted', 'post') and a.user_id is not null
                  ) as moved
            group by code"#,
        currency,
        cut
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.code, row.net)).collect())
}
