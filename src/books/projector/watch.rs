//! Whether PostgreSQL is behind the ledger, or the ledger behind PostgreSQL. The row is written before money moves, so a transfer whose row
//! is missing, or says that nothing has moved yet, was made by a row that was lost: the database is an older one. So is a cursor that
//! goes back. And nothing ever leaves the ledger, so where it has not the transfer at which its copy ends, the ledger is the older one:
//! its balances have money that was paid out. The copy is then all that is left of what was lost, and nothing is taken out of it.

use chrono::TimeDelta;
use ledger::{Currency, TransferCode};
use sqlx::PgConnection;
use uuid::Uuid;

use super::books::nanoseconds;
use super::store::{self, TransferRow};
use crate::app::{App, LedgerCopy};
use crate::money::safe_mode::{self, Older};
use crate::money::suspense;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};

/// Of the rows that are behind.
const NAMED_MAX: usize = 5;

/// One look; the worker calls it.
pub async fn watch(app: &App) -> Result<bool> {
    for currency in &app.config.currencies {
        let cursor = super::copied_to(app, *currency).await?;
        let before = app.read_model_ends.lock().await.entry(*currency).or_default().saw(cursor, app.clock.now());
        if let Some(before) = before.filter(|before| *before > cursor) {
            let code = currency.code();
            let reason = format!("the copy of the ledger in {code} went back from {before} to {cursor}");
            safe_mode::enter(app, &app.db, Older::PostgreSql(time_of(before)), &reason).await?;
        }
    }
    safe_mode::look_at_open_rows(app).await?;
    if let Some((currency, cursor)) = lost_end(app).await? {
        ledger_is_behind(app, currency, cursor).await?;
        return Ok(false);
    }
    if !safe_mode::has_looked(app) {
        // What was executed since this process began is not from before.
        let running = TimeDelta::from_std(app.started.elapsed()).unwrap_or(TimeDelta::MAX);
        let behind = |lag: &super::Lag| lag.transfers > 0 && lag.age > running;
        if !super::lag(app).await?.iter().any(behind) {
            app.ledger_copy.send_replace(LedgerCopy::Complete);
            tracing::info!("the copy of the ledger is complete up to the start of this process");
        }
    }
    if safe_mode::is_on(app).await? {
        suspense::remember_some(app).await?;
    }
    Ok(false)
}

/// Nothing is paid from now on. Also not when somebody ends the safe mode too early: not before the ledger was seen to be whole.
pub(super) async fn ledger_is_behind(app: &App, currency: Currency, cursor: i64) -> Result<()> {
    app.ledger_copy.send_replace(LedgerCopy::Unseen);
    safe_mode::enter(app, &app.db, Older::Ledger, &lost(currency, cursor)).await
}

/// # Errors
/// [`Error::Unavailable`] while the copy of a currency is of more than the ledger has: it is to stay as it is.
pub(super) async fn ledger_must_be_whole(app: &App) -> Result<()> {
    match lost_end(app).await? {
        None => Ok(()),
        Some((currency, cursor)) => Err(Error::unavailable(lost(currency, cursor))),
    }
}

/// Where the copy of a currency ends with a transfer that the ledger has not.
async fn lost_end(app: &App) -> Result<Option<(Currency, i64)>> {
    for currency in app.config.currencies.iter().copied() {
        let cursor = super::copied_to(app, currency).await?;
        if cursor == 0 {
            continue;
        }
        let there = app.ledger.transfers_after(currency, cursor.unsigned_abs() - 1, 1).await?;
        if there.first().is_none_or(|transfer| nanoseconds(transfer.timestamp) != cursor) {
            return Ok(Some((currency, cursor)));
        }
    }
    Ok(None)
}

fn lost(currency: Currency, cursor: i64) -> String {
    let code = currency.code();
    format!("the ledger is behind its copy in {code}: it has no transfer at {cursor}, where the copy ends")
}

/// What we book ourselves of a row that is lost, while the safe mode is on: its end, and Revio's fee. No other loss.
fn goes_on(row: &TransferRow) -> bool {
    matches!(row.kind.as_str(), "post" | "void") || row.code == i32::from(TransferCode::ProviderFee.code())
}

/// When the ledger did it.
fn time_of(timestamp: i64) -> DateTime {
    DateTime::from_timestamp_nanos(timestamp)
}

/// Whether rows of newly copied transfers are missing or behind them. Then nothing is paid from the copy's commit on.
pub(super) async fn compare(app: &App, tx: &mut PgConnection, currency: &str, rows: &[TransferRow]) -> Result<bool> {
    let missing = store::note_orphans(&mut *tx, currency, rows, app.clock.now()).await?;
    let behind = store::behind(&mut *tx, rows).await?;
    if missing.is_empty() && behind.is_empty() {
        return Ok(false);
    }
    let named: Vec<String> = behind.iter().take(NAMED_MAX).map(Uuid::to_string).collect();
    let (lost, count) = (missing.len(), behind.len());
    let reason = format!(
        "{currency}: {lost} transfers of the ledger have no row, {count} rows are behind theirs: {}",
        named.join(", ")
    );
    let is_lost =
        |row: &&TransferRow| missing.contains(&row.timestamp) && !goes_on(row) || behind.contains(&row.reference);
    let last = rows.iter().filter(is_lost).map(|row| row.timestamp).max().unwrap_or_default();
    safe_mode::enter(app, &mut *tx, Older::PostgreSql(time_of(last)), &reason).await.map(|()| true)
}
