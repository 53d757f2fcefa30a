//! What Revio takes for a payout, or for what it gives back of a payment, is our expense: booked once, whenever it is named, whoever dies
//! meanwhile, and never the customer's.

use chrono::TimeDelta;
use ledger::{AccountCode, Leg, TransferId};
use octoco::books::projector;
use octoco::money::provider_objects::Followed;
use octoco::money::transactions::{self, Kind};
use octoco::money::{deposits, withdrawals};
use octoco::platform::error::Result;
use revio_sim::{Change, Fault, FaultKind, Moment, Override, Pay, PayoutBehaviour, PayoutOutcome, Scope, Settings};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::TestApp;
use crate::reporting;

fn fees_of(t: &TestApp, payout_fee: i64, payout_fee_basis_points: i64) {
    t.sim.set_settings(Settings { payout_fee, payout_fee_basis_points, ..t.sim.settings() });
}

/// No event of Revio's arrives any more.
fn silence(t: &TestApp) {
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
}

/// Revio's tally and our books say the same of what it holds and what it took.
async fn assert_agreed(t: &TestApp, fees: i64) {
    let totals = t.sim.totals("ZAR");
    assert_eq!(totals.fees, fees, "Revio's");
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), fees);
    assert_eq!(t.system_balance(AccountCode::ProviderBalance).await.posted(), totals.balance());
}

/// What an event of Revio's makes of the row, and reconciliation where it finds the fee missing.
async fn look(t: &TestApp, row: Uuid) -> Result<Followed> {
    let row = transactions::find(&t.app, row).await.expect("the row is there");
    let object = row.provider.id.expect("Revio knows it");
    if row.kind == Kind::Deposit {
        deposits::on_provider_event(&t.app, deposits::Told { id: object, paid_on: None }, Some(row.id)).await
    } else {
        withdrawals::on_provider_event(&t.app, object, Some(row.id)).await
    }
}

/// The fee that is booked under the row after a look.
async fn looked(t: &TestApp, row: Uuid) -> Option<i64> {
    look(t, row).await.expect("Revio and the ledger answer");
    let fee = t.app.ledger.lookup(&[TransferId::of(row, Leg::ProviderFee)]).await.expect("the ledger answers");
    fee.first().map(|fee| fee.amount_minor)
}

#[sqlx::test]
async fn a_payouts_fee_is_booked_once_and_the_wallet_pays_the_amount_alone(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    fees_of(&t, 250, 100);
    let withdrawal = t.withdraw(&customer, 40_000, "w").await.id();
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (60_000, 0, 60_000)));
    assert_agreed(&t, 650).await;
    let kept: Option<i64> = sqlx::query_scalar("select fee_minor from provider_objects where id = $1")
        .bind(t.payout_of(withdrawal))
        .fetch_one(&t.app.db)
        .await
        .expect("it is known");
    assert_eq!(kept, Some(650));
    // Told again, and asked again.
    t.sim.raise_event(t.payout_of(withdrawal), "payout.success").expect("it is there");
    t.drive().await;
    for _ in 0..2 {
        assert_eq!(looked(&t, withdrawal).await, Some(650));
    }
    t.advance(TimeDelta::days(8));
    t.drive().await;
    assert_agreed(&t, 650).await;
    t.finish().await;
}

