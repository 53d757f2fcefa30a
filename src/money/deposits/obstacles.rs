//! What stands in the way of a new deposit: one look for all who open one at that moment (`platform::batcher`). `deposits::open` calls it.
//! What is told here may have changed when the row is written: the insert decides.

use super::store::{self, Obstacles, Request};
use crate::app::App;
use crate::money::transactions::NewTransaction;
use crate::platform::batcher::{Batch, LockWait};
use crate::platform::error::Result;

pub(super) async fn find(app: &App, new: &NewTransaction) -> Result<Obstacles> {
    let request = Request { user_id: new.user_id, key: new.key.as_str().to_owned() };
    app.batchers.join::<ObstaclesBatch>(app, request).await
}

struct ObstaclesBatch;

impl Batch for ObstaclesBatch {
    type Context = App;
    type Item = Request;
    type Done = Obstacles;

    async fn run(app: &App, requests: &[Request], lock_wait: LockWait) -> Result<Vec<Obstacles>> {
        Ok(store::obstacles(app.batch_db.of(lock_wait), requests, app.config.open_deposits_max).await?)
    }
}
