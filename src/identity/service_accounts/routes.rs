//! `POST` and `GET /v1/admin/service-accounts`, `GET` and `PATCH /v1/admin/service-accounts/{id}`, `POST …/keys`; `DELETE
//! /v1/admin/service-account-keys/{id}`, `POST …/rotate`.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Account, AccountChange, Key, NewAccount, NewKey, Scope, Wanted};
use crate::app::App;
use crate::identity::service_keys;
use crate::identity::staff::Staff;
use crate::platform::error::{Error, Result, Wrong};
use crate::platform::http::{Fields, Json, Page, Path};
use crate::platform::permissions::{ServiceAccountsManage, ServiceAccountsRead};
use crate::platform::{clock::DateTime, problems::Problems};

const NAME_CHARS_MAX: usize = 64;
const SCOPES_MAX: usize = 50;
/// Days that a key is valid.
const LIFE_DAYS: i64 = 90;
const LIFE_DAYS_MAX: i64 = 365;
/// Hours that the old key goes on beside the new one.
const OVERLAP_HOURS: i64 = 24;
const OVERLAP_HOURS_MAX: i64 = 168;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(change))
        .routes(routes!(add_key))
        .routes(routes!(rotate_key))
        .routes(routes!(revoke_key))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccountBody {
    #[schema(min_length = 1, max_length = 64, example = "Order service")]
    name: String,
    #[schema(min_items = 1, max_items = 50, value_type = Vec<Scope>)]
    scopes: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccountChangeBody {
    #[schema(min_length = 1, max_length = 64, example = "Order service")]
    name: Option<String>,
    #[schema(min_items = 1, max_items = 50, value_type = Option<Vec<Scope>>)]
    scopes: Option<Vec<String>>,
    /// False: none of its keys is valid.
    enabled: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKeyBody {
    /// Default 90.
    #[schema(minimum = 1, maximum = 365, example = 90)]
    expires_in_days: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateKeyBody {
    /// How long the old key is valid besides. Default 24; 0 when it was stolen.
    #[schema(minimum = 0, maximum = 168, example = 24)]
    overlap_hours: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct AccountDetail {
    #[serde(flatten)]
    account: Account,
    /// The newest first, ended ones too.
    keys: Vec<Key>,
}

/// Shown this once.
#[derive(Serialize, ToSchema)]
struct NewServiceKey {
    id: Uuid,
    /// For `Authorization: Bearer`. Keep it like a password.
    #[schema(example = "octoco_sk_ and 72 hexadecimal digits")]
    key: String,
    expires_at: DateTime,
}

impl From<NewKey> for NewServiceKey {
    fn from(new: NewKey) -> Self {
        Self { id: new.id, key: service_keys::shown(&new.key), expires_at: new.expires_at }
    }
}

fn scopes(fields: &mut Fields, words: &[String]) -> Vec<Scope> {
    if words.is_empty() || words.len() > SCOPES_MAX {
        fields.wrong("scopes", Wrong::Length(1, SCOPES_MAX, "items"));
        return Vec::new();
    }
    let known: BTreeSet<Scope> = words.iter().filter_map(|word| fields.word("scopes", Some(word))).collect();
    known.into_iter().collect()
}

fn within(name: &'static str, given: Option<i64>, (default, min, max): (i64, i64, i64)) -> Result<i64> {
    let value = given.unwrap_or(default);
    if (min..=max).contains(&value) { Ok(value) } else { Err(Error::field(name, Wrong::Between(min, max))) }
}

type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// Make a service account
///
/// For a machine that calls routes of staff; its scopes read, or keep webhook endpoints. It needs a key. Needs `service_accounts.manage`.
/// Audited.
#[utoipa::path(post, path = "/v1/admin/service-accounts", tag = "staff",
    security(("bearer" = ["service_accounts.manage"])), request_body = NewAccountBody,
    responses((status = 201, body = Account), Problems))]
async fn create(
    State(app): State<App>,
    staff: Staff<ServiceAccountsManage>,
    Json(body): Json<NewAccountBody>,
) -> Result<Created<Account>> {
    let mut fields = Fields::default();
    let name = fields.text("name", &body.name, 1..=NAME_CHARS_MAX);
    let scopes = scopes(&mut fields, &body.scopes);
    fields.finish()?;
    let account = super::create(&app, &staff.member(), &NewAccount { id: staff.new_row(&app), name, scopes }).await?;
    Ok((StatusCode::CREATED, [(LOCATION, format!("/v1/admin/service-accounts/{}", account.id))], Json(account)))
}

/// Service accounts
///
/// All of them, the oldest first. Needs `service_accounts.read`.
#[utoipa::path(get, path = "/v1/admin/service-accounts", tag = "staff", security(("bearer" = ["service_accounts.read"])),
    responses((status = 200, body = Page<Account>), Problems))]
