//! Proving an e-mail by the link that was sent to it, and what depends on it.

use chrono::TimeDelta;
use octoco::platform::rate_limits::{Answer as VelocityLimit, Class};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, PASSWORD, TestApp};

const UNDER_ATTACK: [(&str, &str); 2] = [("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")];
const REQUIRED: [(&str, &str); 1] = [("REQUIRE_VERIFIED_EMAIL", "yes")];

async fn verify(t: &TestApp, token: &str) -> Answer {
    t.send(Method::POST, "/v1/auth/verify-email", None, &[], Some(json!({"token": token}))).await
}

fn is_refused(answer: &Answer) -> bool {
    answer.status == StatusCode::BAD_REQUEST && answer.body["errors"][0]["field"] == "token"
}

/// Registered and signed in, with nothing else.
async fn newcomer(t: &TestApp, email: &str) -> (String, Value) {
    let body = json!({"email": email, "password": PASSWORD, "full_name": "Anna"});
    let registered = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.body);
    let token = t.login(email, PASSWORD).await.body["access_token"].as_str().expect("a token").to_owned();
    (token, registered.body)
}

#[sqlx::test]
async fn a_newcomer_is_sent_a_link_that_verifies_the_email_once(db: PgPool) {
    let t = TestApp::with(db, &[("FRONTEND_URL", "https://app.example.com/money/")]).await;
    let (token, registered) = newcomer(&t, "anna@example.com").await;
    assert_eq!(registered["email_verified_at"], Value::Null);
    t.drive().await;
    let mails = t.mailbox.to("anna@example.com");
    assert_eq!(mails.len(), 1);
    assert!(mails[0].0.contains("https://app.example.com/money/verify-email#token="), "{}", mails[0].0);
    let link = mails[0].token();
    t.advance(TimeDelta::minutes(10));
    assert_eq!(verify(&t, &link).await.status, StatusCode::NO_CONTENT);
    let me = t.send(Method::GET, "/v1/me", Some(&token), &[], None).await;
    assert_eq!(me.body["email_verified_at"], "2026-03-02T09:10:00Z");
    assert!(is_refused(&verify(&t, &link).await), "a second time");
    t.finish().await;
}

#[sqlx::test]
async fn a_link_that_is_old_or_changed_or_for_something_else_verifies_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    newcomer(&t, "anna@example.com").await;
    newcomer(&t, "ben@example.com").await;
    let forgot = json!({"email": "anna@example.com"});
    t.send(Method::POST, "/v1/auth/password/forgot", None, &[], Some(forgot)).await;
    t.drive().await;
    let link = t.mailbox.newest("anna@example.com", "Confirm").token();
    let mut changed = link.clone().into_bytes();
    changed[30] = if changed[30] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("ASCII");
    let reset = t.mailbox.newest("anna@example.com", "password").token();
    for token in [changed.as_str(), &reset, "", "x", "\0", "ü", &"A".repeat(5_000), &format!("{link}A")] {
        assert!(is_refused(&verify(&t, token).await), "{token}");
    }
    t.advance(TimeDelta::hours(24));
    assert!(is_refused(&verify(&t, &link).await), "a day later");
    t.finish().await;
}

