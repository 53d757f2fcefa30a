//! A customer's money goes out: the ledger reserves it, Revio pays it once, the ledger posts or releases it.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> initiated: request (row written)
//!     initiated --> reserved: reserve (the ledger holds the money)
//!     initiated --> rejected: refused by the ledger or a limit, nothing is reserved
//!     reserved --> reserved: register (Revio has the payout, no money moves)
//!     reserved --> awaiting_approval: above a threshold and not approved (see `approval`)
//!     awaiting_approval --> reserved: approved
//!     awaiting_approval --> failed: declined, or not approved in time
//!     reserved --> submitting: submit (written before money may leave)
//!     submitting --> submitted: execute (Revio accepted)
//!     submitting --> submitting: execute again, after looking it up
//!     submitting --> reserved: the payout's window closed unused
//!     submitting --> completed: complete
//!     submitted --> completed: complete (Revio paid; posted)
//!     reserved --> failed: Revio refuses to have the payout (the row says so before the ledger does)
//!     submitting --> failed: release
//!     submitted --> failed: release (Revio will not pay; voided)
//!     reserved --> submitted: adopt (a payout that was given up was executed after all)
//!     awaiting_approval --> submitted: adopt
//!     failed --> completed: book_late (Revio paid after all)
//!     submitted --> completed: book_late (Revio paid while we gave it back)
//! ```
//!
//! Revio has no idempotency key. So a payout is made in two calls: registering one is harmless, executing it is what moves
//! money. `submitting` is written before the execution, and a row found in it is looked up at Revio before anything is
//! repeated. No answer is never a "no": the reservation stays until Revio has said its final word.
//!
//! Should that word change (`late_outcomes`): a payment after a release is taken from the wallet, and the rest is owed (`receivables`); an error
//! after a payment puts the row on hold for a person and is never credited by itself.

pub mod approval;
mod late_outcomes;
pub mod routes;

use chrono::TimeDelta;
use ledger::{
    Account, Amount, LedgerError, Leg, Refusal, Resolution, Transfer, TransferCode, TransferId, VelocityLimit,
};
use uuid::Uuid;

use crate::app::App;
use crate::identity::users;
use crate::money::evidence::{self, Claim, Misfit};
use crate::money::receivables::{self, Available};
use crate::money::transactions::{self, Due, Inserted, Kind, Move, NewTransaction, Provider, State, Transaction};
use crate::money::{bank_accounts, restrictions};
use crate::platform::error::{Decline, Error, Result};
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::queue::LEASE;
use crate::provider::revio::types::Payment;
use crate::provider::revio::{NewPayout, Payout, PayoutStatus, RevioError};

/// Revio executes a payout within 15 minutes of its creation (`revio.md` 4.3); a call needs some of that time.
const WINDOW: TimeDelta = TimeDelta::minutes(15);
const WINDOW_MARGIN: TimeDelta = TimeDelta::minutes(1);
/// For so long after the request a payout whose window closed unused is replaced by a new one; then a person must look.
const REPLACING_MAX: TimeDelta = TimeDelta::hours(6);
/// A payout takes 3 to 5 days; one that Revio has no word for after this, a person must look at.
const UNDECIDED_MAX: TimeDelta = TimeDelta::days(14);
/// An execution without an answer may still be on its way for this long: until then nothing is concluded from its absence.
const IN_FLIGHT_MAX: TimeDelta = TimeDelta::seconds(60);
/// Asking after a payout that Revio is working on: it may take 3 to 5 days, and that is no failure.
const ASK_MIN: TimeDelta = TimeDelta::seconds(15);
const ASK_MAX: TimeDelta = TimeDelta::hours(6);
/// After Revio's word: it may change, and the webhook that says so can be lost. The last of these ends the looking.
const LATER_LOOKS: [TimeDelta; 3] = [TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(7)];

/// Between the row that says `submitting` and the call. Whoever was stopped for longer leaves it to the next holder of the lease.
const EXECUTION_BEGINS_WITHIN: TimeDelta = TimeDelta::seconds(15);
/// Why a withdrawal failed that was never a payout; the customer reads it.
const REFUSED: &str = "the payment provider refused the withdrawal";

/// The daily limit is one of any 24 hours, not of a calendar day: it has no midnight at which twice as much may leave.
const DAY_SECS: u32 = 24 * 60 * 60;

pub struct NewWithdrawal {
    pub amount: Amount,
    pub bank_account_id: Uuid,
    pub description: Option<String>,
}

pub struct Requested {
    pub withdrawal: Transaction,
    pub replayed: bool,
}

