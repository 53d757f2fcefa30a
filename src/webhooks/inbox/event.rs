//! What a webhook's body says it is about. Only names, ids and times are read: states are asked for at Revio. A Payment (refund, chargeback) is
//! an object that Revio may not tell when it is asked; what it is worth is read here, from bytes that Revio has signed.

use serde_json::Value;
use uuid::Uuid;

use crate::money::provider_objects::ObjectKind;
use crate::provider::revio::Payment;
use crate::provider::revio::objects::{Figure, Flag};

/// The longest known name has 51 characters.
pub(super) const EVENT_TYPE_CHARS_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventObject {
    Purchase(Uuid),
    Payout(Uuid),
}

#[derive(Debug, Clone)]
pub struct Event {
    pub event_type: String,
    pub object: Option<EventObject>,
    pub reference: Option<Uuid>,
    pub is_test: Flag,
    pub brand_id: String,
    pub company_id: Option<Uuid>,
    /// When the object last changed at Revio, in Unix seconds: of the times in a delivery, which are all signed with it, the only one that is
    /// the event's own. When the object was made says nothing of that.
    pub changed_on: Option<i64>,
    /// The object itself is a Payment, and this is it, where it can be read.
    pub is_payment: bool,
    pub payment: Option<Payment>,
}

/// Those that Revio's lists name and we act on, for metrics: what else a signed body may say has no end.
pub const TYPES: [&str; 12] = [
    "purchase.created", "purchase.viewed", "purchase.paid", "purchase.captured", "purchase.cancelled",
    "purchase.settled", "payment.refunded", "payment.charged_back", "payment.chargeback_reversed", "payout.pending",
    "payout.success", "payout.failed",
];

/// Signed by Revio, it says that a payer's money came, or went back: of that a person must know, whatever Revio answers when it is asked.
pub fn tells_of_money(event_type: &str) -> bool {
    matches!(
        event_type,
        "purchase.paid"
            | "purchase.captured"
            | "purchase.settled"
            | "payment.refunded"
            | "payment.charged_back"
            | "payment.chargeback_reversed"
    )
}

impl Event {
    /// `None` when the body is not such an object: signed by Revio, and of no use to us.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let payload: Value = serde_json::from_slice(bytes).ok()?;
        payload.as_object()?;
        // The object itself is at the top level, with `event_type` beside its fields (`docs/provider.md`, payload). Each field is read by
        // itself: one that is odd does not hide the others.
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let id = |value: &Value, name: &str| value[name].as_str().and_then(|text| text.parse::<Uuid>().ok());
        // A payment (refund, chargeback) has an id of its own and points to the purchase that it changes.
        let whole = |name: &str| Figure::from(payload[name].clone()).whole();
        let related = &payload["related_to"];
        let is_payment = text(&payload, "type") == "payment" && related.is_object();
        let object = if is_payment { related } else { &payload };
        let (kind, object_id, reference) = (text(object, "type"), id(object, "id"), id(object, "reference"));
        let about = match (kind.as_str(), object_id) {
            ("purchase", Some(id)) => Some(EventObject::Purchase(id)),
            ("payout", Some(id)) => Some(EventObject::Payout(id)),
            _ => None,
        };
        Some(Self {
            event_type: text(&payload, "event_type")
                .chars()
                .filter(|c| !c.is_control())
                .take(EVENT_TYPE_CHARS_MAX)
                .collect(),
            object: about,
            reference,
            // What is odd is no reason to leave it: the object says it once more.
            is_test: payload["is_test"].as_bool().map_or(Flag::Unsaid, |is_test| Flag::from(Value::from(is_test))),
            brand_id: id(&payload, "brand_id").map(|id| id.to_string()).unwrap_or_default(),
            company_id: id(&payload, "company_id"),
            changed_on: whole("updated_on"),
            is_payment,
            payment: is_payment.then(|| serde_json::from_value(payload.clone()).ok()).flatten(),
        })
    }

    /// Whether it should be about something of ours, and does not say what.
    pub fn is_unreadable(&self) -> bool {
        let of_ours = ["purchase.", "payout.", "payment."].iter().any(|noun| self.event_type.starts_with(noun));
        of_ours && self.object.is_none()
    }

    /// What kind of Payment it tells of, by its own name.
    pub fn payment_kind(&self) -> Option<ObjectKind> {
        match self.event_type.as_str() {
            "payment.refunded" => Some(ObjectKind::Refund),
            "payment.charged_back" => Some(ObjectKind::Chargeback),
            "payment.chargeback_reversed" => Some(ObjectKind::ChargebackReversal),
            _ => None,
        }
    }

    pub fn object_id(&self) -> Option<Uuid> {
        match self.object {
            Some(EventObject::Purchase(id) | EventObject::Payout(id)) => Some(id),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_is_about_the_purchase_that_it_changes() {
        let body = br#"{"id": "00000000-0000-0000-0000-000000000009", "type": "payment", "is_test": true,
            "event_type": "payment.refunded",
            "related_to": {"type": "purchase", "id": "00000000-0000-0000-0000-000000000001", "reference": "x"}}"#;
        let event = Event::parse(body).expect("an event");
        assert_eq!(event.object, Some(EventObject::Purchase(Uuid::from_u128(1))));
        assert_eq!(
            (event.event_type.as_str(), event.reference, &event.is_test),
            ("payment.refunded", None, &Flag::Yes)
        );
    }

    /// Only of a Payment: its purchase points to nothing that it is made of.
    #[test]
    fn what_points_to_another_object_is_no_payment_by_that() {
        let body = br#"{"id": "00000000-0000-0000-0000-000000000001", "type": "purchase", "event_type": "purchase.paid", "updated_on": 7,
            "related_to": {"type": "purchase", "id": "00000000-0000-0000-0000-000000000002"}}"#;
        let event = Event::parse(body).expect("an event");
        assert_eq!(event.object, Some(EventObject::Purchase(Uuid::from_u128(1))));
        assert!(!event.is_payment && event.payment.is_none());
        let unnamed = br#"{"id": "?", "type": "payment", "event_type": "payment.refunded", "updated_on": 7,
            "related_to": {"type": "purchase", "id": "00000000-0000-0000-0000-000000000002"}}"#;
        let event = Event::parse(unnamed).expect("an event");
        assert!(event.is_payment && event.payment.is_none(), "when it changed is not its purchase's time");
    }

    #[test]
    fn an_object_that_we_do_not_know_is_none_of_ours() {
        let event = Event::parse(br#"{"type": "billing_template_client", "event_type": "x.y"}"#).expect("an event");
        assert_eq!(event.object, None);
        assert!(Event::parse(b"[1]").is_none());
        assert!(Event::parse(b"not json").is_none());
    }
}
