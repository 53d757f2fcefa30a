//! A month's reports again, to the byte: only from a pack that is what was closed. The hash in its row, the hash in the month after it, and
//! the one in the audit log must all be that of its bytes; else nothing is printed, and an alarm goes off.

use super::pack::{self, broken};
use super::store::{self, Period};
use super::{Month, State, alone, customers as list, find, free, reports};
use crate::app::App;
use crate::identity::audit::{self, Filter};
use crate::platform::digest::sha256;
use crate::platform::error::{Error, Result};
use crate::platform::text_enum::text_enum;

text_enum! {
    #[schema(as = PeriodReport)]
    pub enum Report {
        TrialBalance = "trial-balance",
        /// What was owed and held, at the end of each day.
        Positions = "positions",
        Fees = "fees",
        /// The company's journals that were posted in the month.
        Journals = "journals",
        /// Breaks that were open at its end.
        Breaks = "breaks",
        /// What was unallocated at its end, by age.
        OpenItems = "open-items",
        /// What customers owed at its end, by age.
        Receivables = "receivables",
        /// Customers' corrections that were posted in the month.
        Corrections = "corrections",
        /// The statement files that it rests on.
        Files = "files",
        /// What each customer held and owed at its end: made anew.
        Customers = "customers",
    }
}

/// JSON or CSV.
pub async fn printed(app: &App, month: Month, report: Report, as_csv: bool) -> Result<Vec<u8>> {
    of_pack(app, month, report.name(), as_csv).await
}

/// Every movement of the month, for the accounting package.
pub async fn journal(app: &App, month: Month) -> Result<Vec<u8>> {
    of_pack(app, month, reports::JOURNAL, true).await
}

async fn of_pack(app: &App, month: Month, name: &str, as_csv: bool) -> Result<Vec<u8>> {
    let period = verified(app, month).await?;
    let mut pack = pack::read(&period.pack)?;
    let printed = pack.reports.remove(name).ok_or(Error::NotFound("report in this pack"))?;
    Ok(if as_csv { printed.csv.into_bytes() } else { printed.json.get().as_bytes().to_vec() })
}

/// The customers' list at the cut, from the copy of the ledger as it is now.
pub async fn customers(app: &App, month: Month) -> Result<Vec<u8>> {
    let period = verified(app, month).await?;
    let mut db = alone(app).await?;
    let balances = list::of_copy(app, &mut db, period.cut.unsigned_abs()).await;
    free(db).await;
    let file = list::file(&balances?)?;
    if period.customers_sha256 == sha256(&file) {
        return Ok(file);
    }
    Err(broken(app, "the customers' list of a month is not the one that was closed"))
}

async fn verified(app: &App, month: Month) -> Result<Period> {
    let period = find(app, month).await?;
    if period.pack_sha256 != sha256(&period.pack) {
        return Err(broken(app, "the pack of a month is not the one that was closed"));
    }
    // Nothing stands on it yet.
    if period.state == State::AwaitingApproval {
        return Ok(period);
    }
    let before = store::previous(&app.db, period.month).await?;
    if before.map(|before| before.pack_sha256) != period.previous_sha256 {
        return Err(broken(app, "the month before is not the one that this one was closed upon"));
    }
    let after = store::following(&app.db, period.month).await?;
    if after.is_some_and(|after| after.previous_sha256.as_ref() != Some(&period.pack_sha256)) {
        return Err(broken(app, "the month after was closed upon another pack than this one"));
    }
    if !is_on_record(app, month, &period).await? {
        return Err(broken(app, "the audit log knows another pack of the month than this one"));
    }
    Ok(period)
}

async fn is_on_record(app: &App, month: Month, period: &Period) -> Result<bool> {
    let filter = Filter {
        action: Some("period.closed".to_owned()),
        object_kind: Some("period".to_owned()),
        object_id: Some(month.to_string()),
        limit: 1,
        ..Filter::default()
    };
    let printed = audit::list(app, &filter).await?.into_iter().next().and_then(|row| row.after);
    Ok(printed.is_some_and(|printed| printed.contains(&hex::encode(&period.pack_sha256))))
}
