//! What may leave the house in an error or a trace: these fields, and only values of their shape. Whatever else a line of the log or a
//! span has (an amount, a reason, the chain of causes) stays in the log; the ids lead there.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};

/// Of one field's value.
const CHARS_MAX: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A UUID, or several with commas. A caller may name its request as it likes: such a name stays here.
    Ids,
    /// A word of ours: small letters, digits, `_`.
    Word,
    /// A route's template, a method, a place in the source.
    Place,
    Number,
}

const ALLOWED: &[(&str, Shape)] = &[
    ("request.id", Shape::Ids),
    ("transaction.id", Shape::Ids),
    ("transfer.ids", Shape::Ids),
    ("provider.id", Shape::Ids),
    ("payout.id", Shape::Ids),
    ("purchase.id", Shape::Ids),
    ("object.id", Shape::Ids),
    ("webhook.id", Shape::Ids),
    ("restriction.id", Shape::Ids),
    ("journal.id", Shape::Ids),
    ("run.id", Shape::Ids),
    ("break.id", Shape::Ids),
    ("item.id", Shape::Ids),
    ("export.id", Shape::Ids),
    ("endpoint.id", Shape::Ids),
    ("mail.id", Shape::Ids),
    ("row", Shape::Ids),
    ("kind", Shape::Word),
    ("state", Shape::Word),
    ("from", Shape::Word),
    ("to", Shape::Word),
    ("code", Shape::Word),
    ("queue", Shape::Word),
    ("task", Shape::Word),
    ("call", Shape::Word),
    ("class", Shape::Word),
    ("outcome", Shape::Word),
    ("method", Shape::Place),
    ("route", Shape::Place),
    ("place", Shape::Place),
    ("status", Shape::Number),
    ("position", Shape::Number),
];

impl Shape {
    fn holds(self, value: &str) -> bool {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        value.len() <= CHARS_MAX
            && !value.is_empty()
            && match self {
                Self::Ids => value.split(',').all(|id| id.len() == 36 && uuid::Uuid::try_parse(id).is_ok()),
                Self::Word => value.chars().all(|c| word(c) || c == ' '),
                Self::Place => value.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.:{}*".contains(c)),
                Self::Number => value.bytes().all(|byte| byte.is_ascii_digit()),
            }
    }
}

/// Fields that may leave, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What was known before is replaced.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let Some((name, shape)) = ALLOWED.iter().find(|(allowed, _)| *allowed == name) else { return };
        if !shape.holds(value) {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.0.push((name, value.to_owned())),
        }
    }
}

/// Takes from a span or an event what may leave; of an event its message besides.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) fields: Fields,
    /// As it stands in the source: `tests/tidy.rs` holds every message of ours to that.
    pub(super) message: String,
    /// Of a panic: what `panic_text` told of it.
    pub(super) text: String,
    /// On the span of a row's birth.
    pub(super) begins: bool,
}

impl Visit for Taken {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        if write!(text, "{value:?}").is_ok() {
            self.record_str(field, &text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.chars().take(CHARS_MAX).collect(),
            "text" => self.text = value.chars().take(CHARS_MAX).collect(),
            name => self.fields.set(name, value),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.begins |= value && field.name() == "begins";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_fields_of_the_right_shape_are_kept() {
        let id = "01920000-0000-7000-8000-000000000000";
        let mut fields = Fields::default();
        for (name, value) in [
            ("transaction.id", id),
            ("transfer.ids", &format!("{id},{id}")),
            ("request.id", "thandi.nkosi"),
            ("route", "/v1/withdrawals/{id}"),
            ("route", "/v1/x?token=secret"),
            ("kind", "thandi@example.com"),
            ("status", "503"),
            ("cause", "no such account: 62001234567"),
            ("email", "a"),
            ("owed", "100"),
        ] {
            fields.set(name, value);
        }
        let kept: Vec<_> = fields.iter().collect();
        let ids = format!("{id},{id}");
        let want =
            [("transaction.id", id), ("transfer.ids", &ids), ("route", "/v1/withdrawals/{id}"), ("status", "503")];
        assert_eq!(kept, want);
    }
}
