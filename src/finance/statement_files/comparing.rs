//! What the statements say that the books do not, and the other way round: leg C of reconciliation and the statement's part of leg B.
//! `reconciliation` calls [`compare`] in each look; two looks, windows, severities and what becomes of a difference are its own.
//!
//! | kind | the statement | the books |
//! |---|---|---|
//! | `settlement_unbooked` | Revio sent money to the bank | no journal, or one of another sum |
//! | `provider_only` | money moved at Revio | no row, journal or item in suspense |
//! | `amount_provider` | another sum | than the row's |
//! | `fee_provider` | another fee | than was booked |
//! | `missing_on_statement` | its day is covered and it is not there | completed |
//! | `bank_only` | money moved at the bank | no journal, or one of another sum |
//! | `bank_missing` | its day is covered and it is not there | completed, or a top-up on its way |
//! | `settlement_late` | - | on its way for more than three business days |
//! | `bank_balance` | the closing balance | 1100 posted, without what came later, less top-ups on their way |

mod store;

use std::collections::BTreeSet;

use chrono::{NaiveDate, TimeDelta};
use ledger::{AccountCode, Currency};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::store::{LateJournal, UnmatchedLine};
use super::columns::Product;
use super::{Source, moved, opened, reading};
use crate::app::App;
use crate::finance::days::{self, ZONE};
use crate::finance::statement_files::matching;
use crate::platform::clock::{DateTime, first_id_at};
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

text_enum! {
    /// Some of the types of breaks, under the same names.
    pub enum DifferenceKind {
        SettlementUnbooked = "settlement_unbooked",
        ProviderOnly = "provider_only",
        AmountProvider = "amount_provider",
        FeeProvider = "fee_provider",
        MissingOnStatement = "missing_on_statement",
        BankOnly = "bank_only",
        BankMissing = "bank_missing",
        SettlementLate = "settlement_late",
        BankBalance = "bank_balance",
    }
}

/// One thing that differs, as one look saw it.
#[derive(Debug, Clone)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub currency: Option<Currency>,
    /// What there should be and what there is, in minor units.
    pub expected: Option<i64>,
    pub actual: Option<i64>,
    pub transaction_id: Option<Uuid>,
    pub journal_id: Option<Uuid>,
    pub provider_id: Option<Uuid>,
    pub line_id: Option<Uuid>,
    pub account: Option<AccountCode>,
    /// Of a sum that Revio's object says too: this one is what the statement says.
    pub discriminator: Option<&'static str>,
    /// Since when it differs, by the facts.
    pub since: DateTime,
    /// What two looks must agree on.
    pub observed: String,
    /// Facts without personal data; of what is to be booked, the journal that is proposed.
    pub evidence: Map<String, Value>,
}

impl Difference {
    fn new(kind: DifferenceKind, since: DateTime, observed: String) -> Self {
        Self {
            kind,
            currency: None,
            expected: None,
            actual: None,
            transaction_id: None,
            journal_id: None,
            provider_id: None,
            line_id: None,
            account: None,
            discriminator: None,
            since,
            observed,
            evidence: Map::new(),
        }
    }

    fn sums(self, currency: &str, expected: Option<i64>, actual: Option<i64>) -> Self {
        Self { currency: Currency::parse(currency), expected, actual, ..self }
    }

    fn evident(mut self, name: &str, fact: impl Into<Value>) -> Self {
        self.evidence.insert(name.to_owned(), fact.into());
        self
    }
}

/// Statements come late, and rows of a day are looked at again for so long.
const LOOKED_BACK_DAYS: u64 = 7;
/// A row is made so long before it is completed, at most.
const ROW_LIFE_MAX: TimeDelta = TimeDelta::days(10);
/// Of bank files whose lines are read again.
const READ_AGAIN_DAYS: u64 = 35;
const SETTLEMENT_BUSINESS_DAYS: u32 = 3;

/// All that differs now. What was found before is found again as long as it is so; new rows are looked for from `since` on, and of the
/// days of files that came since.
pub async fn compare(app: &App, since: DateTime) -> Result<Vec<Difference>> {
    match_again(app).await?;
    let mut found = unmatched(app).await?;
    found.extend(other_sums(app, since).await?);
    found.extend(missing(app, since).await?);
    found.extend(of_journals(app).await?);
    found.extend(bank_balances(app).await?);
    Ok(found)
}

/// Rows come and journals are booked after the line that they are of.
async fn match_again(app: &App) -> Result<()> {
    let mut changed: BTreeSet<Uuid> = store::match_booked_from_lines(&app.db).await?.into_iter().collect();
    changed.extend(store::match_objects(&app.db).await?);
    changed.extend(store::match_references(&app.db).await?);
    changed.extend(store::match_journals(&app.db).await?);
    let oldest = days::before(days::today(app).await?, READ_AGAIN_DAYS);
    for file in store::bank_files_with_unmatched(&app.db, oldest).await? {
        if read_again(app, file).await? {
            changed.insert(file);
        }
    }
    for file in changed {
        store::count_again(&app.db, file).await?;
    }
    Ok(())
}

