//! Sums are booked by Revio's objects, each once by its id, and never by a status, a total or an answer that is older than what Revio told.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::money::provider_objects;
use octoco::provider::revio::{Payout, PayoutStatus};
use octoco::webhooks::inbox;
use revio_sim::{Fault, FaultKind, Override, Pay, PayoutBehaviour, Scope, Settings};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Customer, TestApp, stepped};
use crate::{reconciliation, untold};

pub(crate) async fn paid(t: &TestApp, amount: i64) -> (Customer, Uuid, Uuid) {
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, amount, "first").await;
    t.pay(&deposit).await;
    let purchase = t.purchase_of(deposit.id());
    (customer, deposit.id(), purchase)
}

pub(crate) fn set(t: &TestApp, change: impl FnOnce(&mut Settings)) {
    let mut settings = t.sim.settings();
    change(&mut settings);
    t.sim.set_settings(settings);
}

pub(crate) async fn wait(t: &TestApp, minutes: i64) {
    for _ in 0..minutes {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
}

#[sqlx::test]
async fn a_chargeback_takes_what_its_payment_says_and_no_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 1_000).await;
    t.sim.charge_back_amount(purchase, 300).expect("paid");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (700, 0, 700));
    t.sim.charge_back_amount(purchase, 200).expect("paid");
    t.drive().await;
    t.sim.reverse_charge_back_amount(purchase, 300).expect("charged back");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (800, 0, 800));
    t.finish().await;
}

/// At which entries of its history a purchase names a Payment is documented nowhere (`docs/provider.md`, history).
#[sqlx::test]
async fn a_payment_that_is_named_where_nothing_went_back_is_the_one_that_paid(db: PgPool) {
    let t = TestApp::new(db).await;
    let named = json!({"type": "payment", "id": Uuid::from_u128(7)});
    for entry in 0..4 {
        let pointer = format!("/status_history/{entry}/related_object");
        t.sim.set_override(Override::of("purchase", &pointer, named.clone()).when("paid"));
    }
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.advance(TimeDelta::days(1));
    wait(&t, 120).await;
    assert_eq!((t.held_reason(deposit).await, t.balance(&customer).await), (None, (1_000, 0, 1_000)));
    t.sim.clear_overrides();
    t.sim.refund_purchase(purchase, Some(300)).expect("refundable");
    t.drive().await;
    assert_eq!((t.held_reason(deposit).await, t.balance(&customer).await), (None, (700, 0, 700)));
    t.finish().await;
}

#[sqlx::test]
async fn a_chargeback_after_a_refund_of_all_is_owed(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 1_000).await;
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.drive().await;
    t.sim.charge_back_amount(purchase, 1_000).expect("a bank knows of no refunds");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 1_000));
    t.finish().await;
}

/// Neither the word nor what is left to refund says how much it was.
#[sqlx::test]
async fn what_a_status_or_a_total_says_besides_moves_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    set(&t, |settings| settings.refunds_only_once = true);
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    t.drive().await;
    assert_eq!(t.sim.purchase(purchase).map(|told| told["refundable_amount"].clone()), Some(json!(0)));
    wait(&t, 60).await;
    assert_eq!(t.balance(&customer).await, (600, 0, 600));
    assert_eq!(t.held_reason(deposit).await, None, "that none is refundable is no contradiction");

    let (customer, _, purchase) = paid(&t, 1_000).await;
    t.sim.charge_back_amount(purchase, 1_000).expect("paid");
    t.drive().await;
    t.sim.set_override(Override::of(purchase, "/status", json!("refunded")));
    t.advance(TimeDelta::days(1));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0), "no chargeback was won");
    t.finish().await;
}

