//! The payout of a withdrawal: registered, executed once, replaced at most once. Called by the flow above for rows from `reserved` on.
//!
//! ```text
//! register ─> attach ─> submit ─> begin (row: submitting) ─> note (ledger: this payout) ─> execute, the one call that moves money
//! look_up  ─┬─> Revio says what became of it ─> settle
//!           └─> not executed ─> execute_again: the same payout, within its 15 minutes ─> replace
//! reminded  the ledger knows of a payout, or of an end, that the row does not: PostgreSQL was put back to an earlier moment
//! ```
//!
//! A payout is replaced only where it can never be paid: it was never to be executed, or each execution was refused by Revio in words or
//! never made, and none is left unanswered. The ledger has room for two payouts of a row, so a third is never executed. While Revio executes
//! nothing, nothing is registered either: its window would pass.

use chrono::TimeDelta;
use ledger::{LedgerError, Leg, Reservation, TransferId, WithdrawalStanding};
use uuid::Uuid;

use super::beginnings::{Beginning, Beginnings, Begun};
use super::{LATER_LOOKS, approval, late_outcomes, release, settle};
use crate::app::App;
use crate::identity::users;
use crate::money::evidence::{self, Claim};
use crate::money::transactions::{self, Due, FailureReason, Hold, Move, Provider, State, Transaction};
use crate::money::{bank_accounts, provider_fees, provider_objects, restrictions, safe_mode};
use crate::platform::error::{Error, Result};
use crate::platform::queue::LEASE;
use crate::provider::revio::{NewPayout, Payout, PayoutStatus, RevioError};

/// Revio executes a payout within 15 minutes of its creation (`revio.md` 4.3); a call needs some of that time.
const WINDOW: TimeDelta = TimeDelta::minutes(15);
const WINDOW_MARGIN: TimeDelta = TimeDelta::minutes(1);
/// An execution without an answer may still be on its way for this long: until then nothing is concluded from its absence.
pub(super) const IN_FLIGHT_MAX: TimeDelta = TimeDelta::seconds(60);
/// Between the row that says `submitting` and the call. Whoever was stopped for longer leaves it to the next holder of the lease.
const EXECUTION_BEGINS_WITHIN: TimeDelta = TimeDelta::seconds(15);
/// How often a payout that waits for the end of the safe mode is looked at.
const SAFE_MODE_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// That may have been executed: the first, and the one that replaces it.
const PAYOUTS_MAX: usize = 2;
/// With those that were never to be: in hours without executions each try to find out costs some rows their payout's window.
const REGISTERED_MAX: usize = 8;

