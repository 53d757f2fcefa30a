//! Accounts of machines, for integrators: scopes are permissions of staff that a machine may have, keys let it call the routes that need
//! them (`service_keys`). Nothing that moves money, decides, or gives rights is a scope, and a scope that reads lets nobody call a route that
//! writes; so no machine needs a second person's word (docs/decisions/049). Only whoever may do a thing may let a machine do it.

pub mod routes;
mod store;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::service_keys::{self, Stored};
use crate::identity::staff::StaffMember;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

pub use store::{Account, Key};

pub const ACCOUNTS_MAX: i64 = 100;
/// Valid at once, of an account.
pub const KEYS_MAX: i64 = 10;

text_enum! {
    /// What a machine may be allowed to do: permissions of staff by their names.
    #[schema(as = ServiceScope)]
    pub enum Scope {
        UsersRead = "users.read",
        TransactionsRead = "transactions.read",
        AdjustmentsRead = "adjustments.read",
        JournalsRead = "journals.read",
        HeldRead = "held.read",
        ReconciliationRead = "reconciliation.read",
        PeriodsRead = "periods.read",
        WebhookEndpointsRead = "webhook_endpoints.read",
        /// Endpoints are its own business: it may make, change and delete them, too.
        WebhookEndpointsManage = "webhook_endpoints.manage",
        WebhookEndpointsReplay = "webhook_endpoints.replay",
    }
}

/// What an account is, or is to be; `None` leaves what it has.
pub struct AccountChange {
    pub name: Option<String>,
    pub scopes: Option<Vec<Scope>>,
    pub enabled: Option<bool>,
}

pub struct NewAccount {
    /// The same for whoever takes the call over.
    pub id: Uuid,
    pub name: String,
    pub scopes: Vec<Scope>,
}

/// For which account, or in the place of which key, a key is made; `id` is that of the new one, the same for whoever takes the call over.
pub struct Wanted {
    pub of: Uuid,
    pub id: Uuid,
}

/// A key as it is shown, once.
pub struct NewKey {
    pub id: Uuid,
    pub key: SecretString,
    pub expires_at: DateTime,
}

/// The account; where the same call has made it before, as it is.
pub async fn create(app: &App, by: &StaffMember, new: &NewAccount) -> Result<Account> {
    let id = new.id;
    let mut tx = app.db.begin().await?;
    store::lock(&mut *tx).await?;
    if let Some(made) = store::find(&mut *tx, id).await? {
        return Ok(made);
    }
    if store::count(&mut *tx).await? >= ACCOUNTS_MAX {
        return Err(Error::field("name", "there are 100 service accounts: use one of them"));
    }
    store::insert(&mut *tx, new, by.id, app.clock.now()).await?;
    let entry = Entry::of(&by.actor, "service_account.created", "service_account", id);
    audit::record(app, &mut *tx, entry.with(json!({"scopes": new.scopes}))).await?;
    tx.commit().await?;
    find(app, id).await
}

/// What is taken away is gone with the machine's next call.
pub async fn change(app: &App, actor: &Actor, id: Uuid, change: &AccountChange) -> Result<Account> {
    let mut tx = app.db.begin().await?;
    store::lock(&mut *tx).await?;
    let before = store::find(&mut *tx, id).await?.ok_or(Error::NotFound("service account"))?;
    store::change(&mut *tx, id, change, app.clock.now()).await?;
    let after = store::find(&mut *tx, id).await?.ok_or(Error::NotFound("service account"))?;
    let audit_view = |account: &Account| json!({"scopes": account.scopes, "enabled": account.enabled});
    let entry = Entry::of(actor, "service_account.changed", "service_account", id);
    audit::record(app, &mut *tx, entry.change(audit_view(&before), audit_view(&after))).await?;
    tx.commit().await?;
    Ok(after)
}

/// A new key. One that the same call has made before, and nobody was shown, is another from now on.
pub async fn add_key(app: &App, actor: &Actor, wanted: Wanted, life: TimeDelta) -> Result<NewKey> {
    let mut tx = app.db.begin().await?;
    store::lock(&mut *tx).await?;
    if let Some(new) = replace_key(app, &mut tx, actor, wanted.id).await? {
        tx.commit().await?;
        return Ok(new);
    }
    store::find(&mut *tx, wanted.of).await?.ok_or(Error::NotFound("service account"))?;
    let new = insert_key(app, &mut tx, &wanted, life).await?;
    let entry = Entry::of(actor, "service_account.key_added", "service_account", wanted.of);
    audit::record(app, &mut *tx, entry.with(json!({"key": new.id, "expires_at": new.expires_at}))).await?;
    tx.commit().await?;
    Ok(new)
}

