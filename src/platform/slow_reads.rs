//! Reads that a caller may ask for and that may take long: lists in an order that no index has, pages of files, what a stream missed, sums
//! over all customers, everything about one. They have half of the main pool's connections, and each caller a quarter of that: however many
//! come, whoever signs in, whoever looks whether we are ready and whatever pays finds a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use crate::platform::error::{Error, Result};
use crate::platform::shares::{Place, Shares};

/// How long a request waits for its turn: others have had theirs by then, unless there are too many.
pub const WAIT: Duration = Duration::from_secs(3);
/// Of all turns, one of so many is a caller's.
const CALLERS_PART: usize = 4;

pub struct SlowReads {
    turns: Arc<Semaphore>,
    callers: Arc<Shares>,
}

/// Free again when it is dropped.
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    _of_caller: Place,
}

impl SlowReads {
    pub fn new(turns: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(turns)), callers: Shares::new((turns / CALLERS_PART).max(1)) }
    }

    /// Before a connection is taken for such a read. Whoever waits for its own holds none of the others'.
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
}
