//! An endpoint that takes its time keeps no other waiting, and hears all the same.

use std::time::{Duration, Instant};

use octoco::platform::permissions::Role;
use octoco::webhooks::outgoing::deliveries::{self, Lane};
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::receiver::Receiver;
use super::{ANYWHERE, call, endpoint};
use crate::harness::{Customer, TestApp};

#[sqlx::test]
async fn an_endpoint_that_hangs_has_few_in_hand_and_keeps_no_other_waiting(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, hanging, quick) = (t.staff(Role::Admin).await, Receiver::start().await, Receiver::start().await);
    hanging.take(Duration::from_secs(60));
    let (slow, _) = endpoint(&t, &admin, &hanging.url, &["balance.updated"]).await;
    let (fast, _) = endpoint(&t, &admin, &quick.url, &["balance.updated"]).await;
    let (at_once, slow_at_once) = (in_hand(Lane::Fast), in_hand(Lane::Slow));
    tests(&t, &admin, slow, at_once + 8).await;
    tests(&t, &admin, fast, 8).await;
    let begun = Instant::now();
    let first = deliveries::step_due(&t.app, Lane::Fast, Lane::Fast.at_once());
    let second = async {
        // Begun a moment later, while the first one hangs.
        while hanging.received().len() < at_once {
            tokio::task::yield_now().await;
        }
        // What the first one has in hand of the quick one's counts as its own.
        while quick.received().len() < 8 && begun.elapsed() < Duration::from_secs(8) {
            deliveries::step_due(&t.app, Lane::Fast, 16).await.expect("claimed");
        }
        (quick.received().len(), begun.elapsed())
    };
    let (claimed, (told, took)) = tokio::join!(first, second);
    claimed.expect("claimed");
    assert_eq!(told, 8);
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(begun.elapsed() >= Duration::from_secs(9), "the other one had its ten seconds");
    assert_eq!(hanging.most_in_hand(), at_once);
    // From now on it has loops of its own.
    assert_eq!(deliveries::step_due(&t.app, Lane::Fast, 16).await.expect("claimed"), 0);
    hanging.take(Duration::ZERO);
    assert_eq!(deliveries::step_due(&t.app, Lane::Slow, 16).await.expect("claimed"), slow_at_once);
    let page = t.get(&admin, &format!("/v1/admin/webhook-endpoints/{slow}/deliveries?limit=100")).await.body;
    let rows = page["data"].as_array().expect("a list");
    let timed_out = rows.iter().filter(|row| row["last_error"] == json!("timeout")).count();
    assert_eq!(timed_out, at_once);
    t.finish().await;
}

#[sqlx::test]
async fn an_endpoint_that_takes_a_fifth_of_a_second_hears_more_than_the_base_load(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, receiver) = (t.staff(Role::Admin).await, Receiver::start().await);
    receiver.take(Duration::from_millis(200));
    let (endpoint, _) = endpoint(&t, &admin, &receiver.url, &["balance.updated"]).await;
    tests(&t, &admin, endpoint, 96).await;
    // As a worker has it: a loop claims again when its batch has ended.
    let begun = Instant::now();
    let work = async || while deliveries::step_due(&t.app, Lane::Fast, 16).await.expect("claimed") > 0 {};
    tokio::join!(work(), work(), work(), work());
    assert_eq!((receiver.received().len(), receiver.most_in_hand()), (96, in_hand(Lane::Fast)));
    // Four at once were five seconds.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    t.finish().await;
}

fn in_hand(lane: Lane) -> usize {
    usize::try_from(lane.at_once()).expect("few")
}

async fn tests(t: &TestApp, admin: &Customer, endpoint: Uuid, count: usize) {
    for _ in 0..count {
        call(t, admin, Method::POST, &format!("/v1/admin/webhook-endpoints/{endpoint}/test"), None).await;
    }
}
