//! Sign-ins. A session is a family of refresh tokens; each is used once and makes its successor, and a logout ends the family.
//!
//! A token that was rotated and comes again is either another tab (within ten seconds: it gets the very same successor) or somebody's
//! copy: then the whole family ends. Tabs that are restored at once come with the old token and with its successor, in any order,
//! and the answer that arrives last decides which cookie stays. So a successor rests: for twice those ten seconds it is answered
//! with itself, and whichever cookie stays is the newest.
//!
//! Staff with a second factor show a code of it to sign in, and their sessions end after `STAFF_SESSION_HOURS` however they are renewed.

pub mod routes;
mod store;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::{Caller, Visitor};
use crate::identity::mailbox;
use crate::identity::mails::{self, Kind};
use crate::identity::totp;
use crate::identity::users::{self, Email, Proof, User};
use crate::platform::error::{Error, Reason, Result};
use crate::platform::tokens::Claims;
use crate::platform::tokens::{ACCESS_SECS, Device, REFRESH_SECS, RefreshToken};
use crate::platform::{
    clock::DateTime, hashing::Priority, permissions::Role, queue, rate_limits::Class, text_enum::text_enum,
};

pub use store::Session;

use store::{SessionOf, Token};

const GRACE: TimeDelta = TimeDelta::seconds(10);
/// For how long a successor makes none of its own. Longer than the grace by what an answer may be late.
const REST: TimeDelta = TimeDelta::seconds(20);
/// Rows of one statement: little enough that nobody waits for their locks.
const BATCH: i64 = 1000;
/// Of one person, the newest.
const LISTED_MAX: i64 = 100;

text_enum! {
    /// How a session ends before its time, as the metric has it.
    pub enum Ending {
        LoggedOut = "logged_out",
        Revoked = "revoked",
        /// By staff, for the customer's safety.
        Staff = "staff",
        TokenReused = "token_reused",
        PasswordReset = "password_reset",
        PasswordChanged = "password_changed",
        EmailChanged = "email_changed",
        SecondFactorReset = "second_factor_reset",
        Operator = "operator",
        Erased = "erased",
    }
}

pub struct SignedIn {
    pub access_token: String,
    /// How long it lives: less than usual at the end of a session.
    pub access_secs: i64,
    pub refresh_token: RefreshToken,
    pub user: User,
}

pub struct Attempt {
    pub email: Email,
    pub password: SecretString,
    /// Of the second factor, or a recovery code.
    pub totp_code: Option<SecretString>,
    /// What came under the name of ours.
    pub devices: Vec<Device>,
}

/// What a new session begins with.
struct Opening {
    with_code: bool,
    on_known_device: bool,
}

/// Also gives out what makes the device known from now on.
pub async fn login(app: &App, visitor: &Visitor, attempt: Attempt) -> Result<(SignedIn, Device)> {
    let email = attempt.email;
    // Before anything is looked up for it: cookies cost nothing to make. Where too many come, whoever brings one is as anybody without.
    let cookies = format!("cookie:{}", visitor.address);
    let is_looked_at = attempt.devices.is_empty() || visitor.quota.has_room(app, Class::Auth, &cookies).await?;
    let devices = if is_looked_at { attempt.devices } else { Vec::new() };
    let known = users::known_device(app, &email, devices).await?;
    let priority = slow_down(app, visitor, &email, known.as_ref()).await?;
    let user = match users::authenticate(app, priority, &email, attempt.password).await? {
        Proof::Right(user) => user,
        Proof::Wrong(user) => return Err(refused(app, visitor, user, Error::InvalidCredentials).await?),
    };
    let with_code = show_second_factor(app, visitor, &user, attempt.totp_code).await?;
    let opening = Opening { with_code, on_known_device: known.is_some() };
    // A hash that was made anew on the way makes a new device token necessary.
    let device = known.filter(|device| user.knows(app, device)).unwrap_or_else(|| user.new_device(app));
    Ok((open(app, visitor, user, opening).await?, device))
}

/// Whether the person has shown one. Who has none, or is not asked for it, comes without: what staff may do then, `staff` decides.
async fn show_second_factor(app: &App, visitor: &Visitor, user: &User, code: Option<SecretString>) -> Result<bool> {
    if !totp::is_asked_at_sign_in(app, user).await? {
        return Ok(false);
    }
    let Some(code) = code else {
        return Err(refused(app, visitor, Some(user.id), Error::TotpRequiredToSignIn).await?);
    };
    let actor = Actor::nobody(visitor.origin.clone());
    if totp::check(app, &visitor.quota, &actor, user.id, &code).await? {
        return Ok(true);
    }
    Err(refused(app, visitor, Some(user.id), Error::InvalidCredentials).await?)
}

