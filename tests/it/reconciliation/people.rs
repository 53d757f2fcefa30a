//! What people do with breaks and runs.

use aws_lc_rs::digest;
use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Override, Pay};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{assert_one, cycle, go_on, sql};
use crate::adjustments::{self, correction};
use crate::harness::{Answer, Customer, TestApp};
use crate::journals::{booked, company, entry, with};
use crate::overtaken;
use crate::reporting::value;

const BREAKS: &str = "/v1/admin/reconciliation/breaks";
const RUNS: &str = "/v1/admin/reconciliation/runs";

async fn post(t: &TestApp, staff: &Customer, path: &str, body: Option<Value>) -> Answer {
    t.send(Method::POST, path, Some(&t.token(staff)), &[], body).await
}

/// A service with one open break, and its path.
async fn with_a_break(db: PgPool) -> (TestApp, String) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    t.sim.set_override(Override::of(t.purchase_of(deposit.id()), "/payment/amount", json!(5_100)));
    cycle(&t).await;
    assert_one(&t, "amount_provider", "open").await;
    let staff = t.staff(Role::Support).await;
    let list = t
        .get(&staff, &format!("{BREAKS}?state=open&type=amount_provider&severity=critical&owner=on_call&min_age=0"))
        .await;
    let found = &list.body["data"][0];
    assert_eq!((found["expected"].as_i64(), found["actual"].as_i64()), (Some(5_100), Some(5_000)), "{}", list.body);
    assert_eq!(t.get(&staff, &format!("{BREAKS}?min_age=1")).await.body["data"], json!([]));
    let path = format!("{BREAKS}/{}", found["id"].as_str().expect("an id"));
    (t, path)
}

#[sqlx::test]
async fn a_break_that_is_accepted_takes_two_people(db: PgPool) {
    let (t, path) = with_a_break(db).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let resolve = format!("{path}/resolve");
    let body = json!({"code": "accepted", "note": "Revio will not correct it"});
    assert_eq!(post(&t, &one, &format!("{path}/accept"), None).await.status, StatusCode::CONFLICT, "nobody asked");
    let asked = post(&t, &one, &resolve, Some(body.clone())).await;
    assert_eq!((asked.status, asked.body["state"].as_str()), (StatusCode::OK, Some("open")), "{}", asked.body);
    assert_eq!(post(&t, &one, &format!("{path}/accept"), None).await.code(), "forbidden");
    let other = json!({"code": "accepted", "note": "another reason"});
    assert_eq!(
        post(&t, &one, &resolve, Some(other)).await.status,
        StatusCode::BAD_REQUEST,
        "somebody may have read it"
    );
    assert_eq!(post(&t, &two, &resolve, Some(body)).await.code(), "invalid_request", "to agree is another call");
    let agreed = post(&t, &two, &format!("{path}/accept"), None).await;
    assert_eq!(agreed.status, StatusCode::OK, "{}", agreed.body);
    assert_eq!(
        (agreed.body["state"].as_str(), agreed.body["resolution"].as_str()),
        (Some("resolved"), Some("accepted"))
    );
    assert_eq!(agreed.body["resolved_by"], json!(one.id));
    assert_eq!(agreed.body["accepted_by"], json!(two.id));
    let audited: Vec<String> =
        sqlx::query_scalar("select action from audit_log where object_kind = 'break' order by action")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(audited, ["break.acceptance_proposed", "break.accepted"]);
    // What was accepted stays so while the facts are the same, and is open again when they are others.
    cycle(&t).await;
    assert_one(&t, "amount_provider", "resolved").await;
    t.sim.clear_overrides();
    t.sim.set_override(Override::of("purchase", "/payment/amount", json!(5_200)));
    cycle(&t).await;
    assert_one(&t, "amount_provider", "open").await;
    let shown = t.get(&one, &path).await;
    assert_eq!(shown.body["notes"][0]["note"], json!("seen again; it was accepted"), "{}", shown.body);
    let concerned = "select count(*) from audit_log l join transactions t on l.after->>'customer' = t.user_id::text
                      where l.action = 'staff.called' and l.after->>'path' = $1";
    let concerned: i64 =
        sqlx::query_scalar(concerned).bind(&path).fetch_one(&t.app.db).await.expect("PostgreSQL answers");
    assert!(concerned > 0, "it is on the record whose break it is");
}

