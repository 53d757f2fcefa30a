//! Revio's HTTP API, as much of it as deposits, withdrawals and finance (`accounts`) need. Every call has a deadline and is made once: who may repeat what
//! is decided by `deposits` and `withdrawals`, from what Revio says of the object when asked again. Redirects are never followed. How
//! often it is called, and for what first, is in `budget`; payouts and purchases are left alone apart from each other (`breaker`).

mod accounts;
mod breaker;
mod budget;
mod links;
pub mod types;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use prometheus::HistogramVec;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use tracing::{Instrument, field::Empty};
use uuid::Uuid;

use crate::platform::config::{Config, Deadlines};
use crate::platform::{clock::Clock, error::Error, rate_limits::Limiter, telemetry::RevioCalls};
use crate::provider::revio::breaker::Breaker;
use crate::provider::revio::budget::{Budget, Class};

pub use accounts::{BalanceField, Statement, StatementStatus};
pub use budget::{Errand, on};
pub use types::{NewPayout, NewPurchase, PaymentObject, Payout, PayoutStatus, Purchase, PurchaseStatus};

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
/// For all of a file, however slowly it comes; well within the lease of the row that waits for it.
const FILE_DEADLINE: Duration = Duration::from_secs(60);

/// When Revio asks us to slow down: what it asks for, else this, and never longer than the maximum.
const RATE_LIMITED_WAIT: TimeDelta = TimeDelta::seconds(30);
const RATE_LIMITED_WAIT_MAX: TimeDelta = TimeDelta::minutes(5);

