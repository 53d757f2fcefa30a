//! What webhooks of ours told of somebody is known to be theirs, whatever it was about: it goes with the person, and a look at it is on record.

use chrono::TimeDelta;
use octoco::identity::audit::Actor;
use octoco::money::restrictions::{self, Kind};
use octoco::platform::permissions::Role;
use octoco::webhooks::outgoing::events::EventType;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{emptied, erase};
use crate::harness::{Customer, TestApp};
use crate::outgoing;

/// One from each source at least.
const KINDS: [&str; 9] = [
    "balance.updated", "customer.closed", "customer.created", "customer.email_verified", "customer.frozen",
    "customer.unfrozen", "transaction.completed", "transaction.initiated", "transaction.reserved",
];

/// Somebody of whom everything was told to an endpoint, and who is closed since; and somebody else.
async fn told_of(t: &TestApp, admin: &Customer) -> (Customer, Customer) {
    let all = EventType::ALL.iter().copied().filter(|kind| *kind != EventType::WebhookTest).map(EventType::name);
    outgoing::endpoint(t, admin, "https://hooks.example.com/", &all.collect::<Vec<&str>>()).await;
    t.advance(TimeDelta::seconds(1));
    let ((customer, _), other) = (emptied(t).await, t.customer_with(3_000).await);
    let token = t.mailbox.newest(&customer.email, "Confirm").token();
    let verified = t.send(Method::POST, "/v1/auth/verify-email", None, &[], Some(json!({"token": token}))).await;
    assert!(verified.status.is_success(), "{}", verified.body);
    let system = Actor::system();
    restrictions::impose(&t.app, &system, customer.id, Kind::Freeze, "a stolen card").await.expect("frozen");
    t.lift(customer.id, Kind::Freeze).await;
    t.advance(TimeDelta::seconds(1));
    restrictions::impose(&t.app, &system, customer.id, Kind::Closure, "left").await.expect("it is empty");
    outgoing::make(t).await;
    (customer, other)
}

/// By what is sent, whatever the row says beside it: the kinds of events about somebody, and how many deliveries there are.
async fn told(t: &TestApp, whom: Uuid) -> (Vec<String>, i64) {
    let counted = "select coalesce(array_agg(distinct e.type), '{}'), count(d.id)
                     from outgoing_events e left join outgoing_deliveries d on d.event_id = e.id
                    where position($1::text in e.body) > 0";
    sqlx::query_as(counted).bind(whom).fetch_one(&t.app.db).await.expect("PostgreSQL answers")
}

/// One delivery of each kind.
async fn deliveries(t: &TestApp, whom: Uuid) -> Vec<(String, Uuid)> {
    let first = "select distinct on (e.type) e.type, d.id
                   from outgoing_events e join outgoing_deliveries d on d.event_id = e.id
                  where position($1::text in e.body) > 0 order by e.type, d.id";
    sqlx::query_as(first).bind(whom).fetch_all(&t.app.db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn what_webhooks_of_ours_told_of_somebody_goes_with_the_person(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (one, two) = (t.staff(Role::Admin).await, t.staff(Role::Admin).await);
    let (customer, other) = told_of(&t, &one).await;
    let (kinds, _) = told(&t, customer.id).await;
    let untold: Vec<&str> = KINDS.into_iter().filter(|kind| !kinds.iter().any(|told| told == kind)).collect();
    assert_eq!(untold, [""; 0], "{kinds:?}");
    let of_other = told(&t, other.id).await;
    assert!(of_other.1 > 0, "{of_other:?}");
    // What staff were answered about it is kept.
    let all = deliveries(&t, customer.id).await;
    let (_, balance) = all.iter().find(|(kind, _)| kind == "balance.updated").expect("a delivery");
    let path = format!("/v1/admin/webhook-deliveries/{balance}/replay");
    let replayed = t.send(Method::POST, &path, Some(&t.token(&one)), &[("Idempotency-Key", "again")], None).await;
    assert_eq!(replayed.status, StatusCode::ACCEPTED, "{}", replayed.body);
    let kept = async || -> i64 {
        let kept = sqlx::query_scalar("select count(*) from idempotent_calls where customer_id = $1").bind(customer.id);
        kept.fetch_one(&db).await.expect("PostgreSQL answers")
    };
    assert_eq!(kept().await, 1);
    // Some of each person's as the release before made them.
    let before = "update outgoing_events set customer_id = null
                   where type = 'customer.created' or type = 'balance.updated' and ordinal = 0";
    assert!(sqlx::query(before).execute(&db).await.expect("PostgreSQL answers").rows_affected() > 2);
    assert_eq!(erase(&t, &one, customer.id).await.status, StatusCode::ACCEPTED);
    assert_eq!(erase(&t, &two, customer.id).await.status, StatusCode::OK);
    assert_eq!((told(&t, customer.id).await, kept().await), ((Vec::new(), 0), 0));
    assert_eq!(told(&t, other.id).await, of_other);
    outgoing::make(&t).await;
    let (after, _) = told(&t, customer.id).await;
    assert!(after.iter().any(|kind| kind == "customer.erased"), "that is told, and by nothing but the id: {after:?}");
    t.drive().await;
    t.finish().await;
}

#[sqlx::test]
async fn a_look_at_what_was_told_of_somebody_names_the_person(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let (admin, support) = (t.staff(Role::Admin).await, t.staff(Role::Support).await);
    let (customer, _) = told_of(&t, &admin).await;
    let looked = "select count(*) from audit_log
                   where action = 'staff.called' and after->>'path' = $1 and after->>'customer' = $2::text";
    // Once as they are made, and once as the release before made them.
    for looks in [1, 2] {
        for (kind, delivery) in deliveries(&t, customer.id).await {
            let path = format!("/v1/admin/webhook-deliveries/{delivery}");
            let shown = t.get(&support, &path).await;
            assert_eq!(shown.body["event"]["data"]["customer_id"], json!(customer.id), "{}", shown.body);
            let named = sqlx::query_scalar(looked).bind(&path).bind(customer.id);
            let named: i64 = named.fetch_one(&db).await.expect("PostgreSQL answers");
            assert_eq!(named, looks, "{kind}");
        }
        let before = "update outgoing_events set customer_id = null";
        sqlx::query(before).execute(&db).await.expect("PostgreSQL answers");
    }
    t.finish().await;
}

#[sqlx::test]
async fn whom_the_events_of_the_release_before_are_about_is_written_beside_them(db: PgPool) {
    let t = TestApp::new(db.clone()).await;
    let admin = t.staff(Role::Admin).await;
    told_of(&t, &admin).await;
    let whose = async || -> Vec<(Uuid, Option<Uuid>)> {
        let whose = sqlx::query_as("select id, customer_id from outgoing_events order by id");
        whose.fetch_all(&db).await.expect("PostgreSQL answers")
    };
    let made = whose().await;
    assert!(made.len() > KINDS.len() && made.iter().all(|(_, customer)| customer.is_some()), "{made:?}");
    sqlx::query("update outgoing_events set customer_id = null").execute(&db).await.expect("PostgreSQL answers");
    let migration = octoco::MIGRATIONS.iter().find(|migration| migration.version == 54).expect("it is there");
    sqlx::raw_sql(migration.sql.clone()).execute(&db).await.expect("it may be done again");
    assert_eq!(whose().await, made);
    t.finish().await;
}
