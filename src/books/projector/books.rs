//! The arithmetic of the read model, without I/O: what each transfer does to the four sides of its two accounts.
//!
//! | kind | debited account; the same of the credited one's credits |
//! |---|---|
//! | posted | debits posted + amount |
//! | pending | debits pending + amount |
//! | post | debits pending − what was reserved, debits posted + amount |
//! | void | debits pending − what was reserved |
//!
//! TigerBeetle records what really moved (state_machine.zig, `post_or_void_pending_transfer`): a post that moves less than was
//! reserved frees the rest, so that its reservation's amount is needed too.

use std::collections::HashMap;

use ledger::{Balance, Recorded, RecordedKind, TransferId};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Side {
    pub(super) posted: i64,
    pub(super) pending: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sides {
    pub(super) debits: Side,
    pub(super) credits: Side,
}

/// An account as of its last transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    pub(super) sides: Sides,
    pub(super) last: Option<i64>,
}

/// A transfer with the balances of both its accounts right after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) transfer: Recorded,
    pub(super) debit: Sides,
    pub(super) credit: Sides,
    /// Of a post or void: what its reservation had reserved.
    pub(super) released: i64,
}

/// The accounts of a page or of a ledger, and the reservations that may be resolved.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) accounts: HashMap<Uuid, Standing>,
    /// By the id of the pending transfer: what it reserved.
    pub(super) reserved: HashMap<Uuid, i64>,
}

/// What cannot be true of a ledger of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Contradiction {
    #[error("transfer {0} moves money of account {1}, which was never opened")]
    UnknownAccount(TransferId, Uuid),
    #[error("transfer {0} resolves {1}, which is no reservation that is open")]
    UnknownReservation(TransferId, Uuid),
    #[error("transfer {0} would take a side of an account below zero or beyond what it can hold")]
    OutOfRange(TransferId),
}

impl Books {
    pub(super) fn apply(&mut self, transfer: &Recorded) -> Result<Line, Contradiction> {
        let reserved = self.reservation(transfer)?;
        let debit = self.standing(transfer, transfer.debit.as_uuid())?;
        let mut debit_sides = debit.sides;
        debit_sides.debits = moved(debit_sides.debits, transfer, reserved)?;
        *debit = Standing { sides: debit_sides, last: Some(nanoseconds(transfer.timestamp)) };
        // After the debit was put back: TigerBeetle refuses a transfer from an account to itself, so they are two.
        let credit = self.standing(transfer, transfer.credit.as_uuid())?;
        let mut credit_sides = credit.sides;
        credit_sides.credits = moved(credit_sides.credits, transfer, reserved)?;
        *credit = Standing { sides: credit_sides, last: Some(nanoseconds(transfer.timestamp)) };
        Ok(Line { transfer: *transfer, debit: debit_sides, credit: credit_sides, released: reserved })
    }

    fn standing(&mut self, transfer: &Recorded, account: Uuid) -> Result<&mut Standing, Contradiction> {
        self.accounts.get_mut(&account).ok_or(Contradiction::UnknownAccount(transfer.id, account))
    }

    /// What the reservation that is resolved had reserved; a reservation is resolved once, so it is forgotten then.
    fn reservation(&mut self, transfer: &Recorded) -> Result<i64, Contradiction> {
        match transfer.kind {
            RecordedKind::Posted => Ok(0),
            RecordedKind::Pending => {
                self.reserved.insert(transfer.id.as_uuid(), transfer.amount_minor);
                Ok(0)
            }
            RecordedKind::Post { pending } | RecordedKind::Void { pending } => {
                let pending = pending.as_uuid();
                self.reserved.remove(&pending).ok_or(Contradiction::UnknownReservation(transfer.id, pending))
            }
        }
    }
}

fn moved(side: Side, transfer: &Recorded, reserved: i64) -> Result<Side, Contradiction> {
    let amount = transfer.amount_minor;
    let (posted, pending) = match transfer.kind {
        RecordedKind::Posted => (side.posted.checked_add(amount), Some(side.pending)),
        RecordedKind::Pending => (Some(side.posted), side.pending.checked_add(amount)),
        RecordedKind::Post { .. } => (side.posted.checked_add(amount), side.pending.checked_sub(reserved)),
        RecordedKind::Void { .. } => (Some(side.posted), side.pending.checked_sub(reserved)),
    };
    let not_negative = |value: Option<i64>| value.filter(|value| *value >= 0);
    match (not_negative(posted), not_negative(pending)) {
        (Some(posted), Some(pending)) => Ok(Side { posted, pending }),
        _ => Err(Contradiction::OutOfRange(transfer.id)),
    }
}

