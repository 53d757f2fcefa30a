//! What Revio's word on money must say before it is booked: that the money moved, the way it was asked for, for this row, in our
//! mode and brand, in this currency and to the cent. `deposits` and `withdrawals` ask; money that does not fit is set aside (`suspense`), and a
//! person looks at it.

use ledger::{Amount, Currency};
use uuid::Uuid;

use crate::app::App;
use crate::money::{suspense::ItemKind, transactions::Transaction};
use crate::provider::revio::objects::{Flag, PaymentDetails};
use crate::provider::revio::{Payout, Purchase};

/// What an object of Revio's says of money that moved: a purchase's came in, a payout's went out.
pub struct Movement<'a> {
    payment: Option<&'a PaymentDetails>,
    outgoing: bool,
    reference: &'a str,
    is_test: &'a Flag,
    brand_id: &'a str,
}

impl<'a> From<&'a Purchase> for Movement<'a> {
    fn from(purchase: &'a Purchase) -> Self {
        let Purchase { payment, reference, is_test, brand_id, .. } = purchase;
        Self { payment: payment.as_ref(), outgoing: false, reference, is_test, brand_id }
    }
}

impl<'a> From<&'a Payout> for Movement<'a> {
    fn from(payout: &'a Payout) -> Self {
        let Payout { payment, reference, is_test, brand_id, .. } = payout;
        Self { payment: payment.as_ref(), outgoing: true, reference, is_test, brand_id }
    }
}

pub enum Misfit {
    /// Money of ours moved, and not as it was asked for.
    Money { came: Amount, kind: ItemKind },
    /// No money of ours moved, or none that we can name.
    NoMoney(String),
}

/// What Revio does not say of mode, brand and reference is no contradiction: the object was asked for by the id that it gave us. Of the
/// money itself everything must be said.
pub fn check<'p>(
    app: &App,
    row: &Transaction,
    movement: impl Into<Movement<'p>>,
) -> Result<&'p PaymentDetails, Misfit> {
    let movement = movement.into();
    let said = movement.reference;
    let (payment, came) = money(app, movement).map_err(Misfit::NoMoney)?;
    let misfit = |kind| Err(Misfit::Money { came, kind });
    // A second payment carries the reference of the first.
    let references = [Some(row.id), row.parent_id];
    let named = |reference: &Uuid| said.eq_ignore_ascii_case(&reference.to_string());
    if !said.is_empty() && !references.iter().flatten().any(named) {
        return misfit(ItemKind::OtherReference);
    }
    if came.currency() != row.amount.currency() {
        return misfit(ItemKind::OtherCurrency);
    }
    if came != row.amount {
        return misfit(ItemKind::OtherAmount);
    }
    Ok(payment)
}

/// The money that an object says has moved: ours, the way that it should have gone. Else what is wrong, with the field.
pub fn money<'p>(app: &App, movement: impl Into<Movement<'p>>) -> Result<(&'p PaymentDetails, Amount), String> {
    let movement = movement.into();
    let payment = movement.payment.ok_or("paid without a payment")?;
    match (&payment.is_outgoing, movement.outgoing) {
        (Flag::Unsaid, _) | (Flag::Yes, true) | (Flag::No, false) => {}
        (Flag::Odd(found), _) => return Err(format!("payment.is_outgoing is {found}")),
        (Flag::Yes | Flag::No, _) => return Err("the money went the other way".to_owned()),
    }
    if let Flag::Odd(found) = movement.is_test {
        return Err(format!("is_test is {found}"));
    }
    if app.revio.is_foreign(movement.is_test, movement.brand_id) {
        return Err("paid in another mode or brand".to_owned());
    }
    let currency = Currency::parse(&payment.currency.to_ascii_uppercase());
    let currency = currency.ok_or_else(|| format!("paid in another currency: {}", shortened(&payment.currency)))?;
    let came =
        payment.amount.whole().and_then(|minor| Amount::new(minor, currency).ok()).filter(|came| !came.is_zero());
    came.map(|came| (payment, came)).ok_or_else(|| format!("payment.amount is {}", payment.amount))
}

/// Whether an object that is registered and has moved nothing yet says another sum than was asked for. What it does not say is no
/// contradiction.
pub fn says_another_sum(payment: &PaymentDetails, asked: Amount) -> bool {
    payment.amount.is_another_sum(&payment.currency, asked) || matches!(payment.is_outgoing, Flag::No | Flag::Odd(_))
}

fn shortened(word: &str) -> String {
    word.chars().take(16).collect()
}
