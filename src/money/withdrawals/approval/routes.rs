//! `GET /v1/admin/withdrawals/awaiting-approval`, `GET /v1/admin/withdrawals/{id}/approval`,
//! `POST /v1/admin/withdrawals/{id}/approve`, `POST /v1/admin/withdrawals/{id}/decline`.

use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use super::Undecided;
use crate::app::App;
use crate::identity::staff::Staff;
use crate::money::approvals::routes::{decision_bodies, take_of};
use crate::money::approvals::{self, Approval};
use crate::money::transactions::{examples, routes::TransactionView};
use crate::platform::http::{Fields, Json, Page, Path, Query, page, page_query};
use crate::platform::{error::Result, permissions::WithdrawalsApprove, problems::Problems};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(approve)).routes(routes!(decline))
}

page_query! { struct AwaitingQuery {} }

/// Where the money is to go.
#[derive(Serialize, ToSchema)]
struct Destination {
    bank_name: String,
    account_holder: String,
    account_number_masked: String,
    branch_code: String,
}

#[derive(Serialize, ToSchema)]
#[schema(example = example)]
struct WithdrawalApprovalView {
    #[serde(flatten)]
    transaction: TransactionView,
    user_id: Uuid,
    /// Null where the bank details do not open: then nobody can decide.
    destination: Option<Destination>,
    /// Over everything that is approved, the whole bank details included: send it back with the decision.
    payout_hash: Option<String>,
    /// Why a person must look first: what is held is not decided here.
    held_reason: Option<String>,
    /// What left the customer within 24 hours, this withdrawal included: thresholds look at it. Minor units.
    outflow: i64,
    /// How many people must approve, by today's thresholds.
    approvals_needed: i64,
    /// All that was decided so far, oldest first. Those that are expired or used do not count any more.
    approvals: Vec<Approval>,
}

fn example() -> Value {
    let whole = json!({"bank_name": "FNB", "account_holder": "Thandi Nkosi", "account_number_masked": "****4567", "branch_code": "250655"});
    let undecided = json!({
        "state": "awaiting_approval", "destination": whole, "user_id": "0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00",
        "payout_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "held_reason": null, "outflow": 150_000,
        "approvals_needed": 1, "approvals": []});
    examples::with(examples::withdrawal_reserved(), undecided)
}

decision_bodies! {
    ApproveWithdrawalBody { payout_hash, note: Option<String> }
    DeclineWithdrawalBody { payout_hash, note: String }
}

impl WithdrawalApprovalView {
    fn of(app: &App, undecided: Undecided, approvals: &mut Vec<Approval>) -> Self {
        let Undecided { withdrawal, seen } = undecided;
        let (destination, hash) = seen.unzip();
        let bank_name = withdrawal.destination.as_ref().map(|shown| shown.bank_name.clone()).unwrap_or_default();
        Self {
            user_id: withdrawal.user_id,
            destination: destination.map(|details| Destination {
                bank_name,
                account_number_masked: details.masked(),
                account_holder: details.account_holder,
                branch_code: details.branch_code,
            }),
            payout_hash: hash.map(|hash| hash.hex()),
            held_reason: withdrawal.held.as_ref().map(|held| held.reason.clone()),
            outflow: withdrawal.outflow.minor(),
            approvals_needed: super::needed(app, &withdrawal),
            approvals: take_of(approvals, withdrawal.id),
            transaction: TransactionView { destination: None, ..TransactionView::for_staff(withdrawal) },
        }
    }

    async fn with_approvals(app: &App, undecided: Undecided) -> Result<Json<Self>> {
        let mut approvals = approvals::list(app, &[undecided.withdrawal.id]).await?;
        Ok(Json(Self::of(app, undecided, &mut approvals)))
    }
}

/// Withdrawals that wait for approval
///
/// Newest first. Needs `withdrawals.approve`.
#[utoipa::path(get, path = "/v1/admin/withdrawals/awaiting-approval", tag = "staff",
    security(("bearer" = ["withdrawals.approve"])), params(AwaitingQuery),
    responses((status = 200, body = Page<WithdrawalApprovalView>), Problems))]
