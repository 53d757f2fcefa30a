//! The company's own entries: settlements, float, fees, losses, own funds, and what was nobody's. One proposes (the maker), another approves
//! (the checker), and only then the ledger is asked. The table of kinds is in `journals/kinds.rs`, for people in `docs/journals.md`.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> awaiting_approval: propose (row written, nothing moves)
//!     awaiting_approval --> initiated: approve (never by its maker)
//!     awaiting_approval --> cancelled: decline, or a person closed it
//!     awaiting_approval --> expired: expire (nobody decided in 7 days)
//!     initiated --> completed: book (the ledger moved it)
//!     initiated --> in_transit: book (a settlement, a float top-up, the ledger holds it)
//!     initiated --> rejected: the ledger refused, or what is left would not cover what is owed, or it is booked already, or its item is cleared
//!     initiated --> cancelled: who proposed it may not any more, or a person closed it
//!     in_transit --> in_transit: land (what is said of it, before the ledger is told)
//!     in_transit --> completed: booking::land (it has arrived, posted)
//!     in_transit --> returned: booking::land (it came back, voided)
//!     in_transit --> cancelled: a person closed it, for the ledger has lost what it held (TigerBeetle was put back to an earlier moment)
//! ```
//!
//! The rules are those of corrections (`adjustments`): an approval names a hash over all of the row, maker and checkers are looked at again
//! right before the ledger is asked (`begin_booking`), two approve above the second of `APPROVAL_THRESHOLDS`, which look at what of the kind
//! is asked for within 24 hours, and of a `suspense_release` always two. Whether money on its way has arrived is said by somebody who did not
//! propose it, once, with the line that proves it; the row has it before the ledger is told.
//!
//! What the ledger is asked for is in `journals/booking.rs`. The row is the job, as in `transactions`.

mod booking;
mod journal;
mod kinds;
pub mod routes;
mod store;

use ledger::AccountCode;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::staff::StaffMember;
use crate::identity::users;
use crate::money::approvals::{self, ApprovalDecision, ApprovalValidity, DECIDED_WITHIN, Entitled, Proposal};
use crate::money::suspense;
use crate::money::transactions::Direction;
use crate::platform::batcher::LockWait;
use crate::platform::database::Transaction;
use crate::platform::error::{Error, Reason, Result};
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::permissions::{JournalsApprove, JournalsCreate, Permission};
use crate::platform::queue::{self, LEASE, Lease, Next, RETRY_MINUTES, Work};
use crate::platform::text_enum::text_enum;

use journal::Move;
pub use journal::{Arrival, Evidence, Failure, Journal, JournalFailureView, NewJournal, Outcome, State};
pub use kinds::{EvidenceKind, Kind, OpenAccount};
pub use store::Filter;

const HELD_CHARS_MAX: usize = 300;

text_enum! {
    /// What becomes of a journal that a person had to look at.
    #[schema(as = JournalResolution)]
    pub enum Resolution {
        /// It goes on from the state that it has: the ledger decides.
        Retry = "retry",
        /// Nothing is to become of it.
        Dismiss = "dismiss",
    }
}

pub struct Proposed {
    pub journal: Journal,
    pub replayed: bool,
}

/// `→ awaiting_approval`: the row is written, nothing moves.
pub async fn propose(app: &App, by: &StaffMember, new: NewJournal, key: IdempotencyKey) -> Result<Proposed> {
    let maker = by.id;
    if new.user_id == Some(maker) {
        return Err(Error::Forbidden(Reason::OwnAccount));
    }
    let request_hash = request_hash(&new);
    if let Some(repeat) = find_repeat(app, maker, &key, &request_hash).await? {
        return Ok(repeat);
    }
    if let Some(user_id) = new.user_id {
        users::find(app, user_id).await?;
    }
    if let Some(item) = new.item_id {
        suspense::check(app, item, new.amount).await?;
    }
    booking::check_object(app, &new).await?;
    let now = app.clock.now();
    let (id, due_at) = (app.clock.row_id(), now + DECIDED_WITHIN);
    let row = store::New { id, requested_by: maker, new: &new, key: &key, request_hash: &request_hash, now, due_at };
    let mut tx = app.db.begin().await?;
    if !store::insert(&mut *tx, &row).await? {
        // The same key at the same moment: that one's row is there now, ours never was.
        tx.rollback().await?;
        let repeat = find_repeat(app, maker, &key, &request_hash).await?;
        return repeat.ok_or_else(|| Error::internal("the row of an idempotency key is gone"));
    }
    audit::record(app, &mut *tx, Entry::of(&by.actor, "journal.proposed", "journal", id).with(audit_view(&new)))
        .await?;
    tx.commit().await?;
    app.crash.at("journal.proposed")?;
    Ok(Proposed { journal: find(app, id).await?, replayed: false })
}

