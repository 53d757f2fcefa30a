//! Is the process alive, and can it do its work? Asked by people, load balancers and `./dev`.

pub mod routes;
mod store;

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// A part that answers later than this is as good as away.
const DEADLINE: Duration = Duration::from_secs(2);

/// Each part: `ok` or what is wrong, in one word.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not_ready`.
    pub status: &'static str,
    pub postgres: &'static str,
    pub ledger: &'static str,
    /// Its loss costs rate limits only, so it never makes the service not ready.
    pub redis: &'static str,
}

/// Asks every part at once.
pub async fn readiness(app: &App) -> Readiness {
    let (postgres, ledger, redis) = tokio::join!(
        tokio::time::timeout(DEADLINE, store::migrated(&app.db)),
        tokio::time::timeout(DEADLINE, app.ledger.ping()),
        app.limiter.ping(),
    );
    let latest = crate::MIGRATIONS.iter().map(|migration| migration.version).max();
    let postgres = match postgres {
        Ok(Ok(version)) if version >= latest => "ok",
        Ok(Ok(_)) => "not_migrated",
        Ok(Err(_)) | Err(_) => "unavailable",
    };
    let ledger = if matches!(ledger, Ok(Ok(()))) { "ok" } else { "unavailable" };
    let redis = if redis { "ok" } else { "unavailable" };
    let ready = postgres == "ok" && ledger == "ok";
    Readiness { status: if ready { "ready" } else { "not_ready" }, postgres, ledger, redis }
}
