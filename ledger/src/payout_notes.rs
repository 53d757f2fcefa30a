//! Which of the provider's payouts a withdrawal is paid by, written into the ledger before the call that pays it. PostgreSQL says the
//! same; but it may be restored to an earlier moment, and whoever pays on the word of a row that forgot its payout pays twice.
//!
//! A note is a transfer of amount zero on the ledger number of what is not money (base + 1), whose `user_data_128` is the payout's id. A row
//! has two legs for it, [`Leg::Payout`] and [`Leg::Replacement`]: a third payout cannot be noted, and what is not noted is not paid.

use tigerbeetle_unofficial as tb;
use tigerbeetle_unofficial::transfer::Flags;
use uuid::Uuid;

use crate::amount::{Amount, Currency};
use crate::chart::{AccountCode, TransferCode};
use crate::client::Ledger;
use crate::codes::Call;
use crate::error::LedgerError;
use crate::id::{Leg, TransferId};
use crate::transfer::Transfer;

/// What the ledger has of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawalStanding {
    pub reservation: Reservation,
    /// The payouts that were noted, in their order: one, or the one that replaced it besides.
    pub payouts: Vec<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// There is none, or none yet.
    None,
    Open,
    Posted,
    Voided,
}

const NOTES: [Leg; 2] = [Leg::Payout, Leg::Replacement];

impl Ledger {
    /// One round trip.
    pub async fn withdrawal_standing(&self, row: Uuid) -> Result<WithdrawalStanding, LedgerError> {
        let of = |leg| TransferId::of(row, leg);
        let recorded =
            self.lookup_raw(&[of(Leg::Main), of(Leg::Post), of(Leg::Void), of(NOTES[0]), of(NOTES[1])]).await?;
        let find = |leg| recorded.iter().find(|transfer| transfer.id() == of(leg).raw());
        let reservation = match (find(Leg::Main), find(Leg::Post), find(Leg::Void)) {
            (_, Some(_), _) => Reservation::Posted,
            (_, _, Some(_)) => Reservation::Voided,
            (Some(_), None, None) => Reservation::Open,
            (None, None, None) => Reservation::None,
        };
        let payout = |transfer: &tb::Transfer| Uuid::from_u128(transfer.user_data_128());
        let payouts = NOTES.into_iter().filter_map(|leg| find(leg).map(payout)).collect();
        Ok(WithdrawalStanding { reservation, payouts })
    }

    /// Notes that the row is about to be paid by this payout, at the next free leg. A repeat for the same payout and place is Ok.
    /// [`LedgerError::Contradiction`] when another payout has the place.
    pub async fn note_payout(
        &self,
        row: Uuid,
        currency: Currency,
        payout: Uuid,
        is_replacement: bool,
    ) -> Result<(), LedgerError> {
        let [debit, credit] =
            [AccountCode::LimitSource, AccountCode::PayoutNotes].map(|code| self.system(code, currency));
        self.open_once(&[debit, credit]).await?;
        let id = TransferId::of(row, NOTES[usize::from(is_replacement)]);
        let (amount, code) = (Amount::zero(currency), TransferCode::PayoutNote);
        let note = Transfer { reference: payout, ..Transfer::new(id, debit, credit, amount, code) };
        self.create_one(self.event(&note, Flags::empty()), Call::Other).await
    }
}
