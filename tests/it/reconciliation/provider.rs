//! The provider leg: what Revio says of its objects and its balance.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::books::projector;
use octoco::finance::reconciliation::{self, RunKind};
use octoco::money::transactions;
use octoco::platform::permissions::Role;
use revio_sim::{Fault, FaultKind, Override, Pay, PayoutBehaviour, PayoutOutcome, Scope, Settings};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::inside::transfer;
use super::{assert_none_open, assert_one, cycle, cycle_of, files, states};
use crate::crashes::Crashes;
use crate::harness::TestApp;
use crate::reporting::value;
use crate::statement_files::{deposits, file, uploaded};

#[sqlx::test]
async fn a_payment_whose_webhook_was_lost_is_booked_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("it can be paid");
    cycle(&t).await;
    assert_one(&t, "paid_at_provider", "healed").await;
    assert_eq!(t.state(deposit).await, "completed");
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    // The webhook comes after all, and the worker looks, too.
    t.drive().await;
    cycle(&t).await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    assert_one(&t, "paid_at_provider", "healed").await;
    t.finish().await;
}

/// We died before we had the answer that made it; its payer has its page open, and the row has another by now.
#[sqlx::test]
async fn a_payment_by_another_purchase_of_the_row_is_booked_though_its_webhook_was_lost(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db, &[], next.plan()).await;
    let customer = t.customer().await;
    next.at("deposit.purchase_created");
    drop(t.deposit(&customer, 5_000, "d").await);
    let deposit: Uuid = sqlx::query_scalar("select id from transactions where user_id = $1")
        .bind(customer.id)
        .fetch_one(&t.app.db)
        .await
        .expect("it is written");
    let made = t.sim.purchases_by_reference(&deposit.to_string());
    let first: Uuid = made[0]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    t.sim.set_fault(Fault::next(1, Scope::Deliver, FaultKind::Missing));
    t.advance(TimeDelta::minutes(3));
    t.drive().await;
    assert_eq!(t.sim.purchases_by_reference(&deposit.to_string()).len(), 2);
    let named: Option<Uuid> = sqlx::query_scalar("select provider_id from transactions where id = $1")
        .bind(deposit)
        .fetch_one(&t.app.db)
        .await
        .expect("it is written");
    assert_ne!(named.expect("the one that was made again"), first);
    t.sim.raise_event(first, "purchase.viewed").expect("it is there");
    t.drive().await;
    t.sim.set_fault(Fault::chance(1.0, Scope::Deliver, FaultKind::Missing));
    t.sim.pay_purchase(first, Pay::default()).expect("payable");
    cycle(&t).await;
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    cycle(&t).await;
    assert_none_open(&t).await;
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000), "once");
}

#[sqlx::test]
async fn a_payout_that_was_paid_without_a_word_is_completed(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 1_000, "w").await.id();
    t.drive().await;
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    cycle(&t).await;
    assert_one(&t, "payout_paid", "healed").await;
    assert_eq!(t.state(withdrawal).await, "completed");
    assert_eq!(t.balance(&customer).await, (4_000, 0, 4_000));
    assert_none_open(&t).await;
}

#[sqlx::test]
async fn a_payout_that_was_paid_after_it_had_failed_is_taken_from_the_wallet(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 1_000, "w").await.id();
    t.drive().await;
    let payout = t.payout_of(withdrawal);
    t.sim.settle_payout(payout, PayoutOutcome::Error { code: "x".to_owned() }).expect("pending");
    t.drive().await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await.0), ("failed", 5_000));
    t.sim.settle_payout(payout, PayoutOutcome::Success).expect("Revio may");
    cycle(&t).await;
    assert_one(&t, "payout_paid", "healed").await;
    assert_eq!((t.state(withdrawal).await.as_str(), t.balance(&customer).await.0), ("completed", 4_000));
}

