//! Transactions that a person must look at: listed with their reason, and resolved with a note.
//!
//! `retry` lets the row go on from the state that it has, as if nothing had failed yet: what it does next is decided by the
//! ledger and by Revio, never by the person. `dismiss` leaves it as it is, for what was settled elsewhere. Both are audited.

pub mod routes;

use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{self, Actor, Entry};
use crate::error::{Error, Result};
use crate::transactions::{self, State, Transaction};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Retry,
    Dismiss,
}

impl Resolution {
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "retry" => Some(Self::Retry),
            "dismiss" => Some(Self::Dismiss),
            _ => None,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Retry => "transaction.retried",
            Self::Dismiss => "transaction.dismissed",
        }
    }
}

/// Ends a hold and records who ended it and why.
///
/// # Errors
/// [`Error::NotFound`] when no such row is held; [`Error::Invalid`] for a dismissal that would strand a reservation.
pub async fn resolve(app: &App, actor: &Actor, id: Uuid, how: Resolution, note: &str) -> Result<Transaction> {
    let held = transactions::find(app, id).await?;
    // A reservation that nobody looks after would keep the customer's money for ever.
    let reserves =
        matches!(held.state, State::Reserved | State::AwaitingApproval | State::Submitting | State::Submitted);
    if how == Resolution::Dismiss && reserves {
        return Err(Error::field("action", "cannot be dismiss while money is reserved: retry"));
    }
    let due_at = (how == Resolution::Retry).then(|| app.clock.now());
    let mut tx = app.db.begin().await?;
    let released = transactions::release(&mut *tx, id, due_at).await?;
    let entry = Entry::of(actor, how.action(), "transaction", id);
    let entry =
        entry.change(json!({"held_reason": held.held_reason, "state": held.state.name()}), json!({"note": note}));
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    app.wake.worker();
    Ok(released)
}
