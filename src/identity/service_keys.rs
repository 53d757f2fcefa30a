//! Keys of machines: what one looks like, and whose it is. `Authorization: Bearer octoco_sk_…` on a route for staff is one of these
//! (`identity/staff.rs`); who makes them is in `service_accounts`.
//!
//! A key is `octoco_sk_`, 64 hexadecimal digits of 256 random bits and 8 of a checksum, so that scanners of source code find a leaked one
//! and a mistyped one is told apart without a look at the database. Only the SHA-256 is stored. A call reads its key anew, as one of staff
//! reads the role: a key that was revoked ends with the next call.

mod store;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::app::App;
use crate::platform::digest::sha256;
use crate::platform::error::Result;

pub use store::Known;

const PREFIX: &str = "octoco_sk_";
const SECRET_CHARS: usize = 64;
/// What is shown of the time a key was used is no finer: else each call would write.
const USED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What of a key is stored.
pub(super) struct Stored {
    pub(super) hash: [u8; 32],
    pub(super) hint: String,
}

/// A new key, and what is stored of it.
pub(super) fn new_key() -> (SecretString, Stored) {
    let secret = hex::encode(rand::random::<[u8; 32]>());
    let key = format!("{PREFIX}{secret}{}", checksum(&secret));
    let stored = Stored { hash: hash(&key), hint: key[key.len() - 4..].to_owned() };
    (key.into(), stored)
}

/// Whether a bearer token is meant to be a key, right or wrong.
pub fn is_meant(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Whose key it is, if it is one that is valid now.
pub async fn check(app: &App, token: &str) -> Result<Option<Known>> {
    if !is_whole(token) {
        return Ok(None);
    }
    let now = app.clock.now();
    let Some(known) = store::find_valid(&app.db, &hash(token), now).await? else { return Ok(None) };
    if known.last_used_at.is_none_or(|at| now - at >= USED_EVERY) {
        store::note_use(&app.db, known.key_id, now).await?;
    }
    Ok(Some(known))
}

/// What a key that was shown before is for; `None` when it is not valid any more.
pub async fn scopes(app: &App, key_id: Uuid) -> Result<Option<Vec<String>>> {
    Ok(store::scopes(&app.db, key_id, app.clock.now()).await?)
}

/// As it was made.
fn is_whole(key: &str) -> bool {
    let secret = key.strip_prefix(PREFIX).and_then(|rest| rest.split_at_checked(SECRET_CHARS));
    secret.is_some_and(|(secret, sum)| {
        secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) && sum == checksum(secret)
    })
}

/// No secret: it follows from the digits before it.
fn checksum(secret: &str) -> String {
    hex::encode(&sha256(format!("{PREFIX}{secret}").as_bytes())[..4])
}

/// 256 random bits need no slow hash.
fn hash(key: &str) -> [u8; 32] {
    sha256(key.as_bytes())
}

/// For whoever has just made one.
pub(super) fn shown(key: &SecretString) -> String {
    key.expose_secret().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_told_apart_and_what_is_stored_is_no_key() {
        let (key, stored) = new_key();
        let key = shown(&key);
        assert!(is_whole(&key) && is_meant(&key) && key.len() == 82, "{key}");
        assert!(!key.contains(&hex::encode(stored.hash)) && key.ends_with(&stored.hint));
        let last = if key.ends_with('0') { "1" } else { "0" };
        let (longer, other) = (format!("{key}0"), format!("{}{last}", &key[..81]));
        for wrong in ["", PREFIX, "octoco_sk_é", &key[1..], &key[..81], &key.to_uppercase(), &longer, &other] {
            assert!(!is_whole(wrong), "{wrong}");
        }
        assert_ne!(shown(&new_key().0), key);
    }
}
