//! Customers that staff freeze or close, and limits of what may leave: the ledger decides, whatever comes at once.

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Pay, PayoutBehaviour, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::crashes::Crashes;
use crate::four_eyes;
use crate::harness::{Answer, Customer, TestApp};

/// What one of the staff does to a customer. What takes two is approved by another; then the answer is what became of the restrictions.
pub(crate) async fn act(t: &TestApp, staff: &Customer, customer: &Customer, what: &str) -> Answer {
    let before = if matches!(what, "unfreeze" | "reopen") { restrictions_of(t, customer).await } else { Vec::new() };
    let done = act_alone(t, staff, customer, what).await;
    if done.status != StatusCode::ACCEPTED {
        return done;
    }
    let approved = four_eyes::approve(t, &t.staff(Role::Finance).await, &done).await;
    if approved.status != StatusCode::OK {
        return approved;
    }
    let was_lifted = |row: &Value| before.iter().any(|live| live["id"] == row["id"] && live["state"] != "lifted");
    let now = restrictions_of(t, customer).await;
    let data: Vec<Value> = now.into_iter().filter(|row| was_lifted(row)).collect();
    Answer { body: json!({"data": data}), ..approved }
}

async fn restrictions_of(t: &TestApp, customer: &Customer) -> Vec<Value> {
    let support = t.staff(Role::Support).await;
    let all = t.get(&support, &format!("/v1/admin/users/{}/restrictions", customer.id)).await;
    all.body["data"].as_array().cloned().unwrap_or_default()
}

pub(crate) async fn act_alone(t: &TestApp, staff: &Customer, customer: &Customer, what: &str) -> Answer {
    let body = matches!(what, "freeze" | "close").then(|| json!({"reason": "case 4711"}));
    let path = format!("/v1/admin/users/{}/{what}", customer.id);
    t.send(Method::POST, &path, Some(&t.token(staff)), &[], body).await
}

pub(crate) fn states(answer: &Answer) -> Vec<&str> {
    let rows = answer.body["data"].as_array().unwrap_or_else(|| panic!("a list: {}", answer.body));
    rows.iter().filter_map(|row| row["state"].as_str()).collect()
}

/// A customer to be closed: the rows are written, and before the ledger hears of them a late payment comes in one currency.
pub(crate) async fn half_closed(t: &TestApp, staff: &Customer, next: &Crashes) -> Customer {
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 700, "d").await;
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    next.at("restriction.inserted");
    act(t, staff, &customer, "close").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay { force: true, ..Pay::default() }).expect("a late payment");
    t.drive().await;
    customer
}

async fn states_of(t: &TestApp, staff: &Customer, customer: &Customer) -> Vec<String> {
    let all = t.get(staff, &format!("/v1/admin/users/{}/restrictions", customer.id)).await;
    states(&all).into_iter().map(str::to_owned).collect()
}

fn state(answer: &Answer) -> &str {
    answer.body["data"][0]["state"].as_str().unwrap_or_default()
}

