//! A caller who may move money: where `REQUIRE_VERIFIED_EMAIL` says so, only somebody whose e-mail is verified.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::App;
use crate::identity::caller::Caller;
use crate::platform::error::{Error, Result};

/// `Verified(caller): Verified` in a handler's signature.
#[derive(Debug, Clone)]
pub struct Verified(pub Caller);

impl FromRequestParts<App> for Verified {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let caller = Caller::from_request_parts(parts, app).await?;
        if app.config.mail.require_verified_email && !app.access.has_verified_email(caller.user_id).await? {
            return Err(Error::EmailNotVerified);
        }
        Ok(Self(caller))
    }
}
