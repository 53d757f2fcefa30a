//! Encrypted bank details get a new key while the service runs, and whatever interrupts that.

use std::collections::BTreeMap;

use octoco::identity::audit::Origin;
use octoco::identity::caller::Caller;
use octoco::identity::quota::Quota;
use octoco::identity::rotation::{self, Cursor, KeyUse};
use octoco::money::bank_accounts::rotation::BankAccounts;
use octoco::money::bank_accounts::{self, Details, NewBankAccount};
use octoco::platform::keys;
use reqwest::StatusCode;
use sqlx::PgPool;
use uuid::Uuid;

use crate::binary;
use crate::harness::{Customer, TestApp};
use crate::projector::killed_after;

/// More than two batches.
const CUSTOMERS: usize = 5;
const ACCOUNTS: usize = 49;

/// Customers with many bank accounts each, sealed with the key of the service.
async fn filled(t: &TestApp) -> Vec<Customer> {
    let mut customers = Vec::new();
    for _ in 0..CUSTOMERS {
        let customer = t.customer().await;
        for index in 0..ACCOUNTS {
            let details = Details {
                account_number: format!("6200{index:07}"),
                branch_code: "250655".to_owned(),
                account_holder: format!("Holder {index}"),
            };
            let new = NewBankAccount { bank_name: "FNB".to_owned(), details };
            bank_accounts::add(&t.app, &caller(&customer), new, None).await.expect("it is added");
        }
        customers.push(customer);
    }
    customers
}

fn caller(customer: &Customer) -> Caller {
    Caller { user_id: customer.id, session_id: customer.session_id, origin: Origin::default(), quota: Quota::default() }
}

/// Every number that opens, by account.
async fn opened(t: &TestApp, customers: &[Customer]) -> BTreeMap<Uuid, String> {
    let mut numbers = BTreeMap::new();
    for customer in customers {
        for account in bank_accounts::list(&t.app, customer.id).await.expect("every one opens") {
            numbers.insert(account.id, format!("{}{}", account.details.account_number, account.details.account_holder));
        }
    }
    numbers
}

async fn run(t: &TestApp) -> usize {
    let (mut cursor, mut sealed) = (Cursor::default(), 0);
    while let Some(batch) =
        rotation::next(&t.app, &BankAccounts(&t.app), &mut cursor).await.expect("PostgreSQL answers")
    {
        assert_eq!(batch.closed, Vec::<Uuid>::new());
        sealed += batch.encrypted;
    }
    sealed
}

async fn rows(t: &TestApp, id: &str) -> i64 {
    let uses = rotation::uses(&t.app, &BankAccounts(&t.app)).await.expect("PostgreSQL answers");
    uses.iter().find(|key| key.id == id).map_or(0, |key| key.rows)
}

