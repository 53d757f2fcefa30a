//! `POST /v1/auth/verify-email`, `POST /v1/auth/verify-email/resend`, `POST /v1/me/email`.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::identity::caller::{Caller, Visitor};
use crate::identity::users::Email;
use crate::platform::http::{Json, located};
use crate::platform::{error::Result, problems::Problems, tokens::LinkToken};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(verify)).routes(routes!(resend)).routes(routes!(change))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EmailToken {
    /// What follows `#token=` in the link of the mail.
    #[schema(value_type = String)]
    token: SecretString,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEmail {
    #[schema(example = "thandi.nkosi@example.com", format = "email", max_length = 254)]
    new_email: String,
    /// The present one.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Verify an e-mail
///
/// With the token of the link that was mailed, after a registration or a change of the e-mail, which is done by this. It works
/// once, for 24 hours; one that does not work (any more) is told as `invalid_request` for the field `token`.
#[utoipa::path(post, path = "/v1/auth/verify-email", tag = "auth", security(()), request_body = EmailToken,
    responses((status = 204), Problems))]
async fn verify(State(app): State<App>, visitor: Visitor, Json(body): Json<EmailToken>) -> Result<StatusCode> {
    super::verify(&app, &visitor, LinkToken::received(body.token.expose_secret())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Send the link that verifies my e-mail again
///
/// Nothing is sent where it is verified already.
#[utoipa::path(post, path = "/v1/auth/verify-email/resend", tag = "auth", security(("bearer" = [])),
    responses((status = 202), Problems))]
async fn resend(State(app): State<App>, caller: Caller) -> Result<impl IntoResponse> {
    super::resend(&app, &caller).await?;
    Ok((StatusCode::ACCEPTED, located("/v1/me")))
}

/// Change my e-mail
///
/// A mail with a link goes to the new address: the e-mail is changed by `POST /v1/auth/verify-email` with its token, for 24 hours.
/// Then the old address is told, and all my sessions but this one end. The answer is the same where somebody has the new address.
#[utoipa::path(post, path = "/v1/me/email", tag = "auth", security(("bearer" = [])), request_body = NewEmail,
    responses((status = 202), (status = 401, description = "`invalid_credentials`: the password is wrong"), Problems))]
async fn change(State(app): State<App>, caller: Caller, Json(body): Json<NewEmail>) -> Result<impl IntoResponse> {
    let new = Email::of_field("new_email", &body.new_email)?;
    super::change(&app, &caller, &new, body.password).await?;
    Ok((StatusCode::ACCEPTED, located("/v1/me")))
}
