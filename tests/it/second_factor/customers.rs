//! Customers may have a second factor: asked for at a new bank account and above a threshold, and not to be split around.

use chrono::TimeDelta;
use futures_util::future::join_all;
use octoco::identity::totp;
use octoco::platform::encryption::{DataKeys, Encrypted};
use octoco::platform::keys;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Authenticator, confirm, post};
use crate::harness::{Answer, Customer, PASSWORD, TestApp};

const THRESHOLD: [(&str, &str); 1] = [("CUSTOMER_TOTP_THRESHOLDS", "ZAR:10000")];

async fn enrolled(t: &TestApp, amount: i64) -> (Customer, Authenticator) {
    let customer = t.customer_with(amount).await;
    let begun = post(t, &customer, "/v1/me/totp", json!({"password": PASSWORD})).await;
    let (authenticator, _) = confirm(t, &customer, &begun).await;
    (customer, authenticator)
}

async fn withdraw(t: &TestApp, customer: &Customer, amount: i64, key: &str, code: Option<&str>) -> Answer {
    let mut body = json!({"amount": amount, "currency": "ZAR", "bank_account_id": customer.bank_account_id});
    if let Some(code) = code {
        body["totp_code"] = json!(code);
    }
    t.send(Method::POST, "/v1/withdrawals", Some(&t.token(customer)), &[("Idempotency-Key", key)], Some(body)).await
}

/// Whoever changes keys looks at what is confirmed, and takes the old key away then.
#[sqlx::test]
async fn what_was_begun_under_an_old_key_is_confirmed_under_the_present_one(db: PgPool) {
    let (old, new) = (keys::new_data_key("old"), keys::new_data_key("new"));
    let t = TestApp::with(db.clone(), &[("DATA_KEYS", &format!("{new},{old}"))]).await;
    let customer = t.customer().await;
    let before = DataKeys::parse(&old).expect("keys");
    let begun = post(&t, &customer, "/v1/me/totp", json!({"password": PASSWORD})).await;
    let (sealed,): (Vec<u8>,) = sqlx::query_as("select secret from totp_enrolments").fetch_one(&db).await.expect("one");
    let sealed = Encrypted { key_id: "new".to_owned(), bytes: sealed };
    let secret = t.app.config.data_keys.decrypt(customer.id, &sealed).expect("ours");
    let sealed = before.encrypt(customer.id, &secret).expect("sealed");
    let put = sqlx::query("update totp_enrolments set secret = $1, key_id = 'old'").bind(sealed.bytes);
    put.execute(&db).await.expect("as it was begun before");
    confirm(&t, &customer, &begun).await;
    let key: String = sqlx::query_scalar("select key_id from totp_secrets").fetch_one(&db).await.expect("one");
    assert_eq!(key, "new");
}

/// Of two that were begun the second takes nobody's place.
#[sqlx::test]
async fn a_factor_that_is_confirmed_meanwhile_is_not_replaced(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (customer, _) = enrolled(&t, 1_000).await;
    let other = t.customer().await;
    let begun = post(&t, &other, "/v1/me/totp", json!({"password": PASSWORD})).await;
    let secret = begun.body["secret"].as_str().expect("a secret").to_owned();
    let bytes: Vec<u8> = sqlx::query_scalar("select secret from totp_enrolments where user_id = $1")
        .bind(other.id)
        .fetch_one(&db)
        .await
        .expect("one");
    let keys = &t.app.config.data_keys;
    let plain = keys.decrypt(other.id, &Encrypted { key_id: keys.current_id().to_owned(), bytes }).expect("ours");
    let sealed = keys.encrypt(customer.id, &plain).expect("sealed");
    let raced = "update totp_enrolments set user_id = $1, secret = $2, key_id = $3 where user_id = $4";
    let raced = sqlx::query(raced).bind(customer.id).bind(sealed.bytes).bind(sealed.key_id).bind(other.id);
    raced.execute(&db).await.expect("begun while the other one was confirmed");
    let code = json!({"code": Authenticator(secret).code(&t)});
    let refused = post(&t, &customer, "/v1/me/totp/confirm", code).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "stale_state"), "{}", refused.body);
}

fn account(code: Option<&str>) -> Value {
    let mut body = json!({"account_number": "62009999999", "branch_code": "250655", "account_holder": "Thandi Nkosi",
        "bank_name": "FNB"});
    if let Some(code) = code {
        body["totp_code"] = json!(code);
    }
    body
}

