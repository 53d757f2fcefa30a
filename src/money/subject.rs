//! What staff decide about, and what takes money out of suspense: a transaction, or a journal of the company's. Their ids never meet, but
//! tables that refer to either have a column for each.

use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Transaction(Uuid),
    Journal(Uuid),
}

impl Subject {
    pub fn id(self) -> Uuid {
        match self {
            Self::Transaction(id) | Self::Journal(id) => id,
        }
    }

    /// For the columns `transaction_id` and `journal_id`.
    pub fn columns(self) -> (Option<Uuid>, Option<Uuid>) {
        match self {
            Self::Transaction(id) => (Some(id), None),
            Self::Journal(id) => (None, Some(id)),
        }
    }
}