/// As every other act of two (docs/decisions/030).
#[sqlx::test]
async fn a_break_is_accepted_by_no_fresh_role_and_for_nobody_who_may_not_any_more(db: PgPool) {
    let (t, path) = with_a_break(db).await;
    let (one, two, fresh) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await, t.customer().await);
    let (resolve, accept) = (format!("{path}/resolve"), format!("{path}/accept"));
    let body = json!({"code": "accepted", "note": "Revio will not correct it"});
    t.give_role(fresh.id, Role::Finance).await;
    assert_eq!(post(&t, &one, &resolve, Some(body.clone())).await.status, StatusCode::OK);
    assert_eq!(post(&t, &fresh, &accept, None).await.code(), "forbidden");
    t.give_role(one.id, Role::Support).await;
    assert_eq!(post(&t, &two, &accept, None).await.code(), "stale_state", "who asked may not any more");
    t.advance(TimeDelta::seconds(1));
    t.give_role(one.id, Role::Finance).await;
    assert_eq!(post(&t, &two, &accept, None).await.code(), "stale_state", "got it anew, and did not ask anew");
    assert_eq!(post(&t, &fresh, &resolve, Some(body)).await.status, StatusCode::OK, "another one asks");
    let agreed = post(&t, &two, &accept, None).await;
    assert_eq!((agreed.status, &agreed.body["resolved_by"]), (StatusCode::OK, &json!(fresh.id)), "{}", agreed.body);
}

#[sqlx::test]
async fn what_is_booked_names_a_finished_correction(db: PgPool) {
    let (t, path) = with_a_break(db).await;
    let finance = t.staff(Role::Finance).await;
    let resolve = format!("{path}/resolve");
    let booked = json!({"code": "booked", "note": "by a correction"});
    assert_eq!(post(&t, &finance, &resolve, Some(booked.clone())).await.code(), "invalid_request");
    let mut named = booked.clone();
    named["adjustment_id"] = json!(t.app.clock.row_id());
    assert_eq!(post(&t, &finance, &resolve, Some(named)).await.code(), "invalid_request", "there is none");
    let theirs = json!({"code": "provider_error", "note": "Revio has corrected it, ticket 4711"});
    let done = post(&t, &finance, &resolve, Some(theirs.clone())).await;
    assert_eq!((done.status, done.body["state"].as_str()), (StatusCode::OK, Some("resolved")), "{}", done.body);
    assert_eq!(post(&t, &finance, &resolve, Some(theirs)).await.code(), "stale_state");
    let support = t.staff(Role::Support).await;
    assert_eq!(
        post(&t, &support, &format!("{path}/note"), Some(json!({"note": "x"}))).await.status,
        StatusCode::FORBIDDEN
    );
}

/// One person alone ends a break by no correction that has nothing to do with it.
#[sqlx::test]
async fn a_correction_ends_a_break_of_its_customer_and_in_the_direction_that_mends_it(db: PgPool) {
    let (t, path) = with_a_break(db).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let of_break: Uuid =
        sqlx::query_scalar("select user_id from breaks b join transactions t on t.id = b.transaction_id")
            .fetch_one(&t.app.db)
            .await
            .expect("one");
    let other = t.customer_with(1_000).await;
    let corrected = async |user: Uuid, direction: &str, key: &str| {
        let mut body = correction(&other, direction, 100);
        body["user_id"] = json!(user);
        let asked = adjustments::proposed(&t, &one, body, key).await;
        let done = adjustments::approve(&t, &two, asked.id(), adjustments::hash(&asked)).await;
        assert_eq!(done.body["state"], "completed", "{}", done.body);
        asked.id()
    };
    let said = async |path: &str, id: Uuid| {
        let body = json!({"code": "booked", "note": "by a correction", "adjustment_id": id});
        post(&t, &one, &format!("{path}/resolve"), Some(body)).await
    };
    let refused = async |path: &str, id: Uuid, told: &str| {
        let refused = said(path, id).await;
        assert_eq!(refused.code(), "invalid_request");
        assert!(refused.body.to_string().contains(told), "{told}: {}", refused.body);
    };
    let (foreign, wrong) = (corrected(other.id, "credit", "k1").await, corrected(of_break, "debit", "k2").await);
    refused(&path, foreign, "must be of the break's customer").await;
    refused(&path, wrong, "not in the other direction").await;
    let of_nobody = planted(&t, ("provider_only", None, Some(100), Some(100))).await;
    let right = corrected(of_break, "credit", "k3").await;
    refused(&of_nobody, right, "and this is of none").await;
    // The row says what was asked for, and the objects what was paid: a deposit that was paid twice is the customer's. Fees are nobody's.
    let row = "update breaks set transaction_id = (select transaction_id from breaks where type = 'amount_provider') where id = $1";
    let id = |path: &str| path.rsplit('/').next().and_then(|id| id.parse::<Uuid>().ok()).expect("an id");
    for (kind, told) in
        [("duplicate_provider", "not in the other direction"), ("fee_provider", "no correction mends this")]
    {
        let other = planted(&t, (kind, Some(100), Some(200), Some(100))).await;
        sql(&t, row, id(&other)).await;
        refused(&other, wrong, told).await;
    }
    // With one connection, however many others wait for theirs.
    let others = overtaken::all_connections_but_one(&t).await;
    let done = said(&path, right).await;
    drop(others);
    assert_eq!((done.status, &done.body["state"]), (StatusCode::OK, &json!("resolved")), "{}", done.body);
    // What Revio tells of the row from now on is not booked besides (`by_hand`).
    let settled = "select count(*) from adjustments a join breaks b on b.transaction_id = a.settles_id where a.transaction_id = $1";
    let settled: i64 = sqlx::query_scalar(settled).bind(right).fetch_one(&t.app.db).await.expect("a number");
    assert!(settled > 0);
}

