//! A part that falls silent: its connections stay open, and nothing comes over them any more. Whatever waits for it has a deadline,
//! and a deadline frees what the call holds.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use octoco::platform::clock::Clock;
use octoco::platform::config::{Counting, RateLimits};
use octoco::platform::database::Db;
use octoco::platform::notifier::Notifier;
use octoco::platform::rate_limits::{Answer, Class, Counter, Limiter};
use reqwest::StatusCode;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::connections::{pause, until};
use crate::harness::{PATIENCE, TestApp, environment};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Passes,
    /// Closed before a word is said.
    Closes,
    Resets,
    /// Nobody speaks until it turns again, and then it passes.
    Waits,
    /// Something else than what is behind it answers.
    Babbles,
}

/// Stands before a part.
struct Relay {
    port: u16,
    /// How often it fell silent, and what new connections meet.
    now: watch::Sender<(u32, Way)>,
}

impl Relay {
    async fn before(part: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let (now, told) = watch::channel((0, Way::Passes));
        spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                spawn(relay(stream, part.clone(), told.clone()));
            }
        });
        Self { port, now }
    }

    async fn before_postgresql(db: &PgPool) -> Self {
        let options = db.connect_options();
        Self::before(format!("{}:{}", options.get_host(), options.get_port())).await
    }

    /// A pool over the relay.
    fn pool(&self, db: &PgPool, connections: u32) -> PgPool {
        let options = db.connect_options().as_ref().clone().host("127.0.0.1").port(self.port);
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(3));
        pool.connect_lazy_with(options)
    }

    /// For those that are open now.
    fn falls_silent(&self) {
        self.now.send_modify(|(silences, _)| *silences += 1);
    }

    /// Those that are open end, and new ones meet this.
    fn turns(&self, way: Way) {
        self.now.send_modify(|(_, now)| *now = way);
    }
}

async fn relay(mut stream: TcpStream, part: String, mut told: watch::Receiver<(u32, Way)>) {
    let met = *told.borrow();
    if met.1 == Way::Waits {
        other(&mut told, met).await;
    }
    let (silences, way) = *told.borrow();
    match way {
        Way::Passes | Way::Waits => {}
        Way::Closes => return,
        Way::Resets => return stream.set_zero_linger().expect("a socket"),
        Way::Babbles => return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap_or_default(),
    }
    let mut behind = TcpStream::connect(part).await.expect("the part is there");
    tokio::select! {
        _ = copy_bidirectional(&mut stream, &mut behind) => {}
        silent = other(&mut told, (silences, way)) => {
            if silent {
                pending::<()>().await;
            }
        }
    }
}

/// Waits for something else than `before`: true when it fell silent.
async fn other(told: &mut watch::Receiver<(u32, Way)>, before: (u32, Way)) -> bool {
    told.wait_for(|now| *now != before).await.is_ok_and(|now| now.0 > before.0)
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

fn in_use(t: &TestApp) -> i64 {
    t.app.db.measure("main", &t.app.metrics);
    t.app.metrics.db_pool_connections.with_label_values(&["main", "in_use"]).get()
}

/// Asks until it is answered. Whoever is not is told when to come again, and nothing worse.
async fn answered_again(t: &TestApp, token: &str) {
    let started = Instant::now();
    loop {
        let answer = t.send(reqwest::Method::GET, "/v1/me", Some(token), &[], None).await;
        if answer.status == StatusCode::OK {
            return;
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        assert!(answer.headers.contains_key("retry-after"));
        assert!(started.elapsed() < PATIENCE, "never");
    }
}

async fn sleeping(db: &PgPool) -> i64 {
    let statements = "select count(*) from pg_stat_activity
         where datname = current_database() and state = 'active' and query = 'select pg_sleep(20)'";
    sqlx::query_scalar(statements).fetch_one(db).await.expect("PostgreSQL answers")
}

#[sqlx::test]
async fn statements_that_postgresql_does_not_answer_hold_their_connections_no_longer_than_their_deadline(db: PgPool) {
    let relay = Relay::before_postgresql(&db).await;
    let t = TestApp::new(relay.pool(&db, 8)).await;
    let customer = t.customer().await;
    let token = t.token(&customer);
    // A busy machine may need longer to open them than a request waits.
    while futures_util::future::join_all((0..8).map(|_| t.app.db.acquire())).await.iter().any(Result::is_err) {}
    until("all are given back", || in_use(&t) == 0).await;
    let statement = async || {
        let sleep = sqlx::query("select pg_sleep(20)").execute(&t.app.db);
        timeout(Duration::from_secs(5), sleep).await.is_err()
    };
    let transaction = async || {
        let mut tx = t.app.db.begin().await.expect("a transaction");
        sqlx::query("select 1").execute(&mut *tx).await.expect("PostgreSQL answers");
        let sleep = sqlx::query("select pg_sleep(20)").execute(&mut *tx);
        timeout(Duration::from_secs(5), sleep).await.is_err()
    };
    let silence = async {
        // All of them at PostgreSQL: one that is only being taken would wait for its first answer.
        let all_sleep = async { while sleeping(&db).await < 8 {} };
        timeout(Duration::from_secs(4), all_sleep).await.expect("eight statements in flight");
        relay.falls_silent();
        // As many again wait for a connection.
        let waiting = (0..23).map(|_| t.get(&customer, "/v1/me"));
        for answer in futures_util::future::join_all(waiting).await {
            assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status), "{}", answer.body);
        }
    };
    let (four, more, ()) = tokio::join!(
        futures_util::future::join_all((0..4).map(|_| statement())),
        futures_util::future::join_all((0..4).map(|_| transaction())),
        silence
    );
    assert!(four.iter().chain(&more).all(|late| *late), "their deadline was met first");
    answered_again(&t, &token).await;
    until("none is held", || in_use(&t) == 0).await;
    t.finish().await;
}

