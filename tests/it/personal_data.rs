//! What is kept for how long, what a person is told of all that we hold, and how somebody is erased.

mod debts;
mod told;

use chrono::TimeDelta;
use octoco::identity::rotation::{self, Cursor};
use octoco::identity::sessions;
use octoco::money::bank_accounts::rotation::BankAccounts;
use octoco::money::restrictions::{self, Kind};
use octoco::platform::keys;
use octoco::platform::permissions::Role;
use octoco::webhooks::{
    inbox::{self, Webhooks},
    refused,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Answer, Customer, PASSWORD, TestApp, answer};
use crate::{exports, overtaken};

const NUMBER: &str = "62001234567";

/// A signed event of Revio's that repeats all that we told it of the customer, about an object.
async fn told(t: &TestApp, customer: &Customer, object: Uuid) -> Uuid {
    let body =
        json!({"type": "payout", "id": object, "event_type": "payout.success", "is_test": true, "status": "success",
        "client": {"email": customer.email, "full_name": "Thandi Nkosi", "bank_account": NUMBER}})
        .to_string();
    // Ids are in the order of time: this one is the last.
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let request = t.http.post(format!("{}/v1/webhooks/revio", t.url)).body(body.clone());
    let stored = answer(request.header("X-Signature", t.sim.sign(body.as_bytes()))).await;
    assert_eq!(stored.status, StatusCode::OK);
    sqlx::query_scalar("select id from webhook_logs order by id desc limit 1")
        .fetch_one(&t.app.db)
        .await
        .expect("stored")
}

