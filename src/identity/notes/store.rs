//! SQL of `customer_notes`.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::Filter;
use crate::identity::rotation::{KeyUse, encrypted};
use crate::platform::clock::DateTime;
use crate::platform::encryption::Encrypted;

pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) author_id: Uuid,
    content: Vec<u8>,
    key_id: String,
    pub(super) created_at: DateTime,
}

impl Row {
    pub(super) fn encrypted(&self) -> Encrypted {
        Encrypted { key_id: self.key_id.clone(), bytes: self.content.clone() }
    }
}

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) author_id: Uuid,
    pub(super) content: &'a Encrypted,
    /// The key that was sent, and the hash of its request.
    pub(super) keyed: Option<(&'a str, &'a [u8])>,
    pub(super) created_at: DateTime,
}

/// False when the author's key made one before.
pub(super) async fn insert(db: impl PgExecutor<'_>, new: &New<'_>) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into customer_notes (id, user_id, author_id, content, key_id, idempotency_key, request_hash, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (author_id, idempotency_key) where idempotency_key is not null do nothing",
        new.id,
        new.user_id,
        new.author_id,
        new.content.bytes,
        new.content.key_id,
        new.keyed.map(|(key, _)| key),
        new.keyed.map(|(_, hash)| hash),
        new.created_at,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

/// With the hash of the request that the key belongs to.
pub(super) async fn find_by_key(db: impl PgExecutor<'_>, by: Uuid, key: &str) -> sqlx::Result<Option<(Row, Vec<u8>)>> {
    let found = sqlx::query!(
        r#"select id, author_id, content, key_id, created_at, request_hash as "request_hash!"
             from customer_notes where author_id = $1 and idempotency_key = $2"#,
        by,
        key
    );
    Ok(found.fetch_optional(db).await?.map(|row| {
        let content = Row {
            id: row.id,
            author_id: row.author_id,
            content: row.content,
            key_id: row.key_id,
            created_at: row.created_at,
        };
        (content, row.request_hash)
    }))
}

pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    let page = sqlx::query_as!(
        Row,
        "select id, author_id, content, key_id, created_at from customer_notes
          where user_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3",
        filter.user_id,
        filter.before,
        filter.limit
    );
    page.fetch_all(db).await
}

pub async fn erase(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from customer_notes where user_id = $1", user_id).execute(db).await.map(drop)
}

encrypted!(CustomerNotes, "customer note", 100 of "customer_notes", "id", "content", where "true");
