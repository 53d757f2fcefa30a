//! A number of places for each caller: counted from the caller's first request, forgotten with the last one in hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

/// One of somebody's places. Given back before the share goes, which looks whether anybody holds one.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Share {
    /// A place, if one is free by then.
    pub async fn place(self, wait: Duration) -> Option<Place> {
        let permit = timeout(wait, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()?;
        Some(Place { _permit: permit, _share: self })
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
        let place = async |who: &str| shares.of(who.to_owned()).place(Duration::ZERO).await;
        let held = place("a").await.expect("the first");
        assert!(place("a").await.is_none(), "no second one");
        assert!(place("b").await.is_some(), "of another");
        drop(held);
        assert!(place("a").await.is_some(), "free again");
        assert!(shares.of.lock().expect("not poisoned").is_empty());
    }
}
