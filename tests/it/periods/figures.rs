//! What stands in the reports of a month: figures of that month, each once, that do not change after it.

use chrono::TimeDelta;
use octoco::books::projector;
use octoco::finance::days;
use octoco::platform::permissions::Role;
use revio_sim::{Pay, Stranger};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{Books, books, found, run};
use crate::adjustments::{self, correction};
use crate::crashes::Crashes;
use crate::harness::{Customer, TestApp};
use crate::reporting::value;
use crate::statement_files::uploaded;

async fn rows(books: &Books, report: &str) -> Vec<Value> {
    let printed = books.print(books.month, &format!("pack?report={report}")).await;
    printed.body["rows"].as_array().unwrap_or_else(|| panic!("{report}: {}", printed.body)).clone()
}

fn number(row: &Value, name: &str) -> i64 {
    row[name].as_i64().unwrap_or_else(|| panic!("{name} of {row}"))
}

#[sqlx::test]
async fn what_is_another_sum_each_day_has_none_in_the_pack_and_keeps_nobody_from_approving_it(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, checker, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let last = run(t, month.last_day()).await;
    let mut all = Vec::new();
    for kind in ["position_short", "d1_late"] {
        let id = found(t, last, "high", month.last_day()).await;
        let known = "update breaks set type = $2, leg = 'b', currency = 'ZAR', expected_minor = 900, actual_minor = 700 where id = $1";
        sqlx::query(known).bind(id).bind(kind).execute(&db).await.expect("written");
        all.push(id);
    }
    let asked = books.close(*month, &all).await;
    let told: Vec<_> = rows(&books, "breaks").await;
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|row| row["expected_minor"].is_null() && row["actual_minor"].is_null()), "{told:?}");
    // As the daily run of the next day leaves them.
    let overwritten = "update breaks set expected_minor = 950, actual_minor = 600, observed = 'y'";
    sqlx::query(overwritten).execute(&db).await.expect("written");
    let closed = books.approve(checker, *month, &asked.body["pack_sha256"]).await;
    assert_eq!(closed.body["state"], "closed", "{}", closed.body);
    books.t.finish_with_held().await;
}

#[sqlx::test]
async fn a_fee_that_two_files_tell_is_one_in_the_pack(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, maker, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let line = format!(",,purchase,paid,ZAR,500,7,{}\n", month.first_day());
    let head = "id,reference,product,status,currency,amount,fee,paid_on\n";
    // Two equal ones in the day's file; in the month's the same two, and a third.
    for times in [2, 3] {
        t.advance(TimeDelta::milliseconds(1));
        uploaded(t, maker, "source=revio&unit=minor", format!("{head}{}", line.repeat(times))).await;
    }
    books.compared_on(Some(month.first_day())).await;
    books.closed(*month).await;
    let fees = rows(&books, "fees").await;
    let deposits = fees.iter().find(|row| row["kind"] == "deposit").expect("deposits");
    assert_eq!((number(deposits, "booked_minor"), number(deposits, "on_statement_minor")), (900, 21));
    books.t.finish_with_held().await;
}

/// As on the board.
#[sqlx::test]
async fn a_fee_of_a_payment_that_no_row_is_known_of_is_a_deposits(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, maker, .. } = &books;
    t.advance(TimeDelta::days(1));
    let new = Stranger { amount: 500, currency: "ZAR".to_owned(), fee: 3, ..Stranger::default() };
    t.sim.stranger_purchase(&new).expect("paid");
    t.drive().await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let line = format!("{},,purchase,paid,ZAR,500,3,{}\n", Uuid::new_v4(), month.first_day());
    let file = format!("id,reference,product,status,currency,amount,fee,paid_on\n{line}");
    uploaded(t, maker, "source=revio&unit=minor", file).await;
    books.compared_on(Some(month.first_day())).await;
    books.closed(*month).await;
    let fees = rows(&books, "fees").await;
    let all: Vec<_> =
        fees.iter().map(|row| (&row["kind"], number(row, "booked_minor"), number(row, "on_statement_minor"))).collect();
    assert_eq!(all, [(&json!("deposit"), 903, 3)]);
    let board = "select concat(booked, ' ', on_statement) from reporting.fees where kind = 'deposit'";
    assert_eq!(value(t, board).await, "9.03 0.03");
    books.t.finish_with_held().await;
}

