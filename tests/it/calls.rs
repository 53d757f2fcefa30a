//! Calls to Revio: so many a second and no more, payouts first, whatever one customer wishes for.

use std::sync::Arc;

use chrono::{TimeDelta, TimeZone, Utc};
use futures_util::{StreamExt, future, stream};
use octoco::money::{deposits, withdrawals};
use octoco::platform::clock::Clock;
use octoco::platform::config::{Counting, RateLimits};
use octoco::platform::crash::CrashPoints;
use octoco::platform::rate_limits::{Budget, Limiter, Wish};
use octoco::webhooks::inbox;
use reqwest::StatusCode;
use revio_sim::{Fault, FaultKind, Moment, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Answer, Customer, PATIENCE, TestApp, environment, stepped};

/// In real time.
async fn live(db: PgPool, settings: &[(&str, &str)]) -> TestApp {
    let clocks = (Clock::system(), revio_sim::Clock::system());
    let t = TestApp::with_clocks(db, settings, CrashPoints::default(), clocks).await;
    t.app.footing.look(&t.app.db).await.expect("PostgreSQL answers");
    t
}

fn limit(t: &TestApp, calls_per_second: u32) {
    t.sim.set_settings(revio_sim::Settings { calls_per_second, ..t.sim.settings() });
}

fn refused_by_revio(t: &TestApp) -> usize {
    t.sim.calls().iter().filter(|call| call.status == 429).count()
}

async fn count(t: &TestApp, what: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from transactions where {what}")))
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

async fn wish(t: &TestApp, customer: &Customer, wishes: usize, at_once: usize) -> Vec<Answer> {
    let keys: Vec<String> = (0..wishes).map(|number| format!("wish-{number}")).collect();
    let calls = keys.iter().map(|key| t.deposit(customer, 5_000, key));
    stream::iter(calls).buffered(at_once).collect().await
}

#[sqlx::test]
async fn of_700_deposits_that_one_customer_wishes_for_ten_are_opened(db: PgPool) {
    let t = TestApp::with(db, &[("OPEN_DEPOSITS_MAX", "10")]).await;
    let (greedy, other) = (t.customer().await, t.customer().await);
    let answers = wish(&t, &greedy, 700, 24).await;
    let opened: Vec<Uuid> =
        answers.iter().filter(|answer| answer.status == StatusCode::CREATED).map(Answer::id).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != StatusCode::CREATED).collect();
    assert_eq!((opened.len(), refused.len()), (10, 690));
    for answer in &refused {
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "too_many_open_deposits"), "{}", answer.body);
    }
    let mut listed: Vec<String> = opened.iter().map(Uuid::to_string).collect();
    listed.sort();
    assert_eq!(refused[689].body["open_deposits"], json!(listed), "those that are open");
    assert_eq!(t.sim.calls().len(), 10, "the others cost Revio nothing");
    assert_eq!(t.deposit(&other, 5_000, "k1").await.status, StatusCode::CREATED, "it is nobody else's limit");
    t.finish().await;
}

#[sqlx::test]
async fn a_repeat_is_answered_and_a_paid_or_ended_deposit_makes_room(db: PgPool) {
    let t = TestApp::with(db, &[("OPEN_DEPOSITS_MAX", "3")]).await;
    let customer = t.customer().await;
    // One after another, and all at once with one key: the key is one deposit.
    let first = t.deposit(&customer, 5_000, "k1").await;
    let same = future::join_all((0..20).map(|_| t.deposit(&customer, 5_000, "k2"))).await;
    assert!(same.iter().all(|answer| answer.status == StatusCode::CREATED && answer.id() == same[0].id()));
    assert_eq!(t.deposit(&customer, 5_000, "k3").await.status, StatusCode::CREATED);
    let refused = t.deposit(&customer, 5_000, "k4").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "too_many_open_deposits"));
    let repeat = t.deposit(&customer, 5_000, "k1").await;
    assert_eq!((repeat.status, repeat.id(), repeat.replayed()), (StatusCode::CREATED, first.id(), true));
    let other = t.deposit(&customer, 6_000, "k1").await;
    assert_eq!(other.code(), "idempotency_key_reused", "that is said first");

    t.pay(&first).await;
    assert_eq!(t.deposit(&customer, 5_000, "k4").await.status, StatusCode::CREATED, "one was paid");
    assert_eq!(t.deposit(&customer, 5_000, "k5").await.code(), "too_many_open_deposits");
    for _ in 0..12 {
        t.advance(TimeDelta::minutes(7));
        t.drive().await;
    }
    assert_eq!(count(&t, "state in ('cancelled', 'expired')").await, 3, "an hour later nobody waits for them");
    assert_eq!(t.deposit(&customer, 5_000, "k5").await.status, StatusCode::CREATED);
    t.finish().await;
}

