//! Where the ledger knows more of a withdrawal than PostgreSQL does, which was put back to an earlier moment: the row is brought up to the
//! ledger, or is written again from it, or there is no customer to write it for, and what Revio says becomes final without it.

use chrono::TimeDelta;
use ledger::{Amount, Currency, Leg, Reservation, TransferId, WithdrawalStanding};
use uuid::Uuid;

use super::booking::{self, LATER_LOOKS};
use super::execution::{IN_FLIGHT_MAX, hold_behind};
use super::outcomes::apply;
use crate::app::App;
use crate::money::evidence;
use crate::money::provider_fees;
use crate::money::provider_objects::{self, Followed};
use crate::money::safe_mode::{self, LostReservation};
use crate::money::transactions::{self, Due, FailureReason, LostWithdrawal, Move, Provider, State, Transaction};
use crate::platform::error::{Error, Result};
use crate::provider::revio::{Payout, PayoutStatus};

/// Whoever still had the row in hand has long come to an end of its step (`queue::LEASE`).
const LOST_AFTER: TimeDelta = TimeDelta::minutes(10);

/// Where the ledger knows more of it than the row, the row is brought up to it before anything else; `None`: they say the same.
pub(super) async fn bring_up_to_ledger(app: &App, withdrawal: &Transaction) -> Result<Option<Transaction>> {
    let standing = app.ledger.withdrawal_standing(withdrawal.id).await?;
    let registered = provider_objects::payouts_of(app, withdrawal.id).await?;
    // Noted means that it may be executed, and then the row says `submitting`, or more.
    let began = matches!(withdrawal.state, State::Submitting | State::Submitted);
    let is_ending = withdrawal.failure_reason.is_some();
    let is_own = |id: &Uuid| Some(*id) == withdrawal.provider.id;
    // Every noted payout was counted as executed, and one that this row has only heard of, by an event of Revio's, was not: it is forgotten.
    let is_counted = |id: &Uuid| registered.iter().any(|payout| payout.id == *id && payout.executions > 0);
    // Payouts noted before the row's own were certainly not executed: otherwise they would not have been replaced.
    let forgotten = standing.payouts.iter().rev().take_while(|id| !is_own(id)).find(|id| !is_counted(id));
    let own = standing.payouts.last().filter(|id| is_own(id) && !began);
    // Where two people have given it up, every payout is asked for, and their word counts in the end (`end_by_review`).
    if withdrawal.failure_reason != Some(FailureReason::ClosedByReview)
        && let Some(payout_id) = forgotten.or(own)
    {
        return take_up(app, withdrawal, *payout_id).await.map(Some);
    }
    match standing.reservation {
        Reservation::Open => Ok(None),
        // Whoever released it, or was about to, goes on with that.
        Reservation::Voided if is_ending || began => Ok(None),
        Reservation::Posted if began => Ok(None),
        Reservation::Voided => {
            booking::void_reservation(app, withdrawal, FailureReason::ProviderCouldNotPay).await.map(Some)
        }
        Reservation::Posted => {
            tracing::error!(transaction.id = %withdrawal.id, "the ledger has posted a withdrawal whose row was behind");
            // Its fee may not be booked yet: it is looked at again.
            let due = if withdrawal.provider.id.is_some() { Due::In(LATER_LOOKS[0]) } else { Due::Never };
            transactions::advance(app, withdrawal, Move::to(State::Completed, due)).await.map(Some)
        }
        Reservation::None if withdrawal.failure_reason == Some(FailureReason::ClosedByReview) => {
            booking::end_unreserved(app, withdrawal).await.map(Some)
        }
        Reservation::None => hold_behind(app, withdrawal, &standing).await.map(Some),
    }
}

