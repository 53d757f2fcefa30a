//! What Revio told of a row, as its page and the board of one payment have it.

use chrono::TimeDelta;
use octoco::money::transactions;
use octoco::platform::permissions::Role;
use revio_sim::{Fault, FaultKind, Moment, Pay, PayoutOutcome, Scope};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::TestApp;
use crate::let_go::let_go_for_good;
use crate::reporting::value;

/// By its page, and the same by the board.
async fn told(t: &TestApp, row: Uuid) -> Vec<String> {
    let staff = t.staff(Role::Finance).await;
    let shown = t.get(&staff, &format!("/v1/admin/transactions/{row}")).await;
    let events = shown.body["events"].as_array().expect("a list").iter();
    let mut told: Vec<String> = events.map(|event| event["type"].as_str().expect("a word").to_owned()).collect();
    told.sort();
    let board = format!(
        "select string_agg(event_kind, ' ' order by event_kind collate \"C\") from reporting.payment_events where payment_id = '{row}'"
    );
    assert_eq!(value(t, &board).await, told.join(" "));
    told
}

/// The deposit is paid twice: the second payment is a row of its own that follows from it, too, and nothing of it went back.
#[sqlx::test]
async fn a_refund_has_what_was_told_under_the_purchase_that_it_gives_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::Reset(Moment::After)));
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    t.step().await;
    for purchase in t.sim.purchases_by_reference(&deposit.to_string()) {
        let id = purchase["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        t.sim.pay_purchase(id, Pay::default()).expect("payable");
    }
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    let purchase = transactions::find(&t.app, deposit).await.expect("there").provider.id.expect("its own");
    t.sim.refund_purchase(purchase, Some(2_000)).expect("refundable");
    t.drive().await;
    let child = async |kind: &str| -> Uuid {
        let sql = "select id from transactions where parent_id = $1 and kind = $2";
        sqlx::query_scalar(sql).bind(deposit).bind(kind).fetch_one(&t.app.db).await.expect("one")
    };
    assert_eq!(told(&t, child("refund").await).await, ["payment.refunded"]);
    let second = told(&t, child("deposit").await).await.join(" ");
    assert!(second.contains("purchase.paid") && !second.contains("payment."), "{second}");
    t.finish().await;
}

#[sqlx::test]
async fn a_withdrawal_has_what_was_told_of_a_payout_that_it_let_go_of(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (withdrawal, first) = let_go_for_good(&t, &customer).await;
    t.sim.clear_faults();
    for outcome in [PayoutOutcome::Pending, PayoutOutcome::Error { code: "do_not_honour".to_owned() }] {
        t.sim.settle_payout(first, outcome).expect("not ended");
        t.drive().await;
    }
    assert_eq!(t.state(withdrawal).await, "failed");
    let told = told(&t, withdrawal).await.join(" ");
    assert!(told.contains("payout.pending") && told.contains("payout.failed"), "{told}");
    t.finish().await;
}
