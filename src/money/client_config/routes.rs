//! `GET /v1/config`.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::ClientConfig;
use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::http::{Asked, Download};

/// It changes only with a deployment; a frontend that is open for longer asks again.
const CACHE: &str = "public, max-age=300";

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(config))
}

/// What a frontend must know
///
/// Currencies and their limits, what is switched on, what a password must be, banks to choose from: the same for everybody, to be kept for
/// five minutes. `ETag` and `If-None-Match` spare the body where nothing has changed.
#[utoipa::path(get, path = "/v1/config", tag = "accounts", security(()),
    params(("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = ClientConfig, headers(("ETag" = String))), (status = 304, description = "As it was"),
        (status = 503, description = "`unavailable`")))]
async fn config(State(app): State<App>, asked: Asked) -> Result<Response> {
    let bytes = serde_json::to_vec(&super::client_config(&app)).map_err(Error::internal)?;
    Ok(Download::new("application/json", bytes).only_whole().cached(CACHE).answer(&asked))
}
