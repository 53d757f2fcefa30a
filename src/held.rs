//! Transactions that a person must look at: listed with their reason, and resolved with a note.
//!
//! `retry` lets the row go on from the state that it has, as if nothing had failed yet: what it does next is decided by the
//! ledger and by Revio, never by the person. `dismiss` leaves it as it is, for what was settled elsewhere. Both are audited.

pub mod routes;

use ledger::{Leg, TransferId};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{self, Actor, Entry};
use crate::error::{Error, Result};
use crate::transactions::{self, Kind, State, Transaction};

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

/// Whether the ledger has, or may yet get, something of the row that its state does not say: nobody would look after it.
async fn may_have_moved(app: &App, held: &Transaction) -> Result<bool> {
    let reserves =
        matches!(held.state, State::Reserved | State::AwaitingApproval | State::Submitting | State::Submitted);
    Ok(match (held.state, held.kind) {
        (State::Initiated, Kind::Withdrawal) => true,
        // One that is not what was approved is held before the ledger hears of it.
        (State::Initiated, Kind::Adjustment) => {
            !app.ledger.lookup(&[TransferId::of(held.id, Leg::Main)]).await?.is_empty()
        }
        _ => reserves,
    })
}

/// Ends a hold and records who ended it and why.
///
/// # Errors
/// [`Error::NotFound`] when no such row is held; [`Error::Invalid`] for a dismissal that would strand a reservation.
pub async fn resolve(app: &App, actor: &Actor, id: Uuid, how: Resolution, note: &str) -> Result<Transaction> {
    let held = transactions::find(app, id).await?;
    if how == Resolution::Dismiss && may_have_moved(app, &held).await? {
        return Err(Error::field("action", "cannot be dismiss while money is reserved, or may be: retry"));
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
