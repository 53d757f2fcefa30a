//! Settings of amounts by currency: what they mean, and what makes no sense.

use ledger::{Amount, Currency};
use octoco::platform::config::{Config, Thresholds, WithdrawalLimit};

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
    let wrong = Config::from_source(&value).expect_err("much is missing").to_string();
    assert!(wrong.contains("\n  APPROVAL_THRESHOLDS holds an amount that is not"), "{wrong}");
}
