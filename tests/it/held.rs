//! Rows that wait for a person: listed, resumed, dismissed, and who did it.

use chrono::TimeDelta;
use octoco::money::transactions::{self, Hold};
use octoco::platform::permissions::Role;
use octoco::provider::revio::RevioError;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Pay, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp};
use crate::reconciliation::cycle;

async fn resolve(t: &TestApp, staff: &Customer, id: Uuid, action: &str) -> Answer {
    let body = json!({"action": action, "note": "looked at Revio's portal"});
    t.send(Method::POST, &format!("/v1/admin/held/{id}/resolve"), Some(&t.token(staff)), &[], Some(body)).await
}

#[sqlx::test]
async fn a_row_that_gave_up_goes_on_when_a_person_says_so(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance, support) =
        (t.customer_with(10_000).await, t.staff(Role::Finance).await, t.staff(Role::Support).await);
    t.sim.set_fault(Fault::next(5, Scope::CreatePayout, FaultKind::Blank { status: 200 }));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    for minutes in [0, 1, 5, 15] {
        t.drive().await;
        t.advance(TimeDelta::minutes(minutes));
    }
    t.drive().await;
    let listed = t.get(&support, "/v1/admin/held?kind=withdrawal").await;
    let held = &listed.body["data"][0];
    assert_eq!((held["id"].as_str(), &held["state"]), (Some(withdrawal.id().to_string().as_str()), &json!("reserved")));
    assert!(held["held_reason"].as_str().is_some_and(|reason| reason.contains("5 failures")), "{held}");
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "still reserved");
    assert_eq!(resolve(&t, &support, withdrawal.id(), "retry").await.status, StatusCode::FORBIDDEN);
    assert_eq!(resolve(&t, &finance, withdrawal.id(), "pay twice").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(resolve(&t, &finance, withdrawal.id(), "retry").await.status, StatusCode::OK);
    assert_eq!(resolve(&t, &finance, withdrawal.id(), "retry").await.status, StatusCode::NOT_FOUND, "once");
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    let audited: String = sqlx::query_scalar("select after::text from audit_log where action = 'transaction.retried'")
        .fetch_one(&t.app.db)
        .await
        .expect("one entry");
    assert!(audited.contains("portal"));
    t.finish().await;
}

#[sqlx::test]
async fn a_dismissed_row_comes_to_its_end_and_stays_there(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    let pay = Pay { amount: Some(4_000), ..Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit.id()), pay).expect("payable");
    t.drive().await;
    assert!(t.held_reason(deposit.id()).await.is_some());
    assert_eq!(resolve(&t, &finance, deposit.id(), "dismiss").await.status, StatusCode::OK);
    t.advance(TimeDelta::days(2));
    t.drive().await;
    assert_eq!((t.state(deposit.id()).await.as_str(), t.held_reason(deposit.id()).await), ("failed", None));
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.finish().await;
}

/// Of a second thing that no word of Revio's mends the same person hears; and it does not end with a freeze.
#[sqlx::test]
async fn what_is_found_besides_is_said_once_and_what_was_closed_stays_so(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let hold = async |id: Uuid, code: Hold, reason: &str| {
        let row = transactions::find(&t.app, id).await.expect("there");
        let held = transactions::hold(&t.app, &row, code, reason).await.expect("held").held;
        held.map(|held| (held.code, held.reason))
    };
    let deposit = t.deposit(&customer, 500, "d").await.id();
    hold(deposit, Hold::Contradiction, "one").await;
    let both = Some((Hold::Contradiction, "one | two".to_owned()));
    for _ in 0..2 {
        assert_eq!(hold(deposit, Hold::PaidTwice, "two").await, both, "once");
    }
    assert_eq!(hold(deposit, Hold::Unexplained, "three").await, both, "that lacks a word");
    let row = transactions::find(&t.app, deposit).await.expect("there");
    transactions::close_hold(&t.app, &t.app.db, &row).await.expect("closed");
    assert_eq!(hold(deposit, Hold::PaidTwice, "two").await, None, "a person has closed it");
    let frozen = t.deposit(&customer, 500, "f").await.id();
    hold(frozen, Hold::Frozen, "frozen").await;
    assert_eq!(hold(frozen, Hold::PaidTwice, "two").await, Some((Hold::PaidTwice, "frozen | two".to_owned())));
}

/// Its payer may still have the link; and what Revio does not say of it then is no reason to look once more.
#[sqlx::test]
async fn a_deposit_that_a_person_closed_is_called_off_at_revio_and_stays_closed(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    for (key, answers) in [("a", true), ("b", false)] {
        let deposit = t.deposit(&customer, 5_000, key).await.id();
        let row = transactions::find(&t.app, deposit).await.expect("there");
        transactions::hold(&t.app, &row, Hold::Undecided, "open for too long").await.expect("held");
        if !answers {
            t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::Blank { status: 404 }));
        }
        assert_eq!(resolve(&t, &finance, deposit, "dismiss").await.status, StatusCode::OK);
        for _ in 0..60 {
            t.drive().await;
            t.advance(TimeDelta::minutes(1));
        }
        t.sim.clear_faults();
        let purchase = t.sim.purchase(t.purchase_of(deposit)).expect("made");
        assert_eq!(purchase["status"] == json!("cancelled"), answers, "{purchase}");
        assert_eq!((t.state(deposit).await.as_str(), t.held_reason(deposit).await), ("failed", None));
    }
    t.finish().await;
}

