//! The second factor of staff: without it no permission, enrolled only with somebody else's word, each code once; sessions that end
//! and acts that need a step-up. That of customers is in `second_factor/customers.rs`.

mod customers;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use octoco::identity::audit::Actor;
use octoco::identity::totp::{self, SecondFactors};
use octoco::identity::{rotation, second_factor};
use octoco::platform::keys;
use octoco::platform::permissions::{ALL, Role, needs_step_up};
use octoco::processes::router;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::PgPool;
use totp_rs::{Builder, Secret};
use uuid::Uuid;

use crate::binary;
use crate::harness::{Answer, Customer, PASSWORD, TestApp};

/// What the tests of other things do without.
pub(crate) const SWITCHED_OFF: [(&str, &str); 5] = [
    ("STAFF_TOTP", "optional"),
    ("STAFF_STEP_UP", "off"),
    ("STAFF_SESSION_HOURS", "off"),
    ("BANK_ACCOUNT_COOLING_HOURS", "off"),
    ("NOTICE_MAILS", "off"),
];
/// As it is when nothing is said.
const DEFAULTS: [(&str, &str); 3] =
    [("STAFF_TOTP", "required"), ("STAFF_STEP_UP", "required"), ("STAFF_SESSION_HOURS", "12")];
const STAFF: [Role; 3] = [Role::Support, Role::Finance, Role::Admin];

/// An app that somebody has told a secret.
struct Authenticator(String);

impl Authenticator {
    fn code(&self, t: &TestApp) -> String {
        let secret = Secret::try_from_base32(&self.0).expect("base32");
        let totp = Builder::new().with_secret(secret).build().expect("of the right length");
        totp.generate(u64::try_from(t.app.clock.now().timestamp()).expect("after 1970")).to_string()
    }

    /// One that no call has had.
    fn next(&self, t: &TestApp) -> String {
        t.advance(TimeDelta::seconds(30));
        self.code(t)
    }

    fn wrong(&self, t: &TestApp) -> String {
        let right: u32 = self.code(t).parse().expect("digits");
        format!("{:06}", (right + 1) % 1_000_000)
    }
}

async fn post(t: &TestApp, who: &Customer, path: &str, body: Value) -> Answer {
    t.send(Method::POST, path, Some(&t.token(who)), &[], Some(body)).await
}

async fn sign_in(t: &TestApp, who: &Customer, code: Option<&str>) -> Answer {
    let mut body = json!({"email": who.email, "password": PASSWORD});
    if let Some(code) = code {
        body["totp_code"] = json!(code);
    }
    t.send(Method::POST, "/v1/auth/login", None, &[], Some(body)).await
}

/// The same person in the session that the answer opened.
fn in_session(t: &TestApp, who: &Customer, login: &Answer) -> Customer {
    assert_eq!(login.status, StatusCode::OK, "{}", login.body);
    let token = login.body["access_token"].as_str().expect("a token").to_owned();
    let session_id = t.app.tokens.check(&token, t.app.clock.now()).expect("it lives").sid;
    Customer { id: who.id, email: who.email.clone(), session_id, token, bank_account_id: who.bank_account_id }
}

/// What the operator's command gives out.
async fn token_for(t: &TestApp, user: Uuid) -> String {
    let reset = second_factor::reset(&t.app, &Actor::system(), user).await.expect("the user is there");
    reset.enrolment_token.expect("staff").expose_secret().to_owned()
}

/// Shows the first code of what was begun.
async fn confirm(t: &TestApp, who: &Customer, begun: &Answer) -> (Authenticator, Vec<String>) {
    assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
    let secret = begun.body["secret"].as_str().expect("a secret").to_owned();
    assert!(begun.body["otpauth_url"].as_str().is_some_and(|url| url.contains(&secret)), "{}", begun.body);
    let authenticator = Authenticator(secret);
    let wrong = post(t, who, "/v1/me/totp/confirm", json!({"code": authenticator.wrong(t)})).await;
    assert_eq!((wrong.status, wrong.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"));
    let confirmed = post(t, who, "/v1/me/totp/confirm", json!({"code": authenticator.code(t)})).await;
    assert_eq!(confirmed.status, StatusCode::OK, "{}", confirmed.body);
    let codes = confirmed.body["recovery_codes"].as_array().expect("a list").iter();
    (authenticator, codes.map(|code| code.as_str().expect("text").to_owned()).collect())
}

/// One of staff with a second factor, in a session that has shown it.
async fn enrolled(t: &TestApp, role: Role) -> (Customer, Authenticator, Vec<String>) {
    let staff = t.staff(role).await;
    let token = token_for(t, staff.id).await;
    let staff = in_session(t, &staff, &sign_in(t, &staff, None).await);
    let begun = post(t, &staff, "/v1/me/totp", json!({"password": PASSWORD, "enrolment_token": token})).await;
    let (authenticator, codes) = confirm(t, &staff, &begun).await;
    (staff, authenticator, codes)
}

/// Every route of the document that needs a permission.
fn routes_for_staff() -> Vec<(Method, String, String)> {
    let document = router::openapi();
    let paths = document["paths"].as_object().expect("an object").clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an object").clone();
        item.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
    });
    let routes = operations.filter_map(|(path, method, operation)| {
        let permission = operation["security"][0]["bearer"][0].as_str()?.to_owned();
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        Some((method, path.replace("{id}", "01900000-0000-7000-8000-000000000000"), permission))
    });
    routes.collect()
}

