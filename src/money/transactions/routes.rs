//! How a transaction looks wherever it is answered, and the fields that the requests for one share.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::{Amount, Currency};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Asked, Destination, Direction, FailureReason, Hold, Kind, Metadata, Outcome, ShownState, State, Transaction,
    examples,
};
use crate::money::{bank_accounts, reasons};
use crate::platform::clock::DateTime;
use crate::platform::error::{Result, Wrong};
use crate::platform::http::{Fields, Json, located, replayed};

/// Ten thousand million in the major unit of a currency with cents: far above any payment, far below any overflow.
pub const AMOUNT_MINOR_MAX: i64 = 1_000_000_000_000;
pub const AMOUNT_MINOR_MIN: i64 = 1;
/// A line on a statement, in the customer's words.
pub const DESCRIPTION_CHARS_MAX: usize = 140;

/// The example is a deposit that waits for its payer.
#[derive(Serialize, ToSchema)]
#[schema(description = "", example = examples::deposit)]
pub struct TransactionView {
    pub id: Uuid,
    pub kind: Kind,
    /// What it does to the wallet, once it is completed. Of a correction its own; else by `kind`.
    pub direction: Direction,
    /// See the state diagrams in the documentation. `under_review`: a person must decide; the money is safe meanwhile.
    pub state: ShownState,
    /// Minor units (cents).
    #[schema(example = 150_000)]
    pub amount: i64,
    #[schema(example = "ZAR")]
    pub currency: &'static str,
    /// Deposits: where the payer pays; null while it is under review.
    pub checkout_url: Option<String>,
    /// Deposits: until when the payer can pay; null before there is a `checkout_url`.
    pub expires_at: Option<DateTime>,
    /// Withdrawals: where the money goes.
    pub bank_account_id: Option<Uuid>,
    /// Withdrawals: what that account was when the withdrawal was asked for, also when it is gone.
    /// Not told beside the whole destination that who approves is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DestinationView>)]
    pub destination: Option<Option<DestinationView>>,
    /// Refunds, chargebacks: the deposit that they take back.
    pub parent_id: Option<Uuid>,
    /// The part of it that repaid what was owed.
    pub repaid: i64,
    /// The part of it that the balance did not cover: it is owed, and the next deposit repays it first.
    pub owed: i64,
    /// Deposits: how much was given back since.
    pub refunded: i64,
    pub charged_back: i64,
    /// Why it ended without moving money; `cancelled_by_customer` also while it is being cancelled, and not where a payment came all the
    /// same: see `outcome`.
    pub failure_reason: Option<FailureReason>,
    /// The same with a text for whoever reads this. Of a withdrawal the amount came back less what is `repaid`.
    pub failure: Option<FailureView>,
    /// While it is `under_review`: what there is to say.
    pub review: Option<ReviewView>,
    /// Deposits that were paid and did not fit: what became of that money.
    pub outcome: Option<Outcome>,
    /// As it was given with the request.
    pub description: Option<String>,
    /// As it was given with the request; `{}` without.
    #[schema(inline)]
    pub metadata: Metadata,
    pub created_at: DateTime,
    /// When it last moved. A hold and its end, a part given back and an `outcome` are no moves: events tell of them.
    pub updated_at: DateTime,
    pub completed_at: Option<DateTime>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WithdrawalDestination)]
pub struct DestinationView {
    #[schema(example = "FNB")]
    pub bank_name: String,
    #[schema(example = "****4567")]
    pub account_number_masked: String,
}

impl From<Destination> for DestinationView {
    fn from(destination: Destination) -> Self {
        let Destination { bank_name, last_four } = destination;
        Self { bank_name, account_number_masked: bank_accounts::masked(&last_four) }
    }
}

#[derive(Serialize, ToSchema)]
pub struct FailureView {
    code: FailureReason,
    /// For people; staff are told more than customers.
    #[schema(example = "The balance did not cover the amount. Nothing was taken.")]
    message: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct ReviewView {
    #[schema(example = "We are checking the payment. Your money is safe.")]
    message: &'static str,
}

/// Staff's: why a person must look.
#[derive(Serialize, ToSchema)]
pub struct HoldView {
    code: Hold,
    #[schema(
        example = "Revio has not said its last word for too long. Ask Revio; a withdrawal may be released by two people."
    )]
    message: &'static str,
}

