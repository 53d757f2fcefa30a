//! What Revio keeps for itself of a payment, or takes for a payout or for what it gives back: our expense, booked once under its row,
//! whenever it is first named. It never touches a wallet, and whatever is wrong with it keeps no customer's money back.
//!
//! ```text
//! deposits, unknown rows  ─> book              with the money, and at each later look
//! withdrawals             ─> book_of_payout    likewise
//! reversals, given_back   ─> book_of_reversal  likewise, as an event or Revio's answer about the Payment has told by then
//! ```

use ledger::{Amount, Currency, LedgerError, Leg, Transfer, TransferCode, TransferId};
use uuid::Uuid;

use crate::app::App;
use crate::money::transactions::Transaction;
use crate::money::{journals, provider_objects};
use crate::platform::error::Result;
use crate::provider::revio::objects::{Figure, PaymentDetails};

/// R100.00: far above any bank's fee, far below a value that is no fee. Such a fee comes on top of its amount and may exceed a small one
/// (no schedule is known: `docs/provider.md`, fees); for large amounts a share may be more.
const FLAT_FEE_MAX: i64 = 10_000;

/// What a fee is taken of.
#[derive(Debug, Clone, Copy)]
enum Taken {
    /// Of what was paid: no more than that can be kept back.
    OfPayment,
    /// Of our balance, besides what left it.
    OnTop,
}

