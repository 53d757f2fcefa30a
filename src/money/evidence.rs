//! What Revio's word on money must say before it is booked: that the money moved, the way it was asked for, for this row, in our
//! mode and brand, in this currency and to the cent. `deposits` and `withdrawals` ask; what does not fit, a person looks at.

use ledger::{Amount, LedgerError, Leg, Transfer, TransferCode, TransferId};
use uuid::Uuid;

use crate::app::App;
use crate::money::transactions::Transaction;
use crate::platform::error::Result;
use crate::provider::revio::types::{Flag, Payment};

/// An object of Revio's that says that money moved.
pub struct Claim<'a> {
    pub payment: Option<&'a Payment>,
    /// Whether it should have gone out.
    pub outgoing: bool,
    pub reference: &'a str,
    pub is_test: Option<bool>,
    pub brand_id: Option<Uuid>,
}

pub enum Misfit {
    /// Money moved, in our currency and for this row, but another amount.
    Amount(Amount),
    /// No money of ours moved, or none that we can name.
    NoMoney(String),
}

/// What Revio does not say of mode, brand and reference is no contradiction: the object was asked for by the id that it gave us. Of the
/// money itself everything must be said.
pub fn check<'p>(app: &App, row: &Transaction, claim: &Claim<'p>) -> Result<&'p Payment, Misfit> {
    let no_money = |reason: String| Err(Misfit::NoMoney(reason));
    let Some(payment) = claim.payment else { return no_money("paid without a payment".to_owned()) };
    match (&payment.is_outgoing, claim.outgoing) {
        (Flag::Unsaid, _) | (Flag::Yes, true) | (Flag::No, false) => {}
        (Flag::Odd(found), _) => return no_money(format!("payment.is_outgoing is {found}")),
        (Flag::Yes | Flag::No, _) => return no_money("the money went the other way".to_owned()),
    }
    let other_mode = claim.is_test.is_some_and(|is_test| is_test != app.config.revio_test_mode);
    if other_mode || claim.brand_id.is_some_and(|brand| brand != app.revio.brand_id()) {
        return no_money("paid in another mode or brand".to_owned());
    }
    // A second payment carries the reference of the first.
    let references = [Some(row.id), row.parent_id];
    let named = |reference: &Uuid| claim.reference == reference.to_string();
    if !claim.reference.is_empty() && !references.iter().flatten().any(named) {
        return no_money("Revio's object has another reference".to_owned());
    }
    let asked = row.amount.currency().code();
    if !payment.currency.eq_ignore_ascii_case(asked) {
        return no_money(format!("paid in another currency: {}, asked for {asked}", payment.currency));
    }
    match payment.amount.whole().and_then(|minor| Amount::new(minor, row.amount.currency()).ok()) {
        Some(moved) if moved == row.amount => Ok(payment),
        Some(moved) => Err(Misfit::Amount(moved)),
        None => no_money(format!("payment.amount is {}", payment.amount)),
    }
}

/// Revio's own fee is our expense. Once it is booked it stays: nothing about it keeps a customer's money back.
pub async fn book_fee(app: &App, row: &Transaction, payment: &Payment) -> Result<()> {
    let currency = row.amount.currency();
    let Ok(fee) = Amount::new(payment.fee_amount.unwrap_or(0), currency) else {
        tracing::error!(transaction.id = %row.id, "Revio names a negative fee; none is booked");
        return Ok(());
    };
    if fee.is_zero() {
        return Ok(());
    }
    let (debit, credit) = (app.ledger.provider_fees(currency), app.ledger.provider_balance(currency));
    app.ledger.open(&[debit, credit]).await?;
    let id = TransferId::of(row.id, Leg::ProviderFee);
    let fee = Transfer { id, debit, credit, amount: fee, code: TransferCode::ProviderFee, reference: row.id };
    match app.ledger.transfer(fee).await {
        Err(LedgerError::Contradiction(code)) => {
            tracing::error!(transaction.id = %row.id, code, "Revio names another fee than was booked before");
            Ok(())
        }
        booked => Ok(booked?),
    }
}
