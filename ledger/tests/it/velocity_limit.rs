//! What may leave a wallet: the velocity limit is decided in the write that reserves.

use std::time::Duration;

use ledger::{
    Account, Ledger, LedgerError, Leg, Refusal, Resolution, Transfer, TransferCode, TransferId, VelocityLimit,
};
use uuid::Uuid;

use crate::harness::*;

const DAY: u32 = 86_400;
const FROZEN: Result<(), LedgerError> = Err(LedgerError::Refused(Refusal::Frozen));
const EXCEEDED: Result<(), LedgerError> = Err(LedgerError::Refused(Refusal::LimitExceeded));
const INSUFFICIENT: Result<(), LedgerError> = Err(LedgerError::Refused(Refusal::InsufficientFunds));
const CLOSED: Result<(), LedgerError> = Err(LedgerError::Refused(Refusal::AccountClosed));

fn daily(minor: i64) -> VelocityLimit {
    VelocityLimit { amount: Some(zar(minor)), secs: DAY }
}

const UNLIMITED: VelocityLimit = VelocityLimit { amount: None, secs: DAY };

fn user(wallet: Account) -> Uuid {
    wallet.id.user_of().expect("a customer's")
}

async fn reserve(ledger: &Ledger, t: Transfer, velocity_limit: VelocityLimit) -> Result<(), LedgerError> {
    until_known(async || ledger.reserve_within(t, velocity_limit).await).await
}

#[tokio::test]
async fn no_more_than_the_limit_leaves_and_a_repeat_says_the_same() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 10_000).await;
    let (first, second) = (withdrawal(&ledger, new_row(), wallet, 600), withdrawal(&ledger, new_row(), wallet, 401));
    for _ in 0..3 {
        assert_eq!(reserve(&ledger, first, daily(1000)).await, Ok(()));
        assert_eq!(reserve(&ledger, second, daily(1000)).await, EXCEEDED);
    }
    assert_eq!(balance(&ledger, wallet).await, (10_000, 600, 9_400));
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 400), daily(1000)).await, Ok(()));
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1), daily(1000)).await, EXCEEDED);
    for now in [daily(5000), UNLIMITED] {
        assert_eq!(reserve(&ledger, second, now).await, EXCEEDED, "this id was refused, whatever holds now");
    }
    assert_eq!(reserve(&ledger, first, daily(0)).await, Ok(()), "this one is reserved, whatever holds now");
    let third = withdrawal(&ledger, new_row(), wallet, 1);
    assert_eq!(reserve(&ledger, third, daily(1001)).await, Ok(()), "a higher limit holds at once");
    assert_eq!(balance(&ledger, wallet).await, (10_000, 1_001, 8_999));
}

#[tokio::test]
async fn in_parallel_exactly_as_many_pass_as_fit() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 100_000).await;
    let all = (0..100).map(|_| {
        let ledger = ledger.clone();
        async move { reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 30), daily(1000)).await }
    });
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 33);
    assert!(answers.iter().all(|answer| answer.is_ok() || *answer == EXCEEDED), "{answers:?}");
    assert_eq!(balance(&ledger, wallet).await, (100_000, 990, 99_010));
}

/// Each counts those before it, whatever came since; what came back is not counted, and a repeat says the same.
#[tokio::test]
async fn what_had_left_with_a_withdrawal_is_counted_in_the_write_that_reserves_it() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 100_000).await;
    let of = async |row| ledger.outflow_at(row, wallet).await.unwrap().map(|sum| sum.minor());
    let rows: Vec<_> = (0..30).map(|_| new_row()).collect();
    let all = rows.iter().map(|row| {
        let (ledger, row) = (ledger.clone(), *row);
        async move { reserve(&ledger, withdrawal(&ledger, row, wallet, 30), UNLIMITED).await }
    });
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    let mut sums = Vec::new();
    for row in &rows {
        sums.push(of(*row).await.unwrap());
        assert_eq!(of(*row).await, sums.last().copied());
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=30).map(|count| count * 30).collect::<Vec<i64>>());
    until_known(async || ledger.void_within(rows[0], repay(rows[0], wallet, 30)).await).await.unwrap();
    let after = new_row();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, after, wallet, 1), daily(1_000)).await, Ok(()));
    assert_eq!(of(after).await, Some(871), "one of thirty came back");
    assert_eq!(of(new_row()).await, None);
}

