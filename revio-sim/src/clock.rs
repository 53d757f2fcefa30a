//! Time: what the simulator believes the time is, and the only place that reads the system's clock or sleeps.
//! Used by `shared.rs` (business time and delivery time), `sender.rs` and `server.rs` (waiting).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A shared handle: every clone sees the same time, and `advance` on one moves all.
#[derive(Clone, Debug)]
pub struct Clock {
    fixed: Option<i64>,
    advanced: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock; `advance` shifts it forward from then on.
    pub fn system() -> Clock {
        Clock { fixed: None, advanced: Arc::default() }
    }

    /// Stands still at `unix_secs` until advanced.
    pub fn fixed(unix_secs: i64) -> Clock {
        Clock { fixed: Some(unix_secs), advanced: Arc::default() }
    }

    pub fn advance(&self, secs: i64) {
        self.advanced.fetch_add(secs, Ordering::SeqCst);
    }

    /// Unix seconds, the resolution of every timestamp of this API.
    pub fn now(&self) -> i64 {
        self.millis() / 1000
    }

    pub(crate) fn millis(&self) -> i64 {
        match self.fixed {
            Some(secs) => (secs + self.advanced.load(Ordering::SeqCst)) * 1000,
            None => self.real_millis(),
        }
    }

    /// Real time whatever the clock says: automatic deliveries must go on under a clock that stands still.
    pub(crate) fn real_millis(&self) -> i64 {
        system_millis() + self.advanced.load(Ordering::SeqCst) * 1000
    }
}

#[expect(clippy::disallowed_methods, reason = "the one reader of the system's clock")]
fn system_millis() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Waits in real time: hangs, slow answers and the automatic dispatcher.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps; tests drive the clock instead")]
pub(crate) async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}
