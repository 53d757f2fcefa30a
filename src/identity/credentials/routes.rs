//! `POST /v1/auth/password/forgot`, `POST /v1/auth/password/reset`, `POST /v1/auth/password`.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::identity::caller::{Caller, Visitor};
use crate::identity::{cookies::SameSite, sessions::routes::device_cookie, users::Email};
use crate::platform::http::{Json, located};
use crate::platform::{error::Result, problems::Problems, tokens::LinkToken};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(forgot)).routes(routes!(reset)).routes(routes!(change))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ForgottenPassword {
    #[schema(example = "thandi@example.com", format = "email", max_length = 254)]
    email: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordReset {
    /// What follows `#token=` in the link of the mail.
    #[schema(value_type = String)]
    token: SecretString,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    new_password: SecretString,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    new_password: SecretString,
}

/// Ask for a link to set a new password
///
/// The answer and its time are the same whether or not anybody has this e-mail. The link works once, for 30 minutes.
#[utoipa::path(post, path = "/v1/auth/password/forgot", tag = "auth", security(()), request_body = ForgottenPassword,
    responses((status = 202), Problems))]
async fn forgot(
    State(app): State<App>,
    visitor: Visitor,
    Json(body): Json<ForgottenPassword>,
) -> Result<impl IntoResponse> {
    super::forgot(&app, &visitor, &Email::parse(&body.email)?).await?;
    // Where it goes on, with the token of the mail.
    Ok((StatusCode::ACCEPTED, located("/v1/auth/password/reset")))
}

/// Set a new password by the link of a mail
///
/// Ends all sessions of the user; sign in with the new password. A token that does not work (any more) is told as
/// `invalid_request` for the field `token`. A cookie remembers the device, as a sign-in does.
#[utoipa::path(post, path = "/v1/auth/password/reset", tag = "auth", security(()), request_body = PasswordReset,
    responses((status = 204, headers(("Set-Cookie" = String, description = "`device`: remembers this one"))), (status = 403, description = "`forbidden`: a page of another site made the call"), Problems))]
async fn reset(
    State(app): State<App>,
    _same_site: SameSite,
    visitor: Visitor,
    Json(body): Json<PasswordReset>,
) -> Result<(StatusCode, AppendHeaders<[(HeaderName, HeaderValue); 1]>)> {
    let token = LinkToken::received(body.token.expose_secret());
    let device = super::reset(&app, &visitor, token, body.new_password).await?;
    Ok((StatusCode::NO_CONTENT, AppendHeaders([device_cookie(&app, &device)])))
}

/// Change my password
///
/// Ends all my other sessions; the one of this very call goes on. A wrong `current_password` is `invalid_credentials`. Other devices
/// are no longer known; a cookie remembers this one.
#[utoipa::path(post, path = "/v1/auth/password", tag = "auth", security(("bearer" = [])), request_body = PasswordChange,
    responses((status = 204, headers(("Set-Cookie" = String, description = "`device`: remembers this one"))),
        (status = 401, description = "`invalid_credentials`: the present password is wrong"),
        (status = 409, description = "`stale_state`: it was changed meanwhile"), Problems))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<PasswordChange>,
) -> Result<(StatusCode, AppendHeaders<[(HeaderName, HeaderValue); 1]>)> {
    let device = super::change(&app, &caller, body.current_password, body.new_password).await?;
    Ok((StatusCode::NO_CONTENT, AppendHeaders([device_cookie(&app, &device)])))
}
