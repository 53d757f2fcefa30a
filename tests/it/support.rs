//! What support and finance do about one customer: the page, notes, sessions, the verification, a protective freeze; finding somebody by
//! name and by the id of a call; corrections beside what they set right; dead letters that are dismissed.

use std::time::Duration;

use chrono::TimeDelta;
use ledger::{Ledger, Options};
use octoco::app::App;
use octoco::books::customers::{self, Sight};
use octoco::identity::notes::CustomerNotes;
use octoco::identity::rotation::{self, Cursor};
use octoco::money::restrictions::{self, Kind};
use octoco::platform::config::Config;
use octoco::platform::crash::CrashPoints;
use octoco::platform::keys;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::adjustments::{approve, correction, hash, propose, proposed};
use crate::binary;
use crate::clear_text::columns_with;
use crate::harness::{Answer, Customer, TestApp};

const TOLD: [(&str, &str); 1] = [("NOTICE_MAILS", "on")];

async fn post(t: &TestApp, who: &Customer, path: &str, body: Option<Value>) -> Answer {
    t.send(Method::POST, path, Some(&t.token(who)), &[], body).await
}

async fn page(t: &TestApp, who: &Customer, id: Uuid) -> Answer {
    t.get(who, &format!("/v1/admin/customers/{id}")).await
}

async fn note(t: &TestApp, who: &Customer, id: Uuid, text: &str, key: Option<&str>) -> Answer {
    let headers: Vec<(&str, &str)> = key.iter().map(|key| ("Idempotency-Key", *key)).collect();
    let path = format!("/v1/admin/customers/{id}/notes");
    t.send(Method::POST, &path, Some(&t.token(who)), &headers, Some(json!({"text": text}))).await
}

async fn protect(t: &TestApp, who: &Customer, id: Uuid) -> Answer {
    post(t, who, &format!("/v1/admin/customers/{id}/freeze"), Some(json!({"reason": "says the phone was stolen"})))
        .await
}

async fn hits(t: &TestApp, who: &Customer, q: &str) -> Vec<Value> {
    let found = t.get(who, &format!("/v1/admin/search?q={}", q.replace(' ', "%20"))).await;
    assert_eq!(found.status, StatusCode::OK, "{}", found.body);
    found.body["data"].as_array().cloned().expect("a list")
}

fn length(list: &Value) -> usize {
    list.as_array().unwrap_or_else(|| panic!("a list: {list}")).len()
}

#[sqlx::test]
async fn one_call_tells_all_that_support_needs_of_a_customer(db: PgPool) {
    let t = TestApp::with(db, &[("WITHDRAWAL_LIMITS", "ZAR:5000:8000"), ("APPROVAL_THRESHOLDS", "ZAR:1000")]).await;
    let (customer, support, finance) =
        (t.customer_with(10_000).await, t.staff(Role::Support).await, t.staff(Role::Finance).await);
    let withdrawal = t.withdraw(&customer, 3_000, "w").await;
    t.drive().await;
    note(&t, &support, customer.id, "Called about the payout", None).await;
    let seen = page(&t, &support, customer.id).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.body);
    let seen = seen.body;
    assert_eq!(seen["profile"]["email"], json!(customer.email));
    assert_eq!((&seen["state"]["frozen"], &seen["state"]["erased_at"]), (&json!(false), &Value::Null));
    let balance = &seen["balances"][0];
    assert_eq!((&balance["posted"], &balance["pending"], &balance["owed"]), (&json!(10_000), &json!(3_000), &json!(0)));
    assert_eq!(balance["limits"], json!({"once": 5_000, "daily": 8_000, "used": 3_000, "remaining": 5_000}));
    assert_eq!(seen["bank_accounts"][0]["account_number_masked"], "****4567");
    assert_eq!((length(&seen["sessions"]), seen["sessions"][0]["network"].as_str()), (1, Some("127.0.0.0/24")));
    assert!(seen["sessions"][0]["last_used_at"].is_string());
    assert_eq!(seen["mails"][0]["kind"], "email_verification");
    let open = &seen["open"][0];
    assert_eq!((&open["id"], &open["state"]), (&json!(withdrawal.id()), &json!("awaiting_approval")));
    assert_eq!(seen["held"], json!([]));
    assert_eq!(seen["notes"][0]["text"], "Called about the payout");
    // What the log says of staff is not for support, and the page says so.
    assert_eq!(seen["staff_calls"], Value::Null);
    let why = json!([{"part": "staff_calls", "reason": "missing_permission", "permission": "audit.read"}]);
    assert_eq!(seen["withheld"], why);
    let all = page(&t, &finance, customer.id).await.body;
    assert_eq!(all["withheld"], json!([]));
    let calls = all["staff_calls"].as_array().expect("a list");
    assert!(calls.iter().any(|call| call["actor"] == json!(support.id)), "{calls:?}");
    for link in all["links"].as_object().expect("an object").values() {
        assert_eq!(t.get(&finance, link.as_str().expect("a link")).await.status, StatusCode::OK, "{link}");
    }
    assert_eq!(page(&t, &support, Uuid::now_v7()).await.code(), "not_found");
    let text = all.to_string();
    assert!(!text.contains("62001234567") && !text.contains("127.0.0.1"), "{text}");
    t.finish().await;
}

