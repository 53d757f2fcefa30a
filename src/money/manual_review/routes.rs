//! `GET /v1/admin/held`, `POST /v1/admin/held/{id}/resolve`.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Resolution;
use crate::app::App;
use crate::identity::staff::Staff;
use crate::money::transactions::{self, Kind, Transaction};
use crate::money::{approvals::routes::parse_note, transactions::routes::TransactionView};
use crate::platform::http::{Fields, Json, Page, Path, Query, page};
use crate::platform::permissions::{HeldRead, HeldResolve};
use crate::platform::{error::Result, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(resolve))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HeldQuery {
    #[param(inline, value_type = Option<Kind>)]
    kind: Option<String>,
    /// `page.next_cursor` of the page before.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

#[derive(Serialize, ToSchema)]
struct HeldView {
    #[serde(flatten)]
    transaction: TransactionView,
    user_id: Uuid,
    /// Revio's purchase or payout.
    provider_id: Option<Uuid>,
    provider_status: Option<String>,
    /// Why a person must look; null once it is resolved.
    held_reason: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveBody {
    /// `retry`: it goes on from the state that it has. `dismiss`: it stays as it is; not while money is
    /// reserved for it, has moved that its state does not say, or may still move.
    #[schema(value_type = Resolution)]
    action: String,
    /// For the audit log: what was found. No personal data.
    #[schema(min_length = 1, max_length = 500, example = "Revio confirmed the amount by phone")]
    note: String,
}

impl From<Transaction> for HeldView {
    fn from(row: Transaction) -> Self {
        Self {
            user_id: row.user_id,
            provider_id: row.provider.id,
            provider_status: row.provider.status.clone(),
            held_reason: row.held_reason.clone(),
            transaction: row.into(),
        }
    }
}

/// What waits for a person
///
/// Newest first. Needs `held.read`.
#[utoipa::path(get, path = "/v1/admin/held", tag = "staff", security(("bearer" = ["held.read"])), params(HeldQuery),
    responses((status = 200, body = Page<HeldView>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<HeldRead>,
    Query(query): Query<HeldQuery>,
) -> Result<Json<Page<HeldView>>> {
    let mut fields = Fields::default();
    let kind = fields.word("kind", query.kind.as_deref());
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let rows = transactions::list_held(&app, kind, before, limit).await?;
    Ok(Json(Page::by_id(rows, limit, |row| row.id)))
}

/// Resolve
///
/// Needs `held.resolve`. Audited, with the note.
#[utoipa::path(post, path = "/v1/admin/held/{id}/resolve", tag = "staff", security(("bearer" = ["held.resolve"])),
    params(("id" = Uuid, Path)), request_body = ResolveBody,
    responses((status = 200, body = HeldView), (status = 409, description = "`stale_state`: it moved meanwhile"), Problems))]
async fn resolve(
    State(app): State<App>,
    staff: Staff<HeldResolve>,
    Path(id): Path<Uuid>,
    Json(body): Json<ResolveBody>,
) -> Result<Json<HeldView>> {
    let mut fields = Fields::default();
    let how = fields.word("action", Some(&body.action));
    let note = parse_note(&mut fields, &body.note);
    let how = fields.finish_with(how)?;
    Ok(Json(super::resolve(&app, &staff.actor, id, how, &note).await?.into()))
}
