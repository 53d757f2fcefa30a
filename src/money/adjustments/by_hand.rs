//! What people have booked stands for what Revio tells later, and what is booked already is not corrected besides (docs/decisions/055). Whoever is
//! about to book Revio's word asks here, and so does a correction that begins.

use std::time::Duration;

use ledger::{Amount, JournalStanding, Leg};
use uuid::Uuid;

use super::{Adjustment, store};
use crate::app::App;
use crate::money::transactions::{self, Direction, Hold, Kind, State, Transaction};
use crate::money::{provider_objects, safe_mode};
use crate::platform::batcher::LockWait;
use crate::platform::error::{Error, Result};

const WRITTEN_OFF: &str =
    "what its customer owed was written off since: what comes back of it first makes good that loss";

/// So long after its start a process waits until it knows which rows are lost. A copy of the ledger that stands still is likelier than what a
/// restore has lost of people's corrections, and a deposit that waits is a customer without money.
const LOST_ROWS_MAX: Duration = Duration::from_mins(10);
const LOST: &str = "a correction of the same sum, whose row this database has forgotten, may have booked it already";

/// Why a row is held that people have booked. Rows are counted by these words (`store::is_booked_by_hand`): they stay as they are.
fn reason(direction: Direction) -> &'static str {
    match direction {
        Direction::Credit => "people have booked already that the same came in, by a correction or a journal",
        Direction::Debit => "people have booked already that the same went out, by a correction or a journal",
    }
}

/// Those of the rows that people may have booked: named by a correction, or by what ended a break; all, where the ledger has one without a row.
async fn corrected(app: App, lock_wait: LockWait, rows: Vec<Uuid>) -> Result<Vec<(Uuid, ())>> {
    let found = store::corrected(app.batch_db.of(lock_wait), &rows).await?;
    Ok(found.into_iter().map(|row| (row, ())).collect())
}

/// What people have booked that may be the same as Revio's word on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// A correction or a journal names it.
    Named,
    /// Maybe: the ledger has a correction of its customer's, of the same sum, whose row an older database has forgotten.
    SameSum,
}

/// Whether people have booked already what is about to be booked of the row, and the ledger has none of the row's own `legs`.
///
/// # Errors
/// [`Error::Unavailable`] before this process knows which rows are lost, for ten minutes from its start.
pub async fn booked_by_hand(
    app: &App,
    row: &Transaction,
    what: (Direction, Amount),
    legs: &[Leg],
) -> Result<Option<ByHand>> {
    // What an older database has forgotten is not known before the ledger was looked at.
    let is_waited_for = !safe_mode::knows_lost_rows(app) && app.started.elapsed() < LOST_ROWS_MAX;
    if is_waited_for && !app.ledger.has(row.id, legs).await? {
        return Err(Error::unavailable("what the ledger has of rows that are not there is looked for first"));
    }
    // Of hardly any there is one, so it is asked for with others' rows first.
    let mut is_corrected = false;
    for id in [Some(row.id), row.parent_id].into_iter().flatten() {
        is_corrected |= app.batchers.look_up(app, id, corrected).await?.is_some();
    }
    if !is_corrected {
        return Ok(None);
    }
    let decided = decided(app, store::undecided(&app.db, row).await?).await?;
    let by_hand = if store::is_booked_by_hand(&app.db, row, what, (reason(what.0), &decided)).await? {
        ByHand::Named
    } else if store::is_booked_by_a_lost_one(&app.db, row, what).await? {
        ByHand::SameSum
    } else {
        return Ok(None);
    };
    Ok(if app.ledger.has(row.id, legs).await? { None } else { Some(by_hand) })
}

/// Those of the corrections that the ledger has.
async fn decided(app: &App, adjustments: Vec<Uuid>) -> Result<Vec<Uuid>> {
    let mut decided = Vec::new();
    for id in adjustments {
        if app.ledger.has(id, &[Leg::Main]).await? {
            decided.push(id);
        }
    }
    Ok(decided)
}

/// Revio's word on a row may come after people have booked the same by hand: then it is not booked a second time. The row is held for
/// a person; `None`: there is no such entry, or the ledger has one of the row's own `legs`.
pub async fn hold_if_corrected(
    app: &App,
    row: &Transaction,
    amount: Amount,
    direction: Direction,
    legs: &[Leg],
) -> Result<Option<Transaction>> {
    match booked_by_hand(app, row, (direction, amount), legs).await? {
        Some(by_hand) => hold_as_corrected(app, row, direction, by_hand).await.map(Some),
        None => Ok(None),
    }
}

pub async fn hold_as_corrected(
    app: &App,
    row: &Transaction,
    direction: Direction,
    by_hand: ByHand,
) -> Result<Transaction> {
    let reason = match by_hand {
        ByHand::Named => reason(direction),
        ByHand::SameSum => LOST,
    };
    transactions::hold(app, row, Hold::PaidTwice, reason).await
}

/// The same where a journal of the company's has named the very Payment of Revio's that the row is of.
pub async fn hold_if_named(app: &App, row: &Transaction, legs: &[Leg]) -> Result<Option<Transaction>> {
    let Some(payment) = row.provider.id else { return Ok(None) };
    if !provider_objects::is_named(&app.db, payment).await? || app.ledger.has(row.id, legs).await? {
        return Ok(None);
    }
    transactions::hold(app, row, Hold::PaidTwice, reason(row.direction)).await.map(Some)
}

/// Who bears a loss gets it back first: what comes back of a deposit of which a debt has been given up since is not its customer's by itself.
pub async fn hold_if_written_off(app: &App, row: &Transaction, legs: &[Leg]) -> Result<Option<Transaction>> {
    if !is_written_off(app, row).await? || app.ledger.has(row.id, legs).await? {
        return Ok(None);
    }
    transactions::hold(app, row, Hold::PaidTwice, WRITTEN_OFF).await.map(Some)
}

/// Also by a journal that is about to be booked, or whose row is behind the ledger or lost.
async fn is_written_off(app: &App, row: &Transaction) -> Result<bool> {
    for (journal, is_undecided) in store::write_offs(&app.db, row).await? {
        if !is_undecided || app.ledger.journal_standing(journal).await? != JournalStanding::None {
            return Ok(true);
        }
    }
    Ok(store::is_written_off_by_a_lost_one(&app.db, row).await?)
}

/// Whether the ledger has credited the very deposit that it is about, whose row does not say so yet: its step has died, or is under way.
pub(super) async fn is_credited(app: &App, adjustment: &Adjustment) -> Result<bool> {
    let Some(about) = adjustment.about_id.filter(|_| adjustment.direction == Direction::Credit) else {
        return Ok(false);
    };
    let about = transactions::find(app, about).await?;
    let is_open = about.kind == Kind::Deposit && about.state != State::Completed;
    Ok(is_open && about.amount == adjustment.transaction.amount && app.ledger.has(about.id, &[Leg::Main]).await?)
}
