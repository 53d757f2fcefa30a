//! What Revio's statements say of fees: each movement's once, in however many files it stands.

use chrono::TimeDelta;
use octoco::platform::permissions::Role;
use sqlx::PgPool;
use uuid::Uuid;

use super::value;
use crate::harness::TestApp;
use crate::statement_files::{deposits, file, uploaded};

const SAID: &str = "select on_statement from reporting.fees where kind = 'deposit' and month = '2026-03-01'";

#[sqlx::test]
async fn an_object_that_stands_in_two_files_has_one_fee(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    uploaded(&t, &finance, "source=revio", file(&paid)).await;
    t.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=revio&unit=minor", file(&paid[1..])).await;
    assert_eq!(value(&t, SAID).await, "6.00");
    t.finish().await;
}

/// Files need not have Revio's ids: then a line is of its row, and one that nobody knows is told by all that is kept of it.
#[sqlx::test]
async fn a_payment_without_an_id_that_stands_in_two_files_has_one_fee_too(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000, 20_000, 30_000]).await;
    let with_ids = file(&paid);
    let without = paid.iter().fold(with_ids.clone(), |file, paid| file.replace(&paid.object.to_string(), ""));
    let stranger = ",,purchase,paid,ZAR,500,7,2026-03-02T09:00:00Z\n";
    // What one file tells twice are two payments; in another one the first two are the same.
    for (content, said) in [
        (format!("{without}{stranger}{stranger}"), "6.14"),
        (format!("{without}{stranger}{stranger}{stranger}"), "6.21"),
        (format!("{with_ids}{stranger}"), "6.21"),
    ] {
        t.advance(TimeDelta::milliseconds(1));
        uploaded(&t, &finance, "source=revio&unit=minor", content).await;
        assert_eq!(value(&t, SAID).await, said);
    }
    let other_sum = ",,purchase,paid,ZAR,501,7,2026-03-02T09:00:00Z\n";
    t.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=revio&unit=minor", format!("{without}{other_sum}")).await;
    assert_eq!(value(&t, SAID).await, "6.28", "another sum is another payment");
    t.finish().await;
}

/// The month's pack has a line of each product that was charged for, and so has the board.
#[sqlx::test]
async fn what_revio_charges_for_refunds_and_chargebacks_has_a_line_of_its_own(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (_, paid) = deposits(&t, &[10_000]).await;
    let mut content = file(&paid);
    for (product, fee) in [("refund", 150), ("chargeback", 2_500), ("chargeback_reversal", 0)] {
        content += &format!(",,{product},paid,ZAR,500,{fee},2026-03-02T09:00:00Z\n");
    }
    uploaded(&t, &finance, "source=revio&unit=minor", content.clone()).await;
    let said = "select string_agg(kind || ' ' || on_statement, ', ' order by kind) from reporting.fees where on_statement is not null";
    let of_payments = value(&t, SAID).await;
    assert_eq!(value(&t, said).await, format!("chargeback 25.00, deposit {of_payments}, refund 1.50"));
    // By a line of its own, once by its amount and once by its fee: what an invoice books.
    let charged = ",,fee,paid,ZAR,-11500,,2026-03-02T09:00:00Z\n,,fee,paid,ZAR,0,300,2026-03-02T09:00:00Z\n";
    t.advance(TimeDelta::milliseconds(1));
    uploaded(&t, &finance, "source=revio&unit=minor", format!("{content}{charged}")).await;
    let own = "select on_statement from reporting.fees where kind = 'invoice' and month = '2026-03-01'";
    assert_eq!(value(&t, own).await, "118.00");
    t.finish().await;
}

/// By the words of files, as lines of payments are judged; an object is of the month in which it was told first.
#[sqlx::test]
async fn a_charge_that_never_moved_is_none_and_one_that_stands_in_two_months_is_one(db: PgPool) {
    let t = TestApp::new(db).await;
    let finance = t.staff(Role::Finance).await;
    let (later, twice) = (Uuid::new_v4(), Uuid::new_v4());
    let charged = |id: &str, status: &str, minor: i64, day: &str| format!("{id},,fee,{status},ZAR,-{minor},,{day}\n");
    for (day, status) in [("2026-02-28", "pending"), ("2026-03-01", "paid")] {
        let mut content = "id,reference,product,status,currency,amount,fee,paid_on\n".to_owned();
        content += &charged(&later.to_string(), status, 700, day);
        content += &charged(&twice.to_string(), "paid", 500, day);
        content += &charged("", "failed", 900, day);
        t.advance(TimeDelta::milliseconds(1));
        uploaded(&t, &finance, "source=revio&unit=minor", content).await;
    }
    let own = "select string_agg(month || ' ' || on_statement, ', ' order by month) from reporting.fees where kind = 'invoice'";
    assert_eq!(value(&t, own).await, "2026-02-01 5.00, 2026-03-01 7.00");
    t.finish().await;
}
