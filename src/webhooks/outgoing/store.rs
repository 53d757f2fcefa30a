//! SQL of `outgoing_endpoints` and `outgoing_secrets`, and of the events and deliveries that are made.

use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};
use utoipa::ToSchema;
use uuid::Uuid;

use super::events::{Event, EventType};
use super::{DisabledReason, EndpointChange, NewEndpoint};
use crate::identity::rotation::{KeyUse, encrypted};
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::DateTime;
use crate::platform::encryption::Encrypted;

#[derive(Serialize, ToSchema)]
#[schema(as = OutgoingEndpoint)]
pub struct Endpoint {
    pub id: Uuid,
    #[schema(format = "uri", example = "https://example.com/webhooks")]
    pub url: String,
    pub description: Option<String>,
    #[schema(value_type = Vec<EventType>)]
    pub event_types: Vec<String>,
    pub enabled: bool,
    /// Null where staff disabled it.
    pub disabled_reason: Option<DisabledReason>,
    /// Since when every attempt has failed.
    pub failing_since: Option<DateTime>,
    /// Until when an older secret signs, too.
    pub old_secret_until: Option<DateTime>,
    /// The machine that made it; null of staff's.
    pub service_account_id: Option<Uuid>,
    pub created_at: DateTime,
    pub updated_at: DateTime,
}

pub(super) struct Delivery {
    pub(super) id: Uuid,
    pub(super) event_id: Uuid,
    pub(super) endpoint_id: Uuid,
}

/// The columns of an [`Endpoint`], once.
macro_rules! rows {
    ($after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Endpoint,
            r#"select id, url, description, event_types, enabled,
                      disabled_reason as "disabled_reason: DisabledReason", failing_since,
                      (select max(s.expires_at) from outgoing_secrets s where s.endpoint_id = p.id) as old_secret_until,
                      service_account_id, created_at, updated_at
                 from outgoing_endpoints p "#
                + $after
            $(, $argument)*
        )
    };
}

pub(super) async fn lock(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", AdvisoryLock::OutgoingEndpoints.number())
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn count(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from outgoing_endpoints"#).fetch_one(db).await
}

/// All, or those that a machine has made.
pub(super) async fn list(db: impl PgExecutor<'_>, machine: Option<Uuid>) -> sqlx::Result<Vec<Endpoint>> {
    rows!("where $1::uuid is null or service_account_id = $1 order by id", machine).fetch_all(db).await
}

/// As `deliveries::store::of_nobody` has it.
pub(super) async fn may_keep(db: impl PgExecutor<'_>, machine: Uuid) -> sqlx::Result<bool> {
    let may = sqlx::query_scalar!(
        r#"select exists (select from service_accounts
                           where id = $1 and enabled and 'webhook_endpoints.manage' = any(scopes)) as "may!""#,
        machine
    );
    may.fetch_one(db).await
}

pub(super) async fn is_made_by(db: impl PgExecutor<'_>, id: Uuid, machine: Uuid) -> sqlx::Result<bool> {
    let made = sqlx::query_scalar!(
        r#"select exists (select from outgoing_endpoints where id = $1 and service_account_id = $2) as "made!""#,
        id,
        machine
    );
    made.fetch_one(db).await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Endpoint>> {
    rows!("where id = $1", id).fetch_optional(db).await
}

pub(super) async fn insert(
    db: impl PgExecutor<'_>,
    new: &NewEndpoint,
    person: Option<Uuid>,
    machine: Option<Uuid>,
    now: DateTime,
) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into outgoing_endpoints
             (id, url, description, event_types, enabled, enabled_at, created_by, service_account_id, created_at, updated_at)
         values ($1, $2, $3, $4, true, $7, $5, $6, $7, $7)",
        new.id,
        new.url.as_str(),
        new.description,
        &names(&new.event_types),
        person,
        machine,
        now
    );
    query.execute(db).await.map(drop)
}

/// Enabled again, it begins anew.
pub(super) async fn change(db: impl PgExecutor<'_>, id: Uuid, to: &EndpointChange, now: DateTime) -> sqlx::Result<()> {
    let event_types = to.event_types.as_deref().map(names);
    let query = sqlx::query!(
        "update outgoing_endpoints
            set url = coalesce($2, url), event_types = coalesce($3, event_types), description = coalesce($4, description),
                enabled = coalesce($5, enabled), updated_at = $6,
                enabled_at = case when $5 and not enabled then $6 else enabled_at end,
                disabled_reason = case when $5 then null else disabled_reason end,
                failing_since = case when $5 and not enabled then null else failing_since end,
                slow = slow and not (coalesce($5, false) and not enabled)
          where id = $1",
        id,
        to.url.as_ref().map(reqwest::Url::as_str),
        event_types.as_deref(),
        to.description,
        to.enabled,
        now
    );
    query.execute(db).await.map(drop)
}

