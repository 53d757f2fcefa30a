//! A customer's money goes out: the ledger reserves it, Revio pays it once, the ledger posts or releases it.
//!
//! ```mermaid
//! stateDiagram-v2
//!     %% As a rule.
//!     [*] --> initiated: request (row written)
//!     initiated --> reserved: reserve (the ledger holds the money)
//!     initiated --> rejected: refused by the ledger or a limit, nothing is reserved
//!     reserved --> awaiting_approval: above a threshold, or to a new bank account, and not approved (see `approval`)
//!     awaiting_approval --> reserved: approved, or none is needed any more
//!     reserved --> reserved: register (Revio has the payout, no money moves), learn_address
//!     reserved --> submitting: submit (written before money may leave)
//!     submitting --> submitted: execute (Revio accepted)
//!     submitting --> completed: complete
//!     submitted --> completed: complete (Revio paid; posted)
//!     submitted --> failed: void_reservation (Revio will not pay)
//!     submitting --> failed: void_reservation
//!     %% An execution or a registration goes wrong.
//!     submitting --> submitting: execute again, after looking it up
//!     submitting --> reserved: replaced, because it can never be paid (see `payouts`)
//!     reserved --> reserved: replaced, before it was to be executed
//!     reserved --> failed: void_reservation, Revio refuses to have the payout, or calls it an error before it was executed (the row says so first)
//!     awaiting_approval --> failed: declined, or not approved in time
//!     %% Called off by its customer (see `cancelling`): the row says so before anything is released.
//!     initiated --> initiated: called off
//!     reserved --> reserved: called off
//!     awaiting_approval --> awaiting_approval: called off
//!     reserved --> cancelled: release_unless_paid
//!     awaiting_approval --> cancelled: release_unless_paid
//!     %% Closed by two people (see `manual_review`).
//!     reserved --> reserved: closed
//!     awaiting_approval --> reserved: closed
//!     submitting --> reserved: closed
//!     submitted --> reserved: closed
//!     reserved --> failed: end_by_review (end_unreserved, where the ledger has lost the reservation)
//!     %% A payout that this row let go of, or that a person at Revio has executed.
//!     reserved --> submitted: adopt
//!     awaiting_approval --> submitted: adopt
//!     submitting --> submitted: adopt
//!     submitted --> submitted: adopt
//!     %% PostgreSQL was put back to an earlier moment, and the ledger knows better (see `restored`).
//!     [*] --> reserved: written again from the ledger
//!     reserved --> submitting: take_up (a payout that the row has forgotten)
//!     awaiting_approval --> submitting: take_up
//!     submitting --> submitting: take_up
//!     submitted --> submitting: take_up
//!     reserved --> completed: posted
//!     reserved --> failed: voided
//!     awaiting_approval --> completed: posted
//!     awaiting_approval --> failed: voided
//!     %% Revio changes its word (see `late_outcomes`).
//!     failed --> completed: book_late (Revio paid after all), end_late (and changed its word again)
//!     cancelled --> completed: book_late, end_late
//!     %% TigerBeetle was put back to an earlier moment: the row says what the ledger has of its end (see `late_outcomes::lost_ends`).
//!     completed --> completed: note
//!     failed --> failed: note
//!     cancelled --> cancelled: note
//! ```
//!
//! Revio has no idempotency key. So a payout is made in two calls (`payouts`): registering one is harmless, executing it is what moves
//! money. `submitting` is written before the execution, and which payout it is stands in the ledger before it, too: a row found in
//! `submitting` is looked up at Revio before anything is repeated, and one that forgot its payout is reminded by the ledger. Silence is
//! not a refusal: the reservation stays until Revio has said its final word.
//!
//! Should that word change (`late_outcomes`): a payment after a release is taken from the wallet, and the rest is owed (`receivables`); an error
//! after a payment puts the row on hold for a person and is never credited by itself.

pub mod approval;
mod booking;
pub mod cancelling;
mod execution;
mod late_outcomes;
mod outcomes;
mod payouts;
mod refusal;
mod restored;
pub mod routes;
mod submitting;

use ledger::{Account, Amount, LedgerError, Leg, Refusal, Transfer, TransferCode, TransferId, VelocityLimit};
use secrecy::SecretString;
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;
use crate::identity::{caller::Caller, totp};
use crate::money::provider_objects::{self, Followed};
use crate::money::transactions::{
    self, Asked, Due, FailureReason, Hold, Inserted, Kind, Metadata, Move, NewTransaction, RequestMark, State,
    Transaction,
};
use crate::money::{bank_accounts, restrictions};
use crate::platform::error::{Decline, Error, Result};
use crate::platform::http::{IdempotencyKey, RequestHash, appears};
use crate::platform::queue;
use crate::provider::revio::{self, Errand, Payout, PayoutStatus};

