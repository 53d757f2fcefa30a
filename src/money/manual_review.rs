//! Transactions that a person must look at: listed with their reason, and resolved with a note, one by one or many by reason and time.
//!
//! | action | what it does | who |
//! |---|---|---|
//! | `retry` | the row goes on from the state that it has, as if nothing had failed yet: the ledger and Revio decide, never the person | one |
//! | `dismiss` | nothing more is to become of it: it comes to an end, and the same hold is not made again | one |
//! | `release` | a withdrawal of which Revio will never say a last word is given up, and its money is free again; unless Revio calls it paid: then it is complete | two, of each row |
//!
//! All are audited.

pub mod routes;

use chrono::TimeDelta;
use ledger::Leg;
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::money::approvals::{self, ApprovalDecision, SubjectHash};
use crate::money::suspense;
use crate::money::transactions::{self, Due, FailureReason, Hold, Kind, Move, State, Transaction};
use crate::platform::error::{Error, Reason, Result};
use crate::platform::text_enum::text_enum;

text_enum! {
    pub enum Resolution {
        Retry = "retry",
        Dismiss = "dismiss",
        Release = "release",
    }
}

/// Of different people: one alone could wait for Revio's payment and have the money twice.
const RELEASES_NEEDED: i64 = 2;

/// Longer than any transfer is on its way.
const SETTLED_AFTER: TimeDelta = TimeDelta::hours(1);

/// Whether the ledger has, or may yet get, something of the row that its state does not say: nobody would look after it. What a
/// lookup does not find may still be on its way.
async fn may_have_moved(app: &App, row: &Transaction) -> Result<bool> {
    let recorded = async |legs: &[Leg]| app.ledger.has(row.id, legs).await;
    let is_recent = row.held.as_ref().is_none_or(|held| app.clock.now() - held.at < SETTLED_AFTER);
    Ok(match (row.kind, row.state) {
        (_, State::Completed | State::Rejected) => false,
        // Revio has not heard of it, so nobody paid; unless the row has forgotten that.
        (Kind::Deposit, State::Initiated) => recorded(&[Leg::Main, Leg::Unmatched]).await?,
        // The steps that failed may have been those that book it, a moment ago.
        (Kind::Deposit, _) if row.is_held_for(&[Hold::GaveUp]) => {
            is_recent || recorded(&[Leg::Main, Leg::Unmatched]).await? || suspense::noted(app, row.id).await?.is_some()
        }
        (Kind::Withdrawal, State::Failed | State::Cancelled) if row.is_held_for(&[Hold::GaveUp]) => {
            is_recent || recorded(&[Leg::Late, Leg::Receivable]).await?
        }
        (Kind::Deposit, _) | (Kind::Withdrawal, State::Failed | State::Cancelled) => false,
        (Kind::Adjustment, State::Initiated) => {
            !row.is_held_for(&[Hold::NotApproved, Hold::PaidTwice]) || recorded(&[Leg::Main]).await?
        }
        // One that waits for its approval was booked in a database that was lost, or not at all.
        (Kind::Adjustment, _) => recorded(&[Leg::Main]).await?,
        // What could not be taken, or put back where somebody has it already, is settled by a correction.
        (Kind::Refund | Kind::Chargeback | Kind::ChargebackReversal, State::Initiated)
            if row.is_held_for(&[Hold::PaidTwice, Hold::Contradiction]) =>
        {
            recorded(&[Leg::Main]).await?
        }
        (Kind::ChargebackReversal, State::Failed) => {
            !row.is_held_for(&[Hold::PaidTwice]) || recorded(&[Leg::Return]).await?
        }
        // The ledger has put it back, and its item had no room for it.
        (Kind::Refund | Kind::Chargeback, State::Failed) if row.is_held_for(&[Hold::Contradiction]) => {
            !recorded(&[Leg::Return]).await?
        }
        // Nor is what comes back of a debt that was given up the customer's: people book it.
        (Kind::Refund | Kind::Chargeback, State::Failed) if row.is_held_for(&[Hold::PaidTwice]) => {
            recorded(&[Leg::Return]).await?
        }
        // One whose money is in suspense is booked, and nothing more will be.
        (Kind::Refund | Kind::Chargeback | Kind::ChargebackReversal, _) => !recorded(&[Leg::Unmatched]).await?,
        (Kind::Withdrawal, _) => true,
    })
}

/// The end of a row that a person has closed.
fn end_of(row: &Transaction) -> State {
    match (row.kind, row.state) {
        (Kind::Adjustment, State::Initiated) => State::Cancelled,
        (_, State::Initiated | State::AwaitingPayment) => State::Failed,
        (_, state) => state,
    }
}

/// What a person says about held rows.
pub struct Review {
    pub how: Resolution,
    pub decision: ApprovalDecision,
    /// For the audit log.
    pub note: String,
}