#[sqlx::test]
async fn a_rotation_that_is_cut_off_anywhere_leaves_every_row_whole_and_goes_on(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let before = TestApp::with(db.clone(), &[("DATA_KEYS", &old)]).await;
    let customers = filled(&before).await;
    let numbers = opened(&before, &customers).await;
    let all = i64::try_from(numbers.len()).expect("few");
    assert_eq!(all, 250);
    let during = TestApp::with(db.clone(), &[("DATA_KEYS", &format!("{new},{old}"))]).await;
    let mut halfway = 0;
    let mut looks = 1;
    while rows(&during, "old").await > 50 {
        let mut cursor = Cursor::default();
        drop(killed_after(looks, rotation::next(&during.app, &BankAccounts(&during.app), &mut cursor)).await);
        assert_eq!(opened(&during, &customers).await, numbers, "after {looks} looks");
        halfway += usize::from((1..all).contains(&rows(&during, "new").await));
        looks += 1 + looks / 4;
        assert!(looks < 1_000_000, "it never gets on");
    }
    assert!(looks > 10 && halfway > 0, "it was cut off {looks}, {halfway}");
    // What is left, by two at once.
    let left = rows(&during, "old").await;
    let (one, other) = tokio::join!(run(&during), run(&during));
    assert_eq!(i64::try_from(one + other).expect("few"), left, "none twice");
    assert_eq!(
        rotation::uses(&during.app, &BankAccounts(&during.app)).await.expect("answers"),
        [KeyUse { id: "new".to_owned(), rows: all }]
    );
    assert_eq!(run(&during).await, 0);
    let audited: i64 = sqlx::query_scalar(
        "select sum((after->>'rows')::bigint)::bigint from audit_log where action = 'data_key.rotated'",
    )
    .fetch_one(&db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(audited, all, "each batch is audited, with it or not at all");
    let after = TestApp::with(db, &[("DATA_KEYS", &new)]).await;
    assert_eq!(opened(&after, &customers).await, numbers, "without the old key");
    after.finish().await;
}

#[sqlx::test]
async fn withdrawals_go_on_while_the_key_changes(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let keys = format!("{old},{new}");
    let t = TestApp::with(db.clone(), &[("DATA_KEYS", &keys)]).await;
    let customer = t.customer_with(100_000).await;
    let rotating = TestApp::with(db, &[("DATA_KEYS", &format!("{new},{old}"))]).await;
    let withdrawals = async {
        for index in 0..5 {
            let asked = t.withdraw(&customer, 1_000, &format!("w{index}")).await;
            assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
            t.drive().await;
            assert_eq!(t.state(asked.id()).await, "completed");
        }
    };
    let rotations = async {
        for index in 0..20 {
            run(&rotating).await;
            // A process that still has the old order writes with the old key again.
            let details = bank_accounts::details(&t.app, customer.bank_account_id).await.expect("it opens");
            let details = Details { account_number: format!("6300{index:07}"), ..details };
            let new = NewBankAccount { bank_name: "FNB".to_owned(), details };
            bank_accounts::add(&t.app, &caller(&customer), new, None).await.expect("it is added");
        }
    };
    tokio::join!(withdrawals, rotations);
    assert_eq!(run(&rotating).await, 1, "the last one that was written with the old key");
    t.finish().await;
}

#[sqlx::test]
async fn a_row_that_does_not_open_is_named_and_stops_nobody(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let before = TestApp::with(db.clone(), &[("DATA_KEYS", &old)]).await;
    let lost = before.customer().await.bank_account_id;
    sqlx::query("update bank_accounts set key_id = 'lost'").execute(&db).await.expect("PostgreSQL answers");
    before.customer().await;
    let t = TestApp::with(db, &[("DATA_KEYS", &format!("{new},{old}"))]).await;
    let mut cursor = Cursor::default();
    let batch = rotation::next(&t.app, &BankAccounts(&t.app), &mut cursor)
        .await
        .expect("PostgreSQL answers")
        .expect("there are rows");
    assert_eq!((batch.encrypted, batch.closed), (1, vec![lost]));
    assert!(
        rotation::next(&t.app, &BankAccounts(&t.app), &mut cursor).await.expect("PostgreSQL answers").is_none(),
        "it goes on behind it"
    );
    assert_eq!((rows(&t, "new").await, rows(&t, "lost").await), (1, 1));
    t.finish().await;
}

#[sqlx::test]
async fn keys_rotate_says_which_key_may_go(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let t = TestApp::with(db.clone(), &[("DATA_KEYS", &old)]).await;
    t.customer().await;
    let mut settings = binary::settings(&db, "unused");
    settings.insert("DATA_KEYS", format!("{new},{old}"));
    let (printed, status) = binary::run(&["keys", "rotate"], &settings).await;
    assert!(status.success(), "{printed}");
    assert!(
        printed.contains("1 encrypted again with new\nkey new: 1 rows; it encrypts\nno row needs another key"),
        "{printed}"
    );
    sqlx::query("update bank_accounts set key_id = 'lost'").execute(&db).await.expect("PostgreSQL answers");
    let (printed, status) = binary::run(&["keys", "rotate"], &settings).await;
    assert!(!status.success() && printed.contains("key lost: 1 rows; it is not in DATA_KEYS"), "{printed}");
    t.finish().await;
}

#[sqlx::test]
async fn accounts_added_at_once_do_not_pass_the_maximum(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let details = bank_accounts::details(&t.app, customer.bank_account_id).await.expect("it opens");
    let caller = caller(&customer);
    let numbers = std::sync::atomic::AtomicU32::new(0);
    let add = || {
        let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let details = Details { account_number: format!("6300{number:07}"), ..details.clone() };
        bank_accounts::add(&t.app, &caller, NewBankAccount { bank_name: "FNB".to_owned(), details }, None)
    };
    for _ in 0..45 {
        add().await.expect("there is room");
    }
    let raced = futures_util::future::join_all((0..12).map(|_| add())).await;
    assert_eq!(raced.iter().filter(|added| added.is_ok()).count(), 4);
    assert_eq!(bank_accounts::list(&t.app, customer.id).await.expect("they open").len(), 50);
    t.finish().await;
}
