//! A caller of the ledger, without the service: what TigerBeetle does through our crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::ledger::{Account, Amount, Currency, Leg, Transfer, TransferCode, TransferId, VelocityLimit};
use octoco::app::App;
use octoco::platform::error::BoxError;
use uuid::Uuid;

use super::customers::Customers;
use super::run::{self, Outcome};

const LIMIT: VelocityLimit = VelocityLimit { amount: None, secs: 24 * 3600 };
static NEXT: AtomicUsize = AtomicUsize::new(0);

pub(crate) struct Caller {
    app: App,
    reserves: bool,
    wallets: Arc<[Uuid]>,
}

impl Caller {
    pub(crate) fn new(app: &App, reserves: bool, customers: &Customers) -> Self {
        Self { app: app.clone(), reserves, wallets: customers.ids().into() }
    }
}

impl run::Caller for Caller {
    async fn call(&mut self) -> Result<Outcome, BoxError> {
        let (ledger, row) = (&self.app.ledger, self.app.clock.row_id());
        let user = self.wallets[NEXT.fetch_add(1, Ordering::Relaxed) % self.wallets.len()];
        let (wallet, provider) = (Account::wallet(user, Currency::ZAR), ledger.provider_balance(Currency::ZAR));
        let (debit, credit, code) = match self.reserves {
            true => (wallet, provider, TransferCode::Withdrawal),
            false => (provider, wallet, TransferCode::Deposit),
        };
        let amount = Amount::new(100, Currency::ZAR)?;
        let transfer = Transfer::new(TransferId::of(row, Leg::Main), debit, credit, amount, code);
        let done = match self.reserves {
            true => ledger.reserve_within(transfer, LIMIT).await,
            false => ledger.transfer(transfer).await,
        };
        Ok(done.map_or_else(|error| Outcome::Bad(format!("{error:?}")), |()| Outcome::Good))
    }

    async fn turned_away(&mut self) {}
}
