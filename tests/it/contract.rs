//! The OpenAPI document tells the truth and all of it: every answer that any test gets is held against it here, its own parts are
//! whole, the catalogue of codes is [`Error`]'s, and the page that shows it needs nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use octoco::platform::error::Decline;
use octoco::platform::problems;
use octoco::processes::router;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, TestApp};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

static DOCUMENT: LazyLock<Value> = LazyLock::new(router::openapi);

/// Each operation with its method and path.
pub(crate) fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("an object");
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an object");
        let operations = item.iter().filter(|(method, _)| METHODS.contains(&method.as_str()));
        operations.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

/// What a `$ref` stands for, or the value itself.
fn resolve(value: &'static Value) -> &'static Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let pointer = reference.strip_prefix('#').expect("nothing is outside of the document");
    DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not in the document"))
}

/// The operation of a call; the template with the fewest parameters is the one that the router takes.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let fits = |template: &str| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        let fits = |(part, word): (&&str, &&str)| part == word || part.starts_with('{') && !word.is_empty();
        template.len() == path.len() && template.iter().zip(&path).all(fits)
    };
    let method = method.as_str().to_lowercase();
    let candidates = operations().filter(|(_, template, _)| fits(template));
    let best = candidates.map(|(_, template, _)| template).min_by_key(|template| template.matches('{').count())?;
    operations().find(|(name, template, _)| *name == method && *template == best).map(|(_, _, operation)| operation)
}

/// Every answer of the service to an operation is one that the document foresees: its status, its kind of body, its code.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    if let Some(fault) = operation(method, path).and_then(|operation| fault(operation, answer)) {
        panic!("{method} {path} answered {} {}: the document has no {fault}", answer.status, answer.body);
    }
}

fn fault(operation: &'static Value, answer: &Answer) -> Option<String> {
    let Some(response) = operation["responses"].get(answer.status.as_str()).map(resolve) else {
        return Some(format!("such status; it has {:?}", operation["responses"].as_object()?.keys()));
    };
    let given = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
    let given = given.map(|value| value.split(';').next().unwrap_or_default());
    let content = response["content"].as_object();
    match (given, content) {
        (Some(kind), content) if !content.is_some_and(|content| content.contains_key(kind)) => {
            return Some(format!("body of the type {kind} there"));
        }
        (None, Some(_)) => return Some("answer without a body there".to_owned()),
        _ => {}
    }
    let absent = |(name, header): (&String, &'static Value)| {
        resolve(header)["required"] == true && !answer.headers.contains_key(name.to_lowercase())
    };
    let headers = response["headers"].as_object()?;
    if let Some((name, _)) = headers.iter().find(|header| absent(*header)) {
        return Some(format!("answer without {name} there"));
    }
    let codes = codes(response);
    (answer.status.as_u16() >= 400 && !codes.is_empty() && !codes.contains(answer.code()))
        .then(|| format!("such code; it has {codes:?}"))
        .or_else(|| misplaced(operation, answer))
}

/// What is wrong with a request stands in the body that the operation takes, in one of its parameters, or in one of its headers.
fn misplaced(operation: &'static Value, answer: &Answer) -> Option<String> {
    if answer.code() != "invalid_request" {
        return None;
    }
    let known = |name: &str, places: &[&str]| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let is_it = |known: &str| name == known || name.starts_with(&format!("{known}["));
        parameters.into_iter().any(|parameter| {
            places.iter().any(|place| parameter["in"] == *place) && parameter["name"].as_str().is_some_and(is_it)
        })
    };
    let errors = answer.body["errors"].as_array()?;
    let wrong = errors.iter().find(|error| {
        let field = error["field"].as_str().unwrap_or_default();
        let stands = match (error["pointer"].as_str(), error["parameter"].as_str()) {
            (Some(_), Some(_)) => false,
            (Some(pointer), None) => pointer.starts_with('#') && operation.get("requestBody").is_some(),
            (None, Some(name)) => name == field && (error["code"] == "unknown" || known(name, &["query", "path"])),
            (None, None) => field == "Host" || known(field, &["header"]),
        };
        !stands
    });
    wrong.map(|error| format!("place like that of {error}"))
}

