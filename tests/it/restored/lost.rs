//! Withdrawals whose rows are lost with an older database, while the ledger has their reservations: each comes to an end.

use chrono::TimeDelta;
use ledger::{Amount, Currency};
use octoco::money::transactions;
use octoco::platform::permissions::Role;
use octoco::provider::revio::NewPayout;
use reqwest::{Method, StatusCode};
use revio_sim::{Fault, FaultKind, PayoutBehaviour, PayoutOutcome, Scope};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{look, wait};
use crate::adjustments::{correction, propose};
use crate::approvals::{ONE, THRESHOLDS, approve, decline, hash, waiting};
use crate::backups;
use crate::crashes::Crashes;
use crate::harness::{Customer, PASSWORD, TestApp};

async fn release_by_two(t: &TestApp, id: Uuid) {
    for staff in [t.staff(Role::Finance).await, t.staff(Role::Admin).await] {
        let (path, body) =
            (format!("/v1/admin/held/{id}/resolve"), json!({"action": "release", "note": "asked Revio"}));
        let answer = t.send(Method::POST, &path, Some(&t.token(&staff)), &[], Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
}

/// Its payout ends in either way, or was not executed as far as anybody knows; or none was begun.
#[sqlx::test]
async fn a_withdrawal_whose_row_is_lost_is_written_again_and_ends(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db.clone(), &[], next.plan()).await;
    let mut customers = Vec::new();
    for _ in 0..4 {
        customers.push(t.customer_with(10_000).await);
    }
    backups::take(&db).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let mut lost = Vec::new();
    for customer in &customers {
        lost.push(t.withdraw(customer, 4_000, "w").await.id());
        match lost.len() {
            1 | 2 => t.drive().await,
            3 => {
                next.at("withdrawal.before_execution");
                t.step().await;
            }
            _ => {}
        }
    }
    let [paid, refused] = [0, 1].map(|number| lost[number]);
    let (payout_paid, payout_refused) = (t.payout_of(paid), t.payout_of(refused));
    backups::restore(&db).await;
    look(&t).await;
    assert!(transactions::find(&t.app, paid).await.is_err(), "whoever had it in hand may still be at it");
    t.advance(TimeDelta::minutes(11));
    look(&t).await;
    t.drive().await;
    let shown = t.get(&customers[3], &format!("/v1/transactions/{}", lost[3])).await.body;
    assert_eq!((&shown["state"], &shown["failure_reason"]), (&json!("failed"), &json!("request_lost")), "{shown}");
    assert!(shown["bank_account_id"].is_null() && shown["failure"]["message"].is_string(), "{shown}");
    let (admin, path) = (t.staff(Role::Admin).await, format!("/v1/admin/withdrawals/{}/approval", lost[3]));
    assert_eq!(t.get(&admin, &path).await.status, StatusCode::OK, "it has no destination to show");
    t.sim.settle_payout(payout_paid, PayoutOutcome::Success).expect("pending");
    let outcome = PayoutOutcome::Error { code: "do_not_honour".to_owned() };
    t.sim.settle_payout(payout_refused, outcome).expect("pending");
    wait(&t, 40).await;
    assert!(t.held_reason(lost[2]).await.is_some_and(|reason| reason.contains("may still pay")));
    release_by_two(&t, lost[2]).await;
    wait(&t, 2).await;
    for (number, id) in lost.into_iter().enumerate() {
        let (state, left) = if id == paid { ("completed", 6_000) } else { ("failed", 10_000) };
        assert_eq!(t.state(id).await, state, "{number}");
        assert_eq!(t.balance(&customers[number]).await, (left, 0, left), "{number}");
    }
    assert_eq!(t.sim.totals("ZAR").paid_out_count, 1);
    t.finish().await;
}

/// The key of the first is forgotten with its row, so that the same call makes another withdrawal.
#[sqlx::test]
async fn a_request_that_is_repeated_after_its_row_was_lost_is_not_paid_a_second_time_by_itself(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (paid, open, other) =
        (t.customer_with(20_000).await, t.customer_with(20_000).await, t.customer_with(20_000).await);
    backups::take(&db).await;
    let first = t.withdraw(&paid, 4_000, "w").await.id();
    t.drive().await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let pending = t.withdraw(&open, 4_000, "w").await.id();
    t.drive().await;
    backups::restore(&db).await;
    look(&t).await;
    t.advance(TimeDelta::minutes(1));
    let mut repeats = Vec::new();
    for (customer, amount) in [(&paid, 4_000), (&open, 4_000), (&open, 3_000), (&other, 4_000)] {
        let key = format!("w{}", if amount == 4_000 { "" } else { "other" });
        repeats.push(t.withdraw(customer, amount, &key).await.id());
    }
    t.drive().await;
    t.advance(TimeDelta::minutes(11));
    look(&t).await;
    t.drive().await;
    assert_eq!(t.state(pending).await, "submitted", "written again");
    let admin = t.staff(Role::Admin).await;
    let left = t
        .send(
            Method::POST,
            "/v1/admin/safe-mode/leave",
            Some(&t.token(&admin)),
            &[],
            Some(json!({"note": "looked at"})),
        )
        .await;
    assert_eq!(left.status, StatusCode::OK, "{}", left.body);
    wait(&t, 5).await;
    for (repeat, of) in repeats.iter().zip([first, pending]) {
        let reason = t.held_reason(*repeat).await.expect("held");
        assert!(reason.contains(&of.to_string()), "{reason}");
        assert_eq!(t.state(*repeat).await, "reserved");
    }
    for (customer, row) in [(&open, repeats[2]), (&other, repeats[3])] {
        assert_eq!(t.sim.payouts_by_reference(&row.to_string()).len(), 1, "{}", t.balance(customer).await.0);
    }
    // A person says that it is another one.
    let retry = json!({"action": "retry", "note": "the customer wanted both"});
    let path = format!("/v1/admin/held/{}/resolve", repeats[0]);
    assert_eq!(t.send(Method::POST, &path, Some(&t.token(&admin)), &[], Some(retry)).await.status, StatusCode::OK);
    wait(&t, 2).await;
    assert_eq!(t.state(repeats[0]).await, "submitted");
}

/// The ledger has noted a payout that Revio has no word for, and two people say that it will not be paid.
#[sqlx::test]
async fn a_lost_withdrawal_whose_payout_revio_does_not_know_is_given_back_by_two(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db.clone(), &[], next.plan()).await;
    let customer = t.customer_with(10_000).await;
    backups::take(&db).await;
    next.at("withdrawal.before_execution");
    let lost = t.withdraw(&customer, 4_000, "w").await.id();
    t.step().await;
    backups::restore(&db).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::GetPayout, FaultKind::Blank { status: 404 }));
    look(&t).await;
    t.advance(TimeDelta::minutes(11));
    look(&t).await;
    wait(&t, 40).await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000));
    release_by_two(&t, lost).await;
    wait(&t, 2).await;
    assert_eq!((t.state(lost).await.as_str(), t.balance(&customer).await), ("failed", (10_000, 0, 10_000)));
    t.finish().await;
}

