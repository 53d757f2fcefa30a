//! A statement as CSV, written page by page. No cell holds text of people's; negative amounts are numbers; times are those of a zone.
//!
//! | record | cells |
//! |---|---|
//! | first | the names of the columns |
//! | second | `opening_balance` at the beginning of the period |
//! | … | a movement each |
//! | last but one | `closing_balance` at the end of the period |
//! | last | `#end`, and a JSON object: lines, sums, the SHA-256 of all bytes before this record |
//!
//! Only a whole statement has the last record: without it the file broke off. `head -n -1 | sha256sum` checks it.

use std::io;

use serde::Serialize;
use uuid::Uuid;

use super::{Line, Summary};
use crate::books::files::{self, Output};
use crate::platform::clock::DateTime;
use crate::platform::zone::{Zone, ZonedTime};

const COLUMN_COUNT: usize = 8;

/// What has been written so far.
pub struct Writer {
    summary: Summary,
    zone: Zone,
    output: Output,
    csv: csv::Writer<Output>,
    lines: u64,
    credits: i128,
    debits: i128,
}

/// The names are those of the columns.
#[derive(Serialize)]
struct Record {
    at: ZonedTime,
    transaction_id: Option<Uuid>,
    transfer_id: Option<Uuid>,
    kind: &'static str,
    amount_minor: Option<i64>,
    amount: Option<String>,
    running_balance_minor: i64,
    running_balance: String,
}

/// Sums are texts of digits, as many as it takes.
#[derive(Serialize)]
struct Trailer {
    currency: &'static str,
    lines: u64,
    credits_minor: String,
    debits_minor: String,
    opening_balance_minor: i64,
    closing_balance_minor: i64,
    r#final: bool,
    sha256: String,
}

impl Writer {
    pub fn new(summary: Summary, zone: Zone) -> Self {
        let output = Output::new();
        let csv = files::csv(&output, true);
        Self { summary, zone, output, csv, lines: 0, credits: 0, debits: 0 }
    }

    pub fn head(&mut self) -> io::Result<Vec<u8>> {
        self.balance("opening_balance", self.summary.from, self.summary.opening_balance)?;
        self.written()
    }

    pub fn lines(&mut self, lines: &[Line]) -> io::Result<Vec<u8>> {
        for line in lines {
            self.csv.serialize(Record {
                at: ZonedTime { at: line.at, zone: self.zone },
                transaction_id: Some(line.transaction_id),
                transfer_id: Some(line.transfer_id),
                kind: line.kind,
                amount_minor: Some(line.amount),
                amount: Some(self.decimal(line.amount)),
                running_balance_minor: line.running_balance,
                running_balance: self.decimal(line.running_balance),
            })?;
            self.lines = self.lines.saturating_add(1);
            let sum = if line.amount < 0 { &mut self.debits } else { &mut self.credits };
            *sum = sum.saturating_add(i128::from(line.amount.abs()));
        }
        self.written()
    }

    /// The closing balance and the trailer.
    pub fn end(mut self) -> io::Result<Vec<u8>> {
        self.balance("closing_balance", self.summary.to, self.summary.closing_balance)?;
        let closing = self.written()?;
        let trailer = Trailer {
            currency: self.summary.currency.code(),
            lines: self.lines,
            credits_minor: self.credits.to_string(),
            debits_minor: self.debits.to_string(),
            opening_balance_minor: self.summary.opening_balance,
            closing_balance_minor: self.summary.closing_balance,
            r#final: self.summary.is_final,
            sha256: self.output.taken().1,
        };
        files::end(&mut self.csv, &trailer, COLUMN_COUNT)?;
        Ok([closing, self.output.take()].concat())
    }

    fn balance(&mut self, kind: &'static str, at: DateTime, balance: i64) -> csv::Result<()> {
        self.csv.serialize(Record {
            at: ZonedTime { at, zone: self.zone },
            transaction_id: None,
            transfer_id: None,
            kind,
            amount_minor: None,
            amount: None,
            running_balance_minor: balance,
            running_balance: self.decimal(balance),
        })
    }

    fn decimal(&self, minor: i64) -> String {
        files::decimal(minor, self.summary.currency.exponent())
    }

    fn written(&mut self) -> io::Result<Vec<u8>> {
        self.csv.flush()?;
        Ok(self.output.take())
    }
}