#[sqlx::test]
async fn a_customer_with_a_second_factor_adds_no_bank_account_without_a_code(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, authenticator) = enrolled(&t, 50_000).await;
    let without = post(&t, &customer, "/v1/bank-accounts", account(None)).await;
    assert_eq!((without.status, without.code()), (StatusCode::FORBIDDEN, "totp_required"));
    let wrong = post(&t, &customer, "/v1/bank-accounts", account(Some(&authenticator.wrong(&t)))).await;
    assert_eq!((wrong.status, wrong.code()), (StatusCode::UNAUTHORIZED, "invalid_credentials"));
    let code = authenticator.next(&t);
    let added = post(&t, &customer, "/v1/bank-accounts", account(Some(&code))).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    let again = post(&t, &customer, "/v1/bank-accounts", account(Some(&code))).await;
    assert_eq!(again.code(), "invalid_credentials", "a code counts once");
    assert_eq!(t.login(&customer.email, PASSWORD).await.status, StatusCode::OK, "not asked for at a sign-in");
    t.finish().await;
}

#[sqlx::test]
async fn a_withdrawal_above_the_threshold_takes_a_code_and_its_repeat_none(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLD).await;
    let (customer, authenticator) = enrolled(&t, 100_000).await;
    assert_eq!(withdraw(&t, &customer, 10_001, "w0", None).await.code(), "totp_required");
    assert_eq!(
        withdraw(&t, &customer, 10_001, "w0", Some(&authenticator.wrong(&t))).await.code(),
        "invalid_credentials"
    );
    assert_eq!(t.balance(&customer).await, (100_000, 0, 100_000), "nothing is reserved");
    let code = authenticator.next(&t);
    let asked = withdraw(&t, &customer, 10_001, "w0", Some(&code)).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    for code in [Some(code.as_str()), None] {
        let repeat = withdraw(&t, &customer, 10_001, "w0", code).await;
        assert_eq!((repeat.status, repeat.replayed(), repeat.id()), (StatusCode::ACCEPTED, true, asked.id()));
    }
    assert_eq!(withdraw(&t, &customer, 50_000, "w0", None).await.code(), "idempotency_key_reused");
    let other = t.customer_with(50_000).await;
    assert_eq!(
        withdraw(&t, &other, 50_000, "o0", None).await.status,
        StatusCode::ACCEPTED,
        "who has none is not asked"
    );
    t.drive().await;
    t.finish().await;
}

/// Whoever hears nothing sends it again while the first is under way: both are the same, and the code is used up once.
#[sqlx::test]
async fn the_same_call_twice_at_once_with_one_code_is_one_and_nobody_is_told_a_wrong_code(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLD).await;
    let (customer, authenticator) = enrolled(&t, 500_000).await;
    for number in 0..5 {
        let (key, code) = (format!("w{number}"), authenticator.next(&t));
        let both = join_all((0..3).map(|_| withdraw(&t, &customer, 20_000, &key, Some(&code)))).await;
        for answer in &both {
            assert_eq!((answer.status, answer.id()), (StatusCode::ACCEPTED, both[0].id()), "{}", answer.body);
        }
        let mut body = account(Some(&authenticator.next(&t)));
        body["account_number"] = json!(format!("6200999999{number}"));
        let add = || {
            let headers = [("Idempotency-Key", key.as_str())];
            let (t, customer, body) = (&t, &customer, body.clone());
            async move { t.send(Method::POST, "/v1/bank-accounts", Some(&t.token(customer)), &headers, Some(body)).await }
        };
        let added = join_all((0..3).map(|_| add())).await;
        for answer in &added {
            assert_eq!((answer.status, answer.id()), (StatusCode::CREATED, added[0].id()), "{}", answer.body);
        }
    }
    assert_eq!(t.balance(&customer).await, (500_000, 100_000, 400_000));
    t.drive().await;
    t.finish().await;
}

/// Nothing left by it, whether it was refused or called off.
#[sqlx::test]
async fn what_did_not_leave_takes_nothing_of_what_may_leave_without_a_code(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLD).await;
    let (customer, _) = enrolled(&t, 9_000).await;
    assert_eq!(withdraw(&t, &customer, 9_999, "more-than-there-is", None).await.code(), "insufficient_funds");
    t.sim.set_fault(Fault::chance(1.0, Scope::CreatePayout, FaultKind::BadGateway(Moment::Before)));
    let off = withdraw(&t, &customer, 9_000, "off", None).await;
    assert_eq!(off.status, StatusCode::ACCEPTED, "{}", off.body);
    post(&t, &customer, &format!("/v1/withdrawals/{}/cancel", off.id()), json!(null)).await;
    t.drive().await;
    assert_eq!(t.state(off.id()).await, "cancelled");
    t.sim.clear_faults();
    assert_eq!(withdraw(&t, &customer, 9_000, "again", None).await.status, StatusCode::ACCEPTED);
    assert_eq!(withdraw(&t, &customer, 9_000, "too-much", None).await.code(), "totp_required");
    t.advance(TimeDelta::minutes(5));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn many_small_withdrawals_are_no_way_around_the_code_not_even_at_once(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLD).await;
    let (customer, _) = enrolled(&t, 500_000).await;
    let keys: Vec<String> = (0..20).map(|index| format!("w{index}")).collect();
    let at_once = keys.iter().map(|key| withdraw(&t, &customer, 5_000, key, None));
    let answers = join_all(at_once).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count(), 2);
    assert_eq!(answers.iter().filter(|answer| answer.code() == "totp_required").count(), 18);
    // A key that names less the second time frees nothing.
    let index = answers.iter().position(|answer| answer.status == StatusCode::ACCEPTED).expect("two");
    assert_eq!(withdraw(&t, &customer, 1, &keys[index], None).await.code(), "idempotency_key_reused");
    assert_eq!(withdraw(&t, &customer, 1, "more", None).await.code(), "totp_required");
    t.drive().await;
    t.advance(TimeDelta::hours(24));
    assert_eq!(withdraw(&t, &customer, 10_000, "tomorrow", None).await.status, StatusCode::ACCEPTED);
    let left: i64 =
        sqlx::query_scalar("select count(*) from totp_allowances").fetch_one(&t.app.db).await.expect("it answers");
    assert_eq!(left, 1, "what is older is forgotten");
    t.drive().await;
    t.advance(TimeDelta::hours(24));
    assert!(!totp::prune(&t.app).await.expect("PostgreSQL answers"), "no more than a batch");
    let left: i64 =
        sqlx::query_scalar("select count(*) from totp_allowances").fetch_one(&t.app.db).await.expect("it answers");
    assert_eq!(left, 0, "of those who do not come again, too");
    t.drive().await;
    t.finish().await;
}

