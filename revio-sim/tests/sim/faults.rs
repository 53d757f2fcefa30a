//! Each fault strikes as described, and only then.

use revio_sim::{Fault, FaultKind, Moment, Pay, Scope, Settings, TEST_KEY};
use serde_json::{Value, json};

use crate::harness::{NOW, Receiver, World, new_payout, new_purchase};

async fn world_with_receiver() -> (World, Receiver, String) {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let key = world.sim.register_webhook(&receiver.url).public_key;
    (world, receiver, key)
}

fn deliver(kind: FaultKind) -> Fault {
    Fault::next(1, Scope::Deliver, kind)
}

#[tokio::test]
async fn a_connection_closes_before_or_after_the_effect() {
    let world = World::new().await;
    for (moment, made) in [(Moment::Before, 0), (Moment::After, 1)] {
        world.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::Reset(moment)));
        let error = world.call_as(TEST_KEY, "POST", "purchases/", Some(new_purchase())).await.unwrap_err();
        assert!(error.is_request() && error.status().is_none(), "{error:?}");
        assert_eq!(world.sim.purchases_by_reference("order-1").len(), made);
        assert_eq!(world.sim.calls().last().unwrap().status, 0);
    }
    world.purchase().await;
}

#[tokio::test]
async fn an_execution_succeeds_and_its_answer_is_lost() {
    let world = World::new().await;
    let (id, url) = world.payout().await;
    world.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::After)));
    assert!(world.call_as(TEST_KEY, "POST", &url, Some(json!({}))).await.is_err());
    assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "success");
    assert_eq!(world.post(&url, json!({})).await.0, 400);
    assert_eq!(world.sim.totals("ZAR").paid_out, 7000);
}

#[tokio::test]
async fn a_lost_execution_happens_late() {
    let world = World::new().await;
    let (id, url) = world.payout().await;
    world.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::LateExecution { secs: 3600 }));
    assert!(world.call_as(TEST_KEY, "POST", &url, Some(json!({}))).await.is_err());
    assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "initialized");
    world.advance(3599);
    assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "initialized");
    world.advance(1);
    assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "success");
}

#[tokio::test]
async fn a_failed_execution_takes_effect_late_also_beyond_its_window() {
    let world = World::new().await;
    for (status, secs) in [(502, 60), (500, 901)] {
        let (id, url) = world.payout().await;
        world.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::LateEffect { secs, status }));
        assert_eq!(world.post(&url, json!({})).await.0, status);
        world.advance(i64::from(secs) - 1);
        assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "initialized");
        world.advance(1);
        assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "success");
    }
    assert_eq!(world.sim.totals("ZAR").paid_out, 14_000);
}

#[tokio::test]
async fn a_failed_creation_or_cancellation_takes_effect_late() {
    let world = World::new().await;
    let late = |scope, status| world.sim.set_fault(Fault::next(1, scope, FaultKind::LateEffect { secs: 60, status }));
    late(Scope::CreatePayout, 502);
    assert_eq!(world.post("payouts/", new_payout()).await.0, 502);
    late(Scope::CreatePurchase, 0);
    assert!(world.call_as(TEST_KEY, "POST", "purchases/", Some(new_purchase())).await.is_err());
    let made = || (world.sim.purchases_by_reference("order-1").len(), world.sim.payouts_by_reference("payout-1").len());
    assert_eq!(made(), (0, 0));
    world.advance(60);
    assert_eq!(made(), (1, 1));
    let id = world.purchase().await;
    late(Scope::CancelPurchase, 504);
    assert_eq!(world.post(&format!("purchases/{id}/cancel/"), json!({})).await.0, 504);
    assert_eq!(world.status_of(id).await, "created");
    world.advance(60);
    assert_eq!(world.status_of(id).await, "cancelled");
}

#[tokio::test]
async fn a_stale_read_is_older_than_the_event() {
    let world = World::new().await;
    let id = world.purchase().await;
    world.advance(100);
    world.sim.pay_purchase(id, Pay { fee: 7, ..Pay::default() }).unwrap();
    world.advance(100);
    world.sim.refund_purchase(id, Some(400)).unwrap();
    let read = || async { world.get(&format!("purchases/{id}/")).await };
    let now = read().await;
    assert_eq!(world.event("payment.refunded")["updated_on"], now["updated_on"]);
    // Once, by a fault.
    world.sim.set_fault(Fault::next(1, Scope::GetPurchase, FaultKind::StaleRead { secs: 1 }));
    let before = read().await;
    assert_eq!((&before["status"], &before["refundable_amount"]), (&json!("paid"), &json!(15_000)));
    assert_eq!((&before["updated_on"], &before["payment"]["fee_amount"]), (&json!(NOW + 100), &json!(7)));
    assert_eq!(read().await, now);
    // For as long as it is set.
    world.sim.set_settings(Settings { stale_read_secs: 101, ..Settings::default() });
    let unpaid = read().await;
    assert_eq!(
        (&unpaid["status"], &unpaid["payment"], &unpaid["updated_on"]),
        (&json!("created"), &json!(null), &json!(NOW))
    );
    world.advance(100);
    assert_eq!(read().await["status"], "paid");
    world.advance(1);
    assert_eq!(read().await, now);
}

