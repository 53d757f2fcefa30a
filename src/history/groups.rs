//! One page in its order. Where a column goes one way and the id the other, as in `-amount,created_at`, no index has that
//! order, and PostgreSQL would sort every row of one value, which may be millions. But an index has both halves of it:
//!
//! ```text
//! 1  the rest of the value where the page before ended       value = v, by id
//! 2  what comes behind that value, in the index's own way    (value, id) behind (v, …): whole values are turned round here
//! 3  of the last value, which 2 may have cut, its beginning  value = w, by id
//! ```

use sqlx::PgConnection;
use uuid::Uuid;

use super::sort::{Column, Direction, Keyset, Sort, Value};
use super::{store, too_broad};
use crate::error::Result;
use crate::transactions::Transaction;

/// Rows that are read only to be passed over. Deeper pages let PostgreSQL sort and skip, in the time that a statement has.
const SKIPPED_MAX: i64 = 1_000;

pub(super) async fn page(db: &mut PgConnection, ask: &store::Ask<'_>) -> Result<Vec<Transaction>> {
    match ask.sort.columns.as_slice() {
        [(column, direction)]
            if *direction != ask.sort.id && ask.filter.search.is_none() && ask.offset <= SKIPPED_MAX =>
        {
            let turned = Turned { column: *column, direction: *direction, ask };
            let skipped = usize::try_from(ask.offset).unwrap_or(0);
            let rows = turned.rows(db, ask.offset.saturating_add(ask.limit)).await?;
            Ok(rows.into_iter().skip(skipped).collect())
        }
        _ => read(db, ask).await,
    }
}

async fn read(db: &mut PgConnection, ask: &store::Ask<'_>) -> Result<Vec<Transaction>> {
    let rows = store::page(db, ask).await.map_err(too_broad)?;
    rows.into_iter().map(Transaction::try_from).collect()
}

struct Turned<'a> {
    column: Column,
    direction: Direction,
    ask: &'a store::Ask<'a>,
}

impl Turned<'_> {
    async fn rows(&self, db: &mut PgConnection, limit: i64) -> Result<Vec<Transaction>> {
        let left = |rows: &[Transaction]| limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(limit));
        let mut rows = Vec::new();
        let begun = self.ask.after.and_then(|after| Some((after.values.first()?, after.id)));
        if let Some((value, id)) = begun {
            rows = self.of_value(db, value, Some(id), limit).await?;
        }
        if left(&rows) == 0 {
            return Ok(rows);
        }
        let behind = self.behind(db, begun.map(|(value, _)| value), left(&rows).saturating_add(1)).await?;
        let is_cut = i64::try_from(behind.len()).is_ok_and(|count| count > left(&rows));
        let mut values: Vec<&[Transaction]> = behind.chunk_by(|a, b| self.value(a) == self.value(b)).collect();
        let cut = if is_cut { values.pop() } else { None };
        rows.extend(values.into_iter().flat_map(|value| value.iter().rev().cloned()));
        if let Some(row) = cut.and_then(<[Transaction]>::first) {
            let beginning = self.of_value(db, &self.value(row), None, left(&rows)).await?;
            rows.extend(beginning);
        }
        Ok(rows)
    }

    fn value(&self, row: &Transaction) -> Value {
        self.column.value(row)
    }

    async fn of_value(
        &self,
        db: &mut PgConnection,
        value: &Value,
        behind: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Transaction>> {
        let sort = Sort { columns: Vec::new(), id: self.ask.sort.id };
        let after = behind.map(|id| Keyset { values: Vec::new(), id });
        let equal = Some((self.column, value));
        read(db, &store::Ask { sort: &sort, after: after.as_ref(), equal, offset: 0, limit, ..*self.ask }).await
    }

    /// In the way that the index has: the id goes as the column does.
    async fn behind(&self, db: &mut PgConnection, value: Option<&Value>, limit: i64) -> Result<Vec<Transaction>> {
        let sort = Sort { columns: vec![(self.column, self.direction)], id: self.direction };
        let last = match self.direction {
            Direction::Ascending => Uuid::max(),
            Direction::Descending => Uuid::nil(),
        };
        let after = value.map(|value| Keyset { values: vec![value.clone()], id: last });
        read(db, &store::Ask { sort: &sort, after: after.as_ref(), offset: 0, limit, ..*self.ask }).await
    }
}
