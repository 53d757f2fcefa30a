//! What one of the staff alone could turn against the company takes two: roles, unfreezing, reopening. And staff hold no money. Whose
//! approvals count when money is to move is in `standing`; sums that are split in `splitting`.

mod splitting;
mod standing;

use chrono::TimeDelta;
use octoco::money::{requests, transactions, withdrawals};
use octoco::platform::permissions::Role;
use octoco::processes::router;
use reqwest::{Method, StatusCode};
use revio_sim::Pay;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::adjustments::{self, correction};
use crate::approvals;
use crate::harness::{Answer, Customer, TestApp, stepped};
use crate::journals;
use crate::overtaken::until_waiting;
use crate::restrictions::act_alone;
use crate::users::change_role;

/// As if the role had been given before yesterday: a younger one approves nothing.
pub(crate) async fn season(t: &TestApp, user: Uuid) {
    sqlx::query("update users set role_since = role_since - interval '2 days' where id = $1")
        .bind(user)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
}

/// Approves what was asked for, as it was answered.
pub(crate) async fn approve(t: &TestApp, checker: &Customer, asked: &Answer) -> Answer {
    decide(t, checker, asked, "approve").await
}

async fn decide(t: &TestApp, checker: &Customer, asked: &Answer, call: &str) -> Answer {
    let path = format!("/v1/admin/requests/{}/{call}", asked.id());
    let body = json!({"request_hash": asked.body["request_hash"], "note": "called them back"});
    t.send(Method::POST, &path, Some(&t.token(checker)), &[], Some(body)).await
}

async fn pending(t: &TestApp, reader: &Customer) -> Vec<Value> {
    let list = t.get(reader, "/v1/admin/requests?state=pending").await;
    list.body["data"].as_array().cloned().unwrap_or_else(|| panic!("a list: {}", list.body))
}

async fn role_of(t: &TestApp, user: &Customer) -> String {
    t.get(user, "/v1/me").await.body["role"].as_str().expect("a role").to_owned()
}

#[sqlx::test]
async fn one_admin_alone_makes_no_second_self_who_approves(db: PgPool) {
    let t = TestApp::with(db, &[("APPROVAL_THRESHOLDS", "ZAR:5000")]).await;
    let (admin, other, second) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await, t.customer().await);
    let asked = change_role(&t, &admin, &second, "finance").await;
    assert_eq!((asked.status, &asked.body["state"]), (StatusCode::ACCEPTED, &json!("pending")), "{}", asked.body);
    assert_eq!((&asked.body["role"], &asked.body["role_before"]), (&json!("finance"), &json!("user")));
    assert_eq!(role_of(&t, &second).await, "user", "nothing happens yet");
    let again = change_role(&t, &admin, &second, "finance").await;
    assert_eq!(again.id(), asked.id(), "the same is asked for once");
    let finance = t.staff(Role::Finance).await;
    for person in [&admin, &second, &finance, &t.staff(Role::Support).await] {
        let refused = approve(&t, person, &asked).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"));
    }
    assert_eq!(pending(&t, &finance).await.len(), 1);
    let approved = approve(&t, &other, &asked).await;
    assert_eq!((approved.status, &approved.body["state"]), (StatusCode::OK, &json!("approved")), "{}", approved.body);
    assert_eq!(approve(&t, &t.staff(Role::Admin).await, &asked).await.code(), "stale_state", "once");
    assert_eq!(role_of(&t, &second).await, "finance");
    let audited: Vec<String> = sqlx::query_scalar(
        "select action from audit_log where action ~ '^(request|user)[.]' and object_id = $1 order by id",
    )
    .bind(second.id.to_string())
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(audited.len(), 3, "{audited:?}");
    approves_nothing(&t, &second, &admin).await;
    t.finish().await;
}

/// A fresh role may look, propose and stop; what lets something go on is refused until a day is over.
async fn approves_nothing(t: &TestApp, fresh: &Customer, admin: &Customer) {
    let (customer, frozen) = (t.customer_with(100_000).await, t.customer().await);
    let withdrawal = approvals::waiting(t, &customer, 6_000, "w1").await;
    let seen = approvals::hash(t, fresh, withdrawal).await;
    let adjustment = adjustments::proposed(t, admin, correction(&customer, "credit", 100), "a1").await;
    assert_eq!(act_alone(t, fresh, &frozen, "freeze").await.status, StatusCode::OK, "stopping is safe");
    let thaw = act_alone(t, admin, &frozen, "unfreeze").await;
    let promotion = change_role(t, admin, &t.customer().await, "admin").await;
    let attempts = async || {
        [
            approvals::approve(t, fresh, withdrawal, &seen).await,
            adjustments::approve(t, fresh, adjustment.id(), adjustments::hash(&adjustment)).await,
            approve(t, fresh, &thaw).await,
        ]
    };
    for refused in attempts().await {
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"), "{}", refused.body);
    }
    t.advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
    assert!(attempts().await.iter().all(|refused| refused.status == StatusCode::FORBIDDEN));
    t.advance(TimeDelta::seconds(1));
    for done in attempts().await {
        assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    }
    assert_eq!(approve(t, fresh, &promotion).await.code(), "forbidden", "only an admin makes admins");
    t.drive().await;
}

