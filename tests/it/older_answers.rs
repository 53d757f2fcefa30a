//! Answers of Revio's that are older than what it has told, that name late what an object is, or that lack what an earlier or a later one says.

use chrono::TimeDelta;
use ledger::AccountCode;
use revio_sim::{Fault, FaultKind, Override, Pay, PayoutBehaviour, PayoutOutcome, Scope, Settings};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::TestApp;
use crate::provider_objects::{paid, wait};
use crate::{by_hand, untold};

fn set(t: &TestApp, change: fn(&mut Settings)) {
    let mut settings = t.sim.settings();
    change(&mut settings);
    t.sim.set_settings(settings);
}

fn last_payment(t: &TestApp, purchase: Uuid) -> Uuid {
    let payments = t.sim.payments_of(purchase);
    payments.last().and_then(|payment| payment["id"].as_str()).and_then(|id| id.parse().ok()).expect("there is one")
}

/// The refund is heard of first, and the purchase is answered as it was before it.
#[sqlx::test]
async fn what_went_back_is_not_available_by_an_answer_from_before_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    t.advance(TimeDelta::seconds(10));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing).of_event("purchase.paid"));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.advance(TimeDelta::minutes(3));
    set(&t, |settings| settings.stale_read_secs = 60);
    t.sim.refund_purchase(purchase, None).expect("refundable");
    for _ in 0..20 {
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (0, 0, 0), "no moment at which any of it could be taken");
        t.advance(TimeDelta::seconds(10));
    }
    wait(&t, 5).await;
    assert_eq!((t.state(deposit).await.as_str(), t.owed(customer.id).await), ("completed", 0));
    t.finish().await;
}

/// Asked for before its event came, it says neither; once that names it, it is booked as that.
#[sqlx::test]
async fn a_payment_that_only_its_event_names_is_booked_by_it(db: PgPool) {
    let t = TestApp::new(db).await;
    set(&t, |settings| settings.payment_reads = true);
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.set_override(Override::of("payment", "/payment/payment_type", json!("bank_payment")));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.advance(TimeDelta::days(1));
    wait(&t, 2).await;
    let kind: String = sqlx::query_scalar("select kind from provider_objects where id = $1")
        .bind(last_payment(&t, purchase))
        .fetch_one(&t.app.db)
        .await
        .expect("it was asked for");
    assert_eq!((kind.as_str(), t.balance(&customer).await), ("payment", (1_000, 0, 1_000)));
    t.sim.clear_faults();
    t.sim.raise_event(last_payment(&t, purchase), "payment.charged_back").expect("it is there");
    wait(&t, 10).await;
    assert_eq!((t.held_reason(deposit).await, t.balance(&customer).await), (None, (0, 0, 0)));
    t.finish().await;
}

/// Of what has been as it is for long, too, an old answer is waited out for an hour before it is the row's own fault.
#[sqlx::test]
async fn an_answer_that_grows_old_days_later_is_waited_out_first(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    t.advance(TimeDelta::minutes(1));
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!(t.state(deposit).await, "completed");
    t.advance(TimeDelta::days(1));
    set(&t, |settings| settings.stale_read_secs = 3 * 86_400);
    wait(&t, 50).await;
    let failures: i32 = sqlx::query_scalar("select attempts from transactions where id = $1")
        .bind(deposit)
        .fetch_one(&t.app.db)
        .await
        .expect("it is there");
    assert_eq!((failures, t.held_reason(deposit).await), (0, None));
    // A right answer, and a little later an old one: that is waited out from its own beginning.
    set(&t, |settings| settings.stale_read_secs = 0);
    wait(&t, 20).await;
    let stale: Option<octoco::platform::clock::DateTime> =
        sqlx::query_scalar("select stale_since from provider_objects where id = $1")
            .bind(t.purchase_of(deposit))
            .fetch_one(&t.app.db)
            .await
            .expect("it is there");
    assert_eq!(stale, None);
    set(&t, |settings| settings.stale_read_secs = 9 * 86_400);
    t.advance(TimeDelta::days(7));
    for _ in 0..12 {
        wait(&t, 20).await;
    }
    assert!(t.held_reason(deposit).await.is_some(), "in the end a person is told");
    t.finish_with_held().await;
}

