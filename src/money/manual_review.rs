//! Transactions that a person must look at: listed with their reason, and resolved with a note.
//!
//! `retry` lets the row go on from the state that it has, as if nothing had failed yet: what it does next is decided by the
//! ledger and by Revio, never by the person. `dismiss` leaves it as it is, for what was settled elsewhere. Both are audited.

pub mod routes;

use ledger::{Leg, TransferId};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::money::adjustments;
use crate::money::transactions::{self, Kind, State, Transaction};
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

text_enum! {
    pub enum Resolution {
        Retry = "retry",
        CloseWithoutAction = "dismiss",
    }
}

impl Resolution {
    fn action(self) -> &'static str {
        match self {
            Self::Retry => "transaction.retried",
            Self::CloseWithoutAction => "transaction.dismissed",
        }
    }
}

/// Whether the ledger has, or may yet get, something of the row that its state does not say: nobody would look after it. What a
/// lookup does not find may still be on its way.
async fn may_have_moved(app: &App, row: &Transaction) -> Result<bool> {
    let reason = row.held_reason.as_deref().unwrap_or_default();
    let recorded = async |leg| Ok::<_, Error>(!app.ledger.lookup(&[TransferId::of(row.id, leg)]).await?.is_empty());
    Ok(match (row.kind, row.state) {
        (_, State::Completed | State::Rejected) => false,
        // Revio has not heard of it, so nobody paid.
        (Kind::Deposit, State::Initiated) => false,
        // The steps that failed may have been those that book it.
        (Kind::Deposit, _) | (Kind::Withdrawal, State::Failed) => reason.starts_with(transactions::GAVE_UP),
        (Kind::Adjustment, State::Initiated) => reason != adjustments::NOT_APPROVED || recorded(Leg::Main).await?,
        (Kind::Adjustment, _) => false,
        // One whose money is in suspense is booked, and nothing more will be.
        (Kind::ChargebackReversal, _) => !recorded(Leg::Unmatched).await?,
        (Kind::Withdrawal | Kind::Refund | Kind::Chargeback, _) => true,
    })
}

pub async fn resolve(app: &App, actor: &Actor, id: Uuid, how: Resolution, note: &str) -> Result<Transaction> {
    let row = transactions::find(app, id).await?;
    if row.held_reason.is_none() {
        return Err(Error::NotFound("held transaction"));
    }
    if how == Resolution::CloseWithoutAction && may_have_moved(app, &row).await? {
        return Err(Error::field(
            "action",
            "cannot be dismiss while money is reserved for it or has moved, or may have: retry",
        ));
    }
    let due_at = (how == Resolution::Retry).then(|| app.clock.now());
    let mut tx = app.db.begin().await?;
    let released = transactions::release(&mut *tx, &row, due_at).await?;
    let entry = Entry::of(actor, how.action(), "transaction", id);
    let entry = entry.change(json!({"held_reason": row.held_reason, "state": row.state.name()}), json!({"note": note}));
    audit::record(app, &mut *tx, entry).await?;
    tx.commit().await?;
    app.notifier.wake();
    Ok(released)
}
