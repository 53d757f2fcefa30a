//! Who took of an item in suspense is forgotten with an older database; the ledger still knows, and what lies there besides is other people's.

use chrono::TimeDelta;
use ledger::AccountCode;
use octoco::platform::permissions::Role;
use reqwest::StatusCode;
use revio_sim::{Pay, Settings};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{leave, look};
use crate::adjustments;
use crate::backups;
use crate::harness::{Answer, Customer, TestApp};
use crate::journals::{self, entry, with};

const CAME: i64 = 900;

struct Scene {
    t: TestApp,
    maker: Customer,
    checker: Customer,
    admin: Customer,
    customer: Customer,
    /// Deposits that were set aside; the second one stays as it is.
    items: [Uuid; 2],
}

impl Scene {
    async fn new(db: PgPool) -> Self {
        let t = TestApp::new(db).await;
        t.sim.set_settings(Settings { payment_reads: true, ..t.sim.settings() });
        let (maker, checker, admin) =
            (t.staff(Role::Finance).await, t.staff(Role::Finance).await, t.staff(Role::Admin).await);
        let customer = t.customer().await;
        let items = [misfit(&t, &customer, "a").await, misfit(&t, &customer, "b").await];
        Self { t, maker, checker, admin, customer, items }
    }

    async fn propose(&self, item: Uuid, amount: i64, key: &str) -> Answer {
        let body = json!({"user_id": self.customer.id, "direction": "credit", "amount": amount, "currency": "ZAR",
            "counterpart": "suspense", "reason": "it is theirs", "item_id": item});
        adjustments::propose(&self.t, &self.maker, body, key).await
    }

    async fn give(&self, item: Uuid, amount: i64, key: &str) {
        let asked = self.propose(item, amount, key).await;
        let given = adjustments::approve(&self.t, &self.checker, asked.id(), adjustments::hash(&asked)).await;
        assert_eq!(given.body["state"], "completed", "{} {}", asked.body, given.body);
    }

    /// By a journal of the company's.
    async fn send_back(&self, item: Uuid, amount: i64, key: &str) {
        let body = with(entry("suspense_return", amount), json!({"item_id": item}));
        let sent = journals::booked(&self.t, &self.maker, &self.checker, body, key).await;
        assert_eq!(sent.body["state"], "completed", "{}", sent.body);
    }

    async fn refund(&self, item: Uuid, amount: Option<i64>) {
        self.t.sim.refund_purchase(self.t.purchase_of(item), amount).expect("refundable");
        self.pass().await;
    }

    async fn pass(&self) {
        for _ in 0..10 {
            self.t.drive().await;
            self.t.advance(TimeDelta::minutes(1));
        }
    }

    /// The database is put back; what was lost is found, and an operator has looked.
    async fn forget(&self, db: &PgPool) {
        backups::restore(db).await;
        look(&self.t).await;
    }

    async fn left(&self, item: Uuid) -> Value {
        self.t.get(&self.maker, &format!("/v1/admin/suspense-items/{item}")).await.body["left"].clone()
    }

    async fn in_suspense(&self) -> i64 {
        self.t.system_balance(AccountCode::Suspense).await.posted()
    }

    async fn held(&self, kind: &str) -> Vec<String> {
        sqlx::query_scalar("select held_code from transactions where kind = $1 and held_code is not null")
            .bind(kind)
            .fetch_all(&self.t.app.db)
            .await
            .expect("PostgreSQL answers")
    }
}

async fn misfit(t: &TestApp, customer: &Customer, key: &str) -> Uuid {
    let deposit = t.deposit(customer, CAME + 1, key).await.id();
    t.sim.pay_purchase(t.purchase_of(deposit), Pay { amount: Some(CAME), ..Pay::default() }).expect("payable");
    t.drive().await;
    deposit
}

#[sqlx::test]
async fn what_a_correction_took_after_the_backup_is_not_given_back_out_of_other_peoples_money(db: PgPool) {
    taken_and_forgotten(db, (CAME, 0)).await;
}

#[sqlx::test]
async fn what_a_journal_took_after_the_backup_is_not_given_back_out_of_other_peoples_money(db: PgPool) {
    taken_and_forgotten(db, (0, CAME)).await;
}

#[sqlx::test]
async fn what_both_took_of_a_part_after_the_backup_is_not_given_back_out_of_other_peoples_money(db: PgPool) {
    taken_and_forgotten(db, (400, 100)).await;
}

