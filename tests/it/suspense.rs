//! Every verified payment of ours ends in a wallet or in suspense, with an open item; what takes from suspense clears one, once.

use chrono::TimeDelta;
use ledger::{AccountCode, Currency};
use octoco::money::transactions;
use octoco::platform::permissions::Role;
use octoco::webhooks::inbox;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Override, Pay, Scope, Settings};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp, stepped};

async fn misfit(t: &TestApp, customer: &Customer, asked: i64, paid: i64, key: &str) -> Uuid {
    let deposit = t.deposit(customer, asked, key).await;
    let pay = Pay { amount: Some(paid), ..Pay::default() };
    t.sim.pay_purchase(t.purchase_of(deposit.id()), pay).expect("payable");
    t.drive().await;
    deposit.id()
}

async fn items(t: &TestApp, staff: &Customer, state: &str) -> Vec<Value> {
    let listed = t.get(staff, &format!("/v1/admin/suspense-items?state={state}")).await;
    assert_eq!(listed.status, StatusCode::OK, "{}", listed.body);
    listed.body["data"].as_array().expect("a list").clone()
}

async fn propose(t: &TestApp, maker: &Customer, customer: &Customer, item: Option<Uuid>, key: &str) -> Answer {
    let body = json!({"user_id": customer.id, "direction": "credit", "amount": 899, "currency": "ZAR",
        "counterpart": "suspense", "reason": "it is theirs", "item_id": item});
    let headers = [("Idempotency-Key", key)];
    t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(maker)), &headers, Some(body)).await
}

async fn approve(t: &TestApp, checker: &Customer, proposed: &Answer) -> Answer {
    let path = format!("/v1/admin/adjustments/{}/approve", proposed.id());
    let body = json!({"adjustment_hash": proposed.body["adjustment_hash"]});
    t.send(Method::POST, &path, Some(&t.token(checker)), &[], Some(body)).await
}

#[sqlx::test]
async fn money_for_a_row_that_is_held_already_is_set_aside_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 900, "d").await.id();
    t.sim.set_override(Override::of(t.purchase_of(deposit), "/marked_as_paid", json!(true)).when("paid"));
    t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(899), ..Pay::default() }).expect("payable");
    t.drive().await;
    assert!(t.held_reason(deposit).await.is_some_and(|reason| reason.contains("marked as paid")));
    t.sim.clear_overrides();
    t.sim.raise_event(t.purchase_of(deposit), "purchase.paid").expect("it is there");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 899);
    let open = items(&t, &finance, "open").await;
    assert_eq!((open.len(), &open[0]["kind"], &open[0]["left"]), (1, &json!("other_amount"), &json!(899)));
    assert_eq!(open[0]["provider_id"], t.purchase_of(deposit).to_string());
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_payment_of_which_no_row_is_known_is_set_aside_and_given_back_from_there(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let deposit = t.deposit(&customer, 900, "d").await.id();
    let purchase = t.purchase_of(deposit);
    for table in ["provider_objects", "transactions"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}"))).execute(&t.app.db).await.expect("deleted");
    }
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    for _ in 0..2 {
        t.drive().await;
        t.sim.raise_event(purchase, "purchase.paid").expect("it is there");
    }
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 900);
    let open = items(&t, &finance, "open").await;
    assert_eq!((open.len(), &open[0]["kind"]), (1, &json!("unknown_row")));
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0);
    assert_eq!(items(&t, &finance, "open").await.len(), 0);
    t.finish().await;
}

#[sqlx::test]
async fn a_payment_that_the_ledger_has_booked_already_is_not_set_aside_when_its_row_is_lost(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(900).await;
    let purchase: Uuid =
        sqlx::query_scalar("select provider_id from transactions").fetch_one(&t.app.db).await.expect("one");
    for table in ["provider_objects", "transactions"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}"))).execute(&t.app.db).await.expect("deleted");
    }
    t.sim.raise_event(purchase, "purchase.settled").expect("it is there");
    for _ in 0..30 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0);
    assert_eq!(t.wallet(customer.id).await.posted(), 900);
    let dead = "select last_error from webhook_logs where state = 'dead'";
    let errors: Vec<String> = sqlx::query_scalar(dead).fetch_all(&t.app.db).await.expect("PostgreSQL answers");
    assert_eq!(errors, [""; 0], "nothing is left to do");
    // But what Revio gives back of it, nobody can take from whom it belongs to.
    t.sim.refund_purchase(purchase, Some(100)).expect("refundable");
    for _ in 0..30 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    let error: String = sqlx::query_scalar(dead).fetch_one(&t.app.db).await.expect("a dead letter");
    assert!(error.contains("is not there"), "{error}");
}

