//! Whose time it is, what a wrong clock does to payouts, and what PostgreSQL must promise before there are any.

use std::time::Instant;

use chrono::TimeDelta;
use octoco::books::projector;
use octoco::money::withdrawals;
use octoco::platform::clock::{Clock, DateTime, Part};
use octoco::platform::crash::CrashPoints;
use octoco::platform::error::Fault;
use reqwest::StatusCode;
use sqlx::PgPool;
use uuid::Uuid;

use crate::binary::{self, Serving};
use crate::crashes::Crashes;
use crate::harness::{PATIENCE, TestApp, stepped};
use crate::health::{ready, ready_and};

/// In real time, as a process of its own has it.
async fn live(db: PgPool, crash: CrashPoints) -> TestApp {
    let t = TestApp::with_clocks(db, &[], crash, (Clock::system(), revio_sim::Clock::system())).await;
    t.app.footing.look(&t.app.db).await.expect("PostgreSQL answers");
    t
}

/// As if so much time had gone by for this row.
async fn ages(t: &TestApp, withdrawal: Uuid, minutes: i32) {
    sqlx::query(
        "update transactions set due_at = clock_timestamp() - interval '1 s',
                updated_at = updated_at - make_interval(mins => $2) where id = $1",
    )
    .bind(withdrawal)
    .bind(minutes)
    .execute(&t.app.db)
    .await
    .expect("PostgreSQL answers");
}

async fn step(t: &TestApp) -> usize {
    stepped(withdrawals::claim_due(&t.app, 10)).await.expect("PostgreSQL answers")
}

fn executed(t: &TestApp) -> usize {
    t.sim.calls().iter().filter(|call| call.path.starts_with("/po/")).count()
}

async fn gauge(t: &TestApp, name: &str) -> f64 {
    let metrics = t.app.metrics.render();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}"))
}

#[sqlx::test]
async fn a_worker_whose_clock_is_100_s_ahead_neither_takes_a_leased_row_nor_executes_a_payout_twice(db: PgPool) {
    let next = Crashes::default();
    let t = live(db, next.plan()).await;
    let customer = t.customer_with(10_000).await;
    next.at("withdrawal.before_execution");
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitting");
    // To this worker, whose wall clock is wrong, the lease of the one that makes the call would be over.
    t.app.clock.set_wall_ahead(TimeDelta::seconds(100));
    assert_eq!(step(&t).await, 0, "the lease ends when PostgreSQL says so");
    ages(&t, withdrawal, 0).await;
    assert_eq!((step(&t).await, executed(&t)), (1, 0), "the first call may still be on its way");
    ages(&t, withdrawal, 2).await;
    assert_eq!((step(&t).await, executed(&t)), (1, 0), "nothing is paid by a wrong clock");
    t.app.clock.set_wall_ahead(TimeDelta::zero());
    ages(&t, withdrawal, 0).await;
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), executed(&t)), ("completed", 1));
    t.finish().await;
}

#[sqlx::test]
async fn a_process_whose_clock_is_wrong_from_the_start_goes_by_postgresqls(db: PgPool) {
    let clock = Clock::with_wall_ahead(TimeDelta::seconds(-100));
    let mut db = db.acquire().await.expect("PostgreSQL answers");
    clock.measure(&mut db).await.expect("PostgreSQL answers");
    let time: DateTime = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *db).await.expect("a time");
    assert!((clock.now() - time).abs() < TimeDelta::seconds(1));
    let offset = clock.offset(Part::PostgreSql).expect("measured");
    assert!((offset + TimeDelta::seconds(100)).abs() < TimeDelta::seconds(1), "{offset}");
}

