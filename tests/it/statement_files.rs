//! Statements of Revio's and the bank's: read however they are written, matched, settled, kept without payers' data, and the same once.

use chrono::NaiveDate;
use futures_util::future::join_all;
use octoco::finance::statement_files::StatementFiles;
use octoco::finance::statement_files::{self, routes::BODY_BYTES_MAX};
use octoco::identity::rotation::{self, Cursor};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{BankLine, BankQuery, Headings, Pay};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clear_text::columns_with;
use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp, answer};

const PAYER: &str = "Nomvula Khumalo";
const EMAIL: &str = "nomvula@example.org";

/// Of a line: product, amount, reference, status, day.
type Kept = (String, i64, Option<String>, Option<String>, NaiveDate);

pub(crate) async fn upload(t: &TestApp, by: &Customer, query: &str, content: impl Into<Vec<u8>>) -> Answer {
    let url = format!("{}/v1/admin/reconciliation/statements?{query}", t.url);
    let request = t.http.post(url).bearer_auth(t.token(by)).header("content-type", "text/csv; charset=utf-8");
    answer(request.body(content.into())).await
}

pub(crate) async fn uploaded(t: &TestApp, by: &Customer, query: &str, content: impl Into<Vec<u8>>) -> Answer {
    let answer = upload(t, by, query, content).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer
}

/// A deposit that was paid: our id, and Revio's.
pub(crate) struct Paid {
    pub(crate) row: Uuid,
    pub(crate) object: Uuid,
    pub(crate) amount: i64,
}

pub(crate) async fn deposits(t: &TestApp, amounts: &[i64]) -> (Customer, Vec<Paid>) {
    let customer = t.customer().await;
    let mut paid = Vec::new();
    for (number, amount) in amounts.iter().enumerate() {
        let deposit = t.deposit(&customer, *amount, &format!("d{number}")).await;
        let object = t.purchase_of(deposit.id());
        t.sim.pay_purchase(object, Pay { fee: amount / 100, ..Pay::default() }).expect("it can be paid");
        t.drive().await;
        paid.push(Paid { row: deposit.id(), object, amount: *amount });
    }
    (customer, paid)
}

/// As plain as it gets, in cents.
pub(crate) fn file(paid: &[Paid]) -> String {
    let line = |paid: &Paid| {
        let (fee, amount) = (paid.amount / 100, paid.amount);
        format!("{},{},purchase,paid,ZAR,{amount},{fee},2026-03-02T09:00:00Z\n", paid.object, paid.row)
    };
    let lines: String = paid.iter().map(line).collect();
    format!("id,reference,product,status,currency,amount,fee,paid_on\n{lines}")
}

fn errors(answer: &Answer) -> String {
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "statement_unusable"),
        "{}",
        answer.body
    );
    answer.body["errors"].to_string()
}

