//! The time, and the ids that carry it. The only place that reads the system's clock; tests stop it and move it by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{TimeDelta, TimeZone, Utc};
use uuid::Uuid;

/// A moment in UTC, as rows and answers carry it.
pub type DateTime = chrono::DateTime<Utc>;

#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// Microseconds since the epoch; shared by every clone, so that a test moves the time of the whole service.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    pub fn fixed(at: DateTime) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at.timestamp_micros())))
    }

    /// Now, in whole microseconds: what PostgreSQL can store, so that a value read back equals the value written.
    pub fn now(&self) -> DateTime {
        let micros = match self {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
            Self::System => Utc::now().timestamp_micros(),
            Self::Fixed(micros) => micros.load(Ordering::SeqCst),
        };
        Utc.timestamp_micros(micros).single().expect("microseconds since the epoch are a time in UTC")
    }

    /// Moves a fixed clock; the system's clock is nobody's to move.
    pub fn advance(&self, by: TimeDelta) {
        match self {
            Self::System => panic!("only a fixed clock can be moved"),
            Self::Fixed(micros) => {
                micros.fetch_add(
                    by.num_microseconds().expect("a test moves the clock by less than an age"),
                    Ordering::SeqCst,
                );
            }
        }
    }

    /// The id of a new business row: a UUIDv7 whose last byte is left free for the ledger's legs.
    pub fn row_id(&self) -> Uuid {
        ledger::row_id(self.millis(), rand::random())
    }

    /// The id of a new user: a UUIDv7 whose last two bytes are left free for the ledger's accounts.
    pub fn user_id(&self) -> Uuid {
        ledger::user_id(self.millis(), rand::random())
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.now().timestamp_millis()).expect("the clock stands after 1970")
    }
}