#[sqlx::test]
async fn a_page_shows_the_rest_while_the_ledger_does_not_answer(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let settings = binary::settings(&db, "unused");
    let config = Config::from_source(&|name| Ok(settings.get(name).cloned())).expect("the settings are complete");
    let nobody = Options { deadline: Duration::from_millis(200), ..Options::new(0, "127.0.0.1:1") };
    let ledger = Ledger::connect(nobody).await.expect("an address");
    let app = App::assemble(config, db, ledger.clone(), t.app.clock.clone(), CrashPoints::default()).expect("usable");
    let sight = Sight { money: true, held: true, notes: true, looks: true };
    let shown = customers::page(&app, customer.id, sight).await.expect("the rest");
    assert!(shown.money_is_away && shown.money.is_none() && shown.open.is_some());
    assert_eq!(shown.user.email, customer.email);
    ledger.close().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_note_is_sealed_is_written_once_and_goes_with_its_customer(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let t = TestApp::with(db.clone(), &[("DATA_KEYS", &old)]).await;
    let (customer, support, admin) = (t.customer().await, t.staff(Role::Support).await, t.staff(Role::Admin).await);
    let first = note(&t, &support, customer.id, "Moved to Dlaministraat", Some("n1")).await;
    assert_eq!((first.status, &first.body["author_id"]), (StatusCode::CREATED, &json!(support.id)), "{}", first.body);
    let again = note(&t, &support, customer.id, "Moved to Dlaministraat", Some("n1")).await;
    assert!(again.replayed() && again.id() == first.id(), "{}", again.body);
    assert_eq!(note(&t, &support, customer.id, "Something else", Some("n1")).await.code(), "idempotency_key_reused");
    t.app.clock.advance(TimeDelta::milliseconds(1));
    note(&t, &admin, customer.id, "Wants it by mail", None).await;
    for wrong in ["", "   ", &"a".repeat(2_001), "a\u{0}b"] {
        assert_eq!(note(&t, &support, customer.id, wrong, None).await.code(), "invalid_request", "{wrong:?}");
    }
    assert_eq!(note(&t, &support, Uuid::now_v7(), "nobody's", None).await.code(), "not_found");
    let path = format!("/v1/admin/customers/{}/notes", customer.id);
    let newest = t.get(&support, &format!("{path}?limit=1")).await.body;
    assert_eq!(newest["data"][0]["text"], "Wants it by mail");
    let cursor = newest["page"]["next_cursor"].as_str().expect("another page").to_owned();
    let next = t.get(&support, &format!("{path}?limit=1&cursor={cursor}")).await.body;
    assert_eq!(next["data"][0]["text"], "Moved to Dlaministraat");
    assert_eq!(columns_with(&db, "Dlaministraat").await, [""; 0], "nowhere in the clear");
    // Another key.
    let during = TestApp::with(db, &[("DATA_KEYS", &format!("{new},{old}"))]).await;
    let batch = rotation::next(&during.app, &CustomerNotes, &mut Cursor::default()).await.expect("answers");
    assert_eq!(batch.map(|batch| batch.encrypted), Some(2));
    let uses = rotation::uses(&during.app, &CustomerNotes).await.expect("answers");
    assert_eq!(uses, [rotation::KeyUse { id: "new".to_owned(), rows: 2 }]);
    // The person is told, and erased.
    let told = during.get(&admin, &format!("/v1/admin/users/{}/data-export", customer.id)).await;
    assert_eq!(length(&told.body["notes"]), 2, "{}", told.body);
    let (system, other) = (octoco::identity::audit::Actor::system(), during.staff(Role::Admin).await);
    restrictions::impose(&during.app, &system, customer.id, Kind::Closure, "asked for").await.expect("closed");
    for (by, status) in [(&admin, StatusCode::ACCEPTED), (&other, StatusCode::OK)] {
        let path = format!("/v1/admin/users/{}/erase", customer.id);
        let erased = post(&during, by, &path, Some(json!({"note": "asked for"}))).await;
        assert_eq!(erased.status, status, "{}", erased.body);
    }
    let left: i64 = sqlx::query_scalar("select count(*) from customer_notes")
        .fetch_one(&during.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(left, 0);
    assert!(page(&during, &admin, customer.id).await.body["state"]["erased_at"].is_string());
    during.drive().await;
    during.finish().await;
}

#[sqlx::test]
async fn support_ends_all_sessions_of_a_customer_who_is_told(db: PgPool) {
    let t = TestApp::with(db, &TOLD).await;
    let (customer, support, admin) = (t.customer().await, t.staff(Role::Support).await, t.staff(Role::Admin).await);
    t.login(&customer.email, crate::harness::PASSWORD).await;
    let path = format!("/v1/admin/customers/{}/sessions/end", customer.id);
    assert_eq!(post(&t, &support, &path, None).await.body, json!({"sessions_ended": 2}));
    assert_eq!(t.get(&customer, "/v1/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&t, &support, &path, None).await.body, json!({"sessions_ended": 0}), "and told once");
    t.drive().await;
    let told: Vec<String> = sqlx::query_scalar("select state from mails where kind = 'sessions_ended'")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(told, ["sent"]);
    let mail = t.mailbox.newest(&customer.email, "You were signed out everywhere");
    assert!(!mail.0.contains("Thandi"), "no name stands in it");
    let of_staff = post(&t, &support, &format!("/v1/admin/customers/{}/sessions/end", admin.id), None).await;
    assert_eq!((of_staff.status, of_staff.code()), (StatusCode::FORBIDDEN, "forbidden"));
    let log = t.get(&admin, &format!("/v1/admin/audit?subject={}&action=user.sessions_ended", customer.id)).await;
    assert_eq!(length(&log.body["data"]), 2, "{}", log.body);
    t.finish().await;
}

#[sqlx::test]
async fn sessions_that_ran_out_are_not_ended_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    t.advance(TimeDelta::days(40));
    let signed_in = t.login(&customer.email, crate::harness::PASSWORD).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{}", signed_in.body);
    let over: Uuid = sqlx::query_scalar("select id from sessions where user_id = $1 and expires_at <= $2 limit 1")
        .bind(customer.id)
        .bind(t.app.clock.now())
        .fetch_one(&t.app.db)
        .await
        .expect("one ran out");
    let token = signed_in.body["access_token"].as_str().expect("a token");
    let path = format!("/v1/auth/sessions/{over}");
    let answer = t.send(Method::DELETE, &path, Some(token), &[], None).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "not_found"));
    let support = t.staff(Role::Support).await;
    let living = "select count(*) from sessions where user_id = $1 and revoked_at is null and expires_at > $2";
    let living: i64 = sqlx::query_scalar(living)
        .bind(customer.id)
        .bind(t.app.clock.now())
        .fetch_one(&t.app.db)
        .await
        .expect("a count");
    let path = format!("/v1/admin/customers/{}/sessions/end", customer.id);
    assert_eq!(post(&t, &support, &path, None).await.body, json!({"sessions_ended": living}));
    t.finish().await;
}

#[sqlx::test]
async fn support_has_the_verification_sent_again_until_it_is_done_and_floods_nobody(db: PgPool) {
    let t = TestApp::with(db, &[("RATE_LIMITS", "default")]).await;
    let (customer, support) = (t.customer().await, t.staff(Role::Support).await);
    let path = format!("/v1/admin/customers/{}/resend-verification", customer.id);
    let mut sent = 0;
    let refused = loop {
        let answer = post(&t, &support, &path, None).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        assert_eq!(answer.body, json!({"already_verified": false}));
        sent += 1;
    };
    assert_eq!(
        (refused.code(), sent),
        ("rate_limited", 3),
        "those of registrations, which others can cause, are counted by themselves"
    );
    sqlx::query("update users set email_verified_at = now() where id = $1")
        .bind(customer.id)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(post(&t, &support, &path, None).await.body, json!({"already_verified": true}));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn support_freezes_for_protection_and_only_finance_confirms_or_lifts_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, support, finance) =
        (t.customer_with(5_000).await, t.staff(Role::Support).await, t.staff(Role::Finance).await);
    for _ in 0..2 {
        let frozen = protect(&t, &support, customer.id).await;
        assert_eq!(frozen.status, StatusCode::OK, "{}", frozen.body);
        let row = &frozen.body["data"][0];
        let told = (&row["state"], &row["protective"], &row["imposed_by"]);
        assert_eq!(told, (&json!("in_force"), &json!(true), &json!(support.id)));
    }
    assert_eq!(t.withdraw(&customer, 1_000, "w").await.code(), "account_frozen");
    let waiting = async || length(&t.get(&finance, "/v1/admin/restrictions?protective=true").await.body["data"]);
    assert_eq!(waiting().await, t.app.config.currencies.len());
    restrictions::measure(&t.app).await.expect("PostgreSQL answers");
    let gauge = |told: &str| t.app.metrics.render().lines().any(|line| line == told);
    assert!(gauge(r#"octoco_queue_rows{queue="restriction",what="protective"} 1"#));
    assert_eq!(page(&t, &support, customer.id).await.body["state"]["frozen"], json!(true));
    for undo in ["unfreeze", "close", "reopen", "freeze"] {
        let body = matches!(undo, "close" | "freeze").then(|| json!({"reason": "x"}));
        let path = format!("/v1/admin/users/{}/{undo}", customer.id);
        assert_eq!(post(&t, &support, &path, body).await.code(), "forbidden", "{undo}");
    }
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let confirmed = post(&t, &finance, &path, Some(json!({"reason": "looked at"}))).await;
    assert_eq!((confirmed.status, &confirmed.body["data"][0]["protective"]), (StatusCode::OK, &json!(false)));
    assert_eq!(waiting().await, 0);
    let log = t.get(&finance, &format!("/v1/admin/audit?subject={}&action=restriction.confirmed", customer.id)).await;
    assert_eq!(length(&log.body["data"]), 1);
    let staff = protect(&t, &support, finance.id).await;
    assert_eq!(staff.code(), "forbidden", "who works here is nobody to be protected");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn nobody_alone_freezes_everybody(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other, support) = (t.customer().await, t.customer().await, t.staff(Role::Support).await);
    // As many as may be, of long ago and of today; each was lifted again.
    let earlier = "insert into restrictions (id, user_id, kind, currency, call_id, state, reason, imposed_by, was_protective, created_at,
                                             updated_at)
        select made, $1, 'freeze', 'ZAR', made, 'lifted', 'x', $2, true, at, at
          from (select $3::timestamptz + n * interval '1 minute' as at,
                       (left(gen_random_uuid()::text, 34) || '00')::uuid as made from generate_series(1, $4) as n) as rows";
    let (now, max) = (t.app.clock.now(), i32::try_from(restrictions::PROTECTIVE_MAX).expect("few"));
    for (begins, count) in [(now - TimeDelta::hours(30), max), (now - TimeDelta::hours(23), max - 1)] {
        let insert = sqlx::query(earlier).bind(other.id).bind(support.id).bind(begins).bind(count);
        insert.execute(&t.app.db).await.expect("PostgreSQL answers");
    }
    assert_eq!(protect(&t, &support, customer.id).await.status, StatusCode::OK, "the last one");
    let refused = protect(&t, &support, other.id).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"), "{}", refused.body);
    let wait: i64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((3_600..=3_700).contains(&wait), "until the first of today is a day old: {wait}");
    assert_eq!(protect(&t, &support, customer.id).await.status, StatusCode::OK, "who is frozen stays so");
    assert_eq!(page(&t, &support, other.id).await.body["state"]["frozen"], json!(false));
    assert_eq!(protect(&t, &t.staff(Role::Support).await, other.id).await.status, StatusCode::OK, "somebody else may");
    t.finish().await;
}

#[sqlx::test]
async fn a_customer_is_found_by_the_words_of_the_name(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, support) = (t.customer().await, t.staff(Role::Support).await);
    let name = "update users set full_name = 'Zoë van der Merwe-Naidoo' where id = $1";
    sqlx::query(name).bind(customer.id).execute(&t.app.db).await.expect("PostgreSQL answers");
    for q in ["Zoë Merwe", "zoe", "naid", "merwe ZOE", "van der mer"] {
        let found = hits(&t, &support, q).await;
        let hit = found.iter().find(|hit| hit["matched"] == "full_name").unwrap_or_else(|| panic!("{q}: {found:?}"));
        assert_eq!((&hit["type"], &hit["id"]), (&json!("user"), &json!(customer.id)));
        assert!(hit["label"].as_str().is_some_and(|label| label.contains(&customer.email)), "which of that name");
    }
    for q in ["na", "merwe nobody", "%25", "erwe"] {
        assert!(hits(&t, &support, q).await.iter().all(|hit| hit["matched"] != "full_name"), "{q}");
    }
    let log: Vec<String> = sqlx::query_scalar("select after::text from audit_log where action = 'staff.called'")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    assert!(log.iter().all(|call| !call.to_lowercase().contains("merwe")), "audited without what was looked for");
    t.drive().await;
    t.finish().await;
}

