//! Payments of which we have no row: the database was put back to an earlier moment, or somebody made a link at Revio by hand. The money
//! is ours to keep for whoever it belongs to, so it is set aside; nothing that the ledger has in a wallet already is booked again.

use ledger::TransferId;
use uuid::Uuid;

use crate::app::App;
use crate::money::evidence::{self, Claim};
use crate::money::provider_fees;
use crate::money::provider_objects::{self, ObjectKind};
use crate::money::suspense::{self, ItemKind, NewItem};
use crate::platform::error::{Error, Result};
use crate::provider::revio::types::Flag;
use crate::provider::revio::{Purchase, RevioError};

/// False when it is nothing of ours, or nothing was paid. What cannot be decided here becomes a dead letter.
pub(super) async fn settle(app: &App, purchase_id: Uuid) -> Result<bool> {
    let purchase = match provider_objects::purchase(app, None, purchase_id).await {
        Err(Error::Unusable(cause)) if is_not_found(cause.as_ref()) => return Ok(false),
        purchase => purchase?,
    };
    if let Some(item) = suspense::of_object(app, purchase.id).await? {
        return give_back(app, &item, &purchase).await;
    }
    let Purchase { reference, is_test, brand_id, .. } = &purchase;
    let (payment, is_test, brand_id) = (purchase.payment.as_ref(), *is_test, *brand_id);
    if !purchase.status.means_paid() || !matches!(purchase.marked_as_paid, Flag::No | Flag::Unsaid) {
        return Ok(false);
    }
    let claim = Claim { payment, outgoing: false, reference, is_test, brand_id };
    let (payment, amount) = evidence::money(app, &claim).map_err(|reason| Error::Unusable(reason.into()))?;
    let id = match row_of(reference) {
        // In a wallet already: the row is lost, which the safe mode lists.
        Some(row) if !app.ledger.lookup(&TransferId::all_of(row)).await?.is_empty() => {
            provider_fees::book(app, row, payment).await?;
            return match provider_objects::payments_of(app, purchase.id).await?.is_empty() {
                true => Ok(true),
                false => Err(Error::Unusable(format!("given back by Revio, and its row {row} is not there").into())),
            };
        }
        Some(row) => row,
        None => provider_objects::row_id(app, purchase.id, purchase.created_on.whole()),
    };
    let provider_id = Some(purchase.id);
    let item = NewItem { id, kind: ItemKind::UnknownRow, transaction_id: None, provider_id, amount };
    tracing::error!(purchase.id = %purchase.id, item.id = %id, "a payment of which no row is known is in suspense");
    suspense::set_aside(app, &item).await?;
    provider_fees::book(app, id, payment).await?;
    Ok(true)
}

/// Of all that came, nothing more and nothing less.
async fn give_back(app: &App, item: &suspense::Item, purchase: &Purchase) -> Result<bool> {
    let mut back = 0_i64;
    for payment in provider_objects::payments_of(app, purchase.id).await? {
        let minor = payment.amount_minor.filter(|_| payment.status == "success").unwrap_or(0);
        let sign = if payment.kind == ObjectKind::ChargebackReversal { -1 } else { 1 };
        back = back.saturating_add(minor.saturating_mul(sign));
    }
    match back {
        0 => Ok(true),
        all if all == item.amount.minor() => suspense::return_all(app, item).await.map(|()| true),
        part => Err(Error::Unusable(format!("{part} of suspense item {} was given back", item.id).into())),
    }
}

/// The reference, where it is the id of a row of ours.
fn row_of(reference: &str) -> Option<Uuid> {
    reference.parse().ok().filter(|id| provider_objects::is_row_id(*id))
}

fn is_not_found(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    matches!(cause.downcast_ref::<RevioError>(), Some(RevioError::NotFound))
}
