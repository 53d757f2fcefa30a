//! Collects what is wrong with the fields of a request, so that one answer tells all of it.

use std::{ops::RangeInclusive, str::FromStr};

use chrono::{Datelike, NaiveDate, NaiveTime};
use icu_properties::CodePointSetData;
use icu_properties::props::{Dash, DefaultIgnorableCodePoint};

use crate::platform::error::{Error, FieldError, Result, Wrong};
use crate::platform::{clock::DateTime, zone::Zone};

/// The years that chrono holds whole, in whatever zone. PostgreSQL's first is a later one (4713 BC): see [`storable`].
const YEARS: RangeInclusive<i32> = -262_142..=262_141;

/// Checks fields one after another; [`Fields::finish`] refuses the request if any was wrong.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// A text that others will read: without the white space around it, of `min` to `max` characters, of which one can be seen
    /// and none breaks the line or turns the direction of what stands beside it. White space around it counts against the
    /// maximum, as the OpenAPI document's `maxLength` does.
    pub fn text(&mut self, field: &'static str, value: &str, length: RangeInclusive<usize>) -> String {
        let value = self.search(field, value, length);
        if value.chars().any(turns_or_breaks) {
            self.wrong(field, Wrong::Characters("must not hold control characters"));
        } else if !value.is_empty() && value.chars().all(is_invisible) {
            self.wrong(field, Wrong::Characters("must hold something that can be seen"));
        }
        value
    }

    /// A text to look for, which nobody else reads: the same, whatever can be seen of it.
    pub fn search(&mut self, field: &'static str, value: &str, length: RangeInclusive<usize>) -> String {
        let sent = value.chars().count();
        let value = value.trim();
        let (min, max) = (*length.start(), *length.end());
        if sent > max || value.chars().count() < min {
            self.wrong(field, Wrong::Length(min, max, "characters"));
        } else if value.chars().any(char::is_control) {
            self.wrong(field, Wrong::Characters("must not hold control characters"));
        }
        value.to_owned()
    }

    /// Digits only, of `min` to `max` of them. What people paste between them is forgiven: spaces of any width, tabs, dashes, and
    /// what cannot be seen.
    pub fn digits(&mut self, field: &'static str, value: &str, length: RangeInclusive<usize>) -> String {
        let digits: String = value.chars().filter(|c| !is_filler(*c)).collect();
        let (min, max) = (*length.start(), *length.end());
        if !digits.bytes().all(|b| b.is_ascii_digit()) || !length.contains(&digits.len()) {
            self.wrong(field, Wrong::Length(min, max, "digits"));
        }
        digits
    }

    /// A moment: a time of RFC 3339, or a date, which is its first moment in UTC; of the years that can be stored and compared.
    pub fn moment(&mut self, field: &'static str, text: &str) -> Option<DateTime> {
        self.moment_in(field, text, Zone::default())
    }

    /// The same with the days of a zone.
    pub fn moment_in(&mut self, field: &'static str, text: &str, zone: Zone) -> Option<DateTime> {
        let date = || text.parse::<NaiveDate>().ok().and_then(|day| zone.start(day));
        let time = text.parse::<DateTime>().ok().filter(|_| text.contains(['T', 't']));
        let strict = || chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
        let moment = time.or_else(strict).or_else(date).filter(|moment| YEARS.contains(&moment.year()));
        if moment.is_none() {
            self.wrong(
                field,
                Wrong::Format("must be an RFC 3339 time (with + written as %2B) or a date as in 2026-03-01"),
            );
        }
        moment
    }

    /// The zone of that name, UTC where none is given.
    pub fn zone(&mut self, field: &'static str, name: Option<&str>) -> Zone {
        let zone = name.map_or(Some(Zone::default()), Zone::parse);
        if zone.is_none() {
            self.wrong(field, Wrong::Format("must be a time zone by its name, as in Africa/Johannesburg"));
        }
        zone.unwrap_or_default()
    }

    /// A word of an enum, if one is given.
    pub fn word<T: FromStr<Err: Into<Wrong>>>(&mut self, field: &'static str, text: Option<&str>) -> Option<T> {
        text?.parse().map_err(|wrong: T::Err| self.wrong(field, wrong)).ok()
    }

    pub fn wrong(&mut self, field: &'static str, wrong: impl Into<Wrong>) {
        self.0.push(FieldError::new(field, wrong));
    }

    /// Takes the value of a check that reports by itself.
    pub fn take<T>(&mut self, checked: Result<T>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(Error::Invalid(errors)) => {
                self.0.extend(errors);
                None
            }
            Err(other) => {
                self.wrong("body", other.to_string());
                None
            }
        }
    }

    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }

    /// What was checked, if nothing was wrong: a check without a value has said why.
    pub fn finish_with<T>(self, value: Option<T>) -> Result<T> {
        self.finish()?;
        value.ok_or_else(|| Error::internal("a field is missing and nothing was wrong with it"))
    }
}

