//! Bad input: a problem document that names the field, and nothing written.

use axum::response::IntoResponse;
use octoco::platform::error::{Error, Failure};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, PASSWORD, TestApp, answer};

pub(crate) fn field(answer: &Answer) -> &str {
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", answer.body);
    assert_eq!(answer.body["request_id"].as_str(), answer.headers["x-request-id"].to_str().ok());
    answer.body["errors"][0]["field"].as_str().unwrap_or_default()
}

#[sqlx::test]
async fn each_wrong_field_of_a_money_call_is_named(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let account = customer.bank_account_id;
    let cases: Vec<(&str, Value)> = vec![
        ("amount", json!({"amount": 0, "currency": "ZAR"})),
        ("amount", json!({"amount": -5, "currency": "ZAR"})),
        ("amount", json!({"amount": 1.5, "currency": "ZAR"})),
        ("amount", json!({"amount": "100", "currency": "ZAR"})),
        ("amount", json!({"amount": null, "currency": "ZAR"})),
        ("amount", json!({"amount": 1_000_000_000_001_i64, "currency": "ZAR"})),
        ("amount", json!({"amount": u64::MAX, "currency": "ZAR"})),
        ("amount", json!({"currency": "ZAR"})),
        ("currency", json!({"amount": 100})),
        ("currency", json!({"amount": 100, "currency": "XXX"})),
        ("currency", json!({"amount": 100, "currency": "USD"})),
        ("currency", json!({"amount": 100, "currency": "zar"})),
        ("currency", json!({"amount": 100, "currency": 710})),
        ("extra", json!({"amount": 100, "currency": "ZAR", "extra": 1})),
    ];
    for (name, body) in cases {
        for (path, with_account) in [("/v1/deposits", false), ("/v1/withdrawals", true)] {
            let mut body = body.clone();
            if with_account {
                body["bank_account_id"] = json!(account);
            }
            let headers = [("Idempotency-Key", "bad")];
            let refused = t.send(Method::POST, path, Some(&customer.token), &headers, Some(body.clone())).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path} {body}: {}", refused.body);
            assert_eq!(field(&refused), name, "{path} {body}: {}", refused.body);
        }
    }
    assert_eq!(t.get(&customer, "/v1/transactions").await.body["page"]["total"], 1, "only the deposit of the set-up");
    t.finish().await;
}

