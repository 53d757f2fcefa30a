//! SQL of `users`.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::Notifications;
use crate::platform::{clock::DateTime, permissions::Role};

#[derive(Clone)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub full_name: String,
    pub(super) password_hash: String,
    pub role: Role,
    pub created_at: DateTime,
    pub email_verified_at: Option<DateTime>,
    pub mail_deposits: bool,
    pub mail_withdrawals: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub email: Option<String>,
    pub role: Option<Role>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

macro_rules! users {
    ($clause:literal $(, $value:expr)* $(,)?) => {
        sqlx::query_as!(
            User,
            r#"select id, email, full_name, password_hash, role as "role: Role", created_at, email_verified_at,
                      mail_deposits, mail_withdrawals from users "#
                + $clause
            $(, $value)*
        )
    };
}

/// Whether nobody had the e-mail.
pub(super) async fn insert(db: impl PgExecutor<'_>, user: &User) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into users (id, email, full_name, password_hash, role, role_since, created_at)
         values ($1, $2, $3, $4, $5, $6, $6)
         on conflict (email) do nothing",
        user.id,
        user.email,
        user.full_name,
        user.password_hash,
        user.role.name(),
        user.created_at,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn find_all(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<User>> {
    users!("where id = any($1)", ids).fetch_all(db).await
}

pub(super) async fn find_by_email(db: impl PgExecutor<'_>, email: &str) -> sqlx::Result<Option<User>> {
    users!("where email = $1", email).fetch_optional(db).await
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<User>> {
    let page = users!(
        "where ($1::text is null or email ^@ $1) and ($2::text is null or role = $2) and ($3::uuid is null or id < $3)
         order by id desc limit $4",
        filter.email,
        filter.role.map(Role::name),
        filter.before,
        filter.limit,
    );
    page.fetch_all(db).await
}

/// Until the end of the transaction nobody else locks this user: what is counted or decided stays so. Weak enough to let
/// everything go on that only refers to the user.
pub async fn lock(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Role>> {
    sqlx::query_scalar!(r#"select role as "role: Role" from users where id = $1 for no key update"#, id)
        .fetch_optional(db)
        .await
}

/// The same of somebody whose data is not erased; else false: what came now would stay for ever.
pub async fn lock_unless_erased(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    let locked = sqlx::query_scalar!("select id from users where id = $1 and erased_at is null for no key update", id);
    Ok(locked.fetch_optional(db).await?.is_some())
}

/// The same of some, beside others who lock like this.
pub async fn lock_shared(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("select from users where id = any($1) order by id for share", ids).execute(db).await.map(drop)
}

/// The role as it is, until the end of the transaction.
pub(super) async fn lock_role(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Role>> {
    sqlx::query_scalar!(r#"select role as "role: Role" from users where id = $1 for update"#, id)
        .fetch_optional(db)
        .await
}

/// Until the end of the transaction nobody else changes anybody's role. Before anybody's row is locked for it.
pub async fn lock_roles(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock(hashtext('octoco roles'))").execute(db).await.map(drop)
}

/// Whether somebody else may give roles: a frozen admin decides nothing.
pub(super) async fn is_another_admin(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from users u where u.role = 'admin' and u.id <> $1 and not exists (
                select from restrictions r
                 where r.user_id = u.id and r.kind = 'freeze' and r.state <> 'lifted')) as "found!""#,
        id
    );
    found.fetch_one(db).await
}

pub(super) async fn set_role(db: impl PgExecutor<'_>, id: Uuid, role: Role, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!("update users set role = $2, role_since = $3 where id = $1", id, role.name(), now)
        .execute(db)
        .await
        .map(drop)
}

/// Whether the hash was still the old one.
pub(super) async fn replace_hash(db: impl PgExecutor<'_>, id: Uuid, old: &str, new: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!("update users set password_hash = $3 where id = $1 and password_hash = $2", id, old, new)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether the hash is still this one; it stays so until the end of the transaction.
pub(super) async fn hold_hash(db: impl PgExecutor<'_>, id: Uuid, hash: &str) -> sqlx::Result<bool> {
    let held = sqlx::query_scalar!("select id from users where id = $1 and password_hash = $2 for share", id, hash)
        .fetch_optional(db)
        .await?;
    Ok(held.is_some())
}

/// The same, and nobody else holds it or changes the row.
pub(super) async fn lock_hash(db: impl PgExecutor<'_>, id: Uuid, hash: &str) -> sqlx::Result<bool> {
    let locked =
        sqlx::query_scalar!("select id from users where id = $1 and password_hash = $2 for no key update", id, hash)
            .fetch_optional(db)
            .await?;
    Ok(locked.is_some())
}

pub(super) async fn set_verified(db: impl PgExecutor<'_>, id: Uuid, email: &str, now: DateTime) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update users set email_verified_at = $3 where id = $1 and email = $2 and email_verified_at is null",
        id,
        email,
        now
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// Whether the user still had the old e-mail.
pub(super) async fn set_email(
    db: impl PgExecutor<'_>,
    (id, old): (Uuid, &str),
    new: &str,
    now: DateTime,
) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update users set email = $3, email_verified_at = $4 where id = $1 and email = $2",
        id,
        old,
        new,
        now
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// Gives the user another name. What it takes before somebody may is in `money/profile.rs`.
pub async fn set_name(db: impl PgExecutor<'_>, id: Uuid, full_name: &str) -> sqlx::Result<()> {
    sqlx::query!("update users set full_name = $2 where id = $1", id, full_name).execute(db).await.map(drop)
}

/// Switches mails about the own deposits and withdrawals on or off.
pub async fn set_notifications(db: impl PgExecutor<'_>, id: Uuid, wanted: Notifications) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "update users set mail_deposits = coalesce($2, mail_deposits), mail_withdrawals = coalesce($3, mail_withdrawals)
          where id = $1",
        id,
        wanted.deposits,
        wanted.withdrawals
    );
    query.execute(db).await.map(drop)
}
