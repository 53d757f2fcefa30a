//! Many callers at once, by two rules: *closed*, each asks again as soon as it was answered; *open*, so many a second whatever becomes of
//! those before, timed from the moment at which each was due, so that a stall counts for all who had to wait.

use std::future::Future;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use octoco::platform::error::BoxError;
use serde::Serialize;
use tokio::task::JoinSet;

/// Of latencies: microseconds up to a minute, three digits.
const SLOWEST: u64 = 60_000_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    /// Who runs out of calls ends before.
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
    /// Answered as was wanted, warm-up included.
    pub(crate) good: u64,
    /// Turned away with 503 and `Retry-After`.
    pub(crate) turned_away: u64,
    /// Anything else.
    pub(crate) bad: u64,
    /// The first of these.
    pub(crate) complaint: Option<String>,
}

pub(crate) enum Outcome {
    Good,
    TurnedAway,
    Bad(String),
    /// There was nothing to ask any more.
    Nothing,
}

pub(crate) trait Caller: Send + 'static {
    fn call(&mut self) -> impl Future<Output = Result<Outcome, BoxError>> + Send;
    /// What it does before it asks again.
    fn turned_away(&mut self) -> impl Future<Output = ()> + Send;
}

/// Of one caller, or of all.
struct Tally {
    took: Histogram<u64>,
    good: u64,
    turned_away: u64,
    bad: u64,
    complaint: Option<String>,
    /// Its last answer that was measured.
    last: Option<Instant>,
}

pub(crate) async fn run<C: Caller>(load: Load, caller: impl Fn(usize) -> C) -> Result<Measured, BoxError> {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..load.connections {
        callers.spawn(calls(caller(number), load, Due::new(&load, number, begun), begun));
    }
    let mut all = Tally::new()?;
    while let Some(one) = callers.join_next().await {
        all.add(one??)?;
    }
    let measuring = begun + load.warm_up;
    let lasted = all.last.map_or(load.lasting, |last| (last - measuring).min(load.lasting));
    let ms = |quantile| all.took.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Measured {
        connections: load.connections,
        open_loop: load.rate.is_some(),
        per_second: all.took.len() as f64 / lasted.as_secs_f64().max(0.001),
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        p99_ms: ms(0.99),
        max_ms: all.took.max() as f64 / 1000.0,
        good: all.good,
        turned_away: all.turned_away,
        bad: all.bad,
        complaint: all.complaint,
    })
}

async fn calls<C: Caller>(mut caller: C, load: Load, mut due: Due, begun: Instant) -> Result<Tally, BoxError> {
    let (measuring, end) = (begun + load.warm_up, begun + load.warm_up + load.lasting);
    let mut tally = Tally::new()?;
    loop {
        let from = due.next().await;
        if from >= end {
            return Ok(tally);
        }
        let outcome = caller.call().await?;
        let done = Instant::now();
        match outcome {
            Outcome::Nothing => return Ok(tally),
            Outcome::TurnedAway => {
                tally.turned_away += 1;
                caller.turned_away().await;
            }
            Outcome::Bad(why) => {
                tally.bad += 1;
                tally.complaint.get_or_insert(why);
            }
            Outcome::Good => {
                tally.good += 1;
                if from >= measuring && (done <= end || load.rate.is_some()) {
                    tally.took.saturating_record(u64::try_from((done - from).as_micros()).unwrap_or(SLOWEST));
                    tally.last = Some(done);
                }
            }
        }
    }
}

impl Tally {
    fn new() -> Result<Self, BoxError> {
        let took = Histogram::new_with_max(SLOWEST, 3)?;
        Ok(Self { took, good: 0, turned_away: 0, bad: 0, complaint: None, last: None })
    }

    fn add(&mut self, other: Self) -> Result<(), BoxError> {
        self.took.add(other.took)?;
        self.good += other.good;
        self.turned_away += other.turned_away;
        self.bad += other.bad;
        self.complaint = self.complaint.take().or(other.complaint);
        self.last = self.last.max(other.last);
        Ok(())
    }
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
