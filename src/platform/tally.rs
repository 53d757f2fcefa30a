//! What strangers may cause without end is counted instead of kept: how often, by whom and in which hour, in memory, until a task
//! writes it down; and the first few of each hour may be kept whole. All of it is bounded, whatever comes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use chrono::{DurationRound, TimeDelta};

use crate::platform::clock::DateTime;

/// Who is one too many is counted among the others.
pub const OTHERS: &str = "others";

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of anybody in an hour.
    pub kept_each: u32,
    /// Of all together in a day.
    pub kept_a_day: u32,
    /// How many are told apart in an hour.
    pub told_apart: usize,
}

#[derive(Debug)]
pub struct Tally {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hour: Option<DateTime>,
    day: Option<DateTime>,
    kept_today: u32,
    /// How many were kept of each who is told apart in this hour.
    kept: HashMap<String, u32>,
    untold: Counts,
}

/// By hour and by whom.
pub type Counts = BTreeMap<(DateTime, String), i64>;

impl Tally {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default() }
    }

    /// Counts one of somebody's.
    pub fn count(&self, who: &str, now: DateTime) {
        let (hour, mut state) = self.at(now);
        let who = self.named(&mut state, who).to_owned();
        self.add(&mut state, (hour, who), 1);
    }

    /// Whether one of somebody's may be kept whole.
    pub fn keeps(&self, who: &str, now: DateTime) -> bool {
        let (_, mut state) = self.at(now);
        let who = self.named(&mut state, who);
        let kept = state.kept.get(who).copied().unwrap_or_default();
        if kept >= self.bounds.kept_each || state.kept_today >= self.bounds.kept_a_day {
            return false;
        }
        state.kept.insert(who.to_owned(), kept + 1);
        state.kept_today += 1;
        true
    }

    /// What was counted since this was last called.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.lock().untold)
    }

    /// It could not be written down.
    pub fn give_back(&self, counts: Counts) {
        let mut state = self.lock();
        for (key, count) in counts {
            self.add(&mut state, key, count);
        }
    }

    fn named<'a>(&self, state: &mut State, who: &'a str) -> &'a str {
        if state.kept.contains_key(who) {
            return who;
        }
        if state.kept.len() >= self.bounds.told_apart {
            return OTHERS;
        }
        state.kept.insert(who.to_owned(), 0);
        who
    }

    /// Those of this hour and of the one before wait to be written down; while that fails for longer, all are others.
    fn add(&self, state: &mut State, (hour, who): (DateTime, String), count: i64) {
        let room = state.untold.len() < 2 * (self.bounds.told_apart + 1);
        let who = if room || state.untold.contains_key(&(hour, who.clone())) { who } else { OTHERS.to_owned() };
        let counted = state.untold.entry((hour, who)).or_default();
        *counted = counted.saturating_add(count);
    }

    fn at(&self, now: DateTime) -> (DateTime, std::sync::MutexGuard<'_, State>) {
        let since = |length| now.duration_trunc(length).unwrap_or(now);
        let (hour, day) = (since(TimeDelta::hours(1)), since(TimeDelta::days(1)));
        let mut state = self.lock();
        if state.day != Some(day) {
            (state.day, state.kept_today) = (Some(day), 0);
        }
        if state.hour != Some(hour) {
            state.hour = Some(hour);
            state.kept.clear();
        }
        (hour, state)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    fn tally() -> (Tally, DateTime) {
        let now = Utc.with_ymd_and_hms(2026, 3, 2, 9, 30, 0).single().expect("a time");
        (Tally::new(Bounds { kept_each: 2, kept_a_day: 5, told_apart: 3 }), now)
    }

    #[test]
    fn a_few_of_each_and_not_too_many_of_all_are_kept() {
        let (tally, now) = tally();
        let kept = |who: &str, now| (0..10).filter(|_| tally.keeps(who, now)).count();
        assert_eq!((kept("a", now), kept("b", now)), (2, 2));
        assert_eq!(kept("c", now), 1, "the day's are used up");
        assert_eq!(kept("a", now + TimeDelta::hours(1)), 0, "in the next hour too");
        assert_eq!(kept("a", now + TimeDelta::days(1)), 2, "another day");
    }

    #[test]
    fn everything_is_counted_and_only_a_few_are_told_apart() {
        let (tally, now) = tally();
        let mut counts = Counts::new();
        for who in 0..100 {
            tally.count(&who.to_string(), now);
            tally.count("0", now);
            counts.append(&mut tally.take());
        }
        let who: Vec<_> = counts.into_keys().map(|(_, who)| who).collect();
        assert_eq!(who, ["0", "1", "2", OTHERS], "however often it is written down");
    }

    #[test]
    fn what_could_not_be_written_down_is_not_lost_and_not_much() {
        let (tally, now) = tally();
        for hour in 0..100 {
            for who in 0..5 {
                tally.count(&who.to_string(), now + TimeDelta::hours(hour));
            }
            let counts = tally.take();
            tally.give_back(counts);
        }
        let counts = tally.take();
        assert_eq!(counts.values().sum::<i64>(), 500);
        assert!(counts.len() <= 8 + 100, "{}", counts.len());
        assert!(tally.take().is_empty());
    }
}