/// Also where the word that is known is not the last one.
#[sqlx::test]
async fn a_hold_for_an_unknown_word_ends_with_any_known_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let deposit = t.deposit(&customer, 500, "d").await.id();
    t.sim.set_override(Override::of(t.purchase_of(deposit), "/status", json!("pondering")));
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    t.sim.set_override(Override::of("payout", "/status", json!("musing")).when("pending"));
    let withdrawal = t.withdraw(&customer, 400, "w").await.id();
    wait(&t, 40).await;
    assert!(t.held_reason(deposit).await.is_some() && t.held_reason(withdrawal).await.is_some());
    t.sim.clear_overrides();
    t.sim.raise_event(t.purchase_of(deposit), "purchase.viewed").expect("it is there");
    t.sim.raise_event(t.payout_of(withdrawal), "payout.pending").expect("it is there");
    t.drive().await;
    assert_eq!((t.held_reason(deposit).await, t.held_reason(withdrawal).await), (None, None));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    t.advance(TimeDelta::hours(2));
    wait(&t, 2).await;
    let ended = t.state(deposit).await;
    assert!(["expired", "cancelled"].contains(&ended.as_str()), "called off by itself: {ended}");
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (9_600, 0, 9_600)));
    t.finish().await;
}

/// The answer that registers it lacks where it is executed; the same payout is, once a later one says it.
#[sqlx::test]
async fn a_payout_is_executed_where_only_a_later_answer_says_how(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_override(Override::of("payout", "/execution_url", json!(null)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), ("reserved", None));
    t.sim.clear_overrides();
    wait(&t, 3).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    let registered: i64 = sqlx::query_scalar("select count(*) from provider_objects where transaction_id = $1")
        .bind(withdrawal)
        .fetch_one(&t.app.db)
        .await
        .expect("a count");
    assert_eq!(registered, 1);
    t.finish().await;
}

/// What nobody ever says is the row's own fault, and a person's.
#[sqlx::test]
async fn a_payout_that_nobody_can_execute_is_held_and_nothing_counts_as_unanswered(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_override(Override::of("payout", "/execution_url", json!(null)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    // Each of the eight that are registered in vain has its 15 minutes.
    wait(&t, 240).await;
    assert!(t.held_reason(withdrawal).await.is_some());
    let unanswered: Vec<Value> = sqlx::query_scalar(
        "select to_jsonb(o) from provider_objects o where executions > refusals and transaction_id = $1",
    )
    .bind(withdrawal)
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(unanswered, Vec::<Value>::new());
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0);
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    t.finish_with_held().await;
}

/// That it was charged back is known; that it was won is not, by an answer from before it.
#[sqlx::test]
async fn a_won_chargeback_is_not_available_by_an_answer_from_before_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.advance(TimeDelta::days(1));
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.advance(TimeDelta::days(1));
    set(&t, |settings| settings.stale_read_secs = 60);
    t.sim.reverse_charge_back_amount(purchase, 1_000).expect("charged back");
    for second in (0..120).step_by(10) {
        t.drive().await;
        if second < 60 {
            assert_eq!(t.balance(&customer).await, (0, 0, 0), "after {second} s");
        }
        t.advance(TimeDelta::seconds(10));
    }
    wait(&t, 5).await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (1_000, 0, 1_000)));
    t.finish().await;
}

/// Its own event, acted on again and again, says nothing of how old the answers about its purchase are.
#[sqlx::test]
async fn a_payment_of_a_purchase_that_is_answered_as_it_was_before_is_for_a_person_in_the_end(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 1_000).await;
    t.advance(TimeDelta::hours(5));
    set(&t, |settings| settings.stale_read_secs = 3 * 3_600);
    t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
    wait(&t, 55).await;
    assert_eq!(ends_of(&t, "payment.refunded").await, ["pending"], "waited out for an hour");
    wait(&t, 40).await;
    assert_eq!(ends_of(&t, "payment.refunded").await, ["dead"]);
    assert_eq!(t.balance(&customer).await, (1_000, 0, 1_000));
    // Once the answer is as new, the next one is waited out from its own beginning.
    set(&t, |settings| settings.stale_read_secs = 0);
    t.sim.raise_event(purchase, "purchase.settled").expect("it is there");
    wait(&t, 2).await;
    assert_eq!(t.balance(&customer).await, (600, 0, 600));
    let stale: i64 = sqlx::query_scalar("select count(*) from provider_objects where stale_since is not null")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(stale, 0);
}

/// Within one second of Revio's clock what was before an event and what came after it look equally new.
#[sqlx::test]
async fn an_answer_of_the_events_own_second_that_knows_of_no_payment_does_not_end_the_event(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    for field in ["/status", "/status_history", "/payment", "/marked_as_paid"] {
        t.sim.set_override(Override::of(
            purchase,
            field,
            t.sim.purchase(purchase).expect("it is there")[&field[1..]].clone(),
        ));
    }
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!(
        (t.state(deposit).await.as_str(), ends_of(&t, "purchase.paid").await),
        ("awaiting_payment", vec!["pending".to_owned()])
    );
    t.sim.clear_overrides();
    wait(&t, 1).await;
    assert_eq!(
        (t.state(deposit).await.as_str(), ends_of(&t, "purchase.paid").await),
        ("completed", vec!["done".to_owned()])
    );
    t.finish().await;
}

