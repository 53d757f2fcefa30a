//! A payout that Revio calls paid is booked only when its own words say that it is ours: as for deposits, what does not fit is for a
//! person, and nothing is posted or released before that.

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use octoco::provider::revio::objects::{Figure, Flag};
use octoco::provider::revio::{Payout, PayoutStatus, Purchase, PurchaseStatus};
use reqwest::Method;
use revio_sim::{Fault, FaultKind, Moment, Override, Pay, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
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
        ("/brand_id", json!("00000000-0000-4000-8000-000000000009"), "another reference, mode or brand"),
        ("/is_test", json!(false), "another reference, mode or brand"),
        ("/is_test", json!("true"), "another reference, mode or brand"),
        ("/reference", json!(7), "another reference, mode or brand"),
        ("/reference", json!("00000000-0000-4000-8000-000000000009"), "another reference, mode or brand"),
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

/// Revio's word after that may mean that the money came back, or not.
#[sqlx::test]
async fn an_error_of_what_was_paid_gives_nothing_back_by_itself(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let bank = || PayoutOutcome::Error { code: "issuer_not_available".to_owned() };
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let look = async |minutes| {
        for _ in 0..minutes {
            t.advance(TimeDelta::minutes(1));
            t.drive().await;
        }
    };
    // Paid, and it says so without what was paid.
    t.sim.set_override(Override::of("payout", "/payment", Value::Null).when("success"));
    let unproven = t.withdraw(&customer, 1_000, "unproven").await.id();
    t.drive().await;
    t.sim.settle_payout(t.payout_of(unproven), PayoutOutcome::Success).expect("paid");
    look(2).await;
    assert!(t.held_reason(unproven).await.is_some_and(|held| held.contains("paid without a payment")));
    t.sim.settle_payout(t.payout_of(unproven), bank()).expect("a bank's return");
    t.sim.clear_faults();
    t.sim.deliver().await;
    look(20).await;
    // Paid while nobody told us, and nobody asked.
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let unseen = t.withdraw(&customer, 2_000, "unseen").await.id();
    t.drive().await;
    t.sim.settle_payout(t.payout_of(unseen), PayoutOutcome::Success).expect("paid");
    t.sim.settle_payout(t.payout_of(unseen), bank()).expect("a bank's return");
    look(20).await;
    // The execution's own answer was that, and no more.
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Terse));
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::BadGateway(Moment::Before)));
    let terse = t.withdraw(&customer, 4_000, "terse").await.id();
    t.drive().await;
    t.sim.settle_payout(t.payout_of(terse), bank()).expect("a bank's return");
    t.sim.set_override(Override::without("payout", "/status_history"));
    t.sim.clear_faults();
    look(20).await;
    for row in [unproven, unseen, terse] {
        assert_eq!(t.state(row).await, "submitted");
        assert!(t.held_reason(row).await.is_some_and(|held| held.contains("did the money come back")));
    }
    assert_eq!(t.balance(&customer).await, (100_000, 7_000, 93_000));
    // One that never was paid is given back as ever.
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "issuer_not_available".to_owned() });
    let failed = t.withdraw(&customer, 8_000, "failed").await.id();
    look(20).await;
    assert_eq!(t.state(failed).await, "failed");
    t.finish_with_held().await;
}

/// Before it is executed: afterwards the difference has left.
#[sqlx::test]
async fn a_payout_that_is_registered_with_another_sum_is_not_executed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let other = [
        ("amount", json!(40_000)),
        ("amount", json!("4,000")),
        ("amount", json!(4000.5)),
        ("currency", json!("USD")),
        ("is_outgoing", json!(false)),
    ];
    for (number, (field, value)) in other.into_iter().enumerate() {
        t.sim.set_override(Override::of("payout", &format!("/payment/{field}"), value));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        t.drive().await;
        let paid = u64::try_from(number).expect("few");
        assert_eq!(
            (t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count),
            ("reserved", paid),
            "{field}"
        );
        t.sim.clear_overrides();
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "completed", "{field}");
    }
    t.finish().await;
}

