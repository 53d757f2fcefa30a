//! The handle of a running simulator: what tests call, and what the control API (`control.rs`) offers over HTTP.

mod finance;

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::clock::Clock;
use crate::errors::SimError;
use crate::faults::Fault;
use crate::keys::{KeyBits, SigningKey};
use crate::movements::Movement;
use crate::options::{Deliveries, Options};
use crate::overrides::Override;
use crate::payouts::PayoutOutcome;
use crate::purchases::Pay;
use crate::sender::DeliveryReport;
use crate::settings::{DoneWord, ErrorShape, PayoutBehaviour, RefundMode, Settings};
use crate::shared::{Call, Shared};
use crate::webhooks::Webhook;
use crate::world::{Totals, World};
use crate::{sender, server, store};

/// A running simulator. Clones are handles to the same one. Objects are addressed in both modes; totals, balances and keys
/// are those of test mode.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
}

/// One event that was raised, whoever it was sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    pub at: i64,
    pub event_type: String,
    pub object_id: Uuid,
    pub is_test: bool,
    /// The exact bytes that are sent (the serialisation is pure ASCII).
    pub body: String,
    /// `X-Signature` with the first test webhook's key.
    pub signature: String,
}

/// Starts a simulator; it runs until `Sim::shutdown` or the end of the runtime.
pub async fn start(options: Options) -> io::Result<Sim> {
    let (listener, bound) = server::bind(options.listen).await?;
    let world = match &options.state_file {
        Some(path) => store::load(path)?,
        None => World::default(),
    };
    let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    let shared = Arc::new(Shared::new(options, format!("http://{bound}"), world).map_err(invalid)?);
    sender::spawn(&shared, store::keep_saved(Arc::clone(&shared)));
    if matches!(shared.options.deliveries, Deliveries::Automatic { .. }) {
        sender::spawn(&shared, sender::dispatch(Arc::clone(&shared)));
    }
    sender::spawn_until_done(&shared, server::serve(Arc::clone(&shared), listener));
    tracing::info!(seed = shared.options.seed, origin = %shared.origin, "the simulator runs");
    Ok(Sim { shared })
}

impl Sim {
    pub(crate) fn of(shared: Arc<Shared>) -> Sim {
        Sim { shared }
    }

    /// `http://127.0.0.1:PORT/api/v1/`
    pub fn base_url(&self) -> String {
        format!("{}/api/v1/", self.shared.origin)
    }

    /// `http://127.0.0.1:PORT`
    pub fn origin(&self) -> String {
        self.shared.origin.clone()
    }

    pub fn clock(&self) -> Clock {
        self.shared.clock().clone()
    }

    /// All events, test mode.
    pub fn register_webhook(&self, callback: &str) -> Webhook {
        let key = self.shared.fresh_webhook_key();
        self.shared.change(|world| world.register_webhook(callback, key))
    }

    pub fn webhooks(&self) -> Vec<Webhook> {
        self.shared.read(|world| world.webhooks.iter().map(|webhook| webhook.summary()).collect())
    }

    /// A new key is published at once; the next `old_key_for` deliveries are still signed with the old one.
    pub fn rotate_webhook_key(&self, id: Uuid, old_key_for: u32) -> Result<Webhook, SimError> {
        let key = SigningKey::generate(KeyBits::Rsa2048);
        let rotated = self.shared.change(|world| world.rotate_webhook_key(id, key, old_key_for));
        rotated.ok_or(SimError::NotFound)
    }

    /// PEM of the company key, which signs `success_callback`.
    pub fn company_public_key(&self) -> String {
        self.shared.change(|world| world.company_key().public_pem().to_owned())
    }

    /// Sends every delivery that is due by the clock, one after the other. For `Deliveries::Manual`.
    pub async fn deliver(&self) -> Vec<DeliveryReport> {
        sender::deliver_due(&self.shared).await
    }

    /// Deliveries that are neither answered with 2xx nor given up.
    pub fn deliveries_waiting(&self) -> usize {
        self.shared.read(|world| world.outbox.len())
    }

    /// Every request that was sent to a webhook, oldest first; the newest 10,000.
    pub fn delivery_log(&self) -> Vec<DeliveryReport> {
        self.shared.reports()
    }

    pub fn purchase(&self, id: Uuid) -> Option<Value> {
        self.shared.read(|world| world.purchase_view(id, None).map(|view| world.told(view)))
    }

    pub fn payout(&self, id: Uuid) -> Option<Value> {
        self.shared.read(|world| world.payout_view(id, None).map(|view| world.told(view)))
    }

