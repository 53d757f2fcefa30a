//! Where a test lets the process die.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use octoco::platform::crash::CrashPoints;

/// Where the process is to die: the n-th point from now, or the next one of a name.
#[derive(Clone, Default)]
pub(crate) struct Crashes {
    countdown: Arc<AtomicI64>,
    name: Arc<Mutex<Option<&'static str>>>,
    died: Arc<Mutex<Vec<&'static str>>>,
}

impl Crashes {
    pub(crate) fn plan(&self) -> CrashPoints {
        let crashes = self.clone();
        CrashPoints::planned(move |point| {
            let mut name = crashes.name.lock().expect("not poisoned");
            let named = *name == Some(point);
            if named {
                *name = None;
            }
            let counted =
                crashes.countdown.load(Ordering::SeqCst) > 0 && crashes.countdown.fetch_sub(1, Ordering::SeqCst) == 1;
            if named || counted {
                crashes.died.lock().expect("not poisoned").push(point);
            }
            named || counted
        })
    }

    pub(crate) fn at(&self, name: &'static str) {
        *self.name.lock().expect("not poisoned") = Some(name);
    }

    pub(crate) fn after(&self, points: i64) {
        self.countdown.store(points, Ordering::SeqCst);
    }

    /// Whether the last one that was planned was not reached any more.
    pub(crate) fn is_over(&self) -> bool {
        self.countdown.swap(0, Ordering::SeqCst) > 0
    }

    pub(crate) fn died_at(&self) -> BTreeSet<&'static str> {
        self.died.lock().expect("not poisoned").iter().copied().collect()
    }
}
