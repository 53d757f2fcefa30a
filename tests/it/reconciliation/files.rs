//! What files of Revio's and the bank's say becomes breaks as all else does: found, typed, open at the second look, and gone once it is booked.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{AccountCode, Currency};
use octoco::books::projector;
use octoco::finance::days;
use octoco::finance::reconciliation::{self, New, ReconciliationLeg, RunKind, Step};
use octoco::platform::permissions::Role;
use octoco::processes::worker::OTHER_LEGS;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::states;
use crate::harness::TestApp;
use crate::journals::{booked, company, entry, land, with};
use crate::reporting::value;
use crate::statement_files::{deposits, file, uploaded};

/// A run of both legs that files have a part in.
pub(super) async fn cycle(t: &TestApp) {
    cycle_since(t, None).await;
}

async fn cycle_since(t: &TestApp, since: Option<DateTime<Utc>>) {
    cycle_of(t, RunKind::Manual, since).await;
}

async fn cycle_of(t: &TestApp, kind: RunKind, since: Option<DateTime<Utc>>) {
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let legs = vec![ReconciliationLeg::Provider, ReconciliationLeg::Bank];
    let new = New { kind, legs, since, requested_by: "system".to_owned() };
    reconciliation::start(&t.app, new).await.expect("PostgreSQL answers");
    for _ in 0..500 {
        match reconciliation::work(&t.app, OTHER_LEGS).await.expect("a step") {
            Step::More => {}
            Step::Pause => t.advance(TimeDelta::seconds(61)),
            Step::Finished => return,
            Step::Idle | Step::Failed => panic!("the run did not go on"),
        }
    }
    panic!("not finished");
}

async fn assert_states(t: &TestApp, expected: &[(&str, &str)]) {
    for (kind, state) in expected {
        let found = states(t, kind).await;
        assert!(!found.is_empty() && found.iter().all(|found| found == state), "{kind}: {found:?}");
    }
}

fn of_line(kind: &str, amount: i64, reference: Uuid) -> Value {
    let body = entry(kind, amount);
    let evidence = with(body["evidence"].clone(), json!({"kind": "provider_statement", "reference": reference}));
    with(body, json!({"evidence": evidence}))
}

#[sqlx::test]
async fn what_files_say_opens_breaks_at_the_second_look_and_they_are_gone_once_it_is_booked(db: PgPool) {
    let t = TestApp::new(db).await;
    let staff = company(&t).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let late = booked(&t, &staff.maker, &staff.checker, entry("settlement", 7_000), "late").await;
    let (stranger, settlement) = (Uuid::new_v4(), Uuid::new_v4());
    let lines = format!(
        "{stranger},,purchase,paid,ZAR,500,,2026-03-02T09:00:00Z\n\
         {settlement},S-1,settlement,success,ZAR,40000,,2026-03-02T09:00:00Z\n"
    );
    // One deposit has another fee than was booked, and one is not there at all.
    let content = file(&paid[..2]).replace(",20000,200,", ",20000,215,") + &lines;
    uploaded(&t, &staff.maker, "source=revio&unit=minor&from=2026-03-02&to=2026-03-02", content).await;
    let bank = "Date,Description,Amount,Balance\n2026-03-02,Charges,-5.00,9995.00\n";
    uploaded(&t, &staff.maker, "source=bank&unit=major", bank).await;
    // Nothing is older than its window yet.
    cycle(&t).await;
    t.advance(TimeDelta::days(9));
    t.drive().await;
    // A file is read once a run, so its second look is in the next one.
    cycle(&t).await;
    cycle(&t).await;
    let open = [
        ("provider_only", "open"),
        ("settlement_unbooked", "open"),
        ("fee_provider", "open"),
        ("missing_on_statement", "open"),
        ("bank_only", "open"),
        ("settlement_late", "open"),
    ];
    assert_states(&t, &open).await;
    // Sessions end.
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    booked(&t, &maker, &checker, of_line("suspense_in", 500, stranger), "suspense").await;
    let sent = booked(&t, &maker, &checker, of_line("settlement", 40_000, settlement), "settled").await;
    for journal in [late.id(), sent.id()] {
        land(&t, &checker, journal, "arrived", "bank line").await;
    }
    cycle(&t).await;
    let gone = [("provider_only", "cleared"), ("settlement_unbooked", "cleared"), ("settlement_late", "cleared")];
    assert_states(&t, &gone).await;
    assert_states(&t, &[("fee_provider", "open"), ("missing_on_statement", "open"), ("bank_only", "open")]).await;
}

