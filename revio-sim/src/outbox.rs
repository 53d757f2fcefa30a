//! The delivery queues and the retry schedule, without any I/O: one queue an endpoint and object, of which only the head may
//! be attempted. Filled by `world.rs`, emptied by `sender.rs`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Attempt *n* goes out `3^(n-1) - 1` minutes after the first (DOC-S; the last one agrees with Revio's "36 h", DOC-R).
pub const RETRY_MINUTES: [i64; 8] = [0, 2, 8, 26, 80, 242, 728, 2186];

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Endpoint {
    Webhook(Uuid),
    /// A purchase's `success_callback`.
    Callback(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) serial: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) object_id: Uuid,
    pub(crate) event_type: String,
    /// Kept as it was first serialised: retries are byte-identical.
    pub(crate) body: Arc<str>,
    /// Attempts made so far.
    pub(crate) attempts: u32,
    first_at: Option<i64>,
    due_at: i64,
    /// A fault has moved it once; it is not moved again.
    pub(crate) shifted: bool,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Failed,
    /// Not attempted: put behind everything that is due now, or so many milliseconds off.
    Shifted {
        millis: i64,
    },
}

type QueueKey = (Endpoint, Uuid);

/// Times are milliseconds on the delivery time line: the clock's in manual mode, real ones in automatic mode.
#[derive(Default, Serialize, Deserialize)]
#[serde(from = "Vec<Delivery>", into = "Vec<Delivery>")]
pub(crate) struct Outbox {
    queues: HashMap<QueueKey, VecDeque<Delivery>>,
    /// The heads that may be attempted, by due time; a head in flight is not here.
    ready: BTreeMap<(i64, u64), QueueKey>,
    order: u64,
}

impl Outbox {
    pub(crate) fn push(&mut self, endpoint: Endpoint, what: (Uuid, &str), body: Arc<str>, now: i64) {
        self.order += 1;
        let (object_id, event_type) = what;
        let delivery = Delivery {
            serial: self.order,
            endpoint,
            object_id,
            event_type: event_type.to_owned(),
            body,
            attempts: 0,
            first_at: None,
            due_at: now,
            shifted: false,
        };
        self.append(delivery);
    }

    fn append(&mut self, delivery: Delivery) {
        let key = (delivery.endpoint.clone(), delivery.object_id);
        let queue = self.queues.entry(key.clone()).or_default();
        if queue.is_empty() {
            self.ready.insert((delivery.due_at, delivery.serial), key);
        }
        queue.push_back(delivery);
    }

    /// The next delivery that is due, which is in flight from now until `finish` or `give_back`.
    pub(crate) fn take_due(&mut self, now: i64) -> Option<Delivery> {
        let entry = self.ready.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let key = entry.remove();
        self.queues.get(&key)?.front().cloned()
    }

    pub(crate) fn next_due(&self) -> Option<i64> {
        self.ready.keys().next().map(|(due, _)| *due)
    }

