//! Calls of staff and of machines that come with an `Idempotency-Key`: the act is done once, and the same call again is answered as before, with
//! `Idempotent-Replayed: true`. Another call with the key is refused. What makes rows with keys of their own (corrections, journals) does
//! not need this. Why not those for all: docs/decisions/042.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> claimed: begin (who is calling may, and nobody has the key)
//!     claimed --> answered: finish (a success; the answer is kept, encrypted)
//!     claimed --> [*]: finish (refused: the same key may try again)
//!     claimed --> claimed: begin, after the lease (the process died), or at once (it failed)
//!     answered --> [*]: prune (after 7 days)
//! ```
//!
//! [`crate::identity::staff::Staff`] claims, once it knows that the caller may; `processes/repeats.rs` puts the [`Call`] into the request
//! and finishes. While a call is under way the same one is told to come again. One that was cut off, or failed, may have acted: its repeat
//! acts on what it finds, and every act is decided by the state of its row, so that none is done twice. What an act makes has the id of the
//! claim (`Staff::new_row`), which stays the same: the repeat finds it. A secret that it was to show is another then, in the same place.

mod store;

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::http::{IdempotencyKey, RequestHash};
use crate::platform::queue;

pub use store::{KeptAnswers, forget_about};

/// A request takes half as long at most.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// Whoever repeats a call does so within hours.
const KEPT: TimeDelta = TimeDelta::days(7);
/// The largest answer to an act is some kilobytes. A larger one is not kept, and its call may act again.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
const PRUNED_AT_ONCE: i64 = 1_000;

/// In the extensions of a request that came with a key.
#[derive(Debug, Clone)]
pub struct Call {
    key: IdempotencyKey,
    hash: RequestHash,
    claim: Arc<Mutex<Option<Claim>>>,
}

/// What a call with a key comes to.
pub enum Begun {
    /// It acts, under the claim of this id.
    Claimed(Uuid),
    /// It did before.
    Answered(Answer),
}

/// How a call ended.
pub enum End {
    Answered(Answer),
    /// Nothing was done.
    Refused,
    /// It may have acted, and there is no answer to keep.
    Failed,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    id: Uuid,
    /// Which of those who claimed it one after the other.
    turn: i32,
}

/// An answer as it was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub location: Option<String>,
    pub body: String,
}

impl Call {
    pub fn new(key: IdempotencyKey, hash: RequestHash) -> Self {
        Self { key, hash, claim: Arc::default() }
    }

    fn claimed(&self) -> Option<Claim> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Claims the key for the call. Keys are the caller's own: a person's, or a service account's with all its keys. `customer` is whom the call
/// concerns.
///
/// # Errors
/// [`Error::KeyReused`]; [`Error::InProgress`].
pub async fn begin(app: &App, (caller, customer): (Uuid, Option<Uuid>), call: &Call) -> Result<Begun> {
    let (id, now) = (app.clock.row_id(), app.clock.now());
    let new = store::New { id, caller, customer, key: call.key.as_str(), hash: call.hash.as_bytes(), now };
    let claim = if store::insert_once(&app.db, &new, now + LEASE).await? {
        Claim { id: new.id, turn: 1 }
    } else {
        let known = store::find(&app.db, caller, new.key).await?.ok_or(Error::InProgress)?;
        call.hash.require_same(&known.request_hash)?;
        if let Some(answer) = known.answer {
            let plain = app.config.data_keys.decrypt(known.id, &answer).map_err(Error::internal)?;
            return serde_json::from_slice(&plain).map(Begun::Answered).map_err(Error::internal);
        }
        let turn = store::take_over(&app.db, known.id, now, now + LEASE).await?.ok_or(Error::InProgress)?;
        Claim { id: known.id, turn }
    };
    *call.claim.lock().unwrap_or_else(PoisonError::into_inner) = Some(claim);
    Ok(Begun::Claimed(claim.id))
}

/// Keeps the answer of a call that acted; gives the key back where nothing was done, by this turn or another, and the turn where that is
/// not known. Nothing where the call never claimed.
pub async fn finish(app: &App, call: &Call, end: &End) -> Result<()> {
    let Some(Claim { id, turn }) = call.claimed() else { return Ok(()) };
    match end {
        End::Answered(answer) => {
            let plain = serde_json::to_vec(answer).map_err(Error::internal)?;
            let encrypted = app.config.data_keys.encrypt(id, &plain).map_err(Error::internal)?;
            store::answer(&app.db, (id, turn), &encrypted).await?;
        }
        // What a turn before did is known by the claim's id alone.
        End::Refused if turn == 1 => store::release(&app.db, (id, turn)).await?,
        End::Refused | End::Failed => store::pass_on(&app.db, (id, turn), app.clock.now()).await?,
    }
    Ok(())
}

/// Deletes a batch of what nobody repeats any more. True when there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let deleted = store::delete_before(&app.db, app.clock.now() - KEPT, PRUNED_AT_ONCE).await?;
    Ok(queue::is_full(deleted, PRUNED_AT_ONCE))
}