#[sqlx::test]
async fn a_fresh_role_releases_nothing_that_is_held_and_makes_no_admin(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, admin) = (t.customer_with(10_000).await, t.staff(Role::Admin).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    let row = transactions::find(&t.app, withdrawal).await.expect("a row");
    let hold = transactions::Hold::Undecided;
    transactions::hold(&t.app, &row, hold, "Revio says nothing").await.expect("held");
    let promotion = change_role(&t, &admin, &t.customer().await, "support").await;
    let fresh = t.customer().await;
    t.give_role(fresh.id, Role::Admin).await;
    let body = json!({"action": "release", "note": "given up"});
    let path = format!("/v1/admin/held/{withdrawal}/resolve");
    let refused = t.send(Method::POST, &path, Some(&t.token(&fresh)), &[], Some(body)).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"));
    assert_eq!(approve(&t, &fresh, &promotion).await.code(), "forbidden");
    let declined = decide(&t, &fresh, &promotion, "decline").await;
    assert_eq!((declined.status, &declined.body["state"]), (StatusCode::OK, &json!("declined")), "a no is safe");
    assert_eq!(approve(&t, &t.staff(Role::Admin).await, &promotion).await.code(), "stale_state");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn stopping_takes_one_person_and_undoing_it_two(db: PgPool) {
    let t = TestApp::new(db).await;
    let (one, two, customer) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.customer().await);
    for (stop, undo) in [("freeze", "unfreeze"), ("close", "reopen")] {
        assert_eq!(act_alone(&t, &one, &customer, undo).await.code(), "not_found", "nothing to undo");
        assert_eq!(act_alone(&t, &one, &customer, stop).await.status, StatusCode::OK);
        let asked = act_alone(&t, &one, &customer, undo).await;
        assert_eq!((asked.status, &asked.body["kind"]), (StatusCode::ACCEPTED, &json!(undo)));
        let code = if stop == "freeze" { "account_frozen" } else { "account_closed" };
        assert_eq!(t.withdraw(&customer, 1, &format!("{stop}1")).await.code(), code, "still in force");
        assert_eq!(approve(&t, &one, &asked).await.code(), "forbidden", "not by who asked");
        assert_eq!(approve(&t, &two, &asked).await.status, StatusCode::OK);
        assert_eq!(approve(&t, &two, &asked).await.status, StatusCode::OK, "a repeat by the same person finishes it");
        assert_eq!(t.withdraw(&customer, 1, &format!("{stop}2")).await.code(), "insufficient_funds", "lifted");
    }
    t.finish().await;
}

