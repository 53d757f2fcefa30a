//! The audit log: what it holds, that it refuses to be changed, and that a change by force is found.

use octoco::identity::audit::{self, Actor, ChainCheck, Entry, Head};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Customer, PASSWORD, TestApp};

impl TestApp {
    /// Every row of the log gets into the chain, the chain holds, and nothing in it is a secret or personal.
    pub(crate) async fn assert_audit_holds(&self) {
        while audit::seal(&self.app).await.expect("PostgreSQL answers") {}
        let check = audit::verify(&self.app, None).await.expect("PostgreSQL answers");
        assert!(matches!(check, ChainCheck::Intact { unsealed: 0, .. }), "{check:?}");
        let personal: i64 = sqlx::query_scalar(
            "select count(*) from audit_log l, users u where l::text like '%' || u.email || '%' or l::text like '%' || $1 || '%'",
        )
        .bind(PASSWORD)
        .fetch_one(&self.app.db)
        .await
        .expect("PostgreSQL answers");
        assert_eq!(personal, 0, "the audit log names an e-mail or a password");
    }
}

async fn record(t: &TestApp, count: usize) {
    for index in 0..count {
        let entry = Entry::of(&Actor::system(), "test.happened", "test", index).with(json!({"index": index}));
        audit::record(&t.app, &t.app.db, entry).await.expect("recorded");
    }
}

/// Past the triggers, as somebody with all rights could.
async fn by_force(t: &TestApp, statement: &'static str) {
    let mut tx = t.app.db.begin().await.expect("PostgreSQL answers");
    for statement in ["set local session_replication_role = replica", statement] {
        sqlx::query(statement).execute(&mut *tx).await.expect("the test's user may do anything");
    }
    tx.commit().await.expect("PostgreSQL answers");
}

async fn verify(t: &TestApp) -> ChainCheck {
    audit::verify(&t.app, None).await.expect("PostgreSQL answers")
}

async fn broken_at(t: &TestApp) -> i64 {
    match verify(t).await {
        ChainCheck::Broken { position, .. } => position,
        intact @ ChainCheck::Intact { .. } => panic!("{intact:?}"),
    }
}

