//! Corrections by staff: one proposes (the maker), another approves (the checker), and only then money moves, between the
//! customer's wallet and an account of the company's. History is never changed: a correction is a new transfer.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> awaiting_approval: propose (rows written, nothing moves)
//!     awaiting_approval --> initiated: approve (by neither the maker nor the customer)
//!     awaiting_approval --> cancelled: decline
//!     awaiting_approval --> expired: expire (nobody decided in 7 days)
//!     awaiting_approval --> completed: the ledger has booked it (PostgreSQL was put back to an earlier moment)
//!     initiated --> completed: carry_out (the ledger moved it)
//!     initiated --> rejected: carry_out (the ledger refused, the wallet does not hold it or is closed; or its item in suspense is cleared)
//!     initiated --> cancelled: who proposed it may not any more, or a person closed it (`manual_review`)
//! ```
//!
//! One checker is enough, or two above `ADJUSTMENT_THRESHOLDS`, which look at what of the customer is corrected within 24 hours. Maker and
//! checkers are looked at again right before the ledger is asked (`begin_booking`).
//!
//! The row in `transactions` is the customer's and has no key; the key, the reason and the maker are in `adjustments`. A
//! debit takes only what the wallet holds: what a customer owes is no business of a correction.

mod by_hand;
pub mod routes;
mod store;

use ledger::{Account, AccountCode, Amount, LedgerError, Leg, Refusal, Transfer, TransferCode, TransferId};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Entry};
use crate::identity::staff::StaffMember;
use crate::identity::users;
use crate::money::approvals::{
    self, ApprovalDecision, ApprovalValidity, DECIDED_WITHIN, Entitled, Proposal, SubjectHash,
};
use crate::money::receivables::{self, Available};
use crate::money::suspense::{self, ItemKind, NewItem};
use crate::money::transactions::{self, Direction, Due, FailureReason, Hold, Kind, Move, Outcome, State, Transaction};
use crate::platform::error::{Decline, Error, Reason, Result};
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::permissions::{AdjustmentsApprove, AdjustmentsCreate, Permission};
use crate::platform::{clock::DateTime, queue::LEASE, text_enum::text_enum};

use by_hand::is_credited;
pub use by_hand::{ByHand, booked_by_hand, hold_as_corrected, hold_if_corrected, hold_if_named, hold_if_written_off};
pub use store::settle;

const BOOKED_SINCE: &str = "the same was booked of its transaction by Revio's word after the adjustment was asked for";

text_enum! {
    /// The company's accounts that may stand on the other side.
    pub enum Counterpart {
        ProviderBalance = "provider_balance",
        Bank = "bank",
        Suspense = "suspense",
        Equity = "equity",
        FeeIncome = "fee_income",
        ChargebackLosses = "chargeback_losses",
    }
}

impl Counterpart {
    fn account(self) -> AccountCode {
        match self {
            Self::ProviderBalance => AccountCode::ProviderBalance,
            Self::Bank => AccountCode::Bank,
            Self::Suspense => AccountCode::Suspense,
            Self::Equity => AccountCode::Equity,
            Self::FeeIncome => AccountCode::FeeIncome,
            Self::ChargebackLosses => AccountCode::ChargebackLosses,
        }
    }
}

pub struct NewAdjustment {
    pub user_id: Uuid,
    pub direction: Direction,
    pub amount: Amount,
    pub counterpart: Counterpart,
    pub reason: String,
    /// What it clears, where it takes money from suspense.
    pub item_id: Option<Uuid>,
    /// The customer's transaction that it sets right, if it is about one.
    pub about_id: Option<Uuid>,
}

pub struct Adjustment {
    pub transaction: Transaction,
    pub direction: Direction,
    pub counterpart: Counterpart,
    pub reason: String,
    pub requested_by: Uuid,
    pub item_id: Option<Uuid>,
    pub about_id: Option<Uuid>,
    /// What of the customer is to be corrected within 24 hours of this one, itself included. Later ones count, too: of two at the same
    /// moment at least one sees the other.
    day_minor: i64,
    /// When maker and checkers were looked at for the last time.
    booking_at: Option<DateTime>,
}

