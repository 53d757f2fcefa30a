//! Whole examples of bodies, put together from the examples of their fields. A request's has the required fields, and of the optional ones
//! those with an example of their own: not all optional fields fit together. An answer's says in its route what of it is unlike the rest.

use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
/// Deeper than any body of ours; a schema that contains itself ends here.
const DEPTH_MAX: usize = 16;

/// How fields with a currency in them say so, and those with a hash.
const CURRENCY: &str = "^[A-Z]{3}$";
const SHA_256: &str = "^[0-9A-Fa-f]{64}$";

/// Gives every JSON body of the operation that has none an example.
pub(super) fn complete(operation: &mut Value, schemas: &Map<String, Value>) {
    if let Some(content) = operation.pointer_mut("/requestBody/content") {
        complete_content(content, &Bodies { schemas, sent: true });
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for content in responses.values_mut().filter_map(|response| response.get_mut("content")) {
        complete_content(content, &Bodies { schemas, sent: false });
    }
}

struct Bodies<'a> {
    schemas: &'a Map<String, Value>,
    sent: bool,
}

fn complete_content(content: &mut Value, bodies: &Bodies<'_>) {
    let Some(body) = content.get_mut(JSON).and_then(Value::as_object_mut) else { return };
    if body.contains_key("examples") || bodies.sent && body.contains_key("example") {
        return;
    }
    let mut example = of(body.get("schema").unwrap_or(&Value::Null), bodies, DEPTH_MAX);
    if let Some(Value::Object(unlike)) = body.remove("example")
        && let Value::Object(example) = &mut example
    {
        example.extend(unlike);
    }
    body.insert("example".to_owned(), example);
}

/// A value that fits the schema.
fn of(schema: &Value, bodies: &Bodies<'_>, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    let inner = |schema: &Value| of(schema, bodies, depth - 1);
    if let Some(name) = schema["$ref"].as_str().and_then(|text| text.rsplit('/').next()) {
        return inner(bodies.schemas.get(name).unwrap_or(&Value::Null));
    }
    for key in ["example", "const", "default"] {
        if let Some(value) = schema.get(key) {
            return value.clone();
        }
    }
    if let Some(value) = schema["enum"].get(0).or_else(|| schema["examples"].get(0)) {
        return value.clone();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let objects = parts.iter().map(inner).filter_map(|value| value.as_object().cloned());
        return Value::Object(objects.flatten().collect());
    }
    for key in ["oneOf", "anyOf"] {
        let first = schema[key].as_array().and_then(|choices| choices.iter().find(|choice| choice["type"] != "null"));
        if let Some(choice) = first {
            return inner(choice);
        }
    }
    let kinds = schema["type"].as_array();
    let kind = kinds.map_or(&schema["type"], |kinds| kinds.iter().find(|kind| *kind != "null").unwrap_or(&Value::Null));
    match kind.as_str() {
        Some("object") => {
            let none = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&none);
            let required = schema["required"].as_array();
            let is_told = |(name, property): &(&String, &Value)| {
                let must = required.is_some_and(|names| names.iter().any(|required| required == name.as_str()));
                !bodies.sent || must || property.get("example").is_some()
            };
            let shown = properties.iter().filter(is_told).map(|(name, property)| (name.clone(), inner(property)));
            Value::Object(shown.collect())
        }
        Some("array") => json!([inner(&schema["items"])]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") => json!(true),
        Some("string") if schema["pattern"] == CURRENCY => "ZAR".into(),
        Some("string") if schema["pattern"] == SHA_256 => {
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".into()
        }
        Some("string") => text(schema["format"].as_str()).into(),
        _ => json!({}),
    }
}

fn text(format: Option<&str>) -> &'static str {
    match format {
        Some("uuid") => "0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00",
        Some("date-time" | "date-or-time") => "2026-03-02T09:00:00Z",
        Some("date") => "2026-03-02",
        Some("uri") => "https://example.com/",
        Some("email") => "thandi@example.com",
        Some("password") => "correct horse battery staple",
        Some("cursor") => "AZVWP46AfDqdDlsfOmwuAA",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_put_together_from_its_fields() {
        let schemas = json!({
            "User": {"type": "object", "properties": {
                "id": {"type": "string", "format": "uuid"}, "role": {"$ref": "#/components/schemas/Role"},
                "age": {"type": ["integer", "null"], "minimum": 1}, "tags": {"type": "array", "items": {"type": "boolean"}},
            }},
            "Role": {"type": "string", "enum": ["user", "admin"]},
            "Loop": {"type": "object", "properties": {"again": {"$ref": "#/components/schemas/Loop"}}},
        });
        let schemas = schemas.as_object().expect("an object");
        let example = |schema: Value| of(&schema, &Bodies { schemas, sent: false }, DEPTH_MAX);
        let user = json!({"id": "0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00", "role": "user", "age": 1, "tags": [true]});
        assert_eq!(example(json!({"$ref": "#/components/schemas/User"})), user);
        let both = json!({"allOf": [{"$ref": "#/components/schemas/User"}, {"properties": {"more": {"type": "null"}}, "type": "object"}]});
        assert_eq!(example(both)["more"], json!({}));
        assert!(example(json!({"$ref": "#/components/schemas/Loop"})).is_object());
        let body = json!({"type": "object", "required": ["role"], "properties": {"role": {"$ref": "#/components/schemas/Role"},
            "code": {"type": "string", "example": "1"}, "password": {"type": "string"}}});
        let sent = of(&body, &Bodies { schemas, sent: true }, DEPTH_MAX);
        assert_eq!(sent, json!({"role": "user", "code": "1"}), "of what may be left out only what says how");
    }
}