/// What says of a payout that it is not what was asked for.
fn not_as_asked_for() -> [(&'static str, Value); 8] {
    [
        ("/payment/amount", json!(40_000)),
        ("/payment/currency", json!("USD")),
        ("/payment/is_outgoing", json!(false)),
        ("/reference", json!("019cadca-0000-7000-8000-000000000000")),
        ("/is_test", json!(false)),
        ("/is_test", json!("true")),
        ("/brand_id", json!("ours")),
        ("/brand_id", json!("00000000-0000-4000-8000-000000000009")),
    ]
}

/// The answer that registered it said next to nothing, and the next one that, or no address that may be called.
#[sqlx::test]
async fn a_payout_of_which_a_later_answer_says_something_else_is_not_executed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let astray = ("/execution_url", json!("/api/v1/purchases/1/refund/"));
    for (paid, (pointer, value)) in not_as_asked_for().into_iter().chain([astray]).enumerate() {
        for said in ["/payment", "/execution_url", "/reference", "/is_test", "/brand_id"] {
            t.sim.set_override(Override::without("payout", said));
        }
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{paid}")).await.id();
        t.drive().await;
        t.sim.clear_overrides();
        t.sim.set_override(Override::of("payout", pointer, value));
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        let not_executed = (t.state(withdrawal).await, t.sim.totals("ZAR").paid_out_count);
        assert_eq!(not_executed, ("reserved".to_owned(), u64::try_from(paid).expect("few")), "{pointer}");
        t.sim.clear_overrides();
        t.advance(TimeDelta::minutes(6));
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "completed", "{pointer}");
    }
    t.finish().await;
}

/// It began, and the process died before the call.
#[sqlx::test]
async fn a_payout_of_which_a_later_answer_says_something_else_is_not_executed_again(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer_with(100_000).await;
    for (paid, (pointer, value)) in not_as_asked_for().into_iter().enumerate() {
        next.at("withdrawal.before_execution");
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{paid}")).await.id();
        t.drive().await;
        t.sim.set_override(Override::of("payout", pointer, value));
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        let not_executed = (t.state(withdrawal).await, t.sim.totals("ZAR").paid_out_count);
        assert_eq!(not_executed, ("submitting".to_owned(), u64::try_from(paid).expect("few")), "{pointer}");
        t.sim.clear_overrides();
        t.advance(TimeDelta::minutes(4));
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "completed", "{pointer}");
    }
    t.finish().await;
}

async fn execute_by_hand(t: &TestApp, withdrawal: Uuid) {
    let url = t.sim.payouts_by_reference(&withdrawal.to_string())[0]["execution_url"].clone();
    let call = t.http.post(url.as_str().expect("a URL")).bearer_auth(revio_sim::TEST_KEY).json(&json!({}));
    assert!(call.send().await.expect("Revio answers").status().is_success());
}

/// It says so when it is registered, or it has begun while the row waited for its next step.
#[sqlx::test]
async fn a_payout_that_revio_has_begun_already_is_not_executed_by_us(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_override(Override::of("payout", "/status", json!("pending")));
    let told = t.withdraw(&customer, 4_000, "told").await.id();
    t.drive().await;
    assert_eq!((t.state(told).await.as_str(), t.sim.executions(t.payout_of(told))), ("submitted", Some((0, 0))));
    t.sim.clear_overrides();
    execute_by_hand(&t, told).await;
    t.drive().await;
    let waiting = t.withdraw(&customer, 3_000, "waiting").await.id();
    crashes.at("transaction.before_move");
    t.step().await;
    assert_eq!((t.state(waiting).await.as_str(), t.sim.executions(t.payout_of(waiting))), ("reserved", Some((0, 0))));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    execute_by_hand(&t, waiting).await;
    t.advance(TimeDelta::minutes(3));
    t.drive().await;
    for withdrawal in [told, waiting] {
        let executions = t.sim.executions(t.payout_of(withdrawal));
        assert_eq!((t.state(withdrawal).await.as_str(), executions), ("completed", Some((1, 0))));
    }
    assert_eq!(t.balance(&customer).await, (3_000, 0, 3_000));
    t.finish().await;
}

