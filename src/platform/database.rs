//! PostgreSQL: the pool, and how nobody waits for ever for a server that has fallen silent.
//!
//! A pool of sqlx's takes a connection back only when its last statement was answered, and waits for that without end. Here it waits for
//! `RETURN`; then the connection is closed and its place is free for a new one. So whatever deadline a call has frees what the call holds.
//! A statement of its own has a deadline too. Locks that a lost process holds end by the server's keepalives.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{ConnectOptions, Connection as _, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};
use tokio::time::{error::Elapsed, timeout};

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
/// A transaction that was left open by a lost process frees its locks after this.
const IDLE_TRANSACTION: &str = "10s";

#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
    started: Instant,
    /// When the pool last gave somebody a connection, in milliseconds after `started`.
    lent: Arc<AtomicU64>,
}

/// A connection of the pool's, for one call.
pub struct Connection {
    held: Option<PoolConnection<Postgres>>,
    /// What it was asked was not answered.
    silent: bool,
}

/// A transaction; rolled back unless it is committed.
pub struct Transaction {
    connection: Connection,
    open: bool,
}

impl From<PgPool> for Db {
    fn from(pool: PgPool) -> Self {
        Self { pool, started: Instant::now(), lent: Arc::default() }
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
                Box::pin(async move { clock.measure(db).await })
            });
        Self::from(pool.connect_lazy_with(options))
    }

    /// Connections of their own for statements that are planned once, by an index and in its order, whatever the values are and however few
    /// rows there were by then: a plan that is kept is not made anew when somebody has a tenth of all rows. No statement takes longer than
    /// the deadline. They end with the pool that they stand beside.
    pub fn for_lists(&self, connections_max: u32, deadline: Duration) -> Self {
        let deadline = deadline.as_millis().to_string();
        let options = self.pool.connect_options().as_ref().clone().options([
            ("statement_timeout", deadline.as_str()),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ]);
        let pool = self.pool.options().clone().max_connections(connections_max).connect_lazy_with(options);
        let (beside, lists) = (self.pool.close_event(), pool.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the pool")]
        tokio::spawn(async move {
            beside.await;
            lists.close().await;
        });
        Self::from(pool)
    }

    pub async fn acquire(&self) -> sqlx::Result<Connection> {
        let held = self.pool.acquire().await?;
        self.lent.store(self.millis(), Ordering::Relaxed);
        Ok(Connection { held: Some(held), silent: false })
    }

    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        self.begin_with("begin").await
    }

    pub async fn begin_with(&self, statement: impl sqlx::SqlSafeStr + Send) -> sqlx::Result<Transaction> {
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
    pub fn measure(&self, metrics: &Metrics) {
        let (all, idle) = (i64::from(self.pool.size()), i64::try_from(self.pool.num_idle()).unwrap_or(i64::MAX));
        let max = i64::from(self.pool.options().get_max_connections());
        for (state, connections) in [("idle", idle), ("in_use", all.saturating_sub(idle).max(0)), ("max", max)] {
            metrics.db_pool_connections.with_label_values(&[state]).set(connections);
        }
    }

    /// Ends when the pool has given nobody a connection for so long although the server takes a new one: then only a new process
    /// helps. While the server is away nothing does, and it goes on.
    pub async fn watch(&self, stuck: Duration) {
        loop {
            pause(stuck / 12).await;
            let lent = Duration::from_millis(self.lent.load(Ordering::Relaxed));
            if self.acquire().await.is_err() && self.started.elapsed() > lent + stuck && self.takes_another().await {
                tracing::error!(?stuck, "the pool gives no connection to PostgreSQL, which takes a new one");
                return;
            }
        }
    }

    async fn takes_another(&self) -> bool {
        let fresh = async {
            let mut fresh = self.pool.connect_options().connect().await?;
            fresh.ping().await?;
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
        answer.unwrap_or_else(|_| {
            self.silent = true;
            Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL does not answer")))
        })
    }

    fn give_back(&mut self, open: bool) {
        let Some(mut held) = self.held.take() else { return };
        let runtime = tokio::runtime::Handle::try_current().ok().filter(|_| !self.silent);
        // Closed by being dropped.
        let Some(runtime) = runtime else { return drop(held.detach()) };
        runtime.spawn(async move {
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

#[expect(clippy::disallowed_methods, reason = "this paces a background loop that no request waits for")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
