//! What an answer of others says of when to come again (RFC 9110, 10.2.3): seconds, or a date. Who asks decides how long is too long.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{DATE, HeaderName, RETRY_AFTER};

use crate::platform::clock::DateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    Wait(Duration),
    At(DateTime),
}

impl RetryAfter {
    /// `None` where it says nothing that can be read. A date is counted from the answer's own one, where there is one: the other clock
    /// may be wrong.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(secs) = text.parse() {
            return Some(Self::Wait(Duration::from_secs(secs)));
        }
        let at = Self::At(date(text)?);
        Some(said(headers, DATE).map_or(at, |now| Self::Wait(at.wait(now))))
    }

    /// Nothing, where the moment is over.
    pub fn wait(self, now: DateTime) -> Duration {
        match self {
            Self::Wait(wait) => wait,
            Self::At(moment) => (moment - now).to_std().unwrap_or_default(),
        }
    }
}

fn said(headers: &HeaderMap, name: HeaderName) -> Option<DateTime> {
    date(headers.get(name)?.to_str().ok()?.trim())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that may still be sent.
fn date(text: &str) -> Option<DateTime> {
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn wait(retry_after: &'static str, date: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
        headers.extend(date.map(|date| (DATE, HeaderValue::from_static(date))));
        let now = super::date("Mon, 02 Mar 2026 09:00:00 GMT").expect("a date");
        RetryAfter::of(&headers).map(|asked| asked.wait(now).as_secs())
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_by_a_date_and_the_date_by_the_others_own_clock() {
        for (said, expected) in [
            ("120", Some(120)),
            (" 7200 ", Some(7_200)),
            ("0", Some(0)),
            ("Mon, 02 Mar 2026 09:30:00 GMT", Some(1_800)),
            ("Tue, 03 Mar 2026 09:00:00 GMT", Some(86_400)),
            ("Mon, 02 Mar 2026 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(wait(said, None), expected, "{said}");
        }
        let slow_clock = Some("Mon, 02 Mar 2026 07:29:00 GMT");
        assert_eq!(wait("Mon, 02 Mar 2026 07:30:00 GMT", slow_clock), Some(60));
        assert_eq!(wait("Mon, 02 Mar 2026 09:30:00 GMT", Some("today")), Some(1_800));
    }
}
