//! A month of the log, or a day of one that is too long, as a file that can be checked without the service: JSON lines, each of them a [`Line`].
//!
//! ```text
//! manifest   the month, the first and the last link, the link before the first
//! entry …    every link of the chain with its row, in the order of the chain; what is hashed stands there as it is hashed
//! trailer    the SHA-256 over all bytes before; without one the file broke off
//! ```
//!
//! Links are in the order in which rows were chained, and a row is chained a moment after it was written: between the first and the last of a
//! month's there may be a few of its neighbours'. They stay, so that the links stand without a gap. The file is read twice: once for its
//! hash, which is told in the head of the answer, and once to be sent. A read that is pruned in between breaks the second off.

use std::fmt;
use std::io::BufRead;
use std::str::FromStr;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{Days, Months, NaiveDate, NaiveTime};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::ToSchema;
use uuid::Uuid;

use super::chain::{self, Head};
use super::store::{self, Link, Row};
use super::{Actor, ChainCheck, Entry, record, seal};
use crate::app::App;
use crate::platform::clock::DateTime;
use crate::platform::error::{BoxError, Error, Result, Wrong};
use crate::platform::http::fields;

/// Links of one statement.
const BATCH: i64 = 1_000;
/// More take longer to hash than a caller waits.
const LINKS_MAX: i64 = 1_000_000;
/// Files that a process makes at once: each reads a month.
const AT_ONCE: usize = 2;
const RETRY_SECS: u64 = 30;
/// How long one may take to go out: who reads slower keeps a turn from others.
const STREAM_MAX: Duration = Duration::from_secs(600);

static MAKING: Semaphore = Semaphore::const_new(AT_ONCE);

/// In UTC.
#[derive(Debug, Clone, Copy)]
pub enum Period {
    /// By its first day.
    Month(NaiveDate),
    Day(NaiveDate),
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let month = fields::day(&format!("{text}-01")).map(Self::Month);
        let period = month.or_else(|| fields::day(text).map(Self::Day));
        let wrong =
            || Error::parameter("month", Wrong::Format("must be a month as in 2026-03, or a day as in 2026-03-07"));
        period.filter(|_| text.starts_with("20")).ok_or_else(wrong)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Month(first) => write!(f, "{}", first.format("%Y-%m")),
            Self::Day(day) => write!(f, "{day}"),
        }
    }
}

impl Period {
    fn times(&self) -> (DateTime, DateTime) {
        let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
        match *self {
            Self::Month(first) => (midnight(first), midnight(first + Months::new(1))),
            Self::Day(day) => (midnight(day), midnight(day + Days::new(1))),
        }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPackLine)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    Manifest(Manifest),
    Entry(Box<Packed>),
    Trailer(Trailer),
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPackManifest)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this layout.
    version: u8,
    /// Or a day of it, as `2026-03-07`.
    #[schema(example = "2026-03")]
    month: String,
    /// Of the first link, and of the last.
    first: i64,
    last: i64,
    entries: i64,
    /// The link before the first one, `POSITION:HASH`; at the beginning of all `0:` and zeros.
    before: String,
    /// The last link.
    head: String,
}

/// A link and its row. What the hash is over stands here to the byte: `before` and `after` are the text of their JSON.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPackEntry)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    position: i64,
    /// In hexadecimal.
    hash: String,
    id: Uuid,
    at: DateTime,
    actor: String,
    actor_role: Option<String>,
    action: String,
    object_kind: String,
    object_id: String,
    before: Option<String>,
    after: Option<String>,
    request_id: Option<String>,
    address: Option<String>,
    /// Of a read of long ago: what stands for who read what, in hexadecimal.
    pruned: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditPackTrailer)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    /// Over all bytes before this line, in hexadecimal.
    sha256: String,
}

impl Packed {
    fn of(link: &Link, row: Row) -> Self {
        Self {
            position: link.position,
            hash: hex::encode(&link.hash),
            id: row.id,
            at: row.at,
            actor: row.actor,
            actor_role: row.actor_role,
            action: row.action,
            object_kind: row.object_kind,
            object_id: row.object_id,
            before: row.before,
            after: row.after,
            request_id: row.request_id,
            address: row.address,
            pruned: row.pruned.map(hex::encode),
        }
    }

