//! Whose an endpoint is, and whose fault it is that nothing comes there.

use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::receiver::Receiver;
use super::{ANYWHERE, call, deliver, endpoint, make};
use crate::harness::TestApp;
use crate::service_accounts::{account, key};

/// What a stolen key made goes quiet with its machine, and staff see whose it is.
#[sqlx::test]
async fn an_endpoint_that_a_machine_made_is_told_nothing_once_the_machine_may_not(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let scopes = ["webhook_endpoints.manage", "users.read"];
    let machine = account(&t, &admin, &scopes).await;
    let key = key(&t, &admin, machine).await.1;
    t.advance(chrono::TimeDelta::seconds(1));
    let body = json!({"url": receiver.url, "event_types": ["transaction.completed"]});
    let made = t.send(Method::POST, "/v1/admin/webhook-endpoints", Some(&key), &[], Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let shown = t.get(&admin, &format!("/v1/admin/webhook-endpoints/{}", made.id())).await;
    assert_eq!(shown.body["service_account_id"], json!(machine), "{}", shown.body);
    let told = async || {
        t.advance(chrono::TimeDelta::seconds(1));
        t.customer_with(1_000).await;
        t.advance(chrono::TimeDelta::seconds(20));
        make(&t).await;
        deliver(&t).await;
        receiver.received().len()
    };
    assert_eq!(told().await, 1);
    let path = format!("/v1/admin/service-accounts/{machine}");
    for (may_not, may) in [
        (json!({"enabled": false}), json!({"enabled": true})),
        (json!({"scopes": ["users.read"]}), json!({"scopes": scopes})),
    ] {
        let before = receiver.received().len();
        let changed = call(&t, &admin, Method::PATCH, &path, Some(may_not)).await;
        assert!(changed.status.is_success(), "{}", changed.body);
        assert_eq!(told().await, before);
        let endpoint = format!("/v1/admin/webhook-endpoints/{}", made.id());
        let refused = call(&t, &admin, Method::PATCH, &endpoint, Some(json!({"enabled": true}))).await;
        assert_eq!((refused.code(), &refused.body["errors"][0]["field"]), ("invalid_request", &json!("enabled")));
        let changed = call(&t, &admin, Method::PATCH, &path, Some(may)).await;
        assert!(changed.status.is_success(), "{}", changed.body);
        assert_eq!(told().await, before, "not by itself");
        assert_eq!(t.get(&admin, &endpoint).await.body["disabled_reason"], "machine");
        call(&t, &admin, Method::PATCH, &endpoint, Some(json!({"enabled": true}))).await;
        assert_eq!(told().await, before + 1, "of what happened meanwhile it is told nothing");
    }
}

/// A key that this process has not got is no fault of the endpoint's, however often that one has failed before.
#[sqlx::test]
async fn a_fault_of_ours_buries_no_delivery_that_its_endpoint_has_kept_waiting(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    let (id, _) = endpoint(&t, &admin, &receiver.url, &["transaction.completed"]).await;
    call(&t, &admin, Method::POST, &format!("/v1/admin/webhook-endpoints/{id}/test"), None).await;
    for sql in [
        "update outgoing_deliveries set attempts = 5 where endpoint_id = $1",
        "update outgoing_secrets set secret = '\\x00' where endpoint_id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&t.app.db).await.expect("written");
    }
    deliver(&t).await;
    let state: String = sqlx::query_scalar("select state from outgoing_deliveries where endpoint_id = $1")
        .bind::<Uuid>(id)
        .fetch_one(&t.app.db)
        .await
        .expect("one");
    assert_eq!((state.as_str(), receiver.received().len()), ("pending", 0));
}
