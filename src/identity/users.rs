//! People: registering and proving a password. Proving an e-mail, and changing it, is in `identity/emails.rs`.

pub mod passwords;
pub mod routes;
mod store;

use email_address::{EmailAddress, Options};
use secrecy::SecretString;
use serde_json::json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::caller::Visitor;
use crate::identity::mailbox;
use crate::identity::mails::{self, Holder, Kind, To};
use crate::identity::quota::Quota;
use crate::platform::batcher::LockWait;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Reason, Result, Wrong, on_constraint};
use crate::platform::tokens::{Device, LinkToken};
use crate::platform::{hashing::Priority, permissions::Role, rate_limits::Class, slow_reads};

pub use store::{Filter, User, lock, lock_roles, lock_shared, lock_unless_erased, set_name, set_notifications};

const EMAIL_CHARS_MAX: usize = 254;
/// In the place of a hash where there is no user: as long as one, and no password's.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// An address as Revio takes it (plain ASCII, at a host of the public Internet), trimmed and in lower case: one spelling for one
/// person. What only looks like such an address (full-width letters, an umlaut) is refused, not guessed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    pub fn parse(text: &str) -> Result<Self> {
        Self::of_field("email", text)
    }

    pub fn of_field(field: &str, text: &str) -> Result<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.chars().count() > EMAIL_CHARS_MAX {
            return Err(Error::field(field, Wrong::Length(1, EMAIL_CHARS_MAX, "characters")));
        }
        let grammar = Options::default().with_required_tld().without_domain_literal().without_display_text();
        let fits = EmailAddress::parse_with_options(&text, grammar).is_ok();
        // Quotes and comments are part of the grammar and of no address that we send to.
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"()".contains(&byte));
        if fits && plain && is_public(text.rsplit('@').next().unwrap_or_default()) {
            Ok(Self(text))
        } else {
            Err(Error::field(field, Wrong::Format("is not an e-mail address as in name@example.com")))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// What calls about this address are counted under: Redis need not know whose it is.
    pub fn bucket(&self) -> String {
        mailbox::hashed(&self.0)
    }

    /// The same of mails: by the mailbox that they reach, of whose addresses there are as many as one likes.
    pub fn mailbox_bucket(&self) -> String {
        mailbox::bucket(&self.0)
    }
}