/// The row as it is then: after the first of two people's `release` it is still held.
pub async fn resolve(app: &App, review: &Review, id: Uuid) -> Result<Transaction> {
    let row = held(app, id).await?;
    match review.how {
        Resolution::Retry => retry(app, &review.decision.actor, &row, &review.note).await,
        Resolution::Dismiss => dismiss(app, review, &row).await,
        Resolution::Release => release(app, review, row).await,
    }
}

async fn held(app: &App, id: Uuid) -> Result<Transaction> {
    let row = transactions::find(app, id).await?;
    if row.held.is_some() { Ok(row) } else { Err(Error::NotFound("held transaction")) }
}

fn entry(actor: &Actor, action: &'static str, row: &Transaction, note: &str) -> Entry {
    let reason = row.held.as_ref().map(|held| &held.reason);
    Entry::of(actor, action, "transaction", row.id)
        .change(json!({"held_reason": reason, "state": row.state.name()}), json!({"note": note}))
}

/// The row goes on as if nothing had failed yet.
pub async fn retry(app: &App, actor: &Actor, row: &Transaction, note: &str) -> Result<Transaction> {
    let mut tx = app.db.begin().await?;
    let resumed = transactions::resume(app, &mut *tx, row, app.clock.now()).await?;
    audit::record(app, &mut *tx, entry(actor, "transaction.retried", row, note)).await?;
    tx.commit().await?;
    app.notifier.wake();
    Ok(resumed)
}

async fn dismiss(app: &App, review: &Review, row: &Transaction) -> Result<Transaction> {
    if may_have_moved(app, row).await? {
        return Err(Error::field(
            "action",
            "cannot be dismiss while money is reserved for it or has moved, or may have in the last hour: retry",
        ));
    }
    let end = end_of(row);
    // Of a deposit the payer may still have a link: it is called off at Revio.
    let due = if row.kind == Kind::Deposit && row.provider.id.is_some() { Due::Now } else { Due::Never };
    let to = Move::to(end, due).because(FailureReason::ClosedByReview);
    let mut tx = app.db.begin().await?;
    let mut closed = transactions::close_hold(app, &mut *tx, row).await?;
    if end != row.state {
        closed = transactions::advance_within(app, &mut *tx, &closed, &to).await?;
    }
    audit::record(app, &mut *tx, entry(&review.decision.actor, "transaction.dismissed", row, &review.note)).await?;
    tx.commit().await?;
    if end != row.state {
        transactions::announce(app, row, &to);
    }
    Ok(closed)
}

/// Gives a withdrawal up, once two people have said so: the row says it first, then its money is free again. Should Revio pay it after
/// all, it is taken from the wallet, or owed.
async fn release(app: &App, review: &Review, row: Transaction) -> Result<Transaction> {
    let open = matches!(row.state, State::Reserved | State::AwaitingApproval | State::Submitting | State::Submitted);
    if row.kind != Kind::Withdrawal || !open {
        return Err(Error::field("action", "cannot be release: nothing is reserved for it"));
    }
    if row.user_id == review.decision.by {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    // Another hold, or the same after something happened, is decided about anew.
    let seen = SubjectHash::of(&[b"release", row.id.as_bytes(), &row.version.to_be_bytes()]);
    let decision = ApprovalDecision { seen, ..review.decision.clone() };
    let mut tx = app.db.begin().await?;
    transactions::lock(&mut *tx, &row).await?;
    let count = approvals::approve(app, &mut tx, row.subject(), &decision, RELEASES_NEEDED).await?;
    audit::record(app, &mut *tx, entry(&decision.actor, "transaction.release_approved", &row, &review.note)).await?;
    if count.approved.is_none() {
        tx.commit().await?;
        return Ok(row);
    }
    let to = Move::to(State::Reserved, Due::Now).because(FailureReason::ClosedByReview);
    let freed = transactions::resume(app, &mut *tx, &row, app.clock.now()).await?;
    let freed = transactions::advance_within(app, &mut *tx, &freed, &to).await?;
    tx.commit().await?;
    transactions::announce(app, &row, &to);
    app.notifier.wake();
    Ok(freed)
}

/// What became of many.
pub struct Resolved {
    pub resolved: Vec<Uuid>,
    /// Those of which a second person must say the same.
    pub awaiting: Vec<Uuid>,
    /// Those that could not be, and why.
    pub refused: Vec<(Uuid, Error)>,
}

/// Each for itself: one that is refused keeps no other back.
pub async fn resolve_many(app: &App, review: &Review, rows: &[Uuid]) -> Result<Resolved> {
    let mut done = Resolved { resolved: Vec::new(), awaiting: Vec::new(), refused: Vec::new() };
    for &row in rows {
        match resolve(app, review, row).await {
            Ok(now) if now.held.is_some() => done.awaiting.push(row),
            Ok(_) => done.resolved.push(row),
            Err(error @ Error::Unavailable(_)) => return Err(error),
            Err(error) => done.refused.push((row, error)),
        }
    }
    Ok(done)
}
