//! What a customer sees while a person must decide and afterwards, and how a person ends it: one by one, or many by reason and time.

use chrono::TimeDelta;
use octoco::money::transactions::{self, Hold};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Pay, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Answer, Customer, TestApp};

async fn post(t: &TestApp, staff: &Customer, path: &str, body: Value) -> Answer {
    t.send(Method::POST, path, Some(&t.token(staff)), &[], Some(body)).await
}

async fn resolve(t: &TestApp, staff: &Customer, id: Uuid, action: &str) -> Answer {
    post(t, staff, &format!("/v1/admin/held/{id}/resolve"), json!({"action": action, "note": "looked at it"})).await
}

#[sqlx::test]
async fn a_customer_sees_that_it_is_under_review_and_then_what_became_of_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 70_000, "d").await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(60_000), ..Pay::default() }).expect("payable");
    t.drive().await;
    let path = format!("/v1/transactions/{deposit}");
    let shown = t.get(&customer, &path).await.body;
    assert_eq!((&shown["state"], &shown["checkout_url"]), (&json!("under_review"), &Value::Null), "no link that works");
    let listed = async |state: &str| {
        t.get(&customer, &format!("/v1/transactions?state={state}")).await.body["page"]["total"].clone()
    };
    assert_eq!((listed("under_review").await, listed("awaiting_payment").await), (json!(1), json!(0)));
    assert_eq!(listed("under_review,awaiting_payment").await, 1);
    let staffs = t.get(&finance, &format!("/v1/admin/transactions/{deposit}")).await.body;
    assert_eq!(
        (&staffs["state"], &staffs["held_code"]),
        (&json!("awaiting_payment"), &json!("set_aside")),
        "staff see what is"
    );
    assert_eq!(resolve(&t, &finance, deposit, "dismiss").await.status, StatusCode::OK);
    let shown = t.get(&customer, &path).await.body;
    assert_eq!((&shown["state"], &shown["failure_reason"]), (&json!("failed"), &json!("closed_by_review")));
    assert_eq!(shown["outcome"], "set_aside", "and we have the money");
    // Whatever comes again of the same, it stays closed.
    t.sim.raise_event(t.purchase_of(deposit), "purchase.paid").expect("it is there");
    t.drive().await;
    t.advance(TimeDelta::days(30));
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.held_reason(deposit).await), ("failed", None));
    t.sim.refund_purchase(t.purchase_of(deposit), None).expect("refundable");
    t.drive().await;
    assert_eq!(t.get(&customer, &path).await.body["outcome"], "returned");
    t.finish().await;
}

/// Its customer called it off, and its payer paid all the same: that nothing is charged would be false, to whomever and wherever it is told.
#[sqlx::test]
async fn a_payment_that_came_after_its_deposit_was_cancelled_is_not_told_as_one_that_did_not(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 70_000, "d").await.id();
    let cancelled =
        t.send(Method::POST, &format!("/v1/deposits/{deposit}/cancel"), Some(&customer.token), &[], None).await;
    assert_eq!(cancelled.body["failure"]["code"], "cancelled_by_customer", "{}", cancelled.body);
    let other = Pay { amount: Some(60_000), force: true, ..Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit), other).expect("forced");
    t.drive().await;
    let shown = t.get(&customer, &format!("/v1/transactions/{deposit}")).await.body;
    assert_eq!((&shown["state"], &shown["outcome"]), (&json!("under_review"), &json!("set_aside")), "{shown}");
    assert_eq!((&shown["failure_reason"], &shown["failure"]), (&Value::Null, &Value::Null), "{shown}");
    let review = shown["review"]["message"].as_str().expect("a text");
    assert!(review.starts_with("A payment came that we could not credit as it is."), "{review}");
    let staffs = t.get(&finance, &format!("/v1/admin/transactions/{deposit}")).await.body;
    assert_eq!((&staffs["state"], &staffs["failure"]), (&json!("cancelled"), &Value::Null), "{staffs}");
    let listed = t.get(&customer, "/v1/transactions").await.body;
    assert_eq!(listed["data"][0]["failure_reason"], Value::Null);
    let url = format!("{}/v1/transactions/export?format=csv", t.url);
    let file =
        t.http.get(url).bearer_auth(&customer.token).send().await.expect("an answer").text().await.expect("a file");
    assert!(file.contains(&deposit.to_string()) && !file.contains("cancelled_by_customer"), "{file}");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn many_are_resolved_by_reason_and_time_and_those_that_cannot_be_are_named(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer_with(10_000).await, t.staff(Role::Finance).await);
    let hold = async |id: Uuid, code: Hold| {
        let row = transactions::find(&t.app, id).await.expect("there");
        transactions::hold(&t.app, &row, code, "found").await.expect("held");
    };
    let before = t.app.clock.now();
    let mut early = Vec::new();
    for key in 0..3 {
        let id = t.deposit(&customer, 500, &format!("d{key}")).await.id();
        hold(id, Hold::Undecided).await;
        early.push(id);
    }
    t.advance(TimeDelta::minutes(10));
    let between = t.app.clock.now();
    let late = t.deposit(&customer, 500, "late").await.id();
    hold(late, Hold::Undecided).await;
    let other = t.deposit(&customer, 500, "other").await.id();
    hold(other, Hold::Contradiction).await;
    let body = |action: &str, from, to| json!({"action": action, "code": "undecided", "note": "Revio was away", "from": from, "to": to});
    let done = post(&t, &finance, "/v1/admin/held/resolve", body("retry", json!(before), json!(between))).await;
    assert_eq!(
        (done.status, done.body["resolved"].as_array().map(Vec::len)),
        (StatusCode::OK, Some(3)),
        "{}",
        done.body
    );
    assert_eq!(t.held_reason(early[0]).await, None);
    assert!(t.held_reason(late).await.is_some() && t.held_reason(other).await.is_some());
    let withdrawal = t.withdraw(&customer, 100, "w").await.id();
    hold(withdrawal, Hold::Undecided).await;
    let done = post(&t, &finance, "/v1/admin/held/resolve", body("dismiss", json!(null), json!(null))).await;
    assert_eq!(done.body["resolved"], json!([late]));
    assert_eq!(
        (&done.body["refused"][0]["id"], &done.body["refused"][0]["code"]),
        (&json!(withdrawal), &json!("invalid_request"))
    );
    let wrong = post(
        &t,
        &finance,
        "/v1/admin/held/resolve",
        json!({"action": "pay twice", "code": "any", "note": "", "from": "soon"}),
    )
    .await;
    assert_eq!(wrong.body["errors"].as_array().map(Vec::len), Some(4), "{}", wrong.body);
    assert_eq!(resolve(&t, &finance, withdrawal, "retry").await.status, StatusCode::OK);
    t.drive().await;
    t.finish_with_held().await;
}