async fn taken_and_forgotten(db: PgPool, (given, sent): (i64, i64)) {
    let scene = Scene::new(db.clone()).await;
    let [item, other] = scene.items;
    backups::take(&db).await;
    if given > 0 {
        scene.give(item, given, "lost").await;
    }
    if sent > 0 {
        scene.send_back(item, sent, "lost-too").await;
    }
    scene.forget(&db).await;
    let left = CAME - given - sent;
    assert_eq!((scene.left(item).await, scene.left(other).await), (json!(left), json!(CAME)));
    leave(&scene.t, &scene.admin).await;
    scene.pass().await;
    let again = scene.propose(item, left + 1, "again").await;
    let refused = (StatusCode::BAD_REQUEST, &json!("amount"));
    assert_eq!((again.status, &again.body["errors"][0]["field"]), refused, "{}", again.body);
    scene.refund(item, None).await;
    assert_eq!(scene.held("refund").await, ["paid_twice"]);
    assert_eq!(scene.in_suspense().await, left + CAME);
    scene.refund(other, None).await;
    assert_eq!((scene.in_suspense().await, scene.left(other).await), (left, json!(0)), "its own payer has it back");
}

/// Nobody has seen yet that the database is an older one, and people go on.
#[sqlx::test]
async fn what_was_taken_after_the_backup_is_not_taken_again_before_anybody_has_looked(db: PgPool) {
    let scene = Scene::new(db.clone()).await;
    let [item, other] = scene.items;
    let again = scene.propose(item, CAME, "again").await;
    backups::take(&db).await;
    scene.give(item, CAME, "lost").await;
    backups::restore(&db).await;
    let answer = adjustments::approve(&scene.t, &scene.checker, again.id(), adjustments::hash(&again)).await;
    assert_eq!(answer.body["state"], "rejected", "{}", answer.body);
    assert_eq!((scene.in_suspense().await, scene.t.balance(&scene.customer).await.0), (CAME, CAME));
    assert_eq!((scene.left(item).await, scene.left(other).await), (json!(0), json!(CAME)));
}

/// The row was there and was not decided yet: it comes to its end, and has taken once.
#[sqlx::test]
async fn a_correction_that_is_behind_has_taken_of_its_item_once(db: PgPool) {
    let scene = Scene::new(db.clone()).await;
    let [item, _] = scene.items;
    let asked = scene.propose(item, 400, "k").await;
    backups::take(&db).await;
    adjustments::approve(&scene.t, &scene.checker, asked.id(), adjustments::hash(&asked)).await;
    scene.forget(&db).await;
    assert_eq!(scene.left(item).await, json!(CAME - 400), "before the row is");
    leave(&scene.t, &scene.admin).await;
    for _ in 0..9 {
        scene.t.advance(TimeDelta::days(1));
        scene.t.drive().await;
    }
    scene.t.stay_signed_in().await;
    assert_eq!((scene.t.state(asked.id()).await, scene.left(item).await), ("completed".to_owned(), json!(CAME - 400)));
    scene.give(item, CAME - 400, "the-rest").await;
    assert_eq!((scene.in_suspense().await, scene.t.balance(&scene.customer).await), (CAME, (CAME, 0, CAME)));
}

/// A refund is written again with the id that it had, and a part that was taken and came back is nobody's.
#[sqlx::test]
async fn what_its_payer_got_back_in_parts_after_the_backup_is_taken_once(db: PgPool) {
    let scene = Scene::new(db.clone()).await;
    let [item, _] = scene.items;
    backups::take(&db).await;
    scene.refund(item, Some(400)).await;
    assert_eq!(scene.in_suspense().await, 2 * CAME - 400);
    scene.forget(&db).await;
    assert_eq!(scene.left(item).await, json!(CAME - 400));
    leave(&scene.t, &scene.admin).await;
    scene.pass().await;
    scene.refund(item, Some(500)).await;
    assert_eq!((scene.in_suspense().await, scene.left(item).await), (CAME, json!(0)));
    assert!(scene.held("refund").await.is_empty());
}

/// Neither the deposit nor its item is there any more: the payment is set aside again as one of which no row is known.
#[sqlx::test]
async fn an_item_that_is_written_again_knows_what_a_correction_took_of_it(db: PgPool) {
    written_again(db, false).await;
}

#[sqlx::test]
async fn an_item_that_is_written_again_knows_what_its_payer_got_back(db: PgPool) {
    written_again(db, true).await;
}

async fn written_again(db: PgPool, is_refunded: bool) {
    let scene = Scene::new(db.clone()).await;
    backups::take(&db).await;
    let lost = misfit(&scene.t, &scene.customer, "lost").await;
    let purchase = scene.t.purchase_of(lost);
    match is_refunded {
        true => scene.refund(lost, None).await,
        false => scene.give(lost, CAME, "k").await,
    }
    scene.forget(&db).await;
    leave(&scene.t, &scene.admin).await;
    scene.t.sim.raise_event(purchase, "purchase.paid").expect("it is there");
    scene.pass().await;
    if !is_refunded {
        scene.t.sim.refund_purchase(purchase, None).expect("refundable");
    }
    scene.pass().await;
    assert_eq!(scene.in_suspense().await, 2 * CAME, "that is the others'");
    assert_eq!(scene.left(lost).await, json!(0));
}
