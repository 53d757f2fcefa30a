//! What goes back of money in suspense is booked once, by Revio's word or by people's, whichever comes first; and files that tell of it once more
//! find it booked.

use std::time::Duration;

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::platform::database::Transaction;
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, Pay, Scope, Settings, Stranger};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::adjustments;
use crate::connections::pause;
use crate::crashes::Crashes;
use crate::harness::{Answer, Customer, TestApp, answer};
use crate::journals::{self, entry, with};
use crate::provider_objects::paid;
use crate::statement_differences::{NOTHING, compare, kinds};
use crate::statement_files::{file, uploaded};

const CAME: i64 = 900;

async fn misfit(t: &TestApp, customer: &Customer, key: &str) -> Uuid {
    let deposit = t.deposit(customer, CAME + 1, key).await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(CAME), ..Pay::default() }).expect("payable");
    t.drive().await;
    deposit
}

async fn pass(t: &TestApp) {
    for _ in 0..6 {
        t.drive().await;
        t.advance(TimeDelta::minutes(2));
    }
}

async fn dead_letters(t: &TestApp) -> Vec<String> {
    let errors = sqlx::query_scalar("select last_error from webhook_logs where state = 'dead'");
    errors.fetch_all(&t.app.db).await.expect("PostgreSQL answers")
}

async fn in_suspense(t: &TestApp) -> i64 {
    t.system_balance(AccountCode::Suspense).await.posted()
}

fn last_payment(t: &TestApp, purchase: Uuid) -> Value {
    t.sim.payments_of(purchase).pop().expect("one")
}

