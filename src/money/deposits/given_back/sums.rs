//! What the Payments of a purchase add up to, and what of it does not agree with what Revio says besides: nothing is asked and nothing written.
//! `given_back` makes rows of it.

use ledger::Amount;
use uuid::Uuid;

use crate::money::provider_objects::{self, Known, ObjectKind};
use crate::money::transactions::{Child, FailureReason, Hold, Kind, Reversed, State, Transaction};
use crate::platform::error::{Error, Result};
use crate::provider::revio::{Purchase, PurchaseStatus};

/// A Payment that counts, and the row that it has or gets.
struct Counted {
    payment: Uuid,
    row_id: Uuid,
    kind: Kind,
    minor: i64,
}

/// What the objects of a purchase add up to.
#[derive(Default)]
pub(super) struct Sums<'a> {
    /// A row for each that has none yet.
    pub(super) new: Vec<Child<'a>>,
    pub(super) undone: Vec<Transaction>,
    /// The rows of those that are booked: Revio may name later what it took for one.
    pub(super) booked: Vec<Transaction>,
    /// By Revio's word.
    reversed: Reversed,
    /// What of it has a row that stands, or that people have closed, or gets one.
    standing: Reversed,
    paid: i64,
    /// The first that cannot be booked, and why.
    odd: Option<String>,
    /// Named by the purchase, and nobody says how much.
    unsaid: Option<Uuid>,
    /// By the purchase's word it failed, and not by its own.
    undone_by_word: Option<Uuid>,
    /// How many entries of the purchase's history the refunds that we know explain.
    refund_entries: usize,
    /// One is in another currency than the deposit: nothing that Revio says later mends that.
    pub(super) in_other_currency: Option<String>,
}

impl<'a> Sums<'a> {
    pub(super) fn of(
        deposit: &'a Transaction,
        purchase: &Purchase,
        payments: &[Known],
        rows: &[Transaction],
    ) -> Result<Self> {
        let paid =
            purchase.payment.as_ref().and_then(|payment| payment.amount.whole()).unwrap_or(deposit.amount.minor());
        let is_said = |id: &Uuid| payments.iter().any(|payment| payment.id == *id && payment.amount_minor.is_some());
        let unsaid = purchase.payments().find(|id| !is_said(id));
        let refund_entries = provider_objects::refund_entries(payments);
        let mut sums = Self { paid, unsaid, refund_entries, ..Self::default() };
        let counted = sums.add_payments((deposit, purchase), payments, rows);
        sums.plan_rows(deposit, counted, rows)?;
        sums.add_standing(rows);
        Ok(sums)
    }

    /// What counts: reversals last, so that what they reverse is there.
    fn add_payments(
        &mut self,
        (deposit, purchase): (&Transaction, &Purchase),
        payments: &[Known],
        rows: &[Transaction],
    ) -> Vec<Counted> {
        let currency = deposit.amount.currency().code();
        let mut counted = Vec::new();
        for payment in payments {
            match effect_of(payment, currency) {
                Ok(Some((kind, minor))) => {
                    add(&mut self.reversed, kind, minor);
                    self.undone_by_word =
                        self.undone_by_word.or_else(|| is_undone_by_word(purchase, payment).then_some(payment.id));
                    let row_id = provider_objects::row_id(payment.id, payment.created_on, millis_unsaid(deposit, kind));
                    counted.push(Counted { payment: payment.id, row_id, kind, minor });
                }
                Ok(None) => {
                    let row = rows.iter().find(|row| row.provider.id == Some(payment.id) && can_be_undone(row));
                    self.undone.extend(row.cloned());
                }
                Err(odd) => {
                    if payment.currency.is_some() && !is_in(payment, currency) {
                        self.in_other_currency.get_or_insert_with(|| odd.clone());
                    }
                    self.odd.get_or_insert(odd);
                }
            }
        }
        counted.sort_by_key(|one| one.kind == Kind::ChargebackReversal);
        counted
    }

    /// A row for each that has none and may be booked.
    fn plan_rows(&mut self, deposit: &'a Transaction, counted: Vec<Counted>, rows: &[Transaction]) -> Result<()> {
        for Counted { payment, row_id, kind, minor } in counted {
            if let Some(row) = rows.iter().find(|row| row.provider.id == Some(payment)) {
                self.odd = self.odd.take().or_else(|| differs(row, minor));
                self.booked.extend((row.state == State::Completed).then(|| row.clone()));
            } else if self.fits(kind) {
                let amount = Amount::new(minor, deposit.amount.currency()).map_err(Error::internal)?;
                let (state, provider_id) = (State::Initiated, Some(payment));
                self.new.push(Child { id: row_id, parent: deposit, kind, state, amount, provider_id });
            }
        }
        Ok(())
    }

