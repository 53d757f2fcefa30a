//! A payout: Revio's object for money going out, created in one call and executed in a second one. All of it is DOC-S or
//! guessed: nothing about payouts was found on a Revio page.
//!
//! ```text
//! initialized --execute--> pending --> success --(a bank's return, ?)--> error
//!                     \-> success  \-> error --execute again--> pending | success
//!                     \-> error
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::errors::{ApiError, SimError};
use crate::fields::{At, Checker};
use crate::movements::{Movement, MovementKind};
use crate::purchases::request::client_view;
use crate::settings::{DoneWord, PayoutBehaviour, Settings};
use crate::statements::Line;
use crate::strangers::Change;
use crate::world::{Caller, Effect, World};

/// How a payout ends, when a test decides it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutOutcome {
    Success,
    Error { code: String },
    Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PayoutStatus {
    Initialized,
    Pending,
    Success,
    Error,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payout {
    pub(crate) id: Uuid,
    pub(crate) serial: u64,
    pub(crate) is_test: bool,
    status: PayoutStatus,
    created_on: i64,
    updated_on: i64,
    history: Vec<(PayoutStatus, i64)>,
    pub(crate) reference: String,
    amount: i64,
    pub(crate) currency: String,
    paid_on: Option<i64>,
    /// Taken with the first success; a bank's return does not give it back (?).
    #[serde(default)]
    fee: i64,
    /// Newest first.
    attempts: Vec<Value>,
    echo: Box<str>,
    /// Every call of `execution_url`, and those that were refused because it was already executed.
    executions: u32,
    executions_refused: u32,
}

/// DOC-S: the second call must follow within 15 minutes.
const EXECUTION_WINDOW_SECS: i64 = 15 * 60;

/// What a second execution is called is unknown (?).
const ALREADY_EXECUTED: &str = "payout_already_executed";

impl World {
    pub(crate) fn create_payout(&mut self, caller: &Caller, body: &Map<String, Value>) -> Result<Value, ApiError> {
        let token = Uuid::new_v4();
        let execution_url = format!("{}/po/{}/", caller.api_origin, token.simple());
        let (echo, reference, amount, currency) = self.parse_payout(body, &execution_url)?;
        let id = Uuid::new_v4();
        let payout = Payout {
            id,
            serial: self.next_serial(),
            is_test: caller.is_test,
            status: PayoutStatus::Initialized,
            created_on: self.now,
            updated_on: self.now,
            history: vec![(PayoutStatus::Initialized, self.now)],
            reference,
            amount,
            currency,
            paid_on: None,
            fee: 0,
            attempts: Vec::new(),
            echo: echo.to_string().into_boxed_str(),
            executions: 0,
            executions_refused: 0,
        };
        self.payouts.insert(id, payout);
        self.executions.insert(token, id);
        Ok(self.announce_payout(id, "payout.created"))
    }

    fn parse_payout(
        &self,
        body: &Map<String, Value>,
        execution_url: &str,
    ) -> Result<(Value, String, i64, String), ApiError> {
        let mut checker = Checker::default();
        let top = At { object: body, path: "" };
        checker.brand(&top, self.brand_id);
        let nothing = Map::new();
        let required = |checker: &mut Checker, name: &str| match checker.object(&top, name) {
            Some(object) => object.clone(),
            None => {
                checker.required(&top, name);
                nothing.clone()
            }
        };
        let (client, payment) = (required(&mut checker, "client"), required(&mut checker, "payment"));
        let at = At { object: &payment, path: "payment." };
        let amount = checker.whole(&at, "amount");
        if amount.unwrap_or(0) == 0 {
            checker.complain(&at, "amount", "required", "A positive amount is required.");
        }
        let currency = checker.currency(&at);
        if !payment.contains_key("currency") {
            checker.required(&at, "currency");
        }
        let echo = json!({
            "brand_id": self.brand_id,
            "company_id": self.company_id,
            "client": client_view(&mut checker, &At { object: &client, path: "client." }),
            "description": checker.text(&at, "description", 256),
            "sender_name": checker.text(&top, "sender_name", 40),
            "payout_method_whitelist": checker.texts(&top, "payout_method_whitelist"),
            "execution_url": execution_url,
            "recipient_card_country": "",
            "recipient_card_brand": "",
            "user_id": null,
        });
        let reference = checker.text(&top, "reference", 128);
        checker.finish((echo, reference, amount.unwrap_or(0), currency.unwrap_or_default()))
    }

    pub(crate) fn payout_view(&self, id: Uuid, is_test: Option<bool>) -> Option<Value> {
        let payout = self.payouts.get(&id)?;
        if is_test.is_some_and(|is_test| is_test != payout.is_test) {
            return None;
        }
        Some(payout.view(&self.settings, self.settings.done_word == DoneWord::ExecutedEverywhere))
    }

    /// What `GET` answers.
    pub(crate) fn read_payout(&self, id: Uuid, caller: &Caller) -> Option<Value> {
        let payout = self.payouts.get(&id).filter(|payout| payout.is_test == caller.is_test)?;
        let past = payout.as_of(self.read_time(caller));
        let everywhere = self.settings.done_word == DoneWord::ExecutedEverywhere;
        Some(past.as_ref().unwrap_or(payout).view(&self.settings, everywhere))
    }

    /// The second call. `POST execution_url` with our Bearer; the body of a bank payout is unknown (?), so any will do.
    pub(crate) fn execute_payout(&mut self, token: Uuid, is_test: bool) -> Result<Value, ApiError> {
        let now = self.now;
        let payout =
            self.payout_by(token).filter(|payout| payout.is_test == is_test).ok_or_else(ApiError::not_found)?;
        payout.executions += 1;
        let too_late = payout.status == PayoutStatus::Initialized && now > payout.created_on + EXECUTION_WINDOW_SECS;
        if too_late {
            // What the payout's status becomes is unknown (?); here it stays `initialized` for ever.
            return Err(ApiError::refused(
                "payout_execution_expired",
                "The execution window of 15 minutes has passed.",
            ));
        }
        self.execute_late(token)?;
        let id = self.executions[&token];
        let payout = &self.payouts[&id];
        Ok(payout.view(&self.settings, self.settings.done_word != DoneWord::Success))
    }

    /// The execution itself, also when a fault lets it happen long after the call.
    pub(crate) fn execute_late(&mut self, token: Uuid) -> Result<(), ApiError> {
        let payout = self.payout_by(token).ok_or_else(ApiError::not_found)?;
        let (id, status, is_test) = (payout.id, payout.status, payout.is_test);
        let (amount, currency) = (payout.amount, payout.currency.clone());
        if matches!(status, PayoutStatus::Pending | PayoutStatus::Success) {
            payout.executions_refused += 1;
            self.totals_mut(is_test, &currency).executions_refused += 1;
            return Err(ApiError::refused(ALREADY_EXECUTED, "The payout has already been executed."));
        }
        let mut behaviour = self.settings.payouts.clone();
        if self.payout_balance_mut(is_test, &currency).is_some_and(|balance| *balance < amount) {
            // The code of an insufficient balance is unknown (?); this is the likelier of two candidates.
            behaviour = PayoutBehaviour::Fail { code: "insufficient_funds".to_owned() };
        }
        match behaviour {
            PayoutBehaviour::Succeed => self.enter_payout(id, &PayoutOutcome::Success),
            PayoutBehaviour::Pend => self.enter_payout(id, &PayoutOutcome::Pending),
            PayoutBehaviour::PendThenSucceed { secs } => {
                self.enter_payout(id, &PayoutOutcome::Pending);
                self.later(secs, Effect::SettlePayout(id));
            }
            PayoutBehaviour::Fail { code } => {
                self.enter_payout(id, &PayoutOutcome::Error { code: code.clone() });
                let message = code.replace('_', " ");
                return Err(ApiError::refused(&code, &message).with_object_status("error"));
            }
        }
        Ok(())
    }

    fn payout_by(&mut self, token: Uuid) -> Option<&mut Payout> {
        let id = self.executions.get(&token)?;
        self.payouts.get_mut(id)
    }

    /// A test decides how it goes on, from any status: also `success` to `error` and back, which nobody documents (?).
    pub(crate) fn settle_payout(&mut self, id: Uuid, outcome: &PayoutOutcome) -> Result<(), SimError> {
        let payout = self.payouts.get(&id).ok_or(SimError::NotFound)?;
        if payout.status == outcome.status() {
            return Err(SimError::Refused(format!("the payout is already {:?}", payout.status)));
        }
        self.enter_payout(id, outcome);
        Ok(())
    }

    /// It is another one from now on, once it has succeeded: what it was is taken back.
    pub(crate) fn change_payout(&mut self, id: Uuid, change: &Change) -> Result<(), SimError> {
        let now = self.now;
        let payout = self.payouts.get_mut(&id).ok_or(SimError::NotFound)?;
        if payout.status != PayoutStatus::Success {
            return Err(SimError::Refused(format!("the payout is {:?}", payout.status)));
        }
        let (is_test, amount, fee, currency) = (payout.is_test, payout.amount, payout.fee, payout.currency.clone());
        payout.currency = change.currency.clone().unwrap_or_else(|| currency.clone());
        payout.amount = change.amount.unwrap_or(amount);
        payout.fee = change.fee.unwrap_or(fee);
        payout.updated_on = payout.updated_on.max(now);
        let new = (payout.currency.clone(), payout.amount, payout.fee);
        let kind = MovementKind::Payout;
        if (&currency, amount) != (&new.0, new.1) {
            for (sign, currency, amount) in [(1, currency.clone(), amount), (-1, new.0.clone(), new.1)] {
                self.record(Movement { at: now, id, related_to: id, kind, amount, sign, currency, is_test });
            }
        }
        self.change_fee(id, is_test, (&currency, fee), (&new.0, new.2));
        self.announce_payout(id, "payout.success");
        Ok(())
    }

    /// Books the difference between the old status and the new one, then announces it.
    fn enter_payout(&mut self, id: Uuid, outcome: &PayoutOutcome) {
        let now = self.now;
        let (fee, basis_points) = (self.settings.payout_fee, self.settings.payout_fee_basis_points);
        let Some(payout) = self.payouts.get_mut(&id) else { return };
        let (from, to) = (payout.status, outcome.status());
        let (is_test, amount, currency) = (payout.is_test, payout.amount, payout.currency.clone());
        payout.updated_on = payout.updated_on.max(now);
        payout.status = to;
        payout.history.push((to, payout.updated_on));
        payout.paid_on = (to == PayoutStatus::Success).then_some(now);
        let first_fee = match payout.paid_on {
            Some(_) if payout.fee == 0 => fee + amount * basis_points / 10_000,
            _ => 0,
        };
        payout.fee += first_fee;
        let event = match outcome {
            PayoutOutcome::Success => {
                payout.attempts.insert(0, attempt(now, None));
                "payout.success"
            }
            PayoutOutcome::Error { code } => {
                payout.attempts.insert(0, attempt(now, Some(code)));
                "payout.failed"
            }
            PayoutOutcome::Pending => "payout.pending",
        };
        let pending = |status| if status == PayoutStatus::Pending { amount } else { 0 };
        self.totals_mut(is_test, &currency).payouts_pending += pending(to) - pending(from);
        for (status, sign) in [(from, 1), (to, -1)] {
            if status == PayoutStatus::Success {
                let (kind, currency) = (MovementKind::Payout, currency.clone());
                self.record(Movement { at: now, id, related_to: id, kind, amount, sign, currency, is_test });
            }
        }
        self.book_fee(id, is_test, &currency, first_fee);
        if let Some(balance) = self.payout_balance_mut(is_test, &currency) {
            *balance += from.drawn(amount) - to.drawn(amount);
        }
        self.announce_payout(id, event);
    }

    fn announce_payout(&mut self, id: Uuid, event_type: &str) -> Value {
        let Some(view) = self.payout_view(id, None) else { return Value::Null };
        let is_test = self.payouts[&id].is_test;
        self.raise(event_type, is_test, &view);
        view
    }
}

impl PayoutOutcome {
    fn status(&self) -> PayoutStatus {
        match self {
            PayoutOutcome::Success => PayoutStatus::Success,
            PayoutOutcome::Error { .. } => PayoutStatus::Error,
            PayoutOutcome::Pending => PayoutStatus::Pending,
        }
    }
}

impl PayoutStatus {
    fn word(self, executed: bool) -> &'static str {
        match self {
            PayoutStatus::Initialized => "initialized",
            PayoutStatus::Pending => "pending",
            PayoutStatus::Success if executed => "executed",
            PayoutStatus::Success => "success",
            PayoutStatus::Error => "error",
        }
    }

    /// What a payout in this status has taken from the balance.
    fn drawn(self, amount: i64) -> i64 {
        match self {
            PayoutStatus::Initialized | PayoutStatus::Error => 0,
            PayoutStatus::Pending | PayoutStatus::Success => amount,
        }
    }
}

