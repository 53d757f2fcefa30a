//! What paying stands on: clocks that agree, and a PostgreSQL that does not forget what it has answered. While either is missing no
//! payout begins; all else goes on. And what all work stands on: a schema that is as new as this release. While it is older no background
//! task begins anything: each step would call what is not there. Each process looks for itself, every 10 s ([`Footing::watch`]).
//!
//! Clocks: leases and the time that a call may be in flight go by PostgreSQL's (`clock.rs`), so a wrong wall clock cannot make a worker take
//! what another one holds. It says all the same that something is wrong with a machine, and then money waits for a person.
//! Durability: a payout that PostgreSQL forgets in a crash or a failover may be made again.

mod store;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use ledger::Currency;
use sqlx::PgExecutor;

use self::store::Promises;
use crate::platform::clock::{Clock, Moment, Part};
use crate::platform::config::Durability;
use crate::platform::database::Db;
use crate::platform::error::{Error, Result};
use crate::platform::telemetry::FootingGauges;

const PERIOD: Duration = Duration::from_secs(10);
const AFTER_A_FAILURE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(4);
/// By more than this no two clocks may differ.
const OFFSET_MAX: TimeDelta = TimeDelta::seconds(2);
/// What PostgreSQL calls it when nothing was ever migrated.
const UNDEFINED_TABLE: &str = "42P01";

/// Why no payout begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("PostgreSQL's clock was not measured within the last minute")]
    ClockUnknown,
    #[error("the clock of this process is more than 2 s from that of {}", .0.name())]
    ClocksApart(Part),
    #[error("PostgreSQL does not promise what DATABASE_DURABILITY demands: {0}")]
    NotDurable(&'static str),
}

impl Refusal {
    /// For `/readyz`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ClockUnknown => "clock_unknown",
            Self::ClocksApart(_) => "clocks_apart",
            Self::NotDurable(_) => "not_durable",
        }
    }
}

pub struct Footing {
    clock: Clock,
    demanded: Durability,
    durable: Mutex<Result<(), &'static str>>,
    /// Until it is known otherwise: while PostgreSQL does not answer, nothing can begin anyway.
    schema_is_current: AtomicBool,
    /// By currency: when all that was in the ledger was last read, and the timestamp of its newest transfer.
    ledger_read: Mutex<HashMap<Currency, (Moment, u64)>>,
    /// What the log was last told.
    refusing: Mutex<Option<Refusal>>,
    gauges: FootingGauges,
}

impl Footing {
    pub fn new(clock: Clock, demanded: Durability, gauges: FootingGauges) -> Self {
        let durable = if demanded == Durability::None { Ok(()) } else { Err("it was not asked yet") };
        let (durable, ledger_read, refusing) = (Mutex::new(durable), Mutex::default(), Mutex::default());
        let schema_is_current = AtomicBool::new(true);
        Self { clock, demanded, durable, schema_is_current, ledger_read, refusing, gauges }
    }

    /// Asked right before a payout begins. A refusal is nobody's row's fault: it waits, and goes on by itself.
    pub fn require_payable(&self) -> Result<()> {
        self.refusal().map_or(Ok(()), |refusal| Err(Error::unavailable(refusal)))
    }

    /// Whether background tasks may claim anything.
    pub fn may_work(&self) -> bool {
        self.schema_is_current.load(Ordering::Acquire)
    }

    /// Judged at this moment, so that a wall clock that jumped since the last look counts. The log is told when it begins and ends.
    pub fn refusal(&self) -> Option<Refusal> {
        let refusal = self.judge().err();
        let mut current = locked(&self.refusing);
        if *current != refusal {
            match refusal {
                Some(refusal) => tracing::error!(reason = %refusal, "no payout begins"),
                None => tracing::info!("payouts begin again"),
            }
            *current = refusal;
        }
        refusal
    }

    fn judge(&self) -> Result<(), Refusal> {
        if self.clock.offset(Part::PostgreSql).is_none() {
            return Err(Refusal::ClockUnknown);
        }
        let apart = |part: &Part| self.clock.offset(*part).is_some_and(|offset| offset.abs() > OFFSET_MAX);
        if let Some(part) = Part::ALL.iter().copied().find(apart) {
            return Err(Refusal::ClocksApart(part));
        }
        (*locked(&self.durable)).map_err(Refusal::NotDurable)
    }

