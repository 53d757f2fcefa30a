//! A purchase whose creation was repeated, since its answer was lost: paid all the same, it is a deposit of its own. And where PostgreSQL has forgotten
//! which purchase is the row's, what the ledger says of that. Called by `deposits` for what Revio tells of a purchase.

use ledger::{Leg, TransferId};
use uuid::Uuid;

use crate::app::App;
use crate::money::transactions::{self, Child, Kind, State, Transaction};
use crate::money::{evidence, provider_objects};
use crate::platform::error::{Error, Result};
use crate::provider::revio::Purchase;

/// What the ledger has booked of a row that knows no purchase (PostgreSQL was put back to an earlier moment).
pub(super) enum Booked {
    /// By this purchase, or by another one of the row's that it has forgotten.
    ForThisRow,
    /// By this purchase, as [`insert`] has it.
    ForASecond,
}

/// # Errors
/// [`Error::Unusable`] where another sum is booked.
pub(super) async fn booked_for(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Option<Booked>> {
    let legs = |row: Uuid| [Leg::Main, Leg::Unmatched].map(|leg| TransferId::of(row, leg));
    let (own, second) = (legs(deposit.id), legs(second_id(deposit, purchase)));
    let recorded = app.ledger.lookup(&[own, second].concat()).await?;
    let find = |ids: [TransferId; 2]| recorded.iter().find(|transfer| ids.contains(&transfer.id));
    if find(second).is_some() {
        return Ok(Some(Booked::ForASecond));
    }
    let Some(own) = find(own) else {
        return Ok((deposit.state == State::Completed).then_some(Booked::ForThisRow));
    };
    // Of another sum it was booked by another purchase, or Revio says something else of this one by now: once the row knows its own, this tells.
    let came = evidence::money(app, purchase).ok().map(|(_, came)| came);
    if came.is_some_and(|came| own.amount() != Ok(came)) {
        return Err(Error::Unusable(
            "the ledger has booked another sum of a row that has forgotten its purchase".into(),
        ));
    }
    Ok(Some(Booked::ForThisRow))
}

fn second_id(deposit: &Transaction, purchase: &Purchase) -> Uuid {
    provider_objects::row_id(purchase.id, purchase.created_on.whole(), provider_objects::millis_of(deposit.id))
}

/// A second purchase of this deposit was paid: a deposit of its own, which the worker settles like any other.
pub(super) async fn insert(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<()> {
    tracing::warn!(transaction.id = %deposit.id, purchase.id = %purchase.id, "a second purchase of a deposit was paid");
    let second = Child {
        id: second_id(deposit, purchase),
        parent: deposit,
        kind: Kind::Deposit,
        state: State::AwaitingPayment,
        amount: deposit.amount,
        provider_id: Some(purchase.id),
    };
    transactions::insert_child(app, &second).await
}
