//! The time, and the ids that carry it. The only place that reads the machine's clocks; tests stop it and move it by hand.
//!
//! The time is PostgreSQL's, for every process of the service: a lease that one worker writes ends for all of them at the same moment,
//! whatever their own clocks show. It is measured ([`Clock::measure`]) on each new connection, so that no statement goes out
//! before, and every 10 s (`footing.rs`); in between this machine's steady clock carries it on, which nobody can set and which goes on
//! while the machine sleeps. The wall clock is read for one purpose: to tell how far it is from the clocks of PostgreSQL and
//! TigerBeetle ([`Clock::offset`]).

mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use chrono::{TimeDelta, TimeZone, Utc};
use rustix::time::{ClockId, clock_gettime};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::platform::text_enum::text_enum;

/// A moment in UTC, as rows and answers carry it.
pub type DateTime = chrono::DateTime<Utc>;

/// No cluster is further from our clock than this.
pub const CLOCK_MARGIN: TimeDelta = TimeDelta::minutes(1);
/// What another clock showed during a longer wait than this is too vague to be used.
const WAIT_MAX: i64 = 1_000_000;
/// When PostgreSQL's clock turns out to be behind what was believed, our time stands still until it has caught up, so that ids and
/// rows keep their order; by more than this it was set back, and then leases that do not end are worse than an order that breaks once.
const STANDSTILL_MAX: i64 = 1_000_000;
const NEVER: i64 = i64::MIN;

text_enum! {
    /// Who has a clock besides this process.
    pub enum Part {
        PostgreSql = "postgresql",
        TigerBeetle = "tigerbeetle",
    }
}

impl Part {
    /// For so long a measurement says something. TigerBeetle tells the time only with a transfer: when none came for so long, the
    /// next payout brings one.
    const fn known_for(self) -> i64 {
        match self {
            Self::PostgreSql => 60_000_000,
            Self::TigerBeetle => 600_000_000,
        }
    }
}

/// On the steady clock, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Moment(i64);

/// Cheap to clone; every clone shows the same time, and a test that moves one moves that of the whole service.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Shared>);

/// In microseconds; times are those since the epoch.
#[derive(Debug)]
struct Shared {
    fixed: Option<AtomicI64>,
    postgresql: Carried,
    tigerbeetle: Carried,
    /// The latest time that was told.
    latest: AtomicI64,
    /// How wrong a test has made the wall clock.
    wall_ahead: AtomicI64,
}

/// Another clock, carried on by the steady one.
#[derive(Debug)]
struct Carried {
    /// What it shows minus what the steady clock shows.
    ahead: AtomicI64,
    /// When that was measured, on the steady clock.
    at: AtomicI64,
}

impl Carried {
    fn new(ahead: i64) -> Self {
        Self { ahead: AtomicI64::new(ahead), at: AtomicI64::new(NEVER) }
    }
}

impl Clock {
    /// PostgreSQL's time, and this machine's until it was measured.
    pub fn system() -> Self {
        Self::with_wall_ahead(TimeDelta::zero())
    }

    /// The same on a machine whose wall clock is wrong: for tests.
    pub fn with_wall_ahead(by: TimeDelta) -> Self {
        Self::new(None, micros(by))
    }

    pub fn fixed(at: DateTime) -> Self {
        Self::new(Some(AtomicI64::new(at.timestamp_micros())), 0)
    }

    fn new(fixed: Option<AtomicI64>, wall_ahead: i64) -> Self {
        let postgresql = Carried::new(wall().saturating_add(wall_ahead).saturating_sub(steady()));
        let (latest, wall_ahead) = (AtomicI64::new(NEVER), AtomicI64::new(wall_ahead));
        Self(Arc::new(Shared { fixed, postgresql, tigerbeetle: Carried::new(0), latest, wall_ahead }))
    }

    /// Now, in whole microseconds: what PostgreSQL can store, so that a value read back equals the value written.
    pub fn now(&self) -> DateTime {
        let now = self.0.fixed.as_ref().map_or_else(|| self.tell(steady()), |fixed| fixed.load(SeqCst));
        Utc.timestamp_micros(now).single().expect("microseconds since the epoch are a time in UTC")
    }

