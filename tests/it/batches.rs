//! What many deliveries and steps at once share: one statement for all of them, and each hears what became of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt;
use futures_util::future::join_all;
use octoco::identity::users;
use octoco::money::provider_objects::{self, ObjectKind};
use octoco::money::transactions::{self, Due, Move, State};
use octoco::platform::crash::{CrashPoints, Fate};
use octoco::platform::error::{Error, Result};
use octoco::processes::worker;
use octoco::webhooks::inbox::{self, Call, Endpoint, Verdict};
use revio_sim::{Event, Fault, FaultKind, Moment, Pay, Scope, When};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Answer, Customer, TestApp};

async fn receive(t: &TestApp, body: &str) -> Result<Verdict> {
    let (signature, source_address) = (t.sim.sign(body.as_bytes()), "127.0.0.1".to_owned());
    let (endpoint, body, signatures, headers) =
        (Endpoint::Webhook, body.as_bytes(), vec![signature.as_bytes()], Value::Null);
    inbox::receive(&t.app, &Call { endpoint, body, signatures, headers, source_address }).await
}

/// Deposits of one customer that were paid, and of which only these events tell.
async fn paid(t: &TestApp, customer: &Customer, count: usize) -> (Vec<Answer>, Vec<Event>) {
    let mut deposits = Vec::new();
    for index in 0..count {
        deposits.push(t.deposit(customer, 100, &format!("d{index}")).await);
    }
    t.drive().await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    for deposit in &deposits {
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    }
    t.sim.deliver().await;
    t.sim.clear_faults();
    let events: Vec<Event> = t.sim.events().into_iter().filter(|event| event.event_type == "purchase.paid").collect();
    assert_eq!(events.len(), count);
    (deposits, events)
}

async fn count(t: &TestApp, of: &'static str) -> i64 {
    sqlx::query_scalar(of).fetch_one(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn of_the_same_bytes_in_one_batch_the_first_is_accepted_and_the_log_shows_all(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (_, events) = paid(&t, &customer, 6).await;
    sqlx::query("delete from webhook_logs").execute(&t.app.db).await.expect("PostgreSQL answers");
    let calls = (0..3).flat_map(|_| &events).map(|event| receive(&t, &event.body));
    let verdicts: Vec<Verdict> = join_all(calls).await.into_iter().map(|told| told.expect("stored")).collect();
    assert_eq!(verdicts[..6], [Verdict::Accepted; 6], "who came first");
    assert_eq!(verdicts[6..], [Verdict::Duplicate; 12]);
    assert_eq!(
        count(&t, "select count(*) from webhook_logs where verdict = 'accepted' and state = 'pending'").await,
        6
    );
    let again =
        "select count(*) from webhook_logs where verdict = 'duplicate' and state = 'ignored' and due_at is null";
    assert_eq!(count(&t, again).await, 12);
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (600, 0, 600));
    t.finish().await;
}

#[sqlx::test]
async fn who_was_stored_and_not_answered_comes_again_and_is_booked_once(db: PgPool) {
    let dies = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&dies);
    let crash = CrashPoints::planned(move |point| point == "inbox.stored" && armed.load(Ordering::SeqCst));
    let t = TestApp::crashing(db, &[], crash).await;
    let customer = t.customer().await;
    let (deposits, events) = paid(&t, &customer, 5).await;
    dies.store(true, Ordering::SeqCst);
    let unanswered = join_all(events.iter().map(|event| receive(&t, &event.body))).await;
    assert!(unanswered.iter().all(|told| matches!(told, Err(Error::Crashed(_)))));
    dies.store(false, Ordering::SeqCst);
    let again = join_all(events.iter().map(|event| receive(&t, &event.body))).await;
    assert!(again.iter().all(|told| matches!(told, Ok(Verdict::Duplicate))), "{again:?}");
    t.drive().await;
    for deposit in &deposits {
        assert_eq!(t.state(deposit.id()).await, "completed");
    }
    assert_eq!(t.balance(&customer).await, (500, 0, 500));
    t.finish().await;
}

