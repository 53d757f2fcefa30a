//! The service signs in to PostgreSQL as a role that owns nothing: everything works, and what would undo the audit log is refused by
//! PostgreSQL itself.

use std::time::Duration;

use octoco::identity::audit;
use reqwest::StatusCode;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::binary::{self, Serving};
use crate::connections::pause;
use crate::harness::TestApp;

/// A role for one test; [`ServiceRole::drop_it`] takes it away again, since roles are the whole server's.
struct ServiceRole(String);

impl ServiceRole {
    async fn new(db: &PgPool) -> Self {
        let role = Self(format!("octoco_service_{}", Uuid::now_v7().simple()));
        role.run(db, "create role {} login").await;
        role
    }

    async fn run(&self, db: &PgPool, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.replace("{}", &self.0))).execute(db).await.expect("the test's user may do it");
    }

    async fn pool(&self, db: &PgPool) -> PgPool {
        let options = db.connect_options().as_ref().clone().username(&self.0);
        PgPoolOptions::new().max_connections(10).connect_with(options).await.expect("the role signs in")
    }

    async fn drop_it(&self, db: &PgPool) {
        self.run(db, "drop owned by {}; drop role {}").await;
    }
}

#[sqlx::test]
async fn the_service_works_as_a_role_that_owns_nothing_and_postgresql_refuses_it_what_undoes_the_audit_log(db: PgPool) {
    let role = ServiceRole::new(&db).await;
    role.run(&db, "select grant_to_service('{}'); create table made_later (id int)").await;
    let service = role.pool(&db).await;
    let t = TestApp::new(service.clone()).await;
    let customer = t.customer_with(10_000).await;
    let asked = t.withdraw(&customer, 4_000, "w1").await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "completed");
    // It may write that somebody has looked at the log, and whoever is to look looks all the same.
    assert!(!audit::watch(&t.app).await.expect("the parts answer"));
    t.app.metrics.audit.verified_at.set(0);
    let told = "update audit_watch set looked_at = 'infinity', verified_at = 'infinity', broken = null";
    sqlx::query(told).execute(&service).await.expect("it takes turns by that row");
    assert!(!audit::watch(&t.app).await.expect("the parts answer"));
    assert_eq!(t.app.metrics.audit.verified_at.get(), t.app.clock.now().timestamp());
    t.finish().await;
    sqlx::query("insert into made_later values (1)").execute(&service).await.expect("it may use later tables too");
    // It may write rows of any time, and a read of today is no older for one of next month.
    let written = "insert into audit_log (id, at, actor, action, object_kind, object_id, after) values
             ('00000000-0000-0000-0000-000000000001', now(), 'x', 'staff.called', 'permission', 'users.read', '{\"method\": \"GET\"}'),
             (gen_random_uuid(), now() + interval '31 days', 'x', 'test.happened', 'test', '1', null);
         insert into audit_chain select 1000000, '00000000-0000-0000-0000-000000000001'::uuid, hash, hash from audit_chain limit 1";
    sqlx::raw_sql(written).execute(&service).await.expect("it may insert");
    for statement in [
        "select audit_prune(array_agg(entry_id), array_agg(hash)) from audit_chain where position = 1000000",
        "alter table audit_log disable trigger audit_log_append_only",
        "alter table audit_log disable trigger all",
        "alter table audit_chain disable trigger all",
        "alter table audit_head disable trigger all",
        "drop trigger audit_log_prunes_reads on audit_log",
        "drop table audit_log cascade",
        "drop table audit_chain",
        "truncate audit_log cascade",
        "truncate audit_chain",
        "truncate transactions cascade",
        "update audit_log set actor = 'x'",
        "update audit_chain set hash = previous_hash",
        "delete from audit_log",
        "delete from audit_chain",
        "delete from audit_head",
        "insert into audit_head values (false, 1, '')",
        "update audit_unsealed set entry_id = entry_id",
        "alter table audit_log owner to current_user",
        "alter table audit_log drop constraint audit_log_action",
        "create trigger quiet before insert on audit_log for each row execute function audit_refuse()",
        "create rule quiet as on insert to audit_log do instead nothing",
        "create or replace function audit_refuse() returns trigger language plpgsql as 'begin return null; end'",
        "drop function audit_refuse() cascade",
        "set session_replication_role = replica",
        "drop schema public cascade",
        "create table public.mine (id int)",
        "create temp table audit_log (like public.audit_log)",
        "create function pg_temp.own() returns int language sql return 1",
        "select grant_to_service(current_user)",
        "delete from _sqlx_migrations",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&service).await.expect_err(statement);
        let code = refused.as_database_error().and_then(|error| error.code()).expect("of the database").into_owned();
        assert_eq!(code, "42501", "{statement}: {refused}");
    }
    // The other lock on the same door: what runs as the owner looks at nobody's temporary tables.
    let open = "select array(select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where p.prosecdef and n.nspname !~ '^pg_' and not coalesce(array_to_string(p.proconfig, ' ') ~ 'search_path=.*pg_temp$', false))";
    let open: Vec<String> = sqlx::query_scalar(open).fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!(open, Vec::<String>::new(), "a search path that does not end with pg_temp begins with it");
    service.close().await;
    role.drop_it(&db).await;
}

