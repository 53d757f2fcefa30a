//! What customers owe us. Money that is gone at Revio must come out of a wallet: as much as the wallet holds ([`collect`]), and the
//! rest the customer owes (`customer_receivable`) until money becomes available, which repays it first ([`make_available`]). A wallet
//! never goes below zero; how much it covers, the ledger decides in the transfers themselves. Called for rows that say first what is
//! to be taken or given.

use ledger::{Account, Amount, LedgerError, Leg, Refusal, Transfer, TransferCode, TransferId};

use crate::app::App;
use crate::identity::users;
use crate::money::transactions::Transaction;
use crate::platform::error::{Error, Result};

/// The legs of what is taken from the wallet, and of what the wallet repays at once where it does not hold it all.
#[derive(Clone, Copy)]
pub struct CollectLegs {
    pub taken: Leg,
    pub repaid: Leg,
}

impl CollectLegs {
    pub const OF_A_REVERSAL: Self = Self { taken: Leg::Main, repaid: Leg::Repay };
    /// Of a withdrawal that was paid after its release.
    pub const LATE: Self = Self { taken: Leg::Late, repaid: Leg::Repay };
    /// Of what was given back before.
    pub const AGAIN: Self = Self { taken: Leg::Return, repaid: Leg::ReturnRepay };
}

/// How much of the row's amount is owed in the end. Where the wallet does not hold it all, the whole is owed and repaid from the wallet in
/// one chain: nobody can withdraw, or be credited, in between. Safe to repeat: each transfer has an id of its row's, and says the same
/// each time.
pub async fn collect(app: &App, row: &Transaction, legs: CollectLegs, code: TransferCode) -> Result<Amount> {
    let currency = row.amount.currency();
    let (wallet, receivable) = (Account::wallet(row.user_id, currency), Account::receivable(row.user_id, currency));
    let provider_balance = app.ledger.provider_balance(currency);
    app.ledger.open(&[wallet, receivable, provider_balance]).await?;
    let leg = |leg, (debit, credit), code| Transfer::new(TransferId::of(row.id, leg), debit, credit, row.amount, code);
    let taken = take(app, leg(legs.taken, (wallet, provider_balance), code)).await?;
    let rest = row.amount.checked_sub(taken).map_err(Error::internal)?;
    app.crash.at("receivable.taken")?;
    if rest.is_zero() {
        return Ok(rest);
    }
    let owed = leg(Leg::Receivable, (receivable, provider_balance), code);
    let repaid = leg(legs.repaid, (wallet, receivable), TransferCode::ReceivableRepayment);
    let repaid = owe(app, Transfer { amount: rest, ..owed }, Transfer { amount: rest, ..repaid }).await?;
    app.crash.at("receivable.owed")?;
    rest.checked_sub(repaid).map_err(Error::internal)
}

/// All of it or nothing. What an earlier release has taken is as it was: it took what the wallet held.
async fn take(app: &App, taken: Transfer) -> Result<Amount> {
    if let Some(before) = app.ledger.lookup(&[taken.id]).await?.first() {
        return Ok(before.amount()?);
    }
    match app.ledger.transfer(taken).await {
        Ok(()) => Ok(taken.amount),
        Err(LedgerError::Refused(Refusal::InsufficientFunds | Refusal::AccountClosed | Refusal::SpentId)) => {
            Ok(Amount::zero(taken.amount.currency()))
        }
        Err(error) => Err(error.into()),
    }
}

/// How much of it was repaid at once.
async fn owe(app: &App, owed: Transfer, repaid: Transfer) -> Result<Amount> {
    let recorded = app.ledger.lookup(&[owed.id, repaid.id]).await?;
    if let Some(before) = recorded.iter().find(|recorded| recorded.id == repaid.id) {
        return Ok(before.amount()?);
    }
    let nothing = Amount::zero(owed.amount.currency());
    if !recorded.is_empty() {
        return Ok(nothing);
    }
    match app.ledger.transfer_linked_up_to(&[owed], repaid).await {
        // A wallet that is closed holds nothing.
        Err(LedgerError::Refused(Refusal::AccountClosed | Refusal::SpentId)) => {
            app.ledger.transfer(owed).await?;
            Ok(nothing)
        }
        repaid => Ok(repaid?),
    }
}

/// What makes money available in a wallet.
pub enum Available {
    /// A transfer into the wallet.
    Credit(Transfer),
    /// The same for a row whose own repayment stands already.
    Return(Transfer),
    /// The row's reservation is released.
    Release,
}

/// Makes money available, and repays from it what the customer owes first, in the same chain: nobody can withdraw what is owed. How
/// much was repaid. Safe to repeat: it says the same each time. For staff the wallet counts as closed, except for what it holds
/// already. What was set aside stays so, whatever the customer's role is by now.
///
/// The inner error is the ledger's answer, for the flow to decide about (a closed wallet, resolved already); the outer one ends the step.
pub async fn make_available(app: &App, row: &Transaction, what: Available) -> Result<Result<Amount, LedgerError>> {
    if let Available::Credit(credit) | Available::Return(credit) = &what
        && has_no_wallet(app, row, credit.id).await?
    {
        return Ok(Err(LedgerError::Refused(Refusal::AccountClosed)));
    }
    Ok(into_wallet(app, row, what).await)
}

/// By the ledger's word on the row, which no database that was put back has forgotten; and for what it has not seen yet, by the role.
async fn has_no_wallet(app: &App, row: &Transaction, credit: TransferId) -> Result<bool> {
    let set_aside = TransferId::of(row.id, Leg::Unmatched);
    let recorded = app.ledger.lookup(&[credit, set_aside]).await?;
    let has = |id| recorded.iter().any(|transfer| transfer.id == id);
    Ok(has(set_aside) || !has(credit) && users::is_staff(app, row.user_id).await?)
}

async fn into_wallet(app: &App, row: &Transaction, what: Available) -> Result<Amount, LedgerError> {
    let currency = row.amount.currency();
    let (wallet, receivable) = (Account::wallet(row.user_id, currency), Account::receivable(row.user_id, currency));
    let code = TransferCode::ReceivableRepayment;
    let repay = |leg| Transfer::new(TransferId::of(row.id, leg), wallet, receivable, row.amount, code);
    match what {
        Available::Credit(credit) | Available::Return(credit) => {
            let leg = if matches!(what, Available::Credit(_)) { Leg::Repay } else { Leg::ReturnRepay };
            // A transfer to an account that is not there would spend its id for ever; one that was opened stays.
            app.ledger.open_once(&[wallet, receivable, credit.debit]).await?;
            app.ledger.transfer_linked_up_to(&[credit], repay(leg)).await
        }
        Available::Release => {
            app.ledger.open_once(&[receivable]).await?;
            app.ledger.void_within(row.id, repay(Leg::VoidRepay)).await
        }
    }
}
