//! A forgotten password, a new one by mail, and another one by hand.

mod begun;

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, Customer, PASSWORD, TestApp};

const NEW: &str = "another horse another staple";
const UNDER_ATTACK: [(&str, &str); 2] = [("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")];

/// From an address that no other test uses.
fn somewhere() -> String {
    let group = || rand::random::<u16>();
    format!("2001:db8:{:x}:{:x}:{:x}:{:x}:{:x}:2", group(), group(), group(), group(), group())
}

async fn forgot_from(t: &TestApp, email: &str, from: &str) -> Answer {
    let body = json!({"email": email});
    t.send(Method::POST, "/v1/auth/password/forgot", None, &[("X-Forwarded-For", from)], Some(body)).await
}

async fn forgot(t: &TestApp, email: &str) -> Answer {
    forgot_from(t, email, &somewhere()).await
}

async fn reset(t: &TestApp, token: &str, password: &str) -> Answer {
    let body = json!({"token": token, "new_password": password});
    t.send(Method::POST, "/v1/auth/password/reset", None, &[("X-Forwarded-For", &somewhere())], Some(body)).await
}

async fn change(t: &TestApp, token: &str, current: &str, new: &str) -> Answer {
    let body = json!({"current_password": current, "new_password": new});
    t.send(Method::POST, "/v1/auth/password", Some(token), &[], Some(body)).await
}

async fn link_for(t: &TestApp, email: &str) -> String {
    assert_eq!(forgot(t, email).await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.mailbox.newest(email, "password").token()
}

fn refused_field(answer: &Answer) -> &str {
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{}", answer.body);
    answer.body["errors"][0]["field"].as_str().unwrap_or_default()
}

async fn me(t: &TestApp, token: &str) -> StatusCode {
    t.send(Method::GET, "/v1/me", Some(token), &[], None).await.status
}

async fn sign_in(t: &TestApp, email: &str, password: &str) -> (String, String) {
    let login = t.login(email, password).await;
    assert_eq!(login.status, StatusCode::OK, "{}", login.body);
    let lines = login.headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("text"));
    let mut refresh = lines.filter(|line| line.starts_with("refresh_token="));
    let cookie = refresh.next().and_then(|line| line.split(';').next()).expect("a cookie").to_owned();
    (login.body["access_token"].as_str().expect("a token").to_owned(), cookie)
}

async fn refresh(t: &TestApp, cookie: &str) -> StatusCode {
    t.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", cookie)], None).await.status
}

async fn audited(t: &TestApp, action: &str, user: &Customer) -> Vec<Value> {
    let rows: Vec<(Option<Value>,)> =
        sqlx::query_as("select after from audit_log where action = $1 and object_id = $2")
            .bind(action)
            .bind(user.id.to_string())
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    rows.into_iter().map(|(after,)| after.unwrap_or_default()).collect()
}

