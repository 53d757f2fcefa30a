//! Money that came and is nobody's yet: each payment of ours that does not fit is an item, in the ledger account `suspense` to the cent,
//! until somebody says whose it is.
//!
//! ```text
//! set_aside   item written ─> the ledger moves provider_balance → suspense ─> open
//! claim       a row says how much of the item it takes, and only then moves it: never more than there is, once a row, and nothing of what the
//!               ledger has lost
//!               adjustments: suspense → wallet        journals: suspense → where it came from, or equity
//!               reversals: suspense → provider_balance (the payer got it back), or back again
//! move_for_payer  the same, of all of an item of which no row is known; by the purchase that brought it
//! ```
//!
//! Called by `deposits` and `reversals` for what fits no wallet, by `journals` for both, by `adjustments` and `reversals` for what leaves,
//! and by `inbox` (through `deposits`) for payments of which no row is known. `manual_review` and reconciliation look here, and the projector
//! has what the ledger knows of an item remembered ([`remember_some`]).

pub mod routes;
mod store;

use ledger::{Amount, Leg, Transfer, TransferCode, TransferId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::money::subject::Subject;
use crate::money::transactions::{self, Outcome};
use crate::money::{provider_objects, safe_mode};
use crate::platform::batcher::LockWait;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

pub use store::{Filter, Item, Payer};

/// Each is a query of the ledger.
const REMEMBERED_AT_ONCE: i64 = 50;

text_enum! {
    /// Why it is not in a wallet.
    #[schema(as = SuspenseItemKind)]
    pub enum ItemKind {
        OtherAmount = "other_amount",
        OtherCurrency = "other_currency",
        OtherReference = "other_reference",
        ClosedWallet = "closed_wallet",
        /// No row of ours is known for it.
        UnknownRow = "unknown_row",
        /// A correction moved it here.
        Correction = "correction",
        /// A journal of the company's put it here; the item has the journal's id.
        Journal = "journal",
    }
}

pub struct NewItem {
    /// The row's, or for want of one an id of that shape.
    pub id: Uuid,
    pub kind: ItemKind,
    pub transaction_id: Option<Uuid>,
    /// Revio's object that brought it.
    pub provider_id: Option<Uuid>,
    pub amount: Amount,
}

/// Books money that came and fits nobody. Safe to repeat.
pub async fn set_aside(app: &App, new: &NewItem) -> Result<()> {
    note(app, new).await?;
    let came = came(app, new.id, new.amount);
    app.ledger.open_once(&[came.debit, came.credit]).await?;
    app.ledger.transfer(came).await?;
    app.crash.at("suspense.booked")?;
    mark_booked(app, new).await
}

/// Writes the item before its money moves. Corrections and journals move it by themselves, and say [`mark_booked`] then.
pub async fn note(app: &App, new: &NewItem) -> Result<()> {
    Ok(store::insert(&app.db, new, app.clock.now()).await?)
}

/// The ledger has it.
pub async fn mark_booked(app: &App, new: &NewItem) -> Result<()> {
    // Before the item is ended: what is not booked yet is looked at again.
    if let Some(row) = new.transaction_id.filter(|_| new.kind != ItemKind::Correction) {
        transactions::set_outcome(app, row, Outcome::SetAside).await?;
    }
    Ok(store::set_booked(&app.db, new.id, app.clock.now()).await?)
}

/// What brings an item that came from Revio.
fn came(app: &App, item: Uuid, amount: Amount) -> Transfer {
    let (debit, credit) = (app.ledger.provider_balance(amount.currency()), app.ledger.suspense(amount.currency()));
    transfer(item, Leg::Unmatched, debit, credit, amount)
}

fn transfer(item: Uuid, leg: Leg, debit: ledger::Account, credit: ledger::Account, amount: Amount) -> Transfer {
    Transfer::new(TransferId::of(item, leg), debit, credit, amount, TransferCode::UnmatchedPayment).of_item(item)
}

/// Better told now than when it is booked, which is when it counts. In the safe mode nothing is cleared: who cleared it may be lost.
pub async fn check(app: &App, id: Uuid, amount: Amount) -> Result<()> {
    if safe_mode::is_on(app).await? {
        return Err(Error::field(
            "item_id",
            "cannot be cleared in the safe mode: it may have been already, and forgotten",
        ));
    }
    let item = match find(app, id).await {
        Err(Error::NotFound(_)) => return Err(Error::field("item_id", "is no item in suspense")),
        item => remember(app, item?, None).await?,
    };
    if item.booked_at.is_none() {
        return Err(Error::field("item_id", "is no item in suspense: it is being moved there, or was refused"));
    }
    if note_returned(app, &item).await? {
        return Err(Error::field("item_id", "is no item in suspense any more: its payer has it back"));
    }
    if !has_come(app, &item, item.taken_minor).await? {
        return Err(Error::field(
            "item_id",
            "is no item in suspense any more: the ledger was put back to before it came, and who has it is to be found out",
        ));
    }
    if is_being_followed(app, &item, None).await? {
        return Err(Error::field(
            "item_id",
            "is being looked at, whether its payer has it back: ask again in a minute",
        ));
    }
    if item.amount.currency() != amount.currency() {
        return Err(Error::field("currency", "is not that of the item in suspense"));
    }
    if amount.minor() > item.left() {
        return Err(Error::field("amount", format!("is more than is left of the item in suspense: {}", item.left())));
    }
    Ok(())
}

/// What left suspense may be forgotten while PostgreSQL is behind the ledger: it would leave once more, out of other people's items.
pub async fn require_clearable(app: &App) -> Result<()> {
    match safe_mode::is_on(app).await? {
        true => Err(Error::unavailable("nothing is cleared in suspense while the safe mode is on")),
        false => Ok(()),
    }
}

/// Claims so much of an item for a row, before the ledger moves it; less than zero puts it back. False when there is not so much: somebody
/// else was first, or the ledger has lost it. A repeat for the same row is true. In the safe mode it waits: who cleared the item may be lost.
pub async fn claim(app: &App, item: &Item, by: Subject, minor: i64) -> Result<bool> {
    require_clearable(app).await?;
    let item = &remember(app, item.clone(), Some(by.id())).await?;
    if note_returned(app, item).await? {
        return Ok(false);
    }
    let (transaction_id, _) = by.columns();
    if is_being_followed(app, item, transaction_id).await? {
        return Err(Error::unavailable("Revio is asked whether the payer of the item has it back"));
    }
    if item.booked_at.is_some() && !has_come(app, item, item.taken_minor).await? {
        return Ok(false);
    }
    let mut tx = app.db.begin().await?;
    if !store::insert_clearing(&mut *tx, item.id, by, minor, app.clock.now()).await? {
        return Ok(true);
    }
    if !store::take(&mut *tx, item.id, minor).await? {
        return Ok(false);
    }
    tx.commit().await?;
    app.crash.at("suspense.claimed")?;
    Ok(true)
}

/// What rows have taken of it that a database which was put back to an earlier moment has forgotten: by the ledger's word they have it, as if
/// they had claimed it here. `but`: who is about to claim it for itself.
async fn remember(app: &App, item: Item, but: Option<Uuid>) -> Result<Item> {
    let taken = app.ledger.taken_of_item(item.amount.currency(), item.id).await?;
    let at = |timestamp| DateTime::from_timestamp_nanos(i64::try_from(timestamp).unwrap_or(i64::MAX));
    let others = taken.iter().filter(|taken| Some(taken.row) != but);
    let taken: Vec<_> = others.map(|taken| (taken.row, taken.minor, at(taken.timestamp))).collect();
    if taken.is_empty() || store::insert_forgotten(&app.db, item.id, &taken).await? == 0 {
        return Ok(item);
    }
    tracing::error!(item.id = %item.id, "the ledger knows who took of an item in suspense, and its row is lost or behind");
    find(app, item.id).await
}

/// The same of some that are open, others each time, for who looks at what is there: the projector, again and again while the safe mode is on.
pub async fn remember_some(app: &App) -> Result<()> {
    for item in store::some_open(&app.db, REMEMBERED_AT_ONCE).await? {
        remember(app, item, None).await?;
    }
    Ok(())
}

/// What its payer got back of it may be on its way: that goes first.
async fn is_being_followed(app: &App, item: &Item, by: Option<Uuid>) -> Result<bool> {
    let Some(row) = item.transaction_id else { return Ok(false) };
    Ok(store::is_being_followed(&app.db, row, by).await?)
}

/// True when the payer has it back, or Revio took it (a reversal that failed), by the ledger's word: a database that was put back to an earlier
/// moment, and has forgotten that, is told.
async fn note_returned(app: &App, item: &Item) -> Result<bool> {
    let [returned, again, undone] =
        [Leg::UnmatchedReturn, Leg::UnmatchedAgain, Leg::Return].map(|leg| TransferId::of(item.id, leg));
    let recorded = app.ledger.lookup(&[returned, again, undone]).await?;
    let has = |id| recorded.iter().any(|transfer| transfer.id == id);
    let is_returned = has(undone) || has(returned) != has(again);
    if is_returned {
        store::return_all(&app.db, item.id, app.clock.now()).await?;
    }
    Ok(is_returned)
}

/// Whether the ledger has what brought the item: else who takes of it takes other people's money. One that was put back to before that has lost
/// it. What came from Revio comes once more then, by the same id, unless the ledger has lost besides what rows took of it, `taken` by PostgreSQL's
/// word; and what a correction or a journal brought comes no more: of those people find out who has it.
async fn has_come(app: &App, item: &Item, taken: i64) -> Result<bool> {
    let leg = match item.kind {
        ItemKind::OtherAmount
        | ItemKind::OtherCurrency
        | ItemKind::OtherReference
        | ItemKind::ClosedWallet
        | ItemKind::UnknownRow => Leg::Unmatched,
        ItemKind::Correction => Leg::Main,
        ItemKind::Journal => Leg::Journal,
    };
    if !app.ledger.lookup(&[TransferId::of(item.id, leg)]).await?.is_empty() {
        return Ok(true);
    }
    let recorded = app.ledger.taken_of_item(item.amount.currency(), item.id).await?;
    if leg != Leg::Unmatched || recorded.iter().map(|row| row.minor).sum::<i64>() != taken {
        tracing::error!(item.id = %item.id, "the ledger has lost what brought an item in suspense: nothing is taken of it");
        return Ok(false);
    }
    tracing::error!(item.id = %item.id, "the ledger has lost what brought an item in suspense: it is set aside once more");
    let came = came(app, item.id, item.amount);
    app.ledger.open(&[came.debit, came.credit]).await?;
    app.ledger.transfer(came).await?;
    app.crash.at("suspense.came_again")?;
    Ok(true)
}

/// What was claimed is open again: the ledger refused it, or it came back. What was put back by a claim is taken again: false when somebody
/// else has it meanwhile. Nothing to give up is true.
pub async fn give_up_claim(app: &App, by: Subject) -> Result<bool> {
    let mut tx = app.db.begin().await?;
    if !store::give_up(&mut tx, by, app.clock.now()).await? {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// The ledger refused what was to be set aside: it never came.
pub async fn give_up(app: &App, item: &NewItem) -> Result<()> {
    Ok(store::delete_unbooked(&app.db, item.id).await?)
}

/// What became of an item of which nothing is left, for the customer whose deposit it was.
pub async fn record_outcome(app: &App, item: &Item, outcome: Outcome) -> Result<()> {
    let Some(row) = item.transaction_id else { return Ok(()) };
    let left = store::find(&app.db, item.id).await?.map_or(0, |item| item.left());
    let outcome = if left > 0 { Outcome::SetAside } else { outcome };
    transactions::set_outcome(app, row, outcome).await
}

/// As it was noted, booked or not: whatever the ledger has of it was asked for here.
pub async fn noted(app: &App, id: Uuid) -> Result<Option<Item>> {
    Ok(store::find(&app.db, id).await?)
}

/// How an item of which no row is known stands with its payer, as it is noted. Asked for before what Revio says is added up: what was noted
/// by then is in that sum.
pub async fn payer(app: &App, item: &Item) -> Result<Payer> {
    Ok(store::payer(&app.db, item.id).await?)
}

/// What Revio says of the payer: whether all of it went back. Safe to repeat; each way once, for the transfers have the item's id. What people
/// have booked by a journal that names one of the `unbooked` Payments is not booked besides, nor taken for undone by another that is.
pub async fn move_for_payer(app: &App, item: &Item, (payer, is_back): (Payer, bool), unbooked: &[Uuid]) -> Result<()> {
    let (suspense, provider_balance) =
        (app.ledger.suspense(item.amount.currency()), app.ledger.provider_balance(item.amount.currency()));
    let gone = transfer(item.id, Leg::UnmatchedReturn, suspense, provider_balance, item.amount);
    if (payer, is_back) != (Payer::Unpaid, false) {
        require_clearable(app).await?;
        let item = remember(app, item.clone(), None).await?;
        // What its payer has back no row took.
        let taken = if payer == Payer::Returned { 0 } else { item.taken_minor };
        if !has_come(app, &item, taken).await? {
            return Err(Error::Unusable("given back by Revio, and the ledger has lost what brought it".into()));
        }
    }
    let mut tx = app.db.begin().await?;
    require_unnamed(&mut tx, unbooked).await?;
    match (payer, is_back) {
        (Payer::Unpaid, false) => return Ok(()),
        (Payer::Unpaid, true) => {
            if !store::return_all(&mut *tx, item.id, app.clock.now()).await? {
                return Err(Error::Unusable("given back by Revio, and somebody has it or some of it already".into()));
            }
        }
        (Payer::Returned, true) => {}
        (Payer::Returned | Payer::PaidAgain, false) => {
            store::note_paid_again(&mut *tx, item.id, app.clock.now()).await?
        }
        (Payer::PaidAgain, true) => {
            return Err(Error::Unusable("given back by Revio, paid again and given back once more".into()));
        }
    }
    tx.commit().await?;
    app.crash.at("suspense.returned")?;
    app.ledger.transfer(gone).await?;
    if !is_back {
        let again = transfer(item.id, Leg::UnmatchedAgain, provider_balance, suspense, item.amount);
        app.ledger.transfer(again).await?;
        app.crash.at("suspense.paid_again")?;
        let mut tx = app.db.begin().await?;
        store::open_again(&mut tx, item.id).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Until the SQL transaction ends, no such journal begins.
async fn require_unnamed(tx: &mut PgConnection, payments: &[Uuid]) -> Result<()> {
    provider_objects::lock_payments(tx, payments).await?;
    for payment in payments {
        if provider_objects::is_named(&mut *tx, *payment).await? {
            let named = format!("people have booked Revio's Payment {payment} already, by a journal that names it");
            return Err(Error::Unusable(named.into()));
        }
    }
    Ok(())
}

/// The item that an object of Revio's brought, once the ledger has it.
pub async fn of_object(app: &App, provider_id: Uuid) -> Result<Option<Item>> {
    Ok(noted_of_object(app, provider_id).await?.filter(|item| item.booked_at.is_some()))
}

/// The same, also where the ledger may have it or not: it was noted, and then we died.
pub async fn noted_of_object(app: &App, provider_id: Uuid) -> Result<Option<Item>> {
    app.batchers.look_up(app, provider_id, by_provider).await
}

async fn by_provider(app: App, lock_wait: LockWait, ids: Vec<Uuid>) -> Result<Vec<(Uuid, Item)>> {
    let items = store::find_by_provider(app.batch_db.of(lock_wait), &ids).await?.into_iter();
    Ok(items.filter_map(|item| Some((item.provider_id?, item))).collect())
}

/// The item that a row has put into suspense.
pub async fn of_row(app: &App, row: Uuid) -> Result<Option<Item>> {
    Ok(store::find(&app.db, row).await?.filter(|item| item.booked_at.is_some()))
}

pub async fn find(app: &App, id: Uuid) -> Result<Item> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("suspense item"))
}

/// Newest first.
pub async fn list(app: &App, filter: &Filter) -> Result<Vec<Item>> {
    Ok(store::list(&app.db, filter).await?)
}
