//! Revio's HTTP API, as much of it as deposits, withdrawals and finance (`accounts`) need. Every call has a deadline and is made once: who may repeat what
//! is decided by `deposits` and `withdrawals`, from what Revio says of the object when asked again. Redirects are never followed, and whose word
//! an answer is stands in `answer`. How often it is called, and for what first, is in `budget`; purchases, payouts and what executes them are
//! left alone apart from each other (`breaker`), and what Revio cannot serve of one object is told from an outage (`alone`).

mod accounts;
mod alone;
mod answer;
mod breaker;
mod budget;
mod codes;
mod error;
mod links;
pub mod objects;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use prometheus::HistogramVec;
use reqwest::{Method, RequestBuilder, Url, header::CACHE_CONTROL, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use crate::platform::clock::{Clock, DateTime};
use crate::platform::config::{Config, Deadlines};
use crate::platform::{rate_limits::Limiter, telemetry::RevioCalls};
use crate::provider::revio::alone::Alone;
use crate::provider::revio::answer::{closed_as_missing, expect_id, expect_named, expect_reference, expect_sum, read};
use crate::provider::revio::breaker::{About, Breaker};
use crate::provider::revio::budget::{Budget, Class};
use crate::provider::revio::error::slow_down;

pub use accounts::{BalanceField, PAYOUT_BALANCE, Statement, StatementStatus};
pub use budget::{Errand, on};
pub use error::{RevioError, is_unauthorized};
use objects::Flag;
pub use objects::{NewPayout, NewPurchase, PastPayoutStatus, Payment, Payout, PayoutStatus, Purchase, PurchaseStatus};

const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// What Revio's side or a network between may have forgotten is not used again.
const IDLE: Duration = Duration::from_secs(30);
/// A call that has no answer ends with its own deadline, and its connection with it; these find out about the others.
const KEEPALIVE: Duration = Duration::from_secs(10);
const UNANSWERED: Duration = Duration::from_secs(20);
/// The one real object that was seen has 2.2 kB; an answer that is larger than this is not Revio's.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A statement of a month of 10,000 payments a day has about as much.
const FILE_BYTES_MAX: usize = 64 << 20;
/// For all of a file, however slowly it comes: as much of a step's time is left for what is in it.
const FILE_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Revio {
    http: reqwest::Client,
    base_url: Url,
    api_key: SecretString,
    brand_id: Uuid,
    test_mode: bool,
    deadlines: Deadlines,
    clock: Clock,
    purchases: Arc<Breaker>,
    payouts: Arc<Breaker>,
    /// Of addresses that execute payouts: each payout that is tried in vain is one of which nobody knows whether it was paid.
    executions: Arc<Breaker>,
    /// Of balance and statements.
    account: Arc<Breaker>,
    alone: Arc<Alone>,
    budget: Arc<Budget>,
    call_seconds: HistogramVec,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    NewPurchase,
    Purchase,
    Cancellation,
    Payment,
    NewPayout,
    Payout,
    Execution,
    Balance,
    NewStatement,
    Statement,
    /// What is in a statement.
    File,
}

impl Operation {
    fn class(self) -> Class {
        match self {
            Self::Balance | Self::NewStatement | Self::Statement | Self::File => Class::Reconciliation,
            Self::Purchase | Self::Payment | Self::Payout if budget::errand() == Some(Errand::Reconciliation) => {
                Class::Reconciliation
            }
            Self::Execution => Class::Executions,
            Self::Payout => Class::Payouts,
            Self::NewPayout => Class::Registrations,
            Self::NewPurchase => Class::Deposits,
            _ if budget::errand() == Some(Errand::Webhook) => Class::Webhooks,
            Self::Purchase | Self::Cancellation | Self::Payment => Class::Polling,
        }
    }

    /// In metrics and traces.
    fn name(self) -> &'static str {
        match self {
            Self::NewPurchase => "create_purchase",
            Self::Purchase => "purchase",
            Self::Cancellation => "cancel_purchase",
            Self::Payment => "payment",
            Self::NewPayout => "create_payout",
            Self::Payout => "payout",
            Self::Execution => "execute_payout",
            Self::Balance => "balance",
            Self::NewStatement => "create_statement",
            Self::Statement => "statement",
            Self::File => "statement_file",
        }
    }

    /// About which object it is; of a new one, for which row of ours.
    fn of(self, object: Uuid) -> Call {
        Call { operation: self, object: Some(object) }
    }

    fn of_account(self) -> Call {
        Call { operation: self, object: None }
    }

    /// Whether its place was taken before: where a row says that the call is made, or somebody waits for it.
    fn has_place(self) -> bool {
        self.has_begun() || (self == Self::NewPurchase && budget::errand() == Some(Errand::Customer))
    }

    /// Whether the breaker was asked then, too.
    fn has_begun(self) -> bool {
        self == Self::Execution
    }
}

