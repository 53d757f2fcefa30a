//! The execution of a payout, the one call that moves money out: how long it may be made, and may be on its way; and that the ledger has which
//! payout it is before it is made. Called by `payouts`, `outcomes` and `restored`; it calls none of them.

use chrono::TimeDelta;
use ledger::{LedgerError, Reservation, WithdrawalStanding};
use uuid::Uuid;

use crate::app::App;
use crate::money::provider_objects;
use crate::money::transactions::{self, Hold, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::error::Result;
use crate::provider::revio::Payout;

/// Revio executes a payout within 15 minutes of its creation (`docs/provider.md`, window); a call needs some of that time.
pub(super) const WINDOW: TimeDelta = TimeDelta::minutes(15);
const WINDOW_MARGIN: TimeDelta = TimeDelta::minutes(1);
/// An execution without an answer may still be on its way for this long: until then nothing is concluded from its absence.
pub(super) const IN_FLIGHT_MAX: TimeDelta = TimeDelta::seconds(60);
/// At most this many payouts of one withdrawal may ever be executed: the first and one replacement.
pub(super) const PAYOUTS_MAX: usize = 2;

/// When its payout was registered; a row that has forgotten it counts from its own beginning.
fn registered_at(withdrawal: &Transaction) -> DateTime {
    withdrawal.provider.created_at.unwrap_or(withdrawal.created_at)
}

pub(super) fn window_is_open(app: &App, withdrawal: &Transaction) -> bool {
    app.clock.now() < registered_at(withdrawal) + WINDOW - WINDOW_MARGIN
}

/// How long to wait before Revio's `error` releases the money: with two calls, one of them unanswered, the error may be the answer to the
/// other, and the unanswered one may still pay until the window is closed (`docs/provider.md`, window, re-execution). One of another payout of
/// the row's is never what it answers.
pub(super) async fn until_no_call_counts(
    app: &App,
    withdrawal: &Transaction,
    payout_id: Uuid,
) -> Result<Option<TimeDelta>> {
    let known = provider_objects::payouts_of(app, withdrawal.id).await?;
    let is_one_unanswered =
        known.iter().any(|known| known.is_unanswered() && (known.executions > 1 || known.id != payout_id));
    Ok(until_window_ends(app, withdrawal).filter(|_| is_one_unanswered))
}

/// Until its payout's window is closed, and no call from within it is on its way.
pub(super) fn until_window_ends(app: &App, withdrawal: &Transaction) -> Option<TimeDelta> {
    let left = registered_at(withdrawal) + WINDOW + IN_FLIGHT_MAX - app.clock.now();
    (left > TimeDelta::zero()).then_some(left)
}

pub(super) fn is_own(app: &App, withdrawal: &Transaction, payout: &Payout) -> bool {
    is_named_as_own(app, withdrawal, payout) && withdrawal.provider.id == Some(payout.id)
}

/// What Revio does not say is no contradiction: the payout was asked for by the id that it gave us.
pub(super) fn is_named_as_own(app: &App, withdrawal: &Transaction, payout: &Payout) -> bool {
    let named = &payout.reference;
    let other_reference = !named.is_empty() && !named.eq_ignore_ascii_case(&withdrawal.id.to_string());
    !other_reference && !app.revio.is_foreign(&payout.is_test, &payout.brand_id)
}

pub(super) enum Noted {
    Yes,
    /// The ledger has other payouts of it, or no reservation any more.
    No(WithdrawalStanding),
}

/// The ledger has which payout it is before money may leave by it: whatever becomes of the row, no other is executed in its place.
pub(super) async fn note_in_ledger(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Noted> {
    note(app, withdrawal, payout_id, app.ledger.withdrawal_standing(withdrawal.id).await?).await
}

async fn note(app: &App, withdrawal: &Transaction, payout_id: Uuid, standing: WithdrawalStanding) -> Result<Noted> {
    let is_noted = standing.payouts.contains(&payout_id);
    if standing.reservation != Reservation::Open || (!is_noted && standing.payouts.len() >= PAYOUTS_MAX) {
        return Ok(Noted::No(standing));
    }
    if is_noted {
        return Ok(Noted::Yes);
    }
    let (row, currency) = (withdrawal.id, withdrawal.amount.currency());
    match app.ledger.note_payout(row, currency, payout_id, !standing.payouts.is_empty()).await {
        Ok(()) => Ok(Noted::Yes),
        Err(LedgerError::Contradiction(_)) => Ok(Noted::No(standing)),
        Err(error) => Err(error.into()),
    }
}

/// Before it is executed. `Some`, on hold, where the ledger has another one of which this database does not know that it was refused: whoever
/// noted that one may be about to execute it, in a row that was put back since.
pub(super) async fn note_or_hold(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Option<Transaction>> {
    let standing = app.ledger.withdrawal_standing(withdrawal.id).await?;
    let others: Vec<Uuid> = standing.payouts.iter().copied().filter(|noted| *noted != payout_id).collect();
    if !others.is_empty() {
        let known = provider_objects::payouts_of(app, withdrawal.id).await?;
        let is_refused = |id: &Uuid| known.iter().any(|payout| payout.id == *id && payout.is_refused());
        if !others.iter().all(is_refused) {
            return hold_behind(app, withdrawal, &standing).await.map(Some);
        }
    }
    match note(app, withdrawal, payout_id, standing).await? {
        Noted::Yes => Ok(None),
        Noted::No(standing) => hold_behind(app, withdrawal, &standing).await.map(Some),
    }
}

pub(super) async fn hold_behind(
    app: &App,
    withdrawal: &Transaction,
    standing: &WithdrawalStanding,
) -> Result<Transaction> {
    let payouts = joined(&standing.payouts);
    let reason = format!("the ledger's reservation is {:?}, its payouts: {payouts}", standing.reservation);
    transactions::hold(app, withdrawal, Hold::BehindLedger, &reason).await
}

pub(super) fn joined(ids: &[Uuid]) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
}
