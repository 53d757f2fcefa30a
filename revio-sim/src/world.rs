//! Everything that this Revio knows: objects, books, webhooks, what is still to be delivered. One value behind one lock
//! (`shared.rs`), saved as one file (`store.rs`). The nouns add their transitions to it in their own files.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::errors::{ApiError, SimError};
use crate::keys::{KeyBits, SigningKey};
use crate::movements::Movement;
use crate::outbox::{Endpoint, Outbox};
use crate::overrides::Override;
use crate::payments::Payment;
use crate::payouts::Payout;
use crate::purchases::{Pay, Purchase};
use crate::settings::Settings;
use crate::statements::{LineChanges, Statement};
use crate::transfers::{BankLine, Transfer};
use crate::webhooks::WebhookRecord;
use crate::wire::canonical;

/// Who calls the API: the key says the mode, the `Host` header says how URLs in the answer begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Caller {
    pub(crate) is_test: bool,
    pub(crate) api_origin: String,
    pub(crate) page_origin: String,
    #[serde(skip)]
    pub(crate) struck: Struck,
}

/// What a fault does to a call beyond its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Struck {
    /// It takes effect only so many seconds later.
    pub(crate) late_secs: Option<i64>,
    /// It is answered as of so many seconds ago.
    pub(crate) stale_secs: i64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct World {
    /// Both set before each use, see `Shared::with`.
    #[serde(skip)]
    pub(crate) now: i64,
    #[serde(skip)]
    pub(crate) line_now: i64,
    #[serde(skip)]
    pub(crate) brand_id: Uuid,
    #[serde(skip)]
    pub(crate) company_id: Uuid,
    serial: u64,
    pub(crate) settings: Settings,
    pub(crate) purchases: HashMap<Uuid, Purchase>,
    pub(crate) payouts: HashMap<Uuid, Payout>,
    /// From the opaque part of an `execution_url` to its payout.
    pub(crate) executions: HashMap<Uuid, Uuid>,
    pub(crate) payments: HashMap<Uuid, Payment>,
    pub(crate) movements: Vec<Movement>,
    pub(crate) overrides: Vec<Override>,
    pub(crate) webhooks: Vec<WebhookRecord>,
    pub(crate) company_key: Option<SigningKey>,
    /// Made before the first webhook exists, so that `Sim::sign` always has a key; the first test webhook takes it.
    pub(crate) next_key: Option<SigningKey>,
    books: Vec<Book>,
    pub(crate) outbox: Outbox,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) bank_lines: Vec<BankLine>,
    pub(crate) statements: Vec<Statement>,
    pub(crate) line_changes: LineChanges,
    pub(crate) forgotten: HashSet<Uuid>,
    /// Nothing is announced meanwhile.
    #[serde(skip)]
    pub(crate) quiet: bool,
    events: VecDeque<RaisedEvent>,
    effects: VecDeque<DueEffect>,
}

/// Money of one mode and currency.
#[derive(Clone, Serialize, Deserialize)]
struct Book {
    is_test: bool,
    currency: String,
    totals: Totals,
    payout_balance: Option<i64>,
    #[serde(default)]
    reserved: i64,
}

/// What moved, of one currency, to reconcile against: counted at each movement, whatever the objects say. Cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Gross: fees are not deducted.
    pub paid_in: i64,
    pub refunded: i64,
    /// Less what was reversed.
    pub charged_back: i64,
    /// Less what a bank returned after success.
    pub paid_out: i64,
    /// Executed and not final.
    pub payouts_pending: i64,
    pub fees: i64,
    /// To the bank, less what was returned.
    pub settled: i64,
    /// From the bank, less what was returned.
    pub topped_up: i64,
    pub paid_in_count: u64,
    pub paid_out_count: u64,
    /// Executions of a payout that was already `pending` or `success`: refused, moved nothing.
    pub executions_refused: u64,
}

impl Totals {
    /// What Revio holds for the company.
    pub fn balance(&self) -> i64 {
        self.paid_in
            - self.fees
            - self.refunded
            - self.charged_back
            - self.paid_out
            - self.payouts_pending
            - self.settled
            + self.topped_up
    }
}

/// One event as it was raised.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RaisedEvent {
    pub(crate) at: i64,
    pub(crate) event_type: String,
    pub(crate) object_id: Uuid,
    pub(crate) is_test: bool,
    pub(crate) body: Arc<str>,
}

