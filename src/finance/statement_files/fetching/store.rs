//! SQL of `statement_requests`.

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::DayState;
use crate::platform::clock::DateTime;
use crate::platform::queue::{Depth, Lease};

#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) id: Uuid,
    pub(super) day: NaiveDate,
    pub(super) provider_id: Option<Uuid>,
    pub(super) asked_at: Option<DateTime>,
    pub(super) attempts: i32,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatementDay {
    pub(super) id: Uuid,
    pub(super) day: NaiveDate,
    pub(super) state: DayState,
    /// How often in a row it could not be fetched.
    pub(super) attempts: i32,
    /// Why it could not, the last time; null unless it was given up.
    pub(super) failure: Option<String>,
    /// When Revio is asked again, in UTC; null where it is not.
    pub(super) due_at: Option<DateTime>,
    /// The file that was imported.
    pub(super) file_id: Option<Uuid>,
}

/// Days since the first account was opened that nobody has asked Revio for. A file that somebody brings does not count: it may be of a part of its
/// day, and Revio's own word is heard besides.
pub(super) async fn days_without(
    db: impl PgExecutor<'_>,
    zone: &str,
    from: NaiveDate,
    to: NaiveDate,
) -> sqlx::Result<Vec<NaiveDate>> {
    let days = sqlx::query_scalar!(
        r#"select d::date as "day!" from generate_series($2::date, $3::date, interval '1 day') d
            where d::date >= (select (ledger_time(min(opened_timestamp)) at time zone $1)::date from ledger_accounts)
              and not exists (select from statement_requests r where r.day = d::date)
            order by 1"#,
        zone,
        from,
        to
    );
    days.fetch_all(db).await
}

pub(super) async fn insert_once(
    db: impl PgExecutor<'_>,
    id: Uuid,
    day: NaiveDate,
    due_at: DateTime,
) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into statement_requests (id, day, due_at) values ($1, $2, $3) on conflict (day) do nothing",
        id,
        day,
        due_at
    );
    insert.execute(db).await.map(drop)
}

pub(super) async fn claim_due(db: impl PgExecutor<'_>, lease: Lease, limit: i64) -> sqlx::Result<Vec<Claimed>> {
    let rows = sqlx::query_as!(
        Claimed,
        "update statement_requests set due_at = $2
          where id in (select id from statement_requests where due_at <= $1 order by due_at for update skip locked limit $3)
         returning id, day, provider_id, asked_at, attempts",
        lease.now,
        lease.until,
        limit
    );
    rows.fetch_all(db).await
}

pub(super) async fn set_asked(
    db: impl PgExecutor<'_>,
    id: Uuid,
    provider_id: Uuid,
    (now, due_at): (DateTime, DateTime),
) -> sqlx::Result<()> {
    let asked = sqlx::query!(
        "update statement_requests set provider_id = $2, asked_at = $3, due_at = $4 where id = $1 and state = 'open'",
        id,
        provider_id,
        now,
        due_at
    );
    asked.execute(db).await.map(drop)
}

/// It is asked for once more.
pub(super) async fn forget(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<()> {
    let forgotten = sqlx::query!("update statement_requests set provider_id = null, asked_at = null where id = $1", id);
    forgotten.execute(db).await.map(drop)
}

pub(super) async fn defer(db: impl PgExecutor<'_>, id: Uuid, due_at: DateTime, attempts: i32) -> sqlx::Result<()> {
    let again = sqlx::query!(
        "update statement_requests set due_at = $2, attempts = $3 where id = $1 and state = 'open'",
        id,
        due_at,
        attempts
    );
    again.execute(db).await.map(drop)
}

pub(super) async fn set_imported(db: impl PgExecutor<'_>, id: Uuid, file: Uuid) -> sqlx::Result<()> {
    let imported = sqlx::query!(
        "update statement_requests set state = 'imported', file_id = $2, due_at = null, failure = null where id = $1",
        id,
        file
    );
    imported.execute(db).await.map(drop)
}

pub(super) async fn give_up(db: impl PgExecutor<'_>, id: Uuid, attempts: i32, failure: &str) -> sqlx::Result<()> {
    let given_up = sqlx::query!(
        "update statement_requests set state = 'failed', due_at = null, attempts = $2, failure = $3 where id = $1",
        id,
        attempts,
        failure
    );
    given_up.execute(db).await.map(drop)
}

/// Latest first. A day that was given up is no longer so once somebody has brought a file of it after its end: one from before is of a part of it.
pub(super) async fn list(
    db: impl PgExecutor<'_>,
    zone: &str,
    state: Option<DayState>,
    (before, limit): (Option<Uuid>, i64),
) -> sqlx::Result<Vec<StatementDay>> {
    let page = sqlx::query_as!(
        StatementDay,
        r#"select id, day, state as "state!: DayState", attempts, failure, due_at, file_id
             from (select r.id, r.day, r.attempts, r.failure, r.due_at, coalesce(r.file_id, brought.id) as file_id,
                          case when brought.id is null then r.state else 'imported' end as state
                     from statement_requests r
                     left join lateral (select f.id from statement_files f
                                         where r.state = 'failed' and f.source = 'revio' and r.day between f.from_day and f.to_day
                                           and f.imported_at >= (r.day + 1)::timestamp at time zone $4
                                         order by f.id desc limit 1) brought on true) d
            where ($1::text is null or state = $1) and ($2::uuid is null or id < $2) order by id desc limit $3"#,
        state.map(DayState::name),
        before,
        limit,
        zone
    );
    page.fetch_all(db).await
}

/// What waits, and the days that somebody must import by hand: those that no file is of since their end.
pub(super) async fn depths(db: impl PgExecutor<'_>, zone: &str, now: DateTime) -> sqlx::Result<Vec<Depth>> {
    let depths = sqlx::query_as!(
        Depth,
        r#"select 'statements' as "queue!", 'due' as "what!", count(*) as "rows!", min(due_at) as oldest
             from statement_requests where due_at <= $1
           union all
           select 'statements', 'failed', count(*), min(r.day::timestamp at time zone $2) from statement_requests r
            where r.state = 'failed' and not exists (select from statement_files f
                    where f.source = 'revio' and r.day between f.from_day and f.to_day
                      and f.imported_at >= (r.day + 1)::timestamp at time zone $2)"#,
        now,
        zone
    );
    depths.fetch_all(db).await
}