/// A deposit of this call, and the id that its answer tells.
async fn deposit_of_call(t: &TestApp, customer: &Customer, key: &str, request_id: Option<&str>) -> (Uuid, String) {
    let mut headers = vec![("Idempotency-Key", key)];
    headers.extend(request_id.map(|id| ("X-Request-Id", id)));
    let body = json!({"amount": 700, "currency": "ZAR"});
    let made = t.send(Method::POST, "/v1/deposits", Some(&t.token(customer)), &headers, Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    (made.id(), made.headers["x-request-id"].to_str().expect("text").to_owned())
}

#[sqlx::test]
async fn what_a_customer_quotes_of_a_call_leads_to_what_it_did(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, support, finance) =
        (t.customer_with(5_000).await, t.staff(Role::Support).await, t.staff(Role::Finance).await);
    let v4 = "7f4df9c2-3f5e-4b7a-9c6d-0a1b2c3d4e5f";
    // One of another day's, and one that no clock made.
    let foreign = "01900000-0000-7000-8000-0000000000ff";
    for (key, own) in [("k1", None), ("k2", Some("order-77.a")), ("k3", Some(v4)), ("k4", Some(foreign))] {
        let (id, quoted) = deposit_of_call(&t, &customer, key, own).await;
        assert_eq!(own.unwrap_or(&quoted), quoted);
        let found = hits(&t, &support, &quoted).await;
        let hit =
            found.iter().find(|hit| hit["matched"] == "request_id").unwrap_or_else(|| panic!("{quoted}: {found:?}"));
        assert_eq!((&hit["type"], &hit["id"]), (&json!("transaction"), &json!(id)));
        let shown = t.get(&finance, &format!("/v1/admin/transactions/{id}")).await;
        assert_eq!(shown.body["request_id"], json!(quoted));
    }
    let (ours, indexed): (i64, i64) = sqlx::query_as("select count(request_id), count(request_word) from transactions")
        .fetch_one(&t.app.db)
        .await
        .expect("two");
    assert_eq!((ours, indexed), (2, 3), "only what the time does not find costs an index");
    let body = json!({"amount": 500, "currency": "ZAR", "bank_account_id": customer.bank_account_id});
    let withdrawal =
        t.send(Method::POST, "/v1/withdrawals", Some(&customer.token), &[("Idempotency-Key", "w")], Some(body)).await;
    let quoted = withdrawal.headers["x-request-id"].to_str().expect("text").to_owned();
    assert_eq!(hits(&t, &support, &quoted).await[0]["id"], json!(withdrawal.id()));
    // A sign-in that was refused has made no row, and is on record.
    let body = json!({"email": customer.email, "password": "not the password"});
    t.send(Method::POST, "/v1/auth/login", None, &[("X-Request-Id", "app-4711")], Some(body)).await;
    let kinds = |hits: Vec<Value>| hits.iter().map(|hit| hit["type"].clone()).collect::<Vec<_>>();
    assert_eq!(kinds(hits(&t, &support, "app-4711").await), ["user"]);
    let found = hits(&t, &finance, "app-4711").await;
    assert_eq!(found[1]["label"], "session.refused");
    let entries = t.get(&finance, found[1]["link"].as_str().expect("a link")).await;
    assert_eq!(entries.body["data"][0]["action"], "session.refused");
    assert_eq!(hits(&t, &support, "app-4712").await, [""; 0]);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_correction_and_what_it_sets_right_tell_of_each_other(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer_with(900).await);
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    let of = |whom: &Customer, about: Uuid| {
        let mut body = correction(whom, "credit", 250);
        body["transaction_id"] = json!(about);
        body
    };
    for wrong in [of(&other, deposit.id()), of(&customer, Uuid::now_v7())] {
        let refused = propose(&t, &maker, wrong, "wrong").await;
        assert_eq!(refused.body["errors"][0]["field"], "transaction_id", "{}", refused.body);
    }
    let adjustment = proposed(&t, &maker, of(&customer, deposit.id()), "a").await;
    assert_eq!(adjustment.body["transaction_id"], json!(deposit.id()));
    assert_eq!(propose(&t, &maker, correction(&customer, "credit", 250), "a").await.code(), "idempotency_key_reused");
    assert_eq!(approve(&t, &checker, adjustment.id(), hash(&adjustment)).await.body["state"], "completed");
    let seen = t.get(&checker, &format!("/v1/admin/transactions/{}", deposit.id())).await.body;
    assert_eq!((length(&seen["adjustments"]), &seen["adjusts"]), (1, &Value::Null));
    let told = (&seen["adjustments"][0]["id"], &seen["adjustments"][0]["state"], &seen["adjustments"][0]["amount"]);
    assert_eq!(told, (&json!(adjustment.id()), &json!("completed"), &json!(250)));
    let own = t.get(&checker, &format!("/v1/admin/transactions/{}", adjustment.id())).await.body;
    assert_eq!((&own["adjusts"], &own["adjustments"]), (&json!(deposit.id()), &json!([])));
    t.finish().await;
}

