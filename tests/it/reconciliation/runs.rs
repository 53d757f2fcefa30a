//! Runs: one at a time, resumed after any death, clean under load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use octoco::books::projector;
use octoco::finance::reconciliation::{self, New, ReconciliationLeg, RunKind, Step};
use octoco::platform::crash::CrashPoints;
use octoco::platform::error::Error;
use octoco::platform::permissions::Role;
use octoco::processes::reconcile::{self, Outcome};
use octoco::processes::worker::OTHER_LEGS;
use revio_sim::{Fault, FaultKind, Moment, Override, Pay, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{OTHERS, assert_none_open, assert_one, begin, breaks, cycle, cycle_of, go_on, sql, states};
use crate::harness::TestApp;
use crate::reporting::value;
use crate::statement_files::{deposits, file, uploaded};

/// Deposits and withdrawals come between the runs, some of them are under way while one looks.
#[sqlx::test]
async fn a_clean_system_has_no_break_in_a_hundred_cycles_under_load(db: PgPool) {
    let t = TestApp::new(db).await;
    let customers = [t.customer_with(100_000).await, t.customer_with(100_000).await];
    for number in 0..100 {
        let customer = &customers[number % 2];
        let deposit = t.deposit(customer, 1_000, &format!("d{number}")).await;
        if number % 3 != 0 {
            t.pay(&deposit).await;
        }
        t.withdraw(customer, 700, &format!("w{number}")).await;
        if number % 4 != 0 {
            t.drive().await;
        }
        cycle(&t).await;
        t.drive().await;
    }
    let seen = breaks(&t).await;
    let opened: i64 = sqlx::query_scalar("select count(*) from breaks where opened_at is not null")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(opened, 0, "{seen:?}");
    let clean: i64 = sqlx::query_scalar("select count(*) from reconciliation_runs where state = 'finished'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(clean, 100);
    t.finish().await;
}

/// At each point, the first time that it is passed, and the second.
const POINTS: [&str; 9] = [
    "reconciliation.claimed", "reconciliation.seen", "reconciliation.asked", "reconciliation.saved",
    "reconciliation.looked_again", "reconciliation.healing", "reconciliation.healed", "reconciliation.before_finish",
    "reconciliation.finished",
];

/// The process dies there; another one goes on when the lease is over.
#[sqlx::test]
async fn a_run_that_dies_anywhere_is_finished_by_the_next_process_and_books_once(db: PgPool) {
    let plan = Arc::new(Mutex::new(("", 0)));
    let shared = Arc::clone(&plan);
    let crash = CrashPoints::planned(move |point| {
        let mut plan = shared.lock().expect("nobody panicked");
        let (name, left) = *plan;
        if name != point || left == 0 {
            return false;
        }
        plan.1 = left - 1;
        left == 1
    });
    let t = TestApp::crashing(db, &[], crash).await;
    let customer = t.customer().await;
    let (mut deaths, mut booked) = (Vec::new(), 0);
    for (point, nth) in POINTS.into_iter().flat_map(|point| [(point, 1), (point, 2)]) {
        let deposit = t.deposit(&customer, 1_000, &format!("{point}-{nth}")).await.id();
        t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("it can be paid");
        t.advance(TimeDelta::minutes(3));
        let run = begin(&t, RunKind::QuarterHour).await.id;
        *plan.lock().expect("nobody panicked") = (point, nth);
        if go_on_until_death(&t).await {
            deaths.push(point);
            t.advance(TimeDelta::seconds(91));
            if reconciliation::runs::find(&t.app, run).await.expect("the run").finished_at.is_none() {
                go_on(&t).await;
            }
        }
        *plan.lock().expect("nobody panicked") = ("", 0);
        booked += 1_000;
        assert_eq!(t.balance(&customer).await.0, booked, "after a death at {point} {nth}");
        assert_none_open(&t).await;
        // Revio's balance agrees again before the next webhook is lost.
        cycle(&t).await;
    }
    deaths.dedup();
    assert_eq!(deaths, POINTS, "each was passed");
    t.drive().await;
    t.finish().await;
}

async fn go_on_until_death(t: &TestApp) -> bool {
    loop {
        match reconciliation::work(&t.app, OTHERS).await {
            Err(Error::Crashed(_)) => return true,
            Ok(Step::Finished) => return false,
            Ok(Step::Pause) => t.advance(TimeDelta::seconds(61)),
            Ok(Step::More) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[sqlx::test]
async fn of_two_processes_one_works_on_a_run_and_there_is_one_run(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    t.advance(TimeDelta::minutes(3));
    begin(&t, RunKind::QuarterHour).await;
    let (one, other) = tokio::join!(reconciliation::step(&t.app, OTHERS), reconciliation::step(&t.app, OTHERS));
    let steps = [one.expect("a step"), other.expect("a step")];
    assert!(steps.contains(&Step::More), "{steps:?}");
    let runs = reconciliation::runs::list(&t.app, None, 10).await.expect("runs");
    assert_eq!(runs.len(), 1, "a second one was begun");
    // While somebody has the lease, nobody else goes on with it.
    sqlx::query("update reconciliation_runs set leased_until = $1")
        .bind(t.app.clock.now() + TimeDelta::seconds(60))
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(reconciliation::step(&t.app, OTHERS).await.expect("a step"), Step::Idle);
    t.advance(TimeDelta::seconds(61));
    go_on(&t).await;
}

#[sqlx::test]
async fn what_is_due_is_started_by_the_worker_a_day_and_a_quarter_of_an_hour_at_a_time(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    for _ in 0..3 {
        octoco::books::projector::catch_up(&t.app).await.expect("the ledger can be copied");
        while !matches!(reconciliation::step(&t.app, OTHERS).await.expect("a step"), Step::Finished | Step::Idle) {}
    }
    let kinds: Vec<String> = sqlx::query_scalar("select kind from reconciliation_runs order by kind")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(
        kinds,
        ["daily", "quarter_hour"],
        "the day that was not closed, a quarter of an hour, and then nothing is due"
    );
    let day: chrono::NaiveDate =
        sqlx::query_scalar("select accounting_day from reconciliation_runs where kind = 'daily'")
            .fetch_one(&t.app.db)
            .await
            .expect("a run");
    assert_eq!(day.to_string(), "2026-03-01", "yesterday");
    t.advance(TimeDelta::minutes(15));
    assert_eq!(reconciliation::step(&t.app, OTHERS).await.expect("a step"), Step::More);
    let metrics = t.app.metrics.render();
    assert!(metrics.contains("octoco_reconciliation_runs_total{kind=\"daily\",outcome=\"clean\"} 1"), "{metrics}");
    reconciliation::measure(&t.app).await.expect("gauges");
    projector::measure(&t.app).await.expect("measured");
    let metrics = t.app.metrics.render();
    for series in [
        "octoco_reconciliation_breaks{severity=\"critical\",type=\"unbalanced\"} 0",
        "octoco_ledger_balance_minor{account=\"customer_wallet\",currency=\"ZAR\",side=\"credits\"} 5000",
        "octoco_ledger_balance_minor{account=\"bank\",currency=\"ZAR\",side=\"debits\"} 0",
        "octoco_provider_balance_minor{currency=\"ZAR\",field=\"ours\"} 5000",
        "octoco_open_item_oldest_seconds{what=\"suspense\"} 0",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
    assert!(!metrics.contains("octoco_reconciliation_last_success_timestamp_seconds{kind=\"daily\"} 0"));
}

#[sqlx::test]
async fn days_that_no_worker_closed_are_closed_first_to_last(db: PgPool) {
    let t = TestApp::new(db).await;
    for days in [0, 3] {
        t.advance(TimeDelta::days(days));
        for _ in 0..5 {
            t.advance(TimeDelta::milliseconds(1));
            octoco::books::projector::catch_up(&t.app).await.expect("the ledger can be copied");
            while !matches!(reconciliation::step(&t.app, OTHERS).await.expect("a step"), Step::Finished | Step::Idle) {}
        }
    }
    let days: Vec<String> =
        sqlx::query_scalar("select accounting_day::text from reconciliation_runs where kind = 'daily' order by id")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(days, ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"], "a month with a hole could never close");
}

/// What a daily run finds after midnight is of the day that it closes.
#[sqlx::test]
async fn a_day_is_as_red_as_its_own_runs_left_it_whatever_becomes_of_the_break(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    let wrong = "update transactions set amount_minor = amount_minor + 1, version = version + 1 where user_id = $1";
    let right = "update transactions set amount_minor = amount_minor - 1, version = version + 1 where user_id = $1";
    let said = async |day: &str| {
        value(&t, &format!("select outcome from reporting.run_days where leg = 'a' and day = '{day}'")).await
    };
    sql(&t, wrong, customer.id).await;
    cycle_of(&t, RunKind::Daily).await;
    assert_one(&t, "amount_ledger", "open").await;
    assert_eq!(said("2026-03-01").await, "open breaks");
    sql(&t, right, customer.id).await;
    cycle(&t).await;
    assert_one(&t, "amount_ledger", "cleared").await;
    assert_eq!(said("2026-03-01").await, "resolved");
    t.advance(TimeDelta::days(1));
    cycle_of(&t, RunKind::Daily).await;
    assert_eq!(said("2026-03-02").await, "clean", "it was opened on that day, by the run of another one");
    // Opened again two days later, the break is of both days, and of none between.
    t.advance(TimeDelta::days(1));
    sql(&t, wrong, customer.id).await;
    cycle_of(&t, RunKind::Daily).await;
    assert_one(&t, "amount_ledger", "open").await;
    let days = [said("2026-03-01").await, said("2026-03-02").await, said("2026-03-03").await];
    assert_eq!(days, ["open breaks", "clean", "open breaks"]);
    sql(&t, right, customer.id).await;
    cycle(&t).await;
    let days = [said("2026-03-01").await, said("2026-03-02").await, said("2026-03-03").await];
    assert_eq!(days, ["resolved", "clean", "resolved"]);
}

/// A run that Revio keeps waiting is given up, and the next one looks at what it has left.
#[sqlx::test]
async fn a_run_that_takes_too_long_is_given_up(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.deposit(&customer, 5_000, "d").await;
    t.advance(TimeDelta::minutes(3));
    let run: Uuid = begin(&t, RunKind::QuarterHour).await.id;
    t.advance(TimeDelta::minutes(41));
    assert_eq!(reconciliation::work(&t.app, OTHERS).await.expect("a step"), Step::Failed);
    let failed = reconciliation::runs::find(&t.app, run).await.expect("the run");
    assert_eq!((failed.state.name(), failed.report_sha256), ("failed", None));
    let finance = t.staff(Role::Finance).await;
    let shown = t.get(&finance, &format!("/v1/admin/reconciliation/runs/{run}")).await;
    assert_eq!((shown.status.as_u16(), shown.body["state"].as_str()), (202, Some("failed")), "{}", shown.body);
    assert!(!shown.headers.contains_key("retry-after"), "nothing will come of it");
    cycle(&t).await;
}

/// Over midnight, say. What is wrong inside is found in the meantime.
#[sqlx::test]
async fn a_daily_run_that_revio_does_not_answer_keeps_the_others_waiting_for_no_longer_than_they_may(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.deposit(&customer, 5_000, "d").await;
    t.advance(TimeDelta::minutes(3));
    let run: Uuid = begin(&t, RunKind::Daily).await.id;
    t.sim.set_fault(Fault::chance(1.0, Scope::AnyCall, FaultKind::Reset(Moment::Before)));
    let until = async |wanted: Step| {
        for _ in 0..200 {
            if reconciliation::work(&t.app, OTHERS).await.expect("a step") == wanted {
                return;
            }
            t.advance(TimeDelta::minutes(1));
        }
        panic!("never {wanted:?}");
    };
    until(Step::Failed).await;
    let failed = reconciliation::runs::find(&t.app, run).await.expect("the run");
    let took = failed.finished_at.expect("over") - failed.started_at;
    assert!(took < TimeDelta::minutes(60), "{took}");
    reconciliation::step(&t.app, OTHERS).await.expect("a step");
    let next = "select kind from reconciliation_runs where state = 'running'";
    let next: String = sqlx::query_scalar(next).fetch_one(&t.app.db).await.expect("the next one");
    assert_eq!(next, "quarter_hour");
    t.sim.clear_faults();
    until(Step::Finished).await;
}

#[sqlx::test]
async fn the_command_tells_a_clean_system_from_one_with_breaks_and_from_a_run_that_is_not_finished(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    t.advance(TimeDelta::minutes(3));
    octoco::books::projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let options =
        reconcile::Options { since: TimeDelta::days(2), leg: None, statement: None, source: None, dry_run: false };
    let (text, outcome) = reconcile::run(&t.app, &options).await.expect("a run");
    assert_eq!(outcome, Outcome::Clean, "{text}");
    assert!(text.contains("no breaks") && text.contains("expected=50.00"), "{text}");
    let forget = "update transactions set amount_minor = amount_minor + 1, version = version + 1 where user_id = $1";
    sql(&t, forget, customer.id).await;
    cycle(&t).await;
    let (text, outcome) = reconcile::run(&t.app, &options).await.expect("a run");
    assert_eq!(outcome, Outcome::OpenBreaks, "{text}");
    assert!(text.contains("critical open     amount_ledger: expected ZAR 50.01, is 50.00, transaction "), "{text}");
    begin(&t, RunKind::Daily).await;
    let (text, outcome) = reconcile::run(&t.app, &options).await.expect("an answer");
    assert_eq!(outcome, Outcome::NotFinished, "{text}");
}

/// As where more differs than there is time for: what was seen is not seen once more, or no step would come to the end of it.
#[sqlx::test]
async fn a_leg_with_more_than_a_step_has_time_for_goes_on_where_it_was(db: PgPool) {
    let seen = AtomicUsize::new(0);
    let each_second =
        move |point: &str| point == "reconciliation.seen" && seen.fetch_add(1, Ordering::Relaxed) % 2 == 1;
    let t = TestApp::crashing(db, &[], CrashPoints::planned(each_second)).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000]).await;
    let lines: Vec<String> =
        (1..=5).map(|sum| format!("{},,purchase,paid,ZAR,{sum}00,,2026-03-02T09:00:00Z\n", Uuid::new_v4())).collect();
    uploaded(&t, &finance, "source=revio&unit=minor", file(&paid) + &lines.concat()).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let new = New {
        kind: RunKind::Manual,
        legs: vec![ReconciliationLeg::Provider],
        since: None,
        requested_by: "system".to_owned(),
    };
    let run = reconciliation::start(&t.app, new).await.expect("PostgreSQL answers").expect("no other is under way").id;
    let mut deaths = 0;
    loop {
        match reconciliation::work(&t.app, OTHER_LEGS).await {
            Ok(Step::More) => {}
            Ok(Step::Pause) => t.advance(TimeDelta::seconds(61)),
            Ok(Step::Finished) => break,
            Err(Error::Crashed(_)) if deaths < 9 => {
                deaths += 1;
                t.advance(TimeDelta::seconds(91));
            }
            other => panic!("{other:?} after {deaths} deaths"),
        }
    }
    assert_eq!(states(&t, "provider_only").await.len(), 5);
    assert!(deaths > 1);
    let report = t.get(&finance, &format!("/v1/admin/reconciliation/runs/{run}")).await;
    assert_eq!(report.body["counts"]["differences"], 5, "{}", report.body);
    t.finish().await;
}

/// `octoco reconcile` ends by what the report names.
#[sqlx::test]
async fn what_is_open_is_named_in_a_report_before_all_that_has_ended(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    t.sim.set_override(Override::of(t.purchase_of(deposit.id()), "/payment/amount", json!(5_100)));
    // As one that has cleared as many as are named: what differed before.
    let plant = "create function plant() returns trigger language plpgsql as $$ begin
            insert into breaks (id, fingerprint, type, severity, leg, state, currency, since, observed, first_seen_at, last_seen_at, ended_at,
                                owner, first_run_id, last_run_id)
            select lpad(n::text, 32, '0')::uuid, n, 'copy_line', 'high', 'a', 'cleared', 'ZAR', new.started_at, 'x', new.started_at,
                   new.started_at, new.started_at, 'on_call', new.id, new.id
              from generate_series(1, 5000) n;
            return null;
        end $$;
        create trigger planted after insert on reconciliation_runs for each row execute function plant()";
    sqlx::raw_sql(plant).execute(&t.app.db).await.expect("planted");
    let run = cycle(&t).await;
    assert_one(&t, "amount_provider", "open").await;
    let finance = t.staff(Role::Finance).await;
    let report = t.get(&finance, &format!("/v1/admin/reconciliation/runs/{run}")).await;
    assert_eq!((&report.body["more"], &report.body["breaks"][0]["state"]), (&json!(true), &json!("open")));
}
