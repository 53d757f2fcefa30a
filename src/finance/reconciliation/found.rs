//! What can differ, and what a look at it found. Every leg answers with these; `breaks` keeps them, and nothing else decides what a type
//! means: severity, leg, window and whether it heals stand in the one table of [`BreakType::rule`], from which its owner follows.

use chrono::TimeDelta;
use ledger::{AccountCode, Currency};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::platform::clock::DateTime;
use crate::platform::text_enum::text_enum;
use crate::platform::zone::business_days_after;

text_enum! {
    pub enum BreakType {
        /// Debits and credits, or the company's accounts and their sums, do not agree.
        Unbalanced = "unbalanced",
        /// A row says that money moved, and the ledger has no transfer of it.
        RowWithoutTransfer = "row_without_transfer",
        /// The ledger moved money, and no row asked for it.
        TransferWithoutRow = "transfer_without_row",
        AmountLedger = "amount_ledger",
        /// The row's state and the ledger's transfers exclude each other.
        StateLedger = "state_ledger",
        /// The ledger holds money for a row that has ended or is on hold.
        ReservationStale = "reservation_stale",
        /// The ledger's copy differs from the ledger.
        CopyLine = "copy_line",
        /// A summary differs from the lines that it sums up.
        Summary = "summary",
        /// A payment came of which nobody told us.
        PaidAtProvider = "paid_at_provider",
        PayoutPaid = "payout_paid",
        /// Given back at Revio, and not here.
        ReversedAtProvider = "reversed_at_provider",
        NotPaidAtProvider = "not_paid_at_provider",
        AmountProvider = "amount_provider",
        CurrencyProvider = "currency_provider",
        FeeProvider = "fee_provider",
        /// Revio says that it sent money to the bank, and no journal says so.
        SettlementUnbooked = "settlement_unbooked",
        /// Two objects of Revio's were paid for one row.
        DuplicateProvider = "duplicate_provider",
        /// Money of which only Revio knows.
        ProviderOnly = "provider_only",
        BankOnly = "bank_only",
        MissingOnStatement = "missing_on_statement",
        SettlementLate = "settlement_late",
        BankMissing = "bank_missing",
        ProviderBalance = "provider_balance",
        BankBalance = "bank_balance",
        /// We hold less than we owe.
        PositionShort = "position_short",
        /// What came was not in the bank by the next business day.
        D1Late = "d1_late",
    }
}

text_enum! {
    #[schema(as = BreakSeverity)]
    pub enum Severity {
        Info = "info",
        Medium = "medium",
        High = "high",
        Critical = "critical",
    }
}

text_enum! {
    pub enum ReconciliationLeg {
        /// Ledger, rows, copy, summaries.
        Inside = "a",
        /// Rows, Revio's objects, statement and balance.
        Provider = "b",
        /// Journals, the bank's file.
        Bank = "c",
    }
}

text_enum! {
    #[schema(as = BreakOwner)]
    pub enum Owner {
        /// Whoever is on call, and finance with them.
        OnCall = "on_call",
        Engineering = "engineering",
        Finance = "finance",
    }
}

/// How a break ends by itself, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heals {
    Never,
    /// By the step that Revio's event would have run.
    AsTheEvent,
    /// A row that is not at its end makes its next step.
    Step,
    /// What can be computed from the ledger is computed again.
    Recompute,
    /// A journal is proposed to a person; nothing is booked.
    Proposes,
}

/// For how long a difference is what being under way looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    None,
    Minutes(i64),
    Days(i64),
    /// Monday to Friday, in UTC; holidays are not known here.
    BusinessDays(u32),
    /// Once more in another run.
    TwoRuns,
}

/// What holds for a type.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub severity: Severity,
    pub leg: ReconciliationLeg,
    pub heals: Heals,
    pub window: Window,
}

impl BreakType {
    /// Those that are of no single thing: of each there is one for a currency, whenever its sum differs.
    pub(super) const OF_SUMS: [Self; 5] =
        [Self::Unbalanced, Self::ProviderBalance, Self::BankBalance, Self::PositionShort, Self::D1Late];