#[tokio::test]
async fn a_payout_is_read_stale_too() {
    let world = World::new().await;
    let (id, url) = world.payout().await;
    world.advance(10);
    world.sim.set_settings(Settings { stale_read_secs: 3, payout_fee: 5, ..Settings::default() });
    assert_eq!(world.post(&url, json!({})).await.1["status"], "success", "only reading is stale");
    let before = world.get(&format!("payouts/{id}/")).await;
    assert_eq!((&before["status"], &before["updated_on"]), (&json!("initialized"), &json!(NOW)));
    assert_eq!((&before["payment"]["fee_amount"], &before["transaction_data"]["attempts"]), (&json!(0), &json!([])));
    world.advance(3);
    assert_eq!(world.get(&format!("payouts/{id}/")).await["status"], "success");
}

#[tokio::test]
async fn servers_and_gateways_fail_before_or_after_the_effect() {
    let world = World::new().await;
    let mut made = 0;
    for moment in [Moment::Before, Moment::After] {
        for (kind, expected) in [(FaultKind::BadGateway(moment), 502), (FaultKind::ServerError(moment), 500)] {
            world.sim.set_fault(Fault::next(1, Scope::CreatePayout, kind));
            let (status, body) = world.post("payouts/", new_payout()).await;
            assert_eq!(status, expected);
            assert!(matches!(body, Value::String(html) if html.starts_with('<')));
            made += usize::from(moment == Moment::After);
            assert_eq!(world.sim.payouts_by_reference("payout-1").len(), made);
        }
    }
}

#[tokio::test]
async fn a_limited_rate_says_when_to_come_back() {
    let world = World::new().await;
    world.sim.set_fault(Fault::next(2, Scope::AnyCall, FaultKind::RateLimited { retry_after_secs: 7 }));
    let request = world.http.get(format!("{}balance/", world.sim.base_url())).bearer_auth(TEST_KEY);
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(world.call("GET", "balance/", None).await.0, 429);
    assert_eq!(world.call("GET", "balance/", None).await.0, 200);
    let answered: Vec<u16> = world.sim.calls().iter().map(|call| call.status).collect();
    assert_eq!(answered, [429, 429, 200]);
}

#[tokio::test]
async fn a_hanging_call_has_had_its_effect_or_not() {
    let world = World::new().await;
    // Long enough for the effect, on a busy machine too.
    let impatient = reqwest::Client::builder().timeout(std::time::Duration::from_secs(3)).no_proxy().build().unwrap();
    for (moment, made) in [(Moment::Before, 0), (Moment::After, 1)] {
        world.sim.set_fault(Fault::next(1, Scope::CreatePurchase, FaultKind::Hang { secs: 30, moment }));
        let post = impatient.post(format!("{}purchases/", world.sim.base_url())).bearer_auth(TEST_KEY);
        assert!(post.json(&new_purchase()).send().await.unwrap_err().is_timeout());
        assert_eq!(world.sim.purchases_by_reference("order-1").len(), made);
    }
    world.sim.set_fault(Fault::next(1, Scope::GetPurchase, FaultKind::Slow { millis: 5 }));
    let id = world.purchase().await;
    assert_eq!(world.status_of(id).await, "created");
    world.sim.shutdown().await;
}

#[tokio::test]
async fn an_ignored_answer_brings_a_duplicate_by_the_schedule() {
    let (world, receiver, _) = world_with_receiver().await;
    world.sim.set_fault(deliver(FaultKind::IgnoreAnswer));
    world.purchase().await;
    assert_eq!(world.round().await, ["purchase.created 200"]);
    world.advance(120);
    assert_eq!(world.round().await, ["purchase.created 200"]);
    let received = receiver.received();
    assert_eq!(received[0].body, received[1].body);
}

#[tokio::test]
async fn a_duplicate_comes_at_once() {
    let (world, receiver, _) = world_with_receiver().await;
    world.sim.set_fault(deliver(FaultKind::Duplicate));
    world.purchase().await;
    assert_eq!(world.round().await.len(), 2);
    let received = receiver.received();
    assert_eq!((&received[0].body, &received[0].signature), (&received[1].body, &received[1].signature));
    assert_eq!(world.sim.deliveries_waiting(), 0);
}

