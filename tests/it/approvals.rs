//! Withdrawals above a threshold: who may approve, what counts, and what is paid in the end. Processes that die on the way are in
//! `deaths`; payouts that were given up and rows that a person must look at first in `held`.

mod deaths;
mod held;

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures_util::future::join_all;
use octoco::identity::audit::Actor;
use octoco::money::{restrictions, transactions};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::four_eyes::season;
use crate::harness::{Answer, Customer, TestApp};

/// Above R50 one person, above R500 two.
pub(crate) const THRESHOLDS: [(&str, &str); 1] = [("APPROVAL_THRESHOLDS", "ZAR:5000:50000")];
pub(crate) const ONE: i64 = 6_000;
const TWO: i64 = 60_000;

async fn approval(t: &TestApp, staff: &Customer, id: Uuid) -> Answer {
    t.get(staff, &format!("/v1/admin/withdrawals/{id}/approval")).await
}

pub(crate) async fn hash(t: &TestApp, staff: &Customer, id: Uuid) -> String {
    let shown = approval(t, staff, id).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.body);
    shown.body["payout_hash"].as_str().expect("a hash").to_owned()
}

pub(crate) async fn approve(t: &TestApp, staff: &Customer, id: Uuid, hash: &str) -> Answer {
    let path = format!("/v1/admin/withdrawals/{id}/approve");
    t.send(Method::POST, &path, Some(&t.token(staff)), &[], Some(json!({"payout_hash": hash}))).await
}

pub(crate) async fn decline(t: &TestApp, staff: &Customer, id: Uuid, hash: &str) -> Answer {
    let path = format!("/v1/admin/withdrawals/{id}/decline");
    let body = json!({"payout_hash": hash, "note": "the destination is not the customer's"});
    t.send(Method::POST, &path, Some(&t.token(staff)), &[], Some(body)).await
}

/// Approves what is shown now.
pub(crate) async fn approve_as_shown(t: &TestApp, staff: &Customer, id: Uuid) -> Answer {
    let hash = hash(t, staff, id).await;
    let answer = approve(t, staff, id, &hash).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer
}

/// A withdrawal that waits for approval.
pub(crate) async fn waiting(t: &TestApp, customer: &Customer, amount: i64, key: &str) -> Uuid {
    let withdrawal = t.withdraw(customer, amount, key).await;
    assert_eq!(withdrawal.status, StatusCode::ACCEPTED, "{}", withdrawal.body);
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "awaiting_approval");
    withdrawal.id()
}

/// Somebody changes where a bank account's money goes, past the service and with its keys.
async fn redirect(t: &TestApp, bank_account: Uuid, number: &str) {
    let details = json!({"account_number": number, "branch_code": "250655", "account_holder": "Thandi Nkosi"});
    let sealed = t.app.config.data_keys.encrypt(bank_account, details.to_string().as_bytes()).expect("it seals");
    sqlx::query("update bank_accounts set details = $2 where id = $1")
        .bind(bank_account)
        .bind(sealed.bytes)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
}

