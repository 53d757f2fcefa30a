//! Ids: all derived from row ids, user ids and the chart, never looked up. The service makes rows' and users' ids here.
//!
//! ```text
//! row id            UUIDv7, last byte zero
//! transfer id       row id | leg                                  leg in the low 8 bits
//! user id           UUIDv7, last two bytes zero
//! customer account  user id | kind << 10 | currency numeric       in the low 16 bits; numeric < 1000 < 2^10
//! system account    base << 64 | currency numeric << 16 | code    the variant bits are 00, a UUID's are 10: no collision
//! ```
//!
//! All but the system accounts are ordered by time, which TigerBeetle's storage wants (docs/coding/data-modeling.md, "id").

use std::fmt;

use uuid::Uuid;

use crate::amount::Currency;
use crate::chart::AccountCode;

const USER_MASK: u128 = !0xffff;
const ROW_MASK: u128 = !0xff;
const CUSTOMER_KIND_SHIFT: u32 = 10;
const CUSTOMER_CURRENCY_MASK: u16 = 0x3ff;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(u128);

impl AccountId {
    pub(crate) fn customers(user: Uuid, code: AccountCode, currency: Currency) -> Self {
        let user = user.as_u128();
        assert_eq!(user & !USER_MASK, 0, "a user id ends in two zero bytes: make it with ledger::user_id");
        let kind = customer_kind(code).expect("only customers' accounts are derived from a user");
        let id = Self(user | u128::from((kind << CUSTOMER_KIND_SHIFT) | currency.numeric()));
        assert!(id.user_of().is_some(), "a user id is a UUIDv7: make it with ledger::user_id");
        id
    }

    pub(crate) fn system(base: u32, currency: Currency, code: AccountCode) -> Self {
        assert!(customer_kind(code).is_none(), "a customer's account is derived from the user");
        Self((u128::from(base) << 64) | (u128::from(currency.numeric()) << 16) | u128::from(code.code()))
    }

    /// The customer whose account it is; `None` for the company's own accounts.
    pub fn user_of(self) -> Option<Uuid> {
        let user = Uuid::from_u128(self.0 & USER_MASK);
        (user.get_version_num() == 7 && user.get_variant() == uuid::Variant::RFC4122).then_some(user)
    }

    /// What sort of account it is, and in which currency. `None` when the id was not made here.
    pub fn code_and_currency(self) -> Option<(AccountCode, Currency)> {
        let low = u16::try_from(self.0 & 0xffff).ok()?;
        if self.user_of().is_some() {
            let code = CUSTOMER_KINDS.iter().find(|row| row.1 == low >> CUSTOMER_KIND_SHIFT)?.0;
            return Some((code, Currency::from_numeric(low & CUSTOMER_CURRENCY_MASK)?));
        }
        let numeric = u16::try_from((self.0 >> 16) & 0xffff).ok()?;
        Some((AccountCode::from_code(low)?, Currency::from_numeric(numeric)?))
    }

    pub fn as_uuid(self) -> Uuid {
        Uuid::from_u128(self.0)
    }

    pub(crate) fn raw(self) -> u128 {
        self.0
    }

    pub(crate) fn from_raw(raw: u128) -> Self {
        Self(raw)
    }
}

/// Stored in account ids: never renumber. 1 to 63; whatever is not here is the company's.
const CUSTOMER_KINDS: [(AccountCode, u16); 3] =
    [(AccountCode::CustomerWallet, 1), (AccountCode::CustomerReceivable, 2), (AccountCode::VelocityLimit, 3)];

fn customer_kind(code: AccountCode) -> Option<u16> {
    CUSTOMER_KINDS.iter().find(|row| row.0 == code).map(|row| row.1)
}

/// Which effect of a row a transfer is. Stored in transfer ids: never renumber; 0 is the row itself.
///
/// | noun | legs |
/// |---|---|
/// | deposit | `Main` credits the wallet; `ProviderFee`; `Repay` what the customer owed; `Unmatched` what did not fit, `UnmatchedReturn` gave that back, `UnmatchedAgain` took it once more |
/// | withdrawal | `Main` reserves, `Post` or `Void` resolves, `VoidRepay` what was owed; `Late`, or `Receivable` and `Repay`, when it was paid after all; `ProviderFee` |
/// | refund, chargeback | `Main` where the wallet holds it all; else `Receivable`, and `Repay` what the wallet holds; `Return`, `ReturnRepay` when it failed after all; `ProviderFee` |
/// | chargeback reversal (its own row) | `Main`, `Repay`; `ProviderFee` |
/// | adjustment | `Main`, `Repay` |
/// | journal | `Journal` moves or holds, `JournalPost` when it arrived, `JournalVoid` when it was returned |
/// | restriction | `Main` shuts the velocity limit, `Close` the wallet; `Void` and `CloseVoid` open them again |
/// | withdrawal, not money | `Payout` and `Replacement` say by which payouts it is paid; `LimitUse` what it takes of the velocity limit, `LimitCheck` and `LimitCheckVoid` the daily limit, `LimitReturn` |
/// | nothing yet | `Fee`, `Loss` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Leg {
    Main = 1,
    Post = 2,
    Void = 3,
    ProviderFee = 4,
    Repay = 5,
    Receivable = 6,
    Fee = 7,
    Loss = 8,
    Unmatched = 9,
    Late = 10,
    LimitUse = 11,
    LimitCheck = 12,
    LimitCheckVoid = 13,
    LimitReturn = 14,
    Close = 15,
    CloseVoid = 16,
    UnmatchedReturn = 17,
    VoidRepay = 18,
    Payout = 19,
    Replacement = 20,
    Return = 21,
    ReturnRepay = 22,
    UnmatchedAgain = 23,
    Journal = 32,
    JournalPost = 33,
    JournalVoid = 34,
}

