//! What a session of PostgreSQL is asked before it is lent, and set to. Called by the pool.

use std::io;

use sqlx::PgConnection;

/// One plan for any values, by indexes: a plan that was made while a table was young would read all of it for each row, for ever. No bitmap
/// scan: it reads the dead tuples of a busy queue again each time and, unlike an index scan, never marks them dead in the index.
pub(super) const PLANNED_ONCE: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// After a failover a name may lead to a standby for a while. It lives and answers, so its connection would be lent for as long as it lives, and
/// fail each write.
pub(super) async fn require_primary(db: &mut PgConnection) -> sqlx::Result<()> {
    let is_standby: bool = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(db).await?;
    if is_standby { Err(sqlx::Error::Io(io::Error::other("this PostgreSQL is a standby"))) } else { Ok(()) }
}
