//! `POST /v1/auth/login`, `/refresh`, `/logout`; `GET`, `DELETE /v1/auth/sessions`, `DELETE /v1/auth/sessions/{id}`.
//!
//! The refresh token lives in a cookie that no script can read and that only these paths receive.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Session, SignedIn};
use crate::app::App;
use crate::clock::DateTime;
use crate::error::{Error, Result};
use crate::http::{Caller, Json, Path, Visitor};
use crate::problems::Problems;
use crate::tokens::{ACCESS_SECS, REFRESH_SECS, RefreshToken};
use crate::users::Email;
use crate::users::routes::UserView;

const COOKIE: &str = "refresh_token";
/// The cookie goes to these routes and to no others.
const COOKIE_PATH: &str = "/v1/auth";

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(list, revoke_others))
        .routes(routes!(revoke))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    #[schema(example = "thandi@example.com")]
    email: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
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

#[derive(Serialize, ToSchema)]
struct SessionView {
    id: Uuid,
    /// Whether this very call belongs to it.
    current: bool,
    user_agent: Option<String>,
    address: Option<String>,
    created_at: DateTime,
    expires_at: DateTime,
}

#[derive(Serialize, ToSchema)]
struct SessionList {
    data: Vec<SessionView>,
}

type WithCookie<T> = ([(HeaderName, HeaderValue); 1], T);

/// Sign in
///
/// Answers an access token and sets the refresh token as an HttpOnly cookie.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", security(()), request_body = Credentials,
    responses((status = 200, body = TokenView), Problems))]
async fn login(
    State(app): State<App>,
    visitor: Visitor,
    Json(body): Json<Credentials>,
) -> Result<WithCookie<Json<TokenView>>> {
    let email = Email::parse(&body.email)?;
    let signed_in = super::login(&app, &visitor, &email, body.password).await?;
    Ok(answer(signed_in))
}

/// Renew the access token
///
/// Takes the cookie, answers a new access token and a new cookie. Each refresh token works once; one that is used again
/// ends its session.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", security(("refresh_cookie" = [])),
    responses((status = 200, body = TokenView), Problems))]
async fn refresh(State(app): State<App>, visitor: Visitor, headers: HeaderMap) -> Result<WithCookie<Json<TokenView>>> {
    let token = received(&headers).ok_or(Error::Unauthenticated)?;
    Ok(answer(super::refresh(&app, &visitor, &token).await?))
}

/// Sign out
///
/// Ends the session of the cookie and takes the cookie back. Without a cookie there is nothing to end.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", security((), ("refresh_cookie" = [])),
    responses((status = 204), Problems))]
async fn logout(State(app): State<App>, visitor: Visitor, headers: HeaderMap) -> Result<WithCookie<StatusCode>> {
    if let Some(token) = received(&headers) {
        super::logout(&app, &visitor, &token).await?;
    }
    Ok(([cookie("", 0)], StatusCode::NO_CONTENT))
}

/// My sessions
#[utoipa::path(get, path = "/v1/auth/sessions", tag = "auth", security(("bearer" = [])),
    responses((status = 200, body = SessionList), Problems))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<SessionList>> {
    let sessions = super::list(&app, caller.user_id).await?;
    let data = sessions.into_iter().map(|session| SessionView::of(session, &caller)).collect();
    Ok(Json(SessionList { data }))
}

/// End one of my sessions
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

impl SessionView {
    fn of(session: Session, caller: &Caller) -> Self {
        Self {
            current: session.id == caller.session_id,
            id: session.id,
            user_agent: session.user_agent,
            address: session.address,
            created_at: session.created_at,
            expires_at: session.expires_at,
        }
    }
}

fn answer(signed_in: SignedIn) -> WithCookie<Json<TokenView>> {
    let view = TokenView {
        access_token: signed_in.access_token,
        token_type: "Bearer",
        expires_in: ACCESS_SECS,
        user: signed_in.user.into(),
    };
    ([cookie(signed_in.refresh_token.expose(), REFRESH_SECS)], Json(view))
}

/// `Secure` always: browsers take it from localhost too, and there is no setting to get wrong.
fn cookie(value: &str, max_age_secs: i64) -> (HeaderName, HeaderValue) {
    let text =
        format!("{COOKIE}={value}; Path={COOKIE_PATH}; Max-Age={max_age_secs}; HttpOnly; Secure; SameSite=Strict");
    (header::SET_COOKIE, HeaderValue::from_str(&text).expect("a token is URL-safe base64"))
}

fn received(headers: &HeaderMap) -> Option<RefreshToken> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| RefreshToken::received(value))
}
