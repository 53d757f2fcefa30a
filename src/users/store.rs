//! SQL of `users`.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::clock::DateTime;

#[derive(Clone)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub full_name: String,
    pub(super) password_hash: String,
    pub role: String,
    pub created_at: DateTime,
}

pub(super) async fn insert(db: impl PgExecutor<'_>, user: &User) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into users (id, email, full_name, password_hash, role, created_at) values ($1, $2, $3, $4, $5, $6)",
        user.id,
        user.email,
        user.full_name,
        user.password_hash,
        user.role,
        user.created_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(User, "select id, email, full_name, password_hash, role, created_at from users where id = $1", id)
        .fetch_optional(db)
        .await
}

pub(super) async fn find_by_email(db: impl PgExecutor<'_>, email: &str) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        "select id, email, full_name, password_hash, role, created_at from users where email = $1",
        email
    )
    .fetch_optional(db)
    .await
}
