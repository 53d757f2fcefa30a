//! Revio fails for one object, answers about another one, or is not there at the very moment that a payout begins.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::extract::Request;
use axum::response::IntoResponse;
use axum::{Router, body};
use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::platform::crash::CrashPoints;
use reqwest::StatusCode;
use revio_sim::{Fault, FaultKind, Moment, Override, Pay, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::TestApp;

/// Stands before Revio. While it is shut nobody listens there, and nothing that is sent gets anywhere.
#[derive(Default)]
struct Door {
    revio: Mutex<String>,
    address: Mutex<Option<SocketAddr>>,
    open: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

impl Door {
    fn open(self: &Arc<Self>) -> String {
        let mut address = self.address.lock().expect("not poisoned");
        let listener = TcpListener::bind(address.unwrap_or(([127, 0, 0, 1], 0).into())).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket");
        *address = Some(listener.local_addr().expect("bound"));
        let (door, stop) = (Arc::clone(self), CancellationToken::new());
        let told = stop.clone();
        // A runtime of its own: its connections end with it.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                let router = Router::new().fallback(move |request: Request| pass(Arc::clone(&door), request));
                tokio::select! {
                    served = axum::serve(listener, router).into_future() => served.expect("it serves"),
                    () = told.cancelled() => {}
                }
            });
        });
        *self.open.lock().expect("not poisoned") = Some((stop, thread));
        format!("http://{}/api/v1/", address.expect("bound"))
    }

    fn shut(&self) {
        let (stop, thread) = self.open.lock().expect("not poisoned").take().expect("it is open");
        stop.cancel();
        thread.join().expect("it ends");
    }
}

/// Each call over a connection of its own, so that none is left when it is shut.
async fn pass(door: Arc<Door>, request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let revio = door.revio.lock().expect("not poisoned").replace("/api/v1/", "");
    let client = reqwest::Client::builder().build().expect("a client");
    let call = client.request(parts.method, format!("{revio}{}", parts.uri)).headers(parts.headers);
    let answer =
        call.body(body::to_bytes(body, usize::MAX).await.expect("a body")).send().await.expect("Revio is there");
    (answer.status(), [("connection", "close")], answer.bytes().await.expect("an answer"))
}

async fn wait(t: &TestApp, minutes: i64) {
    for _ in 0..minutes * 2 {
        t.advance(TimeDelta::seconds(30));
        t.drive().await;
    }
}

/// The call was counted before it was to be made, and it was not: the payout can never be paid by it.
#[sqlx::test]
async fn an_outage_that_strikes_between_a_payouts_registration_and_its_execution_needs_nobody(db: PgPool) {
    let (door, armed) = (Arc::new(Door::default()), Arc::new(AtomicBool::new(false)));
    let (shuts, strikes) = (Arc::clone(&door), Arc::clone(&armed));
    let plan = CrashPoints::planned(move |point| {
        if point == "withdrawal.before_execution" && strikes.swap(false, Ordering::SeqCst) {
            shuts.shut();
        }
        false
    });
    let url = door.open();
    let t = TestApp::crashing(db, &[("REVIO_BASE_URL", &url)], plan).await;
    *door.revio.lock().expect("not poisoned") = t.sim.base_url();
    let customer = t.customer_with(10_000).await;
    for (number, (minutes, payouts)) in [(5, 1), (40, 2)].into_iter().enumerate() {
        armed.store(true, Ordering::SeqCst);
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        t.drive().await;
        assert!(!armed.load(Ordering::SeqCst), "it was to be executed");
        assert_eq!(t.state(withdrawal).await, "submitting");
        wait(&t, minutes).await;
        door.open();
        wait(&t, 4).await;
        assert_eq!(t.held_reason(withdrawal).await, None, "after {minutes} minutes");
        assert_eq!(t.state(withdrawal).await, "completed", "after {minutes} minutes");
        assert_eq!(t.sim.payouts_by_reference(&withdrawal.to_string()).len(), payouts);
    }
    assert_eq!((t.sim.totals("ZAR").paid_out, t.sim.totals("ZAR").paid_out_count), (8_000, 2));
    assert_eq!(t.balance(&customer).await, (2_000, 0, 2_000));
    t.finish().await;
    door.shut();
}

