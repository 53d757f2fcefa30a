//! SQL of lists, put together for what is asked: a filter that is absent is absent from the statement, so that PostgreSQL
//! plans for the filters that are there. Values are bound, never written into the text; statements are not kept prepared, or
//! after a few calls one plan would have to do for every value.

use std::fmt::Write;

use chrono::Timelike;
use sqlx::postgres::Postgres;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, QueryBuilder};
use uuid::Uuid;

use super::filter::{Filter, Scope, Search};
use super::sort::{Column, Direction, Keyset, Sort, Value};
use crate::clock::DateTime;
use crate::transactions::{COLUMNS, Kind, Row, State};

/// A page that takes longer than this was asked for too broadly; nothing of ours waits for it.
const STATEMENT_MILLIS: i32 = 2_000;
/// A UUIDv7 begins with 48 bits of milliseconds.
const TIME_SHIFT: u32 = 80;
const TIME_MAX: u64 = (1 << 48) - 1;

/// Which rows, in which order, and which part of them.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) filter: &'a Filter,
    /// For each word of the search those of the rows that it may mean; the rarest first.
    pub(super) words: &'a [Vec<String>],
    pub(super) sort: &'a Sort,
    /// Only rows that have this value.
    pub(super) equal: Option<(Column, &'a Value)>,
    /// Strictly behind this row.
    pub(super) after: Option<&'a Keyset>,
    pub(super) offset: i64,
    pub(super) limit: i64,
}

type Sql = QueryBuilder<Postgres>;

/// No statement of this transaction takes longer, and none reads all of an index before its first row: a bitmap does, and
/// PostgreSQL believes it cheap where a page needs 20 rows of a million. Only trigrams are not found without one. Compiling a
/// plan takes longer than a page, too.
pub(super) async fn bound(db: impl PgExecutor<'_>, bitmaps: bool) -> sqlx::Result<()> {
    sqlx::query!(
        "select set_config('statement_timeout', $1, true) as timeout, set_config('jit', 'off', true) as jit,
                set_config('enable_bitmapscan', $2, true) as bitmaps",
        STATEMENT_MILLIS.to_string(),
        if bitmaps { "on" } else { "off" }
    )
    .fetch_one(db)
    .await?;
    Ok(())
}

pub(super) async fn page(db: &mut PgConnection, ask: &Ask<'_>) -> sqlx::Result<Vec<Row>> {
    let mut sql = Sql::new("select ");
    sql.push(COLUMNS).push(" from transactions t where ");
    if let Some(search) = &ask.filter.search {
        sql.push("t.id in (");
        push_matches(&mut sql, ask, search);
        sql.push(")");
        push_keyset(&mut sql, ask);
    } else if ask.offset > 0 {
        // Rows that are only counted are not read, where an index has all that is asked for.
        sql.push("t.id in (select t.id from transactions t where ");
        push_filter(&mut sql, ask.filter);
        push_order(&mut sql, ask.sort);
        sql.push(" offset ").push_bind(ask.offset).push(" limit ").push_bind(ask.limit).push(")");
        push_order(&mut sql, ask.sort);
        return sql.build_query_as().persistent(false).fetch_all(db).await;
    } else {
        push_filter(&mut sql, ask.filter);
        push_completed(&mut sql, ask);
        if let Some((column, value)) = ask.equal {
            sql.push(" and ").push(expression(column)).push(" = ");
            push_value(&mut sql, value);
        }
        push_keyset(&mut sql, ask);
    }
    push_order(&mut sql, ask.sort);
    sql.push(" offset ").push_bind(ask.offset).push(" limit ").push_bind(ask.limit);
    sql.build_query_as().persistent(false).fetch_all(db).await
}

/// How many rows fit, counted up to `ask.limit`.
pub(super) async fn count(db: &mut PgConnection, ask: &Ask<'_>) -> sqlx::Result<i64> {
    let mut sql = Sql::new("select count(*) from (");
    match &ask.filter.search {
        Some(search) => {
            sql.push("select from (");
            push_matches(&mut sql, ask, search);
            sql.push(") m");
        }
        None => {
            sql.push("select from transactions t where ");
            push_filter(&mut sql, ask.filter);
        }
    }
    sql.push(" limit ").push_bind(ask.limit).push(") counted");
    sql.build_query_scalar().persistent(false).fetch_one(db).await
}

/// How many rows PostgreSQL believes fit, from its statistics.
pub(super) async fn estimate(db: &mut PgConnection, filter: &Filter) -> sqlx::Result<Option<i64>> {
    let mut sql = Sql::new("explain (format json) select from transactions t where ");
    push_filter(&mut sql, filter);
    let plan: Json<serde_json::Value> = sql.build_query_scalar().persistent(false).fetch_one(db).await?;
    Ok(plan.0.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_i64))
}

/// For staff over everybody's rows. For each word of the text the words of the rows that it may mean: the word itself and, of the last, those that begin with
/// it; where there are none, the most similar ones. A word that nothing is like stays, and finds nothing.
pub(super) async fn words(db: impl PgExecutor<'_>, text: &str) -> sqlx::Result<Vec<Vec<String>>> {
    let rows = sqlx::query!(
        r#"with asked as (
               select word collate "C" as word, position, position = count(*) over () and length(word) > 2 as is_beginning
                 from unnest(search_words($1)) with ordinality as w (word, position))
           select case when cardinality(meant.words) > 0 then meant.words
                       when cardinality(alike.words) > 0 then alike.words
                       else array[asked.word] end as "words!",
                  (select count(*) from (
                      select from transaction_words t
                       where t.word = any (case when cardinality(meant.words) > 0 then meant.words
                                                else alike.words end) limit 2001) c) as "uses!"
             from asked
            cross join lateral (select array(
                select t.word from search_terms t
                 where t.word >= asked.word
                   and t.word <= asked.word || case when asked.is_beginning then chr(1114111) else '' end
                 order by t.word <> asked.word, length(t.word), t.word limit 24) as words) meant
            cross join lateral (select array(
                select t.word from search_terms t
                 where cardinality(meant.words) = 0 and asked.word !~ '[0-9]' and t.word % asked.word
                 order by similarity(t.word, asked.word) desc, t.word limit 8) as words) alike
            order by 2, length(asked.word) desc, asked.position"#,
        text
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.words).collect())
}

