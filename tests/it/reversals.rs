//! Refunds, chargebacks and their reversal: what Revio gives back of a deposit, and what the customer owes then.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Override, Pay, Scope, Settings};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Customer, TestApp};
use crate::journals::{approve, booked, entry, proposed, with};

/// A customer with one paid deposit, and Revio's purchase of it.
async fn paid(t: &TestApp, amount: i64) -> (Customer, Uuid, Uuid) {
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, amount, "first").await;
    t.pay(&deposit).await;
    let purchase = t.purchase_of(deposit.id());
    (customer, deposit.id(), purchase)
}

async fn count(t: &TestApp, customer: &Customer, kind: &str) -> i64 {
    let listed = t.get(customer, &format!("/v1/transactions?kind={kind}&state=completed")).await;
    listed.body["page"]["total"].as_i64().expect("a number")
}

#[sqlx::test]
async fn partial_and_repeated_refunds_are_rows_of_their_own(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 10_000).await;
    for (amount, left) in [(3_000, 7_000), (2_000, 5_000), (5_000, 0)] {
        t.advance(TimeDelta::minutes(2));
        t.sim.refund_purchase(purchase, Some(amount)).expect("refundable");
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (left, 0, left));
    }
    assert_eq!(count(&t, &customer, "refund").await, 3);
    assert_eq!(t.state(deposit).await, "completed", "the deposit itself stays what it was");
    t.finish().await;
}

/// Where Revio tells of Payments when it is asked: that is documented nowhere.
#[sqlx::test]
async fn refunds_whose_webhooks_are_lost_are_found_by_asking(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(revio_sim::Settings { payment_reads: true, ..t.sim.settings() });
    let (customer, _, purchase) = paid(&t, 10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.refund_purchase(purchase, Some(3_000)).expect("refundable");
    t.advance(TimeDelta::minutes(2));
    t.sim.refund_purchase(purchase, Some(1_000)).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.advance(TimeDelta::days(1));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    assert_eq!(count(&t, &customer, "refund").await, 2, "each as Revio names it");
    t.finish().await;
}

#[sqlx::test]
async fn what_the_wallet_cannot_cover_is_owed_and_the_next_deposit_repays_it_first(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 10_000).await;
    assert_eq!(t.withdraw(&customer, 8_000, "w1").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0), "never below zero");
    assert_eq!(t.owed(customer.id).await, 8_000);
    let small = t.deposit(&customer, 5_000, "k2").await;
    t.pay(&small).await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 3_000));
    let shown = t.get(&customer, &format!("/v1/transactions/{}", small.id())).await;
    assert_eq!(shown.body["repaid"], 5_000, "visible where it went");
    let large = t.deposit(&customer, 5_000, "k3").await;
    t.pay(&large).await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((2_000, 0, 2_000), 0));
    t.finish().await;
}

#[sqlx::test]
async fn a_refund_leaves_what_is_reserved_alone(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 10_000).await;
    t.sim.set_payout_behaviour(revio_sim::PayoutBehaviour::Pend);
    t.withdraw(&customer, 8_000, "w1").await;
    t.drive().await;
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (8_000, 8_000, 0));
    assert_eq!(t.owed(customer.id).await, 8_000);
    t.finish().await;
}

#[sqlx::test]
async fn a_chargeback_and_its_reversal_in_both_spellings(db: PgPool) {
    let t = TestApp::new(db).await;
    for old_word in [false, true] {
        let mut settings = t.sim.settings();
        settings.old_chargeback_word = old_word;
        t.sim.set_settings(settings);
        let (customer, _, purchase) = paid(&t, 10_000).await;
        t.sim.charge_back_purchase(purchase).expect("paid");
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (0, 0, 0));
        t.sim.reverse_charge_back(purchase).expect("charged back");
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
        assert_eq!(
            (count(&t, &customer, "chargeback").await, count(&t, &customer, "chargeback_reversal").await),
            (1, 1)
        );
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_reversed_chargeback_repays_what_was_owed_for_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 10_000).await;
    t.withdraw(&customer, 6_000, "w1").await;
    t.drive().await;
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 6_000));
    t.sim.reverse_charge_back(purchase).expect("charged back");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((4_000, 0, 4_000), 0));
    t.finish().await;
}

