//! What Revio gives back of a deposit that was paid: refunds, chargebacks and their reversals. Each is an object of Revio's, a Payment with
//! an id, an amount and a direction of its own, and becomes one row, which `reversals` books; never a sum is inferred from a status or a
//! total. Called by `deposits`, and by the looks at completed deposits.
//!
//! ```text
//! Payments of the purchase ─┬─> each that is whole and not booked yet: a row (reversals takes or gives the money)
//! (events; or asked for)    ├─> booked, and failed after all: its row is undone
//!                           ├─> of what was set aside without a row of its own: follow_payer
//!                           └─> what Revio's purchase says besides must agree: else asked again, and after 45 minutes on hold
//! ```

mod sums;

use chrono::TimeDelta;
use ledger::Leg;
use uuid::Uuid;

use super::LATER_LOOKS;
use crate::app::App;
use crate::money::provider_objects::{self, Known, ObjectKind};
use crate::money::suspense::{self, Item, Payer};
use crate::money::transactions::{self, Direction, Due, FailureReason, Hold, Kind, Move, State, Transaction};
use crate::money::{adjustments, provider_fees};
use crate::platform::error::{Error, Result};
use crate::provider::revio::{Purchase, PurchaseStatus};
use sums::{Sums, effect_of};

/// What is not explained by then, a person must look at: within an hour of Revio's saying so.
const UNEXPLAINED_MAX: TimeDelta = TimeDelta::minutes(45);
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(5);
/// Of one purchase, in one look.
const ASKED_MAX: usize = 20;
/// Returned, paid again, and a look that finds nothing more.
const WAYS_MAX: usize = 3;

/// Refunds and chargebacks come weeks later, and their webhooks can be lost: a few more looks, then rest.
pub(super) async fn look_later(app: &App, deposit: &Transaction) -> Result<Transaction> {
    let Some(purchase_id) = deposit.provider.id else { return transactions::rest(app, deposit).await };
    // One that Revio does not know any more has no other word than before.
    let asked = provider_objects::ask_for_purchase(app, Some(deposit.id), purchase_id).await;
    let looked = match provider_objects::if_known(asked)? {
        Some(purchase) => {
            let (looked, wrong) = follow_closely(app, deposit, &purchase).await?;
            if wrong {
                return Ok(looked);
            }
            looked
        }
        None => deposit.clone(),
    };
    transactions::look_again(app, &looked, &LATER_LOOKS).await
}

