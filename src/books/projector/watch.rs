//! Whether PostgreSQL is behind the ledger. The row is written before money moves, so a transfer whose row is missing, or says that
//! nothing has moved yet, was made by a row that was lost: the database is an older one. So is a cursor that goes back.

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, TransferRow};
use crate::app::App;
use crate::money::safe_mode;
use crate::platform::error::Result;

/// Of the rows that are behind.
const NAMED_MAX: usize = 5;

/// One look; the worker calls it.
pub async fn watch(app: &App) -> Result<bool> {
    for currency in &app.config.currencies {
        let cursor = store::cursor(&app.db, currency.code()).await?.unwrap_or_default().timestamp;
        let before = app.ledger_cursors.lock().await.insert(*currency, cursor);
        if let Some(before) = before.filter(|before| *before > cursor) {
            let code = currency.code();
            safe_mode::enter(app, &format!("the copy of the ledger in {code} went back from {before} to {cursor}"))
                .await?;
        }
    }
    if !app.ledger_checked.load(Ordering::Acquire) {
        // What was executed since this process began is not from before.
        let running = TimeDelta::from_std(app.started.elapsed()).unwrap_or(TimeDelta::MAX);
        let behind = |lag: &super::Lag| lag.transfers > 0 && lag.age > running;
        if !super::lag(app).await?.iter().any(behind) {
            app.ledger_checked.store(true, Ordering::Release);
            tracing::info!("the copy of the ledger is complete up to the start of this process");
        }
    }
    Ok(false)
}

/// The rows of newly copied transfers that are missing or behind them.
pub(super) struct Behind {
    pub(super) missing: u64,
    pub(super) behind: Vec<Uuid>,
}

pub(super) async fn compare(app: &App, tx: &mut PgConnection, currency: &str, rows: &[TransferRow]) -> Result<Behind> {
    let missing = store::note_orphans(&mut *tx, currency, rows, app.clock.now()).await?;
    Ok(Behind { missing, behind: store::behind(&mut *tx, rows).await? })
}

pub(super) async fn tell(app: &App, currency: &str, found: Behind) -> Result<()> {
    let Behind { missing, behind } = found;
    if missing == 0 && behind.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = behind.iter().take(NAMED_MAX).map(Uuid::to_string).collect();
    let count = behind.len();
    let reason = format!(
        "{currency}: {missing} transfers of the ledger have no row, {count} rows are behind theirs: {}",
        named.join(", ")
    );
    safe_mode::enter(app, &reason).await
}
