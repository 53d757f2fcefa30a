//! Which row or journal a line is of: by Revio's id, then by the reference; amount and day alone prove nothing.
//!
//! | line | by id | by reference |
//! |---|---|---|
//! | a customer's | the row whose object it is, or was | the deposit or withdrawal that it names, if that has no other object |
//! | settlement, top-up, fee | the journal whose evidence names the id | the journal whose evidence, arrival or id is the reference |
//! | a bank's | - | the journal whose evidence, arrival or id stands in the reference or the description |
//!
//! A journal that names the id of a line of ours was booked from that line: `person`.
//!
//! References are used again: next month's charges are called as this month's are. So a journal is one movement. In a file it has one
//! line; where it stands on a line of another file already, it is matched again with the same line alone: Revio's of the same id, any
//! other of the same day and sum. And a bank's line is of no journal whose money goes the other way.

use std::collections::{BTreeSet, HashMap};

use chrono::NaiveDate;
use uuid::Uuid;

use super::columns::{Product, plain};
use super::reading::RawLine;
use super::store::{self, Journal, KnownLine, Row};
use super::{MatchedBy, Source, Unit};
use crate::app::App;
use crate::platform::error::Result;

/// A shorter text stands in a description by chance.
const CONTAINED_CHARS_MIN: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) transaction_id: Option<Uuid>,
    pub(super) journal_id: Option<Uuid>,
    pub(super) by: MatchedBy,
    /// What the row or journal says, without a sign; `None` where that is in another currency than the line.
    pub(super) minor: Option<i64>,
}

impl Match {
    fn row(line: &RawLine, row: &Row, by: MatchedBy) -> Self {
        let minor = (row.currency == line.currency.code()).then_some(row.amount_minor);
        Self { transaction_id: Some(row.id), journal_id: None, by, minor }
    }

    fn journal(journal: &Journal, by: MatchedBy) -> Self {
        Self { transaction_id: None, journal_id: Some(journal.id), by, minor: Some(journal.amount_minor) }
    }
}

/// Lines of a file, each with its day.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) all: &'a [RawLine],
    /// In the order of the lines.
    pub(super) days: &'a [NaiveDate],
    /// Of the sums, once it is settled: before that a sum is the same that is so in either.
    pub(super) unit: Option<Unit>,
}

impl<'a> Lines<'a> {
    fn each(self) -> impl Iterator<Item = Line<'a>> {
        self.all.iter().zip(self.days).map(move |(raw, day)| Line { raw, day: *day, unit: self.unit })
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    raw: &'a RawLine,
    day: NaiveDate,
    unit: Option<Unit>,
}

impl Line<'_> {
    /// The same day and the same sum. Files sign sums as they like, so whoever minds the sign looks at it.
    fn equals(&self, known: &KnownLine) -> bool {
        self.day == known.day && self.says(known.amount_minor)
    }

    fn says(&self, sum_minor: i64) -> bool {
        let units = Unit::ALL.iter().copied().filter(|unit| self.unit.is_none_or(|settled| settled == *unit));
        let mut sums = units.filter_map(|unit| self.raw.amount.minor(unit, self.raw.currency));
        sums.any(|minor| minor.unsigned_abs() == sum_minor.unsigned_abs())
    }
}

/// In the order of the lines.
pub(super) async fn of(app: &App, source: Source, lines: Lines<'_>) -> Result<Vec<Option<Match>>> {
    match source {
        Source::Revio => of_revio(app, lines).await,
        Source::Bank => {
            let currencies: BTreeSet<&str> = lines.all.iter().map(|line| line.currency.code()).collect();
            let currencies: Vec<String> = currencies.into_iter().map(str::to_owned).collect();
            let journals = store::bank_journals(&app.db, &currencies, lines.days).await?;
            Ok(of_bank(lines, &journals, BTreeSet::new(), Sum::Any))
        }
    }
}

async fn of_revio(app: &App, of_file: Lines<'_>) -> Result<Vec<Option<Match>>> {
    let lines = of_file.all;
    let ids: Vec<Uuid> = lines.iter().filter_map(|line| line.id).collect();
    let mut by_object = HashMap::new();
    // The rows' own objects last: of two that name one object, the row that has it now wins.
    for (object, row) in store::rows_of_objects(&app.db, &ids).await? {
        by_object.insert(object, row);
    }
    let named: Vec<Uuid> = lines.iter().filter_map(|line| line.reference.parse().ok()).collect();
    let by_id: HashMap<Uuid, Row> = store::rows(&app.db, &named).await?.into_iter().map(|row| (row.id, row)).collect();
    let texts = lines.iter().filter(|line| line.id.is_none_or(|id| !by_object.contains_key(&id)));
    let texts: Vec<String> = texts.flat_map(names).collect();
    let journals = store::journals_named(&app.db, &texts).await?;
    let mut taken = HashMap::new();
    let found = of_file.each().map(|line| {
        let raw = line.raw;
        let object = raw.id.and_then(|id| by_object.get(&id)).map(|row| Match::row(raw, row, MatchedBy::Id));
        let reference = || raw.reference.parse().ok().and_then(|id: Uuid| by_id.get(&id));
        let row = object.or_else(|| {
            reference().filter(|row| is_of(raw, row)).map(|row| Match::row(raw, row, MatchedBy::Reference))
        });
        row.or_else(|| {
            let (journal, by) = journals.iter().find_map(|journal| names_journal(&line, journal, &taken))?;
            taken.insert(journal.id, raw.id);
            Some(Match::journal(journal, by))
        })
    });
    Ok(found.collect())
}

