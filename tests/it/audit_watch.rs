//! The watch over the audit log: what is noted in the ledger shows what happened to the chain since; what callers may have refused, and
//! what is pruned, does not break it.

use chrono::TimeDelta;
use octoco::identity::audit::{self, Actor, ChainCheck, Entry, Origin};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::harness::TestApp;

async fn sealed(t: &TestApp, count: usize) {
    for index in 0..count {
        let entry = Entry::of(&Actor::system(), "test.happened", "test", index);
        audit::record(&t.app, &t.app.db, entry).await.expect("recorded");
    }
    audit::seal(&t.app).await.expect("sealed");
}

/// As whoever owns the tables could.
async fn by_force(t: &TestApp, statements: &str) {
    let sql = format!("begin; set local session_replication_role = replica; {statements}; commit");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&t.app.db).await.expect("the test's user may do anything");
}

/// The next look, and what it found: whether the chain is intact.
async fn look(t: &TestApp) -> bool {
    t.advance(TimeDelta::minutes(15));
    while audit::watch(&t.app).await.expect("the parts answer") {}
    t.app.metrics.audit.intact.get() == 1
}

async fn broken(t: &TestApp) -> String {
    sqlx::query_scalar("select broken from audit_watch").fetch_one(&t.app.db).await.expect("it was noted")
}

