//! Acts of staff and machines with an `Idempotency-Key`: done once, answered again, and only to whoever may.

use chrono::TimeDelta;
use futures_util::future::join_all;
use octoco::identity::repeats;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Customer, TestApp};
use crate::service_accounts;

async fn act(t: &TestApp, staff: &Customer, path: &str, key: &str, body: Value) -> Answer {
    t.send(Method::POST, path, Some(&t.token(staff)), &[("Idempotency-Key", key)], Some(body)).await
}

async fn acts(t: &TestApp, action: &str) -> i64 {
    sqlx::query_scalar("select count(*) from audit_log where action = $1")
        .bind(action)
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

fn body(reason: &str) -> Value {
    json!({"reason": reason})
}

#[sqlx::test]
async fn the_same_call_with_the_same_key_is_done_once_and_answered_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let (finance, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let first = act(&t, &finance, &path, "k1", body("looks odd")).await;
    assert_eq!((first.status, first.replayed()), (StatusCode::OK, false), "{}", first.body);
    let again = act(&t, &finance, &path, "k1", body("looks odd")).await;
    assert_eq!((again.status, again.replayed(), &again.body), (first.status, true, &first.body));
    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    let other = act(&t, &finance, &path, "k1", body("another reason")).await;
    assert_eq!((other.status, other.code()), (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"));
    let elsewhere = act(&t, &finance, &format!("/v1/admin/users/{}/close", customer.id), "k1", body("looks odd")).await;
    assert_eq!(elsewhere.code(), "idempotency_key_reused", "another route is another call");
    let bad = act(&t, &finance, &path, "two words", body("looks odd")).await;
    assert_eq!((bad.code(), &bad.body["errors"][0]["field"]), ("invalid_request", &json!("Idempotency-Key")));
    // What came from another person is that person's.
    let second = t.staff(Role::Finance).await;
    let theirs = act(&t, &second, &path, "k1", body("looks odd")).await;
    assert_eq!((theirs.status, theirs.replayed()), (StatusCode::OK, false));
    let lifted = format!("/v1/admin/users/{}/unfreeze", customer.id);
    let asked = t.send(Method::POST, &lifted, Some(&t.token(&finance)), &[("Idempotency-Key", "k2")], None).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    let again = t.send(Method::POST, &lifted, Some(&t.token(&finance)), &[("Idempotency-Key", "k2")], None).await;
    assert_eq!((again.replayed(), &again.body), (true, &asked.body));
    assert_eq!(again.headers["location"], format!("/v1/admin/requests/{}", asked.id()));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn of_many_at_once_one_acts(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let path = "/v1/admin/reconciliation/runs";
    let run = json!({"kind": "manual", "since": "2026-03-01"});
    let answers = join_all((0..12).map(|_| act(&t, &finance, path, "k1", run.clone()))).await;
    let begun: Vec<&Answer> = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).collect();
    assert!(begun.iter().filter(|answer| !answer.replayed()).count() == 1, "one of them acts");
    assert!(begun.iter().all(|answer| answer.id() == begun[0].id()));
    for waiting in answers.iter().filter(|answer| answer.status != StatusCode::ACCEPTED) {
        assert_eq!((waiting.status, waiting.code()), (StatusCode::CONFLICT, "request_in_progress"));
        assert!(waiting.headers.contains_key("retry-after"));
    }
    let runs: i64 =
        sqlx::query_scalar("select count(*) from reconciliation_runs").fetch_one(&t.app.db).await.expect("answers");
    assert_eq!(runs, 1);
}

#[sqlx::test]
async fn a_refusal_gives_the_key_back_and_a_repeat_is_answered_only_to_whoever_may(db: PgPool) {
    let t = TestApp::new(db).await;
    let (finance, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let wrong = act(&t, &finance, &path, "k1", body("")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(act(&t, &finance, &path, "k1", body("looks odd")).await.status, StatusCode::OK, "nothing was done");
    let before = acts(&t, "staff.called").await;
    assert!(act(&t, &finance, &path, "k1", body("looks odd")).await.replayed());
    assert_eq!(acts(&t, "staff.called").await, before + 1, "a repeat is on record");
    t.give_role(finance.id, Role::Support).await;
    let after = act(&t, &finance, &path, "k1", body("looks odd")).await;
    assert_eq!((after.status, after.code()), (StatusCode::FORBIDDEN, "forbidden"));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_call_that_was_cut_off_is_taken_over_and_answers_are_encrypted_and_end(db: PgPool) {
    let t = TestApp::new(db).await;
    let (finance, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let first = act(&t, &finance, &path, "k1", body("looks odd")).await;
    let kept: Vec<u8> =
        sqlx::query_scalar("select answer from idempotent_calls").fetch_one(&t.app.db).await.expect("an answer");
    assert!(!String::from_utf8_lossy(&kept).contains("freeze"), "it is encrypted");
    // As a process leaves it that dies in the middle.
    sqlx::query("update idempotent_calls set answer = null, key_id = null").execute(&t.app.db).await.expect("done");
    assert_eq!(act(&t, &finance, &path, "k1", body("looks odd")).await.code(), "request_in_progress");
    t.advance(TimeDelta::seconds(61));
    let taken_over = act(&t, &finance, &path, "k1", body("looks odd")).await;
    assert_eq!((taken_over.status, taken_over.replayed()), (StatusCode::OK, false), "{}", taken_over.body);
    assert_eq!(taken_over.body["data"].as_array().map(Vec::len), first.body["data"].as_array().map(Vec::len));
    assert!(act(&t, &finance, &path, "k1", body("looks odd")).await.replayed());
    t.advance(TimeDelta::days(8));
    assert!(!repeats::prune(&t.app).await.expect("PostgreSQL answers"));
    let left: i64 =
        sqlx::query_scalar("select count(*) from idempotent_calls").fetch_one(&t.app.db).await.expect("answers");
    assert_eq!(left, 0);
    t.drive().await;
    t.finish().await;
}

/// As a process leaves it that dies before it has kept the answer, a minute later.
async fn cut_off(t: &TestApp) {
    sqlx::query("update idempotent_calls set answer = null, key_id = null").execute(&t.app.db).await.expect("done");
    t.advance(TimeDelta::seconds(61));
}

async fn rows(t: &TestApp, count: &'static str) -> i64 {
    sqlx::query_scalar(count).fetch_one(&t.app.db).await.expect("a number")
}

#[sqlx::test]
async fn an_endpoint_that_a_call_made_before_it_was_cut_off_is_not_made_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let (path, new) = (
        "/v1/admin/webhook-endpoints",
        json!({"url": "https://hooks.example.com/", "event_types": ["balance.updated"]}),
    );
    let first = act(&t, &admin, path, "k1", new.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
    cut_off(&t).await;
    let again = act(&t, &admin, path, "k1", new.clone()).await;
    assert_eq!((again.status, again.replayed(), again.id()), (StatusCode::CREATED, false, first.id()));
    assert_ne!(again.body["secret"], first.body["secret"], "that one was shown to nobody");
    let made = "select count(*) from outgoing_endpoints e join outgoing_secrets s on s.endpoint_id = e.id";
    assert_eq!((rows(&t, made).await, acts(&t, "webhook_endpoint.created").await), (1, 1));

    // The present secret is in use, and signs on beside the new one, however often the call is taken over.
    let in_use = "select md5(string_agg(secret, '')) from outgoing_secrets where expires_at is not null";
    let signing = async || -> Option<String> { sqlx::query_scalar(in_use).fetch_one(&t.app.db).await.expect("a hash") };
    let rotate = format!("{path}/{}/rotate-secret", first.id());
    let rotated = act(&t, &admin, &rotate, "k2", json!({})).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.body);
    let before = signing().await;
    for _ in 0..2 {
        cut_off(&t).await;
        let again = act(&t, &admin, &rotate, "k2", json!({})).await;
        assert_eq!((again.status, again.replayed()), (StatusCode::OK, false), "{}", again.body);
        assert_eq!(again.body["old_secret_until"], rotated.body["old_secret_until"]);
        assert_ne!(again.body["secret"], rotated.body["secret"]);
        assert_eq!(signing().await, before);
    }
    assert_eq!(rows(&t, "select count(*) from outgoing_secrets").await, 2);
    // Somebody else has rotated since: it is no repeat's to rotate once more.
    let other = act(&t, &admin, &rotate, "k3", json!({})).await;
    assert_eq!(other.status, StatusCode::OK, "{}", other.body);
    let before = signing().await;
    cut_off(&t).await;
    for (path, key, body) in [(rotate.as_str(), "k2", json!({})), (path, "k1", new)] {
        let late = act(&t, &admin, path, key, body).await;
        assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, "stale_state"), "{path}");
    }
    assert_eq!(signing().await, before);
    t.finish().await;
}

#[sqlx::test]
async fn an_account_and_keys_that_a_call_made_before_it_was_cut_off_are_not_made_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let path = "/v1/admin/service-accounts";
    let new = json!({"name": "Orders", "scopes": ["transactions.read"]});
    let account = act(&t, &admin, path, "k1", new.clone()).await;
    cut_off(&t).await;
    let again = act(&t, &admin, path, "k1", new).await;
    assert_eq!((again.status, &again.body), (StatusCode::CREATED, &account.body));
    let works = async |key: &Answer| {
        let key = key.body["key"].as_str().expect("a key").to_owned();
        t.send(Method::GET, "/v1/admin/transactions", Some(&key), &[], None).await.status == StatusCode::OK
    };
    let adding = format!("{path}/{}/keys", account.id());
    let added = act(&t, &admin, &adding, "k2", json!({})).await;
    cut_off(&t).await;
    let again = act(&t, &admin, &adding, "k2", json!({})).await;
    assert_eq!((again.status, again.id()), (StatusCode::CREATED, added.id()), "{}", again.body);
    assert_eq!((works(&added).await, works(&again).await), (false, true), "the one that was shown");
    let rotating = format!("/v1/admin/service-account-keys/{}/rotate", again.id());
    let rotated = act(&t, &admin, &rotating, "k3", json!({"overlap_hours": 0})).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.body);
    cut_off(&t).await;
    let newest = act(&t, &admin, &rotating, "k3", json!({"overlap_hours": 0})).await;
    assert_eq!((newest.status, newest.id()), (StatusCode::OK, rotated.id()), "{}", newest.body);
    assert_eq!((works(&rotated).await, works(&newest).await), (false, true), "the one that was shown");
    let made = "select (select count(*) from service_accounts) * 10 + count(*) from service_account_keys";
    assert_eq!(rows(&t, made).await, 12, "one account and two keys");
    // One that is in use is not taken from whoever uses it.
    cut_off(&t).await;
    for _ in 0..2 {
        let late = act(&t, &admin, &rotating, "k3", json!({"overlap_hours": 0})).await;
        assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, "stale_state"), "{}", late.body);
        assert!(works(&newest).await);
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_run_and_a_test_event_that_a_call_made_before_it_was_cut_off_are_not_made_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let endpoint = json!({"url": "https://hooks.example.com/", "event_types": ["balance.updated"]});
    let endpoint = act(&t, &admin, "/v1/admin/webhook-endpoints", "k1", endpoint).await;
    let test = format!("/v1/admin/webhook-endpoints/{}/test", endpoint.id());
    for (path, body) in [("/v1/admin/reconciliation/runs", json!({"kind": "manual"})), (&test, json!({}))] {
        let first = act(&t, &admin, path, path, body.clone()).await;
        assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.body);
        cut_off(&t).await;
        let again = act(&t, &admin, path, path, body).await;
        assert_eq!((again.status, again.replayed(), again.id()), (StatusCode::ACCEPTED, false, first.id()), "{path}");
    }
    let made = "select (select count(*) from reconciliation_runs) * 10 + count(*) from outgoing_deliveries";
    assert_eq!(rows(&t, made).await, 11);
}

