//! A number that only rises, and is committed without waiting for the disk: a crash of PostgreSQL takes it back by a moment, and an older database
//! by more. The projector's watch tells one from the other by it.

use chrono::TimeDelta;

use crate::platform::clock::DateTime;

/// By then PostgreSQL has on its disk what was committed, though nobody waited for that.
const FLUSHED: TimeDelta = TimeDelta::seconds(5);

#[derive(Debug, Default)]
pub struct Rising {
    flushed: Option<i64>,
    /// What was seen after that, and when.
    seen: Option<(i64, DateTime)>,
}

impl Rising {
    /// It is so much now. How much it was before, for certain.
    pub fn saw(&mut self, number: i64, now: DateTime) -> Option<i64> {
        let before = self.flushed;
        match self.seen {
            Some((seen, at)) if seen <= number && now - at >= FLUSHED => {
                (self.flushed, self.seen) = (Some(seen), Some((number, now)));
            }
            Some((seen, _)) if seen <= number => {}
            // What was seen last was taken back.
            _ => (self.flushed, self.seen) = (before.filter(|before| *before <= number), Some((number, now))),
        }
        before
    }
}
