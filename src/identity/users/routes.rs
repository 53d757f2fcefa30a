//! `POST /v1/auth/register`; for staff `GET /v1/admin/users`, `GET /v1/admin/users/{id}`.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Email, Filter, Registration, User, passwords};
use crate::app::App;
use crate::identity::caller::Visitor;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Path, Query, located, page, page_query};
use crate::platform::permissions::{Role, UsersRead};
use crate::platform::{clock::DateTime, error::Result, problems::Problems};

pub const NAME_CHARS_MAX: usize = 128;
const EMAIL_PREFIX_CHARS_MAX: usize = 254;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(list)).routes(routes!(show))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    #[schema(example = "thandi@example.com", format = "email", max_length = 254)]
    email: String,
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 128)]
    password: SecretString,
    #[schema(example = "Thandi Nkosi", min_length = 1, max_length = 128)]
    full_name: String,
}

#[derive(Serialize, ToSchema)]
pub struct UserView {
    pub id: Uuid,
    #[schema(example = "thandi@example.com")]
    pub email: String,
    #[schema(example = "Thandi Nkosi")]
    pub full_name: String,
    pub role: Role,
    pub created_at: DateTime,
    /// When the e-mail was verified; null until then.
    pub email_verified_at: Option<DateTime>,
    pub notifications: NotificationsView,
}

/// Of what the person is mailed besides what endangers the account.
#[derive(Serialize, ToSchema)]
pub struct NotificationsView {
    pub deposits: bool,
    pub withdrawals: bool,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            full_name: user.full_name,
            role: user.role,
            created_at: user.created_at,
            email_verified_at: user.email_verified_at,
            notifications: NotificationsView { deposits: user.mail_deposits, withdrawals: user.mail_withdrawals },
        }
    }
}

impl NewUser {
    fn parse(self) -> Result<Registration> {
        let mut fields = Fields::default();
        let email = fields.take(Email::parse(&self.email));
        fields.take(passwords::check("password", &self.password, email.as_ref()));
        let full_name = fields.text("full_name", &self.full_name, 1..=NAME_CHARS_MAX);
        Ok(Registration { email: fields.finish_with(email)?, password: self.password, full_name })
    }
}

/// Register
///
/// The e-mail is normalised (trimmed, lower case). A mail with a link that verifies it follows, unless too many were asked for: then
/// it can be asked for when signed in. The answer is the same where the e-mail has an account: the mail says so, and nothing of the
/// account is changed.
#[utoipa::path(post, path = "/v1/auth/register", tag = "auth", security(()), request_body = NewUser,
    responses((status = 201, body = UserView), Problems))]
async fn register(State(app): State<App>, visitor: Visitor, Json(body): Json<NewUser>) -> Result<impl IntoResponse> {
    let user = super::register(&app, &visitor, body.parse()?).await?;
    Ok((StatusCode::CREATED, located("/v1/me"), Json(UserView::from(user))))
}

page_query! {
    struct ListQuery {
        #[param(max_length = 254)]
        email: Option<String>,
        #[param(inline, value_type = Option<Role>)]
        role: Option<String>,
    }
}

impl ListQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::of_query();
        let (before, limit) = page::range(&mut fields, self.cursor.as_deref(), self.limit);
        let email = self.email.map(|text| fields.search("email", &text, 1..=EMAIL_PREFIX_CHARS_MAX).to_lowercase());
        let role = fields.word::<Role>("role", self.role.as_deref());
        fields.finish()?;
        Ok(Filter { email, role, before, limit })
    }
}

/// Users
///
/// Newest first. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/users", tag = "staff", security(("bearer" = ["users.read"])), params(ListQuery),
    responses((status = 200, body = Page<UserView>), (status = 422, description = "`query_too_broad`"), Problems))]
async fn list(
    State(app): State<App>,
    staff: Staff<UsersRead>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<UserView>>> {
    let filter = query.parse()?;
    Ok(Json(Page::by_id(super::list(&app, staff.user_id, &filter).await?, filter.limit, |user| user.id)))
}

/// One user
///
/// Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/users/{id}", tag = "staff", security(("bearer" = ["users.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = UserView), Problems))]
async fn show(State(app): State<App>, _staff: Staff<UsersRead>, Path(id): Path<Uuid>) -> Result<Json<UserView>> {
    Ok(Json(super::find(&app, id).await?.into()))
}