/// Guessing gets slower and slower, by address and by account. It must not shut out the person whose account it is: one who
/// comes on a known device is counted among those who do: by device, by account and by address, so that neither a copied cookie
/// nor the cookies of many accounts of one's own are a way around. Who comes on no known device can have the password reset by mail.
async fn slow_down(app: &App, visitor: &Visitor, email: &Email, known: Option<&Device>) -> Result<Priority> {
    if let Some(device) = known {
        visitor.quota.count(app, Class::Auth, &format!("device:{}", visitor.address)).await?;
        for who in [format!("device:{}", email.bucket()), mailbox::hashed(device.as_str())] {
            visitor.quota.count(app, Class::Device, &who).await?;
            visitor.quota.count(app, Class::DeviceLong, &who).await?;
        }
        return Ok(Priority::Known);
    }
    visitor.quota.count(app, Class::Auth, &visitor.address).await?;
    let account = email.bucket();
    visitor.quota.count(app, Class::Guess, &account).await?;
    visitor.quota.count(app, Class::GuessLong, &account).await?;
    Ok(Priority::Unknown)
}

async fn open(app: &App, visitor: &Visitor, user: User, opening: Opening) -> Result<SignedIn> {
    let now = app.clock.now();
    let session = Session {
        id: app.clock.row_id(),
        current: true,
        user_agent: visitor.user_agent.clone(),
        address: Some(visitor.address.clone()),
        created_at: now,
        expires_at: end_of(app, &user, now, now),
    };
    let refresh_token = RefreshToken::random();
    let mut tx = app.db.begin().await?;
    // A change of the password ends the sessions that there are. One that the old password opens is not to follow it.
    if !users::hold_password(&mut *tx, &user).await? {
        tx.rollback().await?;
        return Err(refused(app, visitor, Some(user.id), Error::InvalidCredentials).await?);
    }
    store::insert(&mut *tx, user.id, &session).await?;
    totp::mark(&mut *tx, session.id, opening.with_code, now).await?;
    store::insert_token(&mut *tx, &refresh_token.hash(), session.id, now, None).await?;
    let actor = Actor::user(user.id, Some(user.role), visitor.origin.clone());
    audit::record(app, &mut *tx, Entry::of(&actor, "session.opened", "session", session.id)).await?;
    if !opening.on_known_device {
        mails::notify(app, &mut *tx, Kind::NewDevice, user.id).await?;
    }
    tx.commit().await?;
    app.metrics.sign_ins.with_label_values(&["opened"]).inc();
    Ok(signed_in(app, user, (session.id, session.expires_at), refresh_token))
}

/// When a session that is renewed now ends: those of staff some hours after they were begun, however often they are renewed.
fn end_of(app: &App, user: &User, begun_at: DateTime, now: DateTime) -> DateTime {
    let renewed = now + TimeDelta::seconds(REFRESH_SECS);
    match app.config.staff.session {
        Some(session) if user.role != Role::User => renewed.min(begun_at + session),
        Some(_) | None => renewed,
    }
}

/// Records that no session was opened or renewed, for whom if there is such a user, and is what the caller is told. That a code was asked for,
/// too: somebody knew the password.
async fn refused(app: &App, visitor: &Visitor, user: Option<Uuid>, told: Error) -> Result<Error> {
    let (action, outcome) = match told {
        Error::TotpRequiredToSignIn => ("session.code_asked", "code_asked"),
        Error::Unauthenticated => ("session.refresh_refused", "refresh_refused"),
        _ => ("session.refused", "refused"),
    };
    let object = user.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    let actor = Actor::nobody(visitor.origin.clone());
    audit::record_refusal(app, Entry::of(&actor, action, "user", object)).await?;
    app.metrics.sign_ins.with_label_values(&[outcome]).inc();
    Ok(told)
}

/// Exchanges a refresh token for its successor and a new access token. Of several that came under the name of ours, the one that is.
/// The caller is not told what is wrong with a token.
pub async fn refresh(app: &App, visitor: &Visitor, tokens: &[RefreshToken]) -> Result<SignedIn> {
    count_call(app, visitor).await?;
    let (token, found) = ours(app, visitor, tokens).await?;
    let user = users::find(app, found.user_id).await?;
    let ends_at = end_of(app, &user, found.begun_at, app.clock.now());
    if ends_at <= app.clock.now() {
        return Err(refused(app, visitor, Some(user.id), Error::Unauthenticated).await?);
    }
    let rests = found.rotated_at.is_none() && found.rests_until.is_some_and(|until| app.clock.now() < until);
    let next = if rests { Some(token.clone()) } else { rotate(app, token, (found.session_id, ends_at)).await? };
    let Some(next) = next else {
        tracing::warn!(session.id = %found.session_id, "a refresh token was used again; its family is revoked");
        end(app, &Actor::nobody(visitor.origin.clone()), &found.session(), Ending::TokenReused).await?;
        return Err(Error::Unauthenticated);
    };
    app.metrics.sign_ins.with_label_values(&["refreshed"]).inc();
    Ok(signed_in(app, user, (found.session_id, ends_at), next))
}