async fn count(t: &TestApp, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn only_what_is_above_the_threshold_waits_for_approval(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let small = t.withdraw(&customer, 5_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(small.id()).await, "completed");
    let id = waiting(&t, &customer, 5_001, "w2").await;
    assert_eq!(t.balance(&customer).await, (95_000, 5_001, 89_999), "reserved meanwhile");
    assert_eq!(t.sim.payouts_by_reference(&id.to_string()).len(), 0, "Revio has not heard of it");
    let listed = t.get(&finance, "/v1/admin/withdrawals/awaiting-approval").await;
    let row = &listed.body["data"][0];
    assert_eq!(row["id"], id.to_string());
    assert_eq!((&row["approvals_needed"], &row["approvals"]), (&json!(1), &json!([])));
    assert_eq!(row["destination"]["account_number_masked"], "****4567");
    let approved = approve_as_shown(&t, &finance, id).await;
    assert_eq!(
        (&approved.body["state"], &approved.body["approvals"][0]["decision"]),
        (&json!("reserved"), &json!("approved"))
    );
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    assert_eq!(t.balance(&customer).await, (89_999, 0, 89_999));
    let listed = t.get(&finance, "/v1/admin/withdrawals/awaiting-approval").await;
    assert_eq!(listed.body["data"], json!([]));
    assert_eq!(count(&t, "select count(*) from audit_log where action = 'withdrawal.approved'").await, 1);
    assert_eq!(count(&t, "select count(*) from transactions where approved_hash is not null").await, 0, "used up");
    t.finish().await;
}

#[sqlx::test]
async fn nobody_decides_about_their_own_withdrawal(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let owner = t.customer_with(100_000).await;
    let (support, finance) = (t.staff(Role::Support).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &owner, ONE, "w1").await;
    // No request for it would be approved, with money in the wallet; it is refused all the same.
    t.give_role(owner.id, Role::Admin).await;
    season(&t, owner.id).await;
    let hash = hash(&t, &finance, id).await;
    for person in [&owner, &support] {
        for answer in [approve(&t, person, id, &hash).await, decline(&t, person, id, &hash).await] {
            assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "forbidden"));
        }
    }
    assert_eq!(count(&t, "select count(*) from approvals").await, 0);
    assert_eq!(t.state(id).await, "awaiting_approval");
    approve_as_shown(&t, &finance, id).await;
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn above_the_second_threshold_two_different_people_must_approve(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let customer = t.customer_with(100_000).await;
    let (finance, admin) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let id = waiting(&t, &customer, TWO, "w1").await;
    for _ in 0..3 {
        let once = approve_as_shown(&t, &finance, id).await;
        assert_eq!((&once.body["state"], &once.body["approvals_needed"]), (&json!("awaiting_approval"), &json!(2)));
        assert_eq!(once.body["approvals"].as_array().map(Vec::len), Some(1), "the same person counts once");
    }
    t.drive().await;
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    assert_eq!(approve_as_shown(&t, &admin, id).await.body["state"], "reserved");
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.sim.totals("ZAR").paid_out), ("completed", TWO));
    assert_eq!(count(&t, "select count(*) from audit_log where action = 'withdrawal.approved'").await, 2);
    let late = approve(&t, &admin, id, &hash(&t, &admin, id).await).await;
    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, "stale_state"));
    t.finish().await;
}

#[sqlx::test]
async fn twenty_approvals_by_two_people_at_once_count_two(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let customer = t.customer_with(1_000_000).await;
    let (finance, admin) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    for round in 0..5 {
        let id = waiting(&t, &customer, TWO, &format!("w{round}")).await;
        let hash = hash(&t, &admin, id).await;
        let calls = (0..20).map(|index| approve(&t, if index % 2 == 0 { &finance } else { &admin }, id, &hash));
        let answers = join_all(calls).await;
        assert!(answers.iter().all(|answer| matches!(answer.status, StatusCode::OK | StatusCode::CONFLICT)));
        assert_eq!(answers.iter().filter(|answer| answer.body["state"] == "reserved").count(), 1, "one decides");
        let (rows, used): (i64, i64) =
            sqlx::query_as("select count(*), count(used_at) from approvals where transaction_id = $1")
                .bind(id)
                .fetch_one(&t.app.db)
                .await
                .expect("PostgreSQL answers");
        assert_eq!((rows, used), (2, 2));
        // A step that a busy machine lets wait for too long is taken once more.
        for _ in 0..3 {
            t.drive().await;
            t.advance(TimeDelta::minutes(1));
        }
        assert_eq!(t.state(id).await, "completed");
        assert_eq!(t.sim.payouts_by_reference(&id.to_string()).len(), 1);
    }
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 5);
    t.finish().await;
}

