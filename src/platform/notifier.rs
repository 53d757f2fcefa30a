//! Wakes the worker the moment that there is something to do. Polling stays the safety net: a lost wake-up costs a second, never a
//! row. Workers in other processes are told over PostgreSQL's NOTIFY, by a statement of its own that gathers what some milliseconds
//! bring: a NOTIFY inside each business transaction would make all their commits queue behind one lock.

use std::{io, sync::Arc, time::Duration};

use sqlx::Executor;
use tokio::{sync::Notify, time::timeout};

use crate::platform::database::Db;

const CHANNEL: &str = "octoco_wake";
const GATHER: Duration = Duration::from_millis(20);
/// After the listening connection broke: polling goes on meanwhile.
const RECONNECT: Duration = Duration::from_secs(1);
/// Where nothing was heard for so long, the server is asked whether it is still there, and answers in time.
const HEARTBEAT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Notifier {
    db: Db,
    here: Arc<Notify>,
    elsewhere: Arc<Notify>,
}

impl Notifier {
    pub fn new(db: impl Into<Db>) -> Self {
        Self { db: db.into(), here: Arc::default(), elsewhere: Arc::default() }
    }

    pub fn wake(&self) {
        self.here.notify_waiters();
        self.elsewhere.notify_one();
    }

    /// Comes back when something may be due. Create it before looking for work, or a wake-up in between is lost.
    pub fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.here.notified()
    }

    /// Tells the other processes; runs for as long as this one.
    pub async fn announce(&self) {
        loop {
            self.elsewhere.notified().await;
            if let Err(error) = sqlx::query!("select pg_notify($1, '')", CHANNEL).execute(&self.db).await {
                tracing::debug!(%error, "the other workers were not woken and will poll");
            }
            pause(GATHER).await;
        }
    }

    /// Hears the other processes; runs for as long as this one.
    pub async fn listen(&self) {
        loop {
            if let Err(error) = self.hear().await {
                tracing::warn!(%error, "wake-ups of other processes are not heard; polling goes on");
                pause(RECONNECT).await;
            }
        }
    }

    async fn hear(&self) -> Result<(), sqlx::Error> {
        let silent = |_| sqlx::Error::Io(io::ErrorKind::TimedOut.into());
        let mut listener = self.db.listener().await?;
        timeout(ANSWER, listener.listen(CHANNEL)).await.map_err(silent)??;
        loop {
            match timeout(HEARTBEAT, listener.recv()).await {
                Ok(heard) => {
                    heard?;
                    self.here.notify_waiters();
                }
                Err(_) => {
                    timeout(ANSWER, listener.execute("select 1")).await.map_err(silent)??;
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this paces a background loop that no test waits for")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
