//! A customer calls an unpaid deposit off. The row says so first, then Revio is asked to take no money for it, and what Revio says then is
//! what becomes of it: `cancelled`, or paid meanwhile and credited as always. Called by `routes`; where a call fails or a process dies, the
//! worker goes on with what the row says.
//!
//! ```text
//! cancel ─> called off (the row) ─┬─> no link yet: cancelled, since nobody can pay what nobody has a link to
//!                                 └─> ask: cancel at Revio ─> apply: cancelled, completed, or it stays open and is asked again
//! ```

use uuid::Uuid;

use super::step;
use crate::app::App;
use crate::money::transactions::{self, Due, FailureReason, Kind, Move, State, Transaction};
use crate::platform::error::{Error, Result};
use crate::platform::queue::LEASE;

/// How often somebody else may move the row between our reading and our saying.
const TRIES: usize = 5;

/// `cancelled`, or called off and waiting for Revio's word. A repeat changes nothing and calls nobody.
///
/// # Errors
/// [`Error::NotFound`], also for somebody else's; [`Error::NotCancellable`] when it is paid, has ended, or waits for a person.
pub async fn cancel(app: &App, user_id: Uuid, id: Uuid) -> Result<Transaction> {
    for _ in 0..TRIES {
        let deposit = transactions::find_own(app, user_id, id).await?;
        if deposit.kind != Kind::Deposit {
            return Err(Error::NotFound("deposit"));
        }
        let deposit = or_too_late(deposit)?;
        if deposit.state == State::Cancelled || deposit.is_called_off() {
            return Ok(deposit);
        }
        let to = Move::to(deposit.state, Due::In(LEASE)).because(FailureReason::CancelledByCustomer);
        let called_off = match transactions::advance(app, &deposit, to).await {
            Err(Error::StaleState) => continue,
            moved => moved?,
        };
        app.crash.at("deposit.called_off")?;
        let after = transactions::step_inline(app, &called_off, Box::pin(step(app, &called_off))).await?;
        return or_too_late(after);
    }
    Err(Error::StaleState)
}

fn or_too_late(deposit: Transaction) -> Result<Transaction> {
    let may_be = matches!(deposit.state, State::Initiated | State::AwaitingPayment | State::Cancelled);
    if may_be && !deposit.is_under_review() {
        return Ok(deposit);
    }
    Err(Error::NotCancellable { state: deposit.shown_state().name() })
}

/// `initiated → cancelled`: we know of no purchase. One that Revio made all the same, and whose answer was lost, has a link that nobody
/// has; should its event come, it is cancelled at Revio as well (`await_payment`).
pub(super) async fn close_without_a_link(app: &App, deposit: &Transaction) -> Result<Transaction> {
    transactions::advance(app, deposit, Move::to(State::Cancelled, Due::Never)).await
}
