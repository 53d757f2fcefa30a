//! SQL of `refusal`: what of a day's limit is used by which withdrawal.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::Outflow;
use crate::money::transactions::Transaction;
use crate::platform::clock::DateTime;

/// The customer's withdrawals that count for the limit, in the order in which they were reserved, which may be long after their rows were
/// written: of rows from the id on those that were reserved since.
pub(super) async fn outflows(
    db: impl PgExecutor<'_>,
    refused: &Transaction,
    (from, since): (Uuid, DateTime),
    limit: i64,
) -> sqlx::Result<Vec<Outflow>> {
    let rows = sqlx::query_as!(
        Outflow,
        r#"select amount_minor as minor, coalesce(moved_at[1], created_at) as "reserved_at!" from transactions
            where user_id = $1 and currency = $2 and id >= $3 and kind = 'withdrawal'
              and state in ('reserved', 'awaiting_approval', 'submitting', 'submitted', 'completed')
              and coalesce(moved_at[1], created_at) > $4
            order by 2, id limit $5"#,
        refused.user_id,
        refused.amount.currency().code(),
        from,
        since,
        limit
    );
    rows.fetch_all(db).await
}
