//! A thousand random schedules: customers deposit, withdraw, call off, are refunded and charged back, and staff approve or decline what is
//! above a threshold, while deliveries are doubled, lost, shuffled and forged, calls are dropped before and after their effect, and
//! the worker dies, or a step panics, at random between any two of its effects. When the storm is over, Revio's books and ours say the
//! same, to the cent, no payout was paid twice, and what finance reads is what TigerBeetle says.
//!
//! The seed is the same in each run, so that a change of the code alone makes the test fail; `STORM_SEED` tries another, and
//! `STORM_SCHEDULES` sets how many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::identity::audit::Actor;
use octoco::money::{manual_review, transactions};
use octoco::platform::crash::{CrashPoints, Fate};
use octoco::platform::permissions::Role;
use octoco::webhooks::inbox;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use revio_sim::{Fault, FaultKind, Moment, MovementKind, Override, Pay, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::cancelling::cancel;
use crate::harness::{Customer, TestApp};
use crate::reporting;

const CUSTOMERS: usize = 50;
const SCHEDULES: usize = 1_000;
const SEED: u64 = 20_261_124;
/// A schedule is a customer's next few wishes; this many customers have theirs at once.
const AT_ONCE: usize = 20;
/// A fee is never more than what it is taken of: nothing smaller is paid in or out.
const FEES_MAX: i64 = 100;
const CRASH_PERCENT: u32 = 4;
const BATCH_CRASH_PERCENT: u32 = 1;
/// Of those: a mistake of ours in one step, which the process survives.
const PANIC_PERCENT: u32 = 25;
/// Points that a run of this size dies at many times: one that no schedule reaches any more is found here. At each of a cancel dies
/// `cancelling/at_once`, at each of a batch `batches`.
const CRASH_POINTS: [&str; 24] = [
    "batch.before_ends", "batch.before_moves", "batch.before_receipts", "batch.ended", "batch.inserted", "batch.moved",
    "batch.received", "deposit.before_purchase", "deposit.called_off", "deposit.credited", "deposit.fee_booked",
    "deposit.purchase_created", "inbox.acted", "inbox.stored", "transaction.before_move", "transaction.inserted",
    "transaction.moved", "transaction.reversed", "withdrawal.approved", "withdrawal.before_execution",
    "withdrawal.before_payout", "withdrawal.executed", "withdrawal.payout_created", "withdrawal.reserved",
];

#[expect(clippy::disallowed_methods, reason = "a run is repeated by its seed")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Where the worker died or a step panicked, and how often.
#[derive(Clone, Default)]
struct Deaths {
    calm: Arc<AtomicBool>,
    counted: Arc<Mutex<BTreeMap<(&'static str, Fate), u32>>>,
}

impl Deaths {
    fn plan(&self, seed: u64) -> CrashPoints {
        let (deaths, random) = (self.clone(), Mutex::new(StdRng::seed_from_u64(seed)));
        CrashPoints::planned(move |point| {
            let mut random = random.lock().expect("not poisoned");
            // With a batch die all who share it.
            let percent = if point.starts_with("batch.") { BATCH_CRASH_PERCENT } else { CRASH_PERCENT };
            if deaths.calm.load(Ordering::Relaxed) || !random.random_ratio(percent, 100) {
                return Fate::GoesOn;
            }
            let mut counted = deaths.counted.lock().expect("not poisoned");
            // The second of a point is the other fate: few schedules reach some of them.
            let others = [Fate::Dies, Fate::Panics].map(|fate| counted.contains_key(&(point, fate)));
            let panics = match others {
                [true, false] => true,
                [false, true] => false,
                _ => random.random_ratio(PANIC_PERCENT, 100),
            };
            let fate = if panics { Fate::Panics } else { Fate::Dies };
            *counted.entry((point, fate)).or_default() += 1;
            fate
        })
    }
}

#[sqlx::test]
async fn after_any_storm_revios_books_and_ours_agree(db: PgPool) {
    let seed = setting("STORM_SEED").unwrap_or(SEED);
    let schedules = setting("STORM_SCHEDULES").and_then(|count| usize::try_from(count).ok()).unwrap_or(SCHEDULES);
    eprintln!("STORM_SEED={seed} STORM_SCHEDULES={schedules}");
    let (mut random, deaths) = (StdRng::seed_from_u64(seed), Deaths::default());
    deaths.calm.store(true, Ordering::Relaxed);
    let t = TestApp::crashing(db, &[("APPROVAL_THRESHOLDS", "ZAR:30000:45000")], deaths.plan(seed ^ 1)).await;
    let staff = [t.staff(Role::Finance).await, t.staff(Role::Admin).await];
    let mut customers = Vec::new();
    for _ in 0..CUSTOMERS {
        customers.push(t.customer().await);
    }
    deaths.calm.store(false, Ordering::Relaxed);
    brew(&t);
    let mut key = 0;
    for _ in 0..schedules.div_ceil(AT_ONCE) {
        for _ in 0..AT_ONCE {
            let customer = &customers[random.random_range(0..CUSTOMERS)];
            key += 1;
            schedule(&t, &mut random, customer, key).await;
        }
        for _ in 0..random.random_range(1..6) {
            t.sim.deliver().await;
            t.step().await;
            decide(&t, &mut random, &staff).await;
            t.advance(TimeDelta::seconds(random.random_range(0..120)));
        }
        // What finance reads is true in the middle of it all; nobody dies while it is compared.
        deaths.calm.store(true, Ordering::Relaxed);
        reporting::assert_is_what_the_ledger_says(&t).await;
        deaths.calm.store(false, Ordering::Relaxed);
    }
    calm(&t, &mut random, &deaths).await;
    assert_books_agree(&t).await;
    reporting::assert_is_what_the_ledger_says(&t).await;
    let counted = deaths.counted.lock().expect("not poisoned").clone();
    eprintln!("deaths: {counted:?}");
    if schedules >= SCHEDULES {
        let fates = [Fate::Dies, Fate::Panics];
        let all = CRASH_POINTS.iter().flat_map(|point| fates.map(|fate| (*point, fate)));
        let missed: Vec<_> = all.filter(|death| !counted.contains_key(death)).collect();
        assert!(missed.is_empty(), "never happened: {missed:?}");
    }
    t.finish_with_held().await;
}

/// Everything that can go wrong on the way, each now and then.
fn brew(t: &TestApp) {
    let moments = [Moment::Before, Moment::After];
    for moment in moments {
        for kind in [FaultKind::BadGateway(moment), FaultKind::ServerError(moment), FaultKind::Reset(moment)] {
            t.sim.set_fault(Fault::chance(0.02, Scope::AnyCall, kind));
        }
    }
    t.sim.set_fault(Fault::chance(0.01, Scope::AnyCall, FaultKind::RateLimited { retry_after_secs: 1 }));
    t.sim.set_fault(Fault::chance(0.02, Scope::CreatePayout, FaultKind::Refused));
    t.sim.set_fault(Fault::chance(0.05, Scope::ExecutePayout, FaultKind::LateExecution { secs: 40 }));
    t.sim.set_fault(Fault::chance(0.03, Scope::ExecutePayout, FaultKind::LateEffect { secs: 2_000, status: 502 }));
    for scope in [Scope::GetPurchase, Scope::GetPayout] {
        t.sim.set_fault(Fault::chance(0.03, scope, FaultKind::StaleRead { secs: 3 }));
    }
    t.sim.set_settings(revio_sim::Settings { payout_fee: 15, payout_fee_basis_points: 30, ..t.sim.settings() });
    for kind in [
        FaultKind::IgnoreAnswer,
        FaultKind::Duplicate,
        FaultKind::Reorder,
        FaultKind::WrongKey,
        FaultKind::TamperedBody,
        FaultKind::NoSignature,
        FaultKind::OtherMode,
        FaultKind::UnknownEventType,
        FaultKind::NotJson,
    ] {
        t.sim.set_fault(Fault::chance(0.03, Scope::Deliver, kind));
    }
    t.sim.set_fault(Fault::chance(0.1, Scope::Deliver, FaultKind::Missing));
}

/// One customer's next wishes. Some of them are refused, by us or by Revio: that is part of the weather.
async fn schedule(t: &TestApp, random: &mut StdRng, customer: &Customer, key: usize) {
    let amount = random.random_range(1..100_000).max(FEES_MAX);
    let deposit = t.deposit(customer, amount, &format!("d{key}")).await;
    if deposit.code() == "provider_unavailable" {
        // It has waited for Revio's next second, which does not come while the test's clock stands still.
        t.advance(TimeDelta::seconds(1));
    }
    if random.random_ratio(1, 4) {
        t.deposit(customer, amount, &format!("d{key}")).await;
    }
    if let Some(link) = deposit.body["checkout_url"].as_str() {
        payer(t, random, link);
    }
    let behaviour = match random.random_range(0..10) {
        0..4 => PayoutBehaviour::Succeed,
        4..6 => PayoutBehaviour::Pend,
        6..8 => PayoutBehaviour::PendThenSucceed { secs: 100 },
        _ => PayoutBehaviour::Fail { code: "do_not_honour".to_owned() },
    };
    t.sim.set_payout_behaviour(behaviour);
    for part in 0..random.random_range(0..4) {
        let answer =
            t.withdraw(customer, random.random_range(1..60_000).max(FEES_MAX), &format!("w{key}-{part}")).await;
        let known = ["", "insufficient_funds", "internal", "unavailable"];
        assert!(known.contains(&answer.code()), "{}", answer.body);
    }
    aftermath(t, random, customer).await;
    call_off(t, random, customer).await;
}

/// Some of what the customer has asked for is called off again, in whatever state it is.
async fn call_off(t: &TestApp, random: &mut StdRng, customer: &Customer) {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "select id, kind from transactions where user_id = $1 and kind in ('deposit', 'withdrawal') and parent_id is null
            and state in ('initiated', 'awaiting_payment', 'reserved', 'awaiting_approval', 'submitting') order by id",
    )
    .bind(customer.id)
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    for (id, kind) in rows {
        // So many withdrawals are left that each of their points is died at, too.
        let one_in = if kind == "deposit" { 8 } else { 16 };
        if random.random_ratio(1, one_in) {
            let answer = cancel(t, customer, &kind, id).await;
            let known = ["", "not_cancellable", "stale_state", "internal", "unavailable"];
            assert!(known.contains(&answer.code()), "{}", answer.body);
        }
    }
}

/// What the payer does with the link. A purchase whose link was lost with the answer to our call is paid by nobody: Revio has no
/// list in which anybody could find it (a second payment of one deposit has a test of its own, in `deposits`).
fn payer(t: &TestApp, random: &mut StdRng, link: &str) {
    let id = link
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .and_then(|id| id.parse().ok())
        .expect("a link ends in the purchase's id");
    // Each may be impossible by now; the payer does not mind.
    let done = match random.random_range(0..10) {
        0 => t.sim.fail_purchase(id).and_then(|()| t.sim.pay_purchase(id, Pay::default())),
        1 => t.sim.begin_payment(id, Some(random.random_range(0..300))),
        2 => t.sim.cancel_purchase(id),
        3 => Ok(()),
        _ => t.sim.pay_purchase(id, Pay { fee: random.random_range(0..100), ..Pay::default() }),
    };
    drop(done);
}

/// What happens to earlier payments of the same customer, at Revio.
async fn aftermath(t: &TestApp, random: &mut StdRng, customer: &Customer) {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "select provider_id, kind from transactions where user_id = $1 and provider_id is not null order by id",
    )
    .bind(customer.id)
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    for (id, kind) in rows {
        let done = match (kind.as_str(), random.random_range(0..20)) {
            ("deposit", 0) => t.sim.refund_purchase(id, Some(random.random_range(1..20_000))),
            ("deposit", 1) => t.sim.refund_purchase(id, None),
            ("deposit", 2) => t.sim.charge_back_purchase(id),
            ("deposit", 3..8) => t.sim.reverse_charge_back(id),
            ("deposit", 8) => t.sim.charge_back_amount(id, random.random_range(1..20_000)).map(drop),
            ("deposit", 9) => t.sim.reverse_charge_back_amount(id, random.random_range(1..10_000)).map(drop),
            ("deposit", 10) => last_payment(t, id).map_or(Ok(()), |payment| t.sim.fail_payment(payment)),
            ("deposit", 11) => t.sim.settle_purchase(id, None),
            ("deposit", 12) => {
                t.sim.set_override(Override::of(id, "/status", json!("pondering")));
                Ok(())
            }
            ("withdrawal", 0..4) => settle(t, random, id),
            _ => Ok(()),
        };
        drop(done);
    }
}

