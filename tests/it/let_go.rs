//! Payouts that a withdrawal let go of, and that Revio pays after all: none is paid besides another, nothing is given back that was paid, and where
//! it was given back already it is found, though no event came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use octoco::money::safe_mode::{self, Older};
use octoco::money::transactions;
use octoco::platform::crash::CrashPoints;
use octoco::platform::permissions::Role;
use reqwest::Method;
use revio_sim::{Fault, FaultKind, Moment, Override, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::connections::{pause, until};
use crate::harness::{Customer, TestApp};
use crate::payouts::{payouts, wait};
use crate::{reconciliation, restrictions};

/// Its execution was refused in words, its window has closed, and the row has let it go.
async fn let_go(t: &TestApp, customer: &Customer) -> (Uuid, Uuid) {
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Refused));
    let withdrawal = t.withdraw(customer, 4_000, "w").await.id();
    t.drive().await;
    let first = t.payout_of(withdrawal);
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    (withdrawal, first)
}

/// And no other is there in its place: none can be registered.
async fn let_go_for_none(t: &TestApp, customer: &Customer) -> (Uuid, Uuid) {
    let (withdrawal, first) = let_go(t, customer).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::CreatePayout, FaultKind::BadGateway(Moment::Before)));
    wait(t, 18).await;
    assert_eq!((t.state(withdrawal).await.as_str(), payout_of_row(t, withdrawal).await), ("reserved", None));
    (withdrawal, first)
}

async fn payout_of_row(t: &TestApp, withdrawal: Uuid) -> Option<Uuid> {
    transactions::find(&t.app, withdrawal).await.expect("there").provider.id
}

/// Revio refuses to register another one, so the money goes back; and then it pays the first.
#[sqlx::test]
async fn what_is_paid_after_the_money_was_given_back_is_found_by_the_later_looks(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = given_back(&t, &customer).await;
    wait(&t, 70).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// All looks are over.
#[sqlx::test]
async fn what_is_paid_after_the_money_was_given_back_is_found_by_reconciliation(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = given_back(&t, &customer).await;
    let rests = "update transactions set due_at = null where id = $1";
    sqlx::query(rests).bind(withdrawal).execute(&t.app.db).await.expect("as after all its looks");
    for _ in 0..3 {
        t.advance(TimeDelta::days(1));
        reconciliation::cycle(&t).await;
        t.drive().await;
    }
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

async fn given_back(t: &TestApp, customer: &Customer) -> Uuid {
    let (withdrawal, first) = let_go_for_good(t, customer).await;
    assert_eq!(t.balance(customer).await, (10_000, 0, 10_000));
    t.sim.settle_payout(first, PayoutOutcome::Success).expect("initialized");
    withdrawal
}

/// The withdrawal, which has failed and knows no payout, and the one that it has let go of.
pub(crate) async fn let_go_for_good(t: &TestApp, customer: &Customer) -> (Uuid, Uuid) {
    let (withdrawal, first) = let_go(t, customer).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::CreatePayout, FaultKind::Refused));
    wait(t, 20).await;
    assert_eq!((t.state(withdrawal).await.as_str(), payout_of_row(t, withdrawal).await), ("failed", None));
    (withdrawal, first)
}

/// Revio says `pending` first, as it does of each that it pays: nothing is paid twice by that, and nobody must look.
#[sqlx::test]
async fn one_that_begins_late_and_is_paid_is_no_payment_besides(db: PgPool) {
    begins_late(db, PayoutOutcome::Success, ("completed", (6_000, 0, 6_000))).await;
}

#[sqlx::test]
async fn one_that_begins_late_in_vain_changes_nothing(db: PgPool) {
    begins_late(db, PayoutOutcome::Error { code: "x".to_owned() }, ("failed", (10_000, 0, 10_000))).await;
}

async fn begins_late(db: PgPool, outcome: PayoutOutcome, ends: (&str, (i64, i64, i64))) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (withdrawal, first) = let_go_for_good(&t, &customer).await;
    t.sim.clear_faults();
    for outcome in [PayoutOutcome::Pending, outcome] {
        t.sim.settle_payout(first, outcome).expect("not ended");
        t.drive().await;
        assert!(t.held_reason(withdrawal).await.is_none());
    }
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ends);
    t.finish().await;
}

