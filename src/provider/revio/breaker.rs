//! Revio's health as this process sees it: after [`FAILURES_MAX`] failures in a row, calls are not even tried for a while, so that a
//! struggling provider is left alone and nobody waits for a deadline in vain. Purchases, payouts and executions have one each: what fails of the
//! one says nothing of the others. And what Revio cannot serve of one object says nothing of the others, so several must have failed
//! ([`OBJECTS_MIN`]); of single ones `alone` knows.
//!
//! ```text
//! closed ─> open, for 15 s and then 30 ─> a few probes, each about another object ─┬─> one is answered: closed
//!              └─> once, something new: it may be answered where objects are not                         └─> all fail: open, for longer
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;
use uuid::Uuid;

use crate::platform::clock::DateTime;

/// In a row, over all calls of the kind …
const FAILURES_MAX: u32 = 8;
/// … and about so many objects: one has its own poll and two or three events, which all fail with it.
const OBJECTS_MIN: usize = 3;
const PAUSE_MIN: TimeDelta = TimeDelta::seconds(15);
/// With what follows it, less than the minute within which every row goes on.
const PAUSE_MAX: TimeDelta = TimeDelta::seconds(30);
/// Of calls that may cost a person each.
const SPARING_PAUSE_MAX: TimeDelta = TimeDelta::minutes(2);
/// An object that alone fails is not tried again for so long.
const ALONE_PAUSE: TimeDelta = TimeDelta::minutes(2);
/// A probe that never reports back (its task was dropped) does not keep the door shut.
const PROBE_MAX: TimeDelta = TimeDelta::seconds(30);
/// One of a call that has a row written before it, and whose deadline may be 40 s: as long as its place is kept, no other is tried.
const SPARING_PROBE_MAX: TimeDelta = TimeDelta::seconds(70);
/// Whoever finds all places taken comes back: mostly one of them is answered by then.
const PLACE_PAUSE: TimeDelta = TimeDelta::seconds(10);

#[derive(Debug)]
pub(super) struct Breaker {
    health: Mutex<Health>,
    /// So many at a time; when as many have failed it is open again.
    probes_max: usize,
    probe_max: TimeDelta,
    pause_max: TimeDelta,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { health: Mutex::default(), probes_max: OBJECTS_MIN, probe_max: PROBE_MAX, pause_max: PAUSE_MAX }
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// Revio's object, or the row of ours that one is to be made for. `None`: the account, which differs from all others each time.
    pub(super) object: Option<Uuid>,
    /// Something is to be made of it.
    pub(super) is_new: bool,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    /// What those were about, as far as it differs and up to [`OBJECTS_MIN`].
    failed: Vec<Option<Uuid>>,
    /// Whether something new is among them, or on its way.
    new_tried: bool,
    /// Since when it is open.
    opened: Option<DateTime>,
    /// Set while open; calls before it are not made, and a few after it.
    until: Option<DateTime>,
    pause: Option<TimeDelta>,
    /// The calls that were let through since then.
    probes: Vec<Probe>,
}

#[derive(Debug)]
struct Probe {
    object: Option<Uuid>,
    /// Its place is taken, and its object not tried again, until then.
    until: DateTime,
    failed: bool,
}

impl Breaker {
    /// Where each call that fails costs somebody something. Whoever has the one place may take it again.
    pub(super) fn sparing() -> Self {
        Self { probes_max: 1, probe_max: SPARING_PROBE_MAX, pause_max: SPARING_PAUSE_MAX, ..Self::default() }
    }

    /// How long to wait before such a call may be made; `None` = it is made now, as a probe where there was a pause.
    pub(super) fn begin(&self, about: About, now: DateTime) -> Option<TimeDelta> {
        let mut health = self.lock();
        let wait = health.wait(about, now, self.probes_max);
        if let (None, Some(until)) = (wait, health.until) {
            if now < until {
                health.new_tried = true;
            } else {
                health.probes.retain(|probe| now < probe.until && probe.object != about.object);
                health.probes.push(Probe { object: about.object, until: now + self.probe_max, failed: false });
            }
        }
        wait
    }

    /// The same without making it.
    pub(super) fn paused(&self, about: About, now: DateTime) -> Option<TimeDelta> {
        self.lock().wait(about, now, self.probes_max)
    }

