//! What the company holds on its way is posted or given back, once; and its position counts what is held as gone.

use ledger::{Account, AccountCode, JournalStanding, LedgerError, Leg, Resolution, TransferCode, TransferId};
use ledger::{Ledger, Transfer};
use uuid::Uuid;

use crate::harness::*;

fn journal(row: Uuid, (debit, credit): (Account, Account), minor: i64, code: TransferCode) -> Transfer {
    transfer(TransferId::of(row, Leg::Journal), debit, credit, minor, code)
}

async fn standing(ledger: &Ledger, row: Uuid) -> JournalStanding {
    until_known(async || ledger.journal_standing(row).await).await.expect("an answer")
}

async fn position(ledger: &Ledger) -> i64 {
    until_known(async || ledger.position(ZAR).await).await.expect("an answer")
}

#[tokio::test]
async fn what_is_held_is_posted_or_voided_and_the_other_one_is_told_so() {
    let ledger = ledger().await;
    wallet_with(&ledger, 1_000).await;
    let sides = (ledger.system(AccountCode::Bank, ZAR), ledger.provider_balance(ZAR));
    for arrives in [true, false] {
        let row = new_row();
        let t = journal(row, sides, 400, TransferCode::Settlement);
        let before = balance(&ledger, sides.0).await.0;
        assert_eq!(standing(&ledger, row).await, JournalStanding::None);
        for _ in 0..2 {
            assert_eq!(until_known(async || ledger.hold_journal(t).await).await, Ok(()), "a repeat is the same");
        }
        assert_eq!((standing(&ledger, row).await, balance(&ledger, sides.0).await.0), (JournalStanding::Held, before));
        let post = async || until_known(async || ledger.post_journal(row).await).await;
        let void = async || until_known(async || ledger.void_journal(row).await).await;
        for _ in 0..2 {
            assert_eq!(if arrives { post().await } else { void().await }, Ok(()));
        }
        let (end, other, how) = match arrives {
            true => (JournalStanding::Posted, void().await, Resolution::Posted),
            false => (JournalStanding::Voided, post().await, Resolution::Voided),
        };
        assert_eq!(other, Err(LedgerError::AlreadyResolved(how)));
        let moved = balance(&ledger, sides.0).await.0 - before;
        assert_eq!((standing(&ledger, row).await, moved), (end, if arrives { 400 } else { 0 }));
    }
}

#[tokio::test]
async fn the_position_is_what_is_held_less_what_is_owed_and_what_is_held_to_leave_is_gone() {
    let ledger = ledger().await;
    let wallet = wallet_with(&ledger, 1_000).await;
    assert_eq!(position(&ledger).await, 0, "customers' money is theirs");
    let (bank, equity) = (ledger.system(AccountCode::Bank, ZAR), ledger.system(AccountCode::Equity, ZAR));
    let move_ = async |sides, minor, code| {
        let t = journal(new_row(), sides, minor, code);
        until_known(async || ledger.transfer(t).await).await
    };
    assert_eq!(move_((bank, equity), 700, TransferCode::OwnFundsIn).await, Ok(()));
    assert_eq!(move_((ledger.provider_fees(ZAR), bank), 30, TransferCode::ProviderInvoice).await, Ok(()));
    // Two customers owe something.
    let other = wallet_with(&ledger, 0).await;
    for (owing, minor) in [(wallet, 200), (other, 45)] {
        let sides = (receivable_of(owing), ledger.provider_balance(ZAR));
        assert_eq!(move_(sides, minor, TransferCode::Chargeback).await, Ok(()));
    }
    assert_eq!(position(&ledger).await, 700 - 30 - 245);
    let sums = balance(&ledger, ledger.provider_balance(ZAR)).await.0 + balance(&ledger, bank).await.0;
    assert_eq!(sums - 1_000, position(&ledger).await, "the same by the other side of the books");
    let losses = ledger.system(AccountCode::ChargebackLosses, ZAR);
    assert_eq!(move_((losses, receivable_of(wallet)), 200, TransferCode::WriteOff).await, Ok(()));
    assert!(matches!(
        move_((losses, receivable_of(wallet)), 1, TransferCode::WriteOff).await,
        Err(LedgerError::Refused(_))
    ));
    assert_eq!(position(&ledger).await, 425, "a debt that is given up was none of it before");
    let row = new_row();
    let out = journal(row, (equity, bank), 425, TransferCode::OwnFundsOut);
    until_known(async || ledger.hold_journal(out).await).await.expect("held");
    assert_eq!(position(&ledger).await, 0);
    until_known(async || ledger.void_journal(row).await).await.expect("voided");
    assert_eq!(position(&ledger).await, 425);
}
