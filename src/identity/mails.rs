//! Mails that we owe somebody: the link that verifies an e-mail, or changes it, or sets a new password; and word of what was done,
//! or tried, with an address or an account. The latter name neither amounts nor accounts: a mailbox is read by others, too.
//!
//! ```text
//! queue ──> pending ──> sent
//!              ├──> (gone)    nobody has the address
//!              ├──> dropped   no longer of use: the e-mail was verified, another one asked for, or the password changed, meanwhile; or
//!              │              for an address that nobody has proven, whose mailbox got enough
//!              └──> dead      it is refused for good, after 0, 1, 5, 15 minutes; or its link, or its news, ends before it is there
//! dead ──> dismissed           a person looked at it, and says why nothing is to become of it
//! ```
//!
//! While the mail server is away, hangs or does not let us in no mail dies of it: each is tried again within a minute, until the time of its
//! link is over. One that the server puts off (4xx) is tried after 0, 1, 5 and then every 15 minutes, so that no recipient keeps others
//! waiting.
//!
//! The row is the job. The link is made when the mail is sent, from the row and the user as they are then, and stands nowhere.
//! A process that dies between sending and noting it sends the same mail again: twice is better than never.
//!
//! Whoever makes a change that needs a mail queues it in the change's transaction; `users` and `emails` ask [`is_link`] about what comes back.

pub mod routes;
mod store;
mod texts;
mod writes;

use std::error::Error as _;

use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::app::App;
use crate::identity::audit::{self, Actor, Entry};
use crate::identity::mailbox;
use crate::identity::quota::Quota;
use crate::platform::batcher::LockWait;
use crate::platform::clock::{self, DateTime};
use crate::platform::config::NoticeMails;
use crate::platform::error::{Error, Result};
use crate::platform::mailer::{Mail, MailError, Trouble};
use crate::platform::queue::{self, Lease, Next, RETRY_MINUTES, Work};
use crate::platform::tokens::{LinkToken, Purpose};
use crate::platform::{rate_limits::Class, slow_reads, text_enum::text_enum};

pub use store::{Filter, Row};
use store::{Outcome, Recipient};
use writes::Outcomes;

/// Nobody brings a dead mail back, so those whose time was over longer ago are no alarm any more.
const DEAD_COUNTED: TimeDelta = TimeDelta::hours(24);
const PRUNED_AT_ONCE: i64 = 1000;
/// Of one kind to one person in 24 hours.
pub const NOTICES_MAX: i64 = 20;
const NOTICE_LIFE: TimeDelta = TimeDelta::hours(24);
/// Between two tries of one that the mail server puts off, at the end of the ladder.
const PUT_OFF: TimeDelta = TimeDelta::minutes(15);

text_enum! {
    #[schema(as = MailKind)]
    pub enum Kind {
        EmailVerification = "email_verification",
        PasswordReset = "password_reset",
        /// To the new address.
        EmailChange = "email_change",
        /// To the old address, when it is done.
        EmailChanged = "email_changed",
        /// Somebody wanted an account with an address that has one.
        EmailTaken = "email_taken",
        BankAccountAdded = "bank_account_added",
        /// A sign-in from a device that was not known.
        NewDevice = "new_device",
        PasswordChanged = "password_changed",
        /// Enrolled, or taken away.
        SecondFactorChanged = "second_factor_changed",
        /// Staff ended all sessions.
        SessionsEnded = "sessions_ended",
        NameChanged = "name_changed",
        /// Somebody asked for one; unless the customer does not want to know.
        Withdrawal = "withdrawal",
        /// One was credited; likewise.
        Deposit = "deposit",
        /// To whoever of the staff made it.
        WebhookEndpointDisabled = "webhook_endpoint_disabled",
    }
}

text_enum! {
    #[schema(as = MailState)]
    pub enum State {
        Pending = "pending",
        Sent = "sent",
        /// No longer of use.
        Dropped = "dropped",
        /// A dead letter: it did not go out, and will not.
        Dead = "dead",
        /// A person looked at a dead one.
        Dismissed = "dismissed",
    }
}

/// Who gets a mail. An address need not be anybody's: whether it is, is found out when the mail is sent.
#[derive(Debug, Clone, Copy)]
pub enum To<'a> {
    User(Uuid),
    Address(&'a str),
    /// Somebody of ours, at an address that is not theirs yet, or not any more.
    UserAt(Uuid, &'a str),
}

/// What of a user decides whether a link still works.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    pub user_id: Uuid,
    pub email: &'a str,
    pub email_verified: bool,
    pub password_hash: &'a str,
    /// What the e-mail is to be, where a change was asked for.
    pub new_email: Option<&'a str>,
}

