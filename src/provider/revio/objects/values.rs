//! How the values of Revio's objects are read: one odd field does not make the whole object unreadable, and what money hangs on is kept as it was sent.

use ledger::Amount;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

const ODD_CHARS_MAX: usize = 40;

/// A field that is null, blank or of another type than it should be counts as not said: one odd field must not make the whole
/// object unreadable, and what an object's money depends on is checked where it is used.
pub(in crate::provider::revio) fn lenient<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_str().and_then(|text| text.parse::<i64>().ok()).map(Value::from);
    let blank = value.as_str().is_some_and(str::is_empty);
    let read = |value| serde_json::from_value(value).ok();
    let as_sent = if blank { None } else { read(value) };
    Ok(as_sent.or_else(|| number.and_then(read)).unwrap_or_default())
}

/// A name that must be ours where it is said: whatever else stands there is another one, as it was sent.
pub(super) fn as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => shortened(&other),
    })
}

/// What is blank is not said.
pub(super) fn as_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Flag, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(if value == "" { Flag::Unsaid } else { Flag::from(value) })
}

/// A boolean that money hangs on: only a boolean is one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Value")]
pub enum Flag {
    #[default]
    Unsaid,
    Yes,
    No,
    /// Something else, as it was sent.
    Odd(String),
}

impl From<Value> for Flag {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Unsaid,
            Value::Bool(true) => Self::Yes,
            Value::Bool(false) => Self::No,
            other => Self::Odd(shortened(&other)),
        }
    }
}

/// A number that is money, in whatever spelling JSON has for it: `1000`, `1000.0` and `"1000"` are one amount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Value")]
pub struct Figure(String);

impl From<Value> for Figure {
    fn from(value: Value) -> Self {
        Self(
            value
                .as_str()
                .map_or_else(|| shortened(&value), |text| shortened(&Value::from(text)).trim_matches('"').to_owned()),
        )
    }
}

impl Figure {
    /// Whether it is said, or its currency, and is another sum than this, or none. What is not said is no contradiction.
    pub fn is_another_sum(&self, currency: &str, asked: Amount) -> bool {
        let other_currency = !currency.is_empty() && !currency.eq_ignore_ascii_case(asked.currency().code());
        other_currency || (self.is_said() && self.whole() != Some(asked.minor()))
    }

    pub fn is_said(&self) -> bool {
        !self.0.is_empty() && self.0 != "null"
    }

    /// `None` where it is not whole, or no number at all.
    pub fn whole(&self) -> Option<i64> {
        let (whole, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        whole.parse().ok().filter(|_| fraction.bytes().all(|digit| digit == b'0'))
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "not said" } else { &self.0 })
    }
}

/// Enough to see what it is.
fn shortened(value: &Value) -> String {
    value.to_string().chars().take(ODD_CHARS_MAX).collect()
}
