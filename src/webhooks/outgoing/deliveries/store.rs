//! SQL of `outgoing_deliveries` and `outgoing_attempts`.

use serde::Serialize;
use serde_json::Value;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use crate::platform::clock::DateTime;
use crate::platform::outbound::{CallError, Called};
use crate::platform::queue::{COUNTED_MAX, Depth, Lease};
use crate::webhooks::outgoing::DisabledReason;
use crate::webhooks::outgoing::events::EventType;

pub(super) struct Claimed {
    pub(super) id: Uuid,
    pub(super) event_id: Uuid,
    pub(super) endpoint_id: Uuid,
    pub(super) attempts: i32,
    due_at: DateTime,
    pub(super) url: String,
    pub(super) body: String,
}

/// What becomes of a delivery after an attempt.
pub(super) struct Next {
    pub(super) state: State,
    pub(super) due_at: Option<DateTime>,
    pub(super) attempts: i32,
}

/// One event to one endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = OutgoingDelivery)]
pub struct Row {
    pub id: Uuid,
    /// What `webhook-id` says.
    pub event_id: Uuid,
    #[serde(rename = "type")]
    pub kind: EventType,
    pub endpoint_id: Uuid,
    pub state: State,
    pub attempts: i32,
    #[serde(rename = "next_attempt_at")]
    pub due_at: Option<DateTime>,
    /// What the endpoint answered last; null where it did not answer.
    #[schema(minimum = 100, maximum = 999)]
    pub last_status: Option<i32>,
    pub last_error: Option<CallError>,
    pub created_at: DateTime,
    pub finished_at: Option<DateTime>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OutgoingAttempt)]
pub struct Attempt {
    pub at: DateTime,
    #[schema(minimum = 100, maximum = 999)]
    pub status: Option<i32>,
    pub error: Option<CallError>,
    /// How long the endpoint took.
    #[serde(rename = "milliseconds")]
    pub millis: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OutgoingDeliveryDetail)]
pub struct Detail {
    #[serde(flatten)]
    pub row: Row,
    /// The newest first.
    #[serde(rename = "log")]
    pub attempts_made: Vec<Attempt>,
    /// What is sent.
    pub event: Value,
}

/// What a page of the log shows; `None` = any.
pub struct Filter {
    pub state: Option<State>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// Of each enabled endpoint as many due deliveries as may be in hand besides those that are, the oldest first. Whoever takes an endpoint's
/// has it locked meanwhile: nobody else counts the same.
pub(super) async fn claim_due(
    db: impl PgExecutor<'_>,
    lease: Lease,
    slow: bool,
    (at_once, limit): (i64, i64),
) -> sqlx::Result<Vec<Claimed>> {
    let query = sqlx::query_as!(
        Claimed,
        r#"with endpoints as materialized (
               select p.id from outgoing_endpoints p
                where p.enabled and p.slow = $3
                  and exists (select from outgoing_deliveries d where d.endpoint_id = p.id and d.due_at <= $1)
                  for no key update skip locked),
           taken as (
               select t.id from endpoints p
                cross join lateral (
                    select d.id, d.due_at from outgoing_deliveries d
                     where d.endpoint_id = p.id and d.due_at <= $1
                     order by d.due_at
                     limit greatest(0, $4 - (select count(*) from outgoing_deliveries h
                                              where h.endpoint_id = p.id and h.leased and h.due_at > $1))) t
                order by t.due_at limit $5)
           update outgoing_deliveries d set due_at = $2, leased = true
             from taken, outgoing_events e, outgoing_endpoints p
            where d.id = taken.id and e.id = d.event_id and p.id = d.endpoint_id and d.due_at <= $1
           returning d.id, d.event_id, d.endpoint_id, d.attempts, d.due_at as "due_at!", p.url, e.body"#,
        lease.now,
        lease.until,
        slow,
        at_once,
        limit
    );
    query.fetch_all(db).await
}

/// Until the end of the transaction. Whoever locks deliveries has locked their endpoint before: of two that lock several of them neither
/// waits for the other with what the other wants.
pub(super) async fn lock_endpoint(db: impl PgExecutor<'_>, endpoint_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("select from outgoing_endpoints where id = $1 for no key update", endpoint_id)
        .execute(db)
        .await
        .map(drop)
}

