//! What takes a completed deposit back: a refund, a chargeback, and the reversal of a chargeback. `deposits` writes the rows
//! when Revio says so; here they are booked.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> initiated: transactions::reverse (deposits::given_back; the money has moved at Revio already)
//!     initiated --> initiated: mark_undone (given_back: it failed after all; it is booked before it is undone)
//!     initiated --> completed: take, credit, move_in_suspense (booked)
//!     initiated --> failed: the same of one that is marked, or leave_suspense
//!     initiated --> failed: closed by a person
//!     completed --> failed: mark_undone (the row says so before the ledger does)
//!     failed --> failed: undo, take_again
//! ```
//!
//! A wallet never goes below zero: what it cannot cover now, the customer owes (`customer_receivable`), and the next deposit
//! repays it first. How much the wallet covers is decided by the ledger in the transfer itself. Of a deposit that was set aside, all of
//! this happens in `suspense`.

use chrono::TimeDelta;
use ledger::{Account, LedgerError, Leg, Refusal, Transfer, TransferCode, TransferId};

use crate::app::App;
use crate::money::receivables::{self, Available, CollectLegs};
use crate::money::suspense::{self, Item, ItemKind, NewItem};
use crate::money::transactions::{
    self, Due, FailureReason, Hold, Kind, Move, OlderSiblings, Outcome, State, Transaction,
};
use crate::money::{adjustments, provider_fees};
use crate::platform::error::{Error, Result};

const SIBLING_PAUSE: TimeDelta = TimeDelta::seconds(1);
/// While a person decides.
const HELD_SIBLING_PAUSE: TimeDelta = TimeDelta::minutes(15);
const CLOSED: &str = "people have closed the chargeback: what comes back of it is booked as that was";
const NOT_WON: &str = "a chargeback was not won after all, and what came back of it is somebody's by now";
/// What a row that is booked has in the ledger, one of them.
const BOOKED: [Leg; 3] = [Leg::Main, Leg::Receivable, Leg::Unmatched];
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
    if row.state == State::Initiated {
        let OlderSiblings { due, held, closed } = transactions::older_siblings(app, row).await?;
        if due {
            return transactions::defer(app, row, SIBLING_PAUSE).await;
        }
        // What a chargeback could not take yet would be in the books twice.
        if held && row.kind == Kind::ChargebackReversal {
            return transactions::defer(app, row, HELD_SIBLING_PAUSE).await;
        }
        // Nor what it never took: who was credited, or bore the loss, is known to the people who closed it.
        if closed && row.kind == Kind::ChargebackReversal && !app.ledger.has(row.id, &BOOKED).await? {
            return transactions::hold(app, row, Hold::PaidTwice, CLOSED).await;
        }
    }
    match (row.state, row.kind) {
        (State::Completed, _) => transactions::rest(app, row).await,
        (State::Failed, Kind::ChargebackReversal) => take_again(app, row).await,
        (State::Failed, _) => undo(app, row).await,
        (State::Initiated, _) => {
            if let Some(held) = adjustments::hold_if_named(app, row, &BOOKED).await? {
                return Ok(held);
            }
            match item_of_deposit(app, row).await? {
                Some(item) => move_in_suspense(app, row, &item).await,
                None => book(app, row).await,
            }
        }
        (State::AwaitingPayment | State::Reserved | State::AwaitingApproval | State::Submitting, kind)
        | (State::Submitted | State::Rejected | State::Expired | State::Cancelled, kind) => {
            Err(Error::internal(format!("a {} cannot be {}", kind.name(), row.state.name())))
        }
    }
}

/// `failed`: the chargeback was not won after all. As any chargeback; of a deposit that was set aside the money leaves its item again.
async fn take_again(app: &App, row: &Transaction) -> Result<Transaction> {
    if let Some(item) = item_of_deposit(app, row).await? {
        suspense::require_clearable(app).await?;
        // The item has it less before the ledger does: what somebody else has meanwhile is not taken of the others' money.
        if !suspense::give_up_claim(app, row.subject()).await? {
            return transactions::hold(app, row, Hold::PaidTwice, NOT_WON).await;
        }
        return_from_suspense(app, row, &item).await?;
        return transactions::rest(app, row).await;
    }
    let owed = receivables::collect(app, row, CollectLegs::AGAIN, TransferCode::Chargeback).await?;
    transactions::advance(app, row, Move::to(State::Failed, Due::Never).leaving_owed(owed)).await
}

