//! The order of a list: chosen columns, then the id, so that no two rows ever tie. A [`Keyset`] is where a page ends in it.
//!
//! `created_at` is the time in the row's id, so the order of ids is the order of creation, and what stands after `created_at`
//! could never decide anything. The id as the last column goes the way of the column before it.
//!
//! | column | may change later | without a value |
//! |---|---|---|
//! | `created_at`, `amount`, `kind` | no | |
//! | `updated_at`, `state` | yes | |
//! | `completed_at` | once, when it gets its value | counts as later than any time |

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::money::transactions::Transaction;
use crate::platform::clock::DateTime;
use crate::platform::error::Wrong;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Column {
    CreatedAt,
    UpdatedAt,
    CompletedAt,
    Amount,
    Kind,
    State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Direction {
    Ascending,
    Descending,
}

const COLUMNS: [(&str, Column); 6] = [
    ("created_at", Column::CreatedAt),
    ("updated_at", Column::UpdatedAt),
    ("completed_at", Column::CompletedAt),
    ("amount", Column::Amount),
    ("kind", Column::Kind),
    ("state", Column::State),
];

/// As the document says.
const LIST_CHARS_MAX: usize = 255;

/// Of a list of names.
pub(super) fn fits(text: &str) -> Result<(), Wrong> {
    let fits = text.len() <= LIST_CHARS_MAX;
    if fits { Ok(()) } else { Err(Wrong::Format("is longer than all of its words: say each once")) }
}

/// What an order is written of, with commas.
fn words() -> Vec<String> {
    COLUMNS.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("-{name}")]).collect()
}

/// A total order of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sort {
    /// Before the id; never [`Column::CreatedAt`], which is the id.
    pub columns: Vec<(Column, Direction)>,
    /// The way of the id.
    pub id: Direction,
}

/// The values of one row in the columns of a [`Sort`]: the rows after it are the next page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyset {
    pub values: Vec<Value>,
    pub id: Uuid,
}

/// Of one column, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    Time(DateTime),
    /// `completed_at` of a row that is not completed: behind every time.
    Never,
    Minor(i64),
    Word(String),
}

impl Default for Sort {
    /// Newest first.
    fn default() -> Self {
        Self { columns: Vec::new(), id: Direction::Descending }
    }
}

impl Column {
    /// What the row has in it.
    pub fn value(self, row: &Transaction) -> Value {
        match self {
            Self::CreatedAt => Value::Time(row.created_at),
            Self::UpdatedAt => Value::Time(row.updated_at),
            Self::CompletedAt => row.completed_at.map_or(Value::Never, Value::Time),
            Self::Amount => Value::Minor(row.amount.minor()),
            Self::Kind => Value::Word(row.kind.name().to_owned()),
            Self::State => Value::Word(row.state.name().to_owned()),
        }
    }
}

impl Direction {
    pub fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

impl Sort {
    /// `None` is the default order; an error is what is wrong with it.
    pub fn parse(text: Option<&str>) -> Result<Self, Wrong> {
        let Some(text) = text else { return Ok(Self::default()) };
        fits(text)?;
        let mut chosen: Vec<(Column, Direction)> = Vec::new();
        for word in text.split(',') {
            let (name, direction) = match word.strip_prefix('-') {
                Some(name) => (name, Direction::Descending),
                None => (word, Direction::Ascending),
            };
            let column = COLUMNS.iter().find(|(known, _)| *known == name).map(|(_, column)| *column);
            let column = column.ok_or_else(|| Wrong::OneOf(words()))?;
            if chosen.iter().any(|(before, _)| *before == column) {
                return Err("names a column twice".into());
            }
            chosen.push((column, direction));
        }
        let id = chosen.iter().find(|(column, _)| *column == Column::CreatedAt).or(chosen.last());
        let id = id.map_or(Direction::Descending, |(_, direction)| *direction);
        let columns = chosen.into_iter().take_while(|(column, _)| *column != Column::CreatedAt).collect();
        Ok(Self { columns, id })
    }

    /// The same order from its end.
    pub fn reversed(&self) -> Self {
        let columns = self.columns.iter().map(|(column, direction)| (*column, direction.reversed())).collect();
        Self { columns, id: self.id.reversed() }
    }

    /// Where the row stands.
    pub fn keyset(&self, row: &Transaction) -> Keyset {
        let values = self.columns.iter().map(|(column, _)| column.value(row)).collect();
        Keyset { values, id: row.id }
    }
}