    pub fn rule(self) -> Rule {
        use Heals::{AsTheEvent, Never, Proposes, Recompute, Step};
        use ReconciliationLeg::{Bank, Inside, Provider};
        use Severity::{Critical, High, Info, Medium};
        use Window::{BusinessDays, Days, Minutes, TwoRuns};
        let rule = |severity, leg, heals, window| Rule { severity, leg, heals, window };
        match self {
            Self::Unbalanced => rule(Critical, Inside, Never, Window::None),
            Self::RowWithoutTransfer | Self::TransferWithoutRow | Self::AmountLedger => {
                rule(Critical, Inside, Never, Minutes(2))
            }
            Self::StateLedger => rule(Critical, Inside, Step, Minutes(2)),
            Self::ReservationStale => rule(High, Inside, Step, BusinessDays(5)),
            Self::CopyLine | Self::Summary => rule(Medium, Inside, Recompute, Window::None),
            Self::PaidAtProvider => rule(Info, Provider, AsTheEvent, Minutes(2)),
            Self::PayoutPaid => rule(High, Provider, AsTheEvent, Minutes(2)),
            Self::ReversedAtProvider => rule(High, Provider, AsTheEvent, Minutes(60)),
            Self::NotPaidAtProvider | Self::AmountProvider | Self::CurrencyProvider => {
                rule(Critical, Provider, Never, Minutes(2))
            }
            Self::FeeProvider => rule(Medium, Provider, AsTheEvent, Days(1)),
            Self::SettlementUnbooked => rule(Medium, Provider, Proposes, Days(1)),
            Self::DuplicateProvider => rule(Critical, Provider, Never, Window::None),
            Self::ProviderOnly => rule(High, Provider, Proposes, Minutes(60)),
            Self::BankOnly => rule(High, Bank, Proposes, BusinessDays(1)),
            Self::MissingOnStatement => rule(High, Provider, Never, BusinessDays(1)),
            Self::SettlementLate => rule(High, Bank, Never, BusinessDays(3)),
            Self::BankMissing => rule(High, Bank, Never, BusinessDays(1)),
            Self::ProviderBalance => rule(High, Provider, Never, TwoRuns),
            Self::BankBalance => rule(High, Bank, Never, TwoRuns),
            // At a day's end, and then at once.
            Self::PositionShort | Self::D1Late => rule(High, Provider, Never, Window::None),
        }
    }

    /// Whether Revio, or the bank, may put it right: our own ledger nobody else does, nor what our own decisions come to.
    pub(super) fn may_be_anothers(self) -> bool {
        self.rule().leg != ReconciliationLeg::Inside && self != Self::PositionShort
    }

    /// Whose it is: what is critical goes to whoever is on call, what is inside to engineering, the rest to finance.
    pub fn owner(self) -> Owner {
        let rule = self.rule();
        match (rule.severity, rule.leg) {
            (Severity::Critical, _) => Owner::OnCall,
            (_, ReconciliationLeg::Inside) => Owner::Engineering,
            (_, ReconciliationLeg::Provider | ReconciliationLeg::Bank) => Owner::Finance,
        }
    }
}

impl Window {
    /// Whether a difference that is there since then is more than being under way.
    pub fn is_over(self, since: DateTime, now: DateTime) -> bool {
        match self {
            Self::None | Self::TwoRuns => true,
            Self::Minutes(minutes) => now - since >= TimeDelta::minutes(minutes),
            Self::Days(days) => now - since >= TimeDelta::days(days),
            // To the same time of day.
            Self::BusinessDays(days) => {
                now >= business_days_after(since.date_naive(), days).and_time(since.time()).and_utc()
            }
        }
    }
}

/// What tells the same difference in a file from the one at Revio itself: each is looked at again where it was found.
pub const BY_STATEMENT: &str = "statement";

/// What differs, as one look of many saw it.
#[derive(Debug)]
pub struct Compared {
    pub found: Vec<Found>,
    /// False where there was more than one look takes: what is not among it may be there all the same.
    pub is_whole: bool,
}

