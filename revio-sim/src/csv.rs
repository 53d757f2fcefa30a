//! Files of lines, as nobody has described them: cents or rands, plain headings or odd ones. Written by `statements.rs` and
//! `transfers.rs`; all of it is guessed (?).

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    #[default]
    Cents,
    Rands,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Headings {
    /// Our names, commas, LF, a point before the decimals.
    #[default]
    Plain,
    /// Other names in another order, columns that nobody asked for, a byte order mark, CRLF, semicolons, a comma before four decimals.
    Odd,
}

pub(crate) struct Table {
    headings: Headings,
    unit: Unit,
    text: String,
}

impl Table {
    pub(crate) fn new(headings: Headings, unit: Unit) -> Table {
        let text = if headings == Headings::Odd { "\u{feff}".to_owned() } else { String::new() };
        Table { headings, unit, text }
    }

    pub(crate) fn row(&mut self, cells: &[String]) {
        let (separator, end) = if self.headings == Headings::Odd { (";", "\r\n") } else { (",", "\n") };
        let quoted = |cell: &String| {
            let plain = !cell.contains([',', ';', '"', '\n', '\r']);
            if plain { cell.clone() } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
        };
        self.text += &cells.iter().map(quoted).collect::<Vec<_>>().join(separator);
        self.text += end;
    }

    /// A sum as the file writes it.
    pub(crate) fn money(&self, minor: i64) -> String {
        let sign = if minor < 0 { "-" } else { "" };
        let (whole, cents) = (minor.unsigned_abs() / 100, minor.unsigned_abs() % 100);
        match (self.unit, self.headings) {
            (Unit::Cents, _) => minor.to_string(),
            (Unit::Rands, Headings::Plain) => format!("{sign}{whole}.{cents:02}"),
            (Unit::Rands, Headings::Odd) => format!("{sign}{whole},{cents:02}00"),
        }
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// `2026-03-02`, so many seconds east of Greenwich.
pub(crate) fn day(at: i64, zone_secs: i64) -> String {
    let (year, month, day) = civil((at + zone_secs).div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `10:00:00`
pub(crate) fn time(at: i64, zone_secs: i64) -> String {
    let second = (at + zone_secs).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// From the days since 1970 to the date, in the calendar that counts its years from March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_become_days_of_their_zone() {
        assert_eq!((day(0, 0), time(0, 0)), ("1970-01-01".to_owned(), "00:00:00".to_owned()));
        assert_eq!(day(1_709_164_799, 0), "2024-02-28");
        assert_eq!((day(1_709_164_800, 0), day(1_709_251_200, 0)), ("2024-02-29".to_owned(), "2024-03-01".to_owned()));
        assert_eq!(
            (day(1_800_000_000, 0), time(1_800_000_000, 7_200)),
            ("2027-01-15".to_owned(), "10:00:00".to_owned())
        );
        assert_eq!(day(1_735_682_400, 7_200), "2025-01-01");
    }

    #[test]
    fn sums_are_written_in_cents_and_in_rands() {
        let of = |unit, headings, minor| Table::new(headings, unit).money(minor);
        assert_eq!(of(Unit::Cents, Headings::Odd, -7_015), "-7015");
        assert_eq!(of(Unit::Rands, Headings::Plain, -7_005), "-70.05");
        assert_eq!(of(Unit::Rands, Headings::Odd, 150_000), "1500,0000");
    }
}
