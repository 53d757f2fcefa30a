//! What becomes of calls after their answer, as the rows say, once nothing of them is under way any more.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use octoco::app::App;
use octoco::platform::error::BoxError;
use serde::Serialize;

use super::cases::Case;
use super::customers::Customers;

/// How long all of it may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Booked, or completed.
#[derive(Debug, Serialize)]
pub(crate) struct Effect {
    count: i64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// How many of them are under way, whatever others there are; what has begun and ended, of those that have.
const RECEIPTS: (&str, &str) = (
    "select count(*) from webhook_logs where state = 'pending' and received_at >= $2 and cardinality($1) > 0",
    "select received_at as began, finished_at as ended from webhook_logs
      where verdict = 'accepted' and event_type = 'purchase.paid' and received_at >= $2 and cardinality($1) > 0",
);
const WITHDRAWALS: (&str, &str) = (
    "select count(*) from transactions
      where user_id = any($1) and kind = 'withdrawal' and created_at >= $2 and state not in ('completed', 'failed', 'rejected')",
    "select created_at as began, completed_at as ended from transactions
      where user_id = any($1) and kind = 'withdrawal' and completed_at >= $2",
);

pub(crate) async fn follow(
    app: &App,
    case: Case,
    customers: &Customers,
    begun: DateTime<Utc>,
) -> Result<Effect, BoxError> {
    let ((under_way, ended), waits) = (if case == Case::Whole { WITHDRAWALS } else { RECEIPTS }, Instant::now());
    let mut every = tokio::time::interval(LOOK_EVERY);
    while waits.elapsed() < PATIENCE {
        every.tick().await;
        let left: i64 = sqlx::query_scalar(under_way).bind(customers.ids()).bind(begun).fetch_one(&app.db).await?;
        if left == 0 {
            return effect(app, ended, customers, begun).await;
        }
    }
    Err(format!("not all came to an end within {PATIENCE:?}").into())
}

async fn effect(app: &App, ended: &str, customers: &Customers, begun: DateTime<Utc>) -> Result<Effect, BoxError> {
    let statement = format!(
        "select count(*), coalesce(extract(epoch from max(ended) - min(began)), 1)::float8,
                coalesce(percentile_disc(array[0.5, 0.99, 1]) within group (order by 1000 * extract(epoch from ended - began)::float8),
                         array[0, 0, 0]::float8[])
           from ({ended}) as each"
    );
    let (count, lasted, ms): (i64, f64, Vec<f64>) =
        sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(customers.ids()).bind(begun).fetch_one(&app.db).await?;
    let per_second = count as f64 / lasted.max(0.001);
    Ok(Effect { count, per_second, p50_ms: ms[0], p99_ms: ms[1], max_ms: ms[2] })
}
