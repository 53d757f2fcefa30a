//! `transaction_slots` and `webhook_slots`: how many rows came into which state, and which calls of the webhook endpoint, in each
//! quarter of an hour; dashboards read them (schema `reporting`). The worker calls [`step`].
//!
//! Counted anew, never added to: the last hour each minute, the day before when it is over, and all that passed while no worker ran.
//! So it may be repeated, and what was written late is in it. [`count_again`] counts everything anew.

mod store;

use chrono::TimeDelta;

use crate::app::App;
use crate::platform::error::Result;

/// A row's time is the clock's when its step began, and a step ends well within that.
const LATE_MAX: TimeDelta = TimeDelta::hours(1);
/// As much at once as one statement counts quickly.
const STRETCH: TimeDelta = TimeDelta::days(1);

/// Counts the next stretch. True when it does not reach to now.
pub async fn step(app: &App) -> Result<bool> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let Some(from) = store::begin(&mut *tx, now).await? else { return Ok(false) };
    let until = now.min(from + STRETCH + LATE_MAX);
    store::count_transactions(&mut tx, from, until).await?;
    store::count_webhooks(&mut tx, from, until).await?;
    store::set_counted_until(&mut *tx, until).await?;
    app.crash.at("slots.counted")?;
    tx.commit().await?;
    Ok(until < now)
}

/// From the first row to now, whatever was counted before.
pub async fn count_again(app: &App) -> Result<()> {
    let mut tx = app.db.begin().await?;
    store::forget(&mut tx).await?;
    tx.commit().await?;
    while step(app).await? {}
    Ok(())
}
