//! What a later line of Revio's says of the same object, and which day a correction through the bank is of.

use chrono::TimeDelta;
use octoco::finance::reconciliation::BreakType;
use octoco::platform::permissions::Role;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::adjustments;
use crate::harness::TestApp;
use crate::journals;
use crate::statement_differences::{NOTHING, compare, finish, kinds, only};
use crate::statement_files::{deposits, file, uploaded};

async fn fetched(t: &TestApp, file: Uuid) {
    let sql = "update statement_files set provider_id = gen_random_uuid() where id = $1";
    sqlx::query(sql).bind(file).execute(&t.app.db).await.expect("as if Revio had been asked for it");
}

/// Lines come oldest first: one that was not finished by then says nothing of how it went on.
#[sqlx::test]
async fn what_revio_alone_knows_is_found_though_it_was_under_way_in_an_earlier_line(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (payout, refund) = (Uuid::new_v4(), Uuid::new_v4());
    let (_, paid) = deposits(&t, &[10_000]).await;
    let lines = |payout_status: &str, refund_status: &str| {
        format!(
            "{payout},,payout,{payout_status},ZAR,-500,0,2026-03-02T09:00:00Z\n{refund},,refund,{refund_status},ZAR,-300,,2026-03-02T09:00:00Z\n"
        )
    };
    uploaded(&t, &finance, "source=revio&unit=minor", file(&paid) + &lines("pending", "success")).await;
    let found = only(&t).await;
    assert_eq!((found.kind, found.provider_id), (BreakType::ProviderOnly, Some(refund)));
    t.app.clock.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=revio&unit=minor", file(&paid) + &lines("success", "success")).await;
    let found = compare(&t).await;
    let told: Vec<_> = found.iter().map(|found| (found.kind, found.provider_id, found.actual)).collect();
    let expected =
        [(BreakType::ProviderOnly, Some(refund), Some(-300)), (BreakType::ProviderOnly, Some(payout), Some(-500))];
    assert_eq!(told, expected);
    finish(t).await;
}

/// Revio corrects its files. What somebody brings corrects what somebody brought, and not what Revio was asked for.
#[sqlx::test]
async fn a_corrected_file_is_what_counts_unless_somebody_brings_it_against_revios_own(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000, 40_000]).await;
    let stranger = format!("{},,purchase,paid,ZAR,500,0,2026-03-02T09:00:00Z\n", Uuid::new_v4());
    let wrong = (file(&paid) + &stranger).replace(",20000,200,", ",20000,215,").replace(",40000,400,", ",39999,400,");
    let right = file(&paid) + &stranger.replace(",paid,", ",expired,");
    let first = uploaded(&t, &finance, "source=revio&unit=minor", wrong).await.id();
    let three = ["provider_only", "fee_provider", "amount_provider"];
    assert_eq!(kinds(&t).await, three);
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let second = uploaded(&t, &finance, "source=revio&unit=minor", right).await.id();
    assert_eq!(kinds(&t).await, NOTHING);
    fetched(&t, first).await;
    assert_eq!(kinds(&t).await, three, "one person makes nothing go away");
    fetched(&t, second).await;
    assert_eq!(kinds(&t).await, NOTHING);
    finish(t).await;
}

#[sqlx::test]
async fn that_revio_says_it_was_not_paid_no_file_that_somebody_brings_takes_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000]).await;
    let line = format!("{},purchase,", paid[1].row);
    let unpaid = file(&paid).replace(&format!("{line}paid"), &format!("{line}cancelled"));
    let first = uploaded(&t, &finance, "source=revio&unit=minor", unpaid).await.id();
    fetched(&t, first).await;
    assert_eq!(kinds(&t).await, ["not_paid_at_provider"]);
    t.app.clock.advance(TimeDelta::milliseconds(1));
    let brought = uploaded(&t, &finance, "source=revio&unit=minor", file(&paid)).await.id();
    assert_eq!(kinds(&t).await, ["not_paid_at_provider"], "one person makes nothing go away");
    fetched(&t, brought).await;
    assert_eq!(kinds(&t).await, NOTHING);
    finish(t).await;
}