/// Of rows that Revio is asked about and says what was booked.
#[sqlx::test]
async fn what_only_a_file_says_of_old_rows_opens_in_the_second_run(db: PgPool) {
    let t = TestApp::new(db).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000, 40_000]).await;
    t.advance(TimeDelta::days(9));
    t.drive().await;
    t.advance(TimeDelta::hours(1));
    let content = file(&paid).replace(",20000,200,", ",20000,215,").replace(",30000,300,", ",29999,300,");
    let content = content.replace(",ZAR,40000,400,", ",USD,40000,,");
    let maker = t.staff(Role::Finance).await;
    uploaded(&t, &maker, "source=revio&unit=minor&from=2026-03-02&to=2026-03-02", content).await;
    let of = |state| [("fee_provider", state), ("amount_provider", state), ("currency_provider", state)];
    cycle(&t).await;
    assert_states(&t, &of("timing")).await;
    cycle(&t).await;
    assert_states(&t, &of("open")).await;
    cycle(&t).await;
    assert_states(&t, &of("open")).await;
    // Revio has a day to correct it; then it is there as before.
    t.advance(TimeDelta::days(1));
    cycle(&t).await;
    assert_states(&t, &of("open")).await;
    t.stay_signed_in().await;
    let open: Vec<Uuid> =
        sqlx::query_scalar("select id from breaks where state = 'open'").fetch_all(&t.app.db).await.expect("breaks");
    for id in open {
        let path = format!("/v1/admin/reconciliation/breaks/{id}/resolve");
        let said = json!({"code": "provider_error", "note": "Revio corrects it"});
        let said = t.send(Method::POST, &path, Some(&t.token(&maker)), &[], Some(said)).await;
        assert_eq!(said.body["state"], "resolved", "{}", said.body);
    }
    cycle(&t).await;
    assert_states(&t, &of("resolved")).await;
    t.advance(TimeDelta::days(3));
    for _ in 0..3 {
        cycle(&t).await;
    }
    assert_states(&t, &of("open")).await;
}

/// What only Revio knows is found in each look, of whichever day it is.
#[sqlx::test]
async fn what_revio_was_to_correct_rests_for_a_day_and_is_given_up_after_ninety(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let day = "Date,Description,Amount\n2026-02-26,Card machine rent,-5.00\n";
    uploaded(&t, &finance, "source=bank&unit=major", day).await;
    t.advance(TimeDelta::days(7));
    cycle(&t).await;
    cycle(&t).await;
    assert_states(&t, &[("bank_only", "open")]).await;
    let resolved = async || {
        t.stay_signed_in().await;
        let id: Uuid = sqlx::query_scalar("select id from breaks").fetch_one(&db).await.expect("one");
        let path = format!("/v1/admin/reconciliation/breaks/{id}/resolve");
        let said = json!({"code": "provider_error", "note": "it was to be taken back"});
        let said = t.send(Method::POST, &path, Some(&t.token(&finance)), &[], Some(said)).await;
        assert_eq!(said.body["state"], "resolved", "{}", said.body);
    };
    resolved().await;
    for _ in 0..3 {
        t.advance(TimeDelta::hours(7));
        cycle(&t).await;
        assert_states(&t, &[("bank_only", "resolved")]).await;
    }
    t.advance(TimeDelta::hours(7));
    cycle(&t).await;
    cycle(&t).await;
    assert_states(&t, &[("bank_only", "open")]).await;
    resolved().await;
    t.advance(TimeDelta::days(91));
    cycle(&t).await;
    cycle(&t).await;
    assert_states(&t, &[("bank_only", "resolved")]).await;
}

