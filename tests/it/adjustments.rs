//! Corrections by staff: made by one, checked by another, booked once.

use chrono::TimeDelta;
use futures_util::future::join_all;
use ledger::AccountCode;
use octoco::identity::audit::Actor;
use octoco::money::approvals::SubjectHash;
use octoco::money::restrictions;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::exports;
use crate::four_eyes::season;
use crate::harness::{Answer, Customer, TestApp};

struct Staff {
    maker: Customer,
    checker: Customer,
}

async fn staff(t: &TestApp) -> Staff {
    Staff { maker: t.staff(Role::Finance).await, checker: t.staff(Role::Finance).await }
}

pub(crate) fn correction(customer: &Customer, direction: &str, amount: i64) -> Value {
    json!({"user_id": customer.id, "direction": direction, "amount": amount, "currency": "ZAR",
        "counterpart": "equity", "reason": "a payment without a reference"})
}

pub(crate) async fn propose(t: &TestApp, maker: &Customer, body: Value, key: &str) -> Answer {
    let headers = [("Idempotency-Key", key)];
    t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(maker)), &headers, Some(body)).await
}

pub(crate) async fn proposed(t: &TestApp, maker: &Customer, body: Value, key: &str) -> Answer {
    let answer = propose(t, maker, body, key).await;
    assert_eq!(
        (answer.status, &answer.body["state"]),
        (StatusCode::CREATED, &json!("awaiting_approval")),
        "{}",
        answer.body
    );
    answer
}

pub(crate) fn hash(adjustment: &Answer) -> &str {
    adjustment.body["adjustment_hash"].as_str().expect("a hash")
}

pub(crate) async fn approve(t: &TestApp, checker: &Customer, id: Uuid, hash: &str) -> Answer {
    let path = format!("/v1/admin/adjustments/{id}/approve");
    t.send(Method::POST, &path, Some(&t.token(checker)), &[], Some(json!({"adjustment_hash": hash}))).await
}

async fn decline(t: &TestApp, checker: &Customer, id: Uuid, hash: &str) -> Answer {
    let path = format!("/v1/admin/adjustments/{id}/decline");
    let body = json!({"adjustment_hash": hash, "note": "the wrong customer"});
    t.send(Method::POST, &path, Some(&t.token(checker)), &[], Some(body)).await
}

#[sqlx::test]
async fn a_correction_is_booked_once_when_somebody_else_has_checked_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let adjustment = proposed(&t, &maker, correction(&customer, "credit", 2_500), "a1").await;
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000), "nothing moves yet");
    let own = t.get(&customer, "/v1/transactions?kind=adjustment").await;
    assert_eq!(own.body["page"]["total"], 0, "the customer does not know of it yet");
    let path = format!("/v1/transactions/{}", adjustment.id());
    assert_eq!(t.get(&customer, &path).await.status, StatusCode::NOT_FOUND);
    let own = approve(&t, &maker, adjustment.id(), hash(&adjustment)).await;
    assert_eq!((own.status, own.code()), (StatusCode::FORBIDDEN, "forbidden"), "not by its maker");
    let calls = (0..20).map(|_| approve(&t, &checker, adjustment.id(), hash(&adjustment)));
    let answers = join_all(calls).await;
    let done = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!((done, answers.iter().filter(|answer| answer.code() == "stale_state").count()), (1, 19));
    let booked = answers.iter().find(|answer| answer.status == StatusCode::OK).expect("one");
    assert_eq!(
        (&booked.body["state"], &booked.body["approvals"][0]["approver_id"]),
        (&json!("completed"), &json!(checker.id))
    );
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (12_500, 0, 12_500));
    assert_eq!(t.system_balance(AccountCode::Equity).await.posted(), -2_500);
    let own = t.get(&customer, "/v1/transactions?kind=adjustment&state=completed").await;
    assert_eq!(own.body["page"]["total"], 1, "the customer sees it");
    assert_eq!(t.get(&customer, &path).await.status, StatusCode::OK);
    let actions: Vec<String> =
        sqlx::query_scalar("select action from audit_log where action like 'adjustment.%' order by id")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(actions.len(), 2, "{actions:?}");
    t.finish().await;
}