/// Whether it acted before it failed nobody knows: its repeat is the same call, and need not wait.
#[sqlx::test]
async fn a_call_that_failed_keeps_its_claim_and_goes_on_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let (path, new) = ("/v1/admin/service-accounts", json!({"name": "Orders", "scopes": ["transactions.read"]}));
    let rename = async |statement: &'static str| {
        sqlx::query(statement).execute(&t.app.db).await.expect("PostgreSQL answers");
    };
    rename("alter table service_accounts rename to gone").await;
    let failed = act(&t, &admin, path, "k1", new.clone()).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{}", failed.body);
    rename("alter table gone rename to service_accounts").await;
    let claim: uuid::Uuid =
        sqlx::query_scalar("select id from idempotent_calls").fetch_one(&t.app.db).await.expect("it is kept");
    let done = act(&t, &admin, path, "k1", new).await;
    assert_eq!((done.status, done.id()), (StatusCode::CREATED, claim), "{}", done.body);
    t.finish().await;
}

#[sqlx::test]
async fn a_machines_act_is_done_once_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let machine = async || {
        let account = service_accounts::account(&t, &admin, &["webhook_endpoints.manage"]).await;
        let key = async || service_accounts::key(&t, &admin, account).await.1;
        (key().await, key().await)
    };
    let ((one, other_key), (stranger, _)) = (machine().await, machine().await);
    let post = async |by: &str, path: &str, key: &str, body: Option<Value>| {
        t.send(Method::POST, path, Some(by), &[("Idempotency-Key", key)], body).await
    };
    let endpoints = "/v1/admin/webhook-endpoints";
    let new = json!({"url": "https://hooks.example.com/", "event_types": ["balance.updated"]});
    let first = post(&one, endpoints, "k1", Some(new.clone())).await;
    assert_eq!((first.status, first.replayed()), (StatusCode::CREATED, false), "{}", first.body);
    for key in [&one, &other_key] {
        let again = post(key, endpoints, "k1", Some(new.clone())).await;
        assert_eq!((again.status, again.replayed(), &again.body), (first.status, true, &first.body));
    }
    let changed = json!({"url": "https://hooks.example.com/2", "event_types": ["balance.updated"]});
    assert_eq!(post(&one, endpoints, "k1", Some(changed)).await.code(), "idempotency_key_reused");
    assert_eq!(post(&one, endpoints, "two words", Some(new.clone())).await.code(), "invalid_request");
    let count = async || t.get(&admin, endpoints).await.body["data"].as_array().map(Vec::len);
    assert_eq!(count().await, Some(1));
    assert!(!post(&stranger, endpoints, "k1", Some(new.clone())).await.replayed(), "a key is the account's");
    assert_eq!(count().await, Some(2));
    // A second rotation would take the secret away that others still verify with.
    let rotate = format!("{endpoints}/{}/rotate-secret", first.id());
    let rotated = post(&one, &rotate, "k2", Some(json!({}))).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.body);
    let again = post(&one, &rotate, "k2", Some(json!({}))).await;
    assert_eq!((again.replayed(), &again.body), (true, &rotated.body));
    // Who is nobody, or may not, claims nothing.
    let wrong = format!("octoco_sk_{}", "0".repeat(72));
    assert_eq!(post(&wrong, endpoints, "k3", Some(new.clone())).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&one, "/v1/admin/exports", "k3", Some(json!({"format": "csv"}))).await.code(), "forbidden");
    assert_eq!(post(&one, endpoints, "k3", Some(new)).await.status, StatusCode::CREATED);
    t.finish().await;
}

