//! Webhooks of ours, at a real receiver: signed as an independent implementation verifies them, each event once, tried again for three
//! days, dead and replayed. Endpoints and their secrets are in `outgoing/endpoints.rs`, where they may go in `outgoing/addresses.rs`, who
//! is slow in `outgoing/slow.rs`.

mod addresses;
mod endpoints;
mod kept;
mod receiver;
mod slow;

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use octoco::books::projector;
use octoco::identity::audit;
use octoco::platform::permissions::Role;
use octoco::processes::router;
use octoco::webhooks::outgoing::deliveries::{self, Lane};
use octoco::webhooks::outgoing::events::EventType;
use octoco::webhooks::outgoing::sources;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use standardwebhooks::Webhook;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp};
use crate::reconciliation::sql;
use crate::restrictions::{act, half_closed};
use receiver::{Received, Receiver};

pub(crate) const ANYWHERE: [(&str, &str); 1] = [("OUTGOING_WEBHOOKS_ALLOW_PRIVATE", "yes")];
const ALL: [&str; 19] = [
    "transaction.initiated", "transaction.awaiting_payment", "transaction.reserved", "transaction.awaiting_approval",
    "transaction.submitting", "transaction.submitted", "transaction.completed", "transaction.failed",
    "transaction.rejected", "transaction.expired", "transaction.cancelled", "balance.updated", "customer.created",
    "customer.email_verified", "customer.frozen", "customer.unfrozen", "customer.closed", "customer.reopened",
    "customer.erased",
];

pub(crate) async fn call(t: &TestApp, by: &Customer, method: Method, path: &str, body: Option<Value>) -> Answer {
    t.send(method, path, Some(&t.token(by)), &[], body).await
}

