//! The same buckets in the memory of one process, of the calls that came to it: they decide for as long as Redis is away.

use std::sync::{Mutex, PoisonError};
use std::{collections::HashMap, time::Duration};

use super::{Bucket, Call, Class, Rate};

/// At some 60 bytes each. When there are more, the ones that are full again go; if that is not enough, all of them: a
/// limiter that forgets is better than a process that ends.
const BUCKETS_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct Local(Mutex<HashMap<(Class, String), u64>>);

impl Local {
    /// One call at `now` after the start.
    pub(super) fn ask(&self, call: Call<'_>, now: Duration) -> Bucket {
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, arrival| *arrival > now);
            if buckets.len() >= BUCKETS_MAX {
                buckets.clear();
            }
        }
        let key = (call.class, call.who.to_owned());
        let arrival = buckets.get(&key).copied().unwrap_or_default().max(now);
        let (next, bucket) = count(arrival, now, call.rate);
        buckets.insert(key, next);
        bucket
    }
}

/// One call: the arrival time after it, and what is said of it.
fn count(arrival: u64, now: u64, rate: Rate) -> (u64, Bucket) {
    let ahead_micros = arrival.saturating_sub(now);
    let room_micros = rate.interval_micros.saturating_mul(rate.burst.saturating_sub(1));
    let wait_micros = ahead_micros.saturating_sub(room_micros);
    if wait_micros > 0 {
        return (arrival, Bucket { wait_micros, ahead_micros });
    }
    let next = arrival.saturating_add(rate.interval_micros);
    (next, Bucket { wait_micros: 0, ahead_micros: next.saturating_sub(now) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_an_interval() {
        let local = Local::default();
        let rate = Class::Guess.rate();
        let at = |after_micros| {
            let call = Call { class: Class::Guess, who: "a", rate };
            local.ask(call, Duration::from_micros(after_micros)).wait_micros
        };
        for _ in 0..rate.burst {
            assert_eq!(at(5), 0);
        }
        assert_eq!(at(5), rate.interval_micros);
        assert_eq!(at(5 + rate.interval_micros), 0, "one interval later");
        assert!(at(6 + rate.interval_micros) > 0);
        assert_eq!(at(10 * rate.burst * rate.interval_micros), 0, "full again");
    }

    #[test]
    fn one_does_not_count_for_another_and_memory_is_bounded() {
        let local = Local::default();
        for index in 0..BUCKETS_MAX + 10 {
            let call = Call { class: Class::Auth, who: &index.to_string(), rate: Class::Auth.rate() };
            assert_eq!(local.ask(call, Duration::ZERO).wait_micros, 0);
        }
        assert!(local.0.lock().expect("not poisoned").len() <= BUCKETS_MAX);
    }
}
