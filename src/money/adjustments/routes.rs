//! `GET`, `POST /v1/admin/adjustments`, `GET /v1/admin/adjustments/{id}`, `POST /v1/admin/adjustments/{id}/approve`,
//! `POST /v1/admin/adjustments/{id}/decline`.

use axum::extract::State as AppState;
use axum::{http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::{Adjustment, Counterpart, Direction, NewAdjustment};
use crate::app::App;
use crate::identity::staff::Staff;
use crate::money::approvals::routes::{decision_bodies, take_of};
use crate::money::approvals::{self, Approval};
use crate::money::transactions::routes::{FailureView, parse_amount};
use crate::money::transactions::{FailureReason, State};
use crate::platform::error::{Result, Wrong};
use crate::platform::http::{Fields, IdempotencyKey, Json, Page, Path, Query, located, page, page_query, replayed};
use crate::platform::permissions::{AdjustmentsApprove, AdjustmentsCreate, AdjustmentsRead};
use crate::platform::{clock::DateTime, problems::Problems};

const REASON_CHARS_MAX: usize = 500;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, propose))
        .routes(routes!(show))
        .routes(routes!(approve))
        .routes(routes!(decline))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAdjustmentBody {
    /// The customer whose wallet is corrected; never one's own.
    user_id: Uuid,
    /// Of the customer's wallet.
    #[schema(value_type = Direction)]
    direction: String,
    /// Minor units (cents).
    #[schema(example = 2_500, minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount: i64,
    #[schema(example = "ZAR")]
    currency: String,
    /// The company's account on the other side.
    #[schema(value_type = Counterpart, example = "suspense")]
    counterpart: String,
    /// Why; the checker approves it too. No personal data.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
    /// The item that it clears: needed where `suspense` credits the customer, and only there. See `/v1/admin/suspense-items`.
    item_id: Option<Uuid>,
    /// The customer's transaction that it sets right, in the same currency: each is then told on the other's page.
    transaction_id: Option<Uuid>,
}

impl NewAdjustmentBody {
    fn parse(&self, app: &App) -> Result<NewAdjustment> {
        let mut fields = Fields::default();
        let direction = fields.word("direction", Some(&self.direction));
        let counterpart = fields.word("counterpart", Some(&self.counterpart));
        let amount = parse_amount(&mut fields, self.amount, app.currency(&self.currency));
        let reason = fields.text("reason", &self.reason, 1..=REASON_CHARS_MAX);
        let clears = counterpart == Some(Counterpart::Suspense) && direction == Some(Direction::Credit);
        if clears && self.item_id.is_none() {
            fields.say("item_id", Wrong::Required, "must name the item in suspense that is cleared");
        } else if !clears && self.item_id.is_some() && counterpart.is_some() && direction.is_some() {
            fields
                .wrong("item_id", Wrong::Conflict("counterpart", "is only for what suspense credits to the customer"));
        }
        let ((direction, amount), counterpart) = fields.finish_with(direction.zip(amount).zip(counterpart))?;
        let (user_id, item_id, about_id) = (self.user_id, self.item_id, self.transaction_id);
        Ok(NewAdjustment { user_id, direction, amount, counterpart, reason, item_id, about_id })
    }
}

decision_bodies! {
    ApproveAdjustmentBody { adjustment_hash, note: Option<String> }
    DeclineAdjustmentBody { adjustment_hash, note: String }
}

#[derive(Serialize, ToSchema)]
struct AdjustmentView {
    id: Uuid,
    user_id: Uuid,
    state: State,
    /// Of the customer's wallet.
    direction: Direction,
    /// Minor units (cents).
    #[schema(example = 2_500)]
    amount: i64,
    #[schema(example = "ZAR")]
    currency: &'static str,
    #[schema(example = "suspense")]
    counterpart: Counterpart,
    reason: String,
    /// The maker.
    requested_by: Uuid,
    failure_reason: Option<FailureReason>,
    failure: Option<FailureView>,
    /// What it clears in suspense.
    item_id: Option<Uuid>,
    /// The customer's transaction that it sets right.
    transaction_id: Option<Uuid>,
    /// Over everything that is approved: send it back with the decision.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    adjustment_hash: String,
    /// How many people besides the maker must approve it, by today's thresholds.
    approvals_needed: i64,
    /// What was decided, oldest first.
    approvals: Vec<Approval>,
    created_at: DateTime,
    updated_at: DateTime,
    completed_at: Option<DateTime>,
}

impl AdjustmentView {
    fn of(app: &App, adjustment: Adjustment, approvals: &mut Vec<Approval>) -> Self {
        let (hash, approvals_needed) = (adjustment.hash(), adjustment.needed(app));
        let row = adjustment.transaction;
        Self {
            id: row.id,
            user_id: row.user_id,
            state: row.state,
            direction: adjustment.direction,
            amount: row.amount.minor(),
            currency: row.amount.currency().code(),
            counterpart: adjustment.counterpart,
            reason: adjustment.reason,
            requested_by: adjustment.requested_by,
            failure_reason: row.failure_reason,
            failure: row.failure_reason.map(FailureView::for_staff),
            item_id: adjustment.item_id,
            transaction_id: adjustment.about_id,
            adjustment_hash: hash.hex(),
            approvals_needed,
            approvals: take_of(approvals, row.id),
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
        }
    }

