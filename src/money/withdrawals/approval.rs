//! The arrows of a withdrawal above a threshold (`APPROVAL_THRESHOLDS`), or to a new bank account (`BANK_ACCOUNT_COOLING_HOURS`): it waits
//! until enough people other than its owner have approved exactly this payout, or the account is new no more. Called by `withdrawals`
//! before Revio hears of the payout and again before money may leave, by the worker, and by `routes`.
//!
//! ```mermaid
//! stateDiagram-v2
//!     reserved --> awaiting_approval: stop_unless_approved (above the threshold, and not approved as it stands)
//!     awaiting_approval --> reserved: approve (enough people, all the same payout), or the threshold is another one by now
//!     reserved --> awaiting_approval: await_anew (who approved it may not any more, when the payout is to begin)
//!     awaiting_approval --> awaiting_approval: decline, or too late (the row says so before the ledger does)
//!     awaiting_approval --> failed: release_unless_paid (the reservation is voided, unless Revio has executed a payout of before)
//!     awaiting_approval --> cancelled: the same, called off by its customer
//! ```
//!
//! What is approved is a hash over the withdrawal and the decrypted bank details. It is computed anew from what is about to be
//! sent, so a destination that was changed after the approval is not paid. A payout that Revio knows already is forgotten
//! when its row goes back to waiting: it carries the details of before. `submitting` leaves the approval behind, so a new
//! payout in the place of one that was never executed is approved anew, while repeating the execution of the same is not.

pub mod routes;
mod store;

use chrono::TimeDelta;
use ledger::{Account, Amount};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{outcomes, restored};
use crate::app::App;
use crate::identity::audit::{self, Entry};
use crate::money::approvals::{self, ApprovalDecision, ApprovalValidity, SubjectHash};
use crate::money::bank_accounts::{self, Details};
use crate::money::transactions::{self, Due, FailureReason, Hold, Kind, Move, Provider, State, Transaction};
use crate::platform::error::{Error, Reason, Result};
use crate::platform::permissions::{Permission, WithdrawalsApprove};
use crate::platform::queue::LEASE;

/// How often a waiting row is looked at: the thresholds may have been raised.
const LOOK: TimeDelta = TimeDelta::days(1);
/// A withdrawal to a new bank account, however small.
const NEEDED_WHILE_NEW: i64 = 1;

/// A withdrawal with all that staff decide about; `None` where its bank details cannot be decrypted, so that nobody can decide.
pub struct Undecided {
    pub withdrawal: Transaction,
    pub seen: Option<(Details, SubjectHash)>,
}

pub fn needed(app: &App, withdrawal: &Transaction) -> i64 {
    let while_new = if cooling(app, withdrawal).is_some() { NEEDED_WHILE_NEW } else { 0 };
    app.config.approval_thresholds.needed(withdrawal.outflow).max(while_new)
}

/// What left the customer within 24 hours, this withdrawal included, as the ledger counted it when it reserved: whoever splits a sum is
/// asked as for the whole (docs/decisions/029). Not looked up where no threshold looks at it.
pub(super) async fn outflow(app: &App, withdrawal: &Transaction) -> Result<Option<Amount>> {
    let currency = withdrawal.amount.currency();
    if !app.config.approval_thresholds.has(currency) {
        return Ok(None);
    }
    Ok(app.ledger.outflow_at(withdrawal.id, Account::wallet(withdrawal.user_id, currency)).await?)
}

/// How long the withdrawal's bank account still counts as new.
fn cooling(app: &App, withdrawal: &Transaction) -> Option<TimeDelta> {
    bank_accounts::cooling(app, withdrawal.bank_account_id?)
}

/// When a waiting row is looked at again.
fn next_look(app: &App, withdrawal: &Transaction) -> TimeDelta {
    cooling(app, withdrawal).map_or(LOOK, |left| left.min(LOOK))
}

fn hash_of(withdrawal: &Transaction, destination: &Details) -> SubjectHash {
    SubjectHash::of(&[
        b"withdrawal",
        withdrawal.id.as_bytes(),
        withdrawal.user_id.as_bytes(),
        &withdrawal.amount.minor().to_be_bytes(),
        withdrawal.amount.currency().code().as_bytes(),
        withdrawal.bank_account_id.as_ref().map_or(&[], |id| id.as_bytes().as_slice()),
        destination.account_holder.as_bytes(),
        destination.account_number.as_bytes(),
        destination.branch_code.as_bytes(),
    ])
}

