//! The days that dashboards read, against the transfers that they sum up. Called by `stages` in runs over everything, a day a step, and by
//! `subjects` and `healing` for one of them.

use chrono::NaiveDate;
use ledger::Currency;

use super::breaks::Break;
use super::found::{BreakType, Found};
use super::run::Run;
use crate::app::App;
use crate::books::projector;
use crate::platform::error::Result;

pub(super) async fn check(app: &App, run: &Run, currency: Currency, day: NaiveDate) -> Result<Vec<Found>> {
    if projector::day_is_right(app, currency, day).await? {
        return Ok(Vec::new());
    }
    let found = Found::new(BreakType::Summary, run.sums_until(), "differs").evident("day", day.to_string());
    let discriminator = Some(format!("{} {day}", currency.code()));
    Ok(vec![Found { currency: Some(currency), discriminator, ..found }])
}

/// Which day a break is about.
fn day_of(known: &Break) -> Option<(Currency, NaiveDate)> {
    let currency = known.currency.as_deref().and_then(Currency::parse)?;
    Some((currency, known.evidence["day"].as_str()?.parse().ok()?))
}

pub(super) async fn check_again(app: &App, run: &Run, known: &Break) -> Result<Vec<Found>> {
    match day_of(known) {
        Some((currency, day)) => check(app, run, currency, day).await,
        None => Ok(Vec::new()),
    }
}

pub(super) async fn recompute(app: &App, known: &Break) -> Result<()> {
    match day_of(known) {
        Some((currency, day)) => projector::add_up_day(app, currency, day).await,
        None => Ok(()),
    }
}