/// A new key that lives as long as the old one did; the old one ends after the overlap, if not before. One that the same call has made before,
/// and nobody was shown, is another from now on.
pub async fn rotate_key(app: &App, actor: &Actor, wanted: Wanted, overlap: TimeDelta) -> Result<NewKey> {
    let (now, Wanted { of: key_id, id }) = (app.clock.now(), wanted);
    let mut tx = app.db.begin().await?;
    store::lock(&mut *tx).await?;
    if let Some(new) = replace_key(app, &mut tx, actor, id).await? {
        tx.commit().await?;
        return Ok(new);
    }
    let old = store::find_key(&mut *tx, key_id, now).await?.ok_or(Error::NotFound("key"))?;
    let new_key = Wanted { of: old.service_account_id, id };
    let new = insert_key(app, &mut tx, &new_key, old.expires_at - old.created_at).await?;
    store::end_key(&mut *tx, key_id, now + overlap).await?;
    let entry = Entry::of(actor, "service_account.key_rotated", "service_account", old.service_account_id);
    audit::record(app, &mut *tx, entry.with(json!({"old": key_id, "key": new.id, "old_until": now + overlap}))).await?;
    tx.commit().await?;
    Ok(new)
}

pub async fn revoke_key(app: &App, actor: &Actor, key_id: Uuid) -> Result<()> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let account = store::revoke_key(&mut *tx, key_id, now).await?.ok_or(Error::NotFound("key"))?;
    let entry = Entry::of(actor, "service_account.key_revoked", "service_account", account);
    audit::record(app, &mut *tx, entry.with(json!({"key": key_id}))).await?;
    tx.commit().await?;
    Ok(())
}

async fn insert_key(app: &App, tx: &mut PgConnection, wanted: &Wanted, life: TimeDelta) -> Result<NewKey> {
    let (now, id, account_id) = (app.clock.now(), wanted.id, wanted.of);
    if store::count_keys(&mut *tx, account_id, now).await? >= KEYS_MAX {
        return Err(Error::field("body", "the service account has 10 valid keys: revoke one first"));
    }
    let (key, Stored { hash, hint }) = service_keys::new_key();
    let expires_at = now + life;
    store::insert_key(tx, (id, account_id), (&hash, &hint), now, expires_at).await?;
    Ok(NewKey { id, key, expires_at })
}

/// Another one in the place of the one with this id, which the same call has made before, on the record; `None` where there is none.
///
/// # Errors
/// [`Error::StaleState`] where somebody was shown it after all and uses it, or it was revoked.
async fn replace_key(app: &App, tx: &mut PgConnection, actor: &Actor, id: Uuid) -> Result<Option<NewKey>> {
    let Some(made) = store::find_any_key(&mut *tx, id).await? else { return Ok(None) };
    if made.revoked_at.is_some() || made.last_used_at.is_some() {
        return Err(Error::StaleState);
    }
    let (key, Stored { hash, hint }) = service_keys::new_key();
    store::replace_key(&mut *tx, id, (&hash, &hint)).await?;
    let entry = Entry::of(actor, "service_account.key_replaced", "service_account_key", id);
    audit::record(app, &mut *tx, entry).await?;
    Ok(Some(NewKey { id, key, expires_at: made.expires_at }))
}

pub async fn find(app: &App, id: Uuid) -> Result<Account> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("service account"))
}

pub async fn list(app: &App) -> Result<Vec<Account>> {
    Ok(store::list(&app.db).await?)
}

/// The newest first, ended ones too.
pub async fn keys(app: &App, id: Uuid) -> Result<Vec<Key>> {
    Ok(store::keys(&app.db, id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::permissions::{ALL, Role, needs_step_up};

    #[test]
    fn a_machine_reads_and_keeps_its_endpoints_and_nothing_more() {
        for scope in Scope::ALL {
            let roles = ALL.iter().find(|(name, _)| *name == scope.name()).map(|(_, roles)| *roles);
            assert!(roles.is_some_and(|roles| roles.contains(&Role::Admin)), "{} is a permission", scope.name());
            let own = scope.name().starts_with("webhook_endpoints.");
            assert!(own || scope.name().ends_with(".read") && !needs_step_up(scope.name()), "{}", scope.name());
        }
        assert!(Scope::parse("audit.read").is_none(), "who did what, and from where");
    }
}
