//! The columns of an export in rows and cells: what the CSV and the workbook show of a transaction, declared once.
//! JSON Lines need none of this: a line is the list's own object with what `more.rs` adds.

use std::borrow::Cow;

use chrono::NaiveDate;
use ledger::Amount;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::books::{files, history::Scope};
use crate::money::transactions::Metadata;
use crate::platform::clock::DateTime;
use crate::platform::zone::{Zone, ZonedTime};

use super::more::Entry;

/// One value as it is; serialized, as the CSV has it.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Cell<'a> {
    Empty,
    /// It may hold anything: a person or Revio wrote it.
    Text(#[serde(serialize_with = "defused")] Cow<'a, str>),
    Id(Uuid),
    /// Minor units.
    Integer(i64),
    /// The same amount in the currency's own unit.
    Decimal(#[serde(serialize_with = "decimal")] Amount),
    Time(ZonedTime),
    Day(NaiveDate),
    Json(#[serde(serialize_with = "json")] &'a Metadata),
}

type Column = (&'static str, fn(&Entry, Zone) -> Cell<'_>);

/// New ones are added at the end of each, and so at the end of a file.
const COLUMNS: &[Column] = &[
    ("id", |entry, _| Cell::Id(entry.row.id)),
    ("kind", |entry, _| word(entry.row.kind.name())),
    ("state", |entry, _| word(entry.row.state.name())),
    ("currency", |entry, _| word(entry.row.amount.currency().code())),
    ("amount", |entry, _| Cell::Integer(entry.row.amount.minor())),
    ("amount_decimal", |entry, _| Cell::Decimal(entry.row.amount)),
    ("bank_account_id", |entry, _| id(entry.row.bank_account_id)),
    ("parent_id", |entry, _| id(entry.row.parent_id)),
    ("repaid", |entry, _| Cell::Integer(entry.row.repaid_minor)),
    ("owed", |entry, _| Cell::Integer(entry.row.owed_minor)),
    ("refunded", |entry, _| Cell::Integer(entry.row.reversed.refunded_minor)),
    ("charged_back", |entry, _| Cell::Integer(entry.row.reversed.charged_back_minor)),
    ("description", |entry, _| text(entry.row.description.as_ref())),
    ("failure_reason", |entry, _| entry.row.told_failure().map_or(Cell::Empty, |reason| word(reason.name()))),
    ("created_at", |entry, zone| time(Some(entry.row.created_at), zone)),
    ("updated_at", |entry, zone| time(Some(entry.row.updated_at), zone)),
    ("completed_at", |entry, zone| time(entry.row.completed_at, zone)),
    ("direction", |entry, _| word(entry.row.direction.name())),
];
/// What staff see beside it.
const STAFF: &[Column] = &[
    ("user_id", |entry, _| Cell::Id(entry.row.user_id)),
    ("provider_id", |entry, _| id(entry.row.provider.id)),
    ("provider_status", |entry, _| text(entry.row.provider.status.as_ref())),
    ("held_reason", |entry, _| text(entry.row.held.as_ref().map(|held| &held.reason))),
];
const BOOKED: &[Column] = &[
    ("fee", |entry, _| integer(entry.booked.fee)),
    ("counterpart", |entry, _| Cell::Text(entry.counterpart())),
    ("booked_at", |entry, zone| time(entry.booked.booked_at, zone)),
    ("booking_date", |entry, _| entry.booked.booking_date.map_or(Cell::Empty, Cell::Day)),
    ("metadata", |entry, _| if entry.row.metadata.is_empty() { Cell::Empty } else { Cell::Json(&entry.row.metadata) }),
];
const STAFF_BOOKED: &[Column] = &[
    ("provider_fee", |entry, _| integer(entry.booked.provider_fee)),
    ("customer", |entry, _| text(entry.booked.customer.as_ref())),
];

fn of(scope: Scope) -> impl Iterator<Item = &'static Column> {
    let parts: &[&[Column]] = match scope {
        Scope::Own(_) => &[COLUMNS, BOOKED],
        Scope::All => &[COLUMNS, STAFF, BOOKED, STAFF_BOOKED],
    };
    parts.iter().copied().flatten()
}

pub(super) fn header(scope: Scope) -> Vec<Cell<'static>> {
    of(scope).map(|(name, _)| word(name)).collect()
}

pub(super) fn cells(scope: Scope, zone: Zone, entry: &Entry) -> Vec<Cell<'_>> {
    let shown = |name: &str| matches!(scope, Scope::Own(_)) && name == "state";
    let cell = |(name, cell): &'static Column| match shown(name) {
        true => word(entry.row.shown_state().name()),
        false => cell(entry, zone),
    };
    of(scope).map(cell).collect()
}

fn word(word: &'static str) -> Cell<'static> {
    Cell::Text(Cow::Borrowed(word))
}

fn integer(value: Option<i64>) -> Cell<'static> {
    value.map_or(Cell::Empty, Cell::Integer)
}

fn time(at: Option<DateTime>, zone: Zone) -> Cell<'static> {
    at.map_or(Cell::Empty, |at| Cell::Time(ZonedTime { at, zone }))
}

fn id(id: Option<Uuid>) -> Cell<'static> {
    id.map_or(Cell::Empty, Cell::Id)
}

fn text(text: Option<&String>) -> Cell<'_> {
    text.map_or(Cell::Empty, |text| Cell::Text(Cow::Borrowed(text)))
}

fn defused<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&files::defused(text))
}

/// An object, the same to whoever reads it as one: what a spreadsheet that separates by semicolons would start to calculate at is written by
/// its number.
fn json<S: Serializer>(metadata: &Metadata, serializer: S) -> Result<S::Ok, S::Error> {
    let (mut escaped, mut begins) = (String::new(), false);
    for character in metadata.to_json().to_string().chars() {
        if begins && files::is_formula(character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
        begins = character == ';' || begins && matches!(character, '"' | ' ');
    }
    serializer.serialize_str(&escaped)
}

fn decimal<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&files::decimal(amount.minor(), amount.currency().exponent()))
}
