//! What rows have taken of an item in suspense is told by the ledger, whoever else has forgotten it.

use ledger::{AccountCode, Ledger, Leg, Taken, TransferCode, TransferId};
use uuid::Uuid;

use crate::harness::*;

async fn taken(ledger: &Ledger, item: Uuid) -> Vec<(Uuid, i64)> {
    let taken = until_known(async || ledger.taken_of_item(ZAR, item).await).await.expect("an answer");
    taken.iter().map(|Taken { row, minor, .. }| (*row, *minor)).collect()
}

#[tokio::test]
async fn who_took_of_an_item_and_how_much_is_known_without_what_brought_it_and_what_came_back() {
    let ledger = ledger().await;
    wallet_with(&ledger, 1_000).await;
    let (suspense, provider) = (ledger.suspense(ZAR), ledger.provider_balance(ZAR));
    let (item, other) = (new_row(), new_row());
    let moved = async |row: Uuid, leg: Leg, item: Uuid, (debit, credit), minor: i64| {
        let t = transfer(TransferId::of(row, leg), debit, credit, minor, TransferCode::UnmatchedPayment).of_item(item);
        assert_eq!(until_known(async || ledger.transfer(t).await).await, Ok(()));
    };
    for brought in [item, other] {
        moved(brought, Leg::Unmatched, brought, (provider, suspense), 100_000).await;
        moved(brought, Leg::UnmatchedReturn, brought, (suspense, provider), 50).await;
    }
    assert_eq!(taken(&ledger, item).await, []);
    let (first, back, part) = (new_row(), new_row(), new_row());
    moved(first, Leg::Main, item, (suspense, provider), 300).await;
    moved(new_row(), Leg::Main, other, (suspense, provider), 7).await;
    moved(back, Leg::Main, item, (suspense, provider), 200).await;
    moved(back, Leg::Return, item, (provider, suspense), 200).await;
    moved(part, Leg::Main, item, (suspense, provider), 90).await;
    moved(part, Leg::Return, item, (provider, suspense), 40).await;
    assert_eq!(taken(&ledger, item).await, [(first, 300), (part, 50)]);
    // Held, it is not there for anybody else; posted, it stays so; voided, it is there again.
    let (posted, voided) = (new_row(), new_row());
    for row in [posted, voided] {
        let held = transfer(TransferId::of(row, Leg::Journal), suspense, provider, 60, TransferCode::SuspenseReturn);
        assert_eq!(until_known(async || ledger.hold_journal(held.of_item(item)).await).await, Ok(()));
    }
    assert_eq!(taken(&ledger, item).await, [(first, 300), (part, 50), (posted, 60), (voided, 60)]);
    assert_eq!(until_known(async || ledger.post_journal(posted).await).await, Ok(()));
    assert_eq!(until_known(async || ledger.void_journal(voided).await).await, Ok(()));
    assert_eq!(taken(&ledger, item).await, [(first, 300), (part, 50), (posted, 60)]);
    // More than a page.
    for _ in 0..120 {
        moved(new_row(), Leg::Main, item, (suspense, provider), 1).await;
    }
    assert_eq!(taken(&ledger, item).await.len(), 123);
    assert_eq!(ledger.taken_of_item(ZAR, new_row()).await, Ok(Vec::new()));
    let lost = ledger.balance(ledger.system(AccountCode::Suspense, ZAR)).await.expect("an answer");
    assert_eq!(lost.posted(), 200_000 - 100 - 300 - 7 - 50 - 60 - 120);
}

/// Recorded before transfers said of which item they are: a repeat that says so is the same, and one of another item is not.
#[tokio::test]
async fn a_transfer_that_says_of_no_item_is_its_repeat_that_does() {
    let ledger = ledger().await;
    wallet_with(&ledger, 1_000).await;
    let (suspense, provider) = (ledger.suspense(ZAR), ledger.provider_balance(ZAR));
    let (row, item) = (new_row(), new_row());
    let plain = transfer(TransferId::of(row, Leg::Unmatched), provider, suspense, 500, TransferCode::UnmatchedPayment);
    let send = async |t| until_known(async || ledger.transfer(t).await).await;
    assert_eq!(send(plain).await, Ok(()));
    assert_eq!(send(plain.of_item(item)).await, Ok(()));
    let other = transfer(TransferId::of(row, Leg::Unmatched), provider, suspense, 501, TransferCode::UnmatchedPayment);
    assert!(send(other.of_item(item)).await.is_err(), "of another sum");
    let next =
        transfer(TransferId::of(new_row(), Leg::Unmatched), provider, suspense, 7, TransferCode::UnmatchedPayment);
    assert_eq!(send(next.of_item(item)).await, Ok(()));
    assert!(send(next.of_item(row)).await.is_err(), "of another item");
}
