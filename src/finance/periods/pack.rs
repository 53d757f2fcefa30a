//! The pack of a month: its reports as they are printed, each as JSON and as CSV, and what ties them together. The same month gives the
//! same bytes; [`super::LAYOUT`] says how they are laid out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::reports::{self, Table};
use super::store::{self, Period};
use super::{LAYOUT, Made, Printed, Span, customers};
use crate::app::App;
use crate::finance::trial_balance::{self, Line};
use crate::platform::digest::sha256;
use crate::platform::error::{Error, Result};

/// What is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Pack {
    layout: i32,
    month: String,
    /// The ledger's nanosecond, as text: JSON's numbers end before it.
    cut: String,
    previous_sha256: Option<String>,
    customers_sha256: String,
    /// Breaks that may stay open, as maker and checker agreed.
    accepted: Vec<Uuid>,
    pub(super) reports: BTreeMap<String, Printed>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Pack> {
    serde_json::from_slice(bytes).map_err(Error::internal)
}

pub(super) fn accepted(bytes: &[u8]) -> Result<Vec<Uuid>> {
    Ok(read(bytes)?.accepted)
}

pub(super) async fn make(
    app: &App,
    db: &mut PgConnection,
    span: &Span,
    (previous, accepts): (Option<Period>, &[Uuid]),
) -> Result<Made> {
    let list = customers::of_ledger(app, span.cut).await?;
    if list != customers::of_copy(app, db, span.cut).await? {
        return Err(broken(app, "the customers' list of the ledger and that of its copy differ"));
    }
    let list_sha256 = sha256(&customers::file(&list)?).to_vec();
    let (mut tables, mut journal) = (reports::empty(), Table::journal());
    for currency in app.config.currencies.iter().copied() {
        let opening = trial_balance::at(app, &mut *db, currency, span.before).await?;
        let closing = trial_balance::at(app, &mut *db, currency, span.cut).await?;
        if let Some(previous) = &previous {
            follows(app, previous, currency.code(), &opening)?;
        }
        let window = span.window(app);
        let movements = store::movements(&mut *db, currency.code(), window).await?;
        let books = reports::Books { currency, opening: &opening, closing: &closing, movements: &movements };
        if !books.tie_out() {
            return Err(broken(app, "opening, movements and closing do not tie out"));
        }
        let transit = store::in_transit(&mut *db, currency.code(), window).await?;
        let fees = store::fees(&mut *db, currency.code(), window).await?;
        books.add_to(&mut tables, span.month, &transit, &fees);
        books.add_to_journal(&mut journal);
    }
    reports::add_rows(app, db, span, accepts, &mut tables).await?;
    reports::add_receivables(db, span, span.window(app), &list, &mut tables).await?;
    let mut printed = BTreeMap::new();
    for table in tables.into_iter().chain([journal]) {
        printed.insert(table.name.to_owned(), table.printed(span.month)?);
    }
    let mut accepted = accepts.to_vec();
    accepted.sort_unstable();
    accepted.dedup();
    let previous_sha256 = previous.map(|previous| previous.pack_sha256);
    let pack = Pack {
        layout: LAYOUT,
        month: span.month.to_string(),
        cut: span.cut.to_string(),
        previous_sha256: previous_sha256.as_ref().map(hex::encode),
        customers_sha256: hex::encode(&list_sha256),
        accepted,
        reports: printed,
    };
    let bytes = serde_json::to_vec(&pack).map_err(Error::internal)?;
    Ok(Made {
        sha256: sha256(&bytes).to_vec(),
        bytes,
        customers: customers::totals(&app.config.currencies, &list),
        customers_sha256: list_sha256,
        previous_sha256,
        cut: i64::try_from(span.cut).unwrap_or(i64::MAX),
    })
}

/// The books that are opened are those that were closed.
fn follows(app: &App, previous: &Period, currency: &str, opening: &[Line]) -> Result<()> {
    let pack = read(&previous.pack)?;
    let closed =
        pack.reports.get(reports::TRIAL_BALANCE).ok_or_else(|| Error::internal("a pack without its trial balance"))?;
    let closed = reports::closing_of(closed.json.get(), currency)?;
    let opened: BTreeMap<u16, i64> = opening.iter().map(|line| (line.code, line.net())).collect();
    if continues(&closed, &opened) {
        return Ok(());
    }
    Err(broken(app, "the opening balances are not the closing ones of the month before"))
}

/// A currency that was not used then, or was none of the books, has no lines: what came in it before is opened with.
fn continues(closed: &BTreeMap<u16, i64>, opened: &BTreeMap<u16, i64>) -> bool {
    closed == opened || closed.is_empty()
}

/// What cannot be while the ledger is whole.
pub(super) fn broken(app: &App, problem: &'static str) -> Error {
    app.metrics.finance.period_reprint_mismatches.inc();
    tracing::error!(problem, "the books of a month do not hold");
    Error::internal(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_that_was_none_of_the_books_is_opened_with_what_it_has() {
        let lines = |net: i64| BTreeMap::from([(1000, net), (2900, -net)]);
        assert!(continues(&lines(5), &lines(5)) && continues(&BTreeMap::new(), &lines(5)));
        assert!(!continues(&lines(5), &lines(6)) && !continues(&lines(5), &BTreeMap::new()));
    }
}
