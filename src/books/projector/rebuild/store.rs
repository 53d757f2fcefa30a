//! SQL of a rebuild: the tables beside the live ones, and the swap. Not checked by macros, for the schema that most of it
//! names is there only during a rebuild; every statement is made of constants, tables are named in full.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::clock::DateTime;

/// The migrations that made the tables and what reads them: what made them once makes them again. Another one that changes them must
/// be run after the first, and until somebody has taught [`create_tables`] that, it refuses.
const MIGRATIONS: [i64; 17] = [4, 12, 17, 24, 29, 30, 32, 35, 36, 43, 47, 51, 52, 53, 56, 58, 59];
const TABLES: [&str; 5] = ["ledger_accounts", "ledger_transfers", "ledger_orphans", "ledger_cursor", "ledger_days"];

const ALL: &str = "row(r.*) is not distinct from row(l.*)";
/// Table, what makes two rows one, and what makes them the same. `ledger_orphans` goes by its key alone: when an orphan was found is not the
/// ledger's to say.
const SWAPS: [(&str, &str, &str); 5] = [
    ("ledger_accounts", "r.id = l.id", ALL),
    ("ledger_transfers", "r.timestamp = l.timestamp", ALL),
    ("ledger_orphans", "r.timestamp = l.timestamp", "true"),
    (
        "ledger_days",
        "(r.currency, r.day, r.code, r.kind, r.debit_code, r.credit_code, r.of_code)
             = (l.currency, l.day, l.code, l.kind, l.debit_code, l.credit_code, l.of_code)",
        ALL,
    ),
    (
        "ledger_cursor",
        "r.currency = l.currency",
        "(r.timestamp, r.accounts_timestamp) = (l.timestamp, l.accounts_timestamp)",
    ),
];

/// Until the connection ends. False when another has it.
pub(super) async fn try_session_lock(db: &mut PgConnection, lock: AdvisoryLock) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "locked!""#, lock.number()).fetch_one(db).await
}

pub(super) async fn session_lock(db: &mut PgConnection, lock: AdvisoryLock) -> sqlx::Result<()> {
    sqlx::query!("select pg_advisory_lock($1)", lock.number()).fetch_one(db).await?;
    Ok(())
}

pub(super) async fn is_missing(db: &mut PgConnection) -> sqlx::Result<bool> {
    let missing = sqlx::query_scalar!(
        r#"select bool_or(to_regclass('public.' || name) is null) as "missing!"
             from unnest(array['ledger_accounts', 'ledger_transfers', 'ledger_orphans', 'ledger_cursor', 'ledger_days']) as t (name)"#
    );
    missing.fetch_one(db).await
}

/// A migration after the first of [`MIGRATIONS`] that names the tables, or makes a view of what is reported, which goes with them: what [`create_tables`] makes would not be what is expected.
pub(super) fn changed_since() -> Option<i64> {
    let taught = |version: i64| version <= MIGRATIONS[0] || MIGRATIONS.contains(&version);
    let later = crate::MIGRATIONS.iter().filter(|migration| !taught(migration.version));
    let touches = |sql: &str| sql.contains("view reporting.") || TABLES.iter().any(|table| sql.contains(table));
    later
        .map(|migration| (migration.version, migration.sql.as_str()))
        .find(|(_, sql)| touches(sql))
        .map(|(version, _)| version)
}

/// What is left of them goes, and all of them come back empty, at once and while no projector writes.
pub(super) async fn create_tables(db: &mut PgConnection) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    sqlx::query!("select pg_advisory_xact_lock($1)", AdvisoryLock::Projector.number()).fetch_one(&mut *tx).await?;
    sqlx::raw_sql(
        "drop view if exists ledger_orphan_transfers; drop function if exists ledger_time;
         drop schema if exists reporting cascade;
         drop table if exists ledger_accounts, ledger_transfers, ledger_orphans, ledger_cursor, ledger_days cascade",
    )
    .execute(&mut *tx)
    .await?;
    for migration in crate::MIGRATIONS.iter().filter(|migration| MIGRATIONS.contains(&migration.version)) {
        sqlx::raw_sql(migration.sql.clone()).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// Empty tables like the live ones (not in the WAL: they are for the moment), which every statement on this connection means from now on.
/// What an earlier rebuild left is thrown away.
pub(super) async fn create_beside(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "drop schema if exists ledger_rebuild cascade;
         create schema ledger_rebuild;
         create unlogged table ledger_rebuild.ledger_accounts (like public.ledger_accounts including all);
         create unlogged table ledger_rebuild.ledger_transfers (like public.ledger_transfers including all);
         create unlogged table ledger_rebuild.ledger_orphans (like public.ledger_orphans including all);
         create unlogged table ledger_rebuild.ledger_days (like public.ledger_days including all);
         create unlogged table ledger_rebuild.ledger_cursor (like public.ledger_cursor including all);
         set search_path = ledger_rebuild, public",
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Also gives the locks back at once: the server notices the end of a connection when it gets to it.
pub(super) async fn drop_beside(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("drop schema ledger_rebuild cascade; select pg_advisory_unlock_all()").execute(db).await.map(drop)
}

/// Makes the live tables what the rebuilt ones are. Table, rows taken out, rows put in.
pub(super) async fn swap(db: &mut PgConnection, currencies: &[String]) -> sqlx::Result<Vec<(&'static str, u64, u64)>> {
    sqlx::raw_sql("analyze ledger_rebuild.ledger_accounts, ledger_rebuild.ledger_transfers").execute(&mut *db).await?;
    let mut changed = Vec::with_capacity(SWAPS.len());
    for (table, key, same) in SWAPS {
        let delete = format!(
            "delete from public.{table} l where l.currency = any($1)
                and not exists (select from ledger_rebuild.{table} r where {key} and {same})"
        );
        let insert = format!(
            "insert into public.{table} select r.* from ledger_rebuild.{table} r where r.currency = any($1)
                and not exists (select from public.{table} l where {key})"
        );
        let out = sqlx::query(AssertSqlSafe(delete)).bind(currencies).execute(&mut *db).await?.rows_affected();
        let put = sqlx::query(AssertSqlSafe(insert)).bind(currencies).execute(&mut *db).await?.rows_affected();
        changed.push((table, out, put));
    }
    Ok(changed)
}

/// Withdrawals and journals that have ended, and of which the ledger's copy has a reservation that is neither posted nor released, are due; those on
/// hold are a person's, and those in hand or about to be stay so. How many.
pub(super) async fn make_ended_due(db: &mut PgConnection, now: DateTime) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"with reserved as (
               select l.reference as id from public.ledger_transfers l
                where l.kind = 'pending' and not exists (select from public.ledger_transfers r where r.pending_id = l.id)),
           withdrawal as (
               update public.transactions set due_at = $1, attempts = 0
                where id in (select id from reserved) and kind = 'withdrawal' and state in ('completed', 'failed', 'cancelled')
                  and held_reason is null and (due_at is null or due_at > $1::timestamptz + interval '90 seconds')
               returning id),
           journal as (
               update public.journals set due_at = $1, attempts = 0
                where id in (select id from reserved) and ended_at is not null and held_reason is null
                  and (due_at is null or due_at > $1::timestamptz + interval '90 seconds')
               returning id)
           select (select count(*) from withdrawal) + (select count(*) from journal) as "rows!""#,
        now
    )
    .fetch_one(db)
    .await
}
