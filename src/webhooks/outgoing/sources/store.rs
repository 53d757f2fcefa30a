//! SQL of what events follow from.

use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};
use uuid::Uuid;

use super::super::events::EventType;
use crate::money::transactions::{COLUMNS, Row};
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::{DateTime, first_id_at};

/// An enabled endpoint.
pub(super) struct Wanted {
    pub(super) id: Uuid,
    event_types: Vec<String>,
    pub(super) enabled_at: DateTime,
}

impl Wanted {
    pub(super) fn wants(&self, kind: EventType) -> bool {
        self.event_types.iter().any(|wanted| wanted == kind.name())
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct Moved {
    #[sqlx(flatten)]
    pub(super) row: Row,
    pub(super) number: i64,
    pub(super) moved_to: String,
    pub(super) moved_at: DateTime,
}

pub(super) struct Audited {
    pub(super) entry_id: Uuid,
    pub(super) action: String,
    pub(super) object_id: String,
    pub(super) at: DateTime,
    /// Of a restriction.
    pub(super) kind: Option<String>,
    pub(super) state: Option<String>,
    pub(super) call_id: Option<Uuid>,
}

/// A wallet right after a transfer.
pub(super) struct Balance {
    pub(super) timestamp: i64,
    pub(super) id: Uuid,
    pub(super) side: i32,
    pub(super) customer_id: Uuid,
    pub(super) debits_posted: i64,
    pub(super) debits_pending: i64,
    pub(super) credits_posted: i64,
}

/// Until the end of the transaction; false when another process has it.
pub(super) async fn lock(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, AdvisoryLock::OutgoingSources.number())
        .fetch_one(db)
        .await
}

pub(super) async fn wanted(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Wanted>> {
    sqlx::query_as!(Wanted, "select id, event_types, enabled_at from outgoing_endpoints where enabled")
        .fetch_all(db)
        .await
}

/// Every cursor at the end of its source, where nobody is enabled yet.
pub(super) async fn begin(db: &mut PgConnection, now_micros: i64) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into outgoing_cursors (source, position)
         select source, position from (
             select 'time' as source, $1::bigint as position
             union all select 'time_swept', $1
             union all select 'customers', position from audit_head
             union all select 'balances ' || currency, timestamp from ledger_cursor) ends
          where not exists (select from outgoing_endpoints where enabled)
         on conflict (source) do update set position = excluded.position",
        now_micros
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn cursor(db: impl PgExecutor<'_>, source: &str) -> sqlx::Result<i64> {
    let position = sqlx::query_scalar!("select position from outgoing_cursors where source = $1", source);
    Ok(position.fetch_optional(db).await?.unwrap_or(0))
}

pub(super) async fn move_cursor(db: impl PgExecutor<'_>, source: &str, position: i64) -> sqlx::Result<()> {
    let query = sqlx::query!(
        "insert into outgoing_cursors (source, position) values ($1, $2)
         on conflict (source) do update set position = excluded.position",
        source,
        position
    );
    query.execute(db).await.map(drop)
}

/// The states that rows came into within the time and that have no event yet, the oldest first. The index by `updated_at` finds them: a
/// row's is never before its last move.
pub(super) async fn moved(
    db: impl PgExecutor<'_>,
    (from, until): (DateTime, DateTime),
    states: &[String],
    limit: i64,
) -> sqlx::Result<Vec<Moved>> {
    let sql = format!(
        "select {COLUMNS}, m.number, m.state as moved_to, m.at as moved_at
           from transactions t
          cross join lateral unnest(string_to_array(t.states, ' '), array[t.created_at] || t.moved_at) with ordinality m (state, at, number)
          where t.updated_at >= $1 and m.at >= $1 and m.at <= $2 and m.state = any($3)
            and not exists (select from outgoing_events e where e.source_id = t.id and e.ordinal = m.number)
          order by m.at, t.id, m.number limit $4"
    );
    let rows = sqlx::query_as(AssertSqlSafe(sql)).bind(from).bind(until).bind(states).bind(limit);
    rows.fetch_all(db).await
}

/// Ids carry the time.
pub(super) async fn new_customers(
    db: impl PgExecutor<'_>,
    from: DateTime,
    limit: i64,
) -> sqlx::Result<Vec<(Uuid, DateTime)>> {
    let rows = sqlx::query!(
        "select id, created_at from users u
          where id >= $1 and created_at >= $2
            and not exists (select from outgoing_events e where e.source_id = u.id and e.ordinal = 0)
          order by id limit $3",
        first_id_at(from),
        from,
        limit
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.id, row.created_at)).collect())
}

pub(super) async fn audit_head(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!("select position from audit_head").fetch_one(db).await
}

/// What the log says of customers behind the one position and up to the other. Of a restriction only what its whole call has come to: a
/// closure that one currency refused never was, and a customer is unfrozen when the last currency is.
pub(super) async fn audited(db: impl PgExecutor<'_>, (seen, until): (i64, i64)) -> sqlx::Result<Vec<Audited>> {
    let query = sqlx::query_as!(
        Audited,
        r#"select l.id as entry_id, l.action, l.object_id, l.at, l.after->>'kind' as kind, l.after->>'state' as state,
                  r.call_id as "call_id?"
             from audit_chain c
             join audit_log l on l.id = c.entry_id
             left join restrictions r on l.action = 'restriction.moved' and r.id = (l.after->>'restriction')::uuid
            where c.position > $1 and c.position <= $2
              and l.action in ('user.email_verified', 'user.erased', 'restriction.moved')
              and not exists (select from restrictions s
                               where s.call_id = r.call_id
                                 and (l.after->>'state' = 'lifted' and s.state <> 'lifted'
                                      or not exists (select from audit_log m
                                                      where m.object_kind = l.object_kind and m.object_id = l.object_id
                                                        and m.action = l.action and m.after->>'restriction' = s.id::text
                                                        and m.after->>'state' = 'in_force')))
            order by c.position"#,
        seen,
        until
    );
    query.fetch_all(db).await
}

/// How far each currency's copy is.
pub(super) async fn ledger_cursors(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!("select currency, timestamp from ledger_cursor order by currency").fetch_all(db).await?;
    Ok(rows.into_iter().map(|row| (row.currency, row.timestamp)).collect())
}

/// Wallets (2000) after each transfer that touched them, in the order of the ledger.
pub(super) async fn balances(
    db: impl PgExecutor<'_>,
    currency: &str,
    (seen, until): (i64, i64),
    limit: i64,
) -> sqlx::Result<Vec<Balance>> {
    let query = sqlx::query_as!(
        Balance,
        r#"select t.timestamp, t.id, s.side as "side!", a.user_id as "customer_id!", s.debits_posted as "debits_posted!",
                  s.debits_pending as "debits_pending!", s.credits_posted as "credits_posted!"
             from ledger_transfers t
            cross join lateral (values
                (0, t.debit_account_id, t.debit_debits_posted, t.debit_debits_pending, t.debit_credits_posted),
                (1, t.credit_account_id, t.credit_debits_posted, t.credit_debits_pending, t.credit_credits_posted))
                s (side, account, debits_posted, debits_pending, credits_posted)
             join ledger_accounts a on a.id = s.account and a.code = 2000 and a.user_id is not null
            where t.currency = $1 and t.timestamp > $2 and t.timestamp <= $3
            order by t.timestamp, s.side limit $4"#,
        currency,
        seen,
        until,
        limit
    );
    query.fetch_all(db).await
}
