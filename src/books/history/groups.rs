//! One page in its order. An order that an index has is read from it, and few rows are sorted by PostgreSQL. Any other order
//! (`-amount,created_at`, `state,-amount`) would make it sort every row that fits, which may be millions, for a page of twenty.
//! So such a list is put together by its columns, each part the same list narrowed to one value and with one column less:
//!
//! ```text
//! few values     kind, state                 one value after the other, in the order of their names
//! many values    amount, updated_at, …   1   the rest of the value where the page before ended
//!                                        2   what comes behind it, as the column's index has it: whole values are ordered here
//!                                        3   of the last value, which 2 may have cut, its beginning
//! ```
//!
//! An order that an index has is put together too where its page begins behind a value that many rows may have: 1 and 2.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use uuid::Uuid;

use super::sort::{Column, Direction, Keyset, Sort, Value};
use super::{COST_MAX, Filter, store, too_broad};
use crate::money::transactions::{Kind, State, Transaction};
use crate::platform::error::{Error, Result};

/// Rows that are read only to be passed over. Deeper pages let PostgreSQL sort and skip, in the time that a statement has.
const SKIPPED_MAX: i64 = 10_000;

/// After the deadline no further part is asked for.
pub(super) async fn page(
    db: &mut PgConnection,
    ask: &store::ListQuery<'_>,
    deadline: Duration,
) -> Result<Vec<Transaction>> {
    if ask.filter.pairs().is_empty() {
        return Ok(Vec::new());
    }
    let is_found_first = ask.filter.search.is_some() && !ask.meaning.is_common;
    let is_read = if ask.sort.is_indexed() {
        ask.sort.columns.is_empty() || ask.after.is_none()
    } else {
        ask.offset > SKIPPED_MAX || is_cheap(db, ask).await?
    };
    if is_read || is_found_first { read(db, ask).await } else { put_together(db, ask, deadline).await }
}

async fn put_together(
    db: &mut PgConnection,
    ask: &store::ListQuery<'_>,
    deadline: Duration,
) -> Result<Vec<Transaction>> {
    let (filter, until) = (ask.filter.clone(), Instant::now() + deadline);
    let list = Part { ask, until, filter, compared: Vec::new(), columns: &ask.sort.columns };
    let behind = ask.after.map(|after| (after.values.as_slice(), after.id));
    let skipped = usize::try_from(ask.offset).unwrap_or(0);
    let rows = list.rows(db, behind, ask.offset.saturating_add(ask.limit)).await?;
    Ok(rows.into_iter().skip(skipped).collect())
}

/// Whether PostgreSQL expects to read all rows that fit in the time of a page: then it may sort them. What it believes of the
/// page alone is no measure, since it takes every value of a column to have as many rows.
async fn is_cheap(db: &mut PgConnection, ask: &store::ListQuery<'_>) -> Result<bool> {
    let all = store::ListQuery { limit: i64::MAX, ..*ask };
    Ok(ask.filter.search.is_none() && store::count_plan(db, &all).await.map_err(too_broad)?.cost <= COST_MAX)
}

async fn read(db: &mut PgConnection, ask: &store::ListQuery<'_>) -> Result<Vec<Transaction>> {
    let rows = store::page(db, ask).await.map_err(too_broad)?;
    rows.into_iter().map(Transaction::try_from).collect()
}

/// The rows of a list that are so, in the order of the columns that are left. Of kind and state, the filter has the values.
#[derive(Clone)]
struct Part<'a> {
    ask: &'a store::ListQuery<'a>,
    until: Instant,
    filter: Filter,
    compared: Vec<(Column, Ordering, Value)>,
    columns: &'a [(Column, Direction)],
}

/// The values in the columns that are left, and the id, of the row where the page before ended.
type Behind<'a> = Option<(&'a [Value], Uuid)>;

impl<'a> Part<'a> {
    async fn rows(&self, db: &mut PgConnection, behind: Behind<'_>, limit: i64) -> Result<Vec<Transaction>> {
        let order = Sort { columns: self.columns.to_vec(), id: self.ask.sort.id };
        let may_tie = matches!(behind, Some(([value, ..], _)) if !matches!(value, Value::Time(_)));
        match self.columns {
            [(column, direction), ..] if may_tie || !order.is_indexed() => match column.values() {
                Some(mut values) => {
                    values.sort_by(|a, b| direction.of(a.cmp(b)));
                    self.of_few_values(db, &values, behind, limit).await
                }
                None => self.of_many_values(db, (*column, *direction), behind, limit).await,
            },
            _ => self.in_order_of(db, &order, behind, limit).await,
        }
    }

    async fn of_few_values(
        &self,
        db: &mut PgConnection,
        values: &[Value],
        behind: Behind<'_>,
        limit: i64,
    ) -> Result<Vec<Transaction>> {
        let begun = split(behind);
        let passed = begun.and_then(|(begun, _)| values.iter().position(|value| value == begun)).unwrap_or(0);
        let mut rows = Vec::new();
        for value in values.iter().skip(passed) {
            let behind = begun.filter(|(begun, _)| *begun == value).map(|(_, rest)| rest);
            rows.extend(self.narrowed(db, value.clone(), behind, left(limit, &rows)).await?);
        }
        Ok(rows)
    }

