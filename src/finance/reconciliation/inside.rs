//! The inside leg: what rows say against what the ledger's copy has of them, the copy against the ledger, and the sums that must be equal. Called by
//! `stages`, a page at a time, and by `subjects` for one thing again. It decides and moves nothing.
//!
//! | state of a row | its transfers |
//! |---|---|
//! | deposit, correction, chargeback won: `completed` | posted, to the cent; before that none |
//! | withdrawal: `reserved` to `submitted` | reserved, and neither posted nor released |
//! | `completed` | posted; or released, and taken from the wallet or owed |
//! | `failed`, `rejected`, `cancelled` | released, or never reserved |
//! | refund, chargeback: `completed` | taken from the wallet, the rest owed; `failed`: given back |
//! | journal on its way | reserved; `completed`: posted; `returned`: released |
//! | what was set aside | as much in suspense as the item says |

mod store;

use ledger::{AccountCode, Currency};
use uuid::Uuid;

use super::found::{BreakType, Found};
use super::run::Run;
use crate::app::App;
use crate::books::projector::{self, Difference, What};
use crate::money::journals;
use crate::money::transactions::{Kind, State};
use crate::platform::error::{Error, Result};
use crate::platform::queue::{self, LEASE};

use self::store::{Facts, Moved};

/// Rows and transfers of one page: some 2 MB, some 100 ms.
const PAGE: i64 = 5_000;

/// What a page brought.
pub(super) struct Page<At> {
    pub(super) found: Vec<Found>,
    pub(super) looked_at: usize,
    /// Where the next one begins; `None` = it was the last.
    pub(super) next: Option<At>,
}

pub(super) async fn rows(app: &App, run: &Run, after: Uuid) -> Result<Page<Uuid>> {
    let ids = store::rows_after(&app.db, run, (after, run.oldest_row()), PAGE).await?;
    Ok(Page { found: check_rows(app, run, &ids).await?, looked_at: ids.len(), next: following(&ids) })
}

pub(super) async fn journals(app: &App, run: &Run, after: Uuid) -> Result<Page<Uuid>> {
    let ids = store::journals_after(&app.db, run, after, PAGE).await?;
    Ok(Page { found: check_journals(app, run, &ids).await?, looked_at: ids.len(), next: following(&ids) })
}

fn following(ids: &[Uuid]) -> Option<Uuid> {
    ids.last().copied().filter(|_| queue::is_full(ids.len(), PAGE))
}

/// Transfers that the ledger made since the last cut: whether somebody asked for them, and what their rows say.
pub(super) async fn transfers(app: &App, run: &Run, after: i64) -> Result<Page<i64>> {
    let moved = store::moved_after(&app.db, after, run.ledger_cut, PAGE).await?;
    let mut found: Vec<Found> =
        moved.iter().filter(|moved| !moved.asked_for).map(|moved| stray(run, moved)).collect::<Result<_>>()?;
    // Of the daily run every row was looked at before.
    if !run.is_whole() {
        let mut rows: Vec<Uuid> = moved.iter().map(|moved| moved.reference).collect();
        rows.sort_unstable();
        rows.dedup();
        found.extend(check_rows(app, run, &rows).await?);
        found.extend(check_journals(app, run, &rows).await?);
    }
    let last = moved.last().map(|moved| moved.timestamp);
    let is_full = queue::is_full(moved.len(), PAGE);
    Ok(Page { found, looked_at: moved.len(), next: last.filter(|_| is_full) })
}

pub(super) async fn check_rows(app: &App, run: &Run, ids: &[Uuid]) -> Result<Vec<Found>> {
    let facts = store::rows(&app.db, ids, run.until, &app.config.currency_codes()).await?;
    let found = facts.iter().filter(|row| !is_leased(app, row)).filter_map(|row| {
        let found = verdict(row).transpose()?.and_then(|(kind, sums)| break_of(kind, row, sums));
        Some(found.map(|found| Found { transaction_id: Some(row.id), ..found }))
    });
    found.collect()
}