    /// Oldest first. The real Revio has no such look-up.
    pub fn purchases_by_reference(&self, reference: &str) -> Vec<Value> {
        self.shared.read(|world| {
            let matching = world.purchases.values().filter(|purchase| purchase.reference == reference);
            let mut found: Vec<(u64, Uuid)> = matching.map(|purchase| (purchase.serial, purchase.id)).collect();
            found.sort_unstable();
            found.into_iter().filter_map(|(_, id)| world.purchase_view(id, None).map(|view| world.told(view))).collect()
        })
    }

    /// Oldest first. The real Revio has no such look-up.
    pub fn payouts_by_reference(&self, reference: &str) -> Vec<Value> {
        self.shared.read(|world| {
            let matching = world.payouts.values().filter(|payout| payout.reference == reference);
            let mut found: Vec<(u64, Uuid)> = matching.map(|payout| (payout.serial, payout.id)).collect();
            found.sort_unstable();
            found.into_iter().filter_map(|(_, id)| world.payout_view(id, None).map(|view| world.told(view))).collect()
        })
    }

    /// The refunds, chargebacks and reversals of a purchase, oldest first, also those that failed after all.
    pub fn payments_of(&self, purchase: Uuid) -> Vec<Value> {
        self.shared.read(|world| world.payments_of(purchase).into_iter().map(|view| world.told(view)).collect())
    }

    /// How often a payout's `execution_url` was called, and how many of those calls came after it was executed.
    pub fn executions(&self, payout: Uuid) -> Option<(u32, u32)> {
        self.shared.read(|world| world.payouts.get(&payout).map(|payout| payout.execution_counts()))
    }

    pub fn pay_purchase(&self, id: Uuid, how: Pay) -> Result<(), SimError> {
        self.shared.change(|world| world.pay_purchase(id, &how))
    }