/// `reserved → reserved`: Revio knows the payout. No money moves, so a lost answer is simply asked for again.
pub(super) async fn register(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(bank_account_id) = withdrawal.bank_account_id else {
        return transactions::hold(app, withdrawal, Hold::Incomplete, "the withdrawal has no bank account").await;
    };
    let details = bank_accounts::details(app, bank_account_id).await?;
    if let Some(waiting) = approval::missing(app, withdrawal, &details).await? {
        return Ok(waiting);
    }
    app.footing.may_pay()?;
    if safe_mode::pays_nothing(app).await? {
        return transactions::wait(app, withdrawal, SAFE_MODE_PAUSE).await;
    }
    if let Some(adopted) = adopt_executed(app, withdrawal).await? {
        return Ok(adopted);
    }
    app.revio.may_execute(withdrawal.id)?;
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
            let refused = Move::to(State::Reserved, Due::In(LEASE)).because(FailureReason::ProviderRefused);
            let refused = transactions::advance(app, withdrawal, refused).await?;
            release(app, &refused, FailureReason::ProviderRefused).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps the payout's id and the address that executes it, before anything is executed. The row is due at once, should we die here, and nobody is
/// woken for it: the same step goes on.
async fn attach(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    provider_objects::note_payout(app, Some(withdrawal.id), payout).await?;
    let provider = Provider {
        id: Some(payout.id),
        status: Some(payout.status.word().to_owned()),
        execution_url: payout.execution_url.clone(),
        // By our own clock: Revio's may differ, and the window is a length of time.
        created_at: Some(app.clock.now()),
        checkout_url: None,
        expires_at: None,
    };
    let to = Move::to(State::Reserved, Due::In(TimeDelta::zero())).with_provider(provider);
    transactions::advance(app, withdrawal, to).await
}

/// `reserved → submitting → …`: from here on money may leave, so the row says so first.
pub(super) async fn submit(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    if safe_mode::pays_nothing(app).await? {
        return transactions::wait(app, withdrawal, SAFE_MODE_PAUSE).await;
    }
    if !window_is_open(app, withdrawal) {
        return replace(app, withdrawal).await;
    }
    if let Some(waiting) = approval::missing_now(app, withdrawal).await? {
        return Ok(waiting);
    }
    if let Some(adopted) = adopt_executed(app, withdrawal).await? {
        return Ok(adopted);
    }
    match begin(app, withdrawal).await? {
        Begun::Submitting(submitting) => execute(app, &submitting).await,
        Begun::Frozen => transactions::hold(app, withdrawal, Hold::Frozen, restrictions::HELD_REASON).await,
        Begun::FrozenInLedger => hold_frozen_in_ledger(app, withdrawal).await,
        Begun::NotApproved => approval::await_anew(app, withdrawal).await,
    }
}

async fn hold_frozen_in_ledger(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let reason = "the ledger lets nothing leave this wallet, and no freeze is known: freeze the customer, look, then lift it and retry";
    transactions::hold(app, withdrawal, Hold::BehindLedger, reason).await
}

/// `→ submitting`, or why not.
async fn begin(app: &App, withdrawal: &Transaction) -> Result<Begun> {
    app.footing.may_pay()?;
    if restrictions::is_forgotten(app, withdrawal.user_id, withdrawal.amount.currency()).await? {
        return Ok(Begun::FrozenInLedger);
    }
    app.revio.place_for_execution(withdrawal.id).await?;
    let approved = approval::subject(app, withdrawal).await?;
    let is_prompt = approved.is_none() && !transactions::has_waited(app, withdrawal).await?;
    let to = Move::to(State::Submitting, Due::In(LEASE));
    app.crash.at("transaction.before_move")?;
    let beginning = Beginning { withdrawal: withdrawal.clone(), to: to.clone(), approved };
    let begun = app.batchers.join::<Beginnings>(app, beginning).await??;
    if matches!(begun, Begun::Submitting(_)) {
        transactions::announce(app, withdrawal, &to);
        if is_prompt {
            let took = (app.clock.now() - withdrawal.created_at).as_seconds_f64();
            app.metrics.withdrawal_submission_seconds.observe(took);
        }
        app.crash.at("transaction.moved")?;
    }
    Ok(begun)
}

/// The one call that moves money, which `begin` has counted. Whatever goes wrong, the next thing is to look the payout up; and where it is
/// certain that the call was not made, it is not one whose answer is missing.
async fn execute(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let (Some(payout_id), Some(execution_url)) = (withdrawal.provider.id, &withdrawal.provider.execution_url) else {
        return transactions::hold(app, withdrawal, Hold::Incomplete, "Revio gave no address to execute the payout")
            .await;
    };
    let noted = note(app, withdrawal, payout_id).await;
    if !matches!(noted, Ok(None)) {
        provider_objects::count_undone(app, payout_id).await?;
    }
    if let Some(held) = noted? {
        return Ok(held);
    }
    app.crash.at("withdrawal.before_execution")?;
    if app.clock.now() - withdrawal.updated_at > EXECUTION_BEGINS_WITHIN {
        provider_objects::count_undone(app, payout_id).await?;
        return Err(Error::StaleState);
    }
    let executed = app.revio.execute_payout(withdrawal.id, payout_id, execution_url).await;
    app.crash.at("withdrawal.executed")?;
    match executed {
        Ok(payout) => {
            provider_objects::note_payout(app, Some(withdrawal.id), &payout).await?;
            settle(app, withdrawal, &payout).await
        }
        // What the refusal means for the money is not in its code but in the payout's state.
        Err(error @ RevioError::Rejected { .. }) => {
            tracing::warn!(transaction.id = %withdrawal.id, %error, "Revio refused to execute a payout");
            provider_objects::count_undone(app, payout_id).await?;
            let payout = provider_objects::payout(app, Some(withdrawal.id), payout_id).await?;
            settle(app, withdrawal, &payout).await
        }
        Err(error) => {
            if error.was_never_made() {
                provider_objects::count_undone(app, payout_id).await?;
            }
            Err(error.into())
        }
    }
}

/// The ledger has which payout it is before the call: whatever becomes of the row, no other is executed in its place. `Some`, on hold, where
/// the ledger has another one.
async fn note(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Option<Transaction>> {
    let standing = app.ledger.withdrawal_standing(withdrawal.id).await?;
    let is_noted = standing.payouts.contains(&payout_id);
    if standing.reservation != Reservation::Open || (!is_noted && standing.payouts.len() >= PAYOUTS_MAX) {
        return hold_behind(app, withdrawal, &standing).await.map(Some);
    }
    if is_noted {
        return Ok(None);
    }
    let (row, currency) = (withdrawal.id, withdrawal.amount.currency());
    match app.ledger.note_payout(row, currency, payout_id, !standing.payouts.is_empty()).await {
        Ok(_) => Ok(None),
        Err(LedgerError::Contradiction(_)) => hold_behind(app, withdrawal, &standing).await.map(Some),
        Err(error) => Err(error.into()),
    }
}

async fn hold_behind(app: &App, withdrawal: &Transaction, standing: &WithdrawalStanding) -> Result<Transaction> {
    let payouts = named(&standing.payouts);
    let reason = format!("the ledger's reservation is {:?}, its payouts: {payouts}", standing.reservation);
    transactions::hold(app, withdrawal, Hold::BehindLedger, &reason).await
}

/// Asks Revio what became of the payout. Only the holder of the row's lease comes here: no call of ours is in flight, so an
/// execution that left no trace may be repeated.
pub(super) async fn look_up(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(payout_id) = withdrawal.provider.id else {
        return transactions::hold(app, withdrawal, Hold::Incomplete, "the payout's id is missing").await;
    };
    let payout = provider_objects::payout(app, Some(withdrawal.id), payout_id).await?;
    match (&payout.status, withdrawal.state) {
        (PayoutStatus::Initialized, State::Submitting) => execute_again(app, withdrawal).await,
        _ => settle(app, withdrawal, &payout).await,
    }
}

/// Revio has not executed it. Our call may still be on its way: only when it cannot be any more, it is made again, and only
/// for the same payout.
async fn execute_again(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let since = app.clock.now() - withdrawal.updated_at;
    if since < IN_FLIGHT_MAX {
        return transactions::wait(app, withdrawal, IN_FLIGHT_MAX - since).await;
    }
    if window_is_open(app, withdrawal) {
        if safe_mode::pays_nothing(app).await? {
            return transactions::wait(app, withdrawal, SAFE_MODE_PAUSE).await;
        }
        return match begin(app, withdrawal).await? {
            Begun::Submitting(again) => execute(app, &again).await,
            Begun::Frozen => transactions::hold(app, withdrawal, Hold::Frozen, restrictions::HELD_REASON).await,
            Begun::FrozenInLedger => hold_frozen_in_ledger(app, withdrawal).await,
            Begun::NotApproved => {
                let reason = "who approved the payout may not any more";
                transactions::hold(app, withdrawal, Hold::NotApproved, reason).await
            }
        };
    }
    let closed_at = withdrawal.provider.created_at.unwrap_or(withdrawal.created_at) + WINDOW + IN_FLIGHT_MAX;
    let until = closed_at - app.clock.now();
    if until > TimeDelta::zero() {
        return transactions::wait(app, withdrawal, until).await;
    }
    replace(app, withdrawal).await
}

fn window_is_open(app: &App, withdrawal: &Transaction) -> bool {
    let created_at = withdrawal.provider.created_at.unwrap_or(withdrawal.created_at);
    app.clock.now() < created_at + WINDOW - WINDOW_MARGIN
}

/// `→ reserved`: the payout's window has closed unused, and a new one takes its place, if it can never be paid and no two were noted.
async fn replace(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let registered = provider_objects::payouts_of(app, withdrawal.id).await?;
    let standing = app.ledger.withdrawal_standing(withdrawal.id).await?;
    let current = registered.iter().find(|payout| Some(payout.id) == withdrawal.provider.id);
    let is_noted = withdrawal.provider.id.is_some_and(|id| standing.payouts.contains(&id));
    // A call of which the answer was lost may still have its effect, however late.
    let none_done = current.is_some_and(|payout| payout.executions > 0 && payout.executions == payout.refusals);
    if (is_noted && !none_done) || standing.payouts.len() >= PAYOUTS_MAX || registered.len() >= REGISTERED_MAX {
        let ids: Vec<Uuid> = registered.iter().map(|payout| payout.id).collect();
        let reason = format!("Revio may still pay, and has not: payouts {}", named(&ids));
        return transactions::hold(app, withdrawal, Hold::Undecided, &reason).await;
    }
    if let Some(payout_id) = withdrawal.provider.id {
        let payout = provider_objects::payout(app, Some(withdrawal.id), payout_id).await?;
        // What was never to be executed may end as an error: Revio does not say as what (`revio.md` 4.3).
        let is_unused =
            payout.status == PayoutStatus::Initialized || (!is_noted && payout.status == PayoutStatus::Error);
        if !is_unused {
            return late_outcomes::adopt(app, withdrawal, &payout).await;
        }
    }
    tracing::warn!(transaction.id = %withdrawal.id, payout.id = ?withdrawal.provider.id, "a payout's window closed unused");
    let to = Move::to(State::Reserved, Due::Now).with_provider(Provider::default());
    transactions::advance(app, withdrawal, to).await
}

fn named(ids: &[Uuid]) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
}

/// Of every payout that was ever registered for it: has Revio executed another one than the row's? Then that one pays the customer.
pub(super) async fn adopt_executed(app: &App, withdrawal: &Transaction) -> Result<Option<Transaction>> {
    for known in provider_objects::payouts_of(app, withdrawal.id).await? {
        if Some(known.id) == withdrawal.provider.id {
            continue;
        }
        let payout = provider_objects::payout(app, Some(withdrawal.id), known.id).await?;
        if !matches!(payout.status, PayoutStatus::Initialized | PayoutStatus::Error) {
            // Boxed: what settles a payout asks here, too.
            return Box::pin(late_outcomes::adopt(app, withdrawal, &payout)).await.map(Some);
        }
    }
    Ok(None)
}

/// The payout by which Revio has paid it, of all that were ever registered for it. One that Revio does not know was never paid.
pub(super) async fn paid(app: &App, withdrawal: &Transaction) -> Result<Option<Payout>> {
    let registered = provider_objects::payouts_of(app, withdrawal.id).await?;
    let others = registered.iter().map(|known| known.id).filter(|id| Some(*id) != withdrawal.provider.id);
    for payout_id in withdrawal.provider.id.into_iter().chain(others) {
        match provider_objects::payout(app, Some(withdrawal.id), payout_id).await {
            Ok(payout) if payout.status == PayoutStatus::Success => return Ok(Some(payout)),
            Ok(_) => {}
            Err(Error::Unusable(cause)) if matches!(cause.downcast_ref(), Some(RevioError::NotFound)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Where the ledger knows more of it than the row, the row is brought up to it before anything else; `None`: they say the same.
pub(super) async fn reminded(app: &App, withdrawal: &Transaction) -> Result<Option<Transaction>> {
    let standing = app.ledger.withdrawal_standing(withdrawal.id).await?;
    let registered = provider_objects::payouts_of(app, withdrawal.id).await?;
    let is_known = |id: &Uuid| registered.iter().any(|payout| payout.id == *id);
    let forgotten = standing.payouts.iter().rev().find(|id| !is_known(id));
    // Noted means that it may be executed, and then the row says `submitting`, or more.
    let began = matches!(withdrawal.state, State::Submitting | State::Submitted);
    let given_up = withdrawal.failure_reason.is_some();
    let own = standing.payouts.last().filter(|id| Some(**id) == withdrawal.provider.id && !began && !given_up);
    if let Some(payout_id) = forgotten.or(own) {
        return take_up(app, withdrawal, *payout_id).await.map(Some);
    }
    match standing.reservation {
        Reservation::Open => Ok(None),
        // Whoever gave it back, or was about to, goes on with that.
        Reservation::Voided if given_up || began => Ok(None),
        Reservation::Posted if began => Ok(None),
        Reservation::Voided => release(app, withdrawal, FailureReason::ProviderCouldNotPay).await.map(Some),
        Reservation::Posted => {
            tracing::error!(transaction.id = %withdrawal.id, "the ledger has posted a withdrawal whose row was behind");
            // Its fee may not be booked yet: it is looked at again.
            let due = if withdrawal.provider.id.is_some() { Due::In(LATER_LOOKS[0]) } else { Due::Never };
            transactions::advance(app, withdrawal, Move::to(State::Completed, due)).await.map(Some)
        }
        Reservation::None => hold_behind(app, withdrawal, &standing).await.map(Some),
    }
}

/// `→ submitting`: a payout that the row has forgotten, or forgot that it was to be executed. It is looked up before anything is done, and
/// never executed by this row again: its window counts as closed.
async fn take_up(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Transaction> {
    tracing::error!(transaction.id = %withdrawal.id, payout.id = %payout_id, "the ledger knows of a payout that the row forgot");
    let payout = provider_objects::payout(app, Some(withdrawal.id), payout_id).await?;
    let provider = Provider {
        id: Some(payout_id),
        status: Some(payout.status.word().to_owned()),
        execution_url: payout.execution_url.clone(),
        created_at: Some(app.clock.now() - WINDOW),
        checkout_url: None,
        expires_at: None,
    };
    let to = Move::to(State::Submitting, Due::In(IN_FLIGHT_MAX)).with_provider(provider);
    let submitting = transactions::advance(app, withdrawal, to).await?;
    if payout.status == PayoutStatus::Initialized {
        return Ok(submitting);
    }
    settle(app, &submitting, &payout).await
}

/// A payout of which we have no row: of others it is none of our business; of ours the row was lost. Where the ledger has reserved for this
/// very payout, what Revio says becomes final there, row or no row. Of anything else a person must know.
pub(super) async fn without_a_row(app: &App, payout_id: Uuid) -> Result<bool> {
    let payout = match provider_objects::payout(app, None, payout_id).await {
        Err(Error::Unusable(cause)) if matches!(cause.downcast_ref::<RevioError>(), Some(RevioError::NotFound)) => {
            return Ok(false);
        }
        payout => payout?,
    };
    if payout.status == PayoutStatus::Success && post_without_a_row(app, &payout).await? {
        return Ok(true);
    }
    let ours = payout.brand_id.is_none_or(|brand| brand == app.revio.brand_id());
    if ours && !matches!(payout.status, PayoutStatus::Initialized | PayoutStatus::Error) {
        return Err(Error::Unusable(format!("Revio pays payout {payout_id}, and no row of ours knows it").into()));
    }
    Ok(false)
}

/// Of withdrawals whose row is lost the ledger still knows the payout: Revio is asked for it, since its event may be lost, too.
pub(super) async fn settle_lost(app: &App) -> Result<()> {
    for row in safe_mode::lost_reservations(app).await? {
        let standing = app.ledger.withdrawal_standing(row).await?;
        for payout_id in standing.payouts {
            match without_a_row(app, payout_id).await {
                Err(error @ (Error::Unavailable(_) | Error::ProviderPaused { .. })) => return Err(error),
                Err(error) => tracing::warn!(transaction.id = %row, error = error.chain(), "a lost withdrawal waits"),
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

async fn post_without_a_row(app: &App, payout: &Payout) -> Result<bool> {
    let Some(row) = payout.reference.parse::<Uuid>().ok().filter(|row| provider_objects::is_row_id(*row)) else {
        return Ok(false);
    };
    let standing = app.ledger.withdrawal_standing(row).await?;
    let reserved = app.ledger.lookup(&[TransferId::of(row, Leg::Main)]).await?;
    let claim = Claim {
        payment: payout.payment.as_ref(),
        outgoing: true,
        reference: &payout.reference,
        is_test: payout.is_test,
        brand_id: payout.brand_id,
    };
    let came = evidence::money(app, &claim).map(|(_, amount)| amount);
    let fits = reserved.first().is_some_and(|reserved| {
        came.is_ok_and(|came| came.minor() == reserved.amount_minor && came.currency() == reserved.currency)
    });
    if !fits || !standing.payouts.contains(&payout.id) || standing.reservation == Reservation::Voided {
        return Ok(false);
    }
    if standing.reservation == Reservation::Open {
        tracing::error!(transaction.id = %row, payout.id = %payout.id, "a payout whose row is lost is posted by the ledger's word");
        app.ledger.post(row).await?;
    }
    if let Some(payment) = &payout.payment {
        provider_fees::book_of_payout(app, row, payment).await?;
    }
    Ok(true)
}
