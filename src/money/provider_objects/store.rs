//! SQL of `provider_objects`.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::ObjectKind;
use crate::platform::clock::DateTime;

pub(super) struct Row<'a> {
    pub(super) id: Uuid,
    pub(super) kind: &'a str,
    pub(super) transaction_id: Option<Uuid>,
    pub(super) related_id: Option<Uuid>,
    pub(super) status: &'a str,
    pub(super) amount_minor: Option<i64>,
    pub(super) fee_minor: Option<i64>,
    pub(super) currency: Option<&'a str>,
    pub(super) is_outgoing: Option<bool>,
    pub(super) created_on: Option<i64>,
    pub(super) updated_on: Option<i64>,
}

/// What we know of an object.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: Uuid,
    pub kind: ObjectKind,
    pub transaction_id: Option<Uuid>,
    pub status: String,
    pub amount_minor: Option<i64>,
    pub fee_minor: Option<i64>,
    pub currency: Option<String>,
    pub is_outgoing: Option<bool>,
    pub created_on: Option<i64>,
    pub updated_on: Option<i64>,
    pub announced_on: Option<i64>,
    pub last_seen_at: DateTime,
    pub changed_at: DateTime,
    pub status_at: DateTime,
    /// Payouts: how often it was to be executed, and how often Revio refused that in words.
    pub executions: i32,
    pub refusals: i32,
}

impl Row<'_> {
    /// Nothing is to be written then.
    pub(super) fn says_the_same(&self, known: &Known) -> bool {
        (self.transaction_id.is_none() || self.transaction_id == known.transaction_id)
            && self.status == known.status
            && self.amount_minor == known.amount_minor
            && self.fee_minor == known.fee_minor
            && self.currency == known.currency.as_deref()
            && self.is_outgoing == known.is_outgoing
            && self.updated_on == known.updated_on
    }
}

/// The columns of a [`Known`], once.
macro_rules! known {
    ($after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Known,
            r#"select id, kind as "kind: ObjectKind", transaction_id, status, amount_minor, fee_minor, currency, is_outgoing,
                      created_on, updated_on, announced_on, last_seen_at, changed_at, status_at, executions, refusals from provider_objects "# + $after
            $(, $argument)*
        )
    };
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Known>> {
    known!("where id = $1", id).fetch_optional(db).await
}

pub(super) async fn related_to(db: impl PgExecutor<'_>, purchase_id: Uuid) -> sqlx::Result<Vec<Known>> {
    known!("where related_id = $1 order by updated_on, first_seen_at, id", purchase_id).fetch_all(db).await
}

pub(super) async fn of_transaction(db: impl PgExecutor<'_>, id: Uuid, kind: &str) -> sqlx::Result<Vec<Known>> {
    known!("where transaction_id = $1 and kind = $2 order by first_seen_at, id", id, kind).fetch_all(db).await
}

/// What is written stands unless somebody wrote something newer meanwhile.
pub(super) async fn upsert(db: impl PgExecutor<'_>, row: &Row<'_>, now: DateTime) -> sqlx::Result<()> {
    let upsert = sqlx::query!(
        "insert into provider_objects as o (id, kind, transaction_id, related_id, status, amount_minor, fee_minor, currency,
                                            is_outgoing, created_on, updated_on, first_seen_at, last_seen_at, changed_at, status_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $12, $12)
         on conflict (id) do update
            set kind = case when o.kind = 'payment' then excluded.kind else o.kind end,
                transaction_id = coalesce(excluded.transaction_id, o.transaction_id), status = excluded.status,
                amount_minor = excluded.amount_minor, fee_minor = excluded.fee_minor, currency = excluded.currency,
                is_outgoing = excluded.is_outgoing, created_on = coalesce(o.created_on, excluded.created_on),
                updated_on = coalesce(excluded.updated_on, o.updated_on),
                last_seen_at = excluded.last_seen_at,
                changed_at = excluded.changed_at,
                status_at = case when o.status = excluded.status then o.status_at else excluded.status_at end
          where o.updated_on is null or excluded.updated_on is null or excluded.updated_on >= o.updated_on",
        row.id,
        row.kind,
        row.transaction_id,
        row.related_id,
        row.status,
        row.amount_minor,
        row.fee_minor,
        row.currency,
        row.is_outgoing,
        row.created_on,
        row.updated_on,
        now
    );
    upsert.execute(db).await.map(drop)
}

/// An object that is not known yet is `announced` until Revio is asked.
pub(super) async fn announce(
    db: impl PgExecutor<'_>,
    kind: &str,
    id: Uuid,
    updated_on: i64,
    now: DateTime,
) -> sqlx::Result<()> {
    let announced = sqlx::query!(
        "insert into provider_objects as o (id, kind, status, announced_on, first_seen_at, last_seen_at, changed_at, status_at)
         values ($1, $2, 'announced', $3, $4, $4, $4, $4)
         on conflict (id) do update set announced_on = excluded.announced_on, last_seen_at = excluded.last_seen_at
          where o.announced_on is null or o.announced_on < excluded.announced_on",
        id,
        kind,
        updated_on,
        now
    );
    announced.execute(db).await.map(drop)
}

pub(super) async fn count_execution(db: impl PgExecutor<'_>, payout: Uuid) -> sqlx::Result<()> {
    let counted = sqlx::query!("update provider_objects set executions = executions + 1 where id = $1", payout);
    counted.execute(db).await.map(drop)
}

pub(super) async fn count_refusal(db: impl PgExecutor<'_>, payout: Uuid) -> sqlx::Result<()> {
    let counted = sqlx::query!("update provider_objects set refusals = refusals + 1 where id = $1", payout);
    counted.execute(db).await.map(drop)
}
