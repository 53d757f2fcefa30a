//! E-mails: which there are, that registering tells nobody who has an account, and changing one's own.

use chrono::TimeDelta;
use octoco::identity::users::Email;
use octoco::platform::rate_limits::{Answer as VelocityLimit, Class};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, Customer, PASSWORD, TestApp};
use crate::overtaken::until_waiting;

const UNDER_ATTACK: [(&str, &str); 2] = [("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")];
const NEW: &str = "thandi.new@example.com";

/// From an address that no other test uses.
fn somewhere() -> String {
    let group = || rand::random::<u16>();
    format!("2001:db8:{:x}:{:x}:{:x}:{:x}:{:x}:6", group(), group(), group(), group(), group())
}

async fn register(t: &TestApp, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password, "full_name": "Anna Stranger"});
    t.send(Method::POST, "/v1/auth/register", None, &[("X-Forwarded-For", &somewhere())], Some(body)).await
}

async fn ask(t: &TestApp, customer: &Customer, new_email: &str, password: &str) -> Answer {
    let body = json!({"new_email": new_email, "password": password});
    t.send(Method::POST, "/v1/me/email", Some(&t.token(customer)), &[], Some(body)).await
}

async fn open(t: &TestApp, link: &str) -> StatusCode {
    let answer = t.send(Method::POST, "/v1/auth/verify-email", None, &[], Some(json!({"token": link}))).await;
    if answer.status != StatusCode::NO_CONTENT {
        assert_eq!(answer.body["errors"][0]["field"], "token", "{}", answer.body);
    }
    answer.status
}

async fn link_to(t: &TestApp, customer: &Customer, new_email: &str) -> String {
    let asked = ask(t, customer, new_email, PASSWORD).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    t.drive().await;
    t.mailbox.newest(&new_email.trim().to_lowercase(), "Confirm your new").token()
}

async fn email_of(t: &TestApp, customer: &Customer) -> Value {
    t.get(customer, "/v1/me").await.body["email"].clone()
}

#[sqlx::test]
async fn registering_tells_nobody_who_has_an_account_and_the_mail_tells_its_owner(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let owner = t.customer().await;
    t.drive().await;
    let fresh = register(&t, &format!("{}@example.com", uuid::Uuid::now_v7().simple()), "some other password").await;
    let taken = register(&t, &owner.email.to_uppercase(), "some other password").await;
    assert_eq!((fresh.status, taken.status), (StatusCode::CREATED, StatusCode::CREATED), "{}", taken.body);
    let names = |answer: &Answer| answer.body.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&fresh), names(&taken));
    for name in ["full_name", "role", "created_at", "email_verified_at"] {
        assert_eq!(fresh.body[name], taken.body[name], "{name}");
    }
    assert_eq!(taken.body["email"], owner.email);
    let shape = |answer: &Answer| answer.id().to_string().replace(|c: char| c.is_ascii_hexdigit() && c != '0', "x");
    assert!(shape(&taken).ends_with("0000") && shape(&fresh).ends_with("0000") && taken.id() != owner.id);
    for header in ["ratelimit-limit", "ratelimit-remaining", "content-type", "content-length"] {
        let of = |answer: &Answer| answer.headers.get(header).cloned();
        let lengths = owner.email.len().abs_diff(fresh.body["email"].as_str().expect("text").len());
        assert_eq!((of(&fresh), lengths), (of(&taken), 0), "{header}");
    }

    t.drive().await;
    let mail = t.mailbox.newest(&owner.email, "You have an account already");
    assert!(!mail.0.contains("Stranger") && !mail.0.contains("#token="), "{}", mail.0);
    assert_eq!(t.login(&owner.email, PASSWORD).await.status, StatusCode::OK, "nothing of the account was changed");
    assert_eq!(t.login(&owner.email, "some other password").await.code(), "invalid_credentials");
    let users: i64 = sqlx::query_scalar("select count(*) from users").fetch_one(&t.app.db).await.expect("it answers");
    assert_eq!(users, 2);

    for _ in 0..8 {
        assert_eq!(register(&t, &owner.email, "some other password").await.status, StatusCode::CREATED);
        t.drive().await;
    }
    let told = |subject: &str| {
        let mails = t.mailbox.to(&owner.email);
        mails.iter().filter(|mail| mail.header("Subject").is_some_and(|text| text.contains(subject))).count()
    };
    assert_eq!(told("account already"), 3, "no mailbox is flooded");
    let resend = t.send(Method::POST, "/v1/auth/verify-email/resend", Some(&owner.token), &[], None).await;
    assert_eq!(resend.status, StatusCode::ACCEPTED, "and its owner's own mails are not used up");
    t.finish().await;
}

