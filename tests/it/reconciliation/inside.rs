//! The inside leg: what rows, the ledger, its copy and the days say of each other.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{AccountCode, Amount, Currency, Leg, Transfer, TransferCode, TransferId};
use octoco::books::projector;
use octoco::finance::reconciliation::RunKind;
use revio_sim::{PayoutBehaviour, PayoutOutcome};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{assert_none_open, assert_one, begin, cycle, cycle_of, go_on, sql, states};
use crate::harness::TestApp;
use crate::log_ids::Log;
use crate::reporting::value;

const COMPLETE: &str = "update transactions set state = 'completed', states = states || ' completed',
    moved_at = moved_at || updated_at, completed_at = updated_at, due_at = null, version = version + 1 where id = $1";

/// A transfer that no row asked for.
pub(super) async fn transfer(t: &TestApp, debit: AccountCode, credit: AccountCode, minor: i64) -> Uuid {
    let row = t.app.clock.row_id();
    let (debit, credit) = (t.app.ledger.system(debit, Currency::ZAR), t.app.ledger.system(credit, Currency::ZAR));
    t.app.ledger.open(&[debit, credit]).await.expect("they open");
    let amount = Amount::new(minor, Currency::ZAR).expect("an amount");
    let id = TransferId::of(row, Leg::Main);
    let transfer = Transfer::new(id, debit, credit, amount, TransferCode::Adjustment);
    t.app.ledger.transfer(transfer).await.expect("it moves");
    id.as_uuid()
}

#[sqlx::test]
async fn a_row_that_says_it_moved_money_and_did_not_is_found(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    sql(&t, COMPLETE, deposit).await;
    cycle(&t).await;
    assert_one(&t, "row_without_transfer", "open").await;
    // And at Revio nobody paid.
    assert_one(&t, "not_paid_at_provider", "open").await;
    let owner: String = sqlx::query_scalar("select owner from breaks where type = 'row_without_transfer'")
        .fetch_one(&t.app.db)
        .await
        .expect("one");
    assert_eq!(owner, "on_call");
}

/// No other line tells which row it is.
#[sqlx::test]
async fn a_break_that_opens_is_found_in_the_log_by_the_id_of_its_row(db: PgPool) {
    let (log, listening) = Log::begin();
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    sql(&t, COMPLETE, deposit).await;
    cycle(&t).await;
    drop(listening);
    let lines = log.lines();
    let opened: Vec<_> = lines.iter().filter(|line| line["message"] == "a break is open").collect();
    assert!(!opened.is_empty());
    for line in opened {
        assert_eq!((&line["transaction.id"], line.get("journal.id")), (&json!(deposit), None), "{line}");
    }
}

#[sqlx::test]
async fn what_moved_in_the_two_minutes_before_a_run_is_for_the_next_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await.id();
    sql(&t, COMPLETE, deposit).await;
    t.advance(TimeDelta::seconds(119));
    begin(&t, RunKind::QuarterHour).await;
    go_on(&t).await;
    assert_eq!(states(&t, "row_without_transfer").await, Vec::<String>::new());
    cycle(&t).await;
    assert_one(&t, "row_without_transfer", "open").await;
}

#[sqlx::test]
async fn a_transfer_that_no_row_asked_for_is_found(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    transfer(&t, AccountCode::Bank, AccountCode::Equity, 700).await;
    cycle(&t).await;
    assert_one(&t, "transfer_without_row", "open").await;
    cycle(&t).await;
    assert_one(&t, "transfer_without_row", "open").await;
}

#[sqlx::test]
async fn a_row_of_another_amount_than_its_transfer_is_found(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    sql(
        &t,
        "update transactions set amount_minor = amount_minor + 1, version = version + 1 where id = $1",
        deposit.id(),
    )
    .await;
    cycle(&t).await;
    assert_one(&t, "amount_ledger", "open").await;
    assert_one(&t, "amount_provider", "open").await;
}

#[sqlx::test]
async fn a_row_whose_reservation_is_posted_already_is_found_and_heals_by_its_own_step(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 1_000, "w").await.id();
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "submitted");
    t.app.ledger.post(withdrawal).await.expect("it posts");
    cycle(&t).await;
    assert_one(&t, "state_ledger", "open").await;
    // Only Revio's word completes it; then what was tried has healed it.
    t.sim.settle_payout(t.payout_of(withdrawal), PayoutOutcome::Success).expect("pending");
    t.drive().await;
    assert_eq!(t.state(withdrawal).await, "completed");
    cycle(&t).await;
    assert_one(&t, "state_ledger", "healed").await;
    assert_none_open(&t).await;
}

