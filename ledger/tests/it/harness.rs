//! What every test starts from: a ledger on a base of its own on the shared server, customers, and transfers between them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ledger::{Account, AccountCode, Amount, Currency, Ledger, LedgerError};
use ledger::{Leg, Options, Transfer, TransferCode, TransferId};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub(crate) const ZAR: Currency = Currency::ZAR;
/// A busy machine is no fault; tests about a server that is away have deadlines of their own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A ledger of its own: the base isolates it. The client is one for the process, as in the service.
pub(crate) async fn ledger() -> Ledger {
    static CLIENT: OnceCell<Ledger> = OnceCell::const_new();
    let client = CLIENT.get_or_init(|| async {
        let options = Options::new(0, variable("TEST_TIGERBEETLE_ADDRESSES"));
        Ledger::connect(Options { deadline: PATIENCE, ..options }).await.expect("a client for the shared server")
    });
    let client = client.await;
    loop {
        let ledger = client.with_base(new_base());
        if ledger.accounts_after(ZAR, 0, 1).await.expect("the server answers").is_empty() {
            return ledger;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told where the server is by ./dev test")]
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with ./dev test"))
}

/// One after the other from a random start; earlier runs may have used it.
fn new_base() -> u32 {
    static START: LazyLock<u32> = LazyLock::new(|| rand::random_range(1..4_000_000));
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = *START + COUNT.fetch_add(1, Ordering::Relaxed);
    (number % 4_000_000 + 1) * 1000
}

pub(crate) fn new_row() -> Uuid {
    ledger::row_id(1_763_900_000_000, rand::random())
}

pub(crate) fn new_user() -> Uuid {
    ledger::user_id(1_763_900_000_000, rand::random())
}

pub(crate) fn zar(minor: i64) -> Amount {
    Amount::new(minor, ZAR).expect("a valid amount")
}

/// Opens the company's accounts in ZAR and one customer's, with `minor` in the wallet.
pub(crate) async fn wallet_with(ledger: &Ledger, minor: i64) -> Account {
    let wallet = Account::wallet(new_user(), ZAR);
    let companys = AccountCode::ALL.into_iter().filter(|code| !code.is_customers());
    let mut accounts: Vec<Account> = companys.map(|code| ledger.system(code, ZAR)).collect();
    accounts.extend([wallet, receivable_of(wallet)]);
    until_known(async || ledger.open(&accounts).await).await.expect("open");
    if minor > 0 {
        let deposit = deposit(ledger, new_row(), wallet, minor);
        until_known(async || ledger.transfer(deposit).await).await.expect("deposit");
    }
    wallet
}

pub(crate) fn receivable_of(wallet: Account) -> Account {
    Account::receivable(wallet.id.user_of().expect("a customer's"), wallet.currency)
}

/// What is owed, from what the row's void makes available.
pub(crate) fn repay(row: Uuid, wallet: Account, up_to: i64) -> Transfer {
    let id = TransferId::of(row, Leg::VoidRepay);
    transfer(id, wallet, receivable_of(wallet), up_to, TransferCode::ReceivableRepayment)
}

pub(crate) fn deposit(ledger: &Ledger, row: Uuid, wallet: Account, minor: i64) -> Transfer {
    let debit = ledger.provider_balance(wallet.currency);
    transfer(TransferId::of(row, Leg::Main), debit, wallet, minor, TransferCode::Deposit)
}

pub(crate) fn withdrawal(ledger: &Ledger, row: Uuid, wallet: Account, minor: i64) -> Transfer {
    let credit = ledger.provider_balance(wallet.currency);
    transfer(TransferId::of(row, Leg::Main), wallet, credit, minor, TransferCode::Withdrawal)
}

pub(crate) fn transfer(id: TransferId, debit: Account, credit: Account, minor: i64, code: TransferCode) -> Transfer {
    let amount = Amount::new(minor, debit.currency).expect("a valid amount");
    Transfer::new(id, debit, credit, amount, code)
}

/// (posted, pending, available)
pub(crate) async fn balance(ledger: &Ledger, account: Account) -> (i64, i64, i64) {
    let balance = until_known(async || ledger.balance(account).await).await.expect("a balance");
    (balance.posted(), balance.pending(), balance.available())
}

/// Asks until the answer is known, for a minute at most.
pub(crate) async fn until_known<T>(mut ask: impl AsyncFnMut() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    let asked = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match ask().await {
                Err(LedgerError::Unknown(_)) => {}
                known => return known,
            }
        }
    });
    asked.await.expect("an answer within a minute")
}

pub(crate) async fn pause(length: Duration) {
    tokio::time::timeout(length, std::future::pending::<()>()).await.unwrap_or_default();
}