/// An endpoint at the receiver, and its secret.
pub(crate) async fn endpoint(t: &TestApp, admin: &Customer, url: &str, types: &[&str]) -> (Uuid, String) {
    // Whoever is there already was there before.
    t.advance(TimeDelta::seconds(1));
    let body = json!({"url": url, "event_types": types});
    let made = call(t, admin, Method::POST, "/v1/admin/webhook-endpoints", Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(made.headers["location"], format!("/v1/admin/webhook-endpoints/{}", made.id()).as_str());
    (made.id(), made.body["secret"].as_str().expect("a secret").to_owned())
}

/// Whatever happened becomes events.
pub(crate) async fn make(t: &TestApp) {
    while audit::seal(&t.app).await.expect("the chain grows") {}
    projector::catch_up(&t.app).await.expect("the ledger is copied");
    while sources::step(&t.app).await.expect("events are made") {}
}

/// Sends what is due at this moment.
pub(crate) async fn deliver(t: &TestApp) {
    loop {
        let fast = deliveries::step_due(&t.app, Lane::Fast, 16).await.expect("claimed");
        let slow = deliveries::step_due(&t.app, Lane::Slow, 16).await.expect("claimed");
        if fast + slow == 0 {
            return;
        }
    }
}

async fn log(t: &TestApp, admin: &Customer, endpoint: Uuid) -> Vec<Value> {
    let path = format!("/v1/admin/webhook-endpoints/{endpoint}/deliveries?limit=100");
    let page = t.get(admin, &path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    page.body["data"].as_array().expect("a list").clone()
}

fn verifies(secret: &str, message: &Received) -> bool {
    let webhook = Webhook::new(secret).expect("a secret");
    let header = |name: &str| message.headers[name].to_str().expect("text");
    // The library's own check demands that the message is of this minute; the test's clock stands elsewhere.
    let timestamp = header("webhook-timestamp").parse().expect("a number");
    let signed = webhook.sign(header("webhook-id"), timestamp, message.body.as_bytes()).expect("it signs");
    header("webhook-signature").split(' ').any(|signature| signature == signed)
}

fn by_type(messages: &[Received]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry(message.json()["type"].as_str().expect("a type").to_owned()).or_default() += 1;
    }
    counts
}

#[sqlx::test]
async fn every_state_and_balance_is_told_once_signed_and_in_the_shape_of_the_api(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let (id, secret) = endpoint(&t, &admin, &receiver.url, &ALL).await;
    t.advance(TimeDelta::seconds(1));
    let customer = t.customer_with(50_000).await;
    let withdrawal = t.withdraw(&customer, 20_000, "w").await.id();
    t.advance(TimeDelta::seconds(20));
    t.drive().await;
    make(&t).await;
    deliver(&t).await;
    let messages = receiver.received();
    assert!(messages.iter().all(|message| verifies(&secret, message)));
    let other = format!("whsec_{}", "AAAA".repeat(10));
    assert!(!messages.iter().any(|message| verifies(&other, message)));
    let ids: BTreeSet<String> =
        messages.iter().map(|message| message.headers["webhook-id"].to_str().expect("text").to_owned()).collect();
    assert_eq!(ids.len(), messages.len(), "each once");
    for message in &messages {
        let body = message.json();
        assert_eq!(body["id"], message.headers["webhook-id"].to_str().expect("text"));
        assert_eq!(body["data"]["customer_id"], json!(customer.id));
        assert!(!message.body.contains("Thandi") && !message.body.contains(&customer.email), "{}", message.body);
    }
    // The states of the row, as the API tells them.
    let shown = t.get(&customer, &format!("/v1/transactions/{withdrawal}")).await.body;
    let of_row: Vec<Value> = messages
        .iter()
        .map(Received::json)
        .filter(|body| body["data"]["transaction"]["id"] == json!(withdrawal))
        .collect();
    let told: BTreeSet<String> = of_row.iter().map(|body| body["type"].to_string()).collect();
    let states = shown["states"].as_array().expect("a list");
    let expected: BTreeSet<String> = states
        .iter()
        .map(|state| json!(format!("transaction.{}", state["state"].as_str().expect("a word"))).to_string())
        .collect();
    assert_eq!((told, of_row.len()), (expected, states.len()));
    for body in &of_row {
        let (row, kind) = (&body["data"]["transaction"], body["type"].as_str().expect("a word"));
        assert_eq!(kind, format!("transaction.{}", row["state"].as_str().expect("a word")));
        let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
        assert!(keys(row).is_subset(&keys(&shown)), "the API's own shape: {row}");
        assert_eq!(row["completed_at"].is_null(), kind != "transaction.completed", "{body}");
        assert_eq!((&row["amount"], &row["description"]), (&json!(20_000), &Value::Null));
    }
    let balances: Vec<Value> =
        messages.iter().map(Received::json).filter(|body| body["type"] == "balance.updated").collect();
    let last = balances.iter().max_by_key(|body| body["data"]["balance"]["sequence"].as_i64()).expect("a balance");
    let balance = &last["data"]["balance"];
    assert_eq!(
        (&balance["posted"], &balance["pending"], &balance["available"]),
        (&json!(30_000), &json!(0), &json!(30_000))
    );
    assert_eq!(by_type(&messages)["customer.created"], 1);
    // Again and again nothing new comes of it.
    for _ in 0..3 {
        t.advance(TimeDelta::seconds(70));
        make(&t).await;
        deliver(&t).await;
    }
    assert_eq!(receiver.received().len(), messages.len());
    assert!(log(&t, &admin, id).await.iter().all(|row| row["state"] == "delivered"));
    t.finish().await;
}

#[sqlx::test]
async fn a_crash_makes_no_event_twice_and_sends_one_again_under_the_same_id(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &ANYWHERE, crashes.plan()).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    endpoint(&t, &admin, &receiver.url, &ALL).await;
    t.advance(TimeDelta::seconds(1));
    let customer = t.customer_with(50_000).await;
    while audit::seal(&t.app).await.expect("the chain grows") {}
    projector::catch_up(&t.app).await.expect("the ledger is copied");
    for _ in 0..3 {
        crashes.at("outgoing.made");
        // The one before is rolled back a moment after it died; until then its lock is held.
        while sources::step(&t.app).await.is_ok() {}
    }
    let count = async || -> i64 {
        sqlx::query_scalar("select count(*) from outgoing_events")
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers")
    };
    assert_eq!(count().await, 0, "all of it or nothing");
    make(&t).await;
    let made = count().await;
    // Two at once, and with every cursor set back to the beginning.
    sqlx::query("update outgoing_cursors set position = 0").execute(&t.app.db).await.expect("PostgreSQL answers");
    let (one, other) = tokio::join!(sources::step(&t.app), sources::step(&t.app));
    assert!(one.is_ok() && other.is_ok());
    make(&t).await;
    assert_eq!(count().await, made, "each is made once");
    crashes.at("outgoing.sent");
    deliver(&t).await;
    assert_eq!(receiver.received().len(), usize::try_from(made).expect("few"), "sent, and one of them not noted");
    t.advance(TimeDelta::seconds(100));
    deliver(&t).await;
    let messages = receiver.received();
    assert_eq!(messages.len(), usize::try_from(made).expect("few") + 1, "when the lease is over it is sent again");
    let ids: BTreeSet<_> = messages.iter().map(|message| message.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), usize::try_from(made).expect("few"));
    assert_eq!(crashes.died_at(), BTreeSet::from(["outgoing.made", "outgoing.sent"]));
    assert_eq!(t.balance(&customer).await.0, 50_000);
    t.finish().await;
}

