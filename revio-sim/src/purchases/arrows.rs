//! The transitions of a purchase, one function each: what moves, what is booked, which event it raises. Called by the API
//! handlers, the hosted page, `Sim` and the effects that come due later.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::request::NewPurchase;
use super::{
    Cancelled, ChargedBack, Cleared, Created, Error, Expired, Hold, Overdue, Paid, PendingExecute, PendingRefund,
    Purchase, Received, Refunded, Released, Settled, Viewed,
};
use crate::errors::{ApiError, SimError};
use crate::movements::{Movement, MovementKind};
use crate::settings::FeeAtPaid;
use crate::strangers::Change;
use crate::world::{Caller, Effect, World};

/// If `due` is not sent: as in the only public payload (RUN). Whether Revio's default is the same is unknown (?).
const DUE_DEFAULT_SECS: i64 = 3600;

/// How a purchase is paid; the default pays it in full.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pay {
    /// Another amount than was asked for.
    pub amount: Option<i64>,
    /// Another currency than was asked for.
    pub currency: Option<String>,
    pub fee: i64,
    /// An operator's click: no money arrives.
    pub marked_as_paid: bool,
    /// Default `visa`.
    pub method: Option<String>,
    /// Also when cancelled, which the documents say cannot happen.
    pub force: bool,
}

impl World {
    pub(crate) fn create_purchase(&mut self, caller: &Caller, body: &Map<String, Value>) -> Result<Value, ApiError> {
        let new = NewPurchase::parse(body, self.brand_id, self.company_id)?;
        let id = Uuid::new_v4();
        let mut purchase = Purchase {
            id,
            serial: self.next_serial(),
            is_test: caller.is_test,
            status: Created,
            created_on: self.now,
            updated_on: self.now,
            viewed_on: None,
            history: Vec::new(),
            reference: new.reference,
            currency: new.currency,
            total: new.total,
            due: new.due.unwrap_or(self.now + DUE_DEFAULT_SECS),
            due_strict: new.due_strict,
            skip_capture: new.skip_capture,
            success_callback: new.success_callback,
            checkout_url: format!("{}/p/{id}/", caller.page_origin),
            echo: Value::Object(new.echo).to_string().into_boxed_str(),
            received: None,
            marked_as_paid: false,
            attempts: Vec::new(),
            refunded: 0,
            refunding: None,
            refunded_on: None,
            charged_back: 0,
        };
        purchase.enter(Created, self.now);
        self.purchases.insert(id, purchase);
        Ok(self.announce_purchase(id, "purchase.created"))
    }

    /// The purchase as it is now; `None` also when it belongs to the other mode.
    pub(crate) fn purchase_mut(&mut self, id: Uuid, is_test: Option<bool>) -> Option<&mut Purchase> {
        let now = self.now;
        let purchase = self.purchases.get_mut(&id)?;
        if is_test.is_some_and(|is_test| is_test != purchase.is_test) {
            return None;
        }
        purchase.catch_up(now);
        Some(purchase)
    }

    /// What `GET` answers.
    pub(crate) fn read_purchase(&mut self, id: Uuid, caller: &Caller) -> Option<Value> {
        let (settings, then) = (self.settings.clone(), self.read_time(caller));
        let purchase = self.purchase_mut(id, Some(caller.is_test))?;
        Some(purchase.as_of(then).as_ref().unwrap_or(purchase).view(&settings))
    }

    pub(crate) fn purchase_view(&mut self, id: Uuid, is_test: Option<bool>) -> Option<Value> {
        let settings = self.settings.clone();
        Some(self.purchase_mut(id, is_test)?.view(&settings))
    }