#[sqlx::test]
async fn the_link_is_sent_again_to_whoever_asks_until_it_was_used(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let email = format!("{}@example.com", uuid::Uuid::now_v7().simple());
    let (token, _) = newcomer(&t, &email).await;
    let again = async || t.send(Method::POST, "/v1/auth/verify-email/resend", Some(&token), &[], None).await;
    t.drive().await;
    for _ in 0..3 {
        assert_eq!(again().await.status, StatusCode::ACCEPTED);
        t.advance(TimeDelta::milliseconds(1));
    }
    let flooding = again().await;
    assert_eq!((flooding.status, flooding.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    t.drive().await;
    let mails = t.mailbox.to(&email);
    assert_eq!(mails.len(), 4, "the first one is counted by itself: others can cause it");
    assert_eq!(verify(&t, &mails[1].token()).await.status, StatusCode::NO_CONTENT);
    assert!(is_refused(&verify(&t, &mails[2].token()).await), "verified by another link");
    assert_eq!(again().await.status, StatusCode::ACCEPTED, "nothing is sent, so nothing is counted");
    t.drive().await;
    assert_eq!(t.mailbox.to(&email).len(), 4);
    t.finish().await;
}

#[sqlx::test]
async fn a_link_that_was_not_sent_before_the_email_was_verified_is_not_sent_at_all(db: PgPool) {
    let t = TestApp::new(db).await;
    let (token, _) = newcomer(&t, "anna@example.com").await;
    t.drive().await;
    t.send(Method::POST, "/v1/auth/verify-email/resend", Some(&token), &[], None).await;
    let link = t.mailbox.newest("anna@example.com", "Confirm").token();
    assert_eq!(verify(&t, &link).await.status, StatusCode::NO_CONTENT);
    t.drive().await;
    assert_eq!(t.mailbox.to("anna@example.com").len(), 1);
    assert!(t.app.metrics.render().contains(r#"octoco_mails_total{kind="email_verification",outcome="dropped"} 1"#));
    t.finish().await;
}

#[sqlx::test]
async fn where_it_is_required_money_waits_for_a_verified_email(db: PgPool) {
    let t = TestApp::with(db, &REQUIRED).await;
    let (token, _) = newcomer(&t, "anna@example.com").await;
    let account =
        json!({"account_number": "62001234567", "branch_code": "250655", "account_holder": "A", "bank_name": "FNB"});
    let deposit = json!({"amount": 5_000, "currency": "ZAR"});
    let withdrawal = json!({"amount": 1, "currency": "ZAR", "bank_account_id": "01900000-0000-7000-8000-000000000000"});
    let calls =
        [("/v1/bank-accounts", account, 201), ("/v1/deposits", deposit, 201), ("/v1/withdrawals", withdrawal, 404)];
    let call = async |path: &str, body: &Value| {
        t.send(Method::POST, path, Some(&token), &[("Idempotency-Key", path)], Some(body.clone())).await
    };
    for (path, body, _) in &calls {
        let refused = call(path, body).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "email_not_verified"), "{path}");
    }
    let read = t.send(Method::GET, "/v1/balances", Some(&token), &[], None).await;
    assert_eq!(read.status, StatusCode::OK, "looking is free");
    t.drive().await;
    let link = t.mailbox.newest("anna@example.com", "Confirm").token();
    assert_eq!(verify(&t, &link).await.status, StatusCode::NO_CONTENT);
    for (path, body, status) in &calls {
        let answer = call(path, body).await;
        assert_eq!(answer.status.as_u16(), *status, "{path}: {}", answer.body);
    }
    t.drive().await;
    // What was accepted stays so, whatever is required since.
    sqlx::query("update users set email_verified_at = null").execute(&t.app.db).await.expect("done");
    for (path, body, status) in &calls {
        let answer = call(path, body).await;
        let expected = if *status == 201 { (201, true) } else { (403, false) };
        assert_eq!((answer.status.as_u16(), answer.replayed()), expected, "{path}: {}", answer.body);
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_name_cannot_become_a_header_or_a_word_of_a_mail(db: PgPool) {
    let t = TestApp::new(db).await;
    for name in ["Anna\r\nBcc: all@example.com", "Anna\nX", "Anna\0"] {
        let body = json!({"email": "anna@example.com", "password": PASSWORD, "full_name": name});
        let refused = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["field"]),
            (StatusCode::BAD_REQUEST, &json!("full_name"))
        );
    }
    let body =
        json!({"email": "anna@example.com", "password": PASSWORD, "full_name": "Win at https://evil.example <b>"});
    let registered = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    t.drive().await;
    let mail = t.mailbox.newest("anna@example.com", "Confirm");
    assert!(!mail.0.contains("evil"), "{}", mail.0);
    t.finish().await;
}

#[sqlx::test]
async fn registering_has_no_mails_sent_without_end(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let from = format!("2001:db8::{:x}:{:x}:4", rand::random::<u16>(), rand::random::<u16>());
    while matches!(t.app.limiter.check(Class::MailsAsked, &from).await, VelocityLimit::Allowed(..)) {}
    let register = async |from: &str| {
        let email = format!("{}@example.com", uuid::Uuid::now_v7().simple());
        let body = json!({"email": email, "password": PASSWORD, "full_name": "Anna"});
        let done = t.send(Method::POST, "/v1/auth/register", None, &[("X-Forwarded-For", from)], Some(body)).await;
        assert_eq!(done.status, StatusCode::CREATED, "{}", done.body);
        t.drive().await;
        email
    };
    let elsewhere = register("2001:db9::5").await;
    assert_eq!(t.mailbox.to(&elsewhere).len(), 1);
    let email = register(&from).await;
    assert_eq!(t.mailbox.to(&email).len(), 0, "too many were asked for from there");
    let body = json!({"email": elsewhere, "password": PASSWORD, "full_name": "Anna"});
    t.send(Method::POST, "/v1/auth/register", None, &[("X-Forwarded-For", &from)], Some(body)).await;
    t.drive().await;
    t.mailbox.newest(&elsewhere, "You have an account already");
    let login = t.login(&email, PASSWORD).await;
    let token = login.body["access_token"].as_str().expect("a token");
    let asked = t.send(Method::POST, "/v1/auth/verify-email/resend", Some(token), &[], None).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    t.drive().await;
    let link = t.mailbox.newest(&email, "Confirm").token();
    assert_eq!(verify(&t, &link).await.status, StatusCode::NO_CONTENT);
    t.finish().await;
}

/// As many addresses as one likes reach one mailbox, and each can be registered.
#[sqlx::test]
async fn a_mailbox_is_not_flooded_through_its_many_addresses(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let mut emails: Vec<String> = (0..8).map(|index| format!("th.andi+{index}@gmail.com")).collect();
    emails.extend(["t.handi@gmail.com".to_owned(), "tha.ndi@googlemail.com".to_owned()]);
    for (index, email) in emails.iter().enumerate() {
        let body = json!({"email": email, "password": PASSWORD, "full_name": "Anna"});
        let from = format!("2001:db8:{index:x}::1");
        let headers = [("X-Forwarded-For", from.as_str())];
        let done = t.send(Method::POST, "/v1/auth/register", None, &headers, Some(body)).await;
        assert_eq!((done.status, &done.body["email"]), (StatusCode::CREATED, &json!(email)), "stored as it was given");
        let forgot = json!({"email": email});
        t.send(Method::POST, "/v1/auth/password/forgot", None, &headers, Some(forgot)).await;
        t.drive().await;
    }
    let sent = |subject: &str| {
        let mails = emails.iter().flat_map(|email| t.mailbox.to(email));
        mails.filter(|mail| mail.header("Subject").is_some_and(|text| text.contains(subject))).count()
    };
    assert_eq!((sent("Confirm"), sent("password")), (3, 3));
    t.finish().await;
}