#[sqlx::test]
async fn a_frozen_customer_withdraws_nothing_and_is_still_credited(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer_with(10_000).await);
    for _ in 0..2 {
        let frozen = act(&t, &staff, &customer, "freeze").await;
        assert_eq!((frozen.status, state(&frozen)), (StatusCode::OK, "in_force"), "{}", frozen.body);
    }
    for replayed in [false, true] {
        let refused = t.withdraw(&customer, 1_000, "w").await;
        assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "account_frozen"));
        assert_eq!(refused.replayed(), replayed);
    }
    let deposit = t.deposit(&customer, 500, "d").await;
    t.pay(&deposit).await;
    assert_eq!(t.balance(&customer).await, (10_500, 0, 10_500));
    let lifted = act(&t, &staff, &customer, "unfreeze").await;
    assert_eq!(state(&lifted), "lifted", "{}", lifted.body);
    assert_eq!(t.withdraw(&customer, 1_000, "w2").await.status, StatusCode::ACCEPTED);
    let nothing = act(&t, &staff, &customer, "unfreeze").await;
    assert_eq!((nothing.status, nothing.code()), (StatusCode::NOT_FOUND, "not_found"));
    let all = t.get(&staff, &format!("/v1/admin/users/{}/restrictions", customer.id)).await;
    assert_eq!(all.body["data"].as_array().map(Vec::len), Some(1), "{}", all.body);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_is_not_on_its_way_yet_waits_for_the_end_of_the_freeze(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer_with(10_000).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await;
    act(&t, &staff, &customer, "freeze").await;
    t.drive().await;
    assert_eq!(t.held_reason(withdrawal.id()).await.as_deref(), Some("the customer is frozen"));
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    let path = format!("/v1/admin/held/{}/resolve", withdrawal.id());
    let body = json!({"action": "retry", "note": "let it go"});
    let retried = t.send(Method::POST, &path, Some(&t.token(&staff)), &[], Some(body)).await;
    assert_eq!(retried.status, StatusCode::OK);
    t.drive().await;
    assert!(t.held_reason(withdrawal.id()).await.is_some(), "nobody gets past a freeze by a retry");
    // Much longer than a payout's window, and than payouts are replaced by themselves.
    t.advance(TimeDelta::days(3));
    t.drive().await;
    act(&t, &staff, &customer, "unfreeze").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn an_account_is_closed_only_when_it_is_empty(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Admin).await, t.customer_with(1_000).await);
    let full = act(&t, &staff, &customer, "close").await;
    assert_eq!((full.status, full.code()), (StatusCode::CONFLICT, "account_not_empty"));
    t.withdraw(&customer, 1_000, "all").await;
    let busy = act(&t, &staff, &customer, "close").await;
    assert_eq!(busy.code(), "account_not_empty", "a withdrawal is under way");
    t.drive().await;
    let closed = act(&t, &staff, &customer, "close").await;
    assert_eq!((closed.status, state(&closed)), (StatusCode::OK, "in_force"), "{}", closed.body);
    let deposit = t.deposit(&customer, 500, "d").await;
    assert_eq!((deposit.status, deposit.code()), (StatusCode::UNPROCESSABLE_ENTITY, "account_closed"));
    let withdrawal = t.withdraw(&customer, 500, "w").await;
    assert_eq!(withdrawal.code(), "account_closed", "{}", withdrawal.body);
    assert_eq!(state(&act(&t, &staff, &customer, "reopen").await), "lifted");
    let deposit = t.deposit(&customer, 500, "d").await;
    t.pay(&deposit).await;
    assert_eq!(t.balance(&customer).await, (500, 0, 500));
    t.finish().await;
}

/// A freeze is how staff are stopped, and a closed wallet takes none.
#[sqlx::test]
async fn staff_are_not_closed_and_whoever_is_closed_becomes_no_staff(db: PgPool) {
    let t = TestApp::new(db).await;
    let (admin, member, customer) = (t.staff(Role::Admin).await, t.staff(Role::Finance).await, t.customer().await);
    let closed = act(&t, &admin, &member, "close").await;
    assert_eq!((closed.code(), &closed.body["reason"]), ("forbidden", &json!("staff_account")), "{}", closed.body);
    assert_eq!(state(&act(&t, &admin, &member, "freeze").await), "in_force");
    assert_eq!(state(&act(&t, &admin, &customer, "close").await), "in_force");
    let path = format!("/v1/admin/users/{}", customer.id);
    let asked = t.send(Method::PATCH, &path, Some(&t.token(&admin)), &[], Some(json!({"role": "finance"}))).await;
    assert_eq!((asked.status, asked.code()), (StatusCode::UNPROCESSABLE_ENTITY, "account_closed"), "{}", asked.body);
    t.finish().await;
}

#[sqlx::test]
async fn money_that_comes_for_a_closed_wallet_is_set_aside_and_a_person_looks(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Admin).await, t.customer().await);
    let deposit = t.deposit(&customer, 700, "d").await;
    let purchase = t.purchase_of(deposit.id());
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    assert_eq!(t.state(deposit.id()).await, "expired");
    assert_eq!(state(&act(&t, &staff, &customer, "close").await), "in_force");
    t.sim.pay_purchase(purchase, Pay { force: true, ..Pay::default() }).expect("a late payment");
    t.drive().await;
    let reason = t.held_reason(deposit.id()).await.expect("held");
    assert!(reason.contains("closed wallet"), "{reason}");
    let suspense = t.system_balance(ledger::AccountCode::Suspense).await;
    assert_eq!(suspense.posted(), 700);
    t.sim.refund_purchase(purchase, None).expect("the payer gets it back");
    t.drive().await;
    assert_eq!(t.system_balance(ledger::AccountCode::Suspense).await.posted(), 0, "refunded at Revio: no longer here");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn nobody_freezes_oneself_and_customers_nobody(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer().await);
    for what in ["freeze", "unfreeze", "close", "reopen"] {
        assert_eq!(act(&t, &staff, &staff, what).await.code(), "forbidden", "{what}");
        assert_eq!(act(&t, &customer, &staff, what).await.code(), "forbidden", "{what}");
    }
    let stranger = Customer { id: uuid::Uuid::now_v7(), ..t.customer().await };
    assert_eq!(act(&t, &staff, &stranger, "freeze").await.code(), "not_found");
    let path = format!("/v1/admin/users/{}/freeze", customer.id);
    let empty = t.send(Method::POST, &path, Some(&t.token(&staff)), &[], Some(json!({"reason": " "}))).await;
    assert_eq!((empty.code(), &empty.body["errors"][0]["field"]), ("invalid_request", &json!("reason")));
    t.finish().await;
}