/// As [`words`], of one customer's rows alone: what others wrote neither takes the place of a word nor shows that it is there.
pub(super) async fn own_words(db: impl PgExecutor<'_>, text: &str, user_id: Uuid) -> sqlx::Result<Vec<Vec<String>>> {
    let rows = sqlx::query!(
        r#"with asked as (
               select word collate "C" as word, position, position = count(*) over () and length(word) > 2 as is_beginning
                 from unnest(search_words($1)) with ordinality as w (word, position))
           select case when cardinality(meant.words) > 0 then meant.words
                       when cardinality(alike.words) > 0 then alike.words
                       else array[asked.word] end as "words!",
                  (select count(*) from (
                      select from transaction_words t
                       where t.user_id = $2
                         and t.word = any (case when cardinality(meant.words) > 0 then meant.words
                                                else alike.words end) limit 2001) c) as "uses!"
             from asked
            cross join lateral (select array(
                select t.word from (
                    select distinct o.word from transaction_words o
                     where o.user_id = $2 and o.word >= asked.word
                       and o.word <= asked.word || case when asked.is_beginning then chr(1114111) else '' end) t
                 order by t.word <> asked.word, length(t.word), t.word limit 24) as words) meant
            cross join lateral (select array(
                select t.word from (
                    select distinct o.word from transaction_words o
                     where cardinality(meant.words) = 0 and asked.word !~ '[0-9]' and o.user_id = $2
                       and o.word !~ '[0-9]' and length(o.word) > 2) t
                 where t.word % asked.word
                 order by similarity(t.word, asked.word) desc, t.word limit 8) as words) alike
            order by 2, length(asked.word) desc, asked.position"#,
        text,
        user_id
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| row.words).collect())
}

/// The ids of the rows that the search finds and the filter lets through. In the order of ids, each way in ends where the page
/// must be full.
fn push_matches(sql: &mut Sql, ask: &Ask<'_>, search: &Search) {
    let by_id = ask.sort.columns.is_empty();
    let limit = ask.offset.saturating_add(ask.limit);
    sql.push("select t.id from transactions t where t.idempotency_key = ").push_bind(search.text.clone()).push(" and ");
    push_filter(sql, ask.filter);
    if let Some((first, last)) = search.ids {
        for column in ["t.id", "t.provider_id"] {
            sql.push(" union select t.id from transactions t where ").push(column).push(" between ");
            sql.push_bind(first).push(" and ").push_bind(last).push(" and ");
            push_filter(sql, ask.filter);
        }
    }
    let Some((rarest, others)) = ask.words.split_first() else { return };
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
        push_filter(sql, ask.filter);
    }
    if by_id {
        sql.push(" order by s.transaction_id").push(word(ask.sort.id)).push(" limit ").push_bind(limit);
    }
    sql.push(") m");
}

/// What every row must be; `t` is the table.
fn push_filter(sql: &mut Sql, filter: &Filter) {
    sql.push("true");
    if let Some(user_id) = filter.user_id {
        sql.push(" and t.user_id = ").push_bind(user_id);
    }
    // The rule of `transactions::find_own`.
    if matches!(filter.scope, Scope::Own(_)) {
        sql.push(" and (t.kind <> 'adjustment' or t.state = 'completed')");
    }
    push_names(sql, " and t.kind", filter.kinds.iter().map(|kind: &Kind| kind.name()).collect());
    push_names(sql, " and t.state", filter.states.iter().map(|state: &State| state.name()).collect());
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

fn push_names(sql: &mut Sql, column: &str, names: Vec<&'static str>) {
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

/// Rows that are not completed stand at one end of the order by `completed_at`: they need not be walked through when only
/// completed ones are asked for.
fn push_completed(sql: &mut Sql, ask: &Ask<'_>) {
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
        Column::Kind => "t.kind",
        Column::State => "t.state",
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

/// One comparison of rows where every column goes the same way, which an index answers by itself; else column by column, with
/// a bound on the first one for the index.
fn push_keyset(sql: &mut Sql, ask: &Ask<'_>) {
    let Some(after) = ask.after else { return };
    let columns = ask.sort.columns.iter().zip(&after.values);
    if ask.sort.columns.iter().all(|(_, direction)| *direction == ask.sort.id) {
        sql.push(" and (");
        for ((column, _), _) in columns.clone() {
            sql.push(expression(*column)).push(", ");
        }
        sql.push("t.id)").push(behind(ask.sort.id)).push("(");
        for (_, value) in columns {
            push_value(sql, value);
            sql.push(", ");
        }
        sql.push_bind(after.id).push(")");
        return;
    }
    let mut open = String::new();
    for (index, ((column, direction), value)) in columns.enumerate() {
        let column = expression(*column);
        if index == 0 {
            sql.push(" and ").push(column).push(behind(*direction).replace(' ', "")).push("= ");
            push_value(sql, value);
            sql.push(" and (");
        }
        sql.push(column).push(behind(*direction));
        push_value(sql, value);
        sql.push(" or (").push(column).push(" = ");
        push_value(sql, value);
        sql.push(" and (");
        open.push_str("))");
    }
    sql.push("t.id").push(behind(ask.sort.id)).push_bind(after.id).push(open).push(")");
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
