//! Long polls: a call that waits until a row's state is another one. One task a process asks PostgreSQL for the states of all rows that
//! are waited for, in one statement; nobody who waits holds a connection to it.
//!
//! ```text
//! wait ─> a place among those who poll ─┬─ the row's state is none of theirs  ┐
//!                                       ├─ the process stops                  ├─> the row, as it is read then
//!                                       ├─ the time is over                   ┘
//!                                       ├─ the token or the session ends  ─> 401
//!                                       └─ the caller goes away           ─> the place is free
//! ```

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use super::store;
use crate::app::App;
use crate::money::transactions::ShownState;
use crate::platform::error::{Error, Result};
use crate::platform::http::Waits;
use crate::platform::queue;
use crate::platform::waiting::{End, Poll, Tenure};

/// How often all rows are looked at: what another process moved is told this late at most.
const PERIOD: Duration = Duration::from_millis(300);
/// Between two looks, however much moves here.
const PAUSE: Duration = Duration::from_millis(20);
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Of one statement.
const ROWS_MAX: usize = 2_000;

/// What a caller waits for.
pub struct Wanted {
    pub longest: Duration,
    /// Until the state is none of these.
    pub state_not: Vec<ShownState>,
}

/// Waits for the caller's own row, which was looked for before; then it is the caller's turn to read it.
///
/// # Errors
/// [`Error::Unauthenticated`] when the session or the token ended meanwhile; [`Error::TooMany`], [`Error::TurnedAway`] when too many
/// wait already.
pub async fn wait<'a>(
    app: &'a App,
    id: Uuid,
    wanted: &Wanted,
    tenure: Tenure,
    waits: &Waits,
) -> Result<SemaphorePermit<'a>> {
    let (wake, woken) = oneshot::channel();
    let states = wanted.state_not.iter().map(|state| state.name()).collect();
    let place = app.waiting.polls.enter(tenure, Poll { row: id, states, wake })?;
    let wait = waits.begin();
    let end = timeout(wanted.longest, woken).await;
    let turn = app.waiting.reading.acquire().await.map_err(Error::unavailable)?;
    drop((wait, place));
    let now = app.clock.now();
    let is_over = matches!(end, Ok(Ok(End::SessionOver))) || !tenure.has_token_at(now);
    if is_over || Box::pin(app.access.has_ended(tenure.session, now)).await? {
        return Err(Error::Unauthenticated);
    }
    Ok(turn)
}

/// Wakes whoever has something to be woken for; runs for as long as the process.
pub async fn watch(app: &App) {
    loop {
        app.waiting.polls.occupied().await;
        let looked = queue::caught(async {
            let_go_ended(app).await?;
            let rows = app.waiting.polls.map(|waiter| waiter.what.row);
            drop(app.waiting.take_moved());
            wake(app, rows).await
        });
        let pause = match looked.await {
            Ok(()) => PERIOD,
            Err(error) => {
                tracing::warn!(error = error.chain(), "rows that are waited for could not be looked at");
                FAILURE_PAUSE
            }
        };
        if timeout(pause, wake_moved(app)).await.is_ok_and(|woken| woken.is_err()) {
            pause_for(FAILURE_PAUSE).await;
        }
    }
}

/// The whole process stops: everybody is answered with the row as it is.
pub fn stop(app: &App) {
    for waiter in app.waiting.polls.stop() {
        tell(waiter.what, End::Stopped);
    }
}

/// Those whose rows moved in this process, at once. Comes back only where it could not look.
async fn wake_moved(app: &App) -> Result<()> {
    loop {
        app.waiting.nudged().await;
        let moved = app.waiting.take_moved();
        let mut rows = app.waiting.polls.map(|waiter| waiter.what.row);
        rows.retain(|row| moved.contains(row));
        if !rows.is_empty() {
            queue::caught(wake(app, rows)).await?;
        }
        pause_for(PAUSE).await;
    }
}

async fn let_go_ended(app: &App) -> Result<()> {
    let now = app.clock.now();
    app.access.keep_fresh(now).await?;
    let ended = app.waiting.polls.take_if(|waiter| {
        let over = !waiter.tenure.has_token_at(now) || app.access.knows_end_of(waiter.tenure.session);
        over.then_some(End::SessionOver)
    });
    ended.into_iter().for_each(|(waiter, end)| tell(waiter.what, end));
    Ok(())
}

async fn wake(app: &App, mut rows: Vec<Uuid>) -> Result<()> {
    rows.sort_unstable();
    rows.dedup();
    let mut states: HashMap<Uuid, &'static str> = HashMap::with_capacity(rows.len());
    for some in rows.chunks(ROWS_MAX) {
        states.extend(store::shown_states(&app.db, some).await?);
    }
    let changed = app.waiting.polls.take_if(|waiter| {
        let state = states.get(&waiter.what.row)?;
        (!waiter.what.states.contains(state)).then_some(End::Changed)
    });
    changed.into_iter().for_each(|(waiter, end)| tell(waiter.what, end));
    Ok(())
}

fn tell(poll: Poll, end: End) {
    // Who went away meanwhile hears nothing.
    poll.wake.send(end).unwrap_or_default();
}

#[expect(clippy::disallowed_methods, reason = "this paces a background loop; a test waits for its effect")]
async fn pause_for(length: Duration) {
    tokio::time::sleep(length).await;
}
