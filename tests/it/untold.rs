//! What no event tells of, or not clearly: the history of a purchase alone, a word that nobody knows, one Payment by two names. Nothing moves by
//! it, and somebody is told.

use chrono::TimeDelta;
use reqwest::StatusCode;
use revio_sim::{Fault, FaultKind, Override, Pay, RefundMode, Scope, Stranger};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Customer, TestApp, answer};
use crate::provider_objects::{paid, set, wait};
use crate::reconciliation;

/// A history may say no more than the words, and its events may be lost.
#[sqlx::test]
async fn a_refund_that_only_the_history_tells_of_is_held_and_found_by_reconciliation(db: PgPool) {
    let t = TestApp::new(db).await;
    names_no_payment(&t);
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.held_reason(deposit).await), ((600, 0, 600), None));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.advance(TimeDelta::minutes(2));
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.advance(TimeDelta::days(1));
    wait(&t, 60).await;
    let reason = t.held_reason(deposit).await.expect("held");
    assert!(reason.contains("refunded 2 times"), "{reason}");
    assert_eq!(t.balance(&customer).await, (600, 0, 600), "nobody says how much");
    reconciliation::cycle(&t).await;
    assert_eq!(reconciliation::states(&t, "reversed_at_provider").await.len(), 1);
    t.sim.clear_faults();
    t.sim.raise_event(last_payment(&t, purchase), "payment.refunded").expect("it is there");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.held_reason(deposit).await), ((0, 0, 0), None));
    t.finish().await;
}

#[sqlx::test]
async fn a_chargeback_that_only_the_history_calls_won_is_held_and_found_by_reconciliation(db: PgPool) {
    let t = TestApp::new(db).await;
    names_no_payment(&t);
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    // As most are by the time that somebody disputes them.
    t.sim.settle_purchase(purchase, None).expect("paid");
    t.drive().await;
    t.sim.charge_back_amount(purchase, 1_000).expect("settled");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.held_reason(deposit).await), ((0, 0, 0), None));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.reverse_charge_back_amount(purchase, 1_000).expect("charged back");
    t.advance(TimeDelta::days(1));
    wait(&t, 60).await;
    let reason = t.held_reason(deposit).await.expect("held");
    assert!(reason.contains("paid again"), "{reason}");
    reconciliation::cycle(&t).await;
    assert_eq!(reconciliation::states(&t, "reversed_at_provider").await.len(), 1);
    t.sim.clear_faults();
    t.sim.raise_event(last_payment(&t, purchase), "payment.chargeback_reversed").expect("it is there");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.held_reason(deposit).await), ((1_000, 0, 1_000), None));
    t.finish().await;
}

/// The history is as long as if there had been two, and the total says that there was one.
#[sqlx::test]
async fn a_refund_that_failed_on_its_way_is_no_second_one_where_there_is_a_total(db: PgPool) {
    let t = TestApp::new(db).await;
    a_refund_fails(&t).await;
    t.finish().await;
}

#[sqlx::test]
async fn a_refund_that_failed_on_its_way_is_no_second_one_by_the_history_alone(db: PgPool) {
    let t = TestApp::new(db).await;
    names_no_payment(&t);
    a_refund_fails(&t).await;
    t.finish().await;
}

async fn a_refund_fails(t: &TestApp) {
    let (customer, deposit, purchase) = paid(t, 1_000).await;
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    t.drive().await;
    set(t, |settings| settings.refunds = RefundMode::PendThenFail { secs: 60 });
    t.advance(TimeDelta::minutes(2));
    t.sim.refund_purchase(purchase, Some(100)).expect("refundable");
    t.advance(TimeDelta::days(1));
    wait(t, 60).await;
    assert_eq!((t.held_reason(deposit).await, t.balance(&customer).await), (None, (600, 0, 600)));
    reconciliation::cycle(t).await;
    assert_eq!(reconciliation::states(t, "reversed_at_provider").await, Vec::<String>::new());
}

