//! New bank accounts: a withdrawal to one waits until it is new no more, or until somebody approves it.

use chrono::{DateTime, TimeDelta, Utc};
use octoco::money::transactions;
use octoco::platform::config::Config;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Customer, TestApp};

const COOLING: [(&str, &str); 1] = [("BANK_ACCOUNT_COOLING_HOURS", "24")];

#[sqlx::test]
async fn a_withdrawal_to_a_new_bank_account_waits_and_goes_on_by_itself_when_the_hours_are_over(db: PgPool) {
    let t = TestApp::with(db, &COOLING).await;
    let customer = t.customer_with(100_000).await;
    t.advance(TimeDelta::hours(20));
    let asked = t.withdraw(&customer, 100, "w").await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "awaiting_approval", "however small");
    assert_eq!(t.sim.payouts_by_reference(&asked.id().to_string()), Vec::<serde_json::Value>::new());
    t.advance(TimeDelta::minutes(239));
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "awaiting_approval");
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "completed");
    let later = t.withdraw(&customer, 100, "later").await;
    t.drive().await;
    assert_eq!(t.state(later.id()).await, "completed", "an account that is known is paid at once");
    t.finish().await;
}

#[sqlx::test]
async fn how_long_a_withdrawal_takes_to_reach_revio_is_measured_once_and_not_of_those_that_waited_for_the_hours(
    db: PgPool,
) {
    let t = TestApp::with(db, &COOLING).await;
    let measured = || {
        let metrics = &t.app.metrics.withdrawal_submission_seconds;
        (metrics.get_sample_count(), metrics.get_sample_sum())
    };
    let customer = t.customer_with(100_000).await;
    let waits = t.withdraw(&customer, 100, "waits").await;
    t.drive().await;
    t.advance(TimeDelta::hours(25));
    t.drive().await;
    assert_eq!(t.state(waits.id()).await, "completed");
    assert_eq!(measured(), (0, 0.0));
    let prompt = t.withdraw(&customer, 100, "prompt").await;
    t.advance(TimeDelta::seconds(40));
    t.drive().await;
    assert_eq!(t.state(prompt.id()).await, "completed");
    assert_eq!(measured(), (1, 40.0));
    t.finish().await;
}

async fn add_account(t: &TestApp, customer: &Customer) -> Customer {
    let account = json!({"account_number": "62001234567", "branch_code": "250655", "account_holder": "Thandi Nkosi",
        "bank_name": "FNB"});
    let added = t.send(Method::POST, "/v1/bank-accounts", Some(&t.token(customer)), &[], Some(account)).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    Customer {
        id: customer.id,
        email: customer.email.clone(),
        session_id: customer.session_id,
        token: customer.token.clone(),
        bank_account_id: added.id(),
    }
}

#[sqlx::test]
async fn a_withdrawal_to_a_new_bank_account_goes_on_when_somebody_else_approves_it(db: PgPool) {
    let t = TestApp::with(db, &COOLING).await;
    let customer = t.customer_with(100_000).await;
    t.advance(TimeDelta::days(2));
    // The same number, deleted and added again, is new again.
    let path = format!("/v1/bank-accounts/{}", customer.bank_account_id);
    t.send(Method::DELETE, &path, Some(&t.token(&customer)), &[], None).await;
    let customer = add_account(&t, &customer).await;
    let asked = t.withdraw(&customer, 40_000, "w").await;
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "awaiting_approval");
    let staff = t.staff(Role::Finance).await;
    let seen = t.get(&staff, &format!("/v1/admin/withdrawals/{}/approval", asked.id())).await;
    assert_eq!(seen.body["approvals_needed"], 1, "{}", seen.body);
    let body = json!({"payout_hash": seen.body["payout_hash"]});
    let path = format!("/v1/admin/withdrawals/{}/approve", asked.id());
    let approved = t.send(Method::POST, &path, Some(&t.token(&staff)), &[], Some(body)).await;
    assert_eq!(approved.status, StatusCode::OK, "{}", approved.body);
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn above_a_threshold_the_hours_alone_let_nothing_go_on(db: PgPool) {
    let t = TestApp::with(db, &[COOLING[0], ("APPROVAL_THRESHOLDS", "ZAR:5000")]).await;
    let customer = t.customer_with(100_000).await;
    let asked = t.withdraw(&customer, 5_001, "w").await;
    t.drive().await;
    t.advance(TimeDelta::hours(25));
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "awaiting_approval");
    t.finish().await;
}

#[sqlx::test]
async fn what_waits_for_the_hours_is_not_counted_as_waiting_for_somebody(db: PgPool) {
    let t = TestApp::with(db, &[COOLING[0], ("APPROVAL_THRESHOLDS", "ZAR:5000")]).await;
    let customer = t.customer_with(100_000).await;
    let asked = t.withdraw(&customer, 5_001, "w").await;
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "awaiting_approval");
    let counted = async |rows: i64, age: i64| {
        transactions::measure(&t.app).await.expect("PostgreSQL answers");
        let metrics = t.app.metrics.render();
        let labels = r#"{queue="withdrawal",what="awaiting_approval"}"#;
        for series in
            [format!("octoco_queue_rows{labels} {rows}\n"), format!("octoco_queue_age_seconds{labels} {age}\n")]
        {
            assert!(metrics.contains(&series), "{series}: {metrics}");
        }
    };
    let created = sqlx::query_scalar("select created_at from bank_accounts where id = $1");
    let created: DateTime<Utc> = created.bind(customer.bank_account_id).fetch_one(&t.app.db).await.expect("an account");
    t.advance(created + TimeDelta::hours(24) - TimeDelta::seconds(1) - t.app.clock.now());
    counted(0, 0).await;
    t.advance(TimeDelta::hours(5) + TimeDelta::seconds(1));
    counted(1, 5 * 3_600).await;
    t.drive().await;
    t.finish().await;
}

#[test]
fn cooling_is_on_unless_it_is_switched_off_in_words() {
    for (value, taken) in [("off", true), ("24", true), ("120", true), ("0", false), ("121", false), ("soon", false)] {
        let set = |name: &str| Ok((name == "BANK_ACCOUNT_COOLING_HOURS").then(|| value.to_owned()));
        let wrong = Config::from_source(&set).expect_err("much is missing").to_string();
        assert_eq!(!wrong.contains("BANK_ACCOUNT_COOLING_HOURS"), taken, "{value}: {wrong}");
    }
}
