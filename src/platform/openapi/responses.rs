//! Every status that an operation can answer: its problems with their codes, and the headers of all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::platform::permissions::needs_step_up;
use crate::platform::problems::{self, Entry};

const PROBLEM: &str = "application/problem+json";
const RATE_LIMIT_HEADERS: [&str; 5] =
    ["RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"];

/// What passes by itself: the answer says when to try again.
const WAITING: [&str; 6] = [
    "rate_limited", "unavailable", "provider_unavailable", "books_behind", "request_in_progress",
    "too_many_open_deposits",
];

/// Problem responses by their codes: most routes share them, so the document holds each once, as a component.
#[derive(Default)]
pub(super) struct Shared(pub(super) Map<String, Value>);

/// What follows from the parts of an operation.
struct Facts {
    /// Counts against a rate limit: all do but probes and the public keys, which are for everybody and cost next to nothing.
    counted: bool,
    /// What is asked for may be compared with what the caller has.
    compared: bool,
    idempotent: bool,
    /// The codes of its problems.
    codes: Vec<&'static str>,
}

impl Facts {
    fn of((method, path): (&str, &str), operation: &Value) -> Self {
        let none = Vec::new();
        let schemes = operation["security"].as_array().unwrap_or(&none);
        let scheme = |name: &str| schemes.iter().find_map(|scheme| scheme.get(name));
        let parameters = operation["parameters"].as_array().unwrap_or(&none);
        let (bearer, cookie) = (scheme("bearer"), scheme("refresh_cookie").is_some());
        let permission = bearer.and_then(|scopes| scopes[0].as_str());
        let steps_up = method != "get" && permission.is_some_and(needs_step_up);
        let signature = scheme("revio_signature").is_some();
        let has_body = operation.get("requestBody").is_some();
        let key = parameters.iter().find(|parameter| parameter["name"] == "Idempotency-Key");
        let optional_key = permission.is_some() && key.is_some_and(|key| key["required"] == false);
        let counted = operation["responses"].get(problems::MARK).is_some();
        // Each line is true of an extractor or of a layer.
        let codes = [
            (true, "internal"),
            (true, "unavailable"),
            (bearer.is_some() || cookie && schemes.len() == 1, "unauthenticated"),
            (permission.is_some() || cookie || signature, "forbidden"),
            (permission.is_some(), "totp_required"),
            (steps_up, "step_up_required"),
            (signature, "bad_signature"),
            (true, "rate_limited"),
            (path.contains('{'), "not_found"),
            (optional_key, "idempotency_key_reused"),
            (optional_key, "request_in_progress"),
            (has_body, "invalid_json"),
            // With a key the body is read, whether the act has one or not.
            (has_body || optional_key, "payload_too_large"),
            (has_body || optional_key, "request_timeout"),
            (has_body && !signature, "unsupported_media_type"),
        ];
        // The host is missing or doubled, or there is a query where none is taken: so much is looked at of every call.
        let of_all = ["invalid_request"].into_iter();
        Self {
            counted,
            compared: operation["responses"]["304"].is_object(),
            idempotent: key.is_some(),
            codes: of_all
                .chain(codes.into_iter().filter(|(answers, _)| counted && *answers).map(|(_, code)| code))
                .collect(),
        }
    }
}

/// Replaces what the route says of its problems by the whole of it.
pub(super) fn complete(called: (&str, &str), operation: &mut Value, shared: &mut Shared) {
    let facts = Facts::of(called, operation);
    let mut responses = super::take(&mut operation["responses"]);
    if responses.contains_key("206") {
        parts(operation, &mut responses);
    }
    let mut codes: BTreeMap<u16, BTreeSet<&'static str>> = BTreeMap::new();
    let mut described = BTreeMap::new();
    let mut all = Map::new();
    for (status, mut response) in responses {
        if status == problems::MARK {
            continue;
        }
        let named = named(&response, &status);
        if named.is_empty() {
            add_description(&mut response, &status);
            add_headers(&mut response, &status, &facts);
            all.insert(status, response);
        } else {
            let number = named[0].status;
            described.insert(number, response["description"].take());
            codes.entry(number).or_default().extend(named.iter().map(|entry| entry.code));
        }
    }
    for code in facts.codes {
        let entry = problems::find(code).expect("the catalogue names every code of Error");
        codes.entry(entry.status).or_default().insert(entry.code);
    }
    for (status, codes) in codes {
        let response = shared.reference(status, &codes, described.get(&status).and_then(Value::as_str));
        all.insert(status.to_string(), response);
    }
    operation["responses"] = all.into();
}

