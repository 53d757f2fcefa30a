//! Refunds with their five refusals, and chargebacks.

use revio_sim::{Pay, RefundMode};
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
