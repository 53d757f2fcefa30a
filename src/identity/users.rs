//! People: registering, proving a password, and proving an e-mail (`users/verification.rs`).

pub mod passwords;
pub mod routes;
mod store;
pub mod verification;

use std::str::FromStr;

use aws_lc_rs::digest;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use email_address::EmailAddress;
use secrecy::SecretString;
use serde_json::json;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::AnonymousClient;
use crate::identity::mails::{self, Holder, Kind, To};
use crate::platform::error::{Error, Result, on_constraint};
use crate::platform::tokens::{Device, LinkToken};
use crate::platform::{hashing::Priority, permissions::Role, rate_limits::Class};

pub use store::{Filter, User, lock, lock_shared};

const EMAIL_CHARS_MAX: usize = 254;

/// Trimmed and in lower case: two spellings of one address are one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim().to_lowercase();
        let fits = text.len() <= EMAIL_CHARS_MAX && EmailAddress::from_str(&text).is_ok();
        // A display name or a comment is part of the grammar and of no address that we send to.
        let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '('));
        if fits && plain { Ok(Self(text)) } else { Err(Error::field("email", "is not an e-mail address")) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// What calls about this address are counted under: Redis need not know whose it is.
    pub fn bucket(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.0.as_bytes()))
    }
}

pub struct Registration {
    pub email: Email,
    pub password: SecretString,
    pub full_name: String,
}

/// What a password proved. Whether there is such a user is for the audit log and never told to the caller.
pub enum Proof {
    Right(User),
    Wrong(Option<Uuid>),
}

/// Whoever has many addresses has no mails sent to all of them by registering: beyond the limit the account is opened without one,
/// and its owner can ask for the mail when signed in.
pub async fn register(app: &App, visitor: &AnonymousClient, new: Registration) -> Result<User> {
    let bucket = verification::bucket(&new.email);
    let password_hash = app.hasher.hash(Priority::Unknown, new.password).await?;
    let user = User {
        id: app.clock.user_id(),
        email: new.email.0,
        full_name: new.full_name,
        password_hash,
        role: Role::User,
        created_at: app.clock.now(),
        email_verified_at: None,
    };
    let mail = match visitor.quota.count(app, Class::MailsAsked, &visitor.address).await {
        Ok(()) => true,
        Err(Error::TooMany { .. }) => false,
        Err(error) => return Err(error),
    };
    let mut tx = app.db.begin().await?;
    on_constraint(store::insert(&mut *tx, &user).await, "users_email", Error::EmailTaken)?;
    if mail {
        mails::queue(app, &mut *tx, Kind::EmailVerification, To::User(user.id)).await?;
    }
    tx.commit().await?;
    if mail {
        // Only for what is asked for later: an account is opened once. Not before that: whoever tries to register somebody
        // else's e-mail again and again must not use up what that person may ask for.
        visitor.quota.count(app, Class::MailsTo, &bucket).await.unwrap_or_default();
    }
    Ok(user)
}

/// The device, if somebody with this e-mail signed in on it since the password was last changed.
pub async fn known_device(app: &App, email: &Email, device: Device) -> Result<Option<Device>> {
    let user = store::find_by_email(&app.db, &email.0).await?;
    Ok(user.is_some_and(|user| user.knows(app, &device)).then_some(device))
}

/// Whether the password is that of the e-mail's user. An unknown e-mail takes as long to find out as a wrong password.
pub async fn authenticate(app: &App, priority: Priority, email: &Email, password: SecretString) -> Result<Proof> {
    let user = store::find_by_email(&app.db, &email.0).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let verified = app.hasher.verify(priority, password.clone(), hash).await?;
    match user {
        Some(user) if verified.right => match verified.renewed {
            Some(renewed) => renew(app, priority, user, (password, renewed)).await,
            None => Ok(Proof::Right(user)),
        },
        user => Ok(Proof::Wrong(user.map(|user| user.id))),
    }
}

