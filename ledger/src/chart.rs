//! The chart of accounts and the reasons of transfers: fixed numbers that are stored for ever. Only add, never renumber.

use uuid::Uuid;

use crate::amount::Currency;
use crate::id::AccountId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Debit,
    Credit,
}

/// What an account is for. Stored in TigerBeetle as [`AccountCode::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum AccountCode {
    ProviderBalance = 1000,
    Bank = 1100,
    CustomerReceivable = 1200,
    CustomerWallet = 2000,
    Suspense = 2900,
    Equity = 3000,
    FeeIncome = 4000,
    ProviderFees = 5000,
    ChargebackLosses = 5100,
    /// Not money: see module `velocity_limit`. The other side of every velocity limit.
    LimitSource = 9000,
    /// Not money: what may still leave a wallet, and whether anything may.
    VelocityLimit = 9100,
    /// Not money: see module `payout_notes`. The other side of every note.
    PayoutNotes = 9200,
    /// Not money: see module `audit_notes`. The other side of every note.
    AuditNotes = 9300,
}

/// What TigerBeetle refuses on an account. It cannot be changed once the account exists (docs/reference/account.md). Besides,
/// every account that holds money keeps its balance history, so that statements and reports can ask for any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// A wallet never goes below zero, nor does what belongs to somebody whom we do not know yet.
    DebitsWithinCredits,
    /// Nobody pays back more than is owed.
    CreditsWithinDebits,
    /// The company's other accounts may stand on either side: a payout may leave before the deposit that covers it is settled.
    None,
}

impl AccountCode {
    /// The chart: those that hold money.
    pub const ALL: [Self; 9] = [
        Self::ProviderBalance,
        Self::Bank,
        Self::CustomerReceivable,
        Self::CustomerWallet,
        Self::Suspense,
        Self::Equity,
        Self::FeeIncome,
        Self::ProviderFees,
        Self::ChargebackLosses,
    ];

    #[expect(clippy::as_conversions, reason = "the discriminant is the code")]
    pub fn code(self) -> u16 {
        self as u16
    }

    pub fn name(self) -> &'static str {
        self.facts().0
    }

    pub fn normal_side(self) -> Side {
        self.facts().1
    }

    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.code() == code)
    }

    /// Whether each customer has one of their own; the others exist once a currency.
    pub fn is_customers(self) -> bool {
        matches!(self, Self::CustomerReceivable | Self::CustomerWallet | Self::VelocityLimit)
    }

    /// Whether it holds money. The others stand on a ledger number of their own (module `velocity_limit`) and in no report.
    pub(crate) fn is_money(self) -> bool {
        !matches!(self, Self::LimitSource | Self::VelocityLimit | Self::PayoutNotes | Self::AuditNotes)
    }

    /// Whether it is asked for balances of the past: what is not money is not, but for what was used of a limit (`Ledger::outflow_at`).
    pub(crate) fn has_history(self) -> bool {
        self.is_money() || self == Self::VelocityLimit
    }

    pub(crate) fn limit(self) -> Limit {
        self.facts().2
    }

    fn facts(self) -> (&'static str, Side, Limit) {
        match self {
            Self::ProviderBalance => ("provider_balance", Side::Debit, Limit::None),
            Self::Bank => ("bank", Side::Debit, Limit::None),
            Self::CustomerReceivable => ("customer_receivable", Side::Debit, Limit::CreditsWithinDebits),
            Self::CustomerWallet => ("customer_wallet", Side::Credit, Limit::DebitsWithinCredits),
            Self::Suspense => ("suspense", Side::Credit, Limit::DebitsWithinCredits),
            Self::Equity => ("equity", Side::Credit, Limit::None),
            Self::FeeIncome => ("fee_income", Side::Credit, Limit::None),
            Self::ProviderFees => ("provider_fees", Side::Debit, Limit::None),
            Self::ChargebackLosses => ("chargeback_losses", Side::Debit, Limit::None),
            Self::LimitSource => ("limit_source", Side::Debit, Limit::None),
            Self::VelocityLimit => ("velocity_limit", Side::Credit, Limit::DebitsWithinCredits),
            Self::PayoutNotes => ("payout_notes", Side::Credit, Limit::None),
            Self::AuditNotes => ("audit_notes", Side::Credit, Limit::None),
        }
    }
}

