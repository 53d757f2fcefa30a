//! The second factor: codes of an authenticator (TOTP, RFC 6238) and recovery codes. What it is asked for is decided by `sessions`
//! (staff sign in), `staff` (their calls) and `money`; how it is enrolled and taken away by `second_factor`.
//!
//! The secret is encrypted like bank details, bound to its user. A code counts once: the time step of the last one that did is kept,
//! and moved on in the statement that takes the code. A recovery code is kept as its hash and counts once, too. Codes are
//! guessed by number, so every try is counted by user, right or wrong.

mod store;

use chrono::TimeDelta;
use ledger::Amount;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use totp_rs::{Builder, Secret, Totp};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::Caller;
use crate::identity::quota::Quota;
use crate::identity::users::{self, User};
use crate::platform::clock::DateTime;
use crate::platform::digest::sha256;
use crate::platform::encryption::Encrypted;
use crate::platform::error::{Error, Result};
use crate::platform::http::Fields;
use crate::platform::{permissions::Role, queue, rate_limits::Class};

pub use store::{Factor, SecondFactors, delete_invitation, find, forget_begun, mark};

const ISSUER: &str = "Octoco";
const SECRET_BYTES: usize = 20;
/// How long somebody has from the secret to its first code.
const ENROLMENT_LIFE: TimeDelta = TimeDelta::minutes(15);
/// As people write a recovery code down, with room for blanks.
const CODE_CHARS_MAX: usize = 40;
const RECOVERY_CODES: usize = 10;
const RECOVERY_BYTES: usize = 10;
/// Digits of a recovery code between two hyphens.
const RECOVERY_GROUP: usize = 5;
/// A sum is one of 24 hours: else many small withdrawals were a way around the threshold.
const SUM_OF: TimeDelta = TimeDelta::hours(24);
/// Of allowances that are over.
const PRUNED_AT_ONCE: i64 = 1000;

/// Whether signing in takes a code: for staff whose second factor somebody else let them enrol. One that a customer enrolled alone says
/// nothing of who came to be staff.
pub async fn is_asked_at_sign_in(app: &App, user: &User) -> Result<bool> {
    Ok(user.role != Role::User && find(&app.db, user.id).await?.is_some_and(|factor| factor.vouched_by.is_some()))
}

/// Whoever is asked for no code may send one all the same, but only a text that can be one.
pub fn check_form(field: &'static str, code: Option<&SecretString>) -> Result<()> {
    let mut fields = Fields::default();
    if let Some(code) = code {
        fields.text(field, code.expose_secret(), 1..=CODE_CHARS_MAX);
    }
    fields.finish()
}

/// A customer with a second factor shows it; who has none is not asked.
///
/// # Errors
/// [`Error::TotpRequired`] without a code, [`Error::InvalidCredentials`] for a wrong or a used one.
pub async fn ask(app: &App, caller: &Caller, code: Option<&SecretString>) -> Result<()> {
    check_form("totp_code", code)?;
    if find(&app.db, caller.user_id).await?.is_none() {
        return Ok(());
    }
    prove(app, caller, code.ok_or(Error::TotpRequired)?).await
}

/// The same for a withdrawal, if it and those of the last 24 hours that needed no code are more than may leave without one.
pub async fn ask_above_threshold(
    app: &App,
    caller: &Caller,
    (amount, key): (Amount, &str),
    code: Option<&SecretString>,
) -> Result<()> {
    check_form("totp_code", code)?;
    if find(&app.db, caller.user_id).await?.is_none() || is_allowed(app, caller.user_id, amount, key).await? {
        return Ok(());
    }
    prove(app, caller, code.ok_or(Error::TotpRequired)?).await
}

/// Takes the amount from what may leave in 24 hours without a code. One after the other: of those that race none is overlooked.
async fn is_allowed(app: &App, user_id: Uuid, amount: Amount, key: &str) -> Result<bool> {
    let Some(threshold) = app.config.customer_totp_threshold(amount.currency()) else { return Ok(false) };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    users::lock(&mut *tx, user_id).await?;
    store::forget_allowances(&mut *tx, user_id, now - SUM_OF).await?;
    let allowance = store::Allowance { user_id, key, currency: amount.currency().code(), minor: amount.minor() };
    let allowed = store::allow(&mut *tx, &allowance, threshold.minor(), now).await?;
    tx.commit().await?;
    Ok(allowed)
}