    /// Revio answered, whatever it said.
    pub(super) fn answered(&self) {
        *self.lock() = Health::default();
    }

    /// What was made then has taken effect, although nobody answered; of one from before it opened that says nothing of those since.
    pub(super) fn took_effect(&self, made: DateTime) {
        let mut health = self.lock();
        if health.opened.is_none_or(|opened| made >= opened) {
            *health = Health::default();
        }
    }

    /// Revio did not answer, or only to say that it cannot.
    pub(super) fn failed(&self, about: About, now: DateTime) {
        let mut health = self.lock();
        health.failures = health.failures.saturating_add(1);
        health.new_tried |= about.is_new;
        let is_over = match health.until {
            None => health.has_failed(about.object),
            // Calls that were under way when it opened fail too, and say nothing new.
            Some(until) => now >= until && health.probe_failed(about.object, now, self.probes_max),
        };
        if is_over {
            let pause = health.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(self.pause_max));
            (health.pause, health.until) = (Some(pause), Some(now + pause));
            health.opened.get_or_insert(now);
            health.probes.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    fn wait(&self, about: About, now: DateTime, probes_max: usize) -> Option<TimeDelta> {
        let until = self.until?;
        if now < until {
            return (!about.is_new || self.new_tried).then(|| until - now);
        }
        let places = self.probes.iter().filter(|probe| now < probe.until);
        let own = places.clone().find(|probe| probe.object.is_some() && probe.object == about.object);
        match own {
            Some(probe) if probes_max == 1 && !probe.failed => None,
            Some(probe) => Some(probe.until - now),
            None if places.clone().count() < probes_max => None,
            None => places.map(|probe| (probe.until - now).min(PLACE_PAUSE)).min(),
        }
    }

    /// Whether that was one too many.
    fn has_failed(&mut self, object: Option<Uuid>) -> bool {
        let differs = object.is_none() || !self.failed.contains(&object);
        if differs && self.failed.len() < OBJECTS_MIN {
            self.failed.push(object);
        }
        self.failures >= FAILURES_MAX && self.failed.len() >= OBJECTS_MIN
    }

    /// Whether all probes have failed. An object that alone fails is not tried again at once, and leaves its place to no other's harm.
    fn probe_failed(&mut self, object: Option<Uuid>, now: DateTime, probes_max: usize) -> bool {
        let own = self.probes.iter_mut().find(|probe| probe.object == object && !probe.failed);
        if let Some(probe) = own {
            (probe.failed, probe.until) = (true, now + ALONE_PAUSE);
        }
        self.probes.iter().filter(|probe| probe.failed).count() >= probes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    fn at(secs: i64) -> DateTime {
        Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).single().expect("a time") + TimeDelta::seconds(secs)
    }

    fn of(object: u128) -> About {
        About { object: Some(Uuid::from_u128(object)), is_new: false }
    }

    fn new(row: u128) -> About {
        About { is_new: true, ..of(row) }
    }

    const ACCOUNT: About = About { object: None, is_new: false };

    /// Opened at 0, by objects that are there.
    fn open() -> Breaker {
        let breaker = Breaker::default();
        for object in 0..8 {
            breaker.failed(of(object % 3), at(0));
        }
        breaker
    }

    #[test]
    fn what_took_effect_closes_it_unless_it_was_made_before() {
        let breaker = open();
        breaker.took_effect(at(-1));
        assert!(breaker.paused(of(9), at(1)).is_some());
        // A probe that nobody answered.
        assert_eq!(breaker.begin(of(9), at(20)), None);
        breaker.failed(of(9), at(21));
        breaker.took_effect(at(20));
        assert_eq!(breaker.paused(of(8), at(21)), None);
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_by_itself() {
        let breaker = Breaker::default();
        for object in 0..7 {
            breaker.failed(of(object), at(0));
        }
        assert_eq!(breaker.begin(of(9), at(0)), None, "not yet");
        breaker.answered();
        for object in 0..8 {
            breaker.failed(of(object), at(0));
        }
        assert_eq!(breaker.begin(of(9), at(0)), Some(PAUSE_MIN));
        breaker.failed(of(9), at(1));
        assert_eq!(breaker.paused(of(9), at(0)), Some(PAUSE_MIN), "a call that was under way");
        for object in 0..3 {
            assert_eq!(breaker.begin(of(object), at(15)), None, "a probe");
        }
        assert_eq!(breaker.begin(of(3), at(15)), Some(PLACE_PAUSE), "a few at a time");
        for object in 0..3 {
            assert!(breaker.paused(of(3), at(16)).is_some_and(|wait| wait < PAUSE_MIN * 2));
            breaker.failed(of(object), at(16));
        }
        assert_eq!(breaker.paused(of(3), at(16)), Some(PAUSE_MIN * 2), "longer");
        assert_eq!(breaker.begin(of(3), at(50)), None);
        breaker.answered();
        assert_eq!(breaker.begin(of(3), at(50)), None);
        assert_eq!(breaker.paused(ACCOUNT, at(50)), None);
    }

    #[test]
    fn however_long_it_lasts_it_is_tried_again_within_half_a_minute() {
        let breaker = open();
        for secs in (40..4_000).step_by(40) {
            for object in 0..3 {
                assert_eq!(breaker.begin(of(object), at(secs)), None, "a probe at {secs}");
                breaker.failed(of(object), at(secs));
            }
            assert!(breaker.paused(of(9), at(secs)).is_some_and(|wait| wait <= TimeDelta::seconds(30)), "{secs}");
        }
    }

    #[test]
    fn what_fails_of_one_object_or_two_holds_up_nobody_else() {
        let breaker = Breaker::default();
        for call in 0..1_000 {
            breaker.failed(of(call % 2), at(0));
        }
        assert_eq!(breaker.begin(of(7), at(0)), None);
        for _ in 0..8 {
            breaker.failed(ACCOUNT, at(0));
        }
        assert!(breaker.begin(ACCOUNT, at(0)).is_some(), "what names no object is no object's fault");
    }

    #[test]
    fn a_probe_of_an_object_that_alone_fails_keeps_the_door_open_for_others() {
        let breaker = open();
        for secs in [15, 140, 300] {
            assert_eq!(breaker.begin(of(1), at(secs)), None, "it is tried too, at {secs}");
            breaker.failed(of(1), at(secs + 1));
            assert_eq!(breaker.begin(of(1), at(secs + 1)), Some(ALONE_PAUSE), "and not again at once");
            assert_eq!(breaker.paused(of(2), at(secs + 1)), None);
        }
        assert_eq!(breaker.begin(of(2), at(302)), None);
        breaker.answered();
        assert_eq!(breaker.paused(of(1), at(302)), None);
    }

    #[test]
    fn a_sparing_one_tries_one_at_a_time() {
        let breaker = Breaker::sparing();
        for object in 0..8 {
            breaker.failed(of(object), at(0));
        }
        for (number, secs) in [15, 101, 217, 400].into_iter().enumerate() {
            let object = 10 + 2 * u128::try_from(number).expect("a number");
            assert_eq!(breaker.begin(of(object), at(secs)), None);
            assert!(breaker.begin(of(object + 1), at(secs)).is_some(), "one at {secs}");
            assert!(breaker.begin(of(object + 1), at(secs + 54)).is_some(), "for as long as a call may last");
            assert_eq!(breaker.begin(of(object), at(secs)), None, "its own place");
            breaker.failed(of(object), at(secs + 55));
            assert!(breaker.begin(of(object + 1), at(secs + 56)).is_some(), "open again");
        }
        assert_eq!(breaker.begin(of(9), at(600)), None);
        breaker.answered();
        assert_eq!(breaker.paused(of(8), at(600)), None);
    }

    #[test]
    fn something_new_is_tried_once_where_only_objects_have_failed() {
        let breaker = open();
        assert!(breaker.paused(of(7), at(1)).is_some() && breaker.paused(new(8), at(1)).is_none());
        assert_eq!(breaker.begin(new(8), at(1)), None);
        assert!(breaker.begin(new(9), at(1)).is_some(), "one at a time");
        breaker.failed(new(8), at(2));
        assert!(breaker.begin(new(9), at(3)).is_some(), "it fails too");
        let opened_by_new = Breaker::default();
        for row in 0..8 {
            opened_by_new.failed(new(row), at(0));
        }
        assert!(opened_by_new.begin(new(9), at(1)).is_some());
    }
}
