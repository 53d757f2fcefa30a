//! What the ledger is asked for, one function a way of booking. Each is safe to repeat: ids are the row's, and what was refused stays refused.
//!
//! ```text
//! at_once    transfer                                             completed, or rejected by the ledger
//! set_aside  item written ─> transfer ─> item booked              completed
//! clear      item claimed ─> transfer                             completed, or rejected and the claim given up
//! send       held                                                 in_transit; then land: posted or voided
//! take_out   held ─> position looked at ─> posted or voided       completed or rejected
//! end_again  held, and its row has ended                          posted or voided, as the row says
//! ```

use ledger::{Account, JournalStanding, LedgerError, Leg, Refusal, Resolution, Transfer, TransferId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::journal::{Failure, Journal, Move, NewJournal, Outcome, State};
use super::kinds::{EvidenceKind, Kind, OpenAccount, Side};
use super::store;
use crate::app::App;
use crate::money::provider_objects;
use crate::money::suspense::{self, Item, ItemKind, NewItem};
use crate::money::transactions;
use crate::platform::error::{Error, Result};
use crate::platform::queue::LEASE;

const HOLD_LOST: &str = "the ledger has lost what it held, for it was put back to an earlier moment: dismiss it, and propose what the line says anew";

/// `initiated → completed | in_transit | rejected`.
pub(super) async fn book(app: &App, row: &Journal) -> Result<Journal> {
    let transfer = transfer(app, row)?;
    // Opening is idempotent, and a transfer to an account that is not there would spend its id for ever.
    app.ledger.open(&[transfer.debit, transfer.credit]).await?;
    match row.kind {
        Kind::Settlement | Kind::FloatTopUp => send(app, row, transfer).await,
        Kind::OwnFundsOut => take_out(app, row, transfer).await,
        Kind::SuspenseIn => set_aside(app, row, transfer).await,
        Kind::SuspenseReturn | Kind::SuspenseRelease => clear(app, row, transfer).await,
        Kind::ProviderInvoice | Kind::WriteOff | Kind::ChargebackLoss | Kind::OwnFundsIn | Kind::Result => {
            at_once(app, row, transfer).await
        }
    }
}

fn transfer(app: &App, row: &Journal) -> Result<Transfer> {
    let currency = row.amount.currency();
    let account = |side: Side| -> Option<Account> {
        match side {
            Side::Is(code) => Some(app.ledger.system(code, currency)),
            Side::Open => row.account.map(|account| app.ledger.system(account.code(), currency)),
            Side::Receivable => row.user_id.map(|user_id| Account::receivable(user_id, currency)),
        }
    };
    let (debit, credit) = row.kind.sides(row.account);
    let sides = account(debit).zip(account(credit));
    let (debit, credit) = sides.ok_or_else(|| Error::internal("the journal does not name its accounts"))?;
    let id = TransferId::of(row.id, Leg::Journal);
    let transfer = Transfer::new(id, debit, credit, row.amount, row.kind.facts().code);
    Ok(Transfer { item: row.item_id, ..transfer })
}

/// Whether the ledger knows of it: of a row that waits for its approval it cannot, unless PostgreSQL is an older one.
pub(super) async fn is_in_ledger(app: &App, row: &Journal) -> Result<bool> {
    Ok(app.ledger.journal_standing(row.id).await? != JournalStanding::None)
}

async fn completed(app: &App, row: &Journal) -> Result<Journal> {
    super::advance(app, row, Move::to(State::Completed)).await
}

async fn rejected(app: &App, row: &Journal, why: Failure) -> Result<Journal> {
    super::advance(app, row, Move::to(State::Rejected).because(why)).await
}

/// Whether it moved. A spent id was refused before, and the answer did not reach us: the same refusal.
fn was_moved(answer: Result<(), LedgerError>) -> Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(LedgerError::Refused(Refusal::InsufficientFunds | Refusal::SpentId)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The ledger refuses a write-off of more than the customer owes; of the others it has nothing to refuse.
async fn at_once(app: &App, row: &Journal, transfer: Transfer) -> Result<Journal> {
    let moved = was_moved(app.ledger.transfer(transfer).await)?;
    app.crash.at("journal.booked")?;
    match (moved, row.kind) {
        (true, _) => completed(app, row).await,
        (false, Kind::WriteOff) => rejected(app, row, Failure::MoreThanOwed).await,
        (false, _) => Err(Error::internal("the ledger refused what it has no limit for")),
    }
}

/// Revio's object that brought what is to be set aside: named, it is never set aside a second time, whatever webhook comes.
fn object_of(kind: Kind, evidence: EvidenceKind, reference: &str) -> Option<Uuid> {
    let of_revio = matches!(evidence, EvidenceKind::ProviderObject | EvidenceKind::ProviderStatement);
    let names_one = kind == Kind::SuspenseIn && of_revio;
    reference.parse().ok().filter(|_| names_one)
}

/// What a journal names that moves Revio's account for money of a payer's. A Payment that Revio has told of is booked by that, not by a journal
/// besides.
fn payment_of(kind: Kind, account: Option<OpenAccount>, reference: &str) -> Option<Uuid> {
    let is_suspense = matches!(kind, Kind::SuspenseIn | Kind::SuspenseReturn);
    let is_payers = is_suspense && account == Some(OpenAccount::ProviderBalance) || kind == Kind::ChargebackLoss;
    reference.parse().ok().filter(|_| is_payers)
}

/// Whether Revio has told of it since the journal was proposed. Asked before anything is claimed or sent: from then on it comes to its end, and
/// the row waits for a person. Until the SQL transaction ends, what Revio tells is not booked.
pub(super) async fn was_told(tx: &mut PgConnection, row: &Journal) -> Result<bool> {
    let Some(payment) = payment_of(row.kind, row.account, &row.evidence.reference) else { return Ok(false) };
    provider_objects::lock_payments(tx, &[payment]).await?;
    Ok(store::is_booked_by_itself(tx, payment).await?)
}

/// Better told now than when it is booked, which is when it counts.
pub(super) async fn check_object(app: &App, new: &NewJournal) -> Result<()> {
    if let Some(payment) = payment_of(new.kind, new.account, &new.evidence.reference)
        && store::is_booked_by_itself(&app.db, payment).await?
    {
        return Err(Error::field("evidence.reference", "is booked already: Revio has told of it"));
    }
    let Some(object) = object_of(new.kind, new.evidence.kind, &new.evidence.reference) else { return Ok(()) };
    if suspense::of_object(app, object).await?.is_some() {
        return Err(Error::field("evidence.reference", "is in suspense already"));
    }
    if store::row_of(&app.db, object).await?.is_some() {
        return Err(Error::field("evidence.reference", "belongs to a transaction: what came is booked there"));
    }
    Ok(())
}

async fn set_aside(app: &App, row: &Journal, transfer: Transfer) -> Result<Journal> {
    let provider_id = object_of(row.kind, row.evidence.kind, &row.evidence.reference);
    let (kind, amount) = (ItemKind::Journal, row.amount);
    let item = NewItem { id: row.id, kind, transaction_id: None, provider_id, amount };
    if let Some(object) = provider_id
        && suspense::of_object(app, object).await?.is_some_and(|other| other.id != row.id)
    {
        return rejected(app, row, Failure::SetAsideBefore).await;
    }
    let noted = suspense::noted(app, row.id).await?;
    suspense::note(app, &item).await?;
    app.crash.at("journal.item_noted")?;
    if let Some(object) = provider_id
        && a_row_was_first(app, row, object, noted.as_ref()).await?
    {
        suspense::give_up(app, &item).await?;
        return rejected(app, row, Failure::SetAsideBefore).await;
    }
    app.ledger.transfer(transfer).await?;
    app.crash.at("journal.booked")?;
    suspense::mark_booked(app, &item).await?;
    app.crash.at("journal.item_booked")?;
    completed(app, row).await
}

/// Whether a row of the object has the money. From the note on one waits (`deposits::accept`); who has read before it is done after a lease.
/// The step that notes has sent nothing to the ledger yet, so a row that is there was first, unless the note was lost with an older database. A later step cannot know what is still on its
/// way there: only a credit says that the row was, and else it is booked here.
async fn a_row_was_first(app: &App, row: &Journal, object: Uuid, noted: Option<&Item>) -> Result<bool> {
    let Some(of_object) = store::row_of(&app.db, object).await? else { return Ok(false) };
    match noted {
        None => Ok(!is_in_ledger(app, row).await?),
        Some(item) if app.clock.now() - item.opened_at < LEASE => {
            Err(Error::unavailable("a row of the same payment may be booking it"))
        }
        Some(_) => Ok(app.ledger.has(of_object, &[Leg::Main]).await?),
    }
}

async fn clear(app: &App, row: &Journal, transfer: Transfer) -> Result<Journal> {
    let id = row.item_id.ok_or_else(|| Error::internal("the journal does not name its item"))?;
    let item = suspense::find(app, id).await?;
    if !suspense::claim(app, &item, row.subject(), row.amount.minor()).await? {
        if is_in_ledger(app, row).await? {
            let reason = "the ledger has booked it, and its item in suspense is somebody else's: PostgreSQL was behind";
            return super::hold(app, row, reason).await;
        }
        return rejected(app, row, Failure::ItemCleared).await;
    }
    let moved = was_moved(app.ledger.transfer(transfer).await)?;
    app.crash.at("journal.booked")?;
    if !moved {
        suspense::give_up_claim(app, row.subject()).await?;
        app.crash.at("journal.claim_given_up")?;
        return rejected(app, row, Failure::ItemCleared).await;
    }
    let is_return = row.kind == Kind::SuspenseReturn;
    let outcome = if is_return { transactions::Outcome::Returned } else { transactions::Outcome::Released };
    suspense::record_outcome(app, &item, outcome).await?;
    app.crash.at("journal.item_settled")?;
    completed(app, row).await
}

/// The account that it comes from has less at once: what is on its way is on neither side twice.
async fn send(app: &App, row: &Journal, transfer: Transfer) -> Result<Journal> {
    app.ledger.hold_journal(transfer).await?;
    app.crash.at("journal.held")?;
    let sent = (app.clock.now(), row.kind.expected_on(row.evidence.date));
    super::advance(app, row, Move { sent: Some(sent), ..Move::to(State::InTransit) }).await
}

/// `in_transit → completed | returned`, as the row says already.
pub(super) async fn land(app: &App, row: &Journal, outcome: Outcome) -> Result<Journal> {
    // What is not held can neither be posted nor voided, and the try would spend the id of that for ever.
    if !is_in_ledger(app, row).await? {
        return super::hold(app, row, HOLD_LOST).await;
    }
    let (answer, state) = match outcome {
        Outcome::Arrived => (app.ledger.post_journal(row.id).await, State::Completed),
        Outcome::Returned => (app.ledger.void_journal(row.id).await, State::Returned),
    };
    app.crash.at("journal.landed")?;
    match answer {
        Ok(()) => super::advance(app, row, Move::to(state)).await,
        Err(LedgerError::AlreadyResolved(how)) => {
            super::hold(app, row, &format!("said to be {}, and the ledger has it {how}", outcome.name())).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Of what has ended nothing is held, unless TigerBeetle was put back to before that end, and PostgreSQL was not: then it ends there once more, by
/// the same ids.
pub(super) async fn end_again(app: &App, row: &Journal) -> Result<()> {
    if app.ledger.journal_standing(row.id).await? != JournalStanding::Held {
        return Ok(());
    }
    let state = row.state.name();
    tracing::error!(journal.id = %row.id, state, "the ledger has lost how a journal ended: it ends there once more");
    let has_moved = row.state == State::Completed;
    if has_moved {
        app.ledger.post_journal(row.id).await?
    } else {
        app.ledger.void_journal(row.id).await?
    }
    Ok(app.crash.at("journal.ended_again")?)
}

/// Own money leaves only while what is held covers what is owed to customers. A balance that is read and then acted upon is worth nothing:
/// two could read the same one. So the amount is held first, and then the position is looked at with everything that is held counted as
/// gone. Of any two, the one whose hold came second sees the first one's, held or posted: they never both pass on money that is there once.
/// Both may fail; then one of them is proposed again. Whichever of post and void the ledger has first stays.
async fn take_out(app: &App, row: &Journal, transfer: Transfer) -> Result<Journal> {
    app.ledger.hold_journal(transfer).await?;
    app.crash.at("journal.held")?;
    let covered = app.ledger.position(row.amount.currency()).await? >= 0;
    app.crash.at("journal.looked")?;
    let answer = match covered {
        true => app.ledger.post_journal(row.id).await.map(|()| true),
        false => app.ledger.void_journal(row.id).await.map(|()| false),
    };
    app.crash.at("journal.booked")?;
    let moved = match answer {
        Ok(moved) => moved,
        // Said before, by a process that died or by another look.
        Err(LedgerError::AlreadyResolved(how)) => how == Resolution::Posted,
        Err(error) => return Err(error.into()),
    };
    if moved { completed(app, row).await } else { rejected(app, row, Failure::PositionShort).await }
}
