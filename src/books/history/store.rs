//! SQL of lists, put together for what is asked: a filter that is absent is absent from the statement, so that PostgreSQL
//! plans for the filters that are there. Values are bound, never written into the text; statements are not kept prepared, or
//! after a few calls one plan would have to do for every value.

use std::cmp::Ordering;
use std::fmt::Write;
use std::time::Duration;

use chrono::{TimeDelta, Timelike};
use sqlx::postgres::Postgres;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, QueryBuilder};
use uuid::Uuid;

use super::Meaning;
use super::filter::{Filter, Scope, Search};
use super::sort::{Column, Direction, Keyset, Sort, Value};
use crate::money::transactions::{COLUMNS, Kind, Row, State};
use crate::platform::clock::DateTime;

/// A UUIDv7 begins with 48 bits of milliseconds.
const TIME_SHIFT: u32 = 80;
const TIME_MAX: u64 = (1 << 48) - 1;

/// Which rows, in which order, and which part of them.
#[derive(Clone, Copy)]
pub(super) struct ListQuery<'a> {
    pub(super) filter: &'a Filter,
    /// Of the filter's search.
    pub(super) meaning: &'a Meaning,
    pub(super) sort: &'a Sort,
    /// Only rows that are so, compared with these values.
    pub(super) compared: &'a [(Column, Ordering, Value)],
    /// Strictly behind this row.
    pub(super) after: Option<&'a Keyset>,
    pub(super) offset: i64,
    pub(super) limit: i64,
}

type Sql = QueryBuilder<Postgres>;

