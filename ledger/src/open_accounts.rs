//! Which accounts this process has seen open, so that a path that is taken often does not ask for them each time. Called by `velocity_limit`, and by
//! whoever books into accounts that are mostly there.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::chart::Account;
use crate::client::Ledger;
use crate::error::LedgerError;

/// The accounts that this process has seen open, velocity limits when they were filled: none is ever taken away or emptied, unless the
/// ledger itself is put back.
#[derive(Default)]
pub(crate) struct OpenAccounts(Mutex<HashSet<u128>>);

/// At 32 bytes each. When there are more, all are forgotten, and asked for once more.
const OPEN_ACCOUNTS_MAX: usize = 100_000;

impl OpenAccounts {
    pub(crate) fn knows(&self, account: &Account) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&account.id.raw())
    }

    /// An account that was open is not there: the ledger was put back to an earlier moment.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn learn(&self, account: &Account) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_ACCOUNTS_MAX {
            open.clear();
        }
        open.insert(account.id.raw());
    }
}

impl Ledger {
    /// [`Ledger::open`], asked once a process: for what stands on a path that is taken often.
    pub async fn open_once(&self, accounts: &[Account]) -> Result<(), LedgerError> {
        let new: Vec<Account> = accounts.iter().filter(|account| !self.open_accounts.knows(account)).copied().collect();
        if !new.is_empty() {
            self.open(&new).await?;
            new.iter().for_each(|account| self.open_accounts.learn(account));
        }
        Ok(())
    }
}
