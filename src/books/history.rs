//! Reading transactions back: lists of any size, page by page in a total order, and one row with its whole life. Nothing here
//! writes.
//!
//! ```text
//! FilterQuery ─ parse ─> Selection ─┬─> page_after    the next rows behind a row (exports)
//!                                   └─> list          rows, cursors both ways, total
//! ```
//!
//! | asked for | guarantee while rows are written |
//! |---|---|
//! | cursor, order by `created_at`, `amount` or `kind` | every row that was there at the first page comes exactly once, and keeps its place |
//! | cursor, order by `updated_at`, `completed_at` or `state` | the same for rows that do not move; one that moves in the order may be missed or come again |
//! | cursor, a filter by `state` or `held` | the same for rows that fit all the while |
//! | `page` | each page is right at its moment; rows that come in before it push others onto the next page |
//!
//! A first page and its total are read in one snapshot; its cursors carry the total on, so that rows are counted once, or not at all
//! where nobody wants to know (`total=false`). A page is one statement, which ends after two seconds ([`Error::TooBroad`]): an order that
//! no index has is sorted by PostgreSQL, and takes a turn among those who ask for such (`platform/slow_reads.rs`).

pub mod cursor;
pub mod filter;
pub mod routes;
pub mod sort;
mod store;
mod views;
pub mod waiting;

use std::cmp::Reverse;
use std::sync::Arc;

use ledger::{Recorded, TransferId};
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::app::App;
use crate::money::transactions::{Row, Transaction};
use crate::platform::batcher::LockWait;
use crate::platform::database;
use crate::platform::error::{Error, Result};
use crate::platform::http::page::{Page, Position, TotalIs};
use crate::platform::slow_reads::{self, too_broad};

use cursor::{Binding, Cursor, Way};
pub use filter::{Filter, FilterQuery, Scope, StaffQuery};
pub use sort::{Keyset, Sort};
pub use store::{Event, LinkedAdjustment, Links, StateAt};

/// More are not counted.
const COUNTED_MAX: i64 = 10_000;
/// The part of a list's deadline that counting may take: a total is not worth waiting for.
const COUNTING_PART: u32 = 4;
/// Of one row; Revio repeats an event some ten times at most.
const EVENTS_MAX: i64 = 100;

type Total = (i64, TotalIs);
/// Rows, and how many there are.
type Read = (Vec<Row>, Option<i64>);

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

/// The next rows behind a row, or the first ones: a whole list, a page at a time, without a cursor that a client holds. Fewer
/// than `size` rows are the last ones. The caller has a turn of `App::slow_reads`.
///
/// # Errors
/// [`Error::TooBroad`] when it takes too long.
pub async fn page_after(
    app: &App,
    selection: &Selection,
    after: Option<&Keyset>,
    size: i64,
) -> Result<Vec<Transaction>> {
    if selection.filter.is_impossible() {
        return Ok(Vec::new());
    }
    let part = store::Part { filter: &selection.filter, sort: &selection.sort, after, offset: 0, size };
    let (rows, _) = read_planned(app, &part, false).await.map_err(too_broad)?;
    rows.into_iter().take(wanted(size)).map(Transaction::try_from).collect()
}

/// # Errors
/// [`Error::Invalid`] for a cursor of another list; [`Error::TooBroad`]; [`Error::TurnedAway`] when too many ask for lists that take long.
pub async fn list(
    app: &App,
    caller: Uuid,
    Selection { filter, sort }: Selection,
    paging: Paging,
    counts: bool,
) -> Result<Page<Transaction>> {
    let binding = Binding { caller, filter: &filter, sort: &sort };
    let (offset, size, cursor) = match paging {
        Paging::Page { number, size } => (number.saturating_sub(1).saturating_mul(size), size, None),
        Paging::Cursor { cursor, limit } => (0, limit, cursor),
    };
    let cursor = cursor.map(|text| Cursor::verify(&app.tokens, &text, binding)).transpose();
    let cursor = cursor.map_err(|message| Error::parameter("cursor", message))?;
    let backwards = cursor.as_ref().is_some_and(|cursor| cursor.way == Way::Backwards);
    let order = if backwards { sort.reversed() } else { sort.clone() };
    let after = cursor.as_ref().map(|cursor| &cursor.keyset);
    let part = store::Part { filter: &filter, sort: &order, after, offset, size };
    let (mut rows, counted) = read(app, caller, &part, counts && cursor.is_none()).await?;
    let more = rows.len() > wanted(size);
    rows.truncate(wanted(size));
    let total = cursor.as_ref().map_or(counted, |cursor| cursor.total.filter(|_| counts));
    if backwards {
        rows.reverse();
    }
    let (has_next, has_prev) = if backwards { (true, more) } else { (more, cursor.is_some() || offset > 0) };
    let link = |way, row: Option<&Transaction>| {
        row.map(|row| Cursor { way, keyset: sort.keyset(row), total }.sign(&app.tokens, binding))
    };
    let page = Position {
        next_cursor: link(Way::Forwards, rows.last().filter(|_| has_next)),
        prev_cursor: link(Way::Backwards, rows.first().filter(|_| has_prev)),
        total: total.map(|(rows, _)| rows),
        total_is: total.map(|(_, is)| is),
        page_size: size,
    };
    Ok(Page { data: rows, page })
}

fn wanted(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}