#[sqlx::test]
async fn each_account_of_the_company_may_stand_on_the_other_side(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let names = ["provider_balance", "bank", "suspense", "equity", "fee_income", "chargeback_losses"];
    let mut expected = 10_000;
    for name in names {
        // What leaves suspense names what it clears: what was put there before.
        let ways =
            if name == "suspense" { [("debit", 300), ("credit", 100)] } else { [("credit", 300), ("debit", 100)] };
        let mut item = None;
        for (direction, amount) in ways {
            let mut body = correction(&customer, direction, amount);
            body["counterpart"] = json!(name);
            body["item_id"] = json!(item);
            let adjustment = proposed(&t, &maker, body, &format!("{name}-{direction}")).await;
            let booked = approve(&t, &checker, adjustment.id(), hash(&adjustment)).await;
            assert_eq!(booked.body["state"], "completed", "{}", booked.body);
            item = (name == "suspense").then(|| booked.id());
        }
        expected += if name == "suspense" { -200 } else { 200 };
        let posted = expected;
        assert_eq!(t.balance(&customer).await, (posted, 0, posted), "{name}");
    }
    assert_eq!(t.system_balance(AccountCode::ChargebackLosses).await.posted(), 200);
    assert_eq!(t.system_balance(AccountCode::Equity).await.posted(), -200);
    t.finish().await;
}

#[sqlx::test]
async fn a_debit_above_the_balance_is_rejected(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let too_much = proposed(&t, &maker, correction(&customer, "debit", 10_001), "a1").await;
    let rejected = approve(&t, &checker, too_much.id(), hash(&too_much)).await;
    assert_eq!((rejected.status, &rejected.body["state"]), (StatusCode::OK, &json!("rejected")));
    assert_eq!(rejected.body["failure_reason"], "insufficient_funds");
    let all = proposed(&t, &maker, correction(&customer, "debit", 10_000), "a2").await;
    assert_eq!(approve(&t, &checker, all.id(), hash(&all)).await.body["state"], "completed");
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    let never_opened = t.customer().await;
    let debit = proposed(&t, &maker, correction(&never_opened, "debit", 1), "a3").await;
    assert_eq!(approve(&t, &checker, debit.id(), hash(&debit)).await.body["state"], "rejected");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_declined_or_forgotten_correction_moves_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let first = proposed(&t, &maker, correction(&customer, "credit", 2_500), "a1").await;
    assert_eq!(decline(&t, &maker, first.id(), hash(&first)).await.code(), "forbidden", "not by its maker");
    let declined = decline(&t, &checker, first.id(), hash(&first)).await;
    assert_eq!((declined.status, &declined.body["state"]), (StatusCode::OK, &json!("cancelled")));
    assert_eq!(approve(&t, &checker, first.id(), hash(&first)).await.code(), "stale_state");
    let second = proposed(&t, &maker, correction(&customer, "credit", 2_500), "a2").await;
    t.advance(TimeDelta::days(7));
    let checker = t.staff(Role::Finance).await;
    assert_eq!(approve(&t, &checker, second.id(), hash(&second)).await.code(), "stale_state", "too late");
    t.drive().await;
    assert_eq!(t.state(second.id()).await, "expired");
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    let listed = t.get(&checker, "/v1/admin/adjustments?state=cancelled").await;
    assert_eq!(
        (listed.body["data"].as_array().map(Vec::len), &listed.body["data"][0]["id"]),
        (Some(1), &json!(first.id()))
    );
    t.finish().await;
}

