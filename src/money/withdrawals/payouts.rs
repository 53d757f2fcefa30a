//! The payout of a withdrawal: registered, executed once, and replaced where it can never be paid. Called by `withdrawals` for rows from `reserved` on.
//!
//! ```text
//! register ─> attach ─> submit ─> mark_submitting (row) ─> execute: note (ledger: this payout), then the one call that moves money
//! go_on    ─> asked for once more: not begun without us ─> submit
//! look_up  ─┬─> Revio says what became of it ─> apply
//!           └─> not executed ─> execute_again: the same payout, within its 15 minutes ─> replace
//! ```
//!
//! A payout is replaced only where it can never be paid: it was never to be executed, or each execution was refused by Revio in words or
//! never made, and none is left unanswered. The ledger has room for two payouts of a row, so a third is never executed. While Revio executes
//! nothing, nothing is registered either: its window would pass.

use chrono::TimeDelta;
use uuid::Uuid;

use super::execution::{
    IN_FLIGHT_MAX, PAYOUTS_MAX, WINDOW, is_named_as_own, is_own, joined, note_or_hold, until_window_ends,
    window_is_open,
};
use super::outcomes::{adopt, adopt_executed, apply};
use super::submitting::{MarkSubmitting, Marked, Submission};
use super::{approval, booking};
use crate::app::App;
use crate::identity::users;
use crate::money::provider_objects::{self, Known};
use crate::money::transactions::{self, Due, FailureReason, Hold, Move, Provider, State, Transaction};
use crate::money::{bank_accounts, evidence, restrictions, safe_mode};
use crate::platform::error::{Error, Fault, Result};
use crate::platform::queue::LEASE;
use crate::provider::revio::{NewPayout, PastPayoutStatus, Payout, PayoutStatus, RevioError};

/// Between the row that says `submitting` and the call. Whoever was stopped for longer leaves it to the next holder of the lease.
const EXECUTION_BEGINS_WITHIN: TimeDelta = TimeDelta::seconds(15);
/// How often a payout that waits for the end of the safe mode is looked at.
const SAFE_MODE_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// What Revio answers to a registration that meets another one, and how often it may before that is a refusal: in the time of the row's own tries.
const CONFLICT: u16 = 409;
const CONFLICTS_MAX: i32 = 3;
/// Payouts registered for one withdrawal, executed or not. While Revio executes nothing, each probe registers some whose 15 minutes run out.
/// More are for a person where the row itself is at fault; where its surroundings are, each of them waits.
const REGISTERED_MAX: usize = 8;
const REGISTERED_PAUSE: TimeDelta = TimeDelta::hours(1);

/// `reserved → reserved`: Revio knows the payout. No money moves, so a lost answer is simply asked for again.
pub(super) async fn register(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(bank_account_id) = withdrawal.bank_account_id else {
        return transactions::hold(app, withdrawal, Hold::Incomplete, "the withdrawal has no bank account").await;
    };
    let details = bank_accounts::details(app, bank_account_id).await?;
    if let Some(waiting) = approval::stop_unless_approved(app, withdrawal, &details).await? {
        return Ok(waiting);
    }
    app.footing.require_payable()?;
    if let Some(waiting) = defer_in_safe_mode(app, withdrawal).await? {
        return Ok(waiting);
    }
    if let Some(adopted) = adopt_executed(app, withdrawal).await? {
        return Ok(adopted);
    }
    app.revio.take_execution_turn(withdrawal.id)?;
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
            // Known from here on, whatever it says: before another is registered it is asked for.
            let payout = provider_objects::record_payout(app, Some(withdrawal.id), payout).await?;
            require_as_asked_for(app, withdrawal, &payout)?;
            require_destination(&payout, &details)?;
            let registered = attach(app, withdrawal, &payout).await?;
            execute_unless_begun(app, &registered, &payout).await
        }
        // A conflict says that there may be one, which nobody has executed: as after a lost answer another is asked for, and not for ever.
        Err(error @ RevioError::Rejected { status, .. })
            if status != CONFLICT || withdrawal.attempts >= CONFLICTS_MAX =>
        {
            tracing::error!(transaction.id = %withdrawal.id, %error, "Revio refused a payout");
            // Before anything is released the row says so, and from then on it is not registered again.
            let refused = Move::to(State::Reserved, Due::In(LEASE)).because(FailureReason::ProviderRefused);
            let refused = transactions::advance(app, withdrawal, refused).await?;
            booking::void_reservation(app, &refused, FailureReason::ProviderRefused).await
        }
        Err(error) => {
            let may_be_registered = !error.was_never_made();
            let error = Error::from(error);
            // What is the row's own fault is counted, and held in the end.
            if may_be_registered && error.fault() == Fault::Surroundings && is_registered_often(app, withdrawal).await?
            {
                tracing::warn!(transaction.id = %withdrawal.id, error = error.chain(), "a payout may be registered once more; the next waits");
                return transactions::defer(app, withdrawal, WINDOW).await;
            }
            Err(error)
        }
    }
}