async fn list(State(app): State<App>, _staff: Staff<ServiceAccountsRead>) -> Result<Json<Page<Account>>> {
    Ok(Json(Page::whole(super::list(&app).await?)))
}

/// One service account
///
/// With its keys, which nobody is shown again. Needs `service_accounts.read`.
#[utoipa::path(get, path = "/v1/admin/service-accounts/{id}", tag = "staff",
    security(("bearer" = ["service_accounts.read"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = AccountDetail), Problems))]
async fn show(
    State(app): State<App>,
    _staff: Staff<ServiceAccountsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<AccountDetail>> {
    let account = super::find(&app, id).await?;
    Ok(Json(AccountDetail { account, keys: super::keys(&app, id).await? }))
}

/// Change a service account
///
/// What is not given stays; what is taken away is gone with the machine's next call. Needs `service_accounts.manage`. Audited.
#[utoipa::path(patch, path = "/v1/admin/service-accounts/{id}", tag = "staff",
    security(("bearer" = ["service_accounts.manage"])), params(("id" = Uuid, Path)), request_body = AccountChangeBody,
    responses((status = 200, body = Account), Problems))]
async fn change(
    State(app): State<App>,
    staff: Staff<ServiceAccountsManage>,
    Path(id): Path<Uuid>,
    Json(body): Json<AccountChangeBody>,
) -> Result<Json<Account>> {
    let mut fields = Fields::default();
    let name = body.name.map(|name| fields.text("name", &name, 1..=NAME_CHARS_MAX));
    let scopes = body.scopes.map(|words| scopes(&mut fields, &words));
    fields.finish()?;
    let change = AccountChange { name, scopes, enabled: body.enabled };
    Ok(Json(super::change(&app, &staff.actor, id, &change).await?))
}

/// Make a key
///
/// Shown this once. At most 10 are valid at once. Needs `service_accounts.manage`. Audited.
#[utoipa::path(post, path = "/v1/admin/service-accounts/{id}/keys", tag = "staff",
    security(("bearer" = ["service_accounts.manage"])), params(("id" = Uuid, Path)), request_body = NewKeyBody,
    responses((status = 201, body = NewServiceKey),
        (status = 409, description = "`stale_state`: of a repeat, the key was used or revoked meanwhile"), Problems))]
async fn add_key(
    State(app): State<App>,
    staff: Staff<ServiceAccountsManage>,
    Path(id): Path<Uuid>,
    Json(body): Json<NewKeyBody>,
) -> Result<Created<NewServiceKey>> {
    let days = within("expires_in_days", body.expires_in_days, (LIFE_DAYS, 1, LIFE_DAYS_MAX))?;
    let new =
        super::add_key(&app, &staff.actor, Wanted { of: id, id: staff.new_row(&app) }, TimeDelta::days(days)).await?;
    Ok((StatusCode::CREATED, [(LOCATION, format!("/v1/admin/service-accounts/{id}"))], Json(new.into())))
}

/// Change a key for a new one
///
/// The new one is shown this once and lives as long as the old one did. Needs `service_accounts.manage`. Audited.
#[utoipa::path(post, path = "/v1/admin/service-account-keys/{id}/rotate", tag = "staff",
    security(("bearer" = ["service_accounts.manage"])), params(("id" = Uuid, Path)), request_body = RotateKeyBody,
    responses((status = 200, body = NewServiceKey),
        (status = 409, description = "`stale_state`: of a repeat, the new key was used or revoked meanwhile"), Problems))]
async fn rotate_key(
    State(app): State<App>,
    staff: Staff<ServiceAccountsManage>,
    Path(id): Path<Uuid>,
    Json(body): Json<RotateKeyBody>,
) -> Result<Json<NewServiceKey>> {
    let hours = within("overlap_hours", body.overlap_hours, (OVERLAP_HOURS, 0, OVERLAP_HOURS_MAX))?;
    let wanted = Wanted { of: id, id: staff.new_row(&app) };
    Ok(Json(super::rotate_key(&app, &staff.actor, wanted, TimeDelta::hours(hours)).await?.into()))
}

/// Revoke a key
///
/// It is worth nothing from the next call on. Needs `service_accounts.manage`. Audited.
#[utoipa::path(delete, path = "/v1/admin/service-account-keys/{id}", tag = "staff",
    security(("bearer" = ["service_accounts.manage"])), params(("id" = Uuid, Path)), responses((status = 204), Problems))]
async fn revoke_key(
    State(app): State<App>,
    staff: Staff<ServiceAccountsManage>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    super::revoke_key(&app, &staff.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