/// No statement of this transaction takes longer than the deadline, and none reads all of an index before its first row: a
/// bitmap does, and PostgreSQL believes it cheap where a page needs 20 rows of a million. Only trigrams are not found without
/// one, and terms are never all read, to be compared one by one. Compiling a plan and starting other processes take longer than a page, too. And
/// whatever the server is set to, a plan is chosen by what a row costs in memory, each time anew: so the units of its cost are
/// some five microseconds each.
pub(super) async fn bound(db: impl PgExecutor<'_>, deadline: Duration, for_terms: bool) -> sqlx::Result<()> {
    sqlx::query!(
        "select set_config('statement_timeout', $1, true) as timeout, set_config('enable_bitmapscan', $2, true) as bitmaps,
                set_config('enable_seqscan', $3, true) as seqscan, set_config('jit', 'off', true) as jit,
                set_config('max_parallel_workers_per_gather', '0', true) as parallel,
                set_config('random_page_cost', '0.2', true) as random_page_cost,
                set_config('seq_page_cost', '0.2', true) as seq_page_cost,
                set_config('effective_cache_size', '8MB', true) as effective_cache_size",
        deadline.as_millis().to_string(),
        if for_terms { "on" } else { "off" },
        if for_terms { "off" } else { "on" }
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

pub(super) async fn page(db: &mut PgConnection, ask: &ListQuery<'_>) -> sqlx::Result<Vec<Row>> {
    page_statement(ask).build_query_as().persistent(false).fetch_all(db).await
}

/// First the ids, for which the indexes are enough where they hold what is asked for; then their rows. Where every row that is
/// come by is one of the page, both at once: exports read by the hundred thousand so.
fn page_statement(ask: &ListQuery<'_>) -> Sql {
    let mut sql = Sql::new("select ");
    sql.push(COLUMNS).push(" from transactions t where ");
    let is_walk = ask.sort.columns.is_empty() && ask.compared.is_empty() && ask.offset == 0;
    if is_walk && ask.filter.search.is_none() && !ask.filter.narrows() {
        push_part(&mut sql, ask, &ask.filter.pairs());
        push_order(&mut sql, ask.sort);
        sql.push(" limit ").push_bind(ask.limit);
        return sql;
    }
    sql.push("t.id in (");
    match &ask.filter.search {
        Some(search) if !ask.meaning.is_common => {
            sql.push("select t.id from transactions t where t.id in (");
            push_matches(&mut sql, ask, search);
            sql.push(")");
            push_keyset(&mut sql, ask);
            push_order(&mut sql, ask.sort);
        }
        _ => push_parts(&mut sql, ask),
    }
    sql.push(" offset ").push_bind(ask.offset).push(" limit ").push_bind(ask.limit).push(")");
    push_order(&mut sql, ask.sort);
    sql
}

/// The ids of the rows that fit, in their order. By time, a filter by kind or state is one walk for each pair of them:
/// `transactions_kind_state` has the rows of a pair in the order of ids, and only those.
fn push_parts(sql: &mut Sql, ask: &ListQuery<'_>) {
    let pairs = ask.filter.pairs();
    if !(ask.sort.columns.is_empty() && ask.filter.has_pairs()) || pairs.len() < 2 {
        sql.push("select t.id from transactions t where ");
        push_part(sql, ask, &pairs);
        push_order(sql, ask.sort);
        return;
    }
    sql.push("select t.id from (");
    for (index, pair) in pairs.iter().enumerate() {
        sql.push(if index == 0 { "(" } else { " union all (" });
        sql.push("select t.id from transactions t where ");
        push_part(sql, ask, std::slice::from_ref(pair));
        push_order(sql, ask.sort);
        sql.push(" limit ").push_bind(ask.offset.saturating_add(ask.limit)).push(")");
    }
    sql.push(") t");
    push_order(sql, ask.sort);
}

fn push_part(sql: &mut Sql, ask: &ListQuery<'_>, pairs: &[(Kind, State)]) {
    push_filter(sql, ask.filter, pairs);
    if let Some(search) = &ask.filter.search {
        push_search(sql, ask, search);
    }
    push_completed(sql, ask);
    push_begun(sql, ask);
    for (column, is, value) in ask.compared {
        let is = match is {
            Ordering::Less => " < ",
            Ordering::Equal => " = ",
            Ordering::Greater => " > ",
        };
        sql.push(" and ").push(expression(*column)).push(is);
        push_value(sql, value);
    }
    push_keyset(sql, ask);
}

/// How many rows fit, counted up to `ask.limit`.
pub(super) async fn count(db: &mut PgConnection, ask: &ListQuery<'_>) -> sqlx::Result<i64> {
    count_statement("", ask).build_query_scalar().persistent(false).fetch_one(db).await
}

/// What PostgreSQL believes of a count, from its statistics.
pub(super) struct CountPlan {
    pub(super) cost: f64,
    /// Without the limit.
    pub(super) rows: Option<i64>,
}

pub(super) async fn count_plan(db: &mut PgConnection, ask: &ListQuery<'_>) -> sqlx::Result<CountPlan> {
    let mut sql = count_statement("explain (format json) ", ask);
    let plan: Json<serde_json::Value> = sql.build_query_scalar().persistent(false).fetch_one(db).await?;
    // Counted < limited < found.
    let rows = plan.0.pointer("/0/Plan/Plans/0/Plans/0/Plan Rows").and_then(serde_json::Value::as_i64);
    let cost = plan.0.pointer("/0/Plan/Total Cost").and_then(serde_json::Value::as_f64);
    Ok(CountPlan { cost: cost.unwrap_or(f64::MAX), rows })
}

fn count_statement(before: &str, ask: &ListQuery<'_>) -> Sql {
    let mut sql = Sql::new(before);
    sql.push("select count(*) from (");
    if let Some(search) = &ask.filter.search {
        sql.push("select 1 from (");
        push_matches(&mut sql, ask, search);
        sql.push(") m");
    } else {
        let pairs = ask.filter.pairs();
        let alone = if ask.filter.has_pairs() { 1 } else { pairs.len().max(1) };
        for (index, pairs) in pairs.chunks(alone).enumerate() {
            sql.push(if index == 0 { "" } else { " union all " });
            sql.push("select 1 from transactions t where ");
            push_filter(&mut sql, ask.filter, pairs);
        }
    }
    sql.push(" limit ").push_bind(ask.limit).push(") counted");
    sql
}

/// The ids of the rows that the search finds and the filter lets through. In the order of ids, each way in ends where the page
/// must be full.
fn push_matches(sql: &mut Sql, ask: &ListQuery<'_>, search: &Search) {
    let by_id = ask.sort.columns.is_empty();
    let limit = ask.offset.saturating_add(ask.limit);
    sql.push("select t.id from transactions t where t.idempotency_key = ").push_bind(search.text.clone()).push(" and ");
    let pairs = ask.filter.pairs();
    push_filter(sql, ask.filter, &pairs);
    if let Some((first, last)) = search.ids {
        for column in ["t.id", "t.provider_id"] {
            sql.push(" union select t.id from transactions t where ").push(column).push(" between ");
            sql.push_bind(first).push(" and ").push_bind(last).push(" and ");
            push_filter(sql, ask.filter, &pairs);
        }
    }
    let Some((rarest, others)) = ask.meaning.words.split_first() else { return };
    sql.push(" union select m.id from unnest(").push_bind(rarest.clone());
    sql.push(") as w (word) cross join lateral (select s.transaction_id as id from transaction_words s");
    let with_row = ask.filter.needs_row();
    if with_row {
        sql.push(" join transactions t on t.id = s.transaction_id");
    }
    sql.push(" where s.word = w.word collate \"C\"");
    if let Some(user_id) = ask.filter.user_id {
        sql.push(" and s.user_id = ").push_bind(user_id);
    }
    push_created(sql, ask.filter, "s.transaction_id");
    if let (true, Some(after)) = (by_id, ask.after) {
        sql.push(" and s.transaction_id").push(behind(ask.sort.id)).push_bind(after.id);
    }
    for other in others {
        sql.push(
            " and exists (select from transaction_words o where o.transaction_id = s.transaction_id and o.word = any (",
        );
        sql.push_bind(other.clone()).push("))");
    }
    if with_row {
        sql.push(" and ");
        push_filter(sql, ask.filter, &pairs);
    }
    if by_id {
        sql.push(" order by s.transaction_id").push(word(ask.sort.id)).push(" limit ").push_bind(limit);
    }
    sql.push(") m");
}

/// The rows that the search finds, looked at one by one: in an order other than by time a page of a common word is sooner full
/// than its rows are found and sorted.
fn push_search(sql: &mut Sql, ask: &ListQuery<'_>, search: &Search) {
    sql.push(" and (t.idempotency_key = ").push_bind(search.text.clone());
    if let Some((first, last)) = search.ids {
        for column in ["t.id", "t.provider_id"] {
            sql.push(" or ").push(column).push(" between ").push_bind(first).push(" and ").push_bind(last);
        }
    }
    sql.push(" or (true");
    for words in &ask.meaning.words {
        // Without the offset PostgreSQL may read all rows of the word first, to look each one up in a table of its own.
        sql.push(" and exists (select from transaction_words o where o.transaction_id = t.id and o.word = any (");
        sql.push_bind(words.clone()).push(") offset 0)");
    }
    sql.push("))");
}

/// What every row must be; `t` is the table. The pairs are those of the filter, or some of them.
fn push_filter(sql: &mut Sql, filter: &Filter, pairs: &[(Kind, State)]) {
    sql.push("true");
    if let Some(user_id) = filter.user_id {
        sql.push(" and t.user_id = ").push_bind(user_id);
    }
    if pairs.is_empty() {
        sql.push(" and false");
    } else if filter.has_pairs() {
        push_names(sql, " and t.kind", pairs.iter().map(|(kind, _)| kind.name()).collect());
        push_names(sql, " and t.state", pairs.iter().map(|(_, state)| state.name()).collect());
    }
    // The rule of `transactions::find_own`.
    let may_be_hidden = pairs.iter().any(|(kind, state)| *kind == Kind::Adjustment && *state == State::Completed);
    if matches!(filter.scope, Scope::Own(_)) && may_be_hidden {
        sql.push(" and (t.kind <> 'adjustment' or t.state = 'completed')");
    }
    if let Some(currency) = filter.currency {
        sql.push(" and t.currency = ").push_bind(currency);
    }
    if let Some(min) = filter.amount_min {
        sql.push(" and t.amount_minor >= ").push_bind(min);
    }
    if let Some(max) = filter.amount_max {
        sql.push(" and t.amount_minor <= ").push_bind(max);
    }
    push_created(sql, filter, "t.id");
    if let Some(reference) = &filter.reference {
        sql.push(" and t.id in (select r.id from transactions r where r.idempotency_key = ");
        sql.push_bind(reference.key.clone());
        if let Some(row_id) = reference.row_id {
            sql.push(" union all select ").push_bind(row_id);
        }
        sql.push(")");
    }
    if let Some(provider_id) = filter.provider_id {
        sql.push(" and t.provider_id = ").push_bind(provider_id);
    }
    match filter.held {
        Some(true) => _ = sql.push(" and t.held_reason is not null"),
        Some(false) => _ = sql.push(" and t.held_reason is null"),
        None => {}
    }
}

fn push_names(sql: &mut Sql, column: &str, mut names: Vec<&'static str>) {
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => {}
        [name] => _ = sql.push(column).push(" = ").push_bind(*name),
        _ => _ = sql.push(column).push(" = any (").push_bind(names).push(")"),
    }
}

/// A row's id begins with the time of its creation, so a period is a range of ids.
fn push_created(sql: &mut Sql, filter: &Filter, id: &str) {
    if let Some(from) = filter.from {
        sql.push(format_args!(" and {id} >= ")).push_bind(first_id_at(from));
    }
    if let Some(to) = filter.to {
        sql.push(format_args!(" and {id} < ")).push_bind(first_id_at(to));
    }
}

/// The smallest id of a row that is created at this time or later.
fn first_id_at(time: DateTime) -> Uuid {
    let begun = i64::from(!time.nanosecond().is_multiple_of(1_000_000));
    let millis = u64::try_from(time.timestamp_millis().saturating_add(begun)).unwrap_or(0).min(TIME_MAX);
    Uuid::from_u128(u128::from(millis) << TIME_SHIFT)
}

/// A row is not changed before it is created: a walk by these times begins where the period does, with a day for clocks that
/// differ.
fn push_begun(sql: &mut Sql, ask: &ListQuery<'_>) {
    if let (Some(from), Some((column @ (Column::UpdatedAt | Column::CompletedAt), _))) =
        (ask.filter.from, ask.sort.columns.first())
    {
        let begun = from.max(DateTime::UNIX_EPOCH) - TimeDelta::days(1);
        sql.push(" and ").push(expression(*column)).push(" >= ").push_bind(begun);
    }
}

/// Rows that are not completed stand at one end of the order by `completed_at`: they need not be walked through when only
/// completed ones are asked for.
fn push_completed(sql: &mut Sql, ask: &ListQuery<'_>) {
    let by_completion = matches!(ask.sort.columns.first(), Some((Column::CompletedAt, _)));
    if by_completion && ask.filter.states == [State::Completed] {
        sql.push(" and coalesce(t.completed_at, 'infinity') < 'infinity'");
    }
}

fn expression(column: Column) -> &'static str {
    match column {
        Column::CreatedAt => "t.created_at",
        Column::UpdatedAt => "t.updated_at",
        Column::CompletedAt => "coalesce(t.completed_at, 'infinity')",
        Column::Amount => "t.amount_minor",
        // By their bytes, as `groups` does.
        Column::Kind => "t.kind collate \"C\"",
        Column::State => "t.state collate \"C\"",
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "",
        Direction::Descending => " desc",
    }
}

