//! A budget of calls to somebody else: so many a second, of all processes together. One bucket in Redis, counted as the rate limits
//! are; while Redis is away each process has its share. Its time is the caller's (`app.clock`), which is PostgreSQL's in every process.

use std::sync::{Mutex, PoisonError};

use chrono::TimeDelta;
use redis::Script;

use super::Limiter;
use crate::platform::clock::DateTime;

/// Without Redis nobody knows how many there are: as many as the defaults are made for, two that serve and two that work.
const PROCESSES: u64 = 4;
/// What may come at once is a third of a second's worth: so no second ever has more than a third more than it should.
const BURST_OF_A_SECOND: u64 = 3;
/// So that those who leave places to others still have some.
const BURST_MIN: u64 = 5;

pub struct Budget {
    name: &'static str,
    per_second: u64,
    /// The arrival time, as this process knows it while it counts for itself.
    alone: Mutex<u64>,
    script: Script,
}

/// What is asked of a budget at a moment.
#[derive(Clone, Copy)]
pub enum Wish {
    /// A place, if more than this share of all is left: percent.
    Place { leaving: u64 },
    /// That nobody gets a place before this moment.
    NothingBefore(DateTime),
}

/// How a bucket is counted by Redis, or by a process alone.
#[derive(Clone, Copy)]
struct Size {
    interval_micros: u64,
    burst: u64,
}

/// The same as the process's own `count`, below.
const COUNT: &str = r"
local interval, room, now, least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
if least > 0 then
    arrival = math.max(arrival, least)
else
    local wait = arrival - room - now
    if wait > 0 then return wait end
    arrival = arrival + interval
end
if arrival > now then redis.call('SET', KEYS[1], string.format('%d', arrival), 'PX', math.ceil((arrival - now) / 1000)) end
return 0
";

impl Budget {
    pub fn new(name: &'static str, per_second: u32) -> Self {
        let script = Script::new(COUNT);
        Self { name, per_second: u64::from(per_second).max(1), alone: Mutex::default(), script }
    }

    fn of_all(&self) -> Size {
        let burst = (self.per_second / BURST_OF_A_SECOND).max(BURST_MIN);
        Size { interval_micros: 1_000_000 / self.per_second, burst }
    }

    fn of_one(&self) -> Size {
        let burst = (self.per_second / PROCESSES / BURST_OF_A_SECOND).max(BURST_MIN);
        Size { interval_micros: 1_000_000 * PROCESSES / self.per_second, burst }
    }

    fn count_alone(&self, asked: Asked) -> u64 {
        let mut arrival = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, wait) = asked.count(*arrival);
        *arrival = next;
        wait
    }
}

/// A wish in the numbers of a bucket, all in microseconds.
#[derive(Clone, Copy)]
struct Asked {
    interval: u64,
    /// How far the arrival time may be ahead.
    room: u64,
    now: u64,
    /// The arrival time is this at least; 0: a place is wanted.
    least: u64,
}

impl Asked {
    fn of(wish: Wish, size: Size, now: DateTime) -> Self {
        let Size { interval_micros: interval, burst } = size;
        let (left, least) = match wish {
            Wish::Place { leaving } => (burst.saturating_mul(leaving).div_ceil(100), 0),
            Wish::NothingBefore(until) => (0, micros(until).saturating_add(interval * (burst - 1))),
        };
        Self { interval, room: interval * (burst - left).saturating_sub(1), now: micros(now), least }
    }

    /// The arrival time after it, and how long to wait.
    fn count(self, arrival: u64) -> (u64, u64) {
        let arrival = arrival.max(self.now);
        if self.least > 0 {
            return (arrival.max(self.least), 0);
        }
        match arrival.saturating_sub(self.room.saturating_add(self.now)) {
            0 => (arrival.saturating_add(self.interval), 0),
            wait => (arrival, wait),
        }
    }
}

impl Limiter {
    /// Asks a budget. The error is how long it takes until the same may be had.
    pub async fn ask_budget(&self, budget: &Budget, wish: Wish, now: DateTime) -> Result<(), TimeDelta> {
        let wait = match self.ask_shared(budget, Asked::of(wish, budget.of_all(), now)).await {
            Some(wait) => wait,
            None => budget.count_alone(Asked::of(wish, budget.of_one(), now)),
        };
        match wait {
            0 => Ok(()),
            wait => Err(TimeDelta::microseconds(i64::try_from(wait).unwrap_or(i64::MAX))),
        }
    }

    /// `None`: Redis is not there.
    async fn ask_shared(&self, budget: &Budget, asked: Asked) -> Option<u64> {
        let redis = self.redis.as_ref().filter(|_| self.may_ask())?;
        let mut call = budget.script.key(format!("{}:budget:{}", self.counting.prefix, budget.name));
        call.arg(asked.interval).arg(asked.room).arg(asked.now).arg(asked.least);
        let mut connection = redis.connection();
        let answer = call.invoke_async::<u64>(&mut connection);
        self.heard(redis, tokio::time::timeout(self.counting.connection, answer).await)
    }
}

fn micros(time: DateTime) -> u64 {
    u64::try_from(time.timestamp_micros()).unwrap_or(0)
}