/// Who bore the loss gets it back first, and how much that is a person must say.
#[sqlx::test]
async fn what_comes_back_of_a_debt_that_was_written_off_is_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 10_000).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    t.withdraw(&customer, 6_000, "w1").await;
    t.drive().await;
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.drive().await;
    booked(&t, &maker, &checker, entry("own_funds_in", 6_000), "funds").await;
    let given_up = with(entry("write_off", 6_000), json!({"user_id": customer.id}));
    let given_up = booked(&t, &maker, &checker, given_up, "debt").await;
    assert_eq!((&given_up.body["state"], t.owed(customer.id).await), (&json!("completed"), 0), "{}", given_up.body);
    t.advance(TimeDelta::seconds(1));
    t.sim.reverse_charge_back(purchase).expect("charged back");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    let held = t.get(&checker, "/v1/admin/held").await.body;
    let row = &held["data"][0];
    assert_eq!((&row["kind"], &row["held_code"]), (&json!("chargeback_reversal"), &json!("paid_twice")), "{held}");
    let path = format!("/v1/admin/held/{}/resolve", row["id"].as_str().expect("an id"));
    let body = json!({"action": "dismiss", "note": "the company's own"});
    let closed = t.send(Method::POST, &path, Some(&t.token(&checker)), &[], Some(body)).await;
    assert_eq!(closed.status, StatusCode::OK, "{}", closed.body);
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    // Another customer's is given back as ever, and so is what came and went before.
    let (other, _, theirs) = paid(&t, 5_000).await;
    t.sim.charge_back_purchase(theirs).expect("paid");
    t.drive().await;
    t.sim.reverse_charge_back(theirs).expect("charged back");
    t.drive().await;
    assert_eq!(t.balance(&other).await, (5_000, 0, 5_000));
    t.finish().await;
}

/// The ledger has given the debt up, and the journal's row does not say so yet.
#[sqlx::test]
async fn what_comes_back_while_a_write_off_is_being_booked_is_for_a_person(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let (customer, _, purchase) = paid(&t, 10_000).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    t.withdraw(&customer, 6_000, "w1").await;
    t.drive().await;
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.drive().await;
    booked(&t, &maker, &checker, entry("own_funds_in", 6_000), "funds").await;
    let given_up = with(entry("write_off", 6_000), json!({"user_id": customer.id}));
    let given_up = proposed(&t, &maker, given_up, "debt").await;
    crashes.at("journal.booked");
    assert_eq!(approve(&t, &checker, &given_up).await.code(), "internal", "booked, and then it died");
    t.sim.reverse_charge_back(purchase).expect("charged back");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    let held = t.get(&checker, "/v1/admin/held").await.body;
    assert_eq!(held["data"][0]["held_code"], "paid_twice", "{held}");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_refund_that_is_only_pending_moves_nothing_yet(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 10_000).await;
    t.sim.set_refund_mode(revio_sim::RefundMode::Pending);
    t.sim.refund_purchase(purchase, Some(4_000)).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.sim.complete_refund(purchase).expect("pending");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

/// Found by a storm: the refund's webhook is lost, and before anybody asks, the rest is charged back and comes back again.
#[sqlx::test]
async fn a_refund_that_a_chargeback_hid_is_found_when_it_is_over(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(revio_sim::Settings { payment_reads: true, ..t.sim.settings() });
    let (customer, _, purchase) = paid(&t, 10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::Deliver, FaultKind::Missing));
    t.sim.refund_purchase(purchase, Some(3_000)).expect("refundable");
    t.drive().await;
    t.sim.charge_back_purchase(purchase).expect("the rest");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.sim.reverse_charge_back(purchase).expect("charged back");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (7_000, 0, 7_000));
    assert_eq!(t.owed(customer.id).await, 0);
    t.finish().await;
}

/// Staff have no wallet. What came meanwhile is in suspense, and no retry puts it into the wallet as well, once that is over.
#[sqlx::test]
async fn what_was_set_aside_while_its_customer_was_staff_is_not_credited_as_well(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    for is_undone in [false, true] {
        let (customer, _, purchase) = paid(&t, 10_000).await;
        t.withdraw(&customer, 10_000, "w").await;
        t.drive().await;
        let become_a = async |role: &str| {
            let sql = "update users set role = $2 where id = $1";
            sqlx::query(sql).bind(customer.id).bind(role).execute(&t.app.db).await.expect("changed");
        };
        if is_undone {
            t.sim.refund_purchase(purchase, None).expect("refundable");
        } else {
            t.sim.charge_back_purchase(purchase).expect("paid");
        }
        t.drive().await;
        assert_eq!(t.owed(customer.id).await, 10_000);
        become_a("support").await;
        if is_undone {
            let payments = t.sim.payments_of(purchase);
            let refund = payments[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            t.sim.fail_payment(refund).expect("it was announced");
        } else {
            t.sim.reverse_charge_back(purchase).expect("charged back");
        }
        for _ in 0..60 {
            t.advance(TimeDelta::minutes(1));
            t.drive().await;
        }
        let held: Uuid =
            sqlx::query_scalar("select id from transactions where user_id = $1 and held_code = 'set_aside'")
                .bind(customer.id)
                .fetch_one(&t.app.db)
                .await
                .expect("one is held");
        let aside = t.system_balance(AccountCode::Suspense).await.posted();
        become_a("user").await;
        for _ in 0..2 {
            let (path, body) =
                (format!("/v1/admin/held/{held}/resolve"), json!({"action": "retry", "note": "a user again"}));
            t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(body)).await;
            t.drive().await;
        }
        assert!(t.held_reason(held).await.is_some());
        assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 10_000));
        assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), aside);
    }
}

