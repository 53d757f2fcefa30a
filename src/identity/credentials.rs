//! Passwords that were forgotten (a link by mail, and all sessions end) or are to be changed (signed in, and all others end).
//!
//! Three doors must stay shut here. `forgot` does the same for every address, so that nobody learns who has an account.
//! A link works once: it is made over the hash that its use replaces. And an access token that somebody stole is no way
//! to guess a password: `prove` counts its guesses by user.
//!
//! A new password ends what the old one began: sessions, links that did not go out yet, an e-mail that was to be changed, a second factor
//! that was to be enrolled. Whoever knew the old one finishes none of it.

pub mod routes;

use secrecy::SecretString;
use serde_json::json;
use sqlx::PgExecutor;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::{Caller, Visitor};
use crate::identity::mails::{self, Kind, To};
use crate::identity::sessions::{self, Ending};
use crate::identity::totp;
use crate::identity::users::{self, Email, User};
use crate::platform::error::{Error, Result};
use crate::platform::tokens::{Device, LinkToken};
use crate::platform::{hashing::Priority, rate_limits::Class};

struct Consequence<'a> {
    actor: &'a Actor,
    action: &'static str,
    how: Ending,
    /// The caller's own session goes on.
    but: Option<uuid::Uuid>,
}

/// Sends a link to whoever has this e-mail. Nothing of what is done here depends on whether anybody has.
pub async fn forgot(app: &App, visitor: &Visitor, email: &Email) -> Result<()> {
    visitor.quota.count(app, Class::MailsAsked, &visitor.address).await?;
    // By the address itself: whoever makes up others of the same mailbox, which are nobody's, takes nothing from it. What reaches a mailbox
    // by accounts that nobody has proven is counted when it is sent.
    visitor.quota.count(app, Class::MailsTo, &format!("reset:{}", email.bucket())).await?;
    mails::queue(app, &app.db, Kind::PasswordReset, To::Address(email.as_str())).await?;
    count(app, "asked_for");
    Ok(())
}

/// Sets a new password by the link of a mail, and ends every session of the user. Gives out what makes the device known: whoever
/// came here because guesses of others slow the sign-in down is not slowed down by them any more.
pub async fn reset(
    app: &App,
    visitor: &Visitor,
    token: Option<LinkToken>,
    new_password: SecretString,
) -> Result<Device> {
    let whose = token.as_ref().map_or_else(|| "unknown".to_owned(), |token| token.user_id.to_string());
    let user = match users::of_link(app, Kind::PasswordReset, token).await {
        Err(spent @ Error::Invalid(_)) => {
            let nobody = Actor::nobody(visitor.origin.clone());
            audit::record_refusal(app, Entry::of(&nobody, "user.password_reset_refused", "user", whose)).await?;
            return Err(spent);
        }
        user => user?,
    };
    let hash = users::new_password(app, &user, "new_password", new_password).await?;
    let actor = Actor::user(user.id, None, visitor.origin.clone());
    let then = Consequence { actor: &actor, action: "user.password_reset", how: Ending::PasswordReset, but: None };
    let device = match set(app, &user, &hash, then).await {
        // Somebody used the same link a moment ago.
        Err(Error::StaleState) => Err(users::spent_link()),
        other => other,
    }?;
    count(app, "reset");
    Ok(device)
}

/// Sets a new password for somebody who knows the present one, and ends the user's other sessions. The old password's devices are
/// strangers then; gives out what makes this one known.
pub async fn change(app: &App, caller: &Caller, current: SecretString, new: SecretString) -> Result<Device> {
    let user = prove(app, caller, current, "user.password_change_refused").await?;
    let hash = users::new_password(app, &user, "new_password", new).await?;
    let (actor, but) = (caller.actor(), Some(caller.session_id));
    let then = Consequence { actor: &actor, action: "user.password_changed", how: Ending::PasswordChanged, but };
    let device = set(app, &user, &hash, then).await?;
    count(app, "changed");
    Ok(device)
}

/// The caller, who knows the password too: a token that somebody stole changes nothing that lasts. A wrong one is on record as
/// `refused`. What is done by it holds it ([`hold`]).
pub async fn prove(app: &App, caller: &Caller, password: SecretString, refused: &'static str) -> Result<User> {
    // By user, not by e-mail: those who guess without a token cannot keep its owner from changing the password.
    let bucket = format!("user:{}", caller.user_id);
    caller.quota.count(app, Class::Guess, &bucket).await?;
    caller.quota.count(app, Class::GuessLong, &bucket).await?;
    // By where it comes from, too: with accounts of one's own nobody crowds out those whose devices are known.
    if let Some(address) = &caller.origin.address {
        caller.quota.count(app, Class::Auth, &format!("prove:{address}")).await?;
    }
    let user = users::find(app, caller.user_id).await?;
    if users::has_password(app, Priority::Known, &user, password).await? {
        // Whatever is refused behind it: somebody knew it.
        audit::record(app, &app.db, Entry::of(&caller.actor(), "user.password_proven", "user", user.id)).await?;
        return Ok(user);
    }
    audit::record_refusal(app, Entry::of(&caller.actor(), refused, "user", user.id)).await?;
    count(app, "refused");
    Err(Error::InvalidCredentials)
}

/// The password that was proven is still the one, until the end of the transaction: it may have become another since.
///
/// # Errors
/// [`Error::InvalidCredentials`].
pub async fn hold(db: impl PgExecutor<'_>, user: &User) -> Result<()> {
    if users::hold_password(db, user).await? { Ok(()) } else { Err(Error::InvalidCredentials) }
}

/// The password, the end of what the old one began and the record of it: all or nothing. Gives out what makes a device known, for the new
/// password.
async fn set(app: &App, user: &User, hash: &str, then: Consequence<'_>) -> Result<Device> {
    let mut tx = app.db.begin().await?;
    if !users::set_password(&mut *tx, user, hash).await? {
        return Err(Error::StaleState);
    }
    mails::withdraw_links(app, &mut *tx, &user.holder()).await?;
    // Before the sessions, as whoever ends an enrolment locks them.
    totp::forget_begun(&mut *tx, user.id).await?;
    let ended = sessions::end_all(app, &mut *tx, user.id, then.but, then.how).await?;
    let entry = Entry::of(then.actor, then.action, "user", user.id);
    audit::record(app, &mut *tx, entry.with(json!({"sessions_ended": ended.ids.len()}))).await?;
    mails::notify(app, &mut *tx, Kind::PasswordChanged, user.id).await?;
    tx.commit().await?;
    ended.announce(app);
    Ok(app.tokens.new_device(&user.email, hash))
}

fn count(app: &App, outcome: &str) {
    app.metrics.passwords.with_label_values(&[outcome]).inc();
}