/// TigerBeetle was put back to before its reservation, and its row was not: nothing is released, and nothing stays for ever. What Revio pays by
/// then is taken from the wallet.
#[sqlx::test]
async fn a_withdrawal_whose_reservation_the_ledger_has_lost_ends_by_two(db: PgPool) {
    let t = TestApp::new(db).await;
    let customer = t.customer_with(10_000).await;
    let paid = t.withdraw(&customer, 1_000, "before").await.id();
    t.drive().await;
    for is_paid in [false, true] {
        let row = t.app.clock.row_id();
        let payout = if is_paid { Some(payout_at_revio(&t, row, 4_000).await) } else { None };
        let reserved = "insert into transactions (id, user_id, kind, state, states, amount_minor, currency, bank_account_id, provider_id,
                                                  idempotency_key, request_hash, updated_at, due_at, moved_at)
                        select $1, user_id, kind, 'reserved', 'initiated reserved', 4000, currency, bank_account_id, $3, $1::text,
                               request_hash, $4, $4, array[$4] from transactions where id = $2";
        let insert = sqlx::query(reserved).bind(row).bind(paid).bind(payout).bind(t.app.clock.now());
        insert.execute(&t.app.db).await.expect("a row");
        wait(&t, 2).await;
        assert!(t.held_reason(row).await.is_some_and(|reason| reason.contains("reservation is None")));
        release_by_two(&t, row).await;
        wait(&t, 2).await;
        let (state, left) = if is_paid { ("completed", 5_000) } else { ("failed", 9_000) };
        assert_eq!((t.state(row).await.as_str(), t.balance(&customer).await), (state, (left, 0, left)));
        assert_eq!(t.held_reason(row).await, None);
    }
}

