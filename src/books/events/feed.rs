//! The one task that tells all who listen. What it has told is remembered for as long as it can be found again.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use hyper::body::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use uuid::Uuid;

use super::frames::{self, Ended, Over};
use super::{balances_of_all, count_end, rows, store};
use crate::app::App;
use crate::books::projector;
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use crate::platform::queue;

const PERIOD: Duration = Duration::from_millis(500);
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A change is looked for until so long after its time: a transaction that was under way may commit later.
const OVERLAP: TimeDelta = TimeDelta::seconds(15);
/// Longer than it can be found again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Of the ledger's copy: when it is built anew, what is older was told long ago.
const TRANSFERS_AGE_MAX: TimeDelta = TimeDelta::seconds(60);

/// A row as it was at one moment.
type RowVersion = (Uuid, i32, Option<DateTime>);

/// How far the copy of each currency's ledger was.
type Cursors = HashMap<String, i64>;

struct Feed {
    looked_at: DateTime,
    told: HashMap<RowVersion, Instant>,
    cursors: Cursors,
    /// Of each who listens: what was last told, one for each currency.
    balances: HashMap<Uuid, Vec<String>>,
}

/// What there is to tell, each customer's in one piece.
#[derive(Default)]
struct News(HashMap<Uuid, Vec<u8>>);

/// Runs for as long as the process.
pub async fn watch(app: &App) {
    let mut feed = Feed::begun(app.clock.now());
    loop {
        if app.waiting.streams.is_empty() {
            app.waiting.streams.occupied().await;
            feed = Feed::begun(app.clock.now());
        }
        let now = app.clock.now();
        end_sessions(app, now).await;
        let pause = match queue::caught(feed.news(app, now)).await {
            Ok(news) => {
                tell(app, news, now);
                PERIOD
            }
            Err(error) => {
                tracing::warn!(error = error.chain(), "what changed could not be looked for; those who listen wait");
                tell(app, News::default(), feed.looked_at);
                FAILURE_PAUSE
            }
        };
        pause_for(pause).await;
    }
}

impl Feed {
    fn begun(at: DateTime) -> Self {
        Self { looked_at: at, told: HashMap::new(), cursors: HashMap::new(), balances: HashMap::new() }
    }

    async fn news(&mut self, app: &App, now: DateTime) -> Result<News> {
        let users: HashSet<Uuid> = app.waiting.streams.map(|waiter| waiter.tenure.user).into_iter().collect();
        self.balances.retain(|user, _| users.contains(user));
        let users: Vec<Uuid> = users.into_iter().collect();
        let since = self.looked_at.min(now) - OVERLAP;
        let mut found = store::changed(&app.db, since, &users).await?;
        found.retain(|row| !self.told.contains_key(&row.version_key()));
        let (transfers, cursors) = self.transfers_of(app, &users, now).await?;
        let moved: HashSet<Uuid> = found.iter().map(|row| row.user_id).chain(transfers).collect();
        let mut news = News::default();
        let ids: Vec<Uuid> = found.iter().map(|row| row.id).collect();
        for row in rows(app, &ids).await? {
            if row.is_shown_to_owner() {
                news.add(row.user_id, &frames::transaction(now, row)?);
            }
        }
        for (user, balances) in balances_of_all(app, moved).await? {
            let seen = self.balances.entry(user).or_default();
            let all = balances.iter().map(serde_json::to_string).collect::<serde_json::Result<Vec<_>>>();
            let all = all.map_err(Error::internal)?;
            for (balance, text) in balances.iter().zip(&all) {
                if !seen.contains(text) {
                    news.add(user, &frames::balance(now, balance)?);
                }
            }
            *seen = all;
        }
        // Only now: what could not be read is found again.
        let at = Instant::now();
        self.told.retain(|_, told| at.duration_since(*told) < REMEMBERED);
        self.told.extend(found.iter().map(|row| (row.version_key(), at)));
        self.cursors = cursors;
        self.looked_at = now;
        Ok(news)
    }

    /// Whose accounts the transfers touched that were copied since the last look, and how far that is.
    async fn transfers_of(&self, app: &App, users: &[Uuid], now: DateTime) -> Result<(Vec<Uuid>, Cursors)> {
        let oldest = (now - TRANSFERS_AGE_MAX).timestamp_nanos_opt().unwrap_or(0);
        let cursors = projector::cursors(app).await?;
        let mut copied = store::Copied::default();
        for (currency, until) in &cursors {
            match self.cursors.get(currency) {
                Some(after) if after < until => copied.add(currency, *after.max(&oldest), *until),
                _ => {}
            }
        }
        let touched = if copied.is_empty() { Vec::new() } else { store::touched(&app.db, &copied, users).await? };
        Ok((touched, cursors.into_iter().collect()))
    }
}

impl News {
    fn add(&mut self, user: Uuid, frame: &Bytes) {
        self.0.entry(user).or_default().extend_from_slice(frame);
    }
}

/// Those whose token or session has ended are told so. While that cannot be known any more, nobody listens on.
async fn end_sessions(app: &App, now: DateTime) {
    let blind = app.access.keep_fresh(now).await.is_err();
    let ended = app.waiting.streams.take_if(|waiter| {
        let over = if !waiter.tenure.has_token_at(now) {
            Some(Over::TokenExpired)
        } else if app.access.knows_end_of(waiter.tenure.session) {
            Some(Over::SessionEnded)
        } else {
            None
        };
        match over {
            Some(why) => {
                // Who takes nothing hears of it by the end of the stream.
                waiter.what.events.try_send(frames::session_ended(why)).unwrap_or_default();
                Some(Ended::Session)
            }
            None => blind.then_some(Ended::Blind),
        }
    });
    ended.into_iter().for_each(|(_, how)| count_end(app, how));
}

fn tell(app: &App, News(news): News, now: DateTime) {
    let heartbeat = frames::heartbeat(now);
    // All streams of one customer share it.
    let news: HashMap<Uuid, Bytes> = news.into_iter().map(|(user, text)| (user, text.into())).collect();
    let ended = app.waiting.streams.take_if(|waiter| {
        let silent = waiter.what.sent_at.elapsed() >= HEARTBEAT;
        let frame = news.get(&waiter.tenure.user).or_else(|| silent.then_some(&heartbeat))?;
        waiter.what.sent_at = Instant::now();
        // One that is closed has left, and says so itself.
        let full = matches!(waiter.what.events.try_send(frame.clone()), Err(TrySendError::Full(_)));
        full.then_some(Ended::Slow)
    });
    ended.into_iter().for_each(|(_, how)| count_end(app, how));
}

#[expect(clippy::disallowed_methods, reason = "this paces a background loop; a test waits for its effect")]
async fn pause_for(length: Duration) {
    tokio::time::sleep(length).await;
}
