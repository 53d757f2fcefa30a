//! PostgreSQL: the pool, and how nobody waits for ever for a server that has fallen silent.
//!
//! A pool of sqlx's takes a connection back only when its last statement was answered, and waits for that without end. Here it waits for
//! `RETURN`; then the connection is closed and its place is free for a new one. So whatever deadline a call has frees what the call holds.
//! A statement of its own has a deadline too. Locks that a lost process holds end by the server's keepalives.
//!
//! The pool asks the server before it takes a connection back: a second round trip for each statement. So a connection whose last statement
//! was answered whole is kept beside the pool (`Warm`) and lent to the next caller as it is; unused for a moment, it goes back to the pool.

mod store;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, mem, pin::pin};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, TryFutureExt, TryStreamExt};
use sqlx::pool::{CloseEvent, PoolConnection};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection as _, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{error::Elapsed, timeout};

use self::store::PLANNED_ONCE;
use crate::platform::clock::Clock;
use crate::platform::telemetry::Metrics;

/// How long a request waits for a free connection before it is told that the service is busy.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long a connection has for the rest of what its last user asked.
const RETURN: Duration = Duration::from_secs(3);
/// Longer than the server lets a statement run: who has not answered by then does not.
const ANSWER: Duration = Duration::from_secs(15);
/// No statement of ours needs more; one that does is a defect and must not hold a connection.
const STATEMENT: &str = "10s";
/// One that was idle for longer is asked first whether it lives: a server that is started anew takes longer.
const IDLE_TRUSTED: Duration = Duration::from_millis(100);
/// One that is lent all the time is looked at by the pool so often all the same: nothing lives for ever.
const WARM_MAX: Duration = Duration::from_secs(600);
/// How often those that nobody uses are looked for.
const WARM_LOOK: Duration = Duration::from_secs(1);
/// A transaction that was left open by a lost process frees its locks after this.
const IDLE_TRANSACTION: &str = "10s";

#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
    warm: Arc<Warm>,
    /// One for each connection that there may be.
    turns: Arc<Semaphore>,
    started: Instant,
    /// When the pool last gave somebody a connection, in milliseconds after `started`.
    lent: Arc<AtomicU64>,
}

/// A connection of the pool's, for one call.
pub struct Connection {
    held: Option<PoolConnection<Postgres>>,
    warm: Arc<Warm>,
    turn: Option<OwnedSemaphorePermit>,
    /// When the pool gave it away.
    since: Instant,
    answer: Answer,
}

/// What became of what a connection was asked last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It may be under way.
    Unknown,
    Whole,
    None,
}

/// Connections that can be lent as they are; the last used is the last. `None` = the pool was closed, and wants them all.
#[derive(Debug)]
struct Warm(Mutex<Option<Vec<Kept>>>);

#[derive(Debug)]
struct Kept {
    held: PoolConnection<Postgres>,
    since: Instant,
    used: Instant,
}

impl Warm {
    fn take(&self) -> Option<Kept> {
        self.give_back_unused();
        self.kept().as_mut()?.pop()
    }

    /// Where the last was not used for a while, none was: they are the pool's again, which asks them.
    fn give_back_unused(&self) {
        let mut kept = self.kept();
        if let Some(kept) = kept.as_mut().filter(|kept| kept.last().is_some_and(Kept::is_unused)) {
            give_back_all(mem::take(kept));
        }
    }

    /// What is not wanted comes back.
    fn keep(&self, held: PoolConnection<Postgres>, since: Instant) -> Option<PoolConnection<Postgres>> {
        match self.kept().as_mut() {
            Some(kept) => kept.push(Kept { held, since, used: Instant::now() }),
            None => return Some(held),
        }
        None
    }

    fn close(&self) {
        let kept = self.kept().take();
        give_back_all(kept.unwrap_or_default());
    }

    fn len(&self) -> usize {
        self.kept().as_ref().map_or(0, Vec::len)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Vec<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_unused(&self) -> bool {
        self.used.elapsed() > IDLE_TRUSTED
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        self.close();
    }
}

fn give_back_all(kept: Vec<Kept>) {
    for Kept { held, .. } in kept {
        give_back(held, false, None);
    }
}

/// To the pool, where the server answers in time; else it is closed.
fn give_back(mut held: PoolConnection<Postgres>, open: bool, turn: Option<OwnedSemaphorePermit>) {
    // Closed by being dropped.
    let Ok(runtime) = Handle::try_current() else { return drop(held.detach()) };
    runtime.spawn(async move {
        let _turn = turn;
        let rolled_back = async { !open || held.execute("rollback").await.is_ok() };
        let rolled_back = timeout(RETURN, rolled_back).await.unwrap_or(false);
        if rolled_back && timeout(RETURN, held.return_to_pool()).await.is_ok() {
            return;
        }
        tracing::warn!("PostgreSQL does not answer; a connection to it is closed");
        if !rolled_back {
            drop(held.detach());
        }
    });
}

/// Whoever closes a pool waits until it has all its connections; and nobody keeps what is not used.
async fn let_go(closed: CloseEvent, warm: Weak<Warm>) {
    let mut closed = pin!(closed);
    while timeout(WARM_LOOK, closed.as_mut()).await.is_err() {
        let Some(warm) = warm.upgrade() else { return };
        warm.give_back_unused();
    }
    if let Some(warm) = warm.upgrade() {
        warm.close();
    }
}

/// A transaction; rolled back unless it is committed.
pub struct Transaction {
    connection: Connection,
    open: bool,
}

impl From<PgPool> for Db {
    fn from(pool: PgPool) -> Self {
        let (warm, turns) =
            (Arc::new(Warm(Mutex::new(Some(Vec::new())))), number(pool.options().get_max_connections()));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(let_go(pool.close_event(), Arc::downgrade(&warm)));
        }
        let turns = Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS)));
        Self { pool, warm, turns, started: Instant::now(), lent: Arc::default() }
    }
}

