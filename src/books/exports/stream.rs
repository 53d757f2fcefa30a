//! An export that is sent while it is written, in its turn among all reads that take long (`platform/slow_reads.rs`). Three pages are in hand
//! at once, each one step further than the next, so that neither PostgreSQL nor the writing waits for the other:
//!
//! ```text
//! fetch  the rows ─> complete  what belongs to them ─> write  their bytes
//! ```
//!
//! Nothing is held between two pages, no connection and no snapshot; whoever goes away ends it, and whoever reads slowly holds two pages of
//! memory and nothing else.
//!
//! The answer's head is sent once the first page is there, so that what can be refused is refused with a problem document.
//! What fails later breaks the answer off: there is no trailer, and the connection ends before the body does. So does the end of the session,
//! of the role or of the key: whether the caller may is asked again before each page is fetched.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, future, stream};
use serde_json::json;
use tokio::task;
use tokio::time::Instant;
use uuid::Uuid;

use super::more;
use super::writing::Writing;
use super::{Format, Requester, Wanted};
use crate::app::App;
use crate::books::history::{self, Keyset, Selection};
use crate::identity::audit::{self, Entry};
use crate::money::transactions::Transaction;
use crate::platform::error::{Error, Result};
use crate::platform::rate_limits::Class;
use crate::platform::slow_reads;

/// Rows fetched at a time: enough that the way to PostgreSQL does not count, few enough that a page is a megabyte.
const PAGE_ROWS: i64 = 1_000;
/// Of what customers and their programs wrote to the rows of a page, which may be much more than all else: the rows behind that are fetched again.
const WRITTEN_BYTES_MAX: usize = 1 << 20;
/// Beyond any reader that is still alive.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
/// Streams of one user that a process serves at once.
const OPEN_MAX: usize = 3;
const RETRY_SECS: u64 = 30;

/// For each stream, whose it is.
static OPEN: Mutex<Vec<Uuid>> = Mutex::new(Vec::new());

struct Streaming {
    app: App,
    id: Uuid,
    who: Requester,
    selection: Selection,
    /// Fetched, and nothing more; `None` after the last one.
    rows: Option<Fetched>,
    /// Complete and not written yet; `None` after the last one.
    page: Option<Vec<more::Entry>>,
    writing: Option<Writing>,
    deadline: Instant,
    open: Open,
}

struct Fetched {
    rows: Vec<Transaction>,
    is_last: bool,
}

/// Begins an export and fetches its first page. `link` is the one that was followed.
pub(super) async fn begin(
    app: &App,
    who: Requester,
    wanted: Wanted,
    link: Option<Uuid>,
) -> Result<impl Stream<Item = Result<Vec<u8>>> + Send + use<>> {
    who.quota.count(app, Class::Exports, &who.admitted.user_id.to_string()).await?;
    let open = Open::count(app, who.admitted.user_id, wanted.format)?;
    let id = app.clock.row_id();
    let mut started = wanted.entry;
    started["link"] = json!(link);
    let started = Entry::of(&who.actor, "export.started", "export", id).with(started);
    let caller = who.admitted.user_id;
    let selection = Selection { filter: wanted.filter, sort: wanted.sort };
    let (after_id, after) = wanted.after.unzip();
    let writing = Writing::begin(wanted.format, who.scope, wanted.zone, after_id).map_err(Error::internal)?;
    let (deadline, writing) = (Instant::now() + DEADLINE, Some(writing));
    let (rows, page) = (None, None);
    let mut streaming = Streaming { app: app.clone(), id, who, selection, rows, page, writing, deadline, open };
    let first = async {
        audit::record(app, &app.db, started).await?;
        streaming.rows = streaming.fetch(after.as_ref()).await?;
        streaming.complete().await
    };
    streaming.page = app.slow_reads.patiently(caller, slow_reads::WAIT, first).await?;
    Ok(stream::try_unfold(streaming, Streaming::step))
}

