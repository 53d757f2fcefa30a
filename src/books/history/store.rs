//! SQL of lists, put together for what is asked: a filter that is absent is absent from the statement, so that PostgreSQL
//! plans for the filters that are there. What a caller gave is bound, only words and limits of ours are written into the text.
//!
//! What is asked all the time ([`Part::is_common`]) is prepared, for whose page one plan does: it walks an index in the order of the list
//! (`Db::for_lists`). The others are planned each time, or one plan would have to do for every value.

use std::collections::HashMap;
use std::{iter, time::Duration};

use chrono::TimeDelta;
use serde::Serialize;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgExecutor, QueryBuilder, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use super::filter::{Filter, Scope};
use super::sort::{Column, Direction, Keyset, Sort, Value};
use crate::money::transactions::{self, COLUMNS, Kind, Row, State, Transaction};
use crate::platform::clock::{DateTime, first_id_not_before};
use crate::platform::database::Db;
use crate::platform::http::page::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::webhooks::inbox;

/// What takes longer from its creation to its completion is in `transactions_slow`.
const SLOW: TimeDelta = TimeDelta::days(2);
/// No row is completed before it was created, but by the clocks of two processes.
const CLOCKS_APART: TimeDelta = TimeDelta::hours(1);
/// Pages of other sizes are not kept prepared: each would be a statement of its own.
const SIZES: [i64; 5] = [10, LIMIT_DEFAULT, 25, 50, LIMIT_MAX];

/// The rule of `transactions::find_own`.
const SHOWN_TO_OWNER: &str = "(t.kind <> 'adjustment' or t.state = 'completed')";

/// Which part of a list.
pub(super) struct Part<'a> {
    pub(super) filter: &'a Filter,
    pub(super) sort: &'a Sort,
    /// Strictly behind this row.
    pub(super) after: Option<&'a Keyset>,
    pub(super) offset: i64,
    pub(super) size: i64,
}

impl Part<'_> {
    /// Whether it is one of few statements, and read from an index whatever the values are.
    pub(super) fn is_common(&self) -> bool {
        self.sort.columns.is_empty() && self.offset == 0 && SIZES.contains(&self.size) && self.filter.is_common()
    }

    /// Whose list it is, where it is what a customer sees first: nothing is narrowed, and the newest come first.
    pub(super) fn whose_beginning(&self) -> Option<Uuid> {
        let Scope::Own(user) = self.filter.scope else { return None };
        let is_first = self.after.is_none() && self.offset == 0 && self.size == LIMIT_DEFAULT;
        (is_first && *self.sort == Sort::default() && *self.filter == Filter::of(self.filter.scope)).then_some(user)
    }
}

/// A row of a page, and how many there are, where that was asked for.
pub(super) struct Counted {
    pub(super) row: Row,
    pub(super) counted: Option<i64>,
}

impl FromRow<'_, PgRow> for Counted {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self { row: Row::from_row(row)?, counted: row.try_get("counted")? })
    }
}

type Sql = QueryBuilder<Postgres>;

/// One row more than the page has, if there is one. `db` has a deadline of its own.
pub(super) async fn common_page(db: &Db, part: &Part<'_>, count_max: Option<i64>) -> sqlx::Result<Vec<Counted>> {
    let mut sql = select();
    if let Some(max) = count_max {
        sql.push(", (");
        push_count(&mut sql, part.filter, max);
        sql.push(") as counted");
    } else {
        sql.push(", null::bigint as counted");
    }
    push_page(&mut sql, part);
    sql.build_query_as().fetch_all(db).await
}