    fn into_link(self, head: &Head) -> Result<(Link, Row), hex::FromHexError> {
        let (position, hash) = (self.position, hex::decode(self.hash)?);
        let link = Link { position, entry_id: self.id, previous_hash: head.hash.clone(), hash };
        let row = Row {
            id: self.id,
            at: self.at,
            actor: self.actor,
            actor_role: self.actor_role,
            action: self.action,
            object_kind: self.object_kind,
            object_id: self.object_id,
            before: self.before,
            after: self.after,
            request_id: self.request_id,
            address: self.address,
            pruned: self.pruned.map(hex::decode).transpose()?,
        };
        Ok((link, row))
    }
}

/// A file that is ready to be sent.
pub struct Pack {
    pub first: i64,
    pub head: Head,
    pub bytes: u64,
    /// Of the whole file.
    pub sha256: Vec<u8>,
    writing: Writing,
}

/// A file while it is written.
struct Writing {
    manifest: Manifest,
    /// The last link that was written.
    at: Head,
    stage: Stage,
    hash: Context,
    _turn: Option<SemaphorePermit<'static>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Manifest,
    Entries,
    Trailer,
    Over,
}

/// Reads the period once: how long the file is and what its hash is, on the record.
///
/// # Errors
/// [`Error::Invalid`] while it is not over; [`Error::NotFound`] when nothing happened in it; [`Error::TooBroad`].
pub async fn begin(app: &App, actor: &Actor, period: &Period) -> Result<Pack> {
    let (from, to) = period.times();
    if app.clock.now() < to {
        return Err(Error::parameter("month", "is not over yet"));
    }
    let turn = MAKING.try_acquire().map_err(|_| Error::TooMany { retry_after_secs: RETRY_SECS })?;
    while seal(app).await? {}
    if store::is_unsealed_before(&app.db, to).await? {
        return Err(Error::unavailable("rows of it are being chained"));
    }
    let span = store::span(&app.db, (from, to)).await?;
    let (first, last) = span.ok_or(Error::NotFound("entry of this time"))?;
    let entries = last.saturating_sub(first).saturating_add(1);
    if entries > LINKS_MAX {
        return Err(Error::TooBroad);
    }
    let before =
        store::link_at(&app.db, first.saturating_sub(1)).await?.map_or_else(Head::start, |link| Head::at(&link));
    let head = store::link_at(&app.db, last).await?.map(|link| Head::at(&link));
    let head = head.ok_or_else(|| Error::internal("a link of the audit log is gone"))?;
    let (month_text, before_text, head_text) = (period.to_string(), before.to_string(), head.to_string());
    let manifest =
        Manifest { version: 1, month: month_text, first, last, entries, before: before_text, head: head_text };
    let mut looking = Writing::new(manifest.clone(), before.clone(), None);
    let mut whole = Context::new(&SHA256);
    let mut bytes = 0_u64;
    while let Some(part) = looking.next(app).await? {
        whole.update(&part);
        bytes = bytes.saturating_add(u64::try_from(part.len()).map_err(Error::internal)?);
    }
    let sha256 = whole.finish().as_ref().to_vec();
    let what = json!({"first": first, "last": last, "sha256": hex::encode(&sha256)});
    record(app, &app.db, Entry::of(actor, "audit.pack_taken", "audit", period).with(what)).await?;
    Ok(Pack { first, head, bytes, sha256, writing: Writing::new(manifest, before, Some(turn)) })
}

/// The file, a batch of links at a time.
pub fn stream(app: App, pack: Pack) -> impl Stream<Item = Result<Vec<u8>>> + Send {
    let (whole, started) = ((Context::new(&SHA256), pack.sha256), Instant::now());
    stream::try_unfold((app, pack.writing, whole), move |(app, mut writing, (mut hash, expected))| async move {
        if started.elapsed() > STREAM_MAX {
            return Err(Error::unavailable("the reader is too slow"));
        }
        let Some(part) = writing.next(&app).await? else { return Ok(None) };
        hash.update(&part);
        if writing.stage == Stage::Over && hash.clone().finish().as_ref() != expected.as_slice() {
            tracing::warn!("an audit pack broke off: a read was pruned while it was sent");
            return Err(Error::StaleState);
        }
        Ok(Some((part, (app, writing, (hash, expected)))))
    })
}

impl Writing {
    fn new(manifest: Manifest, before: Head, turn: Option<SemaphorePermit<'static>>) -> Self {
        Self { manifest, at: before, stage: Stage::Manifest, hash: Context::new(&SHA256), _turn: turn }
    }