/// One row more than the page has, if there is one; and how many there are in the same snapshot, where that is asked for.
async fn read(
    app: &App,
    caller: Uuid,
    part: &store::Part<'_>,
    counts: bool,
) -> Result<(Vec<Transaction>, Option<Total>)> {
    if part.filter.is_impossible() {
        return Ok((Vec::new(), counts.then_some((0, TotalIs::Exact))));
    }
    let (rows, counted) = match part.whose_beginning().filter(|_| counts) {
        Some(user) => match app.batchers.look_up(app, user, first_pages).await? {
            Some(found) => first_page(&found)?,
            None => read_common(app, part, false).await.map_err(too_broad)?,
        },
        None if part.is_common() => read_common(app, part, counts).await.map_err(too_broad)?,
        None => {
            let _turn = app.slow_reads.turn(caller, slow_reads::WAIT).await?;
            read_planned(app, part, counts).await.map_err(too_broad)?
        }
    };
    let found = i64::try_from(rows.len()).unwrap_or(0);
    // Of a page beyond the end nothing is known.
    let seen = if rows.is_empty() { 0 } else { part.offset + found };
    let is_end = found <= part.size && (part.offset == 0 || found > 0);
    let total = match counted {
        _ if is_end => (seen, TotalIs::Exact),
        Some(counted) if counted <= COUNTED_MAX => (counted, TotalIs::Exact),
        Some(counted) => (counted.max(seen), TotalIs::AtLeast),
        None => (seen, TotalIs::AtLeast),
    };
    let rows = rows.into_iter().map(Transaction::try_from).collect::<Result<_>>()?;
    Ok((rows, counts.then_some(total)))
}

/// One statement, which is planned already.
async fn read_common(app: &App, part: &store::Part<'_>, counts: bool) -> sqlx::Result<Read> {
    let read = store::common_page(&app.lists, part, counts.then_some(COUNTED_MAX + 1)).await;
    let rows = match read {
        Err(error) if counts && database::is_deadline(&error) => store::common_page(&app.lists, part, None).await?,
        read => read?,
    };
    Ok(split(rows))
}

fn split(rows: Vec<store::Counted>) -> Read {
    let counted = rows.first().and_then(|first| first.counted);
    (rows.into_iter().map(|counted| counted.row).collect(), counted)
}

/// Where customers begin, which is what everybody asks for: one statement for all who ask at once. Of nobody, where it takes one of them
/// too long.
async fn first_pages(app: App, _: LockWait, mut users: Vec<Uuid>) -> Result<Vec<(Uuid, Arc<Vec<PgRow>>)>> {
    users.sort_unstable();
    users.dedup();
    let mut pages = match store::first_pages(&app.lists, &users, COUNTED_MAX + 1).await {
        // Each by himself, so that one with many rows is nobody else's.
        Err(error) if users.len() > 1 => return Err(too_broad(error)),
        Err(error) if database::is_deadline(&error) => return Ok(Vec::new()),
        pages => pages?,
    };
    Ok(users.into_iter().map(|user| (user, Arc::new(pages.remove(&user).unwrap_or_default()))).collect())
}

/// Read by who asked, and not by who asked for all.
fn first_page(found: &[PgRow]) -> sqlx::Result<Read> {
    let mut rows: Vec<_> = found.iter().map(store::Counted::from_row).collect::<sqlx::Result<_>>()?;
    // A join promises no order, though this one has it.
    rows.sort_by_key(|counted| Reverse(counted.row.id));
    Ok(split(rows))
}

/// One snapshot for the page and the count, a deadline for each, and a plan for these values.
async fn read_planned(app: &App, part: &store::Part<'_>, counts: bool) -> sqlx::Result<Read> {
    let deadline = app.config.list_deadline;
    let mut tx = app.db.begin_reading(deadline).await?;
    let rows = store::page(&mut tx, part).await?;
    if !counts || (rows.len() <= wanted(part.size) && (part.offset == 0 || !rows.is_empty())) {
        return Ok((rows, None));
    }
    match store::count(&mut tx, part.filter, COUNTED_MAX + 1, deadline / COUNTING_PART).await {
        Ok(counted) => Ok((rows, Some(counted))),
        Err(error) if database::is_deadline(&error) => Ok((rows, None)),
        Err(error) => Err(error),
    }
}

/// A row with its states.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find(app: &App, id: Uuid) -> Result<(Transaction, Vec<StateAt>)> {
    let (row, states) = store::find(&app.db, id).await?.ok_or(Error::NotFound("transaction"))?;
    Ok((row.try_into()?, states))
}

/// The same of the user's own.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn find_own(app: &App, user_id: Uuid, id: Uuid) -> Result<(Transaction, Vec<StateAt>)> {
    let (row, states) = find(app, id).await?;
    if row.is_shown_to(user_id) { Ok((row, states)) } else { Err(Error::NotFound("transaction")) }
}

pub async fn detail(app: &App, (row, states): (Transaction, Vec<StateAt>)) -> Result<Detail> {
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
    Ok(store::events(&app.db, row, EVENTS_MAX).await?)
}

/// The call that asked for the row, what it sets right, and what sets it right.
pub async fn links(app: &App, id: Uuid) -> Result<(Links, Vec<LinkedAdjustment>)> {
    Ok((store::links(&app.db, id).await?, store::adjustments(&app.db, id, EVENTS_MAX).await?))
}
