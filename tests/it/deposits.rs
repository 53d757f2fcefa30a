//! Deposits: from the request to the credited wallet.

use chrono::TimeDelta;
use ledger::AccountCode;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Override, Pay, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{TestApp, stepped};

#[sqlx::test]
async fn a_paid_deposit_credits_the_wallet_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 150_000, "k1").await;
    assert_eq!(deposit.status, StatusCode::CREATED, "{}", deposit.body);
    assert_eq!((&deposit.body["kind"], &deposit.body["state"]), (&json!("deposit"), &json!("awaiting_payment")));
    assert_eq!((&deposit.body["amount"], &deposit.body["currency"]), (&json!(150_000), &json!("ZAR")));
    assert!(deposit.body["checkout_url"].as_str().is_some_and(|url| url.contains("/p/")), "{}", deposit.body);
    assert_eq!(t.balance(&customer).await, (0, 0, 0));

    t.pay(&deposit).await;
    assert_eq!(t.balance(&customer).await, (150_000, 0, 150_000));
    let shown = t.get(&customer, &format!("/v1/transactions/{}", deposit.id())).await;
    assert_eq!(shown.body["state"], "completed");
    assert!(shown.body["completed_at"].is_string());
    t.finish().await;
}

#[sqlx::test]
async fn the_providers_fee_is_our_expense_and_not_the_customers(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "k1").await;
    let pay = Pay { fee: 290, ..Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit.id()), pay).expect("payable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 290);
    assert_eq!(t.system_balance(AccountCode::ProviderBalance).await.posted(), 9_710);
    t.finish().await;
}

