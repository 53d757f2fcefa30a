//! Events follow from what the books say anyway; nothing that moves money writes one, or waits for one. A single runner reads what is
//! new, a second late at most, and makes of it what an enabled endpoint wants to hear:
//!
//! | events | read from | how far |
//! |---|---|---|
//! | `transaction.…` | `transactions`: every state that a row came into, with its time | time, and again what lies before it |
//! | `balance.updated` | the copy of the ledger, in the ledger's order | the last ledger timestamp of each currency |
//! | `customer.created` | `users` | time, likewise |
//! | the other `customer.…` | the chain of the audit log | the last position, which has no gaps |
//!
//! A row's time is the clock's when its step began and the row is seen when it is committed. So each look begins `OVERLAP` before the end
//! of the one before, and each minute one begins `SWEEP` before. What was made already is not made again: an event is unique by what it
//! follows from. Events, deliveries and cursors are one SQL transaction. The worker calls [`step`].

mod store;

use chrono::TimeDelta;
use ledger::Currency;
use sqlx::PgConnection;
use uuid::Uuid;

use super::deliveries;
use super::events::{self, BalanceEventData, CustomerEventData, Event, EventBalance, EventType};
use super::store::{Delivery, insert_deliveries, insert_events};
use crate::app::App;
use crate::money::transactions::{State, Transaction};
use crate::platform::clock::DateTime;
use crate::platform::error::{Error, Result};
use store::Wanted;

/// Steps commit well within.
const OVERLAP: TimeDelta = TimeDelta::seconds(15);
/// And however slowly, within this.
const SWEEP: TimeDelta = TimeDelta::minutes(10);
const SWEEP_PERIOD: TimeDelta = TimeDelta::minutes(1);
const BATCH: i64 = 500;
/// Positions of the audit chain that are looked through at once; most are no event.
const POSITIONS: i64 = 2_000;

/// Before the first endpoint is enabled: what happened until now is told to nobody.
pub(super) async fn begin(db: &mut PgConnection, now: DateTime) -> Result<()> {
    Ok(store::begin(db, now.timestamp_micros()).await?)
}

/// Makes the next events. True when there may be more.
pub async fn step(app: &App) -> Result<bool> {
    deliveries::disable_of_nobody(app).await?;
    let mut tx = app.db.begin().await?;
    if !store::lock(&mut *tx).await? {
        return Ok(false);
    }
    let wanted = store::wanted(&mut *tx).await?;
    let Some(since) = wanted.iter().map(|endpoint| endpoint.enabled_at).min() else { return Ok(false) };
    let reading = Reading { app, wanted: &wanted, since, now: app.clock.now() };
    let moved = reading.by_time(&mut tx).await?;
    let more = reading.customers(&mut tx).await? || reading.balances(&mut tx).await? || moved;
    app.crash.at("outgoing.made")?;
    tx.commit().await?;
    Ok(more)
}

struct Reading<'a> {
    app: &'a App,
    wanted: &'a [Wanted],
    /// Nobody hears of what was before.
    since: DateTime,
    now: DateTime,
}

