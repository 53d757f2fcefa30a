//! The arrows of a withdrawal whose payout was given up, released or paid before, and of which Revio says something else now.
//! Called by the flow above when Revio tells of a payout, and by its looks at finished withdrawals.

use ledger::{Amount, TransferCode, TransferId};

use super::{ASK_MIN, LATER_LOOKS, fits, hold_misfit, reported, settle};
use crate::app::App;
use crate::money::receivables::{self, CollectLegs};
use crate::money::transactions::{self, Due, Hold, Move, Provider, State, Transaction};
use crate::money::{provider_fees, provider_objects};
use crate::platform::error::Result;
use crate::provider::revio::{Payout, PayoutStatus};

/// `reserved, awaiting_approval → submitted → …`: a payout that we had given up was executed after all. It is taken for the
/// withdrawal's own, before another is made: the customer is to be paid once.
pub(super) async fn adopt(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    tracing::error!(transaction.id = %withdrawal.id, payout.id = %payout.id, "Revio executed a payout that was given up");
    let provider = Provider { execution_url: payout.execution_url.clone(), ..reported(withdrawal, payout) };
    let to = Move::to(State::Submitted, Due::In(ASK_MIN)).with_provider(provider);
    let adopted = transactions::advance(app, withdrawal, to).await?;
    settle(app, &adopted, payout).await
}

/// A finished withdrawal, some time later: is Revio's word still the same?
pub(super) async fn look(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(payout_id) = withdrawal.provider.id else { return transactions::rest(app, withdrawal).await };
    let payout = provider_objects::payout(app, Some(withdrawal.id), payout_id).await?;
    let looked = reconsider(app, withdrawal, &payout).await?;
    let age = app.clock.now() - looked.updated_at;
    match LATER_LOOKS.iter().find(|look| **look > age) {
        Some(look) => transactions::wait(app, &looked, *look - age).await,
        None => transactions::rest(app, &looked).await,
    }
}

/// Revio's word on a finished withdrawal: the same as before, or another one.
pub(super) async fn reconsider(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    match (withdrawal.state, &payout.status) {
        (State::Failed | State::Cancelled, PayoutStatus::Success) => book_late(app, withdrawal, payout).await,
        (State::Failed | State::Cancelled, PayoutStatus::Error) if is_collected(app, withdrawal).await? => {
            end_late(app, withdrawal, payout).await
        }
        (State::Completed, PayoutStatus::Error) => {
            let reason = "Revio paid it, and calls it an error now: did the money come back?";
            transactions::hold(app, withdrawal, Hold::Contradiction, reason).await
        }
        // A fee that is only named now.
        (State::Completed, PayoutStatus::Success) => match &payout.payment {
            Some(payment) => match provider_fees::book_of_payout(app, withdrawal.id, payment).await?.odd() {
                Some(wrong) => transactions::hold(app, withdrawal, Hold::Contradiction, &wrong).await,
                None => Ok(withdrawal.clone()),
            },
            None => Ok(withdrawal.clone()),
        },
        (_, PayoutStatus::Unknown(word)) => {
            provider_objects::wait_for_a_known_word(app, withdrawal, payout.id, word).await
        }
        _ => Ok(withdrawal.clone()),
    }
}

/// `failed, cancelled → completed`: the customer has the money twice. It is taken from the wallet, as much as is there; the rest is owed.
pub(super) async fn book_late(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let payment = match fits(app, withdrawal, payout) {
        Ok(payment) => payment,
        Err(misfit) => return hold_misfit(app, withdrawal, misfit).await,
    };
    let owed = collect(app, withdrawal).await?;
    provider_fees::book_of_payout(app, withdrawal.id, payment).await?;
    let to = Move::to(State::Completed, Due::In(LATER_LOOKS[0])).with_provider(reported(withdrawal, payout));
    transactions::advance(app, withdrawal, to.leaving_owed(owed)).await
}

async fn collect(app: &App, withdrawal: &Transaction) -> Result<Amount> {
    let owed = receivables::collect(app, withdrawal, CollectLegs::LATE, TransferCode::Withdrawal).await?;
    app.crash.at("withdrawal.collected")?;
    app.metrics.withdrawals_paid_late.inc();
    tracing::error!(transaction.id = %withdrawal.id, owed = owed.minor(), "a withdrawal that had failed was paid after all");
    Ok(owed)
}

async fn is_collected(app: &App, withdrawal: &Transaction) -> Result<bool> {
    let taken = TransferId::of(withdrawal.id, CollectLegs::LATE.taken);
    Ok(!app.ledger.lookup(&[taken]).await?.is_empty())
}

/// `failed, cancelled → completed`: taken from the wallet already, and Revio's word is another one again. The row says what was taken; its
/// next look finds the contradiction.
async fn end_late(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let owed = collect(app, withdrawal).await?;
    let to = Move::to(State::Completed, Due::In(LATER_LOOKS[0])).with_provider(reported(withdrawal, payout));
    transactions::advance(app, withdrawal, to.leaving_owed(owed)).await
}
