//! What browsers are told with every answer, and which pages of other origins may read it.

use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use octoco::app::App;
use octoco::processes::router;
use octoco::processes::server::{ConnectionTimeouts, Server};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, PATIENCE, TestApp, answer, serve};

const FRONTEND: &str = "https://app.example.com";
const WITH_FRONTEND: [(&str, &str); 1] = [("CORS_ORIGINS", FRONTEND)];

fn text<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

async fn preflight(t: &TestApp, origin: &str) -> Answer {
    let asked = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type,idempotency-key"),
    ];
    t.send(Method::OPTIONS, "/v1/withdrawals", None, &asked, None).await
}

#[sqlx::test]
async fn a_page_of_a_listed_origin_may_call_and_read(db: PgPool) {
    let t = TestApp::with(db, &WITH_FRONTEND).await;
    let asked = preflight(&t, FRONTEND).await;
    assert_eq!(asked.status, StatusCode::OK);
    assert_eq!(text(&asked, "access-control-allow-origin"), FRONTEND);
    assert_eq!(text(&asked, "access-control-allow-credentials"), "true");
    assert_eq!(text(&asked, "access-control-max-age"), "7200");
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        assert!(text(&asked, "access-control-allow-methods").contains(method), "{method}");
    }
    for header in
        ["authorization", "content-type", "idempotency-key", "if-none-match", "range", "if-range", "x-request-id"]
    {
        assert!(text(&asked, "access-control-allow-headers").contains(header), "{header}");
    }
    let customer = t.customer().await;
    let refused = t.send(Method::GET, "/v1/me", None, &[("Origin", FRONTEND)], None).await;
    let me = t.send(Method::GET, "/v1/me", Some(&customer.token), &[("Origin", FRONTEND)], None).await;
    assert_eq!((refused.status, me.status), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    for told in [refused, me] {
        assert_eq!(text(&told, "access-control-allow-origin"), FRONTEND);
        assert_eq!(text(&told, "vary"), "origin", "a cache must not give it to another page");
        for header in [
            "idempotent-replayed", "ratelimit-remaining", "retry-after", "x-request-id", "link", "etag",
            "content-range", "accept-ranges", "content-disposition",
        ] {
            assert!(text(&told, "access-control-expose-headers").contains(header), "{header}");
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn no_other_origin_is_ever_told_that_it_may(db: PgPool) {
    let t = TestApp::with(db, &WITH_FRONTEND).await;
    for origin in [
        "https://evil.example", "null", "https://app.example.com.evil.example", "https://evil-app.example.com",
        "https://evil.app.example.com", "https://example.com", "http://app.example.com",
        "https://app.example.com:8443", "https://app.example.com/", "https://APP.example.com", "*", "",
    ] {
        let asked = preflight(&t, origin).await;
        let called = t.send(Method::GET, "/v1/me", None, &[("Origin", origin)], None).await;
        for told in [asked, called] {
            assert!(!told.headers.contains_key("access-control-allow-origin"), "{origin}: {:?}", told.headers);
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_preflight_is_answered_before_anything_is_counted_or_asked_for(db: PgPool) {
    let settings = [WITH_FRONTEND.as_slice(), &[("RATE_LIMITS", "default")]].concat();
    let t = TestApp::with(db, &settings).await;
    for _ in 0..150 {
        let asked = preflight(&t, FRONTEND).await;
        assert_eq!(asked.status, StatusCode::OK, "no token is asked for");
        assert!(!asked.headers.contains_key("ratelimit-limit"));
    }
    t.finish().await;
}

/// The whole API, and routes that fail in every way that a route can.
async fn with_failing_routes(app: &App, deadline: Duration) -> String {
    let routes = Router::new()
        .route("/planted/panic", get(async || -> &'static str { panic!("planted") }))
        .route("/planted/hangs", get(async || std::future::pending::<&'static str>().await))
        .route("/planted/own", get(async || ([("content-security-policy", "default-src 'self'")], "mine")));
    let router = router::layered(router::routes("").merge(routes), app.clone(), deadline);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    serve(listener, Server::new(app.clone(), CancellationToken::new()).with(router, ConnectionTimeouts::default()));
    url
}

fn assert_safe(what: &str, headers: &HeaderMap) {
    for (name, value) in [
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ("strict-transport-security", "max-age=63072000"),
    ] {
        let told: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(told, [value], "{what}: {name}");
    }
    assert!(headers.contains_key("cache-control") && headers.contains_key("x-request-id"), "{what}");
}

#[sqlx::test]
async fn every_answer_carries_the_security_headers(db: PgPool) {
    let t = TestApp::with(db, &[("PUBLIC_URL", "https://octoco.test"), ("CORS_ORIGINS", FRONTEND)]).await;
    let (url, hasty) =
        (with_failing_routes(&t.app, PATIENCE).await, with_failing_routes(&t.app, Duration::from_millis(100)).await);
    let customer = t.customer().await;
    let call = async |method: Method, path: &str, headers: &[(&str, &str)], body: &str| {
        // Only what never answers is not waited for.
        let url = if path == "/planted/hangs" { &hasty } else { &url };
        let mut request = t.http.request(method, format!("{url}{path}")).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    };
    let bearer = format!("Bearer {}", customer.token);
    let signed_in = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let account =
        json!({"account_number": "62007654321", "branch_code": "250655", "account_holder": "T", "bank_name": "F"});
    let delete = format!("/v1/bank-accounts/{}", customer.bank_account_id);
    let large = "x".repeat(20_000);
    for (expected, method, path, headers, body) in [
        (200, Method::GET, "/v1/me", &signed_in[..], ""),
        (200, Method::GET, "/healthz", &[], ""),
        (404, Method::GET, "/metrics", &[], ""),
        (200, Method::GET, "/openapi.json", &[], ""),
        (200, Method::GET, "/.well-known/jwks.json", &[], ""),
        (200, Method::OPTIONS, "/v1/me", &[("Origin", FRONTEND)], ""),
        (201, Method::POST, "/v1/bank-accounts", &signed_in, &account.to_string()),
        (204, Method::DELETE, &delete, &signed_in, ""),
        (400, Method::POST, "/v1/bank-accounts", &signed_in, "{"),
        (401, Method::GET, "/v1/me", &[], ""),
        (401, Method::POST, "/v1/webhooks/revio", &[], "{}"),
        (403, Method::GET, "/v1/admin/held", &signed_in, ""),
        (404, Method::GET, "/nowhere", &[], ""),
        (405, Method::PUT, "/v1/me", &signed_in, ""),
        (413, Method::POST, "/v1/bank-accounts", &signed_in, &large),
        (415, Method::POST, "/v1/auth/register", &[], "{}"),
        (500, Method::GET, "/planted/panic", &[], ""),
        (503, Method::GET, "/planted/hangs", &[], ""),
    ] {
        let told = call(method.clone(), path, headers, body).await;
        assert_eq!(told.status.as_u16(), expected, "{method} {path}: {}", told.body);
        assert_safe(&format!("{method} {path}"), &told.headers);
    }
    let own = call(Method::GET, "/planted/own", &[], "").await;
    assert_eq!(text(&own, "content-security-policy"), "default-src 'self'", "a route's own stays");
    t.finish().await;
}

#[sqlx::test]
async fn plain_http_promises_no_https(db: PgPool) {
    let t = TestApp::new(db).await;
    let told = t.send(Method::GET, "/healthz", None, &[], None).await;
    assert!(!told.headers.contains_key("strict-transport-security"));
    assert_eq!(text(&told, "x-frame-options"), "DENY");
    t.finish().await;
}