#[sqlx::test]
async fn neither_the_maker_nor_the_checker_is_the_customer(db: PgPool) {
    let t = TestApp::new(db).await;
    let (insider, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    t.give_role(insider.id, Role::Admin).await;
    season(&t, insider.id).await;
    for direction in ["credit", "debit"] {
        assert_eq!(propose(&t, &insider, correction(&insider, direction, 100), "a1").await.code(), "forbidden");
    }
    let adjustment = proposed(&t, &maker, correction(&insider, "debit", 100), "a1").await;
    assert_eq!(approve(&t, &insider, adjustment.id(), hash(&adjustment)).await.code(), "forbidden");
    let support = t.staff(Role::Support).await;
    assert_eq!(propose(&t, &support, correction(&insider, "credit", 100), "a1").await.code(), "forbidden");
    assert_eq!(t.get(&support, &format!("/v1/admin/adjustments/{}", adjustment.id())).await.status, StatusCode::OK);
    assert_eq!(approve(&t, &checker, adjustment.id(), hash(&adjustment)).await.body["state"], "completed");
    t.finish().await;
}

#[sqlx::test]
async fn a_correction_of_a_closed_wallet_is_rejected(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer().await, staff(&t).await);
    let closed = restrictions::impose(&t.app, &Actor::system(), customer.id, restrictions::Kind::Closure, "left").await;
    assert_eq!(closed.map(|rows| rows.len()).ok(), Some(1));
    let credit = proposed(&t, &maker, correction(&customer, "credit", 100), "a1").await;
    let rejected = approve(&t, &checker, credit.id(), hash(&credit)).await;
    assert_eq!(
        (&rejected.body["state"], &rejected.body["failure_reason"]),
        (&json!("rejected"), &json!("account_closed"))
    );
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_key_is_its_makers_and_belongs_to_one_correction(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let calls = (0..20).map(|_| propose(&t, &maker, correction(&customer, "credit", 2_500), "first"));
    let answers = join_all(calls).await;
    let id = answers[0].id();
    assert!(answers.iter().all(|answer| answer.status == StatusCode::CREATED && answer.id() == id));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed()).count(), 1);
    let other = propose(&t, &maker, correction(&customer, "credit", 2_501), "first").await;
    assert_eq!((other.status, other.code()), (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"));
    let colleague = proposed(&t, &checker, correction(&customer, "credit", 2_500), "first").await;
    assert_ne!(colleague.id(), id, "another maker's key is another key");
    // The customer's own deposit has the key `first` too.
    let again = t.deposit(&customer, 10_000, "first").await;
    assert!(again.replayed() && again.id() != id);
    let rows: i64 = sqlx::query_scalar("select count(*) from transactions where kind = 'adjustment'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(rows, 2, "a lost race leaves nothing behind");
    t.finish().await;
}

#[sqlx::test]
async fn a_correction_that_is_not_what_was_approved_is_held(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let adjustment = proposed(&t, &maker, correction(&customer, "debit", 2_500), "a1").await;
    crashes.at("adjustment.approved");
    assert_eq!(approve(&t, &checker, adjustment.id(), hash(&adjustment)).await.code(), "internal", "it dies there");
    sqlx::query("update adjustments set direction = 'credit'").execute(&t.app.db).await.expect("PostgreSQL answers");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    let reason = t.held_reason(adjustment.id()).await;
    assert!(reason.is_some_and(|reason| reason.contains("approved")));
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_death_between_any_two_effects_of_a_correction_books_it_once(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let mut expected = 10_000;
    for points in 1.. {
        let key = format!("a{points}");
        crashes.after(points);
        propose(&t, &maker, correction(&customer, "credit", 100), &key).await;
        let adjustment = propose(&t, &maker, correction(&customer, "credit", 100), &key).await;
        for _ in 0..2 {
            approve(&t, &checker, adjustment.id(), hash(&adjustment)).await;
            t.advance(TimeDelta::minutes(2));
            t.drive().await;
        }
        let over = crashes.is_over();
        expected += 100;
        assert_eq!(t.state(adjustment.id()).await, "completed", "{points}: {:?}", crashes.died_at());
        assert_eq!(t.balance(&customer).await, (expected, 0, expected));
        if over {
            break;
        }
    }
    let died = crashes.died_at();
    for point in ["adjustment.proposed", "adjustment.approved", "adjustment.booked", "transaction.moved"] {
        assert!(died.contains(point), "nobody died at {point}: {died:?}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn each_wrong_field_of_a_correction_is_named(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, .. }) = (t.customer().await, staff(&t).await);
    for (field, value) in [
        ("direction", json!("sideways")),
        ("amount", json!(0)),
        ("amount", json!(-1)),
        ("currency", json!("USD")),
        ("counterpart", json!("customer_wallet")),
        ("counterpart", json!("provider_fees")),
        ("reason", json!("")),
        ("reason", json!("a\u{0}b")),
        ("reason", json!("x".repeat(501))),
        ("user_id", json!("nobody")),
        ("extra", json!(1)),
    ] {
        let mut body = correction(&customer, "credit", 100);
        body[field] = value;
        let refused = propose(&t, &maker, body, "a1").await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{field}: {}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.body);
    }
    let mut body = correction(&customer, "credit", 100);
    body["user_id"] = json!(Uuid::now_v7());
    assert_eq!(propose(&t, &maker, body, "a1").await.code(), "not_found");
    let refused = t.get(&maker, "/v1/admin/adjustments?state=sideways").await;
    assert_eq!(refused.body["errors"][0]["field"], "state");
    t.finish().await;
}

/// Every way in which a customer may ask for rows: lists, searches, files. Ids of what each shows.
async fn shown(t: &TestApp, customer: &Customer, id: Uuid) -> Vec<String> {
    let q = &id.to_string()[..8];
    let queries = ["", "kind=adjustment", "amount_min=2500&amount_max=2500", "state=awaiting_approval,completed"];
    let mut queries: Vec<String> = queries.map(str::to_owned).to_vec();
    queries.extend([
        format!("q={q}"),
        format!("q={id}"),
        format!("reference={id}"),
        "sort=-amount,created_at".to_owned(),
    ]);
    let mut ways = Vec::new();
    for query in queries {
        let list = t.get(customer, &format!("/v1/transactions?{query}")).await;
        if list.body["data"].as_array().is_some_and(|rows| rows.iter().any(|row| row["id"] == json!(id))) {
            ways.push(format!("list {query}"));
        }
        let file = exports::export(t, customer, &format!("format=csv&{query}")).await;
        if exports::text(&file).contains(&id.to_string()) {
            ways.push(format!("export {query}"));
        }
    }
    ways
}

#[sqlx::test]
async fn a_customer_is_shown_a_correction_once_it_is_booked_and_not_before(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let adjustment = proposed(&t, &maker, correction(&customer, "debit", 2_500), "a1").await;
    let id = adjustment.id();
    assert_eq!(shown(&t, &customer, id).await, [""; 0]);
    let after =
        exports::fetch(&t, Some(&t.token(&customer)), &format!("/v1/transactions/export?format=csv&after={id}")).await;
    assert_eq!(after.status, StatusCode::BAD_REQUEST, "as if there were no such row");
    let linked = exports::link(&t, &customer, "/v1/exports", json!({"format": "jsonl"})).await;
    let by_link = async || exports::fetch(&t, None, &linked).await.bytes;
    assert!(!exports::text(&by_link().await).contains(&id.to_string()));
    assert_eq!(approve(&t, &checker, id, hash(&adjustment)).await.status, StatusCode::OK);
    t.drive().await;
    assert_eq!(shown(&t, &customer, id).await.len(), 16, "in every one of these ways");
    assert!(exports::text(&by_link().await).contains(&id.to_string()));
    t.finish().await;
}

#[sqlx::test]
async fn every_view_tells_which_way_a_row_goes(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    for (direction, amount) in [("credit", 2_500), ("debit", 700)] {
        let adjustment = proposed(&t, &maker, correction(&customer, direction, amount), direction).await;
        assert_eq!(approve(&t, &checker, adjustment.id(), hash(&adjustment)).await.status, StatusCode::OK);
        t.drive().await;
        for (reader, path) in [(&customer, "/v1/transactions"), (&maker, "/v1/admin/transactions")] {
            let detail = t.get(reader, &format!("{path}/{}", adjustment.id())).await;
            assert_eq!(detail.body["direction"], direction, "{path}");
        }
    }
    let list = t.get(&customer, "/v1/transactions?sort=amount").await;
    let told: Vec<(&str, &str, i64)> = list.body["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            let word = |name: &str| row[name].as_str().expect("a word");
            (word("kind"), word("direction"), row["amount"].as_i64().expect("a number"))
        })
        .collect();
    assert_eq!(told, [("adjustment", "debit", 700), ("adjustment", "credit", 2_500), ("deposit", "credit", 10_000)]);
    let file = exports::export(&t, &customer, "format=csv&sort=amount").await;
    let column: Vec<&str> = exports::text(&file).lines().filter_map(|line| line.split(',').nth(17)).take(4).collect();
    assert_eq!(column, ["direction", "debit", "credit", "credit"]);
    let totals = &exports::verify("csv", &file)["totals"]["ZAR"];
    let corrections = &totals["kinds"]["adjustment"];
    assert_eq!((&totals["completed_credits"], &totals["completed_debits"]), (&json!("12500"), &json!("700")));
    assert_eq!((&corrections["completed_credits"], &corrections["completed_debits"]), (&json!("2500"), &json!("700")));
    assert_eq!((&corrections["completed_amount"], &corrections["amount"]), (&json!("3200"), &json!("3200")));
    t.finish().await;
}

#[test]
fn parts_cannot_be_shifted_into_each_other() {
    let hashes = [
        SubjectHash::of(&[b"ab", b"c"]),
        SubjectHash::of(&[b"a", b"bc"]),
        SubjectHash::of(&[b"abc"]),
        SubjectHash::of(&[b"abc", b""]),
        SubjectHash::of(&[]),
    ];
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes[index + 1..].contains(hash), "{index}");
    }
}

#[test]
fn a_hash_is_read_back_from_its_digits_and_nothing_else_is_read() {
    let hash = SubjectHash::of(&[b"payout"]);
    assert!(SubjectHash::parse(&hash.hex()) == Some(hash));
    assert!(SubjectHash::parse(&hash.hex().to_uppercase()) == Some(hash));
    let signs = "+1".repeat(32);
    let wide = "é".repeat(32);
    for wrong in ["", "00", "zz", &hash.hex()[1..], &format!("{}0", hash.hex()), signs.as_str(), wide.as_str()] {
        assert!(SubjectHash::parse(wrong).is_none(), "{wrong}");
    }
}

/// As the backup had it: proposed, and nobody had approved it. The ledger moved the money since.
async fn restored(t: &TestApp, id: Uuid) {
    for sql in [
        "delete from approvals where transaction_id = $1",
        "update adjustments set booking_at = null where transaction_id = $1",
        "update transactions set state = 'awaiting_approval', states = 'awaiting_approval', moved_at = '{}', completed_at = null,
                approved_hash = null, approved_until = null, version = 0, due_at = created_at + interval '7 days',
                updated_at = created_at where id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&t.app.db).await.expect("as it was before");
    }
}

