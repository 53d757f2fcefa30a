//! Every object of Revio's that we ever heard of, and what it said last: purchases, payouts, and the Payments that give a purchase back.
//! `deposits` and `withdrawals` ask Revio through here; `inbox` tells here what an event announces.
//!
//! ```text
//! announce   an event says that the object changed at T ─> an answer from before T is no answer yet
//! purchase   GET ─┬─> not older than what is known: recorded, believed
//! payout          └─> older: asked again, in seconds, then minutes
//! payment    an object with an id, an amount and a direction of its own: booked once by that id (`deposits::given_back`)
//! ```

mod store;
mod writes;

use std::collections::HashMap;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::app::App;
use crate::money::transactions::{self, Hold, Transaction};
use crate::platform::batcher::LockWait;
use crate::platform::clock::DateTime;
use crate::platform::digest::sha256;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;
use crate::provider::revio::objects::{Flag, Payment, PaymentDetails};
use crate::provider::revio::{Payout, PayoutStatus, Purchase, RevioError};

use store::{Announcement, Snapshot};
pub use store::{Known, count_executions, is_named, lock_payments, note_forgotten_executions};
use writes::{Announcements, Snapshots};

pub const UNKNOWN_MAX: TimeDelta = TimeDelta::minutes(30);
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(5);
/// Of a word of Revio's that nobody knows, in what is said of it.
const WORD_CHARS_MAX: usize = 40;
/// What a UUIDv7 has room for, above its other bits.
const MILLIS_MAX: u64 = 1 << 47;
const TIME_SHIFT: u32 = 80;
/// So far Revio's clock may be ahead of ours.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);
/// For so long an answer that is older than what Revio told before is waited out; then it is a fault of this object.
const STALE_MAX: TimeDelta = TimeDelta::hours(1);

text_enum! {
    #[schema(as = ProviderObjectKind)]
    pub enum ObjectKind {
        Purchase = "purchase",
        Payout = "payout",
        Refund = "refund",
        Chargeback = "chargeback",
        ChargebackReversal = "chargeback_reversal",
        /// One that does not say what it is for.
        Payment = "payment",
    }
}

impl ObjectKind {
    /// What a purchase is asked about, and answers for: that it is told once more says nothing of how old that answer is.
    fn is_of_purchase(self) -> bool {
        match self {
            Self::Refund | Self::Chargeback | Self::ChargebackReversal | Self::Payment => true,
            Self::Purchase | Self::Payout => false,
        }
    }
}

/// What became of an object that Revio told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// What we have says the same now: nobody need ask again.
    Settled,
    /// It is about no row of ours, and no money of ours moved.
    NothingOfOurs,
}

/// Revio told of this object, as it was at `updated_on` by Revio's clock.
pub async fn announce(app: &App, kind: ObjectKind, id: Uuid, updated_on: Option<i64>) -> Result<()> {
    let now = app.clock.now();
    let Some(updated_on) = changed_on(updated_on, now) else { return Ok(()) };
    app.batchers.join::<Announcements>(app, Announcement { id, kind, updated_on, now }).await
}

/// By Revio's clock. No answer would ever be as new as a moment that is not there yet, or is in another unit: that counts for nothing.
fn changed_on(updated_on: Option<i64>, now: DateTime) -> Option<i64> {
    let newest = (now + CLOCKS_APART).timestamp();
    if let Some(updated_on) = updated_on
        && updated_on > newest
    {
        tracing::warn!(updated_on, newest, "Revio tells of the future; when the object changed counts for nothing");
        return None;
    }
    updated_on
}

/// Asks Revio for a purchase; `row` is whose it is, where that is known.
pub async fn ask_for_purchase(app: &App, row: Option<Uuid>, id: Uuid) -> Result<Purchase> {
    let purchase = app.revio.purchase(id).await?;
    record_purchase(app, row, &purchase).await?;
    Ok(purchase)
}

/// Asks Revio for a payout.
pub async fn ask_for_payout(app: &App, row: Option<Uuid>, id: Uuid) -> Result<Payout> {
    record_payout(app, row, app.revio.payout(id).await?).await
}

/// `None`: Revio does not know what it was asked for.
pub fn if_known<T>(asked: Result<T>) -> Result<Option<T>> {
    match asked {
        Err(Error::Unusable(cause)) if matches!(cause.downcast_ref(), Some(RevioError::NotFound)) => Ok(None),
        asked => asked.map(Some),
    }
}

