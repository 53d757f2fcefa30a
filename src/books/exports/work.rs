//! An export in the background: pages become chunks, and each chunk is stored together with the checkpoint that the next one
//! goes on from. Whoever dies in between leaves a beginning of the file, and the next worker writes the same bytes after it.
//!
//! ```text
//! queued ─> running ─> completed ─(a day)─> expired
//!    └─────────┴─> failed                              after failures at 0, 1, 5 and 15 minutes, or too many rows for xlsx
//! ```

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::{StreamExt, future, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::pages::{Page, Pages};
use super::store::{self, Row};
use super::writing::{self, Writing};
use super::{Asked, Format, place};
use crate::app::App;
use crate::books::history::{self, Keyset, Scope};
use crate::identity::audit::{self, Actor, Entry};
use crate::platform::encryption::Encrypted;
use crate::platform::error::{Error, Result};

/// How long a claimed row is left alone; each stored page begins it renewed.
const LEASE: TimeDelta = TimeDelta::seconds(90);
/// After so long the row goes back into the queue, so that one large export does not keep the others waiting …
const TURN: Duration = Duration::from_secs(30);
/// … and what hangs is given up.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
const STEPS_AT_ONCE: usize = 2;
/// Minutes after each failure; after the last one the export has failed.
const RETRY_MINUTES: [i64; 4] = [0, 1, 5, 15];
/// After those, when a file cannot be deleted.
const EMPTY_AGAIN_MINUTES: i64 = 60;
/// How long a file is kept.
const KEPT: TimeDelta = TimeDelta::hours(24);
/// As the table's constraint has it.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Chunks deleted in one statement: some 16 MB.
const DELETE_BATCH: i64 = 64;

/// What the row keeps sealed: what was asked for, and how far it is.
#[derive(Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) asked: Asked,
    progress: Option<Progress>,
}

#[derive(Serialize, Deserialize)]
struct Progress {
    /// Where the last stored page ends.
    end: Option<Keyset>,
    writing: writing::Stored,
}

impl Work {
    pub(super) fn new(asked: Asked) -> Self {
        Self { asked, progress: None }
    }

    pub(super) fn seal(&self, app: &App, id: Uuid) -> Result<Encrypted> {
        let text = serde_json::to_vec(self).expect("work is plain data");
        app.config.data_keys.encrypt(id, &text).map_err(Error::internal)
    }

    pub(super) fn open(app: &App, row: &Row) -> Result<Self> {
        let sealed = Encrypted { key_id: row.key_id.clone(), bytes: row.work.clone() };
        let text = app.config.data_keys.decrypt(row.id, &sealed).map_err(Error::internal)?;
        serde_json::from_slice(&text).map_err(Error::internal)
    }
}

/// Claims due exports and works on each of them for a while. How many were claimed.
pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    let now = app.clock.now();
    let claimed = store::claim_due(&app.db, now, now + LEASE, limit).await?;
    let count = claimed.len();
    stream::iter(claimed).for_each_concurrent(STEPS_AT_ONCE, |row| step_one(app, row)).await;
    Ok(count)
}

async fn step_one(app: &App, mut row: Row) {
    let stepped = tokio::time::timeout(STEP_DEADLINE, step(app, &mut row)).await;
    let outcome = match stepped.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed))) {
        Ok(()) => "done",
        // Another worker took it over when the lease had ended.
        Err(Error::StaleState) => "stale",
        Err(Error::Crashed(_)) => "crashed",
        Err(error) => {
            if let Err(error) = failed(app, &row, &error).await {
                tracing::warn!(export.id = %row.id, error = error.chain(), "the failure was not recorded");
            }
            "failed"
        }
    };
    app.metrics.task_steps.with_label_values(&["exports", outcome]).inc();
}

async fn step(app: &App, row: &mut Row) -> Result<()> {
    match row.state.as_str() {
        "queued" | "running" => write(app, row).await,
        "completed" | "failed" => empty(app, row).await,
        _ => Ok(()),
    }
}

/// Writes pages until the end, or until others shall have their turn.
async fn write(app: &App, row: &mut Row) -> Result<()> {
    app.crash.at("export.claimed")?;
    let began = Instant::now();
    let format = Format::parse(&row.format).ok_or_else(|| Error::internal("exports.format cannot be read"))?;
    let scope = if row.scope == "all" { Scope::All } else { Scope::Own(row.user_id) };
    let work = Work::open(app, row)?;
    let (filter, sort) = work.asked.checked(scope).map_err(|error| Error::internal(error.to_string()))?;
    let mut out = Vec::new();
    let (mut writing, end) = match work.progress {
        Some(progress) => (Writing::resume(format, scope, progress.writing)?, progress.end),
        None => (Writing::begin(format, scope, None, &mut out), None),
    };
    let mut pages = Pages::new(history::prepare(app, filter, sort).await?, end);
    let mut job = Job { app, row, asked: work.asked };
    let mut page = pages.next(app).await?;
    while let Some(current) = page {
        // The query of the next page is on its way before this one is written and stored.
        let (next, stored) =
            future::join(pages.next(app), job.write_page(&mut writing, current, std::mem::take(&mut out))).await;
        stored?;
        page = next?;
        if began.elapsed() > TURN {
            store::defer(&app.db, job.row, app.clock.now(), 0).await?;
            return Ok(());
        }
    }
    job.finish(writing, out).await
}

struct Job<'a> {
    app: &'a App,
    row: &'a mut Row,
    asked: Asked,
}