/// Files overlap; what two people accept, or a correction books, has no journal that the line of the other file could have.
#[sqlx::test]
async fn what_people_said_of_a_line_holds_for_the_same_line_of_another_file(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let day = "Date,Description,Amount\n2026-02-26,Card machine rent,-5.00\n";
    uploaded(&t, &one, "source=bank&unit=major", day).await;
    t.advance(TimeDelta::days(7));
    cycle(&t).await;
    cycle(&t).await;
    assert_states(&t, &[("bank_only", "open")]).await;
    // Sessions end.
    t.stay_signed_in().await;
    let id: Uuid = sqlx::query_scalar("select id from breaks").fetch_one(&db).await.expect("one");
    let path = format!("/v1/admin/reconciliation/breaks/{id}");
    let asked = json!({"code": "accepted", "note": "the bank's error, too small to ask for"});
    let asked = t.send(Method::POST, &format!("{path}/resolve"), Some(&t.token(&one)), &[], Some(asked)).await;
    assert_eq!(asked.body["state"], "open", "{}", asked.body);
    let agreed = t.send(Method::POST, &format!("{path}/accept"), Some(&t.token(&two)), &[], None).await;
    assert_eq!(agreed.body["state"], "resolved", "{}", agreed.body);
    let month = "Date,Description,Reference,Amount\n2026-02-26,Card machine rent,FEE,-5.00\n2026-02-26,Card machine rent,FEE,-5.00\n\
                 2026-02-26,Cash deposit fee,FEE,-5.00\n";
    uploaded(&t, &one, "source=bank&unit=major", month).await;
    cycle(&t).await;
    cycle(&t).await;
    let mut found = states(&t, "bank_only").await;
    found.sort();
    assert_eq!(found, ["open", "open", "resolved"], "of three lines one is what was accepted");
}

/// A file of somebody else's, or of very many: what is not among the first is not gone.
#[sqlx::test]
async fn what_differs_stays_open_while_more_differs_than_one_look_takes(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(Role::Finance).await;
    let lines = |day: &str| format!("Date,Description,Amount\n{day},Card machine rent,-5.00\n");
    uploaded(&t, &finance, "source=bank&unit=major", lines("2026-02-26")).await;
    t.advance(TimeDelta::days(7));
    cycle(&t).await;
    cycle(&t).await;
    assert_states(&t, &[("bank_only", "open")]).await;
    t.stay_signed_in().await;
    uploaded(&t, &finance, "source=bank&unit=major", lines("2026-02-27")).await;
    let many = "insert into statement_lines (id, file_id, number, product, status, currency, amount_minor, day)
                select gen_random_uuid(), (select id from statement_files order by id desc limit 1), n, 'bank', 'expired', 'ZAR', 1, '2026-02-27'
                  from generate_series(100, 10099) n";
    sqlx::query(many).execute(&db).await.expect("written");
    cycle(&t).await;
    assert_eq!(states(&t, "bank_only").await[0], "open", "it is not told any more, and nobody says that it is gone");
    let cut = "select coalesce(max((checkpoint->'counts'->>'legs_cut')::bigint), 0) from reconciliation_runs";
    let cut: i64 = sqlx::query_scalar(cut).fetch_one(&db).await.expect("PostgreSQL answers");
    assert!(cut > 0, "the run says so");
}

#[sqlx::test]
async fn a_line_of_a_months_last_day_stands_in_the_way_of_its_close(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let charges = "Date,Description,Amount,Balance\n2026-02-28,Charges,-5.00,995.00\n".to_owned();
    uploaded(&t, &finance, "source=bank&unit=major", charges).await;
    cycle(&t).await;
    t.advance(TimeDelta::days(5));
    cycle(&t).await;
    let breaks: Vec<(Uuid, String)> = sqlx::query_as("select id, type || ' ' || state from breaks order by type")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    let said: Vec<&str> = breaks.iter().map(|(_, said)| said.as_str()).collect();
    assert_eq!(said, ["bank_balance open", "bank_only open"], "the line, and what the bank says of the day's end");
    let (finance, body) = (t.staff(Role::Finance).await, json!({"month": "2026-02", "accepts": []}));
    let token = t.token(&finance);
    let refused = t.send(Method::POST, "/v1/admin/periods/close", Some(&token), &[], Some(body)).await;
    assert_eq!(refused.code(), "period_not_ready", "{}", refused.body);
    for (id, said) in breaks {
        assert!(refused.body.to_string().contains(&id.to_string()), "{said}: {}", refused.body);
    }
}

