//! What is asked, and what the books must say afterwards.

use std::sync::Arc;

use clap::ValueEnum;
use ledger::{Account, Currency};
use octoco::app::App;
use octoco::platform::error::BoxError;
use rand::RngExt;
use serde::Serialize;
use uuid::Uuid;

use super::client::Request;
use super::customers::Customer;
use super::run::Ask;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    /// One lookup in the ledger behind the token's check.
    Balances,
    /// The first page, without its total.
    List,
    One,
    /// Reserved before they are answered, each customer in his turn.
    Withdrawals,
    /// All of one customer's.
    Hot,
    /// The second customer half as often as the first, the third a third.
    Zipf,
    /// With the simulator's time.
    Deposits,
}

/// Rows and reservations of all customers, which must be the same.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Books {
    /// Sum of the rows whose money is reserved.
    rows_minor: i64,
    ledger_minor: i64,
    rows: i64,
}

impl Books {
    pub(crate) fn balance(self) -> bool {
        self.rows_minor == self.ledger_minor
    }
}

impl Case {
    pub(crate) fn wanted(self) -> u16 {
        match self {
            Self::Balances | Self::List | Self::One => 200,
            Self::Deposits => 201,
            Self::Withdrawals | Self::Hot | Self::Zipf => 202,
        }
    }

    pub(crate) fn ask(self, customers: &[Customer]) -> Arc<Ask> {
        let prepared: Vec<(String, String, String)> = customers.iter().map(|one| self.prepared(one)).collect();
        let run = Uuid::now_v7();
        let (count, weights) = (prepared.len(), zipf(prepared.len()));
        Arc::new(move |call| {
            let turn = usize::try_from(call).unwrap_or(0) % count;
            let (token, path, body) = match self {
                Self::Hot => &prepared[0],
                Self::Zipf => {
                    let drawn = rand::rng().random_range(0.0..1.0);
                    &prepared[weights.partition_point(|up_to| *up_to < drawn).min(count - 1)]
                }
                _ => &prepared[turn],
            };
            let key = format!("Idempotency-Key: {run}-{call}\r\n");
            let (method, headers) = if body.is_empty() { ("GET", "") } else { ("POST", key.as_str()) };
            Request { method, path, token, headers, body }.bytes()
        })
    }

    /// Token, path and body of a customer's calls.
    fn prepared(self, customer: &Customer) -> (String, String, String) {
        let (path, body) = match self {
            Self::Balances => ("/v1/balances".to_owned(), String::new()),
            Self::List => ("/v1/transactions?limit=20".to_owned(), String::new()),
            Self::One => (format!("/v1/transactions/{}", customer.deposit), String::new()),
            Self::Withdrawals | Self::Hot | Self::Zipf => {
                let bank_account = customer.bank_account;
                let body = format!(r#"{{"amount":100,"currency":"ZAR","bank_account_id":"{bank_account}"}}"#);
                ("/v1/withdrawals".to_owned(), body)
            }
            Self::Deposits => ("/v1/deposits".to_owned(), r#"{"amount":100,"currency":"ZAR"}"#.to_owned()),
        };
        (customer.token.clone(), path, body)
    }
}

/// Up to where each rank reaches, the last to 1.
fn zipf(count: usize) -> Vec<f64> {
    let of = |rank: usize| 1.0 / (rank as f64 + 1.0);
    let all: f64 = (0..count).map(of).sum();
    let mut up_to = 0.0;
    (0..count)
        .map(|rank| {
            up_to += of(rank) / all;
            up_to
        })
        .collect()
}

/// What is reserved of all customers, by the rows and by the ledger; of a case that moves nothing `None`.
pub(crate) async fn check(app: &App, case: Case, customers: &[Customer]) -> Result<Option<Books>, BoxError> {
    if !matches!(case, Case::Withdrawals | Case::Hot | Case::Zipf) {
        return Ok(None);
    }
    let ids: Vec<Uuid> = customers.iter().map(|customer| customer.id).collect();
    let (rows, rows_minor): (i64, i64) = sqlx::query_as(
        "select count(*), coalesce(sum(amount_minor), 0)::bigint from transactions
          where user_id = any($1) and kind = 'withdrawal' and state not in ('initiated', 'rejected', 'completed', 'failed')",
    )
    .bind(&ids)
    .fetch_one(&app.db)
    .await?;
    let wallets: Vec<Account> = ids.iter().map(|id| Account::wallet(*id, Currency::ZAR)).collect();
    let balances = app.ledger.balances(&wallets).await?;
    let ledger_minor = balances.iter().map(|balance| balance.debits_pending).sum();
    Ok(Some(Books { rows_minor, ledger_minor, rows }))
}
