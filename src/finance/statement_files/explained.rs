//! Whether a file's lines lead from its opening balance to its closing balance, where it says them: in lines of their own, or after each
//! line. A file that lost a line on its way does not.

use crate::platform::error::FieldError;

use super::reading::Table;
use super::store::NewLine;
use super::{Source, Unit, fault, moved};

/// Opening and closing, in minor units; `None` where the file does not say them, or is of several currencies.
pub(super) fn balances(
    source: Source,
    table: &Table,
    lines: &[NewLine],
    unit: Option<Unit>,
) -> Result<Option<(i64, i64)>, FieldError> {
    let Some(currency) = table.lines.first().map(|line| line.currency) else { return Ok(None) };
    let Some(unit) = unit.filter(|_| table.lines.iter().all(|line| line.currency == currency)) else { return Ok(None) };
    let minor = |number: super::reading::Decimal| number.minor(unit, currency);
    let running: Option<Vec<i64>> = table.lines.iter().map(|line| line.balance.and_then(minor)).collect();
    let said = (table.opening.and_then(minor), table.closing.and_then(minor));
    let mut last = None;
    // Fees are kept from each payment, or charged apart: the balances tell which.
    let ways: [fn(&NewLine) -> i64; 2] = [net, gross];
    for change in ways {
        let changes: Vec<i64> = lines.iter().map(|line| if counts(source, line) { change(line) } else { 0 }).collect();
        match (&running, said) {
            (Some(running), said) => match along(running, &changes).filter(|found| agrees(*found, said)) {
                Some(found) => return Ok(Some(found)),
                None => last = Some("the balance after a line is not the one before it and the line".to_owned()),
            },
            (None, (Some(opening), Some(closing))) => {
                let reached = changes.iter().fold(opening, |sum, change| sum.saturating_add(*change));
                if reached == closing {
                    return Ok(Some((opening, closing)));
                }
                last = Some(format!("from {opening} the lines come to {reached} and not to {closing}, in minor units"));
            }
            (None, _) => return Ok(None),
        }
        if source == Source::Bank {
            break;
        }
    }
    Err(fault("closing balance", format!("is not explained by the lines: {}", last.unwrap_or_default())))
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

/// Oldest first, or newest first.
fn along(running: &[i64], changes: &[i64]) -> Option<(i64, i64)> {
    let forwards: Vec<(i64, i64)> = running.iter().copied().zip(changes.iter().copied()).collect();
    let backwards: Vec<(i64, i64)> = forwards.iter().rev().copied().collect();
    [forwards, backwards].into_iter().find_map(|lines| {
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
        assert_eq!(along(&[150, 120, 220], &[50, -30, 100]), Some((100, 220)));
        assert_eq!(along(&[220, 120, 150], &[100, -30, 50]), Some((100, 220)));
        assert_eq!(along(&[150, 220], &[50, 100]), None);
        assert_eq!(along(&[7], &[7]), Some((0, 7)));
    }
}
