//! What a caller's program writes to deposits and withdrawals: shown, filtered by, exported, part of the request; gone with the person.

use chrono::TimeDelta;
use octoco::identity::audit::Actor;
use octoco::money::restrictions::{self, Kind};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::exports::{self, export, fetch, link, text};
use crate::harness::{Answer, Customer, TestApp};

async fn deposit(t: &TestApp, customer: &Customer, key: &str, metadata: Value) -> Answer {
    let body = json!({"amount": 5_000, "currency": "ZAR", "metadata": metadata});
    t.send(Method::POST, "/v1/deposits", Some(&t.token(customer)), &[("Idempotency-Key", key)], Some(body)).await
}

async fn withdraw(t: &TestApp, customer: &Customer, key: &str, metadata: Value) -> Answer {
    let account = customer.bank_account_id;
    let body = json!({"amount": 1_000, "currency": "ZAR", "bank_account_id": account, "metadata": metadata});
    t.send(Method::POST, "/v1/withdrawals", Some(&t.token(customer)), &[("Idempotency-Key", key)], Some(body)).await
}

async fn listed(t: &TestApp, customer: &Customer, path: &str) -> Vec<Uuid> {
    let page = t.get(customer, path).await;
    assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.body);
    let rows = page.body["data"].as_array().expect("a list").iter();
    rows.map(|row| row["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")).collect()
}

