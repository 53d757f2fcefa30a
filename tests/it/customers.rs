//! What a customer's page needs: the public configuration, who I am and what restricts me, what is owed and left of limits, bank accounts
//! that are there once, another name.

use octoco::identity::audit::Actor;
use octoco::identity::rotation;
use octoco::money::bank_accounts::rotation::BankAccounts;
use octoco::money::restrictions::{self, Kind};
use octoco::platform::keys;
use octoco::platform::permissions::{ALL, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, Customer, PASSWORD, TestApp};

const LIMITS: [(&str, &str); 4] = [
    ("WITHDRAWAL_LIMITS", "ZAR:3000:10000"),
    ("APPROVAL_THRESHOLDS", "ZAR:4321:7654"),
    ("BANK_ACCOUNT_COOLING_HOURS", "off"),
    ("OPEN_DEPOSITS_MAX", "7"),
];

async fn config(t: &TestApp, headers: &[(&str, &str)]) -> Answer {
    t.send(Method::GET, "/v1/config", None, headers, None).await
}

#[sqlx::test]
async fn the_configuration_is_public_is_kept_and_says_nothing_of_approvals(db: PgPool) {
    let t = TestApp::with(db, &LIMITS).await;
    let told = config(&t, &[]).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.body);
    let zar = &told.body["currencies"][0];
    assert_eq!((&zar["code"], &zar["exponent"]), (&json!("ZAR"), &json!(2)));
    assert_eq!(zar["withdrawals"], json!({"once": 3_000, "daily": 10_000}));
    assert_eq!((&zar["amount_min"], &zar["amount_max"]), (&json!(1), &json!(1_000_000_000_000_i64)));
    let features = &told.body["features"];
    assert_eq!((&features["open_deposits_max"], &features["bank_account_cooling_hours"]), (&json!(7), &Value::Null));
    assert_eq!(told.body["password"], json!({"length_min": 8, "length_max": 128}));
    assert!(told.body["banks"].as_array().is_some_and(|banks| banks.iter().any(|bank| bank["name"] == "FNB")));
    for ours in ["4321", "7654"] {
        assert!(!told.body.to_string().contains(ours), "{}", told.body);
    }
    let tag = told.headers["etag"].to_str().expect("ASCII");
    assert_eq!(told.headers["cache-control"], "public, max-age=300");
    for known in [tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
        let again = config(&t, &[("If-None-Match", known)]).await;
        assert_eq!(
            (again.status, &again.headers["etag"]),
            (StatusCode::NOT_MODIFIED, &told.headers["etag"]),
            "{known}"
        );
    }
    assert_eq!(config(&t, &[("If-None-Match", "\"x\"")]).await.status, StatusCode::OK);
    t.finish().await;
}

#[sqlx::test]
async fn me_says_what_my_role_may_and_what_restricts_me(db: PgPool) {
    let t = TestApp::new(db).await;
    for role in Role::ALL.iter().copied() {
        let me = t.get(&t.staff(role).await, "/v1/me").await;
        let mut may: Vec<&str> = ALL.iter().filter(|(_, roles)| roles.contains(&role)).map(|(name, _)| *name).collect();
        may.sort_unstable();
        assert_eq!(me.body["permissions"], json!(may), "{}", role.name());
        assert_eq!(may.is_empty(), role == Role::User);
    }
    let customer = t.customer().await;
    let restricted = async || {
        let me = t.get(&customer, "/v1/me").await.body;
        (me["frozen"].clone(), me["restrictions"].clone())
    };
    assert_eq!(restricted().await, (json!(false), json!([])));
    assert_eq!(t.get(&customer, "/v1/me").await.body["email_verified"], json!(false));
    let system = Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Freeze, "a secret reason").await.expect("it is there");
    let (frozen, list) = restricted().await;
    assert_eq!((&frozen, &list[0]["currency"], &list[0]["kind"]), (&json!(true), &json!("ZAR"), &json!("freeze")));
    assert!(list[0]["since"].is_string() && !list.to_string().contains("secret"), "{list}");
    t.lift(customer.id, Kind::Freeze).await;
    assert_eq!(restricted().await, (json!(false), json!([])));
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    let (frozen, list) = restricted().await;
    assert_eq!((frozen, &list[0]["kind"]), (json!(false), &json!("closure")));
    t.finish().await;
}

fn lookups(t: &TestApp) -> u64 {
    t.app.metrics.ledger_call_seconds.with_label_values(&["lookup_accounts", "ok"]).get_sample_count()
}

