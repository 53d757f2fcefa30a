//! Mails that tell a customer what was done with the account: at each event, bounded, and without what a mailbox need not know.

use chrono::TimeDelta;
use octoco::identity::mails::NOTICES_MAX;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Answer, Customer, PASSWORD, TestApp};

const ON: [(&str, &str); 1] = [("NOTICE_MAILS", "on")];

/// How many mails with this in their subject have come.
async fn told(t: &TestApp, customer: &Customer, subject: &str) -> usize {
    while t.send_mails().await > 0 {}
    let mails = t.mailbox.to(&customer.email);
    mails.iter().filter(|mail| mail.header("Subject").is_some_and(|text| text.contains(subject))).count()
}

async fn sign_in(t: &TestApp, customer: &Customer, cookie: Option<&str>) -> Answer {
    let cookies: Vec<(&str, &str)> = cookie.map(|cookie| ("Cookie", cookie)).into_iter().collect();
    let body = json!({"email": customer.email, "password": PASSWORD});
    t.send(Method::POST, "/v1/auth/login", None, &cookies, Some(body)).await
}

fn device_of(answer: &Answer) -> String {
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.filter_map(|line| line.split(';').next());
    pairs.rfind(|pair| pair.starts_with("device=")).expect("a device").to_owned()
}

