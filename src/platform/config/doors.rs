//! Settings of what staff and customers must show before they may do something. What is safe is the default; each is switched off only
//! in words. Read with the other settings by `config.rs`.

use chrono::TimeDelta;

use crate::platform::clock::DateTime;
use crate::platform::text_enum::text_enum;

/// What staff must show (`identity/staff.rs`).
#[derive(Debug, Clone, Copy)]
pub struct StaffDoors {
    /// `STAFF_TOTP`: whether staff may do anything without a second factor. Default `required`.
    pub totp: StaffTotp,
    /// `STAFF_STEP_UP`: whether acts that move money or roles need a password or a code given a moment ago. Default `required`.
    pub step_up: StepUp,
    /// `STAFF_SESSION_HOURS`: how long a session of staff lasts, 1 to 12, or `off`: as long as a customer's. Default 12.
    pub session: Option<TimeDelta>,
}

text_enum! {
    pub enum StaffTotp {
        Required = "required",
        /// For development and tests.
        Optional = "optional",
    }
}

text_enum! {
    pub enum StepUp {
        Required = "required",
        /// For development and tests.
        Off = "off",
    }
}

text_enum! {
    /// Mails that tell a customer what was done with the account.
    pub enum NoticeMails {
        On = "on",
        /// For load tests.
        Off = "off",
    }
}

impl StaffDoors {
    /// Sessions of staff that were begun then or before have ended.
    pub fn oldest_session(&self, now: DateTime) -> Option<DateTime> {
        self.session.map(|session| now - session)
    }
}

/// `off`, or a number of hours.
pub(super) fn parse_hours(value: &str, most: i64) -> Result<Option<TimeDelta>, String> {
    if value == "off" {
        return Ok(None);
    }
    let hours = value.parse().ok().filter(|hours| (1..=most).contains(hours));
    hours.map(|hours| Some(TimeDelta::hours(hours))).ok_or_else(|| format!("must be 1 to {most}, or off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_switched_off_in_words_only() {
        assert_eq!(parse_hours("off", 12), Ok(None));
        assert_eq!(parse_hours("12", 12), Ok(Some(TimeDelta::hours(12))));
        for wrong in ["0", "13", "-1", "", "none", "1.5"] {
            assert!(parse_hours(wrong, 12).is_err(), "{wrong}");
        }
    }
}
