//! What the ledger should do, in memory and in the words of its documentation: `books` compares the two.

use std::collections::{HashMap, HashSet};

use ledger::LedgerError::{self, AlreadyResolved, Contradiction, Refused};
use ledger::Refusal::{InsufficientFunds, NoSuchAccount, SpentId};
use ledger::{Account, AccountCode, AccountId, Ledger, Leg, Resolution, Transfer, TransferId};
use uuid::Uuid;

/// A call with everything it says, so that it can be made again.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Open(Account),
    Transfer(Transfer),
    UpTo(Transfer),
    Linked(Vec<Transfer>),
    /// The last moves what it can.
    LinkedUpTo(Vec<Transfer>, Transfer),
    Reserve(Transfer),
    Post(Uuid),
    Void(Uuid),
}

/// What was moved by an `UpTo`; zero for all others.
pub(crate) type Answer = Result<i64, LedgerError>;

impl Call {
    pub(crate) async fn make(&self, ledger: &Ledger) -> Answer {
        let answer = match self {
            Self::Open(account) => ledger.open(&[*account]).await,
            Self::Transfer(t) => ledger.transfer(*t).await,
            Self::UpTo(t) => return ledger.transfer_linked_up_to(&[], *t).await.map(|amount| amount.minor()),
            Self::LinkedUpTo(ts, last) => {
                return ledger.transfer_linked_up_to(ts, *last).await.map(|amount| amount.minor());
            }
            Self::Linked(ts) => ledger.transfer_linked(ts).await,
            Self::Reserve(t) => ledger.reserve(*t).await,
            Self::Post(row) => ledger.post(*row).await,
            Self::Void(row) => ledger.void(*row).await,
        };
        answer.map(|()| 0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AtOnce,
    UpTo,
    /// Last in its chain, or not.
    Linked,
    Reserved,
}

/// debits posted, debits pending, credits posted, credits pending
pub(crate) type Sides = [i64; 4];

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    accounts: HashMap<AccountId, Sides>,
    /// With the amount that moved.
    recorded: HashMap<TransferId, (Transfer, Kind, i64)>,
    /// Posts and voids that happened.
    resolved: HashMap<Uuid, Resolution>,
    spent: HashSet<TransferId>,
}

enum Created {
    Now(i64),
    Before(i64),
}

impl Model {
    pub(crate) fn sides(&self, account: Account) -> Sides {
        self.accounts.get(&account.id).copied().unwrap_or_default()
    }

    pub(crate) fn apply(&mut self, call: &Call) -> Answer {
        match call {
            Call::Open(account) => {
                self.accounts.entry(account.id).or_default();
                Ok(0)
            }
            Call::Transfer(t) => self.create(t, Kind::AtOnce).map(|_| 0),
            Call::UpTo(t) => match self.create(t, up_to(t))? {
                Created::Now(moved) | Created::Before(moved) => Ok(moved),
            },
            Call::Linked(ts) => self.create_all(ts, None).map(|()| 0),
            Call::LinkedUpTo(ts, last) => {
                self.create_all(ts, Some(last))?;
                let same = |known: &Transfer, moved| {
                    *known == Transfer { amount: known.amount, ..*last } && moved <= last.amount.minor()
                };
                let recorded = self.recorded.get(&last.id).filter(|(known, _, moved)| same(known, *moved));
                recorded.map(|(_, _, moved)| *moved).ok_or(IN_PART)
            }
            Call::Reserve(t) => self.create(t, Kind::Reserved).map(|_| 0),
            Call::Post(row) => self.resolve(*row, Resolution::Posted).map(|()| 0),
            Call::Void(row) => self.resolve(*row, Resolution::Voided).map(|()| 0),
        }
    }

    fn create_all(&mut self, ts: &[Transfer], last: Option<&Transfer>) -> Result<(), LedgerError> {
        let before = self.clone();
        let count = ts.len() + last.iter().count();
        for (index, t) in ts.iter().chain(last).enumerate() {
            let is_last = index + 1 == count;
            let kind = if !is_last { Kind::Linked } else { last.map_or(Kind::AtOnce, up_to) };
            let error = match self.create(t, kind) {
                Ok(Created::Now(_)) => continue,
                Ok(Created::Before(_)) => None,
                Err(error) => Some(error),
            };
            let spent = self.spent.contains(&t.id);
            *self = before;
            if spent {
                self.spent.insert(t.id);
            }
            let same = |t: &Transfer| self.recorded.get(&t.id).is_some_and(|(known, _, _)| known == t);
            return match error {
                Some(error) => Err(error),
                None if ts.iter().all(same) => Ok(()),
                None => Err(IN_PART),
            };
        }
        Ok(())
    }