/// Without a deadline of the caller's.
#[sqlx::test]
async fn a_statement_ends_by_itself_where_postgresql_does_not_answer(db: PgPool) {
    let relay = Relay::before_postgresql(&db).await;
    let held = Db::from(relay.pool(&db, 1));
    let silence = async {
        pause(Duration::from_millis(500)).await;
        relay.falls_silent();
    };
    let (answer, ()) = tokio::join!(sqlx::query("select pg_sleep(1)").execute(&held), silence);
    let error = octoco::platform::error::Error::from(answer.expect_err("nobody answers"));
    assert_eq!(error.code(), "unavailable", "{error:?}");
    sqlx::query("select 1").execute(&held).await.expect("its only connection is a new one");
}

#[sqlx::test]
async fn idle_connections_that_fell_silent_are_left(db: PgPool) {
    let relay = Relay::before_postgresql(&db).await;
    let t = TestApp::new(relay.pool(&db, 3)).await;
    let customer = t.customer().await;
    let token = t.token(&customer);
    futures_util::future::join_all((0..6).map(|_| t.get(&customer, "/v1/me"))).await;
    until("all are idle", || in_use(&t) == 0).await;
    relay.falls_silent();
    answered_again(&t, &token).await;
    until("none is held", || in_use(&t) == 0).await;
    t.finish().await;
}

#[sqlx::test]
async fn a_handshake_that_is_cut_off_is_told_as_a_part_that_is_away(db: PgPool) {
    let relay = Relay::before_postgresql(&db).await;
    let t = TestApp::new(relay.pool(&db, 3)).await;
    let customer = t.customer().await;
    for way in [Way::Closes, Way::Resets, Way::Babbles] {
        relay.turns(way);
        pause(Duration::from_millis(50)).await;
        let answer = t.get(&customer, "/v1/bank-accounts").await;
        assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{way:?}");
        assert!(answer.headers.contains_key("retry-after"), "{way:?}");
    }
    relay.turns(Way::Passes);
    answered_again(&t, &t.token(&customer)).await;
    t.finish().await;
}

#[sqlx::test]
async fn a_process_whose_pool_is_stuck_ends_and_one_whose_database_is_away_does_not(db: PgPool) {
    let relay = Relay::before_postgresql(&db).await;
    let pool = relay.pool(&db, 2);
    let watched = Db::from(pool.clone());
    let stuck = Duration::from_secs(1);
    assert!(timeout(3 * stuck, watched.watch(stuck)).await.is_err(), "all is well");
    let held = [pool.acquire().await.expect("one"), pool.acquire().await.expect("the other")];
    relay.turns(Way::Closes);
    assert!(timeout(6 * stuck, watched.watch(stuck)).await.is_err(), "a new process would not help");
    relay.turns(Way::Passes);
    timeout(PATIENCE, watched.watch(stuck)).await.expect("it ends");
    drop(held);
}

/// It is seen to be back by one who connects beside the pool, before the pool has had its turn.
#[sqlx::test]
async fn a_process_whose_database_has_just_come_back_does_not_end(db: PgPool) {
    let relay = Relay::before_postgresql(&db).await;
    let pool = relay.pool(&db, 2);
    let watched = Db::from(pool.clone());
    let held = [pool.acquire().await.expect("one"), pool.acquire().await.expect("the other")];
    relay.turns(Way::Waits);
    let comes_back = async {
        // It has waited in vain for the pool, and asks beside it.
        pause(Duration::from_secs(4)).await;
        drop(held);
        relay.turns(Way::Passes);
        pause(Duration::from_secs(5)).await;
    };
    let stuck = Duration::from_secs(1);
    tokio::select! {
        () = watched.watch(stuck) => panic!("the pool is not stuck"),
        () = comes_back => {}
    }
}