/// Without the lock each of them would see itself alone, and nobody would decide.
#[sqlx::test]
async fn of_two_people_who_approve_at_once_one_decides(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let customer = t.customer_with(1_000_000).await;
    let (finance, admin) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    for round in 0..10 {
        let id = waiting(&t, &customer, TWO, &format!("w{round}")).await;
        let hash = hash(&t, &admin, id).await;
        let (one, other) = tokio::join!(approve(&t, &finance, id, &hash), approve(&t, &admin, id, &hash));
        let states = [one, other].map(|answer| answer.body["state"].as_str().unwrap_or_default().to_owned());
        assert!(
            states.contains(&"reserved".to_owned()) && states.contains(&"awaiting_approval".to_owned()),
            "{states:?}"
        );
        t.drive().await;
        assert_eq!(t.state(id).await, "completed");
    }
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 10);
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_was_changed_after_its_approval_is_not_paid(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    let seen = hash(&t, &finance, id).await;
    approve(&t, &finance, id, &seen).await;
    redirect(&t, customer.bank_account_id, "62009999999").await;
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("awaiting_approval", 0));
    let stale = approve(&t, &finance, id, &seen).await;
    assert_eq!((stale.status, stale.code()), (StatusCode::CONFLICT, "stale_state"));
    assert_eq!(count(&t, "select count(*) from approvals").await, 1, "nothing is recorded");
    sqlx::query("update transactions set amount_minor = amount_minor - 1 where id = $1")
        .bind(id)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    let shown = approval(&t, &finance, id).await;
    assert_ne!(shown.body["payout_hash"].as_str(), Some(seen.as_str()));
    sqlx::query("update transactions set amount_minor = amount_minor + 1 where id = $1")
        .bind(id)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    // A person looks again, and wants exactly that.
    approve_as_shown(&t, &finance, id).await;
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    t.finish().await;
}

/// Revio knows the payout, with the details of before, when they are changed: it must never be executed.
#[sqlx::test]
async fn a_payout_that_was_registered_with_other_details_is_forgotten(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &THRESHOLDS, crashes.plan()).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    approve_as_shown(&t, &finance, id).await;
    crashes.at("transaction.moved");
    t.step().await;
    assert_eq!((t.state(id).await.as_str(), t.sim.payouts_by_reference(&id.to_string()).len()), ("reserved", 1));
    redirect(&t, customer.bank_account_id, "62009999999").await;
    t.advance(TimeDelta::seconds(15));
    t.drive().await;
    assert_eq!(t.state(id).await, "awaiting_approval");
    approve_as_shown(&t, &finance, id).await;
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    let payouts = t.sim.payouts_by_reference(&id.to_string());
    let statuses: Vec<_> = payouts.iter().map(|payout| payout["status"].as_str().unwrap_or_default()).collect();
    assert_eq!(statuses, ["initialized", "success"], "the first is never executed");
    t.finish().await;
}

