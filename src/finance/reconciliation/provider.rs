//! The provider leg's objects: what Revio says of a purchase or payout when it is asked, against what its row has booked. Called by `stages` for rows
//! that are open, that have just ended, and in turn for all that ended within 130 days; and by `subjects` for one of them again. Revio is
//! asked through the same functions as by the flows; nothing is booked here.
//!
//! | Revio says | the row has booked | |
//! |---|---|---|
//! | paid | nothing | `paid_at_provider`, `payout_paid` |
//! | paid | another sum or currency | `amount_provider`, `currency_provider` |
//! | not paid, or it does not know the object | something | `not_paid_at_provider` |
//! | given back | another sum of that | `reversed_at_provider` |
//! | a fee | another one, or none | `fee_provider` |
//! | two payouts paid | one | `duplicate_provider` |

mod store;

use chrono::TimeDelta;
use ledger::{Amount, Currency, Leg, TransferId};
use uuid::Uuid;

use super::found::{BreakType, Found};
use super::run::Run;
use crate::app::App;
use crate::money::transactions::{self, Kind, State, Transaction};
use crate::money::{provider_objects, suspense};
use crate::platform::clock::{self, DateTime};
use crate::platform::error::{Error, Result};
use crate::platform::queue::LEASE;
use crate::provider::revio::objects::{Figure, Flag, PaymentDetails};
use crate::provider::revio::{self, Errand, Payout, PayoutStatus, Purchase, PurchaseStatus};

/// After that no payer's bank takes anything back.
pub(super) const LATER: TimeDelta = TimeDelta::days(130);
const DUPLICATES_MAX: i64 = 1_000;

/// What one look at a row's object brought.
pub(super) enum Asked {
    Found(Vec<Found>),
    /// The same, and Revio names no fee: whether a known difference of it is still there is not said.
    FoundWithoutFee(Vec<Found>),
    /// Somebody has the row in hand, or Revio's answer says nothing.
    Skipped,
}

impl Asked {
    fn with(self, more: Vec<Found>) -> Self {
        let and = |mut found: Vec<Found>| {
            found.extend(more);
            found
        };
        match self {
            Self::Found(found) => Self::Found(and(found)),
            Self::FoundWithoutFee(found) => Self::FoundWithoutFee(and(found)),
            Self::Skipped => Self::Skipped,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Open,
    JustEnded,
    InTurn,
}

pub(super) async fn rows_after(app: &App, run: &Run, which: Which, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    let since = run.looks_back_to();
    let ids = match which {
        Which::Open => store::open_after(&app.db, run, after, limit).await?,
        Which::JustEnded => {
            let oldest = super::run::oldest_changed_since(since);
            store::ended_after(&app.db, (since, run.until), (after, oldest), limit).await?
        }
        Which::InTurn => {
            let oldest = clock::first_id_at(run.until - LATER);
            store::later_after(&app.db, since, (after, oldest), limit).await?
        }
    };
    Ok(ids)
}

/// Asks Revio about a row. An error is one of the surroundings: the same is asked again later.
pub(super) async fn ask(app: &App, run: &Run, id: Uuid) -> Result<Asked> {
    let row = transactions::find(app, id).await?;
    let now = app.clock.now();
    if row.updated_at > run.until || row.due_at.is_some_and(|due| due > now && due <= now + LEASE) {
        return Ok(Asked::Skipped);
    }
    let looked = revio::on(Errand::Reconciliation, async {
        match row.kind {
            Kind::Deposit => deposit(app, &row).await,
            Kind::Withdrawal => withdrawal(app, &row).await,
            Kind::Refund | Kind::Chargeback | Kind::ChargebackReversal | Kind::Adjustment => {
                Ok(Asked::Found(Vec::new()))
            }
        }
    });
    match looked.await {
        // Nothing gets better by asking again now: the flow that owns the row holds it for a person.
        Err(Error::Unusable(cause)) => {
            tracing::warn!(transaction.id = %id, error = %cause, "Revio's answer about a row cannot be compared");
            Ok(Asked::Skipped)
        }
        looked => looked,
    }
}

/// A row and the object that it is compared with.
struct Pair<'a> {
    app: &'a App,
    row: &'a Transaction,
    object: Uuid,
    /// In Revio's words.
    status: String,
    since: DateTime,
    /// Of money that Revio says has moved.
    payment: Option<&'a PaymentDetails>,
    /// What the row has booked.
    booked: Option<Amount>,
    found: Vec<Found>,
    names_fee: bool,
}

impl<'a> Pair<'a> {
    /// `said`: Revio's status, and when that last changed; `None`: Revio does not know the object.
    fn of(app: &'a App, row: &'a Transaction, object: Uuid, said: Option<(&str, &Figure)>) -> Self {
        let updated = said.and_then(|(_, on)| on.whole()).and_then(|secs| DateTime::from_timestamp(secs, 0));
        Self {
            app,
            row,
            object,
            status: said.map_or("unknown to Revio", |(status, _)| status).to_owned(),
            // By Revio's clock, and never later than now.
            since: updated.unwrap_or(row.updated_at).min(app.clock.now()),
            payment: None,
            booked: None,
            found: Vec::new(),
            names_fee: true,
        }
    }

