//! What happens at the same time as a cancel, and deaths in the middle of it.

use chrono::TimeDelta;
use octoco::money::{deposits, withdrawals};
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use revio_sim::Pay;
use serde_json::json;
use sqlx::PgPool;

use super::{cancel, status_at_revio, told};
use crate::approvals::{ONE, THRESHOLDS, approve, hash, waiting};
use crate::crashes::Crashes;
use crate::harness::{TestApp, stepped};

#[sqlx::test]
async fn an_approval_and_a_cancel_at_once_have_one_winner(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(1_000_000).await, t.staff(Role::Finance).await);
    let mut paid = 0;
    for round in 0..20 {
        let id = waiting(&t, &customer, ONE, &format!("w{round}")).await;
        let seen = hash(&t, &finance, id).await;
        let work = async { (t.step().await, t.step().await) };
        let (approved, cancelled, _) =
            tokio::join!(approve(&t, &finance, id, &seen), cancel(&t, &customer, "withdrawal", id), work);
        assert!(["", "stale_state"].contains(&approved.code()), "{}", approved.body);
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        let state = t.state(id).await;
        match cancelled.status {
            StatusCode::OK | StatusCode::ACCEPTED => assert_eq!(state, "cancelled", "round {round}"),
            _ => assert!(["not_cancellable", "stale_state"].contains(&cancelled.code()), "{}", cancelled.body),
        }
        paid += i64::from(state == "completed");
    }
    assert_eq!(t.sim.totals("ZAR").paid_out, paid * ONE);
    assert_eq!(t.balance(&customer).await.0, 1_000_000 - paid * ONE);
    t.finish().await;
}

/// The worker takes the row on while its customer calls it off, at any of its steps; several workers, several calls.
#[sqlx::test]
async fn a_worker_and_a_cancel_at_once_pay_or_give_back_and_never_both(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(1_000_000).await;
    let (mut paid, mut given_back) = (0, 0);
    for round in 0..30 {
        let id = t.withdraw(&customer, 1_000, &format!("w{round}")).await.id();
        let cancelling = async {
            // Later each time: before the payout is registered, executed, or settled.
            for _ in 0..round % 6 {
                t.get(&customer, "/v1/me").await;
            }
            tokio::join!(cancel(&t, &customer, "withdrawal", id), cancel(&t, &customer, "withdrawal", id))
        };
        let work = async {
            tokio::join!(stepped(withdrawals::claim_due(&t.app, 10)), stepped(withdrawals::claim_due(&t.app, 10)))
        };
        let ((one, two), _) = tokio::join!(cancelling, work);
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        let state = t.state(id).await;
        for answer in [one, two] {
            match answer.status {
                StatusCode::OK | StatusCode::ACCEPTED => assert_eq!(state, "cancelled", "round {round}"),
                _ => assert!(["not_cancellable", "stale_state"].contains(&answer.code()), "{}", answer.body),
            }
        }
        let payouts = t.sim.payouts_by_reference(&id.to_string());
        let successes = payouts.iter().filter(|payout| payout["status"] == "success").count();
        assert_eq!(successes, usize::from(state == "completed"), "round {round}: {state}");
        paid += i64::from(state == "completed");
        given_back += i64::from(state == "cancelled");
    }
    assert_eq!(paid + given_back, 30);
    assert_eq!(t.balance(&customer).await, (1_000_000 - paid * 1_000, 0, 1_000_000 - paid * 1_000));
    t.finish().await;
}

