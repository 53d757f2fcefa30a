//! SQL of `breaks` and their notes.

use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::super::found::{BreakType, Found, Owner, ReconciliationLeg, Severity};
use super::super::run::Run;
use super::{Break, BreakState, Code};
use crate::platform::clock::DateTime;

/// The columns of a [`Break`], once.
macro_rules! breaks {
    ($before:tt, $after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Break,
            $before
                + r#" b.id, b.fingerprint, b.type as "kind: BreakType", b.severity as "severity: Severity", b.leg as "leg: ReconciliationLeg",
                      b.state as "state: BreakState", b.currency, b.expected_minor, b.actual_minor, b.transaction_id, b.journal_id,
                      b.transfer_id, b.provider_id, b.line_id, b.account_code, b.since, b.observed, b.first_seen_at, b.last_seen_at,
                      b.sightings, b.opened_at, b.ended_at, b.reopened, b.heal_attempts, b.owner as "owner: Owner", b.assigned_to,
                      b.evidence, b.last_run_id, b.acceptance_by, b.acceptance_note, b.acceptance_at, b.resolution as "resolution: Code",
                      b.resolution_note, b.resolved_by, b.accepted_by, b.resolving_journal_id, b.resolving_adjustment_id, b.gone_at "#
                + $after
            $(, $argument)*
        )
    };
}

