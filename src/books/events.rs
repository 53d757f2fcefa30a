//! What happens to a customer's rows and balances, told as it happens: server-sent events. One task a process looks for what changed,
//! for all customers who listen, in one statement for rows and one for the ledger's copy.
//!
//! ```text
//! open  ─> a place among those who listen ─> `id`: now                                   ─┐
//!                                        └─> from an older id: what changed since, `reset` ─┴─> live
//! watch ─> rows that moved or were noted lately, not told yet ─┬─> transaction.updated
//!          transfers copied since the last look ───────────────┴─> balance.updated, where it is another than was told
//!          who took nothing for too long, whose session or token ended: let go; silence: a comment
//! ```
//!
//! At least once: an id is a moment, and who comes back with it is told what changed from a minute before it. A row's event carries its
//! `version`. Nothing is added to what writes: PostgreSQL is asked for what is there.

mod feed;
mod frames;
pub mod routes;
mod store;

use std::time::{Duration, Instant};

use chrono::{DateTime as At, TimeDelta};
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::body::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::app::App;
use crate::money::balances::{self, routes::BalanceView};
use crate::money::transactions::{self, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::database;
use crate::platform::error::{Error, Result};
use crate::platform::waiting::{Place, Stream, Tenure};

pub use feed::watch;
use frames::Ended;

/// Looks' worth of news that a stream holds for a client that takes them slowly; when it is full the stream ends, and the client comes
/// back with its id.
const WAITING_MAX: usize = 16;
/// What was written before an id was given out, and committed after: no transaction of ours takes longer.
const OVERLAP: TimeDelta = TimeDelta::seconds(60);
/// Who was away longer loads its lists anew …
const AWAY_MAX: TimeDelta = TimeDelta::hours(24);
/// … and so does whom more than this has happened to.
const ROWS_MAX: usize = 500;
/// The same of what was written to them, which is held until a slow reader has it.
const WRITTEN_BYTES_MAX: usize = 1 << 19;
/// For a turn to read what was missed. Longer than a list's: many come back at once, and a browser that is refused does not come again.
const READING_WAIT: Duration = Duration::from_secs(20);
/// Balances asked for at once.
const LEDGER_CALLS: usize = 8;

/// An open stream: what goes out first, and what follows.
pub struct Opened {
    pub first: Vec<Bytes>,
    pub live: mpsc::Receiver<Bytes>,
    pub place: Place<Stream>,
}

/// Where a client was when it last listened.
#[derive(Debug, Clone, Copy)]
pub struct Since(DateTime);

impl Since {
    /// As it was given out: microseconds since 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = (1..=17).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let micros = text.parse().ok().filter(|_| digits)?;
        At::from_timestamp_micros(micros).map(Self)
    }
}

/// # Errors
/// [`Error::TooMany`] and [`Error::TurnedAway`] when too many listen already.
pub async fn open(app: &App, tenure: Tenure, since: Option<Since>) -> Result<Opened> {
    let now = app.clock.now();
    let (events, live) = mpsc::channel(WAITING_MAX);
    // From here on it is told what happens; what happened before is read after that.
    let place = app.waiting.streams.enter(tenure, Stream { events, sent_at: Instant::now() })?;
    let first = match since {
        None => vec![frames::hello(now)],
        Some(since) => missed(app, tenure.user, since, now).await?,
    };
    app.metrics.event_streams.inc();
    Ok(Opened { first, live, place })
}

/// Until all of it is out the client's id stays what it was.
async fn missed(app: &App, user: Uuid, Since(since): Since, now: DateTime) -> Result<Vec<Bytes>> {
    let known = since > now - AWAY_MAX && since <= now + OVERLAP;
    let read = async { if known { changed_since(app, user, since - OVERLAP).await } else { Ok(None) } };
    let rows = match app.slow_reads.patiently(user, READING_WAIT, read).await {
        // A browser that is refused does not come back: it is told to read all anew.
        Err(Error::TurnedAway(_)) => None,
        read => read?,
    };
    let Some(rows) = rows else { return Ok(vec![frames::hello(now), frames::reset(now)]) };
    let mut first = vec![frames::hello(since)];
    for row in rows.into_iter().filter(Transaction::is_shown_to_owner) {
        first.push(frames::transaction(since, row)?);
    }
    for balance in balances_of(app, user).await? {
        first.push(frames::balance(since, &balance)?);
    }
    first.push(frames::position(now));
    Ok(first)
}

/// In the order in which it happened; `None` where it is too much to be told.
async fn changed_since(app: &App, user: Uuid, since: DateTime) -> Result<Option<Vec<Transaction>>> {
    let limit = i64::try_from(ROWS_MAX + 1).map_err(Error::internal)?;
    let ids = match store::changed_of(&app.db, user, since, (limit, app.config.list_deadline)).await {
        Ok(ids) => ids,
        Err(error) if database::is_deadline(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if ids.len() > ROWS_MAX {
        return Ok(None);
    }
    let rows = rows(app, &ids).await?;
    let written = rows.iter().map(Transaction::written_bytes).fold(0, usize::saturating_add);
    Ok(Some(rows).filter(|_| written <= WRITTEN_BYTES_MAX))
}

async fn rows(app: &App, ids: &[Uuid]) -> Result<Vec<Transaction>> {
    let mut rows = Vec::with_capacity(ids.len());
    for some in ids.chunks(ROWS_MAX) {
        rows.extend(transactions::find_all(app, some).await?);
    }
    rows.sort_unstable_by_key(|row| (row.updated_at, row.id));
    Ok(rows)
}

/// As `GET /v1/balances` tells them.
async fn balances_of(app: &App, user: Uuid) -> Result<Vec<BalanceView>> {
    Ok(balances::balances(app, user).await?.into_iter().map(BalanceView::from).collect())
}

async fn balances_of_all(app: &App, users: impl IntoIterator<Item = Uuid>) -> Result<Vec<(Uuid, Vec<BalanceView>)>> {
    let asked = users.into_iter().map(|user| async move { Ok((user, balances_of(app, user).await?)) });
    stream::iter(asked).buffer_unordered(LEDGER_CALLS).try_collect().await
}

/// The whole process stops: every stream ends, and its client comes back to another one.
pub fn stop(app: &App) {
    for _stream in app.waiting.streams.stop() {
        count_end(app, Ended::Stopped);
    }
}

fn count_end(app: &App, how: Ended) {
    app.metrics.event_streams_ended.with_label_values(&[how.name()]).inc();
}