    /// Looks for as long as the process runs.
    #[expect(clippy::disallowed_methods, reason = "this paces a background loop that no test waits for")]
    pub async fn watch(&self, db: &Db) {
        loop {
            let pause = match self.look(db).await {
                Ok(()) => PERIOD,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "PostgreSQL's clock, durability and schema are not known");
                    AFTER_A_FAILURE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Measures, and tells the gauges and the log.
    pub async fn look(&self, db: &Db) -> Result<()> {
        let looked = tokio::time::timeout(DEADLINE, self.ask(db)).await;
        for part in Part::ALL {
            let (gauge, label) = (&self.gauges.clock_offset, [part.name()]);
            match self.clock.offset(*part) {
                Some(offset) => gauge.with_label_values(&label).set(offset.as_seconds_f64()),
                // Of what is not known any more the last one would ring on.
                None => drop(gauge.remove_label_values(&label)),
            }
        }
        self.refusal();
        looked.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed)))
    }

    async fn ask(&self, db: &Db) -> Result<()> {
        // Waiting for a connection is not waiting for an answer.
        let mut db = db.acquire().await?;
        self.clock.measure(&mut db).await?;
        if self.demanded != Durability::None {
            let durable = judge_promises(self.demanded, &store::promises(&mut *db).await?);
            *locked(&self.durable) = durable;
            self.gauges.durable.set(i64::from(durable.is_ok()));
        }
        self.judge_schema(is_migrated(&mut *db).await?);
        Ok(())
    }

    fn judge_schema(&self, is_current: bool) {
        self.gauges.schema_current.set(i64::from(is_current));
        let was = self.schema_is_current.swap(is_current, Ordering::AcqRel);
        if was && !is_current {
            tracing::error!(
                "the schema is older than this release: no background task begins anything until octoco migrate has run"
            );
        } else if is_current && !was {
            tracing::info!("the schema is as new as this release: background tasks go on");
        }
    }

    /// TigerBeetle has no call that tells the time; a transfer's timestamp is its clock at the write. Whoever reads the ledger to
    /// its end again and again knows when that was: what is new was written since the last time. `asked`: before the read;
    /// `newest`: the timestamp of the last transfer that is there; `to_the_end`: whether there was none after it.
    pub fn ledger_was_read(&self, currency: Currency, asked: Moment, newest: u64, to_the_end: bool) {
        let mut read = locked(&self.ledger_read);
        let before = if to_the_end { read.insert(currency, (asked, newest)) } else { read.remove(&currency) };
        if let Some((since, newest_then)) = before
            && newest > newest_then
        {
            self.clock.observe(Part::TigerBeetle, i64::try_from(newest / 1000).unwrap_or(i64::MAX), since);
        }
    }
}