/// It may mean that money came. Of a purchase that no row is known for, and of a second one of a deposit.
#[sqlx::test]
async fn an_unknown_word_on_a_purchase_that_nobody_asks_for_is_a_dead_letter(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, _) = paid(&t, 1_000).await;
    t.sim.set_override(Override::of("purchase", "/status", json!("captured")));
    let mut strangers = Vec::new();
    for reference in [Uuid::from_u128(7).to_string(), deposit.to_string()] {
        let new = Stranger { reference, amount: 500, currency: "ZAR".to_owned(), ..Stranger::default() };
        strangers.push(t.sim.stranger_purchase(&new).expect("paid"));
    }
    wait(&t, 30).await;
    let mut dead = dead_letters(&t).await;
    dead.dedup();
    strangers.sort_unstable();
    assert_eq!((dead, t.balance(&customer).await.0), (strangers, 1_000));
    t.finish().await;
}

/// What its event does not say, the purchase may.
#[sqlx::test]
async fn a_second_purchase_that_is_heard_of_by_its_refund_is_of_its_deposit(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    let new =
        Stranger { reference: deposit.to_string(), amount: 1_000, currency: "ZAR".to_owned(), ..Stranger::default() };
    let second = t.sim.stranger_purchase(&Stranger { quiet: true, ..new }).expect("paid");
    t.sim.set_override(Override::of("payment", "/related_to/reference", json!(null)));
    t.sim.refund_purchase(second, Some(400)).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (1_600, 0, 1_600), "both were paid, and of the second one 400 went back");
    t.sim.refund_purchase(purchase, Some(100)).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (1_500, 0, 1_500));
    t.finish().await;
}

/// Whoever gives it to the customer must know, and nobody looks at a held row by himself.
#[sqlx::test]
async fn what_went_back_of_money_that_is_set_aside_and_nobody_explains_is_a_dead_letter(db: PgPool) {
    let t = TestApp::new(db).await;
    names_no_payment(&t);
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    t.sim.pay_purchase(purchase, Pay { amount: Some(900), ..Pay::default() }).expect("payable");
    t.drive().await;
    t.sim.set_fault(Fault::next(1, Scope::Deliver, FaultKind::Missing));
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    t.drive().await;
    t.sim.raise_event(purchase, "purchase.settled").expect("it is there");
    wait(&t, 30).await;
    assert_eq!(dead_letters(&t).await, [purchase]);
    t.sim.raise_event(last_payment(&t, purchase), "payment.refunded").expect("it is there");
    t.drive().await;
    let left: i64 = sqlx::query_scalar("select amount_minor - taken_minor from suspense_items")
        .fetch_one(&t.app.db)
        .await
        .expect("one item");
    assert_eq!((left, t.held_reason(deposit).await.is_some()), (500, true));
    t.finish_with_held().await;
}

/// Credited whole, the customer could take all of it before anybody says how much went back.
#[sqlx::test]
async fn what_was_refunded_before_it_was_credited_is_not_available_until_it_is_known(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = refunded_unheard(&t).await;
    wait(&t, 20).await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.sim.clear_faults();
    t.sim.raise_event(last_payment(&t, purchase), "payment.refunded").expect("it is there");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (600, 0, 600)));
    t.finish().await;
}

/// Where nobody says it, the customer has it in the end, and somebody is told.
#[sqlx::test]
async fn what_was_refunded_before_it_was_credited_is_waited_for_and_then_credited_and_held(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = refunded_unheard(&t).await;
    wait(&t, 120).await;
    assert_eq!(t.balance(&customer).await, (1_000, 0, 1_000));
    assert!(t.held_reason(deposit).await.is_some());
    t.sim.clear_faults();
    t.sim.raise_event(last_payment(&t, purchase), "payment.refunded").expect("it is there");
    t.drive().await;
    assert_eq!((t.held_reason(deposit).await, t.balance(&customer).await), (None, (600, 0, 600)));
    t.finish().await;
}

