//! Proving an e-mail: whoever has the link that we sent to it reads its mail. It works once and for a day. `REQUIRE_VERIFIED_EMAIL`
//! decides whether anything depends on it (`identity/caller.rs`).

pub mod routes;

use serde_json::json;

use super::{of_link, spent_link, store};
use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::{AnonymousClient, Caller};
use crate::identity::mails::{self, Kind, To};
use crate::identity::users::{self, Email};
use crate::platform::{error::Result, rate_limits::Class, tokens::LinkToken};

pub async fn verify(app: &App, visitor: &AnonymousClient, token: Option<LinkToken>) -> Result<()> {
    let user = of_link(app, Kind::EmailVerification, token).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::set_verified(&mut *tx, user.id, &user.email, now).await? {
        return Err(spent_link());
    }
    let actor = Actor::user(user.id, None, visitor.origin.clone());
    let entry = Entry::of(&actor, "user.email_verified", "user", user.id);
    audit::record(app, &mut *tx, entry.change(json!({"verified": false}), json!({"verified": true}))).await?;
    tx.commit().await?;
    Ok(())
}

pub(super) fn bucket(email: &Email) -> String {
    format!("verify:{}", email.bucket())
}

/// Nothing is sent when the e-mail is verified already. A mailbox is not to be flooded by its own owner's token either.
pub async fn resend(app: &App, caller: &Caller) -> Result<()> {
    let user = users::find(app, caller.user_id).await?;
    if user.email_verified_at.is_some() {
        return Ok(());
    }
    caller.quota.count(app, Class::MailsTo, &bucket(&Email(user.email))).await?;
    mails::queue(app, &app.db, Kind::EmailVerification, To::User(user.id)).await
}
