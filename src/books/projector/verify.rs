//! `octoco rebuild-read-model --verify`: the read model against the ledger, every transfer and every account, and nothing is
//! written. Also against the ledger's own account history, so that a mistake in `books` would not check itself.
//!
//! The live projector goes on meanwhile: an account that has moved since the cursor was read is compared with its balance in the
//! ledger at the moment that its row names. Every account and every open reservation is held in memory: some 200 bytes each.

use std::collections::{BTreeMap, HashMap, HashSet};

use ledger::{Account, BATCH_MAX, Currency, Recorded, RecordedAccount};
use uuid::Uuid;

use super::books::{Books, Sides, Standing, nanoseconds};
use super::days::{self, DifferentDay};
use super::store::{self, AccountRow, Cursor, TransferRow};
use crate::app::App;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

/// So many are named; the others are only counted.
const NAMED_MAX: usize = 100;
const ACCOUNTS_PAGE: i64 = 5000;
const BEYOND_MAX: i64 = 100;

text_enum! {
    /// Of what the read model has a row.
    pub enum What {
        Transfer = "transfer",
        Account = "account",
    }
}

/// One thing that the read model says and the ledger does not, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub what: What,
    pub id: Uuid,
    pub problem: &'static str,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub transfers: usize,
    pub accounts: usize,
    /// How many differences there are, and the first of them.
    pub different: usize,
    pub differences: Vec<Difference>,
    /// How many transfers have no row, and the first of them: transfer and row. No fault of the read model.
    pub orphaned: usize,
    pub orphans: Vec<(Uuid, Uuid)>,
    /// Days that are not the sums of the copied transfers.
    pub days: Vec<DifferentDay>,
}

impl Report {
    /// How much there is to mend.
    pub fn wrong(&self) -> usize {
        self.different.saturating_add(self.days.len())
    }

    fn differs(&mut self, what: What, id: Uuid, problem: &'static str) {
        self.different += 1;
        if self.differences.len() < NAMED_MAX {
            self.differences.push(Difference { what, id, problem });
        }
    }
}

pub async fn verify(app: &App) -> Result<Report> {
    let mut report = Report::default();
    for currency in app.config.currencies.iter().copied() {
        let cursor = store::cursor(&app.db, currency.code()).await?;
        let opened = all_accounts(app, currency).await?;
        let books = compare_transfers(app, (currency, cursor), &opened, &mut report).await?;
        compare_accounts(app, (currency, cursor), (&opened, &books), &mut report).await?;
        for id in store::beyond_cursor(&app.db, currency.code(), BEYOND_MAX).await? {
            report.differs(What::Transfer, id, "is a row beyond what was copied");
        }
        report.days.extend(days::different(app, currency).await?);
    }
    Ok(report)
}

async fn all_accounts(app: &App, currency: Currency) -> Result<HashMap<Uuid, RecordedAccount>> {
    let (mut all, mut after) = (HashMap::new(), 0);
    loop {
        let page = app.ledger.accounts_after(currency, after, BATCH_MAX).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.timestamp;
        all.extend(page.into_iter().map(|account| (account.id.as_uuid(), account)));
    }
}

