//! The end of every export: how many rows, what they add up to, and the hash of everything before. Only a whole export has
//! one; that is how a reader tells it from one that broke off.

use std::collections::BTreeMap;

use ledger::Currency;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::DateTime;
use crate::error::{Error, Result};
use crate::transactions::{Kind, State, Transaction};

/// Sums are texts of digits: many large amounts add up to more than a JSON reader keeps exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    pub totals: BTreeMap<String, CurrencyTotals>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct CurrencyTotals {
    pub rows: u64,
    /// Minor units, of the rows in whatever state.
    #[schema(example = "450000")]
    pub amount: String,
    /// Minor units, of the completed rows alone.
    #[schema(example = "300000")]
    pub completed_amount: String,
    /// The same by kind of transaction.
    pub kinds: BTreeMap<String, KindTotals>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct KindTotals {
    pub rows: u64,
    pub amount: String,
    pub completed_amount: String,
}

/// The sums while they grow. Few: a line for each currency and kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals(Vec<Line>);

#[derive(Debug, Clone)]
struct Line {
    currency: Currency,
    kind: Kind,
    rows: u64,
    amount: u128,
    completed: u128,
}

/// A line as a checkpoint keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredLine {
    currency: String,
    kind: String,
    rows: u64,
    amount: String,
    completed: String,
}

impl Totals {
    pub(super) fn add(&mut self, row: &Transaction) {
        let (currency, kind) = (row.amount.currency(), row.kind);
        let known = self.0.iter().position(|line| line.currency == currency && line.kind == kind);
        let index = known.unwrap_or_else(|| {
            self.0.push(Line { currency, kind, rows: 0, amount: 0, completed: 0 });
            self.0.len().saturating_sub(1)
        });
        let line = &mut self.0[index];
        // 2^64 rows of 2^53 each stay below 2^128.
        let amount = u128::from(row.amount.minor().unsigned_abs());
        line.rows = line.rows.saturating_add(1);
        line.amount = line.amount.saturating_add(amount);
        if row.state == State::Completed {
            line.completed = line.completed.saturating_add(amount);
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.0.iter().fold(0, |sum, line| sum.saturating_add(line.rows))
    }

    pub(super) fn told(&self) -> BTreeMap<String, CurrencyTotals> {
        let mut told: BTreeMap<String, CurrencyTotals> = BTreeMap::new();
        for line in &self.0 {
            let sum = |part: fn(&Line) -> u128| {
                let same = self.0.iter().filter(|other| other.currency == line.currency);
                same.fold(0_u128, |sum, other| sum.saturating_add(part(other))).to_string()
            };
            let currency = told.entry(line.currency.code().to_owned()).or_default();
            currency.rows = currency.rows.saturating_add(line.rows);
            currency.amount = sum(|line| line.amount);
            currency.completed_amount = sum(|line| line.completed);
            let kind = KindTotals {
                rows: line.rows,
                amount: line.amount.to_string(),
                completed_amount: line.completed.to_string(),
            };
            currency.kinds.insert(line.kind.name().to_owned(), kind);
        }
        told
    }

    pub(super) fn store(&self) -> Vec<StoredLine> {
        let stored = |line: &Line| StoredLine {
            currency: line.currency.code().to_owned(),
            kind: line.kind.name().to_owned(),
            rows: line.rows,
            amount: line.amount.to_string(),
            completed: line.completed.to_string(),
        };
        self.0.iter().map(stored).collect()
    }

    pub(super) fn read(stored: &[StoredLine]) -> Result<Self> {
        let line = |stored: &StoredLine| {
            Some(Line {
                currency: Currency::parse(&stored.currency)?,
                kind: Kind::parse(&stored.kind)?,
                rows: stored.rows,
                amount: stored.amount.parse().ok()?,
                completed: stored.completed.parse().ok()?,
            })
        };
        let lines: Option<Vec<Line>> = stored.iter().map(line).collect();
        lines.map(Self).ok_or_else(|| Error::internal("the totals of a checkpoint cannot be read"))
    }
}
