//! Money between the company's bank account and Revio, and what the bank's file says of it. Nothing of it is in Revio's API but the
//! balance and the statements: all of it is guessed (?). Driven by the control API.
//!
//! ```text
//! settlement   leaves Revio at once, reaches the bank by `arrive`; `return_transfer`: it is back at Revio
//! top-up       leaves the bank at once, reaches Revio by `arrive`; `return_transfer`: it is back at the bank
//! inside       from the collected money to the payout balance: Revio holds as much as before
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::csv::{Headings, Table, Unit, day};
use crate::errors::SimError;
use crate::movements::{Movement, MovementKind};
use crate::world::{Effect, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TransferKind {
    Settlement,
    TopUp,
    Inside,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) id: Uuid,
    pub(crate) is_test: bool,
    pub(crate) kind: TransferKind,
    pub(crate) currency: String,
    pub(crate) amount: i64,
    pub(crate) reference: String,
    pub(crate) created_on: i64,
    pub(crate) arrived_on: Option<i64>,
    pub(crate) returned_on: Option<i64>,
}

/// What is asked for of a settlement or a top-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewTransfer {
    pub currency: String,
    /// A settlement without it takes all that is available.
    pub amount: Option<i64>,
    /// Default: one of Revio's making. The bank's line has it, too.
    pub reference: Option<String>,
    /// It arrives by itself so many seconds later; without it by hand.
    pub arrives_in: Option<i64>,
}

/// A line of the bank account: positive is money that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankLine {
    #[serde(default)]
    pub at: i64,
    pub currency: String,
    pub amount: i64,
    #[serde(default)]
    pub reference: String,
    #[serde(default)]
    pub description: String,
}

/// Which part of the bank account, and how the file is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankQuery {
    pub currency: String,
    /// Both inclusive, Unix seconds; default: all.
    #[serde(default)]
    pub from: Option<i64>,
    #[serde(default)]
    pub to: Option<i64>,
    /// Banks write rands.
    #[serde(default = "rands")]
    pub unit: Unit,
    #[serde(default)]
    pub headings: Headings,
}

fn rands() -> Unit {
    Unit::Rands
}

impl BankQuery {
    pub fn of(currency: &str) -> BankQuery {
        BankQuery { currency: currency.to_owned(), from: None, to: None, unit: Unit::Rands, headings: Headings::Plain }
    }
}

const BANK_ZONE_SECS: i64 = 2 * 3600;

impl World {
    pub(crate) fn settle_to_bank(&mut self, is_test: bool, new: &NewTransfer) -> Result<Uuid, SimError> {
        let available = self.available(is_test, &new.currency);
        let amount = new.amount.unwrap_or(available);
        if amount <= 0 || amount > available {
            return Err(SimError::Refused(format!("of {} there is {available} to settle", new.currency)));
        }
        let id = self.insert_transfer(is_test, TransferKind::Settlement, new, amount);
        self.move_at_revio(id, MovementKind::Settlement, -1);
        self.arrange_arrival(id, new.arrives_in);
        Ok(id)
    }

    pub(crate) fn top_up(&mut self, is_test: bool, new: &NewTransfer) -> Result<Uuid, SimError> {
        let amount = new.amount.filter(|amount| *amount > 0);
        let amount = amount.ok_or_else(|| SimError::Refused("a top-up has an amount".to_owned()))?;
        let id = self.insert_transfer(is_test, TransferKind::TopUp, new, amount);
        self.move_at_bank(id, -1, "PAYMENT TO REVIO");
        self.arrange_arrival(id, new.arrives_in);
        Ok(id)
    }

    /// Revio calls it `payout_balance_transfer` (DOC-S). Here a payout draws on both, so what is held does not change.
    pub(crate) fn move_inside(&mut self, is_test: bool, currency: &str, amount: i64) -> Result<Uuid, SimError> {
        if amount <= 0 {
            return Err(SimError::Refused("a transfer has an amount".to_owned()));
        }
        let new = NewTransfer { currency: currency.to_owned(), ..NewTransfer::default() };
        let id = self.insert_transfer(is_test, TransferKind::Inside, &new, amount);
        let before = self.payout_balance_mut(is_test, currency).copied().unwrap_or(0);
        self.set_payout_balance(is_test, currency, Some(before + amount));
        self.arrive(id)?;
        Ok(id)
    }

    fn insert_transfer(&mut self, is_test: bool, kind: TransferKind, new: &NewTransfer, amount: i64) -> Uuid {
        let (id, serial) = (Uuid::new_v4(), self.next_serial());
        let reference = new.reference.clone().unwrap_or_else(|| format!("REVIO{serial:08}"));
        let (currency, created_on) = (new.currency.clone(), self.now);
        let (arrived_on, returned_on) = (None, None);
        self.transfers.push(Transfer {
            id,
            is_test,
            kind,
            currency,
            amount,
            reference,
            created_on,
            arrived_on,
            returned_on,
        });
        id
    }

    fn arrange_arrival(&mut self, id: Uuid, arrives_in: Option<i64>) {
        match arrives_in {
            Some(0) => drop(self.arrive(id)),
            Some(secs) => self.later(secs, Effect::Arrive(id)),
            None => {}
        }
    }

    /// It reaches the other side.
    pub(crate) fn arrive(&mut self, id: Uuid) -> Result<(), SimError> {
        let now = self.now;
        let transfer = self.transfer_mut(id)?;
        if transfer.arrived_on.is_some() || transfer.returned_on.is_some() {
            return Err(SimError::Refused("it has arrived or was returned already".to_owned()));
        }
        transfer.arrived_on = Some(now);
        match transfer.kind {
            TransferKind::Settlement => self.move_at_bank(id, 1, "REVIO SETTLEMENT"),
            TransferKind::TopUp => self.move_at_revio(id, MovementKind::TopUp, 1),
            TransferKind::Inside => {}
        }
        Ok(())
    }