    fn add_standing(&mut self, rows: &[Transaction]) {
        let is_closed = |row: &Transaction| row.failure_reason == Some(FailureReason::ClosedByReview);
        let is_undone = |row: &Transaction| self.undone.iter().any(|undone| undone.id == row.id);
        let stands = |row: &&Transaction| is_closed(row) || can_be_undone(row) && !is_undone(row);
        let standing = rows.iter().filter(stands).map(|row| (row.kind, row.amount.minor()));
        for (kind, minor) in standing.chain(self.new.iter().map(|child| (child.kind, child.amount.minor()))) {
            add(&mut self.standing, kind, minor);
        }
    }

    /// Whether those of a kind may be booked: never more is taken than was paid, and nothing is given back before it was taken, in whatever
    /// order Revio tells.
    fn fits(&self, kind: Kind) -> bool {
        let Reversed { refunded_minor, charged_back_minor } = self.reversed;
        match kind {
            Kind::Refund => refunded_minor <= self.paid,
            Kind::Chargeback => charged_back_minor <= self.paid,
            Kind::ChargebackReversal => charged_back_minor >= 0,
            Kind::Deposit | Kind::Withdrawal | Kind::Adjustment => false,
        }
    }

    /// What the deposit's row says of it: what is booked, whatever else Revio says. Less than nothing was never charged back.
    pub(super) fn noted(&self) -> Reversed {
        Reversed { charged_back_minor: self.standing.charged_back_minor.max(0), ..self.standing }
    }

    /// What does not agree, in words that stay the same while it lasts: of the Payments among themselves, of the purchase's total, of its word.
    pub(super) fn wrong(&self, purchase: &Purchase) -> Option<String> {
        self.odd.clone().or_else(|| self.wrong_by_sums(purchase)).or_else(|| self.wrong_by_word(purchase))
    }

    fn wrong_by_sums(&self, purchase: &Purchase) -> Option<String> {
        let Reversed { refunded_minor: refunded, charged_back_minor: charged_back } = self.reversed;
        if !self.fits(Kind::Refund) || !self.fits(Kind::Chargeback) || !self.fits(Kind::ChargebackReversal) {
            return Some(format!(
                "Revio's Payments sum up to {refunded} refunded and {charged_back} charged back of {}",
                self.paid
            ));
        }
        if let Some(unsaid) = self.unsaid {
            return Some(format!("Revio gave some of it back by Payment {unsaid}, and does not say how much"));
        }
        let total = purchase.refunded(self.paid).filter(|total| *total != refunded)?;
        let difference = total.saturating_sub(refunded);
        Some(format!("Revio's total says {total} refunded, its Payments {refunded}: {difference} is not explained"))
    }

    fn wrong_by_word(&self, purchase: &Purchase) -> Option<String> {
        let Reversed { refunded_minor: refunded, charged_back_minor: charged_back } = self.reversed;
        if let Some(undone) = self.undone_by_word {
            return Some(format!(
                "Revio calls the purchase {} by Payment {undone}, which had given it back",
                purchase.status.word()
            ));
        }
        let was_charged_back = purchase.was_charged_back();
        if matches!(purchase.status, PurchaseStatus::ChargedBack(_)) && charged_back == 0 {
            return Some(format!("charged back{}, and Revio does not say how much", times(purchase.chargebacks())));
        }
        let refunds = purchase.refunds();
        if purchase.status.is_refunded() && refunded == 0 && charged_back == 0 && !was_charged_back {
            return Some(format!("refunded{}, and Revio does not say how much", times(refunds)));
        }
        // Where it has no total.
        if purchase.refunded(self.paid).is_none() && refunds > self.refund_entries {
            return Some(format!("refunded {refunds} times by its history, and Revio does not say how much"));
        }
        match &purchase.status {
            // All that was refunded can be refunded again: a refund failed, and no Payment says so.
            PurchaseStatus::Paid(_) if refunded > 0 && !was_charged_back && self.is_whole(purchase) => {
                Some(format!("Revio calls it paid and all of it refundable; {refunded} was refunded before"))
            }
            PurchaseStatus::Paid(_) if charged_back > 0 && (purchase.is_won_back() || self.is_whole(purchase)) => {
                Some(format!("Revio calls it paid again; {charged_back} is charged back"))
            }
            _ => None,
        }
    }

