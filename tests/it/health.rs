//! Probes, metrics, the OpenAPI document.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Answer, PATIENCE, TestApp};

/// The probe gives each part two seconds, which a busy machine may need more of: it is asked until its answer is the one that is
/// waited for.
async fn until(t: &TestApp, mut holds: impl FnMut(&Answer) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let told = t.send(Method::GET, "/readyz", None, &[], None).await;
        if holds(&told) {
            return told;
        }
        assert!(started.elapsed() < PATIENCE, "{}", told.body);
    }
}

/// What the probe says once every part that money needs is there and the read model's lag is known.
pub(crate) async fn ready(t: &TestApp) -> Answer {
    until(t, |told| told.status == StatusCode::OK && told.body["read_model"] != "unavailable").await
}

#[sqlx::test]
async fn a_service_with_all_its_parts_is_ready(db: PgPool) {
    let t = TestApp::new(db).await;
    let call = async |path: &str| t.send(Method::GET, path, None, &[], None).await;
    assert_eq!(call("/healthz").await.body, "ok");
    assert_eq!(ready(&t).await.body["status"], "ready");
    let metrics = call("/metrics").await;
    assert!(metrics.body.as_str().expect("text").contains("octoco_http_requests_total"));
    t.finish().await;
}

#[sqlx::test(migrations = false)]
async fn a_service_without_its_schema_is_not_ready(db: PgPool) {
    let t = TestApp::new(db).await;
    // The rest of it is ready; it may take its time.
    let ready = until(&t, |told| told.body["ledger"] == "ok").await;
    assert_eq!((ready.status, &ready.body["postgres"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));
}

#[sqlx::test]
async fn the_document_names_every_route(db: PgPool) {
    let t = TestApp::new(db).await;
    let document = t.send(Method::GET, "/openapi.json", None, &[], None).await.body;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for path in [
        "/v1/auth/register",
        "/v1/auth/login",
        "/v1/auth/refresh",
        "/v1/auth/logout",
        "/v1/auth/sessions",
        "/v1/auth/sessions/{id}",
        "/v1/me",
        "/v1/balances",
        "/v1/bank-accounts",
        "/v1/bank-accounts/{id}",
        "/v1/deposits",
        "/v1/withdrawals",
        "/v1/transactions",
        "/v1/transactions/{id}",
        "/v1/statements",
        "/v1/admin/users/{id}/statements",
        "/v1/webhooks/revio",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    t.finish().await;
}
