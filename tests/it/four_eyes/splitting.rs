//! A sum that is split is asked for as the whole: thresholds look at what left a customer within 24 hours.

use futures_util::future::join_all;
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use revio_sim::PayoutBehaviour;
use serde_json::json;
use sqlx::PgPool;

use crate::adjustments::{self, correction, proposed};
use crate::approvals::approve_as_shown;
use crate::harness::TestApp;

const THRESHOLDS: [(&str, &str); 1] = [("APPROVAL_THRESHOLDS", "ZAR:1000:5000")];

#[sqlx::test]
async fn fifty_withdrawals_of_exactly_the_threshold_are_not_all_paid_without_approval(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let customer = t.customer_with(100_000).await;
    let keys: Vec<String> = (0..50).map(|index| format!("w{index}")).collect();
    let answers = join_all(keys.iter().map(|key| t.withdraw(&customer, 1_000, key))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::ACCEPTED));
    t.drive().await;
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1, "the first alone is within the threshold");
    let waiting: i64 = sqlx::query_scalar("select count(*) from transactions where state = 'awaiting_approval'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(waiting, 49);
    let finance = t.staff(Role::Finance).await;
    let listed = t.get(&finance, "/v1/admin/withdrawals/awaiting-approval?limit=100").await;
    let rows = listed.body["data"].as_array().expect("a list");
    let mut sums: Vec<i64> = rows.iter().map(|row| row["outflow"].as_i64().expect("a sum")).collect();
    sums.sort_unstable();
    assert_eq!(sums, (2..=50).map(|count| count * 1_000).collect::<Vec<i64>>(), "each counts those before it");
    for row in rows {
        let above_second = row["outflow"].as_i64() > Some(5_000);
        assert_eq!(row["approvals_needed"], if above_second { 2 } else { 1 }, "{row}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn what_was_paid_counts_and_what_came_back_does_not(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, other) = (t.customer_with(100_000).await, t.customer_with(100_000).await);
    let finance = t.staff(Role::Finance).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "do_not_honour".to_owned() });
    let failed = t.withdraw(&customer, 900, "failed").await.id();
    t.drive().await;
    assert_eq!(t.state(failed).await, "failed");
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    for (key, amount, state) in [
        ("w1", 600, "completed"),
        ("w2", 400, "completed"),
        ("w3", 1, "awaiting_approval"),
        ("w4", 1, "awaiting_approval"),
    ] {
        let id = t.withdraw(&customer, amount, key).await.id();
        t.drive().await;
        assert_eq!(t.state(id).await, state, "{key}");
        if state == "awaiting_approval" {
            approve_as_shown(&t, &finance, id).await;
            t.drive().await;
            assert_eq!(t.state(id).await, "completed");
        }
    }
    let others = t.withdraw(&other, 1_000, "w1").await.id();
    t.drive().await;
    assert_eq!(t.state(others).await, "completed", "each customer's for itself");
    t.finish().await;
}

#[sqlx::test]
async fn corrections_above_the_threshold_or_split_below_it_need_two_checkers(db: PgPool) {
    let t = TestApp::with(db, &[("ADJUSTMENT_THRESHOLDS", "ZAR:1000")]).await;
    let (customer, maker) = (t.customer().await, t.staff(Role::Finance).await);
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let mut expected = 0;
    for (key, amount, needed) in [("a1", 1_000, 1), ("a2", 1, 2), ("a3", 5_000, 2)] {
        let adjustment = proposed(&t, &maker, correction(&customer, "credit", amount), key).await;
        assert_eq!(adjustment.body["approvals_needed"], needed, "{key}");
        let hash = adjustments::hash(&adjustment);
        if needed == 2 {
            for _ in 0..2 {
                let counted = adjustments::approve(&t, &one, adjustment.id(), hash).await;
                let told = (counted.status, &counted.body["state"]);
                assert_eq!(told, (StatusCode::OK, &json!("awaiting_approval")), "one person counts once");
            }
            assert_eq!(adjustments::approve(&t, &maker, adjustment.id(), hash).await.code(), "forbidden");
        }
        let booked = adjustments::approve(&t, &two, adjustment.id(), hash).await;
        assert_eq!(booked.body["state"], "completed", "{}", booked.body);
        expected += amount;
        assert_eq!(t.balance(&customer).await, (expected, 0, expected));
    }
    let others = proposed(&t, &maker, correction(&t.customer().await, "credit", 1_000), "a4").await;
    assert_eq!(others.body["approvals_needed"], 1, "another customer's");
    t.finish().await;
}
