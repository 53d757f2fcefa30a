//! What every answer tells a browser: show me in no frame, guess no type, keep no copy, run nothing of mine; and which pages of other
//! origins may read it (CORS). And where it leads to: as the world finds us. The outermost layer, so failures, refusals, deadlines and panics carry it too. A route that needs
//! another value sets its own.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::{middleware::Next, response::Response};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::app::App;

static ALWAYS: [(HeaderName, HeaderValue); 8] = [
    // Answers are data: nothing in them may be run, shown in a frame or loaded by a page of another site.
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];
/// Two years, and only where the world reaches us by https. Not for subdomains: of what else lives below our name we know nothing.
const HSTS: &str = "max-age=63072000";

/// What pages of `CORS_ORIGINS` may send …
const REQUEST_HEADERS: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    header::IF_NONE_MATCH,
    header::RANGE,
    header::IF_RANGE,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("x-request-id"),
];
/// … and read beside the few headers that every page may.
const ANSWER_HEADERS: [HeaderName; 20] = [
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("deprecation"),
    HeaderName::from_static("sunset"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
    header::RETRY_AFTER,
    HeaderName::from_static("x-request-id"),
    header::LINK,
    header::ETAG,
    header::CONTENT_DISPOSITION,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::LOCATION,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("audit-positions"),
    HeaderName::from_static("audit-head"),
];
/// How long a browser need not ask again; none keeps it longer than two hours.
const PREFLIGHT_SECS: u64 = 7_200;

pub async fn protect(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in &ALWAYS {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    if app.config.public_url.starts_with("https://") {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static(HSTS));
    }
    lead_to(app.config.public_path(), headers);
    response
}

/// Behind a path of another page's host, which is taken off before a call reaches us, a path of ours would lead to that page.
fn lead_to(public_path: &str, headers: &mut HeaderMap) {
    if public_path.is_empty() {
        return;
    }
    let of = |headers: &HeaderMap, name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let location = of(headers, header::LOCATION).filter(|path| path.starts_with('/'));
    let link = of(headers, header::LINK);
    let placed = [
        (header::LOCATION, location.map(|path| format!("{public_path}{path}"))),
        (header::LINK, link.map(|links| links.replace("</", &format!("<{public_path}/")))),
    ];
    for (name, value) in placed {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Answers preflights, before anything is counted or checked, and marks the answers that a page of another origin may read:
/// one that `Config::knows_origin` names to the letter. Any other origin is told nothing of itself.
pub fn cors(app: &App) -> CorsLayer {
    let app = app.clone();
    let known = move |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| app.config.knows_origin(origin));
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _request| known(origin)))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(REQUEST_HEADERS)
        .expose_headers(ANSWER_HEADERS)
        .max_age(Duration::from_secs(PREFLIGHT_SECS))
}
