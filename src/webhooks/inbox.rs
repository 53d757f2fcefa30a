//! Revio's webhooks: verified over the raw bytes, stored once, answered; acted on later by the worker.
//!
//! ```text
//! receive   raw bytes ─> signature ─> mode, brand, company ─> freshness ─> stored once by hash ─> 200   (nothing else)
//!                                                                           └─ or here already: noted a few times, and counted
//! claim_due claim ─> deposits::on_provider_event | withdrawals::on_provider_event (asks Revio) ─> done | ignored
//!                                                    └─ a failure: 0, 1, 5, 15 minutes, then dead
//! ```
//!
//! Every verified call is answered 200, also one that means nothing to us: a refusal would block the later events of that
//! object for hours (`docs/provider.md`, order). A 5xx says that we did not store it.

mod content;
pub mod event;
pub mod routes;
mod store;
mod writes;

use serde_json::{Value, json};
use tracing::{Span, field};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::money::deposits::{self, Told};
use crate::money::provider_objects::{self, Followed, NotKnown, ObjectKind};
use crate::money::withdrawals;
use crate::platform::digest::sha256;
use crate::platform::error::{Error, Result};
use crate::platform::queue::{self, Lease, Next, RETRY_MINUTES, Work};
use crate::platform::{clock, signature::PublicKeys, slow_reads, text_enum::text_enum};
use crate::provider::revio::{self, Errand};
use crate::webhooks::inbox::event::{Event, EventObject};
use crate::webhooks::refused;

pub use content::Content;
use store::{Claimed, Ended, Repeat};
pub use store::{DeadFilter, Delivery, LogFilter, LogRow, Webhooks, empty_about};
use writes::{Ends, Receipts, Repeats};

/// Of a body that nobody signed, only so much is kept.
const UNVERIFIED_BYTES_MAX: usize = 2048;
/// So many calls with the same bytes are kept, besides an accepted one, and none of them with its bytes but the first. Revio sends an event
/// up to 8 times (`docs/provider.md`, tries); whoever has kept one may send it without end.
const REPEATS_KEPT: i64 = 8;
const PRUNE_BATCH: i64 = 500;
/// What a dead letter counts for at least: it has had no effect in any time that is promised.
const NO_EFFECT_SECS: f64 = 60.0;

/// One call of the webhook endpoint, as it came.
pub struct Call<'a> {
    pub endpoint: Endpoint,
    pub body: &'a [u8],
    pub signatures: Vec<&'a [u8]>,
    /// Headers worth keeping, without the signature.
    pub headers: Value,
    pub source_address: String,
}

text_enum! {
    /// Each is signed with a key of its own.
    #[schema(as = WebhookEndpoint)]
    pub enum Endpoint {
        /// The registered webhook.
        Webhook = "revio",
        /// The `success_callback` of a purchase, signed with the company's key.
        Callback = "revio_callback",
    }
}

impl Endpoint {
    fn keys(self, app: &App) -> &PublicKeys {
        match self {
            Self::Webhook => &app.config.revio_webhook_public_keys,
            Self::Callback => &app.config.revio_company_public_keys,
        }
    }
}

text_enum! {
    #[schema(as = WebhookVerdict)]
    pub enum Verdict {
        Accepted = "accepted",
        /// The same bytes were accepted before.
        Duplicate = "duplicate",
        /// Verified, but of another mode, brand or company.
        Foreign = "foreign",
        /// Verified, but older than any legal retry: somebody kept it.
        Stale = "stale",
        BadSignature = "bad_signature",
    }
}

text_enum! {
    #[schema(as = WebhookState)]
    pub enum State {
        Pending = "pending",
        Done = "done",
        /// About nothing of ours.
        Ignored = "ignored",
        /// A dead letter: given up, until a person replays or dismisses it.
        Dead = "dead",
        /// A person looked at a dead letter, and nothing is to become of it.
        Dismissed = "dismissed",
    }
}

