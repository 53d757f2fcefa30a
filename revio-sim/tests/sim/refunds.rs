//! Refunds with their five refusals, chargebacks, reversals: each a Payment, in parts, failing late; what their purchase says.

use revio_sim::{FeeAtPaid, MovementKind, Pay, RefundMode, Settings};
use serde_json::json;
use uuid::Uuid;

use crate::harness::{World, id_of};

async fn paid(world: &World) -> Uuid {
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    id
}

async fn refused(world: &World, id: Uuid, body: serde_json::Value) -> String {
    let (status, body) = world.post(&format!("purchases/{id}/refund/"), body).await;
    assert_eq!(status, 400, "{body}");
    body["__all__"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_refund_is_a_payment_of_its_own() {
    let world = World::new().await;
    let id = paid(&world).await;
    let path = format!("purchases/{id}/refund/");
    let (status, first) = world.post(&path, json!({"amount": 5000})).await;
    assert_eq!((status, &first["type"], &first["payment"]["payment_type"]), (200, &json!("payment"), &json!("refund")));
    assert_eq!(first["related_to"]["id"], json!(id));
    assert_eq!(first["payment"]["is_outgoing"], true);
    let purchase = world.get(&format!("purchases/{id}/")).await;
    assert_eq!((&purchase["status"], &purchase["refundable_amount"]), (&json!("refunded"), &json!(10000)));
    assert_eq!(refused(&world, id, json!({})).await, "purchase_refund_timeout");
    world.advance(60);
    assert_eq!(refused(&world, id, json!({"amount": 10001})).await, "purchase_refund_amount_too_large");
    // Without a body: all that is left.
    let (status, second) = world.call("POST", &path, None).await;
    assert_eq!((status, &second["payment"]["amount"]), (200, &json!(10000)));
    assert_ne!(id_of(&first), id_of(&second));
    world.advance(60);
    assert_eq!(refused(&world, id, json!({})).await, "purchase_already_fully_refunded");
    assert_eq!(world.sim.totals("ZAR").refunded, 15000);
    assert_eq!(world.sim.payments_of(id).len(), 2);
}

#[tokio::test]
async fn an_unpaid_purchase_and_a_closed_account_refuse_refunds() {
    let world = World::new().await;
    let unpaid = world.purchase().await;
    assert_eq!(refused(&world, unpaid, json!({})).await, "purchase_refund_wrong_status");
    let id = paid(&world).await;
    world.sim.set_refund_mode(RefundMode::Off);
    assert_eq!(refused(&world, id, json!({})).await, "purchase_refund_error");
    assert_eq!(world.sim.totals("ZAR").refunded, 0);
}

#[tokio::test]
async fn a_slow_refund_answers_with_the_purchase() {
    let world = World::new().await;
    let (by_hand, by_time) = (paid(&world).await, paid(&world).await);
    world.sim.set_refund_mode(RefundMode::Pending);
    let (status, body) = world.post(&format!("purchases/{by_hand}/refund/"), json!({})).await;
    assert_eq!((status, &body["type"], &body["status"]), (200, &json!("purchase"), &json!("pending_refund")));
    world.sim.set_refund_mode(RefundMode::PendThenComplete { secs: 30 });
    world.sim.refund_purchase(by_time, None).unwrap();
    world.sim.complete_refund(by_hand).unwrap();
    assert!(world.sim.complete_refund(by_hand).is_err());
    assert_eq!(world.sim.totals("ZAR").refunded, 15000);
    world.advance(30);
    assert_eq!(world.status_of(by_time).await, "refunded");
    assert_eq!(world.sim.totals("ZAR").refunded, 30000);
    let raised: Vec<String> = world.sim.events().into_iter().map(|event| event.event_type).collect();
    assert_eq!(raised.iter().filter(|event| *event == "payment.refunded").count(), 2);
    assert_eq!(raised.iter().filter(|event| *event == "purchase.pending_refund").count(), 2);
}

#[tokio::test]
async fn a_chargeback_takes_what_is_left_and_may_be_reversed() {
    let world = World::new().await;
    let id = paid(&world).await;
    world.sim.refund_purchase(id, Some(5000)).unwrap();
    world.sim.charge_back_purchase(id).unwrap();
    assert_eq!(world.status_of(id).await, "charged_back");
    assert_eq!(world.sim.totals("ZAR").charged_back, 10000);
    assert_eq!(world.sim.totals("ZAR").balance(), 0);
    assert!(world.sim.charge_back_purchase(id).is_err());
    world.sim.reverse_charge_back(id).unwrap();
    assert_eq!(world.status_of(id).await, "paid");
    assert_eq!(world.sim.totals("ZAR").balance(), 10000);
    let events = world.sim.events();
    let event = |name: &str| events.iter().find(|event| event.event_type == name).unwrap();
    let body: serde_json::Value = serde_json::from_str(&event("payment.charged_back").body).unwrap();
    assert_eq!((&body["type"], &body["payment"]["amount"]), (&json!("payment"), &json!(10000)));
    assert_eq!(body["related_to"]["id"], json!(id));
    assert_ne!(event("payment.chargeback_reversed").object_id, event("payment.charged_back").object_id);
}

#[tokio::test]
async fn a_chargeback_may_take_a_part_and_knows_of_no_refunds() {
    let world = World::new().await;
    let id = paid(&world).await;
    world.sim.refund_purchase(id, None).unwrap();
    assert!(world.sim.charge_back_purchase(id).is_err(), "nothing is left");
    let first = world.sim.charge_back_amount(id, 300).unwrap();
    assert_eq!(world.event("payment.charged_back")["payment"]["amount"], 300);
    let second = world.sim.charge_back_amount(id, 14_700).unwrap();
    assert!(world.sim.charge_back_amount(id, 1).is_err(), "more than was paid");
    assert_eq!(world.sim.purchase(id).unwrap()["refundable_amount"], 0);
    let payments = world.sim.payments_of(id);
    assert_eq!(payments.len(), 3);
    assert_eq!(payments.iter().map(id_of).collect::<Vec<_>>()[1..], [first, second]);
    let history = world.get(&format!("purchases/{id}/")).await["status_history"].clone();
    let related = |index: usize| history[index]["related_object"].clone();
    assert_eq!(related(3), json!({"type": "payment", "id": first}));
    assert_eq!((related(1), related(4)["id"].clone()), (json!(null), json!(second)));
    let totals = world.sim.totals("ZAR");
    assert_eq!((totals.refunded, totals.charged_back, totals.balance()), (15_000, 15_000, -15_000));
    use MovementKind::{Chargeback, Purchase, Refund};
    assert_eq!(world.moved(id), [(Purchase, 15_000), (Refund, -15_000), (Chargeback, -300), (Chargeback, -14_700)]);
    assert_eq!(world.moved(first), [(Chargeback, -300)]);
}

#[tokio::test]
async fn a_part_of_a_chargeback_may_be_reversed() {
    let world = World::new().await;
    let id = paid(&world).await;
    world.sim.charge_back_amount(id, 1000).unwrap();
    assert!(world.sim.reverse_charge_back_amount(id, 1001).is_err());
    world.sim.reverse_charge_back_amount(id, 400).unwrap();
    assert_eq!(world.status_of(id).await, "charged_back", "600 are still gone");
    let reversal = world.event("payment.chargeback_reversed");
    assert_eq!((&reversal["payment"]["amount"], &reversal["payment"]["is_outgoing"]), (&json!(400), &json!(false)));
    world.sim.reverse_charge_back_amount(id, 600).unwrap();
    assert_eq!(world.status_of(id).await, "paid");
    assert_eq!(world.sim.totals("ZAR").charged_back, 0);
}

#[tokio::test]
async fn a_pending_refund_may_fail() {
    let world = World::new().await;
    let (by_hand, by_time) = (paid(&world).await, paid(&world).await);
    world.sim.set_refund_mode(RefundMode::Pending);
    world.sim.refund_purchase(by_hand, Some(400)).unwrap();
    world.sim.set_refund_mode(RefundMode::PendThenFail { secs: 30 });
    world.sim.refund_purchase(by_time, Some(400)).unwrap();
    world.sim.fail_refund(by_hand).unwrap();
    assert!(world.sim.fail_refund(by_hand).is_err());
    world.advance(30);
    for id in [by_hand, by_time] {
        let purchase = world.get(&format!("purchases/{id}/")).await;
        assert_eq!((&purchase["status"], &purchase["refundable_amount"]), (&json!("paid"), &json!(15_000)));
        assert!(world.sim.payments_of(id).is_empty());
    }
    assert_eq!(world.event("purchase.refund_failure")["id"], json!(by_time));
    assert_eq!(world.sim.totals("ZAR").refunded, 0);
}

#[tokio::test]
async fn what_was_announced_may_fail_afterwards() {
    let world = World::new().await;
    let id = paid(&world).await;
    world.sim.refund_purchase(id, Some(400)).unwrap();
    let refund = id_of(&world.event("payment.refunded"));
    world.advance(60);
    world.sim.fail_payment(refund).unwrap();
    assert!(world.sim.fail_payment(refund).is_err());
    let purchase = world.event("purchase.refund_failure");
    assert_eq!((&purchase["status"], &purchase["refundable_amount"]), (&json!("paid"), &json!(15_000)));
    assert_eq!(purchase["status_history"][3]["related_object"]["id"], json!(refund));
    let failed = world.sim.payments_of(id).remove(0);
    assert_eq!((&failed["status"], &failed["payment"]["amount"]), (&json!("error"), &json!(400)));
    assert!(failed["updated_on"].as_i64() > failed["created_on"].as_i64());
    assert_eq!(world.moved(refund), [(MovementKind::Refund, -400), (MovementKind::Refund, 400)]);
    // The same of a reversal, and of a chargeback.
    let chargeback = world.sim.charge_back_amount(id, 500).unwrap();
    let reversal = world.sim.reverse_charge_back_amount(id, 500).unwrap();
    assert!(world.sim.fail_payment(chargeback).is_err(), "its money is back already");
    world.sim.fail_payment(reversal).unwrap();
    assert_eq!(world.status_of(id).await, "charged_back");
    assert_eq!(world.event("payment.chargeback_reversed")["status"], "error");
    world.sim.fail_payment(chargeback).unwrap();
    assert_eq!(world.status_of(id).await, "paid");
    assert_eq!(world.sim.totals("ZAR").balance(), 15_000);
}

#[tokio::test]
async fn a_payment_can_be_read_only_where_that_is_switched_on() {
    let world = World::new().await;
    let id = paid(&world).await;
    let path = format!("payments/{}/", world.sim.charge_back_amount(id, 300).unwrap());
    assert_eq!(world.call("GET", &path, None).await.0, 404);
    world.sim.set_settings(Settings { payment_reads: true, ..world.sim.settings() });
    assert_eq!(world.get(&path).await["related_to"]["id"], json!(id));
    assert_eq!(world.call_live("GET", &path).await.0, 404);
}

#[tokio::test]
async fn what_a_purchase_says_after_a_refund_or_a_won_dispute_can_be_switched() {
    let world = World::new().await;
    let (refunded, disputed) = (paid(&world).await, paid(&world).await);
    let switched = Settings { refunds_only_once: true, reversed_is_refunded: true, ..Settings::default() };
    world.sim.set_settings(switched);
    world.sim.refund_purchase(refunded, Some(400)).unwrap();
    let purchase = world.get(&format!("purchases/{refunded}/")).await;
    assert_eq!((&purchase["refundable_amount"], &purchase["refund_availability"]), (&json!(0), &json!("none")));
    world.sim.charge_back_purchase(disputed).unwrap();
    world.sim.reverse_charge_back(disputed).unwrap();
    assert_eq!(world.status_of(disputed).await, "refunded");
    assert_eq!(world.sim.totals("ZAR").balance(), 29_600);
}

#[tokio::test]
async fn a_fee_may_be_taken_and_named_only_at_settlement() {
    for (fee_at_paid, before) in [(FeeAtPaid::Zero, json!(0)), (FeeAtPaid::Null, json!(null))] {
        let world = World::new().await;
        world.sim.set_settings(Settings { fee_at_paid, ..Settings::default() });
        let id = world.purchase().await;
        world.sim.pay_purchase(id, Pay { fee: 290, ..Pay::default() }).unwrap();
        let payment = world.event("purchase.paid")["payment"].clone();
        assert_eq!((&payment["fee_amount"], &payment["net_amount"]), (&before, &json!(15_000)));
        assert_eq!(world.sim.totals("ZAR").fees, 0);
        world.sim.clear_purchase(id).unwrap();
        assert_eq!(world.status_of(id).await, "cleared");
        world.sim.settle_purchase(id, None).unwrap();
        let settled = world.event("purchase.settled");
        assert_eq!((&settled["status"], &settled["payment"]["fee_amount"]), (&json!("settled"), &json!(290)));
        assert_eq!(world.moved(id)[1..], [(MovementKind::Fee, -290)]);
        assert!(world.sim.settle_purchase(id, None).is_err());
    }
}

#[tokio::test]
async fn a_fee_may_be_another_one_at_settlement_which_a_refund_does_not_undo() {
    let world = World::new().await;
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay { fee: 290, ..Pay::default() }).unwrap();
    world.sim.refund_purchase(id, Some(400)).unwrap();
    world.sim.settle_purchase(id, Some(250)).unwrap();
    let purchase = world.get(&format!("purchases/{id}/")).await;
    assert_eq!((&purchase["status"], &purchase["payment"]["fee_amount"]), (&json!("refunded"), &json!(250)));
    assert_eq!(world.sim.totals("ZAR").fees, 250);
    world.advance(60);
    assert_eq!(world.post(&format!("purchases/{id}/refund/"), json!({})).await.0, 200);
}