async fn seen_of(app: &App, withdrawal: &Transaction) -> Result<(Details, SubjectHash)> {
    let missing = || Error::internal("a withdrawal without a bank account");
    let destination = bank_accounts::details(app, withdrawal.bank_account_id.ok_or_else(missing)?).await?;
    let hash = hash_of(withdrawal, &destination);
    Ok((destination, hash))
}

/// `reserved → awaiting_approval`, if it must be approved and is not, as it stands and with the very details that Revio is to
/// be sent. `None`: it may go on.
pub(super) async fn stop_unless_approved(
    app: &App,
    withdrawal: &Transaction,
    destination: &Details,
) -> Result<Option<Transaction>> {
    if needed(app, withdrawal) == 0 {
        return hold_changed(app, withdrawal, destination).await;
    }
    if approvals::validity(app, withdrawal.subject(), &hash_of(withdrawal, destination)).await? == ApprovalValidity::Yes
    {
        return Ok(None);
    }
    await_anew(app, withdrawal).await.map(Some)
}

/// Nobody approves it, so the money goes where it was to go when the withdrawal was asked for, or nowhere.
async fn hold_changed(app: &App, withdrawal: &Transaction, destination: &Details) -> Result<Option<Transaction>> {
    if withdrawal.destination.as_ref().is_none_or(|asked_for| destination.ends_in(&asked_for.last_four)) {
        return Ok(None);
    }
    let reason = "the bank account is not what it was when the withdrawal was asked for";
    transactions::hold(app, withdrawal, Hold::NotApproved, reason).await.map(Some)
}

/// As [`stop_unless_approved`], right before money may leave, where an approval is needed: the details are read again.
pub(super) async fn stop_unless_still_approved(app: &App, withdrawal: &Transaction) -> Result<Option<Transaction>> {
    if needed(app, withdrawal) == 0 {
        return Ok(None);
    }
    let (destination, _) = seen_of(app, withdrawal).await?;
    stop_unless_approved(app, withdrawal, &destination).await
}

/// `reserved → awaiting_approval`.
pub(super) async fn await_anew(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let to = Move::to(State::AwaitingApproval, Due::In(next_look(app, withdrawal))).with_provider(Provider::default());
    transactions::advance(app, withdrawal, to).await
}

/// What must have been approved before the payout begins, if anything; for [`still_approved`], which awaits nothing but its SQL.
pub(super) async fn hash_to_approve(app: &App, withdrawal: &Transaction) -> Result<Option<SubjectHash>> {
    if needed(app, withdrawal) == 0 {
        return Ok(None);
    }
    Ok(Some(seen_of(app, withdrawal).await?.1))
}

/// Whether those who approved it still may, until the end of the transaction in which the payout begins.
pub(super) async fn still_approved(
    app: &App,
    tx: &mut PgConnection,
    withdrawal: &Transaction,
    hash: &SubjectHash,
) -> Result<bool> {
    let needed = needed(app, withdrawal);
    approvals::still_approved(app, tx, (withdrawal.subject(), hash), needed, WithdrawalsApprove::ROLES).await
}

/// `awaiting_approval → failed`: nobody decided in time, or somebody declined. Before anything is released the row says
/// so, and from then on nobody can approve it.
pub(super) async fn step(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    if let Some(reason) = withdrawal.failure_reason {
        return outcomes::release_unless_paid(app, withdrawal, reason).await;
    }
    if needed(app, withdrawal) == 0 {
        // The thresholds were raised meanwhile, or the bank account is new no more.
        return transactions::advance(app, withdrawal, Move::to(State::Reserved, Due::Now)).await;
    }
    if let Some(left) = approvals::time_left(app, withdrawal.updated_at) {
        return transactions::defer(app, withdrawal, left.min(next_look(app, withdrawal))).await;
    }
    let refused = Move::to(State::AwaitingApproval, Due::In(LEASE)).because(FailureReason::NotApprovedInTime);
    let refused = transactions::advance(app, withdrawal, refused).await?;
    outcomes::release_unless_paid(app, &refused, FailureReason::NotApprovedInTime).await
}