/// Nobody says that a payout is not executed where a key or a limit is refused.
#[sqlx::test]
async fn an_execution_that_was_answered_with_any_status_but_a_refusal_in_words_is_unanswered(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    let pages = [200, 400, 401, 403, 404, 429, 500].map(|status| FaultKind::Answer { status });
    for (number, answer) in pages.into_iter().chain([FaultKind::Blank { status: 400 }]).enumerate() {
        t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, answer.clone()));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        wait(&t, 40).await;
        assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("may still pay")), "{answer:?}");
        assert_eq!(t.sim.payouts_by_reference(&withdrawal.to_string()).len(), 1, "{answer:?}");
        t.sim.clear_faults();
        let paid = t.withdraw(&customer, 1_000, &format!("paid{number}")).await.id();
        t.drive().await;
        assert_eq!(t.state(paid).await, "completed", "after {answer:?}");
    }
    t.finish_with_held().await;
}

/// No event tells of it either: what moved is in the payout.
#[sqlx::test]
async fn an_execution_whose_answer_says_only_how_it_ended_is_looked_up_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Terse));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let failed = PayoutBehaviour::Fail { code: "insufficient_balance".to_owned() };
    for (behaviour, state) in [(PayoutBehaviour::Succeed, "completed"), (failed, "failed")] {
        t.sim.set_payout_behaviour(behaviour);
        let withdrawal = t.withdraw(&customer, 4_000, state).await.id();
        t.drive().await;
        assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), (state, None));
    }
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    // An older answer has nothing executed again.
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::StaleRead { secs: 120 }));
    let withdrawal = t.withdraw(&customer, 1_000, "stale").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitted");
    wait(&t, 10).await;
    let executions = "select sum(executions)::bigint from provider_objects where transaction_id = $1";
    let executions: i64 = sqlx::query_scalar(executions).bind(withdrawal).fetch_one(&t.app.db).await.expect("a sum");
    assert_eq!((t.state(withdrawal).await.as_str(), executions), ("completed", 1));
    // One that never shows is listed.
    t.sim.clear_faults();
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Terse));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::StaleRead { secs: 50_000 }));
    let withdrawal = t.withdraw(&customer, 1_000, "never").await.id();
    for (hours, is_held) in [(1, false), (2, true)] {
        for _ in 0..4 * hours {
            t.drive().await;
            t.advance(TimeDelta::minutes(15));
        }
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "submitted");
        assert_eq!(t.held_reason(withdrawal).await.is_some_and(|told| told.contains("initialized")), is_held);
    }
    t.finish_with_held().await;
}

/// What shows that they did ends the pause of all others, paid or not: an outage of executions is one in which they do nothing.
#[sqlx::test]
async fn executions_that_take_effect_and_are_not_answered_stop_no_others(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(20_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::BadGateway(Moment::After)));
    let fails = PayoutBehaviour::Fail { code: "insufficient_payout_balance".to_owned() };
    for (behaviour, end) in [(PayoutBehaviour::Succeed, "completed"), (fails, "failed")] {
        t.sim.set_payout_behaviour(behaviour);
        for number in 0..12 {
            let withdrawal = t.withdraw(&customer, 100, &format!("{end}{number}")).await.id();
            wait(&t, 2).await;
            assert_eq!((t.state(withdrawal).await.as_str(), number), (end, number));
            assert!(t.app.revio.executions_paused().is_none(), "{end}, {number}");
        }
    }
    assert_eq!((t.sim.totals("ZAR").paid_out_count, t.balance(&customer).await), (12, (18_800, 0, 18_800)));
    t.finish().await;
}

