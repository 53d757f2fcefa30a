//! Who owes the company money is not forgotten.

use octoco::books::projector;
use octoco::identity::audit::Actor;
use octoco::money::restrictions::{self, Kind};
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::PgPool;

use super::{erase, withdrawal_of};
use crate::harness::TestApp;
use crate::journals::{booked, entry, with};

#[sqlx::test]
async fn nobody_is_erased_who_owes_money_until_it_is_written_off(db: PgPool) {
    let t = TestApp::new(db).await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let (maker, checker) = (t.staff(Role::Finance).await, t.staff(Role::Finance).await);
    let customer = t.customer().await;
    let deposit = t.deposit(&customer, 5_000, "d").await;
    t.pay(&deposit).await;
    t.withdraw(&customer, 5_000, "w").await;
    t.drive().await;
    assert_eq!(t.state(withdrawal_of(&t, &customer).await).await, "completed");
    restrictions::impose(&t.app, &Actor::system(), customer.id, Kind::Closure, "left").await.expect("it is empty");
    // Asked for while nothing was owed; the bank takes the money back before the second person comes.
    assert_eq!(erase(&t, &one, customer.id).await.status, StatusCode::ACCEPTED);
    t.sim.charge_back_purchase(t.purchase_of(deposit.id())).expect("it was paid");
    t.drive().await;
    assert_eq!(t.owed(customer.id).await, 5_000);
    let copied =
        "update ledger_accounts set credits_posted = debits_posted where user_id = $1 and name = 'customer_receivable'";
    let owing = erase(&t, &two, customer.id).await;
    assert_eq!((owing.status, owing.code()), (StatusCode::CONFLICT, "account_not_empty"), "{}", owing.body);
    // The ledger says so itself, where its copy does not yet.
    sqlx::query(copied).bind(customer.id).execute(&t.app.db).await.expect("as if it were behind");
    let owing = erase(&t, &two, customer.id).await;
    assert_eq!((owing.status, owing.code()), (StatusCode::CONFLICT, "account_not_empty"), "{}", owing.body);
    let back = "update ledger_accounts set credits_posted = 0 where user_id = $1 and name = 'customer_receivable'";
    sqlx::query(back).bind(customer.id).execute(&t.app.db).await.expect("as it was");
    let body = with(entry("write_off", 5_000), json!({"user_id": customer.id}));
    assert_eq!(booked(&t, &maker, &checker, body, "k").await.body["state"], "completed");
    projector::catch_up(&t.app).await.expect("copied");
    let done = erase(&t, &two, customer.id).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    t.finish().await;
}
