//! What may leave a wallet besides what is in it: a daily allowance, and whether anything may leave at all. Decided by
//! TigerBeetle in the same write that reserves the money, so that two withdrawals at once cannot both pass.
//!
//! Each wallet has a *gate*: an account that holds no money, on a ledger number of its own (base + 1), filled once with more
//! than anybody can use. A withdrawal is a chain, all or nothing:
//!
//! ```text
//! GateUse        gate ──amount──> source    pending, times out after the allowance's time: what was used comes back by itself
//! GateFloor      gate ──fill - allowance──> source    pending: only there if no more than the allowance is in use
//! GateFloorVoid  takes GateFloor back
//! Main           wallet ──amount──> provider_balance   pending: the reservation
//! ```
//!
//! The allowance is in no account but in each request: when it changes, nothing has to be moved. Freezing shuts the gate (a
//! pending closing transfer, docs/reference/transfer.md "closing_debit"); deposits do not pass it. A withdrawal that fails
//! gives back what it used.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tigerbeetle_unofficial as tb;
use tigerbeetle_unofficial::transfer::Flags;
use uuid::Uuid;

use crate::amount::{Amount, Currency};
use crate::chart::{Account, AccountCode, TransferCode};
use crate::client::{Ledger, resolution_of};
use crate::codes::{self, Call};
use crate::error::LedgerError::{self, AlreadyResolved, Contradiction, Refused};
use crate::error::Refusal;
use crate::id::{Leg, TransferId};
use crate::transfer::{Recorded, RecordedKind, Transfer};

/// How much may leave a wallet within a time that rolls on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// `None`: as much as the wallet holds. What is used is counted all the same.
    pub amount: Option<Amount>,
    pub secs: u32,
}

/// The gates that this process has seen filled: a gate is never emptied or taken away.
#[derive(Default)]
pub(crate) struct Gates(Mutex<HashSet<u128>>);

/// At 32 bytes each. When there are more, all are forgotten, and asked for once more.
const GATES_MAX: usize = 100_000;

impl Gates {
    fn knows(&self, gate: &Account) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&gate.id.raw())
    }

    fn learn(&self, gate: &Account) {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= GATES_MAX {
            gates.clear();
        }
        gates.insert(gate.id.raw());
    }
}

impl Ledger {
    /// [`Ledger::reserve`] through the wallet's gate: refused too when it is shut ([`Refusal::Frozen`]) or when more than the
    /// allowance would be in use ([`Refusal::LimitExceeded`]). The debit account must be a wallet.
    pub async fn reserve_within(&self, t: Transfer, allowance: Allowance) -> Result<(), LedgerError> {
        let user = t.debit.id.user_of().expect("only a customer's wallet has a gate");
        let gate = self.filled_gate(user, t.debit.currency).await?;
        let row = t.id.row();
        let mut chain = vec![self.gate_event(gate, TransferId::of(row, Leg::GateUse), t.amount, Flags::PENDING)];
        chain[0] = chain[0].with_timeout(allowance.secs);
        if let Some(amount) = allowance.amount {
            let floor =
                fill(gate.currency).checked_sub(amount).map_err(|_| Contradiction("allowance_of_another_currency"))?;
            let id = TransferId::of(row, Leg::GateFloor);
            chain.push(self.gate_event(gate, id, floor, Flags::PENDING));
            chain.push(resolution_of(id, Leg::GateFloorVoid, Flags::VOID_PENDING_TRANSFER));
        }
        let gates = chain.len();
        for event in &mut chain {
            event.set_flags(event.flags() | Flags::LINKED);
        }
        chain.push(self.event(&t, Flags::PENDING));
        let failed = self.create_transfers(chain).await?;
        let Some((index, code)) = failed.iter().enumerate().find(|(_, code)| !codes::is_sibling(**code)) else {
            return if failed.is_empty() { Ok(()) } else { Err(Contradiction("linked_event_failed")) };
        };
        match (index, codes::transfer_outcome(*code, Call::Reserve)) {
            // A repeat: TigerBeetle says `exists` of the first that is there, whatever of the rest is.
            (_, Ok(())) => self.is_reserved(&t).await,
            (0, Err(Refused(Refusal::AccountClosed | Refusal::SpentId))) => Err(Refused(Refusal::Frozen)),
            (index, Err(Refused(Refusal::InsufficientFunds | Refusal::SpentId))) if index < gates => {
                Err(Refused(Refusal::LimitExceeded))
            }
            (_, Err(error)) => Err(error),
        }
    }

