//! Who is calling: [`Caller`], somebody with a valid access token, or [`Visitor`], anybody. Both count against the rate
//! limit of what they do. Whoever moves money asks for [`Caller::require_verified_email`] besides.

use std::convert::Infallible;

use axum::http::header;
use axum::{extract::FromRequestParts, http::request::Parts};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{Actor, Origin};
use crate::identity::quota::Quota;
use crate::platform::error::{Error, Result};
use crate::platform::http::{RequestId, Waits, address};
use crate::platform::{rate_limits::Class, tokens::Claims, waiting::Tenure};

/// Longer ones are cut: the value is only shown in the list of sessions.
const USER_AGENT_CHARS_MAX: usize = 200;

/// A user with a valid access token of a session that was not ended. What staff may do is not decided here but by
/// [`crate::identity::staff::Staff`]: the token's role may have been taken away.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub origin: Origin,
    pub quota: Quota,
}

/// Anybody, on the routes that need no token; counted by address.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub address: String,
    pub user_agent: Option<String>,
    pub origin: Origin,
    pub quota: Quota,
}

/// The same, not counted yet: signing in counts by what is known of the device.
#[derive(Debug, Clone)]
pub struct UncountedVisitor(pub Visitor);

/// A caller who may wait for news: who it is and until when, and how it is said that the wait has begun.
pub struct Waiter {
    pub tenure: Tenure,
    pub waits: Waits,
}

impl FromRequestParts<App> for Waiter {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        // What is done before the wait and after it is given back to the system meanwhile: there are thousands of these.
        let caller = Box::pin(Caller::from_request_parts(parts, app)).await?;
        // The token says when it ends.
        let claims = parts.extensions.get::<Claims>().cloned().or_else(|| claims(parts, app).ok());
        let tenure = Tenure::new(caller.user_id, caller.session_id, claims.as_ref());
        Ok(Self { tenure, waits: parts.extensions.get::<Waits>().cloned().unwrap_or_default() })
    }
}

impl Caller {
    pub fn actor(&self) -> Actor {
        Actor::user(self.user_id, None, self.origin.clone())
    }

    /// Asked behind a look for a repeat: what was accepted once stays so.
    ///
    /// # Errors
    /// [`Error::EmailNotVerified`] where `REQUIRE_VERIFIED_EMAIL` is set.
    pub async fn require_verified_email(&self, app: &App) -> Result<()> {
        if app.config.mail.require_verified_email && !app.access.has_verified_email(self.user_id).await? {
            return Err(Error::EmailNotVerified);
        }
        Ok(())
    }
}

/// The user of a valid token, which is checked once: it stays with the request. Whether the session has ended is not asked yet.
pub fn known(app: &App, parts: &mut Parts) -> Option<Uuid> {
    let claims = claims(parts, app).ok()?;
    let user = claims.sub;
    parts.extensions.insert(claims);
    Some(user)
}

/// What a valid access token says, where one is sent. Whether its session has ended is not asked.
pub struct AccessToken(pub Option<Claims>);

impl FromRequestParts<App> for AccessToken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self(claims(parts, app).ok()))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let now = app.clock.now();
        let claims = match parts.extensions.get::<Claims>() {
            Some(claims) => claims.clone(),
            None => claims(parts, app)?,
        };
        if app.access.has_ended(claims.sid, now).await? {
            return Err(Error::Unauthenticated);
        }
        let quota = Quota::of(parts);
        quota.count_call(app, &parts.method, &claims.sub.to_string()).await?;
        Ok(Self { user_id: claims.sub, session_id: claims.sid, origin: origin(app, parts), quota })
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let UncountedVisitor(visitor) = UncountedVisitor::from_request_parts(parts, app).await?;
        visitor.quota.count(app, Class::Auth, &visitor.address).await?;
        Ok(visitor)
    }
}

impl FromRequestParts<App> for UncountedVisitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let (address, origin) = (address_of(app, parts), origin(app, parts));
        Ok(Self(Visitor { address, user_agent: user_agent(parts), origin, quota: Quota::of(parts) }))
    }
}

/// Where the call comes from, as it is shown and limited.
fn address_of(app: &App, parts: &Parts) -> String {
    let address = address::of(parts, &app.config.proxies);
    address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

/// What the audit log says of where a request came from.
pub fn origin(app: &App, parts: &Parts) -> Origin {
    let request_id = parts.extensions.get::<RequestId>().map(|RequestId(id)| id.clone());
    Origin { request_id, address: Some(address_of(app, parts)) }
}

fn user_agent(parts: &Parts) -> Option<String> {
    let value = parts.headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(value.chars().take(USER_AGENT_CHARS_MAX).collect())
}

fn claims(parts: &Parts, app: &App) -> Result<Claims> {
    app.tokens.check(bearer(parts)?, app.clock.now()).map_err(|_| Error::Unauthenticated)
}

pub fn bearer(parts: &Parts) -> Result<&str> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().and_then(|value| value.to_str().ok()).ok_or(Error::Unauthenticated)?;
    let (scheme, token) = value.split_once(' ').ok_or(Error::Unauthenticated)?;
    if values.next().is_none() && scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Error::Unauthenticated)
    }
}
