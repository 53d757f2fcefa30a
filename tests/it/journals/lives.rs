//! What becomes of a journal: it arrives or comes back, is declined, expires, is held; and what it clears is cleared once.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::money::journals;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::Pay;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    Company, approve, assert_items_are_the_account, booked, company, entry, fields, land, post, propose, proposed,
    shown, with,
};
use crate::adjustments;
use crate::crashes::Crashes;
use crate::four_eyes::season;
use crate::harness::{Customer, TestApp};

#[sqlx::test]
async fn money_on_its_way_arrives_once_or_comes_back_and_never_both(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    booked(&t, &maker, &checker, entry("own_funds_in", 5_000), "funds").await;
    for (number, (kind, how, state)) in [
        ("float_top_up", "arrived", "completed"),
        ("float_top_up", "returned", "returned"),
        ("settlement", "arrived", "completed"),
        ("settlement", "returned", "returned"),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = booked(&t, &maker, &checker, entry(kind, 1_000), &format!("k{number}")).await;
        assert_eq!((&sent.body["state"], &sent.body["arrival"]), (&json!("in_transit"), &Value::Null), "{}", sent.body);
        let due = if kind == "settlement" { "2026-03-05" } else { "2026-03-03" };
        assert_eq!(sent.body["expected_on"], due);
        let id = sent.id();
        assert_eq!(land(&t, &maker, id, how, "line 3").await.code(), "forbidden", "not by its maker");
        let bank = t.system_balance(AccountCode::Bank).await;
        let (other, line) = (if how == "arrived" { "returned" } else { "arrived" }, "line 3");
        let answers = futures_util::future::join_all((0..8).map(|_| land(&t, &checker, id, how, line))).await;
        let told = |answer: &&crate::harness::Answer| ["", "stale_state"].contains(&answer.code());
        assert!(
            answers.iter().all(|answer| told(&answer)),
            "{:?}",
            answers.iter().map(|a| &a.body).collect::<Vec<_>>()
        );
        let again = land(&t, &checker, id, how, line).await;
        assert_eq!(
            (again.status, &again.body["state"]),
            (StatusCode::OK, &json!(state)),
            "the same line, the same answer"
        );
        assert_eq!(
            (&again.body["arrival"]["outcome"], &again.body["arrival"]["reference"]),
            (&json!(how), &json!(line))
        );
        assert_eq!(land(&t, &checker, id, how, "line 4").await.code(), "stale_state", "another line");
        assert_eq!(land(&t, &checker, id, other, line).await.code(), "stale_state", "the other end");
        let moved = t.system_balance(AccountCode::Bank).await.posted() - bank.posted();
        let expected = match (kind, how) {
            ("float_top_up", "arrived") => -1_000,
            ("settlement", "arrived") => 1_000,
            _ => 0,
        };
        assert_eq!(moved, expected, "{kind} {how}");
        let audited: i64 = sqlx::query_scalar("select count(*) from audit_log where action = $1 and object_id = $2")
            .bind(format!("journal.{how}"))
            .bind(id.to_string())
            .fetch_one(&t.app.db)
            .await
            .expect("a count");
        assert_eq!(audited, 1);
    }
    let bank = t.system_balance(AccountCode::Bank).await;
    assert_eq!((bank.debits_pending, bank.credits_pending), (0, 0), "nothing is on its way any more");
    t.finish().await;
}

#[sqlx::test]
async fn of_arrived_and_returned_at_once_one_is_true(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker, other) =
        (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    for number in 0..5 {
        let sent = booked(&t, &maker, &checker, entry("settlement", 10), &format!("k{number}")).await.id();
        let (one, two) =
            tokio::join!(land(&t, &checker, sent, "arrived", "a"), land(&t, &other, sent, "returned", "b"));
        let won = [&one, &two].into_iter().filter(|answer| answer.status == StatusCode::OK).count();
        assert_eq!(won, 1, "{} {}", one.body, two.body);
        let state = shown(&t, &maker, sent).await["state"].clone();
        assert_eq!(state, if one.status == StatusCode::OK { "completed" } else { "returned" });
    }
    // What is not on its way does not arrive; who has the role since today does not say so.
    let waiting = proposed(&t, &maker, entry("settlement", 10), "w").await;
    assert_eq!(land(&t, &checker, waiting.id(), "arrived", "a").await.code(), "stale_state");
    approve(&t, &checker, &waiting).await;
    let fresh = t.customer().await;
    t.give_role(fresh.id, Role::Finance).await;
    assert_eq!(land(&t, &fresh, waiting.id(), "arrived", "a").await.code(), "forbidden");
    season(&t, fresh.id).await;
    assert_eq!(land(&t, &fresh, waiting.id(), "arrived", "a").await.body["state"], "completed");
    t.finish().await;
}

