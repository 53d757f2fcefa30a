//! Whether a finished journal or correction has booked what a break says differs: else one person would end any break by any entry. `resolve`
//! asks; what does not fit, two people accept.
//!
//! | the break is of | what is named |
//! |---|---|
//! | a row | a correction of its customer that takes the wallet by what differs to what Revio says |
//! | a row, Revio's account, the bank's | a journal that moves that account by what differs, and stands on no line of its statements |
//! | anything | is completed, of the break's currency and sum, not what the break is about, and has ended no other break |

use ledger::AccountCode;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Break, BreakType, Code, Resolution, store};
use crate::app::App;
use crate::finance::reconciliation::found::{Found, Leg};
use crate::money::transactions::{self, Direction};
use crate::money::{adjustments, journals};
use crate::platform::error::{Error, Result};

/// # Errors
/// [`Error::Invalid`], which says what does not fit.
pub(super) async fn require(app: &App, tx: &mut PgConnection, known: &Break, resolution: &Resolution) -> Result<()> {
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
    match (journal_id, adjustment_id) {
        (Some(journal), _) if known.is_about_money() => require_journal(app, tx, known, *journal).await,
        (_, Some(correction)) => require_correction(app, known, *correction).await,
        _ => Ok(()),
    }
}

fn wrong(told: &'static str) -> Result<()> {
    Err(Error::field("journal_id", told))
}

async fn require_journal(app: &App, tx: &mut PgConnection, known: &Break, id: Uuid) -> Result<()> {
    let Some(account) = account_of(known.kind) else { return Ok(()) };
    let changed = journals::find(app, id).await?.change_of(account);
    let difference = known.difference().unwrap_or(0);
    // Of rows and journals the break says how much, and not in which direction.
    let fits = match known.kind {
        BreakType::ProviderOnly | BreakType::SettlementUnbooked | BreakType::ProviderBalance => changed == difference,
        BreakType::BankOnly | BreakType::BankBalance => changed == difference,
        _ => changed.unsigned_abs() == difference.unsigned_abs(),
    };
    if !fits {
        return wrong("must move the account that differs, and by what differs; any other takes two people: accepted");
    }
    if store::stands_on_a_line(&mut *tx, id, account == AccountCode::Bank).await? {
        return wrong("stands on a line of its own; any other takes two people: accepted");
    }
    Ok(())
}

/// Which account of the company's the sums of a break are of, if of one.
fn account_of(kind: BreakType) -> Option<AccountCode> {
    match (kind, kind.rule().leg) {
        (BreakType::PositionShort | BreakType::D1Late, _) | (_, Leg::A) => None,
        (_, Leg::B) => Some(AccountCode::ProviderBalance),
        (_, Leg::C) => Some(AccountCode::Bank),
    }
}

async fn require_correction(app: &App, known: &Break, id: Uuid) -> Result<()> {
    let corrected = adjustments::find(app, id).await?;
    let row = match known.transaction_id {
        Some(row) => transactions::find(app, row).await?,
        None => return wrong("must be named: a correction is of a customer's row, and this is of none"),
    };
    if row.user_id != corrected.transaction.user_id {
        return wrong("must be of the break's customer, as adjustment_id must; any other takes two people: accepted");
    }
    // What Revio says less what the row says: of a deposit that much is missing in the wallet, of a withdrawal it is too much there. Where Revio
    // itself was asked, its word is what was expected.
    let of_a_file = known.kind == BreakType::MissingOnStatement || Found::is_by_statement(&known.fingerprint);
    let lacks = (known.difference().unwrap_or(0) > 0) == of_a_file;
    let comes_in = row.direction == Direction::Credit && known.kind != BreakType::ReversedAtProvider;
    let direction = if lacks == comes_in { Direction::Credit } else { Direction::Debit };
    if known.is_about_money() && known.kind.rule().leg == Leg::B && corrected.direction != direction {
        return wrong("must correct what differs, as adjustment_id must, and not in the other direction");
    }
    Ok(())
}
