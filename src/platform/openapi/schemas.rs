//! The limits of what is sent, where they are the same at every route: texts, keys, currencies, cursors.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::platform::problems;

/// What `http::Fields::text` takes: something that can be seen, and nothing that breaks the line or turns its direction. Some 4,000 characters
/// beyond U+FFFF that cannot be seen either are missing: a class with such ranges is no expression to readers without the flag `u`.
const TEXT: &str = concat!(
    r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*",
    r"[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f",
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8]",
    r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$",
);

/// What `http::Fields::search` takes: something besides white space, and no control characters.
const SEARCH: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";

/// What lists are narrowed and sorted by; `filters::lists_name_what_there_is` compares kinds and states with what there is.
const KINDS: &str = "deposit|withdrawal|refund|chargeback|chargeback_reversal|adjustment";
const STATES: &str = "initiated|awaiting_payment|reserved|awaiting_approval|submitting|submitted|under_review|completed|failed|rejected|expired|cancelled";
const COLUMNS: &str = "created_at|updated_at|completed_at|amount|kind|state";

/// Some of them with commas, each with a sign before it or none.
fn some_of(names: &str, sign: &str) -> String {
    format!("^{sign}({names})(,{sign}({names}))*$")
}

/// A day of the calendar, but for the 29th of February of most years; or a moment of one (RFC 3339).
const DAY_OR_MOMENT: &str = concat!(
    "^[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))",
    r"([Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))?$",
);

/// A place in a list by id: the id's 16 bytes as base64 for URLs, whose last character has two bits left to say.
const CURSOR: &str = "^[A-Za-z0-9_-]{21}[AQgw]$";

/// A new password. What nobody may choose besides stands in `users::passwords`.
const PASSWORD: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// What `Outbound::parse` takes, but for names and addresses that lead inside. A dot of the host may be written as `%2E` or beyond ASCII.
const URL: &str = concat!(
    r"^[Hh][Tt][Tt][Pp][Ss]://(:?@)?(\[[0-9A-Fa-f:.]+\]|[0-9]+|0[Xx][0-9A-Fa-f]+|",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\\#/?@:\[\]]*",
    r"[^\u0000-\u0024\u0026-\u002d\u002f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\\#/?@:\[\]]*)",
    r"(:(0*(443|8443))?)?([/?][^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\\#]*)?$",
);

/// Parameters that mean the same wherever they stand: what is not said at the route is taken from here.
fn known_parameter(name: &str) -> Option<Value> {
    let schema = match name {
        "Idempotency-Key" => json!({
            "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$", "example": "9f1c6a52-order-1042",
        }),
        "cursor" => json!({"format": "cursor", "pattern": CURSOR}),
        "currency" => json!({"format": "iso-4217", "pattern": "^[A-Z]{3}$", "example": "ZAR"}),
        // Names of ours, with commas where several may be given.
        "kind" => json!({"format": "transaction-kinds", "maxLength": 255, "pattern": some_of(KINDS, "")}),
        "state" | "state_not" => {
            json!({"format": "transaction-states", "maxLength": 255, "pattern": some_of(STATES, "")})
        }
        "sort" => json!({"format": "transaction-sort", "maxLength": 255, "pattern": some_of(COLUMNS, "-?")}),
        // A date or a time of RFC 3339.
        "from" | "to" | "completed_from" | "completed_to" | "since" => {
            json!({"format": "date-or-time", "maxLength": 64, "pattern": DAY_OR_MOMENT})
        }
        "tz" => json!({"format": "time-zone", "maxLength": 64, "example": "Africa/Johannesburg"}),
        "reference" => json!({"minLength": 1, "maxLength": 255}),
        "q" => json!({"minLength": 1, "maxLength": 100}),
        "url" => json!({"maxLength": 2048, "pattern": URL, "example": "https://example.com/webhooks"}),
        // Of a link that we made.
        "token" => json!({"minLength": 1, "maxLength": 1024, "pattern": "^[!-~]+$"}),
        // A moment, as it was given out.
        "last_event_id" | "Last-Event-ID" => json!({"pattern": "^[0-9]{1,17}$"}),
        "If-None-Match" => json!({"format": "etag"}),
        _ => return None,
    };
    Some(schema)
}

/// The bodies of requests get the pattern of their texts; `Problem` gets the list of its codes.
pub(super) fn complete(schemas: &mut Map<String, Value>, paths: &Map<String, Value>) {
    let mut sent = BTreeSet::new();
    for operation in paths.values().filter_map(Value::as_object).flat_map(Map::values) {
        collect(&operation["requestBody"], schemas, &mut sent);
    }
    for name in sent {
        let properties = schemas.get_mut(&name).and_then(|schema| schema.get_mut("properties"));
        let Some(properties) = properties.and_then(Value::as_object_mut) else { continue };
        for (name, schema) in properties {
            complete_text(name, schema, TEXT);
        }
    }
    schemas.values_mut().for_each(complete_answer);
    if let Some(problem) = schemas.get_mut("Problem") {
        let mut codes: Vec<&str> = Vec::new();
        for entry in problems::catalogue() {
            if !codes.contains(&entry.code) {
                codes.push(entry.code);
            }
        }
        problem["properties"]["code"]["enum"] = json!(codes);
    }
}

