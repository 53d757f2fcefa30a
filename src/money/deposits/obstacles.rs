//! What stands in the way of a new deposit: one look for all who open one at that moment (`platform::batcher`). `deposits::open` calls it.
//! What is told here may have changed when the row is written: the insert decides.

use super::store::{self, Obstacles, Wish};
use crate::app::App;
use crate::money::transactions::NewTransaction;
use crate::platform::batcher::{Batch, LockWait};
use crate::platform::error::Result;

pub(super) async fn find(app: &App, new: &NewTransaction) -> Result<Obstacles> {
    let wish = Wish { user_id: new.user_id, key: new.key.as_str().to_owned() };
    app.batchers.join::<ObstaclesBatch>(app, wish).await
}

struct ObstaclesBatch;

impl Batch for ObstaclesBatch {
    type Context = App;
    type Item = Wish;
    type Done = Obstacles;

    async fn run(app: &App, wishes: &[Wish], lock_wait: LockWait) -> Result<Vec<Obstacles>> {
        Ok(store::obstacles(app.batch_db.of(lock_wait), wishes, app.config.open_deposits_max).await?)
    }
}