/// Registered and executed, as a row that was lost had it.
async fn payout_at_revio(t: &TestApp, row: Uuid, amount: i64) -> Uuid {
    let new = NewPayout {
        reference: row,
        amount: Amount::new(amount, Currency::ZAR).expect("an amount"),
        email: "thandi@example.com",
        account_holder: "Thandi Nkosi",
        account_number: "62001234567",
        branch_code: "250655",
    };
    let payout = t.app.revio.create_payout(&new).await.expect("registered");
    let link = payout.execution_url.expect("a link");
    t.app.revio.execute_payout(row, payout.id, &link).await.expect("executed");
    payout.id
}

/// Its first payout was refused whenever it was to be executed, and another one took its place: only that one may still be paid, and what
/// becomes of the first gives nothing back.
#[sqlx::test]
async fn a_lost_withdrawal_follows_the_payout_that_replaced_another(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer_with(10_000).await;
    backups::take(&db).await;
    t.sim.set_fault(Fault::chance(1.0, Scope::ExecutePayout, FaultKind::Refused));
    let lost = t.withdraw(&customer, 4_000, "w").await.id();
    let registered = || t.sim.payouts_by_reference(&lost.to_string());
    for _ in 0..30 {
        if registered().len() == 2 {
            break;
        }
        wait(&t, 1).await;
    }
    let ids: Vec<Uuid> = registered().iter().filter_map(|payout| payout["id"].as_str()?.parse().ok()).collect();
    let [first, second] = ids[..] else { panic!("{ids:?}") };
    backups::restore(&db).await;
    t.sim.clear_faults();
    t.sim.settle_payout(first, PayoutOutcome::Error { code: "expired".to_owned() }).expect("initialized");
    look(&t).await;
    t.advance(TimeDelta::minutes(11));
    look(&t).await;
    wait(&t, 40).await;
    assert_eq!(t.balance(&customer).await, (10_000, 4_000, 6_000), "{:?}", t.held_reason(lost).await);
    t.sim.settle_payout(second, PayoutOutcome::Success).expect("initialized");
    wait(&t, 2).await;
    assert_eq!((t.state(lost).await.as_str(), t.balance(&customer).await), ("completed", (6_000, 0, 6_000)));
    t.finish().await;
}

/// It was approved and paid after the backup. What waits again is not given back: the ledger knows of its payout.
#[sqlx::test]
async fn a_withdrawal_that_waits_for_its_approval_again_is_not_declined_once_its_payout_began(db: PgPool) {
    let t = TestApp::with(db.clone(), &THRESHOLDS).await;
    let (customer, finance) = (t.customer_with(10_000).await, t.staff(Role::Finance).await);
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let id = waiting(&t, &customer, ONE, "w").await;
    backups::take(&db).await;
    let seen = hash(&t, &finance, id).await;
    assert_eq!(approve(&t, &finance, id, &seen).await.status, StatusCode::OK);
    t.drive().await;
    assert_eq!(t.state(id).await, "submitted");
    backups::restore(&db).await;
    assert_eq!(t.state(id).await, "awaiting_approval");
    assert_eq!(decline(&t, &finance, id, &seen).await.code(), "stale_state");
    assert_eq!(t.balance(&customer).await, (10_000, ONE, 10_000 - ONE), "nothing is given back");
    t.sim.settle_payout(t.payout_of(id), PayoutOutcome::Success).expect("pending");
    look(&t).await;
    wait(&t, 40).await;
    assert_eq!((t.state(id).await.as_str(), t.sim.totals("ZAR").paid_out_count), ("completed", 1));
    t.finish_with_held().await;
}

/// What the page has an operator write.
const FAILURE_HANDLING: &str = include_str!("../../../docs/failure-handling.md");