/// A row with what only staff see besides.
#[derive(Serialize, ToSchema)]
pub struct StaffTransactionView {
    #[serde(flatten)]
    transaction: TransactionView,
    user_id: Uuid,
    /// Revio's purchase or payout.
    provider_id: Option<Uuid>,
    /// What Revio last said of it.
    provider_status: Option<String>,
    /// Why a person must look: a code, and what was found; null once it is resolved.
    held_code: Option<Hold>,
    held_reason: Option<String>,
    held_at: Option<DateTime>,
    /// The code with its text.
    hold: Option<HoldView>,
}

impl FailureView {
    fn for_customers(row: &Transaction) -> Option<Self> {
        let code = row.told_failure()?;
        let repaid = reasons::where_repaid(code.name()).filter(|_| row.repaid_minor > 0);
        Some(Self { code, message: repaid.unwrap_or_else(|| reasons::failure(code.name()).customer) })
    }

    pub fn for_staff(code: FailureReason) -> Self {
        Self { code, message: reasons::failure(code.name()).staff }
    }
}

impl HoldView {
    pub fn of(row: &Transaction) -> Option<Self> {
        row.held.as_ref().map(|held| Self { code: held.code, message: reasons::hold(held.code.name()).staff })
    }
}

impl From<Transaction> for StaffTransactionView {
    fn from(row: Transaction) -> Self {
        Self {
            user_id: row.user_id,
            provider_id: row.provider.id,
            provider_status: row.provider.status.clone(),
            held_code: row.held.as_ref().map(|held| held.code),
            held_reason: row.held.as_ref().map(|held| held.reason.clone()),
            held_at: row.held.as_ref().map(|held| held.at),
            hold: HoldView::of(&row),
            transaction: TransactionView::for_staff(row),
        }
    }
}

impl TransactionView {
    /// As it is, held or not.
    pub fn for_staff(row: Transaction) -> Self {
        let failure = row.told_failure().map(FailureView::for_staff);
        Self { failure, ..Self::from(Transaction { held: None, ..row }) }
    }
}

impl From<Transaction> for TransactionView {
    fn from(row: Transaction) -> Self {
        let held = row.held.as_ref().filter(|_| row.is_under_review());
        let review = held.map(|held| ReviewView { message: reasons::hold(held.code.name()).customer });
        let failure = FailureView::for_customers(&row);
        Self {
            id: row.id,
            kind: row.kind,
            direction: row.direction,
            state: row.shown_state(),
            amount: row.amount.minor(),
            currency: row.amount.currency().code(),
            checkout_url: row.provider.checkout_url.filter(|_| row.held.is_none()),
            expires_at: row.provider.expires_at,
            bank_account_id: row.bank_account_id,
            destination: Some(row.destination.map(DestinationView::from)),
            parent_id: row.parent_id,
            repaid: row.repaid_minor,
            owed: row.owed_minor,
            refunded: row.reversed.refunded_minor,
            charged_back: row.reversed.charged_back_minor,
            failure_reason: failure.as_ref().map(|failure| failure.code),
            failure,
            review,
            outcome: row.outcome,
            description: row.description,
            metadata: row.metadata,
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
        }
    }
}

/// What was asked for, and where it is found; that it was before, a header says.
pub fn asked(status: StatusCode, Asked { row, replayed: before }: Asked) -> impl IntoResponse {
    let place = located(format_args!("/v1/transactions/{}", row.id));
    (status, place, replayed(before), Json(TransactionView::from(row)))
}

/// What was called off: 200 when it is cancelled, 202 while it is not yet.
pub struct Cancelled(pub Transaction);

impl IntoResponse for Cancelled {
    fn into_response(self) -> Response {
        let Self(row) = self;
        let (is_done, location) = (row.state == State::Cancelled, format!("/v1/transactions/{}", row.id));
        let body = Json(TransactionView::from(row));
        if is_done {
            return body.into_response();
        }
        (StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response()
    }
}

pub fn parse_amount(fields: &mut Fields, minor: i64, currency: Result<Currency>) -> Option<Amount> {
    let currency = fields.take(currency);
    if minor < AMOUNT_MINOR_MIN {
        fields.wrong("amount", Wrong::AtLeast(AMOUNT_MINOR_MIN));
    } else if minor > AMOUNT_MINOR_MAX {
        fields.wrong("amount", Wrong::AtMost(AMOUNT_MINOR_MAX));
    }
    Amount::new(minor, currency?).ok()
}

pub fn parse_description(fields: &mut Fields, description: Option<&str>) -> Option<String> {
    description.map(|text| fields.text("description", text, 1..=DESCRIPTION_CHARS_MAX))
}