/// What was asked for is about what was there then.
#[sqlx::test]
async fn an_old_request_lifts_no_newer_freeze_whose_reason_is_kept(db: PgPool) {
    let t = TestApp::new(db).await;
    let (one, two, three) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let customer = t.customer_with(1_000).await;
    let freeze = async |who: &Customer, reason: &str| {
        let path = format!("/v1/admin/users/{}/freeze", customer.id);
        t.send(Method::POST, &path, Some(&t.token(who)), &[], Some(json!({"reason": reason}))).await
    };
    assert_eq!(freeze(&one, "lost card").await.body["data"][0]["repeats"], json!([]));
    let asked = act_alone(&t, &one, &customer, "unfreeze").await;
    assert_eq!(freeze(&one, "lost card").await.status, StatusCode::OK, "a repeat");
    assert_eq!(pending(&t, &two).await.len(), 1, "says nothing new");
    let again = freeze(&three, "fraud, case 4712").await;
    let said = &again.body["data"][0];
    assert_eq!((&said["reason"], &said["imposed_by"]), (&json!("lost card"), &json!(one.id)), "{}", again.body);
    let repeats = said["repeats"].as_array().expect("a list");
    assert_eq!(
        (repeats.len(), &repeats[0]["reason"], &repeats[0]["imposed_by"]),
        (1, &json!("fraud, case 4712"), &json!(three.id))
    );
    let refused = approve(&t, &two, &asked).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "stale_state"), "{}", refused.body);
    let ended = t.get(&two, &format!("/v1/admin/requests/{}", asked.id())).await.body;
    assert!(ended["state"] == "expired" && ended["note"].is_string(), "{ended}");
    assert_eq!(t.withdraw(&customer, 100, "w1").await.code(), "account_frozen");
    // Asked for with all that is known, it is done.
    let anew = act_alone(&t, &one, &customer, "unfreeze").await;
    assert_ne!(anew.id(), asked.id());
    assert_eq!(freeze(&three, "fraud, case 4712").await.status, StatusCode::OK, "a repeat");
    assert_eq!(approve(&t, &two, &anew).await.status, StatusCode::OK);
    assert_eq!(t.withdraw(&customer, 100, "w2").await.status, StatusCode::ACCEPTED);
    // However often: the last twenty are kept, and all are on record.
    for number in 0..25 {
        assert_eq!(freeze(&one, &format!("case {number}")).await.status, StatusCode::OK);
    }
    let page = t.get(&two, &format!("/v1/admin/customers/{}", customer.id)).await.body;
    let kept = page["state"]["restrictions"][0]["repeats"].as_array().expect("a list");
    assert_eq!((kept.len(), &kept[19]["reason"]), (20, &json!("case 24")));
    let audited: i64 = sqlx::query_scalar("select count(*) from audit_log where action = 'restriction.repeated'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(audited, 25);
    t.drive().await;
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_request_ends_after_seven_days_and_with_the_role_of_who_made_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (one, customer) = (t.staff(Role::Finance).await, t.customer().await);
    act_alone(&t, &one, &customer, "freeze").await;
    let old = act_alone(&t, &one, &customer, "unfreeze").await;
    t.advance(TimeDelta::days(7));
    let (one, two_later) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    assert_eq!(approve(&t, &two_later, &old).await.code(), "stale_state", "also before the worker looks");
    assert!(pending(&t, &one).await.is_empty());
    let asked = act_alone(&t, &one, &customer, "unfreeze").await;
    assert_ne!(asked.id(), old.id(), "it is asked for anew");
    let shown = t.get(&one, &format!("/v1/admin/requests/{}", old.id())).await;
    assert_eq!(shown.body["state"], "expired");
    let user = one.id;
    t.give_role(user, Role::Support).await;
    assert_eq!(approve(&t, &two_later, &asked).await.code(), "stale_state", "who asked may not any more");
    // Nor did he go on to be somebody who may, when he has the role again.
    t.advance(TimeDelta::seconds(1));
    t.give_role(user, Role::Finance).await;
    assert_eq!(approve(&t, &two_later, &asked).await.code(), "stale_state");
    requests::measure(&t.app).await.expect("PostgreSQL answers");
    let waiting = r#"octoco_queue_rows{queue="request",what="awaiting_approval"} 1"#;
    assert!(t.app.metrics.render().contains(waiting));
    let mut other = asked;
    other.body["request_hash"] = json!("0".repeat(64));
    assert_eq!(approve(&t, &t.staff(Role::Admin).await, &other).await.code(), "stale_state", "not what was seen");
    t.advance(TimeDelta::days(7));
    requests::expire(&t.app).await.expect("PostgreSQL answers");
    let expired: i64 = sqlx::query_scalar("select count(*) from audit_log where action = 'request.expired'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(expired, 2);
    t.finish().await;
}

#[sqlx::test]
async fn a_frozen_member_of_staff_asks_and_approves_nothing(db: PgPool) {
    let t = TestApp::new(db).await;
    let (frozen, other, customer) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await, t.customer().await);
    let by_frozen = change_role(&t, &frozen, &customer, "support").await;
    let by_other = change_role(&t, &other, &t.customer().await, "support").await;
    assert_eq!(act_alone(&t, &other, &frozen, "freeze").await.status, StatusCode::OK);
    assert_eq!(approve(&t, &frozen, &by_other).await.code(), "forbidden");
    assert_eq!(change_role(&t, &frozen, &t.customer().await, "support").await.code(), "forbidden");
    let third = t.staff(Role::Admin).await;
    assert_eq!(change_role(&t, &frozen, &other, "user").await.code(), "forbidden");
    // Nor anything else: much of it needs no second person, and would stop the others.
    let document = router::openapi();
    let mut refused = 0;
    for (path, item) in document["paths"].as_object().expect("an object") {
        for (name, operation) in item.as_object().expect("an object") {
            let is_staffs = operation["security"][0]["bearer"].as_array().is_some_and(|needs| !needs.is_empty());
            let method = Method::from_bytes(name.to_uppercase().as_bytes()).expect("a method");
            if !is_staffs || method.is_safe() {
                continue;
            }
            let called = path.replace("{id}", &other.id.to_string()).replace("{month}", "2026-01");
            let answer = t.send(method.clone(), &called, Some(&t.token(&frozen)), &[], Some(json!({}))).await;
            assert_eq!(
                (answer.code(), &answer.body["reason"]),
                ("forbidden", &json!("staff_frozen")),
                "{method} {path}"
            );
            refused += 1;
        }
    }
    assert!(refused > 40, "{refused}");
    let everything = format!("/v1/admin/users/{}/data-export", other.id);
    assert_eq!(t.get(&frozen, &everything).await.body["reason"], "staff_frozen", "more than looking");
    assert_eq!(t.get(&frozen, "/v1/admin/users").await.status, StatusCode::OK, "it may look");
    assert_eq!(approve(&t, &third, &by_frozen).await.code(), "stale_state", "its maker is frozen");
    assert_eq!(approve(&t, &third, &by_other).await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn of_two_admins_who_take_each_others_role_at_once_one_stays(db: PgPool) {
    let t = TestApp::new(db).await;
    for _ in 0..5 {
        sqlx::query("update users set role = 'user' where role = 'admin'").execute(&t.app.db).await.expect("cleared");
        let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
        let answers = tokio::join!(change_role(&t, &one, &two, "user"), change_role(&t, &two, &one, "user"));
        let mut told = [answers.0.status, answers.1.status];
        told.sort_unstable();
        // The later one is told that it is the last, or, where its own role was gone by then, that it may not.
        assert!(told[0] == StatusCode::OK && told[1].is_client_error(), "{told:?}");
        let admins: i64 = sqlx::query_scalar("select count(*) from users where role = 'admin'")
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers");
        assert_eq!(admins, 1);
    }
    let left: Uuid = sqlx::query_scalar("select id from users where role = 'admin'")
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    let last = requests::grant_by_operator(&t.app, left, Role::User).await;
    assert_eq!(last.map_err(|error| error.code()), Err("last_admin"), "not by the command line either");
    t.finish().await;
}

#[sqlx::test]
async fn staff_hold_no_money_and_nobody_with_money_becomes_staff(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, other) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    for role in [Role::Support, Role::Finance, Role::Admin] {
        let staff = t.staff(role).await;
        for refused in [t.deposit(&staff, 500, "d").await, t.withdraw(&staff, 500, "w").await] {
            assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "staff_account"));
        }
        let credit = adjustments::propose(&t, &admin, correction(&staff, "credit", 100), role.name()).await;
        assert_eq!((credit.status, credit.code()), (StatusCode::UNPROCESSABLE_ENTITY, "staff_account"));
    }
    let (rich, waiting, owing) = (t.customer_with(1).await, t.customer().await, t.customer().await);
    t.deposit(&waiting, 500, "d").await;
    let deposit = t.deposit(&owing, 500, "d").await;
    t.pay(&deposit).await;
    t.withdraw(&owing, 500, "w").await;
    t.drive().await;
    t.sim.charge_back_purchase(t.purchase_of(deposit.id())).expect("charged back");
    t.drive().await;
    assert_eq!(t.owed(owing.id).await, 500);
    for customer in [&rich, &waiting, &owing] {
        let refused = change_role(&t, &admin, customer, "support").await;
        assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "account_not_empty"));
        let by_command = requests::grant_by_operator(&t.app, customer.id, Role::Admin).await;
        assert_eq!(by_command.map_err(|error| error.code()), Err("account_not_empty"));
    }
    // What comes between the request and its approval counts, too; and a wallet that is empty again is no obstacle.
    let customer = t.customer().await;
    let asked = change_role(&t, &admin, &customer, "support").await;
    let deposit = t.deposit(&customer, 700, "d").await;
    assert_eq!(approve(&t, &other, &asked).await.code(), "account_not_empty", "a deposit is open");
    t.pay(&deposit).await;
    assert_eq!(approve(&t, &other, &asked).await.code(), "account_not_empty", "there is money");
    t.withdraw(&customer, 700, "w").await;
    t.drive().await;
    assert_eq!(approve(&t, &other, &asked).await.status, StatusCode::OK);
    assert_eq!(t.withdraw(&customer, 700, "w").await.status, StatusCode::ACCEPTED, "a repeat is answered");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_late_payment_for_somebody_who_became_staff_is_set_aside(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, customer) = (t.staff(Role::Admin).await, t.customer().await);
    let deposit = t.deposit(&customer, 700, "d").await;
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "expired");
    let asked = change_role(&t, &admin, &customer, "support").await;
    assert_eq!(approve(&t, &t.staff(Role::Admin).await, &asked).await.status, StatusCode::OK);
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay { force: true, ..Pay::default() }).expect("a late payment");
    t.drive().await;
    assert!(t.held_reason(deposit.id()).await.is_some());
    assert_eq!(t.wallet(customer.id).await.posted(), 0);
    assert_eq!(t.system_balance(ledger::AccountCode::Suspense).await.posted(), 700);
    t.finish_with_held().await;
}

