//! SQL of what PostgreSQL promises of a commit, and of how new its schema is.

use sqlx::PgExecutor;

/// As this session has them: `synchronous_commit` may differ for a role or a database.
#[derive(Debug, Clone)]
pub(super) struct Promises {
    pub fsync: String,
    pub full_page_writes: String,
    pub synchronous_commit: String,
    pub synchronous_standby_names: String,
    pub in_recovery: bool,
}

pub(super) async fn promises(db: impl PgExecutor<'_>) -> sqlx::Result<Promises> {
    let promises = sqlx::query_as!(
        Promises,
        r#"select current_setting('fsync') as "fsync!", current_setting('full_page_writes') as "full_page_writes!",
                  current_setting('synchronous_commit') as "synchronous_commit!",
                  current_setting('synchronous_standby_names') as "synchronous_standby_names!",
                  pg_is_in_recovery() as "in_recovery!""#
    );
    promises.fetch_one(db).await
}

pub(super) async fn newest_migration(db: impl PgExecutor<'_>) -> sqlx::Result<Option<i64>> {
    // The table is sqlx's own and not in the schema that the macros check.
    sqlx::query_scalar::<_, Option<i64>>("select max(version) from _sqlx_migrations where success").fetch_one(db).await
}
