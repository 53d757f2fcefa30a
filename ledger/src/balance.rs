//! An account's balance: its four sides and what they mean on the account's normal side. Returned by `read`.

use crate::chart::{AccountCode, Side};
use crate::error::LedgerError;
use crate::id::AccountId;

/// The four sides in minor units, each zero or more. Debits and credits only grow; pending ones come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub debits_posted: i64,
    pub debits_pending: i64,
    pub credits_posted: i64,
    pub credits_pending: i64,
    pub normal_side: Side,
}

impl Balance {
    pub(crate) fn zero(normal_side: Side) -> Self {
        Self { debits_posted: 0, debits_pending: 0, credits_posted: 0, credits_pending: 0, normal_side }
    }

    /// Sides are (posted, pending). Fails when one of them does not fit: no sum of [`crate::Amount`]s gets there by honest means.
    pub(crate) fn from_sides(debits: (u128, u128), credits: (u128, u128), side: Side) -> Result<Self, LedgerError> {
        Ok(Self {
            debits_posted: side_from(debits.0)?,
            debits_pending: side_from(debits.1)?,
            credits_posted: side_from(credits.0)?,
            credits_pending: side_from(credits.1)?,
            normal_side: side,
        })
    }

    /// What the account holds, signed on its normal side: for a wallet what we owe the customer.
    pub fn posted(self) -> i64 {
        match self.normal_side {
            Side::Debit => self.debits_posted.saturating_sub(self.credits_posted),
            Side::Credit => self.credits_posted.saturating_sub(self.debits_posted),
        }
    }

    /// What is reserved against it: for a wallet the withdrawals under way. What is pending *towards* it does not count.
    pub fn pending(self) -> i64 {
        match self.normal_side {
            Side::Debit => self.credits_pending,
            Side::Credit => self.debits_pending,
        }
    }

    /// What may be reserved now: posted less pending.
    pub fn available(self) -> i64 {
        self.posted().saturating_sub(self.pending())
    }
}

/// Half of what an i64 holds, so that no sum or difference of two sides overflows.
const SIDE_MAX: i64 = i64::MAX >> 1;

fn side_from(raw: u128) -> Result<i64, LedgerError> {
    let side = i64::try_from(raw).ok().filter(|side| *side <= SIDE_MAX);
    side.ok_or(LedgerError::Contradiction("balance_too_large"))
}

/// An account as TigerBeetle has it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedAccount {
    pub id: AccountId,
    pub code: AccountCode,
    pub balance: Balance,
    /// When it was opened: nanoseconds since 1970 on the cluster's clock, unique.
    pub timestamp: u64,
}
