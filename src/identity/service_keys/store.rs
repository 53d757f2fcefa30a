//! SQL of a key that is shown.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::platform::clock::DateTime;

/// A machine with a valid key.
pub struct Known {
    pub account_id: Uuid,
    pub key_id: Uuid,
    pub scopes: Vec<String>,
    pub(super) last_used_at: Option<DateTime>,
}

pub(super) async fn find_valid(db: impl PgExecutor<'_>, hash: &[u8], now: DateTime) -> sqlx::Result<Option<Known>> {
    let known = sqlx::query_as!(
        Known,
        "select a.id as account_id, k.id as key_id, a.scopes, k.last_used_at
           from service_account_keys k join service_accounts a on a.id = k.service_account_id
          where k.hash = $1 and a.enabled and k.revoked_at is null and k.expires_at > $2",
        hash,
        now
    );
    known.fetch_optional(db).await
}

pub(super) async fn scopes(db: impl PgExecutor<'_>, key_id: Uuid, now: DateTime) -> sqlx::Result<Option<Vec<String>>> {
    let scopes = sqlx::query_scalar!(
        "select a.scopes from service_account_keys k join service_accounts a on a.id = k.service_account_id
          where k.id = $1 and a.enabled and k.revoked_at is null and k.expires_at > $2",
        key_id,
        now
    );
    scopes.fetch_optional(db).await
}

pub(super) async fn note_use(db: impl PgExecutor<'_>, key_id: Uuid, now: DateTime) -> sqlx::Result<()> {
    sqlx::query!("update service_account_keys set last_used_at = $2 where id = $1", key_id, now)
        .execute(db)
        .await
        .map(drop)
}
