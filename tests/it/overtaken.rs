//! Two at the same row, person or debt at once, or one that dies where the other goes on: what the first did is found by the second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::money::transactions::Hold;
use octoco::money::{transactions, withdrawals};
use octoco::platform::clock::Clock;
use octoco::platform::crash::CrashPoints;
use octoco::platform::database::Connection;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Pay, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::four_eyes;
use crate::harness::{Customer, PASSWORD, TestApp, stepped};
use crate::restrictions::{act, act_alone, states};
use crate::sign_in::store_an_old_hash;

/// Until so many statements wait for a lock; or for long enough, when none does.
pub(crate) async fn until_waiting(t: &TestApp, statements: i64) {
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'";
    let enough = async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&t.app.db).await.expect("a number") < statements {
            tokio::task::yield_now().await;
        }
    };
    let _in_time = tokio::time::timeout(Duration::from_secs(20), enough).await;
}

/// Of the main pool: whoever needs two at once waits for ever.
pub(crate) async fn all_connections_but_one(t: &TestApp) -> Vec<Connection> {
    let mut held = Vec::new();
    while let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_millis(200), t.app.db.acquire()).await {
        held.push(connection);
    }
    held.pop();
    assert!(!held.is_empty());
    held
}

async fn resolve(t: &TestApp, staff: &Customer, id: Uuid, action: &str) -> StatusCode {
    let body = json!({"action": action, "note": "looked at Revio's portal"});
    t.send(Method::POST, &format!("/v1/admin/held/{id}/resolve"), Some(&t.token(staff)), &[], Some(body)).await.status
}

