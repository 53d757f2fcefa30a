//! What an event of Revio's or a line of a file tells as well: each movement is booked once, whoever was first, and all of it.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::finance::statement_files;
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use revio_sim::{Override, Pay};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{approve, assert_items_are_the_account, booked, company, entry, propose, proposed, shown, with};
use crate::crashes::Crashes;
use crate::harness::TestApp;
use crate::statement_files::uploaded;

/// What sets aside a payment of Revio's.
fn of_object(amount: i64, object: Uuid) -> Value {
    let named = json!({"kind": "provider_object", "reference": object});
    let evidence = with(entry("suspense_in", amount)["evidence"].clone(), named);
    with(entry("suspense_in", amount), json!({"account": "provider_balance", "evidence": evidence}))
}

async fn run(db: &PgPool, sql: &str, ids: [Uuid; 2]) {
    sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).bind(ids[0]).bind(ids[1]).execute(db).await.expect("changed");
}

/// The journal has noted the payment when its process dies. A deposit that had it already keeps it; one that comes to it later waits.
#[sqlx::test]
async fn a_payment_is_set_aside_or_credited_whichever_was_first_though_the_journal_died(db: PgPool) {
    let next = Crashes::default();
    let t = TestApp::crashing(db.clone(), &[], next.plan()).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    for (deposit_first, state, balance) in [(true, "rejected", 5_000), (false, "completed", 0)] {
        let customer = t.customer().await;
        let deposit = t.deposit(&customer, 5_000, "d").await;
        let ids = [deposit.id(), t.purchase_of(deposit.id())];
        if deposit_first {
            t.pay(&deposit).await;
        }
        // Nobody knows whose the payment is, as after a lost answer.
        run(&db, "update transactions set provider_id = null where id = $1 and $2 <> $1", ids).await;
        run(&db, "update provider_objects set transaction_id = null where id = $2 and $1 <> $2", ids).await;
        let journal = proposed(&t, &maker, of_object(5_000, ids[1]), state).await;
        next.at("journal.item_noted");
        assert_eq!(approve(&t, &checker, &journal).await.code(), "internal");
        run(&db, "update provider_objects set transaction_id = $1 where id = $2", ids).await;
        run(&db, "update transactions set provider_id = $2 where id = $1", ids).await;
        if !deposit_first {
            t.sim.pay_purchase(ids[1], Pay::default()).expect("payable");
            // Whoever has read the row before the note may be crediting it at this moment.
            let at_once = "update journals set due_at = created_at where state = 'initiated' and $1 <> $2";
            run(&db, at_once, ids).await;
            t.drive().await;
            assert_eq!(shown(&t, &maker, journal.id()).await["state"], "initiated");
        }
        for _ in 0..15 {
            t.drive().await;
            t.advance(TimeDelta::minutes(2));
        }
        let ended = shown(&t, &maker, journal.id()).await;
        assert_eq!(ended["state"], state, "{ended}");
        assert_eq!(t.balance(&customer).await, (balance, 0, balance));
        assert_eq!(t.held_reason(ids[0]).await.is_some(), !deposit_first);
        assert_items_are_the_account(&t).await;
        if !deposit_first {
            // What the payer has back is nobody else's, though the item is not the row's.
            t.sim.refund_purchase(ids[1], None).expect("paid");
            t.drive().await;
            assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 0);
            assert_items_are_the_account(&t).await;
        }
    }
}

/// An older database was put back, in which the item looked open, and somebody else has taken it since.
#[sqlx::test]
async fn a_clearing_that_the_ledger_has_booked_is_held_where_its_item_is_taken(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let company = company(&t).await;
    let body = with(entry("suspense_return", 500_000), json!({"item_id": company.item}));
    let journal = booked(&t, &company.maker, &company.checker, body, "return").await;
    assert_eq!(journal.body["state"], "completed", "{}", journal.body);
    let forgotten = "update journals set state = 'initiated', ended_at = null, due_at = $2 where id = $1";
    let due = t.app.clock.now();
    sqlx::query(forgotten).bind(journal.id()).bind(due).execute(&db).await.expect("as it was");
    run(&db, "delete from suspense_clearings where item_id = $1 and $1 <> $2", [company.item, journal.id()]).await;
    t.drive().await;
    let held = shown(&t, &company.maker, journal.id()).await;
    assert!(held["held_reason"].as_str().is_some_and(|reason| reason.contains("somebody else's")), "{held}");
}

