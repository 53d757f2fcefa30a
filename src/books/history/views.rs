//! How a row of a list looks to staff, and how one row with its life looks to its owner and to staff.

use chrono::TimeDelta;
use ledger::{Account, AccountId, Leg, Recorded, TransferCode};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Detail, Event, LinkedAdjustment, Links, StateAt};
use crate::money::approvals::Approval;
use crate::money::transactions::routes::{StaffTransactionView, TransactionView};
use crate::platform::clock::DateTime;
use crate::platform::openapi::words;

#[derive(Serialize, ToSchema)]
pub(super) struct OwnDetail {
    #[serde(flatten)]
    transaction: TransactionView,
    #[serde(flatten)]
    life: Life,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StaffDetail {
    #[serde(flatten)]
    transaction: StaffTransactionView,
    #[serde(flatten)]
    life: Life,
    /// Revio's calls about it and what follows from it, or about what goes back of its deposit, oldest first; see `/v1/admin/webhooks/{id}`.
    events: Vec<Event>,
    /// What staff decided about it, oldest first.
    approvals: Vec<Approval>,
    /// Of the call that asked for it, as its answer told it.
    request_id: Option<String>,
    /// Corrections: the transaction that it sets right.
    adjusts: Option<Uuid>,
    /// Corrections that set it right, oldest first; at most 100.
    adjustments: Vec<LinkedAdjustment>,
}

#[derive(Serialize, ToSchema)]
struct Life {
    /// Every state that it came into, oldest first.
    states: Vec<StateAt>,
    /// Its transfers in the ledger, oldest first, to customers those of their own accounts; null while the ledger does not answer.
    transfers: Option<Vec<TransferView>>,
}

#[derive(Serialize, ToSchema)]
struct TransferView {
    /// The transaction's id with the leg in its last byte.
    id: Uuid,
    #[schema(schema_with = words::leg)]
    leg: Option<&'static str>,
    #[schema(schema_with = words::account)]
    debit: Option<&'static str>,
    #[schema(schema_with = words::account)]
    credit: Option<&'static str>,
    /// Minor units (cents).
    amount: i64,
    #[schema(example = "ZAR")]
    currency: &'static str,
    #[schema(schema_with = words::transfer_code)]
    code: Option<&'static str>,
    #[schema(schema_with = words::transfer_kind)]
    kind: &'static str,
    /// By the ledger's clock.
    at: DateTime,
}

impl From<Detail> for OwnDetail {
    fn from(detail: Detail) -> Self {
        // What the company moves between its own accounts for a row is not the customer's to see.
        let (user, currency) = (detail.row.user_id, detail.row.amount.currency());
        let own = [Account::wallet(user, currency).id, Account::receivable(user, currency).id];
        let touches = |transfer: &Recorded| own.contains(&transfer.debit) || own.contains(&transfer.credit);
        let transfers = detail.transfers.map(|all| all.into_iter().filter(touches).collect());
        Self { life: Life::of(detail.states, transfers), transaction: detail.row.into() }
    }
}

impl StaffDetail {
    pub(super) fn new(
        detail: Detail,
        events: Vec<Event>,
        approvals: Vec<Approval>,
        (links, adjustments): (Links, Vec<LinkedAdjustment>),
    ) -> Self {
        Self {
            life: Life::of(detail.states, detail.transfers),
            transaction: detail.row.into(),
            events,
            approvals,
            request_id: links.request_id,
            adjusts: links.about_id,
            adjustments,
        }
    }
}

impl Life {
    fn of(states: Vec<StateAt>, transfers: Option<Vec<Recorded>>) -> Self {
        let transfers = transfers.map(|mut transfers| {
            transfers.sort_by_key(|transfer| transfer.timestamp);
            transfers.iter().map(TransferView::from).collect()
        });
        Self { states, transfers }
    }
}

impl From<&Recorded> for TransferView {
    fn from(transfer: &Recorded) -> Self {
        let account = |id: AccountId| id.code_and_currency().map(|(code, _)| code.name());
        Self {
            id: transfer.id.as_uuid(),
            leg: Leg::from_byte(transfer.id.leg()).map(Leg::name),
            debit: account(transfer.debit),
            credit: account(transfer.credit),
            amount: transfer.amount_minor,
            currency: transfer.currency.code(),
            code: TransferCode::from_code(transfer.code).map(TransferCode::name),
            kind: transfer.kind.name(),
            at: ledger_time(transfer.timestamp),
        }
    }
}

/// Nanoseconds since 1970, in the microseconds of all our times.
fn ledger_time(nanos: u64) -> DateTime {
    DateTime::UNIX_EPOCH + TimeDelta::microseconds(i64::try_from(nanos / 1000).unwrap_or(0))
}
