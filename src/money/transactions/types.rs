//! The row's types: what kind of movement, in which state, and how it is to move.

use chrono::TimeDelta;
use ledger::Amount;
use uuid::Uuid;

use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::{clock::DateTime, text_enum::text_enum};

text_enum! {
    #[schema(as = TransactionKind)]
    pub enum Kind {
        Deposit = "deposit",
        Withdrawal = "withdrawal",
        /// We gave some of a deposit back.
        Refund = "refund",
        /// The payer's bank took a deposit back.
        Chargeback = "chargeback",
        /// A chargeback was won.
        ChargebackReversal = "chargeback_reversal",
        /// A correction by staff.
        Adjustment = "adjustment",
    }
}

text_enum! {
    #[schema(as = TransactionDirection)]
    pub enum Direction {
        Credit = "credit",
        Debit = "debit",
    }
}

text_enum! {
    /// The states of all kinds; the diagrams are in `deposits`, `withdrawals` and `adjustments`, the SQL constraint `transactions_state` holds
    /// each kind to its own.
    #[schema(as = TransactionState)]
    pub enum State {
        Initiated = "initiated",
        AwaitingPayment = "awaiting_payment",
        Reserved = "reserved",
        AwaitingApproval = "awaiting_approval",
        Submitting = "submitting",
        Submitted = "submitted",
        Completed = "completed",
        Failed = "failed",
        Rejected = "rejected",
        Expired = "expired",
        Cancelled = "cancelled",
    }
}

impl Kind {
    /// `None` for a correction, which may go either way.
    pub(super) fn direction(self) -> Option<Direction> {
        match self {
            Self::Deposit | Self::ChargebackReversal => Some(Direction::Credit),
            Self::Withdrawal | Self::Refund | Self::Chargeback => Some(Direction::Debit),
            Self::Adjustment => None,
        }
    }

    /// The states that a row of this kind can be in: the SQL constraint `transactions_state`.
    pub fn states(self) -> &'static [State] {
        match self {
            Self::Deposit => &[
                State::Initiated,
                State::AwaitingPayment,
                State::Completed,
                State::Failed,
                State::Expired,
                State::Cancelled,
            ],
            Self::Withdrawal => &[
                State::Initiated,
                State::Reserved,
                State::AwaitingApproval,
                State::Submitting,
                State::Submitted,
                State::Completed,
                State::Failed,
                State::Rejected,
            ],
            Self::Adjustment => &[
                State::AwaitingApproval,
                State::Initiated,
                State::Completed,
                State::Rejected,
                State::Cancelled,
                State::Expired,
            ],
            Self::Refund | Self::Chargeback | Self::ChargebackReversal => &[State::Initiated, State::Completed],
        }
    }
}

#[derive(Debug, Clone)]
pub struct Transaction {
    pub id: Uuid,
    pub user_id: Uuid,
    pub kind: Kind,
    pub direction: Direction,
    pub state: State,
    pub amount: Amount,
    pub parent_id: Option<Uuid>,
    pub bank_account_id: Option<Uuid>,
    pub provider: Provider,
    pub failure_reason: Option<String>,
    /// What the customer wrote for himself.
    pub description: Option<String>,
    pub reversed: Reversed,
    /// The part of it that repaid what the customer owed.
    pub repaid_minor: i64,
    /// The part of it that the wallet could not cover: the customer owes it.
    pub owed_minor: i64,
    pub held_reason: Option<String>,
    pub due_at: Option<DateTime>,
    pub attempts: i32,
    pub version: i32,
    pub created_at: DateTime,
    pub updated_at: DateTime,
    pub completed_at: Option<DateTime>,
}

#[derive(Debug, Clone, Default)]
pub struct Provider {
    pub id: Option<Uuid>,
    pub status: Option<String>,
    pub checkout_url: Option<String>,
    pub execution_url: Option<String>,
    pub created_at: Option<DateTime>,
}

/// How much of a deposit was given back, as Revio says it: refunds only grow, a chargeback comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reversed {
    pub refunded_minor: i64,
    pub charged_back_minor: i64,
}

/// A row that follows from another one, without anybody asking for it.
pub struct Child<'a> {
    pub parent: &'a Transaction,
    pub kind: Kind,
    pub state: State,
    pub amount: Amount,
    pub provider_id: Option<Uuid>,
}

pub struct NewTransaction {
    pub user_id: Uuid,
    pub kind: Kind,
    pub amount: Amount,
    pub bank_account_id: Option<Uuid>,
    pub description: Option<String>,
    pub key: IdempotencyKey,
    pub request_hash: RequestHash,
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
    pub failure_reason: Option<String>,
    pub repaid_minor: Option<i64>,
    pub owed_minor: Option<i64>,
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
        Self { state, due, provider: None, failure_reason: None, repaid_minor: None, owed_minor: None, approved: None }
    }

    pub fn because(self, reason: &str) -> Self {
        Self { failure_reason: Some(reason.to_owned()), ..self }
    }

    pub fn having_repaid(self, repaid: Amount) -> Self {
        Self { repaid_minor: Some(repaid.minor()), ..self }
    }

    pub fn leaving_owed(self, owed: Amount) -> Self {
        Self { owed_minor: Some(owed.minor()), ..self }
    }

    pub fn with_approval(self, approved: Approved) -> Self {
        Self { approved: Some(approved), ..self }
    }

    pub fn with_provider(self, provider: Provider) -> Self {
        Self { provider: Some(provider), ..self }
    }
}