#[sqlx::test]
async fn the_same_key_is_the_same_deposit(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let first = t.deposit(&customer, 5_000, "k1").await;
    let again = t.deposit(&customer, 5_000, "k1").await;
    assert_eq!((again.status, again.id(), again.replayed()), (StatusCode::CREATED, first.id(), true));
    assert!(!first.replayed());
    t.pay(&first).await;
    let later = t.deposit(&customer, 5_000, "k1").await;
    assert_eq!((later.body["state"].as_str(), later.replayed()), (Some("completed"), true), "as it stands now");
    let other = t.deposit(&customer, 6_000, "k1").await;
    assert_eq!((other.status, other.code()), (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"));
    let somebody = t.customer().await;
    assert_ne!(t.deposit(&somebody, 5_000, "k1").await.id(), first.id(), "a key is its user's own");
    t.finish().await;
}

#[sqlx::test]
async fn two_hundred_calls_with_one_key_make_one_deposit(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let calls = (0..200).map(|_| t.deposit(&customer, 5_000, "k1"));
    let answers = futures_util::future::join_all(calls).await;
    let first = answers[0].id();
    assert!(answers.iter().all(|answer| answer.status == StatusCode::CREATED && answer.id() == first));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed()).count(), 1);
    assert_eq!(t.sim.purchases_by_reference(&first.to_string()).len(), 1);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_webhook_that_comes_twice_credits_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.set_fault(Fault::next(1, Scope::Deliver, FaultKind::IgnoreAnswer).of_event("purchase.paid"));
    t.pay(&deposit).await;
    t.advance(TimeDelta::minutes(3));
    t.drive().await;
    let paid = t.sim.delivery_log().into_iter().filter(|report| report.event_type == "purchase.paid").count();
    assert_eq!(paid, 2, "the simulator delivered it again");
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_webhook_that_comes_before_the_answer_to_our_call_is_not_lost(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::Reset(Moment::After)));
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    assert_eq!((deposit.status, deposit.body["state"].as_str()), (StatusCode::CREATED, Some("initiated")));
    assert!(deposit.body["checkout_url"].is_null());
    let purchase = t.purchase_of(deposit.id());
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.sim.deliver().await;
    stepped(octoco::webhooks::inbox::claim_due(&t.app, 10)).await.expect("events are claimed");
    assert_eq!(t.state(deposit.id()).await, "completed");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_paid_deposit_whose_webhook_never_came_is_found_by_asking(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.set_fault(Fault::next(100, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_failed_attempt_is_not_the_end_of_a_deposit(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.fail_purchase(t.purchase_of(deposit.id())).expect("may fail");
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    t.pay(&deposit).await;
    t.finish().await;
}

#[sqlx::test]
async fn an_unpaid_deposit_expires_and_a_late_payment_still_counts(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    for _ in 0..10 {
        t.advance(TimeDelta::minutes(10));
        t.drive().await;
    }
    assert_eq!(t.state(deposit.id()).await, "expired");
    let late = Pay { force: true, ..Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit.id()), late).expect("a late payment");
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

/// What cannot be cancelled is answered in some way; what the purchase is then is asked, and nobody has to look.
#[sqlx::test]
async fn however_revio_refuses_to_cancel_a_deposit_ends_as_its_purchase_does(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut deposits = Vec::new();
    for (index, status) in [400, 403, 404, 405, 409, 500, 503].into_iter().enumerate() {
        let deposit = t.deposit(&customer, 5_000, &format!("k{index}")).await.id();
        let blank = FaultKind::Blank { status };
        t.sim.set_fault(Fault::chance(1.0, Scope::CancelPurchase, blank).of_object(t.purchase_of(deposit)));
        deposits.push(deposit);
    }
    // A payment is under way.
    t.sim.set_override(Override::of("purchase", "/status", json!("pending_execute")));
    for _ in 0..30 {
        t.advance(TimeDelta::minutes(10));
        t.drive().await;
    }
    for deposit in &deposits {
        assert_eq!(t.state(*deposit).await, "awaiting_payment");
        assert_eq!(t.held_reason(*deposit).await, None, "it can still be paid");
    }
    let paid = deposits.pop().expect("some");
    t.sim.clear_overrides();
    t.sim.pay_purchase(t.purchase_of(paid), Pay { force: true, ..Pay::default() }).expect("a late payment");
    t.sim.clear_faults();
    for _ in 0..12 {
        t.advance(TimeDelta::minutes(10));
        t.drive().await;
    }
    assert_eq!(t.state(paid).await, "completed");
    for deposit in deposits {
        assert!(matches!(t.state(deposit).await.as_str(), "cancelled" | "expired"), "{}", t.state(deposit).await);
    }
    t.finish().await;
}

/// Revio keeps nothing for ever.
#[sqlx::test]
async fn what_revio_does_not_know_any_more_of_a_deposit_that_has_ended_is_nobodys_work(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (unpaid, paid) = (t.deposit(&customer, 5_000, "k1").await, t.deposit(&customer, 5_000, "k2").await);
    t.pay(&paid).await;
    for _ in 0..10 {
        t.advance(TimeDelta::minutes(10));
        t.drive().await;
    }
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::Blank { status: 404 }));
    for _ in 0..130 {
        t.advance(TimeDelta::days(1));
        t.drive().await;
    }
    for (deposit, state) in [(&unpaid, "expired"), (&paid, "completed")] {
        let due: Option<chrono::DateTime<chrono::Utc>> =
            sqlx::query_scalar("select due_at from transactions where id = $1")
                .bind(deposit.id())
                .fetch_one(&t.app.db)
                .await
                .expect("there");
        assert_eq!((t.state(deposit.id()).await.as_str(), t.held_reason(deposit.id()).await, due), (state, None, None));
    }
    t.sim.clear_faults();
    t.finish().await;
}

/// It only lacked a word.
#[sqlx::test]
async fn a_deposit_that_is_held_for_want_of_a_word_is_let_go_by_the_word_that_it_ended(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for (key, code) in [("k1", "gave_up"), ("k2", "undecided"), ("k3", "unknown_status")] {
        let deposit = t.deposit(&customer, 5_000, key).await.id();
        let hold = "update transactions set held_code = $2, held_reason = 'no word', held_at = now(), due_at = null where id = $1";
        sqlx::query(hold).bind(deposit).bind(code).execute(&t.app.db).await.expect("as if it had waited");
        t.sim.cancel_purchase(t.purchase_of(deposit)).expect("unpaid");
        t.drive().await;
        assert_eq!((t.state(deposit).await.as_str(), t.held_reason(deposit).await), ("cancelled", None), "{code}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_wrong_amount_or_currency_is_held_and_credits_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let wrong = [
        Pay { amount: Some(4_999), ..Pay::default() },
        Pay { amount: Some(500_000), ..Pay::default() },
        Pay { currency: Some("USD".to_owned()), ..Pay::default() },
        Pay { marked_as_paid: true, ..Pay::default() },
    ];
    let suspense = async || t.system_balance(AccountCode::Suspense).await.posted();
    for (index, pay) in wrong.into_iter().enumerate() {
        let deposit = t.deposit(&customer, 5_000, &format!("k{index}")).await;
        t.sim.pay_purchase(t.purchase_of(deposit.id()), pay).expect("payable");
        t.drive().await;
        assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
        assert!(t.held_reason(deposit.id()).await.is_some(), "case {index}");
        let booked = [4_999, 504_999, 504_999, 504_999];
        assert_eq!(suspense().await, booked[index], "money of ours that came is in our books, wherever it belongs");
    }
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_deposit_survives_revio_being_away(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::next(3, Scope::CreatePurchase, FaultKind::BadGateway(Moment::Before)));
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    assert_eq!((deposit.status, deposit.body["state"].as_str()), (StatusCode::CREATED, Some("initiated")));
    for minutes in [0, 1, 5] {
        t.advance(TimeDelta::minutes(minutes));
        t.drive().await;
    }
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    t.pay(&deposit).await;
    t.finish().await;
}

#[sqlx::test]
async fn after_the_last_retry_a_deposit_is_held_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::next(100, Scope::CreatePurchase, FaultKind::Blank { status: 200 }));
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    for _ in 0..5 {
        t.drive().await;
        t.advance(TimeDelta::minutes(15));
    }
    assert!(t.held_reason(deposit.id()).await.is_some_and(|reason| reason.contains("5 failures")));
    let tries = t.sim.calls().into_iter().filter(|call| call.method == "POST").count();
    assert_eq!(tries, 5, "the first try, then after 0, 1, 5 and 15 minutes");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_deposit_needs_a_token(db: PgPool) {
    let t = TestApp::new(db).await;
    let body = json!({"amount": 1, "currency": "ZAR"});
    let answer = t.send(Method::POST, "/v1/deposits", None, &[("Idempotency-Key", "k")], Some(body)).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    t.finish().await;
}

#[sqlx::test]
async fn a_second_payment_of_one_deposit_is_the_customers_money_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::Reset(Moment::After)));
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.step().await;
    let purchases = t.sim.purchases_by_reference(&deposit.id().to_string());
    assert_eq!(purchases.len(), 2, "its creation was repeated after a lost answer");
    for purchase in purchases {
        let id = purchase["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        t.sim.pay_purchase(id, Pay::default()).expect("payable");
    }
    t.drive().await;
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    assert_eq!(t.get(&customer, "/v1/transactions?kind=deposit&state=completed").await.body["page"]["total"], 2);
    t.finish().await;
}

