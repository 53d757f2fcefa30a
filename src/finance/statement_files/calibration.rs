//! Whether a file counts in rands or in cents, settled once for all of it: by the lines that are known by their id, each of which has one
//! sum in the one unit and a hundredfold in the other. A guess would be wrong by a factor of a hundred, so without proof the file is
//! refused, and whoever sends it says the unit.
//!
//! A known line that fits neither unit proves neither: that is a difference, and reconciliation's to tell.

use crate::platform::error::FieldError;

use super::reading::{Decimal, Table};
use super::{Source, Unit};

/// So many known lines, and none against, settle it.
const REVIO_PROOFS: usize = 3;
/// A bank's line is known by what a journal says of it, and a day has few.
const BANK_PROOFS: usize = 1;

/// What is known of the unit besides the lines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    /// Whoever sends the file says so.
    pub(super) given: Option<Unit>,
    /// The last file of the source that its own lines have proved: for days with too few of them. Only where nobody can be asked.
    pub(super) before: Option<Unit>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    /// `None`: the file has no sum, so that there is nothing to settle.
    pub(super) unit: Option<Unit>,
    /// By its own lines, whoever says it too: only then does it tell anything of the next file.
    pub(super) is_proved: bool,
}

/// `expected`: in minor units, what the row or journal of each line says, in the order of the lines.
pub(super) fn settle(
    source: Source,
    table: &Table,
    expected: &[Option<i64>],
    said: Said,
) -> Result<Settled, FieldError> {
    let possible = |unit: Unit| numbers(table).all(|(number, currency)| number.minor(unit, currency).is_some());
    let (mut major, mut minor) = (0_usize, 0_usize);
    for (line, expected) in table.lines.iter().zip(expected) {
        let Some(expected) = expected.map(i64::unsigned_abs).filter(|sum| *sum > 0) else { continue };
        let fits = |unit| line.amount.minor(unit, line.currency).map(i64::unsigned_abs) == Some(expected);
        match (fits(Unit::Major), fits(Unit::Minor)) {
            (true, false) => major += 1,
            (false, true) => minor += 1,
            // A currency without decimals, or a difference.
            (true, true) | (false, false) => {}
        }
    }
    let needed = match source {
        Source::Revio => REVIO_PROOFS,
        Source::Bank => BANK_PROOFS,
    };
    let proved = match (major, minor) {
        (proofs, 0) if proofs >= needed => Some(Unit::Major),
        (0, proofs) if proofs >= needed => Some(Unit::Minor),
        _ => None,
    };
    let fault = |message: String| Err(FieldError::parameter("unit", message));
    let usable = |unit: Unit| match possible(unit) {
        true => Ok(Settled { unit: Some(unit), is_proved: proved == Some(unit) }),
        false => fault(format!("cannot be {}: a sum would be no whole number of cents", unit.name())),
    };
    match (said.given, proved) {
        // One journal of another sum proves nothing that the file itself denies: it is a difference.
        (Some(given), Some(proved)) if given != proved && possible(proved) => {
            let proofs = major.max(minor);
            fault(format!(
                "is not {}: {proofs} lines that we know prove {}, and none is against",
                given.name(),
                proved.name()
            ))
        }
        (Some(unit), _) | (None, Some(unit)) => usable(unit),
        (None, None) if numbers(table).all(|(number, _)| number.is_zero()) => {
            Ok(Settled { unit: None, is_proved: false })
        }
        // Without decimals the two are one.
        (None, None) if numbers(table).all(|(_, currency)| currency.exponent() == 0) => usable(Unit::Minor),
        (None, None) if major > 0 && minor > 0 => {
            fault(format!("is not settled: {major} lines that we know say rands and {minor} say cents"))
        }
        (None, None) => match said.before {
            Some(before) if (major == 0 || before == Unit::Major) && (minor == 0 || before == Unit::Minor) => {
                usable(before)
            }
            _ => {
                let known = major.max(minor);
                fault(format!(
                    "is not settled: it takes {needed} lines that we know, and there are {known}; send unit=major (rands) or unit=minor (cents)"
                ))
            }
        },
    }
}