/// Whoever is signed in does not share what guessers of passwords at the same address use up.
async fn count_call(app: &App, visitor: &Visitor) -> Result<()> {
    visitor.quota.count(app, Class::Auth, &format!("session:{}", visitor.address)).await
}

/// The token's successor; none where the token was used too long ago.
async fn rotate(
    app: &App,
    token: &RefreshToken,
    (session_id, ends_at): (Uuid, DateTime),
) -> Result<Option<RefreshToken>> {
    let (now, hash) = (app.clock.now(), token.hash());
    let successor = app.tokens.successor(token);
    let mut tx = app.db.begin().await?;
    let first = store::rotate_token(&mut *tx, &hash, now).await?;
    if first {
        store::insert_token(&mut *tx, &successor.hash(), session_id, now, Some(now + REST)).await?;
        // Whoever ended all sessions has passed over one that had run out: it is not brought back.
        if !store::extend(&mut *tx, session_id, ends_at, now).await? {
            return Err(Error::Unauthenticated);
        }
    }
    tx.commit().await?;
    if first { Ok(Some(successor)) } else { unused_successor(app, token, &hash).await }
}

/// The token of a session that lives; rather one that was not used yet. That somebody came with one of a session that is over is on record.
async fn ours<'a>(app: &App, visitor: &Visitor, tokens: &'a [RefreshToken]) -> Result<(&'a RefreshToken, Token)> {
    let (now, mut used, mut over) = (app.clock.now(), None, None);
    for token in tokens {
        match store::find_token(&app.db, &token.hash()).await? {
            Some(found) if found.revoked_at.is_some() || now >= found.expires_at => over = Some(found.user_id),
            Some(found) if found.rotated_at.is_none() => return Ok((token, found)),
            Some(found) => used = used.or(Some((token, found))),
            None => {}
        }
    }
    match used {
        Some(used) => Ok(used),
        None if over.is_none() => Err(Error::Unauthenticated),
        None => Err(refused(app, visitor, over, Error::Unauthenticated).await?),
    }
}

/// What another tab gets that comes with a token that was rotated just now: the successor that the first one got. While it rests
/// nobody has used it.
async fn unused_successor(app: &App, token: &RefreshToken, hash: &[u8]) -> Result<Option<RefreshToken>> {
    let rotated = store::find_token(&app.db, hash).await?.and_then(|token| token.rotated_at);
    if rotated.is_none_or(|at| app.clock.now() - at > GRACE) {
        return Ok(None);
    }
    for successor in app.tokens.successors(token) {
        if store::find_token(&app.db, &successor.hash()).await?.is_some_and(|next| next.rotated_at.is_none()) {
            return Ok(Some(successor));
        }
    }
    Ok(None)
}

/// Ends the sessions that refresh tokens belong to, and that of the access token; nothing happens if there is none.
pub async fn logout(app: &App, visitor: &Visitor, tokens: &[RefreshToken], access: Option<&Claims>) -> Result<()> {
    count_call(app, visitor).await?;
    if let Some(Claims { sub, sid, .. }) = access {
        let actor = Actor::user(*sub, None, visitor.origin.clone());
        end(app, &actor, &SessionOf { id: *sid, user_id: *sub }, Ending::LoggedOut).await?;
    }
    for token in tokens {
        let Some(found) = store::find_token(&app.db, &token.hash()).await? else { continue };
        let actor = Actor::user(found.user_id, None, visitor.origin.clone());
        end(app, &actor, &found.session(), Ending::LoggedOut).await?;
    }
    Ok(())
}

pub async fn list(app: &App, caller: &Caller) -> Result<Vec<Session>> {
    Ok(store::list_for(&app.db, caller.user_id, caller.session_id, app.clock.now()).await?)
}

pub async fn revoke(app: &App, caller: &Caller, session_id: Uuid) -> Result<()> {
    let session = SessionOf { id: session_id, user_id: caller.user_id };
    let ended = end(app, &caller.actor(), &session, Ending::Revoked).await?;
    if ended { Ok(()) } else { Err(Error::NotFound("session")) }
}

pub async fn revoke_others(app: &App, caller: &Caller) -> Result<usize> {
    let mut tx = app.db.begin().await?;
    let ended = end_all(app, &mut *tx, caller.user_id, Some(caller.session_id), Ending::Revoked).await?;
    let entry = Entry::of(&caller.actor(), "user.other_sessions_ended", "user", caller.user_id);
    audit::record(app, &mut *tx, entry.with(json!({"sessions_ended": ended.ids.len()}))).await?;
    tx.commit().await?;
    Ok(ended.announce(app))
}

