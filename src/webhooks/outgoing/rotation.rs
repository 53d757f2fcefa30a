//! The secrets of endpoints among what `octoco keys rotate` encrypts again ([`crate::identity::rotation`]).

use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::identity::rotation::{KeyUse, Table};
use crate::platform::encryption::Encrypted;

pub struct OutgoingSecrets;

impl Table for OutgoingSecrets {
    const NOUN: &'static str = "webhook secret";

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
