//! Whether a finished journal or correction has booked what a break says differs: else one person would end any break by any entry. `resolve`
//! asks; what does not fit, two people accept.
//!
//! | the break is of | what is named |
//! |---|---|
//! | a row | a correction of its customer that takes the wallet by what differs to what Revio says |
//! | a row, Revio's account, the bank's | a journal that moves that account by what differs, in the direction that mends it, and stands on no other line |
//! | a row | a journal that takes from Revio's account, if what proves it names the row: what Revio says goes back of the row is not taken besides |
//! | anything | is completed, of the break's currency and sum, not what the break is about, and has ended no other break |

mod store;

use ledger::AccountCode;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Break, BreakType, Code, Resolution};
use crate::app::App;
use crate::finance::reconciliation::found::{Found, ReconciliationLeg};
use crate::money::adjustments::{self, Adjustment};
use crate::money::journals::{self, Journal};
use crate::money::provider_objects;
use crate::money::transactions::{self, Direction, Transaction};
use crate::platform::error::{Error, Result};

/// What a resolution names, where there is such a thing, and the row that the break is of. None of it changes any more, or what of it counts
/// does not.
pub(super) struct Named {
    pub(super) journal: Option<Journal>,
    correction: Option<Adjustment>,
    row: Option<Transaction>,
    /// Whether what proves the journal names the row, or an object of Revio's that is of it.
    names_row: bool,
}

impl Named {
    pub(super) async fn read(app: &App, id: Uuid, resolution: &Resolution) -> Result<Self> {
        let mut named = Self { journal: None, correction: None, row: None, names_row: false };
        if let Some(journal) = resolution.journal_id {
            named.journal = if_there(journals::find(app, journal).await)?;
        }
        if let Some(correction) = resolution.adjustment_id {
            named.correction = if_there(adjustments::find(app, correction).await)?;
        }
        let known = super::find(app, id).await?;
        if let Some(row) = known.transaction_id {
            named.row = if_there(transactions::find(app, row).await)?;
        }
        if let (Some(journal), Some(row)) = (&named.journal, &named.row) {
            named.names_row = names_row(app, journal, row, known.provider_id).await?;
        }
        Ok(named)
    }
}

async fn names_row(app: &App, journal: &Journal, row: &Transaction, object: Option<Uuid>) -> Result<bool> {
    let Ok(named) = journal.evidence.reference.trim().parse::<Uuid>() else { return Ok(false) };
    if [Some(row.id), row.provider.id, object].contains(&Some(named)) {
        return Ok(true);
    }
    let Some(purchase) = row.provider.id else { return Ok(false) };
    Ok(provider_objects::payments_of(app, purchase).await?.iter().any(|payment| payment.id == named))
}

fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(Error::NotFound(_)) => Ok(None),
        found => found.map(Some),
    }
}

/// # Errors
/// [`Error::Invalid`], which says what does not fit.
pub(super) async fn require(
    tx: &mut PgConnection,
    known: &Break,
    resolution: &Resolution,
    named: &Named,
) -> Result<()> {
    let Resolution { code, journal_id, adjustment_id, .. } = resolution;
    let Some(booked) = store::lock_booked(&mut *tx, *journal_id, *adjustment_id).await? else {
        return wrong("must be a journal, or adjustment_id a correction, that is completed");
    };
    // Of what two accept it is only on record.
    if *code == Code::Accepted {
        return Ok(());
    }
    let is_its_own = journal_id.is_some() && *journal_id == known.journal_id
        || adjustment_id.is_some() && *adjustment_id == known.transaction_id;
    if is_its_own {
        return wrong("must not be what the break is about");
    }
    if known.currency.as_ref().is_some_and(|currency| *currency != booked.currency) {
        return wrong("must be of the break's currency, as adjustment_id must");
    }
    let booked = Some(booked.amount_minor.unsigned_abs());
    if known.is_about_money() && known.difference().map(i64::unsigned_abs) != booked {
        return wrong("must be of the sum that differs, as adjustment_id must; any other takes two people: accepted");
    }
    if store::is_named(&mut *tx, *journal_id, *adjustment_id).await? {
        return wrong("has ended another break, or adjustment_id has");
    }
    if let (Some(journal), Some(_)) = (&named.journal, &named.row) {
        let takes = journal.change_of(AccountCode::ProviderBalance) < 0;
        // It will stand for what goes back of the row (`journals::settle`), which two people have approved of no other.
        if takes && known.kind != BreakType::FeeProvider && !named.names_row {
            return wrong(
                "must have the row's id, or Revio's, as the reference of its evidence; any other takes two people: accepted",
            );
        }
    }
    match (&named.journal, &named.correction) {
        (Some(journal), _) if known.is_about_money() => require_journal(tx, known, journal, named.row.as_ref()).await,
        (_, Some(correction)) => require_adjustment(known, correction, named.row.as_ref()),
        _ => Ok(()),
    }
}

