//! What may leave a wallet besides what is in it: a daily limit, and whether anything may leave at all. Decided by
//! TigerBeetle in the same write that reserves the money, so that two withdrawals at once cannot both pass.
//!
//! Each wallet has a *velocity limit*: an account that holds no money, on a ledger number of its own (base + 1), filled once with more
//! than anybody can use. A withdrawal is a chain, all or nothing:
//!
//! ```text
//! LimitUse        velocity limit ──amount──> source    pending, times out after the limit's time: what was used comes back by itself
//! LimitCheck      velocity limit ──fill - limit──> source    pending: only there if no more than the limit is in use
//! LimitCheckVoid  takes LimitCheck back
//! Main           wallet ──amount──> provider_balance   pending: the reservation
//! ```
//!
//! The chain always has all four, with or without a limit: whichever of them is refused, its id is spent, and no later or
//! slower attempt of the same withdrawal can pass. The limit is in no account but in each request: when it changes,
//! nothing has to be moved. Freezing shuts the velocity limit (a pending closing transfer, docs/reference/transfer.md
//! "closing_debit"); deposits do not pass it. A withdrawal that fails gives back what it used.

use std::collections::HashSet;

use tigerbeetle_unofficial as tb;
use tigerbeetle_unofficial::account;
use tigerbeetle_unofficial::transfer::Flags;
use uuid::Uuid;

use crate::amount::{Amount, Currency};
use crate::chart::{Account, AccountCode, TransferCode};
use crate::client::{Ledger, resolution_of};
use crate::codes::{self, Call};
use crate::error::LedgerError::{self, AlreadyResolved, Contradiction, Refused};
use crate::error::{Refusal, Resolution};
use crate::id::{Leg, TransferId};
use crate::transfer::Transfer;

/// How much may leave a wallet within a time that rolls on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VelocityLimit {
    /// `None`: as much as the wallet holds. What is used is counted all the same.
    pub amount: Option<Amount>,
    pub secs: u32,
}

/// Transfers that are looked through for the oldest use: three of each withdrawal. Who makes more within the limit's time is told of none that
/// is further behind.
const USES_MAX: u32 = 1_000;

/// Closings that are looked through for the last that is pending; those that are not were only to spend an id.
const CLOSINGS_MAX: u32 = 100;

impl Ledger {
    /// [`Ledger::reserve`] through the wallet's velocity limit: refused too when it is shut ([`Refusal::Frozen`]) or when more than the
    /// limit would be in use ([`Refusal::LimitExceeded`]). The debit account must be a wallet.
    pub async fn reserve_within(&self, t: Transfer, velocity_limit: VelocityLimit) -> Result<(), LedgerError> {
        let limit_account = self.opened_limit(t.debit).await?;
        let floor = match velocity_limit.amount {
            Some(amount) => fill(limit_account.currency).checked_sub(amount),
            None => Ok(Amount::zero(limit_account.currency)),
        };
        let floor = floor.map_err(|_| Contradiction("limit_cannot_be_used"))?;
        let of = |leg| TransferId::of(t.id.row(), leg);
        let (pending, linked) = (Flags::PENDING, Flags::LINKED);
        let chain = [
            (
                Leg::LimitUse,
                self.limit_event(limit_account, of(Leg::LimitUse), t.amount, linked | pending)
                    .with_timeout(velocity_limit.secs),
            ),
            (Leg::LimitCheck, self.limit_event(limit_account, of(Leg::LimitCheck), floor, linked | pending)),
            (
                Leg::LimitCheckVoid,
                resolution_of(of(Leg::LimitCheck), Leg::LimitCheckVoid, linked | Flags::VOID_PENDING_TRANSFER),
            ),
            (Leg::Main, self.event(&t, pending)),
        ];
        let failed = self.create_transfers(chain.iter().map(|(_, event)| *event).collect()).await?;
        if failed.is_empty() {
            return Ok(());
        }
        let cause = chain.iter().zip(&failed).find(|(_, code)| !codes::is_sibling(**code));
        let Some(((leg, _), code)) = cause else { return Err(Contradiction("linked_event_failed")) };
        match (leg, codes::transfer_outcome(*code, Call::Reserve)) {
            // A repeat: TigerBeetle says `exists` of the first that is there, whatever of the rest is.
            (_, Ok(())) => self.reserved_before(&t).await?.ok_or(Contradiction("linked_chain_recorded_in_part")),
            (Leg::Main, Err(error)) => Err(error),
            (Leg::LimitUse, Err(Refused(Refusal::NoSuchAccount))) => {
                self.refused_by_limit(&t, Refusal::NoSuchAccount).await
            }
            (Leg::LimitUse, Err(Refused(_))) => self.refused_by_limit(&t, Refusal::Frozen).await,
            (_, Err(Refused(_))) => self.refused_by_limit(&t, Refusal::LimitExceeded).await,
            (_, Err(error)) => Err(error),
        }
    }