impl Reading<'_> {
    fn wants(&self, kind: EventType) -> bool {
        self.wanted.iter().any(|endpoint| endpoint.wants(kind))
    }

    /// Transactions and new customers: from a while before the end of the last look.
    async fn by_time(&self, db: &mut PgConnection) -> Result<bool> {
        let (seen, swept) = (moment(db, "time").await?, moment(db, "time_swept").await?);
        let sweeps = self.now - swept >= SWEEP_PERIOD;
        let from = if sweeps { swept - SWEEP } else { seen - OVERLAP }.max(self.since);
        let (moved, new) = (self.transactions(db, from).await?, self.new_customers(db, from).await?);
        // Where a batch was full the next look goes on at its end.
        let until = [moved, new].into_iter().flatten().min();
        let reached = until.unwrap_or(self.now).timestamp_micros();
        store::move_cursor(&mut *db, "time", reached).await?;
        if sweeps {
            store::move_cursor(&mut *db, "time_swept", reached).await?;
        }
        Ok(until.is_some())
    }

    /// Where the batch ended, if it was full.
    async fn transactions(&self, db: &mut PgConnection, from: DateTime) -> Result<Option<DateTime>> {
        let states: Vec<String> = State::ALL
            .iter()
            .filter(|state| EventType::of_state(state.name()).is_some_and(|kind| self.wants(kind)))
            .map(|state| state.name().to_owned())
            .collect();
        if states.is_empty() {
            return Ok(None);
        }
        let rows = store::moved(&mut *db, (from, self.now), &states, BATCH).await?;
        let end = full(rows.len()).then(|| rows.last().map(|row| row.moved_at)).flatten();
        let mut made = Vec::with_capacity(rows.len());
        for moved in rows {
            let row = Transaction::try_from(moved.row)?;
            let unknown = || Error::internal("a state that has no event");
            let state = State::parse(&moved.moved_to).ok_or_else(unknown)?;
            let kind = EventType::of_state(state.name()).ok_or_else(unknown)?;
            let source = (row.id, i32::try_from(moved.number).map_err(Error::internal)?);
            let data = events::of_transaction(row, state, moved.moved_at);
            made.push(Event::new(kind, source, Some(data.customer_id), moved.moved_at, data)?);
        }
        self.store(db, &made).await?;
        Ok(end)
    }

    async fn new_customers(&self, db: &mut PgConnection, from: DateTime) -> Result<Option<DateTime>> {
        if !self.wants(EventType::CustomerCreated) {
            return Ok(None);
        }
        let rows = store::new_customers(&mut *db, from, BATCH).await?;
        let end = full(rows.len()).then(|| rows.last().map(|row| row.1)).flatten();
        let event = |(id, at)| {
            Event::new(EventType::CustomerCreated, (id, 0), Some(id), at, CustomerEventData { customer_id: id })
        };
        let made: Vec<Event> = rows.into_iter().map(event).collect::<Result<_>>()?;
        self.store(db, &made).await?;
        Ok(end)
    }

    async fn customers(&self, db: &mut PgConnection) -> Result<bool> {
        let (head, seen) = (store::audit_head(&mut *db).await?, store::cursor(&mut *db, "customers").await?);
        let until = head.min(seen.saturating_add(POSITIONS));
        if until <= seen {
            return Ok(false);
        }
        let mut made = Vec::new();
        for row in store::audited(&mut *db, (seen, until)).await? {
            let kind = match (row.action.as_str(), row.kind.as_deref(), row.state.as_deref()) {
                ("user.email_verified", _, _) => EventType::CustomerEmailVerified,
                ("user.erased", _, _) => EventType::CustomerErased,
                (_, Some("freeze"), Some("in_force")) => EventType::CustomerFrozen,
                (_, Some("freeze"), Some("lifted")) => EventType::CustomerUnfrozen,
                (_, Some("closure"), Some("in_force")) => EventType::CustomerClosed,
                (_, Some("closure"), Some("lifted")) => EventType::CustomerReopened,
                _ => continue,
            };
            let Ok(customer_id) = row.object_id.parse::<Uuid>() else { continue };
            // A call freezes every currency: that is one event.
            let ordinal = i32::from(row.state.as_deref() == Some("lifted"));
            let source = (row.call_id.unwrap_or(row.entry_id), ordinal);
            if self.wants(kind) && row.at >= self.since {
                made.push(Event::new(kind, source, Some(customer_id), row.at, CustomerEventData { customer_id })?);
            }
        }
        self.store(db, &made).await?;
        store::move_cursor(&mut *db, "customers", until).await?;
        Ok(until < head)
    }

    async fn balances(&self, db: &mut PgConnection) -> Result<bool> {
        let mut more = false;
        for (currency, copied) in store::ledger_cursors(&mut *db).await? {
            let source = format!("balances {currency}");
            let seen = store::cursor(&mut *db, &source).await?;
            let Some(known) = Currency::parse(&currency).filter(|_| copied > seen) else { continue };
            let since = seen.max(self.since.timestamp_nanos_opt().unwrap_or(0).saturating_sub(1));
            let mut reached = copied;
            if self.wants(EventType::BalanceUpdated) {
                let rows = store::balances(&mut *db, &currency, (since, copied), BATCH).await?;
                if full(rows.len()) {
                    // A transfer between two wallets may be cut in the middle.
                    reached = rows.last().map_or(copied, |row| row.timestamp.saturating_sub(1));
                    more = true;
                }
                let made: Vec<Event> = rows.into_iter().map(|row| of_balance(known, &row)).collect::<Result<_>>()?;
                self.store(db, &made).await?;
            }
            store::move_cursor(&mut *db, &source, reached).await?;
        }
        Ok(more)
    }

    /// Stores those that are new, each with a delivery for every endpoint that wants it.
    async fn store(&self, db: &mut PgConnection, made: &[Event]) -> Result<()> {
        if made.is_empty() {
            return Ok(());
        }
        let new = insert_events(&mut *db, made, self.now).await?;
        let is_new = |event: &&Event| new.contains(&event.id);
        let mut deliveries = Vec::new();
        for event in made.iter().filter(is_new) {
            let heard = |endpoint: &&Wanted| endpoint.wants(event.kind) && endpoint.enabled_at <= event.occurred_at;
            deliveries.extend(self.wanted.iter().filter(heard).map(|endpoint| Delivery {
                id: self.app.clock.row_id(),
                event_id: event.id,
                endpoint_id: endpoint.id,
            }));
        }
        insert_deliveries(&mut *db, &deliveries, self.now).await?;
        Ok(())
    }
}

async fn moment(db: &mut PgConnection, source: &str) -> Result<DateTime> {
    let micros = store::cursor(db, source).await?;
    Ok(DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH))
}

fn of_balance(currency: Currency, row: &store::Balance) -> Result<Event> {
    let (posted, pending) = (row.credits_posted.saturating_sub(row.debits_posted), row.debits_pending);
    let (available, sequence) = (posted.saturating_sub(pending), row.timestamp);
    let balance = EventBalance { currency: currency.code().to_owned(), posted, pending, available, sequence };
    let at = DateTime::from_timestamp_micros(row.timestamp / 1000).unwrap_or(DateTime::UNIX_EPOCH);
    let data = BalanceEventData { customer_id: row.customer_id, balance };
    Event::new(EventType::BalanceUpdated, (row.id, row.side), Some(row.customer_id), at, data)
}

fn full(rows: usize) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows == BATCH)
}