/// One call.
#[derive(Debug, Clone, Copy)]
struct Call {
    operation: Operation,
    object: Option<Uuid>,
}

impl From<Call> for About {
    fn from(Call { operation, object }: Call) -> Self {
        Self { object, is_new: matches!(operation, Operation::NewPurchase | Operation::NewPayout) }
    }
}

pub type Result<T, E = RevioError> = std::result::Result<T, E>;

impl Revio {
    pub fn new(config: &Config, clock: Clock, limiter: Arc<Limiter>, metrics: RevioCalls) -> Self {
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_DEADLINE)
            .pool_idle_timeout(IDLE)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(2)
            .tcp_user_timeout(UNANSWERED)
            .user_agent(concat!("octoco/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the HTTP client needs no more than a working TLS library");
        let call_seconds = metrics.call_seconds.clone();
        let rates = (config.revio_calls_per_second, config.reconciliation_calls_per_second);
        let budget = Arc::new(Budget::new(rates, limiter, clock.clone(), metrics));
        Self {
            http,
            base_url: config.revio_base_url.clone(),
            api_key: config.revio_api_key.clone(),
            brand_id: config.revio_brand_id,
            test_mode: config.revio_test_mode,
            deadlines: config.revio_deadlines,
            clock,
            purchases: Arc::default(),
            payouts: Arc::default(),
            executions: Arc::new(Breaker::sparing()),
            account: Arc::default(),
            alone: Arc::default(),
            budget,
            call_seconds,
        }
    }

    /// For how long calls about purchases are held back because Revio does not answer; `None` = they are made.
    pub fn purchases_paused(&self) -> Option<TimeDelta> {
        self.purchases.paused(Operation::Purchase.of_account().into(), self.clock.now())
    }

    /// The same of a new purchase, which may be made where those that are there cannot be asked for.
    pub fn new_purchase_paused(&self) -> Option<TimeDelta> {
        self.purchases.paused(Operation::NewPurchase.of_account().into(), self.clock.now())
    }

    /// The same of calls about payouts.
    pub fn payouts_paused(&self) -> Option<TimeDelta> {
        self.payouts.paused(Operation::Payout.of_account().into(), self.clock.now())
    }

    /// The same of executions.
    pub fn executions_paused(&self) -> Option<TimeDelta> {
        self.executions.paused(Operation::Execution.of_account().into(), self.clock.now())
    }

    /// An execution that was made at this time has taken effect, however it was answered.
    pub fn execution_took_effect(&self, made: DateTime) {
        self.executions.took_effect(made);
    }

    /// Takes a place in the budget for the purchase that a customer waits for, who then asks for it on [`Errand::Customer`].
    pub async fn take_place_for_deposit(&self, customer: Uuid) -> Result<(), TimeDelta> {
        self.budget.wait(Class::Deposits, customer).await
    }

    /// Whether a row's payout may be executed soon. While Revio executes none, one at a time finds out whether it does again: then this is
    /// that one, so that nothing is registered, and no row says that money may leave, of those that are not.
    pub fn take_execution_turn(&self, row: Uuid) -> Result<()> {
        let about = Operation::Execution.of(row).into();
        self.executions.begin(about, self.clock.now()).map_or(Ok(()), |wait| Err(RevioError::Paused(wait)))
    }