/// Nothing left by this withdrawal, so it takes nothing of what may leave without a code.
pub async fn give_back_allowance(app: &App, withdrawal: Uuid) -> Result<()> {
    Ok(store::delete_allowance(&app.db, withdrawal).await?)
}

/// Deletes a batch of what counts no more. True when there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let deleted = store::delete_allowances(&app.db, app.clock.now() - SUM_OF, PRUNED_AT_ONCE).await?;
    Ok(queue::is_full(deleted, PRUNED_AT_ONCE))
}

/// The caller knows a code.
pub async fn prove(app: &App, caller: &Caller, code: &SecretString) -> Result<()> {
    if check(app, &caller.quota, &caller.actor(), caller.user_id, code).await? {
        Ok(())
    } else {
        Err(Error::InvalidCredentials)
    }
}

/// Whether a code is right, and was not used. Right ones are used up by this; wrong ones are on record.
pub async fn check(app: &App, quota: &Quota, actor: &Actor, user_id: Uuid, code: &SecretString) -> Result<bool> {
    quota.count(app, Class::Code, &format!("user:{user_id}")).await?;
    let now = app.clock.now();
    let recovery = recovery_hash(code.expose_secret());
    let spent = match &recovery {
        Some(hash) => store::use_recovery_code(&app.db, user_id, hash, now).await?,
        None => is_next_code(app, user_id, code.expose_secret()).await?,
    };
    let action = match (spent, recovery) {
        (false, _) => "totp.refused",
        (true, Some(_)) => "totp.recovery_code_used",
        (true, None) => return Ok(true),
    };
    audit::record(app, &app.db, Entry::of(actor, action, "user", user_id)).await?;
    Ok(spent)
}

async fn is_next_code(app: &App, user_id: Uuid, code: &str) -> Result<bool> {
    let Some(encrypted) = store::secret(&app.db, user_id).await? else { return Ok(false) };
    let Some(step) = step_of(&authenticator(app, user_id, &encrypted)?, code, app.clock.now()) else {
        return Ok(false);
    };
    Ok(store::move_on(&app.db, user_id, step).await?)
}

/// The time step that the code is of: the present one, or one beside it.
fn step_of(totp: &Totp, code: &str, now: DateTime) -> Option<i64> {
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let step = totp.check(&digits, u64::try_from(now.timestamp()).ok()?)?;
    i64::try_from(step).ok()
}

fn authenticator(app: &App, user_id: Uuid, encrypted: &Encrypted) -> Result<Totp> {
    let secret = app.config.data_keys.decrypt(user_id, encrypted).map_err(Error::internal)?;
    builder(Secret::new(secret.into_boxed_slice()))
}

/// What the library says of a secret might name it.
fn builder(secret: Secret) -> Result<Totp> {
    Builder::new().with_secret(secret).build().map_err(|_| Error::internal("a secret of a wrong length"))
}

/// What an authenticator is told.
pub struct Started {
    /// Base32, for typing.
    pub secret: SecretString,
    /// For a QR code.
    pub url: SecretString,
    pub expires_at: DateTime,
}

/// A new secret for the user, who has until [`Started::expires_at`] to show a code of it. An earlier one is void.
pub async fn begin(app: &App, tx: &mut PgConnection, user: &User, vouched_by: Option<&str>) -> Result<Started> {
    let bytes = rand::random::<[u8; SECRET_BYTES]>();
    let encrypted = app.config.data_keys.encrypt(user.id, &bytes).map_err(Error::internal)?;
    let expires_at = app.clock.now() + ENROLMENT_LIFE;
    store::put_enrolment(tx, user.id, &encrypted, (vouched_by, expires_at)).await?;
    let named = Builder::new().with_secret(bytes).with_issuer(Some(ISSUER)).with_account_name(user.email.as_str());
    let totp = named.build().map_err(|_| Error::internal("an e-mail that an authenticator cannot show"))?;
    let url = totp.to_url().map_err(|_| Error::internal("an e-mail that an authenticator cannot show"))?;
    Ok(Started { secret: totp.secret().to_base32().into(), url: url.into(), expires_at })
}

/// Whether a factor that is there gives way to one that is begun: only one that nobody vouched for, to one that somebody does.
pub fn is_replaceable(there: &Factor, vouched_by: Option<&str>) -> bool {
    vouched_by.is_some() && there.vouched_by.is_none()
}

