//! SQL of `email_changes`.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::Change;
use crate::platform::clock::DateTime;

/// In the place of an earlier one.
pub(super) async fn put(db: impl PgExecutor<'_>, user_id: Uuid, change: &Change, now: DateTime) -> sqlx::Result<()> {
    let put = sqlx::query!(
        "insert into email_changes (user_id, new_email, session_id, asked_at) values ($1, $2, $3, $4)
         on conflict (user_id) do update
            set new_email = excluded.new_email, session_id = excluded.session_id, asked_at = excluded.asked_at",
        user_id,
        change.new_email,
        change.session_id,
        now,
    );
    put.execute(db).await.map(drop)
}

pub(super) async fn find(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<Option<Change>> {
    sqlx::query_as!(Change, "select new_email, session_id from email_changes where user_id = $1", user_id)
        .fetch_optional(db)
        .await
}

pub(super) async fn delete(db: impl PgExecutor<'_>, user_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from email_changes where user_id = $1", user_id).execute(db).await.map(drop)
}
