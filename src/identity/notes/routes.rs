//! `GET`, `POST /v1/admin/customers/{id}/notes`.

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Filter, Note};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::platform::http::{Fields, IdempotencyKey, Json, Page, Path, Query, located, page, page_query, replayed};
use crate::platform::permissions::{NotesRead, NotesWrite};
use crate::platform::{error::Result, problems::Problems};

const TEXT_CHARS_MAX: usize = 2_000;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, write))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewNoteBody {
    /// It cannot be changed. The customer is told it on asking for all that we hold.
    #[schema(min_length = 1, max_length = 2000, example = "Called: waits for the refund of order 77, told 3 days")]
    text: String,
}

page_query! { struct NoteQuery {} }

/// Notes on a customer
///
/// Newest first. Needs `notes.read`.
#[utoipa::path(get, path = "/v1/admin/customers/{id}/notes", tag = "staff", security(("bearer" = ["notes.read"])),
    params(("id" = Uuid, Path), NoteQuery),
    responses((status = 200, body = Page<Note>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<NotesRead>,
    Path(id): Path<Uuid>,
    Query(query): Query<NoteQuery>,
) -> Result<Json<Page<Note>>> {
    let mut fields = Fields::of_query();
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let notes = super::list(&app, &Filter { user_id: id, before, limit }).await?;
    Ok(Json(Page::by_id(notes, limit, |note| note.id)))
}

/// Write a note on a customer
///
/// It stays as it is; a correction is another note. Encrypted at rest. With an `Idempotency-Key` a repeat answers the same note. Needs
/// `notes.write`. Audited, without the text.
#[utoipa::path(post, path = "/v1/admin/customers/{id}/notes", tag = "staff", security(("bearer" = ["notes.write"])),
    request_body = NewNoteBody,
    params(("id" = Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters", max_length = 255)),
    responses((status = 201, body = Note), (status = 409, description = "`stale_state`: the customer's data is erased"),
        (status = 422, description = "`idempotency_key_reused`"), Problems))]
async fn write(
    State(app): State<App>,
    staff: Staff<NotesWrite>,
    Path(id): Path<Uuid>,
    key: Option<IdempotencyKey>,
    Json(body): Json<NewNoteBody>,
) -> Result<impl IntoResponse> {
    let mut fields = Fields::default();
    let text = fields.text("text", &body.text, 1..=TEXT_CHARS_MAX);
    fields.finish()?;
    let (note, repeated) = super::write(&app, &staff.member(), id, &text, key).await?;
    let place = located(format_args!("/v1/admin/customers/{id}/notes"));
    Ok((StatusCode::CREATED, place, replayed(repeated), Json(note)))
}