fn id_of(payment: &Value) -> Uuid {
    payment["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

async fn deliver(t: &TestApp, event: &Value) {
    let body = event.to_string();
    let call = t.http.post(format!("{}/v1/webhooks/revio", t.url)).header("X-Signature", t.sim.sign(body.as_bytes()));
    assert_eq!(answer(call.body(body)).await.status, StatusCode::OK);
}

fn sent_back(kind: &str, amount: i64, item: Uuid, payment: Uuid) -> Value {
    let body = entry(kind, amount);
    let evidence = with(body["evidence"].clone(), json!({"kind": "provider_object", "reference": payment}));
    match kind {
        "suspense_return" => with(body, json!({"item_id": item, "account": "provider_balance", "evidence": evidence})),
        "suspense_in" => with(body, json!({"account": "provider_balance", "evidence": evidence})),
        _ => with(body, json!({"evidence": evidence})),
    }
}

fn refused_field(answer: &Answer) -> (StatusCode, Value) {
    (answer.status, answer.body["errors"][0]["field"].clone())
}

async fn held(t: &TestApp, kind: &'static str) -> Vec<String> {
    sqlx::query_scalar("select held_code from transactions where kind = $1 and held_code is not null")
        .bind(kind)
        .fetch_all(&t.app.db)
        .await
        .expect("PostgreSQL answers")
}

/// Told first, proposed first, or booked first.
#[sqlx::test]
async fn a_refund_of_a_part_is_booked_by_revios_word_or_by_a_journal_that_names_it(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let (customer, maker, checker) = (t.customer().await, t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let items = [misfit(&t, &customer, "a").await, misfit(&t, &customer, "b").await, misfit(&t, &customer, "c").await];
    let refund = |item: Uuid| {
        t.sim.refund_purchase(t.purchase_of(item), Some(400)).expect("refundable");
        id_of(&last_payment(&t, t.purchase_of(item)))
    };
    let told = refund(items[0]);
    t.drive().await;
    assert_eq!(in_suspense(&t).await, 3 * CAME - 400);
    let wrong = (StatusCode::BAD_REQUEST, json!("evidence.reference"));
    for kind in ["suspense_return", "suspense_in", "chargeback_loss"] {
        let asked = journals::propose(&t, &maker, sent_back(kind, 400, items[0], told), kind).await;
        assert_eq!(refused_field(&asked), wrong, "{kind}: {}", asked.body);
    }
    // Proposed before Revio told.
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let late = refund(items[1]);
    let proposed = journals::proposed(&t, &maker, sent_back("suspense_return", 400, items[1], late), "b").await;
    t.sim.clear_faults();
    t.sim.raise_event(late, "payment.refunded").expect("it is there");
    t.drive().await;
    let approved = journals::approve(&t, &checker, &proposed).await;
    assert_eq!(approved.body["failure_reason"], "set_aside_before", "{}", approved.body);
    assert_eq!(in_suspense(&t).await, 3 * CAME - 800);
    // Booked before Revio told.
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let later = refund(items[2]);
    let body = sent_back("suspense_return", 400, items[2], later);
    let booked = journals::booked(&t, &maker, &checker, body, "c").await;
    assert_eq!(booked.body["state"], "completed", "{}", booked.body);
    t.sim.clear_faults();
    t.sim.raise_event(later, "payment.refunded").expect("it is there");
    pass(&t).await;
    assert_eq!((in_suspense(&t).await, held(&t, "refund").await), (3 * CAME - 1_200, vec!["paid_twice".to_owned()]));
    assert_eq!(t.system_balance(AccountCode::ProviderBalance).await.posted(), 3 * CAME - 1_200, "as Revio has it");
}

/// People think that no customer had it, and one did.
#[sqlx::test]
async fn a_chargeback_that_a_journal_has_named_is_not_taken_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 1_000).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let payment = t.sim.charge_back_amount(purchase, 1_000).expect("paid");
    let body = sent_back("chargeback_loss", 1_000, purchase, payment);
    let booked = journals::booked(&t, &maker, &checker, body, "j").await;
    assert_eq!(booked.body["state"], "completed", "{}", booked.body);
    t.sim.clear_faults();
    t.sim.raise_event(payment, "payment.charged_back").expect("it is there");
    pass(&t).await;
    assert_eq!(
        (t.balance(&customer).await, held(&t, "chargeback").await),
        ((1_000, 0, 1_000), vec!["paid_twice".to_owned()])
    );
    assert_eq!(t.system_balance(AccountCode::ProviderBalance).await.posted(), 0, "as Revio has it");
    // What people have closed was never taken: won, it is not the customer's a second time.
    let chargeback: Uuid = sqlx::query_scalar("select id from transactions where kind = 'chargeback'")
        .fetch_one(&t.app.db)
        .await
        .expect("one");
    let body = json!({"action": "dismiss", "note": "booked by the journal"});
    let path = format!("/v1/admin/held/{chargeback}/resolve");
    let closed = t.send(Method::POST, &path, Some(&t.token(&checker)), &[], Some(body)).await;
    assert_eq!((closed.status, t.state(chargeback).await.as_str()), (StatusCode::OK, "failed"), "{}", closed.body);
    t.sim.reverse_charge_back_amount(purchase, 1_000).expect("won");
    pass(&t).await;
    let won = held(&t, "chargeback_reversal").await;
    assert_eq!((t.balance(&customer).await, won), ((1_000, 0, 1_000), vec!["paid_twice".to_owned()]));
}

/// A chargeback of 500 of a payment of which no row is known; Revio tells of nothing any more.
async fn charged_back_untold(t: &TestApp) -> (Uuid, Uuid) {
    let (reference, currency) = ("by hand".to_owned(), "ZAR".to_owned());
    let purchase = t.sim.stranger_purchase(&Stranger { reference, amount: 500, currency, ..Stranger::default() });
    let purchase = purchase.expect("paid");
    pass(t).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    (purchase, t.sim.charge_back_amount(purchase, 500).expect("paid"))
}

/// Of a purchase without a row, too, however the Payment's id was typed.
#[sqlx::test]
async fn what_a_journal_has_named_is_not_taken_out_of_suspense_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let (purchase, payment) = charged_back_untold(&t).await;
    let mut body = sent_back("chargeback_loss", 500, purchase, payment);
    body["evidence"]["reference"] = json!(payment.to_string().to_uppercase());
    let booked = journals::booked(&t, &maker, &checker, body, "j").await;
    assert_eq!(booked.body["evidence"]["reference"], json!(payment), "{}", booked.body);
    t.sim.clear_faults();
    t.sim.raise_event(payment, "payment.charged_back").expect("it is there");
    for _ in 0..5 {
        pass(&t).await;
    }
    let dead = dead_letters(&t).await;
    assert!(!dead.is_empty() && dead.iter().all(|error| error.contains("by a journal that names it")), "{dead:?}");
    let at_revio = t.system_balance(AccountCode::ProviderBalance).await.posted();
    assert_eq!((in_suspense(&t).await, at_revio), (500, 0), "it went once");
    // Won, it is not taken for a chargeback that nobody has booked and that is undone.
    t.sim.reverse_charge_back_amount(purchase, 500).expect("won");
    for _ in 0..5 {
        pass(&t).await;
    }
    let after = "select count(*) from webhook_logs where state = 'dead'";
    let after: i64 = sqlx::query_scalar(after).fetch_one(&t.app.db).await.expect("PostgreSQL answers");
    assert!(usize::try_from(after).is_ok_and(|after| after > dead.len()), "somebody hears of it");
}