#[sqlx::test]
async fn what_was_given_back_without_a_word_is_followed_after_an_hour(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    let mut settings = t.sim.settings();
    settings.payment_reads = true;
    t.sim.set_settings(settings);
    t.sim.refund_purchase(t.purchase_of(deposit.id()), Some(2_000)).expect("it can be refunded");
    cycle(&t).await;
    assert_one(&t, "reversed_at_provider", "timing").await;
    t.advance(TimeDelta::minutes(60));
    cycle(&t).await;
    assert_one(&t, "reversed_at_provider", "healed").await;
    t.drive().await;
    assert_eq!(t.balance(&customer).await, (3_000, 0, 3_000));
    cycle(&t).await;
    assert_none_open(&t).await;
}

/// Of a deposit that was completed: what Revio says of it since, and which break that is.
async fn contradicts(t: &TestApp, key: &str, said: (&str, serde_json::Value), kind: &str) -> Uuid {
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, key).await;
    t.pay(&deposit).await;
    let (pointer, value) = said;
    t.sim.set_override(Override::of(t.purchase_of(deposit.id()), pointer, value));
    cycle(t).await;
    assert_one(t, kind, "open").await;
    deposit.id()
}

#[sqlx::test]
async fn a_purchase_that_is_not_paid_any_more_is_found_and_stays_open(db: PgPool) {
    let t = TestApp::new(db).await;
    let deposit = contradicts(&t, "d", ("/status", json!("viewed")), "not_paid_at_provider").await;
    cycle(&t).await;
    assert_one(&t, "not_paid_at_provider", "open").await;
    t.sim.clear_overrides();
    cycle(&t).await;
    assert_one(&t, "not_paid_at_provider", "cleared").await;
    // Seen again, it is the same break.
    t.sim.set_override(Override::of(t.purchase_of(deposit), "/status", json!("viewed")));
    cycle(&t).await;
    assert_one(&t, "not_paid_at_provider", "open").await;
    let reopened: i32 = sqlx::query_scalar("select reopened from breaks").fetch_one(&t.app.db).await.expect("one");
    assert_eq!(reopened, 1);
}

#[sqlx::test]
async fn another_amount_at_revio_is_found(db: PgPool) {
    let t = TestApp::new(db).await;
    contradicts(&t, "d", ("/payment/amount", json!(5_100)), "amount_provider").await;
}

#[sqlx::test]
async fn another_currency_at_revio_is_found(db: PgPool) {
    let t = TestApp::new(db).await;
    contradicts(&t, "d", ("/payment/currency", json!("USD")), "currency_provider").await;
}

#[sqlx::test]
async fn a_difference_of_fees_is_not_gone_where_revio_names_none(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    for (fee, state) in
        [(json!(30), "timing"), (json!(null), "timing"), (json!("30 c"), "timing"), (json!(0), "cleared")]
    {
        t.sim.set_override(Override::of(t.purchase_of(deposit.id()), "/payment/fee_amount", fee));
        cycle(&t).await;
        assert_one(&t, "fee_provider", state).await;
    }
}

#[sqlx::test]
async fn a_fee_that_nobody_booked_is_booked_after_a_day(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    t.sim.set_override(Override::of(t.purchase_of(deposit.id()), "/payment/fee_amount", json!(30)));
    cycle(&t).await;
    assert_one(&t, "fee_provider", "timing").await;
    t.advance(TimeDelta::hours(25));
    cycle(&t).await;
    assert_one(&t, "fee_provider", "healed").await;
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 30);
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000), "nobody's wallet pays it");
}

