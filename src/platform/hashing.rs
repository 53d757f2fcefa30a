//! Argon2id with the parameters that OWASP recommends (19 MiB, 2 passes, 1 lane), on threads of its own. A hash carries its
//! parameters (PHC string): one with others than today's still verifies, and is made anew on the way.
//!
//! Hashing is meant to be dear, so the number of them at once is bounded, and so is the number of those that wait; what comes on
//! top is turned away, instead of filling memory. A turn lasts until its hash is computed, also when the caller has hung up:
//! otherwise whoever hangs up at once starts as many as he likes. People on a device that they signed in on before have a priority
//! of their own, which a flood of guesses from elsewhere does not reach.
//!
//! What is hashed is the password in one spelling ([`one_spelling`]): an `ü` is the same from every keyboard.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher, generate_salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordVerifier, Version};
use precis_profiles::{OpaqueString, precis_core::profile::Profile};
use secrecy::{ExposeSecret, SecretString};
use tokio::{runtime::Runtime, sync::Semaphore, task::JoinHandle};

use crate::platform::error::{Error, Result};

/// How long a call waits for its turn.
const TURN_DEADLINE: Duration = Duration::from_secs(5);
/// 33 MiB. What is larger than 32 is the system's again once it is freed; what is smaller the C library keeps for the next time, for each thread
/// its own: a few sign-ins, and a process has 400 MB more for good. Only what is used of it is memory.
const BLOCKS_MIN: usize = 33 * 1024;
const TOO_MANY: &str = "too many passwords wait to be checked";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A device that the person signed in on before, or somebody who has proved to be somebody.
    Known,
    Unknown,
}

/// The turns of this process, and the threads on which they are taken.
pub struct Hasher {
    known: ConcurrencyLimit,
    unknown: ConcurrencyLimit,
    threads: Threads,
}

/// As many as may hash at once, and no more: each thread that ever hashed keeps some memory for its next one, and the
/// runtime's own blocking pool has hundreds.
struct Threads(Option<Runtime>);

/// How many of one priority hash at once (19 MiB each; more than cores is no faster), and how many may wait.
struct ConcurrencyLimit {
    at_once: Arc<Semaphore>,
    waiting: Semaphore,
}

pub struct Verified {
    pub right: bool,
    /// The password's hash with today's parameters, where it was right and had others.
    pub renewed: Option<String>,
}

/// Verified against when there is no such user, so that the answer takes as long.
static DUMMY: LazyLock<String> = LazyLock::new(|| encode("a password that nobody has"));

impl Default for Hasher {
    fn default() -> Self {
        Self { known: ConcurrencyLimit::new(1, 64), unknown: ConcurrencyLimit::new(3, 128), threads: Threads::new(4) }
    }
}

impl Threads {
    fn new(count: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .thread_name("hashing")
            .max_blocking_threads(count)
            .build()
            .expect("a runtime without drivers needs nothing");
        Self(Some(runtime))
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().expect("it is taken only when it is dropped").spawn_blocking(work)
    }
}

impl Drop for Threads {
    /// Without waiting: what is dropped in a runtime must not block it.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl ConcurrencyLimit {
    fn new(at_once: usize, waiting: usize) -> Self {
        Self { at_once: Arc::new(Semaphore::new(at_once)), waiting: Semaphore::new(waiting) }
    }
}

/// The password as the profile OpaqueString of PRECIS has it (RFC 8265): NFC, and every space a plain one. `None` where it holds
/// what no password may: control characters, what cannot be seen, code points that mean nothing yet.
pub fn one_spelling(password: &SecretString) -> Option<SecretString> {
    OpaqueString::new().enforce(password.expose_secret()).ok().map(|text| SecretString::from(text.into_owned()))
}

impl Hasher {
    pub async fn hash(&self, priority: Priority, password: SecretString) -> Result<String> {
        let password = one_spelling(&password).unwrap_or(password);
        self.in_turn(priority, move || encode(password.expose_secret())).await
    }