/// All that is due, as the worker does it; when nothing is, the kinds of the runs that are over.
async fn settled(t: &TestApp) -> Vec<String> {
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    for _ in 0..2_000 {
        match reconciliation::step(&t.app, OTHER_LEGS).await.expect("a step") {
            Step::More => {}
            // The next one begins later, and stands behind it.
            Step::Finished | Step::Failed => t.advance(TimeDelta::milliseconds(1)),
            Step::Pause => t.advance(TimeDelta::seconds(61)),
            Step::Idle => {
                let kinds = "select kind || ' ' || state from reconciliation_runs order by started_at, id";
                return sqlx::query_scalar(kinds).fetch_all(&t.app.db).await.expect("PostgreSQL answers");
            }
        }
    }
    panic!("something is always due");
}

const CHARGES: &str = "Date,Description,Amount\n2026-03-02,Charges,-5.00\n";

/// It counts as compared afterwards.
#[sqlx::test]
async fn a_file_that_waited_is_compared_whole_by_a_run_that_looks_back_less(db: PgPool) {
    let t = TestApp::new(db).await;
    let staff = company(&t).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let content = file(&paid).replace(",20000,200,", ",20000,215,");
    uploaded(&t, &staff.maker, "source=revio&unit=minor&from=2026-03-02&to=2026-03-02", content).await;
    t.advance(TimeDelta::days(20));
    cycle_since(&t, Some(t.app.clock.now() - TimeDelta::hours(1))).await;
    assert_eq!(states(&t, "fee_provider").await.len(), 1);
}

#[sqlx::test]
async fn a_daily_run_compares_a_file_that_waited_and_later_only_what_it_found_in_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let staff = company(&t).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let content = file(&paid).replace(",20000,200,", ",20000,215,");
    uploaded(&t, &staff.maker, "source=revio&unit=minor&from=2026-03-02&to=2026-03-02", content).await;
    t.advance(TimeDelta::days(20));
    cycle_of(&t, RunKind::Daily, None).await;
    assert_eq!(states(&t, "fee_provider").await, ["timing"]);
    // As no file would: whoever looks at the line again tells it.
    super::sql(&t, "update statement_lines set fee_minor = 315 where transaction_id = $1", paid[2].row).await;
    t.advance(TimeDelta::days(1));
    cycle_of(&t, RunKind::Daily, None).await;
    assert_eq!(states(&t, "fee_provider").await, ["open"], "what was found is looked at again, and nothing else");
}

/// That of a quarter of an hour has no part in the bank.
#[sqlx::test]
async fn a_file_that_comes_while_a_run_is_under_way_has_a_run_of_its_own(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    assert_eq!(settled(&t).await, ["daily finished", "quarter_hour finished"]);
    t.advance(TimeDelta::minutes(15));
    assert_eq!(reconciliation::step(&t.app, OTHER_LEGS).await.expect("a step"), Step::More);
    uploaded(&t, &finance, "source=bank&unit=major", CHARGES).await;
    let all = settled(&t).await;
    assert_eq!(all[2..], ["quarter_hour finished", "statement finished"]);
    assert_states(&t, &[("bank_only", "timing")]).await;
    assert_eq!(settled(&t).await, all, "it is compared");
    // Without anything under way it is due at once.
    uploaded(&t, &finance, "source=bank&unit=major", CHARGES.replace("-02", "-01")).await;
    assert_eq!(settled(&t).await[4..], ["statement finished"]);
}

