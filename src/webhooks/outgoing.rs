//! What we tell others' servers, for integrators: endpoints that staff keep, and their secrets.
//!
//! ```text
//! sources ──> events ──> a delivery for each endpoint that wants it ──> deliveries: signed, sent, tried again, dead, replayed
//! ```
//!
//! A secret is shown once and stored encrypted. After a rotation the old one signs beside the new one until its time is over, so that
//! nobody has to change both sides at one moment. What an endpoint may be is decided by `platform/outbound.rs`. The pages are
//! docs/outgoing-webhooks.md and docs/decisions/048.

pub mod deliveries;
mod described;
pub mod events;
pub mod routes;
mod signing;
pub mod sources;
mod store;

use chrono::TimeDelta;
use reqwest::Url;
use secrecy::zeroize::Zeroizing;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::platform::clock::DateTime;
use crate::platform::encryption::Encrypted;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;
use events::{Event, EventType, TestEventData};

pub use described::{Described, described};
use store::Delivery;
pub use store::{Endpoint, OutgoingSecrets, forget_about};

/// Each costs a delivery for each event.
const ENDPOINTS_MAX: i64 = 20;

text_enum! {
    /// Why an endpoint was disabled by itself.
    #[schema(as = EndpointDisabledReason)]
    pub enum DisabledReason {
        /// It answered 410 Gone.
        Gone = "gone",
        /// For three days every attempt failed.
        Failing = "failing",
        /// The machine that made it is disabled, or may not keep endpoints any more.
        Machine = "machine",
    }
}

pub struct NewEndpoint {
    /// The same for whoever takes the call over.
    pub id: Uuid,
    pub url: Url,
    pub event_types: Vec<EventType>,
    pub description: Option<String>,
}

/// `None` leaves what it has.
pub struct EndpointChange {
    pub url: Option<Url>,
    pub event_types: Option<Vec<EventType>>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
}

/// The URL, if we may call it: as it stands, and by what its name says at this moment.
pub async fn parse_url(app: &App, text: &str) -> Result<Url> {
    let url = app.outbound.parse(text).map_err(|message| Error::field("url", message))?;
    if app.outbound.leads_inside(&url).await {
        return Err(Error::field("url", "must lead to a public address"));
    }
    Ok(url)
}

/// The endpoint and its secret, as it is shown once. What the same call has made before, and nobody was shown, gets another secret.
///
/// # Errors
/// [`Error::StaleState`] where that secret was rotated since.
pub async fn create(
    app: &App,
    actor: &Actor,
    person: Option<Uuid>,
    machine: Option<Uuid>,
    new: &NewEndpoint,
) -> Result<(Endpoint, String)> {
    let (id, now) = (new.id, app.clock.now());
    let mut tx = app.db.begin().await?;
    store::lock(&mut *tx).await?;
    if store::find(&mut *tx, id).await?.is_some() {
        let secret = replace_secret(app, &mut tx, id).await?.ok_or(Error::StaleState)?;
        let entry = Entry::of(actor, "webhook_endpoint.secret_replaced", "webhook_endpoint", id);
        audit::record(app, &mut *tx, entry).await?;
        tx.commit().await?;
        return Ok((find(app, id).await?, secret));
    }
    if store::count(&mut *tx).await? >= ENDPOINTS_MAX {
        return Err(Error::field("url", "there are 20 endpoints: delete one first"));
    }
    sources::begin(&mut tx, now).await?;
    store::insert(&mut *tx, new, person, machine, now).await?;
    let secret = add_secret(app, &mut tx, (id, id)).await?;
    let entry = Entry::of(actor, "webhook_endpoint.created", "webhook_endpoint", id);
    audit::record(app, &mut *tx, entry.with(about(&new.url, &new.event_types))).await?;
    tx.commit().await?;
    Ok((find(app, id).await?, secret))
}