    fn differs(&mut self, kind: BreakType, expected: Option<i64>, actual: Option<i64>) {
        let row = self.row;
        let came =
            self.payment.map(|payment| format!("{} {} {}", payment.amount, payment.currency, payment.fee_amount));
        let observed = format!(
            "v{} {} {:?} {} {}",
            row.version,
            row.state.name(),
            self.booked.map(Amount::minor),
            self.status,
            came.unwrap_or_default()
        );
        let found = Found::new(kind, self.since, observed).sums(row.amount.currency(), expected, actual);
        let found = found
            .evident("kind", row.kind.name())
            .evident("state", row.state.name())
            .evident("provider_status", self.status.chars().take(40).collect::<String>());
        self.found.push(Found { transaction_id: Some(row.id), provider_id: Some(self.object), ..found });
    }

    /// Money that Revio says has moved, against what the row has booked of it.
    fn compare_money(&mut self, payment: &PaymentDetails, unbooked: BreakType) {
        let came = payment.amount.whole();
        let Some(booked) = self.booked else {
            return self.differs(unbooked, came, Some(0));
        };
        if Currency::parse(&payment.currency.to_ascii_uppercase()) != Some(booked.currency()) {
            self.differs(BreakType::CurrencyProvider, came, Some(booked.minor()));
        } else if came != Some(booked.minor()) {
            self.differs(BreakType::AmountProvider, came, Some(booked.minor()));
        }
    }

    /// What Revio keeps for itself, against the ledger's own word: the fee may be booked without the row's moving.
    async fn compare_fee(&mut self, fee: &Figure) -> Result<()> {
        let Some(fee) = fee.whole() else {
            self.names_fee = false;
            return Ok(());
        };
        let booked = self.app.ledger.lookup(&[TransferId::of(self.row.id, Leg::ProviderFee)]).await?;
        let booked = booked.first().map_or(0, |booked| booked.amount_minor);
        if fee != booked {
            self.differs(BreakType::FeeProvider, Some(fee), Some(booked));
        }
        Ok(())
    }

