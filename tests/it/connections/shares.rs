//! Nobody keeps others out: not by sending slowly, not by asking for much at once, not by opening many connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{Router, routing::get};
use octoco::processes::server::ConnectionTimeouts;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{AMPLE, LONG, Planted, SHORT, begin, client, ended, pause, rest, send, until};
use crate::harness::{Answer, Customer, TestApp, answer};

/// A call that has begun, and whose body does not come.
async fn slow(t: &TestApp, path: &str, customer: Option<&Customer>) -> TcpStream {
    begun(t, path, customer, 90).await
}

/// A call that says how much will come, and of it sends one byte.
async fn begun(t: &TestApp, path: &str, customer: Option<&Customer>, bytes: usize) -> TcpStream {
    let mut slow = TcpStream::connect(t.url.trim_start_matches("http://")).await.expect("the server listens");
    let token = customer.map(|customer| format!("Authorization: Bearer {}\r\n", t.token(customer))).unwrap_or_default();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: octoco\r\n{token}Idempotency-Key: k\r\nContent-Type: application/json\r\n"
    );
    send(&mut slow, &format!("{head}Content-Length: {bytes}\r\n\r\n{{")).await;
    slow
}

async fn genuine_webhook(t: &TestApp, number: usize) -> StatusCode {
    let body =
        json!({"type": "purchase", "event_type": "purchase.paid", "is_test": true, "number": number}).to_string();
    let signature = t.sim.sign(body.as_bytes());
    let request = client().post(format!("{}/v1/webhooks/revio", t.url)).header("X-Signature", signature);
    answer(request.body(body)).await.status
}

#[sqlx::test]
async fn slow_bodies_keep_no_webhook_out(db: PgPool) {
    let t = TestApp::new(db).await;
    let held = futures_util::future::join_all((0..160).map(|_| slow(&t, "/v1/webhooks/revio", None))).await;
    until("all are open", || t.app.metrics.http_connections.get() >= 160).await;
    for number in 0..40 {
        assert_eq!(genuine_webhook(&t, number).await, StatusCode::OK, "{number}");
    }
    drop(held);
    t.drive().await;
    t.finish().await;
}

