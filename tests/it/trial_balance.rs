//! The trial balance equals the ledger to the cent, at any moment that there was, and is not shown when it does not tie out.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{Account, AccountCode, Currency, Side};
use octoco::books::projector;
use octoco::finance::days;
use octoco::finance::trial_balance::{self, Line};
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use revio_sim::{Pay, PayoutBehaviour};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Customer, TestApp};

/// The cluster's clock is the machine's, the service's stands still where a test put it: here it is put behind everything that the ledger
/// has booked, and as much further as is asked.
pub(crate) async fn pass_the_ledgers_present(t: &TestApp, further: TimeDelta) {
    let ahead = last(t).await.1 - t.app.clock.now() + further;
    if ahead > TimeDelta::zero() {
        t.advance(ahead);
        t.drive().await;
    }
}

/// The last change of Revio's account, on the cluster's clock.
async fn last(t: &TestApp) -> (u64, DateTime<Utc>) {
    let provider = t.app.ledger.provider_balance(Currency::ZAR);
    let (last, _) =
        t.app.ledger.last_change(provider, u64::MAX).await.expect("the ledger answers").expect("it was used");
    (last, DateTime::from_timestamp_nanos(i64::try_from(last).expect("a timestamp")))
}

/// Debits less credits of every account of the chart, as TigerBeetle has them now.
async fn nets(t: &TestApp, customers: &[Uuid]) -> Vec<(u16, i64)> {
    let mut nets = Vec::new();
    for code in AccountCode::ALL {
        let mut net = 0;
        let accounts: Vec<Account> = match code {
            AccountCode::CustomerWallet => customers.iter().map(|user| Account::wallet(*user, Currency::ZAR)).collect(),
            AccountCode::CustomerReceivable => {
                customers.iter().map(|user| Account::receivable(*user, Currency::ZAR)).collect()
            }
            code => vec![t.app.ledger.system(code, Currency::ZAR)],
        };
        for balance in t.app.ledger.balances(&accounts).await.expect("the ledger answers") {
            net += if code.normal_side() == Side::Debit { balance.posted() } else { -balance.posted() };
        }
        nets.push((code.code(), net));
    }
    nets
}

fn told(lines: &[Line]) -> Vec<(u16, i64)> {
    lines.iter().map(|line| (line.code, line.net())).collect()
}

/// Money in with fees, out, back, charged back and owed: every account but those that only journals move. What the ledger held after each
/// step, and when that was.
pub(crate) async fn a_mix_of_flows(t: &TestApp) -> Vec<(u64, Vec<(u16, i64)>)> {
    let (first, second) = (t.customer().await, t.customer().await);
    let users = [first.id, second.id];
    let mut seen = Vec::new();
    for (number, customer) in [&first, &second, &first].into_iter().enumerate() {
        let deposit = t.deposit(customer, 20_000, &format!("d{number}")).await;
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay { fee: 300, ..Pay::default() }).expect("it can be paid");
        t.drive().await;
        seen.push((last(t).await.0, nets(t, &users).await));
    }
    let withdrawal = t.withdraw(&second, 15_000, "w1").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    seen.push((last(t).await.0, nets(t, &users).await));
    let purchase = only_purchase(t, &second).await;
    t.sim.charge_back_purchase(purchase).expect("it can be charged back");
    t.drive().await;
    assert!(t.owed(second.id).await > 0);
    // What the wallet repays follows in the same chain, a nanosecond later.
    seen.push((last(t).await.0 + 1, nets(t, &users).await));
    t.sim.refund_purchase(only_purchase(t, &first).await, Some(1_500)).expect("refundable");
    t.drive().await;
    // A reservation is in no trial balance.
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    t.withdraw(&first, 700, "w2").await;
    t.drive().await;
    seen.push((last(t).await.0, nets(t, &users).await));
    seen
}

async fn only_purchase(t: &TestApp, customer: &Customer) -> Uuid {
    let id: Uuid =
        sqlx::query_scalar("select id from transactions where user_id = $1 and kind = 'deposit' order by id limit 1")
            .bind(customer.id)
            .fetch_one(&t.app.db)
            .await
            .expect("a deposit");
    t.purchase_of(id)
}

async fn finish(t: TestApp) {
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.finish_with_held().await;
}

