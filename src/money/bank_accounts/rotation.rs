//! The bank details among what `octoco keys rotate` encrypts again ([`crate::identity::rotation`]); deleted accounts' too. With them their
//! fingerprints, which a key that is gone would never make again.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Details, store};
use crate::app::App;
use crate::identity::rotation::{KeyUse, Table};
use crate::platform::encryption::Encrypted;

pub struct BankAccounts<'a>(pub &'a App);

impl Table for BankAccounts<'_> {
    const NOUN: &'static str = "bank account";
    const BATCH: i64 = 100;

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
        let fingerprint = match (store::owner(&mut *db, id).await?, self.details(id, new)) {
            (Some(user_id), Some(details)) => details.fingerprints(self.0, user_id).into_iter().next(),
            _ => None,
        };
        store::reencrypt(db, id, (old, new), fingerprint.as_deref()).await
    }

    async fn uses(&self, db: &mut PgConnection) -> sqlx::Result<Vec<KeyUse>> {
        store::uses(db).await
    }
}

impl BankAccounts<'_> {
    fn details(&self, id: Uuid, encrypted: &Encrypted) -> Option<Details> {
        let plain = self.0.config.data_keys.decrypt(id, encrypted).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}
