//! An export that is under way when the session ends, the role is taken away or the key is revoked: it breaks off, as any that fails.

use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{cut_off, narrow, seed, trailer};
use crate::harness::{Customer, TestApp};

/// An answer whose first rows have come, and whose reader takes no more.
async fn begun(t: &TestApp, path: &str, token: &str) -> (TcpStream, Vec<u8>) {
    let (mut reader, mut bytes) = (narrow(t, path, token).await, Vec::new());
    while cut_off(&bytes).is_none_or(|body| !body.contains(&b'\n')) {
        assert!(reader.read_buf(&mut bytes).await.expect("it begins") > 0, "the first rows");
    }
    (reader, bytes)
}

async fn breaks_off((mut reader, mut bytes): (TcpStream, Vec<u8>)) {
    reader.read_to_end(&mut bytes).await.unwrap_or_default();
    let body = cut_off(&bytes).expect("the end was told as if the file were whole");
    let end = body.iter().rposition(|byte| *byte == b'\n').expect("a line");
    assert!(trailer("csv", &body[..=end]).is_none());
}

async fn post(t: &TestApp, by: &Customer, path: &str, body: serde_json::Value) -> crate::harness::Answer {
    t.send(Method::POST, path, Some(&t.token(by)), &[], Some(body)).await
}

#[sqlx::test]
async fn an_export_ends_with_the_session_the_role_or_the_key_of_who_asked_for_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, admin, staff) = (t.customer().await, t.staff(Role::Admin).await, t.staff(Role::Support).await);
    seed(&t, customer.id, 40_000).await;
    let (own, all) = ("/v1/transactions/export?format=csv", "/v1/admin/transactions/export?format=csv");

    let reading = begun(&t, own, &customer.token).await;
    let path = format!("/v1/auth/sessions/{}", customer.session_id);
    let ended = t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT, "{}", ended.body);
    breaks_off(reading).await;

    let reading = begun(&t, all, &staff.token).await;
    t.give_role(staff.id, Role::User).await;
    breaks_off(reading).await;

    let scopes = json!({"name": "Books", "scopes": ["transactions.read"]});
    let account = post(&t, &admin, "/v1/admin/service-accounts", scopes).await.id();
    let key = post(&t, &admin, &format!("/v1/admin/service-accounts/{account}/keys"), json!({})).await;
    let reading = begun(&t, all, key.body["key"].as_str().expect("a key")).await;
    let path = format!("/v1/admin/service-account-keys/{}", key.id());
    let revoked = t.send(Method::DELETE, &path, Some(&t.token(&admin)), &[], None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    breaks_off(reading).await;
    let broken = t.app.metrics.exports.with_label_values(&["csv", "broken"]).get();
    assert_eq!(broken, 3);
    t.finish().await;
}
