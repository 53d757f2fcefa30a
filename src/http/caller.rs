//! Who is calling: [`Caller`], somebody with a valid access token, or [`Visitor`], anybody. Both count against the rate
//! limit of what they do.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use uuid::Uuid;

use crate::app::App;
use crate::error::{Error, Result};
use crate::http::address;
use crate::limits::{Answer, Class};

/// Longer ones are cut: the value is only shown in the list of sessions.
const USER_AGENT_CHARS_MAX: usize = 200;

/// A user with a valid access token.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub role: String,
}

/// Anybody, on the routes that need no token.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub address: String,
    pub user_agent: Option<String>,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let claims = app.tokens.check(bearer(parts)?, app.clock.now()).map_err(|_| Error::Unauthenticated)?;
        let class = if parts.method == Method::GET { Class::Read } else { Class::Money };
        limit(app, class, &claims.sub.to_string()).await?;
        Ok(Self { user_id: claims.sub, session_id: claims.sid, role: claims.role })
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let address = address::of(parts, &app.config.trusted_proxies);
        let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let visitor = Self { address, user_agent: user_agent(parts) };
        limit(app, Class::Auth, &visitor.address).await?;
        Ok(visitor)
    }
}

fn user_agent(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(value.chars().take(USER_AGENT_CHARS_MAX).collect())
}

fn bearer(parts: &Parts) -> Result<&str> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().and_then(|value| value.to_str().ok()).ok_or(Error::Unauthenticated)?;
    let (scheme, token) = value.split_once(' ').ok_or(Error::Unauthenticated)?;
    if values.next().is_none() && scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Error::Unauthenticated)
    }
}

async fn limit(app: &App, class: Class, who: &str) -> Result<()> {
    let answer = app.limiter.check(class, who).await;
    let name = match answer {
        Answer::Allowed => "allowed",
        Answer::Refused { .. } => "refused",
        Answer::Unavailable => "unavailable",
    };
    app.metrics.rate_limit_answers.with_label_values(&[class.name(), name]).inc();
    match answer {
        Answer::Refused { retry_after_secs } => Err(Error::TooMany { retry_after_secs }),
        Answer::Allowed | Answer::Unavailable => Ok(()),
    }
}