/// False for whoever does not hold the lease any more.
pub(super) async fn record(
    db: impl PgExecutor<'_>,
    row: &Claimed,
    next: &Next,
    called: &Called,
    now: DateTime,
) -> sqlx::Result<bool> {
    let update = sqlx::query!(
        "update outgoing_deliveries
            set state = $3, due_at = $4, leased = false, attempts = $5, last_status = $6, last_error = $7, finished_at = $8
          where id = $1 and state = 'pending' and due_at = $2",
        row.id,
        row.due_at,
        next.state.name(),
        next.due_at,
        next.attempts,
        called.status.map(|status| i32::from(status.as_u16())),
        called.error.map(CallError::name),
        (next.state != State::Pending).then_some(now)
    );
    Ok(update.execute(db).await?.rows_affected() == 1)
}

/// After a fault of ours: the endpoint said nothing.
pub(super) async fn set_back(db: impl PgExecutor<'_>, row: &Claimed, next: &Next, now: DateTime) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "update outgoing_deliveries set state = $3, due_at = $4, leased = false, attempts = $5, finished_at = $6
          where id = $1 and state = 'pending' and due_at = $2",
        row.id,
        row.due_at,
        next.state.name(),
        next.due_at,
        next.attempts,
        (next.state != State::Pending).then_some(now)
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn insert_attempt(
    db: impl PgExecutor<'_>,
    id: Uuid,
    delivery_id: Uuid,
    called: &Called,
    now: DateTime,
) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into outgoing_attempts (id, delivery_id, at, status, error, millis) values ($1, $2, $3, $4, $5, $6)",
        id,
        delivery_id,
        now,
        called.status.map(|status| i32::from(status.as_u16())),
        called.error.map(CallError::name),
        i64::try_from(called.took.as_millis()).unwrap_or(i64::MAX)
    );
    query.execute(db).await.map(drop)
}

/// Since when every attempt has failed, this one included; `None` after one that did not. An endpoint that is well, and was, is not locked:
/// what many answers at once say of it would wait for each other.
pub(super) async fn note_health(
    db: impl PgExecutor<'_>,
    endpoint_id: Uuid,
    failed: bool,
    slow: bool,
    now: DateTime,
) -> sqlx::Result<Option<DateTime>> {
    let since = sqlx::query_scalar!(
        "update outgoing_endpoints set failing_since = case when $2 then coalesce(failing_since, $4) end, slow = $3
          where id = $1 and ($2 or slow <> $3 or failing_since is not null) returning failing_since",
        endpoint_id,
        failed,
        slow,
        now
    );
    Ok(since.fetch_optional(db).await?.flatten())
}

/// Who made it, unless it was disabled before.
pub(super) async fn disable(
    db: impl PgExecutor<'_>,
    endpoint_id: Uuid,
    reason: DisabledReason,
    now: DateTime,
) -> sqlx::Result<Option<Option<Uuid>>> {
    let disabled = sqlx::query_scalar!(
        "update outgoing_endpoints set enabled = false, disabled_reason = $2, updated_at = $3
          where id = $1 and enabled returning created_by",
        endpoint_id,
        reason.name(),
        now
    );
    disabled.fetch_optional(db).await
}

/// Those that a machine has made which may not keep any more.
pub(super) async fn of_nobody(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "select p.id from outgoing_endpoints p join service_accounts a on a.id = p.service_account_id
          where p.enabled and not (a.enabled and 'webhook_endpoints.manage' = any(a.scopes))"
    );
    query.fetch_all(db).await
}

/// So many of what waits for an endpoint, if it is disabled. Its lock is held.
pub(super) async fn dead_letter(
    db: impl PgExecutor<'_>,
    endpoint_id: Uuid,
    now: DateTime,
    limit: i64,
) -> sqlx::Result<u64> {
    let dead = sqlx::query!(
        "update outgoing_deliveries set state = 'dead', due_at = null, leased = false, finished_at = $2
          where id in (select d.id from outgoing_deliveries d join outgoing_endpoints p on p.id = d.endpoint_id and not p.enabled
                        where d.endpoint_id = $1 and d.due_at is not null limit $3)",
        endpoint_id,
        now,
        limit
    );
    Ok(dead.execute(db).await?.rows_affected())
}

/// One for which something waits, though it is disabled.
pub(super) async fn disabled_with_waiting(db: impl PgExecutor<'_>) -> sqlx::Result<Option<Uuid>> {
    let query = sqlx::query_scalar!(
        "select p.id from outgoing_endpoints p
          where not p.enabled and exists (select from outgoing_deliveries d where d.endpoint_id = p.id and d.due_at is not null) limit 1"
    );
    query.fetch_optional(db).await
}

