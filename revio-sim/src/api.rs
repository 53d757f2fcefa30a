//! The API under `/api/v1/` and the execution URLs: routes, authentication, and the outer layer that logs every call and lets
//! faults strike. The handlers are in `api/`. Mounted by `server.rs`.

mod handlers;
mod layer;
mod statements;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use axum::{Router, middleware};
use serde_json::{Map, Value};

use crate::errors::ApiError;
use crate::shared::Shared;
use crate::world::{Caller, Struck};

/// Every path ends in a slash; without it there is nothing (404). No list of purchases or payouts (405), DOC-S.
pub(crate) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let v1 = Router::new()
        .route("/purchases/", post(handlers::create_purchase))
        .route("/purchases/{id}/", get(handlers::get_purchase))
        .route("/purchases/{id}/cancel/", post(handlers::cancel_purchase))
        .route("/purchases/{id}/refund/", post(handlers::refund_purchase))
        .route("/purchases/{id}/capture/", post(handlers::capture_purchase))
        .route("/purchases/{id}/release/", post(handlers::release_purchase))
        .route("/purchases/{id}/mark_as_paid/", post(handlers::mark_as_paid))
        .route("/payouts/", post(handlers::create_payout))
        .route("/payouts/{id}/", get(handlers::get_payout))
        .route("/payments/{id}/", get(handlers::get_payment))
        .route("/payment_methods/", get(handlers::payment_methods))
        .route("/payout_methods/", get(handlers::payout_methods))
        .route("/webhooks/", get(handlers::list_webhooks).post(handlers::create_webhook))
        .route("/webhooks/deliveries/", get(handlers::list_deliveries))
        .route(
            "/webhooks/{id}/",
            get(handlers::get_webhook)
                .put(handlers::put_webhook)
                .patch(handlers::patch_webhook)
                .delete(handlers::delete_webhook),
        )
        .route("/public_key/", get(handlers::public_key))
        .route("/balance/", get(handlers::balance))
        .route("/account/json/balance/", get(handlers::account_balance))
        .route("/company_statements/", get(statements::list).post(statements::create))
        .route("/company_statements/{id}/", get(statements::show))
        .route("/company_statements/{id}/cancel/", post(statements::cancel));
    Router::new()
        .nest("/api/v1", v1)
        .route("/po/{token}/", post(handlers::execute_payout))
        .route("/statements/{id}/", get(statements::file))
        .layer(middleware::from_fn_with_state(Arc::clone(shared), layer::faulty))
}

/// The key decides the mode (DOC-R). The two codes are DOC-R, the shape of the body is that of a 400 (INF). That
/// `execution_url` wants the key too is guessed (?).
impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Caller, ApiError> {
        let refuse = |code: &str, message: &str| {
            let shape = shared.read(|world| world.settings.error_shape);
            Err(ApiError::of(StatusCode::UNAUTHORIZED, code, message).shaped(shape))
        };
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(key) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
            return refuse("missing_authorization", "Authentication credentials were not provided.");
        };
        let is_test = if key == shared.options.test_key {
            true
        } else if key == shared.options.live_key {
            false
        } else {
            return refuse("invalid_token", "Invalid token.");
        };
        // As Django's build_absolute_uri: URLs in answers begin as the caller addressed us.
        let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        let api_origin = host.map_or_else(|| shared.origin.clone(), |host| format!("http://{host}"));
        let page_origin = shared.options.public_url.clone().unwrap_or_else(|| api_origin.clone());
        let struck = parts.extensions.get::<Struck>().copied().unwrap_or_default();
        Ok(Caller { is_test, api_origin, page_origin, struck })
    }
}

/// A JSON object, or nothing at all where everything in it is optional.
pub(crate) struct Payload(pub(crate) Map<String, Value>);

impl FromRequest<Arc<Shared>> for Payload {
    type Rejection = ApiError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Payload, ApiError> {
        let shape = shared.read(|world| world.settings.error_shape);
        let refuse = |status, code: &str, message: &str| Err(ApiError::of(status, code, message).shaped(shape));
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type.is_some_and(|value| value.starts_with("application/json"));
        let Ok(body) = Bytes::from_request(request, shared).await else {
            return refuse(StatusCode::BAD_REQUEST, "parse_error", "The body cannot be read.");
        };
        if body.is_empty() {
            return Ok(Payload(Map::new()));
        }
        if !is_json {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type.");
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) => Ok(Payload(object)),
            Ok(_) => refuse(StatusCode::BAD_REQUEST, "invalid", "Invalid data. Expected a dictionary."),
            Err(error) => refuse(StatusCode::BAD_REQUEST, "parse_error", &format!("JSON parse error - {error}")),
        }
    }
}
