//! A run as it is stored: what it looks at, and since when. `runs` moves it; every look is a look of one.

use chrono::{NaiveDate, TimeDelta};
use serde_json::Value;
use uuid::Uuid;

use super::found::ReconciliationLeg;
use crate::platform::clock::{self, DateTime};
use crate::platform::text_enum::text_enum;

text_enum! {
    #[schema(as = ReconciliationRunKind)]
    pub enum RunKind {
        QuarterHour = "quarter_hour",
        Daily = "daily",
        Statement = "statement",
        Manual = "manual",
    }
}

text_enum! {
    #[schema(as = ReconciliationRunState)]
    pub enum RunState {
        Running = "running",
        Finished = "finished",
        Failed = "failed",
    }
}

impl RunKind {
    /// A run that is not over by then is given up.
    pub(super) fn longest(self) -> TimeDelta {
        match self {
            Self::QuarterHour => TimeDelta::minutes(40),
            Self::Daily | Self::Statement | Self::Manual => TimeDelta::hours(6),
        }
    }

    /// How many rows Revio is asked about: what is left is asked about by the next ones, in turn.
    pub(super) fn calls_max(self) -> i64 {
        match self {
            Self::QuarterHour => 600,
            Self::Daily => 900,
            Self::Statement | Self::Manual => 5_000,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Run {
    pub id: Uuid,
    pub kind: RunKind,
    pub legs: Vec<String>,
    pub state: RunState,
    pub since: DateTime,
    pub until: DateTime,
    pub ledger_since: i64,
    pub ledger_cut: i64,
    pub accounting_day: NaiveDate,
    /// Its first moment.
    pub day_began: DateTime,
    /// The first one after it.
    pub day_ended: DateTime,
    pub requested_by: String,
    pub checkpoint: Value,
    pub leased_until: Option<DateTime>,
    pub started_at: DateTime,
    pub finished_at: Option<DateTime>,
    pub counts: Value,
    pub sums: Value,
    pub report_sha256: Option<Vec<u8>>,
    pub error: Option<String>,
}

impl Run {
    pub fn has(&self, leg: ReconciliationLeg) -> bool {
        self.legs.iter().any(|known| known == leg.name())
    }

    /// Whether it looks at every row there is.
    pub(super) fn is_whole(&self) -> bool {
        self.kind == RunKind::Daily
    }

    /// Since when what it finds in sums is so: a daily run that comes late tells of the day that it closes, and of no later one.
    pub(super) fn sums_until(&self) -> DateTime {
        self.until.min(self.day_ended - TimeDelta::microseconds(1))
    }

    /// From when on what came and what ended is looked at. A run over everything has no window: of it that is the day that it closes.
    pub fn looks_back_to(&self) -> DateTime {
        if self.is_whole() { self.day_began } else { self.since }
    }

    /// Older rows that changed since are found by their transfers, and by the daily run.
    pub(super) fn oldest_row(&self) -> Uuid {
        if self.is_whole() { Uuid::nil() } else { oldest_changed_since(self.since) }
    }
}

/// Most rows that change are not older than two days then.
pub(super) fn oldest_changed_since(since: DateTime) -> Uuid {
    clock::first_id_at(since - TimeDelta::days(2))
}
