//! Payments of which we have no row: the database was put back to an earlier moment, or somebody made a link at Revio by hand. The money
//! is ours to keep for whoever it belongs to, so it is set aside; nothing that the ledger has in a wallet already is booked again.

use ledger::{Amount, Leg, TransferCode, TransferId};
use uuid::Uuid;

use super::{Told, given_back, store};
use crate::app::App;
use crate::money::evidence;
use crate::money::provider_fees;
use crate::money::provider_objects::{self, Followed, row_of};
use crate::money::suspense::{self, ItemKind, NewItem};
use crate::money::transactions::{self, Kind};
use crate::platform::error::{Error, Result};
use crate::provider::revio::objects::{Flag, PaymentDetails};
use crate::provider::revio::{Purchase, PurchaseStatus};

/// Where nothing was paid it is nothing of ours. What cannot be decided here becomes a dead letter.
pub(super) async fn apply(app: &App, told: Told) -> Result<Followed> {
    let purchase = provider_objects::or_not_known(provider_objects::ask_for_purchase(app, None, told.id).await)?;
    // What the event did not say, the purchase may: it is a second one of a deposit that we have.
    if let Some(row) = row_of(&purchase.reference)
        && let Some(deposit) = transactions::find_for_provider(app, Kind::Deposit, purchase.id, Some(row)).await?
    {
        return super::follow_event(app, &deposit, told).await.map(|()| Followed::Settled);
    }
    if suspense::of_object(app, purchase.id).await?.is_none() {
        match (&purchase.status, &purchase.marked_as_paid) {
            (PurchaseStatus::Unknown(word), _) => return Err(unknown_word(word)),
            (status, Flag::Odd(found)) if status.means_paid() => {
                return Err(Error::Unusable(format!("marked_as_paid is {found}").into()));
            }
            // Somebody calls it paid: no money came by that.
            (status, Flag::Yes) if status.means_paid() => return Ok(Followed::Settled),
            (status, Flag::No | Flag::Unsaid) if status.means_paid() => {}
            _ => return Ok(Followed::NothingOfOurs),
        }
        let (payment, amount) = evidence::money(app, &purchase).map_err(|reason| Error::Unusable(reason.into()))?;
        let of_its_own = || provider_objects::row_id(purchase.id, purchase.created_on.whole(), 0);
        let id = match row_of(&purchase.reference) {
            Some(row) => match suspense::noted(app, row).await? {
                // Another purchase of the same row's: each has brought money.
                Some(item) if item.provider_id != Some(purchase.id) => of_its_own(),
                None if is_in_a_wallet(app, row, amount).await? => {
                    return book_fee_of(app, row, &purchase, payment).await.map(|()| Followed::Settled);
                }
                None if is_anothers(app, row).await? => of_its_own(),
                Some(_) | None => row,
            },
            None => of_its_own(),
        };
        // Where we died before the ledger was asked, what was noted is what it is asked for.
        let amount = suspense::noted(app, id).await?.map_or(amount, |noted| noted.amount);
        let provider_id = Some(purchase.id);
        let item = NewItem { id, kind: ItemKind::UnknownRow, transaction_id: None, provider_id, amount };
        tracing::error!(purchase.id = %purchase.id, item.id = %id, "a payment of which no row is known is in suspense");
        suspense::set_aside(app, &item).await?;
    }
    let item = suspense::of_object(app, purchase.id).await?;
    let item = item.ok_or_else(|| Error::internal("what was set aside is not there"))?;
    if let (ItemKind::UnknownRow, Some(payment)) = (item.kind, &purchase.payment) {
        provider_fees::book(app, item.id, payment).await?;
    }
    given_back::follow_payer(app, &item, &purchase).await.map(|()| Followed::Settled)
}

/// It may mean that money came, and nobody would ask again.
pub(super) fn unknown_word(word: &str) -> Error {
    let word = provider_objects::shortened(word);
    Error::Unusable(format!("Revio calls a purchase that no row asks for {word}").into())
}

/// By the ledger, a deposit's money: its row is lost, which the safe mode lists. Of another sum it is not the payment that was credited.
async fn is_in_a_wallet(app: &App, row: Uuid, came: Amount) -> Result<bool> {
    let main = app.ledger.lookup(&[TransferId::of(row, Leg::Main)]).await?;
    let Some(main) = main.first().filter(|main| main.code == TransferCode::Deposit.code()) else { return Ok(false) };
    if main.amount()? == came {
        return Ok(true);
    }
    Err(Error::Unusable(format!("of another sum than was credited by row {row}, which is not there").into()))
}

/// Of a row that is no deposit, a transaction's, a journal's or a restriction's, or of one that is lost: whoever made the link named what the
/// payment is about. What a lost deposit set aside is its own: the item is noted again, for nobody could clear it otherwise.
async fn is_anothers(app: &App, row: Uuid) -> Result<bool> {
    if store::is_row(&app.db, row).await? {
        return Ok(true);
    }
    let recorded = app.ledger.lookup(&TransferId::all_of(row)).await?;
    Ok(!recorded.is_empty() && !recorded.iter().any(|transfer| transfer.id == TransferId::of(row, Leg::Unmatched)))
}

/// Of what the ledger has in a wallet already.
async fn book_fee_of(app: &App, row: Uuid, purchase: &Purchase, payment: &PaymentDetails) -> Result<()> {
    provider_fees::book(app, row, payment).await?;
    match provider_objects::payments_of(app, purchase.id).await?.is_empty() {
        true => Ok(()),
        false => Err(Error::Unusable(format!("given back by Revio, and its row {row} is not there").into())),
    }
}
