//! SQL of the search: each part of a statement is a lookup in one index.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::What;

pub struct Hit {
    pub what: What,
    pub id: Uuid,
    /// By which of its fields it was found.
    pub matched: String,
    /// What tells it from others of its kind.
    pub label: String,
}

/// `ids` are the first and the last that may be meant.
pub(super) async fn by_id(db: impl PgExecutor<'_>, ids: (Uuid, Uuid), limit: i64) -> sqlx::Result<Vec<Hit>> {
    let query = sqlx::query_as!(
        Hit,
        r#"(select 'transaction' as "what!: What", id as "id!", 'id' as "matched!", kind || ' ' || state as "label!"
              from transactions where id between $1 and $2 order by id desc limit $3)
           union all
           (select 'transaction', id, 'provider_id', kind || ' ' || state
              from transactions where provider_id between $1 and $2 order by provider_id limit $3)
           union all
           -- An object that the row has let go of, or another one of it.
           (select 'transaction', t.id, 'object_id', t.kind || ' ' || t.state from provider_objects o join transactions t on t.id = o.transaction_id
             where o.id between $1 and $2 and t.provider_id is distinct from o.id order by o.id limit $3)
           union all
           (select 'journal', id, 'id', kind || ' ' || state from journals where id between $1 and $2 order by id desc limit $3)
           union all
           (select 'user', id, 'id', email from users where id between $1 and $2 order by id desc limit $3)
           union all
           -- Whose account a freeze or a closure shuts; the id of its transfer begins with its own.
           (select 'user', u.id, 'restriction_id', u.email from restrictions r join users u on u.id = r.user_id
             where r.id between $1 and $2 order by r.id desc limit $3)
           union all
           (select 'webhook', id, 'id', coalesce(event_type, endpoint)
              from webhook_logs where id between $1 and $2 order by id desc limit $3)
           union all
           -- What Revio said of one of its objects.
           (select 'webhook', id, 'object_id', coalesce(event_type, endpoint)
              from webhook_logs where object_id between $1 and $2 order by object_id, received_at desc limit $3)"#,
        ids.0,
        ids.1,
        limit
    );
    query.fetch_all(db).await
}

/// An e-mail by its beginning, the whole one first.
pub(super) async fn by_text(
    db: impl PgExecutor<'_>,
    key: &str,
    email: Option<&str>,
    limit: i64,
) -> sqlx::Result<Vec<Hit>> {
    let query = sqlx::query_as!(
        Hit,
        r#"(select 'transaction' as "what!: What", id as "id!", 'idempotency_key' as "matched!", kind || ' ' || state as "label!"
              from transactions where idempotency_key = $1 order by user_id limit $3)
           union all
           (select 'user', id, 'email', email from users where email ^@ $2 order by email = $2 desc, email limit $3)"#,
        key,
        email,
        limit
    );
    query.fetch_all(db).await
}

/// Customers whose name has these words. Of a name that very many have, some.
pub(super) async fn by_name(db: impl PgExecutor<'_>, text: &str, limit: i64) -> sqlx::Result<Vec<Hit>> {
    let query = sqlx::query_as!(
        Hit,
        r#"select 'user' as "what!: What", id as "id!", 'full_name' as "matched!", full_name || ', ' || email as "label!"
             from (select id, full_name, email from users
                    where array_to_tsvector(search_words(full_name)) @@ search_query($1, null) and erased_at is null limit 500) as named
            order by full_name, id limit $2"#,
        text,
        limit
    );
    query.fetch_all(db).await
}

/// What a call asked for, and what of it is on record. `near` is the id of one that carries its time, and between which rows' ids it is looked for.
pub(super) async fn by_request(
    db: impl PgExecutor<'_>,
    text: &str,
    near: Option<(Uuid, Uuid, Uuid)>,
    reads_audit: bool,
    limit: i64,
) -> sqlx::Result<Vec<Hit>> {
    let query = sqlx::query_as!(
        Hit,
        r#"(select 'transaction' as "what!: What", id as "id!", 'request_id' as "matched!", kind || ' ' || state as "label!"
              from transactions where request_word = $1 order by id desc limit $5)
           union all
           (select 'transaction', id, 'request_id', kind || ' ' || state
              from transactions where id between $3 and $4 and request_id = $2 order by id desc limit $5)
           union all
           -- Whom it was about, or who made it: of customers.
           (select distinct 'user', u.id, 'request_id', u.email
              from (select actor, case when object_kind = 'user' then object_id end as object
                      from audit_log where request_id = $1 order by id desc limit $5) as entry
              cross join lateral (values (actor), (object)) as person (id)
              join users u on u.id = case when person.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then person.id::uuid end
             where u.role = 'user')
           union all
           (select 'audit_entry', id, 'request_id', action from audit_log where request_id = $1 and $6 order by id desc limit $5)"#,
        text,
        near.map(|(id, ..)| id),
        near.map(|(_, from, _)| from),
        near.map(|(.., to)| to),
        limit,
        reads_audit
    );
    query.fetch_all(db).await
}
