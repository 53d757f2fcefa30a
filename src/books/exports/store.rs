//! SQL of `exports` and `export_chunks`.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;

pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) scope: String,
    pub(super) format: String,
    pub(super) request_hash: Vec<u8>,
    pub(super) state: String,
    pub(super) work: Vec<u8>,
    pub(super) key_id: String,
    pub(super) rows_written: i64,
    pub(super) bytes_written: i64,
    pub(super) chunks: i32,
    pub(super) sha256: Option<String>,
    pub(super) failure_reason: Option<String>,
    pub(super) attempts: i32,
    pub(super) version: i32,
    pub(super) created_at: DateTime,
    pub(super) updated_at: DateTime,
    pub(super) completed_at: Option<DateTime>,
    pub(super) expires_at: Option<DateTime>,
}

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) scope: &'static str,
    pub(super) format: &'static str,
    pub(super) key: &'a str,
    pub(super) request_hash: &'a [u8],
    pub(super) work: Vec<u8>,
    pub(super) key_id: String,
}

/// What a user has here: whatever is due once more still has a file, or will have one.
pub(super) struct Kept {
    pub(super) open: i64,
    pub(super) files: i64,
    /// When the first of the files goes.
    pub(super) next_expiry: Option<DateTime>,
}

pub(super) async fn count_kept(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Kept> {
    sqlx::query_as!(
        Kept,
        r#"select count(*) filter (where state in ('queued', 'running')) as "open!", count(*) as "files!",
                  min(expires_at) as next_expiry
             from exports where user_id = $1 and due_at is not null"#,
        user_id
    )
    .fetch_one(db)
    .await
}

pub(super) async fn insert(db: impl PgExecutor<'_>, new: &New<'_>, now: DateTime) -> sqlx::Result<Row> {
    sqlx::query_as!(
        Row,
        "insert into exports (id, user_id, scope, format, idempotency_key, request_hash, state, work, key_id,
                              due_at, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, 'queued', $7, $8, $9, $9, $9)
         returning id, user_id, scope, format, request_hash, state, work, key_id, rows_written, bytes_written, chunks,
                   sha256, failure_reason, attempts, version, created_at, updated_at, completed_at, expires_at",
        new.id,
        new.user_id,
        new.scope,
        new.format,
        new.key,
        new.request_hash,
        new.work,
        new.key_id,
        now,
    )
    .fetch_one(db)
    .await
}

