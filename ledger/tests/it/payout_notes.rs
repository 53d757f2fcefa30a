//! By which payout a withdrawal is paid stands in the ledger before it is, and no balance and no report shows it.

use ledger::{LedgerError, Leg, Reservation, TransferCode, TransferId, WithdrawalStanding};
use uuid::Uuid;

use crate::harness::*;

#[tokio::test]
async fn a_row_has_room_for_a_payout_and_its_replacement_and_tells_what_became_of_its_reservation() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1_000).await;
    let (row, first, second) = (new_row(), Uuid::new_v4(), Uuid::new_v4());
    let standing = async || until_known(async || ledger.withdrawal_standing(row).await).await.expect("an answer");
    let is = |reservation, payouts: &[Uuid]| WithdrawalStanding { reservation, payouts: payouts.to_vec() };
    assert_eq!(standing().await, is(Reservation::None, &[]));
    until_known(async || ledger.reserve(withdrawal(&ledger, row, wallet, 600)).await).await.expect("reserved");
    assert_eq!(standing().await, is(Reservation::Open, &[]));
    let note =
        async |payout, replaces| until_known(async || ledger.note_payout(row, ZAR, payout, replaces).await).await;
    assert_eq!(note(first, false).await, Ok(()));
    assert_eq!(note(first, false).await, Ok(()), "a repeat says the same");
    assert!(matches!(note(second, false).await, Err(LedgerError::Contradiction(_))), "the place is taken");
    assert_eq!(standing().await, is(Reservation::Open, &[first]));
    note(second, true).await.expect("noted");
    assert!(matches!(note(Uuid::new_v4(), true).await, Err(LedgerError::Contradiction(_))), "there is no third");
    assert_eq!(balance(&ledger, wallet).await, (1_000, 600, 400), "notes move nothing");
    until_known(async || ledger.post(row).await).await.expect("posted");
    assert_eq!(standing().await, is(Reservation::Posted, &[first, second]));
    let other = new_row();
    until_known(async || ledger.reserve(withdrawal(&ledger, other, wallet, 100)).await).await.expect("reserved");
    until_known(async || ledger.void(other).await).await.expect("voided");
    let voided = until_known(async || ledger.withdrawal_standing(other).await).await.expect("an answer");
    assert_eq!(voided, is(Reservation::Voided, &[]));
}

#[tokio::test]
async fn suspense_never_goes_below_zero() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1_000).await;
    let suspense = ledger.suspense(ZAR);
    until_known(async || ledger.open(&[suspense]).await).await.expect("open");
    let move_ = async |debit, credit, minor| {
        let t = transfer(TransferId::of(new_row(), Leg::Main), debit, credit, minor, TransferCode::Adjustment);
        until_known(async || ledger.transfer(t).await).await
    };
    assert_eq!(move_(wallet, suspense, 899).await, Ok(()));
    assert_eq!(move_(suspense, wallet, 899).await, Ok(()));
    assert!(matches!(move_(suspense, wallet, 1).await, Err(LedgerError::Refused(_))));
}
