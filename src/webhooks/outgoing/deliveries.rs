//! One event to one endpoint, until it is there or three days are over.
//!
//! ```text
//! sources ──> pending ──> delivered   2xx
//!                ├──> pending         again after 5 s, 5 and 30 min, 2, 5, 10, 14, 20, 24 h, or when Retry-After says
//!                └──> dead            the last of them failed, or the endpoint was disabled; `replay` makes it pending again
//! ```
//!
//! The row is the job. A process that dies after the call and before it is noted sends the same message again under the same `webhook-id`.
//! An endpoint has a limit of messages in hand, and those that failed last or are slow have a lower one and loops of their own ([`Lane`]),
//! so that they keep no other waiting. 410 disables an endpoint, and so do three days in which every attempt failed. The worker calls
//! [`claim_due`] for the fast ones and [`step_due`] for the slow ones.

pub mod routes;
mod store;

use chrono::TimeDelta;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{DisabledReason, signing};
use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::mails;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::outbound::Called;
use crate::platform::queue::{self, Lease, Next, Work};
use crate::platform::slow_reads;
use crate::platform::text_enum::text_enum;

pub use store::{Attempt, Detail, Filter, Row};

/// Seconds after each failed attempt; after the last one the delivery is dead.
const LADDER: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Whatever an endpoint asks for.
const RETRY_AFTER_MAX: TimeDelta = TimeDelta::hours(24);
/// Not one attempt succeeded for so long.
const FAILING_MAX: TimeDelta = TimeDelta::days(3);
/// Longer than that is slow.
const SLOW: std::time::Duration = std::time::Duration::from_secs(2);
/// Of longer ago they are no alarm any more.
const DEAD_COUNTED: TimeDelta = TimeDelta::hours(24);
const PRUNED_AT_ONCE: i64 = 1_000;
/// Each moves in four indexes, and one statement has ten seconds.
const DEAD_AT_ONCE: i64 = 5_000;
pub const REPLAYED_AT_ONCE: i64 = 1_000;

text_enum! {
    #[schema(as = OutgoingDeliveryState)]
    pub enum State {
        Pending = "pending",
        Delivered = "delivered",
        /// A dead letter: it waits for somebody who replays it.
        Dead = "dead",
    }
}

/// Which endpoints a loop serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Fast,
    /// Those whose last attempt failed or took longer than two seconds.
    Slow,
}

impl Lane {
    /// In hand of one endpoint.
    pub const fn at_once(self) -> i64 {
        match self {
            Self::Fast => 32,
            Self::Slow => 4,
        }
    }
}

/// Claims what is due and gives a step for each; the worker runs them, and one endpoint's do not hold up another's.
pub async fn claim_due(app: &App, lane: Lane, limit: i64) -> Result<Vec<queue::Step<'_>>> {
    queue::claim_due(Deliveries { app, lane }, app.queue(), limit).await
}

/// Sends what is due. How many were claimed.
pub async fn step_due(app: &App, lane: Lane, limit: i64) -> Result<usize> {
    queue::step_due(Deliveries { app, lane }, app.queue(), limit).await
}

struct Deliveries<'a> {
    app: &'a App,
    lane: Lane,
}

impl Work for Deliveries<'_> {
    type Claimed = store::Claimed;

    fn label<'a>(&'a self, _: &'a store::Claimed) -> &'a str {
        "outgoing"
    }

    fn id(delivery: &store::Claimed) -> Uuid {
        delivery.id
    }

    async fn claim(&self, lease: Lease, limit: i64) -> sqlx::Result<Vec<store::Claimed>> {
        store::claim_due(&self.app.db, lease, self.lane == Lane::Slow, (self.lane.at_once(), limit)).await
    }

    async fn step(&self, delivery: &store::Claimed) -> Result<&'static str> {
        let outcome = step(self.app, delivery).await?;
        self.app.metrics.outgoing.with_label_values(&[outcome]).inc();
        Ok(outcome)
    }

    /// A fault of ours, not the endpoint's: what an attempt came to is written down by the step itself.
    async fn failed(&self, delivery: &store::Claimed, error: &Error) -> Result<()> {
        // The attempts are those of the endpoint, and a fault of ours goes up the same ladder.
        let minutes = LADDER.map(|secs| secs / 60);
        let next = match self.app.queue().after(delivery.id, delivery.attempts, error, &minutes) {
            Next::Again { due_at, attempts } => store::Next { state: State::Pending, due_at: Some(due_at), attempts },
            Next::GiveUp { failures } => store::Next { state: State::Dead, due_at: None, attempts: failures },
        };
        store::set_back(&self.app.db, delivery, &next, self.app.clock.now()).await?;
        Ok(())
    }
}

