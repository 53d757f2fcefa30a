//! `POST /v1/webhooks/revio` and `/v1/webhooks/revio/callback`. The raw bytes are what is signed: nothing reads them before the signature
//! is checked.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Call, Endpoint, Verdict};
use crate::app::App;
use crate::platform::error::{Error, Reason, Result};
use crate::platform::{http::address, http::json::whole_body, problems::Problems};

/// The one real body that was seen has 2.2 kB; this is ample (`docs/provider.md`, size).
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Nothing is known of the sender until the whole body is there, and Revio sends it at once: whoever is slower must not hold one of
/// the connections for webhooks.
pub const BODY_DEADLINE: Duration = Duration::from_secs(5);
/// Longer header values are cut in the log.
const HEADER_CHARS_MAX: usize = 200;
const KEPT_HEADERS: [&str; 3] = ["content-type", "user-agent", "x-forwarded-for"];

pub fn router() -> OpenApiRouter<App> {
    // Revio writes every path of its own with a slash at the end; whoever sets ours up there may write it so too.
    OpenApiRouter::new()
        .routes(routes!(webhook))
        .routes(routes!(callback))
        .route("/v1/webhooks/revio/", post(webhook))
        .route("/v1/webhooks/revio/callback/", post(callback))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Revio's webhooks
///
/// Signed with RSA PKCS#1 v1.5 and SHA-256 over the raw body, base64 in `X-Signature`. 200: stored, or seen before.
#[utoipa::path(post, path = "/v1/webhooks/revio", tag = "webhooks", security(("revio_signature" = [])),
    request_body(content_type = "application/json", content = Option<serde_json::Value>),
    responses((status = 200, description = "Stored or seen before"), Problems))]
async fn webhook(State(app): State<App>, request: Request) -> Result<StatusCode> {
    receive(&app, Endpoint::Webhook, request).await
}

/// Revio's `success_callback`
///
/// The same as a webhook, signed with the company's key. We do not ask Revio to call it; it is here for accounts where it is
/// set up all the same.
#[utoipa::path(post, path = "/v1/webhooks/revio/callback", tag = "webhooks", security(("revio_signature" = [])),
    request_body(content_type = "application/json", content = Option<serde_json::Value>),
    responses((status = 200, description = "Stored or seen before"), Problems))]
async fn callback(State(app): State<App>, request: Request) -> Result<StatusCode> {
    receive(&app, Endpoint::Callback, request).await
}

async fn receive(app: &App, endpoint: Endpoint, request: Request) -> Result<StatusCode> {
    let (parts, body) = request.into_parts();
    let address = address::of(&parts, &app.config.proxies);
    let allowed = &app.config.revio_allowed_networks;
    if !allowed.is_empty() && !address.is_some_and(|address| address::is_in(allowed, address)) {
        app.metrics.webhook_calls.with_label_values(&["refused"]).inc();
        return Err(Error::Forbidden(Reason::AddressNotAllowed));
    }
    let source_address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let body = whole_body(Request::from_parts(parts.clone(), body), BODY_DEADLINE).await;
    let body = body.map_err(|error| refused(app, error))?;
    let call = Call {
        endpoint,
        body: &body,
        signatures: parts.headers.get_all("x-signature").iter().map(|value| value.as_bytes()).collect(),
        headers: kept(&parts.headers),
        source_address,
    };
    match super::receive(app, &call).await? {
        Verdict::Accepted | Verdict::Duplicate | Verdict::Foreign | Verdict::Stale => Ok(StatusCode::OK),
        Verdict::BadSignature => Err(Error::BadSignature),
    }
}

/// What is none of Revio's by its size alone is not kept: whoever sends it would fill the log of deliveries.
fn refused(app: &App, error: Error) -> Error {
    match error {
        Error::TooLarge(_) => {
            app.metrics.webhook_calls.with_label_values(&["refused"]).inc();
            tracing::warn!("a delivery was too large");
            Error::TooLarge(BODY_BYTES_MAX)
        }
        other => other,
    }
}

fn kept(headers: &HeaderMap) -> Value {
    let value = |name: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok())?;
        Some((name.to_owned(), json!(text.chars().take(HEADER_CHARS_MAX).collect::<String>())))
    };
    Value::Object(KEPT_HEADERS.iter().filter_map(|name| value(name)).collect())
}
