//! At most one payout of a withdrawal is paid: it is replaced only where it can never be, once, and every one that was ever registered is
//! known, asked for and named.

use chrono::TimeDelta;
use octoco::money::transactions;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Moment, Override, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp};
use crate::restrictions;

pub(crate) async fn wait(t: &TestApp, minutes: i64) {
    for _ in 0..minutes * 2 {
        t.advance(TimeDelta::seconds(30));
        t.drive().await;
    }
}

pub(crate) fn payouts(t: &TestApp, withdrawal: Uuid) -> usize {
    t.sim.payouts_by_reference(&withdrawal.to_string()).len()
}

#[sqlx::test]
async fn executions_that_take_effect_late_pay_once_however_late(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let late = |secs| FaultKind::LateEffect { secs, status: 502 };
    let in_words = |secs| FaultKind::LateConflict { secs };
    let faults = [30, 300, 1_200, 4_000].map(|secs| (secs, late(secs)));
    let faults = faults.into_iter().chain([1_200, 4_000].map(|secs| (secs, in_words(secs))));
    for (number, (secs, fault)) in faults.enumerate() {
        t.sim.clear_faults();
        t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, fault));
        let withdrawal = t.withdraw(&customer, 4_000, &format!("w{number}")).await.id();
        wait(&t, 120).await;
        assert_eq!(payouts(&t, withdrawal), 1, "{secs} s");
        assert_eq!(t.state(withdrawal).await, "completed", "{secs} s: {:?}", t.held_reason(withdrawal).await);
    }
    let totals = t.sim.totals("ZAR");
    assert_eq!((totals.paid_out, totals.paid_out_count), (24_000, 6));
    t.finish().await;
}

/// It is answered all the same, and no sign that executions fail: more than a few go on.
#[sqlx::test]
async fn an_execution_that_is_answered_by_its_status_alone_is_answered(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Terse));
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    for number in 0..12 {
        let withdrawal = t.withdraw(&customer, 1_000, &format!("w{number}")).await.id();
        t.drive().await;
        assert_eq!(t.state(withdrawal).await, "submitted", "{number}");
    }
}

/// Revio's error is the word on the second call; the first one counts yet.
#[sqlx::test]
async fn an_error_gives_nothing_back_while_an_earlier_call_may_still_count(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(20_000).await;
    for (key, takes_effect) in [("late", true), ("never", false)] {
        let lost = if takes_effect {
            FaultKind::LateEffect { secs: 400, status: 502 }
        } else {
            FaultKind::BadGateway(Moment::Before)
        };
        t.sim.set_fault(Fault::next(1, Scope::ExecutePayout, lost));
        let withdrawal = t.withdraw(&customer, 4_000, key).await.id();
        t.drive().await;
        t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "insufficient_balance".to_owned() });
        wait(&t, 3).await;
        let said = t.sim.payout(t.payout_of(withdrawal)).expect("registered");
        assert_eq!((said["status"].clone(), t.state(withdrawal).await.as_str()), (json!("error"), "submitting"));
        assert_eq!(t.balance(&customer).await.1, 4_000, "still reserved");
        t.sim.set_payout_behaviour(PayoutBehaviour::Succeed);
        wait(&t, 20).await;
        let (state, paid) = if takes_effect { ("completed", 1) } else { ("failed", 1) };
        assert_eq!((t.state(withdrawal).await.as_str(), t.sim.totals("ZAR").paid_out_count), (state, paid), "{key}");
        assert_eq!((t.balance(&customer).await, t.owed(customer.id).await), ((16_000, 0, 16_000), 0));
        assert_eq!(t.held_reason(withdrawal).await, None);
    }
    t.finish().await;
}

/// Each of its calls is answered, so its word is on the last of them.
#[sqlx::test]
async fn an_error_after_calls_that_were_all_answered_gives_the_money_back_at_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Fail { code: "insufficient_balance".to_owned() });
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    t.finish().await;
}

/// By hand, at Revio: the ledger knows it before the row follows it.
#[sqlx::test]
async fn a_payout_that_somebody_else_executed_is_noted_in_the_ledger(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, staff) = (t.customer_with(10_000).await, t.staff(Role::Finance).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    restrictions::act(&t, &staff, &customer, "freeze").await;
    t.drive().await;
    let payout = t.payout_of(withdrawal);
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("initialized");
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    restrictions::act(&t, &staff, &customer, "unfreeze").await;
    t.drive().await;
    let standing = t.app.ledger.withdrawal_standing(withdrawal).await.expect("the ledger answers");
    assert_eq!(standing.payouts, [payout]);
    t.finish().await;
}

