//! What stands in the way of a new deposit: one look for all who open one at that moment (`platform::batcher`). `deposits::open` calls it.
//! What is told here may have changed when the row is written: the insert decides.

use super::store::{self, Opening, Wish};
use crate::app::App;
use crate::money::transactions::NewTransaction;
use crate::platform::batcher::{Batch, LockWait};
use crate::platform::error::Result;

pub(super) async fn look(app: &App, new: &NewTransaction) -> Result<Opening> {
    let wish = Wish { user_id: new.user_id, key: new.key.as_str().to_owned() };
    app.batchers.join::<Openings>(app, wish).await
}

struct Openings;

impl Batch for Openings {
    type Context = App;
    type Item = Wish;
    type Done = Opening;

    async fn run(app: &App, wishes: &[Wish], lock_wait: LockWait) -> Result<Vec<Opening>> {
        Ok(store::openings(app.batch_db.of(lock_wait), wishes, app.config.open_deposits_max).await?)
    }
}
