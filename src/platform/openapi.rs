//! The OpenAPI document. A route says what is its own: its summary, who may call it, its parameters, its body, its successes, and
//! in backquotes the problem codes that no other part implies (`` (status = 409, description = "`stale_state`") ``). From that
//! [`complete`] makes every status that the route can answer, each with its codes, headers and examples; a unique `operationId`;
//! and the limits of the parameters that mean the same everywhere. `tests/it/contract.rs` holds every answer of every test against it.

mod examples;
mod responses;
mod schemas;
pub mod words;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::platform::error::Problem;

const KEY: &str = "Idempotency-Key";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Octoco",
        description = "Accounts, deposits and withdrawals.\n\nAmounts are integers in minor units (cents); times are RFC 3339 in UTC. \
            Every failure is an RFC 9457 problem document: program against its `code`. Fields and query parameters that a route \
            does not know are refused; only probes, the public keys and Revio's webhooks take any query. Calls that move money take an `Idempotency-Key`: after no answer, or after a 503, send \
            the same call with the same key; acts of staff and of machines may carry one.\n\nWhat may change within v1, and how the end of something is \
            announced: [versioning and deprecation](/docs/versioning)."
    ),
    servers((url = "/", description = "The service that this document came from")),
    tags(
        (name = "auth", description = "Signing up and in, tokens, sessions"),
        (name = "accounts", description = "What a customer has"),
        (name = "bank accounts", description = "Where withdrawals go"),
        (name = "deposits", description = "Paying in through Revio"),
        (name = "withdrawals", description = "Paying out through Revio"),
        (name = "transactions", description = "Every movement of money, as its row tells it"),
        (name = "events", description = "What happens, told as it happens"),
        (name = "exports", description = "Transactions as files"),
        (name = "webhooks", description = "What Revio calls"),
        (name = "staff", description = "For staff. Each route names the permission that it needs; each call is in the audit log. A service account's key \
            calls those that read, and of those that write only the ones that keep its own webhook endpoints: else 403 with the reason `not_for_machines`"),
        (name = "our webhooks", description = "What we call, for integrators: docs/outgoing-webhooks.md"),
        (name = "operations", description = "For load balancers and monitoring"),
    ),
    components(schemas(Problem)),
    modifiers(&Schemes)
)]
struct Document;

struct Schemes;

impl utoipa::Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "The `access_token` of a login, for 15 minutes; on routes for staff also the key of a service account (`octoco_sk_…`)",
            ));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        let key = |name: &str, description: &str| ApiKeyValue::with_description(name, description);
        let cookie = key(
            "refresh_token",
            "Set by a login; no script can read it. Behind https it is called `__Secure-refresh_token`",
        );
        components.add_security_scheme("refresh_cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let signature = key("X-Signature", "Revio's: base64 of RSA PKCS#1 v1.5 with SHA-256 over the raw body");
        components.add_security_scheme("revio_signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    }
}

pub fn base() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// `webhooks` is what we call, by the names of events.
pub fn complete(document: &utoipa::openapi::OpenApi, webhooks: Value) -> Value {
    let mut document = serde_json::to_value(document).expect("the document is plain data");
    let mut schemas = take(&mut document["components"]["schemas"]);
    let mut shared = responses::Shared::default();
    let mut paths = take(&mut document["paths"]);
    schemas::complete(&mut schemas, &paths);
    for (path, item) in &mut paths {
        for (method, operation) in operations_mut(item) {
            operation["operationId"] = operation_id(method, path).into();
            if takes_key(method, operation) {
                offer_key(operation);
            }
            schemas::complete_parameters(operation);
            responses::complete((method, path), operation, &mut shared);
            examples::complete(operation, &schemas);
        }
    }
    document["paths"] = paths.into();
    document["components"]["responses"] = shared.0.into();
    document["webhooks"] = webhooks;
    let users = [&document["paths"], &document["components"]["responses"], &document["webhooks"]];
    schemas::drop_unused(&mut schemas, &users);
    document["components"]["schemas"] = schemas.into();
    document["components"]["headers"] = responses::headers();
    document
}

/// The acts of staff that `processes/repeats.rs` does once: all that send JSON or nothing, but those that demand a key themselves.
pub fn keyed(document: &utoipa::openapi::OpenApi) -> BTreeSet<String> {
    those(document, |_, method, operation| takes_key(method, operation))
}

/// The operations that take neither a body nor a key of staff's, whose layer reads the body: none is waited for (`processes/load.rs`).
pub fn bodiless(document: &utoipa::openapi::OpenApi) -> BTreeSet<String> {
    those(document, |_, method, operation| operation["requestBody"].is_null() && !takes_key(method, operation))
}

/// The operations that take no query, and whose callers are told so (`processes/queries.rs`): those that people and programs call, not
/// those that Revio, load balancers and caches do.
pub fn queryless(document: &utoipa::openapi::OpenApi) -> BTreeSet<String> {
    those(document, |path, _, operation| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let takes_some = parameters.into_iter().any(|parameter| parameter["in"] == "query");
        path.starts_with("/v1/") && !path.starts_with("/v1/webhooks/") && !takes_some
    })
}

