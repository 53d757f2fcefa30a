//! Withdrawals: from the request to Revio's final word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use octoco::platform::crash::CrashPoints;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Answer, TestApp};
use crate::payouts;

fn accepted(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
}

#[sqlx::test]
async fn a_withdrawal_is_reserved_at_once_and_paid_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let withdrawal = t.withdraw(&customer, 30_000, "w1").await;
    accepted(&withdrawal);
    assert_eq!((&withdrawal.body["kind"], &withdrawal.body["state"]), (&json!("withdrawal"), &json!("reserved")));
    assert_eq!(t.balance(&customer).await, (100_000, 30_000, 70_000));
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (70_000, 0, 70_000));
    let totals = t.sim.totals("ZAR");
    assert_eq!((totals.paid_out, totals.paid_out_count), (30_000, 1));
    t.finish().await;
}

#[sqlx::test]
async fn what_is_not_there_cannot_be_withdrawn(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let refused = t.withdraw(&customer, 10_001, "w1").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "insufficient_funds"));
    assert!(!refused.replayed());
    let again = t.withdraw(&customer, 10_001, "w1").await;
    assert_eq!((again.status, again.code()), (refused.status, refused.code()), "a repeat is refused as it was");
    assert!(again.replayed());
    assert_eq!(again.body["transaction_id"], refused.body["transaction_id"]);
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    let poor = t.customer().await;
    assert_eq!(t.withdraw(&poor, 1, "w1").await.code(), "insufficient_funds", "a wallet that was never opened");
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn two_withdrawals_racing_for_one_balance_have_one_winner(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let calls = (0..20).map(|index| {
        let (t, customer) = (&t, &customer);
        async move { t.withdraw(customer, 6_000, &format!("w{index}")).await }
    });
    let answers = futures_util::future::join_all(calls).await;
    let won = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    let lost = answers.iter().filter(|answer| answer.code() == "insufficient_funds").count();
    assert_eq!((won, lost), (1, 19));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (4_000, 0, 4_000));
    assert_eq!(t.sim.totals("ZAR").paid_out, 6_000);
    t.finish().await;
}

#[sqlx::test]
async fn two_hundred_calls_with_one_key_make_one_withdrawal(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(1_000_000).await;
    let calls = (0..200).map(|_| t.withdraw(&customer, 5_000, "w1"));
    let answers = futures_util::future::join_all(calls).await;
    let first = answers[0].id();
    assert!(answers.iter().all(|answer| answer.status == StatusCode::ACCEPTED && answer.id() == first));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed()).count(), 1);
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (995_000, 0, 995_000));
    let totals = t.sim.totals("ZAR");
    assert_eq!((totals.paid_out, totals.paid_out_count), (5_000, 1));
    t.finish().await;
}

#[sqlx::test]
async fn a_key_belongs_to_one_request(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    accepted(&t.withdraw(&customer, 1_000, "w1").await);
    assert_eq!(t.withdraw(&customer, 2_000, "w1").await.code(), "idempotency_key_reused");
    assert_eq!(t.deposit(&customer, 1_000, "w1").await.code(), "idempotency_key_reused", "also of another kind");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_refused_payout_gives_the_money_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "do_not_honour".to_owned() });
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "failed");
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    let shown = t.get(&customer, &format!("/v1/transactions/{}", withdrawal.id())).await;
    assert!(shown.body["failure_reason"].is_string());
    t.finish().await;
}

#[sqlx::test]
async fn a_pending_payout_keeps_the_money_reserved_for_days(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    for _ in 0..20 {
        t.drive().await;
        t.advance(TimeDelta::hours(6));
    }
    assert_eq!(t.state(withdrawal.id()).await, "submitted");
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    t.sim.settle_payout(t.payout_of(withdrawal.id()), PayoutOutcome::Success).expect("pending");
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_pending_payout_that_fails_in_the_end_gives_the_money_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    let outcome = PayoutOutcome::Error { code: "issuer_not_available".to_owned() };
    t.sim.settle_payout(t.payout_of(withdrawal.id()), outcome).expect("pending");
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "failed");
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

/// The answer to the call that moves the money is lost: it is looked up, not repeated.
#[sqlx::test]
async fn a_lost_answer_to_the_execution_pays_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::After)));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.sim.executions(t.payout_of(withdrawal.id())), Some((1, 0)), "executed once, refused never");
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

/// The call that moves the money never arrived: after it cannot be on its way any more, it is made again.
#[sqlx::test]
async fn an_execution_that_never_arrived_is_made_again_for_the_same_payout(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "submitting");
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "still reserved");
    t.advance(TimeDelta::seconds(59));
    t.drive().await;
    assert_eq!(t.sim.executions(t.payout_of(withdrawal.id())), Some((0, 0)), "it could still be on its way");
    t.advance(TimeDelta::seconds(2));
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.sim.executions(t.payout_of(withdrawal.id())), Some((1, 0)));
    t.finish().await;
}

