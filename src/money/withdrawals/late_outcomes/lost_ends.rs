//! A withdrawal that has ended, and of which the ledger has no more than its reservation: TigerBeetle was put back to before that end, and
//! PostgreSQL was not. Its row is not open, so nothing else ends the reservation; and who takes by a correction what was paid takes it twice,
//! for it stays reserved besides. Called by `late_outcomes`, before Revio's word is acted on.

use ledger::{Account, Amount, LedgerError, Leg, Recorded, TransferId};
use uuid::Uuid;

use crate::app::App;
use crate::money::adjustments::{self, ByHand};
use crate::money::receivables::{self, Available};
use crate::money::transactions::{self, Direction, Due, Move, State, Transaction};
use crate::platform::error::{Error, Result};

/// All that says how it ended.
const LEGS: [Leg; 6] = [Leg::Main, Leg::Post, Leg::Void, Leg::VoidRepay, Leg::Late, Leg::Receivable];

/// What becomes of the reservation, and what people may have booked instead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Posted,
    Released,
}

impl End {
    fn direction(self) -> Direction {
        match self {
            Self::Posted => Direction::Debit,
            Self::Released => Direction::Credit,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Posted => Self::Released,
            Self::Released => Self::Posted,
        }
    }
}

/// It ends in the ledger as its row says, once more and by the same ids; where it has ended there, which costs a lookup, nothing happens. The row
/// as it is then: on hold where people have booked the same by a correction.
pub(super) async fn end_again(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let known = recorded(app, withdrawal.id).await?;
    let has = |leg| minor_of(&known, leg).is_some();
    if !has(Leg::Main) || has(Leg::Post) || has(Leg::Void) {
        return note(app, withdrawal, &known).await;
    }
    // What Revio paid after a release may be taken from the wallet already: then only the release is lost.
    let is_taken = has(Leg::Late) || has(Leg::Receivable);
    let end = if withdrawal.state == State::Completed && !is_taken { End::Posted } else { End::Released };
    let what = (end.direction(), withdrawal.amount);
    let end = match adjustments::booked_by_hand(app, withdrawal, what, &[Leg::Post, Leg::Void]).await? {
        None => end,
        Some(by_hand) => {
            let row = adjustments::hold_as_corrected(app, withdrawal, what.0, by_hand).await?;
            if row.held.is_some() {
                return Ok(row);
            }
            match by_hand {
                // A person has closed that: the correction stands for it, and what is reserved besides goes the other way.
                ByHand::Named => end.other(),
                ByHand::SameSum => end,
            }
        }
    };
    let state = withdrawal.state.name();
    tracing::error!(transaction.id = %withdrawal.id, state, "the ledger has lost how a withdrawal ended: it ends there once more");
    let ended = match end {
        End::Posted => app.ledger.post(withdrawal.id).await,
        End::Released => release(app, withdrawal).await?,
    };
    app.crash.at("withdrawal.ended_again")?;
    match ended {
        Ok(()) => note(app, withdrawal, &recorded(app, withdrawal.id).await?).await,
        // Somebody else was first: who looks again sees how.
        Err(LedgerError::AlreadyResolved(_)) => Err(Error::StaleState),
        Err(error) => Err(error.into()),
    }
}

async fn recorded(app: &App, row: Uuid) -> Result<Vec<Recorded>> {
    Ok(app.ledger.lookup(&LEGS.map(|leg| TransferId::of(row, leg))).await?)
}

fn minor_of(known: &[Recorded], leg: Leg) -> Option<i64> {
    known.iter().find(|transfer| transfer.id.leg() == leg.byte()).map(|transfer| transfer.amount_minor)
}

/// The inner error is the ledger's answer.
async fn release(app: &App, withdrawal: &Transaction) -> Result<Result<(), LedgerError>> {
    // This process may have seen it open in the ledger that was: a transfer to an account that is not there would spend its id for ever.
    app.ledger.open(&[Account::receivable(withdrawal.user_id, withdrawal.amount.currency())]).await?;
    Ok(receivables::make_available(app, withdrawal, Available::Release).await?.map(drop))
}

/// The row says of it what the ledger has: what repaid a debt, and what is owed, may be another sum this time.
async fn note(app: &App, withdrawal: &Transaction, known: &[Recorded]) -> Result<Transaction> {
    let said = (withdrawal.repaid_minor, withdrawal.owed_minor);
    let has = |leg| minor_of(known, leg).is_some();
    let (repaid, owed) = match (has(Leg::Post), has(Leg::Void)) {
        (true, _) => (0, 0),
        (false, true) => (minor_of(known, Leg::VoidRepay).unwrap_or(0), said.1),
        (false, false) => said,
    };
    if (repaid, owed) == said {
        return Ok(withdrawal.clone());
    }
    let amount = |minor| Amount::new(minor, withdrawal.amount.currency()).map_err(Error::internal);
    let to = Move::to(withdrawal.state, Due::Now).having_repaid(amount(repaid)?).leaving_owed(amount(owed)?);
    transactions::advance(app, withdrawal, to).await
}