#[derive(Clone)]
pub struct Revio {
    http: reqwest::Client,
    base_url: Url,
    api_key: SecretString,
    brand_id: Uuid,
    deadlines: Deadlines,
    clock: Clock,
    purchases: Arc<Breaker>,
    payouts: Arc<Breaker>,
    /// Of balance and statements.
    account: Arc<Breaker>,
    budget: Arc<Budget>,
    call_seconds: HistogramVec,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
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

impl What {
    fn class(self) -> Class {
        match self {
            Self::Balance | Self::NewStatement | Self::Statement | Self::File => Class::Reconciliation,
            Self::Purchase | Self::Payment | Self::Payout if budget::errand() == Some(Errand::Reconciliation) => {
                Class::Reconciliation
            }
            Self::NewPayout | Self::Payout | Self::Execution => Class::Payouts,
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

    /// Whether its place was taken before: where a row says that the call is made, or somebody waits for it.
    fn has_place(self) -> bool {
        self == Self::Execution || (self == Self::NewPurchase && budget::errand() == Some(Errand::Customer))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RevioError {
    /// The call was not made: Revio does not answer at the moment, and is left alone for so long.
    #[error("Revio is taken to be away; not asked for {} s", .0.num_seconds())]
    Paused(TimeDelta),
    /// The call was not made: others come first, or Revio has asked us to slow down.
    #[error("no call to Revio is left for it; not asked for {} ms", .0.num_milliseconds())]
    NoPlace(TimeDelta),
    /// Revio understood and refused; nothing was done.
    #[error("Revio refused the call ({status}: {codes})")]
    Rejected { status: u16, codes: String },
    /// Our key is wrong: nothing was done, and nothing will be until an operator looks.
    #[error("Revio does not accept our key ({status})")]
    Unauthorized { status: u16 },
    #[error("Revio does not know the object")]
    NotFound,
    #[error("Revio asks us to slow down")]
    RateLimited { retry_after: Option<Duration> },
    /// 5xx, or a status that has no meaning here: the call may have had its effect.
    #[error("Revio answered {status}")]
    Upstream { status: u16 },
    /// 2xx with a body that is not the object: the call had its effect.
    #[error("Revio's answer could not be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("Revio could not be reached")]
    Transport(#[source] reqwest::Error),
}

pub type Result<T, E = RevioError> = std::result::Result<T, E>;

impl From<RevioError> for Error {
    fn from(error: RevioError) -> Self {
        match &error {
            RevioError::Paused(wait) => Self::provider_paused(*wait),
            RevioError::RateLimited { retry_after } => Self::provider_paused(slow_down(*retry_after)),
            // Not until there is a place: too many would come back at that moment. Each waits longer each time.
            RevioError::NoPlace(_) => Self::unavailable(error),
            RevioError::Transport { .. } | RevioError::Unauthorized { .. } => Self::unavailable(error),
            RevioError::Upstream { status } if *status >= 500 || *status == 408 => Self::unavailable(error),
            RevioError::Upstream { .. }
            | RevioError::Rejected { .. }
            | RevioError::NotFound
            | RevioError::Unreadable(_) => Self::Unusable(error.into()),
        }
    }
}

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
            deadlines: config.revio_deadlines,
            clock,
            purchases: Arc::default(),
            payouts: Arc::default(),
            account: Arc::default(),
            budget,
            call_seconds,
        }
    }

    pub fn brand_id(&self) -> Uuid {
        self.brand_id
    }

    /// For how long calls about purchases are held back because Revio does not answer; `None` = they are made.
    pub fn purchases_paused(&self) -> Option<TimeDelta> {
        self.purchases.paused(self.clock.now())
    }

    /// The same of calls about payouts.
    pub fn payouts_paused(&self) -> Option<TimeDelta> {
        self.payouts.paused(self.clock.now())
    }

    /// Takes the place of the purchase that a customer waits for, who then asks for it on [`Errand::Customer`].
    pub async fn place_for_deposit(&self, customer: Uuid) -> Result<(), TimeDelta> {
        self.budget.wait(Class::Deposits, customer).await
    }

    /// Takes the place of a payout's execution, before its row says that money may leave.
    pub async fn place_for_execution(&self) -> Result<()> {
        if let Some(wait) = self.payouts_paused() {
            return Err(RevioError::Paused(wait));
        }
        self.budget.take(Class::Payouts).await.map_err(RevioError::NoPlace)
    }

    /// `POST /purchases/`. Safe to repeat: a purchase whose link nobody has is never paid.
    pub async fn create_purchase(&self, new: &NewPurchase<'_>) -> Result<Purchase> {
        let path = self.path(&["purchases"]);
        let purchase: Purchase =
            self.send(Method::POST, path, Some(&new.body(self.brand_id)), What::NewPurchase).await?;
        match purchase.checkout_url.as_deref().map(|link| links::checkout(&self.base_url, link)) {
            Some(false) => Err(RevioError::Unreadable("its checkout_url leads nowhere that a payer is sent".into())),
            Some(true) | None => Ok(purchase),
        }
    }

    /// `GET /purchases/{id}/`: the truth about a deposit.
    pub async fn purchase(&self, id: Uuid) -> Result<Purchase> {
        self.send(Method::GET, self.path(&["purchases", &id.to_string()]), NOTHING, What::Purchase).await
    }

    /// `POST /purchases/{id}/cancel/`: after a success it cannot be paid any more.
    pub async fn cancel_purchase(&self, id: Uuid) -> Result<Purchase> {
        self.send(Method::POST, self.path(&["purchases", &id.to_string(), "cancel"]), NOTHING, What::Cancellation).await
    }

    /// `GET /payments/{id}/`: a refund, chargeback or reversal. Nowhere documented (`revio.md` 2): where there is no such call, it is `NotFound`.
    pub async fn payment(&self, id: Uuid) -> Result<PaymentObject> {
        self.send(Method::GET, self.path(&["payments", &id.to_string()]), NOTHING, What::Payment).await
    }

    /// `POST /payouts/`: registers a payout. No money moves until [`Revio::execute_payout`], so it is safe to repeat.
    pub async fn create_payout(&self, new: &NewPayout<'_>) -> Result<Payout> {
        let path = self.path(&["payouts"]);
        let payout: Payout = self.send(Method::POST, path, Some(&new.body(self.brand_id)), What::NewPayout).await?;
        if let Some(link) = &payout.execution_url {
            links::execution(&self.base_url, link).ok_or_else(no_execution)?;
        }
        Ok(payout)
    }

    /// `POST <execution_url>`: money leaves. Never repeated without [`Revio::payout`] in between, and made only by who has taken the
    /// place for it ([`Revio::place_for_execution`]).
    ///
    /// Assumption (`revio.md` 0): the bank-account rail is the destination given at creation and an empty JSON object
    /// here. This function is the whole rail, so that another answer from Revio changes one place.
    pub async fn execute_payout(&self, execution_url: &str) -> Result<Payout> {
        let url = links::execution(&self.base_url, execution_url).ok_or_else(no_execution)?;
        self.send(Method::POST, url, Some(&serde_json::json!({})), What::Execution).await
    }

    /// `GET /payouts/{id}/`: the truth about a withdrawal.
    pub async fn payout(&self, id: Uuid) -> Result<Payout> {
        self.send(Method::GET, self.path(&["payouts", &id.to_string()]), NOTHING, What::Payout).await
    }

    /// Every path of Revio's ends in a slash.
    fn path(&self, parts: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        url.path_segments_mut().expect("the base URL is http(s)").pop_if_empty().extend(parts).push("");
        url
    }

    async fn send<B, T>(&self, method: Method, url: Url, body: Option<&B>, what: What) -> Result<T>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        let request = self.with_key(self.http.request(method, url));
        let request = if let Some(body) = body { request.json(body) } else { request };
        self.call(request, what, object).await
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.api_key.expose_secret())
    }

