//! SQL of the rights of roles.

use sqlx::PgExecutor;

/// Whether this is the role that we are signed in as.
pub(super) async fn is_ours(db: impl PgExecutor<'_>, role: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select current_user::text = $1 as "ours!""#, role).fetch_one(db).await
}

pub(super) async fn grant(db: impl PgExecutor<'_>, role: &str) -> sqlx::Result<()> {
    sqlx::query!("select from grant_to_service($1::text::name)", role).execute(db).await.map(drop)
}
