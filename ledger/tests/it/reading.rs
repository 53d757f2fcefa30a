//! Paging through what is recorded, and balances of the past.

use ledger::{Account, AccountCode, Currency, Ledger, Leg, Recorded, TransferId};

use crate::harness::*;

/// The account's first transfers.
async fn of_account(ledger: &Ledger, account: Account, limit: u32) -> Vec<Recorded> {
    let history = ledger.history(account, 0, u64::MAX, limit).await.expect("TigerBeetle answers");
    history.into_iter().map(|(transfer, _)| transfer).collect()
}

#[tokio::test]
async fn pages_of_transfers_have_no_gap_and_no_overlap_whatever_their_size() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 0).await;
    let mut sent = Vec::new();
    for minor in 1..=25 {
        let deposit = deposit(&ledger, new_row(), wallet, minor);
        ledger.transfer(deposit).await.unwrap();
        sent.push(deposit.id);
    }
    for limit in [1, 2, 7, 24, 25, 26, u32::MAX] {
        let mut pages: Vec<Recorded> = Vec::new();
        loop {
            let after = pages.last().map_or(0, |last| last.timestamp);
            let page = ledger.transfers_after(ZAR, after, limit).await.unwrap();
            assert!(page.len() <= usize::try_from(limit).unwrap());
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(pages.iter().map(|t| t.id).collect::<Vec<_>>(), sent, "limit {limit}");
        assert!(pages.is_sorted_by(|a, b| a.timestamp < b.timestamp));
        assert_eq!(of_account(&ledger, wallet, limit).await, pages[..pages.len().min(usize::try_from(limit).unwrap())]);
    }
}

#[tokio::test]
async fn pages_know_only_their_own_currency_and_base() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 10).await;
    let usd = Currency::parse("USD").unwrap();
    let other = crate::harness::ledger().await;
    assert_eq!(ledger.transfers_after(usd, 0, 10).await, Ok(vec![]));
    assert_eq!(other.transfers_after(ZAR, 0, 10).await, Ok(vec![]));
    assert_eq!(other.accounts_after(ZAR, 0, 10).await, Ok(vec![]));
    assert_eq!(ledger.transfers_after(ZAR, 0, 10).await.unwrap().len(), 1);
    assert_eq!(of_account(&ledger, wallet, 10).await.len(), 1);
}

#[tokio::test]
async fn cursors_at_the_end_of_time_and_limits_of_nothing_find_nothing() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 10).await;
    for (after, limit) in [(u64::MAX, 10), (i64::MAX.unsigned_abs(), 10), (i64::MAX.unsigned_abs() - 1, 10), (0, 0)] {
        assert_eq!(ledger.transfers_after(ZAR, after, limit).await, Ok(vec![]));
        assert_eq!(ledger.history(wallet, after, u64::MAX, limit).await, Ok(vec![]));
        assert_eq!(ledger.accounts_after(ZAR, after, limit).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn the_balance_at_a_moment_is_that_after_the_last_transfer_before_it() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let row = new_row();
    ledger.reserve(withdrawal(&ledger, row, wallet, 400)).await.unwrap();
    ledger.void(row).await.unwrap();
    ledger.transfer(withdrawal(&ledger, new_row(), wallet, 250)).await.unwrap();

    let history = of_account(&ledger, wallet, 10).await;
    let expected = [(1000, 0), (1000, 400), (1000, 0), (750, 0)];
    assert_eq!(history.len(), expected.len());
    let at = async |timestamp| {
        let balance = ledger.balance_at(wallet, timestamp).await.unwrap();
        (balance.posted(), balance.pending())
    };
    let mut before = (0, 0);
    for (transfer, after) in history.iter().zip(expected) {
        assert_eq!(at(transfer.timestamp - 1).await, before);
        assert_eq!(at(transfer.timestamp).await, after);
        before = after;
    }
    assert_eq!((at(0).await, at(u64::MAX).await), ((0, 0), (750, 0)));
    let now = ledger.balance(ledger.provider_balance(ZAR)).await;
    assert_eq!(
        ledger.balance_at(ledger.provider_balance(ZAR), u64::MAX).await,
        now,
        "system accounts keep history too"
    );
    let stranger = ledger.balance_at(Account::wallet(new_user(), ZAR), u64::MAX).await.unwrap();
    assert_eq!(stranger.posted(), 0);
}

#[tokio::test]
async fn balances_come_in_the_order_asked_and_zero_for_what_is_not_open() {
    let ledger = ledger().await;
    let (one, two) = (wallet_with(&ledger, 1).await, wallet_with(&ledger, 2).await);
    let stranger = Account::wallet(new_user(), ZAR);
    let balances = ledger.balances(&[two, stranger, one, two]).await.unwrap();
    assert_eq!(balances.iter().map(|b| b.posted()).collect::<Vec<_>>(), [2, 0, 1, 2]);
    assert_eq!(ledger.balances(&[]).await, Ok(vec![]));
}

#[tokio::test]
async fn more_accounts_and_transfers_than_one_message_holds_are_read() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 3).await;
    let strangers = (0..8190).map(|_| Account::wallet(new_user(), ZAR));
    let accounts: Vec<Account> = strangers.chain([wallet]).collect();
    let balances = ledger.balances(&accounts).await.unwrap();
    assert_eq!((balances.len(), balances[8190].posted()), (8191, 3));
    let recorded = ledger.transfers_after(ZAR, 0, 1).await.unwrap();
    let mut ids: Vec<TransferId> = (0..8190).map(|_| TransferId::of(new_row(), Leg::Main)).collect();
    ids.push(recorded[0].id);
    assert_eq!(ledger.lookup(&ids).await.unwrap(), recorded);
}

