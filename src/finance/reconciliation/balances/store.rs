//! SQL of the balances: what the ledger expects of Revio's, what is held and owed, and what stayed too long.

use chrono::NaiveDate;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;

/// By the ledger's copy and the rows, of one moment.
pub(super) struct Expected {
    pub(super) currency: String,
    /// 1000, posted.
    pub(super) provider: i64,
    /// Settlements that Revio has sent.
    pub(super) in_transit: i64,
    /// Payouts that Revio has executed, and the ledger has not posted.
    pub(super) executed: i64,
}

pub(super) async fn expected(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Expected>> {
    let expected = sqlx::query_as!(
        Expected,
        r#"select a.currency,
                  coalesce(sum(a.debits_posted - a.credits_posted) filter (where a.code = 1000), 0)::bigint as "provider!",
                  coalesce((select sum(j.amount_minor) from journals j
                             where j.currency = a.currency and j.kind = 'settlement' and j.state = 'in_transit'), 0)::bigint
                    as "in_transit!",
                  coalesce((select sum(r.amount_minor) from transactions r
                             where r.currency = a.currency and r.kind = 'withdrawal' and r.state in ('submitting', 'submitted')
                               and r.provider_status in ('pending', 'success', 'executed')), 0)::bigint as "executed!"
             from ledger_accounts a group by a.currency order by a.currency"#
    );
    expected.fetch_all(db).await
}

/// By the sums of days, of the end of one.
pub(super) struct Position {
    pub(super) currency: String,
    /// 1000, posted.
    pub(super) provider: i64,
    /// 1100, posted.
    pub(super) bank: i64,
    /// 2000 and 2900, posted.
    pub(super) owed: i64,
    /// Settlements that had not arrived.
    pub(super) in_transit: i64,
    /// To 1000 since a day: so much of what it holds is not older.
    pub(super) came: i64,
}

/// As `reporting.position` has it.
pub(super) async fn at_end_of(
    db: impl PgExecutor<'_>,
    day: NaiveDate,
    came_since: NaiveDate,
) -> sqlx::Result<Vec<Position>> {
    let positions = sqlx::query_as!(
        Position,
        r#"select currency as "currency!",
                  coalesce(sum(debits - credits) filter (where account_code = 1000), 0)::bigint as "provider!",
                  coalesce(sum(debits - credits) filter (where account_code = 1100), 0)::bigint as "bank!",
                  coalesce(sum(credits - debits) filter (where account_code in (2000, 2900)), 0)::bigint as "owed!",
                  coalesce(sum(pending_credits) filter (where account_code = 1000 and reason_code = 60), 0)::bigint as "in_transit!",
                  coalesce(sum(debits) filter (where account_code = 1000 and day >= $2), 0)::bigint as "came!"
             from ledger_day_sides where day <= $1 group by currency order by currency"#,
        day,
        came_since
    );
    positions.fetch_all(db).await
}

pub(super) struct Row<'a> {
    pub(super) currency: &'a str,
    pub(super) field: &'a str,
    pub(super) minor: i64,
    pub(super) expected: Option<i64>,
}

#[expect(clippy::as_conversions, reason = "how the query macro is told a parameter's type")]
pub(super) async fn insert(
    db: impl PgExecutor<'_>,
    run: Uuid,
    rows: &[Row<'_>],
    asked_at: DateTime,
) -> sqlx::Result<()> {
    let currencies: Vec<String> = rows.iter().map(|row| row.currency.to_owned()).collect();
    let fields: Vec<String> = rows.iter().map(|row| row.field.to_owned()).collect();
    let amounts: Vec<i64> = rows.iter().map(|row| row.minor).collect();
    let expected: Vec<Option<i64>> = rows.iter().map(|row| row.expected).collect();
    let insert = sqlx::query!(
        "insert into provider_balances (run_id, currency, field, amount_minor, expected_minor, asked_at)
         select $1, b.currency, b.field, b.amount, b.expected, $6
           from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) as b (currency, field, amount, expected)
         on conflict (run_id, currency, field) do update
            set amount_minor = excluded.amount_minor, expected_minor = excluded.expected_minor, asked_at = excluded.asked_at",
        run,
        &currencies,
        &fields,
        &amounts,
        &expected as &[Option<i64>],
        asked_at
    );
    insert.execute(db).await.map(drop)
}