/// Keeps the hash with the parameters of today, only in the place of the one that was verified. Another sign-in may have done so
/// at the same moment, or the password was changed: the hash that is there now decides.
async fn renew(
    app: &App,
    priority: Priority,
    user: User,
    (password, renewed): (SecretString, String),
) -> Result<Proof> {
    if store::replace_hash(&app.db, user.id, &user.password_hash, &renewed).await? {
        return Ok(Proof::Right(User { password_hash: renewed, ..user }));
    }
    let user = find(app, user.id).await?;
    let right = has_password(app, priority, &user, password).await?;
    Ok(if right { Proof::Right(user) } else { Proof::Wrong(Some(user.id)) })
}

pub async fn has_password(app: &App, priority: Priority, user: &User, password: SecretString) -> Result<bool> {
    Ok(app.hasher.verify(priority, password, Some(user.password_hash.clone())).await?.right)
}

pub async fn new_password(app: &App, user: &User, field: &str, password: SecretString) -> Result<String> {
    passwords::check(field, &password, Some(&Email(user.email.clone())))?;
    // Who comes this far has proved to be somebody; a flood of guesses by others must not stand in the way.
    app.hasher.hash(Priority::Known, password).await
}

/// Gives the user another password, unless it was changed since the user was read. False then.
pub async fn set_password(db: impl PgExecutor<'_>, user: &User, hash: &str) -> Result<bool> {
    Ok(store::replace_hash(db, user.id, &user.password_hash, hash).await?)
}

/// Whether the password is the one that the user was read with; it stays so until the end of the transaction.
pub async fn hold_password(db: impl PgExecutor<'_>, user: &User) -> Result<bool> {
    Ok(store::hold_hash(db, user.id, &user.password_hash).await?)
}

/// The user that a link of ours is for.
/// Whether a link is not ours, was used or is too old is nobody's business.
pub async fn of_link(app: &App, kind: Kind, token: Option<LinkToken>) -> Result<User> {
    if let Some(token) = token
        && let Some(user) = store::find(&app.db, token.user_id).await?
        && mails::is_link(app, kind, &token, &user.holder())
    {
        return Ok(user);
    }
    Err(spent_link())
}

pub fn spent_link() -> Error {
    Error::field("token", "does not work, or not any more: ask for a new mail")
}

impl User {
    /// Whether the person signed in on this device, with the password as it is.
    pub fn knows(&self, app: &App, device: &Device) -> bool {
        app.tokens.knows_device(device, &self.email, &self.password_hash)
    }

    /// What makes a device known from now on, until the password is another.
    pub fn new_device(&self, app: &App) -> Device {
        app.tokens.new_device(&self.email, &self.password_hash)
    }

    fn holder(&self) -> Holder<'_> {
        Holder {
            user_id: self.id,
            email: &self.email,
            email_verified: self.email_verified_at.is_some(),
            password_hash: &self.password_hash,
        }
    }
}

pub async fn find(app: &App, id: Uuid) -> Result<User> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("user"))
}

pub async fn find_by_email(app: &App, email: &Email) -> Result<User> {
    store::find_by_email(&app.db, &email.0).await?.ok_or(Error::NotFound("user"))
}

pub async fn list(app: &App, filter: &Filter) -> Result<Vec<User>> {
    Ok(store::list(&app.db, filter).await?)
}

/// Gives a user another role. It holds from the user's next call as staff.
pub async fn change_role(app: &App, actor: &Actor, id: Uuid, role: Role) -> Result<User> {
    if actor.is_user(id) {
        return Err(Error::Forbidden);
    }
    let mut tx = app.db.begin().await?;
    let before = store::lock_role(&mut *tx, id).await?.ok_or(Error::NotFound("user"))?;
    if before != role {
        store::set_role(&mut *tx, id, role).await?;
        let entry = Entry::of(actor, "user.role_changed", "user", id);
        let entry = entry.change(json!({"role": before}), json!({"role": role}));
        audit::record(app, &mut *tx, entry).await?;
    }
    tx.commit().await?;
    find(app, id).await
}
