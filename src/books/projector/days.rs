//! `ledger_days`: what moved on each day, in some forty rows. Written with the transfers that it sums up, in their SQL transaction
//! ([`add`]); compared with them ([`different`], for [`super::verify()`]) and added up from them anew ([`add_up_again`], [`keep_in`]).
//! Days are those of `REPORTING_TIME_ZONE`, which PostgreSQL knows (`reporting.day`).

mod store;

use chrono::NaiveDate;
use ledger::{AccountCode, Currency};
use sqlx::{Connection, PgConnection};

use super::books::Line;
use super::store as copy;
use crate::app::App;
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::error::{Error, Result};

/// A day that is not the sum of its transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DifferentDay {
    pub currency: Currency,
    pub day: NaiveDate,
}

pub(super) async fn add(db: &mut PgConnection, currency: Currency, lines: &[Line]) -> Result<()> {
    let moves: Vec<store::Moved> = lines.iter().map(store::Moved::try_from).collect::<Result<_>>()?;
    Ok(store::add(db, currency.code(), &moves).await?)
}

/// Day by day, each in one statement: the copy goes on meanwhile, and each day is written with its transfers.
pub(super) async fn different(app: &App, currency: Currency) -> Result<Vec<DifferentDay>> {
    let mut different = Vec::new();
    for day in store::days(&app.db, currency.code()).await? {
        if store::differs(&app.db, currency.code(), day).await? {
            different.push(DifferentDay { currency, day });
        }
    }
    Ok(different)
}

const SIDES: [&str; 4] = ["debits", "credits", "pending_debits", "pending_credits"];

/// What stands on every account of the chart, for the alarms on the position and on the float.
pub(super) async fn measure(app: &App) -> Result<()> {
    let sums = store::sums(&app.db).await?;
    // Of what nothing moved yet the alarms know 0: money that is owed and held nowhere is missing, too.
    for (currency, account) in
        app.config.currencies.iter().flat_map(|c| AccountCode::ALL.map(|account| (c.code(), account)))
    {
        if !sums.iter().any(|sums| sums.currency == currency && sums.account_code == i32::from(account.code())) {
            for side in SIDES {
                app.metrics.finance.ledger_balance.with_label_values(&[currency, account.name(), side]).set(0);
            }
        }
    }
    for sums in sums {
        let Some(account) = u16::try_from(sums.account_code).ok().and_then(AccountCode::from_code) else { continue };
        let of_sides = [sums.debits, sums.credits, sums.pending_debits, sums.pending_credits];
        for (side, sum) in SIDES.into_iter().zip(of_sides) {
            app.metrics.finance.ledger_balance.with_label_values(&[&sums.currency, account.name(), side]).set(sum);
        }
    }
    Ok(())
}

/// Every day that has a transfer or a sum.
pub async fn all_days(app: &App, currency: Currency) -> Result<Vec<NaiveDate>> {
    Ok(store::days(&app.db, currency.code()).await?)
}

/// Whether a day is the sum of its transfers.
pub async fn day_is_right(app: &App, currency: Currency, day: NaiveDate) -> Result<bool> {
    Ok(!store::differs(&app.db, currency.code(), day).await?)
}

/// One day anew, from the copied transfers, while nobody copies.
pub async fn add_up_day(app: &App, currency: Currency, day: NaiveDate) -> Result<()> {
    let mut tx = app.db.begin().await?;
    if !copy::try_lock(&mut *tx, AdvisoryLock::Projector).await? {
        return Err(Error::StaleState);
    }
    store::add_up_day(&mut tx, currency.code(), day).await?;
    Ok(tx.commit().await?)
}

/// Every day of every currency, from the copied transfers, in one SQL transaction and while nobody copies.
pub async fn add_up_again(app: &App) -> Result<()> {
    let mut db = app.db.acquire().await?.detach();
    copy::be_patient(&mut db).await?;
    let mut tx = db.begin().await?;
    copy::wait_for_lock(&mut *tx, AdvisoryLock::Projector).await?;
    store::add_up_again(&mut tx).await?;
    tx.commit().await?;
    Ok(db.close().await?)
}

/// Whose days they are.
pub async fn zone(app: &App) -> Result<String> {
    Ok(store::zone(&app.db).await?)
}

/// Makes the days those of another zone. Not once a month is closed: what was frozen names days of the old one. Whether it was another.
pub async fn keep_in(app: &App, zone: &str) -> Result<bool> {
    if store::zone(&app.db).await? == zone {
        return Ok(false);
    }
    let mut db = app.db.acquire().await?.detach();
    copy::be_patient(&mut db).await?;
    let mut tx = db.begin().await?;
    copy::wait_for_lock(&mut *tx, AdvisoryLock::Projector).await?;
    if store::is_any_month_closed(&mut *tx).await? {
        return Err(Error::internal(format!(
            "REPORTING_TIME_ZONE cannot become {zone}: a month is closed, by the days of the zone before"
        )));
    }
    store::set_zone(&mut *tx, zone).await?;
    store::add_up_again(&mut tx).await?;
    tx.commit().await?;
    db.close().await?;
    Ok(true)
}
