//! Revio's HTTP API, as much of it as deposits and withdrawals need. Every call has a deadline and is made once: who may repeat what
//! is decided by `deposits` and `withdrawals`, from what Revio says of the object when asked again. Redirects are never followed.

mod breaker;
mod links;
pub mod types;

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;

use reqwest::{Method, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::platform::{clock::Clock, config::Deadlines, error::Error};
use crate::provider::revio::breaker::Breaker;

pub use types::{NewPayout, NewPurchase, PaymentObject, Payout, PayoutStatus, Purchase, PurchaseStatus};

const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// What Revio's side or a network between may have forgotten is not used again.
const IDLE: Duration = Duration::from_secs(30);
/// A call that has no answer ends with its own deadline, and its connection with it; these find out about the others.
const KEEPALIVE: Duration = Duration::from_secs(10);
const UNANSWERED: Duration = Duration::from_secs(20);
/// The one real object that was seen has 2.2 kB; an answer that is larger than this is not Revio's.
const ANSWER_BYTES_MAX: usize = 1 << 20;

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
    breaker: Arc<Breaker>,
}

#[derive(Debug, thiserror::Error)]
pub enum RevioError {
    /// The call was not made: Revio does not answer at the moment, and is left alone for so long.
    #[error("Revio is taken to be away; not asked for {} s", .0.num_seconds())]
    Paused(TimeDelta),
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

pub type Result<T> = std::result::Result<T, RevioError>;

impl From<RevioError> for Error {
    fn from(error: RevioError) -> Self {
        match &error {
            RevioError::Paused(wait) => Self::provider_paused(*wait),
            RevioError::RateLimited { retry_after } => {
                let wait = retry_after.and_then(|wait| TimeDelta::from_std(wait).ok());
                Self::provider_paused(wait.unwrap_or(RATE_LIMITED_WAIT).min(RATE_LIMITED_WAIT_MAX))
            }
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
    pub fn new(base_url: Url, api_key: SecretString, brand_id: Uuid, deadlines: Deadlines, clock: Clock) -> Self {
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
        Self { http, base_url, api_key, brand_id, deadlines, clock, breaker: Arc::default() }
    }

    pub fn brand_id(&self) -> Uuid {
        self.brand_id
    }

    /// For how long calls are held back because Revio does not answer; `None` = they are made.
    pub fn paused(&self) -> Option<TimeDelta> {
        self.breaker.paused(self.clock.now())
    }

    /// `POST /purchases/`. Safe to repeat: a purchase whose link nobody has is never paid.
    pub async fn create_purchase(&self, new: &NewPurchase<'_>) -> Result<Purchase> {
        let path = self.path(&["purchases"]);
        let purchase: Purchase =
            self.send(Method::POST, path, Some(&new.body(self.brand_id)), self.deadlines.call).await?;
        match purchase.checkout_url.as_deref().map(|link| links::checkout(&self.base_url, link)) {
            Some(false) => Err(RevioError::Unreadable("its checkout_url leads nowhere that a payer is sent".into())),
            Some(true) | None => Ok(purchase),
        }
    }

    /// `GET /purchases/{id}/`: the truth about a deposit.
    pub async fn purchase(&self, id: Uuid) -> Result<Purchase> {
        self.send(Method::GET, self.path(&["purchases", &id.to_string()]), NOTHING, self.deadlines.call).await
    }

    /// `POST /purchases/{id}/cancel/`: after a success it cannot be paid any more.
    pub async fn cancel_purchase(&self, id: Uuid) -> Result<Purchase> {
        self.send(Method::POST, self.path(&["purchases", &id.to_string(), "cancel"]), NOTHING, self.deadlines.call)
            .await
    }

    /// `GET /payments/{id}/`: a refund, chargeback or reversal. Nowhere documented (`revio.md` 2): where there is no such call, it is `NotFound`.
    pub async fn payment(&self, id: Uuid) -> Result<PaymentObject> {
        self.send(Method::GET, self.path(&["payments", &id.to_string()]), NOTHING, self.deadlines.call).await
    }

    /// `POST /payouts/`: registers a payout. No money moves until [`Revio::execute_payout`], so it is safe to repeat.
    pub async fn create_payout(&self, new: &NewPayout<'_>) -> Result<Payout> {
        let path = self.path(&["payouts"]);
        let payout: Payout = self.send(Method::POST, path, Some(&new.body(self.brand_id)), self.deadlines.call).await?;
        if let Some(link) = &payout.execution_url {
            links::execution(&self.base_url, link).ok_or_else(no_execution)?;
        }
        Ok(payout)
    }

    /// `POST <execution_url>`: money leaves. Never repeated without [`Revio::payout`] in between.
    ///
    /// Assumption (`revio.md` 0): the bank-account rail is the destination given at creation and an empty JSON object
    /// here. This function is the whole rail, so that another answer from Revio changes one place.
    pub async fn execute_payout(&self, execution_url: &str) -> Result<Payout> {
        let url = links::execution(&self.base_url, execution_url).ok_or_else(no_execution)?;
        self.send(Method::POST, url, Some(&serde_json::json!({})), self.deadlines.execute).await
    }

    /// `GET /payouts/{id}/`: the truth about a withdrawal.
    pub async fn payout(&self, id: Uuid) -> Result<Payout> {
        self.send(Method::GET, self.path(&["payouts", &id.to_string()]), NOTHING, self.deadlines.call).await
    }

    /// Every path of Revio's ends in a slash.
    fn path(&self, parts: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        url.path_segments_mut().expect("the base URL is http(s)").pop_if_empty().extend(parts).push("");
        url
    }

    async fn send<B, T>(&self, method: Method, url: Url, body: Option<&B>, deadline: Duration) -> Result<T>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        if let Some(wait) = self.breaker.wait(self.clock.now()) {
            return Err(RevioError::Paused(wait));
        }
        let mut request = self.http.request(method, url).timeout(deadline).bearer_auth(self.api_key.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Err(transport(error)),
        };
        match &answer {
            Err(RevioError::Transport(_) | RevioError::Upstream { .. } | RevioError::RateLimited { .. }) => {
                self.breaker.failed(self.clock.now());
            }
            _ => self.breaker.answered(),
        }
        answer
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

async fn read<T: DeserializeOwned>(mut response: reqwest::Response) -> Result<T> {
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Err(RevioError::Unreadable("the answer is too large".into()));
        }
        body.extend_from_slice(&chunk);
    }
    match status {
        status if status.is_success() => serde_json::from_slice(&body).map_err(|error| unreadable(&error)),
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
