//! What is asked for: `PATCH /v1/admin/users/{id}`, `POST /v1/admin/users/{id}/unfreeze`, `/reopen`. What waits: `GET
//! /v1/admin/requests`, `GET /v1/admin/requests/{id}`, `POST /v1/admin/requests/{id}/approve`, `/decline`.

use axum::extract::State as AppState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Changed, Filter, Kind, Request, State};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::identity::users::routes::UserView;
use crate::money::approvals::routes::decision_bodies;
use crate::platform::http::{Fields, Json, Page, Path, Query, located, page, page_query};
use crate::platform::permissions::{RequestsDecide, RequestsRead, Role, UsersFreeze, UsersManageRoles};
use crate::platform::{clock::DateTime, error::Result, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(change))
        .routes(routes!(unfreeze))
        .routes(routes!(reopen))
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(decline))
}

/// What one of the staff asks for and another must agree to.
#[derive(Serialize, ToSchema)]
struct RequestView {
    id: Uuid,
    kind: Kind,
    state: State,
    /// Whom it is about.
    user_id: Uuid,
    /// Of a `role`: the one that is asked for, and the one at that time.
    role: Option<Role>,
    role_before: Option<Role>,
    /// The maker.
    requested_by: Uuid,
    /// Over everything that is approved: send it back with the decision.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    request_hash: String,
    created_at: DateTime,
    /// From then on nobody can agree to it.
    expires_at: DateTime,
    /// The checker.
    decided_by: Option<Uuid>,
    decided_at: Option<DateTime>,
    note: Option<String>,
}

impl From<Request> for RequestView {
    fn from(request: Request) -> Self {
        Self {
            request_hash: request.hash().hex(),
            id: request.id,
            kind: request.kind,
            state: request.state,
            user_id: request.user_id,
            role: request.role,
            role_before: request.role_before,
            requested_by: request.requested_by,
            created_at: request.created_at,
            expires_at: request.expires_at,
            decided_by: request.decided_by,
            decided_at: request.decided_at,
            note: request.note,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    #[schema(value_type = Role)]
    role: String,
}

page_query! {
    struct RequestQuery {
        #[param(inline, value_type = Option<State>)]
        state: Option<String>,
    }
}

decision_bodies! {
    ApproveRequestBody { request_hash, note: Option<String> }
    DeclineRequestBody { request_hash, note: String }
}

/// Change a user's role
///
/// A role that may do less than the present one holds from that user's next call. One that may do more is only asked for: somebody else
/// must approve the request. Staff hold no money, so a customer becomes staff only with an empty wallet. Nobody changes an own role. Needs
/// `users.manage_roles`. Audited.
#[utoipa::path(patch, path = "/v1/admin/users/{id}", tag = "staff", security(("bearer" = ["users.manage_roles"])),
    params(("id" = Uuid, Path)), request_body = UserChange,
    responses((status = 200, body = UserView), (status = 202, body = RequestView),
        (status = 409, description = "`account_not_empty`; `last_admin`; `stale_state`: somebody else gave a role at the same time"),
        (status = 422, description = "`account_closed`: who is closed becomes no staff"), Problems))]
async fn change(
    AppState(app): AppState<App>,
    staff: Staff<UsersManageRoles>,
    Path(id): Path<Uuid>,
    Json(body): Json<UserChange>,
) -> Result<Response> {
    let mut fields = Fields::default();
    let role = fields.word("role", Some(&body.role));
    let role = fields.finish_with(role)?;
    Ok(match super::change_role(&app, &staff.member(), id, role).await? {
        Changed::Done(user) => Json(UserView::from(user)).into_response(),
        Changed::Asked(request) => asked(request).into_response(),
    })
}

fn asked(request: Request) -> impl IntoResponse {
    (StatusCode::ACCEPTED, located(format_args!("/v1/admin/requests/{}", request.id)), Json(RequestView::from(request)))
}

/// Ask to unfreeze a customer
///
/// When somebody else has approved the request, payouts that waited go on. Needs `users.freeze`. Audited.
#[utoipa::path(post, path = "/v1/admin/users/{id}/unfreeze", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)),
    responses((status = 202, body = RequestView),
        (status = 409, description = "`stale_state`: another request was decided at the same time"), Problems))]
