//! Own money leaves only while what is held covers what is owed, however many ask at once.

use ledger::{AccountCode, Currency};
use octoco::platform::permissions::Role;
use serde_json::json;
use sqlx::PgPool;

use super::{approve, booked, debtor, entry, proposed};
use crate::crashes::Crashes;
use crate::harness::TestApp;
use crate::reconciliation::{assert_none_open, cycle};

async fn position(t: &TestApp) -> i64 {
    t.app.ledger.position(Currency::ZAR).await.expect("the ledger answers")
}

#[sqlx::test]
async fn of_two_that_take_out_own_money_that_is_there_once_never_both_pass(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker, other) =
        (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let mut passed = 0;
    for round in 0..20 {
        booked(&t, &maker, &checker, entry("own_funds_in", 1_000), &format!("in{round}")).await;
        let there = position(&t).await;
        let one = proposed(&t, &maker, entry("own_funds_out", there - 400), &format!("a{round}")).await;
        let two = proposed(&t, &maker, entry("own_funds_out", 600), &format!("b{round}")).await;
        let (one, two) = tokio::join!(approve(&t, &checker, &one), approve(&t, &other, &two));
        let completed = [&one, &two].into_iter().filter(|answer| answer.body["state"] == "completed").count();
        assert!(completed < 2, "both passed: {} {}", one.body, two.body);
        for answer in [&one, &two].into_iter().filter(|answer| answer.body["state"] != "completed") {
            assert_eq!(answer.body["failure_reason"], "position_short", "{}", answer.body);
        }
        assert!(position(&t).await >= 0);
        passed += completed;
    }
    assert!(passed > 0, "they do not only stand in each other's way");
    let equity = t.system_balance(AccountCode::Equity).await;
    assert_eq!(equity.debits_pending, 0, "nothing stays held");
    t.finish().await;
}

#[sqlx::test]
async fn what_customers_owe_covers_nothing_and_the_last_cent_may_leave(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    t.customer_with(50_000).await;
    assert_eq!(position(&t).await, 0, "customers' money is none of ours");
    debtor(&t, 700).await;
    assert_eq!(position(&t).await, -700, "what was charged back is missing");
    let held: i64 = t.system_balance(AccountCode::ProviderBalance).await.posted();
    assert_eq!(held - 50_000, -700, "by the other side of the books, too");
    let refused = booked(&t, &maker, &checker, entry("own_funds_out", 1), "k1").await;
    assert_eq!(refused.body["failure_reason"], "position_short");
    booked(&t, &maker, &checker, entry("own_funds_in", 1_000), "k2").await;
    assert_eq!(position(&t).await, 300);
    let over = booked(&t, &maker, &checker, entry("own_funds_out", 301), "k3").await;
    assert_eq!((&over.body["state"], &over.body["failure_reason"]), (&json!("rejected"), &json!("position_short")));
    for _ in 0..2 {
        cycle(&t).await;
        assert_none_open(&t).await;
    }
    let all = booked(&t, &maker, &checker, entry("own_funds_out", 300), "k4").await;
    assert_eq!((&all.body["state"], position(&t).await), (&json!("completed"), 0));
    t.finish().await;
}

/// What one look has said stays said: another look after a death does not turn it round.
#[sqlx::test]
async fn money_that_comes_or_goes_after_the_look_does_not_turn_it_round(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let short = proposed(&t, &maker, entry("own_funds_out", 100), "k1").await;
    crashes.at("journal.booked");
    assert_eq!(approve(&t, &checker, &short).await.code(), "internal", "voided, and then it died");
    booked(&t, &maker, &checker, entry("own_funds_in", 1_000), "k2").await;
    t.advance(chrono::TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(super::shown(&t, &checker, short.id()).await["state"], "rejected");
    let passes = proposed(&t, &maker, entry("own_funds_out", 1_000), "k3").await;
    crashes.at("journal.booked");
    assert_eq!(approve(&t, &checker, &passes).await.code(), "internal", "posted, and then it died");
    debtor(&t, 500).await;
    t.advance(chrono::TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(super::shown(&t, &checker, passes.id()).await["state"], "completed");
    t.finish().await;
}
