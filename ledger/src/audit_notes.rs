//! How far the service's audit log goes, written where nobody who holds PostgreSQL can change it: the ledger takes nothing back.
//!
//! A note is a transfer of amount zero on the ledger number of what is not money (base + 1): `user_data_64` is the position of a link of the
//! log's hash chain, `user_data_128` the first half of its hash. The last one that was recorded counts.

use tigerbeetle_unofficial::account;
use tigerbeetle_unofficial::transfer::Flags;
use uuid::Uuid;

use crate::amount::{Amount, Currency};
use crate::chart::{AccountCode, TransferCode};
use crate::client::Ledger;
use crate::codes::Call;
use crate::error::LedgerError;
use crate::id::{Leg, TransferId};
use crate::transfer::Transfer;

/// The log is of no currency; an account has one in its id.
const CURRENCY: Currency = Currency::ZAR;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditNote {
    pub position: u64,
    /// The first 16 bytes of the link's hash.
    pub hash: [u8; 16],
}

impl Ledger {
    /// The note that was recorded last.
    pub async fn last_audit_note(&self) -> Result<Option<AuditNote>, LedgerError> {
        let account = self.system(AccountCode::AuditNotes, CURRENCY);
        let flags = account::FilterFlags::CREDITS | account::FilterFlags::REVERSED;
        let filter = account::Filter::new(account.id.raw(), 1).with_flags(flags);
        let rows = self.request("get_account_transfers", move |session| async move {
            session.client().get_account_transfers(Box::new(filter)).await
        });
        let note = |row: &tigerbeetle_unofficial::Transfer| AuditNote {
            position: row.user_data_64(),
            hash: row.user_data_128().to_be_bytes(),
        };
        Ok(rows.await?.first().map(note))
    }

    /// `row` is any row id that nothing else has.
    pub async fn note_audit(&self, row: Uuid, note: AuditNote) -> Result<(), LedgerError> {
        let [debit, credit] =
            [AccountCode::LimitSource, AccountCode::AuditNotes].map(|code| self.system(code, CURRENCY));
        self.open_once(&[debit, credit]).await?;
        let (id, amount, code) = (TransferId::of(row, Leg::Main), Amount::zero(CURRENCY), TransferCode::AuditNote);
        let reference = Uuid::from_bytes(note.hash);
        let transfer = Transfer { reference, ..Transfer::new(id, debit, credit, amount, code) };
        let event = self.event(&transfer, Flags::empty()).with_user_data_64(note.position);
        self.create_one(event, Call::Other).await
    }
}