/// Those that nothing refers to stay out: an envelope that is written out at its routes leaves its own name behind.
pub(super) fn drop_unused(schemas: &mut Map<String, Value>, rest: &[&Value]) {
    let mut used = BTreeSet::new();
    for part in rest {
        collect(part, schemas, &mut used);
    }
    schemas.retain(|name, _| used.contains(name));
}

/// What currencies and hashes look like, wherever they stand.
fn complete_answer(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            let pattern = match name.as_str() {
                "currency" => "^[A-Z]{3}$",
                name if name == "sha256" || name.ends_with("_hash") => "^[0-9A-Fa-f]{64}$",
                _ => continue,
            };
            if let Some(property) = property.as_object_mut().filter(|property| property.contains_key("type")) {
                property.entry("pattern").or_insert(pattern.into());
            }
        }
    }
    for part in ["allOf", "items"] {
        match schema.get_mut(part) {
            Some(Value::Array(parts)) => parts.iter_mut().for_each(complete_answer),
            Some(part) => complete_answer(part),
            None => {}
        }
    }
}

pub(super) fn complete_parameters(operation: &mut Value) {
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { return };
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default().to_owned();
        let schema = &mut parameter["schema"];
        // What may be left out is never null: a header or a query has no such word.
        let kinds = schema["type"].as_array();
        if let Some(kind) = kinds.and_then(|kinds| kinds.iter().find(|kind| *kind != "null")).cloned() {
            schema["type"] = kind;
        }
        complete_text(&name, schema, SEARCH);
    }
}

/// The names of the component schemas that a value refers to, also through others.
fn collect(value: &Value, schemas: &Map<String, Value>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str).and_then(|text| text.rsplit('/').next());
            if let Some(name) = name.filter(|name| found.insert((*name).to_owned())) {
                collect(schemas.get(name).unwrap_or(&Value::Null), schemas, found);
            }
            map.values().for_each(|value| collect(value, schemas, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, schemas, found)),
        _ => {}
    }
}

fn complete_text(name: &str, schema: &mut Value, pattern: &str) {
    let kind = &schema["type"];
    let is_text = kind == "string" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("string")));
    // What names its words says all.
    let Some(schema) = schema.as_object_mut().filter(|schema| is_text && !schema.contains_key("enum")) else { return };
    // What is looked for, wherever it stands; a reference with a length of its own is a text.
    let is_sought = ["q", "reference"].contains(&name) && !schema.contains_key("maxLength");
    let pattern = if is_sought { SEARCH } else { pattern };
    // A new one: it has a length.
    if schema.get("format").is_some_and(|format| format == "password") && schema.contains_key("minLength") {
        schema.entry("pattern").or_insert(PASSWORD.into());
        schema.entry("example").or_insert("correct horse battery staple".into());
    }
    // Where the route names the form that is all of it.
    let known = known_parameter(name).filter(|_| !schema.contains_key("format"));
    if let Some(Value::Object(known)) = known {
        for (key, value) in known {
            schema.entry(key).or_insert(value);
        }
    }
    let limited = ["pattern", "format", "enum"].iter().any(|key| schema.contains_key(*key));
    if !limited && schema.contains_key("maxLength") {
        schema.insert("pattern".to_owned(), pattern.into());
        schema.entry("minLength").or_insert(1.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(name: &str, mut schema: Value) -> Value {
        complete_text(name, &mut schema, TEXT);
        schema
    }

    #[test]
    fn a_form_that_the_route_names_stays_as_it_is() {
        let day = json!({"type": "string", "format": "date"});
        assert_eq!(completed("from", day.clone()), day);
        let since = completed("since", json!({"type": ["string", "null"]}));
        assert_eq!((&since["format"], &since["pattern"]), (&json!("date-or-time"), &json!(DAY_OR_MOMENT)));
    }

    #[test]
    fn what_is_looked_for_may_be_invisible_and_what_is_kept_may_not() {
        let pattern = |name: &str, schema: Value| completed(name, schema)["pattern"].clone();
        assert_eq!(pattern("q", json!({"type": ["string", "null"]})), SEARCH);
        assert_eq!(pattern("reference", json!({"type": "string"})), SEARCH);
        assert_eq!(pattern("reference", json!({"type": "string", "maxLength": 255})), TEXT);
        assert_eq!(pattern("note", json!({"type": "string", "maxLength": 500})), TEXT);
    }

    #[test]
    fn only_a_new_password_has_a_pattern() {
        let password = |schema: Value| completed("password", schema)["pattern"].clone();
        assert_eq!(password(json!({"type": "string", "format": "password", "minLength": 8})), PASSWORD);
        assert_eq!(password(json!({"type": "string", "format": "password"})), Value::Null);
    }

    #[test]
    fn no_parameter_is_null() {
        let header = json!({"name": "If-None-Match", "in": "header", "schema": {"type": ["string", "null"]}});
        let mut operation = json!({"parameters": [header]});
        complete_parameters(&mut operation);
        assert_eq!(operation["parameters"][0]["schema"], json!({"type": "string", "format": "etag"}));
    }
}
