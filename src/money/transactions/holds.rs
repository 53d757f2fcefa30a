//! Rows that a person must look at. The state stays what it is, nothing is due, and the row says why: a code and what was found.
//!
//! ```text
//! hold ─> held ─┬─> end_hold_of   what it waited for has come: it goes on by itself
//!               ├─> resume        it goes on, as a person says (`manual_review`), or because it has its last word
//!               ├─> close_hold    a person closes it; what was closed is not held again for the same
//!               └─> advance       the row came to its end all the same: a hold that only lacked a word ends with it
//! ```

mod store;

use chrono::TimeDelta;
use sqlx::PgExecutor;

use super::{Held, Hold, Transaction};
use crate::app::App;
use crate::money::transactions;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};

pub use store::HeldFilter;

const REASON_CHARS_MAX: usize = 300;
/// Between the reasons of one hold, and between those that people have closed.
const ALSO: &str = " | ";

/// A person must look: the state stays, nothing is due. Counted and alerted. What is held stays held for what it was, unless that only
/// lacked a word; what is found besides and no word mends, it says as well. What a person closed is not opened again for the same.
/// [`Error::StaleState`] when somebody else moved it first.
pub async fn hold(app: &App, row: &Transaction, code: Hold, reason: &str) -> Result<Transaction> {
    let lacks_a_word = |code| Hold::LACKS_A_WORD.contains(&code);
    match &row.held {
        None => put_on_hold(app, row, code, reason).await?,
        Some(held) if held.code != code && lacks_a_word(held.code) => put_on_hold(app, row, code, reason).await?,
        Some(Held { code: held, reason: said, .. })
            if !lacks_a_word(*held) && !lacks_a_word(code) && may_be_added(said, reason) =>
        {
            // What ends with a freeze ends by itself, and this does not.
            let code = if *held == Hold::Frozen { code } else { *held };
            put_on_hold(app, row, code, &format!("{said}{ALSO}{reason}")).await?;
        }
        Some(_) => return Ok(row.clone()),
    }
    transactions::find(app, row.id).await
}

fn may_be_added(said: &str, reason: &str) -> bool {
    !said.split(ALSO).any(|one| one == reason) && said.len() + ALSO.len() + reason.len() <= REASON_CHARS_MAX
}

pub(super) async fn put_on_hold(app: &App, row: &Transaction, code: Hold, reason: &str) -> Result<()> {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let is_closed = |closed: &String| *closed == reason || closed.split(ALSO).any(|one| one == reason);
    if row.dismissed_reason.as_ref().is_some_and(is_closed) {
        return transactions::rest(app, row).await.map(drop);
    }
    if !store::hold(&app.db, row, code, &reason, app.clock.now()).await? {
        return Err(Error::StaleState);
    }
    let (kind, state) = (row.kind.name(), row.state.name());
    tracing::error!(transaction.id = %row.id, state, code = code.name(), reason, "a transaction is on hold");
    app.metrics.transactions_held.with_label_values(&[kind]).inc();
    Ok(())
}

/// What these holds waited for has come: the row goes on after `pause`. A hold for anything else stays.
pub async fn end_hold_of(app: &App, row: &Transaction, codes: &[Hold], pause: TimeDelta) -> Result<Transaction> {
    let now = app.clock.now();
    if row.is_held_for(codes) && store::end_hold_of(&app.db, row, codes, now, now + pause).await? {
        return transactions::find(app, row.id).await;
    }
    Ok(row.clone())
}

/// Ends a hold: the row goes on at `due_at`. [`Error::StaleState`] when it is not held any more as it was read.
pub async fn resume(app: &App, db: impl PgExecutor<'_>, held: &Transaction, due_at: DateTime) -> Result<Transaction> {
    store::end_hold(db, held, app.clock.now(), Some(due_at)).await?.ok_or(Error::StaleState)?.try_into()
}

/// The same where a person has closed it: nothing is due, and the same reason does not hold the row again.
pub async fn close_hold(app: &App, db: impl PgExecutor<'_>, held: &Transaction) -> Result<Transaction> {
    store::end_hold(db, held, app.clock.now(), None).await?.ok_or(Error::StaleState)?.try_into()
}

/// Held rows, newest first.
pub async fn list_held(app: &App, filter: &HeldFilter) -> Result<Vec<Transaction>> {
    let rows = store::list_held(&app.db, filter).await?;
    rows.into_iter().map(Transaction::try_from).collect()
}