/// `→ submitting`: a payout that the row has forgotten, or forgot that it was to be executed. It is looked up before anything is done, and
/// never executed by this row again: it has no address. A forgotten call may still be on its way, so its window counts from now.
async fn take_up(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Transaction> {
    tracing::error!(transaction.id = %withdrawal.id, payout.id = %payout_id, "the ledger knows of a payout that the row forgot");
    let payout = provider_objects::ask_for_payout(app, Some(withdrawal.id), payout_id).await?;
    let provider = Provider {
        id: Some(payout_id),
        status: Some(payout.status.word().to_owned()),
        created_at: Some(app.clock.now()),
        ..Provider::default()
    };
    let to = Move::to(State::Submitting, Due::In(IN_FLIGHT_MAX)).with_provider(provider);
    let mut tx = app.db.begin().await?;
    let submitting = transactions::advance_within(app, &mut *tx, withdrawal, &to).await?;
    provider_objects::note_forgotten_executions(&mut *tx, payout_id).await?;
    tx.commit().await?;
    transactions::announce(app, withdrawal, &to);
    match payout.status {
        PayoutStatus::Initialized | PayoutStatus::Error => Ok(submitting),
        PayoutStatus::Pending | PayoutStatus::Success | PayoutStatus::Returned | PayoutStatus::Unknown(_) => {
            apply(app, &submitting, &payout).await
        }
    }
}

/// A payout of which we have no row: of others it is none of our business; of ours the row was lost. Where the ledger has reserved for this
/// very payout, what Revio says becomes final there, row or no row. Of anything else a person must know.
pub(super) async fn without_a_row(app: &App, payout_id: Uuid) -> Result<Followed> {
    let payout = provider_objects::or_not_known(provider_objects::ask_for_payout(app, None, payout_id).await)?;
    if payout.status == PayoutStatus::Success && post_without_a_row(app, &payout).await? {
        return Ok(Followed::Settled);
    }
    let is_foreign = app.revio.is_foreign(&payout.is_test, &payout.brand_id);
    if !is_foreign && !matches!(payout.status, PayoutStatus::Initialized | PayoutStatus::Error) {
        return Err(Error::Unusable(format!("Revio pays payout {payout_id}, and no row of ours knows it").into()));
    }
    Ok(Followed::NothingOfOurs)
}

/// Withdrawals whose row is lost, and whose money is reserved. The row is written again from the ledger, and its steps do the rest. Where the
/// customer is lost, too, Revio is asked for its payouts, since their events may be lost as well.
pub(super) async fn restore_lost(app: &App) -> Result<()> {
    for lost in safe_mode::lost_reservations(app).await? {
        let standing = app.ledger.withdrawal_standing(lost.row_id).await?;
        match lost.user_id {
            Some(user_id) => log_unless_unavailable(lost.row_id, write_again(app, &lost, user_id, &standing).await)?,
            None => {
                for payout_id in standing.payouts {
                    log_unless_unavailable(lost.row_id, without_a_row(app, payout_id).await)?;
                }
            }
        }
    }
    Ok(())
}

/// What is one row's own fault keeps no other waiting.
fn log_unless_unavailable<T>(row: Uuid, settled: Result<T>) -> Result<()> {
    match settled {
        Err(error @ (Error::Unavailable(_) | Error::ProviderPaused { .. })) => Err(error),
        Err(error) => {
            tracing::warn!(transaction.id = %row, error = error.chain(), "a lost withdrawal waits");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// What is not noted was not executed: a withdrawal without a payout in the ledger is released at once, any other is reminded of it.
async fn write_again(app: &App, lost: &LostReservation, user_id: Uuid, standing: &WithdrawalStanding) -> Result<()> {
    if standing.reservation != Reservation::Open || app.clock.now() - lost.found_at < LOST_AFTER {
        return Ok(());
    }
    let currency = Currency::parse(&lost.currency).ok_or_else(|| Error::internal("a currency of the copy"))?;
    let amount = Amount::new(lost.amount_minor, currency).map_err(Error::internal)?;
    let why = standing.payouts.is_empty().then_some(FailureReason::RequestLost);
    tracing::error!(transaction.id = %lost.row_id, "a withdrawal whose row is lost is written again from the ledger");
    transactions::insert_lost(app, &LostWithdrawal { id: lost.row_id, user_id, amount, why }).await
}

async fn post_without_a_row(app: &App, payout: &Payout) -> Result<bool> {
    let Some(row) = provider_objects::row_of(&payout.reference) else { return Ok(false) };
    let standing = app.ledger.withdrawal_standing(row).await?;
    let reserved = app.ledger.lookup(&[TransferId::of(row, Leg::Main)]).await?;
    let came = evidence::money(app, payout).map(|(_, amount)| amount);
    let fits = reserved.first().is_some_and(|reserved| came.is_ok_and(|came| reserved.amount() == Ok(came)));
    if !fits || !standing.payouts.contains(&payout.id) || standing.reservation == Reservation::Voided {
        return Ok(false);
    }
    if standing.reservation == Reservation::Open {
        tracing::error!(transaction.id = %row, payout.id = %payout.id, "a payout whose row is lost is posted by the ledger's word");
        app.ledger.post(row).await?;
    }
    if let Some(payment) = &payout.payment {
        provider_fees::book_of_payout(app, row, payment).await?;
    }
    Ok(true)
}