/// Found by the statement, and booked by what Revio says of the Payment.
#[sqlx::test]
async fn a_fee_of_a_refund_that_nobody_booked_is_booked_once_revio_names_it(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000]).await;
    t.sim.set_settings(Settings { reversal_fee: 120, payment_reads: true, ..t.sim.settings() });
    t.sim.set_override(Override::of("payment", "/payment/fee_amount", json!(0)));
    t.sim.refund_purchase(paid[0].object, Some(1_000)).expect("refundable");
    t.drive().await;
    let refund = value(&t, "select provider_id from transactions where kind = 'refund' and state = 'completed'").await;
    let line = format!("{refund},,refund,success,ZAR,-1000,120,2026-03-02T09:00:00Z\n");
    let query = "source=revio&unit=minor&from=2026-03-02&to=2026-03-02";
    uploaded(&t, &finance, query, file(&paid) + &line).await;
    for (days, state) in [(0, "timing"), (2, "open")] {
        t.advance(TimeDelta::days(days));
        files::cycle(&t).await;
        assert_one(&t, "fee_provider", state).await;
    }
    t.sim.clear_overrides();
    files::cycle(&t).await;
    assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 100 + 120);
    files::cycle(&t).await;
    assert_one(&t, "fee_provider", "healed").await;
}

#[sqlx::test]
async fn two_objects_that_were_paid_for_one_row_are_found(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    let again = "insert into provider_objects (id, kind, transaction_id, status, amount_minor, currency, first_seen_at, last_seen_at,
            changed_at, status_at)
        select gen_random_uuid(), kind, transaction_id, status, amount_minor, currency, first_seen_at, last_seen_at, changed_at, status_at
          from provider_objects where transaction_id = $1";
    super::sql(&t, again, deposit.id()).await;
    cycle(&t).await;
    assert_one(&t, "duplicate_provider", "open").await;
    let sums = "select concat_ws(' ', expected_minor, actual_minor) from breaks where type = 'duplicate_provider'";
    assert_eq!(value(&t, sums).await, "5000 10000");
    // Of one of them Revio does not say how much it was, so that nobody knows what differs.
    let untold = "update provider_objects set amount_minor = null
                   where id = (select max(id::text)::uuid from provider_objects where transaction_id = $1)";
    super::sql(&t, untold, deposit.id()).await;
    cycle(&t).await;
    assert_eq!(value(&t, sums).await, "");
}