/// Something that happens by itself later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Effect {
    PayPurchase(Uuid),
    CompleteRefund(Uuid),
    FailRefund(Uuid),
    SettlePayout(Uuid),
    /// A settlement or top-up reaches the other side.
    Arrive(Uuid),
    // Calls of the API that a fault has postponed.
    CreatePurchase(Caller, Map<String, Value>),
    CancelPurchase(Uuid),
    CreatePayout(Caller, Map<String, Value>),
    ExecutePayout(Uuid),
}

#[derive(Clone, Serialize, Deserialize)]
struct DueEffect {
    due: i64,
    effect: Effect,
}

/// Older events are forgotten: 2 kB each add up in a load test.
const EVENTS_KEPT: usize = 20_000;

impl World {
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The totals of one mode and currency, for booking.
    pub(crate) fn totals_mut(&mut self, is_test: bool, currency: &str) -> &mut Totals {
        &mut self.book_mut(is_test, currency).totals
    }

    pub(crate) fn totals(&self, is_test: bool, currency: &str) -> Totals {
        self.book(is_test, currency).map(|book| book.totals).unwrap_or_default()
    }

    fn book(&self, is_test: bool, currency: &str) -> Option<&Book> {
        self.books.iter().find(|book| book.is_test == is_test && book.currency == currency)
    }

    fn book_mut(&mut self, is_test: bool, currency: &str) -> &mut Book {
        let found = self.books.iter().position(|book| book.is_test == is_test && book.currency == currency);
        let index = found.unwrap_or(self.books.len());
        if found.is_none() {
            let totals = Totals::default();
            self.books.push(Book { is_test, currency: currency.to_owned(), totals, payout_balance: None, reserved: 0 });
        }
        &mut self.books[index]
    }

    /// With `Some`, payouts draw on a balance of their own; with `None` (default) on the collected money, which may go negative.
    pub(crate) fn set_payout_balance(&mut self, is_test: bool, currency: &str, balance: Option<i64>) {
        self.book_mut(is_test, currency).payout_balance = balance;
    }

    pub(crate) fn payout_balance_mut(&mut self, is_test: bool, currency: &str) -> Option<&mut i64> {
        self.book_mut(is_test, currency).payout_balance.as_mut()
    }

    /// Held back from what is available.
    pub(crate) fn set_reserve(&mut self, is_test: bool, currency: &str, amount: i64) {
        self.book_mut(is_test, currency).reserved = amount;
    }

    pub(crate) fn reserved(&self, is_test: bool, currency: &str) -> i64 {
        self.book(is_test, currency).map_or(0, |book| book.reserved)
    }

    /// Those of a mode, with their payout balances.
    pub(crate) fn currencies(&self, is_test: bool) -> Vec<(String, Option<i64>)> {
        let books = self.books.iter().filter(|book| book.is_test == is_test);
        books.map(|book| (book.currency.clone(), book.payout_balance)).collect()
    }

    pub(crate) fn all_totals(&self, is_test: bool) -> BTreeMap<String, Totals> {
        let books = self.books.iter().filter(|book| book.is_test == is_test);
        books.map(|book| (book.currency.clone(), book.totals)).collect()
    }

    /// `GET` does not know it any more; its money stays.
    pub(crate) fn forget(&mut self, id: Uuid) -> Result<(), SimError> {
        let is_known =
            self.purchases.contains_key(&id) || self.payouts.contains_key(&id) || self.payments.contains_key(&id);
        if is_known {
            self.forgotten.insert(id)
        } else {
            return Err(SimError::NotFound);
        };
        Ok(())
    }

    /// Records an event and queues it for every webhook of its mode that wants it.
    pub(crate) fn raise(&mut self, event_type: &str, is_test: bool, view: &Value) {
        if self.quiet {
            return;
        }
        let (object_id, body) = self.event_body(event_type, view);
        let event = RaisedEvent {
            at: self.now,
            event_type: event_type.to_owned(),
            object_id,
            is_test,
            body: Arc::clone(&body),
        };
        self.events.push_back(event);
        if self.events.len() > EVENTS_KEPT {
            self.events.pop_front();
        }
        for webhook in &self.webhooks {
            if webhook.is_test == is_test && webhook.wants(event_type) {
                let endpoint = Endpoint::Webhook(webhook.id);
                self.outbox.push(endpoint, (object_id, event_type), Arc::clone(&body), self.line_now);
            }
        }
    }

