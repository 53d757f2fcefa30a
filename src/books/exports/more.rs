//! What an export says of a row beside the row itself: what the ledger booked for it and when, who was on the other side, and to staff
//! whose it is. Read a page at a time from the copy of the ledger: of what is not copied yet the cells are empty.

use std::borrow::Cow;

use chrono::NaiveDate;
use serde::Serialize;
use uuid::Uuid;

use super::store::{self, Booked};
use crate::app::App;
use crate::books::history::Scope;
use crate::money::transactions::routes::StaffTransactionView;
use crate::money::transactions::routes::TransactionView;
use crate::money::transactions::{Kind, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};

/// One row of a file.
pub(super) struct Entry {
    pub(super) row: Transaction,
    pub(super) booked: Booked,
}

pub(super) async fn of(app: &App, rows: Vec<Transaction>, with_names: bool) -> Result<Vec<Entry>> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let booked = store::booked(&app.db, &ids, with_names).await?;
    if booked.len() != rows.len() {
        return Err(Error::internal("a row of an export is gone"));
    }
    Ok(rows.into_iter().zip(booked).map(|(row, booked)| Entry { row, booked }).collect())
}

impl Entry {
    /// Of a withdrawal the bank account, masked; else who it is.
    pub(super) fn counterpart(&self) -> Cow<'static, str> {
        match (self.row.kind, &self.booked.bank_name, &self.booked.last_four) {
            (Kind::Withdrawal, Some(bank), Some(last_four)) => Cow::Owned(format!("{bank} ****{last_four}")),
            (Kind::Adjustment, ..) => Cow::Borrowed("Octoco"),
            _ => Cow::Borrowed("Revio"),
        }
    }

    /// The list's own object with the same beside it.
    pub(super) fn into_json(self, scope: Scope) -> serde_json::Result<Vec<u8>> {
        let more = More {
            fee: self.booked.fee,
            counterpart: self.counterpart(),
            booked_at: self.booked.booked_at,
            booking_date: self.booked.booking_date,
        };
        match scope {
            Scope::Own(_) => serde_json::to_vec(&Line { row: TransactionView::from(self.row), more }),
            Scope::All => {
                let more = StaffMore { more, provider_fee: self.booked.provider_fee, customer: self.booked.customer };
                serde_json::to_vec(&Line { row: StaffTransactionView::from(self.row), more })
            }
        }
    }
}

#[derive(Serialize)]
struct Line<R, M> {
    #[serde(flatten)]
    row: R,
    #[serde(flatten)]
    more: M,
}

/// The names are those of the columns.
#[derive(Serialize)]
struct More {
    fee: Option<i64>,
    counterpart: Cow<'static, str>,
    booked_at: Option<DateTime>,
    booking_date: Option<NaiveDate>,
}

#[derive(Serialize)]
struct StaffMore {
    #[serde(flatten)]
    more: More,
    provider_fee: Option<i64>,
    /// For whoever may see customers.
    customer: Option<String>,
}