fn last_payment(t: &TestApp, purchase: Uuid) -> Option<Uuid> {
    t.sim.payments_of(purchase).last().and_then(|payment| payment["id"].as_str()?.parse().ok())
}

/// Revio's word on a payout that is not final yet, or a payment after an error.
fn settle(t: &TestApp, random: &mut StdRng, id: Uuid) -> Result<(), revio_sim::SimError> {
    let status = t.sim.payout(id).and_then(|payout| payout["status"].as_str().map(str::to_owned));
    let failed = PayoutOutcome::Error { code: "issuer_not_available".to_owned() };
    match (status.as_deref(), random.random_range(0..3)) {
        (Some("pending"), 0) => t.sim.settle_payout(id, failed),
        (Some("pending" | "error"), 1) => t.sim.settle_payout(id, PayoutOutcome::Success),
        _ => Ok(()),
    }
}

/// Two people look at what waits for approval, and mostly approve. One of them may be too late: that is no mistake.
async fn decide(t: &TestApp, random: &mut StdRng, staff: &[Customer; 2]) {
    for person in staff {
        let listed = t.get(person, "/v1/admin/withdrawals/awaiting-approval?limit=100").await;
        for row in listed.body["data"].as_array().into_iter().flatten() {
            let call = if random.random_ratio(1, 12) { "decline" } else { "approve" };
            let path = format!("/v1/admin/withdrawals/{}/{call}", row["id"].as_str().unwrap_or_default());
            let body = json!({"payout_hash": row["payout_hash"], "note": "looked at it"});
            let answer = t.send(Method::POST, &path, Some(&t.token(person)), &[], Some(body)).await;
            assert!(["", "internal", "stale_state"].contains(&answer.code()), "{}", answer.body);
        }
    }
}

