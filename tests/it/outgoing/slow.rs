//! An endpoint that takes its time keeps no other waiting, and hears all the same.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use octoco::platform::permissions::Role;
use octoco::processes::worker;
use octoco::webhooks::outgoing::deliveries::{self, Lane};
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
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
    // As a worker has it: what is claimed is stepped beside what was claimed before.
    let first = deliveries::claim_due(&t.app, Lane::Fast, 64).await.expect("claimed");
    assert_eq!(first.len(), at_once + 8, "what is in hand of one is none of the other's");
    let others = async {
        while quick.received().len() < 8 {
            tokio::task::yield_now().await;
        }
        let more = deliveries::claim_due(&t.app, Lane::Fast, 64).await.expect("claimed");
        assert_eq!(more.len(), 0, "it has its number in hand");
        tests(&t, &admin, fast, 8).await;
        join_all(deliveries::claim_due(&t.app, Lane::Fast, 64).await.expect("claimed")).await;
        (quick.received().len(), begun.elapsed())
    };
    let (_, (heard, took)) = tokio::join!(join_all(first), others);
    assert_eq!(heard, 16);
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
    tests(&t, &admin, endpoint, 200).await;
    let stop = CancellationToken::new();
    let mut tasks = worker::start(&t.app, &stop);
    let begun = Instant::now();
    while receiver.received().len() < 200 && begun.elapsed() < Duration::from_secs(20) {
        tokio::task::yield_now().await;
    }
    let took = begun.elapsed();
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    assert_eq!((receiver.received().len(), receiver.most_in_hand()), (200, in_hand(Lane::Fast)));
    // Four at once were ten seconds, and 32 of them a second six.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn in_hand(lane: Lane) -> usize {
    usize::try_from(lane.at_once()).expect("few")
}

async fn tests(t: &TestApp, admin: &Customer, endpoint: Uuid, count: usize) {
    for _ in 0..count {
        call(t, admin, Method::POST, &format!("/v1/admin/webhook-endpoints/{endpoint}/test"), None).await;
    }
}