/// Nobody is asked a second time by the same misfit: what has left is complete, and a correction settles the difference.
#[sqlx::test]
async fn a_payout_that_does_not_fit_and_is_paid_comes_to_its_end_by_two_people(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let people = [t.staff(Role::Finance).await, t.staff(Role::Admin).await];
    let mut paid = 0;
    for (number, (pointer, value, _)) in misfits().into_iter().enumerate() {
        t.sim.set_override(Override::of("payout", pointer, value).when("success"));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        t.drive().await;
        assert!(t.held_reason(withdrawal).await.is_some(), "{pointer}");
        for person in &people {
            let (path, body) =
                (format!("/v1/admin/held/{withdrawal}/resolve"), json!({"action": "release", "note": "looked"}));
            let said = t.send(Method::POST, &path, Some(&t.token(person)), &[], Some(body)).await;
            assert!(said.status.is_success(), "{pointer}: {}", said.body);
        }
        t.drive().await;
        if ["/brand_id", "/is_test"].contains(&pointer) {
            assert!(t.held_reason(withdrawal).await.is_some(), "{pointer}: no money of ours");
            t.sim.clear_overrides();
            let (path, body) =
                (format!("/v1/admin/held/{withdrawal}/resolve"), json!({"action": "retry", "note": "mended"}));
            t.send(Method::POST, &path, Some(&t.token(&people[0])), &[], Some(body)).await;
            t.drive().await;
        }
        paid += 4_000;
        assert_eq!(
            (t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await),
            ("completed", None),
            "{pointer}"
        );
        assert_eq!(t.balance(&customer).await, (100_000 - paid, 0, 100_000 - paid), "{pointer}");
        t.sim.clear_overrides();
    }
    t.finish().await;
}

/// A key of another mode or brand makes objects that count nowhere: nobody is sent to pay one, and none is executed. With the right
/// settings it goes on by itself.
#[sqlx::test]
async fn what_was_made_in_another_mode_or_brand_is_neither_paid_nor_executed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let foreign = not_as_asked_for().into_iter().filter(|(pointer, _)| ["/is_test", "/brand_id"].contains(pointer));
    for (number, (pointer, value)) in foreign.enumerate() {
        t.sim.set_override(Override::of("purchase", pointer, value.clone()));
        t.sim.set_override(Override::of("payout", pointer, value));
        let deposit = t.deposit(&customer, 5_000, &format!("d{number}")).await;
        assert_eq!((deposit.status.as_u16(), &deposit.body["checkout_url"]), (201, &Value::Null), "{}", deposit.body);
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        t.drive().await;
        let waits = (t.state(deposit.id()).await, t.state(withdrawal).await);
        assert_eq!(waits, ("initiated".to_owned(), "reserved".to_owned()), "{pointer}");
        t.sim.clear_overrides();
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "completed");
        assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    }
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 4);
    t.finish().await;
}

/// What Revio says of the sum in other words is read; what it does not say is no contradiction.
#[sqlx::test]
async fn nobody_is_sent_to_pay_another_sum_than_was_asked_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let totals = [json!(5_001), json!("5,000"), json!("500000")].map(|total| ("/purchase/total", total));
    let other = totals.into_iter().chain([("/purchase/currency", json!("USD"))]);
    for (number, (pointer, value)) in other.enumerate() {
        t.sim.set_override(Override::of("purchase", pointer, value.clone()));
        let deposit = t.deposit(&customer, 5_000, &format!("d{number}")).await;
        assert_eq!((deposit.status.as_u16(), &deposit.body["checkout_url"]), (201, &Value::Null), "{}", deposit.body);
        t.sim.clear_overrides();
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.state(deposit.id()).await, "awaiting_payment", "{pointer} {value}");
    }
    for (number, (pointer, value)) in
        [("/purchase/total", json!("5000.00")), ("/purchase/currency", json!("zar")), ("/purchase", json!(null))]
            .into_iter()
            .enumerate()
    {
        t.sim.set_override(Override::of("purchase", pointer, value.clone()));
        let deposit = t.deposit(&customer, 5_000, &format!("e{number}")).await;
        assert!(deposit.body["checkout_url"].is_string(), "{pointer} {value}: {}", deposit.body);
        t.sim.clear_overrides();
    }
    t.finish().await;
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
        ("/is_test", json!("true"), "is_test is \"true\""),
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

#[test]
fn one_odd_field_does_not_make_an_object_unreadable() {
    let text = r#"{"id": "00000000-0000-0000-0000-000000000001", "status": "paid", "reference": null, "is_test": "",
        "brand_id": "", "payment": {"amount": 5, "currency": "ZAR", "fee_amount": "2", "is_outgoing": null},
        "marked_as_paid": null, "refundable_amount": "5", "status_history": [{}], "checkout_url": ""}"#;
    let purchase: Purchase = serde_json::from_str(text).expect("reads");
    assert_eq!((purchase.reference.as_str(), purchase.is_test, purchase.brand_id.as_str()), ("", Flag::Unsaid, ""));
    assert_eq!((purchase.refundable_amount.whole(), purchase.checkout_url), (Some(5), None));
    assert_eq!(
        purchase.payment.map(|payment| (payment.amount.whole(), payment.fee_amount.whole())),
        Some((Some(5), Some(2)))
    );
    let payout: Payout = serde_json::from_str(
        r#"{"id": "00000000-0000-0000-0000-000000000001", "status": "pending", "execution_url": ""}"#,
    )
    .expect("reads");
    assert_eq!(payout.execution_url, None);
}