pub(super) async fn check_journals(app: &App, run: &Run, ids: &[Uuid]) -> Result<Vec<Found>> {
    let facts = store::journals(&app.db, ids, run.until).await?;
    let found = facts.iter().filter(|row| !is_leased(app, row)).filter_map(|row| {
        let found = verdict_of_journal(row).transpose()?.and_then(|(kind, sums)| break_of(kind, row, sums));
        Some(found.map(|found| Found { journal_id: Some(row.id), ..found }))
    });
    found.collect()
}

/// Whether somebody has a row in hand, or has moved it since: then nothing is said of it.
pub(super) async fn is_in_hand(app: &App, run: &Run, row: Uuid) -> Result<bool> {
    let rows = store::rows(&app.db, &[row], run.until, &app.config.currency_codes()).await?;
    let journals = store::journals(&app.db, &[row], run.until).await?;
    let facts = rows.iter().chain(&journals);
    Ok(facts.clone().next().is_none() || facts.into_iter().any(|row| is_leased(app, row)))
}

fn is_leased(app: &App, row: &Facts) -> bool {
    let now = app.clock.now();
    row.due_at.is_some_and(|due| due > now && due <= now + LEASE)
}

/// Expected and actual.
type Sides = (i64, i64);

fn break_of(kind: BreakType, row: &Facts, (expected, actual): Sides) -> Result<Found> {
    let since = if kind == BreakType::ReservationStale { row.held_at } else { None };
    let observed = format!(
        "v{} {}{} {:?} {:?} {:?} {}",
        row.version,
        row.state,
        if row.voided { " voided" } else { "" },
        row.main_minor,
        row.post_minor,
        row.unmatched_minor,
        row.transfers
    );
    let found = Found::new(kind, since.unwrap_or(row.updated_at), observed);
    let found = found.sums(currency(&row.currency)?, Some(expected), Some(actual));
    Ok(found
        .evident("kind", row.kind.as_str())
        .evident("state", row.state.as_str())
        .evident("transfers", row.transfers))
}

fn currency(code: &str) -> Result<Currency> {
    Currency::parse(code).ok_or_else(|| Error::internal(format!("a stored currency is {code}")))
}

/// What moved as it should, or what is wrong.
fn moved(expected: i64, actual: Option<i64>) -> Option<(BreakType, Sides)> {
    match actual {
        None => Some((BreakType::RowWithoutTransfer, (expected, 0))),
        Some(actual) if actual != expected => Some((BreakType::AmountLedger, (expected, actual))),
        Some(_) => None,
    }
}

fn moved_early(actual: Option<i64>) -> Option<(BreakType, Sides)> {
    actual.map(|actual| (BreakType::StateLedger, (0, actual)))
}

fn sum(parts: [Option<i64>; 2]) -> Option<i64> {
    parts.into_iter().flatten().reduce(i64::saturating_add)
}

fn verdict(row: &Facts) -> Result<Option<(BreakType, Sides)>> {
    if let Some(wrong) = row.item_minor.and_then(|item| moved(item, row.unmatched_minor)) {
        return Ok(Some(wrong));
    }
    let known = Kind::parse(&row.kind).zip(State::parse(&row.state));
    let (kind, state) = known.ok_or_else(|| Error::internal(format!("a stored row is {} {}", row.kind, row.state)))?;
    let (amount, taken) = (row.amount_minor, sum([row.main_minor, row.receivable_minor]));
    Ok(match (kind, state) {
        (Kind::Withdrawal, _) => verdict_of_withdrawal(row, state),
        (Kind::Refund | Kind::Chargeback, State::Completed) => moved(amount, taken),
        (Kind::Refund | Kind::Chargeback, State::Failed) => match (taken, row.item_minor) {
            (None, _) | (Some(_), Some(_)) => None,
            (Some(_), None) => match row.returned_minor {
                // Given back to the wallet; or, of one that was taken from it, to what was owed.
                None => moved_early(taken),
                returned => moved(amount, returned),
            },
        },
        (Kind::ChargebackReversal, State::Failed) => match row.main_minor {
            None => None,
            Some(_) => match sum([row.returned_minor, row.receivable_minor]) {
                None => moved_early(row.main_minor),
                returned => moved(amount, returned),
            },
        },
        (Kind::Deposit | Kind::ChargebackReversal | Kind::Adjustment, State::Completed) => {
            match row.main_kind.as_deref() {
                Some("pending") => moved_early(taken),
                _ => moved(amount, row.main_minor),
            }
        }
        (
            Kind::Deposit | Kind::Refund | Kind::Chargeback | Kind::ChargebackReversal | Kind::Adjustment,
            State::AwaitingPayment
            | State::AwaitingApproval
            | State::Initiated
            | State::Reserved
            | State::Submitting
            | State::Submitted
            | State::Rejected
            | State::Failed
            | State::Cancelled
            | State::Expired,
        ) => moved_early(taken),
    })
}

