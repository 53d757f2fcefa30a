//! Probes, metrics, the OpenAPI document.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use octoco::processes::server::Server;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::binary::{self, Serving};
use crate::harness::{Answer, PATIENCE, TestApp, serve};

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

/// The same once it says so: a look is told again for a moment.
pub(crate) async fn ready_and(t: &TestApp, field: &str, word: &str) -> Answer {
    until(t, |told| told.status == StatusCode::OK && told.body[field] == word).await
}

#[sqlx::test]
async fn a_service_with_all_its_parts_is_ready(db: PgPool) {
    let t = TestApp::new(db).await;
    let call = async |path: &str| t.send(Method::GET, path, None, &[], None).await;
    assert_eq!(call("/healthz").await.body, "ok");
    assert_eq!(ready(&t).await.body["status"], "ready");
    let (status, metrics) = fetch(&for_operators(&t).await, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.contains("octoco_http_requests_total"), "{metrics}");
    t.finish().await;
}

/// The address of a listener for the operators of a test's app.
pub(crate) async fn for_operators(t: &TestApp) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let address = listener.local_addr().expect("bound").to_string();
    serve(listener, Server::for_operators(t.app.clone(), CancellationToken::new()));
    address
}

/// What is no part of the contract.
pub(crate) async fn fetch(address: &str, path: &str) -> (StatusCode, String) {
    let answer = reqwest::get(format!("http://{address}{path}")).await.expect("it answers");
    (answer.status(), answer.text().await.expect("the answer is whole"))
}

#[sqlx::test]
async fn the_world_is_told_no_metrics_and_operators_nothing_else(db: PgPool) {
    let t = TestApp::new(db).await;
    let public = t.url.trim_start_matches("http://");
    for path in ["/metrics", "/metrics/", "//metrics"] {
        assert_eq!(fetch(public, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let operators = for_operators(&t).await;
    for path in ["/v1/me", "/openapi.json", "/docs", "/v1/auth/login"] {
        assert_eq!(fetch(&operators, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    t.finish().await;
}

/// A worker beside an API on one machine, with one set of settings but for the ports.
#[sqlx::test]
async fn each_process_is_watched_at_an_address_of_its_own(db: PgPool) {
    let settings = binary::settings(&db, "any");
    let (serving, working) = (Serving::start(&settings).await, Serving::work(&settings).await);
    let mut without = settings.clone();
    without.remove("OPS_ADDR");
    // Whether the default port is free or not.
    let (third, fourth) = (Serving::work(&without).await, Serving::work(&without).await);
    for process in [&serving, &working, &third, &fourth] {
        assert_eq!(fetch(&process.operations, "/healthz").await, (StatusCode::OK, "ok".to_owned()));
        assert!(fetch(&process.operations, "/readyz").await.1.contains("\"postgres\":\""));
        let (status, metrics) = fetch(&process.operations, "/metrics").await;
        assert!(status == StatusCode::OK && metrics.contains("octoco_http_requests_total"), "{metrics}");
        for (pool, max) in [("main", 4), ("lists", 3), ("batches", 3)] {
            let told = format!(r#"octoco_db_pool_connections{{pool="{pool}",state="max"}} {max}"#);
            assert!(metrics.contains(&told), "{metrics}");
        }
    }
    assert_eq!(fetch(&serving.address, "/metrics").await.0, StatusCode::NOT_FOUND);
    let mut taken = settings.clone();
    taken.insert("OPS_ADDR", working.operations.clone());
    let (printed, status) = binary::run(&["work"], &taken).await;
    assert!(
        !status.success() && printed.contains("in use"),
        "an address of one's own choice is never another: {printed}"
    );
    for process in [serving, working, third, fourth] {
        let (printed, status) = process.stop().await;
        assert!(status.success(), "{printed}");
    }
}

#[sqlx::test(migrations = false)]
async fn a_service_without_its_schema_is_not_ready(db: PgPool) {
    // `./dev test` migrates what databases are made of.
    let nothing = "drop schema if exists reporting cascade; drop schema public cascade; create schema public";
    sqlx::raw_sql(nothing).execute(&db).await.expect("there is nothing");
    let t = TestApp::new(db).await;
    // The rest of it is ready; it may take its time.
    let ready = until(&t, |told| told.body["ledger"] == "ok").await;
    assert_eq!((ready.status, &ready.body["postgres"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("not_migrated")));
}

#[sqlx::test]
async fn the_document_names_every_route(db: PgPool) {
    let t = TestApp::new(db).await;
    let document = t.send(Method::GET, "/openapi.json", None, &[], None).await.body;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for path in [
        "/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout", "/v1/auth/sessions",
        "/v1/auth/sessions/{id}", "/v1/me", "/v1/balances", "/v1/bank-accounts", "/v1/bank-accounts/{id}",
        "/v1/deposits", "/v1/withdrawals", "/v1/transactions", "/v1/transactions/{id}", "/v1/statements",
        "/v1/admin/users/{id}/statements", "/v1/webhooks/revio", "/healthz", "/readyz",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    assert!(document["paths"]["/metrics"].is_null(), "it is at OPS_ADDR");
    t.finish().await;
}

/// What anybody can do: ask as often as there are connections, and go away before the answer.
#[sqlx::test]
async fn a_crowd_that_asks_whether_we_are_ready_shares_one_look_and_keeps_nobody_out(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let connect = async || PgConnection::connect_with(&db.connect_options()).await.expect("PostgreSQL answers");
    let (mut holder, mut watcher) = (connect().await, connect().await);
    for statement in ["begin", "lock table _sqlx_migrations in access exclusive mode"] {
        sqlx::query(statement).execute(&mut holder).await.expect("PostgreSQL answers");
    }
    let ask = |path: &'static str| t.send(Method::GET, path, None, &[], None);
    let began = Instant::now();
    timeout(Duration::from_millis(200), ask("/readyz")).await.map(|told| told.body).expect_err("it waits");
    let crowd = join_all((0..60).map(|_| ask("/readyz")));
    let beside = async {
        for _ in 0..5 {
            assert_eq!(ask("/healthz").await.status, StatusCode::OK);
        }
        let looks =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let looks: i64 = sqlx::query_scalar(looks).fetch_one(&mut watcher).await.expect("PostgreSQL answers");
        // One that is not answered ends after two seconds.
        assert!(looks <= 1 + i64::try_from(began.elapsed().as_secs() / 2).expect("few"), "{looks} at once");
        sqlx::query("rollback").execute(&mut holder).await.expect("PostgreSQL answers");
    };
    let (answers, ()) = tokio::join!(crowd, beside);
    for told in answers {
        assert!(told.body["status"].is_string() && told.body["postgres"].is_string(), "turned away: {}", told.body);
    }
    ready(&t).await;
    t.finish().await;
}