/// Word that people are owed, for the statement that gives them reason; `wanted_notices` (0015) says what of it is mailed.
pub struct Notices {
    /// One for each that was asked for; `None` = there is nothing to tell.
    pub ids: Vec<Option<Uuid>>,
    pub kinds: Vec<Option<String>>,
    pub now: DateTime,
    pub expires_at: DateTime,
    /// No more than `most` of a kind since then.
    pub since: DateTime,
    pub most: i64,
}

impl Kind {
    /// Of its link, if it has one.
    fn purpose(self) -> Option<Purpose> {
        match self {
            Self::EmailVerification => Some(Purpose::EmailVerification),
            Self::PasswordReset => Some(Purpose::PasswordReset),
            Self::EmailChange => Some(Purpose::EmailChange),
            _ => None,
        }
    }

    /// Whether it only says what was done with an account.
    fn is_notice(self) -> bool {
        !matches!(
            self,
            Self::EmailVerification
                | Self::PasswordReset
                | Self::EmailChange
                | Self::EmailChanged
                | Self::EmailTaken
                | Self::WebhookEndpointDisabled
        )
    }

    /// Whether it is counted by the mailbox when it is sent. What else reaches one that nobody has proven is counted where it is asked for.
    fn fills_a_mailbox(self) -> bool {
        self.is_notice() || self == Self::PasswordReset
    }

    /// Whether it brings a link that a new password makes void.
    fn hangs_on_password(self) -> bool {
        matches!(self, Self::PasswordReset | Self::EmailChange)
    }

    /// How long its link works, or how late its news may come.
    fn life(self) -> TimeDelta {
        match self {
            Self::PasswordReset => TimeDelta::minutes(30),
            _ => NOTICE_LIFE,
        }
    }

    /// What the use of the link changes: so it works once, and not after the same was done another way.
    fn state(self, holder: &Holder<'_>) -> String {
        match self {
            Self::EmailVerification if holder.email_verified => "verified".to_owned(),
            Self::EmailVerification => format!("unverified {}", holder.email),
            // Whoever reads the mails of an address that was given up has no way in by them.
            Self::PasswordReset => format!("{} {}", holder.password_hash, holder.email),
            _ => {
                format!("{} {} {}", holder.password_hash, holder.email, holder.new_email.unwrap_or_default())
            }
        }
    }
}

/// Tells somebody what was done with the account: at most [`NOTICES_MAX`] of a kind in 24 hours, so that nobody fills a mailbox, and
/// not what the person does not want to know. Given the transaction of the change, both are there or neither.
pub async fn notify(app: &App, db: impl PgExecutor<'_>, kind: Kind, user_id: Uuid) -> Result<()> {
    if app.config.mail.notices == NoticeMails::Off {
        return Ok(());
    }
    Ok(store::insert_notices(db, user_id, &notices(app, [Some(kind)])).await?)
}

/// The same for a statement that makes many changes, of which some are to be told.
pub fn notices(app: &App, news: impl IntoIterator<Item = Option<Kind>>) -> Notices {
    let (now, is_on) = (app.clock.now(), app.config.mail.notices == NoticeMails::On);
    let rows = news.into_iter().map(|kind| {
        let kind = kind.filter(|_| is_on);
        (kind.map(|_| app.clock.row_id()), kind.map(|kind| kind.name().to_owned()))
    });
    let (ids, kinds) = rows.unzip();
    Notices { ids, kinds, now, expires_at: now + NOTICE_LIFE, since: now - TimeDelta::hours(24), most: NOTICES_MAX }
}

/// Owes somebody a mail. Given the transaction of the change that needs it, both are there or neither.
pub async fn queue(app: &App, db: impl PgExecutor<'_>, kind: Kind, to: To<'_>) -> Result<()> {
    let now = app.clock.now();
    let (user_id, address) = match to {
        To::User(id) => (Some(id), None),
        To::Address(address) => (None, Some(address)),
        To::UserAt(id, address) => (Some(id), Some(address)),
    };
    let new = store::New {
        id: app.clock.row_id(),
        kind: kind.name(),
        user_id,
        address,
        created_at: now,
        expires_at: now + kind.life(),
    };
    Ok(store::insert(db, &new).await?)
}