/// Nothing more is made for it. False where nothing was.
pub(super) async fn stop(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<bool> {
    let stopped = sqlx::query!(
        "update outgoing_endpoints set enabled = false, updated_at = $2 where id = $1 and enabled",
        id,
        now
    );
    Ok(stopped.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn delete(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    let deleted = sqlx::query!("delete from outgoing_endpoints where id = $1 and not enabled", id);
    Ok(deleted.execute(db).await?.rows_affected() == 1)
}

/// The ids of those that were not there.
#[expect(clippy::as_conversions, reason = "how the query macro is told a parameter's type")]
pub(super) async fn insert_events(db: impl PgExecutor<'_>, events: &[Event], now: DateTime) -> sqlx::Result<Vec<Uuid>> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let kinds: Vec<String> = events.iter().map(|event| event.kind.name().to_owned()).collect();
    let bodies: Vec<String> = events.iter().map(|event| event.body.clone()).collect();
    let sources: Vec<Uuid> = events.iter().map(|event| event.source_id).collect();
    let ordinals: Vec<i32> = events.iter().map(|event| event.ordinal).collect();
    let customers: Vec<Option<Uuid>> = events.iter().map(|event| event.customer_id).collect();
    let times: Vec<DateTime> = events.iter().map(|event| event.occurred_at).collect();
    let query = sqlx::query_scalar!(
        "insert into outgoing_events (id, type, body, source_id, ordinal, customer_id, occurred_at, made_at)
         select e.id, e.type, e.body, e.source_id, e.ordinal, e.customer_id, e.occurred_at, $8
           from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::int[], $6::uuid[], $7::timestamptz[])
                e (id, type, body, source_id, ordinal, customer_id, occurred_at)
         on conflict do nothing returning id",
        &ids,
        &kinds,
        &bodies,
        &sources,
        &ordinals,
        &customers as &[Option<Uuid>],
        &times,
        now
    );
    query.fetch_all(db).await
}

/// How many were not there.
pub(super) async fn insert_deliveries(
    db: impl PgExecutor<'_>,
    deliveries: &[Delivery],
    now: DateTime,
) -> sqlx::Result<u64> {
    let ids: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.id).collect();
    let events: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.event_id).collect();
    let endpoints: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.endpoint_id).collect();
    let query = sqlx::query!(
        "insert into outgoing_deliveries (id, event_id, endpoint_id, due_at, created_at)
         select d.*, $4, $4 from unnest($1::uuid[], $2::uuid[], $3::uuid[]) d on conflict do nothing",
        &ids,
        &events,
        &endpoints,
        now
    );
    Ok(query.execute(db).await?.rows_affected())
}

/// Forgets what was told of a customer, or is to be, of transactions and of all else, for an erasure. What comes after it (that the person is
/// erased, a move of the last minutes once more) has nothing in it that must go. With the deliveries; their endpoints first
/// (`deliveries::lock_endpoint`). Whom something is about that a process of the release before made, while this one came in, stands in its body
/// alone.
pub async fn forget_about(db: &mut PgConnection, user_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("select from outgoing_endpoints order by id for no key update").execute(&mut *db).await?;
    let query = sqlx::query!(
        "delete from outgoing_events
          where customer_id = $1 or customer_id is null and (body::jsonb #>> '{data,customer_id}')::uuid = $1",
        user_id
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn insert_secret(
    db: impl PgExecutor<'_>,
    id: Uuid,
    endpoint_id: Uuid,
    secret: &Encrypted,
    now: DateTime,
) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into outgoing_secrets (id, endpoint_id, secret, key_id, created_at) values ($1, $2, $3, $4, $5)",
        id,
        endpoint_id,
        secret.bytes,
        secret.key_id,
        now
    );
    query.execute(db).await.map(drop)
}

/// Whether the secret is the present one; `None` where there is none of this id.
pub(super) async fn is_present(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar!(r#"select expires_at is null as "present!" from outgoing_secrets where id = $1"#, id)
        .fetch_optional(db)
        .await
}

pub(super) async fn replace_secret(db: impl PgExecutor<'_>, id: Uuid, secret: &Encrypted) -> sqlx::Result<()> {
    sqlx::query!("update outgoing_secrets set secret = $2, key_id = $3 where id = $1", id, secret.bytes, secret.key_id)
        .execute(db)
        .await
        .map(drop)
}

/// The present one gets its end; those that have one are gone.
pub(super) async fn expire_secrets(db: &mut PgConnection, endpoint_id: Uuid, until: DateTime) -> sqlx::Result<()> {
    sqlx::query!("delete from outgoing_secrets where endpoint_id = $1 and expires_at is not null", endpoint_id)
        .execute(&mut *db)
        .await?;
    sqlx::query!("update outgoing_secrets set expires_at = $2 where endpoint_id = $1", endpoint_id, until)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn secrets(
    db: impl PgExecutor<'_>,
    endpoint_id: Uuid,
    now: DateTime,
) -> sqlx::Result<Vec<(Uuid, Encrypted)>> {
    let rows = sqlx::query!(
        "select id, secret, key_id from outgoing_secrets
          where endpoint_id = $1 and (expires_at is null or expires_at > $2) order by id desc",
        endpoint_id,
        now
    );
    let rows = rows.fetch_all(db).await?.into_iter();
    Ok(rows.map(|row| (row.id, Encrypted { key_id: row.key_id, bytes: row.secret })).collect())
}

encrypted!(OutgoingSecrets, "webhook secret", 100 of "outgoing_secrets", "id", "secret", where "true");

fn names(event_types: &[EventType]) -> Vec<String> {
    event_types.iter().map(|kind| kind.name().to_owned()).collect()
}
