//! What a refusal tells besides its code: which 403 it is, the numbers behind a 422, when to try again, how to sign in; and that no word of a
//! parser gets out.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, PASSWORD, TestApp, answer};

const LIMITED: [(&str, &str); 1] = [("WITHDRAWAL_LIMITS", "ZAR:60000:100000")];

#[sqlx::test]
async fn a_403_says_which_it_is(db: PgPool) {
    let t = TestApp::new(db).await;
    let (support, finance) = (t.staff(Role::Support).await, t.staff(Role::Finance).await);
    let reason = |answer: &Answer| {
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
        answer.body["reason"].as_str().map(str::to_owned)
    };
    let lacking = t.get(&support, "/v1/admin/audit").await;
    assert_eq!(reason(&lacking).as_deref(), Some("missing_permission"));
    assert_eq!((lacking.code(), &lacking.body["permission"]), ("forbidden", &json!("audit.read")));
    let freeze = format!("/v1/admin/users/{}/freeze", finance.id);
    let body = json!({"reason": "looks odd"});
    let own = t.send(Method::POST, &freeze, Some(&t.token(&finance)), &[], Some(body)).await;
    assert_eq!(reason(&own).as_deref(), Some("own_account"));
    assert_eq!(own.body["permission"], Value::Null);
    let stranger = [("Origin", "https://evil.example")];
    let other = t.send(Method::POST, "/v1/auth/refresh", None, &stranger, None).await;
    assert_eq!(reason(&other).as_deref(), Some("other_origin"));
    t.finish().await;
}

#[sqlx::test]
async fn a_403_for_an_email_that_is_not_verified_says_so(db: PgPool) {
    let t = TestApp::with(db, &[("REQUIRE_VERIFIED_EMAIL", "yes")]).await;
    let body = json!({"email": "anna@example.com", "password": PASSWORD, "full_name": "Anna"});
    let registered = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
    assert_eq!(registered.headers["location"], "/v1/me");
    let login = t.login("anna@example.com", PASSWORD).await;
    let body = json!({"amount": 5_000, "currency": "ZAR"});
    let token = login.body["access_token"].as_str();
    let refused = t.send(Method::POST, "/v1/deposits", token, &[("Idempotency-Key", "k1")], Some(body)).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "email_not_verified"));
    assert_eq!(refused.body["reason"], "email_not_verified");
}

