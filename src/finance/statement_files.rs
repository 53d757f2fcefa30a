//! Files of Revio's and the bank's: imported by staff, by `octoco reconcile --statement`, or fetched from Revio. They are the outside
//! word on the money; nothing is booked from them.
//!
//! ```text
//! bytes ─> read (columns, reading) ─> matched (matching) ─> unit settled (calibration) ─> opening and lines make the closing (explained)
//!       ─> one SQL transaction: the file, encrypted, its lines without payers' data, the audit log
//! imported ─> until a finished run has compared it (`compared_by`), the next one is due at once
//! compare ─> lines without a row or journal are matched again ─> what lines say that the books do not, and the other way round
//! ```
//!
//! The same bytes twice are one file. What stands in columns that the table does not know is dropped, and of references and words only
//! what is ours is kept: statements hold payers' names. The file itself is kept encrypted, as evidence, as long as `RETENTION` says.

mod calibration;
mod columns;
pub mod comparing;
mod explained;
mod fetching;
mod matching;
mod reading;
pub mod routes;
mod store;

use std::collections::HashMap;

use chrono::NaiveDate;
use ledger::Currency;
use serde_json::json;
use uuid::Uuid;

use self::calibration::{Said, Settled};
use self::columns::Product;
use self::matching::{Lines, Match};
use self::reading::{RawLine, Table, When};
use self::store::NewLine;
use crate::app::App;
use crate::finance::days;
use crate::identity::audit::{self, Actor, Entry};
use crate::platform::digest::sha256;
use crate::platform::encryption::Encrypted;
use crate::platform::error::{Error, FieldError, Result};
use crate::platform::queue;
use crate::platform::text_enum::text_enum;
use crate::provider::revio::{PayoutStatus, PurchaseStatus};

pub use comparing::{OF_BANK, OF_REVIO, compare, compare_leg};
pub use fetching::{measure, step};
pub use store::{StatementFile, StatementFiles};

const PRUNE_BATCH: i64 = 20;
const REFERENCE_CHARS_MAX: usize = 64;
/// Of one object in a file: far more than it has states and Payments.
const LINES_OF_ONE_MAX: usize = 100;

text_enum! {
    #[schema(as = StatementSource)]
    pub enum Source {
        Revio = "revio",
        Bank = "bank",
    }
}

text_enum! {
    #[schema(as = StatementUnit)]
    pub enum Unit {
        /// Rands, with decimals.
        Major = "major",
        /// Cents.
        Minor = "minor",
    }
}

text_enum! {
    #[schema(as = StatementMatch)]
    pub enum MatchedBy {
        Id = "id",
        Reference = "reference",
        /// A journal was booked from the line.
        Person = "person",
    }
}

/// A file as somebody hands it in.
pub struct Import<'a> {
    pub source: Source,
    pub content: &'a [u8],
    /// Settled by the lines where it is not said.
    pub unit: Option<Unit>,
    /// Of lines that do not say it: by default the only one of `CURRENCIES`.
    pub currency: Option<Currency>,
    /// The days that it is of: by default from its first line's to its last one's.
    pub from: Option<NaiveDate>,
    pub to: Option<NaiveDate>,
    /// Everything but the writing.
    pub dry_run: bool,
    /// Revio's id of the statement, where it was fetched: then nobody can be asked for the unit.
    pub fetched_as: Option<Uuid>,
}

impl<'a> Import<'a> {
    pub fn new(source: Source, content: &'a [u8]) -> Self {
        Self { source, content, unit: None, currency: None, from: None, to: None, dry_run: false, fetched_as: None }
    }
}