/// The storm is over: what was pending is settled, a person resumes what was held and replays what is dead, and time passes
/// until Revio has been asked for the last time.
async fn calm(t: &TestApp, random: &mut StdRng, deaths: &Deaths) {
    deaths.calm.store(true, Ordering::Relaxed);
    t.sim.clear_faults();
    t.sim.clear_overrides();
    // What was given back while its event was lost, Revio tells when it is asked.
    t.sim.set_settings(revio_sim::Settings { payment_reads: true, ..t.sim.settings() });
    t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
    t.advance(TimeDelta::minutes(10));
    t.drive().await;
    let pending: Vec<Uuid> =
        ids(t, "select provider_id from transactions where kind = 'withdrawal' and provider_id is not null").await;
    for id in pending {
        if t.sim.payout(id).is_some_and(|payout| payout["status"] == "pending") {
            t.sim.settle_payout(id, PayoutOutcome::Success).expect("pending payouts can be settled");
        }
    }
    for pause in [1, 5, 30, 120, 24 * 60, 24 * 60, 7 * 24 * 60, 30 * 24 * 60, 90 * 24 * 60] {
        for id in ids(t, "select id from transactions where held_reason is not null").await {
            let row = transactions::find(&t.app, id).await.expect("there");
            manual_review::retry(&t.app, &Actor::system(), &row, "after the storm").await.expect("it is held");
        }
        // What is signed and cannot be read, nobody can act on.
        let unreadable =
            ids(t, "select id from webhook_logs where state = 'dead' and last_error like 'the body%'").await;
        inbox::dismiss(&t.app, &Actor::system(), &unreadable, "unreadable").await.expect("PostgreSQL answers");
        let dead = ids(t, "select id from webhook_logs where state = 'dead'").await;
        assert_eq!(
            inbox::replay(&t.app, &Actor::system(), &dead, None).await.expect("PostgreSQL answers").len(),
            dead.len()
        );
        // Nobody's session lives through all of this.
        let staff = [t.staff(Role::Finance).await, t.staff(Role::Admin).await];
        decide(t, random, &staff).await;
        give_up(t, &staff).await;
        t.drive().await;
        t.advance(TimeDelta::minutes(pause));
        t.drive().await;
    }
}

