//! What became of mails that were tried at once, written together (`platform::batcher`). `mails` calls it.

use super::store::{self, Outcome};
use crate::app::App;
use crate::platform::batcher::{Batch, LockWait};
use crate::platform::error::Result;

/// One that a crash of PostgreSQL takes back is tried once more, as after a death before it: twice is better than never.
pub(super) struct Outcomes;

impl Batch for Outcomes {
    type Context = App;
    type Item = Outcome;
    type Done = ();

    async fn run(app: &App, items: &[Outcome], lock_wait: LockWait) -> Result<Vec<()>> {
        let mut outcomes: Vec<&Outcome> = items.iter().collect();
        outcomes.sort_by_key(|outcome| outcome.id);
        app.crash.at("batch.before_mails")?;
        store::record(app.batch_db.of(lock_wait), &outcomes).await?;
        app.crash.at("batch.mailed")?;
        Ok(vec![(); items.len()])
    }
}
