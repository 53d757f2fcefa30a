//! Refresh tokens and how one follows from another.

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use secrecy::{ExposeSecret, SecretString};

use super::{Purpose, Tokens};
use crate::platform::digest::sha256;

/// A refresh token: 256 bits in URL-safe base64, of a family's first one random, of the others computed. Only its hash is stored.
#[derive(Clone, Debug)]
pub struct RefreshToken(SecretString);

impl RefreshToken {
    pub fn random() -> Self {
        Self::encode(&rand::random::<[u8; 32]>())
    }

    /// What a cookie brought: anything at all.
    pub fn received(text: &str) -> Self {
        Self(SecretString::from(text))
    }

    pub fn hash(&self) -> [u8; 32] {
        sha256(self.0.expose_secret().as_bytes())
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn encode(bytes: &[u8]) -> Self {
        Self(SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl Tokens {
    /// The token that follows `token` in its family. The same for every process and every call: two tabs that refresh at
    /// once get one and the same successor, so that a family never branches and a thief cannot hide in a branch.
    pub fn successor(&self, token: &RefreshToken) -> RefreshToken {
        self.successors(token).next().expect("there is at least one key")
    }

    /// The same with each key: while keys change, another process may have made the successor with another one.
    pub fn successors(&self, token: &RefreshToken) -> impl Iterator<Item = RefreshToken> {
        let text = token.expose().as_bytes().to_vec();
        self.keys
            .iter()
            .map(move |key| RefreshToken::encode(hmac::sign(&key.derive(Purpose::RefreshRotation), &text).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_has_one_successor_for_all_processes() {
        let pem = crate::platform::keys::new_jwt_private_key();
        let (here, there) = (Tokens::new(&pem, "a").expect("usable"), Tokens::new(&pem, "a").expect("usable"));
        let token = RefreshToken::random();
        assert_eq!(here.successor(&token).expose(), there.successor(&token).expose());
        assert_ne!(here.successor(&token).expose(), here.successor(&RefreshToken::random()).expose());
    }
}