impl Db {
    /// Connects when it is first asked.
    pub fn open(options: PgConnectOptions, connections_max: u32, clock: &Clock) -> Self {
        let clock = clock.clone();
        let options = options.application_name("octoco").options([
            ("statement_timeout", STATEMENT),
            ("idle_in_transaction_session_timeout", IDLE_TRANSACTION),
            ("tcp_keepalives_idle", "20"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "30000"),
            // Compiling a plan takes longer than a page.
            ("jit", "off"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE)
            // One that was just used is not asked first whether it lives: that would be a round trip before each statement.
            .test_before_acquire(false)
            .before_acquire(|db, lent| {
                Box::pin(async move {
                    if lent.idle_for > IDLE_TRUSTED {
                        db.ping().await?;
                    }
                    Ok(true)
                })
            })
            // No statement goes out before the time of the server that gets it is known: after a failover it is another one.
            .after_connect(move |db, _| {
                let clock = clock.clone();
                Box::pin(async move {
                    clock.measure(db).await?;
                    store::require_primary(db).await
                })
            });
        Self::from(pool.connect_lazy_with(options))
    }

    /// Connections of their own for statements that are planned once, by an index and in its order, whatever the values are and however few
    /// rows there were by then: a plan that is kept is not made anew when somebody has a tenth of all rows. No statement takes longer than
    /// the deadline.
    pub fn for_lists(&self, connections_max: u32, deadline: Duration) -> Self {
        let deadline = deadline.as_millis().to_string();
        self.beside(connections_max, PLANNED_ONCE.into_iter().chain([("statement_timeout", deadline.as_str())]))
    }

    /// The same for statements of many at once, which find each row by an index, and do not wait for longer for what somebody has locked.
    pub fn for_batches(&self, connections_max: u32, lock: Duration) -> Self {
        let lock = lock.as_millis().to_string();
        self.beside(connections_max, PLANNED_ONCE.into_iter().chain([("lock_timeout", lock.as_str())]))
    }

    /// They end with the pool that they stand beside, or with their last user.
    fn beside<'s>(&self, connections_max: u32, settings: impl IntoIterator<Item = (&'s str, &'s str)>) -> Self {
        let options = self.pool.connect_options().as_ref().clone().options(settings);
        let pool = self.pool.options().clone().max_connections(connections_max).connect_lazy_with(options);
        let (closed, beside) = (self.pool.close_event(), Self::from(pool.clone()));
        let used = Arc::downgrade(&beside.warm);
        #[expect(clippy::disallowed_methods, reason = "it ends with the pool")]
        tokio::spawn(async move {
            let mut closed = pin!(closed);
            while timeout(WARM_LOOK, closed.as_mut()).await.is_err() {
                if used.strong_count() == 0 {
                    return;
                }
            }
            pool.close().await;
        });
        beside
    }

    pub async fn acquire(&self) -> sqlx::Result<Connection> {
        let turn = timeout(self.pool.options().get_acquire_timeout(), Arc::clone(&self.turns).acquire_owned());
        let turn = turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let (held, since) = match self.warm.take() {
            Some(kept) => (kept.held, kept.since),
            None => (self.pool.acquire().await?, Instant::now()),
        };
        self.lent.store(self.millis(), Ordering::Relaxed);
        let warm = Arc::clone(&self.warm);
        Ok(Connection { held: Some(held), warm, turn: Some(turn), since, answer: Answer::Unknown })
    }

    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        self.begin_with("begin").await
    }

    /// A snapshot, and no statement that takes longer than the deadline.
    pub async fn begin_reading(&self, deadline: Duration) -> sqlx::Result<Transaction> {
        let begin = "begin isolation level repeatable read read only; set local statement_timeout = ";
        self.begin_with(AssertSqlSafe(format!("{begin}{}", deadline.as_millis()))).await
    }

    async fn begin_with(&self, statement: impl sqlx::SqlSafeStr + Send) -> sqlx::Result<Transaction> {
        let mut transaction = Transaction { connection: self.acquire().await?, open: true };
        transaction.execute(sqlx::raw_sql(statement)).await?;
        Ok(transaction)
    }