async fn items(t: &TestApp, by: &Customer) -> Vec<Value> {
    let listed = t.get(by, "/v1/admin/suspense-items?state=open").await;
    listed.body["data"].as_array().expect("a list").clone()
}

#[sqlx::test]
async fn an_item_is_cleared_once_by_journals_corrections_and_refunds_together(db: PgPool) {
    let t = TestApp::new(db).await;
    let company = company(&t).await;
    let Company { maker, checker, item, .. } = &company;
    let open = items(&t, maker).await;
    assert_eq!((open.len(), &open[0]["kind"], &open[0]["id"]), (1, &json!("journal"), &json!(item)));
    let take = |amount: i64| with(entry("suspense_return", amount), json!({"item_id": item}));
    let over = propose(&t, maker, take(500_001), "k0").await;
    assert_eq!((over.status, fields(&over)), (StatusCode::BAD_REQUEST, vec!["amount".to_owned()]));
    let customer = t.customer().await;
    let correction = json!({"user_id": customer.id, "direction": "credit", "amount": 200_000, "currency": "ZAR",
        "counterpart": "suspense", "reason": "it is theirs", "item_id": item});
    let correction = adjustments::proposed(&t, maker, correction, "a").await;
    let (first, second) =
        (proposed(&t, maker, take(300_000), "k1").await, proposed(&t, maker, take(300_000), "k2").await);
    let hash = adjustments::hash(&correction).to_owned();
    let answers = tokio::join!(
        approve(&t, checker, &first),
        approve(&t, checker, &second),
        adjustments::approve(&t, checker, correction.id(), &hash)
    );
    let completed = [&answers.0, &answers.1, &answers.2].map(|answer| i32::from(answer.body["state"] == "completed"));
    assert_eq!((completed[0] + completed[1], completed[2]), (1, 1), "{} {}", answers.0.body, answers.1.body);
    let refused = if completed[0] == 1 { &answers.1 } else { &answers.0 };
    assert_eq!(refused.body["failure_reason"], "item_cleared");
    assert_eq!((items(&t, maker).await.len(), t.balance(&customer).await), (0, (200_000, 0, 200_000)));
    assert_items_are_the_account(&t).await;
    t.finish().await;
}

#[sqlx::test]
async fn a_deposit_that_did_not_fit_is_given_back_or_released_by_a_journal_and_its_customer_is_told(db: PgPool) {
    let t = TestApp::new(db).await;
    let company = company(&t).await;
    let Company { maker, checker, second, .. } = &company;
    let customer = t.customer().await;
    for (kind, outcome) in [("suspense_return", "returned"), ("suspense_release", "released")] {
        let deposit = t.deposit(&customer, 900, kind).await.id();
        let pay = Pay { amount: Some(899), ..Pay::default() };
        t.sim.pay_purchase(t.purchase_of(deposit), pay).expect("payable");
        t.drive().await;
        let body = with(entry(kind, 899), json!({"item_id": deposit}));
        let body = if kind == "suspense_return" { with(body, json!({"account": "provider_balance"})) } else { body };
        let journal = proposed(&t, maker, body, kind).await;
        approve(&t, checker, &journal).await;
        if kind == "suspense_release" {
            assert_eq!(approve(&t, second, &journal).await.body["state"], "completed");
        }
        assert_eq!(t.get(&customer, &format!("/v1/transactions/{deposit}")).await.body["outcome"], outcome);
    }
    assert_items_are_the_account(&t).await;
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_payment_of_revios_that_a_journal_has_set_aside_is_not_set_aside_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker, customer) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.customer().await);
    let deposit = t.deposit(&customer, 900, "d").await.id();
    let purchase = t.purchase_of(deposit);
    for table in ["provider_objects", "transactions"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}"))).execute(&t.app.db).await.expect("deleted");
    }
    let mut body = with(entry("suspense_in", 900), json!({"account": "provider_balance"}));
    body["evidence"] = with(body["evidence"].clone(), json!({"kind": "provider_object", "reference": purchase}));
    let (first, second) =
        (proposed(&t, &maker, body.clone(), "k1").await, proposed(&t, &maker, body.clone(), "k2").await);
    assert_eq!(approve(&t, &checker, &first).await.body["state"], "completed");
    let again = approve(&t, &checker, &second).await;
    assert_eq!((&again.body["state"], &again.body["failure_reason"]), (&json!("rejected"), &json!("set_aside_before")));
    assert_eq!(fields(&propose(&t, &maker, body, "k3").await), ["evidence.reference"]);
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 900, "once");
    assert_items_are_the_account(&t).await;
    t.finish().await;
}