/// What became of the events of a type.
async fn ends_of(t: &TestApp, event_type: &str) -> Vec<String> {
    sqlx::query_scalar("select state from webhook_logs where event_type = $1 and verdict = 'accepted' order by id")
        .bind(event_type)
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

/// Signed, it says that money came, and an answer of the same second may be from before that. Nobody else asks for what no row knows.
#[sqlx::test]
async fn what_an_event_tells_of_a_payment_that_no_row_knows_is_asked_for_again(db: PgPool) {
    for (says, heals, ends) in [
        (json!({"status": "pending_execute"}), true, ("done", 500)),
        (json!({"status": "pending_execute"}), false, ("dead", 0)),
        (json!({"status": "expired"}), false, ("dead", 0)),
        (json!({"marked_as_paid": true}), false, ("done", 0)),
    ] {
        let t = TestApp::new(db.clone()).await;
        let before = ends_of(&t, "purchase.paid").await.len();
        for (field, value) in says.as_object().expect("fields") {
            t.sim.set_override(Override::of("purchase", &format!("/{field}"), value.clone()));
        }
        let (reference, currency) = ("by hand".to_owned(), "ZAR".to_owned());
        let new = revio_sim::Stranger { reference, amount: 500, currency, ..revio_sim::Stranger::default() };
        t.sim.stranger_purchase(&new).expect("paid");
        wait(&t, 2).await;
        if heals {
            t.sim.clear_overrides();
        }
        wait(&t, 30).await;
        let ended = ends_of(&t, "purchase.paid").await;
        assert_eq!(ended.len(), before + 1);
        let in_suspense = t.system_balance(AccountCode::Suspense).await.posted();
        assert_eq!((ended.last().map(String::as_str), in_suspense), (Some(ends.0), ends.1), "{says} {heals}");
        sqlx::query("delete from webhook_logs").execute(&db).await.expect("deleted");
    }
}

/// What a person has closed of one refund is not said of the next.
#[sqlx::test]
async fn a_second_refund_that_nobody_tells_of_is_for_a_person_again(db: PgPool) {
    let t = TestApp::new(db).await;
    untold::names_no_payment(&t);
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    for part in [400, 300] {
        t.advance(TimeDelta::hours(1));
        t.sim.refund_purchase(purchase, Some(part)).expect("refundable");
        t.sim.deliver().await;
        t.sim.clear_faults();
        t.sim.raise_event(purchase, "purchase.settled").expect("it is there");
        wait(&t, 60).await;
        let held = t.held_reason(deposit).await.expect("somebody is told");
        assert!(held.contains("does not say how much"), "{held}");
        by_hand::dismissed(&t, deposit).await;
        t.sim.raise_event(purchase, "purchase.viewed").expect("it is there");
        wait(&t, 2).await;
        assert_eq!(t.held_reason(deposit).await, None, "not for the same");
        t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    }
    assert_eq!(t.balance(&customer).await, (1_000, 0, 1_000));
}

/// An answer that knows the first refund and not the second is from before that, too: nobody is asked to look at a row at rest for it.
#[sqlx::test]
async fn a_second_refund_that_the_answer_does_not_know_yet_is_waited_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, deposit, purchase) = paid(&t, 1_000).await;
    t.advance(TimeDelta::hours(1));
    t.sim.refund_purchase(purchase, Some(200)).expect("refundable");
    wait(&t, 2).await;
    let rests = "update transactions set due_at = null where id = $1";
    sqlx::query(rests).bind(deposit).execute(&t.app.db).await.expect("as after all its looks");
    t.advance(TimeDelta::hours(1));
    set(&t, |settings| settings.stale_read_secs = 1_800);
    t.sim.refund_purchase(purchase, Some(300)).expect("refundable");
    wait(&t, 20).await;
    assert_eq!((t.held_reason(deposit).await, ends_of(&t, "payment.refunded").await[1].as_str()), (None, "pending"));
    set(&t, |settings| settings.stale_read_secs = 0);
    wait(&t, 2).await;
    assert_eq!((t.held_reason(deposit).await, t.balance(&customer).await), (None, (500, 0, 500)));
    t.finish().await;
}
