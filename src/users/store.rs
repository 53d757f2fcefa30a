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

/// Who is looked for; `None` does not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// How the e-mail begins.
    pub email: Option<String>,
    pub role: Option<&'static str>,
    /// Older than this user.
    pub before: Option<Uuid>,
    pub limit: i64,
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

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<User>> {
    sqlx::query_as!(
        User,
        "select id, email, full_name, password_hash, role, created_at from users
          where ($1::text is null or email ^@ $1) and ($2::text is null or role = $2) and ($3::uuid is null or id < $3)
          order by id desc limit $4",
        filter.email,
        filter.role,
        filter.before,
        filter.limit,
    )
    .fetch_all(db)
    .await
}

/// The role as it is, until the end of the transaction.
pub(super) async fn lock_role(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select role from users where id = $1 for update", id).fetch_optional(db).await
}

pub(super) async fn set_role(db: impl PgExecutor<'_>, id: Uuid, role: &str) -> sqlx::Result<()> {
    sqlx::query!("update users set role = $2 where id = $1", id, role).execute(db).await?;
    Ok(())
}

pub(super) async fn renew_hash(db: impl PgExecutor<'_>, id: Uuid, old: &str, new: &str) -> sqlx::Result<()> {
    sqlx::query!("update users set password_hash = $3 where id = $1 and password_hash = $2", id, old, new)
        .execute(db)
        .await?;
    Ok(())
}