    /// Whether `hash` is this password's; `None` is nobody's and takes as long to find out.
    pub async fn verify(&self, priority: Priority, password: SecretString, hash: Option<String>) -> Result<Verified> {
        // One that has no such spelling is nobody's, and is found to be wrong like any other.
        let password = one_spelling(&password).unwrap_or(password);
        self.in_turn(priority, move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| DUMMY.clone());
            let password = password.expose_secret();
            let right = is_of(password, &hash) && known;
            let renewed = (right && !hash.starts_with(&current_prefix())).then(|| encode(password));
            Verified { right, renewed }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        priority: Priority,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turns = match priority {
            Priority::Known => &self.known,
            Priority::Unknown => &self.unknown,
        };
        let waiting = turns.waiting.try_acquire().map_err(|_| Error::TurnedAway(TOO_MANY))?;
        let turn = turns.at_once.clone().acquire_owned();
        let turn = tokio::time::timeout(TURN_DEADLINE, turn).await.map_err(|_| Error::TurnedAway(TOO_MANY))?;
        let turn = turn.expect("the semaphore is never closed");
        drop(waiting);
        let span = tracing::Span::current();
        let done = self.threads.run(move || {
            let result = span.in_scope(work);
            drop(turn);
            result
        });
        done.await.map_err(Error::internal)
    }
}

/// How a hash with today's algorithm, version and parameters begins.
fn current_prefix() -> String {
    let params = Params::default();
    format!("$argon2id$v=19$m={},t={},p={}$", params.m_cost(), params.t_cost(), params.p_cost())
}

fn encode(password: &str) -> String {
    let hash = Hashing.hash_password_with_params(password.as_bytes(), &generate_salt(), Params::default());
    hash.expect("the default parameters are valid").to_string()
}

fn is_of(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Hashing.verify_password(password.as_bytes(), &hash).is_ok())
}

/// Argon2 in memory that is given back ([`BLOCKS_MIN`]).
struct Hashing;

impl CustomizedPasswordHasher<PasswordHash> for Hashing {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or_default();
        let version = version.map(Version::try_from).transpose()?.unwrap_or_default();
        let mut memory = Vec::with_capacity(params.block_count().max(BLOCKS_MIN));
        memory.resize(params.block_count(), Block::default());
        let mut output = vec![0; params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
        let argon2 = Argon2::new(algorithm, version, params.clone());
        argon2.hash_password_into_with_memory(password, salt, &mut output, &mut memory)?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(&output)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordHasher;
    use std::sync::mpsc;

    #[test]
    fn a_fresh_hash_has_todays_parameters() {
        assert!(encode("x").starts_with(&current_prefix()));
    }

    /// As the library itself made it, in ours and the other way round.
    #[test]
    fn a_hash_is_the_librarys_own() {
        let theirs = Argon2::default().hash_password(b"a password").expect("a hash").to_string();
        assert!(theirs.starts_with(&current_prefix()));
        assert!(is_of("a password", &theirs) && !is_of("another", &theirs));
        assert!(Argon2::default().verify_password(b"x", encode("x").as_str()).is_ok());
    }

    #[tokio::test]
    async fn whoever_hangs_up_keeps_the_turn_until_the_work_is_done() {
        let hasher = Hasher::default();
        let (finish, finished) = mpsc::channel::<()>();
        {
            let mut call = Box::pin(hasher.in_turn(Priority::Known, move || finished.recv().is_ok()));
            assert!(futures_util::poll!(call.as_mut()).is_pending(), "it works");
        }
        assert_eq!(hasher.known.at_once.available_permits(), 0, "the caller is gone, the work is not");
        finish.send(()).expect("the work waits for it");
        let turn = hasher.known.at_once.acquire().await.expect("never closed");
        drop(turn);
        assert!(hasher.in_turn(Priority::Known, || true).await.expect("its turn"));
    }

    #[tokio::test]
    async fn more_than_may_wait_are_turned_away_at_once() {
        let hasher = Hasher {
            known: ConcurrencyLimit::new(1, 1),
            unknown: ConcurrencyLimit::new(1, 2),
            threads: Threads::new(2),
        };
        let (finish, finished) = mpsc::channel::<()>();
        let mut first = Box::pin(hasher.in_turn(Priority::Unknown, move || finished.recv().is_ok()));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        let wait = || Box::pin(hasher.in_turn(Priority::Unknown, || true));
        let mut waiting = [wait(), wait()];
        for call in &mut waiting {
            assert!(futures_util::poll!(call.as_mut()).is_pending());
        }
        let refused = hasher.in_turn(Priority::Unknown, || true).await.expect_err("two wait already");
        assert_eq!(refused.code(), "unavailable");
        assert!(hasher.in_turn(Priority::Known, || true).await.is_ok(), "the other priority is free");
        finish.send(()).expect("the work waits for it");
        assert!(first.await.is_ok());
        for call in waiting {
            assert!(call.await.is_ok());
        }
    }
}
