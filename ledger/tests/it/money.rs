//! Amounts and currencies: no server needed.

use ledger::{Amount, AmountError, Currency};
use proptest::prelude::*;

use crate::harness::*;

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap_or_else(|| panic!("{code} is a currency"))
}

#[test]
fn a_currency_is_three_capitals_of_iso_4217_with_minor_units() {
    assert_eq!((ZAR.code(), ZAR.numeric(), ZAR.exponent()), ("ZAR", 710, 2));
    assert_eq!((currency("JPY").exponent(), currency("KWD").exponent()), (0, 3));
    for wrong in ["zar", "ZA", "ZARR", "", "ZAQ", "XXX", "XAU", "710", " ZAR"] {
        assert_eq!(Currency::parse(wrong), None, "{wrong:?}");
    }
    assert_eq!(ZAR.to_string(), "ZAR");
}

#[test]
fn an_amount_is_zero_to_the_largest_exact_json_integer() {
    assert_eq!(Amount::new(-1, ZAR), Err(AmountError::Negative));
    assert_eq!(Amount::new(Amount::MINOR_MAX + 1, ZAR), Err(AmountError::TooLarge));
    assert_eq!(Amount::new(i64::MIN, ZAR), Err(AmountError::Negative));
    assert_eq!(Amount::new(Amount::MINOR_MAX, ZAR).unwrap().minor(), (1 << 53) - 1);
    assert!(Amount::zero(ZAR).is_zero());
    assert_eq!(Amount::zero(ZAR), zar(0));
    assert!(!zar(1).is_zero());
}

#[test]
fn currencies_do_not_mix() {
    let yen = Amount::new(5, currency("JPY")).unwrap();
    assert_eq!(zar(5).checked_sub(yen), Err(AmountError::CurrencyMismatch));
}

#[test]
fn an_amount_is_shown_with_the_currencys_decimal_places() {
    for (minor, code, shown) in [
        (1250, "ZAR", "ZAR 12.50"),
        (0, "ZAR", "ZAR 0.00"),
        (7, "ZAR", "ZAR 0.07"),
        (1250, "JPY", "JPY 1250"),
        (0, "JPY", "JPY 0"),
        (1250, "KWD", "KWD 1.250"),
        (Amount::MINOR_MAX, "ZAR", "ZAR 90071992547409.91"),
    ] {
        assert_eq!(Amount::new(minor, currency(code)).unwrap().to_string(), shown);
    }
}

proptest! {
    #[test]
    fn differences_are_exact_or_refused(a in 0..=Amount::MINOR_MAX, b in 0..=Amount::MINOR_MAX) {
        let (x, y) = (zar(a), zar(b));
        let difference = if a >= b { Ok(zar(a - b)) } else { Err(AmountError::Negative) };
        prop_assert_eq!(x.checked_sub(y), difference);
    }
}