#[tokio::test]
async fn accounts_are_listed_with_their_code_and_balance_in_the_order_they_were_opened() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 5).await;
    let accounts = ledger.accounts_after(ZAR, 0, u32::MAX).await.unwrap();
    let codes: Vec<AccountCode> = accounts.iter().map(|a| a.code).collect();
    let mut expected: Vec<AccountCode> = AccountCode::ALL.into_iter().filter(|c| !c.is_customers()).collect();
    expected.extend([AccountCode::CustomerWallet, AccountCode::CustomerReceivable]);
    assert_eq!(codes, expected);
    assert_eq!((accounts[7].id, accounts[7].balance.posted()), (wallet.id, 5));
    let after_the_first = ledger.accounts_after(ZAR, accounts[0].timestamp, 2).await.unwrap();
    assert_eq!(after_the_first, accounts[1..3]);
}

#[tokio::test]
async fn a_history_has_each_transfer_with_the_balance_after_it_whatever_the_page() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1000).await;
    let row = new_row();
    ledger.reserve(withdrawal(&ledger, row, wallet, 400)).await.unwrap();
    ledger.post(row).await.unwrap();
    ledger.transfer(deposit(&ledger, new_row(), wallet, 0)).await.unwrap();
    let expected = [(1000, 0), (1000, 400), (600, 0), (600, 0)];
    let transfers = ledger.transfers_after(ZAR, 0, 10).await.unwrap();
    for limit in [1, 3, u32::MAX] {
        let (mut history, mut after) = (Vec::new(), 0);
        loop {
            let page = ledger.history(wallet, after, u64::MAX, limit).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            after = last.timestamp;
            history.extend(page);
        }
        assert_eq!(history.iter().map(|(transfer, _)| *transfer).collect::<Vec<_>>(), transfers);
        let balances: Vec<_> = history.iter().map(|(_, balance)| (balance.posted(), balance.pending())).collect();
        assert_eq!(balances, expected);
    }
    let (first, last) = (transfers[0].timestamp, transfers[3].timestamp);
    assert_eq!(ledger.history(wallet, first, last - 1, 10).await.unwrap().len(), 2, "after is out, until is in");
    assert_eq!(ledger.history(wallet, last, first, 10).await, Ok(vec![]));
    assert_eq!(ledger.history(wallet, 0, first - 1, 10).await, Ok(vec![]));
    let changed = async |at| ledger.last_change(wallet, at).await.unwrap().map(|(timestamp, _)| timestamp);
    assert_eq!(changed(0).await, None);
    assert_eq!(changed(first - 1).await, None);
    assert_eq!(changed(last - 1).await, Some(transfers[2].timestamp));
    assert_eq!(changed(u64::MAX).await, Some(last));
}