/// One attempt, and what became of the delivery.
async fn step(app: &App, delivery: &store::Claimed) -> Result<&'static str> {
    let headers = headers(app, delivery).await?;
    let called = app.outbound.post(&delivery.url, headers, delivery.body.clone()).await;
    app.crash.at("outgoing.sent")?;
    let now = app.clock.now();
    let next = next(delivery, &called, now);
    let mut tx = app.db.begin().await?;
    // First: it locks the endpoint, unless there is nothing new to say of it.
    let slow = called.error.is_some() || called.took > SLOW;
    let failing = store::note_health(&mut *tx, delivery.endpoint_id, called.error.is_some(), slow, now).await?;
    if !store::record(&mut *tx, delivery, &next, &called, now).await? {
        // Replayed, or the endpoint disabled, while it was under way.
        return Err(Error::StaleState);
    }
    store::insert_attempt(&mut *tx, app.clock.row_id(), delivery.id, &called, now).await?;
    let reason = match failing {
        _ if called.status == Some(StatusCode::GONE) => Some(DisabledReason::Gone),
        Some(since) if now - since >= FAILING_MAX => Some(DisabledReason::Failing),
        _ => None,
    };
    if let Some(reason) = reason {
        disable(app, &mut tx, delivery.endpoint_id, reason).await?;
    }
    tx.commit().await?;
    Ok(match next.state {
        State::Delivered => "delivered",
        State::Pending => "failed",
        State::Dead => "dead",
    })
}

