//! Waiting without polling: who waits hears of a change, is answered in the end, takes no place of anybody else's, and keeps none.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::future::{join_all, select_all};
use octoco::money::transactions::{self, Hold};
use octoco::processes::server::Server;
use reqwest::{Method, StatusCode};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connections::until;
use crate::harness::{Answer, Customer, TestApp, answer, serve};

/// Less than any wait here: who is answered by then was woken.
const SOON: Duration = Duration::from_secs(15);
const OPEN: &str = "initiated,awaiting_payment";

fn path(id: Uuid, wait: u64, state_not: &str) -> String {
    format!("/v1/transactions/{id}?wait={wait}&state_not={state_not}")
}

fn polls(t: &TestApp) -> i64 {
    t.app.metrics.waiting.with_label_values(&["poll"]).get()
}

/// What the call is answered while the other thing is done, once the caller waits; in less time than it would wait.
async fn woken_by(t: &TestApp, customer: &Customer, path: &str, done: impl Future<Output = ()>) -> Answer {
    let act = async {
        until("somebody waits", || polls(t) == 1).await;
        done.await;
    };
    let both = async { tokio::join!(t.get(customer, path), act).0 };
    timeout(SOON, both).await.expect("it is answered before the wait is over")
}

#[sqlx::test]
async fn a_long_poll_is_answered_when_the_state_is_another_one_and_at_once_when_it_is_already(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    let paid = woken_by(&t, &customer, &path(deposit.id(), 30, OPEN), t.pay(&deposit)).await;
    assert_eq!((paid.status, &paid.body["state"]), (StatusCode::OK, &"completed".into()), "{}", paid.body);
    assert!(paid.headers.contains_key("etag") && paid.body["states"].is_array(), "as without a wait");
    let started = Instant::now();
    let again = t.get(&customer, &path(deposit.id(), 30, OPEN)).await;
    assert_eq!(again.body["state"], "completed");
    assert!(started.elapsed() < SOON, "at once");
    let same = t.get(&customer, &path(deposit.id(), 1, "completed")).await;
    assert_eq!((same.status, &same.body["state"]), (StatusCode::OK, &"completed".into()), "the time is over");
    assert_eq!(polls(&t), 0);
    t.finish().await;
}

