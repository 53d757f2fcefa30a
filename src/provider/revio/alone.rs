//! Objects that Revio fails for while it serves others by the same call. An outage is no row's fault and needs no person. A failure that
//! lasts for [`ALONE_MAX`] and strikes one object alone does: waiting makes it no better, so its row or event is listed. Each process knows
//! only what it has seen itself.
//!
//! An object is *alone* only if, of the objects that the call was made for in the last [`ALONE_MAX`], at least as many were served at their
//! last call as failed at it. So in an outage none is alone, even if a call comes through now and then.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use uuid::Uuid;

use super::Operation;
use crate::platform::clock::DateTime;

/// Longer than Revio works on an object, or on itself; and as long as an old answer is waited out (`money::provider_objects`).
const ALONE_MAX: TimeDelta = TimeDelta::hours(1);
/// Of a call, served and failing each; some 100 kB. So many that fail are not alone.
const KNOWN_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Alone(Mutex<HashMap<Operation, Objects>>);

#[derive(Debug, Default)]
struct Objects {
    /// When each was served, that was served last.
    served: HashMap<Uuid, DateTime>,
    failing: HashMap<Uuid, Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: DateTime,
    last: DateTime,
}

impl Alone {
    /// Revio had an answer about the object, whatever it was.
    pub(super) fn served(&self, operation: Operation, object: Uuid, now: DateTime) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Objects { served, failing } = calls.entry(operation).or_default();
        failing.remove(&object);
        if served.len() >= KNOWN_MAX && !served.contains_key(&object) {
            served.clear();
        }
        served.insert(object, now);
    }

    /// It had none. For how long it has failed for this object, once that is too long and for this one alone.
    pub(super) fn failed(&self, operation: Operation, object: Uuid, now: DateTime) -> Option<TimeDelta> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Objects { served, failing } = calls.entry(operation).or_default();
        served.remove(&object);
        served.retain(|_, at| now - *at < ALONE_MAX);
        failing.retain(|_, trouble| now - trouble.last < ALONE_MAX);
        let too_many = failing.len() >= KNOWN_MAX;
        if too_many && !failing.contains_key(&object) {
            return None;
        }
        let trouble = failing.entry(object).or_insert(Trouble { since: now, last: now });
        trouble.last = now;
        let lasts = now - trouble.since;
        (lasts >= ALONE_MAX && !too_many && served.len() >= failing.len()).then_some(lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    const CALL: Operation = Operation::Purchase;

    fn at(minutes: i64) -> DateTime {
        Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).single().expect("a time") + TimeDelta::minutes(minutes)
    }

    fn id(object: u128) -> Uuid {
        Uuid::from_u128(object)
    }

    /// Every five minutes until then.
    fn fails_until(alone: &Alone, object: u128, minutes: i64) -> Option<TimeDelta> {
        (0..=minutes).step_by(5).fold(None, |_, minute| alone.failed(CALL, id(object), at(minute)))
    }

    #[test]
    fn an_object_fails_alone_when_another_is_served_and_an_hour_has_passed() {
        let alone = Alone::default();
        assert_eq!(fails_until(&alone, 1, 60), None, "nobody else was served");
        alone.served(CALL, id(2), at(61));
        assert_eq!(alone.failed(CALL, id(1), at(62)), Some(TimeDelta::minutes(62)));
        assert_eq!(alone.failed(Operation::Cancellation, id(1), at(62)), None, "another call");
        alone.served(CALL, id(1), at(63));
        assert_eq!(alone.failed(CALL, id(1), at(64)), None, "from the beginning");
    }

    #[test]
    fn in_an_outage_nothing_fails_alone_whatever_was_served_before_it_and_now_and_then() {
        let alone = Alone::default();
        for object in 10..20 {
            alone.served(CALL, id(object), at(0));
        }
        assert_eq!(fails_until(&alone, 1, 300), None, "they were served before");
        for object in 10..20 {
            alone.failed(CALL, id(object), at(301));
        }
        alone.served(CALL, id(10), at(302));
        assert_eq!(alone.failed(CALL, id(1), at(303)), None, "one of many");
    }

    #[test]
    fn more_than_can_be_told_apart_are_no_single_objects() {
        let alone = Alone::default();
        for object in 0..2_000 {
            alone.served(CALL, id(10_000 + object), at(0));
            alone.failed(CALL, id(object), at(0));
        }
        let calls = alone.0.lock().expect("nobody panicked");
        assert!(calls[&CALL].served.len() <= KNOWN_MAX && calls[&CALL].failing.len() <= KNOWN_MAX);
    }
}
