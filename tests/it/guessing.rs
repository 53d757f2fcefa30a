//! Ten thousand wrong logins at once, from as many addresses and for as many accounts, so that no slow-down of one of them
//! helps: what hashing costs is bounded, the rest is told to come again, and somebody on a known device signs in meanwhile.
//!
//! The service is a process of its own: its memory is neither the attack's nor that of the tests beside it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::{StreamExt, stream};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::binary::{self, Serving};
use crate::harness::{Answer, PASSWORD, answer};

const CALLS: u32 = 10_000;
/// More than may wait for a turn to hash (128), so that the queue is full all the time.
const AT_ONCE: usize = 200;
/// Four hashes at once take 76 MiB; a hash for each call at once would take 3.8 GB. The rest is what 200 calls at once take in a
/// build for tests, and what the allocator keeps: 655 and 695 MiB were measured. Half as much again.
const GROWTH_MAX: u64 = 1000 * 1024 * 1024;

/// The service, and who attacks it and who does not.
struct Attacked {
    serving: Serving,
    http: Client,
}

impl Attacked {
    async fn start(db: &PgPool) -> Self {
        let mut settings = binary::settings(db, "any");
        settings.extend([("RATE_LIMITS", "default".to_owned()), ("TRUSTED_PROXIES", "127.0.0.1/32".to_owned())]);
        Self { serving: Serving::start(&settings).await, http: Client::builder().build().expect("a client") }
    }

    async fn post(&self, path: &str, cookie: &str, body: Value) -> Answer {
        let request = self.http.post(format!("http://{}{path}", self.serving.address)).json(&body);
        answer(request.header("X-Forwarded-For", somewhere()).header("Cookie", cookie)).await
    }

    async fn sign_in(&self, email: &str, password: &str, cookie: &str) -> Answer {
        self.post("/v1/auth/login", cookie, json!({"email": email, "password": password})).await
    }

    /// Resident memory.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.serving.id())).expect("Linux tells it");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux tells it");
        let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        kilobytes * 1024
    }
}

fn somewhere() -> String {
    let group = || rand::random::<u16>();
    format!("2001:db8:{:x}:{:x}:{:x}:{:x}:{:x}:3", group(), group(), group(), group(), group())
}

/// Registers and signs in. What the browser keeps of it: the device is known from now on.
async fn device_of(t: &Attacked, email: &str) -> String {
    let body = json!({"email": email, "password": PASSWORD, "full_name": "Thandi Nkosi"});
    let registered = t.post("/v1/auth/register", "", body).await;
    assert_eq!(registered.status, StatusCode::CREATED, "{}", registered.body);
    let first = t.sign_in(email, PASSWORD, "").await;
    let lines = first.headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("text"));
    let device = lines.filter_map(|line| line.split(';').next()).find(|pair| pair.starts_with("device="));
    device.expect("the device is known from now on").to_owned()
}

#[sqlx::test]
async fn ten_thousand_wrong_logins_cost_a_bounded_amount_and_stop_nobody(db: PgPool) {
    let t = Attacked::start(&db).await;
    let email = "thandi@example.com";
    let device = device_of(&t, email).await;

    let (before, highest, started) = (t.resident(), AtomicU64::new(0), Instant::now());
    let attack = async {
        let calls = stream::iter(0..CALLS).map(async |call| {
            let answer = t.sign_in(&format!("{call}.{email}"), "a wrong password", "").await;
            if call % 50 == 0 {
                highest.fetch_max(t.resident(), Ordering::Relaxed);
            }
            (answer.status, answer.headers.contains_key("retry-after"))
        });
        let answers = calls.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        (answers, started.elapsed())
    };
    let person = async {
        for _ in 0..5 {
            let answer = t.sign_in(email, PASSWORD, &device).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        }
        started.elapsed()
    };
    let ((answers, attacked), waited) = tokio::join!(attack, person);

    let count = |status| answers.iter().filter(|(told, _)| *told == status).count();
    let tried = count(StatusCode::UNAUTHORIZED);
    let (slowed, turned_away) = (count(StatusCode::TOO_MANY_REQUESTS), count(StatusCode::SERVICE_UNAVAILABLE));
    let growth = highest.load(Ordering::Relaxed).saturating_sub(before);
    eprintln!(
        "{tried} tried, {slowed} slowed down, {turned_away} turned away in {attacked:?}; {} MiB more; waited {waited:?}",
        growth / 1024 / 1024
    );
    assert_eq!(tried + slowed + turned_away, answers.len(), "nothing but 401, 429 and 503");
    assert!(turned_away > 0 && tried > 0, "the queue was never full, or always");
    let told_when = answers.iter().all(|(status, retry_after)| *status == StatusCode::UNAUTHORIZED || *retry_after);
    assert!(told_when, "whoever is turned away is told when to come again");
    // Not within so many seconds: how fast anybody is depends on the machine, which also runs the attack.
    assert!(waited < attacked, "five times behind each other took {waited:?} of an attack of {attacked:?}");
    assert!(growth < GROWTH_MAX, "{growth} bytes");
    let (printed, status) = t.serving.stop().await;
    assert!(status.success(), "{printed}");
}
