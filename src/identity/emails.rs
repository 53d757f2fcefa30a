//! Proving an e-mail, and changing it: whoever has the link that we sent to an address reads its mail. It works once and for a day.
//! `REQUIRE_VERIFIED_EMAIL` decides whether anything depends on it (`identity/caller.rs`).
//!
//! A change is asked for with the password and done by the link in the mail to the new address; the old one is told. Until then
//! nothing is changed, and a new password or another change voids the link. Whether somebody has the new address is found out when
//! the mail is sent: asking is answered alike for every address, and somebody who has it is told of the try instead.

pub mod routes;
mod store;

use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::{Caller, Visitor};
use crate::identity::mails::{self, Holder, Kind, To};
use crate::identity::quota::Quota;
use crate::identity::users::{self, Email, User};
use crate::identity::{credentials, sessions, sessions::Ending};
use crate::platform::error::{Error, Result};
use crate::platform::{rate_limits::Class, tokens::LinkToken};
use secrecy::SecretString;

/// The address that somebody asked to have, and the session that asked: it goes on.
struct Change {
    new_email: String,
    session_id: Uuid,
}

/// By the link that came with a registration, or with a change.
pub async fn verify(app: &App, visitor: &Visitor, token: Option<LinkToken>) -> Result<()> {
    match users::of_link(app, Kind::EmailVerification, token.clone()).await {
        Ok(user) => note(app, visitor, &user).await,
        Err(Error::Invalid(_)) => change_by_link(app, visitor, token).await,
        Err(error) => Err(error),
    }
}

async fn note(app: &App, visitor: &Visitor, user: &User) -> Result<()> {
    let mut tx = app.db.begin().await?;
    if !users::set_verified(&mut *tx, user, app.clock.now()).await? {
        return Err(users::spent_link());
    }
    let actor = Actor::user(user.id, None, visitor.origin.clone());
    let entry = Entry::of(&actor, "user.email_verified", "user", user.id);
    audit::record(app, &mut *tx, entry.change(json!({"verified": false}), json!({"verified": true}))).await?;
    tx.commit().await?;
    Ok(())
}

/// Nothing is sent when the e-mail is verified already. A mailbox is not to be flooded by its own owner's token either.
pub async fn resend(app: &App, caller: &Caller) -> Result<()> {
    let user = users::find(app, caller.user_id).await?;
    if user.email_verified_at.is_some() {
        return Ok(());
    }
    caller.quota.count(app, Class::MailsTo, &users::verification_bucket(&Email::parse(&user.email)?)).await?;
    mails::queue(app, &app.db, Kind::EmailVerification, To::User(user.id)).await
}

/// The same for a customer who asks support, on the record, and counted with what the customer asks for. False where the e-mail is verified
/// already: then nothing is sent.
pub async fn resend_for(app: &App, quota: &Quota, actor: &Actor, user_id: Uuid) -> Result<bool> {
    let user = users::find(app, user_id).await?;
    let wanted = user.email_verified_at.is_none();
    if wanted {
        quota.count(app, Class::MailsTo, &users::verification_bucket(&Email::parse(&user.email)?)).await?;
    }
    let mut tx = app.db.begin().await?;
    if !users::lock_unless_erased(&mut *tx, user_id).await? {
        return Err(Error::StaleState);
    }
    if wanted {
        mails::queue(app, &mut *tx, Kind::EmailVerification, To::User(user.id)).await?;
    }
    let entry = Entry::of(actor, "user.verification_resent", "user", user_id);
    audit::record(app, &mut *tx, entry.with(json!({"sent": wanted}))).await?;
    tx.commit().await?;
    Ok(wanted)
}

/// Sends the link that changes the e-mail to the new address. An earlier one is void.
pub async fn change(app: &App, caller: &Caller, new: &Email, password: SecretString) -> Result<()> {
    let user = credentials::prove(app, caller, password, "user.email_change_refused").await?;
    if new.as_str() == user.email {
        return Err(Error::field("new_email", "is your e-mail already"));
    }
    // Also by where the call comes from: of accounts one has as many as one likes.
    let from = caller.origin.address.as_deref().unwrap_or_default();
    for who in [format!("user:{}", user.id), from.to_owned()] {
        caller.quota.count(app, Class::MailsAsked, &who).await?;
    }
    caller.quota.count(app, Class::MailsTo, &format!("change:{}", new.mailbox_bucket())).await?;
    let mut tx = app.db.begin().await?;
    // A new password takes back what was asked for with the old one. What the old one asks for now is not to follow it.
    credentials::hold(&mut *tx, &user).await?;
    let change = Change { new_email: new.as_str().to_owned(), session_id: caller.session_id };
    store::put(&mut *tx, user.id, &change, app.clock.now()).await?;
    mails::queue(app, &mut *tx, Kind::EmailChange, To::UserAt(user.id, new.as_str())).await?;
    audit::record(app, &mut *tx, Entry::of(&caller.actor(), "user.email_change_asked", "user", user.id)).await?;
    tx.commit().await?;
    Ok(())
}

/// The new e-mail, the end of all other sessions, the mail to the old address and the record of it: all or nothing.
async fn change_by_link(app: &App, visitor: &Visitor, token: Option<LinkToken>) -> Result<()> {
    let token = token.ok_or_else(users::spent_link)?;
    let change = store::find(&app.db, token.user_id).await?.ok_or_else(users::spent_link)?;
    let user = users::find(app, token.user_id).await?;
    let holder = Holder { new_email: Some(&change.new_email), ..user.holder() };
    if !mails::is_link(app, Kind::EmailChange, &token, &holder) {
        return Err(users::spent_link());
    }
    // Somebody else's, maybe, where it was never proven: accounts that move away from one mailbox do not fill it.
    let may_be_told =
        user.email_verified_at.is_some() || mails::may_tell_unproven(app, Kind::EmailChanged, &user.holder()).await?;
    let mut tx = app.db.begin().await?;
    let set = users::lock_password(&mut *tx, &user).await?
        && users::set_email(&mut *tx, &user, &change.new_email, app.clock.now()).await?;
    if !set {
        return Err(users::spent_link());
    }
    store::delete(&mut *tx, user.id).await?;
    let ended = sessions::end_all(app, &mut *tx, user.id, Some(change.session_id), Ending::EmailChanged).await?;
    if may_be_told {
        mails::queue(app, &mut *tx, Kind::EmailChanged, To::UserAt(user.id, &user.email)).await?;
    }
    let actor = Actor::user(user.id, None, visitor.origin.clone());
    let entry = Entry::of(&actor, "user.email_changed", "user", user.id);
    audit::record(app, &mut *tx, entry.with(json!({"sessions_ended": ended.ids.len()}))).await?;
    tx.commit().await?;
    ended.announce(app);
    Ok(())
}
