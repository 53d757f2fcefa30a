//! Exports in the background: written by whoever is alive, byte for byte, kept for a day, given to whoever has the link.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::TimeDelta;
use octoco::books::exports;
use octoco::identity::audit::Actor;
use octoco::identity::users;
use octoco::platform::crash::CrashPoints;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{FORMATS, export, fetch, ids, seed, text, verify};
use crate::harness::{Answer, Customer, TestApp};

async fn start(t: &TestApp, customer: &Customer, key: &str, body: Value) -> Answer {
    start_at(t, customer, "/v1/exports", key, body).await
}

async fn start_at(t: &TestApp, customer: &Customer, path: &str, key: &str, body: Value) -> Answer {
    let headers = [("Idempotency-Key", key)];
    t.send(Method::POST, path, Some(&t.token(customer)), &headers, Some(body)).await
}

async fn show(t: &TestApp, customer: &Customer, id: Uuid) -> Value {
    let answer = t.get(customer, &format!("/v1/exports/{id}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

async fn download(t: &TestApp, export: &Value) -> Vec<u8> {
    let file = fetch(t, None, export["download_url"].as_str().expect("a link")).await;
    assert_eq!(file.status, StatusCode::OK, "{}", text(&file.bytes));
    assert_eq!(file.headers["content-length"], file.bytes.len().to_string());
    assert_eq!(export["bytes_written"], file.bytes.len());
    file.bytes
}

#[sqlx::test]
async fn an_export_in_the_background_is_the_file_of_the_stream(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 4_100).await;
    for format in FORMATS {
        let body = json!({"format": format, "state": "failed", "amount_min": 10, "sort": "-amount"});
        let started = start(&t, &customer, format, body.clone()).await;
        assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.body);
        assert_eq!((&started.body["state"], &started.body["rows_written"]), (&json!("queued"), &json!(0)));
        assert_eq!(started.body["download_url"], Value::Null);
        let again = start(&t, &customer, format, body).await;
        assert!(again.replayed() && again.id() == started.id());
        let other = start(&t, &customer, format, json!({"format": format})).await;
        assert_eq!(other.code(), "idempotency_key_reused");

        t.drive().await;
        let done = show(&t, &customer, started.id()).await;
        assert_eq!(done["state"], "completed", "{done}");
        let bytes = download(&t, &done).await;
        assert!(
            bytes == export(&t, &customer, &format!("format={format}&state=failed&amount_min=10&sort=-amount")).await
        );
        let trailer = verify(format, &bytes);
        assert_eq!((&done["rows_written"], &done["sha256"]), (&trailer["rows"], &trailer["sha256"]));
        assert_eq!(done["completed_at"], "2026-03-02T09:00:00Z");
    }
    let list = t.get(&customer, "/v1/exports?limit=2").await;
    assert_eq!(list.body["data"].as_array().map(Vec::len), Some(2));
    assert!(list.body["page"]["next_cursor"].is_string());
    t.finish().await;
}

/// Dies at two of five points that an export goes by, in an order that no page can hide from.
fn deadly(points: &'static AtomicU64) -> CrashPoints {
    CrashPoints::planned(|point| {
        let number = if point.starts_with("export.") { points.fetch_add(1, Ordering::Relaxed) } else { u64::MAX };
        number != u64::MAX && number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 < 3
    })
}

#[sqlx::test]
async fn a_worker_that_is_killed_anywhere_leaves_a_file_that_another_goes_on_with(db: PgPool) {
    static POINTS: AtomicU64 = AtomicU64::new(0);
    let t = TestApp::crashing(db, &[], deadly(&POINTS)).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 9_000).await;
    for format in FORMATS {
        let undisturbed = export(&t, &customer, &format!("format={format}&sort=amount")).await;
        let undisturbed = (verify(format, &undisturbed), undisturbed);
        let id = start(&t, &customer, format, json!({"format": format, "sort": "amount"})).await.id();
        let (mut deaths, before) = (0, POINTS.load(Ordering::Relaxed));
        while show(&t, &customer, id).await["state"] != "completed" {
            exports::step_due(&t.app, 1).await.expect("it can be claimed");
            t.advance(TimeDelta::seconds(91));
            deaths += 1;
            assert!(deaths < 100, "it never ends");
        }
        assert!(deaths > 3 && POINTS.load(Ordering::Relaxed) > before + 10, "{deaths} deaths");
        let bytes = download(&t, &show(&t, &customer, id).await).await;
        let length = usize::try_from(undisturbed.0["bytes"].as_u64().expect("a number")).expect("small");
        assert!(bytes[..length] == undisturbed.1[..length], "{format}: the same bytes up to the trailer");
        assert_eq!(verify(format, &bytes)["sha256"], undisturbed.0["sha256"]);
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_link_is_for_one_export_of_one_person_and_a_quarter_of_an_hour(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let (own, foreign) = (
        start(&t, &customer, "a", json!({"format": "csv"})).await.id(),
        start(&t, &other, "a", json!({"format": "csv"})).await.id(),
    );
    t.drive().await;
    let link = async |customer: &Customer, id| {
        let url = show(&t, customer, id).await["download_url"].as_str().expect("a link").to_owned();
        url.rsplit_once("token=").expect("a token").1.to_owned()
    };
    let (token, foreigners) = (link(&customer, own).await, link(&other, foreign).await);
    let status =
        async |id: Uuid, token: &str| fetch(&t, None, &format!("/v1/exports/{id}/download?token={token}")).await;
    assert_eq!(status(own, &token).await.status, StatusCode::OK);
    let mut tampered = token.clone().into_bytes();
    tampered[30] = if tampered[30] == b'A' { b'B' } else { b'A' };
    for (id, token) in [
        (own, foreigners.as_str()),
        (foreign, token.as_str()),
        (own, text(&tampered)),
        (own, &token[..40]),
        (own, ""),
        (own, "%00"),
        (Uuid::from_u128(7), &token),
    ] {
        let refused = status(id, token).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{id} {token}");
        assert!(text(&refused.bytes).contains("\"field\":\"token\""), "{}", text(&refused.bytes));
    }
    t.advance(TimeDelta::minutes(15));
    assert_eq!(status(own, &token).await.status, StatusCode::BAD_REQUEST, "too late");
    assert_eq!(status(own, &link(&customer, own).await).await.status, StatusCode::OK, "a new one");
    let downloads: i64 =
        sqlx::query_scalar("select count(*) from audit_log where action = 'export.downloaded' and actor = $1")
            .bind(customer.id.to_string())
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(downloads, 2);
    t.finish().await;
}

#[sqlx::test]
async fn staff_lose_what_they_exported_with_their_role(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, staff) = (t.customer().await, t.staff(Role::Support).await);
    seed(&t, customer.id, 3).await;
    let body = json!({"format": "csv", "user_id": customer.id, "held": false});
    assert_eq!(start(&t, &staff, "a", body.clone()).await.body["errors"][0]["field"], "user_id", "not over one's own");
    let id = start_at(&t, &staff, "/v1/admin/exports", "a", body).await.id();
    t.drive().await;
    let done = t.get(&staff, &format!("/v1/admin/exports/{id}")).await.body;
    assert_eq!(ids("csv", &download(&t, &done).await).len(), 3);
    assert_eq!(t.get(&staff, &format!("/v1/exports/{id}")).await.status, StatusCode::NOT_FOUND);
    users::change_role(&t.app, &Actor::system(), staff.id, Role::User).await.expect("the user is there");
    let refused = fetch(&t, None, done["download_url"].as_str().expect("a link")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    t.finish().await;
}

#[sqlx::test]
async fn two_exports_run_at_once_and_a_third_waits_for_its_turn(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 10).await;
    let started = futures_util::future::join_all(
        ["a", "b", "c", "d", "e"].map(|key| start(&t, &customer, key, json!({"format": "csv"}))),
    )
    .await;
    let accepted = started.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    let refused = started.iter().filter(|answer| answer.code() == "rate_limited").count();
    assert_eq!((accepted, refused), (2, 3), "however they race");
    t.drive().await;
    for answer in started.iter().filter(|answer| answer.status == StatusCode::ACCEPTED) {
        assert_eq!(show(&t, &customer, answer.id()).await["state"], "completed");
    }
    assert_eq!(start(&t, &customer, "f", json!({"format": "csv"})).await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn the_files_that_are_kept_for_one_user_have_a_limit(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    for number in 0..20 {
        let answer = start(&t, &customer, &format!("k{number}"), json!({"format": "csv"})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{number}: {}", answer.body);
        t.drive().await;
    }
    let refused = start(&t, &customer, "one-more", json!({"format": "csv"})).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"), "{}", refused.body);
    assert_eq!(refused.headers["retry-after"], "86400", "when the first file goes");
    assert!(start(&t, &customer, "k0", json!({"format": "csv"})).await.replayed(), "a repeat keeps nothing more");
    assert_eq!(start(&t, &other, "k0", json!({"format": "csv"})).await.status, StatusCode::ACCEPTED, "somebody else");
    t.drive().await;
    t.advance(TimeDelta::hours(24));
    t.drive().await;
    assert_eq!(start(&t, &customer, "one-more", json!({"format": "csv"})).await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_file_that_cannot_be_deleted_is_tried_again_and_stays_what_it_was(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 10).await;
    let id = start(&t, &customer, "a", json!({"format": "csv"})).await.id();
    t.drive().await;
    let sql = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&t.app.db).await.expect("a change of the schema");
    };
    sql("create function refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$;
         create trigger refuse before delete on export_chunks for each row execute function refuse()")
    .await;
    t.advance(TimeDelta::hours(24));
    for minutes in [1, 1, 5, 15, 60, 60] {
        t.drive().await;
        let due_in: f64 =
            sqlx::query_scalar("select extract(epoch from due_at - $1)::float8 from exports where id = $2")
                .bind(t.app.clock.now())
                .bind(id)
                .fetch_one(&t.app.db)
                .await
                .expect("it is due again");
        assert_eq!(due_in.to_string(), (minutes * 60).to_string());
        assert_eq!(show(&t, &customer, id).await["state"], "completed", "it has not failed: it was whole");
        t.advance(TimeDelta::minutes(minutes));
    }
    sql("drop trigger refuse on export_chunks").await;
    t.drive().await;
    assert_eq!(show(&t, &customer, id).await["state"], "expired");
    t.finish().await;
}

#[sqlx::test]
async fn a_file_is_kept_for_a_day(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 10).await;
    let id = start(&t, &customer, "a", json!({"format": "jsonl"})).await.id();
    t.drive().await;
    t.advance(TimeDelta::hours(24) - TimeDelta::minutes(5));
    t.drive().await;
    let done = show(&t, &customer, id).await;
    assert_eq!((&done["state"], &done["download_expires_at"]), (&json!("completed"), &done["expires_at"]));
    t.advance(TimeDelta::minutes(5));
    t.drive().await;
    let gone = show(&t, &customer, id).await;
    assert_eq!((&gone["state"], &gone["download_url"]), (&json!("expired"), &Value::Null));
    let chunks: i64 =
        sqlx::query_scalar("select count(*) from export_chunks").fetch_one(&t.app.db).await.expect("counted");
    assert_eq!(chunks, 0);
    t.finish().await;
}

#[sqlx::test]
async fn an_export_that_cannot_be_written_fails_after_its_last_try(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let id = start(&t, &customer, "a", json!({"format": "csv"})).await.id();
    sqlx::query("update exports set work = '\\x00'").execute(&t.app.db).await.expect("broken");
    for minutes in [0, 0, 1, 5, 15] {
        assert_ne!(show(&t, &customer, id).await["state"], "failed");
        t.advance(TimeDelta::minutes(minutes));
        assert_eq!(exports::step_due(&t.app, 1).await.expect("claimed"), 1, "after {minutes} minutes");
    }
    let failed = show(&t, &customer, id).await;
    assert_eq!(
        (&failed["state"], &failed["failure_reason"]),
        (&json!("failed"), &json!("an internal error; it was recorded"))
    );
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_download_goes_on_where_it_broke_off(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 5_000).await;
    let id = start(&t, &customer, "a", json!({"format": "jsonl"})).await.id();
    t.drive().await;
    let done = show(&t, &customer, id).await;
    let whole = download(&t, &done).await;
    assert!(whole.len() > 3 * 262_144, "over several chunks");
    let url = done["download_url"].as_str().expect("a link");
    for (range, expected) in [
        ("bytes=700000-", Some(700_000..whole.len())),
        ("bytes=262143-262144", Some(262_143..262_145)),
        ("bytes=0-0", Some(0..1)),
        ("bytes=-5", None),
    ] {
        let answer = t.http.get(url).header("range", range).send().await.expect("it answers");
        let status = if expected.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        assert_eq!(answer.status(), status, "{range}");
        let expected = expected.unwrap_or(0..whole.len());
        assert!(answer.bytes().await.expect("whole") == whole[expected], "{range}");
    }
    let beyond = t.http.get(url).header("range", format!("bytes={}-", whole.len())).send().await.expect("it answers");
    assert_eq!(beyond.status(), StatusCode::BAD_REQUEST);
    t.finish().await;
}

#[sqlx::test]
async fn what_is_stored_of_an_export_is_sealed_and_stays_in_its_place(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    seed(&t, customer.id, 3_000).await;
    let id = start(&t, &customer, "a", json!({"format": "csv", "q": "declined"})).await.id();
    t.drive().await;
    let stored: Vec<Vec<u8>> = sqlx::query_scalar("select bytes from export_chunks union all select work from exports")
        .fetch_all(&t.app.db)
        .await
        .expect("read");
    for bytes in &stored {
        assert!(!bytes.windows(8).any(|window| window == b"declined"));
    }
    sqlx::query(
        "update export_chunks a set bytes = b.bytes from export_chunks b where a.position = 1 and b.position = 0",
    )
    .execute(&t.app.db)
    .await
    .expect("moved");
    let done = show(&t, &customer, id).await;
    let url = done["download_url"].as_str().expect("a link");
    let broken = t.http.get(url).send().await.expect("it begins").bytes().await;
    assert!(broken.is_err(), "a chunk in another's place does not open");
    t.finish().await;
}
