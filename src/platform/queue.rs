//! The one queue of the house: a row with a `due_at` is the job. Nouns say how their rows are claimed, what a step is, and what
//! becomes of a row whose step failed; all else is here, once.
//!
//! ```text
//! claim   due rows, pushed one lease ahead ──> step, under a deadline, several at once, a panic caught
//!                                                │
//!         done, or moved by somebody else <──────┤
//!         died (tests): the lease runs out <─────┤
//!         a fault of the surroundings <──────────┤   again after 0, 1, 2, 4 … 45 s, for as long as it takes; no try is used up
//!         a fault of the row <───────────────────┘   again after the minutes of its ladder, then given up: a person must look
//! ```
//!
//! The surroundings are PostgreSQL, TigerBeetle, Redis, the network, the mail server, and Revio when it cannot answer or will not let us in:
//! an outage is nobody's row's fault, and when it ends every row goes on within a minute, without a person.

use std::sync::{Arc, Mutex, PoisonError};
use std::{collections::HashMap, future::Future, panic::AssertUnwindSafe, time::Duration};

use chrono::TimeDelta;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::platform::clock::{Clock, DateTime};
use crate::platform::error::{Error, Fault, Result};
use crate::platform::notifier::Notifier;
use crate::platform::telemetry::Metrics;

/// How long a claimed row is left alone: longer than any step may take.
pub const LEASE: TimeDelta = TimeDelta::seconds(90);
/// One execution of a payout and a few calls of the ledger fit into it.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
/// Minutes after each fault of a row; after the last one it is given up.
pub const RETRY_MINUTES: &[i64] = &[0, 1, 5, 15];
/// Every row goes on within a minute of an outage's end.
const SETBACK_SECS_MAX: i64 = 45;
/// At some 50 bytes each. When there are more, all are forgotten, and each begins with short pauses once more.
const SETBACKS_MAX: usize = 100_000;
/// A gauge counts no further: more is as bad, and counting must stay cheap.
pub const COUNTED_MAX: i64 = 10_000;

/// What a noun says of its rows.
pub trait Work: Sync {
    /// A row as it was claimed.
    type Claimed: Send + Sync;

    /// In logs and metrics.
    fn label<'a>(&'a self, claimed: &'a Self::Claimed) -> &'a str;

    fn id(claimed: &Self::Claimed) -> Uuid;

    /// Around a step: all that is logged and called in it has these ids.
    fn span(&self, claimed: &Self::Claimed) -> Span {
        tracing::info_span!(parent: None, "step", queue = self.label(claimed), row = %Self::id(claimed))
    }

    /// One short statement: due rows, oldest first, at most `limit`, passed over where another worker is taking them.
    fn claim(&self, lease: Lease, limit: i64) -> impl Future<Output = sqlx::Result<Vec<Self::Claimed>>> + Send;

    /// One step of one row; safe to repeat. What became of it, for the metrics.
    fn step(&self, claimed: &Self::Claimed) -> impl Future<Output = Result<&'static str>> + Send;

    /// Writes down what [`Queue::after`] says of the error: the row is due again, or given up.
    fn failed(&self, claimed: &Self::Claimed, error: &Error) -> impl Future<Output = Result<()>> + Send;

    /// Somebody else moved the row meanwhile: a webhook, a handler, another worker. Mostly nothing is left to do.
    fn overtaken(&self, _claimed: &Self::Claimed) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// From when to when a claim holds.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub now: DateTime,
    pub until: DateTime,
}

/// Whether so many are as many as were asked for: there may be more.
pub fn is_full(count: impl TryInto<i64>, limit: i64) -> bool {
    count.try_into().is_ok_and(|count| count == limit)
}

/// What comes after a failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Again { due_at: DateTime, attempts: i32 },
    GiveUp { failures: i32 },
}

/// What waits in a queue now.
pub struct Depth {
    pub queue: String,
    pub what: String,
    pub rows: i64,
    pub oldest: Option<DateTime>,
}

/// Consecutive outages per row, in this process; they only lengthen the pauses.
#[derive(Debug, Default)]
pub struct Setbacks(Mutex<HashMap<Uuid, u32>>);

/// What the queue works with; `App::queue` hands it out.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    pub clock: &'a Clock,
    pub metrics: &'a Metrics,
    pub setbacks: &'a Setbacks,
}

/// Claims due rows and steps each of them, all at once: one that waited for its turn would outlive its lease. One row's failure is that
/// row's alone. How many were claimed.
pub async fn step_due<'a, W: Work + Send + 'a>(work: W, queue: Queue<'a>, limit: i64) -> Result<usize> {
    Ok(join_all(claim_due(work, queue, limit).await?).await.len())
}

/// The step of a row that is claimed: it is to begin at once.
pub type Step<'a> = BoxFuture<'a, ()>;