pub(super) async fn find_by_key(db: impl PgExecutor<'_>, user_id: Uuid, key: &str) -> sqlx::Result<Option<Row>> {
    sqlx::query_as!(
        Row,
        "select id, user_id, scope, format, request_hash, state, work, key_id, rows_written, bytes_written, chunks,
                sha256, failure_reason, attempts, version, created_at, updated_at, completed_at, expires_at
           from exports where user_id = $1 and idempotency_key = $2",
        user_id,
        key
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn find(db: impl PgExecutor<'_>, user_id: Uuid, scope: &str, id: Uuid) -> sqlx::Result<Option<Row>> {
    sqlx::query_as!(
        Row,
        "select id, user_id, scope, format, request_hash, state, work, key_id, rows_written, bytes_written, chunks,
                sha256, failure_reason, attempts, version, created_at, updated_at, completed_at, expires_at
           from exports where id = $1 and user_id = $2 and scope = $3",
        id,
        user_id,
        scope
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn list(
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    scope: &str,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        "select id, user_id, scope, format, request_hash, state, work, key_id, rows_written, bytes_written, chunks,
                sha256, failure_reason, attempts, version, created_at, updated_at, completed_at, expires_at
           from exports where user_id = $1 and scope = $2 and ($3::uuid is null or id < $3)
          order by id desc limit $4",
        user_id,
        scope,
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// Takes due rows, oldest first, and pushes them one lease ahead; rows that another worker is taking are passed over.
pub(super) async fn claim_due(
    db: impl PgExecutor<'_>,
    now: DateTime,
    leased_until: DateTime,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        "update exports set due_at = $2
          where id in (select id from exports where due_at <= $1 order by due_at, id limit $3 for update skip locked)
         returning id, user_id, scope, format, request_hash, state, work, key_id, rows_written, bytes_written, chunks,
                   sha256, failure_reason, attempts, version, created_at, updated_at, completed_at, expires_at",
        now,
        leased_until,
        limit
    )
    .fetch_all(db)
    .await
}

/// How far an export is.
pub(super) struct Progress<'a> {
    pub(super) work: Vec<u8>,
    pub(super) key_id: String,
    pub(super) rows_written: i64,
    pub(super) bytes_written: i64,
    pub(super) chunks: i32,
    /// With the last chunk: the hash, and when the file is deleted.
    pub(super) completed: Option<(&'a str, DateTime)>,
}

/// False when the row is not at `version` any more: another worker goes on with it.
pub(super) async fn advance(
    db: impl PgExecutor<'_>,
    row: &Row,
    to: &Progress<'_>,
    now: DateTime,
    due_at: DateTime,
) -> sqlx::Result<bool> {
    let (sha256, expires_at) = to.completed.unzip();
    let done = sqlx::query!(
        "update exports
            set state = case when $8::text is null then 'running' else 'completed' end,
                work = $3, key_id = $4, rows_written = $5, bytes_written = $6, chunks = $7, attempts = 0,
                version = version + 1, updated_at = $9, due_at = $10, sha256 = $8, expires_at = $11,
                completed_at = case when $8::text is not null then $9::timestamptz end
          where id = $1 and version = $2 and state in ('queued', 'running')",
        row.id,
        row.version,
        to.work,
        to.key_id,
        to.rows_written,
        to.bytes_written,
        to.chunks,
        sha256,
        now,
        due_at,
        expires_at,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) struct Chunk {
    pub(super) position: i32,
    pub(super) byte_offset: i64,
    pub(super) length: i32,
    pub(super) bytes: Vec<u8>,
    pub(super) key_id: String,
}

pub(super) async fn insert_chunk(db: impl PgExecutor<'_>, export_id: Uuid, chunk: &Chunk) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into export_chunks (export_id, position, byte_offset, length, bytes, key_id)
         values ($1, $2, $3, $4, $5, $6)",
        export_id,
        chunk.position,
        chunk.byte_offset,
        chunk.length,
        chunk.bytes,
        chunk.key_id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The chunk that holds the byte at `offset`.
pub(super) async fn chunk_at(db: impl PgExecutor<'_>, export_id: Uuid, offset: i64) -> sqlx::Result<Option<Chunk>> {
    sqlx::query_as!(
        Chunk,
        "select position, byte_offset, length, bytes, key_id from export_chunks
          where export_id = $1 and byte_offset <= $2 and byte_offset + length > $2",
        export_id,
        offset
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn chunk(db: impl PgExecutor<'_>, export_id: Uuid, position: i32) -> sqlx::Result<Option<Chunk>> {
    sqlx::query_as!(
        Chunk,
        "select position, byte_offset, length, bytes, key_id from export_chunks
          where export_id = $1 and position = $2",
        export_id,
        position
    )
    .fetch_optional(db)
    .await
}

/// Some chunks less. How many went.
pub(super) async fn delete_chunks(db: impl PgExecutor<'_>, export_id: Uuid, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "delete from export_chunks
          where export_id = $1
            and position in (select position from export_chunks where export_id = $1 order by position limit $2)",
        export_id,
        limit
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// The row comes due again: at once to go on, or later after a failure.
pub(super) async fn defer(db: impl PgExecutor<'_>, row: &Row, due_at: DateTime, attempts: i32) -> sqlx::Result<()> {
    sqlx::query!(
        "update exports set due_at = $3, attempts = $4 where id = $1 and version = $2",
        row.id,
        row.version,
        due_at,
        attempts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The export will not be finished; it is due once more, to be emptied.
pub(super) async fn fail(db: impl PgExecutor<'_>, row: &Row, reason: &str, now: DateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update exports
            set state = 'failed', failure_reason = $3, due_at = $4, attempts = 0, version = version + 1, updated_at = $4
          where id = $1 and version = $2 and state in ('queued', 'running')",
        row.id,
        row.version,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Nothing is stored of it any more, not even what was asked for, and nothing is due.
pub(super) async fn empty(db: impl PgExecutor<'_>, row: &Row, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "update exports
            set state = case when state = 'completed' then 'expired' else state end,
                work = '', due_at = null, attempts = 0, version = version + 1, updated_at = $3
          where id = $1 and version = $2 and state in ('completed', 'failed')
            -- Another one may be deleting them: while there are any, the row comes due again.
            and not exists (select from export_chunks where export_id = $1)",
        row.id,
        row.version,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a link leads to: the export with the role that its owner has now.
pub(super) struct Linked {
    pub(super) scope: String,
    pub(super) format: String,
    pub(super) state: String,
    pub(super) bytes_written: i64,
    pub(super) rows_written: i64,
    pub(super) sha256: Option<String>,
    pub(super) created_at: DateTime,
    pub(super) role: String,
}

pub(super) async fn find_linked(db: impl PgExecutor<'_>, user_id: Uuid, id: Uuid) -> sqlx::Result<Option<Linked>> {
    sqlx::query_as!(
        Linked,
        "select e.scope, e.format, e.state, e.bytes_written, e.rows_written, e.sha256, e.created_at, u.role
           from exports e join users u on u.id = e.user_id where e.id = $1 and e.user_id = $2",
        id,
        user_id
    )
    .fetch_optional(db)
    .await
}

/// What waits: rows and the age of the oldest, of those that are due, and of those whose file could not be deleted.
pub(super) struct Waiting {
    pub(super) due: i64,
    pub(super) oldest_due: Option<DateTime>,
    pub(super) undeleted: i64,
    pub(super) oldest_undeleted: Option<DateTime>,
}

pub(super) async fn waiting(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<Waiting> {
    sqlx::query_as!(
        Waiting,
        r#"select count(*) filter (where due_at <= $1) as "due!", min(due_at) filter (where due_at <= $1) as oldest_due,
                  count(*) filter (where attempts > 0 and state in ('completed', 'failed')) as "undeleted!",
                  min(coalesce(expires_at, updated_at)) filter (
                      where attempts > 0 and state in ('completed', 'failed')) as oldest_undeleted
             from exports where due_at is not null"#,
        now
    )
    .fetch_one(db)
    .await
}

/// How many rows and chunks a data key has sealed.
pub struct KeyUse {
    pub id: String,
    pub rows: i64,
}

/// A row that was emptied needs no key any more.
pub(super) async fn key_uses(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<KeyUse>> {
    sqlx::query_as!(
        KeyUse,
        r#"select key_id as "id!", count(*) as "rows!"
             from (select key_id from exports where work <> '' union all select key_id from export_chunks) as sealed
            group by key_id order by key_id"#
    )
    .fetch_all(db)
    .await
}
