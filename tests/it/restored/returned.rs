//! A payer has money back that no row was known for, and the database forgets that.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::money::safe_mode::{self, Older};
use octoco::platform::permissions::Role;
use reqwest::{Method, StatusCode};
use revio_sim::{Pay, Settings};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::look;
use crate::backups;
use crate::crashes::Crashes;
use crate::harness::TestApp;

/// What lies in suspense besides is other people's.
#[sqlx::test]
async fn what_its_payer_got_back_after_the_backup_is_given_to_nobody_else(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let customer = t.customer().await;
    let mut purchases = Vec::new();
    for key in ["a", "b", "c"] {
        let deposit = t.deposit(&customer, 900, key).await.id();
        let purchase = t.purchase_of(deposit);
        for sql in ["delete from provider_objects where id = $1", "delete from transactions where provider_id = $1"] {
            sqlx::query(sql).bind(purchase).execute(&t.app.db).await.expect("deleted");
        }
        t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
        purchases.push(purchase);
    }
    t.drive().await;
    let propose = async |key: &str, purchase: Uuid| {
        let item: Uuid = sqlx::query_scalar("select id from suspense_items where provider_id = $1")
            .bind(purchase)
            .fetch_one(&t.app.db)
            .await
            .expect("set aside");
        let body = json!({"user_id": customer.id, "direction": "credit", "amount": 900, "currency": "ZAR",
            "counterpart": "suspense", "reason": "it is theirs", "item_id": item});
        let headers = [("Idempotency-Key", key)];
        t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(&maker)), &headers, Some(body)).await
    };
    let asked = propose("before", purchases[0]).await;
    assert_eq!(asked.status, StatusCode::CREATED, "{}", asked.body);
    backups::take(&db).await;
    for purchase in [purchases[0], purchases[1]] {
        t.sim.refund_purchase(purchase, None).expect("refundable");
    }
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 900);
    backups::restore(&db).await;
    look(&t).await;
    let (path, body) = ("/v1/admin/safe-mode/leave", json!({"note": "looked"}));
    t.send(Method::POST, path, Some(&t.token(&checker)), &[], Some(body)).await;
    let refused = propose("after", purchases[1]).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("item_id")));
    let path = format!("/v1/admin/adjustments/{}/approve", asked.id());
    let body = json!({"adjustment_hash": asked.body["adjustment_hash"]});
    t.send(Method::POST, &path, Some(&t.token(&checker)), &[], Some(body)).await;
    t.drive().await;
    assert_eq!((t.system_balance(AccountCode::Suspense).await.posted(), t.balance(&customer).await), (900, (0, 0, 0)));
    let open: i64 = sqlx::query_scalar("select count(*) from suspense_items where taken_minor < amount_minor")
        .fetch_one(&t.app.db)
        .await
        .expect("a count");
    assert_eq!(open, 1, "that is the third's");
}

/// Its row is there, and what went back of it since is not: Revio is asked first.
#[sqlx::test]
async fn what_went_back_after_the_backup_of_an_item_with_a_row_is_given_to_nobody_else(db: PgPool) {
    with_an_item(db, false).await;
}

/// The safe mode was on before: the ledger had been put back as well, and its newest data came again.
#[sqlx::test]
async fn what_is_lost_while_the_safe_mode_is_on_is_looked_at_as_well(db: PgPool) {
    with_an_item(db, true).await;
}

