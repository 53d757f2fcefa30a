//! Links to exports: the same file without a token, for a quarter of an hour, for as long as whoever asked may see it, and
//! readable by nobody.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use octoco::processes::router;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{FORMATS, export, fetch, ids, link, seed, seed_awkward, text, verify};
use crate::harness::{Answer, Customer, PASSWORD, TestApp};

async fn ask(t: &TestApp, customer: &Customer, path: &str, body: Value) -> Answer {
    t.send(Method::POST, path, Some(&t.token(customer)), &[], Some(body)).await
}

async fn assert_refused(t: &TestApp, url: &str, why: &str) {
    let refused = fetch(t, None, url).await;
    let told: Value = serde_json::from_slice(&refused.bytes).expect("a problem");
    assert_eq!((refused.status, told["code"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_request")), "{why}");
    assert_eq!(told["errors"][0]["field"], "token", "{why}: {told}");
}

#[sqlx::test]
async fn a_link_streams_the_file_that_a_token_gets(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 2_100).await;
    for format in FORMATS {
        let body = json!({"format": format, "state": "failed", "amount_min": 10, "amount_max": 900, "sort": "-amount"});
        let answer = ask(&t, &customer, "/v1/exports", body.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        assert_eq!(answer.body["expires_at"], "2026-03-02T09:15:00Z");
        let url = answer.body["download_url"].as_str().expect("a link");
        assert!(url.starts_with(&format!("{}/v1/exports/download?token=", t.app.config.public_url)), "{url}");
        let file = fetch(&t, None, url).await;
        assert_eq!(file.status, StatusCode::OK, "{}", text(&file.bytes));
        let disposition = format!("attachment; filename=\"transactions-20260302T090000Z.{format}\"");
        assert_eq!(file.headers["content-disposition"], disposition.as_str());
        assert!(!file.headers.contains_key("content-length"), "it is streamed");
        let query = format!("format={format}&state=failed&amount_min=10&amount_max=900&sort=-amount");
        assert!(file.bytes == export(&t, &customer, &query).await, "{format}: the same bytes");
        verify(format, &file.bytes);

        let rows = ids(format, &file.bytes);
        let mut rest = body;
        rest["after"] = json!(rows[1_000]);
        let rest = fetch(&t, None, &link(&t, &customer, "/v1/exports", rest).await).await;
        assert_eq!(ids(format, &rest.bytes), rows[1_001..], "{format}: it goes on");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_link_is_as_it_was_made_and_ends_after_a_quarter_of_an_hour(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    seed(&t, customer.id, 3).await;
    let (own, foreign) = (
        link(&t, &customer, "/v1/exports", json!({"format": "csv"})).await,
        link(&t, &other, "/v1/exports", json!({"format": "csv"})).await,
    );
    assert_eq!(ids("csv", &fetch(&t, None, &own).await.bytes).len(), 3);
    let by_another = fetch(&t, Some(&other.token), &own).await;
    assert_eq!(ids("csv", &by_another.bytes).len(), 3, "whoever follows it, it is over the rows of who asked");
    assert_eq!(ids("csv", &fetch(&t, None, &foreign).await.bytes).len(), 0);

    let (start, token) = own.rsplit_once("token=").expect("a token");
    let url = |token: &str| format!("{start}token={token}");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).expect("base64");
    for place in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert_refused(&t, &url(&BASE64_URL_SAFE_NO_PAD.encode(changed)), &format!("byte {place}")).await;
    }
    let others = foreign.rsplit_once("token=").expect("a token").1;
    let mixed = format!("{}{}", &token[..100], &others[100..]);
    for token in ["", "%00", "AAAA", &token[..40], &format!("{token}AAAA"), &mixed] {
        assert_refused(&t, &url(token), token).await;
    }
    assert_eq!(t.send(Method::GET, "/v1/exports/download", None, &[], None).await.status, StatusCode::BAD_REQUEST);
    t.advance(TimeDelta::minutes(15) - TimeDelta::seconds(1));
    assert_eq!(fetch(&t, None, &own).await.status, StatusCode::OK);
    t.advance(TimeDelta::seconds(1));
    assert_refused(&t, &own, "too late").await;
    t.finish().await;
}

#[sqlx::test]
async fn a_link_ends_with_the_session_that_asked_for_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let elsewhere = t.login(&customer.email, PASSWORD).await.body["access_token"].as_str().expect("a token").to_owned();
    let (body, session) = (json!({"format": "csv"}), format!("/v1/auth/sessions/{}", customer.session_id));
    let ended = link(&t, &customer, "/v1/exports", body.clone()).await;
    let kept = t.send(Method::POST, "/v1/exports", Some(&elsewhere), &[], Some(body)).await;
    assert_eq!(fetch(&t, None, &ended).await.status, StatusCode::OK);
    let answer = t.send(Method::DELETE, &session, Some(&customer.token), &[], None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    assert_refused(&t, &ended, "its session is over").await;
    let kept = kept.body["download_url"].as_str().expect("a link");
    assert_eq!(fetch(&t, None, kept).await.status, StatusCode::OK, "that of another session");
    t.finish().await;
}

#[sqlx::test]
async fn staff_lose_their_links_with_their_role(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other, staff) = (t.customer().await, t.customer().await, t.staff(Role::Support).await);
    seed(&t, customer.id, 3).await;
    seed_awkward(&t, other.id, 100_003, "no. 100", "declined").await;
    let body = json!({"format": "csv", "user_id": customer.id, "held": false});
    let answer = ask(&t, &staff, "/v1/exports", body.clone()).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "not over one's own");
    let errors = answer.body["errors"].as_array().expect("a list");
    let unknown = |field: &str| errors.iter().any(|error| error["field"] == field && error["code"] == "unknown");
    assert!(unknown("user_id") && unknown("held"), "{}", answer.body);
    let document = router::openapi();
    let shown = |body: &str| document["components"]["schemas"][body]["properties"].as_object().expect("a body").clone();
    let (own, all) = (shown("NewExport"), shown("NewStaffExport"));
    let more: Vec<&str> = all.keys().map(String::as_str).filter(|name| !own.contains_key(*name)).collect();
    assert_eq!((more, own.len()), (vec!["held", "user_id"], all.len() - 2), "customers are shown what they may send");
    assert_eq!(ask(&t, &customer, "/v1/admin/exports", body.clone()).await.status, StatusCode::FORBIDDEN);
    let url = link(&t, &staff, "/v1/admin/exports", body).await;
    let file = fetch(&t, None, &url).await.bytes;
    assert_eq!(ids("csv", &file).len(), 3);
    assert!(text(&file).starts_with("id,kind,") && text(&file).contains(",direction,user_id,"), "as staff see them");
    let own = link(&t, &staff, "/v1/exports", json!({"format": "csv"})).await;
    t.give_role(staff.id, Role::User).await;
    assert_refused(&t, &url, "a customer again").await;
    assert_eq!(fetch(&t, None, &own).await.status, StatusCode::OK, "the own rows are still the own");
    t.finish().await;
}

#[sqlx::test]
async fn a_link_has_a_greatest_length_and_what_cannot_be_exported_gets_none(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let long = json!({"format": "jsonl", "q": "\"".repeat(100), "reference": "\u{1f4b8}".repeat(255),
        "kind": "deposit,refund", "state": "completed,failed,expired", "currency": "ZAR", "amount_min": 0,
        "amount_max": i64::MAX, "from": "2026-01-01T00:00:00.000000000+02:00", "sort": "-amount,-created_at",
        "provider_id": customer.id});
    let url = link(&t, &customer, "/v1/exports", long).await;
    assert!(url.len() < 4_300, "{} characters", url.len());
    assert_eq!(fetch(&t, None, &url).await.status, StatusCode::OK);
    let twice = ["deposit"; 500].join(",");
    for (body, field) in [
        (json!({"format": "csv", "kind": twice}), "kind"),
        (json!({"format": "pdf"}), "format"),
        (json!({"format": {"csv": null}}), "format"),
        (json!({}), "format"),
        (json!({"format": "csv", "amount_min": "x"}), "amount_min"),
        (json!({"format": "csv", "after": "7"}), "after"),
        (json!({"format": "csv", "after": customer.id}), "after"),
        (json!({"format": "csv", "page": 1}), "page"),
    ] {
        let answer = ask(&t, &customer, "/v1/exports", body).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{}", answer.body);
        assert_eq!(answer.body["errors"][0]["field"], field, "{}", answer.body);
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_link_tells_nobody_what_was_searched_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let body = json!({"format": "csv", "q": "declined", "reference": "planted"});
    let url = link(&t, &customer, "/v1/exports", body).await;
    let token = BASE64_URL_SAFE_NO_PAD.decode(url.rsplit_once("token=").expect("a token").1).expect("base64");
    for word in ["declined", "planted", "csv", customer.id.to_string().as_str()] {
        assert!(!token.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
    fetch(&t, None, &url).await;
    let log: Vec<(String, String, Option<Value>)> =
        sqlx::query_as("select action, object_id, after from audit_log where object_kind = 'export' and actor = $1")
            .bind(customer.id.to_string())
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    let entry =
        |action: &str| log.iter().find(|entry| entry.0 == action).unwrap_or_else(|| panic!("{action}: {log:?}"));
    let (linked, started) = (entry("export.linked"), entry("export.started"));
    assert_eq!((log.len(), &entry("export.completed").1), (3, &started.1));
    assert_eq!(started.2.as_ref().expect("what was asked for")["link"], linked.1.as_str());
    for (action, _, told) in &log {
        let told = told.as_ref().expect("something").to_string();
        assert!(!told.contains("declined") && !told.contains("planted"), "{action}: {told}");
    }
    t.finish().await;
}