/// Takes back what was asked for before the password became another: links that went out are void by that, and the others would be made
/// over the new one. Given the transaction of the change.
pub async fn withdraw_links(app: &App, db: impl PgExecutor<'_>, holder: &Holder<'_>) -> Result<()> {
    let kinds: Vec<String> =
        Kind::ALL.iter().filter(|kind| kind.hangs_on_password()).map(|kind| kind.name().to_owned()).collect();
    for kind in store::withdraw(db, (holder.user_id, holder.email), &kinds).await? {
        count(app, &kind, "dropped");
    }
    Ok(())
}

/// Whether we made this link for this user, it was not used, and its time is not over.
pub fn is_link(app: &App, kind: Kind, token: &LinkToken, holder: &Holder<'_>) -> bool {
    let ours = |purpose| app.tokens.is_link_token(purpose, token, &kind.state(holder), app.clock.now());
    token.user_id == holder.user_id && kind.purpose().is_some_and(ours)
}

/// Sends what is due; the worker calls it. How many were claimed.
pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    queue::step_due(Mails(app), app.queue(), limit).await
}

struct Mails<'a>(&'a App);

impl Work for Mails<'_> {
    type Claimed = store::Claimed;

    fn label<'a>(&'a self, _: &'a store::Claimed) -> &'a str {
        "mails"
    }

    fn id(mail: &store::Claimed) -> Uuid {
        mail.id
    }

    async fn claim(&self, lease: Lease, limit: i64) -> sqlx::Result<Vec<store::Claimed>> {
        store::claim_due(self.0.batch_db.in_line(), lease, limit).await
    }

    async fn step(&self, mail: &store::Claimed) -> Result<&'static str> {
        let outcome = step(self.0, mail).await?;
        count(self.0, &mail.kind, outcome);
        Ok(outcome)
    }

    async fn failed(&self, mail: &store::Claimed, error: &Error) -> Result<()> {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let next = match self.0.queue().after(mail.id, mail.attempts, error, RETRY_MINUTES) {
            Next::GiveUp { failures } if is_put_off(error) => {
                Next::Again { due_at: self.0.clock.now() + PUT_OFF, attempts: failures }
            }
            next => next,
        };
        match next {
            Next::Again { due_at, attempts } => {
                count(self.0, &mail.kind, "failed");
                let (id, state, due_at, error) = (mail.id, State::Pending, Some(due_at), Some(reason));
                record(self.0, Outcome { id, state, due_at, attempts, error, sent_at: None }).await
            }
            Next::GiveUp { .. } => give_up(self.0, mail, &reason).await,
        }
    }
}

fn is_put_off(error: &Error) -> bool {
    error.source().and_then(|error| error.downcast_ref::<MailError>()).is_some_and(|it| it.trouble() == Trouble::Later)
}

async fn recipients(app: App, lock_wait: LockWait, mails: Vec<Uuid>) -> Result<Vec<(Uuid, Recipient)>> {
    let found = store::recipients(app.batch_db.of(lock_wait), &mails).await?;
    Ok(found.into_iter().map(|recipient| (recipient.mail_id, recipient)).collect())
}

/// What became of the mail.
async fn step(app: &App, mail: &store::Claimed) -> Result<&'static str> {
    let kind: Kind = mail.kind.parse().map_err(Error::internal)?;
    let Some(recipient) = app.batchers.look_up(app, mail.id, recipients).await? else {
        store::forget(&app.db, mail.id).await?;
        return Ok("nobody");
    };
    let (holder, now) = (recipient.holder(), app.clock.now());
    let to = recipient.address();
    let unasked = kind == Kind::EmailChange && holder.new_email != Some(to);
    if unasked || kind == Kind::EmailVerification && holder.email_verified {
        end(app, mail, State::Dropped, None).await?;
        return Ok("dropped");
    }
    if now >= mail.expires_at {
        give_up(app, mail, "its link ended before it could be sent").await?;
        return Ok("dead");
    }
    // Counted when it is tried for the first time.
    let is_counted = kind.fills_a_mailbox() && !holder.email_verified && !mail.was_tried;
    if is_counted && !has_room(app, kind, to, recipient.has_moved_money.then_some(holder.user_id)).await? {
        end(app, mail, State::Dropped, None).await?;
        return Ok("dropped");
    }
    // Whose address it is is nothing that the one who asked for it learns.
    let kind = if kind == Kind::EmailChange && recipient.taken { Kind::EmailTaken } else { kind };
    let token = kind.purpose().map_or_else(SecretString::default, |purpose| {
        app.tokens.link_token(purpose, holder.user_id, mail.expires_at, &kind.state(&holder))
    });
    let link = kind.link(&app.config.mail.frontend_url, token.expose_secret());
    let (subject, text) = kind.words(&link);
    let sent = Mail { id: mail.id, to, subject, text: &text, at: now };
    app.mailer.send(&sent).await.map_err(|error| match error.trouble() {
        Trouble::Server => Error::unavailable(error),
        Trouble::Later | Trouble::Mail => Error::Unusable(error.into()),
    })?;
    app.crash.at("mail.sent")?;
    end(app, mail, State::Sent, None).await?;
    Ok("sent")
}

