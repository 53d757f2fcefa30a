//! Machines: a key calls the routes that its scopes are for and no other, is shown once, and ends with the next call when it is revoked.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use octoco::platform::rate_limits::Class;
use octoco::processes::router;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clear_text::columns_with;
use crate::harness::{Answer, Customer, TestApp};

async fn post(t: &TestApp, by: &Customer, path: &str, body: Value) -> Answer {
    t.send(Method::POST, path, Some(&t.token(by)), &[], Some(body)).await
}

pub(crate) async fn account(t: &TestApp, admin: &Customer, scopes: &[&str]) -> Uuid {
    let made = post(t, admin, "/v1/admin/service-accounts", json!({"name": "Orders", "scopes": scopes})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    made.id()
}

/// Its id and itself.
pub(crate) async fn key(t: &TestApp, admin: &Customer, account: Uuid) -> (Uuid, String) {
    let made = post(t, admin, &format!("/v1/admin/service-accounts/{account}/keys"), json!({})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    (made.id(), made.body["key"].as_str().expect("a key").to_owned())
}

async fn get(t: &TestApp, key: &str, path: &str) -> Answer {
    t.send(Method::GET, path, Some(key), &[], None).await
}

#[sqlx::test]
async fn a_key_calls_exactly_the_routes_whose_permission_it_was_given(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let scopes = ["transactions.read", "users.read", "webhook_endpoints.manage"];
    let key = key(&t, &admin, account(&t, &admin, &scopes).await).await.1;
    let document = router::openapi();
    let (mut allowed, mut refused) = (0, 0);
    for (path, item) in document["paths"].as_object().expect("an object") {
        for (name, operation) in item.as_object().expect("an object") {
            let Some(bearer) = operation["security"][0]["bearer"].as_array() else { continue };
            let method = Method::from_bytes(name.to_uppercase().as_bytes()).expect("a method");
            let called = path.replace("{id}", "01900000-0000-7000-8000-000000000000");
            let body = [Method::POST, Method::PATCH].contains(&method).then(|| json!({}));
            let answer = t.send(method.clone(), &called, Some(&key), &[], body).await;
            let permission = bearer.first().and_then(Value::as_str);
            let given = permission.is_some_and(|permission| scopes.contains(&permission));
            let reads = method == Method::GET || permission == Some("webhook_endpoints.manage");
            match permission {
                None => assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} is for people"),
                Some(_) if given && reads => {
                    let status = answer.status;
                    let wrong = status == StatusCode::UNAUTHORIZED
                        || status == StatusCode::FORBIDDEN
                        || status.is_server_error();
                    assert!(!wrong, "{method} {path}: {}", answer.body);
                    allowed += 1;
                }
                Some(permission) => {
                    assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "forbidden"), "{method} {path}");
                    // What somebody could give it is another thing than what no machine may do.
                    let for_some = method == Method::GET || permission.starts_with("webhook_endpoints.");
                    let reason = if for_some { "missing_permission" } else { "not_for_machines" };
                    let lacks = if for_some { json!(permission) } else { json!(null) };
                    let told = (&answer.body["reason"], &answer.body["permission"]);
                    assert_eq!(told, (&json!(reason), &lacks), "{method} {path}");
                    refused += 1;
                }
            }
        }
    }
    assert!(allowed >= 8 && refused >= 50, "{allowed} allowed, {refused} refused");
    t.finish().await;
}

#[sqlx::test]
async fn no_scope_decides_moves_money_or_gives_rights_and_only_admins_make_machines(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, finance) = (t.staff(Role::Admin).await, t.staff(Role::Finance).await);
    for scope in [
        "withdrawals.approve", "adjustments.create", "adjustments.approve", "journals.create", "users.manage_roles",
        "users.erase", "users.export_data", "users.freeze", "held.resolve", "safe_mode.leave", "requests.decide",
        "service_accounts.manage", "audit.read", "webhooks.read_whole", "",
    ] {
        let body = json!({"name": "Orders", "scopes": ["users.read", scope]});
        let refused = post(&t, &admin, "/v1/admin/service-accounts", body).await;
        assert_eq!(
            (refused.code(), &refused.body["errors"][0]["field"]),
            ("invalid_request", &json!("scopes")),
            "{scope}"
        );
    }
    let body = json!({"name": "Orders", "scopes": ["users.read"]});
    assert_eq!(post(&t, &finance, "/v1/admin/service-accounts", body.clone()).await.code(), "forbidden");
    let id = account(&t, &admin, &["users.read"]).await;
    let seen = t.get(&finance, &format!("/v1/admin/service-accounts/{id}")).await;
    assert_eq!((seen.status, &seen.body["created_by"]), (StatusCode::OK, &json!(admin.id)));
    // No machine makes another one.
    let key = key(&t, &admin, id).await.1;
    let made = t.send(Method::POST, "/v1/admin/service-accounts", Some(&key), &[], Some(body)).await;
    assert_eq!(made.code(), "forbidden");
    t.finish().await;
}