#[sqlx::test]
async fn a_credit_that_its_row_has_forgotten_is_completed_by_its_own_step_once(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    let forget = "update transactions set state = 'awaiting_payment', states = 'initiated awaiting_payment',
        moved_at = moved_at[1:1], completed_at = null, version = version + 1, due_at = updated_at where id = $1";
    sql(&t, forget, deposit.id()).await;
    cycle(&t).await;
    assert_one(&t, "state_ledger", "healed").await;
    assert_eq!(t.state(deposit.id()).await, "completed");
    assert_eq!(t.balance(&customer).await, (5_000, 0, 5_000));
    assert_none_open(&t).await;
}

#[sqlx::test]
async fn money_that_stays_reserved_for_a_held_row_is_found_after_five_business_days(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(5_000).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let withdrawal = t.withdraw(&customer, 1_000, "w").await.id();
    t.drive().await;
    let hold = "update transactions set held_code = 'undecided', held_reason = 'for so long', held_at = updated_at,
        due_at = null, version = version + 1 where id = $1";
    sql(&t, hold, withdrawal).await;
    cycle(&t).await;
    assert_one(&t, "reservation_stale", "timing").await;
    t.advance(TimeDelta::days(8));
    cycle(&t).await;
    assert_one(&t, "reservation_stale", "open").await;
}

#[sqlx::test]
async fn accounts_of_the_copy_that_do_not_add_up_are_found_and_computed_again(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    sqlx::query("update ledger_accounts set debits_pending = debits_pending + 1 where code = 1000")
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    cycle(&t).await;
    assert_one(&t, "unbalanced", "open").await;
    // Every account is compared in the daily run.
    cycle_of(&t, RunKind::Daily).await;
    assert_one(&t, "copy_line", "healed").await;
    cycle(&t).await;
    assert_one(&t, "unbalanced", "cleared").await;
    assert_none_open(&t).await;
    t.assert_read_model_holds().await;
}

/// Between its note and its transfer an item is on neither side: nothing can be said then, and what was said before stands.
#[sqlx::test]
async fn what_suspense_lacks_stays_open_while_an_item_is_on_its_way(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    let insert = async |booked: bool| {
        let insert = "insert into suspense_items (id, kind, amount_minor, currency, opened_at, booked_at)
                      values ($1, 'journal', 500, 'ZAR', now(), case when $2 then now() end)";
        let insert = sqlx::query(insert).bind(t.app.clock.row_id()).bind(booked);
        insert.execute(&t.app.db).await.expect("written");
    };
    insert(true).await;
    cycle(&t).await;
    assert_one(&t, "unbalanced", "open").await;
    insert(false).await;
    cycle(&t).await;
    assert_one(&t, "unbalanced", "open").await;
    for (gone, state) in [("booked_at is null", "open"), ("booked_at is not null", "cleared")] {
        let delete = format!("delete from suspense_items where {gone}");
        sqlx::query(AssertSqlSafe(delete)).execute(&t.app.db).await.expect("deleted");
        cycle(&t).await;
        assert_one(&t, "unbalanced", state).await;
    }
}

/// Its balances are right, and only a rebuild writes the rest: it stays open.
#[sqlx::test]
async fn an_account_of_the_copy_that_is_another_than_the_ledgers_is_open(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer_with(5_000).await, t.customer_with(6_000).await);
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let before: Vec<(i64, i64)> = balances(&t).await;
    let change = "update ledger_accounts set user_id = $2 where user_id = $1 and code = 2000";
    let changed = sqlx::query(change).bind(customer.id).bind(other.id).execute(&t.app.db).await.expect("written");
    assert_eq!(changed.rows_affected(), 1);
    sqlx::query("update ledger_accounts set name = 'another' where code = 1000")
        .execute(&t.app.db)
        .await
        .expect("written");
    cycle_of(&t, RunKind::Daily).await;
    assert_eq!(states(&t, "copy_line").await, ["open", "open"]);
    cycle(&t).await;
    assert_eq!(states(&t, "copy_line").await, ["open", "open"]);
    assert_eq!(balances(&t).await, before, "nobody is given another's balance");
}

