//! Argon2id with the parameters that OWASP recommends (19 MiB, 2 passes, 1 lane), on the blocking pool.
//!
//! A hash carries its parameters (PHC string): one with others than today's still verifies, and is made anew on the way.
//!
//! Hashing is meant to be dear, so the number of them at once is bounded, and so is the number of those that wait for a turn:
//! what comes on top is told to come again, instead of filling memory. People on a device that they signed in on before have
//! a lane of their own, which a flood of guesses from elsewhere does not reach.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::Email;
use crate::error::{Error, Result};

pub const CHARS_MIN: usize = 8;
/// Longer ones add nothing but work for an attacker to give us.
pub const CHARS_MAX: usize = 128;
/// How long a call waits for its turn.
const TURN_DEADLINE: Duration = Duration::from_secs(5);
/// What people hang behind a word to please a rule: `Summer2024!` is `summer`.
const TAIL_CHARS_MAX: usize = 5;

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A device that the person signed in on before, or somebody who has proved to be somebody.
    Known,
    Unknown,
}

/// Turns of one lane: how many hash at once (19 MiB each; more than cores is no faster), and how many may wait.
struct Turns {
    at_once: Semaphore,
    waiting: Semaphore,
}

static KNOWN: Turns = Turns { at_once: Semaphore::const_new(1), waiting: Semaphore::const_new(64) };
static UNKNOWN: Turns = Turns { at_once: Semaphore::const_new(3), waiting: Semaphore::const_new(128) };

/// Verified against when there is no such user, so that the answer takes as long.
static DUMMY: LazyLock<String> = LazyLock::new(|| encode("a password that nobody has"));

static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").lines().filter(|line| !line.starts_with('#')).collect());

/// Whether somebody may choose this password: long enough, not one that everybody tries, not the e-mail.
///
/// # Errors
/// [`Error::Invalid`] for `field`.
pub fn check(field: &str, password: &SecretString, email: Option<&Email>) -> Result<()> {
    let password = password.expose_secret();
    if !(CHARS_MIN..=CHARS_MAX).contains(&password.chars().count()) {
        return Err(Error::field(field, format!("must have {CHARS_MIN} to {CHARS_MAX} characters")));
    }
    let lower = password.to_lowercase();
    if is_common(&lower) {
        return Err(Error::field(field, "is one of the first that anybody would try"));
    }
    if email.is_some_and(|email| email.as_str() == lower || email.local_part() == lower) {
        return Err(Error::field(field, "must not be the e-mail"));
    }
    Ok(())
}

/// On the list, as it is or without its tail; or one character again and again.
fn is_common(lower: &str) -> bool {
    let stem = lower.trim_end_matches(|c: char| !c.is_alphabetic());
    let tail = lower.chars().count() - stem.chars().count();
    let first = lower.chars().next();
    COMMON.contains(lower) || tail <= TAIL_CHARS_MAX && COMMON.contains(stem) || lower.chars().all(|c| Some(c) == first)
}

/// # Errors
/// [`Error::Unavailable`] when too many wait.
pub async fn hash(lane: Lane, password: SecretString) -> Result<String> {
    in_turn(lane, move || encode(password.expose_secret())).await
}

/// What a hash said of a password.
pub struct Verified {
    pub right: bool,
    /// The password's hash with today's parameters, where it was right and had others.
    pub renewed: Option<String>,
}

/// Whether `hash` is this password's; `None` is nobody's and takes as long to find out.
///
/// # Errors
/// [`Error::Unavailable`] when too many wait.
pub async fn verify(lane: Lane, password: SecretString, hash: Option<String>) -> Result<Verified> {
    in_turn(lane, move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| DUMMY.clone());
        let password = password.expose_secret();
        let right = Argon2::default().verify_password(password.as_bytes(), hash.as_str()).is_ok() && known;
        let renewed = (right && !hash.starts_with(&current_prefix())).then(|| encode(password));
        Verified { right, renewed }
    })
    .await
}

/// How a hash with today's algorithm, version and parameters begins.
fn current_prefix() -> String {
    let params = Params::default();
    format!("$argon2id$v=19$m={},t={},p={}$", params.m_cost(), params.t_cost(), params.p_cost())
}

fn encode(password: &str) -> String {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.expect("the default parameters are valid and the system gives random numbers").to_string()
}

async fn in_turn<T: Send + 'static>(lane: Lane, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let turns = match lane {
        Lane::Known => &KNOWN,
        Lane::Unknown => &UNKNOWN,
    };
    let waiting = turns.waiting.try_acquire().map_err(Error::unavailable)?;
    let turn = tokio::time::timeout(TURN_DEADLINE, turns.at_once.acquire()).await.map_err(Error::unavailable)?;
    let turn = turn.expect("the semaphore is never closed");
    drop(waiting);
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(Error::internal);
    drop(turn);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_would_try_is_refused() {
        let email = Email::parse("thandi.nkosi@example.com").expect("valid");
        let refused = |password: &str| check("password", &SecretString::from(password), Some(&email)).is_err();
        for common in [
            "password",
            "Password",
            "PASSWORD123!",
            "qwertyuiop",
            "Summer2024!",
            "12345678",
            "aaaaaaaaaaaa",
            "thandi.nkosi",
            "Thandi.Nkosi@example.com",
            "short",
        ] {
            assert!(refused(common), "{common}");
        }
        for good in ["correct horse battery staple", "summer-in-the-karoo", "kx7#Qm2pVw", "ümläute sind schön"] {
            assert!(!refused(good), "{good}");
        }
    }

    #[test]
    fn a_fresh_hash_has_todays_parameters() {
        assert!(encode("x").starts_with(&current_prefix()));
    }
}
