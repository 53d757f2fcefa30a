//! The days of the accounts, which begin at midnight in `REPORTING_TIME_ZONE` wherever the service runs. For all of finance.

mod store;

use chrono::{Datelike, Days, NaiveDate, TimeDelta};

use crate::app::App;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::http::fields;

/// PostgreSQL knows its rules.
pub fn zone(app: &App) -> &str {
    &app.config.reporting.time_zone
}

/// What [`parse`] refuses is told so.
pub const NO_DAY: &str = "must be a date from 2000 to 2100, as in 2026-03-01";

/// Of the years that there may be books of; others PostgreSQL may not even hold.
pub fn parse(text: &str) -> Option<NaiveDate> {
    fields::day(text).filter(|day| (2000..=2100).contains(&day.year()))
}

/// The day that each moment is in, in the order asked.
pub async fn of_all(app: &App, moments: &[DateTime]) -> Result<Vec<NaiveDate>> {
    Ok(store::days(&app.db, zone(app), moments).await?)
}

pub async fn of(app: &App, moment: DateTime) -> Result<NaiveDate> {
    let days = of_all(app, &[moment]).await?;
    days.first().copied().ok_or_else(|| Error::internal("a moment without a day"))
}

pub async fn today(app: &App) -> Result<NaiveDate> {
    of(app, app.clock.now()).await
}

/// The first moment of a day.
pub async fn start(app: &App, day: NaiveDate) -> Result<DateTime> {
    Ok(store::start(&app.db, zone(app), day).await?)
}

/// The first moment that is not of the day any more.
pub async fn end(app: &App, day: NaiveDate) -> Result<DateTime> {
    start(app, after(day, 1)).await
}

/// The last moment of a day, as PostgreSQL counts.
pub async fn last_moment(app: &App, day: NaiveDate) -> Result<DateTime> {
    Ok(end(app, day).await? - TimeDelta::microseconds(1))
}

pub fn after(day: NaiveDate, days: u64) -> NaiveDate {
    day.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
}

pub fn before(day: NaiveDate, days: u64) -> NaiveDate {
    day.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN)
}