#[sqlx::test]
async fn a_journal_that_nobody_wants_is_declined_or_expires_and_moves_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let declined = proposed(&t, &maker, entry("own_funds_in", 100), "k1").await;
    let path = format!("/v1/admin/journals/{}/decline", declined.id());
    let body = json!({"journal_hash": declined.body["journal_hash"], "note": "not ours"});
    assert_eq!(post(&t, &maker, &path, "", body.clone()).await.code(), "forbidden");
    let answer = post(&t, &checker, &path, "", body).await;
    assert_eq!((&answer.body["state"], &answer.body["failure_reason"]), (&json!("cancelled"), &json!("declined")));
    assert_eq!(approve(&t, &checker, &declined).await.code(), "stale_state");
    t.advance(TimeDelta::seconds(1));
    let late = proposed(&t, &maker, entry("own_funds_in", 100), "k2").await;
    t.advance(TimeDelta::days(7));
    let checker = t.staff(Role::Finance).await;
    assert_eq!(approve(&t, &checker, &late).await.code(), "stale_state", "too late, though nobody has looked yet");
    t.drive().await;
    let expired = shown(&t, &checker, late.id()).await;
    assert_eq!((&expired["state"], &expired["failure_reason"]), (&json!("expired"), &json!("not_approved_in_time")));
    assert_eq!(t.system_balance(AccountCode::Bank).await.posted(), 0);
    let listed = async |query: &str| t.get(&checker, &format!("/v1/admin/journals?{query}")).await;
    assert_eq!(listed("state=expired&kind=own_funds_in").await.body["data"][0]["id"], json!(late.id()));
    let first = listed("limit=1").await;
    assert_eq!(first.body["data"][0]["id"], json!(late.id()), "newest first");
    let cursor = first.body["page"]["next_cursor"].as_str().expect("a cursor");
    assert_eq!(listed(&format!("limit=1&cursor={cursor}")).await.body["data"][0]["id"], json!(declined.id()));
    assert_eq!(fields(&listed("kind=gift&state=lost&limit=0").await), ["kind", "state", "limit"]);
    t.finish().await;
}

/// Approved, and the process died before maker and checker were looked at again.
async fn approved_and_dead(t: &TestApp, crashes: &Crashes, by: &Company, key: &str) -> Uuid {
    let journal = proposed(t, &by.maker, entry("own_funds_in", 100), key).await;
    crashes.at("journal.approved");
    assert_eq!(approve(t, &by.checker, &journal).await.code(), "internal", "it dies there");
    t.advance(TimeDelta::minutes(2));
    journal.id()
}

async fn resolve(t: &TestApp, by: &Customer, id: Uuid, action: &str) -> crate::harness::Answer {
    let body = json!({"action": action, "note": "looked at"});
    t.send(Method::POST, &format!("/v1/admin/journals/{id}/resolve"), Some(&t.token(by)), &[], Some(body)).await
}

