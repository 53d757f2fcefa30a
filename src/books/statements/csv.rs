//! A statement as CSV (RFC 4180: UTF-8, CRLF), written page by page. No cell holds text of people's, so that nothing has to be
//! quoted and nothing can be taken for a formula; negative amounts are numbers.
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

use aws_lc_rs::digest;
use chrono::SecondsFormat;
use serde::Serialize;

use super::{Line, Summary};
use crate::platform::clock::DateTime;

const COLUMNS: &str =
    "at,transaction_id,transfer_id,kind,amount_minor,amount,running_balance_minor,running_balance\r\n";
const COLUMN_COUNT: usize = 8;

/// What has been written so far.
pub struct Writer {
    summary: Summary,
    hash: digest::Context,
    lines: u64,
    credits: i128,
    debits: i128,
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
    pub fn new(summary: Summary) -> Self {
        Self { summary, hash: digest::Context::new(&digest::SHA256), lines: 0, credits: 0, debits: 0 }
    }

    pub fn head(&mut self) -> String {
        let opening = self.balance_record("opening_balance", self.summary.from, self.summary.opening_balance);
        self.written(format!("{COLUMNS}{opening}"))
    }

    pub fn lines(&mut self, lines: &[Line]) -> String {
        let mut text = String::with_capacity(lines.len().saturating_mul(160));
        for line in lines {
            let (ids, exponent) = (format!("{},{}", line.transaction_id, line.transfer_id), self.exponent());
            text.push_str(&format!(
                "{},{ids},{},{},{},{},{}\r\n",
                time(line.at),
                line.kind,
                line.amount,
                decimal(line.amount, exponent),
                line.running_balance,
                decimal(line.running_balance, exponent),
            ));
            self.lines = self.lines.saturating_add(1);
            let sum = if line.amount < 0 { &mut self.debits } else { &mut self.credits };
            *sum = sum.saturating_add(i128::from(line.amount.abs()));
        }
        self.written(text)
    }

    /// The closing balance and the trailer.
    pub fn end(mut self) -> String {
        let closing = self.balance_record("closing_balance", self.summary.to, self.summary.closing_balance);
        let closing = self.written(closing);
        let sha256 = self.hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let trailer = Trailer {
            currency: self.summary.currency.code(),
            lines: self.lines,
            credits_minor: self.credits.to_string(),
            debits_minor: self.debits.to_string(),
            opening_balance_minor: self.summary.opening_balance,
            closing_balance_minor: self.summary.closing_balance,
            r#final: self.summary.is_final,
            sha256,
        };
        let trailer = serde_json::to_string(&trailer).expect("a trailer is plain data").replace('"', "\"\"");
        format!("{closing}#end,\"{trailer}\"{}\r\n", ",".repeat(COLUMN_COUNT - 2))
    }

    fn balance_record(&self, kind: &str, at: DateTime, balance: i64) -> String {
        format!("{},,,{kind},,,{balance},{}\r\n", time(at), decimal(balance, self.exponent()))
    }

    fn exponent(&self) -> u8 {
        self.summary.currency.exponent()
    }

    fn written(&mut self, text: String) -> String {
        self.hash.update(text.as_bytes());
        text
    }
}

fn time(at: DateTime) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// `-12.50` of -1250 with two places.
fn decimal(minor: i64, places: u8) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let places = usize::from(places);
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = places.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
    let point = if places == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_has_the_places_of_its_currency() {
        for (minor, places, told) in [
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (1250, 2, "12.50"),
            (-125_000, 2, "-1250.00"),
            (7, 0, "7"),
            (-1, 3, "-0.001"),
            (i64::MIN, 2, "-92233720368547758.08"),
        ] {
            assert_eq!(decimal(minor, places), told);
        }
    }
}
