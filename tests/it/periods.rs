//! Closed months: nothing is closed that is not checked, agreed to by two, and frozen; and what was closed is printed again to the byte, or
//! not at all. What the reports say: `periods/figures.rs`.

mod figures;

use chrono::{NaiveDate, TimeDelta};
use octoco::books::projector;
use octoco::finance::days;
use octoco::finance::periods::{self, Month};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp};
use crate::journals::{booked, entry};
use crate::statement_files::uploaded;
use crate::trial_balance::{a_mix_of_flows, pass_the_ledgers_present};

struct Books {
    t: TestApp,
    maker: Customer,
    checker: Customer,
    /// The month in which the ledger has everything, and the one before.
    month: Month,
    before: Month,
}

/// Flows of the ledger's own present, and a service whose clock stands in the next month.
async fn books(db: PgPool, crashes: &Crashes) -> Books {
    let t = TestApp::crashing(db, &[], crashes.plan()).await;
    a_mix_of_flows(&t).await;
    pass_the_ledgers_present(&t, TimeDelta::zero()).await;
    let month = Month::of(days::today(&t.app).await.expect("a day"));
    let before = Month::of(days::before(month.first_day(), 1));
    let end = days::end(&t.app, month.last_day()).await.expect("a moment");
    t.advance(end - t.app.clock.now() + TimeDelta::minutes(2));
    t.drive().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    Books { t, maker, checker, month, before }
}

async fn run(t: &TestApp, day: NaiveDate) -> Uuid {
    let id = t.app.clock.row_id();
    let insert = sqlx::query(
        "insert into reconciliation_runs (id, kind, legs, state, since, until, accounting_day, requested_by, started_at, finished_at)
         values ($1, 'daily', array['a'], 'finished', $2, $2, $3, 'system', $2, $2)",
    );
    insert.bind(id).bind(t.app.clock.now()).bind(day).execute(&t.app.db).await.expect("the run is written");
    id
}

async fn found(t: &TestApp, run: Uuid, severity: &str, since: NaiveDate) -> Uuid {
    let id = t.app.clock.row_id();
    let insert = sqlx::query(
        "insert into breaks (id, fingerprint, type, severity, leg, state, since, observed, first_seen_at, last_seen_at, owner, first_run_id,
                             last_run_id)
         values ($1, $1::text, 'bank_only', $2, 'c', 'open', $3, 'x', $4, $4, 'finance', $5, $5)",
    );
    let since = days::start(&t.app, since).await.expect("a moment");
    let insert = insert.bind(id).bind(severity).bind(since).bind(t.app.clock.now()).bind(run);
    insert.execute(&t.app.db).await.expect("the break is written");
    id
}

impl Books {
    /// All that a month needs.
    async fn prepare(&self, month: Month) {
        let all = std::iter::successors(Some(month.first_day()), |day| Some(days::after(*day, 1)));
        for day in all.take_while(|day| *day <= month.last_day()) {
            run(&self.t, day).await;
        }
        let query = format!("source=revio&from={}&to={}", month.first_day(), month.last_day());
        let nothing = "id,product,currency,amount,date\n";
        uploaded(&self.t, &self.maker, &query, nothing).await;
        self.compared_on(Some(month.first_day())).await;
    }

    /// All files, by that day's run; by none.
    async fn compared_on(&self, day: Option<NaiveDate>) {
        let compared = "update statement_files set compared_by =
            (select id from reconciliation_runs where accounting_day = $1 order by id limit 1)";
        sqlx::query(compared).bind(day).execute(&self.t.app.db).await.expect("written");
    }

    async fn close(&self, month: Month, accepts: &[Uuid]) -> Answer {
        let body = json!({"month": month.to_string(), "accepts": accepts});
        let token = self.t.token(&self.maker);
        self.t.send(Method::POST, "/v1/admin/periods/close", Some(&token), &[], Some(body)).await
    }

