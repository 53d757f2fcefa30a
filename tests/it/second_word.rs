//! Revio's word on a payout, after it has said another one.

use chrono::TimeDelta;
use octoco::app::LedgerCopy;
use octoco::platform::permissions::Role;
use reqwest::Method;
use revio_sim::{Override, Pay, PayoutBehaviour, PayoutOutcome};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::by_hand;
use crate::harness::TestApp;
use crate::provider_objects::wait;

fn returned() -> PayoutOutcome {
    PayoutOutcome::Error { code: "issuer_not_available".to_owned() }
}

/// The money came back, so people have given it back; then Revio pays once more.
#[sqlx::test]
async fn a_payout_that_is_paid_again_after_its_money_was_given_back_is_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    t.sim.settle_payout(t.payout_of(withdrawal), returned()).expect("a bank's return");
    wait(&t, 1).await;
    assert!(t.held_reason(withdrawal).await.is_some_and(|held| held.contains("did the money come back")));
    by_hand::corrected(&t, &customer, "credit", 4_000, withdrawal).await;
    // Whatever becomes of the hold: what was booked counts.
    let finance = t.staff(Role::Finance).await;
    let path = format!("/v1/admin/held/{withdrawal}/resolve");
    let again = json!({"action": "retry", "note": "given back"});
    t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(again)).await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("executed again");
    wait(&t, 1).await;
    assert!(
        t.held_reason(withdrawal).await.is_some_and(|held| held.contains("paid again, and people have given it back"))
    );
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (10_000, 0, 10_000)));
    by_hand::dismissed(&t, withdrawal).await;
    t.sim.raise_event(t.payout_of(withdrawal), "payout.success").expect("it is there");
    wait(&t, 1).await;
    assert_eq!(t.held_reason(withdrawal).await, None, "what a person has closed");
}

/// Nobody has given anything back: Revio's last word is the first one.
#[sqlx::test]
async fn a_payout_that_is_paid_again_after_a_wrong_error_is_for_nobody(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    t.sim.settle_payout(t.payout_of(withdrawal), returned()).expect("a wrong word");
    wait(&t, 1).await;
    by_hand::dismissed(&t, withdrawal).await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("the right one");
    wait(&t, 1).await;
    assert_eq!((t.held_reason(withdrawal).await, t.balance(&customer).await), (None, (6_000, 0, 6_000)));
}

/// One that has begun days ago, and a copy of Revio's that is behind for a moment.
#[sqlx::test]
async fn an_old_answer_about_a_payout_that_has_begun_holds_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 5).await;
    assert_eq!(t.state(withdrawal).await, "submitted");
    t.advance(TimeDelta::days(2));
    let old = || Override::of("payout", "/status", json!("initialized"));
    t.sim.set_override(old());
    t.drive().await;
    assert_eq!(t.held_reason(withdrawal).await, None, "it says so for the first time");
    t.sim.clear_overrides();
    wait(&t, 10).await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    wait(&t, 1).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// An earlier release has written that it was paid, and not when.
#[sqlx::test]
async fn that_an_earlier_release_has_noted_a_payment_counts(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    t.sim.set_override(Override::of("payout", "/payment", Value::Null).when("success"));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    t.drive().await;
    let noted = "update provider_objects set paid_at = null where id = $1";
    sqlx::query(noted).bind(t.payout_of(withdrawal)).execute(&t.app.db).await.expect("as that release did");
    t.sim.set_override(Override::without("payout", "/status_history"));
    t.sim.settle_payout(t.payout_of(withdrawal), returned()).expect("a bank's return");
    wait(&t, 20).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("submitted", (10_000, 4_000, 6_000)));
    t.finish_with_held().await;
}

/// It waits for a person and is not due; what Revio says in the process's first seconds counts a little later.
#[sqlx::test]
async fn a_refusal_that_comes_before_the_ledger_was_looked_at_ends_what_waits_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 2).await;
    t.advance(TimeDelta::days(15));
    t.drive().await;
    assert!(t.held_reason(withdrawal).await.is_some_and(|held| held.contains("still calls payout")));
    t.app.ledger_copy.send_replace(LedgerCopy::Unseen);
    t.sim.settle_payout(t.payout_of(withdrawal), returned()).expect("pending");
    wait(&t, 2).await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    t.app.ledger_copy.send_replace(LedgerCopy::Complete);
    wait(&t, 2).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    t.finish().await;
}

/// Our ids in capitals are our ids.
#[sqlx::test]
async fn a_reference_that_revio_spells_in_capitals_is_ours(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (deposit, withdrawal) = (t.deposit(&customer, 500, "d").await.id(), t.withdraw(&customer, 400, "w").await.id());
    for (kind, row) in [("purchase", deposit), ("payout", withdrawal)] {
        t.sim.set_override(Override::of(kind, "/reference", json!(row.to_string().to_uppercase())));
    }
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    wait(&t, 2).await;
    assert_eq!((t.state(deposit).await.as_str(), t.state(withdrawal).await.as_str()), ("completed", "completed"));
    t.finish().await;
}