/// Nothing looks at it by itself any more.
#[sqlx::test]
async fn what_was_refunded_before_it_was_credited_of_a_deposit_at_rest_is_held_and_credited_once_it_is_known(
    db: PgPool,
) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = refunded_unheard(&t).await;
    let rests = "update transactions set due_at = null where id = $1";
    sqlx::query(rests).bind(deposit).execute(&t.app.db).await.expect("as after all its looks");
    t.drive().await;
    t.sim.clear_faults();
    t.sim.raise_event(purchase, "purchase.settled").expect("it is there");
    t.drive().await;
    assert!(
        t.held_reason(deposit).await.is_some_and(|reason| reason.contains("does not say how much")),
        "somebody is told"
    );
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.sim.raise_event(last_payment(&t, purchase), "payment.refunded").expect("it is there");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (600, 0, 600)));
    assert_eq!(t.held_reason(deposit).await, None);
    t.finish().await;
}

/// Paid late, it is due for its last looks, which are days apart.
#[sqlx::test]
async fn what_was_refunded_of_a_deposit_that_had_expired_is_waited_for_as_long(db: PgPool) {
    let t = TestApp::new(db).await;
    names_no_payment(&t);
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    wait(&t, 90).await;
    assert_eq!(t.state(deposit).await, "expired");
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(purchase, Pay { force: true, ..Pay::default() }).expect("payable");
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    t.drive().await;
    t.sim.clear_faults();
    t.sim.raise_event(purchase, "purchase.paid").expect("it is there");
    wait(&t, 120).await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (1_000, 0, 1_000)));
    assert!(t.held_reason(deposit).await.is_some());
    t.sim.raise_event(last_payment(&t, purchase), "payment.refunded").expect("it is there");
    t.drive().await;
    assert_eq!((t.held_reason(deposit).await, t.balance(&customer).await), (None, (600, 0, 600)));
    t.finish().await;
}

async fn noted_by_a_journal(t: &TestApp, purchase: Uuid) -> Uuid {
    let noted = "insert into suspense_items (id, kind, provider_id, amount_minor, currency, opened_at) values ($1, 'journal', $2, 1000, 'ZAR', now())";
    let journal = t.app.clock.row_id();
    sqlx::query(noted).bind(journal).bind(purchase).execute(&t.app.db).await.expect("written");
    journal
}

/// The payment is in suspense or in the wallet, and not in both, whichever of the two comes first.
#[sqlx::test]
async fn what_a_journal_is_setting_aside_is_not_credited_meanwhile(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    let journal = noted_by_a_journal(&t, purchase).await;
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    wait(&t, 10).await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("awaiting_payment", (0, 0, 0)));
    let given_up = "delete from suspense_items where id = $1";
    sqlx::query(given_up).bind(journal).execute(&t.app.db).await.expect("as it gives it up");
    wait(&t, 30).await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (1_000, 0, 1_000)));
    t.finish().await;
}

/// A journal that is held does not go on by itself.
#[sqlx::test]
async fn what_a_journal_sets_aside_for_too_long_is_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    noted_by_a_journal(&t, purchase).await;
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    wait(&t, 90).await;
    assert!(t.held_reason(deposit).await.is_some_and(|reason| reason.contains("a journal of the company's")));
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
}

/// The money that Revio pays to our bank, and the Payment that paid for it: neither takes from a customer nor gives.
#[sqlx::test]
async fn a_payment_of_an_event_that_nobody_knows_is_no_chargeback_by_its_direction_alone(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    for (id, kind, outgoing) in [(7, "bank_payment", true), (8, "payout", true), (9, "purchase", false)] {
        let event = json!({
            "type": "payment", "event_type": "payment.settled", "id": Uuid::from_u128(id), "is_test": true, "status": "success",
            "created_on": t.app.clock.now().timestamp(), "updated_on": t.app.clock.now().timestamp(),
            "related_to": {"type": "purchase", "id": purchase, "reference": deposit},
            "payment": {"amount": 1_000, "currency": "ZAR", "payment_type": kind, "is_outgoing": outgoing}});
        deliver(&t, &event).await;
    }
    wait(&t, 30).await;
    assert_eq!(t.balance(&customer).await, (1_000, 0, 1_000));
    assert_eq!(t.get(&customer, "/v1/transactions").await.body["page"]["total"], 1);
    t.finish_with_held().await;
}

