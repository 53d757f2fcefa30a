//! The summaries behind the views: whatever is changed in them is found and made good, and another time zone makes other days.

use chrono::TimeDelta;
use octoco::books::{projector, slots};
use octoco::platform::advisory_lock::AdvisoryLock;
use sqlx::{AssertSqlSafe, PgPool};

use super::{assert_is_what_the_ledger_says, every_flow, value};
use crate::harness::TestApp;
use crate::overtaken::until_waiting;

async fn run(t: &TestApp, sql: &str) -> u64 {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&t.app.db)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .rows_affected()
}

async fn days(t: &TestApp) -> String {
    value(t, "select string_agg(l::text, ';' order by l::text) from ledger_days l").await
}

async fn slots_now(t: &TestApp) -> String {
    value(
        t,
        "select (select string_agg(s::text, ';' order by s::text) from transaction_slots s)
             || (select string_agg(w::text, ';' order by w::text) from webhook_slots w)",
    )
    .await
}

#[sqlx::test]
async fn a_changed_summary_is_found_and_a_rebuild_makes_it_good(db: PgPool) {
    let t = TestApp::new(db).await;
    every_flow(&t).await;
    assert_is_what_the_ledger_says(&t).await;
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    while slots::step(&t.app).await.expect("counted") {}
    let (whole, counted) = (days(&t).await, slots_now(&t).await);
    for harm in [
        "update ledger_days set amount_minor = amount_minor + 1 where code = 10",
        "update ledger_days set transfers = transfers + 1 where code = 20 and kind = 'post'",
        "update ledger_days set released_minor = 0 where kind = 'void'",
        "delete from ledger_days where kind = 'pending'",
        "insert into ledger_days select currency, day - 3, code, kind, debit_code, credit_code, of_code, 1, 1, 0 from ledger_days where code = 10",
    ] {
        assert!(run(&t, harm).await > 0, "{harm}");
        let report = projector::verify(&t.app).await.expect("compared");
        assert_eq!((report.days.len(), report.differences.len()), (1, 0), "{harm}: {:?}", report.days);
        projector::rebuild(&t.app).await.expect("rebuilt");
        assert_eq!(days(&t).await, whole, "{harm}");
        assert!(run(&t, harm).await > 0, "{harm}");
        projector::add_up_again(&t.app).await.expect("added up");
        assert_eq!(days(&t).await, whole, "{harm}");
    }
    for harm in [
        "update transaction_slots set count = count + 1",
        "delete from webhook_slots",
        "update transaction_slots set slot = slot - interval '9 days'",
    ] {
        assert!(run(&t, harm).await > 0, "{harm}");
        projector::rebuild(&t.app).await.expect("rebuilt");
        assert_eq!(slots_now(&t).await, counted, "{harm}");
    }
    // Also where the table was dropped with all that reads it; what reads it is then as the last migration left it.
    let views =
        "select string_agg(viewname || definition, ';' order by viewname) from pg_views where schemaname = 'reporting'";
    let read = value(&t, views).await;
    run(&t, "drop table ledger_days cascade").await;
    projector::rebuild(&t.app).await.expect("rebuilt");
    assert_eq!((days(&t).await, slots_now(&t).await), (whole, counted));
    assert_eq!(value(&t, views).await, read);
    assert_is_what_the_ledger_says(&t).await;
    t.finish_with_held().await;
}

/// Or it would find nothing to count, and all would stay forgotten.
#[sqlx::test]
async fn to_count_all_slots_anew_waits_for_whoever_counts(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(10_000).await;
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    while slots::step(&t.app).await.expect("counted") {}
    let counted = slots_now(&t).await;
    assert!(counted.contains("deposit"), "{counted}");
    let mut counting = t.app.db.begin().await.expect("PostgreSQL answers");
    let lock = sqlx::query("select pg_advisory_xact_lock($1)").bind(AdvisoryLock::Slots.number());
    lock.execute(&mut *counting).await.expect("nobody else has it");
    let beside = async {
        until_waiting(&t, 1).await;
        assert_eq!(slots_now(&t).await, counted, "nothing is forgotten yet");
        counting.rollback().await.expect("PostgreSQL answers");
    };
    let (again, ()) = tokio::join!(slots::count_again(&t.app), beside);
    again.expect("counted");
    assert_eq!(slots_now(&t).await, counted);
    t.finish().await;
}

#[sqlx::test]
async fn another_time_zone_makes_other_days_but_not_once_a_month_is_closed(db: PgPool) {
    let t = TestApp::new(db).await;
    every_flow(&t).await;
    assert_is_what_the_ledger_says(&t).await;
    let day = "select reporting.day('2026-03-01 22:30+00')";
    assert_eq!(value(&t, day).await, "2026-03-02", "in Johannesburg");
    assert!(!projector::keep_in(&t.app, "Africa/Johannesburg").await.expect("the same"));
    // At any moment it is not the same day in both.
    let mut seen = Vec::new();
    for zone in ["Pacific/Kiritimati", "Pacific/Pago_Pago"] {
        assert!(projector::keep_in(&t.app, zone).await.expect("another"));
        assert_is_what_the_ledger_says(&t).await;
        seen.push(value(&t, "select max(day) from ledger_days").await);
        assert_eq!(projector::verify(&t.app).await.expect("compared").wrong(), 0);
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(value(&t, day).await, "2026-03-01", "in Pago Pago");
    projector::keep_in(&t.app, "Mars/Olympus").await.expect_err("there is none");
    run(
        &t,
        "insert into periods select '2026-01-01', 'closed', 0, 'x', sha256('p'), '{}', sha256('c'), 1, null, a.id, now(), b.id, now()
           from (select id from users order by id limit 1) a, (select id from users order by id desc limit 1) b",
    )
    .await;
    let refused = projector::keep_in(&t.app, "Africa/Johannesburg").await.expect_err("a month is closed");
    assert!(refused.chain().contains("a month is closed"), "{}", refused.chain());
    assert_eq!(value(&t, day).await, "2026-03-01", "nothing has changed");
    t.finish_with_held().await;
}
