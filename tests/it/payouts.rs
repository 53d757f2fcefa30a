//! At most one payout of a withdrawal is paid: it is replaced only where it can never be, once, and every one that was ever registered is
//! known, asked for and named.

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use reqwest::Method;
use revio_sim::{Fault, FaultKind, Moment, PayoutOutcome, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp};

async fn wait(t: &TestApp, minutes: i64) {
    for _ in 0..minutes * 2 {
        t.advance(TimeDelta::seconds(30));
        t.drive().await;
    }
}

fn payouts(t: &TestApp, withdrawal: Uuid) -> usize {
    t.sim.payouts_by_reference(&withdrawal.to_string()).len()
}

#[sqlx::test]
async fn executions_that_take_effect_late_pay_once_however_late(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    for (number, secs) in [30_u32, 300, 1_200, 4_000].into_iter().enumerate() {
        t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::LateEffect { secs, status: 502 }));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        wait(&t, 120).await;
        assert_eq!(payouts(&t, withdrawal), 1, "{secs} s");
        assert_eq!(t.state(withdrawal).await, "completed", "{secs} s: {:?}", t.held_reason(withdrawal).await);
    }
    let totals = t.sim.totals("ZAR");
    assert_eq!((totals.paid_out, totals.paid_out_count), (16_000, 4));
    t.finish().await;
}

/// Nobody knows what became of the call, so no other takes its place, and a person is told which payout it is.
#[sqlx::test]
async fn a_payout_whose_execution_was_never_answered_is_not_replaced(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 40).await;
    let (payout, reason) = (t.payout_of(withdrawal), t.held_reason(withdrawal).await.expect("held"));
    assert!(reason.contains(&payout.to_string()), "{reason}");
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "still reserved");
    // Revio's word ends it, and nobody has to.
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("initialized");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), ("completed", None));
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_was_never_to_be_executed_is_replaced_once(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer_with(10_000).await;
    next.at("withdrawal.payout_created");
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    // Its answer was lost with the process; the next one dies before it is to be executed.
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.advance(TimeDelta::minutes(2));
    next.at("transaction.moved");
    t.drive().await;
    t.advance(TimeDelta::minutes(16));
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn what_revio_refuses_in_words_is_replaced_once_and_no_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Refused));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 60).await;
    assert_eq!(payouts(&t, withdrawal), 2);
    let reason = t.held_reason(withdrawal).await.expect("held");
    for payout in t.sim.payouts_by_reference(&withdrawal.to_string()) {
        assert!(reason.contains(payout["id"].as_str().expect("an id")), "{reason}");
    }
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    t.finish_with_held().await;
}

async fn resolve(t: &TestApp, staff: &Customer, id: Uuid, action: &str) -> Answer {
    let body = json!({"action": action, "note": "Revio confirmed it by phone"});
    t.send(Method::POST, &format!("/v1/admin/held/{id}/resolve"), Some(&t.token(staff)), &[], Some(body)).await
}

/// The way out for a person; of two, for one alone could wait for Revio's payment and have the money twice.
#[sqlx::test]
async fn two_people_give_a_withdrawal_up_and_a_payment_after_that_is_taken_from_the_wallet(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 40).await;
    assert!(t.held_reason(withdrawal).await.is_some());
    for _ in 0..2 {
        let first = resolve(&t, &one, withdrawal, "release").await;
        assert!(first.body["held_reason"].is_string(), "one person is one person: {}", first.body);
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    }
    let second = resolve(&t, &two, withdrawal, "release").await;
    assert!(second.body["held_reason"].is_null(), "{}", second.body);
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    let shown = t.get(&customer, &format!("/v1/transactions/{withdrawal}")).await;
    assert_eq!(shown.body["failure_reason"], "closed_by_review");
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("initialized");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    let shown = t.get(&customer, &format!("/v1/transactions/{withdrawal}")).await;
    assert!(shown.body["failure_reason"].is_null(), "it goes when the row completes");
    t.finish().await;
}

async fn held_undecided(t: &TestApp, customer: &Customer) -> Uuid {
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(customer, 4_000, "w").await.id();
    wait(t, 40).await;
    assert!(t.held_reason(withdrawal).await.is_some());
    t.sim.clear_faults();
    withdrawal
}

/// Its event was lost: what two people said is not done before Revio is asked once more.
#[sqlx::test]
async fn what_two_people_give_up_is_not_given_back_when_revio_has_paid_meanwhile(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let withdrawal = held_undecided(&t, &customer).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("initialized");
    resolve(&t, &one, withdrawal, "release").await;
    resolve(&t, &two, withdrawal, "release").await;
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    let late = "select count(*) from ledger_transfers where code = 20 and kind = 'posted'";
    octoco::books::projector::catch_up(&t.app).await.expect("copied");
    let late: i64 = sqlx::query_scalar(late).fetch_one(&t.app.db).await.expect("a count");
    assert_eq!(late, 0, "it was posted, and not taken from the wallet afterwards");
    t.finish().await;
}

/// Where Revio does not answer, what the people said counts in the end.
#[sqlx::test]
async fn what_two_people_give_up_is_given_back_though_revio_says_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let withdrawal = held_undecided(&t, &customer).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::AnyCall, FaultKind::Reset(Moment::Before)));
    resolve(&t, &one, withdrawal, "release").await;
    resolve(&t, &two, withdrawal, "release").await;
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "it is asked first");
    wait(&t, 75).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    t.sim.clear_faults();
    t.finish().await;
}
