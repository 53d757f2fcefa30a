//! What is refused, what is contradicted, and that a refused id stays refused.

use ledger::{Account, Currency, LedgerError, Leg, Refusal, TransferCode, TransferId};

use crate::harness::*;

const INSUFFICIENT: Result<(), LedgerError> = Err(LedgerError::Refused(Refusal::InsufficientFunds));
const SPENT: Result<(), LedgerError> = Err(LedgerError::Refused(Refusal::SpentId));

#[tokio::test]
async fn a_withdrawal_of_more_than_there_is_is_refused_and_its_id_is_spent() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let too_much = withdrawal(&ledger, new_row(), wallet, 1001);
    assert_eq!(ledger.reserve(too_much).await, INSUFFICIENT);
    assert_eq!(balance(&ledger, wallet).await, (1000, 0, 1000));
    ledger.transfer(deposit(&ledger, new_row(), wallet, 1000)).await.unwrap();
    assert_eq!(ledger.reserve(too_much).await, SPENT, "there is enough now, but not for this id");
    ledger.reserve(withdrawal(&ledger, new_row(), wallet, 1001)).await.unwrap();
    assert_eq!(balance(&ledger, wallet).await, (2000, 1001, 999));
}

#[tokio::test]
async fn what_is_reserved_cannot_be_spent() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    ledger.reserve(withdrawal(&ledger, new_row(), wallet, 700)).await.unwrap();
    assert_eq!(ledger.reserve(withdrawal(&ledger, new_row(), wallet, 301)).await, INSUFFICIENT);
    assert_eq!(ledger.transfer(withdrawal(&ledger, new_row(), wallet, 301)).await, INSUFFICIENT);
    ledger.transfer(withdrawal(&ledger, new_row(), wallet, 300)).await.unwrap();
    assert_eq!(balance(&ledger, wallet).await, (700, 700, 0));
}

#[tokio::test]
async fn nobody_repays_more_than_is_owed() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let receivable = Account::receivable(wallet.id.user_of().unwrap(), ZAR);
    ledger.open(&[receivable]).await.unwrap();
    let repay =
        transfer(TransferId::of(new_row(), Leg::Repay), wallet, receivable, 1, TransferCode::ReceivableRepayment);
    assert_eq!(ledger.transfer(repay).await, INSUFFICIENT);
}

#[tokio::test]
async fn a_wallet_that_was_never_opened_has_no_funds() {
    let ledger = ledger().await;
    wallet_with(&ledger, 0).await;
    let stranger = Account::wallet(new_user(), ZAR);
    let reservation = withdrawal(&ledger, new_row(), stranger, 1);
    assert_eq!(ledger.reserve(reservation).await, Err(LedgerError::Refused(Refusal::NoSuchAccount)));
    ledger.open(&[stranger]).await.unwrap();
    ledger.transfer(deposit(&ledger, new_row(), stranger, 10)).await.unwrap();
    assert_eq!(ledger.reserve(reservation).await, SPENT);
    assert_eq!(balance(&ledger, stranger).await, (10, 0, 10));
}

#[tokio::test]
async fn crediting_a_wallet_that_was_never_opened_is_our_bug() {
    let ledger = ledger().await;
    wallet_with(&ledger, 0).await;
    let stranger = Account::wallet(new_user(), ZAR);
    let deposited = ledger.transfer(deposit(&ledger, new_row(), stranger, 10)).await;
    assert_eq!(deposited, Err(LedgerError::Contradiction("credit_account_not_found")));
    let withdrawn = ledger.transfer(withdrawal(&ledger, new_row(), stranger, 10)).await;
    assert_eq!(withdrawn, Err(LedgerError::Contradiction("debit_account_not_found")));
}

#[tokio::test]
async fn an_id_that_means_something_else_is_a_contradiction_and_changes_nothing() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let row = new_row();
    let original = withdrawal(&ledger, row, wallet, 400);
    ledger.reserve(original).await.unwrap();
    let other_amount = ledger.reserve(withdrawal(&ledger, row, wallet, 401)).await;
    assert_eq!(other_amount, Err(LedgerError::Contradiction("exists_with_different_amount")));
    assert_eq!(ledger.transfer(original).await, Err(LedgerError::Contradiction("exists_with_different_flags")));
    let other_code = ledger.reserve(ledger::Transfer { code: TransferCode::Refund, ..original }).await;
    assert_eq!(other_code, Err(LedgerError::Contradiction("exists_with_different_code")));
    let other_row = ledger.reserve(ledger::Transfer { reference: new_row(), ..original }).await;
    assert_eq!(other_row, Err(LedgerError::Contradiction("exists_with_different_user_data_128")));
    assert_eq!(balance(&ledger, wallet).await, (1000, 400, 600));
}

#[tokio::test]
async fn two_currencies_never_meet_in_a_transfer() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let usd = Account::wallet(wallet.id.user_of().unwrap(), Currency::parse("USD").unwrap());
    ledger.open(&[usd]).await.unwrap();
    let mixed = transfer(TransferId::of(new_row(), Leg::Main), wallet, usd, 1, TransferCode::Adjustment);
    assert_eq!(ledger.transfer(mixed).await, Err(LedgerError::Contradiction("accounts_must_have_the_same_ledger")));
}

#[tokio::test]
async fn two_bases_never_meet_in_a_transfer() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let other = crate::harness::ledger().await;
    let result = other.transfer(deposit(&ledger, new_row(), wallet, 1)).await;
    assert_eq!(result, Err(LedgerError::Contradiction("transfer_must_have_the_same_ledger_as_accounts")));
}

#[tokio::test]
async fn resolving_what_was_never_reserved_is_our_bug_and_spends_the_leg() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let row = new_row();
    assert_eq!(ledger.void(row).await, Err(LedgerError::Contradiction("pending_transfer_not_found")));
    ledger.reserve(withdrawal(&ledger, row, wallet, 1)).await.unwrap();
    assert_eq!(ledger.void(row).await, SPENT);
    ledger.post(row).await.unwrap();
}

#[tokio::test]
async fn the_largest_amount_can_be_moved_and_a_balance_beyond_it_can_be_read() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    for _ in 0..3 {
        ledger.transfer(deposit(&ledger, new_row(), wallet, ledger::Amount::MINOR_MAX)).await.unwrap();
    }
    let expected = ledger::Amount::MINOR_MAX * 3;
    assert_eq!(balance(&ledger, wallet).await, (expected, 0, expected));
}

#[tokio::test]
#[should_panic(expected = "a reservation is the main leg")]
async fn a_reservation_on_another_leg_is_a_programmer_error() {
    let ledger = ledger().await;
    let wallet = Account::wallet(new_user(), ZAR);
    let id = TransferId::of(new_row(), Leg::Fee);
    ledger.reserve(transfer(id, wallet, ledger.provider_balance(ZAR), 1, TransferCode::Withdrawal)).await.ok();
}
