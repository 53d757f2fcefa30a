//! SQL of the provider leg: which rows Revio is to be asked about, and what we know of its objects.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::super::run::Run;
use crate::platform::clock::DateTime;

/// Rows that wait for Revio's word, in the order of their ids. State by state and in that order, so that the index of rows that are not
/// completed is read from its place: in the order of ids alone PostgreSQL would go through every completed row before the first open one.
pub(super) async fn open_after(db: impl PgExecutor<'_>, run: &Run, after: Uuid, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    let ids = sqlx::query_scalar!(
        r#"select open.id
             from unnest(array['awaiting_payment', 'reserved', 'awaiting_approval', 'submitting', 'submitted']) as wanted (state)
            cross join lateral (
                  select t.id from transactions t
                   where (t.state, t.id) > (wanted.state, $1) and t.state <= wanted.state and t.state <> 'completed'
                     and t.updated_at <= $2
                     -- Of a withdrawal payouts that its row let go of count, too.
                     and (t.provider_id is not null or t.kind = 'withdrawal'
                          and exists (select from provider_objects o where o.transaction_id = t.id and o.kind = 'payout'))
                   order by t.state, t.id limit $3) as open
            order by open.id limit $3"#,
        after,
        run.until,
        limit
    );
    ids.fetch_all(db).await
}

/// Deposits and withdrawals that have ended, in the order of their ids, as far as a clause says; of a withdrawal payouts that its row let go of
/// count, too.
macro_rules! ended {
    ($clause:literal, ($after:expr, $oldest:expr), $limit:expr, $($time:expr),+) => {
        sqlx::query_scalar!(
            "select t.id from transactions t
              where t.id > $1 and t.id > $2 and t.kind in ('deposit', 'withdrawal')
                and (t.provider_id is not null or t.kind = 'withdrawal'
                     and exists (select from provider_objects o where o.transaction_id = t.id and o.kind = 'payout'))
                and t.state in ('completed', 'failed', 'expired', 'cancelled') and " + $clause + "
              order by t.id limit $3",
            $after,
            $oldest,
            $limit,
            $($time),+
        )
    };
}

/// Those that have just ended.
pub(super) async fn ended_after(
    db: impl PgExecutor<'_>,
    (since, until): (DateTime, DateTime),
    (after, oldest): (Uuid, Uuid),
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    ended!("t.updated_at >= $4 and t.updated_at <= $5", (after, oldest), limit, since, until).fetch_all(db).await
}

/// All that ended before, of which Revio may still say something else.
pub(super) async fn later_after(
    db: impl PgExecutor<'_>,
    since: DateTime,
    (after, oldest): (Uuid, Uuid),
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    ended!("t.updated_at < $4", (after, oldest), limit, since).fetch_all(db).await
}

/// Objects that were paid for one row: more than one, and none of them has a row of its own.
pub(super) struct Duplicate {
    pub(super) transaction_id: Uuid,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) version: i32,
    pub(super) objects: Vec<Uuid>,
    /// `None` where Revio does not say it of each.
    pub(super) paid_minor: Option<i64>,
}

/// The first of them in the order of their rows, behind an id; of one row, where it is named.
pub(super) async fn duplicates(
    db: impl PgExecutor<'_>,
    (of, after): (Option<Uuid>, Uuid),
    limit: i64,
) -> sqlx::Result<Vec<Duplicate>> {
    let found = sqlx::query_as!(
        Duplicate,
        r#"select r.id as transaction_id, r.currency, r.amount_minor, r.version, paid.objects as "objects!",
                  paid.minor as paid_minor
             from (select o.transaction_id, array_agg(o.id order by o.id) as objects,
                          case when bool_and(o.amount_minor is not null) then sum(o.amount_minor)::bigint end as minor
                     from provider_objects o
                    where o.transaction_id > $3 and ($1::uuid is null or o.transaction_id = $1)
                      and (o.kind = 'purchase' and o.status in
                              ('paid', 'cleared', 'settled', 'retrieved', 'pending_refund', 'refunded', 'chargeback', 'charged_back')
                           or o.kind = 'payout' and o.status in ('success', 'executed'))
                      and not exists (select from transactions own
                                       where own.provider_id = o.id and own.id <> o.transaction_id)
                    group by o.transaction_id having count(*) > 1) as paid
             join transactions r on r.id = paid.transaction_id
            order by r.id limit $2"#,
        of,
        limit,
        after
    );
    found.fetch_all(db).await
}
