//! SQL of `repeats`.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::identity::rotation::{KeyUse, encrypted};
use crate::platform::{clock::DateTime, encryption::Encrypted};

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) caller: Uuid,
    pub(super) customer: Option<Uuid>,
    pub(super) key: &'a str,
    pub(super) hash: &'a [u8],
    pub(super) now: DateTime,
}

pub(super) struct Known {
    pub(super) id: Uuid,
    pub(super) request_hash: Vec<u8>,
    pub(super) answer: Option<Encrypted>,
}

/// False when the key is there already.
pub(super) async fn insert_once(db: impl PgExecutor<'_>, new: &New<'_>, claimed_until: DateTime) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into idempotent_calls (id, user_id, idempotency_key, request_hash, claimed_until, created_at, customer_id)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (user_id, idempotency_key) do nothing",
        new.id,
        new.caller,
        new.key,
        new.hash,
        claimed_until,
        new.now,
        new.customer
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn find(db: impl PgExecutor<'_>, caller: Uuid, key: &str) -> sqlx::Result<Option<Known>> {
    let row = sqlx::query!(
        "select id, request_hash, answer, key_id from idempotent_calls where user_id = $1 and idempotency_key = $2",
        caller,
        key
    );
    Ok(row.fetch_optional(db).await?.map(|row| Known {
        id: row.id,
        request_hash: row.request_hash,
        answer: row.answer.zip(row.key_id).map(|(bytes, key_id)| Encrypted { key_id, bytes }),
    }))
}

/// The new turn, if the lease of the one before is over.
pub(super) async fn take_over(
    db: impl PgExecutor<'_>,
    id: Uuid,
    now: DateTime,
    claimed_until: DateTime,
) -> sqlx::Result<Option<i32>> {
    let update = sqlx::query_scalar!(
        "update idempotent_calls set turn = turn + 1, claimed_until = $3
          where id = $1 and answer is null and claimed_until <= $2 returning turn",
        id,
        now,
        claimed_until
    );
    update.fetch_optional(db).await
}

/// Nothing where somebody has taken the call over.
pub(super) async fn answer(db: impl PgExecutor<'_>, (id, turn): (Uuid, i32), answer: &Encrypted) -> sqlx::Result<()> {
    let update = sqlx::query!(
        "update idempotent_calls set answer = $3, key_id = $4 where id = $1 and turn = $2 and answer is null",
        id,
        turn,
        answer.bytes,
        answer.key_id
    );
    update.execute(db).await.map(drop)
}

pub(super) async fn release(db: impl PgExecutor<'_>, (id, turn): (Uuid, i32)) -> sqlx::Result<()> {
    sqlx::query!("delete from idempotent_calls where id = $1 and turn = $2 and answer is null", id, turn)
        .execute(db)
        .await
        .map(drop)
}

/// The next turn need not wait for the end of this one's lease.
pub(super) async fn pass_on(db: impl PgExecutor<'_>, (id, turn): (Uuid, i32), now: DateTime) -> sqlx::Result<()> {
    let update = sqlx::query!(
        "update idempotent_calls set claimed_until = $3 where id = $1 and turn = $2 and answer is null",
        id,
        turn,
        now
    );
    update.execute(db).await.map(drop)
}

/// Forgets what was answered about a customer, for an erasure. What is under way keeps no answer then.
pub async fn forget_about(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from idempotent_calls where customer_id = $1", customer).execute(db).await.map(drop)
}

pub(super) async fn delete_before(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let delete = sqlx::query!(
        "delete from idempotent_calls
          where id in (select id from idempotent_calls where created_at <= $1 limit $2 for update skip locked)",
        before,
        limit
    );
    Ok(delete.execute(db).await?.rows_affected())
}

encrypted!(KeptAnswers, "kept answer", 100 of "idempotent_calls", "id", "answer", where "answer is not null");
