//! Whether a file's lines lead from its opening balance to its closing balance, where it says them: in lines of their own, or after each
//! line. A file that lost a line on its way does not.

use std::cmp::Ordering;

use ledger::Currency;

use crate::platform::error::FieldError;

use super::reading::Table;
use super::store::NewLine;
use super::{Source, Unit, fault, moved};

/// Opening and closing, in minor units; `None` where the file does not say them, or is of several currencies, or may be read in two ways.
pub(super) fn balances(
    source: Source,
    table: &Table,
    lines: &[NewLine],
    (unit, currency): (Option<Unit>, Option<Currency>),
) -> Result<Option<(i64, i64)>, FieldError> {
    let is_still = lines.is_empty();
    if is_still && table.opening.zip(table.closing).is_some_and(|(opening, closing)| !opening.is_same(closing)) {
        return Err(unexplained("the file has no lines"));
    }
    let Some((unit, currency)) = unit.zip(currency) else { return Ok(None) };
    let minor = |number: super::reading::Decimal| number.minor(unit, currency);
    let running = table.lines.iter().map(|line| line.balance.and_then(minor)).collect::<Option<Vec<i64>>>();
    let running = running.filter(|_| !is_still);
    let said = (table.opening.and_then(minor), table.closing.and_then(minor));
    let mut last = String::new();
    // Fees are kept from each payment, or charged apart: the balances tell which.
    let ways: [fn(&NewLine) -> i64; 2] = [net, gross];
    for change in ways {
        let changes: Vec<i64> = lines.iter().map(|line| if counts(source, line) { change(line) } else { 0 }).collect();
        match (&running, said) {
            (Some(running), said) => {
                let [forwards, backwards] = along(running, &changes).map(|found| found.filter(|it| agrees(*it, said)));
                match (forwards, backwards) {
                    // Equal sums to and fro fit both ways.
                    (Some(one), Some(other)) if one != other => return Ok(first_to_last(lines, one, other)),
                    (Some(found), _) | (None, Some(found)) => return Ok(Some(found)),
                    (None, None) => last = "the balance after a line is not the one before it and the line".to_owned(),
                }
            }
            (None, (Some(opening), Some(closing))) => {
                let reached = changes.iter().fold(opening, |sum, change| sum.saturating_add(*change));
                if reached == closing {
                    return Ok(Some((opening, closing)));
                }
                last = format!("from {opening} the lines come to {reached} and not to {closing}, in minor units");
            }
            (None, _) => return Ok(None),
        }
        if source == Source::Bank {
            break;
        }
    }
    Err(unexplained(&last))
}

fn unexplained(why: &str) -> FieldError {
    fault("closing balance", format!("is not explained by the lines: {why}"))
}

/// Days tell which way a file goes; one of a single day does not say.
fn first_to_last(lines: &[NewLine], forwards: (i64, i64), backwards: (i64, i64)) -> Option<(i64, i64)> {
    let (first, last) = (lines.first()?, lines.last()?);
    match first.day.cmp(&last.day) {
        Ordering::Less => Some(forwards),
        Ordering::Greater => Some(backwards),
        Ordering::Equal => None,
    }
}

fn counts(source: Source, line: &NewLine) -> bool {
    source == Source::Bank || moved(line.product, line.status.as_deref())
}

fn net(line: &NewLine) -> i64 {
    line.net_minor.unwrap_or_else(|| gross(line).saturating_sub(line.fee_minor.unwrap_or(0)))
}

fn gross(line: &NewLine) -> i64 {
    line.amount_minor
}

/// Read as the oldest first, and as the newest first.
fn along(running: &[i64], changes: &[i64]) -> [Option<(i64, i64)>; 2] {
    let forwards: Vec<(i64, i64)> = running.iter().copied().zip(changes.iter().copied()).collect();
    let backwards: Vec<(i64, i64)> = forwards.iter().rev().copied().collect();
    [forwards, backwards].map(|lines| {
        let opening = lines.first().map(|(balance, change)| balance.saturating_sub(*change))?;
        let mut at = opening;
        for (balance, change) in lines {
            at = at.saturating_add(change);
            if at != balance {
                return None;
            }
        }
        Some((opening, at))
    })
}

fn agrees((opening, closing): (i64, i64), said: (Option<i64>, Option<i64>)) -> bool {
    said.0.is_none_or(|said| said == opening) && said.1.is_none_or(|said| said == closing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_balances_are_followed_in_either_order_and_a_lost_line_shows() {
        assert_eq!(along(&[150, 120, 220], &[50, -30, 100]), [Some((100, 220)), None]);
        assert_eq!(along(&[220, 120, 150], &[100, -30, 50]), [None, Some((100, 220))]);
        assert_eq!(along(&[150, 220], &[50, 100]), [None, None]);
        assert_eq!(along(&[7], &[7]), [Some((0, 7)), Some((0, 7))]);
        assert_eq!(along(&[150, 100], &[50, -50]), [Some((100, 100)), Some((150, 150))]);
    }
}
