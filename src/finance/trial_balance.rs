//! The trial balance: every account of the chart at the end of any day, debits equal to credits.
//!
//! The company's accounts are read from TigerBeetle's own account history at that moment; the customers', which are many, are summed up
//! from the copy as it was at the same moment. Two sources that must agree to the cent: where they do not, nothing is shown and an alarm
//! goes off. A day that is not over is as of the last transfer that is copied.

pub mod csv;
pub mod routes;
mod store;

use chrono::NaiveDate;
use ledger::{AccountCode, Currency, Side};
use serde::Serialize;
use sqlx::PgExecutor;
use utoipa::ToSchema;

use crate::app::App;
use crate::books::projector;
use crate::finance::days;
use crate::platform::clock::{CLOCK_MARGIN, DateTime, last_nanosecond_before};
use crate::platform::error::{Error, Result};
use crate::platform::http::json::text;
use crate::platform::text_enum::text_enum;

text_enum! {
    #[schema(as = AccountSection)]
    pub enum Section {
        Assets = "assets",
        Liabilities = "liabilities",
        Equity = "equity",
        Income = "income",
        Expenses = "expenses",
    }
}

/// What the accounts are called in the books, and where they stand there.
pub fn title(code: AccountCode) -> (&'static str, Section) {
    match code {
        AccountCode::ProviderBalance => ("Held at Revio", Section::Assets),
        AccountCode::Bank => ("Customers' bank account", Section::Assets),
        AccountCode::CustomerReceivable => ("Receivable from customers", Section::Assets),
        AccountCode::CustomerWallet => ("Owed to customers", Section::Liabilities),
        AccountCode::Suspense => ("Unallocated receipts", Section::Liabilities),
        AccountCode::Equity => ("Own funds", Section::Equity),
        AccountCode::FeeIncome => ("Fee income", Section::Income),
        AccountCode::ProviderFees => ("Provider fees", Section::Expenses),
        AccountCode::ChargebackLosses => ("Chargebacks and write-offs", Section::Expenses),
        AccountCode::LimitSource | AccountCode::VelocityLimit | AccountCode::PayoutNotes | AccountCode::AuditNotes => {
            ("No money", Section::Assets)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TrialBalanceView)]
pub struct TrialBalance {
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "ZAR")]
    pub currency: Currency,
    pub day: NaiveDate,
    /// Everything up to this moment is in it: the end of the day, or the last transfer that is copied.
    pub at: DateTime,
    /// False while something may still be booked on that day.
    #[serde(rename = "final")]
    pub is_final: bool,
    pub accounts: Vec<Line>,
    /// Minor units; equal.
    pub total_debit: i64,
    pub total_credit: i64,
}

/// An account, or all customers' of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TrialBalanceLine)]
pub struct Line {
    #[schema(example = 1000)]
    pub code: u16,
    #[schema(example = "provider_balance")]
    pub name: &'static str,
    #[schema(example = "Held at Revio")]
    pub title: &'static str,
    pub section: Section,
    /// Minor units: one of the two is zero.
    pub debit: i64,
    pub credit: i64,
}

impl Line {
    /// Debits less credits.
    pub fn net(&self) -> i64 {
        self.debit.saturating_sub(self.credit)
    }

    fn of(code: AccountCode, net: i64) -> Self {
        let (title, section) = title(code);
        let (debit, credit) = (net.max(0), net.saturating_neg().max(0));
        Self { code: code.code(), name: code.name(), title, section, debit, credit }
    }
}

/// # Errors
/// [`Error::BooksBehind`] while the copy has not reached the day's end.
pub async fn of_day(app: &App, currency: Currency, day: NaiveDate) -> Result<TrialBalance> {
    let end = days::end(app, day).await?;
    let is_final = end + CLOCK_MARGIN <= app.clock.now();
    let cut = if is_final {
        let cut = last_nanosecond_before(end);
        require_read_model(app, currency, cut).await?;
        cut
    } else {
        projector::copied_to(app, currency).await?.unsigned_abs().min(last_nanosecond_before(end))
    };
    let accounts = at(app, &app.db, currency, cut).await?;
    let last = chrono::DateTime::from_timestamp_nanos(i64::try_from(cut).unwrap_or(i64::MAX));
    let at = if is_final { end } else { last };
    let sum = |of: fn(&Line) -> i64| accounts.iter().map(of).fold(0_i64, i64::saturating_add);
    let (total_debit, total_credit) = (sum(|line| line.debit), sum(|line| line.credit));
    Ok(TrialBalance { currency, day, at, is_final, accounts, total_debit, total_credit })
}

/// Every account right after the last transfer up to the cut, in the ledger's nanoseconds; the copy must have reached it.
pub async fn at(app: &App, db: impl PgExecutor<'_>, currency: Currency, cut: u64) -> Result<Vec<Line>> {
    let customers = store::customers(db, currency.code(), i64::try_from(cut).unwrap_or(i64::MAX)).await?;
    let mut lines = Vec::with_capacity(AccountCode::ALL.len());
    for code in AccountCode::ALL {
        let net = if code.is_customers() {
            customers.iter().find(|(known, _)| *known == i32::from(code.code())).map_or(0, |(_, net)| *net)
        } else {
            let balance = app.ledger.balance_at(app.ledger.system(code, currency), cut).await?;
            match code.normal_side() {
                Side::Debit => balance.posted(),
                Side::Credit => balance.posted().saturating_neg(),
            }
        };
        lines.push(Line::of(code, net));
    }
    let difference = lines.iter().map(|line| i128::from(line.net())).sum::<i128>();
    if difference == 0 {
        return Ok(lines);
    }
    app.metrics.read_model.statement_mismatches.inc();
    tracing::error!(currency = currency.code(), cut, "a trial balance does not tie out");
    Err(Error::internal(format!("debits and credits in {currency} differ by {difference} at {cut}")))
}

/// Whether every transfer up to then is in the copy. The moment must be over by [`CLOCK_MARGIN`].
///
/// # Errors
/// [`Error::BooksBehind`]
pub async fn require_read_model(app: &App, currency: Currency, cut: u64) -> Result<()> {
    let cursor = projector::copied_to(app, currency).await?.unsigned_abs();
    if cursor >= cut {
        return Ok(());
    }
    let next = app.ledger.transfers_after(currency, cursor, 1).await?;
    if next.first().is_some_and(|next| next.timestamp <= cut) { Err(Error::BooksBehind) } else { Ok(()) }
}