/// For longer than a payout's window: as an outage, in which few are tried.
#[sqlx::test]
async fn executions_that_do_nothing_and_are_answered_in_no_words_hold_few(db: PgPool) {
    for status in [200, 400] {
        let t = TestApp::new(db.clone()).await;
        let customer = t.customer_with(20_000).await;
        t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Blank { status }));
        for number in 0..40 {
            t.withdraw(&customer, 100, &format!("w{number}")).await;
            t.drive().await;
        }
        wait(&t, 20).await;
        t.sim.clear_faults();
        wait(&t, 30).await;
        let held =
            "select count(*) from transactions where kind = 'withdrawal' and held_at is not null and user_id = $1";
        let held: i64 = sqlx::query_scalar(held).bind(customer.id).fetch_one(&t.app.db).await.expect("a count");
        assert!((1..=20).contains(&held), "{status}: {held}");
        assert_eq!(t.sim.totals("ZAR").paid_out_count, u64::try_from(40 - held).expect("a count"), "{status}");
    }
}

/// That something is there already is no refusal: as after an answer that was lost, it is asked for again.
#[sqlx::test]
async fn a_registration_that_meets_a_conflict_gives_nothing_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePayout, FaultKind::Blank { status: 409 }));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.step().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await.1), ("reserved", 4_000));
    wait(&t, 2).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    // One that lasts needs nobody either.
    t.sim.set_fault(Fault::chance(1.0, Scope::CreatePayout, FaultKind::Blank { status: 409 }));
    let withdrawal = t.withdraw(&customer, 1_000, "lasts").await.id();
    wait(&t, 30).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// Its poll and its events fail together, on a system where little else happens.
#[sqlx::test]
async fn a_purchase_that_revio_cannot_serve_stops_no_deposit_and_is_for_a_person_within_two_hours(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let broken = t.deposit(&customer, 5_000, "broken").await.id();
    let purchase = t.purchase_of(broken);
    let fault = Fault::chance(1.0, Scope::GetPurchase, FaultKind::ServerError(Moment::Before));
    t.sim.set_fault(fault.of_object(purchase));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    for number in 0..12 {
        wait(&t, 10).await;
        let other = t.deposit(&customer, 1_000, &format!("d{number}")).await;
        assert_eq!(other.status, StatusCode::CREATED, "{}", other.body);
        assert!(other.body["checkout_url"].is_string(), "{}", other.body);
    }
    let reason = t.held_reason(broken).await.expect("held");
    assert!(reason.contains("this object alone"), "{reason}");
    let dead: Vec<String> = sqlx::query_scalar("select last_error from webhook_logs where state = 'dead'")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert!(!dead.is_empty() && dead.iter().all(|error| error.contains("this object alone")), "{dead:?}");
    // Its own word ends it.
    t.sim.clear_faults();
    t.sim.settle_purchase(purchase, None).expect("paid");
    t.drive().await;
    assert_eq!((t.state(broken).await.as_str(), t.held_reason(broken).await), ("completed", None));
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish().await;
}

/// The same of a payout that is paid.
#[sqlx::test]
async fn a_payout_that_revio_cannot_serve_stops_no_other_and_is_for_a_person_within_two_hours(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    let fault = Fault::chance(1.0, Scope::GetPayout, FaultKind::ServerError(Moment::Before));
    t.sim.set_fault(fault.clone());
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::After)));
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let broken = t.withdraw(&customer, 4_000, "broken").await.id();
    t.drive().await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.sim.clear_faults();
    t.sim.set_fault(fault.of_object(t.payout_of(broken)));
    for number in 0..12 {
        wait(&t, 10).await;
        let other = t.withdraw(&customer, 1_000, &format!("w{number}")).await.id();
        t.drive().await;
        assert_eq!(t.state(other).await, "completed");
    }
    let reason = t.held_reason(broken).await.unwrap_or_default();
    assert!(reason.contains("this object alone"), "{reason}, {}", t.state(broken).await);
    assert_eq!(t.sim.payouts_by_reference(&broken.to_string()).len(), 1, "and not paid by another");
    // Revio's last word ends it, and nobody has to.
    t.sim.clear_faults();
    let refused = PayoutOutcome::Error { code: "do_not_honour".to_owned() };
    t.sim.settle_payout(t.payout_of(broken), refused).expect("pending");
    t.drive().await;
    assert_eq!((t.state(broken).await.as_str(), t.held_reason(broken).await), ("failed", None));
    t.finish().await;
}

