//! What must agree after a case: what was answered, the rows, the ledger, and Revio. A case of which it does not has no figure.

use std::collections::BTreeMap;

use ::ledger::{Account, Currency};
use octoco::app::App;
use octoco::platform::error::BoxError;
use serde::Serialize;

use super::cases::Case;
use super::customers::Customers;
use super::revio::Stands;

/// What, and the two figures of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Books(BTreeMap<&'static str, [i64; 2]>);

/// Of the customers of a case, who had nothing under way before.
struct Ledgers {
    reserved: i64,
    taken: i64,
    given: i64,
}

impl Books {
    pub(crate) fn balance(&self) -> bool {
        self.0.values().all(|[one, other]| one == other)
    }

    pub(crate) async fn of(
        app: &App,
        case: Case,
        customers: &Customers,
        (good, at_revio): (u64, Stands),
    ) -> Result<Self, BoxError> {
        let (good, ledger) = (i64::try_from(good)?, ledgers(app, customers).await?);
        let given = ledger.given - customers.funds();
        Ok(Self(match case {
            Case::Transfer => [("answered, credited", [100 * good, given])].into(),
            Case::Reserve => [("answered, reserved", [100 * good, ledger.reserved])].into(),
            Case::Withdrawals | Case::Hot | Case::Zipf => {
                let (rows, minor) =
                    rows(app, customers, "kind = 'withdrawal' and state not in ('initiated', 'rejected')").await?;
                [("answered, rows", [good, rows]), ("rows, reserved", [minor, ledger.reserved])].into()
            }
            Case::Deposits => {
                let (open, _) = rows(app, customers, "kind = 'deposit' and state = 'awaiting_payment'").await?;
                [
                    ("answered, rows", [good, open]),
                    ("rows, purchases", [open, at_revio.purchases]),
                    ("credited", [0, given]),
                ]
                .into()
            }
            Case::Receipts => {
                let (booked, minor) =
                    rows(app, customers, "kind = 'deposit' and state = 'completed' and provider_id is not null")
                        .await?;
                [("answered, booked", [good, booked]), ("rows, credited", [minor, given])].into()
            }
            Case::Whole => {
                let (completed, minor) = rows(app, customers, "kind = 'withdrawal' and state = 'completed'").await?;
                [
                    ("answered, completed", [good, completed]),
                    ("rows, taken", [minor, ledger.taken]),
                    ("rows, paid out", [minor, at_revio.paid_out_minor]),
                    ("reserved", [0, ledger.reserved]),
                ]
                .into()
            }
            _ => [("moved", [0, ledger.reserved + ledger.taken + given])].into(),
        }))
    }
}

/// How many rows of theirs are so, and their sum.
async fn rows(app: &App, customers: &Customers, which: &'static str) -> Result<(i64, i64), BoxError> {
    let statement =
        "select count(*), coalesce(sum(amount_minor), 0)::bigint from transactions where user_id = any($1) and ";
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(format!("{statement}{which}")))
        .bind(customers.ids())
        .fetch_one(&app.db)
        .await?)
}

async fn ledgers(app: &App, customers: &Customers) -> Result<Ledgers, BoxError> {
    let wallets: Vec<Account> = customers.ids().iter().map(|id| Account::wallet(*id, Currency::ZAR)).collect();
    let balances = app.ledger.balances(&wallets).await?;
    Ok(Ledgers {
        reserved: balances.iter().map(|balance| balance.debits_pending).sum(),
        taken: balances.iter().map(|balance| balance.debits_posted).sum(),
        given: balances.iter().map(|balance| balance.credits_posted).sum(),
    })
}
