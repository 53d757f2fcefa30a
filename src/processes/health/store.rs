//! SQL of the readiness probe.

use sqlx::PgExecutor;

pub(super) async fn migrated(db: impl PgExecutor<'_>) -> sqlx::Result<Option<i64>> {
    // The table is sqlx's own and not in the schema that the macros check.
    sqlx::query_scalar::<_, Option<i64>>("select max(version) from _sqlx_migrations where success").fetch_one(db).await
}
