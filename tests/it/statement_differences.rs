//! What statements say that the books do not, and the other way round: each kind is found, once, as long as it is so.

use chrono::TimeDelta;
use octoco::books::projector;
use octoco::finance::reconciliation::{BreakType, Found};
use octoco::finance::statement_files;
use octoco::platform::permissions::Role;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::adjustments::{self, correction};
use crate::harness::{Customer, TestApp};
use crate::statement_files::{deposits, file, upload, uploaded};

pub(crate) const NOTHING: [&str; 0] = [];

pub(crate) async fn compare(t: &TestApp) -> Vec<Found> {
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    statement_files::compare(&t.app, t.app.clock.now() - TimeDelta::hours(1)).await.expect("compared").found
}

pub(crate) async fn kinds(t: &TestApp) -> Vec<&'static str> {
    compare(t).await.iter().map(|found| found.kind.name()).collect()
}

pub(crate) async fn only(t: &TestApp) -> Found {
    let mut found = compare(t).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// As its own flow leaves it, without the ledger.
struct Journal<'a> {
    kind: &'a str,
    state: &'a str,
    amount: i64,
    evidence: &'a str,
    /// Of the evidence, and of the arrival of what has arrived.
    day: &'a str,
}

async fn journal(t: &TestApp, by: &Customer, journal: &Journal<'_>) -> Uuid {
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let (id, now) = (t.app.clock.row_id(), t.app.clock.now());
    let ended = (journal.state == "completed").then_some(now);
    let arrived = (journal.state == "completed" && journal.kind == "settlement").then_some(journal.day);
    let insert = sqlx::query(
        "insert into journals (id, kind, amount_minor, currency, evidence_kind, evidence_reference, evidence_sha256, evidence_date, reason, requested_by,
                               created_at, idempotency_key, request_hash, state, updated_at, sent_at, arrival_date, ended_at, expected_on)
         values ($1, $2, $3, 'ZAR', 'note', $4, sha256('x'), $5::text::date, 'a test', $6, $7, $1::text, 'x', $8, $7, $7, $9::text::date, $10, $5::text::date + case $2 when 'settlement' then 3 else 1 end)",
    );
    let insert = insert.bind(id).bind(journal.kind).bind(journal.amount).bind(journal.evidence).bind(journal.day);
    let insert = insert.bind(by.id).bind(now).bind(journal.state).bind(arrived).bind(ended);
    insert.execute(&t.app.db).await.expect("the journal is written");
    id
}

/// What was planted without the ledger is taken away again, for the end of a test looks at the ledger.
pub(crate) async fn finish(t: TestApp) {
    for sql in [
        "update statement_lines set journal_id = null, matched_by = case when transaction_id is null then null else matched_by end",
        "delete from journals",
    ] {
        sqlx::query(sql).execute(&t.app.db).await.expect("it can be taken away");
    }
    t.finish().await;
}

fn bank(lines: &str) -> String {
    format!("Date,Description,Amount\n{lines}")
}

