//! What the statements say that the books do not, and the other way round: reconciliation's bank leg, and the
//! statement's part of its provider leg.
//! `reconciliation` calls [`compare`] in each look; two looks, windows, severities and what becomes of a difference are its own.
//!
//! | kind | the statement | the books |
//! |---|---|---|
//! | `settlement_unbooked` | Revio sent money to the bank | no journal, or one of another sum |
//! | `provider_only` | money moved at Revio | no row, journal or item in suspense |
//! | `amount_provider`, `currency_provider` | another sum, or currency | than the row's |
//! | `fee_provider` | another fee | than was booked |
//! | `paid_at_provider`, `payout_paid` | money moved | the row is not complete, nothing was set aside |
//! | `not_paid_at_provider` | it ended without money | completed |
//! | `missing_on_statement` | its day is covered and it is not there | completed |
//! | `bank_only` | money moved at the bank | no journal, or one of another sum |
//! | `bank_missing` | its day is covered and it is not there | completed, or a top-up on its way |
//! | `settlement_late` | - | on its way for longer than it was expected to be: three business days, a top-up one |
//! | `bank_balance` | the closing balance | 1100 posted, without what came later, less top-ups on their way |

mod again;
mod store;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use ledger::{AccountCode, Currency};
use serde_json::{Value, json};

use self::store::{Days, LateJournal, UnmatchedLine};
use super::columns::Product;
use super::{Source, moved};
use crate::app::App;
use crate::finance::days;
use crate::finance::reconciliation::Run;
use crate::finance::reconciliation::found::{BY_STATEMENT, BreakType, Compared, Found, ReconciliationLeg};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::zone::{business_days_after, business_days_before};

/// The parts of it that reconciliation takes, each with its leg.
pub const OF_REVIO: &[BreakType] =
    &[BreakType::SettlementUnbooked, BreakType::ProviderOnly, BreakType::MissingOnStatement];
pub const OF_BANK: &[BreakType] =
    &[BreakType::BankOnly, BreakType::BankMissing, BreakType::SettlementLate, BreakType::BankBalance];

/// Statements come late, and rows of a day are looked at again for so long.
const LOOKED_BACK_DAYS: u64 = 7;

/// All that differs now. What was found before is found again as long as it is so; new rows are looked for from `since` on, and of the
/// days of files that came since.
pub async fn compare(app: &App, since: DateTime) -> Result<Compared> {
    again::match_lines(app).await?;
    let mut lists = Lists { is_whole: true };
    let mut found = unmatched(app, &mut lists).await?;
    found.extend(other_sums(app, since, &mut lists).await?);
    found.extend(other_states(app, since, &mut lists).await?);
    found.extend(missing(app, since, &mut lists).await?);
    found.extend(of_journals(app, &mut lists).await?);
    found.extend(bank_balances(app).await?);
    Ok(Compared { found, is_whole: lists.is_whole })
}

/// Whether each query has told all that it found.
struct Lists {
    is_whole: bool,
}

impl Lists {
    fn counted<T>(&mut self, lines: Vec<T>) -> Vec<T> {
        self.is_whole &= i64::try_from(lines.len()).is_ok_and(|count| count < store::FOUND_MAX);
        lines
    }
}

/// What [`compare`] finds of one leg, for a run. The files that are there before it looks are compared by it, once it is finished: one that
/// comes later, or whose run fails, waits for the next.
pub async fn compare_leg(app: &App, run: &Run, leg: ReconciliationLeg) -> Result<Compared> {
    let source = if leg == ReconciliationLeg::Bank { Source::Bank } else { Source::Revio };
    let waited = store::set_compared(&app.db, source, run.id).await?;
    // All of a file that waited, whatever the run itself looks back to.
    let since = run.looks_back_to();
    let since = waited.into_iter().min().map_or(since, |came| came.min(since));
    let mut compared = compare(app, since).await?;
    compared.found.retain(|found| found.kind.rule().leg == leg);
    Ok(compared)
}

fn sums(found: Found, currency: &str, expected: Option<i64>, actual: Option<i64>) -> Found {
    Found { currency: Currency::parse(currency), expected, actual, ..found }
}

async fn unmatched(app: &App, lists: &mut Lists) -> Result<Vec<Found>> {
    let lines = lists.counted(store::unmatched(&app.db, days::zone(app)).await?).into_iter().rev();
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for line in lines {
        let product = Product::parse(&line.product).unwrap_or(Product::Other);
        let kind = match product {
            Product::Bank => BreakType::BankOnly,
            Product::Settlement => BreakType::SettlementUnbooked,
            Product::Inside => continue,
            _ => BreakType::ProviderOnly,
        };
        // A payment stands in each file of its day.
        let mut is_new = || line.provider_id.is_none_or(|id| seen.insert((line.product.clone(), id)));
        if moved(product, line.status.as_deref()) && is_new() {
            found.push(of_line(kind, &line, product));
        }
    }
    Ok(found)
}

