//! Webhooks: registration, signatures, the retry schedule, order, and deliveries that go out by themselves.

use std::time::Duration;

use revio_sim::{Clock, Deliveries, LIVE_KEY, Options, Pay, RETRY_MINUTES};
use rsa::pkcs1::EncodeRsaPrivateKey;
use serde_json::json;

use crate::harness::{NOW, Receiver, World, id_of, new_purchase, verifies};

#[tokio::test]
async fn a_delivery_is_the_object_with_its_event_signed_over_the_raw_bytes() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let webhook = world.sim.register_webhook(&receiver.url);
    let id = world.purchase().await;
    assert_eq!(world.round().await, ["purchase.created 200"]);
    let received = &receiver.received()[0];
    assert!(
        received.body.starts_with(&format!("{{\"id\": \"{id}\", \"due\": {}, \"type\": \"purchase\", ", NOW + 3600))
    );
    assert_eq!(received.json()["event_type"], "purchase.created");
    assert!(received.is_signed_by(&webhook.public_key));
    assert!(!received.is_signed_by(&world.sim.company_public_key()));
    let compact = received.json().to_string();
    assert!(!verifies(&webhook.public_key, &compact, received.signature.as_ref().unwrap()), "re-serialised");
    let event = &world.sim.events()[0];
    assert_eq!((&event.body, Some(&event.signature)), (&received.body, received.signature.as_ref()));
    assert!(verifies(&webhook.public_key, "forged", &world.sim.sign(b"forged")));
    assert!(!verifies(&webhook.public_key, "forged", &world.sim.sign_other(b"forged")));
}

#[tokio::test]
async fn retries_follow_the_schedule_with_the_same_bytes_and_then_stop() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.sim.register_webhook(&receiver.url);
    world.purchase().await;
    receiver.will_answer(&[500; 8]);
    let mut at = 0;
    for minutes in RETRY_MINUTES {
        if minutes > 0 {
            world.advance((minutes - at) * 60 - 1);
            assert!(world.round().await.is_empty(), "too early for minute {minutes}");
            world.advance(1);
        }
        at = minutes;
        assert_eq!(world.round().await, ["purchase.created 500"], "minute {minutes}");
    }
    world.advance(1_000_000);
    assert!(world.round().await.is_empty(), "given up");
    let received = receiver.received();
    assert_eq!(received.len(), 8);
    assert!(received.iter().all(|one| one.body == received[0].body && one.signature == received[0].signature));
    assert_eq!(world.sim.delivery_log().last().unwrap().attempt, 8);
}

#[tokio::test]
async fn an_undelivered_event_holds_back_the_later_ones_of_its_object_only() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.sim.register_webhook(&receiver.url);
    receiver.will_answer(&[503]);
    let (blocked, free) = (world.purchase().await, world.purchase().await);
    world.sim.pay_purchase(blocked, Pay::default()).unwrap();
    world.sim.pay_purchase(free, Pay::default()).unwrap();
    assert_eq!(world.round().await, ["purchase.created 503", "purchase.created 200", "purchase.paid 200"]);
    assert!(world.round().await.is_empty());
    assert_eq!(world.sim.deliveries_waiting(), 2);
    world.advance(120);
    assert_eq!(world.round().await, ["purchase.created 200", "purchase.paid 200"]);
    // The snapshot is of the moment of the event, not of the delivery.
    assert_eq!(receiver.received()[3].json()["status"], "created");
}

#[tokio::test]
async fn an_unreachable_receiver_is_a_failed_delivery() {
    let world = World::new().await;
    world.sim.register_webhook("http://127.0.0.1:1/hook");
    world.purchase().await;
    let reports = world.sim.deliver().await;
    assert!(reports[0].status.as_ref().unwrap_err().contains("refused"), "{reports:?}");
    assert_eq!(world.sim.deliveries_waiting(), 1);
}

