//! Mails that we owe somebody: the link that verifies an e-mail, the link that sets a new password.
//!
//! ```text
//! queue ──> pending ──> sent
//!              ├──> (gone)    nobody has the address
//!              ├──> dropped   no longer of use: the e-mail was verified meanwhile
//!              └──> dead      failures: 0, 1, 5, 15 minutes; or the link would end before the mail is there
//! ```
//!
//! The row is the job. The link is made when the mail is sent, from the row and the user as they are then, and stands nowhere.
//! A process that dies between sending and noting it sends the same mail again: twice is better than never.
//!
//! `users` and `credentials` queue in the transaction of the change that needs the mail, and ask [`is_link`] about what comes back.

pub mod routes;
mod store;

use chrono::TimeDelta;
use futures_util::{StreamExt, stream};
use secrecy::ExposeSecret;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::mailer::Mail;
use crate::platform::tokens::{LinkToken, Purpose};

pub use store::{Filter, Row};

/// Longer than a mail takes, whatever `SMTP_SECS` says.
const LEASE: TimeDelta = TimeDelta::seconds(90);
/// All that the worker claims: a mail that waits for its turn would outlive its lease.
const MAILS_AT_ONCE: usize = 16;
/// Nobody brings a dead mail back, so those of longer ago are no alarm any more.
const DEAD_COUNTED: TimeDelta = TimeDelta::hours(24);
/// How long staff can see that a mail went out. Dead ones stay: they are few, and somebody has to look at them.
const KEPT: TimeDelta = TimeDelta::days(30);
const PRUNED_AT_ONCE: i64 = 1000;
/// Minutes after each failure; after the last one the mail is dead.
const RETRY_MINUTES: [i64; 4] = [0, 1, 5, 15];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    EmailVerification,
    PasswordReset,
}

/// Who gets a mail. An address need not be anybody's: whether it is, is found out when the mail is sent.
#[derive(Debug, Clone, Copy)]
pub enum To<'a> {
    User(Uuid),
    Address(&'a str),
}

/// What of a user decides whether a link still works.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    pub user_id: Uuid,
    pub email: &'a str,
    pub email_verified: bool,
    pub password_hash: &'a str,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::EmailVerification => "email_verification",
            Self::PasswordReset => "password_reset",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        let known = [Self::EmailVerification, Self::PasswordReset].into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| Error::internal(format!("mails.kind {name} cannot be read")))
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::EmailVerification => Purpose::EmailVerification,
            Self::PasswordReset => Purpose::PasswordReset,
        }
    }

    /// How long its link works.
    fn life(self) -> TimeDelta {
        match self {
            Self::EmailVerification => TimeDelta::hours(24),
            Self::PasswordReset => TimeDelta::minutes(30),
        }
    }

    /// What the use of the link changes: so it works once, and not after the same was done another way.
    fn state(self, holder: &Holder<'_>) -> String {
        match self {
            Self::EmailVerification if holder.email_verified => "verified".to_owned(),
            Self::EmailVerification => format!("unverified {}", holder.email),
            Self::PasswordReset => holder.password_hash.to_owned(),
        }
    }

    /// The frontend's page. What follows the `#` is the page's alone: no server and no log is sent it.
    fn link(self, frontend_url: &str, token: &str) -> String {
        let page = match self {
            Self::EmailVerification => "verify-email",
            Self::PasswordReset => "reset-password",
        };
        format!("{frontend_url}/{page}#token={token}")
    }

    /// Subject and text. No name stands in it: a stranger who registers somebody's address must not have us carry his words.
    fn words(self, link: &str) -> (&'static str, String) {
        match self {
            Self::EmailVerification => (
                "Confirm your e-mail address",
                format!(
                    "Hello,\n\nplease confirm that this e-mail address is yours:\n\n{link}\n\n\
                     The link works for 24 hours.\n\n\
                     If you did not open an account with us, ignore this mail.\n"
                ),
            ),
            Self::PasswordReset => (
                "Set a new password",
                format!(
                    "Hello,\n\nwith this link you set a new password:\n\n{link}\n\n\
                     It works once, for 30 minutes after it was asked for. It ends all your sessions.\n\n\
                     If you did not ask for it, ignore this mail: your password stays as it is.\n"
                ),
            ),
        }
    }
}