fn request_hash(new: &NewJournal) -> RequestHash {
    let Evidence { kind, reference, sha256, date } = &new.evidence;
    let what =
        (new.kind.name(), new.amount.minor(), new.amount.currency().code(), new.account, new.user_id, new.item_id);
    RequestHash::of("journal", &(what, kind.name(), reference, hex::encode(sha256), date.to_string(), &new.reason))
}

/// For the audit log.
fn audit_view(new: &NewJournal) -> serde_json::Value {
    json!({"kind": new.kind, "amount": new.amount.minor(), "currency": new.amount.currency().code(), "account": new.account,
        "user_id": new.user_id, "customer": new.user_id, "item": new.item_id, "evidence": {"kind": new.evidence.kind, "reference": new.evidence.reference,
        "sha256": hex::encode(new.evidence.sha256), "date": new.evidence.date}, "reason": new.reason})
}

async fn find_repeat(app: &App, maker: Uuid, key: &IdempotencyKey, hash: &RequestHash) -> Result<Option<Proposed>> {
    let Some((id, stored)) = store::find_by_key(&app.db, maker, key.as_str()).await? else { return Ok(None) };
    hash.require_same(&stored)?;
    Ok(Some(Proposed { journal: find(app, id).await?, replayed: true }))
}

/// `awaiting_approval → initiated`, and the ledger is asked at once; where two are needed, the first is counted.
pub async fn approve(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Journal> {
    let journal = undecided(app, decision, id).await?;
    let mut tx = app.db.begin().await?;
    lock(&mut tx, &journal).await?;
    let count = approvals::approve(app, &mut tx, journal.subject(), decision, journal.needed(app)).await?;
    let to = count
        .approved
        .map(|approved| Move { approved: Some(approved), ..Move::to(State::Initiated).due(app.clock.now() + LEASE) });
    let initiated = match &to {
        Some(to) => advance_within(app, &mut tx, &journal, to).await?,
        None => journal.clone(),
    };
    if count.recorded || to.is_some() {
        let after = json!({"state": initiated.state, "approvals": count.given, "note": decision.note});
        let entry = Entry::of(&decision.actor, "journal.approved", "journal", id);
        audit::record(app, &mut *tx, entry.change(json!({"state": journal.state}), after)).await?;
    }
    tx.commit().await?;
    let Some(to) = to else { return Ok(journal) };
    announce(app, &journal, &to);
    app.crash.at("journal.approved")?;
    step_inline(app, initiated).await
}

/// `awaiting_approval → cancelled`.
pub async fn decline(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Journal> {
    let journal = undecided(app, decision, id).await?;
    if booking::is_in_ledger(app, &journal).await? {
        return Err(Error::StaleState);
    }
    let to = Move::to(State::Cancelled).because(Failure::Declined);
    let mut tx = app.db.begin().await?;
    lock(&mut tx, &journal).await?;
    approvals::decline(app, &mut tx, journal.subject(), decision).await?;
    let cancelled = advance_within(app, &mut tx, &journal, &to).await?;
    let entry = Entry::of(&decision.actor, "journal.declined", "journal", id)
        .change(json!({"state": journal.state}), json!({"state": cancelled.state, "note": decision.note}));
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    announce(app, &journal, &to);
    Ok(cancelled)
}

/// What is decided about, if this person may and it is what they saw.
async fn undecided(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Journal> {
    let journal = find(app, id).await?;
    if decision.by == journal.requested_by || journal.user_id == Some(decision.by) {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    let waits = journal.state == State::AwaitingApproval && approvals::time_left(app, journal.updated_at).is_some();
    if waits && journal.hash() == decision.seen { Ok(journal) } else { Err(Error::StaleState) }
}

/// `in_transit → completed | returned`: somebody has the line that says what became of it. The row has it first, then the ledger is told. The
/// same line again changes nothing.
///
/// # Errors
/// [`Error::Forbidden`] for who proposed it, and for whoever may not approve, or not yet; [`Error::StaleState`] when it is not on its way, or
/// something else was said of it. One on hold takes another word: the ledger has the last one, whatever was said before.
pub async fn land(app: &App, by: &StaffMember, id: Uuid, arrival: Arrival) -> Result<Journal> {
    let journal = find(app, id).await?;
    if by.id == journal.requested_by {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    if journal.arrival.as_ref() == Some(&arrival) {
        return if journal.state == State::InTransit { step_inline(app, journal).await } else { Ok(journal) };
    }
    let is_said = journal.arrival.is_some() && journal.held_reason.is_none();
    if journal.state != State::InTransit || is_said {
        return Err(Error::StaleState);
    }
    let action = match arrival.outcome {
        Outcome::Arrived => "journal.arrived",
        Outcome::Returned => "journal.returned",
    };
    let line = json!({"reference": arrival.reference, "sha256": hex::encode(arrival.sha256), "date": arrival.date});
    let to = Move { arrival: Some(arrival), ..Move::to(State::InTransit).due(app.clock.now() + LEASE) };
    let mut tx = app.db.begin().await?;
    lock(&mut tx, &journal).await?;
    approvals::require_approver(app, &mut tx, by.id, JournalsCreate::ROLES).await?;
    let noted = advance_within(app, &mut tx, &journal, &to).await?;
    let entry = Entry::of(&by.actor, action, "journal", id);
    audit::record(app, &mut *tx, entry.change(json!({"state": journal.state}), line)).await?;
    tx.commit().await?;
    app.crash.at("journal.arrival_noted")?;
    step_inline(app, noted).await
}

/// Ends a hold. One that the ledger has, or may have booked, is not dismissed.
pub async fn resolve(app: &App, actor: &Actor, id: Uuid, how: Resolution, note: &str) -> Result<Journal> {
    let journal = find(app, id).await?;
    let Some(reason) = journal.held_reason.clone() else { return Err(Error::StaleState) };
    let (action, to) = match how {
        Resolution::Retry => ("journal.retried", Move::to(journal.state).due(app.clock.now())),
        Resolution::Dismiss if was_asked(&journal) || booking::is_in_ledger(app, &journal).await? => {
            return Err(Error::field("action", "cannot be dismiss once the ledger was asked: retry"));
        }
        Resolution::Dismiss => ("journal.dismissed", Move::to(State::Cancelled).because(Failure::ClosedByReview)),
    };
    let mut tx = app.db.begin().await?;
    let resolved = advance_within(app, &mut tx, &journal, &to).await?;
    let entry = Entry::of(actor, action, "journal", id).change(json!({"held_reason": reason}), json!({"note": note}));
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    announce(app, &journal, &to);
    Ok(resolved)
}

/// Whether the ledger was asked, and may not have it yet. Of what is on its way it has said that it holds it: what is not there any more is lost.
fn was_asked(journal: &Journal) -> bool {
    journal.booking_at.is_some() && journal.state != State::InTransit
}

pub async fn find(app: &App, id: Uuid) -> Result<Journal> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("journal"))
}

/// A journal ends a break of this row: as far as it moved Revio's account, what the row lacked is booked.
pub async fn settle(tx: &mut PgConnection, journal: &Journal, row: Uuid) -> Result<()> {
    let direction = match journal.change_of(AccountCode::ProviderBalance) {
        0 => return Ok(()),
        came if came > 0 => Direction::Credit,
        _ => Direction::Debit,
    };
    Ok(store::set_settled(tx, journal.id, row, direction).await?)
}

/// A journal ends a break of this row's fee: what Revio took for it is booked.
pub async fn settle_fee(tx: &mut PgConnection, journal: &Journal, row: Uuid) -> Result<()> {
    Ok(store::set_fee_of(tx, journal.id, row).await?)
}

/// Whether journals have booked what Revio took for the row.
pub async fn stand_for_fee(app: &App, row: Uuid) -> Result<bool> {
    Ok(app.batchers.look_up(app, row, fees_of).await?.is_some())
}

async fn fees_of(app: App, lock_wait: LockWait, rows: Vec<Uuid>) -> Result<Vec<(Uuid, ())>> {
    let booked = store::fees_of(app.batch_db.of(lock_wait), &rows).await?;
    Ok(booked.into_iter().map(|row| (row, ())).collect())
}

/// Newest first.
pub async fn list(app: &App, filter: &Filter) -> Result<Vec<Journal>> {
    Ok(store::list(&app.db, filter).await?)
}

pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    queue::step_due(Journals(app), app.queue(), limit).await
}

struct Journals<'a>(&'a App);

impl Work for Journals<'_> {
    type Claimed = store::Claimed;

    fn label<'a>(&'a self, _: &'a store::Claimed) -> &'a str {
        "journal"
    }

    fn id(claimed: &store::Claimed) -> Uuid {
        claimed.id
    }

    async fn claim(&self, lease: Lease, limit: i64) -> sqlx::Result<Vec<store::Claimed>> {
        store::claim_due(&self.0.db, lease, limit).await
    }

    async fn step(&self, claimed: &store::Claimed) -> Result<&'static str> {
        step(self.0, &find(self.0, claimed.id).await?).await?;
        Ok("done")
    }

    async fn failed(&self, claimed: &store::Claimed, error: &Error) -> Result<()> {
        failed(self.0, claimed.id, error).await
    }
}

