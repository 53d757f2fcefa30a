//! SQL of `sessions` and `refresh_tokens`.

use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::LISTED_MAX;
use crate::platform::clock::DateTime;

#[derive(Serialize, ToSchema)]
#[schema(as = SessionView)]
pub struct Session {
    pub id: Uuid,
    /// Whether this very call belongs to it.
    pub current: bool,
    pub user_agent: Option<String>,
    pub address: Option<String>,
    pub created_at: DateTime,
    pub expires_at: DateTime,
}

/// Which session, and whose.
pub(super) struct SessionOf {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
}

pub(super) struct Token {
    pub(super) session_id: Uuid,
    pub(super) user_id: Uuid,
    /// When its session was.
    pub(super) begun_at: DateTime,
    pub(super) rests_until: Option<DateTime>,
    pub(super) rotated_at: Option<DateTime>,
    pub(super) revoked_at: Option<DateTime>,
    pub(super) expires_at: DateTime,
}

pub(super) async fn insert(db: impl PgExecutor<'_>, user_id: Uuid, session: &Session) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into sessions (id, user_id, user_agent, address, created_at, expires_at) values ($1, $2, $3, $4, $5, $6)",
        session.id,
        user_id,
        session.user_agent,
        session.address,
        session.created_at,
        session.expires_at,
    );
    insert.execute(db).await.map(drop)
}

/// A successor that a second tab inserted first is the same row.
pub(super) async fn insert_token(
    db: impl PgExecutor<'_>,
    hash: &[u8],
    session: Uuid,
    now: DateTime,
    rests_until: Option<DateTime>,
) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into refresh_tokens (token_hash, session_id, issued_at, rests_until) values ($1, $2, $3, $4)
         on conflict do nothing",
        hash,
        session,
        now,
        rests_until,
    );
    insert.execute(db).await.map(drop)
}

impl Token {
    pub(super) fn session(&self) -> SessionOf {
        SessionOf { id: self.session_id, user_id: self.user_id }
    }
}

pub(super) async fn find_token(db: impl PgExecutor<'_>, hash: &[u8]) -> sqlx::Result<Option<Token>> {
    let row = sqlx::query_as!(
        Token,
        "select t.session_id, s.user_id, s.created_at as begun_at, t.rests_until, t.rotated_at, s.revoked_at, s.expires_at
           from refresh_tokens t join sessions s on s.id = t.session_id
          where t.token_hash = $1",
        hash
    );
    row.fetch_optional(db).await
}

/// Whether this call was the first to use the token.
pub(super) async fn rotate_token(db: impl PgExecutor<'_>, hash: &[u8], now: DateTime) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update refresh_tokens set rotated_at = $2 where token_hash = $1 and rotated_at is null",
        hash,
        now
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// Whether it still lived.
pub(super) async fn extend(
    db: impl PgExecutor<'_>,
    id: Uuid,
    expires_at: DateTime,
    now: DateTime,
) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update sessions set expires_at = $2 where id = $1 and revoked_at is null and expires_at > $3",
        id,
        expires_at,
        now
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// Whether it was the user's and still lived.
pub(super) async fn revoke(
    db: impl PgExecutor<'_>,
    session: &SessionOf,
    reason: &str,
    now: DateTime,
) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update sessions set revoked_at = $3, revoked_reason = $4
          where id = $1 and user_id = $2 and revoked_at is null and expires_at > $3",
        session.id,
        session.user_id,
        now,
        reason
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn revoke_all(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    except: Option<Uuid>,
    reason: &str,
    now: DateTime,
) -> sqlx::Result<Vec<Uuid>> {
    let rows = sqlx::query_scalar!(
        // In the order of [`revoke_batch`]: two that end several sessions never wait for each other.
        "update sessions set revoked_at = $3, revoked_reason = $4
          where id in (select id from sessions
                        where user_id = $1 and revoked_at is null and expires_at > $3 and id is distinct from $2
                        order by id for no key update)
            and revoked_at is null
         returning id",
        user_id,
        except,
        now,
        reason
    );
    rows.fetch_all(db).await
}

/// Of the `limit` sessions behind `after` those that live end by this; one that ends just now by other means is passed over. How many, and the
/// last that was looked at.
pub(super) async fn revoke_batch(
    db: impl PgExecutor<'_>,
    reason: &str,
    now: DateTime,
    (after, limit): (Uuid, i64),
) -> sqlx::Result<(i64, Option<Uuid>)> {
    let update = sqlx::query!(
        r#"with batch as (select id from sessions where id > $3 order by id limit $4),
                ended as (update sessions s set revoked_at = $2, revoked_reason = $1
                            from batch where s.id = batch.id and s.revoked_at is null and s.expires_at > $2 returning s.id)
           select (select count(*) from ended) as "ended!", (select id from batch order by id desc limit 1) as last"#,
        reason,
        now,
        after,
        limit
    );
    update.fetch_one(db).await.map(|batch| (batch.ended, batch.last))
}

/// Deletes a batch of those that ended before `before`, by time or otherwise; their tokens go with them.
pub(super) async fn delete_ended(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let delete = sqlx::query!(
        "delete from sessions
          where id in (select id from sessions where revoked_at < $1 or revoked_at is null and expires_at < $1
                        limit $2 for update skip locked)",
        before,
        limit
    );
    Ok(delete.execute(db).await?.rows_affected())
}

/// Deletes a batch of tokens that were used before `before`.
pub(super) async fn delete_used(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let delete = sqlx::query!(
        "delete from refresh_tokens
          where token_hash in (select token_hash from refresh_tokens where rotated_at < $1
                                order by rotated_at limit $2 for update skip locked)",
        before,
        limit
    );
    Ok(delete.execute(db).await?.rows_affected())
}

/// A user has few sessions; the limit keeps one who makes thousands from hurting anybody. The one that asks is always among them.
pub(super) async fn list_for(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    current: Uuid,
    now: DateTime,
) -> sqlx::Result<Vec<Session>> {
    let rows = sqlx::query_as!(
        Session,
        r#"select id, id = $3 as "current!", user_agent, address, created_at, expires_at from sessions
            where user_id = $1 and revoked_at is null and expires_at > $2
            order by id = $3 desc, created_at desc limit $4"#,
        user_id,
        now,
        current,
        LISTED_MAX
    );
    let mut sessions = rows.fetch_all(db).await?;
    sessions.sort_by_key(|session| std::cmp::Reverse(session.created_at));
    Ok(sessions)
}