/// Nobody knows what became of the call, so no other takes its place, and a person is told which payout it is.
#[sqlx::test]
async fn a_payout_whose_execution_was_never_answered_is_not_replaced(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 40).await;
    let (payout, reason) = (t.payout_of(withdrawal), t.held_reason(withdrawal).await.expect("held"));
    assert!(reason.contains(&payout.to_string()), "{reason}");
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "still reserved");
    // Revio's word ends it, and nobody has to.
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("initialized");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), ("completed", None));
    t.finish().await;
}

/// Nothing was heard of the call, and then Revio's last word comes.
#[sqlx::test]
async fn revios_refusal_ends_a_withdrawal_that_waits_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = held_undecided(&t, &customer).await;
    t.sim
        .settle_payout(t.payout_of(withdrawal), PayoutOutcome::Error { code: "declined".to_owned() })
        .expect("initialized");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), ("failed", None));
    assert_eq!(t.balance(&customer).await, (10_000, 0, 10_000));
    t.finish().await;
}

/// Its event was lost, or came while its successor was under way.
#[sqlx::test]
async fn nothing_is_given_back_while_another_payout_of_the_withdrawal_is_paid(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Refused));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    while payouts(&t, withdrawal) < 2 {
        wait(&t, 1).await;
    }
    t.sim.clear_faults();
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    while t.state(withdrawal).await != "submitted" {
        wait(&t, 1).await;
    }
    let own = transactions::find(&t.app, withdrawal).await.expect("there").provider.id.expect("registered");
    let registered = t.sim.payouts_by_reference(&withdrawal.to_string());
    let ids = registered.iter().map(|payout| payout["id"].as_str().expect("an id").parse().expect("an id"));
    let first: Uuid = ids.into_iter().find(|id| *id != own).expect("replaced");
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.settle_payout(first, PayoutOutcome::Success).expect("initialized");
    t.sim.settle_payout(own, PayoutOutcome::Error { code: "declined".to_owned() }).expect("pending");
    wait(&t, 60).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), ("completed", None));
    assert_eq!((t.sim.totals("ZAR").paid_out_count, t.balance(&customer).await), (1, (6_000, 0, 6_000)));
    t.finish().await;
}

#[sqlx::test]
async fn a_payout_that_was_never_to_be_executed_is_replaced_once(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer_with(10_000).await;
    next.at("withdrawal.payout_created");
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    // Its answer was lost with the process; the next one dies before it is to be executed.
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.advance(TimeDelta::minutes(2));
    next.at("transaction.moved");
    t.drive().await;
    t.advance(TimeDelta::minutes(16));
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

/// With what word Revio ends a payout that nobody executed is documented nowhere. Here a freeze lets its window pass.
#[sqlx::test]
async fn a_payout_that_was_never_to_be_executed_is_replaced_whatever_revio_calls_its_end(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, staff) = (t.customer_with(10_000).await, t.staff(Role::Finance).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    restrictions::act(&t, &staff, &customer, "freeze").await;
    t.drive().await;
    assert_eq!((payouts(&t, withdrawal), t.state(withdrawal).await.as_str()), (1, "reserved"));
    t.sim.set_override(Override::of(t.payout_of(withdrawal), "/status", json!("error")));
    t.advance(TimeDelta::minutes(16));
    restrictions::act(&t, &staff, &customer, "unfreeze").await;
    t.drive().await;
    assert_eq!((payouts(&t, withdrawal), t.state(withdrawal).await.as_str()), (2, "completed"));
    assert_eq!((t.sim.totals("ZAR").paid_out_count, t.balance(&customer).await), (1, (6_000, 0, 6_000)));
    t.sim.clear_overrides();
    t.finish().await;
}

#[sqlx::test]
async fn what_revio_refuses_in_words_is_replaced_once_and_no_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Refused));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 60).await;
    assert_eq!(payouts(&t, withdrawal), 2);
    let reason = t.held_reason(withdrawal).await.expect("held");
    for payout in t.sim.payouts_by_reference(&withdrawal.to_string()) {
        assert!(reason.contains(payout["id"].as_str().expect("an id")), "{reason}");
    }
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    t.finish_with_held().await;
}

/// Of a payout that is tried in vain nobody knows whether it is paid, so few are tried; the others are paid by themselves when it is over, and
/// two people end what is left of it, each by one call.
#[sqlx::test]
async fn an_outage_of_executions_alone_holds_few(db: PgPool) {
    holds_few(db, FaultKind::BadGateway(Moment::Before)).await;
}

#[sqlx::test]
async fn a_key_that_may_register_and_not_execute_holds_few(db: PgPool) {
    holds_few(db, FaultKind::Answer { status: 403 }).await;
}