#[sqlx::test]
async fn with_a_key_a_body_that_is_too_large_is_refused_where_none_is_taken(db: PgPool) {
    let t = TestApp::new(db).await;
    let (finance, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let path = format!("/v1/admin/users/{}/unfreeze", customer.id);
    let large = act(&t, &finance, &path, "k1", body(&"x".repeat(17_000))).await;
    assert_eq!((large.status, large.code()), (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"));
    t.finish().await;
}

/// A machine's is read here, not before it is known who it is.
#[sqlx::test]
async fn a_machines_body_that_breaks_off_is_no_large_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let account = service_accounts::account(&t, &admin, &["webhook_endpoints.manage"]).await;
    let (_, key) = service_accounts::key(&t, &admin, account).await;
    let host = t.url.trim_start_matches("http://");
    let head = format!(
        "POST /v1/admin/webhook-endpoints HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nIdempotency-Key: k\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    let large = format!("{:x}\r\n{}\r\n0\r\n\r\n", 17_000, "x".repeat(17_000));
    for (sent, told) in [("1\r\n{\r\nzz\r\n", "invalid_json"), (large.as_str(), "payload_too_large")] {
        let mut stream = TcpStream::connect(host).await.expect("it listens");
        stream.write_all(format!("{head}{sent}").as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains(told), "{answer}");
    }
    t.finish().await;
}

/// The library reads the last coding alone; whoever passed it on may have read another one.
#[sqlx::test]
async fn a_body_in_a_coding_that_is_not_known_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let host = t.url.trim_start_matches("http://");
    for (codings, told) in [
        ("Transfer-Encoding: gzip, chunked\r\n", "HTTP/1.1 400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "HTTP/1.1 400"),
        ("Transfer-Encoding: chunked\r\n", "HTTP/1.1 401"),
    ] {
        let head = format!(
            "POST /v1/auth/login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{codings}Connection: close\r\n\r\n"
        );
        let body = r#"{"email":"a@example.com","password":"nobody knows it"}"#;
        let mut stream = TcpStream::connect(host).await.expect("it listens");
        let sent = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        stream.write_all(sent.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(told), "{codings}: {answer}");
    }
    t.finish().await;
}
