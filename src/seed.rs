//! Rows by the million, to measure lists on: what years of customers leave behind, made from a fixed number, so that two runs
//! give the same distribution. Only for a database with nothing in it that matters: it needs REVIO_TEST_MODE=true, moves no
//! money, and leaves nothing due. [`measure`] then times what lists take.
//!
//! ```text
//! one SQL transaction: indexes away ─> COPY users, bank accounts, rows ─> indexes back;    then vacuum, as autovacuum would have done over the years
//! ```
//!
//! | rows | whose |
//! |---|---|
//! | 10 % | the first customer's |
//! | 1 % | the second one's |
//! | 15,000 | the third one's: too many to sort quickly, and of ten million too few to come upon in another order |
//! | the rest | everybody else's, about a thousand each |

pub mod measure;
mod rows;
mod store;

use chrono::TimeDelta;

use crate::app::App;
use crate::platform::error::{Error, Result};

use rows::Rows;

/// Rows in one COPY.
const BATCH: u64 = 20_000;
/// The past that they are spread over.
const PERIOD: TimeDelta = TimeDelta::days(2 * 365);
const ROWS_A_USER: u64 = 1000;
const USERS_MIN: u64 = 20;

/// What is done, for a progress bar.
pub enum Progress {
    Rows { done: u64, of: u64 },
    Step(&'static str),
}

/// # Errors
/// [`Error::Invalid`] outside the provider's test mode, or where there are rows already; when PostgreSQL does not answer.
pub async fn run(app: &App, transactions: u64, progress: impl Fn(Progress)) -> Result<()> {
    if !app.config.revio_test_mode {
        return Err(Error::field("REVIO_TEST_MODE", "must be true: seeding is for measuring only"));
    }
    if store::has_transactions(&app.db).await? {
        return Err(Error::field(
            "DATABASE_URL",
            "holds transactions already: rows by the million go into an empty one",
        ));
    }
    let now = app.clock.now();
    let users = (transactions / ROWS_A_USER).max(USERS_MIN);
    let mut rows = Rows::new(transactions, users, now - PERIOD, now);
    let mut connection = store::connect(&app.db).await?;
    progress(Progress::Step("users"));
    let mut seeding = store::Seeding::begin(&mut connection).await?;
    seeding.copy(store::USERS, rows.users()).await?;
    seeding.copy(store::BANK_ACCOUNTS, rows.bank_accounts()).await?;
    let mut done = 0;
    while done < transactions {
        let count = BATCH.min(transactions - done);
        seeding.copy(store::TRANSACTIONS, rows.transactions(count)).await?;
        done += count;
        progress(Progress::Rows { done, of: transactions });
    }
    progress(Progress::Step("indexes"));
    seeding.finish().await?;
    progress(Progress::Step("vacuum"));
    store::vacuum(&mut connection).await?;
    Ok(())
}