/// What a break of a type says of the two sides, and what differs.
type Sides = (&'static str, Option<i64>, Option<i64>, Option<i64>);

/// Planted as a run leaves it.
async fn planted(t: &TestApp, (kind, expected, actual, _): Sides) -> String {
    let id = t.app.clock.row_id();
    let insert = sqlx::query(
        "insert into breaks (id, fingerprint, type, severity, leg, state, currency, expected_minor, actual_minor, since, observed,
                             first_seen_at, last_seen_at, opened_at, owner, first_run_id, last_run_id)
         select $1, $1::text, $2, 'high', 'b', 'open', 'ZAR', $3, $4, $5, 'x', $5, $5, $5, 'finance', id, id
           from reconciliation_runs limit 1",
    );
    let insert = insert.bind(id).bind(kind).bind(expected).bind(actual).bind(t.app.clock.now());
    insert.execute(&t.app.db).await.expect("the break is written");
    format!("{BREAKS}/{id}")
}

#[sqlx::test]
async fn where_money_differs_nobody_alone_says_that_it_was_our_error(db: PgPool) {
    let (t, _) = with_a_break(db).await;
    let finance = t.staff(Role::Finance).await;
    let ours = json!({"code": "our_error", "note": "we looked into it"});
    let of_money: [Sides; 11] = [
        ("bank_only", None, Some(-500), Some(-500)),
        ("provider_only", None, Some(700), Some(700)),
        ("settlement_unbooked", None, Some(-40_000), Some(-40_000)),
        ("missing_on_statement", Some(40_000), None, Some(-40_000)),
        ("bank_missing", Some(200), None, Some(-200)),
        ("settlement_late", Some(100), None, Some(-100)),
        // Given back, and Revio does not say how much.
        ("reversed_at_provider", None, Some(0), Some(0)),
        ("amount_provider", Some(100), Some(90), Some(-10)),
        // The same number of something else.
        ("currency_provider", Some(300), Some(300), Some(0)),
        // Two objects, of which Revio says nothing of one.
        ("duplicate_provider", Some(300), Some(300), Some(0)),
        ("duplicate_provider", None, None, None),
    ];
    for sides in of_money {
        let path = planted(&t, sides).await;
        let resolve = format!("{path}/resolve");
        let refused = post(&t, &finance, &resolve, Some(ours.clone())).await;
        assert_eq!(
            (refused.code(), &refused.body["errors"][0]["field"]),
            ("invalid_request", &json!("journal_id")),
            "{sides:?}"
        );
        let accepted = json!({"code": "accepted", "note": "it stays as it is"});
        let asked = post(&t, &finance, &resolve, Some(accepted)).await;
        assert_eq!((&asked.body["state"], asked.body["difference"].as_i64()), (&json!("open"), sides.3), "{sides:?}");
    }
    for sides in [("copy_line", None, None, None), ("state_ledger", Some(300), Some(300), Some(0))] {
        let path = planted(&t, sides).await;
        let done = post(&t, &finance, &format!("{path}/resolve"), Some(ours.clone())).await;
        assert_eq!((&done.body["state"], done.body["difference"].as_i64()), (&json!("resolved"), sides.3), "{sides:?}");
    }
    let shown =
        "select string_agg(type || ' ' || coalesce(difference::text, '-'), ', ' order by type) from reporting.breaks
                  where type in ('bank_missing', 'bank_only', 'copy_line')";
    assert_eq!(value(&t, shown).await, "bank_missing -2.00, bank_only -5.00, copy_line -");
}

