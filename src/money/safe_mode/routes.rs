//! `GET /v1/admin/safe-mode`, `POST /v1/admin/safe-mode/leave`.

use axum::extract::State;
use ledger::TransferCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::LostTransfer;
use crate::app::App;
use crate::identity::staff::Staff;
use crate::money::approvals::routes::parse_note;
use crate::platform::http::{Fields, Json};
use crate::platform::openapi::words;
use crate::platform::permissions::{HeldRead, SafeModeLeave};
use crate::platform::{clock::DateTime, error::Result, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(leave))
}

#[derive(Serialize, ToSchema)]
struct SafeModeView {
    /// While it is on nothing is paid.
    active: bool,
    entered_at: Option<DateTime>,
    reason: Option<String>,
    /// How many transfers of the ledger have no row.
    lost: i64,
    /// The oldest of them, at most 200.
    lost_transfers: Vec<LostTransferView>,
}

#[derive(Serialize, ToSchema)]
struct LostTransferView {
    id: Uuid,
    /// The row that is not there.
    transaction_id: Uuid,
    user_id: Option<Uuid>,
    executed_at: DateTime,
    /// Minor units (cents).
    amount: i64,
    #[schema(example = "ZAR")]
    currency: String,
    #[schema(schema_with = words::transfer_code)]
    code: Option<&'static str>,
    #[schema(schema_with = words::transfer_kind)]
    kind: String,
}

impl From<LostTransfer> for LostTransferView {
    fn from(lost: LostTransfer) -> Self {
        Self {
            id: lost.id,
            transaction_id: lost.row_id,
            user_id: lost.user_id,
            executed_at: lost.executed_at,
            amount: lost.amount_minor,
            currency: lost.currency,
            code: u16::try_from(lost.code).ok().and_then(TransferCode::from_code).map(TransferCode::name),
            kind: lost.kind,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LeaveBody {
    /// For the audit log: what was lost, and what became of it. No personal data.
    #[schema(min_length = 1, max_length = 500)]
    note: String,
}

async fn view(app: &App) -> Result<Json<SafeModeView>> {
    let (entered, lost_transfers, lost) = super::state(app).await?;
    Ok(Json(SafeModeView {
        active: entered.is_some(),
        entered_at: entered.as_ref().map(|entered| entered.entered_at),
        reason: entered.map(|entered| entered.reason),
        lost,
        lost_transfers: lost_transfers.into_iter().map(LostTransferView::from).collect(),
    }))
}

/// Is the database behind the ledger, or the ledger behind it?
///
/// Needs `held.read`.
#[utoipa::path(get, path = "/v1/admin/safe-mode", tag = "staff", security(("bearer" = ["held.read"])),
    responses((status = 200, body = SafeModeView), Problems))]
async fn show(State(app): State<App>, _staff: Staff<HeldRead>) -> Result<Json<SafeModeView>> {
    view(&app).await
}

/// Leave the safe mode
///
/// Payouts go on, but for withdrawals that may be a lost request once more: those are held. Needs `safe_mode.leave`. Audited, with the note.
#[utoipa::path(post, path = "/v1/admin/safe-mode/leave", tag = "staff", security(("bearer" = ["safe_mode.leave"])),
    request_body = LeaveBody,
    responses((status = 200, body = SafeModeView),
        (status = 404, description = "`not_found`: it is not on"),
        (status = 409, description = "`ledger_behind`: somebody has put the ledger back, and it would begin again at once; `stale_state`: a withdrawal that is to be held has moved, or another loss was found; once more"), Problems))]
async fn leave(
    State(app): State<App>,
    staff: Staff<SafeModeLeave>,
    Json(body): Json<LeaveBody>,
) -> Result<Json<SafeModeView>> {
    let mut fields = Fields::default();
    let note = parse_note(&mut fields, &body.note);
    fields.finish()?;
    super::leave(&app, &staff.actor, &note).await?;
    view(&app).await
}
