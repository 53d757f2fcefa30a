//! `APPROVAL_THRESHOLDS`: above which amounts a withdrawal needs one or two approvals by staff (`withdrawals/approval.rs`).
//! Read with the other settings by `config.rs`.

use std::collections::BTreeMap;

use ledger::{Amount, Currency};

/// One entry a currency; a currency without one needs no approvals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thresholds(BTreeMap<&'static str, Steps>);

/// Minor units; an amount strictly above one of them needs so many approvals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Steps {
    one: i64,
    two: Option<i64>,
}

impl Thresholds {
    /// Reads `CUR:one` or `CUR:one:two`, with commas. Without the enabled currencies (they are wrong themselves) any is taken.
    pub fn parse(value: &str, enabled: Option<&[Currency]>) -> Result<Self, String> {
        let mut thresholds = BTreeMap::new();
        for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (currency, steps) = parse_entry(entry)?;
            if enabled.is_some_and(|enabled| !enabled.contains(&currency)) {
                return Err("holds a currency that is not one of CURRENCIES".to_owned());
            }
            if thresholds.insert(currency.code(), steps).is_some() {
                return Err("holds a currency twice".to_owned());
            }
        }
        Ok(Self(thresholds))
    }

    /// How many people must approve a withdrawal of so much.
    pub fn needed(&self, amount: Amount) -> i64 {
        match self.0.get(amount.currency().code()) {
            Some(Steps { two: Some(two), .. }) if amount.minor() > *two => 2,
            Some(Steps { one, .. }) if amount.minor() > *one => 1,
            Some(_) | None => 0,
        }
    }
}

fn parse_entry(entry: &str) -> Result<(Currency, Steps), String> {
    let mut parts = entry.split(':');
    let currency = parts.next().and_then(Currency::parse).ok_or("holds a code that ISO 4217 does not know")?;
    let steps = parts.map(parse_amount).collect::<Result<Vec<_>, _>>()?;
    match steps.as_slice() {
        [one] => Ok((currency, Steps { one: *one, two: None })),
        [one, two] if one < two => Ok((currency, Steps { one: *one, two: Some(*two) })),
        [_, _] => Err("holds a second threshold that is not above the first".to_owned()),
        _ => Err("must be CUR:one or CUR:one:two, with commas".to_owned()),
    }
}

fn parse_amount(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(amount) if amount > 0 => Ok(amount),
        _ => Err("holds an amount that is not a positive integer in minor units".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zar(minor: i64) -> Amount {
        Amount::new(minor, Currency::ZAR).expect("an amount")
    }

    #[test]
    fn an_amount_strictly_above_a_threshold_needs_approvals() {
        let thresholds = Thresholds::parse("ZAR:5000:50000", Some(&[Currency::ZAR])).expect("well formed");
        for (amount, needed) in [(1, 0), (5_000, 0), (5_001, 1), (50_000, 1), (50_001, 2), (9_000_000, 2)] {
            assert_eq!(thresholds.needed(zar(amount)), needed, "{amount}");
        }
        let single = Thresholds::parse(" ZAR:5000 ,", Some(&[Currency::ZAR])).expect("well formed");
        assert_eq!((single.needed(zar(5_000)), single.needed(zar(9_000_000))), (0, 1));
        assert_eq!(Thresholds::parse("", None).expect("none").needed(zar(9_000_000)), 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let enabled = [Currency::ZAR];
        for wrong in [
            "ZAR",
            "ZAR:",
            "ZAR:0",
            "ZAR:-5",
            "ZAR:1.5",
            "ZAR:x",
            "ZAR:5:5",
            "ZAR:5:4",
            "ZAR:1:2:3",
            "XXQ:5",
            "zar:5",
            "ZAR:5,ZAR:6",
            "USD:5",
            "ZAR:99999999999999999999",
        ] {
            assert!(Thresholds::parse(wrong, Some(&enabled)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_refusal_names_the_variable() {
        let value = |name: &str| Ok((name == "APPROVAL_THRESHOLDS").then(|| "ZAR:0".to_owned()));
        let wrong = crate::platform::config::Config::from_source(&value).expect_err("much is missing").to_string();
        assert!(wrong.contains("\n  APPROVAL_THRESHOLDS holds an amount that is not"), "{wrong}");
    }
}