#[sqlx::test]
async fn what_was_before_an_endpoint_was_enabled_is_not_told_to_it(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    t.customer_with(10_000).await;
    make(&t).await;
    let events: i64 = sqlx::query_scalar("select count(*) from outgoing_events")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(events, 0, "nobody listens");
    t.advance(TimeDelta::seconds(2));
    let (id, _) = endpoint(&t, &admin, &receiver.url, &["transaction.completed"]).await;
    make(&t).await;
    t.advance(TimeDelta::seconds(2));
    let customer = t.customer_with(20_000).await;
    make(&t).await;
    deliver(&t).await;
    assert_eq!(
        by_type(&receiver.received()),
        BTreeMap::from([("transaction.completed".to_owned(), 1)]),
        "and what it wants alone"
    );
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    let off = call(&t, &admin, Method::PATCH, &path, Some(json!({"enabled": false}))).await;
    assert_eq!((off.status, &off.body["enabled"]), (StatusCode::OK, &json!(false)));
    t.advance(TimeDelta::seconds(2));
    let missed = t.deposit(&customer, 1_000, "missed").await;
    t.pay(&missed).await;
    make(&t).await;
    t.advance(TimeDelta::seconds(2));
    call(&t, &admin, Method::PATCH, &path, Some(json!({"enabled": true}))).await;
    make(&t).await;
    t.advance(TimeDelta::seconds(2));
    let heard = t.deposit(&customer, 2_000, "heard").await;
    t.pay(&heard).await;
    make(&t).await;
    deliver(&t).await;
    let told: Vec<Value> =
        receiver.received().iter().map(|message| message.json()["data"]["transaction"]["id"].clone()).collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[1], json!(heard.id()));
    t.finish().await;
}

#[sqlx::test]
async fn what_happens_to_a_customer_is_told_once_whatever_currencies_there_are(db: PgPool) {
    let settings = [ANYWHERE[0], ("CURRENCIES", "ZAR,USD")];
    let t = TestApp::with(db, &settings).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    endpoint(&t, &admin, &receiver.url, &ALL).await;
    t.advance(TimeDelta::seconds(1));
    let customer = t.customer().await;
    t.drive().await;
    let token = t.mailbox.newest(&customer.email, "Confirm").token();
    let verified = t.send(Method::POST, "/v1/auth/verify-email", None, &[], Some(json!({"token": token}))).await;
    assert!(verified.status.is_success(), "{}", verified.body);
    let freeze = format!("/v1/admin/users/{}/freeze", customer.id);
    let frozen = call(&t, &admin, Method::POST, &freeze, Some(json!({"reason": "a stolen card"}))).await;
    assert!(frozen.status.is_success(), "{}", frozen.body);
    make(&t).await;
    deliver(&t).await;
    let counts = by_type(&receiver.received());
    let expected = ["customer.created", "customer.email_verified", "customer.frozen"].map(|kind| (kind.to_owned(), 1));
    assert_eq!(counts, BTreeMap::from(expected));
    let bodies: String = receiver.received().iter().map(|message| message.body.clone()).collect();
    assert!(!bodies.contains("stolen") && !bodies.contains(&customer.email));
    t.finish().await;
}