/// What an event is about, and nobody knows: no row, and Revio itself does not, or not yet. Asked again; in the end it is nothing of ours.
#[derive(Debug, thiserror::Error)]
#[error("an event is about what Revio does not know")]
pub struct NotKnown;

/// Of an event that no row is known for.
pub fn or_not_known<T>(asked: Result<T>) -> Result<T> {
    if_known(asked)?.ok_or_else(|| Error::Unusable(NotKnown.into()))
}

pub async fn record_purchase(app: &App, row: Option<Uuid>, purchase: &Purchase) -> Result<()> {
    let now = app.clock.now();
    let snapshot = Snapshot {
        transaction_id: row,
        created_on: purchase.created_on.whole(),
        updated_on: changed_on(purchase.updated_on.whole(), now),
        ..snapshot((purchase.id, ObjectKind::Purchase), purchase.status.word(), purchase.payment.as_ref(), now)
    };
    record(app, snapshot).await
}

/// As it is in the light of what Revio told before: an error of one that was paid is another thing than one of one that never was.
pub async fn record_payout(app: &App, row: Option<Uuid>, payout: Payout) -> Result<Payout> {
    let now = app.clock.now();
    let snapshot = Snapshot {
        transaction_id: row,
        was_paid: payout.was_paid(),
        updated_on: changed_on(payout.updated_on.whole(), now),
        ..snapshot((payout.id, ObjectKind::Payout), payout.status.word(), payout.payment.as_ref(), now)
    };
    record(app, snapshot).await?;
    if payout.status == PayoutStatus::Error && find(app, payout.id).await?.is_some_and(|known| known.paid_at.is_some())
    {
        return Ok(Payout { status: PayoutStatus::Returned, ..payout });
    }
    Ok(payout)
}

/// A Payment that an event brought, or that Revio was asked for. What an older event says of it changes nothing. One that events call two
/// things is an error: which of the two it is decides which way money goes.
pub async fn record_payment(app: &App, payment: &Payment, said: Option<ObjectKind>) -> Result<()> {
    let Some(purchase_id) = payment.purchase_id() else { return Ok(()) };
    // What the payer paid with: the purchase itself says all of it.
    if said.is_none() && is_what_was_paid(payment) {
        return Ok(());
    }
    let kind = said.unwrap_or_else(|| kind_of(payment));
    if let (Some(said), Some(known)) = (said, find(app, payment.id).await?)
        && goes_back(known.kind) != goes_back(said)
        && known.kind != ObjectKind::Payment
    {
        let reason =
            format!("Revio calls Payment {} a {} now, and a {} before", payment.id, said.name(), known.kind.name());
        return Err(Error::Unusable(reason.into()));
    }
    let now = app.clock.now();
    let snapshot = Snapshot {
        related_id: Some(purchase_id),
        created_on: payment.created_on.whole(),
        updated_on: changed_on(payment.updated_on.whole(), now),
        ..snapshot((payment.id, kind), &payment.status, payment.payment.as_ref(), now)
    };
    app.batchers.join::<Snapshots>(app, snapshot).await.map(drop)
}

fn is_what_was_paid(payment: &Payment) -> bool {
    let is = |details: &PaymentDetails| {
        matches!(details.payment_type.as_str(), "purchase" | "purchase_charge")
            && matches!(details.is_outgoing, Flag::No)
    };
    payment.payment.as_ref().is_some_and(is)
}

/// By its own words, where no event names it: a refund says so, and of the others the direction tells (`docs/provider.md`, kinds). What Revio
/// pays to somebody's bank account is no chargeback: it moves nothing.
fn kind_of(payment: &Payment) -> ObjectKind {
    let Some(details) = &payment.payment else { return ObjectKind::Payment };
    match (details.payment_type.as_str(), &details.is_outgoing) {
        ("refund", _) => ObjectKind::Refund,
        ("bank_payment" | "payout", Flag::Yes) => ObjectKind::Payment,
        (_, Flag::Yes) => ObjectKind::Chargeback,
        (_, Flag::No) => ObjectKind::ChargebackReversal,
        (_, Flag::Unsaid | Flag::Odd(_)) => ObjectKind::Payment,
    }
}

/// From us to the payer.
fn goes_back(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Refund | ObjectKind::Chargeback)
}

async fn record(app: &App, snapshot: Snapshot) -> Result<()> {
    match app.batchers.join::<Snapshots>(app, snapshot).await? {
        Some(known) => Err(record_stale_answer(app, &known).await),
        None => Ok(()),
    }
}

