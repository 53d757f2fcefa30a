//! Named points between any two effects at which a process may die. In service they do nothing; a test decides at which of them
//! the step in hand ends, as if the process had been killed there: nothing after it happens, nothing is recorded, and the
//! row's lease has to run out (`tests/it/storms.rs`).

use std::sync::Arc;

type Plan = dyn Fn(&'static str) -> bool + Send + Sync;

#[derive(Clone, Default)]
pub struct CrashPoints(Option<Arc<Plan>>);

#[derive(Debug, thiserror::Error)]
#[error("crashed at {0}")]
pub struct Crashed(pub &'static str);

impl CrashPoints {
    /// Asks `plan` at every point whether the process dies there.
    pub fn planned(plan: impl Fn(&'static str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(plan)))
    }

    pub fn at(&self, point: &'static str) -> Result<(), Crashed> {
        match &self.0 {
            Some(plan) if plan(point) => Err(Crashed(point)),
            _ => Ok(()),
        }
    }
}