/// Where each of these customers begins: the newest rows, one more than a page has, and how many there are. Who has none is not among them.
///
/// The customer is said as a range and stands in the order, not as an equal: so no plan goes through everybody's rows by their ids, as one of a
/// table with few customers does.
pub(super) async fn first_pages(db: &Db, users: &[Uuid], count_max: i64) -> sqlx::Result<HashMap<Uuid, Vec<PgRow>>> {
    let (first, last) = (Uuid::nil(), Uuid::max());
    let sql = format!(
        "select {COLUMNS}, counted from unnest($1) asked (user_id)
          cross join lateral (select count(*) from (
                select from transactions t where t.user_id = asked.user_id and {SHOWN_TO_OWNER} limit {count_max}) t) c (counted)
          cross join lateral (
                select * from transactions t
                 where (t.user_id, t.id) between (asked.user_id, '{first}') and (asked.user_id, '{last}') and {SHOWN_TO_OWNER}
                 order by t.user_id desc, t.id desc limit {}) t",
        LIMIT_DEFAULT + 1
    );
    let mut pages = HashMap::<Uuid, Vec<PgRow>>::new();
    for row in sqlx::query(AssertSqlSafe(sql)).bind(users).fetch_all(db).await? {
        pages.entry(row.try_get("user_id")?).or_default().push(row);
    }
    Ok(pages)
}

/// One row more than the page has, if there is one.
pub(super) async fn page(db: &mut PgConnection, part: &Part<'_>) -> sqlx::Result<Vec<Row>> {
    let mut sql = select();
    push_page(&mut sql, part);
    sql.build_query_as().persistent(false).fetch_all(db).await
}

fn select() -> Sql {
    let mut sql = Sql::new("select ");
    sql.push(COLUMNS);
    sql
}

fn push_page(sql: &mut Sql, part: &Part<'_>) {
    sql.push(" from ");
    // Where the filter is by what the indexes hold, the ids come from an index alone: rows that do not fit are not read.
    let by_completion = part.filter.is_by_completion();
    let ids_first = part.sort.columns.is_empty() && part.filter.is_of_indexes();
    if ids_first {
        sql.push("(select t.id from ");
    }
    sql.push("transactions t where ");
    push_filter(sql, part.filter);
    if let Some(after) = part.after {
        push_after(sql, part.sort, after, by_completion);
    }
    push_order(sql, part.sort, by_completion);
    // Written into the text: what is bound is not known to a plan that is kept.
    sql.push(format_args!(" offset {} limit {}", part.offset, part.size.saturating_add(1)));
    if ids_first {
        // One by one: a plan that was made for a few rows would go through all that there are when it is used.
        sql.push(") page cross join lateral (select * from transactions t where t.id = page.id offset 0) t");
        push_order(sql, part.sort, by_completion);
    }
}

/// How many rows fit, counted up to `limit`.
pub(super) async fn count(db: &mut PgConnection, filter: &Filter, limit: i64, deadline: Duration) -> sqlx::Result<i64> {
    let millis = deadline.as_millis().to_string();
    sqlx::query!("select set_config('statement_timeout', $1, true) as timeout", millis).fetch_one(&mut *db).await?;
    let mut sql = Sql::new("");
    push_count(&mut sql, filter, limit);
    sql.build_query_scalar().persistent(false).fetch_one(db).await
}

fn push_count(sql: &mut Sql, filter: &Filter, limit: i64) {
    sql.push("select count(*) from (select from transactions t where ");
    push_filter(sql, filter);
    sql.push(format_args!(" limit {limit}) counted"));
}

