//! `octoco keys rotate`: what an older data key has encrypted is encrypted again by the first of `DATA_KEYS`, table by table, so that
//! the older one can go. Each table that holds something encrypted says how it is read and written ([`Table`]).
//!
//! A row is always whole: bytes and key id change in one statement, only if its bytes are still those that were read, and readers
//! read both in one. So it may be stopped at any moment and run again, beside readers, writers and another run of itself. Processes
//! that still encrypt with the older key write rows that the next run finds: first give every process the new keys, then run this
//! (`docs/security.md`).

mod store;

use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::platform::encryption::{CannotDecrypt, Encrypted};
use crate::platform::error::Result;

pub(crate) use store::encrypted;

pub trait Table: Sync {
    /// What a row of it is, for people.
    const NOUN: &'static str;
    /// Rows of one transaction: few enough that nobody waits for their locks.
    const BATCH: i64;

    /// Those after `after`, by id, that another key has encrypted.
    fn encrypted_by_others(
        &self,
        db: &mut PgConnection,
        key_id: &str,
        after: Uuid,
        limit: i64,
    ) -> impl Future<Output = sqlx::Result<Vec<(Uuid, Encrypted)>>> + Send;

    /// False when it was encrypted anew, changed or deleted since it was read.
    fn replace(
        &self,
        db: &mut PgConnection,
        id: Uuid,
        old: &Encrypted,
        new: &Encrypted,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    fn uses(&self, db: &mut PgConnection) -> impl Future<Output = sqlx::Result<Vec<KeyUse>>> + Send;
}

#[derive(Debug, PartialEq, Eq)]
pub struct KeyUse {
    pub id: String,
    pub rows: i64,
}

#[derive(Debug, Default)]
pub struct Cursor(Uuid);

#[derive(Debug)]
pub struct Batch {
    /// Rows that were encrypted again.
    pub encrypted: usize,
    /// Rows that do not decrypt: their key is not in `DATA_KEYS`, or they were changed.
    pub closed: Vec<Uuid>,
}

pub async fn next<T: Table>(app: &App, table: &T, cursor: &mut Cursor) -> Result<Option<Batch>> {
    let current = app.config.data_keys.current_id();
    let mut db = app.db.acquire().await?;
    let rows = table.encrypted_by_others(&mut db, current, cursor.0, T::BATCH).await?;
    drop(db);
    let Some(last) = rows.last().map(|(id, _)| *id) else { return Ok(None) };
    let (mut encrypted, mut closed) = (0_usize, Vec::new());
    let mut tx = app.db.begin().await?;
    // One after the other in the order of ids: two runs never wait for each other in a circle.
    for (id, old) in &rows {
        match again(app, *id, old) {
            Ok(new) => encrypted = encrypted.saturating_add(usize::from(table.replace(&mut tx, *id, old, &new).await?)),
            Err(CannotDecrypt) => closed.push(*id),
        }
    }
    if encrypted > 0 {
        let entry = Entry::of(&Actor::operator(), "data_key.rotated", "data_key", current);
        audit::record(app, &mut *tx, entry.with(json!({"rows": encrypted, "of": T::NOUN}))).await?;
    }
    tx.commit().await?;
    cursor.0 = last;
    Ok(Some(Batch { encrypted, closed }))
}

fn again(app: &App, id: Uuid, old: &Encrypted) -> Result<Encrypted, CannotDecrypt> {
    let keys = &app.config.data_keys;
    keys.encrypt(id, &keys.decrypt(id, old)?)
}

pub async fn uses<T: Table>(app: &App, table: &T) -> Result<Vec<KeyUse>> {
    let mut db = app.db.acquire().await?;
    Ok(table.uses(&mut db).await?)
}