/// Claims due rows; whoever asks takes their steps, and claims again before the last of them has ended.
pub async fn claim_due<'a, W: Work + Send + 'a>(work: W, queue: Queue<'a>, limit: i64) -> Result<Vec<Step<'a>>> {
    let claimed = work.claim(queue.lease(), limit).await?;
    let work = Arc::new(work);
    let step = |row| {
        let work = Arc::clone(&work);
        async move { step_one(&*work, queue, &row).instrument(work.span(&row)).await }.boxed()
    };
    Ok(claimed.into_iter().map(step).collect())
}

async fn step_one<W: Work>(work: &W, queue: Queue<'_>, row: &W::Claimed) {
    let (id, label) = (W::id(row), work.label(row));
    let stepped = match tokio::time::timeout(STEP_DEADLINE, caught(work.step(row))).await {
        Ok(stepped) => stepped,
        Err(elapsed) => Err(Error::unavailable(elapsed)),
    };
    let (outcome, recorded) = match stepped {
        Ok(outcome) => {
            queue.setbacks.forget(id);
            (outcome, Ok(()))
        }
        Err(Error::Crashed(_)) => ("crashed", Ok(())),
        Err(Error::StaleState) => ("stale", work.overtaken(row).await),
        Err(error) => {
            let outcome = if error.fault() == Fault::Surroundings { "set_back" } else { "failed" };
            tracing::warn!(queue = label, row = %id, outcome, error = error.chain(), "a step failed");
            (outcome, work.failed(row, &error).await)
        }
    };
    queue.metrics.task_steps.with_label_values(&[label, outcome]).inc();
    if let Err(error) = recorded {
        // The lease runs out and the row comes due again.
        tracing::warn!(queue = label, row = %id, error = error.chain(), "what became of a step was not recorded");
    }
}

/// A step inside a request, which has succeeded by now: when it cannot be taken, the answer is the row as it is `stored`, and the worker goes on.
pub async fn step_inline<T, Failed: Future<Output = Result<()>>>(
    notifier: &Notifier,
    step: impl Future<Output = Result<T>>,
    failed: impl FnOnce(Error) -> Failed,
    stored: impl Future<Output = Result<T>>,
) -> Result<T> {
    match caught(step).await {
        Ok(moved) => Ok(moved),
        Err(Error::StaleState) => stored.await,
        Err(crashed @ Error::Crashed(_)) => Err(crashed),
        Err(error) => {
            failed(error).await?;
            notifier.wake();
            stored.await
        }
    }
}

/// A panic is a mistake of ours in this one row: the row fails, not the process with everybody else's rows.
pub async fn caught<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    let step = AssertUnwindSafe(step).catch_unwind().await;
    step.unwrap_or_else(|_| Err(Error::internal("a step panicked")))
}

impl Queue<'_> {
    pub fn lease(&self) -> Lease {
        let now = self.clock.now();
        Lease { now, until: now + LEASE }
    }

    /// When a row is tried again that has failed by itself `attempts` times before, up its ladder of minutes.
    pub fn after(&self, id: Uuid, attempts: i32, error: &Error, ladder: &[i64]) -> Next {
        let now = self.clock.now();
        if let Error::ProviderPaused { retry_after_secs } = error {
            let pause = TimeDelta::seconds(i64::try_from(*retry_after_secs).unwrap_or(1));
            return Next::Again { due_at: now + pause, attempts };
        }
        if error.fault() == Fault::Surroundings {
            return Next::Again { due_at: now + self.setbacks.pause(id), attempts };
        }
        self.setbacks.forget(id);
        let failures = attempts.saturating_add(1);
        match usize::try_from(attempts).ok().and_then(|attempts| ladder.get(attempts)) {
            Some(minutes) => Next::Again { due_at: now + TimeDelta::minutes(*minutes), attempts: failures },
            None => {
                if error.is_of_ledger() {
                    self.metrics.ledger_contradictions.inc();
                }
                Next::GiveUp { failures }
            }
        }
    }

    /// Brings the gauges of depth and age up to date. Each is set, none taken away: one that cannot be read keeps its last value.
    pub fn report(&self, depths: &[Depth]) {
        let now = self.clock.now();
        for depth in depths {
            self.metrics.waiting(&depth.queue, &depth.what, depth.rows, depth.oldest.map(|oldest| now - oldest));
        }
    }
}

impl Setbacks {
    /// 0, 1, 2, 4 … seconds, the longer ones up to a quarter shorter, so that many rows do not come back at one moment.
    fn pause(&self, id: Uuid) -> TimeDelta {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SETBACKS_MAX {
            known.clear();
        }
        let times = known.entry(id).or_default();
        let secs = match times.checked_sub(1) {
            None => 0,
            Some(doublings) => 1_i64
                .checked_shl(doublings)
                .filter(|secs| (1..SETBACK_SECS_MAX).contains(secs))
                .unwrap_or(SETBACK_SECS_MAX),
        };
        *times = times.saturating_add(1);
        TimeDelta::milliseconds(secs * rand::random_range(750..=1000))
    }

    fn forget(&self, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}
