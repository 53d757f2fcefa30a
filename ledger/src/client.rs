//! [`Ledger`]: opening accounts and moving money. Reading is in `read`. Calls `session` to send and `codes` to judge.

use std::sync::Arc;
use std::time::Duration;

use tigerbeetle_unofficial as tb;
use tigerbeetle_unofficial::account;
use tigerbeetle_unofficial::error::{CreateAccountsError, CreateTransfersError};
use tigerbeetle_unofficial::transfer::Flags;
use uuid::Uuid;

use crate::amount::{Amount, Currency};
use crate::calls::{Observer, judge_transfers};
use crate::chart::{Account, AccountCode, Limit};
use crate::codes::{self, Call};
use crate::error::ConnectError;
use crate::error::LedgerError::{self, Contradiction};
use crate::id::{AccountId, Leg, TransferId};
use crate::open_accounts::OpenAccounts;
use crate::session::{Connection, Endpoint, Session};
use crate::transfer::Transfer;

/// Ledger numbers are base + ISO numeric code (below 1000), in a u32.
const BASE_STEP: u32 = 1000;
const BASE_MAX: u32 = 4_294_966_000;
/// What is not money stands on base + 1: no currency has the number (ISO 4217 begins at 8).
const LIMIT_NUMBER: u32 = 1;

/// How to reach the cluster. [`Options::new`] has the usual limits.
#[derive(Debug, Clone)]
pub struct Options {
    pub cluster_id: u128,
    /// Comma list of `host:port` or `port`, in the order of the replicas. Host names are resolved here, and again whenever the
    /// session is replaced.
    pub addresses: String,
    /// A multiple of 1000; 0 in production.
    pub base: u32,
    /// The longest that any call waits.
    pub deadline: Duration,
    pub in_flight_max: usize,
}

impl Options {
    pub fn new(cluster_id: u128, addresses: impl Into<String>) -> Self {
        Self { cluster_id, addresses: addresses.into(), base: 0, deadline: Duration::from_secs(5), in_flight_max: 8192 }
    }
}

/// One client for the whole process: cheap to clone, and concurrent calls share batches. Every call ends within the deadline.
/// A future that is dropped does not take its request back: the money may still move.
#[derive(Clone)]
pub struct Ledger {
    pub(crate) connection: Arc<Connection>,
    pub(crate) base: u32,
    pub(crate) open_accounts: Arc<OpenAccounts>,
    pub(crate) observer: Option<Observer>,
}

