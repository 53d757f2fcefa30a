//! Settings of amounts by currency: `CUR:a` or `CUR:a:b` in minor units, with commas. Read with the other settings by `config.rs`.

use std::collections::BTreeMap;

use ledger::{Amount, Currency};

/// Above which amounts a withdrawal needs one approval by staff, or two (`withdrawals/approval.rs`). A currency without any needs
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thresholds(BTreeMap<Currency, Vec<Amount>>);

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
        parse(value, enabled, |amounts| match amounts[..] {
            [_] => Ok(amounts),
            [one, two] if one.minor() < two.minor() => Ok(amounts),
            [_, _] => Err("holds a second threshold that is not above the first"),
            _ => Err("must be CUR:one or CUR:one:two, with commas"),
        })
        .map(Self)
    }

    /// How many people must approve a withdrawal of so much: one for each threshold that it is strictly above.
    pub fn needed(&self, amount: Amount) -> i64 {
        let thresholds = self.0.get(&amount.currency()).into_iter().flatten();
        thresholds.map(|threshold| i64::from(amount.minor() > threshold.minor())).sum()
    }
}

impl WithdrawalLimit {
    pub fn parse(value: &str, enabled: Option<&[Currency]>) -> Result<BTreeMap<Currency, Self>, String> {
        parse(value, enabled, |amounts| match amounts[..] {
            [once, daily] if once.minor() <= daily.minor() => Ok(Self { once, daily }),
            _ => Err("must be CUR:once:daily in minor units, once not above daily, with commas between"),
        })
    }
}

fn parse<T>(
    value: &str,
    enabled: Option<&[Currency]>,
    make: impl Fn(Vec<Amount>) -> Result<T, &'static str>,
) -> Result<BTreeMap<Currency, T>, String> {
    let mut all = BTreeMap::new();
    for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let mut parts = entry.split(':');
        let currency = parts.next().and_then(Currency::parse).ok_or("holds a code that ISO 4217 does not know")?;
        let amount = |part: &str| part.parse().ok().and_then(|minor| Amount::new(minor, currency).ok());
        let amounts = parts.map(|part| amount(part).filter(|amount| !amount.is_zero())).collect::<Option<Vec<_>>>();
        let amounts = amounts.ok_or("holds an amount that is not a positive integer in minor units")?;
        if enabled.is_some_and(|enabled| !enabled.contains(&currency)) {
            return Err("holds a currency that is not one of CURRENCIES".to_owned());
        }
        if all.insert(currency, make(amounts)?).is_some() {
            return Err("holds a currency twice".to_owned());
        }
    }
    Ok(all)
}
