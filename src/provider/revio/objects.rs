//! What goes to Revio and what comes back, read leniently: unknown fields are ignored, unknown words are kept, a missing
//! optional field is empty. Facts and their certainty: `docs/provider.md`, objects.

mod destination;
mod values;

use std::collections::HashSet;

use ledger::Amount;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::platform::clock::DateTime;

pub use destination::Destination;
pub(super) use values::lenient;
pub use values::{Figure, Flag};
use values::{as_flag, as_text};

/// `sender_name` and `payment.description` are shown to the person who is paid.
const DESCRIPTION: &str = "Octoco";

pub struct NewPurchase<'a> {
    pub reference: Uuid,
    pub amount: Amount,
    pub email: &'a str,
    pub full_name: &'a str,
    /// After this moment the link cannot be paid any more (`due_strict`).
    pub due: DateTime,
    /// The page of ours to which Revio sends the payer back, whatever became of it.
    pub back: &'a str,
}

impl NewPurchase<'_> {
    /// Anybody can open these: they tell a page what to show first, and nobody what is true.
    fn redirect(&self, checkout: &str) -> String {
        format!("{}?checkout={checkout}", self.back)
    }

    pub(super) fn body(&self, brand_id: Uuid) -> Value {
        json!({
            "brand_id": brand_id,
            "reference": self.reference,
            "client": { "email": self.email, "full_name": self.full_name },
            "purchase": {
                // Always said: the default is the deployment's, not ours.
                "currency": self.amount.currency().code(),
                "products": [{ "name": "Deposit", "price": self.amount.minor(), "quantity": 1 }],
                "due_strict": true,
            },
            "due": self.due.timestamp(),
            "success_redirect": self.redirect("success"),
            "failure_redirect": self.redirect("failure"),
            "cancel_redirect": self.redirect("cancelled"),
            "send_receipt": false,
        })
    }
}

pub struct NewPayout<'a> {
    pub reference: Uuid,
    pub amount: Amount,
    pub email: &'a str,
    pub account_holder: &'a str,
    pub account_number: &'a str,
    pub branch_code: &'a str,
}

