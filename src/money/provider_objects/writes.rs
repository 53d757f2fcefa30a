//! What is recorded of objects at once, together (`platform::batcher`). None of it waits for the disk: what follows from a snapshot is written
//! after it, and an event whose announcement was lost is acted on once more (docs/decisions/051). `provider_objects` calls it.

use std::collections::HashMap;

use uuid::Uuid;

use super::store::{self, Announcement, Known, Snapshot};
use crate::app::App;
use crate::platform::batcher::{self, Batch, LockWait};
use crate::platform::error::Result;

pub(super) struct Announcements;

impl Batch for Announcements {
    type Context = App;
    type Item = Announcement;
    type Done = ();

    async fn run(app: &App, items: &[Announcement], lock_wait: LockWait) -> Result<Vec<()>> {
        store::announce(app.batch_db.of(lock_wait), items).await?;
        Ok(vec![(); items.len()])
    }
}

pub(super) struct Snapshots;

impl Batch for Snapshots {
    type Context = App;
    type Item = Snapshot;
    /// `Some`: newer is known of the object, and nothing is recorded.
    type Done = Option<Known>;

    async fn run(app: &App, items: &[Snapshot], lock_wait: LockWait) -> Result<Vec<Option<Known>>> {
        let mut all: Vec<(usize, &Snapshot)> = items.iter().enumerate().collect();
        all.sort_by_key(|(_, snapshot)| snapshot.id);
        let mut newer: Vec<Option<Known>> = vec![None; items.len()];
        let db = app.batch_db.of(lock_wait);
        // Each statement stands: a snapshot that is written says the same when it is repeated.
        for round in batcher::rounds(all, |(_, snapshot)| Some(snapshot.id)) {
            let ids: Vec<Uuid> = round.iter().map(|(_, snapshot)| snapshot.id).collect();
            let known = store::find_all(db, &ids).await?.into_iter().map(|known| (known.id, known));
            let mut known: HashMap<Uuid, Known> = known.collect();
            let (mut news, mut caught_up, mut paid) = (Vec::new(), Vec::new(), Vec::new());
            for (index, snapshot) in round {
                let Some(known) = known.remove(&snapshot.id) else {
                    news.push(snapshot);
                    continue;
                };
                if snapshot.is_older_than(&known) {
                    // That it was paid once is as true as ever.
                    paid.extend((snapshot.was_paid && known.paid_at.is_none()).then_some(snapshot.id));
                    newer.splice(index..=index, [Some(known)]);
                } else if !snapshot.says_the_same(&known) {
                    news.push(snapshot);
                } else if known.stale_since.is_some() && !snapshot.kind.is_of_purchase() {
                    caught_up.push(snapshot.id);
                }
            }
            if !paid.is_empty() {
                store::note_paid(db, &paid, app.clock.now()).await?;
            }
            if !caught_up.is_empty() {
                store::end_stale(db, &caught_up).await?;
            }
            if !news.is_empty() {
                store::upsert(db, &news).await?;
            }
        }
        Ok(newer)
    }
}