/// The role is given, and not yet committed, when a deposit or a withdrawal of the same person is to be written.
#[sqlx::test]
async fn nothing_is_begun_for_somebody_who_becomes_staff_at_that_moment(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(1_000).await;
    let mut grant = t.app.db.begin().await.expect("a transaction");
    for statement in ["select from users where id = $1 for update", "update users set role = 'support' where id = $1"] {
        sqlx::query(statement).bind(customer.id).execute(&mut *grant).await.expect("PostgreSQL answers");
    }
    let committed = async {
        until_waiting(&t, 2).await;
        grant.commit().await.expect("committed");
    };
    let (deposit, withdrawal, ()) =
        tokio::join!(t.deposit(&customer, 500, "d"), t.withdraw(&customer, 500, "w"), committed);
    assert_eq!((deposit.code(), withdrawal.code()), ("staff_account", "staff_account"));
    stepped(withdrawals::claim_due(&t.app, 10)).await.expect("claimed");
    t.finish().await;
}

#[sqlx::test]
async fn what_the_operator_grants_is_on_record_as_his(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, customer) = (t.staff(Role::Admin).await, t.customer().await);
    requests::grant_by_operator(&t.app, customer.id, Role::Admin).await.expect("granted");
    let log = t.get(&admin, "/v1/admin/audit?action=user.role_changed&actor=operator").await;
    assert_eq!(log.body["data"][0]["object_id"], customer.id.to_string(), "{}", log.body);
    let asked = change_role(&t, &admin, &t.customer().await, "support").await;
    assert_eq!(approve(&t, &customer, &asked).await.code(), "forbidden", "a fresh role, whoever gave it");
    t.finish().await;
}