/// Both rows are lost; Revio says the same reference of two payments.
#[sqlx::test]
async fn each_payment_of_a_lost_row_is_set_aside_by_itself(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let [one, other] = [t.deposit(&customer, 500, "one").await.id(), t.deposit(&customer, 700, "other").await.id()];
    let purchases = [t.purchase_of(one), t.purchase_of(other)];
    for table in ["provider_objects", "transactions"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("delete from {table}"))).execute(&db).await.expect("lost");
    }
    t.sim.set_override(Override::of(purchases[1], "/reference", json!(one)));
    for purchase in purchases {
        t.sim.pay_purchase(purchase, Pay::default()).expect("payable");
        t.drive().await;
    }
    let items: Vec<(Uuid, Uuid, i64)> =
        sqlx::query_as("select id, provider_id, amount_minor from suspense_items order by amount_minor")
            .fetch_all(&db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(items.len(), 2, "{items:?}");
    assert_eq!(items[0], (one, purchases[0], 500));
    assert!(items[1].0 != one && (items[1].1, items[1].2) == (purchases[1], 700), "{items:?}");
    assert_items_are_the_account(&t).await;
}

/// A sum that was typed wrongly: the rest of the payment is nowhere, and somebody is told.
#[sqlx::test]
async fn a_payment_of_which_only_a_part_was_set_aside_still_differs(db: PgPool) {
    let t = TestApp::new(db).await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let strangers = [Uuid::new_v4(), Uuid::new_v4()];
    let lines = strangers.map(|id| format!("{id},,purchase,paid,ZAR,1000,0,2026-03-02T09:00:00Z\n")).concat();
    let content = format!("id,reference,product,status,currency,amount,fee,paid_on\n{lines}");
    uploaded(&t, &maker, "source=revio&unit=minor", content).await;
    for (stranger, amount) in strangers.into_iter().zip([1_000, 100]) {
        booked(&t, &maker, &checker, of_object(amount, stranger), &stranger.to_string()).await;
    }
    let since = t.app.clock.now() - TimeDelta::hours(1);
    let found = statement_files::compare(&t.app, since).await.expect("compared").found;
    let told: Vec<_> = found.iter().map(|found| (found.provider_id, found.expected, found.actual)).collect();
    assert_eq!(told, [(Some(strangers[1]), Some(100), Some(1_000))]);
}

/// Finance need not invent other evidence than the line.
#[sqlx::test]
async fn each_journal_that_a_line_proposes_is_taken(db: PgPool) {
    let t = TestApp::new(db).await;
    let maker = t.staff(Role::Finance).await;
    let lines = [
        ("purchase", "paid", 500),
        ("settlement", "success", 40_000),
        ("monthly fee", "paid", 75),
        ("top up", "success", 900),
    ];
    let lines = lines.map(|(product, status, amount)| {
        format!("{},,{product},{status},ZAR,{amount},,2026-03-02T09:00:00Z\n", Uuid::new_v4())
    });
    let content = format!("id,reference,product,status,currency,amount,fee,paid_on\n{}", lines.concat());
    uploaded(&t, &maker, "source=revio&unit=minor", content).await;
    let bank = "Date,Description,Amount\n2026-03-02,Unknown payer,20.00\n2026-03-02,Charges,-5.00\n";
    uploaded(&t, &maker, "source=bank&unit=major", bank).await;
    let since = t.app.clock.now() - TimeDelta::hours(1);
    let found = statement_files::compare(&t.app, since).await.expect("compared").found;
    let proposals: Vec<&Value> = found.iter().filter_map(|found| found.evidence.get("proposes")).collect();
    let mut kinds: Vec<&str> = proposals.iter().filter_map(|proposes| proposes["kind"].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        ["float_top_up", "own_funds_out", "provider_invoice", "settlement", "suspense_in", "suspense_in"]
    );
    for (number, proposes) in proposals.into_iter().enumerate() {
        let evidence = json!({"kind": proposes["evidence_kind"], "reference": proposes["evidence_reference"],
            "sha256": proposes["evidence_sha256"], "date": proposes["evidence_date"]});
        let body = json!({"kind": proposes["kind"], "account": proposes["account"], "amount": proposes["amount"],
            "currency": proposes["currency"], "evidence": evidence, "reason": "as the line says"});
        let taken = propose(&t, &maker, body, &number.to_string()).await;
        assert_eq!(taken.status, StatusCode::CREATED, "{proposes}: {}", taken.body);
    }
}
