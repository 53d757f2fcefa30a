//! Who looked at whom, and a month of the log as a file: whole, hashed, checked without the service.

use std::io::BufReader;

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine};
use chrono::TimeDelta;
use octoco::identity::audit::{self, ChainCheck, pack};
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::binary;
use crate::harness::{Customer, TestApp};

async fn log(t: &TestApp, reader: &Customer, query: &str) -> Vec<Value> {
    let answer = t.get(reader, &format!("/v1/admin/audit?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["data"].as_array().expect("a list").clone()
}

#[sqlx::test]
async fn who_looked_at_a_customer_is_told_whatever_was_looked_at(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer_with(5_000).await, t.customer_with(700).await);
    let (support, reader) = (t.staff(Role::Support).await, t.staff(Role::Finance).await);
    let deposit: Uuid = sqlx::query_scalar("select id from transactions where user_id = $1")
        .bind(customer.id)
        .fetch_one(&t.app.db)
        .await
        .expect("one");
    let event: Uuid = sqlx::query_scalar(
        "select w.id from webhook_logs w join transactions t on t.provider_id = w.object_id where t.id = $1 limit 1",
    )
    .bind(deposit)
    .fetch_one(&t.app.db)
    .await
    .expect("an event");
    // Of an object that was replaced the row does not know any more.
    let replaced = "update transactions set provider_id = $2 where id = $1";
    let of_row: Option<Uuid> = sqlx::query_scalar("select provider_id from transactions where id = $1")
        .bind(deposit)
        .fetch_one(&t.app.db)
        .await
        .expect("one");
    sqlx::query(replaced).bind(deposit).bind(Uuid::now_v7()).execute(&t.app.db).await.expect("replaced");
    let concerned = [
        format!("/v1/admin/customers/{}", customer.id),
        format!("/v1/admin/users/{}", customer.id),
        format!("/v1/admin/transactions?user_id={}", customer.id),
        format!("/v1/admin/transactions/{deposit}"),
        format!("/v1/admin/webhooks/{event}"),
        format!("/v1/admin/webhooks?object_id={}", of_row.expect("paid")),
        format!("/v1/admin/webhooks?object_id={deposit}"),
    ];
    for path in concerned.iter().chain([&format!("/v1/admin/users/{}", other.id), &"/v1/admin/transactions".to_owned()])
    {
        t.app.clock.advance(TimeDelta::milliseconds(1));
        assert_eq!(t.get(&support, path).await.status, StatusCode::OK, "{path}");
    }
    let looked =
        log(&t, &reader, &format!("subject={}&action=staff.called&actor_email={}", customer.id, support.email)).await;
    let paths: Vec<&str> = looked.iter().rev().filter_map(|row| row["after"]["path"].as_str()).collect();
    let expected: Vec<&str> = concerned.iter().map(|path| path.split('?').next().unwrap_or_default()).collect();
    assert_eq!(paths, expected);
    // Whoever reads the log of somebody has looked at him as well.
    let readers = format!("subject={}&action=staff.called&actor_email={}", customer.id, reader.email);
    let logged = log(&t, &reader, &readers).await;
    assert!(logged.iter().any(|row| row["after"]["path"] == "/v1/admin/audit"), "{logged:?}");
    sqlx::query(replaced).bind(deposit).bind(of_row).execute(&t.app.db).await.expect("as it was");
    // What was done to the customer is there too, in pages that hold each entry once.
    let query = format!("subject={}", customer.id);
    // Each look at the log is one more.
    let no_look = |row: &&Value| row["after"]["path"] != "/v1/admin/audit";
    let all = log(&t, &reader, &format!("{query}&limit=100")).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = t.get(&reader, &format!("/v1/admin/audit?{query}&limit=2{cursor}&to=2026-03-03")).await.body;
        let rows = page["data"].as_array().expect("a list").iter().filter(no_look);
        seen.extend(rows.map(|row| row["id"].clone()));
        let Some(next) = page["page"]["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let ids: Vec<Value> = all.iter().filter(no_look).map(|row| row["id"].clone()).collect();
    assert_eq!(seen, ids);
    // By the e-mail that somebody has, exactly.
    let by_mail = log(&t, &reader, &format!("actor_email={}&limit=100", support.email.to_uppercase())).await;
    assert!(!by_mail.is_empty() && by_mail.iter().all(|row| row["actor"] == json!(support.id)));
    assert_eq!(log(&t, &reader, &format!("actor_email={}", &support.email[1..])).await, [""; 0]);
    t.finish().await;
}

/// The file, and its lines.
async fn taken(t: &TestApp, who: &Customer, month: &str) -> (reqwest::header::HeaderMap, String) {
    let answer = t.get(who, &format!("/v1/admin/audit/packs/{month}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    (answer.headers, answer.body.as_str().expect("a text").to_owned())
}

fn checked(file: &str) -> Result<ChainCheck, String> {
    pack::verify(BufReader::new(file.as_bytes())).map_err(|error| error.to_string())
}

#[sqlx::test]
async fn a_month_of_the_log_is_a_file_that_proves_itself(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    t.get(&finance, &format!("/v1/admin/customers/{}", customer.id)).await;
    let not_yet = t.get(&finance, "/v1/admin/audit/packs/2026-03").await;
    assert_eq!(not_yet.body["errors"][0]["field"], "month", "{}", not_yet.body);
    t.advance(TimeDelta::days(31));
    let finance = t.staff(Role::Finance).await;
    let (headers, file) = taken(&t, &finance, "2026-03").await;
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let Ok(ChainCheck::Intact { head, .. }) = checked(&file) else { panic!("{:?}", checked(&file)) };
    assert_eq!(header("audit-head"), head.to_string());
    assert_eq!(header("audit-positions"), format!("1-{}", head.position));
    let sha256 = digest(&SHA256, file.as_bytes());
    let base64 = BASE64_STANDARD.encode(sha256);
    assert_eq!(header("repr-digest"), format!("sha-256=:{base64}:"));
    assert_eq!(header("content-length"), file.len().to_string());
    let entries: i64 = sqlx::query_scalar("select count(*) from audit_log where at < '2026-04-01'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!((file.lines().count(), head.position), (usize::try_from(entries).expect("few") + 2, entries));
    // The chain of the service goes through its head, and the month after begins behind it.
    let verdict = audit::verify(&t.app, Some(&head)).await.expect("PostgreSQL answers");
    assert!(matches!(verdict, ChainCheck::Intact { .. }), "{verdict:?}");
    let on_record = log(&t, &finance, "action=audit.pack_taken").await;
    assert_eq!(on_record[0]["after"]["sha256"], json!(hex::encode(sha256)));
    // A day of it by itself.
    let day = &file[file.find(r#""at":""#).expect("an entry")..][6..16];
    let (_, of_day) = taken(&t, &finance, day).await;
    let Ok(ChainCheck::Intact { head: of_day_head, .. }) = checked(&of_day) else { panic!("{of_day}") };
    assert_eq!((of_day_head, of_day.lines().count()), (head.clone(), file.lines().count()));
    assert_eq!(t.get(&finance, "/v1/admin/audit/packs/2026-02-28").await.code(), "not_found");
    assert_eq!(t.get(&finance, "/v1/admin/audit/packs/2026-02-30").await.code(), "invalid_request");
    t.advance(TimeDelta::days(30));
    let finance = t.staff(Role::Finance).await;
    let (_, april) = taken(&t, &finance, "2026-04").await;
    assert!(april.contains(&format!(r#""before":"{head}""#)), "{april}");
    assert!(matches!(checked(&april), Ok(ChainCheck::Intact { .. })));
    assert_eq!(t.get(&finance, "/v1/admin/audit/packs/2026-02").await.code(), "not_found");
    assert_eq!(t.get(&finance, "/v1/admin/audit/packs/2026-13").await.code(), "invalid_request");
    let support = t.staff(Role::Support).await;
    assert_eq!(t.get(&support, "/v1/admin/audit/packs/2026-03").await.status, StatusCode::FORBIDDEN);
    // Without the service.
    let path = std::env::temp_dir().join(format!("{}.jsonl", Uuid::now_v7()));
    std::fs::write(&path, &file).expect("written");
    let (printed, ended) =
        binary::run(&["audit", "verify-pack", &path.display().to_string()], &binary::Settings::new()).await;
    assert!(ended.success() && printed.contains(&head.to_string()), "{printed}");
    std::fs::remove_file(&path).expect("removed");
    t.finish().await;
}

/// The file with the hash that it has by now.
fn trailed(file: &str) -> String {
    let (before, _) = file.trim_end().rsplit_once('\n').expect("lines");
    let sha256 = hex::encode(digest(&SHA256, format!("{before}\n").as_bytes()));
    format!("{before}\n{}\n", json!({"line": "trailer", "sha256": sha256}))
}

#[sqlx::test]
async fn a_file_in_which_anything_was_changed_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer().await;
    t.advance(TimeDelta::days(31));
    let finance = t.staff(Role::Finance).await;
    let (_, file) = taken(&t, &finance, "2026-03").await;
    let lines: Vec<&str> = file.lines().collect();
    let without = |index: usize| {
        let left: Vec<&str> = lines.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| *line).collect();
        format!("{}\n", left.join("\n"))
    };
    for (what, changed) in [
        ("a word", file.replacen("session.opened", "session.closed", 1)),
        ("who", file.replacen("\"actor_role\":\"user\"", "\"actor_role\":\"admin\"", 1)),
        ("a word, and the trailer made anew", trailed(&file.replacen("session.opened", "session.closed", 1))),
        ("an entry is gone", without(2)),
        ("the manifest is gone", without(0)),
        ("the trailer is gone", without(lines.len() - 1)),
        ("another month", file.replacen("2026-03", "2026-02", 1)),
        ("something more", format!("{file}{}\n", lines[1])),
    ] {
        assert_ne!(changed, file, "{what}");
        assert!(!matches!(checked(&changed), Ok(ChainCheck::Intact { .. })), "{what}");
    }
    for whole in [&file, &trailed(&file)] {
        assert!(matches!(checked(whole), Ok(ChainCheck::Intact { .. })));
    }
    t.finish().await;
}
