//! Customers call off what they have asked for: deposits until they are paid, withdrawals until their payout begins. Whatever happens at
//! once with it, and wherever the process dies, what is cancelled was not paid, and what was paid is booked.

mod at_once;

use chrono::{DateTime, TimeDelta, Utc};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Pay, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::approvals::{ONE, THRESHOLDS, approve, hash, waiting};
use crate::harness::{Answer, Customer, TestApp, stepped};

pub(crate) async fn cancel(t: &TestApp, customer: &Customer, kind: &str, id: Uuid) -> Answer {
    t.send(Method::POST, &format!("/v1/{kind}s/{id}/cancel"), Some(&t.token(customer)), &[], None).await
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["state"].as_str().unwrap_or_default())
}

fn too_late(answer: &Answer) -> (u16, &str, &str) {
    (answer.status.as_u16(), answer.code(), answer.body["state"].as_str().unwrap_or_default())
}

fn status_at_revio(t: &TestApp, deposit: Uuid) -> Value {
    t.sim.purchases_by_reference(&deposit.to_string())[0]["status"].clone()
}

#[sqlx::test]
async fn the_payer_comes_back_to_the_deposits_own_page(db: PgPool) {
    let t = TestApp::with(db, &[("FRONTEND_URL", "https://app.example.com/o'hara/")]).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    let purchase = &t.sim.purchases_by_reference(&deposit.to_string())[0];
    let page = format!("https://app.example.com/o%27hara/deposits/{deposit}?checkout=");
    for (name, word) in
        [("success_redirect", "success"), ("failure_redirect", "failure"), ("cancel_redirect", "cancelled")]
    {
        assert_eq!(purchase[name], format!("{page}{word}"));
    }
    // Whoever opens the page without paying has paid nothing.
    t.drive().await;
    assert_eq!(t.state(deposit).await, "awaiting_payment");
    t.finish().await;
}

#[sqlx::test]
async fn a_deposit_says_until_when_it_can_be_paid_and_revio_is_told_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let began = t.app.clock.now();
    let deposit = t.deposit(&customer, 5_000, "d").await;
    let expires_at: DateTime<Utc> = deposit.body["expires_at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    assert_eq!(expires_at, began + TimeDelta::hours(1));
    assert_eq!(t.sim.purchases_by_reference(&deposit.id().to_string())[0]["due"], expires_at.timestamp());
    t.advance(TimeDelta::minutes(59));
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    t.advance(TimeDelta::minutes(6) + TimeDelta::seconds(1));
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "expired", "five minutes after Revio takes nothing any more");
    let withdrawal = t.withdraw(&customer, 1_000, "w").await;
    assert_eq!(withdrawal.body["expires_at"], Value::Null);
    // No link yet: nothing that could expire.
    t.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::BadGateway(Moment::Before)));
    let later = t.deposit(&customer, 5_000, "later").await;
    assert_eq!((&later.body["expires_at"], &later.body["checkout_url"]), (&Value::Null, &Value::Null));
    t.drive().await;
    let shown = t.get(&customer, &format!("/v1/transactions/{}", later.id())).await;
    assert!(shown.body["expires_at"].is_string() && shown.body["checkout_url"].is_string(), "{}", shown.body);
    t.finish().await;
}

#[sqlx::test]
async fn a_deposit_that_is_cancelled_cannot_be_paid_and_gives_its_room_to_another(db: PgPool) {
    let t = TestApp::with(db, &[("OPEN_DEPOSITS_MAX", "1")]).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d1").await;
    assert_eq!(t.deposit(&customer, 5_000, "d2").await.code(), "too_many_open_deposits");
    let cancelled = cancel(&t, &customer, "deposit", deposit.id()).await;
    assert_eq!(told(&cancelled), (200, "cancelled"));
    assert_eq!(cancelled.body["failure_reason"], "cancelled_by_customer");
    assert_eq!(status_at_revio(&t, deposit.id()), "cancelled");
    assert!(t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).is_err(), "Revio takes nothing");
    let calls = t.sim.calls().len();
    assert_eq!(told(&cancel(&t, &customer, "deposit", deposit.id()).await), (200, "cancelled"), "a repeat");
    assert_eq!(t.sim.calls().len(), calls, "which calls nobody");
    assert_eq!(t.deposit(&customer, 5_000, "d2").await.status, StatusCode::CREATED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn what_was_paid_before_it_was_cancelled_is_booked_and_what_is_paid_after_it_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    // Revio has the money and we have not heard of it.
    let paid = t.deposit(&customer, 5_000, "paid").await.id();
    t.sim.pay_purchase(t.purchase_of(paid), Pay::default()).expect("payable");
    assert_eq!(too_late(&cancel(&t, &customer, "deposit", paid).await), (409, "not_cancellable", "completed"));
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    let shown = t.get(&customer, &format!("/v1/transactions/{paid}")).await;
    assert_eq!(shown.body["failure_reason"], Value::Null);
    // Revio has said that it is cancelled, and takes the money all the same.
    let late = t.deposit(&customer, 700, "late").await.id();
    assert_eq!(told(&cancel(&t, &customer, "deposit", late).await), (200, "cancelled"));
    t.sim.pay_purchase(t.purchase_of(late), Pay { force: true, ..Pay::default() }).expect("forced");
    t.drive().await;
    assert_eq!((t.state(late).await.as_str(), t.balance(&customer).await), ("completed", (5_700, 0, 5_700)));
    t.finish().await;
}