/// The journal has claimed what it takes, and its answer is not known: it comes to its end, and the row waits.
#[sqlx::test]
async fn a_journal_that_has_begun_is_not_given_up_for_what_revio_tells_meanwhile(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let (customer, maker, checker) = (t.customer().await, t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let item = misfit(&t, &customer, "a").await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.refund_purchase(t.purchase_of(item), Some(400)).expect("refundable");
    let payment = id_of(&last_payment(&t, t.purchase_of(item)));
    let proposed = journals::proposed(&t, &maker, sent_back("suspense_return", 400, item, payment), "j").await;
    next.at("suspense.claimed");
    journals::approve(&t, &checker, &proposed).await;
    t.sim.clear_faults();
    t.sim.raise_event(payment, "payment.refunded").expect("it is there");
    pass(&t).await;
    let journal = journals::shown(&t, &maker, proposed.id()).await;
    assert_eq!(journal["state"], "completed", "{journal}");
    assert_eq!((in_suspense(&t).await, held(&t, "refund").await), (CAME - 400, vec!["paid_twice".to_owned()]));
    journals::assert_items_are_the_account(&t).await;
}

/// Decision 055, of what never came into the wallet.
#[sqlx::test]
async fn what_a_journal_has_booked_to_end_a_break_is_not_booked_besides(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, maker, checker) = (t.customer().await, t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let item = misfit(&t, &customer, "a").await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.refund_purchase(t.purchase_of(item), Some(400)).expect("refundable");
    let body = with(entry("suspense_return", 400), json!({"item_id": item, "account": "provider_balance"}));
    let evidence = with(body["evidence"].clone(), json!({"kind": "provider_statement", "reference": "line 7"}));
    let booked = journals::booked(&t, &maker, &checker, with(body, json!({"evidence": evidence})), "j").await;
    assert_eq!(booked.body["state"], "completed", "{}", booked.body);
    sqlx::query("update journals set settles_id = $2, settles_direction = 'debit' where id = $1")
        .bind(booked.id())
        .bind(item)
        .execute(&t.app.db)
        .await
        .expect("as the end of a break writes it");
    t.sim.clear_faults();
    let payment = id_of(&last_payment(&t, t.purchase_of(item)));
    t.sim.raise_event(payment, "payment.refunded").expect("it is there");
    pass(&t).await;
    assert_eq!((in_suspense(&t).await, held(&t, "refund").await), (CAME - 400, vec!["paid_twice".to_owned()]));
}

/// Its Payment does not say when it was made, so its row has an id from before the chargeback's.
#[sqlx::test]
async fn a_chargeback_that_is_won_waits_for_the_chargeback_whatever_revio_says_of_their_times(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, maker, checker) = (t.customer().await, t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let item = misfit(&t, &customer, "a").await;
    let purchase = t.purchase_of(item);
    let body = json!({"user_id": customer.id, "direction": "credit", "amount": CAME, "currency": "ZAR",
        "counterpart": "suspense", "reason": "it is theirs", "item_id": item});
    let asked = adjustments::proposed(&t, &maker, body, "k").await;
    let given = adjustments::approve(&t, &checker, asked.id(), adjustments::hash(&asked)).await;
    assert_eq!(given.body["state"], "completed", "{}", given.body);
    t.advance(TimeDelta::days(2));
    t.sim.charge_back_amount(purchase, CAME).expect("charged back");
    pass(&t).await;
    assert_eq!(held(&t, "chargeback").await, ["paid_twice"]);
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.reverse_charge_back_amount(purchase, CAME).expect("won");
    let mut event = last_payment(&t, purchase);
    event["event_type"] = json!("payment.chargeback_reversed");
    event["created_on"] = Value::Null;
    deliver(&t, &event).await;
    for _ in 0..20 {
        pass(&t).await;
    }
    let reversal: Uuid = sqlx::query_scalar("select id from transactions where kind = 'chargeback_reversal'")
        .fetch_one(&t.app.db)
        .await
        .expect("it has a row");
    let chargeback: Uuid = sqlx::query_scalar("select id from transactions where kind = 'chargeback'")
        .fetch_one(&t.app.db)
        .await
        .expect("it has a row");
    assert!(reversal < chargeback, "or this shows nothing");
    assert_eq!((in_suspense(&t).await, t.state(reversal).await), (0, "initiated".to_owned()));
    assert_eq!(t.system_balance(AccountCode::ProviderBalance).await.posted(), CAME, "the customer's alone");
}

/// Revio may tell of the Payment by which a purchase was paid; that is what the purchase says itself.
#[sqlx::test]
async fn the_payment_that_paid_keeps_no_deposit_waiting(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    let now = t.app.clock.now().timestamp();
    let event = json!({
        "type": "payment", "event_type": "payment.created", "id": Uuid::from_u128(9), "is_test": true, "status": "success",
        "created_on": now, "updated_on": now + 1, "related_to": {"type": "purchase", "id": purchase, "reference": deposit},
        "payment": {"amount": 1_000, "currency": "ZAR", "payment_type": "purchase", "is_outgoing": false}});
    deliver(&t, &event).await;
    t.drive().await;
    t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
    t.drive().await;
    assert_eq!((t.state(deposit).await.as_str(), t.held_reason(deposit).await), ("completed", None));
    deliver(&t, &with(event, json!({"event_type": "payment.settled"}))).await;
    pass(&t).await;
    assert_eq!((t.balance(&customer).await, t.held_reason(deposit).await), ((1_000, 0, 1_000), None));
    t.finish().await;
}

/// It was noted and we died; Revio says another sum by now.
#[sqlx::test]
async fn what_was_noted_is_what_the_ledger_is_asked_for(db: PgPool) {
    let t = TestApp::new(db).await;
    let (reference, currency) = (t.app.clock.row_id().to_string(), "ZAR".to_owned());
    let new = Stranger { reference: reference.clone(), amount: 600, currency, ..Stranger::default() };
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    let purchase = t.sim.stranger_purchase(&new).expect("paid");
    sqlx::query(
        "insert into suspense_items (id, kind, provider_id, amount_minor, currency, opened_at)
         values ($1, 'unknown_row', $2, 500, 'ZAR', $3)",
    )
    .bind(reference.parse::<Uuid>().expect("an id"))
    .bind(purchase)
    .bind(t.app.clock.now())
    .execute(&t.app.db)
    .await
    .expect("as it was noted");
    t.sim.clear_faults();
    t.sim.raise_event(purchase, "purchase.paid").expect("it is there");
    t.drive().await;
    let item: i64 = sqlx::query_scalar("select amount_minor from suspense_items where booked_at is not null")
        .fetch_one(&t.app.db)
        .await
        .expect("booked");
    assert_eq!((item, in_suspense(&t).await), (500, 500), "the item is what the account has");
}

/// The row is lost, and the ledger has its money in a wallet; what comes besides is another payment.
#[sqlx::test]
async fn another_sum_about_a_credited_row_that_is_lost_is_for_a_person(db: PgPool) {
    let t = TestApp::new(db).await;
    let (_, deposit, purchase) = paid(&t, 1_000).await;
    for sql in ["delete from provider_objects where id = $1", "delete from transactions where provider_id = $1"] {
        sqlx::query(sql).bind(purchase).execute(&t.app.db).await.expect("deleted");
    }
    let (reference, currency) = (deposit.to_string(), "ZAR".to_owned());
    t.sim.stranger_purchase(&Stranger { reference, amount: 700, currency, ..Stranger::default() }).expect("paid");
    for _ in 0..5 {
        pass(&t).await;
    }
    let dead = dead_letters(&t).await;
    assert!(!dead.is_empty() && dead.iter().all(|error| error.contains("another sum than was credited")), "{dead:?}");
    assert_eq!(in_suspense(&t).await, 0);
}

/// Of a purchase that no row is known for; what its payer got back, and what came again, are transfers of its item.
#[sqlx::test]
async fn a_file_tells_nothing_new_of_what_an_item_gave_back_and_all_of_what_it_did_not(db: PgPool) {
    let t = TestApp::new(db).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let finance = t.staff(Role::Finance).await;
    let (reference, currency) = ("by hand".to_owned(), "ZAR".to_owned());
    let purchase = t.sim.stranger_purchase(&Stranger { reference, amount: 500, currency, ..Stranger::default() });
    let purchase = purchase.expect("paid");
    pass(&t).await;
    assert_eq!(in_suspense(&t).await, 500);
    let line =
        |id: Uuid, product: &str, amount: i64| format!("{id},,{product},success,ZAR,{amount},,2026-03-02T09:00:00Z\n");
    let bought = file(&[]) + &line(purchase, "purchase", 500);
    // Under the purchase's own id, and no event of it came: nothing here has booked it.
    uploaded(&t, &finance, "source=revio&unit=minor", bought.clone() + &line(purchase, "chargeback", -500)).await;
    assert_eq!(kinds(&t).await, ["provider_only"]);
    let known = compare(&t).await;
    assert_eq!(known[0].actual, Some(-500));
    t.sim.charge_back_amount(purchase, 500).expect("paid");
    pass(&t).await;
    assert_eq!((in_suspense(&t).await, kinds(&t).await), (0, NOTHING.to_vec()));
    let lost = id_of(&last_payment(&t, purchase));
    t.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=revio&unit=minor", bought.clone() + &line(lost, "chargeback", -500)).await;
    assert_eq!(kinds(&t).await, NOTHING, "by the Payment's own id");
    t.sim.reverse_charge_back_amount(purchase, 500).expect("won");
    pass(&t).await;
    let won = id_of(&last_payment(&t, purchase));
    t.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=revio&unit=minor", bought + &line(won, "chargeback_reversal", 500)).await;
    assert_eq!((in_suspense(&t).await, kinds(&t).await), (500, NOTHING.to_vec()));
    let again = journals::propose(&t, &finance, sent_back("suspense_in", 500, purchase, won), "k").await;
    assert_eq!(refused_field(&again), (StatusCode::BAD_REQUEST, json!("evidence.reference")), "{}", again.body);
}

/// And a journal that names it waits for its second person.
async fn charged_back_and_named(db: PgPool) -> (TestApp, Uuid, Answer, Customer) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let (purchase, payment) = charged_back_untold(&t).await;
    t.sim.clear_faults();
    let proposed = journals::proposed(&t, &maker, sent_back("chargeback_loss", 500, purchase, payment), "j").await;
    (t, payment, proposed, checker)
}

