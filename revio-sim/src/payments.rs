//! Payments: the objects of refunds and chargebacks, each with an id of its own and `related_to` its purchase. Called by the
//! refund endpoint, `Sim` and delayed effects.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::errors::{ApiError, SimError};
use crate::purchases::arrows::Moved;
use crate::purchases::{Purchase, PurchaseStatus};
use crate::settings::{RefundMode, Settings};
use crate::world::{Effect, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Refund,
    Chargeback,
    ChargebackReversal,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payment {
    id: Uuid,
    serial: u64,
    kind: Kind,
    created_on: i64,
    amount: i64,
    currency: String,
    purchase_id: Uuid,
}

/// A purchase is refunded at most once in this time (DOC-R).
const REFUND_LOCK_SECS: i64 = 60;

impl World {
    /// The refund endpoint: answers with a Payment, or with the Purchase in `pending_refund` (DOC-R, R-REF and P-RFD).
    pub(crate) fn refund_purchase(
        &mut self,
        id: Uuid,
        is_test: Option<bool>,
        amount: Option<i64>,
    ) -> Result<Value, ApiError> {
        let (now, mode) = (self.now, self.settings.refunds);
        let purchase = self.purchase_mut(id, is_test).ok_or_else(ApiError::not_found)?;
        let amount = check_refund(purchase, amount, now)?;
        if mode == RefundMode::Off {
            return Err(ApiError::refused("purchase_refund_error", "Refund failed."));
        }
        purchase.refunded_on = Some(now);
        purchase.refunding = Some(amount);
        let delayed = match mode {
            RefundMode::Sync | RefundMode::Off => return Ok(self.finish_refund(id, amount)),
            RefundMode::Pending => None,
            RefundMode::PendThenComplete { secs } => Some(secs),
        };
        self.move_purchase(id, Moved::PendingRefund, None);
        if let Some(secs) = delayed {
            self.later(secs, Effect::CompleteRefund(id));
        }
        Ok(self.announce_purchase(id, "purchase.pending_refund"))
    }

    /// The acquirer has done it: `payment.refunded` follows.
    pub(crate) fn complete_refund(&mut self, id: Uuid) -> Result<(), SimError> {
        let purchase = self.purchases.get(&id).ok_or(SimError::NotFound)?;
        let nothing = || SimError::Refused("no refund is pending".to_owned());
        let amount = purchase.refunding.ok_or_else(nothing)?;
        self.finish_refund(id, amount);
        Ok(())
    }

    fn finish_refund(&mut self, id: Uuid, amount: i64) -> Value {
        let Some(purchase) = self.purchases.get_mut(&id) else { return Value::Null };
        purchase.refunding = None;
        purchase.refunded += amount;
        let (is_test, currency) = (purchase.is_test, purchase.received_currency().to_owned());
        self.totals_mut(is_test, &currency).refunded += amount;
        self.register(id, Kind::Refund, amount, Moved::Refunded)
    }

    /// The payer's bank takes the rest of the money back.
    pub(crate) fn charge_back(&mut self, id: Uuid) -> Result<(), SimError> {
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        let amount = purchase.refundable();
        if amount <= 0 || purchase.refunding.is_some() {
            return Err(SimError::Refused(format!("a purchase in {:?} has nothing to charge back", purchase.status)));
        }
        let (is_test, currency) = (purchase.is_test, purchase.received_currency().to_owned());
        self.totals_mut(is_test, &currency).charged_back += amount;
        self.register(id, Kind::Chargeback, amount, Moved::ChargedBack(amount));
        Ok(())
    }

    /// The dispute is won: the money comes back as one more Payment (INF: with an id of its own).
    pub(crate) fn reverse_charge_back(&mut self, id: Uuid) -> Result<(), SimError> {
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        let amount = purchase.charged_back();
        if amount <= 0 {
            return Err(SimError::Refused("the purchase is not charged back".to_owned()));
        }
        let (is_test, currency) = (purchase.is_test, purchase.received_currency().to_owned());
        self.totals_mut(is_test, &currency).charged_back -= amount;
        self.register(id, Kind::ChargebackReversal, amount, Moved::ChargebackReversed(amount));
        Ok(())
    }

    /// Stores the Payment, moves the purchase and raises the payment's event.
    fn register(&mut self, purchase_id: Uuid, kind: Kind, amount: i64, moved: Moved) -> Value {
        let id = Uuid::new_v4();
        self.move_purchase(purchase_id, moved, Some(id));
        let serial = self.next_serial();
        let Some(purchase) = self.purchases.get(&purchase_id) else { return Value::Null };
        let currency = purchase.received_currency().to_owned();
        let payment = Payment { id, serial, kind, created_on: self.now, amount, currency, purchase_id };
        let view = payment.view(purchase, &self.settings);
        let is_test = purchase.is_test;
        self.payments.insert(id, payment);
        self.raise(kind.event_type(), is_test, &view);
        view
    }

    /// The Payments of one purchase, oldest first, for the control API.
    pub(crate) fn payments_of(&self, purchase_id: Uuid) -> Vec<Value> {
        let Some(purchase) = self.purchases.get(&purchase_id) else { return Vec::new() };
        let mut found: Vec<&Payment> =
            self.payments.values().filter(|payment| payment.purchase_id == purchase_id).collect();
        found.sort_by_key(|payment| payment.serial);
        found.into_iter().map(|payment| payment.view(purchase, &self.settings)).collect()
    }
}

/// The five documented refusals (DOC-R, P-RFD); their order is guessed. `purchase_refund_error` is the caller's.
fn check_refund(purchase: &Purchase, amount: Option<i64>, now: i64) -> Result<i64, ApiError> {
    if !matches!(purchase.status, PurchaseStatus::Paid | PurchaseStatus::Refunded) {
        return Err(ApiError::refused("purchase_refund_wrong_status", "The purchase has the wrong status."));
    }
    if purchase.refundable() <= 0 {
        return Err(ApiError::refused("purchase_already_fully_refunded", "The purchase is already fully refunded."));
    }
    if purchase.refunded_on.is_some_and(|last| now - last < REFUND_LOCK_SECS) {
        return Err(ApiError::refused("purchase_refund_timeout", "The purchase was refunded less than 60 s ago."));
    }
    let amount = amount.unwrap_or_else(|| purchase.refundable());
    if amount > purchase.refundable() {
        return Err(ApiError::refused("purchase_refund_amount_too_large", "The amount is too large."));
    }
    if amount <= 0 {
        return Err(ApiError::refused("purchase_refund_error", "The amount must be positive."));
    }
    Ok(amount)
}

impl Kind {
    fn event_type(self) -> &'static str {
        match self {
            Kind::Refund => "payment.refunded",
            Kind::Chargeback => "payment.charged_back",
            Kind::ChargebackReversal => "payment.chargeback_reversed",
        }
    }
}

impl Payment {
    /// Refund: DOC-R by example (P-RFD). That chargebacks look the same, with type `custom`, is INF.
    fn view(&self, purchase: &Purchase, settings: &Settings) -> Value {
        let at = self.created_on + settings.clock_skew_secs;
        json!({
            "id": self.id,
            "type": "payment",
            "status": "success",
            "created_on": at,
            "updated_on": at,
            "is_test": purchase.is_test,
            "client": purchase.echoed("client"),
            "payment": {
                "is_outgoing": self.kind != Kind::ChargebackReversal,
                "payment_type": if self.kind == Kind::Refund { "refund" } else { "custom" },
                "amount": self.amount,
                "currency": self.currency,
                "net_amount": self.amount,
                "fee_amount": 0,
                "pending_amount": 0,
                "pending_unfreeze_on": null,
                "description": "",
                "paid_on": at,
                "remote_paid_on": at,
            },
            "related_to": {"type": "purchase", "id": purchase.id, "reference": purchase.reference},
            "transaction_data": purchase.transaction_data(),
            "reference": "",
            "reference_generated": self.serial.to_string(),
            "brand_id": purchase.echoed("brand_id"),
            "company_id": purchase.echoed("company_id"),
            "user_id": null,
        })
    }
}
