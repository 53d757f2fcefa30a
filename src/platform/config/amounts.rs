//! Settings of amounts by currency: `CUR:a` or `CUR:a:b` in minor units, with commas. Read with the other settings by `config.rs`.
//!
//! They are safe without being set: a currency that is not named has the defaults. What is to be without a limit says so in words:
//! `off` or `none`, for all currencies, or for one as in `ZAR:off`.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Amount, Currency};

/// Above which sums of a day a withdrawal needs one approval by staff, or two (`withdrawals/approval.rs`). A currency without any needs
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thresholds(BTreeMap<Currency, Vec<Amount>>);

/// What holds where nothing is set, in whole units of the currency (R, $, €). Rand first; any other currency is taken for one whose unit is
/// worth much more.
struct Defaults {
    /// Above this one person approves a withdrawal, and two check a correction …
    one: i64,
    /// … and above this two approve a withdrawal.
    two: i64,
    once: i64,
    daily: i64,
}

impl Defaults {
    const RAND: Self = Self { one: 50_000, two: 500_000, once: 500_000, daily: 1_000_000 };
    const OTHER: Self = Self { one: 2_500, two: 25_000, once: 25_000, daily: 50_000 };

    fn of(currency: Currency) -> Self {
        if currency == Currency::ZAR { Self::RAND } else { Self::OTHER }
    }
}

fn whole(units: i64, currency: Currency) -> Amount {
    let minor = units.saturating_mul(10_i64.saturating_pow(u32::from(currency.exponent())));
    Amount::new(minor, currency).expect("a default is far below the largest amount")
}

/// How much a customer may withdraw of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithdrawalLimit {
    pub once: Amount,
    /// In any 24 hours.
    pub daily: Amount,
}

impl Thresholds {
    /// Without the enabled currencies (they are wrong themselves) any is taken.
    pub fn parse(value: &str, enabled: Option<&[Currency]>) -> Result<Self, String> {
        let default = |currency| {
            let Defaults { one, two, .. } = Defaults::of(currency);
            Some(vec![whole(one, currency), whole(two, currency)])
        };
        let make = |amounts: Vec<Amount>| match amounts[..] {
            [_] => Ok(amounts),
            [one, two] if one.minor() < two.minor() => Ok(amounts),
            [_, _] => Err("holds a second threshold that is not above the first"),
            _ => Err("must be CUR:one or CUR:one:two, with commas; off says that none is wanted"),
        };
        parse(value, enabled, default, make).map(Self)
    }

    /// Those of corrections: one person checks each, above this two.
    pub fn parse_of_adjustments(value: &str, enabled: Option<&[Currency]>) -> Result<Self, String> {
        let default = |currency| Some(vec![whole(Defaults::of(currency).one, currency)]);
        let make = |amounts: Vec<Amount>| match amounts[..] {
            [_] => Ok(amounts),
            _ => Err("must be CUR:two, with commas; off says that one person is enough for any amount"),
        };
        parse(value, enabled, default, make).map(Self)
    }

    /// Those above which customers show a code. Where none is named it is another setting's to say.
    pub fn parse_of_codes(value: &str, enabled: Option<&[Currency]>) -> Result<Self, String> {
        let make = |amounts: Vec<Amount>| match amounts[..] {
            [_] => Ok(amounts),
            _ => Err("must be CUR:amount, with commas"),
        };
        parse(value, enabled, |_| None, make).map(Self)
    }

    /// How many people it takes: one for each threshold that the sum is strictly above.
    pub fn needed(&self, sum: Amount) -> i64 {
        let thresholds = self.0.get(&sum.currency()).into_iter().flatten();
        thresholds.map(|threshold| i64::from(sum.minor() > threshold.minor())).sum()
    }

    pub fn has(&self, currency: Currency) -> bool {
        self.0.contains_key(&currency)
    }