/// Every sum of the file; its lines' currency is the balances' too.
fn numbers(table: &Table) -> impl Iterator<Item = (Decimal, ledger::Currency)> {
    let lines = table.lines.iter().flat_map(|line| {
        let numbers = [Some(line.amount), line.fee, line.net, line.balance];
        numbers.into_iter().flatten().map(|number| (number, line.currency))
    });
    let of_all = table.lines.first().map(|line| line.currency);
    let balances = [table.opening, table.closing].into_iter().flatten().filter_map(move |sum| Some((sum, of_all?)));
    lines.chain(balances)
}

#[cfg(test)]
mod tests {
    use super::super::reading;
    use super::*;

    fn table(amounts: &[&str]) -> Table {
        let lines: String =
            amounts.iter().map(|amount| format!("{},purchase,ZAR,{amount},2026-03-01\n", uuid::Uuid::nil())).collect();
        let file = format!("id,product,currency,amount,date\n{lines}");
        reading::read(Source::Revio, file.as_bytes(), None).expect("it can be read")
    }

    fn settled(amounts: &[&str], expected: &[i64], said: Said) -> Result<Option<Unit>, String> {
        let expected: Vec<Option<i64>> = expected
            .iter()
            .map(|sum| (*sum > 0).then_some(*sum))
            .chain(std::iter::repeat(None))
            .take(amounts.len())
            .collect();
        let settled = settle(Source::Revio, &table(amounts), &expected, said);
        settled.map(|settled| settled.unit).map_err(|fault| fault.message)
    }

    #[test]
    fn three_known_lines_settle_it_and_one_against_or_one_too_few_does_not() {
        let none = Said::default();
        let known = [1_050, 20_000, 300];
        assert_eq!(settled(&["10.5000", "200", "3"], &known, none), Ok(Some(Unit::Major)));
        assert_eq!(settled(&["1050", "20000", "300"], &known, none), Ok(Some(Unit::Minor)));
        assert!(settled(&["1050", "20000", "3"], &known, none).expect_err("mixed").contains("1 lines"));
        assert!(settled(&["1050", "20000", "7"], &known[..2], none).expect_err("too few").contains("unit=major"));
        assert_eq!(
            settled(&["1050", "20000", "300", "9"], &[1_050, 20_000, 300, 8], none),
            Ok(Some(Unit::Minor)),
            "a difference"
        );
        assert!(settled(&["1050", "20000", "300", "0.5"], &known, none).is_err(), "half a cent");
        assert_eq!(settled(&[], &[], none), Ok(None));
    }

    #[test]
    fn what_is_said_counts_unless_the_lines_prove_the_other() {
        let given = |unit| Said { given: Some(unit), before: None };
        assert_eq!(settled(&["1050"], &[1_050], given(Unit::Major)), Ok(Some(Unit::Major)));
        assert!(settled(&["1050", "20000", "300"], &[1_050, 20_000, 300], given(Unit::Major)).is_err());
        let denied = settled(&["1050", "20000", "300", "5.55"], &[1_050, 20_000, 300], given(Unit::Major));
        assert_eq!(denied, Ok(Some(Unit::Major)), "the file has half cents then");
        let before = Said { given: None, before: Some(Unit::Minor) };
        assert_eq!(settled(&["1050"], &[], before), Ok(Some(Unit::Minor)));
        assert!(settled(&["10.50"], &[1_050], before).is_err());
    }

    #[test]
    fn a_currency_without_decimals_needs_no_proof() {
        let mut table = table(&["1050", "7"]);
        table.lines[0].currency = ledger::Currency::parse("JPY").expect("yen");
        let settled = |table: &Table| settle(Source::Revio, table, &[], Said::default()).map(|settled| settled.unit);
        settled(&table).expect_err("rands or cents");
        table.lines.pop();
        assert_eq!(settled(&table).expect("yen"), Some(Unit::Minor));
    }
}
