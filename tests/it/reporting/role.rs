//! The role of dashboards reads the schema `reporting` and nothing else, whatever is sent as it; and nobody's data is in that schema.

use octoco::processes::schema;
use secrecy::SecretString;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{VIEWS, every_flow};
use crate::harness::TestApp;
use octoco::books::{projector, slots};

/// A role for one test, since roles are the whole server's.
struct Reader(String);

impl Reader {
    async fn admitted(t: &TestApp, db: &PgPool) -> (Self, PgPool) {
        let role = Self(format!("grafana_{}", Uuid::now_v7().simple()));
        let password = SecretString::from("local-password-1");
        schema::admit_reader(&t.app, &role.0, Some(&password)).await.expect("made");
        // Again, as with each migration: another password, or none.
        schema::admit_reader(&t.app, &role.0, Some(&password)).await.expect("it is there");
        schema::admit_reader(&t.app, &role.0, None).await.expect("it is there");
        let options = db.connect_options().as_ref().clone().username(&role.0).password("local-password-1");
        let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await.expect("the role signs in");
        (role, pool)
    }

    async fn drop_it(&self, db: &PgPool) {
        let sql = format!("drop owned by {0}; drop role {0}", self.0);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.expect("the test's user may do it");
    }
}

async fn refusal(db: &PgPool, sql: &str) -> String {
    let mut connection = db.acquire().await.expect("a connection");
    sqlx::raw_sql("rollback; set default_transaction_read_only = off; set statement_timeout = 0")
        .execute(&mut *connection)
        .await
        .expect("its own to set");
    match sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *connection).await {
        Ok(_) => "done".to_owned(),
        Err(error) => error
            .as_database_error()
            .and_then(|error| error.code())
            .map_or_else(|| error.to_string(), |code| code.into_owned()),
    }
}

#[sqlx::test]
async fn the_role_reads_every_view_and_nothing_else_and_changes_nothing(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (role, reader) = Reader::admitted(&t, &db).await;
    let there: Vec<String> = sqlx::query_scalar("select c.relname::text from pg_class c where c.relnamespace = 'reporting'::regnamespace and relkind in ('r', 'v') order by 1")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    let mut known: Vec<&str> = VIEWS.iter().copied().chain(["reasons"]).collect();
    known.sort_unstable();
    assert_eq!(there, known);
    for view in &there {
        let sql = format!("select * from {view} limit 500");
        sqlx::query(AssertSqlSafe(sql.clone()))
            .fetch_all(&reader)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let others: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname not in ('reporting', 'pg_catalog', 'information_schema', 'pg_toast') and c.relkind in ('r', 'v', 'm', 'f', 'p', 'S')",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert!(others.len() > 40, "{others:?}");
    for other in others {
        assert_eq!(refusal(&reader, &format!("select from {other}")).await, "42501", "{other}");
    }
    let calls: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I(%s)', n.nspname, p.proname,
                       (select coalesce(string_agg(format('null::%I.%I', s.nspname, t.typname), ', '), '')
                          from unnest(p.proargtypes) a join pg_type t on t.oid = a join pg_namespace s on s.oid = t.typnamespace))
           from pg_proc p join pg_namespace n on n.oid = p.pronamespace
          where n.nspname not in ('reporting', 'pg_catalog', 'information_schema') and p.prokind = 'f'",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert!(calls.iter().any(|call| call.contains("grant_to_service")), "{calls:?}");
    for call in calls {
        assert_eq!(refusal(&reader, &format!("select {call}")).await, "42501", "{call}");
    }
    for statement in [
        "insert into reporting.currencies values ('XXX', 0)",
        "update reporting.accounts set title = 'x'",
        "delete from reporting.reasons",
        "truncate reporting.accounts",
        "update reporting.webhooks set state = 'x'",
        "create table reporting.mine (id int)",
        "create view reporting.mine as select 1",
        "create or replace function reporting.day(at timestamptz) returns date language sql as 'select null::date'",
        "create table public.mine (id int)",
        "create schema mine",
        "create temporary table mine (id int)",
        "create extension dblink",
        "select pg_read_file('/etc/passwd')",
        "select pg_ls_dir('.')",
        "copy (select 1) to program 'true'",
        "copy (select 1) to '/tmp/mine'",
        "select lo_create(0)",
        "select lo_creat(0)",
        "select lo_from_bytea(0, 'x')",
        "select lo_import('/etc/passwd')",
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock(1)",
        "select pg_advisory_xact_lock_shared(1)",
        "select pg_reload_conf()",
        "set session_replication_role = replica",
        "set role pg_read_all_data",
        "alter role current_user superuser",
        "alter role current_user connection limit 1000",
        "create role mine",
    ] {
        assert_eq!(refusal(&reader, statement).await, "42501", "{statement}");
    }
    let (limit, settings): (i32, Vec<String>) = sqlx::query_as("select r.rolconnlimit, s.setconfig from pg_roles r join pg_db_role_setting s on s.setrole = r.oid where r.rolname = $1")
        .bind(&role.0)
        .fetch_one(&t.app.db)
        .await
        .expect("the role");
    assert_eq!(limit, 10);
    for setting in ["default_transaction_read_only=on", "statement_timeout=5s", "search_path=reporting"] {
        assert!(settings.iter().any(|set| set == setting), "{setting} is not in {settings:?}");
    }
    let verifier: String = sqlx::query_scalar("select rolpassword from pg_authid where rolname = $1")
        .bind(&role.0)
        .fetch_one(&t.app.db)
        .await
        .expect("it has one");
    assert!(verifier.starts_with("SCRAM-SHA-256$4096:"), "{verifier}");
    // What everybody else needs is theirs still.
    every_flow(&t).await;
    reader.close().await;
    role.drop_it(&db).await;
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_role_that_may_read_more_is_not_let_in(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (role, reader) = Reader::admitted(&t, &db).await;
    reader.close().await;
    for more in ["grant usage on schema public to {}; grant select on users to {}", "grant pg_read_all_data to {}"] {
        let sql = more.replace("{}", &role.0);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&t.app.db).await.expect("the test's user may do it");
        let refused = schema::admit_reader(&t.app, &role.0, None).await.expect_err("more than the schema");
        assert!(refused.to_string().contains("may more than read the schema reporting"), "{refused}");
        let back = format!("revoke usage on schema public from {0}; revoke select on users from {0}", role.0);
        sqlx::raw_sql(AssertSqlSafe(back)).execute(&t.app.db).await.expect("the test's user may do it");
    }
    role.drop_it(&db).await;
}