/// What every row must be; `t` is the table.
fn push_filter(sql: &mut Sql, filter: &Filter) {
    sql.push("true");
    if let Some(user_id) = filter.user_id {
        sql.push(" and t.user_id = ").push_bind(user_id);
    }
    if let Scope::Own(_) = filter.scope {
        sql.push(" and ").push(SHOWN_TO_OWNER);
    }
    push_names(sql, " and t.kind", filter.kinds.iter().map(|kind| kind.name()).collect());
    push_states(sql, filter);
    if let Some(currency) = filter.currency {
        sql.push(" and t.currency = ").push_bind(currency);
    }
    if let Some(min) = filter.amount_min {
        sql.push(" and t.amount_minor >= ").push_bind(min);
    }
    if let Some(max) = filter.amount_max {
        sql.push(" and t.amount_minor <= ").push_bind(max);
    }
    // A row's id begins with the time of its creation, so a period is a range of ids.
    if let Some(from) = filter.from {
        sql.push(" and t.id >= ").push_bind(first_id_not_before(from));
    }
    if let Some(to) = filter.to {
        sql.push(" and t.id < ").push_bind(first_id_not_before(to));
    }
    if filter.is_by_completion() {
        push_completed(sql, filter);
    }
    if let Some(provider_id) = filter.provider_id {
        sql.push(" and t.provider_id = ").push_bind(provider_id);
    }
    match filter.held {
        Some(true) => _ = sql.push(" and t.held_reason is not null"),
        Some(false) => _ = sql.push(" and t.held_reason is null"),
        None => {}
    }
    if let Some(reference) = &filter.reference {
        sql.push(" and (t.idempotency_key = ").push_bind(reference.key.clone());
        if let Some(row_id) = reference.row_id {
            sql.push(" or t.id = ").push_bind(row_id);
        }
        sql.push(")");
    }
    if !filter.metadata.is_empty() {
        // The index has only those with any.
        sql.push(" and t.metadata <> '{}' and t.metadata @> ").push_bind(filter.metadata.to_json());
    }
    if let Some(search) = &filter.search {
        sql.push(" and (t.words @@ search_query(").push_bind(search.text.clone()).push(", ").push_bind(filter.user_id);
        sql.push(") or t.idempotency_key = ").push_bind(search.text.clone());
        if let Some((first, last)) = search.ids {
            for column in ["t.id", "t.provider_id"] {
                sql.push(" or ").push(column).push(" between ").push_bind(first).push(" and ").push_bind(last);
            }
        }
        sql.push(")");
    }
}

/// A period of completions is also one of creations, so that a list in the order of time is read from where the period is: it begins so
/// long before it, or at the first of those few rows that took longer (`transactions_slow`, which holds no others).
fn push_completed(sql: &mut Sql, filter: &Filter) {
    push_period(sql, "t", filter);
    if let Some(to) = filter.completed_to {
        sql.push(" and t.id < ").push_bind(first_id_not_before(later(to, CLOCKS_APART)));
    }
    if let Some(from) = filter.completed_from {
        sql.push(" and t.id >= least(").push_bind(first_id_not_before(later(from, -SLOW)));
        sql.push(", (select s.id from (select s.id from transactions s where s.completed_at - s.created_at > interval '48 hours'");
        push_period(sql, "s", filter);
        sql.push(" offset 0) s order by s.id limit 1))");
    }
}

fn push_period(sql: &mut Sql, table: &str, filter: &Filter) {
    // Said in words: with a value that is only bound, no partial index is known to hold the rows.
    sql.push(format_args!(" and {table}.completed_at is not null"));
    if let Some(from) = filter.completed_from {
        sql.push(format_args!(" and {table}.completed_at >= ")).push_bind(from);
    }
    if let Some(to) = filter.completed_to {
        sql.push(format_args!(" and {table}.completed_at < ")).push_bind(to);
    }
}

fn later(time: DateTime, by: TimeDelta) -> DateTime {
    time.checked_add_signed(by).unwrap_or(time)
}

