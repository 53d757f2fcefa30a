//! A part that does not answer is no row's fault: nothing is given up, however long it lasts, and everything goes on by itself
//! when it is over.

use std::time::Duration;

use chrono::TimeDelta;
use octoco::platform::crash::{CrashPoints, Fate};
use octoco::processes::worker;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Pay, Scope};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connections::pause;
use crate::harness::{PATIENCE, TestApp};
use crate::health::ready;

/// Each way in which Revio can be away, or keep us out.
fn outages() -> Vec<FaultKind> {
    let answers = [200, 302, 400, 401, 403, 404, 408, 409, 410, 500, 503].map(|status| FaultKind::Answer { status });
    let lines = [200, 400, 404].map(|status| FaultKind::Text { status });
    let nothing = [400, 404, 409, 422].map(|status| FaultKind::Empty { status });
    let others = [
        FaultKind::BadGateway(Moment::Before),
        FaultKind::RateLimited { retry_after_secs: 20 },
        FaultKind::Reset(Moment::Before),
    ];
    answers.into_iter().chain(lines).chain(nothing).chain(others).collect()
}

#[sqlx::test]
async fn whatever_keeps_revio_away_for_hours_holds_nothing_and_needs_nobody(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(1_000_000).await;
    for (number, outage) in outages().into_iter().enumerate() {
        let deposit = t.deposit(&customer, 5_000, &format!("d{number}")).await;
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await;
        t.sim.set_fault(Fault::chance(1.0, Scope::AnyCall, outage.clone()));
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
        for _ in 0..45 {
            t.drive().await;
            t.advance(TimeDelta::minutes(8));
        }
        let given_up: i64 = sqlx::query_scalar(
            "select (select count(*) from transactions where held_reason is not null)
                  + (select count(*) from webhook_logs where state = 'dead')",
        )
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
        assert_eq!(given_up, 0, "after six hours of {outage:?}");
        assert_eq!(
            (t.state(withdrawal.id()).await.as_str(), t.state(deposit.id()).await.as_str()),
            ("reserved", "awaiting_payment")
        );
        // Tried in vain this very moment.
        t.drive().await;
        t.sim.clear_faults();
        for _ in 0..6 {
            t.advance(TimeDelta::seconds(10));
            t.drive().await;
        }
        assert_eq!(t.state(deposit.id()).await, "completed", "after {outage:?}");
        assert_eq!(t.state(withdrawal.id()).await, "completed", "after {outage:?}");
    }
    t.finish().await;
}

async fn run(t: &TestApp, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&t.app.db).await.expect("PostgreSQL does it");
}

async fn given_up(t: &TestApp) -> i64 {
    sqlx::query_scalar(
        "select (select count(*) from transactions where held_reason is not null or attempts > 0)
              + (select count(*) from webhook_logs where state = 'dead' or attempts > 0)",
    )
    .fetch_one(&t.app.db)
    .await
    .expect("PostgreSQL answers")
}

/// As where a migration has failed, or another release's backup was restored: a table, a column, a function is not there.
#[sqlx::test]
async fn steps_that_name_what_the_schema_has_not_use_up_no_try_and_go_on_by_themselves(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for (key, (away, back)) in ["table", "column", "function"].into_iter().zip([
        ("alter table provider_objects rename to away", "alter table away rename to provider_objects"),
        (
            "alter table provider_objects rename column refusals to away",
            "alter table provider_objects rename column away to refusals",
        ),
        ("alter function wanted_notices rename to away", "alter function away rename to wanted_notices"),
    ]) {
        let deposit = t.deposit(&customer, 5_000, key).await;
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
        t.sim.deliver().await;
        run(&t, away).await;
        for _ in 0..30 {
            t.step().await;
            t.advance(TimeDelta::minutes(1));
        }
        assert_eq!(given_up(&t).await, 0, "half an hour after {away}");
        assert_eq!(t.state(deposit.id()).await, "awaiting_payment", "{away}");
        run(&t, back).await;
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.state(deposit.id()).await, "completed", "{back}");
    }
    assert_eq!(t.balance(&customer).await, (15_000, 0, 15_000));
    t.finish().await;
}

#[sqlx::test]
async fn while_the_schema_is_older_than_the_release_workers_begin_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    t.sim.deliver().await;
    let newest = "(select max(version) from _sqlx_migrations)";
    run(&t, &format!("update _sqlx_migrations set success = false where version = {newest}")).await;
    t.app.footing.look(&t.app.db).await.expect("PostgreSQL answers");
    assert!(t.app.metrics.render().contains("octoco_schema_current 0"));
    let stop = CancellationToken::new();
    let mut tasks = worker::start(&t.app, &stop);
    let completed = async || {
        while t.state(deposit.id()).await != "completed" {
            pause(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(Duration::from_secs(2), completed()).await.is_err(), "nothing is claimed");
    let ready = t.send(Method::GET, "/readyz", None, &[], None).await;
    assert_eq!(
        (ready.status, ready.body["postgres"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("not_migrated"))
    );
    run(&t, &format!("update _sqlx_migrations set success = true where version = {newest}")).await;
    t.app.footing.look(&t.app.db).await.expect("PostgreSQL answers");
    timeout(PATIENCE, completed()).await.expect("it goes on by itself");
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn while_postgresqls_disk_is_full_nothing_is_written_though_it_answers(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let full = "create function is_full() returns trigger language plpgsql as
                    $$ begin raise 'could not extend file: No space left on device' using errcode = 'disk_full'; end $$;
                create trigger is_full before insert or update on transactions execute function is_full()";
    run(&t, full).await;
    let refused = t.deposit(&customer, 5_000, "k1").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{}", refused.body);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    let told = ready(&t).await.body;
    assert_eq!((told["status"].as_str(), told["postgres"].as_str()), (Some("ready"), Some("ok")), "{told}");
    run(&t, "drop function is_full() cascade").await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.pay(&deposit).await;
    assert_eq!(t.balance(&customer).await, (15_000, 0, 15_000));
    t.finish().await;
}

/// One webhook that panics each time it is acted on becomes a dead letter; everything else goes on.
#[sqlx::test]
async fn an_event_that_panics_is_given_up_and_the_others_go_on(db: PgPool) {
    let panics = CrashPoints::planned(|point| if point == "inbox.acted" { Fate::Panics } else { Fate::GoesOn });
    let t = TestApp::crashing(db, &[], panics).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "k1").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    for minutes in [0, 1, 5, 15, 0] {
        t.advance(TimeDelta::minutes(minutes));
        t.drive().await;
    }
    let dead: Vec<(String, i32)> = sqlx::query_as(
        "select last_error, attempts from webhook_logs where state = 'dead' and event_type = 'purchase.paid'",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0].0.contains("a step panicked") && dead[0].1 == 5, "{dead:?}");
    assert_eq!(t.state(deposit.id()).await, "completed", "the row was credited before each panic, once");
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    t.finish_with_held().await;
}
