//! What every flow writes, each kind shared by all who write at once (`platform::batcher`): a row that somebody asked for, a move of one, and
//! a deferral. `transactions` calls them, and a flow does not know of it.
//!
//! A row is in one batch once. Of two moves of a row the second is told that it was too late, as it is between two statements; of two deposits
//! of a customer the second waits for the first, so that each counts what was opened before it.

mod store;

use std::collections::{HashMap, HashSet};

use sqlx::PgExecutor;
use uuid::Uuid;

use super::states::Kind;
use super::store::Row;
use super::transaction::{Condition, Move, NewTransaction, WrittenRow};
use crate::app::App;
use crate::identity::mails;
use crate::platform::batcher::{self, Batch, LockWait};
use crate::platform::clock::DateTime;
use crate::platform::error::Result;
use crate::platform::queue::Lease;

/// A row to be written, unless something stands in its way.
pub(super) struct Insert {
    pub(super) id: Uuid,
    pub(super) new: NewTransaction,
    /// It is the first step's, until the worker may take it.
    pub(super) lease: Lease,
    pub(super) condition: Condition,
}

/// A move of a row.
pub(super) struct Advance {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) to: Move,
    pub(super) now: DateTime,
    /// What of it the customer is mailed.
    pub(super) news: Option<mails::Kind>,
}

pub(super) struct Inserts;

impl Batch for Inserts {
    type Context = App;
    type Item = Insert;
    /// `None` = something stood in its way.
    type Done = Option<WrittenRow>;

    async fn run(app: &App, items: &[Insert], lock_wait: LockWait) -> Result<Vec<Option<WrittenRow>>> {
        let customer = |row: &&Insert| (row.new.kind == Kind::Deposit).then_some(row.new.user_id);
        let rounds = batcher::rounds(in_order(items), customer);
        let mut inserted: HashMap<Uuid, WrittenRow> = match rounds.as_slice() {
            // A statement is a transaction of its own.
            [rows] => store::insert(app.batch_db.of(lock_wait), rows).await?.into_iter().collect(),
            rounds => {
                let (mut tx, mut inserted) = (app.batch_db.begin(lock_wait).await?, HashMap::new());
                for rows in rounds {
                    inserted.extend(store::insert(&mut *tx, rows).await?);
                }
                app.crash.at("batch.before_inserts")?;
                tx.commit().await?;
                inserted
            }
        };
        app.crash.at("batch.inserted")?;
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

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// The disk.
    Awaited,
    /// Nothing: what is lost is done once more.
    Repeatable,
}

/// Moves that are on the disk before anybody hears of them.
pub(super) struct Advances;

/// May be lost in a crash of PostgreSQL; the step then repeats, and makes the same move again: the ledger has it by an id that the row makes.
/// Whatever is written after one reaches the disk after it (docs/decisions/051).
pub(super) struct RepeatableAdvances;

impl Batch for Advances {
    type Context = App;
    type Item = Advance;
    /// The row as it is now; `None` = it was not at its version any more.
    type Done = Option<Row>;

    async fn run(app: &App, items: &[Advance], lock_wait: LockWait) -> Result<Vec<Option<Row>>> {
        advance(app, items, lock_wait, Durability::Awaited).await
    }
}

impl Batch for RepeatableAdvances {
    type Context = App;
    type Item = Advance;
    type Done = Option<Row>;

    async fn run(app: &App, items: &[Advance], lock_wait: LockWait) -> Result<Vec<Option<Row>>> {
        advance(app, items, lock_wait, Durability::Repeatable).await
    }
}

async fn advance(
    app: &App,
    items: &[Advance],
    lock_wait: LockWait,
    durability: Durability,
) -> Result<Vec<Option<Row>>> {
    app.crash.at("batch.before_moves")?;
    let moved = advance_firsts(app, app.batch_db.of(lock_wait), items, durability).await?;
    app.crash.at("batch.moved")?;
    // What became of each: of several moves of a row the first has it.
    let mut moved: HashMap<Uuid, Row> = moved.into_iter().map(|row| (row.id, row)).collect();
    Ok(items.iter().map(|step| moved.remove(&step.id)).collect())
}

/// Of each row the first move, in the order in which any process locks rows.
fn firsts(items: &[Advance]) -> Vec<&Advance> {
    let mut seen = HashSet::new();
    let mut firsts: Vec<&Advance> = items.iter().filter(|step| seen.insert(step.id)).collect();
    firsts.sort_by_key(|step| step.id);
    firsts
}

async fn advance_firsts(
    app: &App,
    db: impl PgExecutor<'_>,
    items: &[Advance],
    durability: Durability,
) -> Result<Vec<Row>> {
    let firsts = firsts(items);
    let notices = mails::notices(app, firsts.iter().map(|step| step.news));
    Ok(store::advance(db, &firsts, &notices, durability).await?)
}

/// Of each row the first move, inside an SQL transaction of the caller's.
pub(super) async fn advance_within(app: &App, db: impl PgExecutor<'_>, items: &[Advance]) -> Result<Vec<Row>> {
    advance_firsts(app, db, items, Durability::Awaited).await
}

/// A row that is looked at again later, and did not move.
pub(super) struct Deferral {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) due_at: DateTime,
    pub(super) attempts: i32,
}

/// One that a crash of PostgreSQL takes back is looked at earlier.
pub(super) struct Deferrals;

impl Batch for Deferrals {
    type Context = App;
    type Item = Deferral;
    type Done = ();

    async fn run(app: &App, items: &[Deferral], lock_wait: LockWait) -> Result<Vec<()>> {
        let mut rows: Vec<&Deferral> = items.iter().collect();
        rows.sort_by_key(|row| row.id);
        store::defer(app.batch_db.of(lock_wait), &rows).await?;
        Ok(vec![(); items.len()])
    }
}
