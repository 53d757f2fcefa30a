//! The mode in which nothing is paid: PostgreSQL is behind the ledger, because it was put back to an earlier moment or a failover lost
//! commits; or the ledger is behind PostgreSQL. What the ledger knows of a row, the row is reminded of (`withdrawals::restored`, and every
//! id that is used again); what it knows of rows that are not there, a person must look at. A person ends it (`docs/failure-handling.md`
//! has the procedure).
//!
//! ```text
//! enter   the projector finds transfers whose row is missing or behind, or its own cursor has gone back; or that the ledger has not
//!         any more what its copy ends with
//! look    open rows are compared with the ledger, once after each loss of PostgreSQL's
//! leave   an operator has looked at what is listed, and says so; not while the ledger is the older one
//! ```
//!
//! A process pays nothing either before it has seen that the copy of the ledger is complete up to its own start, and one with background tasks
//! books nothing of a row before that (`adjustments::booked_by_hand`).

pub mod routes;
mod store;

use ledger::Currency;
use serde_json::json;
use sqlx::{PgConnection, PgExecutor};

use crate::app::{App, LedgerCopy};
use crate::identity::audit::{self, Actor, Entry};
use crate::money::transactions::{self, Hold};
use crate::platform::batcher::LockWait;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};

pub use store::{Entered, LostReservation, LostTransfer};

const NAMED_MAX: i64 = 200;
const REASON_CHARS_MAX: usize = 300;

/// Whether no payout may begin now.
pub async fn pays_nothing(app: &App) -> Result<bool> {
    Ok(!has_looked(app) || is_on(app).await?)
}

/// Whether this process has seen that the copy of the ledger is complete: what an older PostgreSQL has forgotten is known, and counted.
pub fn has_looked(app: &App) -> bool {
    *app.ledger_copy.borrow() == LedgerCopy::Complete
}

/// Whether this process knows which rows an older PostgreSQL has lost, or is not about to see it; until then it books nothing of a row by a
/// new word of Revio's. Where the ledger is the older one it does: the copy has more than that.
pub fn knows_lost_rows(app: &App) -> bool {
    *app.ledger_copy.borrow() != LedgerCopy::Awaited
}

/// Whether it was entered, and nobody has ended it.
pub async fn is_on(app: &App) -> Result<bool> {
    Ok(app.batchers.look_up(app, (), entered).await?.is_some())
}

/// Whether it was entered since then for a ledger that was put back: that one may have forgotten what it was told by then.
pub async fn ledger_was_older(app: &App, since: DateTime) -> Result<bool> {
    Ok(store::ledger_was_older(&app.db, since).await?)
}

/// Whether it is on right before a payout begins, in the SQL transaction that says so.
pub async fn is_on_in(tx: &mut PgConnection) -> Result<bool> {
    Ok(store::entered(tx).await?.is_some())
}

async fn entered(app: App, lock_wait: LockWait, _: Vec<()>) -> Result<Vec<((), ())>> {
    Ok(store::entered(app.batch_db.of(lock_wait)).await?.map(|_| ((), ())).into_iter().collect())
}

/// Which of the two stores was put back to an earlier moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// It has forgotten what was until then.
    PostgreSql(DateTime),
    Ledger,
}

/// Nothing is paid from now on. Where it is entered by what was found in an SQL transaction, both are there or neither. Repeating it changes
/// nothing; while it is on, what PostgreSQL has forgotten besides is another loss: open rows are looked at again.
pub async fn enter(app: &App, db: impl PgExecutor<'_>, older: Older, reason: &str) -> Result<()> {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let lost_until = match older {
        Older::PostgreSql(until) => Some(until),
        Older::Ledger => None,
    };
    if !store::enter(db, (app.clock.row_id(), app.clock.now()), &reason, lost_until).await? {
        return Ok(());
    }
    if lost_until.is_some() {
        tracing::error!(
            reason,
            "PostgreSQL is behind the ledger: safe mode, nothing is paid until an operator ends it"
        );
    } else {
        tracing::error!(
            reason,
            "the ledger is behind PostgreSQL: safe mode, which nobody can end while it is so: nothing is paid"
        );
    }
    Ok(())
}

