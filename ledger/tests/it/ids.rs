//! Ids and numbers that are stored for ever: exact values, so that nobody changes them unawares.

use ledger::{Account, AccountCode, Currency, Leg, Side, TransferCode, TransferId, row_id, user_id};

use crate::harness::*;

const RANDOM: [u8; 10] = [0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa];

#[test]
fn row_and_user_ids_are_uuid_v7_with_zeroes_at_the_end() {
    let row = row_id(0x0199_aabb_ccdd, RANDOM);
    assert_eq!(row.to_string(), "0199aabb-ccdd-71a2-a3a4-a5a6a7a8a900");
    let user = user_id(0x0199_aabb_ccdd, RANDOM);
    assert_eq!(user.to_string(), "0199aabb-ccdd-71a2-a3a4-a5a6a7a80000");
    for id in [row, user] {
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
    }
    assert!(row_id(1, [0xff; 10]) < row_id(2, [0; 10]), "ordered by time");
}

#[test]
fn a_transfer_id_is_the_row_and_the_leg() {
    let row = row_id(0x0199_aabb_ccdd, RANDOM);
    use Leg::{Fee, Late, Loss, Main, Post, ProviderFee, Receivable, Repay, Unmatched, Void};
    let legs = [Main, Post, Void, ProviderFee, Repay, Receivable, Fee, Loss, Unmatched, Late];
    for (leg, byte) in legs.into_iter().zip(1..) {
        let id = TransferId::of(row, leg);
        assert_eq!((id.row(), id.leg()), (row, byte));
    }
    assert_eq!(TransferId::of(row, Leg::Void).to_string(), "0199aabb-ccdd-71a2-a3a4-a5a6a7a8a903");
    let of_journal: Vec<u8> = TransferId::all_of_journal(row).into_iter().map(TransferId::leg).collect();
    assert_eq!(of_journal, [32, 33, 34]);
    for leg in Leg::ALL.into_iter().chain(Leg::OF_JOURNALS) {
        assert_eq!(Leg::from_byte(leg.byte()), Some(leg), "a name for people");
        assert_eq!(leg.is_journals(), leg.byte() >= 32);
    }
}

#[test]
#[should_panic(expected = "make it with ledger::row_id")]
fn a_transfer_id_is_not_made_from_any_uuid() {
    TransferId::of(uuid::Uuid::from_u128(row_id(1, RANDOM).as_u128() | 1), Leg::Main);
}

#[test]
fn a_customers_account_id_tells_the_user_the_sort_and_the_currency() {
    let user = user_id(0x0199_aabb_ccdd, RANDOM);
    let wallet = Account::wallet(user, ZAR);
    let receivable = Account::receivable(user, ZAR);
    assert_eq!(wallet.id.to_string(), "0199aabb-ccdd-71a2-a3a4-a5a6a7a806c6"); // 1 << 10 | 710
    assert_eq!(receivable.id.to_string(), "0199aabb-ccdd-71a2-a3a4-a5a6a7a80ac6"); // 2 << 10 | 710
    for account in [wallet, receivable] {
        assert_eq!(account.id.user_of(), Some(user));
        assert_eq!(account.id.code_and_currency(), Some((account.code, ZAR)));
    }
}

#[test]
#[should_panic(expected = "make it with ledger::user_id")]
fn a_wallet_is_not_made_for_any_uuid() {
    Account::wallet(row_id(1, RANDOM), ZAR);
}

#[tokio::test]
async fn a_system_account_id_is_made_of_base_currency_and_code_and_is_nobodys() {
    let ledger = ledger().await.with_base(7000);
    assert_eq!(ledger.suspense(ZAR).id.to_string(), "00000000-0000-1b58-0000-000002c60b54");
    for base in [0, 7000, 4_294_966_000] {
        for code in AccountCode::ALL.into_iter().filter(|code| !code.is_customers()) {
            let id = ledger.with_base(base).system(code, ZAR).id;
            assert_eq!(id.user_of(), None);
            assert_eq!(id.code_and_currency(), Some((code, ZAR)));
        }
    }
}

#[test]
fn the_chart_of_accounts_is_as_documented() {
    let chart = AccountCode::ALL.map(|code| (code.code(), code.name(), code.normal_side()));
    let expected = [
        (1000, "provider_balance", Side::Debit),
        (1100, "bank", Side::Debit),
        (1200, "customer_receivable", Side::Debit),
        (2000, "customer_wallet", Side::Credit),
        (2900, "suspense", Side::Credit),
        (3000, "equity", Side::Credit),
        (4000, "fee_income", Side::Credit),
        (5000, "provider_fees", Side::Debit),
        (5100, "chargeback_losses", Side::Debit),
    ];
    assert_eq!(chart, expected);
    for code in AccountCode::ALL {
        assert_eq!(AccountCode::from_code(code.code()), Some(code));
    }
    assert_eq!(AccountCode::from_code(1), None);
}

#[test]
fn the_reasons_of_transfers_keep_their_numbers() {
    let codes = TransferCode::ALL.map(|code| (code.code(), code.name()));
    let expected = [
        (10, "deposit"),
        (11, "provider_fee"),
        (12, "unmatched_payment"),
        (13, "provider_invoice"),
        (14, "suspense_return"),
        (15, "suspense_release"),
        (20, "withdrawal"),
        (21, "withdrawal_return"),
        (30, "refund"),
        (40, "chargeback"),
        (41, "chargeback_reversal"),
        (42, "chargeback_loss"),
        (50, "receivable_repayment"),
        (51, "write_off"),
        (60, "settlement"),
        (61, "float_top_up"),
        (62, "own_funds_in"),
        (63, "own_funds_out"),
        (70, "fee"),
        (80, "closing"),
        (90, "adjustment"),
        (91, "result"),
        (900, "limit_use"),
        (901, "payout_note"),
        (902, "audit_note"),
    ];
    assert_eq!(codes, expected);
    for code in TransferCode::ALL {
        assert_eq!(TransferCode::from_code(code.code()), Some(code));
    }
}

#[test]
fn every_currency_has_a_numeric_code_of_its_own_that_fits_its_ten_bits() {
    let letters = b'A'..=b'Z';
    let codes = letters.clone().flat_map(|a| letters.clone().flat_map(move |b| (b'A'..=b'Z').map(move |c| [a, b, c])));
    let currencies: Vec<Currency> = codes.filter_map(|c| Currency::parse(str::from_utf8(&c).unwrap())).collect();
    let numerics: std::collections::BTreeSet<u16> = currencies.iter().map(|c| c.numeric()).collect();
    assert!(currencies.len() > 150, "{} currencies", currencies.len());
    assert_eq!(numerics.len(), currencies.len());
    assert!(numerics.iter().all(|n| (1..1000).contains(n)));
    let user = user_id(1, RANDOM);
    for currency in currencies {
        assert_eq!(
            Account::wallet(user, currency).id.code_and_currency(),
            Some((AccountCode::CustomerWallet, currency))
        );
        assert!(currency.exponent() <= 4);
    }
}
