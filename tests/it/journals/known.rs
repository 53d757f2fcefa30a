//! Whatever knows transactions knows journals: the search, the watch over lost rows, what is taken out for a person.

use chrono::TimeDelta;
use ledger::{Leg, TransferId};
use octoco::books::projector;
use octoco::money::safe_mode;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Company, approve, booked, company, entry, land, post, proposed, shown, with};
use crate::harness::TestApp;

async fn run(t: &TestApp, statement: &'static str, id: Uuid) {
    sqlx::query(statement).bind(id).execute(&t.app.db).await.expect("PostgreSQL answers");
}

#[sqlx::test]
async fn the_search_leads_from_an_id_or_a_transfer_to_the_journal(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let id = booked(&t, &maker, &checker, entry("settlement", 100), "k").await.id();
    let hit = async |q: String| t.get(&maker, &format!("/v1/admin/search?q={q}")).await.body["data"][0].clone();
    let link = json!(format!("/v1/admin/journals/{id}"));
    let found = hit(id.to_string()).await;
    assert_eq!((&found["type"], &found["link"]), (&json!("journal"), &link));
    assert_eq!(found["label"], "settlement in_transit");
    let held = TransferId::of(id, Leg::Journal).as_uuid();
    let found = hit(held.to_string()).await;
    assert_eq!((&found["type"], &found["id"], &found["link"]), (&json!("transfer"), &json!(held), &link));
    let posted = TransferId::of(id, Leg::JournalPost).as_uuid();
    assert_eq!(hit(posted.to_string()).await["type"], "journal", "not yet");
    land(&t, &checker, id, "arrived", "line 3").await;
    assert_eq!(hit(posted.to_string()).await["type"], "transfer");
    t.finish().await;
}

#[sqlx::test]
async fn a_journal_that_a_restore_lost_is_an_orphan_and_nothing_is_paid(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let id = booked(&t, &maker, &checker, entry("own_funds_in", 100), "k").await.id();
    run(&t, "delete from approvals where journal_id = $1", id).await;
    run(&t, "delete from journals where id = $1", id).await;
    projector::catch_up(&t.app).await.expect("copied");
    assert!(safe_mode::pays_nothing(&t.app).await.expect("an answer"));
    let told = t.get(&maker, "/v1/admin/safe-mode").await;
    let lost = &told.body["lost_transfers"][0];
    assert_eq!(
        (&told.body["lost"], &lost["transaction_id"], &lost["code"]),
        (&json!(1), &json!(id), &json!("own_funds_in"))
    );
    assert_eq!(t.assert_read_model_holds().await, [(TransferId::of(id, Leg::Journal).as_uuid(), id)]);
}

#[sqlx::test]
async fn a_journal_that_is_behind_the_ledger_is_seen_and_neither_declined_nor_expired(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let journal = proposed(&t, &maker, entry("own_funds_in", 100), "k").await;
    let id = journal.id();
    approve(&t, &checker, &journal).await;
    // As the backup had it: proposed, and nobody had approved it.
    run(&t, "delete from approvals where journal_id = $1", id).await;
    let back = "update journals set state = 'awaiting_approval', ended_at = null, booking_at = null, approved_hash = null,
        approved_until = null, version = 0, due_at = created_at + interval '7 days', updated_at = created_at where id = $1";
    run(&t, back, id).await;
    projector::catch_up(&t.app).await.expect("copied");
    assert!(safe_mode::pays_nothing(&t.app).await.expect("an answer"), "the row is behind");
    let body = json!({"journal_hash": journal.body["journal_hash"], "note": "no"});
    let declined = post(&t, &checker, &format!("/v1/admin/journals/{id}/decline"), "", body).await;
    assert_eq!(declined.code(), "stale_state");
    t.advance(TimeDelta::days(7));
    let checker = t.staff(Role::Finance).await;
    t.drive().await;
    let held = shown(&t, &checker, id).await;
    assert_eq!(held["held_reason"], "the ledger has booked it already: PostgreSQL is behind");
    // Approved again, it is booked already.
    run(&t, "update journals set updated_at = created_at + interval '7 days' where id = $1", id).await;
    let again = approve(&t, &checker, &journal).await;
    assert_eq!(
        (&again.body["state"], &again.body["held_reason"]),
        (&json!("completed"), &Value::Null),
        "{}",
        again.body
    );
    t.finish().await;
}

