//! The numbers behind the refusal of a withdrawal, as they are when it is told: of a repeat of the request, too. The ledger has decided
//! long before, so nothing hangs on them: what cannot be read at once is not told.

mod store;

use std::time::Duration;

use chrono::{DurationRound, TimeDelta};
use ledger::{Account, Amount};

use super::DAY_SECS;
use crate::app::App;
use crate::money::transactions::Transaction;
use crate::platform::clock::{self, DateTime};
use crate::platform::config::WithdrawalLimit;
use crate::platform::error::{Decline, Figures, Period, Result};

/// A refusal is an answer: it does not wait for its numbers.
const PATIENCE: Duration = Duration::from_secs(2);
/// More withdrawals within a day than anybody makes; of more of them the last ones tell no time.
const LOOKED_AT_MAX: i64 = 1_000;
/// A row that was written while the ledger was away counts from its reservation on.
const RESERVED_WITHIN: TimeDelta = TimeDelta::days(3);

/// What left at a moment counts until a day later.
pub(super) struct Outflow {
    pub(super) minor: i64,
    pub(super) reserved_at: DateTime,
}

pub(super) async fn figures(app: &App, refused: &Transaction, why: Decline) -> Option<Figures> {
    let read = async {
        match why {
            Decline::InsufficientFunds => available(app, refused).await.map(Some),
            Decline::LimitExceeded => over_limit(app, refused).await,
            Decline::AccountFrozen | Decline::AccountClosed => Ok(None),
        }
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(figures)) => figures,
        Ok(Err(error)) => {
            tracing::info!(error = error.chain(), "a refusal is told without its numbers");
            None
        }
        Err(_) => None,
    }
}

async fn available(app: &App, refused: &Transaction) -> Result<Figures> {
    let currency = refused.amount.currency();
    let wallet = app.ledger.balance(Account::wallet(refused.user_id, currency)).await?;
    Ok(Figures {
        currency: Some(currency.code().to_owned()),
        available: Some(wallet.available().max(0)),
        ..Figures::default()
    })
}

/// `None` where there is no limit any more.
async fn over_limit(app: &App, refused: &Transaction) -> Result<Option<Figures>> {
    let currency = refused.amount.currency();
    let Some(WithdrawalLimit { once, daily }) = app.config.withdrawal_limit(currency) else { return Ok(None) };
    let figures = |limit: Amount, used, period, resets_at| Figures {
        currency: Some(currency.code().to_owned()),
        limit: Some(limit.minor()),
        used: Some(used),
        period: Some(period),
        resets_at: Some(resets_at),
        ..Figures::default()
    };
    if refused.amount.minor() > once.minor() {
        return Ok(Some(figures(once, 0, Period::Once, None)));
    }
    let used = app.ledger.outflow_now(refused.user_id, currency).await?;
    Ok(Some(figures(daily, used, Period::Day, fits_at(app, refused, daily, used).await?)))
}

/// When so much has left the day that the amount fits, should nothing else be withdrawn; `None` when it never does.
async fn fits_at(app: &App, refused: &Transaction, daily: Amount, used: i64) -> Result<Option<DateTime>> {
    let (now, day) = (app.clock.now(), TimeDelta::seconds(i64::from(DAY_SECS)));
    let mut excess = used.saturating_add(refused.amount.minor()).saturating_sub(daily.minor());
    if excess <= 0 {
        return Ok(Some(whole_second(now)));
    }
    let since = (clock::first_id_at(now - day - RESERVED_WITHIN), now - day);
    for outflow in store::outflows(&app.db, refused, since, LOOKED_AT_MAX).await? {
        excess = excess.saturating_sub(outflow.minor);
        if excess <= 0 {
            return Ok(Some(whole_second(outflow.reserved_at + day)));
        }
    }
    // What the ledger counts stands in rows: the rest of it left a moment ago, or the amount is more than the limit.
    Ok((refused.amount.minor() <= daily.minor()).then(|| whole_second(now + day)))
}

/// The ledger counted it a moment after its row was written: never too early.
fn whole_second(time: DateTime) -> DateTime {
    time.duration_trunc(TimeDelta::seconds(1)).unwrap_or(time) + TimeDelta::seconds(1)
}
