//! `GET`, `PATCH /v1/me`.

use axum::extract::State;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Change, NewName, Profile};
use crate::app::App;
use crate::identity::caller::Caller;
use crate::identity::users::Notifications;
use crate::identity::users::routes::{NAME_CHARS_MAX, UserView};
use crate::money::restrictions::{Kind, Restriction};
use crate::platform::error::{Result, Wrong};
use crate::platform::http::{Fields, Json, json::Object};
use crate::platform::{clock::DateTime, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(me, change_me))
}

#[derive(Serialize, ToSchema)]
struct MeView {
    #[serde(flatten)]
    user: UserView,
    email_verified: bool,
    /// What the role may do besides what everybody may with what is their own; by name, sorted. None of a customer's.
    #[schema(example = json!([]))]
    permissions: Vec<&'static str>,
    /// Whether withdrawals are frozen, in any currency.
    frozen: bool,
    /// What restricts my accounts, oldest first.
    restrictions: Vec<RestrictionOfMine>,
}

/// Why is between the customer and support.
#[derive(Serialize, ToSchema)]
struct RestrictionOfMine {
    #[schema(example = "ZAR")]
    currency: &'static str,
    /// `freeze`: nothing is paid out; `closure`: nothing is paid in or out.
    kind: Kind,
    since: DateTime,
}

impl From<Restriction> for RestrictionOfMine {
    fn from(row: Restriction) -> Self {
        Self { currency: row.currency.code(), kind: row.kind, since: row.created_at }
    }
}

impl From<Profile> for MeView {
    fn from(profile: Profile) -> Self {
        Self {
            email_verified: profile.user.email_verified_at.is_some(),
            permissions: profile.user.role.permissions(),
            frozen: profile.restrictions.iter().any(|row| row.kind == Kind::Freeze),
            restrictions: profile.restrictions.into_iter().map(RestrictionOfMine::from).collect(),
            user: profile.user.into(),
        }
    }
}

/// Who am I
///
/// The profile behind the token, with the role that it has at this moment, what that may, and what restricts my accounts.
#[utoipa::path(get, path = "/v1/me", tag = "auth", security(("bearer" = [])), responses((status = 200, body = MeView), Problems))]
async fn me(State(app): State<App>, caller: Caller) -> Result<Json<MeView>> {
    Ok(Json(super::find(&app, caller.user_id).await?.into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MyChange {
    /// Takes effect at once; I am mailed that it was changed.
    #[schema(example = "Thandi Nkosi-Dube", min_length = 1, max_length = 128)]
    full_name: Option<String>,
    /// The present one; with `full_name`.
    #[schema(value_type = Option<String>, format = Password, example = "correct horse battery staple")]
    password: Option<SecretString>,
    #[schema(value_type = Option<NotificationsChange>)]
    notifications: Option<Object<NotificationsChange>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NotificationsChange {
    /// Whether I am mailed when a deposit is credited.
    deposits: Option<bool>,
    /// Whether I am mailed when a withdrawal is asked for.
    withdrawals: Option<bool>,
}

impl MyChange {
    fn parse(self) -> Result<Change> {
        let mut fields = Fields::default();
        let full_name = self.full_name.map(|name| fields.text("full_name", &name, 1..=NAME_CHARS_MAX));
        if full_name.is_some() && self.password.is_none() {
            fields.say("password", Wrong::Required, "must be given with full_name");
        }
        fields.finish()?;
        let name = full_name.zip(self.password).map(|(full_name, password)| NewName { full_name, password });
        let (deposits, withdrawals) =
            self.notifications.map_or((None, None), |Object(wanted)| (wanted.deposits, wanted.withdrawals));
        Ok(Change { name, notifications: Notifications { deposits, withdrawals } })
    }
}

/// Change my name, and what I am mailed
///
/// What is not named stays. Another name takes the password, and ends nothing; the e-mail is changed by `POST /v1/me/email`. Of a new
/// bank account, a new device, a new password, e-mail, name or second factor everybody is told.
#[utoipa::path(patch, path = "/v1/me", tag = "auth", security(("bearer" = [])), request_body = MyChange,
    responses((status = 200, body = MeView),
        (status = 401, description = "`invalid_credentials`: the password is wrong"),
        (status = 409, description = "`stale_state`"), Problems))]
async fn change_me(State(app): State<App>, caller: Caller, Json(body): Json<MyChange>) -> Result<Json<MeView>> {
    Ok(Json(super::change(&app, &caller, body.parse()?).await?.into()))
}
