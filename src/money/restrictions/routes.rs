//! `POST /v1/admin/users/{id}/freeze`, `/close`, `POST /v1/admin/customers/{id}/freeze` (undoing either is in `requests/routes.rs`),
//! `GET /v1/admin/users/{id}/restrictions`, `GET /v1/admin/restrictions`.

use axum::extract::State as AppState;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Filter, Kind, Restriction, State};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, Json, Page, Path, Query, page, page_query};
use crate::platform::permissions::{UsersFreeze, UsersProtect, UsersRead};
use crate::platform::{error::Result, problems::Problems};

const REASON_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(freeze))
        .routes(routes!(protect))
        .routes(routes!(close))
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

page_query! {
    struct RestrictionQuery {
        #[param(value_type = Option<State>, example = "in_force")]
        state: Option<String>,
        /// `true`: only protective freezes that wait for somebody who may lift them; `false`: all others.
        protective: Option<bool>,
    }
}

impl RestrictionQuery {
    fn parse(self) -> Result<Filter> {
        let mut fields = Fields::of_query();
        let state = fields.word("state", self.state.as_deref());
        let (before, limit) = page::range(&mut fields, self.cursor.as_deref(), self.limit);
        fields.finish()?;
        Ok(Filter { state, protective: self.protective, before, limit })
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
/// No withdrawals from now on; deposits are still credited. A payout that is not on its way yet waits. A protective freeze of support's
/// is confirmed by this. Of a customer who is frozen already the reason is kept in `repeats`, and what waits to unfreeze ends. Needs
/// `users.freeze`.
#[utoipa::path(post, path = "/v1/admin/users/{id}/freeze", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = Page<Restriction>), (status = 409, description = "`stale_state`: somebody unfreezes at the same time"),
        (status = 422, description = "`account_closed`"), Problems))]
async fn freeze(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
    Json(body): Json<Reason>,
) -> Result<Json<Page<Restriction>>> {
    Ok(Json(Page::whole(super::impose(&app, &staff.actor, id, Kind::Freeze, &body.parse()?).await?)))
}

/// Freeze a customer for protection
///
/// The same as a freeze, for whoever may not lift one: no withdrawals from now on, until somebody with `users.freeze` has looked and either
/// freezes the customer too, which confirms it, or asks for the end of it. A customer who is frozen already stays so, as by a freeze. One
/// person freezes at most 20 in 24 hours by this. Needs `users.protect`. Audited, and listed under `protective=true` and as an alert until
/// then.
#[utoipa::path(post, path = "/v1/admin/customers/{id}/freeze", tag = "staff", security(("bearer" = ["users.protect"])),
    params(("id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = Page<Restriction>), (status = 409, description = "`stale_state`: somebody unfreezes at the same time"),
        (status = 422, description = "`account_closed`"), Problems))]
async fn protect(
    AppState(app): AppState<App>,
    staff: Staff<UsersProtect>,
    Path(id): Path<Uuid>,
    Json(body): Json<Reason>,
) -> Result<Json<Page<Restriction>>> {
    Ok(Json(Page::whole(super::protect(&app, &staff.actor, id, &body.parse()?).await?)))
}

/// Close a customer's accounts
///
/// Only when they are empty and nothing is under way. No deposits and no withdrawals from now on; the history stays. Needs
/// `users.freeze`. Of staff the role must go first: they are stopped by a freeze, which a closed account takes no more.
#[utoipa::path(post, path = "/v1/admin/users/{id}/close", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)), request_body = Reason,
    responses((status = 200, body = Page<Restriction>), (status = 409, description = "`account_not_empty`; `stale_state`: somebody reopens at the same time"),
        (status = 403, description = "`forbidden`: also for staff"),
        (status = 422, description = "`account_frozen`: unfreeze first"), Problems))]
async fn close(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
    Json(body): Json<Reason>,
) -> Result<Json<Page<Restriction>>> {
    Ok(Json(Page::whole(super::impose(&app, &staff.actor, id, Kind::Closure, &body.parse()?).await?)))
}

/// A customer's restrictions
///
/// Newest first, the lifted ones too. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/users/{id}/restrictions", tag = "staff", security(("bearer" = ["users.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Page<Restriction>), Problems))]
async fn list(
    AppState(app): AppState<App>,
    _staff: Staff<UsersRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<Page<Restriction>>> {
    Ok(Json(Page::whole(super::list(&app, id).await?)))
}

/// Everybody's restrictions
///
/// Newest first. `state=initiated` and `state=lifting` are those that are not at their end. Needs `users.read`.
#[utoipa::path(get, path = "/v1/admin/restrictions", tag = "staff", security(("bearer" = ["users.read"])),
    params(RestrictionQuery),
    responses((status = 200, body = Page<Restriction>), Problems))]
async fn list_all(
    AppState(app): AppState<App>,
    _staff: Staff<UsersRead>,
    Query(query): Query<RestrictionQuery>,
) -> Result<Json<Page<Restriction>>> {
    let filter = query.parse()?;
    Ok(Json(Page::by_id(super::list_all(&app, &filter).await?, filter.limit, |row| row.id)))
}
