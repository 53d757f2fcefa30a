//! `POST /v1/auth/verify-email`, `POST /v1/auth/verify-email/resend`.

use axum::{extract::State, http::StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::identity::caller::{AnonymousClient, Caller};
use crate::platform::{error::Result, http::Json, problems::Problems, tokens::LinkToken};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(verify)).routes(routes!(resend))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EmailToken {
    /// What follows `#token=` in the link of the mail.
    #[schema(value_type = String)]
    token: SecretString,
}

/// Verify an e-mail
///
/// With the token of the link that was mailed. It works once, for 24 hours; one that does not work (any more) is told as
/// `invalid_request` for the field `token`.
#[utoipa::path(post, path = "/v1/auth/verify-email", tag = "auth", security(()), request_body = EmailToken,
    responses((status = 204), Problems))]
async fn verify(State(app): State<App>, visitor: AnonymousClient, Json(body): Json<EmailToken>) -> Result<StatusCode> {
    super::verify(&app, &visitor, LinkToken::received(body.token.expose_secret())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send the link that verifies my e-mail again
///
/// Nothing is sent where it is verified already.
#[utoipa::path(post, path = "/v1/auth/verify-email/resend", tag = "auth", security(("bearer" = [])),
    responses((status = 202), Problems))]
async fn resend(State(app): State<App>, caller: Caller) -> Result<StatusCode> {
    super::resend(&app, &caller).await?;
    Ok(StatusCode::ACCEPTED)
}