impl Adjustment {
    fn of(transaction: Transaction, row: store::Row) -> Self {
        let store::Row {
            direction, counterpart, reason, requested_by, item_id, about_id, day_minor, booking_at, ..
        } = row;
        Self { transaction, direction, counterpart, reason, requested_by, item_id, about_id, day_minor, booking_at }
    }

    /// How many people besides the maker must approve it, by today's thresholds.
    pub fn needed(&self, app: &App) -> i64 {
        let amount = self.transaction.amount;
        let sum = Amount::new(self.day_minor, amount.currency()).unwrap_or(amount);
        app.config.adjustment_thresholds.needed(sum).saturating_add(1)
    }

    /// What the checker approves.
    pub fn hash(&self) -> SubjectHash {
        SubjectHash::of(&[
            b"adjustment",
            self.transaction.id.as_bytes(),
            self.transaction.user_id.as_bytes(),
            &self.transaction.amount.minor().to_be_bytes(),
            self.transaction.amount.currency().code().as_bytes(),
            self.direction.name().as_bytes(),
            self.counterpart.name().as_bytes(),
            self.reason.as_bytes(),
            self.requested_by.as_bytes(),
            self.item_id.as_ref().map_or(&[], |id| id.as_bytes().as_slice()),
            self.about_id.as_ref().map_or(&[], |id| id.as_bytes().as_slice()),
        ])
    }
}

pub struct Proposed {
    pub adjustment: Adjustment,
    pub replayed: bool,
}

/// `→ awaiting_approval`: both rows are written, nothing moves.
pub async fn propose(app: &App, by: &StaffMember, new: NewAdjustment, key: IdempotencyKey) -> Result<Proposed> {
    let maker = by.id;
    if new.user_id == maker {
        return Err(Error::Forbidden(Reason::OwnAccount));
    }
    let parts = (new.user_id, new.direction.name(), new.amount.minor(), new.amount.currency().code());
    let rest = (new.counterpart.name(), &new.reason, new.item_id);
    // Without a transaction as before there was one: older keys go on to be theirs.
    let request_hash = match new.about_id {
        None => RequestHash::of("adjustment", &(parts, rest.0, rest.1, rest.2)),
        Some(about) => RequestHash::of("adjustment", &(parts, rest, about)),
    };
    if let Some(repeat) = find_repeat(app, maker, &key, &request_hash).await? {
        return Ok(repeat);
    }
    let of_staff = users::find(app, new.user_id).await?.role.is_staff();
    if of_staff && new.direction == Direction::Credit {
        return Err(Error::StaffAccount);
    }
    if let Some(item) = new.item_id {
        suspense::check(app, item, new.amount).await?;
    }
    if let Some(about) = new.about_id {
        look_at_subject(app, &new, about).await?;
    }
    let now = app.clock.now();
    let (id, due_at) = (app.clock.row_id(), now + DECIDED_WITHIN);
    let row = store::New { id, requested_by: maker, new: &new, key: &key, request_hash: &request_hash, now, due_at };
    let mut tx = app.db.begin().await?;
    store::insert_transaction(&mut *tx, &row).await?;
    if !store::insert(&mut *tx, &row).await? {
        // The same key at the same moment: that one's rows are there now, ours never were.
        tx.rollback().await?;
        let repeat = find_repeat(app, maker, &key, &request_hash).await?;
        return repeat.ok_or_else(|| Error::internal("the row of an idempotency key is gone"));
    }
    let what = json!({"user_id": new.user_id, "direction": new.direction.name(), "amount": new.amount.minor(),
        "currency": new.amount.currency().code(), "counterpart": new.counterpart.name(), "reason": new.reason,
        "item": new.item_id, "about": new.about_id, "customer": new.user_id});
    audit::record(app, &mut *tx, Entry::of(&by.actor, "adjustment.proposed", "transaction", id).with(what)).await?;
    tx.commit().await?;
    app.crash.at("adjustment.proposed")?;
    Ok(Proposed { adjustment: find(app, id).await?, replayed: false })
}

