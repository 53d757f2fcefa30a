//! SQL of `approvals`, and of what the row itself says that was approved.

use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApprovalDecision;
use crate::money::subject::Subject;
use crate::platform::{clock::DateTime, text_enum::text_enum};

text_enum! {
    pub enum Decision {
        Approved = "approved",
        Declined = "declined",
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApprovalView)]
pub struct Approval {
    /// The transaction or journal.
    #[serde(skip)]
    pub subject_id: Uuid,
    pub approver_id: Uuid,
    #[schema(inline)]
    pub decision: Decision,
    pub note: Option<String>,
    pub created_at: DateTime,
    /// Approvals: from then on it does not count any more.
    pub expires_at: Option<DateTime>,
    /// When it let the row go on: each approval does so once.
    pub used_at: Option<DateTime>,
}

pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) subject: Subject,
    pub(super) decision: &'a ApprovalDecision,
    pub(super) now: DateTime,
    pub(super) expires_at: Option<DateTime>,
}

pub(super) struct CountedApproval {
    pub(super) id: Uuid,
    pub(super) expires_at: DateTime,
}

/// False when the same person's approval of the same is there and not expired. One that has expired, or was for something else,
/// gives its place.
macro_rules! approved {
    ($column:literal, $new:expr) => {
        sqlx::query!(
            "insert into approvals (id, transaction_id, journal_id, approver_id, decision, payout_hash, note, created_at, expires_at)
             values ($1, $2, $3, $4, 'approved', $5, $6, $7, $8)
             on conflict (" + $column + ", approver_id) where used_at is null and decision = 'approved'
             do update set id = excluded.id, payout_hash = excluded.payout_hash, note = excluded.note,
                           created_at = excluded.created_at, expires_at = excluded.expires_at
                     where approvals.expires_at <= excluded.created_at or approvals.payout_hash <> excluded.payout_hash",
            $new.id,
            $new.subject.columns().0,
            $new.subject.columns().1,
            $new.decision.by,
            $new.decision.seen.0.as_slice(),
            $new.decision.note,
            $new.now,
            $new.expires_at,
        )
    };
}

pub(super) async fn approve(db: impl PgExecutor<'_>, new: &New<'_>) -> sqlx::Result<bool> {
    let done = match new.subject {
        Subject::Transaction(_) => approved!("transaction_id", new).execute(db).await?,
        Subject::Journal(_) => approved!("journal_id", new).execute(db).await?,
    };
    Ok(done.rows_affected() == 1)
}

pub(super) async fn decline(db: impl PgExecutor<'_>, new: &New<'_>) -> sqlx::Result<()> {
    let (transaction_id, journal_id) = new.subject.columns();
    let insert = sqlx::query!(
        "insert into approvals (id, transaction_id, journal_id, approver_id, decision, payout_hash, note, created_at)
         values ($1, $2, $3, $4, 'declined', $5, $6, $7)",
        new.id,
        transaction_id,
        journal_id,
        new.decision.by,
        new.decision.seen.0.as_slice(),
        new.decision.note,
        new.now,
    );
    insert.execute(db).await.map(drop)
}

/// The approvals of a row for a hash, by people who may approve it now: in the role for long enough and since before they did, not frozen,
/// and neither the customer nor who proposed it. One a person.
macro_rules! counting {
    ($clause:literal, $subject:expr, $hash:expr, $roles:expr, $since:expr $(, $value:expr)*) => {
        sqlx::query_as!(
            CountedApproval,
            r#"select distinct on (a.approver_id) a.id, a.expires_at as "expires_at!"
                 from approvals a join users u on u.id = a.approver_id
                where coalesce(a.transaction_id, a.journal_id) = $1 and a.payout_hash = $2 and a.decision = 'approved'
                  and u.role = any($3) and u.role_since <= $4 and u.role_since < a.created_at
                  and not exists (select from transactions t where t.id = $1 and t.user_id = a.approver_id)
                  and not exists (select from adjustments j
                                   where j.transaction_id = $1 and j.requested_by = a.approver_id)
                  and not exists (select from journals j
                                   where j.id = $1 and a.approver_id in (j.requested_by, j.user_id))
                  and not exists (select from restrictions r
                                   where r.user_id = u.id and r.kind = 'freeze' and r.state <> 'lifted') "#
                + $clause
                + " order by a.approver_id",
            $subject.id(),
            $hash,
            $roles,
            $since
            $(, $value)*
        )
    };
}

