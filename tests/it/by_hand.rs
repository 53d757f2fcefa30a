//! What people have booked by a correction is not booked a second time once Revio tells of it.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::money::transactions;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Pay, PayoutBehaviour, PayoutOutcome, Scope, Settings};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::adjustments::{self, correction};
use crate::backups;
use crate::harness::{Answer, Customer, TestApp};

/// A finished correction of a row, against what Revio holds for us.
pub(crate) async fn corrected(t: &TestApp, customer: &Customer, direction: &str, amount: i64, row: Uuid) -> Uuid {
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let mut body = correction(customer, direction, amount);
    body["counterpart"] = json!("provider_balance");
    body["transaction_id"] = json!(row);
    let asked = adjustments::proposed(t, &maker, body, &t.app.clock.row_id().to_string()).await;
    let done = adjustments::approve(t, &checker, asked.id(), adjustments::hash(&asked)).await;
    assert_eq!(done.body["state"], "completed", "{}", done.body);
    asked.id()
}

async fn held(t: &TestApp) -> Vec<(Uuid, String)> {
    let staff = t.staff(Role::Support).await;
    let list = t.get(&staff, "/v1/admin/held").await;
    let row = |row: &Value| {
        let id = row["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        (id, row["held_code"].as_str().expect("a code").to_owned())
    };
    list.body["data"].as_array().expect("rows").iter().map(row).collect()
}

pub(crate) async fn dismissed(t: &TestApp, row: Uuid) {
    let finance = t.staff(Role::Finance).await;
    let body = json!({"action": "dismiss", "note": "the correction stands"});
    let path = format!("/v1/admin/held/{row}/resolve");
    let done = t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(body)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    t.drive().await;
    assert_eq!(held(t).await, []);
}

#[sqlx::test]
async fn a_deposit_is_not_credited_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    corrected(&t, &customer, "credit", 5_000, deposit.id()).await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000), "once");
    assert_eq!(held(&t).await, [(deposit.id(), "paid_twice".to_owned())]);
    dismissed(&t, deposit.id()).await;
    t.sim.raise_event(t.purchase_of(deposit.id()), "purchase.paid").expect("told again");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, held(&t).await), ((5_000, 0, 5_000), vec![]), "closed for good");
    t.finish().await;
}

/// Neither is what only looks like it: of another sum, or in the other direction.
#[sqlx::test]
async fn another_correction_stops_no_deposit(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for (direction, amount) in [("credit", 4_999), ("debit", 5_000)] {
        let deposit = t.deposit(&customer, 5_000, direction).await;
        corrected(&t, &customer, direction, amount, deposit.id()).await;
        t.pay(&deposit).await;
        assert_eq!(t.state(deposit.id()).await, "completed");
    }
    assert_eq!(t.balance(&customer).await, (19_999, 0, 19_999));
}

/// Revio's word came while it waited for its second person.
#[sqlx::test]
async fn a_correction_of_what_was_booked_since_it_was_asked_for_is_not_booked_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 5_000, "d").await;
    let asked = async |direction: &str, amount: i64| {
        let mut body = correction(&customer, direction, amount);
        body["transaction_id"] = json!(deposit.id());
        t.advance(TimeDelta::seconds(1));
        adjustments::proposed(&t, &maker, body, &t.app.clock.row_id().to_string()).await
    };
    let credit = asked("credit", 5_000).await;
    t.advance(TimeDelta::seconds(1));
    t.pay(&deposit).await;
    let (debit, other) = (asked("debit", 3_000).await, asked("debit", 100).await);
    t.advance(TimeDelta::seconds(1));
    t.sim.refund_purchase(t.purchase_of(deposit.id()), Some(3_000)).expect("refundable");
    t.drive().await;
    for stopped in [&credit, &debit] {
        let approved = adjustments::approve(&t, &checker, stopped.id(), adjustments::hash(stopped)).await;
        assert_eq!(
            (approved.status, &approved.body["state"]),
            (StatusCode::OK, &json!("initiated")),
            "{}",
            approved.body
        );
    }
    let done = adjustments::approve(&t, &checker, other.id(), adjustments::hash(&other)).await;
    assert_eq!(done.body["state"], "completed", "of another sum: {}", done.body);
    assert_eq!(t.balance(&customer).await, (1_900, 0, 1_900));
    let mut is_held = held(&t).await;
    is_held.sort_unstable();
    let mut stopped = [credit.id(), debit.id()].map(|id| (id, "paid_twice".to_owned()));
    stopped.sort_unstable();
    assert_eq!(is_held, stopped);
    t.advance(TimeDelta::hours(2));
    for (id, _) in stopped {
        let body = json!({"action": "dismiss", "note": "it is booked"});
        let path = format!("/v1/admin/held/{id}/resolve");
        let done = t.send(Method::POST, &path, Some(&t.token(&checker)), &[], Some(body)).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    }
    t.finish().await;
}