/// Freezing is how a member of staff is stopped (docs/decisions/030): whoever is stopped does not stop the others.
#[sqlx::test]
async fn a_frozen_member_of_staff_freezes_closes_and_declines_nobody(db: PgPool) {
    let t = TestApp::new(db).await;
    let (frozen, other) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let (customer, left) = (t.customer_with(1_000).await, t.customer().await);
    let journal = journals::proposed(&t, &other, journals::entry("own_funds_in", 5_000), "funds").await;
    assert_eq!(act_alone(&t, &other, &frozen, "freeze").await.status, StatusCode::OK);
    for (whom, what) in [(&other, "freeze"), (&customer, "freeze"), (&left, "close")] {
        let refused = act_alone(&t, &frozen, whom, what).await;
        assert_eq!(
            (refused.status, refused.body["reason"].as_str()),
            (StatusCode::FORBIDDEN, Some("staff_frozen")),
            "{what}: {}",
            refused.body
        );
    }
    let protect = format!("/v1/admin/customers/{}/freeze", customer.id);
    let refused =
        t.send(Method::POST, &protect, Some(&t.token(&frozen)), &[], Some(json!({"reason": "case 4711"}))).await;
    assert_eq!(refused.body["reason"], "staff_frozen", "{}", refused.body);
    let (path, seen) = (format!("/v1/admin/journals/{}/decline", journal.id()), &journal.body["journal_hash"]);
    let refused = journals::post(&t, &frozen, &path, "", json!({"journal_hash": seen, "note": "no"})).await;
    assert_eq!(refused.body["reason"], "staff_frozen", "{}", refused.body);
    // Of two who freeze each other at once one is first, and nobody waits for ever.
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let (first, second) = tokio::join!(act_alone(&t, &one, &two, "freeze"), act_alone(&t, &two, &one, "freeze"));
    let mut answers = [first.status, second.status];
    answers.sort();
    assert_eq!(answers, [StatusCode::OK, StatusCode::FORBIDDEN], "{} {}", first.body, second.body);
}
