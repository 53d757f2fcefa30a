//! The part of the handle that moves money between Revio and the bank, changes what happened, and says what moved.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::Sim;
use crate::errors::SimError;
use crate::statements::{LineChange, StatementSettings};
use crate::strangers::{Change, Stranger};
use crate::transfers::{BankLine, BankQuery, NewTransfer};
use crate::world::{Caller, Totals};

impl Sim {
    /// What `GET /balance/` answers in test mode: added up from the objects, and not from the tally of [`Sim::totals`].
    pub fn balance(&self) -> Value {
        self.shared.read(|world| world.balance_view(true))
    }

    /// The running tally of each currency, test mode.
    pub fn all_totals(&self) -> BTreeMap<String, Totals> {
        self.shared.read(|world| world.all_totals(true))
    }

    /// From the balance to the bank. Its id.
    pub fn settle_to_bank(&self, new: &NewTransfer) -> Result<Uuid, SimError> {
        self.shared.change(|world| world.settle_to_bank(true, new))
    }

    /// From the bank to the balance. Its id.
    pub fn top_up(&self, new: &NewTransfer) -> Result<Uuid, SimError> {
        self.shared.change(|world| world.top_up(true, new))
    }

    /// Inside of Revio, to the balance that payouts draw on.
    pub fn move_to_payout_balance(&self, currency: &str, amount: i64) -> Result<Uuid, SimError> {
        self.shared.change(|world| world.move_inside(true, currency, amount))
    }

    /// A settlement or top-up reaches the other side.
    pub fn arrive(&self, transfer: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.arrive(transfer))
    }

    /// It goes back to where it came from.
    pub fn return_transfer(&self, transfer: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.return_transfer(transfer))
    }

    pub fn transfer(&self, id: Uuid) -> Option<Value> {
        self.shared.read(|world| world.transfer_view(id))
    }

    /// Settlements and top-ups, oldest first.
    pub fn transfers(&self) -> Vec<Value> {
        self.shared.read(|world| world.transfers.iter().map(|transfer| serde_json::json!(transfer)).collect())
    }

    /// So much is `reserved` and not available.
    pub fn set_reserve(&self, currency: &str, amount: i64) {
        self.shared.change(|world| world.set_reserve(true, currency, amount));
    }

    /// Anything else on the bank account; without a time it is now.
    pub fn add_bank_line(&self, line: BankLine) {
        self.shared.change(|world| {
            let at = if line.at == 0 { world.now } else { line.at };
            world.bank_lines.push(BankLine { at, ..line });
        });
    }

    /// The bank's file.
    pub fn bank_statement(&self, query: &BankQuery) -> String {
        self.shared.read(|world| world.bank_statement(query))
    }

    /// How statements are made from now on.
    pub fn set_statements(&self, settings: StatementSettings) {
        self.shared.change(|world| world.settings.statements = settings);
    }

    /// A paid purchase that nobody of ours made. Its id.
    pub fn stranger_purchase(&self, new: &Stranger) -> Result<Uuid, SimError> {
        let caller = Caller::of_control(&self.shared.origin);
        self.shared.change(|world| world.stranger_purchase(&caller, new))
    }

    /// A payout that nobody of ours made, executed. Its id.
    pub fn stranger_payout(&self, new: &Stranger) -> Result<Uuid, SimError> {
        let caller = Caller::of_control(&self.shared.origin);
        self.shared.change(|world| world.stranger_payout(&caller, new))
    }

    /// What a paid purchase or a payout that succeeded really is from now on: the difference moves now.
    pub fn change_object(&self, id: Uuid, change: &Change) -> Result<(), SimError> {
        self.shared.change(|world| world.change_object(id, change))
    }

    /// Nobody of the API knows it any more; its money stays where it is.
    pub fn forget_object(&self, id: Uuid) -> Result<(), SimError> {
        self.shared.change(|world| world.forget(id))
    }

    /// What statements say of an object in place of the truth.
    pub fn change_line(&self, id: Uuid, change: LineChange) {
        self.shared.change(|world| world.line_changes.insert(id, change));
    }

    pub fn clear_lines(&self) {
        self.shared.change(|world| world.line_changes.clear());
    }

    pub fn line_changes(&self) -> BTreeMap<Uuid, LineChange> {
        self.shared.read(|world| world.line_changes.clone().into_iter().collect())
    }
}