/// Rows that may have forgotten something are looked at at once; a ledger that has forgotten cannot remind them. Repeated until it is done.
pub async fn look_at_open_rows(app: &App) -> Result<()> {
    let rows = store::look_at_open_rows(&app.db, app.clock.now()).await?;
    if rows > 0 {
        tracing::info!(rows, "open rows are compared with the ledger");
        app.notifier.wake();
    }
    Ok(())
}

/// Nothing ever leaves the ledger, so where it has not the transfer at which its copy ends, it is an older one: its balances have money that
/// was paid out.
///
/// # Errors
/// [`Error::LedgerBehind`].
pub async fn ledger_must_be_whole(app: &App) -> Result<()> {
    for (code, end) in store::copy_ends(&app.db).await? {
        let Some(currency) = app.config.currencies.iter().copied().find(|currency| currency.code() == code) else {
            continue;
        };
        let there = app.ledger.transfers_after(currency, end.unsigned_abs() - 1, 1).await?;
        if there.first().is_none_or(|transfer| i64::try_from(transfer.timestamp) != Ok(end)) {
            return Err(ledger_is_behind(currency, end));
        }
    }
    Ok(())
}

/// `end`: the last transfer of the copy, which the ledger has not.
pub fn ledger_is_behind(currency: Currency, end: i64) -> Error {
    let code = currency.code();
    Error::LedgerBehind(format!(
        "the ledger is behind its copy in {code}: it has no transfer at {end}, where the copy ends"
    ))
}

/// # Errors
/// [`Error::NotFound`] when it is not on; [`Error::LedgerBehind`], or it would begin again at once; [`Error::StaleState`] when a withdrawal that
/// is to be held has moved, or another loss was found meanwhile.
pub async fn leave(app: &App, actor: &Actor, note: &str) -> Result<()> {
    if store::entered(&app.db).await?.is_none() {
        return Err(Error::NotFound("safe mode"));
    }
    ledger_must_be_whole(app).await?;
    hold_repeats(app).await?;
    look_at_open_rows(app).await?;
    let mut tx = app.db.begin().await?;
    let left = store::leave(&mut *tx, actor.name(), note, app.clock.now()).await?;
    // Another loss was found right now, or somebody else has left it.
    let entered = left.ok_or(Error::StaleState)?;
    let entry = Entry::of(actor, "safe_mode.left", "safe_mode", entered.id);
    let entry = entry.change(json!({"reason": entered.reason}), json!({"note": note}));
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    app.notifier.wake();
    Ok(())
}

/// A database that has forgotten a request takes its repeat, with the same key, for another one: what may be that is for a person, before
/// anything is paid. Whoever says `retry` has it paid; by two it is given back.
async fn hold_repeats(app: &App) -> Result<()> {
    for repeat in store::repeats(&app.db).await? {
        let row = transactions::find(app, repeat.id).await?;
        let reason =
            format!("it may be the request of {} once more, which this database had forgotten", repeat.lost_id);
        transactions::hold(app, &row, Hold::PaidTwice, &reason).await?;
    }
    Ok(())
}

/// Whether it is on, and which transfers have no row: the oldest, and how many there are.
pub async fn state(app: &App) -> Result<(Option<Entered>, Vec<LostTransfer>, i64)> {
    let lost = store::lost(&app.db, NAMED_MAX).await?;
    Ok((store::entered(&app.db).await?, lost, store::count_lost(&app.db).await?))
}

/// Of withdrawals whose row is not there.
pub async fn lost_reservations(app: &App) -> Result<Vec<LostReservation>> {
    Ok(store::lost_reservations(&app.db, NAMED_MAX).await?)
}

/// Brings the gauge up to date.
pub async fn measure(app: &App) -> Result<()> {
    app.metrics.safe_mode.set(i64::from(pays_nothing(app).await?));
    Ok(())
}
