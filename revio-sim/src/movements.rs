//! Every movement of money, one entry each, and the totals that they sum up to. What the answers and events claim has no
//! influence here. Booked by the transitions of purchases, Payments, payouts and transfers, as each happens: `balances.rs` adds up the
//! objects instead.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::world::World;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    pub at: i64,
    /// The object that moved the money: the purchase, the refund's or chargeback's Payment, the payout, the transfer. One that
    /// fails after its success, or is changed, has a second entry with the other sign.
    pub id: Uuid,
    /// The purchase that a Payment is related to; otherwise `id` again.
    pub related_to: Uuid,
    pub kind: MovementKind,
    /// Positive, in cents.
    pub amount: i64,
    /// 1: Revio holds more for the company afterwards; -1: less.
    pub sign: i64,
    pub currency: String,
    pub is_test: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    Purchase,
    Refund,
    Chargeback,
    ChargebackReversal,
    Payout,
    /// Of a purchase or a payout.
    Fee,
    /// To the bank.
    Settlement,
    /// From the bank.
    TopUp,
}

impl Movement {
    pub fn signed(&self) -> i64 {
        self.sign * self.amount
    }
}

impl World {
    pub(crate) fn record(&mut self, movement: Movement) {
        let signed = movement.signed();
        let totals = self.totals_mut(movement.is_test, &movement.currency);
        match movement.kind {
            MovementKind::Purchase => {
                totals.paid_in += signed;
                totals.paid_in_count = totals.paid_in_count.saturating_add_signed(movement.sign);
            }
            MovementKind::Refund => totals.refunded -= signed,
            MovementKind::Chargeback | MovementKind::ChargebackReversal => totals.charged_back -= signed,
            MovementKind::Payout if signed < 0 => {
                totals.paid_out -= signed;
                totals.paid_out_count += 1;
            }
            MovementKind::Payout => {
                totals.paid_out -= signed;
                totals.paid_out_count -= 1;
            }
            MovementKind::Fee => totals.fees -= signed,
            MovementKind::Settlement => totals.settled -= signed,
            MovementKind::TopUp => totals.topped_up += signed,
        }
        self.movements.push(movement);
    }

    /// Of one purchase or payout: another one in its place, perhaps of another currency.
    pub(crate) fn change_fee(&mut self, id: Uuid, is_test: bool, old: (&str, i64), new: (&str, i64)) {
        if old.0 == new.0 {
            self.book_fee(id, is_test, new.0, new.1 - old.1);
        } else {
            self.book_fee(id, is_test, old.0, -old.1);
            self.book_fee(id, is_test, new.0, new.1);
        }
    }

    /// Of one purchase or payout: it takes so much more than before, or gives it back.
    pub(crate) fn book_fee(&mut self, id: Uuid, is_test: bool, currency: &str, more: i64) {
        if more == 0 {
            return;
        }
        self.record(Movement {
            at: self.now,
            id,
            related_to: id,
            kind: MovementKind::Fee,
            amount: more.abs(),
            sign: -more.signum(),
            currency: currency.to_owned(),
            is_test,
        });
    }
}
