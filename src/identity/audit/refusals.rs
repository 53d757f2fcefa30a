//! Calls that were refused are on record, but whoever may be refused for nothing must not be able to fill the log: the first sixty of a
//! caller in a minute have a row each, and when the minute is over one row tells how many more there were.

use chrono::{DurationRound, TimeDelta};
use serde_json::json;

use super::{Actor, Entry, NOBODY, Origin, record, store};
use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::http::address::Networks;
use crate::platform::queue;

const ROWS_A_MINUTE: i64 = 60;
const BATCH: i64 = 500;

/// [`record`] of what was refused. The caller is the actor, and the address of somebody who is nobody.
pub async fn record_refusal(app: &App, entry: Entry) -> Result<()> {
    let minute = app.clock.now().duration_trunc(TimeDelta::minutes(1)).map_err(Error::internal)?;
    let nobody = entry.actor.name == NOBODY;
    let address = entry.actor.origin.address.as_deref().filter(|_| nobody).unwrap_or_default();
    // Whoever has one address of a network has as many of it as there are.
    let from = Networks::of(address).map(|networks| networks.around.unwrap_or(networks.near));
    let from = from.unwrap_or_else(|| address.to_owned());
    let mut tx = app.db.begin().await?;
    if store::count_refusal(&mut *tx, &entry.actor.name, &from, minute).await? <= ROWS_A_MINUTE {
        record(app, &mut *tx, entry).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Of the minutes that are over. True when there may be more.
pub(super) async fn tell_the_rest(app: &App) -> Result<bool> {
    let before = app.clock.now().duration_trunc(TimeDelta::minutes(1)).map_err(Error::internal)?;
    let mut tx = app.db.begin().await?;
    let taken = store::take_refusals(&mut *tx, before, BATCH).await?;
    for refused in taken.iter().filter(|refused| refused.refusals > ROWS_A_MINUTE) {
        let address = Some(refused.address.clone()).filter(|address| !address.is_empty());
        let origin = Origin { request_id: None, address };
        let actor = Actor { name: refused.actor.clone(), role: None, origin };
        let more = json!({"minute": refused.minute, "more": refused.refusals - ROWS_A_MINUTE});
        record(app, &mut *tx, Entry::of(&actor, "caller.refused_more", "caller", &refused.actor).with(more)).await?;
    }
    tx.commit().await?;
    Ok(queue::is_full(taken.len(), BATCH))
}
