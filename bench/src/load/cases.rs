//! What is asked, and what must be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use rand::RngExt;
use serde::Serialize;
use uuid::Uuid;

use super::client::Request;
use super::customers::{Customer, Customers};
use super::http::Ask;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    /// The ledger alone, through the crate `ledger`: one transfer.
    Transfer,
    /// Likewise: a reservation within a limit, a chain of four.
    Reserve,
    /// A call that is refused right behind the check of its token: what HTTP costs.
    Token,
    /// One lookup in the ledger behind the token's check.
    Balances,
    /// The first page, with its total.
    List,
    One,
    Statement,
    /// Mostly the hash of a password.
    Login,
    /// Reserved before they are answered, each customer in his turn.
    Withdrawals,
    /// All of one customer's.
    Hot,
    /// The second customer half as often as the first, the third a third.
    Zipf,
    /// With the simulator's time.
    Deposits,
    /// Webhooks of payments, sent until there are no more, and followed until they are booked. Needs a worker.
    Receipts,
    /// Withdrawals, likewise, followed until they are completed. Needs a worker.
    Whole,
}

impl Case {
    pub(crate) fn wanted(self) -> u16 {
        match self {
            Self::Token => 400,
            Self::Deposits => 201,
            Self::Withdrawals | Self::Hot | Self::Zipf | Self::Whole => 202,
            _ => 200,
        }
    }

    pub(crate) fn is_followed(self) -> bool {
        matches!(self, Self::Receipts | Self::Whole)
    }

    /// Of deposits a customer has few that are open at once: they are counted before each.
    pub(crate) fn customers(self, usually: usize) -> usize {
        if matches!(self, Self::Deposits | Self::Receipts) { usually * 10 } else { usually }
    }

    /// The call of each number, up to `last`.
    pub(crate) fn ask(self, customers: &Customers, last: Option<u64>) -> Arc<Ask> {
        let prepared: Vec<Prepared> = customers.all.iter().map(|one| self.prepared(one)).collect();
        let (run, next) = (Uuid::now_v7(), AtomicU64::new(0));
        let (count, weights) = (prepared.len(), zipf(prepared.len()));
        Arc::new(move || {
            let call = next.fetch_add(1, Ordering::Relaxed);
            if last.is_some_and(|last| call >= last) {
                return None;
            }
            let one = match self {
                Self::Hot => &prepared[0],
                Self::Zipf => {
                    let drawn = rand::rng().random_range(0.0..1.0);
                    &prepared[weights.partition_point(|up_to| *up_to < drawn).min(count - 1)]
                }
                _ => &prepared[usize::try_from(call).unwrap_or(0) % count],
            };
            let Prepared { token, path, body, address } = one;
            let mut headers = format!("X-Forwarded-For: {address}\r\n");
            if !body.is_empty() {
                headers.push_str(&format!("Idempotency-Key: {run}-{call}\r\n"));
            }
            let method = if body.is_empty() { "GET" } else { "POST" };
            Some(Request { method, path, token, headers: &headers, body }.bytes())
        })
    }

    fn prepared(self, customer: &Customer) -> Prepared {
        let (path, body) = match self {
            Self::Token => ("/v1/transactions?limit=0".to_owned(), String::new()),
            Self::List => ("/v1/transactions?limit=20".to_owned(), String::new()),
            Self::One => (format!("/v1/transactions/{}", customer.deposit), String::new()),
            Self::Statement => ("/v1/statements?currency=ZAR&from=2020-01-01".to_owned(), String::new()),
            Self::Login => (
                "/v1/auth/login".to_owned(),
                serde_json::json!({"email": customer.email(), "password": super::customers::PASSWORD}).to_string(),
            ),
            Self::Withdrawals | Self::Hot | Self::Zipf | Self::Whole => {
                let bank_account = customer.bank_account;
                let body = format!(r#"{{"amount":100,"currency":"ZAR","bank_account_id":"{bank_account}"}}"#);
                ("/v1/withdrawals".to_owned(), body)
            }
            Self::Deposits => ("/v1/deposits".to_owned(), r#"{"amount":100,"currency":"ZAR"}"#.to_owned()),
            Self::Balances | Self::Transfer | Self::Reserve | Self::Receipts => {
                ("/v1/balances".to_owned(), String::new())
            }
        };
        let token = if self == Self::Login { String::new() } else { customer.token.clone() };
        Prepared { token, path, body, address: customer.address.clone() }
    }
}

/// What does not change from call to call of a customer.
struct Prepared {
    token: String,
    path: String,
    body: String,
    address: String,
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
