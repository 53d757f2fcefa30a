//! Every TigerBeetle result code and what the caller must do about it: the only place that knows them. Called by `client`,
//! `calls` and `velocity_limit`.
//! Source: `src/tigerbeetle.zig` (CreateAccountResult, CreateTransferResult) and docs/reference/requests of release 0.16.78.

use tigerbeetle_unofficial as tb;

use crate::error::LedgerError::{self, AlreadyResolved, Contradiction};
use crate::error::Refusal::{AccountClosed, InsufficientFunds, NoSuchAccount, SpentId};
use crate::error::Resolution::{Expired, Posted, Voided};
use crate::error::{Refusal, Resolution};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As good as created.
    Done,
    /// Not a cause: a sibling of the chain has one.
    Sibling,
    /// What it means depends on the call.
    NoDebitAccount,
    /// The account may be the one that was asked for, closed since: that is a flag too.
    OtherFlags,
    Refused(Refusal),
    Resolved(Resolution),
    /// The request was malformed, or the id means something else than we think: our bug.
    Bug,
}

use Outcome::{Bug, Done, NoDebitAccount, OtherFlags, Refused, Resolved, Sibling};

type Row = (u32, &'static str, Outcome);

pub(crate) const ACCOUNT: [Row; 26] = [
    (1, "linked_event_failed", Bug),
    (2, "linked_event_chain_open", Bug),
    (3, "timestamp_must_be_zero", Bug),
    (4, "reserved_field", Bug),
    (5, "reserved_flag", Bug),
    (6, "id_must_not_be_zero", Bug),
    (7, "id_must_not_be_int_max", Bug),
    (8, "flags_are_mutually_exclusive", Bug),
    (9, "debits_pending_must_be_zero", Bug),
    (10, "debits_posted_must_be_zero", Bug),
    (11, "credits_pending_must_be_zero", Bug),
    (12, "credits_posted_must_be_zero", Bug),
    (13, "ledger_must_not_be_zero", Bug),
    (14, "code_must_not_be_zero", Bug),
    (15, "exists_with_different_flags", OtherFlags),
    (16, "exists_with_different_user_data_128", Bug),
    (17, "exists_with_different_user_data_64", Bug),
    (18, "exists_with_different_user_data_32", Bug),
    (19, "exists_with_different_ledger", Bug),
    (20, "exists_with_different_code", Bug),
    (21, "exists", Done),
    (22, "imported_event_expected", Bug),
    (23, "imported_event_not_expected", Bug),
    (24, "imported_event_timestamp_out_of_range", Bug),
    (25, "imported_event_timestamp_must_not_advance", Bug),
    (26, "imported_event_timestamp_must_not_regress", Bug),
];

/// `exists_with_different_user_data_64`.
pub(crate) const OTHER_ITEM: u32 = 42;

pub(crate) const TRANSFER: [Row; 67] = [
    (1, "linked_event_failed", Sibling),
    (2, "linked_event_chain_open", Bug),
    (3, "timestamp_must_be_zero", Bug),
    (4, "reserved_flag", Bug),
    (5, "id_must_not_be_zero", Bug),
    (6, "id_must_not_be_int_max", Bug),
    (7, "flags_are_mutually_exclusive", Bug),
    (8, "debit_account_id_must_not_be_zero", Bug),
    (9, "debit_account_id_must_not_be_int_max", Bug),
    (10, "credit_account_id_must_not_be_zero", Bug),
    (11, "credit_account_id_must_not_be_int_max", Bug),
    (12, "accounts_must_be_different", Bug),
    (13, "pending_id_must_be_zero", Bug),
    (14, "pending_id_must_not_be_zero", Bug),
    (15, "pending_id_must_not_be_int_max", Bug),
    (16, "pending_id_must_be_different", Bug),
    (17, "timeout_reserved_for_pending_transfer", Bug),
    (19, "ledger_must_not_be_zero", Bug),
    (20, "code_must_not_be_zero", Bug),
    (21, "debit_account_not_found", NoDebitAccount),
    (22, "credit_account_not_found", Bug),
    (23, "accounts_must_have_the_same_ledger", Bug),
    (24, "transfer_must_have_the_same_ledger_as_accounts", Bug),
    (25, "pending_transfer_not_found", Bug),
    (26, "pending_transfer_not_pending", Bug),
    (27, "pending_transfer_has_different_debit_account_id", Bug),
    (28, "pending_transfer_has_different_credit_account_id", Bug),
    (29, "pending_transfer_has_different_ledger", Bug),
    (30, "pending_transfer_has_different_code", Bug),
    (31, "exceeds_pending_transfer_amount", Bug),
    (32, "pending_transfer_has_different_amount", Bug),
    (33, "pending_transfer_already_posted", Resolved(Posted)),
    (34, "pending_transfer_already_voided", Resolved(Voided)),
    (35, "pending_transfer_expired", Resolved(Expired)),
    (36, "exists_with_different_flags", Bug),
    (37, "exists_with_different_debit_account_id", Bug),
    (38, "exists_with_different_credit_account_id", Bug),
    (39, "exists_with_different_amount", Bug),
    (40, "exists_with_different_pending_id", Bug),
    (41, "exists_with_different_user_data_128", Bug),
    (42, "exists_with_different_user_data_64", Bug),
    (43, "exists_with_different_user_data_32", Bug),
    (44, "exists_with_different_timeout", Bug),
    (45, "exists_with_different_code", Bug),
    (46, "exists", Done),
    (47, "overflows_debits_pending", Bug),
    (48, "overflows_credits_pending", Bug),
    (49, "overflows_debits_posted", Bug),
    (50, "overflows_credits_posted", Bug),
    (51, "overflows_debits", Bug),
    (52, "overflows_credits", Bug),
    (53, "overflows_timeout", Bug),
    (54, "exceeds_credits", Refused(InsufficientFunds)),
    (55, "exceeds_debits", Refused(InsufficientFunds)),
    (56, "imported_event_expected", Bug),
    (57, "imported_event_not_expected", Bug),
    (58, "imported_event_timestamp_out_of_range", Bug),
    (59, "imported_event_timestamp_must_not_advance", Bug),
    (60, "imported_event_timestamp_must_not_regress", Bug),
    (61, "imported_event_timestamp_must_postdate_debit_account", Bug),
    (62, "imported_event_timestamp_must_postdate_credit_account", Bug),
    (63, "imported_event_timeout_must_be_zero", Bug),
    (64, "closing_transfer_must_be_pending", Bug),
    (65, "debit_account_already_closed", Refused(AccountClosed)),
    (66, "credit_account_already_closed", Refused(AccountClosed)),
    (67, "exists_with_different_ledger", Bug),
    (68, "id_already_failed", Refused(SpentId)),
];

/// Which call a transfer's code answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Reserve,
    Other,
}

