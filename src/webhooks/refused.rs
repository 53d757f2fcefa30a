//! Deliveries whose signature is wrong: anybody can send them, as many as the network carries. They are counted by network and
//! hour (`refused_deliveries`); of each network the first few of an hour are kept in the log, and of all together so many a day. So
//! a day's flood is some megabytes, whoever sends it and from however many addresses.

mod store;

use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::http::address::Networks;
use crate::platform::rate_limits::{Answer, Class};

/// Deleted at once.
const PRUNED_MAX: i64 = 1_000;

/// Counts a refused delivery and says whether it is to be kept in the log too. Who forges too often is told to wait. What is genuine is
/// verified first and never pays for others behind the same address: a refusal would block Revio's later events for hours.
pub async fn keeps(app: &App, source_address: &str) -> Result<bool> {
    let network = Networks::of(source_address).map_or_else(|| source_address.to_owned(), |networks| networks.near);
    let now = app.clock.now();
    app.refused_deliveries.count(&network, now);
    if let Answer::Refused { retry_after_secs, .. } = app.limiter.check(Class::Forgery, source_address).await {
        app.metrics.webhook_calls.with_label_values(&["refused"]).inc();
        return Err(Error::TooMany { retry_after_secs });
    }
    Ok(app.refused_deliveries.keeps(&network, now))
}

/// Writes down what this process has counted since it last did.
pub async fn write_down(app: &App) -> Result<()> {
    let counts = app.refused_deliveries.take();
    if counts.is_empty() {
        return Ok(());
    }
    let written = store::add(&app.db, &counts).await;
    if written.is_err() {
        app.refused_deliveries.give_back(counts);
    }
    Ok(written?)
}

/// True when there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let before = app.clock.now() - app.config.retention.refused_deliveries;
    let counts = store::prune_counts(&app.db, before, PRUNED_MAX).await?;
    let kept = store::prune_kept(&app.db, before, PRUNED_MAX).await?;
    Ok(counts.max(kept) >= PRUNED_MAX.unsigned_abs())
}
