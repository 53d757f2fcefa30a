//! TigerBeetle is put back to an earlier moment while PostgreSQL goes on: nothing is paid before people have looked. What rows say has ended, or has
//! come, and the ledger can be told again by the same ids, it is told once; of what it cannot be told again nobody else's money is taken.

use chrono::TimeDelta;
use ledger::{Account, AccountCode, Amount, Currency, JournalStanding, Leg, Transfer, TransferCode, TransferId};
use octoco::app::LedgerCopy;
use octoco::books::projector;
use octoco::money::safe_mode::{self, Older};
use octoco::money::transactions;
use octoco::platform::error::Error;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Pay, PayoutBehaviour, PayoutOutcome, Scope, Settings};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{leave, look, wait};
use crate::adjustments;
use crate::by_hand::{corrected, dismissed};
use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp};
use crate::journals::{self, entry, land, proposed, shown};

/// What the copy has of a transfer that the ledger has lost: as after a restore of the ledger to the moment before it.
async fn copy_what_the_ledger_has_lost(t: &TestApp) -> Uuid {
    sqlx::query_scalar(
        "with line as (
             insert into ledger_transfers
             select (jsonb_populate_record(l, jsonb_build_object(
                        'timestamp', l.timestamp + 1, 'id', (left(gen_random_uuid()::text, 34) || '01')::uuid))).*
               from ledger_transfers l where timestamp = (select max(timestamp) from ledger_transfers)
             returning id, currency, timestamp)
         update ledger_cursor c set timestamp = line.timestamp from line where c.currency = line.currency returning line.id",
    )
    .fetch_one(&t.app.db)
    .await
    .expect("PostgreSQL does it")
}

#[sqlx::test]
async fn a_ledger_that_is_older_than_its_copy_pays_nothing_and_the_copy_keeps_what_was_lost(db: PgPool) {
    let t = TestApp::new(db).await;
    let admin = t.staff(Role::Admin).await;
    let customer = t.customer_with(10_000).await;
    look(&t).await;
    let lost = copy_what_the_ledger_has_lost(&t).await;
    let copy = "select md5((select string_agg(l::text, ';' order by timestamp) from ledger_transfers l)
                        || (select string_agg(a::text, ';' order by id) from ledger_accounts a)
                        || (select string_agg(timestamp::text, ';') from ledger_cursor))";
    let copy = async || -> String { sqlx::query_scalar(copy).fetch_one(&t.app.db).await.expect("a hash") };
    let before = copy().await;
    t.app.ledger_copy.send_replace(LedgerCopy::Awaited);
    projector::watch(&t.app).await.expect("watched");
    let shown = t.get(&admin, "/v1/admin/safe-mode").await.body;
    let reason = shown["reason"].as_str().expect("a reason");
    assert!(shown["active"] == true && reason.starts_with("the ledger is behind its copy in ZAR"), "{shown}");
    let named = projector::verify(&t.app).await.expect("compared").differences;
    assert_eq!((named[0].id, named[0].problem), (lost, "is a row that the ledger does not have"), "{named:?}");
    let paid_in = t.deposit(&customer, 500, "d").await;
    t.pay(&paid_in).await;
    assert_eq!(t.state(paid_in.id()).await, "completed", "deposits go on");
    let waits = t.withdraw(&customer, 2_000, "w").await.id();
    wait(&t, 5).await;
    assert_eq!((t.state(waits).await.as_str(), t.sim.payouts_by_reference(&waits.to_string()).len()), ("reserved", 0));
    // Whoever copies, heals or builds it anew leaves it as it is.
    projector::step(&t.app).await.expect("nothing is copied");
    assert!(matches!(projector::catch_up(&t.app).await, Err(Error::BooksBehind)));
    projector::recompute_line(&t.app, lost).await.expect_err("it is all that is left of it");
    let wallet = Account::wallet(customer.id, Currency::ZAR).id.as_uuid();
    projector::recompute_account(&t.app, Currency::ZAR, wallet).await.expect_err("likewise");
    projector::rebuild(&t.app).await.expect_err("likewise");
    assert_eq!(copy().await, before);
    let body = json!({"note": "too early"});
    let refused = t.send(Method::POST, "/v1/admin/safe-mode/leave", Some(&t.token(&admin)), &[], Some(body)).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "ledger_behind"), "{}", refused.body);
    assert!(safe_mode::pays_nothing(&t.app).await.expect("an answer"));
    assert_eq!(t.get(&admin, "/v1/admin/safe-mode").await.body["active"], true);
    // A person has written down what is lost.
    projector::rebuild_accepting_lost(&t.app).await.expect("rebuilt");
    look(&t).await;
    leave(&t, &admin).await;
    wait(&t, 2).await;
    assert_eq!(t.state(waits).await, "completed");
    t.finish().await;
}