#[sqlx::test]
async fn an_expired_approval_does_not_count(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let customer = t.customer_with(100_000).await;
    let (finance, admin) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let id = waiting(&t, &customer, TWO, "w1").await;
    approve_as_shown(&t, &finance, id).await;
    t.advance(TimeDelta::hours(24));
    assert_eq!(approve_as_shown(&t, &admin, id).await.body["state"], "awaiting_approval", "one of two is too old");
    t.advance(TimeDelta::hours(23));
    let again = approve_as_shown(&t, &finance, id).await;
    assert_eq!(again.body["state"], "reserved", "an expired one is replaced by its giver");
    assert_eq!(again.body["approvals"].as_array().map(Vec::len), Some(2));
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn an_approval_that_was_not_used_in_time_is_asked_for_again(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    t.sim.set_fault(Fault::next(5, Scope::CreatePayout, FaultKind::Blank { status: 200 }));
    approve_as_shown(&t, &finance, id).await;
    for minutes in [0, 1, 5, 15] {
        t.drive().await;
        t.advance(TimeDelta::minutes(minutes));
    }
    t.drive().await;
    assert!(t.held_reason(id).await.is_some());
    t.advance(TimeDelta::hours(24));
    let body = json!({"action": "retry", "note": "Revio is back"});
    let path = format!("/v1/admin/held/{id}/resolve");
    let resolved = t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(body)).await;
    assert_eq!(resolved.status, StatusCode::OK, "{}", resolved.body);
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("awaiting_approval", 0));
    approve_as_shown(&t, &finance, id).await;
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn an_approval_by_somebody_who_lost_the_role_does_not_count(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let customer = t.customer_with(100_000).await;
    let people = [t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.staff(Role::Admin).await];
    let id = waiting(&t, &customer, TWO, "w1").await;
    approve_as_shown(&t, &people[0], id).await;
    t.give_role(people[0].id, Role::Support).await;
    assert_eq!(approve_as_shown(&t, &people[1], id).await.body["state"], "awaiting_approval");
    assert_eq!(approve_as_shown(&t, &people[2], id).await.body["state"], "reserved");
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn an_approved_withdrawal_of_a_frozen_customer_waits_for_the_thaw(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    let (system, freeze) = (Actor::system(), restrictions::Kind::Freeze);
    restrictions::impose(&t.app, &system, customer.id, freeze, "a stolen phone").await.expect("frozen");
    approve_as_shown(&t, &finance, id).await;
    t.drive().await;
    assert_eq!(t.held_reason(id).await.as_deref(), Some(restrictions::HELD_REASON));
    // Thawed when the approval is too old, it needs another one.
    t.advance(TimeDelta::hours(24));
    t.lift(customer.id, freeze).await;
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.held_reason(id).await), ("awaiting_approval", None));
    approve_as_shown(&t, &finance, id).await;
    t.drive().await;
    assert_eq!(t.state(id).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn a_declined_withdrawal_gives_the_money_back(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let customer = t.customer_with(100_000).await;
    let (finance, admin) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let id = waiting(&t, &customer, TWO, "w1").await;
    approve_as_shown(&t, &finance, id).await;
    let seen = hash(&t, &admin, id).await;
    let declined = decline(&t, &admin, id, &seen).await;
    assert_eq!((declined.status, &declined.body["state"]), (StatusCode::OK, &json!("failed")), "{}", declined.body);
    assert_eq!(declined.body["failure_reason"], "declined");
    assert_eq!(t.balance(&customer).await, (100_000, 0, 100_000));
    for answer in [approve(&t, &admin, id, &seen).await, decline(&t, &finance, id, &seen).await] {
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "stale_state"));
    }
    t.advance(TimeDelta::days(8));
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("failed", 0));
    let audited =
        "select count(*) from audit_log where action = 'withdrawal.declined' and after->>'note' like '%customer%'";
    assert_eq!(count(&t, audited).await, 1);
    t.finish().await;
}

#[sqlx::test]
async fn a_withdrawal_that_nobody_approves_in_seven_days_gives_the_money_back(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    let seen = hash(&t, &finance, id).await;
    t.advance(TimeDelta::days(7) - TimeDelta::seconds(1));
    t.drive().await;
    assert_eq!(t.state(id).await, "awaiting_approval");
    t.advance(TimeDelta::seconds(1));
    // The session of a week ago has ended too.
    let finance = t.staff(Role::Finance).await;
    assert_eq!(approve(&t, &finance, id, &seen).await.code(), "stale_state", "too late, also before the worker looks");
    t.drive().await;
    assert_eq!(t.state(id).await, "failed");
    let shown = t.get(&customer, &format!("/v1/transactions/{id}")).await;
    assert_eq!(shown.body["failure_reason"], "not_approved_in_time");
    assert_eq!(t.balance(&customer).await, (100_000, 0, 100_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_new_payout_in_the_place_of_one_never_executed_is_approved_anew(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    for (key, pause, state) in [("w1", 61, "completed"), ("w2", 17 * 60, "awaiting_approval")] {
        let id = waiting(&t, &customer, ONE, key).await;
        // However long that took: it is no sign that Revio executes nothing.
        t.advance(TimeDelta::hours(30));
        // Nothing of it is left unanswered: Revio refuses in words.
        t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Refused));
        approve_as_shown(&t, &finance, id).await;
        t.drive().await;
        assert_eq!(t.state(id).await, "submitting");
        t.advance(TimeDelta::seconds(pause));
        t.drive().await;
        assert_eq!(t.state(id).await, state, "after {pause} s: only the same payout is executed again by itself");
        if state == "awaiting_approval" {
            approve_as_shown(&t, &finance, id).await;
            t.drive().await;
            assert_eq!(t.state(id).await, "completed");
        }
    }
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 2);
    t.finish().await;
}

