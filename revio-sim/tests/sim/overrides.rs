//! What is said in place of the truth: unknown words, wrong evidence, lenient spellings, strange events; the books stay true.

use revio_sim::{MovementKind, Override, Pay, PayoutBehaviour, PayoutOutcome};
use serde_json::{Value, json};

use crate::harness::World;

#[tokio::test]
async fn an_override_is_in_every_answer_and_event_and_changes_nothing_else() {
    let world = World::new().await;
    let (id, other) = (world.purchase().await, world.purchase().await);
    for (pointer, value) in [
        ("/status", json!("pondering")),
        ("/payment/amount", json!("15000")),
        ("/payment/currency", json!("zar")),
        ("/payment/is_outgoing", json!("true")),
        ("/marked_as_paid", json!("true")),
        ("/updated_on", json!(1.5)),
        ("/status_history/0/status", json!("dreamt")),
        ("/payment/nothing/below", json!(1)),
    ] {
        world.sim.set_override(Override::of(id, pointer, value));
    }
    world.sim.set_override(Override::without(id, "/payment/fee_amount"));
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    let event = world.event("purchase.paid");
    for said in [world.get(&format!("purchases/{id}/")).await, world.sim.purchase(id).unwrap(), event] {
        assert_eq!((&said["status"], &said["updated_on"]), (&json!("pondering"), &json!(1.5)));
        assert_eq!((&said["payment"]["amount"], &said["payment"]["currency"]), (&json!("15000"), &json!("zar")));
        assert_eq!((&said["payment"]["is_outgoing"], &said["marked_as_paid"]), (&json!("true"), &json!("true")));
        assert_eq!(said["status_history"][0]["status"], "dreamt");
        assert_eq!(said["payment"].get("fee_amount"), None);
    }
    assert_eq!(world.status_of(other).await, "created");
    assert_eq!(world.moved(id), [(MovementKind::Purchase, 15_000)]);
    world.sim.set_override(Override::of(id, "/status", json!("pausing")));
    assert_eq!(world.status_of(id).await, "pausing");
    world.sim.clear_overrides();
    assert_eq!(world.status_of(id).await, "paid");
}

#[tokio::test]
async fn a_whole_number_may_be_spelt_with_a_point() {
    let world = World::new().await;
    let id = world.purchase().await;
    world.sim.set_override(Override::of(id, "/payment/amount", json!(15000.0)));
    world.sim.set_override(Override::of(id, "/payment/net_amount", Value::Null));
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    let body = world.sim.events().pop().unwrap().body;
    assert!(body.contains("\"amount\": 15000.0") && body.contains("\"net_amount\": null"), "{body}");
}

#[tokio::test]
async fn a_payment_may_be_missing_or_null() {
    let world = World::new().await;
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    world.sim.set_override(Override::of(id, "/payment", Value::Null));
    assert_eq!(world.get(&format!("purchases/{id}/")).await["payment"], Value::Null);
    world.sim.set_override(Override::without(id, "/payment"));
    assert_eq!(world.get(&format!("purchases/{id}/")).await.get("payment"), None);
}

#[tokio::test]
async fn an_override_of_a_type_reaches_objects_to_come_and_may_wait_for_a_status() {
    let world = World::new().await;
    world.sim.set_override(Override::of("payment", "/status", json!("under_review")));
    world.sim.set_override(Override::of("purchase", "/status", json!("refunded")).when("charged_back"));
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    assert_eq!(world.status_of(id).await, "paid");
    world.sim.charge_back_amount(id, 300).unwrap();
    assert_eq!(world.status_of(id).await, "refunded");
    assert_eq!(world.event("payment.charged_back")["status"], "under_review");
    assert_eq!(world.sim.payments_of(id)[0]["status"], "under_review");
}

#[tokio::test]
async fn a_payout_may_succeed_with_the_evidence_of_another() {
    let world = World::new().await;
    world.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let (id, url) = world.payout().await;
    for (pointer, value) in [
        ("/payment/amount", json!(500)),
        ("/payment/currency", json!("USD")),
        ("/payment/is_outgoing", json!(false)),
        ("/brand_id", json!("00000000-0000-4000-8000-000000000000")),
        ("/reference", json!("payout-2")),
        ("/is_test", json!(false)),
    ] {
        world.sim.set_override(Override::of(id, pointer, value).when("success"));
    }
    assert_eq!(world.post(&url, json!({})).await.1["payment"]["amount"], 7000);
    world.sim.settle_payout(id, PayoutOutcome::Success).unwrap();
    let said = world.get(&format!("payouts/{id}/")).await;
    assert_eq!((&said["payment"]["amount"], &said["payment"]["currency"]), (&json!(500), &json!("USD")));
    assert_eq!((&said["reference"], &said["is_test"]), (&json!("payout-2"), &json!(false)));
    assert_eq!(world.event("payout.success")["brand_id"], said["brand_id"]);
    assert_eq!(world.sim.totals("ZAR").paid_out, 7000);
    assert_eq!(world.sim.totals("USD").paid_out, 0);
}

#[tokio::test]
async fn an_event_of_any_type_may_be_raised_about_any_object() {
    let world = World::new().await;
    let (payout, _) = world.payout().await;
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    let payment = world.sim.charge_back_amount(id, 300).unwrap();
    for (object, status) in [(id, "charged_back"), (payout, "initialized"), (payment, "success")] {
        world.sim.raise_event(object, "dispute.evidence_required").unwrap();
        let event = world.event("dispute.evidence_required");
        assert_eq!((&event["id"], &event["status"]), (&json!(object), &json!(status)));
    }
    assert!(world.sim.raise_event(uuid::Uuid::nil(), "x").is_err());
}