async fn unfreeze(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse> {
    Ok(asked(super::ask_to_lift(&app, &staff.member(), id, Kind::Unfreeze).await?))
}

/// Ask to reopen a customer's accounts
///
/// Somebody else must approve the request. Needs `users.freeze`. Audited.
#[utoipa::path(post, path = "/v1/admin/users/{id}/reopen", tag = "staff", security(("bearer" = ["users.freeze"])),
    params(("id" = Uuid, Path)),
    responses((status = 202, body = RequestView),
        (status = 409, description = "`stale_state`: another request was decided at the same time, or the person's data is erased"), Problems))]
async fn reopen(
    AppState(app): AppState<App>,
    staff: Staff<UsersFreeze>,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse> {
    Ok(asked(super::ask_to_lift(&app, &staff.member(), id, Kind::Reopen).await?))
}

/// What staff asked for
///
/// Newest first; `state=pending` is what waits for a second person. Needs `requests.read`.
#[utoipa::path(get, path = "/v1/admin/requests", tag = "staff", security(("bearer" = ["requests.read"])),
    params(RequestQuery),
    responses((status = 200, body = Page<RequestView>), Problems))]
async fn list(
    AppState(app): AppState<App>,
    _staff: Staff<RequestsRead>,
    Query(query): Query<RequestQuery>,
) -> Result<Json<Page<RequestView>>> {
    let mut fields = Fields::of_query();
    let state = fields.word("state", query.state.as_deref());
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let page = super::list(&app, &Filter { state, before, limit }).await?;
    Ok(Json(Page::by_id(page, limit, |request| request.id)))
}

/// One request
///
/// Needs `requests.read`.
#[utoipa::path(get, path = "/v1/admin/requests/{id}", tag = "staff", security(("bearer" = ["requests.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = RequestView), Problems))]
async fn show(
    AppState(app): AppState<App>,
    _staff: Staff<RequestsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<RequestView>> {
    Ok(Json(super::find(&app, id).await?.into()))
}

/// Approve a request
///
/// It is done at once. Needs `requests.decide` and the permission that asking for it needs; never its maker nor whom it is about. Audited.
#[utoipa::path(post, path = "/v1/admin/requests/{id}/approve", tag = "staff",
    security(("bearer" = ["requests.decide"])), params(("id" = Uuid, Path)), request_body = ApproveRequestBody,
    responses((status = 200, body = RequestView),
        (status = 403, description = "`forbidden`: also for its maker and whom it is about, with a role younger than 24 hours, and while frozen"),
        (status = 409, description = "`stale_state`: it does not wait any more, is not what was seen, or who asked for it may not any more; `account_not_empty`; `last_admin`"),
        (status = 422, description = "`account_closed`: who is closed becomes no staff"), Problems))]
async fn approve(
    AppState(app): AppState<App>,
    staff: Staff<RequestsDecide>,
    Path(id): Path<Uuid>,
    Json(body): Json<ApproveRequestBody>,
) -> Result<Json<RequestView>> {
    Ok(Json(super::approve(&app, &body.decide(staff)?, id).await?.into()))
}

/// Decline a request
///
/// Nothing happens. Needs `requests.decide` and the permission that asking for it needs; never its maker nor whom it is about. Audited,
/// with the note.
#[utoipa::path(post, path = "/v1/admin/requests/{id}/decline", tag = "staff",
    security(("bearer" = ["requests.decide"])), params(("id" = Uuid, Path)), request_body = DeclineRequestBody,
    responses((status = 200, body = RequestView),
        (status = 403, description = "`forbidden`: also for its maker and whom it is about"),
        (status = 409, description = "`stale_state`: it does not wait any more, or is not what was seen"), Problems))]
async fn decline(
    AppState(app): AppState<App>,
    staff: Staff<RequestsDecide>,
    Path(id): Path<Uuid>,
    Json(body): Json<DeclineRequestBody>,
) -> Result<Json<RequestView>> {
    Ok(Json(super::decline(&app, &body.decide(staff)?, id).await?.into()))
}
