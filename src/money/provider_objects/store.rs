//! SQL of `provider_objects`.

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::ObjectKind;
use crate::platform::clock::DateTime;

/// What Revio says of an object, to be recorded.
pub(super) struct Snapshot {
    pub(super) id: Uuid,
    pub(super) kind: ObjectKind,
    pub(super) transaction_id: Option<Uuid>,
    pub(super) related_id: Option<Uuid>,
    pub(super) status: String,
    /// Of a payout: whether Revio called it paid, now or before.
    pub(super) was_paid: bool,
    pub(super) amount_minor: Option<i64>,
    pub(super) fee_minor: Option<i64>,
    pub(super) currency: Option<String>,
    pub(super) is_outgoing: Option<bool>,
    pub(super) created_on: Option<i64>,
    pub(super) updated_on: Option<i64>,
    pub(super) now: DateTime,
}

/// What an event says of when an object changed.
pub(super) struct Announcement {
    pub(super) id: Uuid,
    pub(super) kind: ObjectKind,
    pub(super) updated_on: i64,
    pub(super) now: DateTime,
}

/// What we know of an object.
#[derive(Debug, Clone)]
pub struct Known {
    pub id: Uuid,
    pub kind: ObjectKind,
    pub transaction_id: Option<Uuid>,
    pub related_id: Option<Uuid>,
    pub status: String,
    pub amount_minor: Option<i64>,
    pub fee_minor: Option<i64>,
    pub currency: Option<String>,
    pub is_outgoing: Option<bool>,
    pub created_on: Option<i64>,
    pub updated_on: Option<i64>,
    pub announced_on: Option<i64>,
    pub changed_at: DateTime,
    pub status_at: DateTime,
    /// Since when Revio's answers lag behind it: those about itself, of a Payment those about its purchase. Null once one does not.
    pub stale_since: Option<DateTime>,
    /// Payouts: how often it was to be executed, and how often that did not happen, for certain.
    pub executions: i32,
    /// Of those, how many certainly did not happen: refused in words, begun too late, or never sent.
    pub refusals: i32,
    /// Payouts: when Revio first told us that it was paid, whatever it says since.
    pub paid_at: Option<DateTime>,
}

impl Known {
    /// Of a payout: it was to be executed, and each time that certainly did not happen.
    pub fn is_refused(&self) -> bool {
        self.executions > 0 && self.executions == self.refusals
    }

    /// Of a payout: one of its executions may still have its effect.
    pub fn is_unanswered(&self) -> bool {
        self.executions > self.refusals
    }

    /// Of a Payment: it gave nothing back.
    pub fn has_failed(&self) -> bool {
        matches!(self.status.as_str(), "error" | "failed" | "cancelled")
    }
}

impl Snapshot {
    /// Revio has told something newer, or of something newer.
    pub(super) fn is_older_than(&self, known: &Known) -> bool {
        let newest = known.updated_on.max(known.announced_on);
        self.updated_on.zip(newest).is_some_and(|(ours, newest)| ours < newest)
    }

    /// Nothing is to be written then.
    pub(super) fn says_the_same(&self, known: &Known) -> bool {
        let is_named_by_now = known.kind == ObjectKind::Payment && self.kind != ObjectKind::Payment;
        !is_named_by_now
            && (self.transaction_id.is_none() || self.transaction_id == known.transaction_id)
            && self.status == known.status
            && (!self.was_paid || known.paid_at.is_some())
            && self.amount_minor == known.amount_minor
            && self.fee_minor == known.fee_minor
            && self.currency == known.currency
            && self.is_outgoing == known.is_outgoing
            && self.updated_on.is_none_or(|updated_on| known.updated_on == Some(updated_on))
    }
}

/// The columns of a [`Known`], once.
macro_rules! known {
    ($after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Known,
            r#"select id, kind as "kind: ObjectKind", transaction_id, related_id, status, amount_minor, fee_minor, currency, is_outgoing,
                      created_on, updated_on, announced_on, changed_at, status_at, stale_since, executions, refusals, paid_at
                 from provider_objects "# + $after
            $(, $argument)*
        )
    };
}

pub(super) async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Known>> {
    known!("where id = $1", id).fetch_optional(db).await
}

pub(super) async fn related_to(db: impl PgExecutor<'_>, purchases: &[Uuid]) -> sqlx::Result<Vec<Known>> {
    known!("where related_id = any($1) order by updated_on, first_seen_at, id", purchases).fetch_all(db).await
}