#[sqlx::test]
async fn whoever_dies_between_a_payout_its_fee_and_its_row_books_the_fee_once(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer_with(50_000).await;
    fees_of(&t, 30, 0);
    let points = ["withdrawal.executed", "withdrawal.posted", "withdrawal.fee_booked", "transaction.before_move"];
    for (number, point) in points.into_iter().enumerate() {
        silence(&t);
        // The last one dies before the row says that it is completed: its first moves are to be got over before.
        t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        if point == "withdrawal.executed" {
            next.at(point);
            t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
        }
        t.drive().await;
        if point != "withdrawal.executed" {
            t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
            next.at(point);
        }
        for _ in 0..40 {
            t.advance(TimeDelta::minutes(5));
            t.drive().await;
        }
        assert_eq!(t.state(withdrawal).await, "completed", "{point}");
        assert_agreed(&t, 30 * (i64::try_from(number).expect("few") + 1)).await;
    }
    for point in points {
        assert!(next.died_at().contains(point), "nobody died at {point}: {:?}", next.died_at());
    }
    assert_eq!(t.balance(&customer).await, (34_000, 0, 34_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_fee_that_is_named_later_is_booked_at_the_next_look_and_by_reconciliation(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    let (left, asked) = (t.withdraw(&customer, 4_000, "w1").await.id(), t.withdraw(&customer, 5_000, "w2").await.id());
    t.drive().await;
    assert_eq!(looked(&t, asked).await, None);
    silence(&t);
    for withdrawal in [left, asked] {
        let change = Change { fee: Some(45), ..Change::default() };
        t.sim.change_object(t.payout_of(withdrawal), &change).expect("it was paid");
    }
    assert_eq!(looked(&t, asked).await, Some(45));
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 45);
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    assert_agreed(&t, 90).await;
    // And another one than was booked is nobody's money: a person is told.
    t.sim.change_object(t.payout_of(left), &Change { fee: Some(50), ..Change::default() }).expect("it was paid");
    assert_eq!(looked(&t, left).await, Some(45));
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 90);
    assert_eq!(t.balance(&customer).await, (41_000, 0, 41_000));
    assert!(t.held_reason(left).await.is_some_and(|reason| reason.contains("50")));
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_deposits_missing_fee_is_booked_by_its_event(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { fee_at_paid: revio_sim::FeeAtPaid::Null, ..t.sim.settings() });
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "d").await.id();
    assert_eq!(looked(&t, deposit).await, None, "nothing was paid");
    t.sim.pay_purchase(t.purchase_of(deposit), Pay { fee: 290, ..Pay::default() }).expect("payable");
    t.drive().await;
    assert_eq!(looked(&t, deposit).await, None, "nothing is named");
    silence(&t);
    t.sim.settle_purchase(t.purchase_of(deposit), None).expect("paid");
    for _ in 0..2 {
        assert_eq!(looked(&t, deposit).await, Some(290));
    }
    assert_agreed(&t, 290).await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_fee_that_cannot_be_one_is_not_booked_and_keeps_nobodys_money_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    for (number, fee) in [json!(-5), json!(10_001), json!("much"), json!(1.5)].into_iter().enumerate() {
        t.sim.set_override(Override::of("payout", "/payment/fee_amount", fee.clone()).when("success"));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "completed", "{fee}");
        t.advance(TimeDelta::hours(2));
        t.drive().await;
        assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("fee_amount")), "{fee}");
        t.sim.clear_overrides();
    }
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 0);
    assert_eq!(t.balance(&customer).await, (34_000, 0, 34_000));
    t.finish_with_held().await;
}

/// Nobody says that a fee is less than what it is taken for.
#[sqlx::test]
async fn a_flat_fee_that_is_more_than_a_small_payout_is_booked_and_nobody_has_to_look(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    fees_of(&t, 250, 0);
    let withdrawal = t.withdraw(&customer, 100, "w").await.id();
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (49_900, 0, 49_900)));
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    assert_eq!(looked(&t, withdrawal).await, Some(250));
    assert_agreed(&t, 250).await;
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_replaces_another_costs_one_fee(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(50_000).await;
    fees_of(&t, 30, 0);
    // Refused in words until its window has closed.
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Refused));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    while t.sim.payouts_by_reference(&withdrawal.to_string()).len() < 2 {
        t.advance(TimeDelta::seconds(30));
        t.drive().await;
    }
    t.sim.clear_faults();
    for _ in 0..10 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    assert_eq!(t.state(withdrawal).await, "completed");
    assert_agreed(&t, 30).await;
    assert_eq!(t.balance(&customer).await, (46_000, 0, 46_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_is_paid_after_its_release_costs_its_fee_too_and_once(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer_with(10_000).await;
    fees_of(&t, 30, 0);
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    let payout = t.payout_of(withdrawal);
    t.sim.settle_payout(payout, PayoutOutcome::Error { code: "do_not_honour".to_owned() }).expect("pending");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    assert_eq!(looked(&t, withdrawal).await, None, "of what was not paid there is no fee");
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("Revio may change its word");
    next.at("withdrawal.collected");
    t.drive().await;
    for _ in 0..10 {
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
    }
    assert!(next.died_at().contains("withdrawal.collected"));
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    assert_agreed(&t, 30).await;
    t.finish().await;
}

#[sqlx::test]
async fn revio_away_when_a_missing_fee_is_asked_for_is_an_error_and_books_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    silence(&t);
    t.sim.change_object(t.payout_of(withdrawal), &Change { fee: Some(45), ..Change::default() }).expect("it was paid");
    t.sim.set_fault(Fault::next(1, Scope::GetPayout, FaultKind::Reset(Moment::Before)));
    assert!(look(&t, withdrawal).await.is_err());
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 0);
    assert_eq!(looked(&t, withdrawal).await, Some(45));
    t.finish().await;
}