/// Revio is at it, and the money is reserved.
async fn submitted(t: &TestApp, customer: &Customer) -> Uuid {
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(customer, 4_000, "w").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitted");
    withdrawal
}

/// Its row ended after the snapshot: the ledger has it as it was before that.
async fn ended(t: &TestApp, withdrawal: Uuid, state: &str) {
    let end = "update transactions
                  set state = $2, states = states || ' ' || $2::text, moved_at = moved_at || $3::timestamptz, updated_at = $3,
                      completed_at = case when $2 = 'completed' then $3 end, due_at = null, version = version + 1,
                      failure_reason = case $2 when 'failed' then 'provider_could_not_pay' when 'cancelled' then 'cancelled_by_customer' end
                where id = $1";
    let end = sqlx::query(end).bind(withdrawal).bind(state).bind(t.app.clock.now());
    assert_eq!(end.execute(&t.app.db).await.expect("PostgreSQL goes on").rows_affected(), 1);
}

/// Revio's last word, which nobody hears of by an event.
async fn settled_unheard(t: &TestApp, withdrawal: Uuid, outcome: PayoutOutcome) {
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.settle_payout(t.payout_of(withdrawal), outcome).expect("pending");
    t.sim.deliver().await;
    t.sim.clear_faults();
}

fn refused() -> PayoutOutcome {
    PayoutOutcome::Error { code: "do_not_honour".to_owned() }
}

async fn rebuild(t: &TestApp) {
    projector::rebuild_accepting_lost(&t.app).await.expect("rebuilt");
    t.drive().await;
}

#[sqlx::test]
async fn what_became_of_a_reservation_is_told_to_the_ledger_once_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let mut rows = Vec::new();
    for (state, outcome, left) in [("completed", PayoutOutcome::Success, 6_000), ("failed", refused(), 10_000)] {
        let customer = t.customer_with(10_000).await;
        let withdrawal = submitted(&t, &customer).await;
        settled_unheard(&t, withdrawal, outcome).await;
        ended(&t, withdrawal, state).await;
        rows.push((customer, withdrawal, state, left));
    }
    // No payout of it was begun.
    let customer = t.customer_with(10_000).await;
    let called_off = t.withdraw(&customer, 4_000, "w").await.id();
    ended(&t, called_off, "cancelled").await;
    rows.push((customer, called_off, "cancelled", 10_000));
    t.drive().await;
    for (customer, ..) in &rows {
        assert_eq!(t.balance(customer).await, (10_000, 4_000, 6_000), "nobody looks at what has ended");
    }
    for _ in 0..2 {
        rebuild(&t).await;
        for (customer, withdrawal, state, left) in &rows {
            assert_eq!(t.balance(customer).await, (*left, 0, *left), "{state}");
            assert_eq!((t.state(*withdrawal).await.as_str(), t.held_reason(*withdrawal).await), (*state, None));
        }
    }
    t.finish().await;
}

/// Before anybody has built the copy anew. What Revio paid after all is taken only of what was released.
#[sqlx::test]
async fn an_event_about_what_has_ended_tells_the_ledger_too(db: PgPool) {
    let t = TestApp::new(db).await;
    for (said, outcome, state, left) in [
        ("completed", PayoutOutcome::Success, "completed", 6_000),
        ("failed", refused(), "failed", 10_000),
        ("failed", PayoutOutcome::Success, "completed", 6_000),
    ] {
        let customer = t.customer_with(10_000).await;
        let withdrawal = submitted(&t, &customer).await;
        ended(&t, withdrawal, said).await;
        t.sim.settle_payout(t.payout_of(withdrawal), outcome).expect("pending");
        t.drive().await;
        assert_eq!(t.balance(&customer).await, (left, 0, left), "{said} {state}");
        assert_eq!(t.state(withdrawal).await, state);
    }
    t.finish().await;
}