/// By method and path.
fn those(document: &utoipa::openapi::OpenApi, are: impl Fn(&str, &str, &Value) -> bool) -> BTreeSet<String> {
    let mut document = serde_json::to_value(document).expect("the document is plain data");
    let mut found = BTreeSet::new();
    for (path, item) in &mut take(&mut document["paths"]) {
        let operations = operations_mut(item).filter(|(method, operation)| are(path, method, operation));
        found.extend(operations.map(|(method, _)| format!("{} {path}", method.to_uppercase())));
    }
    found
}

fn takes_key(method: &str, operation: &Value) -> bool {
    let schemes = operation["security"].as_array().into_iter().flatten();
    let is_for_staff = schemes.into_iter().any(|scheme| scheme["bearer"][0].is_string());
    let has_own = operation["parameters"].as_array().into_iter().flatten().any(|known| known["name"] == KEY);
    let content = operation["requestBody"]["content"].as_object();
    let sends_json = content.is_none_or(|kinds| kinds.contains_key("application/json"));
    method != "get" && is_for_staff && !has_own && sends_json
}

fn offer_key(operation: &mut Value) {
    let description =
        "With one the act is done once: the same call with the same key, within 7 days, is answered as before";
    let key = json!({"name": KEY, "in": "header", "required": false, "description": description, "schema": {"type": "string"}});
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(key),
        None => operation["parameters"] = json!([key]),
    }
}

fn operations_mut(item: &mut Value) -> impl Iterator<Item = (&str, &mut Value)> {
    let item = item.as_object_mut().expect("a path item is an object");
    item.iter_mut().map(|(method, value)| (method.as_str(), value)).filter(|(method, _)| METHODS.contains(method))
}

fn take(value: &mut Value) -> Map<String, Value> {
    match value.take() {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Unique because method and path are, and stable as long as they are: `postAdminWebhooksByIdReplay`.
fn operation_id(method: &str, path: &str) -> String {
    let mut id = method.to_owned();
    for segment in path.split('/').filter(|segment| !segment.is_empty() && *segment != "v1") {
        let name = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        if name.is_some() {
            id.push_str("By");
        }
        let words = name.unwrap_or(segment).split(|c: char| !c.is_ascii_alphanumeric());
        for word in words.filter(|word| !word.is_empty()) {
            id.push_str(&word[..1].to_uppercase());
            id.push_str(&word[1..]);
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_named_by_its_method_and_path() {
        assert_eq!(operation_id("post", "/v1/admin/webhooks/{id}/replay"), "postAdminWebhooksByIdReplay");
        assert_eq!(operation_id("get", "/v1/bank-accounts"), "getBankAccounts");
        assert_eq!(operation_id("get", "/.well-known/jwks.json"), "getWellKnownJwksJson");
    }
}