#[sqlx::test]
async fn an_item_is_cleared_once_whoever_comes_first(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let item = misfit(&t, &customer, 900, 899, "d").await;
    let nothing_named = propose(&t, &maker, &customer, None, "k0").await;
    assert_eq!(
        (nothing_named.status, &nothing_named.body["errors"][0]["field"]),
        (StatusCode::BAD_REQUEST, &json!("item_id"))
    );
    let (first, second) = (
        propose(&t, &maker, &customer, Some(item), "k1").await,
        propose(&t, &maker, &customer, Some(item), "k2").await,
    );
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::CREATED), "{}", first.body);
    let version = async || transactions::find(&t.app, item).await.expect("there").version;
    let before = version().await;
    assert_eq!(approve(&t, &checker, &first).await.body["state"], "completed");
    assert!(version().await > before, "what became of it is told as a change");
    let refused = approve(&t, &checker, &second).await;
    assert_eq!((&refused.body["state"], &refused.body["failure_reason"]), (&json!("rejected"), &json!("item_cleared")));
    assert_eq!(propose(&t, &maker, &customer, Some(item), "k3").await.body["errors"][0]["field"], "amount");
    assert_eq!(t.balance(&customer).await, (899, 0, 899));
    assert_eq!(t.get(&customer, &format!("/v1/transactions/{item}")).await.body["outcome"], "credited");
    // What Revio gives back then is not in suspense any more.
    t.sim.refund_purchase(t.purchase_of(item), None).expect("refundable");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0, "never below zero");
    let held: String = sqlx::query_scalar("select held_reason from transactions where kind = 'refund'")
        .fetch_one(&t.app.db)
        .await
        .expect("a refund");
    assert!(held.contains("twice"), "{held}");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn what_is_set_aside_is_given_back_in_parts_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    for key in ["d", "together"] {
        let item = misfit(&t, &customer, 900, 899, key).await;
        t.sim.refund_purchase(t.purchase_of(item), Some(400)).expect("refundable");
        if key != "together" {
            t.drive().await;
            assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 499);
        }
        t.advance(TimeDelta::minutes(2));
        t.sim.refund_purchase(t.purchase_of(item), None).expect("refundable");
        for _ in 0..3 {
            t.drive().await;
            t.advance(TimeDelta::minutes(1));
        }
        assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0, "{key}");
        let shown = t.get(&customer, &format!("/v1/transactions/{item}")).await;
        assert_eq!(shown.body["outcome"], "returned", "{key}");
    }
    t.finish_with_held().await;
}

/// What a month that is over had of an item is told by who claimed it, also of those who gave it up since.
#[sqlx::test]
async fn what_was_given_back_and_came_again_is_open_again_and_the_line_of_it_stays(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let (customer, finance) = (t.customer().await, t.staff(Role::Finance).await);
    let item = misfit(&t, &customer, 900, 899, "d").await;
    t.sim.refund_purchase(t.purchase_of(item), Some(400)).expect("refundable");
    t.drive().await;
    assert_eq!(in_suspense(&t).await, 499);
    let clearings = async || -> Vec<(i64, bool)> {
        let lines = "select amount_minor, given_up_at is not null from suspense_clearings";
        sqlx::query_as(lines).fetch_all(&t.app.db).await.expect("PostgreSQL answers")
    };
    assert_eq!(clearings().await, [(400, false)]);
    let payments = t.sim.payments_of(t.purchase_of(item));
    let refund = payments[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    t.sim.fail_payment(refund).expect("it was announced");
    for _ in 0..60 {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
    let open = items(&t, &finance, "open").await;
    assert_eq!((in_suspense(&t).await, &open[0]["left"]), (899, &json!(899)));
    assert_eq!(clearings().await, [(400, true)]);
    t.finish_with_held().await;
}

#[sqlx::test]
async fn what_a_correction_moves_into_suspense_is_an_item_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(2_000).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let body = json!({"user_id": customer.id, "direction": "debit", "amount": 899, "currency": "ZAR",
        "counterpart": "suspense", "reason": "not theirs"});
    let headers = [("Idempotency-Key", "k")];
    let proposed = t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(&maker)), &headers, Some(body)).await;
    assert_eq!(approve(&t, &checker, &proposed).await.body["state"], "completed");
    let open = items(&t, &maker, "open").await;
    assert_eq!((open.len(), &open[0]["kind"], &open[0]["id"]), (1, &json!("correction"), &proposed.body["id"]));
    let back = propose(&t, &maker, &customer, Some(proposed.id()), "back").await;
    assert_eq!(approve(&t, &checker, &back).await.body["state"], "completed");
    assert_eq!(t.balance(&customer).await, (2_000, 0, 2_000));
    t.finish().await;
}

