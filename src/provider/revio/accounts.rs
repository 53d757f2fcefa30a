//! What Revio says of the whole account: its balance, and its statements, which are asked for, made in a while and fetched. For
//! `finance`, in a budget class of their own that comes last. Facts: `docs/provider.md`, balance and statements.
//!
//! ```text
//! request_statement ─> statement: pending ─> processing ─> success, with an address ─> download_statement
//! ```

use std::collections::HashMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::answer::expect_id;
use super::codes::Codes;
use super::error::slow_down;
use super::objects::{Figure, lenient};
use super::{NOTHING, Operation, Result, Revio, RevioError, links};
use crate::platform::clock::DateTime;

/// Far beyond what an account has: whatever has more is not Revio's balance.
const CURRENCIES_MAX: usize = 64;
const FIELDS_MAX: usize = 40;
const FIELD_CHARS_MAX: usize = 40;
/// What can be paid out, where payouts have a balance of their own.
pub const PAYOUT_BALANCE: &str = "available_payout_balance";

/// One figure of the balance. Which of them is what the ledger calls Revio's is decided by who compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceField {
    /// Three capital letters.
    pub currency: String,
    /// As Revio calls it: `balance`, `available_balance`, `reserved`, …
    pub field: String,
    /// In minor units; may be below zero.
    pub minor: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Statement {
    pub id: Uuid,
    pub status: StatementStatus,
    /// Only once it is made.
    #[serde(default, deserialize_with = "lenient")]
    pub download_url: Option<String>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub finished_on: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum StatementStatus {
    /// `pending`, `processing`: asked again later.
    Open(String),
    Success,
    /// It will never be made: another one must be asked for.
    Failed(String),
    Unknown(String),
}

impl From<String> for StatementStatus {
    fn from(word: String) -> Self {
        match word.as_str() {
            "created" | "scheduled" | "pending" | "processing" => Self::Open(word),
            "success" => Self::Success,
            "error" | "failed" | "failure" | "cancelled" | "canceled" => Self::Failed(word),
            _ => Self::Unknown(word),
        }
    }
}

#[derive(Deserialize)]
struct Balances {
    ecommerce: Vec<Map<String, Value>>,
    /// By currency. Where payouts have no balance of their own, the figures that would be it are the other's once more.
    #[serde(default, deserialize_with = "lenient")]
    payout_balances_enabled: HashMap<String, bool>,
}

impl Revio {
    /// `GET /balance/`: every figure of every currency, but for [`PAYOUT_BALANCE`] where payouts have none of their own.
    pub async fn balance(&self) -> Result<Vec<BalanceField>> {
        let balances: Balances =
            self.send(Method::GET, self.path(&["balance"]), NOTHING, Operation::Balance.of_account()).await?;
        let fields = fields_of(balances.ecommerce).map_err(|wrong| RevioError::Unreadable(wrong.into()))?;
        let enabled = balances.payout_balances_enabled;
        let is_shared = |code: &str| enabled.iter().any(|(of, own)| of.eq_ignore_ascii_case(code) && !own);
        let is_own = |field: &BalanceField| field.field != PAYOUT_BALANCE || !is_shared(&field.currency);
        Ok(fields.into_iter().filter(is_own).collect())
    }

    /// `POST /company_statements/`: a file of what moved from one moment to before the other, its days those of `time_zone`. Safe to
    /// repeat: it makes one more file. By when it was paid, not by when its object was made: a purchase may be paid a day later.
    pub async fn request_statement(&self, from: DateTime, to: DateTime, time_zone: &str) -> Result<Uuid> {
        let mut url = self.path(&["company_statements"]);
        let (from, to) = (from.timestamp().to_string(), (to.timestamp() - 1).to_string());
        url.query_pairs_mut().append_pair("paid_from", &from).append_pair("paid_to", &to);
        let body = json!({"format": "csv", "timezone": time_zone});
        let statement: Statement =
            self.send(Method::POST, url, Some(&body), Operation::NewStatement.of_account()).await?;
        Ok(statement.id)
    }

    /// `GET /company_statements/{id}/`: how far it is.
    pub async fn statement(&self, id: Uuid) -> Result<Statement> {
        let path = self.path(&["company_statements", &id.to_string()]);
        let statement: Statement = self.send(Method::GET, path, NOTHING, Operation::Statement.of(id)).await?;
        expect_id(statement.id, id).map(|()| statement)
    }

    /// The file of a statement that is made. The key goes along to Revio's own host alone; from another one the file is fetched over
    /// https and without it, as storage with signed addresses is used.
    pub async fn download_statement(&self, download_url: &str) -> Result<Vec<u8>> {
        let link = links::download(&self.base_url, download_url);
        let link = link.ok_or_else(|| RevioError::Unreadable("its download_url is no address of a file".into()))?;
        let request = self.http.get(link.url);
        if link.with_key {
            let file = self.call(self.with_key(request), Operation::File.of_account(), Ok).await;
            // Revio's own word, and no storage's.
            if let Err(RevioError::RateLimited { retry_after }) = &file {
                self.budget.hold_back(slow_down(*retry_after)).await;
            }
            return file;
        }
        match self.call(request, Operation::File.of_account(), Ok).await {
            // Our key was not shown there, so it is not what is wrong.
            Err(RevioError::Unauthorized { status }) => {
                Err(RevioError::Rejected { status, codes: Codes::ours("its download_url is not open to us") })
            }
            file => file,
        }
    }
}

/// Names go into metrics.
fn is_name(field: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    field.len() <= FIELD_CHARS_MAX && field.bytes().all(plain)
}

/// What is no whole number (a list, a word) is no figure.
fn fields_of(ecommerce: Vec<Map<String, Value>>) -> Result<Vec<BalanceField>, &'static str> {
    let mut fields: Vec<BalanceField> = Vec::new();
    if ecommerce.len() > CURRENCIES_MAX {
        return Err("more currencies than there are");
    }
    for mut of_currency in ecommerce {
        let currency = of_currency.remove("currency").and_then(|code| Some(code.as_str()?.to_ascii_uppercase()));
        let currency = currency.filter(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
        let currency = currency.ok_or("a balance without its currency")?;
        if fields.iter().any(|field| field.currency == currency) {
            return Err("two balances of one currency");
        }
        if of_currency.len() > FIELDS_MAX {
            return Err("a balance of more fields than there are");
        }
        let figures = of_currency.into_iter().filter(|(name, _)| is_name(name)).filter_map(|(field, value)| {
            let minor = Figure::from(value).whole()?;
            Some(BalanceField { currency: currency.clone(), field, minor })
        });
        fields.extend(figures);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::super::parse_json;
    use super::*;

    fn read(balance: Value) -> Result<Vec<(String, String, i64)>, String> {
        let body = serde_json::to_vec(&balance).expect("JSON");
        let balances: Balances = parse_json(body).map_err(|error| error.to_string())?;
        let fields = fields_of(balances.ecommerce).map_err(str::to_owned)?;
        Ok(fields.into_iter().map(|field| (field.currency, field.field, field.minor)).collect())
    }

    #[test]
    fn every_figure_of_every_currency_is_kept_in_any_spelling() {
        let balance = json!({"ecommerce": [
            {"currency": "ZAR", "balance": -5, "reserved": "7", "available_balance": 1000.0, "note": "none", "list": [], "a b": 1},
            {"currency": "usd", "new_figure": 1},
        ], "bank_accounts": [{}], "payout_balances_enabled": {"ZAR": true}});
        let expected = [
            ("ZAR", "available_balance", 1000),
            ("ZAR", "balance", -5),
            ("ZAR", "reserved", 7),
            ("USD", "new_figure", 1),
        ];
        let expected = expected.map(|(currency, field, minor)| (currency.to_owned(), field.to_owned(), minor));
        assert_eq!(read(balance), Ok(expected.to_vec()));
    }

    #[test]
    fn what_is_no_balance_is_unreadable() {
        for odd in [
            json!({}),
            json!([]),
            json!({"ecommerce": {}}),
            json!({"ecommerce": [{"balance": 1}]}),
            json!({"ecommerce": [{"currency": "R", "balance": 1}]}),
            json!({"ecommerce": [{"currency": "ZAR", "balance": 1}, {"currency": "zar", "balance": 2}]}),
        ] {
            assert!(read(odd.clone()).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_statement_that_failed_is_told_from_one_that_waits() {
        let status = |word: &str| StatementStatus::from(word.to_owned());
        assert_eq!(status("processing"), StatementStatus::Open("processing".to_owned()));
        assert_eq!(status("success"), StatementStatus::Success);
        assert_eq!(status("cancelled"), StatementStatus::Failed("cancelled".to_owned()));
        assert_eq!(status("pondering"), StatementStatus::Unknown("pondering".to_owned()));
    }
}