    async fn next(&mut self, app: &App) -> Result<Option<Vec<u8>>> {
        let mut part = Vec::new();
        match self.stage {
            Stage::Manifest => {
                write(&mut part, &Line::Manifest(self.manifest.clone()))?;
                self.stage = Stage::Entries;
            }
            Stage::Entries => {
                self.entries(app, &mut part).await?;
                if self.at.position >= self.manifest.last {
                    self.stage = Stage::Trailer;
                }
            }
            Stage::Trailer => {
                let sha256 = hex::encode(self.hash.clone().finish());
                write(&mut part, &Line::Trailer(Trailer { sha256 }))?;
                self.stage = Stage::Over;
            }
            Stage::Over => return Ok(None),
        }
        self.hash.update(&part);
        Ok(Some(part))
    }

    /// A chain that does not hold is not given out: the watch over it says so, too.
    async fn entries(&mut self, app: &App, part: &mut Vec<u8>) -> Result<()> {
        let limit = BATCH.min(self.manifest.last.saturating_sub(self.at.position));
        let links = store::links_after(&app.db, self.at.position, limit).await?;
        let ids: Vec<Uuid> = links.iter().map(|link| link.entry_id).collect();
        let mut rows = store::find_all(&app.db, &ids).await?;
        if let Err(broken) = chain::check(&mut self.at, &links, &rows, None) {
            return Err(Error::internal(format!("the audit log cannot be packed: {broken:?}")));
        }
        rows.sort_unstable_by_key(|row| row.id);
        for link in &links {
            let place = rows.binary_search_by_key(&link.entry_id, |row| row.id);
            let row = place.map_err(|_| Error::internal("a row of the audit log is gone"))?;
            write(part, &Line::Entry(Box::new(Packed::of(link, rows[row].clone()))))?;
        }
        Ok(())
    }
}

fn write(part: &mut Vec<u8>, line: &Line) -> Result<()> {
    serde_json::to_writer(&mut *part, line).map_err(Error::internal)?;
    part.push(b'\n');
    Ok(())
}

/// Computes every link of a file again. Its head is then compared with what was noted elsewhere: the file alone proves that it is whole in
/// itself, the head that nothing was made anew.
///
/// # Errors
/// What is wrong with the file, where it is not a link.
pub fn verify(mut file: impl BufRead) -> std::result::Result<ChainCheck, BoxError> {
    let (mut hash, mut text) = (Context::new(&SHA256), String::new());
    let mut first: Option<(Manifest, Head)> = None;
    loop {
        text.clear();
        if file.read_line(&mut text)? == 0 {
            return Err("the file broke off: it has no trailer".into());
        }
        match (serde_json::from_str(&text)?, &mut first) {
            (Line::Manifest(manifest), None) => {
                let before = if manifest.first == 1 { Head::start() } else { Head::parse(&manifest.before)? };
                if before.position.checked_add(1) != Some(manifest.first) {
                    return Err("the manifest does not begin behind the link that it names".into());
                }
                first = Some((manifest, before));
            }
            (Line::Entry(entry), Some((_, head))) => {
                let (link, row) = entry.into_link(head)?;
                if let Err(broken) = chain::check(head, &[link], &[row], None) {
                    return Ok(broken);
                }
            }
            (Line::Trailer(trailer), Some((manifest, head))) => {
                return end(file, hash, &trailer, (manifest, head));
            }
            _ => return Err("the lines do not stand in their order".into()),
        }
        hash.update(text.as_bytes());
    }
}

fn end(
    mut file: impl BufRead,
    hash: Context,
    trailer: &Trailer,
    (manifest, head): (&Manifest, &Head),
) -> std::result::Result<ChainCheck, BoxError> {
    if file.read_line(&mut String::new())? != 0 {
        return Err("something follows the trailer".into());
    }
    if hex::encode(hash.finish()) != trailer.sha256 {
        return Err("the file does not have the hash of its trailer".into());
    }
    let counted = manifest.last.checked_sub(manifest.first).and_then(|more| more.checked_add(1));
    if head.to_string() != manifest.head || head.position != manifest.last || counted != Some(manifest.entries) {
        return Err("the file does not hold what its manifest says".into());
    }
    Ok(ChainCheck::Intact { head: head.clone(), unsealed: 0 })
}
