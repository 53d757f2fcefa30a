//! A client that goes away while its request is in hand takes only the answer with it: what was begun goes on at once, and does
//! not wait for the end of a lease.

use std::sync::Arc;

use octoco::platform::crash::{CrashPoints, Fate};
use octoco::platform::permissions::Role;
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::harness::TestApp;

/// A service that says when a step has come to `point`.
async fn watched(db: PgPool, point: &'static str) -> (TestApp, Arc<Notify>) {
    let there = Arc::new(Notify::new());
    let tell = Arc::clone(&there);
    let plan = move |at| {
        if at == point {
            tell.notify_one();
        }
        Fate::GoesOn
    };
    (TestApp::crashing(db, &[], CrashPoints::planned(plan)).await, there)
}

/// Sends a request and leaves as soon as its step has come to the point; then everything that is in hand ends.
async fn leave<T>(t: &TestApp, there: &Notify, request: impl Future<Output = T>) {
    tokio::select! {
        biased;
        () = there.notified() => {}
        _ = request => panic!("it was answered before anybody could leave"),
    }
    t.app.in_hand.close();
    t.app.in_hand.wait().await;
    t.app.in_hand.reopen();
}

#[sqlx::test]
async fn a_deposit_whose_client_leaves_is_opened_at_once(db: PgPool) {
    let (t, there) = watched(db, "deposit.before_purchase").await;
    let customer = t.customer().await;
    leave(&t, &there, t.deposit(&customer, 5_000, "d1")).await;
    let again = t.deposit(&customer, 5_000, "d1").await;
    assert!(again.replayed() && again.body["checkout_url"].is_string(), "{}", again.body);
    assert_eq!(t.sim.purchases_by_reference(&again.id().to_string()).len(), 1);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_withdrawal_whose_client_leaves_is_reserved_at_once(db: PgPool) {
    let (t, there) = watched(db, "withdrawal.reserved").await;
    let customer = t.customer_with(10_000).await;
    leave(&t, &there, t.withdraw(&customer, 4_000, "w1")).await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    let again = t.withdraw(&customer, 4_000, "w1").await;
    assert!(again.replayed() && again.body["state"] == "reserved", "{}", again.body);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_correction_whose_approver_leaves_is_booked_at_once(db: PgPool) {
    let (t, there) = watched(db, "adjustment.approved").await;
    let (customer, maker, checker) =
        (t.customer_with(10_000).await, t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let body = json!({"user_id": customer.id, "direction": "credit", "amount": 500, "currency": "ZAR",
                      "counterpart": "equity", "reason": "goodwill"});
    let (headers, token) = ([("Idempotency-Key", "a1")], t.token(&maker));
    let proposed = t.send(Method::POST, "/v1/admin/adjustments", Some(&token), &headers, Some(body)).await;
    let path = format!("/v1/admin/adjustments/{}/approve", proposed.id());
    let (token, seen) = (t.token(&checker), json!({"adjustment_hash": proposed.body["adjustment_hash"]}));
    leave(&t, &there, t.send(Method::POST, &path, Some(&token), &[], Some(seen))).await;
    assert_eq!(t.state(proposed.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (10_500, 0, 10_500));
    t.finish().await;
}