impl Taken {
    fn most(self, whole: Amount) -> i64 {
        match self {
            Self::OfPayment => whole.minor(),
            Self::OnTop => whole.minor().max(FLAT_FEE_MAX),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fee {
    /// Revio names none, or not yet, or people have booked it.
    None,
    /// Now or before.
    Booked(Amount),
    /// Nothing of it was booked, for this reason: it is no amount, is more than it can be, or another one was booked before.
    Odd(String),
}

impl Fee {
    pub fn odd(self) -> Option<String> {
        match self {
            Self::Odd(reason) => Some(reason),
            Self::None | Self::Booked(_) => None,
        }
    }
}

/// Of a deposit. `row` is what it is booked under: a row's id, or what stands for one that is lost.
pub async fn book(app: &App, row: Uuid, payment: &PaymentDetails) -> Result<Fee> {
    book_taken(app, row, payment, Taken::OfPayment).await
}

/// The same of a payout.
pub async fn book_of_payout(app: &App, row: Uuid, payment: &PaymentDetails) -> Result<Fee> {
    book_taken(app, row, payment, Taken::OnTop).await
}

/// Of a refund, a chargeback or its reversal, by what is noted of its Payment. Its money is booked before.
pub async fn book_of_reversal(app: &App, row: &Transaction) -> Result<Fee> {
    let Some(payment) = row.provider.id else { return Ok(Fee::None) };
    let noted = provider_objects::find(app, payment).await?.and_then(|known| known.fee_minor);
    let Some(minor) = noted.filter(|minor| *minor != 0) else { return Ok(Fee::None) };
    match Amount::new(minor, row.amount.currency()) {
        Ok(fee) if fee.minor() <= Taken::OnTop.most(row.amount) => book_amount(app, row.id, fee).await,
        _ => Ok(odd(row.id, format!("payment.fee_amount is {minor}, of {}", row.amount.minor()))),
    }
}

async fn book_taken(app: &App, row: Uuid, payment: &PaymentDetails, taken: Taken) -> Result<Fee> {
    match amount_of(payment, taken) {
        Ok(Some(fee)) => book_amount(app, row, fee).await,
        Ok(None) => Ok(Fee::None),
        Err(reason) => Ok(odd(row, reason)),
    }
}

/// What people have booked of it is not booked besides.
async fn book_amount(app: &App, row: Uuid, fee: Amount) -> Result<Fee> {
    if journals::stand_for_fee(app, row).await? {
        return Ok(Fee::None);
    }
    let (debit, credit) = (app.ledger.provider_fees(fee.currency()), app.ledger.provider_balance(fee.currency()));
    app.ledger.open_once(&[debit, credit]).await?;
    let id = TransferId::of(row, Leg::ProviderFee);
    let booking = Transfer::new(id, debit, credit, fee, TransferCode::ProviderFee);
    match app.ledger.transfer(booking).await {
        Err(LedgerError::Contradiction(_)) => {
            Ok(odd(row, format!("Revio names a fee of {}, and another one was booked", fee.minor())))
        }
        booked => Ok(booked.map(|()| Fee::Booked(fee))?),
    }
}

/// Of no fee, or 0, nothing is booked.
fn amount_of(payment: &PaymentDetails, taken: Taken) -> Result<Option<Amount>, String> {
    let PaymentDetails { fee_amount, amount, currency, .. } = payment;
    if !fee_amount.is_said() || fee_amount.whole() == Some(0) {
        return Ok(None);
    }
    let currency = Currency::parse(&currency.to_ascii_uppercase()).ok_or("payment.currency is none that we know")?;
    let of = |figure: &Figure| figure.whole().and_then(|minor| Amount::new(minor, currency).ok());
    let fee = of(fee_amount).ok_or_else(|| format!("payment.fee_amount is {fee_amount}"))?;
    match of(amount) {
        Some(whole) if fee.minor() <= taken.most(whole) => Ok(Some(fee)),
        _ => Err(format!("payment.fee_amount is {fee_amount}, of {amount}")),
    }
}

fn odd(row: Uuid, reason: String) -> Fee {
    tracing::warn!(transaction.id = %row, reason, "a fee of Revio's was not booked");
    Fee::Odd(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fee(fee: Value, amount: Value, currency: &str) -> Result<Option<i64>, String> {
        taken(Taken::OfPayment, (fee, amount, currency))
    }

    fn taken(taken: Taken, (fee, amount, currency): (Value, Value, &str)) -> Result<Option<i64>, String> {
        let payment = json!({"fee_amount": fee, "amount": amount, "currency": currency});
        let payment: PaymentDetails = serde_json::from_value(payment).expect("a payment");
        amount_of(&payment, taken).map(|fee| fee.map(|fee| fee.minor()))
    }

    #[test]
    fn a_fee_is_a_part_of_what_it_is_taken_of_and_anything_else_is_odd() {
        for (named, expected) in [
            (Value::Null, Ok(None)),
            (json!(0), Ok(None)),
            (json!("0.00"), Ok(None)),
            (json!(15), Ok(Some(15))),
            (json!("15.0"), Ok(Some(15))),
            (json!(100), Ok(Some(100))),
            (json!(101), Err("payment.fee_amount is 101, of 100")),
            (json!(-1), Err("payment.fee_amount is -1")),
            (json!(1.5), Err("payment.fee_amount is 1.5")),
            (json!("much"), Err("payment.fee_amount is much")),
        ] {
            assert_eq!(fee(named.clone(), json!(100), "zar"), expected.map_err(str::to_owned), "{named}");
        }
        assert!(fee(json!(1), Value::Null, "ZAR").is_err());
        assert!(fee(json!(1), json!(100), "rands").is_err());
        assert_eq!(fee(json!(0), json!(100), "rands"), Ok(None));
    }

    #[test]
    fn a_payouts_fee_is_a_flat_one_or_a_part_of_a_larger_sum() {
        let of = |fee: i64, amount: i64| taken(Taken::OnTop, (json!(fee), json!(amount), "ZAR"));
        for (fee, amount) in [(250, 100), (10_000, 100), (15_000, 1_000_000), (1_000_000, 1_000_000)] {
            assert_eq!(of(fee, amount), Ok(Some(fee)));
        }
        for (fee, amount) in [(10_001, 100), (10_001, 10_000), (1_000_001, 1_000_000), (-1, 100)] {
            assert!(of(fee, amount).is_err(), "{fee} of {amount}");
        }
    }
}