/// `POST /v1/withdrawals`.
/// A repeat of a request that was declined is declined again.
pub async fn request(app: &App, user_id: Uuid, new: NewWithdrawal, key: IdempotencyKey) -> Result<Requested> {
    let amount = new.amount;
    let (minor, code) = (amount.minor(), amount.currency().code());
    // Without a description as before there was one: older keys go on to be theirs.
    let request_hash = match &new.description {
        None => RequestHash::of("withdrawal", &(minor, code, new.bank_account_id)),
        Some(text) => RequestHash::of("withdrawal", &(minor, code, new.bank_account_id, text)),
    };
    let own = bank_accounts::require(app, user_id, new.bank_account_id).await;
    let (kind, bank_account_id, description) = (Kind::Withdrawal, Some(new.bank_account_id), new.description);
    let new = NewTransaction { user_id, kind, amount, bank_account_id, description, key, request_hash };
    let inserted = match own {
        Ok(()) => transactions::insert_once(app, &new).await?,
        // The account may have been deleted since the first call: a repeat is still answered.
        Err(missing) => Inserted::Repeat(transactions::find_repeat(app, &new).await?.ok_or(missing)?),
    };
    let requested = match inserted {
        Inserted::New(row) => {
            let withdrawal = transactions::first_step(app, row.clone(), step(app, &row)).await?;
            Requested { withdrawal, replayed: false }
        }
        Inserted::Repeat(withdrawal) => Requested { withdrawal, replayed: true },
    };
    if requested.withdrawal.state == State::Rejected {
        let reason = requested.withdrawal.failure_reason.as_deref();
        let why = reason.and_then(Decline::parse).unwrap_or(Decline::InsufficientFunds);
        let (transaction_id, replayed) = (Some(requested.withdrawal.id), requested.replayed);
        return Err(Error::Declined { why, transaction_id, replayed });
    }
    Ok(requested)
}

pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    transactions::step_due(app, &[Kind::Withdrawal], limit, |app, row| async move { step(&app, &row).await }).await
}

/// One step of one withdrawal, by whoever holds its lease. Safe to repeat: see the module's text.
async fn step(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    match withdrawal.state {
        State::Initiated => reserve(app, withdrawal).await,
        State::Reserved if withdrawal.failure_reason.is_some() => release(app, withdrawal, REFUSED).await,
        State::Reserved if withdrawal.provider.id.is_none() => register(app, withdrawal).await,
        State::Reserved => submit(app, withdrawal).await,
        State::Submitting | State::Submitted => look_up(app, withdrawal).await,
        State::Completed | State::Failed => late_outcomes::look(app, withdrawal).await,
        State::AwaitingApproval => approval::step(app, withdrawal).await,
        State::Rejected => transactions::rest(app, withdrawal).await,
        State::AwaitingPayment | State::Expired | State::Cancelled => {
            Err(Error::internal(format!("a withdrawal cannot be {}", withdrawal.state.name())))
        }
    }
}

/// `initiated → reserved | rejected`: the ledger decides whether the money is there, and whether it may leave.
async fn reserve(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let reservation = Transfer {
        id: TransferId::of(withdrawal.id, Leg::Main),
        debit: Account::wallet(withdrawal.user_id, withdrawal.amount.currency()),
        credit: app.ledger.provider_balance(withdrawal.amount.currency()),
        amount: withdrawal.amount,
        code: TransferCode::Withdrawal,
        reference: withdrawal.id,
    };
    let reserved = app.ledger.reserve_within(reservation, velocity_limit(app, withdrawal)).await;
    app.crash.at("withdrawal.reserved")?;
    match reserved {
        Ok(()) => transactions::advance(app, withdrawal, Move::to(State::Reserved, Due::Now)).await,
        // A spent id was refused before, and the answer did not reach us: the same refusal.
        // A closure shuts the velocity limit as well.
        Err(LedgerError::Refused(Refusal::Frozen)) if restrictions::is_closed(app, withdrawal.user_id).await? => {
            reject(app, withdrawal, Decline::AccountClosed).await
        }
        Err(LedgerError::Refused(refusal)) => reject(app, withdrawal, decline(refusal)).await,
        Err(error) => Err(error.into()),
    }
}

/// Above the limit for one withdrawal nothing is allowed. It is the ledger that says so all the same: the reservation may
/// stand since before, under another setting.
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
    transactions::advance(app, withdrawal, Move::to(State::Rejected, Due::Never).because(why.name())).await
}

