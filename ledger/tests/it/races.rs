//! Callers that want the same thing, or the opposite, at the same moment.

use ledger::{LedgerError, Refusal, Resolution};

use crate::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_post_and_void_exactly_one_wins() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 100_000).await;
    let mut posted = 0;
    for turn in 0..40 {
        let row = new_row();
        ledger.reserve(withdrawal(&ledger, row, wallet, 100)).await.unwrap();
        // Who is asked first alternates, so that both orders happen.
        let (post, void) = if turn % 2 == 0 {
            tokio::join!(ledger.post(row), ledger.void(row))
        } else {
            let (void, post) = tokio::join!(ledger.void(row), ledger.post(row));
            (post, void)
        };
        match (post, void) {
            (Ok(()), Err(LedgerError::AlreadyResolved(Resolution::Posted))) => posted += 1,
            (Err(LedgerError::AlreadyResolved(Resolution::Voided)), Ok(())) => {}
            other => panic!("both or neither won: {other:?}"),
        }
    }
    assert!((1..40).contains(&posted), "each side wins at times, post did {posted} of 40");
    let left = 100_000 - posted * 100;
    assert_eq!(balance(&ledger, wallet).await, (left, 0, left));
}

#[tokio::test]
async fn of_two_reservations_of_one_balance_exactly_one_wins() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let (first, second) = tokio::join!(
        ledger.reserve(withdrawal(&ledger, new_row(), wallet, 600)),
        ledger.reserve(withdrawal(&ledger, new_row(), wallet, 600)),
    );
    let refused = Err(LedgerError::Refused(Refusal::InsufficientFunds));
    assert!((first, second) == (Ok(()), refused) || (first, second) == (refused, Ok(())), "{first:?}, {second:?}");
    assert_eq!(balance(&ledger, wallet).await, (1000, 600, 400));
}

#[tokio::test]
async fn many_callers_with_one_id_move_the_money_once() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let deposit = deposit(&ledger, new_row(), wallet, 77);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let ledger = ledger.clone();
        callers.spawn(async move { ledger.transfer(deposit).await });
    }
    assert_eq!(callers.join_all().await, vec![Ok(()); 200]);
    assert_eq!(balance(&ledger, wallet).await, (77, 0, 77));
}

#[tokio::test]
async fn a_dropped_caller_does_not_take_the_transfer_back() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let deposit = deposit(&ledger, new_row(), wallet, 5);
    // Long enough to be sent, too short for an answer from a server that writes to disk first; either way it must land.
    drop(tokio::time::timeout(std::time::Duration::from_micros(1), ledger.transfer(deposit)).await);
    while ledger.lookup(&[deposit.id]).await.unwrap().is_empty() {}
    assert_eq!(balance(&ledger, wallet).await, (5, 0, 5));
}