#[sqlx::test]
async fn a_missing_or_impossible_idempotency_key_is_named(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let body = json!({"amount": 100, "currency": "ZAR"});
    let long = "k".repeat(256);
    let cases: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("Idempotency-Key", "")],
        vec![("Idempotency-Key", "two words")],
        vec![("Idempotency-Key", &long)],
        vec![("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    ];
    for headers in cases {
        let refused = t.send(Method::POST, "/v1/deposits", Some(&customer.token), &headers, Some(body.clone())).await;
        assert_eq!((refused.status, field(&refused)), (StatusCode::BAD_REQUEST, "Idempotency-Key"), "{headers:?}");
    }
    let longest = "k".repeat(255);
    let taken = [("Idempotency-Key", longest.as_str())];
    let created = t.send(Method::POST, "/v1/deposits", Some(&customer.token), &taken, Some(body)).await;
    assert_eq!(created.status, StatusCode::CREATED);
    t.drive().await;
    t.finish().await;
}

/// Programs translate by the code: one that names another mistake sends people to mend what is right.
#[sqlx::test]
async fn the_code_of_a_mistake_is_that_mistakes_own(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let post = async |path: &str, key: &str, body: Value| {
        let by = if path.contains("/admin/") { &finance } else { &customer };
        t.send(Method::POST, path, Some(&t.token(by)), &[("Idempotency-Key", key)], Some(body)).await
    };
    let is_told = |refused: &Answer, name: &str, code: &str, what: &str| {
        assert_eq!((field(refused), &refused.body["errors"][0]["code"]), (name, &json!(code)), "{what}");
    };
    for id in [json!(5), json!(null), json!([]), json!(true), json!({}), json!("x")] {
        let code = if id.is_string() { "format" } else { "type" };
        let withdrawal = json!({"amount": 100, "currency": "ZAR", "bank_account_id": id});
        let refused = post("/v1/withdrawals", "w", withdrawal).await;
        is_told(&refused, "bank_account_id", code, &id.to_string());
        let refused = post("/v1/admin/adjustments", &format!("a{id}"), json!({"user_id": id})).await;
        is_told(&refused, "user_id", code, &id.to_string());
        let refused = post("/v1/admin/webhooks/replay", &format!("r{id}"), json!({"ids": [id]})).await;
        is_told(&refused, "ids[0]", code, &id.to_string());
    }
    let deposit = json!({"amount": 100, "currency": "ZAR"});
    let long = "k".repeat(256);
    let keys =
        [("a b", "characters"), ("a\tb", "characters"), ("é", "characters"), ("", "length"), (long.as_str(), "length")];
    for (key, code) in keys {
        is_told(&post("/v1/deposits", key, deposit.clone()).await, "Idempotency-Key", code, key);
    }
    for (number, code) in [("12345abc", "characters"), ("62.001.234", "characters"), ("12", "length"), ("1x", "length")]
    {
        let account =
            json!({"account_number": number, "branch_code": "250655", "account_holder": "A", "bank_name": "FNB"});
        is_told(&post("/v1/bank-accounts", "k", account).await, "account_number", code, number);
    }
    for (amount, code) in [("-1", "range"), ("x", "format")] {
        let refused = t.get(&customer, &format!("/v1/transactions?amount_min={amount}")).await;
        is_told(&refused, "amount_min", code, amount);
    }
    // What was sent may read like the parser's own words.
    let sly = json!({"amount": "1, expected a UUID", "currency": "ZAR"});
    is_told(&post("/v1/deposits", "k", sly).await, "amount", "type", "a text");
    let email = format!("{}@example.com", "a.".repeat(200));
    let person = json!({"email": email, "password": PASSWORD, "full_name": "A"});
    is_told(&post("/v1/auth/register", "k", person).await, "email", "length", "an e-mail");
    t.finish().await;
}

#[sqlx::test]
async fn a_body_that_is_not_json_is_refused_by_its_kind(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let post = async |content_type: &str, body: String| {
        let request = t.http.post(format!("{}/v1/deposits", t.url)).bearer_auth(&customer.token);
        answer(request.header("Idempotency-Key", "k").header("Content-Type", content_type).body(body)).await
    };
    let broken = post("application/json", "{\"amount\": 1".to_owned()).await;
    assert_eq!((broken.status, broken.code()), (StatusCode::BAD_REQUEST, "invalid_json"));
    let form = post("text/plain", "amount=1".to_owned()).await;
    assert_eq!((form.status, form.code()), (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"));
    let huge = post("application/json", format!("{{\"amount\": 1, \"currency\": \"{}\"}}", "Z".repeat(20_000))).await;
    assert_eq!((huge.status, huge.code()), (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"));
    assert_eq!(t.get(&customer, "/v1/transactions").await.body["page"]["total"], 0);
    t.finish().await;
}

#[sqlx::test]
async fn registration_and_bank_accounts_name_every_wrong_field_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let body = json!({"email": "nobody", "password": "short", "full_name": " "});
    let refused = t.send(Method::POST, "/v1/auth/register", None, &[], Some(body)).await;
    let named: Vec<&str> =
        refused.body["errors"].as_array().expect("a list").iter().filter_map(|e| e["field"].as_str()).collect();
    assert_eq!(named, ["email", "password", "full_name"]);
    assert!(!refused.body.to_string().contains("short"), "a password is never repeated");
    let customer = t.customer().await;
    let body = json!({"account_number": "12x", "branch_code": "", "account_holder": "", "bank_name": "a\u{0}b"});
    let refused = t.send(Method::POST, "/v1/bank-accounts", Some(&customer.token), &[], Some(body)).await;
    let named: Vec<&str> =
        refused.body["errors"].as_array().expect("a list").iter().filter_map(|e| e["field"].as_str()).collect();
    assert_eq!(named, ["account_number", "branch_code", "account_holder", "bank_name"]);
    t.finish().await;
}

#[sqlx::test]
async fn a_bank_account_is_shown_only_masked_and_stored_only_sealed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let listed = t.get(&customer, "/v1/bank-accounts").await;
    assert_eq!(listed.body["data"][0]["account_number_masked"], "****4567");
    assert!(!listed.body.to_string().contains("62001234567"));
    let stored: Vec<u8> =
        sqlx::query_scalar("select details from bank_accounts").fetch_one(&t.app.db).await.expect("PostgreSQL answers");
    assert!(!String::from_utf8_lossy(&stored).contains("62001234567"));
    assert!(!String::from_utf8_lossy(&stored).contains("Thandi"));
    t.finish().await;
}

#[sqlx::test]
async fn wrong_paths_methods_ids_and_queries_are_problems_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let call = async |method: Method, path: &str| t.send(method, path, Some(&customer.token), &[], None).await;
    assert_eq!(call(Method::GET, "/v1/nothing").await.code(), "not_found");
    assert_eq!(call(Method::PUT, "/v1/deposits").await.code(), "method_not_allowed");
    let not_an_id = call(Method::GET, "/v1/transactions/7").await;
    assert_eq!((not_an_id.status, field(&not_an_id)), (StatusCode::BAD_REQUEST, "id"));
    for (query, name) in [
        ("page=0", "page"),
        ("page=x", "page"),
        ("page_size=101", "page_size"),
        ("limit=0", "limit"),
        ("cursor=%00", "cursor"),
        ("cursor=AAAA&page=2", "cursor"),
        ("kind=gift", "kind"),
        ("state=%27%3B--", "state"),
        ("currency=%00", "currency"),
        ("colour=red", "colour"),
        ("metadata=%5B%5B%22a%22%2C%22b%22%5D%5D", "metadata"),
        ("from=0000-01-01T00:00:00%2B01:00", "from"),
    ] {
        let refused = call(Method::GET, &format!("/v1/transactions?{query}")).await;
        assert_eq!((refused.status, field(&refused)), (StatusCode::BAD_REQUEST, name), "{query}: {}", refused.body);
    }
    t.finish().await;
}

#[test]
fn whoever_is_turned_away_is_told_when_to_come_again_and_nobody_has_to_look() {
    let answer = |error: Error| {
        let response = error.into_response();
        let expected = response.extensions().get::<Failure>().is_some_and(|failure| failure.expected);
        (response.status().as_u16(), response.headers().contains_key("retry-after"), expected)
    };
    assert_eq!(answer(Error::TurnedAway("full")), (503, true, true));
    assert_eq!(answer(Error::unavailable("PostgreSQL is away")), (503, true, false));
    assert_eq!(Error::TurnedAway("full").code(), "unavailable");
}

/// The paths of the document with a method and what its operation says.
pub(crate) fn operations() -> Vec<(Method, String, Value)> {
    let document = octoco::processes::router::openapi();
    let paths = document["paths"].as_object().expect("an object").clone();
    let each = paths.into_iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an object").clone();
        item.into_iter().map(move |(method, operation)| {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            (method, path.replace("{id}", "01900000-0000-7000-8000-000000000000"), operation)
        })
    });
    each.collect()
}