#[sqlx::test]
async fn what_revio_alone_knows_is_found_and_a_journal_is_proposed(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let (stranger, settlement, fee) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let more = format!(
        "{stranger},,purchase,paid,ZAR,500,0,2026-03-02T09:00:00Z\n{settlement},S-1,settlement,success,ZAR,40000,,2026-03-02T09:00:00Z\n\
         {fee},,monthly fee,paid,ZAR,75,,2026-03-02T09:00:00Z\n{},,purchase,expired,ZAR,7,,2026-03-02T09:00:00Z\n\
         {},,rolling reserve,success,ZAR,-70,,2026-03-02T09:00:00Z\n",
        Uuid::new_v4(),
        Uuid::new_v4()
    );
    let stored = uploaded(&t, &finance, "source=revio", file(&paid) + &more).await;
    t.app.clock.advance(TimeDelta::milliseconds(1));
    // The same lines in the file of another day are the same differences.
    uploaded(&t, &finance, "source=revio", file(&paid) + &more + "\n").await;
    let found = compare(&t).await;
    let by_id = |id: Uuid| found.iter().find(|found| found.provider_id == Some(id)).expect("it is found");
    assert_eq!(found.len(), 3, "{found:?}");
    for (id, kind, actual, proposes) in [
        (stranger, BreakType::ProviderOnly, 500, "suspense_in"),
        (settlement, BreakType::SettlementUnbooked, -40_000, "settlement"),
        (fee, BreakType::ProviderOnly, -75, "provider_invoice"),
    ] {
        let found = by_id(id);
        assert_eq!((found.kind, found.expected, found.actual), (kind, None, Some(actual)));
        let proposed = &found.evidence["proposes"];
        assert_eq!((&proposed["kind"], &proposed["amount"]), (&json!(proposes), &json!(actual.abs())));
        assert_eq!(proposed["evidence_sha256"], stored.body["sha256"]);
        assert_eq!(proposed["evidence_reference"], json!(id));
        assert_eq!(proposed["evidence_kind"] == "provider_object", proposes == "suspense_in", "never set aside twice");
    }
    // Booked as proposed, they are matched in the next look; of another sum, it is told.
    let text = |id: Uuid| id.to_string();
    for (kind, amount, id) in [("suspense_in", 500, stranger), ("settlement", 40_000, settlement)] {
        let state = if kind == "settlement" { "in_transit" } else { "completed" };
        journal(&t, &finance, &Journal { kind, state, amount, evidence: &text(id), day: "2026-03-02" }).await;
    }
    let wrong =
        Journal { kind: "provider_invoice", state: "completed", amount: 57, evidence: &text(fee), day: "2026-03-02" };
    let invoice = journal(&t, &finance, &wrong).await;
    let left = only(&t).await;
    assert_eq!(
        (left.kind, left.journal_id, left.expected, left.actual),
        (BreakType::ProviderOnly, Some(invoice), Some(-57), Some(-75))
    );
    let listed = t.get(&finance, "/v1/admin/reconciliation/statements").await;
    assert_eq!((&listed.body["data"][1]["matched"], &listed.body["data"][1]["unmatched"]), (&6.into(), &2.into()));
    finish(t).await;
}

#[sqlx::test]
async fn another_fee_and_another_sum_than_booked_are_found(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000, 40_000]).await;
    let content = file(&paid).replace(",20000,200,", ",20000,215,").replace(",40000,400,", ",39999,400,");
    uploaded(&t, &finance, "source=revio", content).await;
    let found = compare(&t).await;
    let told: Vec<_> =
        found.iter().map(|found| (found.kind, found.transaction_id, found.expected, found.actual)).collect();
    assert_eq!(
        told,
        [
            (BreakType::FeeProvider, Some(paid[1].row), Some(200), Some(215)),
            (BreakType::AmountProvider, Some(paid[3].row), Some(40_000), Some(39_999)),
        ]
    );
    finish(t).await;
}

#[sqlx::test]
async fn what_was_completed_on_a_covered_day_and_is_on_no_statement_is_found_after_a_business_day(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000, 40_000]).await;
    uploaded(&t, &finance, "source=revio", file(&paid[..3])).await;
    assert_eq!(kinds(&t).await, NOTHING, "the day has just been");
    t.advance(TimeDelta::days(1));
    let found = only(&t).await;
    assert_eq!(
        (found.kind, found.transaction_id, found.expected),
        (BreakType::MissingOnStatement, Some(paid[3].row), Some(40_000))
    );
    uploaded(&t, &finance, "source=revio&unit=minor", file(&paid[3..])).await;
    assert_eq!(kinds(&t).await, NOTHING, "it came late");
    t.drive().await;
    finish(t).await;
}