#[sqlx::test]
async fn maker_checker_and_row_are_looked_at_again_right_before_the_ledger_is_asked(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let company = company(&t).await;
    let (before, admin) = (t.system_balance(AccountCode::Equity).await.posted(), &company.second);
    // The maker lost the role.
    let id = approved_and_dead(&t, &crashes, &company, "k1").await;
    t.give_role(company.maker.id, Role::Support).await;
    t.drive().await;
    let ended = shown(&t, admin, id).await;
    assert_eq!((&ended["state"], &ended["failure_reason"]), (&json!("cancelled"), &json!("maker_not_entitled")));
    t.give_role(company.maker.id, Role::Finance).await;
    // The row is another by now.
    let id = approved_and_dead(&t, &crashes, &company, "k2").await;
    let change = "update journals set amount_minor = 100000 where id = $1";
    sqlx::query(change).bind(id).execute(&t.app.db).await.expect("changed");
    t.drive().await;
    let held = shown(&t, admin, id).await;
    assert_eq!(held["held_reason"], "the journal is not what was approved");
    assert_eq!(t.get(admin, "/v1/admin/journals?held=true").await.body["data"][0]["id"], json!(id));
    assert_eq!(resolve(&t, admin, id, "release").await.body["errors"][0]["field"], "action");
    assert_eq!(resolve(&t, admin, id, "dismiss").await.body["failure_reason"], "closed_by_review");
    assert_eq!(resolve(&t, admin, id, "dismiss").await.code(), "stale_state", "once");
    // The checker lost it.
    let id = approved_and_dead(&t, &crashes, &company, "k3").await;
    t.give_role(company.checker.id, Role::Support).await;
    t.drive().await;
    assert_eq!(shown(&t, admin, id).await["held_reason"], "who approved the journal may not any more");
    assert_eq!(resolve(&t, admin, id, "retry").await.body["held_reason"], Value::Null);
    t.drive().await;
    assert_eq!(resolve(&t, admin, id, "dismiss").await.body["state"], "cancelled", "held again, and closed");
    assert_eq!(t.system_balance(AccountCode::Equity).await.posted(), before, "nothing moved");
    t.finish().await;
}

#[sqlx::test]
async fn what_the_ledger_contradicts_is_held_and_not_dismissed(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let sent = booked(&t, &maker, &checker, entry("settlement", 100), "k").await.id();
    t.app.ledger.void_journal(sent).await.expect("voided past the service");
    let landed = land(&t, &checker, sent, "arrived", "line 3").await;
    assert_eq!(landed.body["held_reason"], "said to be arrived, and the ledger has it voided", "{}", landed.body);
    assert_eq!(resolve(&t, &checker, sent, "dismiss").await.body["errors"][0]["field"], "action");
    journals::measure(&t.app).await.expect("measured");
    let waits = |what: &str| t.app.metrics.queue_rows.with_label_values(&["journal", what]).get();
    assert_eq!((waits("held"), waits("in_transit"), waits("awaiting_approval"), waits("due")), (1, 1, 0, 0));
    // There is a way out: whoever has the other line says so.
    assert_eq!(land(&t, &maker, sent, "returned", "line 4").await.code(), "forbidden");
    let returned = land(&t, &checker, sent, "returned", "line 4").await;
    assert_eq!((&returned.body["state"], &returned.body["held_reason"]), (&json!("returned"), &Value::Null));
    assert_eq!(land(&t, &checker, sent, "arrived", "line 3").await.code(), "stale_state");
}

#[sqlx::test]
async fn what_a_deposit_has_brought_is_not_set_aside_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    let object = t.purchase_of(deposit.id());
    for kind in ["provider_object", "provider_statement"] {
        let evidence =
            with(entry("suspense_in", 5_000)["evidence"].clone(), json!({"kind": kind, "reference": object}));
        let refused = propose(&t, &maker, with(entry("suspense_in", 5_000), json!({"evidence": evidence})), kind).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, "invalid_request"), "{}", refused.body);
    }
    // Nobody knows of the object yet when it is proposed; once it is approved it is a deposit's.
    let later = Uuid::new_v4();
    let evidence =
        with(entry("suspense_in", 700)["evidence"].clone(), json!({"kind": "provider_object", "reference": later}));
    let waits = proposed(&t, &maker, with(entry("suspense_in", 700), json!({"evidence": evidence})), "later").await;
    sqlx::query("update transactions set provider_id = $1 where id = $2")
        .bind(later)
        .bind(deposit.id())
        .execute(&t.app.db)
        .await
        .expect("the row is there");
    let approved = approve(&t, &checker, &waits).await;
    assert_eq!(approved.body["state"], "rejected", "{}", approved.body);
    assert_eq!(approved.body["failure_reason"], "set_aside_before");
}