/// The first code of a secret that was begun makes it the user's second factor, in the place of any other. The recovery codes, which
/// are told this once; `None` for a wrong code.
pub async fn confirm(
    app: &App,
    tx: &mut PgConnection,
    user_id: Uuid,
    code: &SecretString,
) -> Result<Option<Vec<SecretString>>> {
    let now = app.clock.now();
    let begun = store::enrolment(&mut *tx, user_id, now).await?.ok_or(Error::StaleState)?;
    let vouched_by = begun.vouched_by.as_deref();
    // Another may have been confirmed since this one was begun.
    if store::find(&mut *tx, user_id).await?.is_some_and(|there| !is_replaceable(&there, vouched_by)) {
        return Err(Error::StaleState);
    }
    let secret = app.config.data_keys.decrypt(user_id, &begun.encrypted()).map_err(Error::internal)?;
    // By the present key: whoever changes keys looks at what is confirmed.
    let encrypted = app.config.data_keys.encrypt(user_id, &secret).map_err(Error::internal)?;
    let totp = builder(Secret::new(secret.into_boxed_slice()))?;
    let Some(step) = step_of(&totp, code.expose_secret(), now) else { return Ok(None) };
    store::put(&mut *tx, user_id, (&encrypted, vouched_by), (step, now)).await?;
    store::forget_begun(&mut *tx, user_id).await?;
    store::delete_recovery_codes(&mut *tx, user_id).await?;
    let codes: Vec<[u8; RECOVERY_BYTES]> = (0..RECOVERY_CODES).map(|_| rand::random()).collect();
    let hashes: Vec<Vec<u8>> = codes.iter().map(|code| sha256(code).to_vec()).collect();
    store::insert_recovery_codes(&mut *tx, user_id, &hashes).await?;
    Ok(Some(codes.iter().map(|code| spelled(code)).collect()))
}

/// Takes it away, with its recovery codes and what was begun. False when there was none.
pub async fn remove(tx: &mut PgConnection, user_id: Uuid) -> Result<bool> {
    store::forget_begun(&mut *tx, user_id).await?;
    store::delete_recovery_codes(&mut *tx, user_id).await?;
    Ok(store::delete(&mut *tx, user_id).await?)
}

/// The same with all else that is about the person's codes.
pub async fn erase(tx: &mut PgConnection, user_id: Uuid) -> Result<()> {
    remove(&mut *tx, user_id).await?;
    store::delete_invitation(&mut *tx, user_id).await?;
    Ok(store::delete_allowances_of(&mut *tx, user_id).await?)
}

/// `12ab3-…`: as people write it down.
fn spelled(code: &[u8]) -> SecretString {
    let digits = hex::encode(code);
    let groups: Vec<&str> =
        (0..digits.len()).step_by(RECOVERY_GROUP).map(|from| &digits[from..from + RECOVERY_GROUP]).collect();
    groups.join("-").into()
}

/// Of what may be a recovery code; `None` for anything else, a code of an authenticator above all.
fn recovery_hash(text: &str) -> Option<[u8; 32]> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let bytes = hex::decode(digits).ok()?;
    (bytes.len() == RECOVERY_BYTES).then(|| sha256(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    #[test]
    fn codes_are_those_of_rfc_6238() {
        let totp = builder(Secret::new(Box::from(*b"12345678901234567890"))).expect("the RFC's secret");
        // The last six of the RFC's eight digits (appendix B).
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924")] {
            let at = |seconds| Utc.timestamp_opt(seconds, 0).single().expect("a time");
            assert_eq!(step_of(&totp, code, at(seconds)), Some(seconds / 30));
            assert_eq!(step_of(&totp, &format!("{} {}", &code[..3], &code[3..]), at(seconds)), Some(seconds / 30));
            assert_eq!(step_of(&totp, code, at(seconds + 30)), Some(seconds / 30), "the step before");
            assert_eq!(step_of(&totp, code, at(seconds + 90)), None, "too old");
        }
    }

    #[test]
    fn a_recovery_code_is_known_however_it_is_written() {
        let code = [7; RECOVERY_BYTES];
        let spelled = spelled(&code);
        assert_eq!(spelled.expose_secret(), "07070-70707-07070-70707");
        for text in ["07070-70707-07070-70707", "0707070707 0707070707", "07070707070707070707"] {
            assert_eq!(recovery_hash(text), Some(sha256(&code)), "{text}");
        }
        for text in ["123456", "", "0707", "zz070-70707-07070-70707"] {
            assert_eq!(recovery_hash(text), None, "{text}");
        }
    }
}
