//! Whose days: dates of lists, statements and exports are those of a time zone, and a period of completions is one of its own.

use calamine::{Data, Reader, Xlsx};
use chrono::{DateTime, TimeDelta, Utc};
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::io::Cursor;
use uuid::Uuid;

use crate::binary;
use crate::exports::{export, fetch, link, text};
use crate::harness::{Customer, TestApp};
use crate::statements::pass_the_ledgers_present;

/// Deposits that came to nothing, made at these times; their ids.
async fn made_at(t: &TestApp, customer: &Customer, times: &[&str]) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for (number, time) in (1_u128..).zip(times) {
        let at: DateTime<Utc> = time.parse().expect("a time");
        let millis = u128::try_from(at.timestamp_millis()).expect("after 1970");
        let id = Uuid::from_u128(millis << 80 | 0x7000_8000 << 48 | number << 8);
        sqlx::query(
            "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, updated_at)
             values ($1, $2, 'deposit', 'expired', 'expired', 5, 'ZAR', $3)",
        )
        .bind(id)
        .bind(customer.id)
        .bind(at)
        .execute(&t.app.db)
        .await
        .expect("the row is well formed");
        ids.push(id);
    }
    ids
}

async fn listed(t: &TestApp, whom: &Customer, path: &str) -> Vec<Uuid> {
    let answer = t.get(whom, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    let rows = answer.body["data"].as_array().expect("a list");
    rows.iter().map(|row| row["id"].as_str().expect("an id").parse().expect("an id")).collect()
}

#[sqlx::test]
async fn a_date_is_a_day_of_the_zone_that_was_asked_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    // Around the beginnings of two days in Berlin, the first of which has 23 hours, and of one in Johannesburg.
    let ids = made_at(
        &t,
        &customer,
        &[
            "2025-03-29T22:59:59.999Z", "2025-03-29T23:00:00Z", "2025-03-30T21:59:59.999Z", "2025-03-30T22:00:00Z",
            "2025-03-31T00:00:00Z",
        ],
    )
    .await;
    let support = t.staff(Role::Support).await;
    for (tz, from, to, wanted) in [
        ("Europe/Berlin", "2025-03-30", "2025-03-31", 1..3),
        ("Europe/Berlin", "2025-03-31", "2025-04-01", 3..5),
        ("Africa/Johannesburg", "2025-03-30", "2025-03-31", 0..3),
        ("UTC", "2025-03-30", "2025-03-31", 2..4),
        ("America/New_York", "2025-03-29", "2025-03-30", 0..2),
        ("Europe/Berlin", "2025-03-30T00:00:00Z", "2025-03-31T00:00:00Z", 2..4),
    ] {
        let query = format!("sort=created_at&tz={tz}&from={from}&to={to}");
        assert_eq!(listed(&t, &customer, &format!("/v1/transactions?{query}")).await, ids[wanted.clone()], "{query}");
        let all = format!("/v1/admin/transactions?user_id={}&{query}", customer.id);
        assert_eq!(listed(&t, &support, &all).await, ids[wanted], "{query}");
    }
    let default = listed(&t, &customer, "/v1/transactions?sort=created_at&from=2025-03-30&to=2025-03-31").await;
    assert_eq!(default, ids[2..4], "without a zone as ever");
    let first = t.get(&customer, "/v1/transactions?tz=Europe/Berlin&limit=1&from=2025-03-30").await;
    assert!(first.body["data"][0]["created_at"].as_str().expect("a time").ends_with('Z'), "JSON is in UTC");
    let next = first.headers["link"].to_str().expect("text");
    assert!(next.contains("tz=Europe%2FBerlin"), "the next page is of the same zone: {next}");
    t.finish().await;
}

#[sqlx::test]
async fn a_zone_that_is_none_is_named(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let support = t.staff(Role::Support).await;
    let of_user = format!("/v1/admin/users/{}/statements?currency=ZAR&from=2026-01-01", customer.id);
    for zone in ["Africa/Nowhere", "", "SAST", "%2B02:00", "%00"] {
        for (whom, path) in [
            (&customer, "/v1/transactions?page=1"),
            (&customer, "/v1/transactions/export?format=csv"),
            (&customer, "/v1/statements?currency=ZAR&from=2026-01-01"),
            (&support, "/v1/admin/transactions?page=1"),
            (&support, "/v1/admin/transactions/export?format=xlsx"),
            (&support, of_user.as_str()),
        ] {
            let answer = t.get(whom, &format!("{path}&tz={zone}")).await;
            assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{path} {zone}");
            assert_eq!(answer.body["errors"][0]["field"], "tz", "{path} {zone}: {}", answer.body);
        }
    }
    let body = json!({"format": "csv", "tz": "Africa/Nowhere"});
    let answer = t.send(reqwest::Method::POST, "/v1/exports", Some(&t.token(&customer)), &[], Some(body)).await;
    assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("tz")));
    t.finish().await;
}

