//! A row as it is, as it is to be written, and how it is to move.

use chrono::TimeDelta;
use ledger::Amount;
use uuid::Uuid;

use super::metadata::Metadata;
use super::states::{Direction, FailureReason, Hold, Kind, Outcome, ShownState, State, shown_state};
use crate::money::subject::Subject;
use crate::platform::clock::{self, DateTime};
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::queue::Lease;

#[derive(Debug, Clone)]
pub struct Transaction {
    pub id: Uuid,
    pub user_id: Uuid,
    pub kind: Kind,
    pub direction: Direction,
    pub state: State,
    pub amount: Amount,
    /// Of a withdrawal: what had left within 24 hours when it was reserved, itself included. At least the amount.
    pub outflow: Amount,
    pub parent_id: Option<Uuid>,
    pub bank_account_id: Option<Uuid>,
    pub destination: Option<Destination>,
    pub provider: Provider,
    /// Why it ended without moving money. On a row that is not at its end: how it is about to end; whoever holds it next goes on with that
    /// (decision 043).
    pub failure_reason: Option<FailureReason>,
    pub outcome: Option<Outcome>,
    /// What the customer wrote for himself.
    pub description: Option<String>,
    /// What the caller's program wrote to it.
    pub metadata: Metadata,
    pub reversed: Reversed,
    /// The part of it that repaid what the customer owed.
    pub repaid_minor: i64,
    /// The part of it that the wallet could not cover: the customer owes it.
    pub owed_minor: i64,
    pub held: Option<Held>,
    /// Of a hold that a person closed.
    pub dismissed_reason: Option<String>,
    pub due_at: Option<DateTime>,
    pub attempts: i32,
    pub version: i32,
    pub created_at: DateTime,
    /// When it last moved. A hold, a deferral or a sum that was given back leaves it alone: ages and windows are counted from here.
    pub updated_at: DateTime,
    pub completed_at: Option<DateTime>,
}

/// Why a person must look at a row, in a code and in words, and since when.
#[derive(Debug, Clone)]
pub struct Held {
    pub code: Hold,
    pub reason: String,
    pub at: DateTime,
}

/// What was shown of a withdrawal's bank account when the withdrawal was asked for.
#[derive(Debug, Clone)]
pub struct Destination {
    pub bank_name: String,
    pub last_four: String,
}

/// A withdrawal of which nothing is left but its reservation in the ledger, and why it is given back, if it is.
pub struct LostWithdrawal {
    pub id: Uuid,
    pub user_id: Uuid,
    pub amount: Amount,
    pub why: Option<FailureReason>,
}

impl Transaction {
    pub fn subject(&self) -> Subject {
        Subject::Transaction(self.id)
    }

    /// What its customer, or a program, wrote to it: all else is of much the same size in each row.
    pub fn written_bytes(&self) -> usize {
        self.description.as_ref().map_or(0, String::len).saturating_add(self.metadata.bytes())
    }

    /// Whether its customer has called it off: it is cancelled, or will be.
    pub fn is_called_off(&self) -> bool {
        self.failure_reason == Some(FailureReason::CancelledByCustomer)
    }

    /// As it is told to whoever asks: of one that was called off and paid all the same, the outcome says what there is to say.
    pub fn told_failure(&self) -> Option<FailureReason> {
        self.failure_reason.filter(|_| self.outcome.is_none() || !self.is_called_off())
    }

    /// Whether a person has to decide what becomes of it: of what is completed or rejected nothing more is to become.
    pub fn is_under_review(&self) -> bool {
        self.shown_state() == ShownState::UnderReview
    }

    pub fn is_held_for(&self, codes: &[Hold]) -> bool {
        self.held.as_ref().is_some_and(|held| codes.contains(&held.code))
    }

    /// Whether nobody looks at it again by himself.
    pub fn is_at_rest(&self) -> bool {
        self.due_at.is_none() && self.held.is_none()
    }

    /// A correction that is only proposed is not: whoever knows of a debit beforehand empties the wallet.
    pub fn is_shown_to_owner(&self) -> bool {
        self.kind != Kind::Adjustment || self.state == State::Completed
    }

    pub fn is_shown_to(&self, user: Uuid) -> bool {
        self.user_id == user && self.is_shown_to_owner()
    }

    pub fn shown_state(&self) -> ShownState {
        shown_state(self.state, self.held.is_some())
    }
}

#[derive(Debug, Clone, Default)]
pub struct Provider {
    pub id: Option<Uuid>,
    pub status: Option<String>,
    pub checkout_url: Option<String>,
    pub execution_url: Option<String>,
    /// When we registered it, by our own clock; long past where the row has forgotten that.
    pub created_at: Option<DateTime>,
    /// Until when the link can be paid, as Revio says; never more than an hour.
    pub expires_at: Option<DateTime>,
}

/// How much of a deposit was given back, summed over Revio's objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reversed {
    pub refunded_minor: i64,
    pub charged_back_minor: i64,
}

/// A row that follows from another one, without anybody asking for it: from an object of Revio's, which makes its id.
pub struct Child<'a> {
    pub id: Uuid,
    pub parent: &'a Transaction,
    pub kind: Kind,
    pub state: State,
    pub amount: Amount,
    pub provider_id: Option<Uuid>,
}

