//! The copy of the ledger goes back: with an older database, and for a moment with a crash of PostgreSQL.

use chrono::TimeDelta;
use ledger::Currency;
use octoco::books::projector;
use octoco::money::{restrictions, safe_mode};
use reqwest::StatusCode;
use sqlx::PgPool;

use super::{look, wait};
use crate::backups;
use crate::harness::TestApp;

/// Without anything that was lost: the copy of the ledger alone shows that the database is an older one.
#[sqlx::test]
async fn a_copy_of_the_ledger_that_goes_back_starts_the_safe_mode(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 500, "d").await;
    backups::take(&db).await;
    t.pay(&deposit).await;
    look(&t).await;
    look(&t).await;
    // A crash of PostgreSQL takes back what it had not written yet, and no answer with it.
    let set = async |cursor: i64| {
        let sql = "update ledger_cursor c set timestamp = $1 from (select timestamp as before from ledger_cursor) b returning before";
        sqlx::query_scalar::<_, i64>(sql).bind(cursor).fetch_one(&t.app.db).await.expect("set")
    };
    let end = set(0).await;
    projector::watch(&t.app).await.expect("watched");
    assert!(!safe_mode::pays_nothing(&t.app).await.expect("an answer"));
    set(end).await;
    for _ in 0..2 {
        t.advance(TimeDelta::seconds(6));
        projector::watch(&t.app).await.expect("watched");
    }
    backups::restore(&db).await;
    projector::watch(&t.app).await.expect("watched");
    assert!(safe_mode::pays_nothing(&t.app).await.expect("an answer"));
    wait(&t, 2).await;
    assert_eq!(t.state(deposit.id()).await, "completed", "it asks Revio, and the ledger has it already");
    assert_eq!(t.balance(&customer).await, (500, 0, 500));
    t.finish().await;
}

/// A ledger that was put back to an earlier moment has forgotten them: as if it had never heard.
#[sqlx::test]
async fn what_is_in_force_stops_payouts_and_is_imposed_again_where_the_ledger_has_forgotten_it(db: PgPool) {
    let t = TestApp::new(db).await;
    for kind in ["freeze", "closure"] {
        let customer = t.customer_with(10_000).await;
        let withdrawal = t.withdraw(&customer, 4_000, "w").await.id();
        let forgotten =
            "insert into restrictions (id, user_id, kind, currency, call_id, state, reason, created_at, updated_at)
                         values ($1, $2, $3, 'ZAR', $1, 'in_force', 'case 4711', now(), now())";
        let insert = sqlx::query(forgotten).bind(t.app.clock.row_id()).bind(customer.id).bind(kind);
        insert.execute(&t.app.db).await.expect("written");
        t.drive().await;
        assert_eq!(t.held_reason(withdrawal).await.as_deref(), Some("the customer is frozen"), "{kind}");
        restrictions::impose_again(&t.app).await.expect("due");
        t.drive().await;
        assert!(t.app.ledger.is_blocked(customer.id, Currency::ZAR).await.expect("an answer"), "{kind}");
        let refused = t.withdraw(&customer, 1_000, "w2").await;
        let expected = if kind == "freeze" { "account_frozen" } else { "account_closed" };
        assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, expected));
        assert_eq!(t.state(withdrawal).await, "reserved", "{kind}");
    }
    let due = "select count(*) from restrictions where due_at is not null";
    let due: i64 = sqlx::query_scalar(due).fetch_one(&t.app.db).await.expect("a count");
    assert_eq!(due, 0, "once");
    t.finish_with_held().await;
}