/// One step of one journal. Safe to repeat: the ledger's ids are the row's.
async fn step(app: &App, row: &Journal) -> Result<Journal> {
    match (row.state, &row.arrival) {
        (State::AwaitingApproval, _) => expire(app, row).await,
        (State::Initiated, _) => book(app, row).await,
        (State::InTransit, Some(arrival)) => booking::land(app, row, arrival.outcome).await,
        // On its way: somebody says when it has arrived.
        (State::InTransit, None) => rest(app, row).await,
        (State::Completed | State::Returned | State::Rejected | State::Cancelled | State::Expired, _) => {
            booking::end_again(app, row).await?;
            rest(app, row).await
        }
    }
}

async fn rest(app: &App, row: &Journal) -> Result<Journal> {
    store::defer(&app.db, row, None, 0).await?;
    Ok(row.clone())
}

async fn step_inline(app: &App, row: Journal) -> Result<Journal> {
    let failed = |error: Error| async move { failed(app, row.id, &error).await };
    queue::step_inline(&app.notifier, Box::pin(step(app, &row)), failed, find(app, row.id)).await
}

async fn failed(app: &App, id: Uuid, error: &Error) -> Result<()> {
    let row = find(app, id).await?;
    if row.due_at.is_none() {
        return Ok(());
    }
    match app.queue().after(id, row.attempts, error, RETRY_MINUTES) {
        Next::Again { due_at, attempts } => Ok(store::defer(&app.db, &row, Some(due_at), attempts).await?),
        Next::GiveUp { failures } => {
            let reason = format!("gave up after {failures} failures: {}", error.chain());
            hold(app, &row, &reason).await.map(drop)
        }
    }
}