#[sqlx::test]
async fn what_was_asked_for_against_a_closure_that_came_to_nothing_opens_no_later_one(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let deposit = t.deposit(&customer, 700, "d").await;
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    next.at("restriction.inserted");
    assert!(act(&t, &staff, &customer, "close").await.status.is_server_error());
    let asked = act_alone(&t, &staff, &customer, "reopen").await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay { force: true, ..Pay::default() }).expect("a late payment");
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(states_of(&t, &staff, &customer).await, ["lifted"], "it was not empty");
    assert_eq!(t.withdraw(&customer, 700, "w").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    assert_eq!(state(&act(&t, &staff, &customer, "close").await), "in_force");
    let refused = four_eyes::approve(&t, &t.staff(Role::Finance).await, &asked).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "stale_state"), "{}", refused.body);
    assert_eq!(t.deposit(&customer, 100, "d2").await.code(), "account_closed");
    t.finish().await;
}

/// Dies once, at the point that is set.
#[sqlx::test]
async fn what_died_half_way_is_finished_by_the_worker_or_by_a_repeat(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer().await);
    let newest = async || {
        let all = t.get(&staff, &format!("/v1/admin/users/{}/restrictions", customer.id)).await;
        all.body["data"][0]["state"].as_str().map(str::to_owned).expect("a state")
    };
    let ways = [
        ("freeze", "restriction.inserted", "initiated", "in_force"),
        ("unfreeze", "restriction.lifting", "lifting", "lifted"),
        ("freeze", "restriction.shut", "initiated", "in_force"),
        ("unfreeze", "restriction.opened", "lifting", "lifted"),
        ("close", "restriction.shut", "initiated", "in_force"),
        ("reopen", "restriction.lifting", "lifting", "lifted"),
        ("close", "restriction.closed", "initiated", "in_force"),
        ("reopen", "restriction.opened", "lifting", "lifted"),
    ];
    for by_a_repeat in [false, true] {
        for (what, point, half_way, end) in ways {
            // Ids are in the order of time: rows of one moment would be listed in any order.
            t.advance(TimeDelta::seconds(1));
            next.at(point);
            assert!(act(&t, &staff, &customer, what).await.status.is_server_error(), "{what} dies at {point}");
            assert_eq!(newest().await, half_way, "{what} died at {point}");
            if by_a_repeat {
                let repeated = act(&t, &staff, &customer, what).await;
                assert_eq!((repeated.status, state(&repeated)), (StatusCode::OK, end), "{what} died at {point}");
            } else {
                t.advance(TimeDelta::minutes(2));
                t.drive().await;
            }
            assert_eq!(newest().await, end, "{what} died at {point}, repeated: {by_a_repeat}");
        }
    }
    let deposit = t.deposit(&customer, 500, "d").await;
    t.pay(&deposit).await;
    assert_eq!(t.withdraw(&customer, 500, "w").await.status, StatusCode::ACCEPTED, "everything is open again");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_closure_that_a_payment_overtakes_is_refused_by_the_ledger_and_undone(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let (staff, customer) = (t.staff(Role::Admin).await, t.customer().await);
    let deposit = t.deposit(&customer, 700, "d").await;
    t.advance(TimeDelta::hours(2));
    t.drive().await;
    next.at("restriction.inserted");
    act(&t, &staff, &customer, "close").await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay { force: true, ..Pay::default() }).expect("a late payment");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (700, 0, 700));
    let refused = act(&t, &staff, &customer, "close").await;
    assert_eq!(refused.code(), "account_not_empty");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    let all = t.get(&staff, "/v1/admin/restrictions?state=lifted").await;
    assert_eq!(all.body["data"][0]["user_id"], json!(customer.id), "{}", all.body);
    for unfinished in ["initiated", "lifting", "in_force"] {
        let none = t.get(&staff, &format!("/v1/admin/restrictions?state={unfinished}")).await;
        assert_eq!(none.body["data"], json!([]), "{unfinished}");
    }
    assert_eq!(t.withdraw(&customer, 700, "w").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_frozen_customer_is_not_closed_and_a_closed_one_not_frozen(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Admin).await, t.customer().await);
    act(&t, &staff, &customer, "freeze").await;
    assert_eq!(act(&t, &staff, &customer, "close").await.code(), "account_frozen");
    act(&t, &staff, &customer, "unfreeze").await;
    act(&t, &staff, &customer, "close").await;
    assert_eq!(act(&t, &staff, &customer, "freeze").await.code(), "account_closed");
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_revio_has_not_executed_is_not_executed_again_while_its_customer_is_frozen(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer_with(10_000).await);
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "submitting");
    act(&t, &staff, &customer, "freeze").await;
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(t.held_reason(withdrawal.id()).await.as_deref(), Some("the customer is frozen"));
    act(&t, &staff, &customer, "unfreeze").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