#[sqlx::test]
async fn a_dead_mail_and_a_dead_event_are_dismissed_with_a_note_and_stay_to_be_found(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, support, finance) = (t.customer().await, t.staff(Role::Support).await, t.staff(Role::Finance).await);
    while t.send_mails().await > 0 {}
    let mail: Uuid = sqlx::query_scalar(
        "update mails set state = 'dead', sent_at = null, last_error = 'no such mailbox' where user_id = $1 returning id",
    )
    .bind(customer.id)
    .fetch_one(&t.app.db)
    .await
    .expect("a mail");
    let path = format!("/v1/admin/mails/{mail}/dismiss");
    assert_eq!(post(&t, &support, &path, Some(json!({"note": " "}))).await.code(), "invalid_request");
    let done = post(&t, &support, &path, Some(json!({"note": "told by phone"}))).await;
    assert_eq!(
        (&done.body["state"], &done.body["note"]),
        (&json!("dismissed"), &json!("told by phone")),
        "{}",
        done.body
    );
    assert_eq!(post(&t, &support, &path, Some(json!({"note": "again"}))).await.code(), "not_found");
    let list = async |query: &str| length(&t.get(&support, &format!("/v1/admin/mails?{query}")).await.body["data"]);
    assert_eq!((list("state=dead").await, list(&format!("user_id={}&state=dismissed", customer.id)).await), (0, 1));
    let event: Uuid = sqlx::query_scalar(
        "insert into webhook_logs (id, endpoint, received_at, body_hash, verdict, state)
         values (gen_random_uuid(), 'revio', now(), decode(repeat('07', 32), 'hex'), 'accepted', 'dead') returning id",
    )
    .fetch_one(&t.app.db)
    .await
    .expect("stored");
    let path = format!("/v1/admin/webhooks/{event}/dismiss");
    let done = post(&t, &finance, &path, Some(json!({"note": "of a test"}))).await;
    assert_eq!((&done.body["state"], &done.body["note"]), (&json!("dismissed"), &json!("of a test")), "{}", done.body);
    t.finish().await;
}