/// Owes somebody a mail. Given the transaction of the change that needs it, both are there or neither.
pub async fn queue(app: &App, db: impl PgExecutor<'_>, kind: Kind, to: To<'_>) -> Result<()> {
    let now = app.clock.now();
    let (user_id, address) = match to {
        To::User(id) => (Some(id), None),
        To::Address(address) => (None, Some(address)),
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

/// Whether we made this link for this user, it was not used, and its time is not over.
pub fn is_link(app: &App, kind: Kind, token: &LinkToken, holder: &Holder<'_>) -> bool {
    token.user_id == holder.user_id
        && app.tokens.is_link_token(kind.purpose(), token, &kind.state(holder), app.clock.now())
}

/// Sends what is due; the worker calls it. One mail's failure is that mail's alone. How many were claimed.
pub async fn step_due(app: &App, limit: i64) -> Result<usize> {
    let now = app.clock.now();
    let claimed = store::claim_due(&app.db, now, now + LEASE, limit).await?;
    let count = claimed.len();
    stream::iter(claimed).for_each_concurrent(MAILS_AT_ONCE, |row| step_one(app, row)).await;
    Ok(count)
}

async fn step_one(app: &App, row: store::Claimed) {
    let recorded = match step(app, &row).await {
        Ok(()) | Err(Error::Crashed(_)) => return,
        Err(error) => fail(app, &row, None, &error.chain()).await,
    };
    if let Err(error) = recorded {
        tracing::warn!(mail.id = %row.id, error = error.chain(), "a mail's outcome was not recorded; it comes again");
    }
}

async fn step(app: &App, row: &store::Claimed) -> Result<()> {
    let kind = Kind::parse(&row.kind)?;
    let Some(recipient) = store::recipient(&app.db, row.id).await? else {
        count(app, &row.kind, "nobody");
        return Ok(store::forget(&app.db, row.id).await?);
    };
    let (holder, now) = (recipient.holder(), app.clock.now());
    if kind == Kind::EmailVerification && holder.email_verified {
        count(app, &row.kind, "dropped");
        return Ok(store::finish(&app.db, row.id, holder.user_id, "dropped", now).await?);
    }
    if now >= row.expires_at {
        return dead_letter(app, row, Some(holder.user_id), "its link ended before it could be sent").await;
    }
    let token = app.tokens.link_token(kind.purpose(), holder.user_id, row.expires_at, &kind.state(&holder));
    let link = kind.link(&app.config.mail.frontend_url, token.expose_secret());
    let (subject, text) = kind.words(&link);
    let mail = Mail { id: row.id, to: holder.email, subject, text: &text, at: now };
    match app.mailer.send(&mail).await {
        Ok(()) => {
            app.crash.at("mail.sent")?;
            count(app, &row.kind, "sent");
            Ok(store::finish(&app.db, row.id, holder.user_id, "sent", app.clock.now()).await?)
        }
        Err(error) => fail(app, row, Some(holder.user_id), &error.to_string()).await,
    }
}

async fn fail(app: &App, row: &store::Claimed, user_id: Option<Uuid>, error: &str) -> Result<()> {
    let failures = usize::try_from(row.attempts).unwrap_or(0);
    let Some(minutes) = RETRY_MINUTES.get(failures) else { return dead_letter(app, row, user_id, error).await };
    tracing::warn!(mail.id = %row.id, error, "a mail did not go out");
    count(app, &row.kind, "failed");
    let due_at = app.clock.now() + TimeDelta::minutes(*minutes);
    Ok(store::defer(&app.db, row.id, user_id, due_at, error).await?)
}

async fn dead_letter(app: &App, row: &store::Claimed, user_id: Option<Uuid>, error: &str) -> Result<()> {
    tracing::error!(mail.id = %row.id, error, "a mail is dead");
    count(app, &row.kind, "dead");
    Ok(store::dead_letter(&app.db, row.id, user_id, error).await?)
}

fn count(app: &App, kind: &str, outcome: &str) {
    app.metrics.mails.with_label_values(&[kind, outcome]).inc();
}

/// Deletes a batch of mails that were sent, or were of no use any more, long ago. True when there may be more.
pub async fn prune(app: &App) -> Result<bool> {
    let deleted = store::delete_done(&app.db, app.clock.now() - KEPT, PRUNED_AT_ONCE).await?;
    Ok(i64::try_from(deleted).is_ok_and(|count| count == PRUNED_AT_ONCE))
}

/// A page of all mails, newest first.
pub async fn list(app: &App, filter: &Filter) -> Result<Vec<Row>> {
    Ok(store::list(&app.db, filter).await?)
}

/// Brings the gauges of what waits up to date.
pub async fn measure(app: &App) -> Result<()> {
    let now = app.clock.now();
    let waiting = store::waiting(&app.db, now, now - DEAD_COUNTED).await?;
    app.metrics.waiting("mails", "due", waiting.due, waiting.oldest_due.map(|at| now - at));
    app.metrics.waiting("mails", "dead", waiting.dead, waiting.oldest_dead.map(|at| now - at));
    Ok(())
}