#[sqlx::test]
async fn a_first_withdrawal_in_a_currency_that_nobody_deposited_is_not_refused(db: PgPool) {
    let t = TestApp::with(db, &[("CURRENCIES", "ZAR,USD")]).await;
    let customer = t.customer().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let body = json!({"user_id": customer.id, "direction": "credit", "amount": 5_000, "currency": "USD",
        "counterpart": "equity", "reason": "a gift"});
    let headers = [("Idempotency-Key", "k")];
    let proposed = t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(&maker)), &headers, Some(body)).await;
    assert_eq!(approve(&t, &checker, &proposed).await.body["state"], "completed");
    let body = json!({"amount": 4_000, "currency": "USD", "bank_account_id": customer.bank_account_id});
    let headers = [("Idempotency-Key", "w")];
    let asked = t.send(Method::POST, "/v1/withdrawals", Some(&t.token(&customer)), &headers, Some(body)).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    t.drive().await;
    assert_eq!(t.state(asked.id()).await, "completed");
}

/// Money of a purchase that no row knows: it was paid, and forgotten here.
async fn of_no_row(t: &TestApp, amount: i64, key: &str) -> Uuid {
    let payer = t.customer().await;
    let deposit = t.deposit(&payer, amount, key).await.id();
    let purchase = t.purchase_of(deposit);
    for sql in ["delete from provider_objects where id = $1", "delete from transactions where provider_id = $1"] {
        sqlx::query(sql).bind(purchase).execute(&t.app.db).await.expect("deleted");
    }
    purchase
}

async fn in_suspense(t: &TestApp) -> i64 {
    t.system_balance(AccountCode::Suspense).await.posted()
}

#[sqlx::test]
async fn what_no_row_knows_and_its_payer_got_back_comes_again_when_the_chargeback_is_won(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let purchase = of_no_row(&t, 900, "d").await;
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    t.sim.charge_back_purchase(purchase).expect("charged back");
    t.drive().await;
    assert_eq!((in_suspense(&t).await, items(&t, &finance, "open").await.len()), (0, 0));
    for _ in 0..2 {
        t.advance(TimeDelta::minutes(1));
        t.sim.raise_event(purchase, "purchase.charged_back").expect("it is there");
        t.drive().await;
    }
    assert_eq!(in_suspense(&t).await, 0, "it goes back once");
    t.sim.reverse_charge_back(purchase).expect("won");
    for _ in 0..2 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
        t.sim.raise_event(purchase, "purchase.paid").expect("it is there");
    }
    t.drive().await;
    let open = items(&t, &finance, "open").await;
    assert_eq!((in_suspense(&t).await, open.len(), &open[0]["left"]), (900, 1, &json!(900)));
    t.finish().await;
}

#[sqlx::test]
async fn what_was_refunded_before_anybody_here_heard_of_it_does_not_stay_in_suspense(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let purchase = of_no_row(&t, 900, "d").await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    t.sim.clear_faults();
    t.sim.refund_purchase(purchase, None).expect("refundable");
    t.drive().await;
    assert_eq!((in_suspense(&t).await, items(&t, &finance, "open").await.len()), (0, 0));
    let held_at_revio = t.system_balance(AccountCode::ProviderBalance).await.posted();
    assert_eq!(held_at_revio, 0, "it came and went");
    t.finish().await;
}