fn verdict_of_withdrawal(row: &Facts, state: State) -> Option<(BreakType, Sides)> {
    let amount = row.amount_minor;
    let late = sum([row.late_minor, row.receivable_minor]);
    let resolved = row.voided || row.post_minor.is_some();
    match state {
        State::Initiated => moved_early(row.main_minor),
        State::Completed => match (row.post_minor, late) {
            (None, None) if row.main_minor.is_some() => Some((BreakType::StateLedger, (amount, 0))),
            (posted, late) => moved(amount, sum([posted, late])),
        },
        State::Failed | State::Rejected | State::Cancelled => match sum([row.post_minor, late]) {
            Some(paid) => Some((BreakType::StateLedger, (0, paid))),
            None if row.main_minor.is_some() && !resolved => Some((BreakType::ReservationStale, (0, amount))),
            None => None,
        },
        // It is reserved, whatever it waits for.
        State::AwaitingApproval
        | State::Reserved
        | State::Submitting
        | State::Submitted
        | State::AwaitingPayment
        | State::Expired => match (row.post_minor, moved(amount, row.main_minor)) {
            (Some(posted), _) => Some((BreakType::StateLedger, (0, posted))),
            (None, Some(wrong)) => Some(wrong),
            (None, None) if row.voided && !row.is_ending => Some((BreakType::StateLedger, (amount, 0))),
            (None, None) if row.held_at.is_some() && !resolved => Some((BreakType::ReservationStale, (0, amount))),
            (None, None) => None,
        },
    }
}

fn verdict_of_journal(row: &Facts) -> Result<Option<(BreakType, Sides)>> {
    let known = journals::Kind::parse(&row.kind).zip(journals::State::parse(&row.state));
    let (kind, state) =
        known.ok_or_else(|| Error::internal(format!("a stored journal is {} {}", row.kind, row.state)))?;
    let amount = row.amount_minor;
    let pending = row.main_kind.as_deref() == Some("pending") && row.post_minor.is_none() && !row.voided;
    Ok(match state {
        journals::State::Completed if kind.is_in_two_phases() => match row.post_minor {
            None if row.main_minor.is_some() => Some((BreakType::StateLedger, (amount, 0))),
            posted => moved(amount, posted),
        },
        journals::State::Completed => moved(amount, row.main_minor),
        journals::State::InTransit if row.post_minor.is_some() || row.voided => {
            Some((BreakType::StateLedger, (amount, row.post_minor.unwrap_or(0))))
        }
        journals::State::InTransit => moved(amount, row.main_minor),
        // Sent back by the bank; or held, and refused for the customers' sake.
        journals::State::Returned | journals::State::Rejected if row.voided => None,
        journals::State::AwaitingApproval
        | journals::State::Initiated
        | journals::State::Returned
        | journals::State::Rejected
        | journals::State::Cancelled
        | journals::State::Expired => {
            if pending {
                Some((BreakType::ReservationStale, (0, amount)))
            } else {
                moved_early(row.main_minor)
            }
        }
    })
}

