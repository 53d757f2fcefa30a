//! Random calls, repeats and races: each answer and every balance is as `model` says, and the books balance.
//!
//! Concurrent calls must look as if they had been made one after the other, in some order. The calls are the same in each run, so
//! that a change of the code alone makes the test fail: `PROPTEST_RNG_SEED` tries others, and `PROPTEST_CASES` more than 64 cases.

use ledger::{Account, AccountCode, Amount, Balance, Ledger, Leg, RecordedKind, Transfer, TransferCode, TransferId};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestCaseResult, TestRunner};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::*;
use crate::model::{Answer, Call, Model, Sides};

const SEED: u64 = 20_261_124;

#[derive(Debug, Clone)]
enum Step {
    Open(Index),
    Deposit(Index, i64),
    Move(Movement),
    UpTo(Movement),
    Chain(Vec<Movement>),
    ChainUpTo(Vec<Movement>, Movement),
    Reserve(Index, i64),
    Post(Index),
    Void(Index),
    /// An earlier call again.
    Again(Index),
    /// An earlier call's ids, for something else.
    Altered(Index),
}

#[derive(Debug, Clone)]
struct Movement {
    debit: Index,
    credit: Index,
    minor: i64,
}

fn movement() -> impl Strategy<Value = Movement> {
    (any::<Index>(), any::<Index>(), 0..80_i64).prop_map(|(debit, credit, minor)| Movement { debit, credit, minor })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any::<Index>().prop_map(Step::Open),
        4 => (any::<Index>(), 0..150_i64).prop_map(|(wallet, minor)| Step::Deposit(wallet, minor)),
        3 => movement().prop_map(Step::Move),
        2 => movement().prop_map(Step::UpTo),
        3 => prop::collection::vec(movement(), 1..4).prop_map(Step::Chain),
        2 => (prop::collection::vec(movement(), 1..3), movement()).prop_map(|(ms, last)| Step::ChainUpTo(ms, last)),
        6 => (any::<Index>(), 0..100_i64).prop_map(|(wallet, minor)| Step::Reserve(wallet, minor)),
        4 => any::<Index>().prop_map(Step::Post),
        4 => any::<Index>().prop_map(Step::Void),
        4 => any::<Index>().prop_map(Step::Again),
        1 => any::<Index>().prop_map(Step::Altered),
    ]
}

/// Up to three steps at the same moment.
fn round() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![2 => step().prop_map(|step| vec![step]), 1 => prop::collection::vec(step(), 2..4)]
}

#[test]
fn the_books_balance_whatever_is_called() {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 64;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    println!("seed: {:?}", config.rng_seed);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = TestRunner::new(config)
        .run(&prop::collection::vec(round(), 1..45), |rounds| runtime.block_on(Books::run_through(rounds)));
    if let Err(error) = result {
        panic!("{error}");
    }
}

struct Books {
    ledger: Ledger,
    accounts: Vec<Account>,
    model: Model,
    calls: Vec<Call>,
    reservations: Vec<Uuid>,
}

impl Books {
    async fn run_through(rounds: Vec<Vec<Step>>) -> TestCaseResult {
        let mut books = Self::open().await;
        for steps in rounds {
            let calls: Vec<Call> = steps.iter().map(|step| books.call(step)).collect();
            books.play(calls).await?;
        }
        books.audit().await
    }

    /// Two customers, a third who has no accounts yet, and three accounts of the company.
    async fn open() -> Self {
        let ledger = ledger().await;
        let users = [new_user(), new_user(), new_user()];
        let mut accounts: Vec<Account> = users.iter().map(|user| Account::wallet(*user, ZAR)).collect();
        accounts.extend(users.iter().map(|user| Account::receivable(*user, ZAR)));
        accounts.extend([ledger.provider_balance(ZAR), ledger.provider_fees(ZAR), ledger.suspense(ZAR)]);
        let mut books = Self { ledger, accounts, model: Model::default(), calls: vec![], reservations: vec![] };
        for index in [0, 1, 3, 4, 6, 7, 8] {
            let open = Call::Open(books.accounts[index]);
            books.calls.push(open.clone());
            books.play(vec![open]).await.expect("open");
        }
        books
    }

    fn call(&mut self, step: &Step) -> Call {
        let row = new_row();
        let wallets = &self.accounts[..3];
        let call = match step {
            Step::Open(account) => Call::Open(*account.get(&self.accounts)),
            Step::Deposit(wallet, minor) => Call::Transfer(deposit(&self.ledger, row, *wallet.get(wallets), *minor)),
            Step::Move(m) => Call::Transfer(self.movement(row, Leg::Main, m)),
            Step::UpTo(m) => Call::UpTo(self.movement(row, Leg::Repay, m)),
            Step::Chain(ms) => Call::Linked(self.chain(row, ms)),
            Step::ChainUpTo(ms, last) => Call::LinkedUpTo(self.chain(row, ms), self.movement(row, Leg::Repay, last)),
            Step::Reserve(wallet, minor) => {
                let t = withdrawal(&self.ledger, row, *wallet.get(wallets), *minor);
                self.reservations.push(row);
                Call::Reserve(t)
            }
            Step::Post(index) => Call::Post(self.reservation(index)),
            Step::Void(index) => Call::Void(self.reservation(index)),
            Step::Again(index) => index.get(&self.calls).clone(),
            Step::Altered(index) => altered(index.get(&self.calls).clone()),
        };
        self.calls.push(call.clone());
        call
    }