/// One thing that differs, as one look saw it.
#[derive(Debug, Clone)]
pub struct Found {
    pub kind: BreakType,
    pub currency: Option<Currency>,
    /// What there should be and what there is; `None` where it is not a matter of sums. Minor units, may be below zero.
    pub expected: Option<i64>,
    pub actual: Option<i64>,
    /// What it is about: as many of these as are known.
    pub transaction_id: Option<Uuid>,
    pub journal_id: Option<Uuid>,
    pub transfer_id: Option<Uuid>,
    pub provider_id: Option<Uuid>,
    pub line_id: Option<Uuid>,
    pub account: Option<AccountCode>,
    /// What else tells it from others of its type about the same ids: a day, a field, an invariant.
    pub discriminator: Option<String>,
    /// Since when it differs, by the facts.
    pub since: DateTime,
    /// What two looks must agree on: the row's version and the ledger's facts.
    pub observed: String,
    /// Facts without personal data.
    pub evidence: Map<String, Value>,
}

impl Found {
    pub fn new(kind: BreakType, since: DateTime, observed: impl Into<String>) -> Self {
        Self {
            kind,
            currency: None,
            expected: None,
            actual: None,
            transaction_id: None,
            journal_id: None,
            transfer_id: None,
            provider_id: None,
            line_id: None,
            account: None,
            discriminator: None,
            since,
            observed: observed.into(),
            evidence: Map::new(),
        }
    }

    pub fn sums(self, currency: Currency, expected: Option<i64>, actual: Option<i64>) -> Self {
        Self { currency: Some(currency), expected, actual, ..self }
    }

    pub fn evident(mut self, name: &str, fact: impl Into<Value>) -> Self {
        self.evidence.insert(name.to_owned(), fact.into());
        self
    }

    /// Whether a fingerprint is of what a file says.
    pub fn is_by_statement(fingerprint: &str) -> bool {
        fingerprint.strip_suffix(BY_STATEMENT).is_some_and(|rest| rest.ends_with(" of="))
    }

    /// What it is, in one text that is the same each time that it is seen: type and ids, never an amount.
    pub fn fingerprint(&self) -> String {
        let ids = [self.transaction_id, self.journal_id, self.transfer_id, self.provider_id, self.line_id];
        let names = ["transaction", "journal", "transfer", "provider", "line"];
        let mut parts = vec![self.kind.name().to_owned()];
        parts.extend(names.iter().zip(ids).filter_map(|(name, id)| id.map(|id| format!("{name}={id}"))));
        parts.extend(self.account.map(|account| format!("account={}", account.code())));
        // An id says which currency it is of; without one the currency is what tells.
        if ids.iter().all(Option::is_none) {
            parts.extend(self.currency.map(|currency| format!("currency={}", currency.code())));
        }
        parts.extend(self.discriminator.as_ref().map(|text| format!("of={text}")));
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    #[test]
    fn a_business_day_after_a_friday_is_a_monday() {
        let friday = Utc.with_ymd_and_hms(2026, 3, 6, 10, 0, 0).single().expect("a time");
        let monday = Utc.with_ymd_and_hms(2026, 3, 9, 10, 0, 0).single().expect("a time");
        assert!(!Window::BusinessDays(1).is_over(friday, monday - TimeDelta::seconds(1)));
        assert!(Window::BusinessDays(1).is_over(friday, monday));
    }

    #[test]
    fn two_looks_at_one_difference_have_one_fingerprint_whatever_the_amounts() {
        let now = Utc.with_ymd_and_hms(2026, 3, 6, 10, 0, 0).single().expect("a time");
        let found = |actual| {
            let found = Found::new(BreakType::AmountLedger, now, "v1").sums(Currency::ZAR, Some(1), Some(actual));
            Found { transaction_id: Some(Uuid::nil()), ..found }.fingerprint()
        };
        assert_eq!(found(2), found(3));
        assert_eq!(found(2), "amount_ledger transaction=00000000-0000-0000-0000-000000000000");
    }
}