    /// How much had left the wallet within the limit's time, or was about to, when this withdrawal was reserved, itself included: the
    /// balance right after that write, so that of any number at once each counts those before it, and a repeat says the same. `None`
    /// where it did not pass a velocity limit.
    pub async fn outflow_at(&self, row: Uuid, wallet: Account) -> Result<Option<Amount>, LedgerError> {
        let used = self.lookup_raw(&[TransferId::of(row, Leg::LimitUse)]).await?;
        let Some(used) = used.first() else { return Ok(None) };
        let balance = self.balance_at(limit_of(wallet), used.as_raw().timestamp).await?;
        Amount::new(balance.pending(), wallet.currency).map(Some).map_err(|_| Contradiction("more_used_than_there_is"))
    }

    /// How much of the limit is in use now: what left the wallet within its time, or is about to. For telling: what may leave is
    /// decided by [`Ledger::reserve_within`].
    pub async fn outflow_now(&self, user: Uuid, currency: Currency) -> Result<i64, LedgerError> {
        Ok(self.balance(Account::velocity_limit(user, currency)).await?.pending())
    }

    /// When the oldest withdrawal after `since` that still counts against the limit was reserved: nanoseconds on the cluster's clock. To be
    /// shown, and no ground to decide anything.
    pub async fn oldest_use(&self, user: Uuid, currency: Currency, since: u64) -> Result<Option<u64>, LedgerError> {
        let account = Account::velocity_limit(user, currency);
        let mut filter = account::Filter::new(account.id.raw(), USES_MAX).with_flags(account::FilterFlags::DEBITS);
        filter.as_raw_mut().timestamp_min = since.max(1);
        let rows = self.request("get_account_transfers", move |session| async move {
            session.client().get_account_transfers(Box::new(filter)).await
        });
        let rows = rows.await?;
        let of = |leg: Leg| {
            let ids = rows.iter().map(|row| (TransferId::from_raw(row.id()), row.as_raw().timestamp));
            ids.filter(move |(id, _)| id.leg() == leg.byte())
        };
        let returned: HashSet<Uuid> = of(Leg::LimitReturn).map(|(id, _)| id.row()).collect();
        Ok(of(Leg::LimitUse).find(|(id, _)| !returned.contains(&id.row())).map(|(_, at)| at))
    }

    /// A velocity limit's no, unless the reservation stands since before there were velocity limits: those did not pass one.
    async fn refused_by_limit(&self, t: &Transfer, refusal: Refusal) -> Result<(), LedgerError> {
        self.reserved_before(t).await?.ok_or(Refused(refusal))
    }

    async fn reserved_before(&self, t: &Transfer) -> Result<Option<()>, LedgerError> {
        let recorded = self.lookup(&[t.id]).await?;
        Ok(recorded.first().filter(|recorded| recorded.is_reservation_of(t)).map(|_| ()))
    }

    /// [`Ledger::void_up_to`], and what the withdrawal used of its limit comes back. A repeat finishes what is left.
    pub async fn void_within(&self, row: Uuid, repay: Transfer) -> Result<Amount, LedgerError> {
        let repaid = self.void_up_to(row, repay).await?;
        let used = TransferId::of(row, Leg::LimitUse);
        // One that was reserved without a velocity limit, before there were any, used nothing.
        if self.lookup_raw(&[used]).await?.is_empty() {
            return Ok(repaid);
        }
        match self.create_one(resolution_of(used, Leg::LimitReturn, Flags::VOID_PENDING_TRANSFER), Call::Other).await {
            // Its time is over: it came back by itself.
            Ok(()) | Err(AlreadyResolved(_)) => Ok(repaid),
            Err(error) => Err(error),
        }
    }