pub(crate) fn transfer_outcome(code: u32, call: Call) -> Result<(), LedgerError> {
    let (name, outcome) = find(&TRANSFER, code);
    match outcome {
        Done => Ok(()),
        // A wallet that was never opened holds nothing; in every other call the service opens the accounts first.
        NoDebitAccount if call == Call::Reserve => Err(LedgerError::Refused(NoSuchAccount)),
        Refused(why) => Err(LedgerError::Refused(why)),
        Resolved(how) => Err(AlreadyResolved(how)),
        NoDebitAccount | OtherFlags | Sibling | Bug => Err(Contradiction(name)),
    }
}

/// Which of the transfer's accounts is not there.
pub(crate) fn missing_account(code: u32, transfer: &tb::Transfer) -> Option<u128> {
    match find(&TRANSFER, code).0 {
        "debit_account_not_found" => Some(transfer.debit_account_id()),
        "credit_account_not_found" => Some(transfer.credit_account_id()),
        _ => None,
    }
}

pub(crate) fn account_outcome(code: u32) -> Result<(), LedgerError> {
    let (name, outcome) = find(&ACCOUNT, code);
    if outcome == Done { Ok(()) } else { Err(Contradiction(name)) }
}

/// Whether the account may be the one that was asked for, closed since.
pub(crate) fn may_be_closed(code: u32) -> bool {
    find(&ACCOUNT, code).1 == OtherFlags
}