impl Job<'_> {
    /// `out` is what precedes the page and is not stored yet.
    async fn write_page(&mut self, writing: &mut Writing, page: Page, mut out: Vec<u8>) -> Result<()> {
        writing.rows(page.rows, &mut out)?;
        self.app.crash.at("export.page_written")?;
        let progress = Progress { end: Some(page.end), writing: writing.store() };
        self.store(&out, progress, writing.row_count(), None).await
    }

    async fn finish(mut self, writing: Writing, mut out: Vec<u8>) -> Result<()> {
        let (app, rows) = (self.app, writing.row_count());
        let progress = Progress { end: None, writing: writing.store() };
        let trailer = writing.finish(app.clock.now(), &mut out);
        self.store(&out, progress, rows, Some(&trailer.sha256)).await?;
        if let Some(format) = Format::parse(&self.row.format) {
            super::count(app, format, "completed", rows);
        }
        Ok(())
    }

    /// The bytes, the checkpoint and, at the end, who asked for it and what it came to: all or nothing.
    async fn store(&mut self, bytes: &[u8], progress: Progress, rows: u64, sha256: Option<&str>) -> Result<()> {
        let (app, now) = (self.app, self.app.clock.now());
        let work = Work { asked: self.asked.clone(), progress: Some(progress) };
        let sealed = work.seal(app, self.row.id)?;
        let chunks = seal_chunks(app, self.row, bytes)?;
        let expires_at = now + KEPT;
        let to = store::Progress {
            work: sealed.bytes,
            key_id: sealed.key_id,
            rows_written: i64::try_from(rows).unwrap_or(i64::MAX),
            bytes_written: self.row.bytes_written.saturating_add(length(bytes)),
            chunks: self.row.chunks.saturating_add(i32::try_from(chunks.len()).unwrap_or(i32::MAX)),
            completed: sha256.map(|sha256| (sha256, expires_at)),
        };
        let due_at = if sha256.is_some() { expires_at } else { now + LEASE };
        let mut tx = app.db.begin().await?;
        if !store::advance(&mut *tx, self.row, &to, now, due_at).await? {
            return Err(Error::StaleState);
        }
        for chunk in &chunks {
            store::insert_chunk(&mut *tx, self.row.id, chunk).await?;
        }
        if let Some(sha256) = sha256 {
            let entry = Entry::of(&Actor::system(), "export.completed", "export", self.row.id);
            audit::record(app, &mut *tx, entry.with(json!({"rows": rows, "sha256": sha256}))).await?;
        }
        tx.commit().await?;
        self.row.version = self.row.version.saturating_add(1);
        (self.row.bytes_written, self.row.chunks, self.row.attempts) = (to.bytes_written, to.chunks, 0);
        app.crash.at("export.stored")?;
        Ok(())
    }
}

fn seal_chunks(app: &App, row: &Row, bytes: &[u8]) -> Result<Vec<store::Chunk>> {
    let mut chunks = Vec::new();
    let (mut position, mut byte_offset) = (row.chunks, row.bytes_written);
    for plain in bytes.chunks(CHUNK_BYTES_MAX) {
        let sealed = app.config.data_keys.encrypt(place(row.id, position), plain).map_err(Error::internal)?;
        let length = i32::try_from(plain.len()).expect("a chunk is short");
        chunks.push(store::Chunk { position, byte_offset, length, bytes: sealed.bytes, key_id: sealed.key_id });
        position = position.saturating_add(1);
        byte_offset = byte_offset.saturating_add(i64::from(length));
    }
    Ok(chunks)
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

/// Deletes the file, a piece at a time. The row stays: it says that there was an export.
async fn empty(app: &App, row: &Row) -> Result<()> {
    while store::delete_chunks(&app.db, row.id, DELETE_BATCH).await? > 0 {
        app.crash.at("export.chunks_deleted")?;
    }
    Ok(store::empty(&app.db, row, app.clock.now()).await?)
}

/// Again after a while, for ever where a file is to be deleted; else after the last try, or when no try would help, it has failed.
async fn failed(app: &App, row: &Row, error: &Error) -> Result<()> {
    let now = app.clock.now();
    let failures = usize::try_from(row.attempts).unwrap_or(0);
    if matches!(row.state.as_str(), "completed" | "failed") {
        // Nobody waits for it, but a file must not stay for ever: it is tried until it is gone.
        let minutes = RETRY_MINUTES.get(failures.max(1)).copied().unwrap_or(EMPTY_AGAIN_MINUTES);
        tracing::error!(export.id = %row.id, error = error.chain(), "the file of an export could not be deleted");
        store::defer(&app.db, row, now + TimeDelta::minutes(minutes), row.attempts.saturating_add(1)).await?;
        return Ok(());
    }
    let hopeless = matches!(error, Error::Invalid(_) | Error::TooBroad);
    if let Some(minutes) = RETRY_MINUTES.get(failures).filter(|_| !hopeless) {
        tracing::warn!(export.id = %row.id, error = error.chain(), "an export failed and is tried again");
        store::defer(&app.db, row, now + TimeDelta::minutes(*minutes), row.attempts.saturating_add(1)).await?;
        return Ok(());
    }
    let reason = match error {
        Error::Invalid(fields) => fields.first().map_or_else(String::new, |field| field.message.clone()),
        other => other.to_string(),
    };
    tracing::error!(export.id = %row.id, error = error.chain(), "an export has failed");
    let mut tx = app.db.begin().await?;
    if store::fail(&mut *tx, row, &reason, now).await? {
        let entry = Entry::of(&Actor::system(), "export.failed", "export", row.id);
        audit::record(app, &mut *tx, entry.with(json!({"rows": row.rows_written}))).await?;
        if let Some(format) = Format::parse(&row.format) {
            super::count(app, format, "failed", 0);
        }
    }
    tx.commit().await?;
    Ok(())
}