    /// Shuts the velocity limit: no withdrawal passes from now on. `row` is the restriction's own, and what [`Ledger::open_again`] undoes.
    /// One that is shut already stays so: the row that did it was lost with an older PostgreSQL.
    pub async fn block_withdrawals(&self, row: Uuid, wallet: Account) -> Result<(), LedgerError> {
        let limit_account = self.opened_limit(wallet).await?;
        let source = self.system(AccountCode::LimitSource, wallet.currency);
        let closing = closing(TransferId::of(row, Leg::Main), limit_account, source);
        match self.create_one(self.event(&closing, Flags::PENDING | Flags::CLOSING_DEBIT), Call::Other).await {
            Err(Refused(refusal)) => match self.standing_closing(limit_account).await? {
                Some(_) => Ok(()),
                None => Err(Refused(refusal)),
            },
            shut => shut,
        }
    }

    /// Whether the velocity limit is shut. One round trip.
    pub async fn is_blocked(&self, user: Uuid, currency: Currency) -> Result<bool, LedgerError> {
        let id = Account::velocity_limit(user, currency).id.raw();
        let found = self
            .request("lookup_accounts", move |session| async move { session.client().lookup_accounts(vec![id]).await });
        Ok(found.await?.iter().any(|account| account.flags().contains(account::Flags::CLOSED)))
    }

    /// What closed an account, while it is closed: of two closings the second is refused, so it is the last one.
    async fn standing_closing(&self, account: Account) -> Result<Option<TransferId>, LedgerError> {
        let flags = account::FilterFlags::DEBITS | account::FilterFlags::REVERSED;
        let mut filter = account::Filter::new(account.id.raw(), CLOSINGS_MAX).with_flags(flags);
        filter.as_raw_mut().code = TransferCode::Closing.code();
        let rows = self.request("get_account_transfers", move |session| async move {
            session.client().get_account_transfers(Box::new(filter)).await
        });
        let rows = rows.await?;
        let last = rows.iter().find(|row| row.flags().contains(Flags::PENDING));
        let Some(closing) = last.map(|row| TransferId::from_raw(row.id())) else { return Ok(None) };
        let undone = TransferId::of(closing.row(), opening(closing));
        Ok(self.lookup_raw(&[undone]).await?.is_empty().then_some(closing))
    }

    /// Closes an empty wallet, or is refused: nothing is credited or debited from now on. Undone by [`Ledger::open_again`].
    ///
    /// The velocity limit must be shut and nothing reserved: what is reserved in a closed wallet can never be posted. That it is empty
    /// TigerBeetle decides: the closing transfer takes all that the wallet has (`balancing_debit`) to the receivable, and counts
    /// only if that was nothing. After a refusal it may stand all the same, until [`Ledger::open_again`]; after that it is
    /// refused for good. One that is closed already stays so, as in [`Ledger::block_withdrawals`].
    pub async fn close_wallet(&self, row: Uuid, wallet: Account) -> Result<(), LedgerError> {
        let receivable = Account::receivable(owner(wallet), wallet.currency);
        self.open(&[wallet, receivable]).await?;
        let closing = closing(TransferId::of(row, Leg::Close), wallet, receivable);
        let flags = Flags::PENDING | Flags::CLOSING_DEBIT | Flags::BALANCING_DEBIT;
        let closed_by = match self.create_one(self.event(&closing, flags).with_amount(u128::MAX), Call::Other).await {
            Err(Refused(refusal)) => self.standing_closing(wallet).await?.ok_or(Refused(refusal))?,
            closed => closed.map(|()| closing.id)?,
        };
        // Where something is owed, the receivable takes as much: that is no empty wallet either.
        let recorded = self.lookup_raw(&[closed_by]).await?;
        let is_empty = recorded.first().is_some_and(|recorded| recorded.amount() == 0);
        if is_empty { Ok(()) } else { Err(Refused(Refusal::InsufficientFunds)) }
    }