async fn with_an_item(db: PgPool, is_on_already: bool) {
    let t = TestApp::new(db.clone()).await;
    t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Admin).await);
    let customer = t.customer().await;
    let mut items = Vec::new();
    for key in ["a", "b"] {
        let deposit = t.deposit(&customer, 1_000, key).await.id();
        t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(900), ..Pay::default() }).expect("payable");
        items.push(deposit);
    }
    t.drive().await;
    backups::take(&db).await;
    t.sim.refund_purchase(t.purchase_of(items[0]), None).expect("refundable");
    t.drive().await;
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 900);
    backups::restore(&db).await;
    if is_on_already {
        safe_mode::enter(&t.app, &t.app.db, Older::Ledger, "the ledger is behind").await.expect("it is entered");
        safe_mode::look_at_open_rows(&t.app).await.expect("nothing is due");
    }
    look(&t).await;
    let propose = async |key: &str, item: Uuid| {
        let body = json!({"user_id": customer.id, "direction": "credit", "amount": 900, "currency": "ZAR",
            "counterpart": "suspense", "reason": "it is theirs", "item_id": item});
        let headers = [("Idempotency-Key", key)];
        t.send(Method::POST, "/v1/admin/adjustments", Some(&t.token(&maker)), &headers, Some(body)).await
    };
    let (path, body) = ("/v1/admin/safe-mode/leave", json!({"note": "looked"}));
    t.send(Method::POST, path, Some(&t.token(&checker)), &[], Some(body)).await;
    let early = propose("early", items[0]).await;
    assert_eq!((early.status, &early.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("item_id")));
    for _ in 0..10 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    let late = propose("late", items[0]).await;
    assert_eq!((late.status, &late.body["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!("amount")));
    assert_eq!(propose("other", items[1]).await.status, StatusCode::CREATED, "that one is still there");
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 900);
    for item in items {
        assert!(t.held_reason(item).await.is_some(), "held as before");
    }
}

/// Row, item and event are forgotten; the money is in suspense all the same, and somebody must be able to clear it.
#[sqlx::test]
async fn what_was_set_aside_after_the_backup_has_an_item_again(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    backups::take(&db).await;
    let deposit = t.deposit(&customer, 1_000, "d").await.id();
    let purchase = t.purchase_of(deposit);
    t.sim.pay_purchase(purchase, Pay { amount: Some(900), ..Pay::default() }).expect("payable");
    t.drive().await;
    backups::restore(&db).await;
    look(&t).await;
    t.sim.raise_event(purchase, "purchase.settled").expect("it is there");
    t.drive().await;
    let open = "select count(*), coalesce(sum(amount_minor - taken_minor), 0)::bigint from suspense_items where booked_at is not null";
    let open: (i64, i64) = sqlx::query_as(open).fetch_one(&t.app.db).await.expect("sums");
    assert_eq!((open, t.system_balance(AccountCode::Suspense).await.posted()), ((1, 900), 900), "it came once");
    let leave = json!({"note": "looked"});
    let admin = t.staff(Role::Admin).await;
    t.send(Method::POST, "/v1/admin/safe-mode/leave", Some(&t.token(&admin)), &[], Some(leave)).await;
    t.sim.refund_purchase(purchase, None).expect("refundable");
    for _ in 0..10 {
        t.drive().await;
        t.advance(TimeDelta::minutes(1));
    }
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0, "its payer has it back");
}

/// The item and the role are forgotten; the ledger still has what it set aside, however the row comes to be looked at.
#[sqlx::test]
async fn what_was_set_aside_after_the_backup_is_not_credited_as_well(db: PgPool) {
    for way in ["asked", "called off", "told"] {
        let next = Crashes::default();
        let t = TestApp::crashing(db.clone(), &[], next.plan()).await;
        let customer = t.customer().await;
        // Told of a purchase that the row has forgotten, it takes that up.
        let is_forgotten = way == "told";
        if is_forgotten {
            next.at("deposit.before_purchase");
        }
        drop(t.deposit(&customer, 700, "d").await);
        let deposit: Uuid = sqlx::query_scalar("select id from transactions where user_id = $1")
            .bind(customer.id)
            .fetch_one(&t.app.db)
            .await
            .expect("it is written");
        backups::take(&db).await;
        t.advance(TimeDelta::minutes(3));
        t.drive().await;
        let staff = "update users set role = 'support' where id = $1";
        sqlx::query(staff).bind(customer.id).execute(&t.app.db).await.expect("changed");
        let purchase = t.purchase_of(deposit);
        t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
        t.drive().await;
        assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 700, "{way}");
        backups::restore(&db).await;
        t.advance(TimeDelta::minutes(1));
        match way {
            "called off" => {
                let path = format!("/v1/deposits/{deposit}/cancel");
                t.send(Method::POST, &path, Some(&t.token(&customer)), &[], None).await;
            }
            "told" => t.sim.raise_event(purchase, "purchase.paid").expect("it is there"),
            _ => {}
        }
        for _ in 0..30 {
            t.drive().await;
            t.advance(TimeDelta::minutes(1));
        }
        assert!(t.held_reason(deposit).await.is_some(), "{way}");
        assert_eq!(t.balance(&customer).await, (0, 0, 0), "{way}");
        for account in [AccountCode::Suspense, AccountCode::ProviderBalance] {
            assert_eq!(t.system_balance(account).await.posted(), 700, "{way}: it came once");
        }
        let emptied = "begin; set local session_replication_role = replica; truncate users, safe_mode, webhook_logs, ledger_cursor,
            ledger_accounts, ledger_transfers, ledger_orphans, ledger_days cascade; commit";
        sqlx::raw_sql(emptied).execute(&t.app.db).await.expect("emptied");
    }
}
