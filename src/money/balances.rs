//! A customer's balances, as the ledger has them at this moment: what is in the wallet, what is owed, and how much has left of what may
//! leave in a day. One lookup for all of it, and for all who ask at once. No copy of a balance is asked, and nothing is decided by what is
//! told here.

pub mod routes;

use chrono::TimeDelta;
use ledger::{Account, Balance, Currency};
use uuid::Uuid;

use crate::app::App;
use crate::platform::batcher::LockWait;
use crate::platform::clock::DateTime;
use crate::platform::config::WithdrawalLimit;
use crate::platform::error::{Error, Result};

/// The time of the daily limit, as `money/withdrawals.rs` has the ledger count it.
const DAY: TimeDelta = TimeDelta::hours(24);

#[derive(Clone)]
pub struct CustomerBalance {
    pub currency: Currency,
    pub wallet: Balance,
    /// What the next money repays first.
    pub owed: i64,
    /// What has left within 24 hours, or is about to.
    pub used: i64,
    /// `None`: as much as there is.
    pub limit: Option<WithdrawalLimit>,
}

/// One for each currency that customers use, zeros where there is no wallet yet; and for each other that the customer has something in.
pub async fn balances(app: &App, user_id: Uuid) -> Result<Vec<CustomerBalance>> {
    app.batchers.look_up(app, user_id, of_each).await?.ok_or_else(told_less)
}

async fn of_each(app: App, _: LockWait, users: Vec<Uuid>) -> Result<Vec<(Uuid, Vec<CustomerBalance>)>> {
    let currencies = &app.config.currencies;
    let accounts = users.iter().flat_map(|user| currencies.iter().flat_map(|currency| accounts(*user, *currency)));
    let balances = app.ledger.balances(&accounts.collect::<Vec<_>>()).await?;
    let mut chunks = balances.chunks(ACCOUNTS);
    let mut of = |currency: &Currency| match chunks.next() {
        Some([wallet, receivable, uses]) => Ok(CustomerBalance {
            currency: *currency,
            wallet: *wallet,
            owed: receivable.posted(),
            used: uses.pending(),
            limit: app.config.withdrawal_limit(*currency),
        }),
        _ => Err(told_less()),
    };
    let is_shown = |of: &CustomerBalance| {
        app.config.customer_currencies.contains(&of.currency) || of.wallet.posted() != 0 || of.owed != 0
    };
    let mut all = || currencies.iter().map(&mut of).collect::<Result<Vec<_>>>();
    users.into_iter().map(|user| Ok((user, all()?.into_iter().filter(is_shown).collect()))).collect()
}

const ACCOUNTS: usize = 3;

fn accounts(user_id: Uuid, currency: Currency) -> [Account; ACCOUNTS] {
    [Account::wallet, Account::receivable, Account::velocity_limit].map(|account| account(user_id, currency))
}

fn told_less() -> Error {
    Error::internal("the ledger tells less than was asked")
}

/// When some of what was used may be withdrawn again; `None` = nothing is used. Costs a look at the ledger of its own.
pub async fn resets_at(app: &App, user_id: Uuid, balance: &CustomerBalance) -> Result<Option<DateTime>> {
    if balance.used == 0 {
        return Ok(None);
    }
    let since = (app.clock.now() - DAY).timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok());
    let oldest = app.ledger.oldest_use(user_id, balance.currency, since.unwrap_or(0)).await?;
    let at = oldest.and_then(|nanos| i64::try_from(nanos / 1000).ok()).map(TimeDelta::microseconds);
    Ok(at.map(|at| DateTime::UNIX_EPOCH + at + DAY))
}