/// A person's data taken out whole is more.
fn is_looking(method: &Method, path: &str) -> bool {
    *method == Method::GET && !path.ends_with("/data-export")
}

async fn call(t: &TestApp, who: &Customer, method: &Method, path: &str) -> Answer {
    let body = (*method != Method::GET).then(|| json!({}));
    t.send(method.clone(), path, Some(&t.token(who)), &[], body).await
}

#[sqlx::test]
async fn staff_without_a_second_factor_may_do_nothing_whatever_their_role(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    for role in STAFF {
        let staff = t.staff(role).await;
        for (method, path, _) in routes_for_staff() {
            let answer = call(&t, &staff, &method, &path).await;
            let expected = (StatusCode::FORBIDDEN, ["totp_required", "forbidden"].contains(&answer.code()));
            assert_eq!((answer.status, true), expected, "{method} {path} by {}: {}", role.name(), answer.body);
        }
        assert_eq!(t.get(&staff, "/v1/admin/users").await.code(), "totp_required");
        assert_eq!(t.get(&staff, "/v1/me").await.status, StatusCode::OK, "as anybody");
    }
    let (staff, _, recovery) = enrolled(&t, Role::Support).await;
    assert_eq!(t.get(&staff, "/v1/admin/users").await.status, StatusCode::OK);
    // What cannot be a code is none that was tried.
    for (path, field) in [("/v1/auth/step-up", "totp_code"), ("/v1/me/totp/confirm", "code")] {
        for text in ["", &"1".repeat(41)] {
            let refused = post(&t, &staff, path, json!({field: text})).await;
            assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.body);
        }
    }
    assert_eq!(post(&t, &staff, "/v1/auth/step-up", json!({"totp_code": recovery[0]})).await.status, StatusCode::OK);
    // Another session of the same person has shown nothing.
    sqlx::query("update sessions set second_factor_at = null").execute(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(t.get(&staff, "/v1/admin/users").await.code(), "totp_required");
    t.finish().await;
}

#[sqlx::test]
#[expect(clippy::disallowed_methods, reason = "somebody else is at it meanwhile")]
async fn a_stolen_password_of_a_fresh_staff_account_enrols_nothing(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let staff = t.staff(Role::Finance).await;
    let begin = async |who: &Customer, token: Option<&str>| {
        let mut body = json!({"password": PASSWORD});
        if let Some(token) = token {
            body["enrolment_token"] = json!(token);
        }
        post(&t, who, "/v1/me/totp", body).await
    };
    let alone = begin(&staff, None).await;
    assert_eq!((alone.status, alone.code()), (StatusCode::FORBIDDEN, "forbidden"));
    let other = t.staff(Role::Finance).await;
    let (others, old) = (token_for(&t, other.id).await, token_for(&t, staff.id).await);
    let newer = token_for(&t, staff.id).await;
    let staff = in_session(&t, &staff, &sign_in(&t, &staff, None).await);
    for (token, why) in [("made up", "made up"), (others.as_str(), "another's"), (old.as_str(), "replaced")] {
        let refused = begin(&staff, Some(token)).await;
        assert_eq!(refused.body["errors"][0]["field"], "enrolment_token", "{why}: {}", refused.body);
    }
    t.advance(TimeDelta::hours(24));
    let staff = in_session(&t, &staff, &sign_in(&t, &staff, None).await);
    assert_eq!(begin(&staff, Some(&newer)).await.body["errors"][0]["field"], "enrolment_token", "too old");
    let token = token_for(&t, staff.id).await;
    let staff = in_session(&t, &staff, &sign_in(&t, &staff, None).await);
    let wrong = post(&t, &staff, "/v1/me/totp", json!({"password": "wrong", "enrolment_token": token})).await;
    assert_eq!(wrong.code(), "invalid_credentials", "nor does a token alone");
    // Replaced while somebody begins with it.
    let mut reset = t.app.db.begin().await.expect("PostgreSQL answers");
    for change in ["update users set role = role where id = $1", "delete from totp_invitations where user_id = $1"] {
        sqlx::query(change).bind(staff.id).execute(&mut *reset).await.expect("nobody has it");
    }
    let replaced = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        reset.commit().await.expect("PostgreSQL answers");
    };
    let (raced, ()) = tokio::join!(begin(&staff, Some(&token)), replaced);
    assert_eq!(raced.body["errors"][0]["field"], "enrolment_token", "replaced meanwhile: {}", raced.body);
    let token = token_for(&t, staff.id).await;
    let staff = in_session(&t, &staff, &sign_in(&t, &staff, None).await);
    let begun = begin(&staff, Some(&token)).await;
    confirm(&t, &staff, &begun).await;
    let again = begin(&staff, Some(&token)).await;
    assert_eq!(again.body["errors"][0]["field"], "enrolment_token", "it enrolled one already: {}", again.body);
    t.finish().await;
}

