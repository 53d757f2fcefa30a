//! A payout that Revio calls paid is booked only when its own words say that it is ours: as for deposits, what does not fit is for a
//! person, and nothing is posted or released before that.

use revio_sim::{Override, Pay, PayoutBehaviour, PayoutOutcome};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::TestApp;

fn misfits() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/payment/amount", json!(500), "Revio paid out 500, asked for 4000"),
        ("/payment/amount", json!(4000.5), "payment.amount is 4000.5"),
        ("/payment/amount", Value::Null, "payment.amount is null"),
        ("/payment/currency", json!("USD"), "another currency: USD"),
        ("/payment/is_outgoing", json!(false), "the other way"),
        ("/payment/is_outgoing", json!("true"), "payment.is_outgoing is \"true\""),
        ("/payment", Value::Null, "paid without a payment"),
        ("/brand_id", json!("00000000-0000-4000-8000-000000000009"), "another mode or brand"),
        ("/is_test", json!(false), "another reference or mode"),
        ("/reference", json!("00000000-0000-4000-8000-000000000009"), "another reference or mode"),
    ]
}

#[sqlx::test]
async fn a_payout_that_says_something_else_than_was_asked_is_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    for (number, (pointer, value, reason)) in misfits().into_iter().enumerate() {
        t.sim.set_override(Override::of("payout", pointer, value.clone()).when("success"));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        t.drive().await;
        let held = t.held_reason(withdrawal).await;
        assert!(held.as_deref().is_some_and(|held| held.contains(reason)), "{pointer} {value}: {held:?}");
        assert_ne!(t.state(withdrawal).await, "completed", "{pointer} {value}");
        let reserved = 4_000 * i64::try_from(number + 1).expect("few");
        assert_eq!(t.balance(&customer).await, (100_000, reserved, 100_000 - reserved), "still reserved");
        t.sim.clear_overrides();
    }
    t.finish_with_held().await;
}

#[sqlx::test]
async fn whole_numbers_in_any_spelling_and_a_small_currency_are_what_they_say(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    for (number, amount) in [json!("4000"), json!(4000.0), json!("4000.00")].into_iter().enumerate() {
        t.sim.set_override(Override::of("payout", "/payment/amount", amount));
        t.sim.set_override(Override::of("payout", "/payment/currency", json!("zar")));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "completed");
        t.sim.clear_overrides();
    }
    t.finish().await;
}

/// Also when it is paid after we had given it back: another amount than ours takes nothing from the wallet.
#[sqlx::test]
async fn a_late_payout_that_does_not_fit_takes_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await.id();
    t.drive().await;
    let payout = t.payout_of(withdrawal);
    t.sim.settle_payout(payout, PayoutOutcome::Error { code: "do_not_honour".to_owned() }).expect("pending");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.sim.set_override(Override::of("payout", "/payment/amount", json!(9_999)));
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("Revio may change its word");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("9999")));
    t.finish_with_held().await;
}

#[sqlx::test]
async fn what_revio_takes_for_a_payout_is_our_expense(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_override(Override::of("payout", "/payment/fee_amount", json!(75)).when("success"));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await.id();
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    assert_eq!(t.system_balance(ledger::AccountCode::ProviderFees).await.posted(), 75);
    t.finish().await;
}

#[sqlx::test]
async fn only_a_boolean_says_of_a_deposit_that_money_came(db: PgPool) {
    let t = TestApp::new(db).await;
    for (number, (pointer, value, reason)) in [
        ("/marked_as_paid", json!("true"), "marked_as_paid is \"true\""),
        ("/marked_as_paid", json!(1), "marked_as_paid is 1"),
        ("/payment/is_outgoing", json!("true"), "payment.is_outgoing is \"true\""),
        ("/payment/is_outgoing", json!(true), "the other way"),
        ("/payment/amount", json!("5,000"), "payment.amount is 5,000"),
    ]
    .into_iter()
    .enumerate()
    {
        let customer = t.customer().await;
        t.sim.set_override(Override::of("purchase", pointer, value.clone()).when("paid"));
        let deposit = t.deposit(&customer, 5_000, &format!("d{number}")).await;
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
        t.drive().await;
        let held = t.held_reason(deposit.id()).await;
        assert!(held.as_deref().is_some_and(|held| held.contains(reason)), "{pointer} {value}: {held:?}");
        assert_eq!(t.balance(&customer).await, (0, 0, 0), "{pointer} {value}");
        t.sim.clear_overrides();
    }
    let customer = t.customer().await;
    t.sim.set_override(Override::of("purchase", "/payment/amount", json!("5000.0")).when("paid"));
    let deposit = t.deposit(&customer, 5_000, "spelled").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish_with_held().await;
}