#[sqlx::test]
async fn what_is_named_has_booked_what_differs_and_ends_one_break(db: PgPool) {
    let (t, critical) = with_a_break(db).await;
    let staff = company(&t).await;
    let by = async |path: &str, code: &str| {
        let body = json!({"code": code, "note": "by a journal", "journal_id": staff.item});
        post(&t, &staff.maker, &format!("{path}/resolve"), Some(body)).await
    };
    let refused = async |path: &str, told: &str| {
        for code in ["booked", "our_error"] {
            let refused = by(path, code).await;
            assert_eq!(
                (refused.code(), &refused.body["errors"][0]["field"]),
                ("invalid_request", &json!("journal_id"))
            );
            assert!(refused.body.to_string().contains(told), "{told}: {}", refused.body);
        }
    };
    refused(&critical, "must be of the sum that differs").await;
    // It was set aside at the bank: Revio knows nothing of it, and the bank's account went up.
    for (kind, minor) in [("bank_only", -500_000), ("provider_only", -500_000), ("provider_only", 500_000)] {
        let other = planted(&t, (kind, None, Some(minor), Some(minor))).await;
        refused(&other, "must move the account that differs").await;
    }
    let sides = ("bank_only", None, Some(500_000), Some(500_000));
    let (first, second) = (planted(&t, sides).await, planted(&t, sides).await);
    let of = |path: &str| path.rsplit('/').next().and_then(|id| id.parse::<Uuid>().ok()).expect("an id");
    sql(&t, "update breaks set currency = 'USD' where id = $1", of(&second)).await;
    refused(&second, "must be of the break's currency").await;
    sql(&t, "update breaks set currency = 'ZAR' where id = $1", of(&second)).await;
    let own = planted(&t, ("bank_missing", Some(500_000), None, Some(-500_000))).await;
    let about = "update breaks set journal_id = (select id from journals where amount_minor = 500000) where id = $1";
    sql(&t, about, of(&own)).await;
    refused(&own, "must not be what the break is about").await;
    let line = "with file as (
                  insert into statement_files (id, source, sha256, from_day, to_day, lines, matched, unmatched, content, key_id, imported_by, imported_at)
                  values ($1, 'bank', sha256('x'), '2026-01-01', '2026-01-01', 1, 1, 0, 'x', 'k', 'x', now()))
                insert into statement_lines (id, file_id, number, product, currency, amount_minor, day, journal_id, matched_by)
                select $1, $1, 1, 'bank', 'ZAR', 500000, '2026-01-01', id, 'reference' from journals where amount_minor = 500000";
    let of_line = t.app.clock.row_id();
    sql(&t, line, of_line).await;
    refused(&first, "stands on another line").await;
    sql(&t, "delete from statement_lines where id = $1", of_line).await;
    let done = by(&first, "booked").await;
    assert_eq!((done.status, &done.body["state"]), (StatusCode::OK, &json!("resolved")), "{}", done.body);
    refused(&second, "has ended another break").await;
    let asked = by(&critical, "accepted").await;
    assert_eq!((asked.status, &asked.body["state"]), (StatusCode::OK, &json!("open")), "two decide: {}", asked.body);
}

/// What a journal has set aside of a row is not credited besides when Revio tells of it; what went out is nothing of that.
#[sqlx::test]
async fn what_a_journal_that_ended_a_break_has_booked_of_a_row_is_not_booked_again(db: PgPool) {
    let (t, _) = with_a_break(db).await;
    let staff = company(&t).await;
    let customer = t.customer().await;
    for (key, fields, is_stopped) in
        [("came", json!({"account": "provider_balance"}), true), ("elsewhere", json!({"account": "bank"}), false)]
    {
        let deposit = t.deposit(&customer, 4_000, key).await;
        let asked = with(entry("suspense_in", 4_000), fields);
        let journal = booked(&t, &staff.maker, &staff.checker, asked, key).await;
        assert_eq!(journal.body["state"], "completed", "{}", journal.body);
        let kind = if is_stopped { "amount_provider" } else { "state_ledger" };
        let path = planted(&t, (kind, Some(4_000), Some(0), None)).await;
        let of = path.rsplit('/').next().and_then(|id| id.parse::<Uuid>().ok()).expect("an id");
        let about = sqlx::query("update breaks set transaction_id = $2 where id = $1").bind(of).bind(deposit.id());
        about.execute(&t.app.db).await.expect("the break is about the deposit");
        let body = json!({"code": "booked", "note": "set aside", "journal_id": journal.id()});
        let done = post(&t, &staff.maker, &format!("{path}/resolve"), Some(body)).await;
        assert_eq!((done.status, &done.body["state"]), (StatusCode::OK, &json!("resolved")), "{}", done.body);
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
        t.drive().await;
        let held: Option<String> = sqlx::query_scalar("select held_code from transactions where id = $1")
            .bind(deposit.id())
            .fetch_one(&t.app.db)
            .await
            .expect("one");
        assert_eq!(held.as_deref(), is_stopped.then_some("paid_twice"));
    }
    assert_eq!(t.balance(&customer).await, (4_000, 0, 4_000), "the second");
}