/// It had failed and was paid after all, which was taken from the wallet: only the release is lost.
#[sqlx::test]
async fn what_is_taken_already_is_released_and_not_posted_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let withdrawal = submitted(&t, &customer).await;
    let wallet = Account::wallet(customer.id, Currency::ZAR);
    let provider_balance = t.app.ledger.provider_balance(Currency::ZAR);
    let (id, amount) = (TransferId::of(withdrawal, Leg::Late), Amount::new(4_000, Currency::ZAR).expect("an amount"));
    let taken = Transfer::new(id, wallet, provider_balance, amount, TransferCode::Withdrawal);
    t.app.ledger.transfer(taken).await.expect("it is taken");
    ended(&t, withdrawal, "completed").await;
    assert_eq!(t.balance(&customer).await, (6_000, 4_000, 2_000));
    rebuild(&t).await;
    assert_eq!(t.balance(&customer).await, (6_000, 0, 6_000));
    t.finish().await;
}

/// And of another sum than was repaid when it was released for the first time; whoever does it dies before the row says so.
#[sqlx::test]
async fn what_is_released_once_more_repays_what_is_owed_and_its_row_says_so(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 10_000, "d").await;
    t.pay(&deposit).await;
    let withdrawal = submitted(&t, &customer).await;
    t.sim.charge_back_purchase(t.purchase_of(deposit.id())).expect("it was paid");
    t.drive().await;
    assert_eq!(t.owed(customer.id).await, 4_000);
    ended(&t, withdrawal, "failed").await;
    next.at("withdrawal.ended_again");
    rebuild(&t).await;
    let repaid = async || transactions::find(&t.app, withdrawal).await.expect("there").repaid_minor;
    assert_eq!((t.owed(customer.id).await, repaid().await), (0, 0));
    wait(&t, 2).await;
    assert_eq!((t.owed(customer.id).await, repaid().await, t.balance(&customer).await), (0, 4_000, (0, 0, 0)));
    t.finish().await;
}

/// They were faster, and have taken what was paid, or given what was not. A person says that this stands: then nothing stays reserved either.
#[sqlx::test]
async fn what_people_have_booked_of_what_has_ended_is_not_booked_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    for (state, direction, before, left) in
        [("completed", "debit", (6_000, 4_000, 2_000), 6_000), ("failed", "credit", (14_000, 4_000, 10_000), 10_000)]
    {
        let customer = t.customer_with(10_000).await;
        let withdrawal = submitted(&t, &customer).await;
        ended(&t, withdrawal, state).await;
        t.advance(TimeDelta::minutes(1));
        corrected(&t, &customer, direction, 4_000, withdrawal).await;
        rebuild(&t).await;
        assert_eq!(t.balance(&customer).await, before, "{state}");
        let reason = t.held_reason(withdrawal).await;
        assert!(reason.as_ref().is_some_and(|reason| reason.starts_with("people have booked already")), "{reason:?}");
        dismissed(&t, withdrawal).await;
        assert_eq!(t.balance(&customer).await, before, "{state}");
        rebuild(&t).await;
        assert_eq!((t.balance(&customer).await, t.held_reason(withdrawal).await), ((left, 0, left), None), "{state}");
    }
}

async fn change_journal(t: &TestApp, change: &'static str, journal: Uuid) {
    let changed = sqlx::query(change).bind(journal).execute(&t.app.db).await.expect("PostgreSQL goes on");
    assert_eq!(changed.rows_affected(), 1);
}