async fn book(app: &App, row: &Transaction) -> Result<Transaction> {
    if let Some(held) = adjustments::hold_if_corrected(app, row, row.amount, row.direction, &BOOKED).await? {
        return Ok(held);
    }
    match row.kind {
        Kind::ChargebackReversal => match adjustments::hold_if_written_off(app, row, &BOOKED).await? {
            Some(held) => Ok(held),
            None => credit(app, row).await,
        },
        kind => take(app, row, code_of(kind)?).await,
    }
}

/// Of what takes money back.
fn code_of(kind: Kind) -> Result<TransferCode> {
    match kind {
        Kind::Refund => Ok(TransferCode::Refund),
        Kind::Chargeback => Ok(TransferCode::Chargeback),
        Kind::Deposit | Kind::Withdrawal | Kind::Adjustment | Kind::ChargebackReversal => {
            Err(Error::internal(format!("a {} takes nothing back", kind.name())))
        }
    }
}

/// The item that holds the money of the row's deposit, if that never came into the wallet.
async fn item_of_deposit(app: &App, row: &Transaction) -> Result<Option<Item>> {
    let Some(deposit) = row.parent_id else { return Ok(None) };
    suspense::of_row(app, deposit).await
}

/// How a row that is booked goes on: it is complete, unless Revio has said before that it failed. Then what was booked is undone.
fn end_of(row: &Transaction) -> Move {
    let is_undone = row.failure_reason == Some(FailureReason::ProviderUndid);
    if is_undone { Move::to(State::Failed, Due::Now) } else { Move::to(State::Completed, Due::Never) }
}

/// What Revio took for it is booked with it, as far as it is named by then.
async fn end(app: &App, row: &Transaction, to: Move) -> Result<Transaction> {
    provider_fees::book_of_reversal(app, row).await?;
    app.crash.at("reversal.fee_booked")?;
    transactions::advance(app, row, to).await
}

/// `→ completed`: out of `suspense`, or back into it. Where a person gave it to somebody already, a person must look again.
async fn move_in_suspense(app: &App, row: &Transaction, item: &Item) -> Result<Transaction> {
    let (currency, minor) = (row.amount.currency(), row.amount.minor());
    let (suspense, provider_balance) = (app.ledger.suspense(currency), app.ledger.provider_balance(currency));
    let back = row.kind == Kind::ChargebackReversal;
    if let Some(held) = adjustments::hold_if_corrected(app, row, row.amount, row.direction, &BOOKED).await? {
        return Ok(held);
    }
    if item.amount.currency() != currency {
        let reason = format!("given back in {}, and what is in suspense of it is not", currency.code());
        return transactions::hold(app, row, Hold::Contradiction, &reason).await;
    }
    if !suspense::claim(app, item, row.subject(), if back { minor.saturating_neg() } else { minor }).await? {
        let reason = "given back by Revio after it was set aside and given to somebody: was it paid out twice?";
        return transactions::hold(app, row, Hold::PaidTwice, reason).await;
    }
    let (debit, credit) = if back { (provider_balance, suspense) } else { (suspense, provider_balance) };
    let (id, code) = (TransferId::of(row.id, Leg::Main), TransferCode::UnmatchedPayment);
    app.ledger.transfer(Transfer::new(id, debit, credit, row.amount, code).of_item(item.id)).await?;
    app.crash.at("reversal.in_suspense")?;
    suspense::record_outcome(app, item, Outcome::Returned).await?;
    end(app, row, end_of(row)).await
}

/// `failed`: Revio says that it never gave the money back. What was taken is made good; what the customer owes is repaid first.
async fn undo(app: &App, row: &Transaction) -> Result<Transaction> {
    let currency = row.amount.currency();
    let (id, debit) = (TransferId::of(row.id, Leg::Return), app.ledger.provider_balance(currency));
    let back = |credit, code| Transfer::new(id, debit, credit, row.amount, code);
    if let Some(item) = item_of_deposit(app, row).await? {
        let back = back(app.ledger.suspense(currency), TransferCode::UnmatchedPayment).of_item(item.id);
        app.ledger.transfer(back).await?;
        if !suspense::give_up_claim(app, row.subject()).await? {
            let reason = "Revio never gave it back, by its word, and won it back before: more came than was taken";
            return transactions::hold(app, row, Hold::Contradiction, reason).await;
        }
        suspense::record_outcome(app, &item, Outcome::Returned).await?;
        return transactions::rest(app, row).await;
    }
    if let Some(held) = adjustments::hold_if_written_off(app, row, &[Leg::Return]).await? {
        return Ok(held);
    }
    let credit = back(Account::wallet(row.user_id, currency), code_of(row.kind)?);
    let repaid = match receivables::make_available(app, row, Available::Return(credit)).await? {
        Err(LedgerError::Refused(Refusal::AccountClosed | Refusal::SpentId)) => {
            return move_to_suspense(app, row).await;
        }
        repaid => repaid?,
    };
    app.crash.at("reversal.undone")?;
    transactions::advance(app, row, Move::to(State::Failed, Due::Never).having_repaid(repaid)).await
}

