//! A session that the cluster has ended, noticed or not: the ledger goes on with another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledger::{LedgerError, Leg, TransferId, UnknownCause};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::*;
use crate::server::{Server, client};

/// How many sessions a cluster keeps (docs/reference/sessions.md).
const SESSIONS_MAX: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_client_goes_on_and_every_caller_gets_an_answer() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, First::AsGoodAsAny).await;
    let ledger = client(proxy.port, Duration::from_secs(20)).await;
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 0).await;
    let connections = proxy.accepted();
    for turn in 1..=2 {
        take_all_sessions(server.port).await;
        // Some of these are in flight at the eviction, some are submitted to the session after its end.
        let mut callers = JoinSet::new();
        for _ in 0..2000 {
            let (ledger, deposit) = (ledger.clone(), deposit(&ledger, new_row(), wallet, 1));
            callers.spawn(async move { ledger.transfer(deposit).await });
        }
        let answers = callers.join_all().await;
        let unanswered = answers.iter().filter(|answer| **answer != Ok(())).count();
        assert_eq!(unanswered, 0, "of 2000, in turn {turn}");
        assert_eq!(balance(&ledger, wallet).await, (2000 * turn, 0, 2000 * turn));
        assert_eq!(proxy.accepted(), connections + usize::try_from(turn).unwrap(), "one replacement for all");
    }
}

/// Each client leaves its session behind; its connection must go, or the server accepts no more of them (message_bus.zig).
async fn take_all_sessions(port: u16) {
    for _ in 0..SESSIONS_MAX / 16 {
        let mut others = JoinSet::new();
        for _ in 0..16 {
            others.spawn(async move {
                let other = client(port, Duration::from_secs(20)).await;
                other.ping().await.expect("a session");
                other.close().await;
            });
        }
        others.join_all().await;
    }
}

/// Stands for an eviction that nobody was told of, and for replicas that have moved: the first connection is swallowed, later
/// ones reach the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_session_is_replaced_when_a_fresh_one_is_answered() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, First::Swallowed).await;
    let ledger = client(proxy.port, Duration::from_millis(700)).await;
    assert_eq!(ledger.ping().await, Err(LedgerError::Unknown(UnknownCause::Deadline)), "the first session is deaf");
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 5).await;
    assert_eq!(balance(&ledger, wallet).await, (5, 0, 5));
}

/// Two dozen requests wait in the client while each answer takes half a second: the last ones wait for longer than the deadline,
/// and a fresh session would be answered at once, but this one is not silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_only_slow_is_kept() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, First::Slow(Duration::from_millis(500))).await;
    let ledger = client(proxy.port, Duration::from_secs(10)).await;
    until_known(async || ledger.ping().await).await.unwrap();
    let connections = proxy.accepted();
    let mut callers = JoinSet::new();
    for _ in 0..48 {
        let ledger = ledger.clone();
        // Two of these fill a request of the 32 KiB that a development server takes.
        let ids: Vec<TransferId> = (0..1000).map(|_| TransferId::of(new_row(), Leg::Main)).collect();
        callers.spawn(async move { ledger.lookup(&ids).await.map(drop) });
    }
    let answers = callers.join_all().await;
    assert!(answers.contains(&Ok(())), "{answers:?}");
    // Mostly some of them are too late. On a busy machine all may be in time, and then nothing was in doubt.
    let in_doubt = |answer: &Result<(), LedgerError>| *answer == Err(LedgerError::Unknown(UnknownCause::Deadline));
    assert!(answers.iter().all(|answer| answer.is_ok() || in_doubt(answer)), "{answers:?}");
    until_known(async || ledger.ping().await).await.unwrap();
    assert_eq!(proxy.accepted(), connections);
}

/// Counts the connections, which are as many as the sessions, and may spoil the first one.
struct Proxy {
    port: u16,
    accepted: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

#[derive(Clone, Copy)]
enum First {
    AsGoodAsAny,
    Swallowed,
    /// Each piece of an answer is held back for so long.
    Slow(Duration),
}

impl Proxy {
    async fn start(target: u16, first: First) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut pipes = JoinSet::new();
            loop {
                let (from, _) = listener.accept().await.expect("a connection");
                let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
                pipes.spawn(pipe(from, target, if is_first { first } else { First::AsGoodAsAny }));
            }
        });
        Self { port, accepted, _connections: connections }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn pipe(mut client: TcpStream, target: u16, how: First) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    match how {
        First::AsGoodAsAny => {
            tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
        }
        First::Swallowed => {
            tokio::io::copy(&mut client, &mut tokio::io::sink()).await.ok();
        }
        First::Slow(delay) => {
            let (mut questions, mut to_client) = client.into_split();
            let (mut answers, mut to_server) = server.into_split();
            let mut forward = JoinSet::new();
            forward.spawn(async move { tokio::io::copy(&mut questions, &mut to_server).await });
            let mut piece = vec![0; 1 << 20];
            while let Ok(read @ 1..) = answers.read(&mut piece).await {
                pause(delay).await;
                if to_client.write_all(&piece[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
