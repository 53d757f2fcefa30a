//! What the document's examples of transactions show, where the routes answer rows of one kind, or at one place on their way: each is the
//! deposit below with what it has of its own.

use serde_json::{Value, json};

use super::FailureReason;
use crate::money::reasons;

/// A deposit that waits for its payer.
pub fn deposit() -> Value {
    json!({
        "id": "0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00", "kind": "deposit", "direction": "credit", "state": "awaiting_payment",
        "amount": 150_000, "currency": "ZAR", "checkout_url": "https://gate.example/p/0195563f/", "expires_at": "2026-03-03T09:00:00Z",
        "bank_account_id": null, "destination": null, "parent_id": null, "repaid": 0, "owed": 0, "refunded": 0, "charged_back": 0,
        "failure_reason": null, "failure": null, "review": null, "outcome": null, "description": "March", "metadata": {"order": "A-17"},
        "created_at": "2026-03-02T09:00:00Z", "updated_at": "2026-03-02T09:00:01Z", "completed_at": null})
}

pub fn deposit_called_off() -> Value {
    called_off(deposit())
}

pub fn deposit_cancelled() -> Value {
    with(deposit_called_off(), json!({"state": "cancelled"}))
}

pub fn withdrawal_reserved() -> Value {
    with(
        deposit(),
        json!({"state": "reserved", "kind": "withdrawal", "direction": "debit", "checkout_url": null, "expires_at": null,
            "bank_account_id": "0195563f-8e80-7c3a-9d0e-5b1f3a6c2e00",
            "destination": {"bank_name": "FNB", "account_number_masked": "****4567"}}),
    )
}

pub fn withdrawal_called_off() -> Value {
    called_off(withdrawal_reserved())
}

pub fn withdrawal_cancelled() -> Value {
    with(withdrawal_called_off(), json!({"state": "cancelled"}))
}

fn called_off(row: Value) -> Value {
    let code = FailureReason::CancelledByCustomer;
    let message = reasons::failure(code.name()).customer;
    with(row, json!({"failure_reason": code, "failure": {"code": code, "message": message}}))
}

/// What the row shows besides, or otherwise.
pub fn with(mut row: Value, unlike: Value) -> Value {
    if let (Value::Object(row), Value::Object(unlike)) = (&mut row, unlike) {
        row.extend(unlike);
    }
    row
}
