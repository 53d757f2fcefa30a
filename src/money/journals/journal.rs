//! A journal as a row, how it is asked for, and how it moves.

use chrono::NaiveDate;
use ledger::{AccountCode, Amount};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::kinds::{EvidenceKind, Kind, OpenAccount, Side};
use crate::app::App;
use crate::money::approvals::SubjectHash;
use crate::money::reasons;
use crate::money::subject::Subject;
use crate::money::transactions::Approved;
use crate::platform::{clock::DateTime, text_enum::text_enum};

text_enum! {
    #[schema(as = JournalState)]
    pub enum State {
        AwaitingApproval = "awaiting_approval",
        Initiated = "initiated",
        /// The ledger holds it until it has arrived.
        InTransit = "in_transit",
        Completed = "completed",
        /// What was on its way came back.
        Returned = "returned",
        Rejected = "rejected",
        Cancelled = "cancelled",
        Expired = "expired",
    }
}

text_enum! {
    /// Why it was not booked.
    #[schema(as = JournalFailure)]
    pub enum Failure {
        Declined = "declined",
        NotApprovedInTime = "not_approved_in_time",
        /// Who proposed it may not any more.
        MakerNotEntitled = "maker_not_entitled",
        /// There is not so much left of the item in suspense.
        ItemCleared = "item_cleared",
        /// The payment is in suspense already, or belongs to a transaction.
        SetAsideBefore = "set_aside_before",
        /// The customer does not owe so much.
        MoreThanOwed = "more_than_owed",
        /// What is held would not cover any more what is owed.
        PositionShort = "position_short",
        ClosedByReview = "closed_by_review",
    }
}

/// A failure with its text.
#[derive(Serialize, ToSchema)]
pub struct JournalFailureView {
    code: Failure,
    #[schema(example = "Nobody decided within 7 days.")]
    message: &'static str,
}

impl From<Failure> for JournalFailureView {
    fn from(code: Failure) -> Self {
        Self { code, message: reasons::failure(code.name()).staff }
    }
}

text_enum! {
    /// What became of money on its way.
    #[schema(as = ArrivalOutcome)]
    pub enum Outcome {
        Arrived = "arrived",
        Returned = "returned",
    }
}

impl State {
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::AwaitingApproval | Self::Initiated | Self::InTransit)
    }
}

/// What proves it. The file is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    pub kind: EvidenceKind,
    pub reference: String,
    pub sha256: [u8; 32],
    pub date: NaiveDate,
}

/// The line that says what became of money on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub outcome: Outcome,
    pub reference: String,
    pub sha256: [u8; 32],
    pub date: NaiveDate,
}

pub struct NewJournal {
    pub kind: Kind,
    pub amount: Amount,
    pub account: Option<OpenAccount>,
    pub user_id: Option<Uuid>,
    pub item_id: Option<Uuid>,
    pub evidence: Evidence,
    pub reason: String,
}

#[derive(Debug, Clone)]
pub struct Journal {
    pub id: Uuid,
    pub kind: Kind,
    pub state: State,
    pub amount: Amount,
    pub account: Option<OpenAccount>,
    /// Of a write-off: whose debt.
    pub user_id: Option<Uuid>,
    /// What it clears in suspense.
    pub item_id: Option<Uuid>,
    pub evidence: Evidence,
    pub reason: String,
    pub requested_by: Uuid,
    pub created_at: DateTime,
    pub updated_at: DateTime,
    pub sent_at: Option<DateTime>,
    pub expected_on: Option<NaiveDate>,
    pub arrival: Option<Arrival>,
    pub ended_at: Option<DateTime>,
    pub failure: Option<Failure>,
    pub held_reason: Option<String>,
    pub due_at: Option<DateTime>,
    pub(super) version: i32,
    pub(super) attempts: i32,
    /// When maker and checkers were looked at for the last time.
    pub(super) booking_at: Option<DateTime>,
    /// What of its kind was asked for within 24 hours of this one, itself included. Later ones count, too: of two at the same moment
    /// at least one sees the other.
    pub(super) day_minor: i64,
    /// Others that name the same line of the same file and are not refused or taken back, newest first: perhaps it is booked twice.
    pub same_evidence: Vec<Uuid>,
}

impl Journal {
    pub(super) fn subject(&self) -> Subject {
        Subject::Journal(self.id)
    }

    /// How many people besides the maker must approve it, by today's thresholds: one, above the second two.
    pub fn needed(&self, app: &App) -> i64 {
        if self.kind == Kind::SuspenseRelease {
            return 2;
        }
        let sum = Amount::new(self.day_minor, self.amount.currency()).unwrap_or(self.amount);
        app.config.approval_thresholds.needed(sum).max(1)
    }

    /// Which accounts it debits and credits, as the chart names them.
    pub fn side_names(&self) -> (&'static str, &'static str) {
        let name = |account: Option<AccountCode>| account.map_or("", AccountCode::name);
        let (debit, credit) = self.accounts();
        (name(debit), name(credit))
    }

    /// By how much it changes an account that what comes in is debited to, as the bank's and Revio's are.
    pub fn change_of(&self, account: AccountCode) -> i64 {
        match self.accounts() {
            (debit, _) if debit == Some(account) => self.amount.minor(),
            (_, credit) if credit == Some(account) => self.amount.minor().saturating_neg(),
            _ => 0,
        }
    }

    fn accounts(&self) -> (Option<AccountCode>, Option<AccountCode>) {
        let account = |side: Side| match side {
            Side::Is(code) => Some(code),
            Side::Open => self.account.map(OpenAccount::code),
            Side::Receivable => Some(AccountCode::CustomerReceivable),
        };
        let (debit, credit) = self.kind.sides(self.account);
        (account(debit), account(credit))
    }

    /// What the checker approves.
    pub fn hash(&self) -> SubjectHash {
        let id = |id: &Option<Uuid>| id.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        SubjectHash::of(&[
            b"journal",
            self.id.as_bytes(),
            self.kind.name().as_bytes(),
            &self.amount.minor().to_be_bytes(),
            self.amount.currency().code().as_bytes(),
            self.account.map_or("", OpenAccount::name).as_bytes(),
            &id(&self.user_id),
            &id(&self.item_id),
            self.evidence.kind.name().as_bytes(),
            self.evidence.reference.as_bytes(),
            &self.evidence.sha256,
            self.evidence.date.to_string().as_bytes(),
            self.reason.as_bytes(),
            self.requested_by.as_bytes(),
        ])
    }
}

/// One move of a row. `None` leaves what the row has.
#[derive(Clone)]
pub(super) struct Move {
    pub(super) state: State,
    /// When the next step is tried; `None` = nothing is to be done.
    pub(super) due_at: Option<DateTime>,
    pub(super) failure: Option<Failure>,
    pub(super) sent: Option<(DateTime, NaiveDate)>,
    pub(super) arrival: Option<Arrival>,
    pub(super) approved: Option<Approved>,
}

impl Move {
    pub(super) fn to(state: State) -> Self {
        Self { state, due_at: None, failure: None, sent: None, arrival: None, approved: None }
    }

    pub(super) fn because(self, failure: Failure) -> Self {
        Self { failure: Some(failure), ..self }
    }

    pub(super) fn due(self, due_at: DateTime) -> Self {
        Self { due_at: Some(due_at), ..self }
    }
}