#[sqlx::test]
async fn a_payment_under_way_is_not_called_cancelled_before_revio_says_so(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for (key, succeeds) in [("d1", true), ("d2", false)] {
        let deposit = t.deposit(&customer, 5_000, key).await.id();
        let purchase = t.purchase_of(deposit);
        t.sim.begin_payment(purchase, None).expect("payable");
        let asked = cancel(&t, &customer, "deposit", deposit).await;
        assert_eq!(
            (told(&asked), asked.headers["location"].to_str().ok()),
            ((202, "awaiting_payment"), Some(format!("/v1/transactions/{deposit}").as_str()))
        );
        assert_eq!(asked.body["failure_reason"], "cancelled_by_customer");
        let calls = t.sim.calls().len();
        assert_eq!(told(&cancel(&t, &customer, "deposit", deposit).await), (202, "awaiting_payment"));
        assert_eq!(t.sim.calls().len(), calls, "the worker asks, not whoever repeats it");
        t.drive().await;
        assert_eq!(t.state(deposit).await, "awaiting_payment");
        if succeeds {
            t.sim.pay_purchase(purchase, Pay::default()).expect("under way");
        } else {
            t.sim.fail_purchase(purchase).expect("under way");
        }
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.state(deposit).await, if succeeds { "completed" } else { "cancelled" });
    }
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

/// Whatever happens to the call that cancels, before or after its effect: the row goes on asking by itself.
#[sqlx::test]
async fn every_fault_of_the_call_that_cancels_a_deposit_ends_in_cancelled(db: PgPool) {
    let t = TestApp::with(db, &[("REVIO_CALL_SECS", "1")]).await;
    let customer = t.customer().await;
    for moment in [Moment::Before, Moment::After] {
        for kind in [
            FaultKind::BadGateway(moment),
            FaultKind::ServerError(moment),
            FaultKind::Reset(moment),
            FaultKind::Hang { secs: 2, moment },
            FaultKind::RateLimited { retry_after_secs: 1 },
        ] {
            let case = format!("{kind:?} {moment:?}");
            let deposit = t.deposit(&customer, 5_000, &case.replace(' ', "-")).await.id();
            t.sim.set_fault(Fault::next(1, Scope::CancelPurchase, kind.clone()));
            let asked = cancel(&t, &customer, "deposit", deposit).await;
            // What was answered with a status is looked up at once.
            let is_answered =
                matches!(kind, FaultKind::BadGateway(Moment::After) | FaultKind::ServerError(Moment::After));
            let expected = if is_answered { (200, "cancelled") } else { (202, "awaiting_payment") };
            assert_eq!(told(&asked), expected, "{case}");
            for _ in 0..4 {
                t.drive().await;
                t.advance(TimeDelta::seconds(31));
            }
            assert_eq!(
                (t.state(deposit).await.as_str(), status_at_revio(&t, deposit)),
                ("cancelled", json!("cancelled")),
                "{case}"
            );
            t.sim.clear_faults();
        }
    }
    t.finish().await;
}

/// Its creation got no answer, so nobody has a link. The purchase that there is all the same is cancelled when we hear of it.
#[sqlx::test]
async fn a_deposit_without_a_link_is_cancelled_at_once_and_its_purchase_follows(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::Reset(Moment::After)));
    let deposit = t.deposit(&customer, 5_000, "d").await;
    assert_eq!(deposit.body["state"], "initiated");
    assert_eq!(told(&cancel(&t, &customer, "deposit", deposit.id()).await), (200, "cancelled"));
    assert_eq!(status_at_revio(&t, deposit.id()), "created");
    t.drive().await;
    assert_eq!(
        (t.state(deposit.id()).await.as_str(), status_at_revio(&t, deposit.id())),
        ("cancelled", json!("cancelled"))
    );
    assert_eq!(t.sim.purchases_by_reference(&deposit.id().to_string()).len(), 1, "no other was made");
    t.finish().await;
}

#[sqlx::test]
async fn a_withdrawal_that_is_cancelled_gives_the_money_back_at_once_and_is_never_paid(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    let cancelled = cancel(&t, &customer, "withdrawal", withdrawal).await;
    assert_eq!(
        (told(&cancelled), &cancelled.body["failure_reason"]),
        ((200, "cancelled"), &json!("cancelled_by_customer"))
    );
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    assert_eq!(told(&cancel(&t, &customer, "withdrawal", withdrawal).await), (200, "cancelled"), "a repeat");
    let again = t.withdraw(&customer, 4_000, "w").await;
    assert_eq!(
        (again.id(), again.replayed(), told(&again)),
        (withdrawal, true, (202, "cancelled")),
        "the key is spent"
    );
    t.drive().await;
    t.advance(TimeDelta::days(8));
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("cancelled", 0));
    let listed = t.get(&customer, "/v1/transactions?kind=withdrawal&state=cancelled").await;
    assert_eq!(listed.body["data"][0]["id"], withdrawal.to_string());
    t.finish().await;
}