async fn resolve(t: &TestApp, by: &Customer, journal: Uuid, action: &str) -> Answer {
    let body = json!({"action": action, "note": "looked at"});
    let answer = journals::post(t, by, &format!("/v1/admin/journals/{journal}/resolve"), "", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    t.drive().await;
    answer
}

const SENT: &str = "update journals
    set state = 'in_transit', booking_at = updated_at, sent_at = updated_at, expected_on = evidence_date + 3, due_at = null, version = version + 1
  where id = $1";

/// It was held after the snapshot. Newer data may be found, so nothing is spent that would be wanted then; else a person closes it.
#[sqlx::test]
async fn money_on_its_way_that_the_ledger_does_not_hold_any_more_is_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let (bank, provider_balance) =
        (t.app.ledger.system(AccountCode::Bank, Currency::ZAR), t.app.ledger.provider_balance(Currency::ZAR));
    t.app.ledger.open(&[bank, provider_balance]).await.expect("they open");
    for (key, how, end) in [("a", "arrived", "completed"), ("b", "returned", "returned"), ("c", "arrived", "cancelled")]
    {
        let journal = proposed(&t, &maker, entry("settlement", 100), key).await.id();
        change_journal(&t, SENT, journal).await;
        let is_held = async || {
            let told = shown(&t, &checker, journal).await;
            let reason = told["held_reason"].as_str().unwrap_or_default().to_owned();
            told["state"] == "in_transit" && reason.starts_with("the ledger has lost what it held")
        };
        assert_eq!(land(&t, &checker, journal, how, "line 3").await.status, StatusCode::OK);
        assert!(is_held().await, "{key}");
        resolve(&t, &checker, journal, "retry").await;
        assert!(is_held().await, "{key}: asked again, it is the same");
        if end == "cancelled" {
            assert_eq!(resolve(&t, &checker, journal, "dismiss").await.body["failure_reason"], "closed_by_review");
        } else {
            let (id, amount) =
                (TransferId::of(journal, Leg::Journal), Amount::new(100, Currency::ZAR).expect("an amount"));
            let held = Transfer::new(id, bank, provider_balance, amount, TransferCode::Settlement);
            t.app.ledger.hold_journal(held).await.expect("it is found");
            resolve(&t, &checker, journal, "retry").await;
        }
        assert_eq!(shown(&t, &checker, journal).await["state"], end, "{key}");
    }
    assert_eq!(t.system_balance(AccountCode::Bank).await.posted(), 100);
    t.finish().await;
}

#[sqlx::test]
async fn what_became_of_money_on_its_way_is_told_to_the_ledger_once_more(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let mut sent = Vec::new();
    for (how, standing, landed) in [
        (
            "arrived",
            JournalStanding::Posted,
            "update journals set state = 'completed', ended_at = updated_at, arrival_outcome = 'arrived', arrival_reference = 'line 3',
                arrival_sha256 = evidence_sha256, arrival_date = evidence_date, version = version + 1 where id = $1",
        ),
        (
            "returned",
            JournalStanding::Voided,
            "update journals set state = 'returned', ended_at = updated_at, arrival_outcome = 'returned', arrival_reference = 'line 3',
                arrival_sha256 = evidence_sha256, arrival_date = evidence_date, version = version + 1 where id = $1",
        ),
    ] {
        let journal = journals::booked(&t, &maker, &checker, entry("settlement", 100), how).await.id();
        change_journal(&t, landed, journal).await;
        sent.push((journal, standing));
    }
    let standing = async |journal: Uuid| t.app.ledger.journal_standing(journal).await.expect("the ledger answers");
    for (journal, _) in &sent {
        assert_eq!(standing(*journal).await, JournalStanding::Held);
    }
    for _ in 0..2 {
        rebuild(&t).await;
        for (journal, expected) in &sent {
            assert_eq!(standing(*journal).await, *expected);
        }
    }
    assert_eq!(t.system_balance(AccountCode::Bank).await.posted(), 100);
    t.finish().await;
}

const CAME: i64 = 900;

/// Another sum came than its row asked for.
async fn misfit(t: &TestApp, customer: &Customer, key: &str) -> Uuid {
    let deposit = t.deposit(customer, CAME + 1, key).await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(CAME), ..Pay::default() }).expect("payable");
    deposit
}

/// It was set aside after the snapshot: its item is there, and the ledger has nothing of it. As one of which a row is known, or none.
async fn forgotten(t: &TestApp, customer: &Customer, (key, kind): (&str, &str)) -> Uuid {
    let deposit = misfit(t, customer, key).await;
    let purchase = t.purchase_of(deposit);
    let item = "insert into suspense_items (id, kind, transaction_id, provider_id, amount_minor, currency, opened_at, booked_at)
                values ($1::uuid, $2::text, case when $2 <> 'unknown_row' then $1 end, $3, $4, 'ZAR', $5, $5)";
    let now = t.app.clock.now();
    let item = sqlx::query(item).bind(deposit).bind(kind).bind(purchase).bind(CAME).bind(now);
    item.execute(&t.app.db).await.expect("PostgreSQL goes on");
    let row = if kind == "unknown_row" {
        let objects = sqlx::query("delete from provider_objects where id = $1").bind(purchase);
        objects.execute(&t.app.db).await.expect("deleted");
        sqlx::query("delete from transactions where id = $1").bind(deposit)
    } else {
        let held = "update transactions set held_code = 'set_aside', held_at = $2, due_at = null, outcome = 'set_aside', version = version + 1,
                        held_reason = 'paid with another amount: 900, asked for 901; it is in suspense' where id = $1";
        sqlx::query(held).bind(deposit).bind(now)
    };
    row.execute(&t.app.db).await.expect("PostgreSQL goes on");
    t.drive().await;
    deposit
}