#[sqlx::test]
async fn what_is_missing_on_revios_own_statement_of_a_day_is_on_no_other_that_somebody_brings(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000]).await;
    let first = uploaded(&t, &finance, "source=revio&unit=minor", file(&paid[..1])).await.id();
    fetched(&t, first).await;
    t.advance(TimeDelta::days(1));
    assert_eq!(kinds(&t).await, ["missing_on_statement"]);
    let brought = uploaded(&t, &finance, "source=revio&unit=minor", file(&paid[1..])).await.id();
    assert_eq!(kinds(&t).await, ["missing_on_statement"], "one person makes nothing go away");
    fetched(&t, brought).await;
    assert_eq!(kinds(&t).await, NOTHING, "it came late");
    t.drive().await;
    finish(t).await;
}

/// Paid in the last minute of a day whose statement Revio could not make: the line is in the file that somebody brought of it, as the runbook says.
#[sqlx::test]
async fn what_is_on_the_statement_that_was_brought_of_the_day_before_is_not_missing(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000]).await;
    let first = uploaded(&t, &finance, "source=revio&unit=minor", file(&paid[..1])).await.id();
    fetched(&t, first).await;
    let day_before = file(&paid[1..]).replace("2026-03-02", "2026-03-01");
    uploaded(&t, &finance, "source=revio&unit=minor&from=2026-03-01&to=2026-03-01", day_before).await;
    t.advance(TimeDelta::days(1));
    assert_eq!(kinds(&t).await, NOTHING);
    t.drive().await;
    finish(t).await;
}

/// What somebody paid straight to the bank, say, on a day of which there is a file already, or after it.
#[sqlx::test]
async fn a_correction_through_the_bank_may_be_of_the_files_day_or_of_a_later_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let customer = t.customer().await;
    let correct = async |amount: i64, key: &str| {
        let mut body = adjustments::correction(&customer, "credit", amount);
        body["counterpart"] = json!("bank");
        let proposed = adjustments::proposed(&t, &maker, body, key).await;
        adjustments::approve(&t, &checker, proposed.id(), adjustments::hash(&proposed)).await;
    };
    let bring = async |closing: &str, day: &str| {
        t.advance(TimeDelta::milliseconds(1));
        let line = format!("Date,Description,Amount,Balance\n{day},charity,{closing},{closing}\n");
        uploaded(&t, &maker, "source=bank&unit=major", line).await;
    };
    let differs = async || compare(&t).await.iter().any(|found| found.kind == BreakType::BankBalance);
    correct(70_000, "a1").await;
    bring("700.00", "2026-03-02").await;
    t.advance(TimeDelta::days(1));
    correct(5_000, "a2").await;
    assert!(!differs().await, "of the third, the file is of the second");
    bring("750.00", "2026-03-02").await;
    assert!(!differs().await, "the bank had it on the second already");
    bring("760.00", "2026-03-02").await;
    assert!(differs().await);
    finish(t).await;
}

/// The day on which the bank pays an invoice is not the invoice's: until its line is there, the balance is right with it and without.
#[sqlx::test]
async fn an_invoice_that_the_bank_has_not_paid_yet_is_no_difference(db: PgPool) {
    let t = TestApp::new(db).await;
    t.advance(TimeDelta::days(6));
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    for (kind, amount, reference) in [("own_funds_in", 1_000_000, "FUNDS-1"), ("provider_invoice", 7_500, "INVOICE-77")]
    {
        let mut body = journals::entry(kind, amount);
        body["account"] = if kind == "provider_invoice" { json!("bank") } else { json!(null) };
        body["evidence"]["reference"] = json!(reference);
        let booked = journals::booked(&t, &maker, &checker, body, reference).await;
        assert_eq!(booked.body["state"], "completed", "{}", booked.body);
    }
    let import = async |lines: &str| {
        t.app.clock.advance(TimeDelta::milliseconds(1));
        uploaded(&t, &maker, "source=bank&unit=major", format!("Date,Description,Amount,Balance\n{lines}")).await;
        kinds(&t).await
    };
    assert_eq!(
        import("2026-03-02,FUNDS-1 own funds,10000.00,10000.00\n2026-03-03,interest,0.00,10000.00\n").await,
        NOTHING
    );
    assert_eq!(import("2026-03-05,Revio INVOICE-77,-75.00,9925.00\n").await, NOTHING);
    // Two files with one difference are one that people have decided about.
    assert_eq!(import("2026-03-06,nothing,0.00,9920.00\n").await, ["bank_balance"]);
    let before = only(&t).await.observed;
    assert_eq!(import("2026-03-07,nothing,0.00,9920.00\n").await, ["bank_balance"]);
    assert_eq!(only(&t).await.observed, before);
    t.finish().await;
}