#[sqlx::test]
async fn balances_say_what_is_left_of_the_limits_from_one_look_at_the_ledger(db: PgPool) {
    let t = TestApp::with(db, &[("WITHDRAWAL_LIMITS", "ZAR:3000:10000")]).await;
    let customer = t.customer_with(20_000).await;
    let limits = async |query: &str| {
        t.get(&customer, &format!("/v1/balances{query}")).await.body["balances"][0]["limits"].clone()
    };
    let whole = json!({"once": 3_000, "daily": 10_000, "used": 0, "remaining": 10_000});
    let before = lookups(&t);
    assert_eq!(limits("").await, whole);
    assert_eq!(lookups(&t), before + 1);
    assert_eq!(limits("?include=resets_at").await, whole, "nothing is used");
    for key in ["a", "b", "c"] {
        assert_eq!(t.withdraw(&customer, 3_000, key).await.status, StatusCode::ACCEPTED);
    }
    assert_eq!(limits("").await, json!({"once": 3_000, "daily": 10_000, "used": 9_000, "remaining": 1_000}));
    assert_eq!(t.withdraw(&customer, 1_001, "d").await.code(), "limit_exceeded");
    let told = limits("?include=resets_at").await;
    let at =
        told["resets_at"].as_str().and_then(|at| at.parse::<chrono::DateTime<chrono::Utc>>().ok()).expect("a time");
    #[expect(clippy::disallowed_methods, reason = "the ledger's clock, which no test stops")]
    let ahead = at - chrono::Utc::now();
    assert!((chrono::TimeDelta::hours(23)..=chrono::TimeDelta::hours(24)).contains(&ahead), "{ahead}");
    let wrong = t.get(&customer, "/v1/balances?include=all").await;
    assert_eq!(wrong.body["errors"][0]["code"], "choice", "{}", wrong.body);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn balances_say_what_is_owed_and_that_there_is_no_limit(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    t.withdraw(&customer, 5_000, "w").await;
    t.drive().await;
    t.sim.charge_back_purchase(t.purchase_of(deposit.id())).expect("it was paid");
    t.drive().await;
    let told = t.get(&customer, "/v1/balances").await.body["balances"][0].clone();
    assert_eq!((&told["posted"], &told["owed"]), (&json!(0), &json!(t.owed(customer.id).await)), "{told}");
    assert_eq!(told["owed"], 5_000);
    let limits = &told["limits"];
    assert_eq!((&limits["once"], &limits["daily"], &limits["remaining"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(limits["used"], 5_000, "it is counted all the same");
    t.finish().await;
}

async fn add(t: &TestApp, customer: &Customer, key: Option<&str>, body: &Value) -> Answer {
    let headers: Vec<(&str, &str)> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
    t.send(Method::POST, "/v1/bank-accounts", Some(&t.token(customer)), &headers, Some(body.clone())).await
}

fn account(number: &str) -> Value {
    json!({"account_number": number, "branch_code": "250655", "account_holder": "Thandi Nkosi", "bank_name": "FNB"})
}

#[sqlx::test]
async fn the_same_bank_account_is_there_once_for_a_customer_under_any_key(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let before = TestApp::with(db.clone(), &[("DATA_KEYS", &old)]).await;
    let (customer, other) = (before.customer().await, before.customer().await);
    let exists = |answer: &Answer| {
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "bank_account_exists"), "{}", answer.body);
        assert_eq!(answer.body["bank_account_id"], json!(customer.bank_account_id));
    };
    exists(&add(&before, &customer, None, &account("6200-1234 567")).await);
    let during = TestApp::with(db.clone(), &[("DATA_KEYS", &format!("{new},{old}"))]).await;
    exists(&add(&during, &customer, None, &account("62001234567")).await);
    let mut cursor = rotation::Cursor::default();
    while rotation::next(&during.app, &BankAccounts(&during.app), &mut cursor).await.expect("answers").is_some() {}
    let after = TestApp::with(db.clone(), &[("DATA_KEYS", &new)]).await;
    exists(&add(&after, &customer, None, &account("62001234567")).await);
    // Two at once.
    let number = account("62009999999");
    let (one, two) = tokio::join!(add(&after, &customer, None, &number), add(&after, &customer, None, &number));
    let mut codes = [one.status.as_u16(), two.status.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [201, 409], "{} {}", one.body, two.body);
    // The same number at another branch is another account, and what was deleted may be added again.
    let mut elsewhere = account("62001234567");
    elsewhere["branch_code"] = json!("254005");
    assert_eq!(add(&after, &customer, None, &elsewhere).await.status, StatusCode::CREATED);
    let path = format!("/v1/bank-accounts/{}", customer.bank_account_id);
    after.send(Method::DELETE, &path, Some(&after.token(&customer)), &[], None).await;
    assert_eq!(add(&after, &customer, None, &account("62001234567")).await.status, StatusCode::CREATED);
    let prints: i64 = sqlx::query_scalar(
        "select count(distinct fingerprint) from bank_accounts where last_four = '4567' and user_id = any($1) and deleted_at is null",
    )
    .bind([customer.id, other.id])
    .fetch_one(&db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(prints, 3, "whose they are is part of it: nobody sees that two customers have the same");
    after.finish().await;
}

#[sqlx::test]
async fn a_bank_account_added_again_with_its_key_is_the_same_answer(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let body = account("62005555555");
    let first = add(&t, &customer, Some("k"), &body).await;
    assert!(first.status == StatusCode::CREATED && !first.replayed(), "{}", first.body);
    let again = add(&t, &customer, Some("k"), &account(" 6200 5555 555 ")).await;
    assert!(again.status == StatusCode::CREATED && again.replayed(), "{}", again.body);
    assert_eq!(first.body, again.body);
    let changed = add(&t, &customer, Some("k"), &account("62005555556")).await;
    assert_eq!((changed.status, changed.code()), (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"));
    assert_eq!(add(&t, &customer, Some("k2"), &body).await.code(), "bank_account_exists");
    assert_eq!(add(&t, &other, Some("k"), &body).await.status, StatusCode::CREATED, "keys are the customer's");
    let raced = account("62006666666");
    let raced = futures_util::future::join_all((0..4).map(|_| add(&t, &customer, Some("r"), &raced))).await;
    assert!(raced.iter().all(|answer| answer.status == StatusCode::CREATED && answer.id() == raced[0].id()));
    assert_eq!(raced.iter().filter(|answer| !answer.replayed()).count(), 1);
    assert_eq!(add(&t, &customer, Some("a b"), &body).await.body["errors"][0]["field"], "Idempotency-Key");
    t.finish().await;
}

#[sqlx::test]
async fn a_branch_code_that_is_surely_wrong_is_refused_and_no_other(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for (bank, code) in [("FNB", "632005"), ("First National Bank", "25065"), ("absa", "250655")] {
        let mut body = account("62007777777");
        (body["bank_name"], body["branch_code"]) = (json!(bank), json!(code));
        let refused = add(&t, &customer, None, &body).await;
        assert_eq!(refused.body["errors"][0]["pointer"], "#/branch_code", "{bank} {code}: {}", refused.body);
    }
    for (index, (bank, code)) in
        [("FNB", "254005"), ("Grindrod", "223626"), ("Commerzbank", "37040044")].iter().enumerate()
    {
        let mut body = account(&format!("6200888888{index}"));
        (body["bank_name"], body["branch_code"]) = (json!(bank), json!(code));
        assert_eq!(add(&t, &customer, None, &body).await.status, StatusCode::CREATED, "{bank} {code}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_name_is_changed_with_the_password_and_the_person_is_told(db: PgPool) {
    let t = TestApp::with(db.clone(), &[("NOTICE_MAILS", "on")]).await;
    let customer = t.customer().await;
    let change = async |body: Value| t.send(Method::PATCH, "/v1/me", Some(&t.token(&customer)), &[], Some(body)).await;
    let missing = change(json!({"full_name": "Thandi Dube"})).await;
    assert_eq!(missing.body["errors"][0]["pointer"], "#/password", "{}", missing.body);
    let wrong = change(json!({"full_name": "Thandi Dube", "password": "wrong wrong wrong"})).await;
    assert_eq!((wrong.status, wrong.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"));
    assert_eq!(t.get(&customer, "/v1/me").await.body["full_name"], "Thandi Nkosi");
    let unseen = change(json!({"full_name": "\u{200b}", "password": PASSWORD})).await;
    assert_eq!(unseen.body["errors"][0]["field"], "full_name");
    assert_eq!(change(json!({"email": "x@example.com"})).await.body["errors"][0]["code"], "unknown");
    let both = json!({"full_name": " Thandi Dube ", "password": PASSWORD, "notifications": {"deposits": false}});
    let changed = change(both).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    assert_eq!(changed.body["full_name"], "Thandi Dube");
    assert_eq!(changed.body["notifications"], json!({"deposits": false, "withdrawals": true}));
    // The same again changes nothing and tells nobody.
    assert_eq!(change(json!({"full_name": "Thandi Dube", "password": PASSWORD})).await.status, StatusCode::OK);
    assert_eq!(change(json!({})).await.body["full_name"], "Thandi Dube");
    while t.send_mails().await > 0 {}
    let mail = t.mailbox.newest(&customer.email, "Your name was changed");
    assert!(!mail.0.contains("Dube") && !mail.0.contains("Nkosi"), "{}", mail.0);
    let mails = t.mailbox.to(&customer.email);
    assert_eq!(mails.iter().filter(|mail| mail.header("Subject").is_some_and(|it| it.contains("name"))).count(), 1);
    let log: Vec<(String, String)> = sqlx::query_as(
        "select action, coalesce(before::text, '') || coalesce(after::text, '') from audit_log
          where action like 'user.n%' order by action",
    )
    .fetch_all(&db)
    .await
    .expect("PostgreSQL answers");
    let actions: Vec<&str> = log.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(actions, ["user.name_change_refused", "user.name_changed", "user.notifications_changed"]);
    assert!(log.iter().all(|(_, about)| !about.contains("Dube")), "{log:?}");
    t.finish().await;
}
