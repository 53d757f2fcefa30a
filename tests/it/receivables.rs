//! What a customer owes is repaid first by whatever makes money available, before anybody can withdraw it.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::books::projector;
use octoco::finance::reconciliation;
use octoco::platform::permissions::Role;
use octoco::webhooks::inbox;
use octoco::{money::reversals, money::transactions};
use reqwest::Method;
use revio_sim::{Fault, FaultKind, Pay, PayoutBehaviour, PayoutOutcome, Scope, Settings};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp, stepped};
use crate::journals::debtor;
use crate::reporting;

const PAID: i64 = 250_000;

/// What makes money available, and how much of it.
const WAYS: [(&str, i64); 6] = [
    ("a refused payout", 150_000),
    ("a failed payout", 150_000),
    ("a declined approval", 250_000),
    ("a correction", 30_000),
    ("a deposit", 30_000),
    ("a chargeback won", 250_000),
];

async fn post(t: &TestApp, by: &Customer, path: &str, key: &str, body: Value) -> Answer {
    let keyed = [("Idempotency-Key", key)];
    let headers = if key.is_empty() { &keyed[..0] } else { &keyed[..] };
    let answer = t.send(Method::POST, path, Some(&t.token(by)), headers, Some(body)).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.body);
    answer
}

async fn pay(t: &TestApp, customer: &Customer, amount: i64, key: &str) -> Uuid {
    let deposit = t.deposit(customer, amount, key).await;
    t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    t.drive().await;
    t.purchase_of(deposit.id())
}

/// Lets Revio take the money back, and books only that: the payout that is under way stays where it is.
async fn charge_back(t: &TestApp, purchase: Uuid) {
    t.sim.charge_back_purchase(purchase).expect("it was paid");
    t.sim.deliver().await;
    stepped(inbox::claim_due(&t.app, 100)).await.expect("claimed");
    reversals::step_due(&t.app, 100).await.expect("claimed");
}

async fn correct(t: &TestApp, customer: &Customer, amount: i64) {
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let body = json!({"user_id": customer.id, "direction": "credit", "amount": amount, "currency": "ZAR",
                      "counterpart": "equity", "reason": "goodwill"});
    let proposed = post(t, &maker, "/v1/admin/adjustments", "a1", body).await;
    let seen = json!({"adjustment_hash": proposed.body["adjustment_hash"]});
    post(t, &checker, &format!("/v1/admin/adjustments/{}/approve", proposed.id()), "", seen).await;
}

async fn decline(t: &TestApp, withdrawal: Uuid) {
    let finance = t.staff(Role::Finance).await;
    let listed = t.get(&finance, "/v1/admin/withdrawals/awaiting-approval").await;
    let rows = listed.body["data"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["id"] == json!(withdrawal)).expect("it waits");
    let seen = json!({"payout_hash": row["payout_hash"], "note": "no"});
    post(t, &finance, &format!("/v1/admin/withdrawals/{withdrawal}/decline"), "", seen).await;
}

#[sqlx::test]
async fn whatever_makes_money_available_repays_what_is_owed_first(db: PgPool) {
    let t = TestApp::with(db, &[("APPROVAL_THRESHOLDS", "ZAR:200000:300000")]).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    for (way, available) in WAYS {
        let customer = t.customer().await;
        let purchase = pay(&t, &customer, PAID, "d1").await;
        let withdrawn = if way == "a declined approval" || way == "a chargeback won" { PAID } else { 150_000 };
        let withdrawal = t.withdraw(&customer, withdrawn, "w1").await.id();
        if way == "a refused payout" {
            t.sim.set_fault(Fault::next(1, Scope::CreatePayout, FaultKind::Refused));
        } else {
            t.drive().await;
        }
        charge_back(&t, purchase).await;
        assert_eq!(t.owed(customer.id).await, withdrawn, "the wallet covered the rest, before {way}");
        match way {
            "a failed payout" => {
                let failed = PayoutOutcome::Error { code: "do_not_honour".to_owned() };
                t.sim.settle_payout(t.payout_of(withdrawal), failed).expect("it is pending");
            }
            "a declined approval" => decline(&t, withdrawal).await,
            "a correction" => correct(&t, &customer, available).await,
            "a deposit" => drop(pay(&t, &customer, available, "d2").await),
            "a chargeback won" => t.sim.reverse_charge_back(purchase).expect("it was charged back"),
            _ => {}
        }
        t.drive().await;
        assert_eq!(t.owed(customer.id).await, (withdrawn - available).max(0), "after {way}");
        assert_eq!(t.balance(&customer).await.2, 0, "nothing is available after {way}");
        if t.state(withdrawal).await == "failed" {
            let failed = transactions::find(&t.app, withdrawal).await.expect("a row");
            assert_eq!(failed.repaid_minor, available, "the row says where the money went");
        }
    }
    t.finish_with_held().await;
}

