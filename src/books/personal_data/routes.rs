//! `GET /v1/admin/users/{id}/data-export`, `POST /v1/admin/users/{id}/erase`.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Erasure, PersonalData};
use crate::app::App;
use crate::books::files;
use crate::identity::staff::Staff;
use crate::platform::error::Result;
use crate::platform::http::download::{streamed, unchanged};
use crate::platform::http::{Asked, Fields, Json, Path, located};
use crate::platform::permissions::{UsersErase, UsersExportData};
use crate::platform::problems::Problems;
use crate::platform::slow_reads;

const NOTE_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(data_export)).routes(routes!(erase))
}

/// All that is held about a customer
///
/// For the customer, who asked for it: every row, bank details and the provider's words in the clear. Needs `users.export_data` and, though
/// nothing is changed, a step-up. It is sent while it is read, `webhooks` last: a document that does not end broke off. Audited.
#[utoipa::path(get, path = "/v1/admin/users/{id}/data-export", tag = "staff", security(("bearer" = ["users.export_data"])),
    params(("id" = Uuid, Path), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, body = PersonalData, headers(("ETag" = String), ("Content-Disposition" = String))), (status = 304),
        (status = 403, description = "`forbidden`, `totp_required`, `step_up_required`"), Problems))]
async fn data_export(
    State(app): State<App>,
    staff: Staff<UsersExportData>,
    Path(id): Path<Uuid>,
    asked: Asked,
) -> Result<Response> {
    // More than looking: what leaves us is all in the clear.
    staff.require_step_up()?;
    let _turn = app.slow_reads.turn(staff.user_id, slow_reads::WAIT).await?;
    let document = super::export(&app, &staff.actor, id).await?;
    if asked.knows(&document.tag) {
        return Ok(unchanged(&document.tag));
    }
    let body = Body::from_stream(files::sent(app, (&staff).into(), document.about.into(), document.rest));
    Ok(streamed("application/json", &format!("personal-data-{id}.json"), Some(&document.tag), body))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ErasureBody {
    /// For the audit log. No personal data.
    #[schema(min_length = 1, max_length = 500, example = "asked for in ticket 4711")]
    note: String,
}

/// Erase a customer's personal data
///
/// Only of a customer whose accounts are closed, who owes nothing and of whom nothing is open. The first call asks for it (202); a call by
/// another member of staff within 7 days does it (200), if who asked still may and who does it has had the role for 24 hours. Name, e-mail,
/// bank details, mails, devices, the provider's words and what webhooks of ours told go; transactions and the ledger keep their ids. It
/// cannot be undone. Needs `users.erase`. Audited.
#[utoipa::path(post, path = "/v1/admin/users/{id}/erase", tag = "staff", security(("bearer" = ["users.erase"])),
    params(("id" = Uuid, Path)), request_body = ErasureBody,
    responses((status = 200, body = Erasure), (status = 202, body = Erasure, description = "It waits for a second person"),
        (status = 403, description = "`forbidden`: also for staff, with a role younger than 24 hours where somebody else has asked, and while frozen"),
        (status = 409, description = "`account_not_closed`; `account_not_empty`; `stale_state`"), Problems))]
async fn erase(
    State(app): State<App>,
    staff: Staff<UsersErase>,
    Path(id): Path<Uuid>,
    Json(body): Json<ErasureBody>,
) -> Result<Response> {
    let mut fields = Fields::default();
    let note = fields.text("note", &body.note, 1..=NOTE_CHARS_MAX);
    fields.finish()?;
    let done = super::erase(&app, &staff.member(), id, &note).await?;
    if done.erased {
        return Ok(Json(done.erasure).into_response());
    }
    Ok((StatusCode::ACCEPTED, located(format_args!("/v1/admin/users/{id}")), Json(done.erasure)).into_response())
}
