//! What Revio's word on a payout means for its withdrawal. Called by `withdrawals` when Revio tells and by `payouts` when it is asked, by
//! `withdrawals` and `approval` before money is free again, by `restored` for a payout that the row forgot, and by `late_outcomes`, which asks for every one.
//!
//! ```text
//! apply ─> adopt_executed ─> adopt ─> act_on ─> booking
//!        └─> act_on
//! release_unless_paid ─┬─> adopt_executed, the row's own payout too
//!                      └─> booking: the row's own word
//! end_by_review ─┬─> adopt: Revio pays it all the same
//!                └─> booking: the word of two people
//! adopt ─> execution: note_in_ledger (this payout)
//! ```

use std::collections::HashSet;

use chrono::TimeDelta;
use uuid::Uuid;

use super::booking::{self, reported};
use super::execution::{
    IN_FLIGHT_MAX, Noted, is_own, note_in_ledger, until_no_call_counts, until_window_ends, window_is_open,
};
use crate::app::App;
use crate::money::provider_objects::{self, Known, UNKNOWN_MAX};
use crate::money::safe_mode;
use crate::money::transactions::{self, Due, FailureReason, Hold, Move, Provider, State, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::provider::revio::{Payout, PayoutStatus, RevioError};

/// A payout takes 3 to 5 days; one that Revio has no word for after this, a person must look at.
const UNDECIDED_MAX: TimeDelta = TimeDelta::days(14);
/// One that was said to have begun, and that Revio calls registered: that is no bank's time.
const NOT_BEGUN_MAX: TimeDelta = TimeDelta::hours(2);
/// Asking after a payout that Revio is working on.
const ASK_MIN: TimeDelta = TimeDelta::seconds(15);
const ASK_MAX: TimeDelta = TimeDelta::hours(6);
/// How long Revio's answer is insisted on before the decision of two people counts without it.
const ASKED_BEFORE_GIVING_UP: TimeDelta = TimeDelta::hours(1);

/// Revio's word on the row's own payout. Before money goes back: has Revio executed another one of this withdrawal? Then that one pays.
pub(super) async fn apply(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    if payout.status == PayoutStatus::Error
        && (is_own(app, withdrawal, payout) || booking::is_closed_by_review(app, withdrawal, payout))
        && let Some(adopted) = adopt_executed(app, withdrawal).await?
    {
        return Ok(adopted);
    }
    act_on(app, withdrawal, payout).await
}

/// Of every payout that was ever registered for it: has Revio executed another one than the row's? Then that one pays the customer.
pub(super) async fn adopt_executed(app: &App, withdrawal: &Transaction) -> Result<Option<Transaction>> {
    adopt_executed_but(app, withdrawal, withdrawal.provider.id).await
}

async fn adopt_executed_but(app: &App, withdrawal: &Transaction, asked: Option<Uuid>) -> Result<Option<Transaction>> {
    for known in provider_objects::payouts_of(app, withdrawal.id).await? {
        if Some(known.id) == asked {
            continue;
        }
        let asked = provider_objects::ask_for_payout(app, Some(withdrawal.id), known.id).await;
        let payout = match asked {
            // What was never to be executed, and is not there any more, pays nobody.
            asked if known.executions == 0 => match provider_objects::if_known(asked)? {
                Some(payout) => payout,
                None => continue,
            },
            asked => asked?,
        };
        match &payout.status {
            PayoutStatus::Initialized | PayoutStatus::Error => {}
            // What nobody here has executed may as well have ended by such a word.
            PayoutStatus::Unknown(word) if known.executions == 0 => {
                return provider_objects::wait_for_a_known_word(app, withdrawal, payout.id, word).await.map(Some);
            }
            PayoutStatus::Pending | PayoutStatus::Success | PayoutStatus::Returned | PayoutStatus::Unknown(_) => {
                return adopt(app, withdrawal, &payout).await.map(Some);
            }
        }
    }
    Ok(None)
}

/// `→ failed, cancelled`, as the row says: it is asked right before whether Revio has executed a payout all the same: one that the row let go of, or its
/// own, which we have not executed.
pub(super) async fn release_unless_paid(
    app: &App,
    withdrawal: &Transaction,
    reason: FailureReason,
) -> Result<Transaction> {
    match adopt_executed_but(app, withdrawal, None).await? {
        Some(adopted) => Ok(adopted),
        None => booking::void_reservation(app, withdrawal, reason).await,
    }
}

/// `reserved, awaiting_approval, submitting, submitted → submitted → …`: a payout was executed that the row had let go of, or had not
/// executed. It is taken for the withdrawal's own, before another is made: the customer is to be paid once. The ledger has it, too, where it
/// has room: a database that is put back to before this would register another.
pub(super) async fn adopt(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    // Revio pays it all the same.
    if let Noted::No(_) = note_in_ledger(app, withdrawal, payout.id).await? {
        tracing::warn!(transaction.id = %withdrawal.id, payout.id = %payout.id, "the ledger has no room to note it");
    }
    let provider = Provider { execution_url: payout.execution_url.clone(), ..reported(withdrawal, payout) };
    let to = Move::to(State::Submitted, Due::In(ASK_MIN)).with_provider(provider);
    let adopted = transactions::advance(app, withdrawal, to).await?;
    // Not before: of an event that came while the row's own step executed it, the row has moved since it was read.
    tracing::error!(transaction.id = %withdrawal.id, payout.id = %payout.id, "Revio executed a payout, and not by our own step");
    act_on(app, &adopted, payout).await
}

/// By Revio's word alone: nobody is asked any more.
async fn act_on(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<Transaction> {
    if !is_own(app, withdrawal, payout) && !booking::is_closed_by_review(app, withdrawal, payout) {
        let reason = "Revio's payout has another reference, mode or brand";
        return transactions::hold(app, withdrawal, Hold::NotProven, reason).await;
    }
    let withdrawal = &provider_objects::end_unknown_word(app, withdrawal, payout.status.is_known(), ASK_MIN).await?;
    // Also where its call was not answered, or not in words that say so. What nobody executed may end as an error, once its time is over.
    let has_begun = match payout.status {
        PayoutStatus::Pending | PayoutStatus::Success => true,
        PayoutStatus::Error => window_is_open(app, withdrawal),
        PayoutStatus::Initialized | PayoutStatus::Returned | PayoutStatus::Unknown(_) => false,
    };
    if withdrawal.state == State::Submitting && has_begun {
        app.revio.execution_took_effect(withdrawal.updated_at);
    }
    match &payout.status {
        PayoutStatus::Success => booking::complete(app, withdrawal, payout).await,
        PayoutStatus::Returned => booking::hold_returned(app, withdrawal).await,
        // What an older database has forgotten may have been executed once more: that is looked at first.
        PayoutStatus::Error if !safe_mode::has_looked(app) => wait(app, withdrawal, ASK_MIN).await,
        PayoutStatus::Error => match until_no_call_counts(app, withdrawal, payout.id).await? {
            Some(pause) => wait(app, withdrawal, pause).await,
            None => booking::void_reservation(app, withdrawal, FailureReason::ProviderCouldNotPay).await,
        },
        PayoutStatus::Initialized if withdrawal.state == State::Submitting => {
            transactions::defer(app, withdrawal, IN_FLIGHT_MAX).await
        }
        PayoutStatus::Pending | PayoutStatus::Unknown(_) if withdrawal.state == State::Submitting => {
            let to = Move::to(State::Submitted, Due::In(ASK_MIN)).with_provider(reported(withdrawal, payout));
            transactions::advance(app, withdrawal, to).await
        }
        PayoutStatus::Unknown(word) => provider_objects::wait_for_a_known_word(app, withdrawal, payout.id, word).await,
        PayoutStatus::Initialized | PayoutStatus::Pending => {
            let is_begun = payout.status == PayoutStatus::Pending;
            // An old answer about one that has begun counts from when it was first given, not from when the row was submitted.
            let since =
                if is_begun { withdrawal.updated_at } else { initialized_since(app, withdrawal, payout).await? };
            let age = app.clock.now() - since;
            let longest = if is_begun { UNDECIDED_MAX } else { NOT_BEGUN_MAX };
            if age > longest {
                let (id, word, hours) = (payout.id, payout.status.word(), age.num_hours());
                let reason = format!("Revio still calls payout {id} {word} after {hours} hours");
                return transactions::hold(app, withdrawal, Hold::Undecided, &reason).await;
            }
            transactions::defer(app, withdrawal, (age / 2).clamp(ASK_MIN, ASK_MAX)).await
        }
    }
}

async fn initialized_since(app: &App, withdrawal: &Transaction, payout: &Payout) -> Result<DateTime> {
    Ok(provider_objects::status_since(app, payout.id).await?.max(withdrawal.updated_at))
}

/// A row that waits for a person has no due time: then the event fails, and comes again.
async fn wait(app: &App, withdrawal: &Transaction, pause: TimeDelta) -> Result<Transaction> {
    if withdrawal.due_at.is_none() {
        return Err(Error::unavailable("what Revio says of the payout does not count yet"));
    }
    transactions::defer(app, withdrawal, pause).await
}

/// The ids of all its payouts that PostgreSQL or the ledger knows, its current one first. Fails if either store is away.
pub(super) async fn every_payout(app: &App, withdrawal: &Transaction) -> Result<Vec<Uuid>> {
    let noted = app.ledger.withdrawal_standing(withdrawal.id).await?.payouts;
    let registered = provider_objects::payouts_of(app, withdrawal.id).await?;
    let known = withdrawal.provider.id.into_iter().chain(noted).chain(registered.iter().map(|known| known.id));
    let mut seen = HashSet::new();
    Ok(known.filter(|id| seen.insert(*id)).collect())
}

/// By Revio's word on all payouts of a withdrawal.
enum Paid {
    /// By this one, or it is about to be.
    By(Box<Payout>),
    No,
    /// Of one of them Revio does not say.
    Unsaid(Error),
}

/// One that Revio does not know was never paid, unless it has said before that it had begun: then that is no answer. One that it has called
/// pending for longer than is waited for is what people decide about. An error says nothing of it: a store of ours is away, or Revio was not
/// asked, or only to wait.
async fn find_paying(app: &App, withdrawal: &Transaction, payouts: &[Uuid]) -> Result<Paid> {
    let known = provider_objects::payouts_of(app, withdrawal.id).await?;
    let never_began = |status: &str| matches!(status, "announced" | "initialized" | "error");
    let had_begun = |id| known.iter().any(|payout| payout.id == id && !never_began(&payout.status));
    // What was executed, by us or by somebody at Revio, is noted, unless the ledger is an older one.
    let noted = app.ledger.withdrawal_standing(withdrawal.id).await?.payouts;
    let was_executed = |id| noted.contains(&id) || known.iter().any(|payout| payout.id == id && payout.executions > 0);
    let mut unanswered = None;
    for &payout_id in payouts {
        let asked = match app.revio.payout(payout_id).await {
            Err(error @ (RevioError::NoPlace(_) | RevioError::Paused(_) | RevioError::RateLimited { .. })) => {
                // Of one before it was asked in vain.
                return unanswered.map_or_else(|| Err(error.into()), |unanswered| Ok(Paid::Unsaid(unanswered)));
            }
            asked => asked.map_err(Error::from),
        };
        let payout = match provider_objects::if_known(asked) {
            Ok(Some(payout)) => {
                // One that is older than what Revio told before says for certain only that money has left, or may.
                let recorded = provider_objects::record_payout(app, Some(withdrawal.id), payout.clone()).await;
                unanswered = recorded.err().or(unanswered);
                payout
            }
            Ok(None) => {
                if had_begun(payout_id) {
                    let gone = format!("Revio does not know payout {payout_id} any more, which had begun");
                    unanswered = Some(Error::Unusable(gone.into()));
                }
                continue;
            }
            Err(error) => {
                unanswered = Some(error);
                continue;
            }
        };
        let pays = match payout.status {
            PayoutStatus::Success => true,
            // What nobody executed may as well have ended so.
            PayoutStatus::Unknown(_) if !was_executed(payout_id) => {
                app.clock.now() - provider_objects::status_since(app, payout_id).await? < UNKNOWN_MAX
            }
            PayoutStatus::Pending | PayoutStatus::Unknown(_) => {
                app.clock.now() - provider_objects::status_since(app, payout_id).await? < UNDECIDED_MAX
            }
            PayoutStatus::Initialized | PayoutStatus::Error | PayoutStatus::Returned => false,
        };
        if pays {
            return Ok(Paid::By(Box::new(payout)));
        }
    }
    Ok(unanswered.map_or(Paid::No, Paid::Unsaid))
}

/// `reserved → failed`, as two people said, unless Revio has paid meanwhile, or has begun to, or may still by a call that was not
/// answered: it is asked right before. What it calls paid is complete then, though it was not as asked for. Where it does not answer for
/// so long, from the first time that it was asked, what the people said counts.
pub(super) async fn end_by_review(app: &App, withdrawal: &Transaction) -> Result<Transaction> {
    let payouts = every_payout(app, withdrawal).await?;
    match find_paying(app, withdrawal, &payouts).await? {
        Paid::By(payout) => return adopt(app, withdrawal, &payout).await,
        Paid::No => {
            let known = provider_objects::payouts_of(app, withdrawal.id).await?;
            let may_pay = known.iter().any(Known::is_unanswered);
            if let Some(pause) = until_window_ends(app, withdrawal).filter(|_| may_pay) {
                provider_objects::end_unsaid(app, withdrawal).await?;
                return transactions::defer(app, withdrawal, pause).await;
            }
        }
        Paid::Unsaid(error) => {
            let is_waited_for = provider_objects::note_unsaid(app, withdrawal).await? < ASKED_BEFORE_GIVING_UP;
            match error {
                // An answer that says nothing of it is as none.
                Error::Unusable(cause) if is_waited_for => return Err(Error::unavailable(cause)),
                error if is_waited_for => return Err(error),
                error => {
                    let error = error.chain();
                    tracing::warn!(transaction.id = %withdrawal.id, error, "given up, and Revio did not say whether it was paid");
                }
            }
        }
    }
    booking::void_reservation(app, withdrawal, FailureReason::ClosedByReview).await
}