#[sqlx::test]
async fn metadata_is_shown_and_filtered_by_wherever_the_transaction_is(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other, staff) = (t.customer_with(20_000).await, t.customer().await, t.staff(Role::Support).await);
    let order = json!({"order.id": "A 1/042", "shop": "é&=+"});
    let one = deposit(&t, &customer, "one", order.clone()).await;
    assert_eq!((one.status, &one.body["metadata"]), (StatusCode::CREATED, &order), "{}", one.body);
    // Ids are in the order of time, which stands still.
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let two = withdraw(&t, &customer, "two", json!({"shop": "é&=+"})).await;
    assert_eq!((two.status, &two.body["metadata"]["shop"]), (StatusCode::ACCEPTED, &json!("é&=+")), "{}", two.body);
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let foreign = deposit(&t, &other, "one", order.clone()).await;
    t.drive().await;
    assert_eq!(t.get(&customer, &format!("/v1/transactions/{}", two.id())).await.body["metadata"]["shop"], "é&=+");
    let shop = "metadata%5Bshop%5D=%C3%A9%26%3D%2B";
    let both = format!("metadata[order.id]=A+1/042&{shop}");
    assert_eq!(listed(&t, &customer, &format!("/v1/transactions?{shop}")).await, [two.id(), one.id()]);
    assert_eq!(listed(&t, &customer, &format!("/v1/transactions?{both}")).await, [one.id()]);
    assert!(listed(&t, &customer, "/v1/transactions?metadata[shop]=other").await.is_empty());
    assert_eq!(listed(&t, &staff, &format!("/v1/admin/transactions?{both}")).await, [foreign.id(), one.id()]);
    // The pages after it have the same filter.
    let page = t.get(&customer, &format!("/v1/transactions?{shop}&limit=1")).await;
    let next = page.headers["link"].to_str().expect("ASCII").split("rel=\"next\"").next().expect("a link");
    let next = next.rsplit('<').next().and_then(|rest| rest.split('>').next()).expect("a path");
    assert!(next.contains("metadata%5Bshop%5D="), "{next}");
    assert_eq!(listed(&t, &customer, next).await, [one.id()]);
    // And files, by a link too.
    let csv = export(&t, &customer, &format!("format=csv&{both}")).await;
    let csv = text(&csv);
    assert!(csv.contains(r#""{""order.id"":""A 1/042"",""shop"":""é&=+""}""#), "{csv}");
    let body = json!({"format": "jsonl", "metadata": {"order.id": "A 1/042"}});
    let path = link(&t, &customer, "/v1/exports", body).await;
    let file = fetch(&t, None, &path).await;
    let lines = text(&file.bytes).lines().filter(|line| line.contains("order.id")).count();
    assert_eq!(lines, 1, "{}", text(&file.bytes));
    let log: String = sqlx::query_scalar("select string_agg(coalesce(after::text, ''), ' ') from audit_log")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert!(!log.contains("A 1/042") && !log.contains("order.id"), "no log says it");
    t.finish().await;
}

#[sqlx::test]
async fn metadata_is_part_of_the_request_and_requests_without_it_are_what_they_were(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(20_000).await;
    for first in [
        deposit(&t, &customer, "d", json!({"a": "1", "b": "2"})).await,
        withdraw(&t, &customer, "w", json!({"a": "1"})).await,
    ] {
        assert!(first.status.is_success() && !first.replayed(), "{}", first.body);
    }
    let again = deposit(&t, &customer, "d", json!({"b": "2", "a": "1"})).await;
    assert!(again.status == StatusCode::CREATED && again.replayed(), "{}", again.body);
    assert!(withdraw(&t, &customer, "w", json!({"a": "1"})).await.replayed());
    for other in [json!({"a": "1"}), json!({}), json!({"a": "1", "b": "3"})] {
        assert_eq!(deposit(&t, &customer, "d", other).await.code(), "idempotency_key_reused");
    }
    assert_eq!(withdraw(&t, &customer, "w", json!({"a": "2"})).await.code(), "idempotency_key_reused");
    let plain = t.deposit(&customer, 5_000, "plain").await;
    assert_eq!(plain.body["metadata"], json!({}));
    for nothing in [json!({}), Value::Null] {
        assert!(deposit(&t, &customer, "plain", nothing).await.replayed());
    }
    let hash: Vec<u8> = sqlx::query_scalar("select request_hash from transactions where id = $1")
        .bind(plain.id())
        .fetch_one(&db)
        .await
        .expect("PostgreSQL answers");
    let before = octoco::platform::http::RequestHash::of("deposit", &(5_000, "ZAR"));
    assert_eq!(hash, before.as_bytes(), "as it was before there was metadata");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn metadata_that_does_not_fit_is_refused_with_its_place(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for (metadata, pointer, code) in [
        (json!({"a.b": 7}), "#/metadata/a.b", "type"),
        (json!({"a b": "x"}), "#/metadata/a%20b", "format"),
        (json!({"a": "x".repeat(501)}), "#/metadata/a", "length"),
        (json!({"a": "\u{0}"}), "#/metadata/a", "characters"),
        (json!(["x"]), "#/metadata", "type"),
        (json!("x"), "#/metadata", "type"),
    ] {
        let refused = deposit(&t, &customer, "k", metadata.clone()).await;
        let error = &refused.body["errors"][0];
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{metadata}: {}", refused.body);
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{}", refused.body);
    }
    let many: serde_json::Map<String, Value> = (0..21).map(|index| (format!("k{index}"), json!("x"))).collect();
    assert_eq!(deposit(&t, &customer, "k", many.into()).await.body["errors"][0]["pointer"], "#/metadata");
    for query in ["metadata=x", "metadata[]=x", "metadata[a b]=x", "metadata[a]=x&metadata[a]=y"] {
        let refused = t.get(&customer, &format!("/v1/transactions?{}", query.replace(' ', "%20"))).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{query}");
    }
    // What stands beside it is read all the same.
    let bare = t.get(&customer, "/v1/transactions/export?format=csv&metadata=x").await;
    let named: Vec<&Value> = bare.body["errors"].as_array().expect("errors").iter().map(|it| &it["field"]).collect();
    assert_eq!((bare.status, named), (StatusCode::BAD_REQUEST, vec![&json!("metadata")]), "{}", bare.body);
    let unknown = t.get(&customer, "/v1/balances?metadata[a]=x").await;
    assert_eq!(unknown.body["errors"][0]["code"], "unknown", "{}", unknown.body);
    t.finish().await;
}

/// The parser of a query puts U+FFFD where bytes are no text. Who means that character sends it, too.
#[sqlx::test]
async fn metadata_of_the_replacement_character_is_found_and_bytes_that_are_no_text_are_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let marked = deposit(&t, &customer, "marked", json!({"k": "\u{fffd}"})).await;
    assert_eq!((marked.status, &marked.body["metadata"]["k"]), (StatusCode::CREATED, &json!("\u{fffd}")));
    assert_eq!(deposit(&t, &customer, "other", json!({"k": "x"})).await.status, StatusCode::CREATED);
    t.drive().await;
    for query in ["metadata[k]=%EF%BF%BD", "metadata%5Bk%5D=%ef%bf%bd"] {
        assert_eq!(listed(&t, &customer, &format!("/v1/transactions?{query}")).await, [marked.id()], "{query}");
    }
    for bytes in ["%FF", "%EF%BF", "%EF%BF%BD%FF", "%EF%BF%BD%BD"] {
        let refused = t.get(&customer, &format!("/v1/transactions?metadata[k]={bytes}")).await;
        let error = &refused.body["errors"][0];
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bytes}: {}", refused.body);
        assert_eq!((&error["field"], &error["code"]), (&json!("metadata[k]"), &json!("characters")), "{bytes}");
    }
    t.finish().await;
}

