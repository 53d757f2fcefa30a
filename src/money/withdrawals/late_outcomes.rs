//! A withdrawal that has ended, and of which Revio says something else now. Called by `withdrawals` when Revio tells of its payout, and by
//! its looks at finished withdrawals.

mod lost_ends;

use super::booking::{self, LATER_LOOKS, TAKEN_LATE};
use super::outcomes;
use crate::app::App;
use crate::money::transactions::{self, Hold, State, Transaction};
use crate::money::{evidence, provider_fees, provider_objects};
use crate::platform::error::Result;
use crate::provider::revio::{Payout, PayoutStatus};

/// A finished withdrawal, some time later: is Revio's word still the same? Where nothing was paid, its word on payouts that the row let go of
/// counts, too.
pub(super) async fn look(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let withdrawal = &lost_ends::end_again(app, withdrawal).await?;
    let (mut looked, mut unknown) = (withdrawal.clone(), None);
    for payout_id in outcomes::every_payout(app, withdrawal).await? {
        let is_own = looked.provider.id == Some(payout_id);
        if !is_own && looked.state == State::Completed {
            continue;
        }
        // One that Revio does not know any more has no other word than before.
        let asked = provider_objects::ask_for_payout(app, Some(withdrawal.id), payout_id).await;
        let Some(payout) = provider_objects::if_known(asked)? else { continue };
        match payout.status {
            PayoutStatus::Unknown(_) => unknown = unknown.or(Some(payout)),
            PayoutStatus::Success => looked = act_on(app, &looked, &payout).await?,
            _ if is_own => looked = act_on(app, &looked, &payout).await?,
            // It is on its way, or never was: its end is told, and looked for again.
            PayoutStatus::Initialized | PayoutStatus::Pending | PayoutStatus::Error | PayoutStatus::Returned => {}
        }
    }
    match unknown {
        // Asked again soon, or held: no word that we know is no word that stays. Where another was paid, that counts.
        Some(payout) if looked.state == withdrawal.state => act_on(app, &looked, &payout).await,
        Some(_) | None => transactions::look_again(app, &looked, &LATER_LOOKS).await,
    }
}

/// Revio's word on a finished withdrawal: the same as before, or another one.
pub(super) async fn reconsider(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    act_on(app, &lost_ends::end_again(app, withdrawal).await?, payout).await
}

/// The same of one that has ended in the ledger, too.
async fn act_on(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let is_known = payout.status.is_known();
    let withdrawal = &provider_objects::end_unknown_word(app, withdrawal, is_known, LATER_LOOKS[0]).await?;
    match (withdrawal.state, &payout.status) {
        (State::Failed | State::Cancelled, PayoutStatus::Success) => booking::book_late(app, withdrawal, payout).await,
        (State::Failed | State::Cancelled, PayoutStatus::Error | PayoutStatus::Returned)
            if app.ledger.has(withdrawal.id, &TAKEN_LATE).await? =>
        {
            booking::end_late(app, withdrawal, payout).await
        }
        (State::Completed, PayoutStatus::Error | PayoutStatus::Returned) => {
            booking::hold_returned(app, withdrawal).await
        }
        (State::Completed, PayoutStatus::Success) => {
            match booking::hold_paid_again(app, withdrawal, payout.id).await? {
                Some(held) => Ok(held),
                None => book_fee(app, withdrawal, payout).await,
            }
        }
        (_, PayoutStatus::Unknown(word)) => {
            provider_objects::wait_for_a_known_word(app, withdrawal, payout.id, word).await
        }
        (
            _,
            PayoutStatus::Initialized
            | PayoutStatus::Pending
            | PayoutStatus::Success
            | PayoutStatus::Error
            | PayoutStatus::Returned,
        ) => Ok(withdrawal.clone()),
    }
}

/// A fee that Revio names only now; one that cannot be right holds the row.
async fn book_fee(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let Ok(payment) = evidence::check(app, withdrawal, payout) else { return Ok(withdrawal.clone()) };
    match provider_fees::book_of_payout(app, withdrawal.id, payment).await?.odd() {
        Some(wrong) => transactions::hold(app, withdrawal, Hold::Contradiction, &wrong).await,
        None => Ok(withdrawal.clone()),
    }
}
