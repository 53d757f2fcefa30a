//! Why Revio refuses a call, in its codes: for the log, and to tell a refusal from an answer that names no reason. Called by `answer` and `error`.

use std::collections::BTreeMap;

use serde_json::Value;

/// Enough of Revio's error codes for a log line; the rest of the body may hold personal data.
const CHARS_MAX: usize = 200;
/// In place of the codes of a body that is no error, and of an item that has none.
const UNREADABLE: &str = "unreadable";
const NO_CODE: &str = "unknown";

/// The codes of an error body, in any of its three reported shapes: field to list of items, field to one item, or one flat
/// item. A body of another shape (HTML from a proxy) has none. Never the messages: they repeat what was sent.
pub(super) fn of(body: &[u8]) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else { return UNREADABLE.to_owned() };
    let code = |item: &Value| item.get("code").and_then(Value::as_str).unwrap_or(NO_CODE).to_owned();
    let codes: Vec<String> = if let Some(Value::String(flat)) = fields.get("code") {
        vec![flat.clone()]
    } else {
        let named: BTreeMap<_, _> = fields.iter().collect();
        let each = |(field, items): (&String, &Value)| match items {
            Value::Array(items) => items.iter().map(|item| format!("{field}={}", code(item))).collect::<Vec<_>>(),
            item => vec![format!("{field}={}", code(item))],
        };
        named.into_iter().flat_map(each).collect()
    };
    codes.join(", ").chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}

/// Whether one of them is Revio's own.
pub(super) fn has_one(codes: &str) -> bool {
    let own = |code: &str| !code.is_empty() && code != UNREADABLE && code.rsplit('=').next() != Some(NO_CODE);
    codes.split(", ").any(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_shapes_of_an_error_body_yield_their_codes() {
        let list =
            br#"{"__all__": [{"message": "no", "code": "purchase_refund_error"}], "amount": [{"code": "required"}]}"#;
        assert_eq!(of(list), "__all__=purchase_refund_error, amount=required");
        let single = br#"{"purchase.currency": {"message": "no", "code": "invalid"}}"#;
        assert_eq!(of(single), "purchase.currency=invalid");
        assert_eq!(of(br#"{"code": "invalid_token", "message": "no"}"#), "invalid_token");
        assert_eq!(of(b"<html>502</html>"), "unreadable");
    }

    #[test]
    fn an_error_body_that_names_no_reason_has_no_code() {
        for (body, has) in [
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
        ] {
            assert_eq!(has_one(&of(body.as_bytes())), has, "{body}");
        }
    }
}