#[sqlx::test]
async fn a_sum_that_no_payment_explains_is_held_with_the_difference_and_goes_on_when_it_comes(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.set_fault(Fault::next(1, Scope::Deliver, FaultKind::Missing));
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    t.drive().await;
    t.advance(TimeDelta::days(1));
    t.drive().await;
    assert_eq!(t.held_reason(deposit).await, None, "it may be on its way");
    wait(&t, 50).await;
    let payment = t.sim.payments_of(purchase)[0]["id"].as_str().expect("an id").to_owned();
    let reason = t.held_reason(deposit).await.expect("held within the hour");
    assert!(reason.contains(&payment), "{reason}");
    assert_eq!(t.balance(&customer).await, (1_000, 0, 1_000));
    assert_eq!(t.get(&customer, &format!("/v1/transactions/{deposit}")).await.body["state"], "completed");
    t.sim.raise_event(payment.parse().expect("an id"), "payment.refunded").expect("it is there");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.held_reason(deposit).await), ((600, 0, 600), None));
    t.finish().await;
}

#[sqlx::test]
async fn a_refund_that_fails_later_is_given_back_by_its_own_word_and_else_held_with_the_difference(db: PgPool) {
    let t = TestApp::new(db).await;
    for (reads, key) in [(true, "a"), (false, "b")] {
        set(&t, |settings| settings.payment_reads = reads);
        let (customer, deposit, purchase) = paid(&t, 1_000).await;
        t.withdraw(&customer, 900, key).await;
        t.drive().await;
        t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
        t.drive().await;
        assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 300));
        let payment = t.sim.payments_of(purchase)[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        t.sim.fail_payment(payment).expect("it was announced");
        wait(&t, 60).await;
        if reads {
            assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((100, 0, 100), 0));
            assert_eq!(t.held_reason(deposit).await, None);
        } else {
            let reason = t.held_reason(deposit).await.expect("held");
            assert!(reason.contains("400"), "{reason}");
            assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 300));
        }
    }
    t.finish_with_held().await;
}

/// Its row is written, and nobody had the time to book it.
#[sqlx::test]
async fn what_fails_before_its_row_is_booked_is_undone_with_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let events = async || {
        t.sim.deliver().await;
        stepped(inbox::claim_due(&t.app, 100)).await.expect("events can be claimed")
    };
    set(&t, |settings| settings.payment_reads = true);
    for won in [false, true] {
        let (customer, deposit, purchase) = paid(&t, 1_000).await;
        let before = if won {
            t.sim.charge_back_amount(purchase, 400).expect("paid");
            t.drive().await;
            t.sim.reverse_charge_back_amount(purchase, 400).expect("charged back");
            600
        } else {
            t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
            1_000
        };
        while events().await > 0 {}
        assert_eq!(t.balance(&customer).await, (before, 0, before), "not booked yet");
        let payments = t.sim.payments_of(purchase);
        let last = payments.iter().map(|payment| payment["id"].as_str().expect("an id"));
        let last: Vec<Uuid> = last.map(|id| id.parse().expect("an id")).collect();
        let failed = waiting(&t, &last).await;
        t.sim.fail_payment(failed).expect("it is there");
        while events().await > 0 {}
        t.drive().await;
        assert_eq!((t.balance(&customer).await, t.held_reason(deposit).await), ((before, 0, before), None), "{won}");
    }
    t.finish().await;
}

/// Of these objects the one whose row is not booked.
async fn waiting(t: &TestApp, objects: &[Uuid]) -> Uuid {
    let waits = "select provider_id from transactions where provider_id = any($1) and state = 'initiated'";
    sqlx::query_scalar(waits).bind(objects).fetch_one(&t.app.db).await.expect("one waits")
}

