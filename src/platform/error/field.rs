//! One field of a request and what is wrong with it: words for people, a code and its numbers for machines. `http::Fields` and the
//! extractors of `http::json` collect them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::platform::text_enum::{NotOneOf, text_enum};

text_enum! {
    /// What kind of mistake it is; stable.
    #[schema(as = FieldErrorCode)]
    pub enum FieldCode {
        /// It is missing.
        Required = "required",
        /// The request has no such field.
        Unknown = "unknown",
        /// It is given twice.
        Duplicate = "duplicate",
        /// It is of another JSON type; `parameters.expected` says which it should be.
        Type = "type",
        /// Too short or too long: `parameters.min`, `parameters.max`, in characters, digits or items.
        Length = "length",
        /// Too small or too large: `parameters.min`, `parameters.max`, where there is a bound.
        Range = "range",
        /// None of the words in `parameters.allowed`.
        Choice = "choice",
        /// It holds characters that it must not hold.
        Characters = "characters",
        /// It is not written as it must be.
        Format = "format",
        /// It does not go together with `parameters.with`.
        Conflict = "conflict",
        /// Anything else; the message says what.
        Invalid = "invalid",
    }
}

/// A mistake, before it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    Required,
    Unknown,
    Duplicate,
    /// In our words: `a text`, `a whole number`.
    Type(&'static str),
    /// From how many to how many of what.
    Length(usize, usize, &'static str),
    Between(i64, i64),
    AtLeast(i64),
    AtMost(i64),
    OneOf(Vec<String>),
    Characters(&'static str),
    Format(&'static str),
    /// With which field it does not go together, and in what words.
    Conflict(&'static str, &'static str),
    Other(String),
}

impl Wrong {
    fn code(&self) -> FieldCode {
        match self {
            Self::Required => FieldCode::Required,
            Self::Unknown => FieldCode::Unknown,
            Self::Duplicate => FieldCode::Duplicate,
            Self::Type(_) => FieldCode::Type,
            Self::Length(..) => FieldCode::Length,
            Self::Between(..) | Self::AtLeast(_) | Self::AtMost(_) => FieldCode::Range,
            Self::OneOf(_) => FieldCode::Choice,
            Self::Characters(_) => FieldCode::Characters,
            Self::Format(_) => FieldCode::Format,
            Self::Conflict(..) => FieldCode::Conflict,
            Self::Other(_) => FieldCode::Invalid,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Required => "is required".to_owned(),
            Self::Unknown => "is not a field of this request".to_owned(),
            Self::Duplicate => "is given twice".to_owned(),
            Self::Type(expected) => format!("must be {expected}"),
            Self::Length(min, max, what) => format!("must have {min} to {max} {what}"),
            Self::Between(min, max) => format!("must be between {min} and {max}"),
            Self::AtLeast(1) => "must be greater than zero".to_owned(),
            Self::AtLeast(min) => format!("must be at least {min}"),
            Self::AtMost(max) => format!("must be at most {max}"),
            Self::OneOf(words) => NotOneOf::listed(words),
            Self::Characters(message) | Self::Format(message) | Self::Conflict(_, message) => (*message).to_owned(),
            Self::Other(message) => message.clone(),
        }
    }

    fn parameters(&self) -> Map<String, Value> {
        let parameters = match self {
            Self::Type(expected) => json!({"expected": expected}),
            Self::Length(min, max, _) => json!({"min": min, "max": max}),
            Self::Between(min, max) => json!({"min": min, "max": max}),
            Self::AtLeast(min) => json!({"min": min}),
            Self::AtMost(max) => json!({"max": max}),
            Self::OneOf(words) => json!({"allowed": words}),
            Self::Conflict(with, _) => json!({"with": with}),
            _ => Value::Null,
        };
        match parameters {
            Value::Object(parameters) => parameters,
            _ => Map::new(),
        }
    }
}

impl From<&str> for Wrong {
    fn from(message: &str) -> Self {
        Self::Other(message.to_owned())
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

impl From<NotOneOf> for Wrong {
    fn from(words: NotOneOf) -> Self {
        Self::OneOf(words.0.iter().map(|word| (*word).to_owned()).collect())
    }
}

/// One field of a request and what is wrong with it.
#[derive(Debug, Clone, Serialize, ToSchema, PartialEq, Eq)]
pub struct FieldError {
    /// A body field (`amount`), a header (`Idempotency-Key`) or a query parameter.
    #[schema(example = "amount")]
    pub field: String,
    pub code: FieldCode,
    /// For people.
    #[schema(example = "must be greater than zero")]
    pub message: String,
    /// Where it stands in the body, as a JSON pointer (RFC 6901) in a fragment; null for a header or a parameter.
    #[schema(example = "#/amount")]
    pub pointer: Option<String>,
    /// The name of the parameter of the query or the path that is wrong; null for a header or a field of the body.
    #[schema(value_type = Option<String>)]
    pub parameter: Option<Box<str>>,
    /// What the code's words are about: see `code`.
    #[schema(value_type = Object, example = json!({"min": 1}))]
    pub parameters: Map<String, Value>,
}

impl FieldError {
    /// Of the body: a path of our own words (`evidence.kind`), or `body` for the whole of it.
    pub fn new(field: impl Into<String>, wrong: impl Into<Wrong>) -> Self {
        let field = field.into();
        let steps: Vec<&str> = field.split('.').filter(|step| *step != "body").collect();
        let pointer = pointer(&steps);
        Self { pointer: Some(pointer), ..Self::outside(field, wrong) }
    }

    /// Of the body, at these steps; for names that are not ours, which may hold any character.
    pub fn at(field: impl Into<String>, steps: &[impl AsRef<str>], wrong: impl Into<Wrong>) -> Self {
        Self { pointer: Some(pointer(steps)), ..Self::outside(field, wrong) }
    }

    /// Of the query or the path.
    pub fn parameter(name: impl Into<String>, wrong: impl Into<Wrong>) -> Self {
        Self::outside(name, wrong).of_parameter()
    }

    /// A header, a line of a file, what a month lacks: no place in a body, and no parameter.
    pub fn outside(field: impl Into<String>, wrong: impl Into<Wrong>) -> Self {
        let wrong = wrong.into();
        let (code, message, parameters) = (wrong.code(), wrong.message(), wrong.parameters());
        Self { field: field.into(), code, message, pointer: None, parameter: None, parameters }
    }

    /// What was named as a field of the body, and came as a parameter.
    pub fn of_parameter(self) -> Self {
        Self { pointer: None, parameter: Some(self.field.as_str().into()), ..self }
    }

    /// The same mistake in words that say more than those of its kind.
    pub fn saying(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }
}

/// RFC 3986, 3.5, without what a step separates.
const OF_NO_FRAGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// RFC 6901, section 6: in a fragment.
fn pointer(steps: &[impl AsRef<str>]) -> String {
    let steps = steps.iter().map(|step| step.as_ref().replace('~', "~0").replace('/', "~1"));
    let encoded = steps.map(|step| format!("/{}", percent_encoding::utf8_percent_encode(&step, OF_NO_FRAGMENT)));
    format!("#{}", encoded.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::pointer;

    #[test]
    fn a_pointer_is_a_fragment_of_an_address() {
        assert_eq!(pointer(&["metadata", "a b"]), "#/metadata/a%20b");
        assert_eq!(pointer(&["x/y~", "é%"]), "#/x~1y~0/%C3%A9%25");
        assert_eq!(pointer(&["bank_account-id", "0"]), "#/bank_account-id/0");
    }
}
