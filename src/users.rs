//! People: registering, and proving a password. What they may do is in the role of their row.
//!
//! Called by `sessions` (sign in), by its own routes, and by the flows that need somebody's name for Revio.

pub mod passwords;
pub mod routes;
mod store;

use std::str::FromStr;

use email_address::EmailAddress;
use secrecy::SecretString;
use uuid::Uuid;

use crate::app::App;
use crate::error::{Error, Result, on_constraint};

pub use store::User;

const EMAIL_CHARS_MAX: usize = 254;

/// Trimmed and in lower case: two spellings of one address are one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// # Errors
    /// [`Error::Invalid`] for the field `email`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim().to_lowercase();
        let fits = text.len() <= EMAIL_CHARS_MAX && EmailAddress::from_str(&text).is_ok();
        // A display name or a comment is part of the grammar and of no address that we send to.
        let plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | '('));
        if fits && plain { Ok(Self(text)) } else { Err(Error::field("email", "is not an e-mail address")) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub struct Registration {
    pub email: Email,
    pub password: SecretString,
    pub full_name: String,
}

/// What Revio is told about the person who pays or is paid.
pub struct Contact {
    pub email: String,
    pub full_name: String,
}

/// # Errors
/// [`Error::EmailTaken`].
pub async fn register(app: &App, new: Registration) -> Result<User> {
    let password_hash = passwords::hash(new.password).await?;
    let user = User {
        id: app.clock.user_id(),
        email: new.email.0,
        full_name: new.full_name,
        password_hash,
        role: "user".to_owned(),
        created_at: app.clock.now(),
    };
    on_constraint(store::insert(&app.db, &user).await, "users_email", Error::EmailTaken)?;
    Ok(user)
}

/// The user whose password this is. An unknown e-mail takes as long and is told the same as a wrong password.
///
/// # Errors
/// [`Error::InvalidCredentials`].
pub async fn authenticate(app: &App, email: &Email, password: SecretString) -> Result<User> {
    let user = store::find_by_email(&app.db, &email.0).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let right = passwords::verify(password, hash).await?;
    user.filter(|_| right).ok_or(Error::InvalidCredentials)
}

/// # Errors
/// [`Error::NotFound`].
pub async fn find(app: &App, id: Uuid) -> Result<User> {
    store::find(&app.db, id).await?.ok_or(Error::NotFound("user"))
}

/// # Errors
/// [`Error::NotFound`].
pub async fn find_by_email(app: &App, email: &Email) -> Result<User> {
    store::find_by_email(&app.db, &email.0).await?.ok_or(Error::NotFound("user"))
}

/// # Errors
/// [`Error::NotFound`].
pub async fn contact(app: &App, id: Uuid) -> Result<Contact> {
    let user = find(app, id).await?;
    Ok(Contact { email: user.email, full_name: user.full_name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_normalised_and_junk_is_refused() {
        assert_eq!(Email::parse("  Thandi@Example.COM ").expect("valid").as_str(), "thandi@example.com");
        for junk in [
            "",
            "a",
            "a@",
            "@b.co",
            "a b@c.co",
            "a@b@c.co",
            "<a@b.co>",
            "a@b.co\n",
            &format!("{}@b.co", "a".repeat(300)),
        ] {
            // The trailing line break is trimmed away: only inner white space makes an address wrong.
            assert_eq!(Email::parse(junk).is_ok(), junk == "a@b.co\n", "{junk:?}");
        }
    }
}
