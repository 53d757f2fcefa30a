//! Ten thousand wrong logins at once, from as many addresses and for as many accounts, so that no slow-down of one of them
//! helps: what hashing costs is bounded, the rest is told to come again, and somebody on a known device signs in meanwhile.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Answer, PASSWORD, TestApp};

const CALLS: u32 = 10_000;
/// More than may wait for a turn to hash (128), so that the queue is full all the time.
const AT_ONCE: usize = 200;
/// Four hashes at once take 76 MiB; a hash for each call at once would take 3.8 GB. The rest is what the allocator keeps and what
/// the attack itself takes, which is in this process too: 605 and 606 MiB were measured, with the test alone. Half as much again.
const GROWTH_MAX: u64 = 900 * 1024 * 1024;
/// How long a person may have to wait in the middle of it, on a machine that also runs the attack.
const PATIENCE: Duration = Duration::from_secs(10);

/// Resident memory of this process: the service is in it, and so is the attack.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells it");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes * 1024
}

fn somewhere() -> String {
    let group = || rand::random::<u16>();
    format!("2001:db8:{:x}:{:x}:{:x}:{:x}:{:x}:3", group(), group(), group(), group(), group())
}

async fn sign_in(t: &TestApp, email: &str, password: &str, cookie: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    let headers = [("X-Forwarded-For", somewhere()), ("Cookie", cookie.to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    t.send(Method::POST, "/v1/auth/login", None, &headers, Some(body)).await
}

#[sqlx::test]
async fn ten_thousand_wrong_logins_cost_a_bounded_amount_and_stop_nobody(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default"), ("TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let customer = t.customer().await;
    let first = sign_in(&t, &customer.email, PASSWORD, "").await;
    let lines = first.headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("text"));
    let device = lines.filter_map(|line| line.split(';').next()).find(|pair| pair.starts_with("device="));
    let device = device.expect("the device is known from now on").to_owned();

    let (before, highest, started) = (resident(), AtomicU64::new(0), Instant::now());
    let attack = stream::iter(0..CALLS).map(async |call| {
        let answer = sign_in(&t, &format!("{call}.{}", customer.email), "a wrong password", "").await;
        if call % 50 == 0 {
            highest.fetch_max(resident(), Ordering::Relaxed);
        }
        (answer.status, answer.headers.contains_key("retry-after"))
    });
    let attack = attack.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let person = async {
        let mut waited = Vec::new();
        for _ in 0..5 {
            let asked = Instant::now();
            let answer = sign_in(&t, &customer.email, PASSWORD, &device).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            waited.push(asked.elapsed());
        }
        waited
    };
    let (answers, waited) = tokio::join!(attack, person);

    let count = |status| answers.iter().filter(|(told, _)| *told == status).count();
    let tried = count(StatusCode::UNAUTHORIZED);
    let (slowed, turned_away) = (count(StatusCode::TOO_MANY_REQUESTS), count(StatusCode::SERVICE_UNAVAILABLE));
    let growth = highest.load(Ordering::Relaxed).saturating_sub(before);
    eprintln!(
        "{tried} tried, {slowed} slowed down, {turned_away} turned away in {:?}; {} MiB more; waited {waited:?}",
        started.elapsed(),
        growth / 1024 / 1024
    );
    assert_eq!(tried + slowed + turned_away, answers.len(), "nothing but 401, 429 and 503");
    assert!(turned_away > 0 && tried > 0, "the queue was never full, or always");
    let told_when = answers.iter().all(|(status, retry_after)| *status == StatusCode::UNAUTHORIZED || *retry_after);
    assert!(told_when, "whoever is turned away is told when to come again");
    assert!(waited.iter().all(|waited| *waited < PATIENCE), "{waited:?}");
    assert!(growth < GROWTH_MAX, "{growth} bytes");
    t.finish().await;
}