#[sqlx::test]
async fn a_file_that_comes_behind_the_stage_that_reads_files_or_whose_run_fails_has_the_next_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let stage = async || -> String {
        assert_eq!(reconciliation::step(&t.app, OTHER_LEGS).await.expect("a step"), Step::More);
        let stage = "select kind || ' ' || (checkpoint->>'stage') from reconciliation_runs where state = 'running'";
        sqlx::query_scalar(stage).fetch_one(&t.app.db).await.expect("a run")
    };
    while stage().await != "daily unseen" {}
    uploaded(&t, &finance, "source=bank&unit=major", CHARGES).await;
    while reconciliation::step(&t.app, OTHER_LEGS).await.expect("a step") != Step::Finished {}
    t.advance(TimeDelta::milliseconds(1));
    assert_eq!(super::states(&t, "bank_only").await, [""; 0], "it had read the files before");
    while stage().await != "statement unseen" {}
    t.advance(TimeDelta::hours(7));
    assert_eq!(reconciliation::step(&t.app, OTHER_LEGS).await.expect("a step"), Step::Failed);
    // What is inside has its turn between two tries.
    let all = settled(&t).await;
    assert_eq!(all, ["daily finished", "statement failed", "quarter_hour finished", "statement finished"]);
    assert_eq!(settled(&t).await, all);
}

/// It came and was taken back before anybody here knew of it.
#[sqlx::test]
async fn a_payment_of_nobody_and_its_chargeback_are_two_breaks(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let maker = t.staff(Role::Finance).await;
    let object = Uuid::new_v4();
    let line = |product: &str, amount: i64| format!("{object},,{product},,ZAR,{amount},,2026-03-01T09:00:00Z\n");
    let content = file(&[]) + &line("purchase", 500) + &line("chargeback", -500);
    uploaded(&t, &maker, "source=revio&unit=minor", content).await;
    let told = async || -> Vec<(String, i64)> {
        let of_object = "select state, actual_minor from breaks where type = 'provider_only' and provider_id = $1
                          order by actual_minor desc";
        sqlx::query_as(of_object).bind(object).fetch_all(&db).await.expect("PostgreSQL answers")
    };
    let both = |state: &str| vec![(state.to_owned(), 500), (state.to_owned(), -500)];
    cycle(&t).await;
    assert_eq!(told().await, both("timing"));
    cycle(&t).await;
    assert_eq!(told().await, both("open"));
    t.finish().await;
}

/// Since the end of which day the gauge counts; `None`: it stands at 0.
async fn without_statement_since(t: &TestApp) -> Option<DateTime<Utc>> {
    reconciliation::measure(&t.app).await.expect("measured");
    let metrics = t.app.metrics.render();
    let series = "octoco_open_item_oldest_seconds{what=\"statement\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)).expect("it is there");
    let seconds: i64 = line.parse().expect("a number");
    (seconds > 0).then(|| t.app.clock.now() - TimeDelta::seconds(seconds))
}

#[sqlx::test]
async fn the_first_day_that_is_on_no_statement_is_told_though_later_ones_are(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let finance = t.staff(octoco::platform::permissions::Role::Finance).await;
    assert_eq!(without_statement_since(&t).await, None, "the books have not begun");
    // To the ledger it is this machine's day.
    let began = "insert into ledger_days values ('ZAR', '2026-02-25', 10, 'posted', 1000, 2000, 10, 1, 100, 0)";
    sqlx::query(began).execute(&db).await.expect("written");
    let end = async |day: &str| Some(days::end(&t.app, day.parse().expect("a day")).await.expect("a moment"));
    assert_eq!(without_statement_since(&t).await, end("2026-02-25").await, "no file was ever imported");
    let import = async |source: &str, from: &str, to: &str| {
        let (query, nothing) = (
            format!("source={source}&from={from}&to={to}"),
            match source {
                "revio" => "id,product,currency,amount,date\n",
                _ => "date,description,amount\n",
            },
        );
        uploaded(&t, &finance, &query, nothing).await;
    };
    import("revio", "2026-02-25", "2026-02-26").await;
    import("revio", "2026-02-28", "2026-03-01").await;
    assert_eq!(without_statement_since(&t).await, end("2026-02-27").await, "a later day does not help");
    import("revio", "2026-02-27", "2026-02-27").await;
    assert_eq!(
        without_statement_since(&t).await,
        None,
        "the bank has nothing to say of an account that was never used"
    );
    let opened: DateTime<Utc> = "2026-02-26T22:30:00Z".parse().expect("a moment");
    sqlx::query(
        "insert into ledger_accounts (id, code, name, currency, opened_timestamp) values ($1, 1100, 'bank', 'ZAR', $2)",
    )
    .bind(t.app.ledger.system(AccountCode::Bank, Currency::ZAR).id.as_uuid())
    .bind(opened.timestamp_nanos_opt().expect("of our time"))
    .execute(&db)
    .await
    .expect("written");
    assert_eq!(without_statement_since(&t).await, end("2026-02-27").await, "in Johannesburg it was the next day");
    import("bank", "2026-02-27", "2026-02-27").await;
    assert_eq!(without_statement_since(&t).await, None, "no bank moves anything at the weekend, and today is not over");
    t.advance(TimeDelta::days(100));
    let first = days::before(days::today(&t.app).await.expect("a day"), 62);
    assert_eq!(without_statement_since(&t).await, end(&first.to_string()).await, "what is older is not looked for");
}

