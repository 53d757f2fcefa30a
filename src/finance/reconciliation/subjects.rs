//! One difference looked at again, by itself: for the second look, for breaks that a run has not come across, and after healing. Called by
//! `stages` and `healing`.

use ledger::Currency;
use uuid::Uuid;

use super::breaks::Break;
use super::found::{BreakType, Found};
use super::provider::{self, Asked};
use super::run::{Run, RunKind};
use super::{balances, inside, summaries};
use crate::app::App;
use crate::books::projector;
use crate::platform::error::{Error, Result};

pub(super) enum Look {
    There(Box<Found>),
    Gone,
    /// Somebody has it in hand, or it is not this run's to look at.
    Unknown,
}

pub(super) async fn look(app: &App, run: &Run, known: &Break) -> Result<Look> {
    use BreakType as T;
    // What a file alone says Revio itself denies: the next comparison of files is the second look.
    if !run.has(known.leg) || Found::is_by_statement(&known.fingerprint) {
        return Ok(Look::Unknown);
    }
    let found = match known.kind {
        T::RowWithoutTransfer | T::AmountLedger | T::StateLedger | T::ReservationStale => {
            return row(app, run, known).await;
        }
        T::TransferWithoutRow => inside::check_transfer(app, run, known.transfer_id.unwrap_or_default()).await?,
        T::Unbalanced => {
            let sums = inside::sums(app, run).await?;
            if sums.unknown.contains(&known.fingerprint) {
                return Ok(Look::Unknown);
            }
            sums.found
        }
        T::CopyLine => return copy(app, run, known).await,
        T::Summary => summaries::check_again(app, run, known).await?,
        T::PaidAtProvider
        | T::PayoutPaid
        | T::ReversedAtProvider
        | T::NotPaidAtProvider
        | T::AmountProvider
        | T::CurrencyProvider
        | T::FeeProvider => {
            let Some(row) = known.transaction_id else { return Ok(Look::Unknown) };
            match provider::ask(app, run, row).await? {
                Asked::FoundWithoutFee(_) if known.kind == T::FeeProvider => return Ok(Look::Unknown),
                Asked::Found(found) | Asked::FoundWithoutFee(found) => found,
                Asked::Skipped => return Ok(Look::Unknown),
            }
        }
        T::DuplicateProvider => provider::duplicates(app, run, known.transaction_id).await?,
        // Another run's balance is the second look.
        T::ProviderBalance if known.last_run_id == run.id => return Ok(Look::Unknown),
        T::ProviderBalance => match balances::provider(app, run).await {
            Err(error) if balances::is_untold(&error) => return Ok(Look::Unknown),
            compared => {
                let (found, sums) = compared?;
                if !known.currency.as_ref().is_some_and(|currency| balances::is_told(&sums, currency)) {
                    return Ok(Look::Unknown);
                }
                found
            }
        },
        T::PositionShort | T::D1Late if run.kind == RunKind::Daily => balances::position(app, run).await?.0,
        // What files say is found by who reads them.
        T::PositionShort
        | T::D1Late
        | T::SettlementUnbooked
        | T::ProviderOnly
        | T::BankOnly
        | T::MissingOnStatement
        | T::SettlementLate
        | T::BankMissing
        | T::BankBalance => return Ok(Look::Unknown),
    };
    Ok(pick(known, found))
}

fn pick(known: &Break, found: Vec<Found>) -> Look {
    let same = found.into_iter().find(|found| found.fingerprint() == known.fingerprint);
    same.map_or(Look::Gone, |found| Look::There(Box::new(found)))
}

async fn row(app: &App, run: &Run, known: &Break) -> Result<Look> {
    let id = known.transaction_id.or(known.journal_id).unwrap_or_default();
    if inside::is_in_hand(app, run, id).await? {
        return Ok(Look::Unknown);
    }
    let mut found = inside::check_rows(app, run, &[id]).await?;
    found.extend(inside::check_journals(app, run, &[id]).await?);
    Ok(pick(known, found))
}

async fn copy(app: &App, run: &Run, known: &Break) -> Result<Look> {
    let currency = known.currency.as_deref().and_then(Currency::parse);
    let (right, found) = match (known.transfer_id, account_of(known), currency) {
        (Some(transfer), _, _) => {
            (projector::line_is_right(app, transfer).await, inside::wrong_line(run, currency, transfer))
        }
        (None, Some(account), Some(of)) => {
            (projector::account_is_right(app, of, account).await, inside::wrong_account(run, account, currency))
        }
        (None, _, _) => return Ok(Look::Unknown),
    };
    match right {
        Ok(true) => Ok(Look::Gone),
        Ok(false) => Ok(Look::There(Box::new(found))),
        // The copy went on meanwhile.
        Err(Error::StaleState) => Ok(Look::Unknown),
        Err(error) => Err(error),
    }
}

/// Of a break about a whole account.
pub(super) fn account_of(known: &Break) -> Option<Uuid> {
    known.evidence["account_id"].as_str().and_then(|id| id.parse().ok())
}
