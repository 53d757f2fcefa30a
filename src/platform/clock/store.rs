//! SQL of the time.

use sqlx::PgExecutor;

use super::DateTime;

/// Not `now()`, which is the beginning of the transaction.
pub(super) async fn time(db: impl PgExecutor<'_>) -> sqlx::Result<DateTime> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "time!""#).fetch_one(db).await
}
