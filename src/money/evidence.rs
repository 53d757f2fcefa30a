//! What Revio's word on money must say before it is booked: that the money moved, the way it was asked for, for this row, in our
//! mode and brand, in this currency and to the cent. `deposits` and `withdrawals` ask; money that does not fit is set aside (`suspense`), and a
//! person looks at it.

use ledger::{Amount, Currency};
use uuid::Uuid;

use crate::app::App;
use crate::money::{suspense::ItemKind, transactions::Transaction};
use crate::provider::revio::objects::{Flag, PaymentDetails};

/// An object of Revio's that says that money moved.
pub struct Claim<'a> {
    pub payment: Option<&'a PaymentDetails>,
    /// Whether it should have gone out.
    pub outgoing: bool,
    pub reference: &'a str,
    pub is_test: Option<bool>,
    pub brand_id: Option<Uuid>,
}

pub enum Misfit {
    /// Money of ours moved, and not as it was asked for.
    Money { came: Amount, kind: ItemKind, reason: String },
    /// No money of ours moved, or none that we can name.
    NoMoney(String),
}

/// What Revio does not say of mode, brand and reference is no contradiction: the object was asked for by the id that it gave us. Of the
/// money itself everything must be said.
pub fn check<'p>(app: &App, row: &Transaction, claim: &Claim<'p>) -> Result<&'p PaymentDetails, Misfit> {
    let (payment, came) = money(app, claim).map_err(Misfit::NoMoney)?;
    let misfit = |kind, reason| Err(Misfit::Money { came, kind, reason });
    // A second payment carries the reference of the first.
    let references = [Some(row.id), row.parent_id];
    let named = |reference: &Uuid| claim.reference == reference.to_string();
    if !claim.reference.is_empty() && !references.iter().flatten().any(named) {
        return misfit(ItemKind::OtherReference, "Revio's object has another reference".to_owned());
    }
    let asked = row.amount;
    if came.currency() != asked.currency() {
        let reason =
            format!("paid in another currency: {}, asked for {}", came.currency().code(), asked.currency().code());
        return misfit(ItemKind::OtherCurrency, reason);
    }
    if came != asked {
        let reason = format!("paid with another amount: {}, asked for {}", came.minor(), asked.minor());
        return misfit(ItemKind::OtherAmount, reason);
    }
    Ok(payment)
}

/// The money that an object says has moved: ours, the way that it should have gone. Else what is wrong, with the field.
pub fn money<'p>(app: &App, claim: &Claim<'p>) -> Result<(&'p PaymentDetails, Amount), String> {
    let payment = claim.payment.ok_or("paid without a payment")?;
    match (&payment.is_outgoing, claim.outgoing) {
        (Flag::Unsaid, _) | (Flag::Yes, true) | (Flag::No, false) => {}
        (Flag::Odd(found), _) => return Err(format!("payment.is_outgoing is {found}")),
        (Flag::Yes | Flag::No, _) => return Err("the money went the other way".to_owned()),
    }
    if app.revio.is_foreign(claim.is_test, claim.brand_id) {
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
