//! A purchase: Revio's object for money coming in, its states and how it looks on the wire. The transitions are in
//! `purchases/arrows.rs`, reading a create request in `purchases/request.rs`.
//!
//! ```text
//! created -> viewed -> pending_execute -> paid -> pending_refund -> refunded
//!   any unpaid -> error -> paid              a failed attempt is not final
//!   any unpaid -> overdue -> paid            due_strict = false
//!   any unpaid -> expired -> (rarely) paid   due_strict = true
//!   any unpaid -> cancelled
//! paid -> cleared -> settled                 later stages, the true fee with the last one
//! pending_refund, refunded -> as before      a refund that fails
//! skip_capture: -> hold -> paid | released      paid -> charged_back -> paid
//! ```

pub(crate) mod arrows;
pub(crate) mod request;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub use arrows::Pay;

use crate::settings::{FeeAtPaid, Settings};
use crate::statements::Line;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PurchaseStatus {
    Created,
    Viewed,
    Error,
    PendingExecute,
    Hold,
    Released,
    Paid,
    Cleared,
    Settled,
    Overdue,
    Expired,
    Cancelled,
    PendingRefund,
    Refunded,
    ChargedBack,
}

use PurchaseStatus::{
    Cancelled, ChargedBack, Cleared, Created, Error, Expired, Hold, Overdue, Paid, PendingExecute, PendingRefund,
    Refunded, Released, Settled, Viewed,
};