impl Payout {
    fn view(&self, settings: &Settings, executed: bool) -> Value {
        let skew = settings.clock_skew_secs;
        let mut view: Map<String, Value> = serde_json::from_str(&self.echo).unwrap_or_default();
        let description = view.remove("description").unwrap_or_default();
        let history = self.history.iter();
        let dynamic = json!({
            "id": self.id,
            "type": "payout",
            "created_on": self.created_on + skew,
            "updated_on": self.updated_on + skew,
            "status": self.status.word(executed),
            "status_history": history
                .map(|(status, at)| json!({"status": status.word(executed), "timestamp": at + skew}))
                .collect::<Vec<_>>(),
            "is_test": self.is_test,
            "reference": self.reference,
            "reference_generated": self.serial.to_string(),
            "payment": {
                "is_outgoing": true,
                "payment_type": "payout",
                "amount": self.amount,
                "currency": self.currency,
                "net_amount": self.amount,
                "fee_amount": self.fee,
                "pending_amount": 0,
                "pending_unfreeze_on": null,
                "description": description,
                "paid_on": self.paid_on,
                "remote_paid_on": null,
            },
            "transaction_data": {
                "payment_method": if self.paid_on.is_some() { "bank_transfer" } else { "" },
                "extra": {}, "country": "", "attempts": self.attempts,
            },
        });
        if let Value::Object(dynamic) = dynamic {
            view.extend(dynamic);
        }
        Value::Object(view)
    }