#[tokio::test]
async fn what_the_wallet_does_not_hold_uses_nothing() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 500).await;
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 501), daily(1000)).await, INSUFFICIENT);
    ledger.transfer(deposit(&ledger, new_row(), wallet, 500)).await.unwrap();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1000), daily(1000)).await, Ok(()));
}

#[tokio::test]
async fn a_failed_withdrawal_gives_back_what_it_used_and_a_paid_one_does_not() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 5_000).await;
    let (failed, paid) = (new_row(), new_row());
    assert_eq!(reserve(&ledger, withdrawal(&ledger, failed, wallet, 1000), daily(1000)).await, Ok(()));
    until_known(async || ledger.void_within(failed, repay(failed, wallet, 1)).await).await.unwrap();
    let again = until_known(async || ledger.void_within(failed, repay(failed, wallet, 1)).await).await;
    assert_eq!(again, Ok(zar(0)), "nothing was owed");
    assert_eq!(reserve(&ledger, withdrawal(&ledger, paid, wallet, 1000), daily(1000)).await, Ok(()));
    until_known(async || ledger.post(paid).await).await.unwrap();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1), daily(1000)).await, EXCEEDED);
    assert_eq!(
        ledger.void_within(paid, repay(paid, wallet, 1)).await,
        Err(LedgerError::AlreadyResolved(Resolution::Posted))
    );
}

#[tokio::test]
async fn what_was_used_comes_back_when_its_time_is_over() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 5_000).await;
    // Long enough for the second one to come within it on a busy machine, short enough to wait for its end.
    let short = VelocityLimit { secs: 5, ..daily(1000) };
    let row = new_row();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, row, wallet, 1000), short).await, Ok(()));
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1000), short).await, EXCEEDED);
    // The time is the cluster's own: nothing else can move it.
    let passed = tokio::time::timeout(PATIENCE, async {
        while reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1000), short).await == EXCEEDED {
            pause(Duration::from_millis(50)).await;
        }
    });
    passed.await.expect("the limit comes back");
    assert_eq!(balance(&ledger, wallet).await, (5_000, 2_000, 3_000), "the reservation itself has no timeout");
    until_known(async || ledger.void_within(row, repay(row, wallet, 1)).await).await.unwrap();
}

#[tokio::test]
async fn a_shut_limit_stops_withdrawals_and_nothing_else() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 5_000).await;
    let (before, freeze) = (new_row(), new_row());
    assert_eq!(reserve(&ledger, withdrawal(&ledger, before, wallet, 100), UNLIMITED).await, Ok(()));
    for _ in 0..2 {
        until_known(async || ledger.block_withdrawals(freeze, wallet).await).await.unwrap();
    }
    let refused = withdrawal(&ledger, new_row(), wallet, 100);
    assert_eq!(reserve(&ledger, refused, UNLIMITED).await, FROZEN);
    assert_eq!(reserve(&ledger, refused, daily(1000)).await, FROZEN);
    ledger.transfer(deposit(&ledger, new_row(), wallet, 1_000)).await.unwrap();
    until_known(async || ledger.void_within(before, repay(before, wallet, 1)).await).await.unwrap();
    assert_eq!(balance(&ledger, wallet).await, (6_000, 0, 6_000));
    for _ in 0..2 {
        until_known(async || ledger.open_again(freeze, wallet).await).await.unwrap();
    }
    assert_eq!(reserve(&ledger, refused, UNLIMITED).await, FROZEN, "refused once, refused for ever");
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 100), UNLIMITED).await, Ok(()));
}

#[tokio::test]
async fn a_closed_wallet_takes_and_gives_nothing_until_it_is_opened_again() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let closing = new_row();
    for _ in 0..2 {
        until_known(async || ledger.block_withdrawals(closing, wallet).await).await.unwrap();
        until_known(async || ledger.close_wallet(closing, wallet).await).await.unwrap();
    }
    ledger.open(&[wallet]).await.expect("it is there, and closed");
    assert_eq!(ledger.transfer(deposit(&ledger, new_row(), wallet, 1)).await, CLOSED);
    assert_eq!(ledger.reserve(withdrawal(&ledger, new_row(), wallet, 1)).await, CLOSED);
    for _ in 0..2 {
        until_known(async || ledger.open_again(closing, wallet).await).await.unwrap();
    }
    ledger.transfer(deposit(&ledger, new_row(), wallet, 1)).await.unwrap();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1), UNLIMITED).await, Ok(()));
    assert_eq!(balance(&ledger, wallet).await, (1, 1, 0));
}

