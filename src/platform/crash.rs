//! Named points between any two effects at which a process may die, or a step may panic. In service they do nothing; a test
//! decides at which of them the step in hand ends, as if the process had been killed there: nothing after it happens, nothing
//! is recorded, and the row's lease has to run out (`tests/it/storms.rs`).

use std::sync::Arc;

type Plan = dyn Fn(&'static str) -> Fate + Send + Sync;

#[derive(Clone, Default)]
pub struct CrashPoints(Option<Arc<Plan>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    GoesOn,
    Dies,
    /// A mistake of ours in this one step.
    Panics,
}

impl From<bool> for Fate {
    fn from(dies: bool) -> Self {
        if dies { Self::Dies } else { Self::GoesOn }
    }
}

/// The process has died here.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("crashed at {0}")]
pub struct Crashed(pub &'static str);

impl CrashPoints {
    /// Asks `plan` at every point what happens there; `true` stands for [`Fate::Dies`].
    pub fn planned<F: Into<Fate>>(plan: impl Fn(&'static str) -> F + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(move |point| plan(point).into())))
    }

    /// [`Crashed`], or a panic, if a test wants it so.
    pub fn at(&self, point: &'static str) -> Result<(), Crashed> {
        match self.0.as_ref().map_or(Fate::GoesOn, |plan| plan(point)) {
            Fate::GoesOn => Ok(()),
            Fate::Dies => Err(Crashed(point)),
            // Unwinds as any panic does, without the words that a panic is reported with.
            Fate::Panics => std::panic::resume_unwind(Box::new(point)),
        }
    }
}
