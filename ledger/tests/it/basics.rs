//! One transfer of each sort, and what reading says afterwards.

use ledger::{Account, LedgerError, Leg, RecordedKind, Resolution, TransferCode, TransferId};

use crate::harness::*;

#[tokio::test]
async fn a_deposit_credits_the_wallet_once_however_often_it_is_sent() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let deposit = deposit(&ledger, new_row(), wallet, 1250);
    for _ in 0..3 {
        ledger.transfer(deposit).await.unwrap();
    }
    assert_eq!(balance(&ledger, wallet).await, (1250, 0, 1250));
    assert_eq!(balance(&ledger, ledger.provider_balance(ZAR)).await, (1250, 0, 1250));
    let recorded = ledger.lookup(&[deposit.id]).await.unwrap();
    assert_eq!(recorded.len(), 1);
    assert_eq!((recorded[0].id, recorded[0].debit, recorded[0].credit), (deposit.id, deposit.debit.id, wallet.id));
    assert_eq!((recorded[0].amount_minor, recorded[0].currency), (1250, ZAR));
    assert_eq!((recorded[0].code, recorded[0].reference), (TransferCode::Deposit.code(), deposit.reference));
    assert_eq!(recorded[0].kind, RecordedKind::Posted);
}

#[tokio::test]
async fn a_withdrawal_is_reserved_then_posted() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let row = new_row();
    ledger.reserve(withdrawal(&ledger, row, wallet, 400)).await.unwrap();
    assert_eq!(balance(&ledger, wallet).await, (1000, 400, 600));
    assert_eq!(balance(&ledger, ledger.provider_balance(ZAR)).await, (1000, 400, 600));
    for _ in 0..2 {
        ledger.post(row).await.unwrap();
    }
    assert_eq!(balance(&ledger, wallet).await, (600, 0, 600));
    assert_eq!(ledger.void(row).await, Err(LedgerError::AlreadyResolved(Resolution::Posted)));
    let recorded = ledger.lookup(&[TransferId::of(row, Leg::Main), TransferId::of(row, Leg::Post)]).await.unwrap();
    assert_eq!(recorded[0].kind, RecordedKind::Pending);
    assert_eq!(recorded[1].kind, RecordedKind::Post { pending: recorded[0].id });
    assert_eq!((recorded[1].amount_minor, recorded[1].code), (400, TransferCode::Withdrawal.code()));
    assert_eq!((recorded[1].debit, recorded[1].reference), (wallet.id, row));
}

#[tokio::test]
async fn a_withdrawal_is_reserved_then_voided() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let row = new_row();
    ledger.reserve(withdrawal(&ledger, row, wallet, 400)).await.unwrap();
    for _ in 0..2 {
        ledger.void(row).await.unwrap();
    }
    assert_eq!(balance(&ledger, wallet).await, (1000, 0, 1000));
    assert_eq!(ledger.post(row).await, Err(LedgerError::AlreadyResolved(Resolution::Voided)));
    assert_eq!(balance(&ledger, wallet).await, (1000, 0, 1000));
    let recorded = ledger.lookup(&[TransferId::of(row, Leg::Void)]).await.unwrap();
    assert_eq!(recorded[0].kind, RecordedKind::Void { pending: TransferId::of(row, Leg::Main) });
}

#[tokio::test]
async fn what_a_customer_owes_is_repaid_from_what_the_wallet_holds() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 300).await;
    let receivable = Account::receivable(wallet.id.user_of().unwrap(), ZAR);
    ledger.open(&[receivable]).await.unwrap();
    let chargeback = TransferId::of(new_row(), Leg::Receivable);
    let provider = ledger.provider_balance(ZAR);
    ledger.transfer(transfer(chargeback, receivable, provider, 500, TransferCode::Chargeback)).await.unwrap();

    let repay =
        |row| transfer(TransferId::of(row, Leg::Repay), wallet, receivable, 500, TransferCode::ReceivableRepayment);
    let first = repay(new_row());
    assert_eq!(ledger.transfer_linked_up_to(&[], first).await, Ok(zar(300)), "the wallet holds no more");
    ledger.transfer(deposit(&ledger, new_row(), wallet, 1000)).await.unwrap();
    assert_eq!(
        ledger.transfer_linked_up_to(&[], first).await,
        Ok(zar(300)),
        "a repeat moves nothing and says the same"
    );
    assert_eq!(ledger.transfer_linked_up_to(&[], repay(new_row())).await, Ok(zar(200)), "no more is owed");
    assert_eq!(ledger.transfer_linked_up_to(&[], repay(new_row())).await, Ok(zar(0)), "nothing is owed");
    assert_eq!(balance(&ledger, wallet).await, (800, 0, 800));
    assert_eq!(balance(&ledger, receivable).await, (0, 0, 0));
}

#[tokio::test]
async fn a_zero_amount_is_recorded_and_moves_nothing() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let nothing = deposit(&ledger, new_row(), wallet, 0);
    ledger.transfer(nothing).await.unwrap();
    let row = new_row();
    ledger.reserve(withdrawal(&ledger, row, wallet, 0)).await.unwrap();
    ledger.post(row).await.unwrap();
    assert_eq!(balance(&ledger, wallet).await, (0, 0, 0));
    assert_eq!(ledger.lookup(&[nothing.id, TransferId::of(row, Leg::Post)]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn opening_twice_or_twice_at_once_is_opening() {
    let ledger = ledger().await;
    let wallet = Account::wallet(new_user(), ZAR);
    ledger.open(&[wallet, wallet]).await.unwrap();
    ledger.open(&[wallet]).await.unwrap();
    assert_eq!(ledger.accounts_after(ZAR, 0, 10).await.unwrap().len(), 1);
}