#[sqlx::test]
async fn of_two_equal_refunds_one_is_what_was_corrected(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "d").await;
    t.pay(&deposit).await;
    let purchase = t.purchase_of(deposit.id());
    corrected(&t, &customer, "debit", 3_000, deposit.id()).await;
    for left in [7_000, 4_000] {
        t.sim.refund_purchase(purchase, Some(3_000)).expect("refundable");
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (left, 0, left));
        t.advance(TimeDelta::minutes(2));
    }
    let [(refund, code)] = &held(&t).await[..] else { panic!("one is held") };
    assert_eq!(code, "paid_twice");
    dismissed(&t, *refund).await;
    t.sim.refund_purchase(purchase, Some(3_000)).expect("refundable");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, held(&t).await), ((1_000, 0, 1_000), vec![]));
    t.finish().await;
}

/// A break is of a deposit's total, and so is the correction that ends it.
#[sqlx::test]
async fn a_correction_that_ended_a_break_stands_for_all_that_it_was_about(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "d").await;
    t.pay(&deposit).await;
    let correction = corrected(&t, &customer, "debit", 500, deposit.id()).await;
    let settles = "update adjustments set about_id = null, settles_id = about_id where transaction_id = $1";
    sqlx::query(settles).bind(correction).execute(&t.app.db).await.expect("it is there");
    for amount in [400, 100, 100] {
        t.advance(TimeDelta::minutes(2));
        t.sim.refund_purchase(t.purchase_of(deposit.id()), Some(amount)).expect("refundable");
        t.drive().await;
    }
    assert_eq!((t.balance(&customer).await, held(&t).await.len()), ((9_400, 0, 9_400), 2), "the third is taken");
    t.finish_with_held().await;
}

/// What was credited by hand has no row of its own to be taken back by.
#[sqlx::test]
async fn what_was_credited_by_hand_and_goes_back_is_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    corrected(&t, &customer, "credit", 5_000, deposit.id()).await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    t.drive().await;
    dismissed(&t, deposit.id()).await;
    t.advance(TimeDelta::minutes(2));
    t.sim.refund_purchase(t.purchase_of(deposit.id()), None).expect("refundable");
    t.drive().await;
    assert_eq!(held(&t).await, [(deposit.id(), "contradiction".to_owned())]);
    assert!(t.held_reason(deposit.id()).await.is_some_and(|reason| reason.contains("given back by Revio")));
}

/// 3 000 of 10 000 went back, people have put it into the wallet again, and Revio says by now that it never went.
async fn a_refund_that_failed_is_corrected(t: &TestApp) -> (Customer, Uuid) {
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "d").await;
    t.pay(&deposit).await;
    let purchase = t.purchase_of(deposit.id());
    t.sim.refund_purchase(purchase, Some(3_000)).expect("refundable");
    t.drive().await;
    corrected(t, &customer, "credit", 3_000, deposit.id()).await;
    let refund = t.sim.payments_of(purchase)[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    t.sim.fail_payment(refund).expect("it was announced");
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    (customer, deposit.id())
}

/// The other way round than what is told: it stands for nothing of it.
#[sqlx::test]
async fn what_was_stopped_the_other_way_uses_up_no_correction(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let (customer, deposit) = a_refund_that_failed_is_corrected(&t).await;
    let [(row, _)] = held(&t).await[..] else { panic!("one is held") };
    dismissed(&t, row).await;
    corrected(&t, &customer, "debit", 3_000, deposit).await;
    t.advance(TimeDelta::minutes(2));
    t.sim.refund_purchase(t.purchase_of(deposit), Some(3_000)).expect("refundable");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, held(&t).await.len()), ((7_000, 0, 7_000), 1), "held, as it is corrected");
}

/// Its reservation is open. Two people end it, and what was reserved besides is free again.
#[sqlx::test]
async fn a_withdrawal_that_is_reserved_is_not_posted_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    corrected(&t, &customer, "debit", 4_000, withdrawal).await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    t.drive().await;
    assert_eq!(held(&t).await, [(withdrawal, "paid_twice".to_owned())]);
    assert_eq!(t.balance(&customer).await, (6_000, 4_000, 2_000));
    for staff in [t.staff(Role::Finance).await, t.staff(Role::Admin).await] {
        let (path, body) =
            (format!("/v1/admin/held/{withdrawal}/resolve"), json!({"action": "release", "note": "it stands"}));
        let said = t.send(Method::POST, &path, Some(&t.token(&staff)), &[], Some(body)).await;
        assert_eq!(said.status, StatusCode::OK, "{}", said.body);
    }
    for _ in 0..3 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (6_000, 0, 6_000)));
    dismissed(&t, withdrawal).await;
    t.advance(TimeDelta::days(2));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_refund_that_failed_after_all_is_not_put_back_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let (customer, _) = a_refund_that_failed_is_corrected(&t).await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000), "once");
    let [(row, code)] = &held(&t).await[..] else { panic!("one is held") };
    assert_eq!((code.as_str(), t.state(*row).await.as_str()), ("paid_twice", "completed"));
    dismissed(&t, *row).await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_after_its_money_was_given_back_is_not_taken_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "timeout".to_owned() });
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "failed");
    // As one that ended a break of it: nobody had to name it.
    let correction = corrected(&t, &customer, "debit", 4_000, withdrawal).await;
    let settles = "update adjustments set about_id = null, settles_id = about_id where transaction_id = $1";
    sqlx::query(settles).bind(correction).execute(&t.app.db).await.expect("it is there");
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("it can be executed again");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((6_000, 0, 6_000), 0));
    assert_eq!(held(&t).await, [(withdrawal, "paid_twice".to_owned())]);
    dismissed(&t, withdrawal).await;
    t.finish().await;
}