#[tokio::test]
async fn webhooks_are_managed_through_the_api_each_with_its_own_key() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let wanted = json!({"title": "paid only", "callback": receiver.url, "events": ["purchase.paid"]});
    let (status, created) = world.post("webhooks/", wanted).await;
    assert_eq!(status, 201, "{created}");
    let other = world.sim.register_webhook(&receiver.url);
    assert_ne!(created["public_key"], json!(other.public_key));
    let list = world.get("webhooks/").await;
    assert_eq!((list["results"].as_array().unwrap().len(), &list["next"]), (2, &json!(null)));
    assert_eq!(world.call_live("GET", "webhooks/").await.1["results"], json!([]));
    let path = format!("webhooks/{}/", id_of(&created));
    assert_eq!(world.call("DELETE", &format!("webhooks/{}/", other.id), None).await.0, 204);
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    assert_eq!(world.round().await, ["purchase.paid 200"], "nothing else was subscribed");
    assert!(receiver.received()[0].is_signed_by(created["public_key"].as_str().unwrap()));
    let (status, changed) = world.call("PATCH", &path, Some(json!({"all_events": true}))).await;
    assert_eq!((status, &changed["title"]), (200, &json!("paid only")));
    assert_eq!(changed["public_key"], created["public_key"]);
    assert_eq!(world.post("webhooks/", json!({"title": "x"})).await.0, 400);
    let unknown = json!({"title": "x", "callback": "http://x.test/", "events": ["purchase.eaten"]});
    assert_eq!(world.post("webhooks/", unknown).await.1["events"][0]["code"], "invalid_choice");
}

#[tokio::test]
async fn a_test_webhook_never_sees_live_events() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.sim.register_webhook(&receiver.url);
    let (status, _) = world.call_as(LIVE_KEY, "POST", "purchases/", Some(new_purchase())).await.unwrap();
    assert_eq!(status, 201);
    assert!(world.round().await.is_empty());
    assert!(!world.sim.events()[0].is_test);
}

#[tokio::test]
async fn the_success_callback_is_signed_with_the_company_key() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let mut wanted = new_purchase();
    wanted["success_callback"] = receiver.url.clone().into();
    let id = id_of(&world.post("purchases/", wanted).await.1);
    world.sim.fail_purchase(id).unwrap();
    assert!(world.round().await.is_empty(), "never on failure");
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    assert_eq!(world.round().await, ["purchase.paid 200"]);
    let company_key = world.get("public_key/").await;
    assert!(receiver.received()[0].is_signed_by(company_key.as_str().unwrap()));
}

#[tokio::test]
async fn after_a_rotation_the_old_key_signs_a_while_longer() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let old = world.sim.register_webhook(&receiver.url);
    let new = world.sim.rotate_webhook_key(old.id, 1).unwrap();
    assert_ne!(old.public_key, new.public_key);
    world.purchase().await;
    world.purchase().await;
    world.round().await;
    let received = receiver.received();
    assert!(received[0].is_signed_by(&old.public_key));
    assert!(received[1].is_signed_by(&new.public_key));
}

#[tokio::test]
async fn a_given_key_is_used_by_every_webhook() {
    let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    let pem = private.to_pkcs1_pem(rsa::pkcs8::LineEnding::LF).unwrap().to_string();
    let options = Options { webhook_private_key_pem: Some(pem), ..crate::harness::options() };
    let world = World::with(options).await;
    let (one, two) = (world.sim.register_webhook("http://a.test/"), world.sim.register_webhook("http://b.test/"));
    assert_eq!(one.public_key, two.public_key);
    assert_ne!(one.public_key, world.sim.company_public_key());
    assert!(verifies(&one.public_key, "x", &world.sim.sign(b"x")));
}

#[tokio::test]
async fn automatic_deliveries_go_out_and_are_retried_by_themselves() {
    let deliveries = Deliveries::Automatic { minute: Duration::from_millis(5) };
    let world = World::with(Options { deliveries, clock: Clock::system(), ..Options::default() }).await;
    let receiver = Receiver::start().await;
    world.sim.register_webhook(&receiver.url);
    receiver.will_answer(&[500, 500]);
    let id = world.purchase().await;
    world.sim.pay_purchase(id, Pay::default()).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while world.sim.deliveries_waiting() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", world.sim.delivery_log());
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.events(), ["purchase.created", "purchase.created", "purchase.created", "purchase.paid"]);
    world.sim.shutdown().await;
}