#[sqlx::test]
async fn a_lost_answer_to_the_registration_pays_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePayout, FaultKind::Reset(Moment::After)));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn somebody_elses_bank_account_is_not_there(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let other = t.customer().await;
    let body = json!({"amount": 1_000, "currency": "ZAR", "bank_account_id": other.bank_account_id});
    let headers = [("Idempotency-Key", "w1")];
    let answer = t.send(Method::POST, "/v1/withdrawals", Some(&customer.token), &headers, Some(body)).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "not_found"));
    let path = format!("/v1/bank-accounts/{}", other.bank_account_id);
    let deleted = t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await;
    assert_eq!(deleted.status, StatusCode::NOT_FOUND);
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_withdrawal_outlives_its_bank_account(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 1_000, "w1").await;
    let path = format!("/v1/bank-accounts/{}", customer.bank_account_id);
    assert_eq!(t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await.status, StatusCode::NO_CONTENT);
    let again = t.withdraw(&customer, 1_000, "w1").await;
    assert_eq!((again.id(), again.replayed()), (withdrawal.id(), true));
    assert_eq!(t.withdraw(&customer, 1_000, "w2").await.status, StatusCode::NOT_FOUND);
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn a_payment_after_we_gave_the_money_back_is_taken_from_the_wallet(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "timeout".to_owned() });
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    t.sim.settle_payout(t.payout_of(withdrawal.id()), PayoutOutcome::Success).expect("it can be executed again");
    t.drive().await;
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    assert_eq!(t.owed(customer.id).await, 0);
    t.finish().await;
}

#[sqlx::test]
async fn a_payment_after_we_gave_the_money_back_and_it_was_spent_is_owed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "timeout".to_owned() });
    let withdrawal = t.withdraw(&customer, 9_000, "w1").await;
    t.drive().await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.withdraw(&customer, 8_000, "w2").await;
    t.drive().await;
    // Its webhook is lost too: a later look finds it.
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.settle_payout(t.payout_of(withdrawal.id()), PayoutOutcome::Success).expect("it can be executed again");
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "failed");
    t.advance(TimeDelta::hours(1));
    t.drive().await;
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.balance(&customer).await), ("completed", (0, 0, 0)));
    assert_eq!(t.owed(customer.id).await, 7_000);
    t.finish().await;
}

#[sqlx::test]
async fn an_error_after_a_payment_is_held_and_never_credited_by_itself(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    let outcome = PayoutOutcome::Error { code: "issuer_not_available".to_owned() };
    t.sim.settle_payout(t.payout_of(withdrawal.id()), outcome).expect("a bank's return");
    t.drive().await;
    assert!(t.held_reason(withdrawal.id()).await.is_some());
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish_with_held().await;
}

#[sqlx::test]
async fn too_little_money_at_revio_gives_the_customer_the_money_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_balance("ZAR", Some(100));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    t.finish().await;
}

#[sqlx::test]
async fn both_words_for_a_paid_payout_are_understood(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for (index, word) in
        [revio_sim::DoneWord::Executed, revio_sim::DoneWord::ExecutedEverywhere].into_iter().enumerate()
    {
        t.sim.set_done_word(word);
        let withdrawal = t.withdraw(&customer, 1_000, &format!("w{index}")).await;
        t.drive().await;
        assert_eq!(t.state(withdrawal.id()).await, "completed");
    }
    t.finish().await;
}

/// Revio took the call, lost the answer, and pays only minutes later: nothing may be repeated meanwhile.
#[sqlx::test]
async fn an_execution_that_takes_effect_late_pays_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for (index, secs) in [20_u32, 50].into_iter().enumerate() {
        t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::LateExecution { secs }));
        let withdrawal = t.withdraw(&customer, 1_000, &format!("w{index}")).await;
        for _ in 0..12 {
            t.drive().await;
            t.advance(TimeDelta::seconds(10));
        }
        t.drive().await;
        assert_eq!(t.state(withdrawal.id()).await, "completed");
        assert_eq!(t.sim.payouts_by_reference(&withdrawal.id().to_string()).len(), 1);
    }
    let totals = t.sim.totals("ZAR");
    assert_eq!((totals.paid_out, totals.paid_out_count), (2_000, 2));
    t.finish().await;
}