/// The row waits for an approval anew when it is declined.
#[sqlx::test]
async fn what_is_paid_before_the_money_is_given_back_stays_paid(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (withdrawal, first) = let_go_for_none(&t, &customer).await;
    t.sim.settle_payout(first, PayoutOutcome::Success).expect("initialized");
    let declined = "update transactions set failure_reason = 'declined', due_at = $2, held_code = null, held_reason = null, held_at = null
                     where id = $1";
    sqlx::query(declined).bind(withdrawal).bind(t.app.clock.now()).execute(&t.app.db).await.expect("there");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// The second is under way, and its execution was refused in words, too.
#[sqlx::test]
async fn another_is_not_executed_again_before_it_is_known_that_the_first_pays_nobody(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (withdrawal, first) = let_go(&t, &customer).await;
    for _ in 0..40 {
        if payouts(&t, withdrawal) == 2 {
            break;
        }
        wait(&t, 1).await;
    }
    assert_eq!(t.state(withdrawal).await, "submitting");
    assert_ne!(payout_of_row(&t, withdrawal).await, Some(first));
    t.sim.settle_payout(first, PayoutOutcome::Success).expect("initialized");
    t.sim.clear_faults();
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    wait(&t, 10).await;
    assert_eq!((t.state(withdrawal).await.as_str(), payout_of_row(&t, withdrawal).await), ("completed", Some(first)));
    assert_eq!((t.sim.totals("ZAR").paid_out_count, t.balance(&customer).await), (1, (6_000, 0, 6_000)));
    t.finish().await;
}

/// Its registration was not answered, so another was made and executed, without an answer too; then somebody at Revio executed the first.
#[sqlx::test]
async fn an_error_of_one_payout_gives_nothing_back_while_a_call_for_another_may_still_count(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePayout, FaultKind::Reset(Moment::After)));
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::LateEffect { secs: 600, status: 502 }));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!((payouts(&t, withdrawal), t.state(withdrawal).await.as_str()), (2, "submitting"));
    let executed = payout_of_row(&t, withdrawal).await.expect("its own");
    let ids: Vec<Uuid> = t.sim.payouts_by_reference(&withdrawal.to_string()).iter().map(id_of).collect();
    let first = ids.into_iter().find(|id| *id != executed).expect("two");
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.settle_payout(first, PayoutOutcome::Pending).expect("initialized");
    wait(&t, 2).await;
    assert_eq!(payout_of_row(&t, withdrawal).await, Some(first));
    t.sim.settle_payout(first, PayoutOutcome::Error { code: "do_not_honour".to_owned() }).expect("pending");
    wait(&t, 6).await;
    assert_eq!(t.balance(&customer).await.1, 4_000, "{}: still reserved", t.state(withdrawal).await);
    wait(&t, 30).await;
    assert_eq!((t.sim.totals("ZAR").paid_out_count, t.balance(&customer).await), (1, (6_000, 0, 6_000)));
    assert_eq!(t.owed(customer.id).await, 0);
}

