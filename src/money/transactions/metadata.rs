//! What a caller's program writes to a transaction: texts by name, the transaction's for good. Read from a request with every mistake at
//! once ([`NewMetadata::parse`]), filtered by in lists and exports (`metadata[key]=value`), told wherever the transaction is. People put
//! anything into it, so it goes with the person (`books/personal_data.rs`), and into no log.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::platform::error::{FieldError, Wrong};
use crate::platform::http::{Fields, json::deep_object};

pub const KEYS_MAX: usize = 20;
pub const KEY_CHARS_MAX: usize = 40;
pub const VALUE_CHARS_MAX: usize = 500;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

/// As it came: in the order and with the doubles of the request, and of whatever types.
#[derive(Debug, Clone, Default)]
pub struct NewMetadata(Vec<(String, Value)>);

impl Metadata {
    /// What we wrote; `None` for anything else.
    pub(super) fn stored(json: Value) -> Option<Self> {
        serde_json::from_value(json).ok().map(Self)
    }

    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect()
    }

    /// Of names and values.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len().saturating_add(value.len())).fold(0, usize::saturating_add)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl NewMetadata {
    /// As a parameter of a query holds it (`http::json::deep_object`); `None` when it was given otherwise.
    pub fn of_query(text: &str) -> Option<Self> {
        deep_object(text).map(Self)
    }

    /// The same the other way; `None` without any.
    pub fn to_query(&self) -> Option<String> {
        let written = || serde_json::to_string(&self.0).expect("JSON is plain data");
        (!self.0.is_empty()).then(written)
    }

    /// What is wrong goes to `fields`; the answer counts only if nothing is.
    pub fn parse(&self, fields: &mut Fields) -> Metadata {
        let mut metadata = BTreeMap::new();
        if self.0.len() > KEYS_MAX {
            fields.wrong("metadata", Wrong::Length(0, KEYS_MAX, "keys"));
            return Metadata::default();
        }
        for (key, value) in &self.0 {
            let wrong = match value {
                _ if !is_key(key) => {
                    Some(Wrong::Format("is no key: 1 to 40 letters, digits, underscores, dots and hyphens"))
                }
                _ if metadata.contains_key(key) => Some(Wrong::Duplicate),
                Value::String(text) if text.chars().count() > VALUE_CHARS_MAX => {
                    Some(Wrong::Length(0, VALUE_CHARS_MAX, "characters"))
                }
                Value::String(text) if text.chars().any(char::is_control) => {
                    Some(Wrong::Characters("must not hold control characters"))
                }
                Value::String(text) => {
                    metadata.insert(key.clone(), text.clone());
                    None
                }
                _ => Some(Wrong::Type("a text")),
            };
            if let Some(wrong) = wrong {
                fields.add(error_at(key, wrong));
            }
        }
        Metadata(metadata)
    }
}

fn is_key(key: &str) -> bool {
    (1..=KEY_CHARS_MAX).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// A key may hold dots, which are no steps of the pointer.
fn error_at(key: &str, wrong: Wrong) -> FieldError {
    let key: Cow<'_, str> = if key.chars().count() > KEY_CHARS_MAX {
        key.chars().take(KEY_CHARS_MAX).collect::<String>().into()
    } else {
        key.into()
    };
    FieldError::at(format!("metadata[{key}]"), &["metadata", &*key], wrong)
}

impl<'de> Deserialize<'de> for NewMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = NewMetadata;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a map")
            }

            /// `null` is as if it were not there, as of every field that may be missing.
            fn visit_unit<E>(self) -> Result<NewMetadata, E> {
                Ok(NewMetadata::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NewMetadata, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(NewMetadata(pairs))
            }
        }

        deserializer.deserialize_any(Pairs)
    }
}

fn schema(kind: SchemaType) -> RefOr<Schema> {
    let key = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_.-]{1,40}$"));
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(VALUE_CHARS_MAX))
        .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"));
    ObjectBuilder::new()
        .schema_type(kind)
        .property_names(Some(Schema::Object(key.build())))
        .max_properties(Some(KEYS_MAX))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Schema::Object(value.build())))))
        .examples([serde_json::json!({"order_id": "A-1042"})])
        .into()
}

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        schema(SchemaType::Type(Type::Object))
    }
}

impl ToSchema for Metadata {}

/// Of a request for a transaction.
pub fn new_metadata() -> RefOr<Schema> {
    described(
        "For the caller's own program: it can be filtered by (`metadata[key]=value`). No secrets: everybody who sees the transaction sees it.",
    )
}

/// Of a request for those that have it.
pub fn wanted_metadata() -> RefOr<Schema> {
    described("Only those that have all of this.")
}

/// In the schema itself: a comment of the field's would be a second one beside it, which says that it is an object.
fn described(text: &str) -> RefOr<Schema> {
    let mut schema = schema(SchemaType::from_iter([Type::Object, Type::Null]));
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.description = Some(text.to_owned());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::error::Error;

    fn mistakes(json: &str) -> Vec<(String, Option<String>, &'static str)> {
        let new: NewMetadata = serde_json::from_str(json).expect("an object");
        let mut fields = Fields::default();
        new.parse(&mut fields);
        match fields.finish() {
            Ok(()) => Vec::new(),
            Err(Error::Invalid(errors)) => {
                errors.into_iter().map(|error| (error.field, error.pointer, error.code.name())).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let at = |key: &str, code| {
            (format!("metadata[{key}]"), Some(format!("#/metadata/{}", key.replace(' ', "%20"))), code)
        };
        assert_eq!(mistakes(r#"{"order.id": "A 1", "empty": "", "a-b_C": "é"}"#), []);
        assert_eq!(
            mistakes(r#"{"a.b": 1, "": "x", "c d": "x", "e": "x", "e": "y", "f": "\u0000", "g": null}"#),
            [
                at("a.b", "type"),
                at("", "format"),
                at("c d", "format"),
                at("e", "duplicate"),
                at("f", "characters"),
                at("g", "type")
            ]
        );
        let long = format!(r#"{{"k": "{}"}}"#, "é".repeat(501));
        assert_eq!(mistakes(&long), [at("k", "length")]);
        let slashed = mistakes(r#"{"a/b~c": "x"}"#);
        assert_eq!(slashed[0].1.as_deref(), Some("#/metadata/a~1b~0c"));
        let many: String = (0..21).map(|index| format!(r#""k{index}": "x","#)).collect();
        assert_eq!(
            mistakes(&format!("{{{}}}", many.trim_end_matches(','))),
            [("metadata".to_owned(), Some("#/metadata".to_owned()), "length")]
        );
    }

    #[test]
    fn what_is_no_object_is_no_metadata() {
        for wrong in ["[]", "7", "\"x\"", "true"] {
            serde_json::from_str::<NewMetadata>(wrong).expect_err(wrong);
        }
        assert!(serde_json::from_str::<NewMetadata>("null").expect("as if missing").0.is_empty());
    }
}