#[sqlx::test]
async fn what_the_bank_alone_knows_is_found_until_a_journal_names_it(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let settled =
        Journal { kind: "settlement", state: "completed", amount: 150_000, evidence: "REVIO-77812", day: "2026-03-02" };
    journal(&t, &finance, &settled).await;
    let same = Journal {
        kind: "own_funds_in",
        state: "awaiting_approval",
        amount: 2_000,
        evidence: "capital",
        day: "2026-03-01",
    };
    let same = journal(&t, &finance, &same).await;
    let lines = "2026-03-02,Settlement REVIO 77812 thank you,1500.00\n2026-03-02,Thandi Nkosi wrong account,20.00\n2026-03-02,Charges,-5.00\n";
    let stored = uploaded(&t, &finance, "source=bank", bank(lines)).await;
    assert_eq!((&stored.body["unit"], &stored.body["matched"]), (&"major".into(), &1.into()), "{}", stored.body);
    let found = compare(&t).await;
    let told: Vec<_> =
        found.iter().map(|found| (found.kind, found.actual, found.evidence["proposes"]["kind"].clone())).collect();
    assert_eq!(
        told,
        [
            (BreakType::BankOnly, Some(2_000), json!("suspense_in")),
            (BreakType::BankOnly, Some(-500), json!("own_funds_out")),
        ]
    );
    assert_eq!(found[0].evidence["may_be"], json!([same]), "a sum and a day only propose");
    assert!(!format!("{found:?}").contains("Thandi"));
    // One is booked from the line itself, the other by what the bank wrote, which is read in the sealed file again.
    let line = found[0].line_id.expect("a line").to_string();
    // What is only asked for books nothing, nor does what came to nothing.
    let asked =
        Journal { kind: "suspense_in", state: "awaiting_approval", amount: 2_000, evidence: &line, day: "2026-03-02" };
    let asked = journal(&t, &finance, &asked).await;
    let still = compare(&t).await;
    assert_eq!((still[0].kind, still[0].line_id, still[0].journal_id), (BreakType::BankOnly, found[0].line_id, None));
    assert_eq!(
        (&still[0].evidence["may_be"][0], still[0].evidence.get("proposes")),
        (&json!(asked), None),
        "it is asked for already"
    );
    let declined = "update journals set state = 'cancelled', ended_at = created_at where id = $1";
    sqlx::query(declined).bind(asked).execute(&db).await.expect("it is declined");
    let left = compare(&t).await;
    assert_eq!((left.len(), left[0].evidence["proposes"]["kind"].clone()), (2, json!("suspense_in")));
    let unallocated =
        Journal { kind: "suspense_in", state: "completed", amount: 2_000, evidence: &line, day: "2026-03-02" };
    journal(&t, &finance, &unallocated).await;
    let charges =
        Journal { kind: "own_funds_out", state: "completed", amount: 500, evidence: "charges", day: "2026-03-02" };
    journal(&t, &finance, &charges).await;
    assert_eq!(kinds(&t).await, NOTHING);
    let by: Vec<Option<String>> = sqlx::query_scalar("select matched_by from statement_lines order by number")
        .fetch_all(&db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(by.into_iter().flatten().collect::<Vec<_>>(), ["reference", "person", "reference"]);
    finish(t).await;
}

#[sqlx::test]
async fn a_reference_that_is_used_again_is_another_movement_and_in_another_file_the_same_line_is_the_same(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    for (kind, amount, evidence) in [("own_funds_out", 500, "charges"), ("settlement", 150_000, "REVIO-77812")] {
        journal(&t, &finance, &Journal { kind, state: "completed", amount, evidence, day: "2026-02-27" }).await;
    }
    let of = |day: &str| format!("{day},Charges,-5.00\n{day},Settlement REVIO 77812,1500.00\n");
    let (february, march) = (of("2026-02-27"), of("2026-03-02"));
    let matched = async |content: String| {
        t.app.clock.advance(TimeDelta::milliseconds(1));
        uploaded(&t, &finance, "source=bank&unit=major", content).await.body["matched"].clone()
    };
    assert_eq!(matched(bank(&february)).await, 2);
    assert_eq!(matched(bank(&format!("{february}2026-03-01,Coffee,0.00\n"))).await, 2, "files overlap");
    assert_eq!(kinds(&t).await, NOTHING);
    assert_eq!(matched(bank(&march)).await, 0, "of another day");
    let found = compare(&t).await;
    let told: Vec<_> = found.iter().map(|found| (found.kind, found.actual, found.journal_id)).collect();
    assert_eq!(told, [(BreakType::BankOnly, Some(-500), None), (BreakType::BankOnly, Some(150_000), None)]);
    // Each is booked for itself, by the same words; then the file of both days has all four.
    for (kind, amount, evidence) in [("own_funds_out", 500, "charges"), ("settlement", 150_000, "REVIO-77812")] {
        journal(&t, &finance, &Journal { kind, state: "completed", amount, evidence, day: "2026-03-02" }).await;
    }
    assert_eq!(kinds(&t).await, NOTHING);
    assert_eq!(matched(bank(&(february + &march))).await, 4);
    assert_eq!(kinds(&t).await, NOTHING);
    finish(t).await;
}

/// Whatever the order of the lines, when the file comes and when a journal is booked after it.
#[sqlx::test]
async fn of_two_lines_that_name_a_journal_the_one_of_its_sum_has_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    for (sums, day) in [(["-7.00", "-5.00"], "2026-03-02"), (["-5.00", "-7.00"], "2026-03-03")] {
        let booked = Journal { kind: "own_funds_out", state: "completed", amount: 500, evidence: "charges", day };
        let lines: Vec<String> = sums.iter().map(|sum| format!("{day},Charges,{sum}\n")).collect();
        let (before, after) = (day == "2026-03-02", day != "2026-03-02");
        if before {
            journal(&t, &finance, &booked).await;
        }
        t.app.clock.advance(TimeDelta::milliseconds(1));
        let known = uploaded(&t, &finance, "source=bank&unit=major", bank(&lines.concat())).await;
        assert_eq!(known.body["matched"], u8::from(before));
        if after {
            journal(&t, &finance, &booked).await;
        }
        let found = compare(&t).await;
        let told: Vec<_> = found.iter().map(|found| (found.kind, found.actual, found.journal_id)).collect();
        assert_eq!(told, vec![(BreakType::BankOnly, Some(-700), None); told.len()], "{day}");
    }
    finish(t).await;
}

