//! A customer's balances, as the ledger has them at this moment. No copy of a balance is asked.

pub mod routes;

use ledger::{Account, Balance, Currency};
use uuid::Uuid;

use crate::app::App;
use crate::platform::error::Result;

/// One balance for each currency that customers may use; zeros where the customer has no wallet yet.
pub async fn balances(app: &App, user_id: Uuid) -> Result<Vec<(Currency, Balance)>> {
    let currencies = app.config.currencies.clone();
    let wallets: Vec<_> = currencies.iter().map(|currency| Account::wallet(user_id, *currency)).collect();
    let balances = app.ledger.balances(&wallets).await?;
    Ok(currencies.into_iter().zip(balances).collect())
}