/// Those that count now: not expired and not used.
pub(super) async fn standing(
    db: impl PgExecutor<'_>,
    new: &New<'_>,
    roles: &[String],
    since: DateTime,
) -> sqlx::Result<Vec<CountedApproval>> {
    let (subject, hash) = (new.subject, new.decision.seen.0.as_slice());
    counting!("and a.used_at is null and a.expires_at > $5", subject, hash, roles, since, new.now).fetch_all(db).await
}

/// Those that let the row go on last.
pub(super) async fn used(
    db: impl PgExecutor<'_>,
    (subject, hash): (Subject, &[u8]),
    roles: &[String],
    since: DateTime,
) -> sqlx::Result<Vec<CountedApproval>> {
    counting!(
        "and a.used_at = (select max(used_at) from approvals b where coalesce(b.transaction_id, b.journal_id) = $1)",
        subject,
        hash,
        roles,
        since
    )
    .fetch_all(db)
    .await
}

/// How many people let the row go on last.
pub(super) async fn count_used(db: impl PgExecutor<'_>, subject: Subject) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(distinct approver_id) as "count!" from approvals
            where coalesce(transaction_id, journal_id) = $1
              and used_at = (select max(used_at) from approvals where coalesce(transaction_id, journal_id) = $1)"#,
        subject.id()
    );
    count.fetch_one(db).await
}

/// Whoever approved the row.
pub(super) async fn deciders(db: impl PgExecutor<'_>, subjects: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    let people = sqlx::query_scalar!(
        "select distinct approver_id from approvals where coalesce(transaction_id, journal_id) = any($1) and decision = 'approved'",
        subjects
    );
    people.fetch_all(db).await
}

pub(super) struct Entitlement {
    pub(super) has_role: bool,
    pub(super) for_long: bool,
    pub(super) is_frozen: bool,
}

/// Whether somebody has one of the roles, since then or longer, and is frozen.
pub(super) async fn entitlement(
    db: impl PgExecutor<'_>,
    who: Uuid,
    roles: &[String],
    since: DateTime,
) -> sqlx::Result<Option<Entitlement>> {
    let found = sqlx::query_as!(
        Entitlement,
        r#"select u.role = any($2) as "has_role!", u.role_since <= $3 as "for_long!", exists (
                  select from restrictions r
                   where r.user_id = u.id and r.kind = 'freeze' and r.state <> 'lifted') as "is_frozen!"
             from users u where u.id = $1"#,
        who,
        roles,
        since
    );
    found.fetch_optional(db).await
}

pub(super) async fn use_up(db: impl PgExecutor<'_>, ids: &[Uuid], now: DateTime) -> sqlx::Result<()> {
    let used = sqlx::query!("update approvals set used_at = $2 where id = any($1) and used_at is null", ids, now);
    used.execute(db).await.map(drop)
}

/// The hash of what the row is approved for, and until when.
pub(super) async fn approved(db: impl PgExecutor<'_>, row: Uuid) -> sqlx::Result<Option<(Vec<u8>, DateTime)>> {
    let row = sqlx::query!(
        "select approved_hash, approved_until from transactions where id = $1
         union all
         select approved_hash, approved_until from journals where id = $1",
        row
    );
    Ok(row.fetch_optional(db).await?.and_then(|row| row.approved_hash.zip(row.approved_until)))
}

pub(super) async fn list(db: impl PgExecutor<'_>, rows: &[Uuid]) -> sqlx::Result<Vec<Approval>> {
    let rows = sqlx::query_as!(
        Approval,
        r#"select coalesce(transaction_id, journal_id) as "subject_id!", approver_id, decision as "decision: Decision", note, created_at,
                  expires_at, used_at
             from approvals where coalesce(transaction_id, journal_id) = any($1) order by created_at, id"#,
        rows
    );
    rows.fetch_all(db).await
}