    /// Queues a `success_callback`: the same body as a webhook, another key and another queue (DOC-S).
    pub(crate) fn call_back(&mut self, url: &str, event_type: &str, view: &Value) {
        if self.quiet {
            return;
        }
        let (object_id, body) = self.event_body(event_type, view);
        self.outbox.push(Endpoint::Callback(url.to_owned()), (object_id, event_type), body, self.line_now);
    }

    /// An event of any type about an object as it is now.
    pub(crate) fn raise_about(&mut self, id: Uuid, event_type: &str) -> Result<(), SimError> {
        let own = self.purchase_view(id, None).or_else(|| self.payout_view(id, None));
        let view = own.or_else(|| self.payment_view(id, None)).ok_or(SimError::NotFound)?;
        self.raise(event_type, view["is_test"] == true, &view);
        Ok(())
    }

    /// The object at the top level plus `event_type` (DOC-R by sample), as a snapshot of this moment (DOC-S).
    fn event_body(&self, event_type: &str, view: &Value) -> (Uuid, Arc<str>) {
        let id = view["id"].as_str().and_then(|id| Uuid::parse_str(id).ok()).unwrap_or_default();
        let mut payload = self.told(view.clone());
        payload["event_type"] = event_type.into();
        (id, Arc::from(canonical(&payload)))
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &RaisedEvent> {
        self.events.iter()
    }

    pub(crate) fn company_key(&mut self) -> &SigningKey {
        self.company_key.get_or_insert_with(|| SigningKey::generate(KeyBits::Rsa2048))
    }

    /// The key of the first test webhook.
    pub(crate) fn webhook_key(&mut self, configured: Option<&SigningKey>) -> &SigningKey {
        match self.webhooks.iter().position(|webhook| webhook.is_test) {
            Some(index) => &self.webhooks[index].key,
            None => self.next_key.get_or_insert_with(|| match configured {
                Some(key) => key.clone(),
                None => SigningKey::generate(KeyBits::Rsa2048),
            }),
        }
    }

    pub(crate) fn later(&mut self, secs: i64, effect: Effect) {
        let due = self.now + secs;
        let index = self.effects.partition_point(|waiting| waiting.due <= due);
        self.effects.insert(index, DueEffect { due, effect });
    }

    /// Instead of a call's effect, which comes so much later; the caller reads another answer than this one.
    pub(crate) fn postpone(&mut self, secs: i64, effect: Effect) -> Result<Value, ApiError> {
        self.later(secs, effect);
        Err(ApiError::refused("postponed", "It takes effect later."))
    }

    /// The moment that a `GET` is answered as of.
    pub(crate) fn read_time(&self, caller: &Caller) -> i64 {
        self.now - self.settings.stale_read_secs.max(caller.struck.stale_secs)
    }

    /// Lets everything happen that is due by now; true if anything did.
    pub(crate) fn catch_up(&mut self) -> bool {
        let mut happened = false;
        while self.effects.front().is_some_and(|waiting| waiting.due <= self.now) {
            let Some(DueEffect { effect, .. }) = self.effects.pop_front() else { break };
            self.happen(effect);
            happened = true;
        }
        happened
    }

    fn happen(&mut self, effect: Effect) {
        let done = match &effect {
            Effect::PayPurchase(id) => self.pay_purchase(*id, &Pay::default()),
            Effect::CompleteRefund(id) => self.complete_refund(*id),
            Effect::SettlePayout(id) => self.settle_payout(*id, &crate::payouts::PayoutOutcome::Success),
            Effect::FailRefund(id) => self.fail_refund(*id),
            Effect::Arrive(id) => self.arrive(*id),
            Effect::CreatePurchase(caller, body) => self.create_purchase(caller, body).map(|_| ()).map_err(Into::into),
            Effect::CancelPurchase(id) => self.cancel_purchase(*id, None).map(|_| ()).map_err(Into::into),
            Effect::CreatePayout(caller, body) => self.create_payout(caller, body).map(|_| ()).map_err(Into::into),
            Effect::ExecutePayout(token) => self.execute_late(*token).map_err(Into::into),
        };
        if let Err(error) = done {
            tracing::info!(?effect, %error, "a delayed effect came too late");
        }
    }
}