    /// Takes a place in the budget for the execution of a row's payout, before the row says that money may leave.
    pub async fn take_place_for_execution(&self, row: Uuid) -> Result<()> {
        if let Some(wait) = self.payouts_paused() {
            return Err(RevioError::Paused(wait));
        }
        self.budget.wait_in_step(Class::Executions).await.map_err(RevioError::NoPlace)?;
        self.take_execution_turn(row)
    }

    /// `POST /purchases/`. Safe to repeat: a purchase whose link nobody has is never paid.
    pub async fn create_purchase(&self, new: &NewPurchase<'_>) -> Result<Purchase> {
        let (path, body) = (self.path(&["purchases"]), new.body(self.brand_id));
        let purchase: Purchase =
            self.send(Method::POST, path, Some(&body), Operation::NewPurchase.of(new.reference)).await?;
        expect_reference(&purchase.reference, new.reference)?;
        self.expect_ours(&purchase.is_test, &purchase.brand_id)?;
        expect_sum(purchase.bill.as_ref(), new.amount)?;
        match purchase.checkout_url.as_deref().map(|link| links::checkout(&self.base_url, link)) {
            Some(false) => Err(RevioError::Unreadable("its checkout_url leads nowhere that a payer is sent".into())),
            Some(true) | None => Ok(purchase),
        }
    }

    /// `GET /purchases/{id}/`: the truth about a deposit.
    pub async fn purchase(&self, id: Uuid) -> Result<Purchase> {
        let path = self.path(&["purchases", &id.to_string()]);
        let purchase: Purchase = self.send(Method::GET, path, NOTHING, Operation::Purchase.of(id)).await?;
        expect_id(purchase.id, id).map(|()| self.without_false_link(purchase))
    }

    /// `POST /purchases/{id}/cancel/`: after a success it cannot be paid any more.
    pub async fn cancel_purchase(&self, id: Uuid) -> Result<Purchase> {
        let path = self.path(&["purchases", &id.to_string(), "cancel"]);
        let purchase: Purchase =
            self.send(Method::POST, path, Some(&json!({})), Operation::Cancellation.of(id)).await?;
        expect_id(purchase.id, id).map(|()| self.without_false_link(purchase))
    }

    /// What it says of money counts, whatever stands there for a link.
    fn without_false_link(&self, mut purchase: Purchase) -> Purchase {
        purchase.checkout_url = purchase.checkout_url.filter(|link| links::checkout(&self.base_url, link));
        purchase
    }

    /// `GET /payments/{id}/`: a refund, chargeback or reversal. Nowhere documented (`docs/provider.md`, payments): where there is no such
    /// call, or none for our key, it is `NotFound`.
    pub async fn payment(&self, id: Uuid) -> Result<Payment> {
        let path = self.path(&["payments", &id.to_string()]);
        let payment: Payment = self.send(Method::GET, path, NOTHING, Operation::Payment.of(id)).await?;
        expect_id(payment.id, id).map(|()| payment)
    }

    /// `POST /payouts/`: registers a payout. No money moves until [`Revio::execute_payout`], so it is safe to repeat.
    pub async fn create_payout(&self, new: &NewPayout<'_>) -> Result<Payout> {
        let (path, body) = (self.path(&["payouts"]), new.body(self.brand_id));
        let payout: Payout = self.send(Method::POST, path, Some(&body), Operation::NewPayout.of(new.reference)).await?;
        expect_named(payout.id)?;
        expect_reference(&payout.reference, new.reference)?;
        self.expect_ours(&payout.is_test, &payout.brand_id)?;
        if let Some(link) = &payout.execution_url {
            links::execution(&self.base_url, link).ok_or_else(no_execution)?;
        }
        Ok(payout)
    }

    /// `POST <execution_url>`: money leaves. Never repeated without [`Revio::payout`] in between, and made only by who has taken the
    /// place for it ([`Revio::take_place_for_execution`]). Its answer may say no more than its status.
    ///
    /// Assumption (`docs/provider.md`, rail): the bank-account rail is the destination given at creation and an empty JSON object
    /// here. This function is the whole rail, so that another answer from Revio changes one place.
    pub async fn execute_payout(&self, row: Uuid, id: Uuid, execution_url: &str) -> Result<Payout> {
        let url = links::execution(&self.base_url, execution_url).ok_or_else(no_execution)?;
        let mut payout: Payout = self.send(Method::POST, url, Some(&json!({})), Operation::Execution.of(row)).await?;
        payout.id = Some(payout.id).filter(|id| !id.is_nil()).unwrap_or(id);
        expect_id(payout.id, id).map(|()| payout)
    }

