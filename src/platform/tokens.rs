//! What a sign-in gives out: a short access token that any process can check without asking anybody, and a long refresh token
//! that is only a random number. Keys change without a break: `JWT_PRIVATE_KEY` may hold several, the first signs and all check. A
//! new key is added behind the old one, put first once every process has it, and the old one is dropped when the last thing that it
//! made has ended.

mod key;
mod refresh;
mod signed_tokens;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, Header, Validation};
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

pub struct Tokens {
    issuer: String,
    /// The first one signs; never empty.
    keys: Vec<Key>,
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
        Ok(Self { issuer: issuer.to_owned(), keys })
    }

    /// Whether [`Tokens::new`] would take them.
    /// An error never repeats the value.
    pub fn check_keys(private_pems: &str) -> Result<(), String> {
        key::read_all(private_pems).map(drop)
    }

    /// Signs an access token that ends [`ACCESS_SECS`] after `now`.
    pub fn sign(&self, user: Uuid, session: Uuid, role: &str, now: DateTime) -> String {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            sid: session,
            role: role.to_owned(),
            iat: now.timestamp(),
            exp: now.timestamp().saturating_add(ACCESS_SECS),
        };
        let key = self.current();
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &key.signing).expect("the key was accepted at start")
    }

    pub fn check(&self, token: &str, now: DateTime) -> Result<Claims, BadToken> {
        if token.len() > ACCESS_CHARS_MAX {
            return Err(BadToken);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| BadToken)?;
        let key = self.keys.iter().find(|key| Some(&key.id) == header.kid.as_ref()).ok_or(BadToken)?;
        // One algorithm, whatever the token's own header asks for.
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Times are compared with our own clock below.
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.checking, &rules).map_err(|_| BadToken)?.claims;
        let now = now.timestamp();
        let lives = now < claims.exp && claims.iat <= now.saturating_add(CLOCK_SKEW_SECS);
        if lives { Ok(claims) } else { Err(BadToken) }
    }

    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.keys.iter().map(Key::public_jwk).collect() }
    }

    fn current(&self) -> &Key {
        self.keys.first().expect("read_all yields at least one key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    use chrono::{TimeDelta, TimeZone, Utc};

    fn tokens() -> Tokens {
        Tokens::new(&crate::platform::keys::new_jwt_private_key(), "http://octoco.test").expect("a fresh key is usable")
    }

    fn noon() -> DateTime {
        Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).single().expect("a time")
    }

    #[test]
    fn a_token_lives_fifteen_minutes() {
        let tokens = tokens();
        let token = tokens.sign(Uuid::from_u128(1), Uuid::from_u128(2), "user", noon());
        let claims = tokens.check(&token, noon()).expect("valid");
        assert_eq!((claims.sub, claims.sid, claims.role.as_str()), (Uuid::from_u128(1), Uuid::from_u128(2), "user"));
        assert!(tokens.check(&token, noon() + TimeDelta::seconds(ACCESS_SECS - 1)).is_ok());
        assert!(tokens.check(&token, noon() + TimeDelta::seconds(ACCESS_SECS)).is_err());
        assert!(tokens.check(&token, noon() - TimeDelta::seconds(60)).is_err(), "from the future");
    }

    #[test]
    fn a_token_that_is_not_ours_is_refused() {
        let ours = tokens();
        let user = Uuid::from_u128(1);
        let theirs = tokens().sign(user, user, "admin", noon());
        assert!(ours.check(&theirs, noon()).is_err(), "another key");
        let pem = crate::platform::keys::new_jwt_private_key();
        let (here, elsewhere) = (Tokens::new(&pem, "http://octoco.test"), Tokens::new(&pem, "http://elsewhere"));
        let foreign = elsewhere.expect("usable").sign(user, user, "admin", noon());
        assert!(here.expect("usable").check(&foreign, noon()).is_err(), "another issuer");
        let good = ours.sign(user, user, "user", noon());
        let parts: Vec<&str> = good.split('.').collect();
        let id = &ours.current().id;
        for (alg, signature) in [("none", ""), ("HS256", parts[2]), ("RS256", parts[2])] {
            let header = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{id}"}}"#));
            assert!(ours.check(&format!("{header}.{}.{signature}", parts[1]), noon()).is_err(), "{alg}");
        }
        let nameless = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"JWT"}"#);
        assert!(ours.check(&format!("{nameless}.{}.{}", parts[1], parts[2]), noon()).is_err(), "no key id");
        let admin = BASE64_URL_SAFE_NO_PAD.encode(
            String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(parts[1]).expect("base64"))
                .expect("text")
                .replace("\"user\"", "\"admin\""),
        );
        assert!(ours.check(&format!("{}.{admin}.{}", parts[0], parts[2]), noon()).is_err(), "changed");
        for junk in ["", ".", "a.b.c", &"x".repeat(5000)] {
            assert!(ours.check(junk, noon()).is_err());
        }
    }

    #[test]
    fn keys_change_without_a_break() {
        let (old, new) = (crate::platform::keys::new_jwt_private_key(), crate::platform::keys::new_jwt_private_key());
        let with = |pems: &[&str]| Tokens::new(&pems.concat(), "a").expect("usable");
        let (before, prepared, after, done) = (with(&[&old]), with(&[&old, &new]), with(&[&new, &old]), with(&[&new]));
        let user = Uuid::from_u128(1);
        let (early, late) = (before.sign(user, user, "user", noon()), after.sign(user, user, "user", noon()));
        assert!(prepared.check(&late, noon()).is_ok(), "a process that does not sign with it yet");
        assert!(after.check(&early, noon()).is_ok(), "made before the change");
        assert!(done.check(&early, noon()).is_err() && done.check(&late, noon()).is_ok());
        assert!(before.check(&late, noon()).is_err(), "a process that was not told of the new key");
        assert_eq!(after.jwks().keys.len(), 2);
        let shown = serde_json::to_value(done.jwks()).expect("plain data")["keys"][0].clone();
        assert_eq!((&shown["kty"], &shown["crv"], &shown["alg"]), (&"OKP".into(), &"Ed25519".into(), &"EdDSA".into()));
        assert_eq!(shown["kid"], done.current().id.as_str());
        assert!(shown.get("d").is_none() && shown["x"].is_string(), "{shown}");
        for wrong in ["", "junk", &old[..60]] {
            assert!(Tokens::new(wrong, "a").is_err());
        }
    }
}