#[sqlx::test]
async fn what_the_bank_takes_back_is_not_what_it_gave(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let settled =
        Journal { kind: "settlement", state: "completed", amount: 150_000, evidence: "REVIO-77812", day: "2026-02-27" };
    journal(&t, &finance, &settled).await;
    let back = "2026-02-28,Returned REVIO-77812,-1500.00\n";
    uploaded(&t, &finance, "source=bank&unit=major", bank(back)).await;
    let both = format!("2026-02-27,REVIO-77812,1500.00\n{back}");
    t.app.clock.advance(TimeDelta::milliseconds(1));
    assert_eq!(uploaded(&t, &finance, "source=bank", bank(&both)).await.body["matched"], 1);
    let found = compare(&t).await;
    let told: Vec<_> = found.iter().map(|found| (found.kind, found.actual, found.evidence.get("may_be"))).collect();
    assert_eq!(told, [(BreakType::BankOnly, Some(-150_000), None); 2], "once in each file");
    // Booked the wrong way it still differs; the right way it is one movement in both files.
    let line = found[0].line_id.expect("a line").to_string();
    let wrong =
        Journal { kind: "own_funds_in", state: "completed", amount: 150_000, evidence: &line, day: "2026-02-28" };
    let wrong = journal(&t, &finance, &wrong).await;
    let found = compare(&t).await;
    let told: Vec<_> = found.iter().map(|found| (found.kind, found.actual, found.journal_id)).collect();
    assert_eq!(told, [(BreakType::BankOnly, Some(-150_000), Some(wrong)); 2]);
    let undone = "update journals set state = 'cancelled', ended_at = created_at where id = $1";
    sqlx::query(undone).bind(wrong).execute(&t.app.db).await.expect("it is undone");
    let right =
        Journal { kind: "own_funds_out", state: "completed", amount: 150_000, evidence: &line, day: "2026-02-28" };
    journal(&t, &finance, &right).await;
    assert_eq!(kinds(&t).await, NOTHING);
    finish(t).await;
}

/// The event is lost, and Revio is asked for old rows only in their turn.
#[sqlx::test]
async fn a_line_that_says_another_end_than_its_row_is_found(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let failed = "update transactions set state = 'failed', states = states || ' failed', moved_at = moved_at || now(), completed_at = null where id = $1";
    sqlx::query(failed).bind(paid[0].row).execute(&db).await.expect("as if it had failed");
    let line = format!("{},purchase,", paid[1].row);
    let content = file(&paid).replace(&format!("{line}paid"), &format!("{line}cancelled"));
    uploaded(&t, &finance, "source=revio&unit=minor", content).await;
    let told = async || -> Vec<_> {
        let mut found = compare(&t).await;
        found.sort_by_key(|found| found.expected);
        found.iter().map(|found| (found.kind, found.transaction_id, found.expected, found.actual)).collect()
    };
    let mut expected = vec![
        (BreakType::PaidAtProvider, Some(paid[0].row), Some(0), Some(10_000)),
        (BreakType::NotPaidAtProvider, Some(paid[1].row), Some(20_000), Some(0)),
    ];
    assert_eq!(told().await, expected);
    // It stands in the next file as paid, too.
    t.app.clock.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=revio&unit=minor", file(&paid)).await;
    expected.pop();
    assert_eq!(told().await, expected);
    let undone = "update transactions set state = 'completed', states = replace(states, ' failed', ''), moved_at = trim_array(moved_at, 1),
                         completed_at = updated_at where id = $1";
    sqlx::query(undone).bind(paid[0].row).execute(&db).await.expect("as it is");
    assert_eq!(kinds(&t).await, NOTHING);
    finish(t).await;
}

