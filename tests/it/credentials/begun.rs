//! What the old password began and the new one must end, though nothing of it was done yet.

use chrono::TimeDelta;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use super::{NEW, change, forgot, link_for, reset, sign_in};
use crate::harness::{Answer, Customer, PASSWORD, TestApp};
use crate::overtaken::until_waiting;

const THIEF: &str = "thief@example.com";

async fn ask_for(t: &TestApp, token: &str, new_email: &str) -> Answer {
    let body = json!({"new_email": new_email, "password": PASSWORD});
    t.send(Method::POST, "/v1/me/email", Some(token), &[], Some(body)).await
}

/// What is left of changes of an e-mail that were asked for, and of the mails about them.
async fn left(t: &TestApp, customer: &Customer) -> (i64, Vec<String>) {
    let changes = sqlx::query_scalar("select count(*) from email_changes where user_id = $1").bind(customer.id);
    let mails =
        sqlx::query_scalar("select state from mails where kind in ('email_change', 'password_reset') order by state");
    let changes = changes.fetch_one(&t.app.db).await.expect("a number");
    (changes, mails.fetch_all(&t.app.db).await.expect("states"))
}

async fn email(t: &TestApp, customer: &Customer) -> String {
    let email = sqlx::query_scalar("select email from users where id = $1").bind(customer.id);
    email.fetch_one(&t.app.db).await.expect("an e-mail")
}

/// The mail server is away for a while, or the worker is: the link would be made over the new password.
#[sqlx::test]
async fn no_link_that_the_old_password_asked_for_goes_out_after_it_was_changed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.drive().await;
    let (thief, _) = sign_in(&t, &customer.email, PASSWORD).await;
    assert_eq!(ask_for(&t, &thief, THIEF).await.status, StatusCode::ACCEPTED);
    assert_eq!(forgot(&t, &customer.email).await.status, StatusCode::ACCEPTED);
    let changed = change(&t, &t.token(&customer), PASSWORD, NEW).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
    t.drive().await;
    assert_eq!(t.mailbox.to(THIEF).len(), 0, "the link that takes the account");
    assert_eq!(left(&t, &customer).await, (0, vec!["dropped".to_owned(), "dropped".to_owned()]));
    assert_eq!(email(&t, &customer).await, customer.email);
    let kept: i64 = sqlx::query_scalar("select count(*) from mails where address is not null")
        .fetch_one(&t.app.db)
        .await
        .expect("a number");
    assert_eq!(kept, 0, "no address is kept once nothing more is sent there");
    // What the new one asks for goes out.
    let token = link_for(&t, &customer.email).await;
    assert_eq!(reset(&t, &token, "yet another horse yet another staple").await.status, StatusCode::NO_CONTENT);
    t.finish().await;
}

#[sqlx::test]
async fn no_link_that_the_old_password_asked_for_goes_out_after_it_was_reset(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (thief, _) = sign_in(&t, &customer.email, PASSWORD).await;
    let token = link_for(&t, &customer.email).await;
    assert_eq!(ask_for(&t, &thief, THIEF).await.status, StatusCode::ACCEPTED);
    assert_eq!(reset(&t, &token, NEW).await.status, StatusCode::NO_CONTENT);
    t.drive().await;
    assert_eq!(t.mailbox.to(THIEF).len(), 0, "the link that takes the account");
    assert_eq!(left(&t, &customer).await, (0, vec!["dropped".to_owned(), "sent".to_owned()]));
    assert_eq!(email(&t, &customer).await, customer.email);
    t.finish().await;
}

/// One that was asked for while the password changed does not follow the change.
#[sqlx::test]
async fn whoever_has_proven_a_password_that_is_changed_meanwhile_does_nothing_by_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let token = t.token(&customer);
    let post = async |path: &str, body| t.send(Method::POST, path, Some(&token), &[], Some(body)).await;
    let mut tx = t.app.db.begin().await.expect("a transaction");
    let other = "update users set password_hash = 'another' where id = $1";
    sqlx::query(other).bind(customer.id).execute(&mut *tx).await.expect("PostgreSQL answers");
    let changed = async {
        until_waiting(&t, 3).await;
        tx.commit().await.expect("committed");
    };
    let shown = json!({"password": PASSWORD});
    let (asked, begun, stepped_up, ()) = tokio::join!(
        ask_for(&t, &token, THIEF),
        post("/v1/me/totp", shown.clone()),
        post("/v1/auth/step-up", shown.clone()),
        changed
    );
    for (what, answer) in [("e-mail", asked), ("second factor", begun), ("step-up", stepped_up)] {
        assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"), "{what}");
    }
    assert_eq!(left(&t, &customer).await, (0, Vec::new()));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_second_factor_that_the_old_password_began_is_not_enrolled_after_it_was_changed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (thief, _) = sign_in(&t, &customer.email, PASSWORD).await;
    let body = json!({"password": PASSWORD});
    let begun = t.send(Method::POST, "/v1/me/totp", Some(&thief), &[], Some(body)).await;
    assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
    t.advance(TimeDelta::seconds(1));
    let changed = change(&t, &t.token(&customer), PASSWORD, NEW).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
    let code = json!({"code": "000000"});
    let confirmed = t.send(Method::POST, "/v1/me/totp/confirm", Some(&t.token(&customer)), &[], Some(code)).await;
    assert_eq!((confirmed.status, confirmed.code()), (StatusCode::CONFLICT, "stale_state"), "nothing was begun");
    t.finish().await;
}