async fn log(t: &TestApp, reader: &Customer, query: &str) -> Vec<Value> {
    let answer = t.get(reader, &format!("/v1/admin/audit?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["data"].as_array().expect("a list").clone()
}

#[sqlx::test]
async fn the_tables_refuse_every_change(db: PgPool) {
    let t = TestApp::new(db).await;
    record(&t, 2).await;
    audit::seal(&t.app).await.expect("sealed");
    for statement in [
        "update audit_log set actor = 'x'",
        "delete from audit_log",
        "truncate audit_log cascade",
        "update audit_chain set position = position + 10",
        "delete from audit_chain",
        "truncate audit_chain",
        "update audit_head set position = 1",
        "delete from audit_head",
        "truncate audit_head",
    ] {
        let refused = sqlx::query(statement).execute(&t.app.db).await.expect_err(statement);
        let code = refused.as_database_error().and_then(|error| error.code()).expect("of the database").into_owned();
        assert_eq!(code, "42501", "{statement}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn the_first_row_that_was_changed_by_force_is_named(db: PgPool) {
    let t = TestApp::new(db).await;
    record(&t, 5).await;
    assert!(matches!(verify(&t).await, ChainCheck::Intact { unsealed: 5, .. }));
    audit::seal(&t.app).await.expect("sealed");
    record(&t, 2).await;
    assert!(matches!(verify(&t).await, ChainCheck::Intact { unsealed: 2, head: Head { position: 5, .. } }));
    by_force(&t, "update audit_log set actor = 'revio' from audit_chain where entry_id = id and position in (3, 5)")
        .await;
    let third: Uuid = sqlx::query_scalar("select entry_id from audit_chain where position = 3")
        .fetch_one(&t.app.db)
        .await
        .expect("there");
    let reason = "the row does not have the hash of its link";
    assert_eq!(verify(&t).await, ChainCheck::Broken { position: 3, entry_id: Some(third), reason });
    by_force(&t, "update audit_log set actor = 'system'").await;
    by_force(&t, "delete from audit_log where id = (select entry_id from audit_chain where position = 2)").await;
    assert_eq!(broken_at(&t).await, 2);
    t.assert_books_balance().await;
}

#[sqlx::test]
async fn rows_missing_at_the_end_are_found(db: PgPool) {
    let t = TestApp::new(db).await;
    record(&t, 4).await;
    audit::seal(&t.app).await.expect("sealed");
    let ChainCheck::Intact { head: noted, .. } = verify(&t).await else { panic!("intact") };
    by_force(&t, "delete from audit_log where id = (select entry_id from audit_chain where position = 4)").await;
    by_force(&t, "delete from audit_chain where position = 4").await;
    assert_eq!(broken_at(&t).await, 4);
    // Whoever also moves the head back has a shorter chain that holds: only a head that was noted elsewhere shows it.
    by_force(&t, "update audit_head h set position = 3, hash = c.hash from audit_chain c where c.position = 3").await;
    assert!(matches!(verify(&t).await, ChainCheck::Intact { .. }));
    let against_noted = audit::verify(&t.app, Some(&noted)).await.expect("PostgreSQL answers");
    assert!(matches!(against_noted, ChainCheck::Broken { .. }), "{against_noted:?}");
    by_force(&t, "delete from audit_unsealed").await;
    record(&t, 1).await;
    by_force(&t, "delete from audit_unsealed").await;
    assert_eq!(broken_at(&t).await, 3, "a row that nobody will ever chain");
    t.assert_books_balance().await;
}

#[sqlx::test]
async fn an_entry_is_written_only_with_the_change_that_it_tells_of(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut tx = t.app.db.begin().await.expect("PostgreSQL answers");
    let entry = Entry::of(&Actor::system(), "test.happened", "test", 1);
    audit::record(&t.app, &mut *tx, entry).await.expect("recorded");
    tx.rollback().await.expect("rolled back");
    let rows: i64 = sqlx::query_scalar("select count(*) from audit_log").fetch_one(&t.app.db).await.expect("answers");
    assert_eq!(rows, 0);
    t.finish().await;
}

#[sqlx::test]
async fn many_writers_and_two_sealers_make_one_chain(db: PgPool) {
    let t = TestApp::new(db).await;
    let writers = (0..8).map(|_| record(&t, 20));
    let sealers = (0..2).map(async |_| {
        for _ in 0..10 {
            audit::seal(&t.app).await.expect("sealed, or another one is at it");
        }
    });
    tokio::join!(futures_util::future::join_all(writers), futures_util::future::join_all(sealers));
    audit::seal(&t.app).await.expect("sealed");
    assert!(matches!(verify(&t).await, ChainCheck::Intact { unsealed: 0, head: Head { position: 160, .. } }));
    t.finish().await;
}

#[sqlx::test]
async fn staff_read_the_log_by_actor_action_object_and_time(db: PgPool) {
    let t = TestApp::new(db).await;
    let (reader, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let opened = log(&t, &reader, &format!("actor={}&action=session.opened", customer.id)).await;
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0]["object_id"], customer.session_id.to_string());
    assert_eq!((&opened[0]["address"], &opened[0]["actor_role"]), (&json!("127.0.0.1"), &json!("user")));
    assert!(opened[0]["request_id"].is_string());
    let of_reader = log(&t, &reader, &format!("object_kind=user&object_id={}", reader.id)).await;
    assert_eq!(of_reader.len(), 1);
    assert_eq!(of_reader[0]["action"], "user.role_changed");
    assert_eq!(
        (&of_reader[0]["before"], &of_reader[0]["after"]),
        (&json!({"role": "user"}), &json!({"role": "finance"}))
    );
    let now = t.app.clock.now();
    let at = |from: i64, to: i64| {
        let time = |seconds| (now + chrono::TimeDelta::seconds(seconds)).format("%Y-%m-%dT%H:%M:%SZ");
        format!("from={}&to={}&limit=100", time(from), time(to))
    };
    assert!(!log(&t, &reader, &at(0, 1)).await.is_empty());
    assert!(log(&t, &reader, &at(1, 9)).await.is_empty());
    assert!(log(&t, &reader, &at(-9, 0)).await.is_empty());
    t.finish().await;
}

#[sqlx::test]
async fn the_log_is_read_page_by_page(db: PgPool) {
    let t = TestApp::new(db).await;
    let reader = t.staff(Role::Admin).await;
    for _ in 0..3 {
        t.app.clock.advance(chrono::TimeDelta::milliseconds(1));
        record(&t, 1).await;
    }
    let (mut ids, mut path) = (Vec::new(), "/v1/admin/audit?action=test.happened&limit=2".to_owned());
    loop {
        let answer = t.get(&reader, &path).await;
        let rows = answer.body["data"].as_array().expect("a list").clone();
        ids.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        let Some(cursor) = answer.body["page"]["next_cursor"].as_str() else { break };
        path = format!("/v1/admin/audit?action=test.happened&limit=2&cursor={cursor}");
    }
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
    t.finish().await;
}

#[sqlx::test]
async fn sign_ins_refusals_and_calls_of_staff_are_on_record(db: PgPool) {
    let t = TestApp::new(db).await;
    let (reader, support, customer) = (t.staff(Role::Admin).await, t.staff(Role::Support).await, t.customer().await);
    t.login(&customer.email, "not the password").await;
    t.login("nobody@example.com", "not the password").await;
    let refused = log(&t, &reader, "action=session.refused").await;
    let objects: Vec<&str> = refused.iter().map(|row| row["object_id"].as_str().expect("text")).collect();
    assert_eq!(objects.len(), 2);
    assert!(objects.contains(&"unknown") && objects.contains(&customer.id.to_string().as_str()));
    let request = [("X-Request-Id", "quote-me")];
    let path = "/v1/admin/audit?limit=1";
    let forbidden = t.send(Method::GET, path, Some(&support.token), &request, None).await;
    assert_eq!((forbidden.status, forbidden.code()), (StatusCode::FORBIDDEN, "forbidden"));
    let refusals = log(&t, &reader, "action=staff.refused").await;
    assert_eq!(refusals.len(), 1);
    assert_eq!(
        (&refusals[0]["actor"], &refusals[0]["actor_role"]),
        (&json!(support.id.to_string()), &json!("support"))
    );
    assert_eq!((&refusals[0]["object_id"], &refusals[0]["request_id"]), (&json!("audit.read"), &json!("quote-me")));
    assert_eq!(refusals[0]["after"], json!({"method": "GET", "route": "/v1/admin/audit", "path": "/v1/admin/audit"}));
    let path = format!("/v1/bank-accounts/{}", customer.bank_account_id);
    t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await;
    for action in ["bank_account.added", "bank_account.deleted"] {
        let own = log(&t, &reader, &format!("action={action}&actor={}", customer.id)).await;
        assert_eq!(own.len(), 1, "{action}");
        assert_eq!(own[0]["object_id"], json!(customer.bank_account_id.to_string()));
    }
    let calls = log(&t, &reader, &format!("action=staff.called&actor={}", reader.id)).await;
    assert_eq!(calls.len(), 5, "each reading of the log, this one too");
    t.finish().await;
}