pub(super) async fn lock_by_fingerprint(db: impl PgExecutor<'_>, fingerprint: &str) -> sqlx::Result<Option<Break>> {
    breaks!("select ", "from breaks b where b.fingerprint = $1 for update", fingerprint).fetch_optional(db).await
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Break>> {
    breaks!("select ", "from breaks b where b.id = $1", id).fetch_optional(db).await
}

pub(super) async fn lock(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Break>> {
    breaks!("select ", "from breaks b where b.id = $1 for update", id).fetch_optional(db).await
}

pub(super) async fn insert(
    db: impl PgExecutor<'_>,
    (id, run): (Uuid, Uuid),
    found: &Found,
    severity: Severity,
    now: DateTime,
) -> sqlx::Result<()> {
    let inserted = sqlx::query!(
        "insert into breaks (id, fingerprint, type, severity, leg, state, currency, expected_minor, actual_minor, transaction_id,
                             journal_id, transfer_id, provider_id, line_id, account_code, since, observed, first_seen_at,
                             last_seen_at, owner, evidence, first_run_id, last_run_id)
         values ($1, $2, $3, $4, $5, 'timing', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17, $18, $19, $20, $20)",
        id,
        found.fingerprint(),
        found.kind.name(),
        severity.name(),
        found.kind.rule().leg.name(),
        found.currency.map(|currency| currency.code()),
        found.expected,
        found.actual,
        found.transaction_id,
        found.journal_id,
        found.transfer_id,
        found.provider_id,
        found.line_id,
        found.account.map(|account| i32::from(account.code())),
        found.since,
        found.observed,
        now,
        found.kind.owner().name(),
        Value::Object(found.evidence.clone()),
        run,
    );
    inserted.execute(db).await.map(drop)
}

/// What a look changes of a break that is known.
pub(super) struct Seen {
    pub(super) state: BreakState,
    pub(super) severity: Severity,
    pub(super) since: DateTime,
    pub(super) sightings: i32,
    pub(super) last_seen_at: DateTime,
    pub(super) opened_at: Option<DateTime>,
    pub(super) reopened: i32,
    pub(super) heal_attempts: i32,
    /// How it ended before, and who wanted to accept it, is over.
    pub(super) anew: bool,
    pub(super) other_facts: bool,
}

pub(super) async fn set_seen(
    db: impl PgExecutor<'_>,
    (id, run): (Uuid, Uuid),
    found: &Found,
    seen: &Seen,
) -> sqlx::Result<()> {
    let updated = sqlx::query!(
        "update breaks
            set state = $2, severity = $3, since = $4, sightings = $5, last_seen_at = $6, opened_at = $7, reopened = $8,
                heal_attempts = $9, currency = $10, expected_minor = $11, actual_minor = $12, observed = $13, evidence = $14,
                last_run_id = $15, provider_id = $16,
                ended_at = case when $17 then null else ended_at end,
                resolution = case when $17 then null else resolution end,
                resolution_note = case when $17 then null else resolution_note end,
                resolved_by = case when $17 then null else resolved_by end,
                accepted_by = case when $17 then null else accepted_by end,
                resolving_journal_id = case when $17 then null else resolving_journal_id end,
                resolving_adjustment_id = case when $17 then null else resolving_adjustment_id end,
                gone_at = case when $17 then null else gone_at end,
                acceptance_by = case when $18 then null else acceptance_by end,
                acceptance_note = case when $18 then null else acceptance_note end
          where id = $1",
        id,
        seen.state.name(),
        seen.severity.name(),
        seen.since,
        seen.sightings,
        seen.last_seen_at,
        seen.opened_at,
        seen.reopened,
        seen.heal_attempts,
        found.currency.map(|currency| currency.code()),
        found.expected,
        found.actual,
        found.observed,
        Value::Object(found.evidence.clone()),
        run,
        found.provider_id,
        seen.anew,
        seen.other_facts,
    );
    updated.execute(db).await.map(drop)
}

/// Nobody could look at it in this run: it stays as it is.
pub(super) async fn set_skipped(db: impl PgExecutor<'_>, id: Uuid, run: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update breaks set last_run_id = $2 where id = $1", id, run).execute(db).await.map(drop)
}

/// It is not there any more. False when somebody else ended it first.
pub(super) async fn end(
    db: impl PgExecutor<'_>,
    (id, run): (Uuid, Uuid),
    state: BreakState,
    now: DateTime,
) -> sqlx::Result<bool> {
    let ended = sqlx::query!(
        "update breaks set state = $3, ended_at = $4, last_run_id = $2, acceptance_by = null, acceptance_note = null
          where id = $1 and state in ('timing', 'open', 'healing')",
        id,
        run,
        state.name(),
        now
    );
    Ok(ended.execute(db).await?.rows_affected() == 1)
}

/// What people have resolved is not there any more.
pub(super) async fn set_gone(db: impl PgExecutor<'_>, (id, run): (Uuid, Uuid), now: DateTime) -> sqlx::Result<()> {
    let gone = sqlx::query!(
        "update breaks set gone_at = coalesce(gone_at, $3), last_run_id = $2 where id = $1 and state = 'resolved'",
        id,
        run,
        now
    );
    gone.execute(db).await.map(drop)
}

/// One more try begins, unless there were enough, or somebody has ended it.
pub(super) async fn begin_healing(db: impl PgExecutor<'_>, id: Uuid, tries: i32) -> sqlx::Result<bool> {
    let begun = sqlx::query!(
        "update breaks set state = 'healing', heal_attempts = heal_attempts + 1
          where id = $1 and state in ('open', 'healing') and heal_attempts < $2",
        id,
        tries
    );
    Ok(begun.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn end_healing(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update breaks set state = 'open' where id = $1 and state = 'healing'", id).execute(db).await.map(drop)
}

pub(super) async fn seen_in(db: impl PgExecutor<'_>, run: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("select fingerprint from breaks where last_run_id = $1", run).fetch_all(db).await
}

/// Live ones that this run has not looked at, in the order of their ids; by the time of a day's run those that Revio was to correct, too. Of sums, as
/// long as they are there, what people have resolved as well: the same sum may differ anew.
pub(super) async fn unseen_after(
    db: impl PgExecutor<'_>,
    (run, daily): (Uuid, Option<DateTime>),
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Break>> {
    let sums = BreakType::OF_SUMS.map(|kind| kind.name().to_owned());
    breaks!(
        "select ",
        "from breaks b where b.id > $2 and b.last_run_id <> $1
            and (is_looked_at_again(b, $4) or b.state = 'resolved' and b.gone_at is null and b.type = any($5))
          order by b.id limit $3",
        run,
        after,
        limit,
        daily,
        &sums
    )
    .fetch_all(db)
    .await
}

/// Those that this run has seen for the first time.
pub(super) async fn suspects_after(
    db: impl PgExecutor<'_>,
    run: Uuid,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Break>> {
    breaks!(
        "select ",
        "from breaks b where b.id > $2 and b.state = 'timing' and b.sightings = 1 and b.last_run_id = $1
          order by b.id limit $3",
        run,
        after,
        limit
    )
    .fetch_all(db)
    .await
}

/// Those that one look alone has seen.
pub(super) async fn seen_once(db: impl PgExecutor<'_>, before: DateTime) -> sqlx::Result<Vec<Break>> {
    breaks!(
        "select ",
        "from breaks b where b.state = 'timing' and b.sightings = 1 and b.since < $1 order by b.id",
        before
    )
    .fetch_all(db)
    .await
}

/// Open ones of these types that this run has seen.
pub(super) async fn healable_after(
    db: impl PgExecutor<'_>,
    run: Uuid,
    after: Uuid,
    (types, tries): (&[String], i32),
    limit: i64,
) -> sqlx::Result<Vec<Break>> {
    breaks!(
        "select ",
        "from breaks b where b.id > $2 and b.state in ('open', 'healing') and b.last_run_id = $1 and b.type = any($3)
            and b.heal_attempts < $4 order by b.id limit $5",
        run,
        after,
        types,
        tries,
        limit
    )
    .fetch_all(db)
    .await
}

/// What a run's report names: what it saw or ended.
pub(super) async fn of_run(db: impl PgExecutor<'_>, run: Uuid, limit: i64) -> sqlx::Result<Vec<Break>> {
    let open_first = breaks!(
        "select ",
        "from breaks b where b.last_run_id = $1 order by b.state in ('open', 'healing') desc, b.id limit $2",
        run,
        limit
    );
    open_first.fetch_all(db).await
}

#[derive(Debug, Default)]
pub struct Filter {
    pub state: Option<BreakState>,
    pub kind: Option<BreakType>,
    pub severity: Option<Severity>,
    pub owner: Option<Owner>,
    /// There since then or longer.
    pub since: Option<DateTime>,
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// Newest first.
pub(super) async fn list(db: impl PgExecutor<'_>, filter: &Filter) -> sqlx::Result<Vec<Break>> {
    breaks!(
        "select ",
        "from breaks b
          where ($1::text is null or b.state = $1) and ($2::text is null or b.type = $2) and ($3::text is null or b.severity = $3)
            and ($4::text is null or b.owner = $4) and ($5::timestamptz is null or b.since <= $5) and ($6::uuid is null or b.id < $6)
          order by b.id desc limit $7",
        filter.state.map(BreakState::name),
        filter.kind.map(BreakType::name),
        filter.severity.map(Severity::name),
        filter.owner.map(Owner::name),
        filter.since,
        filter.before,
        filter.limit
    )
    .fetch_all(db)
    .await
}

pub(super) async fn count(db: impl PgExecutor<'_>, run: Uuid, state: BreakState) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from breaks where last_run_id = $1 and state = $2"#,
        run,
        state.name()
    );
    count.fetch_one(db).await
}

/// What a run leaves open, of the legs that it had, on the day that it is of.
pub(super) async fn note_open(db: impl PgExecutor<'_>, run: &Run) -> sqlx::Result<()> {
    let noted = sqlx::query!(
        "insert into break_days (day, break_id)
         select $2, id from breaks where last_run_id = $1 and state in ('open', 'healing') and leg = any($3)
         on conflict do nothing",
        run.id,
        run.accounting_day,
        &run.legs
    );
    noted.execute(db).await.map(drop)
}

pub(super) async fn assign(db: impl PgExecutor<'_>, id: Uuid, owner: Owner, to: Option<Uuid>) -> sqlx::Result<()> {
    sqlx::query!("update breaks set owner = $2, assigned_to = $3 where id = $1", id, owner.name(), to)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn set_acceptance(
    db: impl PgExecutor<'_>,
    id: Uuid,
    (by, now): (Uuid, DateTime),
    note: &str,
) -> sqlx::Result<()> {
    let asked = sqlx::query!(
        "update breaks set acceptance_by = $2, acceptance_note = $3, acceptance_at = $4 where id = $1",
        id,
        by,
        note,
        now
    );
    asked.execute(db).await.map(drop)
}

/// How a person ends it.
pub(super) struct Resolved<'a> {
    pub(super) code: Code,
    pub(super) note: &'a str,
    pub(super) by: Uuid,
    pub(super) accepted_by: Option<Uuid>,
    pub(super) journal_id: Option<Uuid>,
    pub(super) adjustment_id: Option<Uuid>,
}

pub(super) async fn resolve(
    db: impl PgExecutor<'_>,
    id: Uuid,
    resolved: &Resolved<'_>,
    now: DateTime,
) -> sqlx::Result<()> {
    let updated = sqlx::query!(
        "update breaks
            set state = 'resolved', ended_at = $2, resolution = $3, resolution_note = $4, resolved_by = $5, accepted_by = $6,
                resolving_journal_id = $7, resolving_adjustment_id = $8, acceptance_by = null, acceptance_note = null
          where id = $1",
        id,
        now,
        resolved.code.name(),
        resolved.note,
        resolved.by,
        resolved.accepted_by,
        resolved.journal_id,
        resolved.adjustment_id
    );
    updated.execute(db).await.map(drop)
}

pub(super) async fn is_staff(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from users where id = $1 and role <> 'user') as "staff!""#, id)
        .fetch_one(db)
        .await
}

#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
#[schema(as = BreakNote)]
pub struct Note {
    pub id: Uuid,
    /// A user's id or `system`.
    pub author: String,
    pub note: String,
    pub created_at: DateTime,
}

pub(super) async fn notes(db: impl PgExecutor<'_>, of: Uuid, limit: i64) -> sqlx::Result<Vec<Note>> {
    let notes = sqlx::query_as!(
        Note,
        "select id, author, note, created_at from break_notes where break_id = $1 order by id desc limit $2",
        of,
        limit
    );
    notes.fetch_all(db).await
}

pub struct NewNote<'a> {
    pub id: Uuid,
    pub break_id: Uuid,
    pub author: &'a str,
    pub text: &'a str,
}

/// False where it is there.
pub(super) async fn insert_note(db: impl PgExecutor<'_>, new: &NewNote<'_>, now: DateTime) -> sqlx::Result<bool> {
    let inserted = sqlx::query!(
        "insert into break_notes (id, break_id, author, note, created_at) values ($1, $2, $3, $4, $5)
         on conflict (id) do nothing",
        new.id,
        new.break_id,
        new.author,
        new.text,
        now
    );
    Ok(inserted.execute(db).await?.rows_affected() == 1)
}

/// Live ones, counted by type and severity, with the oldest of each; what is in its window does not count.
pub struct Waiting {
    pub kind: String,
    pub severity: String,
    pub count: i64,
    pub oldest: Option<DateTime>,
}

pub(super) async fn waiting(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Waiting>> {
    let waiting = sqlx::query_as!(
        Waiting,
        r#"select type as kind, severity, count(*) as "count!", min(since) as oldest
             from breaks where state in ('open', 'healing') group by type, severity"#
    );
    waiting.fetch_all(db).await
}
