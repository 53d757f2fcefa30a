//! `GET /healthz` and `GET /readyz`, on the API's port for load balancers too; `GET /metrics`, for operators only.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::{Extension, Router, extract::State, response::IntoResponse, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Looks, Readiness};
use crate::app::App;
use crate::platform::error::Result;
use crate::platform::http::Json;

pub fn router() -> OpenApiRouter<App> {
    let looks = Extension(Arc::<Looks>::default());
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).layer(looks)
}

/// What a process answers at `OPS_ADDR`. No part of the contract.
pub fn for_operators() -> Router<App> {
    Router::from(router()).route("/metrics", get(metrics))
}

/// Alive
///
/// The process answers; nothing else is asked.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok"
}

/// Ready
///
/// Every part was asked, with a deadline of 2 seconds; what was found is told for a second to whoever asks. 503 with the same body: one that
/// money needs does not answer.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "Not ready"),
        (status = 500, description = "`internal`")))]
async fn readyz(State(app): State<App>, Extension(looks): Extension<Arc<Looks>>) -> Result<impl IntoResponse> {
    let readiness = looks.readiness(&app).await?;
    let is_ready = readiness.status == "ready";
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, (!is_ready).then_some([(header::RETRY_AFTER, "2")]), Json(readiness)))
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    app.db.measure("main", &app.metrics);
    app.lists.measure("lists", &app.metrics);
    app.batch_db.in_line().measure("batches", &app.metrics);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}
