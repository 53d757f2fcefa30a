//! Reads that a caller may ask for and that may take long: lists in an order that no index has, pages of files, what a stream missed, sums
//! over all customers, everything about one. They have half of the main pool's connections, and each caller a quarter of that, at least one:
//! however many come, whoever signs in, whoever looks whether we are ready and whatever pays finds a connection. Pages of files and what streams
//! missed have half of those turns, so that lists do not stand in line behind them. By default that is two turns, one of them for lists alone. Pages of
//! the ledger's histories take turns of their own in the same way (`App::history_reads`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use crate::platform::database::{self, Db, Transaction};
use crate::platform::error::{Error, Result};
use crate::platform::shares::{Place, Shares};

/// How long a request waits for its turn: others have had theirs by then, unless there are too many.
pub const WAIT: Duration = Duration::from_secs(3);
/// Of a page: its statements have deadlines of their own, and a connection that falls silent between them gives its turn back.
const READ_MAX: Duration = Duration::from_mins(1);
/// A caller has a quarter of the turns.
const CALLERS_PART: usize = 4;

pub struct SlowReads {
    turns: Arc<Semaphore>,
    callers: Arc<Shares>,
    /// Of those turns, for whoever can wait; one for each caller.
    patient: Semaphore,
    patient_callers: Arc<Shares>,
}

/// Free again when it is dropped.
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    _of_caller: Place,
}

/// A list that no index may answer, while it is read.
pub struct SlowRead {
    pub tx: Transaction,
    _turn: Turn,
}

impl SlowReads {
    pub fn new(turns: usize) -> Self {
        Self::with(turns, (turns / 2).max(1))
    }

    /// Where nobody but files reads, of something else than PostgreSQL.
    pub fn of_files(turns: usize) -> Self {
        Self::with(turns, turns)
    }

    fn with(turns: usize, patient: usize) -> Self {
        let of_caller = (turns / CALLERS_PART).max(1);
        let (turns, patient) = (Arc::new(Semaphore::new(turns)), Semaphore::new(patient));
        Self { turns, patient, patient_callers: Shares::new(1), callers: Shares::new(of_caller) }
    }

    /// Before a connection is taken for such a read. The caller's own place comes first: whoever waits for that takes no turn from others.
    ///
    /// # Errors
    /// [`Error::TurnedAway`] when it does not come in time.
    pub async fn turn(&self, caller: Uuid, wait: Duration) -> Result<Turn> {
        let turn = async {
            let of_caller = self.callers.of(caller.to_string()).place(wait).await?;
            let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
            Some(Turn { _turn: turn, _of_caller: of_caller })
        };
        let turn = timeout(wait, turn).await.ok().flatten();
        turn.ok_or(Error::TurnedAway("as many long reads are under way as may be"))
    }

    /// A list in its turn: a snapshot, and no statement that takes longer than the deadline ([`too_broad`]).
    ///
    /// # Errors
    /// [`Error::TurnedAway`] when the turn does not come in time.
    pub async fn begin(&self, caller: Uuid, db: &Db, deadline: Duration) -> Result<SlowRead> {
        let turn = self.turn(caller, WAIT).await?;
        Ok(SlowRead { tx: db.begin_reading(deadline).await?, _turn: turn })
    }

    /// The same for a file or a stream, while `read` runs: nobody who asked for a list waits behind many of those.
    ///
    /// # Errors
    /// [`Error::TurnedAway`] when the turn does not come in time.
    pub async fn patiently<T>(&self, caller: Uuid, wait: Duration, read: impl Future<Output = Result<T>>) -> Result<T> {
        let turn = async {
            let of_caller = self.patient_callers.of(caller.to_string()).place(wait).await?;
            let place = self.patient.acquire().await.ok()?;
            let turn = self.turns.acquire().await.ok()?;
            Some((of_caller, place, turn))
        };
        let turn = timeout(wait, turn).await.ok().flatten();
        let _turn = turn.ok_or(Error::TurnedAway("as many files and streams are read as may be"))?;
        timeout(READ_MAX, read).await.unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed)))
    }
}

/// The statement's own deadline is the caller's affair, not a part that does not answer.
pub fn too_broad(error: sqlx::Error) -> Error {
    if database::is_deadline(&error) { Error::TooBroad } else { error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_caller_has_a_part_of_the_turns_and_all_have_no_more_than_there_are() {
        let reads = SlowReads::new(8);
        let turn = async |caller: u128| reads.turn(Uuid::from_u128(caller), Duration::from_millis(1)).await;
        let mut held = Vec::new();
        for caller in [1, 1, 2, 2, 3, 3] {
            held.push(turn(caller).await.expect("a turn"));
            assert!(caller != 1 || held.len() < 2 || turn(1).await.is_err(), "a third one of a caller");
        }
        held.extend([turn(4).await.expect("the seventh"), turn(5).await.expect("the eighth")]);
        assert!(turn(6).await.is_err(), "there are no more");
        held.clear();
        assert!(turn(6).await.is_ok(), "free again");
    }

    #[tokio::test]
    async fn files_and_streams_leave_turns_for_lists() {
        let reads = SlowReads::new(2);
        let read = async |caller: u128, read: bool| {
            let read = async { if read { Ok(()) } else { std::future::pending().await } };
            reads.patiently(Uuid::from_u128(caller), Duration::from_millis(1), read).await
        };
        let others = async {
            assert!(read(2, true).await.is_err(), "a second file waits");
            assert!(reads.turn(Uuid::from_u128(3), Duration::from_millis(1)).await.is_ok(), "a list does not");
        };
        tokio::select! {
            biased;
            _ = read(1, false) => {}
            () = others => {}
        }
        assert!(read(2, true).await.is_ok(), "free again");
    }
}