/// # Errors
/// [`Error::BadStatement`] with everything that is wrong with the file.
pub async fn import(app: &App, actor: &Actor, import: &Import<'_>) -> Result<StatementFile> {
    let sha256 = sha256(import.content);
    if let Some(known) = known(app, import, &sha256).await? {
        return Ok(known);
    }
    let only = match app.config.currencies.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    let table = reading::read(import.source, import.content, import.currency.or(only))?;
    refuse_one_id_for_all(&table)?;
    let days = days_of(app, &table).await?;
    let of_file = |unit| Lines { all: &table.lines, days: &days, unit };
    let mut matches = matching::of(app, import.source, of_file(import.unit)).await?;
    let before = match import.fetched_as {
        Some(_) => store::last_proved_unit(&app.db, import.source).await?,
        None => None,
    };
    let expected: Vec<Option<i64>> = matches.iter().map(|found| found.and_then(|found| found.minor)).collect();
    let said = Said { given: import.unit, before };
    let Settled { unit, is_proved } =
        calibration::settle(import.source, &table, &expected, said).map_err(|fault| bad(vec![fault]))?;
    if import.source == Source::Bank && import.unit != unit {
        // The same sum in the unit that it is in.
        matches = matching::of(app, import.source, of_file(unit)).await?;
    }
    let lines: Vec<NewLine> = lines(app, &table, &matches, unit, &days)?;
    let one = only_currency(lines.iter().map(|line| line.currency), import.currency.or(only));
    let balances = explained::balances(import.source, &table, &lines, (unit, one)).map_err(|fault| bad(vec![fault]))?;
    let (from_day, to_day) = span(import, &days)?;
    // Somewhere it is tomorrow already; a day that has not come is covered by no file.
    if to_day > days::after(days::today(app).await?, 1) {
        return Err(bad(vec![FieldError::parameter("to", "has not come yet")]));
    }
    let matched = lines.iter().filter(|line| line.matched_by.is_some()).count();
    let file = StatementFile {
        id: app.clock.row_id(),
        source: import.source,
        sha256: hex::encode(sha256),
        currency: one.map(|currency| currency.code().to_owned()),
        unit,
        unit_proved: is_proved,
        from: from_day,
        to: to_day,
        opening_balance: balances.map(|(opening, _)| opening),
        closing_balance: balances.map(|(_, closing)| closing),
        lines: count(lines.len()),
        matched: count(matched),
        unmatched: count(lines.len() - matched),
        unknown_columns: table.unknown,
        imported_by: actor.name().to_owned(),
        imported_at: app.clock.now(),
    };
    if import.dry_run {
        return Ok(file);
    }
    keep(app, actor, import, (&file, &sha256, &lines)).await
}

/// Lines of one object are compared with each other. What stands on every line is no object's id: a brand's, or a company's.
fn refuse_one_id_for_all(table: &Table) -> Result<()> {
    let mut times: HashMap<(Uuid, &str), usize> = HashMap::new();
    for line in &table.lines {
        let Some(id) = line.id else { continue };
        let times = times.entry((id, line.product.name())).or_default();
        *times += 1;
        if *times > LINES_OF_ONE_MAX {
            let field = format!("line {}, id", line.number);
            return Err(bad(vec![fault(&field, format!("stands on more than {LINES_OF_ONE_MAX} lines"))]));
        }
    }
    Ok(())
}

/// The file that the same bytes are already. Whoever says something else of it than is kept must be told: nothing of it is changed.
/// What was fetched is as it came, whoever imported it.
async fn known(app: &App, import: &Import<'_>, sha256: &[u8]) -> Result<Option<StatementFile>> {
    let Some(known) = store::find_by_sha(&app.db, import.source, sha256, (import.from, import.to)).await? else {
        return Ok(None);
    };
    let mut faults = Vec::new();
    let mut differs = |field: &str, kept: Option<String>| {
        faults.push(FieldError::parameter(
            field,
            format!("is not that of the file: {}", kept.as_deref().unwrap_or("none")),
        ));
    };
    if import.unit.is_some_and(|unit| known.unit != Some(unit)) {
        differs("unit", known.unit.map(|unit| unit.name().to_owned()));
    }
    if let Some(currency) = import.currency {
        // What lines say themselves is not for whoever sends the file to say.
        let table = reading::read(import.source, import.content, Some(currency))?;
        let read = only_currency(table.lines.iter().map(|line| line.currency), Some(currency));
        if read.map(|currency| currency.code()) != known.currency.as_deref() {
            differs("currency", known.currency.clone());
        }
    }
    if import.from.is_some_and(|from| from != known.from) {
        differs("from", Some(known.from.to_string()));
    }
    if import.to.is_some_and(|to| to != known.to) {
        differs("to", Some(known.to.to_string()));
    }
    match import.fetched_as {
        // Somebody brought what Revio says itself: from now on it is Revio's word.
        Some(statement) => store::set_fetched(&app.db, known.id, statement).await?,
        None if faults.is_empty() => {}
        None => return Err(Error::StatementKnown(faults)),
    }
    Ok(Some(known))
}