async fn list(
    State(app): State<App>,
    _staff: Staff<WithdrawalsApprove>,
    Query(query): Query<AwaitingQuery>,
) -> Result<Json<Page<WithdrawalApprovalView>>> {
    let mut fields = Fields::of_query();
    let (before, limit) = page::range(&mut fields, query.cursor.as_deref(), query.limit);
    fields.finish()?;
    let waiting = super::list(&app, before, limit).await?;
    let ids: Vec<Uuid> = waiting.iter().map(|row| row.withdrawal.id).collect();
    let mut approvals = approvals::list(&app, &ids).await?;
    let views = waiting.into_iter().map(|row| WithdrawalApprovalView::of(&app, row, &mut approvals)).collect();
    Ok(Json(Page::by_id(views, limit, |view: &WithdrawalApprovalView| view.transaction.id)))
}

/// A withdrawal and its approvals
///
/// Needs `withdrawals.approve`.
#[utoipa::path(get, path = "/v1/admin/withdrawals/{id}/approval", tag = "staff",
    security(("bearer" = ["withdrawals.approve"])), params(("id" = Uuid, Path)),
    responses((status = 200, body = WithdrawalApprovalView), Problems))]
async fn show(
    State(app): State<App>,
    _staff: Staff<WithdrawalsApprove>,
    Path(id): Path<Uuid>,
) -> Result<Json<WithdrawalApprovalView>> {
    let undecided = super::find(&app, id).await?;
    WithdrawalApprovalView::with_approvals(&app, undecided).await
}

/// Approve a withdrawal
///
/// With enough approvals by different people it goes on. Needs `withdrawals.approve`, and never one's own. Audited.
#[utoipa::path(post, path = "/v1/admin/withdrawals/{id}/approve", tag = "staff",
    security(("bearer" = ["withdrawals.approve"])), params(("id" = Uuid, Path)), request_body = ApproveWithdrawalBody,
    responses((status = 200, body = WithdrawalApprovalView),
        (status = 403, description = "`forbidden`: also for one's own withdrawal, with a role younger than 24 hours, and while frozen"),
        (status = 409, description = "`stale_state`: it does not wait any more, or is not the payout that was seen"), Problems))]
async fn approve(
    State(app): State<App>,
    staff: Staff<WithdrawalsApprove>,
    Path(id): Path<Uuid>,
    Json(body): Json<ApproveWithdrawalBody>,
) -> Result<Json<WithdrawalApprovalView>> {
    let undecided = super::approve(&app, &body.decide(staff)?, id).await?;
    WithdrawalApprovalView::with_approvals(&app, undecided).await
}

/// Decline a withdrawal
///
/// The customer has the money back at once. Needs `withdrawals.approve`, and never one's own. Audited, with the note.
#[utoipa::path(post, path = "/v1/admin/withdrawals/{id}/decline", tag = "staff",
    security(("bearer" = ["withdrawals.approve"])), params(("id" = Uuid, Path)), request_body = DeclineWithdrawalBody,
    responses((status = 200, body = WithdrawalApprovalView),
        (status = 403, description = "`forbidden`: also for one's own withdrawal"),
        (status = 409, description = "`stale_state`: it does not wait any more, or is not the payout that was seen"),
        (status = 503, description = "`provider_unavailable`: where Revio has the payout already and must be asked"), Problems))]
async fn decline(
    State(app): State<App>,
    staff: Staff<WithdrawalsApprove>,
    Path(id): Path<Uuid>,
    Json(body): Json<DeclineWithdrawalBody>,
) -> Result<Json<WithdrawalApprovalView>> {
    let undecided = super::decline(&app, &body.decide(staff)?, id).await?;
    WithdrawalApprovalView::with_approvals(&app, undecided).await
}
