//! What a run leaves: one JSON document, written once, hashed and given out to the byte; as CSV its breaks, made of that document.

use csv::{Terminator, WriterBuilder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::breaks::{self, Break, BreakState};
use super::found::{BreakType, Owner, ReconciliationLeg, Severity};
use super::run::{Run, RunKind};
use super::stages::Checkpoint;
use crate::app::App;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::queue;

/// So many breaks are named; the others are only counted.
const NAMED_MAX: i64 = 5_000;

/// The report of a finished run. Its SHA-256 stands at the run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ReconciliationReport)]
pub struct Report {
    pub run_id: Uuid,
    pub kind: RunKind,
    pub legs: Vec<String>,
    /// What was looked at: from then to then, and the ledger up to this timestamp of its own.
    pub since: DateTime,
    pub until: DateTime,
    #[schema(example = "1772442000000000000")]
    pub ledger_cut: String,
    #[schema(value_type = String, format = Date)]
    pub accounting_day: chrono::NaiveDate,
    pub requested_by: String,
    pub started_at: DateTime,
    pub finished_at: DateTime,
    /// What was looked at and what came of it, by name.
    #[schema(value_type = Object)]
    pub counts: serde_json::Value,
    /// Sums that were compared, by currency and name; minor units as text.
    #[schema(value_type = Object)]
    pub sums: serde_json::Value,
    pub breaks: Vec<Line>,
    /// Whether there are more breaks than are named here.
    pub more: bool,
}

/// A break, as the run has left it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ReconciliationReportLine)]
pub struct Line {
    pub id: Uuid,
    #[serde(rename = "type")]
    pub kind: BreakType,
    pub severity: Severity,
    pub leg: ReconciliationLeg,
    pub state: BreakState,
    pub owner: Owner,
    pub currency: Option<String>,
    /// Minor units (cents).
    pub expected: Option<i64>,
    pub actual: Option<i64>,
    /// Actual less expected, one that is null counting as nothing; null where both are.
    pub difference: Option<i64>,
    pub transaction_id: Option<Uuid>,
    pub journal_id: Option<Uuid>,
    pub transfer_id: Option<Uuid>,
    pub provider_id: Option<Uuid>,
    pub line_id: Option<Uuid>,
    pub account_code: Option<i32>,
    pub since: DateTime,
}

impl From<Break> for Line {
    fn from(found: Break) -> Self {
        Self {
            difference: found.difference(),
            id: found.id,
            kind: found.kind,
            severity: found.severity,
            leg: found.leg,
            state: found.state,
            owner: found.owner,
            currency: found.currency,
            expected: found.expected_minor,
            actual: found.actual_minor,
            transaction_id: found.transaction_id,
            journal_id: found.journal_id,
            transfer_id: found.transfer_id,
            provider_id: found.provider_id,
            line_id: found.line_id,
            account_code: found.account_code,
            since: found.since,
        }
    }
}

pub(super) async fn write(app: &App, run: &Run, at: &Checkpoint, now: DateTime) -> Result<Vec<u8>> {
    let breaks = breaks::of_run(app, run.id, NAMED_MAX).await?;
    let more = queue::is_full(breaks.len(), NAMED_MAX);
    let report = Report {
        run_id: run.id,
        kind: run.kind,
        legs: run.legs.clone(),
        since: run.since,
        until: run.until,
        ledger_cut: run.ledger_cut.to_string(),
        accounting_day: run.accounting_day,
        requested_by: run.requested_by.clone(),
        started_at: run.started_at,
        finished_at: now,
        counts: serde_json::to_value(&at.counts).map_err(Error::internal)?,
        sums: serde_json::to_value(&at.sums).map_err(Error::internal)?,
        breaks: breaks.into_iter().map(Line::from).collect(),
        more,
    };
    serde_json::to_vec(&report).map_err(Error::internal)
}

pub fn read(report: &[u8]) -> Result<Report> {
    serde_json::from_slice(report).map_err(Error::internal)
}

/// RFC 4180, with a header: a record for each break.
pub fn csv(report: &Report) -> Result<Vec<u8>> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).has_headers(false).from_writer(Vec::new());
    let header = [
        "id", "type", "severity", "leg", "state", "owner", "currency", "expected", "actual", "difference",
        "transaction_id", "journal_id", "transfer_id", "provider_id", "line_id", "account_code", "since",
    ];
    writer.write_record(header).map_err(Error::internal)?;
    for line in &report.breaks {
        writer.serialize(line).map_err(Error::internal)?;
    }
    writer.into_inner().map_err(|error| Error::internal(error.to_string()))
}
