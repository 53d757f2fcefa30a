//! The end of a deposit that nobody has paid: Revio is asked to take no money for it any more, the row follows its purchase, and it is looked at
//! a few times after that. Called by `deposits`.
//!
//! ```text
//! past its time, or called off ─> cancel_if_over ─> close: expired | cancelled ─> look_last, after a day and after a week more
//! ```

use chrono::TimeDelta;
use uuid::Uuid;

use crate::app::App;
use crate::money::provider_objects;
use crate::money::transactions::{self, Due, Hold, Move, State, Transaction};
use crate::platform::error::Result;
use crate::provider::revio::{Purchase, PurchaseStatus};

/// A payment that began before the link closed can still succeed, and its webhook can still be lost: one look a day later, and one a week
/// after that.
const LAST_LOOKS: [TimeDelta; 2] = [TimeDelta::days(1), TimeDelta::days(8)];

pub(super) async fn hold_incomplete(app: &App, deposit: &Transaction) -> Result<Transaction> {
    transactions::hold(app, deposit, Hold::Incomplete, "the purchase's id is missing").await
}

/// The purchase as it is now, after what is to be done about one that is still unpaid.
pub(super) async fn ask_and_cancel_if_over(app: &App, deposit: &Transaction, purchase_id: Uuid) -> Result<Purchase> {
    let purchase = provider_objects::ask_for_purchase(app, Some(deposit.id), purchase_id).await?;
    cancel_if_over(app, deposit, purchase).await
}

/// Past its time, or called off: Revio is asked to take no money for what is still unpaid. The purchase as it is then.
pub(super) async fn cancel_if_over(app: &App, deposit: &Transaction, purchase: Purchase) -> Result<Purchase> {
    let is_late = || deposit.is_called_off() || app.clock.now() > super::ends_at(deposit);
    // Cancelled, or closed by a person.
    let is_closed = matches!(deposit.state, State::Cancelled | State::Failed);
    let over = is_closed || deposit.state == State::AwaitingPayment && is_late();
    if !over || !matches!(purchase.status, PurchaseStatus::Open(_)) {
        return Ok(purchase);
    }
    let cancelled = app.revio.cancel_purchase(purchase.id).await;
    app.crash.at("deposit.purchase_cancelled")?;
    match cancelled {
        Ok(cancelled) => {
            provider_objects::record_purchase(app, Some(deposit.id), &cancelled).await?;
            Ok(cancelled)
        }
        // Not cancellable, in whichever words; or Revio cannot. What the purchase is shows when asked again.
        Err(error) if error.is_answer() => provider_objects::ask_for_purchase(app, Some(deposit.id), purchase.id).await,
        Err(error) => Err(error.into()),
    }
}

/// `→ expired | cancelled`: nothing came and, as far as Revio can say, nothing will. A late payment still completes it.
pub(super) async fn close(app: &App, deposit: &Transaction, state: State, purchase: &Purchase) -> Result<Transaction> {
    // It stays what it was called first, also by a person who closed it.
    if matches!(deposit.state, State::Failed | State::Expired | State::Cancelled) {
        return Ok(deposit.clone());
    }
    let to = Move::to(state, Due::In(LAST_LOOKS[0])).with_provider(super::reported(deposit, purchase));
    transactions::advance(app, deposit, to).await
}

/// A closed deposit, some time later: still closed, or paid after all. A purchase that Revio does not know any more has no other word than before.
pub(super) async fn look_last(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let Some(purchase_id) = deposit.provider.id else { return hold_incomplete(app, deposit).await };
    let looked = match provider_objects::if_known(ask_and_cancel_if_over(app, deposit, purchase_id).await)? {
        // Asked again soon, or held: no word that we know is no word that stays.
        Some(purchase) if matches!(purchase.status, PurchaseStatus::Unknown(_)) => {
            return super::apply(app, deposit, &purchase).await;
        }
        Some(purchase) => {
            let looked = super::apply(app, deposit, &purchase).await?;
            // Credited, held, or asked again soon: what went back of it is not known yet.
            if purchase.status.means_paid() {
                return Ok(looked);
            }
            // It could not be cancelled, and can still be paid.
            if matches!(purchase.status, PurchaseStatus::Open(_)) && app.clock.now() - looked.updated_at < LAST_LOOKS[0]
            {
                return transactions::defer(app, &looked, super::ASK_MAX).await;
            }
            looked
        }
        None => deposit.clone(),
    };
    match looked.state {
        State::Failed | State::Expired | State::Cancelled => transactions::look_again(app, &looked, &LAST_LOOKS).await,
        State::Initiated | State::AwaitingPayment | State::Completed | State::Rejected => Ok(looked),
        // A withdrawal's.
        State::Reserved | State::AwaitingApproval | State::Submitting | State::Submitted => Ok(looked),
    }
}
