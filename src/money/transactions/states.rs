//! What a row is called: its kind, its state and how that is shown, why it is held, why it failed, what became of its money.

use crate::platform::error::Decline;
use crate::platform::text_enum::text_enum;

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
    /// The states of all kinds; the diagrams are in `deposits`, `withdrawals`, `reversals` and `adjustments`, the SQL constraint
    /// `transactions_state` holds each kind to its own.
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

text_enum! {
    /// A state as a customer sees it: while a person must decide, that is all there is to say.
    #[schema(as = ShownTransactionState)]
    pub enum ShownState {
        Initiated = "initiated",
        AwaitingPayment = "awaiting_payment",
        Reserved = "reserved",
        AwaitingApproval = "awaiting_approval",
        Submitting = "submitting",
        Submitted = "submitted",
        UnderReview = "under_review",
        Completed = "completed",
        Failed = "failed",
        Rejected = "rejected",
        Expired = "expired",
        Cancelled = "cancelled",
    }
}

text_enum! {
    /// Why a person must look.
    #[schema(as = HoldCode)]
    pub enum Hold {
        /// Its steps failed again and again, by its own fault.
        GaveUp = "gave_up",
        /// The customer is frozen; goes on by itself when that is over.
        Frozen = "frozen",
        /// Money came that does not fit: it is in suspense.
        SetAside = "set_aside",
        /// What Revio says is no evidence that our money moved as it was asked for; nothing was booked.
        NotProven = "not_proven",
        /// Revio has not said its last word for too long.
        Undecided = "undecided",
        /// Revio says a word that nobody knows.
        UnknownStatus = "unknown_status",
        /// Revio's totals and its objects do not agree.
        Unexplained = "unexplained",
        /// Revio or the ledger says what cannot be.
        Contradiction = "contradiction",
        /// It may have been paid twice.
        PaidTwice = "paid_twice",
        /// It is not what was approved.
        NotApproved = "not_approved",
        /// The row does not say what the next step needs.
        Incomplete = "incomplete",
        /// The ledger knows more of it than the row does.
        BehindLedger = "behind_ledger",
    }
}

impl Hold {
    /// Those that only lack Revio's word, or our understanding of it: when the row comes to its end all the same, nobody has to look.
    pub const LACKS_A_WORD: [Self; 5] =
        [Self::GaveUp, Self::Undecided, Self::UnknownStatus, Self::Unexplained, Self::NotProven];
}

text_enum! {
    /// Why money did not move.
    #[schema(as = FailureReason)]
    pub enum FailureReason {
        InsufficientFunds = "insufficient_funds",
        LimitExceeded = "limit_exceeded",
        AccountFrozen = "account_frozen",
        AccountClosed = "account_closed",
        ProviderRefused = "provider_refused",
        ProviderCouldNotPay = "provider_could_not_pay",
        /// Somebody of the staff declined it.
        Declined = "declined",
        NotApprovedInTime = "not_approved_in_time",
        /// Of a correction: who proposed it may not any more.
        MakerNotEntitled = "maker_not_entitled",
        /// A person looked at it and closed it.
        ClosedByReview = "closed_by_review",
        /// Of a correction: somebody else cleared the item in suspense first.
        ItemCleared = "item_cleared",
        /// Of a refund or chargeback: the provider took it back.
        ProviderUndid = "provider_undid",
        /// Its customer called it off. On a row that is not at its end: it is being cancelled.
        CancelledByCustomer = "cancelled_by_customer",
        /// Its row was lost with an older database before any payout of it was begun.
        RequestLost = "request_lost",
    }
}

impl From<Decline> for FailureReason {
    fn from(why: Decline) -> Self {
        match why {
            Decline::InsufficientFunds => Self::InsufficientFunds,
            Decline::LimitExceeded => Self::LimitExceeded,
            Decline::AccountFrozen => Self::AccountFrozen,
            Decline::AccountClosed => Self::AccountClosed,
        }
    }
}

text_enum! {
    /// What became of money that came for a deposit and did not fit it.
    #[schema(as = DepositOutcome)]
    pub enum Outcome {
        /// We have it, and somebody decides whose it is.
        SetAside = "set_aside",
        /// It was credited by a correction.
        Credited = "credited",
        /// The payer got it back.
        Returned = "returned",
        /// Nobody may claim it any more.
        Released = "released",
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
                State::Cancelled,
            ],
            Self::Adjustment => &[
                State::AwaitingApproval,
                State::Initiated,
                State::Completed,
                State::Rejected,
                State::Cancelled,
                State::Expired,
            ],
            Self::Refund | Self::Chargeback | Self::ChargebackReversal => {
                &[State::Initiated, State::Completed, State::Failed]
            }
        }
    }
}

/// A row's state as its owner sees it.
pub fn shown_state(state: State, held: bool) -> ShownState {
    match state {
        State::Completed => ShownState::Completed,
        State::Rejected => ShownState::Rejected,
        _ if held => ShownState::UnderReview,
        State::Initiated => ShownState::Initiated,
        State::AwaitingPayment => ShownState::AwaitingPayment,
        State::Reserved => ShownState::Reserved,
        State::AwaitingApproval => ShownState::AwaitingApproval,
        State::Submitting => ShownState::Submitting,
        State::Submitted => ShownState::Submitted,
        State::Failed => ShownState::Failed,
        State::Expired => ShownState::Expired,
        State::Cancelled => ShownState::Cancelled,
    }
}
