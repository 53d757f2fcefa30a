//! Statements as PDF: what is read out of the file is what the JSON says, the file is the same each time, and any name is in it.

use chrono::{DateTime, Utc};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::PgPool;

use crate::downloads::told;
use crate::exports::{File, fetch};
use crate::harness::{Customer, TestApp};
use crate::statements::pass_the_ledgers_present;

const QUERY: &str = "currency=ZAR&from=2020-01-01&to=2026-03-02T09:00:30Z&tz=Africa/Johannesburg";

async fn rendered(t: &TestApp, whom: &Customer, path: &str) -> (File, String) {
    let file = fetch(t, Some(&t.token(whom)), path).await;
    assert_eq!(file.status, StatusCode::OK, "{}", String::from_utf8_lossy(&file.bytes));
    assert_eq!(file.headers["content-type"], "application/pdf");
    assert!(file.bytes.starts_with(b"%PDF-"));
    let text = pdf_extract::extract_text_from_mem(&file.bytes).expect("it can be read");
    // Where words stand is the reader's guess.
    (file, text.chars().filter(|character| !character.is_whitespace()).collect())
}

async fn named(t: &TestApp, customer: &Customer, name: &str) {
    let update = sqlx::query("update users set full_name = $2 where id = $1").bind(customer.id).bind(name);
    update.execute(&t.app.db).await.expect("a name");
}

fn decimal(minor: i64) -> String {
    format!("{}{}.{:02}", if minor < 0 { "-" } else { "" }, minor.abs() / 100, minor.abs() % 100)
}

/// As a clock in Johannesburg shows it, without the space between.
fn wall(time: &Value) -> String {
    let at: DateTime<Utc> = time.as_str().expect("a time").parse().expect("a time");
    (at + chrono::TimeDelta::hours(2)).format("%Y-%m-%d%H:%M:%S").to_string()
}

/// A statement of everything that there is, final, in both forms.
async fn both(t: &TestApp, customer: &Customer) -> (Value, String) {
    pass_the_ledgers_present(t).await;
    let query = "currency=ZAR&from=2020-01-01&tz=Africa/Johannesburg";
    let to = (t.app.clock.now() - chrono::TimeDelta::minutes(2)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let json = t.get(customer, &format!("/v1/statements?{query}&to={to}")).await.body;
    let (file, text) = rendered(t, customer, &format!("/v1/statements?{query}&to={to}&format=pdf")).await;
    let name = file.headers["content-disposition"].to_str().expect("text");
    assert!(name.starts_with("attachment; filename=\"statement-ZAR-20200101-") && name.ends_with(".pdf\""), "{name}");
    (json, text)
}

#[sqlx::test]
async fn the_file_says_what_the_json_says(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(1_234_567).await;
    for number in 0..70 {
        t.withdraw(&customer, 1_001 + number, &format!("w{number}")).await;
    }
    t.drive().await;
    let (json, text) = both(&t, &customer).await;
    let lines = json["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 71);
    let (mut ins, mut outs) = (0, 0);
    for line in lines {
        let (amount, balance) =
            (line["amount"].as_i64().expect("minor"), line["running_balance"].as_i64().expect("minor"));
        let told = format!(
            "{}{}{}{}{}",
            wall(&line["at"]),
            line["kind"].as_str().expect("a kind"),
            line["transaction_id"].as_str().expect("an id"),
            decimal(amount),
            decimal(balance)
        );
        assert!(text.contains(&told), "{told} is not in {text}");
        *(if amount > 0 { &mut ins } else { &mut outs }) += amount;
    }
    let closing = json["closing_balance"].as_i64().expect("minor");
    for told in [
        "ThandiNkosi".to_owned(),
        format!("ZARaccountofcustomer{}", customer.id),
        format!("{}to{}(Africa/Johannesburg)", wall(&json["from"]), wall(&json["to"])),
        "Final:".to_owned(),
        format!("Openingbalance0.00Totalin{}Totalout{}Closingbalance{}", decimal(ins), decimal(outs), decimal(closing)),
        format!("{}openingbalance0.00", wall(&json["from"])),
        format!("{}closingbalance{}", wall(&json["to"]), decimal(closing)),
        "Page1of2".to_owned(),
        "Page2of2".to_owned(),
    ] {
        assert!(text.contains(&told), "{told} is not in {text}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn any_name_is_in_it_whole(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    for name in ["Жанна Ñandú-Åström Ελένη", &"Wolfeschlegelsteinhausenbergerdorff ".repeat(3), "Œuvre ŉ ṱ ḓ", "张 Li"]
    {
        named(&t, &customer, name.trim()).await;
        let (_, text) = both(&t, &customer).await;
        let told: String = name.chars().filter(|character| !character.is_whitespace()).collect();
        assert!(text.contains(&told), "{told} is not in {text}");
    }
    // Of other scripts and of both directions: it is written, whatever this reader makes of it.
    for name in ["张伟", "ｗide", "محمد Ali שלום", "👩\u{200d}🚀", "नमस्ते"] {
        named(&t, &customer, name).await;
        both(&t, &customer).await;
    }
    t.finish().await;
}

#[sqlx::test]
async fn the_same_statement_is_the_same_file_for_everybody_and_a_part_of_it_can_be_asked_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    pass_the_ledgers_present(&t).await;
    let support = t.staff(Role::Support).await;
    let own = format!("/v1/statements?{QUERY}&format=pdf");
    let (first, _) = rendered(&t, &customer, &own).await;
    let (again, _) = rendered(&t, &customer, &own).await;
    let of_user = format!("/v1/admin/users/{}/statements?{QUERY}&format=pdf", customer.id);
    let (theirs, _) = rendered(&t, &support, &of_user).await;
    assert!(first.bytes == again.bytes && first.bytes == theirs.bytes, "the same bytes");
    let tag = first.headers["etag"].to_str().expect("text").to_owned();
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = t.http.get(format!("{}{own}", t.url)).bearer_auth(t.token(&customer));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("the service answers");
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.bytes().await.expect("a body").to_vec())
    };
    assert_eq!(ask(&[("If-None-Match", &tag)]).await.0, StatusCode::NOT_MODIFIED);
    let middle = first.bytes.len() / 2;
    let (one, headers, start) = ask(&[("Range", &format!("bytes=0-{}", middle - 1))]).await;
    assert_eq!(
        (one, told(&headers, "content-range")),
        (StatusCode::PARTIAL_CONTENT, &*format!("bytes 0-{}/{}", middle - 1, first.bytes.len()))
    );
    let (_, _, end) = ask(&[("Range", &format!("bytes={middle}-")), ("If-Range", &tag)]).await;
    assert_eq!([start, end].concat(), first.bytes);
    let (status, headers, _) = ask(&[("Range", "bytes=99999999-")]).await;
    assert_eq!(
        (status, told(&headers, "content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, &*format!("bytes */{}", first.bytes.len()))
    );
    let head = t.http.request(Method::HEAD, format!("{}{own}", t.url)).bearer_auth(t.token(&customer)).send().await;
    let head = head.expect("the service answers");
    assert_eq!(
        (head.status(), head.headers()["content-length"].to_str().ok()),
        (StatusCode::OK, Some(&*first.bytes.len().to_string()))
    );
    t.finish().await;
}