/// The one that all lines are in; of a file without lines what is said.
fn only_currency(mut lines: impl Iterator<Item = Currency>, said: Option<Currency>) -> Option<Currency> {
    let first = lines.next().or(said)?;
    lines.all(|currency| currency == first).then_some(first)
}

/// `None → imported`. Of two who import the same at once, one does.
async fn keep(
    app: &App,
    actor: &Actor,
    import: &Import<'_>,
    (file, sha256, lines): (&StatementFile, &[u8], &[NewLine]),
) -> Result<StatementFile> {
    let encrypted = app.config.data_keys.encrypt(file.id, import.content).map_err(Error::internal)?;
    let mut tx = app.db.begin().await?;
    if !store::insert(&mut *tx, file, sha256, import.fetched_as, &encrypted).await? {
        tx.rollback().await?;
        return known(app, import, sha256).await?.ok_or(Error::StaleState);
    }
    for page in lines.chunks(store::LINES_AT_ONCE) {
        store::insert_lines(&mut *tx, file.id, page).await?;
    }
    let entry = Entry::of(actor, "statement.imported", "statement_file", file.id);
    let said = json!({"source": file.source, "sha256": file.sha256, "from": file.from, "to": file.to, "lines": file.lines,
        "matched": file.matched, "unit": file.unit});
    audit::record(app, &mut *tx, entry.with(said)).await?;
    app.crash.at("statement_files.written")?;
    tx.commit().await?;
    Ok(file.clone())
}

fn bad(faults: Vec<FieldError>) -> Error {
    Error::BadStatement(faults)
}

