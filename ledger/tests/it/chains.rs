//! Linked transfers: all or nothing, and a repeat is told apart from a chain that was recorded only in part.

use ledger::{Ledger, LedgerError, Leg, Refusal, Transfer, TransferCode, TransferId};
use uuid::Uuid;

use crate::harness::*;

/// A deposit of 1000 and the provider's fee of 30.
fn deposit_and_fee(ledger: &Ledger, row: Uuid, wallet: ledger::Account) -> [Transfer; 2] {
    let fee = TransferId::of(row, Leg::ProviderFee);
    let (fees, provider) = (ledger.provider_fees(ZAR), ledger.provider_balance(ZAR));
    [deposit(ledger, row, wallet, 1000), transfer(fee, fees, provider, 30, TransferCode::ProviderFee)]
}

#[tokio::test]
async fn a_chain_is_recorded_whole_and_a_repeat_changes_nothing() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let chain = deposit_and_fee(&ledger, new_row(), wallet);
    for _ in 0..3 {
        ledger.transfer_linked(&chain).await.unwrap();
    }
    assert_eq!(balance(&ledger, wallet).await, (1000, 0, 1000));
    assert_eq!(balance(&ledger, ledger.provider_fees(ZAR)).await, (30, 0, 30));
    assert_eq!(balance(&ledger, ledger.provider_balance(ZAR)).await, (970, 0, 970));
}

#[tokio::test]
async fn one_refusal_refuses_the_whole_chain_wherever_it_stands() {
    let ledger = ledger().await;
    for refused_at in 0..3 {
        let wallet = wallet_with(&ledger, 0).await;
        let row = new_row();
        let mut chain = deposit_and_fee(&ledger, row, wallet).to_vec();
        let refused = wallet_with(&ledger, 0).await;
        let refused = transfer(TransferId::of(row, Leg::Fee), refused, wallet, 1, TransferCode::Fee);
        chain.insert(refused_at, refused);
        let result = ledger.transfer_linked(&chain).await;
        assert_eq!(result, Err(LedgerError::Refused(Refusal::InsufficientFunds)), "refused at {refused_at}");
        let again = ledger.transfer_linked(&chain).await;
        assert_eq!(again, Err(LedgerError::Refused(Refusal::SpentId)), "refused at {refused_at}");
        assert_eq!(balance(&ledger, wallet).await, (0, 0, 0), "refused at {refused_at}");
        assert_eq!(ledger.lookup(&chain.iter().map(|t| t.id).collect::<Vec<_>>()).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn a_chain_of_which_one_transfer_was_recorded_alone_is_a_contradiction() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let chain = deposit_and_fee(&ledger, new_row(), wallet);
    ledger.transfer(chain[1]).await.unwrap();
    let in_part = Err(LedgerError::Contradiction("linked_chain_recorded_in_part"));
    assert_eq!(ledger.transfer_linked(&chain).await, in_part, "the last is there");
    assert_eq!(balance(&ledger, wallet).await, (0, 0, 0));

    let chain = deposit_and_fee(&ledger, new_row(), wallet);
    ledger.transfer_linked(&chain[..1]).await.unwrap();
    let not_linked = Err(LedgerError::Contradiction("exists_with_different_flags"));
    assert_eq!(ledger.transfer_linked(&chain).await, not_linked, "the first is there");
    assert_eq!(balance(&ledger, ledger.provider_fees(ZAR)).await, (30, 0, 30), "only the fee from before");
}

#[tokio::test]
async fn a_repeat_with_another_second_transfer_is_a_contradiction() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let mut chain = deposit_and_fee(&ledger, new_row(), wallet);
    ledger.transfer_linked(&chain).await.unwrap();
    chain[1].amount = zar(31);
    let result = ledger.transfer_linked(&chain).await;
    assert_eq!(result, Err(LedgerError::Contradiction("linked_chain_recorded_in_part")));
    assert_eq!(balance(&ledger, ledger.provider_fees(ZAR)).await, (30, 0, 30));
}

#[tokio::test]
async fn concurrent_chains_of_one_row_are_recorded_once() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let chain = deposit_and_fee(&ledger, new_row(), wallet);
    let (a, b, c) =
        tokio::join!(ledger.transfer_linked(&chain), ledger.transfer_linked(&chain), ledger.transfer_linked(&chain));
    assert_eq!((a, b, c), (Ok(()), Ok(()), Ok(())));
    assert_eq!(balance(&ledger, wallet).await, (1000, 0, 1000));
}

