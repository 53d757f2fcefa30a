//! Revio's statement of each day, asked for by itself.

use std::future::ready;

use axum::http::{StatusCode, Uri};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use octoco::finance::statement_files;
use octoco::platform::permissions::Role;
use revio_sim::{Headings, StatementSettings, Unit};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::clear_text::columns_with;
use crate::harness::TestApp;
use crate::statement_files::{deposits, file, uploaded};

/// As the worker does, minute by minute.
async fn fetch(t: &TestApp, minutes: usize) {
    for _ in 0..minutes {
        while statement_files::step(&t.app).await.expect("requests can be claimed") {}
        t.advance(TimeDelta::minutes(1));
    }
}

/// It may be of a part of the day, or without a line; Revio's own word is heard besides.
#[sqlx::test]
async fn a_file_that_somebody_brings_keeps_no_day_from_being_fetched(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_050, 20_000, 30_000]).await;
    octoco::books::projector::catch_up(&t.app).await.expect("copied");
    sqlx::query("update ledger_accounts set opened_timestamp = 1").execute(&db).await.expect("written");
    let noon = "source=revio&unit=minor&from=2026-03-02&to=2026-03-02";
    uploaded(&t, &finance, noon, file(&paid[..1])).await;
    t.advance(TimeDelta::days(1));
    fetch(&t, 12).await;
    let fetched: Vec<i32> =
        sqlx::query_scalar("select lines from statement_files where provider_id is not null and to_day = '2026-03-02'")
            .fetch_all(&db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(fetched, [3]);
}