    async fn approve(&self, by: &Customer, month: Month, pack_sha256: &Value) -> Answer {
        let path = format!("/v1/admin/periods/{month}/approve");
        let body = json!({"pack_sha256": pack_sha256});
        self.t.send(Method::POST, &path, Some(&self.t.token(by)), &[], Some(body)).await
    }

    async fn closed(&self, month: Month) -> Answer {
        let asked = self.close(month, &[]).await;
        assert_eq!(
            (asked.status, &asked.body["state"]),
            (StatusCode::OK, &"awaiting_approval".into()),
            "{}",
            asked.body
        );
        let closed = self.approve(&self.checker, month, &asked.body["pack_sha256"]).await;
        assert_eq!((closed.status, &closed.body["state"]), (StatusCode::OK, &"closed".into()), "{}", closed.body);
        closed
    }

    async fn print(&self, month: Month, query: &str) -> Answer {
        self.print_for(&self.maker, month, query).await
    }

    async fn print_for(&self, whom: &Customer, month: Month, query: &str) -> Answer {
        self.t.get(whom, &format!("/v1/admin/periods/{month}/{query}")).await
    }

    async fn mismatches(&self) -> String {
        let all = self.t.app.metrics.render();
        let line = all.lines().find(|line| line.starts_with("octoco_period_reprint_mismatches_total"));
        line.and_then(|line| line.split(' ').nth(1)).expect("a number").to_owned()
    }

    async fn tamper(&self, sql: &str) {
        for sql in [
            "alter table periods disable trigger periods_are_frozen",
            sql,
            "alter table periods enable trigger periods_are_frozen",
        ] {
            sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&self.t.app.db).await.expect("PostgreSQL answers");
        }
    }
}

fn lacking(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "period_not_ready"), "{}", answer.body);
    let errors = answer.body["errors"].as_array().expect("errors");
    errors.iter().map(|error| error["field"].as_str().expect("a name").to_owned()).collect()
}

#[sqlx::test]
async fn what_is_missing_is_told_at_once_and_nothing_is_closed_before(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, maker, checker, month, .. } = &books;
    assert_eq!(lacking(&books.close(month.next(), &[]).await), ["month"], "it goes on");
    assert_eq!(lacking(&books.close(*month, &[]).await), ["copy", "runs", "statements"]);
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let last = run(t, month.last_day()).await;
    let (critical, high) =
        (found(t, last, "critical", month.last_day()).await, found(t, last, "high", month.last_day()).await);
    found(t, last, "critical", month.next().first_day()).await;
    let refused = books.close(*month, &[]).await;
    assert_eq!(lacking(&refused), ["breaks", "breaks"]);
    assert!(
        refused.body.to_string().contains(&critical.to_string())
            && refused.body.to_string().contains(&high.to_string())
    );
    assert_eq!(lacking(&books.close(*month, &[critical, high]).await), ["breaks"], "what is critical is not accepted");
    // One person says that Revio will correct it: whoever agrees to the month sees that it was there.
    let said =
        "update breaks set state = 'resolved', ended_at = now(), resolution = 'provider_error', resolution_note = 'x',
                                  resolved_by = $2 where id = $1";
    sqlx::query(said).bind(critical).bind(maker.id).execute(&db).await.expect("written");
    sqlx::query("update reconciliation_runs set state = 'failed' where accounting_day = $1")
        .bind(month.last_day())
        .execute(&db)
        .await
        .expect("written");
    assert_eq!(lacking(&books.close(*month, &[high]).await), ["runs"], "one day");
    run(t, month.last_day()).await;
    let asked = books.close(*month, &[high]).await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.body);
    let seen = &asked.body["pack_sha256"];
    let accepted = books.print(*month, "pack?report=breaks").await;
    let rows = accepted.body["rows"].as_array().expect("a list");
    let told = |id: Uuid| rows.iter().find(|row| row["id"] == json!(id)).map(|row| row["accepted"].clone());
    assert_eq!((told(critical), told(high)), (Some(json!("provider_error")), Some(json!("yes"))), "{rows:?}");

    assert_eq!(books.approve(maker, *month, seen).await.code(), "forbidden", "the maker");
    assert_eq!(books.approve(checker, *month, &json!("0".repeat(64))).await.code(), "stale_state", "another pack");
    // Something comes that the maker has not seen.
    uploaded(t, checker, &format!("source=bank&from={0}&to={0}", month.last_day()), "date,description,amount\n").await;
    assert_eq!(lacking(&books.approve(checker, *month, seen).await), ["pack"]);
    let again = books.close(*month, &[high]).await;
    assert_ne!(&again.body["pack_sha256"], seen);
    let closed = books.approve(checker, *month, &again.body["pack_sha256"]).await;
    assert_eq!(
        (&closed.body["state"], &closed.body["approved_by"]),
        (&"closed".into(), &checker.id.to_string().into())
    );
    assert_eq!(books.approve(checker, *month, &again.body["pack_sha256"]).await.body, closed.body, "twice is once");
    assert_eq!(books.close(*month, &[]).await.body, closed.body, "a closed month stays as it is");
    books.t.finish_with_held().await;
}