/// The row has forgotten that it was credited, or did not come to say so: what is booked comes to its end, and people do not book it besides.
#[sqlx::test]
async fn what_the_ledger_has_of_a_row_is_not_stopped(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    let asked = asked_for(&t, &customer, 5_000, deposit.id()).await;
    backups::take(&db).await;
    t.pay(&deposit).await;
    backups::restore(&db).await;
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    let correction = is_stopped(&t, &asked).await;
    t.advance(TimeDelta::minutes(30));
    t.drive().await;
    let row = transactions::find(&t.app, deposit.id()).await.expect("there");
    assert_eq!((row.state.name(), row.held.map(|held| held.code)), ("completed", None));
    assert_eq!((held(&t).await, t.balance(&customer).await), (vec![correction], (5_000, 0, 5_000)));
}

async fn asked_for(t: &TestApp, customer: &Customer, amount: i64, row: Uuid) -> Answer {
    let maker = t.staff(Role::Finance).await;
    let mut body = correction(customer, "credit", amount);
    body["counterpart"] = json!("provider_balance");
    body["transaction_id"] = json!(row);
    adjustments::proposed(t, &maker, body, "k").await
}

/// Approved, and not booked: what came is booked already.
async fn is_stopped(t: &TestApp, asked: &Answer) -> (Uuid, String) {
    let checker = t.staff(Role::Finance).await;
    let approved = adjustments::approve(t, &checker, asked.id(), adjustments::hash(asked)).await;
    assert_eq!(approved.body["state"], "initiated", "{}", approved.body);
    (asked.id(), "paid_twice".to_owned())
}

/// Of another sum than was asked for, while the correction waited for its second person.
#[sqlx::test]
async fn a_correction_of_what_was_set_aside_meanwhile_is_not_booked_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 900, "d").await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let short = Pay { amount: Some(899), ..Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit.id()), short).expect("payable");
    let asked = asked_for(&t, &customer, 899, deposit.id()).await;
    t.advance(TimeDelta::minutes(30));
    t.drive().await;
    let correction = is_stopped(&t, &asked).await;
    assert!(held(&t).await.contains(&correction), "{:?}", held(&t).await);
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 899, "where it is decided about");
}

/// The payer's bank says that a payout bounced, and people credit it, before Revio says `error`.
#[sqlx::test]
async fn a_withdrawal_is_not_given_back_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    corrected(&t, &customer, "credit", 4_000, withdrawal).await;
    assert_eq!(t.balance(&customer).await, (14_000, 4_000, 10_000));
    let error = || PayoutOutcome::Error { code: "do_not_honour".to_owned() };
    t.sim.settle_payout(t.payout_of(withdrawal), error()).expect("pending");
    t.drive().await;
    assert_eq!(held(&t).await, [(withdrawal, "paid_twice".to_owned())]);
    assert_eq!(t.balance(&customer).await, (14_000, 4_000, 10_000), "given back once");
    // Two people who have taken the credit back end it.
    corrected(&t, &customer, "debit", 4_000, withdrawal).await;
    for staff in [t.staff(Role::Finance).await, t.staff(Role::Admin).await] {
        let (path, body) =
            (format!("/v1/admin/held/{withdrawal}/resolve"), json!({"action": "release", "note": "taken back"}));
        t.send(Method::POST, &path, Some(&t.token(&staff)), &[], Some(body)).await;
    }
    for _ in 0..20 {
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
    }
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    // Of another one Revio's word came while the credit waited for its second person.
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let other = t.withdraw(&customer, 3_000, "o").await.id();
    t.drive().await;
    let mut body = correction(&customer, "credit", 3_000);
    body["transaction_id"] = json!(other);
    t.advance(TimeDelta::seconds(1));
    let asked = adjustments::proposed(&t, &maker, body, "o").await;
    t.advance(TimeDelta::seconds(1));
    t.sim.settle_payout(t.payout_of(other), error()).expect("pending");
    t.drive().await;
    assert_eq!((t.state(other).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    let approved = adjustments::approve(&t, &checker, asked.id(), adjustments::hash(&asked)).await;
    assert_eq!(approved.body["state"], "initiated", "{}", approved.body);
    assert_eq!((t.balance(&customer).await, held(&t).await.len()), ((10_000, 0, 10_000), 1));
}