#[sqlx::test]
async fn a_reset_ends_every_session_and_the_access_tokens_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let (second, cookie) = sign_in(&t, &customer.email, PASSWORD).await;
    let link = link_for(&t, &customer.email).await;
    assert_eq!(me(&t, &second).await, StatusCode::OK, "asking alone ends nothing");
    assert_eq!(reset(&t, &link, NEW).await.status, StatusCode::NO_CONTENT);
    for token in [&customer.token, &second] {
        assert_eq!(me(&t, token).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(refresh(&t, &cookie).await, StatusCode::UNAUTHORIZED);
    assert_eq!(me(&t, &other.token).await, StatusCode::OK, "somebody else's session");
    assert_eq!(t.login(&customer.email, PASSWORD).await.code(), "invalid_credentials");
    sign_in(&t, &customer.email, NEW).await;
    assert_eq!(audited(&t, "user.password_reset", &customer).await, [json!({"sessions_ended": 2})]);
    let metrics = t.app.metrics.render();
    assert!(metrics.contains(r#"octoco_passwords_total{outcome="reset"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"octoco_sign_ins_total{outcome="password_reset"} 2"#), "{metrics}");
    t.finish().await;
}

#[sqlx::test]
async fn a_reset_link_works_once_even_when_it_is_used_twice_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (first, second) = (link_for(&t, &customer.email).await, link_for(&t, &customer.email).await);
    let (one, two) = tokio::join!(reset(&t, &first, NEW), reset(&t, &first, "a third horse a third staple"));
    let done = [&one, &two].iter().filter(|answer| answer.status == StatusCode::NO_CONTENT).count();
    assert_eq!(done, 1, "{} {}", one.body, two.body);
    let other = if one.status == StatusCode::NO_CONTENT { &two } else { &one };
    assert_eq!(refused_field(other), "token");
    for link in [&first, &second] {
        assert_eq!(refused_field(&reset(&t, link, NEW).await), "token", "the password is another since");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_reset_link_that_is_old_or_changed_does_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let (link, theirs) = (link_for(&t, &customer.email).await, link_for(&t, &other.email).await);
    for position in [0, 20, 25, 40, 74] {
        let mut changed = link.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert_eq!(refused_field(&reset(&t, &changed, NEW).await), "token", "position {position}");
    }
    // Somebody's own signature under somebody else's name.
    let spliced = format!("{}{}", &link[..20], &theirs[20..]);
    assert_eq!(refused_field(&reset(&t, &spliced, NEW).await), "token");
    t.drive().await;
    let verification = t.mailbox.newest(&customer.email, "Confirm").token();
    for junk in [verification.as_str(), "", "x", "\0", &"A".repeat(9_000)] {
        assert_eq!(refused_field(&reset(&t, junk, NEW).await), "token");
    }
    t.advance(TimeDelta::minutes(30));
    assert_eq!(refused_field(&reset(&t, &link, NEW).await), "token", "half an hour later");
    assert_eq!(t.login(&customer.email, PASSWORD).await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn a_reset_takes_no_password_that_anybody_would_try(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let link = link_for(&t, &customer.email).await;
    for weak in ["", "short", "password123", &customer.email, &"x".repeat(200)] {
        assert_eq!(refused_field(&reset(&t, &link, weak).await), "new_password");
        assert_eq!(refused_field(&change(&t, &customer.token, PASSWORD, weak).await), "new_password");
    }
    assert_eq!(reset(&t, &link, NEW).await.status, StatusCode::NO_CONTENT, "the link was not used up");
    t.finish().await;
}

/// Else whoever has a token and guesses learns by what is refused behind the password that it is right, and nobody knows.
#[sqlx::test]
async fn what_is_refused_behind_a_right_password_or_a_used_link_leaves_a_row(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    assert_eq!(refused_field(&change(&t, &customer.token, PASSWORD, "password123").await), "new_password");
    let same = json!({"new_email": customer.email, "password": PASSWORD});
    let same = t.send(Method::POST, "/v1/me/email", Some(&customer.token), &[], Some(same)).await;
    assert_eq!(refused_field(&same), "new_email");
    assert_eq!(audited(&t, "user.password_proven", &customer).await.len(), 2);
    let link = link_for(&t, &customer.email).await;
    assert_eq!(reset(&t, &link, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(refused_field(&reset(&t, &link, PASSWORD).await), "token");
    assert_eq!(audited(&t, "user.password_reset_refused", &customer).await.len(), 1);
    t.finish().await;
}

#[sqlx::test]
async fn a_change_keeps_the_callers_session_and_ends_the_others(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (second, cookie) = sign_in(&t, &customer.email, PASSWORD).await;
    let link = link_for(&t, &customer.email).await;
    assert_eq!(change(&t, &customer.token, PASSWORD, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(me(&t, &customer.token).await, StatusCode::OK);
    assert_eq!(
        (me(&t, &second).await, refresh(&t, &cookie).await),
        (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED)
    );
    assert_eq!(refused_field(&reset(&t, &link, PASSWORD).await), "token", "asked for before the change");
    assert_eq!(t.login(&customer.email, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    sign_in(&t, &customer.email, NEW).await;
    assert_eq!(audited(&t, "user.password_changed", &customer).await, [json!({"sessions_ended": 1})]);
    t.finish().await;
}

#[sqlx::test]
async fn a_stolen_access_token_is_no_way_to_guess_the_password(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let customer = t.customer().await;
    let mut tried = 0;
    let slowed = loop {
        let answer = change(&t, &customer.token, "a wrong password", NEW).await;
        match answer.code() {
            "invalid_credentials" => tried += 1,
            _ => break answer,
        }
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(tried < 30, "guesses are not counted");
    };
    assert_eq!((slowed.status, slowed.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    assert!(slowed.headers.contains_key("retry-after"));
    let right = change(&t, &customer.token, PASSWORD, NEW).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "the right one is not told from a wrong one");
    assert_eq!(audited(&t, "user.password_change_refused", &customer).await.len(), tried);
    // Whose token it was gets in all the same: by password, and by mail.
    sign_in(&t, &customer.email, PASSWORD).await;
    let link = link_for(&t, &customer.email).await;
    assert_eq!(reset(&t, &link, NEW).await.status, StatusCode::NO_CONTENT);
    assert_eq!(me(&t, &customer.token).await, StatusCode::UNAUTHORIZED, "the thief is out");
    t.finish().await;
}

#[sqlx::test]
async fn an_unknown_email_gets_the_same_answer_and_leaves_no_trace(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.drive().await;
    let (known, unknown) = (forgot(&t, &customer.email).await, forgot(&t, "nobody@example.com").await);
    for answer in [&known, &unknown] {
        assert_eq!((answer.status, &answer.body), (StatusCode::ACCEPTED, &Value::String(String::new())));
    }
    let names = |answer: &Answer| {
        let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&known), names(&unknown));
    // Until the worker comes, not even the database knows which of them is somebody's.
    let rows: Vec<(Option<uuid::Uuid>, bool)> =
        sqlx::query_as("select user_id, address is not null from mails where state = 'pending'")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(rows, [(None, true), (None, true)]);
    t.drive().await;
    let left: Vec<(Option<uuid::Uuid>, Option<String>, String)> =
        sqlx::query_as("select user_id, address, state from mails where kind = 'password_reset'")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(left, [(Some(customer.id), None, "sent".to_owned())], "nobody's address is not kept");
    assert!(t.mailbox.to("nobody@example.com").is_empty());
    assert_eq!(refused_field(&forgot(&t, "no address").await), "email");
    t.finish().await;
}

/// The code does the same for both; this measures it. Medians of interleaved calls, so that a busy machine slows both; where it does
/// not, one more measurement. A difference that is always there is in each of them.
#[sqlx::test]
async fn an_unknown_email_takes_as_long(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut measured = Vec::new();
    while !measured.iter().any(|(known, unknown)| *known < *unknown * 2 && *unknown < *known * 2) {
        assert!(measured.len() < 5, "known and unknown: {measured:?}");
        measured.push(known_and_unknown(&t, &customer.email).await);
    }
    eprintln!("forgot: known and unknown {measured:?}");
    t.finish().await;
}

/// How long an answer takes, in the middle.
async fn known_and_unknown(t: &TestApp, email: &str) -> (Duration, Duration) {
    let time = async |email: &str| {
        let started = Instant::now();
        assert_eq!(forgot(t, email).await.status, StatusCode::ACCEPTED);
        started.elapsed()
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for round in 0..100 {
        known.push(time(email).await);
        unknown.push(time(&format!("{round}{email}")).await);
    }
    known.sort();
    unknown.sort();
    (known[50], unknown[50])
}

#[sqlx::test]
async fn forgetting_floods_neither_one_mailbox_nor_many(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let customer = t.customer().await;
    let mut taken = 0;
    for _ in 0..20 {
        let answer = forgot(&t, &customer.email).await;
        match answer.status {
            StatusCode::ACCEPTED => taken += 1,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
        t.advance(TimeDelta::milliseconds(1));
    }
    assert_eq!(taken, 3, "from as many addresses as there are calls");
    t.drive().await;
    let resets = t.mailbox.to(&customer.email).iter().filter(|mail| mail.0.contains("reset-password")).count();
    assert_eq!(resets, 3);
    let from = somewhere();
    let mut refused = None;
    for index in 0..40 {
        let answer = forgot_from(&t, &format!("{index}{}", customer.email), &from).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some((index, answer));
            break;
        }
    }
    let (asked, refused) = refused.expect("one address does not have forty mails sent at once");
    assert!((20..30).contains(&asked), "{asked}");
    assert!(refused.headers.contains_key("retry-after"));
    t.finish().await;
}

#[sqlx::test]
async fn nobody_uses_up_the_links_of_a_person_by_made_up_addresses_of_the_same_mailbox(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let customer = t.customer().await;
    let (local, domain) = customer.email.split_once('@').expect("an e-mail");
    let tagged = format!("{local}+octoco@{domain}");
    let body = json!({"email": tagged, "password": PASSWORD, "full_name": "Anna"});
    let headers = [("X-Forwarded-For", &*somewhere())];
    t.send(Method::POST, "/v1/auth/register", None, &headers, Some(body)).await;
    let verified = "update users set email_verified_at = created_at where email = $1";
    sqlx::query(verified).bind(&tagged).execute(&t.app.db).await.expect("a user");
    for index in 0..12 {
        let asked = forgot(&t, &format!("{local}+{index}@{domain}")).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    }
    t.drive().await;
    for email in [&customer.email, &tagged] {
        assert_eq!(forgot(&t, email).await.status, StatusCode::ACCEPTED, "{email}");
        t.drive().await;
        t.mailbox.newest(email, "new password");
    }
    t.finish().await;
}

#[sqlx::test]
async fn somebody_slowed_down_by_guesses_gets_in_by_a_reset(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let customer = t.customer().await;
    let login = async |password: &str| {
        let body = json!({"email": customer.email, "password": password});
        t.send(Method::POST, "/v1/auth/login", None, &[("X-Forwarded-For", &somewhere())], Some(body)).await
    };
    // One more guess is allowed every ten seconds, and on a slow machine it may be the one with the right password.
    let mut guesses = 0;
    let slowed = async || login(PASSWORD).await.status == StatusCode::TOO_MANY_REQUESTS;
    while login("a wrong password").await.status != StatusCode::TOO_MANY_REQUESTS || !slowed().await {
        guesses += 1;
        assert!(guesses < 40, "guesses are not slowed down, or not those of a new device");
    }
    let link = link_for(&t, &customer.email).await;
    let done = reset(&t, &link, NEW).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    let lines = done.headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("text"));
    let device = lines.filter_map(|line| line.split(';').next()).find(|pair| pair.starts_with("device="));
    let device = device.expect("the device is known from now on");
    let body = json!({"email": customer.email, "password": NEW});
    let headers = [("X-Forwarded-For", somewhere()), ("Cookie", device.to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let login = t.send(Method::POST, "/v1/auth/login", None, &headers, Some(body)).await;
    assert_eq!(login.status, StatusCode::OK, "{}", login.body);
    t.finish().await;
}

/// The password was right when it was looked at, and is the old one when the session opens.
#[sqlx::test]
async fn no_session_is_opened_by_a_password_that_was_just_replaced(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for _ in 0..5 {
        let link = link_for(&t, &customer.email).await;
        let old = sqlx::query_scalar::<_, String>("select password_hash from users where id = $1").bind(customer.id);
        let old = old.fetch_one(&t.app.db).await.expect("there");
        let (done, _) = tokio::join!(reset(&t, &link, NEW), t.login(&customer.email, PASSWORD));
        assert_eq!(done.status, StatusCode::NO_CONTENT);
        let open: i64 = sqlx::query_scalar("select count(*) from sessions where user_id = $1 and revoked_at is null")
            .bind(customer.id)
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers");
        assert_eq!(open, 0, "whichever came first");
        let back = sqlx::query("update users set password_hash = $2 where id = $1").bind(customer.id).bind(old);
        back.execute(&t.app.db).await.expect("PostgreSQL answers");
    }
    t.finish().await;
}
