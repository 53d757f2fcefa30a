//! PostgreSQL is put back to an earlier moment while the ledger and Revio go on: nothing is paid again, what the ledger knows of a row the
//! row is reminded of, and what is lost is listed until an operator has looked. Or the ledger is (`older_ledger`).

mod cleared;
mod copies;
mod corrected;
mod forgotten;
mod lost;
mod older_ledger;
mod returned;

use std::collections::HashSet;

use chrono::TimeDelta;
use ledger::{AccountCode, Leg, Recorded, TransferId};
use octoco::books::projector;
use octoco::identity::audit::Actor;
use octoco::money::{manual_review, transactions};
use octoco::money::{provider_objects, safe_mode, withdrawals};
use octoco::platform::permissions::Role;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Movement, MovementKind, Pay, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::backups;
use crate::crashes::Crashes;
use crate::harness::{Customer, TestApp};
use crate::health::ready_and;

async fn look(t: &TestApp) {
    projector::catch_up(&t.app).await.expect("copied");
    projector::watch(&t.app).await.expect("watched");
    // Revio may be away: it is asked again.
    drop(withdrawals::restore_lost(&t.app).await);
}

async fn wait(t: &TestApp, minutes: i64) {
    for _ in 0..minutes {
        t.advance(TimeDelta::minutes(1));
        t.drive().await;
    }
}

/// Wherever it was: before it was registered, before it was executed, before Revio's word.
#[sqlx::test]
async fn a_withdrawal_that_is_put_back_to_any_earlier_state_is_paid_once(db: PgPool) {
    for point in ["withdrawal.before_payout", "withdrawal.before_execution", "withdrawal.executed", "withdrawal.posted"]
    {
        for outcome in [PayoutOutcome::Success, PayoutOutcome::Error { code: "do_not_honour".to_owned() }] {
            let next = Crashes::default();
            let t = TestApp::crashing(db.clone(), &[], next.plan()).await;
            let admin = t.staff(Role::Admin).await;
            let customer = t.customer_with(10_000).await;
            t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
            next.at(point);
            let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
            t.drive().await;
            backups::take(&db).await;
            t.advance(TimeDelta::minutes(2));
            t.drive().await;
            let paid = outcome == PayoutOutcome::Success;
            t.sim.settle_payout(t.payout_of(withdrawal), outcome).expect("pending");
            t.drive().await;
            // Of a call whose answer died with the process its window's end is waited for.
            wait(&t, 20).await;
            assert_eq!(t.state(withdrawal).await, if paid { "completed" } else { "failed" }, "{point}");
            backups::restore(&db).await;
            look(&t).await;
            wait(&t, 40).await;
            let (path, body) = ("/v1/admin/safe-mode/leave", json!({"note": "looked"}));
            t.send(Method::POST, path, Some(&t.token(&admin)), &[], Some(body)).await;
            wait(&t, 40).await;
            let (count, told) = (t.sim.totals("ZAR").paid_out_count, t.held_reason(withdrawal).await);
            assert_eq!(count, u64::from(paid), "{point}");
            assert_eq!(t.state(withdrawal).await, if paid { "completed" } else { "failed" }, "{point}: {told:?}");
            let balance = if paid { 6_000 } else { 10_000 };
            assert_eq!(t.balance(&customer).await, (balance, 0, balance), "{point}");
            empty(&t).await;
        }
    }
}

async fn empty(t: &TestApp) {
    sqlx::raw_sql(
        "begin; set local session_replication_role = replica;
         truncate users, safe_mode, webhook_logs, ledger_cursor, ledger_accounts, ledger_transfers, ledger_orphans, ledger_days cascade;
         commit",
    )
    .execute(&t.app.db)
    .await
    .expect("emptied");
}

/// Its purchase was made and paid after the backup: another one would be paid, or taken for a second payment.
#[sqlx::test]
async fn a_deposit_that_forgot_its_purchase_is_credited_once(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db.clone(), &[], next.plan()).await;
    let customer = t.customer().await;
    next.at("deposit.before_purchase");
    drop(t.deposit(&customer, 5_000, "d").await);
    let deposit: Uuid =
        sqlx::query_scalar("select id from transactions where kind = 'deposit' and state = 'initiated'")
            .fetch_one(&db)
            .await
            .expect("one");
    backups::take(&db).await;
    wait(&t, 3).await;
    let purchase = t.purchase_of(deposit);
    t.sim.pay_purchase(purchase, revio_sim::Pay::default()).expect("it can be paid");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (5_000, 0, 5_000)));
    backups::restore(&db).await;
    look(&t).await;
    wait(&t, 3).await;
    assert_eq!((t.state(deposit).await.as_str(), t.held_reason(deposit).await), ("completed", None));
    assert_eq!(t.sim.purchases_by_reference(&deposit.to_string()).len(), 1, "no other is made");
    // What comes later of the purchase that it forgot is its own, and no second payment.
    t.sim.settle_purchase(purchase, None).expect("it is paid");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.balance(&customer).await), ("completed", (5_000, 0, 5_000)));
    let known: Option<Uuid> = sqlx::query_scalar("select provider_id from transactions where id = $1")
        .bind(deposit)
        .fetch_one(&db)
        .await
        .expect("there");
    assert_eq!(known, Some(purchase));
    t.sim.refund_purchase(purchase, Some(2_000)).expect("refundable");
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (3_000, 0, 3_000));
    t.finish().await;
}

