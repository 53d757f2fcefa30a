//! One log line and one observation for each request, and the request's id on everything that belongs to it.
//!
//! The outermost layer but one (`router.rs`): a failure that any handler or layer put into its response is logged here,
//! once, with its whole chain of causes; the client's copy of the problem gets the request's id.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::{body::Body, middleware::Next, response::Response};
use tracing::Instrument;

use crate::app::App;
use crate::identity::quota::Quota;
use crate::platform::error::Failure;
use crate::platform::http::{RequestId, Waits};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 64;

pub async fn record(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(&app, &request);
    let quota = Quota::default();
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(quota.clone());
    let waits = request.method().is_safe().then(Waits::default);
    if let Some(waits) = &waits {
        request.extensions_mut().insert(waits.clone());
    }
    let method = request.method().clone();
    // The template, never the path itself: ids in labels would make a new time series for each row.
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let started = Instant::now();
    let span = tracing::info_span!("request", "request.id" = %id);
    let sent = Sent { id: &id, token: request.headers().contains_key(header::AUTHORIZATION) };
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = complete(&app, response, &sent);
    quota.write(response.headers_mut());

    let status = response.status();
    // What a caller has waited for on purpose is no slowness of ours.
    let waited = waits.map(|waits| waits.waited()).unwrap_or_default();
    let seconds = started.elapsed().saturating_sub(waited).as_secs_f64();
    let label = if status == StatusCode::METHOD_NOT_ALLOWED { OTHER } else { label(&method) };
    app.metrics.http_requests.with_label_values(&[label, &route, status.as_str()]).inc();
    app.metrics.http_request_seconds.with_label_values(&[label, &route]).observe(seconds);
    let failure = response.extensions().get::<Failure>();
    let code = failure.map(|failure| failure.problem.code);
    let cause = failure.and_then(|failure| failure.cause.as_deref());
    let expected = failure.is_some_and(|failure| failure.expected);
    let detail = failure.filter(|_| expected).map(|failure| failure.problem.detail.as_str());
    let status = status.as_u16();
    span.in_scope(|| {
        if expected {
            tracing::warn!(%method, route, status, seconds, code, detail, "request turned away");
        } else if status >= 500 {
            tracing::error!(%method, route, status, seconds, code, cause, "request failed");
        } else {
            tracing::info!(%method, route, status, seconds, code, "request answered");
        }
    });
    response
}

/// A method may be any word: those that nobody has heard of, or that a path does not have, share one time series.
const OTHER: &str = "OTHER";

fn label(method: &Method) -> &str {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
    if KNOWN.contains(method) { method.as_str() } else { OTHER }
}

/// The caller's own id if it is a plain word, else a new one.
fn request_id(app: &App, request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    given.filter(plain).map_or_else(|| app.clock.request_id().to_string(), str::to_owned)
}

/// What its answer must know of a request.
struct Sent<'a> {
    id: &'a str,
    /// Whether it came with a token.
    token: bool,
}

fn complete(app: &App, mut response: Response, sent: &Sent<'_>) -> Response {
    if let Some(failure) = response.extensions().get::<Failure>() {
        let body = failure.problem.clone().placed(sent.id, &app.config.public_url).into_body();
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = Body::from(body);
    }
    let code = response.extensions().get::<Failure>().map(|failure| failure.problem.code);
    if sent.token && code == Some("unauthenticated") {
        // RFC 6750, 3.1: only who has sent a token is told that it is worth nothing.
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    let value = HeaderValue::from_str(sent.id).expect("a request id is a plain word");
    response.headers_mut().insert(REQUEST_ID, value);
    response
}