#[sqlx::test]
async fn dead_letters_are_replayed_or_closed_by_error_and_time(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    for key in 0..3 {
        let deposit = t.deposit(&customer, 500, &format!("d{key}")).await.id();
        t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::Blank { status: 200 }));
        t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    }
    for _ in 0..30 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    t.sim.clear_faults();
    let dead = t.get(&finance, "/v1/admin/webhooks?state=dead").await;
    assert_eq!(dead.body["data"].as_array().map(Vec::len), Some(6), "made and paid, of each: {}", dead.body);
    let one = dead.body["data"][0]["id"].as_str().expect("an id").to_owned();
    let note = json!({"note": "known"});
    assert_eq!(
        post(&t, &finance, &format!("/v1/admin/webhooks/{one}/dismiss"), note.clone()).await.body["state"],
        "dismissed"
    );
    assert_eq!(
        post(&t, &finance, &format!("/v1/admin/webhooks/{one}/dismiss"), note).await.status,
        StatusCode::NOT_FOUND
    );
    let bulk = |action: &str, error: &str| json!({"action": action, "note": "Revio was away", "error": error});
    let none = post(&t, &finance, "/v1/admin/webhooks/dead", bulk("replay", "something else")).await;
    assert_eq!(none.body["ids"], json!([]));
    let both = post(&t, &finance, "/v1/admin/webhooks/dead", bulk("replay", "could not be read")).await;
    assert_eq!(
        (both.body["ids"].as_array().map(Vec::len), &both.body["more"]),
        (Some(5), &json!(false)),
        "{}",
        both.body
    );
    let noted =
        "select count(*) from audit_log where action = 'webhook.replayed' and after->>'note' = 'Revio was away'";
    let noted: i64 = sqlx::query_scalar(noted).fetch_one(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(noted, 5);
    t.drive().await;
    assert_eq!(t.get(&finance, "/v1/admin/webhooks?state=dead").await.body["data"], json!([]));
    for id in held(&t).await {
        assert_eq!(resolve(&t, &finance, id, "retry").await.status, StatusCode::OK);
    }
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (1_500, 0, 1_500));
    t.finish().await;
}

async fn held(t: &TestApp) -> Vec<Uuid> {
    sqlx::query_scalar("select id from transactions where held_reason is not null")
        .fetch_all(&t.app.db)
        .await
        .expect("ids")
}

/// Signed, and of no use: it does not get better by trying, and nobody may miss it.
#[sqlx::test]
async fn a_verified_body_that_cannot_be_read_is_a_dead_letter(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    for body in [
        "not json",
        "[1]",
        r#"{"event_type": "purchase.paid", "type": "purchase", "id": 7}"#,
        r#"{"event_type": "payout.success"}"#,
    ] {
        let signature = t.sim.sign(body.as_bytes());
        let call = t.http.post(format!("{}/v1/webhooks/revio", t.url)).header("X-Signature", signature).body(body);
        assert_eq!(call.send().await.expect("an answer").status(), StatusCode::OK, "{body}");
    }
    t.drive().await;
    assert_eq!(t.get(&finance, "/v1/admin/webhooks?state=dead").await.body["data"].as_array().map(Vec::len), Some(4));
    t.finish().await;
}