#[sqlx::test]
async fn odd_headings_in_rands_are_read_and_nothing_of_payers_is_kept_in_the_clear(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let (customer, paid) = deposits(&t, &[10_050, 20_000, 300_000]).await;
    let withdrawal = t.withdraw(&customer, 5_000, "w1").await;
    t.drive().await;
    let payout = t.payout_of(withdrawal.id());
    let mut content = "\u{feff}Paid At;Customer Name;Transaction Type;Gross Amount;E-Mail;Currency Code;TRANSACTION_ID;Merchant Reference;State\r\n".to_owned();
    for Paid { row, object, amount } in &paid {
        let (rands, cents) = (amount / 100, amount % 100);
        content += &format!(
            "2026-03-02 09:00:00;\"{PAYER}; jr\";PURCHASE;\"{rands},{cents:02}00\";{EMAIL};zar;{object};{row};paid\r\n"
        );
    }
    content += &format!("2026-03-02 22:30:00;{PAYER};Payout;50,0000;;ZAR;{payout};{};success\r\n", withdrawal.id());
    content += &format!("2026-03-02 09:00:00;{PAYER};{PAYER};7,0000;{EMAIL};ZAR;;{PAYER};{PAYER}\r\n");
    let answer = uploaded(&t, &finance, "source=revio", content.clone()).await;
    let expected = json!({"source": "revio", "lines": 5, "matched": 4, "unmatched": 1, "unit": "major", "from": "2026-03-02",
        "to": "2026-03-03", "currency": "ZAR", "imported": true, "unknown_columns": ["Customer Name", "E-Mail"]});
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&answer.body[name], value, "{name}");
    }
    let kept: Vec<Kept> =
        sqlx::query_as("select product, amount_minor, reference, status, day from statement_lines order by number")
            .fetch_all(&db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(kept[0].1, 10_050);
    let day = "2026-03-03".parse().expect("a day");
    assert_eq!(
        kept[3],
        ("payout".to_owned(), -5_000, Some(withdrawal.id().to_string()), Some("success".to_owned()), day)
    );
    assert_eq!((kept[4].0.as_str(), &kept[4].2, kept[4].3.as_deref()), ("other", &None, Some("other")));
    for needle in [PAYER, EMAIL, "Nomvula"] {
        assert!(columns_with(&db, needle).await.is_empty(), "{needle}");
    }
    let again = uploaded(&t, &finance, "source=revio", content).await;
    assert_eq!(again.body, answer.body, "the same bytes are the same file");
    t.finish().await;
}

#[sqlx::test]
async fn the_unit_is_settled_by_known_lines_or_the_file_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let cents = file(&paid);
    let few = file(&paid[..2]);
    assert!(errors(&upload(&t, &finance, "source=revio", few.clone()).await).contains("unit=major"));
    assert!(errors(&upload(&t, &finance, "source=revio&unit=major", cents.clone()).await).contains("prove minor"));
    let mixed = cents.replace(",30000,300,", ",300,3,");
    assert!(errors(&upload(&t, &finance, "source=revio", mixed).await).contains("not settled"));
    let half = format!("{cents}{},,purchase,paid,ZAR,0.50,0,2026-03-02T09:00:00Z\n", Uuid::nil());
    assert!(errors(&upload(&t, &finance, "source=revio", half).await).contains("no whole number of cents"));
    assert_eq!(uploaded(&t, &finance, "source=revio", cents).await.body["unit"], "minor");
    assert_eq!(uploaded(&t, &finance, "source=revio&unit=minor", few).await.body["unit"], "minor");
    t.finish().await;
}

#[sqlx::test]
async fn the_same_bytes_are_no_other_file_and_what_is_said_of_them_otherwise_is_named(db: PgPool) {
    let t = TestApp::with(db.clone(), &[("CURRENCIES", "ZAR,USD")]).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let (content, bank) = (file(&paid), "Date,Description,Amount\n2026-03-02,Charges,-5.00\n");
    let known = uploaded(&t, &finance, "source=revio", content.clone()).await;
    assert_eq!((&known.body["unit"], &known.body["unit_proved"]), (&"minor".into(), &true.into()));
    let of_bank = "source=bank&unit=major&currency=ZAR";
    let at_bank = uploaded(&t, &finance, of_bank, bank).await;
    assert_eq!(at_bank.body["unit_proved"], false, "somebody said so");
    // Said as it is, or not at all; in what its lines are they say themselves.
    for query in ["source=revio&unit=minor&from=2026-03-02&to=2026-03-02", "source=revio&currency=USD"] {
        assert_eq!(uploaded(&t, &finance, query, content.clone()).await.body, known.body, "{query}");
    }
    assert_eq!(uploaded(&t, &finance, of_bank, bank).await.body, at_bank.body);
    for (query, content, fields) in [
        ("source=revio&unit=major", content.as_str(), &["unit"][..]),
        ("source=revio&from=2026-03-01&to=2026-03-31", &content, &["from", "to"]),
        ("source=revio&unit=major&to=2026-03-03&dry_run=true", &content, &["unit", "to"]),
        ("source=bank&unit=minor&currency=USD", bank, &["unit", "currency"]),
    ] {
        let refused = upload(&t, &finance, query, content).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "statement_known"), "{}", refused.body);
        let named = refused.body["errors"].as_array().expect("errors").iter();
        let named: Vec<&str> = named.map(|error| error["field"].as_str().expect("a name")).collect();
        assert_eq!(named, fields, "{query}");
    }
    let files: i64 =
        sqlx::query_scalar("select count(*) from statement_files").fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!(files, 2);
    t.finish().await;
}

