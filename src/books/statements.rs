//! Statements: opening balance, every movement of a wallet in a period, closing balance. For a customer and for staff.
//!
//! The source is the ledger's own account history, never the read model: a copy that lags cannot make a statement wrong. Only what
//! is booked counts. Each line is checked: the balance before it and its amount must give the balance that the ledger recorded with
//! it, and the last must be the closing balance. A statement that does not tie out is an internal error and never shown.
//!
//! The period is cut where the present is. While it reaches to within a minute of now, the cluster's clock may still put a
//! movement into it: such a statement says that it is not final.

pub mod csv;
pub mod pdf;
pub mod routes;

use std::time::Duration;

use ledger::{Account, BATCH_MAX, Balance, Currency, Recorded, RecordedKind, TransferCode};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::platform::clock::{CLOCK_MARGIN, DateTime, last_nanosecond_before};
use crate::platform::error::{Error, Result};
use crate::platform::openapi::words;
use crate::platform::{http::json::text, slow_reads, zone::Zone};

/// As many as a JSON answer or a PDF file holds. A CSV file has no end.
const LINES_MAX: usize = 10_000;
/// What is looked at for them: reservations and releases are no lines, but have to be read.
const ENTRIES_MAX: usize = 50_000;

#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub user_id: Uuid,
    pub currency: Currency,
    /// The first moment that counts …
    pub from: DateTime,
    /// … and the first that does not count any more.
    pub to: DateTime,
    /// Whose clock a file shows.
    pub zone: Zone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LineView)]
pub struct Line {
    /// When the ledger booked it.
    pub at: DateTime,
    /// The transaction that it belongs to.
    pub transaction_id: Uuid,
    pub transfer_id: Uuid,
    #[schema(schema_with = words::statement_line)]
    pub kind: &'static str,
    /// Minor units; negative when it left the wallet.
    pub amount: i64,
    /// What the wallet held after it.
    pub running_balance: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatementView)]
pub struct Statement {
    #[serde(flatten)]
    pub summary: Summary,
    pub lines: Vec<Line>,
}

/// What is known before the lines are read.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = StatementSummary)]
pub struct Summary {
    #[serde(serialize_with = "text")]
    #[schema(value_type = String, example = "ZAR")]
    pub currency: Currency,
    pub from: DateTime,
    /// As asked, or now if that was to come.
    pub to: DateTime,
    /// False while the period reaches to within a minute of now: a movement may still be added to it.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Minor units: what the wallet held right before `from`.
    pub opening_balance: i64,
    /// What it held right before `to`: the opening balance and all the amounts.
    pub closing_balance: i64,
}

/// A statement that is read page by page.
pub struct Reader {
    pub summary: Summary,
    /// Whose wallet it is.
    user_id: Uuid,
    wallet: Account,
    zone: Zone,
    /// The last timestamp that was read, and the last that there is in the period.
    after: u64,
    until: u64,
    balance: i64,
}

pub async fn whole(app: &App, request: Request) -> Result<Statement> {
    let mut reader = Reader::open(app, request).await?;
    let (mut lines, mut entries) = (Vec::new(), 0);
    while let Some(page) = reader.next(app, slow_reads::WAIT).await? {
        entries += page.entries;
        lines.extend(page.lines);
        let (count, what) = if lines.len() > LINES_MAX {
            (LINES_MAX, "lines")
        } else if entries > ENTRIES_MAX {
            (ENTRIES_MAX, "entries of the ledger, reservations and releases counted")
        } else {
            continue;
        };
        let message = format!("the period has more than {count} {what}: let it start later, or ask for format=csv");
        return Err(Error::parameter("from", message));
    }
    Ok(Statement { summary: reader.summary, lines })
}

pub struct Page {
    pub lines: Vec<Line>,
    pub entries: usize,
}

impl Reader {
    /// Reads both balances. The closing one comes first: what it is the balance after has happened, so that all the lines
    /// before it are there to be read, whatever happens meanwhile.
    pub async fn open(app: &App, request: Request) -> Result<Self> {
        let now = app.clock.now();
        let to = request.to.min(now).max(request.from);
        let wallet = Account::wallet(request.user_id, request.currency);
        let after = last_nanosecond_before(request.from);
        let last = app.ledger.last_change(wallet, last_nanosecond_before(to)).await?;
        let (until, closing) = last.map_or((0, 0), |(timestamp, balance)| (timestamp, balance.posted()));
        let opening = if until <= after { closing } else { app.ledger.balance_at(wallet, after).await?.posted() };
        let summary = Summary {
            currency: request.currency,
            from: request.from,
            to,
            is_final: to <= now - CLOCK_MARGIN,
            opening_balance: opening,
            closing_balance: closing,
        };
        let (user_id, zone) = (request.user_id, request.zone);
        Ok(Self { summary, user_id, wallet, zone, after, until, balance: opening })
    }

    /// The next lines, which may be none; `None` at the end, where the balances were found to tie out. `wait`: for the turn to read.
    pub async fn next(&mut self, app: &App, wait: Duration) -> Result<Option<Page>> {
        let page = async { Ok(app.ledger.history(self.wallet, self.after, self.until, BATCH_MAX).await?) };
        let history = app.history_reads.patiently(self.user_id, wait, page).await?;
        let Some((last, _)) = history.last() else {
            self.check(app, self.summary.closing_balance, "the closing balance")?;
            return Ok(None);
        };
        self.after = last.timestamp;
        let mut lines = Vec::with_capacity(history.len());
        for (transfer, balance) in &history {
            let amount = movement(&self.wallet, transfer);
            self.balance = self.balance.saturating_add(amount);
            self.check(app, balance.posted(), "a line")?;
            if amount != 0 {
                lines.push(line(transfer, amount, *balance));
            }
        }
        Ok(Some(Page { lines, entries: history.len() }))
    }

    /// What a file of a final statement is made of: it says the same for as long as this is the same.
    pub fn content(&self) -> String {
        let Summary { currency, from, to, is_final, opening_balance, closing_balance } = self.summary;
        let ends = format!("{currency} {from} {to} {is_final} {opening_balance} {closing_balance}");
        format!("{} {ends} {} {}", self.wallet.id, self.until, self.zone.name())
    }

    fn check(&self, app: &App, recorded: i64, what: &str) -> Result<()> {
        if self.balance == recorded {
            return Ok(());
        }
        app.metrics.read_model.statement_mismatches.inc();
        let problem = format!("{what} of a statement of {} does not tie out", self.wallet.id);
        tracing::error!(problem, "a statement does not tie out");
        Err(Error::internal(problem))
    }
}

fn movement(wallet: &Account, transfer: &Recorded) -> i64 {
    let booked = match transfer.kind {
        RecordedKind::Posted | RecordedKind::Post { .. } => transfer.amount_minor,
        RecordedKind::Pending | RecordedKind::Void { .. } => 0,
    };
    if transfer.credit == wallet.id { booked } else { booked.saturating_neg() }
}

fn line(transfer: &Recorded, amount: i64, balance: Balance) -> Line {
    Line {
        at: chrono::DateTime::from_timestamp_nanos(i64::try_from(transfer.timestamp).unwrap_or(i64::MAX)),
        transaction_id: transfer.reference,
        transfer_id: transfer.id.as_uuid(),
        kind: TransferCode::from_code(transfer.code).map_or("other", TransferCode::name),
        amount,
        running_balance: balance.posted(),
    }
}