/// `reserved → reserved`: Revio knows the payout. No money moves, so a lost answer is simply asked for again.
async fn register(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(bank_account_id) = withdrawal.bank_account_id else {
        return transactions::hold(app, withdrawal, "the withdrawal has no bank account").await;
    };
    let details = bank_accounts::details(app, bank_account_id).await?;
    if let Some(waiting) = approval::missing(app, withdrawal, &details).await? {
        return Ok(waiting);
    }
    let user = users::find(app, withdrawal.user_id).await?;
    let payout = NewPayout {
        reference: withdrawal.id,
        amount: withdrawal.amount,
        email: &user.email,
        account_holder: &details.account_holder,
        account_number: &details.account_number,
        branch_code: &details.branch_code,
    };
    app.crash.at("withdrawal.before_payout")?;
    let created = app.revio.create_payout(&payout).await;
    app.crash.at("withdrawal.payout_created")?;
    match created {
        Ok(payout) => {
            let registered = attach(app, withdrawal, &payout).await?;
            submit(app, &registered).await
        }
        Err(error @ RevioError::Rejected { .. }) => {
            tracing::error!(transaction.id = %withdrawal.id, %error, "Revio refused a payout");
            // Before anything is given back the row says so, and from then on it is not registered again.
            let refused = Move::to(State::Reserved, Due::In(LEASE)).because(REFUSED);
            let refused = transactions::advance(app, withdrawal, refused).await?;
            release(app, &refused, REFUSED).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps the payout's id and the address that executes it, before anything is executed.
async fn attach(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let provider = Provider {
        id: Some(payout.id),
        status: Some(payout.status.word().to_owned()),
        execution_url: payout.execution_url.clone(),
        // By our own clock: Revio's may differ, and the window is a length of time.
        created_at: Some(app.clock.now()),
        checkout_url: None,
    };
    transactions::advance(app, withdrawal, Move::to(State::Reserved, Due::Now).with_provider(provider)).await
}

/// `reserved → submitting → …`: from here on money may leave, so the row says so first.
async fn submit(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    if !window_is_open(app, withdrawal) {
        // Never executed, and Revio does not execute it any more: a new one takes its place.
        return forget_payout(app, withdrawal).await;
    }
    if let Some(waiting) = approval::missing_now(app, withdrawal).await? {
        return Ok(waiting);
    }
    match begin(app, withdrawal).await? {
        Some(submitting) => execute(app, &submitting).await,
        None => {
            // A freeze outlasts the payout's window: it takes a new one afterwards.
            let to = Move::to(State::Reserved, Due::Now).with_provider(Provider::default());
            let waiting = transactions::advance(app, withdrawal, to).await?;
            transactions::hold(app, &waiting, restrictions::HELD_REASON).await
        }
    }
}

/// `→ submitting`, or `None` while the customer is frozen: no payout begins after somebody was told of the freeze.
async fn begin(app: &App, withdrawal: &Transaction) -> Result<Option<Transaction>> {
    let to = Move::to(State::Submitting, Due::In(LEASE));
    let mut tx = app.db.begin().await?;
    if restrictions::is_frozen_until_commit(&mut tx, withdrawal.user_id).await? {
        return Ok(None);
    }
    let submitting = transactions::advance_within(app, &mut *tx, withdrawal, &to).await?;
    app.crash.at("transaction.before_move")?;
    tx.commit().await?;
    transactions::announce(app, withdrawal, &to);
    app.crash.at("transaction.moved")?;
    Ok(Some(submitting))
}

/// The one call that moves money. Whatever goes wrong, the next thing is to look the payout up.
async fn execute(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let (Some(payout_id), Some(execution_url)) = (withdrawal.provider.id, &withdrawal.provider.execution_url) else {
        return transactions::hold(app, withdrawal, "Revio gave no address to execute the payout").await;
    };
    app.crash.at("withdrawal.before_execution")?;
    if app.clock.now() - withdrawal.updated_at > EXECUTION_BEGINS_WITHIN {
        return Err(Error::StaleState);
    }
    let executed = app.revio.execute_payout(execution_url).await;
    app.crash.at("withdrawal.executed")?;
    match executed {
        Ok(payout) => settle(app, withdrawal, &payout).await,
        // What the refusal means for the money is not in its code but in the payout's state.
        Err(error @ RevioError::Rejected { .. }) => {
            tracing::warn!(transaction.id = %withdrawal.id, %error, "Revio refused to execute a payout");
            let payout = app.revio.payout(payout_id).await?;
            settle(app, withdrawal, &payout).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks Revio what became of the payout. Only the holder of the row's lease comes here: no call of ours is in flight, so an
/// execution that left no trace may be repeated.
async fn look_up(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(payout_id) = withdrawal.provider.id else {
        return transactions::hold(app, withdrawal, "the payout's id is missing").await;
    };
    let payout = app.revio.payout(payout_id).await?;
    match (&payout.status, withdrawal.state) {
        (PayoutStatus::Initialized, State::Submitting) => execute_again(app, withdrawal).await,
        _ => settle(app, withdrawal, &payout).await,
    }
}

/// Revio has not executed it. Our call may still be on its way: only when it cannot be any more, it is made again, and only
/// for the same payout. When its window has closed, it will never be paid and a new payout takes its place.
async fn execute_again(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let since = app.clock.now() - withdrawal.updated_at;
    if since < IN_FLIGHT_MAX {
        return transactions::wait(app, withdrawal, IN_FLIGHT_MAX - since).await;
    }
    if window_is_open(app, withdrawal) {
        return match begin(app, withdrawal).await? {
            Some(again) => execute(app, &again).await,
            None => transactions::hold(app, withdrawal, restrictions::HELD_REASON).await,
        };
    }
    let closed_at = withdrawal.provider.created_at.unwrap_or(withdrawal.created_at) + WINDOW + IN_FLIGHT_MAX;
    let until = closed_at - app.clock.now();
    if until > TimeDelta::zero() {
        return transactions::wait(app, withdrawal, until).await;
    }
    forget_payout(app, withdrawal).await
}

fn window_is_open(app: &App, withdrawal: &Transaction) -> bool {
    let created_at = withdrawal.provider.created_at.unwrap_or(withdrawal.created_at);
    app.clock.now() < created_at + WINDOW - WINDOW_MARGIN
}

async fn forget_payout(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    tracing::warn!(transaction.id = %withdrawal.id, payout.id = ?withdrawal.provider.id, "a payout's window closed unused");
    let to = Move::to(State::Reserved, Due::Now).with_provider(Provider::default());
    let forgotten = transactions::advance(app, withdrawal, to).await?;
    // One that was never to be executed (frozen, waiting for approval) says nothing about Revio; above a threshold people
    // decide about each.
    let counts = withdrawal.state == State::Submitting && approval::needed(app, withdrawal) == 0;
    if counts && app.clock.now() - withdrawal.created_at > REPLACING_MAX && forgotten.held_reason.is_none() {
        return transactions::hold(app, &forgotten, "payouts are registered, and Revio executes none of them").await;
    }
    Ok(forgotten)
}

/// Revio told of a payout: looks at its present state. `None` when the payout is not one of ours.
pub async fn on_provider_event(app: &App, payout_id: Uuid, reference: Option<Uuid>) -> Result<Option<Transaction>> {
    let Some(withdrawal) = transactions::find_for_provider(app, Kind::Withdrawal, payout_id, reference).await? else {
        return Ok(None);
    };
    let payout = app.revio.payout(payout_id).await?;
    let settled = match (withdrawal.provider.id, withdrawal.state, &payout.status) {
        // A call of ours may be in flight: only a payment is final whatever that call does. The rest is for its owner.
        (Some(id), State::Submitting, PayoutStatus::Success) if id == payout_id => {
            settle(app, &withdrawal, &payout).await?
        }
        (Some(id), State::Submitted, _) if id == payout_id => settle(app, &withdrawal, &payout).await?,
        (Some(id), State::Completed | State::Failed, _) if id == payout_id => {
            late_outcomes::reconsider(app, &withdrawal, &payout).await?
        }
        (Some(id), _, _) if id == payout_id => withdrawal,
        // A payout that was registered twice and not executed: nothing came of it.
        (_, _, PayoutStatus::Initialized | PayoutStatus::Error) => withdrawal,
        // None of ours is under way, so it is one that was given up: the customer is paid by it.
        (_, State::Reserved | State::AwaitingApproval, _) => late_outcomes::adopt(app, &withdrawal, &payout).await?,
        (_, State::Failed, PayoutStatus::Success) => late_outcomes::book_late(app, &withdrawal, &payout).await?,
        _ if withdrawal.held_reason.as_deref().is_some_and(|reason| reason != restrictions::HELD_REASON) => withdrawal,
        _ => {
            let reason = format!("Revio executed a payout that is not this withdrawal's own: {payout_id}");
            transactions::hold(app, &withdrawal, &reason).await?
        }
    };
    Ok(Some(settled))
}

async fn settle(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    // What Revio does not say is no contradiction: the payout was asked for by the id that it gave us.
    let other_reference = !payout.reference.is_empty() && payout.reference != withdrawal.id.to_string();
    let other_mode = payout.is_test.is_some_and(|is_test| is_test != app.config.revio_test_mode);
    if other_reference || other_mode || withdrawal.provider.id != Some(payout.id) {
        return transactions::hold(app, withdrawal, "Revio's payout has another reference or mode").await;
    }
    match &payout.status {
        PayoutStatus::Success => complete(app, withdrawal, payout).await,
        PayoutStatus::Error => release(app, withdrawal, "the payment provider could not pay").await,
        PayoutStatus::Initialized if withdrawal.state == State::Submitting => {
            transactions::wait(app, withdrawal, IN_FLIGHT_MAX).await
        }
        PayoutStatus::Pending | PayoutStatus::Unknown(_) if withdrawal.state == State::Submitting => {
            let to = Move::to(State::Submitted, Due::In(ASK_MIN)).with_provider(reported(withdrawal, payout));
            transactions::advance(app, withdrawal, to).await
        }
        PayoutStatus::Initialized | PayoutStatus::Pending | PayoutStatus::Unknown(_) => {
            let age = app.clock.now() - withdrawal.updated_at;
            if age > UNDECIDED_MAX {
                let reason =
                    format!("Revio still calls the payout {} after {} days", payout.status.word(), age.num_days());
                return transactions::hold(app, withdrawal, &reason).await;
            }
            transactions::wait(app, withdrawal, (age / 2).clamp(ASK_MIN, ASK_MAX)).await
        }
    }
}

/// `→ completed`: Revio paid, the reservation becomes final.
async fn complete(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let payment = match fits(app, withdrawal, payout) {
        Ok(payment) => payment,
        Err(misfit) => return hold_misfit(app, withdrawal, misfit).await,
    };
    let posted = app.ledger.post(withdrawal.id).await;
    app.crash.at("withdrawal.posted")?;
    match posted {
        Ok(()) | Err(LedgerError::AlreadyResolved(Resolution::Posted)) => {}
        // We had begun to give it back when Revio changed its word: the same as a payment after a release.
        Err(LedgerError::AlreadyResolved(Resolution::Voided)) => {
            return late_outcomes::book_late(app, withdrawal, payout).await;
        }
        // No reservation of ours expires: whoever made this one, it was not us.
        Err(LedgerError::AlreadyResolved(Resolution::Expired)) => {
            return transactions::hold(app, withdrawal, "Revio paid, but the reservation has expired").await;
        }
        Err(error) => return Err(error.into()),
    }
    evidence::book_fee(app, withdrawal, payment).await?;
    let to = Move::to(State::Completed, Due::In(LATER_LOOKS[0])).with_provider(reported(withdrawal, payout));
    transactions::advance(app, withdrawal, to).await
}

/// `→ failed`: Revio said that it did not pay, and we never execute this payout again; the customer has the money back.
async fn release(app: &App, withdrawal: &Transaction, reason: &str) -> Result<Transaction> {
    let voided = receivables::make_available(app, withdrawal, Available::Release).await;
    app.crash.at("withdrawal.voided")?;
    let repaid = match voided {
        Ok(repaid) => repaid,
        Err(LedgerError::AlreadyResolved(how)) => {
            return transactions::hold(app, withdrawal, &format!("Revio did not pay, but the reservation is {how:?}"))
                .await;
        }
        Err(error) => return Err(error.into()),
    };
    let due = if withdrawal.provider.id.is_some() { Due::In(LATER_LOOKS[0]) } else { Due::Never };
    transactions::advance(app, withdrawal, Move::to(State::Failed, due).because(reason).having_repaid(repaid)).await
}

/// Money left, all of it, and it is this withdrawal's.
fn fits<'p>(app: &App, withdrawal: &Transaction, payout: &'p Payout) -> Result<&'p Payment, Misfit> {
    let Payout { reference, is_test, brand_id, .. } = payout;
    let (payment, is_test, brand_id) = (payout.payment.as_ref(), *is_test, *brand_id);
    evidence::check(app, withdrawal, &Claim { payment, outgoing: true, reference, is_test, brand_id })
}

/// What was paid is not what was asked for: nothing is posted or released before a person knows what happened.
async fn hold_misfit(app: &App, withdrawal: &Transaction, misfit: Misfit) -> Result<Transaction> {
    if withdrawal.held_reason.is_some() {
        return Ok(withdrawal.clone());
    }
    let reason = match misfit {
        Misfit::Amount(moved) => format!("Revio paid out {}, asked for {}", moved.minor(), withdrawal.amount.minor()),
        Misfit::NoMoney(reason) => format!("Revio's payout does not fit: {reason}"),
    };
    transactions::hold(app, withdrawal, &reason).await
}

fn reported(withdrawal: &Transaction, payout: &Payout) -> Provider {
    Provider { id: Some(payout.id), status: Some(payout.status.word().to_owned()), ..withdrawal.provider.clone() }
}