#[sqlx::test]
async fn what_somebody_was_given_already_is_not_taken_of_other_peoples_money_when_its_payer_gets_it_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let purchase = of_no_row(&t, 899, "d").await;
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    let item: Uuid = items(&t, &maker, "open").await[0]["id"].as_str().expect("an id").parse().expect("a UUID");
    let other = misfit(&t, &customer, 1_000, 899, "other").await;
    let given = propose(&t, &maker, &customer, Some(item), "k").await;
    assert_eq!(approve(&t, &checker, &given).await.body["state"], "completed");
    t.sim.refund_purchase(purchase, None).expect("refundable");
    for _ in 0..30 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    assert_eq!(in_suspense(&t).await, 899, "that is the other's");
    let open = items(&t, &maker, "open").await;
    assert_eq!((open.len(), &open[0]["id"]), (1, &json!(other)));
    let dead = "select last_error from webhook_logs where state = 'dead'";
    let error: String = sqlx::query_scalar(dead).fetch_one(&t.app.db).await.expect("a dead letter");
    assert!(error.contains("somebody has it"), "{error}");
}

/// The chargeback took nothing: what its reversal brings would be in the books twice.
#[sqlx::test]
async fn a_chargeback_that_is_won_waits_for_the_chargeback_that_a_person_must_look_at(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let item = misfit(&t, &customer, 900, 899, "d").await;
    let purchase = t.purchase_of(item);
    let given = propose(&t, &maker, &customer, Some(item), "k").await;
    assert_eq!(approve(&t, &checker, &given).await.body["state"], "completed", "{}", given.body);
    t.sim.charge_back_amount(purchase, 899).expect("charged back");
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.sim.reverse_charge_back_amount(purchase, 899).expect("won");
    for _ in 0..20 {
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
    }
    let held = "select held_code from transactions where kind = 'chargeback' and state = 'initiated'";
    let held: Option<String> = sqlx::query_scalar(held).fetch_one(&t.app.db).await.expect("a chargeback");
    assert_eq!((held.as_deref(), in_suspense(&t).await), (Some("paid_twice"), 0));
    assert_eq!(items(&t, &maker, "open").await.len(), 0, "nothing to give away once more");
    assert_eq!(t.system_balance(AccountCode::ProviderBalance).await.posted(), 899, "as Revio has it");
    t.finish_with_held().await;
}

#[sqlx::test]
async fn a_chargeback_that_was_not_won_after_all_takes_nothing_that_somebody_has_by_now(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let item = misfit(&t, &customer, 900, 899, "d").await;
    let purchase = t.purchase_of(item);
    t.sim.charge_back_amount(purchase, 899).expect("charged back");
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    let won = t.sim.reverse_charge_back_amount(purchase, 899).expect("won");
    for _ in 0..3 {
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
    }
    assert_eq!(in_suspense(&t).await, 899, "{:?}", books_of(&t).await);
    let given = propose(&t, &maker, &customer, Some(item), "k").await;
    assert_eq!(approve(&t, &checker, &given).await.body["state"], "completed", "{}", given.body);
    misfit(&t, &customer, 1_000, 899, "other").await;
    t.advance(TimeDelta::minutes(2));
    t.sim.fail_payment(won).expect("not won after all");
    t.drive().await;
    assert_eq!(in_suspense(&t).await, 899, "that is the other's");
    let held = "select held_code from transactions where kind = 'chargeback_reversal'";
    let held: Option<String> = sqlx::query_scalar(held).fetch_one(&t.app.db).await.expect("a reversal");
    assert_eq!(held.as_deref(), Some("paid_twice"));
}

#[sqlx::test]
async fn a_correction_that_the_ledger_refused_leaves_no_item(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let body = json!({"user_id": customer.id, "direction": "debit", "amount": 899, "currency": "ZAR",
        "counterpart": "suspense", "reason": "not theirs"});
    let headers = [("Idempotency-Key", "k")];
    let proposed = t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(&maker)), &headers, Some(body)).await;
    assert_eq!(approve(&t, &checker, &proposed).await.body["failure_reason"], "insufficient_funds");
    assert_eq!(items(&t, &maker, "open").await.len(), 0);
    let left: i64 =
        sqlx::query_scalar("select count(*) from suspense_items").fetch_one(&t.app.db).await.expect("a count");
    assert_eq!(left, 0, "the books of suspense are compared again");
    assert_eq!(propose(&t, &maker, &customer, Some(proposed.id()), "k2").await.body["errors"][0]["field"], "item_id");
    t.finish().await;
}

