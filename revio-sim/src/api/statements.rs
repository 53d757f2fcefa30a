//! The handlers of company statements, and of their files. Routed by `api.rs`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::Payload;
use super::handlers::{page, parse_id};
use crate::errors::ApiError;
use crate::shared::Shared;
use crate::statements::Filter;
use crate::world::Caller;

type Shr = State<Arc<Shared>>;

pub(super) async fn create(
    State(shared): Shr,
    caller: Caller,
    Query(filter): Query<Filter>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let view = shared.serve(|world| world.create_statement(&caller, &body, filter))?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn list(State(shared): Shr, caller: Caller) -> Json<Value> {
    Json(page(shared.read(|world| world.statement_views(caller.is_test))))
}

pub(super) async fn show(State(shared): Shr, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let id = parse_id(&id)?;
    shared.serve(|world| world.look_at_statement(id, caller.is_test).ok_or_else(ApiError::not_found)).map(Json)
}

pub(super) async fn cancel(
    State(shared): Shr,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = parse_id(&id)?;
    shared.serve(|world| world.cancel_statement(id, caller.is_test)).map(Json)
}

/// Whether the real one wants the key is unknown (?).
pub(super) async fn file(State(shared): Shr, Path(id): Path<String>, request: Request) -> Result<Response, ApiError> {
    let id = parse_id(&id)?;
    if shared.read(|world| world.settings.statements.needs_key) {
        let (mut parts, _) = request.into_parts();
        Caller::from_request_parts(&mut parts, &shared).await?;
    }
    let file = shared.show(|world| world.download(id).ok_or_else(ApiError::not_found))?;
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], file).into_response())
}