#[sqlx::test]
async fn a_customer_is_mailed_at_what_endangers_the_account_and_when_money_moves(db: PgPool) {
    let t = TestApp::with(db, &ON).await;
    let customer = t.customer_with(50_000).await;
    assert_eq!(told(&t, &customer, "bank account was added").await, 1);
    assert_eq!(told(&t, &customer, "deposit has come").await, 1);
    t.withdraw(&customer, 12_345, "w").await;
    t.drive().await;
    assert_eq!(told(&t, &customer, "withdrawal was asked for").await, 1);
    let known = told(&t, &customer, "new device").await;
    let device = device_of(&sign_in(&t, &customer, None).await);
    assert_eq!(told(&t, &customer, "new device").await, known + 1);
    assert_eq!(sign_in(&t, &customer, Some(&device)).await.status, StatusCode::OK);
    assert_eq!(told(&t, &customer, "new device").await, known + 1, "not at one that is known");
    let body = json!({"current_password": PASSWORD, "new_password": "another battery staple"});
    let changed = t.send(Method::POST, "/v1/auth/password", Some(&t.token(&customer)), &[], Some(body)).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{}", changed.body);
    assert_eq!(told(&t, &customer, "password was changed").await, 1);
    let body = json!({"password": "another battery staple"});
    let begun = t.send(Method::POST, "/v1/me/totp", Some(&t.token(&customer)), &[], Some(body)).await;
    assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
    let secret = begun.body["secret"].as_str().expect("a secret");
    for mail in t.mailbox.to(&customer.email) {
        for hidden in ["62001234567", "234567", "12345", "123.45", "50000", "500.00", "staple", secret, "Thandi"] {
            assert!(!mail.0.contains(hidden), "{hidden} in {}", mail.0);
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn mails_about_deposits_and_withdrawals_are_switched_off_by_the_customer_and_no_others(db: PgPool) {
    let t = TestApp::with(db, &ON).await;
    let customer = t.customer().await;
    let change = async |notifications: serde_json::Value| {
        let body = json!({"notifications": notifications});
        t.send(Method::PATCH, "/v1/me", Some(&t.token(&customer)), &[], Some(body)).await
    };
    let me = t.get(&customer, "/v1/me").await;
    assert_eq!(me.body["notifications"], json!({"deposits": true, "withdrawals": true}));
    let off = change(json!({"deposits": false})).await;
    assert_eq!(off.body["notifications"], json!({"deposits": false, "withdrawals": true}), "{}", off.body);
    let deposit = t.deposit(&customer, 50_000, "d").await;
    t.pay(&deposit).await;
    t.withdraw(&customer, 100, "w1").await;
    assert_eq!(told(&t, &customer, "deposit has come").await, 0);
    assert_eq!(told(&t, &customer, "withdrawal was asked for").await, 1);
    change(json!({"withdrawals": false})).await;
    t.withdraw(&customer, 100, "w2").await;
    assert_eq!(told(&t, &customer, "withdrawal was asked for").await, 1);
    let other = change(json!({"new_device": false})).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "what endangers the account is always told");
    sign_in(&t, &customer, None).await;
    assert!(told(&t, &customer, "new device").await > 0);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn nobody_fills_a_mailbox_by_acting_again_and_again(db: PgPool) {
    let t = TestApp::with(db, &ON).await;
    let customer = t.customer_with(50_000).await;
    let most = usize::try_from(NOTICES_MAX).expect("few");
    for index in 0..most + 5 {
        let asked = t.withdraw(&customer, 100, &format!("w{index}")).await;
        assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    }
    t.drive().await;
    assert_eq!(told(&t, &customer, "withdrawal was asked for").await, most);
    sign_in(&t, &customer, None).await;
    assert!(told(&t, &customer, "new device").await > 0, "each kind for itself");
    t.advance(TimeDelta::hours(24));
    t.withdraw(&customer, 100, "tomorrow").await;
    assert_eq!(told(&t, &customer, "withdrawal was asked for").await, most + 1);
    t.drive().await;
    t.finish().await;
}

/// As many accounts as one likes have addresses that reach one mailbox, and each has its news.
#[sqlx::test]
async fn the_news_of_many_accounts_do_not_fill_a_mailbox_that_nobody_has_proven(db: PgPool) {
    let settings = [("NOTICE_MAILS", "on"), ("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")];
    let t = TestApp::with(db, &settings).await;
    let emails: Vec<String> = (0..6).map(|index| format!("vic.tim+{index}@gmail.com")).collect();
    let new_device = |email: &String| {
        let mails = t.mailbox.to(email);
        mails.iter().filter(|mail| mail.header("Subject").is_some_and(|text| text.contains("new device"))).count()
    };
    for (index, email) in emails.iter().enumerate() {
        let from = format!("2001:db8:{:x}:{index:x}::7", rand::random::<u16>());
        let headers = [("X-Forwarded-For", from.as_str())];
        let body = json!({"email": email, "password": PASSWORD, "full_name": "Anna"});
        let registered = t.send(Method::POST, "/v1/auth/register", None, &headers, Some(body)).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.body);
        if index == 5 {
            let proven = "update users set email_verified_at = created_at where email = $1";
            sqlx::query(proven).bind(email).execute(&t.app.db).await.expect("PostgreSQL answers");
        }
        let body = json!({"email": email, "password": PASSWORD});
        let login = t.send(Method::POST, "/v1/auth/login", None, &headers, Some(body)).await;
        assert_eq!(login.status, StatusCode::OK, "{}", login.body);
        while t.send_mails().await > 0 {}
    }
    assert_eq!(emails[..5].iter().map(new_device).sum::<usize>(), 3, "three at once");
    assert_eq!(new_device(&emails[5]), 1, "whoever has proven the address is told all the same");
    t.finish().await;
}

/// Somebody has the password, and fills what the mailbox may get with accounts of his own: the owner hears of the new device all the same.
#[sqlx::test]
async fn the_news_of_an_account_with_money_is_not_lost_to_what_others_open_with_its_mailbox(db: PgPool) {
    let settings = [("NOTICE_MAILS", "on"), ("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")];
    let t = TestApp::with(db, &settings).await;
    let victim = t.customer_with(5_000).await;
    let proven = "update users set email_verified_at = null where id = $1";
    sqlx::query(proven).bind(victim.id).execute(&t.app.db).await.expect("PostgreSQL answers");
    let (local, domain) = victim.email.split_once('@').expect("an address");
    let before = told(&t, &victim, "new device").await;
    for number in 0..4 {
        let from = format!("2001:db8:{:x}:{number:x}::7", rand::random::<u16>());
        let headers = [("X-Forwarded-For", from.as_str())];
        let email = format!("{local}+{number}@{domain}");
        let body = json!({"email": email, "password": PASSWORD, "full_name": "Anna"});
        let registered = t.send(Method::POST, "/v1/auth/register", None, &headers, Some(body)).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.body);
        let body = json!({"email": email, "password": PASSWORD});
        let login = t.send(Method::POST, "/v1/auth/login", None, &headers, Some(body)).await;
        assert_eq!(login.status, StatusCode::OK, "{}", login.body);
        while t.send_mails().await > 0 {}
    }
    assert_eq!(sign_in(&t, &victim, None).await.status, StatusCode::OK);
    assert_eq!(told(&t, &victim, "new device").await, before + 1);
    t.finish().await;
}
