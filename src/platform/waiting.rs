//! Callers who wait for news: places for them, counted apart from the requests in hand, and who they are. Those who bring the news
//! (`books::history::waiting`, `books::events`) look through a crowd and let go whom they have something for.
//!
//! ```text
//! enter ─> a place, as long as the caller stays ─┬─> take_if   let go, and told why
//!                                                └─> dropped   the caller went away: free again at once
//! ```
//!
//! Half of `CONNECTIONS_MAX` may be long polls and a quarter event streams: the rest always is for other calls.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use prometheus::IntGauge;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::telemetry::Metrics;
use crate::platform::tokens::Claims;

/// Of one caller: twenty tabs with five rows each.
const POLLS_EACH_MAX: usize = 100;
/// Of one caller: tabs of a browser that do not share one.
const STREAMS_EACH_MAX: usize = 10;
/// How many of those that were let go read their rows at once: thousands may be, in one moment, and others want to read too.
const READING_MAX: usize = 8;
/// Of rows that moved here since the last look: more are found by the next look all the same.
const MOVED_MAX: usize = 1_000;
/// After so long somebody's place may be free.
const RETRY_SECS: u64 = 5;

pub struct Waiting {
    pub polls: Arc<Crowd<Poll>>,
    pub streams: Arc<Crowd<Stream>>,
    /// A turn to read what one has waited for.
    pub reading: Semaphore,
    /// Rows that this process moved since they were last asked for, while anybody polls.
    moved: Mutex<HashSet<Uuid>>,
    nudge: Notify,
}

/// One call that waits until a row's state is none of these.
pub struct Poll {
    pub row: Uuid,
    pub states: Vec<&'static str>,
    pub wake: oneshot::Sender<End>,
}

/// One event stream: what goes into it, in the form in which it goes out.
pub struct Stream {
    pub events: mpsc::Sender<Bytes>,
    /// When something has last gone into it.
    pub sent_at: std::time::Instant,
}

/// Why somebody is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Changed,
    SessionOver,
    Stopped,
}

/// Who waits, and how long that may last.
#[derive(Debug, Clone, Copy)]
pub struct Tenure {
    pub user: Uuid,
    pub session: Uuid,
    /// In seconds since 1970; `None` = the caller has no token that ends.
    token_ends: Option<i64>,
}

impl Tenure {
    pub fn new(user: Uuid, session: Uuid, claims: Option<&Claims>) -> Self {
        Self { user, session, token_ends: claims.map(|claims| claims.exp) }
    }

    pub fn has_token_at(&self, now: DateTime) -> bool {
        self.token_ends.is_none_or(|ends| now.timestamp() < ends)
    }
}

pub struct Crowd<T> {
    max: usize,
    each_max: usize,
    inside: Mutex<Inside<T>>,
    came: Notify,
    gauge: IntGauge,
}

struct Inside<T> {
    next: u64,
    /// Those who still wait.
    waiters: HashMap<u64, Waiter<T>>,
    /// Places that are taken, each caller's; of those who were let go too, until they have left.
    places: usize,
    each: HashMap<Uuid, usize>,
    stopped: bool,
}

pub struct Waiter<T> {
    pub tenure: Tenure,
    pub what: T,
}

/// Free again when it is dropped.
pub struct Place<T> {
    crowd: Arc<Crowd<T>>,
    number: u64,
    user: Uuid,
}

impl Waiting {
    pub fn new(connections_max: usize, metrics: &Metrics) -> Self {
        let gauge = |kind: &str| metrics.waiting.with_label_values(&[kind]);
        Self {
            polls: Crowd::new(connections_max.div_ceil(2), POLLS_EACH_MAX, gauge("poll")),
            streams: Crowd::new(connections_max.div_ceil(4), STREAMS_EACH_MAX, gauge("stream")),
            reading: Semaphore::new(READING_MAX),
            moved: Mutex::default(),
            nudge: Notify::new(),
        }
    }

    /// A row moved in this process: whoever polls for it need not wait for the next look.
    pub fn moved(&self, row: Uuid) {
        if self.polls.is_empty() {
            return;
        }
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if moved.len() < MOVED_MAX && moved.insert(row) {
            self.nudge.notify_one();
        }
    }

    /// Comes back when a row has moved here.
    pub async fn nudged(&self) {
        self.nudge.notified().await;
    }