#[sqlx::test]
async fn migrate_and_rebuild_run_as_the_owner_and_the_service_starts_as_the_other_role(db: PgPool) {
    let role = ServiceRole::new(&db).await;
    let mut settings = binary::settings(&db, "any");
    let owner = settings["DATABASE_URL"].clone();
    let user = db.connect_options().get_username().to_owned();
    settings.insert("DATABASE_URL", owner.replace(&format!("//{user}:"), &format!("//{}:", role.0)));
    let (printed, status) = binary::run(&["migrate"], &settings).await;
    assert!(!status.success(), "the service's role may not migrate: {printed}");
    settings.insert("MIGRATION_DATABASE_URL", owner.clone());
    for command in ["migrate", "migrate", "rebuild-read-model"] {
        let (printed, status) = binary::run(&[command], &settings).await;
        assert!(status.success(), "{command}: {printed}");
    }
    let serving = Serving::start(&settings).await;
    let (printed, status) = serving.stop().await;
    assert!(status.success() && !printed.contains("owns the audit log"), "{printed}");
    settings.insert("DATABASE_URL", owner);
    let (printed, _) = Serving::start(&settings).await.stop().await;
    assert!(printed.contains("owns the audit log"), "one role for both is told: {printed}");
    role.drop_it(&db).await;
}

/// As where somebody else makes the roles of PostgreSQL.
#[sqlx::test]
async fn an_owner_that_may_not_make_roles_is_told_which_setting_wants_one_and_what_to_do(db: PgPool) {
    let role = ServiceRole::new(&db).await;
    let user = db.connect_options().get_username().to_owned();
    role.run(&db, &format!("grant \"{user}\" to {{}}")).await;
    let mut settings = binary::settings(&db, "any");
    let owner = settings["DATABASE_URL"].replace(&format!("//{user}:"), &format!("//{}:", role.0));
    settings.extend([("DATABASE_URL", owner), ("GRAFANA_DATABASE_PASSWORD", "local-password-1".to_owned())]);
    let (printed, status) = binary::run(&["migrate"], &settings).await;
    assert_eq!(status.code(), Some(1), "{printed}");
    for told in ["octoco: GRAFANA_DATABASE_PASSWORD", "All else is done", "select admit_reader('grafana', '…')"] {
        assert!(printed.contains(told), "{told}: {printed}");
    }
    settings.remove("GRAFANA_DATABASE_PASSWORD");
    let (printed, status) = binary::run(&["migrate"], &settings).await;
    assert!(status.success(), "{printed}");
    role.drop_it(&db).await;
}

/// The release before is deployed again, and migrates first.
#[sqlx::test]
async fn an_older_release_migrates_where_a_later_one_has(db: PgPool) {
    let mut settings = binary::settings(&db, "any");
    settings.insert("LOG_FORMAT", "text".to_owned());
    let later = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 select max(version) + 1, 'later', true, '\\x00', 1 from _sqlx_migrations";
    sqlx::raw_sql(later).execute(&db).await.expect("as a later release leaves it");
    let (printed, status) = binary::run(&["migrate"], &settings).await;
    assert!(status.success(), "{printed}");
    let changed = "update _sqlx_migrations set checksum = '\\x00' where version = 1";
    sqlx::raw_sql(changed).execute(&db).await.expect("as another source would have it");
    let (printed, status) = binary::run(&["migrate"], &settings).await;
    assert!(!status.success() && printed.contains("modified"), "{printed}");
}

/// Another `migrate` is under way, or somebody has what a migration needs. For longer than a statement of the service's may take.
#[sqlx::test]
async fn a_migration_waits_for_whoever_is_in_its_way_and_keeps_nobody_waiting_behind_it(db: PgPool) {
    let mut settings = binary::settings(&db, "any");
    settings.insert("LOG_FORMAT", "text".to_owned());
    let mut other = db.begin().await.expect("a transaction");
    sqlx::raw_sql("lock table _sqlx_migrations in access share mode").execute(&mut *other).await.expect("locked");
    let migrate = binary::run(&["migrate"], &settings);
    let (printed, status) = migrate.await;
    assert!(status.success(), "who only reads is in nobody's way: {printed}");
    sqlx::raw_sql("lock table _sqlx_migrations in access exclusive mode").execute(&mut *other).await.expect("locked");
    let held = async {
        pause(Duration::from_secs(11)).await;
        other.rollback().await.expect("PostgreSQL answers");
    };
    let ((printed, status), ()) = tokio::join!(binary::run(&["migrate"], &settings), held);
    assert!(status.success() && printed.contains("it is tried again"), "{printed}");
}
