//! What heals by itself: the step runs that Revio's event would have run, or what the ledger says is computed again. It asks Revio, uses the
//! same ids, and invents no transfer; then the difference is looked at again. Three tries, one a run. Called by `stages` for open breaks.
//!
//! | type | step |
//! |---|---|
//! | `paid_at_provider`, `reversed_at_provider`, `fee_provider` of a deposit, `fee_provider` of what goes back of one | `deposits::on_provider_event` |
//! | `payout_paid`, `fee_provider` of a withdrawal | `withdrawals::on_provider_event` |
//! | `state_ledger`, `reservation_stale` of an open row | the same, and its own next step |
//! | `copy_line`, `summary` | computed again |

use chrono::TimeDelta;
use ledger::Currency;

use super::breaks::{self, Break};
use super::found::{BreakType, Heals};
use super::run::Run;
use super::subjects::{self, Look};
use super::summaries;
use crate::app::App;
use crate::books::projector;
use crate::money::deposits::{self, Told};
use crate::money::transactions::{self, FailureReason, Kind, Transaction};
use crate::money::{provider_objects, withdrawals};
use crate::platform::error::{Error, Result};
use crate::provider::revio::{self, Errand};

/// One try. What fails by its own fault stays open; a part that is away is an error, and the try does not count twice.
pub(super) async fn heal(app: &App, run: &Run, known: &Break) -> Result<()> {
    if !breaks::begin_healing(app, known).await? {
        return Ok(());
    }
    app.crash.at("reconciliation.healing")?;
    let known = breaks::find(app, known.id).await?;
    match revio::on(Errand::Webhook, attempt(app, &known)).await {
        Ok(()) => {}
        Err(crashed @ Error::Crashed(_)) => return Err(crashed),
        Err(error) => {
            tracing::warn!(break.id = %known.id, kind = known.kind.name(), error = error.chain(), "a break did not heal");
        }
    }
    // What was healed has moved since the run's end.
    let now = Run { until: app.clock.now(), ..run.clone() };
    match subjects::look(app, &now, &known).await {
        Ok(Look::Gone) => breaks::gone(app, run.id, &known).await,
        Ok(Look::There(_) | Look::Unknown) => breaks::end_healing(app, &known).await,
        Err(error) => {
            breaks::end_healing(app, &known).await?;
            Err(error)
        }
    }
}

async fn attempt(app: &App, known: &Break) -> Result<()> {
    match known.kind.rule().heals {
        Heals::AsTheEvent => match known.transaction_id {
            Some(row) => as_the_event(app, &transactions::find(app, row).await?, known).await,
            None => Ok(()),
        },
        Heals::Step => match known.transaction_id {
            Some(row) => step(app, &transactions::find(app, row).await?, known).await,
            None => Ok(()),
        },
        Heals::Recompute => recompute(app, known).await,
        Heals::Never | Heals::Proposes => Ok(()),
    }
}

async fn as_the_event(app: &App, row: &Transaction, known: &Break) -> Result<()> {
    // What a person has closed, a person opens; but money that came or left all the same has its row.
    let has_moved = matches!(known.kind, BreakType::PaidAtProvider | BreakType::PayoutPaid);
    if row.failure_reason == Some(FailureReason::ClosedByReview) && !has_moved {
        return Ok(());
    }
    let Some(object) = known.provider_id.or(row.provider.id) else { return Ok(()) };
    let told = |id| Told { id, paid_on: None };
    match row.kind {
        Kind::Deposit => deposits::on_provider_event(app, told(object), Some(row.id)).await.map(drop),
        Kind::Withdrawal => withdrawals::on_provider_event(app, object, Some(row.id)).await.map(drop),
        Kind::Refund | Kind::Chargeback | Kind::ChargebackReversal => {
            let Some(deposit) = row.parent_id else { return Ok(()) };
            let deposit = transactions::find(app, deposit).await?;
            let Some(purchase) = deposit.provider.id else { return Ok(()) };
            provider_objects::ask_for_payments(app, &[object]).await?;
            deposits::on_provider_event(app, told(purchase), Some(deposit.id)).await.map(drop)
        }
        Kind::Adjustment => Ok(()),
    }
}

/// An open row: what Revio's event would do, and its own step at once. What has ended or is on hold is for a person.
async fn step(app: &App, row: &Transaction, known: &Break) -> Result<()> {
    if row.due_at.is_none() {
        return Ok(());
    }
    // What takes a deposit back needs no word of Revio's any more; a second payment is a deposit.
    if row.provider.id.is_some() && matches!(row.kind, Kind::Deposit | Kind::Withdrawal) {
        as_the_event(app, row, known).await?;
    }
    let row = transactions::find(app, row.id).await?;
    transactions::defer(app, &row, TimeDelta::zero()).await?;
    app.notifier.wake();
    Ok(())
}

async fn recompute(app: &App, known: &Break) -> Result<()> {
    let currency = known.currency.as_deref().and_then(Currency::parse);
    match (known.kind, known.transfer_id, subjects::account_of(known).zip(currency)) {
        (BreakType::Summary, _, _) => summaries::recompute(app, known).await,
        (_, Some(transfer), _) => projector::recompute_line(app, transfer).await,
        (_, None, Some((account, currency))) => projector::recompute_account(app, currency, account).await,
        (_, None, None) => Ok(()),
    }
}
