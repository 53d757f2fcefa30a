//! Revio's health as this process sees it: after [`FAILURES_MAX`] failures in a row, calls are not even tried for a while, so that a
//! struggling provider is left alone and nobody waits for a deadline in vain. Then one call is let through as a probe: if it
//! fails, the pause is longer. Payouts and purchases have one each: what fails of the one says nothing of the other.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;

use crate::platform::clock::DateTime;

/// In a row, over all calls of the kind. Fewer would let one bad object pause everything.
const FAILURES_MAX: u32 = 8;
const PAUSE_MIN: TimeDelta = TimeDelta::seconds(15);
const PAUSE_MAX: TimeDelta = TimeDelta::minutes(2);
/// A probe that never reports back (its task was dropped) does not keep the door shut.
const PROBE_MAX: TimeDelta = TimeDelta::seconds(30);

#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<Health>);

#[derive(Debug, Default, Clone, Copy)]
struct Health {
    failures: u32,
    /// Set while open; calls before it are not made.
    until: Option<DateTime>,
    pause: Option<TimeDelta>,
    /// The one call that was let through is under way.
    probing: bool,
}

impl Breaker {
    /// How long to wait before a call may be made; `None` = now. After a pause the first caller is the probe.
    pub(super) fn wait(&self, now: DateTime) -> Option<TimeDelta> {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = health.until?;
        if now < until {
            return Some(until - now);
        }
        health.until = Some(now + PROBE_MAX);
        health.probing = true;
        None
    }

    /// Whether calls are being held back, without becoming the probe. How long still.
    pub(super) fn paused(&self, now: DateTime) -> Option<TimeDelta> {
        let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).until?;
        (now < until).then(|| until - now)
    }

    /// Revio answered, whatever it said.
    pub(super) fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Health::default();
    }

    /// Revio did not answer, or only to say that it cannot.
    pub(super) fn failed(&self, now: DateTime) {
        let mut health = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        health.failures = health.failures.saturating_add(1);
        // Calls that were under way when it opened fail too: they say nothing new, and only a failed probe makes it longer.
        let pausing = health.until.is_some_and(|until| now < until) && !health.probing;
        if health.failures >= FAILURES_MAX && !pausing {
            health.probing = false;
            let pause = health.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX));
            health.pause = Some(pause);
            health.until = Some(now + pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_by_itself() {
        let start = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).single().expect("a time");
        let after = |secs| start + TimeDelta::seconds(secs);
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX - 1 {
            breaker.failed(start);
        }
        assert_eq!(breaker.wait(start), None, "not yet");
        breaker.answered();
        for _ in 0..FAILURES_MAX {
            breaker.failed(start);
        }
        assert_eq!(breaker.wait(start), Some(PAUSE_MIN));
        breaker.failed(after(1));
        assert_eq!(breaker.wait(start), Some(PAUSE_MIN), "a call that was under way");
        assert_eq!(breaker.wait(after(15)), None, "the probe");
        assert!(breaker.wait(after(15)).is_some(), "one at a time");
        breaker.failed(after(16));
        assert_eq!(breaker.wait(after(16)), Some(PAUSE_MIN * 2), "longer");
        assert_eq!(breaker.wait(after(50)), None);
        breaker.answered();
        assert_eq!((breaker.wait(after(50)), breaker.paused(after(50))), (None, None));
    }
}