fn names(line: &RawLine) -> Vec<String> {
    let id = line.id.map(|id| id.to_string());
    [id, (!line.reference.is_empty()).then(|| line.reference.clone())].into_iter().flatten().collect()
}

/// Whether a row that a line names can be what the line is of: another object of the same reference is another payment.
fn is_of(line: &RawLine, row: &Row) -> bool {
    let kind = match line.product {
        Product::Purchase => "deposit",
        Product::Payout => "withdrawal",
        // A refund names the deposit that it takes back, not itself.
        _ => return false,
    };
    row.kind == kind && (line.id.is_none() || row.provider_id.is_none())
}

/// `taken`: of the file, the object of the line that a journal has. By its id a line is of what names it, whatever else is.
fn names_journal<'a>(
    line: &Line<'_>,
    journal: &'a Journal,
    taken: &HashMap<Uuid, Option<Uuid>>,
) -> Option<(&'a Journal, MatchedBy)> {
    let raw = line.raw;
    if journal.currency != raw.currency.code() {
        return None;
    }
    let id = raw.id.map(|id| id.to_string());
    if id.is_some_and(|id| journal.texts().any(|text| text.eq_ignore_ascii_case(&id))) {
        return Some((journal, MatchedBy::Id));
    }
    let is_named = !raw.reference.is_empty() && journal.texts().any(|text| *text == raw.reference);
    let is_free = taken.get(&journal.id).is_none_or(|object| object.is_some() && *object == raw.id);
    let same = |known: KnownLine| match (raw.id, known.object) {
        (Some(id), Some(object)) => id == object,
        (_, None) | (None, _) => line.equals(&known),
    };
    let is_the_same = journal.lines().next().is_none() || journal.lines().any(same);
    (is_named && is_free && is_the_same && suits(raw.product, &journal.kind)).then_some((journal, MatchedBy::Reference))
}

/// A fee that names its settlement is none.
fn suits(product: Product, kind: &str) -> bool {
    match product {
        Product::Settlement => kind == "settlement",
        Product::TopUp => kind == "float_top_up",
        Product::Fee => kind == "provider_invoice",
        _ => true,
    }
}

/// What a line that names a journal may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sum {
    TheJournals,
    Any,
}

/// Each journal once in a file: a second line that names it is another movement. What went back may stand there twice, once each way. Of two
/// lines that name one, the one of its sum has it: so those come first, and a line of another sum after them.
/// `taken`: what the file has already, with the sign of its line.
pub(super) fn of_bank(
    lines: Lines<'_>,
    journals: &[Journal],
    mut taken: BTreeSet<(Uuid, i64)>,
    sum: Sum,
) -> Vec<Option<Match>> {
    let mut found = vec![None; lines.all.len()];
    let names = |journal: &Journal| journal.texts().map(plain).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let journals: Vec<(&Journal, Vec<String>)> = journals.iter().map(|journal| (journal, names(journal))).collect();
    let rounds = [Sum::TheJournals, Sum::Any].into_iter().filter(|round| *round <= sum);
    for round in rounds {
        for (line, found) in lines.each().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let sign = line.raw.amount.sign();
            let mut free = journals.iter().filter(|(journal, _)| !taken.contains(&(journal.id, sign)));
            let best = named(&line, &mut free).filter(|best| round == Sum::Any || line.says(best.amount_minor));
            if let Some(journal) = best {
                taken.insert((journal.id, sign));
                *found = Some(Match::journal(journal, MatchedBy::Reference));
            }
        }
    }
    found
}

/// The journal that a bank's line names best; of two that are named as well, nobody here can choose.
fn named<'j>(
    line: &Line<'_>,
    journals: &mut dyn Iterator<Item = &'j (&'j Journal, Vec<String>)>,
) -> Option<&'j Journal> {
    let cells = [plain(&line.raw.reference), plain(&line.raw.description)];
    let strength = |name: &String| {
        let whole = cells.contains(name);
        let inside = name.len() >= CONTAINED_CHARS_MIN && cells.iter().any(|cell| cell.contains(name));
        (whole || inside).then_some((whole, name.len()))
    };
    let mut named: Vec<(_, &Journal)> = journals
        .filter_map(|(journal, names)| {
            let is_known = may_be_of(line, journal)?;
            Some(((is_known, names.iter().filter_map(strength).max()?), *journal))
        })
        .collect();
    named.sort_by_key(|(strength, _)| std::cmp::Reverse(*strength));
    match named.as_slice() {
        [(_, only)] => Some(*only),
        [(first, best), (second, _), ..] if first != second => Some(*best),
        _ => None,
    }
}

/// Whether a bank's line can be the movement of a journal, and whether it is known to be: the journal stands on the same one elsewhere.
fn may_be_of(line: &Line<'_>, journal: &Journal) -> Option<bool> {
    let sign = line.raw.amount.sign();
    let goes_that_way = sign != 0 && [0, sign].contains(&journal.bank_change.signum());
    if journal.currency != line.raw.currency.code() || !goes_that_way {
        return None;
    }
    let of_that_way = || journal.lines().filter(|known| known.amount_minor.signum() == sign);
    let is_known = of_that_way().any(|known| line.equals(&known));
    (is_known || of_that_way().next().is_none()).then_some(is_known)
}
