//! The schema `reporting`: what dashboards read is what TigerBeetle says, to the cent; in `reporting/role.rs` who may read it and what is
//! never in it, in `reporting/summaries.rs` how its summaries stay true, in `reporting/fees.rs` what statements say of fees.

mod fees;
mod role;
mod summaries;

use std::collections::BTreeMap;

use chrono::TimeDelta;
use ledger::{Account, AccountCode, Amount, Balance, Currency, Leg, Side, Transfer, TransferCode, TransferId};
use octoco::books::{projector, slots};
use octoco::finance::reconciliation;
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use revio_sim::{Pay, PayoutBehaviour};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::adjustments::{approve, correction, hash, proposed};
use crate::harness::{Customer, TestApp};

pub(crate) const VIEWS: [&str; 28] = [
    "accounts", "activity", "balances", "breaks", "completion_times", "currencies", "fees", "float", "held_by_age",
    "journals", "movements", "payment_events", "payment_states", "payment_transfers", "payments", "periods",
    "position", "provider_balances", "receivables", "reservations", "run_days", "runs", "settlements",
    "statement_coverage", "statement_files", "suspense_items", "watermark", "webhooks",
];

/// One value of one query, as text; numbers as PostgreSQL writes them.
pub(crate) async fn value(t: &TestApp, sql: &str) -> String {
    let sql = format!("select coalesce(({sql})::text, 'null')");
    sqlx::query_scalar(AssertSqlSafe(sql.clone()))
        .fetch_one(&t.app.db)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Rands of minor units, as the views tell them.
pub(crate) fn rands(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", minor.abs() / 100, minor.abs() % 100)
}

/// All accounts of the chart as TigerBeetle has them now, customers' ones added up: debits and credits, posted and pending.
async fn ledger_says(t: &TestApp) -> BTreeMap<i32, (i64, i64, i64, i64)> {
    let users: Vec<Uuid> =
        sqlx::query_scalar("select id from users").fetch_all(&t.app.db).await.expect("PostgreSQL answers");
    let of = |code: AccountCode| match code {
        AccountCode::CustomerWallet => users.iter().map(|user| Account::wallet(*user, Currency::ZAR)).collect(),
        AccountCode::CustomerReceivable => users.iter().map(|user| Account::receivable(*user, Currency::ZAR)).collect(),
        code => vec![t.app.ledger.system(code, Currency::ZAR)],
    };
    let mut said = BTreeMap::new();
    for code in AccountCode::ALL {
        let accounts: Vec<Account> = of(code);
        let mut sums = (0, 0, 0, 0);
        for some in accounts.chunks(100) {
            for balance in t.app.ledger.balances(some).await.expect("the ledger answers") {
                let Balance { debits_posted, credits_posted, debits_pending, credits_pending, .. } = balance;
                sums = (
                    sums.0 + debits_posted,
                    sums.1 + credits_posted,
                    sums.2 + debits_pending,
                    sums.3 + credits_pending,
                );
            }
        }
        said.insert(i32::from(code.code()), sums);
    }
    said
}

/// Brings the copy up to date; then trial balance, position and sums of movements are what TigerBeetle says, to the cent.
pub(crate) async fn assert_is_what_the_ledger_says(t: &TestApp) {
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let said = ledger_says(t).await;
    let rows: Vec<(i32, String, String, String)> = sqlx::query_as(
        "select code, closing::text, pending_debits::text, pending_credits::text from reporting.balances
          where day = reporting.day(now()) and currency = 'ZAR' order by code",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    let expected: Vec<_> = said
        .iter()
        .map(|(code, (dr, cr, pending_dr, pending_cr))| (*code, rands(dr - cr), rands(*pending_dr), rands(*pending_cr)))
        .collect();
    assert_eq!(rows, expected, "the trial balance");
    let moved: Vec<(i32, String, String)> = sqlx::query_as(
        "select code, sum(debits)::text, sum(credits)::text from reporting.movements where currency = 'ZAR' group by code order by code",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    let moving = |code: &i32| said.get(code).copied().unwrap_or_default();
    for (code, debits, credits) in &moved {
        assert_eq!((debits, credits), (&rands(moving(code).0), &rands(moving(code).1)), "what moved on {code}");
    }
    let net = |codes: &[i32]| codes.iter().map(|code| said[code].0 - said[code].1).sum::<i64>();
    let position: (String, String, String, String, String, String) = sqlx::query_as(
        "select owed::text, unallocated::text, held::text, own_funds::text, receivables::text, surplus::text from reporting.position
          where currency = 'ZAR' order by day desc limit 1",
    )
    .fetch_one(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    let expected = (
        rands(-net(&[2000])),
        rands(-net(&[2900])),
        rands(net(&[1000, 1100])),
        rands(-net(&[3000, 4000, 5000, 5100])),
        rands(net(&[1200])),
        rands(net(&[1000, 1100, 2000, 2900])),
    );
    assert_eq!(position, expected, "the position");
    assert_eq!(
        value(
            t,
            "select bool_and(surplus = own_funds - receivables and held = at_provider + in_transit + bank
                                  and surplus = held - owed - unallocated) from reporting.position"
        )
        .await,
        "true"
    );
    assert_eq!(value(t, "select sum(closing) from reporting.balances where day = reporting.day(now())").await, "0.00");
    assert_eq!(
        value(t, "select sum(amount) from reporting.held_by_age where currency = 'ZAR'").await,
        value(
            t,
            "select greatest(at_provider, 0.00) from reporting.position where currency = 'ZAR' order by day desc limit 1"
        )
        .await,
        "what is at Revio, by age"
    );
}

/// Money moved by the ledger alone, as the company's journals move it; `part`: what becomes of money on its way.
async fn book(
    t: &TestApp,
    code: TransferCode,
    (debit, credit): (AccountCode, AccountCode),
    (minor, part): (i64, &str),
) {
    let ledger = &t.app.ledger;
    let accounts = [debit, credit].map(|code| ledger.system(code, Currency::ZAR));
    ledger.open(&accounts).await.expect("opened");
    let row = t.app.clock.row_id();
    let amount = Amount::new(minor, Currency::ZAR).expect("an amount");
    let transfer = Transfer::new(TransferId::of(row, Leg::Main), accounts[0], accounts[1], amount, code);
    match part {
        "at once" => ledger.transfer(transfer).await.expect("booked"),
        part => {
            ledger.reserve(transfer).await.expect("reserved");
            match part {
                "arrives" => ledger.post(row).await.expect("posted"),
                "returns" => ledger.void(row).await.expect("voided"),
                _ => {}
            }
        }
    }
}

/// Every flow of customers' money, most of them twice. The customer and a completed withdrawal.
pub(crate) async fn every_flow(t: &TestApp) -> (Customer, Uuid) {
    let customer = t.customer().await;
    let first = t.deposit(&customer, 100_000, "first").await;
    t.sim.pay_purchase(t.purchase_of(first.id()), Pay { fee: 290, ..Pay::default() }).expect("payable");
    t.drive().await;
    let paid = t.withdraw(&customer, 20_000, "w1").await.id();
    t.drive().await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "do_not_honour".to_owned() });
    t.withdraw(&customer, 1_000, "w2").await;
    t.drive().await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    assert_eq!(t.withdraw(&customer, 5_055, "w3").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.sim.refund_purchase(t.purchase_of(first.id()), Some(3_333)).expect("refundable");
    t.drive().await;
    // A customer who owes: the deposit is charged back after it was spent.
    let debtor = t.customer_with(40_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.withdraw(&debtor, 30_000, "w4").await;
    t.drive().await;
    let purchase: Uuid =
        sqlx::query_scalar("select provider_id from transactions where user_id = $1 and kind = 'deposit'")
            .bind(debtor.id)
            .fetch_one(&t.app.db)
            .await
            .expect("it has one");
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.drive().await;
    assert_eq!(t.owed(debtor.id).await, 30_000);
    // Another sum than was asked for is set aside.
    let misfit = t.deposit(&customer, 900, "d2").await;
    t.sim.pay_purchase(t.purchase_of(misfit.id()), Pay { amount: Some(899), ..Pay::default() }).expect("payable");
    t.drive().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    for (direction, amount, key) in [("credit", 700, "a1"), ("debit", 45, "a2")] {
        let proposed = proposed(t, &maker, correction(&customer, direction, amount), key).await;
        assert_eq!(approve(t, &checker, proposed.id(), hash(&proposed)).await.status, StatusCode::OK);
    }
    t.drive().await;
    (customer, paid)
}

/// What the company books itself.
async fn every_journal(t: &TestApp) {
    use AccountCode::{Bank, ChargebackLosses, Equity, FeeIncome, ProviderBalance, ProviderFees, Suspense};
    for (code, accounts, moved) in [
        (TransferCode::Settlement, (Bank, ProviderBalance), (20_000, "arrives")),
        (TransferCode::Settlement, (Bank, ProviderBalance), (11_111, "is on its way")),
        (TransferCode::Settlement, (Bank, ProviderBalance), (222, "returns")),
        (TransferCode::FloatTopUp, (ProviderBalance, Bank), (9_000, "arrives")),
        (TransferCode::FloatTopUp, (ProviderBalance, Bank), (333, "is on its way")),
        (TransferCode::ProviderInvoice, (ProviderFees, Bank), (77, "at once")),
        (TransferCode::UnmatchedPayment, (Bank, Suspense), (5_000, "at once")),
        (TransferCode::SuspenseReturn, (Suspense, Bank), (1_000, "at once")),
        (TransferCode::SuspenseRelease, (Suspense, Equity), (1_500, "at once")),
        (TransferCode::ChargebackLoss, (ChargebackLosses, ProviderBalance), (66, "at once")),
        (TransferCode::OwnFundsIn, (Bank, Equity), (20_000, "at once")),
        (TransferCode::OwnFundsOut, (Equity, Bank), (1_234, "at once")),
        (TransferCode::Result, (FeeIncome, Equity), (1, "at once")),
        (TransferCode::Result, (Equity, ProviderFees), (300, "at once")),
    ] {
        book(t, code, accounts, moved).await;
    }
}

/// Of the first, most is repaid at once from what the wallet holds.
#[sqlx::test]
async fn a_debt_is_as_old_as_the_oldest_of_it_that_is_not_repaid(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(1_000).await;
    let second = t.deposit(&customer, 100, "second").await;
    t.pay(&second).await;
    t.withdraw(&customer, 500, "some").await;
    t.drive().await;
    let first: Uuid = sqlx::query_scalar("select id from transactions where kind = 'deposit' and id <> $1")
        .bind(second.id())
        .fetch_one(&t.app.db)
        .await
        .expect("a row");
    for deposit in [first, second.id()] {
        t.sim.charge_back_purchase(t.purchase_of(deposit)).expect("charged back");
        t.drive().await;
        t.advance(TimeDelta::days(2));
    }
    assert_eq!(t.owed(customer.id).await, 500);
    projector::catch_up(&t.app).await.expect("copied");
    let oldest = "select since = (select min(ledger_time(l.timestamp)) from ledger_transfers l
        join ledger_accounts a on a.id = l.debit_account_id and a.code = 1200) from reporting.receivables";
    assert_eq!(value(&t, &format!("select ({oldest})::text")).await, "true");
    // What comes in repays the oldest first.
    let third = t.deposit(&customer, 450, "third").await;
    t.pay(&third).await;
    projector::catch_up(&t.app).await.expect("copied");
    assert_eq!(value(&t, &format!("select ({})::text", oldest.replace("min(", "max("))).await, "true");
    t.finish().await;
}

#[sqlx::test]
async fn after_every_flow_and_journal_the_views_say_what_the_ledger_says(db: PgPool) {
    let t = TestApp::new(db).await;
    assert_is_what_the_ledger_says(&t).await;
    let (customer, paid) = every_flow(&t).await;
    assert_is_what_the_ledger_says(&t).await;
    let pending = t.system_balance(AccountCode::ProviderBalance).await.credits_pending;
    assert_eq!(value(&t, "select sum(amount) from reporting.reservations").await, rands(pending));
    // One payout is executed and has not ended: it is neither waited for nor there any more.
    assert_eq!(value(&t, "select reserved from reporting.float").await, rands(pending - 5_055));
    assert_eq!(
        value(&t, "select available from reporting.float").await,
        value(&t, "select at_provider - 50.55 from reporting.position order by day desc limit 1").await
    );
    let aside = t.system_balance(AccountCode::Suspense).await.posted();
    assert_eq!(value(&t, "select sum(remaining) from reporting.suspense_items").await, rands(aside));
    assert_eq!(value(&t, "select sum(amount) from reporting.receivables").await, rands(30_000));
    assert_eq!(value(&t, "select receivables from reporting.position order by day desc limit 1").await, rands(30_000));
    assert_eq!(value(&t, "select booked from reporting.fees where kind = 'deposit'").await, "2.90");
    let fees = value(
        &t,
        "select basis_points = round(booked * 10000 / turnover, 2) from reporting.fees where kind = 'deposit'",
    );
    assert_eq!(fees.await, "true");
    // A payout's fee has the deposit's code and leg; the row's first transfer tells them apart.
    let (fees, balance) = (t.app.ledger.provider_fees(Currency::ZAR), t.app.ledger.provider_balance(Currency::ZAR));
    let amount = Amount::new(500, Currency::ZAR).expect("an amount");
    let id = TransferId::of(paid, Leg::ProviderFee);
    let fee = Transfer::new(id, fees, balance, amount, TransferCode::ProviderFee);
    t.app.ledger.transfer(fee).await.expect("booked");
    assert_is_what_the_ledger_says(&t).await;
    let booked = "select string_agg(kind || ' ' || booked, ', ' order by kind) from reporting.fees";
    assert_eq!(value(&t, booked).await, "deposit 2.90, withdrawal 5.00");
    for (what, found) in [
        ("payments where kind = 'withdrawal' and state = 'completed'", "1"),
        ("payment_states", "4"),
        ("payment_transfers", "3"),
    ] {
        let glue = if what.contains("where") { "and" } else { "where" };
        let sql = |pasted: &str| {
            format!("select count(*) from reporting.{what} {glue} payment_id = reporting.payment_id('{pasted}')")
        };
        assert_eq!(value(&t, &sql(&format!(" {paid} "))).await, found, "{what}");
        for pasted in ["", "not an id", &format!("{paid}0"), &"0".repeat(10_000)] {
            assert_eq!(value(&t, &sql(pasted)).await, "0", "{what}");
        }
    }
    assert_ne!(
        value(
            &t,
            &format!("select count(*) from reporting.payment_events where payment_id = reporting.payment_id('{paid}')")
        )
        .await,
        "0"
    );
    let reasons = format!(
        "select string_agg(reason || ' ' || kind || ' ' || amount, ', ' order by at) from reporting.payment_transfers where payment_id = reporting.payment_id('{paid}')"
    );
    assert_eq!(
        value(&t, &reasons).await,
        "Withdrawal pending 200.00, Withdrawal post 200.00, Provider fee posted 5.00"
    );
    let of_customer = format!("select sum(amount) from reporting.reservations where customer_id = '{}'", customer.id);
    assert_eq!(value(&t, &of_customer).await, "50.55");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn what_the_company_books_is_in_the_position_and_on_its_way_it_stands_apart(db: PgPool) {
    let t = TestApp::new(db).await;
    every_flow(&t).await;
    every_journal(&t).await;
    assert_is_what_the_ledger_says(&t).await;
    let today = "from reporting.position where currency = 'ZAR' and day = reporting.day(now())";
    assert_eq!(value(&t, &format!("select in_transit {today}")).await, rands(11_111 + 333));
    let posted = t.system_balance(AccountCode::Bank).await.posted();
    assert_eq!(value(&t, &format!("select bank {today}")).await, rands(posted - 333));
    let provider = t.system_balance(AccountCode::ProviderBalance).await;
    assert_eq!(value(&t, &format!("select at_provider {today}")).await, rands(provider.posted() - 11_111));
    assert_eq!(
        value(&t, "select reserved from reporting.float").await,
        rands(provider.credits_pending - 11_111 - 5_055)
    );
    assert_eq!(
        value(&t, "select booked || ' ' || invoiced from reporting.fees where kind = 'invoice'").await,
        "0.77 0.77"
    );
    let fees = t.system_balance(AccountCode::ProviderFees).await.posted();
    assert_eq!(value(&t, "select sum(booked) from reporting.fees").await, rands(fees + 300), "all that 5000 took");
    assert_eq!(
        value(&t, "select count(*) from reporting.balances where currency = 'ZAR'").await,
        "9",
        "one day, nine accounts"
    );
    // The chart of dashboards is the ledger's.
    for code in AccountCode::ALL {
        let side = if code.normal_side() == Side::Debit { "debit" } else { "credit" };
        let sql = format!("select name || ' ' || side from reporting.accounts where code = {}", code.code());
        assert_eq!(value(&t, &sql).await, format!("{} {side}", code.name()));
    }
    for code in TransferCode::ALL.into_iter().filter(|code| code.code() < 900) {
        let sql = format!("select name from reporting.reasons where code = {}", code.code());
        assert_eq!(value(&t, &sql).await, code.name());
    }
    assert_eq!(projector::verify(&t.app).await.expect("compared").wrong(), 0);
}

#[sqlx::test]
async fn the_float_is_what_revio_would_pay_out_and_what_it_has_not_executed(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    t.withdraw(&customer, 3_000, "w1").await;
    t.drive().await;
    let waits = t.withdraw(&customer, 2_000, "w2").await.id();
    assert_eq!(t.state(waits).await, "reserved");
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let float = "select available || ' ' || reserved from reporting.float";
    assert_eq!(value(&t, float).await, "70.00 20.00", "as the ledger has it");
    reconciliation::measure(&t.app).await.expect("measured");
    let metrics = t.app.metrics.render();
    assert!(metrics.contains("octoco_payouts_under_way_minor{currency=\"ZAR\"} 3000"), "{metrics}");
    // Of what Revio says, what it keeps back is not there to be paid out, though it is ours.
    sqlx::raw_sql(
        "insert into reconciliation_runs (id, kind, legs, state, since, until, accounting_day, requested_by, started_at, finished_at)
         values ('0199aaaa-0000-7000-8000-000000000000', 'daily', '{b}', 'finished', now(), now(), reporting.day(now()), 'system', now(), now());
         insert into provider_balances select '0199aaaa-0000-7000-8000-000000000000', 'ZAR', field, minor, 7000, now()
           from (values ('available_balance', 5800), ('available_payout_balance', 700), ('reserved', 500), ('ours', 7000)) as said (field, minor)",
    )
    .execute(&db)
    .await
    .expect("written");
    assert_eq!(value(&t, float).await, "65.00 20.00");
    let long_ago = "update provider_balances set asked_at = now() - interval '61 minutes'";
    sqlx::query(long_ago).execute(&db).await.expect("written");
    assert_eq!(value(&t, float).await, "70.00 20.00", "what it said an hour ago it says no more");
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_day_that_is_over_counts_by_its_daily_run_alone(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    sqlx::raw_sql(
        "insert into reconciliation_runs (id, kind, legs, state, since, until, accounting_day, requested_by, started_at, finished_at)
         select gen_random_uuid(), kind, legs::text[], state, now(), now(), reporting.day(now()) - ago, 'system', now(), now()
           from (values ('daily', '{a,b,c}', 'finished', 3), ('daily', '{a,b,c}', 'failed', 2), ('manual', '{a,b,c}', 'finished', 2),
                        ('quarter_hour', '{a,b}', 'finished', 2), ('statement', '{b,c}', 'finished', 1), ('quarter_hour', '{a,b}', 'finished', 1),
                        ('quarter_hour', '{a,b}', 'finished', 0)) as runs (kind, legs, state, ago)",
    )
    .execute(&db)
    .await
    .expect("written");
    let said = "select string_agg(leg || ' ' || outcome, ', ' order by day, leg) from reporting.run_days";
    assert_eq!(
        value(&t, said).await,
        "a clean, b clean, c clean, a failed, b failed, c failed, a missing, b missing, c missing, a clean, b clean, c missing"
    );
}

#[sqlx::test]
async fn what_happened_is_counted_by_quarters_of_an_hour_and_only_once(db: PgPool) {
    let t = TestApp::new(db).await;
    every_flow(&t).await;
    t.advance(TimeDelta::minutes(1));
    t.drive().await;
    while slots::step(&t.app).await.expect("counted") {}
    let counted = "select string_agg(r, ', ' order by r) from (select kind || ' ' || state || ' ' || sum(count) || ' ' || sum(amount) as r
                     from reporting.activity group by kind, state) s";
    let rows = "select string_agg(r, ', ' order by r) from (
                    select t.kind || ' ' || s.state || ' ' || count(*) || ' ' || round(sum(t.amount_minor) / 100, 2) as r
                      from transactions t, unnest(string_to_array(t.states, ' ')) s (state) group by t.kind, s.state) x";
    let said = value(&t, counted).await;
    assert_eq!(said, value(&t, rows).await);
    assert!(said.contains("deposit completed 2 1400.00"), "{said}");
    assert_eq!(
        value(&t, "select string_agg(distinct reason, ',') from reporting.activity where state = 'failed'").await,
        "provider_could_not_pay"
    );
    assert_eq!(
        value(&t, "select sum(count) from reporting.webhooks").await,
        value(&t, "select count(*) from webhook_logs").await
    );
    assert_eq!(value(&t, "select count(*) > 0 and bool_and(p50_seconds <= p95_seconds and p95_seconds <= p99_seconds) from reporting.completion_times").await, "true");
    // A step later, an hour later, a day later: the same.
    for pause in [TimeDelta::minutes(1), TimeDelta::hours(3), TimeDelta::days(2)] {
        t.advance(pause);
        while slots::step(&t.app).await.expect("counted") {}
        assert_eq!(value(&t, counted).await, said);
    }
    assert_eq!(
        value(&t, "select outflow_p90_hour is null and hours_covered is null from reporting.float").await,
        "true",
        "long ago"
    );
}