    /// What has left, what is to leave, and the fee.
    pub(crate) fn taken(&self) -> (i64, i64, i64) {
        match self.status {
            PayoutStatus::Success => (self.amount, 0, self.fee),
            PayoutStatus::Pending => (0, self.amount, self.fee),
            PayoutStatus::Initialized | PayoutStatus::Error => (0, 0, self.fee),
        }
    }

    /// As a statement has it, once it has left.
    pub(crate) fn line(&self, settings: &Settings) -> Option<Line> {
        let view = self.view(settings, settings.done_word == DoneWord::ExecutedEverywhere);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some(Line {
            id: self.id.to_string(),
            reference: self.reference.clone(),
            product: "payout".to_owned(),
            status: text(&view["status"]),
            currency: self.currency.clone(),
            amount: -self.amount,
            fee: self.fee,
            created_on: self.created_on,
            paid_on: self.paid_on?,
            updated_on: self.updated_on,
            related_id: String::new(),
            name: text(&view["client"]["full_name"]),
            email: text(&view["client"]["email"]),
        })
    }

    /// As it was at `then`; `None` if it has not changed since.
    fn as_of(&self, then: i64) -> Option<Payout> {
        if self.updated_on <= then {
            return None;
        }
        let mut past = self.clone();
        let kept = past.history.iter().filter(|(_, at)| *at <= then).count();
        past.history.truncate(kept.max(1));
        (past.status, past.updated_on) = *past.history.last()?;
        past.attempts.retain(|attempt| attempt["processing_time"].as_i64().is_none_or(|at| at <= then));
        past.paid_on = past.paid_on.filter(|at| *at <= then);
        past.fee = if past.paid_on.is_some() { past.fee } else { 0 };
        Some(past)
    }

    /// How often `execution_url` was called, and how many of those calls were refused as repeated.
    pub(crate) fn execution_counts(&self) -> (u32, u32) {
        (self.executions, self.executions_refused)
    }
}

/// Without a `type`, unlike a purchase's (DOC-S).
fn attempt(now: i64, code: Option<&str>) -> Value {
    json!({
        "successful": code.is_none(), "payment_method": "bank_transfer", "country": "", "client_ip": "127.0.0.1",
        "processing_time": now, "extra": {},
        "error": code.map(|code| json!({"code": code, "message": code.replace('_', " ")})),
    })
}