fn behind(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => " > ",
        Direction::Descending => " < ",
    }
}

fn push_order(sql: &mut Sql, sort: &Sort) {
    let mut order = " order by ".to_owned();
    for (column, direction) in &sort.columns {
        write!(order, "{}{}, ", expression(*column), word(*direction)).expect("a string takes what is written");
    }
    sql.push(order).push("t.id").push(word(sort.id));
}

/// Column by column, with a bound on the first one. A comparison of rows would be shorter, but PostgreSQL estimates it by the
/// first column alone without its equals: behind the greatest value, where a million rows may tie, it would expect none. Only
/// times do not tie.
fn push_keyset(sql: &mut Sql, ask: &ListQuery<'_>) {
    let Some(after) = ask.after else { return };
    if let ([(column, _)], [value @ Value::Time(_)]) = (ask.sort.columns.as_slice(), after.values.as_slice())
        && ask.sort.is_indexed()
    {
        sql.push(" and (").push(expression(*column)).push(", t.id)").push(behind(ask.sort.id)).push("(");
        push_value(sql, value);
        sql.push(", ").push_bind(after.id).push(")");
        return;
    }
    let mut open = String::new();
    for (index, ((column, direction), value)) in ask.sort.columns.iter().zip(&after.values).enumerate() {
        let column = expression(*column);
        if index == 0 {
            sql.push(" and ").push(column).push(behind(*direction).trim_end()).push("= ");
            push_value(sql, value);
        }
        sql.push(" and (").push(column).push(behind(*direction));
        push_value(sql, value);
        sql.push(" or ").push(column).push(" = ");
        push_value(sql, value);
        open.push(')');
    }
    sql.push(" and t.id").push(behind(ask.sort.id)).push_bind(after.id).push(open);
}

