//! Argon2id with the parameters that OWASP recommends (19 MiB, 2 passes, 1 lane), on the blocking pool.
//!
//! Hashing is meant to be dear, so the number of them at once is bounded: what comes on top is told to come again, instead
//! of filling memory.

use std::sync::LazyLock;
use std::time::Duration;

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::error::{Error, FieldError, Result};

pub const CHARS_MIN: usize = 8;
/// Longer ones add nothing but work for an attacker to give us.
pub const CHARS_MAX: usize = 128;
/// At 19 MiB each; one a core is as fast as it gets.
const AT_ONCE_MAX: usize = 4;
/// How long a call waits for its turn.
const TURN_DEADLINE: Duration = Duration::from_secs(5);

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE_MAX);

/// Verified against when there is no such user, so that the answer takes as long.
static DUMMY: LazyLock<String> = LazyLock::new(|| encode("a password that nobody has"));

/// # Errors
/// [`Error::Invalid`] for the field `password`.
pub fn check(password: &SecretString) -> Result<()> {
    let count = password.expose_secret().chars().count();
    if (CHARS_MIN..=CHARS_MAX).contains(&count) {
        return Ok(());
    }
    let message = format!("must have {CHARS_MIN} to {CHARS_MAX} characters");
    Err(Error::Invalid(vec![FieldError { field: "password".to_owned(), message }]))
}

/// # Errors
/// [`Error::Unavailable`] when too many wait.
pub async fn hash(password: SecretString) -> Result<String> {
    in_turn(move || encode(password.expose_secret())).await
}

/// Whether `hash` is this password's; `None` is nobody's and takes as long to find out.
///
/// # Errors
/// [`Error::Unavailable`] when too many wait.
pub async fn verify(password: SecretString, hash: Option<String>) -> Result<bool> {
    in_turn(move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| DUMMY.clone());
        let right = Argon2::default().verify_password(password.expose_secret().as_bytes(), hash.as_str()).is_ok();
        known && right
    })
    .await
}

fn encode(password: &str) -> String {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.expect("the default parameters are valid and the system gives random numbers").to_string()
}

async fn in_turn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let turn = tokio::time::timeout(TURN_DEADLINE, TURNS.acquire()).await.map_err(Error::unavailable)?;
    let turn = turn.expect("the semaphore is never closed");
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(Error::internal);
    drop(turn);
    done
}
