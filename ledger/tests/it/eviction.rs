//! A session that the cluster has ended, noticed or not: the ledger goes on with another one.

use std::time::Duration;

use ledger::{LedgerError, UnknownCause};
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
    let ledger = client(server.port, Duration::from_secs(20)).await;
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 0).await;
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().port();
    let mut connections = JoinSet::new();
    let target = server.port;
    connections.spawn(async move {
        let (mut swallowed, _) = listener.accept().await.unwrap();
        let mut pipes = JoinSet::new();
        pipes.spawn(async move { while swallowed.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {} });
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            pipes.spawn(async move {
                let mut to = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
            });
        }
    });
    let ledger = client(proxy, Duration::from_millis(700)).await;
    assert_eq!(ledger.ping().await, Err(LedgerError::Unknown(UnknownCause::Deadline)), "the first session is deaf");
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 5).await;
    assert_eq!(balance(&ledger, wallet).await, (5, 0, 5));
}