#[sqlx::test]
async fn an_answer_about_another_purchase_is_none(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let other = json!(Uuid::new_v4());
    let steps = async |t: &TestApp| {
        t.advance(TimeDelta::seconds(31));
        t.drive().await;
    };
    let asked = t.deposit(&customer, 5_000, "asked").await.id();
    let purchase = t.purchase_of(asked);
    t.sim.set_override(Override::of(purchase, "/id", other.clone()));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    steps(&t).await;
    assert_eq!(t.state(asked).await, "awaiting_payment", "another one was paid");
    t.sim.clear_overrides();
    wait(&t, 1).await;
    assert_eq!((t.state(asked).await.as_str(), t.balance(&customer).await), ("completed", (5_000, 0, 5_000)));

    let cancelled = t.deposit(&customer, 5_000, "cancelled").await.id();
    t.sim.set_override(Override::of(t.purchase_of(cancelled), "/id", other.clone()).when("cancelled"));
    let path = format!("/v1/deposits/{cancelled}/cancel");
    let answer = t.send(reqwest::Method::POST, &path, Some(&t.token(&customer)), &[], None).await;
    assert_ne!(answer.body["state"], "cancelled", "another one was: {}", answer.body);
    t.sim.clear_overrides();
    wait(&t, 2).await;
    assert_eq!(t.state(cancelled).await, "cancelled");

    // Somebody else's link.
    t.sim.set_override(Override::of("purchase", "/reference", other));
    let new = t.deposit(&customer, 5_000, "new").await;
    assert_eq!((&new.body["state"], &new.body["checkout_url"]), (&json!("initiated"), &Value::Null));
    t.sim.clear_overrides();
    wait(&t, 1).await;
    assert_eq!(t.state(new.id()).await, "awaiting_payment");
    t.finish().await;
}