/// As `Transaction::shown_state` says it.
fn push_states(sql: &mut Sql, filter: &Filter) {
    let names = |states: &[State]| states.iter().map(|state| state.name()).collect::<Vec<_>>();
    let ended = |state: &State| matches!(state, State::Completed | State::Rejected);
    let own = matches!(filter.scope, Scope::Own(_));
    if !filter.under_review {
        push_names(sql, " and t.state", names(&filter.states));
        if own && filter.states.iter().any(|state| !ended(state)) {
            sql.push(" and (t.held_reason is null or t.state in ('completed', 'rejected'))");
        }
        return;
    }
    sql.push(" and ((t.held_reason is not null and t.state not in ('completed', 'rejected'))");
    if !filter.states.is_empty() {
        sql.push(if own {
            " or ((t.held_reason is null or t.state in ('completed', 'rejected'))"
        } else {
            " or (true"
        });
        push_names(sql, " and t.state", names(&filter.states));
        sql.push(")");
    }
    sql.push(")");
}

fn push_names(sql: &mut Sql, column: &str, names: Vec<&'static str>) {
    match names.as_slice() {
        [] => {}
        // A word of ours, in the text: so a partial index is known to hold the rows by a plan that is kept, too.
        [name] => _ = sql.push(format_args!("{column} = '{name}'")),
        _ => _ = sql.push(column).push(" = any (").push_bind(names).push(")"),
    }
}

/// `transactions_completed` is in the order of the column itself, which every row has where a list is by completion.
fn expression(column: Column, by_completion: bool) -> &'static str {
    match column {
        Column::CompletedAt if by_completion => "t.completed_at",
        Column::CreatedAt => "t.created_at",
        Column::UpdatedAt => "t.updated_at",
        Column::CompletedAt => "coalesce(t.completed_at, 'infinity')",
        Column::Amount => "t.amount_minor",
        // By their bytes, whatever the collation of the database.
        Column::Kind => "t.kind collate \"C\"",
        Column::State => "t.state collate \"C\"",
    }
}

fn push_order(sql: &mut Sql, sort: &Sort, by_completion: bool) {
    sql.push(" order by ");
    for (column, direction) in &sort.columns {
        sql.push(expression(*column, by_completion)).push(if *direction == Direction::Descending {
            " desc, "
        } else {
            ", "
        });
    }
    sql.push(if sort.id == Direction::Descending { "t.id desc" } else { "t.id" });
}