/// The problem codes of a response.
fn codes(response: &'static Value) -> BTreeSet<&'static str> {
    let codes = response.pointer("/content/application~1problem+json/schema/allOf/1/properties/code/enum");
    codes.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// `Self::X => "code"` and `Self::X | Self::Y => StatusCode::NAME` in the source of `Error`.
fn codes_of_error() -> BTreeMap<String, u16> {
    let source = include_str!("../../src/platform/error.rs");
    let arms = |function: &str| -> Vec<(String, String)> {
        let body = source.split(&format!("pub fn {function}(&self)")).nth(1).expect("it is there");
        let body = body.split("\n    }\n").next().expect("it ends");
        let arms = body.split("Self::").skip(1).collect::<Vec<_>>();
        let variant = |arm: &str| arm.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        let value =
            |from: usize| arms[from..].iter().find_map(|arm| arm.split_once("=> ")).expect("each arm has a value");
        let word = |text: &str| {
            text.trim_start_matches(['"', '{', ' ', '\n']).split(['"', ',', '\n']).next().map(str::to_owned)
        };
        arms.iter().enumerate().map(|(i, arm)| (variant(arm), word(value(i).1).expect("a word"))).collect()
    };
    let statuses: BTreeMap<String, String> = arms("status").into_iter().collect();
    let number = |variant: &str| {
        let name = statuses[variant].trim_start_matches("StatusCode::");
        let names = (400..600).filter_map(|code| StatusCode::from_u16(code).ok());
        let constant =
            |status: &StatusCode| status.canonical_reason().unwrap_or_default().to_uppercase().replace(' ', "_");
        names.into_iter().find(|status| constant(status) == name).unwrap_or_else(|| panic!("{name}")).as_u16()
    };
    let mut codes = BTreeMap::new();
    for (variant, code) in arms("code") {
        if code == "why.name()" {
            codes.extend(Decline::ALL.iter().map(|why| (why.name().to_owned(), number(&variant))));
        } else {
            codes.insert(code, number(&variant));
        }
    }
    codes
}

#[test]
fn the_catalogue_of_problem_codes_is_the_one_of_the_code() {
    let page: BTreeMap<String, u16> =
        problems::catalogue().iter().map(|entry| (entry.code.to_owned(), entry.status)).collect();
    assert_eq!(page, codes_of_error(), "docs/problems.md on the left, src/platform/error.rs on the right");
    let listed = &DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    let listed: BTreeSet<&str> = listed.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(listed, page.keys().map(String::as_str).collect());
}

#[test]
fn every_code_is_answered_by_some_operation() {
    let mut answered = BTreeSet::new();
    for (_, _, operation) in operations() {
        let responses = operation["responses"].as_object().expect("an object");
        answered.extend(responses.values().flat_map(|response| codes(resolve(response))));
    }
    let all: BTreeSet<&str> = problems::catalogue().iter().map(|entry| entry.code).collect();
    // A method that an operation does not have is no answer of that operation.
    let nowhere: Vec<&&str> = all.difference(&answered).filter(|code| **code != "method_not_allowed").collect();
    assert!(nowhere.is_empty(), "{nowhere:?}: name them in backquotes at the routes that answer them");
}

/// A parameter's type that no body has is written where it is used (`inline`).
#[test]
fn whatever_the_document_refers_to_is_in_it() {
    let (mut left, mut lost) = (vec![&*DOCUMENT], BTreeSet::new());
    while let Some(value) = left.pop() {
        let reference = value.get("$ref").and_then(Value::as_str);
        lost.extend(reference.filter(|to| DOCUMENT.pointer(to.trim_start_matches('#')).is_none()));
        left.extend(value.as_array().into_iter().flatten());
        left.extend(value.as_object().into_iter().flat_map(serde_json::Map::values));
    }
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn every_operation_is_described_in_full() {
    let mut wrong = Vec::new();
    let mut ids = BTreeSet::new();
    let tags = DOCUMENT["tags"].as_array().expect("a list");
    let described: BTreeSet<&str> = tags
        .iter()
        .filter(|tag| tag["description"].as_str().is_some_and(|text| !text.is_empty()))
        .filter_map(|tag| tag["name"].as_str())
        .collect();
    for (method, path, operation) in operations() {
        let mut complain = |what: String| wrong.push(format!("{method} {path}: {what}"));
        if !ids.insert(operation["operationId"].as_str().unwrap_or_default()) {
            complain("operationId is not unique".to_owned());
        }
        if operation["summary"].as_str().is_none_or(str::is_empty) {
            complain("no summary: the first line of the handler's comment".to_owned());
        }
        for tag in operation["tags"].as_array().into_iter().flatten() {
            if !described.contains(tag.as_str().unwrap_or_default()) {
                complain(format!("the tag {tag} is not described in src/platform/openapi.rs"));
            }
        }
        if operation["security"].is_null() {
            complain("no security".to_owned());
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if unlimited(&parameter["schema"]) {
                complain(format!("the parameter {} has no enum, format, pattern or length", parameter["name"]));
            }
        }
        for (name, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            if content.get("example").is_none() && content.get("examples").is_none() {
                complain(format!("no example of {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What every answer of a kind carries: where the new thing is, how to sign in, when to come again, how many calls are left.
#[test]
fn no_answer_lacks_the_headers_of_its_kind() {
    let mut wrong = Vec::new();
    for (method, path, operation) in operations() {
        let responses = operation["responses"].as_object().expect("an object");
        let counted = responses.contains_key("429");
        for (status, response) in responses {
            let headers = &resolve(response)["headers"];
            let promised = |name: &str| resolve(&headers[name])["required"] == true;
            let mut demand = |is_there: bool, what: &str| {
                if !is_there {
                    wrong.push(format!("{method} {path} {status}: {what}"));
                }
            };
            match status.as_str() {
                "201" | "202" => demand(promised("Location"), "Location"),
                "401" => demand(promised("WWW-Authenticate"), "WWW-Authenticate"),
                "429" | "503" => demand(promised("Retry-After"), "Retry-After"),
                _ => {}
            }
            if counted {
                for name in
                    ["RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
                {
                    demand(headers[name].is_object(), name);
                }
            }
        }
        let demands_staff = operation["security"][0]["bearer"][0].is_string();
        let keys = operation["parameters"].as_array().into_iter().flatten();
        let takes_key = keys.into_iter().any(|parameter| parameter["name"] == "Idempotency-Key");
        let sends = operation.pointer("/requestBody/content").and_then(Value::as_object);
        if method != "get"
            && demands_staff
            && sends.is_none_or(|kinds| kinds.contains_key("application/json"))
            && !takes_key
        {
            wrong.push(format!("{method} {path}: an act of staff without Idempotency-Key"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lists are told from other answers by their items: nothing that is a list comes without its page, under another name or bare.
#[test]
fn every_list_comes_in_the_one_envelope() {
    let mut wrong = Vec::new();
    let mut lists = 0;
    for (method, path, operation) in operations().filter(|(method, ..)| *method == "get") {
        let Some(schema) = operation.pointer("/responses/200/content/application~1json/schema").map(resolve) else {
            continue;
        };
        let properties = schema["properties"].as_object();
        let is_list = |schema: &Value| schema["type"] == "array";
        let arrays: Vec<&String> =
            properties.into_iter().flatten().filter(|(_, schema)| is_list(schema)).map(|(name, _)| name).collect();
        let named = properties.is_some_and(|properties| properties.contains_key("page"));
        if named && arrays == ["data"] {
            lists += 1;
        } else if is_list(schema) || arrays.iter().any(|name| *name == "data") || named {
            wrong.push(format!("{method} {path}: {arrays:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lists >= 20, "{lists} lists");
}

/// A text or number of which nothing more is said.
fn unlimited(schema: &Value) -> bool {
    let has = |keys: &[&str]| keys.iter().any(|key| schema.get(key).is_some());
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("string") => !has(&["enum", "format", "pattern", "maxLength"]),
        Some("integer") => !has(&["minimum"]) || !has(&["maximum"]),
        _ => false,
    }
}

#[test]
fn what_is_sent_is_limited_and_unknown_fields_are_refused() {
    let mut wrong = Vec::new();
    for (method, path, operation) in operations() {
        let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema").map(resolve) else {
            continue;
        };
        let Some(properties) = schema["properties"].as_object() else { continue };
        if schema["additionalProperties"] != false {
            wrong.push(format!("{method} {path}: unknown fields are not refused"));
        }
        let unlimited = properties.iter().filter(|(_, schema)| unlimited(schema));
        wrong.extend(unlimited.map(|(name, _)| format!("{method} {path}: the field {name} has no limits")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &'static Value, found: &mut usize) {
        match value {
            Value::Object(map) => {
                if map.contains_key("$ref") {
                    resolve(value);
                    *found += 1;
                }
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = 0;
    walk(&DOCUMENT, &mut found);
    assert!(found > 100, "{found}");
}

#[test]
fn no_schema_contradicts_itself() {
    fn walk(value: &'static Value, at: &str, wrong: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                let parts = map.get("allOf").and_then(Value::as_array).into_iter().flatten();
                let types: BTreeSet<_> = parts.filter_map(|part| resolve(part)["type"].as_str()).collect();
                if types.len() > 1 {
                    wrong.push(format!("{at}: {types:?} at once"));
                }
                map.iter().for_each(|(key, value)| walk(value, &format!("{at}/{key}"), wrong));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(n, value)| walk(value, &format!("{at}/{n}"), wrong));
            }
            _ => {}
        }
    }
    let mut wrong = Vec::new();
    walk(&DOCUMENT, "", &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_answer_that_the_document_does_not_foresee_is_found() {
    let answer = |status: u16, kind: &str, body: Value| {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("content-type", kind.parse().expect("a header"));
        headers.insert("x-request-id", "1".parse().expect("a header"));
        if status == 401 {
            headers.insert("www-authenticate", "Bearer".parse().expect("a header"));
        }
        Answer { status: StatusCode::from_u16(status).expect("a status"), headers, body }
    };
    let me = operation(&Method::GET, "/v1/me").expect("it is documented");
    let code = |code: &str| Value::Object(Map::from_iter([("code".to_owned(), code.into())]));
    let problem = "application/problem+json";
    assert_eq!(fault(me, &answer(200, "application/json", Value::Null)), None);
    assert_eq!(fault(me, &answer(401, problem, code("unauthenticated"))), None);
    assert!(fault(me, &answer(418, problem, code("teapot"))).expect("a status").contains("such status"));
    assert!(fault(me, &answer(401, "application/json", code("unauthenticated"))).expect("a type").contains("type"));
    assert!(fault(me, &answer(401, problem, code("bad_signature"))).expect("a code").contains("such code"));
    assert!(fault(me, &answer(429, problem, code("rate_limited"))).expect("a header").contains("Retry-After"));
    let replay = operation(&Method::POST, "/v1/admin/webhooks/replay").expect("it is documented");
    assert_eq!(replay["operationId"], "postAdminWebhooksReplay");
}

/// What a layer answers before a route is reached, or a state that two calls at once leave behind.
#[test]
fn what_is_answered_seldom_is_in_the_document_too() {
    let told = |method: &str, path: &str, status: &str| {
        let (_, _, operation) = operations().find(|known| (known.0, known.1) == (method, path)).expect("it is there");
        codes(resolve(&operation["responses"][status]))
    };
    for (method, path, _) in operations() {
        assert!(told(method, path, "400").contains("invalid_request"), "{method} {path}: without a host");
    }
    assert!(told("get", "/.well-known/jwks.json", "503").contains("unavailable"));
    for path in ["/v1/admin/users/{id}/unfreeze", "/v1/admin/users/{id}/reopen", "/v1/admin/reconciliation/statements"]
    {
        assert!(told("post", path, "409").contains("stale_state"), "{path}");
    }
    assert!(told("post", "/v1/admin/users/{id}/unfreeze", "413").contains("payload_too_large"));
    let probe = |path: &str| DOCUMENT["paths"][path]["get"]["responses"].as_object().expect("an object");
    assert!(!probe("/healthz").contains_key("503"), "nobody is turned away from it");
    assert!(probe("/readyz")["503"].pointer("/content/application~1json").is_some());
}

#[sqlx::test]
async fn the_document_is_served_as_the_command_prints_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let served = t.send(Method::GET, "/openapi.json", None, &[], None).await;
    assert_eq!(served.status, StatusCode::OK);
    assert_eq!(served.body, *DOCUMENT);
    assert_eq!(served.body["openapi"], "3.1.0");
    assert_eq!(served.body["info"]["version"], env!("CARGO_PKG_VERSION"));
    let tag = served.headers["etag"].to_str().expect("text").to_owned();
    let ask = async |tag: &str| t.send(Method::GET, "/openapi.json", None, &[("If-None-Match", tag)], None).await;
    let known = ask(&format!("W/{tag}")).await;
    assert_eq!((known.status, &known.headers["etag"]), (StatusCode::NOT_MODIFIED, &served.headers["etag"]));
    assert_eq!(ask("\"another\"").await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn the_page_of_the_document_loads_nothing_from_elsewhere(db: PgPool) {
    let t = TestApp::new(db).await;
    let get = async |path: &str| t.send(Method::GET, path, None, &[], None).await;
    let page = get("/docs").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().expect("a word").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert!(!policy.contains("http") && !policy.contains('*') && !policy.contains("unsafe-eval"), "{policy}");
    let html = page.body.as_str().expect("a text").to_owned();
    let loaded: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| html.split(attribute).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(loaded.len(), 4, "{loaded:?}");
    for path in loaded.into_iter().filter(|path| *path != "data:,") {
        // Beside the page, wherever the world finds it.
        assert!(path.starts_with("docs/"), "{path} is somebody else's");
        let file = get(&format!("/{path}")).await;
        assert_eq!(file.status, StatusCode::OK, "{path}");
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
        let text = file.body.as_str().expect("a text");
        // What the style sheet names would be loaded; what the script names as text would not, and the policy forbids it.
        assert!(!path.ends_with(".css") || !text.contains("url(http") && !text.contains("@import"), "{path}");
        assert!(!path.ends_with("start.js") || text.contains("\"openapi.json\"") && !text.contains("http"), "{path}");
    }
    let unknown = get("/docs/other.js").await;
    assert_eq!((unknown.status, unknown.code()), (StatusCode::NOT_FOUND, "not_found"));
    t.finish().await;
}

#[sqlx::test]
async fn the_type_of_a_problem_leads_to_a_page_about_its_code(db: PgPool) {
    let t = TestApp::new(db).await;
    let get = async |path: &str, headers: &[(&str, &str)]| t.send(Method::GET, path, None, headers, None).await;
    let refused = get("/v1/me", &[]).await;
    let url = refused.body["type"].as_str().expect("a text").to_owned();
    let path = url.strip_prefix(&t.app.config.public_url).expect("of our own");
    assert_eq!(path, "/problems/unauthenticated");
    let mut pages = BTreeSet::new();
    for entry in problems::catalogue() {
        let page = get(&format!("/problems/{}", entry.code), &[]).await;
        assert_eq!(
            (page.status, &page.headers["content-type"]),
            (StatusCode::OK, &"text/html; charset=utf-8".parse().expect("a header"))
        );
        let text = page.body.as_str().expect("a text").to_owned();
        assert!(text.contains(entry.code) && text.contains(&entry.status.to_string()), "{text}");
        pages.insert(text);
    }
    assert!(pages.len() > 20);
    assert_eq!(get("/problems/nothing", &[]).await.code(), "not_found");
    // A token that is worth nothing is told so; a call without one is only asked for one.
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    let stale = get("/v1/me", &[("Authorization", "Bearer nonsense")]).await;
    assert_eq!(stale.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    t.finish().await;
}

#[sqlx::test]
async fn every_wrong_field_has_a_code_a_place_and_its_numbers(db: PgPool) {
    let t = TestApp::new(db).await;
    let register = async |body: Value| t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await.body;
    let wrong = register(json!({"email": 5, "nickname": "x"})).await;
    let told: Vec<_> =
        wrong["errors"].as_array().expect("a list").iter().map(|e| (e["code"].clone(), e["pointer"].clone())).collect();
    assert_eq!(told[0], (json!("type"), json!("#/email")));
    assert!(told.contains(&(json!("unknown"), json!("#/nickname"))), "{told:?}");
    assert!(told.contains(&(json!("required"), json!("#/password"))), "{told:?}");
    let short = register(json!({"email": "a@example.com", "password": "short", "full_name": "A"})).await;
    let error = &short["errors"][0];
    assert_eq!((&error["code"], &error["parameters"]["min"]), (&json!("length"), &json!(8)), "{short}");
    t.finish().await;
}