#[sqlx::test]
async fn revios_statement_of_each_day_is_fetched_by_itself(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    deposits(&t, &[10_050, 20_000, 30_000]).await;
    // To the ledger the first account was opened on this machine's day.
    octoco::books::projector::catch_up(&t.app).await.expect("copied");
    sqlx::query("update ledger_accounts set opened_timestamp = 1").execute(&db).await.expect("written");
    let requests = async || -> Vec<(NaiveDate, String, Option<String>)> {
        let rows = sqlx::query_as("select day, state, failure from statement_requests order by day");
        rows.fetch_all(&db).await.expect("PostgreSQL answers")
    };
    t.sim.set_statements(StatementSettings {
        headings: Headings::Odd,
        unit: Unit::Rands,
        signed: false,
        ..StatementSettings::default()
    });
    t.advance(TimeDelta::days(1));
    fetch(&t, 12).await;
    let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
    let states = requests().await;
    assert_eq!(states.len(), 7, "a week is caught up with");
    assert!(states.iter().all(|(_, state, failure)| state == "imported" && failure.is_none()), "{states:?}");
    assert_eq!(states[6].0, day("2026-03-02"));
    let files: Vec<(NaiveDate, i32, i32, String)> =
        sqlx::query_as("select to_day, lines, matched, imported_by from statement_files order by to_day")
            .fetch_all(&db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(files.len(), 7, "days without a line are files of their own");
    assert_eq!(files[6], (day("2026-03-02"), 3, 3, "system".to_owned()));

    // A quiet day has too few lines to prove anything: the unit of the last file that was proved, for the same maker.
    deposits(&t, &[7_000]).await;
    t.advance(TimeDelta::days(1));
    fetch(&t, 8).await;
    assert_eq!(requests().await.last().map(|(_, state, _)| state.clone()), Some("imported".to_owned()));
    // What cannot be made is given up, and told.
    t.sim.set_statements(StatementSettings { fails: true, ..StatementSettings::default() });
    t.advance(TimeDelta::days(1));
    fetch(&t, 90).await;
    let last = requests().await.pop().expect("a day");
    assert_eq!((last.1.as_str(), last.2.is_some()), ("failed", true), "{last:?}");
    statement_files::measure(&t.app).await.expect("measured");
    assert!(t.app.metrics.render().contains(r#"octoco_queue_rows{queue="statements",what="failed"} 1"#));
}

/// On a quiet day the unit is that of the last file that was proved; what somebody said of one in between, wrong as it may be, is not.
#[sqlx::test]
async fn a_unit_that_a_person_said_is_of_that_file_alone(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    deposits(&t, &[10_050, 20_000, 30_000]).await;
    octoco::books::projector::catch_up(&t.app).await.expect("copied");
    sqlx::query("update ledger_accounts set opened_timestamp = 1").execute(&db).await.expect("written");
    let settings = StatementSettings { unit: Unit::Rands, signed: false, ..StatementSettings::default() };
    t.sim.set_statements(settings);
    t.advance(TimeDelta::days(1));
    fetch(&t, 12).await;
    let finance = t.staff(Role::Finance).await;
    let rands = "id,product,status,currency,amount,paid_on\n,purchase,paid,ZAR,12,2026-03-02\n";
    let wrong = uploaded(&t, &finance, "source=revio&unit=minor", rands).await;
    assert_eq!((&wrong.body["unit"], &wrong.body["unit_proved"]), (&"minor".into(), &false.into()));
    deposits(&t, &[7_000]).await;
    t.advance(TimeDelta::days(1));
    fetch(&t, 8).await;
    let fetched: Vec<(NaiveDate, String, bool)> = sqlx::query_as(
        "select to_day, unit, unit_proved from statement_files where imported_by = 'system' and lines > 0 order by to_day",
    )
    .fetch_all(&db)
    .await
    .expect("PostgreSQL answers");
    let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
    assert_eq!(
        fetched,
        [(day("2026-03-02"), "major".to_owned(), true), (day("2026-03-03"), "major".to_owned(), false)]
    );
}

/// Whatever is asked for is made at once, and is this file, with this status.
#[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
async fn revio_with(word: &str, (status, file): (StatusCode, &'static str)) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let url = format!("http://{}/api/v1/", listener.local_addr().expect("bound"));
    let made = json!({"id": Uuid::nil(), "status": word, "download_url": "/file", "finished_on": 1_772_500_000});
    let made = made.to_string();
    let answers = move |uri: Uri| {
        ready(if uri.path() == "/file" { (status, file.to_owned()) } else { (StatusCode::OK, made.clone()) })
    };
    let router = axum::Router::new().fallback(answers);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Its books begin on 2026-03-02, and the day after has come.
async fn fetching_from(db: &PgPool, word: &str, file: (StatusCode, &'static str)) -> TestApp {
    let url = revio_with(word, file).await;
    let t = TestApp::with(db.clone(), &[("REVIO_BASE_URL", &url)]).await;
    let opened = "insert into ledger_accounts (id, code, name, currency, opened_timestamp)
                  values ($1, 1000, 'provider_balance', 'ZAR', extract(epoch from timestamptz '2026-03-02 09:00Z')::bigint * 1000000000)";
    sqlx::query(opened).bind(Uuid::new_v4()).execute(db).await.expect("written");
    t.advance(TimeDelta::days(1));
    t
}

/// Revio answers, and says that it has made it: that is no outage.
#[sqlx::test]
async fn a_statement_that_cannot_be_taken_is_asked_for_anew_and_is_for_a_person_in_the_end(db: PgPool) {
    let t = fetching_from(&db, "success", (StatusCode::SERVICE_UNAVAILABLE, "")).await;
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..24 {
        fetch(&t, 60).await;
        let made: Option<DateTime<Utc>> =
            sqlx::query_scalar("select asked_at from statement_requests where day = '2026-03-02'")
                .fetch_one(&db)
                .await
                .expect("PostgreSQL answers");
        asked.extend(made);
    }
    let given_up = "select state from statement_requests where day = '2026-03-02'";
    let state: String = sqlx::query_scalar(given_up).fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!((state.as_str(), asked.len()), ("failed", 5), "{asked:?}");
}

/// Revio's words for how far it is are an open list.
#[sqlx::test]
async fn a_statement_that_is_finished_by_a_word_that_nobody_knows_is_taken(db: PgPool) {
    let empty = "id,product,status,currency,amount,paid_on\n";
    let t = fetching_from(&db, "completed", (StatusCode::OK, empty)).await;
    fetch(&t, 40).await;
    let state = "select state from statement_requests where day = '2026-03-02'";
    let state: String = sqlx::query_scalar(state).fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!(state, "imported");
}

/// Where headings should be, there is a payer.
#[sqlx::test]
async fn why_a_fetched_file_cannot_be_read_is_told_without_its_cells(db: PgPool) {
    let t = fetching_from(&db, "success", (StatusCode::OK, "Thandi Nkosi,purchase,paid,10.00\n")).await;
    fetch(&t, 40).await;
    assert!(columns_with(&db, "Nkosi").await.is_empty());
    let finance = t.staff(Role::Finance).await;
    let days = async |state: &str| {
        let path = format!("/v1/admin/reconciliation/statements/days?state={state}");
        t.get(&finance, &path).await.body["data"].as_array().cloned().expect("a list")
    };
    let failed = days("failed").await;
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0]["day"], &failed[0]["due_at"]), (&"2026-03-02".into(), &Value::Null));
    assert_eq!(failed[0]["failure"], "columns that it must have are not there");
    let empty = "id,product,status,currency,amount,paid_on\n";
    let brought = uploaded(&t, &finance, "source=revio&unit=minor&from=2026-03-02&to=2026-03-02", empty).await;
    assert_eq!((brought.status, days("failed").await), (StatusCode::OK, vec![]));
    assert_eq!(days("imported").await[0]["file_id"], brought.body["id"]);
    assert_eq!(days("open").await, Vec::<Value>::new());
    let early = "update statement_files set imported_at = '2026-03-02 12:00Z'";
    sqlx::query(early).execute(&db).await.expect("of the day as far as it had gone");
    assert_eq!(days("failed").await, failed);
    let unknown = t.get(&finance, "/v1/admin/reconciliation/statements/days?state=lost").await;
    assert_eq!((unknown.status, &unknown.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &"state".into()));
}
