//! Cookies, and who may make a browser send them. Both are `HttpOnly`, `Secure`, `SameSite=Strict` and go to `/v1/auth` only, below the path
//! of `PUBLIC_URL` where it has one.
//! [`SameSite`] is the second lock on the routes that they reach: a browser says where a call comes from (`Origin`,
//! `Sec-Fetch-Site`), and what comes from a page of somebody else's is refused, should a browser send the cookie all the same.
//! Other programs send neither header and hold no cookie that anybody could make them send.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::{extract::FromRequestParts, http::request::Parts};

use crate::app::App;
use crate::platform::error::{Error, Reason, Result};

/// The cookies go to these routes and to no others.
const PATH: &str = "/v1/auth";

/// Behind https a cookie of ours has a name that only https can set.
const PREFIX: &str = "__Secure-";
/// Other programs on our host, or on the hosts above it, may have cookies of the same name. More of them are not looked at.
const SAME_NAME_MAX: usize = 8;

/// A cookie of ours, as it is called where the world reaches us.
#[derive(Debug, Clone)]
pub struct Cookie {
    name: String,
    path: String,
}

impl Cookie {
    pub fn named(app: &App, name: &str) -> Self {
        let url = &app.config.public_url;
        let name = if url.starts_with("https://") { format!("{PREFIX}{name}") } else { name.to_owned() };
        Self { name, path: format!("{}{PATH}", app.config.public_path()) }
    }

    /// Every value that came under its name: a browser does not say whose is whose, or sends ours first.
    pub fn received<'a>(&self, headers: &'a HeaderMap) -> Vec<&'a str> {
        let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        // Beside ours there may be others of the site's, in any bytes.
        // A name begins where a browser says: it takes no other white space off, or a page in the clear could set one of ours.
        let pairs = pairs.filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok()?.split_once('='));
        pairs.filter(|(found, _)| *found == self.name).map(|(_, value)| value).take(SAME_NAME_MAX).collect()
    }

    /// `Secure` always: browsers take it from localhost too, and there is no setting to get wrong.
    pub fn set(&self, value: &str, max_age_secs: i64) -> (HeaderName, HeaderValue) {
        let Self { name, path } = self;
        let text = format!("{name}={value}; Path={path}; Max-Age={max_age_secs}; HttpOnly; Secure; SameSite=Strict");
        (header::SET_COOKIE, HeaderValue::from_str(&text).expect("a token is URL-safe base64"))
    }
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
        if origin_is_ours && site_is_ours { Ok(Self) } else { Err(Error::Forbidden(Reason::OtherOrigin)) }
    }
}
