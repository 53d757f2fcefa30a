//! PostgreSQL put back to an earlier moment, as a backup or a failover that lost commits does it, while the ledger and Revio go on; and
//! that what `pg_dump` writes can be put back at all.

use std::process::Command;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::harness::TestApp;

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

/// Whoever restores has no `search_path`: what a row's rules and columns call must be found without one.
#[sqlx::test]
async fn what_is_dumped_is_put_back_row_by_row(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(50_000).await;
    let described = json!({"amount": 20_000, "currency": "ZAR", "description": "Rent for May"});
    let (token, key) = (t.token(&customer), [("Idempotency-Key", "k1")]);
    let deposit = t.send(Method::POST, "/v1/deposits", Some(&token), &key, Some(described)).await;
    assert_eq!(deposit.status, StatusCode::CREATED);
    t.withdraw(&customer, 30_000, "k2").await;
    t.drive().await;
    let options = db.connect_options();
    let dumped = options.get_database().expect("a database for each test");
    let restored = format!("restored_{}", Uuid::now_v7().simple());
    run(&db, &format!("create database \"{restored}\" template template0")).await;
    let server = format!("-h {} -p {} -U {}", options.get_host(), options.get_port(), options.get_username());
    let there_and_back =
        format!("set -o pipefail; pg_dump {server} '{dumped}' | psql {server} -qX -v ON_ERROR_STOP=1 -d '{restored}'");
    let ended = Command::new("bash").args(["-c", &there_and_back]).output().expect("PostgreSQL's own programs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let copy = PgPool::connect_with(options.as_ref().clone().database(&restored)).await.expect("PostgreSQL answers");
    for (table, _) in tables(&db).await {
        let rows = format!("select coalesce(string_agg(r::text, ' ' order by r::text), '') from {table} r");
        let rows = async |db: &PgPool| -> String {
            sqlx::query_scalar(AssertSqlSafe(rows.clone())).fetch_one(db).await.expect("the table is there")
        };
        assert_eq!(rows(&db).await, rows(&copy).await, "{table}");
    }
    copy.close().await;
    run(&db, &format!("drop database \"{restored}\"")).await;
    t.finish().await;
}
