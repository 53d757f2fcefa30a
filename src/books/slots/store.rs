//! SQL of the slots.

use sqlx::{PgConnection, PgExecutor};

use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::DateTime;

/// Where the next stretch begins: an hour before the end of what is counted, or with that end's day when it is over, or with the first
/// row. `None` while another process is at it.
pub(super) async fn begin(db: impl PgExecutor<'_>, now: DateTime) -> sqlx::Result<Option<DateTime>> {
    let begin = sqlx::query_scalar!(
        r#"select date_bin('15 minutes', least($2::timestamptz - interval '1 hour', case
                      when s.slots_until = 'epoch' then least(t.first, w.first)
                      when reporting.day(s.slots_until) < reporting.day($2)
                      then reporting.day(s.slots_until)::timestamp at time zone s.time_zone
                      else s.slots_until - interval '1 hour' end), 'epoch') as "begin!"
             from reporting_settings s
             left join lateral (select created_at as first from transactions order by id limit 1) t on true
             left join lateral (select received_at as first from webhook_logs order by id limit 1) w on true
            where pg_try_advisory_xact_lock($1)"#,
        AdvisoryLock::Slots.number(),
        now
    );
    begin.fetch_optional(db).await
}

/// Every row that was created before the end and changed since the beginning, by each state that it came into in between. One that is an end
/// counts while the row is in it: each older slot which had one that a row has left in between is counted anew, too.
pub(super) async fn count_transactions(db: &mut PgConnection, from: DateTime, until: DateTime) -> sqlx::Result<()> {
    let parts = sqlx::query!(
        r#"select $1::timestamptz as "from!", $2::timestamptz as "until!"
           union
           select s.slot, s.slot + interval '15 minutes' from (
               select date_bin('15 minutes', m.at, 'epoch') as slot from transactions t
                cross join lateral unnest(string_to_array(t.states, ' '), array[t.created_at] || t.moved_at, t.moved_at) m (state, at, left_at)
                where t.updated_at >= $1 and t.created_at < $2 and m.at < $1 and m.left_at >= $1 and m.left_at < $2
                  and m.state in ('completed', 'failed', 'expired', 'cancelled', 'rejected')) s"#,
        from,
        until
    );
    // One by one: joined with all of them, the table would be read whole.
    for part in parts.fetch_all(&mut *db).await? {
        let gone = sqlx::query!("delete from transaction_slots where slot >= $1 and slot < $2", part.from, part.until);
        gone.execute(&mut *db).await?;
        let counted = sqlx::query!(
            "insert into transaction_slots (slot, kind, currency, state, reason, count, amount_minor, p50_seconds, p95_seconds, p99_seconds)
             select r.slot, r.kind, r.currency, r.state, r.reason, r.count, r.amount_minor, r.p[1], r.p[2], r.p[3] from (
                 select date_bin('15 minutes', m.at, 'epoch') as slot, t.kind, t.currency, m.state,
                        reporting.reason_class(m.state, t.failure_reason) as reason, count(*), sum(t.amount_minor) as amount_minor,
                        percentile_disc(array[0.5, 0.95, 0.99]) within group (order by extract(epoch from m.at - t.created_at)::float8) as p
                   from transactions t
                  cross join lateral unnest(string_to_array(t.states, ' '), array[t.created_at] || t.moved_at, t.moved_at) m (state, at, left_at)
                  where t.updated_at >= $1 and t.created_at < $2 and m.at >= $1 and m.at < $2
                    and (m.left_at is null or m.state not in ('completed', 'failed', 'expired', 'cancelled', 'rejected'))
                  group by 1, 2, 3, 4, 5) r",
            part.from,
            part.until
        );
        counted.execute(&mut *db).await?;
    }
    Ok(())
}

/// Also older ones that had not ended when they were counted.
pub(super) async fn count_webhooks(db: &mut PgConnection, from: DateTime, until: DateTime) -> sqlx::Result<()> {
    let from = sqlx::query_scalar!(
        r#"select least($1, (select min(slot) from webhook_slots
                              where state = 'pending' and slot >= $1::timestamptz - interval '3 days')) as "from!""#,
        from
    );
    let from = from.fetch_one(&mut *db).await?;
    sqlx::query!("delete from webhook_slots where slot >= $1 and slot < $2", from, until).execute(&mut *db).await?;
    let counted = sqlx::query!(
        "insert into webhook_slots (slot, event_kind, verdict, state, count, p95_seconds)
         select date_bin('15 minutes', received_at, 'epoch'), reporting.event_kind(event_type, verdict), verdict, state, count(*),
                percentile_disc(0.95) within group (order by extract(epoch from finished_at - received_at)::float8)
           from webhook_logs where received_at >= $1 and received_at < $2 group by 1, 2, 3, 4",
        from,
        until
    );
    counted.execute(&mut *db).await.map(drop)
}

pub(super) async fn set_counted_until(db: impl PgExecutor<'_>, until: DateTime) -> sqlx::Result<()> {
    sqlx::query!("update reporting_settings set slots_until = $1", until).execute(db).await.map(drop)
}

/// Once whoever counts at this moment is through: what it counted is forgotten, too.
pub(super) async fn forget(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_xact_lock($1)", AdvisoryLock::Slots.number()).execute(&mut *db).await?;
    let forgotten = sqlx::query!(
        "with slots as (delete from transaction_slots), calls as (delete from webhook_slots)
         update reporting_settings set slots_until = 'epoch'"
    );
    forgotten.execute(db).await.map(drop)
}
