//! The bank details among what `octoco keys rotate` encrypts again ([`crate::identity::rotation`]); deleted accounts' too.

use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::app::App;
use crate::identity::rotation::{self, Batch, Table};
use crate::platform::encryption::Encrypted;
use crate::platform::error::Result;

pub use crate::identity::rotation::{Cursor, KeyUse};

pub struct BankAccounts;

impl Table for BankAccounts {
    const NOUN: &'static str = "bank account";

    async fn encrypted_by_others(
        &self,
        db: &mut PgConnection,
        key_id: &str,
        after: Uuid,
        limit: i64,
    ) -> sqlx::Result<Vec<(Uuid, Encrypted)>> {
        store::encrypted_by_others(db, key_id, after, limit).await
    }

    async fn replace(&self, db: &mut PgConnection, id: Uuid, old: &Encrypted, new: &Encrypted) -> sqlx::Result<bool> {
        store::reencrypt(db, id, old, new).await
    }

    async fn uses(&self, db: &mut PgConnection) -> sqlx::Result<Vec<KeyUse>> {
        store::uses(db).await
    }
}

pub async fn next(app: &App, cursor: &mut Cursor) -> Result<Option<Batch>> {
    rotation::next(app, &BankAccounts, cursor).await
}

pub async fn uses(app: &App) -> Result<Vec<KeyUse>> {
    rotation::uses(app, &BankAccounts).await
}
