//! SQL of `reconciliation_runs`.

use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::super::run::{Run, RunKind, RunState};
use crate::platform::clock::DateTime;

/// The columns of a [`Run`], once; `$1` is the time zone of accounting days.
macro_rules! runs {
    ($before:tt, $after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Run,
            $before
                + r#" r.id, r.kind as "kind: RunKind", r.legs, r.state as "state: RunState", r.since, r.until, r.ledger_since,
                      r.ledger_cut, r.accounting_day, (r.accounting_day::timestamp at time zone $1::text) as "day_began!",
                      ((r.accounting_day + 1)::timestamp at time zone $1::text) as "day_ended!",
                      r.requested_by, r.checkpoint, r.leased_until, r.started_at, r.finished_at, r.counts, r.sums,
                      r.report_sha256, r.error "#
                + $after
            $(, $argument)*
        )
    };
}

/// What is under way and what was done, for who starts the next.
pub(super) struct Due {
    pub(super) running: bool,
    pub(super) last_quarter: Option<DateTime>,
    pub(super) last_statement: Option<DateTime>,
    /// When the first of the files was imported that no finished run has compared.
    pub(super) file_waits_since: Option<DateTime>,
    pub(super) daily_done: bool,
    pub(super) failed_today: i64,
    pub(super) last_failed: Option<DateTime>,
}

pub(super) async fn due(db: impl PgExecutor<'_>, zone: &str, now: DateTime) -> sqlx::Result<Due> {
    let due = sqlx::query_as!(
        Due,
        r#"select exists (select from reconciliation_runs where state = 'running') as "running!",
                  (select max(started_at) from reconciliation_runs where kind = 'quarter_hour') as last_quarter,
                  (select max(started_at) from reconciliation_runs where kind = 'statement') as last_statement,
                  (select min(imported_at) from statement_files f
                    where not exists (select from reconciliation_runs r where r.id = f.compared_by and r.state = 'finished'))
                      as file_waits_since,
                  coalesce((select max(accounting_day) from reconciliation_runs where kind = 'daily' and state = 'finished')
                           >= ($2::timestamptz at time zone $1::text)::date - 1, false) as "daily_done!",
                  (select count(*) from reconciliation_runs where kind = 'daily' and state = 'failed'
                      and started_at >= ($2 at time zone $1)::date::timestamp at time zone $1) as "failed_today!",
                  (select max(started_at) from reconciliation_runs where kind = 'daily' and state = 'failed') as last_failed"#,
        zone,
        now
    );
    due.fetch_one(db).await
}

pub(super) struct NewRun<'a> {
    pub(super) id: Uuid,
    pub(super) kind: RunKind,
    pub(super) legs: &'a [String],
    pub(super) since: Option<DateTime>,
    pub(super) until: DateTime,
    pub(super) requested_by: &'a str,
    pub(super) checkpoint: Value,
}

/// False when one is running. It begins an hour before the end of the last one that was due (one that somebody asked for may have looked at
/// less), or where it is told to; the daily one looks at everything, and closes the first day of the books that none has closed yet, up to
/// yesterday.
pub(super) async fn insert(db: impl PgExecutor<'_>, new: &NewRun<'_>, zone: &str, now: DateTime) -> sqlx::Result<bool> {
    let inserted = sqlx::query!(
        "insert into reconciliation_runs (id, kind, legs, since, until, ledger_since, accounting_day, requested_by, checkpoint,
                                          started_at)
         select $1, $2, $3,
                case when $2 = 'daily' then 'epoch' else coalesce($4, last.until - interval '1 hour', 'epoch') end, $5,
                case when $2 = 'daily' then 0
                     when $4 is not null then greatest(extract(epoch from $4::timestamptz) * 1000000000, 0)::bigint
                     else greatest(coalesce(last.ledger_cut, 0) - 3600000000000, 0) end,
                case when $2 = 'daily' then least(today.day - 1, coalesce(closed.day + 1, began.day)) else today.day end, $7, $8, $6
           from (select ($6::timestamptz at time zone $9::text)::date as day) as today
          cross join (select max(accounting_day) as day from reconciliation_runs where kind = 'daily' and state = 'finished') as closed
          cross join (select (ledger_time(min(opened_timestamp)) at time zone $9)::date as day from ledger_accounts) as began
           left join lateral (
                select until, ledger_cut from reconciliation_runs
                 where state = 'finished' and legs @> $3 and requested_by = 'system' order by id desc limit 1) as last on true
         on conflict ((true)) where state = 'running' do nothing",
        new.id,
        new.kind.name(),
        new.legs,
        new.since,
        new.until,
        now,
        new.requested_by,
        new.checkpoint,
        zone
    );
    Ok(inserted.execute(db).await?.rows_affected() == 1)
}