/// Every transfer up to the cursor, page by page. The books as they stand there.
async fn compare_transfers(
    app: &App,
    (currency, cursor): (Currency, Cursor),
    opened: &HashMap<Uuid, RecordedAccount>,
    report: &mut Report,
) -> Result<Books> {
    let mut books = Books::default();
    books.accounts.extend(opened.keys().map(|id| (*id, Standing::default())));
    let mut after = 0;
    loop {
        let page = app.ledger.transfers_after(currency, after, BATCH_MAX).await?;
        let page: Vec<Recorded> =
            page.into_iter().take_while(|transfer| nanoseconds(transfer.timestamp) <= cursor.timestamp).collect();
        // On the last round there may be rows behind the ledger's last transfer.
        let until = page.last().map_or(cursor.timestamp, |last| nanoseconds(last.timestamp));
        let mut expected = Vec::with_capacity(page.len());
        for transfer in &page {
            expected.push(TransferRow::from(&books.apply(transfer).map_err(Error::internal)?));
        }
        let stored = store::transfers_between(&app.db, currency.code(), nanoseconds(after), until).await?;
        compare_rows(&expected, &stored, report);
        report.transfers += expected.len();
        let orphans = store::orphans_between(&app.db, currency.code(), nanoseconds(after), until).await?;
        report.orphaned += orphans.len();
        let room = NAMED_MAX.saturating_sub(report.orphans.len());
        report.orphans.extend(orphans.into_iter().take(room));
        let Some(last) = page.last() else { return Ok(books) };
        after = last.timestamp;
    }
}

fn compare_rows(expected: &[TransferRow], stored: &[TransferRow], report: &mut Report) {
    let mut missing: BTreeMap<i64, &TransferRow> = expected.iter().map(|row| (row.timestamp, row)).collect();
    for row in stored {
        match missing.remove(&row.timestamp) {
            Some(expected) if expected == row => {}
            Some(expected) => report.differs(What::Transfer, expected.id, "has another row than the ledger's transfer"),
            None => report.differs(What::Transfer, row.id, "is a row that the ledger does not have"),
        }
    }
    for row in missing.into_values() {
        report.differs(What::Transfer, row.id, "has no row");
    }
}

async fn compare_accounts(
    app: &App,
    (currency, cursor): (Currency, Cursor),
    (opened, books): (&HashMap<Uuid, RecordedAccount>, &Books),
    report: &mut Report,
) -> Result<()> {
    let (mut seen, mut after) = (HashSet::new(), Uuid::nil());
    loop {
        let rows = store::accounts_after(&app.db, currency.code(), after, ACCOUNTS_PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in rows {
            let id = row.id;
            match opened.get(&id) {
                None if row.opened().opened_timestamp <= cursor.accounts_timestamp => {
                    report.differs(What::Account, id, "is a row that the ledger does not have");
                }
                // Opened since the ledger was asked.
                None => {}
                Some(account) => {
                    if let Some(problem) = problem_of(app, (currency, cursor), (account, books), &row).await? {
                        report.differs(What::Account, id, problem);
                    }
                }
            }
            seen.insert(id);
        }
    }
    for (id, account) in opened {
        report.accounts += 1;
        if !seen.contains(id) && nanoseconds(account.timestamp) <= cursor.accounts_timestamp {
            report.differs(What::Account, *id, "has no row");
        }
    }
    Ok(())
}

async fn problem_of(
    app: &App,
    (currency, cursor): (Currency, Cursor),
    (account, books): (&RecordedAccount, &Books),
    row: &AccountRow,
) -> Result<Option<&'static str>> {
    if row.opened() != super::opened(account, currency)? {
        return Ok(Some("has another row than the ledger's account"));
    }
    let here = Account { id: account.id, code: account.code, currency };
    let expected = books.accounts.get(&row.id).copied().unwrap_or_default();
    // The ledger's own word, as of the cursor: asked for only where the account may have moved since.
    let mut reported = Sides::from(account.balance);
    if reported != expected.sides {
        reported = app.ledger.balance_at(here, cursor.timestamp.unsigned_abs()).await?.into();
    }
    if reported != expected.sides {
        return Ok(Some("has another balance in the ledger than its transfers add up to"));
    }
    let stored = row.standing();
    if stored == expected {
        return Ok(None);
    }
    let moved_since = stored.last.filter(|last| *last > cursor.timestamp);
    let at_its_last = match moved_since {
        None => None,
        Some(last) => Some(app.ledger.balance_at(here, last.unsigned_abs()).await?.into()),
    };
    Ok((at_its_last != Some(stored.sides)).then_some("has another balance than in the ledger"))
}
