//! Whose something is that staff call by its id.

use sqlx::PgExecutor;
use uuid::Uuid;

/// The customer behind a transaction, a request, a journal, a break, a mail, a webhook of ours (whatever it tells) or one of Revio's calls, of a
/// payout that was replaced too: no two of them have one id.
pub(super) async fn customer_of(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Uuid>> {
    let found = sqlx::query_scalar!(
        r#"select user_id as "user_id!" from transactions where id = $1
           union all
           select user_id from requests where id = $1
           union all
           select user_id from journals where id = $1 and user_id is not null
           union all
           -- In the body alone where the release before made it, as in `outgoing::forget_about`. A test is about nobody.
           select c.id from outgoing_deliveries d join outgoing_events e on e.id = d.event_id
                      cross join lateral (select coalesce(e.customer_id, (e.body::jsonb #>> '{data,customer_id}')::uuid) as id) c
            where d.id = $1 and c.id is not null
           union all
           select t.user_id from webhook_logs w join provider_objects o on o.id = w.object_id
                            join transactions t on t.id = o.transaction_id where w.id = $1
           union all
           select t.user_id from breaks b join transactions t on t.id = b.transaction_id where b.id = $1
           union all
           select user_id from mails where id = $1 and user_id is not null
           union all
           select t.user_id from provider_objects o join transactions t on t.id = o.transaction_id where o.id = $1
           union all
           select id from users where id = $1
           limit 1"#,
        id
    );
    found.fetch_optional(db).await
}
