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

    /// This account is not there. Where it was open the ledger was put back to an earlier moment, and others may be gone as well; one that
    /// never was says nothing.
    pub(crate) fn miss(&self, account: u128) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains(&account) {
            open.clear();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, Currency, user_id};

    #[test]
    fn what_was_open_and_is_gone_makes_all_doubtful_and_what_never_was_none() {
        let zar = Currency::parse("ZAR").expect("rand");
        let [known, gone, never] = [1, 2, 3].map(|customer| Account::wallet(user_id(1, [customer; 10]), zar));
        let open = OpenAccounts::default();
        open.learn(&known);
        open.learn(&gone);
        open.miss(never.id.raw());
        assert!(open.knows(&known) && open.knows(&gone));
        open.miss(gone.id.raw());
        assert!(!open.knows(&known) && !open.knows(&gone));
    }
}