/// What cannot be booked is for a person, and not said to be given back.
#[sqlx::test]
async fn what_is_said_to_be_refunded_is_what_is_booked(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.set_override(Override::of("payment", "/payment/amount", json!(5_000)));
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    for _ in 0..60 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    assert!(t.held_reason(deposit).await.is_some_and(|reason| reason.contains("5000")));
    let shown = t.get(&customer, &format!("/v1/transactions/{deposit}")).await;
    assert_eq!((&shown.body["refunded"], t.balance(&customer).await), (&json!(0), (1_000, 0, 1_000)));
}

/// Its item was given to somebody: people have settled what Revio gave back, and it was given back all the same.
#[sqlx::test]
async fn a_refund_that_people_have_settled_still_counts_as_given_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, maker, checker) = (t.customer().await, t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    t.sim.pay_purchase(purchase, Pay { amount: Some(900), ..Pay::default() }).expect("payable");
    t.drive().await;
    let body = json!({"user_id": customer.id, "direction": "credit", "amount": 900, "currency": "ZAR",
        "counterpart": "suspense", "reason": "it is theirs", "item_id": deposit});
    let headers = [("Idempotency-Key", "k")];
    let given = t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(&maker)), &headers, Some(body)).await;
    let path = format!("/v1/admin/adjustments/{}/approve", given.id());
    let body = json!({"adjustment_hash": given.body["adjustment_hash"]});
    assert_eq!(t.send(Method::POST, &path, Some(&t.token(&checker)), &[], Some(body)).await.body["state"], "completed");
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.drive().await;
    let refund: Uuid =
        sqlx::query_scalar("select id from transactions where kind = 'refund' and held_code = 'paid_twice'")
            .fetch_one(&t.app.db)
            .await
            .expect("one is held");
    let (path, body) = (format!("/v1/admin/held/{refund}/resolve"), json!({"action": "dismiss", "note": "settled"}));
    assert_eq!(t.send(Method::POST, &path, Some(&t.token(&maker)), &[], Some(body)).await.status, StatusCode::OK);
    t.advance(TimeDelta::minutes(1));
    t.sim.raise_event(purchase, "purchase.refunded").expect("it is there");
    t.drive().await;
    let shown = t.get(&customer, &format!("/v1/transactions/{deposit}")).await;
    assert_eq!(shown.body["refunded"], 900, "{}", shown.body);
    assert_eq!(t.balance(&customer).await, (900, 0, 900));
}

/// What the bank gave back of another currency's item is booked by people, and the row can be closed.
#[sqlx::test]
async fn what_is_won_back_in_another_currency_than_its_item_can_be_closed(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let purchase = t.purchase_of(t.deposit(&customer, 1_000, "d").await.id());
    t.sim.set_override(Override::of(purchase, "/payment/currency", json!("USD")));
    t.sim.set_override(Override::of("payment", "/payment/currency", json!("ZAR")));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    // What is won of a chargeback that people have closed is theirs to book.
    for (kind, code) in [("chargeback", "contradiction"), ("chargeback_reversal", "paid_twice")] {
        match kind {
            "chargeback" => t.sim.charge_back_purchase(purchase).expect("paid"),
            _ => t.sim.reverse_charge_back(purchase).expect("charged back"),
        };
        t.drive().await;
        let held = sqlx::query_scalar("select id from transactions where kind = $1 and held_code = $2");
        let held: Uuid = held.bind(kind).bind(code).fetch_one(&t.app.db).await.expect(kind);
        let (path, body) = (format!("/v1/admin/held/{held}/resolve"), json!({"action": "dismiss", "note": "booked"}));
        let closed = t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(body)).await;
        assert_eq!(closed.status, StatusCode::OK, "{}", closed.body);
    }
}
