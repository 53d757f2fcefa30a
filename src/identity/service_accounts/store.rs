//! SQL of `service_accounts` and `service_account_keys`.

use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AccountChange, NewAccount, Scope};
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::DateTime;

#[derive(Serialize, ToSchema)]
#[schema(as = ServiceAccount)]
pub struct Account {
    pub id: Uuid,
    pub name: String,
    #[schema(value_type = Vec<Scope>)]
    pub scopes: Vec<String>,
    pub enabled: bool,
    /// Who of the staff made it.
    pub created_by: Uuid,
    pub created_at: DateTime,
    pub updated_at: DateTime,
}

/// A key, without what makes it one.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceAccountKey)]
pub struct Key {
    pub id: Uuid,
    #[serde(skip)]
    pub(super) service_account_id: Uuid,
    /// Its last four characters.
    #[schema(example = "3f9a")]
    pub hint: String,
    pub created_at: DateTime,
    pub expires_at: DateTime,
    pub revoked_at: Option<DateTime>,
    /// To the minute.
    pub last_used_at: Option<DateTime>,
}

macro_rules! accounts {
    ($after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Account,
            "select id, name, scopes, enabled, created_by, created_at, updated_at from service_accounts " + $after
            $(, $argument)*
        )
    };
}

macro_rules! keys {
    ($after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Key,
            "select id, service_account_id, hint, created_at, expires_at, revoked_at, last_used_at from service_account_keys "
                + $after
            $(, $argument)*
        )
    };
}

pub(super) async fn lock(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", AdvisoryLock::ServiceAccounts.number()).execute(db).await.map(drop)
}

pub(super) async fn count(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from service_accounts"#).fetch_one(db).await
}

pub(super) async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Account>> {
    accounts!("order by id").fetch_all(db).await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Account>> {
    accounts!("where id = $1", id).fetch_optional(db).await
}

pub(super) async fn insert(db: impl PgExecutor<'_>, new: &NewAccount, by: Uuid, now: DateTime) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into service_accounts (id, name, scopes, created_by, created_at, updated_at) values ($1, $2, $3, $4, $5, $5)",
        new.id,
        new.name,
        &names(&new.scopes),
        by,
        now
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn change(db: impl PgExecutor<'_>, id: Uuid, to: &AccountChange, now: DateTime) -> sqlx::Result<()> {
    let scopes = to.scopes.as_deref().map(names);
    let query = sqlx::query!(
        "update service_accounts
            set name = coalesce($2, name), scopes = coalesce($3, scopes), enabled = coalesce($4, enabled), updated_at = $5
          where id = $1",
        id,
        to.name,
        scopes.as_deref(),
        to.enabled,
        now
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn count_keys(db: impl PgExecutor<'_>, account_id: Uuid, now: DateTime) -> sqlx::Result<i64> {
    let query = sqlx::query_scalar!(
        r#"select count(*) as "count!" from service_account_keys
            where service_account_id = $1 and revoked_at is null and expires_at > $2"#,
        account_id,
        now
    );
    query.fetch_one(db).await
}

pub(super) async fn insert_key(
    db: impl PgExecutor<'_>,
    (id, account_id): (Uuid, Uuid),
    (hash, hint): (&[u8], &str),
    now: DateTime,
    expires_at: DateTime,
) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into service_account_keys (id, service_account_id, hash, hint, created_at, expires_at) values ($1, $2, $3, $4, $5, $6)",
        id,
        account_id,
        hash,
        hint,
        now,
        expires_at
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn replace_key(db: impl PgExecutor<'_>, id: Uuid, (hash, hint): (&[u8], &str)) -> sqlx::Result<()> {
    sqlx::query!("update service_account_keys set hash = $2, hint = $3 where id = $1", id, hash, hint)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn find_any_key(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Key>> {
    keys!("where id = $1", id).fetch_optional(db).await
}

/// One that is valid.
pub(super) async fn find_key(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<Option<Key>> {
    keys!("where id = $1 and revoked_at is null and expires_at > $2", id, now).fetch_optional(db).await
}

/// The last ones.
pub(super) async fn keys(db: impl PgExecutor<'_>, account_id: Uuid) -> sqlx::Result<Vec<Key>> {
    keys!("where service_account_id = $1 order by id desc limit 100", account_id).fetch_all(db).await
}

pub(super) async fn end_key(db: impl PgExecutor<'_>, id: Uuid, until: DateTime) -> sqlx::Result<()> {
    sqlx::query!("update service_account_keys set expires_at = least(expires_at, $2) where id = $1", id, until)
        .execute(db)
        .await
        .map(drop)
}

/// Whose it was, unless it was revoked before.
pub(super) async fn revoke_key(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<Option<Uuid>> {
    let query = sqlx::query_scalar!(
        "update service_account_keys set revoked_at = $2 where id = $1 and revoked_at is null returning service_account_id",
        id,
        now
    );
    query.fetch_optional(db).await
}

fn names(scopes: &[Scope]) -> Vec<String> {
    scopes.iter().map(|scope| scope.name().to_owned()).collect()
}