#[sqlx::test]
async fn two_who_register_one_email_at_once_are_answered_alike_and_one_account_is_there(db: PgPool) {
    let t = TestApp::new(db).await;
    let (one, two) = tokio::join!(register(&t, NEW, PASSWORD), register(&t, NEW, PASSWORD));
    assert_eq!((one.status, two.status), (StatusCode::CREATED, StatusCode::CREATED), "{} {}", one.body, two.body);
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from users").fetch_all(&t.app.db).await.expect("it answers");
    assert!(ids == [one.id()] || ids == [two.id()], "{ids:?}");
    t.drive().await;
    assert_eq!(t.mailbox.to(NEW).len(), 2);
    t.finish().await;
}

#[test]
fn an_email_is_one_that_revio_takes_in_one_spelling() {
    for (text, stored) in [
        ("  Thandi@Example.COM\u{a0}", "thandi@example.com"),
        ("thandi+octoco@mail.example.co.za", "thandi+octoco@mail.example.co.za"),
        ("o'neil_1.2-3@a-b.example", "o'neil_1.2-3@a-b.example"),
        ("1@2.example", "1@2.example"),
    ] {
        assert_eq!(Email::parse(text).expect(text).as_str(), stored);
    }
    for wrong in [
        "thandi@gmail",
        "thandi@localhost",
        "thandi@gmail.",
        "thandi@.com",
        "thandi@example..com",
        "thandi@example.c",
        "thandi@example.123",
        "thandi@example.c0m",
        "thandi@example.xn--p1ai",
        "thandi@-example.com",
        "thandi@example-.com",
        "thandi@exa_mple.com",
        "thandi@[127.0.0.1]",
        "thandi@[IPv6:::1]",
        "thandi@127.0.0.1",
        "jörg@example.com",
        "thandi@exämple.com",
        "ｔｈａｎｄｉ@example.com",
        "thandi@ｅｘａｍｐｌｅ.com",
        "thandi＠example.com",
        "thandi@example。com",
        "thandi@example\u{ff0e}com",
        "th\u{430}ndi@example.com",
        "thandi\u{200b}@example.com",
        "\u{212a}elvin@example.com",
        "\"thandi\"@example.com",
        "\"a b\"@example.com",
        "thandi(x)@example.com",
        "Thandi <thandi@example.com>",
        "<thandi@example.com>",
        "a@b@example.com",
        ".thandi@example.com",
        "thandi.@example.com",
        "thandi..n@example.com",
        "thandi@example.com,other@example.com",
        "@example.com",
        "thandi@",
        "",
        &format!("{}@example.com", "a".repeat(65)),
        &format!("a@{}.com", "b".repeat(64)),
    ] {
        assert!(Email::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[sqlx::test]
async fn an_email_that_could_never_pay_is_named_wherever_one_is_sent(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for wrong in ["thandi@gmail", "jörg@example.com", "thandi@localhost", "thandi@[127.0.0.1]", "ｔ@example.com"] {
        let forgotten = json!({"email": wrong});
        let forgot = t.send(Method::POST, "/v1/auth/password/forgot", None, &[], Some(forgotten)).await;
        for (answer, field) in [
            (register(&t, wrong, PASSWORD).await, "email"),
            (t.login(wrong, PASSWORD).await, "email"),
            (forgot, "email"),
            (ask(&t, &customer, wrong, PASSWORD).await, "new_email"),
        ] {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}: {}", answer.body);
            assert_eq!(answer.body["errors"][0]["field"], field, "{wrong}: {}", answer.body);
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn an_email_is_changed_by_the_link_to_the_new_address_and_the_old_one_is_told(db: PgPool) {
    let t = TestApp::with(db, &[("REQUIRE_VERIFIED_EMAIL", "no")]).await;
    let customer = t.customer().await;
    let elsewhere = t.login(&customer.email, PASSWORD).await.body["access_token"].as_str().expect("a token").to_owned();
    let link = link_to(&t, &customer, "  Thandi.New@Example.com ").await;
    assert_eq!(email_of(&t, &customer).await, customer.email, "nothing is changed by asking");
    assert_eq!(t.mailbox.to(&customer.email).len(), 1, "only the one of the registration");
    t.advance(TimeDelta::minutes(1));
    assert_eq!(open(&t, &link).await, StatusCode::NO_CONTENT);
    let me = t.get(&customer, "/v1/me").await;
    assert_eq!((&me.body["email"], &me.body["email_verified_at"]), (&json!(NEW), &json!("2026-03-02T09:01:00Z")));
    let other = t.send(Method::GET, "/v1/me", Some(&elsewhere), &[], None).await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED, "all sessions but the one that asked have ended");
    t.drive().await;
    let told = t.mailbox.newest(&customer.email, "was changed");
    assert!(!told.0.contains("thandi.new") && !told.0.contains("#token="), "{}", told.0);
    assert_eq!(t.login(&customer.email, PASSWORD).await.code(), "invalid_credentials");
    assert_eq!(t.login(NEW, PASSWORD).await.status, StatusCode::OK);
    assert_eq!(open(&t, &link).await, StatusCode::BAD_REQUEST, "a second time");
    let deposit = t.deposit(&customer, 5_000, "after").await;
    let purchase = t.sim.purchases_by_reference(&deposit.id().to_string());
    assert_eq!(purchase[0]["client"]["email"], NEW, "what Revio is told");
    let kept: i64 = sqlx::query_scalar("select count(*) from mails where address is not null")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(kept, 0, "no address is kept once its mail went out");
    let actions: Vec<String> =
        sqlx::query_scalar("select action from audit_log where action like 'user.email%' order by id")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(actions, ["user.email_change_asked", "user.email_changed"]);
    // The address is free for somebody else.
    assert_eq!(register(&t, &customer.email, PASSWORD).await.status, StatusCode::CREATED);
    assert_eq!(t.login(&customer.email, PASSWORD).await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn a_change_of_the_email_needs_the_password_and_a_link_that_lives(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let wrong = ask(&t, &customer, NEW, "not my password").await;
    assert_eq!((wrong.status, wrong.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"));
    let same = ask(&t, &customer, &customer.email, PASSWORD).await;
    assert_eq!((same.status, &same.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("new_email")));
    t.drive().await;
    assert_eq!(t.mailbox.to(NEW).len(), 0);

    let replaced = link_to(&t, &customer, "first@example.com").await;
    let late = link_to(&t, &customer, NEW).await;
    assert_eq!(open(&t, &replaced).await, StatusCode::BAD_REQUEST, "another one was asked for");
    t.advance(TimeDelta::hours(24));
    assert_eq!(open(&t, &late).await, StatusCode::BAD_REQUEST, "a day later");

    let stolen = link_to(&t, &customer, NEW).await;
    let changed = json!({"current_password": PASSWORD, "new_password": "another horse another staple"});
    let done = t.send(Method::POST, "/v1/auth/password", Some(&t.token(&customer)), &[], Some(changed)).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{}", done.body);
    assert_eq!(open(&t, &stolen).await, StatusCode::BAD_REQUEST, "the password that asked for it is gone");
    assert_eq!(email_of(&t, &customer).await, customer.email);
    t.finish().await;
}

#[sqlx::test]
async fn a_mail_to_an_address_that_was_given_up_opens_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let forgot = json!({"email": customer.email});
    t.send(Method::POST, "/v1/auth/password/forgot", None, &[], Some(forgot)).await;
    t.drive().await;
    let reset = t.mailbox.newest(&customer.email, "password").token();
    let verification = t.mailbox.newest(&customer.email, "Confirm").token();
    let link = link_to(&t, &customer, NEW).await;
    assert_eq!(open(&t, &link).await, StatusCode::NO_CONTENT);
    assert_eq!(open(&t, &verification).await, StatusCode::BAD_REQUEST);
    let body = json!({"token": reset, "new_password": "another horse another staple"});
    let refused = t.send(Method::POST, "/v1/auth/password/reset", None, &[], Some(body)).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("token")));
    t.finish().await;
}

#[sqlx::test]
async fn the_email_of_somebody_else_is_neither_told_nor_taken(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    t.drive().await;
    let (free, taken) = (ask(&t, &customer, NEW, PASSWORD).await, ask(&t, &customer, &other.email, PASSWORD).await);
    assert_eq!((free.status, &free.body), (taken.status, &taken.body));
    t.drive().await;
    t.mailbox.newest(&other.email, "You have an account already");
    assert!(!t.mailbox.to(&other.email).iter().any(|mail| mail.0.contains("your new")), "no link that takes it");
    assert_eq!(t.mailbox.to(NEW).len(), 0, "that was asked for and replaced before it was sent");

    let link = link_to(&t, &customer, NEW).await;
    assert_eq!(
        register(&t, NEW, PASSWORD).await.status,
        StatusCode::CREATED,
        "somebody opens an account with it meanwhile"
    );
    assert_eq!(open(&t, &link).await, StatusCode::BAD_REQUEST);
    assert_eq!(email_of(&t, &customer).await, customer.email);
    t.finish().await;
}

#[sqlx::test]
async fn a_link_that_is_opened_twice_at_once_works_once_and_so_does_a_name(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let link = link_to(&t, &customer, NEW).await;
    let rename = async |name: &str| {
        let body = json!({"full_name": name, "password": PASSWORD});
        t.send(Method::PATCH, "/v1/me", Some(&t.token(&customer)), &[], Some(body)).await.status
    };
    // Both have read the row, and wait for it at the same place.
    let held = async || {
        let mut held = t.app.db.begin().await.expect("a transaction");
        let lock = sqlx::query("select from users where id = $1 for no key update").bind(customer.id);
        lock.execute(&mut *held).await.expect("PostgreSQL answers");
        held
    };
    let first = held().await;
    let let_go = async {
        until_waiting(&t, 2).await;
        first.commit().await.expect("committed");
    };
    let (one, two, ()) = tokio::join!(open(&t, &link), open(&t, &link), let_go);
    let mut told = [one, two];
    told.sort_unstable();
    assert_eq!(told, [StatusCode::NO_CONTENT, StatusCode::BAD_REQUEST]);
    assert_eq!(email_of(&t, &customer).await, NEW);
    let second = held().await;
    let let_go = async {
        until_waiting(&t, 2).await;
        second.commit().await.expect("committed");
    };
    let (one, two, ()) = tokio::join!(rename("Thandi One"), rename("Thandi Two"), let_go);
    assert_eq!((one, two), (StatusCode::OK, StatusCode::OK));
    t.finish().await;
}

/// By whose account it is asked for, and from where, is no way to fill somebody else's mailbox.
#[sqlx::test]
async fn changing_to_the_many_addresses_of_a_mailbox_does_not_fill_it(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let mut told = Vec::new();
    for index in 0..5 {
        let (customer, from) = (t.customer().await, somewhere());
        let body = json!({"new_email": format!("vic.tim+{index}@gmail.com"), "password": PASSWORD});
        let headers = [("X-Forwarded-For", from.as_str())];
        let asked = t.send(Method::POST, "/v1/me/email", Some(&t.token(&customer)), &headers, Some(body)).await;
        told.push(asked.status);
    }
    let (yes, no) = (StatusCode::ACCEPTED, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(told, [yes, yes, yes, no, no]);
    let (customer, from) = (t.customer().await, somewhere());
    while matches!(t.app.limiter.check(Class::MailsAsked, &from).await, VelocityLimit::Allowed(..)) {}
    for (from, status) in [(from, no), (somewhere(), yes)] {
        let body = json!({"new_email": NEW, "password": PASSWORD});
        let headers = [("X-Forwarded-For", from.as_str())];
        let asked = t.send(Method::POST, "/v1/me/email", Some(&t.token(&customer)), &headers, Some(body)).await;
        assert_eq!(asked.status, status, "{}", asked.body);
    }
    t.drive().await;
    t.finish().await;
}

/// Each tells the old address, which nobody has proven.
#[sqlx::test]
async fn accounts_that_move_away_from_one_mailbox_do_not_fill_it(db: PgPool) {
    let t = TestApp::with(db, &UNDER_ATTACK).await;
    let old = |index: i32| format!("vic.tim+{index}@gmail.com");
    for index in 0..5 {
        let from = somewhere();
        assert_eq!(register(&t, &old(index), PASSWORD).await.status, StatusCode::CREATED);
        let body = json!({"email": old(index), "password": PASSWORD});
        let headers = [("X-Forwarded-For", from.as_str())];
        let login = t.send(Method::POST, "/v1/auth/login", None, &headers, Some(body)).await;
        let token = login.body["access_token"].as_str().expect("a token").to_owned();
        let new = format!("{}@example.com", uuid::Uuid::now_v7().simple());
        let body = json!({"new_email": new, "password": PASSWORD});
        let asked = t.send(Method::POST, "/v1/me/email", Some(&token), &headers, Some(body)).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
        t.drive().await;
        assert_eq!(open(&t, &t.mailbox.newest(&new, "Confirm your new").token()).await, StatusCode::NO_CONTENT);
        t.drive().await;
    }
    let mails = (0..5).flat_map(|index| t.mailbox.to(&old(index)));
    let told = mails.filter(|mail| mail.header("Subject").is_some_and(|text| text.contains("was changed")));
    assert_eq!(told.count(), 3);
    // Of an account with money the news is its own, whoever else has moved away.
    let (rich, new) = (t.customer_with(1_000).await, format!("{}@example.com", uuid::Uuid::now_v7().simple()));
    let moved = "update users set email = $2, email_verified_at = null where id = $1";
    sqlx::query(moved).bind(rich.id).bind(old(9)).execute(&t.app.db).await.expect("a user");
    let body = json!({"new_email": new, "password": PASSWORD});
    let headers = [("X-Forwarded-For", &*somewhere())];
    let asked = t.send(Method::POST, "/v1/me/email", Some(&t.token(&rich)), &headers, Some(body)).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    t.drive().await;
    assert_eq!(open(&t, &t.mailbox.newest(&new, "Confirm your new").token()).await, StatusCode::NO_CONTENT);
    t.drive().await;
    t.mailbox.newest(&old(9), "was changed");
    t.finish().await;
}

/// One word, as different keyboards and systems send it.
#[sqlx::test]
async fn a_password_is_the_same_from_every_keyboard(db: PgPool) {
    let t = TestApp::new(db).await;
    let (composed, decomposed) = ("kar\u{f6}\u{f6} w\u{fc}ste 2026", "karo\u{308}o\u{308} wu\u{308}ste\u{a0}2026");
    for (number, (first, second)) in [(composed, decomposed), (decomposed, composed)].into_iter().enumerate() {
        let email = format!("anna{number}@example.com");
        assert_eq!(register(&t, &email, first).await.status, StatusCode::CREATED);
        for spelling in [first, second] {
            assert_eq!(t.login(&email, spelling).await.status, StatusCode::OK, "{spelling:?}");
        }
        let token = t.login(&email, first).await.body["access_token"].as_str().expect("a token").to_owned();
        let body = json!({"current_password": second, "new_password": "n\u{e4}chste A\u{30a}ngstrom"});
        let changed = t.send(Method::POST, "/v1/auth/password", Some(&token), &[], Some(body)).await;
        assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
        assert_eq!(t.login(&email, "na\u{308}chste \u{c5}ngstrom").await.status, StatusCode::OK);
        t.send(Method::POST, "/v1/auth/password/forgot", None, &[], Some(json!({"email": email}))).await;
        t.drive().await;
        let link = t.mailbox.newest(&email, "new password").token();
        let body = json!({"token": link, "new_password": first});
        let reset = t.send(Method::POST, "/v1/auth/password/reset", None, &[], Some(body)).await;
        assert_eq!(reset.status, StatusCode::NO_CONTENT, "{}", reset.body);
        assert_eq!(t.login(&email, second).await.status, StatusCode::OK);
    }
    let email = "mia@example.com";
    let newer = "correct \u{1f914} horse \u{1f970}";
    assert_eq!(register(&t, email, newer).await.status, StatusCode::CREATED, "signs that are newer than the profile");
    assert_eq!(t.login(email, newer).await.status, StatusCode::OK);
    assert_eq!(t.login(email, "correct \u{1f914} horse \u{1f914}").await.status, StatusCode::UNAUTHORIZED);
    let customer = t.customer().await;
    for wrong in
        ["a bell \u{7} in it 2026", "nothing\u{200b}to see 2026", "turned \u{202e}around 2026", "a\tb c d e f g h"]
    {
        let registered = register(&t, "ben@example.com", wrong).await;
        let body = json!({"current_password": PASSWORD, "new_password": wrong});
        let changed = t.send(Method::POST, "/v1/auth/password", Some(&customer.token), &[], Some(body)).await;
        for (answer, field) in [(registered, "password"), (changed, "new_password")] {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong:?}: {}", answer.body);
            assert_eq!(answer.body["errors"][0]["field"], field, "{wrong:?}");
        }
        assert_eq!(t.login(&customer.email, wrong).await.code(), "invalid_credentials", "{wrong:?}");
    }
    t.finish().await;
}