#[sqlx::test]
async fn a_body_that_is_no_object_is_refused_by_every_route_and_names_nothing_of_ours(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let mut refused = 0;
    for (method, path, operation) in operations() {
        if operation["requestBody"]["content"]["application/json"].is_null() || path.starts_with("/v1/webhooks/") {
            continue;
        }
        let people = ["thandi@example.com", crate::harness::PASSWORD, "Thandi"];
        for body in [json!([]), json!(people), json!([100, "ZAR"]), json!([{}]), json!(7), json!("text"), json!(null)] {
            let headers = [("Idempotency-Key", "array")];
            let answer = t.send(method.clone(), &path, Some(&admin.token), &headers, Some(body.clone())).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path} {body}: {}", answer.body);
            assert_eq!(field(&answer), "body", "{method} {path} {body}: {}", answer.body);
            assert!(!answer.body.to_string().contains("struct"), "{}", answer.body);
            refused += 1;
        }
    }
    assert!(refused >= 7 * 15, "{refused}");
    t.finish().await;
}

#[sqlx::test]
async fn a_date_that_cannot_be_stored_is_named_by_every_route_that_takes_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let mut refused = 0;
    for (method, path, operation) in operations() {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for name in ["from", "to"] {
            let takes = parameters.iter().any(|parameter| parameter["name"] == name);
            if !takes || method != Method::GET {
                continue;
            }
            let needed = if path.ends_with("statements") {
                "currency=ZAR&"
            } else if path.ends_with("export") {
                "format=csv&"
            } else {
                ""
            };
            let begin = if path.ends_with("statements") && name == "to" { "from=2026-01-01&" } else { "" };
            for date in [
                "-262143-01-01", "-262143-01-01T00:00:00Z", "%2B262142-12-31", "%2B294277-01-01", "%2B999999-01-01",
                "-5000-01-01", "2026-02-30", "26-03-01", "2026-3-1", "2026-03-01%20", "%2B2026-03-01",
                "2026-03-01%2012:00:00Z", "never",
            ] {
                let path = path.replace("01900000-0000-7000-8000-000000000000", &admin.id.to_string());
                let answer = t.get(&admin, &format!("{path}?{needed}{begin}{name}={date}")).await;
                // What can be stored may still be too early or too late for this list; it is never our mistake.
                assert_eq!(
                    (answer.status, field(&answer)),
                    (StatusCode::BAD_REQUEST, name),
                    "{path} {date}: {}",
                    answer.body
                );
                refused += 1;
            }
            for date in ["0000-01-01", "0001-01-01", "1969-12-31", "9999-12-31", "2026-03-01t12:00:00z"] {
                let path = path.replace("01900000-0000-7000-8000-000000000000", &admin.id.to_string());
                let answer = t.get(&admin, &format!("{path}?{needed}{begin}{name}={date}")).await;
                assert!(!answer.status.is_server_error(), "{path} {name}={date}: {}", answer.body);
            }
        }
    }
    assert!(refused >= 8 * 10, "{refused}");
    for path in ["/v1/exports", "/v1/admin/exports"] {
        let body = json!({"format": "csv", "from": "-262143-01-01"});
        let answer = t.send(Method::POST, path, Some(&admin.token), &[], Some(body)).await;
        assert_eq!((answer.status, field(&answer)), (StatusCode::BAD_REQUEST, "from"), "{path}: {}", answer.body);
    }
    t.finish().await;
}

