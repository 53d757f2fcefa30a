//! Lines without anything of ours, matched again: rows come and journals are booked after the line that they are of. Called before each
//! comparison.
//!
//! Files overlap, so that a movement may stand in a day's file and in its month's. Where one of the two has its journal, or people have said
//! what became of it, the same is so of the other one: Revio's by id, else by all that is kept of a line; a bank's by its day, its sum and
//! what both files wrote of it.

mod store;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use chrono::NaiveDate;
use ledger::Currency;
use uuid::Uuid;

use self::store::{OpenLine, Twin};
use crate::app::App;
use crate::finance::days;
use crate::finance::statement_files::columns::plain;
use crate::finance::statement_files::matching::{self, Lines, Sum};
use crate::finance::statement_files::reading::{self, RawLine};
use crate::finance::statement_files::store::{self as files, Journal};
use crate::finance::statement_files::{MatchedBy, Source, opened};
use crate::platform::error::Result;

/// Of bank files whose lines are read again.
const READ_AGAIN_DAYS: u64 = 35;

pub(super) async fn match_lines(app: &App) -> Result<()> {
    let mut changed: BTreeSet<Uuid> = store::unmatch_dead_journals(&app.db).await?.into_iter().collect();
    changed.extend(store::match_booked_from_lines(&app.db).await?);
    changed.extend(store::match_objects(&app.db).await?);
    changed.extend(store::match_references(&app.db).await?);
    changed.extend(store::match_journals(&app.db).await?);
    store::settle_resolved(&app.db).await?;
    changed.extend(store::match_twins(&app.db).await?);
    for file in changed {
        store::count_again(&app.db, file).await?;
    }
    let oldest = days::before(days::today(app).await?, READ_AGAIN_DAYS);
    let mut texts = Texts::default();
    // In all files first the lines of a journal's own sum: an older line of another sum may have the same words.
    for sum in [Sum::TheJournals, Sum::Any] {
        for file in store::bank_files_with_unmatched(&app.db, oldest).await? {
            if read_again(app, file, sum, &mut texts).await? {
                store::count_again(&app.db, file).await?;
            }
        }
    }
    Ok(())
}

/// What a bank's line says stands only in its encrypted file. True when a journal was found.
async fn read_again(app: &App, file: Uuid, sum: Sum, texts: &mut Texts) -> Result<bool> {
    let open = store::unmatched_of(&app.db, file).await?;
    let currencies: BTreeSet<String> = open.iter().map(|line| line.currency.clone()).collect();
    let currencies: Vec<String> = currencies.into_iter().collect();
    let days: Vec<NaiveDate> = open.iter().map(|line| line.day).collect();
    let taken: BTreeSet<(Uuid, i64)> = store::journals_of(&app.db, file).await?.into_iter().collect();
    let journals = files::bank_journals(&app.db, &currencies, &days).await?;
    let is_free = |journal: &Journal| journal.bank_change == 0 || !taken.iter().any(|(taken, _)| *taken == journal.id);
    let has_free = journals.iter().any(is_free);
    let twins = store::twins_of(&app.db, file).await?;
    if !has_free && twins.is_empty() {
        return Ok(false);
    }
    let currency = currencies.first().and_then(|code| Currency::parse(code));
    let open: HashMap<i32, OpenLine> = open.into_iter().map(|line| (line.number, line)).collect();
    let numbered = lines_of(app, file, currency).await?.into_iter();
    let (lines, open): (Vec<RawLine>, Vec<&OpenLine>) =
        numbered.filter_map(|line| Some((open.get(&number(&line)?)?, line))).map(|(open, line)| (line, open)).unzip();
    let days: Vec<NaiveDate> = open.iter().map(|line| line.day).collect();
    let of_file = Lines { all: &lines, days: &days, unit: open.first().and_then(|line| line.unit) };
    let (mut any, mut left, mut now) = (false, Vec::new(), BTreeSet::new());
    for ((line, open), found) in lines.iter().zip(open).zip(matching::of_bank(of_file, &journals, taken, sum)) {
        match found.and_then(|found| found.journal_id) {
            Some(journal) => {
                any |= store::match_line(&app.db, open.id, journal, MatchedBy::Reference.name()).await?;
                now.insert((journal, open.amount_minor.signum()));
            }
            None => left.push((open, words(line))),
        }
    }
    for (open, words) in left {
        if let Some(twin) = texts.twin(app, (open, &words), &twins, &now).await? {
            any |= store::follow_twin(&app.db, open.id, twin).await?;
            now.extend(twin.of().map(|of| (of, open.amount_minor.signum())));
        }
    }
    Ok(any)
}

fn number(line: &RawLine) -> Option<i32> {
    i32::try_from(line.number).ok()
}

/// None once the file's time is over.
async fn lines_of(app: &App, file: Uuid, currency: Option<Currency>) -> Result<Vec<RawLine>> {
    let Some(content) = opened(app, file).await? else { return Ok(Vec::new()) };
    Ok(reading::read(Source::Bank, &content, currency)?.lines)
}

/// What a bank wrote of a line, without what its formats differ in.
fn words(line: &RawLine) -> String {
    plain(&format!("{}{}", line.reference, line.description))
}

impl Twin {
    /// The journal, or else the break.
    fn of(&self) -> Option<Uuid> {
        self.journal_id.or(self.settled_by)
    }
}

/// What stands in files, by file and number of the line, for as long as a look takes.
#[derive(Default)]
struct Texts(HashMap<Uuid, HashMap<i32, String>>);

impl Texts {
    /// The first equal line of another file whose journal, or break, this file has not: of several equal ones the first has the first's. Two payers
    /// pay the same on one day, and files of a part of a day do not overlap: so their words must not contradict each other.
    async fn twin<'a>(
        &mut self,
        app: &App,
        (open, words): (&OpenLine, &str),
        twins: &'a [Twin],
        taken: &BTreeSet<(Uuid, i64)>,
    ) -> Result<Option<&'a Twin>> {
        for twin in twins {
            let is_equal =
                (&twin.currency, twin.day, twin.amount_minor) == (&open.currency, open.day, open.amount_minor);
            let is_taken = twin.of().is_none_or(|of| taken.contains(&(of, open.amount_minor.signum())));
            if !is_equal || is_taken {
                continue;
            }
            let there = self.of(app, twin).await?;
            if there.is_some_and(|there| there.contains(words) || words.contains(there)) {
                return Ok(Some(twin));
            }
        }
        Ok(None)
    }

    async fn of(&mut self, app: &App, twin: &Twin) -> Result<Option<&str>> {
        let texts = match self.0.entry(twin.file_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let lines = lines_of(app, twin.file_id, Currency::parse(&twin.currency)).await?;
                unknown.insert(lines.iter().filter_map(|line| Some((number(line)?, words(line)))).collect())
            }
        };
        Ok(texts.get(&twin.number).map(String::as_str))
    }
}
