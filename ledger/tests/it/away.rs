//! TigerBeetle away, slow, or coming back: every call ends in time, and asking again with the same id does it once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ledger::{ConnectError, Ledger, LedgerError, Options, UnknownCause};

use crate::harness::*;
use crate::server::{Server, client, free_port};

const DEADLINE: Duration = Duration::from_millis(600);
/// What a busy machine may add; less than the usual deadline, which must not be the one that ended a call.
const SLACK: Duration = Duration::from_secs(3);
const NO_ANSWER: Result<(), LedgerError> = Err(LedgerError::Unknown(UnknownCause::Deadline));

/// Asked some times: never before its deadline, and soon after it at least once, for a busy machine may be late.
async fn ends_by_the_deadline(answer: Result<(), LedgerError>, ask: impl AsyncFn() -> Result<(), LedgerError>) {
    let mut quickest = Duration::MAX;
    for tries in 0..10 {
        let asked = Instant::now();
        assert_eq!(ask().await, answer);
        quickest = quickest.min(asked.elapsed());
        assert!(quickest >= DEADLINE, "took {quickest:?}");
        if tries > 0 && quickest < DEADLINE + SLACK {
            return;
        }
    }
    panic!("took {quickest:?} or longer");
}

#[tokio::test]
async fn a_dead_server_is_unknown_by_the_deadline_and_the_same_id_afterwards_works_once() {
    let mut server = Server::start();
    let ledger = client(server.port, DEADLINE).await;
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 100).await;
    let deposit = deposit(&ledger, new_row(), wallet, 7);
    server.kill();
    ends_by_the_deadline(NO_ANSWER, async || ledger.transfer(deposit).await).await;
    server.restart();
    for _ in 0..2 {
        assert_eq!(until_known(async || ledger.transfer(deposit).await).await, Ok(()));
    }
    assert_eq!(balance(&ledger, wallet).await, (107, 0, 107));
}

#[tokio::test]
async fn a_transfer_that_nobody_waits_for_any_more_still_lands_once() {
    let server = Server::start();
    let ledger = client(server.port, DEADLINE).await;
    until_known(async || ledger.ping().await).await.unwrap();
    let wallet = wallet_with(&ledger, 100).await;
    let deposit = deposit(&ledger, new_row(), wallet, 7);
    server.pause();
    assert_eq!(ledger.transfer(deposit).await, NO_ANSWER);
    server.resume();
    while until_known(async || ledger.lookup(&[deposit.id]).await).await.unwrap().is_empty() {}
    assert_eq!(until_known(async || ledger.transfer(deposit).await).await, Ok(()));
    assert_eq!(balance(&ledger, wallet).await, (107, 0, 107));
}

#[tokio::test]
async fn a_permit_is_held_until_there_is_an_answer_however_long_the_caller_is_gone() {
    let server = Server::start();
    let options = Options { deadline: DEADLINE, in_flight_max: 2, ..Options::new(0, server.port.to_string()) };
    let ledger = Ledger::connect(options).await.unwrap();
    until_known(async || ledger.ping().await).await.unwrap();
    server.pause();
    assert_eq!(tokio::join!(ledger.ping(), ledger.ping()), (NO_ANSWER, NO_ANSWER));
    let overloaded = Err(LedgerError::Unknown(UnknownCause::Overloaded));
    ends_by_the_deadline(overloaded, async || ledger.ping().await).await;
    server.resume();
    until_known(async || ledger.ping().await).await.unwrap();
}

#[tokio::test]
async fn closing_is_prompt_while_the_server_is_away() {
    let never_there = client(free_port(), DEADLINE).await;
    assert_eq!(never_there.ping().await, NO_ANSWER);
    closes_in_time(never_there).await;

    let mut server = Server::start();
    let ledger = client(server.port, DEADLINE).await;
    until_known(async || ledger.ping().await).await.unwrap();
    server.kill();
    assert_eq!(ledger.ping().await, NO_ANSWER);
    closes_in_time(ledger).await;
}

