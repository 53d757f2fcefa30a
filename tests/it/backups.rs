//! PostgreSQL put back to an earlier moment, as a backup or a failover that lost commits does it, while the ledger and Revio go on.

use sqlx::{AssertSqlSafe, PgPool};

/// Every table as it is now.
pub(crate) async fn take(db: &PgPool) {
    run(db, "drop schema if exists backup cascade; create schema backup").await;
    for (table, _) in tables(db).await {
        run(db, &format!("create table backup.{table} as table public.{table}")).await;
    }
}

/// Every table as it was when it was last taken.
pub(crate) async fn restore(db: &PgPool) {
    let mut sql = "begin; set local session_replication_role = replica;".to_owned();
    let tables = tables(db).await;
    let all: Vec<String> = tables.iter().map(|(table, _)| format!("public.{table}")).collect();
    sql += &format!("truncate {} cascade;", all.join(", "));
    for (table, columns) in tables {
        sql += &format!("insert into public.{table} ({columns}) select {columns} from backup.{table};");
    }
    run(db, &(sql + "commit")).await;
}

async fn run(db: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.expect("PostgreSQL does it");
}

/// Each with the columns that can be written.
async fn tables(db: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as(
        "select c.table_name::text, string_agg(quote_ident(c.column_name::text), ', ')
           from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
          where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER'
            and c.is_identity = 'NO' and c.table_name <> '_sqlx_migrations' group by 1 order by 1",
    )
    .fetch_all(db)
    .await
    .expect("PostgreSQL answers")
}