#[sqlx::test]
async fn what_waits_is_counted_and_pages_are_whole(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let mut ids = BTreeSet::new();
    for index in 0..5 {
        ids.insert(waiting(&t, &customer, ONE, &format!("w{index}")).await.to_string());
    }
    t.advance(TimeDelta::hours(1));
    transactions::measure(&t.app).await.expect("PostgreSQL answers");
    let metrics = t.app.metrics.render();
    let labels = r#"{queue="withdrawal",what="awaiting_approval"}"#;
    assert!(metrics.contains(&format!("octoco_queue_rows{labels} 5")), "{metrics}");
    assert!(metrics.contains(&format!("octoco_queue_age_seconds{labels} 3600")), "{metrics}");
    let (mut seen, mut path) = (BTreeSet::new(), "/v1/admin/withdrawals/awaiting-approval?limit=2".to_owned());
    loop {
        let page = t.get(&finance, &path).await;
        for row in page.body["data"].as_array().expect("rows") {
            assert!(seen.insert(row["id"].as_str().expect("an id").to_owned()), "no repeat");
        }
        let Some(next) = page.body["page"]["next_cursor"].as_str() else { break };
        path = format!("/v1/admin/withdrawals/awaiting-approval?limit=2&cursor={next}");
    }
    assert_eq!(seen, ids);
    t.finish().await;
}

#[sqlx::test]
async fn a_decision_about_nothing_or_with_a_wrong_field_is_refused(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    let seen = hash(&t, &finance, id).await;
    let token = t.token(&finance);
    for (field, call, body) in [
        ("payout_hash", "approve", json!({"payout_hash": "00"})),
        ("payout_hash", "approve", json!({"payout_hash": "\u{0}".repeat(64)})),
        ("payout_hash", "approve", json!({"payout_hash": 7})),
        ("payout_hash", "approve", json!({})),
        ("note", "approve", json!({"payout_hash": seen, "note": ""})),
        ("note", "approve", json!({"payout_hash": seen, "note": "a\u{0}b"})),
        ("note", "decline", json!({"payout_hash": seen})),
        ("note", "decline", json!({"payout_hash": seen, "note": "x".repeat(501)})),
        ("extra", "decline", json!({"payout_hash": seen, "note": "no", "extra": 1})),
    ] {
        let path = format!("/v1/admin/withdrawals/{id}/{call}");
        let refused = t.send(Method::POST, &path, Some(&token), &[], Some(body)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{call}: {}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.body);
    }
    let deposit = t.deposit(&customer, 1_000, "d1").await;
    for nothing in [deposit.id(), Uuid::now_v7()] {
        assert_eq!(approval(&t, &finance, nothing).await.code(), "not_found");
        assert_eq!(approve(&t, &finance, nothing, &seen).await.code(), "not_found");
        assert_eq!(decline(&t, &finance, nothing, &seen).await.code(), "not_found");
    }
    assert_eq!(approve(&t, &finance, id, &"0".repeat(64)).await.code(), "stale_state");
    assert_eq!(count(&t, "select count(*) from approvals").await, 0);
    t.finish().await;
}