impl PurchaseStatus {
    fn word(self, settings: &Settings) -> &'static str {
        match self {
            Created => "created",
            Viewed => "viewed",
            Error => "error",
            PendingExecute => "pending_execute",
            Hold => "hold",
            Released => "released",
            Paid => "paid",
            Cleared => "cleared",
            Settled => "settled",
            Overdue => "overdue",
            Expired => "expired",
            Cancelled => "cancelled",
            PendingRefund => "pending_refund",
            Refunded => "refunded",
            ChargedBack if settings.old_chargeback_word => "chargeback",
            ChargedBack => "charged_back",
        }
    }

    /// May the payer start an attempt on the hosted page?
    pub(crate) fn is_payable(self) -> bool {
        matches!(self, Created | Viewed | Error | Overdue)
    }

    /// Does passing `due` change it? An attempt under way does not expire: that is how `paid` follows `expired` (DOC-S).
    fn can_expire(self) -> bool {
        matches!(self, Created | Viewed | Error)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct HistoryEntry {
    status: PurchaseStatus,
    timestamp: i64,
    payment: Option<Uuid>,
    // As it stood then, for stale reads.
    #[serde(default)]
    refunded: i64,
    #[serde(default)]
    charged_back: i64,
    #[serde(default)]
    fee: Option<i64>,
}

/// What a payer paid.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Received {
    amount: i64,
    currency: String,
    /// `None` until it is taken.
    fee: Option<i64>,
    #[serde(default)]
    fee_to_come: i64,
    paid_on: i64,
    method: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Purchase {
    pub(crate) id: Uuid,
    pub(crate) serial: u64,
    pub(crate) is_test: bool,
    pub(crate) status: PurchaseStatus,
    created_on: i64,
    updated_on: i64,
    viewed_on: Option<i64>,
    history: Vec<HistoryEntry>,
    pub(crate) reference: String,
    pub(crate) currency: String,
    pub(crate) total: i64,
    pub(crate) due: i64,
    due_strict: bool,
    skip_capture: bool,
    success_callback: String,
    checkout_url: String,
    /// The fields that are echoed as they were sent, as JSON text: an eighth of the memory of the parsed tree.
    echo: Box<str>,
    received: Option<Received>,
    marked_as_paid: bool,
    /// Newest first.
    attempts: Vec<Value>,
    pub(crate) refunded: i64,
    /// The amount of a refund in `pending_refund`.
    pub(crate) refunding: Option<i64>,
    pub(crate) refunded_on: Option<i64>,
    pub(crate) charged_back: i64,
}

impl Purchase {
    /// Moves to `status` at `now`; `updated_on` never goes back.
    pub(crate) fn enter(&mut self, status: PurchaseStatus, now: i64) {
        self.enter_for(status, now, None);
    }

    /// On behalf of a refund's or chargeback's Payment.
    pub(crate) fn enter_for(&mut self, status: PurchaseStatus, now: i64, payment: Option<Uuid>) {
        self.updated_on = self.updated_on.max(now);
        self.status = status;
        self.history.push(HistoryEntry {
            status,
            timestamp: self.updated_on,
            payment,
            refunded: self.refunded,
            charged_back: self.charged_back,
            fee: self.received.as_ref().and_then(|paid| paid.fee),
        });
    }

    /// `overdue` and `expired` are functions of the clock; nothing announces them (there is no event, DOC-S).
    pub(crate) fn catch_up(&mut self, now: i64) {
        if self.status.can_expire() && now > self.due {
            self.enter(if self.due_strict { Expired } else { Overdue }, self.due);
        }
    }

    pub(crate) fn refundable(&self) -> i64 {
        self.money_received() - self.refunded - self.charged_back
    }

    pub(crate) fn money_received(&self) -> i64 {
        if self.marked_as_paid { 0 } else { self.received.as_ref().map_or(0, |paid| paid.amount) }
    }

    /// What has come of it: currency, amount, and the fee that was taken; `None` before that, and where no money came.
    pub(crate) fn taken(&self) -> Option<(&str, i64, i64)> {
        let received = self.received.as_ref().filter(|_| !self.marked_as_paid && self.status != Hold)?;
        Some((&received.currency, received.amount, received.fee.unwrap_or(0)))
    }

    /// As a statement has it.
    pub(crate) fn line(&self, settings: &Settings) -> Option<Line> {
        let (currency, amount, fee) = self.taken()?;
        let client = self.echoed("client");
        let text = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
        Some(Line {
            id: self.id.to_string(),
            reference: self.reference.clone(),
            product: "purchase".to_owned(),
            status: self.status.word(settings).to_owned(),
            currency: currency.to_owned(),
            amount,
            fee,
            created_on: self.created_on,
            paid_on: self.received.as_ref()?.paid_on,
            updated_on: self.updated_on,
            related_id: String::new(),
            name: text("full_name"),
            email: text("email"),
        })
    }

    /// The stage of its payment, whatever came after it.
    pub(crate) fn paid_status(&self) -> PurchaseStatus {
        let mut stages = self.history.iter().rev().map(|entry| entry.status);
        stages.find(|status| matches!(status, Paid | Cleared | Settled)).unwrap_or(Paid)
    }

    /// Where it is once a refund or chargeback is undone (?).
    pub(crate) fn status_undone(&self) -> PurchaseStatus {
        match (self.charged_back, self.refunded) {
            (0, 0) => self.paid_status(),
            (0, _) => Refunded,
            _ => ChargedBack,
        }
    }

    /// As it was at `then`; `None` if it has not changed since.
    fn as_of(&self, then: i64) -> Option<Purchase> {
        if self.updated_on <= then {
            return None;
        }
        let mut past = self.clone();
        let kept = past.history.iter().filter(|entry| entry.timestamp <= then).count();
        past.history.truncate(kept.max(1));
        let last = past.history.last()?.clone();
        (past.status, past.updated_on) = (last.status, last.timestamp);
        (past.refunded, past.charged_back) = (last.refunded, last.charged_back);
        past.viewed_on = past.viewed_on.filter(|at| *at <= then);
        past.attempts.retain(|attempt| attempt["processing_time"].as_i64().is_none_or(|at| at <= then));
        past.received =
            past.received.filter(|paid| paid.paid_on <= then).map(|paid| Received { fee: last.fee, ..paid });
        past.marked_as_paid &= past.received.is_some();
        Some(past)
    }

    pub(crate) fn view(&self, settings: &Settings) -> Value {
        let skew = settings.clock_skew_secs;
        let once = settings.refunds_only_once && self.refunded > 0;
        let refundable = if once { 0 } else { self.refundable().max(0) };
        // Stored by `request.rs` from a map, so it parses to one.
        let mut view: Map<String, Value> = serde_json::from_str(&self.echo).unwrap_or_default();
        let dynamic = json!({
            "id": self.id,
            "type": "purchase",
            "created_on": self.created_on + skew,
            "updated_on": self.updated_on + skew,
            "viewed_on": self.viewed_on.map(|at| at + skew),
            "status": self.status.word(settings),
            "status_history": self.history.iter().map(|entry| entry.view(settings)).collect::<Vec<_>>(),
            "is_test": self.is_test,
            "due": self.due,
            "reference": self.reference,
            "reference_generated": self.serial.to_string(),
            "skip_capture": self.skip_capture,
            "success_callback": self.success_callback,
            "checkout_url": self.checkout_url,
            "payment": self.received.as_ref().map(|paid| paid.view(self.marked_as_paid, settings)),
            "marked_as_paid": self.marked_as_paid,
            "transaction_data": self.transaction_data(),
            "refundable_amount": refundable,
            "refund_availability": if refundable > 0 && self.status != PendingRefund { "all" } else { "none" },
            "currency_conversion": self.currency_conversion(),
        });
        if let Value::Object(dynamic) = dynamic {
            view.extend(dynamic);
        }
        Value::Object(view)
    }

    /// The part of a refund's or chargeback's Payment that is copied from its purchase.
    pub(crate) fn echoed(&self, name: &str) -> Value {
        let mut echo: Map<String, Value> = serde_json::from_str(&self.echo).unwrap_or_default();
        echo.remove(name).unwrap_or_default()
    }

    pub(crate) fn transaction_data(&self) -> Value {
        let method = self.received.as_ref().map_or("", |paid| paid.method.as_str());
        json!({"flow": "payform", "extra": {}, "country": "", "attempts": self.attempts, "payment_method": method})
    }

    /// INF: the specification has the field, no public sample shows it filled.
    fn currency_conversion(&self) -> Value {
        match &self.received {
            Some(paid) if paid.currency != self.currency => {
                json!({"original_currency": self.currency, "original_amount": self.total, "exchange_rate": 1})
            }
            _ => Value::Null,
        }
    }
}

impl HistoryEntry {
    fn view(&self, settings: &Settings) -> Value {
        let mut view = json!({
            "status": self.status.word(settings),
            "timestamp": self.timestamp + settings.clock_skew_secs,
        });
        if let Some(payment) = self.payment {
            view["related_object"] = json!({"type": "payment", "id": payment});
        }
        view
    }
}

impl Received {
    /// INF: a purchase marked as paid by an operator shows a `custom` payment; only the flag gives it away.
    fn view(&self, marked_as_paid: bool, settings: &Settings) -> Value {
        let unnamed = if settings.fee_at_paid == FeeAtPaid::Null { Value::Null } else { 0.into() };
        json!({
            "is_outgoing": false,
            "payment_type": if marked_as_paid { "custom" } else { "purchase" },
            "amount": self.amount,
            "currency": self.currency,
            "net_amount": self.amount - self.fee.unwrap_or(0),
            "fee_amount": self.fee.map_or(unnamed, Value::from),
            "pending_amount": 0,
            "pending_unfreeze_on": null,
            "description": "",
            "paid_on": self.paid_on,
            "remote_paid_on": self.paid_on,
        })
    }
}