fn push_value(sql: &mut Sql, value: &Value) {
    match value {
        Value::Time(time) => sql.push_bind(*time),
        Value::Never => sql.push("'infinity'"),
        Value::Minor(minor) => sql.push_bind(*minor),
        Value::Word(word) => sql.push_bind(word.clone()),
    };
}

/// A state that a row came into.
pub struct StateAt {
    pub state: String,
    pub at: DateTime,
}

pub(super) async fn states(db: impl PgExecutor<'_>, transaction_id: Uuid) -> sqlx::Result<Vec<StateAt>> {
    sqlx::query_as!(
        StateAt,
        "select state, at from transaction_states where transaction_id = $1 order by version",
        transaction_id
    )
    .fetch_all(db)
    .await
}

/// A call of Revio's.
pub struct Event {
    pub id: Uuid,
    pub event_type: Option<String>,
    pub verdict: String,
    pub state: String,
    pub attempts: i32,
    pub received_at: DateTime,
    pub finished_at: Option<DateTime>,
}

/// Of the row's own object at Revio, and of those of the rows that follow from it.
pub(super) async fn events(
    db: impl PgExecutor<'_>,
    transaction_id: Uuid,
    provider_id: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        "select id, event_type, verdict, state, attempts, received_at, finished_at from webhook_logs
          where object_id = any (array[$1::uuid] || array(select provider_id from transactions where parent_id = $2))
          order by received_at, id limit $3",
        provider_id,
        transaction_id,
        limit
    )
    .fetch_all(db)
    .await
}