    /// The payer opens the page.
    pub(crate) fn open_page(&mut self, id: Uuid) -> Result<Value, SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        if purchase.viewed_on.is_none() && purchase.status == Created {
            purchase.viewed_on = Some(now);
            purchase.enter(Viewed, now);
            return Ok(self.announce_purchase(id, "purchase.viewed"));
        }
        self.purchase_view(id, None).ok_or(SimError::NotFound)
    }

    pub(crate) fn pay_purchase(&mut self, id: Uuid, how: &Pay) -> Result<(), SimError> {
        let (now, fee_at_paid) = (self.now, self.settings.fee_at_paid);
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        match purchase.status {
            Created | Viewed | Error | Overdue | PendingExecute => {}
            // DOC-S: an attempt that began before `due` may still succeed.
            Expired => {}
            Cancelled if how.force => {}
            Cancelled | Hold | Released | Paid | Cleared | Settled | PendingRefund | Refunded | ChargedBack => {
                return Err(SimError::Refused(format!("a purchase in {:?} cannot be paid", purchase.status)));
            }
        }
        let method = how.method.clone().unwrap_or_else(|| "visa".to_owned());
        purchase.attempts.insert(0, attempt(if purchase.skip_capture { "authorize" } else { "execute" }, &method, now));
        let received = Received {
            amount: how.amount.unwrap_or(purchase.total),
            currency: how.currency.clone().unwrap_or_else(|| purchase.currency.clone()),
            fee: (fee_at_paid == FeeAtPaid::Named).then_some(how.fee),
            fee_to_come: how.fee,
            paid_on: now,
            method,
        };
        purchase.received = Some(received);
        purchase.marked_as_paid = how.marked_as_paid;
        if purchase.skip_capture {
            purchase.enter(Hold, now);
            self.announce_purchase(id, "purchase.hold");
        } else {
            self.complete_payment(id);
            self.announce_purchase(id, "purchase.paid");
        }
        Ok(())
    }

    /// Books the money and enters `paid`.
    fn complete_payment(&mut self, id: Uuid) {
        let now = self.now;
        let Some(purchase) = self.purchases.get_mut(&id) else { return };
        purchase.enter(Paid, now);
        let Some(received) = purchase.received.clone().filter(|_| !purchase.marked_as_paid) else { return };
        let (is_test, currency) = (purchase.is_test, received.currency);
        self.record(Movement {
            at: now,
            id,
            related_to: id,
            kind: MovementKind::Purchase,
            amount: received.amount,
            sign: 1,
            currency: currency.clone(),
            is_test,
        });
        self.book_fee(id, is_test, &currency, received.fee.unwrap_or(0));
    }

    /// A stage of cards that no event announces (DOC-S).
    pub(crate) fn clear_purchase(&mut self, id: Uuid) -> Result<(), SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        if purchase.status != Paid {
            return Err(SimError::Refused(format!("a purchase in {:?} cannot be cleared", purchase.status)));
        }
        purchase.enter(Cleared, now);
        Ok(())
    }

    /// The last stage (DOC-S). That the fee may be taken only now, or be another one now, is guessed (?); also that a purchase
    /// that was refunded or charged back keeps that status.
    pub(crate) fn settle_purchase(&mut self, id: Uuid, fee: Option<i64>) -> Result<(), SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        let refused = Err(SimError::Refused(format!("a purchase in {:?} cannot be settled", purchase.status)));
        let (is_test, status) = (purchase.is_test, purchase.status);
        if !matches!(status, Paid | Cleared | PendingRefund | Refunded | ChargedBack) || purchase.marked_as_paid {
            return refused;
        }
        let Some(received) = &mut purchase.received else { return refused };
        let before = received.fee;
        let fee = fee.or(before).unwrap_or(received.fee_to_come);
        received.fee = Some(fee);
        let currency = received.currency.clone();
        match status {
            Paid | Cleared => purchase.enter(Settled, now),
            _ => purchase.updated_on = purchase.updated_on.max(now),
        }
        self.book_fee(id, is_test, &currency, fee - before.unwrap_or(0));
        self.announce_purchase(id, "purchase.settled");
        Ok(())
    }

    /// Its payment is another one from now on: what it was is taken back.
    pub(crate) fn change_purchase(&mut self, id: Uuid, change: &Change) -> Result<(), SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        let is_test = purchase.is_test;
        let taken = purchase.taken().map(|(currency, amount, fee)| (currency.to_owned(), amount, fee));
        let (Some((currency, amount, fee)), Some(received)) = (taken, &mut purchase.received) else {
            return Err(SimError::Refused("it is not paid".to_owned()));
        };
        let new = (
            change.currency.clone().unwrap_or_else(|| currency.clone()),
            change.amount.unwrap_or(amount),
            change.fee.unwrap_or(fee),
        );
        (received.currency, received.amount, received.fee) = (new.0.clone(), new.1, Some(new.2));
        purchase.updated_on = purchase.updated_on.max(now);
        let kind = MovementKind::Purchase;
        if (&currency, amount) != (&new.0, new.1) {
            for (sign, currency, amount) in [(-1, currency.clone(), amount), (1, new.0.clone(), new.1)] {
                self.record(Movement { at: now, id, related_to: id, kind, amount, sign, currency, is_test });
            }
        }
        self.change_fee(id, is_test, (&currency, fee), (&new.0, new.2));
        self.announce_purchase(id, "purchase.settled");
        Ok(())
    }

    /// A failed attempt; the payer may try again on the same link, so this is not final.
    pub(crate) fn fail_purchase(&mut self, id: Uuid, code: &str) -> Result<(), SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        if !purchase.status.is_payable() && purchase.status != PendingExecute {
            return Err(SimError::Refused(format!("a purchase in {:?} cannot fail", purchase.status)));
        }
        let mut failed = attempt("execute", "visa", now);
        failed["successful"] = false.into();
        failed["error"] = json!({"code": code, "message": code.replace('_', " ")});
        purchase.attempts.insert(0, failed);
        purchase.enter(Error, now);
        self.announce_purchase(id, "purchase.payment_failure");
        Ok(())
    }

    /// The acquirer is not final yet; with `secs`, the payment succeeds so much later, also if it has expired by then.
    pub(crate) fn begin_payment(&mut self, id: Uuid, secs: Option<i64>) -> Result<(), SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        if !purchase.status.is_payable() {
            return Err(SimError::Refused(format!("a purchase in {:?} cannot be paid", purchase.status)));
        }
        purchase.enter(PendingExecute, now);
        self.announce_purchase(id, "purchase.pending_execute");
        if let Some(secs) = secs {
            self.later(secs, Effect::PayPurchase(id));
        }
        Ok(())
    }

    /// DOC-S: guarantees that it cannot be paid afterwards. What happens when it is too late is unknown (?): 400 here.
    pub(crate) fn cancel_purchase(&mut self, id: Uuid, is_test: Option<bool>) -> Result<Value, ApiError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, is_test).ok_or_else(ApiError::not_found)?;
        match purchase.status {
            Created | Viewed | Error | Overdue => {}
            Expired | PendingExecute | Hold | Released | Paid | Cleared | Settled | Cancelled | PendingRefund
            | Refunded | ChargedBack => {
                return Err(ApiError::refused("purchase_cancel_error", "The purchase cannot be cancelled."));
            }
        }
        purchase.enter(Cancelled, now);
        Ok(self.announce_purchase(id, "purchase.cancelled"))
    }

    /// Makes `due` lie in the past.
    pub(crate) fn expire_purchase(&mut self, id: Uuid) -> Result<(), SimError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, None).ok_or(SimError::NotFound)?;
        if !purchase.status.can_expire() {
            return Err(SimError::Refused(format!("a purchase in {:?} cannot expire", purchase.status)));
        }
        purchase.due = purchase.due.min(now - 1);
        purchase.due_strict = true;
        purchase.enter(Expired, now);
        Ok(())
    }

    /// From `hold` only; the rest of the held amount is released (DOC-S).
    pub(crate) fn capture(&mut self, id: Uuid, is_test: bool, amount: Option<i64>) -> Result<Value, ApiError> {
        let purchase = self.purchase_mut(id, Some(is_test)).ok_or_else(ApiError::not_found)?;
        let refused = ApiError::refused("purchase_capture_error", "The purchase cannot be captured.");
        match (&mut purchase.received, purchase.status) {
            (Some(received), Hold) if amount.is_none_or(|amount| amount <= received.amount) => {
                received.amount = amount.unwrap_or(received.amount);
            }
            _ => return Err(refused),
        }
        self.complete_payment(id);
        // Two success events for one payment: trap 10 of the provider notes.
        self.announce_purchase(id, "purchase.captured");
        Ok(self.announce_purchase(id, "purchase.paid"))
    }

    pub(crate) fn release(&mut self, id: Uuid, is_test: bool) -> Result<Value, ApiError> {
        let now = self.now;
        let purchase = self.purchase_mut(id, Some(is_test)).ok_or_else(ApiError::not_found)?;
        if purchase.status != Hold {
            return Err(ApiError::refused("purchase_release_error", "The purchase cannot be released."));
        }
        purchase.received = None;
        purchase.enter(Released, now);
        Ok(self.announce_purchase(id, "purchase.released"))
    }

    /// Raises the event with the purchase as it is now, and returns that view.
    pub(crate) fn announce_purchase(&mut self, id: Uuid, event_type: &str) -> Value {
        let Some(purchase) = self.purchases.get(&id) else { return Value::Null };
        let view = purchase.view(&self.settings);
        let (is_test, callback) = (purchase.is_test, purchase.success_callback.clone());
        self.raise(event_type, is_test, &view);
        // DOC-S: fires on paid and captured only, signed with the company key.
        if !callback.is_empty() && matches!(event_type, "purchase.paid" | "purchase.captured") {
            self.call_back(&callback, event_type, &view);
        }
        view
    }
}

impl Purchase {
    /// The currency and method of what was received.
    pub(crate) fn received_currency(&self) -> &str {
        self.received.as_ref().map_or(&self.currency, |received| &received.currency)
    }
}

fn attempt(kind: &str, method: &str, now: i64) -> Value {
    json!({
        "type": kind, "successful": true, "payment_method": method, "country": "", "client_ip": "127.0.0.1",
        "processing_time": now, "extra": {}, "error": null,
    })
}