#[tokio::test]
async fn no_transfers_are_no_chain_and_too_many_are_our_bug() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    assert_eq!(ledger.transfer_linked(&[]).await, Ok(()));
    let many = vec![deposit(&ledger, new_row(), wallet, 1); 8190];
    assert_eq!(ledger.transfer_linked(&many).await, Err(LedgerError::Contradiction("too_much_data")));
    assert_eq!(balance(&ledger, wallet).await, (0, 0, 0));
}

#[tokio::test]
async fn a_deposit_first_repays_what_is_owed_and_a_repeat_says_the_same() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let user = wallet.id.user_of().expect("a customer's");
    let receivable = ledger::Account::receivable(user, ZAR);
    ledger.open(&[receivable]).await.unwrap();
    let owe = TransferId::of(new_row(), Leg::Receivable);
    let provider = ledger.provider_balance(ZAR);
    ledger.transfer(transfer(owe, receivable, provider, 700, TransferCode::Chargeback)).await.unwrap();
    let deposit_and_repay = |row| {
        let repay =
            transfer(TransferId::of(row, Leg::Repay), wallet, receivable, 1000, TransferCode::ReceivableRepayment);
        (deposit_and_fee(&ledger, row, wallet), repay)
    };
    let (chain, repay) = deposit_and_repay(new_row());
    for _ in 0..3 {
        assert_eq!(ledger.transfer_linked_up_to(&chain, repay).await, Ok(zar(700)));
    }
    assert_eq!(balance(&ledger, wallet).await, (300, 0, 300));
    assert_eq!(balance(&ledger, receivable).await, (0, 0, 0));
    let (chain, repay) = deposit_and_repay(new_row());
    assert_eq!(ledger.transfer_linked_up_to(&chain, repay).await, Ok(zar(0)), "nothing is owed any more");
    assert_eq!(balance(&ledger, wallet).await, (1300, 0, 1300));
}

/// Whoever owes cannot reserve what his own failed withdrawal sets free, however fast he asks.
#[tokio::test]
async fn what_a_void_sets_free_repays_what_is_owed_before_anybody_can_reserve_it() {
    let ledger = ledger().await;
    for owed in [0, 300, 1_000, 5_000] {
        let wallet = wallet_with(&ledger, 1_000).await;
        let row = new_row();
        until_known(async || ledger.reserve(withdrawal(&ledger, row, wallet, 1_000)).await).await.unwrap();
        let (receivable, provider) = (receivable_of(wallet), ledger.provider_balance(ZAR));
        let debt =
            transfer(TransferId::of(new_row(), Leg::Receivable), receivable, provider, owed, TransferCode::Chargeback);
        until_known(async || ledger.transfer(debt).await).await.unwrap();
        let hasty: Vec<Transfer> = (0..20).map(|_| withdrawal(&ledger, new_row(), wallet, 1_000)).collect();
        let repaid = owed.min(1_000);
        let void = async || until_known(async || ledger.void_up_to(row, repay(row, wallet, 1_000)).await).await;
        let reserves = futures_util::future::join_all(hasty.iter().map(|t| ledger.reserve(*t)));
        let (voided, reserved) = tokio::join!(void(), reserves);
        assert_eq!(voided, Ok(zar(repaid)));
        assert_eq!(void().await, Ok(zar(repaid)), "a repeat says the same");
        let reserved = reserved.iter().filter(|answer| answer.is_ok()).count();
        assert!(reserved <= usize::from(owed == 0), "{reserved} reserved beside a debt of {owed}");
        assert_eq!(balance(&ledger, receivable).await.0, owed - repaid);
        assert_eq!(balance(&ledger, wallet).await.0, 1_000 - repaid);
    }
}