/// The run that is under way, for whoever works on it next: nobody else does until then.
pub(super) async fn claim(
    db: impl PgExecutor<'_>,
    zone: &str,
    now: DateTime,
    until: DateTime,
) -> sqlx::Result<Option<Run>> {
    runs!(
        "update reconciliation_runs r set leased_until = $3
          where r.state = 'running' and (r.leased_until is null or r.leased_until <= $2)
         returning ",
        "",
        zone,
        now,
        until
    )
    .fetch_optional(db)
    .await
}

/// How far it is. False when somebody else has it meanwhile.
pub(super) async fn save(
    db: impl PgExecutor<'_>,
    run: &Run,
    checkpoint: Value,
    error: Option<&str>,
) -> sqlx::Result<bool> {
    let saved = sqlx::query!(
        "update reconciliation_runs set checkpoint = $3, ledger_cut = $4, error = $5, leased_until = null
          where id = $1 and leased_until = $2 and state = 'running'",
        run.id,
        run.leased_until,
        checkpoint,
        run.ledger_cut,
        error
    );
    Ok(saved.execute(db).await?.rows_affected() == 1)
}

pub(super) struct Finished<'a> {
    pub(super) state: RunState,
    pub(super) counts: Value,
    pub(super) sums: Value,
    pub(super) checkpoint: Value,
    pub(super) report: Option<&'a [u8]>,
    pub(super) sha256: Option<&'a [u8]>,
    pub(super) error: Option<&'a str>,
}

pub(super) async fn finish(
    db: impl PgExecutor<'_>,
    run: &Run,
    finished: &Finished<'_>,
    now: DateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update reconciliation_runs
            set state = $3, counts = $4, sums = $5, checkpoint = $6, report = $7, report_sha256 = $8, error = $9, finished_at = $10,
                ledger_cut = $11, leased_until = null
          where id = $1 and leased_until = $2 and state = 'running'",
        run.id,
        run.leased_until,
        finished.state.name(),
        finished.counts,
        finished.sums,
        finished.checkpoint,
        finished.report,
        finished.sha256,
        finished.error,
        now,
        run.ledger_cut
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn find(db: impl PgExecutor<'_>, zone: &str, id: Uuid) -> sqlx::Result<Option<Run>> {
    runs!("select ", "from reconciliation_runs r where r.id = $2", zone, id).fetch_optional(db).await
}

/// The report as it was written, and its hash.
pub(super) async fn report(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let row = sqlx::query!("select report, report_sha256 from reconciliation_runs where id = $1", id);
    Ok(row.fetch_optional(db).await?.and_then(|row| row.report.zip(row.report_sha256)))
}

/// Where the last one left off, whose turn was not over.
pub(super) async fn last_checkpoint(db: impl PgExecutor<'_>) -> sqlx::Result<Option<Value>> {
    let query = sqlx::query_scalar!(
        "select checkpoint from reconciliation_runs where state = 'finished' and 'b' = any(legs) order by id desc limit 1"
    );
    query.fetch_optional(db).await
}

/// Newest first.
pub(super) async fn list(
    db: impl PgExecutor<'_>,
    zone: &str,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Run>> {
    runs!(
        "select ",
        "from reconciliation_runs r where $2::uuid is null or r.id < $2 order by r.id desc limit $3",
        zone,
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// When the last of each kind was finished.
pub(super) async fn last_finished(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, DateTime)>> {
    let rows = sqlx::query!(
        r#"select kinds.kind as "kind!", last.finished_at as "finished_at!"
             from unnest(array['quarter_hour', 'daily', 'statement', 'manual']) as kinds (kind),
                  lateral (select finished_at from reconciliation_runs r
                            where r.kind = kinds.kind and r.state = 'finished' order by r.id desc limit 1) as last"#
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(|row| (row.kind, row.finished_at)).collect())
}
