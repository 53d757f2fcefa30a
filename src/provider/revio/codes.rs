//! Why Revio refuses a call, in its codes: for the log, and to tell a refusal from an answer that names no reason. Called by `answer` and `error`.

use std::collections::BTreeMap;
use std::{fmt, slice};

use serde_json::{Map, Value};

/// Enough of Revio's error codes for a log line; the rest of the body may hold personal data.
const CHARS_MAX: usize = 200;

/// Never the messages: they repeat what was sent.
#[derive(Debug)]
pub struct Codes {
    told: String,
    /// Whether one of them is Revio's own.
    pub(super) name_a_reason: bool,
}

impl Codes {
    /// Of an error body, in any of its three reported shapes: field to list of items, field to one item, or one flat item. A body of another
    /// shape (HTML from a proxy) has none.
    pub(super) fn of(body: &[u8]) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else { return Self::ours("unreadable") };
        let codes = read(&fields);
        let name_a_reason = codes.iter().any(|(_, code)| code.is_some());
        let told = codes.into_iter().map(|(field, code)| match (field, code.unwrap_or("unknown")) {
            (None, code) => code.to_owned(),
            (Some(field), code) => format!("{field}={code}"),
        });
        let told = told.collect::<Vec<_>>().join(", ");
        Self { told: told.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect(), name_a_reason }
    }

    /// In words of our own.
    pub(super) fn ours(told: &str) -> Self {
        Self { told: told.to_owned(), name_a_reason: false }
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

/// By field.
fn read(fields: &Map<String, Value>) -> Vec<(Option<&str>, Option<&str>)> {
    if let Some(flat @ Value::String(_)) = fields.get("code") {
        return vec![(None, word(flat))];
    }
    let mut codes = Vec::new();
    for (field, items) in fields.iter().collect::<BTreeMap<_, _>>() {
        let items = items.as_array().map_or_else(|| slice::from_ref(items), Vec::as_slice);
        codes.extend(items.iter().map(|item| (Some(field.as_str()), item.get("code").and_then(word))));
    }
    codes
}

/// A blank one is none.
fn word(code: &Value) -> Option<&str> {
    code.as_str().filter(|code| !code.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_shapes_of_an_error_body_yield_their_codes() {
        let told = |body: &str| Codes::of(body.as_bytes()).to_string();
        let list =
            r#"{"__all__": [{"message": "no", "code": "purchase_refund_error"}], "amount": [{"code": "required"}]}"#;
        assert_eq!(told(list), "__all__=purchase_refund_error, amount=required");
        let single = r#"{"purchase.currency": {"message": "no", "code": "invalid"}}"#;
        assert_eq!(told(single), "purchase.currency=invalid");
        assert_eq!(told(r#"{"code": "invalid_token", "message": "no"}"#), "invalid_token");
        assert_eq!(told(r#"{"amount": [{"message": "no"}]}"#), "amount=unknown");
        assert_eq!(told("<html>502</html>"), "unreadable");
    }

    #[test]
    fn an_error_body_without_a_code_names_no_reason() {
        let long = (0..40).map(|number| format!(r#""key {number}, of a long object": {number}"#)).collect::<Vec<_>>();
        for (body, names_one) in [
            (r#"{"amount": [{"code": "required"}]}"#, true),
            (r#"{"code": "invalid_token"}"#, true),
            (r#"{"a": [{"message": "no"}], "b": {"code": "invalid"}}"#, true),
            ("{}", false),
            ("[]", false),
            (r#"[{"code": "invalid"}]"#, false),
            (r#"{"message": "Bad Request"}"#, false),
            (r#"{"code": "", "message": "no"}"#, false),
            (r#"{"amount": []}"#, false),
            (r#"{"amount": [{"code": null}]}"#, false),
            (r#"{"__all__": [{"message": "no", "code": ""}]}"#, false),
            (&format!("{{{}}}", long.join(", ")), false),
        ] {
            assert_eq!(Codes::of(body.as_bytes()).name_a_reason, names_one, "{body}");
        }
    }
}