#[sqlx::test]
async fn files_for_people_show_the_clock_of_the_zone_and_json_does_not(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    made_at(&t, &customer, &["2025-07-01T23:30:00Z"]).await;
    let csv = text(&export(&t, &customer, "format=csv&tz=America/New_York").await).to_owned();
    assert!(csv.contains(",2025-07-01T19:30:00-04:00,"), "{csv}");
    let url = link(&t, &customer, "/v1/exports", json!({"format": "csv", "tz": "Africa/Johannesburg"})).await;
    let linked = fetch(&t, None, &url).await;
    assert!(text(&linked.bytes).contains(",2025-07-02T01:30:00+02:00,"), "{}", text(&linked.bytes));
    let jsonl = text(&export(&t, &customer, "format=jsonl&tz=America/New_York").await).to_owned();
    assert!(jsonl.contains("\"2025-07-01T23:30:00Z\""), "{jsonl}");
    let bytes = export(&t, &customer, "format=xlsx&tz=Africa/Johannesburg").await;
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(bytes)).expect("a workbook");
    let sheet = book.worksheet_range("Transactions").expect("the sheet is there");
    let column = sheet
        .rows()
        .next()
        .expect("a header")
        .iter()
        .position(|cell| matches!(cell, Data::String(text) if text == "created_at"));
    let Data::DateTime(shown) = &sheet.rows().nth(1).expect("a row")[column.expect("it is there")] else {
        panic!("a date")
    };
    assert_eq!(shown.as_f64(), 45_840.062_5, "2025-07-02 01:30:00");
    t.finish().await;
}

#[sqlx::test]
async fn a_statement_is_of_the_days_of_its_zone(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    pass_the_ledgers_present(&t).await;
    let statement = async |query: &str| t.get(&customer, &format!("/v1/statements?currency=ZAR&{query}")).await;
    let asked = statement("from=2026-03-29&to=2026-03-30&tz=Europe/Berlin").await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.body);
    assert_eq!(
        (&asked.body["from"], &asked.body["to"]),
        (&json!("2026-03-28T23:00:00Z"), &json!("2026-03-29T22:00:00Z"))
    );
    let asked = statement("from=2026-10-25&to=2026-10-26&tz=Europe/Berlin").await.body;
    assert_eq!((&asked["from"], &asked["to"]), (&json!("2026-10-24T22:00:00Z"), &json!("2026-10-25T23:00:00Z")));
    let whole = statement("from=2020-01-01&tz=Asia/Kolkata").await.body;
    assert!(whole["lines"][0]["at"].as_str().expect("a time").ends_with('Z'));
    let at: DateTime<Utc> = whole["lines"][0]["at"].as_str().expect("a time").parse().expect("a time");
    let path = "/v1/statements?currency=ZAR&from=2020-01-01&tz=Asia/Kolkata&format=csv";
    let csv = t.get(&customer, path).await.body.as_str().expect("text").to_owned();
    let line = csv.lines().find(|line| line.contains(",deposit,")).expect("a line");
    let (told, _) = line.split_once(',').expect("cells");
    assert!(told.ends_with("+05:30"), "{line}");
    assert_eq!(told.parse::<DateTime<Utc>>().expect("a time"), at);
    assert!(csv.contains("2020-01-01T00:00:00+05:30"), "the opening balance is of the first moment of that day");
    t.finish().await;
}

/// Three deposits, the last of them paid five days after it had expired; their ids and when they were completed.
async fn completed_on_three_days(t: &TestApp, customer: &Customer) -> Vec<(Uuid, DateTime<Utc>)> {
    let late = t.deposit(customer, 300, "late").await;
    t.advance(TimeDelta::hours(3));
    t.drive().await;
    assert_eq!(t.state(late.id()).await, "expired");
    let mut found = Vec::new();
    for (key, days) in [("first", 2), ("second", 3)] {
        let deposit = t.deposit(customer, 100, key).await;
        t.pay(&deposit).await;
        found.push(deposit.id());
        t.advance(TimeDelta::days(days));
        t.drive().await;
    }
    t.pay(&late).await;
    found.push(late.id());
    // Never completed, and so never of such a list.
    t.deposit(customer, 400, "open").await;
    let mut told = Vec::new();
    for id in found {
        let row = octoco::money::transactions::find(&t.app, id).await.expect("the row is there");
        told.push((id, row.completed_at.expect("it is completed")));
    }
    told
}