/// Column by column, since each may go its own way: `a > 1 or a = 1 and (b < 2 or b = 2 and (id > 3))`.
fn push_after(sql: &mut Sql, sort: &Sort, after: &Keyset, by_completion: bool) {
    let expression = |column| expression(column, by_completion);
    let behind = |direction| if direction == Direction::Descending { " < " } else { " > " };
    if let (true, Some((Column::CompletedAt, direction)), Some(value)) =
        (by_completion, sort.columns.first(), after.values.first())
    {
        // Once more by itself: PostgreSQL begins in the index there.
        sql.push(" and t.completed_at").push(behind(*direction).trim_end()).push("= ");
        push_value(sql, value);
    }
    sql.push(" and (");
    for ((column, direction), value) in sort.columns.iter().zip(&after.values) {
        sql.push(expression(*column)).push(behind(*direction));
        push_value(sql, value);
        sql.push(" or ").push(expression(*column)).push(" = ");
        push_value(sql, value);
        sql.push(" and (");
    }
    sql.push("t.id").push(behind(sort.id)).push_bind(after.id).push(")".repeat(sort.columns.len() + 1));
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
#[derive(Serialize, ToSchema)]
#[schema(as = StateView)]
pub struct StateAt {
    #[schema(value_type = State)]
    pub state: String,
    pub at: DateTime,
}

/// A row, and the states that it came into.
#[derive(FromRow)]
struct Lived {
    #[sqlx(flatten)]
    row: Row,
    states: String,
    created_at: DateTime,
    moved_at: Vec<DateTime>,
}

/// A row with its states, oldest first.
pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<(Row, Vec<StateAt>)>> {
    let sql = format!("select {COLUMNS}, t.states, t.moved_at from transactions t where t.id = $1");
    let lived: Option<Lived> = sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(db).await?;
    Ok(lived.map(|Lived { row, states, created_at, moved_at }| {
        let times = iter::once(created_at).chain(moved_at);
        let states = states.split(' ').zip(times).map(|(state, at)| StateAt { state: state.to_owned(), at });
        let states = states.collect();
        (row, states)
    }))
}

/// A call of Revio's.
#[derive(Serialize, ToSchema)]
#[schema(as = EventView)]
pub struct Event {
    pub id: Uuid,
    #[serde(rename = "type")]
    #[schema(example = "purchase.paid")]
    pub event_type: Option<String>,
    #[schema(value_type = inbox::Verdict)]
    pub verdict: String,
    #[schema(value_type = inbox::State)]
    pub state: String,
    pub attempts: i32,
    pub received_at: DateTime,
    pub finished_at: Option<DateTime>,
}

/// Of the row's objects at Revio, also of a payout that it has let go of, and of those of the rows that follow from it. Of a Payment it is told
/// under the purchase that it gives back: so a refund or a chargeback has what was told of all of its deposit's Payments.
pub(super) async fn events(db: impl PgExecutor<'_>, row: &Transaction, limit: i64) -> sqlx::Result<Vec<Event>> {
    let query = sqlx::query_as!(
        Event,
        "select id, event_type, verdict, state, attempts, received_at, finished_at from webhook_logs
          where object_id = any (array[$1::uuid] || array(select provider_id from transactions where parent_id = $2)
                                 || array(select id from provider_objects where transaction_id = $2))
             or object_id = any (array(select id from provider_objects where transaction_id = $3)) and event_type ^@ 'payment.'
          order by received_at, id limit $4",
        row.provider.id,
        row.id,
        row.parent_id.filter(|_| row.kind != Kind::Deposit),
        limit
    );
    query.fetch_all(db).await
}

/// What a row of the customer's and corrections have to do with each other, and which call asked for it.
pub struct Links {
    pub request_id: Option<String>,
    /// Of a correction: what it sets right.
    pub about_id: Option<Uuid>,
}

pub(super) async fn links(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Links> {
    let query = sqlx::query_as!(
        Links,
        r#"select coalesce(t.request_id::text, t.request_word) as request_id, a.about_id as "about_id?"
             from transactions t left join adjustments a on a.transaction_id = t.id where t.id = $1"#,
        id
    );
    query.fetch_one(db).await
}

/// A correction of something; see `/v1/admin/adjustments/{id}`.
#[derive(Serialize, ToSchema)]
pub struct LinkedAdjustment {
    pub id: Uuid,
    #[schema(value_type = State)]
    pub state: String,
    /// Of the customer's wallet.
    #[schema(value_type = transactions::Direction)]
    pub direction: String,
    /// Minor units (cents).
    #[schema(example = 2_500)]
    pub amount: i64,
    #[schema(example = "ZAR")]
    pub currency: String,
    pub created_at: DateTime,
}

/// Oldest first.
pub(super) async fn adjustments(
    db: impl PgExecutor<'_>,
    about: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<LinkedAdjustment>> {
    let query = sqlx::query_as!(
        LinkedAdjustment,
        "select t.id, t.state, a.direction, t.amount_minor as amount, t.currency, t.created_at
           from adjustments a join transactions t on t.id = a.transaction_id
          where a.about_id = $1 order by t.id limit $2",
        about,
        limit
    );
    query.fetch_all(db).await
}

/// The states of rows as their owners see them. A word that only a newer release knows is left out: who waits for it asks again.
pub(super) async fn shown_states(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<(Uuid, &'static str)>> {
    let rows = sqlx::query!(
        r#"select id, state, held_reason is not null as "held!" from transactions where id = any($1)"#,
        ids
    );
    let shown = |(id, state, held): (Uuid, String, bool)| {
        Some((id, transactions::shown_state(State::parse(&state)?, held).name()))
    };
    Ok(rows.fetch_all(db).await?.into_iter().filter_map(|row| shown((row.id, row.state, row.held))).collect())
}
