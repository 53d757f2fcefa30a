//! An endpoint that does not answer keeps no other waiting.

use std::time::{Duration, Instant};

use octoco::platform::permissions::Role;
use octoco::webhooks::outgoing::deliveries::{self, AT_ONCE, Lane};
use reqwest::Method;
use serde_json::json;
use sqlx::PgPool;

use super::receiver::Receiver;
use super::{ANYWHERE, call, endpoint};
use crate::harness::TestApp;

#[sqlx::test]
async fn an_endpoint_that_hangs_has_few_in_hand_and_keeps_no_other_waiting(db: PgPool) {
    let t = TestApp::with(db, &ANYWHERE).await;
    let (admin, hanging, quick) = (t.staff(Role::Admin).await, Receiver::start().await, Receiver::start().await);
    hanging.hang(true);
    let (slow, _) = endpoint(&t, &admin, &hanging.url, &["balance.updated"]).await;
    let (fast, _) = endpoint(&t, &admin, &quick.url, &["balance.updated"]).await;
    for _ in 0..12 {
        call(&t, &admin, Method::POST, &format!("/v1/admin/webhook-endpoints/{slow}/test"), None).await;
    }
    for _ in 0..8 {
        call(&t, &admin, Method::POST, &format!("/v1/admin/webhook-endpoints/{fast}/test"), None).await;
    }
    let begun = Instant::now();
    let first = deliveries::step_due(&t.app, Lane::Fast, 16);
    let second = async {
        // Begun a moment later, while the first one hangs.
        while hanging.received().len() < usize::try_from(AT_ONCE).expect("few") {
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
    assert_eq!(hanging.most_in_hand(), usize::try_from(AT_ONCE).expect("few"));
    // From now on it has loops of its own.
    assert_eq!(deliveries::step_due(&t.app, Lane::Fast, 16).await.expect("claimed"), 0);
    hanging.hang(false);
    assert_eq!(deliveries::step_due(&t.app, Lane::Slow, 16).await.expect("claimed"), 4);
    let page = t.get(&admin, &format!("/v1/admin/webhook-endpoints/{slow}/deliveries?limit=100")).await.body;
    let rows = page["data"].as_array().expect("a list");
    let timed_out = rows.iter().filter(|row| row["last_error"] == json!("timeout")).count();
    assert_eq!(timed_out, 4);
    t.finish().await;
}