/// Whether an address that its user has not proven takes one more of a kind that is counted where it is queued.
pub async fn may_tell_unproven(app: &App, kind: Kind, holder: &Holder<'_>) -> Result<bool> {
    let has_moved_money = store::has_moved_money(&app.db, holder.user_id).await?;
    has_room(app, kind, holder.email, has_moved_money.then_some(holder.user_id)).await
}

/// Whether the mailbox of an address that nobody has proven, and that may be somebody else's, takes more of a kind: there are as many accounts
/// as one likes whose addresses reach it, and each has its own news. One with which money has moved is counted by itself: what others open takes
/// no news from its owner, and such accounts cost something.
async fn has_room(app: &App, kind: Kind, to: &str, moved_money: Option<Uuid>) -> Result<bool> {
    let whose = moved_money.map_or_else(|| mailbox::bucket(to), |user_id| user_id.to_string());
    Quota::default().has_room(app, Class::MailsTo, &format!("{}:{whose}", kind.name())).await
}

async fn give_up(app: &App, mail: &store::Claimed, error: &str) -> Result<()> {
    tracing::error!(mail.id = %mail.id, error, "a mail became a dead letter");
    count(app, &mail.kind, "dead");
    end(app, mail, State::Dead, Some(error)).await
}

async fn end(app: &App, mail: &store::Claimed, state: State, error: Option<&str>) -> Result<()> {
    let sent_at = (state == State::Sent).then(|| app.clock.now());
    let error = error.map(str::to_owned);
    let attempts = mail.attempts.saturating_add(1);
    record(app, Outcome { id: mail.id, state, due_at: None, attempts, error, sent_at }).await
}

async fn record(app: &App, outcome: Outcome) -> Result<()> {
    app.batchers.join::<Outcomes>(app, outcome).await
}

fn count(app: &App, kind: &str, outcome: &str) {
    app.metrics.mails.with_label_values(&[kind, outcome]).inc();
}

/// Deletes a batch of mails of longer ago than `RETENTION` says that have come to an end, dead ones too: nobody can bring those back, and an
/// outage makes many. True when there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let before = clock::first_id_at(app.clock.now() - app.config.retention.mails);
    let deleted = store::delete_done(&app.db, before, PRUNED_AT_ONCE).await?;
    Ok(queue::is_full(deleted, PRUNED_AT_ONCE))
}

/// Says why nothing is to become of a dead mail, on the record: it leaves the list of the dead and stays to be found, as long as mails that
/// were sent. It is not sent again: its link or its news is too old, and whoever needs another asks for it.
///
/// # Errors
/// [`Error::NotFound`] when there is no such dead mail.
pub async fn dismiss(app: &App, actor: &Actor, id: Uuid, note: &str) -> Result<Row> {
    let mut tx = app.db.begin().await?;
    let row = store::dismiss(&mut *tx, id, note).await?.ok_or(Error::NotFound("dead mail"))?;
    audit::record(app, &mut *tx, Entry::of(actor, "mail.dismissed", "mail", id).with(json!({"note": note}))).await?;
    tx.commit().await?;
    Ok(row)
}

/// A page of all mails, newest first; of a state, in the turn of those who read for long: few may be in it.
pub async fn list(app: &App, caller: Uuid, filter: &Filter) -> Result<Vec<Row>> {
    if filter.state.is_none() {
        return Ok(store::list(&app.db, filter).await?);
    }
    let mut read = app.slow_reads.begin(caller, &app.db, app.config.list_deadline).await?;
    store::list(&mut *read.tx, filter).await.map_err(slow_reads::too_broad)
}

/// Brings the gauges of what waits up to date.
pub async fn measure(app: &App) -> Result<()> {
    let now = app.clock.now();
    app.queue().report(&store::depths(&app.db, now, now - DEAD_COUNTED).await?);
    Ok(())
}
