//! The state file, and the control API over HTTP.

use revio_sim::{Clock, Options, Pay, PayoutBehaviour, endpoints};
use serde_json::{Value, json};

use crate::harness::{NOW, Receiver, World, options};

#[tokio::test]
async fn a_restart_keeps_objects_keys_settings_and_pending_deliveries() {
    let folder = std::env::temp_dir().join(format!("revio-sim-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let with_file = || Options { state_file: Some(folder.join("state.json")), ..options() };
    let receiver = Receiver::start().await;

    let world = World::with(with_file()).await;
    let webhook = world.sim.register_webhook(&receiver.url);
    let company_key = world.sim.company_public_key();
    receiver.will_answer(&[500]);
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    world.sim.set_payout_behaviour(PayoutBehaviour::PendThenSucceed { secs: 300 });
    let (payout, url) = world.payout().await;
    world.post(&url, json!({})).await;
    assert_eq!(world.round().await.first().unwrap(), "purchase.created 500");
    let before = world.sim.purchase(id);
    world.sim.shutdown().await;

    let later = Options { clock: Clock::fixed(NOW + 120), ..with_file() };
    let world = World::with(later).await;
    assert_eq!(world.sim.purchase(id), before);
    assert_eq!(world.sim.webhooks(), std::slice::from_ref(&webhook));
    assert_eq!(world.sim.company_public_key(), company_key);
    assert_eq!(world.sim.totals("ZAR").paid_in, 15000);
    assert_eq!(world.sim.payout(payout).unwrap()["status"], "pending");
    assert_eq!(world.round().await, ["purchase.created 200", "purchase.paid 200"]);
    assert!(receiver.received().iter().all(|one| one.is_signed_by(&webhook.public_key)));
    world.advance(180);
    assert_eq!(world.sim.payout(payout).unwrap()["status"], "success");
    world.sim.shutdown().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_change_is_saved_without_a_shutdown() {
    let file = std::env::temp_dir().join(format!("revio-sim-{}.json", uuid::Uuid::new_v4()));
    let world = World::with(Options { state_file: Some(file.clone()), ..options() }).await;
    let id = world.purchase().await.to_string();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains(&id)) {
        assert!(std::time::Instant::now() < deadline, "not saved");
        tokio::task::yield_now().await;
    }
    world.sim.shutdown().await;
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn a_broken_state_file_is_an_error_not_a_fresh_start() {
    let file = std::env::temp_dir().join(format!("revio-sim-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&file, "{").unwrap();
    let started = revio_sim::start(Options { state_file: Some(file.clone()), ..options() }).await;
    assert!(started.is_err());
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn the_port_is_free_after_a_shutdown() {
    let world = World::new().await;
    world.purchase().await;
    let listen = world.sim.origin().trim_start_matches("http://").parse().unwrap();
    world.sim.shutdown().await;
    let again = World { sim: revio_sim::start(Options { listen, ..options() }).await.unwrap(), http: world.http };
    again.purchase().await;
}

async fn control(world: &World, method: &str, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/_sim/{path}", world.sim.origin());
    let response = world.http.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_control_api_does_what_the_handle_does() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    assert_eq!(control(&world, "GET", "", Value::Null).await.1.as_array().unwrap().len(), endpoints().count());
    let (_, webhook) = control(&world, "POST", "webhooks/", json!({"callback": receiver.url})).await;
    assert!(webhook["public_key"].as_str().unwrap().contains("BEGIN PUBLIC KEY"));
    let id = world.purchase().await;
    let act = format!("purchases/{id}");
    assert_eq!(control(&world, "POST", &format!("{act}/pay/"), json!({"fee": 10})).await.1["status"], "paid");
    assert_eq!(control(&world, "POST", &format!("{act}/pay/"), json!({})).await.0, 409);
    assert_eq!(control(&world, "POST", &format!("{act}/refund/"), json!({"amount": 1})).await.1["status"], "refunded");
    assert_eq!(control(&world, "POST", &format!("{act}/charge_back/"), json!({})).await.1["status"], "charged_back");
    let shown = control(&world, "GET", &format!("{act}/"), Value::Null).await.1;
    assert_eq!(shown["payments"].as_array().unwrap().len(), 2);
    assert_eq!(control(&world, "GET", "totals/?currency=ZAR", Value::Null).await.1["balance"], -10);
    let (status, settings) = control(&world, "PATCH", "settings/", json!({"payouts": "pend"})).await;
    assert_eq!((status, &settings["payouts"], &settings["slow_secs"]), (200, &json!("pend"), &json!(5)));
    assert_eq!(control(&world, "PATCH", "settings/", json!({"payout": "pend"})).await.0, 409);
    let (payout, url) = world.payout().await;
    assert_eq!(world.post(&url, json!({})).await.1["status"], "pending");
    let settled = json!({"error": {"code": "account_closed"}});
    assert_eq!(control(&world, "POST", &format!("payouts/{payout}/settle/"), settled).await.1["status"], "error");
    assert_eq!(control(&world, "GET", &format!("payouts/{payout}/"), Value::Null).await.1["executions"], 1);
    let found = control(&world, "GET", "payouts/?reference=payout-1", Value::Null).await.1;
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(control(&world, "POST", "clock/", json!({"advance": 60})).await.1["now"], NOW + 60);
    assert_eq!(control(&world, "POST", "deliver/", json!({})).await.1.as_array().unwrap().len(), 7);
    assert_eq!(control(&world, "GET", "deliveries/", Value::Null).await.1["waiting"], json!([]));
    assert_eq!(control(&world, "GET", "events/", Value::Null).await.1.as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn payments_fees_overrides_and_movements_are_driven_over_http() {
    let world = World::new().await;
    let id = world.purchase().await;
    let act = |action: &str, body: Value| {
        let path = format!("purchases/{id}/{action}/");
        let world = &world;
        async move { control(world, "POST", &path, body).await }
    };
    control(&world, "PATCH", "settings/", json!({"fee_at_paid": "zero", "refunds": "pending"})).await;
    act("pay", json!({"fee": 10})).await;
    assert_eq!(act("clear", json!({})).await.1["status"], "cleared");
    assert_eq!(act("settle", json!({"fee": 12})).await.1["payment"]["fee_amount"], 12);
    assert_eq!(act("refund", json!({"amount": 400})).await.1["status"], "pending_refund");
    assert_eq!(act("fail_refund", json!({})).await.1["status"], "settled");
    assert_eq!(act("charge_back", json!({"amount": 300})).await.1["refundable_amount"], 14_700);
    assert_eq!(act("reverse_charge_back", json!({"amount": 100})).await.1["refundable_amount"], 14_800);
    let payments = control(&world, "GET", &format!("purchases/{id}/"), Value::Null).await.1["payments"].clone();
    let failing = format!("payments/{}/fail/", payments[1]["id"].as_str().unwrap());
    assert_eq!(control(&world, "POST", &failing, json!({})).await.1.as_array().unwrap().len(), 2);
    let moved = control(&world, "GET", "movements/", Value::Null).await.1;
    let signed = |one: &Value| (one["kind"].clone(), one["amount"].as_i64().unwrap() * one["sign"].as_i64().unwrap());
    assert_eq!(
        moved.as_array().unwrap().iter().map(signed).collect::<Vec<_>>(),
        [
            ("purchase", 15_000),
            ("fee", -12),
            ("chargeback", -300),
            ("chargeback_reversal", 100),
            ("chargeback_reversal", -100)
        ]
        .map(|(kind, cents)| (json!(kind), cents))
    );
    let said = json!({"target": id, "pointer": "/status", "value": "unheard_of"});
    assert_eq!(control(&world, "POST", "overrides/", said).await.0, 200);
    assert_eq!(world.status_of(id).await, "unheard_of");
    assert_eq!(control(&world, "POST", "overrides/", json!({"target": "purchases", "pointer": "/x"})).await.0, 409);
    assert_eq!(control(&world, "DELETE", "overrides/?target=payout", Value::Null).await.1.as_array().unwrap().len(), 1);
    assert_eq!(control(&world, "DELETE", &format!("overrides/?target={id}"), Value::Null).await.1, json!([]));
    let event = json!({"id": id, "event_type": "purchase.unheard_of"});
    assert_eq!(control(&world, "POST", "events/", event).await.0, 200);
    assert_eq!(world.event("purchase.unheard_of")["status"], "charged_back");
    let late =
        json!({"scope": "execute_payout", "when": {"next": 1}, "kind": {"late_effect": {"secs": 9, "status": 502}}});
    assert_eq!(control(&world, "POST", "faults/", late).await.0, 200);
    let stale = json!({"scope": "get_balance", "when": {"next": 1}, "kind": {"stale_read": {"secs": 9}}});
    assert_eq!(control(&world, "POST", "faults/", stale).await.0, 409);
}

#[tokio::test]
async fn faults_are_set_over_http_and_nonsense_is_refused() {
    let world = World::new().await;
    let fault = json!({"scope": "get_purchase", "when": {"next": 1}, "kind": {"bad_gateway": "before"}});
    assert_eq!(
        control(&world, "POST", "faults/", fault.clone()).await.1,
        json!([{
            "scope": "get_purchase", "when": {"next": 1}, "kind": {"bad_gateway": "before"}, "event_type": null,
            "object": null,
        }])
    );
    let nonsense = json!({"scope": "deliver", "when": {"next": 1}, "kind": {"bad_gateway": "before"}});
    assert_eq!(control(&world, "POST", "faults/", nonsense).await.0, 409);
    let id = world.purchase().await;
    assert_eq!(world.call("GET", &format!("purchases/{id}/"), None).await.0, 502);
    assert_eq!(control(&world, "POST", "faults/", fault).await.0, 200);
    assert_eq!(control(&world, "DELETE", "faults/", Value::Null).await.1, json!([]));
    assert_eq!(world.status_of(id).await, "created");
}
