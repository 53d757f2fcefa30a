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
//! The chain always has all four, with or without a limit: whichever of them is refused, its id is spent, and no later or
//! slower attempt of the same withdrawal can pass. The allowance is in no account but in each request: when it changes,
//! nothing has to be moved. Freezing shuts the gate (a pending closing transfer, docs/reference/transfer.md
//! "closing_debit"); deposits do not pass it. A withdrawal that fails gives back what it used.

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
use crate::error::{Refusal, Resolution};
use crate::id::{Leg, TransferId};
use crate::transfer::Transfer;

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
        let floor = match allowance.amount {
            Some(amount) => fill(gate.currency).checked_sub(amount),
            None => Ok(Amount::zero(gate.currency)),
        };
        let floor = floor.map_err(|_| Contradiction("allowance_cannot_be_used"))?;
        let of = |leg| TransferId::of(t.id.row(), leg);
        let (pending, linked) = (Flags::PENDING, Flags::LINKED);
        let chain = [
            (
                Leg::GateUse,
                self.gate_event(gate, of(Leg::GateUse), t.amount, linked | pending).with_timeout(allowance.secs),
            ),
            (Leg::GateFloor, self.gate_event(gate, of(Leg::GateFloor), floor, linked | pending)),
            (
                Leg::GateFloorVoid,
                resolution_of(of(Leg::GateFloor), Leg::GateFloorVoid, linked | Flags::VOID_PENDING_TRANSFER),
            ),
            (Leg::Main, self.event(&t, pending)),
        ];
        let failed = self.create_transfers(chain.iter().map(|(_, event)| *event).collect()).await?;
        if failed.is_empty() {
            return Ok(());
        }
        let cause = chain.iter().zip(&failed).find(|(_, code)| !codes::is_sibling(**code));
        let Some(((leg, _), code)) = cause else { return Err(Contradiction("linked_event_failed")) };
        match (leg, codes::transfer_outcome(*code, Call::Reserve)) {
            // A repeat: TigerBeetle says `exists` of the first that is there, whatever of the rest is.
            (_, Ok(())) => self.reserved_before(&t).await?.ok_or(Contradiction("linked_chain_recorded_in_part")),
            (Leg::Main, Err(error)) => Err(error),
            (Leg::GateUse, Err(Refused(_))) => self.refused_by_gate(&t, Refusal::Frozen).await,
            (_, Err(Refused(_))) => self.refused_by_gate(&t, Refusal::LimitExceeded).await,
            (_, Err(error)) => Err(error),
        }
    }

    /// A gate's no, unless the reservation stands since before there were gates: those did not pass one.
    async fn refused_by_gate(&self, t: &Transfer, refusal: Refusal) -> Result<(), LedgerError> {
        self.reserved_before(t).await?.ok_or(Refused(refusal))
    }

    async fn reserved_before(&self, t: &Transfer) -> Result<Option<()>, LedgerError> {
        let recorded = self.lookup(&[t.id]).await?;
        Ok(recorded.first().filter(|recorded| recorded.is_reservation_of(t)).map(|_| ()))
    }

    /// [`Ledger::void`], and what the withdrawal used of its allowance comes back. A repeat finishes what is left.
    pub async fn void_within(&self, row: Uuid) -> Result<(), LedgerError> {
        let voided = self.void(row).await;
        if !matches!(voided, Ok(()) | Err(AlreadyResolved(Resolution::Voided))) {
            return voided;
        }
        let used = TransferId::of(row, Leg::GateUse);
        // One that was reserved without a gate, before there were any, used nothing.
        if self.lookup_raw(&[used]).await?.is_empty() {
            return voided;
        }
        match self.create_one(resolution_of(used, Leg::GateReturn, Flags::VOID_PENDING_TRANSFER), Call::Other).await {
            // Its time is over: it came back by itself.
            Ok(()) | Err(AlreadyResolved(_)) => voided,
            Err(error) => Err(error),
        }
    }

    /// Shuts the gate: no withdrawal passes from now on. `row` is the restriction's own, and what [`Ledger::open_again`] undoes.
    pub async fn shut_gate(&self, row: Uuid, user: Uuid, currency: Currency) -> Result<(), LedgerError> {
        let gate = self.filled_gate(user, currency).await?;
        let source = self.system(AccountCode::GateSource, currency);
        let closing = closing(TransferId::of(row, Leg::Main), gate, source);
        self.create_one(self.event(&closing, Flags::PENDING | Flags::CLOSING_DEBIT), Call::Other).await
    }

    /// Closes an empty wallet, or is refused: nothing is credited or debited from now on. Undone by [`Ledger::open_again`].
    ///
    /// The gate must be shut and nothing reserved: what is reserved in a closed wallet can never be posted. That it is empty
    /// TigerBeetle decides: the closing transfer takes all that the wallet has (`balancing_debit`) to the receivable, and counts
    /// only if that was nothing. After a refusal it may stand all the same, until [`Ledger::open_again`]; after that it is
    /// refused for good.
    pub async fn close_wallet(&self, row: Uuid, user: Uuid, currency: Currency) -> Result<(), LedgerError> {
        let (wallet, receivable) = (Account::wallet(user, currency), Account::receivable(user, currency));
        self.open(&[wallet, receivable]).await?;
        let closing = closing(TransferId::of(row, Leg::Close), wallet, receivable);
        let flags = Flags::PENDING | Flags::CLOSING_DEBIT | Flags::BALANCING_DEBIT;
        self.create_one(self.event(&closing, flags).with_amount(u128::MAX), Call::Other).await?;
        // Where something is owed, the receivable takes as much: that is no empty wallet either.
        let recorded = self.lookup_raw(&[closing.id]).await?;
        let is_empty = recorded.first().is_some_and(|recorded| recorded.amount() == 0);
        if is_empty { Ok(()) } else { Err(Refused(Refusal::InsufficientFunds)) }
    }

    /// Undoes what [`Ledger::shut_gate`] and [`Ledger::close_wallet`] did for this row. A closing that is still on its way, of a
    /// slower step of the same row, has no effect any more: it is refused as spent.
    pub async fn open_again(&self, row: Uuid, user: Uuid, currency: Currency) -> Result<(), LedgerError> {
        self.open_wallet(row, user, currency).await?;
        let shut = TransferId::of(row, Leg::Main);
        if self.lookup_raw(&[shut]).await?.is_empty() {
            return Ok(());
        }
        self.undo(shut, Leg::Void).await
    }

    async fn open_wallet(&self, row: Uuid, user: Uuid, currency: Currency) -> Result<(), LedgerError> {
        let closing_id = TransferId::of(row, Leg::Close);
        let (gate, source) = (Account::gate(user, currency), self.system(AccountCode::GateSource, currency));
        // Nothing of amount zero through the gate. It is shut, so that this is refused, and the id is spent.
        let spend = self.event(&closing(closing_id, gate, source), Flags::empty());
        match self.create_one(spend, Call::Other).await {
            Ok(()) | Err(Refused(_)) => Ok(()),
            // The id is that of a closing which stands.
            Err(Contradiction("exists_with_different_flags")) => self.undo(closing_id, Leg::CloseVoid).await,
            Err(error) => Err(error),
        }
    }

    async fn undo(&self, pending: TransferId, leg: Leg) -> Result<(), LedgerError> {
        match self.create_one(resolution_of(pending, leg, Flags::VOID_PENDING_TRANSFER), Call::Other).await {
            Ok(()) | Err(AlreadyResolved(Resolution::Voided)) => Ok(()),
            Err(error) => Err(error),
        }
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
        self.create_one(self.event(&filling, Flags::empty()), Call::Other).await?;
        self.gates.learn(&gate);
        Ok(gate)
    }

    fn gate_event(&self, gate: Account, id: TransferId, amount: Amount, flags: Flags) -> tb::Transfer {
        let credit = self.system(AccountCode::GateSource, gate.currency);
        let code = TransferCode::GateUse;
        self.event(&Transfer { id, debit: gate, credit, amount, code, reference: id.row() }, flags)
    }
}

/// Of amount zero: it moves nothing but the account's flag.
fn closing(id: TransferId, debit: Account, credit: Account) -> Transfer {
    let amount = Amount::zero(debit.currency);
    Transfer { id, debit, credit, amount, code: TransferCode::Closing, reference: id.row() }
}

/// More than anybody can use of an allowance. Every gate there is was filled with it: it never changes.
const FILL_MINOR: i64 = 9_007_199_254_740_991;

fn fill(currency: Currency) -> Amount {
    Amount::new(FILL_MINOR, currency).expect("within the largest amount there is")
}
