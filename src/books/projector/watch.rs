//! Whether PostgreSQL is behind the ledger, or the ledger behind PostgreSQL. The row is written before money moves, so a transfer whose row
//! is missing, or says that nothing has moved yet, was made by a row that was lost: the database is an older one. So is a cursor that
//! goes back. And nothing ever leaves the ledger, so where it has not the transfer at which its copy ends, the ledger is the older one:
//! its balances have money that was paid out. The copy is then all that is left of what was lost, and nothing is taken out of it.

use chrono::TimeDelta;
use ledger::TransferCode;
use sqlx::PgConnection;
use uuid::Uuid;

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
    match safe_mode::ledger_must_be_whole(app).await {
        Err(behind @ Error::LedgerBehind(_)) => {
            pay_nothing(app, &behind).await?;
            return Ok(false);
        }
        whole => whole?,
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

/// The ledger is behind its copy: nothing is paid from now on, and not before it was seen to be whole.
pub(super) async fn pay_nothing(app: &App, behind: &Error) -> Result<()> {
    app.ledger_copy.send_replace(LedgerCopy::Unseen);
    safe_mode::enter(app, &app.db, Older::Ledger, &behind.to_string()).await
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
