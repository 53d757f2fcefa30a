//! `POST /v1/auth/login`, `/refresh`, `/logout`; `GET`, `DELETE /v1/auth/sessions`, `DELETE /v1/auth/sessions/{id}`;
//! `GET /.well-known/jwks.json`.
//!
//! The refresh token lives in a cookie that no script can read and that only these paths receive (`identity/cookies.rs`).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Attempt, Session, SignedIn};
use crate::app::App;
use crate::identity::caller::{AccessToken, Caller, UncountedVisitor};
use crate::identity::cookies::{Cookie, SameSite};
use crate::identity::{totp, users::Email, users::routes::UserView};
use crate::platform::error::Result;
use crate::platform::http::{Fields, Json, Page, Path};
use crate::platform::problems::Problems;
use crate::platform::rate_limits::Class;
use crate::platform::tokens::{Device, REFRESH_SECS, RefreshToken};

const REFRESH_COOKIE: &str = "refresh_token";
const DEVICE_COOKIE: &str = "device";
/// Shorter than a change of keys takes.
const JWKS_CACHE: &str = "public, max-age=300";
/// As long as browsers keep a cookie.
const DEVICE_SECS: i64 = 400 * 24 * 3600;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(list, revoke_others))
        .routes(routes!(revoke))
        .routes(routes!(jwks))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    #[schema(example = "thandi@example.com", format = "email", max_length = 254)]
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
    /// Of staff with a second factor: a code of it, or a recovery code.
    #[schema(value_type = Option<String>, example = "492039", max_length = 40)]
    totp_code: Option<SecretString>,
}

impl Credentials {
    fn attempt(self, devices: Vec<Device>) -> Result<Attempt> {
        let Self { email, password, totp_code } = self;
        let mut fields = Fields::default();
        fields.take(totp::check_form("totp_code", totp_code.as_ref()));
        let email = fields.take(Email::parse(&email));
        Ok(Attempt { email: fields.finish_with(email)?, password, totp_code, devices })
    }
}

#[derive(Serialize, ToSchema)]
struct TokenView {
    /// Send it as `Authorization: Bearer …`.
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds.
    #[schema(example = 900)]
    expires_in: i64,
    user: UserView,
}

type WithCookies<T> = (AppendHeaders<Vec<(HeaderName, HeaderValue)>>, T);

/// Sign in
///
/// Answers an access token and sets the refresh token as an HttpOnly cookie. A second cookie remembers the device: whoever
/// guesses the account's password elsewhere does not slow down a person on a device that it signed in on before.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", security(()), request_body = Credentials,
    responses((status = 200, body = TokenView, headers(("Set-Cookie" = String, description = "`refresh_token` and `device`"))),
        (status = 401, description = "`invalid_credentials`, `totp_required`"),
        (status = 403, description = "`forbidden`: a page of another site made the call"), Problems))]
async fn login(
    State(app): State<App>,
    _same_site: SameSite,
    UncountedVisitor(visitor): UncountedVisitor,
    headers: HeaderMap,
    body: Result<Json<Credentials>>,
) -> Result<WithCookies<Json<TokenView>>> {
    let devices = Cookie::named(&app, DEVICE_COOKIE).received(&headers).into_iter().map(Device::received).collect();
    let attempt = match body.and_then(|Json(credentials)| credentials.attempt(devices)) {
        Ok(attempt) => attempt,
        Err(unreadable) => {
            visitor.quota.count(&app, Class::Auth, &visitor.address).await?;
            return Err(unreadable);
        }
    };
    let (signed_in, device) = super::login(&app, &visitor, attempt).await?;
    let (AppendHeaders(mut cookies), view) = answer(&app, signed_in);
    cookies.push(device_cookie(&app, &device));
    Ok((AppendHeaders(cookies), view))
}