/// The daily limit is one of any 24 hours, not of a calendar day: it has no midnight at which twice as much may leave.
const DAY_SECS: u32 = 24 * 60 * 60;

pub struct NewWithdrawal {
    pub amount: Amount,
    pub bank_account_id: Uuid,
    pub description: Option<String>,
    pub metadata: Metadata,
    pub totp_code: Option<SecretString>,
}

/// `POST /v1/withdrawals`. A repeat of a declined request is declined again.
pub async fn request(app: &App, caller: &Caller, new: NewWithdrawal, key: IdempotencyKey) -> Result<Asked> {
    let code = new.totp_code.clone();
    let new = NewTransaction {
        user_id: caller.user_id,
        kind: Kind::Withdrawal,
        amount: new.amount,
        bank_account_id: Some(new.bank_account_id),
        request_hash: request_hash(&new),
        request: RequestMark::of(caller.origin.request_id.as_deref(), app.clock.now()),
        description: new.description,
        metadata: new.metadata,
        key,
    };
    let inserted = insert(app, caller, &new, code.as_ref()).await?;
    let asked = match inserted {
        Inserted::New(row) => {
            let row = transactions::step_inline(app, &row, Box::pin(reserve(app, &row))).await?;
            Asked { row, replayed: false }
        }
        Inserted::Repeat(row) => Asked { row, replayed: true },
    };
    answer(app, asked).await
}

/// Rejected: told as the refusal that it was, of a repeat too. Not decided yet: nobody is told that the amount is reserved.
async fn answer(app: &App, asked: Asked) -> Result<Asked> {
    let asked = Asked { row: decided(app, asked.row).await?, ..asked };
    let Asked { row, replayed } = &asked;
    if row.state == State::Rejected {
        let reason = row.failure_reason.map(FailureReason::name);
        let why = reason.and_then(Decline::parse).unwrap_or(Decline::InsufficientFunds);
        let figures = refusal::figures(app, row, why).await.map(Box::new);
        return Err(Error::Declined { why, transaction_id: Some(row.id), replayed: *replayed, figures });
    }
    Ok(asked)
}

/// A repeat may come while the first call is under way, and the ledger may be silent: then the same key asks again, and the row goes on by itself.
async fn decided(app: &App, row: Transaction) -> Result<Transaction> {
    let is_decided = |row: &Transaction| row.state != State::Initiated || row.is_under_review();
    if is_decided(&row) {
        return Ok(row);
    }
    let decided = appears(|| async { Ok(Some(transactions::find(app, row.id).await?).filter(is_decided)) }).await?;
    decided.ok_or_else(|| Error::unavailable("whether the amount is reserved is not known yet"))
}

/// What an idempotency key stands for. Keys from before there were descriptions and metadata must keep their hash, so each of the two is part
/// of it only where it was sent.
fn request_hash(new: &NewWithdrawal) -> RequestHash {
    let (minor, currency, account) = (new.amount.minor(), new.amount.currency().code(), new.bank_account_id);
    match &new.description {
        text if !new.metadata.is_empty() => {
            RequestHash::of("withdrawal", &(minor, currency, account, text, &new.metadata))
        }
        None => RequestHash::of("withdrawal", &(minor, currency, account)),
        Some(text) => RequestHash::of("withdrawal", &(minor, currency, account, text)),
    }
}

/// By one statement, where nothing stands in the way and no code is asked for.
async fn insert(app: &App, caller: &Caller, new: &NewTransaction, code: Option<&SecretString>) -> Result<Inserted> {
    if let Err(refused) = caller.require_verified_email(app).await {
        return transactions::find_repeat(app, new).await?.map(Inserted::Repeat).ok_or(refused);
    }
    // A code that cannot be one is refused below, after a repeat was answered.
    if totp::check_form("totp_code", code).is_ok()
        && let Some(row) = transactions::insert_without_code(app, new).await?
    {
        return Ok(Inserted::New(row));
    }
    Box::pin(insert_after_checks(app, caller, new, code)).await
}

/// That statement has written nothing: repeat, bank account and code are looked at one by one, then the row is written. The account may have
/// been deleted since the first call, and a code counts once, so a repeat is answered before.
async fn insert_after_checks(
    app: &App,
    caller: &Caller,
    new: &NewTransaction,
    code: Option<&SecretString>,
) -> Result<Inserted> {
    if let Some(repeat) = transactions::find_repeat(app, new).await? {
        return Ok(Inserted::Repeat(repeat));
    }
    let bank_account_id = new.bank_account_id.ok_or_else(|| Error::internal("a withdrawal without a bank account"))?;
    bank_accounts::require(app, new.user_id, bank_account_id).await?;
    match totp::ask_above_threshold(app, caller, (new.amount, new.key.as_str()), code).await {
        // The same call at the same moment may have used the code up.
        Err(Error::InvalidCredentials) => {
            let repeat = appears(|| transactions::find_repeat(app, new)).await?;
            repeat.map(Inserted::Repeat).ok_or(Error::InvalidCredentials)
        }
        asked => {
            asked?;
            transactions::insert_once(app, new).await
        }
    }
}

