//! A withdrawal keeps where it was to go when it was asked for, whatever becomes of the bank account.

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Override, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Customer, TestApp};
use crate::restrictions;

async fn shown(t: &TestApp, customer: &Customer, id: Uuid) -> Value {
    t.get(customer, &format!("/v1/transactions/{id}")).await.body["destination"].clone()
}

async fn run(t: &TestApp, query: &'static str, id: Uuid) {
    sqlx::query(query).bind(id).execute(&t.app.db).await.expect("PostgreSQL answers");
}

#[sqlx::test]
async fn a_withdrawal_shows_its_destination_as_it_was_when_it_was_asked_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let first = t.withdraw(&customer, 1_000, "w1").await;
    let as_asked = json!({"bank_name": "FNB", "account_number_masked": "****4567"});
    assert_eq!(first.body["destination"], as_asked);
    run(&t, "update bank_accounts set bank_name = 'Another' where id = $1", customer.bank_account_id).await;
    let second = t.withdraw(&customer, 1_000, "w2").await;
    assert_eq!(second.body["destination"]["bank_name"], "Another");
    assert_eq!(shown(&t, &customer, first.id()).await, as_asked, "of the older one it is what it was");
    let path = format!("/v1/bank-accounts/{}", customer.bank_account_id);
    assert_eq!(t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await.status, StatusCode::NO_CONTENT);
    t.drive().await;
    assert_eq!(
        (t.state(first.id()).await.as_str(), shown(&t, &customer, first.id()).await),
        ("completed", as_asked.clone())
    );
    let repeat = t.withdraw(&customer, 1_000, "w1").await;
    assert_eq!((repeat.replayed(), &repeat.body["destination"]), (true, &as_asked));
    let support = t.staff(Role::Support).await;
    let seen = t.get(&support, &format!("/v1/admin/transactions/{}", first.id())).await;
    assert_eq!(seen.body["destination"], as_asked);
    let deposit = t.deposit(&customer, 1_000, "d").await;
    assert_eq!(deposit.body["destination"], Value::Null);
    t.drive().await;
    t.finish().await;
}

/// Somebody with the keys changes where the money goes, past the service; nobody has approved that.
#[sqlx::test]
async fn what_was_asked_for_with_one_destination_is_not_paid_to_another(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 1_000, "w").await;
    let details = json!({"account_number": "62009999999", "branch_code": "250655", "account_holder": "Thandi Nkosi"});
    let sealed =
        t.app.config.data_keys.encrypt(customer.bank_account_id, details.to_string().as_bytes()).expect("it seals");
    sqlx::query("update bank_accounts set details = $2, last_four = '9999' where id = $1")
        .bind(customer.bank_account_id)
        .bind(sealed.bytes)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    t.drive().await;
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("reserved", 0));
    assert!(t.held_reason(withdrawal.id()).await.is_some_and(|reason| reason.contains("bank account")));
    assert_eq!(t.balance(&customer).await, (10_000, 1_000, 9_000), "still reserved");
    t.finish_with_held().await;
}

/// The insert reads it itself: of an account that is none of the customer's there is nothing to read, and nothing is written.
#[sqlx::test]
async fn a_withdrawal_is_written_with_its_destination_in_one_statement(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 1_000, "w").await;
    let kept: (Option<String>, Option<String>, i32) =
        sqlx::query_as("select destination_bank, destination_last_four, version from transactions where id = $1")
            .bind(withdrawal.id())
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(kept, (Some("FNB".to_owned()), Some("4567".to_owned()), 1), "one move since: reserved");
    t.drive().await;
    t.finish().await;
}

/// Revio takes an e-mail for somebody's identity, and may answer with the account that it knew of him before.
#[sqlx::test]
async fn a_payout_that_revio_would_pay_to_another_account_is_not_executed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for (pointer, value) in [("/client/bank_account", "62009999999"), ("/client/bank_code", "632005")] {
        t.sim.set_override(Override::of("payout", pointer, json!(value)));
        let withdrawal = t.withdraw(&customer, 1_000, pointer).await.id();
        for _ in 0..12 {
            t.drive().await;
            t.advance(TimeDelta::minutes(20));
        }
        assert_eq!(t.state(withdrawal).await, "reserved");
        let reason = t.held_reason(withdrawal).await.expect("a person must look");
        assert!(reason.contains("another bank account") && !reason.contains(value), "{reason}");
        t.sim.clear_overrides();
    }
    // Masked, it says nothing.
    t.sim.set_override(Override::of("payout", "/client/bank_account", json!("****4567")));
    let withdrawal = t.withdraw(&customer, 1_000, "masked").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
}

/// Between its registration and its execution the client was given another account.
#[sqlx::test]
async fn a_registered_payout_that_goes_elsewhere_by_a_later_answer_is_not_executed(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer_with(10_000).await, t.staff(Role::Finance).await);
    let withdrawal = t.withdraw(&customer, 1_000, "w").await.id();
    restrictions::act(&t, &finance, &customer, "freeze").await;
    t.drive().await;
    let payout = t.payout_of(withdrawal);
    t.sim.set_override(Override::of(payout, "/client/bank_account", json!("62009999999")));
    restrictions::act(&t, &finance, &customer, "unfreeze").await;
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("reserved", 0));
    t.sim.clear_overrides();
    t.advance(TimeDelta::minutes(5));
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.payout_of(withdrawal)), ("completed", payout));
    t.finish().await;
}

/// Its execution had no answer and no effect; before it is made once more the client was given another account.
#[sqlx::test]
async fn a_payout_that_goes_elsewhere_by_then_is_not_executed_once_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(&customer, 1_000, "w").await.id();
    t.drive().await;
    let payout = t.payout_of(withdrawal);
    t.sim.set_override(Override::of(payout, "/client/bank_account", json!("62009999999")));
    for _ in 0..30 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    assert_eq!((t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("submitting", 0));
    assert_eq!(t.balance(&customer).await, (10_000, 1_000, 9_000), "still reserved");
    assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("another bank account")));
}

/// As in the list: what cannot be decrypted is shown without it, and nobody decides about it.
#[sqlx::test]
async fn a_withdrawal_whose_bank_details_do_not_open_is_shown_and_not_decided_about(db: PgPool) {
    let t = TestApp::with(db, &crate::approvals::THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let withdrawal = t.withdraw(&customer, 60_000, "w").await.id();
    t.drive().await;
    let path = format!("/v1/admin/withdrawals/{withdrawal}");
    let shown = t.get(&finance, &format!("{path}/approval")).await;
    let hash = shown.body["payout_hash"].as_str().expect("it waits").to_owned();
    run(&t, "update bank_accounts set details = '\\x00' where id = $1", customer.bank_account_id).await;
    let shown = t.get(&finance, &format!("{path}/approval")).await;
    assert_eq!(
        (shown.status, &shown.body["destination"], &shown.body["payout_hash"]),
        (StatusCode::OK, &Value::Null, &Value::Null)
    );
    for decision in ["approve", "decline"] {
        let body = json!({"payout_hash": hash, "note": "odd"});
        let decided =
            t.send(Method::POST, &format!("{path}/{decision}"), Some(&t.token(&finance)), &[], Some(body)).await;
        assert_eq!((decided.status, decided.code()), (StatusCode::CONFLICT, "stale_state"), "{decision}");
    }
}
