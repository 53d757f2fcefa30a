//! Where a mistake stands: in the body, in the query, in the path, in a header; and a query that nobody reads is one.

use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::TestApp;
use crate::requests::{field, operations};

#[sqlx::test]
async fn a_query_is_refused_by_every_route_that_takes_none_and_taken_by_whoever_must_be_lenient(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let mut refused = 0;
    for (method, path, _) in operations() {
        if !path.starts_with("/v1/") || path.starts_with("/v1/webhooks/") {
            continue;
        }
        let path = path.replace("{month}", "2026-01");
        let body = [Method::POST, Method::PATCH].contains(&method).then(|| json!({}));
        let answer = t.send(method.clone(), &format!("{path}?colour=red"), Some(&admin.token), &[], body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, "invalid_request"),
            "{method} {path}: {}",
            answer.body
        );
        let errors = answer.body["errors"].as_array().expect("a list");
        let told = errors.iter().any(|error| error["parameter"] == "colour" && error["code"] == "unknown");
        assert!(told, "{method} {path}: {}", answer.body);
        refused += 1;
    }
    assert!(refused >= 100, "{refused}");
    let call = async |method: Method, path: &str| t.send(method, path, Some(&admin.token), &[], None).await;
    assert_eq!(call(Method::HEAD, "/v1/me?x=1").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(call(Method::GET, "/v1/me?").await.status, StatusCode::OK, "there is nothing in it");
    let money = t
        .send(
            Method::POST,
            "/v1/deposits?amount=5",
            Some(&admin.token),
            &[("Idempotency-Key", "k")],
            Some(json!({"amount": 100, "currency": "ZAR"})),
        )
        .await;
    assert_eq!(money.body["errors"][0]["parameter"], "amount", "{}", money.body);
    for path in ["/healthz?t=1", "/.well-known/jwks.json?v=2", "/docs?x", "/openapi.json?x=1", "/problems/internal?x"] {
        assert_eq!(call(Method::GET, path).await.status, StatusCode::OK, "{path}");
    }
    assert!(call(Method::GET, "/readyz?t=1").await.body["status"].is_string());
    for path in ["/v1/webhooks/revio?source=1", "/v1/webhooks/revio/callback?x", "/v1/webhooks/revio/?x=1"] {
        assert_eq!(call(Method::POST, path).await.code(), "bad_signature", "{path}: Revio may call it as it likes");
    }
    t.finish().await;
}

#[sqlx::test]
async fn what_is_wrong_is_told_where_it_stands_and_by_its_kind(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    for (path, name, code, number) in [
        ("/v1/transactions?page-size=5", "page-size", "unknown", json!(null)),
        ("/v1/transactions?Host=5", "Host", "unknown", json!(null)),
        ("/v1/transactions?state=foo", "state", "choice", json!("initiated")),
        ("/v1/transactions?kind=deposit,foo", "kind", "choice", json!("deposit")),
        ("/v1/transactions?sort=foo", "sort", "choice", json!("created_at")),
        ("/v1/statements?currency=USD&from=2026-01-01", "currency", "choice", json!("ZAR")),
        ("/v1/transactions?cursor=x", "cursor", "invalid", json!(null)),
        ("/v1/admin/reconciliation/breaks?min_age=-1", "min_age", "range", json!(null)),
    ] {
        let refused = t.get(if path.contains("/admin/") { &finance } else { &customer }, path).await;
        let error = &refused.body["errors"][0];
        assert_eq!((&error["parameter"], &error["pointer"]), (&json!(name), &json!(null)), "{path}: {}", refused.body);
        assert_eq!((&error["code"], &error["parameters"]["allowed"][0]), (&json!(code), &number), "{path}: {error}");
    }
    let post = async |path: &str, by: &str, body: Value| {
        let headers = [("Idempotency-Key", "places")];
        t.send(Method::POST, path, Some(by), &headers, Some(body)).await.body["errors"].clone()
    };
    let order = json!({"amount": 1, "currency": "ZAR", "a.b": 1, "c/d": {"e": 2}, "If-Match": 3});
    let told = post("/v1/deposits", &customer.token, order).await;
    let pointers: Vec<&str> = told.as_array().expect("a list").iter().filter_map(|e| e["pointer"].as_str()).collect();
    assert_eq!(pointers, ["#/If-Match", "#/a.b", "#/c~1d"], "{told}");
    let accepts: Vec<&str> = vec!["01900000-0000-7000-8000-000000000000"; 201];
    let told = post("/v1/admin/periods/close", &finance.token, json!({"month": "2026-01", "accepts": accepts})).await;
    assert_eq!((&told[0]["code"], &told[0]["parameters"]["max"]), (&json!("length"), &json!(200)), "{told}");
    let keys = t.send(Method::POST, "/v1/deposits", Some(&customer.token), &[], Some(json!({}))).await;
    let error = &keys.body["errors"][0];
    assert_eq!(
        (&error["field"], &error["pointer"], &error["parameter"]),
        (&json!("Idempotency-Key"), &json!(null), &json!(null))
    );
    t.finish().await;
}

#[sqlx::test]
async fn a_path_that_is_no_text_is_a_problem_on_every_page(db: PgPool) {
    let t = TestApp::new(db).await;
    for path in ["/problems/%FF", "/reasons/%FF", "/docs/%FF", "/v1/transactions/%FF", "/v1/admin/periods/%FF"] {
        let token = t.staff(Role::Finance).await.token;
        let refused = t.send(Method::GET, path, Some(&token), &[], None).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{path}");
        field(&refused);
    }
    t.finish().await;
}
