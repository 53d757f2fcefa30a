//! Small things that we give out and recognise again without storing them: an HMAC under a key derived for the purpose.
//!
//! | signed token | is over | ends |
//! |---|---|---|
//! | [`Device`] | a random number, the e-mail that signed in with it, the hash of its password | with the password; it only spares its holder the slow-down |
//! | [`LinkToken`] | purpose, user, time, and the state that its use changes | at its time, or with its first use |
//! | [`Tokens::mac`] | what the caller frames, under a purpose of its own: cursors, links to exports | as the caller decides |

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chrono::{TimeZone, Utc};
use secrecy::SecretString;
use uuid::Uuid;

use super::{Purpose, Tokens};
use crate::platform::clock::DateTime;

const MAC_BYTES: usize = 32;

/// A device that somebody signed in on: what its cookie holds.
#[derive(Clone, Debug)]
pub struct Device(String);

impl Device {
    pub fn received(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a link carries, read but not believed yet: [`Tokens::is_link_token`] needs the user's row for that.
#[derive(Clone, Debug)]
pub struct LinkToken {
    pub user_id: Uuid,
    pub expires_at: DateTime,
    mac: Vec<u8>,
}

impl LinkToken {
    pub fn received(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (user, rest) = bytes.split_first_chunk::<16>()?;
        let (seconds, mac) = rest.split_first_chunk::<8>()?;
        let expires_at = Utc.timestamp_opt(i64::from_be_bytes(*seconds), 0).single()?;
        (mac.len() == MAC_BYTES).then(|| Self { user_id: Uuid::from_bytes(*user), expires_at, mac: mac.to_vec() })
    }
}

impl Tokens {
    /// A new token for a device on which `email` signed in. `state` is what ends it (the hash of a password).
    pub fn new_device(&self, email: &str, state: &str) -> Device {
        let number = rand::random::<[u8; 16]>();
        let mac = self.mac(Purpose::Device, &[&number, email.as_bytes(), state.as_bytes()]);
        Device(BASE64_URL_SAFE_NO_PAD.encode([number.as_slice(), &mac].concat()))
    }

    /// Whether `email` signed in on this device before, and its state is as it was then.
    pub fn knows_device(&self, device: &Device, email: &str, state: &str) -> bool {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&device.0).unwrap_or_default();
        let Some((number, mac)) = bytes.split_first_chunk::<16>() else { return false };
        self.verify_mac(Purpose::Device, &[number, email.as_bytes(), state.as_bytes()], mac)
    }

    /// The token of a link. `state` is what its use changes (the hash of a password), so that it works once.
    pub fn link_token(&self, purpose: Purpose, user_id: Uuid, expires_at: DateTime, state: &str) -> SecretString {
        let seconds = expires_at.timestamp().to_be_bytes();
        let mac = self.mac(purpose, &[user_id.as_bytes(), &seconds, state.as_bytes()]);
        let bytes = [user_id.as_bytes().as_slice(), &seconds, &mac].concat();
        SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether we made the token, for this purpose, while the user's state was as it is, and not too long ago.
    pub fn is_link_token(&self, purpose: Purpose, token: &LinkToken, state: &str, now: DateTime) -> bool {
        let seconds = token.expires_at.timestamp().to_be_bytes();
        now < token.expires_at
            && self.verify_mac(purpose, &[token.user_id.as_bytes(), &seconds, state.as_bytes()], &token.mac)
    }

    pub fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Vec<u8> {
        hmac::sign(&self.current().derive(purpose), &framed(parts)).as_ref().to_vec()
    }

    /// Whether [`Tokens::mac`] made it, with any of our keys.
    pub fn verify_mac(&self, purpose: Purpose, parts: &[&[u8]], mac: &[u8]) -> bool {
        let text = framed(parts);
        self.keys.iter().any(|key| hmac::verify(&key.derive(purpose), &text, mac).is_ok())
    }
}

/// Each part with its length, so that no two lists read alike.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let length = |part: &[u8]| u64::try_from(part.len()).expect("a length fits into 64 bits").to_be_bytes();
    parts.iter().flat_map(|part| [length(part).as_slice(), part].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use secrecy::ExposeSecret;

    fn tokens() -> Tokens {
        Tokens::new(&crate::platform::keys::new_jwt_private_key(), "a").expect("a fresh key is usable")
    }

    #[test]
    fn a_link_token_is_for_one_purpose_one_state_and_a_while() {
        let ours = tokens();
        let now = Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).single().expect("a time");
        let until = now + TimeDelta::hours(1);
        let text = ours.link_token(Purpose::PasswordReset, Uuid::from_u128(7), until, "hash 1");
        let token = LinkToken::received(text.expose_secret()).expect("as it was made");
        assert_eq!(token.user_id, Uuid::from_u128(7));
        let right = |purpose: Purpose, state: &str, now| ours.is_link_token(purpose, &token, state, now);
        assert!(right(Purpose::PasswordReset, "hash 1", now));
        assert!(!right(Purpose::EmailVerification, "hash 1", now), "another purpose");
        assert!(!right(Purpose::PasswordReset, "hash 2", now), "used before");
        assert!(!right(Purpose::PasswordReset, "hash 1", until), "too late");
        let longer = LinkToken { expires_at: until + TimeDelta::hours(1), ..token.clone() };
        assert!(!ours.is_link_token(Purpose::PasswordReset, &longer, "hash 1", now), "its time was changed");
        let other = LinkToken { user_id: Uuid::from_u128(8), ..token };
        assert!(!ours.is_link_token(Purpose::PasswordReset, &other, "hash 1", now), "its user was changed");
        for junk in ["", "AAAA", "ü"] {
            assert!(LinkToken::received(junk).is_none());
        }
    }
}
