//! Payments: the objects of refunds and chargebacks, each with an id of its own and `related_to` its purchase. Called by the
//! refund endpoint, `Sim` and delayed effects.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::errors::{ApiError, SimError};
use crate::movements::{Movement, MovementKind};
use crate::purchases::{Purchase, PurchaseStatus};
use crate::settings::{RefundMode, Settings};
use crate::statements::Line;
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
    #[serde(default)]
    pub(crate) fee: i64,
    currency: String,
    purchase_id: Uuid,
    #[serde(default)]
    failed_on: Option<i64>,
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
        let ending = match mode {
            RefundMode::Sync | RefundMode::Off => {
                let payment = self.finish_refund(id, amount);
                return self.payment_view(payment, None).ok_or_else(ApiError::not_found);
            }
            RefundMode::Pending => None,
            RefundMode::PendThenComplete { secs } => Some((secs, Effect::CompleteRefund(id))),
            RefundMode::PendThenFail { secs } => Some((secs, Effect::FailRefund(id))),
        };
        purchase.enter(PurchaseStatus::PendingRefund, now);
        if let Some((secs, effect)) = ending {
            self.later(secs, effect);
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

    fn finish_refund(&mut self, id: Uuid, amount: i64) -> Uuid {
        if let Some(purchase) = self.purchases.get_mut(&id) {
            purchase.refunding = None;
        }
        self.register(id, Kind::Refund, amount)
    }

    /// The acquirer could not: the purchase is back where it was (DOC-S for the event, guessed that no Payment is left of it).
    pub(crate) fn fail_refund(&mut self, id: Uuid) -> Result<(), SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        if purchase.refunding.take().is_none() {
            return Err(SimError::Refused("no refund is pending".to_owned()));
        }
        purchase.enter(purchase.status_undone(), now);
        self.announce_purchase(id, "purchase.refund_failure");
        Ok(())
    }

    /// The payer's bank takes money back: what is left, or an amount. Banks know of no refunds, so an amount may be anything
    /// up to what was paid and is not charged back yet (INF).
    pub(crate) fn charge_back(&mut self, id: Uuid, amount: Option<i64>) -> Result<Uuid, SimError> {
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        let (amount, most) = match amount {
            Some(amount) => (amount, purchase.money_received() - purchase.charged_back),
            None if purchase.refunding.is_some() => (0, 0),
            None => (purchase.refundable(), purchase.refundable()),
        };
        if amount <= 0 || amount > most {
            return Err(SimError::Refused(format!("a purchase in {:?} has no such money", purchase.status)));
        }
        Ok(self.register(id, Kind::Chargeback, amount))
    }

    /// The dispute is won, as a whole or in part: the money comes back as one more Payment (INF: with an id of its own).
    pub(crate) fn reverse_charge_back(&mut self, id: Uuid, amount: Option<i64>) -> Result<Uuid, SimError> {
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        let amount = amount.unwrap_or(purchase.charged_back);
        if amount <= 0 || amount > purchase.charged_back {
            return Err(SimError::Refused("the purchase is not charged back".to_owned()));
        }
        Ok(self.register(id, Kind::ChargebackReversal, amount))
    }

    /// It was announced as a success and turns to `error`: its money moves back (?). A refund is announced by the documented
    /// `purchase.refund_failure`; for the others there is no event, so their own one is raised again.
    pub(crate) fn fail_payment(&mut self, id: Uuid) -> Result<(), SimError> {
        let now = self.now;
        let payment = self.payments.get_mut(&id).ok_or(SimError::NotFound)?;
        let (kind, purchase_id) = (payment.kind, payment.purchase_id);
        let charged_back = self.purchases.get(&purchase_id).map_or(0, |purchase| purchase.charged_back);
        if payment.failed_on.is_some() || (kind == Kind::Chargeback && payment.amount > charged_back) {
            return Err(SimError::Refused("the money of this Payment has moved back already".to_owned()));
        }
        payment.failed_on = Some(now);
        self.carry_out(id);
        match kind {
            Kind::Refund => self.announce_purchase(purchase_id, "purchase.refund_failure"),
            Kind::Chargeback | Kind::ChargebackReversal => self.announce_payment(id, kind.event_type()),
        };
        Ok(())
    }

    /// A new Payment, carried out and announced.
    fn register(&mut self, purchase_id: Uuid, kind: Kind, amount: i64) -> Uuid {
        let id = Uuid::new_v4();
        let serial = self.next_serial();
        let purchase = self.purchases.get(&purchase_id);
        let (currency, is_test) =
            purchase.map(|one| (one.received_currency().to_owned(), one.is_test)).unwrap_or_default();
        let fee = if kind.is_outgoing() { self.settings.reversal_fee } else { 0 };
        self.book_fee(id, is_test, &currency, fee);
        let payment =
            Payment { id, serial, kind, created_on: self.now, amount, fee, currency, purchase_id, failed_on: None };
        self.payments.insert(id, payment);
        self.carry_out(id);
        self.announce_payment(id, kind.event_type());
        id
    }

    /// Moves the money of a Payment, or moves it back if it has failed, and its purchase with it.
    fn carry_out(&mut self, id: Uuid) {
        let (now, reversed_is_refunded) = (self.now, self.settings.reversed_is_refunded);
        let Some(payment) = self.payments.get(&id).cloned() else { return };
        let Some(purchase) = self.purchases.get_mut(&payment.purchase_id) else { return };
        let failed = payment.failed_on.is_some();
        let amount = if failed { -payment.amount } else { payment.amount };
        match payment.kind {
            Kind::Refund => purchase.refunded += amount,
            Kind::Chargeback => purchase.charged_back += amount,
            Kind::ChargebackReversal => purchase.charged_back -= amount,
        }
        let status = match payment.kind {
            _ if failed => purchase.status_undone(),
            Kind::Refund => PurchaseStatus::Refunded,
            // INF: a dispute that is won as a whole makes the purchase `paid` again.
            Kind::ChargebackReversal if purchase.charged_back == 0 && reversed_is_refunded => PurchaseStatus::Refunded,
            Kind::ChargebackReversal if purchase.charged_back == 0 => purchase.paid_status(),
            Kind::Chargeback | Kind::ChargebackReversal => PurchaseStatus::ChargedBack,
        };
        purchase.enter_for(status, now, Some(id));
        let is_test = purchase.is_test;
        self.record(Movement {
            at: now,
            id,
            related_to: payment.purchase_id,
            kind: payment.kind.movement(),
            amount: payment.amount,
            sign: if payment.kind.is_outgoing() == failed { 1 } else { -1 },
            currency: payment.currency,
            is_test,
        });
    }

    /// Whose mode, which currency, and by how much Revio holds more: nothing once it has failed.
    pub(crate) fn given_back<'a>(&self, payment: &'a Payment) -> Option<(bool, &'a str, i64)> {
        let purchase = self.purchases.get(&payment.purchase_id)?;
        let sign = match (payment.failed_on, payment.kind.is_outgoing()) {
            (Some(_), _) => 0,
            (None, true) => -1,
            (None, false) => 1,
        };
        Some((purchase.is_test, &payment.currency, sign * payment.amount))
    }

    /// As a statement has it.
    pub(crate) fn payment_line(&self, payment: &Payment, is_test: bool) -> Option<Line> {
        let purchase = self.purchases.get(&payment.purchase_id).filter(|purchase| purchase.is_test == is_test)?;
        let client = purchase.echoed("client");
        let text = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
        let product = match payment.kind {
            Kind::Refund => "refund",
            Kind::Chargeback => "chargeback",
            Kind::ChargebackReversal => "chargeback_reversal",
        };
        Some(Line {
            id: payment.id.to_string(),
            reference: purchase.reference.clone(),
            product: product.to_owned(),
            status: if payment.failed_on.is_some() { "error" } else { "success" }.to_owned(),
            currency: payment.currency.clone(),
            amount: if payment.kind.is_outgoing() { -payment.amount } else { payment.amount },
            fee: payment.fee,
            created_on: payment.created_on,
            paid_on: payment.created_on,
            updated_on: payment.failed_on.unwrap_or(payment.created_on),
            related_id: purchase.id.to_string(),
            name: text("full_name"),
            email: text("email"),
        })
    }

    fn announce_payment(&mut self, id: Uuid, event_type: &str) -> Value {
        let view = self.payment_view(id, None).unwrap_or_default();
        self.raise(event_type, view["is_test"] == true, &view);
        view
    }

    pub(crate) fn payment_view(&self, id: Uuid, is_test: Option<bool>) -> Option<Value> {
        let payment = self.payments.get(&id)?;
        let purchase = self.purchases.get(&payment.purchase_id)?;
        (is_test.is_none_or(|is_test| is_test == purchase.is_test)).then(|| payment.view(purchase, &self.settings))
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
    use PurchaseStatus::{Cleared, Paid, Refunded, Settled};
    if !matches!(purchase.status, Paid | Cleared | Settled | Refunded) {
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

    fn movement(self) -> MovementKind {
        match self {
            Kind::Refund => MovementKind::Refund,
            Kind::Chargeback => MovementKind::Chargeback,
            Kind::ChargebackReversal => MovementKind::ChargebackReversal,
        }
    }

    fn is_outgoing(self) -> bool {
        self != Kind::ChargebackReversal
    }
}

impl Payment {
    /// Refund: DOC-R by example (P-RFD). That chargebacks look the same, with type `custom`, is INF.
    fn view(&self, purchase: &Purchase, settings: &Settings) -> Value {
        let at = self.created_on + settings.clock_skew_secs;
        let updated_on = self.failed_on.map_or(at, |failed_on| failed_on + settings.clock_skew_secs);
        json!({
            "id": self.id,
            "type": "payment",
            "status": if self.failed_on.is_some() { "error" } else { "success" },
            "created_on": at,
            "updated_on": updated_on,
            "is_test": purchase.is_test,
            "client": purchase.echoed("client"),
            "payment": {
                "is_outgoing": self.kind.is_outgoing(),
                "payment_type": if self.kind == Kind::Refund { "refund" } else { "custom" },
                "amount": self.amount,
                "currency": self.currency,
                "net_amount": self.amount,
                "fee_amount": self.fee,
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
