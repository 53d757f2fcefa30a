//! SQL of `refusal`: what of a day's limit is used by which withdrawal.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::Outflow;
use crate::money::transactions::Transaction;

/// The customer's withdrawals that count for the limit, oldest first, from an id on. Ids are in the order of creation.
pub(super) async fn outflows(
    db: impl PgExecutor<'_>,
    refused: &Transaction,
    since: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Outflow>> {
    let rows = sqlx::query_as!(
        Outflow,
        "select amount_minor as minor, created_at from transactions
          where user_id = $1 and currency = $2 and id >= $3 and kind = 'withdrawal'
            and state in ('reserved', 'awaiting_approval', 'submitting', 'submitted', 'completed')
          order by id limit $4",
        refused.user_id,
        refused.amount.currency().code(),
        since,
        limit
    );
    rows.fetch_all(db).await
}