/// Stores a call with its verdict. When this returns a verdict, the call is in the log, or Revio did not sign it and it is counted.
///
/// # Errors
/// When it could not be stored: the sender must come again.
pub async fn receive(app: &App, call: &Call<'_>) -> Result<Verdict> {
    let verdict = match call.endpoint.keys(app).verify(call.body, call.signatures.iter().copied()) {
        Ok(()) => accept(app, call).await?,
        Err(reason) => {
            if refused::keeps(app, &call.source_address).await? {
                let delivery = delivery(app, call, Verdict::BadSignature)?.because(&reason.to_string());
                app.batchers.join::<Receipts>(app, delivery).await?;
            }
            Verdict::BadSignature
        }
    };
    app.metrics.webhook_calls.with_label_values(&[verdict.name()]).inc();
    if verdict == Verdict::Accepted {
        app.notifier.wake();
    }
    Ok(verdict)
}

async fn accept(app: &App, call: &Call<'_>) -> Result<Verdict> {
    let event = Event::parse(call.body);
    let verdict = event.as_ref().and_then(|event| unusable(app, event)).unwrap_or(Verdict::Accepted);
    let delivery = delivery(app, call, verdict)?.about(event.clone());
    let (id, received_at, body_hash) = (delivery.id, delivery.received_at, delivery.body_hash.clone());
    let is_stored = app.batchers.join::<Receipts>(app, delivery).await?;
    if !is_stored {
        let verdict = if verdict == Verdict::Accepted { Verdict::Duplicate } else { verdict };
        let (endpoint, source_address) = (call.endpoint, call.source_address.clone());
        let repeat = Repeat { id, endpoint, received_at, source_address, body_hash, verdict, event };
        // The event itself is in the log, so that Revio is done with it.
        match app.batchers.join::<Repeats>(app, repeat).await {
            Err(crashed @ Error::Crashed(_)) => return Err(crashed),
            Err(error) => tracing::warn!(error = error.chain(), "that an event came again is not in the log"),
            Ok(()) => {}
        }
        return Ok(verdict);
    }
    if verdict == Verdict::Accepted {
        log_stored(id, event.as_ref());
        app.crash.at("inbox.stored")?;
    }
    Ok(verdict)
}

/// From the request that brought it to the event, and on to what it is about; our reference at Revio is a row's id.
fn log_stored(id: Uuid, event: Option<&Event>) {
    let object = event.and_then(Event::object_id).map(field::display);
    let row = event.and_then(|event| event.reference).filter(|id| provider_objects::is_row_id(*id)).map(field::display);
    tracing::info!(webhook.id = %id, object.id = object, transaction.id = row, "an event is stored");
}

/// Why a genuine event is not acted on.
fn unusable(app: &App, event: &Event) -> Option<Verdict> {
    let other_company = event.company_id.zip(app.config.revio_company_id).is_some_and(|(theirs, ours)| theirs != ours);
    if other_company || app.revio.is_foreign(&event.is_test, &event.brand_id) {
        return Some(Verdict::Foreign);
    }
    let oldest = (app.clock.now() - app.config.webhook_freshness).timestamp();
    event.changed_on.is_some_and(|changed_on| changed_on < oldest).then_some(Verdict::Stale)
}

fn delivery(app: &App, call: &Call<'_>, verdict: Verdict) -> Result<Delivery> {
    let (now, id) = (app.clock.now(), app.clock.row_id());
    let kept = if verdict == Verdict::BadSignature { UNVERIFIED_BYTES_MAX } else { usize::MAX };
    let kept = call.body.get(..kept).unwrap_or(call.body);
    Ok(Delivery {
        id,
        endpoint: call.endpoint,
        received_at: now,
        source_address: call.source_address.clone(),
        body_hash: sha256(call.body).to_vec(),
        content: content::encrypt(&app.config.data_keys, id, &call.headers, kept).map_err(Error::internal)?,
        verdict,
        due_at: (verdict == Verdict::Accepted).then_some(now),
        event: None,
        last_error: None,
    })
}

impl Delivery {
    fn about(self, event: Option<Event>) -> Self {
        Self { event, ..self }
    }

    fn because(self, reason: &str) -> Self {
        Self { last_error: Some(reason.to_owned()), ..self }
    }
}

/// Claims what is due and gives a step for each; the worker runs them.
pub async fn claim_due(app: &App, limit: i64) -> Result<Vec<queue::Step<'_>>> {
    queue::claim_due(Events(app), app.queue(), limit).await
}

struct Events<'a>(&'a App);

