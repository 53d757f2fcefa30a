//! What of an item in `suspense` was taken, by whom. PostgreSQL says the same, before money moves; but it may be restored to an earlier moment,
//! and an item that is open by its word alone would be given away once more, out of what belongs to others.
//!
//! Each transfer that takes from an item, or puts back into it, carries half of its id ([`Transfer::item`](crate::Transfer::item)), by which
//! TigerBeetle finds it. What brought the item, or gave all of it back to its payer, has the item's own id and is looked up by that.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::amount::Currency;
use crate::chart::AccountCode;
use crate::client::Ledger;
use crate::error::LedgerError;
use crate::transfer::{RecordedKind, half_of};

const PAGE: u32 = 100;

/// What one row has taken of an item, less what it has put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub row: Uuid,
    /// Less than zero where the row has put back more.
    pub minor: i64,
    /// Of the row's first transfer: nanoseconds since 1970 on the cluster's clock.
    pub timestamp: u64,
}

impl Ledger {
    /// In the order in which rows have begun to take; those that have put back as much as they took are left out. What is held counts as taken.
    pub async fn taken_of_item(&self, currency: Currency, item: Uuid) -> Result<Vec<Taken>, LedgerError> {
        let suspense = self.system(AccountCode::Suspense, currency).id;
        let mut rows: BTreeMap<Uuid, Taken> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.transfers_of_half(currency, half_of(item), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.timestamp;
            for transfer in page.iter().filter(|transfer| transfer.id.row() != item) {
                let out = match transfer.kind {
                    RecordedKind::Posted | RecordedKind::Pending => transfer.debit == suspense,
                    RecordedKind::Void { .. } => transfer.credit == suspense,
                    RecordedKind::Post { .. } => continue,
                };
                let minor = if out { transfer.amount_minor } else { transfer.amount_minor.saturating_neg() };
                let (row, timestamp) = (transfer.id.row(), transfer.timestamp);
                let taken = rows.entry(row).or_insert(Taken { row, minor: 0, timestamp });
                taken.minor = taken.minor.saturating_add(minor);
            }
        }
        let mut taken: Vec<Taken> = rows.into_values().filter(|taken| taken.minor != 0).collect();
        taken.sort_unstable_by_key(|taken| taken.timestamp);
        Ok(taken)
    }
}