/// Whatever ended the withdrawal: of what it repaid nothing is in the balance, and no text may say so.
#[sqlx::test]
async fn a_customer_whose_money_repaid_a_debt_is_not_told_that_it_is_in_the_balance(db: PgPool) {
    const PARTLY: i64 = 240_000;
    let t = TestApp::with(db, &[("APPROVAL_THRESHOLDS", "ZAR:245000:300000")]).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    for (code, amount) in [
        ("provider_could_not_pay", PARTLY),
        ("declined", PAID),
        ("not_approved_in_time", PAID),
        ("cancelled_by_customer", PAID),
    ] {
        let customer = t.customer().await;
        let purchase = pay(&t, &customer, PAID, "d1").await;
        let withdrawal = t.withdraw(&customer, amount, "w1").await.id();
        t.drive().await;
        charge_back(&t, purchase).await;
        assert_eq!(t.owed(customer.id).await, amount, "{code}");
        match code {
            "provider_could_not_pay" => {
                let failed = PayoutOutcome::Error { code: "do_not_honour".to_owned() };
                t.sim.settle_payout(t.payout_of(withdrawal), failed).expect("it is pending");
            }
            "declined" => decline(&t, withdrawal).await,
            "not_approved_in_time" => t.advance(TimeDelta::days(8)),
            _ => {
                let path = format!("/v1/withdrawals/{withdrawal}/cancel");
                drop(t.send(Method::POST, &path, Some(&t.token(&customer)), &[], None).await);
            }
        }
        t.drive().await;
        let shown = t.get(&customer, &format!("/v1/transactions/{withdrawal}")).await.body;
        assert_eq!((&shown["failure"]["code"], &shown["repaid"]), (&json!(code), &json!(amount)), "{shown}");
        assert_eq!(t.balance(&customer).await.2, 0, "nothing is available: {code}");
        let told = shown["failure"]["message"].as_str().expect("a text");
        assert!(told.contains("first repaid what was owed") && !told.contains("The money is back"), "{code}: {told}");
        let page = t.http.get(format!("{}/reasons/{code}", t.url)).send().await.expect("an answer");
        assert!(page.text().await.expect("a text").contains(told), "{code}");
    }
    t.finish_with_held().await;
}

/// A payment after the release takes from the wallet what is in it, and the rest is owed again: the same legs are not used twice. Its fee
/// is a withdrawal's, of whichever of them.
#[sqlx::test]
async fn a_payout_that_is_paid_after_its_release_repaid_a_debt_is_owed_again(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payout_fee: 30, payouts: PayoutBehaviour::Pend, ..t.sim.settings() });
    let customer = t.customer().await;
    let purchase = pay(&t, &customer, PAID, "d1").await;
    let withdrawal = t.withdraw(&customer, PAID, "w1").await.id();
    t.drive().await;
    charge_back(&t, purchase).await;
    let payout = t.payout_of(withdrawal);
    t.sim.settle_payout(payout, PayoutOutcome::Error { code: "do_not_honour".to_owned() }).expect("pending");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.owed(customer.id).await), ("failed", 0));
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("Revio may change its word");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.owed(customer.id).await), ("completed", PAID));
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    for built in [false, true] {
        if built {
            projector::rebuild(&t.app).await.expect("made again");
        }
        projector::catch_up(&t.app).await.expect("the ledger can be copied");
        assert_eq!(projector::verify(&t.app).await.expect("compared").wrong(), 0);
        let fees = "select string_agg(kind || ' ' || booked, ', ') from reporting.fees where booked <> 0";
        assert_eq!(reporting::value(&t, fees).await, "withdrawal 0.30");
    }
    t.finish().await;
}