impl Work for Events<'_> {
    type Claimed = Claimed;

    fn label<'a>(&'a self, _: &'a Claimed) -> &'a str {
        "inbox"
    }

    fn id(event: &Claimed) -> Uuid {
        event.id
    }

    fn span(&self, event: &Claimed) -> Span {
        tracing::info_span!(parent: None, "step", queue = "inbox", webhook.id = %event.id)
    }

    async fn claim(&self, lease: Lease, limit: i64) -> sqlx::Result<Vec<Claimed>> {
        store::claim_due(self.0.batch_db.in_line(), lease, limit).await
    }

    async fn step(&self, event: &Claimed) -> Result<&'static str> {
        let content = content::decrypt(&self.0.config.data_keys, event.id, &event.content).map_err(Error::internal)?;
        // Verified, and of no use: it does not get better by trying again.
        let Some(parsed) = Event::parse(&content.body).filter(|parsed| !parsed.is_unreadable()) else {
            tracing::error!(webhook.id = %event.id, "an event of Revio's cannot be read");
            let error = "the body does not say what it is about";
            give_up(self.0, event, error).await?;
            return Ok(State::Dead.name());
        };
        let state = revio::on(Errand::Webhook, act(self.0, &parsed)).await?;
        finish(self.0, event, state).await?;
        Ok(state.name())
    }

    async fn failed(&self, event: &Claimed, error: &Error) -> Result<()> {
        let (app, error_text) = (self.0, error.chain());
        match app.queue().after(event.id, event.attempts, error, RETRY_MINUTES) {
            Next::Again { due_at, attempts } => {
                store::defer(&app.db, event, due_at, attempts, Some(&error_text)).await?;
            }
            Next::GiveUp { .. }
                if is_about_nothing(error) && !event.event_type.as_deref().is_some_and(event::tells_of_money) =>
            {
                finish(app, event, State::Ignored).await?
            }
            Next::GiveUp { .. } => {
                tracing::error!(webhook.id = %event.id, error = error_text, "an event became a dead letter");
                give_up(app, event, &error_text).await?;
            }
        }
        Ok(())
    }

    /// Somebody else moved the row that the event is about; its present state is looked at again at once.
    async fn overtaken(&self, event: &Claimed) -> Result<()> {
        store::defer(&self.0.db, event, self.0.clock.now(), event.attempts, None).await?;
        self.0.notifier.wake();
        Ok(())
    }
}

fn is_about_nothing(error: &Error) -> bool {
    matches!(error, Error::Unusable(cause) if cause.is::<NotKnown>())
}

/// What became of the event: `done`, or `ignored` because it is about nothing of ours.
async fn act(app: &App, event: &Event) -> Result<State> {
    if let Some(payment) = &event.payment {
        provider_objects::record_payment(app, payment, event.payment_kind()).await?;
    }
    // When the object that it is about changed; of a Payment's purchase that says nothing.
    let changed_on = event.changed_on.filter(|_| !event.is_payment);
    let followed = match event.object {
        Some(EventObject::Purchase(id)) => {
            provider_objects::announce(app, ObjectKind::Purchase, id, changed_on).await?;
            let told = Told { id, paid_on: changed_on.filter(|_| event::tells_of_money(&event.event_type)) };
            deposits::on_provider_event(app, told, event.reference).await?
        }
        Some(EventObject::Payout(id)) => {
            provider_objects::announce(app, ObjectKind::Payout, id, changed_on).await?;
            withdrawals::on_provider_event(app, id, event.reference).await?
        }
        None => Followed::NothingOfOurs,
    };
    app.crash.at("inbox.acted")?;
    match followed {
        Followed::Settled => Ok(State::Done),
        // Nobody would ask again.
        Followed::NothingOfOurs if event::tells_of_money(&event.event_type) => Err(Error::Unusable(
            "it says that a payer's money moved; by Revio's answer it did not, and no row knows it".into(),
        )),
        Followed::NothingOfOurs => Ok(State::Ignored),
    }
}

async fn finish(app: &App, event: &Claimed, state: State) -> Result<()> {
    let now = app.clock.now();
    app.batchers.join::<Ends>(app, Ended { id: event.id, leased_until: event.due_at, state, at: now }).await?;
    measure_effect(app, event, (now - event.received_at).as_seconds_f64());
    Ok(())
}

async fn give_up(app: &App, event: &Claimed, error: &str) -> Result<()> {
    let now = app.clock.now();
    store::dead_letter(&app.db, event, error, now).await?;
    measure_effect(app, event, (now - event.received_at).as_seconds_f64().max(NO_EFFECT_SECS));
    Ok(())
}