    /// It goes back to where it came from, arrived or not.
    pub(crate) fn return_transfer(&mut self, id: Uuid) -> Result<(), SimError> {
        let now = self.now;
        let transfer = self.transfer_mut(id)?;
        if transfer.returned_on.is_some() || transfer.kind == TransferKind::Inside {
            return Err(SimError::Refused("it cannot be returned".to_owned()));
        }
        transfer.returned_on = Some(now);
        let (kind, arrived) = (transfer.kind, transfer.arrived_on.is_some());
        match kind {
            TransferKind::Settlement => {
                self.move_at_revio(id, MovementKind::Settlement, 1);
                if arrived {
                    self.move_at_bank(id, -1, "REVIO SETTLEMENT RETURNED");
                }
            }
            TransferKind::TopUp | TransferKind::Inside => {
                self.move_at_bank(id, 1, "PAYMENT TO REVIO RETURNED");
                if arrived {
                    self.move_at_revio(id, MovementKind::TopUp, -1);
                }
            }
        }
        Ok(())
    }

    fn transfer_mut(&mut self, id: Uuid) -> Result<&mut Transfer, SimError> {
        self.transfers.iter_mut().find(|transfer| transfer.id == id).ok_or(SimError::NotFound)
    }

    fn move_at_revio(&mut self, id: Uuid, kind: MovementKind, sign: i64) {
        let at = self.now;
        let Ok(transfer) = self.transfer_mut(id) else { return };
        let (is_test, amount, currency) = (transfer.is_test, transfer.amount, transfer.currency.clone());
        if let Some(balance) = self.payout_balance_mut(is_test, &currency)
            && kind == MovementKind::TopUp
        {
            *balance += sign * amount;
        }
        self.record(Movement { at, id, related_to: id, kind, amount, sign, currency, is_test });
    }

    fn move_at_bank(&mut self, id: Uuid, sign: i64, description: &str) {
        let at = self.now;
        let Ok(transfer) = self.transfer_mut(id) else { return };
        let (currency, reference) = (transfer.currency.clone(), transfer.reference.clone());
        let line =
            BankLine { at, amount: sign * transfer.amount, currency, reference, description: description.to_owned() };
        self.bank_lines.push(line);
    }

    pub(crate) fn transfer_view(&self, id: Uuid) -> Option<Value> {
        self.transfers.iter().find(|transfer| transfer.id == id).map(|transfer| json!(transfer))
    }

    /// As a bank would write it, with its opening and closing balance.
    pub(crate) fn bank_statement(&self, query: &BankQuery) -> String {
        let of_currency = || self.bank_lines.iter().filter(|line| line.currency == query.currency);
        let (from, to) = (query.from.unwrap_or(i64::MIN), query.to.unwrap_or(i64::MAX));
        let opening: i64 = of_currency().filter(|line| line.at < from).map(|line| line.amount).sum();
        let within: Vec<&BankLine> = of_currency().filter(|line| (from..=to).contains(&line.at)).collect();
        let mut file =
            BankFile { table: Table::new(query.headings, query.unit), is_odd: query.headings == Headings::Odd };
        let last = query.to.unwrap_or(self.now);
        file.begin(&query.currency);
        file.balance(query.from.or(within.first().map(|line| line.at)).unwrap_or(last), "Opening balance", opening);
        let mut balance = opening;
        for line in &within {
            balance += line.amount;
            file.line(line, balance);
        }
        file.balance(last, "Closing balance", balance);
        file.table.finish()
    }
}

struct BankFile {
    table: Table,
    is_odd: bool,
}

impl BankFile {
    fn begin(&mut self, currency: &str) {
        if self.is_odd {
            self.table.row(&["Account".to_owned(), "Octoco customers' money".to_owned()]);
            self.table.row(&["Currency".to_owned(), currency.to_owned()]);
            let headings =
                ["Running Balance", "Credit", "Debit", "Details", "Branch", "Your Reference", "Posting Date"];
            self.table.row(&headings.map(str::to_owned));
        } else {
            let headings = ["Date", "Description", "Reference", "Amount", "Currency", "Balance"];
            self.table.row(&headings.map(str::to_owned));
        }
    }

    fn balance(&mut self, at: i64, words: &str, balance: i64) {
        self.row(at, ("", words), None, ("", balance));
    }

    fn line(&mut self, line: &BankLine, balance: i64) {
        self.row(line.at, (&line.reference, &line.description), Some(line.amount), (&line.currency, balance));
    }

    fn row(
        &mut self,
        at: i64,
        (reference, words): (&str, &str),
        amount: Option<i64>,
        (currency, balance): (&str, i64),
    ) {
        let day = day(at, BANK_ZONE_SECS);
        let money = |minor: Option<i64>| minor.map_or_else(String::new, |minor| self.table.money(minor));
        let (words, reference, balance) = (words.to_owned(), reference.to_owned(), money(Some(balance)));
        if self.is_odd {
            let credit = money(amount.filter(|amount| *amount > 0));
            let debit = money(amount.filter(|amount| *amount < 0).map(i64::abs));
            self.table.row(&[balance, credit, debit, words, "Sandton".to_owned(), reference, day]);
        } else {
            self.table.row(&[day, words, reference, money(amount), currency.to_owned(), balance]);
        }
    }
}
