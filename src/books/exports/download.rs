//! The file of an export, by a link that works for a quarter of an hour and without signing in: a browser follows it. The link
//! is over the export and its owner; what the owner may see is asked again when it is used.

use std::ops::Range;

use chrono::TimeDelta;
use futures_util::{Stream, stream};
use secrecy::ExposeSecret;
use serde_json::json;
use uuid::Uuid;

use super::store::{self, Linked, Row};
use super::{Format, place};
use crate::app::App;
use crate::identity::audit::{self, Actor, Entry, Origin};
use crate::platform::clock::DateTime;
use crate::platform::encryption::Encrypted;
use crate::platform::error::{Error, Result};
use crate::platform::permissions::{Permission, Role, TransactionsRead};
use crate::platform::tokens::{LinkToken, Purpose};

const LIFE: TimeDelta = TimeDelta::minutes(15);

/// A link, and when it ends.
pub(super) struct Link {
    pub(super) url: String,
    pub(super) expires_at: DateTime,
}

/// Only for what is there to be downloaded.
pub(super) fn link(app: &App, row: &Row) -> Option<Link> {
    let kept_until = row.expires_at.filter(|_| row.state == "completed")?;
    let expires_at = kept_until.min(app.clock.now() + LIFE);
    let token = app.tokens.link_token(Purpose::ExportDownload, row.user_id, expires_at, &row.id.to_string());
    let url = format!("{}/v1/exports/{}/download?token={}", app.config.public_url, row.id, token.expose_secret());
    Some(Link { url, expires_at })
}

/// What is sent.
pub(super) struct Download {
    pub(super) format: Format,
    pub(super) created_at: DateTime,
    pub(super) sha256: String,
    pub(super) total: u64,
    pub(super) sent: Range<u64>,
}

/// Checks the link and records its use. `asked` is the part of the file that is wanted, as `Range` names it.
///
/// # Errors
/// [`Error::Invalid`] for a link that is not, or no longer, ours.
pub(super) async fn find(app: &App, origin: Origin, id: Uuid, token: &str, asked: Option<Part>) -> Result<Download> {
    let wrong = || Error::field("token", "is not a link to this export, or its time is over: read the export again");
    let token = LinkToken::received(token).ok_or_else(wrong)?;
    if !app.tokens.is_link_token(Purpose::ExportDownload, &token, &id.to_string(), app.clock.now()) {
        return Err(wrong());
    }
    let found = store::find_linked(&app.db, token.user_id, id).await?.filter(may_see).ok_or_else(wrong)?;
    let (Some(format), Some(sha256), "completed") = (Format::parse(&found.format), found.sha256, found.state.as_str())
    else {
        return Err(wrong());
    };
    let total = u64::try_from(found.bytes_written).unwrap_or(0);
    let sent = match asked {
        Some(part) => part.of(total).ok_or_else(|| Error::field("Range", format!("is not within {total} bytes")))?,
        None => 0..total,
    };
    let actor = Actor::user(token.user_id, Role::parse(&found.role), origin);
    let told = json!({"format": format.name(), "rows": found.rows_written, "from_byte": sent.start});
    audit::record(app, &app.db, Entry::of(&actor, "export.downloaded", "export", id).with(told)).await?;
    Ok(Download { format, created_at: found.created_at, sha256, total, sent })
}

/// Somebody who is no longer staff has no more use for what staff saw.
fn may_see(found: &Linked) -> bool {
    found.scope == "own" || Role::parse(&found.role).is_some_and(|role| TransactionsRead::ROLES.contains(&role))
}

/// One part of a file: `bytes=FIRST-LAST` with or without a last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    first: u64,
    last: Option<u64>,
}

impl Part {
    /// `None` for what is not one such part: then the whole file is sent, as RFC 9110 14.2 allows.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
        let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
        Some(Self { first: first.parse().ok()?, last })
    }

    fn of(self, total: u64) -> Option<Range<u64>> {
        let end = self.last.map_or(total, |last| last.saturating_add(1).min(total));
        (self.first < end).then_some(self.first..end)
    }
}

/// The bytes, chunk by chunk. A chunk that is missing or does not open breaks the answer off.
pub(super) fn bytes(app: App, id: Uuid, part: Range<u64>) -> impl Stream<Item = Result<Vec<u8>>> + Send {
    stream::try_unfold((app, part, None), move |(app, mut left, position)| async move {
        if left.is_empty() {
            return Ok(None);
        }
        let chunk = match position {
            Some(position) => store::chunk(&app.db, id, position).await?,
            None => store::chunk_at(&app.db, id, i64::try_from(left.start).unwrap_or(i64::MAX)).await?,
        };
        let chunk = chunk.ok_or_else(|| Error::internal("a chunk of an export is gone"))?;
        let sealed = Encrypted { key_id: chunk.key_id, bytes: chunk.bytes };
        let mut plain = app.config.data_keys.decrypt(place(id, chunk.position), &sealed).map_err(Error::internal)?;
        let skipped = left.start.saturating_sub(u64::try_from(chunk.byte_offset).unwrap_or(0));
        plain.drain(..usize::try_from(skipped).unwrap_or(usize::MAX).min(plain.len()));
        plain.truncate(usize::try_from(left.end.saturating_sub(left.start)).unwrap_or(usize::MAX));
        left.start = left.start.saturating_add(u64::try_from(plain.len()).unwrap_or(0));
        Ok(Some((plain, (app, left, Some(chunk.position.saturating_add(1))))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_part_of_the_file_or_none() {
        let part = |header: &str| Part::parse(header).and_then(|part| part.of(10));
        assert_eq!(part("bytes=0-"), Some(0..10));
        assert_eq!(part("bytes=3-4"), Some(3..5));
        assert_eq!(part("bytes=9-99999999999"), Some(9..10));
        assert_eq!(part("bytes=10-"), None, "beyond the end");
        assert_eq!(part("bytes=5-4"), None);
        for other in ["", "bytes=", "bytes=-5", "bytes=0-1,3-4", "lines=0-1", "bytes=x-"] {
            assert_eq!(Part::parse(other), None, "{other}");
        }
    }
}
