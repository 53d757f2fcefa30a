//! An approval does not outlive what made it count: who gave it, and who asked, are looked at again when money is to move.

use chrono::TimeDelta;
use octoco::money::withdrawals;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::season;
use crate::adjustments::{self, correction, proposed};
use crate::approvals::{approve_as_shown, waiting};
use crate::crashes::Crashes;
use crate::harness::{Customer, TestApp, stepped};
use crate::overtaken::until_waiting;
use crate::restrictions::act_alone;

const THRESHOLDS: [(&str, &str); 1] = [("APPROVAL_THRESHOLDS", "ZAR:5000:50000")];

/// What may happen to somebody between an approval and what it is for.
const WAYS: [&str; 4] = ["lost the role", "is frozen", "lost it and has it again", "is the customer"];

async fn happens(t: &TestApp, way: &str, person: &Customer, customer: Uuid, row: Uuid) {
    match way {
        "lost the role" => t.give_role(person.id, Role::Support).await,
        "is frozen" => {
            let frozen = act_alone(t, &t.staff(Role::Finance).await, person, "freeze").await;
            assert_eq!(frozen.status, StatusCode::OK);
        }
        "lost it and has it again" => {
            t.give_role(person.id, Role::User).await;
            t.give_role(person.id, Role::Finance).await;
        }
        // Past the service: an approval in the name of whoever it is for.
        _ => {
            t.give_role(customer, Role::Finance).await;
            season(t, customer).await;
            sqlx::query("update approvals set approver_id = $1 where transaction_id = $2 and approver_id = $3")
                .bind(customer)
                .bind(row)
                .bind(person.id)
                .execute(&t.app.db)
                .await
                .expect("PostgreSQL answers");
        }
    }
}

#[sqlx::test]
async fn an_approval_does_not_outlive_its_giver(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    for way in WAYS {
        for (amount, people) in [(6_000, 1), (60_000, 2)] {
            let customer = t.customer_with(100_000).await;
            let id = waiting(&t, &customer, amount, "w").await;
            let mut givers = Vec::new();
            for _ in 0..people {
                let giver = t.staff(Role::Finance).await;
                approve_as_shown(&t, &giver, id).await;
                givers.push(giver);
            }
            assert_eq!(t.state(id).await, "reserved");
            happens(&t, way, &givers[0], customer.id, id).await;
            let paid = t.sim.totals("ZAR").paid_out_count;
            t.drive().await;
            assert_eq!(t.state(id).await, "awaiting_approval", "one of {people} {way}");
            assert_eq!(t.sim.totals("ZAR").paid_out_count, paid);
            if way == "is the customer" {
                t.give_role(customer.id, Role::User).await;
            }
            for _ in 0..people {
                approve_as_shown(&t, &t.staff(Role::Finance).await, id).await;
            }
            t.drive().await;
            assert_eq!(t.state(id).await, "completed", "approved anew");
        }
    }
    t.finish().await;
}

/// The role is taken away, and not yet committed, while the payout is to begin.
#[sqlx::test]
async fn no_payout_begins_while_an_approver_loses_the_role(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, 6_000, "w").await;
    approve_as_shown(&t, &finance, id).await;
    let mut taking = t.app.db.begin().await.expect("a transaction");
    sqlx::query("update users set role = 'support' where id = $1")
        .bind(finance.id)
        .execute(&mut *taking)
        .await
        .expect("PostgreSQL answers");
    let committed = async {
        until_waiting(&t, 1).await;
        taking.commit().await.expect("committed");
    };
    let (stepped, ()) = tokio::join!(stepped(withdrawals::claim_due(&t.app, 10)), committed);
    stepped.expect("claimed");
    assert_eq!((t.state(id).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("awaiting_approval", 0));
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_is_not_executed_again_for_somebody_who_lost_the_role(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, 6_000, "w").await;
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Refused));
    approve_as_shown(&t, &finance, id).await;
    t.drive().await;
    assert_eq!(t.state(id).await, "submitting");
    t.give_role(finance.id, Role::Support).await;
    t.advance(TimeDelta::seconds(61));
    t.drive().await;
    assert!(t.held_reason(id).await.is_some_and(|reason| reason.contains("approved")));
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_correction_is_not_booked_when_its_maker_may_not_any_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for way in &WAYS[..3] {
        let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
        let adjustment = proposed(&t, &maker, correction(&customer, "credit", 2_500), &way.replace(' ', "-")).await;
        t.advance(TimeDelta::seconds(1));
        happens(&t, way, &maker, customer.id, adjustment.id()).await;
        let ended = adjustments::approve(&t, &checker, adjustment.id(), adjustments::hash(&adjustment)).await;
        assert_eq!((ended.status, &ended.body["state"]), (StatusCode::OK, &json!("cancelled")), "{way}");
        assert_eq!(ended.body["failure_reason"], "maker_not_entitled");
    }
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_correction_is_held_when_its_checker_may_not_any_more_and_booked_once_it_had_begun(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let customer = t.customer_with(10_000).await;
    for way in &WAYS[..3] {
        for (point, state) in [("adjustment.approved", "initiated"), ("adjustment.booked", "completed")] {
            let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
            let key = format!("{way}-{point}").replace(' ', "-");
            let adjustment = proposed(&t, &maker, correction(&customer, "credit", 100), &key).await;
            crashes.at(point);
            let died = adjustments::approve(&t, &checker, adjustment.id(), adjustments::hash(&adjustment)).await;
            assert_eq!(died.code(), "internal", "it dies there");
            t.advance(TimeDelta::seconds(1));
            happens(&t, way, &checker, customer.id, adjustment.id()).await;
            t.advance(TimeDelta::minutes(2));
            t.drive().await;
            assert_eq!(t.state(adjustment.id()).await, state, "{way} after {point}");
            let held = t.held_reason(adjustment.id()).await;
            assert_eq!(held.is_some(), state == "initiated", "{held:?}");
        }
    }
    // In the new role for long enough by then, and what was approved in the old one is not approved.
    t.advance(TimeDelta::days(2));
    let finance = t.staff(Role::Finance).await;
    let held: Vec<Uuid> = sqlx::query_scalar("select id from transactions where held_code is not null")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(held.len(), 3);
    for id in held {
        let again = json!({"action": "retry", "note": "the role is back"});
        let path = format!("/v1/admin/held/{id}/resolve");
        assert_eq!(
            t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(again)).await.status,
            StatusCode::OK
        );
    }
    t.drive().await;
    assert_eq!(t.balance(&customer).await.0, 10_300, "booked where the ledger had been asked, once");
    t.finish_with_held().await;
}
