//! The company's journals that take two steps: money on its way is held first (a pending transfer without a timeout), and posted when it
//! has arrived or given back when it has not. And what the company owns beyond what it owes, which a journal must leave above zero.

use tigerbeetle_unofficial::transfer::Flags;
use uuid::Uuid;

use crate::amount::Currency;
use crate::balance::Balance;
use crate::chart::AccountCode;
use crate::client::{Ledger, resolution_of};
use crate::codes::Call;
use crate::error::LedgerError;
use crate::id::{Leg, TransferId};
use crate::transfer::{BATCH_MAX, RecordedKind, Transfer};

/// What the ledger has of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalStanding {
    /// Nothing, or nothing yet.
    None,
    Held,
    /// Moved: at once, or after it was held.
    Posted,
    Voided,
}

impl Ledger {
    /// Holds it until [`Ledger::post_journal`] or [`Ledger::void_journal`]. Its leg must be [`Leg::Journal`].
    pub async fn hold_journal(&self, t: Transfer) -> Result<(), LedgerError> {
        assert_eq!(
            t.id.leg(),
            Leg::Journal.byte(),
            "what is held is the journal's own leg: post and void look for it there"
        );
        self.create_one(self.event(&t, Flags::PENDING), Call::Other).await
    }

    /// What was held moves, all of it. Only for a hold that was answered Ok, as [`Ledger::post`].
    pub async fn post_journal(&self, row: Uuid) -> Result<(), LedgerError> {
        let event = resolution_of(TransferId::of(row, Leg::Journal), Leg::JournalPost, Flags::POST_PENDING_TRANSFER);
        self.create_one(event.with_amount(u128::MAX), Call::Other).await
    }

    /// What was held does not move. Only for a hold that was answered Ok.
    pub async fn void_journal(&self, row: Uuid) -> Result<(), LedgerError> {
        let void = resolution_of(TransferId::of(row, Leg::Journal), Leg::JournalVoid, Flags::VOID_PENDING_TRANSFER);
        self.create_one(void, Call::Other).await
    }

    /// One round trip.
    pub async fn journal_standing(&self, row: Uuid) -> Result<JournalStanding, LedgerError> {
        let recorded = self.lookup(&TransferId::all_of_journal(row)).await?;
        let last = recorded.iter().max_by_key(|transfer| transfer.timestamp);
        Ok(match last.map(|transfer| transfer.kind) {
            None => JournalStanding::None,
            Some(RecordedKind::Pending) => JournalStanding::Held,
            Some(RecordedKind::Posted | RecordedKind::Post { .. }) => JournalStanding::Posted,
            Some(RecordedKind::Void { .. }) => JournalStanding::Voided,
        })
    }

    /// What we hold (`provider_balance`, `bank`) less what we owe (wallets, `suspense`), by the other side of the books: own funds (`equity`,
    /// `fee_income`, less `provider_fees` and `chargeback_losses`) less what customers owe us. What is held to be taken out of `equity`
    /// counts as gone. The company's accounts are read last, in one round trip, so that whoever holds first and looks then is seen by
    /// everybody who looks later; a debt that is made while the customers' accounts are read, page by page, counts as one that is made
    /// right after.
    pub async fn position(&self, currency: Currency) -> Result<i64, LedgerError> {
        let owed_to_us = self.sum_of(AccountCode::CustomerReceivable, currency).await?;
        let codes =
            [AccountCode::Equity, AccountCode::FeeIncome, AccountCode::ProviderFees, AccountCode::ChargebackLosses];
        let balances = self.balances(&codes.map(|code| self.system(code, currency))).await?;
        let held = balances.first().map_or(0, |equity| equity.debits_pending);
        let own: i64 =
            balances.iter().map(|balance| balance.credits_posted.saturating_sub(balance.debits_posted)).sum();
        Ok(own.saturating_sub(held).saturating_sub(owed_to_us))
    }

    /// What all accounts of a sort hold together, each on its normal side.
    async fn sum_of(&self, code: AccountCode, currency: Currency) -> Result<i64, LedgerError> {
        let (mut sum, mut after) = (0_i64, 0);
        loop {
            let page = self.accounts_of(code, currency, after, BATCH_MAX).await?;
            let Some(last) = page.last() else { return Ok(sum) };
            after = last.timestamp;
            sum = page.iter().map(|account| account.balance).map(Balance::posted).fold(sum, i64::saturating_add);
        }
    }
}
