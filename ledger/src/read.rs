//! [`Ledger`]: reading balances, transfers and accounts. Reads see everything that was answered before they were asked.

use std::collections::HashMap;
use std::sync::Arc;

use tigerbeetle_unofficial as tb;
use tigerbeetle_unofficial::account;
use uuid::Uuid;

use crate::amount::Currency;
use crate::balance::{Balance, RecordedAccount};
use crate::chart::{Account, AccountCode};
use crate::client::Ledger;
use crate::error::LedgerError::{self, Contradiction};
use crate::id::{AccountId, Leg, TransferId};
use crate::transfer::Recorded;

/// TigerBeetle's timestamps are 1 to 2^63 - 1 nanoseconds; a filter with another one finds nothing (lsm/timestamp_range.zig).
const TIMESTAMP_MAX: u64 = i64::MAX.unsigned_abs();

/// Ids in one request. A message holds 8189 rows of reply, but a server started with `--development` takes requests of 32 KiB
/// only (cli.zig, `start_defaults_development`).
const LOOKUP_MAX: usize = 1000;

impl Ledger {
    /// Whether the cluster answers, by the deadline.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.balance(self.provider_balance(Currency::ZAR)).await.map(drop)
    }

    /// An account that is not open has zero on all sides.
    pub async fn balance(&self, account: Account) -> Result<Balance, LedgerError> {
        let balance = self.balances(&[account]).await?.into_iter().next();
        balance.ok_or(Contradiction("one_balance_asked_none_given"))
    }

    /// In the order asked. One round trip, and so one moment, for up to 1000 accounts.
    pub async fn balances(&self, accounts: &[Account]) -> Result<Vec<Balance>, LedgerError> {
        let mut found: HashMap<u128, tb::Account> = HashMap::with_capacity(accounts.len());
        for chunk in accounts.chunks(LOOKUP_MAX) {
            let ids: Arc<[u128]> = chunk.iter().map(|account| account.id.raw()).collect();
            let rows = self.request("lookup_accounts", move |session| {
                let ids = Arc::clone(&ids);
                async move { session.client().lookup_accounts(ids).await }
            });
            found.extend(rows.await?.into_iter().map(|row| (row.id(), row)));
        }
        let balance = |account: &Account| match found.get(&account.id.raw()) {
            Some(row) => balance_of(row, account.code),
            None => Ok(Balance::zero(account.code.normal_side())),
        };
        accounts.iter().map(balance).collect()
    }

    /// The balance as it was right after the last transfer at or before `timestamp` (the cluster's nanoseconds). A timestamp
    /// that the cluster has not reached yet gives the balance now, which may change.
    pub async fn balance_at(&self, account: Account, timestamp: u64) -> Result<Balance, LedgerError> {
        let last = self.last_change(account, timestamp).await?;
        Ok(last.map_or_else(|| Balance::zero(account.code.normal_side()), |(_, balance)| balance))
    }

    /// The account's last transfer at or before `timestamp`, whatever its amount: its timestamp and the balance right after it.
    pub async fn last_change(&self, account: Account, timestamp: u64) -> Result<Option<(u64, Balance)>, LedgerError> {
        if timestamp == 0 {
            return Ok(None); // to TigerBeetle zero means "any time"
        }
        let mut filter =
            account::Filter::new(account.id.raw(), 1).with_flags(BOTH_SIDES | account::FilterFlags::REVERSED);
        filter.as_raw_mut().timestamp_max = timestamp.min(TIMESTAMP_MAX);
        let rows = self.request("get_account_balances", move |session| async move {
            session.client().get_account_balances(Box::new(filter)).await
        });
        rows.await?.first().map(|row| history_row(row, account.code)).transpose()
    }

    /// The transfers of one account strictly after one timestamp and up to another, in the order of execution, each with the
    /// account's balance right after it. Pages as [`Ledger::transfers_after`]. Complete only up to a timestamp that a transfer
    /// is known to have ([`Ledger::last_change`]): the cluster may still execute one before any other.
    pub async fn history(
        &self,
        account: Account,
        after: u64,
        until: u64,
        limit: u32,
    ) -> Result<Vec<(Recorded, Balance)>, LedgerError> {
        let Some((timestamp_min, limit)) = bounds(after, limit) else { return Ok(Vec::new()) };
        if until < timestamp_min {
            return Ok(Vec::new());
        }
        let mut filter = account::Filter::new(account.id.raw(), limit).with_flags(BOTH_SIDES);
        filter.as_raw_mut().timestamp_min = timestamp_min;
        filter.as_raw_mut().timestamp_max = until.min(TIMESTAMP_MAX);
        let transfers = self.request("get_account_transfers", move |session| async move {
            session.client().get_account_transfers(Box::new(filter)).await
        });
        let transfers = self.recorded(transfers.await?)?;
        let balances = self.request("get_account_balances", move |session| async move {
            session.client().get_account_balances(Box::new(filter)).await
        });
        let balances = balances.await?;
        // A row of each for every transfer, and as many of them as a message holds.
        if transfers.is_empty() != balances.is_empty() {
            return Err(HISTORY_HAS_GAPS);
        }
        let pairs = transfers.into_iter().zip(&balances).map(|(transfer, row)| {
            let (timestamp, balance) = history_row(row, account.code)?;
            if timestamp == transfer.timestamp { Ok((transfer, balance)) } else { Err(HISTORY_HAS_GAPS) }
        });
        pairs.collect()
    }

    /// Those that are recorded, in the order asked; the others are left out. A refused transfer is not recorded.
    pub async fn lookup(&self, ids: &[TransferId]) -> Result<Vec<Recorded>, LedgerError> {
        self.recorded(self.lookup_raw(ids).await?)
    }

    /// Whether one of these transfers of a row is recorded. One that is not may still be on its way.
    pub async fn has(&self, row: Uuid, legs: &[Leg]) -> Result<bool, LedgerError> {
        let ids: Vec<TransferId> = legs.iter().map(|leg| TransferId::of(row, *leg)).collect();
        Ok(!self.lookup_raw(&ids).await?.is_empty())
    }

    pub(crate) async fn lookup_raw(&self, ids: &[TransferId]) -> Result<Vec<tb::Transfer>, LedgerError> {
        let mut recorded = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LOOKUP_MAX) {
            let ids: Arc<[u128]> = chunk.iter().map(|id| id.raw()).collect();
            let rows = self.request("lookup_transfers", move |session| {
                let ids = Arc::clone(&ids);
                async move { session.client().lookup_transfers(ids).await }
            });
            recorded.extend(rows.await?);
        }
        Ok(recorded)
    }

    /// Every transfer of the currency strictly after `timestamp`, in the order of execution, at most `limit` and
    /// [`crate::BATCH_MAX`]. The last one's timestamp is the next cursor: nothing is ever recorded behind it. Only an empty page is
    /// the end: a server with small messages gives shorter pages than asked for.
    pub async fn transfers_after(
        &self,
        currency: Currency,
        timestamp: u64,
        limit: u32,
    ) -> Result<Vec<Recorded>, LedgerError> {
        let Some(filter) = self.page(currency, timestamp, limit) else { return Ok(Vec::new()) };
        let rows = self.request("query_transfers", move |session| async move {
            session.client().query_transfers(Box::new(filter)).await
        });
        self.recorded(rows.await?)
    }

    /// As [`Ledger::transfers_after`], of one item in suspense.
    pub(crate) async fn transfers_of_half(
        &self,
        currency: Currency,
        half_of_item: u64,
        timestamp: u64,
        limit: u32,
    ) -> Result<Vec<Recorded>, LedgerError> {
        let Some(filter) = self.page(currency, timestamp, limit) else { return Ok(Vec::new()) };
        let filter = filter.with_user_data_64(half_of_item);
        let rows = self.request("query_transfers", move |session| async move {
            session.client().query_transfers(Box::new(filter)).await
        });
        self.recorded(rows.await?)
    }

    /// Every account of the currency opened strictly after `timestamp`, in that order, with its balance now. Pages as
    /// [`Ledger::transfers_after`].
    pub async fn accounts_after(
        &self,
        currency: Currency,
        timestamp: u64,
        limit: u32,
    ) -> Result<Vec<RecordedAccount>, LedgerError> {
        let Some(filter) = self.page(currency, timestamp, limit) else { return Ok(Vec::new()) };
        let rows = self.request("query_accounts", move |session| async move {
            session.client().query_accounts(Box::new(filter)).await
        });
        rows.await?.iter().map(recorded_account).collect()
    }

    /// As [`Ledger::accounts_after`], of one sort.
    pub(crate) async fn accounts_of(
        &self,
        code: AccountCode,
        currency: Currency,
        timestamp: u64,
        limit: u32,
    ) -> Result<Vec<RecordedAccount>, LedgerError> {
        let Some(filter) = self.page(currency, timestamp, limit) else { return Ok(Vec::new()) };
        let filter = filter.with_code(code.code());
        let rows = self.request("query_accounts", move |session| async move {
            session.client().query_accounts(Box::new(filter)).await
        });
        rows.await?.iter().map(recorded_account).collect()
    }

    fn page(&self, currency: Currency, after: u64, limit: u32) -> Option<tb::QueryFilter> {
        let (timestamp_min, limit) = bounds(after, limit)?;
        let mut filter = tb::QueryFilter::new(limit).with_ledger(self.number(currency));
        filter.as_raw_mut().timestamp_min = timestamp_min;
        Some(filter)
    }

    fn recorded(&self, rows: Vec<tb::Transfer>) -> Result<Vec<Recorded>, LedgerError> {
        rows.iter().map(|row| Recorded::from_event(row, self.base)).collect()
    }
}