/// As Standard Webhooks has them: every secret that is valid signs.
async fn headers(app: &App, delivery: &store::Claimed) -> Result<HeaderMap> {
    let (id, timestamp) = (delivery.event_id, app.clock.now().timestamp());
    let signed = format!("{id}.{timestamp}.{}", delivery.body);
    let mut signatures = Vec::new();
    for (row, secret) in super::secrets(app, delivery.endpoint_id).await? {
        let secret = app.config.data_keys.decrypt(row, &secret).map_err(Error::internal)?;
        signatures.push(signing::signature(&secret, &signed));
    }
    let value = |text: String| HeaderValue::from_str(&text).map_err(Error::internal);
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", value(id.to_string())?);
    headers.insert("webhook-timestamp", value(timestamp.to_string())?);
    headers.insert("webhook-signature", value(signatures.join(" "))?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

fn next(delivery: &store::Claimed, called: &Called, now: DateTime) -> store::Next {
    let attempts = delivery.attempts.saturating_add(1);
    if called.error.is_none() {
        return store::Next { state: State::Delivered, due_at: None, attempts };
    }
    let pause = usize::try_from(delivery.attempts).ok().and_then(|attempts| LADDER.get(attempts));
    let Some(secs) = pause.filter(|_| called.status != Some(StatusCode::GONE)) else {
        return store::Next { state: State::Dead, due_at: None, attempts };
    };
    // Up to a tenth longer, so that what failed together does not come back together.
    let pause = TimeDelta::milliseconds(secs * rand::random_range(1_000..=1_100));
    let asked = called.retry_after.and_then(|asked| TimeDelta::from_std(asked.wait(now)).ok()).unwrap_or_default();
    store::Next { state: State::Pending, due_at: Some(now + pause.max(asked.min(RETRY_AFTER_MAX))), attempts }
}

/// What a machine's key has made goes quiet with the machine: somebody may have had the key. Staff enable it again.
pub(super) async fn disable_of_nobody(app: &App) -> Result<()> {
    for endpoint_id in store::of_nobody(&app.db).await? {
        let mut tx = app.db.begin().await?;
        store::lock_endpoint(&mut *tx, endpoint_id).await?;
        disable(app, &mut tx, endpoint_id, DisabledReason::Machine).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Nobody listens there, or may: what waits for it is dead, on record, and told to whoever made it.
async fn disable(app: &App, tx: &mut PgConnection, endpoint_id: Uuid, reason: DisabledReason) -> Result<()> {
    let Some(made_by) = store::disable(&mut *tx, endpoint_id, reason, app.clock.now()).await? else { return Ok(()) };
    dead_letter_some(app, tx, endpoint_id).await?;
    let entry = Entry::of(&Actor::system(), "webhook_endpoint.disabled", "webhook_endpoint", endpoint_id);
    audit::record(app, &mut *tx, entry.with(json!({"reason": reason.name()}))).await?;
    if let Some(user_id) = made_by.filter(|_| reason != DisabledReason::Machine) {
        mails::queue(app, &mut *tx, mails::Kind::WebhookEndpointDisabled, mails::To::User(user_id)).await?;
    }
    tracing::error!(endpoint.id = %endpoint_id, reason = reason.name(), "an endpoint for webhooks was disabled");
    Ok(())
}

/// Of what waits for an endpoint that is disabled, a batch: it may be millions, and the rest becomes dead letters by [`prune`], or before the endpoint
/// is enabled again. True when there may be more. The endpoint's lock is held.
pub(super) async fn dead_letter_some(app: &App, tx: &mut PgConnection, endpoint_id: Uuid) -> Result<bool> {
    Ok(is_full(store::dead_letter(tx, endpoint_id, app.clock.now(), DEAD_AT_ONCE).await?, DEAD_AT_ONCE))
}

/// The same in an SQL transaction of its own.
pub(super) async fn dead_letter_batch(app: &App, endpoint_id: Uuid) -> Result<bool> {
    let mut tx = app.db.begin().await?;
    store::lock_endpoint(&mut *tx, endpoint_id).await?;
    let more = dead_letter_some(app, &mut tx, endpoint_id).await?;
    tx.commit().await?;
    Ok(more)
}

/// All of it that is left, before the endpoint is enabled, in the SQL transaction that does so.
pub(super) async fn dead_letter_rest(app: &App, tx: &mut PgConnection, endpoint_id: Uuid) -> Result<()> {
    store::lock_endpoint(&mut *tx, endpoint_id).await?;
    while dead_letter_some(app, tx, endpoint_id).await? {}
    Ok(())
}

/// Of all that was and is for an endpoint a batch, in an SQL transaction of its own.
pub(super) async fn delete_batch(app: &App, endpoint_id: Uuid) -> Result<bool> {
    let mut tx = app.db.begin().await?;
    store::lock_endpoint(&mut *tx, endpoint_id).await?;
    let deleted = store::delete_of(&mut *tx, endpoint_id, DEAD_AT_ONCE).await?;
    tx.commit().await?;
    Ok(is_full(deleted, DEAD_AT_ONCE))
}

fn is_full(count: u64, limit: i64) -> bool {
    i64::try_from(count).is_ok_and(|count| count == limit)
}

pub(super) async fn is_there(app: &App, id: Uuid) -> Result<bool> {
    Ok(store::find(&app.db, id).await?.is_some())
}

/// Lets one go out again, delivered or not.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::StaleState`] while its endpoint is disabled.
pub async fn replay(app: &App, actor: &Actor, id: Uuid) -> Result<Detail> {
    let row = store::find(&app.db, id).await?.ok_or(Error::NotFound("delivery"))?;
    let mut tx = app.db.begin().await?;
    store::lock_endpoint(&mut *tx, row.endpoint_id).await?;
    if store::replay(&mut *tx, &[id], app.clock.now()).await? == 0 {
        return Err(Error::StaleState);
    }
    let entry = Entry::of(actor, "webhook_endpoint.replayed", "webhook_endpoint", row.endpoint_id);
    audit::record(app, &mut *tx, entry.with(json!({"delivery": id}))).await?;
    tx.commit().await?;
    find(app, id).await
}

/// Lets the dead letters of an endpoint go out again that were made at a time or later, the oldest first. How many, and whether there may
/// be more.
pub async fn replay_since(app: &App, actor: &Actor, endpoint_id: Uuid, since: DateTime) -> Result<(u64, bool)> {
    super::find(app, endpoint_id).await?;
    let mut tx = app.db.begin().await?;
    store::lock_endpoint(&mut *tx, endpoint_id).await?;
    let mut ids = store::dead_since(&mut *tx, endpoint_id, since, REPLAYED_AT_ONCE + 1).await?;
    let more = i64::try_from(ids.len()).is_ok_and(|count| count > REPLAYED_AT_ONCE);
    ids.truncate(usize::try_from(REPLAYED_AT_ONCE).unwrap_or(usize::MAX));
    let replayed = if ids.is_empty() { 0 } else { store::replay(&mut *tx, &ids, app.clock.now()).await? };
    if replayed == 0 && !ids.is_empty() {
        return Err(Error::StaleState);
    }
    let entry = Entry::of(actor, "webhook_endpoint.replayed", "webhook_endpoint", endpoint_id);
    audit::record(app, &mut *tx, entry.with(json!({"since": since, "replayed": replayed}))).await?;
    tx.commit().await?;
    Ok((replayed, more))
}

/// # Errors
/// [`Error::NotFound`]; [`Error::TooBroad`] and [`Error::TurnedAway`] where a state is asked for, as few may be in it.
pub async fn list(app: &App, caller: Uuid, endpoint_id: Uuid, filter: &Filter) -> Result<Vec<Row>> {
    super::find(app, endpoint_id).await?;
    if filter.state.is_none() {
        return Ok(store::list(&app.db, endpoint_id, filter).await?);
    }
    let mut read = app.slow_reads.begin(caller, &app.db, app.config.list_deadline).await?;
    store::list(&mut *read.tx, endpoint_id, filter).await.map_err(slow_reads::too_broad)
}

/// As [`super::require_kept_by`], of the delivery's endpoint.
pub async fn require_kept_by(app: &App, machine: Option<Uuid>, id: Uuid) -> Result<()> {
    let row = store::find(&app.db, id).await?.ok_or(Error::NotFound("delivery"))?;
    super::require_kept_by(app, machine, row.endpoint_id).await.map_err(|error| match error {
        Error::NotFound(_) => Error::NotFound("delivery"),
        other => other,
    })
}

/// With its attempts, the newest first.
pub async fn find(app: &App, id: Uuid) -> Result<Detail> {
    let row = store::find(&app.db, id).await?.ok_or(Error::NotFound("delivery"))?;
    let body = store::body(&app.db, row.event_id).await?;
    let event = serde_json::from_str(&body).map_err(Error::internal)?;
    Ok(Detail { attempts_made: store::attempts(&app.db, id).await?, event, row })
}

/// Deletes a batch of events of longer ago than `RETENTION` says, and with them what became of them. True when there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let now = app.clock.now();
    let before = now - app.config.retention.outgoing_webhooks;
    store::delete_expired_secrets(&app.db, now).await?;
    let deleted = store::delete_events(&app.db, before, PRUNED_AT_ONCE).await?;
    if let Some(endpoint_id) = store::disabled_with_waiting(&app.db).await? {
        dead_letter_batch(app, endpoint_id).await?;
        return Ok(true);
    }
    Ok(is_full(deleted, PRUNED_AT_ONCE))
}

pub async fn measure(app: &App) -> Result<()> {
    let now = app.clock.now();
    app.queue().report(&store::depths(&app.db, now, now - DEAD_COUNTED).await?);
    Ok(())
}
