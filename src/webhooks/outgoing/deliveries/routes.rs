//! `GET /v1/admin/webhook-endpoints/{id}/deliveries`, `POST /v1/admin/webhook-endpoints/{id}/replay`, `GET
//! /v1/admin/webhook-deliveries/{id}`, `POST /v1/admin/webhook-deliveries/{id}/replay`.

use axum::{extract::State as AppState, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Detail, Filter, Row, State};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::error::Result;
use crate::platform::http::{Fields, Json, Page, Path, Query, located, page, page_query};
use crate::platform::permissions::{WebhookEndpointsRead, WebhookEndpointsReplay};
use crate::platform::problems::Problems;
use crate::webhooks::outgoing;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(replay))
        .routes(routes!(replay_since))
}

page_query! {
    struct DeliveryQuery {
        /// `dead` is a dead letter: it waits for a person.
        #[param(inline, value_type = Option<State>)]
        state: Option<String>,
    }
}

/// What an endpoint was told
///
/// The delivery log, newest first, of the last 30 days. Needs `webhook_endpoints.read`.
#[utoipa::path(get, path = "/v1/admin/webhook-endpoints/{id}/deliveries", tag = "staff",
    security(("bearer" = ["webhook_endpoints.read"])), params(("id" = Uuid, Path), DeliveryQuery),
    responses((status = 200, body = Page<Row>), (status = 422, description = "`query_too_broad`"), Problems))]
async fn list(
    AppState(app): AppState<App>,
    staff: Staff<WebhookEndpointsRead>,
    Path(id): Path<Uuid>,
    Query(query): Query<DeliveryQuery>,
) -> Result<Json<Page<Row>>> {
    outgoing::require_kept_by(&app, staff.service_account(), id).await?;
    let mut fields = Fields::of_query();
    let state = fields.word("state", query.state.as_deref());
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let rows = super::list(&app, staff.user_id, id, &Filter { state, before, limit }).await?;
    Ok(Json(Page::by_id(rows, limit, |row| row.id)))
}

/// One delivery
///
/// With what is sent and every attempt. Needs `webhook_endpoints.read`.
#[utoipa::path(get, path = "/v1/admin/webhook-deliveries/{id}", tag = "staff",
    security(("bearer" = ["webhook_endpoints.read"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = Detail), Problems))]
async fn show(
    AppState(app): AppState<App>,
    staff: Staff<WebhookEndpointsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<Detail>> {
    super::require_kept_by(&app, staff.service_account(), id).await?;
    Ok(Json(super::find(&app, id).await?))
}

/// Deliver an event again
///
/// Whether it was delivered or is a dead letter; with the same `webhook-id`. Needs `webhook_endpoints.replay`. Audited.
#[utoipa::path(post, path = "/v1/admin/webhook-deliveries/{id}/replay", tag = "staff",
    security(("bearer" = ["webhook_endpoints.replay"])), params(("id" = Uuid, Path)),
    responses((status = 202, body = Detail), (status = 409, description = "`stale_state`: its endpoint is disabled"), Problems))]
async fn replay(
    AppState(app): AppState<App>,
    staff: Staff<WebhookEndpointsReplay>,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse> {
    super::require_kept_by(&app, staff.service_account(), id).await?;
    let place = located(format_args!("/v1/admin/webhook-deliveries/{id}"));
    Ok((StatusCode::ACCEPTED, place, Json(super::replay(&app, &staff.actor, id).await?)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplaySince {
    /// Dead letters of that time or later: RFC 3339, or a date, which is its first moment in UTC.
    #[schema(example = "2026-03-02T09:00:00Z")]
    since: String,
}

#[derive(Serialize, ToSchema)]
struct ReplayedSince {
    #[schema(minimum = 0)]
    replayed: u64,
    /// Whether there may be more: call again.
    more: bool,
}

/// Deliver an endpoint's dead letters again
///
/// Those since a time, the oldest first, at most 1,000 at once. Needs `webhook_endpoints.replay`. Audited.
#[utoipa::path(post, path = "/v1/admin/webhook-endpoints/{id}/replay", tag = "staff",
    security(("bearer" = ["webhook_endpoints.replay"])), params(("id" = Uuid, Path)), request_body = ReplaySince,
    responses((status = 202, body = ReplayedSince), (status = 409, description = "`stale_state`: the endpoint is disabled"),
        Problems))]
async fn replay_since(
    AppState(app): AppState<App>,
    staff: Staff<WebhookEndpointsReplay>,
    Path(id): Path<Uuid>,
    Json(body): Json<ReplaySince>,
) -> Result<impl IntoResponse> {
    outgoing::require_kept_by(&app, staff.service_account(), id).await?;
    let mut fields = Fields::default();
    let since = fields.moment("since", &body.since);
    let since = fields.finish_with(since)?;
    let (replayed, more) = super::replay_since(&app, &staff.actor, id, since).await?;
    let place = located(format_args!("/v1/admin/webhook-endpoints/{id}/deliveries"));
    Ok((StatusCode::ACCEPTED, place, Json(ReplayedSince { replayed, more })))
}