#[tokio::test]
async fn a_wallet_that_holds_something_is_not_closed() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1).await;
    let closing = new_row();
    until_known(async || ledger.block_withdrawals(closing, wallet).await).await.unwrap();
    for _ in 0..2 {
        let refused = until_known(async || ledger.close_wallet(closing, wallet).await).await;
        assert!(matches!(refused, Err(LedgerError::Refused(_))), "{refused:?}");
    }
    until_known(async || ledger.open_again(closing, wallet).await).await.unwrap();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1), UNLIMITED).await, Ok(()));
    assert_eq!(balance(&ledger, wallet).await, (1, 1, 0));
}

#[tokio::test]
async fn a_wallet_that_holds_something_is_not_closed_when_as_much_is_owed_either() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 100).await;
    let receivable = Account::receivable(user(wallet), ZAR);
    ledger.open(&[receivable]).await.unwrap();
    let owed = transfer(
        TransferId::of(new_row(), Leg::Receivable),
        receivable,
        ledger.provider_balance(ZAR),
        800,
        TransferCode::Chargeback,
    );
    ledger.transfer(owed).await.unwrap();
    let closing = new_row();
    until_known(async || ledger.block_withdrawals(closing, wallet).await).await.unwrap();
    for _ in 0..2 {
        let refused = until_known(async || ledger.close_wallet(closing, wallet).await).await;
        assert!(matches!(refused, Err(LedgerError::Refused(_))), "{refused:?}");
    }
    until_known(async || ledger.open_again(closing, wallet).await).await.unwrap();
    assert_eq!(balance(&ledger, wallet).await, (100, 0, 100));
    assert_eq!(balance(&ledger, receivable).await.0, 800);
}

#[tokio::test]
async fn one_that_was_reserved_before_there_were_gates_is_repeated_and_voided() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1_000).await;
    let row = new_row();
    let old = withdrawal(&ledger, row, wallet, 300);
    ledger.reserve(old).await.unwrap();
    assert_eq!(reserve(&ledger, old, daily(299)).await, Ok(()), "the gate would say no, and was not asked then");
    until_known(async || ledger.void_within(row, repay(row, wallet, 1)).await).await.unwrap();
    assert_eq!(balance(&ledger, wallet).await, (1_000, 0, 1_000));
}

#[tokio::test]
async fn a_closing_that_comes_after_it_was_undone_closes_nothing() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let closing = new_row();
    until_known(async || ledger.block_withdrawals(closing, wallet).await).await.unwrap();
    for _ in 0..2 {
        until_known(async || ledger.open_again(closing, wallet).await).await.unwrap();
        until_known(async || ledger.block_withdrawals(closing, wallet).await).await.unwrap();
        let late = until_known(async || ledger.close_wallet(closing, wallet).await).await;
        assert_eq!(late, Err(LedgerError::Refused(Refusal::SpentId)));
    }
    ledger.transfer(deposit(&ledger, new_row(), wallet, 1)).await.unwrap();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1), UNLIMITED).await, Ok(()));
}

/// A row that was lost with an older PostgreSQL has shut it: another row takes its place, and undoes what that did.
#[tokio::test]
async fn what_a_lost_row_has_shut_or_closed_is_shut_for_the_next_one_and_opened_by_it() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let [lost, next, younger] = [1, 2, 3].map(|n| ledger::row_id(1_763_900_000_000 + n, rand::random()));
    for row in [lost, next] {
        until_known(async || ledger.block_withdrawals(row, wallet).await).await.unwrap();
        until_known(async || ledger.close_wallet(row, wallet).await).await.unwrap();
    }
    assert_eq!(ledger.transfer(deposit(&ledger, new_row(), wallet, 1)).await, CLOSED);
    for _ in 0..2 {
        until_known(async || ledger.open_again(next, wallet).await).await.unwrap();
    }
    ledger.transfer(deposit(&ledger, new_row(), wallet, 1_000)).await.unwrap();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1), UNLIMITED).await, Ok(()));
    // A late step of the older row opens nothing that a younger one has shut.
    until_known(async || ledger.block_withdrawals(younger, wallet).await).await.unwrap();
    until_known(async || ledger.open_again(next, wallet).await).await.unwrap();
    assert_eq!(reserve(&ledger, withdrawal(&ledger, new_row(), wallet, 1), UNLIMITED).await, FROZEN);
}