/// What Revio says anew of a Payment that is booked moves nothing by itself, and is not passed over in silence.
#[sqlx::test]
async fn another_sum_of_a_payment_that_is_booked_is_held_with_both(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.charge_back_amount(purchase, 300).expect("paid");
    t.drive().await;
    let payment = t.sim.payments_of(purchase)[0]["id"].as_str().expect("an id").to_owned();
    t.advance(TimeDelta::minutes(1));
    t.sim.set_override(Override::of(&payment, "/payment/amount", json!(400)));
    t.sim.set_override(Override::of(&payment, "/updated_on", json!(t.app.clock.now().timestamp())));
    t.sim.raise_event(payment.parse().expect("an id"), "payment.charged_back").expect("it is there");
    t.drive().await;
    wait(&t, 60).await;
    let reason = t.held_reason(deposit).await.expect("held within the hour");
    assert!(reason.contains("says 400, and 300 was booked"), "{reason}");
    assert_eq!(t.balance(&customer).await, (700, 0, 700));
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_fee_that_is_first_named_when_it_is_settled_is_booked_then_and_once(db: PgPool) {
    let t = TestApp::new(db).await;
    set(&t, |settings| settings.fee_at_paid = revio_sim::FeeAtPaid::Zero);
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay { fee: 25, ..Pay::default() }).expect("payable");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 0);
    t.sim.settle_purchase(t.purchase_of(deposit.id()), None).expect("paid");
    t.drive().await;
    t.sim.raise_event(t.purchase_of(deposit.id()), "purchase.settled").expect("it is there");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 25);
    // Another fee for the same payment is a contradiction, and keeps nobody's money back.
    t.sim.set_override(Override::of(t.purchase_of(deposit.id()), "/payment/fee_amount", json!(40)));
    t.advance(TimeDelta::days(1));
    wait(&t, 60).await;
    let reason = t.held_reason(deposit.id()).await.expect("held");
    assert!(reason.contains("40"), "{reason}");
    assert_eq!(t.balance(&customer).await, (1_000, 0, 1_000));
    t.finish_with_held().await;
}

/// The row is held for a person, and our books say what Revio's say all the same.
#[sqlx::test]
async fn the_fee_of_what_was_set_aside_is_booked_once_whenever_it_is_named_and_whoever_dies(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer().await;
    let pay = Pay { amount: Some(700), fee: 25, ..Pay::default() };
    let [first, second] = ["first", "second"].map(|key| t.deposit(&customer, 1_000, key));
    let (first, second) = (first.await.id(), second.await.id());
    next.at("deposit.set_aside");
    t.sim.pay_purchase(t.purchase_of(first), pay.clone()).expect("payable");
    t.drive().await;
    wait(&t, 5).await;
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 25, "after the death");
    set(&t, |settings| settings.fee_at_paid = revio_sim::FeeAtPaid::Zero);
    t.sim.pay_purchase(t.purchase_of(second), pay).expect("payable");
    t.drive().await;
    assert!(t.held_reason(second).await.is_some());
    t.sim.settle_purchase(t.purchase_of(second), None).expect("paid");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 50, "named later");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn an_answer_that_is_older_than_its_event_is_asked_for_again_until_it_is_not(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await;
    let purchase = t.purchase_of(deposit.id());
    t.advance(TimeDelta::seconds(10));
    set(&t, |settings| settings.stale_read_secs = 3);
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    for _ in 0..6 {
        t.advance(TimeDelta::seconds(1));
        t.drive().await;
    }
    assert_eq!(t.state(deposit.id()).await, "completed", "seconds, not the next look");
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    for _ in 0..6 {
        t.drive().await;
        t.advance(TimeDelta::seconds(1));
    }
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (600, 0, 600));

    // A late payment of a row that has expired.
    let late = t.deposit(&customer, 500, "late").await;
    set(&t, |settings| settings.stale_read_secs = 0);
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    assert!(["expired", "cancelled"].contains(&t.state(late.id()).await.as_str()));
    set(&t, |settings| settings.stale_read_secs = 3);
    t.sim.pay_purchase(t.purchase_of(late.id()), Pay { force: true, ..Pay::default() }).expect("forced");
    for _ in 0..6 {
        t.drive().await;
        t.advance(TimeDelta::seconds(1));
    }
    t.drive().await;
    assert_eq!(t.state(late.id()).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn an_unknown_word_of_any_object_is_held_within_the_hour_and_ends_with_a_known_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let deposit = t.deposit(&customer, 500, "d").await.id();
    t.sim.set_override(Override::of(t.purchase_of(deposit), "/status", json!("pondering")));
    t.sim.set_payout_behaviour(revio_sim::PayoutBehaviour::Pend);
    t.sim.set_override(Override::of("payout", "/status", json!("musing")).when("pending"));
    let withdrawal = t.withdraw(&customer, 400, "w").await.id();
    t.drive().await;
    let (completed, done, purchase) = paid(&t, 700).await;
    t.sim.set_override(Override::of(purchase, "/status", json!("levitating")));
    t.sim.raise_event(purchase, "purchase.levitating").expect("it is there");
    wait(&t, 58).await;
    for (id, word) in [(deposit, "pondering"), (withdrawal, "musing"), (done, "levitating")] {
        let reason = t.held_reason(id).await.unwrap_or_else(|| panic!("{word} is held"));
        assert!(reason.contains(word), "{reason}");
    }
    assert_eq!(t.balance(&completed).await, (700, 0, 700));
    t.sim.clear_overrides();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    t.sim.settle_payout(t.payout_of(withdrawal), revio_sim::PayoutOutcome::Success).expect("pending");
    t.sim.raise_event(purchase, "purchase.settled").expect("it is there");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.state(withdrawal).await.as_str()), ("completed", "completed"));
    assert_eq!(t.balance(&customer).await, (10_100, 0, 10_100));
    t.finish().await;
}

