//! Money that came for a deposit and does not fit it: it is booked to `suspense` under the row's id, with what Revio kept for itself, and the row
//! is on hold for a person. Called by `deposits`, where it accepts what was paid.

use ledger::Amount;

use crate::app::App;
use crate::money::provider_fees;
use crate::money::suspense::{self, ItemKind, NewItem};
use crate::money::transactions::{self, Hold, Transaction};
use crate::platform::error::Result;
use crate::provider::revio::Purchase;

/// Money that came and is not the wallet's: booked to `suspense`, and a person must look.
pub(super) async fn book(
    app: &App,
    deposit: &Transaction,
    purchase: &Purchase,
    amount: Amount,
    kind: ItemKind,
) -> Result<Transaction> {
    let (transaction_id, provider_id) = (Some(deposit.id), Some(purchase.id));
    suspense::set_aside(app, &NewItem { id: deposit.id, kind, transaction_id, provider_id, amount }).await?;
    app.crash.at("deposit.set_aside")?;
    book_fee(app, deposit, purchase).await?;
    hold(app, deposit, kind).await
}

pub(super) async fn book_fee(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<()> {
    match &purchase.payment {
        Some(payment) => provider_fees::book(app, deposit.id, payment).await.map(drop),
        None => Ok(()),
    }
}

pub(super) async fn hold(app: &App, deposit: &Transaction, kind: ItemKind) -> Result<Transaction> {
    let item = suspense::of_row(app, deposit.id).await?;
    let came = item.map_or(deposit.amount, |item| item.amount);
    let asked = deposit.amount;
    let reason = match kind {
        ItemKind::OtherAmount => format!("paid with another amount: {}, asked for {}", came.minor(), asked.minor()),
        ItemKind::OtherCurrency => {
            let is_known = app.config.currencies.contains(&came.currency());
            let hint = if is_known { "" } else { " (to see and to clear it, add that to CURRENCIES)" };
            let (came, asked) = (came.currency().code(), asked.currency().code());
            format!("paid in another currency: {came}, asked for {asked}{hint}")
        }
        ItemKind::ClosedWallet => "paid for a closed wallet".to_owned(),
        ItemKind::OtherReference => "paid with another reference".to_owned(),
        ItemKind::UnknownRow | ItemKind::Correction | ItemKind::Journal => "paid before we knew of it".to_owned(),
    };
    transactions::hold(app, deposit, Hold::SetAside, &format!("{reason}; it is in suspense")).await
}
