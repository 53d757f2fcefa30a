//! `POST` and `GET /v1/admin/webhook-endpoints`; `GET`, `PATCH` and `DELETE /v1/admin/webhook-endpoints/{id}`; `POST …/rotate-secret`
//! and `…/test`.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderName, StatusCode};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::deliveries::{self, Detail};
use super::events::EventType;
use super::{Described, Endpoint, EndpointChange, NewEndpoint, Rotation};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::error::{Result, Wrong};
use crate::platform::http::{Fields, Json, Page, Path};
use crate::platform::permissions::{WebhookEndpointsManage, WebhookEndpointsRead};
use crate::platform::{clock::DateTime, problems::Problems};

const DESCRIPTION_CHARS_MAX: usize = 200;
/// Hours; the default, and the most: whoever stole a secret has it for so long.
const OVERLAP_HOURS: i64 = 24;
const OVERLAP_HOURS_MAX: i64 = 168;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Described::openapi())
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(change))
        .routes(routes!(delete))
        .routes(routes!(rotate_secret))
        .routes(routes!(test))
        .merge(deliveries::routes::router())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEndpointBody {
    /// https, port 443 or 8443, at a public address; without a user and a fragment.
    url: String,
    #[schema(min_items = 1, max_items = 50, value_type = Vec<EventType>)]
    event_types: Vec<String>,
    #[schema(min_length = 1, max_length = 200, example = "Order service")]
    description: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointChangeBody {
    url: Option<String>,
    #[schema(min_items = 1, max_items = 50, value_type = Option<Vec<EventType>>)]
    event_types: Option<Vec<String>>,
    #[schema(min_length = 1, max_length = 200, example = "Order service")]
    description: Option<String>,
    /// False: nothing is sent, and what waits becomes a dead letter. True: it hears of what happens from now on.
    enabled: Option<bool>,
}

/// The secret is shown this once.
#[derive(Serialize, ToSchema)]
struct EndpointWithSecret {
    #[serde(flatten)]
    endpoint: Endpoint,
    /// Verifies the signatures. Keep it like a password.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateSecretBody {
    /// How long the present secret signs as well. Default 24; 0 when it was stolen.
    #[schema(minimum = 0, maximum = 168, example = 24)]
    overlap_hours: Option<i64>,
}

/// The secret is shown this once.
#[derive(Serialize, ToSchema)]
struct NewSecret {
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    old_secret_until: DateTime,
}

fn event_types(fields: &mut Fields, words: &[String]) -> Vec<EventType> {
    if words.is_empty() || words.len() > 50 {
        fields.wrong("event_types", Wrong::Length(1, 50, "items"));
        return Vec::new();
    }
    let known: BTreeSet<EventType> = words.iter().filter_map(|word| fields.word("event_types", Some(word))).collect();
    known.into_iter().collect()
}

impl NewEndpointBody {
    async fn parse(self, app: &App, id: Uuid) -> Result<NewEndpoint> {
        let mut fields = Fields::default();
        let url = fields.take(super::parse_url(app, &self.url).await);
        let event_types = event_types(&mut fields, &self.event_types);
        let description = self.description.map(|text| fields.text("description", &text, 1..=DESCRIPTION_CHARS_MAX));
        Ok(NewEndpoint { id, url: fields.finish_with(url)?, event_types, description })
    }
}

impl EndpointChangeBody {
    async fn parse(self, app: &App) -> Result<EndpointChange> {
        let mut fields = Fields::default();
        let url = match self.url {
            Some(url) => fields.take(super::parse_url(app, &url).await),
            None => None,
        };
        let event_types = self.event_types.map(|words| event_types(&mut fields, &words));
        let description = self.description.map(|text| fields.text("description", &text, 1..=DESCRIPTION_CHARS_MAX));
        fields.finish()?;
        Ok(EndpointChange { url, event_types, description, enabled: self.enabled })
    }
}

type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// Make an endpoint for webhooks
///
/// It hears of what happens from now on. At most 20. Needs `webhook_endpoints.manage`. Audited.
#[utoipa::path(post, path = "/v1/admin/webhook-endpoints", tag = "staff",
    security(("bearer" = ["webhook_endpoints.manage"])), request_body = NewEndpointBody,
    responses((status = 201, body = EndpointWithSecret),
        (status = 409, description = "`stale_state`: of a repeat, the secret was rotated meanwhile"), Problems))]
async fn create(
    State(app): State<App>,
    staff: Staff<WebhookEndpointsManage>,
    Json(body): Json<NewEndpointBody>,
) -> Result<Created<EndpointWithSecret>> {
    let new = body.parse(&app, staff.new_row(&app)).await?;
    let (endpoint, secret) = super::create(&app, &staff.actor, staff.person(), staff.service_account(), &new).await?;
    let location = format!("/v1/admin/webhook-endpoints/{}", endpoint.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(EndpointWithSecret { endpoint, secret })))
}

/// Endpoints for webhooks
///
/// All of them, the oldest first; a machine's are those that it has made, here and in all that follows. Needs `webhook_endpoints.read`.
#[utoipa::path(get, path = "/v1/admin/webhook-endpoints", tag = "staff", security(("bearer" = ["webhook_endpoints.read"])),
    responses((status = 200, body = Page<Endpoint>), Problems))]
