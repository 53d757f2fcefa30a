//! The bytes of a webhook: the serialisation that was observed on a real signed payload (`", "` and `": "` between tokens,
//! keys ordered by length and then alphabetically at every level, as PostgreSQL's `jsonb` keeps them). Called by `world.rs`.

use std::fmt::Write;

use serde_json::Value;

/// The exact text that is signed and sent.
pub(crate) fn canonical(value: &Value) -> String {
    let mut out = String::with_capacity(2048);
    write_value(&mut out, value);
    out
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(out, index);
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                separate(out, index);
                write_text(out, key);
                out.push_str(": ");
                write_value(out, &fields[key]);
            }
            out.push('}');
        }
    }
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push_str(", ");
    }
}

/// Guessed: non-ASCII is escaped as `\uXXXX` in UTF-16 units, which is what Python's `json.dumps` does by default.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("writing to a String cannot fail");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_by_length_and_then_alphabetically_at_every_level() {
        let value = serde_json::json!({
            "client": {"email": "", "cc": [], "bcc": [1, 2]}, "id": "x", "due": 7, "type": "purchase", "client_id": null,
            "event_type": "purchase.created", "status": "created", "purchase": {"total": 100, "debt": 0},
        });
        assert_eq!(
            canonical(&value),
            r#"{"id": "x", "due": 7, "type": "purchase", "client": {"cc": [], "bcc": [1, 2], "email": ""}, "status": "created", "purchase": {"debt": 0, "total": 100}, "client_id": null, "event_type": "purchase.created"}"#
        );
    }

    #[test]
    fn text_is_escaped_as_python_does() {
        let value = serde_json::json!("Zoë \"q\" \\ \n 😀");
        assert_eq!(canonical(&value), r#""Zo\u00eb \"q\" \\ \n \ud83d\ude00""#);
    }
}
