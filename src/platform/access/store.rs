//! SQL of what a token cannot know.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::{clock::DateTime, permissions::Role};

pub(super) async fn ended_since(db: impl PgExecutor<'_>, since: DateTime) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("select id from sessions where revoked_at > $1", since).fetch_all(db).await
}

pub(super) async fn has_verified_email(db: impl PgExecutor<'_>, user: Uuid) -> sqlx::Result<bool> {
    let at = sqlx::query_scalar!("select email_verified_at from users where id = $1", user).fetch_optional(db).await?;
    Ok(at.flatten().is_some())
}

pub(super) async fn role(
    db: impl PgExecutor<'_>,
    user: Uuid,
    session: Uuid,
    now: DateTime,
) -> sqlx::Result<Option<Role>> {
    let row = sqlx::query_scalar!(
        r#"select u.role as "role: Role" from sessions s join users u on u.id = s.user_id
          where s.id = $1 and s.user_id = $2 and s.revoked_at is null and s.expires_at > $3"#,
        session,
        user,
        now
    );
    row.fetch_optional(db).await
}