#[sqlx::test]
async fn a_balance_that_does_not_suffice_is_told_again_for_a_repeat(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(12_550).await;
    for replayed in [false, true] {
        let refused = t.withdraw(&customer, 20_000, "k1").await;
        assert_eq!((refused.code(), refused.replayed()), ("insufficient_funds", replayed));
        assert_eq!((&refused.body["available"], &refused.body["currency"]), (&json!(12_550), &json!("ZAR")));
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_limit_is_told_with_what_is_used_of_it_and_when_the_amount_fits(db: PgPool) {
    let t = TestApp::with(db, &LIMITED).await;
    let customer = t.customer_with(500_000).await;
    let once = t.withdraw(&customer, 60_001, "once").await;
    assert_eq!(once.code(), "limit_exceeded");
    let told = |answer: &Answer| ["limit", "used", "period", "resets_at"].map(|name| answer.body[name].clone());
    assert_eq!(told(&once), [json!(60_000), json!(0), json!("once"), Value::Null]);
    assert!(once.body.as_object().is_some_and(|body| body.contains_key("resets_at")), "null is told");
    let first_at = t.app.clock.now();
    let first = t.withdraw(&customer, 30_000, "k1").await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.body);
    t.advance(TimeDelta::hours(2));
    let second_at = t.app.clock.now();
    let second = t.withdraw(&customer, 60_000, "k2").await;
    assert_eq!(second.status, StatusCode::ACCEPTED, "{}", second.body);
    let at = |answer: &Answer| -> DateTime<Utc> {
        answer.body["resets_at"].as_str().and_then(|time| time.parse().ok()).expect("a time")
    };
    let (day, second) = (TimeDelta::hours(24), TimeDelta::seconds(1));
    let refused = t.withdraw(&customer, 20_000, "third").await;
    assert_eq!(told(&refused)[..3], [json!(100_000), json!(90_000), json!("24_hours")]);
    assert_eq!(at(&refused), first_at + day + second, "the first makes room for so little");
    let refused = t.withdraw(&customer, 50_000, "fourth").await;
    assert_eq!(at(&refused), second_at + day + second, "this needs the room of both");
    let repeated = t.withdraw(&customer, 50_000, "fourth").await;
    assert!(repeated.replayed());
    assert_eq!(told(&repeated), told(&refused));
}

#[sqlx::test]
async fn too_many_deposits_say_how_many_may_be_and_when_the_oldest_ends(db: PgPool) {
    let t = TestApp::with(db, &[("OPEN_DEPOSITS_MAX", "2")]).await;
    let customer = t.customer().await;
    for key in ["k1", "k2"] {
        assert_eq!(t.deposit(&customer, 5_000, key).await.status, StatusCode::CREATED);
        t.advance(TimeDelta::minutes(10));
    }
    let refused = t.deposit(&customer, 5_000, "k3").await;
    assert_eq!(refused.code(), "too_many_open_deposits");
    assert_eq!((&refused.body["limit"], &refused.body["used"]), (&json!(2), &json!(2)));
    assert_eq!(refused.headers["retry-after"], "2700", "an hour and five minutes, less twenty");
}

#[sqlx::test]
async fn every_401_says_how_to_sign_in_and_only_a_worthless_token_is_called_so(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let way = |answer: &Answer| {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
        answer.headers["www-authenticate"].to_str().expect("text").to_owned()
    };
    let call = async |token: Option<&str>| t.send(Method::GET, "/v1/me", token, &[], None).await;
    assert_eq!(way(&call(None).await), "Bearer");
    assert_eq!(way(&call(Some("nonsense")).await), "Bearer error=\"invalid_token\"");
    assert_eq!(way(&t.login(&customer.email, "wrong password here").await), "Bearer");
    let body = json!({"password": "wrong password here"});
    let own = t.send(Method::POST, "/v1/me/totp", Some(&customer.token), &[], Some(body)).await;
    assert_eq!((own.code(), way(&own).as_str()), ("invalid_credentials", "Bearer"), "the token is good");
    let forged = t.send(Method::POST, "/v1/webhooks/revio", None, &[("X-Signature", "AAAA")], Some(json!({}))).await;
    assert_eq!((forged.code(), way(&forged).as_str()), ("bad_signature", "Signature"));
    t.drive().await;
    t.finish().await;
}

/// Sent as they are.
async fn raw(t: &TestApp, token: &str, body: &[u8]) -> Answer {
    let request = t.http.post(format!("{}/v1/deposits", t.url)).bearer_auth(token);
    let request = request.header("content-type", "application/json").header("idempotency-key", "raw");
    answer(request.body(body.to_vec())).await
}

/// Words of serde, of its JSON and form readers, of chrono and of uuid.
fn assert_our_words(what: &str, body: &Value) {
    let text = body.to_string();
    for word in [
        "serde", "expected `", "expected value", "invalid type", "invalid value", "EOF", "at line", "i64", "struct",
        "variant", "recursion", "digit", "literal", "parse", "premature", "urlencoded", "unicode", "surrogate",
        "Option",
    ] {
        assert!(!text.contains(word), "{what}: {text}");
    }
}

#[sqlx::test]
async fn bodies_that_cannot_be_read_are_refused_in_our_words(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deep = [vec![b'['; 5_000], vec![b']'; 5_000]].concat();
    let nested = [br#"{"amount":"#.to_vec(), vec![b'['; 200], vec![b']'; 200], b"}".to_vec()].concat();
    let malformed: [&[u8]; 14] = [
        b"", b"{", b"}", b"{]", b"{\"amount\":}", b"{\"amount\":1,}", b"{'amount':1}", b"{\"amount\":1}x", b"\xff\xfe",
        b"{\"amount\":\"\xc3\x28\"}", b"{\"amount\":\"\\ud800\"}", b"<amount>1</amount>", &deep, &nested,
    ];
    for body in malformed {
        let refused = raw(&t, &customer.token, body).await;
        let sent = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        // However deep it is, it may be JSON.
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let code = if is_json && refused.code() == "invalid_request" { "invalid_request" } else { "invalid_json" };
        assert_eq!((refused.status, refused.code()), (StatusCode::BAD_REQUEST, code), "{sent}: {}", refused.body);
        if code == "invalid_json" {
            assert_our_words(&sent, &refused.body);
        }
    }
    let wrong: [(&str, &[(&str, &str)]); 6] = [
        ("[]", &[("body", "type")]),
        ("{}", &[("amount", "required"), ("currency", "required")]),
        (r#"{"amount":"1","currency":5}"#, &[("amount", "type"), ("currency", "type")]),
        (r#"{"amount":1e400,"currency":"ZAR"}"#, &[("amount", "format")]),
        (r#"{"amount":1.5,"currency":null,"x":{}}"#, &[("amount", "type"), ("currency", "type"), ("x", "unknown")]),
        (r#"{"amount":0,"currency":"XXX"}"#, &[("amount", "range"), ("currency", "choice")]),
    ];
    for (body, expected) in wrong {
        let refused = raw(&t, &customer.token, body.as_bytes()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {}", refused.body);
        assert_our_words(body, &refused.body);
        let errors = refused.body["errors"].as_array().cloned().unwrap_or_default();
        let told: BTreeSet<(&str, &str)> =
            errors.iter().filter_map(|error| error["field"].as_str().zip(error["code"].as_str())).collect();
        let expected: BTreeSet<(&str, &str)> = expected.iter().copied().collect();
        assert!(expected.is_subset(&told), "{body}: {told:?}");
        assert!(errors.iter().all(|error| error["pointer"].is_string() && error["parameter"].is_null()), "{errors:?}");
    }
}

#[sqlx::test]
async fn queries_and_paths_that_cannot_be_read_are_refused_in_our_words_and_all_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let get = async |path: &str| {
        let refused = t.get(if path.contains("/admin/") { &finance } else { &customer }, path).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, "invalid_request"),
            "{path}: {}",
            refused.body
        );
        assert_our_words(path, &refused.body);
        let errors = refused.body["errors"].as_array().cloned().unwrap_or_default();
        let named = |error: &Value| {
            assert_eq!((&error["pointer"], &error["parameter"]), (&Value::Null, &error["field"]), "{path}");
            (
                error["field"].as_str().unwrap_or_default().to_owned(),
                error["code"].as_str().unwrap_or_default().to_owned(),
            )
        };
        errors.iter().map(named).collect::<BTreeSet<_>>()
    };
    let named = |pairs: &[(&str, &str)]| -> BTreeSet<(String, String)> {
        pairs.iter().map(|(field, code)| ((*field).to_owned(), (*code).to_owned())).collect()
    };
    let unknown = get("/v1/transactions?limit=many&colour=red").await;
    assert_eq!(unknown, named(&[("colour", "unknown")]), "what is unknown is told first");
    let all = get("/v1/transactions?limit=many&amount_min=1.5&amount_max=99999999999999999999").await;
    assert_eq!(all, named(&[("limit", "range"), ("amount_min", "format"), ("amount_max", "format")]));
    assert_eq!(get("/v1/transactions?limit=").await, named(&[("limit", "range")]));
    assert_eq!(get("/v1/transactions?limit=1&limit=2").await, named(&[("limit", "duplicate")]));
    assert_eq!(get("/v1/transactions?q=%ff").await, named(&[("q", "characters")]));
    assert_eq!(get("/v1/transactions/7").await, named(&[("id", "format")]));
    assert_eq!(get("/v1/admin/users?role=king&limit=0&x=1").await.len(), 1, "what is unknown is told first");
    let values = get("/v1/admin/users?role=king&limit=0").await;
    assert_eq!(values, named(&[("role", "choice"), ("limit", "range")]));
    assert!(!get("/v1/admin/trial-balance?day=x").await.is_empty());
}
