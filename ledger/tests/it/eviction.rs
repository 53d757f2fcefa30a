//! A session that the cluster has ended, noticed or not: the ledger goes on with another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledger::{Ledger, LedgerError, Options, UnknownCause};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::*;
use crate::server::{Server, client, until_known};

/// How many sessions a cluster keeps (docs/reference/sessions.md).
const SESSIONS_MAX: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_client_goes_on_and_every_caller_gets_an_answer() {
    let server = Server::start();
    let proxy = Proxy::start(server.port, 0).await;
    let ledger = client(proxy.port, Duration::from_secs(20)).await;
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 0).await;
    let connections = proxy.accepted();
    for turn in 1..=3 {
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
    let proxy = Proxy::start(server.port, 1).await;
    let ledger = client(proxy.port, Duration::from_millis(700)).await;
    assert_eq!(ledger.ping().await, Err(LedgerError::Unknown(UnknownCause::Deadline)), "the first session is deaf");
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 5).await;
    assert_eq!(balance(&ledger, wallet).await, (5, 0, 5));
}

/// Many batches wait in the client here, each longer than the deadline, while a fresh session would be answered at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_only_busy_is_kept() {
    const CALLERS: usize = 100_000;
    let server = Server::start();
    let proxy = Proxy::start(server.port, 0).await;
    let deadline = Duration::from_millis(800);
    let options = Options { deadline, in_flight_max: CALLERS, ..Options::new(0, proxy.port.to_string()) };
    let ledger = Ledger::connect(options).await.unwrap();
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 0).await;
    let connections = proxy.accepted();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (ledger, deposit) = (ledger.clone(), deposit(&ledger, new_row(), wallet, 1));
        callers.spawn(async move { ledger.transfer(deposit).await });
    }
    let answers = callers.join_all().await;
    assert!(answers.contains(&Err(LedgerError::Unknown(UnknownCause::Deadline))), "nobody waited long enough");
    let landed = async || until_known(async || ledger.balance(wallet).await).await.unwrap().posted();
    while landed().await < i64::try_from(CALLERS).unwrap() {}
    assert_eq!(proxy.accepted(), connections);
}

/// Counts the connections and swallows the first few. Once the server is up, there are as many as sessions.
struct Proxy {
    port: u16,
    accepted: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl Proxy {
    async fn start(target: u16, swallowed: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut pipes = JoinSet::new();
            loop {
                let (mut from, _) = listener.accept().await.expect("a connection");
                let swallow = count.fetch_add(1, Ordering::SeqCst) < swallowed;
                pipes.spawn(async move {
                    if swallow {
                        while from.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {}
                    } else if let Ok(mut to) = TcpStream::connect(("127.0.0.1", target)).await {
                        tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
                    }
                });
            }
        });
        Self { port, accepted, _connections: connections }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}
