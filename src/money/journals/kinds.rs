//! The kinds of journals, one table: which accounts, which code, what proves it, and what else the row must name.

use chrono::NaiveDate;
use ledger::{AccountCode, TransferCode};

use crate::platform::text_enum::text_enum;
use crate::platform::zone::business_days_after;

text_enum! {
    #[schema(as = JournalKind)]
    pub enum Kind {
        /// Revio pays our bank account: on its way until it has arrived.
        Settlement = "settlement",
        /// Our bank account pays Revio, so that payouts can be made: on its way likewise.
        FloatTopUp = "float_top_up",
        /// What Revio invoices beyond the fees that are booked already.
        ProviderInvoice = "provider_invoice",
        /// Money that came and fits nothing.
        SuspenseIn = "suspense_in",
        /// Some of that goes back where it came from.
        SuspenseReturn = "suspense_return",
        /// Some of that may not be claimed any more. Two must approve it, whatever the amount.
        SuspenseRelease = "suspense_release",
        /// A customer's debt is given up.
        WriteOff = "write_off",
        /// A dispute that is lost over money that no customer had.
        ChargebackLoss = "chargeback_loss",
        /// Own money into the customers' bank account: fees, losses and debts are funded with it.
        OwnFundsIn = "own_funds_in",
        /// Own money out of it, while what is held still covers what is owed.
        OwnFundsOut = "own_funds_out",
        /// The year's result: an account of income or expenses against equity.
        Result = "result",
    }
}

text_enum! {
    /// Where a kind leaves it open: which account of the company's.
    #[schema(as = JournalAccount)]
    pub enum OpenAccount {
        ProviderBalance = "provider_balance",
        Bank = "bank",
        FeeIncome = "fee_income",
        ProviderFees = "provider_fees",
        ChargebackLosses = "chargeback_losses",
    }
}

text_enum! {
    pub enum EvidenceKind {
        /// A line of Revio's statement.
        ProviderStatement = "provider_statement",
        /// A line of the bank's.
        BankStatement = "bank_statement",
        Invoice = "invoice",
        /// An object of Revio's, named by its id.
        ProviderObject = "provider_object",
        LegalNote = "legal_note",
        PeriodPack = "period_pack",
        Note = "note",
    }
}

/// One side of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Is(AccountCode),
    /// As the row says.
    Open,
    /// What the customer owes.
    Receivable,
}

pub(super) struct Facts {
    pub(super) debit: Side,
    pub(super) credit: Side,
    pub(super) code: TransferCode,
    pub(super) evidence: &'static [EvidenceKind],
    /// Which accounts the row may name; none where the kind says all.
    pub(super) accounts: &'static [OpenAccount],
}

const AT_REVIO_OR_BANK: &[OpenAccount] = &[OpenAccount::ProviderBalance, OpenAccount::Bank];

impl OpenAccount {
    pub(super) fn code(self) -> AccountCode {
        match self {
            Self::ProviderBalance => AccountCode::ProviderBalance,
            Self::Bank => AccountCode::Bank,
            Self::FeeIncome => AccountCode::FeeIncome,
            Self::ProviderFees => AccountCode::ProviderFees,
            Self::ChargebackLosses => AccountCode::ChargebackLosses,
        }
    }
}

impl Kind {
    #[rustfmt::skip]
    pub(super) fn facts(self) -> Facts {
        use AccountCode::{Bank, ChargebackLosses, Equity, ProviderBalance, ProviderFees, Suspense};
        use EvidenceKind::{BankStatement, Invoice, LegalNote, Note, PeriodPack, ProviderObject, ProviderStatement};
        use Side::{Is, Open, Receivable};
        let (debit, credit, code, evidence, accounts): (_, _, _, &[_], &[_]) = match self {
            Self::Settlement      => (Is(Bank), Is(ProviderBalance), TransferCode::Settlement, &[ProviderStatement, ProviderObject], &[]),
            Self::FloatTopUp      => (Is(ProviderBalance), Is(Bank), TransferCode::FloatTopUp, &[BankStatement, ProviderStatement], &[]),
            Self::ProviderInvoice => (Is(ProviderFees), Open, TransferCode::ProviderInvoice, &[Invoice, ProviderStatement], AT_REVIO_OR_BANK),
            Self::SuspenseIn      => (Open, Is(Suspense), TransferCode::UnmatchedPayment,
                                      &[ProviderStatement, BankStatement, ProviderObject], AT_REVIO_OR_BANK),
            Self::SuspenseReturn  => (Is(Suspense), Open, TransferCode::SuspenseReturn,
                                      &[ProviderStatement, BankStatement, ProviderObject], AT_REVIO_OR_BANK),
            Self::SuspenseRelease => (Is(Suspense), Is(Equity), TransferCode::SuspenseRelease, &[LegalNote], &[]),
            Self::WriteOff        => (Is(ChargebackLosses), Receivable, TransferCode::WriteOff, &[Note, LegalNote], &[]),
            Self::ChargebackLoss  => (Is(ChargebackLosses), Is(ProviderBalance), TransferCode::ChargebackLoss,
                                      &[ProviderStatement, ProviderObject], &[]),
            Self::OwnFundsIn      => (Is(Bank), Is(Equity), TransferCode::OwnFundsIn, &[BankStatement], &[]),
            Self::OwnFundsOut     => (Is(Equity), Is(Bank), TransferCode::OwnFundsOut, &[BankStatement, Note], &[]),
            Self::Result          => (Is(Equity), Open, TransferCode::Result, &[PeriodPack],
                                      &[OpenAccount::FeeIncome, OpenAccount::ProviderFees, OpenAccount::ChargebackLosses]),
        };
        Facts { debit, credit, code, evidence, accounts }
    }

    /// The two sides. Income is emptied into equity, expenses out of it.
    pub(super) fn sides(self, account: Option<OpenAccount>) -> (Side, Side) {
        let Facts { debit, credit, .. } = self.facts();
        if self == Self::Result && account == Some(OpenAccount::FeeIncome) { (credit, debit) } else { (debit, credit) }
    }

    /// Held by the ledger first, then posted or released (`booking`: `send`, `take_out`).
    pub fn is_in_two_phases(self) -> bool {
        matches!(self, Self::Settlement | Self::FloatTopUp | Self::OwnFundsOut)
    }

    pub(super) fn clears_suspense(self) -> bool {
        matches!(self, Self::SuspenseReturn | Self::SuspenseRelease)
    }

    /// Until when it should be there that was sent on a day: three banking days from Revio, one from the bank.
    pub(super) fn expected_on(self, sent: NaiveDate) -> NaiveDate {
        business_days_after(sent, if self == Self::Settlement { 3 } else { 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_due_after_banking_days() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("a date");
        // A Thursday.
        assert_eq!(Kind::Settlement.expected_on(day("2026-03-05")), day("2026-03-10"));
        assert_eq!(Kind::FloatTopUp.expected_on(day("2026-03-06")), day("2026-03-09"));
    }

    #[test]
    fn every_kind_has_two_sides_and_something_that_proves_it() {
        for kind in Kind::ALL.iter().copied() {
            let Facts { debit, credit, evidence, accounts, .. } = kind.facts();
            assert_ne!(debit, credit, "{}", kind.name());
            assert!(!evidence.is_empty(), "{}", kind.name());
            assert_eq!([debit, credit].contains(&Side::Open), !accounts.is_empty(), "{}", kind.name());
        }
    }
}