async fn closes_in_time(ledger: Ledger) {
    let other = ledger.clone();
    let asked = Instant::now();
    ledger.close().await;
    // Two seconds by design; what has no bound never ends.
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
    assert_eq!(other.ping().await, Err(LedgerError::Unknown(UnknownCause::Closed)));
    other.close().await;
}

/// For a moment only: a busy machine may need longer, and then the callers are told. So it may have some tries.
#[tokio::test]
async fn closing_waits_for_what_is_in_flight() {
    let server = Server::start();
    let told = Err(LedgerError::Unknown(UnknownCause::Closed));
    for _ in 0..10 {
        let ledger = client(server.port, PATIENCE).await;
        until_known(async || ledger.ping().await).await.unwrap();
        let wallet = wallet_with(&ledger, 0).await;
        let (mut callers, asked) = (tokio::task::JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        // Several requests, one behind the other: without a wait they are not answered in time by luck.
        for _ in 0..500 {
            let (ledger, deposit, asked) = (ledger.clone(), deposit(&ledger, new_row(), wallet, 1), Arc::clone(&asked));
            callers.spawn(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                ledger.transfer(deposit).await
            });
        }
        while asked.load(Ordering::Relaxed) < callers.len() {
            tokio::task::yield_now().await;
        }
        ledger.close().await;
        let answers = callers.join_all().await;
        assert!(answers.iter().all(|answer| answer.is_ok() || *answer == told), "{answers:?}");
        if answers.iter().all(Result::is_ok) {
            return;
        }
    }
    panic!("those in flight were never waited for");
}

#[tokio::test]
async fn another_cluster_than_ours_does_not_answer() {
    let server = Server::start();
    let options = Options { deadline: DEADLINE, ..Options::new(1, server.port.to_string()) };
    let ledger = Ledger::connect(options).await.unwrap();
    assert_eq!(ledger.ping().await, NO_ANSWER);
}

#[tokio::test]
async fn addresses_may_be_ports_addresses_or_names_and_wrong_ones_are_errors_at_once() {
    let server = Server::start();
    for host in ["", "127.0.0.1:", "localhost:"] {
        let ledger = Ledger::connect(Options::new(0, format!("{host}{}", server.port))).await.unwrap();
        assert_eq!(until_known(async || ledger.ping().await).await, Ok(()), "{host:?}");
    }
    for wrong in
        ["", "localhost", "localhost:", "localhost:port", "localhost:99999", "127.0.0.1:0", "0", "3000,", "1.2.3.4"]
    {
        let error = Ledger::connect(Options::new(0, wrong)).await.err();
        assert!(matches!(error, Some(ConnectError::Address(_))), "{wrong:?}: {error:?}");
    }
    for nobody in ["no-such-host.invalid:3000", "no-such-host.invalid:3000,nor-this.invalid:3001"] {
        let unresolved = Ledger::connect(Options::new(0, nobody)).await.err();
        assert!(matches!(unresolved, Some(ConnectError::Resolve { .. })), "{unresolved:?}");
    }
    // One of several, whose machine is gone.
    Ledger::connect(Options::new(0, format!("no-such-host.invalid:3000,{}", server.port))).await.unwrap();
    let seven = Ledger::connect(Options::new(0, "1,2,3,4,5,6,7")).await.err();
    assert!(matches!(seven, Some(ConnectError::Client(_))), "{seven:?}");
    for base in [1, 999, 710, u32::MAX] {
        let error = Ledger::connect(Options { base, ..Options::new(0, "3000") }).await.err();
        assert!(matches!(error, Some(ConnectError::Base)), "{base}: {error:?}");
    }
    for in_flight_max in [0, usize::MAX] {
        let error = Ledger::connect(Options { in_flight_max, ..Options::new(0, "3000") }).await.err();
        assert!(matches!(error, Some(ConnectError::InFlightMax)), "{in_flight_max}: {error:?}");
    }
}
