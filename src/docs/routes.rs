//! `GET /docs` and the files of its page. No part of the contract: they are for people.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Path;
use axum::http::header;
use axum::response::IntoResponse;

use crate::error::{Error, Result};

const PAGE: &str = include_str!("page.html");
const START: &str = include_str!("start.js");

/// Scripts, styles and calls of our own only. Swagger UI puts styles on its elements and pictures into its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// They change only with the binary.
const CACHE: &str = "public, max-age=3600";

/// The page.
pub async fn page() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)], PAGE)
}

/// One of the files that the page names.
///
/// # Errors
/// [`Error::NotFound`] for any other.
pub async fn file(Path(name): Path<String>) -> Result<impl IntoResponse> {
    let (kind, bytes) = match name.as_str() {
        "start.js" => ("text/javascript; charset=utf-8", Cow::Borrowed(START.as_bytes())),
        "swagger-ui-bundle.js" => ("text/javascript; charset=utf-8", swagger_ui(&name)?),
        "swagger-ui.css" => ("text/css; charset=utf-8", swagger_ui(&name)?),
        _ => return Err(Error::NotFound("path")),
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, CACHE)], bytes))
}

fn swagger_ui(name: &str) -> Result<Cow<'static, [u8]>> {
    let file = utoipa_swagger_ui::serve(name, Arc::default()).map_err(|error| Error::internal(error.to_string()))?;
    Ok(file.ok_or(Error::NotFound("path"))?.bytes)
}