/// Before each kind of batch is written, between its statements where it has several, and before anybody hears of it.
const POINTS: [&str; 12] = [
    "batch.before_beginnings", "batch.before_ends", "batch.before_inserts", "batch.before_mails", "batch.before_moves",
    "batch.before_receipts", "batch.begun", "batch.ended", "batch.inserted", "batch.mailed", "batch.moved",
    "batch.received",
];

#[sqlx::test]
async fn wherever_a_batch_dies_or_panics_everybody_in_it_is_served_once(db: PgPool) {
    let armed = Arc::new(Mutex::new(None));
    let plan = Arc::clone(&armed);
    let crash = CrashPoints::planned(move |point| {
        let mut armed = plan.lock().expect("not poisoned");
        armed.take_if(|(at, _)| *at == point).map_or(Fate::GoesOn, |(_, fate)| fate)
    });
    let t = TestApp::crashing(db, &[("NOTICE_MAILS", "on")], crash).await;
    let mut customers = Vec::new();
    for _ in 0..4 {
        customers.push(t.customer_with(10_000).await);
    }
    for (point, fate) in POINTS.into_iter().flat_map(|point| [(point, Fate::Dies), (point, Fate::Panics)]) {
        *armed.lock().expect("not poisoned") = Some((point, fate));
        // Whether two of one customer's come together is a matter of luck where the machine is busy.
        for tried in 0..10 {
            everybody_is_served(&t, &customers, &format!("{point}-{fate:?}-{tried}")).await;
            if armed.lock().expect("not poisoned").is_none() {
                break;
            }
        }
        assert_eq!(*armed.lock().expect("not poisoned"), None, "nobody came by");
    }
    // The last looks after each.
    for _ in 0..9 {
        t.drive().await;
        t.advance(TimeDelta::days(1));
    }
    t.finish().await;
}

/// Each asks for two deposits and a withdrawal at once, and again after a while, as whoever got no answer does.
async fn everybody_is_served(t: &TestApp, customers: &[Customer], keys: &str) {
    let [one, other, out] = ["one", "other", "out"].map(|what| format!("{keys}-{what}"));
    let ask = || {
        let of = |customer| {
            join_all([
                t.deposit(customer, 100, &one).boxed_local(),
                t.deposit(customer, 200, &other).boxed_local(),
                t.withdraw(customer, 300, &out).boxed_local(),
            ])
        };
        join_all(customers.iter().map(of))
    };
    ask().await;
    for _ in 0..3 {
        t.drive().await;
        t.advance(TimeDelta::minutes(5));
    }
    let answers: Vec<Answer> = ask().await.into_iter().flatten().collect();
    for answer in &answers {
        assert!(answer.status.is_success(), "{keys}: {}", answer.body);
    }
    for deposit in answers.iter().filter(|answer| answer.body["kind"] == "deposit") {
        t.sim.pay_purchase(t.purchase_of(deposit.id()), Pay::default()).expect("payable");
    }
    for _ in 0..6 {
        t.drive().await;
        t.advance(TimeDelta::minutes(20));
    }
    for answer in &answers {
        assert_eq!(t.state(answer.id()).await, "completed", "{keys}");
    }
    assert_eq!(count(t, "select count(*) from mails where state <> 'sent'").await, 0, "{keys}");
    for customer in customers {
        assert_eq!(t.balance(customer).await, (10_000, 0, 10_000), "{keys}");
    }
    t.advance(TimeDelta::hours(12));
}