fn id_of(object: &Value) -> Uuid {
    object["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

/// Somebody executed its own registered payout at Revio, while it waited for the end of a freeze; the event of that was lost, or came.
#[sqlx::test]
async fn what_is_called_off_is_not_given_back_while_revio_pays_it_all_the_same(db: PgPool) {
    for is_told in [false, true] {
        let t = TestApp::new(db.clone()).await;
        let (customer, staff) = (t.customer_with(10_000).await, t.staff(Role::Finance).await);
        let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
        restrictions::act(&t, &staff, &customer, "freeze").await;
        t.drive().await;
        let payout = t.payout_of(withdrawal);
        if !is_told {
            t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
        }
        t.sim.settle_payout(payout, PayoutOutcome::Pending).expect("initialized");
        t.drive().await;
        let expected = if is_told { "submitted" } else { "reserved" };
        assert_eq!(t.state(withdrawal).await, expected);
        let path = format!("/v1/withdrawals/{withdrawal}/cancel");
        t.send(Method::POST, &path, Some(&customer.token), &[], None).await;
        assert_eq!(t.state(withdrawal).await, "submitted", "it pays");
        assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
        t.sim.settle_payout(payout, PayoutOutcome::Success).expect("pending");
        t.advance(TimeDelta::hours(12));
        t.drive().await;
        assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    }
}

/// What nobody has executed may have ended by a word that we do not know: two people need not wait for weeks to give the money back.
#[sqlx::test]
async fn one_whose_time_passed_under_an_unknown_word_is_given_back_by_two(db: PgPool) {
    given_back_by_two(db, false).await;
}

#[sqlx::test]
async fn one_that_was_called_off_under_an_unknown_word_is_given_back_by_two(db: PgPool) {
    given_back_by_two(db, true).await;
}

async fn given_back_by_two(db: PgPool, is_called_off: bool) {
    let t = TestApp::new(db).await;
    let (customer, staff) = (t.customer_with(10_000).await, t.staff(Role::Finance).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    restrictions::act(&t, &staff, &customer, "freeze").await;
    t.drive().await;
    t.sim.set_override(Override::of(t.payout_of(withdrawal), "/status", json!("expired")));
    t.advance(TimeDelta::minutes(16));
    if is_called_off {
        let path = format!("/v1/withdrawals/{withdrawal}/cancel");
        t.send(Method::POST, &path, Some(&t.token(&customer)), &[], None).await;
    }
    restrictions::act(&t, &staff, &customer, "unfreeze").await;
    wait(&t, 60).await;
    assert_eq!(t.state(withdrawal).await, "reserved", "nobody has executed it");
    assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("expired")));
    t.stay_signed_in().await;
    for person in [staff, t.staff(Role::Admin).await] {
        let (path, body) =
            (format!("/v1/admin/held/{withdrawal}/resolve"), json!({"action": "release", "note": "asked Revio"}));
        let answer = t.send(Method::POST, &path, Some(&t.token(&person)), &[], Some(body)).await;
        assert_eq!(answer.status, reqwest::StatusCode::OK, "{}", answer.body);
    }
    wait(&t, 5).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
}

/// An operator is told that nothing is paid, while a step asks whether another payout has paid already.
#[sqlx::test]
async fn no_payout_begins_after_the_safe_mode_though_it_was_looked_at_before(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (withdrawal, first) = let_go_for_none(&t, &customer).await;
    t.sim.clear_faults();
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::Slow { millis: 2_000 }).of_object(first));
    t.advance(TimeDelta::minutes(1));
    let enters = async {
        until("another one is registered", || payouts(&t, withdrawal) == 2).await;
        // The step has looked at the safe mode, and waits for Revio's word on the first.
        pause(Duration::from_millis(500)).await;
        safe_mode::enter(&t.app, &t.app.db, Older::Ledger, "the ledger is behind").await.expect("entered");
    };
    tokio::join!(t.drive(), enters);
    assert_eq!((t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("reserved", 0));
}

/// The SQL transaction in which it begins waits for somebody who has the customer's row, and the safe mode begins meanwhile.
#[sqlx::test]
async fn no_payout_begins_after_the_safe_mode_though_it_waited_for_a_lock(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    let mut other = db.begin().await.expect("a transaction");
    let lock = "select from users where id = $1 for no key update";
    sqlx::query(lock).bind(customer.id).execute(&mut *other).await.expect("locked");
    let enters = async {
        until("it is registered", || payouts(&t, withdrawal) == 1).await;
        pause(Duration::from_millis(500)).await;
        safe_mode::enter(&t.app, &t.app.db, Older::Ledger, "the ledger is behind").await.expect("entered");
        other.commit().await.expect("committed");
    };
    tokio::join!(t.drive(), enters);
    assert_eq!((t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("reserved", 0));
}

/// What keeps payouts from beginning is no fault of the row's: one is registered after another, at last an hour apart, and nobody is asked.
#[sqlx::test]
async fn payouts_that_cannot_begin_for_hours_are_for_nobody(db: PgPool) {
    let none_begins = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&none_begins);
    let plan = move |point| point == "batch.before_beginnings" && asked.load(Ordering::Relaxed);
    let t = TestApp::crashing(db, &[], CrashPoints::planned(plan)).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 300).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), ("reserved", None));
    assert!((9..=11).contains(&payouts(&t, withdrawal)), "{}", payouts(&t, withdrawal));
    none_begins.store(false, Ordering::Relaxed);
    wait(&t, 75).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
    t.finish().await;
}
