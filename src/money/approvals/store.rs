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

/// Those that count for this hash now: not expired, not used, by people who may still approve. One a person.
pub(super) async fn standing(db: impl PgExecutor<'_>, new: &New<'_>, roles: &[String]) -> sqlx::Result<Vec<Standing>> {
    let rows = sqlx::query_as!(
        Standing,
        r#"select distinct on (a.approver_id) a.id, a.expires_at as "expires_at!"
             from approvals a join users u on u.id = a.approver_id
            where a.transaction_id = $1 and a.payout_hash = $2 and a.decision = 'approved'
              and a.used_at is null and a.expires_at > $3 and u.role = any($4)
            order by a.approver_id"#,
        new.row,
        new.decision.seen.0.as_slice(),
        new.now,
        roles,
    );
    rows.fetch_all(db).await
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
        r#"select transaction_id, approver_id, decision as "decision: Decision", note, created_at, expires_at, used_at
             from approvals where transaction_id = any($1) order by created_at, id"#,
        rows
    );
    rows.fetch_all(db).await
}