    fn is_whole(&self, purchase: &Purchase) -> bool {
        purchase.refundable_amount.whole() == Some(self.paid) && purchase.refund_availability != "none"
    }
}

/// What a person has looked at is not told to him again; once more of the same is another matter.
fn times(by_history: usize) -> String {
    if by_history > 1 { format!(" {by_history} times by its history") } else { String::new() }
}

fn add(sum: &mut Reversed, kind: Kind, minor: i64) {
    let Reversed { refunded_minor, charged_back_minor } = sum;
    match kind {
        Kind::Refund => *refunded_minor = refunded_minor.saturating_add(minor),
        Kind::Chargeback => *charged_back_minor = charged_back_minor.saturating_add(minor),
        Kind::ChargebackReversal => *charged_back_minor = charged_back_minor.saturating_sub(minor),
        Kind::Deposit | Kind::Withdrawal | Kind::Adjustment => {}
    }
}

/// One that is still held for what is in suspense of it was undone, and this process ended before that could leave.
fn can_be_undone(row: &Transaction) -> bool {
    let is_open = row.failure_reason.is_none() || row.is_held_for(&[Hold::SetAside]);
    let is_standing = row.state == State::Completed || (row.state == State::Initiated && is_open);
    is_standing && matches!(row.kind, Kind::Refund | Kind::Chargeback | Kind::ChargebackReversal)
}

/// Where a Payment counts for something else than its row has booked: it came to pass after it had failed, or is about another sum by now.
fn differs(row: &Transaction, minor: i64) -> Option<String> {
    let (id, before) = (row.provider.id.unwrap_or_default(), row.amount.minor());
    if row.failure_reason == Some(FailureReason::ProviderUndid) {
        return Some(format!("Revio's Payment {id} failed, was undone, and counts again"));
    }
    (before != minor).then(|| format!("Revio's Payment {id} says {minor}, and {before} was booked of it"))
}

/// What a Payment of Revio's gave back, or took again (a reversal); `None` when it failed.
pub(super) fn effect_of(payment: &Known, currency: &str) -> Result<Option<(Kind, i64)>, String> {
    let id = payment.id;
    match payment.status.as_str() {
        "success" | "" | "paid" | "executed" => {}
        _ if payment.has_failed() => return Ok(None),
        word => return Err(format!("Revio's Payment {id} is {}", provider_objects::shortened(word))),
    }
    let minor = payment.amount_minor.filter(|minor| *minor > 0);
    let minor = minor.ok_or_else(|| format!("Revio's Payment {id} does not say how much"))?;
    if !is_in(payment, currency) {
        return Err(format!("Revio's Payment {id} is in another currency than {currency}"));
    }
    let (kind, goes_out) = match payment.kind {
        ObjectKind::Refund => (Kind::Refund, true),
        ObjectKind::Chargeback => (Kind::Chargeback, true),
        ObjectKind::ChargebackReversal => (Kind::ChargebackReversal, false),
        ObjectKind::Purchase | ObjectKind::Payout | ObjectKind::Payment => {
            return Err(format!("Revio's Payment {id} does not say what it is for"));
        }
    };
    if payment.is_outgoing.is_some_and(|is_outgoing| is_outgoing != goes_out) {
        return Err(format!("Revio's Payment {id} goes the other way than a {}", kind.name()));
    }
    Ok(Some((kind, minor)))
}

fn is_in(payment: &Known, currency: &str) -> bool {
    payment.currency.as_deref().is_some_and(|code| code.eq_ignore_ascii_case(currency))
}

/// Whether the purchase names a Payment again, and is not what that made of it any more.
fn is_undone_by_word(purchase: &Purchase, payment: &Known) -> bool {
    let last = purchase.became_by(payment.id).last();
    match payment.kind {
        ObjectKind::Refund => last.is_some_and(|status| !matches!(status, PurchaseStatus::Refunded(_))),
        ObjectKind::Chargeback => last.is_some_and(|status| matches!(status, PurchaseStatus::Paid(_))),
        ObjectKind::ChargebackReversal | ObjectKind::Payment | ObjectKind::Purchase | ObjectKind::Payout => false,
    }
}

/// The time of one that does not say its own: what is given back comes after what was taken.
fn millis_unsaid(deposit: &Transaction, kind: Kind) -> u64 {
    provider_objects::millis_of(deposit.id) + if kind == Kind::ChargebackReversal { 2 } else { 1 }
}