/// Nobody knew of a link when it was closed, and its payer gets none afterwards.
#[sqlx::test]
async fn a_deposit_that_was_closed_before_revio_answered_is_not_opened_by_an_event(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    next.at("deposit.purchase_created");
    let body = json!({"amount": 5_000, "currency": "ZAR"});
    let headers = [("Idempotency-Key", "k")];
    t.send(Method::POST, "/v1/deposits", Some(&t.token(&customer)), &headers, Some(body)).await;
    let deposit: Uuid =
        sqlx::query_scalar("select id from transactions").fetch_one(&t.app.db).await.expect("it is written");
    let row = transactions::find(&t.app, deposit).await.expect("there");
    transactions::hold(&t.app, &row, Hold::GaveUp, "not readable").await.expect("held");
    assert_eq!(resolve(&t, &finance, deposit, "dismiss").await.status, StatusCode::OK);
    let purchase = t.purchase_of(deposit);
    t.sim.raise_event(purchase, "purchase.created").expect("it is there");
    t.drive().await;
    assert_eq!(t.sim.purchase(purchase).expect("made")["status"], json!("cancelled"));
    let shown = t.get(&customer, &format!("/v1/transactions/{deposit}")).await;
    assert_eq!((&shown.body["state"], &shown.body["failure_reason"]), (&json!("failed"), &json!("closed_by_review")));
    t.finish().await;
}

/// Its key is another account's now, or Revio has deleted it: nobody else could end the row.
#[sqlx::test]
async fn a_deposit_whose_purchase_revio_has_forgotten_can_be_closed_once_nothing_of_it_is_on_its_way(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::Blank { status: 404 }));
    for _ in 0..40 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    assert!(t.held_reason(deposit).await.is_some_and(|reason| reason.contains("5 failures")));
    let early = resolve(&t, &finance, deposit, "dismiss").await;
    assert_eq!((early.status, &early.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("action")));
    t.advance(TimeDelta::hours(1));
    let closed = resolve(&t, &finance, deposit, "dismiss").await;
    assert_eq!(closed.status, StatusCode::OK, "{}", closed.body);
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.held_reason(deposit).await), ("failed", None));
    t.finish().await;
}

/// A person closed it on what Revio could not say then; its events are lost.
#[sqlx::test]
async fn what_a_person_closed_and_its_payer_paid_is_credited_all_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    let row = transactions::find(&t.app, deposit).await.expect("there");
    transactions::hold(&t.app, &row, Hold::GaveUp, "not readable").await.expect("held");
    t.advance(TimeDelta::hours(1));
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::Blank { status: 404 }));
    assert_eq!(resolve(&t, &finance, deposit, "dismiss").await.status, StatusCode::OK);
    t.drive().await;
    assert_eq!(t.state(deposit).await, "failed");
    t.sim.clear_faults();
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    cycle(&t).await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (5_000, 0, 5_000)));
    t.drive().await;
    t.finish().await;
}

/// Nobody could decide about it otherwise: it is held, so that nobody approves or declines it.
#[sqlx::test]
async fn two_people_give_back_what_is_held_while_it_waits_for_an_approval(db: PgPool) {
    let t = TestApp::with(db, &[("APPROVAL_THRESHOLDS", "ZAR:1000")]).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "awaiting_approval");
    let row = transactions::find(&t.app, withdrawal).await.expect("there");
    transactions::hold(&t.app, &row, Hold::PaidTwice, "was it paid before?").await.expect("held");
    for staff in [&one, &two] {
        assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
        assert_eq!(resolve(&t, staff, withdrawal, "release").await.status, StatusCode::OK);
    }
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    t.finish().await;
}

/// An hour without Revio's answer counts only where Revio was asked: that there was no place for the call says nothing of the payout.
#[sqlx::test]
async fn what_two_people_gave_back_stays_reserved_as_long_as_nobody_could_ask_revio(db: PgPool) {
    let t = TestApp::with(db, &[("REVIO_CALLS_PER_SECOND", "50")]).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = given_up(&t, &customer).await;
    t.advance(TimeDelta::hours(2));
    while !matches!(t.app.revio.payout(t.payout_of(withdrawal)).await, Err(RevioError::NoPlace(_))) {}
    t.step().await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "nobody was asked");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await.1), ("submitted", 4_000));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// A payout that is pending, held, and given up by two people.
async fn given_up(t: &TestApp, customer: &Customer) -> Uuid {
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(customer, 4_000, "w").await.id();
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitted");
    let row = transactions::find(&t.app, withdrawal).await.expect("there");
    transactions::hold(&t.app, &row, Hold::Undecided, "still pending").await.expect("held");
    for staff in [&one, &two] {
        assert_eq!(resolve(t, staff, withdrawal, "release").await.status, StatusCode::OK);
    }
    withdrawal
}

/// No step was taken for hours, or Revio only asked us to wait, and then it does not answer: the hour begins then.
#[sqlx::test]
async fn one_call_in_vain_is_no_hour_without_an_answer(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = given_up(&t, &customer).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::RateLimited { retry_after_secs: 3_600 }));
    for _ in 0..3 {
        t.advance(TimeDelta::minutes(61));
        t.drive().await;
    }
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "nobody has said anything of it");
    t.sim.clear_faults();
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::BadGateway(Moment::Before)));
    t.advance(TimeDelta::minutes(61));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "once");
    t.advance(TimeDelta::minutes(61));
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    t.sim.clear_faults();
    t.finish().await;
}
