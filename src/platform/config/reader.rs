//! How settings are read, one by one, from wherever they come ([`Source`]); what is wrong with them is collected.

use std::ops::RangeInclusive;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::Source;

/// Reads names one by one and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
    pub(super) wrong: Vec<String>,
}

impl Reader<'_> {
    pub(super) fn text(&mut self, name: &str, default: Option<&str>) -> Option<String> {
        match (self.source)(name) {
            Ok(Some(value)) => Some(value),
            Ok(None) if default.is_some() => default.map(str::to_owned),
            Ok(None) => self.fail(name, "is required and not set"),
            Err(reason) => self.fail(name, &reason),
        }
    }

    pub(super) fn secret(
        &mut self,
        name: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<SecretString> {
        let value = SecretString::from(self.text(name, None)?);
        match check(value.expose_secret()) {
            Ok(()) => Some(value),
            Err(reason) => self.fail(name, &reason),
        }
    }

    /// The other one where it is not set.
    pub(super) fn secret_or(
        &mut self,
        name: &str,
        other: Option<&SecretString>,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<SecretString> {
        self.optional_secret(name, check).and_then(|own| own.or_else(|| other.cloned()))
    }

    /// `Some(None)`: not set.
    pub(super) fn optional_secret(
        &mut self,
        name: &str,
        check: impl FnOnce(&str) -> Result<(), String>,
    ) -> Option<Option<SecretString>> {
        match SecretString::from(self.text(name, Some(""))?) {
            unset if unset.expose_secret().is_empty() => Some(None),
            _ => self.secret(name, check).map(Some),
        }
    }

    pub(super) fn checked<T, E: ToString>(
        &mut self,
        name: &str,
        default: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = Zeroizing::new(self.text(name, default)?);
        match parse(value.trim()) {
            Ok(value) => Some(value),
            Err(reason) => self.fail(name, &reason.to_string()),
        }
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: Option<&str>) -> Option<T> {
        let kind = std::any::type_name::<T>().rsplit("::").next().unwrap_or("value");
        self.checked(name, default, |value| value.parse().map_err(|_| format!("is not a valid {kind}")))
    }

    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        name: &str,
        default: &str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        self.checked(name, Some(default), |value| {
            let number = value.parse().ok().filter(|number| range.contains(number)).and_then(|it| T::try_from(it).ok());
            number.ok_or_else(|| format!("must be {} to {}", range.start(), range.end()))
        })
    }

    pub(super) fn fail<T>(&mut self, name: &str, reason: &str) -> Option<T> {
        self.wrong.push(format!("{name} {reason}"));
        None
    }
}