#[sqlx::test]
async fn an_execution_that_was_answered_with_another_payout_is_looked_up_and_never_a_refusal(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let other = json!(Uuid::new_v4());
    t.sim.set_override(Override::of("payout", "/id", other.clone()).when("success"));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitting");
    let counted: Vec<(i32, i32)> =
        sqlx::query_as("select executions, refusals from provider_objects where kind = 'payout'")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(counted, [(1, 0)]);
    t.sim.clear_overrides();
    wait(&t, 2).await;
    assert_eq!(t.state(withdrawal).await, "completed");

    // Of another withdrawal, when it was to be made: nothing of it is executed.
    t.sim.set_override(Override::of("payout", "/reference", other));
    let next = t.withdraw(&customer, 5_000, "w2").await.id();
    t.drive().await;
    assert_eq!((t.state(next).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("reserved", 1));
    t.sim.clear_overrides();
    wait(&t, 2).await;
    assert_eq!((t.state(next).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("completed", 2));
    t.finish().await;
}

/// The call is documented nowhere, and may be shut in any way.
#[sqlx::test]
async fn a_call_that_is_not_there_or_not_open_to_us_keeps_nothing_from_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let answers = [401, 403, 404, 405, 500, 501, 503].map(|status| FaultKind::Answer { status });
    for fault in answers.into_iter().chain([FaultKind::Reset(Moment::Before)]) {
        let what = format!("{fault:?}");
        let customer = t.customer_with(1_000).await;
        let [deposit]: [Uuid; 1] = sqlx::query_scalar("select id from transactions where user_id = $1")
            .bind(customer.id)
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers")
            .try_into()
            .expect("one");
        t.sim.set_fault(Fault::chance(1.0, Scope::OtherCall, fault));
        t.sim.set_fault(Fault::next(1, Scope::Deliver, FaultKind::Missing));
        t.sim.charge_back_amount(t.purchase_of(deposit), 300).expect("paid");
        t.advance(TimeDelta::days(1));
        wait(&t, 60).await;
        let reason = t.held_reason(deposit).await.unwrap_or_default();
        assert!(reason.contains("does not say how much"), "{what}: {reason}");
        assert_eq!(t.app.revio.purchases_paused(), None, "{what}");
        t.sim.clear_faults();
    }
    t.finish_with_held().await;
}

/// A key that is not taken any more is no row's fault, and an operator must hear of it; nobody gets a deposit that cannot be paid.
#[sqlx::test]
async fn a_key_that_is_not_taken_any_more_is_an_outage(db: PgPool) {
    let_in_no_more(db, 401).await;
}

#[sqlx::test]
async fn a_key_that_lost_its_rights_is_an_outage(db: PgPool) {
    let_in_no_more(db, 403).await;
}

async fn let_in_no_more(db: PgPool, status: u16) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for key in ["a", "b", "c", "d"] {
        t.deposit(&customer, 500, key).await;
        t.withdraw(&customer, 1_000, &format!("w{key}")).await;
    }
    t.sim.set_fault(Fault::chance(1.0, Scope::AnyCall, FaultKind::Answer { status }));
    let mut paused = (false, false);
    let mut refused = String::new();
    for minute in 0..20 {
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        paused.0 |= t.app.revio.purchases_paused().is_some();
        paused.1 |= t.app.revio.payouts_paused().is_some();
        // The first new one is tried, and has no link yet.
        if t.app.revio.purchases_paused().is_some() && refused.is_empty() {
            let answer = t.deposit(&customer, 500, &format!("late{minute}")).await;
            refused = if answer.status == StatusCode::CREATED { String::new() } else { answer.code().to_owned() };
        }
    }
    assert_eq!((paused, refused.as_str()), ((true, true), "provider_unavailable"), "{status}");
    t.sim.clear_faults();
    for _ in 0..10 {
        t.advance(TimeDelta::minutes(3));
        t.drive().await;
    }
    let held = "select count(*) from transactions where held_reason is not null";
    let held: i64 = sqlx::query_scalar(held).fetch_one(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!((held, t.sim.totals("ZAR").paid_out_count), (0, 4), "{status}");
    t.finish().await;
}

/// A copy of Revio's that is behind, or an object that nobody has.
#[sqlx::test]
async fn an_event_about_what_revio_does_not_know_is_asked_about_again_and_is_nothing_of_ours_in_the_end(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 500, "d").await.id();
    let purchase = t.purchase_of(deposit);
    for table in ["provider_objects", "transactions"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}"))).execute(&t.app.db).await.expect("deleted");
    }
    let not_there = FaultKind::Blank { status: 404 };
    t.sim.set_fault(Fault::next(2, Scope::GetPurchase, not_there).of_object(purchase));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    let unknown =
        json!({"type": "payout", "event_type": "payout.success", "is_test": true, "id": Uuid::now_v7()}).to_string();
    let of_money = |event_type: &str| {
        json!({"type": "purchase", "event_type": event_type, "is_test": true, "id": Uuid::now_v7()}).to_string()
    };
    for event in [unknown, of_money("purchase.settled"), of_money("purchase.captured")] {
        let (signature, url) = (t.sim.sign(event.as_bytes()), format!("{}/v1/webhooks/revio", t.url));
        let sent = t.http.post(url).header("X-Signature", signature).body(event).send().await.expect("an answer");
        assert_eq!(sent.status(), StatusCode::OK);
    }
    for _ in 0..30 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    let of = |kind: &'static str| sqlx::query_scalar("select state from webhook_logs where event_type = $1").bind(kind);
    for (kind, state) in [
        ("purchase.paid", "done"),
        ("payout.success", "ignored"),
        ("purchase.settled", "dead"),
        ("purchase.captured", "dead"),
    ] {
        let found: String = of(kind).fetch_one(&t.app.db).await.expect("answers");
        assert_eq!(found, state, "{kind}: that money came is nothing that is forgotten");
    }
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 500, "it was there after all");
}

/// Registered and not answered, often; then answered, and not for it: that is no outage, and nobody waits for ever.
#[sqlx::test]
async fn a_registration_that_fails_for_one_row_alone_is_for_a_person_however_many_there_are(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::CreatePayout, FaultKind::BadGateway(Moment::After)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 40).await;
    assert!(t.sim.payouts_by_reference(&withdrawal.to_string()).len() >= 8);
    assert_eq!(t.held_reason(withdrawal).await, None, "an outage needs nobody");
    t.sim.clear_faults();
    t.sim.set_override(Override::of("payout", "/reference", json!(Uuid::nil())));
    wait(&t, 60).await;
    assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("gave up")));
    assert_eq!((t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("reserved", 0));
}
