//! Many callers at once, by two rules: *closed*, each asks again as soon as it was answered; *open*, so many a second whatever becomes of
//! those before, timed from the moment at which each was due, so that a stall counts for all who had to wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use octoco::platform::error::BoxError;
use serde::Serialize;
use tokio::task::JoinSet;

use super::client::Client;

/// Of latencies: microseconds up to a minute, three digits.
const SLOWEST: u64 = 60_000_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) lasting: Duration,
    /// A second, in all; `None` = closed.
    pub(crate) rate: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) connections: usize,
    pub(crate) open_loop: bool,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Answered with the status that was wanted, warm-up included.
    pub(crate) good: u64,
    /// Turned away with 503.
    pub(crate) turned_away: u64,
    /// Anything else.
    pub(crate) bad: u64,
    /// The first of these.
    pub(crate) complaint: Option<String>,
}

/// What the `n`th call asks, and the status that it wants.
pub(crate) type Ask = dyn Fn(u64) -> Vec<u8> + Send + Sync;

#[derive(Default)]
struct Counts {
    next: AtomicU64,
    good: AtomicU64,
    turned_away: AtomicU64,
    bad: AtomicU64,
}

pub(crate) async fn run(load: Load, wanted: u16, ask: Arc<Ask>) -> Result<Measured, BoxError> {
    let counts = Arc::new(Counts::default());
    let begun = Instant::now();
    let (measuring, end) = (begun + load.warm_up, begun + load.warm_up + load.lasting);
    let mut callers = JoinSet::new();
    for caller in 0..load.connections {
        let (counts, ask) = (Arc::clone(&counts), Arc::clone(&ask));
        callers.spawn(async move {
            let mut client = Client::connect(load.address).await?;
            let mut took = Histogram::<u64>::new_with_max(SLOWEST, 3)?;
            let mut complaint = None;
            let mut due = Due::new(&load, caller, begun);
            loop {
                let from = due.next().await;
                if from >= end {
                    return Ok::<_, BoxError>((took, complaint));
                }
                let request = ask(counts.next.fetch_add(1, Ordering::Relaxed));
                let answer = client.ask(&request).await?;
                match answer.status {
                    status if status == wanted => _ = counts.good.fetch_add(1, Ordering::Relaxed),
                    503 => _ = counts.turned_away.fetch_add(1, Ordering::Relaxed),
                    status => {
                        counts.bad.fetch_add(1, Ordering::Relaxed);
                        let body = String::from_utf8_lossy(answer.body);
                        complaint.get_or_insert_with(|| format!("{status} {body}"));
                    }
                }
                let done = Instant::now();
                if from >= measuring && done <= end && answer.status == wanted {
                    took.saturating_record(u64::try_from((done - from).as_micros()).unwrap_or(SLOWEST));
                }
            }
        });
    }
    let (mut all, mut complaint) = (Histogram::<u64>::new_with_max(SLOWEST, 3)?, None);
    while let Some(caller) = callers.join_next().await {
        let (took, said) = caller??;
        all.add(took)?;
        complaint = complaint.or(said);
    }
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Measured {
        connections: load.connections,
        open_loop: load.rate.is_some(),
        per_second: all.len() as f64 / load.lasting.as_secs_f64(),
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        p99_ms: ms(0.99),
        max_ms: all.max() as f64 / 1000.0,
        good: counts.good.load(Ordering::Relaxed),
        turned_away: counts.turned_away.load(Ordering::Relaxed),
        bad: counts.bad.load(Ordering::Relaxed),
        complaint,
    })
}

/// When a caller's next call is due.
struct Due {
    at: Instant,
    every: Option<Duration>,
}

impl Due {
    fn new(load: &Load, caller: usize, begun: Instant) -> Self {
        let every = load.rate.map(|rate| Duration::from_secs_f64(load.connections as f64 / rate));
        let offset = every.map_or(Duration::ZERO, |every| every.mul_f64(caller as f64 / load.connections as f64));
        Self { at: begun + offset, every }
    }

    async fn next(&mut self) -> Instant {
        let Some(every) = self.every else { return Instant::now() };
        let due = self.at;
        self.at += every;
        tokio::time::sleep_until(due.into()).await;
        due
    }
}
