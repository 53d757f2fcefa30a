//! What is told: the kinds of events and the message of each, in the shapes that the API answers. Of a customer only the id is in one.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::{Builder, Uuid};

use crate::money::transactions::routes::{FailureView, TransactionView};
use crate::money::transactions::{Metadata, State, Transaction, shown_state};
use crate::platform::clock::DateTime;
use crate::platform::digest::sha256;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

text_enum! {
    #[schema(as = OutgoingEventType)]
    pub enum EventType {
        TransactionInitiated = "transaction.initiated",
        TransactionAwaitingPayment = "transaction.awaiting_payment",
        TransactionReserved = "transaction.reserved",
        TransactionAwaitingApproval = "transaction.awaiting_approval",
        TransactionSubmitting = "transaction.submitting",
        TransactionSubmitted = "transaction.submitted",
        TransactionCompleted = "transaction.completed",
        TransactionFailed = "transaction.failed",
        TransactionRejected = "transaction.rejected",
        TransactionExpired = "transaction.expired",
        TransactionCancelled = "transaction.cancelled",
        /// A transfer in the ledger touched a wallet; the balance is the one right after it.
        BalanceUpdated = "balance.updated",
        CustomerCreated = "customer.created",
        CustomerEmailVerified = "customer.email_verified",
        CustomerFrozen = "customer.frozen",
        CustomerUnfrozen = "customer.unfrozen",
        CustomerClosed = "customer.closed",
        CustomerReopened = "customer.reopened",
        CustomerErased = "customer.erased",
        /// Sent when staff ask for it, whatever the endpoint wants to hear of.
        WebhookTest = "webhook.test",
    }
}

impl EventType {
    pub(super) fn of_state(state: &str) -> Option<Self> {
        Self::parse(&format!("transaction.{state}"))
    }
}

/// What each message is; `webhook-id` is its `id`, and the same each time that it is sent.
#[derive(Serialize)]
struct Message<T> {
    id: Uuid,
    #[serde(rename = "type")]
    kind: EventType,
    /// When it happened.
    created_at: DateTime,
    data: T,
}

/// With `transaction.…`: the row as it was in the state that the event names.
#[derive(Serialize, ToSchema)]
pub struct TransactionEventData {
    pub customer_id: Uuid,
    /// Without what the customer wrote, where the money goes and the page to pay at: `description`, `destination` and `checkout_url` are
    /// null, `metadata` is `{}`.
    pub transaction: TransactionView,
}

/// With `balance.updated`.
#[derive(Serialize, ToSchema)]
pub struct BalanceEventData {
    pub customer_id: Uuid,
    pub balance: EventBalance,
}

/// Minor units, as in `GET /v1/balances`.
#[derive(Serialize, ToSchema)]
pub struct EventBalance {
    #[schema(example = "ZAR")]
    pub currency: String,
    pub posted: i64,
    pub pending: i64,
    pub available: i64,
    /// Rises with each event of a wallet: what is lower than the last one seen came late.
    pub sequence: i64,
}

/// With `customer.…`.
#[derive(Serialize, ToSchema)]
pub struct CustomerEventData {
    pub customer_id: Uuid,
}

/// With `webhook.test`.
#[derive(Serialize, ToSchema)]
pub struct TestEventData {
    pub endpoint_id: Uuid,
}

/// An event before it is stored.
pub(super) struct Event {
    pub(super) id: Uuid,
    pub(super) kind: EventType,
    pub(super) body: String,
    pub(super) source_id: Uuid,
    pub(super) ordinal: i32,
    /// Whom it is about, as `data` says: by this it is found again.
    pub(super) customer_id: Option<Uuid>,
    pub(super) occurred_at: DateTime,
}

impl Event {
    /// Made again, it is the same: its id is its time and a hash of what it follows from.
    pub(super) fn new<T: Serialize>(
        kind: EventType,
        (source_id, ordinal): (Uuid, i32),
        customer_id: Option<Uuid>,
        occurred_at: DateTime,
        data: T,
    ) -> Result<Self> {
        let id = event_id(occurred_at, source_id, ordinal);
        let message = Message { id, kind, created_at: occurred_at, data };
        let body = serde_json::to_string(&message).map_err(Error::internal)?;
        Ok(Self { id, kind, body, source_id, ordinal, customer_id, occurred_at })
    }
}

fn event_id(at: DateTime, source: Uuid, ordinal: i32) -> Uuid {
    let hash = sha256(&[source.as_bytes().as_slice(), &ordinal.to_be_bytes()].concat());
    let random = hash.first_chunk().expect("SHA-256 has 32 bytes");
    Builder::from_unix_timestamp_millis(u64::try_from(at.timestamp_millis()).unwrap_or(0), random).into_uuid()
}

/// The row as it was when it came into a state: what came later is not told yet. Field by field, and not as the API tells the row: whoever
/// adds a field there decides here, too, whether it may leave and lie in `outgoing_events` in the clear.
pub(super) fn of_transaction(row: Transaction, state: State, at: DateTime) -> TransactionEventData {
    let is_now = row.state == state;
    let failure_reason = row.told_failure().filter(|_| is_now);
    let transaction = TransactionView {
        id: row.id,
        kind: row.kind,
        direction: row.direction,
        // As it is, held or not.
        state: shown_state(state, false),
        amount: row.amount.minor(),
        currency: row.amount.currency().code(),
        checkout_url: None,
        expires_at: row.provider.expires_at,
        bank_account_id: row.bank_account_id,
        destination: Some(None),
        parent_id: row.parent_id,
        repaid: row.repaid_minor,
        owed: row.owed_minor,
        refunded: row.reversed.refunded_minor,
        charged_back: row.reversed.charged_back_minor,
        failure_reason,
        failure: failure_reason.map(FailureView::for_staff),
        review: None,
        outcome: row.outcome.filter(|_| is_now),
        description: None,
        metadata: Metadata::default(),
        created_at: row.created_at,
        updated_at: at,
        completed_at: row.completed_at.filter(|_| is_now),
    };
    TransactionEventData { customer_id: row.user_id, transaction }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_transaction_has_an_event() {
        for state in State::ALL {
            assert!(EventType::of_state(state.name()).is_some(), "transaction.{}", state.name());
        }
    }

    #[test]
    fn an_event_made_again_has_the_same_id_and_ids_are_in_the_order_of_time() {
        let (source, at) = (Uuid::now_v7(), DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000));
        assert_eq!(event_id(at, source, 1), event_id(at, source, 1));
        assert_ne!(event_id(at, source, 1), event_id(at, source, 2));
        assert!(event_id(at, source, 9) < event_id(at + chrono::TimeDelta::milliseconds(1), source, 1));
    }
}