#[tokio::test]
async fn a_delayed_or_reordered_event_lets_other_objects_pass() {
    let (world, receiver, _) = world_with_receiver().await;
    world.sim.set_fault(deliver(FaultKind::Reorder).of_event("purchase.paid"));
    world.sim.set_fault(deliver(FaultKind::Delay { millis: 10_000 }).of_event("payout.created"));
    world.payout().await;
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    world.sim.refund_purchase(id, None).unwrap();
    world.purchase().await;
    world.round().await;
    assert_eq!(receiver.events(), ["purchase.created", "payment.refunded", "purchase.created", "purchase.paid"]);
    world.advance(10);
    assert_eq!(world.round().await, ["payout.created 200"]);
}

#[tokio::test]
async fn forged_requests_do_not_verify_and_the_genuine_one_follows() {
    for kind in [FaultKind::WrongKey, FaultKind::TamperedBody, FaultKind::NoSignature] {
        let (world, receiver, key) = world_with_receiver().await;
        receiver.will_answer(&[401]);
        world.sim.set_fault(deliver(kind.clone()));
        world.purchase().await;
        world.round().await;
        world.advance(120);
        world.round().await;
        let received = receiver.received();
        assert_eq!(received.len(), 2, "{kind:?}");
        assert!(!received[0].is_signed_by(&key), "{kind:?}");
        assert!(received[1].is_signed_by(&key), "{kind:?}");
    }
}

#[tokio::test]
async fn strange_but_signed_requests_precede_the_genuine_one() {
    for kind in [FaultKind::OtherMode, FaultKind::UnknownEventType, FaultKind::NotJson] {
        let (world, receiver, key) = world_with_receiver().await;
        world.sim.set_fault(deliver(kind.clone()));
        world.purchase().await;
        assert_eq!(world.round().await.len(), 2);
        let received = receiver.received();
        assert!(received.iter().all(|one| one.is_signed_by(&key)));
        match kind {
            FaultKind::OtherMode => assert_eq!(received[0].json()["is_test"], false),
            FaultKind::UnknownEventType => assert_eq!(received[0].event(), "purchase.invented_tomorrow"),
            _ => assert!(serde_json::from_str::<Value>(&received[0].body).is_err()),
        }
        assert_eq!(received[1].json()["is_test"], true);
        assert_eq!(received[1].event(), "purchase.created");
    }
}

#[tokio::test]
async fn a_missing_event_never_comes_and_blocks_nothing() {
    let (world, receiver, _) = world_with_receiver().await;
    world.sim.set_fault(deliver(FaultKind::Missing).of_event("purchase.paid"));
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    world.sim.refund_purchase(id, None).unwrap();
    world.round().await;
    world.advance(1_000_000);
    assert!(world.round().await.is_empty());
    assert_eq!(receiver.events(), ["purchase.created", "payment.refunded"]);
    assert_eq!(world.sim.events().len(), 3, "it was raised all the same");
}

#[tokio::test]
async fn a_skewed_clock_shows_in_timestamps_only() {
    let world = World::new().await;
    world.sim.set_clock_skew(-7200);
    let id = world.purchase().await;
    let body = world.get(&format!("purchases/{id}/")).await;
    assert_eq!((&body["created_on"], &body["due"]), (&json!(NOW - 7200), &json!(NOW + 3600)));
    assert_eq!(body["status_history"][0]["timestamp"], NOW - 7200);
}

#[tokio::test]
async fn faults_can_be_cleared() {
    let world = World::new().await;
    world.sim.set_fault(Fault::chance(1.0, Scope::AnyCall, FaultKind::ServerError(Moment::Before)));
    assert_eq!(world.call("GET", "balance/", None).await.0, 500);
    world.sim.clear_faults();
    assert_eq!(world.call("GET", "balance/", None).await.0, 200);
}

#[tokio::test]
async fn more_calls_than_a_second_may_have_are_told_to_come_again() {
    let world = World::new().await;
    let call = async || world.call("GET", "balance/", None).await.0;
    world.sim.set_settings(Settings { calls_per_second: 2, ..world.sim.settings() });
    assert_eq!([call().await, call().await, call().await, call().await], [200, 200, 429, 429]);
    world.advance(1);
    assert_eq!(call().await, 200, "the next second");
    world.sim.set_settings(Settings { calls_per_second: 0, ..world.sim.settings() });
    for _ in 0..20 {
        assert_eq!(call().await, 200);
    }
}