pub(super) async fn follow(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Transaction> {
    Ok(follow_closely(app, deposit, purchase).await?.0)
}

/// What Revio says went back before we credited it, as long as its Payments do not explain it yet.
pub(super) async fn awaited(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<Option<String>> {
    if suspense::of_object(app, purchase.id).await?.is_some() {
        return Ok(None);
    }
    // An answer that is older than one of them is none, however long ago that was.
    let sums = add_up(app, deposit, purchase, payments(app, purchase).await?).await?;
    let is_waited_for = provider_objects::unchanged_for(app, purchase.id).await? <= UNEXPLAINED_MAX;
    Ok(sums.wrong(purchase).filter(|_| is_waited_for))
}

/// Whether something went back of it once, by the purchase's own word.
fn says_given_back(purchase: &Purchase) -> bool {
    purchase.ever(|status| matches!(status, PurchaseStatus::Refunded(_) | PurchaseStatus::ChargedBack(_)))
}

/// Whether something may have gone back of it, by the purchase's own word or by a Payment that we know.
pub(super) async fn may_be_given_back(app: &App, purchase: &Purchase) -> Result<bool> {
    Ok(says_given_back(purchase) || !provider_objects::payments_of(app, purchase.id).await?.is_empty())
}

/// Books what is new. Whether something is left that does not agree.
async fn follow_closely(app: &App, deposit: &Transaction, purchase: &Purchase) -> Result<(Transaction, bool)> {
    if deposit.state != State::Completed && suspense::of_row(app, deposit.id).await?.is_none() {
        // Set aside before it had a row, which books nothing of it; else nothing of it was booked, and there is nothing to give back.
        if let Some(item) = suspense::of_object(app, purchase.id).await? {
            follow_payer(app, &item, purchase).await?;
        }
        return Ok((deposit.clone(), false));
    }
    let mut sums = add_up(app, deposit, purchase, payments(app, purchase).await?).await?;
    if sums.wrong(purchase).is_some() {
        // What we know of them may be old.
        let known = provider_objects::payments_of(app, purchase.id).await?;
        let ids: Vec<Uuid> = known.iter().map(|payment| payment.id).take(ASKED_MAX).collect();
        provider_objects::ask_for_payments(app, &ids).await?;
        sums = add_up(app, deposit, purchase, provider_objects::payments_of(app, purchase.id).await?).await?;
    }
    let mut row = deposit.clone();
    let reversed = sums.noted();
    if !sums.new.is_empty() || reversed != deposit.reversed {
        row = transactions::reverse(app, deposit, reversed, &sums.new).await?;
    }
    for undone in &sums.undone {
        mark_undone(app, undone).await?;
    }
    let mut wrong = sums.wrong(purchase);
    for row in &sums.booked {
        let odd = provider_fees::book_of_reversal(app, row).await?.odd();
        // Of what was set aside nobody looks again by himself.
        wrong = wrong.or(odd.filter(|_| deposit.state == State::Completed));
    }
    if let (State::Completed, Some(payment)) = (deposit.state, &purchase.payment) {
        wrong = wrong.or(provider_fees::book(app, deposit.id, payment).await?.odd());
    }
    match (&purchase.status, wrong) {
        (PurchaseStatus::Unknown(word), _) => {
            Ok((provider_objects::wait_for_a_known_word(app, &row, purchase.id, word).await?, true))
        }
        // It is held and set aside: whoever decides about what is in suspense must know.
        (_, Some(wrong)) if row.state != State::Completed && is_held_for_a_person(&row) => {
            let Some(said) = &sums.in_other_currency else {
                // Nobody looks at it again by himself: the event does, and is a dead letter in the end.
                return Err(Error::Unusable(wrong.into()));
            };
            Ok((transactions::hold(app, &row, Hold::Contradiction, said).await?, true))
        }
        (_, Some(wrong)) => Ok((ask_again(app, &row, purchase, &wrong).await?, true)),
        (_, None) => {
            let over = [Hold::Unexplained, Hold::UnknownStatus];
            Ok((transactions::end_hold_of(app, &row, &over, LATER_LOOKS[0]).await?, false))
        }
    }
}

fn is_held_for_a_person(row: &Transaction) -> bool {
    row.held.as_ref().is_some_and(|held| !Hold::LACKS_A_WORD.contains(&held.code))
}

async fn add_up<'a>(
    app: &App,
    deposit: &'a Transaction,
    purchase: &Purchase,
    payments: Vec<Known>,
) -> Result<Sums<'a>> {
    let refunds = payments.iter().filter(|payment| payment.kind == ObjectKind::Refund && !payment.has_failed());
    let refunded = refunds.filter_map(|refund| refund.amount_minor).fold(0_i64, i64::saturating_add);
    if let Some(payment) = payments.iter().find(|payment| is_ahead(purchase, payment, refunded)) {
        return Err(provider_objects::record_stale_answer(app, payment).await);
    }
    provider_objects::end_stale_answers(app, &payments).await?;
    let ids: Vec<Uuid> = payments.iter().map(|payment| payment.id).collect();
    let rows = transactions::children_of(app, deposit.id, &ids).await?;
    Sums::of(deposit, purchase, &payments, &rows)
}

/// Whether Revio has told of a Payment that its purchase does not know yet: that is how it was before. `refunded`: by all that are known.
fn is_ahead(purchase: &Purchase, payment: &Known, refunded: i64) -> bool {
    let named = purchase.payments().any(|id| id == payment.id);
    let heard = match payment.kind {
        ObjectKind::Refund => {
            let paid = purchase.payment.as_ref().and_then(|payment| payment.amount.whole());
            let total = paid.and_then(|paid| purchase.refunded(paid));
            // Of several one may be missing yet, where a total says so.
            total.is_none_or(|total| refunded <= total)
                && purchase.ever(|status| matches!(status, PurchaseStatus::Refunded(_)))
        }
        // That something was charged back says nothing of its being won.
        ObjectKind::ChargebackReversal => {
            purchase.was_charged_back() && !matches!(purchase.status, PurchaseStatus::ChargedBack(_))
        }
        ObjectKind::Chargeback | ObjectKind::Payment | ObjectKind::Purchase | ObjectKind::Payout => {
            says_given_back(purchase)
        }
    };
    let older = purchase.updated_on.whole().zip(payment.updated_on).is_some_and(|(asked, changed)| asked < changed);
    older && !named && !heard
}

/// Those that we heard of, and those that the purchase names, where Revio tells them.
pub(super) async fn payments(app: &App, purchase: &Purchase) -> Result<Vec<Known>> {
    let known = provider_objects::payments_of(app, purchase.id).await?;
    let whole = |id: &Uuid| known.iter().any(|payment| payment.id == *id && payment.amount_minor.is_some());
    // One that is named again may have failed since.
    let again = |id: &Uuid| purchase.became_by(*id).count() > 1;
    let mut missing: Vec<Uuid> = purchase.payments().filter(|id| !whole(id) || again(id)).collect();
    missing.sort_unstable();
    missing.dedup();
    missing.truncate(ASKED_MAX);
    if missing.is_empty() {
        return Ok(known);
    }
    provider_objects::ask_for_payments(app, &missing).await?;
    provider_objects::payments_of(app, purchase.id).await
}

