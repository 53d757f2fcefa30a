//! The layer that refuses a query where an operation takes none: its parameters would be silently ignored, and whoever sent
//! `POST /v1/deposits?amount=5` would not hear of it. Operations that take some read them with [`crate::platform::http::Query`], which
//! refuses what it does not know by itself.
//!
//! Which take none, the OpenAPI document says (`openapi::queryless`). Lenient on purpose: probes and the public keys, to which load
//! balancers and caches append words of theirs; webhooks, which Revio may call as it likes; and what is no part of the contract, the pages
//! below `/docs`, `/problems` and `/reasons`.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::platform::error::{Error, FieldError, Wrong};
use crate::platform::http::json::shorten;

/// So many of them are named.
const NAMED_MAX: usize = 20;

/// Methods and paths, as `GET /v1/me`.
pub type Routes = Arc<BTreeSet<String>>;

pub async fn refuse(State(routes): State<Routes>, request: Request, next: Next) -> Response {
    let unknown = unknown(&routes, &request);
    if unknown.is_empty() { next.run(request).await } else { Error::Invalid(unknown).into_response() }
}

fn unknown(routes: &Routes, request: &Request) -> Vec<FieldError> {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return Vec::new() };
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    if !routes.contains(&format!("{method} {path}")) {
        return Vec::new();
    }
    let pairs = form_urlencoded::parse(query.as_bytes());
    let names: BTreeSet<_> = pairs.map(|(name, _)| name).take(NAMED_MAX).collect();
    names.iter().map(|name| FieldError::parameter(shorten(name), Wrong::Unknown)).collect()
}
