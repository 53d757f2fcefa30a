//! `POST /v1/auth/register`, `GET /v1/me`.

use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Email, Registration, User, passwords};
use crate::app::App;
use crate::clock::DateTime;
use crate::error::Result;
use crate::http::{Caller, Fields, Json, Visitor};
use crate::problems::Problems;

const NAME_CHARS_MAX: usize = 128;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(me))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    #[schema(example = "thandi@example.com", max_length = 254)]
    email: String,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    password: SecretString,
    #[schema(example = "Thandi Nkosi", min_length = 1, max_length = 128)]
    full_name: String,
}

#[derive(Serialize, ToSchema)]
pub struct UserView {
    pub id: Uuid,
    pub email: String,
    pub full_name: String,
    /// `user`, `support`, `finance` or `admin`.
    pub role: String,
    pub created_at: DateTime,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self { id: user.id, email: user.email, full_name: user.full_name, role: user.role, created_at: user.created_at }
    }
}

impl NewUser {
    fn parse(self) -> Result<Registration> {
        let mut fields = Fields::default();
        let email = fields.take(Email::parse(&self.email));
        fields.take(passwords::check(&self.password));
        let full_name = fields.text("full_name", &self.full_name, 1..=NAME_CHARS_MAX);
        fields.finish()?;
        Ok(Registration {
            email: email.expect("finish refuses a request without it"),
            password: self.password,
            full_name,
        })
    }
}

/// Register
///
/// The e-mail is normalised (trimmed, lower case) and unique.
#[utoipa::path(post, path = "/v1/auth/register", tag = "auth", request_body = NewUser,
    responses((status = 201, body = UserView), (status = 409, description = "`email_taken`", body = crate::error::Problem), Problems))]
async fn register(
    State(app): State<App>,
    _visitor: Visitor,
    Json(body): Json<NewUser>,
) -> Result<(StatusCode, Json<UserView>)> {
    let user = super::register(&app, body.parse()?).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// Who am I
#[utoipa::path(get, path = "/v1/me", tag = "auth", security(("bearer" = [])), responses((status = 200, body = UserView), Problems))]
async fn me(State(app): State<App>, caller: Caller) -> Result<Json<UserView>> {
    Ok(Json(super::find(&app, caller.user_id).await?.into()))
}