#[sqlx::test]
async fn a_limit_on_executions_alone_holds_few(db: PgPool) {
    holds_few(db, FaultKind::RateLimited { retry_after_secs: 20 }).await;
}

pub(crate) async fn holds_few(db: PgPool, fault: FaultKind) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(100_000).await;
    let is_told_when = matches!(fault, FaultKind::RateLimited { .. });
    let held_min = if matches!(fault, FaultKind::RateLimited { .. } | FaultKind::Refused) { 1 } else { 11 };
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, fault));
    for number in 0..60 {
        t.withdraw(&customer, 1_000, &format!("w{number}")).await;
        if number == 10 {
            // These are under way when it begins.
            t.drive().await;
        }
    }
    t.drive().await;
    // Whoever is told to come later holds back by himself first.
    if !is_told_when {
        assert!(t.app.revio.executions_paused().is_some() && t.app.revio.payouts_paused().is_none());
    }
    wait(&t, 45).await;
    t.sim.clear_faults();
    wait(&t, 40).await;
    let count = async |what: &str| {
        let counted = format!("select count(*) from transactions where kind = 'withdrawal' and {what}");
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(counted)).fetch_one(&t.app.db).await.expect("a count")
    };
    let held = count("held_code = 'undecided'").await;
    assert!((held_min..=36).contains(&held), "{held}");
    assert_eq!(count("state = 'completed'").await, 60 - held);
    assert_eq!(t.sim.totals("ZAR").paid_out_count, u64::try_from(60 - held).expect("a count"));

    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let mut cursor = json!(null);
    let mut awaiting = Vec::new();
    while awaiting.is_empty() || cursor.is_string() {
        let said = resolve_many(&t, &one, "release", &cursor).await;
        awaiting.extend(said.body["awaiting"].as_array().expect("a list").clone());
        cursor = said.body["next_cursor"].clone();
    }
    assert_eq!((i64::try_from(awaiting.len()).expect("few"), count("held_code = 'undecided'").await), (held, held));
    let again = resolve_many(&t, &one, "release", &json!(null)).await;
    assert_eq!(again.body["resolved"], json!([]), "one person is one person");
    while count("held_code = 'undecided'").await > 0 {
        assert_eq!(resolve_many(&t, &two, "release", &json!(null)).await.status, StatusCode::OK);
    }
    t.drive().await;
    assert_eq!(count("state = 'failed'").await, held);
    assert_eq!(t.balance(&customer).await, (40_000 + held * 1_000, 0, 40_000 + held * 1_000));
    t.finish().await;
}

/// Ten at once.
async fn resolve_many(t: &TestApp, staff: &Customer, action: &str, cursor: &Value) -> Answer {
    let note = "Revio confirmed that none was paid";
    let body = json!({"action": action, "note": note, "code": "undecided", "limit": 10, "cursor": cursor});
    t.send(Method::POST, "/v1/admin/held/resolve", Some(&t.token(staff)), &[], Some(body)).await
}

async fn resolve(t: &TestApp, staff: &Customer, id: Uuid, action: &str) -> Answer {
    let body = json!({"action": action, "note": "Revio confirmed it by phone"});
    t.send(Method::POST, &format!("/v1/admin/held/{id}/resolve"), Some(&t.token(staff)), &[], Some(body)).await
}

/// The way out for a person; of two, for one alone could wait for Revio's payment and have the money twice.
#[sqlx::test]
async fn two_people_give_a_withdrawal_up_and_a_payment_after_that_is_taken_from_the_wallet(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 40).await;
    assert!(t.held_reason(withdrawal).await.is_some());
    for _ in 0..2 {
        let first = resolve(&t, &one, withdrawal, "release").await;
        assert!(first.body["held_reason"].is_string(), "one person is one person: {}", first.body);
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    }
    let second = resolve(&t, &two, withdrawal, "release").await;
    assert!(second.body["held_reason"].is_null(), "{}", second.body);
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    let shown = t.get(&customer, &format!("/v1/transactions/{withdrawal}")).await;
    assert_eq!(shown.body["failure_reason"], "closed_by_review");
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("initialized");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    let shown = t.get(&customer, &format!("/v1/transactions/{withdrawal}")).await;
    assert!(shown.body["failure_reason"].is_null(), "it goes when the row completes");
    t.finish().await;
}

async fn held_undecided(t: &TestApp, customer: &Customer) -> Uuid {
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Reset(Moment::Before)));
    let withdrawal = t.withdraw(customer, 4_000, "w").await.id();
    wait(t, 40).await;
    assert!(t.held_reason(withdrawal).await.is_some());
    t.sim.clear_faults();
    withdrawal
}

