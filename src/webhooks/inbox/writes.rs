//! What deliveries that come at once write together (`platform::batcher`): that they came, and later what became of them. `inbox` calls it.

use std::collections::HashSet;

use uuid::Uuid;

use super::store::{self, Delivery, Ended};
use super::{State, Verdict};
use crate::app::App;
use crate::platform::batcher::{Batch, Patience};
use crate::platform::error::Result;

/// On the disk before anybody is answered.
pub(super) struct Receipts;

impl Batch for Receipts {
    type Context = App;
    type Item = Delivery;
    /// `Duplicate` where the same bytes were accepted before; of those that came together the first is accepted.
    type Done = Verdict;

    async fn run(app: &App, items: &[Delivery], patience: Patience) -> Result<Vec<Verdict>> {
        let mut deliveries: Vec<&Delivery> = items.iter().collect();
        // Two processes that wait for each other's bytes wait in one order. Of the same bytes the first stays the first.
        deliveries.sort_by_key(|delivery| &delivery.body_hash);
        app.crash.at("batch.before_receipts")?;
        let stored = store::insert(app.batches.of(patience), &deliveries).await?;
        let stored: HashSet<Uuid> = stored.into_iter().collect();
        app.crash.at("batch.received")?;
        let is_again = |new: &Delivery| new.verdict == Verdict::Accepted && !stored.contains(&new.id);
        let verdict = |new: &Delivery| if is_again(new) { Verdict::Duplicate } else { new.verdict };
        Ok(items.iter().map(verdict).collect())
    }
}

/// One that a crash of PostgreSQL takes back is acted on once more, as after a death before it.
pub(super) struct Ends;

impl Batch for Ends {
    type Context = App;
    type Item = Ended;
    type Done = State;

    async fn run(app: &App, items: &[Ended], patience: Patience) -> Result<Vec<State>> {
        let mut ended: Vec<&Ended> = items.iter().collect();
        ended.sort_by_key(|event| event.id);
        app.crash.at("batch.before_ends")?;
        store::finish(app.batches.of(patience), &ended).await?;
        app.crash.at("batch.ended")?;
        Ok(items.iter().map(|event| event.state).collect())
    }
}