/// What a bank's line says stands only in its sealed file. True when a journal was found.
async fn read_again(app: &App, file: Uuid) -> Result<bool> {
    let lines = store::unmatched_of(&app.db, file).await?;
    let currencies: BTreeSet<String> = lines.iter().map(|line| line.currency.clone()).collect();
    let currencies: Vec<String> = currencies.into_iter().collect();
    let journals = super::store::bank_journals(&app.db, &currencies).await?;
    let taken: BTreeSet<Uuid> = store::journals_of(&app.db, file).await?.into_iter().collect();
    let free: Vec<_> = journals.into_iter().filter(|journal| !taken.contains(&journal.id)).collect();
    if free.is_empty() {
        return Ok(false);
    }
    let Some(content) = opened(app, file).await? else { return Ok(false) };
    let currency = currencies.first().and_then(|code| Currency::parse(code));
    let mut table = reading::read(Source::Bank, &content, currency)?;
    let number_of = |line: &reading::RawLine| lines.iter().find(|open| i32::try_from(line.number) == Ok(open.number));
    table.lines.retain(|line| number_of(line).is_some());
    let mut any = false;
    for (line, found) in table.lines.iter().zip(matching::of_bank(&table.lines, &free)) {
        if let (Some(open), Some(journal)) = (number_of(line), found.and_then(|found| found.journal_id)) {
            any |= store::match_line(&app.db, open.id, journal, super::MatchedBy::Reference.name()).await?;
        }
    }
    Ok(any)
}

async fn unmatched(app: &App) -> Result<Vec<Difference>> {
    let lines = store::unmatched(&app.db, ZONE).await?;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for line in lines {
        let product = Product::parse(&line.product).unwrap_or(Product::Other);
        let kind = match product {
            Product::Bank => DifferenceKind::BankOnly,
            Product::Settlement => DifferenceKind::SettlementUnbooked,
            Product::Inside => continue,
            _ => DifferenceKind::ProviderOnly,
        };
        // A payment stands in each file of its day.
        let is_new = line.provider_id.is_none_or(|id| seen.insert((line.product.clone(), id)));
        if is_new && moved(product, line.status.as_deref()) {
            found.push(of_line(kind, &line, product));
        }
    }
    Ok(found)
}

fn of_line(kind: DifferenceKind, line: &UnmatchedLine, product: Product) -> Difference {
    let found = Difference::new(kind, line.since, format!("{} {}", line.id, line.amount_minor));
    let found = found.sums(&line.currency, line.journal_minor, Some(line.amount_minor));
    // A line that has no id of Revio's is told by its own.
    let line_id = line.provider_id.is_none().then_some(line.id);
    let mut found = Difference { provider_id: line.provider_id, line_id, journal_id: line.journal_id, ..found };
    found = found.evident("file_sha256", line.sha256.as_str()).evident("line", line.number);
    found = found.evident("product", line.product.as_str()).evident("day", line.day.to_string());
    if !line.may_be.is_empty() {
        // A sum and a day prove nothing: a person looks.
        found = found.evident("may_be", json!(line.may_be));
    }
    match proposed(kind, line, product) {
        Some(proposed) if line.journal_id.is_none() => found.evident("proposes", proposed),
        _ => found,
    }
}

/// The journal that would book it, as `POST /v1/admin/journals` takes it; a person decides.
fn proposed(kind: DifferenceKind, line: &UnmatchedLine, product: Product) -> Option<Value> {
    let into_account = line.amount_minor > 0;
    let (journal, account) = match (kind, product) {
        (DifferenceKind::SettlementUnbooked, _) => ("settlement", None),
        (DifferenceKind::ProviderOnly, Product::TopUp) => ("float_top_up", None),
        (DifferenceKind::ProviderOnly, Product::Fee) => ("provider_invoice", Some("provider_balance")),
        (DifferenceKind::ProviderOnly, _) if into_account => ("suspense_in", Some("provider_balance")),
        (DifferenceKind::BankOnly, _) if into_account => ("suspense_in", Some("bank")),
        // Charges of the bank are the company's.
        (DifferenceKind::BankOnly, _) => ("own_funds_out", None),
        _ => return None,
    };
    let evidence_kind = if kind == DifferenceKind::BankOnly { "bank_statement" } else { "provider_statement" };
    let reference = line.provider_id.unwrap_or(line.id);
    Some(
        json!({"kind": journal, "account": account, "amount": line.amount_minor.saturating_abs(), "currency": line.currency,
        "evidence_kind": evidence_kind, "evidence_reference": reference, "evidence_sha256": line.sha256,
        "evidence_date": line.day}),
    )
}

