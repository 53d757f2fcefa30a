//! Parts that are away while a run looks.

use chrono::TimeDelta;
use octoco::finance::reconciliation::{self, RunKind, Step};
use revio_sim::{Fault, FaultKind, Pay, Scope};
use sqlx::PgPool;

use super::{OTHERS, assert_one, begin, breaks, go_on};
use crate::harness::TestApp;

/// What Revio does not say is no break, and the run goes on where it was.
#[sqlx::test]
async fn while_revio_does_not_answer_a_run_waits_and_finds_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("it can be paid");
    t.advance(TimeDelta::minutes(3));
    t.sim.set_fault(Fault::chance(1.0, Scope::AnyCall, FaultKind::Answer { status: 503 }));
    begin(&t, RunKind::QuarterHour).await;
    for _ in 0..40 {
        let step = reconciliation::work(&t.app, OTHERS).await.expect("a step");
        assert!(matches!(step, Step::More | Step::Pause), "{step:?}");
        t.advance(TimeDelta::seconds(1));
    }
    assert_eq!(breaks(&t).await, []);
    t.sim.clear_faults();
    t.advance(TimeDelta::seconds(60));
    go_on(&t).await;
    assert_one(&t, "paid_at_provider", "healed").await;
}

/// Revio fails for one kind of object and answers for the rest: that is looked at in another run.
#[sqlx::test]
async fn what_revio_cannot_answer_for_keeps_no_run_from_its_end(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("it can be paid");
    t.advance(TimeDelta::minutes(3));
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPurchase, FaultKind::Answer { status: 503 }));
    let run = begin(&t, RunKind::QuarterHour).await.id;
    go_on(&t).await;
    let counts = reconciliation::runs::find(&t.app, run).await.expect("the run").counts;
    assert_eq!(counts["passed_over"], 1, "{counts}");
    t.sim.clear_faults();
    begin(&t, RunKind::QuarterHour).await;
    go_on(&t).await;
    assert_one(&t, "paid_at_provider", "healed").await;
}

/// Nobody has seen `/balance/` of the real Revio: without it the rest is looked at all the same.
#[sqlx::test]
async fn a_run_ends_also_where_revio_serves_no_balance(db: PgPool) {
    let t = TestApp::new(db).await;
    for status in [404, 405, 401, 200] {
        t.sim.set_fault(Fault::chance(1.0, Scope::OtherCall, FaultKind::Answer { status }));
        let run = begin(&t, RunKind::QuarterHour).await.id;
        go_on(&t).await;
        let counts = reconciliation::runs::find(&t.app, run).await.expect("the run").counts;
        assert_eq!(counts["balance_untold"], 1, "{status}: {counts}");
        t.sim.clear_faults();
    }
    assert_eq!(breaks(&t).await, []);
}