    async fn of_many_values(
        &self,
        db: &mut PgConnection,
        (column, direction): (Column, Direction),
        behind: Behind<'_>,
        limit: i64,
    ) -> Result<Vec<Transaction>> {
        let begun = split(behind);
        let mut rows = match begun {
            Some((value, rest)) => self.narrowed(db, value.clone(), Some(rest), limit).await?,
            None => Vec::new(),
        };
        let wanted = left(limit, &rows);
        if wanted == 0 {
            return Ok(rows);
        }
        let mut others = self.clone();
        others.compared.extend(begun.map(|(value, _)| (column, direction.of(Ordering::Greater), value.clone())));
        let order = Sort { columns: vec![(column, direction)], id: direction };
        let next = others.in_order_of(db, &order, None, wanted + 1).await?;
        let rest = Sort { columns: self.columns.get(1..).unwrap_or_default().to_vec(), id: self.ask.sort.id };
        if rest == (Sort { columns: Vec::new(), id: direction }) {
            rows.extend(next);
            rows.truncate(usize::try_from(limit).unwrap_or(0));
            return Ok(rows);
        }
        let is_cut = left(wanted, &next) < 0;
        let mut runs: Vec<&[Transaction]> = next.chunk_by(|a, b| column.value(a) == column.value(b)).collect();
        let cut = if is_cut { runs.pop() } else { None };
        for run in runs {
            let mut run = run.to_vec();
            run.sort_by(|a, b| rest.compare(a, b));
            rows.extend(run);
        }
        if let Some(row) = cut.and_then(<[Transaction]>::first) {
            rows.extend(self.narrowed(db, column.value(row), None, left(limit, &rows)).await?);
        }
        Ok(rows)
    }

    /// The rows that have this value in the first column.
    async fn narrowed(
        &self,
        db: &mut PgConnection,
        value: Value,
        behind: Behind<'_>,
        limit: i64,
    ) -> Result<Vec<Transaction>> {
        match self.part(value) {
            Some(part) if limit > 0 => Box::pin(part.rows(db, behind, limit)).await,
            _ => Ok(Vec::new()),
        }
    }

    /// `None` where no row can have it.
    fn part(&self, value: Value) -> Option<Part<'a>> {
        let ((column, _), columns) = self.columns.split_first()?;
        let mut part = Part { columns, ..self.clone() };
        match (column, value.word()) {
            (Column::Kind, Some(name)) => part.filter.kinds = only(&self.filter.kinds, Kind::parse(name)?)?,
            (Column::State, Some(name)) => part.filter.states = only(&self.filter.states, State::parse(name)?)?,
            _ => part.compared.push((*column, Ordering::Equal, value)),
        }
        Some(part).filter(|part| !part.filter.pairs().is_empty())
    }

    async fn in_order_of(
        &self,
        db: &mut PgConnection,
        sort: &Sort,
        behind: Behind<'_>,
        limit: i64,
    ) -> Result<Vec<Transaction>> {
        if Instant::now() > self.until {
            return Err(Error::TooBroad);
        }
        let after = behind.map(|(values, id)| Keyset { values: values.to_vec(), id });
        let (filter, compared) = (&self.filter, &self.compared);
        let ask = store::ListQuery { filter, compared, sort, after: after.as_ref(), offset: 0, limit, ..*self.ask };
        read(db, &ask).await
    }
}

/// The value alone, where it is one of the chosen ones, or all are.
fn only<T: PartialEq>(chosen: &[T], value: T) -> Option<Vec<T>> {
    (chosen.is_empty() || chosen.contains(&value)).then(|| vec![value])
}

/// The value in the first of the columns, and what is left.
fn split(behind: Behind<'_>) -> Option<(&Value, (&[Value], Uuid))> {
    let (values, id) = behind?;
    let (value, rest) = values.split_first()?;
    Some((value, (rest, id)))
}