/// What another process did is found by looking, a hold too: it is a state to its owner.
#[sqlx::test]
async fn a_long_poll_hears_of_what_this_process_did_not_do(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    let row = transactions::find(&t.app, deposit.id()).await.expect("it is there");
    let hold = async {
        transactions::hold(&t.app, &row, Hold::GaveUp, "for the test").await.expect("it can be held");
    };
    let held = woken_by(&t, &customer, &path(deposit.id(), 30, OPEN), hold).await;
    assert_eq!(held.body["state"], "under_review");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn what_cannot_be_waited_for_is_refused_by_name(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    for (query, field) in [
        ("wait=0&state_not=initiated", "wait"),
        ("wait=31&state_not=initiated", "wait"),
        ("wait=soon&state_not=initiated", "wait"),
        ("wait=&state_not=initiated", "wait"),
        ("state_not=initiated", "wait"),
        ("wait=5", "state_not"),
        ("wait=5&state_not=", "state_not"),
        ("wait=5&state_not=initiated,done", "state_not"),
        ("wait=5&wait=6&state_not=initiated", "wait"),
        ("wait=5&state=initiated", "state"),
    ] {
        let wrong = t.get(&customer, &format!("/v1/transactions/{}?{query}", deposit.id())).await;
        assert_eq!((wrong.status, wrong.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{query}");
        assert_eq!(wrong.body["errors"][0]["field"], field, "{query}: {}", wrong.body);
    }
    let theirs = t.get(&other, &path(deposit.id(), 30, OPEN)).await;
    assert_eq!(theirs.status, StatusCode::NOT_FOUND);
    t.finish().await;
}

#[sqlx::test]
async fn a_wait_ends_with_the_session_and_with_the_token(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    let path = path(deposit.id(), 30, OPEN);
    let expire = async { t.advance(TimeDelta::minutes(16)) };
    let expired = woken_by(&t, &customer, &path, expire).await;
    assert_eq!((expired.status, expired.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    let token = t.token(&customer);
    let leave = async {
        let path = format!("/v1/auth/sessions/{}", customer.session_id);
        let ended = t.send(Method::DELETE, &path, Some(&token), &[], None).await;
        assert!(ended.status.is_success(), "{}", ended.body);
    };
    let ended = woken_by(&t, &customer, &path, leave).await;
    assert_eq!((ended.status, ended.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    t.drive().await;
    t.finish().await;
}

/// With one request in hand at most and many who wait, others are served; with too many who wait, the last are told so.
#[sqlx::test]
async fn those_who_wait_take_no_place_of_others_and_keep_none(db: PgPool) {
    let t = TestApp::with(db, &[("REQUESTS_MAX", "1"), ("CONNECTIONS_MAX", "240")]).await;
    let (customer, second, third) = (t.customer().await, t.customer().await, t.customer().await);
    let mut paths = Vec::new();
    for customer in [&customer, &second] {
        let deposit = t.deposit(customer, 5_000, "d1").await;
        paths.push(path(deposit.id(), 30, OPEN));
    }
    // One after the other: there is one place for what is in hand.
    let mut waiting = Vec::new();
    for number in 0..120 {
        let (who, path) = if number < 100 { (&customer, &paths[0]) } else { (&second, &paths[1]) };
        let mut poll = Box::pin(t.get(who, path));
        let begun = until("it waits", || polls(&t) == number + 1);
        tokio::select! { early = &mut poll => panic!("{} {}", early.status, early.body), () = begun => {} }
        waiting.push(poll);
    }
    let own = t.get(&customer, &paths[0]).await;
    assert_eq!((own.status, own.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(own.headers.contains_key("retry-after"));
    let any = t.get(&second, &paths[1]).await;
    assert_eq!((any.status, any.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert!(any.headers.contains_key("retry-after"));
    assert_eq!(t.get(&third, "/v1/me").await.status, StatusCode::OK);
    assert_eq!(t.deposit(&third, 5_000, "d1").await.status, StatusCode::CREATED);
    drop(waiting);
    until("who went away has left", || polls(&t) == 0).await;
    t.finish().await;
}

#[sqlx::test]
async fn a_stop_answers_everybody_who_waits_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("http://{}{}", listener.local_addr().expect("bound"), path(deposit.id(), 30, OPEN));
    let stop = CancellationToken::new();
    serve(listener, Server::new(t.app.clone(), stop.clone()));
    let polled = join_all((0..40).map(|_| answer(t.http.get(&url).bearer_auth(t.token(&customer)))));
    let act = async {
        until("all wait", || polls(&t) == 40).await;
        stop.cancel();
    };
    let (answers, ()) = timeout(SOON, async { tokio::join!(polled, act) }).await.expect("before the wait is over");
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK && answer.body["state"] == "awaiting_payment"));
    t.finish().await;
}

/// Many at once on many rows: every one of them hears of its own row, and only then.
#[sqlx::test]
async fn every_one_of_many_is_woken_by_its_own_row_alone(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut customers = Vec::new();
    for _ in 0..4 {
        let customer = t.customer().await;
        let deposit = t.deposit(&customer, 5_000, "d1").await;
        customers.push((customer, deposit));
    }
    let polls_of = |index: usize| {
        let (customer, deposit) = &customers[index];
        let path = path(deposit.id(), 30, OPEN);
        let t = &t;
        (0..50).map(move |_| path.clone()).map(move |path| async move { t.get(customer, &path).await })
    };
    let mut all: Vec<_> = (0..4).flat_map(polls_of).map(Box::pin).collect();
    let begun = until("all wait", || polls(&t) == 200);
    tokio::select! { (early, ..) = select_all(&mut all) => panic!("{}", early.body), () = begun => {} }
    let others = all.split_off(50);
    let own = join_all(all);
    let (woken, ()) = timeout(SOON, async { tokio::join!(own, t.pay(&customers[0].1)) }).await.expect("they are woken");
    assert!(woken.iter().all(|answer| answer.body["state"] == "completed" && answer.id() == customers[0].1.id()));
    assert_eq!(polls(&t), 150, "nobody else was woken");
    drop(others);
    t.finish().await;
}