    async fn call<T>(&self, request: RequestBuilder, what: What, parse: fn(Vec<u8>) -> Result<T>) -> Result<T> {
        let (breaker, deadline, bytes_max) = match what {
            What::NewPurchase | What::Purchase | What::Cancellation | What::Payment => {
                (&self.purchases, self.deadlines.call, ANSWER_BYTES_MAX)
            }
            What::NewPayout | What::Payout => (&self.payouts, self.deadlines.call, ANSWER_BYTES_MAX),
            What::Execution => (&self.payouts, self.deadlines.execute, ANSWER_BYTES_MAX),
            What::Balance | What::NewStatement | What::Statement => {
                (&self.account, self.deadlines.call, ANSWER_BYTES_MAX)
            }
            What::File => (&self.account, FILE_DEADLINE, FILE_BYTES_MAX),
        };
        let class = what.class();
        if let Some(wait) = breaker.paused(self.clock.now()) {
            return Err(RevioError::Paused(wait));
        }
        if !what.has_place() {
            let place = match class {
                Class::Reconciliation => self.budget.wait_for_run(class).await,
                _ => self.budget.take(class).await,
            };
            place.map_err(RevioError::NoPlace)?;
        }
        // After a pause this may make it the probe, so it is made now.
        if let Some(wait) = breaker.wait(self.clock.now()) {
            return Err(RevioError::Paused(wait));
        }
        let span = tracing::debug_span!("revio", call = what.name(), class = class.name(), outcome = Empty);
        let started = Instant::now();
        let answered = async {
            match request.timeout(deadline).send().await {
                Ok(response) => read(response, bytes_max).await.and_then(parse),
                Err(error) => Err(transport(error)),
            }
        };
        let answer = answered.instrument(span.clone()).await;
        span.record("outcome", outcome(&answer));
        self.budget.count(class, outcome(&answer));
        self.call_seconds.with_label_values(&[what.name(), outcome(&answer)]).observe(started.elapsed().as_secs_f64());
        match &answer {
            Err(RevioError::Transport(_) | RevioError::Upstream { .. }) => breaker.failed(self.clock.now()),
            Err(RevioError::RateLimited { retry_after }) => {
                // It answers, and says when it will again.
                breaker.answered();
                self.budget.hold_back(slow_down(*retry_after)).await;
            }
            _ => breaker.answered(),
        }
        answer
    }
}

/// For how long Revio is left alone after a 429.
fn slow_down(retry_after: Option<Duration>) -> TimeDelta {
    let wait = retry_after.and_then(|wait| TimeDelta::from_std(wait).ok());
    wait.unwrap_or(RATE_LIMITED_WAIT).min(RATE_LIMITED_WAIT_MAX)
}

/// In metrics.
fn outcome<T>(answer: &Result<T>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(RevioError::Rejected { .. } | RevioError::NotFound | RevioError::Unauthorized { .. }) => "refused",
        Err(RevioError::RateLimited { .. }) => "rate_limited",
        Err(RevioError::Unreadable(_)) => "unreadable",
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

fn object<T: DeserializeOwned>(body: Vec<u8>) -> Result<T> {
    serde_json::from_slice(&body).map_err(|error| unreadable(&error))
}

/// What a success carries, never more than `bytes_max`.
async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>> {
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(RevioError::Unreadable("the answer is too large".into()));
        }
        body.extend_from_slice(&chunk);
    }
    match status {
        status if status.is_success() => Ok(body),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RevioError::Unauthorized { status: status.as_u16() }),
        StatusCode::NOT_FOUND => Err(RevioError::NotFound),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(RevioError::RateLimited { retry_after: retry_after.map(Duration::from_secs) })
        }
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(RevioError::Rejected { status: status.as_u16(), codes: types::error_codes(&body) })
        }
        status => Err(RevioError::Upstream { status: status.as_u16() }),
    }
}
