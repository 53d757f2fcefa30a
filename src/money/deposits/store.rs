//! SQL that only deposits need; that of their rows is in `transactions`.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::money::restrictions;

pub(super) struct Obstacles {
    /// The key made a row before.
    pub(super) is_repeated: bool,
    pub(super) has_closed_account: bool,
    /// The customer's deposits that wait for their payment, oldest first. What a person looks at, or has closed, is none of them.
    pub(super) open: Vec<Uuid>,
}

/// Whose, and by which key.
pub(super) struct Request {
    pub(super) user_id: Uuid,
    pub(super) key: String,
}

/// In the order of the requests; of open deposits up to `open_max`.
pub(super) async fn obstacles(
    db: impl PgExecutor<'_>,
    requests: &[Request],
    open_max: i64,
) -> sqlx::Result<Vec<Obstacles>> {
    let found = sqlx::query_as!(
        Obstacles,
        r#"select exists (select from transactions t where t.user_id = w.user_id and t.idempotency_key = w.key) as "is_repeated!",
                  exists (select from restrictions r where r.user_id = w.user_id and r.kind = $3
                            and r.state in ('initiated', 'in_force', 'lifting')) as "has_closed_account!",
                  array(select t.id from transactions t
                         where t.user_id = w.user_id and t.kind = 'deposit' and t.state in ('initiated', 'awaiting_payment')
                           and t.due_at is not null
                         order by t.id limit $4) as "open!"
             from unnest($1::uuid[], $2::text[]) with ordinality as w (user_id, key, place)
            order by w.place"#,
        &requests.iter().map(|request| request.user_id).collect::<Vec<Uuid>>(),
        &requests.iter().map(|request| request.key.clone()).collect::<Vec<String>>(),
        restrictions::Kind::Closure.name(),
        open_max,
    );
    found.fetch_all(db).await
}

/// Whether the ledger's transfers may be of it: a transaction, a restriction, an item in suspense or a journal.
pub(super) async fn is_row(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select ledger_row_exists($1) as "is_row!""#, id).fetch_one(db).await
}
