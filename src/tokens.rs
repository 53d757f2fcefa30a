//! The two tokens of a sign-in: a short access token that any process can check without asking anybody, and a long refresh
//! token that is only a random number. Used by `http/caller.rs` and `sessions`.

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{digest, hmac};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::DateTime;

pub const ACCESS_SECS: i64 = 15 * 60;
pub const REFRESH_SECS: i64 = 7 * 24 * 3600;
/// Two machines of ours may disagree by this much.
const CLOCK_SKEW_SECS: i64 = 5;
const AUDIENCE: &str = "octoco-api";
/// A token of ours has about 400 characters; a longer one is not looked at.
const ACCESS_CHARS_MAX: usize = 2048;

pub struct Tokens {
    issuer: String,
    key_id: String,
    signing: EncodingKey,
    checking: DecodingKey,
    rotation: hmac::Key,
}

/// What an access token says. Anything that can change while it lives (a role, a revoked session) is checked again.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    /// The user.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    pub role: String,
    pub iat: i64,
    pub exp: i64,
}

/// Not a token of ours, or not any more. Which of these is nobody's business.
#[derive(Debug, thiserror::Error)]
#[error("the access token is not valid")]
pub struct BadToken;

/// A refresh token: 256 random bits in URL-safe base64. Only its hash is stored.
#[derive(Clone, Debug)]
pub struct RefreshToken(SecretString);

impl RefreshToken {
    #[must_use]
    pub fn random() -> Self {
        Self::encode(&rand::random::<[u8; 32]>())
    }

    /// What a cookie brought: anything at all.
    #[must_use]
    pub fn received(text: &str) -> Self {
        Self(SecretString::from(text))
    }

    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        digest::digest(&digest::SHA256, self.0.expose_secret().as_bytes()).as_ref().to_vec()
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn encode(bytes: &[u8]) -> Self {
        Self(SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl Tokens {
    /// Reads the Ed25519 key that signs access tokens.
    ///
    /// # Errors
    /// Names the variable when the key cannot be used.
    pub fn new(private_pem: &str, issuer: &str) -> Result<Self, String> {
        let pem = private_pem.replace("\\n", "\n");
        let unusable = |_| "JWT_PRIVATE_KEY is not an Ed25519 private key in PKCS#8 PEM".to_owned();
        let signing = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(unusable)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(signing.as_bytes())
            .map_err(|_| "JWT_PRIVATE_KEY is not an Ed25519 private key".to_owned())?;
        let public = pair.public_key().as_ref();
        let key_id = BASE64_URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, public).as_ref()[..9]);
        Ok(Self {
            issuer: issuer.to_owned(),
            key_id,
            checking: DecodingKey::from_ed_der(public),
            rotation: rotation_key(signing.as_bytes()),
            signing,
        })
    }

    /// Signs an access token that ends [`ACCESS_SECS`] after `now`.
    ///
    /// # Panics
    /// If the library cannot sign with a key that it accepted at start.
    #[must_use]
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
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("the key was accepted at start")
    }

    /// Checks signature, algorithm, issuer, audience and times.
    ///
    /// # Errors
    /// [`BadToken`], whatever the reason.
    pub fn check(&self, token: &str, now: DateTime) -> Result<Claims, BadToken> {
        if token.len() > ACCESS_CHARS_MAX {
            return Err(BadToken);
        }
        // One algorithm and one key, whatever the token's own header asks for.
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Times are compared with our own clock below.
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.checking, &rules).map_err(|_| BadToken)?.claims;
        let now = now.timestamp();
        let lives = now < claims.exp && claims.iat <= now.saturating_add(CLOCK_SKEW_SECS);
        if lives { Ok(claims) } else { Err(BadToken) }
    }

    /// The token that follows `token` in its family. The same for every process and every call: two tabs that refresh at
    /// once get one and the same successor, so that a family never branches and a thief cannot hide in a branch.
    #[must_use]
    pub fn successor(&self, token: &RefreshToken) -> RefreshToken {
        RefreshToken::encode(hmac::sign(&self.rotation, token.expose().as_bytes()).as_ref())
    }
}

/// A key of its own for a purpose of its own, from the one secret that every process has.
fn rotation_key(secret: &[u8]) -> hmac::Key {
    let derived = Salt::new(HKDF_SHA256, b"octoco").extract(secret);
    let key = derived.expand(&[b"refresh token rotation"], hmac::HMAC_SHA256).expect("32 bytes are not too many");
    hmac::Key::from(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeDelta, TimeZone, Utc};

    fn tokens() -> Tokens {
        Tokens::new(&crate::keys::new_jwt_private_key(), "http://octoco.test").expect("a fresh key is usable")
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
        let other = Tokens { issuer: "http://elsewhere".to_owned(), ..tokens() };
        assert!(ours.check(&other.sign(user, user, "admin", noon()), noon()).is_err(), "another issuer");
        let good = ours.sign(user, user, "user", noon());
        let parts: Vec<&str> = good.split('.').collect();
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(ours.check(&format!("{none}.{}.", parts[1]), noon()).is_err(), "no algorithm");
        let symmetric = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        assert!(ours.check(&format!("{symmetric}.{}.{}", parts[1], parts[2]), noon()).is_err(), "algorithm confusion");
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
    fn a_refresh_token_has_one_successor_for_all_processes() {
        let pem = crate::keys::new_jwt_private_key();
        let (here, there) = (Tokens::new(&pem, "a").expect("usable"), Tokens::new(&pem, "a").expect("usable"));
        let token = RefreshToken::random();
        assert_eq!(here.successor(&token).expose(), there.successor(&token).expose());
        assert_ne!(here.successor(&token).expose(), here.successor(&RefreshToken::random()).expose());
        assert_eq!(token.hash().len(), 32);
    }
}