/// Where a commit is made, whether it waits for the disk: what is noted of each row when its transaction ends.
const COMMITS: &str = "
    set synchronous_commit = on;
    create table commits (what text not null, waits text not null);
    create function note_commit() returns trigger language plpgsql as $$
    declare
        what text;
    begin
        if tg_table_name = 'mails' then
            if tg_op = 'INSERT' then what := new.kind || ' mailed';
            elsif new.state <> old.state then what := 'mail ' || new.state; end if;
        elsif tg_op = 'INSERT' then
            what := case tg_table_name when 'transactions' then 'row' when 'webhook_logs' then 'received' else 'noted' end;
        elsif tg_table_name = 'transactions' then
            if new.version > old.version then what := old.state || ' > ' || new.state; end if;
        elsif tg_table_name = 'webhook_logs' then
            if new.state <> old.state then what := 'ended'; end if;
        else
            if new.executions > old.executions then what := 'executed'; else what := 'noted'; end if;
        end if;
        if what is not null then insert into commits values (what, current_setting('synchronous_commit')); end if;
        return null;
    end $$;
    do $$ declare of_table text; begin
        foreach of_table in array array['transactions', 'webhook_logs', 'provider_objects', 'mails'] loop
            execute format('create constraint trigger note_commit after insert or update on %I deferrable initially deferred
                for each row execute function note_commit()', of_table);
        end loop;
        -- Of sessions to come.
        execute format('alter database %I set synchronous_commit = on', current_database());
    end $$";

#[sqlx::test]
#[expect(clippy::disallowed_methods, reason = "somebody else is at it meanwhile")]
async fn only_what_is_done_once_more_when_it_is_lost_does_not_wait_for_the_disk(db: PgPool) {
    sqlx::raw_sql(COMMITS).execute(&db).await.expect("the owner may");
    let t = TestApp::with(db, &[("NOTICE_MAILS", "on")]).await;
    let customer = t.customer_with(1_000).await;
    let withdrawal = t.withdraw(&customer, 300, "out").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal.id()).await, "completed");
    assert_eq!(t.withdraw(&customer, 9_999, "too-much").await.status, 422);
    // A row that somebody changes while its move is under way is looked at again by the same statement.
    let row = transactions::find(&t.app, withdrawal.id()).await.expect("it is there");
    let mut other = t.app.db.begin().await.expect("PostgreSQL answers");
    let change = sqlx::query("update transactions set attempts = attempts where id = $1").bind(row.id);
    change.execute(&mut *other).await.expect("nobody has it");
    let change = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        other.commit().await
    };
    let to = Move::to(State::Completed, Due::Never);
    let (moved, changed) = tokio::join!(transactions::advance(&t.app, &row, to), change);
    assert!(moved.is_ok() && changed.is_ok());
    let of = async |waits: &'static str| -> Vec<String> {
        let named = "select distinct what from commits where waits = $1 order by what";
        sqlx::query_scalar(named).bind(waits).fetch_all(&t.app.db).await.expect("PostgreSQL answers")
    };
    let (repeated, waited) = (of("off").await, of("on").await);
    assert_eq!(repeated, ["ended", "initiated > reserved", "mail sent", "noted", "withdrawal mailed"]);
    assert!(!waited.iter().any(|what| repeated.contains(what)), "{waited:?}");
    for what in [
        "completed > completed", "deposit mailed", "executed", "initiated > rejected", "received",
        "reserved > submitting", "row",
    ] {
        assert!(waited.iter().any(|waited| waited == what), "{what} is not among {waited:?}");
    }
    t.finish().await;
}