fn of_line(kind: BreakType, line: &UnmatchedLine, product: Product) -> Found {
    let found = Found::new(kind, line.since, format!("{} {}", line.id, line.amount_minor));
    let found = sums(found, &line.currency, line.journal_minor, Some(line.amount_minor));
    // A line that has no id of Revio's is told by its own; of one object there may be a purchase and a chargeback.
    let line_id = line.provider_id.is_none().then_some(line.id);
    let discriminator = line.provider_id.map(|_| line.product.clone());
    let mut found =
        Found { provider_id: line.provider_id, line_id, journal_id: line.journal_id, discriminator, ..found };
    found = found.evident("file_sha256", line.sha256.as_str()).evident("line", line.number);
    found = found.evident("product", line.product.as_str()).evident("day", line.day.to_string());
    if !line.may_be.is_empty() {
        // A sum and a day prove nothing: a person looks.
        found = found.evident("may_be", json!(line.may_be));
    }
    match proposed(kind, line, product) {
        Some(proposed) if line.journal_id.is_none() && !line.is_asked_for => found.evident("proposes", proposed),
        _ => found,
    }
}

/// The journal that would book it, as `POST /v1/admin/journals` takes it; a person decides.
fn proposed(kind: BreakType, line: &UnmatchedLine, product: Product) -> Option<Value> {
    let into_account = line.amount_minor > 0;
    let (journal, account) = match (kind, product) {
        (BreakType::SettlementUnbooked, _) => ("settlement", None),
        (BreakType::ProviderOnly, Product::TopUp) => ("float_top_up", None),
        (BreakType::ProviderOnly, Product::Fee) => ("provider_invoice", Some("provider_balance")),
        (BreakType::ProviderOnly, _) if into_account => ("suspense_in", Some("provider_balance")),
        (BreakType::BankOnly, _) if into_account => ("suspense_in", Some("bank")),
        // Charges of the bank are the company's.
        (BreakType::BankOnly, _) => ("own_funds_out", None),
        _ => return None,
    };
    let evidence_kind = match (kind, line.provider_id) {
        (BreakType::BankOnly, _) => "bank_statement",
        // So named, the object is never set aside a second time, should its webhook come yet.
        (_, Some(_)) if journal == "suspense_in" => "provider_object",
        _ => "provider_statement",
    };
    let reference = line.provider_id.unwrap_or(line.id);
    Some(
        json!({"kind": journal, "account": account, "amount": line.amount_minor.saturating_abs(), "currency": line.currency,
        "evidence_kind": evidence_kind, "evidence_reference": reference, "evidence_sha256": line.sha256,
        "evidence_date": line.day}),
    )
}

async fn looked_at(app: &App, since: DateTime) -> Result<Days<'_>> {
    let from = days::before(days::of(app, since).await?, LOOKED_BACK_DAYS);
    Ok(Days { zone: days::zone(app), from, since })
}

async fn other_sums(app: &App, since: DateTime, lists: &mut Lists) -> Result<Vec<Found>> {
    let which = looked_at(app, since).await?;
    let all = [
        (BreakType::FeeProvider, store::other_fees(&app.db, which).await?),
        (BreakType::AmountProvider, store::other_amounts(&app.db, which).await?),
        (BreakType::CurrencyProvider, store::other_currencies(&app.db, which).await?),
    ];
    let mut found = Vec::new();
    for (kind, lines) in all {
        for line in lists.counted(lines) {
            let observed = format!("{} {} {}", line.id, line.booked, line.said);
            let sum = Found::new(kind, line.since, observed).evident("day", line.day.to_string());
            let mut sum = sums(sum, &line.currency, Some(line.booked), Some(line.said));
            if kind == BreakType::CurrencyProvider {
                sum = sum.evident("said_in", line.said_in);
            }
            let sum = Found { discriminator: Some(BY_STATEMENT.to_owned()), ..sum };
            found.push(Found { transaction_id: Some(line.transaction_id), provider_id: line.provider_id, ..sum });
        }
    }
    Ok(found)
}