/// Changes it. Enabled again, it hears of what happens from then on.
pub async fn change(app: &App, actor: &Actor, id: Uuid, change: &EndpointChange) -> Result<Endpoint> {
    if change.enabled == Some(true) {
        while deliveries::dead_letter_batch(app, id).await? {}
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    store::lock(&mut *tx).await?;
    let before = store::find(&mut *tx, id).await?.ok_or(Error::NotFound("endpoint"))?;
    if change.enabled == Some(true)
        && let Some(machine) = before.service_account_id
        && !store::may_keep(&mut *tx, machine).await?
    {
        return Err(Error::field("enabled", "the machine that made it may not keep endpoints: let it first"));
    }
    if change.enabled == Some(true) && !before.enabled {
        deliveries::dead_letter_rest(app, &mut tx, id).await?;
        sources::begin(&mut tx, now).await?;
    }
    store::change(&mut *tx, id, change, now).await?;
    if change.enabled == Some(false) {
        deliveries::dead_letter_some(app, &mut tx, id).await?;
    }
    let after = store::find(&mut *tx, id).await?.ok_or(Error::NotFound("endpoint"))?;
    let audit_view = |endpoint: &Endpoint| {
        let host = endpoint.url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
        json!({"host": host, "event_types": endpoint.event_types, "enabled": endpoint.enabled})
    };
    let entry = Entry::of(actor, "webhook_endpoint.changed", "webhook_endpoint", id);
    audit::record(app, &mut *tx, entry.change(audit_view(&before), audit_view(&after))).await?;
    tx.commit().await?;
    Ok(after)
}

/// With it goes its log, and what waits for it: nothing more is sent, and then it goes in batches. Whoever is interrupted repeats it; whoever
/// enables it meanwhile keeps it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::StaleState`] where it is enabled again.
pub async fn delete(app: &App, actor: &Actor, id: Uuid) -> Result<()> {
    let entry = |action| Entry::of(actor, action, "webhook_endpoint", id);
    let mut tx = app.db.begin().await?;
    let before = store::find(&mut *tx, id).await?.ok_or(Error::NotFound("endpoint"))?;
    if store::stop(&mut *tx, id, app.clock.now()).await? {
        let stopped = entry("webhook_endpoint.changed");
        let stopped = stopped.change(json!({"enabled": before.enabled}), json!({"enabled": false}));
        audit::record(app, &mut *tx, stopped).await?;
    }
    tx.commit().await?;
    while deliveries::delete_batch(app, id).await? {}
    let mut tx = app.db.begin().await?;
    if !store::delete(&mut *tx, id).await? {
        return Err(Error::StaleState);
    }
    audit::record(app, &mut *tx, entry("webhook_endpoint.deleted")).await?;
    tx.commit().await?;
    Ok(())
}

/// A rotation of an endpoint's secret.
pub struct Rotation {
    pub endpoint_id: Uuid,
    /// Of the new one; the same for whoever takes the call over.
    pub secret_id: Uuid,
    pub overlap: TimeDelta,
}

/// A new secret, shown once; the present one signs beside it for so long, and older ones no more. Where the same call has rotated before, and
/// nobody was shown the new one, only that is replaced: the one before signs on.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::StaleState`] where another rotation came between.
pub async fn rotate_secret(app: &App, actor: &Actor, rotation: Rotation) -> Result<(String, DateTime)> {
    let Rotation { endpoint_id: id, secret_id, overlap } = rotation;
    let until = app.clock.now() + overlap;
    let mut tx = app.db.begin().await?;
    store::lock(&mut *tx).await?;
    let endpoint = store::find(&mut *tx, id).await?.ok_or(Error::NotFound("endpoint"))?;
    if let Some(secret) = replace_secret(app, &mut tx, secret_id).await? {
        let entry = Entry::of(actor, "webhook_endpoint.secret_replaced", "webhook_endpoint", id);
        audit::record(app, &mut *tx, entry).await?;
        tx.commit().await?;
        return Ok((secret, endpoint.old_secret_until.unwrap_or(until)));
    }
    store::expire_secrets(&mut tx, id, until).await?;
    let secret = add_secret(app, &mut tx, (secret_id, id)).await?;
    let entry = Entry::of(actor, "webhook_endpoint.secret_rotated", "webhook_endpoint", id);
    audit::record(app, &mut *tx, entry.with(json!({"old_until": until}))).await?;
    tx.commit().await?;
    Ok((secret, until))
}

/// Owes the endpoint a test event, by a delivery of this id; nothing where the same call has made it before.
///
/// # Errors
/// [`Error::StaleState`] while it is disabled.
pub async fn send_test(app: &App, actor: &Actor, id: Uuid, delivery: Uuid) -> Result<()> {
    if deliveries::is_there(app, delivery).await? {
        return Ok(());
    }
    if !find(app, id).await?.enabled {
        return Err(Error::StaleState);
    }
    let now = app.clock.now();
    let source = (app.clock.row_id(), 0);
    let event = Event::new(EventType::WebhookTest, source, None, now, TestEventData { endpoint_id: id })?;
    let mut tx = app.db.begin().await?;
    let owed = Delivery { id: delivery, event_id: event.id, endpoint_id: id };
    store::insert_events(&mut *tx, &[event], now).await?;
    if store::insert_deliveries(&mut *tx, &[owed], now).await? == 0 {
        return Ok(());
    }
    audit::record(app, &mut *tx, Entry::of(actor, "webhook_endpoint.tested", "webhook_endpoint", id)).await?;
    tx.commit().await?;
    Ok(())
}

async fn add_secret(app: &App, tx: &mut PgConnection, (id, endpoint_id): (Uuid, Uuid)) -> Result<String> {
    let (encrypted, secret) = new_secret(app, id)?;
    store::insert_secret(tx, id, endpoint_id, &encrypted, app.clock.now()).await?;
    Ok(secret)
}

/// Another one in the place of the one with this id, which the same call has made before and nobody was shown; `None` where there is none.
///
/// # Errors
/// [`Error::StaleState`] where it is not the present one any more.
async fn replace_secret(app: &App, tx: &mut PgConnection, id: Uuid) -> Result<Option<String>> {
    match store::is_present(&mut *tx, id).await? {
        None => return Ok(None),
        Some(false) => return Err(Error::StaleState),
        Some(true) => {}
    }
    let (encrypted, secret) = new_secret(app, id)?;
    store::replace_secret(tx, id, &encrypted).await?;
    Ok(Some(secret))
}

fn new_secret(app: &App, id: Uuid) -> Result<(Encrypted, String)> {
    let secret: Zeroizing<Vec<u8>> = signing::new_secret();
    let encrypted = app.config.data_keys.encrypt(id, &secret).map_err(Error::internal)?;
    Ok((encrypted, signing::shown_secret(&secret)))
}

/// Those that sign at this moment, the newest first.
async fn secrets(app: &App, endpoint_id: Uuid) -> Result<Vec<(Uuid, Encrypted)>> {
    Ok(store::secrets(&app.db, endpoint_id, app.clock.now()).await?)
}

/// A path or a query may hold a token: the log has the host.
fn about(url: &Url, event_types: &[EventType]) -> Value {
    json!({"host": url.host_str(), "event_types": event_types})
}

pub async fn find(app: &App, id: Uuid) -> Result<Endpoint> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("endpoint"))
}

/// All, or those that a machine has made.
pub async fn list(app: &App, machine: Option<Uuid>) -> Result<Vec<Endpoint>> {
    Ok(store::list(&app.db, machine).await?)
}

/// A machine keeps what it has made, and knows of no other.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn require_kept_by(app: &App, machine: Option<Uuid>, id: Uuid) -> Result<()> {
    match machine {
        Some(machine) if !store::is_made_by(&app.db, id, machine).await? => Err(Error::NotFound("endpoint")),
        Some(_) | None => Ok(()),
    }
}
