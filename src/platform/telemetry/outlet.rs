//! The way out: a short queue, and one task that takes what is in it to where it goes. Who puts something in never waits: where there
//! is no room, or nobody answers out there, it is counted and gone.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::Leaving;

/// Some 2 kB each, as spans are.
const ROOM: usize = 2_048;
const BATCH: usize = 256;
/// How long a batch is gathered.
const GATHER: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(5);
/// After a failure nothing is tried for so long, and what comes meanwhile is dropped.
const PAUSE: Duration = Duration::from_secs(15);

/// It could not be taken there.
pub(super) struct NotTaken;

enum Item<T> {
    One(T),
    /// Somebody waits until all before it is out.
    End(oneshot::Sender<()>),
}

pub(super) struct Outlet<T> {
    to: &'static str,
    sender: mpsc::Sender<Item<T>>,
    counted: Counted,
}

/// The counters of the `App` that comes later than the first line of the log.
pub(super) type Counted = Arc<OnceLock<Leaving>>;

impl<T: Send + 'static> Outlet<T> {
    /// `take` brings a batch out, all of it or nothing.
    #[expect(clippy::disallowed_methods, reason = "it ends with the process, which waits for it in `Telemetry::close`")]
    pub(super) fn open<F, Fut>(to: &'static str, counted: &Counted, take: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), NotTaken>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(ROOM);
        tokio::spawn(run(to, receiver, Arc::clone(counted), take));
        Self { to, sender, counted: Arc::clone(counted) }
    }

    /// Made only where there is room for it.
    pub(super) fn put(&self, make: impl FnOnce() -> T) {
        match self.sender.try_reserve() {
            Ok(place) => place.send(Item::One(make())),
            Err(_) => count(&self.counted, self.to, "dropped", 1),
        }
    }

    /// Returns when everything is out, or cannot get out.
    pub(super) async fn end(&self) {
        let (done, ended) = oneshot::channel();
        if self.sender.send(Item::End(done)).await.is_ok() {
            ended.await.unwrap_or_default();
        }
    }
}

async fn run<T, F, Fut>(to: &'static str, mut receiver: mpsc::Receiver<Item<T>>, counted: Counted, take: F)
where
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<(), NotTaken>>,
{
    let mut not_before = Instant::now();
    while let Some((batch, waiting)) = gather(&mut receiver).await {
        let size = batch.len();
        let outcome = if Instant::now() < not_before {
            "dropped"
        } else if size == 0 || matches!(timeout(DEADLINE, take(batch)).await, Ok(Ok(()))) {
            "sent"
        } else {
            tracing::warn!(to, size, "errors and traces do not get out; tried again in a while");
            not_before = Instant::now() + PAUSE;
            "failed"
        };
        count(&counted, to, outcome, size);
        waiting.into_iter().for_each(|done| done.send(()).unwrap_or_default());
    }
}

/// What comes within a moment, and who waits for its end; `None` when nothing can come any more.
async fn gather<T>(receiver: &mut mpsc::Receiver<Item<T>>) -> Option<(Vec<T>, Vec<oneshot::Sender<()>>)> {
    let (mut batch, mut waiting) = (Vec::new(), Vec::new());
    let mut next = Some(receiver.recv().await?);
    let until = Instant::now() + GATHER;
    while let Some(item) = next.take() {
        match item {
            Item::One(one) => batch.push(one),
            Item::End(done) => waiting.push(done),
        }
        if batch.len() < BATCH && waiting.is_empty() {
            next = timeout_at(until, receiver.recv()).await.ok().flatten();
        }
    }
    Some((batch, waiting))
}

fn count(counted: &Counted, to: &str, outcome: &str, items: usize) {
    if let (Some(counters), Ok(items)) = (counted.get(), u64::try_from(items)) {
        counters.items.with_label_values(&[to, outcome]).inc_by(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::telemetry::Metrics;

    #[tokio::test]
    async fn nobody_out_there_costs_nothing_but_a_count() {
        let (metrics, counted) = (Metrics::new(), Counted::default());
        assert!(counted.set(metrics.leaving.clone()).is_ok());
        let outlet = Outlet::open("otlp", &counted, |_: Vec<u8>| async { Err(NotTaken) });
        let started = Instant::now();
        for _ in 0..ROOM * 3 {
            outlet.put(|| 1);
        }
        assert!(started.elapsed() < Duration::from_secs(1), "nobody waited");
        outlet.end().await;
        outlet.put(|| 1);
        outlet.end().await;
        let of = |outcome: &str| metrics.leaving.items.with_label_values(&["otlp", outcome]).get();
        assert_eq!(of("sent"), 0);
        assert!(of("failed") > 0 && of("failed") + of("dropped") == u64::try_from(ROOM * 3 + 1).expect("few"));
    }
}