/// Why money moved. Stored in TigerBeetle as [`TransferCode::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum TransferCode {
    /// Customer money in: debit `provider_balance`, credit wallet.
    Deposit = 10,
    /// What the provider keeps: debit `provider_fees`, credit `provider_balance`.
    ProviderFee = 11,
    /// Money that came and fits no deposit as it was asked for: debit `provider_balance`, credit `suspense`.
    UnmatchedPayment = 12,
    /// What the provider invoices beyond the fees that it kept: debit `provider_fees`, credit `bank` or `provider_balance`.
    ProviderInvoice = 13,
    /// Money that was nobody's goes back where it came from: debit `suspense`, credit `provider_balance` or `bank`.
    SuspenseReturn = 14,
    /// Money that nobody may claim any more: debit `suspense`, credit `equity`.
    SuspenseRelease = 15,
    /// Customer money out: debit wallet, credit `provider_balance`; pending, then posted or voided.
    Withdrawal = 20,
    /// A paid payout came back: debit `provider_balance`, credit wallet.
    WithdrawalReturn = 21,
    /// We give a deposit back: debit wallet, credit `provider_balance`.
    Refund = 30,
    /// The customer's bank takes a deposit back: debit wallet or receivable, credit `provider_balance`.
    Chargeback = 40,
    /// A chargeback was won: debit `provider_balance`, credit wallet or receivable.
    ChargebackReversal = 41,
    /// A dispute that is lost over money that no customer had: debit `chargeback_losses`, credit `provider_balance`.
    ChargebackLoss = 42,
    /// A customer pays back what they owe: debit wallet, credit receivable.
    ReceivableRepayment = 50,
    /// We give up what a customer owes: debit `chargeback_losses`, credit receivable.
    WriteOff = 51,
    /// The provider pays our bank account: debit `bank`, credit `provider_balance`; pending while it is on its way.
    Settlement = 60,
    /// We fund payouts at the provider: debit `provider_balance`, credit `bank`; pending while it is on its way.
    FloatTopUp = 61,
    /// The company puts own money into the customers' bank account: debit `bank`, credit `equity`.
    OwnFundsIn = 62,
    /// The company takes own money out: debit `equity`, credit `bank`.
    OwnFundsOut = 63,
    /// Our fee: debit wallet, credit `fee_income`.
    Fee = 70,
    /// A wallet is closed or a velocity limit shut, of amount zero: pending while it lasts, voided to undo it.
    Closing = 80,
    /// A correction by a person, with its reason in the row.
    Adjustment = 90,
    /// The year's result: income and expense accounts against `equity`.
    Result = 91,
    /// Not money: what a withdrawal takes of its velocity limit.
    LimitUse = 900,
    /// Not money: by which payout a withdrawal is about to be paid.
    PayoutNote = 901,
    /// Not money: how far the audit log goes, and the hash of its last link.
    AuditNote = 902,
}

impl TransferCode {
    pub const ALL: [Self; 25] = [
        Self::Deposit,
        Self::ProviderFee,
        Self::UnmatchedPayment,
        Self::ProviderInvoice,
        Self::SuspenseReturn,
        Self::SuspenseRelease,
        Self::Withdrawal,
        Self::WithdrawalReturn,
        Self::Refund,
        Self::Chargeback,
        Self::ChargebackReversal,
        Self::ChargebackLoss,
        Self::ReceivableRepayment,
        Self::WriteOff,
        Self::Settlement,
        Self::FloatTopUp,
        Self::OwnFundsIn,
        Self::OwnFundsOut,
        Self::Fee,
        Self::Closing,
        Self::Adjustment,
        Self::Result,
        Self::LimitUse,
        Self::PayoutNote,
        Self::AuditNote,
    ];

    #[expect(clippy::as_conversions, reason = "the discriminant is the code")]
    pub fn code(self) -> u16 {
        self as u16
    }

    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.code() == code)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::ProviderFee => "provider_fee",
            Self::UnmatchedPayment => "unmatched_payment",
            Self::ProviderInvoice => "provider_invoice",
            Self::SuspenseReturn => "suspense_return",
            Self::SuspenseRelease => "suspense_release",
            Self::Withdrawal => "withdrawal",
            Self::WithdrawalReturn => "withdrawal_return",
            Self::Refund => "refund",
            Self::Chargeback => "chargeback",
            Self::ChargebackReversal => "chargeback_reversal",
            Self::ChargebackLoss => "chargeback_loss",
            Self::ReceivableRepayment => "receivable_repayment",
            Self::WriteOff => "write_off",
            Self::Settlement => "settlement",
            Self::FloatTopUp => "float_top_up",
            Self::OwnFundsIn => "own_funds_in",
            Self::OwnFundsOut => "own_funds_out",
            Self::Fee => "fee",
            Self::Closing => "closing",
            Self::Adjustment => "adjustment",
            Self::Result => "result",
            Self::LimitUse => "limit_use",
            Self::PayoutNote => "payout_note",
            Self::AuditNote => "audit_note",
        }
    }
}

/// One account in one currency. A customer's accounts are made here, the company's by `Ledger::system`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Account {
    pub id: AccountId,
    pub code: AccountCode,
    pub currency: Currency,
}

impl Account {
    /// `user` must come from [`crate::user_id`]; anything else is a programmer error and panics.
    pub fn wallet(user: Uuid, currency: Currency) -> Self {
        Self::customers(user, AccountCode::CustomerWallet, currency)
    }

    /// `user` must come from [`crate::user_id`]; anything else is a programmer error and panics.
    pub fn receivable(user: Uuid, currency: Currency) -> Self {
        Self::customers(user, AccountCode::CustomerReceivable, currency)
    }

    /// `user` must come from [`crate::user_id`]; anything else is a programmer error and panics.
    pub fn velocity_limit(user: Uuid, currency: Currency) -> Self {
        Self::customers(user, AccountCode::VelocityLimit, currency)
    }

    fn customers(user: Uuid, code: AccountCode, currency: Currency) -> Self {
        Self { id: AccountId::customers(user, code, currency), code, currency }
    }
}