/// A download (`http::download::Parts`): the part is of the whole's types, unless the route says which, and a request may ask for it.
fn parts(operation: &mut Value, responses: &mut Map<String, Value>) {
    let whole = responses.get("200").map(|whole| whole["content"].clone());
    let header = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    for (status, names) in [
        ("200", &["ETag", "Accept-Ranges"][..]),
        ("206", &["ETag", "Accept-Ranges", "Content-Range"]),
        ("304", &["ETag"]),
    ] {
        let Some(response) = responses.get_mut(status) else { continue };
        names.iter().for_each(|name| response["headers"][*name] = header(name));
    }
    if let Some(part) = responses.get_mut("206").filter(|part| part["content"].is_null()) {
        // A part of a JSON text need not be JSON.
        let types = whole.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::keys);
        part["content"] = types.map(|kind| (kind.clone(), json!({"schema": {"type": "string"}}))).collect();
    }
    let asked = [
        ("If-None-Match", "The `ETag` that you have: 304 while it is that one", "etag"),
        ("Range", "One range of bytes. Several at once are answered by the whole", "range"),
        ("If-Range", "The `ETag` of the parts that you have: the whole if it is another one by now", "etag"),
    ];
    let parameters = asked.map(|(name, description, format)| {
        let schema = json!({"type": "string", "format": format});
        json!({"name": name, "in": "header", "description": description, "required": false, "schema": schema})
    });
    match &mut operation["parameters"] {
        Value::Array(known) => known.extend(parameters),
        none => *none = json!(parameters),
    }
}

/// The codes in backquotes that belong to this status.
fn named(response: &Value, status: &str) -> Vec<&'static Entry> {
    let text = response["description"].as_str().unwrap_or_default();
    let quoted = text.split('`').skip(1).step_by(2);
    let status = status.parse().unwrap_or_default();
    quoted.filter_map(|code| problems::find_at(code, status)).collect()
}

/// OpenAPI demands one; most successes are what the operation's summary says, and need no other words.
fn add_description(response: &mut Value, status: &str) {
    if response["description"].as_str().is_none_or(str::is_empty) {
        let text = match status {
            "201" => "Made",
            "202" => "Taken: it goes on in the background",
            "204" => "Done",
            "304" => "It is still what you have",
            _ => "What was asked for",
        };
        response["description"] = text.into();
    }
}

fn add_headers(response: &mut Value, status: &str, facts: &Facts) {
    let own = super::take(&mut response["headers"]);
    let limits = RATE_LIMIT_HEADERS.into_iter().filter(|_| facts.counted);
    let replayed = facts.idempotent.then_some("Idempotent-Replayed");
    let location = ["201", "202"].contains(&status).then_some("Location");
    let wait = (status == "503").then_some("Retry-After");
    let unchanged = (status == "304").then_some("ETag");
    let whole = (status == "200" && facts.compared).then_some("Accept-Ranges");
    let is_file = |kind: &String| kind != "application/json" && kind != "text/event-stream";
    let types = response["content"].as_object().into_iter().flat_map(Map::keys);
    let file = types.into_iter().any(is_file).then_some("Content-Disposition");
    let always = ["X-Request-Id"].into_iter().chain(location).chain(wait).chain(limits).chain(replayed);
    let mut headers = refer(always.chain(unchanged).chain(whole).chain(file));
    headers.extend(own);
    response["headers"] = headers.into();
}

/// `Retry-After` under its own name, whether it is promised or not.
fn refer_problem(names: impl IntoIterator<Item = &'static str>) -> Map<String, Value> {
    let mut headers = refer(names);
    if let Some(maybe) = headers.remove("Retry-After-Maybe") {
        headers.insert("Retry-After".to_owned(), maybe);
    }
    headers
}

fn refer(names: impl IntoIterator<Item = &'static str>) -> Map<String, Value> {
    let reference = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    names.into_iter().map(|name| (name.to_owned(), reference(name))).collect()
}

impl Shared {
    /// A reference to the response with exactly these codes; `described` is what a route adds to their names.
    fn reference(&mut self, status: u16, codes: &BTreeSet<&'static str>, described: Option<&str>) -> Value {
        let name = codes.iter().map(|code| pascal(code)).collect::<Vec<_>>().join("Or");
        self.0.entry(name.clone()).or_insert_with(|| problem(status, codes));
        let mut reference = json!({"$ref": format!("#/components/responses/{name}")});
        if let Some(text) = described.filter(|text| text.contains(':')) {
            reference["description"] = text.into();
        }
        reference
    }
}