    fn asked(self) -> Asked {
        if self.names_fee { Asked::Found(self.found) } else { Asked::FoundWithoutFee(self.found) }
    }
}

async fn deposit(app: &App, row: &Transaction) -> Result<Asked> {
    let own = own_purchase(app, row).await?;
    Ok(own.with(other_purchases(app, row).await?))
}

/// Those that were made for the row besides, and that its page may have been left open of: what was paid by one is booked nowhere where it has
/// no row and no item of its own.
async fn other_purchases(app: &App, row: &Transaction) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for known in provider_objects::purchases_of(app, row.id).await? {
        let object = known.id;
        if row.provider.id == Some(object)
            || suspense::noted_of_object(app, object).await?.is_some()
            || transactions::find_for_provider(app, Kind::Deposit, object, None).await?.is_some()
        {
            continue;
        }
        let purchase = match provider_objects::ask_for_purchase(app, Some(row.id), object).await {
            // Revio does not know it, or cannot serve it: the row's own is compared all the same.
            Err(Error::Unusable(_)) => continue,
            asked => asked?,
        };
        let is_paid = purchase.status.means_paid() && matches!(purchase.marked_as_paid, Flag::No | Flag::Unsaid);
        if let Some(payment) = purchase.payment.as_ref().filter(|_| is_paid) {
            let said = Some((purchase.status.word(), &purchase.updated_on));
            let mut pair = Pair { payment: Some(payment), ..Pair::of(app, row, object, said) };
            pair.compare_money(payment, BreakType::PaidAtProvider);
            found.append(&mut pair.found);
        }
    }
    Ok(found)
}

async fn own_purchase(app: &App, row: &Transaction) -> Result<Asked> {
    let Some(object) = row.provider.id else { return Ok(Asked::Found(Vec::new())) };
    // Also what a journal set aside of the payment, or what came before the row: whoever booked that follows what becomes of it.
    let item = match suspense::of_row(app, row.id).await? {
        Some(item) => Some(item),
        None => suspense::of_object(app, object).await?,
    };
    let is_rows_own = item.as_ref().is_none_or(|item| item.transaction_id == Some(row.id));
    let booked = item.map(|item| item.amount).or((row.state == State::Completed).then_some(row.amount));
    let purchase = provider_objects::if_known(provider_objects::ask_for_purchase(app, Some(row.id), object).await)?;
    let said = purchase.as_ref().map(|purchase| (purchase.status.word(), &purchase.updated_on));
    let payment = purchase.as_ref().and_then(|purchase| purchase.payment.as_ref());
    let mut pair = Pair { payment, booked, ..Pair::of(app, row, object, said) };
    let Some(purchase) = &purchase else {
        if let Some(booked) = booked {
            pair.differs(BreakType::NotPaidAtProvider, Some(0), Some(booked.minor()));
        }
        return Ok(pair.asked());
    };
    let marked = !matches!(purchase.marked_as_paid, Flag::No | Flag::Unsaid);
    match (&purchase.status, &purchase.payment) {
        (PurchaseStatus::Unknown(_), _) => return Ok(Asked::Skipped),
        // Paid, it says, and of no payment: nothing that could be compared.
        (status, None) if status.means_paid() && !marked => return Ok(Asked::Skipped),
        (status, Some(payment)) if status.means_paid() && !marked => {
            pair.compare_money(payment, BreakType::PaidAtProvider);
            if booked.is_some() && is_rows_own {
                compare_reversals(&mut pair, purchase, payment).await?;
                pair.compare_fee(&payment.fee_amount).await?;
            }
        }
        _ => {
            if let Some(booked) = booked {
                pair.differs(BreakType::NotPaidAtProvider, Some(0), Some(booked.minor()));
            }
        }
    }
    Ok(pair.asked())
}

/// What was resolved is not opened again for the same; that something went back once more is another fact.
async fn compare_reversals(pair: &mut Pair<'_>, purchase: &Purchase, payment: &PaymentDetails) -> Result<()> {
    let (said, times) = (pair.status.clone(), purchase.refunds().max(purchase.chargebacks()));
    if times > 1 {
        pair.status = format!("{said}, {times} times");
    }
    compare_totals(pair, purchase, payment).await?;
    pair.status = said;
    Ok(())
}