/// The row of an object that failed after all: undone by `reversals`. One that is not booked yet may be in the ledger all the same, so it
/// is booked before it is undone.
async fn mark_undone(app: &App, row: &Transaction) -> Result<()> {
    let direction = if row.kind == Kind::ChargebackReversal { Direction::Debit } else { Direction::Credit };
    if adjustments::hold_if_corrected(app, row, row.amount, direction, &[Leg::Return]).await?.is_some() {
        return Ok(());
    }
    tracing::error!(transaction.id = %row.id, kind = row.kind.name(), "Revio took back what it had given back");
    let state = if row.state == State::Initiated { State::Initiated } else { State::Failed };
    let to = Move::to(state, Due::Now).because(FailureReason::ProviderUndid);
    let undone = transactions::advance(app, row, to).await?;
    // For want of a wallet it came into suspense, and leaves it again.
    transactions::end_hold_of(app, &undone, &[Hold::SetAside], TimeDelta::zero()).await.map(drop)
}

pub(super) async fn ask_again(
    app: &App,
    deposit: &Transaction,
    purchase: &Purchase,
    wrong: &str,
) -> Result<Transaction> {
    // What is at rest is not looked at again by itself.
    if deposit.is_at_rest() || provider_objects::unchanged_for(app, purchase.id).await? > UNEXPLAINED_MAX {
        return transactions::hold(app, deposit, Hold::Unexplained, wrong).await;
    }
    transactions::defer(app, deposit, LOOK_AGAIN).await
}

/// The payer has all of it back or nothing, as Revio's Payments add up now; they may have been there before the money was set aside. Of two
/// events the other one may have seen that nothing is to be done before this one did it: so it is looked at again after each way.
pub(super) async fn follow_payer(app: &App, item: &Item, purchase: &Purchase) -> Result<()> {
    for _ in 0..WAYS_MAX {
        let payer = suspense::payer(app, item).await?;
        let is_back = is_back(app, item, purchase).await?;
        let stays = matches!((payer, is_back), (Payer::Unpaid | Payer::PaidAgain, false) | (Payer::Returned, true));
        let unbooked = unbooked(app, item, purchase).await?;
        suspense::move_for_payer(app, item, (payer, is_back), &unbooked).await?;
        if stays {
            return Ok(());
        }
    }
    Err(Error::unavailable("Revio says another thing of the payer each time"))
}

/// The Payments that the ledger has not booked of the item, whichever way they go.
async fn unbooked(app: &App, item: &Item, purchase: &Purchase) -> Result<Vec<Uuid>> {
    let mut unbooked = Vec::new();
    for payment in payments(app, purchase).await? {
        let comes = payment.kind == ObjectKind::ChargebackReversal;
        let leg = if comes { Leg::UnmatchedAgain } else { Leg::UnmatchedReturn };
        if !app.ledger.has(item.id, &[leg]).await? {
            unbooked.push(payment.id);
        }
    }
    Ok(unbooked)
}

async fn is_back(app: &App, item: &Item, purchase: &Purchase) -> Result<bool> {
    let (payments, mut back) = (payments(app, purchase).await?, 0_i64);
    let is_known = |id: Uuid| payments.iter().any(|payment| payment.id == id && payment.amount_minor.is_some());
    if let Some(id) = purchase.payments().find(|id| !is_known(*id)) {
        return Err(Error::Unusable(format!("given back by Revio, which does not say how much: Payment {id}").into()));
    }
    for payment in payments {
        back = match effect_of(&payment, item.amount.currency().code()) {
            Ok(Some((Kind::ChargebackReversal, minor))) => back.saturating_sub(minor),
            Ok(Some((_, minor))) => back.saturating_add(minor),
            Ok(None) => back,
            Err(odd) => return Err(Error::Unusable(odd.into())),
        };
    }
    match back {
        0 if is_whole_back(purchase) => Err(Error::Unusable("given back by Revio, which does not say how much".into())),
        0 => Ok(false),
        all if all == item.amount.minor() => Ok(true),
        part => Err(Error::Unusable(format!("{part} of suspense item {} was given back", item.id).into())),
    }
}

/// By the purchase's own word, and never charged back: then it may have been won.
fn is_whole_back(purchase: &Purchase) -> bool {
    let charged_back = matches!(purchase.status, PurchaseStatus::ChargedBack(_));
    charged_back || purchase.status.is_refunded() && !purchase.was_charged_back()
}
