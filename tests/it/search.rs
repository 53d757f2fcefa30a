//! Finding rows by what people remember of them: words, ids, keys and e-mails.

use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Answer, Customer, TestApp};
use crate::let_go::let_go_for_good;

async fn deposit(t: &TestApp, customer: &Customer, description: &str, key: &str) -> Answer {
    let body = json!({"amount": 1_000, "currency": "ZAR", "description": description});
    let headers = [("Idempotency-Key", key)];
    let answer = t.send(Method::POST, "/v1/deposits", Some(&t.token(customer)), &headers, Some(body)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer
}

/// The descriptions of what is found, in the order of the list.
async fn found(t: &TestApp, customer: &Customer, q: &str) -> Vec<String> {
    let query = percent(q);
    let answer = t.get(customer, &format!("/v1/transactions?limit=100&q={query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{q}: {}", answer.body);
    let data = answer.body["data"].as_array().expect("a list");
    assert_eq!(answer.body["page"]["total"], data.len(), "{q}");
    data.iter().map(|row| row["description"].as_str().unwrap_or_default().to_owned()).collect()
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[sqlx::test]
async fn a_row_is_found_by_its_words_however_they_are_written(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    for (key, text) in
        ["Rent for March", "Rent for April", "Groceries: Café Zürich", "Invoice INV-20418/7"].iter().enumerate()
    {
        t.app.clock.advance(chrono::TimeDelta::milliseconds(1));
        deposit(&t, &customer, text, &format!("k{key}")).await;
    }
    deposit(&t, &other, "Rent of somebody else", "k").await;
    let cafe = ["Groceries: Café Zürich"];
    assert_eq!(found(&t, &customer, "rent").await, ["Rent for April", "Rent for March"]);
    assert_eq!(found(&t, &customer, "MARCH rent").await, ["Rent for March"]);
    assert_eq!(found(&t, &customer, "groc").await, cafe, "a beginning");
    assert_eq!(found(&t, &customer, "cafe groc").await, cafe, "the last word may be one");
    assert_eq!(found(&t, &customer, "groc cafe").await, [""; 0], "the others not");
    assert_eq!(found(&t, &customer, "zu").await, [""; 0], "nor one of two letters");
    assert_eq!(found(&t, &customer, "cafe zurich").await, cafe, "without accents");
    assert_eq!(found(&t, &customer, "20418").await, ["Invoice INV-20418/7"]);
    assert_eq!(found(&t, &customer, "inv-20418").await, ["Invoice INV-20418/7"]);
    assert_eq!(found(&t, &customer, "20419").await, [""; 0], "a number is looked for as it is");
    assert_eq!(found(&t, &customer, "rent groceries").await, [""; 0], "all words, not one of them");
    assert_eq!(found(&t, &customer, "somebody").await, [""; 0], "somebody else's");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn what_others_wrote_changes_nothing_of_a_search(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    deposit(&t, &customer, "renovation", "k1").await;
    for letter in 'a'..='y' {
        deposit(&t, &other, &format!("reno{letter}"), &format!("k{letter}")).await;
    }
    assert_eq!(found(&t, &customer, "reno").await, ["renovation"], "25 words of others begin so too");
    let staff = t.staff(Role::Support).await;
    let told = async |q: &str| {
        let path = format!("/v1/admin/transactions?limit=100&user_id={}&q={q}", customer.id);
        t.get(&staff, &path).await.body["page"]["total"].clone()
    };
    assert_eq!(told("reno").await, 1, "staff at one customer");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_row_is_found_by_its_id_its_key_and_revios_id(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer().await, t.customer().await);
    let answer = deposit(&t, &customer, "mine", "order-77").await;
    let id = answer.id().to_string();
    let purchase = t.purchase_of(answer.id()).to_string();
    let main = ledger::TransferId::of(answer.id(), ledger::Leg::Main).as_uuid().to_string();
    for q in [id.as_str(), &id.to_uppercase(), &id[..13], &main, &purchase, &purchase[..9], "order-77"] {
        assert_eq!(found(&t, &customer, q).await, ["mine"], "{q}");
        assert_eq!(found(&t, &other, q).await, [""; 0], "{q}");
    }
    for filter in [
        format!("reference={id}"),
        format!("reference={main}"),
        "reference=order-77".to_owned(),
        format!("provider_id={purchase}"),
    ] {
        assert_eq!(t.get(&customer, &format!("/v1/transactions?{filter}")).await.body["page"]["total"], 1, "{filter}");
    }
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn what_means_something_elsewhere_means_nothing_in_a_search(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    deposit(&t, &customer, "100% sure_thing (a|b)* \\ 'x'", "k").await;
    for q in [
        "%", "_", "%%%", "' or '1'='1", "a&b|c!<->d:*", ".*", "(((", "[a-z]+", "\\", "\\u0000", "$1", "{}", "🙂",
        "\u{202e}", "''",
    ] {
        let _: Vec<String> = found(&t, &customer, q).await;
    }
    assert_eq!(found(&t, &customer, "%").await, [""; 0], "not everything");
    assert_eq!(found(&t, &customer, "sure_thi%").await.len(), 1, "words between signs");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn the_pages_of_a_search_hold_every_row_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for index in 0..9 {
        deposit(&t, &customer, if index % 3 == 0 { "school fees" } else { "school books" }, &format!("k{index}")).await;
    }
    for query in ["q=scho", "q=school&sort=amount", "q=school&sort=created_at"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = t.get(&customer, &format!("/v1/transactions?{query}&limit=2{cursor}")).await.body;
            seen.extend(page["data"].as_array().expect("a list").iter().map(|row| row["id"].to_string()));
            // What comes meanwhile changes nothing of what was there.
            deposit(&t, &customer, "schol", &format!("{query}{}", seen.len()).replace('=', "-")).await;
            let Some(next) = page["page"]["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len() >= 9, seen.len()), (true, all), "{query}");
    }
    assert_eq!(found(&t, &customer, "school fees").await.len(), 3);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_failure_is_found_by_its_reason_and_only_by_the_last_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let answer = deposit(&t, &customer, "new kettle", "k").await;
    let fail = async |reason: &str| {
        sqlx::query("update transactions set failure_reason = $2 where id = $1")
            .bind(answer.id())
            .bind(reason)
            .execute(&t.app.db)
            .await
            .expect("PostgreSQL answers")
    };
    fail("provider_refused").await;
    assert_eq!(found(&t, &customer, "refused kettle").await, ["new kettle"]);
    fail("closed_by_review").await;
    assert_eq!(found(&t, &customer, "refused").await, [""; 0]);
    assert_eq!(found(&t, &customer, "closed review").await, ["new kettle"]);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_description_is_part_of_the_request_only_when_it_is_given(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(9_000).await;
    let first = t.deposit(&customer, 1_000, "k1").await;
    assert!(first.body["description"].is_null());
    let send = async |path: &str, key: &str, body: Value| {
        t.send(Method::POST, path, Some(&t.token(&customer)), &[("Idempotency-Key", key)], Some(body)).await
    };
    let described = json!({"amount": 1_000, "currency": "ZAR", "description": "  Rent  "});
    assert_eq!(send("/v1/deposits", "k1", described.clone()).await.code(), "idempotency_key_reused");
    assert_eq!(send("/v1/deposits", "k2", described.clone()).await.body["description"], "Rent");
    assert!(send("/v1/deposits", "k2", described).await.replayed());
    let mut withdrawal = json!({"amount": 500, "currency": "ZAR", "bank_account_id": customer.bank_account_id, "description": "Savings"});
    assert_eq!(send("/v1/withdrawals", "w1", withdrawal.clone()).await.body["description"], "Savings");
    withdrawal["description"] = json!("Holiday");
    assert_eq!(send("/v1/withdrawals", "w1", withdrawal.clone()).await.code(), "idempotency_key_reused");
    for wrong in ["", "   ", "a\u{0}b", "a\nb", &"a".repeat(141)] {
        withdrawal["description"] = json!(wrong);
        let answer = send("/v1/withdrawals", "w2", withdrawal.clone()).await;
        assert_eq!(answer.body["errors"][0]["field"], "description", "{wrong:?}: {}", answer.body);
    }
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn staff_are_led_from_anything_to_the_row(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let staff = t.staff(Role::Support).await;
    let answer = deposit(&t, &customer, "mine", "order-77").await;
    t.pay(&answer).await;
    let id = answer.id();
    let event: Uuid = sqlx::query_scalar("select id from webhook_logs").fetch_one(&t.app.db).await.expect("an event");
    let purchase = t.purchase_of(id);
    let main = ledger::TransferId::of(id, ledger::Leg::Main).as_uuid();
    let row = format!("/v1/admin/transactions/{id}");
    let user = format!("/v1/admin/users/{}", customer.id);
    for (q, kind, matched, link) in [
        (id.to_string(), "transaction", "id", row.clone()),
        (id.to_string()[..8].to_owned(), "transaction", "id", row.clone()),
        (main.to_string(), "transfer", "id", row.clone()),
        (purchase.to_string(), "transaction", "provider_id", row.clone()),
        (purchase.to_string(), "webhook", "object_id", format!("/v1/admin/webhooks/{event}")),
        ("order-77".to_owned(), "transaction", "idempotency_key", row.clone()),
        (customer.email.to_uppercase(), "user", "email", user.clone()),
        (customer.email[..20].to_owned(), "user", "email", user.clone()),
        (customer.id.to_string(), "user", "id", user.clone()),
        (event.to_string(), "webhook", "id", format!("/v1/admin/webhooks/{event}")),
    ] {
        let found = t.get(&staff, &format!("/v1/admin/search?q={q}")).await;
        let hits = found.body["data"].as_array().expect("a list");
        let hit =
            hits.iter().find(|hit| hit["type"] == kind && hit["matched"] == matched && hit["link"] == link.as_str());
        assert!(hit.is_some(), "{q}: {}", found.body);
        assert_eq!(t.get(&staff, &link).await.status, StatusCode::OK, "{link}");
    }
    // A leg that the row does not have is no transfer, and the id leads to the row all the same.
    let unbooked = ledger::TransferId::of(id, ledger::Leg::Void).as_uuid();
    let found = t.get(&staff, &format!("/v1/admin/search?q={unbooked}")).await;
    assert_eq!((&found.body["data"][0]["type"], &found.body["data"][0]["id"]), (&json!("transaction"), &json!(id)));
    let admin = t.staff(Role::Admin).await;
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let frozen = t.send(Method::POST, &path, Some(&t.token(&admin)), &[], Some(json!({"reason": "case 4711"}))).await;
    assert!(frozen.status.is_success(), "{}", frozen.body);
    let restriction: Uuid = sqlx::query_scalar("select id from restrictions order by id limit 1")
        .fetch_one(&t.app.db)
        .await
        .expect("a freeze");
    for id in [restriction, ledger::TransferId::of(restriction, ledger::Leg::Close).as_uuid()] {
        let found = t.get(&staff, &format!("/v1/admin/search?q={id}")).await;
        let hit = &found.body["data"][0];
        assert_eq!(
            (&hit["type"], &hit["matched"], &hit["link"]),
            (&json!("user"), &json!("restriction_id"), &json!(user))
        );
    }
    for nothing in ["%25", "_______", "01900000-0000-7000-8000-000000000000", "nobody@example.com"] {
        let found = t.get(&staff, &format!("/v1/admin/search?q={nothing}")).await;
        assert_eq!(found.body["data"], json!([]), "{nothing}");
    }
    for wrong in ["", "?q=", "?q=%00", &format!("?q={}", "a".repeat(256)), "?q=a&limit=5"] {
        assert_eq!(t.get(&staff, &format!("/v1/admin/search{wrong}")).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    t.finish().await;
}

/// The row has no id of Revio's any more.
#[sqlx::test]
async fn a_payout_that_its_withdrawal_let_go_of_leads_to_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (withdrawal, first) = let_go_for_good(&t, &customer).await;
    let staff = t.staff(Role::Support).await;
    for q in [first.to_string(), first.to_string()[..8].to_owned()] {
        let found = t.get(&staff, &format!("/v1/admin/search?q={q}")).await;
        let hit = &found.body["data"][0];
        let expected = (&json!("transaction"), &json!("object_id"), &json!(withdrawal));
        assert_eq!((&hit["type"], &hit["matched"], &hit["id"]), expected, "{q}: {}", found.body);
    }
    t.finish().await;
}
