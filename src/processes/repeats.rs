//! The layer behind which acts of staff and of machines take an `Idempotency-Key` (`identity/repeats.rs`): it gives the request its call,
//! and keeps the answer. Which routes do, the OpenAPI document says: those that it offers the header for (`platform/openapi.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::{self, Body};
use axum::extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Request, State};
use axum::http::{HeaderName, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::app::App;
use crate::identity::repeats::{self, ANSWER_BYTES_MAX, Answer, Call, End};
use crate::identity::{caller, service_keys, staff};
use crate::platform::error::{Error, Result};
use crate::platform::http::json::{self, BODY_BYTES_MAX, BODY_DEADLINE};
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::tokens::Claims;

/// Methods and paths, as `POST /v1/admin/held/{id}/resolve`.
pub type Routes = Arc<BTreeSet<String>>;

pub async fn once(State((app, routes)): State<(App, Routes)>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let keyed = request.headers().contains_key("idempotency-key");
    if !keyed || !routes.contains(&format!("{} {path}", request.method())) {
        return next.run(request).await;
    }
    // Boxed: a call without a key, which may wait for long, is none of this.
    Box::pin(by_key(&app, request, next)).await.unwrap_or_else(IntoResponse::into_response)
}

async fn by_key(app: &App, request: Request, next: Next) -> Result<Response> {
    let (parts, body) = request.into_parts();
    // Whoever is nobody is refused without a look at the body, and it is not waited for.
    if !is_somebody(app, &parts).await? {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let (request, call) = with_call(parts, body).await?;
    let (end, response) = ended(next.run(request).await).await;
    if let Err(error) = repeats::finish(app, &call, &end).await {
        // It was done all the same; its repeat finds that out, once the lease is over.
        tracing::warn!(error = error.chain(), "the answer to a call with a key was not kept");
    }
    Ok(response)
}

/// A person by the token, which was checked before (`load.rs`), or a machine by its key. What either may is not decided here.
async fn is_somebody(app: &App, parts: &Parts) -> Result<bool> {
    match caller::bearer(parts) {
        Ok(token) if service_keys::is_meant(token) => {
            staff::count_key(app, parts).await?;
            Ok(service_keys::check(app, token).await?.is_some())
        }
        _ => Ok(parts.extensions.get::<Claims>().is_some()),
    }
}

async fn with_call(mut parts: Parts, body: Body) -> Result<(Request, Call)> {
    let key = IdempotencyKey::from_request_parts(&mut parts, &()).await?;
    // A person's body is there already.
    let mut read = Request::new(body);
    DefaultBodyLimit::max(BODY_BYTES_MAX).apply(&mut read);
    let bytes = json::whole_body(read, BODY_DEADLINE).await?;
    let call = Call::new(key, hash(&parts, &bytes));
    parts.extensions.insert(call.clone());
    Ok((Request::from_parts(parts, Body::from(bytes)), call))
}

/// White space and the order of fields make no difference. What is no JSON is refused by the route.
fn hash(parts: &Parts, bytes: &[u8]) -> RequestHash {
    let meant = serde_json::from_slice::<Value>(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into());
    RequestHash::of(parts.method.as_str(), &(parts.uri.to_string(), meant))
}

/// How the call ended, with what is kept of a success of reasonable size; and the answer itself.
async fn ended(response: Response) -> (End, Response) {
    if response.status().is_client_error() {
        return (End::Refused, response);
    }
    let is_repeat = response.headers().contains_key("idempotent-replayed");
    if is_repeat || !response.status().is_success() {
        return (End::Failed, response);
    }
    let (parts, body) = response.into_parts();
    let Ok(bytes) = body::to_bytes(body, usize::MAX).await else {
        return (End::Failed, Error::internal("an answer that was not whole").into_response());
    };
    let text = |name: HeaderName| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
    let body = String::from_utf8(bytes.to_vec()).ok().filter(|body| body.len() <= ANSWER_BYTES_MAX);
    let answer = body.map(|body| Answer {
        status: parts.status.as_u16(),
        content_type: text(header::CONTENT_TYPE),
        location: text(header::LOCATION),
        body,
    });
    (answer.map_or(End::Failed, End::Answered), Response::from_parts(parts, Body::from(bytes)))
}
