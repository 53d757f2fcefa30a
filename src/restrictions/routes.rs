//! `POST /v1/admin/users/{id}/freeze`, `/unfreeze`, `/close`, `/reopen`, `GET /v1/admin/users/{id}/restrictions`.

use axum::extract::State as AppState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Kind, Restriction};
use crate::app::App;
use crate::clock::DateTime;
use crate::error::Result;
use crate::http::{Fields, Json, Path, Staff};
use crate::permissions::{UsersFreeze, UsersRead};
use crate::problems::Problems;

const REASON_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(freeze))
        .routes(routes!(unfreeze))
        .routes(routes!(close))
        .routes(routes!(reopen))
        .routes(routes!(list))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// For the record: no personal data.
    #[schema(min_length = 1, max_length = 500, example = "reported stolen card, case 4711")]
    reason: String,
}

#[derive(Serialize, ToSchema)]
struct RestrictionView {
    id: Uuid,
    /// `freeze` or `closure`.
    #[schema(example = "freeze")]
    kind: &'static str,
    #[schema(example = "ZAR")]
    currency: &'static str,
    /// `initiated`, `in_force`, `lifting` or `lifted`.
    #[schema(example = "in_force")]
    state: &'static str,
    reason: String,
    created_at: DateTime,
    updated_at: DateTime,
}

#[derive(Serialize, ToSchema)]
struct RestrictionList {
    data: Vec<RestrictionView>,
}

impl From<Vec<Restriction>> for RestrictionList {
    fn from(rows: Vec<Restriction>) -> Self {
        let view = |row: Restriction| RestrictionView {
            id: row.id,
            kind: row.kind.name(),
            currency: row.currency.code(),
            state: row.state.name(),
            reason: row.reason,
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Self { data: rows.into_iter().map(view).collect() }
    }
}

impl Reason {
    fn parse(&self) -> Result<String> {
        let mut fields = Fields::default();
        let reason = fields.text("reason", &self.reason, 1..=REASON_CHARS_MAX);
        fields.finish()?;
        Ok(reason)
    }
}

/// Freeze a customer
///
/// No withdrawals from now on; deposits are still credited. A payout that is not on its way yet waits. Needs `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/freeze", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = RestrictionList), Problems))]
async fn freeze(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
    Json(body): Json<Reason>,
) -> Result<Json<RestrictionList>> {
    Ok(Json(super::impose(&app, &staff.actor, id, Kind::Freeze, &body.parse()?).await?.into()))
}

/// Unfreeze a customer
///
/// Payouts that waited go on. Needs `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/unfreeze", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = RestrictionList), Problems))]
async fn unfreeze(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
) -> Result<Json<RestrictionList>> {
    Ok(Json(super::lift(&app, &staff.actor, id, Kind::Freeze).await?.into()))
}

/// Close a customer's accounts
///
/// Only when they are empty and nothing is under way. No deposits and no withdrawals from now on; the history stays. Needs
/// `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/close", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = RestrictionList), (status = 409, description = "`account_not_empty`"), Problems))]
async fn close(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
    Json(body): Json<Reason>,
) -> Result<Json<RestrictionList>> {
    Ok(Json(super::impose(&app, &staff.actor, id, Kind::Closure, &body.parse()?).await?.into()))
}

/// Reopen a customer's accounts
///
/// Needs `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/reopen", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = RestrictionList), Problems))]
async fn reopen(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
) -> Result<Json<RestrictionList>> {
    Ok(Json(super::lift(&app, &staff.actor, id, Kind::Closure).await?.into()))
}

/// A customer's restrictions
///
/// Newest first, the lifted ones too. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/users/{id}/restrictions", tag = "staff", security(("bearer" = ["users.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = RestrictionList), Problems))]
async fn list(
    AppState(app): AppState<App>,
    _staff: Staff<UsersRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<RestrictionList>> {
    Ok(Json(super::list(&app, id).await?.into()))
}
