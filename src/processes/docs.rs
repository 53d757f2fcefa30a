//! `GET /openapi.json`; `GET /docs` and the files of its page; `GET /problems/{code}` and `GET /reasons/{code}`: all of them in the binary.
//! No part of the contract: they are for people and their tools.

use std::{borrow::Cow, sync::Arc};

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::money::reasons;
use crate::platform::error::{Error, Result, title};
use crate::platform::http::{Download, Path};
use crate::platform::problems::{self, Entry};

const PAGE: &str = include_str!("docs/page.html");
const VERSIONING: &str = include_str!("../../docs/versioning.md");
const START: &str = include_str!("docs/start.js");

/// Scripts, styles and calls of our own only. Swagger UI puts styles on its elements and pictures into its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// They change only with the binary.
const CACHE: &str = "public, max-age=3600";

/// The OpenAPI document, written once, with the path at which the world finds what it tells of. Its tag comes from its bytes, so it is the same in
/// every process of a release.
pub fn document(mut document: Value, public_path: &str) -> Download {
    document["servers"][0]["url"] = format!("{public_path}/").into();
    if let Value::String(text) = &mut document["info"]["description"] {
        *text = text.replace("](/docs/", &format!("]({public_path}/docs/"));
    }
    Download::new("application/json", document.to_string().into_bytes()).cached("no-cache")
}

pub async fn page() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)], PAGE)
}

/// What a problem document's `type` leads to.
pub async fn problem(Path(code): Path<String>) -> Result<Response> {
    let entries: Vec<&Entry> = problems::catalogue().iter().filter(|entry| entry.code == code).collect();
    let code = entries.first().ok_or(Error::NotFound("problem"))?.code;
    let mut content = String::new();
    for entry in entries {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
        let then =
            if entry.then.is_empty() { String::new() } else { format!("<p>What to do: {}</p>\n", escaped(entry.then)) };
        content.push_str(&format!(
            "<h2>{} {}</h2>\n<p>{}</p>\n{then}",
            entry.status,
            title(entry.status),
            escaped(entry.when)
        ));
    }
    Ok(html(code, &content))
}

/// What a transaction's `failure.code` means to its customer.
pub async fn reason(Path(code): Path<String>) -> Result<Response> {
    let text = reasons::for_customers(&code).ok_or(Error::NotFound("reason"))?;
    let repaid = reasons::where_repaid(&code);
    let repaid =
        repaid.map(|text| format!("<p>Where some of it repaid what was owed: {text}</p>\n")).unwrap_or_default();
    // A code of ours by now: nothing in it is to be escaped.
    Ok(html(&code, &format!("<p>{text}</p>\n{repaid}")))
}

fn html(heading: &str, content: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{heading}</title>\n<h1>{heading}</h1>\n{content}\
         <p><a href=\"../docs\">The API</a></p>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, CACHE),
    ];
    (headers, page).into_response()
}

pub async fn file(Path(name): Path<String>) -> Result<impl IntoResponse> {
    let (kind, bytes) = match name.as_str() {
        "start.js" => ("text/javascript; charset=utf-8", Cow::Borrowed(START.as_bytes())),
        "versioning" => ("text/plain; charset=utf-8", Cow::Borrowed(VERSIONING.as_bytes())),
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