#[sqlx::test]
async fn parallel_withdrawals_at_the_daily_limit_pass_exactly_as_often_as_it_allows(db: PgPool) {
    let t = TestApp::with(db, &[("WITHDRAWAL_LIMITS", "ZAR:3000:10000")]).await;
    let customer = t.customer_with(100_000).await;
    let keys: Vec<String> = (0..40).map(|index| format!("w{index}")).collect();
    let all = keys.iter().map(|key| t.withdraw(&customer, 900, key));
    let answers = futures_util::future::join_all(all).await;
    let passed = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).count();
    assert_eq!(passed, 11, "11 times 900 are the most within 10000");
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != StatusCode::ACCEPTED).collect();
    assert!(refused.iter().all(|answer| answer.code() == "limit_exceeded"), "{:?}", refused[0].body);
    assert_eq!(t.withdraw(&customer, 3_001, "once").await.code(), "limit_exceeded");
    let again = t.withdraw(&customer, 3_001, "once").await;
    assert_eq!((again.code(), again.replayed()), ("limit_exceeded", true));
    t.drive().await;
    assert_eq!(t.withdraw(&customer, 900, "paid").await.code(), "limit_exceeded", "what was paid still counts");
    assert_eq!(t.withdraw(&customer, 100, "rest").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_withdrawal_that_revio_does_not_pay_gives_its_part_of_the_limit_back(db: PgPool) {
    let t = TestApp::with(db, &[("WITHDRAWAL_LIMITS", "ZAR:10000:10000")]).await;
    let customer = t.customer_with(50_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "do_not_honour".to_owned() });
    let failed = t.withdraw(&customer, 10_000, "a").await;
    t.drive().await;
    assert_eq!(t.state(failed.id()).await, "failed");
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    assert_eq!(t.withdraw(&customer, 10_000, "b").await.status, StatusCode::ACCEPTED);
    assert_eq!(t.withdraw(&customer, 1, "c").await.code(), "limit_exceeded");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_chargeback_after_the_closure_is_owed_and_one_that_is_won_is_set_aside(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Admin).await, t.customer().await);
    let deposit = t.deposit(&customer, 800, "d").await;
    t.pay(&deposit).await;
    t.withdraw(&customer, 800, "all").await;
    t.drive().await;
    assert_eq!(state(&act(&t, &staff, &customer, "close").await), "in_force");
    let purchase = t.purchase_of(deposit.id());
    t.sim.charge_back_purchase(purchase).expect("charged back");
    t.drive().await;
    assert_eq!(t.owed(customer.id).await, 800, "the wallet is empty and closed");
    t.sim.reverse_charge_back(purchase).expect("won");
    t.drive().await;
    assert_eq!(t.system_balance(ledger::AccountCode::Suspense).await.posted(), 800);
    t.finish_with_held().await;
}

#[sqlx::test]
async fn of_several_currencies_none_is_closed_alone_wherever_it_dies(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[("CURRENCIES", "USD,ZAR")], next.plan()).await;
    let staff = t.staff(Role::Admin).await;
    for point in [None, Some("restriction.closed"), Some("restriction.refused"), Some("restriction.opened")] {
        let customer = half_closed(&t, &staff, &next).await;
        if let Some(point) = point {
            next.at(point);
        }
        for _ in 0..4 {
            t.advance(TimeDelta::minutes(20));
            t.drive().await;
        }
        assert_eq!(states_of(&t, &staff, &customer).await, ["lifted", "lifted"], "died at {point:?}");
        assert_eq!(t.withdraw(&customer, 700, "w").await.status, StatusCode::ACCEPTED, "died at {point:?}");
        t.drive().await;
        let closed = act(&t, &staff, &customer, "close").await;
        assert_eq!(states(&closed), ["in_force", "in_force"]);
    }
    t.finish().await;
}