    async fn is_reserved(&self, t: &Transfer) -> Result<(), LedgerError> {
        let recorded = self.lookup(&[t.id]).await?;
        let same = recorded.first().is_some_and(|r| Recorded { kind: RecordedKind::Posted, ..*r }.is(t));
        if same { Ok(()) } else { Err(Contradiction("linked_chain_recorded_in_part")) }
    }

    /// [`Ledger::void`], and what the withdrawal used of its allowance comes back. A repeat finishes what is left.
    pub async fn void_within(&self, row: Uuid) -> Result<(), LedgerError> {
        let voided = self.void(row).await;
        if !matches!(voided, Ok(()) | Err(AlreadyResolved(crate::Resolution::Voided))) {
            return voided;
        }
        let used = TransferId::of(row, Leg::GateUse);
        // One that was reserved without a gate, before there were any, used nothing.
        if !self.gate_was_used(used).await? {
            return voided;
        }
        match self.create_one(resolution_of(used, Leg::GateReturn, Flags::VOID_PENDING_TRANSFER), Call::Other).await {
            // Its time is over: it came back by itself.
            Ok(()) | Err(AlreadyResolved(_)) => voided,
            Err(error) => Err(error),
        }
    }

    /// Shuts the gate: no withdrawal passes from now on. `row` is the freeze's own, and what [`Ledger::open_again`] undoes.
    pub async fn shut_gate(&self, row: Uuid, user: Uuid, currency: Currency) -> Result<(), LedgerError> {
        let gate = self.filled_gate(user, currency).await?;
        self.close_account(row, gate, self.system(AccountCode::GateSource, currency)).await
    }

    /// Closes the wallet: nothing is credited or debited from now on. Undone by [`Ledger::open_again`].
    pub async fn close_wallet(&self, row: Uuid, user: Uuid, currency: Currency) -> Result<(), LedgerError> {
        let (wallet, other) = (Account::wallet(user, currency), self.provider_balance(currency));
        self.open(&[wallet, other]).await?;
        self.close_account(row, wallet, other).await
    }

    /// Undoes [`Ledger::shut_gate`] or [`Ledger::close_wallet`] of the same row. Only after one of them was answered Ok.
    pub async fn open_again(&self, row: Uuid) -> Result<(), LedgerError> {
        match self.void(row).await {
            Err(AlreadyResolved(crate::Resolution::Voided)) => Ok(()),
            other => other,
        }
    }

    async fn close_account(&self, row: Uuid, debit: Account, credit: Account) -> Result<(), LedgerError> {
        let closing = Transfer {
            id: TransferId::of(row, Leg::Main),
            debit,
            credit,
            amount: Amount::zero(debit.currency),
            code: TransferCode::Closing,
            reference: row,
        };
        self.create_one(self.event(&closing, Flags::PENDING | Flags::CLOSING_DEBIT), Call::Other).await
    }

    /// The gate of a wallet, open and filled.
    async fn filled_gate(&self, user: Uuid, currency: Currency) -> Result<Account, LedgerError> {
        let gate = Account::gate(user, currency);
        if self.gates.knows(&gate) {
            return Ok(gate);
        }
        let source = self.system(AccountCode::GateSource, currency);
        self.open(&[gate, source]).await?;
        let filling = Transfer {
            id: TransferId::filling(gate.id),
            debit: source,
            credit: gate,
            amount: fill(currency),
            code: TransferCode::GateUse,
            reference: user,
        };
        match self.create_one(self.event(&filling, Flags::empty()), Call::Other).await {
            Ok(()) => {
                self.gates.learn(&gate);
                Ok(gate)
            }
            Err(error) => Err(error),
        }
    }

    fn gate_event(&self, gate: Account, id: TransferId, amount: Amount, flags: Flags) -> tb::Transfer {
        let credit = self.system(AccountCode::GateSource, gate.currency);
        let code = TransferCode::GateUse;
        self.event(&Transfer { id, debit: gate, credit, amount, code, reference: id.row() }, flags)
    }

    async fn gate_was_used(&self, used: TransferId) -> Result<bool, LedgerError> {
        Ok(!self.lookup_raw(&[used]).await?.is_empty())
    }
}

/// More than anybody can use of an allowance.
fn fill(currency: Currency) -> Amount {
    Amount::new(Amount::MINOR_MAX, currency).expect("the largest amount there is")
}