    /// How many deliveries wait or are in flight.
    pub(crate) fn len(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    /// Everything that waits, oldest first.
    pub(crate) fn waiting(&self) -> Vec<&Delivery> {
        let mut all: Vec<&Delivery> = self.queues.values().flatten().collect();
        all.sort_by_key(|delivery| delivery.serial);
        all
    }

    /// An attempt that was not finished: due again as it was.
    pub(crate) fn give_back(&mut self, delivery: &Delivery) {
        let key = (delivery.endpoint.clone(), delivery.object_id);
        if self.queues.get(&key).is_some_and(|queue| !queue.is_empty()) {
            self.ready.insert((delivery.due_at, delivery.serial), key);
        }
    }

    /// `began` is when the attempt began, `minute_ms` how long a minute of the schedule lasts.
    pub(crate) fn finish(&mut self, taken: &Delivery, outcome: Outcome, began: i64, minute_ms: i64) {
        let key = (taken.endpoint.clone(), taken.object_id);
        let Some(queue) = self.queues.get_mut(&key) else { return };
        let Some(head) = queue.front_mut().filter(|head| head.serial == taken.serial) else { return };
        self.order += 1;
        let mut place = self.order;
        let next = match outcome {
            Outcome::Delivered => None,
            Outcome::Failed => {
                head.attempts += 1;
                place = head.serial;
                // Counted from the first attempt, not from the last (DOC-S).
                let first_at = *head.first_at.get_or_insert(began);
                let later = usize::try_from(head.attempts).ok().and_then(|index| RETRY_MINUTES.get(index));
                later.map(|minutes| first_at + minutes * minute_ms)
            }
            Outcome::Shifted { millis } => {
                head.shifted = true;
                Some(began + millis)
            }
        };
        match next {
            Some(due_at) => {
                head.due_at = due_at;
                self.ready.insert((due_at, place), key);
            }
            None => {
                queue.pop_front();
                self.advance(key, began);
            }
        }
    }

    /// The next one of the queue becomes its head. Guessed (?): it also goes out when the one before it was given up, and its
    /// own schedule begins only now.
    fn advance(&mut self, key: QueueKey, now: i64) {
        match self.queues.get_mut(&key).and_then(VecDeque::front_mut) {
            Some(head) => {
                head.due_at = head.due_at.max(now);
                self.ready.insert((head.due_at, head.serial), key);
            }
            None => {
                self.queues.remove(&key);
            }
        }
    }

    /// Drops what waits for an endpoint that is gone.
    pub(crate) fn forget(&mut self, endpoint: &Endpoint) {
        self.queues.retain(|(of, _), _| of != endpoint);
        self.ready.retain(|_, (of, _)| of != endpoint);
    }
}

impl From<Vec<Delivery>> for Outbox {
    fn from(deliveries: Vec<Delivery>) -> Outbox {
        let mut outbox = Outbox::default();
        for delivery in deliveries {
            outbox.order = outbox.order.max(delivery.serial);
            outbox.append(delivery);
        }
        outbox
    }
}

impl From<Outbox> for Vec<Delivery> {
    fn from(outbox: Outbox) -> Vec<Delivery> {
        let mut all: Vec<Delivery> = outbox.queues.into_values().flatten().collect();
        all.sort_by_key(|delivery| delivery.serial);
        all
    }
}

impl Clone for Outbox {
    /// Only serde's `into` needs it; heads in flight become ready again, as after a crash.
    fn clone(&self) -> Outbox {
        Outbox::from(self.waiting().into_iter().cloned().collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn outbox(events: &[(u128, &str)]) -> Outbox {
        let mut outbox = Outbox::default();
        for (object, event) in events {
            let endpoint = Endpoint::Callback("http://x".to_owned());
            outbox.push(endpoint, (Uuid::from_u128(*object), event), Arc::from("{}"), 0);
        }
        outbox
    }

    #[test]
    fn eight_attempts_at_the_documented_minutes_and_never_again() {
        for (index, minutes) in RETRY_MINUTES.iter().enumerate() {
            assert_eq!(*minutes, 3_i64.pow(u32::try_from(index).unwrap()) - 1);
        }
        let mut outbox = outbox(&[(1, "a")]);
        let mut at = Vec::new();
        while let Some(due) = outbox.next_due() {
            assert!(outbox.take_due(due - 1).is_none());
            let delivery = outbox.take_due(due).unwrap();
            at.push(due / MINUTE);
            outbox.finish(&delivery, Outcome::Failed, due, MINUTE);
        }
        assert_eq!(at, RETRY_MINUTES);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn a_failing_head_blocks_its_own_object_only() {
        let mut outbox = outbox(&[(1, "purchase.viewed"), (1, "purchase.paid"), (2, "purchase.paid")]);
        let viewed = outbox.take_due(0).unwrap();
        assert_eq!(viewed.event_type, "purchase.viewed");
        let other = outbox.take_due(0).unwrap();
        assert_eq!(other.object_id, Uuid::from_u128(2));
        assert!(outbox.take_due(0).is_none(), "the second event waits for the first");
        outbox.finish(&viewed, Outcome::Failed, 0, MINUTE);
        assert!(outbox.take_due(0).is_none());
        let again = outbox.take_due(2 * MINUTE).unwrap();
        assert_eq!((again.event_type.as_str(), again.attempts), ("purchase.viewed", 1));
        outbox.finish(&again, Outcome::Delivered, 2 * MINUTE, MINUTE);
        assert_eq!(outbox.take_due(2 * MINUTE).unwrap().event_type, "purchase.paid");
    }

    #[test]
    fn a_restart_keeps_order_and_gives_back_what_was_in_flight() {
        let mut outbox = outbox(&[(1, "a"), (1, "b"), (2, "c")]);
        let in_flight = outbox.take_due(0).unwrap();
        let text = serde_json::to_string(&outbox).unwrap();
        let mut again: Outbox = serde_json::from_str(&text).unwrap();
        assert_eq!(again.take_due(0).unwrap().serial, in_flight.serial);
        assert_eq!(again.take_due(0).unwrap().event_type, "c");
        assert_eq!(again.len(), 3);
    }
}