/// A payment of another sum than was asked for.
async fn misfit(t: &TestApp, customer: &Customer, paid: i64, key: &str) -> Uuid {
    let deposit = t.deposit(customer, paid + 1, key).await;
    let pay = Pay { amount: Some(paid), ..Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit.id()), pay).expect("payable");
    t.drive().await;
    deposit.id()
}

/// By the ledger's time; our own rows may be written before or after the month's end.
#[sqlx::test]
async fn open_items_come_to_what_the_ledger_holds_in_suspense_at_the_cut(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, maker, .. } = &books;
    let (second, customer) = (t.staff(Role::Finance).await, t.customer().await);
    t.advance(TimeDelta::days(1));
    let (first, other) = (misfit(t, &customer, 899, "m1").await, misfit(t, &customer, 700, "m2").await);
    let mut body = correction(&customer, "credit", 300);
    body["counterpart"] = json!("suspense");
    body["item_id"] = json!(other);
    let proposed = adjustments::proposed(t, maker, body, "a1").await;
    let cleared = adjustments::approve(t, &second, proposed.id(), adjustments::hash(&proposed)).await;
    assert_eq!(cleared.body["state"], "completed", "{}", cleared.body);
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    books.closed(*month).await;
    let items = rows(&books, "open-items").await;
    let left =
        |id: Uuid| items.iter().find(|row| row["id"] == id.to_string()).map(|row| number(row, "remaining_minor"));
    assert_eq!((left(first), left(other)), (Some(899), Some(400)), "{items:?}");
    let today = value(t, "select reporting.day(now())").await;
    assert!(items.iter().all(|row| row["since"] == today.as_str()), "{items:?}");
    let balances = rows(&books, "trial-balance").await;
    let suspense = balances.iter().find(|row| row["code"] == 2900).expect("suspense");
    let open: i64 = items.iter().map(|row| number(row, "remaining_minor")).sum();
    assert_eq!(open, -number(suspense, "closing_minor"));
    books.t.finish_with_held().await;
}

/// Of customers, and by whom; what they owe, and since when.
#[sqlx::test]
async fn debts_and_corrections_of_the_month_are_in_the_pack(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, maker, .. } = &books;
    let second = t.staff(Role::Finance).await;
    t.advance(TimeDelta::days(1));
    let customer = t.customer_with(1_000).await;
    t.withdraw(&customer, 1_000, "w").await;
    t.drive().await;
    let deposit: Uuid = sqlx::query_scalar("select id from transactions where user_id = $1 and kind = 'deposit'")
        .bind(customer.id)
        .fetch_one(&t.app.db)
        .await
        .expect("one");
    t.sim.charge_back_purchase(t.purchase_of(deposit)).expect("paid");
    t.drive().await;
    let mut body = correction(&customer, "credit", 300);
    body["transaction_id"] = json!(deposit);
    let proposed = adjustments::proposed(t, maker, body, "a1").await;
    let booked = adjustments::approve(t, &second, proposed.id(), adjustments::hash(&proposed)).await;
    assert_eq!(booked.body["state"], "completed", "{}", booked.body);
    assert_eq!(t.owed(customer.id).await, 700);
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    books.closed(*month).await;
    let today = value(t, "select reporting.day(now())").await;
    let debts = rows(&books, "receivables").await;
    let debt = debts.iter().find(|row| row["customer_id"] == json!(customer.id)).expect("it is owed");
    assert_eq!((number(debt, "amount_minor"), &debt["since"]), (700, &json!(today)), "{debt}");
    let all: i64 = debts.iter().map(|row| number(row, "amount_minor")).sum();
    let balances = rows(&books, "trial-balance").await;
    let owed = balances.iter().find(|row| row["code"] == 1200).expect("receivables");
    assert_eq!(all, number(owed, "closing_minor"));
    let [made] = rows(&books, "corrections").await.try_into().expect("one");
    let people = (&made["requested_by"], &made["approved_by"]);
    assert_eq!(people, (&json!(maker.id), &json!(second.id.to_string())), "{made}");
    assert_eq!((number(&made, "amount_minor"), &made["concerns"]), (300, &Value::Null), "a row of this month");
    books.t.finish_with_held().await;
}