pub(super) async fn find_all(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Known>> {
    known!("where id = any($1)", ids).fetch_all(db).await
}

/// Those of each row oldest first.
pub(super) async fn payouts_of(db: impl PgExecutor<'_>, rows: &[Uuid]) -> sqlx::Result<Vec<Known>> {
    known!("where transaction_id = any($1) and kind = 'payout' order by first_seen_at, id", rows).fetch_all(db).await
}

pub(super) async fn purchases_of(db: impl PgExecutor<'_>, row: Uuid) -> sqlx::Result<Vec<Known>> {
    known!("where transaction_id = $1 and kind = 'purchase' order by first_seen_at, id", row).fetch_all(db).await
}

/// Since when it is so. What was so hours ago, and was right meanwhile, begins anew.
pub(super) async fn note_stale(db: impl PgExecutor<'_>, id: Uuid, now: DateTime) -> sqlx::Result<DateTime> {
    sqlx::query_scalar!(
        r#"update provider_objects
              set stale_since = case when stale_since > $2::timestamptz - interval '3 hours' then stale_since else $2 end
            where id = $1
           returning stale_since as "stale_since!""#,
        id,
        now
    )
    .fetch_one(db)
    .await
}

pub(super) async fn end_stale(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("update provider_objects set stale_since = null where id = any($1)", ids).execute(db).await.map(drop)
}

/// Since when Revio does not say of one of the row's payouts whether it is paid, from `asked_since` on; `None` where none is known here.
pub(super) async fn note_unsaid(
    db: impl PgExecutor<'_>,
    row: Uuid,
    (asked_since, now): (DateTime, DateTime),
) -> sqlx::Result<Option<DateTime>> {
    let since = sqlx::query_scalar!(
        r#"update provider_objects set unsaid_since = case when unsaid_since >= $2 then unsaid_since else $3 end
            where transaction_id = $1 and kind = 'payout'
           returning unsaid_since as "unsaid_since!""#,
        row,
        asked_since,
        now
    );
    Ok(since.fetch_all(db).await?.into_iter().min())
}

pub(super) async fn end_unsaid(db: impl PgExecutor<'_>, row: Uuid) -> sqlx::Result<()> {
    let end = sqlx::query!("update provider_objects set unsaid_since = null where transaction_id = $1", row);
    end.execute(db).await.map(drop)
}

pub(super) async fn note_paid(db: impl PgExecutor<'_>, payouts: &[Uuid], now: DateTime) -> sqlx::Result<()> {
    let noted =
        sqlx::query!("update provider_objects set paid_at = $2 where id = any($1) and paid_at is null", payouts, now);
    noted.execute(db).await.map(drop)
}

/// What is written stands unless somebody wrote something newer meanwhile. Each object once.
pub(super) async fn upsert(db: impl PgExecutor<'_>, snapshots: &[&Snapshot]) -> sqlx::Result<()> {
    let numbers =
        |of: fn(&Snapshot) -> Option<i64>| snapshots.iter().map(|snapshot| of(snapshot)).collect::<Vec<Option<i64>>>();
    let ids = |of: fn(&Snapshot) -> Option<Uuid>| {
        snapshots.iter().map(|snapshot| of(snapshot)).collect::<Vec<Option<Uuid>>>()
    };
    let upsert = sqlx::query!(
        "insert into provider_objects as o (id, kind, transaction_id, related_id, status, amount_minor, fee_minor, currency,
                                            is_outgoing, created_on, updated_on, first_seen_at, paid_at, last_seen_at, changed_at, status_at)
         select n.*, n.now, n.now, n.now
           from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::bigint[], $8::text[],
                       $9::boolean[], $10::bigint[], $11::bigint[], $12::timestamptz[], $13::timestamptz[])
                as n (id, kind, transaction_id, related_id, status, amount_minor, fee_minor, currency, is_outgoing, created_on,
                      updated_on, now, paid_at)
          where (select unawaited())
         on conflict (id) do update
            set kind = case when o.kind = 'payment' then excluded.kind else o.kind end,
                -- A payout is one row's, whoever is answered with it.
                transaction_id = case when o.kind = 'payout' then coalesce(o.transaction_id, excluded.transaction_id)
                                      else coalesce(excluded.transaction_id, o.transaction_id) end,
                status = excluded.status,
                amount_minor = excluded.amount_minor, fee_minor = excluded.fee_minor, currency = excluded.currency,
                is_outgoing = excluded.is_outgoing, created_on = coalesce(o.created_on, excluded.created_on),
                updated_on = coalesce(excluded.updated_on, o.updated_on),
                last_seen_at = excluded.last_seen_at,
                -- Of a Payment the answers of its purchase are old, whatever is told of itself.
                stale_since = case when o.kind not in ('purchase', 'payout') then o.stale_since end,
                -- A process of an earlier release may have written that it was paid.
                paid_at = coalesce(o.paid_at, excluded.paid_at,
                                   case when o.kind = 'payout' and o.status = 'success' then o.status_at end),
                changed_at = excluded.changed_at,
                status_at = case when o.status = excluded.status then o.status_at else excluded.status_at end
          where o.updated_on is null or excluded.updated_on is null or excluded.updated_on >= o.updated_on",
        &ids(|snapshot| Some(snapshot.id)) as _,
        &snapshots.iter().map(|snapshot| snapshot.kind.name().to_owned()).collect::<Vec<String>>(),
        &ids(|snapshot| snapshot.transaction_id) as _,
        &ids(|snapshot| snapshot.related_id) as _,
        &snapshots.iter().map(|snapshot| snapshot.status.clone()).collect::<Vec<String>>(),
        &numbers(|snapshot| snapshot.amount_minor) as _,
        &numbers(|snapshot| snapshot.fee_minor) as _,
        &snapshots.iter().map(|snapshot| snapshot.currency.clone()).collect::<Vec<Option<String>>>() as _,
        &snapshots.iter().map(|snapshot| snapshot.is_outgoing).collect::<Vec<Option<bool>>>() as _,
        &numbers(|snapshot| snapshot.created_on) as _,
        &numbers(|snapshot| snapshot.updated_on) as _,
        &snapshots.iter().map(|snapshot| snapshot.now).collect::<Vec<DateTime>>(),
        &snapshots.iter().map(|snapshot| snapshot.was_paid.then_some(snapshot.now)).collect::<Vec<Option<DateTime>>>() as _
    );
    upsert.execute(db).await.map(drop)
}