#[sqlx::test]
async fn of_a_restriction_only_what_it_came_to_in_every_currency_is_told(db: PgPool) {
    let (next, settings) = (Crashes::default(), [ANYWHERE[0], ("CURRENCIES", "ZAR,USD")]);
    let t = TestApp::crashing(db, &settings, next.plan()).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let told = ["customer.frozen", "customer.unfrozen", "customer.closed", "customer.reopened"];
    endpoint(&t, &admin, &receiver.url, &told).await;
    // Closed in the one currency, and refused in the other.
    let rich = half_closed(&t, &admin, &next).await;
    assert_eq!(act(&t, &admin, &rich, "close").await.code(), "account_not_empty");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    make(&t).await;
    deliver(&t).await;
    assert_eq!(by_type(&receiver.received()), BTreeMap::new(), "a closure that never was");
    let customer = t.customer().await;
    for what in ["freeze", "unfreeze", "close", "reopen"] {
        act(&t, &admin, &customer, what).await;
        make(&t).await;
    }
    deliver(&t).await;
    assert_eq!(by_type(&receiver.received()), told.map(|kind| (kind.to_owned(), 1)).into());
    // In one currency the customer is still frozen.
    act(&t, &admin, &customer, "freeze").await;
    next.at("restriction.lifting");
    act(&t, &admin, &customer, "unfreeze").await;
    let zar = "update restrictions set state = 'lifted', due_at = null
                where user_id = $1 and state = 'lifting' and currency = 'ZAR'";
    sql(&t, zar, customer.id).await;
    let entry = "insert into audit_log (id, at, actor, action, object_kind, object_id, after)
                 select gen_random_uuid(), now(), 'system', 'restriction.moved', 'user', user_id::text,
                        jsonb_build_object('restriction', id, 'kind', kind, 'state', state)
                   from restrictions where user_id = $1 and currency = 'ZAR' order by id desc limit 1";
    sql(&t, entry, customer.id).await;
    make(&t).await;
    deliver(&t).await;
    let unfrozen = async || by_type(&receiver.received()).get("customer.unfrozen").copied();
    assert_eq!(unfrozen().await, Some(1));
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    make(&t).await;
    deliver(&t).await;
    assert_eq!(unfrozen().await, Some(2));
    t.finish().await;
}

