//! SQL of `approvals`, and of what the row itself says that was approved.

use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApprovalDecision;
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
    #[serde(skip)]
    pub transaction_id: Uuid,
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
    pub(super) row: Uuid,
    pub(super) decision: &'a ApprovalDecision,
    pub(super) now: DateTime,
    pub(super) expires_at: Option<DateTime>,
}

pub(super) struct Standing {
    pub(super) id: Uuid,
    pub(super) expires_at: DateTime,
}

/// False when the same person's approval of the same is there and not expired. One that has expired, or was for something else,
/// gives its place.
pub(super) async fn approve(db: impl PgExecutor<'_>, new: &New<'_>) -> sqlx::Result<bool> {
    let insert = sqlx::query!(
        "insert into approvals (id, transaction_id, approver_id, decision, payout_hash, note, created_at, expires_at)
         values ($1, $2, $3, 'approved', $4, $5, $6, $7)
         on conflict (transaction_id, approver_id) where used_at is null and decision = 'approved'
         do update set id = excluded.id, payout_hash = excluded.payout_hash, note = excluded.note,
                       created_at = excluded.created_at, expires_at = excluded.expires_at
                 where approvals.expires_at <= excluded.created_at or approvals.payout_hash <> excluded.payout_hash",
        new.id,
        new.row,
        new.decision.by,
        new.decision.seen.0.as_slice(),
        new.decision.note,
        new.now,
        new.expires_at,
    );
    Ok(insert.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn decline(db: impl PgExecutor<'_>, new: &New<'_>) -> sqlx::Result<()> {
    let insert = sqlx::query!(
        "insert into approvals (id, transaction_id, approver_id, decision, payout_hash, note, created_at)
         values ($1, $2, $3, 'declined', $4, $5, $6)",
        new.id,
        new.row,
        new.decision.by,
        new.decision.seen.0.as_slice(),
        new.decision.note,
        new.now,
    );
    insert.execute(db).await.map(drop)
}

/// The approvals of a row for a hash, by people who may approve it now: in the role for long enough, not frozen, and neither the
/// customer nor who proposed it. One a person.
macro_rules! counting {
    ($clause:literal, $row:expr, $hash:expr, $roles:expr, $since:expr $(, $value:expr)*) => {
        sqlx::query_as!(
            Standing,
            r#"select distinct on (a.approver_id) a.id, a.expires_at as "expires_at!"
                 from approvals a join users u on u.id = a.approver_id join transactions t on t.id = a.transaction_id
                where a.transaction_id = $1 and a.payout_hash = $2 and a.decision = 'approved'
                  and u.role = any($3) and u.role_since <= $4 and a.approver_id <> t.user_id
                  and not exists (select from adjustments j
                                   where j.transaction_id = t.id and j.requested_by = a.approver_id)
                  and not exists (select from restrictions r
                                   where r.user_id = u.id and r.kind = 'freeze' and r.state <> 'lifted') "#
                + $clause
                + " order by a.approver_id",
            $row,
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
) -> sqlx::Result<Vec<Standing>> {
    let hash = new.decision.seen.0.as_slice();
    counting!("and a.used_at is null and a.expires_at > $5", new.row, hash, roles, since, new.now).fetch_all(db).await
}

/// Those that let the row go on last.
pub(super) async fn used(
    db: impl PgExecutor<'_>,
    (row, hash): (Uuid, &[u8]),
    roles: &[String],
    since: DateTime,
) -> sqlx::Result<Vec<Standing>> {
    counting!(
        "and a.used_at = (select max(used_at) from approvals b where b.transaction_id = a.transaction_id)",
        row,
        hash,
        roles,
        since
    )
    .fetch_all(db)
    .await
}

/// How many people let the row go on last.
pub(super) async fn count_used(db: impl PgExecutor<'_>, row: Uuid) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(distinct approver_id) as "count!" from approvals
            where transaction_id = $1 and used_at = (select max(used_at) from approvals where transaction_id = $1)"#,
        row
    );
    count.fetch_one(db).await
}

/// Whoever approved the row.
pub(super) async fn deciders(db: impl PgExecutor<'_>, row: Uuid) -> sqlx::Result<Vec<Uuid>> {
    let people = sqlx::query_scalar!(
        "select distinct approver_id from approvals where transaction_id = $1 and decision = 'approved'",
        row
    );
    people.fetch_all(db).await
}

/// Until the end of the transaction nobody gives them another role or freezes them.
pub(super) async fn lock_people(db: impl PgExecutor<'_>, people: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("select from users where id = any($1) order by id for share", people).execute(db).await.map(drop)
}

/// Whether somebody has one of the roles since then or longer, and is not frozen.
pub(super) async fn is_entitled(
    db: impl PgExecutor<'_>,
    who: Uuid,
    roles: &[String],
    since: DateTime,
) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from users u where u.id = $1 and u.role = any($2) and u.role_since <= $3 and not exists (
                select from restrictions r
                 where r.user_id = u.id and r.kind = 'freeze' and r.state <> 'lifted')) as "found!""#,
        who,
        roles,
        since
    );
    found.fetch_one(db).await
}

pub(super) async fn use_up(db: impl PgExecutor<'_>, ids: &[Uuid], now: DateTime) -> sqlx::Result<()> {
    sqlx::query!("update approvals set used_at = $2 where id = any($1) and used_at is null", ids, now)
        .execute(db)
        .await?;
    Ok(())
}

/// The hash of what the row is approved for, and until when.
pub(super) async fn approved(db: impl PgExecutor<'_>, row: Uuid) -> sqlx::Result<Option<(Vec<u8>, DateTime)>> {
    let row = sqlx::query!("select approved_hash, approved_until from transactions where id = $1", row);
    Ok(row.fetch_optional(db).await?.and_then(|row| row.approved_hash.zip(row.approved_until)))
}

pub(super) async fn list(db: impl PgExecutor<'_>, rows: &[Uuid]) -> sqlx::Result<Vec<Approval>> {
    let rows = sqlx::query_as!(
        Approval,
        r#"select transaction_id as "transaction_id!", approver_id, decision as "decision: Decision", note, created_at, expires_at, used_at
             from approvals where transaction_id = any($1) order by created_at, id"#,
        rows
    );
    rows.fetch_all(db).await
}