/// A bank's file is of one account, and so of one currency.
#[sqlx::test]
async fn a_day_that_one_of_two_bank_accounts_has_no_file_of_is_told(db: PgPool) {
    let t = TestApp::with(db.clone(), &[("CURRENCIES", "ZAR,USD")]).await;
    let finance = t.staff(Role::Finance).await;
    let moved = "insert into ledger_days select currency, '2026-02-26', 62, 'posted', 1100, 3000, 62, 1, 100, 0
                   from (values ('ZAR'), ('USD')) as moved (currency)";
    sqlx::query(moved).execute(&db).await.expect("written");
    let import = async |query: &str| {
        uploaded(&t, &finance, query, "reference,product,currency,amount,date\n").await;
    };
    import("source=revio&from=2026-02-26&to=2026-03-01").await;
    import("source=bank&currency=ZAR&from=2026-02-26&to=2026-02-27").await;
    import("source=bank&currency=USD&from=2026-02-26&to=2026-02-26").await;
    // A Thursday to a Sunday: no bank has a file of a weekend.
    let covered = async || {
        let days = "select string_agg(covered::text, ' ' order by day) from reporting.statement_coverage
                     where source = 'bank' and day between '2026-02-26' and '2026-03-01'";
        value(&t, days).await
    };
    let friday = days::end(&t.app, "2026-02-27".parse().expect("a day")).await.expect("a moment");
    assert_eq!(without_statement_since(&t).await, Some(friday));
    assert_eq!(covered().await, "true false true true");
    import("source=bank&currency=USD&from=2026-02-27&to=2026-02-27").await;
    assert_eq!(without_statement_since(&t).await, None);
    assert_eq!(covered().await, "true true true true");
}

/// By itself it heals within minutes: what does not is a customer's money.
#[sqlx::test]
async fn a_payment_that_revios_own_file_alone_tells_of_is_high_after_a_day(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000]).await;
    let customer = t.customer().await;
    let unpaid = t.deposit(&customer, 5_000, "unpaid").await.id();
    let line = format!("{},{unpaid},purchase,paid,ZAR,5000,0,2026-03-02T09:00:00Z\n", t.purchase_of(unpaid));
    let brought = uploaded(&t, &finance, "source=revio&unit=minor", file(&paid) + &line).await.id();
    sqlx::query("update statement_files set provider_id = gen_random_uuid() where id = $1")
        .bind(brought)
        .execute(&t.app.db)
        .await
        .expect("as if Revio had been asked for it");
    let severity = "select string_agg(severity, ' ') from breaks where type = 'paid_at_provider'";
    for (hours, state, expected) in [(24, "timing", "info"), (1, "open", "info"), (25, "open", "high")] {
        t.advance(TimeDelta::hours(hours));
        cycle(&t).await;
        assert_states(&t, &[("paid_at_provider", state)]).await;
        assert_eq!(value(&t, severity).await, expected);
    }
    assert_eq!(t.balance(&customer).await, (0, 0, 0), "a file alone books nothing");
}