/// The debt of the flows that every month begins with; its debit in the copy is moved to the month's beginning.
#[sqlx::test]
async fn a_debt_is_as_old_as_its_debit_up_to_the_cut_in_the_pack_and_on_the_board(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let nanoseconds = async |day| {
        let moment = days::start(&t.app, day).await.expect("a moment") + TimeDelta::hours(1);
        moment.timestamp_nanos_opt().expect("of our time")
    };
    let (first, after) = (nanoseconds(month.first_day()).await, nanoseconds(month.next().first_day()).await);
    let write = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&db).await.expect("written");
    };
    let since = async || {
        let asked = books.close(*month, &[]).await;
        assert_eq!(asked.body["state"], "awaiting_approval", "{}", asked.body);
        let [debt] = rows(&books, "receivables").await.try_into().expect("one");
        assert_eq!(debt["age_band"], "0-30 d");
        debt["since"].clone()
    };
    let debit = "(select (left(id::text, 34) || '06')::uuid from transactions where kind = 'chargeback')";
    write(format!("update ledger_transfers set timestamp = {first} where id = {debit}")).await;
    let first_day = month.first_day().to_string();
    assert_eq!(since().await, first_day);
    assert_eq!(value(t, "select reporting.day(since) from reporting.receivables").await, first_day);
    // An older row has it, and the one of now is booked after the cut, between accounts that are nobody's.
    write(format!(
        "update transactions d set owed_minor = c.owed_minor from transactions c where c.kind = 'chargeback' and d.id = c.parent_id;
         update ledger_transfers set id = (select (left(parent_id::text, 34) || '06')::uuid from transactions where kind = 'chargeback')
          where id = {debit};
         insert into ledger_transfers
         select (jsonb_populate_record(l, jsonb_build_object('timestamp', {after}, 'id', {debit}, 'debit_account_id', gen_random_uuid(),
                                                             'credit_account_id', gen_random_uuid()))).*
           from ledger_transfers l where l.timestamp = {first}"
    ))
    .await;
    assert_eq!(since().await, first_day);
    let gone = format!("delete from ledger_transfers where timestamp = {after}");
    write(format!("{gone}; update transactions set owed_minor = 0 where kind = 'deposit'")).await;
    projector::rebuild(&t.app).await.expect("rebuilt");
    books.t.finish_with_held().await;
}

/// An older database was put back: what the ledger has of it is told, and nobody is named.
#[sqlx::test]
async fn a_correction_whose_row_is_not_known_is_in_the_pack_all_the_same(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, maker, .. } = &books;
    let second = t.staff(Role::Finance).await;
    t.advance(TimeDelta::days(1));
    let customer = t.customer_with(1_000).await;
    let proposed = adjustments::proposed(t, maker, correction(&customer, "debit", 300), "a1").await;
    let booked = adjustments::approve(t, &second, proposed.id(), adjustments::hash(&proposed)).await;
    assert_eq!(booked.body["state"], "completed", "{}", booked.body);
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let lost = Uuid::new_v4();
    let forgotten = sqlx::query("update ledger_transfers set reference = $1 where code = 90").bind(lost);
    forgotten.execute(&db).await.expect("written");
    books.prepare(*month).await;
    books.closed(*month).await;
    let [made] = rows(&books, "corrections").await.try_into().expect("one");
    let (id, customer_id) = (json!(lost), json!(customer.id));
    assert_eq!((&made["id"], &made["customer_id"]), (&id, &customer_id), "{made}");
    let told = (&made["direction"], &made["counterpart"], number(&made, "amount_minor"));
    assert_eq!(told, (&json!("debit"), &json!("equity"), 300), "{made}");
    assert!(["concerns", "requested_by", "approved_by"].iter().all(|name| made[*name].is_null()), "{made}");
    projector::rebuild(&t.app).await.expect("rebuilt");
    books.t.finish_with_held().await;
}