/// Texts of people that others read: what is seen must be what is there.
#[sqlx::test]
async fn a_text_that_shows_nothing_or_turns_around_what_stands_beside_it_is_refused_wherever_people_write(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, admin) = (t.customer_with(10_000).await, t.staff(Role::Admin).await);
    let account =
        json!({"account_number": "62001234567", "branch_code": "250655", "account_holder": "T", "bank_name": "F"});
    let order = json!({"amount": 100, "currency": "ZAR"});
    let mut out = order.clone();
    out["bank_account_id"] = json!(customer.bank_account_id);
    let person = json!({"email": "new@example.com", "password": crate::harness::PASSWORD, "full_name": "T"});
    let correction =
        json!({"user_id": customer.id, "amount": 1, "currency": "ZAR", "direction": "credit", "counterpart": "equity"});
    let frozen = format!("/v1/admin/users/{}/freeze", customer.id);
    for (path, staff, body, name) in [
        ("/v1/auth/register", false, &person, "full_name"),
        ("/v1/bank-accounts", false, &account, "account_holder"),
        ("/v1/bank-accounts", false, &account, "bank_name"),
        ("/v1/deposits", false, &order, "description"),
        ("/v1/withdrawals", false, &out, "description"),
        ("/v1/admin/adjustments", true, &correction, "reason"),
        (frozen.as_str(), true, &json!({}), "reason"),
    ] {
        let token = if staff { &admin.token } else { &customer.token };
        for text in [
            "\u{200b}", "\u{feff}\u{2060}", "\u{3164}", "a\u{202e}b", "\u{202a}a\u{202c}", "a\u{2066}b\u{2069}",
            "a\u{0}b", "a\u{2028}b",
        ] {
            let mut body = body.clone();
            body[name] = json!(text);
            let headers = [("Idempotency-Key", "text")];
            let answer = t.send(Method::POST, path, Some(token), &headers, Some(body)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {name} {text:?}: {}", answer.body);
            let named = answer.body["errors"].as_array().expect("a list").iter().any(|error| error["field"] == name);
            assert!(named, "{path} {name} {text:?}: {}", answer.body);
        }
    }
    t.finish().await;
}

