//! What the ledger is asked for at a withdrawal's end: the reservation is posted or voided, and what Revio paid after it was voided is
//! taken from the wallet. Each is a step of its own, which whoever repeats finds done.

use chrono::TimeDelta;
use ledger::{Amount, LedgerError, Leg, Resolution, TransferCode};
use uuid::Uuid;

use crate::app::App;
use crate::identity::totp;
use crate::money::adjustments::{self, ByHand};
use crate::money::evidence::{self, Misfit};
use crate::money::receivables::{self, Available, CollectLegs};
use crate::money::suspense::ItemKind;
use crate::money::transactions::{self, Direction, Due, FailureReason, Hold, Move, Provider, State, Transaction};
use crate::money::{provider_fees, provider_objects};
use crate::platform::error::Result;
use crate::provider::revio::Payout;

/// After Revio's word: it may change, and the webhook that says so can be lost. The last of these ends the looking.
pub(super) const LATER_LOOKS: [TimeDelta; 3] = [TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(7)];

/// What Revio paid after the release: from the wallet, or owed.
pub(super) const TAKEN_LATE: [Leg; 2] = [Leg::Late, Leg::Receivable];

/// `→ completed`: Revio paid, the reservation becomes final.
pub(super) async fn complete(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let payment = match evidence::check(app, withdrawal, payout) {
        Ok(payment) => Some(payment),
        Err(_) if is_closed_by_review(app, withdrawal, payout) => None,
        Err(misfit) => return hold_misfit(app, withdrawal, misfit).await,
    };
    if let Some(stopped) = stop_if_corrected(app, withdrawal, payout).await? {
        return Ok(stopped);
    }
    if let Some(not_posted) = post(app, withdrawal, payout).await? {
        return Ok(not_posted);
    }
    match payment {
        Some(payment) => _ = provider_fees::book_of_payout(app, withdrawal.id, payment).await?,
        None => tracing::error!(
            transaction.id = %withdrawal.id, payout.id = %payout.id,
            "Revio paid a withdrawal that two people gave up, and not as it was asked for: correct the difference"
        ),
    }
    app.crash.at("withdrawal.fee_booked")?;
    transactions::advance(app, withdrawal, completed(withdrawal, payout)).await
}

