//! SQL of the search: each statement is a lookup in one index. `ids` are the first and the last that may be meant.

use sqlx::PgExecutor;
use uuid::Uuid;

type Ids = (Uuid, Uuid);

pub(super) struct Found {
    pub(super) id: Uuid,
    pub(super) label: String,
}

pub(super) async fn transactions_by_id(db: impl PgExecutor<'_>, ids: Ids, limit: i64) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        r#"select id, kind || ' ' || state as "label!" from transactions where id between $1 and $2 order by id desc limit $3"#,
        ids.0,
        ids.1,
        limit
    )
    .fetch_all(db)
    .await
}

pub(super) async fn transactions_by_provider(
    db: impl PgExecutor<'_>,
    ids: Ids,
    limit: i64,
) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        r#"select id, kind || ' ' || state as "label!" from transactions
          where provider_id between $1 and $2 order by provider_id limit $3"#,
        ids.0,
        ids.1,
        limit
    )
    .fetch_all(db)
    .await
}

pub(super) async fn transactions_by_key(db: impl PgExecutor<'_>, key: &str, limit: i64) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        r#"select id, kind || ' ' || state as "label!" from transactions
          where idempotency_key = $1 order by user_id limit $2"#,
        key,
        limit
    )
    .fetch_all(db)
    .await
}

pub(super) async fn users_by_id(db: impl PgExecutor<'_>, ids: Ids, limit: i64) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        "select id, email as label from users where id between $1 and $2 order by id desc limit $3",
        ids.0,
        ids.1,
        limit
    )
    .fetch_all(db)
    .await
}

/// Whose account a freeze or a closure shuts; the id of its transfer begins with its own.
pub(super) async fn users_by_restriction(db: impl PgExecutor<'_>, ids: Ids, limit: i64) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        "select u.id, u.email as label from restrictions r join users u on u.id = r.user_id
          where r.id between $1 and $2 order by r.id desc limit $3",
        ids.0,
        ids.1,
        limit
    )
    .fetch_all(db)
    .await
}

/// By its beginning; the whole e-mail comes first.
pub(super) async fn users_by_email(db: impl PgExecutor<'_>, email: &str, limit: i64) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        "select id, email as label from users where email ^@ $1 order by email = $1 desc, email limit $2",
        email,
        limit
    )
    .fetch_all(db)
    .await
}

pub(super) async fn webhooks_by_id(db: impl PgExecutor<'_>, ids: Ids, limit: i64) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        r#"select id, coalesce(event_type, endpoint) as "label!" from webhook_logs
          where id between $1 and $2 order by id desc limit $3"#,
        ids.0,
        ids.1,
        limit
    )
    .fetch_all(db)
    .await
}

/// What Revio said of one of its objects.
pub(super) async fn webhooks_by_object(db: impl PgExecutor<'_>, ids: Ids, limit: i64) -> sqlx::Result<Vec<Found>> {
    sqlx::query_as!(
        Found,
        r#"select id, coalesce(event_type, endpoint) as "label!" from webhook_logs
          where object_id between $1 and $2 order by object_id, received_at desc limit $3"#,
        ids.0,
        ids.1,
        limit
    )
    .fetch_all(db)
    .await
}