fn wrong(message: &'static str) -> Result<()> {
    Err(Error::field("journal_id", message))
}

async fn require_journal(
    tx: &mut PgConnection,
    known: &Break,
    journal: &Journal,
    row: Option<&Transaction>,
) -> Result<()> {
    let Some(account) = account_of(known.kind) else { return Ok(()) };
    let changed = journal.change_of(account);
    let fits = match (known.kind, row) {
        // Both are signed as the account is.
        (BreakType::BankOnly | BreakType::BankBalance, _)
        | (BreakType::ProviderOnly | BreakType::SettlementUnbooked | BreakType::ProviderBalance, _) => {
            known.difference() == Some(changed)
        }
        (_, Some(row)) if account == AccountCode::ProviderBalance => changed == lacking(known, row),
        // Of journals it says how much, and not in which direction.
        _ => known.difference().is_some_and(|difference| changed.unsigned_abs() == difference.unsigned_abs()),
    };
    if !fits {
        return wrong("must move the account that differs, and by what differs; any other takes two people: accepted");
    }
    let own = (known.line_id, known.provider_id);
    if store::stands_on_a_line(&mut *tx, journal.id, account == AccountCode::Bank, own).await? {
        return wrong("stands on another line; any other takes two people: accepted");
    }
    Ok(())
}

/// Which account of the company's the sums of a break are of, if of one.
fn account_of(kind: BreakType) -> Option<AccountCode> {
    match (kind, kind.rule().leg) {
        (BreakType::PositionShort | BreakType::D1Late, _) | (_, ReconciliationLeg::Inside) => None,
        (_, ReconciliationLeg::Provider) => Some(AccountCode::ProviderBalance),
        (_, ReconciliationLeg::Bank) => Some(AccountCode::Bank),
    }
}

fn require_adjustment(known: &Break, corrected: &Adjustment, row: Option<&Transaction>) -> Result<()> {
    let row = match row {
        Some(row) => row,
        // A transfer that no row has asked for.
        None if known.kind.rule().leg == ReconciliationLeg::Inside => return Ok(()),
        None => return wrong("must be named: a correction is of a customer's row, and this is of none"),
    };
    if row.user_id != corrected.transaction.user_id {
        return wrong("must be of the break's customer, as adjustment_id must; any other takes two people: accepted");
    }
    // Fees are the company's, and of what went back Revio need not say how much.
    let is_said =
        known.expected_minor.is_some() && known.actual_minor.is_some() || known.kind == BreakType::MissingOnStatement;
    if known.kind == BreakType::FeeProvider || known.is_about_money() && !is_said {
        return wrong("must be named: no correction mends this; any other takes two people: accepted");
    }
    let direction = if lacking(known, row) > 0 { Direction::Credit } else { Direction::Debit };
    if known.is_about_money()
        && known.kind.rule().leg == ReconciliationLeg::Provider
        && corrected.direction != direction
    {
        return wrong("must correct what differs, as adjustment_id must, and not in the other direction");
    }
    Ok(())
}

/// What the books lack at Revio, and the wallet: what Revio says less what is booked, of what came in; of what went out, and of fees, it is too much.
/// A file's word is the actual one; where Revio itself was asked, its word is what was expected.
fn lacking(known: &Break, row: &Transaction) -> i64 {
    let of_a_file = matches!(known.kind, BreakType::MissingOnStatement | BreakType::DuplicateProvider)
        || Found::is_by_statement(&known.fingerprint);
    let difference = known.difference().unwrap_or(0);
    let unbooked = if of_a_file { difference } else { difference.saturating_neg() };
    let goes_out = matches!(known.kind, BreakType::ReversedAtProvider | BreakType::FeeProvider);
    if row.direction == Direction::Credit && !goes_out { unbooked } else { unbooked.saturating_neg() }
}