/// Also where the wallet did not cover it, and where it never came into the wallet.
#[sqlx::test]
async fn what_revio_takes_for_a_refund_or_a_chargeback_is_booked_once_and_customers_owe_the_amount_alone(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    t.sim.set_settings(Settings { reversal_fee: 120, ..t.sim.settings() });
    let customer = t.customer().await;
    let mut purchases = Vec::new();
    for (number, paid) in [10_000, 6_000, 500].into_iter().enumerate() {
        let deposit = t.deposit(&customer, 10_000, &format!("d{number}")).await.id();
        t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(paid), ..Pay::default() }).expect("payable");
        purchases.push(t.purchase_of(deposit));
    }
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000), "the others are set aside");
    next.at("reversal.fee_booked");
    t.sim.refund_purchase(purchases[0], Some(1_000)).expect("refundable");
    t.drive().await;
    assert!(next.died_at().contains("reversal.fee_booked"));
    t.sim.refund_purchase(purchases[1], None).expect("refundable");
    let withdrawal = t.withdraw(&customer, 5_000, "w").await.id();
    for _ in 0..4 {
        t.advance(TimeDelta::minutes(2));
        t.drive().await;
    }
    assert_eq!(t.state(withdrawal).await, "completed");
    t.sim.charge_back_purchase(purchases[0]).expect("it was paid");
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((0, 0, 0), 5_000));
    assert_agreed(&t, 3 * 120).await;
    // What is won back costs nothing, and nothing that is told again costs twice.
    t.sim.reverse_charge_back(purchases[0]).expect("it is charged back");
    t.drive().await;
    t.advance(TimeDelta::days(8));
    t.drive().await;
    assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((4_000, 0, 4_000), 0));
    assert_agreed(&t, 3 * 120).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let board = "select string_agg(kind || ' ' || booked, ', ' order by kind) from reporting.fees where booked <> 0";
    assert_eq!(
        reporting::value(&t, board).await,
        "chargeback 1.20, deposit 1.20, refund 1.20",
        "what was set aside is a deposit's"
    );
    t.finish_with_held().await;
}

#[sqlx::test]
async fn what_revio_names_later_of_a_refund_is_booked_at_the_next_look(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { reversal_fee: 120, payment_reads: true, ..t.sim.settings() });
    let customer = t.customer_with(20_000).await;
    let deposit = t.deposit(&customer, 10_000, "d").await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("payable");
    t.drive().await;
    t.sim.set_override(Override::of("payment", "/payment/fee_amount", json!(0)));
    t.sim.refund_purchase(t.purchase_of(deposit), Some(1_000)).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (29_000, 0, 29_000));
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 0);
    t.sim.clear_overrides();
    let refund: Uuid = sqlx::query_scalar("select provider_id from transactions where kind = 'refund'")
        .fetch_one(&t.app.db)
        .await
        .expect("it is booked");
    for _ in 0..2 {
        t.sim.raise_event(refund, "payment.refunded").expect("it is there");
        t.drive().await;
        assert_agreed(&t, 120).await;
    }
    assert_eq!(t.balance(&customer).await, (29_000, 0, 29_000));
    t.finish().await;
}

/// Of money that is set aside nobody would look at it again by himself, and what Revio tells of it goes on.
#[sqlx::test]
async fn an_odd_fee_of_what_goes_back_of_money_that_is_set_aside_ends_no_event(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "d").await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(500), ..Pay::default() }).expect("payable");
    t.drive().await;
    t.sim.set_override(Override::of("payment", "/payment/fee_amount", json!(20_000)));
    t.sim.refund_purchase(t.purchase_of(deposit), None).expect("refundable");
    t.drive().await;
    t.sim.raise_event(t.purchase_of(deposit), "purchase.refunded").expect("it is there");
    for _ in 0..30 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    let unfinished = "select count(*) from webhook_logs where state not in ('done', 'ignored')";
    assert_eq!(reporting::value(&t, unfinished).await, "0");
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 0);
    t.finish_with_held().await;
}