    pub fn take_moved(&self) -> HashSet<Uuid> {
        mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Crowd<T> {
    fn new(max: usize, each_max: usize, gauge: IntGauge) -> Arc<Self> {
        let inside = Inside { next: 0, waiters: HashMap::new(), places: 0, each: HashMap::new(), stopped: false };
        Arc::new(Self { max, each_max, inside: Mutex::new(inside), came: Notify::new(), gauge })
    }

    /// # Errors
    /// [`Error::TooMany`] when this caller waits in too many places; [`Error::TurnedAway`] when all do, or the process stops.
    pub fn enter(self: &Arc<Self>, tenure: Tenure, what: T) -> Result<Place<T>> {
        let mut inside = self.lock();
        let own = inside.each.get(&tenure.user).copied().unwrap_or_default();
        if own >= self.each_max {
            return Err(Error::TooMany { retry_after_secs: RETRY_SECS });
        }
        if inside.stopped || inside.places >= self.max {
            return Err(Error::TurnedAway("as many callers wait as may"));
        }
        inside.each.insert(tenure.user, own + 1);
        inside.places += 1;
        inside.next += 1;
        let number = inside.next;
        inside.waiters.insert(number, Waiter { tenure, what });
        drop(inside);
        self.gauge.inc();
        self.came.notify_one();
        Ok(Place { crowd: Arc::clone(self), number, user: tenure.user })
    }

    /// Comes back when somebody waits.
    pub async fn occupied(&self) {
        while self.is_empty() {
            self.came.notified().await;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lock().waiters.is_empty()
    }

    /// What is to be known of all who wait.
    pub fn map<U>(&self, look: impl FnMut(&Waiter<T>) -> U) -> Vec<U> {
        self.lock().waiters.values().map(look).collect()
    }

    /// Lets go those for whom there is a reason.
    pub fn take_if<R>(&self, mut reason: impl FnMut(&mut Waiter<T>) -> Option<R>) -> Vec<(Waiter<T>, R)> {
        let mut inside = self.lock();
        let found: Vec<(u64, R)> = inside
            .waiters
            .iter_mut()
            .filter_map(|(number, waiter)| reason(waiter).map(|reason| (*number, reason)))
            .collect();
        found.into_iter().filter_map(|(number, reason)| Some((inside.waiters.remove(&number)?, reason))).collect()
    }

    /// Nobody comes in any more; those who waited.
    pub fn stop(&self) -> Vec<Waiter<T>> {
        let mut inside = self.lock();
        inside.stopped = true;
        mem::take(&mut inside.waiters).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let mut inside = self.crowd.lock();
        let gone = inside.waiters.remove(&self.number);
        inside.places = inside.places.saturating_sub(1);
        if let Some(own) = inside.each.get_mut(&self.user) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                inside.each.remove(&self.user);
            }
        }
        drop(inside);
        drop(gone);
        self.crowd.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenure(user: u128) -> Tenure {
        Tenure::new(Uuid::from_u128(user), Uuid::from_u128(user), None)
    }

    #[test]
    fn places_are_bounded_and_free_again_when_their_callers_leave() {
        let crowd = Crowd::new(3, 2, IntGauge::new("waiting", "waiting").expect("a name"));
        let own = [crowd.enter(tenure(1), 'a'), crowd.enter(tenure(1), 'b')].map(|place| place.expect("there is room"));
        assert!(matches!(crowd.enter(tenure(1), 'c'), Err(Error::TooMany { .. })));
        let other = crowd.enter(tenure(2), 'd').expect("there is room for another");
        assert!(matches!(crowd.enter(tenure(3), 'e'), Err(Error::TurnedAway(_))));
        // Who is let go keeps the place until it has left.
        let taken = crowd.take_if(|waiter| (waiter.what == 'd').then_some(()));
        assert_eq!(taken.len(), 1);
        assert!(matches!(crowd.enter(tenure(3), 'e'), Err(Error::TurnedAway(_))));
        drop(other);
        drop(own);
        assert!(crowd.is_empty() && crowd.gauge.get() == 0);
        assert!(crowd.lock().each.is_empty());
        let last = crowd.enter(tenure(1), 'f').expect("all is free");
        assert_eq!(crowd.stop().len(), 1);
        assert!(crowd.enter(tenure(2), 'g').is_err(), "nobody comes in any more");
        drop(last);
    }
}
