//! An ended session and the access tokens that it gave out: refused here at once, everywhere within a minute.

use chrono::TimeDelta;
use octoco::platform::access::{AGE_MAX, Access, PERIOD};
use octoco::platform::clock::Clock;
use reqwest::{Method, StatusCode};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Customer, PASSWORD, TestApp};

async fn me(t: &TestApp, token: &str) -> StatusCode {
    t.send(Method::GET, "/v1/me", Some(token), &[], None).await.status
}

async fn end(t: &TestApp, customer: &Customer) {
    let path = format!("/v1/auth/sessions/{}", customer.session_id);
    let ended = t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.body);
}

#[sqlx::test]
async fn the_token_of_a_revoked_session_is_refused_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    assert_eq!(me(&t, &customer.token).await, StatusCode::OK);
    end(&t, &customer).await;
    assert_eq!(me(&t, &customer.token).await, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&t, &other.token).await, StatusCode::OK);
    t.advance(PERIOD);
    assert_eq!(me(&t, &customer.token).await, StatusCode::UNAUTHORIZED, "after the list was read again too");
    t.finish().await;
}

/// PostgreSQL's clock ran ahead, and was set right.
#[sqlx::test]
async fn a_list_that_was_read_in_the_future_is_read_again(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let (elsewhere, now) = (Access::new(db), t.app.clock.now());
    assert!(!elsewhere.has_ended(customer.session_id, now + TimeDelta::minutes(10)).await.expect("it is known"));
    end(&t, &customer).await;
    assert!(elsewhere.has_ended(customer.session_id, now).await.expect("it is known"));
}

#[sqlx::test]
async fn another_process_refuses_it_within_a_minute(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let elsewhere = Access::new(db);
    let refused = async || elsewhere.has_ended(customer.session_id, t.app.clock.now()).await.expect("it is known");
    assert!(!refused().await);
    end(&t, &customer).await;
    assert!(!refused().await, "its list is fresh");
    t.advance(PERIOD);
    assert!(refused().await);
    t.advance(TimeDelta::minutes(14));
    assert!(refused().await, "for as long as a token of it may live");
    t.finish().await;
}

#[sqlx::test]
async fn old_knowledge_serves_for_a_while_and_then_nobody_is_let_in(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let options = db.connect_options().as_ref().clone();
    let own = sqlx::postgres::PgPoolOptions::new().connect_with(options).await.expect("PostgreSQL answers");
    let elsewhere = Access::new(own.clone());
    let now = t.app.clock.now();
    assert!(elsewhere.has_ended(customer.session_id, now).await.is_ok());
    own.close().await;
    assert!(elsewhere.has_ended(customer.session_id, now + PERIOD).await.is_ok());
    let late = elsewhere.has_ended(customer.session_id, now + AGE_MAX).await.expect_err("the list is too old");
    assert_eq!(late.code(), "unavailable");
    t.finish().await;
}

#[sqlx::test]
async fn ending_all_other_sessions_leaves_this_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let second = t.login(&customer.email, PASSWORD).await.body["access_token"].as_str().expect("a token").to_owned();
    let ended = t.send(Method::DELETE, "/v1/auth/sessions", Some(&customer.token), &[], None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!((me(&t, &customer.token).await, me(&t, &second).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    t.finish().await;
}

#[sqlx::test]
async fn a_session_that_ends_while_the_list_is_read_has_ended(db: PgPool) {
    let (access, ended, now) = (Access::new(db.clone()), Uuid::now_v7(), Clock::system().now());
    let mut reader = db.begin().await.expect("a transaction");
    sqlx::query("lock table sessions in access exclusive mode").execute(&mut *reader).await.expect("locked");
    let meanwhile = async {
        access.end(ended);
        reader.commit().await.expect("committed");
    };
    // In this order: the first is polled until it waits for the table.
    let (read, ()) = tokio::join!(access.refresh(now), meanwhile);
    read.expect("the list");
    assert!(access.has_ended(ended, now).await.expect("known"));
}