#[sqlx::test]
async fn an_account_number_is_cleaned_of_what_is_pasted_with_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut there = customer.bank_account_id;
    for (number, branch) in [
        ("62\u{a0}001\u{a0}234\u{a0}567", "250\u{a0}655"),
        ("\t62001234567\t", "\t250655\r\n"),
        ("62\u{2009}001\u{202f}234-567", "250\u{2013}655"),
        ("\u{202d}62001\u{200b}234567\u{202c}", "\u{feff}250655"),
    ] {
        // The same account is there once, however it is written.
        let path = format!("/v1/bank-accounts/{there}");
        t.send(Method::DELETE, &path, Some(&customer.token), &[], None).await;
        let body = json!({"account_number": number, "branch_code": branch, "account_holder": "T", "bank_name": "FNB"});
        let added = t.send(Method::POST, "/v1/bank-accounts", Some(&customer.token), &[], Some(body)).await;
        assert_eq!(added.status, StatusCode::CREATED, "{number:?}: {}", added.body);
        assert_eq!(
            (&added.body["account_number_masked"], &added.body["branch_code"]),
            (&json!("****4567"), &json!("250655"))
        );
        there = added.id();
    }
    for accounts in octoco::money::bank_accounts::list(&t.app, customer.id).await.expect("they open") {
        assert_eq!(accounts.details.account_number, "62001234567");
    }
    t.finish().await;
}

#[sqlx::test]
async fn what_nobody_needs_is_looked_at_all_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let cases = [
        ("notifications", json!([null, null])),
        ("notifications", json!([])),
        ("notifications", json!("none")),
        ("notifications.deposits", json!({"deposits": "no"})),
        ("notifications.other", json!({"other": true})),
    ];
    for (name, wrong) in cases {
        let body = json!({"notifications": wrong});
        let refused = t.send(Method::PATCH, "/v1/me", Some(&customer.token), &[], Some(body)).await;
        assert_eq!((refused.status, field(&refused)), (StatusCode::BAD_REQUEST, name), "{}", refused.body);
    }
    let twice = r#"{"notifications": {"deposits": true, "deposits": false}}"#;
    let request = t.http.patch(format!("{}/v1/me", t.url)).bearer_auth(&customer.token);
    let refused = answer(request.header("Content-Type", "application/json").body(twice)).await;
    assert_eq!(field(&refused), "notifications.deposits", "{}", refused.body);
    assert_eq!(refused.body["errors"][0]["code"], "duplicate");
    let none = t.send(Method::PATCH, "/v1/me", Some(&customer.token), &[], Some(json!({"notifications": null}))).await;
    assert_eq!(none.status, StatusCode::OK, "{}", none.body);
    let account = customer.bank_account_id;
    let calls = [
        (
            "/v1/bank-accounts",
            json!({"account_number": "62001234567", "branch_code": "250655", "account_holder": "T", "bank_name": "F"}),
        ),
        ("/v1/withdrawals", json!({"amount": 100, "currency": "ZAR", "bank_account_id": account})),
    ];
    for (path, mut body) in calls {
        for code in ["", "\u{9b}", "\u{202e}1", &"1".repeat(41)] {
            body["totp_code"] = json!(code);
            let headers = [("Idempotency-Key", "codes")];
            let refused = t.send(Method::POST, path, Some(&customer.token), &headers, Some(body.clone())).await;
            assert_eq!(
                (refused.status, field(&refused)),
                (StatusCode::BAD_REQUEST, "totp_code"),
                "{path} {body}: {}",
                refused.body
            );
        }
    }
    t.finish().await;
}