/// The moment, or the first that a `timestamptz` of PostgreSQL holds: no row of ours is older than either.
pub fn storable(moment: DateTime) -> DateTime {
    let first = NaiveDate::from_ymd_opt(-4_712, 1, 1).expect("a date").and_time(NaiveTime::MIN).and_utc();
    moment.max(first)
}

/// Beside control characters: breaks the line, or the order in which what stands beside it is read, so that a holder's name could
/// show as another's.
fn turns_or_breaks(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes no ink: white space, what Unicode says to show as nothing, and two that are drawn as a blank.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || matches!(c, '\u{2800}' | '\u{1d159}')
}

fn is_filler(c: char) -> bool {
    is_invisible(c) || CodePointSetData::new::<Dash>().contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(check: impl FnOnce(&mut Fields)) -> bool {
        let mut fields = Fields::default();
        check(&mut fields);
        fields.finish().is_err()
    }

    #[test]
    fn a_text_that_others_read_can_be_seen_and_turns_nothing_around() {
        let text = |text: &str| refused(|fields| drop(fields.text("full_name", text, 1..=20)));
        let invisible =
            ["\u{200b}", "\u{2060}\u{feff}", " \u{3164} ", "\u{ad}", "\u{e0041}", "\u{2800}", "\u{fe0f}\u{200d}"];
        let turning = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').map(|c| format!("Thandi {c}isokN"));
        let breaking = ["a\nb", "a\u{85}b", "a\u{2028}b", "a\u{2029}b", "a\0b", "a\u{7f}b"].map(str::to_owned);
        for wrong in invisible.map(str::to_owned).into_iter().chain(turning).chain(breaking) {
            assert!(text(&wrong), "{wrong:?}");
        }
        for right in ["Thandi Nkosi", "Jörg", "张伟", "علی\u{200c}رضا", "محمد\u{200f}", "👩\u{200d}🚀", "O\u{2019}Neil"]
        {
            assert!(!text(right), "{right:?}");
        }
    }

    #[test]
    fn what_people_paste_between_digits_is_cleaned() {
        let mut fields = Fields::default();
        for pasted in [
            "62-001 234",
            "62\u{a0}001\u{a0}234",
            "\t62\t001\t234\r\n",
            "62\u{2009}001\u{202f}234",
            "62\u{2013}001\u{2212}234",
            "\u{202d}62001234\u{202c}",
            "\u{feff}62\u{200b}001\u{2011}234",
        ] {
            assert_eq!(fields.digits("account_number", pasted, 5..=34), "62001234", "{pasted:?}");
        }
        fields.finish().expect("all of them are right");
        for wrong in ["６２００１２３４", "62.001.234", "62_001_234", "-\u{a0}-", "62001234x"] {
            assert!(refused(|fields| drop(fields.digits("account_number", wrong, 5..=34))), "{wrong:?}");
        }
    }

    #[test]
    fn times_are_moments_and_dates_begin_at_midnight() {
        let mut fields = Fields::default();
        let mut time = |text| fields.moment("from", text).map(|time| time.to_rfc3339());
        assert_eq!(time("2026-02-01").as_deref(), Some("2026-02-01T00:00:00+00:00"));
        assert_eq!(time("2026-02-01T02:00:00+02:00").as_deref(), Some("2026-02-01T00:00:00+00:00"));
        assert_eq!(time("2026-02-01T02:00:00 02:00"), None, "a plus that was not written as %2B");
    }

    #[test]
    fn a_date_that_cannot_be_stored_is_refused() {
        let moment = |text: &str| Fields::default().moment("from", text).is_some();
        for far in [
            "-262142-01-01",
            "-5000-01-01",
            "0001-01-01",
            "0000-01-01",
            "-4712-01-01",
            "9999-12-31",
            "+262141-12-31",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(moment(far), "{far}");
            let far = Fields::default().moment("from", far).map(storable);
            assert!(far.is_some_and(|far| far.year() >= -4_712), "{far:?}");
        }
        for out in [
            "-262143-01-01",
            "-262143-01-01T00:00:00Z",
            "-262143-01-01T00:00:00+23:59",
            "+262142-12-31T23:59:59-23:59",
            "+294276-01-01",
            "+999999-01-01",
            "2026-02-30",
            "2026-13-01",
            "99999999999999999999-01-01",
            "",
            "T",
        ] {
            assert!(!moment(out), "{out}");
        }
    }
}