#[sqlx::test]
async fn no_payout_begins_while_clocks_are_apart_and_it_begins_when_they_agree(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for (index, millis) in [2_001, -2_001, 100_000].into_iter().enumerate() {
        t.app.clock.set_wall_ahead(TimeDelta::milliseconds(millis));
        let withdrawal = t.withdraw(&customer, 1_000, &format!("w{index}")).await.id();
        for _ in 0..5 {
            t.drive().await;
            t.advance(TimeDelta::minutes(1));
        }
        assert_eq!((t.state(withdrawal).await.as_str(), executed(&t)), ("reserved", index), "{millis}");
        assert_eq!(t.held_reason(withdrawal).await, None, "it is not the row's fault");
        ready_and(&t, "payouts", "clocks_apart").await;
        t.app.clock.set_wall_ahead(TimeDelta::milliseconds(1_999));
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
        assert_eq!((t.state(withdrawal).await.as_str(), executed(&t)), ("completed", index + 1), "{millis}");
        ready_and(&t, "payouts", "ok").await;
    }
    assert_eq!(t.balance(&customer).await, (7_000, 0, 7_000));
    t.finish().await;
}

#[sqlx::test]
async fn the_offsets_to_postgresql_and_tigerbeetle_are_measured_and_exported(db: PgPool) {
    let t = live(db, CrashPoints::default()).await;
    t.app.clock.set_wall_ahead(TimeDelta::seconds(-50));
    let customer = t.customer_with(10_000).await;
    let started = Instant::now();
    while t.app.clock.offset(Part::TigerBeetle).is_none() {
        assert!(started.elapsed() < PATIENCE, "never within a second of the last look");
        projector::catch_up(&t.app).await.expect("the ledger can be copied");
        let deposit = t.deposit(&customer, 1_000, &Uuid::now_v7().to_string()).await;
        t.pay(&deposit).await;
        projector::step(&t.app).await.expect("the ledger can be copied");
    }
    t.app.footing.look(&t.app.db).await.expect("PostgreSQL answers");
    for part in Part::ALL {
        let offset = gauge(&t, &format!("octoco_clock_offset_seconds{{to=\"{}\"}}", part.name())).await;
        assert!((-51.0..=-49.0).contains(&offset), "{} {offset}", part.name());
    }
    t.app.clock.set_wall_ahead(TimeDelta::zero());
    assert!(t.app.footing.require_payable().is_ok());
    t.finish().await;
}

#[sqlx::test]
async fn nothing_is_paid_by_a_database_that_may_forget_what_it_answered(db: PgPool) {
    // The tests' own server waits for no disk.
    let t = TestApp::with(db, &[("DATABASE_DURABILITY", "local")]).await;
    t.app.footing.look(&t.app.db).await.expect("PostgreSQL answers");
    let refused = t.app.footing.require_payable().expect_err("refused");
    assert!(refused.fault() == Fault::Surroundings && refused.chain().contains("fsync is off"), "{}", refused.chain());
    assert!(gauge(&t, "octoco_database_durable").await < 0.5);
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 1_000, "w").await.id();
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), executed(&t)), ("reserved", 0));
    let told = ready(&t).await;
    assert_eq!((told.status, told.body["payouts"].as_str()), (StatusCode::OK, Some("not_durable")));
}

#[sqlx::test]
async fn the_log_tells_that_nothing_is_paid_and_the_process_serves(db: PgPool) {
    for (demanded, payouts) in [("local", "not_durable"), ("none", "ok")] {
        let mut settings = binary::settings(&db, "any");
        settings.insert("DATABASE_DURABILITY", demanded.to_owned());
        let serving = Serving::start(&settings).await;
        let http = reqwest::Client::builder().build().expect("a client");
        let told = loop {
            let told = http.get(format!("http://{}/readyz", serving.address)).send().await.expect("it answers");
            let told: serde_json::Value = told.json().await.expect("JSON");
            // A busy machine may take longer than a look does.
            if told["payouts"] != "unavailable" {
                break told;
            }
        };
        assert_eq!(told["payouts"], payouts, "{told}");
        let (printed, _) = serving.stop().await;
        assert_eq!(
            printed.contains("no payout begins") && printed.contains("fsync is off"),
            payouts != "ok",
            "{printed}"
        );
    }
}
