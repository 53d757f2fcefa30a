//! Balances as a whole: Revio's against what the ledger expects of it, and at a day's end whether we hold what we owe and what was not in
//! the bank by the next business day. Called by `stages`, and by `subjects` for one of them again.
//!
//! ```text
//! expected = 1000 posted - settlements on their way - payouts that Revio has executed and the ledger has not posted
//! ```
//!
//! Which of Revio's figures that is, nobody has said yet: every figure is kept ([`ours`] chooses), and each run says which of them fit.

mod store;

use std::collections::BTreeMap;

use chrono::NaiveDate;
use ledger::{AccountCode, Currency};

use super::found::{BreakType, Found};
use super::run::Run;
use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::zone::business_days_after;
use crate::provider::revio::{self, BalanceField, Errand, PAYOUT_BALANCE};

use self::store::Row;

/// The figure that is ours, as it is kept beside Revio's own.
const OURS: &str = "ours";

/// Compared sums, for the run's report: by currency and name.
pub(super) type Sums = BTreeMap<String, BTreeMap<String, String>>;

/// What Revio holds for us, of the figures that it gives: what can be spent, what it keeps back for a while, and the payouts' own
/// balance; all of that is in account 1000. `None`: it does not say.
fn ours(fields: &[&BalanceField]) -> Option<i64> {
    let figure = |name: &str| fields.iter().find(|field| field.field == name).map(|field| field.minor);
    let parts = [Some(figure("available_balance")?), figure("reserved"), figure(PAYOUT_BALANCE)];
    Some(parts.into_iter().flatten().fold(0, i64::saturating_add))
}

/// Whether Revio answers and has no balance for us: there is no such call, our key may not make it, or nothing of it can be read.
pub(super) fn is_untold(error: &Error) -> bool {
    matches!(error, Error::Unusable(_)) || revio::is_unauthorized(error)
}

/// Whether Revio said our figure of a currency.
pub(super) fn is_told(sums: &Sums, currency: &str) -> bool {
    sums.get(currency).is_some_and(|sum| sum.contains_key(OURS))
}

/// Asks Revio, keeps every figure, and compares ours.
pub(super) async fn provider(app: &App, run: &Run) -> Result<(Vec<Found>, Sums)> {
    let asked_at = app.clock.now();
    let fields = revio::on(Errand::Reconciliation, app.revio.balance()).await.map_err(Error::from)?;
    let expected = store::expected(&app.db).await?;
    let (mut rows, mut found, mut sums) = (Vec::new(), Vec::new(), Sums::new());
    for currency in app.config.currencies.iter().copied() {
        let code = currency.code();
        let of_currency: Vec<&BalanceField> = fields.iter().filter(|field| field.currency == code).collect();
        let books = expected.iter().find(|expected| expected.currency == code);
        let due = books.map_or(0, |books| books.provider - books.in_transit - books.executed);
        let actual = ours(&of_currency);
        let figures = of_currency.iter().map(|field| (field.field.as_str(), field.minor)).chain(Some(OURS).zip(actual));
        let sum = sums.entry(code.to_owned()).or_default();
        let mut fitting = Vec::new();
        for (field, minor) in figures {
            rows.push(Row { currency: code, field, minor, expected: Some(due) });
            sum.insert(field.to_owned(), minor.to_string());
            if minor == due {
                fitting.push(field);
            }
        }
        sum.insert("expected".to_owned(), due.to_string());
        sum.insert("fits".to_owned(), fitting.join(" "));
        if let Some(actual) = actual.filter(|actual| *actual != due) {
            // The same difference twice: while money moves, another one each time.
            let observed = actual.saturating_sub(due).to_string();
            let one = Found::new(BreakType::ProviderBalance, run.sums_until(), observed);
            let one = one.sums(currency, Some(due), Some(actual));
            found.push(Found { account: Some(AccountCode::ProviderBalance), ..one });
        }
    }
    store::insert(&app.db, run.id, &rows, asked_at).await?;
    Ok((found, sums))
}

/// At the end of a day, whenever the run comes: do we hold what we owe, and is what came by the end of the day before at the bank?
pub(super) async fn position(app: &App, run: &Run) -> Result<(Vec<Found>, Sums)> {
    let (mut found, mut sums) = (Vec::new(), Sums::new());
    let day = run.accounting_day.to_string();
    let undue = first_undue(run.accounting_day);
    for books in store::at_end_of(&app.db, run.accounting_day, undue).await? {
        let currency = Currency::parse(&books.currency).ok_or_else(|| Error::internal("a stored currency is none"))?;
        let held = books.provider.saturating_add(books.bank);
        let sum = sums.entry(books.currency.clone()).or_default();
        sum.insert("held".to_owned(), held.to_string());
        sum.insert("owed".to_owned(), books.owed.to_string());
        // Of a day it is one fact that something is short, or late: how much, changes with each payment.
        if held < books.owed {
            let one = Found::new(BreakType::PositionShort, run.sums_until(), day.clone());
            found.push(one.sums(currency, Some(books.owed), Some(held)).evident("day", day.clone()));
        }
        // First in, first out: what Revio holds beyond what came since is older.
        let late = books.provider.saturating_sub(books.in_transit).saturating_sub(books.came).max(0);
        sum.insert("late".to_owned(), late.to_string());
        if late > 0 {
            let one = Found::new(BreakType::D1Late, run.sums_until(), day.clone());
            let one = one.sums(currency, Some(0), Some(late)).evident("day", day.clone());
            found.push(Found { account: Some(AccountCode::ProviderBalance), ..one });
        }
    }
    Ok((found, sums))
}

/// The first day of which nothing is due yet at the end of another: what came on a day is due at the end of the next business day.
fn first_undue(day: NaiveDate) -> NaiveDate {
    let mut first = day;
    while let Some(before) = first.pred_opt().filter(|before| business_days_after(*before, 1) > day) {
        first = before;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_on_a_friday_is_due_on_monday() {
        let friday = NaiveDate::from_ymd_opt(2026, 3, 6).expect("a day");
        let monday = NaiveDate::from_ymd_opt(2026, 3, 9).expect("a day");
        let sunday = NaiveDate::from_ymd_opt(2026, 3, 8).expect("a day");
        assert_eq!((first_undue(sunday), first_undue(monday)), (friday, monday));
    }

    #[test]
    fn ours_is_what_can_be_spent_with_what_is_kept_back_and_the_payouts_own() {
        let field = |name: &str, minor| BalanceField { currency: "ZAR".to_owned(), field: name.to_owned(), minor };
        let fields = [field("available_balance", 70), field("reserved", 20), field("balance", 95)];
        assert_eq!(ours(&fields.iter().collect::<Vec<_>>()), Some(90));
        assert_eq!(ours(&[&field("balance", 95)]), None);
    }
}