impl From<Balance> for Sides {
    fn from(balance: Balance) -> Self {
        Self {
            debits: Side { posted: balance.debits_posted, pending: balance.debits_pending },
            credits: Side { posted: balance.credits_posted, pending: balance.credits_pending },
        }
    }
}

pub(super) fn nanoseconds(timestamp: u64) -> i64 {
    i64::try_from(timestamp).expect("TigerBeetle's timestamps end at 2^63 - 1")
}

#[cfg(test)]
mod tests {
    use ledger::{Account, Currency, Leg};

    use super::*;

    fn transfer(number: u8, kind: RecordedKind, amount_minor: i64) -> Recorded {
        let wallet = |byte| Account::wallet(ledger::user_id(1_000, [byte; 10]), Currency::ZAR).id;
        let row = ledger::row_id(1_000, [number; 10]);
        Recorded {
            id: TransferId::of(row, Leg::Main),
            debit: wallet(1),
            credit: wallet(2),
            amount_minor,
            currency: Currency::ZAR,
            code: 20,
            reference: row,
            half_of_item: 0,
            timestamp: u64::from(number),
            kind,
        }
    }

    fn opened() -> Books {
        let any = transfer(1, RecordedKind::Posted, 0);
        let accounts = [any.debit, any.credit].map(|id| (id.as_uuid(), Standing::default()));
        Books { accounts: HashMap::from(accounts), reserved: HashMap::new() }
    }

    #[test]
    fn a_post_of_a_part_frees_the_rest() {
        let mut books = opened();
        let pending = transfer(1, RecordedKind::Pending, 100);
        let reserved = books.apply(&pending).expect("booked");
        assert_eq!(reserved.debit.debits, Side { posted: 0, pending: 100 });
        assert_eq!(reserved.credit.credits, Side { posted: 0, pending: 100 });
        let post = books.apply(&transfer(2, RecordedKind::Post { pending: pending.id }, 30)).expect("booked");
        assert_eq!(post.debit.debits, Side { posted: 30, pending: 0 });
        assert_eq!(post.credit.credits, Side { posted: 30, pending: 0 });
        assert_eq!((post.debit.credits, post.credit.debits), (Side::default(), Side::default()));
    }

    #[test]
    fn a_void_frees_all_and_a_second_resolution_is_a_contradiction() {
        let mut books = opened();
        let pending = transfer(1, RecordedKind::Pending, 100);
        books.apply(&pending).expect("booked");
        let void = books.apply(&transfer(2, RecordedKind::Void { pending: pending.id }, 100)).expect("booked");
        assert_eq!(void.debit.debits, Side::default());
        let again = transfer(3, RecordedKind::Void { pending: pending.id }, 100);
        let refused = books.apply(&again).expect_err("resolved before");
        assert_eq!(refused, Contradiction::UnknownReservation(again.id, pending.id.as_uuid()));
    }

    #[test]
    fn an_account_that_nobody_opened_and_a_side_below_zero_are_contradictions() {
        let posted = transfer(1, RecordedKind::Posted, 1);
        let unknown = Books::default().apply(&posted).expect_err("not opened");
        assert_eq!(unknown, Contradiction::UnknownAccount(posted.id, posted.debit.as_uuid()));
        let mut books = opened();
        let pending = transfer(2, RecordedKind::Pending, 1);
        books.reserved.insert(pending.id.as_uuid(), 1);
        let void = transfer(3, RecordedKind::Void { pending: pending.id }, 1);
        assert_eq!(books.apply(&void).expect_err("nothing is pending"), Contradiction::OutOfRange(void.id));
        books.apply(&transfer(4, RecordedKind::Posted, i64::MAX)).expect("booked");
        let overflow = transfer(5, RecordedKind::Posted, 1);
        assert_eq!(books.apply(&overflow).expect_err("too much"), Contradiction::OutOfRange(overflow.id));
    }
}
