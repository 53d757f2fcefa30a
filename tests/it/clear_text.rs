//! A copy of PostgreSQL, column by column, after everything has happened once: what says who somebody is stands in the clear only where
//! this list allows it.

use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

use crate::harness::{Customer, PASSWORD, TestApp};
use crate::outgoing;

/// What staff and mails need in the clear, and have to find people by. Whoever adds a column here says why in docs/database.md.
const EMAIL_IS_IN: &[&str] = &["users.email", "mails.address", "email_changes.new_email"];
const NAME_IS_IN: &[&str] = &["users.full_name"];
const NOWHERE: &[&str] = &[];
/// What somebody wrote to a transaction.
const WORDS_ARE_IN: &[&str] = &["transactions.description"];
const METADATA_IS_IN: &[&str] = &["transactions.metadata"];

const NUMBER: &str = "62007654321";
const HOLDER: &str = "Sipho Dlamini";

async fn post_signed(t: &TestApp, body: &str, signature: &str) -> StatusCode {
    let request = t.http.post(format!("{}/v1/webhooks/revio", t.url)).body(body.to_owned());
    crate::harness::answer(request.header("X-Signature", signature)).await.status
}

async fn add_bank_account(t: &TestApp, customer: &Customer) -> Customer {
    let account =
        json!({"account_number": NUMBER, "branch_code": "250655", "account_holder": HOLDER, "bank_name": "FNB"});
    let added = t.send(Method::POST, "/v1/bank-accounts", Some(&customer.token), &[], Some(account)).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    Customer { bank_account_id: added.id(), email: customer.email.clone(), token: customer.token.clone(), ..*customer }
}

/// What Revio's events say of a customer, at every place where such a thing may stand.
fn client(email: &str) -> serde_json::Value {
    json!({"email": email, "full_name": HOLDER, "phone": "+27 82 123 4567", "bank_account": NUMBER, "personal_code": "8001015009087",
        "street_address": "1 Long Street"})
}

/// Columns in which the text stands.
pub(crate) async fn columns_with(db: &PgPool, needle: &str) -> Vec<String> {
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "select c.table_name::text, c.column_name::text, c.data_type::text
           from information_schema.columns c join information_schema.tables t using (table_schema, table_name)
          where c.table_schema = 'public' and t.table_type = 'BASE TABLE' order by 1, 2",
    )
    .fetch_all(db)
    .await
    .expect("PostgreSQL answers");
    assert!(columns.len() > 100, "{} columns", columns.len());
    let mut found = Vec::new();
    for (table, column, kind) in columns {
        let place = match kind.as_str() {
            "bytea" => format!("position(convert_to($1, 'UTF8') in \"{column}\") > 0"),
            _ => format!("position(lower($1) in lower(\"{column}\"::text)) > 0"),
        };
        let sql = format!("select exists (select from \"{table}\" where {place})");
        if sqlx::query_scalar(AssertSqlSafe(sql)).bind(needle).fetch_one(db).await.expect("PostgreSQL answers") {
            found.push(format!("{table}.{column}"));
        }
    }
    found
}