#[sqlx::test]
async fn a_receipt_that_is_written_once_more_by_its_id_keeps_its_verdict(db: PgPool) {
    let armed = Arc::new(AtomicBool::new(false));
    let panics = Arc::clone(&armed);
    // Behind the commit, and then it is written alone.
    let crash = CrashPoints::planned(move |point| {
        let fate = point == "batch.received" && panics.swap(false, Ordering::SeqCst);
        if fate { Fate::Panics } else { Fate::GoesOn }
    });
    let t = TestApp::crashing(db, &[], crash).await;
    let foreign =
        json!({"type": "Purchase", "event_type": "purchase.paid", "id": Uuid::now_v7(), "brand_id": Uuid::now_v7()});
    for (body, verdict) in [(foreign, Verdict::Foreign), (json!({"type": "x"}), Verdict::Duplicate)] {
        armed.store(true, Ordering::SeqCst);
        assert_eq!(receive(&t, &body.to_string()).await.expect("it is stored"), verdict);
        assert!(!armed.load(Ordering::SeqCst), "it did not panic");
    }
    let rows = "select count(*) from webhook_logs where verdict in ('foreign', 'accepted')";
    assert_eq!((count(&t, rows).await, count(&t, "select count(*) from webhook_logs").await), (2, 2));
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_delivery_that_cannot_be_stored_is_nobody_elses_failure(db: PgPool) {
    let t = TestApp::new(db).await;
    let bad = "alter table webhook_logs add constraint bad check (event_type <> 'bad')";
    sqlx::query(bad).execute(&t.app.db).await.expect("PostgreSQL answers");
    let body = |word: &str| json!({"type": "x", "event_type": word, "id": Uuid::now_v7()}).to_string();
    let bodies = ["one", "bad", "two", "three"].map(body);
    let told = join_all(bodies.iter().map(|body| receive(&t, body))).await;
    let stored: Vec<bool> = told.iter().map(|told| matches!(told, Ok(Verdict::Accepted))).collect();
    assert_eq!(stored, [true, false, true, true]);
    assert_eq!(count(&t, "select count(*) from webhook_logs").await, 3);
    sqlx::query("alter table webhook_logs drop constraint bad").execute(&t.app.db).await.expect("PostgreSQL answers");
    assert!(matches!(receive(&t, &bodies[1]).await, Ok(Verdict::Accepted)), "its sender comes again");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn of_one_object_told_of_many_times_at_once_the_newest_counts_and_no_older_answer(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 100, "d").await;
    t.drive().await;
    let id = t.purchase_of(deposit.id());
    let purchase = t.app.revio.purchase(id).await.expect("Revio answers");
    let told = purchase.updated_on.whole().expect("a time");
    let tell = |after| provider_objects::announce(&t.app, ObjectKind::Purchase, id, Some(told + after));
    assert!(join_all([3, 9, 5, 1].map(tell)).await.iter().all(Result::is_ok));
    let known = provider_objects::find(&t.app, id).await.expect("PostgreSQL answers").expect("known");
    assert_eq!(known.announced_on, Some(told + 9));
    let note = || provider_objects::record_purchase(&t.app, Some(deposit.id()), &purchase);
    let older = join_all([note(), note(), note()]).await;
    assert!(older.iter().all(|noted| matches!(noted, Err(Error::Unavailable(_)))), "{older:?}");
    t.finish().await;
}

#[sqlx::test]
async fn steps_that_wait_for_revio_hold_up_nobody_who_comes_later(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let (deposits, events) = paid(&t, &customer, 9).await;
    t.sim.set_fault(Fault::next(8, Scope::GetPurchase, FaultKind::Hang { secs: 15, moment: Moment::Before }));
    let stop = CancellationToken::new();
    let mut tasks = worker::start(&t.app, &stop);
    for (event, left) in events[..8].iter().zip((0..8).rev()) {
        receive(&t, &event.body).await.expect("stored");
        until(async || hanging(&t) == left).await;
    }
    receive(&t, &events[8].body).await.expect("stored");
    let last = deposits.iter().find(|deposit| t.purchase_of(deposit.id()) == events[8].object_id).expect("one of them");
    until(async || t.state(last.id()).await == "completed").await;
    assert_eq!(count(&t, "select count(*) from transactions where state = 'completed'").await, 1, "the others wait");
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    // Whoever was not answered comes again.
    t.advance(TimeDelta::minutes(2));
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (900, 0, 900));
    t.finish().await;
}

/// As a migration does.
#[sqlx::test]
async fn a_look_up_waits_for_a_table_that_is_being_changed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let mut change = t.app.db.begin().await.expect("PostgreSQL answers");
    sqlx::query("lock table users in access exclusive mode").execute(&mut *change).await.expect("nobody has it");
    let app = t.app.clone();
    let mut look = std::pin::pin!(users::find(&app, customer.id));
    let waits = tokio::time::timeout(Duration::from_millis(200), look.as_mut()).await;
    assert!(waits.is_err(), "it has neither failed nor found anything");
    change.rollback().await.expect("PostgreSQL answers");
    assert_eq!(look.await.expect("it is there").id, customer.id);
    t.finish().await;
}

/// Of how many calls Revio is still to leave the answer open.
fn hanging(t: &TestApp) -> u32 {
    match t.sim.active_faults().first().map(|fault| fault.when) {
        Some(When::Next(times)) => times,
        _ => 0,
    }
}

/// Within some seconds.
#[expect(clippy::disallowed_methods, reason = "the worker is at it meanwhile")]
async fn until(reached: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if reached().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not reached");
}
