//! Money: an amount of minor units in one currency, checked, never mixed. Everybody who touches money uses these two types.

use std::fmt;

/// An ISO 4217 currency that has minor units. Test and precious-metal codes (XXX, XAU, …) have none and do not parse.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    pub const ZAR: Self = Self(iso_currency::Currency::ZAR);

    /// `code` is the alpha-3 code in capitals, exactly.
    pub fn parse(code: &str) -> Option<Self> {
        iso_currency::Currency::from_code(code).and_then(Self::with_exponent)
    }

    pub(crate) fn from_numeric(numeric: u16) -> Option<Self> {
        iso_currency::Currency::from_numeric(numeric).and_then(Self::with_exponent)
    }

    fn with_exponent(currency: iso_currency::Currency) -> Option<Self> {
        currency.exponent().map(|_| Self(currency))
    }

    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// For people, in English.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// ISO 4217 numeric code, 1 to 999.
    pub fn numeric(self) -> u16 {
        self.0.numeric()
    }

    /// The asset scale: how many decimal places the minor unit is (ZAR 2, JPY 0).
    pub fn exponent(self) -> u8 {
        let exponent = self.0.exponent().and_then(|e| u8::try_from(e).ok());
        exponent.expect("only currencies with an exponent are made, and ISO's are at most 4")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Minor units, 0 to [`Amount::MINOR_MAX`], in one currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Amount {
    minor: i64,
    currency: Currency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("the amount would be negative")]
    Negative,
    #[error("the amounts are in different currencies")]
    CurrencyMismatch,
    #[error("the amount is more than {}", Amount::MINOR_MAX)]
    TooLarge,
}

impl Amount {
    /// 2^53 - 1: the largest integer that every JSON reader keeps exact (RFC 7493, section 2.2).
    pub const MINOR_MAX: i64 = 9_007_199_254_740_991;

    pub fn new(minor: i64, currency: Currency) -> Result<Self, AmountError> {
        if minor < 0 {
            return Err(AmountError::Negative);
        }
        if minor > Self::MINOR_MAX {
            return Err(AmountError::TooLarge);
        }
        Ok(Self { minor, currency })
    }

    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    pub fn minor(self) -> i64 {
        self.minor
    }

    pub fn currency(self) -> Currency {
        self.currency
    }

    pub fn is_zero(self) -> bool {
        self.minor == 0
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
        self.same_currency(other)?;
        Self::new(self.minor.saturating_sub(other.minor), self.currency)
    }

    fn same_currency(self, other: Self) -> Result<(), AmountError> {
        if self.currency == other.currency { Ok(()) } else { Err(AmountError::CurrencyMismatch) }
    }

    pub(crate) fn as_u128(self) -> u128 {
        u128::try_from(self.minor).expect("an amount is never negative")
    }
}

/// `ZAR 12.50`, `JPY 1250`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::from(self.currency.exponent());
        let digits = format!("{:0>width$}", self.minor, width = places.saturating_add(1));
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(places));
        let point = if places == 0 { "" } else { "." };
        write!(f, "{} {whole}{point}{fraction}", self.currency)
    }
}