/// The answer cannot be used, so nothing of it is: nobody is sent there, and no key.
#[sqlx::test]
async fn an_address_of_revios_that_leads_astray_is_not_given_to_anybody_and_not_called(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    for (number, link) in
        ["javascript:alert(1)", "ftp://pay.example/p/", "https://a:b@pay.example/", "/p/1/"].iter().enumerate()
    {
        t.sim.set_override(Override::of("purchase", "/checkout_url", json!(link)));
        let opened = t.deposit(&customer, 5_000, &format!("d{number}")).await;
        assert!(!opened.body.to_string().contains(link), "{}", opened.body);
        // Nor what stands in its place when it is asked for.
        let purchase = t.sim.purchases_by_reference(&opened.id().to_string())[0]["id"].clone();
        let purchase = purchase.as_str().and_then(|id| id.parse().ok()).expect("an id");
        t.sim.raise_event(purchase, "purchase.created").expect("it is there");
        t.drive().await;
        let shown = t.get(&customer, &format!("/v1/transactions/{}", opened.id())).await;
        assert_eq!(
            (&shown.body["state"], &shown.body["checkout_url"]),
            (&json!("awaiting_payment"), &Value::Null),
            "{link}"
        );
        t.sim.clear_overrides();
        t.advance(chrono::TimeDelta::minutes(2));
        t.drive().await;
        let again = t.deposit(&customer, 5_000, &format!("d{number}")).await;
        assert!(again.body["checkout_url"].as_str().is_some_and(|url| url.contains("/p/")), "{}", again.body);
    }
    for (number, link) in
        ["ftp://revio.example/po/1/", "/api/v1/purchases/1/refund/", "/po/%2e%2e/1/", "javascript:alert(1)"]
            .iter()
            .enumerate()
    {
        t.sim.set_override(Override::of("payout", "/execution_url", json!(link)));
        let withdrawal = t.withdraw(&customer, 1_000, &format!("w{number}")).await;
        t.drive().await;
        assert_eq!(t.state(withdrawal.id()).await, "reserved", "{link}");
        t.sim.clear_overrides();
        t.advance(chrono::TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.state(withdrawal.id()).await, "completed", "{link}");
    }
    // What was paid is paid, whatever stands beside it.
    t.sim.set_override(Override::of("purchase", "/checkout_url", json!("javascript:alert(1)")).when("paid"));
    let deposit = t.deposit(&customer, 5_000, "paid").await;
    t.pay(&deposit).await;
    t.finish().await;
}

#[test]
fn a_new_word_for_a_status_is_kept() {
    let status: PurchaseStatus = serde_json::from_str(r#""teleported""#).expect("reads");
    assert_eq!(status, PurchaseStatus::Unknown("teleported".to_owned()));
    let status: PayoutStatus = serde_json::from_str(r#""executed""#).expect("reads");
    assert_eq!(status, PayoutStatus::Success);
}

#[test]
fn only_a_boolean_is_a_flag_and_every_whole_number_is_an_amount() {
    let flag = |text: &str| serde_json::from_str::<Flag>(text).expect("reads");
    assert_eq!((flag("true"), flag("false"), flag("null")), (Flag::Yes, Flag::No, Flag::Unsaid));
    for odd in [r#""true""#, r#""false""#, "1", "0", r#""""#, "[]"] {
        assert!(matches!(flag(odd), Flag::Odd(_)), "{odd}");
    }
    let whole = |text: &str| serde_json::from_str::<Figure>(text).expect("reads").whole();
    for one in ["1000", "1000.0", "1000.00", r#""1000""#, r#""1000.00""#, "1e3"] {
        assert_eq!(whole(one), Some(1000), "{one}");
    }
    for none in ["1000.5", r#""1 000""#, r#""R1000""#, "null", "true", "[1000]", "1e30", r#""""#] {
        assert_eq!(whole(none), None, "{none}");
    }
}