fn problem(status: u16, codes: &BTreeSet<&'static str>) -> Value {
    let entries: Vec<&Entry> = codes.iter().filter_map(|code| problems::find_at(code, status)).collect();
    let described = |entry: &&Entry| match entry.when {
        "" => format!("`{}`", entry.code),
        when => format!("`{}`: {when}", entry.code),
    };
    let has = |code: &str| codes.contains(code);
    // Where each of the codes comes with it, the header is promised; where only some do, it may be there.
    let waits = codes.iter().filter(|code| WAITING.contains(code)).count();
    let headers = ["X-Request-Id"]
        .into_iter()
        .chain((waits == codes.len()).then_some("Retry-After"))
        .chain((waits > 0 && waits < codes.len()).then_some("Retry-After-Maybe"))
        .chain((status == 401).then_some("WWW-Authenticate"))
        .chain(has("range_not_satisfiable").then_some("Content-Range"))
        .chain(has("idempotency_key_reused").then_some("Idempotent-Replayed"))
        .chain(RATE_LIMIT_HEADERS);
    let examples: Map<String, Value> =
        entries.iter().map(|entry| (entry.code.to_owned(), json!({"value": entry.example()}))).collect();
    let narrowed = json!({"type": "object", "required": ["status", "code"], "properties": {
        "status": {"type": "integer", "enum": [status]}, "code": {"type": "string", "enum": codes},
    }});
    json!({
        "description": entries.iter().map(described).collect::<Vec<_>>().join("\n\n"),
        "headers": refer_problem(headers),
        "content": {PROBLEM: {
            "schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]},
            "examples": examples,
        }},
    })
}

fn pascal(code: &str) -> String {
    code.split('_').map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect()
}

/// The headers of answers, as components.
pub(super) fn headers() -> Value {
    let whole = json!({"type": "integer", "minimum": 0});
    json!({
        "X-Request-Id": {
            "description": "The caller's own `X-Request-Id` if it was a plain word of up to 64 characters, else a new one. Quote \
                it when asking for help",
            "required": true,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        },
        "Retry-After": {"description": "Seconds to wait before the next try", "required": true, "schema": whole},
        "Retry-After-Maybe": {"description": "Seconds to wait before the next try, where waiting helps", "schema": whole},
        "Location": {
            "description": "Where what was made, or what goes on, can be read: a path of this service",
            "required": true,
            "schema": {"type": "string", "format": "uri-reference", "example": "/v1/transactions/0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00"},
        },
        "RateLimit": {
            "description": "The limit that is closest: how many calls are left (`r`), and in how many seconds all are again (`t`)",
            "schema": {"type": "string", "example": "\"read\";r=599;t=1"},
        },
        "RateLimit-Policy": {
            "description": "The same limit: how many calls may come at once (`q`), and the seconds in which so many come anew (`w`)",
            "schema": {"type": "string", "example": "\"read\";q=600;w=12"},
        },
        "RateLimit-Limit": {"description": "How many calls may come at once", "schema": whole},
        "RateLimit-Remaining": {"description": "How many may still come now", "schema": whole},
        "RateLimit-Reset": {"description": "Seconds until all may come again", "schema": whole},
        "Idempotent-Replayed": {
            "description": "`true` when the key was used before with the same request: nothing new was started",
            "schema": {"type": "string", "const": "true"},
        },
        "ETag": {"description": "Names these bytes; for `If-None-Match` and `If-Range`", "schema": {"type": "string"}},
        "Content-Disposition": {
            "description": "The name to save it under",
            "schema": {"type": "string", "example": "attachment; filename=\"transactions-2026-01.csv\""},
        },
        "Accept-Ranges": {
            "description": "Whether a part can be asked for",
            "schema": {"type": "string", "enum": ["bytes", "none"]},
        },
        "Content-Range": {
            "description": "Which part it is, and of how many bytes; of none, only how many there are",
            "schema": {"type": "string", "example": "bytes 0-499/1234"},
        },
        "WWW-Authenticate": {
            "description": "How to prove who is calling",
            "required": true,
            "schema": {"type": "string", "example": "Bearer error=\"invalid_token\""},
        },
    })
}
