//! Collects what is wrong with the fields of a request, so that one answer tells all of it.

use std::{ops::RangeInclusive, str::FromStr};

use crate::platform::error::{Error, FieldError, Result};

/// Checks fields one after another; [`Fields::finish`] refuses the request if any was wrong.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    /// A text without the white space around it, of `min` to `max` characters, without control characters. White space around
    /// it counts against the maximum, as the OpenAPI document's `maxLength` does.
    pub fn text(&mut self, field: &'static str, value: &str, length: RangeInclusive<usize>) -> String {
        let sent = value.chars().count();
        let value = value.trim();
        let (min, max) = (*length.start(), *length.end());
        if sent > max || value.chars().count() < min {
            self.wrong(field, format!("must have {min} to {max} characters"));
        } else if value.chars().any(char::is_control) {
            self.wrong(field, "must not hold control characters");
        }
        value.to_owned()
    }

    /// Digits only, of `min` to `max` of them; spaces and dashes between them are forgiven.
    pub fn digits(&mut self, field: &'static str, value: &str, length: RangeInclusive<usize>) -> String {
        let digits: String = value.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let (min, max) = (*length.start(), *length.end());
        if !digits.bytes().all(|b| b.is_ascii_digit()) || !length.contains(&digits.len()) {
            self.wrong(field, format!("must have {min} to {max} digits"));
        }
        digits
    }

    /// A word of an enum, if one is given.
    pub fn word<T: FromStr<Err = String>>(&mut self, field: &'static str, text: Option<&str>) -> Option<T> {
        text?.parse().map_err(|message: String| self.wrong(field, message)).ok()
    }

    pub fn wrong(&mut self, field: &'static str, message: impl Into<String>) {
        self.0.push(FieldError { field: field.to_owned(), message: message.into() });
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
