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
    let off = |value| Thresholds::parse(value, ENABLED).expect("well formed").needed(zar(900_000_000_000));
    assert_eq!([off("off"), off("none"), off("ZAR:off"), off(" ZAR:none ,")], [0; 4]);
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
fn what_is_not_set_is_safe_and_a_limit_is_taken_away_only_in_words() {
    let usd = Currency::parse("USD").expect("a currency");
    let (yen, both) = (Currency::parse("JPY").expect("a currency"), [Currency::ZAR, usd]);
    let needed = |value: &str, minor, currency| {
        let thresholds = Thresholds::parse(value, Some(&both)).expect("well formed");
        thresholds.needed(Amount::new(minor, currency).expect("an amount"))
    };
    for value in ["", "USD:5", "USD:off"] {
        let told = [5_000_000, 5_000_001, 50_000_001].map(|minor| needed(value, minor, Currency::ZAR));
        assert_eq!(told, [0, 1, 2], "{value}: rand are not named");
    }
    assert_eq!([250_000, 250_001, 2_500_001].map(|minor| needed("", minor, usd)), [0, 1, 2]);
    let limits = WithdrawalLimit::parse("", Some(&[Currency::ZAR, yen])).expect("well formed");
    let told: Vec<_> = limits.values().map(|limit| (limit.once.minor(), limit.daily.minor())).collect();
    assert!(told.contains(&(50_000_000, 100_000_000)) && told.contains(&(25_000, 50_000)), "{told:?}");
    for value in ["off", "none"] {
        assert!(WithdrawalLimit::parse(value, Some(&both)).expect("well formed").is_empty());
    }
    assert_eq!(WithdrawalLimit::parse("ZAR:off", Some(&both)).expect("well formed").len(), 1, "dollars are not named");
    let two = |value: &str, minor| Thresholds::parse_of_adjustments(value, ENABLED).map(|all| all.needed(zar(minor)));
    assert_eq!((two("", 5_000_000), two("", 5_000_001), two("off", 900_000_000)), (Ok(0), Ok(1), Ok(0)));
    for wrong in ["0", "no", "ZAR", "ZAR:0", "ZAR:off:off", "off,ZAR:5", "ZAR:5:6"] {
        assert!(two(wrong, 1).is_err(), "{wrong}");
    }
}

#[test]
fn the_refusal_names_the_variable() {
    let value = |name: &str| Ok((name == "APPROVAL_THRESHOLDS").then(|| "ZAR:0".to_owned()));
    let wrong = Config::from_source(&value).expect_err("much is missing").to_string();
    assert!(wrong.contains("\n  APPROVAL_THRESHOLDS holds an amount that is not"), "{wrong}");
}

#[test]
fn a_time_zone_has_a_name_and_a_password_of_a_role_is_long_and_plain() {
    for (name, values) in [
        ("REPORTING_TIME_ZONE", ["africa/x", "+02:00", "Africa/Johannesburg'; drop", "UTC\0"]),
        ("GRAFANA_DATABASE_PASSWORD", ["short", "with a space in it", "with-\u{e9}-accents", "elevenchars"]),
    ] {
        for wrong in values {
            let value = |asked: &str| Ok((asked == name).then(|| wrong.to_owned()));
            let told = Config::from_source(&value).expect_err("much is missing").to_string();
            assert!(told.contains(&format!("\n  {name} ")) && !told.contains(wrong), "{wrong}: {told}");
        }
    }
    let good = |asked: &str| Ok((asked == "REPORTING_TIME_ZONE").then(|| "America/Argentina/Buenos_Aires".to_owned()));
    assert!(!Config::from_source(&good).expect_err("much is missing").to_string().contains("REPORTING_TIME_ZONE"));
}

#[test]
fn what_would_be_wrong_only_later_stops_the_start() {
    for (name, wrong) in [
        ("CURRENCIES", "ZAR,USD,ZAR"),
        ("LEDGER_BASE", "7"),
        ("LEDGER_BASE", "4294967000"),
        ("PUBLIC_URL", "https://api.example.com/?a=b"),
    ] {
        let value = |asked: &str| Ok((asked == name).then(|| wrong.to_owned()));
        let told = Config::from_source(&value).expect_err("much is missing").to_string();
        assert!(told.contains(&format!("\n  {name} ")), "{wrong}: {told}");
    }
}

#[test]
fn yes_and_no_are_the_same_words_of_every_setting() {
    for name in ["REVIO_TEST_MODE", "OUTGOING_WEBHOOKS_ALLOW_PRIVATE", "REQUIRE_VERIFIED_EMAIL"] {
        let is_refused = |word: &str| {
            let value = |asked: &str| Ok((asked == name).then(|| word.to_owned()));
            let told = Config::from_source(&value).expect_err("much is missing").to_string();
            told.contains(&format!("\n  {name} must be yes or no"))
        };
        assert_eq!(["yes", "no", "true", "false"].map(is_refused), [false; 4], "{name}");
        assert_eq!(["", "on", "True", "1"].map(is_refused), [true; 4], "{name}");
    }
}