/// By the statement money moved, or did not, and the row says otherwise.
async fn other_states(app: &App, since: DateTime, lists: &mut Lists) -> Result<Vec<Found>> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for line in lists.counted(store::other_states(&app.db, looked_at(app, since).await?).await?) {
        let product = Product::parse(&line.product).unwrap_or(Product::Other);
        let has_moved = moved(product, line.status.as_deref());
        let kind = match (line.is_completed, has_moved, product) {
            (false, true, Product::Payout) => BreakType::PayoutPaid,
            (false, true, _) => BreakType::PaidAtProvider,
            (true, false, _) => BreakType::NotPaidAtProvider,
            (true, true, _) | (false, false, _) => continue,
        };
        // A payment stands in each file of its day.
        if !seen.insert(line.transaction_id) {
            continue;
        }
        let status = line.status.unwrap_or_default();
        let state = Found::new(kind, line.since, format!("{} {} {status}", line.id, line.state));
        let sum = |counts: bool| Some(if counts { line.amount_minor } else { 0 });
        let state = sums(state, &line.currency, sum(line.is_completed), sum(has_moved));
        let state = state.evident("day", line.day.to_string()).evident("said", status);
        let state = Found { discriminator: Some(BY_STATEMENT.to_owned()), ..state };
        found.push(Found { transaction_id: Some(line.transaction_id), provider_id: line.provider_id, ..state });
    }
    Ok(found)
}

async fn missing(app: &App, since: DateTime, lists: &mut Lists) -> Result<Vec<Found>> {
    let today = days::today(app).await?;
    let last = business_days_before(today, 1);
    let days: Vec<NaiveDate> = store::days_to_look_at(&app.db, looked_at(app, since).await?).await?;
    let days: BTreeSet<NaiveDate> = days.into_iter().filter(|day| *day <= last).collect();
    let covered = days.iter().map(|day| Some((*day, days.contains(&days::before(*day, 1)))));
    let mut rows = BTreeMap::new();
    // A day at a time: of many days PostgreSQL would go through all that there ever was.
    for day in covered.chain([None]) {
        let missing = lists.counted(store::not_on_statement(&app.db, days::zone(app), day, since).await?);
        rows.extend(missing.into_iter().map(|row| (row.id, row)));
    }
    let found = rows.into_values().map(|row| {
        let found = Found::new(BreakType::MissingOnStatement, row.since, format!("{} {}", row.id, row.version));
        let found = sums(found, &row.currency, Some(row.amount_minor), None).evident("kind", row.kind);
        Found { transaction_id: Some(row.id), provider_id: row.provider_id, ..found }
    });
    Ok(found.collect())
}

async fn of_journals(app: &App, lists: &mut Lists) -> Result<Vec<Found>> {
    let today = days::today(app).await?;
    let of = |kind: BreakType, journal: LateJournal| {
        let found = Found::new(kind, journal.since, format!("{} {}", journal.id, journal.version));
        let found = sums(found, &journal.currency, Some(journal.amount_minor), None).evident("kind", journal.kind);
        Found { journal_id: Some(journal.id), ..found }
    };
    let late = lists.counted(store::journals_in_transit(&app.db, days::zone(app), today).await?).into_iter();
    let mut found: Vec<Found> = late.map(|journal| of(BreakType::SettlementLate, journal)).collect();
    let missing = lists.counted(store::journals_without_line(&app.db, days::zone(app)).await?).into_iter();
    let missing = missing.filter(|journal| business_days_after(journal.day, 1) <= today);
    found.extend(missing.map(|journal| of(BreakType::BankMissing, journal)));
    Ok(found)
}

/// The last closing balance of each currency's bank account. What the bank's day did not know yet is taken out of the books.
async fn bank_balances(app: &App) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for currency in app.config.currencies.iter().copied() {
        let Some(file) = store::last_bank_balance(&app.db, currency.code()).await? else { continue };
        let later = store::bank_after(&app.db, days::zone(app), currency.code(), file.day).await?;
        let bank = app.ledger.balance(app.ledger.system(AccountCode::Bank, currency)).await?;
        let expected = bank.posted().saturating_sub(later.posted).saturating_sub(later.top_ups_in_transit);
        let may_be = |sum: i64| [sum, sum.saturating_sub(later.corrected)].contains(&file.closing);
        if may_be(expected) || may_be(expected.saturating_sub(later.undated)) {
            continue;
        }
        let since = days::last_moment(app, file.day).await?;
        let difference = file.closing.saturating_sub(expected);
        let balance = Found::new(BreakType::BankBalance, since, difference.to_string());
        let balance = sums(balance, currency.code(), Some(expected), Some(file.closing));
        let balance = balance.evident("file_sha256", file.sha256).evident("day", file.day.to_string());
        found.push(Found { account: Some(AccountCode::Bank), ..balance });
    }
    Ok(found)
}

/// Days of a period that some file of the source is of, and whether a finished run has compared each of them.
pub async fn covered(app: &App, source: Source, from: NaiveDate, to: NaiveDate) -> Result<BTreeMap<NaiveDate, bool>> {
    Ok(super::store::covered(&app.db, (source, days::zone(app)), from, to).await?.into_iter().collect())
}

/// Those that are of any of the days.
pub async fn of_days(app: &App, from: NaiveDate, to: NaiveDate) -> Result<Vec<super::StatementFile>, Error> {
    Ok(super::store::of_days(&app.db, from, to).await?)
}
