//! `GET /v1/config`.

use aws_lc_rs::digest;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::ClientConfig;
use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::problems::Problems;

const TAG_BYTES: usize = 16;
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
    responses((status = 200, body = ClientConfig, headers(("ETag" = String))), (status = 304, description = "As it was"), Problems))]
async fn config(State(app): State<App>, headers: HeaderMap) -> Result<Response> {
    let bytes = serde_json::to_vec(&super::client_config(&app)).map_err(Error::internal)?;
    let hash = digest::digest(&digest::SHA256, &bytes);
    let tag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..TAG_BYTES]));
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(str::trim);
    let is_known = known.any(|value| value == "*" || value.strip_prefix("W/").unwrap_or(value) == tag);
    let headers = [
        (header::ETAG, HeaderValue::try_from(tag).map_err(Error::internal)?),
        (header::CACHE_CONTROL, HeaderValue::from_static(CACHE)),
    ];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response())
}