/// Revio's answer is from before what it has told of this object: a fault of its caches, and in the end one of the object. Writes down since
/// when; `Unavailable` for an hour, then `Unusable`.
pub async fn record_stale_answer(app: &App, newer: &Known) -> Error {
    let stale = "Revio's answer is older than what it told before";
    let now = app.clock.now();
    match store::note_stale(&app.db, newer.id, now).await {
        Ok(since) if now - since < STALE_MAX => Error::unavailable(stale),
        Ok(_) => Error::Unusable(stale.into()),
        Err(error) => error.into(),
    }
}

/// Revio was asked about the payouts of a withdrawal and did not say whether one is paid: for how long it has not, since two people gave it up;
/// of one whose payouts only the ledger knows, since they did.
pub async fn note_unsaid(app: &App, withdrawal: &Transaction) -> Result<TimeDelta> {
    let now = app.clock.now();
    let since = store::note_unsaid(&app.db, withdrawal.id, (withdrawal.updated_at, now)).await?;
    Ok(now - since.unwrap_or(withdrawal.updated_at))
}

/// It has said so of all of them.
pub async fn end_unsaid(app: &App, withdrawal: &Transaction) -> Result<()> {
    Ok(store::end_unsaid(&app.db, withdrawal.id).await?)
}

/// Their purchase's answer knows these Payments.
pub async fn end_stale_answers(app: &App, payments: &[Known]) -> Result<()> {
    let stale = payments.iter().filter(|payment| payment.stale_since.is_some());
    let stale: Vec<Uuid> = stale.map(|payment| payment.id).collect();
    if stale.is_empty() {
        return Ok(());
    }
    Ok(store::end_stale(&app.db, &stale).await?)
}

/// What Revio says of any object now; what only one kind of them says is the caller's.
fn snapshot((id, kind): (Uuid, ObjectKind), status: &str, payment: Option<&PaymentDetails>, now: DateTime) -> Snapshot {
    Snapshot {
        id,
        kind,
        transaction_id: None,
        related_id: None,
        status: status.to_owned(),
        was_paid: false,
        // Which way it went is a part of how much it is.
        amount_minor: payment
            .filter(|payment| !matches!(payment.is_outgoing, Flag::Odd(_)))
            .and_then(|payment| payment.amount.whole()),
        fee_minor: payment.and_then(|payment| payment.fee_amount.whole()),
        currency: payment.map(|payment| payment.currency.clone()).filter(|code| !code.is_empty()),
        is_outgoing: payment.and_then(|payment| match payment.is_outgoing {
            Flag::Yes => Some(true),
            Flag::No => Some(false),
            Flag::Unsaid | Flag::Odd(_) => None,
        }),
        created_on: None,
        updated_on: None,
        now,
    }
}

pub async fn find(app: &App, id: Uuid) -> Result<Option<Known>> {
    Ok(store::find(&app.db, id).await?)
}

/// For how long Revio says of an object all that it says now, by our clock.
pub async fn unchanged_for(app: &App, id: Uuid) -> Result<TimeDelta> {
    let known = store::find(&app.db, id).await?;
    Ok(known.map_or(TimeDelta::zero(), |known| app.clock.now() - known.changed_at))
}

/// The Payments of a purchase that we know, oldest first.
pub async fn payments_of(app: &App, purchase_id: Uuid) -> Result<Vec<Known>> {
    Ok(app.batchers.look_up(app, purchase_id, payments).await?.unwrap_or_default())
}

async fn payments(app: App, lock_wait: LockWait, purchases: Vec<Uuid>) -> Result<Vec<(Uuid, Vec<Known>)>> {
    Ok(grouped_by(store::related_to(app.batch_db.of(lock_wait), &purchases).await?, |payment| payment.related_id))
}

/// In their order.
fn grouped_by(found: Vec<Known>, whose: fn(&Known) -> Option<Uuid>) -> Vec<(Uuid, Vec<Known>)> {
    let mut each = HashMap::<Uuid, Vec<Known>>::new();
    for known in found {
        each.entry(whose(&known).unwrap_or_default()).or_default().push(known);
    }
    each.into_iter().collect()
}

/// How many entries of a purchase's history its refunds that we know explain: one each, and of one that failed also the way back.
pub fn refund_entries(payments: &[Known]) -> usize {
    let refunds = payments.iter().filter(|payment| payment.kind == ObjectKind::Refund);
    refunds.map(|refund| if refund.has_failed() { 2 } else { 1 }).sum()
}

