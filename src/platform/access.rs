//! What an access token cannot know: whether its session was ended since, its user's present role, whether the e-mail is verified.
//!
//! A token lives 15 minutes and any process can check it without asking. Each process keeps the ids of the sessions that ended
//! within that time and reads that short list anew when a call finds it older than [`PERIOD`]: one small query, however many people
//! call. The price: an ended session is served for up to [`PERIOD`] by the processes that did not end it themselves. While
//! PostgreSQL does not answer, the old list serves up to [`AGE_MAX`]; then nobody is let in on old knowledge. Roles are read for
//! each call of staff: those are rare, and a role that was taken away ends with the next call.

mod store;

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use chrono::TimeDelta;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::platform::{clock::DateTime, database::Db, error::Result, permissions::Role, tokens::ACCESS_SECS};

pub use store::SessionStanding;

/// How old the list may be before a call reads it anew.
pub const PERIOD: TimeDelta = TimeDelta::seconds(10);
/// How old it may become while it cannot be read: an end must be heard within a minute.
pub const AGE_MAX: TimeDelta = TimeDelta::seconds(45);
/// Two machines of ours may disagree by this much about when a session ended.
const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(60);

pub struct Access {
    db: Db,
    ended: RwLock<Ended>,
    /// Held by the one call that reads the list; the others go on with the old one.
    reading: Mutex<()>,
}

#[derive(Default)]
struct Ended {
    sessions: HashSet<Uuid>,
    read_at: Option<DateTime>,
}

impl Access {
    pub fn new(db: impl Into<Db>) -> Self {
        Self { db: db.into(), ended: RwLock::default(), reading: Mutex::default() }
    }

    pub async fn has_ended(&self, session: Uuid, now: DateTime) -> Result<bool> {
        self.keep_fresh(now).await?;
        Ok(self.knows_end_of(session))
    }

    /// Reads the list anew where it is too old: for whoever asks of many sessions at once, and then [`Access::knows_end_of`] each.
    pub async fn keep_fresh(&self, now: DateTime) -> Result<()> {
        // One from the future is of a clock that was set back since, and says nothing.
        let age = self.read(|ended| ended.read_at).map(|at| now - at).filter(|age| *age >= TimeDelta::zero());
        match age {
            Some(age) if age < PERIOD => {}
            Some(age) if age < AGE_MAX => self.refresh_in_passing(now).await,
            Some(_) | None => self.refresh(now).await?,
        }
        Ok(())
    }

    pub fn knows_end_of(&self, session: Uuid) -> bool {
        self.read(|ended| ended.sessions.contains(&session))
    }

    /// Ends a session for this process at once; the others read of it.
    pub fn end(&self, session: Uuid) {
        self.ended.write().unwrap_or_else(PoisonError::into_inner).sessions.insert(session);
    }

    /// The role that the user has at this moment, and what the session has shown; `None` when the session ended or the user is gone.
    /// One of staff has ended, too, when it was begun before `oldest`.
    pub async fn standing(
        &self,
        (user, session): (Uuid, Uuid),
        now: DateTime,
        oldest: Option<DateTime>,
    ) -> Result<Option<SessionStanding>> {
        let standing = store::standing(&self.db, (user, session), now).await?;
        let is_old = |standing: &SessionStanding| oldest.is_some_and(|oldest| standing.begun_at <= oldest);
        Ok(standing.filter(|standing| standing.role == Role::User || !is_old(standing)))
    }

    pub async fn has_verified_email(&self, user: Uuid) -> Result<bool> {
        Ok(store::has_verified_email(&self.db, user).await?)
    }

    pub async fn refresh(&self, now: DateTime) -> Result<()> {
        let since = now - TimeDelta::seconds(ACCESS_SECS) - CLOCK_SKEW;
        let before = self.read(|ended| ended.sessions.clone());
        let read: HashSet<Uuid> = store::ended_since(&self.db, since).await?.into_iter().collect();
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        // What ended here while the list was read may not be in it.
        let ended_meanwhile = ended.sessions.difference(&before).copied();
        let sessions = ended_meanwhile.chain(read).collect();
        *ended = Ended { sessions, read_at: Some(now) };
        Ok(())
    }

    async fn refresh_in_passing(&self, now: DateTime) {
        let Ok(_reading) = self.reading.try_lock() else { return };
        if let Err(error) = self.refresh(now).await {
            tracing::warn!(error = error.chain(), "the list of ended sessions was not read; the old one serves on");
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Ended) -> T) -> T {
        look(&self.ended.read().unwrap_or_else(PoisonError::into_inner))
    }
}
