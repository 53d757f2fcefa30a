//! The `Idempotency-Key` header and the fingerprint of the request that it belongs to. The key is unique for each user and never
//! expires; the row that it made is the saved answer. The same key with another request is refused, so that a mistake of the
//! caller's never turns into a silent wrong payment.

use std::time::Duration;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::platform::digest::sha256;
use crate::platform::error::{Error, Result, Wrong};

const HEADER: &str = "Idempotency-Key";
const KEY_CHARS_MAX: usize = 255;
const APPEARS_AFTER_MS: [u64; 4] = [50, 100, 200, 400];

/// Visible ASCII, 1 to 255 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let value = values.next().ok_or_else(|| Error::header(HEADER, Wrong::Required))?;
        if values.next().is_some() {
            return Err(Error::header(HEADER, Wrong::Duplicate));
        }
        let key = String::from_utf8_lossy(value.as_bytes());
        if !(1..=KEY_CHARS_MAX).contains(&key.chars().count()) {
            return Err(Error::header(HEADER, Wrong::Length(1, KEY_CHARS_MAX, "visible ASCII characters")));
        }
        if !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::header(HEADER, Wrong::Characters("must be of visible ASCII characters")));
        }
        Ok(Self(key.into_owned()))
    }
}

/// Where a key may be sent and need not.
impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Error> {
        if !parts.headers.contains_key(HEADER) {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await.map(Some)
    }
}

/// A call that comes twice at once: what the other one of the two makes is there a little later, if it makes anything.
#[expect(clippy::disallowed_methods, reason = "the other call is in another process, or on its way")]
pub async fn appears<T, F>(look: impl Fn() -> F) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    for pause in APPEARS_AFTER_MS {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    look().await
}

/// SHA-256 over what the request means (its kind and its parsed fields), so that white space and the order of fields in
/// the body make no difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHash([u8; 32]);

impl RequestHash {
    pub fn of(kind: &str, fields: &impl Serialize) -> Self {
        let text = serde_json::to_vec(&(kind, fields)).expect("parsed fields are plain data");
        Self(sha256(&text))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// # Errors
    /// [`Error::KeyReused`] when what is `stored` with the key belongs to another request.
    pub fn require_same(&self, stored: &[u8]) -> Result<()> {
        if self.0 == stored { Ok(()) } else { Err(Error::KeyReused) }
    }
}

/// The header that tells a repeat from a first answer.
pub fn replayed(replayed: bool) -> Option<[(HeaderName, HeaderValue); 1]> {
    replayed.then(|| [(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"))])
}
