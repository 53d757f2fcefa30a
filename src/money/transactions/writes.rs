//! The two writes of every flow, each shared by all who write at once (`platform::batcher`): a row that somebody asked for, and a move of
//! one. `transactions` calls them, and a flow does not know of it.
//!
//! A row is in one batch once. Of two moves of a row the second is told that it was too late, as it is between two statements; of two deposits
//! of a customer the second waits for the first, so that each counts what was opened before it.

mod store;

use std::collections::{HashMap, HashSet};

use sqlx::PgExecutor;
use uuid::Uuid;

use super::store::Row;
use super::types::{Inserted, Kind, Move, NewTransaction};
use crate::app::App;
use crate::identity::mails;
use crate::platform::batcher::Batch;
use crate::platform::clock::DateTime;
use crate::platform::error::Result;

/// A row to be written, unless something stands in its way.
pub(super) struct Insert {
    pub(super) id: Uuid,
    pub(super) new: NewTransaction,
    pub(super) now: DateTime,
    pub(super) due_at: DateTime,
    /// Of a deposit: only while fewer wait for their payment.
    pub(super) open_max: Option<i64>,
    /// Of a withdrawal: only to an account of the customer's that is there, and if no code is to be asked for.
    pub(super) unasked: bool,
}

/// A move of a row.
pub(super) struct Advance {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) to: Move,
    pub(super) now: DateTime,
    /// Whom it is mailed to, and what of it.
    pub(super) news: Option<(mails::Kind, Uuid)>,
    pub(super) durability: Durability,
}

/// What a crash of PostgreSQL may take back (docs/decisions/051).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// Nothing: it is on the disk before anybody hears of it.
    OnDisk,
    /// The last moments of it, and then the same step makes the same move again: the ledger has it, by an id that the row makes. Whatever is
    /// written after it reaches the disk after it.
    Repeatable,
}

pub(super) struct Inserts;

impl Batch for Inserts {
    type Context = App;
    type Item = Insert;
    /// `None` = something stood in its way.
    type Done = Option<Inserted>;

    async fn run(app: &App, items: &[Insert]) -> Result<Vec<Option<Inserted>>> {
        let (mut inserted, mut left) = (HashMap::new(), in_order(items));
        while !left.is_empty() {
            let mut customers = HashSet::new();
            let (now, later): (Vec<&Insert>, Vec<&Insert>) =
                left.into_iter().partition(|row| row.new.kind != Kind::Deposit || customers.insert(row.new.user_id));
            inserted.extend(store::insert(&app.db, &now).await?);
            left = later;
        }
        Ok(items.iter().map(|row| inserted.remove(&row.id)).collect())
    }
}

/// Two processes that lock the same customers lock them in the same order.
fn in_order(items: &[Insert]) -> Vec<&Insert> {
    let mut rows: Vec<&Insert> = items.iter().collect();
    rows.sort_by(|one, other| {
        (one.new.user_id, one.new.key.as_str()).cmp(&(other.new.user_id, other.new.key.as_str()))
    });
    rows
}

pub(super) struct Advances;

impl Batch for Advances {
    type Context = App;
    type Item = Advance;
    /// The row as it is now; `None` = it was not at its version any more.
    type Done = Option<Row>;

    async fn run(app: &App, items: &[Advance]) -> Result<Vec<Option<Row>>> {
        let mut seen = HashSet::new();
        let mut firsts: Vec<&Advance> = items.iter().filter(|step| seen.insert(step.id)).collect();
        firsts.sort_by_key(|step| step.id);
        let (on_disk, repeatable): (Vec<&Advance>, Vec<&Advance>) =
            firsts.into_iter().partition(|step| step.durability == Durability::OnDisk);
        let mut moved = HashMap::new();
        for (steps, begin) in [(on_disk, "begin"), (repeatable, "begin; set local synchronous_commit = off")] {
            if !steps.is_empty() {
                moved.extend(advance(app, &steps, begin).await?);
            }
        }
        Ok(items.iter().map(|step| moved.remove(&step.id)).collect())
    }
}

async fn advance(app: &App, steps: &[&Advance], begin: &'static str) -> Result<HashMap<Uuid, Row>> {
    let mut tx = app.db.begin_with(begin).await?;
    let moved: HashMap<Uuid, Row> =
        store::advance(&mut *tx, steps).await?.into_iter().map(|row| (row.id, row)).collect();
    let news = steps.iter().filter(|step| moved.contains_key(&step.id)).filter_map(|step| step.news);
    mails::notify_all(app, &mut *tx, &news.collect::<Vec<_>>()).await?;
    tx.commit().await?;
    Ok(moved)
}

/// One move, inside an SQL transaction of the caller's.
pub(super) async fn advance_within(db: impl PgExecutor<'_>, step: &Advance) -> Result<Option<Row>> {
    Ok(store::advance(db, &[step]).await?.pop())
}