/// `→ completed`: from the wallet what it holds, the rest is owed.
async fn take(app: &App, row: &Transaction, code: TransferCode) -> Result<Transaction> {
    let owed = receivables::collect(app, row, CollectLegs::OF_A_REVERSAL, code).await?;
    if !owed.is_zero() {
        tracing::warn!(transaction.id = %row.id, kind = row.kind.name(), owed = owed.minor(), "a wallet did not cover it; the customer owes it");
    }
    end(app, row, end_of(row).leaving_owed(owed)).await
}

/// `→ completed`: the bank gave the money back after all; what the customer owes is repaid from it first.
async fn credit(app: &App, row: &Transaction) -> Result<Transaction> {
    let currency = row.amount.currency();
    let (id, wallet) = (TransferId::of(row.id, Leg::Main), Account::wallet(row.user_id, currency));
    let code = TransferCode::ChargebackReversal;
    let credit = Transfer::new(id, app.ledger.provider_balance(currency), wallet, row.amount, code);
    let repaid = match receivables::make_available(app, row, Available::Credit(credit)).await? {
        // The wallet was closed meanwhile: the money is the customer's all the same, and a person must look.
        Err(LedgerError::Refused(Refusal::AccountClosed | Refusal::SpentId)) => {
            return move_to_suspense(app, row).await;
        }
        repaid => repaid?,
    };
    app.crash.at("reversal.credited")?;
    end(app, row, end_of(row).having_repaid(repaid)).await
}

/// Money for a wallet that is closed: it came, so it is set aside, and the row is on hold.
async fn move_to_suspense(app: &App, row: &Transaction) -> Result<Transaction> {
    let (kind, transaction_id, provider_id) = (ItemKind::ClosedWallet, Some(row.id), row.provider.id);
    suspense::set_aside(app, &NewItem { id: row.id, kind, transaction_id, provider_id, amount: row.amount }).await?;
    if row.state == State::Initiated && row.failure_reason == Some(FailureReason::ProviderUndid) {
        return leave_suspense(app, row).await;
    }
    transactions::hold(app, row, Hold::SetAside, "the wallet is closed; the money is in suspense").await
}

/// `→ failed`: what was won back came into suspense for want of a wallet, and was not won after all.
async fn leave_suspense(app: &App, row: &Transaction) -> Result<Transaction> {
    let item = suspense::find(app, row.id).await?;
    // By an earlier try, whose end is not known: it is not claimed again, and goes on to its end.
    let has_left = app.ledger.has(row.id, &[Leg::Return]).await?;
    let is_claimed = suspense::claim(app, &item, row.subject(), row.amount.minor()).await?;
    if !is_claimed && !has_left {
        return transactions::hold(app, row, Hold::PaidTwice, NOT_WON).await;
    }
    return_from_suspense(app, row, &item).await?;
    // What became of the item is the row's outcome, and so a change of the row.
    let row = transactions::find(app, row.id).await?;
    transactions::advance(app, &row, Move::to(State::Failed, Due::Never)).await
}

/// The item has it less already.
async fn return_from_suspense(app: &App, row: &Transaction, item: &Item) -> Result<()> {
    let currency = row.amount.currency();
    let (debit, credit) = (app.ledger.suspense(currency), app.ledger.provider_balance(currency));
    let (id, code) = (TransferId::of(row.id, Leg::Return), TransferCode::UnmatchedPayment);
    app.ledger.transfer(Transfer::new(id, debit, credit, row.amount, code).of_item(item.id)).await?;
    app.crash.at("reversal.returned")?;
    suspense::record_outcome(app, item, Outcome::Returned).await
}