/// `Some`: people have booked by hand what Revio paid, so it is not posted.
async fn stop_if_corrected(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Option<Transaction>> {
    let what = (Direction::Debit, withdrawal.amount);
    let is_closed = is_closed_by_review(app, withdrawal, payout);
    match adjustments::booked_by_hand(app, withdrawal, what, &[Leg::Post, Leg::Void]).await? {
        // Where two people have given it up, what is reserved besides is free again.
        Some(ByHand::Named) if is_closed => {
            let held = adjustments::hold_as_corrected(app, withdrawal, what.0, ByHand::Named).await?;
            void_reservation(app, &held, FailureReason::ClosedByReview).await.map(Some)
        }
        // They have looked at what only has the same sum, and Revio has paid this one.
        Some(ByHand::SameSum) if is_closed => Ok(None),
        Some(by_hand) => adjustments::hold_as_corrected(app, withdrawal, what.0, by_hand).await.map(Some),
        None => Ok(None),
    }
}

/// The reservation becomes final. `Some`: it was not open any more, and what the row is for that.
async fn post(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Option<Transaction>> {
    let posted = app.ledger.post(withdrawal.id).await;
    app.crash.at("withdrawal.posted")?;
    match posted {
        Ok(()) | Err(LedgerError::AlreadyResolved(Resolution::Posted)) => Ok(None),
        // We had begun to release it when Revio changed its word. What that repaid must stand in the row, so it is ended first; then it
        // is the same as a payment after a release.
        Err(LedgerError::AlreadyResolved(Resolution::Voided)) => {
            let reason = withdrawal.failure_reason.unwrap_or(FailureReason::ProviderCouldNotPay);
            let released = void_reservation(app, withdrawal, reason).await?;
            book_late(app, &released, payout).await.map(Some)
        }
        // No reservation of ours expires: whoever made this one, it was not us.
        Err(LedgerError::AlreadyResolved(Resolution::Expired)) => {
            let reason = "Revio paid, but the reservation has expired";
            transactions::hold(app, withdrawal, Hold::Contradiction, reason).await.map(Some)
        }
        Err(error) => Err(error.into()),
    }
}

/// `→ failed, cancelled`: the reservation is voided, and what is owed is repaid from it. Revio's last word says so, or the row does
/// (`failure_reason`).
pub(super) async fn void_reservation(
    app: &App,
    withdrawal: &Transaction,
    reason: FailureReason,
) -> Result<Transaction> {
    // What two people end they have looked at.
    if reason != FailureReason::ClosedByReview {
        let legs = [Leg::Post, Leg::Void];
        let (amount, direction) = (withdrawal.amount, Direction::Credit);
        if let Some(held) = adjustments::hold_if_corrected(app, withdrawal, amount, direction, &legs).await? {
            return Ok(held);
        }
    }
    let voided = receivables::make_available(app, withdrawal, Available::Release).await?;
    app.crash.at("withdrawal.voided")?;
    let repaid = match voided {
        Ok(repaid) => repaid,
        Err(LedgerError::AlreadyResolved(how)) => {
            let reason = format!("released ({}), but the reservation is {how:?}", reason.name());
            return transactions::hold(app, withdrawal, Hold::Contradiction, &reason).await;
        }
        Err(error) => return Err(error.into()),
    };
    totp::give_back_allowance(app, withdrawal.id).await?;
    let due = if has_payouts(app, withdrawal).await? { Due::In(LATER_LOOKS[0]) } else { Due::Never };
    let end = if reason == FailureReason::CancelledByCustomer { State::Cancelled } else { State::Failed };
    transactions::advance(app, withdrawal, Move::to(end, due).because(reason).having_repaid(repaid)).await
}

/// `→ failed`, as two people said: the ledger has lost its reservation (TigerBeetle was put back to an earlier moment), so nothing is to be
/// released. What Revio has paid all the same is taken from the wallet at the next look.
pub(super) async fn end_unreserved(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let due = if has_payouts(app, withdrawal).await? { Due::Now } else { Due::Never };
    let to = Move::to(State::Failed, due).because(FailureReason::ClosedByReview);
    transactions::advance(app, withdrawal, to).await
}

/// Whether there is one that Revio may still say something else of, also one that the row let go of.
async fn has_payouts(app: &App, withdrawal: &Transaction) -> Result<bool> {
    Ok(withdrawal.provider.id.is_some() || !provider_objects::payouts_of(app, withdrawal.id).await?.is_empty())
}

/// `failed, cancelled → completed`: the customer has the money twice. It is taken from the wallet, as much as is there; the rest is owed.
pub(super) async fn book_late(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let payment = match evidence::check(app, withdrawal, payout) {
        Ok(payment) => payment,
        Err(misfit) => return hold_misfit(app, withdrawal, misfit).await,
    };
    if let Some(held) =
        adjustments::hold_if_corrected(app, withdrawal, withdrawal.amount, Direction::Debit, &TAKEN_LATE).await?
    {
        return Ok(held);
    }
    let owed = collect(app, withdrawal).await?;
    provider_fees::book_of_payout(app, withdrawal.id, payment).await?;
    transactions::advance(app, withdrawal, completed(withdrawal, payout).leaving_owed(owed)).await
}

/// `failed, cancelled → completed`: taken from the wallet already, and Revio's word is another one again. The row says what was taken; its
/// next look finds the contradiction.
pub(super) async fn end_late(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let owed = collect(app, withdrawal).await?;
    transactions::advance(app, withdrawal, completed(withdrawal, payout).leaving_owed(owed)).await
}

fn completed(withdrawal: &Transaction, payout: &Payout) -> Move {
    Move::to(State::Completed, Due::In(LATER_LOOKS[0])).with_provider(reported(withdrawal, payout))
}

async fn collect(app: &App, withdrawal: &Transaction) -> Result<Amount> {
    let owed = receivables::collect(app, withdrawal, CollectLegs::LATE, TransferCode::Withdrawal).await?;
    app.crash.at("withdrawal.collected")?;
    app.metrics.withdrawals_paid_late.inc();
    tracing::error!(transaction.id = %withdrawal.id, owed = owed.minor(), "a withdrawal that had failed was paid after all");
    Ok(owed)
}

/// Two people have closed it: a payout that does not match no longer blocks completion, and reconciliation reports the difference. One of
/// another mode or brand still does: it moved no money of ours.
pub(super) fn is_closed_by_review(app: &App, withdrawal: &Transaction, payout: &Payout) -> bool {
    let is_foreign = app.revio.is_foreign(&payout.is_test, &payout.brand_id);
    !is_foreign && withdrawal.failure_reason == Some(FailureReason::ClosedByReview)
}

/// Revio's word is another one after it had paid: whether the money came back, a person must find out. Nothing is released or given back by itself.
pub(super) async fn hold_returned(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let reason = "Revio paid it, and calls it an error now: did the money come back?";
    transactions::hold(app, withdrawal, Hold::Contradiction, reason).await
}

/// Paid, then another word, then paid again: in between people may have given the money back. `None`: nobody has, or a person has closed that.
pub(super) async fn hold_paid_again(
    app: &App,
    withdrawal: &Transaction,
    payout_id: Uuid,
) -> Result<Option<Transaction>> {
    let known = provider_objects::find(app, payout_id).await?;
    let is_again = known.is_some_and(|known| known.paid_at.is_some_and(|first| first < known.status_at));
    let given_back = (Direction::Credit, withdrawal.amount);
    if !is_again || adjustments::booked_by_hand(app, withdrawal, given_back, &[]).await? != Some(ByHand::Named) {
        return Ok(None);
    }
    let reason = "Revio calls it paid again, and people have given it back meanwhile";
    let row = transactions::hold(app, withdrawal, Hold::PaidTwice, reason).await?;
    Ok(row.held.is_some().then_some(row))
}

/// What was paid is not what was asked for: nothing is posted or released before a person knows what happened.
async fn hold_misfit(app: &App, withdrawal: &Transaction, misfit: Misfit) -> Result<Transaction> {
    let asked = withdrawal.amount;
    let reason = match misfit {
        Misfit::Money { came, kind: ItemKind::OtherAmount } => {
            format!("Revio paid out {}, asked for {}", came.minor(), asked.minor())
        }
        Misfit::Money { came, kind: ItemKind::OtherCurrency } => {
            let (came, asked) = (came.currency().code(), asked.currency().code());
            format!("Revio's payout does not fit: paid in another currency: {came}, asked for {asked}")
        }
        Misfit::Money { .. } => "Revio's payout does not fit: Revio's object has another reference".to_owned(),
        Misfit::NoMoney(reason) => format!("Revio's payout does not fit: {reason}"),
    };
    transactions::hold(app, withdrawal, Hold::NotProven, &reason).await
}

pub(super) fn reported(withdrawal: &Transaction, payout: &Payout) -> Provider {
    Provider { id: Some(payout.id), status: Some(payout.status.word().to_owned()), ..withdrawal.provider.clone() }
}
