//! The columns of an export in rows and cells: what the CSV and the workbook show of a transaction, declared once.
//! JSON Lines need none of this: a line is the list's own object.

use ledger::Amount;
use uuid::Uuid;

use crate::books::history::Scope;
use crate::money::transactions::Transaction;
use crate::platform::clock::DateTime;

/// One value as it is, before a format writes it its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Empty,
    /// One of our own words: a kind, a state, a currency.
    Word(&'static str),
    /// What a person or Revio wrote: it may hold anything.
    Text(&'a str),
    Id(Uuid),
    /// Minor units.
    Integer(i64),
    /// The same amount in the currency's own unit.
    Decimal(Amount),
    Time(DateTime),
}

const OWN: [&str; 18] = [
    "id",
    "kind",
    "state",
    "currency",
    "amount",
    "amount_decimal",
    "bank_account_id",
    "parent_id",
    "repaid",
    "owed",
    "refunded",
    "charged_back",
    "description",
    "failure_reason",
    "created_at",
    "updated_at",
    "completed_at",
    "direction",
];

/// What staff see beside it.
const STAFF: [&str; 4] = ["user_id", "provider_id", "provider_status", "held_reason"];

pub(super) fn names(scope: Scope) -> impl Iterator<Item = &'static str> {
    let staff: &[&str] = match scope {
        Scope::Own(_) => &[],
        Scope::All => &STAFF,
    };
    OWN.into_iter().chain(staff.iter().copied())
}

/// One row in the order of [`names`].
pub(super) fn each<'a>(scope: Scope, row: &'a Transaction, mut write: impl FnMut(Cell<'a>)) {
    own(row).into_iter().for_each(&mut write);
    match scope {
        Scope::Own(_) => {}
        Scope::All => staff(row).into_iter().for_each(write),
    }
}

fn own(row: &Transaction) -> [Cell<'_>; OWN.len()] {
    [
        Cell::Id(row.id),
        Cell::Word(row.kind.name()),
        Cell::Word(row.state.name()),
        Cell::Word(row.amount.currency().code()),
        Cell::Integer(row.amount.minor()),
        Cell::Decimal(row.amount),
        id(row.bank_account_id),
        id(row.parent_id),
        Cell::Integer(row.repaid_minor),
        Cell::Integer(row.owed_minor),
        Cell::Integer(row.reversed.refunded_minor),
        Cell::Integer(row.reversed.charged_back_minor),
        text(row.description.as_deref()),
        text(row.failure_reason.as_deref()),
        Cell::Time(row.created_at),
        Cell::Time(row.updated_at),
        row.completed_at.map_or(Cell::Empty, Cell::Time),
        Cell::Word(row.direction.name()),
    ]
}

fn staff(row: &Transaction) -> [Cell<'_>; STAFF.len()] {
    [Cell::Id(row.user_id), id(row.provider.id), text(row.provider.status.as_deref()), text(row.held_reason.as_deref())]
}

fn id(id: Option<Uuid>) -> Cell<'static> {
    id.map_or(Cell::Empty, Cell::Id)
}

fn text(text: Option<&str>) -> Cell<'_> {
    text.map_or(Cell::Empty, Cell::Text)
}
