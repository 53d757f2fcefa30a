//! The end of every export: how many rows, what they add up to, and the hash of everything before. Only a whole export has
//! one; that is how a reader tells it from one that broke off.

use std::collections::BTreeMap;

use ledger::Currency;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::money::transactions::{Direction, Kind, State, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};

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
    #[serde(flatten)]
    pub sums: Sums,
    /// The same by kind of transaction.
    pub kinds: BTreeMap<String, Sums>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = KindTotals)]
pub(super) struct Sums {
    pub rows: u64,
    /// Minor units, of the rows in whatever state, whichever way they go.
    #[schema(example = "450000")]
    pub amount: String,
    /// Minor units, of the completed rows alone: credits and debits together.
    #[schema(example = "300000")]
    pub completed_amount: String,
    /// Of these, what came into wallets …
    #[schema(example = "200000")]
    pub completed_credits: String,
    /// … and what left them.
    #[schema(example = "100000")]
    pub completed_debits: String,
}

/// The sums while they grow. Few: a line for each currency and kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals(Vec<Line>);

#[derive(Debug, Clone)]
struct Line {
    currency: Currency,
    kind: Kind,
    grown: Grown,
}

#[derive(Debug, Clone, Copy, Default)]
struct Grown {
    rows: u64,
    amount: u128,
    credits: u128,
    debits: u128,
}

/// A line as a checkpoint keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredLine {
    currency: String,
    kind: String,
    rows: u64,
    amount: String,
    credits: String,
    debits: String,
}

impl Grown {
    fn add(&mut self, other: &Self) {
        // 2^64 rows of 2^53 each stay below 2^128.
        self.rows = self.rows.saturating_add(other.rows);
        self.amount = self.amount.saturating_add(other.amount);
        self.credits = self.credits.saturating_add(other.credits);
        self.debits = self.debits.saturating_add(other.debits);
    }

    fn of(row: &Transaction) -> Self {
        let amount = u128::from(row.amount.minor().unsigned_abs());
        let mut grown = Self { rows: 1, amount, ..Self::default() };
        if row.state == State::Completed {
            match row.direction {
                Direction::Credit => grown.credits = amount,
                Direction::Debit => grown.debits = amount,
            }
        }
        grown
    }

    fn told(&self) -> Sums {
        Sums {
            rows: self.rows,
            amount: self.amount.to_string(),
            completed_amount: self.credits.saturating_add(self.debits).to_string(),
            completed_credits: self.credits.to_string(),
            completed_debits: self.debits.to_string(),
        }
    }
}

impl Totals {
    pub(super) fn add(&mut self, row: &Transaction) {
        let (currency, kind) = (row.amount.currency(), row.kind);
        let known = self.0.iter().position(|line| line.currency == currency && line.kind == kind);
        let index = known.unwrap_or_else(|| {
            self.0.push(Line { currency, kind, grown: Grown::default() });
            self.0.len().saturating_sub(1)
        });
        self.0[index].grown.add(&Grown::of(row));
    }

    pub(super) fn rows(&self) -> u64 {
        self.0.iter().fold(0, |sum, line| sum.saturating_add(line.grown.rows))
    }

    pub(super) fn told(&self) -> BTreeMap<String, CurrencyTotals> {
        let mut told: BTreeMap<String, CurrencyTotals> = BTreeMap::new();
        for line in &self.0 {
            let mut all = Grown::default();
            let same = self.0.iter().filter(|other| other.currency == line.currency);
            same.for_each(|other| all.add(&other.grown));
            let currency = told.entry(line.currency.code().to_owned()).or_default();
            currency.sums = all.told();
            currency.kinds.insert(line.kind.name().to_owned(), line.grown.told());
        }
        told
    }

    pub(super) fn store(&self) -> Vec<StoredLine> {
        let stored = |line: &Line| StoredLine {
            currency: line.currency.code().to_owned(),
            kind: line.kind.name().to_owned(),
            rows: line.grown.rows,
            amount: line.grown.amount.to_string(),
            credits: line.grown.credits.to_string(),
            debits: line.grown.debits.to_string(),
        };
        self.0.iter().map(stored).collect()
    }

    pub(super) fn read(stored: &[StoredLine]) -> Result<Self> {
        let line = |stored: &StoredLine| {
            let grown = Grown {
                rows: stored.rows,
                amount: stored.amount.parse().ok()?,
                credits: stored.credits.parse().ok()?,
                debits: stored.debits.parse().ok()?,
            };
            Some(Line { currency: Currency::parse(&stored.currency)?, kind: Kind::parse(&stored.kind)?, grown })
        };
        let lines: Option<Vec<Line>> = stored.iter().map(line).collect();
        lines.map(Self).ok_or_else(|| Error::internal("the totals of a checkpoint cannot be read"))
    }
}