    pub fn first(&self, currency: Currency) -> Option<Amount> {
        self.0.get(&currency).and_then(|amounts| amounts.first()).copied()
    }
}

impl WithdrawalLimit {
    pub fn parse(value: &str, enabled: Option<&[Currency]>) -> Result<BTreeMap<Currency, Self>, String> {
        let default = |currency| {
            let Defaults { once, daily, .. } = Defaults::of(currency);
            Some(Self { once: whole(once, currency), daily: whole(daily, currency) })
        };
        let make = |amounts: Vec<Amount>| match amounts[..] {
            [once, daily] if once.minor() <= daily.minor() => Ok(Self { once, daily }),
            _ => Err(
                "must be CUR:once:daily in minor units, once not above daily, with commas between; off says no limit",
            ),
        };
        parse(value, enabled, default, make)
    }
}

/// A limit that is not wanted is said so in words: no number means it, and nor does leaving it out.
fn is_off(word: &str) -> bool {
    ["off", "none"].contains(&word)
}

fn parse<T>(
    value: &str,
    enabled: Option<&[Currency]>,
    default: impl Fn(Currency) -> Option<T>,
    make: impl Fn(Vec<Amount>) -> Result<T, &'static str>,
) -> Result<BTreeMap<Currency, T>, String> {
    if is_off(value.trim()) {
        return Ok(BTreeMap::new());
    }
    let mut all = BTreeMap::new();
    let mut named = BTreeSet::new();
    for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let mut parts = entry.split(':');
        let currency = parts.next().and_then(Currency::parse).ok_or("holds a code that ISO 4217 does not know")?;
        if enabled.is_some_and(|enabled| !enabled.contains(&currency)) {
            return Err("holds a currency that is not one of CURRENCIES".to_owned());
        }
        if !named.insert(currency) {
            return Err("holds a currency twice".to_owned());
        }
        if parts.clone().next().is_some_and(is_off) && parts.clone().count() == 1 {
            continue;
        }
        let amount = |part: &str| part.parse().ok().and_then(|minor| Amount::new(minor, currency).ok());
        let amounts = parts.map(|part| amount(part).filter(|amount| !amount.is_zero())).collect::<Option<Vec<_>>>();
        let amounts = amounts.ok_or("holds an amount that is not a positive integer in minor units")?;
        all.insert(currency, make(amounts)?);
    }
    for currency in enabled.into_iter().flatten().filter(|currency| !named.contains(currency)) {
        all.extend(default(*currency).map(|value| (*currency, value)));
    }
    Ok(all)
}

pub(super) fn parse_ledger_base(value: &str) -> Result<u32, String> {
    let base = value.parse().ok().filter(|base| ledger::is_base(*base));
    base.ok_or_else(|| "is not a multiple of 1000, at most 4294966000".to_owned())
}

pub(super) fn parse_currencies(value: &str) -> Result<Vec<Currency>, String> {
    let parse =
        |code: &str| Currency::parse(code.trim()).ok_or_else(|| "holds a code that ISO 4217 does not know".to_owned());
    let currencies: Vec<Currency> = value.split(',').map(parse).collect::<Result<_, _>>()?;
    let is_twice =
        currencies.iter().enumerate().any(|(at, code)| currencies.iter().skip(at + 1).any(|next| next == code));
    if is_twice { Err("holds a currency twice".to_owned()) } else { Ok(currencies) }
}

/// Some of those of the books; all where none is named.
pub(super) fn some_of(value: &str, of_the_books: Option<&[Currency]>) -> Result<Vec<Currency>, String> {
    let of_the_books = of_the_books.unwrap_or_default();
    if value.is_empty() {
        return Ok(of_the_books.to_vec());
    }
    let some = parse_currencies(value)?;
    let are_known = some.iter().all(|one| of_the_books.contains(one));
    are_known.then_some(some).ok_or_else(|| "holds one that is none of CURRENCIES".to_owned())
}
