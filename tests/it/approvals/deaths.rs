//! The process dies between any two effects of a decision.

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use sqlx::PgPool;

use super::{ONE, THRESHOLDS, TWO, approve, decline, hash, waiting};
use crate::crashes::Crashes;
use crate::harness::TestApp;

#[sqlx::test]
async fn a_death_between_any_two_effects_of_an_approval_pays_once(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &THRESHOLDS, crashes.plan()).await;
    let customer = t.customer_with(1_000_000).await;
    let (finance, admin) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let mut withdrawals = 0_u64;
    for points in 1.. {
        let id = waiting(&t, &customer, TWO / 10, &format!("w{points}")).await;
        withdrawals += 1;
        let seen = hash(&t, &finance, id).await;
        crashes.after(points);
        for staff in [&finance, &admin] {
            // After a death a person looks again, and so may another.
            let answer = approve(&t, staff, id, &seen).await;
            assert!(["", "internal", "stale_state"].contains(&answer.code()), "{}", answer.body);
            for _ in 0..3 {
                t.drive().await;
                t.advance(TimeDelta::minutes(2));
            }
        }
        assert_eq!(t.state(id).await, "completed", "{points}: {:?}", crashes.died_at());
        assert_eq!(t.sim.totals("ZAR").paid_out_count, withdrawals);
        if crashes.is_over() {
            break;
        }
    }
    let died = crashes.died_at();
    for point in
        ["withdrawal.approved", "withdrawal.payout_created", "withdrawal.before_execution", "withdrawal.executed"]
    {
        assert!(died.contains(point), "nobody died at {point}: {died:?}");
    }
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_death_between_any_two_effects_of_a_refusal_gives_the_money_back_once(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &THRESHOLDS, crashes.plan()).await;
    for in_time in [true, false] {
        for points in 1.. {
            // The sessions of a week ago have ended.
            let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
            let id = waiting(&t, &customer, ONE, &format!("w{in_time}{points}")).await;
            let seen = hash(&t, &finance, id).await;
            crashes.after(points);
            if in_time {
                decline(&t, &finance, id, &seen).await;
            } else {
                t.advance(TimeDelta::days(7));
            }
            for _ in 0..3 {
                t.drive().await;
                t.advance(TimeDelta::minutes(2));
            }
            let over = crashes.is_over();
            assert_eq!(t.state(id).await, "failed", "{points}: {:?}", crashes.died_at());
            assert_eq!(t.balance(&customer).await, (100_000, 0, 100_000));
            assert_eq!(approve(&t, &t.staff(Role::Finance).await, id, &seen).await.code(), "stale_state");
            if over {
                break;
            }
        }
    }
    let died = crashes.died_at();
    for point in ["withdrawal.declined", "withdrawal.voided", "transaction.before_move", "transaction.moved"] {
        assert!(died.contains(point), "nobody died at {point}: {died:?}");
    }
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    t.drive().await;
    t.finish().await;
}

/// The row is refused before the ledger gives the money back, so an approval that comes between is too late.
#[sqlx::test]
async fn an_approval_cannot_overtake_a_refusal_that_has_begun(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &THRESHOLDS, crashes.plan()).await;
    let (customer, finance) = (t.customer_with(100_000).await, t.staff(Role::Finance).await);
    let id = waiting(&t, &customer, ONE, "w1").await;
    let seen = hash(&t, &finance, id).await;
    crashes.at("withdrawal.declined");
    assert_eq!(decline(&t, &finance, id, &seen).await.code(), "internal", "it dies there");
    assert_eq!(t.state(id).await, "awaiting_approval");
    assert_eq!(t.balance(&customer).await, (100_000, ONE, 94_000), "not given back yet");
    assert_eq!(approve(&t, &finance, id, &seen).await.code(), "stale_state");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!((t.state(id).await.as_str(), t.balance(&customer).await), ("failed", (100_000, 0, 100_000)));
    t.finish().await;
}
