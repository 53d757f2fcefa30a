//! What takes a completed deposit back: a refund, a chargeback, and the reversal of a chargeback. `deposits` writes the rows
//! when Revio says so; here they are booked.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> initiated: follow (deposits; the money has moved at Revio already)
//!     initiated --> completed: take or give back (booked)
//! ```
//!
//! A wallet never goes below zero: what it cannot cover now, the customer owes (`customer_receivable`), and the next deposit
//! repays it first. How much the wallet covers is decided by the ledger in the transfer itself.

use chrono::TimeDelta;
use ledger::{Account, LedgerError, Leg, Refusal, Transfer, TransferCode, TransferId};

use crate::app::App;
use crate::money::receivables::{self, Available};
use crate::money::transactions::{self, Due, Kind, Move, State, Transaction};
use crate::platform::error::{Error, Result};

const SIBLING_PAUSE: TimeDelta = TimeDelta::seconds(1);
const KINDS: [Kind; 3] = [Kind::Refund, Kind::Chargeback, Kind::ChargebackReversal];

pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    // One by one, oldest first: the next of one deposit finds the one before it booked.
    let mut stepped = 0;
    while i64::try_from(stepped).is_ok_and(|count| count < limit) {
        match transactions::step_due(app, &KINDS, 1, |app, row| async move { step(&app, &row).await }).await? {
            0 => break,
            one => stepped += one,
        }
    }
    Ok(stepped)
}

/// One step of one row. Safe to repeat: each transfer has an id of its row's, and says the same each time.
async fn step(app: &App, row: &Transaction) -> Result<Transaction> {
    // Two of one deposit at once could each miss what the other moves: the debt of one, the credit of the other.
    if row.state == State::Initiated && transactions::older_sibling_waits(app, row).await? {
        return transactions::wait(app, row, SIBLING_PAUSE).await;
    }
    match (row.state, row.kind) {
        (State::Completed, _) => transactions::rest(app, row).await,
        (State::Initiated, Kind::Refund) => take(app, row, TransferCode::Refund).await,
        (State::Initiated, Kind::Chargeback) => take(app, row, TransferCode::Chargeback).await,
        (State::Initiated, Kind::ChargebackReversal) => give_back(app, row).await,
        (state, kind) => Err(Error::internal(format!("a {} cannot be {}", kind.name(), state.name()))),
    }
}

/// `→ completed`: from the wallet what it holds, the rest is owed.
async fn take(app: &App, row: &Transaction, code: TransferCode) -> Result<Transaction> {
    let owed = receivables::collect(app, row, Leg::Main, code).await?;
    if !owed.is_zero() {
        tracing::warn!(transaction.id = %row.id, kind = row.kind.name(), owed = owed.minor(), "a wallet did not cover it; the customer owes it");
    }
    transactions::advance(app, row, Move::to(State::Completed, Due::Never).leaving_owed(owed)).await
}

/// `→ completed`: the bank gave the money back after all; what the customer owes is repaid from it first.
async fn give_back(app: &App, row: &Transaction) -> Result<Transaction> {
    let currency = row.amount.currency();
    let credit = Transfer {
        id: TransferId::of(row.id, Leg::Main),
        debit: app.ledger.provider_balance(currency),
        credit: Account::wallet(row.user_id, currency),
        amount: row.amount,
        code: TransferCode::ChargebackReversal,
        reference: row.id,
    };
    let repaid = match receivables::make_available(app, row, Available::Credit(credit)).await {
        // The wallet was closed meanwhile: the money is the customer's all the same, and a person must look.
        Err(LedgerError::Refused(Refusal::AccountClosed | Refusal::SpentId)) => {
            return move_to_suspense(app, row).await;
        }
        repaid => repaid?,
    };
    app.crash.at("reversal.given_back")?;
    transactions::advance(app, row, Move::to(State::Completed, Due::Never).having_repaid(repaid)).await
}

/// Money for a wallet that is closed: it came, so it is booked, and the row is on hold.
async fn move_to_suspense(app: &App, row: &Transaction) -> Result<Transaction> {
    let currency = row.amount.currency();
    let (debit, credit) = (app.ledger.provider_balance(currency), app.ledger.suspense(currency));
    app.ledger.open(&[debit, credit]).await?;
    let id = TransferId::of(row.id, Leg::Unmatched);
    let code = TransferCode::UnmatchedPayment;
    app.ledger.transfer(Transfer { id, debit, credit, amount: row.amount, code, reference: row.id }).await?;
    transactions::hold(app, row, "the wallet is closed; the money is in suspense").await
}