#[sqlx::test]
async fn it_equals_the_ledger_to_the_cent_at_every_moment_that_there_was(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let seen = a_mix_of_flows(&t).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    for (at, expected) in &seen {
        let lines = trial_balance::at(&t.app, &db, Currency::ZAR, *at).await.expect("it ties out");
        assert_eq!(&told(&lines), expected);
        assert_eq!(lines.iter().map(Line::net).sum::<i64>(), 0);
    }
    let before = trial_balance::at(&t.app, &db, Currency::ZAR, seen[0].0 - 1).await.expect("it ties out");
    assert_ne!(told(&before), seen[0].1);
    assert!(seen.windows(2).all(|pair| pair[0].1 != pair[1].1));
    finish(t).await;
}

#[sqlx::test]
async fn a_day_is_told_when_the_copy_has_reached_its_end_and_todays_as_far_as_it_goes(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let seen = a_mix_of_flows(&t).await;
    let day = days::of(&t.app, last(&t).await.1).await.expect("a day");
    pass_the_ledgers_present(&t, TimeDelta::days(1)).await;
    let finance = t.staff(Role::Finance).await;
    let path = |query: &str| format!("/v1/admin/trial-balance?currency=ZAR{query}");
    let behind = t.get(&finance, &path(&format!("&day={day}"))).await;
    assert_eq!((behind.status, behind.code()), (StatusCode::SERVICE_UNAVAILABLE, "books_behind"));
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let answer = t.get(&finance, &path(&format!("&day={day}"))).await;
    assert_eq!((answer.status, &answer.body["final"]), (StatusCode::OK, &true.into()), "{}", answer.body);
    let accounts = answer.body["accounts"].as_array().expect("accounts");
    let number = |value: &Value| value.as_i64().expect("a number");
    let told: Vec<(u16, i64)> = accounts
        .iter()
        .map(|line| {
            (u16::try_from(number(&line["code"])).expect("a code"), number(&line["debit"]) - number(&line["credit"]))
        })
        .collect();
    assert_eq!(Some(&told), seen.last().map(|(_, nets)| nets));
    assert_eq!(answer.body["total_debit"], answer.body["total_credit"]);
    let before = t.get(&finance, &path(&format!("&day={}", days::before(day, 1)))).await;
    assert_eq!(before.body["total_debit"], 0, "{}", before.body);
    let today = t.get(&finance, &path("")).await;
    assert_eq!((&today.body["final"], &today.body["accounts"]), (&false.into(), &answer.body["accounts"]));
    let csv = t.get(&finance, &path(&format!("&day={day}&format=csv"))).await;
    let text = csv.body.as_str().expect("text");
    assert!(text.starts_with("currency,code,name,title,section,debit_minor,credit_minor,debit,credit\r\n"), "{text}");
    assert_eq!(text.lines().count(), 11);
    let total = number(&answer.body["total_debit"]);
    let decimal = format!("{}.{:02}", total / 100, total % 100);
    assert!(text.ends_with(&format!("ZAR,,total,Total,,{total},{total},{decimal},{decimal}\r\n")), "{text}");
    let support = t.staff(Role::Support).await;
    assert_eq!(t.get(&support, &path("")).await.status, StatusCode::FORBIDDEN);
    for wrong in ["&day=soon", "&day=2100-01-01", "&format=pdf", "&more=1"] {
        assert_eq!(t.get(&finance, &path(wrong)).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    finish(t).await;
}

#[sqlx::test]
async fn one_that_does_not_tie_out_is_not_shown_and_raises_an_alarm(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    a_mix_of_flows(&t).await;
    pass_the_ledgers_present(&t, TimeDelta::minutes(5)).await;
    let finance = t.staff(Role::Finance).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let wrong = "update ledger_accounts set credits_posted = credits_posted + 1 where id = (select id from ledger_accounts where code = 2000 order by id limit 1)";
    sqlx::query(wrong).execute(&db).await.expect("written");
    let answer = t.get(&finance, "/v1/admin/trial-balance?currency=ZAR").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::INTERNAL_SERVER_ERROR, "internal"));
    assert!(t.app.metrics.render().contains("octoco_statement_mismatches_total 1"));
    sqlx::query(sqlx::AssertSqlSafe(wrong.replace("+ 1", "- 1"))).execute(&db).await.expect("written");
    finish(t).await;
}