async fn list(State(app): State<App>, staff: Staff<WebhookEndpointsRead>) -> Result<Json<Page<Endpoint>>> {
    Ok(Json(Page::whole(super::list(&app, staff.service_account()).await?)))
}

/// One endpoint for webhooks
///
/// Needs `webhook_endpoints.read`.
#[utoipa::path(get, path = "/v1/admin/webhook-endpoints/{id}", tag = "staff",
    security(("bearer" = ["webhook_endpoints.read"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = Endpoint), Problems))]
async fn show(
    State(app): State<App>,
    staff: Staff<WebhookEndpointsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<Endpoint>> {
    super::require_kept_by(&app, staff.service_account(), id).await?;
    Ok(Json(super::find(&app, id).await?))
}

/// Change an endpoint for webhooks
///
/// What is not given stays. Needs `webhook_endpoints.manage`. Audited.
#[utoipa::path(patch, path = "/v1/admin/webhook-endpoints/{id}", tag = "staff",
    security(("bearer" = ["webhook_endpoints.manage"])), params(("id" = Uuid, Path)), request_body = EndpointChangeBody,
    responses((status = 200, body = Endpoint), Problems))]
async fn change(
    State(app): State<App>,
    staff: Staff<WebhookEndpointsManage>,
    Path(id): Path<Uuid>,
    Json(body): Json<EndpointChangeBody>,
) -> Result<Json<Endpoint>> {
    super::require_kept_by(&app, staff.service_account(), id).await?;
    let change = body.parse(&app).await?;
    Ok(Json(super::change(&app, &staff.actor, id, &change).await?))
}

/// Delete an endpoint for webhooks
///
/// With it goes its delivery log, and what waits for it. Needs `webhook_endpoints.manage`. Audited.
#[utoipa::path(delete, path = "/v1/admin/webhook-endpoints/{id}", tag = "staff",
    security(("bearer" = ["webhook_endpoints.manage"])), params(("id" = Uuid, Path)),
    responses((status = 204), (status = 409, description = "`stale_state`: it was enabled or deleted meanwhile"), Problems))]
async fn delete(
    State(app): State<App>,
    staff: Staff<WebhookEndpointsManage>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    super::require_kept_by(&app, staff.service_account(), id).await?;
    super::delete(&app, &staff.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change an endpoint's secret
///
/// For a while both sign: each message carries two signatures, and one that verifies is enough. Needs `webhook_endpoints.manage`. Audited.
#[utoipa::path(post, path = "/v1/admin/webhook-endpoints/{id}/rotate-secret", tag = "staff",
    security(("bearer" = ["webhook_endpoints.manage"])), params(("id" = Uuid, Path)), request_body = RotateSecretBody,
    responses((status = 200, body = NewSecret),
        (status = 409, description = "`stale_state`: of a repeat, it was rotated again meanwhile"), Problems))]
async fn rotate_secret(
    State(app): State<App>,
    staff: Staff<WebhookEndpointsManage>,
    Path(id): Path<Uuid>,
    Json(body): Json<RotateSecretBody>,
) -> Result<Json<NewSecret>> {
    super::require_kept_by(&app, staff.service_account(), id).await?;
    let overlap = overlap(body.overlap_hours)?;
    let rotation = Rotation { endpoint_id: id, secret_id: staff.new_row(&app), overlap };
    let (secret, old_secret_until) = super::rotate_secret(&app, &staff.actor, rotation).await?;
    Ok(Json(NewSecret { secret, old_secret_until }))
}

fn overlap(hours: Option<i64>) -> Result<TimeDelta> {
    let mut fields = Fields::default();
    let hours = hours.unwrap_or(OVERLAP_HOURS);
    if !(0..=OVERLAP_HOURS_MAX).contains(&hours) {
        fields.wrong("overlap_hours", Wrong::Between(0, OVERLAP_HOURS_MAX));
    }
    fields.finish()?;
    Ok(TimeDelta::hours(hours))
}

/// Send an endpoint a test event
///
/// `webhook.test`; what became of it is in the delivery. Needs `webhook_endpoints.manage`. Audited.
#[utoipa::path(post, path = "/v1/admin/webhook-endpoints/{id}/test", tag = "staff",
    security(("bearer" = ["webhook_endpoints.manage"])), params(("id" = Uuid, Path)),
    responses((status = 202, body = Detail),
        (status = 409, description = "`stale_state`: the endpoint is disabled"), Problems))]
async fn test(
    State(app): State<App>,
    staff: Staff<WebhookEndpointsManage>,
    Path(id): Path<Uuid>,
) -> Result<Created<Detail>> {
    super::require_kept_by(&app, staff.service_account(), id).await?;
    let delivery = staff.new_row(&app);
    super::send_test(&app, &staff.actor, id, delivery).await?;
    let location = format!("/v1/admin/webhook-deliveries/{delivery}");
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(deliveries::find(&app, delivery).await?)))
}