#[sqlx::test]
async fn a_correction_that_is_behind_the_ledger_is_neither_declined_nor_expired_but_brought_up_to_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let adjustment = proposed(&t, &maker, correction(&customer, "credit", 2_500), "a1").await;
    let id = adjustment.id();
    approve(&t, &checker, id, hash(&adjustment)).await;
    restored(&t, id).await;
    assert_eq!(decline(&t, &checker, id, hash(&adjustment)).await.code(), "stale_state");
    t.advance(TimeDelta::days(7));
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.balance(&customer).await), ("completed", (12_500, 0, 12_500)));
    t.finish().await;
}

#[sqlx::test]
async fn a_correction_that_is_behind_the_ledger_and_approved_again_is_booked_once_whatever_became_of_its_maker(
    db: PgPool,
) {
    let t = TestApp::new(db).await;
    let (customer, Staff { maker, checker }) = (t.customer_with(10_000).await, staff(&t).await);
    let adjustment = proposed(&t, &maker, correction(&customer, "debit", 2_500), "a1").await;
    let id = adjustment.id();
    approve(&t, &checker, id, hash(&adjustment)).await;
    restored(&t, id).await;
    sqlx::query("update users set role = 'support' where id = $1")
        .bind(maker.id)
        .execute(&t.app.db)
        .await
        .expect("moved");
    let again = approve(&t, &checker, id, hash(&adjustment)).await;
    assert_eq!(again.body["state"], "completed", "{}", again.body);
    assert_eq!(t.balance(&customer).await, (7_500, 0, 7_500));
    t.finish().await;
}
