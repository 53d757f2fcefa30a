//! `octoco rebuild-read-model`: builds the read model anew beside the live one and puts it in its place.
//!
//! The projector's own code copies the whole ledger into tables like the live ones, in a schema of their own. Then the live
//! projector is locked out, the little that the ledger has got meanwhile is copied too, and one SQL transaction takes out the live
//! rows that differ and puts in those that are missing. Readers see the old rows until that is committed; views and grants stay. A
//! rebuild that dies leaves the live tables as they were; the next one starts anew. At the end the slots of dashboards are counted anew.
//! Where the ledger is behind its copy, what it has lost would be taken out: that needs a person's word ([`rebuild_accepting_lost`]), and
//! what the ledger can be told again without a person it is told then.

mod store;

use ledger::Currency;
use sqlx::{Connection, PgConnection};

use super::{Page, advance, store as copy};
use crate::app::App;
use crate::books::slots;
use crate::money::{restrictions, safe_mode};
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::error::{Error, Result};

const REPORT_EVERY: usize = 1_000_000;

/// What the swap changed, a row for each table.
#[derive(Debug, PartialEq, Eq)]
pub struct Rebuilt {
    pub transfers: usize,
    /// Table, rows taken out, rows put in. A row that was wrong counts in both.
    pub changed: Vec<(&'static str, u64, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Kept,
    TakenOut,
}

/// # Errors
/// [`Error::LedgerBehind`].
pub async fn rebuild(app: &App) -> Result<Rebuilt> {
    build(app, Lost::Kept).await
}

/// The same, whatever the ledger has lost: once somebody has written down what that was.
pub async fn rebuild_accepting_lost(app: &App) -> Result<Rebuilt> {
    let rebuilt = build(app, Lost::TakenOut).await?;
    restrictions::impose_again(app).await?;
    end_again(app).await?;
    Ok(rebuilt)
}

/// What has ended is looked at by nobody. Where the ledger has no more of it than that it is reserved, it is due, and the worker ends it there
/// once more.
async fn end_again(app: &App) -> Result<()> {
    let mut db = app.db.acquire().await?.detach();
    copy::be_patient(&mut db).await?;
    let rows = store::make_ended_due(&mut db, app.clock.now()).await?;
    db.close().await?;
    if rows > 0 {
        tracing::error!(rows, "the ledger has lost how rows ended that it has reserved: they are due");
    }
    Ok(())
}

async fn build(app: &App, lost: Lost) -> Result<Rebuilt> {
    // A connection of its own: its locks and settings end with it, however this ends.
    let mut db = app.db.acquire().await?.detach();
    copy::be_patient(&mut db).await?;
    if !store::try_session_lock(&mut db, AdvisoryLock::Rebuild).await? {
        return Err(Error::StaleState);
    }
    if store::is_missing(&mut db).await? {
        tracing::warn!("the tables of the read model are not there: making them again");
        if let Some(version) = store::changed_since() {
            let advice = "restore the tables as every migration left them, then rebuild";
            return Err(Error::internal(format!("migration {version} changed the read model's tables: {advice}")));
        }
        store::create_tables(&mut db).await?;
    }
    if lost == Lost::Kept {
        safe_mode::ledger_must_be_whole(app).await?;
    }
    store::create_beside(&mut db).await?;
    app.crash.at("rebuild.started")?;
    let mut transfers = 0;
    for currency in &app.config.currencies {
        transfers += copy_all(app, &mut db, *currency).await?;
    }
    // From here on the live cursor stands, so that the rebuilt one cannot end behind it.
    store::session_lock(&mut db, AdvisoryLock::Projector).await?;
    for currency in &app.config.currencies {
        transfers += copy_all(app, &mut db, *currency).await?;
    }
    app.crash.at("rebuild.copied")?;
    let changed = swap(app, &mut db).await?;
    store::drop_beside(&mut db).await?;
    db.close().await?;
    slots::count_again(app).await?;
    Ok(Rebuilt { transfers, changed })
}

async fn copy_all(app: &App, db: &mut PgConnection, currency: Currency) -> Result<usize> {
    let (mut copied, mut reported) = (0, 0);
    loop {
        match advance(app, db, AdvisoryLock::Rebuild, currency).await? {
            Page::Copied(count) => copied += count,
            Page::End => return Ok(copied),
            // Nobody else writes beside: the schema was taken away by force. Or the ledger was, meanwhile.
            Page::Busy | Page::LedgerBehind => return Err(Error::StaleState),
        }
        if copied - reported >= REPORT_EVERY {
            reported = copied;
            tracing::info!(currency = currency.code(), transfers = copied, "rebuilding the read model");
        }
    }
}

async fn swap(app: &App, db: &mut PgConnection) -> Result<Vec<(&'static str, u64, u64)>> {
    let currencies = app.config.currency_codes();
    let mut tx = db.begin().await?;
    let changed = store::swap(&mut tx, &currencies).await?;
    app.crash.at("rebuild.swapped")?;
    tx.commit().await?;
    Ok(changed)
}
