//! Values as text, straight into the buffer: an export writes tens of millions of them, so nothing is allocated for one.

use chrono::{Datelike, Timelike};
use ledger::Amount;
use uuid::Uuid;

use crate::platform::clock::DateTime;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Day 0 of a spreadsheet is 1899-12-30; this is 1970-01-01.
const EPOCH_DAY: i64 = 25_569;

pub(super) fn id(out: &mut Vec<u8>, id: Uuid) {
    out.extend_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
}

/// The digits of a number; the numbers of an export are not negative.
pub(super) fn integer(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    padded(out, number.unsigned_abs(), 1);
}

/// `1500.00` for 150000 cents, `1500` for as many yen.
pub(super) fn decimal(out: &mut Vec<u8>, amount: Amount) {
    let places = usize::from(amount.currency().exponent());
    padded(out, amount.minor().unsigned_abs(), places.saturating_add(1));
    if places > 0 {
        out.insert(out.len().saturating_sub(places), b'.');
    }
}

/// RFC 3339 in UTC, as JSON answers have it: a fraction of a second only where there is one.
pub(super) fn time(out: &mut Vec<u8>, at: DateTime) {
    let part = |out: &mut Vec<u8>, value: u32, width| padded(out, u64::from(value), width);
    padded(out, u64::from(at.year().unsigned_abs()), 4);
    for (mark, value) in
        [(b'-', at.month()), (b'-', at.day()), (b'T', at.hour()), (b':', at.minute()), (b':', at.second())]
    {
        out.push(mark);
        part(out, value, 2);
    }
    let micros = at.timestamp_subsec_micros();
    if micros != 0 {
        out.push(b'.');
        if micros.is_multiple_of(1000) { part(out, micros / 1000, 3) } else { part(out, micros, 6) }
    }
    out.push(b'Z');
}

/// Days since 1899-12-30, as spreadsheets count: to eleven places, which is finer than a microsecond.
pub(super) fn serial_day(out: &mut Vec<u8>, at: DateTime) {
    let micros = at.timestamp_micros();
    integer(out, micros.div_euclid(MICROS_PER_DAY).saturating_add(EPOCH_DAY));
    let rest = micros.rem_euclid(MICROS_PER_DAY);
    if rest != 0 {
        out.push(b'.');
        // 10^11 / 86,400,000,000 in lowest terms, so that it stays within 64 bits.
        padded(out, rest.saturating_mul(125).div_euclid(108).unsigned_abs(), 11);
    }
}

/// Decimal digits with zeros in front of them up to `width`.
fn padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    while number > 0 || digits.len().saturating_sub(first) < width {
        first = first.saturating_sub(1);
        digits[first] = b'0'.saturating_add(u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{SecondsFormat, TimeZone, Utc};
    use ledger::Currency;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"x".to_vec();
        write(&mut out);
        String::from_utf8(out).expect("ASCII")[1..].to_owned()
    }

    fn at(micros: i64) -> DateTime {
        Utc.timestamp_micros(micros).single().expect("a time")
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(written(|out| integer(out, 0)), "0");
        assert_eq!(written(|out| integer(out, i64::MAX)), i64::MAX.to_string());
        assert_eq!(written(|out| integer(out, i64::MIN)), i64::MIN.to_string());
        let amount = |minor, code| Amount::new(minor, Currency::parse(code).expect("a currency")).expect("an amount");
        for (minor, code, told) in [
            (0, "ZAR", "0.00"),
            (7, "ZAR", "0.07"),
            (150_000, "ZAR", "1500.00"),
            (1250, "JPY", "1250"),
            (1, "BHD", "0.001"),
            (Amount::MINOR_MAX, "ZAR", "90071992547409.91"),
        ] {
            assert_eq!(written(|out| decimal(out, amount(minor, code))), told);
        }
    }

    #[test]
    fn times_are_written_as_json_writes_them() {
        for micros in [0, 1, 999, 1000, 1_000_000, 1_772_442_000_123_456, 1_772_442_000_120_000, 4_102_444_799_999_999]
        {
            let told = at(micros).to_rfc3339_opts(SecondsFormat::AutoSi, true);
            assert_eq!(written(|out| time(out, at(micros))), told);
        }
    }

    #[test]
    fn a_spreadsheet_counts_days() {
        assert_eq!(written(|out| serial_day(out, at(0))), "25569");
        assert_eq!(written(|out| serial_day(out, at(43_200_000_000))), "25569.50000000000");
        let noon = Utc.with_ymd_and_hms(2026, 3, 2, 18, 0, 0).single().expect("a time");
        assert_eq!(written(|out| serial_day(out, noon)), "46083.75000000000");
    }
}