/// What it is about is the same customer's, in the same currency: else it would be told on a page where it does not belong.
async fn look_at_subject(app: &App, new: &NewAdjustment, about: Uuid) -> Result<()> {
    let wrong = || Error::field("transaction_id", "is no transaction of this customer's in this currency");
    let row = match transactions::find(app, about).await {
        Err(Error::NotFound(_)) => return Err(wrong()),
        row => row?,
    };
    let fits = row.user_id == new.user_id && row.amount.currency() == new.amount.currency();
    if fits { Ok(()) } else { Err(wrong()) }
}

async fn find_repeat(app: &App, maker: Uuid, key: &IdempotencyKey, hash: &RequestHash) -> Result<Option<Proposed>> {
    let Some((id, stored)) = store::find_by_key(&app.db, maker, key.as_str()).await? else { return Ok(None) };
    hash.require_same(&stored)?;
    Ok(Some(Proposed { adjustment: find(app, id).await?, replayed: true }))
}

pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    transactions::step_due(app, &[Kind::Adjustment], limit, |app, row| async move { step(&app, &row).await }).await
}

/// One step of one adjustment. Safe to repeat: the transfer has the row's id.
async fn step(app: &App, row: &Transaction) -> Result<Transaction> {
    match row.state {
        State::AwaitingApproval => expire(app, row).await,
        State::Initiated => book(app, row).await,
        State::Completed | State::Rejected | State::Cancelled | State::Expired => transactions::rest(app, row).await,
        State::AwaitingPayment | State::Reserved | State::Submitting | State::Submitted | State::Failed => {
            Err(Error::internal(format!("an adjustment cannot be {}", row.state.name())))
        }
    }
}

