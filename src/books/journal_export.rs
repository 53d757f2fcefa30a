//! The company's journals as a CSV file: those of the list, newest first, sent while they are read, a page at a time.
//!
//! The first record names the columns (of no journal there are none), the last is `#end` with a JSON object: rows, sums by currency, and
//! the SHA-256 of all bytes before it. A file without that record broke off. `docs/exports.md` has how to check one.

pub mod routes;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use chrono::NaiveDate;
use serde::Serialize;
use uuid::Uuid;

use super::files::{self, Output, Pages};
use crate::app::App;
use crate::money::journals::{self, Failure, Filter, Journal, Kind, Outcome, State};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};

const PAGE_ROWS: i64 = 500;
const COLUMN_COUNT: usize = 26;

/// The names are those of the columns.
#[derive(Serialize)]
struct Record<'a> {
    id: Uuid,
    kind: Kind,
    state: State,
    currency: &'static str,
    amount_minor: i64,
    amount: String,
    debit: &'static str,
    credit: &'static str,
    user_id: Option<Uuid>,
    item_id: Option<Uuid>,
    evidence_kind: &'static str,
    evidence_reference: Cow<'a, str>,
    evidence_sha256: String,
    evidence_date: NaiveDate,
    reason: Cow<'a, str>,
    requested_by: Uuid,
    failure_reason: Option<Failure>,
    created_at: DateTime,
    updated_at: DateTime,
    sent_at: Option<DateTime>,
    expected_on: Option<NaiveDate>,
    arrival_outcome: Option<Outcome>,
    arrival_reference: Option<Cow<'a, str>>,
    arrival_sha256: Option<String>,
    arrival_date: Option<NaiveDate>,
    ended_at: Option<DateTime>,
}

/// Sums are texts of digits, as many as it takes.
#[derive(Default, Serialize)]
struct Sums {
    rows: u64,
    #[serde(serialize_with = "crate::platform::http::json::text")]
    amount_minor: i128,
    #[serde(serialize_with = "crate::platform::http::json::text")]
    completed_minor: i128,
}

#[derive(Serialize)]
struct Trailer<'a> {
    rows: u64,
    bytes: u64,
    sha256: String,
    totals: &'a BTreeMap<&'static str, Sums>,
}

/// A file that is written page by page; `None` for its filter once it is whole.
struct File {
    filter: Option<Filter>,
    output: Output,
    csv: csv::Writer<Output>,
    totals: BTreeMap<&'static str, Sums>,
}

impl File {
    fn new(kind: Option<Kind>, state: Option<State>) -> Self {
        let output = Output::new();
        let csv = files::csv(&output, true);
        let filter = Filter { kind, state, held: None, before: None, limit: PAGE_ROWS };
        Self { filter: Some(filter), output, csv, totals: BTreeMap::new() }
    }

    fn rows(&mut self, page: &[Journal]) -> io::Result<Vec<u8>> {
        for journal in page {
            self.csv.serialize(record(journal))?;
            let sums = self.totals.entry(journal.amount.currency().code()).or_default();
            let amount = i128::from(journal.amount.minor());
            sums.rows = sums.rows.saturating_add(1);
            sums.amount_minor = sums.amount_minor.saturating_add(amount);
            if journal.state == State::Completed {
                sums.completed_minor = sums.completed_minor.saturating_add(amount);
            }
        }
        self.csv.flush()?;
        Ok(self.output.take())
    }

    fn end(&mut self) -> io::Result<Vec<u8>> {
        self.filter = None;
        let (bytes, sha256) = self.output.taken();
        let rows = self.totals.values().map(|sums| sums.rows).sum();
        let trailer = Trailer { rows, bytes, sha256, totals: &self.totals };
        files::end(&mut self.csv, &trailer, COLUMN_COUNT)?;
        Ok(self.output.take())
    }
}

impl Pages for File {
    async fn next(&mut self, app: &App) -> Result<Option<Vec<u8>>> {
        let Some(filter) = &mut self.filter else { return Ok(None) };
        let page = journals::list(app, filter).await?;
        filter.before = page.last().map(|journal| journal.id);
        let written = match page.is_empty() {
            true => self.end(),
            false => self.rows(&page),
        };
        written.map(Some).map_err(Error::internal)
    }
}

fn record(journal: &Journal) -> Record<'_> {
    let (debit, credit) = journal.side_names();
    let (amount, evidence, arrival) = (journal.amount, &journal.evidence, journal.arrival.as_ref());
    Record {
        id: journal.id,
        kind: journal.kind,
        state: journal.state,
        currency: amount.currency().code(),
        amount_minor: amount.minor(),
        amount: files::decimal(amount.minor(), amount.currency().exponent()),
        debit,
        credit,
        user_id: journal.user_id,
        item_id: journal.item_id,
        evidence_kind: evidence.kind.name(),
        evidence_reference: files::defused(&evidence.reference),
        evidence_sha256: hex::encode(evidence.sha256),
        evidence_date: evidence.date,
        reason: files::defused(&journal.reason),
        requested_by: journal.requested_by,
        failure_reason: journal.failure,
        created_at: journal.created_at,
        updated_at: journal.updated_at,
        sent_at: journal.sent_at,
        expected_on: journal.expected_on,
        arrival_outcome: arrival.map(|arrival| arrival.outcome),
        arrival_reference: arrival.map(|arrival| files::defused(&arrival.reference)),
        arrival_sha256: arrival.map(|arrival| hex::encode(arrival.sha256)),
        arrival_date: arrival.map(|arrival| arrival.date),
        ended_at: journal.ended_at,
    }
}