#[sqlx::test]
async fn what_is_half_lifted_is_imposed_again_as_a_whole(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[("CURRENCIES", "USD,ZAR")], next.plan()).await;
    let (staff, customer) = (t.staff(Role::Admin).await, t.customer().await);
    for (impose, lift) in [("freeze", "unfreeze"), ("close", "reopen")] {
        for point in ["restriction.lifting", "restriction.opened"] {
            assert_eq!(states(&act(&t, &staff, &customer, impose).await), ["in_force", "in_force"]);
            next.at(point);
            act(&t, &staff, &customer, lift).await;
            let again = act(&t, &staff, &customer, impose).await;
            assert_eq!(states(&again), ["in_force", "in_force"], "{impose} after a death at {point}");
            let refused = t.withdraw(&customer, 100, &format!("{impose}-{point}")).await;
            assert!(["account_frozen", "account_closed"].contains(&refused.code()), "{}", refused.body);
            assert_eq!(states(&act(&t, &staff, &customer, lift).await), ["lifted", "lifted"]);
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn no_payout_begins_while_its_customer_is_being_frozen(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await;
    // What a freeze has done just before its commit.
    let mut freeze = t.app.db.begin().await.expect("a transaction");
    sqlx::query("select from users where id = $1 for no key update")
        .bind(customer.id)
        .execute(&mut *freeze)
        .await
        .expect("locked");
    sqlx::query(
        "insert into restrictions (id, user_id, kind, currency, call_id, state, reason, created_at, updated_at)
         values ($1, $2, 'freeze', 'ZAR', $1, 'initiated', 'case 4711', now(), now())",
    )
    .bind(t.app.clock.row_id())
    .bind(customer.id)
    .execute(&mut *freeze)
    .await
    .expect("inserted");
    let committed = async {
        until_waiting(&t, 1).await;
        freeze.commit().await.expect("committed");
    };
    let (stepped, ()) = tokio::join!(stepped(withdrawals::claim_due(&t.app, 10)), committed);
    stepped.expect("claimed");
    assert_eq!(t.state(withdrawal.id()).await, "reserved");
    assert_eq!(t.held_reason(withdrawal.id()).await.as_deref(), Some("the customer is frozen"));
    sqlx::query("delete from restrictions").execute(&t.app.db).await.expect("as if it had not been");
    octoco::money::restrictions::step_due(&t.app, 10).await.expect("released");
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn whoever_was_stopped_before_an_execution_leaves_it_to_the_next(db: PgPool) {
    let clock = Arc::new(OnceLock::<Clock>::new());
    let (stopped, armed) = (Arc::clone(&clock), AtomicBool::new(true));
    let crash = CrashPoints::planned(move |point| {
        if point == "withdrawal.before_execution" && armed.swap(false, Ordering::SeqCst) {
            stopped.get().expect("set").advance(TimeDelta::seconds(100));
        }
        false
    });
    let t = TestApp::crashing(db, &[], crash).await;
    let customer = t.customer_with(10_000).await;
    assert!(clock.set(t.app.clock.clone()).is_ok());
    let withdrawal = t.withdraw(&customer, 4_000, "w").await;
    stepped(withdrawals::claim_due(&t.app, 10)).await.expect("claimed");
    assert_eq!(t.state(withdrawal.id()).await, "submitting");
    let executed = t.sim.calls().iter().filter(|call| call.path.starts_with("/po/")).count();
    assert_eq!(executed, 0, "somebody else may be at it since");
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_was_refused_is_not_asked_for_again_after_a_death(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    // Before the row says anything, nothing was given back, and Revio may take the payout after all.
    for (point, ends) in
        [("transaction.before_move", "completed"), ("transaction.moved", "failed"), ("withdrawal.voided", "failed")]
    {
        let customer = t.customer_with(10_000).await;
        let withdrawal = t.withdraw(&customer, 4_000, "w").await;
        t.sim.set_fault(Fault::next(1, Scope::CreatePayout, FaultKind::Refused));
        next.at(point);
        for _ in 0..3 {
            t.drive().await;
            t.advance(TimeDelta::minutes(2));
        }
        assert_eq!(t.state(withdrawal.id()).await, ends, "died at {point}");
        let left = if ends == "failed" { 10_000 } else { 6_000 };
        assert_eq!(t.balance(&customer).await, (left, 0, left), "died at {point}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn what_comes_in_where_a_debts_step_died_is_not_available_beside_the_debt(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    for (point, at_once) in [("receivable.taken", 1_100), ("receivable.owed", 100)] {
        let customer = t.customer().await;
        let first = t.deposit(&customer, 1_000, "first").await;
        t.pay(&first).await;
        t.withdraw(&customer, 600, "some").await;
        t.drive().await;
        t.sim.charge_back_purchase(t.purchase_of(first.id())).expect("charged back");
        next.at(point);
        t.drive().await;
        let second = t.deposit(&customer, 700, "second").await;
        t.pay(&second).await;
        assert_eq!(t.balance(&customer).await.2, at_once, "died at {point}: all or nothing of it stands");
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (100, 0, 100), "died at {point}");
        assert_eq!(t.owed(customer.id).await, 0, "died at {point}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn what_may_still_be_booked_is_not_dismissed(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 1_000, "first").await;
    t.pay(&deposit).await;
    t.sim.charge_back_purchase(t.purchase_of(deposit.id())).expect("charged back");
    next.at("receivable.taken");
    t.drive().await;
    let chargeback: Uuid = sqlx::query_scalar("select id from transactions where kind = 'chargeback'")
        .fetch_one(&t.app.db)
        .await
        .expect("one");
    let waiting = t.deposit(&customer, 500, "second").await.id();
    for id in [chargeback, waiting] {
        let row = transactions::find(&t.app, id).await.expect("there");
        transactions::hold(&t.app, &row, Hold::GaveUp, "gave up after 5 failures: outcome unknown")
            .await
            .expect("held");
        assert_eq!(resolve(&t, &finance, id, "dismiss").await, StatusCode::BAD_REQUEST);
        assert_eq!(resolve(&t, &finance, id, "retry").await, StatusCode::OK);
    }
    t.drive().await;
    assert_eq!(t.state(chargeback).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn a_refund_of_what_was_just_set_aside_is_no_second_payment(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer().await;
    // Nobody but the row itself asks for the purchase, and for what was given back of it.
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.set_settings(revio_sim::Settings { payment_reads: true, ..t.sim.settings() });
    let deposit = t.deposit(&customer, 5_000, "d").await;
    let purchase = t.purchase_of(deposit.id());
    t.sim.pay_purchase(purchase, Pay { amount: Some(4_000), ..Pay::default() }).expect("payable");
    next.at("suspense.booked");
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    assert_eq!(t.held_reason(deposit.id()).await, None, "it died before it said so");
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 4_000);
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    let reason = t.held_reason(deposit.id()).await.expect("held");
    assert!(reason.starts_with("paid with another amount"), "{reason}");
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0, "it went back");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn of_sign_ins_at_once_that_renew_one_hash_all_are_let_in(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    store_an_old_hash(&t).await;
    // Both have read the old hash before one of them can store a new one.
    let mut reader = t.app.db.begin().await.expect("a transaction");
    sqlx::query("select from users for share").execute(&mut *reader).await.expect("locked");
    let let_go = async {
        until_waiting(&t, 2).await;
        reader.commit().await.expect("committed");
    };
    let (one, two, ()) = tokio::join!(t.login(&customer.email, PASSWORD), t.login(&customer.email, PASSWORD), let_go);
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK), "{} {}", one.body, two.body);
    t.finish().await;
}

/// Whoever asked that a freeze is lifted freezes the customer again while somebody else agrees: one comes first, and neither is told to try again.
#[sqlx::test]
async fn a_freeze_and_the_approval_of_its_lifting_do_not_wait_for_each_other(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let customer = t.customer().await;
    act(&t, &maker, &customer, "freeze").await;
    let asked = act_alone(&t, &maker, &customer, "unfreeze").await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    // Both have what they lock first.
    let mut reader = t.app.db.begin().await.expect("a transaction");
    sqlx::query("select from requests for update").execute(&mut *reader).await.expect("locked");
    let approval = four_eyes::approve(&t, &checker, &asked);
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let token = t.token(&maker);
    let freeze = async {
        until_waiting(&t, 1).await;
        t.send(Method::POST, &path, Some(&token), &[], Some(json!({"reason": "another card"}))).await
    };
    let let_go = async {
        until_waiting(&t, 2).await;
        reader.commit().await.expect("committed");
    };
    let (approved, frozen, ()) = tokio::join!(approval, freeze, let_go);
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.body);
    let told = (frozen.status, frozen.code());
    assert!(frozen.status == StatusCode::OK || told == (StatusCode::CONFLICT, "stale_state"), "{}", frozen.body);
    t.drive().await;
    t.finish().await;
}