/// Who registered after the backup: whose the money is the ledger alone knows, and who that is Revio.
#[sqlx::test]
async fn a_customer_whose_own_row_is_lost_is_written_again_and_has_the_money(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (admin, finance) = (t.staff(Role::Admin).await, t.staff(Role::Finance).await);
    backups::take(&db).await;
    let erin = t.customer().await;
    let deposit = t.deposit(&erin, 5_000, "d").await;
    t.pay(&deposit).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let open = t.withdraw(&erin, 2_000, "w").await.id();
    t.drive().await;
    backups::restore(&db).await;
    look(&t).await;
    let listed = t.get(&admin, "/v1/admin/safe-mode").await.body;
    let of = |id: Uuid, one: &Value| one["transaction_id"] == id.to_string() && one["user_id"] == erin.id.to_string();
    let all = listed["lost_transfers"].as_array().expect("a list");
    assert!([deposit.id(), open].into_iter().all(|id| all.iter().any(|one| of(id, one))), "{listed}");
    assert_eq!(t.get(&admin, &format!("/v1/admin/users/{}", erin.id)).await.status, StatusCode::NOT_FOUND);
    let given = async |key: &str| propose(&t, &finance, correction(&erin, "credit", 100), key).await.status;
    assert_eq!(given("before").await, StatusCode::NOT_FOUND);
    assert_eq!(t.login(&erin.email, PASSWORD).await.status, StatusCode::UNAUTHORIZED);

    let purchase = t.sim.purchase(t.purchase_of(deposit.id())).expect("it was paid");
    let told = |field: &str| purchase["client"][field].as_str().expect("we have told it").to_owned();
    let statement = FAILURE_HANDLING.split("```sql").nth(1).and_then(|rest| rest.split("```").next());
    let statement = statement.expect("the page has it").replace("USER_ID", &erin.id.to_string());
    let statement = statement.replace("EMAIL", &told("email")).replace("FULL NAME", &told("full_name"));
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&db).await.expect("PostgreSQL takes it");
    assert_eq!(t.login(&erin.email, PASSWORD).await.status, StatusCode::UNAUTHORIZED);

    let forgotten = Some(json!({"email": erin.email}));
    t.send(Method::POST, "/v1/auth/password/forgot", None, &[], forgotten).await;
    t.drive().await;
    let body = json!({"token": t.mailbox.newest(&erin.email, "password").token(), "new_password": "another horse another staple"});
    let reset = t.send(Method::POST, "/v1/auth/password/reset", None, &[], Some(body)).await;
    assert_eq!(reset.status, StatusCode::NO_CONTENT, "{}", reset.body);
    let login = t.login(&erin.email, "another horse another staple").await;
    let token = login.body["access_token"].as_str().expect("signed in").to_owned();
    let session_id = t.app.tokens.check(&token, t.app.clock.now()).expect("a valid token").sid;
    let back =
        Customer { id: erin.id, email: erin.email.clone(), session_id, token, bank_account_id: erin.bank_account_id };
    assert_eq!(t.balance(&back).await, (5_000, 2_000, 3_000));
    assert_eq!(given("after").await, StatusCode::CREATED);
    t.advance(TimeDelta::minutes(11));
    look(&t).await;
    t.drive().await;
    t.sim.settle_payout(t.payout_of(open), PayoutOutcome::Success).expect("pending");
    wait(&t, 40).await;
    assert_eq!((t.state(open).await.as_str(), t.balance(&back).await), ("completed", (3_000, 0, 3_000)));
}

/// Somebody leaves the safe mode so many minutes after the restore, and right afterwards Revio pays what was on its way. Whether that was listed as
/// open by then, and whether the safe mode is on again.
async fn back_in_it(db: PgPool, minutes: i64) -> (bool, bool) {
    let t = TestApp::new(db.clone()).await;
    let (admin, customer) = (t.staff(Role::Admin).await, t.customer_with(10_000).await);
    backups::take(&db).await;
    t.sim.set_payout_behaviour(PayoutBehaviour::Pend);
    let lost = t.withdraw(&customer, 4_000, "w").await.id();
    t.drive().await;
    backups::restore(&db).await;
    look(&t).await;
    t.advance(TimeDelta::minutes(minutes));
    look(&t).await;
    t.drive().await;
    let listed = t.get(&admin, "/v1/admin/safe-mode").await.body;
    assert_eq!(listed["active"], true, "{listed}");
    let mut all = listed["lost_transfers"].as_array().expect("a list").iter();
    let is_open = all.any(|one| one["kind"] == "pending" && one["transaction_id"] == lost.to_string());
    let (path, body) = ("/v1/admin/safe-mode/leave", json!({"note": "looked at"}));
    let left = t.send(Method::POST, path, Some(&t.token(&admin)), &[], Some(body)).await;
    assert_eq!(left.status, StatusCode::OK, "{}", left.body);
    t.sim.settle_payout(t.payout_of(lost), PayoutOutcome::Success).expect("pending");
    wait(&t, 5).await;
    look(&t).await;
    assert_eq!(t.wallet(customer.id).await.posted(), 6_000, "paid, and posted all the same");
    let after = t.get(&admin, "/v1/admin/safe-mode").await.body;
    (is_open, after["active"] == true)
}

#[sqlx::test]
async fn who_leaves_the_safe_mode_before_a_lost_withdrawal_has_its_row_again_is_soon_back_in_it(db: PgPool) {
    assert_eq!(back_in_it(db, 2).await, (true, true));
}

#[sqlx::test]
async fn who_leaves_the_safe_mode_once_a_lost_withdrawal_has_its_row_again_has_left_it(db: PgPool) {
    assert_eq!(back_in_it(db, 11).await, (false, false));
}
