//! TigerBeetle → PostgreSQL: the read model, in the order of the ledger's timestamps and without gaps. The worker calls
//! [`step`]; `octoco rebuild-read-model` builds it anew ([`rebuild()`]) or compares it with the ledger ([`verify()`]). It decides
//! about no balance, and none that a customer sees comes from it; where it and the ledger disagree, no payout begins ([`watch()`]).
//!
//! A page of a currency is the next transfers behind the cursor, then the accounts opened so far, written in one SQL transaction
//! with the cursor, only from where it was read. What is written is a function of the cursor and of the ledger alone, and the
//! ledger behind the cursor never changes: two processes at the same page, or one that dies anywhere, change nothing. Should the ledger
//! not have any more what the cursor stands at, it was put back to an earlier moment: then nothing is written ([`watch()`]). The lock
//! only saves the second one its work, and keeps everybody out while a rebuilt model is put in place. The sums of days
//! (`ledger_days`) are part of it: written in the same transaction, rebuilt and verified with it.

mod books;
mod days;
mod rebuild;
mod recompute;
mod store;
mod verify;
mod watch;

use chrono::TimeDelta;
use ledger::{BATCH_MAX, Currency, Recorded, RecordedAccount, RecordedKind};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use self::books::{Books, Line, nanoseconds};
use self::store::{Cursor, OpenedAccount, TransferRow};
use crate::app::App;
use crate::money::safe_mode;
use crate::platform::advisory_lock::AdvisoryLock;
use crate::platform::error::{Error, Result};

pub use self::days::{DifferentDay, add_up_again, add_up_day, all_days, day_is_right, keep_in, zone};
pub use self::rebuild::{Rebuilt, rebuild, rebuild_accepting_lost};
pub use self::recompute::{
    Compared, ComparedAccounts, account_is_right, compare_accounts, compare_page, line_is_right, recompute_account,
    recompute_line,
};
pub use self::verify::{Difference, Report, What, verify};
pub use self::watch::watch;

/// With fewer transfers than this on a page the next look waits for the period, so that a steady trickle is copied in
/// batches. A server started with `--development` gives pages of about 250.
const EAGER_MIN: usize = 100;
/// So many are written together at least, where there are as many.
const TOGETHER_MIN: usize = 2_000;

const LAG_MAX: u32 = 1000;

/// How often it is written down that nothing is left to copy; and how far two clocks may be apart (`footing.rs`).
const COMPLETE_PERIOD: TimeDelta = TimeDelta::seconds(10);
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::seconds(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Copied(usize),
    /// There is nothing that is not copied yet.
    End,
    /// Another process has the lock or was faster.
    Busy,
    /// The ledger has not what the copy ends with: it is an older one, and nothing is written.
    LedgerBehind,
}

