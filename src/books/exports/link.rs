//! A link to an export: for a quarter of an hour a browser follows it without a token of its own. Nothing is stored; all that
//! is wanted stands in the link itself, encrypted, since links come to be in logs and histories, and signed.
//!
//! ```text
//! base64url( signature 32 | id 16 | key id | ":" | encrypted JSON of Content )
//! ```
//!
//! It is as good as whoever asked for it: when the session ends, so does the link, and one of staff with the permission.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Request, Requester, Wanted};
use crate::app::App;
use crate::books::history::Scope;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::Visitor;
use crate::identity::staff::{self, Admitted};
use crate::platform::error::{Error, Result};
use crate::platform::permissions::{TransactionsRead, UsersRead};
use crate::platform::{clock::DateTime, encryption::Encrypted, tokens::Purpose};

const LIFE: TimeDelta = TimeDelta::minutes(15);
/// More than any filter needs that says nothing twice, and what every proxy lets through.
const TOKEN_CHARS_MAX: usize = 4_096;
const MAC_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct Content {
    user_id: Uuid,
    session_id: Uuid,
    /// Over everybody's rows.
    all: bool,
    expires_at: DateTime,
    request: Request,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ExportLink {
    /// Where the file is, for whoever has this.
    download_url: String,
    #[serde(skip)]
    pub(super) path: String,
    /// It also ends with the session.
    expires_at: DateTime,
}

pub(super) async fn make(app: &App, who: Requester, request: Request) -> Result<ExportLink> {
    let mut entry = Wanted::read(app, who.scope, &request).await?.entry;
    let (id, expires_at) = (app.clock.row_id(), app.clock.now() + LIFE);
    let all = who.scope == Scope::All;
    let Admitted { user_id, session_id, .. } = who.admitted;
    let token = encrypt(app, id, &Content { user_id, session_id, all, expires_at, request })?;
    if token.len() > TOKEN_CHARS_MAX {
        return Err(Error::field("body", "is too long for a link: say nothing twice, or take the file without one"));
    }
    entry["expires_at"] = json!(expires_at);
    audit::record(app, &app.db, Entry::of(&who.actor, "export.linked", "export", id).with(entry)).await?;
    let path = format!("/v1/exports/download?token={token}");
    Ok(ExportLink { download_url: format!("{}{path}", app.config.public_url), path, expires_at })
}

/// Who made the link and what for; its id.
pub(super) async fn follow(
    app: &App,
    Visitor { origin, quota, .. }: Visitor,
    token: &str,
) -> Result<(Requester, Request, Uuid)> {
    let wrong = || Error::parameter("token", "is not a link to an export, or its time is over: ask for a new one");
    let now = app.clock.now();
    let (id, content) = decrypt(app, token).filter(|(_, content)| now < content.expires_at).ok_or_else(wrong)?;
    let Content { user_id, session_id, all, request, .. } = content;
    // Asked of PostgreSQL and not of the list of ended sessions: a download is rare, and what it gives away is all there is.
    let standing = staff::standing(app, user_id, session_id).await?.ok_or_else(wrong)?;
    if all && staff::may::<TransactionsRead>(app, &standing).is_err() {
        return Err(wrong());
    }
    let sees_names = all && staff::may::<UsersRead>(app, &standing).is_ok();
    let actor = Actor::user(user_id, Some(standing.role), origin);
    let (admitted, scope) = match all {
        true => (Admitted::person::<TransactionsRead>(user_id, session_id), Scope::All),
        false => (Admitted::owner(user_id, session_id), Scope::Own(user_id)),
    };
    Ok((Requester { admitted, actor, scope, sees_names, quota }, request, id))
}

fn encrypt(app: &App, id: Uuid, content: &Content) -> Result<String> {
    let text = serde_json::to_vec(content).map_err(Error::internal)?;
    let Encrypted { key_id, bytes } = app.config.data_keys.encrypt(id, &text).map_err(Error::internal)?;
    let encrypted = [id.as_bytes(), key_id.as_bytes(), b":", &bytes].concat();
    let mac = app.tokens.mac(Purpose::ExportDownload, &[&encrypted]);
    Ok(BASE64_URL_SAFE_NO_PAD.encode([mac, encrypted].concat()))
}

fn decrypt(app: &App, token: &str) -> Option<(Uuid, Content)> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    let (mac, encrypted) = bytes.split_first_chunk::<MAC_BYTES>()?;
    if !app.tokens.verify_mac(Purpose::ExportDownload, &[encrypted], mac) {
        return None;
    }
    let (id, encrypted) = encrypted.split_first_chunk::<16>()?;
    let colon = encrypted.iter().position(|byte| *byte == b':')?;
    let (key_id, bytes) = (String::from_utf8(encrypted[..colon].to_vec()).ok()?, encrypted[colon + 1..].to_vec());
    let id = Uuid::from_bytes(*id);
    let text = app.config.data_keys.decrypt(id, &Encrypted { key_id, bytes }).ok()?;
    Some((id, serde_json::from_slice(&text).ok()?))
}
