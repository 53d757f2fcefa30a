//! `octoco keys rotate`: what an older data key has encrypted is encrypted again by the first of `DATA_KEYS`, so that the older one
//! can go.
//!
//! A row is always whole: bytes and key id change in one statement, only if its bytes are still those that were read, and readers
//! read both in one. So it may be stopped at any moment and run again, beside readers, writers and another run of itself. Processes
//! that still encrypt with the older key write rows that the next run finds: first give every process the new keys, then run this
//! (`docs/security.md`).

use serde_json::json;
use uuid::Uuid;

use super::store;
use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::platform::encryption::{CannotDecrypt, Encrypted};
use crate::platform::error::{Error, Result};

pub use store::KeyUse;

/// Rows of one transaction: little enough that nobody waits for their locks.
const BATCH: i64 = 100;

#[derive(Debug, Default)]
pub struct Cursor(Uuid);

#[derive(Debug)]
pub struct Batch {
    /// Rows that were encrypted again.
    pub encrypted: usize,
    /// Rows that do not decrypt: their key is not in `DATA_KEYS`, or they were changed.
    pub closed: Vec<Uuid>,
}

pub async fn next(app: &App, cursor: &mut Cursor) -> Result<Option<Batch>> {
    let current = app.config.data_keys.current_id();
    let rows = store::encrypted_by_others(&app.db, current, cursor.0, BATCH).await?;
    let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
    let (decrypted, unreadable): (Vec<_>, Vec<_>) =
        rows.iter().map(|row| (row, reencrypt(app, row))).partition(|(_, s)| s.is_ok());
    let mut encrypted = 0_usize;
    let mut tx = app.db.begin().await?;
    // One after the other in the order of ids: two runs never wait for each other in a circle.
    for (row, renewed) in decrypted {
        let renewed = renewed.map_err(Error::internal)?;
        if store::reencrypt(&mut *tx, row, &renewed.key_id, &renewed.bytes).await? {
            encrypted = encrypted.saturating_add(1);
        }
    }
    if encrypted > 0 {
        let entry = Entry::of(&Actor::system(), "data_key.rotated", "data_key", current);
        audit::record(app, &mut *tx, entry.with(json!({"rows": encrypted}))).await?;
    }
    tx.commit().await?;
    cursor.0 = last;
    Ok(Some(Batch { encrypted, closed: unreadable.iter().map(|(row, _)| row.id).collect() }))
}

fn reencrypt(app: &App, row: &store::Row) -> Result<Encrypted, CannotDecrypt> {
    let keys = &app.config.data_keys;
    let plain = keys.decrypt(row.id, &Encrypted { key_id: row.key_id.clone(), bytes: row.details.clone() })?;
    keys.encrypt(row.id, &plain)
}

pub async fn uses(app: &App) -> Result<Vec<KeyUse>> {
    Ok(store::uses(&app.db).await?)
}
