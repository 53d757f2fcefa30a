//! Money in a currency that customers do not use: it is in suspense, shown to whoever may clear it, and nobody pays in it.

use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Override, Pay};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::TestApp;
use crate::reconciliation::cycle;

/// A deposit of ZAR for which Revio was paid in USD.
async fn paid_in_dollars(t: &TestApp) -> Uuid {
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    t.sim.set_override(Override::of(t.purchase_of(deposit), "/payment/currency", json!("USD")));
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    t.drive().await;
    deposit
}

#[sqlx::test]
async fn what_came_in_a_currency_that_the_books_do_not_show_is_no_break_and_says_what_to_do(db: PgPool) {
    let t = TestApp::new(db).await;
    let deposit = paid_in_dollars(&t).await;
    assert!(t.held_reason(deposit).await.is_some_and(|reason| reason.contains("add that to CURRENCIES")));
    cycle(&t).await;
    let missing: i64 = sqlx::query_scalar("select count(*) from breaks where type = 'row_without_transfer'")
        .fetch_one(&t.app.db)
        .await
        .expect("a count");
    assert_eq!(missing, 0, "the ledger has its transfer");
}

#[sqlx::test]
async fn what_came_in_a_currency_of_the_books_is_returned_and_no_customer_pays_in_it(db: PgPool) {
    let t = TestApp::with(db, &[("CURRENCIES", "ZAR,USD"), ("CUSTOMER_CURRENCIES", "ZAR")]).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let body = json!({"amount": 1_000, "currency": "USD"});
    let headers = [("Idempotency-Key", "k")];
    let refused = t.send(Method::POST, "/v1/deposits", Some(&t.token(&customer)), &headers, Some(body)).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("currency")));
    let codes = |listed: &serde_json::Value| -> Vec<String> {
        let codes = listed.as_array().expect("a list").iter();
        codes.map(|one| one["code"].as_str().or(one["currency"].as_str()).expect("a code").to_owned()).collect()
    };
    assert_eq!(codes(&t.get(&customer, "/v1/config").await.body["currencies"]), ["ZAR"]);
    assert_eq!(codes(&t.get(&customer, "/v1/balances").await.body["balances"]), ["ZAR"]);
    paid_in_dollars(&t).await;
    let items = t.get(&finance, "/v1/admin/suspense-items?currency=USD&state=open").await;
    let item = &items.body["data"][0];
    assert_eq!(item["amount"], 1_000, "{}", items.body);
    let given = json!({"user_id": customer.id, "direction": "credit", "amount": 1_000, "currency": "USD",
        "counterpart": "suspense", "reason": "it is theirs", "item_id": item["id"]});
    let headers = [("Idempotency-Key", "a")];
    let asked = t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(&finance)), &headers, Some(given)).await;
    let admin = t.staff(Role::Admin).await;
    let path = format!("/v1/admin/adjustments/{}/approve", asked.id());
    let body = json!({"adjustment_hash": asked.body["adjustment_hash"]});
    let approved = t.send(Method::POST, &path, Some(&t.token(&admin)), &[], Some(body)).await;
    assert_eq!(approved.body["state"], "completed", "{}", approved.body);
    // Whoever has some sees it.
    assert_eq!(codes(&t.get(&customer, "/v1/balances").await.body["balances"]), ["ZAR", "USD"]);
}
