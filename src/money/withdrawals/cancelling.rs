//! A customer calls a withdrawal off, as long as no payout of it has begun. Called by `routes`; where a part does not answer or a process
//! dies, the worker goes on with what the row says.
//!
//! ```text
//! cancel ─> called off (the row, at the version that was read) ─> release_unless_paid: Revio is asked about its payouts,
//!                                                          then the ledger voids the reservation ─> cancelled
//! ```
//!
//! The row moves only from the version at which the ledger had no payout noted, and a payout begins only from the row's version, too
//! (`payouts::mark_submitting`): of the two, one is told that it is too late. From then on nothing registers, approves or executes it. One that is not
//! reserved yet is reserved first: a reservation that is still on its way could not be released. Of a frozen customer it is allowed:
//! the money goes back into the wallet, and stays there (docs/decisions/043).

use ledger::Reservation;
use uuid::Uuid;

use super::step;
use crate::app::App;
use crate::money::transactions::{self, Due, FailureReason, Hold, Kind, Move, State, Transaction};
use crate::platform::error::{Error, Result};
use crate::platform::queue::LEASE;

/// How often somebody else may move the row between our reading and our saying.
const TRIES: usize = 5;

/// `cancelled`, or called off and about to be. A repeat changes nothing.
///
/// # Errors
/// [`Error::NotFound`], also for somebody else's; [`Error::NotCancellable`] when a payout has begun, it has ended, or a person must look.
pub async fn cancel(app: &App, user_id: Uuid, id: Uuid) -> Result<Transaction> {
    for _ in 0..TRIES {
        let withdrawal = transactions::find_own(app, user_id, id).await?;
        if withdrawal.kind != Kind::Withdrawal {
            return Err(Error::NotFound("withdrawal"));
        }
        if withdrawal.state == State::Cancelled || is_under_way(&withdrawal) {
            return Ok(withdrawal);
        }
        if !is_cancellable(app, &withdrawal).await? {
            return Err(too_late(&withdrawal));
        }
        let called_off = match call_off(app, &withdrawal).await {
            Err(Error::StaleState) => continue,
            moved => moved?,
        };
        app.crash.at("withdrawal.called_off")?;
        let after = transactions::step_inline(app, &called_off, Box::pin(step(app, &called_off))).await?;
        let done = after.state == State::Cancelled || is_under_way(&after);
        return if done { Ok(after) } else { Err(too_late(&after)) };
    }
    Err(Error::StaleState)
}

fn is_before_the_payout(withdrawal: &Transaction) -> bool {
    matches!(withdrawal.state, State::Initiated | State::Reserved | State::AwaitingApproval)
}

fn is_under_way(withdrawal: &Transaction) -> bool {
    withdrawal.is_called_off() && is_before_the_payout(withdrawal)
}

/// By the row's word and the ledger's: a row may have been in `submitting` before, or have forgotten it with an older database.
async fn is_cancellable(app: &App, withdrawal: &Transaction) -> Result<bool> {
    let waits_for_a_person = withdrawal.held.as_ref().is_some_and(|held| held.code != Hold::Frozen);
    if !is_before_the_payout(withdrawal) || withdrawal.failure_reason.is_some() || waits_for_a_person {
        return Ok(false);
    }
    let standing = app.ledger.withdrawal_standing(withdrawal.id).await?;
    Ok(standing.payouts.is_empty() && matches!(standing.reservation, Reservation::None | Reservation::Open))
}

/// The same state, and from now on it is released. A hold of a frozen customer's ends with it: there is nothing left to wait for.
async fn call_off(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let freed = transactions::end_hold_of(app, withdrawal, &[Hold::Frozen], LEASE).await?;
    let to = Move::to(freed.state, Due::In(LEASE)).because(FailureReason::CancelledByCustomer);
    transactions::advance(app, &freed, to).await
}

fn too_late(withdrawal: &Transaction) -> Error {
    Error::NotCancellable { state: withdrawal.shown_state().name() }
}