/// More rows ended long ago than a run may ask about: those of the day come before them, and they have their turn.
#[sqlx::test]
async fn a_daily_run_asks_about_the_days_rows_and_about_older_ones_in_turn(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let ended = t.app.clock.now() - TimeDelta::days(100);
    let millis = ended.timestamp_millis().unsigned_abs();
    let ids: Vec<Uuid> = (0..1_000).map(|_| ledger::row_id(millis, rand::random())).collect();
    sqlx::query(
        "insert into transactions (id, user_id, kind, state, states, moved_at, amount_minor, currency, updated_at, provider_id)
         select id, $2, 'deposit', 'failed', 'initiated failed', array[$3::timestamptz], 100, 'ZAR', $3, gen_random_uuid()
           from unnest($1::uuid[]) as t (id)",
    )
    .bind(&ids)
    .bind(customer.id)
    .bind(ended)
    .execute(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    t.sim.set_override(Override::of(t.purchase_of(deposit.id()), "/status", json!("viewed")));
    let run = cycle_of(&t, RunKind::Daily).await;
    assert_one(&t, "not_paid_at_provider", "open").await;
    let (asked, turn): (i64, Uuid) = sqlx::query_as(
        "select (counts->>'asked')::bigint, (checkpoint->>'ended_turn')::uuid from reconciliation_runs where id = $1",
    )
    .bind(run)
    .fetch_one(&t.app.db)
    .await
    .expect("a run");
    assert_eq!(asked, 900, "as many as a run may");
    assert!(!turn.is_nil(), "the next one goes on with the others");
}

#[sqlx::test]
async fn a_balance_of_revios_that_two_runs_find_different_is_a_break(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    cycle(&t).await;
    assert_eq!(states(&t, "provider_balance").await, Vec::<String>::new(), "Revio holds what we think");
    transfer(&t, AccountCode::Bank, AccountCode::ProviderBalance, 700).await;
    cycle(&t).await;
    assert_one(&t, "provider_balance", "timing").await;
    cycle(&t).await;
    assert_one(&t, "provider_balance", "open").await;
    let kept: Vec<(String, i64, i64)> = sqlx::query_as(
        "select field, amount_minor, expected_minor from provider_balances where field in ('ours', 'available_balance')
          order by asked_at desc, field limit 2",
    )
    .fetch_all(&t.app.db)
    .await
    .expect("PostgreSQL answers");
    assert_eq!(kept, [("available_balance".to_owned(), 5_000, 4_300), ("ours".to_owned(), 5_000, 4_300)]);
    let sums: serde_json::Value = sqlx::query_scalar("select sums from reconciliation_runs order by id limit 1")
        .fetch_one(&t.app.db)
        .await
        .expect("a run");
    assert!(sums["ZAR"]["fits"].as_str().expect("text").contains("available_balance"), "{sums}");
}

/// A fee that nobody announced, say, and another one of the same sum a month later.
#[sqlx::test]
async fn a_sum_that_was_resolved_and_went_away_is_news_when_it_differs_again(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    let state = async || {
        cycle(&t).await;
        cycle(&t).await;
        states(&t, "provider_balance").await.join(" ")
    };
    transfer(&t, AccountCode::Bank, AccountCode::ProviderBalance, 700).await;
    assert_eq!(state().await, "open");
    let resolved = "update breaks set state = 'resolved', resolution = 'booked', resolution_note = 'x', resolved_by = $1, ended_at = now()
                     where type = 'provider_balance'";
    super::sql(&t, resolved, t.staff(Role::Finance).await.id).await;
    assert_eq!(state().await, "resolved", "it is there still, and somebody knows");
    transfer(&t, AccountCode::ProviderBalance, AccountCode::Bank, 700).await;
    assert_eq!(state().await, "resolved");
    transfer(&t, AccountCode::Bank, AccountCode::ProviderBalance, 700).await;
    assert_eq!(state().await, "open");
}

#[sqlx::test]
async fn what_revio_does_not_say_any_more_of_its_balance_is_not_told(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    let told = async |field: &str| {
        reconciliation::measure(&t.app).await.expect("measured");
        t.app.metrics.finance.provider_balance.with_label_values(&["ZAR", field]).get()
    };
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    assert_eq!(told("available_balance").await, 5_000, "the ledger's word before Revio's");
    let run = cycle(&t).await;
    let more = "insert into provider_balances select run_id, currency, 'put_aside', 300, expected_minor, asked_at
                  from provider_balances where run_id = $1 and field = 'ours'";
    super::sql(&t, more, run).await;
    assert_eq!((told("put_aside").await, told("ours").await), (300, 5_000));
    cycle(&t).await;
    assert_eq!((told("put_aside").await, told("ours").await), (0, 5_000));
    transfer(&t, AccountCode::Bank, AccountCode::ProviderBalance, 700).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    assert_eq!(told("available_balance").await, 5_000, "as Revio said");
    t.advance(TimeDelta::minutes(61));
    assert_eq!((told("available_balance").await, told("ours").await), (4_300, 0), "an hour ago");
}

/// A row that somebody has in hand is nobody's break.
#[sqlx::test]
async fn a_row_under_a_lease_is_not_looked_at(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay::default()).expect("it can be paid");
    t.advance(TimeDelta::minutes(3));
    let due = t.app.clock.now() + TimeDelta::minutes(4);
    sqlx::query("update transactions set due_at = $2 where id = $1")
        .bind(deposit)
        .bind(due)
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    cycle(&t).await;
    assert_eq!(states(&t, "paid_at_provider").await, Vec::<String>::new(), "leased");
    assert_eq!(transactions::find(&t.app, deposit).await.expect("the row").state.name(), "awaiting_payment");
}
