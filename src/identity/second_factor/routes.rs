//! `GET`, `POST /v1/me/totp`, `POST /v1/me/totp/confirm`, `POST /v1/me/totp/disable`, `POST /v1/auth/step-up`,
//! `POST /v1/admin/users/{id}/totp-reset`.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Shown;
use crate::app::App;
use crate::identity::caller::Caller;
use crate::identity::{staff::Staff, totp};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, FieldError, Result, Wrong};
use crate::platform::http::{Json, Path, located};
use crate::platform::{permissions::UsersResetTotp, problems::Problems};

const ONE_OF_THEM: &str = "or password must be given, one of them";

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show, begin))
        .routes(routes!(confirm))
        .routes(routes!(disable))
        .routes(routes!(step_up))
        .routes(routes!(reset))
}

#[derive(Serialize, ToSchema)]
struct TotpView {
    enrolled_at: Option<DateTime>,
    /// Whether somebody else let me enrol it: only that counts for staff.
    vouched: bool,
    #[schema(example = 10)]
    recovery_codes_left: i64,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTotp {
    /// The present one.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// For staff: what another admin, or the operator, gave out.
    #[schema(value_type = Option<String>, max_length = 100)]
    enrolment_token: Option<SecretString>,
}

#[derive(Serialize, ToSchema)]
struct StartedView {
    /// Base32, for typing.
    #[schema(example = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]
    secret: String,
    /// For a QR code.
    #[schema(
        example = "otpauth://totp/Octoco:thandi%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Octoco"
    )]
    otpauth_url: String,
    /// Until then a code must be shown.
    expires_at: DateTime,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FirstCode {
    #[schema(value_type = String, example = "492039", max_length = 40)]
    code: SecretString,
}

#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    /// In the place of a code, each once. They are told this once.
    #[schema(example = json!(["07070-70707-07070-70707"]))]
    recovery_codes: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DisabledTotp {
    /// The present one.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// Or a recovery code.
    #[schema(value_type = String, example = "492039", max_length = 40)]
    totp_code: SecretString,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StepUpBody {
    /// This, or a code.
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
    /// This, or the password; a recovery code, too.
    #[schema(value_type = Option<String>, example = "492039", max_length = 40)]
    totp_code: Option<SecretString>,
}

impl StepUpBody {
    fn parse(self) -> Result<Shown> {
        match (self.password, self.totp_code) {
            (Some(password), None) => Ok(Shown::Password(password)),
            (None, Some(code)) => totp::check_form("totp_code", Some(&code)).map(|()| Shown::Code(code)),
            (None, None) => {
                Err(Error::Invalid(vec![FieldError::new("totp_code", Wrong::Required).saying(ONE_OF_THEM)]))
            }
            (Some(_), Some(_)) => Err(Error::field("totp_code", Wrong::Conflict("password", ONE_OF_THEM))),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct SteppedUpView {
    /// Until then acts that need a step-up may be done.
    valid_until: DateTime,
}

#[derive(Serialize, ToSchema)]
struct ResetView {
    /// What one of staff enrols with, once; null for a customer. Give it to the person by another way than mail: it is told this once.
    enrolment_token: Option<String>,
    expires_at: Option<DateTime>,
}

/// My second factor
///
/// Whether one is enrolled, since when, and how many recovery codes are left; never the secret.
#[utoipa::path(get, path = "/v1/me/totp", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = TotpView), Problems))]
async fn show(State(app): State<App>, caller: Caller) -> Result<Json<TotpView>> {
    let factor = totp::find(&app.db, caller.user_id).await?;
    Ok(Json(TotpView {
        enrolled_at: factor.as_ref().map(|factor| factor.enrolled_at),
        vouched: factor.as_ref().is_some_and(|factor| factor.vouched_by.is_some()),
        recovery_codes_left: factor.map_or(0, |factor| factor.recovery_codes_left),
    }))
}

/// Begin to enrol a second factor
///
/// Answers a secret for an authenticator (RFC 6238: SHA-1, 6 digits, 30 s); `POST /v1/me/totp/confirm` with its first code makes it mine.
/// Customers need the password. Staff need an `enrolment_token` besides, that another admin or the operator gave them.
#[utoipa::path(post, path = "/v1/me/totp", tag = "auth", security(("bearer" = [])), request_body = NewTotp,
    responses((status = 201, body = StartedView),
        (status = 401, description = "`invalid_credentials`: the password is wrong"),
        (status = 403, description = "`forbidden`: staff need an `enrolment_token`"),
        (status = 409, description = "`stale_state`: there is one; disable it, or let an admin reset it"), Problems))]
async fn begin(State(app): State<App>, caller: Caller, Json(body): Json<NewTotp>) -> Result<impl IntoResponse> {
    let started = super::begin(&app, &caller, body.password, body.enrolment_token).await?;
    let view = StartedView {
        secret: started.secret.expose_secret().to_owned(),
        otpauth_url: started.url.expose_secret().to_owned(),
        expires_at: started.expires_at,
    };
    Ok((StatusCode::CREATED, located("/v1/me/totp"), Json(view)))
}

/// Enrol it by its first code
///
/// This session has shown the second factor then.
#[utoipa::path(post, path = "/v1/me/totp/confirm", tag = "auth", security(("bearer" = [])), request_body = FirstCode,
    responses((status = 200, body = RecoveryCodes),
        (status = 401, description = "`invalid_credentials`: the code is wrong"),
        (status = 409, description = "`stale_state`: nothing was begun, or its time is over"), Problems))]