impl Leg {
    /// Every leg of a transaction that moves money; those of the velocity limit, of payouts and of a closure move none.
    pub const ALL: [Self; 15] = [
        Self::Main,
        Self::Post,
        Self::Void,
        Self::ProviderFee,
        Self::Repay,
        Self::Receivable,
        Self::Fee,
        Self::Loss,
        Self::Unmatched,
        Self::Late,
        Self::UnmatchedReturn,
        Self::UnmatchedAgain,
        Self::VoidRepay,
        Self::Return,
        Self::ReturnRepay,
    ];

    /// The same of a journal.
    pub const OF_JOURNALS: [Self; 3] = [Self::Journal, Self::JournalPost, Self::JournalVoid];

    /// For people; a new leg needs a name here and, where it moves money, its place in [`Leg::ALL`] or [`Leg::OF_JOURNALS`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Post => "post",
            Self::Void => "void",
            Self::ProviderFee => "provider_fee",
            Self::Repay => "repay",
            Self::Receivable => "receivable",
            Self::Fee => "fee",
            Self::Loss => "loss",
            Self::Unmatched => "unmatched",
            Self::Late => "late",
            Self::LimitUse => "limit_use",
            Self::LimitCheck => "limit_check",
            Self::LimitCheckVoid => "limit_check_void",
            Self::LimitReturn => "limit_return",
            Self::Close => "close",
            Self::CloseVoid => "close_void",
            Self::UnmatchedReturn => "unmatched_return",
            Self::UnmatchedAgain => "unmatched_again",
            Self::VoidRepay => "void_repay",
            Self::Payout => "payout",
            Self::Replacement => "replacement",
            Self::Return => "return",
            Self::ReturnRepay => "return_repay",
            Self::Journal => "journal",
            Self::JournalPost => "journal_post",
            Self::JournalVoid => "journal_void",
        }
    }

    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::OF_JOURNALS).find(|leg| leg.byte() == byte)
    }

    /// Whether a transfer with it belongs to a journal, and not to a transaction.
    pub fn is_journals(self) -> bool {
        Self::OF_JOURNALS.contains(&self)
    }

    #[expect(clippy::as_conversions, reason = "the discriminant is the byte")]
    pub fn byte(self) -> u8 {
        self as u8
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(u128);

impl TransferId {
    /// `row` must come from [`row_id`]; anything else is a programmer error and panics. The SQL constraint on row ids is the
    /// other half of this check.
    pub fn of(row: Uuid, leg: Leg) -> Self {
        let row = row.as_u128();
        assert_eq!(row & !ROW_MASK, 0, "a row id ends in a zero byte: make it with ledger::row_id");
        Self(row | u128::from(leg.byte()))
    }

    /// The ids that the row's transfers have, if there are such transfers: for [`crate::Ledger::lookup`].
    pub fn all_of(row: Uuid) -> Vec<Self> {
        Leg::ALL.into_iter().map(|leg| Self::of(row, leg)).collect()
    }

    /// The same of a journal.
    pub fn all_of_journal(row: Uuid) -> Vec<Self> {
        Leg::OF_JOURNALS.into_iter().map(|leg| Self::of(row, leg)).collect()
    }

    /// The one transfer that fills a customer's velocity limit: no row's. The bit is in the place of the account's kind, and no kind has it.
    pub(crate) fn filling(limit_account: AccountId) -> Self {
        Self(limit_account.raw() | 0x8000)
    }

    pub fn row(self) -> Uuid {
        row_of(self.as_uuid())
    }

    /// See [`Leg::byte`].
    pub fn leg(self) -> u8 {
        u8::try_from(self.0 & !ROW_MASK).expect("the mask leaves eight bits")
    }

    pub fn as_uuid(self) -> Uuid {
        Uuid::from_u128(self.0)
    }

    pub(crate) fn raw(self) -> u128 {
        self.0
    }

    pub(crate) fn from_raw(raw: u128) -> Self {
        Self(raw)
    }
}

/// The id of a business row: a UUIDv7 whose last byte is zero, so 66 bits are random.
pub fn row_id(unix_millis: u64, random: [u8; 10]) -> Uuid {
    Uuid::from_u128(uuid_v7(unix_millis, random) & ROW_MASK)
}

/// The row that a transfer's id is made of; of a row's own id the same.
pub fn row_of(transfer: Uuid) -> Uuid {
    Uuid::from_u128(transfer.as_u128() & ROW_MASK)
}

/// The id of a user: a UUIDv7 whose last two bytes are zero, so 58 bits are random.
pub fn user_id(unix_millis: u64, random: [u8; 10]) -> Uuid {
    Uuid::from_u128(uuid_v7(unix_millis, random) & USER_MASK)
}

fn uuid_v7(unix_millis: u64, random: [u8; 10]) -> u128 {
    uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid().as_u128()
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_uuid().fmt(f)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_uuid().fmt(f)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