/// Revio took the execution and lost the answer; then the database forgets all of it.
#[sqlx::test]
async fn a_payout_that_only_the_ledger_remembers_is_taken_up_again(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    backups::take(&db).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, FaultKind::Reset(Moment::After)));
    t.step().await;
    backups::restore(&db).await;
    wait(&t, 5).await;
    assert_eq!(t.state(withdrawal).await, "completed");
    assert_eq!((t.sim.totals("ZAR").paid_out_count, t.sim.payouts_by_reference(&withdrawal.to_string()).len()), (1, 1));
    t.finish().await;
}

#[sqlx::test]
async fn what_is_lost_starts_the_safe_mode_which_pays_nothing_until_an_operator_ends_it(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(10_000).await;
    let admin = t.staff(Role::Admin).await;
    look(&t).await;
    backups::take(&db).await;
    let lost = t.withdraw(&customer, 1_000, "lost").await.id();
    t.drive().await;
    assert_eq!(t.state(lost).await, "completed");
    look(&t).await;
    backups::restore(&db).await;
    look(&t).await;
    let shown = t.get(&admin, "/v1/admin/safe-mode").await;
    assert_eq!((&shown.body["active"], shown.status), (&json!(true), StatusCode::OK), "{}", shown.body);
    ready_and(&t, "payouts", "safe_mode").await;
    assert_eq!(shown.body["lost_transfers"][0]["transaction_id"], lost.to_string());
    assert_eq!(shown.body["lost_transfers"][0]["user_id"], customer.id.to_string());
    let waits = t.withdraw(&customer, 2_000, "w2").await.id();
    let deposit = t.deposit(&customer, 500, "d2").await;
    t.pay(&deposit).await;
    wait(&t, 30).await;
    assert_eq!((t.state(waits).await.as_str(), t.sim.payouts_by_reference(&waits.to_string()).len()), ("reserved", 0));
    assert_eq!(t.held_reason(waits).await, None, "it waits, and nobody has to look at it");
    let path = "/v1/admin/safe-mode/leave";
    let leave = async |body| t.send(Method::POST, path, Some(&t.token(&admin)), &[], Some(body)).await;
    assert_eq!(leave(json!({"note": ""})).await.status, StatusCode::BAD_REQUEST);
    let left = leave(json!({"note": "one withdrawal was lost; the customer was told"})).await;
    assert_eq!((left.status, &left.body["active"]), (StatusCode::OK, &json!(false)), "{}", left.body);
    assert_eq!(leave(json!({"note": "again"})).await.status, StatusCode::NOT_FOUND);
    ready_and(&t, "payouts", "ok").await;
    wait(&t, 2).await;
    assert_eq!(t.state(waits).await, "completed");
    look(&t).await;
    assert_eq!(
        t.get(&admin, "/v1/admin/safe-mode").await.body["active"],
        false,
        "what was looked at is not found again"
    );
}

/// Whoever finds it dies right after its page is copied: nobody compares that page again.
#[sqlx::test]
async fn what_was_found_counts_though_whoever_found_it_died(db: PgPool) {
    let crashes = Crashes::default();
    let t = TestApp::crashing(db.clone(), &[], crashes.plan()).await;
    let customer = t.customer_with(10_000).await;
    let waiting = t.deposit(&customer, 500, "d").await.id();
    look(&t).await;
    backups::take(&db).await;
    let lost = t.withdraw(&customer, 1_000, "lost").await.id();
    t.drive().await;
    assert_eq!(t.state(lost).await, "completed");
    backups::restore(&db).await;
    // Until it is asked after only now and then.
    for seconds in [31, 40, 80, 160] {
        t.advance(TimeDelta::seconds(seconds));
        t.drive().await;
    }
    crashes.at("projector.committed");
    projector::catch_up(&t.app).await.expect_err("it dies");
    assert!(safe_mode::pays_nothing(&t.app).await.expect("an answer"));
    let due = async || {
        sqlx::query_scalar::<_, bool>("select due_at <= $2 from transactions where id = $1")
            .bind(waiting)
            .bind(t.app.clock.now())
            .fetch_one(&t.app.db)
            .await
            .expect("there")
    };
    assert!(!due().await, "nobody has looked");
    projector::watch(&t.app).await.expect("another looks");
    assert!(due().await, "open rows are looked at all the same");
    t.drive().await;
    projector::watch(&t.app).await.expect("once more");
    assert!(!due().await, "once");
}

