//! So many places for each: made when somebody's first comes, gone with the last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

#[derive(Debug)]
pub struct Shares {
    each: usize,
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Somebody's places.
pub struct Share {
    shares: Arc<Shares>,
    who: String,
    places: Arc<Semaphore>,
}

impl Shares {
    pub fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, of: Mutex::default() })
    }

    pub fn of(self: &Arc<Self>, who: String) -> Share {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let places = of.entry(who.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each)));
        Share { shares: Arc::clone(self), who, places: Arc::clone(places) }
    }
}

impl Share {
    /// A place, if one is free by then.
    pub async fn place(&self, wait: Duration) -> Option<SemaphorePermit<'_>> {
        timeout(wait, self.places.acquire()).await.ok()?.ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut of = self.shares.of.lock().unwrap_or_else(PoisonError::into_inner);
        // This one's and the map's. Another is only made under the lock.
        if Arc::strong_count(&self.places) == 2 {
            of.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_has_places_of_its_own_and_nothing_stays_behind() {
        let shares = Shares::new(1);
        let (one, same, other) = (shares.of("a".to_owned()), shares.of("a".to_owned()), shares.of("b".to_owned()));
        let held = one.place(Duration::ZERO).await.expect("the first");
        assert!(same.place(Duration::ZERO).await.is_none(), "no second one");
        assert!(other.place(Duration::ZERO).await.is_some(), "of another");
        drop(held);
        assert!(same.place(Duration::ZERO).await.is_some(), "free again");
        drop((one, same, other));
        assert!(shares.of.lock().expect("not poisoned").is_empty());
    }
}