/// It would be a place held for as long as a body may take, at no cost.
#[sqlx::test]
async fn a_body_that_is_declared_too_large_is_refused_before_it_comes(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let calls = [
        ("/v1/webhooks/revio", 300_000, None),
        ("/v1/auth/login", 16_385, None),
        ("/v1/deposits", 16_385, Some(&customer)),
    ];
    for (path, bytes, caller) in calls {
        let mut call = begun(&t, path, caller, bytes).await;
        let told = timeout(AMPLE, rest(&mut call)).await.expect("nothing is waited for");
        assert!(told.starts_with("HTTP/1.1 413") && told.contains("application/problem+json"), "{path}: {told}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn slow_calls_of_two_customers_stop_nobody_else(db: PgPool) {
    let t = TestApp::with(db, &[("REQUESTS_MAX", "4")]).await;
    let (two, other) = ([t.customer().await, t.customer().await], t.customer().await);
    let slow = (0..600).map(|index| slow(&t, "/v1/withdrawals", Some(&two[index % 2])));
    let mut held = futures_util::future::join_all(slow).await;
    assert_eq!(t.get(&other, "/v1/me").await.status, StatusCode::OK);
    assert_eq!(t.deposit(&other, 5_000, "k1").await.status, StatusCode::CREATED);
    assert_eq!(t.login(&other.email, crate::harness::PASSWORD).await.status, StatusCode::OK);
    assert_eq!(genuine_webhook(&t, 1).await, StatusCode::OK);
    assert_eq!(t.get(&two[0], "/v1/me").await.status, StatusCode::OK, "what is no slow body of theirs either");
    // So many of each customer's are waited for; the rest is told so, and their connections are free again.
    let mut last = held.pop().expect("the last of them");
    let told = rest(&mut last).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("under way from there"), "{told}");
    drop((held, last));
    t.drive().await;
    t.finish().await;
}

/// A caller's share is 64, an address's one half.
#[sqlx::test]
async fn one_caller_or_address_takes_not_all_places_and_waits_for_its_own(db: PgPool) {
    let t = TestApp::with(db, &[("REQUESTS_MAX", "200"), ("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let customer = t.customer().await;
    for (share, token, from) in [(64, Some(t.token(&customer)), None), (100, None, Some("2001:db8:7::1"))] {
        let (started, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (in_hand, waits) = (Arc::clone(&started), Arc::clone(&gate));
        let route = get(async move || {
            in_hand.fetch_add(1, Ordering::Relaxed);
            drop(waits.acquire().await);
            "answered"
        });
        let routes = Router::new().route("/planted/waits", route);
        let server = Planted::new(&t.app, routes, LONG, ConnectionTimeouts::default()).await;
        let call = async || {
            let mut request = client().get(format!("http://{}/planted/waits", server.address));
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            if let Some(from) = from {
                request = request.header("X-Forwarded-For", from);
            }
            request.send().await.expect("an answer").status()
        };
        let calls = futures_util::future::join_all((0..=share).map(|_| call()));
        let others = async {
            until("all of its share is in hand", || started.load(Ordering::Relaxed) == share).await;
            pause(SHORT).await;
            assert_eq!(started.load(Ordering::Relaxed), share, "one more than its share");
            assert_eq!(server.get("/v1/me").await.code(), "unauthenticated", "there is place for others");
            gate.add_permits(1);
        };
        let (answers, ()) = tokio::join!(calls, others);
        assert!(answers.iter().all(|status| *status == StatusCode::OK), "it was the last one's turn, too");
    }
    t.finish().await;
}

/// Sixteen megabytes are more than the buffers of both sides take.
#[sqlx::test]
async fn who_takes_large_answers_slowly_waits_for_its_own_places(db: PgPool) {
    let t = TestApp::with(db, &[("REQUESTS_MAX", "4")]).await;
    let large = Router::new()
        .route("/planted/large", get(async || vec![b'x'; 16 << 20]))
        .route("/planted/small", get(async || "small"));
    let server = Planted::new(&t.app, large, LONG, ConnectionTimeouts::default()).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut io = server.connect().await;
        send(&mut io, "GET /planted/large HTTP/1.1\r\nHost: octoco\r\nConnection: close\r\n\r\n").await;
        let head = begin(&mut io).await;
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 16777216\r\n"), "{head}");
        slow.push((head, io));
    }
    let mut next = server.connect().await;
    send(&mut next, "GET /planted/small HTTP/1.1\r\nHost: octoco\r\nConnection: close\r\n\r\n").await;
    pause(SHORT).await;
    assert_eq!(
        timeout(SHORT, next.peek(&mut [0])).await.ok().and_then(Result::ok),
        None,
        "half of the places are taken"
    );
    let (head, mut io) = slow.pop().expect("the last of them");
    let whole = head + &rest(&mut io).await;
    assert_eq!(whole.split_once("\r\n\r\n").map(|(_, body)| body.len()), Some(16 << 20), "nothing is missing");
    assert!(rest(&mut next).await.ends_with("small"), "its turn");
    drop(slow);
    t.finish().await;
}

/// A thousand at once where a few are taken: accepted, or told to come again, and then nothing was written.
#[sqlx::test]
async fn beyond_capacity_a_withdrawal_is_accepted_or_turned_away_and_nothing_between(db: PgPool) {
    let t =
        TestApp::with(db, &[("REQUESTS_MAX", "8"), ("CONNECTIONS_MAX", "2000"), ("TRUSTED_PROXIES", "127.0.0.0/8")])
            .await;
    let mut customers = Vec::new();
    for _ in 0..10 {
        customers.push(t.customer_with(1_000_000).await);
    }
    let keys: Vec<String> = (0..1_000).map(|number| format!("w{number}")).collect();
    let customer = |number: usize| &customers[number % customers.len()];
    // Each from an address of its own: those of one address wait for each other.
    let call = async |number: usize| {
        let (customer, from) = (customer(number), format!("10.0.{}.{}", number / 250, number % 250));
        let headers = [("Idempotency-Key", keys[number].as_str()), ("X-Forwarded-For", from.as_str())];
        let body = json!({"amount": 1_000, "currency": "ZAR", "bank_account_id": customer.bank_account_id});
        t.send(Method::POST, "/v1/withdrawals", Some(&t.token(customer)), &headers, Some(body)).await
    };
    let answers = futures_util::future::join_all((0..keys.len()).map(call)).await;
    let mut accepted = 0;
    for answer in &answers {
        match answer.status {
            StatusCode::ACCEPTED => accepted += 1,
            StatusCode::SERVICE_UNAVAILABLE => assert!(answer.headers.contains_key("retry-after"), "{}", answer.body),
            other => panic!("{other}: {}", answer.body),
        }
    }
    assert!((8..1_000).contains(&accepted), "{accepted} were accepted");
    let rows = "select count(*) from transactions where kind = 'withdrawal'";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(rows, accepted, "who was turned away wrote nothing");
    // Who comes again is not told of a first time.
    let turned_away = |answer: &Answer| answer.status == StatusCode::SERVICE_UNAVAILABLE;
    let number = answers.iter().position(turned_away).expect("one of them");
    let again = call(number).await;
    assert_eq!((again.status, again.replayed()), (StatusCode::ACCEPTED, false));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn one_address_opens_not_all_connections(db: PgPool) {
    let t = TestApp::with(db, &[("CONNECTIONS_MAX", "80")]).await;
    let timeouts = ConnectionTimeouts { first_request: 10 * LONG, ..ConnectionTimeouts::default() };
    let server = Planted::new(&t.app, Router::new(), LONG, timeouts).await;
    let mut held = Vec::new();
    for _ in 0..70 {
        held.push(server.connect().await);
    }
    until("all are open", || t.app.metrics.http_connections.get() == 70).await;
    assert_eq!(rest(&mut server.connect().await).await, "", "one too many is closed at once");
    until("it is counted", || ended(&t.app, "crowded") == 1).await;
    let elsewhere = TcpSocket::new_v4().expect("a socket");
    elsewhere.bind("127.0.0.2:0".parse().expect("an address")).expect("loopback is more than one address");
    let mut other = elsewhere.connect(server.address.parse().expect("an address")).await.expect("it listens");
    send(&mut other, "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    assert!(begin(&mut other).await.starts_with("HTTP/1.1 200"), "others are let in");
    held.pop();
    until("there is place again", || t.app.metrics.http_connections.get() == 70).await;
    let mut again = server.connect().await;
    send(&mut again, "GET /healthz HTTP/1.1\r\nHost: octoco\r\n\r\n").await;
    assert!(begin(&mut again).await.starts_with("HTTP/1.1 200"));
    t.finish().await;
}

/// Who has no token is not asked for the body.
#[sqlx::test]
async fn a_call_without_a_token_is_refused_before_its_body(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut stranger = slow(&t, "/v1/withdrawals", None).await;
    let told = begin(&mut stranger).await;
    assert!(told.starts_with("HTTP/1.1 401"), "{told}");
    let large = t.send(Method::POST, "/v1/withdrawals", None, &[], Some(json!("x".repeat(20_000)))).await;
    assert_eq!(large.code(), "unauthenticated");
    t.finish().await;
}