const CUSTOMERS: usize = 8;
const ROUNDS: usize = 60;

/// Random schedules with restores to earlier instants among them: whatever was lost, nothing is paid twice, and of each object of Revio's
/// the ledger says what Revio says, to the cent.
#[sqlx::test]
async fn after_restores_at_any_moment_the_ledger_says_of_each_object_what_revio_says(db: PgPool) {
    let seed = 20_261_126;
    let mut random = StdRng::seed_from_u64(seed);
    let t = TestApp::new(db.clone()).await;
    t.sim.set_settings(revio_sim::Settings { payment_reads: true, ..t.sim.settings() });
    let admin = t.staff(Role::Admin).await;
    let mut customers = Vec::new();
    for _ in 0..CUSTOMERS {
        customers.push(t.customer_with(100_000).await);
    }
    brew(&t);
    let (mut restores, mut unread) = (0, HashSet::new());
    for round in 0..ROUNDS {
        if round % 3 == 0 {
            look(&t).await;
            backups::take(&db).await;
        }
        for (number, customer) in customers.iter().enumerate() {
            wishes(&t, &mut random, customer, &format!("{round}-{number}")).await;
        }
        for _ in 0..random.random_range(1..5) {
            t.sim.deliver().await;
            t.step().await;
            t.advance(TimeDelta::seconds(random.random_range(0..100)));
        }
        if random.random_ratio(1, 4) {
            unread.extend(objects_of_unread_events(&t).await);
            backups::restore(&db).await;
            look(&t).await;
            restores += 1;
            if random.random_ratio(2, 3) {
                leave(&t, &admin).await;
            }
        }
    }
    assert!(restores > 5, "{restores}");
    calm(&t, &admin).await;
    assert_nothing_is_paid_twice(&t);
    assert_ledger_says_what_revio_says(&t, &unread).await;
}

fn brew(t: &TestApp) {
    for moment in [Moment::Before, Moment::After] {
        for kind in [FaultKind::BadGateway(moment), FaultKind::Reset(moment)] {
            t.sim.set_fault(Fault::chance(0.03, Scope::AnyCall, kind));
        }
    }
    t.sim.set_fault(Fault::chance(0.05, Scope::ExecutePayout, FaultKind::LateExecution { secs: 40 }));
    for kind in [FaultKind::Duplicate, FaultKind::Reorder, FaultKind::IgnoreAnswer] {
        t.sim.set_fault(Fault::chance(0.05, Scope::Deliver, kind));
    }
}

/// Never more than what it is taken of.
const FEE_MAX: i64 = 50;

async fn wishes(t: &TestApp, random: &mut StdRng, customer: &Customer, key: &str) {
    let deposit = t.deposit(customer, random.random_range(1..50_000).max(FEE_MAX), &format!("d{key}")).await;
    let link = deposit.body["checkout_url"].as_str().and_then(|link| link.trim_end_matches('/').rsplit('/').next());
    if let Some(purchase) = link.and_then(|id| id.parse::<Uuid>().ok()) {
        let pay = Pay { fee: random.random_range(0..FEE_MAX), ..Pay::default() };
        let paid = t.sim.pay_purchase(purchase, pay);
        if random.random_ratio(1, 6) {
            drop(paid.and_then(|()| t.sim.refund_purchase(purchase, Some(1))));
        }
    }
    t.sim.set_payout_behaviour(match random.random_range(0..4) {
        0 => PayoutBehaviour::Fail { code: "do_not_honour".to_owned() },
        1 => PayoutBehaviour::PendThenSucceed { secs: 90 },
        _ => PayoutBehaviour::Succeed,
    });
    if random.random_ratio(1, 2) {
        t.withdraw(customer, random.random_range(1..40_000), &format!("w{key}")).await;
    }
}

async fn leave(t: &TestApp, admin: &Customer) {
    let body = json!({"note": "looked at what was lost"});
    t.send(Method::POST, "/v1/admin/safe-mode/leave", Some(&t.token(admin)), &[], Some(body)).await;
}

/// Time passes, an operator ends the safe mode, and what is held or dead is tried once more.
async fn calm(t: &TestApp, admin: &Customer) {
    t.sim.clear_faults();
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    for pause in [1, 10, 60, 24 * 60, 7 * 24 * 60] {
        look(t).await;
        leave(t, admin).await;
        let held: Vec<Uuid> = sqlx::query_scalar("select id from transactions where held_reason is not null")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
        for id in held {
            let row = transactions::find(&t.app, id).await.expect("there");
            manual_review::retry(&t.app, &Actor::system(), &row, "calm").await.expect("it is held");
        }
        t.drive().await;
        t.advance(TimeDelta::minutes(pause));
        t.drive().await;
    }
}

