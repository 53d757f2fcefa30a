//! Marks a call that waits on purpose (a long poll). From then on it is not counted as in hand (`processes/load.rs`), the deadline of a
//! request does not end it (`processes/router.rs`), and its wait is not logged as slowness (`processes/access_log.rs`).

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// No wait is longer.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// In the extensions of every call that only reads.
#[derive(Debug, Clone, Default)]
pub struct Waits(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: CancellationToken,
    waited: OnceLock<Duration>,
}

/// From the beginning of the wait to its end.
pub struct Wait<'a> {
    of: &'a Waits,
    since: Instant,
}

impl Waits {
    pub fn begin(&self) -> Wait<'_> {
        self.0.begun.cancel();
        Wait { of: self, since: Instant::now() }
    }

    /// Comes back when the call begins to wait.
    pub async fn begun(&self) {
        self.0.begun.cancelled().await;
    }

    pub fn waited(&self) -> Duration {
        self.0.waited.get().copied().unwrap_or_default()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.of.0.waited.get_or_init(|| self.since.elapsed());
    }
}