#[sqlx::test]
async fn a_key_is_shown_once_stored_as_a_hash_and_every_call_of_it_is_on_record(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let admin = t.staff(Role::Admin).await;
    let id = account(&t, &admin, &["users.read"]).await;
    let (key_id, key) = key(&t, &admin, id).await;
    assert!(key.starts_with("octoco_sk_") && key.len() == 82, "what scanners of source code look for");
    assert_eq!(get(&t, &key, "/v1/admin/users").await.status, StatusCode::OK);
    assert_eq!(get(&t, &key, "/v1/admin/audit").await.code(), "forbidden");
    let shown = t.get(&admin, &format!("/v1/admin/service-accounts/{id}")).await.body;
    assert_eq!((&shown["keys"][0]["id"], &shown["keys"][0]["hint"]), (&json!(key_id), &json!(&key[78..])));
    assert!(shown["keys"][0]["last_used_at"].is_string() && !shown.to_string().contains(&key[10..60]));
    assert_eq!(columns_with(&db, &key[10..60]).await, Vec::<String>::new());
    let audited = t.get(&admin, &format!("/v1/admin/audit?actor=service:{id}")).await.body;
    // Ids of the same millisecond are in any order.
    let told: BTreeSet<(&str, &str)> = audited["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["action"].as_str().expect("a word"), row["object_id"].as_str().expect("a word")))
        .collect();
    assert_eq!(told, BTreeSet::from([("staff.refused", "audit.read"), ("staff.called", "users.read")]));
    let audited = t.get(&admin, &format!("/v1/admin/audit?object_id={id}")).await.body;
    let actions: BTreeSet<&str> =
        audited["data"].as_array().expect("a list").iter().filter_map(|row| row["action"].as_str()).collect();
    assert_eq!(actions, BTreeSet::from(["service_account.created", "service_account.key_added"]));
    t.finish().await;
}

#[sqlx::test]
async fn a_key_ends_with_the_next_call_when_it_is_revoked_or_over_or_its_account_is_off(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let id = account(&t, &admin, &["users.read"]).await;
    let works = async |key: &str| get(&t, key, "/v1/admin/users").await.status == StatusCode::OK;
    let (first_id, first) = key(&t, &admin, id).await;
    assert!(works(&first).await);
    let path = format!("/v1/admin/service-account-keys/{first_id}");
    let revoked = t.send(Method::DELETE, &path, Some(&t.token(&admin)), &[], None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let answer = get(&t, &first, "/v1/admin/users").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    let again = t.send(Method::DELETE, &path, Some(&t.token(&admin)), &[], None).await;
    assert_eq!(again.code(), "not_found");

    let (second_id, second) = key(&t, &admin, id).await;
    let rotate = async |key: Uuid, body: Value| {
        post(&t, &admin, &format!("/v1/admin/service-account-keys/{key}/rotate"), body).await
    };
    let rotated = rotate(second_id, json!({})).await;
    let third = rotated.body["key"].as_str().expect("a key").to_owned();
    assert!(works(&second).await && works(&third).await, "for a day both");
    t.advance(TimeDelta::hours(25));
    assert!(!works(&second).await && works(&third).await);
    assert_eq!(rotate(second_id, json!({})).await.code(), "not_found", "it is over");
    assert_eq!(rotate(rotated.id(), json!({"overlap_hours": 169})).await.code(), "invalid_request");

    let account = format!("/v1/admin/service-accounts/{id}");
    let change = async |body: Value| t.send(Method::PATCH, &account, Some(&t.token(&admin)), &[], Some(body)).await;
    assert_eq!(change(json!({"enabled": false})).await.status, StatusCode::OK);
    assert!(!works(&third).await);
    change(json!({"enabled": true, "scopes": ["held.read"]})).await;
    assert_eq!(get(&t, &third, "/v1/admin/users").await.code(), "forbidden");
    change(json!({"scopes": ["users.read"]})).await;
    assert!(works(&third).await);
    t.advance(TimeDelta::days(91));
    assert!(!works(&third).await, "90 days are over");
    let admin = t.staff(Role::Admin).await;
    for days in [0, 366] {
        let refused = post(&t, &admin, &format!("{account}/keys"), json!({"expires_in_days": days})).await;
        assert_eq!(refused.code(), "invalid_request");
    }
    for _ in 0..10 {
        key(&t, &admin, id).await;
    }
    assert_eq!(
        post(&t, &admin, &format!("{account}/keys"), json!({})).await.code(),
        "invalid_request",
        "ten are enough"
    );
    t.finish().await;
}

#[sqlx::test]
async fn a_key_counts_for_itself_and_guessing_one_is_counted_by_address(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let admin = t.staff(Role::Admin).await;
    let id = account(&t, &admin, &["webhook_endpoints.read", "webhook_endpoints.manage"]).await;
    let ((one_id, one), (_, other)) = (key(&t, &admin, id).await, key(&t, &admin, id).await);
    let body = json!({"url": "https://hooks.example.com/", "event_types": ["balance.updated"]});
    let path = "/v1/admin/webhook-endpoints";
    let make = async || t.send(Method::POST, path, Some(&one), &[], Some(body.clone())).await;
    assert_eq!(t.used_up(Class::MoneyLong, &format!("service {one_id}"), make).await.code(), "rate_limited");
    assert_eq!(t.send(Method::POST, path, Some(&other), &[], Some(body)).await.status, StatusCode::CREATED);
    let wrong = format!("{}{}", &one[..81], if one.ends_with('0') { '1' } else { '0' });
    let mut tried = 0;
    while get(&t, &wrong, path).await.code() == "unauthenticated" {
        tried += 1;
        assert!(tried < 200, "{tried}");
    }
    assert_eq!(get(&t, &one, path).await.status, StatusCode::OK, "whoever has one goes on");
    // One that looks right is soon made, too: the address is counted before it is looked up.
    let guess = async || get(&t, &wrong, path).await;
    assert_eq!(t.used_up(Class::Read, "key:127.0.0.1", guess).await.code(), "rate_limited");
    t.finish().await;
}

/// The machine has nobody to ask for a code; who makes it has.
#[sqlx::test]
async fn a_machine_keeps_endpoints_without_a_step_up_and_its_maker_needs_one(db: PgPool) {
    let t = TestApp::with(db, &[("STAFF_STEP_UP", "required")]).await;
    let admin = t.staff(Role::Admin).await;
    let step_up = json!({"password": crate::harness::PASSWORD});
    t.advance(TimeDelta::minutes(6));
    let body = json!({"name": "Orders", "scopes": ["webhook_endpoints.manage"]});
    assert_eq!(post(&t, &admin, "/v1/admin/service-accounts", body).await.code(), "step_up_required");
    let stepped = post(&t, &admin, "/v1/auth/step-up", step_up).await;
    assert!(stepped.status.is_success(), "{}", stepped.body);
    let key = key(&t, &admin, account(&t, &admin, &["webhook_endpoints.manage"]).await).await.1;
    t.advance(TimeDelta::minutes(6));
    let endpoint = json!({"url": "https://hooks.example.com/", "event_types": ["transaction.completed"]});
    let refused = post(&t, &admin, "/v1/admin/webhook-endpoints", endpoint.clone()).await;
    assert_eq!(refused.code(), "step_up_required");
    let made = t.send(Method::POST, "/v1/admin/webhook-endpoints", Some(&key), &[], Some(endpoint)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    t.finish().await;
}

/// Of two integrators neither learns where the other is told, or by which secret.
#[sqlx::test]
async fn a_machine_keeps_the_endpoints_that_it_made_and_knows_of_no_other(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let scopes = ["webhook_endpoints.read", "webhook_endpoints.manage", "webhook_endpoints.replay"];
    let one = key(&t, &admin, account(&t, &admin, &scopes).await).await.1;
    let other = key(&t, &admin, account(&t, &admin, &scopes).await).await.1;
    let path = "/v1/admin/webhook-endpoints";
    let body = json!({"url": "https://hooks.example.com/", "event_types": ["transaction.completed"]});
    let made = t.send(Method::POST, path, Some(&one), &[], Some(body.clone())).await.id();
    let by_staff = post(&t, &admin, path, body).await.id();
    let tested = t.send(Method::POST, &format!("{path}/{made}/test"), Some(&one), &[], None).await;
    assert_eq!(tested.status, StatusCode::ACCEPTED, "{}", tested.body);
    let calls = [
        (Method::GET, format!("{path}/{made}"), None),
        (Method::PATCH, format!("{path}/{made}"), Some(json!({"url": "https://elsewhere.example.com/"}))),
        (Method::POST, format!("{path}/{made}/rotate-secret"), Some(json!({"overlap_hours": 0}))),
        (Method::POST, format!("{path}/{made}/test"), None),
        (Method::GET, format!("{path}/{made}/deliveries"), None),
        (Method::POST, format!("{path}/{made}/replay"), Some(json!({"since": "2026-01-01T00:00:00Z"}))),
        (Method::GET, format!("/v1/admin/webhook-deliveries/{}", tested.id()), None),
        (Method::POST, format!("/v1/admin/webhook-deliveries/{}/replay", tested.id()), None),
        (Method::DELETE, format!("{path}/{made}"), None),
    ];
    for (method, path, body) in calls.clone() {
        let refused = t.send(method.clone(), &path, Some(&other), &[], body).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::NOT_FOUND, "not_found"), "{method} {path}");
    }
    let ids = async |key: &str| {
        let listed = get(&t, key, path).await.body["data"].clone();
        let ids = listed.as_array().expect("a page").iter().map(|endpoint| endpoint["id"].clone());
        ids.collect::<Vec<Value>>()
    };
    assert_eq!((ids(&one).await, ids(&other).await), (vec![json!(made)], Vec::new()));
    assert_eq!(ids(&t.token(&admin)).await.len(), 2, "staff keep all");
    assert_eq!(get(&t, &one, &format!("{path}/{by_staff}")).await.status, StatusCode::NOT_FOUND);
    for (method, path, body) in calls {
        let served = t.send(method.clone(), &path, Some(&one), &[], body).await;
        assert!(served.status.is_success() || served.code() == "stale_state", "{method} {path}: {}", served.body);
    }
}