#[sqlx::test]
async fn months_are_chained_and_printed_again_to_the_byte(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, before, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    for month in [before, month] {
        books.prepare(*month).await;
    }
    let first = books.closed(*before).await;
    assert_eq!(first.body["previous_sha256"], Value::Null);
    let second = books.closed(*month).await;
    assert_eq!(second.body["previous_sha256"], first.body["pack_sha256"]);
    assert_eq!(
        lacking(&books.close(Month::of(days::before(before.first_day(), 1)), &[]).await)[0],
        "month",
        "the order"
    );
    let mut prints = Vec::new();
    for report in [
        "trial-balance", "positions", "fees", "journals", "breaks", "open-items", "files", "receivables", "corrections",
    ] {
        for format in ["json", "csv"] {
            let query = format!("pack?report={report}&format={format}");
            let printed = books.print(*month, &query).await;
            assert_eq!(printed.status, StatusCode::OK, "{query}: {}", printed.body);
            let tag = printed.headers["etag"].to_str().expect("text").to_owned();
            let path = format!("/v1/admin/periods/{month}/{query}");
            let token = books.t.token(&books.maker);
            let again = async |header, value: &str| {
                books.t.send(Method::GET, &path, Some(&token), &[(header, value)], None).await.status
            };
            assert_eq!(again("If-None-Match", &tag).await, StatusCode::NOT_MODIFIED, "{query}");
            // A part of JSON is no JSON.
            let part = if query.contains("json") { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
            assert_eq!(again("Range", "bytes=0-9").await, part, "{query}");
            prints.push((query, printed.body));
        }
    }
    for query in ["pack?report=customers", "journal.csv"] {
        prints.push((query.to_owned(), books.print(*month, query).await.body));
    }
    // The ledger itself, the sums of the customers' list, and the journal say the same.
    let of = |name: &str| &prints.iter().find(|(query, _)| query.starts_with(name)).expect("printed").1;
    let rows = of("pack?report=trial-balance")["rows"].as_array().expect("rows").clone();
    let number = |row: &Value, name: &str| row[name].as_i64().expect("a number");
    assert!(
        rows.iter()
            .all(|row| number(row, "opening_minor") + number(row, "debits_minor") - number(row, "credits_minor")
                == number(row, "closing_minor"))
    );
    assert_eq!(rows.iter().map(|row| number(row, "closing_minor")).sum::<i64>(), 0);
    let owed = rows.iter().find(|row| row["code"] == 2000).expect("wallets");
    assert_eq!(second.body["customers"]["ZAR"]["owed_minor"], (-number(owed, "closing_minor")).to_string());
    let positions = of("pack?report=positions")["rows"].as_array().expect("rows").clone();
    let last = positions.last().expect("a day");
    assert_eq!(
        (&last["day"], &last["owed_minor"]),
        (&month.last_day().to_string().into(), &(-number(owed, "closing_minor")).into())
    );
    let surplus = number(last, "own_funds_minor") - number(last, "receivables_minor");
    assert_eq!(number(last, "surplus_minor"), surplus, "what is held less what is owed is the company's");
    let fees = of("pack?report=fees")["rows"][0]["booked_minor"].clone();
    assert_eq!(fees, 900);
    let journal = of("journal.csv").as_str().expect("text");
    let sums = |column: usize| -> i64 {
        let cells = journal.lines().skip(1).filter_map(|line| line.split(',').nth(column));
        cells.filter_map(|cell| cell.replace('.', "").parse::<i64>().ok()).sum()
    };
    assert_eq!(
        journal.lines().next(),
        Some("date,account_code,account_name,currency,debit,credit,reference,description")
    );
    assert!(sums(4) > 0 && sums(4) == sums(5), "{journal}");
    let in_its_currency = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        cells[3] == "ZAR" && (cells[6].contains("-ZAR-") || cells[6].parse::<Uuid>().is_ok())
    };
    assert!(journal.lines().skip(1).all(in_its_currency), "{journal}");
    // Later, and after the copy was made anew.
    t.advance(TimeDelta::days(40));
    t.drive().await;
    projector::rebuild(&t.app).await.expect("rebuilt");
    let auditor = t.staff(Role::Finance).await;
    for (query, printed) in &prints {
        assert_eq!(&books.print_for(&auditor, *month, query).await.body, printed, "{query}");
    }
    assert_eq!(books.mismatches().await, "0");
    for wrong in ["pack?report=secrets", "pack", "pack?report=fees&format=pdf"] {
        assert_eq!(books.print_for(&auditor, *month, wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(books.print_for(&auditor, month.next(), "pack?report=fees").await.status, StatusCode::NOT_FOUND);
    let listed = t.get(&auditor, "/v1/admin/periods").await;
    assert_eq!(listed.body["data"][0], second.body, "{}", listed.body);
    let log = t.get(&auditor, &format!("/v1/admin/audit?action=period.closed&object_id={month}")).await;
    assert_eq!(log.body["data"][0]["after"]["pack_sha256"], second.body["pack_sha256"]);
    books.t.finish_with_held().await;
}

#[sqlx::test]
async fn a_month_waits_for_a_finished_run_that_has_compared_its_statements(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let first = month.first_day();
    // Another one closes the day of the run that failed.
    run(t, first).await;
    let state = async |state: &str| {
        let set = "update reconciliation_runs set state = $1
                    where id = (select id from reconciliation_runs where accounting_day = $2 order by id limit 1)";
        sqlx::query(set).bind(state).bind(first).execute(&db).await.expect("written");
    };
    for (day, is) in [(None, "finished"), (Some(first), "failed")] {
        books.compared_on(day).await;
        state(is).await;
        let refused = books.close(*month, &[]).await;
        assert_eq!(lacking(&refused), ["statements"], "{day:?}");
        assert!(refused.body.to_string().contains("no finished reconciliation has compared"), "{}", refused.body);
    }
    state("finished").await;
    books.closed(*month).await;
    books.t.finish_with_held().await;
}

#[sqlx::test]
async fn the_first_month_to_be_closed_is_the_one_in_which_the_books_began(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, before, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let began = days::start(&t.app, before.last_day()).await.expect("a moment");
    let opened = "update ledger_accounts set opened_timestamp = $1 where id = (select id from ledger_accounts limit 1)";
    let opened = sqlx::query(opened).bind(began.timestamp_nanos_opt().expect("of our time"));
    opened.execute(&db).await.expect("written");
    let refused = books.close(*month, &[]).await;
    assert_eq!(lacking(&refused), ["month"], "the one before could never be closed");
    assert!(refused.body.to_string().contains(&format!("must be {before}")), "{}", refused.body);
    // Its last day alone is one of the books.
    assert_eq!(lacking(&books.close(*before, &[]).await), ["runs", "statements"]);
    projector::rebuild(&t.app).await.expect("rebuilt");
    books.closed(*month).await;
    books.t.finish_with_held().await;
}

#[sqlx::test]
async fn what_is_on_its_way_stands_apart_in_the_pack_as_on_the_dashboard(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, maker, .. } = &books;
    let second = t.staff(Role::Finance).await;
    t.advance(TimeDelta::days(1));
    for (kind, amount) in [("own_funds_in", 50_000), ("settlement", 4_000), ("float_top_up", 700)] {
        booked(t, maker, &second, entry(kind, amount), kind).await;
    }
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let closed = books.closed(*month).await;
    assert_eq!(closed.body["layout"], 8);
    let journals = books.print(*month, "pack?report=journals").await.body["rows"].clone();
    assert_eq!((&journals[0]["kind"], &journals[0]["approved_by"]), (&json!("own_funds_in"), &json!(second.id)));
    let positions = books.print(*month, "pack?report=positions").await;
    let today =
        sqlx::query_scalar::<_, String>("select reporting.day(now())::text").fetch_one(&db).await.expect("a day");
    let rows = positions.body["rows"].as_array().expect("rows");
    let printed = rows.iter().find(|row| row["day"] == today.as_str()).expect("the ledger's present");
    let number = |name: &str| printed[name].as_i64().expect("a number");
    assert_eq!(number("in_transit_minor"), 4_700);
    assert_eq!(
        number("held_minor"),
        number("at_provider_minor") + number("in_transit_minor") + number("bank_minor"),
        "{printed}"
    );
    let shown: Vec<i64> = sqlx::query_scalar(
        "select (figure * 100)::bigint from reporting.position
          cross join lateral unnest(array[owed, unallocated, at_provider, in_transit, bank, held, own_funds, receivables, surplus]) figure
          where currency = 'ZAR' and day = reporting.day(now())",
    )
    .fetch_all(&db)
    .await
    .expect("PostgreSQL answers");
    let names =
        ["owed", "unallocated", "at_provider", "in_transit", "bank", "held", "own_funds", "receivables", "surplus"];
    assert_eq!(names.map(|name| number(&format!("{name}_minor"))).to_vec(), shown);
    books.t.finish_with_held().await;
}

#[sqlx::test]
async fn what_is_not_what_was_closed_is_not_printed(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, before, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    for month in [before, month] {
        books.prepare(*month).await;
        books.closed(*month).await;
    }
    let refused = sqlx::query("update periods set pack = pack").execute(&db).await.expect_err("it is frozen");
    assert!(refused.to_string().contains("append-only"), "{refused}");
    for sql in ["delete from periods", "truncate periods"] {
        sqlx::query(sql).execute(&db).await.expect_err("nothing is deleted");
    }
    sqlx::query("create table kept as select * from periods").execute(&db).await.expect("kept");
    let (first, second) = (format!("'{}'", before.first_day()), format!("'{}'", month.first_day()));
    let byte = "pack = set_byte(pack, 40, get_byte(pack, 40) # 1)";
    let hash = "pack_sha256 = sha256(set_byte(pack, 40, get_byte(pack, 40) # 1))";
    for (number, (change, query)) in [
        (format!("set {byte} where month = {second}"), "pack?report=fees"),
        (format!("set {byte}, {hash} where month = {second}"), "pack?report=fees"),
        (format!("set {byte}, {hash} where month = {first}"), "journal.csv"),
        (format!("set previous_sha256 = null where month = {second}"), "pack?report=fees&format=csv"),
        (format!("set customers_sha256 = sha256('x') where month = {second}"), "pack?report=customers"),
    ]
    .into_iter()
    .enumerate()
    {
        books.tamper(&format!("update periods {change}")).await;
        let printed = books.print(*month, query).await;
        assert_eq!((printed.status, printed.code()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"), "{change}");
        assert_eq!(books.mismatches().await, (number + 1).to_string(), "{change}");
        let back =
            "update periods p set pack = k.pack, pack_sha256 = k.pack_sha256, previous_sha256 = k.previous_sha256,
            customers_sha256 = k.customers_sha256 from kept k where k.month = p.month";
        books.tamper(back).await;
        assert_eq!(books.print(*month, query).await.status, StatusCode::OK);
    }
    // The customers' list is made anew: a copy that was changed does not have its hash.
    let wrong = "update ledger_accounts set credits_posted = credits_posted + 1 where id = (select id from ledger_accounts where code = 2000 limit 1)";
    sqlx::query(wrong).execute(&db).await.expect("written");
    assert_eq!(books.print(*month, "pack?report=customers").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    projector::rebuild(&t.app).await.expect("rebuilt");
    assert_eq!(books.print(*month, "pack?report=customers").await.status, StatusCode::OK);
    sqlx::query("drop table kept").execute(&db).await.expect("dropped");
    books.t.finish_with_held().await;
}

#[sqlx::test]
async fn a_death_between_any_two_effects_closes_a_month_once_or_not_at_all(db: PgPool) {
    let crashes = Crashes::default();
    let books = books(db.clone(), &crashes).await;
    let Books { t, month, checker, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    crashes.at("periods.proposed");
    assert_eq!(books.close(*month, &[]).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(periods::list(&t.app).await.expect("listed").is_empty());
    let asked = books.close(*month, &[]).await;
    crashes.at("periods.closed");
    assert_eq!(
        books.approve(checker, *month, &asked.body["pack_sha256"]).await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let still = books.close(*month, &[]).await;
    assert_eq!(
        (&still.body["state"], &still.body["pack_sha256"]),
        (&"awaiting_approval".into(), &asked.body["pack_sha256"])
    );
    let closed = books.approve(checker, *month, &asked.body["pack_sha256"]).await;
    assert_eq!(closed.body["state"], "closed");
    let closings: i64 = sqlx::query_scalar("select count(*) from audit_log where action = 'period.closed'")
        .fetch_one(&db)
        .await
        .expect("PostgreSQL answers");
    assert_eq!(closings, 1);
    books.t.finish_with_held().await;
}

/// What a file has just said opens in the next run; and a file from before a day's end is of a part of it.
#[sqlx::test]
async fn neither_what_one_run_alone_has_found_nor_half_a_day_closes_a_month(db: PgPool) {
    let books = books(db.clone(), &Crashes::default()).await;
    let Books { t, month, .. } = &books;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    books.prepare(*month).await;
    let last = run(t, month.last_day()).await;
    let once = found(t, last, "critical", month.first_day()).await;
    let seen_once = "update breaks set state = 'timing', sightings = 1 where id = $1";
    sqlx::query(seen_once).bind(once).execute(&db).await.expect("written");
    let refused = books.close(*month, &[once]).await;
    assert_eq!(lacking(&refused), ["breaks"]);
    assert!(refused.body.to_string().contains("wait for the next daily"), "{}", refused.body);
    for (kind, lacks) in [("bank_balance", true), ("provider_balance", false)] {
        sqlx::query("update breaks set type = $1, severity = 'high'").bind(kind).execute(&db).await.expect("written");
        let asked = books.close(*month, &[]).await;
        assert_eq!(asked.status == StatusCode::CONFLICT, lacks, "{kind}: {}", asked.body);
    }
    sqlx::query("delete from breaks").execute(&db).await.expect("gone");
    let noon = days::end(&t.app, month.last_day()).await.expect("a moment") - TimeDelta::hours(12);
    let imported = async |at: chrono::DateTime<chrono::Utc>, by_fetch: bool| {
        let sql = "update statement_files set imported_at = $1, provider_id = case when $2 then gen_random_uuid() end";
        sqlx::query(sql).bind(at).bind(by_fetch).execute(&db).await.expect("written");
    };
    imported(noon, false).await;
    assert_eq!(lacking(&books.close(*month, &[]).await), ["statements"]);
    imported(noon, true).await;
    assert_eq!(books.close(*month, &[]).await.status, StatusCode::OK, "what Revio made is whole");
}