#[sqlx::test]
async fn a_second_factor_that_somebody_enrolled_before_the_role_opens_nothing(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let person = t.customer().await;
    let begun = post(&t, &person, "/v1/me/totp", json!({"password": PASSWORD})).await;
    let (early, _) = confirm(&t, &person, &begun).await;
    t.give_role(person.id, Role::Admin).await;
    assert_eq!(t.get(&person, "/v1/admin/users").await.code(), "totp_required");
    let shown = post(&t, &person, "/v1/auth/step-up", json!({"totp_code": early.next(&t)})).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.body);
    assert_eq!(t.get(&person, "/v1/admin/users").await.code(), "totp_required", "shown, and nobody vouched for it");
    let token = token_for(&t, person.id).await;
    let person = in_session(&t, &person, &sign_in(&t, &person, None).await);
    let begun = post(&t, &person, "/v1/me/totp", json!({"password": PASSWORD, "enrolment_token": token})).await;
    confirm(&t, &person, &begun).await;
    assert_eq!(t.get(&person, "/v1/admin/users").await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn another_admin_resets_a_second_factor_and_nobody_the_own(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let (admin, ..) = enrolled(&t, Role::Admin).await;
    let (finance, lost, codes) = enrolled(&t, Role::Finance).await;
    let path = |who: &Customer| format!("/v1/admin/users/{}/totp-reset", who.id);
    let by_finance = post(&t, &finance, &path(&admin), json!({})).await;
    assert_eq!((by_finance.status, by_finance.code()), (StatusCode::FORBIDDEN, "forbidden"));
    let own = post(&t, &admin, &path(&admin), json!({})).await;
    assert_eq!((own.status, own.code()), (StatusCode::FORBIDDEN, "forbidden"));
    let reset = post(&t, &admin, &path(&finance), json!({})).await;
    assert_eq!(reset.status, StatusCode::OK, "{}", reset.body);
    assert_eq!(t.get(&finance, "/v1/me").await.code(), "unauthenticated", "all sessions have ended");
    let without = sign_in(&t, &finance, None).await;
    let finance = in_session(&t, &finance, &without);
    assert_eq!(t.get(&finance, "/v1/admin/users").await.code(), "totp_required");
    for old in [lost.next(&t), codes[0].clone()] {
        let shown = post(&t, &finance, "/v1/auth/step-up", json!({"totp_code": old})).await;
        assert_eq!(shown.code(), "invalid_credentials", "what was lost opens nothing");
    }
    let token = reset.body["enrolment_token"].as_str().expect("a token");
    let begun = post(&t, &finance, "/v1/me/totp", json!({"password": PASSWORD, "enrolment_token": token})).await;
    confirm(&t, &finance, &begun).await;
    assert_eq!(t.get(&finance, "/v1/admin/users").await.status, StatusCode::OK);
    let customer = t.customer().await;
    let reset = post(&t, &admin, &path(&customer), json!({})).await;
    assert_eq!((reset.status, &reset.body["enrolment_token"]), (StatusCode::OK, &Value::Null));
    t.finish().await;
}

#[sqlx::test]
async fn the_operators_command_lets_the_first_admin_enrol(db: PgPool) {
    let data_keys = keys::new_data_key("k1");
    let settings = [DEFAULTS.as_slice(), &[("DATA_KEYS", &data_keys)]].concat();
    let t = TestApp::with(db.clone(), &settings).await;
    let admin = t.staff(Role::Admin).await;
    let mut settings = binary::settings(&db, "unused");
    settings.insert("DATA_KEYS", data_keys);
    let (printed, status) = binary::run(&["admin", "totp-reset", "--email", &admin.email], &settings).await;
    assert!(status.success(), "{printed}");
    let token = printed.lines().find_map(|line| line.strip_prefix("enrolment token, once and for 24 hours: "));
    let token = token.unwrap_or_else(|| panic!("no token in {printed}"));
    // The command lives in the present, the test in its own time.
    sqlx::query("update totp_invitations set expires_at = $1")
        .bind(t.app.clock.now() + TimeDelta::hours(24))
        .execute(&db)
        .await
        .expect("PostgreSQL answers");
    let admin = in_session(&t, &admin, &sign_in(&t, &admin, None).await);
    let begun = post(&t, &admin, "/v1/me/totp", json!({"password": PASSWORD, "enrolment_token": token})).await;
    confirm(&t, &admin, &begun).await;
    assert_eq!(t.get(&admin, "/v1/admin/users").await.status, StatusCode::OK);
}

#[sqlx::test]
async fn staff_sign_in_with_a_code_and_each_code_counts_once(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let (staff, authenticator, _) = enrolled(&t, Role::Support).await;
    let without = sign_in(&t, &staff, None).await;
    assert_eq!((without.status, without.code()), (StatusCode::UNAUTHORIZED, "totp_required"));
    let first = sign_in(&t, &staff, Some(&authenticator.code(&t))).await;
    assert_eq!(first.code(), "invalid_credentials", "it was shown at the enrolment");
    let wrong = sign_in(&t, &staff, Some(&authenticator.wrong(&t))).await;
    assert_eq!((wrong.status, wrong.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"));
    let code = authenticator.next(&t);
    let at_once = futures_util::future::join_all((0..8).map(|_| sign_in(&t, &staff, Some(&code)))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1, "one of eight");
    let staff = in_session(&t, &staff, at_once.iter().find(|answer| answer.status == StatusCode::OK).expect("one"));
    assert_eq!(t.get(&staff, "/v1/admin/users").await.status, StatusCode::OK);
    // An older one that was never shown is too late behind a newer one.
    let skipped = authenticator.next(&t);
    t.advance(TimeDelta::seconds(30));
    assert_eq!(sign_in(&t, &staff, Some(&authenticator.code(&t))).await.status, StatusCode::OK);
    assert_eq!(sign_in(&t, &staff, Some(&skipped)).await.code(), "invalid_credentials");
    let unknown = t.login("nobody@example.com", PASSWORD).await;
    assert_eq!(unknown.code(), "invalid_credentials", "who does not know the password is not asked for a code");
    t.finish().await;
}

#[sqlx::test]
async fn whoever_knows_the_password_and_shows_no_code_leaves_a_row(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let (staff, ..) = enrolled(&t, Role::Support).await;
    assert_eq!(sign_in(&t, &staff, None).await.code(), "totp_required");
    let asked = "select actor, object_id from audit_log where action = 'session.code_asked'";
    let asked: Vec<(String, String)> = sqlx::query_as(asked).fetch_all(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(asked, [("nobody".to_owned(), staff.id.to_string())]);
    assert_eq!(t.app.metrics.sign_ins.with_label_values(&["code_asked"]).get(), 1);
    t.finish().await;
}

#[sqlx::test]
async fn a_recovery_code_counts_once_and_is_kept_as_its_hash(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let (staff, _, codes) = enrolled(&t, Role::Support).await;
    assert_eq!(codes.len(), 10);
    let at_once = futures_util::future::join_all((0..5).map(|_| sign_in(&t, &staff, Some(&codes[0])))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1);
    assert_eq!(sign_in(&t, &staff, Some(&codes[1].replace('-', "").to_uppercase())).await.status, StatusCode::OK);
    assert_eq!(t.get(&staff, "/v1/me/totp").await.body["recovery_codes_left"], 8);
    let stored: Vec<String> = sqlx::query_scalar(
        "select to_jsonb(c)::text from totp_recovery_codes c union all select to_jsonb(l)::text from audit_log l",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    for code in &codes {
        let digits = code.replace('-', "");
        assert!(stored.iter().all(|row| !row.contains(&digits) && !row.contains(code)), "{code}");
    }
    let other = enrolled(&t, Role::Support).await.0;
    assert_eq!(sign_in(&t, &other, Some(&codes[2])).await.code(), "invalid_credentials", "somebody else's");
    t.finish().await;
}

#[sqlx::test]
async fn codes_are_tried_only_so_often(db: PgPool) {
    let t = TestApp::with(db, &[DEFAULTS.as_slice(), &[("RATE_LIMITS", "default")]].concat()).await;
    let (staff, authenticator, _) = enrolled(&t, Role::Support).await;
    let mut tried = 0;
    while post(&t, &staff, "/v1/auth/step-up", json!({"totp_code": authenticator.wrong(&t)})).await.code()
        != "rate_limited"
    {
        tried += 1;
        assert!(tried <= 10, "{tried} guesses");
    }
    let right = post(&t, &staff, "/v1/auth/step-up", json!({"totp_code": authenticator.next(&t)})).await;
    assert_eq!(right.code(), "rate_limited", "the right one, too, and by whatever way");
    assert_eq!(sign_in(&t, &staff, Some(&authenticator.next(&t))).await.code(), "rate_limited");
    let other = enrolled(&t, Role::Support).await.0;
    assert_eq!(t.get(&other, "/v1/admin/users").await.status, StatusCode::OK, "nobody else is stopped");
    t.finish().await;
}

fn refresh_cookie(answer: &Answer) -> String {
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.filter_map(|line| line.split(';').next());
    pairs.rfind(|pair| pair.contains("refresh_token=")).expect("a cookie").to_owned()
}

#[sqlx::test]
async fn a_session_of_staff_ends_after_twelve_hours_however_often_it_is_renewed(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let (staff, authenticator, _) = enrolled(&t, Role::Finance).await;
    let customer = t.customer().await;
    let login = sign_in(&t, &staff, Some(&authenticator.next(&t))).await;
    let (staff, mut cookie) = (in_session(&t, &staff, &login), refresh_cookie(&login));
    let mut customers = refresh_cookie(&t.login(&customer.email, PASSWORD).await);
    let refresh =
        async |cookie: &str| t.send(Method::POST, "/v1/auth/refresh", None, &[("Cookie", cookie)], None).await;
    for _ in 0..4 {
        t.advance(TimeDelta::minutes(175));
        let renewed = refresh(&cookie).await;
        assert_eq!((renewed.status, &renewed.body["expires_in"]), (StatusCode::OK, &json!(900)), "{}", renewed.body);
        cookie = refresh_cookie(&renewed);
        customers = refresh_cookie(&refresh(&customers).await);
    }
    t.advance(TimeDelta::minutes(15));
    let last = refresh(&cookie).await;
    assert_eq!(last.body["expires_in"], 300, "not beyond the session");
    assert_eq!(t.get(&staff, "/v1/admin/users").await.status, StatusCode::OK);
    t.advance(TimeDelta::minutes(5));
    let token = last.body["access_token"].as_str().expect("a token");
    for path in ["/v1/admin/users", "/v1/me"] {
        let late = t.send(Method::GET, path, Some(token), &[], None).await;
        assert_eq!((late.status, late.code()), (StatusCode::UNAUTHORIZED, "unauthenticated"), "{path}");
    }
    assert_eq!(t.get(&staff, "/v1/admin/users").await.code(), "unauthenticated", "a longer token changes nothing");
    assert_eq!(refresh(&refresh_cookie(&last)).await.code(), "unauthenticated");
    assert_eq!(refresh(&customers).await.status, StatusCode::OK, "a customer's goes on");
    t.finish().await;
}

#[sqlx::test]
async fn a_session_that_was_begun_before_the_role_ends_after_twelve_hours_too(db: PgPool) {
    let t = TestApp::with(db, &[("STAFF_SESSION_HOURS", "12")]).await;
    let person = t.customer().await;
    t.advance(TimeDelta::hours(12));
    t.give_role(person.id, Role::Admin).await;
    assert_eq!(t.get(&person, "/v1/admin/users").await.code(), "unauthenticated");
    t.finish().await;
}

#[sqlx::test]
async fn every_act_on_roles_approvals_and_corrections_needs_a_step_up_of_the_last_minutes(db: PgPool) {
    let t = TestApp::with(db, &DEFAULTS).await;
    let (admin, authenticator, _) = enrolled(&t, Role::Admin).await;
    let acts: Vec<_> = routes_for_staff()
        .into_iter()
        .filter(|(method, path, permission)| needs_step_up(permission) && !is_looking(method, path))
        .collect();
    // None that says so and has no route that asks.
    let asked: BTreeSet<&str> = acts.iter().map(|(_, _, permission)| permission.as_str()).collect();
    let said: BTreeSet<&str> =
        ALL.iter().map(|(permission, _)| *permission).filter(|name| needs_step_up(name)).collect();
    assert_eq!(asked, said);
    assert!(said.contains("users.manage_roles") && said.contains("users.export_data"), "{said:?}");
    let told = async |wanted: bool| {
        for (method, path, _) in &acts {
            let answer = call(&t, &admin, method, path).await;
            assert_eq!(answer.code() == "step_up_required", wanted, "{method} {path}: {}", answer.body);
        }
        let release = json!({"action": "release", "note": "lost"});
        let path = "/v1/admin/held/01900000-0000-7000-8000-000000000000/resolve";
        let released = post(&t, &admin, path, release).await;
        assert_eq!(released.code(), if wanted { "step_up_required" } else { "not_found" }, "a release");
    };
    told(false).await;
    t.advance(TimeDelta::minutes(5));
    told(true).await;
    for (method, path, _) in routes_for_staff().iter().filter(|(method, path, _)| is_looking(method, path)) {
        assert_ne!(call(&t, &admin, method, path).await.code(), "step_up_required", "looking: {path}");
    }
    let wrong = post(&t, &admin, "/v1/auth/step-up", json!({"password": "wrong"})).await;
    assert_eq!((wrong.status, wrong.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"));
    for body in [json!({}), json!({"password": PASSWORD, "totp_code": "123456"})] {
        assert_eq!(post(&t, &admin, "/v1/auth/step-up", body).await.code(), "invalid_request");
    }
    told(true).await;
    for with_code in [false, true] {
        let code = authenticator.next(&t);
        let shown = if with_code { json!({"totp_code": code}) } else { json!({"password": PASSWORD}) };
        let stepped_up = post(&t, &admin, "/v1/auth/step-up", shown).await;
        assert_eq!(stepped_up.status, StatusCode::OK, "{}", stepped_up.body);
        told(false).await;
        t.advance(TimeDelta::minutes(5));
        told(true).await;
    }
    // It is the session that has stepped up, not the person.
    let other = in_session(&t, &admin, &sign_in(&t, &admin, Some(&authenticator.next(&t))).await);
    assert_ne!(call(&t, &other, &acts[0].0, &acts[0].1).await.code(), "step_up_required");
    told(true).await;
    t.finish().await;
}

#[sqlx::test]
async fn secrets_of_second_factors_are_stored_encrypted_and_follow_a_change_of_keys(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let t = TestApp::with(db.clone(), &[DEFAULTS.as_slice(), &[("DATA_KEYS", &old)]].concat()).await;
    let (staff, authenticator, _) = enrolled(&t, Role::Support).await;
    let secret = Secret::try_from_base32(&authenticator.0).expect("base32");
    let stored: Vec<u8> = sqlx::query_scalar("select secret from totp_secrets").fetch_one(&db).await.expect("one");
    assert!(!stored.windows(4).any(|part| secret.as_bytes().windows(4).any(|piece| piece == part)));
    sqlx::query("delete from bank_accounts").execute(&db).await.expect("PostgreSQL answers");
    let mut settings = binary::settings(&db, "unused");
    settings.insert("DATA_KEYS", format!("{new},{old}"));
    let (printed, status) = binary::run(&["keys", "rotate"], &settings).await;
    assert!(status.success() && printed.contains("1 encrypted again with new"), "{printed}");
    let after = TestApp::with(db, &[DEFAULTS.as_slice(), &[("DATA_KEYS", &new)]].concat()).await;
    let uses = rotation::uses(&after.app, &SecondFactors).await.expect("PostgreSQL answers");
    assert_eq!(uses.iter().map(|key| (key.id.as_str(), key.rows)).collect::<Vec<_>>(), [("new", 1)]);
    after.advance(TimeDelta::minutes(1));
    let login = sign_in(&after, &staff, Some(&authenticator.code(&after))).await;
    assert_eq!(login.status, StatusCode::OK, "without the old key: {}", login.body);
    assert!(totp::find(&after.app.db, staff.id).await.expect("PostgreSQL answers").is_some());
}