/// A whole life of an account, with all that goes wrong on the way. The e-mails and tokens that were in use.
async fn a_whole_life(t: &TestApp) -> (Vec<String>, Vec<String>) {
    let (first, admin) = (t.customer_with(20_000).await, t.staff(Role::Admin).await);
    let types = ["transaction.reserved", "transaction.completed"];
    outgoing::endpoint(t, &admin, "https://hooks.example.com/", &types).await;
    t.advance(chrono::TimeDelta::seconds(1));
    let customer = add_bank_account(t, &first).await;
    let body = json!({"amount": 5_000, "currency": "ZAR", "bank_account_id": customer.bank_account_id,
        "description": "for the dentist", "metadata": {"tenant": "Suite 4 Kloofnek"}});
    let token = t.token(&customer);
    let withdrawal =
        t.send(Method::POST, "/v1/withdrawals", Some(&token), &[("Idempotency-Key", "w1")], Some(body)).await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    outgoing::make(t).await;
    let deposit = t.deposit(&customer, 3_000, "d2").await;
    t.pay(&deposit).await;
    t.sim.refund_purchase(t.purchase_of(deposit.id()), Some(1_000)).expect("refundable");
    t.drive().await;
    let payout = t.payout_of(withdrawal.id());
    for body in [
        json!({"type": "payout", "id": payout, "event_type": "payout.success", "is_test": true, "client": client(&customer.email)}),
        json!({"type": "payout", "id": HOLDER, "event_type": "payout.success", "is_test": true, "client": client(&customer.email)}),
        json!({"type": "purchase", "id": payout, "event_type": "purchase.paid", "is_test": true, "reference": HOLDER,
            "client": client(&customer.email)}),
        json!({"type": "purchase", "event_type": "x.y", "is_test": false, "client": client(&customer.email)}),
    ] {
        let body = body.to_string();
        assert_eq!(post_signed(t, &body, &t.sim.sign(body.as_bytes())).await, StatusCode::OK);
        assert_eq!(post_signed(t, &body, "Zm9yZ2Vk").await, StatusCode::UNAUTHORIZED);
    }
    t.drive().await;
    let changed = format!("new-{}", customer.email);
    let login = t.login(&customer.email, PASSWORD).await;
    let cookies: Vec<String> =
        login.headers.get_all("set-cookie").iter().map(|line| line.to_str().expect("text").to_owned()).collect();
    let value = |line: &String| line.split(['=', ';']).nth(1).unwrap_or_default().to_owned();
    let mut tokens: Vec<String> = cookies.iter().map(value).collect();
    let token = login.body["access_token"].as_str().expect("a token").to_owned();
    let change = json!({"new_email": changed, "password": PASSWORD});
    let asked = t.send(Method::POST, "/v1/me/email", Some(&token), &[], Some(change)).await;
    assert!(asked.status.is_success(), "{}", asked.body);
    tokens.push(token);
    let forgot = json!({"email": customer.email});
    t.send(Method::POST, "/v1/auth/password/forgot", None, &[], Some(forgot.clone())).await;
    t.drive().await;
    tokens.push(t.mailbox.newest(&customer.email, "password").token());
    // One mail that has not gone out yet.
    t.send(Method::POST, "/v1/auth/password/forgot", None, &[], Some(forgot)).await;
    for path in [
        format!("/v1/admin/users?email={}", customer.email),
        format!("/v1/admin/search?q={}", customer.email),
        format!("/v1/admin/transactions?q={NUMBER}"),
        "/v1/admin/webhooks".to_owned(),
        format!("/v1/admin/users/{}/data-export", customer.id),
    ] {
        assert_eq!(t.get(&admin, &path).await.status, StatusCode::OK, "{path}");
    }
    (vec![customer.email, changed], tokens)
}

#[sqlx::test]
async fn a_copy_of_the_database_holds_no_account_number_token_or_password_and_names_and_e_mails_only_where_they_belong(
    db: PgPool,
) {
    let t = TestApp::new(db.clone()).await;
    let (emails, tokens) = a_whole_life(&t).await;
    assert!(tokens.iter().all(|token| token.len() > 20) && tokens.len() >= 3, "{tokens:?}");
    let secrets = tokens.iter().map(String::as_str).chain([PASSWORD]).map(|needle| (needle, NOWHERE));
    let personal = ["62001234567", NUMBER, "****4321", HOLDER, "82 123 4567", "8001015009087", "Long Street"];
    let written = [("for the dentist", WORDS_ARE_IN), ("Suite 4 Kloofnek", METADATA_IS_IN)];
    let allowed = secrets.chain(personal.map(|needle| (needle, NOWHERE)));
    let allowed = allowed.chain(written).chain([("Thandi Nkosi", NAME_IS_IN)]);
    for (needle, allowed) in allowed.chain(emails.iter().map(|email| (email.as_str(), EMAIL_IS_IN))) {
        let found = columns_with(&db, needle).await;
        let wrong: Vec<&String> = found.iter().filter(|column| !allowed.contains(&column.as_str())).collect();
        assert!(wrong.is_empty(), "{needle} stands in {wrong:?}");
    }
    assert_eq!(columns_with(&db, "Thandi Nkosi").await, NAME_IS_IN, "what is there is found");
    let told: i64 = sqlx::query_scalar(
        r#"select count(*) from outgoing_events where body like '%"kind":"withdrawal"%' and body like '%"destination":null%'
              and body like '%"metadata":{}%' and body like '%"description":null%'"#,
    )
    .fetch_one(&db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(told, 2, "told without them");
    t.drive().await;
    t.finish_with_held().await;
}