/// What a person lets run again would tell how long that person took.
fn measure_effect(app: &App, event: &Claimed, seconds: f64) {
    if event.is_replayed {
        return;
    }
    let event_type = event.event_type.as_deref().filter(|said| event::TYPES.contains(said)).unwrap_or("other");
    app.metrics.webhook_effect_seconds.with_label_values(&[event_type]).observe(seconds);
}

/// Lets events run again, whatever became of them, and records who let them. What they may still do is decided by Revio's
/// present word. Which of them there were: those that were never accepted, are not there, or were pruned, are left out.
pub async fn replay(app: &App, actor: &Actor, ids: &[Uuid], note: Option<&str>) -> Result<Vec<Uuid>> {
    let mut tx = app.db.begin().await?;
    let replayed = store::replay(&mut *tx, ids, app.clock.now()).await?;
    for id in &replayed {
        let entry = Entry::of(actor, "webhook.replayed", "webhook", id);
        let entry = match note {
            Some(note) => entry.with(json!({"note": note})),
            None => entry,
        };
        audit::record(app, &mut *tx, entry).await?;
    }
    tx.commit().await?;
    app.notifier.wake();
    Ok(replayed)
}

/// Dead letters of which nothing is to become, and who says so. Which of them there were.
pub async fn dismiss(app: &App, actor: &Actor, ids: &[Uuid], note: &str) -> Result<Vec<Uuid>> {
    let mut tx = app.db.begin().await?;
    let dismissed = store::dismiss(&mut *tx, ids, note).await?;
    for id in &dismissed {
        let entry = Entry::of(actor, "webhook.dismissed", "webhook", id).with(json!({"note": note}));
        audit::record(app, &mut *tx, entry).await?;
    }
    tx.commit().await?;
    Ok(dismissed)
}

/// Dead letters by their error and time, the oldest first.
pub async fn dead(app: &App, filter: &DeadFilter) -> Result<Vec<Uuid>> {
    Ok(store::dead(&app.db, filter).await?)
}

/// A page of the delivery log, newest first; of what few may be, in the turn of those who read for long.
pub async fn list(app: &App, caller: Uuid, filter: &LogFilter) -> Result<Vec<LogRow>> {
    if filter.state.is_none() && filter.verdict.is_none() && filter.event_type.is_none() {
        return Ok(store::list(&app.db, filter).await?);
    }
    let mut read = app.slow_reads.begin(caller, &app.db, app.config.list_deadline).await?;
    store::list(&mut *read.tx, filter).await.map_err(slow_reads::too_broad)
}

/// One delivery, and what it held unless that was pruned.
pub async fn find(app: &App, id: Uuid) -> Result<(LogRow, Option<Content>)> {
    let (row, encrypted) = store::find(&app.db, id).await?.ok_or(Error::NotFound("webhook"))?;
    let decrypted = |encrypted| content::decrypt(&app.config.data_keys, id, &encrypted).map_err(Error::internal);
    Ok((row, encrypted.map(decrypted).transpose()?))
}

/// The same for somebody who sees all of it, on the record.
pub async fn find_whole(app: &App, actor: &Actor, id: Uuid) -> Result<(LogRow, Option<Content>)> {
    let found = find(app, id).await?;
    audit::record(app, &app.db, Entry::of(actor, "webhook.read_whole", "webhook", id)).await?;
    Ok(found)
}

/// What was said of these objects of Revio's, the oldest first: for whoever is to be told all that we hold.
pub async fn about(app: &App, objects: &[Uuid]) -> Result<Vec<Uuid>> {
    Ok(store::about(&app.db, objects).await?)
}

/// Forgets what deliveries held that came longer ago than `RETENTION` says. What waits for a step or for a person keeps it. True when there
/// may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let before = clock::first_id_at(app.clock.now() - app.config.retention.webhook_bodies);
    let emptied = store::empty(&app.db, before, PRUNE_BATCH).await?;
    Ok(i64::try_from(emptied).is_ok_and(|rows| rows == PRUNE_BATCH))
}

/// Brings the gauges of what waits up to date.
pub async fn measure(app: &App) -> Result<()> {
    app.queue().report(&store::depths(&app.db, app.clock.now()).await?);
    Ok(())
}
