//! The rows of an export, page by page: always those that come after the last one in the order of the list. Nothing is held
//! between two pages, no connection and no snapshot, so a slow reader costs nobody anything.

use uuid::Uuid;

use super::PAGE_ROWS;
use crate::app::App;
use crate::books::history::sort::Column;
use crate::books::history::{self, Keyset, Scope, Selection, Sort};
use crate::money::transactions::{self, Transaction};
use crate::platform::error::{Error, Result};

pub(super) struct Pages {
    selection: Selection,
    /// Where the last page that was fetched ends.
    after: Option<Keyset>,
    ended: bool,
}

pub(super) struct Page {
    pub(super) rows: Vec<Transaction>,
    /// Where it ends.
    pub(super) end: Keyset,
}

impl Pages {
    pub(super) fn new(selection: Selection, after: Option<Keyset>) -> Self {
        Self { selection, after, ended: false }
    }

    /// `None` after the last one.
    ///
    /// # Errors
    /// When PostgreSQL does not answer in time.
    pub(super) async fn next(&mut self, app: &App) -> Result<Option<Page>> {
        if self.ended {
            return Ok(None);
        }
        let rows = history::page_after(app, &self.selection, self.after.as_ref(), PAGE_ROWS).await?;
        self.ended = i64::try_from(rows.len()).is_ok_and(|count| count < PAGE_ROWS);
        let Some(last) = rows.last() else { return Ok(None) };
        let end = self.selection.sort.keyset(last);
        self.after = Some(end.clone());
        Ok(Some(Page { rows, end }))
    }
}

/// Where the row stands in the order: an export may go on after it.
///
/// # Errors
/// [`Error::Invalid`] when there is no such row for the caller, or when rows may have changed their places since.
pub(super) async fn place_of(app: &App, scope: Scope, sort: &Sort, id: Uuid) -> Result<Keyset> {
    let stays = |column: Column| matches!(column, Column::CreatedAt | Column::Amount | Column::Kind);
    if !sort.columns.iter().all(|(column, _)| stays(*column)) {
        let told =
            "works only where sort names nothing but created_at, amount and kind: rows change their places otherwise";
        return Err(Error::field("after", told));
    }
    let found = match scope {
        Scope::Own(user_id) => transactions::find_own(app, user_id, id).await,
        Scope::All => transactions::find(app, id).await,
    };
    match found {
        Ok(row) => Ok(sort.keyset(&row)),
        Err(Error::NotFound(_)) => Err(Error::field("after", "is not the id of a transaction of this list")),
        Err(other) => Err(other),
    }
}