/// Whatever happens to the three calls of a payout, before or after their effect: Revio's last word, ours and the number of
/// payouts that Revio made agree.
#[sqlx::test]
async fn every_fault_of_every_call_of_a_payout_pays_once(db: PgPool) {
    let t = TestApp::with(db, &[("REVIO_CALL_SECS", "1"), ("REVIO_EXECUTE_SECS", "1")]).await;
    let customer = t.customer_with(1_000_000).await;
    let mut paid = 0;
    for scope in [Scope::CreatePayout, Scope::ExecutePayout, Scope::GetPayout] {
        for moment in [Moment::Before, Moment::After] {
            for kind in [
                FaultKind::BadGateway(moment),
                FaultKind::ServerError(moment),
                FaultKind::Reset(moment),
                FaultKind::Hang { secs: 2, moment },
                FaultKind::RateLimited { retry_after_secs: 1 },
                FaultKind::Slow { millis: 50 },
            ] {
                let told = format!("{kind:?} of {scope:?}");
                // A look-up is only made when the execution left a question.
                if scope == Scope::GetPayout {
                    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::After)));
                }
                t.sim.set_fault(Fault::next(1, scope, kind));
                let withdrawal = t.withdraw(&customer, 1_000, &format!("{told} {moment:?}").replace(' ', "-")).await;
                accepted(&withdrawal);
                for _ in 0..8 {
                    t.drive().await;
                    t.advance(TimeDelta::seconds(31));
                }
                paid += 1;
                assert_eq!(t.state(withdrawal.id()).await, "completed", "{told} {moment:?}");
                let payouts = t.sim.payouts_by_reference(&withdrawal.id().to_string());
                let successes = payouts.iter().filter(|payout| payout["status"] == "success").count();
                assert_eq!(successes, 1, "{told} {moment:?}");
                t.sim.clear_faults();
            }
        }
    }
    let totals = t.sim.totals("ZAR");
    assert_eq!(
        (totals.paid_out_count, totals.paid_out, totals.executions_refused),
        (paid, 1_000 * i64::try_from(paid).expect("few"), 0)
    );
    t.finish().await;
}

#[sqlx::test]
async fn a_refusal_is_understood_in_every_shape_of_an_error(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "do_not_honour".to_owned() });
    for (index, shape) in [revio_sim::ErrorShape::Array, revio_sim::ErrorShape::Object, revio_sim::ErrorShape::Flat]
        .into_iter()
        .enumerate()
    {
        t.sim.set_error_shape(shape);
        let withdrawal = t.withdraw(&customer, 1_000, &format!("w{index}")).await;
        t.drive().await;
        assert_eq!(t.state(withdrawal.id()).await, "failed");
    }
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_clock_of_revios_that_goes_wrong_changes_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for (index, skew) in [-600, 600].into_iter().enumerate() {
        t.sim.set_clock_skew(skew);
        let withdrawal = t.withdraw(&customer, 1_000, &format!("w{index}")).await;
        t.drive().await;
        assert_eq!(t.state(withdrawal.id()).await, "completed", "{skew} s");
        let deposit = t.deposit(&customer, 1_000, &format!("d{index}")).await;
        t.pay(&deposit).await;
    }
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

/// Found by a storm: the worker dies after it gave the money back and before the row says so, and Revio pays after all.
#[sqlx::test]
async fn a_payment_while_we_give_the_money_back_is_taken_from_the_wallet(db: PgPool) {
    let armed = Arc::new(AtomicBool::new(true));
    let plan = armed.clone();
    let crash = CrashPoints::planned(move |point| point == "withdrawal.voided" && plan.swap(false, Ordering::SeqCst));
    let t = TestApp::crashing(db, &[], crash).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "timeout".to_owned() });
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await;
    t.drive().await;
    assert!(!armed.load(Ordering::SeqCst), "it died there");
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.wallet(customer.id).await.pending()), ("submitting", 0));
    t.sim.settle_payout(t.payout_of(withdrawal.id()), PayoutOutcome::Success).expect("it can be executed again");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!((t.state(withdrawal.id()).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// Also where the ledger does not answer: the row is the same.
#[sqlx::test]
async fn a_withdrawal_that_is_not_decided_is_not_told_as_reserved(db: PgPool) {
    let armed = Arc::new(AtomicBool::new(true));
    let plan = armed.clone();
    let crash = CrashPoints::planned(move |point| point == "withdrawal.reserved" && plan.swap(false, Ordering::SeqCst));
    let t = TestApp::crashing(db, &[], crash).await;
    let customer = t.customer_with(10_000).await;
    t.withdraw(&customer, 4_000, "w1").await;
    assert!(!armed.load(Ordering::SeqCst), "it died there");
    let repeat = t.withdraw(&customer, 4_000, "w1").await;
    assert_eq!((repeat.status, repeat.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{}", repeat.body);
    assert!(repeat.headers.contains_key("retry-after"));
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    let known = t.withdraw(&customer, 4_000, "w1").await;
    accepted(&known);
    assert_eq!((&known.body["state"], known.replayed()), (&json!("completed"), true));
    t.finish().await;
}

/// What is asked after it is answered as it was before, and no event comes in time: it is executed no second time.
#[sqlx::test]
async fn an_execution_whose_answer_breaks_off_was_taken(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::CutOff));
    t.sim.set_fault(Fault::next(1, Scope::GetPayout, FaultKind::ServerError(Moment::Before)));
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::StaleRead { secs: 120 }));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let withdrawal = t.withdraw(&customer, 4_000, "w1").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitted");
    for _ in 0..20 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    let executions = "select sum(executions)::bigint from provider_objects where transaction_id = $1";
    let executions: i64 = sqlx::query_scalar(executions).bind(withdrawal).fetch_one(&t.app.db).await.expect("a sum");
    assert_eq!((t.state(withdrawal).await.as_str(), executions), ("completed", 1));
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
    t.finish().await;
}

/// Revio refuses each in words while it has no money for payouts: that is no fault of a row's.
#[sqlx::test]
async fn an_account_that_has_run_dry_holds_few(db: PgPool) {
    payouts::holds_few(db, FaultKind::Refused).await;
}
