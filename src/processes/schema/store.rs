//! SQL of the rights of roles, and of the deadlines of a migration.

use sqlx::{PgConnection, PgExecutor};

/// Of a connection of one's own: any time for a statement, and little for a lock.
pub(super) async fn be_patient(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("set statement_timeout = 0; set lock_timeout = '2s'").execute(db).await.map(drop)
}

/// Whether this is the role that we are signed in as.
pub(super) async fn is_ours(db: impl PgExecutor<'_>, role: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select current_user::text = $1 as "ours!""#, role).fetch_one(db).await
}

pub(super) async fn grant(db: impl PgExecutor<'_>, role: &str) -> sqlx::Result<()> {
    sqlx::query!("select from grant_to_service($1::text::name)", role).execute(db).await.map(drop)
}

pub(super) async fn is_there(db: impl PgExecutor<'_>, role: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from pg_roles where rolname = $1::text::name) as "there!""#, role)
        .fetch_one(db)
        .await
}

pub(super) async fn admit_reader(db: impl PgExecutor<'_>, role: &str, verifier: &str) -> sqlx::Result<()> {
    sqlx::query!("select from admit_reader($1::text::name, $2)", role, verifier).execute(db).await.map(drop)
}

pub(super) async fn grant_to_reader(db: impl PgExecutor<'_>, role: &str) -> sqlx::Result<()> {
    sqlx::query!("select from grant_to_reporting($1::text::name)", role).execute(db).await.map(drop)
}

pub(super) async fn add_currency(db: impl PgExecutor<'_>, code: &str, exponent: i32) -> sqlx::Result<()> {
    let added = sqlx::query!(
        "insert into reporting.currencies (currency, exponent) values ($1, $2) on conflict (currency) do nothing",
        code,
        exponent
    );
    added.execute(db).await.map(drop)
}