/// A person must look: the state stays, nothing is due.
async fn hold(app: &App, row: &Journal, reason: &str) -> Result<Journal> {
    let reason: String = reason.chars().take(HELD_CHARS_MAX).collect();
    if !store::hold(&app.db, row, &reason, app.clock.now()).await? {
        return Err(Error::StaleState);
    }
    tracing::error!(journal.id = %row.id, state = row.state.name(), reason, "a journal is on hold");
    app.metrics.transactions_held.with_label_values(&["journal"]).inc();
    find(app, row.id).await
}

/// `awaiting_approval → expired`: nobody decided. One that the ledger has was decided in a database that was lost.
async fn expire(app: &App, row: &Journal) -> Result<Journal> {
    if let Some(left) = approvals::time_left(app, row.updated_at) {
        store::defer(&app.db, row, Some(app.clock.now() + left), 0).await?;
        return Ok(row.clone());
    }
    if booking::is_in_ledger(app, row).await? {
        return hold(app, row, "the ledger has booked it already: PostgreSQL is behind").await;
    }
    advance(app, row, Move::to(State::Expired).because(Failure::NotApprovedInTime)).await
}

/// `initiated → …`, if it is what was approved.
async fn book(app: &App, row: &Journal) -> Result<Journal> {
    // It does not expire any more: the transfer may have been sent, and then it must be asked for until it is known.
    if approvals::validity(app, row.subject(), &row.hash()).await? == ApprovalValidity::No {
        return hold(app, row, "the journal is not what was approved").await;
    }
    match begin_booking(app, row).await? {
        Some(ended) => Ok(ended),
        None => booking::book(app, row).await,
    }
}

