//! `WITHDRAWAL_LIMITS`: how much a customer may withdraw. Read by `config`, asked for by `withdrawals`.

use ledger::{Amount, Currency};

/// How much a customer may withdraw of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithdrawalLimit {
    pub once: Amount,
    /// In any 24 hours.
    pub daily: Amount,
}

/// `CUR:once:daily` with commas between; `enabled` are the currencies that customers may use.
pub(super) fn parse(value: &str, enabled: &[Currency]) -> Result<Vec<WithdrawalLimit>, String> {
    let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let limits: Vec<WithdrawalLimit> = entries.map(parse_one).collect::<Result<_, _>>()?;
    let twice = |(index, limit): (usize, &WithdrawalLimit)| {
        limits[..index].iter().any(|earlier| earlier.once.currency() == limit.once.currency())
    };
    if limits.iter().any(|limit| !enabled.contains(&limit.once.currency())) {
        return Err("names a currency that is not in CURRENCIES".to_owned());
    }
    if limits.iter().enumerate().any(twice) { Err("names a currency twice".to_owned()) } else { Ok(limits) }
}

fn parse_one(entry: &str) -> Result<WithdrawalLimit, String> {
    let wrong = || "must be CUR:once:daily in minor units, once not above daily, with commas between".to_owned();
    let [currency, once, daily] = entry.split(':').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let currency = Currency::parse(currency).ok_or_else(wrong)?;
    let amount = |minor: &str| minor.parse().ok().and_then(|minor| Amount::new(minor, currency).ok()).ok_or_else(wrong);
    let limit = WithdrawalLimit { once: amount(once)?, daily: amount(daily)? };
    if limit.once.is_zero() || limit.once.minor() > limit.daily.minor() { Err(wrong()) } else { Ok(limit) }
}
