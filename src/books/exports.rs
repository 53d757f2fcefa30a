//! Exports: the rows of a list as one file, CSV, JSON Lines or a workbook, by the same filters in the same order.
//!
//! ```text
//! GET  …/transactions/export    stream: page ─> writing ─> the client                      ends with the connection
//! POST /v1/exports              work:   page ─> writing ─> sealed chunks and a checkpoint  goes on after any death
//!                               download: chunks ─> whoever has the link
//! ```
//!
//! Both read the same `pages` and write by the same `writing`, so the same rows make the same bytes. The trailer at the
//! end holds rows, sums and a hash; a file without one is not whole. `docs/exports.md` is for those who read the files.

mod columns;
mod csv;
mod download;
mod jsonl;
mod pages;
pub mod routes;
mod store;
mod stream;
mod text;
mod trailer;
mod work;
mod writing;
mod xlsx;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::books::history::{Filter, FilterQuery, Scope, Sort, StaffQuery};
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::users;
use crate::platform::error::{Error, Result};
use crate::platform::http::{Fields, IdempotencyKey, RequestHash};

use store::Row;
use work::Work;

pub use store::KeyUse;
pub use work::step_due;

/// Rows fetched at a time: enough that the way to PostgreSQL does not count, few enough that a page is a megabyte.
const PAGE_ROWS: i64 = 1_000;
/// Exports of one user that wait or run at once.
const OPEN_MAX: i64 = 2;
const OPEN_RETRY_SECS: u64 = 60;
/// Exports of one user whose files are here at once, those that are being written among them: what is stored must have an end.
const KEPT_MAX: i64 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Jsonl,
    Xlsx,
}

const FORMATS: [Format; 3] = [Format::Csv, Format::Jsonl, Format::Xlsx];

impl Format {
    /// Also the end of a file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Xlsx => "xlsx",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        FORMATS.into_iter().find(|format| format.name() == name)
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/jsonl; charset=utf-8",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

/// Which rows are wanted, in the words of the list; stored with an export in the background.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Asked {
    #[serde(flatten)]
    pub filter: FilterQuery,
    #[serde(flatten)]
    pub staff: StaffQuery,
}

impl Asked {
    fn parse(&self, fields: &mut Fields, scope: Scope) -> (Filter, Sort) {
        let (mut filter, sort) = self.filter.parse(fields, scope);
        match scope {
            Scope::All => self.staff.narrow(fields, &mut filter),
            Scope::Own(_) => {
                for (field, value) in [("user_id", &self.staff.user_id), ("held", &self.staff.held)] {
                    if value.is_some() {
                        fields.wrong(field, "is not a filter of this export");
                    }
                }
            }
        }
        (filter, sort)
    }

    fn checked(&self, scope: Scope) -> Result<(Filter, Sort)> {
        let mut fields = Fields::default();
        let parsed = self.parse(&mut fields, scope);
        fields.finish()?;
        Ok(parsed)
    }

    /// For the audit log: what was checked to be a word of ours, a number, a time or an id, and never what somebody typed.
    fn told(&self) -> Value {
        let filter = FilterQuery { q: None, reference: None, ..self.filter.clone() };
        let searched = self.filter.q.is_some() || self.filter.reference.is_some();
        json!({"by": Self { filter, staff: self.staff.clone() }, "searched": searched})
    }
}

/// Somebody's wish for an export in the background.
pub struct NewExport {
    pub user_id: Uuid,
    pub actor: Actor,
    pub scope: Scope,
    pub format: Format,
    pub asked: Asked,
    pub key: IdempotencyKey,
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Own(_) => "own",
        Scope::All => "all",
    }
}

/// Puts an export into the queue, once for a key. True when the key had done so before.
///
/// # Errors
/// [`Error::Invalid`], [`Error::KeyReused`], or [`Error::TooMany`] while others of the user's are not done or too many of their files are kept.
async fn start(app: &App, new: NewExport) -> Result<(Row, bool)> {
    new.asked.checked(new.scope)?;
    let (scope, format) = (scope_name(new.scope), new.format.name());
    let request_hash = RequestHash::of("export", &(scope, format, &new.asked));
    let id = app.clock.row_id();
    let sealed = Work::new(new.asked.clone()).seal(app, id)?;
    let mut tx = app.db.begin().await?;
    // One user's exports are started one after the other, so that their number can be limited.
    users::lock(&mut *tx, new.user_id).await?;
    if let Some(found) = store::find_by_key(&mut *tx, new.user_id, new.key.as_str()).await? {
        return if found.request_hash == request_hash.as_bytes() { Ok((found, true)) } else { Err(Error::KeyReused) };
    }
    let kept = store::count_kept(&mut *tx, new.user_id).await?;
    if kept.open >= OPEN_MAX {
        return Err(Error::TooMany { retry_after_secs: OPEN_RETRY_SECS });
    }
    if kept.files >= KEPT_MAX {
        let left = kept.next_expiry.map_or(0, |at| (at - app.clock.now()).num_seconds());
        let retry_after_secs = u64::try_from(left).unwrap_or(0).max(OPEN_RETRY_SECS);
        return Err(Error::TooMany { retry_after_secs });
    }
    let row = store::New {
        id,
        user_id: new.user_id,
        scope,
        format,
        key: new.key.as_str(),
        request_hash: request_hash.as_bytes(),
        work: sealed.bytes,
        key_id: sealed.key_id,
    };
    let row = store::insert(&mut *tx, &row, app.clock.now()).await?;
    let started = json!({"format": format, "filter": new.asked.told(), "streamed": false});
    audit::record(app, &mut *tx, Entry::of(&new.actor, "export.started", "export", id).with(started)).await?;
    tx.commit().await?;
    app.notifier.wake();
    Ok((row, false))
}

/// # Errors
/// [`Error::NotFound`]; also when it is somebody else's.
async fn find(app: &App, user_id: Uuid, scope: Scope, id: Uuid) -> Result<Row> {
    store::find(&app.db, user_id, scope_name(scope), id).await?.ok_or(Error::NotFound("export"))
}

/// A page of the user's exports, newest first.
async fn list(app: &App, user_id: Uuid, scope: Scope, before: Option<Uuid>, limit: i64) -> Result<Vec<Row>> {
    Ok(store::list(&app.db, user_id, scope_name(scope), before, limit).await?)
}

/// What a chunk is sealed for: its place in its file, so that no other chunk opens there. An export's id is random in all but
/// its time and its last byte, so no two files have a place in common.
fn place(export_id: Uuid, position: i32) -> Uuid {
    let position = u128::from(position.unsigned_abs()).saturating_add(1);
    Uuid::from_u128(export_id.as_u128() ^ (position << 8))
}

fn count(app: &App, format: Format, outcome: &str, rows: u64) {
    app.metrics.exports.with_label_values(&[format.name(), outcome]).inc();
    app.metrics.export_rows.with_label_values(&[format.name()]).inc_by(rows);
}

/// Brings the gauges of what waits up to date.
pub async fn measure(app: &App) -> Result<()> {
    let now = app.clock.now();
    let waiting = store::waiting(&app.db, now).await?;
    app.metrics.waiting("exports", "due", waiting.due, waiting.oldest_due.map(|at| now - at));
    app.metrics.waiting("exports", "undeleted", waiting.undeleted, waiting.oldest_undeleted.map(|at| now - at));
    Ok(())
}

/// How much of what is stored of exports each data key has sealed. It is never sealed renewed: it is gone a day after the export was
/// finished.
pub async fn key_uses(app: &App) -> Result<Vec<KeyUse>> {
    Ok(store::key_uses(&app.db).await?)
}