/// As the document's section `webhooks` says.
#[test]
fn every_kind_of_event_is_in_the_document() {
    let document = router::openapi();
    let described: BTreeSet<&str> =
        document["webhooks"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(described, EventType::ALL.iter().map(|kind| kind.name()).collect());
    assert_eq!(described.len(), ALL.len() + 1, "and the test event");
    let data = &document["components"]["schemas"]["TransactionEventData"]["properties"];
    assert_eq!(data["transaction"]["$ref"], "#/components/schemas/TransactionView", "the API's own shape");
}

#[sqlx::test]
async fn a_delivery_is_tried_for_three_days_then_dead_then_replayed_when_the_endpoint_is_enabled_again(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let (id, secret) = endpoint(&t, &admin, &receiver.url, &ALL).await;
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    receiver.answer(500, &[]);
    let begun = t.app.clock.now();
    let sent = call(&t, &admin, Method::POST, &format!("{path}/test"), None).await;
    let delivery = format!("/v1/admin/webhook-deliveries/{}", sent.id());
    deliver(&t).await;
    for (index, secs) in [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].into_iter().enumerate() {
        assert_eq!(receiver.received().len(), index + 1);
        t.advance(TimeDelta::seconds(secs - 1));
        deliver(&t).await;
        assert_eq!(receiver.received().len(), index + 1, "not before {secs} s");
        t.advance(TimeDelta::seconds(2 + secs / 10));
        deliver(&t).await;
    }
    assert_eq!(receiver.received().len(), 10);
    assert!(t.app.clock.now() - begun > TimeDelta::days(3));
    let shown = t.get(&admin, &delivery).await.body;
    assert_eq!((&shown["state"], &shown["attempts"], &shown["last_status"]), (&json!("dead"), &json!(10), &json!(500)));
    assert_eq!((&shown["last_error"], shown["log"].as_array().map(Vec::len)), (&json!("status"), Some(10)));
    assert_eq!(shown["event"]["type"], "webhook.test");
    // Three days without one success: it is disabled, on record, and its maker is told.
    let off = t.get(&admin, &path).await.body;
    assert_eq!((&off["enabled"], &off["disabled_reason"]), (&json!(false), &json!("failing")));
    t.drive().await;
    t.mailbox.newest(&admin.email, "webhook endpoint");
    let audited = t.get(&admin, "/v1/admin/audit?action=webhook_endpoint.disabled").await.body;
    assert_eq!(
        (&audited["data"][0]["actor"], &audited["data"][0]["after"]["reason"]),
        (&json!("system"), &json!("failing"))
    );
    let replay = format!("{delivery}/replay");
    assert_eq!(call(&t, &admin, Method::POST, &replay, None).await.code(), "stale_state", "while it is disabled");
    assert_eq!(call(&t, &admin, Method::POST, &format!("{path}/test"), None).await.code(), "stale_state");
    receiver.answer(204, &[]);
    call(&t, &admin, Method::PATCH, &path, Some(json!({"enabled": true}))).await;
    let since = json!({"since": begun.to_rfc3339()});
    let all = call(&t, &admin, Method::POST, &format!("{path}/replay"), Some(since)).await;
    assert_eq!(
        (all.status, &all.body["replayed"], &all.body["more"]),
        (StatusCode::ACCEPTED, &json!(1), &json!(false))
    );
    deliver(&t).await;
    assert_eq!(t.get(&admin, &delivery).await.body["state"], "delivered");
    let one = call(&t, &admin, Method::POST, &replay, None).await;
    assert_eq!((one.status, &one.body["state"]), (StatusCode::ACCEPTED, &json!("pending")), "delivered ones, too");
    deliver(&t).await;
    let messages = receiver.received();
    let ids: BTreeSet<_> = messages.iter().map(|message| message.headers["webhook-id"].clone()).collect();
    assert_eq!((messages.len(), ids.len()), (12, 1), "always under one id");
    assert!(messages.iter().all(|message| verifies(&secret, message) && message.body == messages[0].body));
    assert!(t.app.metrics.render().contains(r#"octoco_outgoing_webhooks_total{outcome="dead"} 1"#));
    t.finish().await;
}

#[sqlx::test]
async fn retry_after_is_honoured_within_a_day_and_410_disables(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let (id, _) = endpoint(&t, &admin, &receiver.url, &ALL).await;
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    for (asked, waited) in [("600", 600), ("9999999999", 86_400), ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400)] {
        receiver.answer(503, &[("retry-after", asked)]);
        call(&t, &admin, Method::POST, &format!("{path}/test"), None).await;
        deliver(&t).await;
        let count = receiver.received().len();
        t.advance(TimeDelta::seconds(waited - 1));
        deliver(&t).await;
        assert_eq!(receiver.received().len(), count, "not within {waited} s");
        receiver.answer(200, &[]);
        t.advance(TimeDelta::seconds(2));
        deliver(&t).await;
        assert_eq!(receiver.received().len(), count + 1);
    }
    receiver.answer(410, &[]);
    let sent = [call(&t, &admin, Method::POST, &format!("{path}/test"), None).await.id(), {
        call(&t, &admin, Method::POST, &format!("{path}/test"), None).await.id()
    }];
    deliveries::step_due(&t.app, Lane::Fast, 1).await.expect("claimed");
    let off = t.get(&admin, &path).await.body;
    assert_eq!((&off["enabled"], &off["disabled_reason"]), (&json!(false), &json!("gone")));
    for delivery in sent {
        let shown = t.get(&admin, &format!("/v1/admin/webhook-deliveries/{delivery}")).await.body;
        assert_eq!(shown["state"], "dead", "also what had not gone out");
    }
    t.finish().await;
}
