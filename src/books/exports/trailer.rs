//! The end of every export: how many rows, what they add up to, and the hash of everything before. Only a whole export has
//! one; that is how a reader tells it from one that broke off.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::money::transactions::{Direction, State, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::http::json::text;

#[derive(Serialize, ToSchema)]
pub(super) struct Trailer {
    pub rows: u64,
    /// How many bytes come before the trailer: those that `sha256` is over.
    pub bytes: u64,
    /// In lower-case hexadecimal.
    pub sha256: String,
    /// The export goes on after this row; null = it begins at the beginning.
    pub after: Option<Uuid>,
    pub finished_at: DateTime,
    /// By currency.
    #[schema(value_type = BTreeMap<String, CurrencyTotals>)]
    pub totals: Totals,
}

#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Totals(pub BTreeMap<&'static str, CurrencyTotals>);

#[derive(Default, Serialize, ToSchema)]
pub(super) struct CurrencyTotals {
    #[serde(flatten)]
    pub sums: Sums,
    /// The same by kind of transaction.
    #[schema(value_type = BTreeMap<String, Sums>)]
    pub kinds: BTreeMap<&'static str, Sums>,
}

/// Written as texts of digits: many large amounts add up to more than a JSON reader keeps exact.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = KindTotals)]
pub(super) struct Sums {
    pub rows: u64,
    /// Minor units, of the rows in whatever state, whichever way they go.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "450000")]
    pub amount: u128,
    /// Minor units, of the completed rows alone: credits and debits together.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "300000")]
    pub completed_amount: u128,
    /// Of these, what came into wallets …
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "200000")]
    pub completed_credits: u128,
    /// … and what left them.
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "100000")]
    pub completed_debits: u128,
}

impl Totals {
    pub(super) fn add(&mut self, row: &Transaction) {
        let currency = self.0.entry(row.amount.currency().code()).or_default();
        currency.sums.add(row);
        currency.kinds.entry(row.kind.name()).or_default().add(row);
    }

    pub(super) fn rows(&self) -> u64 {
        self.0.values().map(|currency| currency.sums.rows).sum()
    }
}

impl Sums {
    fn add(&mut self, row: &Transaction) {
        let amount = u128::from(row.amount.minor().unsigned_abs());
        // 2^64 rows of 2^53 each stay below 2^128.
        self.rows = self.rows.saturating_add(1);
        self.amount = self.amount.saturating_add(amount);
        if row.state == State::Completed {
            self.completed_amount = self.completed_amount.saturating_add(amount);
            let sum = match row.direction {
                Direction::Credit => &mut self.completed_credits,
                Direction::Debit => &mut self.completed_debits,
            };
            *sum = sum.saturating_add(amount);
        }
    }
}
