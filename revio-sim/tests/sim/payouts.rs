//! Payouts: two calls, the window between them, repeated executions, and what a test may decide.

use revio_sim::{DoneWord, LIVE_KEY, MovementKind, PayoutBehaviour, PayoutOutcome, Settings};
use serde_json::{Value, json};

use crate::harness::{World, new_payout};

#[tokio::test]
async fn money_moves_in_the_second_call_and_only_once() {
    let world = World::new().await;
    let (id, url) = world.payout().await;
    let created = world.get(&format!("payouts/{id}/")).await;
    assert_eq!((&created["status"], &created["payment"]["is_outgoing"]), (&json!("initialized"), &json!(true)));
    assert_eq!(created["client"]["bank_account"], "62000000001");
    assert_eq!(world.sim.totals("ZAR").paid_out, 0);
    let (status, done) = world.post(&url, json!({})).await;
    assert_eq!((status, &done["status"]), (200, &json!("success")));
    let (status, again) = world.post(&url, json!({})).await;
    assert_eq!((status, &again["__all__"][0]["code"]), (400, &json!("payout_already_executed")));
    assert_eq!(world.sim.executions(id), Some((2, 1)));
    let totals = world.sim.totals("ZAR");
    assert_eq!((totals.paid_out, totals.paid_out_count, totals.executions_refused), (7000, 1, 1));
    assert_eq!(world.sim.totals("ZAR").balance(), -7000);
}

#[tokio::test]
async fn the_execution_url_wants_the_key_of_its_mode() {
    let world = World::new().await;
    let (id, url) = world.payout().await;
    assert_eq!(world.http.post(&url).send().await.unwrap().status(), 401);
    assert_eq!(world.call_as(LIVE_KEY, "POST", &url, Some(json!({}))).await.unwrap().0, 404);
    assert_eq!(world.sim.payout(id).unwrap()["status"], "initialized");
    assert_eq!(world.call("POST", &url, None).await.0, 200, "no body is an empty body");
}

#[tokio::test]
async fn the_window_is_fifteen_minutes() {
    let world = World::new().await;
    let (_, in_time) = world.payout().await;
    let (id, too_late) = world.payout().await;
    world.advance(900);
    assert_eq!(world.post(&in_time, json!({})).await.0, 200);
    world.advance(1);
    let (status, body) = world.post(&too_late, json!({})).await;
    assert_eq!((status, &body["__all__"][0]["code"]), (400, &json!("payout_execution_expired")));
    assert_eq!(world.sim.payout(id).unwrap()["status"], "initialized");
}

#[tokio::test]
async fn a_pending_payout_is_reserved_until_it_is_settled() {
    let world = World::new().await;
    world.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let (id, url) = world.payout().await;
    let (status, body) = world.post(&url, json!({})).await;
    assert_eq!((status, &body["status"]), (200, &json!("pending")));
    assert_eq!(world.post(&url, json!({})).await.0, 400);
    let totals = world.sim.totals("ZAR");
    assert_eq!((totals.payouts_pending, totals.paid_out), (7000, 0));
    world.sim.settle_payout(id, PayoutOutcome::Success).unwrap();
    let totals = world.sim.totals("ZAR");
    assert_eq!((totals.payouts_pending, totals.paid_out), (0, 7000));
    assert!(world.sim.settle_payout(id, PayoutOutcome::Success).is_err());
    // A bank's return after success, and success after all.
    world.sim.settle_payout(id, PayoutOutcome::Error { code: "account_closed".to_owned() }).unwrap();
    assert_eq!(world.sim.totals("ZAR").paid_out, 0);
    let view = world.sim.payout(id).unwrap();
    assert_eq!(view["transaction_data"]["attempts"][0]["error"]["code"], "account_closed");
    world.sim.settle_payout(id, PayoutOutcome::Success).unwrap();
    assert_eq!(world.sim.totals("ZAR").paid_out, 7000);
    let events: Vec<String> = world.sim.events().into_iter().map(|event| event.event_type).collect();
    assert_eq!(events, ["payout.created", "payout.pending", "payout.success", "payout.failed", "payout.success"]);
}