/// An object that is not known yet is `announced` until Revio is asked. Of one that is named more than once the newest counts.
pub(super) async fn announce(db: impl PgExecutor<'_>, announcements: &[Announcement]) -> sqlx::Result<()> {
    let announced = sqlx::query!(
        "insert into provider_objects as o (id, kind, status, announced_on, first_seen_at, last_seen_at, changed_at, status_at)
         select distinct on (id) id, kind, 'announced', told, now, now, now, now
           from unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[]) as n (id, kind, told, now)
          where (select unawaited())
          order by id, told desc
         on conflict (id) do update set announced_on = excluded.announced_on, last_seen_at = excluded.last_seen_at
          where o.announced_on is null or o.announced_on < excluded.announced_on",
        &announcements.iter().map(|object| object.id).collect::<Vec<Uuid>>(),
        &announcements.iter().map(|object| object.kind.name().to_owned()).collect::<Vec<String>>(),
        &announcements.iter().map(|object| object.updated_on).collect::<Vec<i64>>(),
        &announcements.iter().map(|object| object.now).collect::<Vec<DateTime>>()
    );
    announced.execute(db).await.map(drop)
}

/// Payouts are about to be executed, in the SQL transaction that says so of their rows.
pub async fn count_executions(db: impl PgExecutor<'_>, payouts: &[Uuid]) -> sqlx::Result<()> {
    let counted = sqlx::query!("update provider_objects set executions = executions + 1 where id = any($1)", payouts);
    counted.execute(db).await.map(drop)
}

pub(super) async fn count_not_executed(db: impl PgExecutor<'_>, payout: Uuid) -> sqlx::Result<()> {
    let counted = sqlx::query!("update provider_objects set refusals = refusals + 1 where id = $1", payout);
    counted.execute(db).await.map(drop)
}

/// A payout that a restored row takes up again may have been executed more than once, and nobody knows any more whether that was answered.
pub async fn note_forgotten_executions(db: impl PgExecutor<'_>, payout: Uuid) -> sqlx::Result<()> {
    let noted = sqlx::query!(
        "update provider_objects set executions = greatest(executions, refusals + 2) where id = $1",
        payout
    );
    noted.execute(db).await.map(drop)
}

/// Until the SQL transaction ends, nobody else begins to book what these Payments say: neither the item that they give back, nor a journal
/// that names one. Of one after the other, so that two who want several do not wait for each other.
pub async fn lock_payments(tx: &mut PgConnection, payments: &[Uuid]) -> sqlx::Result<()> {
    let locked = sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('payment ' || id, 0)) from unnest($1::uuid[]) as id order by id",
        payments
    );
    locked.execute(tx).await.map(drop)
}

/// Whether a journal that moves Revio's account for money of a payer's names this Payment.
pub async fn is_named(db: impl PgExecutor<'_>, payment: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from journals
                           where evidence_reference = $1 and state in ('initiated', 'completed')
                             and (kind in ('suspense_in', 'suspense_return') and account = 'provider_balance'
                                  or kind = 'chargeback_loss')) as "is!""#,
        payment.to_string()
    )
    .fetch_one(db)
    .await
}
