//! The read model: a copy of the ledger that is whole whatever happens on the way, and that can be built renewed.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use chrono::TimeDelta;
use ledger::{Account, AccountCode, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::books::projector::{self, Difference, What};
use octoco::identity::audit::Actor;
use octoco::money::safe_mode;
use octoco::platform::advisory_lock::AdvisoryLock;
use octoco::platform::crash::CrashPoints;
use octoco::platform::error::Error;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{PATIENCE, TestApp};
use crate::health;

const KILLS: u32 = 100;
const WALLETS: u8 = 20;
/// The same in each run, so that a change of the code alone makes the test fail; `PROJECTOR_SEED` tries another.
const SEED: u64 = 20_261_124;

#[expect(clippy::disallowed_methods, reason = "a run is repeated by its seed")]
fn seed() -> u64 {
    let seed = std::env::var("PROJECTOR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    eprintln!("PROJECTOR_SEED={seed}");
    seed
}

/// Money that moves in the ledger without rows: deposits with what they repay, reservations, and what becomes of them.
struct Traffic {
    random: StdRng,
    wallets: Vec<(Account, Account)>,
    open: Vec<Uuid>,
}

impl Traffic {
    async fn new(t: &TestApp, seed: u64) -> Self {
        let users = (0..WALLETS).map(|_| t.app.clock.user_id());
        let pair = |user| (Account::wallet(user, Currency::ZAR), Account::receivable(user, Currency::ZAR));
        let wallets: Vec<_> = users.map(pair).collect();
        let mut accounts: Vec<Account> =
            wallets.iter().flat_map(|(wallet, receivable)| [*wallet, *receivable]).collect();
        accounts.push(t.app.ledger.provider_balance(Currency::ZAR));
        t.app.ledger.open(&accounts).await.expect("opened");
        Self { random: StdRng::seed_from_u64(seed), wallets, open: Vec::new() }
    }

    async fn run(&mut self, t: &TestApp, movements: usize) {
        let ledger = &t.app.ledger;
        let provider = ledger.provider_balance(Currency::ZAR);
        for _ in 0..movements {
            let (wallet, receivable) = self.wallets[self.random.random_range(0..self.wallets.len())];
            let amount = Amount::new(self.random.random_range(0..10_000), Currency::ZAR).expect("an amount");
            let row = t.app.clock.row_id();
            let leg = |leg, debit, credit, code| Transfer::new(TransferId::of(row, leg), debit, credit, amount, code);
            let reserve = leg(Leg::Main, wallet, provider, TransferCode::Withdrawal);
            match self.random.random_range(0..8) {
                // The wallet may not cover it: then it is refused and not recorded.
                0 | 1 => match ledger.reserve(reserve).await {
                    Ok(()) => self.open.push(row),
                    Err(refused) => assert!(matches!(refused, ledger::LedgerError::Refused(_)), "{refused}"),
                },
                2 if !self.open.is_empty() => {
                    ledger.post(self.open.swap_remove(0)).await.expect("reserved");
                }
                3 if !self.open.is_empty() => {
                    ledger.void(self.open.swap_remove(0)).await.expect("reserved");
                }
                4 => {
                    let owed = leg(Leg::Receivable, receivable, provider, TransferCode::Chargeback);
                    ledger.transfer(owed).await.expect("booked");
                }
                _ => {
                    let deposit = leg(Leg::Main, provider, wallet, TransferCode::Deposit);
                    let repay = leg(Leg::Repay, wallet, receivable, TransferCode::ReceivableRepayment);
                    ledger.transfer_linked_up_to(&[deposit], repay).await.expect("booked");
                }
            }
        }
    }
}

/// Everything in the read model but the times of copying, as one hash.
async fn hash(t: &TestApp) -> String {
    sqlx::query_scalar(
        "select md5((select coalesce(string_agg(l::text, ';' order by timestamp), '') from ledger_transfers l)
              || (select coalesce(string_agg(a::text, ';' order by id), '') from ledger_accounts a)
              || (select coalesce(string_agg(d::text, ';' order by currency, day, code, kind, debit_code, credit_code, of_code), '')
                    from ledger_days d)
              || (select coalesce(string_agg((currency, timestamp, accounts_timestamp)::text, ';' order by currency), '')
                    from ledger_cursor)
              || (select coalesce(string_agg(timestamp::text, ';' order by timestamp), '') from ledger_orphans))",
    )
    .fetch_one(&t.app.db)
    .await
    .expect("PostgreSQL answers")
}

/// Looks at a future so many times and then drops it: the process is gone in the middle of whatever it was doing.
pub(crate) async fn killed_after<T>(mut looks: u32, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(move |context| {
        let Some(left) = looks.checked_sub(1) else { return Poll::Ready(None) };
        looks = left;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[sqlx::test]
async fn killed_a_hundred_times_dropped_and_rebuilt_it_is_the_same_to_the_byte(db: PgPool) {
    let seed = seed();
    let (dying, random) = (Arc::new(AtomicBool::new(false)), Mutex::new(StdRng::seed_from_u64(seed)));
    let deaths = Arc::clone(&dying);
    let crash = CrashPoints::planned(move |_| {
        deaths.load(Ordering::Relaxed) && random.lock().expect("not poisoned").random_ratio(1, 4)
    });
    let t = TestApp::crashing(db, &[], crash).await;
    let mut traffic = Traffic::new(&t, seed).await;
    let mut random = StdRng::seed_from_u64(seed ^ 1);
    let (mut crashed, mut dropped) = (0, 0);
    dying.store(true, Ordering::Relaxed);
    while crashed + dropped < KILLS {
        let movements = random.random_range(1..20);
        traffic.run(&t, movements).await;
        match killed_after(random.random_range(1..60), projector::step(&t.app)).await {
            None => dropped += 1,
            Some(Err(Error::Crashed(_))) => crashed += 1,
            Some(stepped) => drop(stepped.expect("nothing else goes wrong")),
        }
    }
    dying.store(false, Ordering::Relaxed);
    eprintln!("{crashed} deaths at a point, {dropped} anywhere");
    assert!(crashed > 0 && dropped > 0, "both ways to die were taken");
    assert!(!t.assert_read_model_holds().await.is_empty(), "no transfer of this traffic has a row");
    let copied = hash(&t).await;
    sqlx::raw_sql("drop table ledger_transfers, ledger_accounts, ledger_orphans, ledger_cursor cascade")
        .execute(&t.app.db)
        .await
        .expect("dropped");
    let rebuilt = projector::rebuild(&t.app).await.expect("rebuilt");
    assert_eq!(hash(&t).await, copied);
    let rows: i64 =
        sqlx::query_scalar("select count(*) from ledger_transfers").fetch_one(&t.app.db).await.expect("a count");
    assert_eq!(usize::try_from(rows).expect("a count"), rebuilt.transfers);
    t.assert_read_model_holds().await;
}

#[sqlx::test]
async fn it_says_of_every_flow_what_the_ledger_says(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let paid = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    t.sim.set_payout_behaviour(revio_sim::PayoutBehaviour::Fail { code: "do_not_honour".to_owned() });
    let failed = t.withdraw(&customer, 1_000, "w2").await;
    t.drive().await;
    t.sim.set_payout_behaviour(revio_sim::PayoutBehaviour::Pend);
    let pending = t.withdraw(&customer, 500, "w3").await;
    t.drive().await;
    projector::catch_up(&t.app).await.expect("copied");
    let wallet = Account::wallet(customer.id, Currency::ZAR).id.as_uuid();
    let kinds = async |row: Uuid| -> Vec<(String, i64, i64, i64)> {
        sqlx::query_as(
            "select kind, amount_minor, debit_credits_posted - debit_debits_posted, debit_debits_pending
               from ledger_transfers where reference = $1 and debit_account_id = $2 order by timestamp",
        )
        .bind(row)
        .bind(wallet)
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
    };
    let line = |kind: &str, amount, posted, reserved| (kind.to_owned(), amount, posted, reserved);
    assert_eq!(kinds(paid.id()).await, [line("pending", 4_000, 10_000, 4_000), line("post", 4_000, 6_000, 0)]);
    // Nothing was owed: the repayment in the void's chain is of nothing.
    assert_eq!(
        kinds(failed.id()).await,
        [line("pending", 1_000, 6_000, 1_000), line("void", 1_000, 6_000, 0), line("posted", 0, 6_000, 0)]
    );
    assert_eq!(kinds(pending.id()).await, [line("pending", 500, 6_000, 500)]);
    let (name, user, posted): (String, Uuid, i64) =
        sqlx::query_as("select name, user_id, credits_posted - debits_posted from ledger_accounts where id = $1")
            .bind(wallet)
            .fetch_one(&t.app.db)
            .await
            .expect("the wallet is there");
    assert_eq!((name.as_str(), user, posted), ("customer_wallet", customer.id, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn projectors_at_the_same_page_copy_it_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut traffic = Traffic::new(&t, seed()).await;
    for _ in 0..5 {
        traffic.run(&t, 150).await;
        let all = (0..6).map(|_| projector::step(&t.app));
        for stepped in futures_util::future::join_all(all).await {
            stepped.expect("one copies, the others pass");
        }
    }
    t.assert_read_model_holds().await;
}

#[sqlx::test]
async fn what_was_changed_by_hand_is_named_and_a_rebuild_mends_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut traffic = Traffic::new(&t, 7).await;
    traffic.run(&t, 100).await;
    t.assert_read_model_holds().await;
    let whole = hash(&t).await;
    let id =
        async |query: &'static str| -> Uuid { sqlx::query_scalar(query).fetch_one(&t.app.db).await.expect("an id") };
    let gone =
        id("delete from ledger_transfers where timestamp = (select min(timestamp) from ledger_transfers) returning id")
            .await;
    let altered = id("update ledger_transfers set amount_minor = amount_minor + 1
                       where timestamp = (select max(timestamp) from ledger_transfers) returning id")
    .await;
    let invented = id("insert into ledger_transfers select (max(timestamp) + min(timestamp)) / 2, gen_random_uuid(), 'ZAR',
                              gen_random_uuid(), gen_random_uuid(), 1, 10, 'posted', null::uuid, gen_random_uuid(), 0, 0, 0, 0, 0, 0, 0, 0
                         from ledger_transfers returning id").await;
    let beyond =
        id("insert into ledger_transfers select max(timestamp) + 1, gen_random_uuid(), 'ZAR', gen_random_uuid(),
                             gen_random_uuid(), 1, 10, 'posted', null::uuid, gen_random_uuid(), 0, 0, 0, 0, 0, 0, 0, 0
                        from ledger_transfers returning id")
        .await;
    let account =
        id("update ledger_accounts set credits_posted = credits_posted + 1 where code = 2000 and last_timestamp =
                       (select max(last_timestamp) from ledger_accounts where code = 2000) returning id")
        .await;
    let unopened = id("delete from ledger_accounts where code = 1200 and id =
                        (select id from ledger_accounts where code = 1200 order by id limit 1) returning id")
    .await;
    let report = projector::verify(&t.app).await.expect("compared");
    let named = |what, id, problem| Difference { what, id, problem };
    assert_eq!(report.different, 6, "{:?}", report.differences);
    for expected in [
        named(What::Transfer, gone, "has no row"),
        named(What::Transfer, altered, "has another row than the ledger's transfer"),
        named(What::Transfer, invented, "is a row that the ledger does not have"),
        named(What::Transfer, beyond, "is a row beyond what was copied"),
        named(What::Account, account, "has another balance than in the ledger"),
        named(What::Account, unopened, "has no row"),
    ] {
        assert!(report.differences.contains(&expected), "{expected:?} is not in {:?}", report.differences);
    }
    let rebuilt = projector::rebuild(&t.app).await.expect("rebuilt");
    let changed = |table| rebuilt.changed.iter().find(|row| row.0 == table).map(|row| (row.1, row.2));
    assert_eq!(changed("ledger_transfers"), Some((3, 2)), "only what differs");
    assert_eq!(changed("ledger_accounts"), Some((1, 2)));
    assert_eq!(changed("ledger_cursor"), Some((0, 0)));
    assert_eq!(hash(&t).await, whole);
    t.assert_read_model_holds().await;
}

#[sqlx::test]
async fn readers_and_the_live_projector_go_on_during_rebuilds(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut traffic = Traffic::new(&t, 3).await;
    traffic.run(&t, 300).await;
    projector::catch_up(&t.app).await.expect("copied");
    let done = AtomicBool::new(false);
    let rebuilds = async {
        for _ in 0..5 {
            projector::rebuild(&t.app).await.expect("rebuilt");
        }
        done.store(true, Ordering::Relaxed);
    };
    let reads = async {
        let mut before = 0;
        while !done.load(Ordering::Relaxed) {
            let (rows, unequal): (i64, i64) = sqlx::query_as(
                "select (select count(*) from ledger_transfers),
                        (select sum(debits_posted) - sum(credits_posted) from ledger_accounts)::bigint",
            )
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers");
            assert!(rows >= before && unequal == 0, "{rows} rows after {before}, {unequal}");
            before = rows;
        }
    };
    let live = async {
        while !done.load(Ordering::Relaxed) {
            traffic.run(&t, 5).await;
            projector::step(&t.app).await.expect("copied, or passed");
        }
    };
    tokio::join!(rebuilds, reads, live);
    t.assert_read_model_holds().await;
}

#[sqlx::test]
async fn a_second_rebuild_at_the_same_time_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut live = t.app.db.acquire().await.expect("PostgreSQL answers");
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(AdvisoryLock::Projector.number());
    lock.execute(&mut *live).await.expect("nobody else has it");
    // The first one cannot end before the second one has had its answer.
    let second = async {
        while waiting_for_locks(&t).await == 0 {}
        let refused = projector::rebuild(&t.app).await;
        live.close().await.expect("and its lock goes");
        refused
    };
    let both = async { tokio::join!(projector::rebuild(&t.app), second) };
    let (first, second) = tokio::time::timeout(PATIENCE, both).await.expect("the second one does not wait");
    assert!(matches!(second, Err(Error::StaleState)), "{second:?}");
    first.expect("rebuilt");
    t.finish().await;
}

async fn waiting_for_locks(t: &TestApp) -> i64 {
    let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                    where d.datname = current_database() and l.locktype = 'advisory' and not l.granted";
    sqlx::query_scalar(waiting).fetch_one(&t.app.db).await.expect("a count")
}

#[sqlx::test]
async fn a_database_restored_from_an_old_backup_heals_and_its_orphans_are_listed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    projector::catch_up(&t.app).await.expect("copied");
    let tables =
        ["transactions", "ledger_transfers", "ledger_accounts", "ledger_orphans", "ledger_cursor", "ledger_days"];
    for table in tables {
        let copy = format!("create table backup_{table} as select * from {table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&t.app.db).await.expect("copied");
    }
    let lost = t.deposit(&customer, 5_000, "later").await;
    t.pay(&lost).await;
    projector::catch_up(&t.app).await.expect("copied");
    for table in tables {
        // What PostgreSQL computes of a row is not put back.
        let columns: String = sqlx::query_scalar(
            "select string_agg(attname, ', ') from pg_attribute
              where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''",
        )
        .bind(table)
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
        let back =
            format!("truncate {table} cascade; insert into {table} ({columns}) select {columns} from backup_{table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(back)).execute(&t.app.db).await.expect("restored");
    }
    let orphans = t.assert_read_model_holds().await;
    assert!(!orphans.is_empty() && orphans.iter().all(|(_, row)| *row == lost.id()), "{orphans:?}");
    let listed: Vec<(Uuid, Uuid)> =
        sqlx::query_as("select id, reference from ledger_orphan_transfers order by timestamp")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(listed, orphans, "the view lists what the command names");
    projector::measure(&t.app).await.expect("measured");
    let told = format!("octoco_read_model_orphans {}", orphans.len());
    assert!(t.app.metrics.render().contains(&told), "{told}");
    // Once a person has looked, whoever copies the ledger anew finds nothing that was not listed.
    assert!(safe_mode::is_on(&t.app).await.expect("an answer"));
    safe_mode::leave(&t.app, &Actor::system(), "explained").await.expect("left");
    projector::rebuild(&t.app).await.expect("rebuilt");
    assert!(!safe_mode::is_on(&t.app).await.expect("an answer"));
    assert_eq!(t.assert_read_model_holds().await, orphans);
}

#[sqlx::test]
async fn how_far_behind_it_is_is_told_and_never_makes_the_service_not_ready(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(10_000).await;
    let behind = health::ready(&t).await.body;
    assert!(behind["read_model_lag_transfers"].as_i64().expect("a number") > 0, "{behind}");
    // The cluster's clock is the machine's; the service's stands in the past until here.
    t.advance(TimeDelta::days(3650));
    health::ready_and(&t, "read_model", "behind").await;
    projector::catch_up(&t.app).await.expect("copied");
    let caught_up = health::ready_and(&t, "read_model", "ok").await.body;
    assert_eq!((&caught_up["read_model_lag_transfers"], &caught_up["read_model_lag_seconds"]), (&0.into(), &0.into()));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_contradiction_is_told_loudly_and_stops_only_its_own_currency(db: PgPool) {
    let t = TestApp::with(db, &[("CURRENCIES", "ZAR,USD")]).await;
    let usd = Currency::parse("USD").expect("a currency");
    let customer = t.customer_with(10_000).await;
    projector::catch_up(&t.app).await.expect("copied");
    let removed =
        sqlx::query("delete from ledger_accounts where code = 1000").execute(&t.app.db).await.expect("deleted");
    assert_eq!(removed.rows_affected(), 1);
    let (wallet, suspense) = (Account::wallet(customer.id, usd), t.app.ledger.system(AccountCode::Suspense, usd));
    t.app.ledger.open(&[wallet, suspense]).await.expect("opened");
    let deposit = t.deposit(&customer, 5_000, "next").await;
    t.pay(&deposit).await;
    let stuck = projector::step(&t.app).await.expect_err("the ledger moves money of an account that is not there");
    assert!(matches!(&stuck, Error::Internal(_)) && stuck.chain().contains("was never opened"), "{}", stuck.chain());
    assert!(t.app.metrics.render().contains("octoco_read_model_contradictions_total 1"));
    let copied: i64 = sqlx::query_scalar("select count(*) from ledger_accounts where currency = 'USD'")
        .fetch_one(&t.app.db)
        .await
        .expect("a count");
    assert_eq!(copied, 2, "the other currency goes on");
    projector::rebuild(&t.app).await.expect("rebuilt");
    t.finish().await;
}