#[tokio::test]
async fn a_pending_payout_may_succeed_by_itself() {
    let world = World::new().await;
    world.sim.set_payout_behaviour(PayoutBehaviour::PendThenSucceed { secs: 10 });
    let (id, url) = world.payout().await;
    assert_eq!(world.post(&url, json!({})).await.1["status"], "pending");
    world.advance(9);
    assert_eq!(world.sim.payout(id).unwrap()["status"], "pending");
    world.advance(1);
    assert_eq!(world.sim.payout(id).unwrap()["status"], "success");
}

#[tokio::test]
async fn a_failed_execution_may_be_repeated() {
    let world = World::new().await;
    world.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "do_not_honour".to_owned() });
    let (id, url) = world.payout().await;
    let (status, body) = world.post(&url, json!({})).await;
    assert_eq!((status, &body["status"], &body["__all__"][0]["code"]), (400, &json!("error"), &json!("do_not_honour")));
    assert_eq!(world.sim.payout(id).unwrap()["status"], "error");
    world.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    assert_eq!(world.post(&url, json!({})).await.0, 200);
    assert_eq!(world.sim.totals("ZAR").paid_out, 7000);
    assert_eq!(world.sim.executions(id), Some((2, 0)));
}

#[tokio::test]
async fn a_payout_balance_of_its_own_may_not_suffice() {
    let world = World::new().await;
    world.sim.set_balance("ZAR", Some(6999));
    let (_, url) = world.payout().await;
    let (status, body) = world.post(&url, json!({})).await;
    assert_eq!((status, &body["__all__"][0]["code"]), (400, &json!("insufficient_funds")));
    world.sim.set_balance("ZAR", Some(7000));
    assert_eq!(world.post(&url, json!({})).await.0, 200);
    let balance = world.get("balance/").await;
    assert_eq!(balance["ecommerce"][0]["payout_balance"], 0);
    assert_eq!(balance["payout_balances_enabled"]["ZAR"], true);
}

#[tokio::test]
async fn done_is_spelt_in_two_ways() {
    let world = World::new().await;
    world.sim.set_done_word(DoneWord::Executed);
    let (id, url) = world.payout().await;
    assert_eq!(world.post(&url, json!({})).await.1["status"], "executed");
    assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "success");
    world.sim.set_done_word(DoneWord::ExecutedEverywhere);
    assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "executed");
}

#[tokio::test]
async fn a_bad_payout_is_refused_field_by_field() {
    let world = World::new().await;
    let (status, body) = world.post("payouts/", json!({"brand_id": new_payout()["brand_id"]})).await;
    assert_eq!(status, 400);
    assert_eq!(body["client"][0]["code"], "required");
    assert_eq!(body["payment"][0]["code"], "required");
    let mut wrong = new_payout();
    wrong["payment"] = json!({"amount": "70.00", "currency": "ZAR"});
    wrong["client"]["bank_account"] = "1".repeat(35).into();
    let (status, body) = world.post("payouts/", wrong).await;
    assert_eq!(status, 400);
    assert_eq!(body["payment.amount"][0]["code"], "invalid");
    assert_eq!(body["client.bank_account"][0]["code"], "max_length");
}

#[tokio::test]
async fn methods_need_a_brand_and_a_currency() {
    let world = World::new().await;
    let brand = new_payout()["brand_id"].as_str().unwrap().to_owned();
    let methods: Value = world.get(&format!("payout_methods/?brand_id={brand}&currency=ZAR")).await;
    assert_eq!(methods["available_payout_methods"], json!(["bank_transfer"]));
    world.get(&format!("payment_methods/?brand_id={brand}&currency=ZAR")).await;
    assert_eq!(world.call("GET", "payout_methods/", None).await.0, 400);
}

#[tokio::test]
async fn a_payout_has_a_fee_of_its_own() {
    let world = World::new().await;
    world.sim.set_settings(Settings { payout_fee: 55, ..Settings::default() });
    let (id, url) = world.payout().await;
    assert_eq!(world.event("payout.created")["payment"]["fee_amount"], 0);
    world.post(&url, json!({})).await;
    assert_eq!(world.event("payout.success")["payment"]["fee_amount"], 55);
    world.sim.settle_payout(id, PayoutOutcome::Error { code: "account_closed".to_owned() }).unwrap();
    world.sim.settle_payout(id, PayoutOutcome::Success).unwrap();
    use MovementKind::{Fee, Payout};
    assert_eq!(world.moved(id), [(Payout, -7000), (Fee, -55), (Payout, 7000), (Payout, -7000)]);
    assert_eq!(world.sim.totals("ZAR").balance(), -7055);
}