impl Ledger {
    /// Does not wait for the cluster: it returns an error only for options that can never work. Ask [`Ledger::ping`].
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        if !is_base(options.base) {
            return Err(ConnectError::Base);
        }
        let in_flight_max = u32::try_from(options.in_flight_max).map_err(|_| ConnectError::InFlightMax)?;
        let endpoint = Endpoint { cluster_id: options.cluster_id, addresses: options.addresses };
        let connection = Connection::open(endpoint, options.deadline, in_flight_max).await?;
        let connection = Arc::new(connection);
        Ok(Self { connection, base: options.base, open_accounts: Arc::default(), observer: None })
    }

    /// The same client on another ledger base. Panics when it is not a multiple of 1000: a programmer error.
    pub fn with_base(&self, base: u32) -> Self {
        assert!(is_base(base), "a ledger base is a multiple of {BASE_STEP} up to {BASE_MAX}");
        // Another base has velocity limits of its own.
        let observer = self.observer.clone();
        Self { connection: Arc::clone(&self.connection), base, open_accounts: Arc::default(), observer }
    }

    /// Ends the session for every clone; calls from now on are `Unknown(Closed)`. Takes at most two seconds, answered or not.
    pub async fn close(self) {
        self.connection.close().await;
    }

    /// One of the company's accounts. Panics for a customer's code: those come from [`Account::wallet`] and its like.
    pub fn system(&self, code: AccountCode, currency: Currency) -> Account {
        Account { id: AccountId::system(self.base, currency, code), code, currency }
    }

    pub fn provider_balance(&self, currency: Currency) -> Account {
        self.system(AccountCode::ProviderBalance, currency)
    }

    pub fn provider_fees(&self, currency: Currency) -> Account {
        self.system(AccountCode::ProviderFees, currency)
    }

    pub fn suspense(&self, currency: Currency) -> Account {
        self.system(AccountCode::Suspense, currency)
    }

    /// Opens those that are not open yet. One that was closed since is there, and stays closed.
    pub async fn open(&self, accounts: &[Account]) -> Result<(), LedgerError> {
        let events: Arc<[tb::Account]> = accounts.iter().map(|account| self.account_event(account)).collect();
        let asked = Arc::clone(&events);
        let failed = self.request("create_accounts", move |session| {
            let events = Arc::clone(&asked);
            async move {
                match session.client().create_accounts(events).await {
                    Ok(()) => Ok(Vec::new()),
                    Err(CreateAccountsError::Send(error)) => Err(error),
                    Err(CreateAccountsError::Api(api)) => {
                        Ok(api.as_slice().iter().map(|failed| (failed.index(), failed.inner().code().get())).collect())
                    }
                    Err(_) => Ok(vec![(0, u32::MAX)]),
                }
            }
        });
        for (index, code) in failed.await? {
            match usize::try_from(index).ok().and_then(|index| events.get(index)) {
                Some(account) if codes::may_be_closed(code) => self.only_closed(account).await?,
                _ => codes::account_outcome(code)?,
            }
        }
        Ok(())
    }

    /// An account that was closed has a flag that it was not opened with: TigerBeetle calls it another account.
    async fn only_closed(&self, account: &tb::Account) -> Result<(), LedgerError> {
        let id: Arc<[u128]> = Arc::new([account.id()]);
        let found = self.request("lookup_accounts", move |session| {
            let id = Arc::clone(&id);
            async move { session.client().lookup_accounts(id).await }
        });
        let same = found.await?.first().is_some_and(|found| {
            found.flags().difference(account::Flags::CLOSED) == account.flags()
                && found.code() == account.code()
                && found.ledger() == account.ledger()
        });
        if same { Ok(()) } else { Err(Contradiction("exists_with_different_flags")) }
    }

    fn account_event(&self, account: &Account) -> tb::Account {
        let limit = match account.code.limit() {
            Limit::DebitsWithinCredits => account::Flags::DEBITS_MUST_NOT_EXCEED_CREDITS,
            Limit::CreditsWithinDebits => account::Flags::CREDITS_MUST_NOT_EXCEED_DEBITS,
            Limit::None => account::Flags::empty(),
        };
        let history = if account.code.has_history() { account::Flags::HISTORY } else { account::Flags::empty() };
        tb::Account::new(account.id.raw(), self.number_of(account), account.code.code())
            .with_flags(limit | history)
            .with_user_data_128(account.id.user_of().map_or(0, |user| user.as_u128()))
    }

    /// Moves money at once.
    pub async fn transfer(&self, t: Transfer) -> Result<(), LedgerError> {
        let event = self.event(&t, Flags::empty());
        self.create_chain(vec![event], &[t]).await
    }

    /// [`Ledger::transfer_linked`] with one transfer at its end that moves only as much of its amount as the accounts' limits allow once the
    /// others have moved, perhaps nothing. How much that was, which stays true for this id: a repeat gives the same answer. This is how a
    /// customer's debt is repaid from what the wallet happens to hold.
    pub async fn transfer_linked_up_to(&self, ts: &[Transfer], last: Transfer) -> Result<Amount, LedgerError> {
        let mut events: Vec<_> = ts.iter().map(|t| self.event(t, Flags::LINKED)).collect();
        events.push(self.event(&last, balancing(&last)));
        self.create_chain(events, ts).await?;
        self.moved(last).await
    }

    /// How much a transfer moved that asked for "up to". It is compared, for the last of a repeated chain was not by TigerBeetle.
    async fn moved(&self, t: Transfer) -> Result<Amount, LedgerError> {
        let recorded = self.lookup(&[t.id]).await?;
        let recorded = recorded.first().ok_or(RECORDED_IN_PART)?;
        let amount = recorded.amount()?;
        let same = recorded.is(&Transfer { amount, ..t }) && amount.minor() <= t.amount.minor();
        if same { Ok(amount) } else { Err(RECORDED_IN_PART) }
    }

    /// For tests and the bench only: the service's chains end in a transfer "up to". All or nothing, at most [`crate::BATCH_MAX`]. The error is that of the transfer that was refused.
    ///
    /// A repeat of the whole chain is Ok, which TigerBeetle does not make easy: it answers `exists` for the first and
    /// `linked_event_failed` for the rest (state_machine.zig, `execute_create`), just as if the first alone had been recorded.
    /// So what is recorded is read back and compared.
    pub async fn transfer_linked(&self, ts: &[Transfer]) -> Result<(), LedgerError> {
        let last = ts.len().saturating_sub(1);
        let link = |index| if index < last { Flags::LINKED } else { Flags::empty() };
        let events = ts.iter().enumerate().map(|(index, t)| self.event(t, link(index))).collect();
        self.create_chain(events, ts).await
    }

    /// `exact` are those of the chain whose amount is known beforehand.
    async fn create_chain(&self, events: Vec<tb::Transfer>, exact: &[Transfer]) -> Result<(), LedgerError> {
        let alone = events.len() == 1;
        let failed = self.create_transfers(events).await?;
        let cause = failed.iter().find(|code| !codes::is_sibling(**code));
        match cause {
            None if failed.is_empty() => Ok(()),
            None => Err(Contradiction("linked_event_failed")),
            // Recorded before transfers said of which item they are.
            Some(&codes::OTHER_ITEM) => self.all_recorded(exact).await,
            Some(code) => {
                codes::transfer_outcome(*code, Call::Other)?;
                if alone { Ok(()) } else { self.all_recorded(exact).await }
            }
        }
    }

    async fn all_recorded(&self, ts: &[Transfer]) -> Result<(), LedgerError> {
        let ids: Vec<TransferId> = ts.iter().map(|t| t.id).collect();
        let recorded = self.lookup(&ids).await?;
        let same = recorded.len() == ts.len() && ts.iter().zip(&recorded).all(|(t, r)| r.is(t));
        if same { Ok(()) } else { Err(RECORDED_IN_PART) }
    }

    /// For tests and the bench only: no freeze and no limit stops it. Reserves: a pending transfer without a timeout, which [`Ledger::post`] or [`Ledger::void`] resolves. Its leg must be
    /// [`Leg::Main`]. A debit account that was never opened is refused, and the id is spent as for any refusal.
    pub async fn reserve(&self, t: Transfer) -> Result<(), LedgerError> {
        assert_eq!(t.id.leg(), Leg::Main.byte(), "a reservation is the main leg: post and void look for it there");
        self.create_one(self.event(&t, Flags::PENDING), Call::Reserve).await
    }

    /// Makes the row's reservation final, in full.
    ///
    /// Only for a reservation that was answered Ok: if it is not there, the id of this leg is spent for good.
    pub async fn post(&self, row: Uuid) -> Result<(), LedgerError> {
        let event = resolution(row, Leg::Post, Flags::POST_PENDING_TRANSFER);
        self.create_one(event.with_amount(u128::MAX), Call::Other).await
    }

    /// For tests and the bench only: the service goes by [`Ledger::void_within`]. Releases the row's reservation. Only for one that was answered Ok, as [`Ledger::post`].
    pub async fn void(&self, row: Uuid) -> Result<(), LedgerError> {
        self.create_one(resolution(row, Leg::Void, Flags::VOID_PENDING_TRANSFER), Call::Other).await
    }

    /// Releases the row's reservation, and in the same chain moves on up to an amount of what comes free: nobody can reserve it
    /// in between. How much moved; it stays true for this row.
    pub async fn void_up_to(&self, row: Uuid, last: Transfer) -> Result<Amount, LedgerError> {
        let void = resolution(row, Leg::Void, Flags::VOID_PENDING_TRANSFER | Flags::LINKED);
        self.create_chain(vec![void, self.event(&last, balancing(&last))], &[]).await?;
        self.moved(last).await
    }

    pub(crate) async fn create_one(&self, event: tb::Transfer, call: Call) -> Result<(), LedgerError> {
        let failed = self.create_transfers(vec![event]).await?;
        failed.into_iter().try_for_each(|code| codes::transfer_outcome(code, call))
    }

    /// The codes of those that failed, in the order of the events.
    pub(crate) async fn create_transfers(&self, events: Vec<tb::Transfer>) -> Result<Vec<u32>, LedgerError> {
        let events: Arc<[tb::Transfer]> = events.into();
        let sent = Arc::clone(&events);
        let send = move |session: Arc<Session>| {
            let events = Arc::clone(&sent);
            async move {
                match session.client().create_transfers(events).await {
                    Ok(()) => Ok(Vec::new()),
                    Err(CreateTransfersError::Send(error)) => Err(error),
                    Err(CreateTransfersError::Api(api)) => {
                        Ok(api.as_slice().iter().map(|failed| (failed.index(), failed.inner().code().get())).collect())
                    }
                    Err(_) => Ok(vec![(0, u32::MAX)]),
                }
            }
        };
        let code = |(_, code): &(u32, u32)| *code;
        let judge = |failed: &Vec<(u32, u32)>| judge_transfers(&failed.iter().map(code).collect::<Vec<u32>>());
        let failed = self.judged("create_transfers", send, judge).await?;
        for (index, code) in &failed {
            let event = usize::try_from(*index).ok().and_then(|index| events.get(index));
            if let Some(account) = event.and_then(|event| codes::missing_account(*code, event)) {
                self.open_accounts.miss(account);
            }
        }
        let failed: Vec<u32> = failed.iter().map(code).collect();
        if judge_transfers(&failed).is_ok() {
            // From the row's log lines to its transfers, whoever looks for them.
            let ids = events.iter().map(|event| Uuid::from_u128(event.id()).to_string()).collect::<Vec<_>>().join(",");
            tracing::info!(transfer.ids = ids, "the ledger has it");
        }
        Ok(failed)
    }

    pub(crate) fn event(&self, t: &Transfer, flags: Flags) -> tb::Transfer {
        t.event(self.number_of(&t.debit), flags)
    }

    fn number_of(&self, account: &Account) -> u32 {
        if account.code.is_money() { self.number(account.currency) } else { self.limit_number() }
    }

    fn limit_number(&self) -> u32 {
        self.base.checked_add(LIMIT_NUMBER).expect("the base leaves room for any number below 1000")
    }

    /// TigerBeetle's ledger number.
    pub(crate) fn number(&self, currency: Currency) -> u32 {
        let number = self.base.checked_add(u32::from(currency.numeric()));
        number.expect("the base leaves room for any numeric code")
    }
}

