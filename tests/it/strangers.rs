//! Payments by links that somebody made at Revio by hand, and named what they are about: any row of ours. They are money, and that row's own is
//! left alone.

use ledger::AccountCode;
use octoco::platform::permissions::Role;
use revio_sim::Stranger;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::adjustments::{approve, correction, hash, proposed};
use crate::harness::TestApp;
use crate::journals::{self, entry, with};
use crate::provider_objects::paid;

async fn row_of(t: &TestApp, kind: &'static str) -> Uuid {
    let row = sqlx::query_scalar("select id from transactions where kind = $1").bind(kind);
    row.fetch_one(&t.app.db).await.expect("there is one")
}

async fn pay(t: &TestApp, reference: Uuid) {
    let (reference, currency) = (reference.to_string(), "ZAR".to_owned());
    let new = Stranger { reference, amount: 700, currency, fee: 20, ..Stranger::default() };
    t.sim.stranger_purchase(&new).expect("paid");
    t.drive().await;
}

#[sqlx::test]
async fn a_payment_about_any_row_of_ours_is_set_aside_and_spoils_none(db: PgPool) {
    let t = TestApp::new(db).await;
    let (customer, _, purchase) = paid(&t, 10_000).await;
    let withdrawal = t.withdraw(&customer, 2_000, "w").await.id();
    t.drive().await;
    t.sim.refund_purchase(purchase, Some(1_000)).expect("refundable");
    t.drive().await;
    t.sim.charge_back_purchase(purchase).expect("paid");
    t.drive().await;
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let waits = proposed(&t, &maker, correction(&customer, "credit", 2_500), "a").await;
    let came = with(entry("suspense_in", 300), json!({"account": "provider_balance"}));
    let journal = journals::proposed(&t, &maker, came, "j").await;
    let rows = [withdrawal, row_of(&t, "refund").await, row_of(&t, "chargeback").await, waits.id(), journal.id()];
    for (row, number) in rows.into_iter().zip(1..) {
        pay(&t, row).await;
        assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 700 * number, "{row}");
        assert_eq!(t.system_balance(AccountCode::ProviderFees).await.posted(), 20 * number, "{row}");
    }
    let items: i64 =
        sqlx::query_scalar("select count(*) from suspense_items where kind = 'unknown_row' and booked_at is not null")
            .fetch_one(&t.app.db)
            .await
            .expect("PostgreSQL answers");
    assert_eq!(items, 5, "somebody can say whose they are");
    assert_eq!((t.owed(customer.id).await, t.balance(&customer).await.0), (2_000, 0));
    let approved = approve(&t, &checker, waits.id(), hash(&waits)).await;
    assert_eq!(approved.body["state"], "completed", "{}", approved.body);
    assert_eq!((t.owed(customer.id).await, t.balance(&customer).await.0), (0, 500), "it is credited as it was to be");
    let booked = journals::approve(&t, &checker, &journal).await;
    assert_eq!(booked.body["state"], "completed", "{}", booked.body);
    assert_eq!(t.system_balance(AccountCode::Suspense).await.posted(), 700 * 5 + 300);
    t.drive().await;
    t.finish().await;
}