    /// `GET /payouts/{id}/`: the truth about a withdrawal.
    pub async fn payout(&self, id: Uuid) -> Result<Payout> {
        let path = self.path(&["payouts", &id.to_string()]);
        let mut payout: Payout = self.send(Method::GET, path, NOTHING, Operation::Payout.of(id)).await?;
        expect_id(payout.id, id)?;
        payout.execution_url = payout.execution_url.filter(|link| links::execution(&self.base_url, link).is_some());
        Ok(payout)
    }

    /// Whether an object says that it is of another mode or brand: no money of ours moves by it. What it does not say is no contradiction.
    pub fn is_foreign(&self, is_test: &Flag, brand_id: &str) -> bool {
        let own_mode = match is_test {
            Flag::Unsaid => true,
            Flag::Yes => self.test_mode,
            Flag::No => !self.test_mode,
            Flag::Odd(_) => false,
        };
        !own_mode || !(brand_id.is_empty() || brand_id.parse() == Ok(self.brand_id))
    }

    /// Of what was just made, before anybody pays it or is paid by it: a key of another mode or brand makes objects that count nowhere.
    fn expect_ours(&self, is_test: &Flag, brand_id: &str) -> Result<()> {
        if self.is_foreign(is_test, brand_id) {
            let foreign = "of another mode or brand than REVIO_TEST_MODE and REVIO_BRAND_ID say";
            return Err(RevioError::Unreadable(foreign.into()));
        }
        Ok(())
    }

    /// Every path of Revio's ends in a slash.
    fn path(&self, parts: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        url.path_segments_mut().expect("the base URL is http(s)").pop_if_empty().extend(parts).push("");
        url
    }