/// The call that asked for a row, as its customer quotes it: an id that carries the time of about the row's own id (all of ours do) is found
/// by that time, and costs no index; for any other there is one.
#[derive(Debug, Clone, Default)]
pub struct RequestMark {
    pub id: Option<Uuid>,
    pub word: Option<String>,
}

/// A call is over long before.
const REQUEST_NEAR: TimeDelta = TimeDelta::minutes(1);

impl RequestMark {
    pub fn of(request_id: Option<&str>, now: DateTime) -> Self {
        let Some(text) = request_id else { return Self::default() };
        match timed(text) {
            Some((id, at)) if (now - at).abs() <= REQUEST_NEAR => Self { id: Some(id), word: None },
            _ => Self { id: None, word: Some(text.to_owned()) },
        }
    }

    /// What such an id is, and between which ids of rows those stand that it asked for.
    pub fn rows_near(request_id: &str) -> Option<(Uuid, Uuid, Uuid)> {
        let (id, at) = timed(request_id)?;
        let around = REQUEST_NEAR * 2;
        Some((id, clock::first_id_at(at - around), clock::first_id_at(at + around)))
    }
}

/// Written as we write them: it is told to the customer as it came.
fn timed(text: &str) -> Option<(Uuid, DateTime)> {
    let id = text.parse::<Uuid>().ok().filter(|id| id.get_version_num() == 7 && id.to_string() == text)?;
    let (secs, nanos) = id.get_timestamp()?.to_unix();
    Some((id, DateTime::from_timestamp(i64::try_from(secs).ok()?, nanos)?))
}

#[derive(Debug, Clone)]
pub struct NewTransaction {
    pub user_id: Uuid,
    pub kind: Kind,
    pub amount: Amount,
    pub bank_account_id: Option<Uuid>,
    pub description: Option<String>,
    pub metadata: Metadata,
    pub key: IdempotencyKey,
    pub request_hash: RequestHash,
    pub request: RequestMark,
}

/// What must hold besides, looked at by the statement that writes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    /// Fewer deposits of the customer's than this wait for their payment.
    OpenDepositsBelow(i64),
    /// The customer has no second factor, and the bank account is there and the customer's.
    NoCodeNeeded,
}

/// What only the database knew of a row when it was written.
#[derive(Clone)]
pub(super) struct WrittenRow {
    /// The time in its id.
    pub(super) created_at: DateTime,
    pub(super) destination: Option<Destination>,
}

impl NewTransaction {
    /// The row that it has become.
    pub(super) fn initiated(&self, id: Uuid, written: WrittenRow, lease: Lease) -> Transaction {
        Transaction {
            id,
            user_id: self.user_id,
            kind: self.kind,
            direction: self.kind.direction().expect("only deposits and withdrawals are asked for with a key"),
            state: State::Initiated,
            amount: self.amount,
            outflow: self.amount,
            parent_id: None,
            bank_account_id: self.bank_account_id,
            destination: written.destination,
            provider: Provider::default(),
            failure_reason: None,
            outcome: None,
            description: self.description.clone(),
            metadata: self.metadata.clone(),
            reversed: Reversed { refunded_minor: 0, charged_back_minor: 0 },
            repaid_minor: 0,
            owed_minor: 0,
            held: None,
            dismissed_reason: None,
            due_at: Some(lease.until),
            attempts: 0,
            version: 0,
            created_at: written.created_at,
            updated_at: lease.now,
            completed_at: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Never,
    Now,
    In(TimeDelta),
}

/// One move of a row. `None` leaves what the row has.
#[derive(Clone)]
pub struct Move {
    pub state: State,
    pub due: Due,
    pub provider: Option<Provider>,
    pub failure_reason: Option<FailureReason>,
    pub repaid_minor: Option<i64>,
    pub owed_minor: Option<i64>,
    pub outflow_minor: Option<i64>,
    pub approved: Option<Approved>,
}

/// What was approved, as a hash over all of it, and until when that holds. A move out of the state uses it up.
#[derive(Clone)]
pub struct Approved {
    pub hash: [u8; 32],
    pub until: DateTime,
}

impl Move {
    pub fn to(state: State, due: Due) -> Self {
        Self {
            state,
            due,
            provider: None,
            failure_reason: None,
            repaid_minor: None,
            owed_minor: None,
            outflow_minor: None,
            approved: None,
        }
    }

    pub fn because(self, reason: impl Into<FailureReason>) -> Self {
        Self { failure_reason: Some(reason.into()), ..self }
    }

    pub fn having_repaid(self, repaid: Amount) -> Self {
        Self { repaid_minor: Some(repaid.minor()), ..self }
    }

    pub fn leaving_owed(self, owed: Amount) -> Self {
        Self { owed_minor: Some(owed.minor()), ..self }
    }

    pub fn with_outflow(self, outflow: Option<Amount>) -> Self {
        Self { outflow_minor: outflow.map(Amount::minor), ..self }
    }

    pub fn with_approval(self, approved: Approved) -> Self {
        Self { approved: Some(approved), ..self }
    }

    pub fn with_provider(self, provider: Provider) -> Self {
        Self { provider: Some(provider), ..self }
    }
}