    /// Undoes what [`Ledger::block_withdrawals`] and [`Ledger::close_wallet`] did for this row, or for one that was lost. A closing that is
    /// still on its way, of a slower step of the same row, has no effect any more: it is refused as spent.
    pub async fn open_again(&self, row: Uuid, wallet: Account) -> Result<(), LedgerError> {
        self.open_wallet(row, wallet).await?;
        for account in [wallet, limit_of(wallet)] {
            // One of a younger row stands: this step is late, and opens nothing of that row's.
            if let Some(closing) = self.standing_closing(account).await?.filter(|closing| closing.row() <= row) {
                self.undo(closing, opening(closing)).await?;
            }
        }
        Ok(())
    }

    async fn open_wallet(&self, row: Uuid, wallet: Account) -> Result<(), LedgerError> {
        let closing_id = TransferId::of(row, Leg::Close);
        let (limit_account, source) = (limit_of(wallet), self.system(AccountCode::LimitSource, wallet.currency));
        // Nothing of amount zero through the velocity limit. It is shut, so that this is refused, and the id is spent.
        let spend = self.event(&closing(closing_id, limit_account, source), Flags::empty());
        match self.create_one(spend, Call::Other).await {
            Ok(()) | Err(Refused(_)) => Ok(()),
            // The id is that of a closing which stands.
            Err(Contradiction("exists_with_different_flags")) => self.undo(closing_id, Leg::CloseVoid).await,
            Err(error) => Err(error),
        }
    }

    async fn undo(&self, pending: TransferId, leg: Leg) -> Result<(), LedgerError> {
        match self.create_one(resolution_of(pending, leg, Flags::VOID_PENDING_TRANSFER), Call::Other).await {
            Ok(()) | Err(AlreadyResolved(Resolution::Voided)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The velocity limit of a wallet, open and filled.
    async fn opened_limit(&self, wallet: Account) -> Result<Account, LedgerError> {
        let limit_account = limit_of(wallet);
        if self.open_accounts.knows(&limit_account) {
            return Ok(limit_account);
        }
        let source = self.system(AccountCode::LimitSource, wallet.currency);
        self.open(&[limit_account, source]).await?;
        let (id, amount) = (TransferId::filling(limit_account.id), fill(wallet.currency));
        let filling = Transfer::new(id, source, limit_account, amount, TransferCode::LimitUse);
        let filling = Transfer { reference: owner(wallet), ..filling };
        self.create_one(self.event(&filling, Flags::empty()), Call::Other).await?;
        self.open_accounts.learn(&limit_account);
        Ok(limit_account)
    }

    fn limit_event(&self, limit_account: Account, id: TransferId, amount: Amount, flags: Flags) -> tb::Transfer {
        let credit = self.system(AccountCode::LimitSource, limit_account.currency);
        let code = TransferCode::LimitUse;
        self.event(&Transfer::new(id, limit_account, credit, amount, code), flags)
    }
}

fn owner(wallet: Account) -> Uuid {
    wallet.id.user_of().expect("only a customer's wallet has a velocity limit")
}

fn limit_of(wallet: Account) -> Account {
    Account::velocity_limit(owner(wallet), wallet.currency)
}

/// The leg that undoes a closing.
fn opening(closing: TransferId) -> Leg {
    if closing.leg() == Leg::Close.byte() { Leg::CloseVoid } else { Leg::Void }
}

/// Of amount zero: it moves nothing but the account's flag.
fn closing(id: TransferId, debit: Account, credit: Account) -> Transfer {
    let amount = Amount::zero(debit.currency);
    Transfer::new(id, debit, credit, amount, TransferCode::Closing)
}

/// More than anybody can use of a velocity limit. Every velocity limit there is was filled with it: it never changes.
const FILL_MINOR: i64 = 9_007_199_254_740_991;

fn fill(currency: Currency) -> Amount {
    Amount::new(FILL_MINOR, currency).expect("within the largest amount there is")
}
