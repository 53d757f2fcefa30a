//! Reading transactions back: lists of any size, page by page in a total order, and one row with its whole life. Nothing here
//! writes.
//!
//! ```text
//! FilterQuery ─ parse ─> Filter, Sort ─┬─ prepare ─> Selection ─> page_after    the next rows behind a row (exports)
//!                                      └─ list ─> rows, cursors both ways, total
//! ```
//!
//! | asked for | guarantee while rows are written |
//! |---|---|
//! | cursor, order by `created_at`, `amount` or `kind` | every row that was there at the first page comes exactly once, and keeps its place |
//! | cursor, order by `updated_at`, `completed_at` or `state` | the same for rows that do not move; one that moves in the order may be missed or come again |
//! | cursor, a filter by `state` or `held` | the same for rows that fit all the while |
//! | `page` | each page is right at its moment; rows that come in before it push others onto the next page |
//!
//! A first page and its total are read in one snapshot; its cursors carry the total on, so that rows are counted once. Each
//! statement ends after two seconds ([`Error::TooBroad`]).

pub mod cursor;
pub mod filter;
mod groups;
pub mod routes;
pub mod sort;
mod store;
mod views;
mod words;

use ledger::{Recorded, TransferId};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::money::transactions::Transaction;
use crate::platform::error::{Error, Result};

use cursor::{Binding, Cursor, Way};
pub use filter::{Filter, FilterQuery, Scope, StaffQuery};
pub use sort::{Keyset, Sort};
pub use store::{Event, StateAt};
pub use views::StaffTransactionView;

/// More are not counted but estimated: counting would cost more than the page.
const COUNTED_MAX: i64 = 10_000;
/// Of a search there is no estimate, and each row that it finds is looked at.
const FOUND_MAX: i64 = 100;
/// In PostgreSQL's units, of which one is some five microseconds: a count that it believes dearer is not made, an order not
/// sorted.
const COST_MAX: f64 = 1_500.0;
/// A word that more rows have is looked for in the rows of the order, not the rows by the word.
const RARE_MAX: i64 = 20_000;
/// Enough to tell which word is the rarest.
const COMPARED_MAX: i64 = 2_000;
/// Each word costs a search of its own.
const WORDS_MAX: usize = 8;
/// Of one row; Revio repeats an event some ten times at most.
const EVENTS_MAX: i64 = 100;

/// How a caller goes through a list.
#[derive(Debug, Clone)]
pub enum Paging {
    /// From 1.
    Page { number: i64, size: i64 },
    /// Without a cursor, the first page.
    Cursor { cursor: Option<String>, limit: i64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Total {
    Exact(i64),
    /// By PostgreSQL's statistics; more than are counted.
    Estimate(i64),
    AtLeast(i64),
}

/// A part of a list.
pub struct List {
    pub rows: Vec<Transaction>,
    pub next: Option<String>,
    pub prev: Option<String>,
    pub total: Total,
}

/// A filter whose search has been read: from here on it means the same on every page.
#[derive(Debug, Clone)]
pub struct Selection {
    pub filter: Filter,
    pub sort: Sort,
    meaning: Meaning,
}

/// What the words of a search were taken to mean.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meaning {
    /// For each word those of the rows; the rarest first.
    pub words: Vec<Vec<String>>,
    /// Every word is one of very many rows, and the order is not by time.
    pub is_common: bool,
}

/// A row and its life.
pub struct Detail {
    pub row: Transaction,
    pub states: Vec<StateAt>,
    /// `None` while the ledger does not answer.
    pub transfers: Option<Vec<Recorded>>,
}

/// Reads what the search may mean.
///
/// # Errors
/// [`Error::Invalid`] for a search of too many words; [`Error::TooBroad`].
pub async fn prepare(app: &App, filter: Filter, sort: Sort) -> Result<Selection> {
    let Some(search) = &filter.search else {
        return Ok(Selection { filter, sort, meaning: Meaning::default() });
    };
    let mut tx = begin(app, true).await?;
    let asked = words::cut(&mut tx, &search.text).await.map_err(too_broad)?;
    if asked.len() > WORDS_MAX {
        return Err(Error::field("q", format!("has more than {WORDS_MAX} words")));
    }
    let by_time = sort.columns.is_empty();
    let counted_max = if by_time { COMPARED_MAX } else { RARE_MAX } + 1;
    let words = words::meant(&mut tx, &asked, filter.user_id, counted_max).await.map_err(too_broad)?;
    let is_common = !by_time && words.first().is_some_and(|(_, uses)| *uses > RARE_MAX);
    let words = words.into_iter().map(|(words, _)| words).collect();
    Ok(Selection { filter, sort, meaning: Meaning { words, is_common } })
}

/// The next rows behind a row, or the first ones: a whole list, a page at a time, without a cursor that a client holds. Fewer
/// than `limit` rows are the last ones.
///
/// # Errors
/// [`Error::TooBroad`] when it takes too long.
pub async fn page_after(
    app: &App,
    selection: &Selection,
    after: Option<&Keyset>,
    limit: i64,
) -> Result<Vec<Transaction>> {
    let ask = store::ListQuery { offset: 0, limit, after, ..ask(selection) };
    let mut tx = begin(app, false).await?;
    groups::page(&mut tx, &ask, app.config.list_deadline).await
}

/// # Errors
/// [`Error::Invalid`] for a cursor of another list; [`Error::TooBroad`].
pub async fn list(app: &App, caller: Uuid, filter: Filter, sort: Sort, paging: Paging) -> Result<List> {
    let binding = Binding { caller, filter: &filter, sort: &sort };
    let cursor = match &paging {
        Paging::Cursor { cursor: Some(text), .. } => {
            Some(Cursor::open(&app.tokens, text, binding).map_err(|message| Error::field("cursor", message))?)
        }
        _ => None,
    };
    let selection = match &cursor {
        Some(cursor) => Selection { filter: filter.clone(), sort: sort.clone(), meaning: cursor.meaning.clone() },
        None => prepare(app, filter.clone(), sort.clone()).await?,
    };
    let backwards = cursor.as_ref().is_some_and(|cursor| cursor.way == Way::Backwards);
    let (offset, limit) = match paging {
        Paging::Page { number, size } => (number.saturating_sub(1).saturating_mul(size), size),
        Paging::Cursor { limit, .. } => (0, limit),
    };
    let reversed = sort.reversed();
    let ask = store::ListQuery {
        sort: if backwards { &reversed } else { &sort },
        after: cursor.as_ref().map(|cursor| &cursor.keyset),
        offset,
        limit: limit.saturating_add(1),
        ..ask(&selection)
    };
    let mut tx = begin(app, false).await?;
    let rows = groups::page(&mut tx, &ask, app.config.list_deadline).await?;
    let (mut rows, more) = cut(rows, limit);
    let seen = offset.saturating_add(i64::try_from(rows.len()).unwrap_or(0)).saturating_add(i64::from(more));
    // Of a page beyond the end nothing is known.
    let seen = if rows.is_empty() { 0 } else { seen };
    let is_end = !more && (offset == 0 || !rows.is_empty());
    let total = match &cursor {
        Some(cursor) => cursor.total,
        None if is_end => Total::Exact(seen),
        None => total(&mut tx, &selection, seen).await?,
    };
    tx.commit().await?;
    if backwards {
        rows.reverse();
    }
    let has_more = |way| match (backwards, way) {
        (false, Way::Forwards) | (true, Way::Backwards) => more,
        (true, Way::Forwards) => true,
        (false, Way::Backwards) => cursor.is_some() || offset > 0,
    };
    let link = |way, row: Option<&Transaction>| {
        let keyset = row.filter(|_| has_more(way)).map(|row| sort.keyset(row))?;
        Some(Cursor { way, keyset, meaning: selection.meaning.clone(), total }.seal(&app.tokens, binding))
    };
    let (next, prev) = (link(Way::Forwards, rows.last()), link(Way::Backwards, rows.first()));
    Ok(List { rows, next, prev, total })
}

/// The rows of the page, and whether another one was there behind them.
fn cut(mut rows: Vec<Transaction>, limit: i64) -> (Vec<Transaction>, bool) {
    let limit = usize::try_from(limit).unwrap_or(0);
    let more = rows.len() > limit;
    rows.truncate(limit);
    (rows, more)
}

fn ask(selection: &Selection) -> store::ListQuery<'_> {
    store::ListQuery {
        filter: &selection.filter,
        meaning: &selection.meaning,
        sort: &selection.sort,
        compared: &[],
        after: None,
        offset: 0,
        limit: 0,
    }
}

