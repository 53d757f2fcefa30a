//! Which row or journal a line is of: by Revio's id, then by the reference; amount and day alone prove nothing.
//!
//! | line | by id | by reference |
//! |---|---|---|
//! | a customer's | the row whose object it is, or was | the deposit or withdrawal that it names, if that has no other object |
//! | settlement, top-up, fee | the journal whose evidence names the id | the journal whose evidence, arrival or id is the reference |
//! | a bank's | - | the journal whose evidence, arrival or id stands in the reference or the description |
//!
//! A journal that names the id of a line of ours was booked from that line: `person`.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::columns::{Product, plain};
use super::reading::{RawLine, Table};
use super::store::{self, Journal, Row};
use super::{MatchedBy, Source};
use crate::app::App;
use crate::platform::error::Result;

/// A shorter text stands in a description by chance.
const CONTAINED_CHARS_MIN: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) transaction_id: Option<Uuid>,
    pub(super) journal_id: Option<Uuid>,
    pub(super) by: MatchedBy,
    /// What the row or journal says, without a sign.
    pub(super) minor: i64,
}

impl Match {
    fn row(row: &Row, by: MatchedBy) -> Self {
        Self { transaction_id: Some(row.id), journal_id: None, by, minor: row.amount_minor }
    }

    fn journal(journal: &Journal, by: MatchedBy) -> Self {
        Self { transaction_id: None, journal_id: Some(journal.id), by, minor: journal.amount_minor }
    }
}

/// In the order of the lines.
pub(super) async fn of(app: &App, source: Source, table: &Table) -> Result<Vec<Option<Match>>> {
    match source {
        Source::Revio => of_revio(app, &table.lines).await,
        Source::Bank => {
            let currencies: BTreeSet<&str> = table.lines.iter().map(|line| line.currency.code()).collect();
            let currencies: Vec<String> = currencies.into_iter().map(str::to_owned).collect();
            let journals = store::bank_journals(&app.db, &currencies).await?;
            Ok(of_bank(&table.lines, &journals))
        }
    }
}

async fn of_revio(app: &App, lines: &[RawLine]) -> Result<Vec<Option<Match>>> {
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
    let found = lines.iter().map(|line| {
        let object = line.id.and_then(|id| by_object.get(&id)).map(|row| Match::row(row, MatchedBy::Id));
        let reference = || line.reference.parse().ok().and_then(|id: Uuid| by_id.get(&id));
        object
            .or_else(|| reference().filter(|row| is_of(line, row)).map(|row| Match::row(row, MatchedBy::Reference)))
            .or_else(|| journals.iter().find_map(|journal| names_journal(line, journal)))
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

fn names_journal(line: &RawLine, journal: &Journal) -> Option<Match> {
    if journal.currency != line.currency.code() {
        return None;
    }
    let id = line.id.map(|id| id.to_string());
    let by_id = id.is_some_and(|id| journal.texts().any(|text| text.eq_ignore_ascii_case(&id)));
    let by_reference = !line.reference.is_empty() && journal.texts().any(|text| *text == line.reference);
    match (by_id, by_reference) {
        (true, _) => Some(Match::journal(journal, MatchedBy::Id)),
        (false, true) => Some(Match::journal(journal, MatchedBy::Reference)),
        (false, false) => None,
    }
}

/// Each journal once in a file: a second line that names it is another movement.
pub(super) fn of_bank(lines: &[RawLine], journals: &[Journal]) -> Vec<Option<Match>> {
    let mut taken = BTreeSet::new();
    let mut found = vec![None; lines.len()];
    let names = |journal: &Journal| journal.texts().map(plain).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let journals: Vec<(&Journal, Vec<String>)> = journals.iter().map(|journal| (journal, names(journal))).collect();
    for (line, found) in lines.iter().zip(&mut found) {
        let cells = [plain(&line.reference), plain(&line.description)];
        let strength = |name: &String| {
            let whole = cells.contains(name);
            let inside = name.len() >= CONTAINED_CHARS_MIN && cells.iter().any(|cell| cell.contains(name));
            (whole || inside).then_some((whole, name.len()))
        };
        let free = journals
            .iter()
            .filter(|(journal, _)| !taken.contains(&journal.id) && journal.currency == line.currency.code());
        let mut named: Vec<((bool, usize), &Journal)> =
            free.filter_map(|(journal, names)| Some((names.iter().filter_map(strength).max()?, *journal))).collect();
        named.sort_by_key(|(strength, _)| std::cmp::Reverse(*strength));
        // Of two that are named as well, nobody here can choose.
        let best = match named.as_slice() {
            [(_, only)] => Some(*only),
            [(first, best), (second, _), ..] if first != second => Some(*best),
            _ => None,
        };
        if let Some(journal) = best {
            taken.insert(journal.id);
            *found = Some(Match::journal(journal, MatchedBy::Reference));
        }
    }
    found
}