/// The threshold is for what leaves without a code, and with no factor there is none to show.
#[sqlx::test]
async fn what_was_withdrawn_with_a_code_or_before_the_factor_does_not_count(db: PgPool) {
    let t = TestApp::with(db, &THRESHOLD).await;
    let customer = t.customer_with(100_000).await;
    assert_eq!(withdraw(&t, &customer, 20_000, "before", None).await.status, StatusCode::ACCEPTED);
    let begun = post(&t, &customer, "/v1/me/totp", json!({"password": PASSWORD})).await;
    let (authenticator, _) = confirm(&t, &customer, &begun).await;
    let code = authenticator.next(&t);
    let with_code = withdraw(&t, &customer, 15_000, "with-code", Some(&code)).await;
    assert_eq!(with_code.status, StatusCode::ACCEPTED, "{}", with_code.body);
    assert_eq!(withdraw(&t, &customer, 9_000, "without", None).await.status, StatusCode::ACCEPTED);
    assert_eq!(withdraw(&t, &customer, 1_001, "too-much", None).await.code(), "totp_required");
    assert_eq!(withdraw(&t, &customer, 1_000, "the-rest", None).await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn without_a_threshold_each_withdrawal_takes_a_code_and_else_that_of_approvals_counts(db: PgPool) {
    let t = TestApp::with(db.clone(), &[("APPROVAL_THRESHOLDS", "ZAR:20000")]).await;
    let (customer, _) = enrolled(&t, 100_000).await;
    assert_eq!(withdraw(&t, &customer, 20_001, "above", None).await.code(), "totp_required");
    assert_eq!(withdraw(&t, &customer, 20_000, "below", None).await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn disabling_takes_the_password_and_a_code(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, authenticator) = enrolled(&t, 50_000).await;
    assert_eq!(withdraw(&t, &customer, 1, "each", None).await.code(), "totp_required", "no threshold: each");
    let again = post(&t, &customer, "/v1/me/totp", json!({"password": PASSWORD})).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "stale_state"), "not replaced by a password");
    let disable = async |password: &str, code: &str| {
        post(&t, &customer, "/v1/me/totp/disable", json!({"password": password, "totp_code": code})).await
    };
    assert_eq!(disable("wrong", &authenticator.next(&t)).await.code(), "invalid_credentials");
    assert_eq!(disable(PASSWORD, &authenticator.wrong(&t)).await.code(), "invalid_credentials");
    assert!(!t.get(&customer, "/v1/me/totp").await.body["enrolled_at"].is_null());
    assert_eq!(disable(PASSWORD, &authenticator.next(&t)).await.status, StatusCode::NO_CONTENT);
    assert!(t.get(&customer, "/v1/me/totp").await.body["enrolled_at"].is_null());
    assert_eq!(withdraw(&t, &customer, 1, "free", None).await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_secret_that_was_begun_ends_and_a_newer_one_takes_its_place(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let begin = async || post(&t, &customer, "/v1/me/totp", json!({"password": PASSWORD})).await;
    let code = |begun: &Answer| Authenticator(begun.body["secret"].as_str().expect("a secret").to_owned()).code(&t);
    let first = begin().await;
    let second = begin().await;
    let shown = post(&t, &customer, "/v1/me/totp/confirm", json!({"code": code(&first)})).await;
    assert_eq!(shown.code(), "invalid_credentials", "void");
    t.advance(TimeDelta::minutes(15));
    let late = post(&t, &customer, "/v1/me/totp/confirm", json!({"code": code(&second)})).await;
    assert_eq!((late.status, late.code()), (StatusCode::CONFLICT, "stale_state"));
    t.finish().await;
}