/// Two people give up payouts that Revio will say nothing more about.
async fn give_up(t: &TestApp, staff: &[Customer; 2]) {
    t.drive().await;
    for id in ids(t, "select id from transactions where held_code = 'undecided' and kind = 'withdrawal'").await {
        for person in staff {
            let body = json!({"action": "release", "note": "after the storm"});
            let path = format!("/v1/admin/held/{id}/resolve");
            t.send(Method::POST, &path, Some(&t.token(person)), &[], Some(body)).await;
        }
    }
}

async fn ids(t: &TestApp, query: &'static str) -> Vec<Uuid> {
    sqlx::query_scalar(query).fetch_all(&t.app.db).await.expect("PostgreSQL answers")
}

/// Sum for sum and payout for payout.
async fn assert_books_agree(t: &TestApp) {
    let totals = t.sim.totals("ZAR");
    eprintln!("{totals:?}");
    assert_eq!(totals.payouts_pending, 0);
    let deposits: Vec<(Uuid, Uuid, String, i64)> = sqlx::query_as(
        "select id, provider_id, state, case when state = 'completed' then amount_minor - refunded_minor - charged_back_minor else 0 end
           from transactions where kind = 'deposit' and provider_id is not null",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    for (id, purchase, state, kept) in deposits {
        let moved = t.sim.movements().into_iter().filter(|movement| movement.related_to == purchase);
        let moved = moved.filter(|movement| movement.kind != MovementKind::Fee).collect::<Vec<_>>();
        let left: i64 = moved.iter().map(revio_sim::Movement::signed).sum();
        assert_eq!(kept, left, "{state} deposit {id}: {moved:?}");
    }
    let held: Vec<(Uuid, String, String)> =
        sqlx::query_as("select id, state, held_reason from transactions where held_reason is not null")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(held, [], "nothing is left for a person");
    let withdrawals: Vec<(Uuid, String)> =
        sqlx::query_as("select id, state from transactions where kind = 'withdrawal'")
            .fetch_all(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    let mut paid = 0;
    for (id, state) in &withdrawals {
        let payouts = t.sim.payouts_by_reference(&id.to_string());
        let paid_out = payouts.iter().filter(|payout| payout["status"] == "success").count();
        assert_eq!(paid_out, usize::from(state == "completed"), "payouts of {id}, which is {state}");
        assert!(["completed", "failed", "rejected", "cancelled"].contains(&state.as_str()), "{id} is still {state}");
        paid += paid_out;
    }
    assert_eq!(u64::try_from(paid).expect("a count"), totals.paid_out_count);
    let balance = totals.paid_in - totals.refunded - totals.charged_back - totals.paid_out - totals.fees;
    assert_eq!(t.system_balance(AccountCode::ProviderBalance).await.posted(), balance, "what Revio holds for us");
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), totals.fees);
    let unfinished: Vec<(Uuid, String, Option<String>)> = sqlx::query_as(
        "select id, coalesce(event_type, '') || ' ' || state, last_error from webhook_logs where state in ('pending', 'dead')
          union all
         select id, kind || ' ' || state, held_reason from transactions
          where kind <> 'withdrawal' and state not in ('completed', 'expired', 'cancelled', 'failed')",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(unfinished, []);
    eprintln!("{} withdrawals, {paid} paid", withdrawals.len());
}