pub(super) async fn delete_of(db: impl PgExecutor<'_>, endpoint_id: Uuid, limit: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "delete from outgoing_deliveries
          where id in (select d.id from outgoing_deliveries d join outgoing_endpoints p on p.id = d.endpoint_id and not p.enabled
                        where d.endpoint_id = $1 limit $2)",
        endpoint_id,
        limit
    );
    Ok(deleted.execute(db).await?.rows_affected())
}

/// How many of them; none of an endpoint that is disabled.
pub(super) async fn replay(db: impl PgExecutor<'_>, ids: &[Uuid], now: DateTime) -> sqlx::Result<u64> {
    let update = sqlx::query!(
        "update outgoing_deliveries d set state = 'pending', due_at = $2, leased = false, attempts = 0, finished_at = null
           from outgoing_endpoints p
          where d.id = any($1) and p.id = d.endpoint_id and p.enabled",
        ids,
        now
    );
    Ok(update.execute(db).await?.rows_affected())
}

pub(super) async fn dead_since(
    db: impl PgExecutor<'_>,
    endpoint_id: Uuid,
    since: DateTime,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "select id from outgoing_deliveries
          where endpoint_id = $1 and state = 'dead' and created_at >= $2 order by created_at limit $3",
        endpoint_id,
        since,
        limit
    );
    query.fetch_all(db).await
}

/// The columns of a [`Row`], once.
macro_rules! rows {
    ($after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"select d.id, d.event_id, e.type as "kind: EventType", d.endpoint_id, d.state as "state: State", d.attempts, d.due_at,
                      d.last_status, d.last_error as "last_error: CallError", d.created_at, d.finished_at
                 from outgoing_deliveries d join outgoing_events e on e.id = d.event_id "#
                + $after
            $(, $argument)*
        )
    };
}

pub(super) async fn list(db: impl PgExecutor<'_>, endpoint_id: Uuid, filter: &Filter) -> sqlx::Result<Vec<Row>> {
    rows!(
        "where d.endpoint_id = $1 and ($2::text is null or d.state = $2) and ($3::uuid is null or d.id < $3)
         order by d.id desc limit $4",
        endpoint_id,
        filter.state.map(State::name),
        filter.before,
        filter.limit
    )
    .fetch_all(db)
    .await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Row>> {
    rows!("where d.id = $1", id).fetch_optional(db).await
}

pub(super) async fn body(db: impl PgExecutor<'_>, event_id: Uuid) -> sqlx::Result<String> {
    sqlx::query_scalar!("select body from outgoing_events where id = $1", event_id).fetch_one(db).await
}

pub(super) async fn attempts(db: impl PgExecutor<'_>, delivery_id: Uuid) -> sqlx::Result<Vec<Attempt>> {
    let query = sqlx::query_as!(
        Attempt,
        r#"select at, status, error as "error: CallError", millis from outgoing_attempts
            where delivery_id = $1 order by id desc limit 100"#,
        delivery_id
    );
    query.fetch_all(db).await
}

pub(super) async fn delete_events(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        "delete from outgoing_events
          where id in (select e.id from outgoing_events e
                        -- What is still being tried is neither delivered nor dead; what has been due for as long will not be sent.
                        where e.made_at < $1
                          and not exists (select from outgoing_deliveries d where d.event_id = e.id and d.due_at >= $1)
                        order by e.made_at limit $2 for update skip locked)",
        before,
        limit
    );
    Ok(deleted.execute(db).await?.rows_affected())
}

pub(super) async fn delete_expired_secrets(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!("delete from outgoing_secrets where expires_at <= $1", now).execute(db).await.map(drop)
}

/// What is due, which may wait for its endpoint, and dead letters since then.
pub(super) async fn depths(db: impl PgExecutor<'_>, now: DateTime, since: DateTime) -> sqlx::Result<Vec<Depth>> {
    let query = sqlx::query_as!(
        Depth,
        r#"select 'outgoing' as "queue!", 'pending' as "what!", count(*) as "rows!", min(due_at) as oldest
             from (select d.due_at from outgoing_deliveries d join outgoing_endpoints p on p.id = d.endpoint_id and p.enabled
                    where d.due_at <= $1 limit $3) as due
           union all
           select 'outgoing', 'dead', count(*), min(finished_at)
             from (select finished_at from outgoing_deliveries where state = 'dead' and finished_at >= $2 limit $3) as dead"#,
        now,
        since,
        COUNTED_MAX
    );
    query.fetch_all(db).await
}