/// An answer far larger than its request would be ours to make and to send.
#[sqlx::test]
async fn of_a_query_of_thousands_of_unreadable_parameters_a_few_are_named(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    // Not by `get`: that holds the answer against the document, which has no parameter of this name.
    let url = format!("{}/v1/transactions?{}", t.url, ["%FF"; 3_000].join("&"));
    let refused = t.http.get(url).bearer_auth(t.token(&customer)).send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let body: Value = refused.json().await.expect("JSON");
    let errors = body["errors"].as_array().expect("a list");
    assert!((1..=20).contains(&errors.len()), "{} are named", errors.len());
    assert!(errors.iter().all(|error| error["code"] == "characters"), "{body}");
    t.finish().await;
}

#[sqlx::test]
async fn metadata_is_taken_out_for_the_person_and_goes_with_the_person(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let paid = deposit(&t, &customer, "d", json!({"name": "Thandi"})).await;
    t.pay(&paid).await;
    let account = customer.bank_account_id;
    let body = json!({"amount": 5_000, "currency": "ZAR", "bank_account_id": account, "metadata": {"name": "Thandi"}});
    let headers = [("Idempotency-Key", "w")];
    t.send(Method::POST, "/v1/withdrawals", Some(&t.token(&customer)), &headers, Some(body)).await;
    t.drive().await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let taken = t.get(&one, &format!("/v1/admin/users/{}/data-export", customer.id)).await;
    assert_eq!(taken.body["rows"]["transactions"][0]["metadata"], json!({"name": "Thandi"}), "{}", taken.body);
    restrictions::impose(&t.app, &Actor::system(), customer.id, Kind::Closure, "left").await.expect("it is empty");
    for by in [&one, &two] {
        let path = format!("/v1/admin/users/{}/erase", customer.id);
        let asked = t.send(Method::POST, &path, Some(&by.token), &[], Some(json!({"note": "asked for"}))).await;
        assert!(asked.status.is_success(), "{}", asked.body);
    }
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from transactions where metadata <> '{}')
              + (select count(*) from bank_accounts where user_id = $1 and (fingerprint is not null or idempotency_key is not null))",
    )
    .bind(customer.id)
    .fetch_one(&db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(left, 0);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn only_rows_with_metadata_are_in_its_index(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    t.deposit(&customer, 5_000, "plain").await;
    let index: String = sqlx::query_scalar("select indexdef from pg_indexes where indexname = 'transactions_metadata'")
        .fetch_one(&db)
        .await
        .expect("PostgreSQL answers");
    assert!(index.contains("WHERE (metadata <> '{}'::jsonb)"), "{index}");
    t.drive().await;
    t.finish().await;
}

/// To a spreadsheet that separates by semicolons the quotes of a cell in the middle of a line quote nothing.
#[sqlx::test]
async fn what_a_spreadsheet_would_calculate_in_metadata_is_written_by_its_number_and_reads_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let metadata = json!({"note": "x;=cmd|' /C calc'!A0;y", "order": "a-1; \"+2", "plain": "=1"});
    let body = json!({"amount": 500, "currency": "ZAR", "metadata": metadata});
    let made =
        t.send(Method::POST, "/v1/deposits", Some(&customer.token), &[("Idempotency-Key", "k")], Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let file = fetch(&t, Some(&customer.token), "/v1/transactions/export?format=csv").await;
    let told = text(&file.bytes);
    let cells = told.split(';').map(|cell| cell.trim_start_matches(['"', ' ']));
    let formulas: Vec<&str> = cells.filter(|cell| cell.starts_with(['=', '+', '-', '@'])).collect();
    assert_eq!(formulas, [""; 0], "{told}");
    let mut reader = csv::Reader::from_reader(told.as_bytes());
    let row = reader.records().next().expect("a row").expect("readable");
    assert_eq!(serde_json::from_str::<Value>(row.iter().next_back().expect("a cell")).expect("JSON"), metadata);
    t.finish().await;
}

/// What programs wrote to a thousand rows may be far more than a page is; then it is more pages, and nothing is left out.
#[sqlx::test]
async fn an_export_of_rows_with_very_much_metadata_has_all_of_them(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    exports::seed(&t, customer.id, 5).await;
    let long = "update transactions set metadata = jsonb_build_object('note', repeat('x', 700000))";
    sqlx::query(long).execute(&t.app.db).await.expect("written");
    for format in ["csv", "jsonl"] {
        let file = export(&t, &customer, &format!("format={format}")).await;
        assert_eq!(exports::ids(format, &file).len(), 5, "{format}");
        assert_eq!(exports::verify(format, &file)["rows"], 5, "{format}");
    }
}