#[sqlx::test]
async fn what_is_wrong_with_a_file_is_named_and_nothing_of_its_cells(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let head = "id,reference,product,status,currency,amount,fee,paid_on\n";
    let line = format!("{},x,purchase,paid,ZAR,100,1,2026-03-02\n", Uuid::nil());
    for (name, content, told) in [
        (
            "no columns",
            format!("Amount,Payer,{EMAIL}\n1,{PAYER},x\n"),
            "id or reference, product, currency, date not found among: Amount, Payer, (no word)",
        ),
        ("empty", String::new(), "is empty"),
        ("an open quote", format!("{head}{line}\"{line}"), "never closed"),
        ("a cell too many", format!("{head}{line}{},more\n", line.trim()), "has 9 cells"),
        ("a number", format!("{head}{}", line.replace(",100,", &format!(",{PAYER},"))), "is no number"),
        ("a date", format!("{head}{}", line.replace("2026-03-02", PAYER)), "is no date"),
        ("a currency", format!("{head}{}", line.replace("ZAR", "RRR")), "is no currency"),
        ("a day outside", format!("{head}{line}"), "must hold all days"),
    ] {
        let query = if name == "a day outside" { "&unit=minor&from=2026-03-01&to=2026-03-01" } else { "&unit=minor" };
        let refused = upload(&t, &finance, &format!("source=revio{query}"), content).await;
        assert!(errors(&refused).contains(told), "{name}: {}", refused.body);
        assert!(!refused.body.to_string().contains(PAYER) && !refused.body.to_string().contains(EMAIL), "{name}");
    }
    let utf16: Vec<u8> = head.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(errors(&upload(&t, &finance, "source=revio", utf16).await).contains("no text"));
    let explained = format!("{head}{line}{}", "x,,closing balance,,ZAR,500,,\n,,opening balance,,ZAR,7,,\n");
    assert!(
        errors(&upload(&t, &finance, "source=revio&unit=minor", explained).await)
            .contains("come to 107 and not to 500")
    );
    let large = upload(&t, &finance, "source=revio", vec![b'x'; BODY_BYTES_MAX + 1]).await;
    assert_eq!((large.status, large.code()), (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"));
    let json = t
        .send(
            Method::POST,
            "/v1/admin/reconciliation/statements?source=revio",
            Some(&t.token(&finance)),
            &[],
            Some(Value::Null),
        )
        .await;
    assert_eq!(json.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for query in ["source=paypal", "source=revio&unit=dozens", "source=revio&from=yesterday", "source=revio&more=1", ""]
    {
        assert_eq!(upload(&t, &finance, query, head).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
    let files: i64 =
        sqlx::query_scalar("select count(*) from statement_files").fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!(files, 0);
    t.finish().await;
}

#[sqlx::test]
async fn a_dry_run_keeps_nothing_and_of_many_who_import_at_once_one_does(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (finance, support) = (t.staff(Role::Finance).await, t.staff(Role::Support).await);
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let content = file(&paid);
    let dry = uploaded(&t, &finance, "source=revio&dry_run=true", content.clone()).await;
    assert_eq!((&dry.body["matched"], &dry.body["imported"]), (&3.into(), &false.into()));
    let count = async || -> (i64, i64) {
        let counted =
            sqlx::query_as("select (select count(*) from statement_files), (select count(*) from statement_lines)");
        counted.fetch_one(&db).await.expect("PostgreSQL answers")
    };
    assert_eq!(count().await, (0, 0));
    assert_eq!(upload(&t, &support, "source=revio", content.clone()).await.status, StatusCode::FORBIDDEN);
    let all = join_all((0..4).map(|_| uploaded(&t, &finance, "source=revio", content.clone()))).await;
    assert_eq!(count().await, (1, 3));
    assert!(all.iter().all(|answer| answer.body["id"] == all[0].body["id"]));
    let listed = t.get(&support, "/v1/admin/reconciliation/statements?source=revio").await;
    assert_eq!(listed.body["data"][0]["sha256"], all[0].body["sha256"], "{}", listed.body);
    let path = format!("/v1/admin/reconciliation/statements/{}/file", all[0].id());
    assert_eq!(t.get(&support, &path).await.status, StatusCode::FORBIDDEN);
    assert_eq!(t.get(&finance, &path).await.body, Value::String(content));
    let log = t.get(&finance, "/v1/admin/audit?action=statement.imported").await;
    assert_eq!(log.body["data"].as_array().map(Vec::len), Some(1), "{}", log.body);
    t.finish().await;
}

#[sqlx::test]
async fn a_sealed_file_gets_the_new_key_and_goes_when_its_time_is_over(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let stored = uploaded(&t, &finance, "source=revio", file(&paid)).await;
    let uses = rotation::uses(&t.app, &StatementFiles).await.expect("counted");
    assert_eq!((uses[0].id.as_str(), uses[0].rows), ("test", 1));
    let mut cursor = Cursor::default();
    sqlx::query("update statement_files set key_id = 'gone'").execute(&db).await.expect("written");
    let batch = rotation::next(&t.app, &StatementFiles, &mut cursor).await.expect("looked").expect("one row");
    assert_eq!((batch.encrypted, batch.closed), (0, vec![stored.id()]), "its key is not here");
    sqlx::query("update statement_files set key_id = 'test'").execute(&db).await.expect("written");
    assert!(!statement_files::prune(&t.app).await.expect("pruned"));
    let path = format!("/v1/admin/reconciliation/statements/{}/file", stored.id());
    assert_eq!(t.get(&finance, &path).await.status, StatusCode::OK);
    sqlx::query("update statement_files set imported_at = imported_at - interval '8 years'")
        .execute(&db)
        .await
        .expect("written");
    statement_files::prune(&t.app).await.expect("pruned");
    assert_eq!(t.get(&finance, &path).await.code(), "not_found");
    let again = uploaded(&t, &finance, "source=revio", file(&paid)).await;
    assert_eq!((again.id(), &again.body["matched"]), (stored.id(), &3.into()), "its facts stay");
    assert_eq!(rotation::uses(&t.app, &StatementFiles).await.expect("counted"), []);
    t.finish().await;
}

#[sqlx::test]
async fn a_death_before_the_end_of_an_import_leaves_nothing_and_the_next_one_does_it(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db.clone(), &[], crashes.plan()).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    crashes.at("statement_files.written");
    assert_eq!(upload(&t, &finance, "source=revio", file(&paid)).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    let lines: i64 =
        sqlx::query_scalar("select count(*) from statement_lines").fetch_one(&db).await.expect("PostgreSQL answers");
    assert_eq!(lines, 0);
    uploaded(&t, &finance, "source=revio", file(&paid)).await;
    t.finish().await;
}

#[sqlx::test]
async fn the_banks_file_is_read_in_each_of_its_shapes_and_its_lines_explain_its_balance(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    for (amount, reference) in [(150_000, "A1"), (-2_550, ""), (99, "C3")] {
        let line = BankLine {
            at: 0,
            currency: "ZAR".to_owned(),
            amount,
            reference: reference.to_owned(),
            description: PAYER.to_owned(),
        };
        t.sim.add_bank_line(line);
    }
    for headings in [Headings::Plain, Headings::Odd] {
        let content = t.sim.bank_statement(&BankQuery { headings, ..BankQuery::of("ZAR") });
        let told = uploaded(&t, &finance, "source=bank&unit=major", content.clone()).await;
        let balances = (&told.body["opening_balance"], &told.body["closing_balance"]);
        assert_eq!(balances, (&0.into(), &147_549.into()), "{content} {}", told.body);
        assert_eq!((&told.body["lines"], &told.body["currency"]), (&3.into(), &"ZAR".into()));
        let lost: String = content
            .lines()
            .filter(|line| !line.contains("25.50") && !line.contains("25,5000"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(errors(&upload(&t, &finance, "source=bank&unit=major", lost).await).contains("not explained"));
    }
    let unknown = t.sim.bank_statement(&BankQuery::of("ZAR")).replace("PAYMENT", "X") + "\n";
    assert!(errors(&upload(&t, &finance, "source=bank", unknown).await).contains("not settled"), "no journal is known");
    t.finish().await;
}

/// A small deposit, and a fixed fee.
#[sqlx::test]
async fn a_fee_may_be_more_than_what_came(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let head = "id,reference,product,status,currency,amount,fee,net,paid_on\n";
    let line = format!("{},,purchase,paid,ZAR,20,30,-10,2026-03-02T09:00:00Z\n", Uuid::now_v7());
    let balances = "x,,opening balance,,ZAR,100,,,\n,,closing balance,,ZAR,90,,,\n";
    let told = uploaded(&t, &finance, "source=revio&unit=minor", format!("{head}{line}{balances}")).await;
    assert_eq!((&told.body["opening_balance"], &told.body["closing_balance"]), (&100.into(), &90.into()));
}

/// What stands on every line is a brand's or a company's.
#[sqlx::test]
async fn a_file_with_one_id_on_every_line_is_refused(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (head, id) = ("id,reference,product,status,currency,amount,fee,paid_on\n", Uuid::now_v7());
    let lines = |count: usize| format!("{id},,purchase,paid,ZAR,100,1,2026-03-02T09:00:00Z\n").repeat(count);
    let refused = upload(&t, &finance, "source=revio&unit=minor", format!("{head}{}", lines(101))).await;
    assert!(
        errors(&refused).contains("line 102, id") && errors(&refused).contains("more than 100"),
        "{}",
        refused.body
    );
    uploaded(&t, &finance, "source=revio&unit=minor", format!("{head}{}", lines(100))).await;
}

/// A payment that came back fits both ways.
#[sqlx::test]
async fn which_way_a_banks_file_goes_is_said_by_its_days_or_not_at_all(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let head = "Date,Description,Amount,Balance";
    let (sent, returned) = ("2026-03-02,sent,-50.00,100.00", "2026-03-03,returned,50.00,150.00");
    let balances = async |lines: String| {
        let told = uploaded(&t, &finance, "source=bank&unit=major", format!("{head}\n{lines}\n")).await;
        (told.body["opening_balance"].clone(), told.body["closing_balance"].clone())
    };
    let same = (Value::from(15_000), Value::from(15_000));
    assert_eq!(balances(format!("{returned}\n{sent}")).await, same, "newest first");
    assert_eq!(balances(format!("{sent}\n{returned}")).await, same, "oldest first");
    let one_day = format!("{returned}\n{sent}").replace("03-03", "03-02");
    assert_eq!(balances(one_day).await, (Value::Null, Value::Null));
    t.finish().await;
}

#[sqlx::test]
async fn without_lines_a_banks_balance_stays_as_it_was(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let file = |closing: &str| {
        format!("Date,Description,Amount,Balance\n,Opening balance,,100.00\n,Closing balance,,{closing}\n")
    };
    let days = "source=bank&from=2026-03-02&to=2026-03-02";
    for query in [days, &format!("{days}&unit=major")] {
        let told = errors(&upload(&t, &finance, query, file("150.00")).await);
        assert!(told.contains("closing balance") && told.contains("has no lines"), "{query}: {told}");
    }
    let balances = async |query: &str, closing: &str| {
        let told = uploaded(&t, &finance, query, file(closing)).await.body;
        json!([told["unit"], told["opening_balance"], told["closing_balance"]])
    };
    let kept = balances(&format!("{days}&unit=major"), "100.0000").await;
    assert_eq!(kept, json!(["major", 10_000, 10_000]));
    assert_eq!(balances(days, "100.00").await, json!([null, null, null]), "rands or cents");
    t.finish().await;
}
