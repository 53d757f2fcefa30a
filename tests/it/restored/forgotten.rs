//! A call to Revio that a restored row has forgotten may still have its effect, and so may what it has forgotten of a purchase.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::platform::permissions::Role;
use revio_sim::{Fault, FaultKind, Moment, Pay, PayoutBehaviour, PayoutOutcome, Scope};
use sqlx::PgPool;
use uuid::Uuid;

use super::{empty, leave, look, wait};
use crate::backups;
use crate::by_hand;
use crate::harness::{Customer, TestApp};

/// Its first call was not answered, and the row has forgotten it. Until no call can have its effect nobody is told that it can be decided about, nor
/// is an `error`, which may be the word on another call, the last one.
#[sqlx::test]
async fn a_forgotten_call_that_may_still_pay_releases_nothing(db: PgPool) {
    for says_error in [false, true] {
        let t = TestApp::new(db.clone()).await;
        let (admin, customer) = (t.staff(Role::Admin).await, t.customer_with(10_000).await);
        t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::LateEffect { secs: 600, status: 502 }));
        let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
        backups::take(&db).await;
        t.drive().await;
        if says_error {
            t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "insufficient_balance".to_owned() });
            wait(&t, 2).await;
            t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
        }
        backups::restore(&db).await;
        assert_eq!(t.state(withdrawal).await, "reserved");
        look(&t).await;
        wait(&t, 6).await;
        let told = t.held_reason(withdrawal).await;
        assert_eq!((t.state(withdrawal).await.as_str(), told), ("submitting", None), "{says_error}");
        leave(&t, &admin).await;
        wait(&t, 30).await;
        assert_eq!(t.state(withdrawal).await, "completed", "{says_error}: {:?}", t.held_reason(withdrawal).await);
        assert_eq!((t.sim.totals("ZAR").paid_out_count, t.balance(&customer).await), (1, (6_000, 0, 6_000)));
        empty(&t).await;
    }
}

/// A deposit of which two purchases were made, since the answer of the first was lost; the backup knows of none, and the second was paid.
/// The deposit, and both purchases.
async fn paid_by_the_second(t: &TestApp, db: &PgPool, customer: &Customer) -> (Uuid, Uuid, Uuid) {
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::Reset(Moment::After)));
    drop(t.deposit(customer, 5_000, "d").await);
    let deposit = sqlx::query_scalar("select id from transactions where kind = 'deposit' and state = 'initiated'");
    let deposit: Uuid = deposit.fetch_one(db).await.expect("one");
    let purchases = || {
        let all = t.sim.purchases_by_reference(&deposit.to_string());
        all.iter().map(|one| one["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")).collect::<Vec<Uuid>>()
    };
    let first = purchases()[0];
    backups::take(db).await;
    wait(t, 3).await;
    t.sim.clear_faults();
    let second = purchases().into_iter().find(|id| *id != first).expect("another");
    t.sim.pay_purchase(second, Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(customer).await.0), ("completed", 5_000));
    (deposit, first, second)
}

async fn purchase_of_row(db: &PgPool, deposit: Uuid) -> Option<Uuid> {
    let known = sqlx::query_scalar("select provider_id from transactions where id = $1").bind(deposit);
    known.fetch_one(db).await.expect("there")
}

/// Its word is the first that comes, before the row's own step.
#[sqlx::test]
async fn a_purchase_that_nobody_paid_is_not_taken_for_the_one_that_the_row_forgot(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let (deposit, first, second) = paid_by_the_second(&t, &db, &customer).await;
    backups::restore(&db).await;
    look(&t).await;
    assert_eq!(t.state(deposit).await, "initiated");
    t.sim.view_purchase(first).expect("open");
    t.drive().await;
    assert_eq!(purchase_of_row(&db, deposit).await, None);
    t.sim.settle_purchase(second, None).expect("paid");
    t.drive().await;
    wait(&t, 10).await;
    assert_eq!((t.state(deposit).await.as_str(), purchase_of_row(&db, deposit).await), ("completed", Some(second)));
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000), "one payment is credited once");
    t.finish().await;
}