/// Somebody who paid in and withdrew everything, and the event of it.
async fn emptied(t: &TestApp) -> (Customer, Uuid) {
    let customer = t.customer_with(5_000).await;
    let withdrawal = t.withdraw(&customer, 5_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    let event = told(t, &customer, t.payout_of(withdrawal.id())).await;
    t.drive().await;
    (customer, event)
}

async fn withdrawal_of(t: &TestApp, customer: &Customer) -> Uuid {
    sqlx::query_scalar("select id from transactions where user_id = $1 and kind = 'withdrawal'")
        .bind(customer.id)
        .fetch_one(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

async fn erase(t: &TestApp, by: &Customer, whom: Uuid) -> Answer {
    let path = format!("/v1/admin/users/{whom}/erase");
    t.send(Method::POST, &path, Some(&t.token(by)), &[], Some(json!({"note": "asked for"}))).await
}

async fn audited(t: &TestApp, action: &str) -> i64 {
    let counted = sqlx::query_scalar("select count(*) from audit_log where action = $1").bind(action);
    counted.fetch_one(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn staff_see_nobody_in_a_webhook_unless_they_may_read_the_whole_which_is_on_record(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let id = told(&t, &customer, Uuid::now_v7()).await;
    let (path, whole) = (format!("/v1/admin/webhooks/{id}"), format!("/v1/admin/webhooks/{id}?whole=true"));
    let personal = |answer: &Answer| {
        [NUMBER, "Thandi", customer.email.as_str()].iter().any(|it| answer.body.to_string().contains(it))
    };
    for role in [Role::Support, Role::Finance, Role::Admin] {
        let staff = t.staff(role).await;
        let shown = t.get(&staff, &path).await;
        assert!(
            !personal(&shown) && shown.body["body"].as_str().is_some_and(|it| it.contains("payout.success")),
            "{}",
            shown.body
        );
        let asked = t.get(&staff, &whole).await;
        let may = role != Role::Support;
        assert_eq!(asked.status, if may { StatusCode::OK } else { StatusCode::FORBIDDEN }, "{}", asked.body);
        assert_eq!(personal(&asked), may);
        if may {
            assert!(asked.body["body"].as_str().is_some_and(|body| body.contains(NUMBER)), "{}", asked.body);
        }
        let replayed = t.send(Method::POST, &format!("{path}/replay"), Some(&staff.token), &[], None).await;
        assert!(replayed.status == StatusCode::ACCEPTED && !personal(&replayed), "{}", replayed.body);
    }
    assert_eq!(audited(&t, "webhook.read_whole").await, 2);
    let refused: i64 = sqlx::query_scalar(
        "select count(*) from audit_log where action = 'staff.refused' and object_id = 'webhooks.read_whole'",
    )
    .fetch_one(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(refused, 1);
    t.drive().await;
    t.finish().await;
}

/// Of an event about what Revio does not know.
async fn ask_to_the_end(t: &TestApp) {
    for _ in 0..25 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
}

#[sqlx::test]
async fn what_webhooks_held_gets_the_new_key_and_is_acted_on_with_it(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let before = TestApp::with(db.clone(), &[("DATA_KEYS", &old)]).await;
    let customer = before.customer().await;
    let id = told(&before, &customer, Uuid::now_v7()).await;
    let during = TestApp::with(db.clone(), &[("DATA_KEYS", &format!("{new},{old}"))]).await;
    let mut cursor = Cursor::default();
    let batch = rotation::next(&during.app, &Webhooks, &mut cursor).await.expect("answers").expect("there is one");
    assert_eq!((batch.encrypted, batch.closed), (1, Vec::new()));
    assert!(rotation::next(&during.app, &Webhooks, &mut cursor).await.expect("answers").is_none());
    let uses = rotation::uses(&during.app, &Webhooks).await.expect("answers");
    assert_eq!(uses, [rotation::KeyUse { id: "new".to_owned(), rows: 1 }]);
    let after = TestApp::with(db, &[("DATA_KEYS", &new)]).await;
    // Its clock begins where the others' began.
    after.advance(TimeDelta::seconds(1));
    ask_to_the_end(&after).await;
    let (_, content) = inbox::find(&after.app, id).await.expect("it opens");
    assert!(content.expect("kept").whole().contains(NUMBER));
    let state: String = sqlx::query_scalar("select state from webhook_logs")
        .fetch_one(&after.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(state, "ignored", "it was read with the new key");
    after.finish().await;
}

#[sqlx::test]
async fn bodies_of_webhooks_go_after_their_time_the_facts_stay_and_refused_calls_go_whole(db: PgPool) {
    let t = TestApp::with(db, &[("RETENTION", "webhook_bodies:10d,refused_deliveries:20d,sessions:5d,mails:5d")]).await;
    let customer = t.customer().await;
    let done = told(&t, &customer, Uuid::now_v7()).await;
    ask_to_the_end(&t).await;
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let dead = told(&t, &customer, Uuid::now_v7()).await;
    sqlx::query("update webhook_logs set state = 'dead', due_at = null where id = $1")
        .bind(dead)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    let forged = answer(t.http.post(format!("{}/v1/webhooks/revio", t.url)).body("{}")).await;
    assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    let counts = async || -> (i64, i64) {
        while inbox::prune(&t.app).await.expect("answers") {}
        while refused::prune(&t.app).await.expect("answers") {}
        let counted = "select count(*), count(content) from webhook_logs";
        sqlx::query_as(counted).fetch_one(&t.app.db).await.expect("PostgreSQL answers")
    };
    t.advance(TimeDelta::days(9));
    assert_eq!(counts().await, (3, 3), "not yet");
    t.advance(TimeDelta::days(2));
    assert_eq!(counts().await, (3, 1), "a dead letter waits for a person, with what it held");
    t.advance(TimeDelta::days(10));
    assert_eq!(counts().await, (2, 1), "nobody had signed it");
    let admin = t.staff(Role::Admin).await;
    let shown = t.get(&admin, &format!("/v1/admin/webhooks/{done}")).await;
    assert_eq!(
        (&shown.body["event_type"], &shown.body["body"]),
        (&json!("payout.success"), &Value::Null),
        "{}",
        shown.body
    );
    let again = t.send(Method::POST, &format!("/v1/admin/webhooks/{done}/replay"), Some(&admin.token), &[], None).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "there is nothing left to act on");
    let sessions = async || -> i64 {
        sessions::prune(&t.app).await.expect("answers");
        sqlx::query_scalar("select count(*) from sessions where user_id = $1")
            .bind(customer.id)
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers")
    };
    assert_eq!(sessions().await, 0, "its seven days, and five after");
    t.finish().await;
}

#[sqlx::test]
async fn a_data_export_holds_everything_about_one_person_and_nothing_of_another(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, event) = emptied(&t).await;
    let again = told(&t, &customer, t.payout_of(withdrawal_of(&t, &customer).await)).await;
    let (other, admin) = (t.customer_with(3_000).await, t.staff(Role::Admin).await);
    let path = format!("/v1/admin/users/{}/data-export", customer.id);
    let data = t.get(&admin, &path).await;
    assert_eq!(data.status, StatusCode::OK, "{}", data.body);
    assert!(data.headers["content-disposition"].to_str().is_ok_and(|file| file.contains("attachment")));
    let rows = &data.body["rows"];
    assert_eq!((&rows["user"]["email"], &rows["user"]["full_name"]), (&json!(customer.email), &json!("Thandi Nkosi")));
    assert_eq!(rows["transactions"].as_array().map(Vec::len), Some(2));
    let all = rows["transactions"].as_array().expect("a list");
    let withdrawal = all.iter().find(|row| row["kind"] == "withdrawal").expect("it is there");
    assert_eq!(withdrawal["destination_last_four"], json!("4567"));
    assert_eq!(rows["sessions"][0]["address"], json!("127.0.0.1"));
    assert!(rows["acts"].as_array().is_some_and(|acts| acts.iter().any(|act| act["action"] == "session.opened")));
    assert_eq!(data.body["bank_accounts"][0]["account_number"], json!(NUMBER));
    assert_eq!(data.body["balances"][0]["posted"], json!(0));
    let webhooks = data.body["webhooks"].as_array().expect("a list");
    let told = webhooks.iter().find(|row| row["id"] == json!(event)).expect("the event is there");
    assert!(told["body"].as_str().is_some_and(|body| body.contains(NUMBER)));
    let repeat = webhooks.iter().find(|row| row["id"] == json!(again)).expect("that it came again is there");
    assert_eq!((&repeat["verdict"], &repeat["body"]), (&json!("duplicate"), &Value::Null));
    let text = data.body.to_string();
    assert!(!text.contains("password_hash") && !text.contains("argon2"), "no secret of ours");
    for foreign in [other.id.to_string(), other.email, other.bank_account_id.to_string(), admin.id.to_string()] {
        assert!(!text.contains(&foreign), "{foreign}");
    }
    assert_eq!(audited(&t, "user.data_exported").await, 1);
    let finance = t.staff(Role::Finance).await;
    assert_eq!(t.get(&finance, &path).await.status, StatusCode::FORBIDDEN);
    t.finish().await;
}

#[sqlx::test]
async fn a_data_export_of_many_rows_with_many_words_is_whole_and_known_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, admin) = (t.customer().await, t.staff(Role::Admin).await);
    exports::seed(&t, customer.id, 250).await;
    let long = "update transactions set metadata = jsonb_build_object('note', repeat('x', 20000))";
    sqlx::query(long).execute(&t.app.db).await.expect("written");
    let path = format!("/v1/admin/users/{}/data-export", customer.id);
    let data = t.get(&admin, &path).await;
    let rows = data.body["rows"]["transactions"].as_array().expect("a list");
    let mut ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), 250);
    assert!(rows.iter().all(|row| row["metadata"]["note"].as_str().is_some_and(|note| note.len() == 20_000)));
    assert_eq!(data.body["webhooks"], json!([]));
    let tag = data.headers["etag"].to_str().expect("text").to_owned();
    let again =
        async || t.send(Method::GET, &path, Some(&t.token(&admin)), &[("If-None-Match", &tag)], None).await.status;
    assert_eq!(again().await, StatusCode::NOT_MODIFIED);
    sqlx::query("update transactions set metadata = '{}', version = version + 1 where id = $1::uuid")
        .bind(ids[249])
        .execute(&t.app.db)
        .await
        .expect("written");
    assert_eq!(again().await, StatusCode::OK, "one row says something else");
    t.finish().await;
}

#[sqlx::test]
async fn a_closed_customer_is_erased_by_two_people_and_money_keeps_its_ids(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (customer, event) = emptied(&t).await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    t.drive().await;
    for remembered in [
        "insert into totp_secrets (user_id, secret, key_id, enrolled_at, last_step) values ($1, 'x', 'test', now(), 0)",
        "insert into totp_enrolments (user_id, secret, key_id, expires_at) values ($1, 'x', 'test', now())",
        "insert into totp_recovery_codes (user_id, code_hash) values ($1, sha256('x'))",
        "insert into totp_invitations (user_id, token_hash, issued_by, expires_at) values ($1, sha256('x'), 'system', now())",
        "insert into totp_allowances (user_id, idempotency_key, currency, amount_minor, created_at) values ($1, 'k', 'ZAR', 1, now())",
    ] {
        sqlx::query(remembered).bind(customer.id).execute(&db).await.expect("PostgreSQL answers");
    }
    let early = erase(&t, &one, customer.id).await;
    assert_eq!((early.status, early.code()), (StatusCode::CONFLICT, "account_not_closed"));
    let system = octoco::identity::audit::Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    for _ in 0..2 {
        let asked = erase(&t, &one, customer.id).await;
        assert_eq!((asked.status, &asked.body["erased_at"]), (StatusCode::ACCEPTED, &Value::Null), "{}", asked.body);
    }
    assert_eq!(t.get(&one, &format!("/v1/admin/users/{}", customer.id)).await.body["email"], json!(customer.email));
    let others = overtaken::all_connections_but_one(&t).await;
    let done = erase(&t, &two, customer.id).await;
    drop(others);
    assert_eq!((done.status, &done.body["requested_by"]), (StatusCode::OK, &json!(one.id)), "{}", done.body);
    assert_eq!(done.body["erased_by"], json!(two.id));
    assert_eq!(erase(&t, &one, customer.id).await.status, StatusCode::OK, "a repeat changes nothing");
    let (path, note) = (format!("/v1/admin/customers/{}/notes", customer.id), json!({"text": "Thandi called"}));
    let written = t.send(Method::POST, &path, Some(&one.token), &[], Some(note)).await;
    assert_eq!(written.code(), "stale_state", "nobody would erase it: {}", written.body);
    assert_eq!((audited(&t, "user.erasure_requested").await, audited(&t, "user.erased").await), (1, 1));
    // Gone: who it was. There: the rows.
    let shown = t.get(&one, &format!("/v1/admin/users/{}/data-export", customer.id)).await.body;
    for gone in [customer.email.as_str(), "Thandi", NUMBER] {
        assert!(!shown.to_string().contains(gone), "{gone} in {shown}");
    }
    assert_eq!(shown["rows"]["transactions"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["rows"]["transactions"][1]["destination_last_four"], Value::Null);
    assert_eq!(shown["rows"]["sessions"][0]["address"], Value::Null);
    let codes = "select (select count(*) from totp_secrets) + (select count(*) from totp_enrolments)
         + (select count(*) from totp_recovery_codes) + (select count(*) from totp_invitations)
         + (select count(*) from totp_allowances)";
    assert_eq!(sqlx::query_scalar::<_, i64>(codes).fetch_one(&db).await.expect("PostgreSQL answers"), 0);
    let (_, content) = inbox::find(&t.app, event).await.expect("the fact stays");
    assert!(content.is_none());
    // Whoever has kept it may send it again, and brings nothing back.
    told(&t, &customer, t.payout_of(withdrawal_of(&t, &customer).await)).await;
    let held: i64 =
        sqlx::query_scalar("select count(*) from webhook_logs where content is not null and verdict = 'duplicate'")
            .fetch_one(&db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(held, 0);
    // What comes later goes once it has had its effect.
    t.sim.raise_event(t.payout_of(withdrawal_of(&t, &customer).await), "payout.pending").expect("it is there");
    t.drive().await;
    let kept = "select count(*) from webhook_logs where content is not null and object_id in (select provider_id from transactions)";
    let kept = async || sqlx::query_scalar::<_, i64>(kept).fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!(kept().await, 1);
    assert!(octoco::books::personal_data::prune(&t.app).await.is_ok_and(|more| !more));
    assert_eq!(kept().await, 0);
    assert_eq!(t.login(&customer.email, PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(t.get(&customer, "/v1/me").await.status, StatusCode::UNAUTHORIZED, "its tokens are void at once");
    let again = json!({"email": customer.email, "password": PASSWORD, "full_name": "Thandi Nkosi"});
    let anew = t.send(Method::POST, "/v1/auth/register", None, &[], Some(again)).await;
    assert_eq!(anew.status, StatusCode::CREATED);
    assert_ne!(anew.id(), customer.id, "the same person may come again, as somebody new");
    assert_eq!(rotation::uses(&t.app, &BankAccounts(&t.app)).await.expect("answers").len(), 1, "what is left opens");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn nobody_is_erased_who_is_staff_or_of_whom_something_is_open_or_on_an_old_request(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    for whom in [one.id, two.id] {
        assert_eq!(erase(&t, &one, whom).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(erase(&t, &one, Uuid::now_v7()).await.status, StatusCode::NOT_FOUND);
    let customer = t.customer().await;
    let system = octoco::identity::audit::Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    assert_eq!(erase(&t, &one, customer.id).await.status, StatusCode::ACCEPTED);
    t.lift(customer.id, Kind::Closure).await;
    let reopened = erase(&t, &two, customer.id).await;
    assert_eq!((reopened.status, reopened.code()), (StatusCode::CONFLICT, "account_not_closed"), "looked at again");
    t.advance(TimeDelta::seconds(1));
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "another reason").await.expect("it is empty");
    assert_eq!(erase(&t, &two, customer.id).await.status, StatusCode::ACCEPTED, "nobody has asked of this closing");
    t.advance(TimeDelta::days(8));
    let (three, four) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    assert_eq!(erase(&t, &three, customer.id).await.status, StatusCode::ACCEPTED, "what was asked for is forgotten");
    let path = format!("/v1/admin/users/{}/reopen", customer.id);
    let reopen = async || t.send(Method::POST, &path, Some(&t.token(&three)), &[], None).await;
    let asked = reopen().await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    assert_eq!(erase(&t, &four, customer.id).await.status, StatusCode::OK);
    // Nobody could take out what came in then.
    let approve = format!("/v1/admin/requests/{}/approve", asked.id());
    let body = json!({"request_hash": asked.body["request_hash"]});
    let approved = t.send(Method::POST, &approve, Some(&t.token(&four)), &[], Some(body)).await;
    assert_eq!((approved.status, approved.code()), (StatusCode::CONFLICT, "stale_state"), "{}", approved.body);
    assert_eq!(reopen().await.code(), "stale_state");
    t.finish().await;
}

/// It may be of money that Revio took back, and could never be replayed.
#[sqlx::test]
async fn nobody_is_erased_of_whom_an_event_is_a_dead_letter(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let (customer, event) = emptied(&t).await;
    let system = octoco::identity::audit::Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    let set = async |state: &str| {
        let set = "update webhook_logs set state = $2, last_error = 'a test' where id = $1";
        sqlx::query(set).bind(event).bind(state).execute(&db).await.expect("PostgreSQL answers")
    };
    set("dead").await;
    let refused = erase(&t, &one, customer.id).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.body);
    set("dismissed").await;
    assert_eq!(erase(&t, &one, customer.id).await.status, StatusCode::ACCEPTED);
    assert_eq!(erase(&t, &two, customer.id).await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn what_staffs_calls_were_answered_about_somebody_goes_with_the_person(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let (customer, other) = (t.customer().await, t.customer().await);
    let act = async |by: &Customer, path: String, body: Option<Value>| {
        t.send(Method::POST, &path, Some(&t.token(by)), &[("Idempotency-Key", &path)], body).await
    };
    for whom in [&customer, &other] {
        let ended = act(&one, format!("/v1/admin/customers/{}/sessions/end", whom.id), None).await;
        assert_eq!(ended.status, StatusCode::OK, "{}", ended.body);
    }
    let kept = async |whom: Uuid| -> i64 {
        let kept = sqlx::query_scalar("select count(*) from idempotent_calls where customer_id = $1").bind(whom);
        kept.fetch_one(&db).await.expect("a number")
    };
    assert_eq!((kept(customer.id).await, kept(other.id).await), (1, 1));
    let system = octoco::identity::audit::Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    let erasing = format!("/v1/admin/users/{}/erase", customer.id);
    for (by, status) in [(&one, StatusCode::ACCEPTED), (&two, StatusCode::OK)] {
        let erased = act(by, erasing.clone(), Some(json!({"note": "asked for"}))).await;
        assert_eq!(erased.status, status, "{}", erased.body);
    }
    assert_eq!((kept(customer.id).await, kept(other.id).await), (0, 1));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn nobody_is_erased_by_a_fresh_role_a_frozen_one_or_for_somebody_who_may_not_any_more(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, two, three) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let (customer, fresh) = (t.customer().await, t.customer().await);
    let system = octoco::identity::audit::Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    t.give_role(fresh.id, Role::Admin).await;
    restrictions::impose(&t.app, &system, two.id, Kind::Freeze, "lost laptop").await.expect("frozen");
    assert_eq!(erase(&t, &two, customer.id).await.code(), "forbidden", "who is frozen asks for nothing");
    assert_eq!(erase(&t, &one, customer.id).await.status, StatusCode::ACCEPTED);
    for refused in [erase(&t, &fresh, customer.id).await, erase(&t, &two, customer.id).await] {
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden"), "{}", refused.body);
    }
    // Who asked was stopped: it is asked for anew, by the next one.
    restrictions::impose(&t.app, &system, one.id, Kind::Freeze, "stolen password").await.expect("frozen");
    let anew = erase(&t, &three, customer.id).await;
    assert_eq!((anew.status, &anew.body["requested_by"]), (StatusCode::ACCEPTED, &json!(three.id)), "{}", anew.body);
    t.advance(TimeDelta::hours(24));
    assert_eq!(erase(&t, &fresh, customer.id).await.status, StatusCode::OK, "a role of a day");
    assert_eq!((audited(&t, "user.erasure_requested").await, audited(&t, "user.erased").await), (2, 1));
    t.finish().await;
}

/// Nobody erases a second time what is written down after it, and a mail would go to an address of nobody's.
#[sqlx::test]
async fn whoever_is_erased_is_sent_nothing_and_has_no_second_factor_to_reset(db: PgPool) {
    let t = TestApp::with(db.clone(), &[("NOTICE_MAILS", "on")]).await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let customer = t.customer().await;
    // Nobody else can have taken the address that is left of them.
    let foretold = format!("erased-{}@erased.invalid", customer.id.simple());
    let body = json!({"email": foretold, "password": PASSWORD, "full_name": "Anna Stranger"});
    let taken = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.body);
    let system = octoco::identity::audit::Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    assert_eq!(erase(&t, &one, customer.id).await.status, StatusCode::ACCEPTED);
    assert_eq!(erase(&t, &two, customer.id).await.status, StatusCode::OK);
    for path in [
        format!("/v1/admin/customers/{}/resend-verification", customer.id),
        format!("/v1/admin/users/{}/totp-reset", customer.id),
    ] {
        let late = t.send(Method::POST, &path, Some(&t.token(&one)), &[], None).await;
        assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, "stale_state"), "{path}: {}", late.body);
    }
    let mails = sqlx::query_scalar("select count(*) from mails where user_id = $1").bind(customer.id);
    let mails: i64 = mails.fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!(mails, 0, "nothing is queued");
    assert_eq!((audited(&t, "user.verification_resent").await, audited(&t, "totp.reset").await), (0, 0));
    t.drive().await;
    t.finish().await;
}
