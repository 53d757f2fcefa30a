//! What a sign-in gives out: a short access token that any process can check without asking anybody, and a long refresh token,
//! whose first one is a random number from which each next one is computed (docs/decisions/008). Keys change without a break:
//! `JWT_PRIVATE_KEY` may hold several, the first signs and all check. A new key is added behind the old one, put first once every process has it, and the old one is dropped when the last thing that it
//! made has ended.

mod key;
mod refresh;
mod signed_tokens;

use std::ops::Range;

use chrono::TimeDelta;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::platform::clock::DateTime;
use key::Key;

pub use key::Purpose;
pub use refresh::RefreshToken;
pub use signed_tokens::{Device, LinkToken};

pub const ACCESS_SECS: i64 = 15 * 60;
pub const REFRESH_SECS: i64 = 7 * 24 * 3600;
/// Two machines of ours may disagree by this much.
const CLOCK_SKEW_SECS: i64 = 5;
const AUDIENCE: &str = "octoco-api";
/// A token of ours has about 400 characters; a longer one is not looked at.
const ACCESS_CHARS_MAX: usize = 2048;
/// Tokens whose signature was found right, at some 700 bytes each; which of them goes first is decided by use.
const CHECKED_MAX: usize = 8192;

pub struct Tokens {
    issuer: String,
    /// The first one signs; never empty.
    keys: Vec<Key>,
    /// What is signed stays signed for as long as these keys are ours: a signature is checked once, its times each time.
    checked: Cache<String, Claims>,
}

/// What an access token says. Anything that can change while it lives (a role, a revoked session) is checked again.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    pub sub: Uuid,
    pub sid: Uuid,
    pub role: String,
    pub iat: i64,
    pub exp: i64,
}

/// Not a token of ours, or not any more. Which of these is nobody's business.
#[derive(Debug, thiserror::Error)]
#[error("the access token is not valid")]
pub struct BadToken;

impl Tokens {
    /// Reads the Ed25519 keys: PEM, one after the other.
    pub fn new(private_pems: &str, issuer: &str) -> Result<Self, String> {
        let keys = key::read_all(private_pems)?;
        Ok(Self { issuer: issuer.to_owned(), keys, checked: Cache::new(CHECKED_MAX) })
    }

    /// Whether [`Tokens::new`] would take them.
    /// An error never repeats the value.
    pub fn check_keys(private_pems: &str) -> Result<(), String> {
        key::read_all(private_pems).map(drop)
    }

    /// Signs an access token that ends [`ACCESS_SECS`] after `now`.
    pub fn sign(&self, user: Uuid, session: Uuid, role: &str, now: DateTime) -> String {
        self.sign_for(user, session, role, now..now + TimeDelta::seconds(ACCESS_SECS))
    }

    /// The same for another time than the usual.
    pub fn sign_for(&self, user: Uuid, session: Uuid, role: &str, valid: Range<DateTime>) -> String {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            sid: session,
            role: role.to_owned(),
            iat: valid.start.timestamp(),
            exp: valid.end.timestamp(),
        };
        let key = self.current();
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &key.signing).expect("the key was accepted at start")
    }

    pub fn check(&self, token: &str, now: DateTime) -> Result<Claims, BadToken> {
        if token.len() > ACCESS_CHARS_MAX {
            return Err(BadToken);
        }
        let claims = self.checked.get_or_insert_with(token, || self.signed(token))?;
        let now = now.timestamp();
        let lives = now < claims.exp && claims.iat <= now.saturating_add(CLOCK_SKEW_SECS);
        if lives { Ok(claims) } else { Err(BadToken) }
    }

    /// What a token of ours says, whenever it was or will be good.
    fn signed(&self, token: &str) -> Result<Claims, BadToken> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| BadToken)?;
        let key = self.keys.iter().find(|key| Some(&key.id) == header.kid.as_ref()).ok_or(BadToken)?;
        // One algorithm, whatever the token's own header asks for.
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Times are compared with our own clock, each time.
        rules.validate_exp = false;
        Ok(jsonwebtoken::decode::<Claims>(token, &key.checking, &rules).map_err(|_| BadToken)?.claims)
    }

    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.keys.iter().map(Key::public_jwk).collect() }
    }

    fn current(&self) -> &Key {
        self.keys.first().expect("read_all yields at least one key")
    }
}
