//! Where webhooks of ours may go: to the public internet alone, whatever a URL, a name or an answer says.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use octoco::platform::outbound::{CallError, Lookup, Outbound, Reach};
use octoco::platform::permissions::Role;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use super::receiver::Receiver;
use super::{ANYWHERE, call, deliver, endpoint};
use crate::harness::TestApp;

#[sqlx::test]
async fn a_url_that_leads_inside_is_refused_when_it_is_given_and_again_when_it_is_called(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let make = async |url: &str| {
        let body = json!({"url": url, "event_types": ["balance.updated"]});
        call(&t, &admin, Method::POST, "/v1/admin/webhook-endpoints", Some(body)).await
    };
    for wrong in [
        receiver.url.as_str(),
        "http://example.com/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://10.1.2.3:8443/",
        "https://localhost/",
        "https://postgres/",
        "https://metadata.google.internal/",
        "https://user:word@example.com/",
        "https://example.com:5432/",
        "file:///etc/passwd",
        // The parser would make another one of these.
        "https://hooks.example.com/\r\nX: y",
        "https://hooks.example.com/\ta",
        " https://hooks.example.com/",
        "https://hooks.example.com\\@other.example.com/",
        "https:hooks.example.com/",
        "https:///hooks.example.com/",
    ] {
        let refused = make(wrong).await;
        let error = &refused.body["errors"][0];
        assert_eq!(
            (refused.code(), &error["pointer"]),
            ("invalid_request", &json!("#/url")),
            "{wrong}: {}",
            refused.body
        );
    }
    let made = make("https://hooks.example.com/").await;
    assert_eq!(made.status, StatusCode::CREATED, "a name that nobody knows yet: {}", made.body);
    // Whatever got there without being looked at is looked at before the call.
    for url in [receiver.url.as_str(), "https://127.0.0.1:8443/", "https://[::1]/", "https://localhost/"] {
        sqlx::query("update outgoing_endpoints set url = $1").bind(url).execute(&t.app.db).await.expect("written");
        let test = format!("/v1/admin/webhook-endpoints/{}/test", made.id());
        let delivery = call(&t, &admin, Method::POST, &test, None).await.id();
        deliver(&t).await;
        let shown = t.get(&admin, &format!("/v1/admin/webhook-deliveries/{delivery}")).await.body;
        assert_eq!((&shown["state"], &shown["last_error"]), (&json!("pending"), &json!("private_address")), "{url}");
    }
    assert_eq!(receiver.received().len(), 0);
    t.finish().await;
}

#[sqlx::test]
async fn a_redirect_is_not_followed(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, inside) = (t.staff(Role::Admin).await, Receiver::start().await);
    for status in [301, 302, 303, 307, 308] {
        let receiver = Receiver::start().await;
        let (id, _) = endpoint(&t, &admin, &receiver.url, &["balance.updated"]).await;
        receiver.answer(status, &[("location", &inside.url)]);
        let test = format!("/v1/admin/webhook-endpoints/{id}/test");
        let delivery = call(&t, &admin, Method::POST, &test, None).await.id();
        deliver(&t).await;
        let shown = t.get(&admin, &format!("/v1/admin/webhook-deliveries/{delivery}")).await.body;
        assert_eq!((&shown["last_error"], &shown["last_status"]), (&json!("redirect"), &json!(status)));
        assert_eq!(receiver.received().len(), 1);
    }
    assert_eq!(inside.received().len(), 0);
    t.finish().await;
}

/// A name server that says something else each time.
fn names(answers: &[&[&str]]) -> (Lookup, Arc<Mutex<Vec<String>>>) {
    let parsed =
        |answer: &&[&str]| answer.iter().map(|text| text.parse().expect("an address")).collect::<Vec<IpAddr>>();
    let answers: Arc<Mutex<VecDeque<Vec<IpAddr>>>> = Arc::new(Mutex::new(answers.iter().map(parsed).collect()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |name| {
        log.lock().expect("not poisoned").push(name);
        let answer = answers.lock().expect("not poisoned").pop_front().unwrap_or_default();
        Box::pin(async move { Ok(answer) })
    });
    (lookup, asked)
}

#[tokio::test]
async fn a_name_that_says_something_else_when_it_is_called_gains_nothing() {
    let (lookup, asked) = names(&[&["93.184.215.14"], &["127.0.0.1"], &["10.0.0.1", "169.254.169.254", "::1"], &[]]);
    let outbound = Outbound::with_lookup(Reach::Public, lookup).expect("a client");
    let url = outbound.parse("https://rebind.example.com/").expect("a name says nothing by itself");
    assert!(!outbound.leads_inside(&url).await, "when it was given it was public");
    let call = async || outbound.post("https://rebind.example.com/", HeaderMap::new(), "{}".to_owned()).await;
    assert_eq!(call().await.error, Some(CallError::PrivateAddress), "and then it was not");
    assert_eq!(call().await.error, Some(CallError::PrivateAddress));
    assert_eq!(call().await.error, Some(CallError::NoAddress));
    assert_eq!(asked.lock().expect("not poisoned").len(), 4, "each call asks anew");
    let (lookup, _) = names(&[&["192.168.0.1"]]);
    let outbound = Outbound::with_lookup(Reach::Public, lookup).expect("a client");
    let url = outbound.parse("https://inside.example.com/").expect("a name");
    assert!(outbound.leads_inside(&url).await);
}

/// What was looked up is what is connected to, and nobody asks another resolver.
#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_looked_at() {
    let receiver = Receiver::start().await;
    let (lookup, asked) = names(&[&["127.0.0.1"]]);
    let outbound = Outbound::with_lookup(Reach::Anywhere, lookup).expect("a client");
    let url = receiver.url.replace("127.0.0.1", "no-such-name.invalid");
    let called = outbound.post(&url, HeaderMap::new(), "{}".to_owned()).await;
    assert_eq!((called.status, called.error), (Some(StatusCode::OK), None));
    assert_eq!(*asked.lock().expect("not poisoned"), ["no-such-name.invalid"]);
    let refused = outbound.post("http://127.0.0.1:1/", HeaderMap::new(), "{}".to_owned()).await;
    assert_eq!(refused.error, Some(CallError::Connection));
}