#[sqlx::test]
async fn of_several_currencies_none_is_closed_alone_when_they_are_stepped_at_once(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[("CURRENCIES", "USD,ZAR")], next.plan()).await;
    let staff = t.staff(Role::Admin).await;
    // The refusal of one currency is decided, but not yet committed, while the other one comes into force.
    let slow = "create function slow() returns trigger language plpgsql as $$ begin
            perform pg_sleep(case new.state when 'lifting' then 0.6 when 'in_force' then 0.2 else 0 end); return null; end $$;
        create constraint trigger slow after update on restrictions deferrable initially deferred
            for each row execute function slow();";
    sqlx::raw_sql(slow).execute(&t.app.db).await.expect("a trigger");
    let customer = half_closed(&t, &staff, &next).await;
    t.advance(TimeDelta::minutes(20));
    t.drive().await;
    assert_eq!(states_of(&t, &staff, &customer).await, ["lifted", "lifted"]);
    t.finish().await;
}

/// As an older database has it: the rows are gone, and what they did in the ledger stands.
async fn forget_restrictions(t: &TestApp) {
    sqlx::query("delete from restrictions").execute(&t.app.db).await.expect("deleted");
}

#[sqlx::test]
async fn a_freeze_that_a_restore_made_forget_is_made_again_and_lifted(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer_with(10_000).await);
    act(&t, &staff, &customer, "freeze").await;
    forget_restrictions(&t).await;
    assert_eq!(t.withdraw(&customer, 1_000, "w1").await.code(), "account_frozen");
    t.advance(TimeDelta::minutes(1));
    let frozen = act(&t, &staff, &customer, "freeze").await;
    assert_eq!((frozen.status, state(&frozen)), (StatusCode::OK, "in_force"), "{}", frozen.body);
    assert_eq!(t.withdraw(&customer, 1_000, "w2").await.code(), "account_frozen");
    let lifted = act(&t, &staff, &customer, "unfreeze").await;
    assert_eq!(state(&lifted), "lifted", "{}", lifted.body);
    assert_eq!(t.withdraw(&customer, 1_000, "w3").await.status, StatusCode::ACCEPTED);
    // And from then on as ever.
    for key in ["w4", "w5"] {
        t.advance(TimeDelta::minutes(1));
        assert_eq!(state(&act(&t, &staff, &customer, "freeze").await), "in_force");
        assert_eq!(t.withdraw(&customer, 1_000, key).await.code(), "account_frozen");
        assert_eq!(state(&act(&t, &staff, &customer, "unfreeze").await), "lifted");
    }
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn of_somebody_whose_freeze_a_restore_made_forget_nothing_is_paid_out_before_a_person_has_looked(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Finance).await, t.customer_with(10_000).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    act(&t, &staff, &customer, "freeze").await;
    forget_restrictions(&t).await;
    t.drive().await;
    let reason = t.held_reason(withdrawal).await.expect("held");
    assert!(reason.contains("no freeze is known"), "{reason}");
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 0);
    t.advance(TimeDelta::minutes(1));
    act(&t, &staff, &customer, "freeze").await;
    assert_eq!(state(&act(&t, &staff, &customer, "unfreeze").await), "lifted");
    let body = json!({"action": "retry", "note": "the freeze was looked at"});
    let path = format!("/v1/admin/held/{withdrawal}/resolve");
    let retried = t.send(Method::POST, &path, Some(&t.token(&staff)), &[], Some(body)).await;
    assert_eq!(retried.status, StatusCode::OK, "{}", retried.body);
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    t.finish().await;
}

#[sqlx::test]
async fn a_closure_that_a_restore_made_forget_is_made_again_and_lifted(db: PgPool) {
    let t = TestApp::new(db).await;
    let (staff, customer) = (t.staff(Role::Admin).await, t.customer().await);
    act(&t, &staff, &customer, "close").await;
    forget_restrictions(&t).await;
    t.advance(TimeDelta::minutes(1));
    let closed = act(&t, &staff, &customer, "close").await;
    assert_eq!((closed.status, state(&closed)), (StatusCode::OK, "in_force"), "{}", closed.body);
    let reopened = act(&t, &staff, &customer, "reopen").await;
    assert_eq!(state(&reopened), "lifted", "{}", reopened.body);
    t.pay(&t.deposit(&customer, 500, "d").await).await;
    assert_eq!(t.balance(&customer).await, (500, 0, 500));
    assert_eq!(t.withdraw(&customer, 100, "w").await.status, StatusCode::ACCEPTED);
    t.drive().await;
    // The closing of the lost row, and what undid it, are in the wallet's book: the safe mode lists them.
    assert_eq!(t.assert_read_model_holds().await.len(), 2);
}