async fn count(t: &TestApp, filter: &str) -> i64 {
    let sql = format!("select count(*) from audit_log where {filter}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn a_chain_that_goes_back_behind_the_head_that_the_ledger_knows_raises_the_alarm(db: PgPool) {
    let t = TestApp::new(db).await;
    assert!(look(&t).await, "of an empty log too");
    sealed(&t, 5).await;
    assert!(look(&t).await);
    let verified = t.app.metrics.audit.verified_at.get();
    assert_eq!(verified, t.app.clock.now().timestamp());
    // The last row goes, its link, and the head moves back: within PostgreSQL nothing shows it.
    by_force(
        &t,
        "delete from audit_log where id = (select entry_id from audit_chain where position = 5);
         delete from audit_chain where position = 5;
         update audit_head h set position = 4, hash = c.hash from audit_chain c where c.position = 4",
    )
    .await;
    assert!(matches!(audit::verify(&t.app, None).await.expect("answers"), ChainCheck::Intact { .. }));
    assert!(!look(&t).await);
    assert!(broken(&t).await.contains("ends before the head"), "{}", broken(&t).await);
    // Another row in its place does not hide it.
    sealed(&t, 3).await;
    assert!(!look(&t).await);
    assert!(broken(&t).await.contains("not the one that the ledger has a note of"), "{}", broken(&t).await);
    assert_eq!(t.app.metrics.audit.verified_at.get(), verified, "not seen to hold since");
    assert!(audit::noted_in_ledger(&t.app).await.expect("answers").is_err(), "octoco audit verify says it too");
    // A restore that somebody answers for.
    let accepted = audit::accept_head(&t.app, &Actor::system(), "restored").await.expect("answers");
    assert!(matches!(accepted, ChainCheck::Intact { .. }));
    assert!(look(&t).await);
    assert_eq!(count(&t, "action = 'audit.head_accepted'").await, 1);
    t.finish().await;
}

#[sqlx::test]
async fn a_row_that_was_changed_long_after_it_was_noted_is_found_by_the_next_look(db: PgPool) {
    let t = TestApp::new(db).await;
    sealed(&t, 4).await;
    assert!(look(&t).await && look(&t).await);
    by_force(
        &t,
        "update audit_log set action = 'test.other' where id = (select entry_id from audit_chain where position = 2)",
    )
    .await;
    assert!(!audit::watch(&t.app).await.expect("answers"), "not due yet");
    assert_eq!(t.app.metrics.audit.intact.get(), 1);
    assert!(!look(&t).await);
    assert!(broken(&t).await.starts_with("at 2:"), "{}", broken(&t).await);
    by_force(&t, "update audit_log set action = 'test.happened'").await;
    assert!(look(&t).await, "put right");
    by_force(&t, "update audit_log set pruned = decode(repeat('07', 32), 'hex'), actor = 'pruned' where id = (select entry_id from audit_chain where position = 3)").await;
    assert!(!look(&t).await, "what is no read is not pruned");
    by_force(&t, "update audit_log set pruned = null, actor = 'system'").await;
    sealed(&t, 1).await;
    let entry = Entry::of(&Actor::system(), "test.happened", "test", 9);
    audit::record(&t.app, &t.app.db, entry).await.expect("recorded");
    by_force(&t, "delete from audit_unsealed").await;
    assert!(!look(&t).await, "a row that nobody will ever chain");
    by_force(&t, "insert into audit_unsealed select id from audit_log where object_id = '9'").await;
    t.finish().await;
}

/// Whose turn it is, and what was seen, stands in a table that the service's role may write.
#[sqlx::test]
async fn no_statement_about_the_watch_keeps_a_process_from_looking_or_from_telling_what_it_saw(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let told = async |what: &str| {
        let sql = format!("update audit_watch set {what}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&t.app.db).await.expect("PostgreSQL answers");
    };
    let verified = || t.app.clock.now().timestamp() - t.app.metrics.audit.verified_at.get();
    sealed(&t, 4).await;
    assert!(look(&t).await);
    for time in ["2036-01-01", "infinity"] {
        t.advance(TimeDelta::minutes(1));
        told(&format!("looked_at = '{time}', verified_at = '{time}'")).await;
        audit::watch(&t.app).await.expect("the parts answer");
        assert_eq!(verified(), 0, "it looked although somebody will have looked in {time}");
    }
    // Somebody has always looked just now.
    for minutes in [15, 30, 45, 60] {
        t.advance(TimeDelta::minutes(15));
        told(&format!("looked_at = '{}', verified_at = 'infinity'", t.app.clock.now())).await;
        audit::watch(&t.app).await.expect("the parts answer");
        assert_eq!(verified(), if minutes < 60 { minutes * 60 } else { 0 }, "after an hour without a look of its own");
    }
    let change =
        "update audit_log set action = 'test.other' where id = (select entry_id from audit_chain where position = 2)";
    by_force(&t, change).await;
    assert!(!look(&t).await);
    // All is well, it says, and old rows were looked at up to behind the one that was changed.
    let well = "broken = null, position = 3";
    told(well).await;
    audit::measure(&t.app).await.expect("PostgreSQL answers");
    assert_eq!(t.app.metrics.audit.intact.get(), 0);
    assert!(!look(&t).await, "it looks where it saw it");
    // Another process, which has not looked: what stands there of a break rings, and no silence comes of it.
    let other = TestApp::new(db).await;
    other.advance(t.app.clock.now() - other.app.clock.now());
    let gauges = async || {
        audit::measure(&other.app).await.expect("PostgreSQL answers");
        (other.app.metrics.audit.intact.get(), other.app.metrics.audit.verified_at.get())
    };
    assert_eq!(gauges().await, (0, 0), "as after a restart of the one that saw it");
    told(&format!("{well}, looked_at = '{}'", t.app.clock.now())).await;
    assert_eq!(gauges().await, (1, 0));
    audit::watch(&other.app).await.expect("the parts answer");
    assert_eq!(gauges().await, (0, 0), "it looks at its start, whoever has looked just now");
    by_force(&t, "update audit_log set action = 'test.happened'").await;
    assert!(look(&t).await, "put right");
    t.finish().await;
}

#[sqlx::test]
async fn a_row_of_a_time_that_is_still_to_come_raises_the_alarm_until_somebody_answers_for_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let row = async |at: String| {
        let sql = format!(
            "insert into audit_log (id, at, actor, action, object_kind, object_id)
             values (gen_random_uuid(), '{at}', 'system', 'test.happened', 'test', '1')"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&t.app.db).await
    };
    let ahead = |by: TimeDelta| (t.app.clock.now() + by).to_string();
    row(ahead(TimeDelta::minutes(70))).await.expect("as a clock that is a little ahead writes it");
    sealed(&t, 2).await;
    assert!(look(&t).await);
    row(ahead(TimeDelta::days(31))).await.expect("whoever may insert says of what time a row is");
    sealed(&t, 1).await;
    for _ in 0..2 {
        assert!(!look(&t).await);
        assert!(broken(&t).await.contains("still to come"), "{}", broken(&t).await);
    }
    let accepted = audit::accept_head(&t.app, &Actor::system(), "a clock was wrong").await.expect("answers");
    assert!(matches!(accepted, ChainCheck::Intact { .. }));
    assert!(look(&t).await && look(&t).await);
    // What the service could not read would be the end of the chain.
    for time in ["infinity", "-infinity", "290000-01-01"] {
        let refused = row(time.to_owned()).await.expect_err(time);
        assert!(refused.to_string().contains("audit_log_time"), "{refused}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn whoever_is_refused_again_and_again_fills_the_log_with_sixty_short_rows_a_minute_and_one_that_counts_the_rest(
    db: PgPool,
) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let long = "x".repeat(5_000);
    let call = async |token: &str, typed: &str| {
        let path = format!("/v1/admin/users/{typed}/freeze");
        let answer = t.send(Method::POST, &path, Some(token), &[], Some(json!({}))).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    };
    for _ in 0..75 {
        call(&customer.token, &long).await;
    }
    // An account number, of as many characters as a month has.
    call(&other.token, "6200123").await;
    let refused = async |actor: Uuid| count(&t, &format!("action = 'staff.refused' and actor = '{actor}'")).await;
    assert_eq!((refused(customer.id).await, refused(other.id).await), (60, 1), "each caller alone");
    assert_eq!(count(&t, "after->>'path' = '/v1/admin/users/{id}/freeze'").await, 61, "what was typed is nowhere");
    audit::step(&t.app).await.expect("answers");
    assert_eq!(count(&t, "action = 'caller.refused_more'").await, 0, "the minute is not over");
    t.advance(TimeDelta::minutes(1));
    audit::step(&t.app).await.expect("answers");
    audit::step(&t.app).await.expect("answers");
    let more: Vec<(String, Value)> =
        sqlx::query_as("select actor, after->'more' from audit_log where action = 'caller.refused_more'")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(more, [(customer.id.to_string(), json!(15))]);
    call(&customer.token, &long).await;
    assert_eq!(refused(customer.id).await, 61, "the next minute is another");
    // Nobody is told apart by address.
    for index in 0..130 {
        let origin = Origin { request_id: None, address: Some(format!("192.0.2.{}", index % 2)) };
        let entry = Entry::of(&Actor::nobody(origin), "session.refused", "user", "unknown");
        audit::record_refusal(&t.app, entry).await.expect("recorded");
    }
    assert_eq!(count(&t, "action = 'session.refused'").await, 120);
    // Whoever has a network has as many addresses as there are.
    for index in 0..70 {
        let origin = Origin { request_id: None, address: Some(format!("2001:db8:1:{index:x}::{index:x}")) };
        let entry = Entry::of(&Actor::nobody(origin), "session.refused", "user", "unknown");
        audit::record_refusal(&t.app, entry).await.expect("recorded");
    }
    assert_eq!(count(&t, "action = 'session.refused' and address like '2001:db8:1:%'").await, 60);
    t.finish().await;
}

#[sqlx::test]
async fn who_read_what_is_forgotten_after_its_time_and_the_chain_still_holds(db: PgPool) {
    let t = TestApp::with(db, &[("RETENTION", "audit_reads:60d")]).await;
    let (reader, customer) = (t.staff(Role::Admin).await, t.customer().await);
    let path = format!("/v1/admin/users/{}", customer.id);
    assert_eq!(t.get(&reader, &path).await.status, StatusCode::OK);
    let replayed = json!({"ids": [customer.id]});
    t.send(Method::POST, "/v1/admin/webhooks/replay", Some(&reader.token), &[], Some(replayed)).await;
    audit::seal(&t.app).await.expect("sealed");
    t.advance(TimeDelta::days(59));
    sealed(&t, 1).await;
    audit::prune_reads(&t.app).await.expect("answers");
    assert_eq!(count(&t, "pruned is not null").await, 0, "not yet");
    // Nor by whoever may call the function: it takes nothing that is younger than a month.
    t.advance(TimeDelta::days(2));
    sealed(&t, 1).await;
    let fresh = t.staff(Role::Admin).await;
    t.get(&fresh, &path).await;
    audit::seal(&t.app).await.expect("sealed");
    for (what, filter) in [
        ("a change", "action = 'user.role_changed'"),
        ("a call that was no read", "action = 'staff.called' and after->>'method' = 'POST'"),
        (
            "a read of today",
            "action = 'staff.called' and after->>'method' = 'GET' and at > now() - interval '1 day' or actor = '{}'",
        ),
    ] {
        let sql = format!(
            "select audit_prune(array_agg(id), array_agg(decode(repeat('00', 32), 'hex'))) from audit_log where {}",
            filter.replace("{}", &fresh.id.to_string())
        );
        let refused = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&t.app.db).await.expect_err(what);
        assert!(refused.to_string().contains("append-only"), "{what}: {refused}");
    }
    assert!(!audit::prune_reads(&t.app).await.expect("answers"));
    let pruned: Vec<(String, Option<Value>, Option<String>, String)> =
        sqlx::query_as("select actor, after, address, object_id from audit_log where pruned is not null")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(pruned, [("pruned".to_owned(), None, None, "users.read".to_owned())], "the read, and nothing else");
    assert_eq!(count(&t, "action = 'user.role_changed'").await, 2);
    let listed = t.get(&fresh, "/v1/admin/audit?actor=pruned").await;
    assert_eq!((listed.status, &listed.body["data"][0]["pruned"]), (StatusCode::OK, &json!(true)), "{}", listed.body);
    assert!(look(&t).await);
    t.finish().await;
}
