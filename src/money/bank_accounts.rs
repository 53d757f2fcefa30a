//! Where a customer's withdrawals go. Number, branch and holder are encrypted (`encryption`); a deleted account is only hidden,
//! because withdrawals refer to it for ever.
//!
//! The same account (number and branch) of the same customer is there once: known by a fingerprint, a MAC under a key that comes from the
//! data key, so that no copy of the database says whose number it is. A repeat with the same `Idempotency-Key` is answered as before;
//! whether it is the same request, the details themselves say.

mod branch_codes;
pub mod rotation;
pub mod routes;
mod store;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Entry};
use crate::identity::mails::{self, Kind};
use crate::identity::{caller::Caller, totp, users};
use crate::platform::batcher::LockWait;
use crate::platform::clock::DateTime;
use crate::platform::encryption::{CannotDecrypt, Encrypted};
use crate::platform::error::{Error, Result};
use crate::platform::http::{IdempotencyKey, appears};

/// More than anybody needs; keeps one caller from filling the table.
const ACCOUNTS_MAX: i64 = 50;
/// Stands where something was.
const ERASED: &str = "erased";

/// What is encrypted. The field names are stored: they may be added to, not changed.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct Details {
    pub account_number: String,
    pub branch_code: String,
    pub account_holder: String,
}

pub struct BankAccount {
    pub id: Uuid,
    pub bank_name: String,
    pub details: Details,
    pub created_at: DateTime,
}

pub struct NewBankAccount {
    pub bank_name: String,
    pub details: Details,
}

pub struct Added {
    pub account: BankAccount,
    pub replayed: bool,
}

pub use branch_codes::{BANKS, Bank};

impl Details {
    /// Under each data key, the present one's first: what was added before a key was changed is known by that one.
    fn fingerprints(&self, app: &App, user_id: Uuid) -> Vec<Vec<u8>> {
        let text = format!("{} {}", self.branch_code, self.account_number);
        app.config.data_keys.fingerprints("bank account", user_id, &text)
    }

    /// The last four digits, or fewer of a short number: never more than half of it.
    pub fn masked(&self) -> String {
        masked(last_four(&self.account_number))
    }

    /// Whether these are the digits that were shown.
    pub fn ends_in(&self, shown: &str) -> bool {
        last_four(&self.account_number) == shown
    }
}

pub fn masked(last_four: &str) -> String {
    format!("****{}", last_four.trim_start_matches('*'))
}

fn last_four(number: &str) -> &str {
    let shown = (number.len() / 2).clamp(1, 4);
    &number[number.len() - shown..]
}

/// The account that the customer's key made before, if it was the same request.
///
/// # Errors
/// [`Error::KeyReused`] when the key belongs to another request.
async fn find_repeat(app: &App, user_id: Uuid, new: &NewBankAccount, key: &IdempotencyKey) -> Result<Option<Added>> {
    let found = store::find_by_key(&app.db, user_id, key.as_str()).await?;
    found.map(|row| repeat(app, row, new)).transpose()
}

fn repeat(app: &App, row: store::Row, new: &NewBankAccount) -> Result<Added> {
    let account = decrypted(app, row)?;
    let is_same = account.details == new.details && account.bank_name == new.bank_name;
    if is_same { Ok(Added { account, replayed: true }) } else { Err(Error::KeyReused) }
}

/// `POST /v1/bank-accounts`. A code counts once, and an e-mail may have to be verified since: a repeat is answered before either.
///
/// # Errors
/// [`Error::EmailNotVerified`], [`Error::InvalidCredentials`], and as [`add`].
pub async fn request(
    app: &App,
    caller: &Caller,
    new: NewBankAccount,
    code: Option<SecretString>,
    key: Option<IdempotencyKey>,
) -> Result<Added> {
    if let Some(key) = &key
        && let Some(repeat) = find_repeat(app, caller.user_id, &new, key).await?
    {
        return Ok(repeat);
    }
    caller.require_verified_email(app).await?;
    match (totp::ask(app, caller, code.as_ref()).await, &key) {
        // The same call at the same moment may have used the code up.
        (Err(Error::InvalidCredentials), Some(key)) => {
            let repeat = appears(|| find_repeat(app, caller.user_id, &new, key)).await?;
            repeat.ok_or(Error::InvalidCredentials)
        }
        (asked, key) => {
            asked?;
            add(app, caller, new, key.as_ref()).await
        }
    }
}