/// Whether the schema is at least as new as this release's: a later release may be on its way in.
pub async fn is_migrated(db: impl PgExecutor<'_>) -> Result<bool> {
    let newest = crate::MIGRATIONS.iter().map(|migration| migration.version).max();
    match store::newest_migration(db).await {
        Ok(version) => Ok(version >= newest),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Each is one value, whole at any moment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is missing, the first of it.
fn judge_promises(demanded: Durability, of: &Promises) -> Result<(), &'static str> {
    let synchronous = of.synchronous_commit.as_str();
    let standby = demanded == Durability::Standby;
    let missing = [
        (of.in_recovery, "it is a standby"),
        (of.fsync != "on", "fsync is off"),
        (of.full_page_writes != "on", "full_page_writes is off"),
        (synchronous == "off", "synchronous_commit is off"),
        (standby && of.synchronous_standby_names.trim().is_empty(), "synchronous_standby_names is empty"),
        (
            standby && !["on", "remote_apply"].contains(&synchronous),
            "synchronous_commit does not wait for a standby's disk",
        ),
    ];
    let missing = missing.into_iter().filter(|_| demanded != Durability::None).find(|(missing, _)| *missing);
    missing.map_or(Ok(()), |(_, what)| Err(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock::DateTime;
    use crate::platform::error::Fault;
    use crate::platform::telemetry::Metrics;

    fn footing(clock: &Clock, demanded: Durability) -> Footing {
        Footing::new(clock.clone(), demanded, Metrics::new().footing.clone())
    }

    #[test]
    fn no_payout_begins_while_clocks_are_more_than_two_seconds_apart() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let footing = footing(&clock, Durability::None);
        for (millis, allowed) in
            [(0, true), (2_000, true), (2_001, false), (-2_001, false), (100_000, false), (-1_999, true)]
        {
            clock.set_wall_ahead(TimeDelta::milliseconds(millis));
            let answer = footing.require_payable();
            assert_eq!(answer.is_ok(), allowed, "{millis}");
            assert!(answer.err().is_none_or(|error| error.fault() == Fault::Surroundings));
        }
    }

    #[test]
    fn no_payout_begins_before_postgresql_was_asked_for_the_time_and_its_promises() {
        let clock = Clock::system();
        assert_eq!(footing(&clock, Durability::None).refusal(), Some(Refusal::ClockUnknown));
        assert!(clock.observe(Part::PostgreSql, clock.now().timestamp_micros(), clock.moment()));
        assert_eq!(footing(&clock, Durability::None).refusal(), None);
        assert_eq!(footing(&clock, Durability::Local).refusal(), Some(Refusal::NotDurable("it was not asked yet")));
    }

    #[test]
    fn the_ledgers_clock_is_told_by_what_was_written_between_two_reads_to_its_end() {
        let clock = Clock::system();
        let (footing, zar) = (footing(&clock, Durability::None), Currency::ZAR);
        let nanos = |seconds: i64| u64::try_from((clock.now() + TimeDelta::seconds(seconds)).timestamp_micros() * 1000);
        let ledger_ahead = |seconds| nanos(seconds).expect("after 1970");
        let old = ledger_ahead(-3_000);
        for (newest, to_the_end) in [(ledger_ahead(-4_000), false), (old, true), (old, true)] {
            footing.ledger_was_read(zar, clock.moment(), newest, to_the_end);
            assert_eq!(clock.offset(Part::TigerBeetle), None, "nothing says when these were written");
        }
        footing.ledger_was_read(zar, clock.moment(), ledger_ahead(30), true);
        let offset = clock.offset(Part::TigerBeetle).expect("measured");
        assert!((offset + TimeDelta::seconds(30)).abs() < TimeDelta::milliseconds(600), "{offset}");
        assert!(clock.observe(Part::PostgreSql, clock.now().timestamp_micros(), clock.moment()));
        assert_eq!(footing.refusal(), Some(Refusal::ClocksApart(Part::TigerBeetle)));
    }

    #[test]
    fn what_postgresql_promises_is_held_against_what_is_demanded() {
        let promises = |fsync: &str, full: &str, commit: &str, names: &str| Promises {
            fsync: fsync.to_owned(),
            full_page_writes: full.to_owned(),
            synchronous_commit: commit.to_owned(),
            synchronous_standby_names: names.to_owned(),
            in_recovery: false,
        };
        for (of, local, standby) in [
            (promises("on", "on", "on", "one"), true, true),
            (promises("on", "on", "remote_apply", "ANY 1 (a, b)"), true, true),
            (promises("on", "on", "remote_write", "one"), true, false),
            (promises("on", "on", "local", "one"), true, false),
            (promises("on", "on", "on", " "), true, false),
            (promises("on", "on", "off", "one"), false, false),
            (promises("off", "on", "on", "one"), false, false),
            (promises("on", "off", "on", "one"), false, false),
            (Promises { in_recovery: true, ..promises("on", "on", "on", "one") }, false, false),
        ] {
            assert_eq!(judge_promises(Durability::Local, &of).is_ok(), local, "{of:?}");
            assert_eq!(judge_promises(Durability::Standby, &of).is_ok(), standby, "{of:?}");
            assert!(judge_promises(Durability::None, &of).is_ok());
        }
    }
}