    async fn with_approvals(app: &App, adjustment: Adjustment) -> Result<Json<Self>> {
        let mut approvals = approvals::list(app, &[adjustment.transaction.id]).await?;
        Ok(Json(Self::of(app, adjustment, &mut approvals)))
    }
}

page_query! {
    struct AdjustmentQuery {
        #[param(inline, value_type = Option<State>)]
        state: Option<String>,
    }
}

/// Corrections
///
/// Newest first. Needs `adjustments.read`.
#[utoipa::path(get, path = "/v1/admin/adjustments", tag = "staff", security(("bearer" = ["adjustments.read"])),
    params(AdjustmentQuery),
    responses((status = 200, body = Page<AdjustmentView>), Problems))]
async fn list(
    AppState(app): AppState<App>,
    _staff: Staff<AdjustmentsRead>,
    Query(query): Query<AdjustmentQuery>,
) -> Result<Json<Page<AdjustmentView>>> {
    let mut fields = Fields::of_query();
    let state = fields.word("state", query.state.as_deref());
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let page = super::list(&app, state, before, limit).await?;
    let ids: Vec<Uuid> = page.iter().map(|adjustment| adjustment.transaction.id).collect();
    let mut approvals = approvals::list(&app, &ids).await?;
    let views = page.into_iter().map(|adjustment| AdjustmentView::of(&app, adjustment, &mut approvals)).collect();
    Ok(Json(Page::by_id(views, limit, |view: &AdjustmentView| view.id)))
}

/// Propose a correction
///
/// Nothing moves until somebody else approves it. Needs `adjustments.create`. The key is the proposer's own. Audited.
#[utoipa::path(post, path = "/v1/admin/adjustments", tag = "staff", security(("bearer" = ["adjustments.create"])),
    request_body = NewAdjustmentBody,
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters", max_length = 255)),
    responses((status = 201, body = AdjustmentView),
        (status = 403, description = "`forbidden`: also for one's own wallet"),
        (status = 404, description = "`not_found`: there is no such customer"),
        (status = 422, description = "`staff_account`: nothing is credited to staff; `idempotency_key_reused`"), Problems))]
async fn propose(
    AppState(app): AppState<App>,
    staff: Staff<AdjustmentsCreate>,
    key: IdempotencyKey,
    Json(body): Json<NewAdjustmentBody>,
) -> Result<impl IntoResponse> {
    let proposed = super::propose(&app, &staff.member(), body.parse(&app)?, key).await?;
    let place = located(format_args!("/v1/admin/adjustments/{}", proposed.adjustment.transaction.id));
    let view = AdjustmentView::with_approvals(&app, proposed.adjustment).await?;
    Ok((StatusCode::CREATED, place, replayed(proposed.replayed), view))
}

/// One correction
///
/// Needs `adjustments.read`.
#[utoipa::path(get, path = "/v1/admin/adjustments/{id}", tag = "staff", security(("bearer" = ["adjustments.read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = AdjustmentView), Problems))]
async fn show(
    AppState(app): AppState<App>,
    _staff: Staff<AdjustmentsRead>,
    Path(id): Path<Uuid>,
) -> Result<Json<AdjustmentView>> {
    AdjustmentView::with_approvals(&app, super::find(&app, id).await?).await
}

/// Approve a correction
///
/// With enough approvals it is booked at once, or `rejected` when the wallet does not hold what is to be debited, or `cancelled` when who
/// proposed it may not any more. Needs `adjustments.approve`, and never its maker nor its customer. Audited.
#[utoipa::path(post, path = "/v1/admin/adjustments/{id}/approve", tag = "staff",
    security(("bearer" = ["adjustments.approve"])), params(("id" = Uuid, Path)), request_body = ApproveAdjustmentBody,
    responses((status = 200, body = AdjustmentView),
        (status = 403, description = "`forbidden`: also for its maker and its customer, with a role younger than 24 hours, and while frozen"),
        (status = 409, description = "`stale_state`: it does not wait any more, or is not what was seen"), Problems))]
async fn approve(
    AppState(app): AppState<App>,
    staff: Staff<AdjustmentsApprove>,
    Path(id): Path<Uuid>,
    Json(body): Json<ApproveAdjustmentBody>,
) -> Result<Json<AdjustmentView>> {
    let adjustment = super::approve(&app, &body.decide(staff)?, id).await?;
    AdjustmentView::with_approvals(&app, adjustment).await
}

/// Decline a correction
///
/// Nothing moves. Needs `adjustments.approve`, and never its maker nor its customer. Audited, with the note.
#[utoipa::path(post, path = "/v1/admin/adjustments/{id}/decline", tag = "staff",
    security(("bearer" = ["adjustments.approve"])), params(("id" = Uuid, Path)), request_body = DeclineAdjustmentBody,
    responses((status = 200, body = AdjustmentView),
        (status = 403, description = "`forbidden`: also for its maker and its customer"),
        (status = 409, description = "`stale_state`: it does not wait any more, or is not what was seen"), Problems))]
async fn decline(
    AppState(app): AppState<App>,
    staff: Staff<AdjustmentsApprove>,
    Path(id): Path<Uuid>,
    Json(body): Json<DeclineAdjustmentBody>,
) -> Result<Json<AdjustmentView>> {
    let adjustment = super::decline(&app, &body.decide(staff)?, id).await?;
    AdjustmentView::with_approvals(&app, adjustment).await
}