    /// A connection beside the pool, which is given up for another when it falls silent; nothing of the pool's hangs on it.
    pub async fn listener(&self) -> sqlx::Result<PgListener> {
        let options = self.pool.connect_options().as_ref().clone();
        let one = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE);
        PgListener::connect_with(&one.idle_timeout(None).max_lifetime(None).connect_lazy_with(options)).await
    }

    /// Brings the gauges of the pool up to date.
    pub fn measure(&self, pool: &str, metrics: &Metrics) {
        let gauge = |connections: usize| i64::try_from(connections).unwrap_or(i64::MAX);
        let (all, idle) = (number(self.pool.size()), self.pool.num_idle() + self.warm.len());
        let max = number(self.pool.options().get_max_connections());
        for (state, connections) in [("idle", idle), ("in_use", all.saturating_sub(idle)), ("max", max)] {
            metrics.db_pool_connections.with_label_values(&[pool, state]).set(gauge(connections));
        }
    }

    /// Ends when the pool has given nobody a connection for so long although the server takes a new one: then only a new process
    /// helps. While the server is away nothing does, and it goes on.
    pub async fn watch(&self, stuck: Duration) {
        loop {
            pause(stuck / 12).await;
            let lent = Duration::from_millis(self.lent.load(Ordering::Relaxed));
            if self.acquire().await.is_err()
                && self.started.elapsed() > lent + stuck
                && self.takes_another().await
                // The server may just have come back.
                && self.acquire().await.is_err()
            {
                tracing::error!(?stuck, "the pool gives no connection to PostgreSQL, which takes a new one");
                return;
            }
        }
    }

    async fn takes_another(&self) -> bool {
        let fresh = async {
            let mut fresh = self.pool.connect_options().connect().await?;
            // A standby would be lent to nobody by a new process either.
            store::require_primary(&mut fresh).await?;
            fresh.close().await
        };
        matches!(timeout(ACQUIRE, fresh).await, Ok(Ok(())))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Connection {
    /// Not the pool's any more.
    pub fn detach(mut self) -> PgConnection {
        self.held.take().expect("it is held until it is dropped").detach()
    }

    /// Ends it with all that hangs on it, as a lock for as long as it lives.
    pub async fn close(self) -> sqlx::Result<()> {
        self.detach().close().await
    }

    fn answered<T>(&mut self, answer: Result<sqlx::Result<T>, Elapsed>) -> sqlx::Result<T> {
        self.answer = match &answer {
            Ok(Ok(_)) => Answer::Whole,
            Ok(Err(_)) => Answer::Unknown,
            Err(_) => Answer::None,
        };
        let silent = |_| Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL does not answer")));
        answer.unwrap_or_else(silent)
    }

    fn give_back(&mut self, open: bool) {
        let Some(held) = self.held.take() else { return };
        if self.answer == Answer::None {
            return drop(held.detach());
        }
        let is_warm = self.answer == Answer::Whole && !open && self.since.elapsed() < WARM_MAX;
        let held = if is_warm { self.warm.keep(held, self.since) } else { Some(held) };
        if let Some(held) = held {
            give_back(held, open, self.turn.take());
        }
    }
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.held.as_ref().expect("it is held until it is dropped")
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.held.as_mut().expect("it is held until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.give_back(false);
    }
}

impl Transaction {
    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.connection.execute("commit").await?;
        self.open = false;
        self.connection.answer = Answer::Whole;
        Ok(())
    }

    pub async fn rollback(mut self) -> sqlx::Result<()> {
        self.connection.execute("rollback").await?;
        self.open = false;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.connection.give_back(self.open);
    }
}

/// A statement of its own: with a connection for as long as it is answered.
impl<'d> Executor<'d> for &'_ Db {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'd: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        let all = async move {
            let mut connection = db.acquire().await?;
            let answer = timeout(ANSWER, connection.fetch_many(query).try_collect::<Vec<_>>()).await;
            connection.answered(answer)
        };
        Box::pin(all.map_ok(|all| stream::iter(all.into_iter().map(Ok))).try_flatten_stream())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'd: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        async move {
            let mut connection = db.acquire().await?;
            let answer = timeout(ANSWER, connection.fetch_optional(query)).await;
            connection.answered(answer)
        }
        .boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'd: 'e,
    {
        let db = self.clone();
        async move {
            let mut connection = db.acquire().await?;
            let answer = timeout(ANSWER, connection.prepare_with(sql, parameters)).await;
            connection.answered(answer)
        }
        .boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx::Describe<Postgres>>>
    where
        'd: 'e,
    {
        let db = self.clone();
        async move { db.acquire().await?.describe(sql).await }.boxed()
    }
}

/// Whether a statement was ended by its deadline.
pub fn is_deadline(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| code == "57014"))
}

fn number(connections: u32) -> usize {
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this paces a background loop that no request waits for")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
