//! JSON Lines: each line is the object that the list answers for that row; the last line is the trailer.

use serde::Serialize;

use super::trailer::Trailer;
use crate::books::history::{Scope, StaffTransactionView};
use crate::money::transactions::Transaction;
use crate::money::transactions::routes::TransactionView;

#[derive(Serialize)]
struct Last<'a> {
    trailer: &'a Trailer,
}

pub(super) fn row(scope: Scope, row: Transaction, out: &mut Vec<u8>) {
    match scope {
        Scope::Own(_) => line(&TransactionView::from(row), out),
        Scope::All => line(&StaffTransactionView::from(row), out),
    }
}

pub(super) fn trailer(trailer: &Trailer, out: &mut Vec<u8>) {
    line(&Last { trailer }, out);
}

/// The trailer alone, as the CSV holds it.
pub(super) fn text(trailer: &Trailer) -> String {
    serde_json::to_string(trailer).expect("a trailer is plain data")
}

fn line(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, value).expect("writing plain data into memory does not fail");
    out.push(b'\n');
}
