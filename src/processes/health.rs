//! Is the process alive, and can it do its work? Asked by people, load balancers and `./dev`.
//!
//! Anybody may ask, as often as they like, and each look costs every part something. So there is one at a time ([`Looks`]): whoever asks
//! while one goes on is answered by it, and for a second after it so is whoever comes then.

pub mod routes;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::app::App;
use crate::books::projector;
use crate::money::safe_mode;
use crate::platform::error::{Error, Result};
use crate::platform::footing;
use crate::platform::openapi::words;

/// A part that answers later than this is as good as away.
const DEADLINE: Duration = Duration::from_secs(2);
/// For so long what was found is told again.
const KEPT: Duration = Duration::from_secs(1);
/// A read model that lags by more is worth a word.
const BEHIND_SECS: i64 = 60;

/// What a look has found, and when; nothing while it goes on.
type Look = watch::Receiver<Option<(Instant, Readiness)>>;

/// The look that goes on, or the last one.
#[derive(Default)]
pub struct Looks(Mutex<Option<Look>>);

impl Looks {
    /// # Errors
    /// [`Error::Internal`] when the look broke off, which is a mistake of ours.
    pub async fn readiness(&self, app: &App) -> Result<Readiness> {
        let mut look = self.current(app);
        let ended = look.wait_for(Option::is_some).await.map_err(Error::internal)?;
        ended.as_ref().map(|(_, found)| found.clone()).ok_or_else(|| Error::internal("a look without an end"))
    }

    fn current(&self, app: &App) -> Look {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(look) = last.as_ref().filter(|look| is_of_use(look)) {
            return look.clone();
        }
        let (tell, look) = watch::channel(None);
        let of = app.clone();
        // It goes on whoever listens: callers that go away at once do not make it begin anew.
        let looking = async move {
            let found = readiness(&of).await;
            tell.send_replace(Some((Instant::now(), found)));
        };
        app.in_hand.spawn(looking.in_current_span());
        last.insert(look).clone()
    }
}

fn is_of_use(look: &Look) -> bool {
    match &*look.borrow() {
        Some((ended, _)) => ended.elapsed() < KEPT,
        // Whoever would tell is gone if it broke off.
        None => look.has_changed().is_ok(),
    }
}

/// Each part: `ok` or what is wrong, in one word.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Readiness {
    #[schema(schema_with = words::readiness)]
    pub status: &'static str,
    #[schema(schema_with = words::database)]
    pub postgres: &'static str,
    #[schema(schema_with = words::part)]
    pub ledger: &'static str,
    #[schema(schema_with = words::redis)]
    pub redis: &'static str,
    #[schema(schema_with = words::payouts)]
    pub payouts: &'static str,
    #[schema(schema_with = words::read_model)]
    pub read_model: &'static str,
    /// Transfers that are not copied yet; at 1000 there may be more.
    pub read_model_lag_transfers: Option<usize>,
    /// For how long the oldest of them has been waiting.
    pub read_model_lag_seconds: Option<i64>,
}

async fn readiness(app: &App) -> Readiness {
    let (postgres, ledger, redis, lag, safe_mode) = tokio::join!(
        tokio::time::timeout(DEADLINE, footing::is_migrated(&app.db)),
        tokio::time::timeout(DEADLINE, app.ledger.ping()),
        app.limiter.ping(),
        tokio::time::timeout(DEADLINE, projector::lag(app)),
        tokio::time::timeout(DEADLINE, safe_mode::is_on(app)),
    );
    let postgres = match postgres {
        Ok(Ok(true)) => "ok",
        Ok(Ok(false)) => "not_migrated",
        Ok(Err(_)) | Err(_) => "unavailable",
    };
    let ledger = if matches!(ledger, Ok(Ok(()))) { "ok" } else { "unavailable" };
    let redis = if redis { "ok" } else { "unavailable" };
    let payouts = match (app.footing.refusal(), safe_mode) {
        (Some(refusal), _) => refusal.word(),
        (None, Ok(Ok(true))) => "safe_mode",
        (None, Ok(Ok(false))) => "ok",
        (None, Ok(Err(_)) | Err(_)) => "unavailable",
    };
    let ready = postgres == "ok" && ledger == "ok";
    let lag = lag.ok().and_then(|lag| lag.ok());
    let seconds = lag.as_ref().map(|all| all.iter().map(|lag| lag.age.num_seconds()).max().unwrap_or(0));
    Readiness {
        status: if ready { "ready" } else { "not_ready" },
        postgres,
        ledger,
        redis,
        payouts,
        read_model: seconds.map_or("unavailable", |seconds| if seconds > BEHIND_SECS { "behind" } else { "ok" }),
        read_model_lag_transfers: lag.map(|all| all.iter().map(|lag| lag.transfers).sum()),
        read_model_lag_seconds: seconds,
    }
}
