//! Registered webhooks: where events of one mode go, each with a key pair of its own. Called by the API and `Sim`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::errors::ApiError;
use crate::fields::{At, Checker};
use crate::keys::SigningKey;
use crate::outbox::Endpoint;
use crate::world::World;

/// What a test needs to know of a webhook that it registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    pub id: Uuid,
    pub callback: String,
    /// PEM, SPKI.
    pub public_key: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct WebhookRecord {
    pub(crate) id: Uuid,
    pub(crate) is_test: bool,
    title: String,
    pub(crate) callback: String,
    events: Vec<String>,
    all_events: bool,
    created_on: i64,
    updated_on: i64,
    pub(crate) key: SigningKey,
    retired: Option<RetiredKey>,
}

/// After a rotation the old key goes on signing for a while.
#[derive(Clone, Serialize, Deserialize)]
struct RetiredKey {
    key: SigningKey,
    deliveries_left: u32,
}

/// The union of all published lists; an unknown one is refused at registration (INF).
const EVENT_TYPES: [&str; 29] = [
    "purchase.created",
    "purchase.viewed",
    "purchase.paid",
    "purchase.payment_failure",
    "purchase.cancelled",
    "purchase.pending_execute",
    "purchase.pending_charge",
    "purchase.hold",
    "purchase.captured",
    "purchase.pending_capture",
    "purchase.capture_failure",
    "purchase.released",
    "purchase.pending_release",
    "purchase.release_failure",
    "purchase.preauthorized",
    "purchase.settled",
    "purchase.recurring_token_deleted",
    "purchase.pending_recurring_token_delete",
    "purchase.subscription_charge_failure",
    "purchase.pending_refund",
    "purchase.refund_failure",
    "payment.refunded",
    "payment.charged_back",
    "payment.chargeback_reversed",
    "payout.created",
    "payout.pending",
    "payout.success",
    "payout.failed",
    "billing_template_client.subscription_billing_cancelled",
];

impl WebhookRecord {
    pub(crate) fn wants(&self, event_type: &str) -> bool {
        self.all_events || self.events.iter().any(|wanted| wanted == event_type)
    }

    /// The key of the next delivery.
    pub(crate) fn take_key(&mut self) -> SigningKey {
        match &mut self.retired {
            Some(old) if old.deliveries_left > 0 => {
                old.deliveries_left -= 1;
                old.key.clone()
            }
            _ => self.key.clone(),
        }
    }

    pub(crate) fn summary(&self) -> Webhook {
        let public_key = self.key.public_pem().to_owned();
        Webhook { id: self.id, callback: self.callback.clone(), public_key }
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "type": "webhook",
            "title": self.title,
            "callback": self.callback,
            "events": self.events,
            "all_events": self.all_events,
            "public_key": self.key.public_pem(),
            "created_on": self.created_on,
            "updated_on": self.updated_on,
        })
    }
}

impl World {
    /// `key` is made by the caller before the lock is taken: generating one is slow.
    pub(crate) fn create_webhook(
        &mut self,
        is_test: bool,
        body: &Map<String, Value>,
        key: SigningKey,
    ) -> Result<Value, ApiError> {
        let (title, callback, events, all_events) = parse_webhook(body)?;
        let webhook = WebhookRecord {
            id: Uuid::new_v4(),
            is_test,
            title,
            callback,
            events,
            all_events,
            created_on: self.now,
            updated_on: self.now,
            key,
            retired: None,
        };
        let view = webhook.view();
        self.webhooks.push(webhook);
        Ok(view)
    }

    /// All events, test mode: what nearly every test wants.
    pub(crate) fn register_webhook(&mut self, callback: &str, key: SigningKey) -> Webhook {
        let webhook = WebhookRecord {
            id: Uuid::new_v4(),
            is_test: true,
            title: "registered by the simulator's owner".to_owned(),
            callback: callback.to_owned(),
            events: Vec::new(),
            all_events: true,
            created_on: self.now,
            updated_on: self.now,
            key,
            retired: None,
        };
        let summary = webhook.summary();
        self.webhooks.push(webhook);
        summary
    }

    pub(crate) fn webhook_views(&self, is_test: bool) -> Vec<Value> {
        self.webhooks.iter().filter(|webhook| webhook.is_test == is_test).map(WebhookRecord::view).collect()
    }

    pub(crate) fn webhook_view(&self, id: Uuid, is_test: bool) -> Result<Value, ApiError> {
        let found = self.webhooks.iter().find(|webhook| webhook.id == id && webhook.is_test == is_test);
        found.map(WebhookRecord::view).ok_or_else(ApiError::not_found)
    }

    /// `PUT` replaces, `PATCH` merges; the key stays.
    pub(crate) fn update_webhook(
        &mut self,
        (id, is_test): (Uuid, bool),
        body: &Map<String, Value>,
        merge: bool,
    ) -> Result<Value, ApiError> {
        let now = self.now;
        let found = self.webhooks.iter_mut().find(|webhook| webhook.id == id && webhook.is_test == is_test);
        let webhook = found.ok_or_else(ApiError::not_found)?;
        let mut wanted = if merge { webhook.view().as_object().cloned().unwrap_or_default() } else { Map::new() };
        wanted.extend(body.clone());
        let (title, callback, events, all_events) = parse_webhook(&wanted)?;
        webhook.title = title;
        webhook.callback = callback;
        webhook.events = events;
        webhook.all_events = all_events;
        webhook.updated_on = webhook.updated_on.max(now);
        Ok(webhook.view())
    }

    pub(crate) fn delete_webhook(&mut self, id: Uuid, is_test: bool) -> Result<(), ApiError> {
        let before = self.webhooks.len();
        self.webhooks.retain(|webhook| webhook.id != id || webhook.is_test != is_test);
        if self.webhooks.len() == before {
            return Err(ApiError::not_found());
        }
        self.outbox.forget(&Endpoint::Webhook(id));
        Ok(())
    }

    /// Publishes `key`; the next `old_for` deliveries are still signed with the old one. Rotation is not documented (?).
    pub(crate) fn rotate_webhook_key(&mut self, id: Uuid, key: SigningKey, old_for: u32) -> Option<Webhook> {
        let webhook = self.webhooks.iter_mut().find(|webhook| webhook.id == id)?;
        let old = std::mem::replace(&mut webhook.key, key);
        webhook.retired = Some(RetiredKey { key: old, deliveries_left: old_for });
        Some(webhook.summary())
    }
}

type Parsed = (String, String, Vec<String>, bool);

fn parse_webhook(body: &Map<String, Value>) -> Result<Parsed, ApiError> {
    let mut checker = Checker::default();
    let top = At { object: body, path: "" };
    let title = checker.required_text(&top, "title", 100);
    let callback = checker.url(&top, "callback");
    if callback.is_empty() {
        checker.required(&top, "callback");
    }
    let events = checker.texts(&top, "events").unwrap_or_default();
    let all_events = checker.flag(&top, "all_events");
    if events.is_empty() && !all_events {
        checker.required(&top, "events");
    }
    if let Some(unknown) = events.iter().find(|event| !EVENT_TYPES.contains(&event.as_str())) {
        checker.complain(&top, "events", "invalid_choice", &format!("\"{unknown}\" is not a valid choice."));
    }
    checker.finish((title, callback, events, all_events))
}