fn assert_nothing_is_paid_twice(t: &TestApp) {
    let mut paid = std::collections::HashMap::new();
    for movement in t.sim.movements().iter().filter(|movement| movement.kind == MovementKind::Payout) {
        let told = t.sim.payout(movement.id).expect("it is there");
        *paid.entry(told["reference"].to_string()).or_insert(0) -= movement.sign;
    }
    assert!(paid.len() > 20, "{}", paid.len());
    for (reference, times) in paid {
        assert!(times <= 1, "withdrawal {reference} was paid {times} times");
    }
}

/// What Revio has told and nobody has acted on yet.
async fn objects_of_unread_events(t: &TestApp) -> Vec<Uuid> {
    sqlx::query_scalar("select object_id from webhook_logs where state = 'pending' and object_id is not null")
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

/// Movement for movement. Only Revio's statement tells of three: what it gave back of a deposit whose row was lost, a payment whose
/// row was lost together with the one event about it, and the fee of one that was half booked when that happened.
async fn assert_ledger_says_what_revio_says(t: &TestApp, unread: &HashSet<Uuid>) {
    let (mut expected, mut movements) = (0, Vec::new());
    for movement in t.sim.movements() {
        let lost = match movement.kind {
            MovementKind::Refund => !has_row(t, movement.related_to).await && !is_booked(t, &movement).await,
            MovementKind::Purchase => unread.contains(&movement.id) && recorded(t, &movement).await.is_empty(),
            MovementKind::Fee => {
                let gone = unread.contains(&movement.id) && !has_row(t, movement.related_to).await;
                gone && recorded(t, &movement).await.is_empty()
            }
            _ => false,
        };
        if !lost {
            expected += movement.signed();
            movements.push(movement);
        }
    }
    let held: Vec<(Uuid, String, String)> =
        sqlx::query_as("select id, state, held_reason from transactions where held_reason is not null")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    let dead: Vec<(Option<String>, Option<String>)> =
        sqlx::query_as("select event_type, last_error from webhook_logs where state = 'dead'")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    let posted = t.system_balance(AccountCode::ProviderBalance).await.posted();
    let missing = missing(t, &movements).await;
    assert_eq!((posted, missing), (expected, Vec::new()), "held: {held:?}, dead: {dead:?}");
}

/// Purchases and payouts that moved money of which the ledger has nothing.
async fn missing(t: &TestApp, movements: &[Movement]) -> Vec<String> {
    let mut missing = Vec::new();
    for movement in movements {
        if ![MovementKind::Purchase, MovementKind::Payout].contains(&movement.kind) {
            continue;
        }
        let recorded = recorded(t, movement).await;
        if recorded.iter().map(|transfer| transfer.amount_minor).sum::<i64>() != movement.amount {
            missing.push(format!("{movement:?}: {recorded:?}"));
        }
    }
    missing
}

/// What the ledger has of a purchase or a payout.
async fn recorded(t: &TestApp, movement: &Movement) -> Vec<Recorded> {
    let (told, legs) = match movement.kind {
        MovementKind::Purchase => (t.sim.purchase(movement.id), [Leg::Main, Leg::Unmatched]),
        MovementKind::Fee => {
            (t.sim.purchase(movement.id).or_else(|| t.sim.payout(movement.id)), [Leg::ProviderFee, Leg::ProviderFee])
        }
        _ => (t.sim.payout(movement.id), [Leg::Post, Leg::Late]),
    };
    let told = told.expect("it is there");
    let row = told["reference"].as_str().and_then(|id| id.parse::<Uuid>().ok()).expect("a row of ours");
    let of_object = provider_objects::row_id(movement.id, told["created_on"].as_i64(), 0);
    let ids: Vec<TransferId> =
        [row, of_object].into_iter().flat_map(|row| legs.map(|leg| TransferId::of(row, leg))).collect();
    t.app.ledger.lookup(&ids).await.expect("the ledger answers")
}

/// Before its row was lost.
async fn is_booked(t: &TestApp, refund: &Movement) -> bool {
    let row = provider_objects::row_id(refund.id, Some(refund.at), 0);
    let ids = [Leg::Main, Leg::Receivable].map(|leg| TransferId::of(row, leg));
    !t.app.ledger.lookup(&ids).await.expect("the ledger answers").is_empty()
}

async fn has_row(t: &TestApp, purchase: Uuid) -> bool {
    let found: Option<Uuid> = sqlx::query_scalar("select id from transactions where provider_id = $1")
        .bind(purchase)
        .fetch_optional(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    found.is_some()
}