/// One snapshot for all that it reads, and a deadline for each statement.
async fn begin(app: &App, for_terms: bool) -> Result<sqlx::Transaction<'static, sqlx::Postgres>> {
    let mut tx = app.db.begin_with("begin isolation level repeatable read read only").await?;
    store::bound(&mut *tx, app.config.list_deadline, for_terms).await?;
    Ok(tx)
}

/// `seen` rows are known to be there. What is dear to count, or surely more than is counted, is told as PostgreSQL's estimate;
/// of a search it has none.
async fn total(db: &mut PgConnection, selection: &Selection, seen: i64) -> Result<Total> {
    if selection.filter.pairs().is_empty() {
        return Ok(Total::Exact(0));
    }
    let by_time = Sort::default();
    let is_search = selection.filter.search.is_some();
    let counted_max = if is_search { FOUND_MAX } else { COUNTED_MAX };
    let ask = store::ListQuery { sort: &by_time, limit: counted_max + 1, ..ask(selection) };
    let mut estimate = None;
    if !is_search {
        let plan = store::count_plan(db, &ask).await.map_err(too_broad)?;
        estimate = plan.rows;
        let is_many = estimate.is_some_and(|rows| rows > COUNTED_MAX + COUNTED_MAX / 4);
        if is_many || plan.cost > COST_MAX {
            return Ok(more_than(seen, estimate));
        }
    }
    match store::count(db, &ask).await.map_err(too_broad) {
        Ok(counted) if counted <= counted_max => Ok(Total::Exact(counted)),
        Ok(counted) => Ok(more_than(counted.max(seen), estimate)),
        Err(Error::TooBroad) => Ok(more_than(seen, estimate)),
        Err(error) => Err(error),
    }
}

fn more_than(known: i64, estimate: Option<i64>) -> Total {
    estimate.filter(|rows| *rows > known).map_or(Total::AtLeast(known), Total::Estimate)
}

/// The statement's own deadline is the caller's affair, not a part that does not answer.
fn too_broad(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(database) if database.code().is_some_and(|code| code == "57014") => Error::TooBroad,
        _ => error.into(),
    }
}

pub async fn detail(app: &App, row: Transaction) -> Result<Detail> {
    let states = store::states(&app.db, row.id).await?;
    let transfers = match app.ledger.lookup(&TransferId::all_of(row.id)).await {
        Ok(transfers) => Some(transfers),
        Err(error) => {
            tracing::warn!(transaction.id = %row.id, error = %error, "the ledger transfers of a row cannot be told");
            None
        }
    };
    Ok(Detail { row, states, transfers })
}

/// What Revio said of the row, oldest first.
pub async fn events(app: &App, row: &Transaction) -> Result<Vec<Event>> {
    Ok(store::events(&app.db, row.id, row.provider.id, EVENTS_MAX).await?)
}