async fn other_sums(app: &App, since: DateTime) -> Result<Vec<Difference>> {
    let from = days::before(days::of(app, since).await?, LOOKED_BACK_DAYS);
    let mut found = Vec::new();
    for line in store::other_fees(&app.db, (ZONE, from, since)).await? {
        let observed = format!("{} {} {}", line.id, line.booked, line.said);
        let fee = Difference::new(DifferenceKind::FeeProvider, line.since, observed);
        let fee = fee.sums(&line.currency, Some(line.booked), Some(line.said)).evident("day", line.day.to_string());
        let fee = Difference { discriminator: Some("statement"), ..fee };
        found.push(Difference { transaction_id: Some(line.transaction_id), provider_id: line.provider_id, ..fee });
    }
    for line in store::other_amounts(&app.db, (ZONE, from, since)).await? {
        let observed = format!("{} {} {}", line.id, line.booked, line.said);
        let sum = Difference::new(DifferenceKind::AmountProvider, line.since, observed);
        let sum = sum.sums(&line.currency, Some(line.booked), Some(line.said)).evident("day", line.day.to_string());
        let sum = Difference { discriminator: Some("statement"), ..sum };
        found.push(Difference { transaction_id: Some(line.transaction_id), provider_id: line.provider_id, ..sum });
    }
    Ok(found)
}

async fn missing(app: &App, since: DateTime) -> Result<Vec<Difference>> {
    let today = days::today(app).await?;
    let from = days::before(days::of(app, since).await?, LOOKED_BACK_DAYS);
    let last = days::business_days_before(today, 1);
    let days: Vec<NaiveDate> = store::days_to_look_at(&app.db, from, since).await?;
    let days: Vec<NaiveDate> = days.into_iter().filter(|day| *day <= last).collect();
    let first = match days.first() {
        Some(day) => first_id_at(days::start(app, *day).await? - ROW_LIFE_MAX),
        None => Uuid::max(),
    };
    let rows = store::not_on_statement(&app.db, ZONE, &days, first).await?;
    let found = rows.into_iter().map(|row| {
        let found =
            Difference::new(DifferenceKind::MissingOnStatement, row.since, format!("{} {}", row.id, row.version));
        let found = found.sums(&row.currency, Some(row.amount_minor), None).evident("kind", row.kind);
        Difference { transaction_id: Some(row.id), provider_id: row.provider_id, ..found }
    });
    Ok(found.collect())
}

async fn of_journals(app: &App) -> Result<Vec<Difference>> {
    let today = days::today(app).await?;
    let late = |journal: &LateJournal, days: u32| days::business_days_after(journal.day, days) < today;
    let of = |kind: DifferenceKind, journal: LateJournal| {
        let found = Difference::new(kind, journal.since, format!("{} {}", journal.id, journal.version));
        let found = found.sums(&journal.currency, Some(journal.amount_minor), None).evident("kind", journal.kind);
        Difference { journal_id: Some(journal.id), ..found }
    };
    let settlements = store::settlements_in_transit(&app.db, ZONE).await?.into_iter();
    let settlements = settlements.filter(|journal| late(journal, SETTLEMENT_BUSINESS_DAYS));
    let mut found: Vec<Difference> = settlements.map(|journal| of(DifferenceKind::SettlementLate, journal)).collect();
    let missing = store::journals_without_line(&app.db, ZONE).await?.into_iter();
    let missing = missing.filter(|journal| days::business_days_after(journal.day, 1) <= today);
    found.extend(missing.map(|journal| of(DifferenceKind::BankMissing, journal)));
    Ok(found)
}

/// The last closing balance of each currency's bank account. What the bank's day did not know yet is taken out of the books.
async fn bank_balances(app: &App) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for currency in app.config.currencies.iter().copied() {
        let Some(file) = store::last_bank_balance(&app.db, currency.code()).await? else { continue };
        let later = store::bank_after(&app.db, currency.code(), file.day).await?;
        let bank = app.ledger.balance(app.ledger.system(AccountCode::Bank, currency)).await?;
        let expected = bank.posted().saturating_sub(later.posted).saturating_sub(later.top_ups_in_transit);
        if expected == file.closing {
            continue;
        }
        let since = days::end(app, file.day).await?;
        let balance = Difference::new(DifferenceKind::BankBalance, since, format!("{} {expected}", file.id));
        let balance = balance.sums(currency.code(), Some(expected), Some(file.closing));
        let balance = balance.evident("file_sha256", file.sha256).evident("day", file.day.to_string());
        found.push(Difference { account: Some(AccountCode::Bank), ..balance });
    }
    Ok(found)
}

/// Days of a period that some file of the source is of.
pub async fn covered(app: &App, source: Source, from: NaiveDate, to: NaiveDate) -> Result<BTreeSet<NaiveDate>> {
    Ok(super::store::covered(&app.db, source, from, to).await?.into_iter().collect())
}

/// Those that are of any of the days.
pub async fn of_days(app: &App, from: NaiveDate, to: NaiveDate) -> Result<Vec<super::StatementFile>, Error> {
    Ok(super::store::of_days(&app.db, from, to).await?)
}
