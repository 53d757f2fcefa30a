//! Every route and every layer, in order.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::error::Error;
use crate::http::json::BODY_BYTES_MAX;
use crate::http::{Json, access_log};
use crate::{
    accounts, admin, bank_accounts, contract, deposits, docs, health, held, inbox, restrictions, sessions,
    transactions, users, withdrawals,
};

/// The whole of a request, its body included: whoever sends more slowly is not waited for, and a part that hangs is told as
/// such. A row that was written by then goes on by itself.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(contract::base())
        .merge(users::routes::router())
        .merge(sessions::routes::router())
        .merge(accounts::routes::router())
        .merge(bank_accounts::routes::router())
        .merge(deposits::routes::router())
        .merge(withdrawals::routes::router())
        .merge(transactions::routes::router())
        .merge(inbox::routes::router())
        .merge(inbox::staff::routes::router())
        .merge(held::routes::router())
        .merge(restrictions::routes::router())
        .merge(admin::routes::router())
        .merge(health::routes::router())
        .split_for_parts()
}

/// The contract, generated from the code.
#[must_use]
pub fn openapi() -> Value {
    contract::complete(&routes().1)
}

/// The whole API.
pub fn router(app: App) -> Router {
    let (routes, document) = routes();
    let document = contract::complete(&document);
    let fixed = |name: &'static str, value: &'static str| {
        SetResponseHeaderLayer::overriding(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    routes
        .route("/openapi.json", get(move || async move { Json(document) }))
        .route("/docs", get(docs::routes::page))
        .route("/docs/{file}", get(docs::routes::file))
        .fallback(async || Error::NotFound("path"))
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(
            // From the outside in.
            ServiceBuilder::new()
                .layer(from_fn_with_state(app.clone(), access_log::record))
                .layer(fixed("x-content-type-options", "nosniff"))
                .layer(SetResponseHeaderLayer::if_not_present(
                    header::CACHE_CONTROL,
                    HeaderValue::from_static("no-store"),
                ))
                .layer(CatchPanicLayer::custom(panicked))
                .layer(from_fn(deadline))
                .layer(DefaultBodyLimit::max(BODY_BYTES_MAX)),
        )
        .with_state(app)
}

/// A mistake of ours: told as such, with its message only in the log.
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic.downcast_ref::<String>().cloned();
    let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Error::internal(format!("panic: {}", message.unwrap_or_default())).into_response()
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(elapsed) => Error::unavailable(elapsed).into_response(),
    }
}
