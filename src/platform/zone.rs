//! Time zones, by their names in IANA's database: whose days a caller means, and whose clock a file for people shows. JSON knows only UTC.
//!
//! A day has 23 or 25 hours where clocks are put forward or back, and may begin at another time than midnight; so a day is always asked for
//! its own beginning and the next day's. Days on which banks work are the same in every zone.

use chrono::{Datelike, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone, Weekday};
use chrono_tz::{GapInfo, Tz};
use serde::{Serialize, Serializer};

use crate::platform::clock::DateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

impl Default for Zone {
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl Zone {
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The first moment of a day; of one that the zone left out, the first after it. `None` beyond the years that there are.
    pub fn start(self, day: NaiveDate) -> Option<DateTime> {
        let midnight = day.and_time(NaiveTime::MIN);
        let start = self.0.from_local_datetime(&midnight).earliest();
        // Clocks that are put forward at midnight show none.
        let start = start.or_else(|| GapInfo::new(&midnight, &self.0)?.end);
        start.map(|start| start.to_utc())
    }

    /// Whether a clock shows one midnight only, each day from 2020 on for as long as zones are told. Where it is put back at one o'clock
    /// there are two, and of the hour between PostgreSQL's `at time zone` says that it is of both days.
    pub fn has_one_midnight_a_day(self) -> bool {
        let days = NaiveDate::from_ymd_opt(2020, 1, 1).into_iter().flat_map(|first| first.iter_days().take(366 * 30));
        !days
            .map(|day| self.0.from_local_datetime(&day.and_time(NaiveTime::MIN)))
            .any(|at| matches!(at, LocalResult::Ambiguous(..)))
    }

    /// What a clock on the wall shows.
    pub fn wall(self, at: DateTime) -> NaiveDateTime {
        at.with_timezone(&self.0).naive_local()
    }
}

/// A moment as it is told in a zone: serialized, RFC 3339 with the zone's offset; in UTC that is as JSON has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZonedTime {
    pub at: DateTime,
    pub zone: Zone,
}

impl Serialize for ZonedTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wall = self.at.with_timezone(&self.zone.0);
        serializer.serialize_str(&wall.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// So many business days later, Saturdays and Sundays left out. Public holidays are not known here: on one, money looks a day later
/// than it is, never a day earlier.
pub fn business_days_after(day: NaiveDate, count: u32) -> NaiveDate {
    count_business_days(day, count, NaiveDate::succ_opt)
}

/// The latest day that lies so many business days back.
pub fn business_days_before(day: NaiveDate, count: u32) -> NaiveDate {
    count_business_days(day, count, NaiveDate::pred_opt)
}

/// No further than the years that there are.
fn count_business_days(from: NaiveDate, count: u32, step: fn(&NaiveDate) -> Option<NaiveDate>) -> NaiveDate {
    let (mut day, mut left) = (from, count);
    while left > 0
        && let Some(next) = step(&day)
    {
        day = next;
        left -= u32::from(!matches!(day.weekday(), Weekday::Sat | Weekday::Sun));
    }
    day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_end_is_no_business_day() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("a date");
        let friday = day("2026-03-06");
        assert_eq!(business_days_after(friday, 0), friday);
        assert_eq!(business_days_after(friday, 1), day("2026-03-09"));
        assert_eq!(business_days_after(day("2026-03-07"), 1), day("2026-03-09"), "from a Saturday");
        assert_eq!(business_days_after(day("2026-03-05"), 3), day("2026-03-10"));
        assert_eq!(business_days_before(day("2026-03-09"), 1), friday);
        assert_eq!(business_days_before(day("2026-03-08"), 1), friday, "from a Sunday");
        assert_eq!(business_days_after(NaiveDate::MAX, 3), NaiveDate::MAX);
    }

    fn hours(zone: &str, day: &str) -> i64 {
        let (zone, day) = (Zone::parse(zone).expect("a zone"), day.parse::<NaiveDate>().expect("a day"));
        let next = day.succ_opt().expect("a day");
        (zone.start(next).expect("it begins") - zone.start(day).expect("it begins")).num_minutes() * 10 / 60
    }

    fn start(zone: &str, day: &str) -> String {
        let day = day.parse().expect("a day");
        Zone::parse(zone).and_then(|zone| zone.start(day)).expect("it begins").to_rfc3339()
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_of_its_zone_make_it() {
        for (zone, day, tenths) in [
            ("UTC", "2026-03-29", 240),
            ("Africa/Johannesburg", "2026-03-29", 240),
            ("Europe/Berlin", "2026-03-29", 230),
            ("Europe/Berlin", "2026-10-25", 250),
            ("America/New_York", "2026-03-08", 230),
            ("America/New_York", "2026-11-01", 250),
            ("Australia/Lord_Howe", "2026-04-05", 245),
            ("Pacific/Apia", "2011-12-30", 0),
        ] {
            assert_eq!(hours(zone, day), tenths, "{zone} {day}");
        }
    }

    #[test]
    fn a_day_begins_when_its_zone_first_shows_it() {
        for (zone, day, at) in [
            ("Africa/Johannesburg", "2026-03-01", "2026-02-28T22:00:00+00:00"),
            // Put forward at midnight: the day begins at one o'clock.
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00+00:00"),
            ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00+00:00"),
            // Midnight twice: the first counts.
            ("America/Havana", "2026-11-01", "2026-11-01T04:00:00+00:00"),
            // There was no such day.
            ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00"),
        ] {
            assert_eq!(start(zone, day), at, "{zone} {day}");
        }
    }

    #[test]
    fn of_few_zones_a_day_has_two_midnights() {
        let has_one = |name: &str| Zone::parse(name).expect("a zone").has_one_midnight_a_day();
        for zone in
            ["Africa/Johannesburg", "UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "America/Santiago"]
        {
            assert!(has_one(zone), "{zone}");
        }
        for zone in ["America/Havana", "Atlantic/Azores"] {
            assert!(!has_one(zone), "{zone}");
        }
    }

    #[test]
    fn a_zone_is_known_by_its_name_alone() {
        for wrong in
            ["", "SAST", "africa/johannesburg", "Africa/Nowhere", "+02:00", "UTC+2", "../etc/localtime", " UTC"]
        {
            assert_eq!(Zone::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Zone::parse("Asia/Kolkata").map(Zone::name), Some("Asia/Kolkata"));
    }

    #[test]
    fn a_moment_is_told_with_the_offset_of_its_zone() {
        let json = |zone: &str, at: &str| {
            let (zone, at) = (Zone::parse(zone).expect("a zone"), at.parse().expect("a time"));
            serde_json::to_value(ZonedTime { at, zone }).expect("a text")
        };
        assert_eq!(json("UTC", "2026-03-01T08:00:00.5Z"), "2026-03-01T08:00:00.500Z");
        assert_eq!(json("Africa/Johannesburg", "2026-03-01T22:30:00Z"), "2026-03-02T00:30:00+02:00");
        assert_eq!(json("America/New_York", "2026-03-08T06:59:59Z"), "2026-03-08T01:59:59-05:00");
        assert_eq!(json("America/New_York", "2026-03-08T07:00:00Z"), "2026-03-08T03:00:00-04:00");
    }
}
