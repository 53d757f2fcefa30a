//! SQL of `bank_accounts`.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::identity::rotation::KeyUse;
use crate::platform::clock::DateTime;
use crate::platform::encryption::Encrypted;

#[derive(Clone)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) details: Vec<u8>,
    pub(super) key_id: String,
    pub(super) bank_name: String,
    pub(super) created_at: DateTime,
}

macro_rules! rows {
    ($clause:literal, $($value:expr),+) => {
        sqlx::query_as!(
            Row, "select id, details, key_id, bank_name, created_at from bank_accounts " + $clause, $($value),+
        )
    };
}

/// What an account is known by without its details.
pub(super) struct KnownBy<'a> {
    pub(super) last_four: &'a str,
    pub(super) fingerprint: Option<&'a [u8]>,
    pub(super) key: Option<&'a str>,
}

/// False when the user has `accounts_max` already.
pub(super) async fn insert(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    row: &Row,
    known_by: &KnownBy<'_>,
    accounts_max: i64,
) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into bank_accounts (id, user_id, details, key_id, bank_name, last_four, created_at, fingerprint, idempotency_key)
         select $1, $2, $3, $4, $5, $6, $7, $9, $10
          where (select count(*) from bank_accounts where user_id = $2 and deleted_at is null)
                + (select count(*) from bank_accounts
                    where user_id = $2 and deleted_at is not null and created_at > $7::timestamptz - interval '24 hours') < $8",
        row.id,
        user_id,
        row.details,
        row.key_id,
        row.bank_name,
        known_by.last_four,
        row.created_at,
        accounts_max,
        known_by.fingerprint,
        known_by.key,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

/// Also one that was deleted since.
pub(super) async fn find_by_key(db: impl PgExecutor<'_>, user_id: Uuid, key: &str) -> sqlx::Result<Option<Row>> {
    rows!("where user_id = $1 and idempotency_key = $2", user_id, key).fetch_optional(db).await
}

/// The user's account that has one of these fingerprints, if it was not deleted.
pub(super) async fn find_same(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    fingerprints: &[Vec<u8>],
) -> sqlx::Result<Option<Uuid>> {
    let query = sqlx::query_scalar!(
        "select id from bank_accounts where user_id = $1 and deleted_at is null and fingerprint = any($2) order by id limit 1",
        user_id,
        fingerprints
    );
    query.fetch_optional(db).await
}

pub(super) async fn owner(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!("select user_id from bank_accounts where id = $1", id).fetch_optional(db).await
}

pub(super) async fn list_for(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Vec<Row>> {
    rows!("where user_id = $1 and deleted_at is null order by created_at, id", user_id).fetch_all(db).await
}

pub(super) async fn list_with_deleted(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Vec<Row>> {
    rows!("where user_id = $1 order by created_at, id", user_id).fetch_all(db).await
}

pub(super) async fn erase(
    db: impl PgExecutor<'_>,
    id: Uuid,
    nothing: &Encrypted,
    bank_name: &str,
    now: DateTime,
) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "update bank_accounts
            set details = $2, key_id = $3, bank_name = $4, last_four = '****', fingerprint = null, idempotency_key = null,
                deleted_at = coalesce(deleted_at, $5) where id = $1",
        id,
        nothing.bytes,
        nothing.key_id,
        bank_name,
        now
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn find_all(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Row>> {
    rows!("where id = any($1)", ids).fetch_all(db).await
}

pub(super) async fn exists(db: impl PgExecutor<'_>, user_id: Uuid, id: Uuid) -> sqlx::Result<bool> {
    let found =
        sqlx::query!("select id from bank_accounts where id = $1 and user_id = $2 and deleted_at is null", id, user_id)
            .fetch_optional(db)
            .await?;
    Ok(found.is_some())
}

pub(super) async fn delete(db: impl PgExecutor<'_>, user_id: Uuid, id: Uuid, now: DateTime) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update bank_accounts set deleted_at = $3 where id = $1 and user_id = $2 and deleted_at is null",
        id,
        user_id,
        now
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// Those after `after`, by id, that another key has encrypted; deleted ones too.
pub(super) async fn encrypted_by_others(
    db: impl PgExecutor<'_>,
    key_id: &str,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<(Uuid, Encrypted)>> {
    let rows = rows!("where key_id <> $1 and id > $2 order by id limit $3", key_id, after, limit).fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.id, Encrypted { key_id: row.key_id, bytes: row.details })).collect())
}

/// False when somebody else has encrypted it anew since it was read. The fingerprint is one of the new key; one that was erased stays so.
pub(super) async fn reencrypt(
    db: impl PgExecutor<'_>,
    id: Uuid,
    (old, new): (&Encrypted, &Encrypted),
    fingerprint: Option<&[u8]>,
) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update bank_accounts set details = $4, key_id = $5, fingerprint = case when fingerprint is null then null else $6::bytea end
          where id = $1 and key_id = $2 and details = $3",
        id,
        old.key_id,
        old.bytes,
        new.bytes,
        new.key_id,
        fingerprint
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn uses(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<KeyUse>> {
    let rows = sqlx::query_as!(
        KeyUse,
        r#"select key_id as "id!", count(*) as "rows!" from bank_accounts group by key_id order by 1"#
    );
    rows.fetch_all(db).await
}
