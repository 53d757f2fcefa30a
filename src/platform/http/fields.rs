//! Collects what is wrong with the fields of a request, so that one answer tells all of it. `Fields::default()` are those of a body,
//! [`Fields::of_query`] the parameters of a query.

use std::{ops::RangeInclusive, str::FromStr};

use chrono::{Datelike, NaiveDate};
use icu_properties::CodePointSetData;
use icu_properties::props::{Dash, DefaultIgnorableCodePoint};

use crate::platform::error::{Error, FieldError, Result, Wrong};
use crate::platform::{clock::DateTime, zone::Zone};

/// Checks fields one after another; [`Fields::finish`] refuses the request if any was wrong.
#[derive(Debug, Default)]
pub struct Fields {
    wrong: Vec<FieldError>,
    are_parameters: bool,
}

/// As the document says: a fraction of a second has no end by itself, and what is asked for stands in the audit log and in links.
const MOMENT_CHARS_MAX: usize = 64;
/// In nanoseconds.
const SECOND: u32 = 1_000_000_000;

/// A day, written as `2026-03-01` and in no other way: chrono alone also takes a year of two digits, a sign before it, and blanks. Years
/// 0000 to 9999, as RFC 3339 has them.
pub fn day(text: &str) -> Option<NaiveDate> {
    let is_shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    text.parse().ok().filter(|_| is_shaped)
}

impl Fields {
    /// Of a query: what is wrong is a parameter's and stands in no body.
    pub fn of_query() -> Self {
        Self { wrong: Vec::new(), are_parameters: true }
    }

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
        if !length.contains(&digits.chars().count()) {
            self.wrong(field, Wrong::Length(min, max, "digits"));
        } else if !digits.bytes().all(|b| b.is_ascii_digit()) {
            self.wrong(field, Wrong::Characters("must be of digits"));
        }
        digits
    }

    /// A moment: a time of RFC 3339, or a date, which is its first moment in UTC. `t` and `z` may be small letters, as RFC 3339 has it;
    /// nothing else may stand for them, since a blank is what becomes of a `+` that was not written as %2B.
    pub fn moment(&mut self, field: &'static str, text: &str) -> Option<DateTime> {
        self.moment_in(field, text, Zone::default())
    }

    /// The same with the days of a zone.
    pub fn moment_in(&mut self, field: &'static str, text: &str, zone: Zone) -> Option<DateTime> {
        let date = || day(text).and_then(|day| zone.start(day));
        let time = chrono::DateTime::parse_from_rfc3339(text)
            .ok()
            .filter(|_| text.len() <= MOMENT_CHARS_MAX && text.is_ascii() && !text.contains(char::is_whitespace));
        // A leap second is the next one, so that no answer has a `:60`.
        let time = time.and_then(|time| {
            let nanos = time.timestamp_subsec_nanos();
            DateTime::from_timestamp(time.timestamp() + i64::from(nanos / SECOND), nanos % SECOND)
        });
        // A time that no RFC 3339 time says is not answered either.
        let moment = time.or_else(date).filter(|time| (0..=9999).contains(&time.year()));
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
        self.add(FieldError::new(field, wrong));
    }

    /// The same in words that say more than those of its kind.
    pub fn say(&mut self, field: &'static str, wrong: Wrong, message: impl Into<String>) {
        self.add(FieldError::new(field, wrong).saying(message));
    }

    /// What was found out as if it stood in the body.
    pub fn add(&mut self, error: FieldError) {
        self.wrong.push(if self.are_parameters { error.of_parameter() } else { error });
    }

    /// Takes the value of a check that reports by itself.
    pub fn take<T>(&mut self, checked: Result<T>) -> Option<T> {
        match checked {
            Ok(value) => Some(value),
            Err(Error::Invalid(errors)) => {
                errors.into_iter().for_each(|error| self.add(error));
                None
            }
            Err(other) => {
                self.wrong("body", other.to_string());
                None
            }
        }
    }

    pub fn finish(self) -> Result<()> {
        if self.wrong.is_empty() { Ok(()) } else { Err(Error::Invalid(self.wrong)) }
    }

    /// What was checked, if nothing was wrong: a check without a value has said why.
    pub fn finish_with<T>(self, value: Option<T>) -> Result<T> {
        self.finish()?;
        value.ok_or_else(|| Error::internal("a field is missing and nothing was wrong with it"))
    }
}

/// Beside control characters: breaks the line, or the order in which what stands beside it is read, so that a holder's name could
/// show as another's.
fn turns_or_breaks(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes no ink: white space, what Unicode says to show as nothing, and two that are drawn as a blank.
pub fn is_invisible(c: char) -> bool {
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
            "62-001 234", "62\u{a0}001\u{a0}234", "\t62\t001\t234\r\n", "62\u{2009}001\u{202f}234",
            "62\u{2013}001\u{2212}234", "\u{202d}62001234\u{202c}", "\u{feff}62\u{200b}001\u{2011}234",
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
        assert_eq!(time("2016-12-31T23:59:60.25Z").as_deref(), Some("2017-01-01T00:00:00.250+00:00"), "a leap second");
        assert_eq!(time("2016-12-31T23:59:59.000000001Z").as_deref(), Some("2016-12-31T23:59:59.000000001+00:00"));
    }

    #[test]
    fn days_and_times_are_written_in_one_way() {
        let moment = |text: &str| Fields::default().moment("from", text).is_some();
        for right in [
            "0000-01-01", "0001-01-01", "1969-12-31T23:59:59Z", "2026-03-01t02:00:00.5z", "2026-03-01T02:00:00-00:00",
            "2026-03-01T02:00:00.0123456789Z", "2028-02-29", "9999-12-31", "9999-12-31T23:59:59Z",
        ] {
            assert!(moment(right), "{right}");
        }
        for wrong in [
            "0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-23:59", "26-03-01", "026-03-01", "2026-3-1", "2026-03-1",
            "2026-03- 1", " 2026-03-01", "2026-03-01 ", "2026 -03-01", "+2026-03-01", "+026-03-01", "-5000-01-01",
            "+262141-12-31", "20260301", "2026-03-01\u{0}", "２０２６-03-01", "2026-02-30", "2027-02-29", "2026-13-01",
            "26-03-01T00:00:00Z", "2026-3-1T0:0:0Z", "2026-03-01 02:00:00Z", "2026-03-01T02:00:00 02:00",
            "2026-03-01T02:00:00 +02:00", "2026-03-01T02:00:00", "2026-03-01T02:00Z", "2026-03-01T02:00:00+0200",
            "+12026-03-01T02:00:00Z", "99999999999999999999-01-01", "", "T",
        ] {
            assert!(!moment(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_stands_where_it_was_read() {
        for (mut fields, pointer, parameter) in
            [(Fields::default(), Some("#/currency"), None), (Fields::of_query(), None, Some("currency"))]
        {
            fields.wrong("currency", Wrong::Required);
            fields.take::<()>(Err(Error::field("currency", Wrong::Required)));
            let Err(Error::Invalid(errors)) = fields.finish() else { panic!("something is wrong") };
            assert_eq!(errors.len(), 2);
            for error in errors {
                assert_eq!((error.pointer.as_deref(), error.parameter.as_deref()), (pointer, parameter));
            }
        }
    }
}