    /// Now and then one that was never made.
    fn reservation(&self, index: &Index) -> Uuid {
        let at = index.index(self.reservations.len() + 1);
        self.reservations.get(at).copied().unwrap_or_else(new_row)
    }

    fn chain(&self, row: Uuid, ms: &[Movement]) -> Vec<Transfer> {
        let legs = [Leg::Main, Leg::Fee, Leg::ProviderFee];
        ms.iter().zip(legs).map(|(m, leg)| self.movement(row, leg, m)).collect()
    }

    fn movement(&self, row: Uuid, leg: Leg, m: &Movement) -> Transfer {
        let debit = m.debit.index(self.accounts.len());
        let credit = (debit + 1 + m.credit.index(self.accounts.len() - 1)) % self.accounts.len();
        let id = TransferId::of(row, leg);
        transfer(id, self.accounts[debit], self.accounts[credit], m.minor, TransferCode::Adjustment)
    }

    /// Makes the calls at once, and finds an order in which the model gives the same answers and balances.
    async fn play(&mut self, calls: Vec<Call>) -> TestCaseResult {
        let mut made = JoinSet::new();
        for (index, call) in calls.iter().cloned().enumerate() {
            let ledger = self.ledger.clone();
            made.spawn(async move { (index, call.make(&ledger).await) });
        }
        let mut answers = made.join_all().await;
        answers.sort_by_key(|answer| answer.0);
        let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.1).collect();
        let balances = self.ledger.balances(&self.accounts).await.expect("balances");
        let balances: Vec<Sides> = balances.iter().map(sides).collect();

        let mut expected = Vec::new();
        for order in orders(calls.len()) {
            let mut model = self.model.clone();
            let mut answered = vec![Ok(0); calls.len()];
            for index in order {
                answered[index] = model.apply(&calls[index]);
            }
            let balanced: Vec<Sides> = self.accounts.iter().map(|account| model.sides(*account)).collect();
            if answered == answers && balanced == balances {
                self.model = model;
                return Ok(());
            }
            expected.push((answered, balanced));
        }
        Err(TestCaseError::fail(format!(
            "{calls:#?}\nanswered {answers:?}\nbalances {balances:?}\nexpected one of {expected:#?}"
        )))
    }

    /// What TigerBeetle has in the end: sums, limits, and the journal as the source of every balance.
    async fn audit(&self) -> TestCaseResult {
        let accounts = self.ledger.accounts_after(ZAR, 0, u32::MAX).await.expect("accounts");
        let total =
            accounts.iter().fold([0; 4], |sum: Sides, a| std::array::from_fn(|i| sum[i] + sides(&a.balance)[i]));
        prop_assert_eq!(total[0], total[2], "posted debits and credits");
        prop_assert_eq!(total[1], total[3], "pending debits and credits");
        let journal = self.ledger.transfers_after(ZAR, 0, u32::MAX).await.expect("journal");
        for account in accounts {
            if account.code.is_customers() {
                prop_assert!(account.balance.posted() >= 0, "{:?} is below zero", account.code);
            }
            if account.code == AccountCode::CustomerWallet {
                prop_assert!(account.balance.available() >= 0, "more is reserved than there is");
            }
            let mut from_journal = [0; 4];
            for t in &journal {
                for (_, side) in [(t.debit, 0), (t.credit, 2)].into_iter().filter(|(id, _)| *id == account.id) {
                    let (posted, pending) = match t.kind {
                        RecordedKind::Posted => (t.amount_minor, 0),
                        RecordedKind::Pending => (0, t.amount_minor),
                        RecordedKind::Post { .. } => (t.amount_minor, -t.amount_minor),
                        RecordedKind::Void { .. } => (0, -t.amount_minor),
                    };
                    from_journal[side] += posted;
                    from_journal[side + 1] += pending;
                }
            }
            prop_assert_eq!(from_journal, sides(&account.balance), "journal and balance of {:?}", account.code);
        }
        Ok(())
    }
}

fn sides(b: &Balance) -> Sides {
    [b.debits_posted, b.debits_pending, b.credits_posted, b.credits_pending]
}

fn altered(call: Call) -> Call {
    let other = |t: Transfer| Transfer { amount: Amount::new(t.amount.minor() + 1, ZAR).expect("small"), ..t };
    match call {
        Call::Transfer(t) => Call::Transfer(other(t)),
        Call::UpTo(t) => Call::UpTo(other(t)),
        Call::Linked(ts) => Call::Linked(ts.into_iter().map(other).collect()),
        Call::LinkedUpTo(ts, last) => Call::LinkedUpTo(ts, Transfer { code: TransferCode::Fee, ..last }),
        Call::Reserve(t) => Call::Reserve(other(t)),
        same @ (Call::Open(_) | Call::Post(_) | Call::Void(_)) => same,
    }
}

fn orders(count: usize) -> Vec<Vec<usize>> {
    match count {
        1 => vec![vec![0]],
        2 => vec![vec![0, 1], vec![1, 0]],
        3 => vec![vec![0, 1, 2], vec![0, 2, 1], vec![1, 0, 2], vec![1, 2, 0], vec![2, 0, 1], vec![2, 1, 0]],
        more => panic!("{more} calls at once"),
    }
}