    /// A failed attempt, `insufficient_funds`; the payer may still pay.
    pub fn fail_purchase(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.fail_purchase(id, "insufficient_funds"))
    }

    /// `pending_execute` until paid, failed, or so many seconds have passed (then paid).
    pub fn begin_payment(&self, id: Uuid, paid_after_secs: Option<i64>) -> Result<(), SimError> {
        self.shared.change(|world| world.begin_payment(id, paid_after_secs))
    }

    /// The payer opens the page.
    pub fn view_purchase(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.open_page(id)).map(|_| ())
    }

    pub fn cancel_purchase(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.cancel_purchase(id, None)).map(|_| ()).map_err(Into::into)
    }

    pub fn expire_purchase(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.expire_purchase(id))
    }

    /// From the portal, by the same rules as the API (60 s lock and all). `None` refunds what is left.
    pub fn refund_purchase(&self, id: Uuid, amount: Option<i64>) -> Result<(), SimError> {
        self.shared.change(|world| world.refund_purchase(id, None, amount)).map(|_| ()).map_err(Into::into)
    }

    /// Ends `pending_refund`.
    pub fn complete_refund(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.complete_refund(id))
    }

    /// What is left after refunds and earlier chargebacks.
    pub fn charge_back_purchase(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.charge_back(id, None)).map(|_| ())
    }

    /// All that is charged back.
    pub fn reverse_charge_back(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.reverse_charge_back(id, None)).map(|_| ())
    }

    /// Up to what was paid and is not charged back yet, refunded or not. The Payment's id.
    pub fn charge_back_amount(&self, id: Uuid, amount: i64) -> Result<Uuid, SimError> {
        self.shared.change(|world| world.charge_back(id, Some(amount)))
    }

    /// A part of what is charged back. The Payment's id.
    pub fn reverse_charge_back_amount(&self, id: Uuid, amount: i64) -> Result<Uuid, SimError> {
        self.shared.change(|world| world.reverse_charge_back(id, Some(amount)))
    }

    /// Ends `pending_refund` without a refund: `purchase.refund_failure`.
    pub fn fail_refund(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.fail_refund(id))
    }

    /// A refund, chargeback or reversal that was announced as done turns to `error`, its money moves back.
    pub fn fail_payment(&self, payment: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.fail_payment(payment))
    }

    /// `cleared`, without an event.
    pub fn clear_purchase(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.clear_purchase(id))
    }

    /// `settled`. The fee is named and taken now if it was not before; `Some` is another one than was named or to come.
    pub fn settle_purchase(&self, id: Uuid, fee: Option<i64>) -> Result<(), SimError> {
        self.shared.change(|world| world.settle_purchase(id, fee))
    }

    /// From now on this is said of the object (or of all of a type) in every answer and event. State and money stay true.
    ///
    /// # Panics
    /// When neither an object nor a field is named: a mistake in the test.
    pub fn set_override(&self, new: Override) {
        assert_eq!(new.check().err(), None, "such an override changes nothing");
        self.shared.change(|world| world.set_override(new));
    }

    pub fn clear_overrides(&self) {
        self.shared.change(|world| world.overrides.clear());
    }

    /// Those of one object or type.
    pub fn clear_overrides_of(&self, target: impl Display) {
        let target = target.to_string();
        self.shared.change(|world| world.overrides.retain(|one| one.target != target));
    }

    pub fn overrides(&self) -> Vec<Override> {
        self.shared.read(|world| world.overrides.clone())
    }

    /// One more event about a purchase, payout or Payment as it is now, of any type: also of one that nobody knows.
    pub fn raise_event(&self, id: Uuid, event_type: &str) -> Result<(), SimError> {
        self.shared.change(|world| world.raise_about(id, event_type))
    }

    /// Every movement of money, oldest first, both modes: what really happened, whatever answers and events claim.
    pub fn movements(&self) -> Vec<Movement> {
        self.shared.read(|world| world.movements.clone())
    }

    /// Those of one purchase with its Payments, of one Payment, or of one payout.
    pub fn movements_of(&self, id: Uuid) -> Vec<Movement> {
        self.movements().into_iter().filter(|one| one.id == id || one.related_to == id).collect()
    }

    /// From any status to any other one.
    pub fn settle_payout(&self, id: Uuid, outcome: PayoutOutcome) -> Result<(), SimError> {
        self.shared.change(|world| world.settle_payout(id, &outcome))
    }

    /// What executing a payout does from now on.
    pub fn set_payout_behaviour(&self, behaviour: PayoutBehaviour) {
        self.shared.change(|world| world.settings.payouts = behaviour);
    }

    pub fn set_done_word(&self, word: DoneWord) {
        self.shared.change(|world| world.settings.done_word = word);
    }

    pub fn set_error_shape(&self, shape: ErrorShape) {
        self.shared.change(|world| world.settings.error_shape = shape);
    }

    pub fn set_refund_mode(&self, mode: RefundMode) {
        self.shared.change(|world| world.settings.refunds = mode);
    }

    /// Every published timestamp is so many seconds off.
    pub fn set_clock_skew(&self, secs: i64) {
        self.shared.change(|world| world.settings.clock_skew_secs = secs);
    }

    pub fn settings(&self) -> Settings {
        self.shared.read(|world| world.settings.clone())
    }

    pub fn set_settings(&self, settings: Settings) {
        self.shared.change(|world| world.settings = settings);
    }

    /// With `Some`, payouts draw on it and fail when it does not suffice; with `None` (default) nothing is checked.
    pub fn set_balance(&self, currency: &str, payout_balance: Option<i64>) {
        self.shared.change(|world| world.set_payout_balance(true, currency, payout_balance));
    }

    pub fn set_fault(&self, fault: Fault) {
        let mistake = fault.check().err();
        assert_eq!(mistake, None, "such a fault can never strike");
        self.shared.faults(|faults| {
            assert!(!faults.hide(&fault), "{fault:?} never strikes: another one always does, clear it first");
            faults.add(fault);
        });
    }

    pub fn clear_faults(&self) {
        self.shared.faults(|faults| faults.clear());
    }

    /// Those that have not struck as often as they should yet.
    pub fn active_faults(&self) -> Vec<Fault> {
        self.shared.faults(|faults| faults.active().to_vec())
    }

    /// The calls of the API, oldest first; the newest 10,000.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls()
    }

    pub fn totals(&self, currency: &str) -> Totals {
        self.shared.read(|world| world.totals(true, currency))
    }

    /// Every event raised, oldest first; the newest 20,000.
    pub fn events(&self) -> Vec<Event> {
        let (key, raised) = self.shared.read(|world| {
            let key = world.webhook_key(self.shared.configured_key.as_ref()).clone();
            (key, world.events().cloned().collect::<Vec<_>>())
        });
        let event = |raised: crate::world::RaisedEvent| Event {
            at: raised.at,
            signature: key.sign(raised.body.as_bytes()),
            event_type: raised.event_type,
            object_id: raised.object_id,
            is_test: raised.is_test,
            body: raised.body.to_string(),
        };
        raised.into_iter().map(event).collect()
    }

    /// `X-Signature` for `body` with the key of the first test webhook.
    pub fn sign(&self, body: &[u8]) -> String {
        let key = self.shared.read(|world| world.webhook_key(self.shared.configured_key.as_ref()).clone());
        key.sign(body)
    }

    /// `X-Signature` for `body` with the company key, which no webhook uses.
    pub fn sign_other(&self, body: &[u8]) -> String {
        self.shared.change(|world| world.company_key().clone()).sign(body)
    }

    /// Stops serving and sending, saves the state. Deliveries in flight are due again at the next start.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        if let Some(path) = self.shared.options.state_file.clone()
            && let Err(error) = store::save(&self.shared, &path)
        {
            tracing::error!(%error, path = %path.display(), "cannot save the state");
        }
    }
}
