//! What an answer costs the parts: commits and WAL by PostgreSQL's own count, calls of the ledger and of Revio by the service's metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use octoco::app::App;
use octoco::platform::error::BoxError;

use super::client::{Client, Request};

/// Counters as they stand.
pub(crate) struct Costs(BTreeMap<&'static str, f64>);

/// By what they are called in a result; the time is in milliseconds there.
const METRICS: [(&str, &str); 3] = [
    ("ledger_calls", "octoco_ledger_call_seconds_count"),
    ("revio_calls", "octoco_revio_call_seconds_count"),
    ("revio_ms", "octoco_revio_call_seconds_sum"),
];

impl Costs {
    pub(crate) async fn now(app: &App, operations: &[SocketAddr]) -> Result<Self, BoxError> {
        let (commits, wal): (f64, f64) = sqlx::query_as(
            "select xact_commit::float8, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8
               from pg_stat_database where datname = current_database()",
        )
        .fetch_one(&app.db)
        .await?;
        let mut counters = BTreeMap::from([("commits", commits), ("wal_bytes", wal)]);
        for address in operations {
            let request = Request { method: "GET", path: "/metrics", token: "", headers: "", body: "" };
            let mut client = Client::connect(*address).await?;
            let metrics = String::from_utf8_lossy(client.ask(&request.bytes()).await?.body).into_owned();
            for (name, metric) in METRICS {
                let lines = metrics.lines().filter(|line| line.starts_with(metric));
                let sum: f64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
                *counters.entry(name).or_default() += if name == "revio_ms" { 1000.0 * sum } else { sum };
            }
        }
        Ok(Self(counters))
    }

    /// Of each of `calls`, since `before`.
    pub(crate) fn each(&self, before: &Self, calls: u64) -> BTreeMap<&'static str, f64> {
        let since = |name| self.0[name] - before.0.get(name).copied().unwrap_or(0.0);
        let each = |name| (since(name) / calls.max(1) as f64 * 1000.0).round() / 1000.0;
        self.0.keys().map(|name| (*name, each(name))).collect()
    }
}