/// Also where nobody tells of it, and only a look at what has ended finds the word.
#[sqlx::test]
async fn an_unknown_word_of_what_has_ended_is_held_within_the_hour_of_the_look_that_finds_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 400, "w").await.id();
    let deposit = t.deposit(&customer, 500, "d").await.id();
    t.drive().await;
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.state(deposit).await.as_str()), ("completed", "expired"));
    t.sim.set_override(Override::of(t.payout_of(withdrawal), "/status", json!("returned")));
    t.sim.set_override(Override::of(t.purchase_of(deposit), "/status", json!("pondering")));
    t.advance(TimeDelta::days(9));
    wait(&t, 58).await;
    for (id, word) in [(withdrawal, "returned"), (deposit, "pondering")] {
        let reason = t.held_reason(id).await.unwrap_or_else(|| panic!("{word} is held"));
        assert!(reason.contains(word), "{reason}");
    }
    t.finish_with_held().await;
}

/// The ledger is a function of the objects: of the order and the number of their events nothing depends.
#[sqlx::test]
async fn in_whatever_order_and_how_often_revio_tells_of_its_objects_the_ledger_is_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let orders: [&[usize]; 6] =
        [&[0, 1, 2, 3], &[3, 2, 1, 0], &[2, 2, 0, 3, 1, 0], &[1, 3, 0, 2], &[3, 0, 3, 1, 2, 2], &[2, 1, 3, 0]];
    for (number, order) in orders.into_iter().enumerate() {
        let (customer, deposit, purchase) = paid(&t, 10_000).await;
        t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
        t.sim.refund_purchase(purchase, Some(1_000)).expect("refundable");
        t.advance(TimeDelta::minutes(2));
        t.sim.refund_purchase(purchase, Some(2_500)).expect("refundable");
        t.sim.charge_back_amount(purchase, 4_000).expect("paid");
        t.sim.reverse_charge_back_amount(purchase, 1_500).expect("charged back");
        t.drive().await;
        t.sim.clear_faults();
        let names = ["payment.refunded", "payment.refunded", "payment.charged_back", "payment.chargeback_reversed"];
        let payments: Vec<Uuid> = t.sim.payments_of(purchase).iter().map(id_of).collect();
        for index in order {
            t.sim.raise_event(payments[*index], names[*index]).expect("it is there");
            t.drive().await;
            t.advance(TimeDelta::seconds(1));
        }
        wait(&t, 6).await;
        assert_eq!(t.balance(&customer).await, (4_000, 0, 4_000), "order {number}");
        let rows: i64 =
            sqlx::query_scalar("select count(*) from transactions where parent_id = $1 and state = 'completed'")
                .bind(deposit)
                .fetch_one(&t.app.db)
                .await
                .expect("PostgreSQL answers");
        assert_eq!(rows, 4, "order {number}");
    }
    t.finish().await;
}