/// Words that only our own code writes: they stand for something, nobody wrote them.
const WORDS_OF_OURS: [&str; 7] = ["currency", "kind", "legs", "state", "time_zone", "held_code", "field"];
/// What must be planted at the least for the test to mean anything.
const PERSONAL: [&str; 21] = [
    "adjustments.reason", "approvals.note", "bank_accounts.bank_name", "breaks.observed", "journals.arrival_reference",
    "journals.evidence_reference", "journals.failure_reason", "journals.held_reason", "journals.reason",
    "provider_objects.status", "sessions.address", "sessions.user_agent", "statement_lines.reference",
    "transactions.checkout_url", "transactions.description", "transactions.dismissed_reason",
    "transactions.failure_reason", "transactions.held_reason", "users.full_name", "webhook_logs.last_error",
    "webhook_logs.source_address",
];

#[sqlx::test]
async fn nothing_that_people_or_payers_write_is_in_any_view(db: PgPool) {
    let t = TestApp::new(db).await;
    every_flow(&t).await;
    projector::catch_up(&t.app).await.expect("copied");
    sqlx::raw_sql(include_str!("items.sql")).execute(&t.app.db).await.expect("PostgreSQL takes them");
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "select c.table_name::text, c.column_name::text, c.data_type::text
           from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
          where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER' and c.table_name <> '_sqlx_migrations'
            and c.data_type in ('text', 'jsonb', 'bytea', 'ARRAY') order by 1, 2",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    let mut planted = Vec::new();
    for (table, column, kind) in columns.iter().filter(|column| !WORDS_OF_OURS.contains(&column.1.as_str())) {
        let text = "'planted-' || md5(random()::text)";
        let marker = match kind.as_str() {
            "jsonb" => format!("jsonb_build_object({text}, {text})"),
            "bytea" => format!("convert_to({text}, 'UTF8')"),
            "ARRAY" => format!("array[{text}]"),
            _ => text.to_owned(),
        };
        // What has a closed set of values or a rule of its own refuses it.
        for rows in ["true".to_owned(), format!("\"{column}\" is not null")] {
            let sql = format!("update \"{table}\" set \"{column}\" = {marker} where {rows}");
            if sqlx::query(AssertSqlSafe(sql)).execute(&t.app.db).await.is_ok_and(|done| done.rows_affected() > 0) {
                planted.push(format!("{table}.{column}"));
                break;
            }
        }
    }
    while slots::step(&t.app).await.expect("counted") {}
    for column in PERSONAL {
        assert!(planted.iter().any(|it| it == column), "{column} was not planted: {planted:?}");
    }
    for view in VIEWS {
        let sql = format!(
            "select count(*), count(*) filter (where v::text like '%planted-%'), coalesce(string_agg(v::text, ' '), '') from reporting.{view} v"
        );
        let (rows, with, text): (i64, i64, String) =
            sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&t.app.db).await.expect("PostgreSQL answers");
        assert!(rows > 0, "{view} is empty");
        assert_eq!(with, 0, "{view}: {text}");
        for word in ["Thandi", "Nkosi", "@example.com", "62001234567", "Mozilla", "127.0.0.1", "http"] {
            assert!(!text.contains(word), "{view} has {word}");
        }
    }
}