/// Any journal of the sum would keep a chargeback from the customer who picked the sum.
#[sqlx::test]
async fn a_journal_stands_for_what_goes_back_of_a_row_only_where_its_evidence_names_the_row(db: PgPool) {
    let (t, _) = with_a_break(db).await;
    let staff = company(&t).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 4_000, "d").await;
    t.pay(&deposit).await;
    let purchase = t.purchase_of(deposit.id());
    for (key, reference, named) in [
        ("any", "INVOICE-7".to_owned(), false),
        ("row", deposit.id().to_string(), true),
        ("object", purchase.to_string().to_uppercase(), true),
    ] {
        let mut asked = with(entry("provider_invoice", 4_000), json!({"account": "provider_balance"}));
        asked["evidence"]["reference"] = json!(reference);
        let journal = booked(&t, &staff.maker, &staff.checker, asked, key).await;
        assert_eq!(journal.body["state"], "completed", "{}", journal.body);
        let path = planted(&t, ("missing_on_statement", Some(4_000), None, None)).await;
        let of = path.rsplit('/').next().and_then(|id| id.parse::<Uuid>().ok()).expect("an id");
        let about = sqlx::query("update breaks set transaction_id = $2 where id = $1").bind(of).bind(deposit.id());
        about.execute(&t.app.db).await.expect("the break is about the deposit");
        let body = json!({"code": "booked", "note": "gone", "journal_id": journal.id()});
        let done = post(&t, &staff.maker, &format!("{path}/resolve"), Some(body)).await;
        if named {
            assert_eq!((done.status, &done.body["state"]), (StatusCode::OK, &json!("resolved")), "{}", done.body);
        } else {
            assert_eq!((done.code(), &done.body["errors"][0]["field"]), ("invalid_request", &json!("journal_id")));
        }
    }
    let stands = "select count(*) from journals where settles_id = $1";
    let stands: i64 = sqlx::query_scalar(stands).bind(deposit.id()).fetch_one(&t.app.db).await.expect("counted");
    assert_eq!(stands, 2);
}

/// What Revio keeps is booked beside the row: a refund of as much is a refund.
#[sqlx::test]
async fn a_journal_of_a_fee_stops_nothing_of_its_row(db: PgPool) {
    let (t, _) = with_a_break(db).await;
    let staff = company(&t).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 4_000, "d").await;
    t.pay(&deposit).await;
    let asked = with(entry("provider_invoice", 300), json!({"account": "provider_balance"}));
    let journal = booked(&t, &staff.maker, &staff.checker, asked, "fee").await;
    assert_eq!(journal.body["state"], "completed", "{}", journal.body);
    let path = planted(&t, ("fee_provider", Some(300), Some(0), None)).await;
    let of = path.rsplit('/').next().and_then(|id| id.parse::<Uuid>().ok()).expect("an id");
    let about = sqlx::query("update breaks set transaction_id = $2 where id = $1").bind(of).bind(deposit.id());
    about.execute(&t.app.db).await.expect("the break is about the deposit");
    let body = json!({"code": "booked", "note": "invoiced", "journal_id": journal.id()});
    let done = post(&t, &staff.maker, &format!("{path}/resolve"), Some(body)).await;
    assert_eq!((done.status, &done.body["state"]), (StatusCode::OK, &json!("resolved")), "{}", done.body);
    t.sim.refund_purchase(t.purchase_of(deposit.id()), Some(300)).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (3_700, 0, 3_700));
    // And Revio names it at last: it is booked.
    t.sim.set_override(Override::of(t.purchase_of(deposit.id()), "/payment/fee_amount", json!(300)));
    t.advance(TimeDelta::days(1));
    t.drive().await;
    assert_eq!(
        (t.held_reason(deposit.id()).await, t.system_balance(AccountCode::ProviderFees).await.posted()),
        (None, 300)
    );
}