/// The last look at maker and checkers. `Some`: it does not come to the booking.
async fn begin_booking(app: &App, row: &Journal) -> Result<Option<Journal>> {
    // One that the ledger has was looked at in a database that was lost.
    if row.booking_at.is_some() || booking::is_in_ledger(app, row).await? {
        return Ok(None);
    }
    let mut tx = app.db.begin().await?;
    lock(&mut tx, row).await?;
    if booking::was_told(&mut tx, row).await? {
        let to = Move::to(State::Rejected).because(Failure::SetAsideBefore);
        return end_within(app, tx, row, &to).await.map(Some);
    }
    let (subject, hash, maker, created_at) = (row.subject(), row.hash(), row.requested_by, row.created_at);
    let (maker_roles, checker_roles) = (JournalsCreate::ROLES, JournalsApprove::ROLES);
    let proposal = Proposal { subject, hash, maker, created_at, maker_roles, checker_roles };
    match approvals::still_entitled(app, &mut tx, &proposal).await? {
        Entitled::Yes => {
            store::begin_booking(&mut *tx, row.id, app.clock.now()).await?;
            tx.commit().await?;
            app.crash.at("journal.booking")?;
            Ok(None)
        }
        Entitled::MakerIsNot => {
            let to = Move::to(State::Cancelled).because(Failure::MakerNotEntitled);
            end_within(app, tx, row, &to).await.map(Some)
        }
        Entitled::CheckersAreNot => {
            tx.rollback().await?;
            hold(app, row, "who approved the journal may not any more").await.map(Some)
        }
    }
}

/// Locks the row for the rest of the SQL transaction, if it is still as it was read.
async fn lock(tx: &mut PgConnection, row: &Journal) -> Result<()> {
    if store::lock(tx, row.id, row.version).await? { Ok(()) } else { Err(Error::StaleState) }
}

/// Moves the row on, if it is still as it was read.
async fn advance(app: &App, row: &Journal, to: Move) -> Result<Journal> {
    app.crash.at("journal.before_move")?;
    let moved = end_within(app, app.db.begin().await?, row, &to).await?;
    app.crash.at("journal.moved")?;
    Ok(moved)
}

/// The last that the SQL transaction does.
async fn end_within(app: &App, mut tx: Transaction, row: &Journal, to: &Move) -> Result<Journal> {
    let moved = advance_within(app, &mut tx, row, to).await?;
    tx.commit().await?;
    announce(app, row, to);
    Ok(moved)
}

async fn advance_within(app: &App, tx: &mut PgConnection, row: &Journal, to: &Move) -> Result<Journal> {
    if !store::advance(&mut *tx, row, to, app.clock.now()).await? {
        return Err(Error::StaleState);
    }
    store::find(tx, row.id).await?.ok_or(Error::NotFound("journal"))
}

/// Tells metrics, log and worker of a move that is in the database.
fn announce(app: &App, row: &Journal, to: &Move) {
    app.metrics.transaction_states.with_label_values(&[row.kind.name(), to.state.name()]).inc();
    tracing::info!(journal.id = %row.id, from = row.state.name(), to = to.state.name(), "journal moved");
    if to.due_at.is_some_and(|due_at| due_at <= app.clock.now()) {
        app.notifier.wake();
    }
}

/// Brings the gauges of what waits up to date.
pub async fn measure(app: &App) -> Result<()> {
    app.queue().report(&store::depths(&app.db, app.clock.now()).await?);
    Ok(())
}
