//! The summaries behind the views: whatever is changed in them is found and made good, and another time zone makes other days.

use chrono::TimeDelta;
use octoco::books::{projector, slots};
use octoco::platform::advisory_lock::AdvisoryLock;
use revio_sim::{Pay, Settings};
use sqlx::{AssertSqlSafe, PgPool};

use super::{assert_is_what_the_ledger_says, every_flow, value};
use crate::harness::TestApp;
use crate::overtaken::until_waiting;
use crate::payouts::wait;

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

/// A deposit that expired and was paid days later, and a refund that failed days later: what was counted when they ended first is not true any more.
#[sqlx::test]
async fn an_end_counts_while_the_row_is_in_it_and_a_rebuild_counts_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let customer = t.customer().await;
    let late = t.purchase_of(t.deposit(&customer, 5_000, "late").await.id());
    let deposit = t.deposit(&customer, 3_000, "refunded").await;
    t.pay(&deposit).await;
    t.sim.refund_purchase(t.purchase_of(deposit.id()), Some(1_000)).expect("refundable");
    wait(&t, 100).await;
    let ends = async || {
        while slots::step(&t.app).await.expect("counted") {}
        let each = "select concat_ws(' ', kind, state, nullif(reason, ''), sum(count)) as said from reporting.activity
                     where state in ('completed', 'failed', 'expired', 'cancelled', 'rejected') group by kind, state, reason";
        value(&t, &format!("select string_agg(said, ', ' order by said) from ({each}) each")).await
    };
    assert_eq!(ends().await, "deposit completed 1, deposit expired expired 1, refund completed 1");
    t.advance(TimeDelta::days(3));
    t.drive().await;
    assert_eq!(ends().await, "deposit completed 1, deposit expired expired 1, refund completed 1");
    t.sim.pay_purchase(late, Pay { force: true, ..Pay::default() }).expect("a late payment");
    let refund = t.sim.payments_of(t.purchase_of(deposit.id()))[0]["id"].as_str().and_then(|id| id.parse().ok());
    t.sim.fail_payment(refund.expect("an id")).expect("it was announced");
    for _ in 0..14 {
        wait(&t, 5).await;
        ends().await;
    }
    assert_eq!(ends().await, "deposit completed 2, refund failed provider_undid 1");
    let counted = slots_now(&t).await;
    slots::count_again(&t.app).await.expect("counted");
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