/// Of the file: neither a place in a body nor a parameter.
fn fault(field: &str, message: impl Into<String>) -> FieldError {
    FieldError::outside(field, message.into())
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The accounting day of each line.
async fn days_of(app: &App, table: &Table) -> Result<Vec<NaiveDate>> {
    let moments = table.lines.iter().filter_map(|line| match line.when {
        When::Moment(moment) => Some(moment),
        When::Day(_) => None,
    });
    let moments: Vec<_> = moments.collect();
    let mut days = days::of_all(app, &moments).await?.into_iter();
    let day = |line: &RawLine| match line.when {
        When::Moment(_) => days.next(),
        When::Day(day) => Some(day),
    };
    table.lines.iter().map(day).collect::<Option<_>>().ok_or_else(|| Error::internal("a moment without a day"))
}

fn span(import: &Import<'_>, days: &[NaiveDate]) -> Result<(NaiveDate, NaiveDate)> {
    let (first, last) = (days.iter().min().copied(), days.iter().max().copied());
    let (Some(from), Some(to)) = (import.from.or(first), import.to.or(last)) else {
        return Err(bad(vec![FieldError::parameter(
            "from",
            "must be sent with to: the file has no line that says a day",
        )]));
    };
    if from > to || first.is_some_and(|first| first < from) || last.is_some_and(|last| last > to) {
        return Err(bad(vec![FieldError::parameter("from", "and to must hold all days of the file's lines")]));
    }
    Ok((from, to))
}

/// The lines as they are kept.
fn lines(
    app: &App,
    table: &Table,
    matches: &[Option<Match>],
    unit: Option<Unit>,
    days: &[NaiveDate],
) -> Result<Vec<NewLine>> {
    // Without a unit every sum is zero.
    let unit = unit.unwrap_or(Unit::Minor);
    let all = table.lines.iter().zip(matches).zip(days);
    let kept = all.map(|((line, found), day)| {
        let minor = |number: reading::Decimal| number.minor(unit, line.currency);
        let too_large = || bad(vec![fault(&format!("line {}, amount", line.number), "is too large")]);
        let sign = line.product.sign();
        let signed = |sum: i64| sign.map_or(sum, |sign| sum.saturating_abs().saturating_mul(sign));
        let amount_minor = signed(minor(line.amount).ok_or_else(too_large)?);
        Ok(NewLine {
            id: app.clock.row_id(),
            number: count(line.number),
            provider_id: line.id,
            reference: kept_reference(line),
            product: line.product,
            status: kept_status(line),
            currency: line.currency,
            amount_minor,
            fee_minor: line.fee.and_then(minor).map(i64::saturating_abs),
            // A fee may be more than what came.
            net_minor: line.net.and_then(minor).map(|net| if sign == Some(1) { net } else { signed(net) }),
            day: *day,
            related_id: line.related,
            transaction_id: found.and_then(|found| found.transaction_id),
            journal_id: found.and_then(|found| found.journal_id),
            matched_by: found.map(|found| found.by),
        })
    });
    kept.collect()
}

/// Payers write references too, and people look for themselves in them: what is no id of ours is kept only where no payer had a hand.
fn kept_reference(line: &RawLine) -> Option<String> {
    if let Ok(id) = line.reference.parse::<Uuid>() {
        return Some(id.to_string());
    }
    let ours = matches!(line.product, Product::Settlement | Product::TopUp | Product::Fee | Product::Inside);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let plain = (1..=REFERENCE_CHARS_MAX).contains(&line.reference.len()) && line.reference.bytes().all(is_word);
    (ours && plain).then(|| line.reference.clone())
}

/// A word that Revio is known to use; any other is `other`.
fn kept_status(line: &RawLine) -> Option<String> {
    if line.status.is_empty() {
        return None;
    }
    let known = !matches!(PurchaseStatus::from(line.status.clone()), PurchaseStatus::Unknown(_))
        || !matches!(PayoutStatus::from(line.status.clone()), PayoutStatus::Unknown(_));
    Some(if known { line.status.clone() } else { "other".to_owned() })
}

/// Whether a line is of money that moved: purchases that were never paid stand in statements too. A word that nobody knows is taken to
/// mean that it did, so that somebody looks.
fn moved(product: Product, status: Option<&str>) -> bool {
    let Some(status) = status else { return true };
    match product {
        Product::Payout => {
            matches!(PayoutStatus::from(status.to_owned()), PayoutStatus::Success | PayoutStatus::Unknown(_))
        }
        _ => match PurchaseStatus::from(status.to_owned()) {
            PurchaseStatus::Open(_) | PurchaseStatus::Expired | PurchaseStatus::Cancelled => false,
            PurchaseStatus::Unknown(word) => !matches!(word.as_str(), "failed" | "initialized" | "pending"),
            _ => true,
        },
    }
}

/// Newest first.
pub async fn list(app: &App, source: Option<Source>, before: Option<Uuid>, limit: i64) -> Result<Vec<StatementFile>> {
    Ok(store::list(&app.db, source, before, limit).await?)
}

pub async fn find(app: &App, id: Uuid) -> Result<StatementFile> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("statement file"))
}

/// The bytes as they came, on the record; `None` once their time is over.
pub async fn content(app: &App, actor: &Actor, id: Uuid) -> Result<Option<Vec<u8>>> {
    find(app, id).await?;
    audit::record(app, &app.db, Entry::of(actor, "statement.taken_out", "statement_file", id)).await?;
    opened(app, id).await
}

async fn opened(app: &App, id: Uuid) -> Result<Option<Vec<u8>>> {
    let encrypted: Option<Encrypted> = store::encrypted(&app.db, id).await?;
    encrypted.map(|encrypted| app.config.data_keys.decrypt(id, &encrypted).map_err(Error::internal)).transpose()
}

/// Forgets what files held whose time is over, as `RETENTION` says; what was found in them stays. True when there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let before = app.clock.now() - app.config.retention.statement_files;
    Ok(queue::is_full(store::prune(&app.db, before, PRUNE_BATCH).await?, PRUNE_BATCH))
}