/// Copies the next page of each currency; the worker calls it. True when there is more to do at once.
/// Answers the last failure, after every currency had its turn: one that is stuck does not stop the others.
pub async fn step(app: &App) -> Result<bool> {
    let mut db = app.db.acquire().await?;
    let (mut more, mut failed) = (false, None);
    for currency in &app.config.currencies {
        match advance(app, &mut db, AdvisoryLock::Projector, *currency).await {
            Ok(page) => more |= matches!(page, Page::Copied(count) if count >= EAGER_MIN),
            Err(error) => {
                report_contradiction(app, *currency, &error);
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(more), Err)
}

/// Nothing but a person gets a currency's copy going again then. A part that does not answer is not that.
fn report_contradiction(app: &App, currency: Currency, error: &Error) {
    if matches!(error, Error::Internal(_)) {
        app.metrics.read_model.contradictions.inc();
        tracing::error!(currency = currency.code(), error = error.chain(), "the read model cannot follow the ledger");
    }
}

/// To the ledger's end, for tests and the bench: the worker copies a page at a time.
pub async fn catch_up(app: &App) -> Result<()> {
    let mut db = app.db.acquire().await?;
    for currency in &app.config.currencies {
        loop {
            match advance(app, &mut db, AdvisoryLock::Projector, *currency).await? {
                Page::Copied(_) | Page::Busy => {}
                Page::End => break,
                Page::LedgerBehind => return Err(Error::BooksBehind),
            }
        }
    }
    Ok(())
}

/// Copies one page into the tables that `db` sees. Transfers are read before accounts, so that no transfer is of an account
/// that the read model has not heard of.
async fn advance(app: &App, db: &mut PgConnection, lock: AdvisoryLock, currency: Currency) -> Result<Page> {
    let cursor = match store::cursor_if_begun(&mut *db, currency.code()).await? {
        Some(cursor) => cursor,
        None => {
            store::start_cursor(&mut *db, currency.code(), app.clock.now()).await?;
            Cursor::default()
        }
    };
    let (asked, asked_at) = (app.clock.moment(), app.clock.now());
    let Some(transfers) = next(app, currency, cursor.timestamp.unsigned_abs()).await? else {
        watch::pay_nothing(app, &safe_mode::ledger_is_behind(currency, cursor.timestamp)).await?;
        return Ok(Page::LedgerBehind);
    };
    if lock == AdvisoryLock::Projector {
        let newest = transfers.last().map_or(cursor.timestamp.unsigned_abs(), |last| last.timestamp);
        app.footing.ledger_was_read(currency, asked, newest, transfers.len() < EAGER_MIN);
    }
    app.crash.at("projector.read")?;
    let Some(cursor) = copy_accounts(app, db, lock, (currency, cursor)).await? else { return Ok(Page::Busy) };
    let Some(last) = transfers.last() else {
        let complete_at = asked_at - CLOCKS_APART_MAX;
        if complete_at - cursor.complete_at >= COMPLETE_PERIOD {
            store::set_complete(&mut *db, currency.code(), complete_at).await?;
        }
        return Ok(Page::End);
    };
    let to = Cursor { timestamp: nanoseconds(last.timestamp), ..cursor };
    if !write(app, db, lock, (currency, cursor, to), &transfers).await? {
        return Ok(Page::Busy);
    }
    let copied = u64::try_from(transfers.len()).unwrap_or(u64::MAX);
    app.metrics.read_model.transfers.with_label_values(&[currency.code()]).inc_by(copied);
    Ok(Page::Copied(transfers.len()))
}

/// The next page; where the server gives small ones, several. It is asked for together with the last transfer that is copied already;
/// `None` where that is not in the ledger any more.
async fn next(app: &App, currency: Currency, copied: u64) -> Result<Option<Vec<Recorded>>> {
    let mut transfers = app.ledger.transfers_after(currency, copied.saturating_sub(1), BATCH_MAX).await?;
    let mut given = transfers.len();
    if copied > 0 {
        if transfers.first().is_none_or(|last_copied| last_copied.timestamp != copied) {
            return Ok(None);
        }
        transfers.remove(0);
    }
    while given >= EAGER_MIN
        && transfers.len() < TOGETHER_MIN
        && let Some(last) = transfers.last()
    {
        let more = app.ledger.transfers_after(currency, last.timestamp, BATCH_MAX).await?;
        given = more.len();
        transfers.extend(more);
    }
    Ok(Some(transfers))
}

/// Every account opened since, page by page, each with its cursor. Where the cursor is then; `None` when somebody else was
/// faster.
async fn copy_accounts(
    app: &App,
    db: &mut PgConnection,
    lock: AdvisoryLock,
    (currency, mut cursor): (Currency, Cursor),
) -> Result<Option<Cursor>> {
    loop {
        let page = app.ledger.accounts_after(currency, cursor.accounts_timestamp.unsigned_abs(), BATCH_MAX).await?;
        let Some(last) = page.last() else { return Ok(Some(cursor)) };
        let opened: Vec<OpenedAccount> = page.iter().map(|account| opened(account, currency)).collect::<Result<_>>()?;
        let to = Cursor { accounts_timestamp: nanoseconds(last.timestamp), ..cursor };
        let mut tx = db.begin().await?;
        if !(store::try_lock(&mut *tx, lock).await?
            && store::move_cursor(&mut *tx, currency.code(), cursor, to, app.clock.now()).await?)
        {
            return Ok(None);
        }
        store::insert_accounts(&mut *tx, currency.code(), &opened).await?;
        app.crash.at("projector.accounts_written")?;
        tx.commit().await?;
        cursor = to;
    }
}

/// One SQL transaction, and nothing but SQL and arithmetic in it. False when somebody else was faster.
async fn write(
    app: &App,
    db: &mut PgConnection,
    lock: AdvisoryLock,
    (currency, from, to): (Currency, Cursor, Cursor),
    transfers: &[Recorded],
) -> Result<bool> {
    let mut tx = db.begin().await?;
    if !(store::try_lock(&mut *tx, lock).await?
        && store::move_cursor(&mut *tx, currency.code(), from, to, app.clock.now()).await?)
    {
        return Ok(false);
    }
    let mut books = Books::default();
    for account in store::accounts(&mut *tx, &touched(transfers)).await? {
        books.accounts.insert(account.id, account.standing());
    }
    let resolved: Vec<Uuid> = transfers.iter().filter_map(|transfer| kind_of(transfer).1).collect();
    books.reserved.extend(store::reserved(&mut *tx, &resolved).await?);
    let lines: Result<Vec<Line>, _> = transfers.iter().map(|transfer| books.apply(transfer)).collect();
    let lines = lines.map_err(Error::internal)?;
    let rows: Vec<TransferRow> = lines.iter().map(TransferRow::from).collect();
    store::insert_transfers(&mut *tx, currency.code(), &rows).await?;
    days::add(&mut tx, currency, &lines).await?;
    app.crash.at("projector.transfers_written")?;
    let standings: Vec<_> = books.accounts.into_iter().collect();
    store::update_accounts(&mut *tx, &standings).await?;
    let is_older = watch::compare(app, &mut tx, currency.code(), &rows).await?;
    app.crash.at("projector.written")?;
    tx.commit().await?;
    app.crash.at("projector.committed")?;
    if is_older {
        safe_mode::look_at_open_rows(app).await?;
    }
    Ok(true)
}

fn touched(transfers: &[Recorded]) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = transfers.iter().flat_map(|t| [t.debit.as_uuid(), t.credit.as_uuid()]).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// How the read model names a kind, and the reservation that it resolves.
fn kind_of(transfer: &Recorded) -> (&'static str, Option<Uuid>) {
    let pending = match transfer.kind {
        RecordedKind::Posted | RecordedKind::Pending => None,
        RecordedKind::Post { pending } | RecordedKind::Void { pending } => Some(pending.as_uuid()),
    };
    (transfer.kind.name(), pending)
}

/// What never changes of an account. Its id says the same as its fields, or it is not one of ours.
fn opened(account: &RecordedAccount, currency: Currency) -> Result<OpenedAccount> {
    if account.id.code_and_currency() != Some((account.code, currency)) {
        return Err(Error::internal(format!("account {} in {currency} is not one of ours", account.id)));
    }
    Ok(OpenedAccount {
        id: account.id.as_uuid(),
        code: i32::from(account.code.code()),
        name: account.code.name().to_owned(),
        user_id: account.id.user_of(),
        opened_timestamp: nanoseconds(account.timestamp),
    })
}

/// How far a currency's copy is; 0 = nothing is copied.
pub async fn copied_to(app: &App, currency: Currency) -> Result<i64> {
    Ok(store::cursor(&app.db, currency.code()).await?.timestamp)
}

/// The same of all that were begun.
pub async fn cursors(app: &App) -> Result<Vec<(String, i64)>> {
    Ok(store::cursors(&app.db).await?)
}

/// How far a currency's read model is behind the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    pub currency: Currency,
    /// Transfers that are not copied yet; at `LAG_MAX` there may be more.
    pub transfers: usize,
    /// For how long the oldest of them has been waiting.
    pub age: TimeDelta,
}

pub async fn lag(app: &App) -> Result<Vec<Lag>> {
    let mut all = Vec::with_capacity(app.config.currencies.len());
    for currency in app.config.currencies.iter().copied() {
        let copied = copied_to(app, currency).await?;
        let waiting = app.ledger.transfers_after(currency, copied.unsigned_abs(), LAG_MAX).await?;
        let age = waiting.first().map_or(TimeDelta::zero(), |oldest| {
            let executed = chrono::DateTime::from_timestamp_nanos(nanoseconds(oldest.timestamp));
            (app.clock.now() - executed).max(TimeDelta::zero())
        });
        all.push(Lag { currency, transfers: waiting.len(), age });
    }
    Ok(all)
}

pub async fn measure(app: &App) -> Result<()> {
    let gauges = &app.metrics.read_model;
    for lag in lag(app).await? {
        let transfers = i64::try_from(lag.transfers).unwrap_or(i64::MAX);
        gauges.lag_transfers.with_label_values(&[lag.currency.code()]).set(transfers);
        gauges.lag_seconds.with_label_values(&[lag.currency.code()]).set(lag.age.as_seconds_f64());
    }
    gauges.orphans.set(store::count_orphans(&app.db).await?);
    days::measure(app).await
}