/// All of a customer's, by staff, on the record; the customer is told. How many.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] for staff, whose sessions end with their role.
pub async fn end_customers(app: &App, actor: &Actor, user_id: Uuid) -> Result<usize> {
    if users::find(app, user_id).await?.role.is_staff() {
        return Err(Error::Forbidden(Reason::StaffAccount));
    }
    let mut tx = app.db.begin().await?;
    let ended = end_all(app, &mut *tx, user_id, None, Ending::Staff).await?;
    let entry = Entry::of(actor, "user.sessions_ended", "user", user_id);
    audit::record(app, &mut *tx, entry.with(json!({"sessions_ended": ended.ids.len()}))).await?;
    if !ended.ids.is_empty() {
        mails::notify(app, &mut *tx, Kind::SessionsEnded, user_id).await?;
    }
    tx.commit().await?;
    Ok(ended.announce(app))
}

#[must_use = "the process must hear of it when the transaction is committed"]
pub struct Ended {
    pub ids: Vec<Uuid>,
    how: Ending,
}

impl Ended {
    /// To be called after the commit: from now on this process refuses their access tokens; the others read of it.
    pub fn announce(self, app: &App) -> usize {
        for id in &self.ids {
            app.access.end(*id);
            app.metrics.sign_ins.with_label_values(&[self.how.name()]).inc();
        }
        self.ids.len()
    }
}

pub async fn end_all(
    app: &App,
    db: impl PgExecutor<'_>,
    user_id: Uuid,
    except: Option<Uuid>,
    how: Ending,
) -> Result<Ended> {
    let ids = store::revoke_all(db, user_id, except, how.name(), app.clock.now()).await?;
    Ok(Ended { ids, how })
}

/// Ends everybody's sessions in a batch behind `after`, on the record: `octoco sessions end-all`, when a key has leaked. How many, and behind
/// which to go on; `None` when that was the last. Other processes read of it, as of any end (`platform/access.rs`).
pub async fn end_everybodys(app: &App, after: Uuid) -> Result<(u64, Option<Uuid>)> {
    let mut tx = app.db.begin().await?;
    let (ended, last) = store::revoke_batch(&mut *tx, Ending::Operator.name(), app.clock.now(), (after, BATCH)).await?;
    let ended = u64::try_from(ended).map_err(Error::internal)?;
    if ended > 0 {
        let entry = Entry::of(&Actor::operator(), "session.all_ended", "session", "all");
        audit::record(app, &mut *tx, entry.with(json!({"sessions_ended": ended}))).await?;
    }
    tx.commit().await?;
    app.metrics.sign_ins.with_label_values(&[Ending::Operator.name()]).inc_by(ended);
    Ok((ended, last))
}

/// Deletes a batch of sessions, with their tokens, that ended longer ago than `RETENTION` says. That they were, and how they ended, stays in
/// the audit log. So are tokens of living ones that were used before any that still counts was made: a session goes on for years. True when
/// there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let now = app.clock.now();
    let ended = store::delete_ended(&app.db, now - app.config.retention.sessions, BATCH).await?;
    let used = store::delete_used(&app.db, now - TimeDelta::seconds(REFRESH_SECS), BATCH).await?;
    Ok([ended, used].into_iter().any(|count| queue::is_full(count, BATCH)))
}

/// Ends a session with all its tokens, on the record. False when it had ended before, or is not that user's.
async fn end(app: &App, actor: &Actor, session: &SessionOf, how: Ending) -> Result<bool> {
    let mut tx = app.db.begin().await?;
    let ended = store::revoke(&mut *tx, session, how.name(), app.clock.now()).await?;
    if ended {
        let entry = Entry::of(actor, "session.ended", "session", session.id);
        audit::record(app, &mut *tx, entry.with(json!({"user": session.user_id, "reason": how.name()}))).await?;
    }
    tx.commit().await?;
    if ended {
        app.access.end(session.id);
        app.metrics.sign_ins.with_label_values(&[how.name()]).inc();
    }
    Ok(ended)
}

fn signed_in(app: &App, user: User, (session_id, ends_at): (Uuid, DateTime), refresh_token: RefreshToken) -> SignedIn {
    let now = app.clock.now();
    let until = ends_at.min(now + TimeDelta::seconds(ACCESS_SECS));
    let access_token = app.tokens.sign_for(user.id, session_id, user.role.name(), now..until);
    SignedIn { access_token, access_secs: (until - now).num_seconds(), refresh_token, user }
}
