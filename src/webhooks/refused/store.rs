//! SQL of `refused_deliveries`, and of what `webhook_logs` keeps of them.

use sqlx::PgExecutor;

use crate::platform::clock::DateTime;
use crate::platform::tally::Counts;

/// In the order of their keys, so that two processes never wait for each other in a circle.
pub(super) async fn add(db: impl PgExecutor<'_>, counts: &Counts) -> sqlx::Result<()> {
    let hours: Vec<DateTime> = counts.keys().map(|(hour, _)| *hour).collect();
    let networks: Vec<String> = counts.keys().map(|(_, network)| network.clone()).collect();
    let calls: Vec<i64> = counts.values().copied().collect();
    let query = sqlx::query!(
        "insert into refused_deliveries as r (hour, network, calls)
         select * from unnest($1::timestamptz[], $2::text[], $3::bigint[])
         on conflict (hour, network) do update set calls = r.calls + excluded.calls",
        &hours,
        &networks,
        &calls
    );
    query.execute(db).await.map(drop)
}

pub(super) async fn prune_counts(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "delete from refused_deliveries where (hour, network) in
             (select hour, network from refused_deliveries where hour < $1 order by hour, network limit $2)",
        before,
        limit
    );
    Ok(done.execute(db).await?.rows_affected())
}

pub(super) async fn prune_kept(db: impl PgExecutor<'_>, before: DateTime, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "delete from webhook_logs where id in
             (select id from webhook_logs where verdict = 'bad_signature' and received_at < $1 order by received_at limit $2)",
        before,
        limit
    );
    Ok(done.execute(db).await?.rows_affected())
}