/// What lies there besides was set aside before the snapshot, and is other people's.
#[sqlx::test]
async fn what_was_set_aside_after_the_snapshot_is_not_given_out_of_other_peoples_money(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let customer = t.customer().await;
    misfit(&t, &customer, "theirs").await;
    t.drive().await;
    let in_suspense = async || t.system_balance(AccountCode::Suspense).await.posted();
    assert_eq!(in_suspense().await, CAME);
    let propose = async |item: Uuid, key: &str| {
        let body = json!({"user_id": customer.id, "direction": "credit", "amount": 500, "currency": "ZAR",
            "counterpart": "suspense", "reason": "it is theirs", "item_id": item});
        adjustments::propose(&t, &maker, body, key).await
    };
    // Its payer has it back, by nobody's decision.
    for kind in ["other_amount", "unknown_row"] {
        let item = forgotten(&t, &customer, (kind, kind)).await;
        assert_eq!(in_suspense().await, CAME, "{kind}: the ledger has nothing of it");
        t.sim.refund_purchase(t.purchase_of(item), None).expect("refundable");
        wait(&t, 10).await;
        let left: i64 = sqlx::query_scalar("select amount_minor - taken_minor from suspense_items where id = $1")
            .bind(item)
            .fetch_one(&t.app.db)
            .await
            .expect("it is there");
        assert_eq!((left, in_suspense().await), (0, CAME), "{kind}");
    }
    // A customer has a part of it, by two people's.
    let item = forgotten(&t, &customer, ("given", "other_amount")).await;
    let asked = propose(item, "given").await;
    let given = adjustments::approve(&t, &checker, asked.id(), adjustments::hash(&asked)).await;
    assert_eq!(given.body["state"], "completed", "{}", given.body);
    assert_eq!((t.balance(&customer).await.0, in_suspense().await), (500, 2 * CAME - 500));
    // Of what the ledger cannot be told again nothing is taken: what was taken of it before is lost as well, or it came from elsewhere.
    let lost = [
        "update suspense_items set taken_minor = 1 where id = $1",
        "update suspense_items set kind = 'journal' where id = $1",
    ];
    for (number, loss) in lost.into_iter().enumerate() {
        let key = format!("lost{number}");
        let item = forgotten(&t, &customer, (key.as_str(), "other_amount")).await;
        sqlx::query(loss).bind(item).execute(&t.app.db).await.expect("changed");
        let answer = propose(item, &key).await;
        let field = (StatusCode::BAD_REQUEST, &json!("item_id"));
        assert_eq!((answer.status, &answer.body["errors"][0]["field"]), field, "{}", answer.body);
    }
    // Nor where it was asked for before.
    let item = forgotten(&t, &customer, ("before", "other_amount")).await;
    let asked = propose(item, "before").await;
    sqlx::query(lost[1]).bind(item).execute(&t.app.db).await.expect("changed");
    let refused = adjustments::approve(&t, &checker, asked.id(), adjustments::hash(&asked)).await;
    let expected = (&json!("rejected"), &json!("item_cleared"));
    assert_eq!((&refused.body["state"], &refused.body["failure_reason"]), expected, "{}", refused.body);
    assert_eq!((t.balance(&customer).await.0, in_suspense().await), (500, 3 * CAME - 500));
}

/// We died before the call was noted and made, or the ledger has forgotten that it was: that one may still pay.
#[sqlx::test]
async fn a_payout_whose_execution_an_older_ledger_may_have_forgotten_is_not_replaced(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let (admin, customer) = (t.staff(Role::Admin).await, t.customer_with(10_000).await);
    let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
    next.at("batch.begun");
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitting");
    // Both were put back: whichever is found first.
    for older in [Older::PostgreSql(t.app.clock.now()), Older::Ledger] {
        safe_mode::enter(&t.app, &t.app.db, older, "put back").await.expect("entered");
    }
    look(&t).await;
    // Its window closes meanwhile.
    wait(&t, 20).await;
    leave(&t, &admin).await;
    wait(&t, 2).await;
    let reason = t.held_reason(withdrawal).await.expect("held");
    assert!(reason.contains("Revio may still pay"), "{reason}");
    assert_eq!(t.sim.payouts_by_reference(&withdrawal.to_string()).len(), 1);
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    t.finish_with_held().await;
}