/// Letters, digits and hyphens between the dots, and a top-level domain of letters only.
fn is_public(domain: &str) -> bool {
    let label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = |top: &str| top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    domain.rsplit_once('.').is_some_and(|(_, last)| top(last)) && domain.split('.').all(label)
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

/// Opens an account, or does all the same for an e-mail that has one: the caller is answered alike and in the same time, and the
/// mail says it to whoever reads that mailbox. What is answered then is nobody: the account that is there stays as it is.
///
/// Whoever has many addresses has no mails sent to all of them by registering: beyond the limit the account is opened without one,
/// and its owner can ask for the mail when signed in.
pub async fn register(app: &App, visitor: &Visitor, new: Registration) -> Result<User> {
    visitor.quota.count(app, Class::Accounts, &visitor.address).await?;
    let mailbox = new.email.mailbox_bucket();
    let (of_new, of_taken) = (format!("registered:{mailbox}"), format!("taken:{mailbox}"));
    let password_hash = app.hasher.hash(Priority::Unknown, new.password).await?;
    let user = User {
        id: app.clock.user_id(),
        email: new.email.0,
        full_name: new.full_name,
        password_hash,
        role: Role::User,
        created_at: app.clock.now(),
        email_verified_at: None,
        mail_deposits: true,
        mail_withdrawals: true,
    };
    // Counted apart, and not told: whoever tries to register somebody else's e-mail again and again must not use up what that person may ask
    // for, and how often an address was tried would say whether it is new.
    let taken = store::find_by_email(&app.db, &user.email).await?.is_some();
    let may_address = Quota::default().has_room(app, Class::MailsTo, if taken { &of_taken } else { &of_new }).await?;
    let may_ask = visitor.quota.has_room(app, Class::MailsAsked, &visitor.address).await?;
    let mut tx = app.db.begin().await?;
    let (kind, to) = match store::insert(&mut *tx, &user).await? {
        true => (Kind::EmailVerification, To::User(user.id)),
        false => (Kind::EmailTaken, To::Address(&user.email)),
    };
    // Its owner is told of the try however many mails were asked for from there: signing in then tells whose address is new.
    if may_address && (may_ask || kind == Kind::EmailTaken) {
        mails::queue(app, &mut *tx, kind, to).await?;
    }
    tx.commit().await?;
    Ok(user)
}

/// What the mails that verify an e-mail are counted under, where its owner asks for another one.
pub fn verification_bucket(email: &Email) -> String {
    format!("verify:{}", email.mailbox_bucket())
}

/// The one of these devices, if any, that somebody with this e-mail signed in on since the password was last changed. An unknown e-mail
/// takes the same work.
pub async fn known_device(app: &App, email: &Email, devices: Vec<Device>) -> Result<Option<Device>> {
    if devices.is_empty() {
        return Ok(None);
    }
    let user = store::find_by_email(&app.db, &email.0).await?;
    let state = user.as_ref().map_or(NOBODYS_HASH, |user| &user.password_hash);
    let known = devices.into_iter().find(|device| app.tokens.knows_device(device, &email.0, state));
    Ok(known.filter(|_| user.is_some()))
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

/// Whether the password is the one that the user was read with; it stays so until the end of the transaction. For whoever changes nothing of
/// the user: of two who hold it and then change the row, each would wait for the other ([`lock_password`]).
pub async fn hold_password(db: impl PgExecutor<'_>, user: &User) -> Result<bool> {
    Ok(store::hold_hash(db, user.id, &user.password_hash).await?)
}

/// The same before the user's row is changed: one at a time.
pub async fn lock_password(db: impl PgExecutor<'_>, user: &User) -> Result<bool> {
    Ok(store::lock_hash(db, user.id, &user.password_hash).await?)
}

/// [`lock`] of some and [`lock_shared`] of others, in the order of their ids, which [`lock_shared`] alone has by itself: of two who lock the
/// same people one waits for the other, and never both. Before requests and restrictions, which come behind the people everywhere.
pub async fn lock_in_order(tx: &mut PgConnection, alone: &[Uuid], beside_others: &[Uuid]) -> Result<()> {
    let mut people = [alone, beside_others].concat();
    people.sort_unstable();
    people.dedup();
    for person in people {
        if alone.contains(&person) {
            store::lock(&mut *tx, person).await?;
        } else {
            store::lock_shared(&mut *tx, &[person]).await?;
        }
    }
    Ok(())
}

/// The user that a link of ours is for.
/// Whether a link is not ours, was used or is too old is nobody's business.
pub async fn of_link(app: &App, kind: Kind, token: Option<LinkToken>) -> Result<User> {
    if let Some(token) = token
        && let Some(user) = store::find_all(&app.db, &[token.user_id]).await?.pop()
        && mails::is_link(app, kind, &token, &user.holder())
    {
        return Ok(user);
    }
    Err(spent_link())
}

/// Notes that the user reads the mails to this e-mail. False where it was known, or is another by now.
pub async fn set_verified(db: impl PgExecutor<'_>, user: &User, now: DateTime) -> Result<bool> {
    Ok(store::set_verified(db, user.id, &user.email, now).await?)
}

/// Gives the user another e-mail, which is verified, unless it has changed since the user was read. False then, and where
/// somebody else has it.
pub async fn set_email(db: impl PgExecutor<'_>, user: &User, email: &str, now: DateTime) -> Result<bool> {
    let set = store::set_email(db, (user.id, &user.email), email, now).await;
    match on_constraint(set, "users_email", Error::StaleState) {
        Err(Error::StaleState) => Ok(false),
        set => set,
    }
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

    pub fn holder(&self) -> Holder<'_> {
        Holder {
            user_id: self.id,
            email: &self.email,
            email_verified: self.email_verified_at.is_some(),
            password_hash: &self.password_hash,
            new_email: None,
        }
    }
}

async fn by_id(app: App, lock_wait: LockWait, ids: Vec<Uuid>) -> Result<Vec<(Uuid, User)>> {
    Ok(store::find_all(app.batch_db.of(lock_wait), &ids).await?.into_iter().map(|user| (user.id, user)).collect())
}

pub async fn find(app: &App, id: Uuid) -> Result<User> {
    app.batchers.look_up(app, id, by_id).await?.ok_or(Error::NotFound("user"))
}

pub async fn find_by_email(app: &App, email: &Email) -> Result<User> {
    store::find_by_email(&app.db, &email.0).await?.ok_or(Error::NotFound("user"))
}

/// Whether to be mailed about the own deposits, and about withdrawals; `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notifications {
    pub deposits: Option<bool>,
    pub withdrawals: Option<bool>,
}

/// A page of all users, newest first; of a role, in the turn of those who read for long: few may have it.
pub async fn list(app: &App, caller: Uuid, filter: &Filter) -> Result<Vec<User>> {
    if filter.role.is_none() {
        return Ok(store::list(&app.db, filter).await?);
    }
    let mut read = app.slow_reads.begin(caller, &app.db, app.config.list_deadline).await?;
    store::list(&mut *read.tx, filter).await.map_err(slow_reads::too_broad)
}

/// Gives a user another role, inside an SQL transaction of the caller's. It holds from the user's next call as staff. What it takes before
/// somebody may is in `money/requests.rs`. The role before.
///
/// # Errors
/// [`Error::LastAdmin`] when nobody would be left who may give roles: of two admins who take each other's away at once, one is told so.
pub async fn change_role_within(
    app: &App,
    tx: &mut PgConnection,
    actor: &Actor,
    (id, role): (Uuid, Role),
) -> Result<Role> {
    if actor.is_user(id) {
        return Err(Error::Forbidden(Reason::OwnAccount));
    }
    store::lock_roles(&mut *tx).await?;
    let before = store::lock_role(&mut *tx, id).await?.ok_or(Error::NotFound("user"))?;
    if before == Role::Admin && role != Role::Admin && !store::is_another_admin(&mut *tx, id).await? {
        return Err(Error::LastAdmin);
    }
    if before != role {
        store::set_role(&mut *tx, id, role, app.clock.now()).await?;
        let entry = Entry::of(actor, "user.role_changed", "user", id);
        let entry = entry.change(json!({"role": before}), json!({"role": role}));
        audit::record(app, &mut *tx, entry).await?;
    }
    Ok(before)
}

pub async fn is_staff(app: &App, id: Uuid) -> Result<bool> {
    Ok(app.batchers.look_up(app, id, by_id).await?.is_some_and(|user| user.role.is_staff()))
}
