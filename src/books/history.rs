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
//! A first page and its total are read in one snapshot; its cursors carry the total on, so that rows are counted once. A page is
//! one statement, which ends after two seconds ([`Error::TooBroad`]): an order that no index has is sorted by PostgreSQL.

pub mod cursor;
pub mod filter;
pub mod routes;
pub mod sort;
mod store;
mod views;
pub mod waiting;

use ledger::{Recorded, TransferId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::money::transactions::Transaction;
use crate::platform::database;
use crate::platform::error::{Error, Result};
use crate::platform::http::page::{Page, Position, TotalIs};

use cursor::{Binding, Cursor, Way};
pub use filter::{Filter, FilterQuery, Scope, StaffQuery};
pub use sort::{Keyset, Sort};
pub use store::{Event, LinkedAdjustment, Links, StateAt};
pub use views::StaffTransactionView;

/// More are not counted.
const COUNTED_MAX: i64 = 10_000;
/// The part of a list's deadline that counting may take: a total is not worth waiting for.
const COUNTING_PART: u32 = 4;
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

/// Which rows, in which order.
#[derive(Debug, Clone)]
pub struct Selection {
    pub filter: Filter,
    pub sort: Sort,
}

/// A row and its life.
pub struct Detail {
    pub row: Transaction,
    pub states: Vec<StateAt>,
    /// `None` while the ledger does not answer.
    pub transfers: Option<Vec<Recorded>>,
}

pub async fn prepare(_app: &App, filter: Filter, sort: Sort) -> Result<Selection> {
    Ok(Selection { filter, sort })
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
    let part = store::Part { filter: &selection.filter, sort: &selection.sort, after, offset: 0, limit };
    let mut tx = begin(app).await?;
    read(&mut tx, &part).await
}

/// # Errors
/// [`Error::Invalid`] for a cursor of another list; [`Error::TooBroad`].
pub async fn list(app: &App, caller: Uuid, filter: Filter, sort: Sort, paging: Paging) -> Result<Page<Transaction>> {
    let binding = Binding { caller, filter: &filter, sort: &sort };
    let (offset, limit, cursor) = match paging {
        Paging::Page { number, size } => (number.saturating_sub(1).saturating_mul(size), size, None),
        Paging::Cursor { cursor, limit } => (0, limit, cursor),
    };
    let cursor = cursor.map(|text| Cursor::open(&app.tokens, &text, binding)).transpose();
    let cursor = cursor.map_err(|message| Error::field("cursor", message))?;
    let backwards = cursor.as_ref().is_some_and(|cursor| cursor.way == Way::Backwards);
    let order = if backwards { sort.reversed() } else { sort.clone() };
    let after = cursor.as_ref().map(|cursor| &cursor.keyset);
    let mut tx = begin(app).await?;
    let part = store::Part { filter: &filter, sort: &order, after, offset, limit: limit.saturating_add(1) };
    let mut rows = read(&mut tx, &part).await?;
    let wanted = usize::try_from(limit).unwrap_or(0);
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    // Of a page beyond the end nothing is known.
    let seen = if rows.is_empty() { 0 } else { offset + i64::try_from(rows.len()).unwrap_or(0) + i64::from(more) };
    let is_end = !more && (offset == 0 || !rows.is_empty());
    let total = match &cursor {
        Some(cursor) => cursor.total,
        None if is_end => (seen, TotalIs::Exact),
        None => total(app, &mut tx, &filter, seen).await?,
    };
    if backwards {
        rows.reverse();
    }
    let (has_next, has_prev) = if backwards { (true, more) } else { (more, cursor.is_some() || offset > 0) };
    let link = |way, row: Option<&Transaction>| {
        row.map(|row| Cursor { way, keyset: sort.keyset(row), total }.seal(&app.tokens, binding))
    };
    let page = Position {
        next_cursor: link(Way::Forwards, rows.last().filter(|_| has_next)),
        prev_cursor: link(Way::Backwards, rows.first().filter(|_| has_prev)),
        total: Some(total.0),
        total_is: Some(total.1),
        page_size: limit,
    };
    Ok(Page { data: rows, page })
}

/// One snapshot for all that it reads, and a deadline for each statement.
async fn begin(app: &App) -> Result<database::Transaction> {
    Ok(store::begin(&app.db, app.config.list_deadline).await?)
}

async fn read(db: &mut PgConnection, part: &store::Part<'_>) -> Result<Vec<Transaction>> {
    if part.filter.is_impossible() {
        return Ok(Vec::new());
    }
    match store::page(db, part).await {
        Ok(rows) => rows.into_iter().map(Transaction::try_from).collect(),
        // The statement's own deadline is the caller's affair, not a part that does not answer.
        Err(error) if database::is_deadline(&error) => Err(Error::TooBroad),
        Err(error) => Err(error.into()),
    }
}

/// `seen` rows are known to be there. The last thing that is done with `db`.
async fn total(app: &App, db: &mut PgConnection, filter: &Filter, seen: i64) -> Result<(i64, TotalIs)> {
    if filter.is_impossible() {
        return Ok((0, TotalIs::Exact));
    }
    match store::count(db, filter, COUNTED_MAX + 1, app.config.list_deadline / COUNTING_PART).await {
        Ok(counted) if counted <= COUNTED_MAX => Ok((counted, TotalIs::Exact)),
        Ok(counted) => Ok((counted.max(seen), TotalIs::AtLeast)),
        Err(error) if database::is_deadline(&error) => Ok((seen, TotalIs::AtLeast)),
        Err(error) => Err(error.into()),
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

/// The call that asked for the row, what it sets right, and what sets it right.
pub async fn links(app: &App, id: Uuid) -> Result<(Links, Vec<LinkedAdjustment>)> {
    Ok((store::links(&app.db, id).await?, store::adjustments(&app.db, id, EVENTS_MAX).await?))
}
