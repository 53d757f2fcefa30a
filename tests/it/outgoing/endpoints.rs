//! Endpoints of webhooks and their secrets: kept by admins, shown once, stored encrypted, changed while both sign.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use octoco::identity::rotation;
use octoco::platform::keys;
use octoco::platform::permissions::Role;
use octoco::webhooks::outgoing::OutgoingSecrets;
use octoco::webhooks::outgoing::deliveries::{self, Lane};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::receiver::Receiver;
use super::{ALL, ANYWHERE, call, deliver, endpoint, log, verifies};
use crate::clear_text::columns_with;
use crate::harness::TestApp;

#[sqlx::test]
async fn endpoints_are_kept_by_admins_audited_and_what_was_told_is_pruned_after_thirty_days(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, support) = (t.staff(Role::Admin).await, t.staff(Role::Support).await);
    let receiver = Receiver::start().await;
    let (id, _) = endpoint(&t, &admin, &format!("{}?token=hidden", receiver.url), &["transaction.completed"]).await;
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    for wrong in [
        json!({"url": receiver.url, "event_types": []}),
        json!({"url": receiver.url, "event_types": ["transaction.paid"]}),
        json!({"url": receiver.url, "event_types": ["balance.updated"], "description": ""}),
        json!({"url": "", "event_types": ["balance.updated"]}),
    ] {
        let refused = call(&t, &admin, Method::POST, "/v1/admin/webhook-endpoints", Some(wrong)).await;
        assert_eq!(refused.code(), "invalid_request", "{}", refused.body);
    }
    let change = json!({"description": "Orders", "event_types": ["transaction.completed", "balance.updated"]});
    assert_eq!(call(&t, &support, Method::PATCH, &path, Some(change.clone())).await.code(), "forbidden");
    let changed = call(&t, &admin, Method::PATCH, &path, Some(change)).await;
    assert_eq!(
        (&changed.body["description"], changed.body["event_types"].as_array().map(Vec::len)),
        (&json!("Orders"), Some(2))
    );
    assert_eq!(t.get(&support, &path).await.body["description"], "Orders");
    call(&t, &admin, Method::POST, &format!("{path}/test"), None).await;
    deliver(&t).await;
    t.advance(TimeDelta::days(31));
    let admin = t.staff(Role::Admin).await;
    assert!(deliveries::prune(&t.app).await.is_ok_and(|more| !more));
    assert_eq!(log(&t, &admin, id).await, Vec::<Value>::new());
    let left: i64 =
        sqlx::query_scalar("select count(*) from outgoing_attempts").fetch_one(&t.app.db).await.expect("a count");
    assert_eq!(left, 0);
    assert_eq!(call(&t, &admin, Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(t.get(&admin, &path).await.code(), "not_found");
    let audited = t.get(&admin, &format!("/v1/admin/audit?object_id={id}")).await.body;
    let actions: BTreeSet<&str> =
        audited["data"].as_array().expect("a list").iter().filter_map(|row| row["action"].as_str()).collect();
    let expected = ["created", "changed", "tested", "deleted"].map(|what| format!("webhook_endpoint.{what}"));
    assert_eq!(actions, expected.iter().map(String::as_str).collect());
    assert!(!audited.to_string().contains("hidden"), "a URL may hold a token");
    for number in 0..20 {
        endpoint(&t, &admin, &format!("{}/{number}", receiver.url), &["balance.updated"]).await;
    }
    let body = json!({"url": receiver.url, "event_types": ["balance.updated"]});
    let refused = call(&t, &admin, Method::POST, "/v1/admin/webhook-endpoints", Some(body)).await;
    assert_eq!((refused.code(), &refused.body["errors"][0]["pointer"]), ("invalid_request", &json!("#/url")));
    t.finish().await;
}

#[sqlx::test]
async fn a_secret_is_encrypted_again_by_another_data_key_and_signs_as_before(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let both = format!("{new},{old}");
    let with = async |keys: &str| TestApp::with(db.clone(), &[ANYWHERE[0], ("DATA_KEYS", keys)]).await;
    let (t, receiver) = (with(&old).await, Receiver::start().await);
    let admin = t.staff(Role::Admin).await;
    let (id, secret) = endpoint(&t, &admin, &receiver.url, &ALL).await;
    call(&t, &admin, Method::POST, &format!("/v1/admin/webhook-endpoints/{id}/test"), None).await;
    let rotating = with(&both).await;
    let mut cursor = rotation::Cursor::default();
    let batch = rotation::next(&rotating.app, &OutgoingSecrets, &mut cursor).await.expect("PostgreSQL answers");
    assert_eq!(batch.map(|batch| (batch.encrypted, batch.closed)), Some((1, Vec::new())));
    let uses = rotation::uses(&rotating.app, &OutgoingSecrets).await.expect("PostgreSQL answers");
    assert_eq!(uses, [rotation::KeyUse { id: "new".to_owned(), rows: 1 }]);
    let later = with(&new).await;
    later.advance(TimeDelta::seconds(10));
    deliver(&later).await;
    assert!(receiver.received().iter().all(|message| verifies(&secret, message)) && receiver.received().len() == 1);
}

/// Each disables the endpoint and buries what waits for it, the others' deliveries too.
#[sqlx::test]
async fn four_that_are_told_at_once_that_nobody_listens_do_not_wait_for_each_other(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    receiver.answer(410, &[]);
    for _ in 0..5 {
        let (id, _) = endpoint(&t, &admin, &receiver.url, &["transaction.completed"]).await;
        let path = format!("/v1/admin/webhook-endpoints/{id}");
        for _ in 0..4 {
            let owed = call(&t, &admin, Method::POST, &format!("{path}/test"), None).await;
            assert!(owed.status.is_success(), "{}", owed.body);
        }
        assert_eq!(deliveries::step_due(&t.app, Lane::Fast, 16).await.expect("claimed"), 4);
        let shown = t.get(&admin, &path).await.body;
        assert_eq!((&shown["enabled"], &shown["disabled_reason"]), (&json!(false), &json!("gone")), "{shown}");
        let log = log(&t, &admin, id).await;
        assert!(log.len() == 4 && log.iter().all(|row| row["state"] == "dead"), "{log:?}");
    }
    assert_eq!(receiver.received().len(), 20, "each is sent once");
    let failed =
        ["failed", "set_back"].map(|outcome| t.app.metrics.task_steps.with_label_values(&["outgoing", outcome]).get());
    assert_eq!(failed, [0, 0]);
    t.finish().await;
}

#[sqlx::test]
async fn while_a_secret_is_rotated_both_sign_and_it_is_shown_once_and_stored_encrypted(db: PgPool) {
    let t = TestApp::with(db.clone(), &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let (id, old) = endpoint(&t, &admin, &receiver.url, &ALL).await;
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    let test = async || {
        let sent = call(&t, &admin, Method::POST, &format!("{path}/test"), None).await;
        assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.body);
        deliver(&t).await;
        receiver.received().last().cloned().expect("a message")
    };
    let message = test().await;
    assert_eq!((message.json()["type"].as_str(), verifies(&old, &message)), (Some("webhook.test"), true));
    let rotate = async |body: Value| call(&t, &admin, Method::POST, &format!("{path}/rotate-secret"), Some(body)).await;
    let rotated = rotate(json!({})).await;
    let new = rotated.body["secret"].as_str().expect("a secret").to_owned();
    let message = test().await;
    assert!(verifies(&old, &message) && verifies(&new, &message), "for 24 hours");
    t.advance(TimeDelta::hours(25));
    let message = test().await;
    assert!(!verifies(&old, &message) && verifies(&new, &message));
    let at_once = rotate(json!({"overlap_hours": 0})).await.body["secret"].as_str().expect("a secret").to_owned();
    let message = test().await;
    assert!(!verifies(&new, &message) && verifies(&at_once, &message), "a stolen one ends at once");
    for hours in [-1, 169] {
        assert_eq!(rotate(json!({"overlap_hours": hours})).await.code(), "invalid_request");
    }
    let waits = call(&t, &admin, Method::POST, &format!("{path}/test"), None).await.id();
    t.advance(TimeDelta::days(40));
    let replayed = "update outgoing_deliveries set due_at = $2 where id = $1";
    sqlx::query(replayed).bind(waits).bind(t.app.clock.now()).execute(&db).await.expect("PostgreSQL answers");
    assert!(deliveries::prune(&t.app).await.is_ok_and(|more| !more));
    let left: Vec<Uuid> =
        sqlx::query_scalar("select id from outgoing_deliveries").fetch_all(&db).await.expect("PostgreSQL answers");
    assert_eq!(left, [waits], "what is still to be sent stays");
    for secret in [&old, &new, &at_once] {
        let bare = secret.trim_start_matches("whsec_");
        assert_eq!(columns_with(&db, bare).await, Vec::<String>::new());
        let shown = t.get(&admin, &path).await.body.to_string()
            + &t.get(&admin, "/v1/admin/webhook-endpoints").await.body.to_string();
        assert!(!shown.contains(bare));
    }
    t.finish().await;
}