/// As whoever begins to book it; and what is to be done meanwhile waits.
async fn alone_with(t: &TestApp, payment: Uuid) -> Transaction {
    let mut tx = t.app.db.begin().await.expect("PostgreSQL answers");
    octoco::money::provider_objects::lock_payments(&mut tx, &[payment]).await.expect("nobody has it");
    tx
}

async fn commit_soon(tx: Transaction) {
    pause(Duration::from_millis(500)).await;
    tx.commit().await.expect("committed");
}

async fn at_revio(t: &TestApp) -> i64 {
    t.system_balance(AccountCode::ProviderBalance).await.posted()
}

#[sqlx::test]
async fn an_item_waits_for_a_journal_that_begins_and_is_not_given_back_besides(db: PgPool) {
    let (t, payment, proposed, _) = charged_back_and_named(db).await;
    let mut tx = alone_with(&t, payment).await;
    let begins = "update journals set state = 'initiated', due_at = null where id = $1";
    sqlx::query(begins).bind(proposed.id()).execute(&mut *tx).await.expect("PostgreSQL does it");
    t.sim.raise_event(payment, "payment.charged_back").expect("it is there");
    tokio::join!(t.drive(), commit_soon(tx));
    for _ in 0..3 {
        pass(&t).await;
    }
    let dead = dead_letters(&t).await;
    assert!(!dead.is_empty() && dead.iter().all(|error| error.contains("by a journal that names it")), "{dead:?}");
    assert_eq!((in_suspense(&t).await, at_revio(&t).await), (500, 500), "the journal's is to come");
}

/// Whoever is first.
#[sqlx::test]
async fn what_an_item_and_a_journal_book_at_once_is_booked_once(db: PgPool) {
    let (t, payment, proposed, checker) = charged_back_and_named(db).await;
    let tx = alone_with(&t, payment).await;
    t.sim.raise_event(payment, "payment.charged_back").expect("it is there");
    let (_, approved, ()) = tokio::join!(t.drive(), journals::approve(&t, &checker, &proposed), commit_soon(tx));
    pass(&t).await;
    assert_eq!(at_revio(&t).await, 0, "{}", approved.body);
    let left = if approved.body["state"] == "completed" { 500 } else { 0 };
    assert_eq!(in_suspense(&t).await, left, "{}", approved.body);
}