/// What a person has to look at is no open deposit: its customer has paid.
#[sqlx::test]
async fn a_deposit_on_hold_takes_nobodys_room(db: PgPool) {
    let t = TestApp::with(db, &[("OPEN_DEPOSITS_MAX", "1")]).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    let pay = revio_sim::Pay { amount: Some(4_000), ..revio_sim::Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit.id()), pay).expect("payable");
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    assert!(t.held_reason(deposit.id()).await.is_some());
    assert_eq!(t.deposit(&customer, 5_000, "k2").await.status, StatusCode::CREATED);
    t.finish_with_held().await;
}

/// As if there were no limit for one customer; all of them are due all the time.
#[sqlx::test]
async fn while_700_unpaid_deposits_of_one_customer_are_due_others_pay_in_and_out(db: PgPool) {
    // A process alone has a quarter of it: 90 a second, 30 at once.
    let t = live(db, &[("REVIO_CALLS_PER_SECOND", "360")]).await;
    limit(&t, 125);
    let (greedy, other) = (t.customer().await, t.customer_with(500_000).await);
    assert!(wish(&t, &greedy, 700, 3).await.iter().all(|answer| answer.status == StatusCode::CREATED));
    let polls = async {
        loop {
            let stepped = stepped(deposits::claim_due(&t.app, 16)).await.expect("PostgreSQL answers");
            if stepped == 0 {
                sqlx::query("update transactions set due_at = clock_timestamp() where state = 'awaiting_payment'")
                    .execute(&t.app.db)
                    .await
                    .expect("PostgreSQL answers");
            }
        }
    };
    let others = async {
        let keys: Vec<String> = (0..30).map(|number| format!("other-{number}")).collect();
        for key in &keys {
            let deposit = t.deposit(&other, 5_000, key).await;
            assert_eq!(deposit.status, StatusCode::CREATED, "{}", deposit.body);
            assert!(deposit.body["checkout_url"].is_string(), "{}", deposit.body);
            let withdrawal = t.withdraw(&other, 1_000, &format!("out-{key}")).await.id();
            while t.state(withdrawal).await != "completed" {
                stepped(withdrawals::claim_due(&t.app, 16)).await.expect("PostgreSQL answers");
                stepped(inbox::claim_due(&t.app, 16)).await.expect("PostgreSQL answers");
            }
        }
    };
    let others = async { tokio::time::timeout(PATIENCE * 2, others).await.expect("others are not kept waiting") };
    future::select(Box::pin(polls), Box::pin(others)).await;
    let metrics = t.app.metrics.render();
    assert!(metrics.contains(r#"octoco_revio_budget_waits_total{class="polling"}"#), "polling was held back");
    assert_eq!(refused_by_revio(&t), 0, "Revio was never asked too often");
    assert_eq!(count(&t, "held_reason is not null").await, 0, "waiting for a place is no fault of a row");
    assert_eq!(count(&t, "attempts > 0").await, 0, "and uses no try up");
}

#[sqlx::test]
async fn a_customer_who_finds_no_place_is_told_that_the_provider_is_busy_and_no_row_is_written(db: PgPool) {
    // A process alone has a quarter of it, and five places at first; deposits have three of them.
    let t = TestApp::with(db, &[("REVIO_CALLS_PER_SECOND", "1")]).await;
    let customer = t.customer().await;
    for key in ["k1", "k2", "k3"] {
        assert_eq!(t.deposit(&customer, 5_000, key).await.status, StatusCode::CREATED);
    }
    let refused = t.deposit(&customer, 5_000, "k4").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable"));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!((count(&t, "true").await, t.sim.calls().len()), (3, 3), "nothing was begun");
    t.advance(TimeDelta::seconds(20));
    assert_eq!(t.deposit(&customer, 5_000, "k4").await.status, StatusCode::CREATED);
    t.finish().await;
}

#[sqlx::test]
async fn after_a_429_revio_is_left_alone_for_as_long_as_it_says_and_payouts_go_first(db: PgPool) {
    let t = TestApp::with(db, &[("REVIO_CALLS_PER_SECOND", "4")]).await;
    let customer = t.customer_with(100_000).await;
    t.advance(TimeDelta::minutes(1));
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    assert_eq!(deposit.status, StatusCode::CREATED, "{}", deposit.body);
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.sim.set_fault(Fault::next(1, Scope::GetPurchase, FaultKind::RateLimited { retry_after_secs: 120 }));
    t.advance(TimeDelta::seconds(31));
    assert_eq!(stepped(deposits::claim_due(&t.app, 10)).await.expect("PostgreSQL answers"), 1);
    let calls = t.sim.calls().len();
    for _ in 0..11 {
        t.drive().await;
        t.advance(TimeDelta::seconds(10));
    }
    assert_eq!(t.sim.calls().len(), calls, "nobody calls before its time");
    assert_eq!(t.deposit(&customer, 5_000, "k2").await.code(), "provider_unavailable");
    // By then all wait for it. Few places are there at first, and one is a payout's.
    sqlx::query("update transactions set due_at = $1 where state in ('awaiting_payment', 'reserved')")
        .bind(t.app.clock.now())
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    t.advance(TimeDelta::milliseconds(12_500));
    stepped(deposits::claim_due(&t.app, 10)).await.expect("PostgreSQL answers");
    stepped(withdrawals::claim_due(&t.app, 10)).await.expect("PostgreSQL answers");
    let called: Vec<String> = t.sim.calls()[calls..].iter().map(|call| call.path.clone()).collect();
    let of_payouts = |path: &String| path.contains("/payouts/") || path.contains("/po/");
    assert!(called.len() == 2 && called.iter().all(of_payouts), "polling waits longer: {called:?}");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.state(deposit.id()).await, "awaiting_payment");
    t.finish().await;
}

#[sqlx::test]
async fn a_long_wait_that_revio_asks_for_is_honoured_and_one_without_end_for_an_hour(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for (number, (asked, minutes)) in [(1_800, 30), (u32::MAX, 60)].into_iter().enumerate() {
        let deposit = t.deposit(&customer, 5_000, &format!("k{number}")).await;
        assert_eq!(deposit.status, StatusCode::CREATED, "{}", deposit.body);
        t.sim.set_fault(Fault::next(1, Scope::GetPurchase, FaultKind::RateLimited { retry_after_secs: asked }));
        t.advance(TimeDelta::seconds(31));
        t.drive().await;
        let calls = t.sim.calls().len();
        for _ in 1..minutes {
            t.advance(TimeDelta::minutes(1));
            t.drive().await;
        }
        assert_eq!(t.sim.calls().len(), calls, "nobody calls within {minutes} minutes");
        t.advance(TimeDelta::minutes(3));
        t.drive().await;
        assert!(t.sim.calls().len() > calls, "after {minutes} minutes they do");
    }
    t.finish().await;
}

#[sqlx::test]
async fn no_payout_is_submitted_before_its_execution_has_a_place(db: PgPool) {
    let t = TestApp::with(db, &[("REVIO_CALLS_PER_SECOND", "1")]).await;
    let customer = t.customer_with(100_000).await;
    t.advance(TimeDelta::minutes(1));
    let withdrawals: Vec<Uuid> = {
        let mut ids = Vec::new();
        for key in ["w1", "w2", "w3", "w4"] {
            ids.push(t.withdraw(&customer, 1_000, key).await.id());
        }
        ids
    };
    // Five places at a time, and each payout needs two: whoever is registered and finds no place stays as it is.
    for _ in 0..30 {
        stepped(withdrawals::claim_due(&t.app, 10)).await.expect("PostgreSQL answers");
        assert_eq!(count(&t, "state = 'submitting'").await, 0, "money may leave only where the call was made");
        t.advance(TimeDelta::seconds(4));
    }
    t.drive().await;
    for withdrawal in withdrawals {
        assert_eq!(t.state(withdrawal).await, "completed");
    }
    let executed = t.sim.calls().iter().filter(|call| call.path.starts_with("/po/")).count();
    assert_eq!(executed, 4, "each once");
    t.finish().await;
}

/// Else a backlog would spend all places on beginnings, whose 15 minutes run out.
#[sqlx::test]
async fn of_many_payouts_that_wait_those_that_are_registered_come_first(db: PgPool) {
    let t = TestApp::with(db, &[("REVIO_CALLS_PER_SECOND", "1")]).await;
    let customer = t.customer_with(100_000).await;
    for number in 0..40 {
        assert_eq!(t.withdraw(&customer, 1_000, &format!("w{number}")).await.status, StatusCode::ACCEPTED);
    }
    t.advance(TimeDelta::minutes(1));
    let calls = |path: &str| t.sim.calls().iter().filter(|call| call.path.contains(path)).count();
    let registered = || t.sim.calls().iter().filter(|call| call.path.ends_with("/payouts/")).count();
    for turn in 0..200 {
        stepped(withdrawals::claim_due(&t.app, 100)).await.expect("PostgreSQL answers");
        let (registered, executed) = (registered(), calls("/po/"));
        assert!(registered <= executed + 12, "after {turn} turns {registered} are registered, {executed} executed");
        t.advance(TimeDelta::seconds(3));
    }
    assert_eq!((registered(), calls("/po/")), (40, 40), "within ten minutes, each once");
}

#[sqlx::test]
async fn purchases_that_fail_keep_no_payout_waiting_and_payouts_that_fail_no_deposit(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    t.sim.set_fault(Fault::next(8, Scope::CreatePurchase, FaultKind::BadGateway(Moment::Before)));
    for index in 0..8 {
        assert_eq!(t.deposit(&customer, 5_000, &format!("k{index}")).await.status, StatusCode::CREATED);
    }
    assert_eq!(t.deposit(&customer, 5_000, "late").await.code(), "provider_unavailable");
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed", "payouts go on");

    t.advance(TimeDelta::minutes(3));
    t.drive().await;
    t.sim.set_fault(Fault::next(8, Scope::CreatePayout, FaultKind::BadGateway(Moment::Before)));
    for index in 0..8 {
        t.withdraw(&customer, 1_000, &format!("v{index}")).await;
    }
    t.drive().await;
    assert!(t.app.revio.payouts_paused().is_some() && t.app.revio.purchases_paused().is_none());
    assert_eq!(t.deposit(&customer, 5_000, "other").await.status, StatusCode::CREATED, "deposits go on");
    // One finds out that Revio answers again; the others come after it.
    for _ in 0..2 {
        t.advance(TimeDelta::minutes(3));
        t.drive().await;
    }
    assert_eq!(count(&t, "kind = 'withdrawal' and state = 'completed'").await, 9);
    t.finish().await;
}

async fn places(limiter: &Limiter, budget: &Budget) -> usize {
    let now = Utc.with_ymd_and_hms(2026, 3, 2, 9, 0, 0).single().expect("a time");
    let mut places = 0;
    while limiter.ask_budget(budget, Wish::Place { leaving: 0 }, now).await.is_ok() {
        places += 1;
    }
    places
}

#[tokio::test]
async fn processes_share_the_budget_and_have_a_quarter_each_without_redis() {
    let counting =
        Counting { prefix: format!("octoco:test:{}", Uuid::now_v7()), answer: PATIENCE, connection: PATIENCE };
    let process = |url: &str| {
        let limiter = Limiter::new(url, RateLimits::Default, counting.clone()).expect("a URL");
        (Arc::new(limiter), Budget::new("shared", 6))
    };
    let redis = environment("TEST_REDIS_URL");
    let (one, other) = (process(&redis), process(&redis));
    assert_eq!(places(&one.0, &one.1).await, 5);
    assert_eq!(places(&other.0, &other.1).await, 0, "the other process has had them");
    let alone = process("redis://127.0.0.1:1");
    assert_eq!(places(&alone.0, &alone.1).await, 5, "who counts alone has a burst of its own");
    let later = Utc.with_ymd_and_hms(2026, 3, 2, 9, 0, 0).single().expect("a time") + TimeDelta::milliseconds(667);
    assert!(alone.0.ask_budget(&alone.1, Wish::Place { leaving: 0 }, later).await.is_ok(), "and six a second by four");
    assert!(alone.0.ask_budget(&alone.1, Wish::Place { leaving: 0 }, later).await.is_err());
}