async fn books_of(t: &TestApp) -> Vec<(String, String, Option<String>)> {
    let rows = "select kind, state, held_reason from transactions order by id";
    sqlx::query_as(rows).fetch_all(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn what_no_row_knows_is_an_open_item_also_when_we_died_before_we_said_so(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let finance = t.staff(Role::Finance).await;
    let purchase = of_no_row(&t, 900, "d").await;
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    next.at("suspense.booked");
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!((in_suspense(&t).await, items(&t, &finance, "open").await.len()), (900, 1));
    t.sim.charge_back_purchase(purchase).expect("charged back");
    t.drive().await;
    next.at("suspense.paid_again");
    t.sim.reverse_charge_back(purchase).expect("won");
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    let open = items(&t, &finance, "open").await;
    assert_eq!((in_suspense(&t).await, open.len(), &open[0]["left"]), (900, 1, &json!(900)));
    t.finish().await;
}

/// The item was noted and the ledger has it; what Revio says by then would fit.
#[sqlx::test]
async fn what_was_being_set_aside_is_not_credited_as_well(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await;
    let purchase = t.purchase_of(deposit.id());
    t.sim.set_override(Override::of(purchase, "/payment/amount", json!(900)));
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    next.at("suspense.booked");
    die(&t).await;
    t.sim.clear_overrides();
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!((in_suspense(&t).await, t.balance(&customer).await), (900, (0, 0, 0)));
    assert!(t.held_reason(deposit.id()).await.is_some_and(|reason| reason.contains("in suspense")));
    t.finish_with_held().await;
}

/// One try only: another one would find Revio saying what it said before.
async fn die(t: &TestApp) {
    t.sim.deliver().await;
    stepped(inbox::claim_due(&t.app, 1)).await.expect("PostgreSQL answers");
}

/// And the other way round: it was credited, and the process died before the row said so; then Revio says another sum.
#[sqlx::test]
async fn what_was_credited_is_not_set_aside_as_well(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await;
    let purchase = t.purchase_of(deposit.id());
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    next.at("deposit.credited");
    die(&t).await;
    t.sim.set_override(Override::of(purchase, "/payment/amount", json!(900)));
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!((in_suspense(&t).await, t.balance(&customer).await), (0, (1_000, 0, 1_000)));
    assert_eq!(t.state(deposit.id()).await, "completed", "as the ledger has it");
    assert!(t.held_reason(deposit.id()).await.is_some_and(|reason| reason.contains("it was credited")));
    t.finish_with_held().await;
}

/// Revio converts: what came is USD, and so is the item; whoever gives it to the customer is told that the payer has it back.
#[sqlx::test]
async fn what_goes_back_in_another_currency_than_was_asked_for_moves_nothing_and_is_said(db: PgPool) {
    let usd = Currency::parse("USD").expect("a currency");
    for (told, said) in [("USD", "another currency than ZAR"), ("ZAR", "given back in ZAR")] {
        let t = TestApp::new(db.clone()).await;
        let customer = t.customer().await;
        let deposit = t.deposit(&customer, 1_000, told).await.id();
        let purchase = t.purchase_of(deposit);
        t.sim.set_override(Override::of(purchase, "/payment/currency", json!("USD")));
        t.sim.set_override(Override::of("payment", "/payment/currency", json!(told)));
        t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
        t.drive().await;
        t.sim.refund_purchase(purchase, Some(400)).expect("refundable");
        t.drive().await;
        let reasons: Vec<String> =
            sqlx::query_scalar("select held_reason from transactions where user_id = $1 and held_reason is not null")
                .bind(customer.id)
                .fetch_all(&t.app.db)
                .await
                .expect("PostgreSQL answers");
        assert!(reasons.iter().any(|reason| reason.contains(said)), "{reasons:?}");
        let in_usd = t.app.ledger.balance(t.app.ledger.suspense(usd)).await.expect("the ledger answers");
        assert_eq!((in_usd.posted(), in_suspense(&t).await), (1_000, 0));
    }
}