/// By the purchase's own total where it has one, else by its words alone.
async fn compare_totals(pair: &mut Pair<'_>, purchase: &Purchase, payment: &PaymentDetails) -> Result<()> {
    let paid = payment.amount.whole().unwrap_or(pair.row.amount.minor());
    let refunded = pair.row.reversed.refunded_minor;
    let charged_back = pair.row.reversed.charged_back_minor;
    if let Some(total) = purchase.refunded(paid).filter(|total| *total != refunded) {
        pair.differs(BreakType::ReversedAtProvider, Some(total), Some(refunded));
        return Ok(());
    }
    let charged = matches!(purchase.status, PurchaseStatus::ChargedBack(_));
    let given_back = purchase.status.is_refunded() && refunded == 0;
    if charged_back == 0 && (charged || given_back) {
        pair.differs(BreakType::ReversedAtProvider, None, Some(0));
    } else if charged_back > 0 && purchase.is_won_back() {
        pair.differs(BreakType::ReversedAtProvider, None, Some(charged_back));
    } else if purchase.refunded(paid).is_none() {
        let known = provider_objects::payments_of(pair.app, purchase.id).await?;
        if purchase.refunds() > provider_objects::refund_entries(&known) {
            pair.differs(BreakType::ReversedAtProvider, None, Some(refunded));
        }
    }
    Ok(())
}

async fn withdrawal(app: &App, row: &Transaction) -> Result<Asked> {
    let mut ids: Vec<Uuid> = provider_objects::payouts_of(app, row.id).await?.iter().map(|known| known.id).collect();
    ids.extend(row.provider.id.filter(|id| !ids.contains(id)));
    let (mut paid, mut last): (Vec<Payout>, Option<Payout>) = (Vec::new(), None);
    for id in ids {
        match provider_objects::if_known(provider_objects::ask_for_payout(app, Some(row.id), id).await)? {
            Some(payout) if matches!(payout.status, PayoutStatus::Unknown(_)) => return Ok(Asked::Skipped),
            Some(payout) if payout.status == PayoutStatus::Success => paid.push(payout),
            Some(payout) => last = Some(payout),
            None => {}
        }
    }
    let booked = (row.state == State::Completed).then_some(row.amount);
    let payout = paid.first().or(last.as_ref());
    let object = payout.map(|payout| payout.id).or(row.provider.id).unwrap_or(row.id);
    let said = payout.map(|payout| (payout.status.word(), &payout.updated_on));
    let payment = paid.first().and_then(|payout| payout.payment.as_ref());
    let mut pair = Pair { payment, booked, ..Pair::of(app, row, object, said) };
    match (pair.payment, booked) {
        (Some(payment), _) => {
            pair.compare_money(payment, BreakType::PayoutPaid);
            if booked.is_some() {
                pair.compare_fee(&payment.fee_amount).await?;
            }
        }
        // Paid, it says, and of no payment: nothing that could be compared.
        (None, _) if !paid.is_empty() => return Ok(Asked::Skipped),
        (None, Some(booked)) => pair.differs(BreakType::NotPaidAtProvider, Some(0), Some(booked.minor())),
        (None, None) => {}
    }
    Ok(pair.asked())
}

/// Rows for which more than one object was paid, by what we know of them; of one row, where it is named.
pub(super) async fn duplicates(app: &App, run: &Run, of: Option<Uuid>) -> Result<Vec<Found>> {
    let duplicates =
        store::duplicates(&app.db, (of, of.map_or(run.oldest_row(), |_| Uuid::nil())), DUPLICATES_MAX).await?;
    let found = duplicates.into_iter().map(|twice| {
        let currency = Currency::parse(&twice.currency).ok_or_else(|| Error::internal("a stored currency is none"))?;
        let objects: Vec<String> = twice.objects.iter().map(Uuid::to_string).collect();
        let observed = format!("v{} {}", twice.version, objects.join(" "));
        let found = Found::new(BreakType::DuplicateProvider, run.until, observed);
        // Where Revio does not say what was paid, neither do we say what differs.
        let asked = twice.paid_minor.map(|_| twice.amount_minor);
        let found = found.sums(currency, asked, twice.paid_minor).evident("objects", objects);
        Ok(Found { transaction_id: Some(twice.transaction_id), ..found })
    });
    found.collect()
}