/// Whether another event of the chain has the cause.
pub(crate) fn is_sibling(code: u32) -> bool {
    find(&TRANSFER, code).1 == Sibling
}

/// A code that a newer server may have is a contradiction until somebody has thought about it.
fn find(table: &[Row], code: u32) -> (&'static str, Outcome) {
    let row = table.iter().find(|row| row.0 == code);
    row.map_or(("unlisted_code", Bug), |row| (row.1, row.2))
}

#[cfg(test)]
mod tests {
    use tigerbeetle_unofficial::error as tb;
    use tigerbeetle_unofficial::error::sys_safe;

    use super::*;

    /// The crate writes `user_data_128` as `user_data128`; TigerBeetle itself does not.
    fn as_the_crate_writes(name: &str) -> String {
        name.replace("user_data_", "user_data")
    }

    #[test]
    fn every_transfer_code_of_the_client_is_in_the_table_once_under_its_name() {
        let codes: Vec<u32> = (sys_safe::MIN_CREATE_TRANSFER_ERROR_CODE..=sys_safe::MAX_CREATE_TRANSFER_ERROR_CODE)
            .filter(|code| !sys_safe::EXCLUDED_CREATE_TRANSFER_ERROR_CODES.contains(code))
            .collect();
        assert_eq!(TRANSFER.map(|row| row.0).to_vec(), codes);
        for (code, name, _) in TRANSFER {
            let raw = tb::RawCreateTransfersIndividualApiResult { index: 0, result: code };
            let known = tb::CreateTransfersIndividualApiError::from_raw_result(raw).unwrap().kind();
            assert_eq!(known.into_snake_case_str(), as_the_crate_writes(name));
        }
    }

    #[test]
    fn every_account_code_of_the_client_is_in_the_table_once_under_its_name() {
        let codes = sys_safe::MIN_CREATE_ACCOUNT_ERROR_CODE..=sys_safe::MAX_CREATE_ACCOUNT_ERROR_CODE;
        assert_eq!(ACCOUNT.map(|row| row.0).to_vec(), codes.collect::<Vec<_>>());
        for (code, name, _) in ACCOUNT {
            let raw = tb::RawCreateAccountsIndividualApiResult { index: 0, result: code };
            let known = tb::CreateAccountsIndividualApiError::from_raw_result(raw).unwrap().kind();
            assert_eq!(known.into_snake_case_str(), as_the_crate_writes(name));
        }
    }

    #[test]
    fn only_the_codes_we_thought_about_are_more_than_a_contradiction() {
        let special: Vec<(u32, Outcome)> =
            TRANSFER.iter().filter(|row| row.2 != Bug).map(|row| (row.0, row.2)).collect();
        let expected = [
            (1, Sibling),
            (21, NoDebitAccount),
            (33, Resolved(Posted)),
            (34, Resolved(Voided)),
            (35, Resolved(Expired)),
            (46, Done),
            (54, Refused(InsufficientFunds)),
            (55, Refused(InsufficientFunds)),
            (65, Refused(AccountClosed)),
            (66, Refused(AccountClosed)),
            (68, Refused(SpentId)),
        ];
        assert_eq!(special, expected);
        let created: Vec<u32> = ACCOUNT.iter().filter(|row| row.2 != Bug).map(|row| row.0).collect();
        assert_eq!(created, [15, 21]);
    }

    #[test]
    fn an_unlisted_code_is_a_contradiction() {
        for code in [0, 18, 69, u32::MAX] {
            assert_eq!(transfer_outcome(code, Call::Other), Err(Contradiction("unlisted_code")));
        }
        assert_eq!(account_outcome(27), Err(Contradiction("unlisted_code")));
    }

    #[test]
    fn a_missing_debit_account_refuses_a_reservation_and_contradicts_anything_else() {
        assert_eq!(transfer_outcome(21, Call::Reserve), Err(LedgerError::Refused(NoSuchAccount)));
        assert_eq!(transfer_outcome(21, Call::Other), Err(Contradiction("debit_account_not_found")));
        assert_eq!(transfer_outcome(22, Call::Reserve), Err(Contradiction("credit_account_not_found")));
    }
}