fn left(limit: i64, rows: &[Transaction]) -> i64 {
    limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;
    use crate::books::history::filter::{Scope, Search};
    use crate::books::history::{FilterQuery, Meaning};
    use crate::platform::http::Fields;

    /// This is about what is listed, not about how soon.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Rows of all kinds, states, amounts and times, few enough of each that many rows tie; one in three has the word `rent`.
    async fn fill(db: &PgPool) {
        sqlx::raw_sql(
            r"insert into users (id, email, full_name, password_hash, created_at)
              values ('01900000-0000-7000-8000-000000000000', 'a@example.com', 'A', '-', now());
              insert into bank_accounts (id, user_id, details, key_id, bank_name, last_four, created_at)
              select id, id, '', 'a', 'FNB', '4567', now() from users;
              insert into transactions (id, user_id, kind, state, amount_minor, currency, parent_id, bank_account_id, direction,
                                        description, created_at, updated_at, completed_at)
              select (lpad(to_hex(n), 12, '0') || '7000800000000000ff00')::uuid, u.id, kind, state, 1 + n * n % 7, 'ZAR',
                     case when kind like '%charge%' then '000000000001-7000-8000-00000000ff00'::uuid end,
                     case kind when 'withdrawal' then u.id end, case kind when 'adjustment' then 'credit' end,
                     case when n % 3 = 0 then 'rent' end, now(), timestamptz '2026-01-01' + n * 31 % 9 * interval '1 minute',
                     case state when 'completed' then timestamptz '2026-01-01' + n * 13 % 11 * interval '1 minute' end
                from users u, generate_series(1, 600) n
               cross join lateral (select (array['deposit', 'withdrawal', 'adjustment', 'chargeback'])
                                          [case when n = 1 then 1 else 1 + n * 17 % 5 % 4 end]) k (kind)
               cross join lateral (select (case kind when 'deposit' then array['completed', 'failed', 'expired']
                                                     when 'withdrawal' then array['completed', 'failed', 'rejected']
                                                     when 'adjustment' then array['completed', 'expired', 'cancelled']
                                                     else array['completed', 'initiated', 'completed'] end)
                                          [1 + n * 7 % 3]) s (state)",
        )
        .execute(db)
        .await
        .expect("rows");
    }

    #[sqlx::test]
    async fn what_is_put_together_is_what_sorting_gives(db: PgPool) {
        fill(&db).await;
        let mut db = db.acquire().await.expect("a connection");
        let search = Search { text: "rent".to_owned(), ids: None };
        let meaning = Meaning { words: vec![vec!["rent".to_owned()]], is_common: true };
        let query = |kind: Option<&str>, state: Option<&str>, amount_min: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            FilterQuery { kind: own(kind), state: own(state), amount_min: own(amount_min), ..FilterQuery::default() }
        };
        let none = || query(None, None, None);
        let filters = [
            (none(), None),
            (query(Some("withdrawal,adjustment,refund"), None, None), None),
            (query(None, Some("failed,rejected,completed"), Some("2")), None),
            (query(Some("deposit"), Some("failed"), None), None),
            (FilterQuery { from: Some("1970-01-01T00:00:00.400Z".to_owned()), ..none() }, None),
            (none(), Some(search)),
        ];
        let user_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000);
        let columns = ["amount", "kind", "state", "updated_at", "completed_at", "created_at"];
        let mut dice = 7_u64;
        let mut below = |limit: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(dice >> 33).expect("31 bits") % limit
        };
        for round in 0..400 {
            let mut chosen: Vec<&str> = Vec::new();
            for _ in 0..=below(4) {
                let column = columns[below(columns.len())];
                if !chosen.contains(&column) {
                    chosen.push(column);
                }
            }
            let minus = |column: &&str| format!("{}{column}", if below(2) == 0 { "-" } else { "" });
            let text = chosen.iter().map(minus).collect::<Vec<_>>().join(",");
            let sort = Sort::parse(Some(&text)).expect("an order");
            let (query, search) = &filters[below(filters.len())];
            let mut fields = Fields::default();
            let scope = if round % 3 == 0 { Scope::Own(user_id) } else { Scope::All };
            let (filter, _) = query.parse(&mut fields, scope);
            let filter = Filter { search: search.clone(), ..filter };
            let sort = if below(2) == 0 { sort } else { sort.reversed() };
            let all = store::ListQuery {
                filter: &filter,
                meaning: &meaning,
                sort: &sort,
                compared: &[],
                after: None,
                offset: 0,
                limit: 1_000,
            };
            let sorted = read(&mut db, &all).await.expect("rows");
            assert!(sorted.len() > 20 && sorted.is_sorted_by(|a, b| sort.compare(a, b).is_lt()), "{text}");
            let (place, limit) = (below(sorted.len()), below(60));
            let after = sort.keyset(&sorted[place]);
            let (offset, after) = if round % 4 == 0 { (place, None) } else { (0, Some(&after)) };
            let (begin, limit_rows) =
                (if after.is_some() { place + 1 } else { place }, i64::try_from(limit).expect("few"));
            let ask = store::ListQuery { after, offset: i64::try_from(offset).expect("few"), limit: limit_rows, ..all };
            let together = put_together(&mut db, &ask, PATIENCE).await.expect("rows");
            let page = page(&mut db, &ask, PATIENCE).await.expect("rows");
            let expected = sorted.iter().skip(begin).take(limit);
            let ids = |rows: &[Transaction]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
            let expected = expected.map(|row| row.id).collect::<Vec<_>>();
            assert_eq!(ids(&together), expected, "{text}, behind {place} of {}", sorted.len());
            assert_eq!(ids(&page), expected, "{text}, behind {place} of {}", sorted.len());
        }
    }
}
