//! Settings of what finance reads.

use secrecy::SecretString;

use super::reader::Reader;
use crate::platform::zone::Zone;

#[derive(Debug)]
pub struct Reporting {
    /// `REPORTING_TIME_ZONE`: whose days and months reports count in, as the time zone database names it. `octoco migrate` puts it into the
    /// database (`reporting.day`), and no process starts with another while it answers. Default `Africa/Johannesburg`.
    pub time_zone: String,
    /// `GRAFANA_DATABASE_PASSWORD`: of the role `grafana`, which reads the schema `reporting`; `octoco migrate` makes it. Without it
    /// a role that is there only gets what it may read.
    pub grafana_password: Option<SecretString>,
}

impl Reader<'_> {
    pub(super) fn reporting(&mut self) -> Option<Reporting> {
        let time_zone = self.checked("REPORTING_TIME_ZONE", Some("Africa/Johannesburg"), parse_time_zone);
        let grafana_password = self.optional_secret("GRAFANA_DATABASE_PASSWORD", check_role_password);
        Some(Reporting { time_zone: time_zone?, grafana_password: grafana_password? })
    }
}

/// SCRAM leaves visible ASCII as it is.
fn check_role_password(value: &str) -> Result<(), String> {
    let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && value.len() >= 12 { Ok(()) } else { Err("must be at least 12 visible ASCII characters".to_owned()) }
}

/// Whether there is such a zone, PostgreSQL says.
fn parse_time_zone(value: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    let named = value.starts_with(|first: char| first.is_ascii_uppercase()) && value.bytes().all(plain);
    if !named {
        return Err("is not a name like Africa/Johannesburg".to_owned());
    }
    match Zone::parse(value) {
        Some(zone) if !zone.has_one_midnight_a_day() => {
            Err("is a zone in which clocks show a midnight twice, so that an hour would be of two days".to_owned())
        }
        _ => Ok(value.to_owned()),
    }
}
