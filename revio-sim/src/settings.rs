//! What can be switched about this Revio while it runs. Set through `Sim` or `/_sim/settings/`, kept in the state file.

use serde::{Deserialize, Serialize};

use crate::keys::KeyBits;
use crate::statements::StatementSettings;

/// Every switch, with what a fresh simulator does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub error_shape: ErrorShape,
    pub payouts: PayoutBehaviour,
    pub done_word: DoneWord,
    pub refunds: RefundMode,
    /// `charged_back` by default; true says `chargeback`, the other spelling found in the specifications.
    pub old_chargeback_word: bool,
    /// What a won dispute makes of its purchase: `paid` by default; true says `refunded`. Neither is documented (?).
    pub reversed_is_refunded: bool,
    /// A purchase that was refunded once says `refundable_amount: 0` and `refund_availability: none`, whatever is left (?).
    pub refunds_only_once: bool,
    /// `GET /payments/{id}/` exists. Nothing says that it does (?).
    pub payment_reads: bool,
    /// Fee taken from payments made on the hosted page, in hundredths of a percent. Fees are not documented (?).
    pub fee_basis_points: i64,
    /// What `payment.fee_amount` is until the purchase is settled (?).
    pub fee_at_paid: FeeAtPaid,
    /// `payment.fee_amount` of every payout that succeeds, on top of its amount (?).
    pub payout_fee: i64,
    /// Added to it, in hundredths of a percent of the amount (?).
    pub payout_fee_basis_points: i64,
    /// `payment.fee_amount` of every refund and chargeback, on top of its amount; one that fails gives it not back (?).
    pub reversal_fee: i64,
    pub statements: StatementSettings,
    /// `GET` of a purchase or payout answers as it was so many seconds ago; its events are ahead of it. One plugin works
    /// around a cache (CODE).
    pub stale_read_secs: i64,
    /// Added to every published `created_on`, `updated_on` and history timestamp, as a provider with a wrong clock would.
    pub clock_skew_secs: i64,
    /// More calls of the API than this within one second of the clock are 429, with `Retry-After: 1`; 0 = as many as come. That there
    /// is a limit, and how it counts, is guessed (?).
    pub calls_per_second: u32,
    /// How long "slow" on the hosted page stays `pending_execute`.
    pub slow_secs: i64,
    pub key_bits: KeyBits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            error_shape: ErrorShape::Array,
            payouts: PayoutBehaviour::Succeed,
            done_word: DoneWord::Success,
            refunds: RefundMode::Sync,
            old_chargeback_word: false,
            reversed_is_refunded: false,
            refunds_only_once: false,
            payment_reads: false,
            fee_basis_points: 0,
            fee_at_paid: FeeAtPaid::Named,
            payout_fee: 0,
            payout_fee_basis_points: 0,
            reversal_fee: 0,
            statements: StatementSettings::default(),
            stale_read_secs: 0,
            clock_skew_secs: 0,
            calls_per_second: 0,
            slow_secs: 5,
            key_bits: KeyBits::Rsa2048,
        }
    }
}

/// The body of a 400. Both are documented by Revio's own pages (DOC-R), which contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `{"field": [{"message", "code"}]}`: the most trustworthy of the two.
    Array,
    /// `{"field": {"message", "code"}}`.
    Object,
    /// `{"code", "message"}` of the first error (DOC-S, weak).
    Flat,
}

/// What happens when an `execution_url` is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutBehaviour {
    Succeed,
    /// Stays `pending` until settled by hand.
    Pend,
    /// `pending`, and `success` so many seconds later.
    PendThenSucceed {
        secs: i64,
    },
    Fail {
        code: String,
    },
}

/// When a purchase's fee is taken and named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeeAtPaid {
    Named,
    /// 0, and taken at settlement.
    Zero,
    /// `null`, and taken at settlement.
    Null,
}

/// The documents use both words for a payout that is done (DOC-S).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoneWord {
    Success,
    /// Said only in the answer of the execution call; `GET` and webhooks keep saying `success`.
    Executed,
    /// Said everywhere.
    ExecutedEverywhere,
}

/// How the account handles refunds. On the real one they are off until the account manager enables them (DOC-R).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundMode {
    /// Answers with the refund's Payment.
    Sync,
    /// Answers with the Purchase in `pending_refund`; completed by hand.
    Pending,
    /// `pending_refund`, completed so many seconds later.
    PendThenComplete { secs: i64 },
    /// `pending_refund`, failed so many seconds later.
    PendThenFail { secs: i64 },
    /// Refused with `purchase_refund_error`.
    Off,
}
