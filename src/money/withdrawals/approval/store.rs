//! SQL of the list of withdrawals that wait for approval.

use sqlx::PgExecutor;
use uuid::Uuid;

pub(super) async fn awaiting(db: impl PgExecutor<'_>, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    let rows = sqlx::query_scalar!(
        "select id from transactions
          where kind = 'withdrawal' and state = 'awaiting_approval' and failure_reason is null and ($1::uuid is null or id < $1)
          order by id desc limit $2",
        before,
        limit
    );
    rows.fetch_all(db).await
}