/// `awaiting_approval → reserved`, once enough people have approved the same payout; before that the approval is counted.
pub async fn approve(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Undecided> {
    let Undecided { withdrawal, seen } = undecided(app, decision, id).await?;
    if approvals::time_left(app, withdrawal.updated_at).is_none() {
        return Err(Error::StaleState);
    }
    let needed = needed(app, &withdrawal);
    let mut tx = app.db.begin().await?;
    transactions::lock(&mut *tx, &withdrawal).await?;
    let count = approvals::approve(app, &mut tx, withdrawal.subject(), decision, needed).await?;
    let moved = count.approved.map(|approved| Move::to(State::Reserved, Due::Now).with_approval(approved));
    let after = match &moved {
        Some(to) => transactions::advance_within(app, &mut *tx, &withdrawal, to).await?,
        None => withdrawal.clone(),
    };
    if count.recorded || moved.is_some() {
        let entry = Entry::of(&decision.actor, "withdrawal.approved", "transaction", id).change(
            json!({"state": withdrawal.state.name(), "approvals_needed": needed}),
            json!({"state": after.state.name(), "approvals": count.given, "note": decision.note}),
        );
        audit::record(app, &mut *tx, entry).await?;
    }
    tx.commit().await?;
    app.crash.at("withdrawal.approved")?;
    if let Some(to) = &moved {
        transactions::announce(app, &withdrawal, to);
    }
    Ok(Undecided { withdrawal: after, seen })
}

/// Refused: the row says so first, then the money is released, now or by the worker. A row that forgot, with an older database, that it was
/// paid or is about to be is brought up to the ledger instead.
pub async fn decline(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Undecided> {
    let Undecided { withdrawal, seen } = undecided(app, decision, id).await?;
    if restored::bring_up_to_ledger(app, &withdrawal).await?.is_some() {
        return Err(Error::StaleState);
    }
    let to = Move::to(State::AwaitingApproval, Due::In(LEASE)).because(FailureReason::Declined);
    let mut tx = app.db.begin().await?;
    transactions::lock(&mut *tx, &withdrawal).await?;
    approvals::decline(app, &mut tx, withdrawal.subject(), decision).await?;
    let declined = transactions::advance_within(app, &mut *tx, &withdrawal, &to).await?;
    let entry = Entry::of(&decision.actor, "withdrawal.declined", "transaction", id).change(
        json!({"state": withdrawal.state.name()}),
        json!({"reason": FailureReason::Declined.name(), "note": decision.note}),
    );
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    app.crash.at("withdrawal.declined")?;
    let withdrawal = transactions::step_inline(app, &declined, Box::pin(step(app, &declined))).await?;
    Ok(Undecided { withdrawal, seen })
}

/// What is decided about, if this person may and it is what they saw.
async fn undecided(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Undecided> {
    let undecided = find(app, id).await?;
    if undecided.withdrawal.user_id == decision.by {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    let row = &undecided.withdrawal;
    // What is on hold is for `manual_review`.
    let waits = row.state == State::AwaitingApproval && row.failure_reason.is_none() && row.held.is_none();
    let is_seen = undecided.seen.as_ref().is_some_and(|(_, hash)| *hash == decision.seen);
    if waits && is_seen { Ok(undecided) } else { Err(Error::StaleState) }
}

pub async fn find(app: &App, id: Uuid) -> Result<Undecided> {
    let row = transactions::find(app, id).await.map_err(|error| match error {
        Error::NotFound(_) => Error::NotFound("withdrawal"),
        other => other,
    })?;
    if row.kind != Kind::Withdrawal {
        return Err(Error::NotFound("withdrawal"));
    }
    // One that was written again from the ledger (`restored`) goes nowhere, and waits for nobody's approval.
    let seen = if row.bank_account_id.is_some() { seen_if_decrypted(app, &row).await? } else { None };
    Ok(Undecided { withdrawal: row, seen })
}

async fn seen_if_decrypted(app: &App, withdrawal: &Transaction) -> Result<Option<(Details, SubjectHash)>> {
    match seen_of(app, withdrawal).await {
        Ok(seen) => Ok(Some(seen)),
        Err(error @ Error::Unavailable(_)) => Err(error),
        Err(error) => {
            tracing::error!(transaction.id = %withdrawal.id, error = error.chain(), "bank details cannot be decrypted");
            Ok(None)
        }
    }
}

/// A page of what waits, newest first. A row whose bank details cannot be decrypted is listed without them.
pub async fn list(app: &App, before: Option<Uuid>, limit: i64) -> Result<Vec<Undecided>> {
    let ids = store::awaiting(&app.db, before, limit).await?;
    let mut waiting = Vec::new();
    for withdrawal in transactions::find_all(app, &ids).await? {
        let seen = seen_if_decrypted(app, &withdrawal).await?;
        waiting.push(Undecided { withdrawal, seen });
    }
    Ok(waiting)
}
