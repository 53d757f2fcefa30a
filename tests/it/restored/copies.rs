//! The copy of the ledger goes back: with an older database, and for a moment with a crash of PostgreSQL.

use chrono::TimeDelta;
use octoco::books::projector;
use octoco::money::safe_mode;
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