#[sqlx::test]
async fn a_standby_is_lent_to_nobody(db: PgPool) {
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&db).await.expect("a name");
    let sql = |text: String| async { sqlx::raw_sql(AssertSqlSafe(text)).execute(&db).await.expect("done") };
    sql(format!(
        "create function public.pg_is_in_recovery() returns boolean language sql as 'select true';
         alter database \"{name}\" set search_path = public, pg_catalog"
    ))
    .await;
    let clock = Clock::with_wall_ahead(TimeDelta::zero());
    let service = Db::open(db.connect_options().as_ref().clone(), 2, &clock);
    assert!(service.acquire().await.is_err(), "it takes no write");
    // Nor would a new process have another one: this one goes on.
    let ended = timeout(Duration::from_secs(15), service.watch(Duration::from_secs(1))).await;
    assert!(ended.is_err(), "a standby ends no process");
    sql("drop function public.pg_is_in_recovery()".to_owned()).await;
    assert!(service.acquire().await.is_ok(), "it was promoted");
}

#[sqlx::test]
async fn wake_ups_are_heard_again_after_a_silence(db: PgPool) {
    let relay = Relay::before_postgresql(&db).await;
    let notifier = Arc::new(Notifier::new(Db::from(relay.pool(&db, 2))));
    let hearing = Arc::clone(&notifier);
    spawn(async move { hearing.listen().await });
    let heard = async || {
        let woken = notifier.woken();
        let told = sqlx::query("select pg_notify('octoco_wake', '')").execute(&db).await;
        told.expect("PostgreSQL answers");
        timeout(Duration::from_millis(200), woken).await.is_ok()
    };
    let once = async || while !heard().await {};
    timeout(PATIENCE, once()).await.expect("it listens");
    relay.falls_silent();
    assert!(!heard().await, "nothing comes over the old connection");
    timeout(PATIENCE, once()).await.expect("it listens again");
}

#[tokio::test]
async fn a_silent_connection_to_redis_is_left_within_seconds() {
    let redis: reqwest::Url = environment("TEST_REDIS_URL").parse().expect("a URL");
    let relay = Relay::before(format!("{}:{}", redis.host_str().expect("a host"), redis.port().unwrap_or(6379))).await;
    let counting = Counting {
        prefix: format!("octoco:test:{}", uuid::Uuid::now_v7()),
        answer: Duration::from_millis(300),
        connection: Duration::from_millis(600),
    };
    let limiter = Limiter::new(&format!("redis://127.0.0.1:{}", relay.port), RateLimits::Default, counting);
    let limiter = limiter.expect("a URL");
    let by_redis = async || matches!(limiter.check(Class::Read, "a").await, Answer::Allowed(_, Counter::Redis));
    let again = async || {
        let started = Instant::now();
        while !by_redis().await {
            assert!(started.elapsed() < Duration::from_secs(10), "never");
            pause(Duration::from_millis(50)).await;
        }
    };
    again().await;
    relay.falls_silent();
    assert!(!by_redis().await, "the process counts for itself meanwhile");
    again().await;
    assert!(limiter.ping().await);
    while let Answer::Allowed(..) = limiter.check(Class::GuessLong, "b").await {}
    relay.falls_silent();
    let answer = limiter.check(Class::GuessLong, "b").await;
    assert!(matches!(answer, Answer::Refused { counter: Counter::Process, .. }), "nothing anew: {answer:?}");
}

/// Two that serve and two that work, and as many of the next release beside them; three places are PostgreSQL's own.
#[sqlx::test]
async fn the_pools_of_two_releases_fit_into_postgresql_as_it_comes(db: PgPool) {
    let t = TestApp::new(db).await;
    let of_one = t.app.config.database_connections_max + 1;
    assert!(2 * (2 + 2) * of_one <= 100 - 3, "{of_one} for each");
    t.finish().await;
}

/// A statement is one round trip: a connection is lent again as it is. It is the pool's all the same.
#[sqlx::test]
async fn what_is_kept_aside_for_the_next_statement_is_the_pools_when_it_wants_it(db: PgPool) {
    let options = db.connect_options().as_ref().clone();
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(options);
    let kept = Db::from(pool.clone());
    let pids = futures_util::future::join_all((0..100).map(|_| async {
        sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&kept).await.expect("PostgreSQL answers")
    }));
    let pids: std::collections::HashSet<i32> = pids.await.into_iter().collect();
    assert!(pids.len() <= 2 && pool.size() <= 2, "nobody waits for ever, and there are no more than may be: {pids:?}");
    // After a mistake, or when nobody waited for the answer, it is asked whether it is well.
    assert!(sqlx::query("select 1 / 0").execute(&kept).await.is_err());
    let slow = sqlx::query("select pg_sleep(0.3)").execute(&kept);
    assert!(tokio::time::timeout(Duration::from_millis(50), slow).await.is_err());
    let one: i32 = sqlx::query_scalar("select 1").fetch_one(&kept).await.expect("PostgreSQL answers");
    assert_eq!(one, 1);
    tokio::time::timeout(Duration::from_secs(3), pool.close()).await.expect("it has all its connections");
    assert!(matches!(sqlx::query("select 1").execute(&kept).await, Err(sqlx::Error::PoolClosed)));
}
