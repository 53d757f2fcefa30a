//! Who I am: the profile behind a token, with what its role may and what restricts its accounts; and another name.
//!
//! A name is changed with the password, as an e-mail is (`identity/emails.rs`): a token that somebody stole changes nothing that lasts. It
//! holds at once, since no mailbox has to be proven; the person is told by mail, and it is on the record that it was changed. Neither the
//! mail nor the record says a name.

pub mod routes;

use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Entry};
use crate::identity::caller::Caller;
use crate::identity::credentials;
use crate::identity::mails::{self, Kind};
use crate::identity::users::{self, Notifications, User};
use crate::money::restrictions::{self, Restriction};
use crate::platform::error::{Error, Result};

pub struct Profile {
    pub user: User,
    /// Those that are not lifted, oldest first.
    pub restrictions: Vec<Restriction>,
}

/// `None` stays as it is.
pub struct Change {
    pub name: Option<NewName>,
    pub notifications: Notifications,
}

pub struct NewName {
    pub full_name: String,
    pub password: SecretString,
}

pub async fn find(app: &App, user_id: Uuid) -> Result<Profile> {
    Ok(Profile { user: users::find(app, user_id).await?, restrictions: restrictions::live(&app.db, user_id).await? })
}

/// All of it or nothing.
///
/// # Errors
/// [`Error::InvalidCredentials`] when the password is wrong; [`Error::StaleState`] when it was changed at this moment.
pub async fn change(app: &App, caller: &Caller, change: Change) -> Result<Profile> {
    let proven = match change.name {
        Some(NewName { full_name, password }) => {
            Some((credentials::prove(app, caller, password, "user.name_change_refused").await?, full_name))
        }
        None => None,
    };
    let mut tx = app.db.begin().await?;
    if let Some((user, full_name)) = proven.filter(|(user, full_name)| user.full_name != *full_name) {
        if !users::lock_password(&mut *tx, &user).await? {
            return Err(Error::StaleState);
        }
        users::set_name(&mut *tx, user.id, &full_name).await?;
        audit::record(app, &mut *tx, Entry::of(&caller.actor(), "user.name_changed", "user", user.id)).await?;
        mails::notify(app, &mut *tx, Kind::NameChanged, user.id).await?;
    }
    if change.notifications != Notifications::default() {
        users::set_notifications(&mut *tx, caller.user_id, change.notifications).await?;
        let Notifications { deposits, withdrawals } = change.notifications;
        let entry = Entry::of(&caller.actor(), "user.notifications_changed", "user", caller.user_id);
        let what = json!({"deposits": deposits, "withdrawals": withdrawals});
        audit::record(app, &mut *tx, entry.with(what)).await?;
    }
    tx.commit().await?;
    find(app, caller.user_id).await
}
