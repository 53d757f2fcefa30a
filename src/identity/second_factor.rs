//! How a second factor is enrolled, taken away, and shown again (`totp` knows the codes).
//!
//! ```text
//! customer            begin (password) ───────────────────> confirm (a code) ──> recovery codes, told once
//! staff   reset ───>  begin (password, enrolment token) ──> confirm (a code) ──> the session has permissions from now on
//!         by another admin, or octoco admin totp-reset: the token goes to the person by another way than the mailbox
//! ```
//!
//! A password alone never enrols a second factor of staff: whoever stole that of a fresh account has no token, and one that was
//! enrolled before somebody came to be staff opens nothing. The token is told to whoever gives it and is mailed to nobody:
//! who reads the mailbox can have a new password already.

pub mod routes;
mod store;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::Caller;
use crate::identity::mails::{self, Kind};
use crate::identity::sessions::{self, Ending};
use crate::identity::staff::STEP_UP_LIFE;
use crate::identity::totp::{self, Started};
use crate::identity::{credentials, users};
use crate::platform::clock::DateTime;
use crate::platform::digest::sha256;
use crate::platform::error::{Error, Reason, Result};
use crate::platform::{permissions::Role, rate_limits::Class};

const INVITATION_LIFE: TimeDelta = TimeDelta::hours(24);

/// Shows a new secret to somebody who knows the password, and, of staff, has a token.
///
/// # Errors
/// [`Error::StaleState`] where a second factor is enrolled already, unless a token takes the place of one that gives staff nothing.
pub async fn begin(app: &App, caller: &Caller, password: SecretString, token: Option<SecretString>) -> Result<Started> {
    let user = credentials::prove(app, caller, password, "totp.enrolment_refused").await?;
    let mut tx = app.db.begin().await?;
    // From here on nobody resets it: a token that was replaced meanwhile begins nothing.
    credentials::hold(&mut *tx, &user).await?;
    let vouched_by = match token {
        Some(token) => Some(invited_by(app, &mut tx, user.id, &token).await?),
        None if user.role != Role::User => return Err(Error::Forbidden(Reason::EnrolmentByAnother)),
        None => None,
    };
    let vouched_by = vouched_by.as_deref();
    if totp::find(&mut *tx, user.id).await?.is_some_and(|there| !totp::is_replaceable(&there, vouched_by)) {
        return Err(Error::StaleState);
    }
    let started = totp::begin(app, &mut tx, &user, vouched_by).await?;
    audit::record(app, &mut *tx, Entry::of(&caller.actor(), "totp.begun", "user", user.id)).await?;
    tx.commit().await?;
    Ok(started)
}

async fn invited_by(app: &App, tx: &mut PgConnection, user_id: Uuid, token: &SecretString) -> Result<String> {
    let issuer = store::issuer(tx, user_id, &hash(token), app.clock.now()).await?;
    issuer.ok_or_else(|| Error::field("enrolment_token", "does not work, or not any more: ask for a new one"))
}

/// The first code: the second factor is the caller's from now on, and this session has shown it.
pub async fn confirm(app: &App, caller: &Caller, code: &SecretString) -> Result<Vec<SecretString>> {
    caller.quota.count(app, Class::Code, &format!("user:{}", caller.user_id)).await?;
    let mut tx = app.db.begin().await?;
    let codes = totp::confirm(app, &mut tx, caller.user_id, code).await?.ok_or(Error::InvalidCredentials)?;
    totp::delete_invitation(&mut *tx, caller.user_id).await?;
    totp::mark(&mut *tx, caller.session_id, true, app.clock.now()).await?;
    audit::record(app, &mut *tx, Entry::of(&caller.actor(), "totp.enrolled", "user", caller.user_id)).await?;
    mails::notify(app, &mut *tx, Kind::SecondFactorChanged, caller.user_id).await?;
    tx.commit().await?;
    Ok(codes)
}

/// Takes the caller's own away: customers only, with password and code.
pub async fn disable(app: &App, caller: &Caller, password: SecretString, code: &SecretString) -> Result<()> {
    let user = credentials::prove(app, caller, password, "totp.disable_refused").await?;
    if user.role != Role::User {
        return Err(Error::Forbidden(Reason::EnrolmentByAnother));
    }
    totp::prove(app, caller, code).await?;
    let mut tx = app.db.begin().await?;
    credentials::hold(&mut *tx, &user).await?;
    if !totp::remove(&mut tx, user.id).await? {
        return Err(Error::StaleState);
    }
    audit::record(app, &mut *tx, Entry::of(&caller.actor(), "totp.disabled", "user", user.id)).await?;
    mails::notify(app, &mut *tx, Kind::SecondFactorChanged, user.id).await?;
    tx.commit().await?;
    Ok(())
}

/// What came of a reset.
pub struct Reset {
    /// What one of staff enrols anew with; customers need none.
    pub enrolment_token: Option<SecretString>,
    pub expires_at: Option<DateTime>,
}

/// Takes somebody's second factor away, if there is one, and ends all sessions; lets staff enrol a new one. Nobody's own.
pub async fn reset(app: &App, actor: &Actor, user_id: Uuid) -> Result<Reset> {
    if actor.is_user(user_id) {
        return Err(Error::Forbidden(Reason::OwnAccount));
    }
    let user = users::find(app, user_id).await?;
    let token = SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let expires_at = app.clock.now() + INVITATION_LIFE;
    let is_staff = user.role != Role::User;
    let mut tx = app.db.begin().await?;
    if !users::lock_unless_erased(&mut *tx, user.id).await? {
        return Err(Error::StaleState);
    }
    let removed = totp::remove(&mut tx, user.id).await?;
    totp::delete_invitation(&mut *tx, user.id).await?;
    if is_staff {
        store::invite(&mut *tx, user.id, &hash(&token), (actor.name(), expires_at)).await?;
    }
    let ended = sessions::end_all(app, &mut *tx, user.id, None, Ending::SecondFactorReset).await?;
    let what = json!({"removed": removed, "invited": is_staff, "sessions_ended": ended.ids.len()});
    audit::record(app, &mut *tx, Entry::of(actor, "totp.reset", "user", user.id).with(what)).await?;
    mails::notify(app, &mut *tx, Kind::SecondFactorChanged, user.id).await?;
    tx.commit().await?;
    ended.announce(app);
    Ok(Reset { enrolment_token: is_staff.then_some(token), expires_at: is_staff.then_some(expires_at) })
}

/// What somebody shows again.
pub enum Shown {
    Password(SecretString),
    Code(SecretString),
}

/// Shows a password or a code again: acts that need a step-up may be done until then.
pub async fn step_up(app: &App, caller: &Caller, shown: Shown) -> Result<DateTime> {
    let by_password = match shown {
        Shown::Password(password) => Some(credentials::prove(app, caller, password, "session.step_up_refused").await?),
        Shown::Code(code) => {
            totp::prove(app, caller, &code).await?;
            None
        }
    };
    let (with_code, now) = (by_password.is_none(), app.clock.now());
    let mut tx = app.db.begin().await?;
    if let Some(user) = by_password {
        credentials::hold(&mut *tx, &user).await?;
    }
    totp::mark(&mut *tx, caller.session_id, with_code, now).await?;
    let entry = Entry::of(&caller.actor(), "session.stepped_up", "session", caller.session_id);
    audit::record(app, &mut *tx, entry.with(json!({"with_code": with_code}))).await?;
    tx.commit().await?;
    Ok(now + STEP_UP_LIFE)
}

fn hash(token: &SecretString) -> [u8; 32] {
    sha256(token.expose_secret().as_bytes())
}
