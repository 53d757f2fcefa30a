//! Transfers: as asked for by the service, as sent by `client`, as recorded by TigerBeetle.

use tigerbeetle_unofficial as tb;
use tigerbeetle_unofficial::transfer::Flags;
use uuid::Uuid;

use crate::amount::{Amount, Currency};
use crate::chart::{Account, TransferCode};
use crate::error::LedgerError;
use crate::id::{AccountId, TransferId};

/// The most events a request and the most rows a reply may hold: 1 MiB messages (docs/coding/requests.md). A server started
/// with `--development` takes 32 KiB, which is about 250 events.
pub const BATCH_MAX: u32 = 8189;

/// One debit and one credit of the same amount. Zero is allowed: it is recorded and moves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    pub id: TransferId,
    pub debit: Account,
    pub credit: Account,
    pub amount: Amount,
    pub code: TransferCode,
    /// The row it belongs to (`user_data_128`).
    pub reference: Uuid,
    /// The item in suspense that it takes from, or puts back into (`user_data_64`, half of the id): see [`crate::Ledger::taken_of_item`].
    pub item: Option<Uuid>,
}

impl Transfer {
    /// Of the row that its id is made of.
    pub fn new(id: TransferId, debit: Account, credit: Account, amount: Amount, code: TransferCode) -> Self {
        Self { id, debit, credit, amount, code, reference: id.row(), item: None }
    }

    #[must_use]
    pub fn of_item(self, item: Uuid) -> Self {
        Self { item: Some(item), ..self }
    }

    pub(crate) fn event(&self, ledger: u32, flags: Flags) -> tb::Transfer {
        tb::Transfer::new(self.id.raw())
            .with_debit_account_id(self.debit.id.raw())
            .with_credit_account_id(self.credit.id.raw())
            .with_amount(self.amount.as_u128())
            .with_user_data_128(self.reference.as_u128())
            .with_user_data_64(self.item.map_or(0, half_of))
            .with_ledger(ledger)
            .with_code(self.code.code())
            .with_flags(flags)
    }
}

/// The half of a row's id that is random, and so no row's but its own.
pub(crate) fn half_of(row: Uuid) -> u64 {
    row.as_u64_pair().1
}

/// A transfer as TigerBeetle recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    pub id: TransferId,
    pub debit: AccountId,
    pub credit: AccountId,
    pub amount_minor: i64,
    pub currency: Currency,
    /// See [`TransferCode::from_code`].
    pub code: u16,
    pub reference: Uuid,
    /// Half of the id of [`Transfer::item`]; zero where there is none.
    pub half_of_item: u64,
    /// Nanoseconds since 1970 on the cluster's clock; unique, and rising in the order of execution.
    pub timestamp: u64,
    pub kind: RecordedKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedKind {
    Posted,
    Pending,
    Post { pending: TransferId },
    Void { pending: TransferId },
}

impl RecordedKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::Pending => "pending",
            Self::Post { .. } => "post",
            Self::Void { .. } => "void",
        }
    }
}

impl Recorded {
    pub fn amount(&self) -> Result<Amount, LedgerError> {
        Amount::new(self.amount_minor, self.currency).map_err(|_| LedgerError::Contradiction("amount_too_large"))
    }

    /// Whether this is what `t` asked for, reserved.
    pub(crate) fn is_reservation_of(&self, t: &Transfer) -> bool {
        self.kind == RecordedKind::Pending && Self { kind: RecordedKind::Posted, ..*self }.is(t)
    }

    /// Whether this is what `t` asked for, moved at once.
    pub(crate) fn is(&self, t: &Transfer) -> bool {
        *self
            == Self {
                id: t.id,
                debit: t.debit.id,
                credit: t.credit.id,
                amount_minor: t.amount.minor(),
                currency: t.amount.currency(),
                code: t.code.code(),
                reference: t.reference,
                // Older ones do not say of which item they are.
                half_of_item: if self.half_of_item == 0 { 0 } else { t.item.map_or(0, half_of) },
                timestamp: self.timestamp,
                kind: RecordedKind::Posted,
            }
    }

    pub(crate) fn from_event(event: &tb::Transfer, base: u32) -> Result<Self, LedgerError> {
        let numeric = event.ledger().checked_sub(base).and_then(|n| u16::try_from(n).ok());
        Ok(Self {
            id: TransferId::from_raw(event.id()),
            debit: AccountId::from_raw(event.debit_account_id()),
            credit: AccountId::from_raw(event.credit_account_id()),
            amount_minor: i64::try_from(event.amount()).map_err(|_| LedgerError::Contradiction("amount_too_large"))?,
            currency: numeric
                .and_then(Currency::from_numeric)
                .ok_or(LedgerError::Contradiction("transfer_of_another_ledger_base"))?,
            code: event.code(),
            reference: Uuid::from_u128(event.user_data_128()),
            half_of_item: event.user_data_64(),
            timestamp: event.as_raw().timestamp,
            kind: kind(event),
        })
    }
}

fn kind(event: &tb::Transfer) -> RecordedKind {
    let flags = event.flags();
    let pending = TransferId::from_raw(event.pending_id());
    if flags.contains(Flags::POST_PENDING_TRANSFER) {
        RecordedKind::Post { pending }
    } else if flags.contains(Flags::VOID_PENDING_TRANSFER) {
        RecordedKind::Void { pending }
    } else if flags.contains(Flags::PENDING) {
        RecordedKind::Pending
    } else {
        RecordedKind::Posted
    }
}