async fn balances(t: &TestApp) -> Vec<(i64, i64)> {
    let balances = "select debits_posted, credits_posted from ledger_accounts order by id";
    sqlx::query_as(balances).fetch_all(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn lines_of_the_copy_that_differ_or_are_missing_are_found_and_computed_again(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, other) = (t.customer_with(5_000).await, t.customer_with(6_000).await);
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let main = |row: Uuid| TransferId::of(row, Leg::Main).as_uuid();
    let of = async |user: Uuid| -> Uuid {
        let row = sqlx::query_scalar("select id from transactions where user_id = $1");
        row.bind(user).fetch_one(&t.app.db).await.expect("a deposit")
    };
    sql(&t, "update ledger_transfers set code = 30 where id = $1", main(of(customer.id).await)).await;
    sql(&t, "delete from ledger_transfers where id = $1", main(of(other.id).await)).await;
    cycle(&t).await;
    assert_eq!(states(&t, "copy_line").await, ["healed", "healed"]);
    cycle(&t).await;
    assert_none_open(&t).await;
    t.assert_read_model_holds().await;
}

#[sqlx::test]
async fn a_day_that_is_not_the_sum_of_its_transfers_is_found_and_added_up_again(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    sqlx::query("update ledger_days set amount_minor = amount_minor + 1 where code = 10")
        .execute(&t.app.db)
        .await
        .expect("PostgreSQL answers");
    cycle_of(&t, RunKind::Daily).await;
    assert_one(&t, "summary", "healed").await;
    assert_none_open(&t).await;
    t.finish().await;
}

/// The ledger's clock is the machine's: the service's goes some time beyond it. When the last transfer was.
async fn beyond_the_ledger(t: &TestApp, more: TimeDelta) -> DateTime<Utc> {
    projector::catch_up(&t.app).await.expect("the ledger can be copied");
    let executed = sqlx::query_scalar("select ledger_time(max(timestamp)) from ledger_transfers");
    let executed: DateTime<Utc> = executed.fetch_one(&t.app.db).await.expect("there are transfers");
    t.advance(executed - t.app.clock.now() + more);
    executed
}

#[sqlx::test]
async fn at_a_days_end_less_than_is_owed_is_found_and_so_is_what_stayed_at_revio(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    transfer(&t, AccountCode::ProviderFees, AccountCode::ProviderBalance, 30).await;
    cycle(&t).await;
    assert_eq!(states(&t, "position_short").await, Vec::<String>::new(), "only at a day's end");
    let executed = beyond_the_ledger(&t, TimeDelta::days(1)).await;
    cycle_of(&t, RunKind::Daily).await;
    assert_one(&t, "position_short", "open").await;
    assert_eq!(states(&t, "d1_late").await, Vec::<String>::new());
    t.advance(executed - t.app.clock.now() + TimeDelta::days(5));
    // The days in between had their runs.
    sqlx::query("update reconciliation_runs set accounting_day = $1::date - 2 where kind = 'daily'")
        .bind(t.app.clock.now().date_naive())
        .execute(&t.app.db)
        .await
        .expect("there is one");
    cycle_of(&t, RunKind::Daily).await;
    assert_one(&t, "d1_late", "open").await;
}

#[sqlx::test]
async fn a_day_that_is_closed_late_is_told_as_it_ended(db: PgPool) {
    let t = TestApp::new(db).await;
    t.customer_with(5_000).await;
    transfer(&t, AccountCode::ProviderFees, AccountCode::ProviderBalance, 30).await;
    beyond_the_ledger(&t, TimeDelta::days(3)).await;
    // On the day after somebody makes good for it.
    let made_good = "insert into ledger_days select currency, max(day) + 1, 62, 'posted', 1100, 3000, 62, 1, 700, 0
                       from ledger_days group by currency";
    sqlx::query(made_good).execute(&t.app.db).await.expect("written");
    let run = cycle_of(&t, RunKind::Daily).await;
    let of_run = format!("from reconciliation_runs where id = '{run}'");
    let first = "(select reporting.day(ledger_time(min(timestamp))) from ledger_transfers)";
    assert_eq!(value(&t, &format!("select accounting_day = {first} {of_run}")).await, "true", "two days late");
    assert_eq!(
        value(&t, &format!("select (sums->'ZAR'->>'held') || ' ' || (sums->'ZAR'->>'owed') {of_run}")).await,
        "4970 5000"
    );
    assert_one(&t, "position_short", "open").await;
    for kind in ["position_short", "summary", "provider_balance"] {
        let day = format!("select reporting.day(since) = {first} from breaks where type = '{kind}'");
        assert_eq!(value(&t, &day).await, "true", "{kind}");
    }
}
