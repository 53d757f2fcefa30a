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
    pub(super) fn parse(value: &str, enabled: Option<&[Currency]>) -> Result<BTreeMap<Currency, Self>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ENABLED: Option<&[Currency]> = Some(&[Currency::ZAR]);

    fn zar(minor: i64) -> Amount {
        Amount::new(minor, Currency::ZAR).expect("an amount")
    }

    #[test]
    fn an_amount_strictly_above_a_threshold_needs_approvals() {
        let thresholds = Thresholds::parse("ZAR:5000:50000", ENABLED).expect("well formed");
        for (amount, needed) in [(1, 0), (5_000, 0), (5_001, 1), (50_000, 1), (50_001, 2), (9_000_000, 2)] {
            assert_eq!(thresholds.needed(zar(amount)), needed, "{amount}");
        }
        let single = Thresholds::parse(" ZAR:5000 ,", ENABLED).expect("well formed");
        assert_eq!((single.needed(zar(5_000)), single.needed(zar(9_000_000))), (0, 1));
        assert_eq!(Thresholds::parse("", None).expect("none").needed(zar(9_000_000)), 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong = "ZAR|ZAR:|ZAR:0|ZAR:-5|ZAR:1.5|ZAR:x|ZAR:5:4|ZAR:1:2:3|XXQ:5|zar:5|ZAR:5:6,ZAR:6:7|USD:5:6|ZAR:99999999999999999999";
        for wrong in wrong.split('|') {
            assert!(Thresholds::parse(wrong, ENABLED).is_err(), "{wrong}");
            assert!(WithdrawalLimit::parse(wrong, ENABLED).is_err(), "{wrong}");
        }
        assert!(Thresholds::parse("ZAR:5:5", ENABLED).is_err());
        assert!(Thresholds::parse("ZAR:5,ZAR:6", ENABLED).is_err() && Thresholds::parse("USD:5", ENABLED).is_err());
    }

    #[test]
    fn the_refusal_names_the_variable() {
        let value = |name: &str| Ok((name == "APPROVAL_THRESHOLDS").then(|| "ZAR:0".to_owned()));
        let wrong = crate::platform::config::Config::from_source(&value).expect_err("much is missing").to_string();
        assert!(wrong.contains("\n  APPROVAL_THRESHOLDS holds an amount that is not"), "{wrong}");
    }
}
