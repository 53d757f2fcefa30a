//! Rows by the million, to measure lists on: what years of customers leave behind, every value a hash of the row's number, so
//! that two runs give the same. Only for a database with nothing in it that matters. It moves no money and leaves nothing due.
//!
//! ```text
//! one SQL transaction: indexes and foreign keys away ─> people.sql, rows.sql ─> the same ones back;
//! then vacuum, as autovacuum would have done over the years
//! ```
//!
//! | rows | whose |
//! |---|---|
//! | 10 % | the first customer's |
//! | 1 % | the second one's |
//! | 15,000 | the third one's: too many to sort quickly, and of ten million too few to come upon in another order |
//! | the rest | everybody else's, about a thousand each |

use std::time::Instant;

use chrono::TimeDelta;
use octoco::app::App;
use octoco::platform::error::BoxError;
use sqlx::{AssertSqlSafe, Connection, PgConnection, query, query_scalar, raw_sql};
use uuid::Uuid;

/// The past that the rows are spread over.
pub(crate) const PERIOD: TimeDelta = TimeDelta::days(2 * 365);
/// Who may read everybody's rows; the session has the same id.
pub(crate) const STAFF: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000);

/// Rows written by one statement.
const BATCH: i64 = 100_000;
const ROWS_A_USER: i64 = 1000;
const USERS_MIN: i64 = 20;

/// What stands in the way of rows by the million, as statements that take it away and that put the same back.
const OBSTACLES: &str = "
    select format('alter table transactions drop constraint %I', conname),
           format('alter table transactions add constraint %I %s', conname, pg_get_constraintdef(oid))
      from pg_constraint where conrelid = 'transactions'::regclass and contype = 'f'
    union all
    select format('drop index %s', indexrelid::regclass), pg_get_indexdef(indexrelid) from pg_index
     where indrelid = 'transactions'::regclass
       and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u'))";

pub(crate) async fn run(app: &App, transactions: i64) -> Result<(), BoxError> {
    if !app.config.revio_test_mode {
        return Err("REVIO_TEST_MODE must be yes: seeding is for measuring only".into());
    }
    let mut db = app.db.acquire().await?.detach();
    if query_scalar("select exists (select from transactions)").fetch_one(&mut db).await? {
        return Err("DATABASE_URL holds transactions already: rows by the million go into an empty one".into());
    }
    let patient = "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set jit = off";
    raw_sql(patient).execute(&mut db).await?;
    raw_sql("set maintenance_work_mem = '512MB'").execute(&mut db).await?;
    // Everything or nothing: a seeding that is broken off leaves the database as it was, with its indexes.
    let mut tx = db.begin().await?;
    let obstacles: Vec<(String, String)> = sqlx::query_as(OBSTACLES).fetch_all(&mut *tx).await?;
    for (away, _) in &obstacles {
        raw_sql(AssertSqlSafe(away.as_str())).execute(&mut *tx).await?;
    }
    people(app, &mut tx, transactions).await?;
    rows(&mut tx, transactions).await?;
    for (_, back) in obstacles.iter().rev() {
        let started = Instant::now();
        raw_sql(AssertSqlSafe(back.as_str())).execute(&mut *tx).await?;
        println!("   {:>8.1?}  {back}", started.elapsed());
    }
    tx.commit().await?;
    raw_sql("vacuum (analyze)").execute(&mut db).await?;
    Ok(())
}

async fn people(app: &App, tx: &mut PgConnection, transactions: i64) -> Result<(), BoxError> {
    query(
        "create temp table seeding on commit drop as
         select $1 as transactions, $2 as users, date_trunc('milliseconds', $3) as begun, $4 as period, $5 as staff",
    )
    .bind(transactions)
    .bind((transactions / ROWS_A_USER).max(USERS_MIN))
    .bind(app.clock.now() - PERIOD)
    .bind(PERIOD)
    .bind(STAFF)
    .execute(&mut *tx)
    .await?;
    raw_sql(include_str!("seed/people.sql")).execute(tx).await?;
    Ok(())
}

async fn rows(tx: &mut PgConnection, transactions: i64) -> Result<(), BoxError> {
    let mut done = 0;
    while done < transactions {
        let until = transactions.min(done + BATCH);
        query(include_str!("seed/rows.sql")).bind(done + 1).bind(until).execute(&mut *tx).await?;
        done = until;
        if done % (10 * BATCH) == 0 || done == transactions {
            println!("   {done} of {transactions}");
        }
    }
    Ok(())
}
