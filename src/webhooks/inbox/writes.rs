//! What deliveries that come at once write together (`platform::batcher`): that they came, or came again, and later what became of them.
//! `inbox` calls it.

use std::collections::HashSet;

use uuid::Uuid;

use super::store::{self, Delivery, Ended, Repeat};
use super::{REPEATS_KEPT, Verdict};
use crate::app::App;
use crate::platform::batcher::{Batch, LockWait};
use crate::platform::error::Result;

/// On the disk before anybody is answered.
pub(super) struct Receipts;

impl Batch for Receipts {
    type Context = App;
    type Item = Delivery;
    /// Whether it is stored as it came; else the same bytes are here already. Of those that came together the first is stored.
    type Done = bool;

    async fn run(app: &App, items: &[Delivery], lock_wait: LockWait) -> Result<Vec<bool>> {
        let mut deliveries: Vec<&Delivery> = items.iter().collect();
        // Two processes that wait for each other's bytes wait in one order. Of the same bytes the first stays the first.
        deliveries.sort_by_key(|delivery| &delivery.body_hash);
        // What is accepted is unique, and of what nobody signed all that comes here is kept.
        deliveries.dedup_by(|next, first| {
            let kept_once = matches!(next.verdict, Verdict::Stale | Verdict::Foreign) && next.verdict == first.verdict;
            kept_once && (next.endpoint, &next.body_hash) == (first.endpoint, &first.body_hash)
        });
        app.crash.at("batch.before_receipts")?;
        let stored = store::insert(app.batch_db.of(lock_wait), &deliveries).await?;
        let stored: HashSet<Uuid> = stored.into_iter().collect();
        app.crash.at("batch.received")?;
        Ok(items.iter().map(|new| stored.contains(&new.id)).collect())
    }
}

/// In a line of their own: whoever sends one body without end holds up nothing that is new.
pub(super) struct Repeats;

impl Batch for Repeats {
    type Context = App;
    type Item = Repeat;
    type Done = ();

    async fn run(app: &App, items: &[Repeat], lock_wait: LockWait) -> Result<Vec<()>> {
        store::insert_repeats(app.batch_db.of(lock_wait), items, REPEATS_KEPT).await?;
        Ok(vec![(); items.len()])
    }
}

/// One that a crash of PostgreSQL takes back is acted on once more, as after a death before it.
pub(super) struct Ends;

impl Batch for Ends {
    type Context = App;
    type Item = Ended;
    type Done = ();

    async fn run(app: &App, items: &[Ended], lock_wait: LockWait) -> Result<Vec<()>> {
        let mut ended: Vec<&Ended> = items.iter().collect();
        ended.sort_by_key(|event| event.id);
        app.crash.at("batch.before_ends")?;
        store::finish(app.batch_db.of(lock_wait), &ended).await?;
        app.crash.at("batch.ended")?;
        Ok(vec![(); items.len()])
    }
}
