//! The columns of an export in rows and cells: what the CSV and the workbook show of a transaction, declared once.
//! JSON Lines need none of this: a line is the list's own object.

use ledger::Amount;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::books::{files, history::Scope};
use crate::money::transactions::{Metadata, Transaction};
use crate::platform::clock::DateTime;

/// One value as it is; serialized, as the CSV has it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum Cell<'a> {
    Empty,
    /// It may hold anything: a person or Revio wrote it.
    Text(#[serde(serialize_with = "defused")] &'a str),
    Id(Uuid),
    /// Minor units.
    Integer(i64),
    /// The same amount in the currency's own unit.
    Decimal(#[serde(serialize_with = "decimal")] Amount),
    Time(DateTime),
    Json(#[serde(serialize_with = "json")] &'a Metadata),
}

type Column = (&'static str, fn(&Transaction) -> Cell<'_>);

const COLUMNS: &[Column] = &[
    ("id", |row| Cell::Id(row.id)),
    ("kind", |row| Cell::Text(row.kind.name())),
    ("state", |row| Cell::Text(row.state.name())),
    ("currency", |row| Cell::Text(row.amount.currency().code())),
    ("amount", |row| Cell::Integer(row.amount.minor())),
    ("amount_decimal", |row| Cell::Decimal(row.amount)),
    ("bank_account_id", |row| id(row.bank_account_id)),
    ("parent_id", |row| id(row.parent_id)),
    ("repaid", |row| Cell::Integer(row.repaid_minor)),
    ("owed", |row| Cell::Integer(row.owed_minor)),
    ("refunded", |row| Cell::Integer(row.reversed.refunded_minor)),
    ("charged_back", |row| Cell::Integer(row.reversed.charged_back_minor)),
    ("description", |row| text(row.description.as_ref())),
    ("failure_reason", |row| row.failure_reason.map_or(Cell::Empty, |reason| Cell::Text(reason.name()))),
    ("created_at", |row| Cell::Time(row.created_at)),
    ("updated_at", |row| Cell::Time(row.updated_at)),
    ("completed_at", |row| row.completed_at.map_or(Cell::Empty, Cell::Time)),
    ("direction", |row| Cell::Text(row.direction.name())),
    ("metadata", |row| if row.metadata.is_empty() { Cell::Empty } else { Cell::Json(&row.metadata) }),
    // What staff see beside it.
    ("user_id", |row| Cell::Id(row.user_id)),
    ("provider_id", |row| id(row.provider.id)),
    ("provider_status", |row| text(row.provider.status.as_ref())),
    ("held_reason", |row| text(row.held_reason.as_ref())),
];
const OWN: usize = 19;

fn of(scope: Scope) -> &'static [Column] {
    match scope {
        Scope::Own(_) => &COLUMNS[..OWN],
        Scope::All => COLUMNS,
    }
}

pub(super) fn header(scope: Scope) -> Vec<Cell<'static>> {
    of(scope).iter().map(|(name, _)| Cell::Text(name)).collect()
}

pub(super) fn cells(scope: Scope, row: &Transaction) -> Vec<Cell<'_>> {
    let shown = |name: &str| matches!(scope, Scope::Own(_)) && name == "state";
    let cell = |(name, cell): &Column| if shown(name) { Cell::Text(row.shown_state().name()) } else { cell(row) };
    of(scope).iter().map(cell).collect()
}

fn id(id: Option<Uuid>) -> Cell<'static> {
    id.map_or(Cell::Empty, Cell::Id)
}

fn text(text: Option<&String>) -> Cell<'_> {
    text.map_or(Cell::Empty, |text| Cell::Text(text))
}

fn defused<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&files::defused(text))
}

/// An object: no spreadsheet takes it for a formula.
fn json<S: Serializer>(metadata: &Metadata, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&metadata.to_json().to_string())
}

fn decimal<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&files::decimal(amount.minor(), amount.currency().exponent()))
}