#[sqlx::test]
async fn while_revio_is_away_no_deposit_is_begun_and_it_resumes_by_itself(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::next(8, Scope::CreatePurchase, FaultKind::BadGateway(Moment::Before)));
    for index in 0..8 {
        assert_eq!(t.deposit(&customer, 5_000, &format!("k{index}")).await.status, StatusCode::CREATED);
    }
    let refused = t.deposit(&customer, 5_000, "late").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"));
    assert!(refused.headers.contains_key("retry-after"));
    let repeat = t.deposit(&customer, 5_000, "k0").await;
    assert_eq!((repeat.status, repeat.replayed()), (StatusCode::CREATED, true), "what was begun is still answered");
    let calls = t.sim.calls().len();
    t.drive().await;
    assert_eq!(t.sim.calls().len(), calls, "Revio is left alone");
    t.advance(TimeDelta::seconds(16));
    t.drive().await;
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    assert_eq!(t.get(&customer, "/v1/transactions?state=awaiting_payment").await.body["page"]["total"], 8);
    assert_eq!(t.deposit(&customer, 5_000, "late").await.status, StatusCode::CREATED);
    t.finish().await;
}

/// Without it the payer could never pay, and nobody would be told.
#[sqlx::test]
async fn a_link_that_the_first_answer_lacked_is_there_with_the_next(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_override(Override::of("purchase", "/checkout_url", json!("")));
    let deposit = t.deposit(&customer, 1_000, "d").await;
    assert!(deposit.body["checkout_url"].is_null(), "{}", deposit.body);
    t.sim.clear_overrides();
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    let shown = t.get(&customer, &format!("/v1/transactions/{}", deposit.id())).await;
    assert_eq!(shown.body["state"], "awaiting_payment");
    assert!(shown.body["checkout_url"].as_str().is_some_and(|url| url.contains("/p/")), "{}", shown.body);
    t.finish().await;
}

/// As where the first answer was refused for its sum, or did not say it (`evidence::nobody_is_sent_to_pay_another_sum_than_was_asked_for`).
#[sqlx::test]
async fn a_link_to_pay_another_sum_is_given_by_no_event_and_no_later_answer(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let shown = async |deposit: Uuid| t.get(&customer, &format!("/v1/transactions/{deposit}")).await.body;
    for (pointer, value) in [("/purchase/total", json!(1_001)), ("/purchase/currency", json!("EUR"))] {
        t.sim.set_override(Override::of("purchase", pointer, value));
        let refused = t.deposit(&customer, 1_000, &format!("event{pointer}")).await.id();
        t.sim.deliver().await;
        t.step().await;
        assert_eq!(
            (&shown(refused).await["state"], &shown(refused).await["checkout_url"]),
            (&json!("initiated"), &json!(null))
        );
        t.sim.clear_overrides();
        for (pointer, value) in [("/purchase", json!(null)), ("/checkout_url", json!(""))] {
            t.sim.set_override(Override::of("purchase", pointer, value));
        }
        let unsaid = t.deposit(&customer, 1_000, &format!("later{pointer}")).await.id();
        t.sim.clear_overrides();
        t.sim.set_override(Override::of("purchase", pointer, json!("1002")));
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
        assert_eq!(shown(unsaid).await["checkout_url"], json!(null));
        t.sim.clear_overrides();
        t.advance(TimeDelta::minutes(5));
        t.drive().await;
        for deposit in [refused, unsaid] {
            assert!(shown(deposit).await["checkout_url"].is_string(), "{pointer}");
        }
    }
    t.finish().await;
}