#[sqlx::test]
async fn a_period_of_completions_has_what_was_completed_in_it_however_long_that_took(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let rows = completed_on_three_days(&t, &customer).await;
    let theirs = completed_on_three_days(&t, &other).await;
    let support = t.staff(Role::Support).await;
    t.stay_signed_in().await;
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let ids = |rows: &[(Uuid, DateTime<Utc>)]| rows.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    for (from, to, wanted) in [(0, 1, 0..1), (1, 2, 1..2), (0, 2, 0..2), (1, 3, 1..3), (2, 3, 2..3), (0, 3, 0..3)] {
        let mut query = format!("completed_from={}", time(rows[from].1));
        if let Some((_, to)) = rows.get(to) {
            query += &format!("&completed_to={}", time(*to));
        }
        let path = |more: &str| format!("/v1/transactions?{query}{more}");
        assert_eq!(listed(&t, &customer, &path("&sort=completed_at")).await, ids(&rows[wanted.clone()]), "{query}");
        let mut newest = listed(&t, &customer, &path("")).await;
        newest.sort_unstable();
        let mut expected = ids(&rows[wanted.clone()]);
        expected.sort_unstable();
        assert_eq!(newest, expected, "{query}");
        let all = format!("/v1/admin/transactions?user_id={}&sort=-completed_at&{query}", customer.id);
        expected = ids(&rows[wanted]);
        expected.reverse();
        assert_eq!(listed(&t, &support, &all).await, expected, "{query}");
        let file = export(&t, &customer, &format!("format=csv&sort=-completed_at&{query}")).await;
        assert_eq!(crate::exports::ids("csv", &file), expected.iter().map(Uuid::to_string).collect::<Vec<_>>());
    }
    // Everybody's, page by page, in both orders.
    for sort in ["completed_at", "-completed_at"] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        let query = format!("completed_from={}&sort={sort}&limit=2", time(rows[0].1));
        loop {
            let page = t.get(&support, &format!("/v1/admin/transactions?{query}{cursor}")).await.body;
            let rows = page["data"].as_array().expect("a list").iter();
            found.extend(rows.map(|row| row["id"].as_str().expect("an id").parse::<Uuid>().expect("an id")));
            let Some(next) = page["page"]["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let mut all = [rows.clone(), theirs.clone()].concat();
        all.sort_by_key(|(id, at)| (*at, *id));
        if sort.starts_with('-') {
            all.reverse();
        }
        assert_eq!(found, ids(&all), "{sort}");
    }
    for (query, field) in [
        ("completed_from=yesterday", "completed_from"),
        ("completed_from=2026-03-02&completed_to=2026-03-01", "completed_to"),
        ("completed_to=%00", "completed_to"),
    ] {
        let answer = t.get(&customer, &format!("/v1/transactions?{query}")).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(field)));
    }
    for odd in ["completed_from=0000-01-01", "completed_from=0001-01-01&completed_to=9999-12-31"] {
        assert_eq!(t.get(&customer, &format!("/v1/transactions?{odd}")).await.status, StatusCode::OK, "{odd}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_list_by_completion_is_read_from_its_index_and_a_move_that_completes_nothing_leaves_it_alone(db: PgPool) {
    let t = TestApp::new(db).await;
    let plan: Vec<String> = {
        let mut tx = t.app.db.begin().await.expect("PostgreSQL answers");
        // What a table of millions decides by itself.
        for other in
            ["set local enable_seqscan = off", "set local enable_bitmapscan = off", "set local enable_sort = off"]
        {
            sqlx::query(other).execute(&mut *tx).await.expect("a setting");
        }
        let asked = "explain select id from transactions t where t.completed_at is not null and t.completed_at >= now() - interval '1 day'
            order by t.completed_at desc, t.id desc limit 20";
        sqlx::query_scalar(asked).fetch_all(&mut *tx).await.expect("a plan")
    };
    assert!(plan.iter().any(|line| line.contains("transactions_completed")), "{plan:?}");
    assert!(!plan.iter().any(|line| line.contains("Sort")), "{plan:?}");
    let predicates: Vec<Value> = sqlx::query_scalar(
        "select to_jsonb(pg_get_expr(indpred, indrelid)) from pg_index
          where indexrelid in ('transactions_completed'::regclass, 'transactions_slow'::regclass)",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("two indexes");
    assert!(predicates.iter().all(|told| told.as_str().is_some_and(|told| told.contains("completed_at IS NOT NULL"))));
    t.finish().await;
}

/// Its days would be others than those of the reports; and there need not be such a zone.
#[sqlx::test]
async fn no_process_starts_with_another_zone_than_the_database_has(db: PgPool) {
    let mut settings = binary::settings(&db, "unused");
    for zone in ["UTC", "Africa/Johanesburg"] {
        settings.insert("REPORTING_TIME_ZONE", zone.to_owned());
        for process in ["serve", "work"] {
            let (printed, status) = binary::run(&[process], &settings).await;
            assert!(!status.success() && printed.contains("run octoco migrate"), "{process}, {zone}: {printed}");
        }
    }
}