async fn confirm(State(app): State<App>, caller: Caller, Json(body): Json<FirstCode>) -> Result<Json<RecoveryCodes>> {
    totp::check_form("code", Some(&body.code))?;
    let codes = super::confirm(&app, &caller, &body.code).await?;
    let recovery_codes = codes.iter().map(|code| code.expose_secret().to_owned()).collect();
    Ok(Json(RecoveryCodes { recovery_codes }))
}

/// Disable my second factor
///
/// Customers only: of staff another admin resets it.
#[utoipa::path(post, path = "/v1/me/totp/disable", tag = "auth", security(("bearer" = [])), request_body = DisabledTotp,
    responses((status = 204), (status = 401, description = "`invalid_credentials`: the password or the code is wrong"),
        (status = 403, description = "`forbidden`: staff keep theirs"),
        (status = 409, description = "`stale_state`: it was disabled meanwhile"), Problems))]
async fn disable(State(app): State<App>, caller: Caller, Json(body): Json<DisabledTotp>) -> Result<StatusCode> {
    totp::check_form("totp_code", Some(&body.totp_code))?;
    super::disable(&app, &caller, body.password, &body.totp_code).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show the password or a code again
///
/// For 5 minutes acts of staff that need it may be done: approvals, roles, corrections. A sign-in counts as one.
#[utoipa::path(post, path = "/v1/auth/step-up", tag = "auth", security(("bearer" = [])), request_body = StepUpBody,
    responses((status = 200, body = SteppedUpView),
        (status = 401, description = "`invalid_credentials`: the password or the code is wrong"), Problems))]
async fn step_up(State(app): State<App>, caller: Caller, Json(body): Json<StepUpBody>) -> Result<Json<SteppedUpView>> {
    let valid_until = super::step_up(&app, &caller, body.parse()?).await?;
    Ok(Json(SteppedUpView { valid_until }))
}

/// Take somebody's second factor away
///
/// Ends all sessions of that person. One of staff enrols anew with the `enrolment_token`, within 24 hours. Needs `users.reset_totp`, and
/// never one's own. Audited.
#[utoipa::path(post, path = "/v1/admin/users/{id}/totp-reset", tag = "staff", security(("bearer" = ["users.reset_totp"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = ResetView), (status = 403, description = "`forbidden`: also for one's own"),
        (status = 409, description = "`stale_state`: that person's data is erased"), Problems))]
async fn reset(State(app): State<App>, staff: Staff<UsersResetTotp>, Path(id): Path<Uuid>) -> Result<Json<ResetView>> {
    let reset = super::reset(&app, &staff.actor, id).await?;
    let enrolment_token = reset.enrolment_token.map(|token| token.expose_secret().to_owned());
    Ok(Json(ResetView { enrolment_token, expires_at: reset.expires_at }))
}