#[sqlx::test]
async fn a_line_that_stands_in_two_files_is_booked_once(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let daily = "2026-02-28,Thandi Nkosi wrong account,20.00\n2026-02-28,Charges,-5.00\n";
    // A format that says more, and somebody else who paid the same on that day.
    let month = "Date,Description,Reference,Amount\n2026-02-27,Thandi Nkosi wrong account,,20.00\n2026-02-28,Sipho Dube,EFT,20.00\n\
                 2026-02-28,Thandi Nkosi wrong account,EFT,20.00\n2026-02-28,Charges,FEE,-5.00\n2026-02-28,Charges,FEE,-5.00\n";
    uploaded(&t, &finance, "source=bank&unit=major", bank(daily)).await;
    t.app.clock.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=bank&unit=major", month).await;
    let found = compare(&t).await;
    assert_eq!(found.len(), 7, "{found:?}");
    for (line, kind, amount) in [(0, "suspense_in", 2_000), (1, "own_funds_out", 500)] {
        let line = found[line].line_id.expect("a line").to_string();
        journal(&t, &finance, &Journal { kind, state: "completed", amount, evidence: &line, day: "2026-02-28" }).await;
    }
    let left = compare(&t).await;
    let told: Vec<_> = left.iter().map(|found| (found.evidence["line"].clone(), found.actual)).collect();
    assert_eq!(told, [(json!(2), Some(2_000)), (json!(3), Some(2_000)), (json!(6), Some(-500))], "those of nobody");
    let counted: Vec<(i32, i32)> = sqlx::query_as("select matched, unmatched from statement_files order by id")
        .fetch_all(&db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(counted, [(2, 0), (2, 3)]);
    // What came to nothing is of nothing again, in both.
    sqlx::query("update journals set state = 'cancelled', ended_at = created_at")
        .execute(&db)
        .await
        .expect("they are undone");
    assert_eq!(compare(&t).await.len(), 7);
    finish(t).await;
}

#[sqlx::test]
async fn revios_lines_of_one_reference_are_as_many_movements_as_they_are(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let head = "id,reference,product,status,currency,amount,fee,paid_on\n";
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    let line = |id: &str, reference: &str, product: &str, amount: i64, day: &str| {
        format!("{id},{reference},{product},success,ZAR,{amount},,{day}\n")
    };
    let sent = Journal { kind: "settlement", state: "in_transit", amount: 40_000, evidence: "S-9", day: "2026-03-01" };
    journal(&t, &finance, &sent).await;
    let once = line(&first.to_string(), "S-9", "settlement", 40_000, "2026-03-01");
    let fee = line("", "S-9", "fee", 75, "2026-03-01");
    let again = line(&second.to_string(), "S-9", "settlement", 40_000, "2026-03-01");
    let upload = async |content: String| {
        t.app.clock.advance(TimeDelta::milliseconds(1));
        uploaded(&t, &finance, "source=revio&unit=minor", content).await.body["matched"].clone()
    };
    assert_eq!(upload(format!("{head}{fee}{once}")).await, 1, "a fee that names it is none");
    assert_eq!(upload(format!("{head}{again}{once}")).await, 1, "the same id is the same");
    let unknown = line("", "S-10", "settlement", 7_000, "2026-03-01");
    assert_eq!(upload(format!("{head}{unknown}{unknown}")).await, 0);
    assert_eq!(upload(format!("{head}{unknown}{fee}")).await, 0);
    let found = compare(&t).await;
    let told: Vec<_> = found.iter().map(|found| (found.kind, found.actual, found.provider_id)).collect();
    let (settlement, fee) = (BreakType::SettlementUnbooked, BreakType::ProviderOnly);
    let unknown = (settlement, Some(-7_000), None);
    let expected = [
        (fee, Some(-75), None),
        (settlement, Some(-40_000), Some(second)),
        unknown,
        unknown,
        unknown,
        (fee, Some(-75), None),
    ];
    assert_eq!(told, expected);
    // Two payments of the file's own that are equal, and a third file's that is the first of them.
    let booked = found[2].line_id.expect("a line").to_string();
    let known =
        Journal { kind: "settlement", state: "in_transit", amount: 7_000, evidence: &booked, day: "2026-03-01" };
    journal(&t, &finance, &known).await;
    let fees = found[5].line_id.expect("a line").to_string();
    let invoice =
        Journal { kind: "provider_invoice", state: "completed", amount: 75, evidence: &fees, day: "2026-03-01" };
    journal(&t, &finance, &invoice).await;
    let found = compare(&t).await;
    let told: Vec<_> = found.iter().map(|found| (found.kind, found.actual, found.provider_id)).collect();
    assert_eq!(told, [(settlement, Some(-40_000), Some(second)), unknown]);
    finish(t).await;
}

#[sqlx::test]
async fn another_currency_than_the_rows_is_found_and_proves_no_unit(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let content = file(&paid).replace(",ZAR,30000,300,", ",USD,30000,290,");
    let refused = upload(&t, &finance, "source=revio", content.clone()).await;
    assert_eq!(refused.code(), "statement_unusable", "two lines prove nothing: {}", refused.body);
    let stored = uploaded(&t, &finance, "source=revio&unit=minor", content).await;
    assert_eq!(stored.body["matched"], 3, "by its id it is that row's");
    let found = only(&t).await;
    assert_eq!((found.kind, found.transaction_id), (BreakType::CurrencyProvider, Some(paid[2].row)));
    assert_eq!((found.expected, found.actual, &found.evidence["said_in"]), (Some(30_000), Some(30_000), &json!("USD")));
    finish(t).await;
}

#[sqlx::test]
async fn what_the_bank_should_know_and_does_not_and_what_is_on_its_way_for_too_long_is_found(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let late = Journal { kind: "settlement", state: "in_transit", amount: 100, evidence: "LATE-1", day: "2026-03-02" };
    let late = journal(&t, &finance, &late).await;
    let arrived =
        Journal { kind: "settlement", state: "completed", amount: 200, evidence: "GONE-1", day: "2026-03-02" };
    let arrived = journal(&t, &finance, &arrived).await;
    let top_up =
        Journal { kind: "float_top_up", state: "in_transit", amount: 300, evidence: "GONE-2", day: "2026-03-02" };
    let top_up = journal(&t, &finance, &top_up).await;
    uploaded(&t, &finance, "source=bank&from=2026-03-02&to=2026-03-02", bank("")).await;
    assert_eq!(kinds(&t).await, NOTHING);
    // The second was a Monday.
    t.advance(TimeDelta::days(1));
    let found = compare(&t).await;
    let told: Vec<_> = found.iter().map(|found| (found.kind, found.journal_id, found.expected)).collect();
    let missing =
        [(BreakType::BankMissing, Some(arrived), Some(200)), (BreakType::BankMissing, Some(top_up), Some(300))];
    assert_eq!(told, missing);
    t.advance(TimeDelta::days(2));
    assert_eq!(kinds(&t).await, ["settlement_late", "bank_missing", "bank_missing"], "T+3 is a settlement's last day");
    t.advance(TimeDelta::days(1));
    let found: Vec<_> = compare(&t).await.iter().map(|found| (found.kind, found.journal_id)).collect();
    assert_eq!(found[..2], [late, top_up].map(|journal| (BreakType::SettlementLate, Some(journal))));
    finish(t).await;
}

#[sqlx::test]
async fn another_balance_at_the_bank_than_in_the_books_is_found(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let customer = t.customer().await;
    let mut body = correction(&customer, "credit", 70_000);
    body["counterpart"] = json!("bank");
    let proposed = adjustments::proposed(&t, &maker, body, "a1").await;
    adjustments::approve(&t, &checker, proposed.id(), adjustments::hash(&proposed)).await;
    let line =
        |closing: &str, day: &str| format!("Date,Description,Amount,Balance\n{day},charity,{closing},{closing}\n");
    uploaded(&t, &maker, "source=bank&unit=major", line("700.00", "2026-03-02")).await;
    assert_eq!(kinds(&t).await, ["bank_only"], "the balance is right, the line is nobody's");
    uploaded(&t, &maker, "source=bank&unit=major", line("650.00", "2026-03-03")).await;
    let found: Vec<_> = compare(&t).await.into_iter().filter(|found| found.kind == BreakType::BankBalance).collect();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].expected, found[0].actual), (Some(70_000), Some(65_000)));
    // What the bank's day did not know yet is no difference.
    let out = Journal { kind: "own_funds_in", state: "completed", amount: 5_000, evidence: "later", day: "2026-03-04" };
    journal(&t, &maker, &out).await;
    let found = compare(&t).await;
    assert!(!found.iter().any(|found| found.kind == BreakType::BankBalance), "{found:?}");
    finish(t).await;
}