/// No payout is registered or begins while nothing is paid.
async fn defer_in_safe_mode(app: &App, withdrawal: &Transaction) -> Result<Option<Transaction>> {
    match safe_mode::pays_nothing(app).await? {
        true => transactions::defer(app, withdrawal, SAFE_MODE_PAUSE).await.map(Some),
        false => Ok(None),
    }
}

/// Nothing is executed that is not what was asked for, as far as an answer says what it is.
fn require_as_asked_for(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<()> {
    if payout.payment.as_ref().is_some_and(|payment| evidence::says_another_sum(payment, withdrawal.amount)) {
        return Err(Error::Unusable(format!("payout {} is of another sum than was asked for", payout.id).into()));
    }
    if !is_named_as_own(app, withdrawal, payout) {
        return Err(Error::Unusable(format!("payout {} is of another row, mode or brand", payout.id).into()));
    }
    Ok(())
}

fn require_destination(payout: &Payout, details: &bank_accounts::Details) -> Result<()> {
    match payout.client.is_other(&details.account_number, &details.branch_code) {
        true => Err(Error::Unusable(format!("payout {} goes to another bank account", payout.id).into())),
        false => Ok(()),
    }
}

/// A row that was lost and written again has no bank account.
async fn require_own_destination(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<()> {
    match withdrawal.bank_account_id {
        Some(id) => require_destination(payout, &bank_accounts::details(app, id).await?),
        None => Ok(()),
    }
}

/// While Revio registers and does not answer, each try leaves a payout behind, and every step asks for all of them.
async fn is_registered_often(app: &App, withdrawal: &Transaction) -> Result<bool> {
    Ok(provider_objects::payouts_of(app, withdrawal.id).await?.len() >= REGISTERED_MAX)
}

/// Keeps the payout's id and the address that executes it, before anything is executed. Should we die here, the row is due soon; nobody is woken for it, and
/// nobody takes it meanwhile: the same step goes on.
async fn attach(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let provider = Provider {
        id: Some(payout.id),
        status: Some(payout.status.word().to_owned()),
        execution_url: payout.execution_url.clone(),
        // By our own clock: Revio's may differ, and the window is a length of time.
        created_at: Some(app.clock.now()),
        ..Provider::default()
    };
    let to = Move::to(State::Reserved, Due::In(EXECUTION_BEGINS_WITHIN)).with_provider(provider);
    transactions::advance(app, withdrawal, to).await
}

/// A payout that was registered in an earlier step: it may have begun without us since.
pub(super) async fn go_on(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Transaction> {
    if let Some(waiting) = defer_in_safe_mode(app, withdrawal).await? {
        return Ok(waiting);
    }
    if !window_is_open(app, withdrawal) {
        return replace(app, withdrawal).await;
    }
    let asked = provider_objects::ask_for_payout(app, Some(withdrawal.id), payout_id).await;
    match provider_objects::if_known(asked)? {
        Some(payout) => {
            if payout.status == PayoutStatus::Initialized {
                require_as_asked_for(app, withdrawal, &payout)?;
                // Where our own details are others than were approved, that is what must be decided about.
                if let Some(waiting) = approval::stop_unless_still_approved(app, withdrawal).await? {
                    return Ok(waiting);
                }
                require_own_destination(app, withdrawal, &payout).await?;
            }
            execute_unless_begun(app, withdrawal, &payout).await
        }
        None => replace(app, withdrawal).await,
    }
}

/// By its own state, of one that is as it was asked for: what Revio has begun is not begun once more.
async fn execute_unless_begun(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    match payout.status {
        PayoutStatus::Initialized => match withdrawal.provider.execution_url {
            Some(_) => submit(app, withdrawal).await,
            None => learn_address(app, withdrawal, payout).await,
        },
        PayoutStatus::Error if !is_own(app, withdrawal, payout) => apply(app, withdrawal, payout).await,
        PayoutStatus::Error => match adopt_executed(app, withdrawal).await? {
            Some(adopted) => Ok(adopted),
            // Before anything is released the row says so, and from then on it is not executed.
            None => {
                let failed = Move::to(State::Reserved, Due::Now).because(FailureReason::ProviderCouldNotPay);
                transactions::advance(app, withdrawal, failed).await
            }
        },
        // What nobody here has executed may as well have ended by such a word.
        PayoutStatus::Unknown(ref word) => {
            provider_objects::wait_for_a_known_word(app, withdrawal, payout.id, word).await
        }
        // The ledger has it, as it has what we execute.
        PayoutStatus::Pending | PayoutStatus::Success | PayoutStatus::Returned => {
            match note_or_hold(app, withdrawal, payout.id).await? {
                Some(held) => Ok(held),
                None => adopt(app, withdrawal, payout).await,
            }
        }
    }
}

/// The answer that registered it did not say where it is executed; a later one may.
async fn learn_address(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    let Some(execution_url) = &payout.execution_url else {
        return Err(Error::Unusable("Revio gives no address to execute the payout".into()));
    };
    let provider = Provider { execution_url: Some(execution_url.clone()), ..withdrawal.provider.clone() };
    let to = Move::to(State::Reserved, Due::In(EXECUTION_BEGINS_WITHIN)).with_provider(provider);
    let known = transactions::advance(app, withdrawal, to).await?;
    submit(app, &known).await
}

/// `reserved → submitting → …`: from here on money may leave, so the row says so first.
async fn submit(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    if let Some(waiting) = defer_in_safe_mode(app, withdrawal).await? {
        return Ok(waiting);
    }
    if let Some(waiting) = approval::stop_unless_still_approved(app, withdrawal).await? {
        return Ok(waiting);
    }
    if let Some(adopted) = adopt_executed(app, withdrawal).await? {
        return Ok(adopted);
    }
    mark_and_execute(app, withdrawal).await
}

/// The payout begins and is executed, or why not.
async fn mark_and_execute(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    match mark_submitting(app, withdrawal).await? {
        Marked::Submitting(marked) => execute(app, &marked).await,
        Marked::Frozen => transactions::hold(app, withdrawal, Hold::Frozen, restrictions::HELD_REASON).await,
        Marked::FrozenInLedger => hold_frozen_in_ledger(app, withdrawal).await,
        Marked::SafeMode => transactions::defer(app, withdrawal, SAFE_MODE_PAUSE).await,
        // One that may have been executed before does not wait for an approval again.
        Marked::NotApproved if withdrawal.state == State::Submitting => {
            transactions::hold(app, withdrawal, Hold::NotApproved, "who approved the payout may not any more").await
        }
        Marked::NotApproved => approval::await_anew(app, withdrawal).await,
    }
}

async fn hold_frozen_in_ledger(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let reason = "the ledger lets nothing leave this wallet, and no freeze is known: freeze the customer, look, then lift it and retry";
    transactions::hold(app, withdrawal, Hold::BehindLedger, reason).await
}

/// `→ submitting`, or why not.
async fn mark_submitting(app: &App, withdrawal: &Transaction) -> Result<Marked> {
    app.footing.require_payable()?;
    if restrictions::is_frozen_in_ledger_only(app, withdrawal.user_id, withdrawal.amount.currency()).await? {
        return Ok(Marked::FrozenInLedger);
    }
    app.revio.take_place_for_execution(withdrawal.id).await?;
    let approved = approval::hash_to_approve(app, withdrawal).await?;
    let is_prompt = approved.is_none() && !transactions::has_waited(app, withdrawal).await?;
    let to = Move::to(State::Submitting, Due::In(LEASE));
    app.crash.at("transaction.before_move")?;
    let submission = Submission { withdrawal: withdrawal.clone(), to: to.clone(), approved };
    let marked = app.batchers.join::<MarkSubmitting>(app, submission).await??;
    if matches!(marked, Marked::Submitting(_)) {
        transactions::announce(app, withdrawal, &to);
        if is_prompt {
            let took = (app.clock.now() - withdrawal.created_at).as_seconds_f64();
            app.metrics.withdrawal_submission_seconds.observe(took);
        }
        app.crash.at("transaction.moved")?;
    }
    Ok(marked)
}

/// What became of the one call that moves money.
enum Called {
    Answered(Payout),
    /// Answered, and the answer broke off: Revio has taken it.
    Taken(RevioError),
    Refused(RevioError),
    /// And what the row is for that.
    NotMade(Result<Transaction>),
    Unanswered(RevioError),
}

impl Called {
    /// Whether it is certain that nothing is paid by it.
    fn pays_nothing(&self) -> bool {
        match self {
            Self::Refused(error) => error.is_plain_refusal(),
            Self::NotMade(_) => true,
            Self::Answered(_) | Self::Taken(_) | Self::Unanswered(_) => false,
        }
    }
}

/// Makes the call that `mark_submitting` has counted. Whatever goes wrong, the next thing is to look the payout up; and a call by which nothing is
/// paid is not one whose answer is missing.
async fn execute(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(payout_id) = withdrawal.provider.id else {
        return transactions::hold(app, withdrawal, Hold::Incomplete, "the payout's id is missing").await;
    };
    let called = call_execution(app, withdrawal, payout_id).await?;
    if called.pays_nothing() {
        provider_objects::count_not_executed(app, payout_id).await?;
    }
    match called {
        // What the refusal means for the money is not in its code but in the payout's state.
        Called::Refused(error) => {
            tracing::warn!(transaction.id = %withdrawal.id, %error, "Revio refused to execute a payout");
            ask_and_apply(app, withdrawal, payout_id).await
        }
        // An answer may say no more than how it ended: what moved, if anything did, is in the payout.
        Called::Answered(Payout { payment: None, status: PayoutStatus::Error, .. }) => {
            ask_and_apply(app, withdrawal, payout_id).await
        }
        // And that it has begun: from here on it is not executed, whatever an older answer says.
        Called::Answered(payout @ Payout { payment: None, status: PayoutStatus::Success, .. }) => {
            let paid = vec![PastPayoutStatus { status: PayoutStatus::Success }];
            let begun = Payout { status: PayoutStatus::Pending, status_history: paid, ..payout };
            let begun = record_and_apply(app, withdrawal, begun).await?;
            ask_and_apply(app, &begun, payout_id).await
        }
        // Revio has taken the call, and tells the payout as it was before: it has begun all the same.
        Called::Answered(payout @ Payout { status: PayoutStatus::Initialized, .. }) => {
            record_and_apply(app, withdrawal, Payout { status: PayoutStatus::Pending, ..payout }).await
        }
        Called::Answered(payout) => record_and_apply(app, withdrawal, payout).await,
        // Likewise, and the row says so before anybody asks what became of it: an older answer, or none, has it called no more. No sign that
        // executions take effect.
        Called::Taken(error) => {
            tracing::warn!(transaction.id = %withdrawal.id, %error, "Revio has taken a payout's execution");
            transactions::advance(app, withdrawal, Move::to(State::Submitted, Due::In(IN_FLIGHT_MAX))).await
        }
        Called::NotMade(row) => row,
        Called::Unanswered(error) => Err(error.into()),
    }
}

async fn ask_and_apply(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Transaction> {
    let payout = provider_objects::ask_for_payout(app, Some(withdrawal.id), payout_id).await?;
    apply(app, withdrawal, &payout).await
}

async fn record_and_apply(app: &App, withdrawal: &Transaction, payout: Payout) -> Result<Transaction> {
    let payout = provider_objects::record_payout(app, Some(withdrawal.id), payout).await?;
    apply(app, withdrawal, &payout).await
}

async fn call_execution(app: &App, withdrawal: &Transaction, payout_id: Uuid) -> Result<Called> {
    let Some(execution_url) = &withdrawal.provider.execution_url else {
        let reason = "Revio gave no address to execute the payout";
        return Ok(Called::NotMade(transactions::hold(app, withdrawal, Hold::Incomplete, reason).await));
    };
    if let Some(stopped) = note_or_hold(app, withdrawal, payout_id).await.transpose() {
        return Ok(Called::NotMade(stopped));
    }
    app.crash.at("withdrawal.before_execution")?;
    if app.clock.now() - withdrawal.updated_at > EXECUTION_BEGINS_WITHIN {
        return Ok(Called::NotMade(Err(Error::StaleState)));
    }
    let executed = app.revio.execute_payout(withdrawal.id, payout_id, execution_url).await;
    app.crash.at("withdrawal.executed")?;
    Ok(match executed {
        Ok(payout) => Called::Answered(payout),
        Err(error @ RevioError::Rejected { .. }) => Called::Refused(error),
        Err(error @ RevioError::Taken(_)) => Called::Taken(error),
        Err(error) if error.was_never_made() => Called::NotMade(Err(error.into())),
        Err(error) => Called::Unanswered(error),
    })
}

/// Asks Revio what became of the payout. Only the holder of the row's lease comes here: no call of ours is in flight, so an
/// execution that left no trace may be repeated.
pub(super) async fn look_up(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let Some(payout_id) = withdrawal.provider.id else {
        return transactions::hold(app, withdrawal, Hold::Incomplete, "the payout's id is missing").await;
    };
    let payout = provider_objects::ask_for_payout(app, Some(withdrawal.id), payout_id).await?;
    let since = app.clock.now() - withdrawal.updated_at;
    match (&payout.status, withdrawal.state) {
        (PayoutStatus::Initialized, State::Submitting) => {
            require_as_asked_for(app, withdrawal, &payout)?;
            require_own_destination(app, withdrawal, &payout).await?;
            execute_again(app, withdrawal).await
        }
        // It may be the word on an earlier execution, and Revio takes the later one in this state, too (`docs/provider.md`, re-execution).
        (PayoutStatus::Error, State::Submitting) if since < IN_FLIGHT_MAX => {
            transactions::defer(app, withdrawal, IN_FLIGHT_MAX - since).await
        }
        _ => apply(app, withdrawal, &payout).await,
    }
}

/// Revio has not executed it. Our call may still be on its way: only when it cannot be any more, it is made again, and only
/// for the same payout.
async fn execute_again(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let since = app.clock.now() - withdrawal.updated_at;
    if since < IN_FLIGHT_MAX {
        return transactions::defer(app, withdrawal, IN_FLIGHT_MAX - since).await;
    }
    // One that was taken up has no address (`restored`).
    if window_is_open(app, withdrawal) && withdrawal.provider.execution_url.is_some() {
        if let Some(waiting) = defer_in_safe_mode(app, withdrawal).await? {
            return Ok(waiting);
        }
        if let Some(adopted) = adopt_executed(app, withdrawal).await? {
            return Ok(adopted);
        }
        return mark_and_execute(app, withdrawal).await;
    }
    if let Some(until) = until_window_ends(app, withdrawal) {
        return transactions::defer(app, withdrawal, until).await;
    }
    replace(app, withdrawal).await
}

/// `→ reserved`: the payout's window has closed unused, and a new one takes its place, if it can never be paid and no two were noted.
async fn replace(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let registered = provider_objects::payouts_of(app, withdrawal.id).await?;
    let standing = app.ledger.withdrawal_standing(withdrawal.id).await?;
    let current = registered.iter().find(|payout| Some(payout.id) == withdrawal.provider.id);
    let is_noted = withdrawal.provider.id.is_some_and(|id| standing.payouts.contains(&id));
    let is_refused = current.is_some_and(Known::is_refused);
    // A call of which the answer was lost may still have its effect, however late. The own one that is not noted was not called, unless the
    // ledger has forgotten that it was.
    let unanswered: Vec<&Known> = registered.iter().filter(|payout| payout.is_unanswered()).collect();
    let forgets = !unanswered.is_empty() && safe_mode::ledger_was_older(app, withdrawal.created_at).await?;
    if unanswered.iter().any(|payout| forgets || Some(payout.id) != withdrawal.provider.id)
        || (is_noted && !is_refused)
        || standing.payouts.len() >= PAYOUTS_MAX
        || (registered.len() >= REGISTERED_MAX && withdrawal.attempts > 0)
    {
        let may_pay =
            registered.iter().filter(|payout| payout.executions > 0 || Some(payout.id) == withdrawal.provider.id);
        let ids: Vec<Uuid> = may_pay.map(|payout| payout.id).collect();
        let what = if is_refused && unanswered.is_empty() {
            "Revio refuses to pay"
        } else {
            "Revio may still pay, and has not"
        };
        let reason = format!("{what}: payouts {}", joined(&ids));
        return transactions::hold(app, withdrawal, Hold::Undecided, &reason).await;
    }
    // An execution that an older database has forgotten is counted before the safe mode is left.
    if let Some(waiting) = defer_in_safe_mode(app, withdrawal).await? {
        return Ok(waiting);
    }
    if let Some(payout_id) = withdrawal.provider.id {
        let asked = provider_objects::ask_for_payout(app, Some(withdrawal.id), payout_id).await;
        // What was never to be executed may end as an error, or be gone: Revio does not say as what (`docs/provider.md`, unexecuted).
        let payout = if is_noted { Some(asked?) } else { provider_objects::if_known(asked)? };
        if let Some(payout) = payout {
            match payout.status {
                PayoutStatus::Initialized => {}
                PayoutStatus::Error if !is_noted => {}
                PayoutStatus::Error => return apply(app, withdrawal, &payout).await,
                // Nobody here has executed it: it may be a word for one whose time is over.
                PayoutStatus::Unknown(word) if !is_noted => {
                    return provider_objects::wait_for_a_known_word(app, withdrawal, payout.id, &word).await;
                }
                PayoutStatus::Pending | PayoutStatus::Success | PayoutStatus::Returned | PayoutStatus::Unknown(_) => {
                    return adopt(app, withdrawal, &payout).await;
                }
            }
        }
    }
    let payout = withdrawal.provider.id.map(tracing::field::display);
    tracing::warn!(transaction.id = %withdrawal.id, payout.id = payout, "a payout's window closed unused");
    let due = if registered.len() >= REGISTERED_MAX { Due::In(REGISTERED_PAUSE) } else { Due::Now };
    let to = Move::to(State::Reserved, due).with_provider(Provider::default());
    transactions::advance(app, withdrawal, to).await
}
