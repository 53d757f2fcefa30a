//! Cookies, and who may make a browser send them. Both are `HttpOnly`, `Secure`, `SameSite=Strict` and go to `/v1/auth` only.
//! [`SameSite`] is the second lock on the routes that they reach: a browser says where a call comes from (`Origin`,
//! `Sec-Fetch-Site`), and what comes from a page of somebody else's is refused, should a browser send the cookie all the same.
//! Other programs send neither header and hold no cookie that anybody could make them send.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::{extract::FromRequestParts, http::request::Parts};

use crate::app::App;
use crate::platform::error::{Error, Result};

/// The cookies go to these routes and to no others.
const PATH: &str = "/v1/auth";

pub fn received<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// `Secure` always: browsers take it from localhost too, and there is no setting to get wrong.
pub fn set(name: &str, value: &str, max_age_secs: i64) -> (HeaderName, HeaderValue) {
    let text = format!("{name}={value}; Path={PATH}; Max-Age={max_age_secs}; HttpOnly; Secure; SameSite=Strict");
    (header::SET_COOKIE, HeaderValue::from_str(&text).expect("a token is URL-safe base64"))
}

/// A call that no page of somebody else's made.
#[derive(Debug, Clone, Copy)]
pub struct SameSite;

impl FromRequestParts<App> for SameSite {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
        let origin_is_ours = text("origin").is_none_or(|origin| app.config.knows_origin(origin));
        let site_is_ours = text("sec-fetch-site").is_none_or(|site| site != "cross-site");
        if origin_is_ours && site_is_ours { Ok(Self) } else { Err(Error::Forbidden) }
    }
}