fn id_of(object: &serde_json::Value) -> Uuid {
    object["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

/// Something on the way answers another row with it.
#[sqlx::test]
async fn a_payout_is_one_rows_whoever_is_answered_with_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let rows = [t.withdraw(&customer, 1_000, "a").await.id(), t.withdraw(&customer, 1_000, "b").await.id()];
    t.drive().await;
    let [one, other] = rows.map(|row| t.payout_of(row));
    let payout = t.app.revio.payout(one).await.expect("Revio answers");
    provider_objects::record_payout(&t.app, Some(rows[1]), payout).await.expect("noted");
    for (row, payout) in rows.into_iter().zip([one, other]) {
        let known = provider_objects::payouts_of(&t.app, row).await.expect("PostgreSQL answers");
        assert_eq!(known.iter().map(|known| known.id).collect::<Vec<_>>(), [payout]);
    }
    t.finish().await;
}

/// What is as old as that counts for nothing else, and that money has left is as true as ever.
#[sqlx::test]
async fn that_a_payout_was_paid_counts_though_the_answer_is_older_than_what_revio_told(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let row = t.withdraw(&customer, 1_000, "a").await.id();
    t.drive().await;
    t.advance(TimeDelta::minutes(1));
    let payout = t.app.revio.payout(t.payout_of(row)).await.expect("Revio answers");
    let now = t.app.clock.now().timestamp();
    let told = async |status: PayoutStatus, at: i64| {
        let updated_on = serde_json::from_value(json!(at)).expect("a number");
        let told = Payout { status, updated_on, status_history: Vec::new(), ..payout.clone() };
        provider_objects::record_payout(&t.app, Some(row), told).await
    };
    let error = told(PayoutStatus::Error, now).await.expect("noted");
    assert_eq!(error.status, PayoutStatus::Error);
    told(PayoutStatus::Success, now - 20).await.expect_err("it is stale");
    let error = told(PayoutStatus::Error, now).await.expect("noted");
    assert_eq!(error.status, PayoutStatus::Returned);
    let [known] = provider_objects::payouts_of(&t.app, row).await.expect("an answer").try_into().expect("one");
    assert_eq!(known.status, "error");
}

/// Its event was lost, and its history names no Payment. A chargeback afterwards explains nothing of it.
#[sqlx::test]
async fn a_refund_that_nothing_explains_is_held_though_the_rest_was_charged_back_since(db: PgPool) {
    let t = TestApp::new(db).await;
    untold::names_no_payment(&t);
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    t.sim.deliver().await;
    t.sim.clear_faults();
    t.advance(TimeDelta::minutes(2));
    t.sim.charge_back_amount(purchase, 600).expect("paid");
    wait(&t, 60).await;
    let reason = t.held_reason(deposit).await.expect("held");
    assert!(reason.contains("refunded 1 times"), "{reason}");
    assert_eq!(t.balance(&customer).await, (400, 0, 400), "nobody says how much");
    reconciliation::cycle(&t).await;
    assert_eq!(reconciliation::states(&t, "reversed_at_provider").await.len(), 1);
    t.finish_with_held().await;
}

/// Which way it went is what says whose money it is.
#[sqlx::test]
async fn a_payment_that_does_not_say_which_way_it_went_moves_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.set_override(Override::of("payment", "/payment/is_outgoing", json!("false")));
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    wait(&t, 60).await;
    assert_eq!(t.balance(&customer).await, (1_000, 0, 1_000));
    assert!(t.held_reason(deposit).await.is_some());
    t.finish_with_held().await;
}
