//! Withdrawals above a threshold that something happened to: a payout that was given up is executed after all; a person must
//! look first.

use chrono::TimeDelta;
use octoco::money::transactions::{self, Hold};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Scope};
use serde_json::json;
use sqlx::PgPool;

use super::{ONE, THRESHOLDS, approve, approve_as_shown, decline, hash, waiting};
use crate::harness::TestApp;

/// Revio says that a payout must be executed within 15 minutes of its registration. Should it execute one after all, long
/// after we gave it up, the customer is paid by that one and by no other.
#[sqlx::test]
async fn a_payout_that_was_given_up_and_is_executed_after_all_is_the_only_one(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let mut paid = 0;
    for (key, released) in [("w1", false), ("w2", true)] {
        let id = waiting(&t, &customer, ONE, key).await;
        t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::LateExecution { secs: 40 * 60 }));
        approve_as_shown(&t, &finance, id).await;
        t.drive().await;
        t.advance(TimeDelta::minutes(17));
        t.drive().await;
        // Its execution was never answered, so no other takes its place.
        assert!(t.held_reason(id).await.is_some(), "a person is told");
        assert_eq!(t.sim.payouts_by_reference(&id.to_string()).len(), 1);
        if released {
            for role in [Role::Finance, Role::Admin] {
                let (person, body) = (t.staff(role).await, json!({"action": "release", "note": "given up"}));
                let path = format!("/v1/admin/held/{id}/resolve");
                t.send(Method::POST, &path, Some(&t.token(&person)), &[], Some(body)).await;
            }
            t.drive().await;
            assert_eq!(t.state(id).await, "failed");
        }
        t.advance(TimeDelta::minutes(30));
        t.drive().await;
        paid += 1;
        assert_eq!(t.state(id).await, "completed", "released: {released}");
        assert_eq!(t.held_reason(id).await, None);
        assert_eq!(t.sim.totals("ZAR").paid_out_count, paid);
        assert_eq!(t.balance(&customer).await, (100_000 - paid_minor(paid), 0, 100_000 - paid_minor(paid)));
    }
    t.finish().await;
}

fn paid_minor(count: u64) -> i64 {
    ONE * i64::try_from(count).expect("a few")
}

#[sqlx::test]
async fn what_is_held_is_not_decided_and_what_does_not_open_is_listed(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    let seen = hash(&t, &finance, id).await;
    let row = transactions::find(&t.app, id).await.expect("it is there");
    transactions::hold(&t.app, &row, Hold::Contradiction, "a person must look").await.expect("held");
    assert_eq!(approve(&t, &finance, id, &seen).await.code(), "stale_state");
    assert_eq!(decline(&t, &finance, id, &seen).await.code(), "stale_state");
    sqlx::query("update bank_accounts set key_id = 'gone'").execute(&t.app.db).await.expect("PostgreSQL answers");
    let listed = t.get(&finance, "/v1/admin/withdrawals/awaiting-approval").await;
    assert_eq!(listed.status, StatusCode::OK, "{}", listed.body);
    let row = &listed.body["data"][0];
    assert_eq!((&row["id"], &row["held_reason"]), (&json!(id), &json!("a person must look")));
    assert!(row["payout_hash"].is_null() && row["destination"].is_null(), "{row}");
    t.finish_with_held().await;
}