#[sqlx::test]
async fn a_break_is_given_to_somebody_and_noted(db: PgPool) {
    let (t, path) = with_a_break(db).await;
    let (finance, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let assign = format!("{path}/assign");
    let to = |id| Some(json!({"owner": "finance", "assigned_to": id}));
    assert_eq!(post(&t, &finance, &assign, to(customer.id)).await.code(), "invalid_request", "no staff");
    let assigned = post(&t, &finance, &assign, to(finance.id)).await;
    assert_eq!((&assigned.body["owner"], &assigned.body["assigned_to"]), (&json!("finance"), &json!(finance.id)));
    let noted = post(&t, &finance, &format!("{path}/note"), Some(json!({"note": "asked Revio"}))).await;
    assert_eq!(noted.body["notes"][0]["note"], json!("asked Revio"), "{}", noted.body);
    assert_eq!(noted.body["notes"][0]["author"], json!(finance.id.to_string()));
    cycle(&t).await;
    assert_eq!(t.get(&finance, &path).await.body["owner"], json!("finance"), "a run takes it from nobody");
}

#[sqlx::test]
async fn a_report_is_given_out_to_the_byte_that_was_hashed_or_not_at_all(db: PgPool) {
    let (t, _) = with_a_break(db).await;
    let finance = t.staff(Role::Finance).await;
    assert_eq!(
        post(&t, &finance, RUNS, Some(json!({"kind": "daily", "since": "2026-03-01"}))).await.code(),
        "invalid_request"
    );
    let begun = post(&t, &finance, RUNS, Some(json!({"kind": "manual", "since": "2026-03-01"}))).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.body);
    let path = format!("{RUNS}/{}", begun.id());
    let under_way = t.get(&finance, &path).await;
    assert_eq!((under_way.status, &under_way.body["state"]), (StatusCode::ACCEPTED, &json!("running")));
    assert_eq!(under_way.headers["retry-after"], "10");
    assert_eq!(post(&t, &finance, RUNS, Some(json!({"kind": "manual"}))).await.code(), "stale_state", "one at a time");
    go_on(&t).await;
    let run = t.get(&finance, RUNS).await.body["data"][0].clone();
    assert_eq!((&run["state"], &run["requested_by"]), (&json!("finished"), &json!(finance.id.to_string())), "{run}");
    let bytes = async || {
        let request = t.http.get(format!("{}{path}", t.url)).bearer_auth(t.token(&finance));
        request.send().await.expect("an answer").bytes().await.expect("whole")
    };
    let report = bytes().await;
    assert_eq!(hex::encode(digest::digest(&digest::SHA256, &report)), run["report_sha256"].as_str().expect("a hash"));
    assert_eq!(report, bytes().await);
    let csv = t.get(&finance, &format!("{path}?format=csv")).await;
    let text = csv.body.as_str().expect("text");
    assert!(text.starts_with("id,type,severity,leg,state,owner,"), "{text}");
    assert!(text.contains(",amount_provider,critical,b,open,on_call,ZAR,5100,5000,-100,"), "{text}");
    sqlx::query("update reconciliation_runs set report = report || ' '::bytea where id = $1")
        .bind(begun.id())
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(t.get(&finance, &path).await.status, StatusCode::INTERNAL_SERVER_ERROR);
}

/// Whoever moves money in our own ledger, past the service, says so of nobody else.
#[sqlx::test]
async fn what_our_own_ledger_has_wrong_is_nobody_elses_to_correct(db: PgPool) {
    let (t, path) = with_a_break(db).await;
    let finance = t.staff(Role::Finance).await;
    let theirs = json!({"code": "provider_error", "note": "Revio corrects it"});
    for kind in ["transfer_without_row", "row_without_transfer", "unbalanced", "position_short"] {
        sqlx::query("update breaks set type = $1").bind(kind).execute(&t.app.db).await.expect("written");
        let refused = post(&t, &finance, &format!("{path}/resolve"), Some(theirs.clone())).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["field"]),
            (StatusCode::BAD_REQUEST, &json!("code")),
            "{kind}: {}",
            refused.body
        );
    }
}