#[sqlx::test]
async fn money_on_its_way_that_a_restore_made_forget_its_arrival_is_told_once_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let id = booked(&t, &maker, &checker, entry("settlement", 100), "k").await.id();
    land(&t, &checker, id, "arrived", "line 3").await;
    let back =
        "update journals set state = 'in_transit', ended_at = null, arrival_outcome = null, arrival_reference = null,
        arrival_sha256 = null, arrival_date = null where id = $1";
    run(&t, back, id).await;
    projector::catch_up(&t.app).await.expect("copied");
    assert!(safe_mode::pays_nothing(&t.app).await.expect("an answer"), "the row is behind");
    assert_eq!(land(&t, &checker, id, "arrived", "line 3").await.body["state"], "completed");
    t.finish().await;
}

#[sqlx::test]
async fn a_write_off_is_taken_out_with_the_persons_data_and_an_open_one_keeps_the_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let company = company(&t).await;
    let Company { maker, checker, second: admin, debtor, .. } = &company;
    let body = with(entry("write_off", 100_000), json!({"user_id": debtor.id}));
    let journal = proposed(&t, maker, body, "k").await;
    let closed = t
        .send(
            Method::POST,
            &format!("/v1/admin/users/{}/close", debtor.id),
            Some(&t.token(admin)),
            &[],
            Some(json!({"reason": "left"})),
        )
        .await;
    assert_eq!(closed.code(), "account_not_empty", "{}", closed.body);
    approve(&t, checker, &journal).await;
    let data = t.get(admin, &format!("/v1/admin/users/{}/data-export", debtor.id)).await;
    assert_eq!(data.status, StatusCode::OK, "{}", data.body);
    let journals = &data.body["rows"]["journals"];
    assert_eq!((&journals[0]["kind"], &journals[0]["amount_minor"]), (&json!("write_off"), &json!(100_000)));
    t.finish().await;
}

#[sqlx::test]
async fn the_file_of_all_journals_is_whole_and_says_what_they_add_up_to(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let mut formula = entry("own_funds_in", 100);
    formula["evidence"]["reference"] = json!("=1+1");
    booked(&t, &maker, &checker, formula, "k1").await;
    t.advance(TimeDelta::seconds(1));
    let sent = booked(&t, &maker, &checker, entry("settlement", 50), "k2").await.id();
    t.advance(TimeDelta::seconds(1));
    land(&t, &checker, sent, "arrived", "line 3").await;
    proposed(&t, &maker, entry("own_funds_in", 7), "k3").await;
    let file = async |query: &str| {
        let answer = t.get(&maker, &format!("/v1/admin/journals/export{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body.as_str().expect("a text").to_owned()
    };
    let all = file("").await;
    let (rows, end) = all.split_at(all.find("#end").expect("it is whole"));
    let table: Vec<csv::StringRecord> =
        csv::Reader::from_reader(rows.as_bytes()).records().map(Result::unwrap).collect();
    assert_eq!(table.len(), 3, "{rows}");
    let column = |name: &str| {
        rows.lines().next().expect("names").split(',').position(|column| column == name).expect("a column")
    };
    let states: Vec<&str> = table.iter().map(|row| &row[column("state")]).collect();
    assert_eq!(states, ["awaiting_approval", "completed", "completed"], "newest first");
    assert_eq!((&table[1][column("debit")], &table[1][column("arrival_reference")]), ("bank", "line 3"));
    assert_eq!(&table[2][column("evidence_reference")], "'=1+1", "no formula");
    let mut end = csv::ReaderBuilder::new().has_headers(false).from_reader(end.as_bytes());
    let end = end.records().next().expect("a record").expect("readable");
    assert_eq!(end.len(), table[0].len(), "as many cells as any record");
    let trailer: Value = serde_json::from_str(&end[1]).expect("JSON");
    assert_eq!(trailer["totals"]["ZAR"], json!({"rows": 3, "amount_minor": "157", "completed_minor": "150"}));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, rows.as_bytes());
    assert_eq!((&trailer["sha256"], &trailer["bytes"]), (&json!(hex::encode(hash)), &json!(rows.len())));
    assert_eq!(file("?kind=settlement&state=completed").await.lines().count(), 3);
    assert!(file("?state=expired").await.starts_with("#end"), "none");
    assert_eq!(t.get(&maker, "/v1/admin/journals/export?kind=gift").await.status, StatusCode::BAD_REQUEST);
    t.finish().await;
}