/// Claims due rows and gives a step for each; the worker runs them.
pub async fn claim_due(app: &App, limit: i64) -> Result<Vec<queue::Step<'_>>> {
    transactions::claim_due(app, Kind::Withdrawal, limit, |app, row| async move { step(&app, &row).await }).await
}

/// Looks after withdrawals whose rows were lost with an older database; the worker calls it.
pub async fn restore_lost(app: &App) -> Result<()> {
    revio::on(Errand::Reconciliation, restored::restore_lost(app)).await
}

/// One step of one withdrawal, by whoever holds its lease. Safe to repeat: see the module's text.
async fn step(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let state = withdrawal.state;
    let holds_money = matches!(state, State::Reserved | State::AwaitingApproval | State::Submitting | State::Submitted);
    // Where the ledger knows more than the row, the row is brought up to it first.
    if holds_money && let Some(moved) = restored::bring_up_to_ledger(app, withdrawal).await? {
        return Ok(moved);
    }
    match (state, withdrawal.failure_reason) {
        (State::Initiated, _) => reserve(app, withdrawal).await,
        (State::Reserved, Some(FailureReason::ClosedByReview)) => outcomes::end_by_review(app, withdrawal).await,
        (State::Reserved, Some(reason)) => outcomes::release_unless_paid(app, withdrawal, reason).await,
        (State::Reserved, None) => match withdrawal.provider.id {
            None => payouts::register(app, withdrawal).await,
            Some(payout_id) => payouts::go_on(app, withdrawal, payout_id).await,
        },
        (State::AwaitingApproval, _) => approval::step(app, withdrawal).await,
        (State::Submitting | State::Submitted, _) => payouts::look_up(app, withdrawal).await,
        (State::Completed | State::Failed | State::Cancelled, _) => late_outcomes::look(app, withdrawal).await,
        (State::Rejected, _) => transactions::rest(app, withdrawal).await,
        (State::AwaitingPayment | State::Expired, _) => {
            Err(Error::internal(format!("a withdrawal cannot be {}", state.name())))
        }
    }
}

/// `initiated → reserved | rejected`: the ledger decides whether the money is there, and whether it may leave.
async fn reserve(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let (id, currency) = (TransferId::of(withdrawal.id, Leg::Main), withdrawal.amount.currency());
    let (wallet, provider_balance) =
        (Account::wallet(withdrawal.user_id, currency), app.ledger.provider_balance(currency));
    let reservation = Transfer::new(id, wallet, provider_balance, withdrawal.amount, TransferCode::Withdrawal);
    // A reservation on an account that is not there would spend its id for ever. The wallet's own absence is no funds.
    app.ledger.open_once(&[reservation.credit]).await?;
    let reserved = app.ledger.reserve_within(reservation, velocity_limit(app, withdrawal)).await;
    app.crash.at("withdrawal.reserved")?;
    match reserved {
        Ok(()) => {
            let outflow = approval::outflow(app, withdrawal).await?;
            let to = Move::to(State::Reserved, Due::Now).with_outflow(outflow);
            let reserved = transactions::advance(app, withdrawal, to).await?;
            match reserved.failure_reason {
                // Called off meanwhile: only what is reserved for certain can be released for certain.
                Some(reason) => Box::pin(booking::void_reservation(app, &reserved, reason)).await,
                None => Ok(reserved),
            }
        }
        // A closure shuts the velocity limit as well.
        Err(LedgerError::Refused(Refusal::Frozen)) if restrictions::is_closed(app, withdrawal.user_id).await? => {
            reject(app, withdrawal, Decline::AccountClosed).await
        }
        Err(LedgerError::Refused(refusal)) => reject(app, withdrawal, decline(refusal)).await,
        Err(error) => Err(error.into()),
    }
}

/// An amount above the limit for one withdrawal is sent with a daily limit of zero, so that the ledger refuses it, unless the reservation stands
/// already, made under another setting.
fn velocity_limit(app: &App, withdrawal: &Transaction) -> VelocityLimit {
    let amount = app.config.withdrawal_limit(withdrawal.amount.currency()).map(|limit| {
        let fits = withdrawal.amount.minor() <= limit.once.minor();
        if fits { limit.daily } else { Amount::zero(limit.daily.currency()) }
    });
    VelocityLimit { amount, secs: DAY_SECS }
}