    async fn send<B, T>(&self, method: Method, url: Url, body: Option<&B>, call: Call) -> Result<T>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let request = self.with_key(self.http.request(method, url));
        let request = if let Some(body) = body { request.json(body) } else { request };
        self.call(request, call, parse_json).await
    }

    /// No answer that somebody on the way has kept: an older state is obeyed by nobody.
    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.api_key.expose_secret()).header(CACHE_CONTROL, "no-cache")
    }

    async fn call<T>(&self, request: RequestBuilder, call: Call, parse: fn(Vec<u8>) -> Result<T>) -> Result<T> {
        let (operation, class) = (call.operation, call.operation.class());
        let (breaker, deadline, bytes_max) = self.route(operation);
        self.admit(breaker, call).await?;
        let span = tracing::debug_span!("revio", call = operation.name(), class = class.name(), outcome = Empty);
        let started = Instant::now();
        let answered = async {
            match request.timeout(deadline).send().await {
                Ok(response) => read(operation, response, bytes_max, self.clock.now()).await.and_then(parse),
                Err(error) => Err(transport(error)),
            }
        };
        let answer = closed_as_missing(operation, answered.instrument(span.clone()).await);
        span.record("outcome", outcome(&answer));
        self.budget.count(class, outcome(&answer));
        self.call_seconds
            .with_label_values(&[operation.name(), outcome(&answer)])
            .observe(started.elapsed().as_secs_f64());
        self.judge(breaker, call, &answer).await;
        self.unless_alone(call, answer)
    }

    /// Whose outage it would share, how long it may take, and how large its answer may be.
    fn route(&self, operation: Operation) -> (&Breaker, Duration, usize) {
        match operation {
            Operation::NewPurchase | Operation::Purchase | Operation::Cancellation | Operation::Payment => {
                (&self.purchases, self.deadlines.call, ANSWER_BYTES_MAX)
            }
            Operation::NewPayout | Operation::Payout => (&self.payouts, self.deadlines.call, ANSWER_BYTES_MAX),
            Operation::Execution => (&self.executions, self.deadlines.execute, ANSWER_BYTES_MAX),
            Operation::Balance | Operation::NewStatement | Operation::Statement => {
                (&self.account, self.deadlines.call, ANSWER_BYTES_MAX)
            }
            Operation::File => (&self.account, FILE_DEADLINE, FILE_BYTES_MAX),
        }
    }

    /// Lets a call go out once it has a place, unless Revio is to be left alone.
    async fn admit(&self, breaker: &Breaker, call: Call) -> Result<()> {
        let (operation, about) = (call.operation, About::from(call));
        if let Some(wait) = breaker.paused(about, self.clock.now()).filter(|_| !operation.has_begun()) {
            return Err(RevioError::Paused(wait));
        }
        if !operation.has_place() {
            self.budget.wait_in_step(operation.class()).await.map_err(RevioError::NoPlace)?;
        }
        // After a pause this may make it a probe, so it is made now.
        if !operation.has_begun()
            && let Some(wait) = breaker.begin(about, self.clock.now())
        {
            return Err(RevioError::Paused(wait));
        }
        Ok(())
    }

    /// What an answer says of those to come.
    async fn judge<T>(&self, breaker: &Breaker, call: Call, answer: &Result<T>) {
        let (operation, about) = (call.operation, About::from(call));
        match answer {
            // A call that is documented nowhere says nothing of those that are.
            Err(error) if operation == Operation::Payment && error.is_answer() => {}
            // Nor does the storage that a file comes from (`download_statement`).
            Err(RevioError::RateLimited { .. } | RevioError::Unauthorized { .. }) if operation == Operation::File => {}
            // A key that is not taken any more keeps everybody waiting, too, and an operator must hear of it.
            Err(error) if error.may_be_an_outage() => breaker.failed(about, self.clock.now()),
            Err(RevioError::RateLimited { retry_after }) => {
                // It answers, and says when it will again. Where it executes nothing, few are tried: each that is not executed in time needs people.
                match operation {
                    Operation::Execution => breaker.failed(about, self.clock.now()),
                    _ => breaker.answered(),
                }
                self.budget.hold_back(slow_down(*retry_after)).await;
            }
            // A key that may register, and not execute, would have each row held; so would an account that has run dry, which is refused in words
            // from one row to the next. One that is done may be answered in no words, too: its payout says so (`execution_took_effect`).
            Err(_) if operation == Operation::Execution => breaker.failed(about, self.clock.now()),
            _ => breaker.answered(),
        }
    }

    /// The answer, or what it says once Revio has failed for the object alone.
    fn unless_alone<T>(&self, Call { operation, object }: Call, answer: Result<T>) -> Result<T> {
        let Some(object) = object else { return answer };
        let now = self.clock.now();
        match answer {
            limited @ Err(RevioError::RateLimited { .. }) => limited,
            Err(error) if error.may_be_an_outage() => match self.alone.failed(operation, object, now) {
                Some(lasts) => Err(RevioError::Alone(lasts, Box::new(error))),
                None => Err(error),
            },
            answer => {
                self.alone.served(operation, object, now);
                answer
            }
        }
    }
}

/// In metrics.
fn outcome<T>(answer: &Result<T>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(RevioError::Rejected { .. } | RevioError::NotFound | RevioError::Unauthorized { .. }) => "refused",
        Err(RevioError::RateLimited { .. }) => "rate_limited",
        Err(RevioError::Unreadable(_) | RevioError::Taken(_)) => "unreadable",
        Err(_) => "no_answer",
    }
}

const NOTHING: Option<&()> = None;

fn no_execution() -> RevioError {
    RevioError::Unreadable("its execution_url is no address that executes a payout".into())
}

fn transport(source: reqwest::Error) -> RevioError {
    RevioError::Transport(source.without_url())
}

/// Where the answer is not what it should be. The error's own text would quote the value that stands there, which may be
/// somebody's name or account number, and this goes into the log.
fn unreadable(error: &serde_json::Error) -> RevioError {
    let place = format!("{:?} at line {} column {}", error.classify(), error.line(), error.column());
    RevioError::Unreadable(place.into())
}

fn parse_json<T: DeserializeOwned>(body: Vec<u8>) -> Result<T> {
    serde_json::from_slice(&body).map_err(|error| unreadable(&error))
}
