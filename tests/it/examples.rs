//! The examples of the OpenAPI document are true: what is copied from it works.

use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::contract::operations;
use crate::harness::TestApp;

/// Sent as it stands, an example is taken for what it is an example of: of its fields nothing is refused but what is not there.
#[sqlx::test]
async fn each_example_of_a_request_is_one_that_the_service_reads(db: PgPool) {
    let t = TestApp::new(db).await;
    let callers = [t.customer().await, t.staff(Role::Finance).await, t.staff(Role::Admin).await];
    let mut wrong = Vec::new();
    for (method, path, operation) in operations() {
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        if example.is_null() {
            continue;
        }
        let id = t.app.clock.row_id().to_string();
        let url = path
            .replace("{month}", "2026-03")
            .split('/')
            .map(|part| if part.starts_with('{') { &id } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let mut refused = Vec::new();
        for caller in &callers {
            let headers = [("Idempotency-Key", id.as_str())];
            let answer = t.send(method.clone(), &url, Some(&t.token(caller)), &headers, Some(example.clone())).await;
            if answer.status != StatusCode::BAD_REQUEST {
                refused.clear();
                break;
            }
            // A token is only what a mail has brought.
            let errors = answer.body["errors"].as_array().cloned().unwrap_or_default();
            let wrong: Vec<&Value> = errors.iter().filter(|error| error["field"] != "token").collect();
            if !wrong.is_empty() {
                refused.push(format!("{wrong:?}"));
            }
        }
        refused.dedup();
        wrong.extend(refused.into_iter().map(|errors| format!("{method} {path}: {errors}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of each row that an answer shows, what its kind of row has: a withdrawal its destination, and no link to pay at.
#[test]
fn an_answers_example_is_of_what_its_route_makes() {
    let example = |path: &str, status: &str| -> Value {
        let (_, _, operation) =
            operations().find(|(method, template, _)| *method == "post" && *template == path).expect("there");
        operation["responses"][status]["content"]["application/json"]["example"].clone()
    };
    for (path, status, kind, state) in [
        ("/v1/deposits", "201", "deposit", "awaiting_payment"),
        ("/v1/deposits/{id}/cancel", "200", "deposit", "cancelled"),
        ("/v1/withdrawals", "202", "withdrawal", "reserved"),
        ("/v1/withdrawals/{id}/cancel", "200", "withdrawal", "cancelled"),
    ] {
        let shown = example(path, status);
        assert_eq!((&shown["kind"], &shown["state"]), (&json!(kind), &json!(state)), "{path}");
        let is_deposit = kind == "deposit";
        assert_eq!((shown["checkout_url"].is_string(), shown["destination"].is_object()), (is_deposit, !is_deposit));
        assert_eq!(shown["failure"].is_object(), state == "cancelled", "{path}: {shown}");
    }
    let approved = example("/v1/admin/withdrawals/{id}/approve", "200");
    assert_eq!((&approved["kind"], &approved["state"]), (&json!("withdrawal"), &json!("awaiting_approval")));
    assert_eq!(approved["destination"]["account_holder"], "Thandi Nkosi", "the whole of it");
}