/// Some of a chain is recorded and the rest is not, or not as asked.
const RECORDED_IN_PART: LedgerError = Contradiction("linked_chain_recorded_in_part");

/// Whether ledger numbers may be added to it: a multiple of 1000 that leaves them room.
pub fn is_base(base: u32) -> bool {
    base.is_multiple_of(BASE_STEP) && base <= BASE_MAX
}

/// Resolves the row's main leg. Accounts, ledger and code are left zero: TigerBeetle takes them from the reservation. Void's zero amount
/// means all of it.
fn resolution(row: Uuid, leg: Leg, flags: Flags) -> tb::Transfer {
    resolution_of(TransferId::of(row, Leg::Main), leg, flags)
}

/// The same of another leg.
pub(crate) fn resolution_of(pending: TransferId, leg: Leg, flags: Flags) -> tb::Transfer {
    let row = pending.row();
    tb::Transfer::new(TransferId::of(row, leg).raw())
        .with_pending_id(pending.raw())
        .with_user_data_128(row.as_u128())
        .with_flags(flags)
}

/// Only an account that has a limit can bound a transfer.
fn balancing(t: &Transfer) -> Flags {
    let mut flags = Flags::empty();
    flags.set(Flags::BALANCING_DEBIT, t.debit.code.limit() == Limit::DebitsWithinCredits);
    flags.set(Flags::BALANCING_CREDIT, t.credit.code.limit() == Limit::CreditsWithinDebits);
    flags
}
