//! A trial balance as CSV: an account a record, then the total. Minor units and decimals side by side; no cell holds text of people's.

use csv::{Terminator, WriterBuilder};

use super::TrialBalance;
use crate::books::files::decimal;
use crate::platform::error::{Error, Result};

const COLUMNS: [&str; 9] =
    ["currency", "code", "name", "title", "section", "debit_minor", "credit_minor", "debit", "credit"];

pub fn write(balance: &TrialBalance) -> Result<Vec<u8>> {
    let (currency, places) = (balance.currency.code(), balance.currency.exponent());
    let sums = |debit: i64, credit: i64| {
        [debit.to_string(), credit.to_string(), decimal(debit, places), decimal(credit, places)]
    };
    let mut records = vec![COLUMNS.map(str::to_owned).to_vec()];
    for line in &balance.accounts {
        let words = [currency, &line.code.to_string(), line.name, line.title, line.section.name()].map(str::to_owned);
        records.push(words.into_iter().chain(sums(line.debit, line.credit)).collect());
    }
    let words = [currency, "", "total", "Total", ""].map(str::to_owned);
    records.push(words.into_iter().chain(sums(balance.total_debit, balance.total_credit)).collect());
    file(&records)
}

/// As RFC 4180 has it.
pub fn file(records: &[Vec<String>]) -> Result<Vec<u8>> {
    let mut csv = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    for record in records {
        csv.write_record(record).map_err(Error::internal)?;
    }
    csv.into_inner().map_err(|error| Error::internal(error.to_string()))
}