/// Renew the access token
///
/// Takes the cookie, answers a new access token and a new cookie. Each refresh token works once; one that is used again
/// ends its session, unless it was used within the last ten seconds: tabs that refresh at once get the same cookie. One that was
/// answered within the last twenty is answered again.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", security(("refresh_cookie" = [])),
    responses((status = 200, body = TokenView, headers(("Set-Cookie" = String, description = "the next `refresh_token`"))),
        (status = 403, description = "`forbidden`: a page of another site made the call"), Problems))]
async fn refresh(
    State(app): State<App>,
    _same_site: SameSite,
    UncountedVisitor(visitor): UncountedVisitor,
    headers: HeaderMap,
) -> Result<WithCookies<Json<TokenView>>> {
    let signed_in = super::refresh(&app, &visitor, &received(&app, &headers)).await?;
    Ok(answer(&app, signed_in))
}

/// Sign out
///
/// Ends the session of the cookie, and that of the access token where one is sent, and takes the cookie back. Without either there is nothing to
/// end.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", security((), ("refresh_cookie" = []), ("bearer" = [])),
    responses((status = 204, headers(("Set-Cookie" = String, description = "takes `refresh_token` back"))),
        (status = 403, description = "`forbidden`: a page of another site made the call"), Problems))]
async fn logout(
    State(app): State<App>,
    _same_site: SameSite,
    UncountedVisitor(visitor): UncountedVisitor,
    access: AccessToken,
    headers: HeaderMap,
) -> Result<WithCookies<StatusCode>> {
    super::logout(&app, &visitor, &received(&app, &headers), access.0.as_ref()).await?;
    Ok((AppendHeaders(vec![Cookie::named(&app, REFRESH_COOKIE).set("", 0)]), StatusCode::NO_CONTENT))
}

/// My sessions
///
/// One for each sign-in that has not ended, newest first; `current` is the one that this call belongs to.
#[utoipa::path(get, path = "/v1/auth/sessions", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = Page<Session>), Problems))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<Session>>> {
    Ok(Json(Page::first(super::list(&app, &caller).await?, super::LISTED_MAX)))
}

/// End one of my sessions
///
/// Its refresh token is worth nothing any more, and within 10 seconds nor is its access token. One that has ended already is a 404.
#[utoipa::path(delete, path = "/v1/auth/sessions/{id}", tag = "auth", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses((status = 204), Problems))]
async fn revoke(State(app): State<App>, caller: Caller, Path(id): Path<Uuid>) -> Result<StatusCode> {
    super::revoke(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all my other sessions
///
/// The session of this very call goes on.
#[utoipa::path(delete, path = "/v1/auth/sessions", tag = "auth", security(("bearer" = [])),
    responses((status = 204), Problems))]
async fn revoke_others(State(app): State<App>, caller: Caller) -> Result<StatusCode> {
    super::revoke_others(&app, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Public keys
///
/// For whoever checks our access tokens: a JSON Web Key Set (RFC 7517). Look again when a token names a key that is not in it.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", security(()),
    responses((status = 200, body = serde_json::Value), (status = 503, description = "`unavailable`")))]
async fn jwks(State(app): State<App>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, JWKS_CACHE)], Json(app.tokens.jwks()))
}

fn answer(app: &App, signed_in: SignedIn) -> WithCookies<Json<TokenView>> {
    let view = TokenView {
        access_token: signed_in.access_token,
        token_type: "Bearer",
        expires_in: signed_in.access_secs,
        user: signed_in.user.into(),
    };
    let cookie = Cookie::named(app, REFRESH_COOKIE).set(signed_in.refresh_token.expose(), REFRESH_SECS);
    (AppendHeaders(vec![cookie]), Json(view))
}

pub fn device_cookie(app: &App, device: &Device) -> (HeaderName, HeaderValue) {
    Cookie::named(app, DEVICE_COOKIE).set(device.as_str(), DEVICE_SECS)
}

fn received(app: &App, headers: &HeaderMap) -> Vec<RefreshToken> {
    Cookie::named(app, REFRESH_COOKIE).received(headers).into_iter().map(RefreshToken::received).collect()
}