    fn tell(&self, steady: i64) -> i64 {
        let now = steady.saturating_add(self.0.postgresql.ahead.load(SeqCst));
        let latest = self.0.latest.fetch_max(now, SeqCst);
        if latest.saturating_sub(now) <= STANDSTILL_MAX {
            return now.max(latest);
        }
        self.0.latest.store(now, SeqCst);
        now
    }

    /// Moves a fixed clock; the system's clock is nobody's to move.
    pub fn advance(&self, by: TimeDelta) {
        self.0.fixed.as_ref().expect("only a fixed clock can be moved").fetch_add(micros(by), SeqCst);
    }

    /// From now on this process's wall clock shows so much more than it should: for tests.
    pub fn set_wall_ahead(&self, by: TimeDelta) {
        self.0.wall_ahead.store(micros(by), SeqCst);
    }

    pub fn moment(&self) -> Moment {
        Moment(self.0.fixed.as_ref().map_or_else(steady, |fixed| fixed.load(SeqCst)))
    }

    /// How long ago that was, whatever any clock was set to since.
    pub fn elapsed(&self, since: Moment) -> TimeDelta {
        TimeDelta::microseconds(self.moment().0.saturating_sub(since.0))
    }

    /// Asks PostgreSQL for the time. An answer that took too long changes nothing, and is a failure while none is known: then nothing
    /// may be written yet.
    pub async fn measure(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let asked = self.moment();
        let shown = store::time(db).await?;
        if self.observe(Part::PostgreSql, shown.timestamp_micros(), asked)
            || self.carried(Part::PostgreSql).at.load(SeqCst) != NEVER
        {
            return Ok(());
        }
        Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "PostgreSQL took too long to tell the time",
        )))
    }

    /// That clock showed `shown`, in microseconds since the epoch, at some moment between `asked` and now. False when that is too
    /// vague. To a fixed clock no other one matters.
    pub fn observe(&self, part: Part, shown: i64, asked: Moment) -> bool {
        let (now, carried) = (self.moment().0, self.carried(part));
        let waited = now.saturating_sub(asked.0);
        if self.0.fixed.is_some() || !(0..=WAIT_MAX).contains(&waited) {
            return self.0.fixed.is_some();
        }
        carried.ahead.store(shown.saturating_sub(asked.0.saturating_add(waited / 2)), SeqCst);
        carried.at.store(now, SeqCst);
        true
    }

    /// How far this process's wall clock is ahead of that clock now; `None` while that is not known, or not any more.
    pub fn offset(&self, part: Part) -> Option<TimeDelta> {
        let ahead = self.0.wall_ahead.load(SeqCst);
        if self.0.fixed.is_some() {
            return (part == Part::PostgreSql).then(|| TimeDelta::microseconds(ahead));
        }
        let (now, carried) = (steady(), self.carried(part));
        let at = carried.at.load(SeqCst);
        let known = at != NEVER && now.saturating_sub(at) <= part.known_for();
        let shown = now.saturating_add(carried.ahead.load(SeqCst));
        known.then(|| TimeDelta::microseconds(wall().saturating_add(ahead).saturating_sub(shown)))
    }

    fn carried(&self, part: Part) -> &Carried {
        match part {
            Part::PostgreSql => &self.0.postgresql,
            Part::TigerBeetle => &self.0.tigerbeetle,
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

    /// The id of a call that brought none of its own: a UUIDv7.
    pub fn request_id(&self) -> Uuid {
        uuid::Builder::from_unix_timestamp_millis(self.millis(), &rand::random()).into_uuid()
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.now().timestamp_millis()).expect("the clock stands after 1970")
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
fn wall() -> i64 {
    Utc::now().timestamp_micros()
}

/// Since the machine's start, its sleep included: `Instant` stands still while a machine is suspended, and leases go on.
fn steady() -> i64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec.saturating_mul(1_000_000).saturating_add(since.tv_nsec / 1000)
}

fn micros(by: TimeDelta) -> i64 {
    by.num_microseconds().expect("a test moves the clock by less than an age")
}

/// What every id that was made at this time or later is not less than: ids carry their time in front.
pub fn first_id_at(time: DateTime) -> Uuid {
    let millis = u128::try_from(time.timestamp_millis()).unwrap_or_default();
    Uuid::from_u128(millis.min((1 << 48) - 1) << 80)
}

/// The same where ids are compared with times to the microsecond: of the first millisecond that begins then or later.
pub fn first_id_not_before(time: DateTime) -> Uuid {
    let part = time.timestamp_subsec_nanos() % 1_000_000;
    first_id_at(if part == 0 { time } else { time + TimeDelta::milliseconds(1) })
}

/// When a row was made, by its id; an id that carries no time is as old as time.
pub fn time_of(id: Uuid) -> DateTime {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or_default();
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

/// The last nanosecond before a moment, as the ledger counts: its clock begins in 1970 and ends in 2262, and nothing lies beyond.
pub fn last_nanosecond_before(moment: DateTime) -> u64 {
    let nanoseconds = moment.timestamp_nanos_opt().unwrap_or(if moment.timestamp() < 0 { 0 } else { i64::MAX });
    u64::try_from(nanoseconds).unwrap_or(0).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// As if PostgreSQL had just shown so much more than the machine's wall clock.
    fn shows(clock: &Clock, ahead: i64) {
        assert!(clock.observe(Part::PostgreSql, wall() + ahead, clock.moment()));
    }

    fn ahead_of_wall(clock: &Clock) -> i64 {
        (clock.now().timestamp_micros() - wall() + SECOND / 2).div_euclid(SECOND)
    }

    #[test]
    fn the_time_is_postgresqls_and_a_wall_clock_that_jumps_changes_nothing() {
        let clock = Clock::with_wall_ahead(TimeDelta::seconds(100));
        assert_eq!((ahead_of_wall(&clock), clock.offset(Part::PostgreSql)), (100, None), "not measured yet");
        shows(&clock, 0);
        assert_eq!(ahead_of_wall(&clock), 0);
        for jump in [100, -100, 0] {
            clock.set_wall_ahead(TimeDelta::seconds(jump));
            assert_eq!(ahead_of_wall(&clock), 0);
            let offset = clock.offset(Part::PostgreSql).expect("measured");
            assert!((offset - TimeDelta::seconds(jump)).abs() < TimeDelta::milliseconds(500), "{offset}");
        }
    }

    #[test]
    fn a_small_correction_keeps_the_order_of_ids_and_a_clock_that_was_set_back_is_followed() {
        let clock = Clock::system();
        shows(&clock, 2 * SECOND);
        let (before, id) = (clock.now(), clock.row_id());
        shows(&clock, 2 * SECOND - SECOND / 2);
        assert!(clock.now() >= before && clock.row_id().as_bytes()[..6] >= id.as_bytes()[..6]);
        shows(&clock, -60 * SECOND);
        assert_eq!(ahead_of_wall(&clock), -60);
        assert!(clock.now() < before);
    }

    #[test]
    fn half_of_the_wait_is_taken_into_account_and_a_long_one_is_thrown_away() {
        let clock = Clock::system();
        let asked = |ago: i64| Moment(clock.moment().0 - ago);
        assert!(clock.observe(Part::TigerBeetle, wall(), asked(SECOND - SECOND / 10)));
        let offset = clock.offset(Part::TigerBeetle).expect("measured");
        assert!((offset + TimeDelta::milliseconds(450)).abs() < TimeDelta::milliseconds(100), "{offset}");
        assert!(!clock.observe(Part::PostgreSql, wall(), asked(2 * SECOND)));
        assert_eq!(clock.offset(Part::PostgreSql), None);
    }

    #[test]
    fn a_measurement_is_forgotten_when_it_is_old() {
        let clock = Clock::system();
        for part in [Part::PostgreSql, Part::TigerBeetle] {
            assert!(clock.observe(part, wall(), clock.moment()));
            assert!(clock.offset(part).is_some());
            let carried = clock.carried(part);
            carried.at.store(carried.at.load(SeqCst) - part.known_for() - SECOND, SeqCst);
            assert_eq!(clock.offset(part), None);
        }
    }
}