/// A spent id was refused before, and the answer did not reach us: most often there was too little.
fn decline(refusal: Refusal) -> Decline {
    match refusal {
        Refusal::InsufficientFunds | Refusal::NoSuchAccount | Refusal::SpentId => Decline::InsufficientFunds,
        Refusal::LimitExceeded => Decline::LimitExceeded,
        Refusal::Frozen => Decline::AccountFrozen,
        Refusal::AccountClosed => Decline::AccountClosed,
    }
}

async fn reject(app: &App, withdrawal: &Transaction, why: Decline) -> Result<Transaction> {
    totp::give_back_allowance(app, withdrawal.id).await?;
    transactions::advance(app, withdrawal, Move::to(State::Rejected, Due::Never).because(why)).await
}

/// Revio told of a payout: looks at its present state.
pub async fn on_provider_event(app: &App, payout_id: Uuid, reference: Option<Uuid>) -> Result<Followed> {
    let Some(withdrawal) = transactions::find_for_provider(app, Kind::Withdrawal, payout_id, reference).await? else {
        return restored::without_a_row(app, payout_id).await;
    };
    follow_event(app, &withdrawal, payout_id).instrument(transactions::span(&withdrawal)).await?;
    Ok(Followed::Settled)
}

async fn follow_event(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<()> {
    let payout = provider_objects::ask_for_payout(app, Some(withdrawal.id), payout_id).await?;
    if withdrawal.provider.id == Some(payout_id) {
        follow_own_payout(app, withdrawal, &payout).await
    } else {
        follow_other_payout(app, withdrawal, &payout).await
    }
}

async fn follow_own_payout(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<()> {
    match (withdrawal.state, &payout.status) {
        // A call of ours may be in flight: only a payment is final whatever that call does. The rest is for its owner.
        (State::Submitting, PayoutStatus::Success) | (State::Submitted, _) => {
            outcomes::apply(app, withdrawal, payout).await?
        }
        // Nobody is its owner. The row is taken first, so that nobody resumes it while it is released; a call that may still be on its way is
        // waited for.
        (State::Submitting, status)
            if withdrawal.is_held_for(&[Hold::Undecided, Hold::GaveUp]) && *status != PayoutStatus::Initialized =>
        {
            let due_at = app.clock.now() + queue::LEASE;
            let taken = transactions::resume(app, &app.db, withdrawal, due_at).await?;
            outcomes::apply(app, &taken, payout).await?
        }
        (State::Completed | State::Failed | State::Cancelled, _) => {
            late_outcomes::reconsider(app, withdrawal, payout).await?
        }
        // Executed, and not by this row's own step: by a person at Revio, or before two people closed it.
        (State::Reserved | State::AwaitingApproval, PayoutStatus::Success) => {
            outcomes::adopt(app, withdrawal, payout).await?
        }
        // What two people have closed after it was pending for weeks, the row's own step decides.
        (State::Reserved | State::AwaitingApproval, PayoutStatus::Pending)
            if withdrawal.failure_reason != Some(FailureReason::ClosedByReview) =>
        {
            outcomes::adopt(app, withdrawal, payout).await?
        }
        (State::Reserved | State::AwaitingApproval | State::Submitting, _)
        | (State::Initiated | State::Rejected | State::AwaitingPayment | State::Expired, _) => return Ok(()),
    };
    Ok(())
}

/// A payout that was replaced, or registered twice.
async fn follow_other_payout(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<()> {
    let is_unknown = matches!(payout.status, PayoutStatus::Unknown(_));
    if is_unknown && provider_objects::find(app, payout.id).await?.is_none_or(|known| known.executions == 0) {
        // What nobody here has executed may have ended by such a word; what pays says so by another one.
        return Ok(());
    }
    match (withdrawal.state, &payout.status) {
        // Nothing came of it.
        (_, PayoutStatus::Initialized | PayoutStatus::Error) => return Ok(()),
        // None of ours is under way, so it is one that was let go of: the customer is paid by it.
        (State::Reserved | State::AwaitingApproval, _) => outcomes::adopt(app, withdrawal, payout).await?,
        (State::Failed | State::Cancelled, PayoutStatus::Success) => {
            booking::book_late(app, withdrawal, payout).await?
        }
        // Its end is told, and looked for.
        (State::Failed | State::Cancelled, PayoutStatus::Pending) => return Ok(()),
        (State::Initiated | State::Submitting | State::Submitted | State::Completed, _)
        | (State::Failed | State::Cancelled | State::Rejected | State::AwaitingPayment | State::Expired, _) => {
            let reason = format!("Revio executed a payout that is not this withdrawal's own: {}", payout.id);
            transactions::hold(app, withdrawal, Hold::PaidTwice, &reason).await?
        }
    };
    Ok(())
}
