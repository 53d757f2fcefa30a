//! Reading a request's fields as Django REST framework would: every complaint is collected, none stops the others. Used by
//! `purchases/request.rs`, `payouts.rs` and `webhooks.rs`. The codes are DOC-R where named there, else DRF's own (INF).

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::errors::{ApiError, FieldError};

/// An object of the request and the path that leads to it (`purchase.`).
pub(crate) struct At<'a> {
    pub(crate) object: &'a Map<String, Value>,
    pub(crate) path: &'a str,
}

impl At<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }
}

/// Collects what is wrong.
#[derive(Default)]
pub(crate) struct Checker {
    errors: Vec<FieldError>,
}

impl Checker {
    pub(crate) fn finish<T>(self, valid: T) -> Result<T, ApiError> {
        if self.errors.is_empty() { Ok(valid) } else { Err(ApiError::invalid(self.errors)) }
    }

    pub(crate) fn complain(&mut self, at: &At, name: &str, code: &str, message: &str) {
        let field = format!("{}{name}", at.path);
        self.errors.push(FieldError { field, code: code.to_owned(), message: message.to_owned() });
    }

    pub(crate) fn required(&mut self, at: &At, name: &str) {
        self.complain(at, name, "required", "This field is required.");
    }

    /// An optional text; absent and null are the blank string, as in the answers (RUN).
    pub(crate) fn text(&mut self, at: &At, name: &str, chars_max: usize) -> String {
        match at.value(name) {
            None => String::new(),
            Some(Value::String(text)) if text.chars().count() <= chars_max => text.clone(),
            Some(Value::String(_)) => {
                let message = format!("Ensure this field has no more than {chars_max} characters.");
                self.complain(at, name, "max_length", &message);
                String::new()
            }
            Some(_) => {
                self.complain(at, name, "invalid", "Not a valid string.");
                String::new()
            }
        }
    }

    pub(crate) fn required_text(&mut self, at: &At, name: &str, chars_max: usize) -> String {
        if at.value(name).is_none() {
            self.required(at, name);
            return String::new();
        }
        let text = self.text(at, name, chars_max);
        if at.value(name).and_then(Value::as_str) == Some("") {
            self.complain(at, name, "blank", "This field may not be blank.");
        }
        text
    }

    pub(crate) fn email(&mut self, at: &At) -> String {
        let email = self.required_text(at, "email", 254);
        let plausible = email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
        if !email.is_empty() && !plausible {
            self.complain(at, "email", "invalid", "Enter a valid email address.");
        }
        email
    }

    pub(crate) fn url(&mut self, at: &At, name: &str) -> String {
        let url = self.text(at, name, 500);
        let refused = name == "cancel_redirect" && url.contains(['<', '>', '\'', '"']);
        if !url.is_empty() && (refused || !(url.starts_with("http://") || url.starts_with("https://"))) {
            self.complain(at, name, "invalid", "Enter a valid URL.");
        }
        url
    }

    pub(crate) fn flag(&mut self, at: &At, name: &str) -> bool {
        match at.value(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.complain(at, name, "invalid", "Must be a valid boolean.");
                false
            }
        }
    }

    /// Whole cents or seconds, never negative.
    pub(crate) fn whole(&mut self, at: &At, name: &str) -> Option<i64> {
        match at.value(name)?.as_i64() {
            Some(number) if (0..=AMOUNT_MAX).contains(&number) => Some(number),
            Some(_) => {
                self.complain(at, name, "min_value", "Ensure this value is within the allowed range.");
                None
            }
            None => {
                self.complain(at, name, "invalid", "A valid integer is required.");
                None
            }
        }
    }

    /// A decimal as a number or a string, scaled by ten to the power of `places`.
    pub(crate) fn decimal(&mut self, at: &At, name: &str, places: usize) -> Option<i64> {
        let text = match at.value(name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let scaled = parse_decimal(&text, places);
        if scaled.is_none() {
            self.complain(at, name, "invalid", "A valid number is required.");
        }
        scaled
    }

    pub(crate) fn currency(&mut self, at: &At) -> Option<String> {
        let text = at.value("currency")?.as_str().unwrap_or_default();
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Some(text.to_owned());
        }
        self.complain(at, "currency", "invalid_choice", "Not a valid choice.");
        None
    }

    pub(crate) fn object<'a>(&mut self, at: &At<'a>, name: &str) -> Option<&'a Map<String, Value>> {
        match at.object.get(name).filter(|value| !value.is_null())? {
            Value::Object(object) => Some(object),
            _ => {
                self.complain(at, name, "invalid", "Invalid data. Expected a dictionary.");
                None
            }
        }
    }

    pub(crate) fn texts(&mut self, at: &At, name: &str) -> Option<Vec<String>> {
        let items = at.value(name)?.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)));
        let texts: Option<Vec<String>> = items.and_then(Iterator::collect);
        if texts.is_none() {
            self.complain(at, name, "not_a_list", "Expected a list of strings.");
        }
        texts
    }

    /// `brand_id` must be ours; a wrong one is `does_not_exist` (DOC-R).
    pub(crate) fn brand(&mut self, at: &At, ours: Uuid) {
        match at.value("brand_id").map(|value| value.as_str().and_then(|text| Uuid::parse_str(text).ok())) {
            None => self.required(at, "brand_id"),
            Some(None) => self.complain(at, "brand_id", "invalid", "Must be a valid UUID."),
            Some(Some(id)) if id != ours => {
                self.complain(at, "brand_id", "does_not_exist", "Invalid pk - object does not exist.");
            }
            Some(Some(_)) => {}
        }
    }
}

/// Far above any real amount in cents, far below where sums could overflow.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

fn parse_decimal(text: &str, places: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || fraction.len() > places || !digits(whole) || !digits(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_without_floats() {
        assert_eq!(parse_decimal("1", 4), Some(10_000));
        assert_eq!(parse_decimal("1.5", 4), Some(15_000));
        assert_eq!(parse_decimal("0.00", 2), Some(0));
        for wrong in ["", "-1", "1.23456", ".5", "1e3", "1,5"] {
            assert_eq!(parse_decimal(wrong, 4), None, "{wrong}");
        }
    }
}