/// On the record, as where money may go is a decision about money.
///
/// # Errors
/// [`Error::BankAccountExists`] when the customer has it already; [`Error::KeyReused`] when the key belongs to another request.
pub async fn add(app: &App, caller: &Caller, new: NewBankAccount, key: Option<&IdempotencyKey>) -> Result<Added> {
    let account = BankAccount {
        id: app.clock.row_id(),
        bank_name: new.bank_name.clone(),
        details: new.details.clone(),
        created_at: app.clock.now(),
    };
    let fingerprints = account.details.fingerprints(app, caller.user_id);
    let plain = serde_json::to_vec(&account.details).map_err(Error::internal)?;
    let encrypted = app.config.data_keys.encrypt(account.id, &plain).map_err(Error::internal)?;
    let row = store::Row {
        id: account.id,
        details: encrypted.bytes,
        key_id: encrypted.key_id,
        bank_name: account.bank_name.clone(),
        created_at: account.created_at,
    };
    let known_by = store::KnownBy {
        last_four: last_four(&account.details.account_number),
        fingerprint: fingerprints.first().map(Vec::as_slice),
        key: key.map(IdempotencyKey::as_str),
    };
    let mut tx = app.db.begin().await?;
    // One after the other: what is counted stays so.
    if !users::lock_unless_erased(&mut *tx, caller.user_id).await? {
        return Err(Error::Unauthenticated);
    }
    if let Some(key) = key
        && let Some(row) = store::find_by_key(&mut *tx, caller.user_id, key.as_str()).await?
    {
        return repeat(app, row, &new);
    }
    if let Some(id) = store::find_same(&mut *tx, caller.user_id, &fingerprints).await? {
        return Err(Error::BankAccountExists { id });
    }
    if !store::insert(&mut *tx, caller.user_id, &row, &known_by, ACCOUNTS_MAX).await? {
        return Err(Error::field(
            "account_number",
            format!(
                "you have {ACCOUNTS_MAX} bank accounts, with those added and deleted within a day; delete an older one first"
            ),
        ));
    }
    audit::record(app, &mut *tx, Entry::of(&caller.actor(), "bank_account.added", "bank_account", row.id)).await?;
    mails::notify(app, &mut *tx, Kind::BankAccountAdded, caller.user_id).await?;
    tx.commit().await?;
    Ok(Added { account, replayed: false })
}

pub async fn list(app: &App, user_id: Uuid) -> Result<Vec<BankAccount>> {
    store::list_for(&app.db, user_id).await?.into_iter().map(|row| decrypted(app, row)).collect()
}

/// Every one, also those that were deleted: for whoever is to be told all that we hold.
pub async fn list_with_deleted(app: &App, user_id: Uuid) -> Result<Vec<BankAccount>> {
    store::list_with_deleted(&app.db, user_id).await?.into_iter().map(|row| decrypted(app, row)).collect()
}

/// Takes out of every one of a user's where it was; withdrawals go on referring to it.
pub async fn erase(app: &App, tx: &mut PgConnection, user_id: Uuid) -> Result<()> {
    let nothing = || ERASED.to_owned();
    let details = Details { account_number: nothing(), branch_code: nothing(), account_holder: nothing() };
    let plain = serde_json::to_vec(&details).map_err(Error::internal)?;
    for row in store::list_with_deleted(&mut *tx, user_id).await? {
        let encrypted = app.config.data_keys.encrypt(row.id, &plain).map_err(Error::internal)?;
        store::erase(&mut *tx, row.id, &encrypted, ERASED, app.clock.now()).await?;
    }
    Ok(())
}

pub async fn require(app: &App, user_id: Uuid, id: Uuid) -> Result<()> {
    if store::exists(&app.db, user_id, id).await? { Ok(()) } else { Err(Error::NotFound("bank account")) }
}

/// How long an account still counts as new; `None` = it does not. When it was added stands in its id.
pub fn cooling(app: &App, id: Uuid) -> Option<TimeDelta> {
    let hours = app.config.bank_account_cooling?;
    let added = id.get_timestamp().map(|at| i64::try_from(at.to_unix().0).unwrap_or(i64::MAX));
    // An id that says nothing is none of ours: then it stays new.
    let age = added.map_or(TimeDelta::zero(), |at| TimeDelta::seconds(app.clock.now().timestamp().saturating_sub(at)));
    let left = hours - age;
    (left > TimeDelta::zero()).then_some(left)
}

/// The details for a payout, also of an account that was deleted after the withdrawal was asked for.
pub async fn details(app: &App, id: Uuid) -> Result<Details> {
    let row = app.batchers.look_up(app, id, by_id).await?.ok_or(Error::NotFound("bank account"))?;
    Ok(decrypted(app, row)?.details)
}

pub async fn delete(app: &App, caller: &Caller, id: Uuid) -> Result<()> {
    let mut tx = app.db.begin().await?;
    if !store::delete(&mut *tx, caller.user_id, id, app.clock.now()).await? {
        return Err(Error::NotFound("bank account"));
    }
    audit::record(app, &mut *tx, Entry::of(&caller.actor(), "bank_account.deleted", "bank_account", id)).await?;
    tx.commit().await?;
    Ok(())
}

async fn by_id(app: App, lock_wait: LockWait, ids: Vec<Uuid>) -> Result<Vec<(Uuid, store::Row)>> {
    Ok(store::find_all(app.batch_db.of(lock_wait), &ids).await?.into_iter().map(|row| (row.id, row)).collect())
}

fn decrypted(app: &App, row: store::Row) -> Result<BankAccount> {
    let encrypted = Encrypted { key_id: row.key_id, bytes: row.details };
    let plain = app.config.data_keys.decrypt(row.id, &encrypted).map_err(Error::internal)?;
    // The error of the library would quote what it cannot read, and go into the log.
    let details = serde_json::from_slice(&plain).map_err(|_| Error::internal(CannotDecrypt))?;
    Ok(BankAccount { id: row.id, bank_name: row.bank_name, details, created_at: row.created_at })
}

#[cfg(test)]
mod tests {
    use super::last_four;

    #[test]
    fn a_mask_never_shows_more_than_half() {
        assert_eq!(last_four("62000000123"), "0123");
        assert_eq!(last_four("123456"), "456");
        assert_eq!(last_four("1234"), "34");
    }
}