const BOTH_SIDES: account::FilterFlags = account::FilterFlags::DEBITS.union(account::FilterFlags::CREDITS);

/// The filter's first timestamp and limit; `None` when nothing can match.
fn bounds(after: u64, limit: u32) -> Option<(u64, u32)> {
    let timestamp_min = after.checked_add(1).filter(|min| *min <= TIMESTAMP_MAX)?;
    (limit > 0).then_some((timestamp_min, limit)) // TigerBeetle cuts it to what a message holds
}

/// A transfer without a balance, or the other way round: every account of ours keeps its history.
const HISTORY_HAS_GAPS: LedgerError = Contradiction("account_history_has_gaps");

fn history_row(row: &account::Balance, code: AccountCode) -> Result<(u64, Balance), LedgerError> {
    let debits = (row.debits_posted(), row.debits_pending());
    let credits = (row.credits_posted(), row.credits_pending());
    Ok((row.as_raw().timestamp, Balance::from_sides(debits, credits, code.normal_side())?))
}

fn balance_of(row: &tb::Account, code: AccountCode) -> Result<Balance, LedgerError> {
    let debits = (row.debits_posted(), row.debits_pending());
    Balance::from_sides(debits, (row.credits_posted(), row.credits_pending()), code.normal_side())
}

fn recorded_account(row: &tb::Account) -> Result<RecordedAccount, LedgerError> {
    let code = AccountCode::from_code(row.code()).ok_or(Contradiction("unlisted_account_code"))?;
    Ok(RecordedAccount {
        id: AccountId::from_raw(row.id()),
        code,
        balance: balance_of(row, code)?,
        timestamp: row.as_raw().timestamp,
    })
}