/// Every payout that was ever registered for a withdrawal, oldest first.
pub async fn payouts_of(app: &App, withdrawal: Uuid) -> Result<Vec<Known>> {
    Ok(app.batchers.look_up(app, withdrawal, payouts).await?.unwrap_or_default())
}

async fn payouts(app: App, lock_wait: LockWait, withdrawals: Vec<Uuid>) -> Result<Vec<(Uuid, Vec<Known>)>> {
    Ok(grouped_by(store::payouts_of(app.batch_db.of(lock_wait), &withdrawals).await?, |payout| payout.transaction_id))
}

/// Purchases that were made for a deposit, or that an event named as such: more than one where a commit was lost.
pub async fn purchases_of(app: &App, deposit: Uuid) -> Result<Vec<Known>> {
    Ok(store::purchases_of(&app.db, deposit).await?)
}

/// Asks Revio for Payments that a purchase names and of which no event came. That it can be asked is nowhere documented: where it does
/// not answer the call, in words or at all, they stay unknown: what is known does not wait for that.
pub async fn ask_for_payments(app: &App, ids: &[Uuid]) -> Result<()> {
    for id in ids {
        match app.revio.payment(*id).await {
            Ok(payment) => record_payment(app, &payment, None).await?,
            Err(error) if error.is_answer() => {}
            // The next one would wait as long.
            Err(RevioError::Transport(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Revio says a word that nobody knows: asked again for a while, then a person must look, within an hour.
pub async fn wait_for_a_known_word(app: &App, row: &Transaction, object: Uuid, word: &str) -> Result<Transaction> {
    if row.is_at_rest() || app.clock.now() - status_since(app, object).await? > UNKNOWN_MAX {
        let reason = format!("Revio calls it {}", shortened(word));
        return transactions::hold(app, row, Hold::UnknownStatus, &reason).await;
    }
    transactions::defer(app, row, LOOK_AGAIN).await
}

/// A word of Revio's that nobody knows, as it is told.
pub fn shortened(word: &str) -> String {
    word.chars().take(WORD_CHARS_MAX).collect()
}

/// Revio says a word that we know again: a row that only waited for that goes on after `pause`.
pub async fn end_unknown_word(app: &App, row: &Transaction, is_known: bool, pause: TimeDelta) -> Result<Transaction> {
    if !is_known {
        return Ok(row.clone());
    }
    transactions::end_hold_of(app, row, &[Hold::UnknownStatus], pause).await
}

/// Since when Revio has called it as it does, as far as we know.
pub async fn status_since(app: &App, object: Uuid) -> Result<DateTime> {
    Ok(find(app, object).await?.map_or(app.clock.now(), |known| known.status_at))
}

/// An execution did not happen, for certain: Revio refused it in words, or never heard of it. Once for each, or the payout may be paid twice.
pub async fn count_not_executed(app: &App, payout: Uuid) -> Result<()> {
    Ok(store::count_not_executed(&app.db, payout).await?)
}

/// The id of the row that an object of Revio's makes: always the same, so that a database which forgot the row makes the same one again, and
/// the ledger has its transfers already. Its time is the object's own, or where Revio does not say it, one that never changes
/// ([`millis_of`] the row it follows from); not that of the moment, which is another when the row is made again. Nor is it moved behind that row:
/// where a database has forgotten that one, nobody knows its time.
pub fn row_id(object: Uuid, created_on: Option<i64>, unsaid: u64) -> Uuid {
    let said = created_on.and_then(|secs| u64::try_from(secs.saturating_mul(1_000)).ok());
    let millis = said.filter(|millis| *millis < MILLIS_MAX).unwrap_or(unsaid);
    let random = sha256(object.as_bytes()).first_chunk().copied().expect("SHA-256 has 32 bytes");
    ledger::row_id(millis, random)
}

/// When a row was made, as its id says it.
pub fn millis_of(row: Uuid) -> u64 {
    u64::try_from(row.as_u128() >> TIME_SHIFT).unwrap_or_default()
}

/// Whether it is the id of a row of ours, by its shape.
pub fn is_row_id(id: Uuid) -> bool {
    id.get_version_num() == 7 && id.as_u128() & 0xff == 0
}

/// The reference, where it is the id of a row of ours.
pub fn row_of(reference: &str) -> Option<Uuid> {
    reference.parse().ok().filter(|id| is_row_id(*id))
}
