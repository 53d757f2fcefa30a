//! What people had booked before PostgreSQL was put back, the ledger has: Revio's word on the same is not booked besides.

use chrono::TimeDelta;
use octoco::app::LedgerCopy;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Pay, PayoutBehaviour, PayoutOutcome};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{look, wait};
use crate::adjustments::{approve, correction, hash, proposed};
use crate::backups;
use crate::by_hand;
use crate::harness::{Customer, TestApp};

/// Its row is there, and says that nobody has decided; the deposit's step comes before its own.
#[sqlx::test]
async fn a_correction_whose_row_is_behind_stands_for_what_it_booked(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    let mut body = correction(&customer, "credit", 5_000);
    body["counterpart"] = json!("provider_balance");
    body["transaction_id"] = json!(deposit);
    let asked = proposed(&t, &maker, body, "c").await;
    backups::take(&db).await;
    let done = approve(&t, &checker, asked.id(), hash(&asked)).await;
    assert_eq!(done.body["state"], "completed", "{}", done.body);
    backups::restore(&db).await;
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    t.drive().await;
    assert!(t.held_reason(deposit).await.is_some_and(|reason| reason.contains("booked already")));
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000), "once");
    look(&t).await;
    wait(&t, 1).await;
    assert_eq!((t.state(asked.id()).await.as_str(), t.balance(&customer).await.0), ("completed", 5_000));
}

/// Its row is lost, and the copy of the ledger, which would say so, was not looked at yet.
#[sqlx::test]
async fn nothing_is_booked_by_revios_word_before_the_ledger_was_looked_at(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    let other = t.deposit(&customer, 700, "o").await.id();
    backups::take(&db).await;
    t.advance(TimeDelta::minutes(1));
    by_hand::corrected(&t, &customer, "credit", 5_000, deposit).await;
    backups::restore(&db).await;
    t.app.ledger_copy.send_replace(LedgerCopy::Awaited);
    for row in [deposit, other] {
        t.sim.pay_purchase(t.purchase_of(row), Pay::default()).expect("payable");
    }
    t.drive().await;
    assert_eq!((t.state(other).await.as_str(), t.balance(&customer).await.0), ("awaiting_payment", 5_000));
    look(&t).await;
    wait(&t, 3).await;
    assert_eq!(*t.app.ledger_copy.borrow(), LedgerCopy::Complete);
    assert_eq!((t.state(other).await.as_str(), t.balance(&customer).await.0), ("completed", 5_700));
    assert!(t.held_reason(deposit).await.is_some_and(|reason| reason.contains("may have booked it already")));
}

/// What only has the same sum is another one: two people say so, and Revio has paid.
#[sqlx::test]
async fn what_is_held_for_a_correction_of_the_same_sum_is_complete_by_two_people(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    backups::take(&db).await;
    t.advance(TimeDelta::minutes(1));
    let asked = proposed(&t, &maker, correction(&customer, "debit", 4_000), "c").await;
    approve(&t, &checker, asked.id(), hash(&asked)).await;
    backups::restore(&db).await;
    look(&t).await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    wait(&t, 3).await;
    assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("may have booked it already")));
    assert_eq!(t.balance(&customer).await, (6_000, 4_000, 2_000));
    release(&t, [&maker, &checker], withdrawal).await;
    wait(&t, 20).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (2_000, 0, 2_000)));
}

async fn release(t: &TestApp, by: [&Customer; 2], row: Uuid) {
    for staff in by {
        let body = json!({"action": "release", "note": "it is another one"});
        let path = format!("/v1/admin/held/{row}/resolve");
        let answer = t.send(Method::POST, &path, Some(&t.token(staff)), &[], Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
}

/// A debt was given up, and the row of the journal that did it is behind, or lost.
#[sqlx::test]
async fn what_comes_back_of_a_debt_whose_write_off_was_forgotten_is_for_a_person(db: PgPool) {
    for is_lost in [false, true] {
        let t = TestApp::new(db.clone()).await;
        let customer = t.customer_with(10_000).await;
        let deposit: Uuid = sqlx::query_scalar("select id from transactions where user_id = $1 and kind = 'deposit'")
            .bind(customer.id)
            .fetch_one(&db)
            .await
            .expect("one");
        let purchase = t.purchase_of(deposit);
        let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
        t.withdraw(&customer, 6_000, "w").await;
        t.drive().await;
        t.sim.charge_back_purchase(purchase).expect("paid");
        t.drive().await;
        assert_eq!(t.owed(customer.id).await, 6_000);
        let given_up =
            crate::journals::with(crate::journals::entry("write_off", 6_000), json!({"user_id": customer.id}));
        if is_lost {
            backups::take(&db).await;
        }
        let proposed = crate::journals::proposed(&t, &maker, given_up, "j").await;
        if !is_lost {
            backups::take(&db).await;
        }
        t.advance(TimeDelta::seconds(1));
        let booked = crate::journals::approve(&t, &checker, &proposed).await;
        assert_eq!(booked.body["state"], "completed", "{}", booked.body);
        backups::restore(&db).await;
        look(&t).await;
        t.sim.reverse_charge_back(purchase).expect("charged back");
        t.drive().await;
        assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 0), "{is_lost}");
        let held: i64 = sqlx::query_scalar("select count(*) from transactions where held_code = 'paid_twice'")
            .fetch_one(&db)
            .await
            .expect("PostgreSQL answers");
        assert_eq!(held, 1, "{is_lost}");
        super::empty(&t).await;
    }
}