/// Both were paid and credited, each as a row of its own; whichever speaks first.
#[sqlx::test]
async fn two_purchases_that_the_row_forgot_are_two_payments_whichever_speaks_first(db: PgPool) {
    for first_speaks in [true, false] {
        let t = TestApp::new(db.clone()).await;
        let customer = t.customer().await;
        let (deposit, first, second) = paid_by_the_second(&t, &db, &customer).await;
        t.sim.pay_purchase(first, Pay::default()).expect("payable");
        t.drive().await;
        assert_eq!(t.balance(&customer).await.0, 10_000);
        backups::restore(&db).await;
        look(&t).await;
        wait(&t, 3).await;
        assert_eq!(t.state(deposit).await, "completed");
        let order = if first_speaks { [first, second] } else { [second, first] };
        for purchase in order {
            t.sim.settle_purchase(purchase, None).expect("paid");
            t.drive().await;
        }
        wait(&t, 3).await;
        assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000), "{first_speaks}");
        assert_eq!(purchase_of_row(&db, deposit).await, Some(second), "{first_speaks}");
        empty(&t).await;
    }
}

/// The other one is paid after the backup was restored, with another sum; whichever speaks first.
#[sqlx::test]
async fn a_purchase_of_another_sum_is_not_taken_for_the_one_that_the_row_forgot(db: PgPool) {
    for first_speaks in [true, false] {
        let t = TestApp::new(db.clone()).await;
        let customer = t.customer().await;
        let (deposit, first, second) = paid_by_the_second(&t, &db, &customer).await;
        let books = async || (t.balance(&customer).await.0, t.system_balance(AccountCode::Suspense).await.posted());
        backups::restore(&db).await;
        look(&t).await;
        wait(&t, 3).await;
        if !first_speaks {
            t.sim.settle_purchase(second, None).expect("paid");
            t.drive().await;
        }
        t.sim.pay_purchase(first, Pay { amount: Some(4_000), ..Pay::default() }).expect("payable");
        t.drive().await;
        if first_speaks {
            assert_eq!((books().await, purchase_of_row(&db, deposit).await), ((5_000, 0), None));
            t.sim.settle_purchase(second, None).expect("paid");
            t.drive().await;
        }
        wait(&t, 20).await;
        assert_eq!(books().await, (5_000, 4_000), "{first_speaks}");
        assert_eq!(purchase_of_row(&db, deposit).await, Some(second), "{first_speaks}");
        empty(&t).await;
    }
}

/// The ledger has the correction, and nothing says which row it was about: one of the customer's, of that very sum and from before it, may be.
#[sqlx::test]
async fn what_a_correction_gave_after_the_backup_is_not_given_back_besides(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (customer, other) = (t.customer_with(10_000).await, t.customer_with(10_000).await);
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let corrected = t.withdraw(&customer, 4_000, "w").await.id();
    let strangers = t.withdraw(&other, 4_000, "w").await.id();
    t.drive().await;
    backups::take(&db).await;
    t.advance(TimeDelta::minutes(1));
    by_hand::corrected(&t, &customer, "credit", 4_000, corrected).await;
    backups::restore(&db).await;
    look(&t).await;
    for row in [corrected, strangers] {
        let error = PayoutOutcome::Error { code: "do_not_honour".to_owned() };
        t.sim.settle_payout(t.payout_of(row), error).expect("pending");
    }
    // Each may have been executed once more, which is forgotten.
    wait(&t, 20).await;
    assert_eq!((t.state(strangers).await.as_str(), t.balance(&other).await), ("failed", (10_000, 0, 10_000)));
    assert!(t.held_reason(corrected).await.is_some_and(|reason| reason.contains("may have booked it already")));
    assert_eq!(t.balance(&customer).await, (14_000, 4_000, 10_000), "given back once");
}