fn stray(run: &Run, moved: &Moved) -> Result<Found> {
    // It was copied before the run's end, whatever the two clocks say.
    let since = moved.executed_at.min(run.until);
    let observed = format!("{} {}", moved.timestamp, moved.amount_minor);
    let found = Found::new(BreakType::TransferWithoutRow, since, observed);
    let found = found.sums(currency(&moved.currency)?, Some(0), Some(moved.amount_minor));
    Ok(Found { transfer_id: Some(moved.id), ..found }.evident("reference", moved.reference.to_string()))
}

pub(super) async fn check_transfer(app: &App, run: &Run, id: Uuid) -> Result<Vec<Found>> {
    let moved = store::moved(&app.db, id).await?;
    moved.iter().filter(|moved| !moved.asked_for).map(|moved| stray(run, moved)).collect()
}

/// What of the sums differs, and what could not be compared at this moment.
pub(super) struct Sums {
    pub(super) found: Vec<Found>,
    /// By fingerprint.
    pub(super) unknown: Vec<String>,
}

/// Debits and credits, who is below zero, and suspense against its items, unless one is on its way there.
pub(super) async fn sums(app: &App, run: &Run) -> Result<Sums> {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for sums in store::sums(&app.db).await? {
        let currency = currency(&sums.currency)?;
        let mut differ = |what: &str, account: Option<AccountCode>, (expected, actual): Sides| {
            if expected == actual {
                return;
            }
            // The sums themselves are others at each look.
            let difference = i128::from(actual) - i128::from(expected);
            let one = Found::new(BreakType::Unbalanced, run.sums_until(), difference.to_string());
            let one = one.sums(currency, Some(expected), Some(actual));
            found.push(Found { discriminator: Some(what.to_owned()), account, ..one });
        };
        differ("posted", None, (sums.debits, sums.credits));
        differ("pending", None, (sums.debits_pending, sums.credits_pending));
        differ("below_zero", None, (0, sums.below_zero));
        differ("suspense_items", Some(AccountCode::Suspense), (sums.items, sums.suspense));
        if sums.moving > 0
            && let Some(compared) = found.pop_if(|one| one.discriminator.as_deref() == Some("suspense_items"))
        {
            unknown.push(compared.fingerprint());
        }
    }
    Ok(Sums { found, unknown })
}

/// A page of the ledger against its copy.
pub(super) async fn copy(app: &App, run: &Run, currency: Currency, after: i64) -> Result<Page<i64>> {
    let page = projector::compare_page(app, currency, after, run.ledger_cut).await?;
    let found = page.different.into_iter().map(|id| wrong_line(run, Some(currency), id)).collect();
    Ok(Page { found, looked_at: page.transfers, next: page.last })
}

pub(super) fn wrong_line(run: &Run, currency: Option<Currency>, id: Uuid) -> Found {
    let found = Found::new(BreakType::CopyLine, run.until, "differs");
    Found { currency, transfer_id: Some(id), ..found }
}

pub(super) fn wrong_account(run: &Run, id: Uuid, currency: Option<Currency>) -> Found {
    let found = Found::new(BreakType::CopyLine, run.until, "differs");
    Found { currency, discriminator: Some(id.to_string()), ..found }.evident("account_id", id.to_string())
}

/// Every line and every account, with the balances on them, as [`projector::verify`] compares them.
pub(super) async fn verify(app: &App, run: &Run) -> Result<Vec<Found>> {
    let report = projector::verify(app).await?;
    let parsed = |code: Option<String>| code.map(|code| currency(&code)).transpose();
    let mut found = Vec::with_capacity(report.differences.len());
    for Difference { what, id, problem } in report.differences {
        let one = match what {
            What::Account => wrong_account(run, id, parsed(store::currency_of_account(&app.db, id).await?)?),
            What::Transfer => {
                let moved = store::moved(&app.db, id).await?;
                wrong_line(run, parsed(moved.map(|moved| moved.currency))?, id)
            }
        };
        found.push(one.evident("problem", problem));
    }
    Ok(found)
}
