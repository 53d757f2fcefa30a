//! An export that is sent while it is written: one page in hand, the next one on its way. Whoever goes away ends it; whoever
//! reads slowly holds a page of memory and nothing else.
//!
//! The answer's head is sent once the first page is there, so that what can be refused is refused with a problem document.
//! What fails later breaks the answer off: there is no trailer, and the connection ends before the body does.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, future, stream};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::pages::{self, Page, Pages};
use super::writing::Writing;
use super::{Asked, Format};
use crate::app::App;
use crate::books::history::{self, Scope};
use crate::identity::audit::{self, Actor, Entry};
use crate::platform::error::{Error, Result};

/// Beyond any reader that is still alive; more rows than fit into it are for the background.
const DEADLINE: Duration = Duration::from_secs(15 * 60);
/// Pages that a process fetches and writes at once for streams; other requests need connections too.
const PAGES_AT_ONCE: usize = 4;
/// Streams of one user that a process serves at once.
const OPEN_MAX: usize = 3;
const RETRY_SECS: u64 = 30;

static PAGES: Semaphore = Semaphore::const_new(PAGES_AT_ONCE);
static OPEN: LazyLock<Mutex<HashMap<Uuid, usize>>> = LazyLock::new(Mutex::default);

/// Who wants what.
pub(super) struct Wanted {
    pub(super) user_id: Uuid,
    pub(super) actor: Actor,
    pub(super) format: Format,
    pub(super) scope: Scope,
    pub(super) asked: Asked,
    pub(super) after: Option<Uuid>,
}

struct Streaming {
    app: App,
    id: Uuid,
    actor: Actor,
    pages: Pages,
    page: Option<Page>,
    writing: Option<Writing>,
    /// What is written and not sent yet.
    out: Vec<u8>,
    deadline: Instant,
    open: Open,
}

/// Begins an export and fetches its first page.
///
/// # Errors
/// [`Error::Invalid`], [`Error::TooMany`], or when PostgreSQL does not answer.
pub(super) async fn begin(app: &App, wanted: Wanted) -> Result<impl Stream<Item = Result<Vec<u8>>> + Send + use<>> {
    let (filter, sort) = wanted.asked.checked(wanted.scope)?;
    let place = match wanted.after {
        Some(id) => Some(pages::place_of(app, wanted.scope, &sort, id).await?),
        None => None,
    };
    let open = Open::count(app, wanted.user_id, wanted.format)?;
    let id = app.clock.row_id();
    let started = json!({"format": wanted.format.name(), "filter": wanted.asked.told(), "after": wanted.after,
        "streamed": true});
    audit::record(app, &app.db, Entry::of(&wanted.actor, "export.started", "export", id).with(started)).await?;
    let mut pages = Pages::new(history::prepare(app, filter, sort).await?, place);
    let page = pages.next(app).await?;
    let mut out = Vec::new();
    let writing = Writing::begin(wanted.format, wanted.scope, wanted.after, &mut out);
    let state = Streaming {
        app: app.clone(),
        id,
        actor: wanted.actor,
        pages,
        page,
        writing: Some(writing),
        out,
        deadline: Instant::now() + DEADLINE,
        open,
    };
    Ok(stream::try_unfold(state, Streaming::step))
}

impl Streaming {
    /// The bytes of the next page, or of the end.
    async fn step(mut self) -> Result<Option<(Vec<u8>, Self)>> {
        let (deadline, id) = (self.deadline, self.id);
        let stepped = tokio::time::timeout_at(deadline, self.advance()).await;
        match stepped.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed))) {
            Ok(true) => {
                let room = Vec::with_capacity(self.out.len());
                Ok(Some((std::mem::replace(&mut self.out, room), self)))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                tracing::warn!(export.id = %id, error = error.chain(), "an export broke off");
                Err(error)
            }
        }
    }

    /// False when everything was sent before.
    async fn advance(&mut self) -> Result<bool> {
        let Some(mut writing) = self.writing.take() else { return Ok(false) };
        let Some(page) = self.page.take() else {
            let trailer = writing.finish(self.app.clock.now(), &mut self.out);
            let whole = json!({"rows": trailer.rows, "sha256": trailer.sha256});
            let entry = Entry::of(&self.actor, "export.completed", "export", self.id).with(whole);
            audit::record(&self.app, &self.app.db, entry).await?;
            self.open.finish(trailer.rows);
            return Ok(true);
        };
        let _turn = PAGES.acquire().await.map_err(Error::unavailable)?;
        // The query is on its way before this page is written.
        let written = async { writing.rows(page.rows, &mut self.out) };
        let (next, written) = future::join(self.pages.next(&self.app), written).await;
        written?;
        self.page = next?;
        self.writing = Some(writing);
        Ok(true)
    }
}

/// A stream while it lives: counted for its user, and at its end as whole or broken.
struct Open {
    app: App,
    user_id: Uuid,
    format: Format,
    rows: Option<u64>,
}

impl Open {
    fn count(app: &App, user_id: Uuid, format: Format) -> Result<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(user_id).or_insert(0);
        if *count >= OPEN_MAX {
            return Err(Error::TooMany { retry_after_secs: RETRY_SECS });
        }
        *count = count.saturating_add(1);
        Ok(Self { app: app.clone(), user_id, format, rows: None })
    }

    fn finish(&mut self, rows: u64) {
        self.rows = Some(rows);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user_id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.user_id);
            }
        }
        let outcome = if self.rows.is_some() { "streamed" } else { "broken" };
        super::count(&self.app, self.format, outcome, self.rows.unwrap_or(0));
    }
}