impl NewPayout<'_> {
    pub(super) fn body(&self, brand_id: Uuid) -> Value {
        json!({
            "brand_id": brand_id,
            "reference": self.reference,
            "client": {
                "email": self.email,
                "full_name": self.account_holder,
                "bank_account": self.account_number,
                "bank_code": self.branch_code,
            },
            "payment": {
                "amount": self.amount.minor(),
                "currency": self.amount.currency().code(),
                "description": DESCRIPTION,
            },
            "sender_name": DESCRIPTION,
        })
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Purchase {
    pub id: Uuid,
    pub status: PurchaseStatus,
    #[serde(default, deserialize_with = "as_text")]
    pub reference: String,
    #[serde(default, deserialize_with = "as_flag")]
    pub is_test: Flag,
    #[serde(default, deserialize_with = "as_text")]
    pub brand_id: String,
    /// What its payer is asked for.
    #[serde(default, rename = "purchase", deserialize_with = "lenient")]
    pub bill: Option<Bill>,
    /// Null until money was taken.
    #[serde(default, deserialize_with = "lenient")]
    pub payment: Option<PaymentDetails>,
    /// Somebody pressed a button that says it was paid: no money came.
    #[serde(default)]
    pub marked_as_paid: Flag,
    /// Shrinks with each refund that succeeds.
    #[serde(default)]
    pub refundable_amount: Figure,
    /// `none`: that nothing is refundable says nothing about what was refunded.
    #[serde(default, deserialize_with = "lenient")]
    pub refund_availability: String,
    /// In Unix seconds, by Revio's clock; the second rises with each change.
    #[serde(default)]
    pub created_on: Figure,
    #[serde(default)]
    pub updated_on: Figure,
    /// Every status that it had, the latest last.
    #[serde(default, deserialize_with = "lenient")]
    pub status_history: Vec<PastStatus>,
    #[serde(default, deserialize_with = "lenient")]
    pub checkout_url: Option<String>,
    /// In Unix seconds: after that it cannot be paid.
    #[serde(default)]
    pub due: Figure,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Bill {
    #[serde(default)]
    pub total: Figure,
    #[serde(default, deserialize_with = "lenient")]
    pub currency: String,
}

impl Bill {
    /// As far as it says.
    pub fn is_another_sum(&self, asked: Amount) -> bool {
        self.total.is_another_sum(&self.currency, asked)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct PastStatus {
    pub status: PurchaseStatus,
    /// The Payment that made it so.
    #[serde(default, deserialize_with = "lenient")]
    pub related_object: Option<Related>,
}

/// A pointer from one object to another.
#[derive(Debug, Clone, Deserialize)]
pub struct Related {
    pub id: Uuid,
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    pub kind: String,
}

impl Purchase {
    /// Whether it ever was in such a state.
    pub fn ever(&self, is: impl Fn(&PurchaseStatus) -> bool) -> bool {
        is(&self.status) || self.status_history.iter().any(|past| is(&past.status))
    }

    /// The Payments by which it says that money went back, or came again after that. What it names where it was paid is that payment, there
    /// and later, and where a refund is under way nothing went back yet.
    pub fn payments(&self) -> impl Iterator<Item = Uuid> {
        let goes_back =
            |past: &PastStatus| past.status.is_refunded() || matches!(past.status, PurchaseStatus::ChargedBack(_));
        let first = self.status_history.iter().position(goes_back).unwrap_or(self.status_history.len());
        let (before, since) = self.status_history.split_at(first);
        let paid = |id: Uuid| {
            before
                .iter()
                .filter(|past| matches!(past.status, PurchaseStatus::Paid(_)))
                .any(|past| past.related_object.as_ref().is_some_and(|related| related.id == id))
        };
        let done =
            since.iter().filter(|past| !matches!(&past.status, PurchaseStatus::Refunded(word) if word != "refunded"));
        let related = done.filter_map(|past| past.related_object.as_ref());
        let payments =
            related.filter(|related| matches!(related.kind.as_str(), "payment" | "")).map(|related| related.id);
        payments.filter(move |id| !paid(*id))
    }

    /// What the purchase became by a Payment, each time that it names it; the last is how it stands.
    pub fn became_by(&self, payment: Uuid) -> impl Iterator<Item = &PurchaseStatus> {
        let by = move |past: &&PastStatus| past.related_object.as_ref().is_some_and(|related| related.id == payment);
        self.status_history.iter().filter(by).map(|past| &past.status)
    }

    /// How many refunds its history tells of for certain; one that it names twice is one. Where it names none, one that was under way may have
    /// failed and left the purchase as it was, refunded before. What it says from a chargeback on, until it is paid again, may be the
    /// chargeback's own.
    pub fn refunds(&self) -> usize {
        let (mut named, mut unnamed) = (HashSet::new(), 0_usize);
        let (mut was_refunded, mut is_under_way, mut is_charged_back) = (false, false, false);
        for past in &self.status_history {
            match past.status {
                PurchaseStatus::ChargedBack(_) => is_charged_back = true,
                PurchaseStatus::Paid(_) => is_charged_back = false,
                _ => {}
            }
            if past.status.is_refunded() && !is_charged_back {
                match &past.related_object {
                    Some(related) => _ = named.insert(related.id),
                    None if was_refunded && is_under_way => {}
                    None => unnamed = unnamed.saturating_add(1),
                }
                was_refunded = true;
            }
            is_under_way = matches!(&past.status, PurchaseStatus::Refunded(word) if word == "pending_refund");
        }
        named.len().saturating_add(unnamed)
    }

    /// By its own word the payer's bank has given back what it took.
    pub fn is_won_back(&self) -> bool {
        matches!(&self.status, PurchaseStatus::Paid(word) if word != "retrieved") && self.was_charged_back()
    }

    /// How often its history begins to call it charged back.
    pub fn chargebacks(&self) -> usize {
        let is =
            |past: Option<&PastStatus>| past.is_some_and(|past| matches!(past.status, PurchaseStatus::ChargedBack(_)));
        let before = std::iter::once(None).chain(self.status_history.iter().map(Some));
        before.zip(&self.status_history).filter(|(before, past)| is(Some(past)) && !is(*before)).count()
    }

    pub fn was_charged_back(&self) -> bool {
        self.ever(|status| matches!(status, PurchaseStatus::ChargedBack(_)))
    }

    /// The sum of what was refunded of `paid` so far, where the purchase says it: of one that was never refunded, whose refunds are not
    /// enabled, or of which a chargeback has taken something, what is left to refund says nothing about that.
    pub fn refunded(&self, paid: i64) -> Option<i64> {
        let settled = self.status.is_refunded() || matches!(self.status, PurchaseStatus::Paid(_));
        let was_refunded = self.ever(PurchaseStatus::is_refunded);
        let says = settled && !self.was_charged_back() && was_refunded && self.refund_availability != "none";
        let left = self.refundable_amount.whole().filter(|_| says)?;
        Some(paid.saturating_sub(left.clamp(0, paid)))
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct PaymentDetails {
    #[serde(default)]
    pub is_outgoing: Flag,
    #[serde(default)]
    pub amount: Figure,
    #[serde(default, deserialize_with = "lenient")]
    pub currency: String,
    #[serde(default)]
    pub fee_amount: Figure,
    #[serde(default, deserialize_with = "lenient")]
    pub payment_type: String,
}

/// A Payment: the object of a refund, a chargeback, or the reversal of one.
#[derive(Debug, Clone, Deserialize)]
pub struct Payment {
    pub id: Uuid,
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    #[serde(default, deserialize_with = "lenient")]
    pub payment: Option<PaymentDetails>,
    #[serde(default, deserialize_with = "lenient")]
    pub related_to: Option<Related>,
    #[serde(default)]
    pub created_on: Figure,
    #[serde(default)]
    pub updated_on: Figure,
}

impl Payment {
    /// The purchase that it changes.
    pub fn purchase_id(&self) -> Option<Uuid> {
        self.related_to.as_ref().filter(|related| related.kind == "purchase").map(|related| related.id)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Payout {
    #[serde(default)] // Nil where the answer of an execution says no more than its status.
    pub id: Uuid,
    pub status: PayoutStatus,
    #[serde(default, deserialize_with = "as_text")]
    pub reference: String,
    #[serde(default, deserialize_with = "as_flag")]
    pub is_test: Flag,
    #[serde(default, deserialize_with = "as_text")]
    pub brand_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub payment: Option<PaymentDetails>,
    #[serde(default, deserialize_with = "lenient")]
    pub client: Destination,
    #[serde(default, deserialize_with = "lenient")]
    pub execution_url: Option<String>,
    /// Every status that it had, the latest last.
    #[serde(default, deserialize_with = "lenient")]
    pub status_history: Vec<PastPayoutStatus>,
    #[serde(default)]
    pub updated_on: Figure,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PastPayoutStatus {
    pub status: PayoutStatus,
}

impl Payout {
    /// Whether it ever was paid, as far as this answer tells.
    pub fn was_paid(&self) -> bool {
        self.status == PayoutStatus::Success
            || self.status_history.iter().any(|past| past.status == PayoutStatus::Success)
    }
}

/// Every status that any version of the platform is known to use; a new word is kept, never an error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum PurchaseStatus {
    /// Nothing is decided yet; a failed attempt (`error`) is among these, because the payer may try again.
    Open(String),
    /// The money was taken: `paid`, `cleared`, `settled`.
    Paid(String),
    Expired,
    Cancelled,
    /// The money was taken and some or all of it went back.
    Refunded(String),
    /// The payer's bank took the money back; both spellings occur.
    ChargedBack(String),
    Unknown(String),
}

impl From<String> for PurchaseStatus {
    fn from(word: String) -> Self {
        match word.as_str() {
            "created" | "sent" | "viewed" | "error" | "blocked" | "overdue" | "pending_execute" | "pending_charge"
            | "hold" | "pending_capture" | "pending_release" | "released" | "preauthorized" => Self::Open(word),
            // A retrieval request is a question of the payer's bank; the money is still here.
            "paid" | "cleared" | "settled" | "retrieved" => Self::Paid(word),
            "expired" => Self::Expired,
            "cancelled" => Self::Cancelled,
            "pending_refund" | "refunded" => Self::Refunded(word),
            "chargeback" | "charged_back" => Self::ChargedBack(word),
            _ => Self::Unknown(word),
        }
    }
}

impl PurchaseStatus {
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Some or all of it is back; where a refund is under way it is not.
    pub fn is_refunded(&self) -> bool {
        matches!(self, Self::Refunded(word) if word == "refunded")
    }

    /// Money was taken, whatever happened to it since.
    pub fn means_paid(&self) -> bool {
        matches!(self, Self::Paid(_) | Self::Refunded(_) | Self::ChargedBack(_))
    }

    pub fn word(&self) -> &str {
        match self {
            Self::Open(word)
            | Self::Paid(word)
            | Self::Refunded(word)
            | Self::ChargedBack(word)
            | Self::Unknown(word) => word,
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum PayoutStatus {
    /// Registered; no money moves before the execution.
    Initialized,
    /// Accepted; may take 3 to 5 days.
    Pending,
    /// Paid. The documents call it `success` in one place and `executed` in another.
    Success,
    /// The execution failed. Revio would let it be tried again, so it is final only because we do not.
    Error,
    /// An error of what was paid before, by this answer or an earlier one (`provider_objects`): the money may have come back, or not.
    Returned,
    Unknown(String),
}

impl From<String> for PayoutStatus {
    fn from(word: String) -> Self {
        match word.as_str() {
            "initialized" | "created" => Self::Initialized,
            "pending" => Self::Pending,
            "success" | "executed" => Self::Success,
            "error" | "failed" => Self::Error,
            _ => Self::Unknown(word),
        }
    }
}

impl PayoutStatus {
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    pub fn word(&self) -> &str {
        match self {
            Self::Initialized => "initialized",
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Error | Self::Returned => "error",
            Self::Unknown(word) => word,
        }
    }
}