/// Found by a storm: the release has repaid a debt, the worker dies before the row says so, and Revio pays after all.
#[sqlx::test]
async fn a_payout_that_is_paid_while_its_release_repays_a_debt_is_owed_again(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let customer = t.customer().await;
    let purchase = pay(&t, &customer, PAID, "d1").await;
    let withdrawal = t.withdraw(&customer, PAID, "w1").await.id();
    t.drive().await;
    charge_back(&t, purchase).await;
    let payout = t.payout_of(withdrawal);
    t.sim.settle_payout(payout, PayoutOutcome::Error { code: "do_not_honour".to_owned() }).expect("pending");
    next.at("withdrawal.voided");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.owed(customer.id).await), ("submitted", 0));
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("Revio may change its word");
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.owed(customer.id).await), ("completed", PAID));
    assert_eq!(t.balance(&customer).await, (0, 0, 0));
    t.finish().await;
}

/// What was taken for a payment after a release stands in the row, also where Revio's word is another one by then; that is for a person.
#[sqlx::test]
async fn a_payout_that_is_an_error_again_while_its_payment_is_taken_is_held(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer_with(PAID).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "timeout".to_owned() });
    let withdrawal = t.withdraw(&customer, PAID, "w1").await.id();
    t.drive().await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("it can be executed again");
    next.at("withdrawal.collected");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (0, 0, 0)));
    let failed = PayoutOutcome::Error { code: "issuer_not_available".to_owned() };
    t.sim.settle_payout(t.payout_of(withdrawal), failed).expect("a bank's return");
    for _ in 0..2 {
        t.advance(TimeDelta::hours(1));
        t.drive().await;
    }
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (0, 0, 0)));
    assert!(t.held_reason(withdrawal).await.is_some(), "a person must look");
    t.finish_with_held().await;
}

/// A row says for ever what was owed; the age of what is owed ends with the debt.
#[sqlx::test]
async fn the_age_of_what_is_owed_ends_when_it_is_repaid(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = debtor(&t, 1_000).await;
    t.advance(TimeDelta::hours(1));
    let age = async || -> i64 {
        projector::catch_up(&t.app).await.expect("the ledger can be copied");
        reconciliation::measure(&t.app).await.expect("measured");
        let metrics = t.app.metrics.render();
        let series = "octoco_open_item_oldest_seconds{what=\"receivable\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(series)).and_then(|age| age.parse().ok()).expect("a number")
    };
    assert!(age().await >= 3_600);
    pay(&t, &customer, 1_000, "repaid").await;
    assert_eq!((t.owed(customer.id).await, age().await), (0, 0));
    t.finish().await;
}

/// The wallet was closed meanwhile: what was won back is in suspense, for somebody to decide. Then it was not won after all.
#[sqlx::test]
async fn a_chargeback_won_for_a_closed_wallet_leaves_suspense_again_where_it_was_not_won(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let (customer, admin) = (t.customer().await, t.staff(Role::Admin).await);
    let purchase = pay(&t, &customer, PAID, "d").await;
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.drive().await;
    let path = format!("/v1/admin/users/{}/close", customer.id);
    post(&t, &admin, &path, "", json!({"reason": "asked for by the customer"})).await;
    t.drive().await;
    t.advance(TimeDelta::minutes(1));
    t.sim.reverse_charge_back(purchase).expect("charged back");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), PAID);
    let won = t.sim.payments_of(purchase).last().and_then(|won| won["id"].as_str()?.parse().ok()).expect("an id");
    t.advance(TimeDelta::minutes(1));
    t.sim.fail_payment(won).expect("it was announced");
    next.at("reversal.returned");
    t.drive().await;
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0);
    let ended = sqlx::query_scalar::<_, String>("select state from transactions where outcome = 'returned'");
    assert_eq!(ended.fetch_one(&t.app.db).await.expect("one"), "failed");
    let finance = t.staff(Role::Finance).await;
    let open = t.get(&finance, "/v1/admin/suspense-items?state=open").await;
    assert_eq!(open.body["data"], json!([]), "nobody can be given it");
    t.finish().await;
}