/// A clock that is ahead, or milliseconds: each answer would be older than that for ever.
#[sqlx::test]
async fn an_event_from_the_future_makes_no_answer_too_old(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    let mut event = t.sim.purchase(purchase).expect("it is there");
    event["event_type"] = json!("purchase.viewed");
    event["updated_on"] = json!((t.app.clock.now() + TimeDelta::days(1)).timestamp());
    deliver(&t, &event).await;
    t.drive().await;
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (1_000, 0, 1_000)));
    t.finish().await;
}

/// When an object was made says nothing of when its event was sent.
#[sqlx::test]
async fn an_event_of_an_old_object_that_does_not_say_when_it_changed_is_acted_on(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    t.sim.set_fault(Fault::next(1, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.advance(TimeDelta::days(30));
    for updated_on in [json!(null), json!(""), json!("yesterday")] {
        let mut event = t.sim.purchase(purchase).expect("it is there");
        (event["event_type"], event["updated_on"]) = (json!("purchase.paid"), updated_on);
        deliver(&t, &event).await;
    }
    let stale: i64 = sqlx::query_scalar("select count(*) from webhook_logs where verdict <> 'accepted'")
        .fetch_one(&t.app.db)
        .await
        .expect("a count");
    assert_eq!(stale, 0);
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (1_000, 0, 1_000)));
    t.finish().await;
}

/// Revio calls a purchase settled again once some of it was refunded; and its own events wait behind one that is lost.
#[sqlx::test]
async fn what_is_known_to_have_gone_back_is_booked_with_the_credit_also_by_whoever_goes_on(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    for (dies, is_told) in [(false, true), (true, true), (false, false)] {
        let customer = t.customer().await;
        let deposit = t.deposit(&customer, 1_000, "d").await.id();
        let purchase = t.purchase_of(deposit);
        t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
        t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
        t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
        t.sim.set_override(Override::of("purchase", "/status", json!("settled")));
        if dies {
            next.at("transaction.moved");
        }
        for round in 0..4 {
            if round == if is_told { 0 } else { 2 } {
                let now = t.app.clock.now().timestamp();
                let event = json!({
                    "type": "payment", "event_type": "payment.refunded", "id": last_payment(&t, purchase), "is_test": true,
                    "status": "success", "created_on": now, "updated_on": now,
                    "related_to": {"type": "purchase", "id": purchase, "reference": deposit},
                    "payment": {"amount": 400, "currency": "ZAR", "payment_type": "refund", "is_outgoing": true}});
                deliver(&t, &event).await;
            }
            t.drive().await;
            assert!(dies || t.balance(&customer).await.0 <= 600, "no moment at which all of it could be taken");
            t.advance(TimeDelta::minutes(2));
        }
        let balance = t.balance(&customer).await;
        assert_eq!((t.state(deposit).await.as_str(), balance), ("completed", (600, 0, 600)), "{dies} {is_told}");
        t.sim.clear_overrides();
        t.sim.clear_faults();
    }
    t.finish().await;
}

/// It is found by what the reference means, and must not be lost by how it is written.
#[sqlx::test]
async fn what_is_paid_by_our_reference_in_another_spelling_is_in_the_books(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, _) = paid(&t, 1_000).await;
    let reference = deposit.to_string().to_uppercase();
    let new = Stranger { reference, amount: 500, currency: "ZAR".to_owned(), ..Stranger::default() };
    t.sim.stranger_purchase(&new).expect("paid");
    wait(&t, 30).await;
    let set_aside: i64 = sqlx::query_scalar("select coalesce(sum(amount_minor), 0)::bigint from suspense_items")
        .fetch_one(&t.app.db)
        .await
        .expect("a sum");
    assert_eq!(t.balance(&customer).await.0 + set_aside, 1_500);
    t.finish_with_held().await;
}

