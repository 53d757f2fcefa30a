//! What a file says of a row beside the row: what the ledger booked, who was on the other side, whose it is.

use calamine::Data;
use octoco::platform::permissions::Role;
use revio_sim::Pay;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{export, fetch, sheet, text};
use crate::harness::TestApp;
use crate::service_accounts::{account, key};

#[sqlx::test]
async fn a_file_says_what_was_booked_who_was_on_the_other_side_and_to_staff_whose_it_is(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 9_000, "d1").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay { fee: 37, ..Pay::default() }).expect("it can be paid");
    t.drive().await;
    // Ids of the same millisecond are in any order.
    t.advance(chrono::TimeDelta::seconds(1));
    t.withdraw(&customer, 1_000, "w1").await;
    t.drive().await;
    t.advance(chrono::TimeDelta::seconds(1));
    t.deposit(&customer, 500, "open").await;
    let own = |bytes: &[u8]| -> Vec<Value> {
        text(bytes).lines().take(3).map(|line| serde_json::from_str(line).expect("an object")).collect()
    };
    let before = own(&export(&t, &customer, "format=jsonl&sort=created_at").await);
    assert_eq!((&before[0]["booked_at"], &before[0]["fee"]), (&Value::Null, &Value::Null), "it is not copied yet");
    t.assert_read_model_holds().await;
    let rows = own(&export(&t, &customer, "format=jsonl&sort=created_at").await);
    let counterparts: Vec<&str> = rows.iter().filter_map(|row| row["counterpart"].as_str()).collect();
    assert_eq!(counterparts, ["Revio", "FNB ****4567", "Revio"]);
    assert_eq!([&rows[0]["fee"], &rows[1]["fee"], &rows[2]["fee"]], [&json!(0), &json!(0), &Value::Null]);
    assert!(rows[0].get("provider_fee").is_none() && rows[0].get("customer").is_none(), "{}", rows[0]);
    let detail = t.get(&customer, &format!("/v1/transactions/{}", deposit.id())).await.body;
    let booked: chrono::DateTime<chrono::Utc> =
        detail["transfers"][0]["at"].as_str().expect("a time").parse().expect("a time");
    let told: chrono::DateTime<chrono::Utc> = rows[0]["booked_at"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(told, booked);
    // The accounts are kept in Johannesburg, whatever the zone of the file.
    let day = (booked + chrono::TimeDelta::hours(2)).date_naive().to_string();
    let staff = t.staff(Role::Finance).await;
    let path = format!("/v1/admin/transactions/export?user_id={}&sort=created_at&tz=America/New_York", customer.id);
    let all = fetch(&t, Some(&staff.token), &format!("{path}&format=csv")).await;
    let lines: Vec<&str> = text(&all.bytes).split("\r\n").collect();
    assert!(
        lines[0].ends_with(
            "completed_at,direction,user_id,provider_id,provider_status,held_reason,fee,counterpart,booked_at,\
             booking_date,metadata,provider_fee,customer"
        ),
        "{}",
        lines[0]
    );
    assert!(lines[1].ends_with(&format!(",{day},,37,Thandi Nkosi")) && lines[1].contains(",0,Revio,"), "{}", lines[1]);
    assert!(lines[2].contains(",0,FNB ****4567,") && lines[2].ends_with(",0,Thandi Nkosi"), "{}", lines[2]);
    assert!(lines[3].ends_with(",,Revio,,,,,Thandi Nkosi"), "{}", lines[3]);
    let all = fetch(&t, Some(&staff.token), &format!("{path}&format=xlsx")).await;
    let rows = sheet(&all.bytes, "Transactions");
    let cell = |name: &str| {
        let column =
            rows[0].iter().position(|header| matches!(header, Data::String(text) if text == name)).expect("a column");
        rows[1][column].clone()
    };
    let Data::DateTime(shown) = cell("booking_date") else { panic!("a date, not {:?}", cell("booking_date")) };
    let first: chrono::NaiveDate = "1899-12-30".parse().expect("a day");
    let days = (day.parse::<chrono::NaiveDate>().expect("a day") - first).num_days();
    assert_eq!(shown.as_f64(), f64::from(i32::try_from(days).expect("few")));
    assert_eq!((cell("provider_fee"), cell("customer").to_string()), (Data::Float(37.0), "Thandi Nkosi".to_owned()));
    t.finish().await;
}

/// A machine that may read transactions is not one that may see customers.
#[sqlx::test]
async fn names_are_for_whoever_may_see_customers(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, admin) = (t.customer().await, t.staff(Role::Admin).await);
    t.deposit(&customer, 500, "d1").await;
    for (scopes, named) in [(&["transactions.read"][..], false), (&["transactions.read", "users.read"], true)] {
        let (_, key) = key(&t, &admin, account(&t, &admin, scopes).await).await;
        for format in ["csv", "jsonl"] {
            let file = fetch(&t, Some(&key), &format!("/v1/admin/transactions/export?format={format}")).await;
            assert_eq!(text(&file.bytes).contains("Thandi Nkosi"), named, "{format}: {}", text(&file.bytes));
        }
        let statement = format!("/v1/admin/users/{}/statements?currency=ZAR&from=2026-01-01", customer.id);
        for (format, status) in [("json", 200), ("csv", 200), ("pdf", if named { 200 } else { 403 })] {
            let answer = fetch(&t, Some(&key), &format!("{statement}&format={format}")).await;
            assert_eq!(answer.status.as_u16(), status, "{format}");
        }
    }
    t.finish().await;
}
