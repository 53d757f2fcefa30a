//! Is the process alive, and can it do its work? Asked by people, load balancers and `./dev`.

pub mod routes;

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::books::projector;
use crate::platform::footing::{self, Refusal};
use crate::platform::openapi::words;

/// A part that answers later than this is as good as away.
const DEADLINE: Duration = Duration::from_secs(2);
/// A read model that lags by more is worth a word.
const BEHIND_SECS: i64 = 60;

/// Each part: `ok` or what is wrong, in one word.
#[derive(Serialize, ToSchema)]
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

pub async fn readiness(app: &App) -> Readiness {
    let (postgres, ledger, redis, lag) = tokio::join!(
        tokio::time::timeout(DEADLINE, footing::is_migrated(&app.db)),
        tokio::time::timeout(DEADLINE, app.ledger.ping()),
        app.limiter.ping(),
        tokio::time::timeout(DEADLINE, projector::lag(app)),
    );
    let postgres = match postgres {
        Ok(Ok(true)) => "ok",
        Ok(Ok(false)) => "not_migrated",
        Ok(Err(_)) | Err(_) => "unavailable",
    };
    let ledger = if matches!(ledger, Ok(Ok(()))) { "ok" } else { "unavailable" };
    let redis = if redis { "ok" } else { "unavailable" };
    let ready = postgres == "ok" && ledger == "ok";
    let lag = lag.ok().and_then(Result::ok);
    let seconds = lag.as_ref().map(|all| all.iter().map(|lag| lag.age.num_seconds()).max().unwrap_or(0));
    Readiness {
        status: if ready { "ready" } else { "not_ready" },
        postgres,
        ledger,
        redis,
        payouts: app.footing.refusal().map_or("ok", Refusal::word),
        read_model: seconds.map_or("unavailable", |seconds| if seconds > BEHIND_SECS { "behind" } else { "ok" }),
        read_model_lag_transfers: lag.map(|all| all.iter().map(|lag| lag.transfers).sum()),
        read_model_lag_seconds: seconds,
    }
}