/// Paid, and 400 of it refunded, before anything of it was heard; and who reads the purchase learns no sum.
async fn refunded_unheard(t: &TestApp) -> (Customer, Uuid, Uuid) {
    names_no_payment(t);
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    (customer, deposit, purchase)
}

async fn deliver(t: &TestApp, event: &serde_json::Value) {
    let body = event.to_string();
    let call = t.http.post(format!("{}/v1/webhooks/revio", t.url)).header("X-Signature", t.sim.sign(body.as_bytes()));
    assert_eq!(answer(call.body(body)).await.status, StatusCode::OK);
}

/// Which of the two it is decides which way money goes.
#[sqlx::test]
async fn a_payment_that_events_call_two_things_is_a_dead_letter(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 1_000).await;
    t.sim.charge_back_amount(purchase, 1_000).expect("paid");
    t.drive().await;
    t.sim.raise_event(last_payment(&t, purchase), "payment.chargeback_reversed").expect("it is there");
    wait(&t, 30).await;
    assert_eq!(dead_letters(&t).await.len(), 1);
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.finish().await;
}

pub(crate) fn names_no_payment(t: &TestApp) {
    for entry in 0..16 {
        let pointer = format!("/status_history/{entry}/related_object");
        t.sim.set_override(Override::of("purchase", &pointer, json!(null)));
    }
    t.sim.set_override(Override::of("purchase", "/refund_availability", json!("none")));
}

fn last_payment(t: &TestApp, purchase: Uuid) -> Uuid {
    let payments = t.sim.payments_of(purchase);
    payments.last().and_then(|payment| payment["id"].as_str()).and_then(|id| id.parse().ok()).expect("there is one")
}

/// The objects that they are about.
async fn dead_letters(t: &TestApp) -> Vec<Uuid> {
    sqlx::query_scalar("select object_id from webhook_logs where state = 'dead' order by 1")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

/// The same of an answer: what is told by a clock that is ahead, or in milliseconds, makes no later one too old.
#[sqlx::test]
async fn an_answer_from_the_future_makes_no_later_one_too_old(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for ahead in [t.app.clock.now() + TimeDelta::days(1), t.app.clock.now() + TimeDelta::days(365_000)] {
        let deposit = t.deposit(&customer, 1_000, &ahead.timestamp().to_string()).await.id();
        t.sim.set_override(Override::of("purchase", "/updated_on", json!(ahead.timestamp())));
        wait(&t, 2).await;
        t.sim.clear_overrides();
        t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
        t.drive().await;
        assert_eq!(t.state(deposit).await, "completed");
    }
    assert_eq!(t.balance(&customer).await, (2_000, 0, 2_000));
    // Nor is it news each time: what does not agree would never be for a person.
    let deposit = t.deposit(&customer, 1_000, "unchanged").await.id();
    let purchase = t.purchase_of(deposit);
    t.sim.set_override(Override::of(
        "purchase",
        "/updated_on",
        json!((t.app.clock.now() + TimeDelta::days(1)).timestamp()),
    ));
    let changed_at = async || {
        wait(&t, 5).await;
        let at = "select changed_at::text from provider_objects where id = $1";
        sqlx::query_scalar::<_, String>(at).bind(purchase).fetch_one(&t.app.db).await.expect("known")
    };
    let before = changed_at().await;
    assert_eq!(changed_at().await, before);
    t.sim.clear_overrides();
    t.finish().await;
}

/// That it is answered at all means that it was taken: the payout in the answer may be as it was before.
#[sqlx::test]
async fn an_execution_that_is_answered_with_the_payout_as_it_was_is_made_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_override(Override::of("payout", "/status", json!("initialized")));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    wait(&t, 20).await;
    assert_eq!(
        (t.state(withdrawal).await.as_str(), t.sim.executions(t.payout_of(withdrawal))),
        ("submitted", Some((1, 0)))
    );
    t.sim.clear_overrides();
    wait(&t, 20).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}