impl Streaming {
    /// The bytes of the next page, or of the end.
    async fn step(mut self) -> Result<Option<(Vec<u8>, Self)>> {
        let (deadline, id) = (self.deadline, self.id);
        let stepped = tokio::time::timeout_at(deadline, self.advance()).await;
        match stepped.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed))) {
            Ok(bytes) => Ok(bytes.map(|bytes| (bytes, self))),
            Err(error) => {
                tracing::warn!(export.id = %id, error = error.chain(), "an export broke off");
                Err(error)
            }
        }
    }

    /// `None` when everything was sent before.
    async fn advance(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(mut writing) = self.writing.take() else { return Ok(None) };
        let Some(page) = self.page.take() else {
            let (bytes, trailer) = writing.finish(self.app.clock.now()).map_err(Error::internal)?;
            let whole = json!({"rows": trailer.rows, "sha256": trailer.sha256});
            let entry = Entry::of(&self.who.actor, "export.completed", "export", self.id).with(whole);
            audit::record(&self.app, &self.app.db, entry).await?;
            self.open.rows = Some(trailer.rows);
            return Ok(Some(bytes));
        };
        let (app, caller) = (self.app.clone(), self.who.admitted.user_id);
        // Beside the queries: a page is some milliseconds of a processor.
        let written = task::spawn_blocking(move || writing.rows(page).map(|bytes| (bytes, writing)));
        // The answer has begun: it waits for its turn as long as it may.
        self.page = match self.rows.is_some() {
            true => app.slow_reads.patiently(caller, DEADLINE, self.complete()).await?,
            false => None,
        };
        let (bytes, writing) = written.await.map_err(Error::internal)?.map_err(Error::internal)?;
        self.writing = Some(writing);
        Ok(Some(bytes))
    }

    /// What belongs to the page that was fetched last, while the one after it is fetched.
    async fn complete(&mut self) -> Result<Option<Vec<more::Entry>>> {
        let Some(Fetched { rows, is_last }) = self.rows.take() else { return Ok(None) };
        let last = rows.last().filter(|_| !is_last).map(|last| self.selection.sort.keyset(last));
        let next = async {
            match last {
                Some(last) => self.fetch(Some(&last)).await,
                None => Ok(None),
            }
        };
        let (next, page) = future::try_join(next, more::of(&self.app, rows, self.who.sees_names)).await?;
        self.rows = next;
        Ok(Some(page))
    }

    /// The rows after one, if there are any and the caller may still have them.
    async fn fetch(&self, after: Option<&Keyset>) -> Result<Option<Fetched>> {
        self.who.admitted.require(&self.app).await?;
        let mut rows = history::page_after(&self.app, &self.selection, after, PAGE_ROWS).await?;
        let (found, kept) = (rows.len(), few_enough(&rows));
        rows.truncate(kept);
        // A page that is not full is the last one.
        let is_last = kept == found && i64::try_from(found).is_ok_and(|count| count < PAGE_ROWS);
        Ok(Some(Fetched { rows, is_last }).filter(|fetched| !fetched.rows.is_empty()))
    }
}

/// How many of the rows are a page: one at least.
fn few_enough(rows: &[Transaction]) -> usize {
    let written = rows.iter().scan(0_usize, |sum, row| {
        let before = *sum;
        *sum = before.saturating_add(row.written_bytes());
        Some(before)
    });
    written.take_while(|before| *before <= WRITTEN_BYTES_MAX).count()
}

/// A stream while it lives: counted for its user, and at its end as whole or broken.
struct Open {
    app: App,
    user_id: Uuid,
    format: Format,
    /// How many there were, once all of them are written.
    rows: Option<u64>,
}

impl Open {
    fn count(app: &App, user_id: Uuid, format: Format) -> Result<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if open.iter().filter(|user| **user == user_id).count() >= OPEN_MAX {
            return Err(Error::TooMany { retry_after_secs: RETRY_SECS });
        }
        open.push(user_id);
        Ok(Self { app: app.clone(), user_id, format, rows: None })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = open.iter().position(|user| *user == self.user_id) {
            open.swap_remove(place);
        }
        let (metrics, format) = (&self.app.metrics, self.format.name());
        let outcome = if self.rows.is_some() { "streamed" } else { "broken" };
        metrics.exports.with_label_values(&[format, outcome]).inc();
        metrics.export_rows.with_label_values(&[format]).inc_by(self.rows.unwrap_or(0));
    }
}