/// `awaiting_approval → initiated`, and the ledger is asked at once; where two are needed, the first is counted.
pub async fn approve(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Adjustment> {
    let adjustment = undecided(app, decision, id).await?;
    let row = &adjustment.transaction;
    let mut tx = app.db.begin().await?;
    transactions::lock(&mut *tx, row).await?;
    let count = approvals::approve(app, &mut tx, row.subject(), decision, adjustment.needed(app)).await?;
    let to = count.approved.map(|approved| Move::to(State::Initiated, Due::In(LEASE)).with_approval(approved));
    let initiated = match &to {
        Some(to) => transactions::advance_within(app, &mut *tx, row, to).await?,
        None => row.clone(),
    };
    if count.recorded || to.is_some() {
        let after = json!({"state": initiated.state.name(), "approvals": count.given, "note": decision.note});
        let entry = Entry::of(&decision.actor, "adjustment.approved", "transaction", id);
        audit::record(app, &mut *tx, entry.change(json!({"state": row.state.name()}), after)).await?;
    }
    tx.commit().await?;
    let Some(to) = to else { return Ok(adjustment) };
    transactions::announce(app, row, &to);
    app.crash.at("adjustment.approved")?;
    let transaction = transactions::step_inline(app, &initiated, Box::pin(step(app, &initiated))).await?;
    Ok(Adjustment { transaction, ..adjustment })
}

/// `awaiting_approval → cancelled`.
pub async fn decline(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Adjustment> {
    let adjustment = undecided(app, decision, id).await?;
    let row = &adjustment.transaction;
    // Of a row that waits for its approval the ledger cannot know, unless PostgreSQL is an older one.
    if app.ledger.has(row.id, &[Leg::Main]).await? {
        return Err(Error::StaleState);
    }
    let to = Move::to(State::Cancelled, Due::Never).because(FailureReason::Declined);
    let mut tx = app.db.begin().await?;
    transactions::lock(&mut *tx, row).await?;
    approvals::decline(app, &mut tx, row.subject(), decision).await?;
    let transaction = transactions::advance_within(app, &mut *tx, row, &to).await?;
    let entry = Entry::of(&decision.actor, "adjustment.declined", "transaction", id)
        .change(json!({"state": row.state.name()}), json!({"state": transaction.state.name(), "note": decision.note}));
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    transactions::announce(app, row, &to);
    Ok(Adjustment { transaction, ..adjustment })
}

/// What is decided about, if this person may and it is what they saw.
async fn undecided(app: &App, decision: &ApprovalDecision, id: Uuid) -> Result<Adjustment> {
    let adjustment = find(app, id).await?;
    if decision.by == adjustment.requested_by || decision.by == adjustment.transaction.user_id {
        return Err(Error::Forbidden(Reason::OwnApproval));
    }
    let waits = adjustment.transaction.state == State::AwaitingApproval
        && approvals::time_left(app, adjustment.transaction.updated_at).is_some();
    if waits && adjustment.hash() == decision.seen { Ok(adjustment) } else { Err(Error::StaleState) }
}

/// `awaiting_approval → expired`: nobody decided. One that the ledger has was decided in a database that was lost, and is brought up to it.
async fn expire(app: &App, row: &Transaction) -> Result<Transaction> {
    if app.ledger.has(row.id, &[Leg::Main]).await? {
        tracing::error!(transaction.id = %row.id, "the ledger has booked a correction whose row was behind");
        return carry_out(app, row, &find(app, row.id).await?).await;
    }
    if let Some(left) = approvals::time_left(app, row.updated_at) {
        return transactions::defer(app, row, left).await;
    }
    let to = Move::to(State::Expired, Due::Never).because(FailureReason::NotApprovedInTime);
    transactions::advance(app, row, to).await
}

/// The last look at maker and checkers, and at what it is about. `Some`: it does not come to the booking.
async fn begin_booking(app: &App, adjustment: &Adjustment) -> Result<Option<Transaction>> {
    let row = &adjustment.transaction;
    if adjustment.booking_at.is_some() || app.ledger.has(row.id, &[Leg::Main]).await? {
        return Ok(None);
    }
    if is_credited(app, adjustment).await? {
        return transactions::hold(app, row, Hold::PaidTwice, BOOKED_SINCE).await.map(Some);
    }
    let mut tx = app.db.begin().await?;
    transactions::lock(&mut *tx, row).await?;
    if store::is_booked_since(&mut *tx, row.id).await? {
        tx.rollback().await?;
        return transactions::hold(app, row, Hold::PaidTwice, BOOKED_SINCE).await.map(Some);
    }
    let (subject, hash, maker, created_at) =
        (row.subject(), adjustment.hash(), adjustment.requested_by, row.created_at);
    let (maker_roles, checker_roles) = (AdjustmentsCreate::ROLES, AdjustmentsApprove::ROLES);
    let proposal = Proposal { subject, hash, maker, created_at, maker_roles, checker_roles };
    match approvals::still_entitled(app, &mut tx, &proposal).await? {
        Entitled::Yes => {
            store::begin_booking(&mut *tx, row.id, app.clock.now()).await?;
            tx.commit().await?;
            app.crash.at("adjustment.booking")?;
            Ok(None)
        }
        Entitled::MakerIsNot => {
            let to = Move::to(State::Cancelled, Due::Never).because(FailureReason::MakerNotEntitled);
            let cancelled = transactions::advance_within(app, &mut *tx, row, &to).await?;
            tx.commit().await?;
            transactions::announce(app, row, &to);
            Ok(Some(cancelled))
        }
        Entitled::CheckersAreNot => {
            tx.rollback().await?;
            let reason = "who approved the adjustment may not any more";
            transactions::hold(app, row, Hold::NotApproved, reason).await.map(Some)
        }
    }
}

/// `initiated → …`, if it is what was approved.
async fn book(app: &App, row: &Transaction) -> Result<Transaction> {
    let adjustment = find(app, row.id).await?;
    // It does not expire any more: the transfer may have been sent, and then it must be asked for until it is known.
    if approvals::validity(app, row.subject(), &adjustment.hash()).await? == ApprovalValidity::No {
        let reason = "the adjustment is not what was approved";
        return transactions::hold(app, row, Hold::NotApproved, reason).await;
    }
    match begin_booking(app, &adjustment).await? {
        Some(ended) => Ok(ended),
        None => carry_out(app, row, &adjustment).await,
    }
}

/// `→ completed | rejected`: the ledger decides whether the wallet holds it.
async fn carry_out(app: &App, row: &Transaction, adjustment: &Adjustment) -> Result<Transaction> {
    let currency = row.amount.currency();
    let wallet = Account::wallet(row.user_id, currency);
    let counterpart = app.ledger.system(adjustment.counterpart.account(), currency);
    let (debit, credit) = match adjustment.direction {
        Direction::Credit => (counterpart, wallet),
        Direction::Debit => (wallet, counterpart),
    };
    let id = TransferId::of(row.id, Leg::Main);
    let code = TransferCode::Adjustment;
    let main = Transfer { item: adjustment.item_id, ..Transfer::new(id, debit, credit, row.amount, code) };
    let rejected = |why: FailureReason| Move::to(State::Rejected, Due::Never).because(why);
    let item = match adjustment.item_id {
        Some(id) => Some(suspense::find(app, id).await?),
        None => None,
    };
    if let Some(item) = &item
        && !suspense::claim(app, item, row.subject(), row.amount.minor()).await?
    {
        if app.ledger.has(row.id, &[Leg::Main]).await? {
            let reason = "the ledger has booked it, and its item in suspense is somebody else's: PostgreSQL was behind";
            return transactions::hold(app, row, Hold::Contradiction, reason).await;
        }
        return transactions::advance(app, row, rejected(FailureReason::ItemCleared)).await;
    }
    let booked = match adjustment.direction {
        Direction::Credit => receivables::make_available(app, row, Available::Credit(main)).await?,
        Direction::Debit => debit_wallet(app, adjustment, main).await?,
    };
    app.crash.at("adjustment.booked")?;
    if let Err(LedgerError::Refused(_)) = booked {
        suspense::give_up_claim(app, row.subject()).await?;
    } else if let (Ok(_), Some(item)) = (&booked, &item) {
        suspense::record_outcome(app, item, Outcome::Credited).await?;
    }
    let to = match booked {
        Ok(repaid) => Move::to(State::Completed, Due::Never).having_repaid(repaid),
        // A spent id was refused before, and the answer did not reach us: the same refusal.
        Err(LedgerError::Refused(Refusal::InsufficientFunds | Refusal::SpentId)) => {
            rejected(Decline::InsufficientFunds.into())
        }
        Err(LedgerError::Refused(Refusal::AccountClosed)) => rejected(Decline::AccountClosed.into()),
        Err(error) => return Err(error.into()),
    };
    transactions::advance(app, row, to).await
}

/// What goes into suspense is an item there, like anything else.
async fn debit_wallet(app: &App, adjustment: &Adjustment, main: Transfer) -> Result<Result<Amount, LedgerError>> {
    let row = &adjustment.transaction;
    let item = NewItem {
        id: row.id,
        kind: ItemKind::Correction,
        transaction_id: Some(row.id),
        provider_id: None,
        amount: row.amount,
    };
    let into_suspense = adjustment.counterpart == Counterpart::Suspense;
    if into_suspense {
        suspense::note(app, &item).await?;
    }
    app.ledger.open(&[main.debit, main.credit]).await?;
    let moved = app.ledger.transfer(main).await.map(|()| Amount::zero(row.amount.currency()));
    match &moved {
        Ok(_) if into_suspense => suspense::mark_booked(app, &item).await?,
        Err(LedgerError::Refused(_)) if into_suspense => suspense::give_up(app, &item).await?,
        _ => {}
    }
    Ok(moved)
}

pub async fn find(app: &App, id: Uuid) -> Result<Adjustment> {
    let row = store::find(&app.db, id).await?.ok_or(Error::NotFound("adjustment"))?;
    Ok(Adjustment::of(transactions::find(app, id).await?, row))
}

pub async fn list(app: &App, state: Option<State>, before: Option<Uuid>, limit: i64) -> Result<Vec<Adjustment>> {
    let mut rows = store::list(&app.db, state.map(State::name), before, limit).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.transaction_id).collect();
    let mut page = Vec::new();
    for transaction in transactions::find_all(app, &ids).await? {
        let position = rows.iter().position(|row| row.transaction_id == transaction.id);
        let row = position.map(|position| rows.swap_remove(position));
        page.push(Adjustment::of(transaction, row.ok_or_else(|| Error::internal("a row that was not asked for"))?));
    }
    Ok(page)
}