    fn create(&mut self, t: &Transfer, kind: Kind) -> Result<Created, LedgerError> {
        if let Some((known, known_kind, moved)) = self.recorded.get(&t.id) {
            if *known_kind != kind {
                return Err(Contradiction("exists_with_different_flags"));
            }
            let amount_is_other = if kind == Kind::UpTo { t.amount.minor() < *moved } else { t.amount != known.amount };
            return if amount_is_other {
                Err(Contradiction("exists_with_different_amount"))
            } else {
                Ok(Created::Before(*moved))
            };
        }
        if self.spent.contains(&t.id) {
            return Err(Refused(SpentId));
        }
        let moved = self.may_move(t, kind).inspect_err(|_| {
            self.spent.insert(t.id);
        })?;
        let pending = usize::from(kind == Kind::Reserved);
        self.accounts.get_mut(&t.debit.id).expect("checked")[pending] += moved;
        self.accounts.get_mut(&t.credit.id).expect("checked")[2 + pending] += moved;
        self.recorded.insert(t.id, (*t, kind, moved));
        Ok(Created::Now(moved))
    }

    fn may_move(&self, t: &Transfer, kind: Kind) -> Result<i64, LedgerError> {
        let no_debit =
            if kind == Kind::Reserved { Refused(NoSuchAccount) } else { Contradiction("debit_account_not_found") };
        let debit = self.accounts.get(&t.debit.id).ok_or(no_debit)?;
        let credit = self.accounts.get(&t.credit.id).ok_or(Contradiction("credit_account_not_found"))?;
        let mut room = i64::MAX;
        if bounds_debits(t) {
            room = room.min(debit[2] - debit[0] - debit[1]);
        }
        if t.credit.code == AccountCode::CustomerReceivable {
            room = room.min(credit[0] - credit[2] - credit[3]);
        }
        match t.amount.minor() {
            wanted if kind == Kind::UpTo => Ok(wanted.min(room)),
            wanted if wanted <= room => Ok(wanted),
            _ => Err(Refused(InsufficientFunds)),
        }
    }

    fn resolve(&mut self, row: Uuid, how: Resolution) -> Result<(), LedgerError> {
        let leg = TransferId::of(row, if how == Resolution::Posted { Leg::Post } else { Leg::Void });
        if self.spent.contains(&leg) {
            return Err(Refused(SpentId));
        }
        match self.resolved.get(&row) {
            Some(before) if *before == how => return Ok(()),
            Some(before) => return Err(AlreadyResolved(*before)),
            None => {}
        }
        let Some((t, kind, moved)) = self.recorded.get(&TransferId::of(row, Leg::Main)) else {
            self.spent.insert(leg);
            return Err(Contradiction("pending_transfer_not_found"));
        };
        if *kind != Kind::Reserved {
            return Err(Contradiction("pending_transfer_not_pending"));
        }
        for (id, side) in [(t.debit.id, 0), (t.credit.id, 2)] {
            let sides = self.accounts.get_mut(&id).expect("recorded, so open");
            sides[side + 1] -= moved;
            if how == Resolution::Posted {
                sides[side] += moved;
            }
        }
        self.resolved.insert(row, how);
        Ok(())
    }
}

fn bounds_debits(t: &Transfer) -> bool {
    matches!(t.debit.code, AccountCode::CustomerWallet | AccountCode::Suspense)
}

/// Where no account limits it, all of it moves.
fn up_to(t: &Transfer) -> Kind {
    let is_limited = bounds_debits(t) || t.credit.code == AccountCode::CustomerReceivable;
    if is_limited { Kind::UpTo } else { Kind::AtOnce }
}

const IN_PART: LedgerError = Contradiction("linked_chain_recorded_in_part");
