//! `POST /v1/admin/users/{id}/freeze`, `/unfreeze`, `/close`, `/reopen`, `GET /v1/admin/users/{id}/restrictions`,
//! `GET /v1/admin/restrictions`.

use axum::extract::State as AppState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Filter, Kind, Restriction, State};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Path, Query, page};
use crate::platform::permissions::{UsersFreeze, UsersRead};
use crate::platform::{clock::DateTime, error::Result, problems::Problems};

const REASON_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(freeze))
        .routes(routes!(unfreeze))
        .routes(routes!(close))
        .routes(routes!(reopen))
        .routes(routes!(list))
        .routes(routes!(list_all))
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
    user_id: Uuid,
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RestrictionQuery {
    /// `initiated`, `in_force`, `lifting` or `lifted`.
    #[param(example = "in_force", pattern = "^(initiated|in_force|lifting|lifted)$")]
    state: Option<String>,
    /// `page.next_cursor` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

impl From<Restriction> for RestrictionView {
    fn from(row: Restriction) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            kind: row.kind.name(),
            currency: row.currency.code(),
            state: row.state.name(),
            reason: row.reason,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl RestrictionQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::default();
        let state = self.state.map(|name| State::parse(&name).ok_or("must be initiated, in_force, lifting or lifted"));
        let state = state.transpose().map_err(|message| fields.wrong("state", message)).ok().flatten();
        let (before, limit) = page::range(&mut fields, self.cursor.as_deref(), self.limit);
        fields.finish()?;
        Ok(Filter { state: state.map(State::name), before, limit })
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
    responses((status = 200, body = Page<RestrictionView>), (status = 409, description = "`stale_state`: somebody unfreezes at the same time"),
        (status = 422, description = "`account_closed`"), Problems))]
async fn freeze(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
    Json(body): Json<Reason>,
) -> Result<Json<Page<RestrictionView>>> {
    Ok(Json(Page::whole(super::impose(&app, &staff.actor, id, Kind::Freeze, &body.parse()?).await?)))
}

/// Unfreeze a customer
///
/// Payouts that waited go on. Needs `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/unfreeze", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Page<RestrictionView>), Problems))]
async fn unfreeze(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
) -> Result<Json<Page<RestrictionView>>> {
    Ok(Json(Page::whole(super::lift(&app, &staff.actor, id, Kind::Freeze).await?)))
}

/// Close a customer's accounts
///
/// Only when they are empty and nothing is under way. No deposits and no withdrawals from now on; the history stays. Needs
/// `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/close", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = Page<RestrictionView>), (status = 409, description = "`account_not_empty`; `stale_state`: somebody reopens at the same time"),
        (status = 422, description = "`account_frozen`: unfreeze first"), Problems))]
async fn close(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
    Json(body): Json<Reason>,
) -> Result<Json<Page<RestrictionView>>> {
    Ok(Json(Page::whole(super::impose(&app, &staff.actor, id, Kind::Closure, &body.parse()?).await?)))
}

/// Reopen a customer's accounts
///
/// Needs `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/reopen", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Page<RestrictionView>), Problems))]
async fn reopen(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
) -> Result<Json<Page<RestrictionView>>> {
    Ok(Json(Page::whole(super::lift(&app, &staff.actor, id, Kind::Closure).await?)))
}

/// A customer's restrictions
///
/// Newest first, the lifted ones too. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/users/{id}/restrictions", tag = "staff", security(("bearer" = ["users.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Page<RestrictionView>), Problems))]
async fn list(
    AppState(app): AppState<App>,
    _staff: Staff<UsersRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<Page<RestrictionView>>> {
    Ok(Json(Page::whole(super::list(&app, id).await?)))
}

/// Everybody's restrictions
///
/// Newest first. `state=initiated` and `state=lifting` are those that are not at their end. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/restrictions", tag = "staff", security(("bearer" = ["users.read"])),
    params(RestrictionQuery),
    responses((status = 200, body = Page<RestrictionView>), Problems))]
async fn list_all(
    AppState(app): AppState<App>,
    _staff: Staff<UsersRead>,
    Query(query): Query<RestrictionQuery>,
) -> Result<Json<Page<RestrictionView>>> {
    let filter = query.parse()?;
    Ok(Json(Page::by_id(super::list_all(&app, &filter).await?, filter.limit, |row| row.id)))
}