#[sqlx::test]
async fn what_is_paid_or_about_to_be_is_not_cancelled(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    // The answer to the execution is lost: Revio may pay.
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::After)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.step().await;
    assert_eq!(t.state(withdrawal).await, "submitting");
    assert_eq!(
        too_late(&cancel(&t, &customer, "withdrawal", withdrawal).await),
        (409, "not_cancellable", "submitting")
    );
    t.drive().await;
    assert_eq!(too_late(&cancel(&t, &customer, "withdrawal", withdrawal).await), (409, "not_cancellable", "completed"));
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    let refused = t.withdraw(&customer, 60_000, "too-much").await;
    let id = refused.body["transaction_id"].as_str().and_then(|id| id.parse().ok()).expect("the row");
    assert_eq!(too_late(&cancel(&t, &customer, "withdrawal", id).await), (409, "not_cancellable", "rejected"));
    let other = t.deposit(&customer, 5_000, "d").await.id();
    assert_eq!(cancel(&t, &customer, "withdrawal", other).await.status, StatusCode::NOT_FOUND, "a deposit is none");
    assert_eq!(cancel(&t, &customer, "deposit", withdrawal).await.status, StatusCode::NOT_FOUND);
    let stranger = t.customer().await;
    for (kind, id) in [("withdrawal", withdrawal), ("deposit", other)] {
        assert_eq!(cancel(&t, &stranger, kind, id).await.status, StatusCode::NOT_FOUND);
    }
    t.finish().await;
}

/// A payout was executed and its window closed unused: the row is `reserved` again, and Revio may pay all the same.
#[sqlx::test]
async fn a_withdrawal_of_which_the_ledger_knows_a_payout_is_not_cancelled_whatever_its_row_says(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Refused));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.step().await;
    sqlx::query("update transactions set state = 'reserved', states = states || ' reserved', moved_at = moved_at || now() where id = $1")
        .bind(withdrawal)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(too_late(&cancel(&t, &customer, "withdrawal", withdrawal).await), (409, "not_cancellable", "reserved"));
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    for _ in 0..20 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    assert_ne!(t.state(withdrawal).await, "cancelled");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn what_waits_for_approval_can_be_cancelled_and_then_not_be_approved(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w").await;
    let seen = hash(&t, &finance, id).await;
    assert_eq!(told(&cancel(&t, &customer, "withdrawal", id).await), (200, "cancelled"));
    let listed = t.get(&finance, "/v1/admin/withdrawals/awaiting-approval").await;
    assert_eq!(listed.body["data"], json!([]));
    assert_eq!(approve(&t, &finance, id, &seen).await.code(), "stale_state");
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.balance(&customer).await), ("cancelled", (100_000, 0, 100_000)));
    t.finish().await;
}

#[sqlx::test]
async fn a_frozen_customer_may_cancel_and_the_money_stays_in_the_wallet(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer_with(10_000).await, t.staff(Role::Admin).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let frozen = t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(json!({"reason": "odd"}))).await;
    assert_eq!(frozen.status, StatusCode::OK, "{}", frozen.body);
    t.drive().await;
    assert!(t.held_reason(withdrawal).await.is_some(), "it waits for the end of the freeze");
    assert_eq!(told(&cancel(&t, &customer, "withdrawal", withdrawal).await), (200, "cancelled"));
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    assert_eq!(t.withdraw(&customer, 1_000, "w2").await.code(), "account_frozen");
    t.drive().await;
    t.finish().await;
}

/// Its payout is registered, and waits for a person: that one decides.
#[sqlx::test]
async fn what_a_person_looks_at_is_not_cancelled(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    sqlx::query("update transactions set held_code = 'contradiction', held_reason = 'odd', held_at = now(), due_at = null where id = $1")
        .bind(withdrawal)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(
        too_late(&cancel(&t, &customer, "withdrawal", withdrawal).await),
        (409, "not_cancellable", "under_review")
    );
    t.finish_with_held().await;
}

/// The customer owes something by now: what comes back repays that first.
#[sqlx::test]
async fn what_a_cancelled_withdrawal_frees_repays_what_is_owed_first(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "d").await;
    t.pay(&deposit).await;
    let withdrawal = t.withdraw(&customer, 9_000, "w").await.id();
    t.sim.charge_back_purchase(t.purchase_of(deposit.id())).expect("it was paid");
    t.sim.deliver().await;
    stepped(octoco::webhooks::inbox::claim_due(&t.app, 10)).await.expect("events are claimed");
    octoco::money::reversals::step_due(&t.app, 10).await.expect("reversals are claimed");
    assert_eq!(t.owed(customer.id).await, 9_000);
    let cancelled = cancel(&t, &customer, "withdrawal", withdrawal).await;
    assert_eq!((told(&cancelled), &cancelled.body["repaid"]), ((200, "cancelled"), &json!(9_000)));
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 0));
    t.drive().await;
    t.finish().await;
}