/// Its event was lost: what two people said is not done before Revio is asked once more.
#[sqlx::test]
async fn what_two_people_give_up_is_not_given_back_when_revio_has_paid_meanwhile(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let withdrawal = held_undecided(&t, &customer).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("initialized");
    resolve(&t, &one, withdrawal, "release").await;
    resolve(&t, &two, withdrawal, "release").await;
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    let late = "select count(*) from ledger_transfers where code = 20 and kind = 'posted'";
    octoco::books::projector::catch_up(&t.app).await.expect("copied");
    let late: i64 = sqlx::query_scalar(late).fetch_one(&t.app.db).await.expect("a count");
    assert_eq!(late, 0, "it was posted, and not taken from the wallet afterwards");
    t.finish().await;
}

/// Between the words of two people Revio has begun to pay: its event ends what the first said, and without one it is asked.
#[sqlx::test]
async fn what_revio_has_begun_to_pay_is_not_given_back(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let withdrawal = held_undecided(&t, &customer).await;
    resolve(&t, &one, withdrawal, "release").await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Pending).expect("initialized");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.held_reason(withdrawal).await), ("submitted", None));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));

    let other = t.customer_with(10_000).await;
    let withdrawal = held_undecided(&t, &other).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Pending).expect("initialized");
    resolve(&t, &one, withdrawal, "release").await;
    resolve(&t, &two, withdrawal, "release").await;
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&other).await), ("submitted", (10_000, 4_000, 6_000)));
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    wait(&t, 600).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&other).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

#[sqlx::test]
async fn what_two_people_give_up_is_given_back_though_revio_says_nothing(db: PgPool) {
    give_up_without_an_answer(db, Scope::AnyCall, FaultKind::Reset(Moment::Before)).await;
}

#[sqlx::test]
async fn what_two_people_give_up_is_given_back_though_revio_says_nothing_that_can_be_read(db: PgPool) {
    give_up_without_an_answer(db, Scope::GetPayout, FaultKind::Blank { status: 200 }).await;
}

/// Each that Revio took without our hearing of it is asked for in every step after it.
#[sqlx::test]
async fn registrations_that_are_not_answered_become_few_and_one_of_them_pays(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::CreatePayout, FaultKind::BadGateway(Moment::After)));
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    wait(&t, 120).await;
    let registered = t.sim.payouts_by_reference(&withdrawal.to_string()).len();
    assert!((8..=18).contains(&registered), "{registered}");
    t.sim.clear_faults();
    wait(&t, 40).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
    t.finish().await;
}

/// It was `pending`: that Revio does not know it now is no word that it was not paid.
#[sqlx::test]
async fn what_two_people_give_up_is_asked_for_though_revio_does_not_know_it_any_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    t.advance(TimeDelta::days(15));
    t.drive().await;
    assert!(t.held_reason(withdrawal).await.is_some());
    give_up_unanswered(t, (&customer, withdrawal), Scope::GetPayout, FaultKind::Blank { status: 404 }).await;
}

async fn give_up_without_an_answer(db: PgPool, scope: Scope, nothing: FaultKind) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = held_undecided(&t, &customer).await;
    give_up_unanswered(t, (&customer, withdrawal), scope, nothing).await;
}

/// What the people said counts in the end.
async fn give_up_unanswered(t: TestApp, (customer, withdrawal): (&Customer, Uuid), scope: Scope, nothing: FaultKind) {
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    t.sim.set_fault(Fault::chance(1.0, scope, nothing));
    resolve(&t, &one, withdrawal, "release").await;
    resolve(&t, &two, withdrawal, "release").await;
    t.drive().await;
    wait(&t, 50).await;
    assert_eq!(t.balance(customer).await, (10_000, 4_000, 6_000), "it is asked first, for an hour");
    wait(&t, 20).await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(customer).await), ("failed", (10_000, 0, 10_000)));
    t.sim.clear_faults();
    t.finish().await;
}

/// One of its servers has a slow clock: its answer is older than what another one told. It is no reason to act for as long as the row is
/// open, but none to give the money back either.
#[sqlx::test]
async fn what_revio_calls_paid_is_not_released_because_that_answer_is_older_than_an_event(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let (one, two) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    let payout = t.payout_of(withdrawal);
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.set_override(Override::of(
        "payout",
        "/updated_on",
        json!((t.app.clock.now() - TimeDelta::hours(1)).timestamp()),
    ));
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("pending");
    wait(&t, 240).await;
    assert!(t.held_reason(withdrawal).await.is_some_and(|reason| reason.contains("older")));
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    resolve(&t, &one, withdrawal, "release").await;
    resolve(&t, &two, withdrawal, "release").await;
    wait(&t, 70).await;
    t.sim.clear_overrides();
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}