/// The process dies between any two effects of the call, and of the worker that goes on with it.
#[sqlx::test]
async fn a_death_between_any_two_effects_of_a_cancel_ends_in_cancelled(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &THRESHOLDS, crashes.plan()).await;
    let mut cancelled = 0;
    for kind in ["deposit", "withdrawal", "waiting"] {
        for points in 1.. {
            let customer = t.customer_with(100_000).await;
            let key = format!("{kind}{points}");
            let id = match kind {
                "deposit" => t.deposit(&customer, 5_000, &key).await.id(),
                "withdrawal" => t.withdraw(&customer, 5_000, &key).await.id(),
                _ => waiting(&t, &customer, ONE, &key).await,
            };
            let path = if kind == "deposit" { kind } else { "withdrawal" };
            crashes.after(points);
            let answer = cancel(&t, &customer, path, id).await;
            assert!(["", "internal"].contains(&answer.code()), "{}", answer.body);
            // Whoever got no answer asks again; it died before it was said, or it is on its way.
            let again = cancel(&t, &customer, path, id).await;
            assert!(["", "internal"].contains(&again.code()), "{}", again.body);
            for _ in 0..3 {
                t.advance(TimeDelta::minutes(2));
                t.drive().await;
            }
            let over = crashes.is_over();
            assert_eq!(t.state(id).await, "cancelled", "{kind} {points}: {:?}", crashes.died_at());
            assert_eq!(t.balance(&customer).await, (100_000, 0, 100_000));
            cancelled += 1;
            if over {
                break;
            }
        }
    }
    let died = crashes.died_at();
    for point in [
        "deposit.called_off", "deposit.purchase_cancelled", "withdrawal.called_off", "withdrawal.voided",
        "transaction.moved",
    ] {
        assert!(died.contains(point), "nobody died at {point}: {died:?}");
    }
    assert!(cancelled > 12);
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    t.finish().await;
}

/// The handler died before the ledger was asked to reserve, and the customer finds the row in the list.
#[sqlx::test]
async fn a_withdrawal_that_is_not_reserved_yet_is_cancelled_without_leaving_anything_behind(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let customer = t.customer_with(10_000).await;
    for point in ["transaction.inserted", "withdrawal.reserved"] {
        crashes.at(point);
        assert_eq!(t.withdraw(&customer, 4_000, point).await.code(), "internal");
        let listed = t.get(&customer, "/v1/transactions?kind=withdrawal&state=initiated").await;
        let id = listed.body["data"][0]["id"].as_str().and_then(|id| id.parse().ok()).expect("it is listed");
        assert_eq!(told(&cancel(&t, &customer, "withdrawal", id).await), (200, "cancelled"));
        assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        assert_eq!(t.state(id).await, "cancelled");
    }
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    t.finish().await;
}

/// Nobody executes the payout of a cancelled withdrawal; should Revio pay it all the same, the customer has the money twice.
#[sqlx::test]
async fn a_payment_of_a_cancelled_withdrawal_is_taken_from_the_wallet(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    // Registered, and the worker dies before the row says so: nobody here can execute it.
    crashes.at("withdrawal.payout_created");
    t.step().await;
    assert_eq!(told(&cancel(&t, &customer, "withdrawal", withdrawal).await), (200, "cancelled"));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    let execution_url = t.sim.payouts_by_reference(&withdrawal.to_string())[0]["execution_url"].clone();
    let executed =
        t.http.post(execution_url.as_str().expect("a URL")).bearer_auth(revio_sim::TEST_KEY).json(&json!({}));
    assert_eq!(executed.send().await.expect("Revio answers").status(), StatusCode::OK);
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// The worker cancels at Revio what its time is over, as before, and several at once are no trouble.
#[sqlx::test]
async fn a_worker_and_a_cancel_of_a_deposit_at_once_end_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut came = 0;
    for round in 0..10 {
        let id = t.deposit(&customer, 1_000, &format!("d{round}")).await.id();
        t.advance(TimeDelta::seconds(31));
        let pays = async {
            if round % 2 == 0 {
                came += i64::from(t.sim.pay_purchase(t.purchase_of(id), Pay::default()).is_ok());
                t.sim.deliver().await;
            }
        };
        let work = async { tokio::join!(stepped(deposits::claim_due(&t.app, 10)), t.step()) };
        let (answer, (), _) = tokio::join!(cancel(&t, &customer, "deposit", id), pays, work);
        assert!(["", "not_cancellable", "stale_state"].contains(&answer.code()), "{}", answer.body);
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
        let state = t.state(id).await;
        let has_come = status_at_revio(&t, id) == "paid";
        assert!(state == if has_come { "completed" } else { "cancelled" } || answer.code() == "stale_state", "{state}");
    }
    assert_eq!(t.balance(&customer).await, (came * 1_000, 0, came * 1_000));
    t.finish().await;
}
