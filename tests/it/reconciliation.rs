//! Reconciliation on real parts. A cycle is a run with its two looks; each type of break that the legs inside and at Revio know is injected,
//! found within one, typed, and healed or left open as the table says (`found.rs`).

mod faults;
mod files;
mod inside;
mod people;
mod provider;
mod runs;

use chrono::TimeDelta;
use octoco::books::projector;
use octoco::finance::reconciliation::{self, New, OtherLeg, ReconciliationLeg, Run, RunKind, Step};
use uuid::Uuid;

use crate::harness::TestApp;

/// More steps than any run of a test has.
const STEPS_MAX: usize = 2_000;
pub(super) const OTHERS: &[OtherLeg] = &[];

/// A row is looked at once it was left alone for two minutes.
pub(super) async fn cycle(t: &TestApp) -> Uuid {
    cycle_of(t, RunKind::QuarterHour).await
}

pub(super) async fn cycle_of(t: &TestApp, kind: RunKind) -> Uuid {
    t.advance(TimeDelta::minutes(3));
    let run = begin(t, kind).await;
    go_on(t).await;
    run.id
}

pub(super) async fn begin(t: &TestApp, kind: RunKind) -> Run {
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let legs = vec![ReconciliationLeg::Inside, ReconciliationLeg::Provider];
    let new = New { kind, legs, since: None, requested_by: "system".to_owned() };
    reconciliation::start(&t.app, new).await.expect("PostgreSQL answers").expect("no other run is under way")
}

/// Until the run is finished; the time between two looks passes by itself.
pub(super) async fn go_on(t: &TestApp) {
    for _ in 0..STEPS_MAX {
        match reconciliation::work(&t.app, OTHERS).await.expect("a step") {
            Step::More => {}
            Step::Pause => t.advance(TimeDelta::seconds(61)),
            Step::Finished => return,
            Step::Idle | Step::Failed => panic!("the run did not go on"),
        }
    }
    panic!("not finished after {STEPS_MAX} steps");
}

/// Every break: type, state, and the row that it is about.
pub(super) async fn breaks(t: &TestApp) -> Vec<(String, String, Option<Uuid>)> {
    sqlx::query_as("select type, state, transaction_id from breaks order by type, id")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

/// The states of the breaks of a type.
pub(super) async fn states(t: &TestApp, kind: &str) -> Vec<String> {
    sqlx::query_scalar("select state from breaks where type = $1 order by id")
        .bind(kind)
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

/// That there is one break of the type, and how it stands.
pub(super) async fn assert_one(t: &TestApp, kind: &str, state: &str) {
    let all = breaks(t).await;
    assert_eq!(states(t, kind).await, [state], "{kind}, of {all:?}");
}

/// None that people would have to look at.
pub(super) async fn assert_none_open(t: &TestApp) {
    let all = breaks(t).await;
    assert!(all.iter().all(|(_, state, _)| state != "open" && state != "healing"), "{all:?}");
}

pub(super) async fn sql(t: &TestApp, statement: &'static str, id: Uuid) {
    let done = sqlx::query(statement).bind(id).execute(&t.app.db).await.expect("the statement is right");
    assert_eq!(done.rows_affected(), 1, "{statement}");
}
